"""docs/interfaces.md is what the parts promise; here the code is held to it."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from importlib.metadata import entry_points
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs/interfaces.md").read_text(encoding="utf-8")
MODULES = {
    "ullage-agent": "ullage_agent.cli",
    "ullage-collector": "ullage_collector.cli",
    "ullage-report": "ullage_reports.cli",
}


def documented_commands() -> list[tuple[str, str]]:
    """(program, subcommand) of every row of the commands table."""
    found = set()
    for row in re.findall(r"^\| `(ullage-(?:agent|collector|report)) ([^`]*)`", PAGE, re.MULTILINE):
        program, rest = row
        for alternative in rest.replace("\\|", "|").split(" | "):
            first = alternative.split()[0]
            found.update((program, word) for word in first.split("|"))
    return sorted(found)


def run(program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    code = f"import sys; from {MODULES[program]} import main; sys.exit(main(sys.argv[1:]))"
    return subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, timeout=60, check=False
    )


def test_the_table_of_commands_was_read() -> None:
    commands = documented_commands()
    assert ("ullage-agent", "once") in commands
    assert ("ullage-collector", "import") in commands
    assert ("ullage-report", "weekly") in commands
    assert len(commands) >= 17


@pytest.mark.parametrize(("program", "command"), documented_commands())
def test_every_documented_command_has_help(program: str, command: str) -> None:
    done = run(program, command, "--help")
    assert done.returncode == 0, done.stderr
    assert "usage" in done.stdout.lower()


@pytest.mark.parametrize("program", MODULES)
def test_a_command_nobody_documented_is_a_usage_error(program: str) -> None:
    done = run(program, "sing")
    assert done.returncode == 2
    assert done.stdout == ""


@pytest.mark.parametrize("program", MODULES)
def test_a_named_configuration_that_is_not_there_is_a_usage_error(program: str, tmp_path: Path) -> None:
    missing = tmp_path / "nowhere.toml"
    arguments = {
        "ullage-agent": ("--config", str(missing), "once"),
        "ullage-collector": ("--config", str(missing), "serve"),
        "ullage-report": ("--config", str(missing), "weekly", "--week", "2026-W47", "--out", str(tmp_path)),
    }[program]
    done = run(program, *arguments)
    assert done.returncode == 2, done.stderr
    assert "nowhere.toml" in done.stderr
    assert done.stdout == ""


def test_commands_and_entry_points_are_what_the_project_file_says() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert set(project["scripts"]) == set(MODULES)
    for group in ("ullage.backends", "ullage.actuators"):
        installed = {entry.name: entry for entry in entry_points(group=group)}
        for name, target in project["entry-points"][group].items():
            assert name in installed, f"{name} is not installed: pip install -e . again"
            assert installed[name].value == target
            assert installed[name].load() is not None


def test_defaults_are_as_documented() -> None:
    from ullage_agent import config as agent
    from ullage_collector import config as collector

    assert "`127.0.0.1:9735`" in PAGE
    assert "`127.0.0.1:9736`" in PAGE
    listen = collector.Listen()
    assert f"{listen.host}:{listen.port}" == "127.0.0.1:9736"
    assert str(collector.DEFAULT_DATA) == "/var/lib/ullage"
    assert str(collector.DEFAULT_PATH) == "/etc/ullage/collector.toml"
    assert "9735" in Path(agent.__file__).read_text(encoding="utf-8")


def test_the_wire_is_as_documented() -> None:
    from ullage_contract import wire

    assert f"`POST {wire.PUSH_PATH}`" in PAGE
    assert wire.CONTENT_TYPE in PAGE
    assert wire.SENT_AT_HEADER in PAGE


def test_every_documented_route_of_the_collector_is_there() -> None:
    from ullage_collector import api, front
    from ullage_collector.console import app

    source = "".join(Path(module.__file__ or "").read_text(encoding="utf-8") for module in (api, front, app))
    source += (ROOT / "collector/ullage_collector/receive/listener.py").read_text(encoding="utf-8")
    source += (ROOT / "collector/ullage_collector/receive/push.py").read_text(encoding="utf-8")
    source += "".join(
        file.read_text(encoding="utf-8")
        for file in (ROOT / "collector/ullage_collector/imports").glob("*.py")
    )
    for path in (
        "/metrics",
        "/healthz",
        "/v1/metrics",
        "/api/v1/fleet",
        "/api/v1/fleet/state",
        "/api/v1/isolate",
    ):
        assert path in PAGE
        assert f'"{path}"' in source, path
    assert '"/v1/push"' in source or "PUSH_PATH" in source
    assert "/api/v1/import/" in source


def test_no_path_of_a_machine_and_no_package_host_is_in_the_repository() -> None:
    tracked = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True
    ).stdout.split("\0")
    hosts = re.compile(r"https?://[a-z.]*(?:pypi|npmjs|debian)[a-z.]*")
    # The superuser's home is the same on every machine, and /root/... is how Slurm's account tree begins.
    places = [f"{place}/" for place in (ROOT.parent, Path.home()) if place != Path("/root")]
    wrong = []
    for name in filter(None, tracked):
        if name == "tests/test_interfaces.py":
            continue
        try:
            text = (ROOT / name).read_text(encoding="utf-8")
        except (UnicodeDecodeError, FileNotFoundError):
            continue
        if hosts.search(text) or any(place in text for place in places):
            wrong.append(name)
    assert not wrong
