"""The arrows of the design: who may import whom, and what the light install may not need."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
HOUSES = {
    "ullage_contract": ROOT / "agent/ullage_contract",
    "ullage_agent": ROOT / "agent/ullage_agent",
    "ullage_collector": ROOT / "collector/ullage_collector",
    "ullage_reports": ROOT / "reports/ullage_reports",
    "ullage_assets": ROOT / "assets/ullage_assets",
}
MAY_IMPORT = {
    "ullage_contract": set(),
    "ullage_agent": {"ullage_contract"},
    "ullage_collector": {"ullage_contract", "ullage_assets"},
    "ullage_reports": {"ullage_contract", "ullage_assets", "ullage_collector"},
    "ullage_assets": {"ullage_contract"},
}
REPORTS_MAY_USE = {"ullage_collector.published", "ullage_collector.ledger"}
HEAVY = {"duckdb", "pyarrow", "numpy", "grpc", "pandas", "requests_oauthlib"}


def imports(file: Path) -> list[tuple[str, str]]:
    """(module, name) of every import in a file, at any depth of nesting."""
    found = []
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found += [(alias.name, "") for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: relative import"
            found += [(node.module or "", alias.name) for alias in node.names]
    return found


@pytest.mark.parametrize("house", HOUSES)
def test_a_house_imports_only_where_its_arrows_point(house: str) -> None:
    wrong = []
    for file in HOUSES[house].rglob("*.py"):
        for module, _ in imports(file):
            top = module.partition(".")[0]
            if top.startswith("ullage_") and top != house and top not in MAY_IMPORT[house]:
                wrong.append(f"{file.relative_to(ROOT)} imports {module}")
    assert not wrong


def test_reports_use_two_modules_of_the_collector() -> None:
    wrong = []
    for file in HOUSES["ullage_reports"].rglob("*.py"):
        for module, name in imports(file):
            if module.partition(".")[0] != "ullage_collector":
                continue
            if module not in REPORTS_MAY_USE and f"{module}.{name}" not in REPORTS_MAY_USE:
                wrong.append(f"{file.relative_to(ROOT)} imports {module} {name}")
    assert not wrong


@pytest.mark.parametrize("house", ["ullage_contract"])
def test_the_contract_is_standard_library_only(house: str) -> None:
    outside = {
        module
        for file in HOUSES[house].rglob("*.py")
        for module, _ in imports(file)
        if module.partition(".")[0] not in sys.stdlib_module_names
        and not module.startswith("ullage_contract")
    }
    assert not outside


def test_the_ledger_is_standard_library_only() -> None:
    outside = {
        module
        for module, _ in imports(HOUSES["ullage_collector"] / "ledger.py")
        if module.partition(".")[0] not in sys.stdlib_module_names
        and not module.startswith(("ullage_contract", "ullage_collector.ledger"))
    }
    assert not outside


def test_the_agent_imports_nothing_heavy() -> None:
    heavy = {
        f"{file.relative_to(ROOT)}: {module}"
        for file in HOUSES["ullage_agent"].rglob("*.py")
        for module, _ in imports(file)
        if module.partition(".")[0] in HEAVY
    }
    assert not heavy


@pytest.mark.parametrize("command", ["ullage_agent.cli", "ullage_collector.cli", "ullage_reports.cli"])
def test_a_command_answers_help_without_its_extras(command: str) -> None:
    blocked = ", ".join(repr(name) for name in sorted(HEAVY | {"typst", "jinja2", "starlette", "httptools"}))
    code = (
        "import sys\n"
        f"for name in [{blocked}]: sys.modules[name] = None\n"
        f"from {command} import main\n"
        "sys.exit(main(['--help']))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "usage" in done.stdout.lower()


def test_the_collector_without_its_extra_says_what_to_install() -> None:
    code = (
        "import sys\n"
        "for name in ['duckdb', 'starlette', 'pyarrow']: sys.modules[name] = None\n"
        "from ullage_collector.cli import main\n"
        "sys.exit(main(['serve', '--data', '/nonexistent']))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert "pip install 'ullage[collector]'" in done.stderr
    assert "Traceback" not in done.stderr
