"""``ullage-agent backends``: what a description says and is not so shows before its hardware is there."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ullage_agent.backend import UTIL_KINDS, Backend
from ullage_agent.commands import imports
from ullage_contract.sample import FACT_NAMES

DESCRIPTION = """
from ullage_agent.backend import Backend
backend = Backend(name="bad", title="Bad", {more})
"""


@pytest.fixture
def listed(tmp_path: Path) -> Callable[..., tuple[int, dict[str, Any], str]]:
    """The command's exit code, its document and what it said, with a package of these files installed."""

    def run(more: str, **files: str) -> tuple[int, dict[str, Any], str]:
        information = tmp_path / "ullage_bad-1.0.dist-info"
        information.mkdir(exist_ok=True)
        (information / "METADATA").write_text("Metadata-Version: 2.1\nName: ullage-bad\nVersion: 1.0\n")
        (information / "entry_points.txt").write_text("[ullage.backends]\nbad = ullage_bad:backend\n")
        package = tmp_path / "ullage_bad"
        package.mkdir(exist_ok=True)
        (package / "__init__.py").write_text(DESCRIPTION.format(more=more))
        for name, text in files.items():
            (package / f"{name}.py").write_text(text)
        done = subprocess.run(
            [sys.executable, "-m", "ullage_agent", "backends", "--json"],
            capture_output=True,
            text=True,
            env={**os.environ, "PYTHONPATH": str(tmp_path)},
            check=False,
        )
        found = {b["name"]: b for b in json.loads(done.stdout)["backends"]}
        return done.returncode, found, done.stderr

    return run


def test_what_is_named_and_is_not_there_is_told_of_its_maker_alone(listed: Callable[..., Any]) -> None:
    code, found, _ = listed(
        'reader="ullage_bad.reader:nope", decoder="ullage_bad.decode:decode", '
        'kernel_log="ullage_bad.kernel:PATTERNS", detector="ullage_bad.reader:NUMBER"',
        reader="print('a module that prints')\nNUMBER = 7\n",
        decode="import no_such_library\n",
        kernel="from ullage_agent.backend import LogPattern\n"
        "from ullage_contract.event import Severity\n"
        "PATTERNS = (LogPattern('bad (', 'ras', Severity.WARNING, 'bad'),)\n",
    )
    reader, decoder, kernel, detector = found["bad"]["problems"]
    assert "reader ullage_bad.reader:nope" in reader and "has no nope" in reader
    assert "decoder ullage_bad.decode:decode: ModuleNotFoundError" in decoder
    assert "kernel_log ullage_bad.kernel:PATTERNS" in kernel and "unterminated" in kernel
    assert "cannot be called" in detector
    assert {name for name, backend in found.items() if backend["problems"]} == {"bad"}
    assert code == 3


def test_ids_that_match_nothing_and_words_nobody_knows_are_told(listed: Callable[..., Any]) -> None:
    code, found, said = listed(
        'pci=(("0x1F4D", ("12", "1200")), ("1f4d", ("zz",))), device_nodes=("/dev/bad*",), util_kind="busy", '
        'sources={"power_wats": "x", "power_watts": "y"}'
    )
    problems = found["bad"]["problems"]
    assert len(problems) == 5
    for text in ("'0x1F4D' matches nothing", "'zz' matches nothing", "'/dev/bad*'", "'busy'", "'power_wats'"):
        assert any(text in problem for problem in problems), text
        assert text in said, "the agent tells it, too, when it loads the description"
    assert code == 3


def test_a_module_that_ends_its_process_or_never_ends_costs_itself_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, text in (
        ("fatal", "import os; os._exit(9)"),
        ("endless", "while True: pass"),
        ("good", "x = print"),
    ):
        (tmp_path / f"{name}_maker.py").write_text(text + "\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(imports, "IMPORT_SECONDS", 5.0)
    found = imports.problems(
        [
            Backend(name=name, title=name, reader=f"{name}_maker:x")
            for name in ("good", "fatal", "endless", "good")
        ]
        + [Backend(name="gone", title="Gone", decoder="no_such_maker:decode")]
    )
    assert found.pop("gone")[0].startswith("decoder no_such_maker:decode: ModuleNotFoundError")
    assert "ended the process (code 9)" in found.pop("fatal")[0]
    assert "did not end within 5 s" in found.pop("endless")[0]
    assert not found


def test_ours_have_no_problem() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "ullage_agent", "backends", "--json"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert {b["name"]: b["problems"] for b in json.loads(done.stdout)["backends"] if b["problems"]} == {}


def test_the_kinds_of_utilisation_are_those_of_the_facts() -> None:
    assert FACT_NAMES["util_kind"].endswith(", ".join(UTIL_KINDS))
