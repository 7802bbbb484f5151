"""docs/writing-a-backend.md is code: its package is built from the page, its tests pass, the agent reads its cards."""

from __future__ import annotations

import importlib
import os
import re
import subprocess
import sys
import threading
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from ullage_agent.assembly import Agent
from ullage_agent.commands.snapshot import Gathered
from ullage_agent.config import Config, Sampling, Sources
from ullage_agent.registry import GROUP, load
from ullage_contract.catalogue import Tier
from ullage_contract.clock import ManualClock
from ullage_contract.sample import Family

PAGE = Path(__file__).parents[2] / "docs/writing-a-backend.md"
ROOT = Path(__file__).parents[2]


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The page's files, as a reader would save them, installed as pip would: on the path, with entry points."""
    place = tmp_path / "package"
    for body in re.findall(
        r"^```(?:python|toml)\n(# \S+\n.*?)^```", PAGE.read_text(encoding="utf-8"), re.S | re.M
    ):
        name = body.splitlines()[0][2:]
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_text(body)
    project = tomllib.loads((place / "pyproject.toml").read_text())["project"]
    information = place / "ullage_acme-1.0.dist-info"
    information.mkdir()
    (information / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: 1.0\n")
    points = "".join(f"{k} = {v}\n" for k, v in project["entry-points"][GROUP].items())
    (information / "entry_points.txt").write_text(f"[{GROUP}]\n{points}")
    monkeypatch.syspath_prepend(str(place))
    importlib.invalidate_caches()
    yield place
    for module in [name for name in sys.modules if name.startswith("ullage_acme")]:
        del sys.modules[module]


def _card(server: Path, number: int, **files: str) -> Path:
    place = server / f"sys/class/acme/acme{number}"
    place.mkdir(parents=True)
    plain = {"uuid": f"ACME-{number}", "product_name": "A1", "power_uw": "312500000", "status": "ok", **files}
    for name, text in plain.items():
        (place / name).write_text(text + "\n")
    return place


def test_the_page_has_every_piece(package: Path) -> None:
    found = {str(path.relative_to(package)) for path in package.rglob("*.py")}
    assert found == {
        "ullage_acme/__init__.py",
        "ullage_acme/reader.py",
        "ullage_acme/decode.py",
        "ullage_acme/kernel.py",
        "tests/test_acme.py",
    }


def test_the_pages_own_tests_pass(package: Path) -> None:
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-p",
            "no:cacheprovider",
            "--rootdir",
            str(package),
            str(package / "tests"),
        ],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(package)},
        cwd=package,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    assert "5 passed" in done.stdout


def test_the_agent_finds_it_by_its_entry_point_and_reads_its_cards(package: Path, tmp_path: Path) -> None:
    known = load()
    assert "acme" in {b.name for b in known.backends}
    server = tmp_path / "server"
    _card(server, 0)
    held = _card(server, 1)
    (held / "power_uw").unlink()
    os.mkfifo(held / "power_uw")  # a read that never returns, as the page says to try
    gathered = Gathered()
    agent = Agent(
        Config(
            node="n1",
            sampling=Sampling(call_deadline_seconds=0.5),
            sources=Sources(rdma=False, host=False, kernel_log=False),
        ),
        ManualClock(),
        root=server,
        sinks=[gathered],
        known=known,
        environment={**os.environ, "PYTHONPATH": str(package)},
    )
    try:
        tick = agent.tick(Tier.SLOW, patience_seconds=30)
    finally:
        agent.close()
    cards = {s.subject: s for s in tick.every() if s.family is Family.CARD}
    assert cards["ACME-0"].values == {"power_watts": 312.5, "health": "ok"}
    assert cards["ACME-1"].values == {"health": "ok"}
    assert cards["ACME-1"].failed == {"power_watts": "deadline"}
    assert [e.kind for _, e in gathered.events_seen] == ["call_hung"]
    assert threading.active_count() < 20


def test_its_keys_facts_and_events_are_in_the_contract(package: Path) -> None:
    from ullage_contract import catalogue

    (backend,) = [b for b in load().backends if b.name == "acme"]
    assert set(backend.sources) <= set(catalogue.keys(Family.CARD))


def test_the_command_decodes_its_tool_and_its_kernel_log(package: Path, tmp_path: Path) -> None:
    tool = tmp_path / "smi.txt"
    tool.write_text("ACME-SMI 2.1\nCard : 0\nModel : A1\nTemp : 61 C\n")
    log = tmp_path / "dmesg.txt"
    log.write_text("[ 12.5] acme 0000:3b:00.0: fault 17: HBM uncorrectable\n")
    for maker, file, says in (
        ("acme", tool, '"temperature_celsius": 61'),
        ("kernel-log", log, '"code": "17"'),
    ):
        done = subprocess.run(
            [sys.executable, "-m", "ullage_agent", "decode", maker, str(file), "--json"],
            capture_output=True,
            text=True,
            env={**os.environ, "PYTHONPATH": str(package)},
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert says in done.stdout


def test_the_page_types(package: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--cache-dir", os.devnull, "-p", "ullage_acme"],
        capture_output=True,
        text=True,
        env={**os.environ, "MYPYPATH": f"{package}:{ROOT / 'agent'}"},
        cwd=package,
        check=False,
    )
    if "No module named mypy" in done.stderr:
        pytest.skip("mypy is not installed")
    assert done.returncode == 0, done.stdout
