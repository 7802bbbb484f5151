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
from tests.emulators.build import compiler

from ullage_agent.assembly import Agent
from ullage_agent.commands.snapshot import Gathered
from ullage_agent.config import Config, Sampling, Sources
from ullage_agent.registry import GROUP, load
from ullage_contract.catalogue import Tier
from ullage_contract.clock import ManualClock
from ullage_contract.sample import Family

PAGE = Path(__file__).parents[2] / "docs/writing-a-backend.md"
ROOT = Path(__file__).parents[2]
MAKERS = ("ullage_acme", "ullage_quokka", "ullage_numbat")


def _files() -> dict[str, str]:
    """The page's blocks that begin with a comment naming their file."""
    blocks = re.findall(
        r"^```(?:python|toml|c)\n((?:# |/\* )(\S+?):?(?: [^\n]*)?\n.*?)^```",
        PAGE.read_text(encoding="utf-8"),
        re.S | re.M,
    )
    return {name: body for body, name in blocks}


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The page's files, as a reader would save them, installed as pip would: on the path, with entry points."""
    place = tmp_path / "package"
    for name, body in _files().items():
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_text(body)
    first = (place / "pyproject.toml").read_text()
    # as the page says of the others
    for text in (first, first.replace("acme", "quokka"), first.replace("acme", "numbat")):
        project = tomllib.loads(text)["project"]
        information = place / f"{project['name'].replace('-', '_')}-1.0.dist-info"
        information.mkdir()
        (information / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: 1.0\n"
        )
        points = "".join(f"{k} = {v}\n" for k, v in project["entry-points"][GROUP].items())
        (information / "entry_points.txt").write_text(f"[{GROUP}]\n{points}")
    monkeypatch.syspath_prepend(str(place))
    importlib.invalidate_caches()
    yield place
    for module in [name for name in sys.modules if name.startswith(MAKERS)]:
        del sys.modules[module]


def _card(server: Path, number: int, **files: str) -> Path:
    place = server / f"sys/class/acme/acme{number}"
    place.mkdir(parents=True)
    plain = {"uuid": f"ACME-{number}", "product_name": "A1", "power_uw": "312500000", "status": "ok", **files}
    for name, text in plain.items():
        (place / name).write_text(text + "\n")
    return place


def test_the_page_has_every_piece(package: Path) -> None:
    found = {str(path.relative_to(package)) for path in package.rglob("*") if path.suffix in (".py", ".c")}
    assert found == {
        "ullage_acme/__init__.py",
        "ullage_acme/reader.py",
        "ullage_acme/short.py",
        "ullage_acme/stream.py",
        "ullage_acme/decode.py",
        "ullage_acme/kernel.py",
        "tests/test_acme.py",
        "tests/test_acme_hang.py",
        "ullage_quokka/__init__.py",
        "ullage_quokka/reader.py",
        "ullage_quokka/decode.py",
        "tests/qkml.c",
        "tests/test_quokka.py",
        "ullage_numbat/__init__.py",
        "ullage_numbat/reader.py",
        "tests/numbat.c",
        "tests/test_numbat.py",
    }


@pytest.mark.parametrize(("tests", "passing"), [("acme", 8), ("acme_hang", 1), ("quokka", 5), ("numbat", 3)])
def test_the_pages_own_tests_pass(tests: str, passing: int, package: Path) -> None:
    if tests in ("quokka", "numbat") and compiler() is None:
        pytest.skip("no C compiler: the page's library cannot be built")
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
            str(package / f"tests/test_{tests}.py"),
        ],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(package)},
        cwd=package,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    assert f"{passing} passed" in done.stdout


def test_the_agent_finds_it_by_its_entry_point_and_reads_its_cards(package: Path, tmp_path: Path) -> None:
    known = load()
    assert "acme" in {b.name for b in known.backends}
    server = tmp_path / "server"
    _card(server, 0)
    held = _card(server, 1)
    (held / "power_uw").unlink()
    os.mkfifo(held / "power_uw")  # a read that never returns, as the page says to try
    gathered = Gathered()
    before = threading.active_count()
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
    assert threading.active_count() <= before + 1  # the thread of the read that never returns


@pytest.mark.skipif(compiler() is None, reason="no C compiler: the page's library cannot be built")
def test_a_call_of_the_second_makers_library_that_hangs_costs_one_value(
    package: Path, tmp_path: Path
) -> None:
    library = tmp_path / "libqkml.so"
    compile_it = [str(compiler()), "-Wall", "-Wextra", "-Werror", "-std=gnu11", "-shared", "-fPIC"]
    subprocess.run([*compile_it, "-o", str(library), str(package / "tests/qkml.c")], check=True)
    gathered = Gathered()
    agent = Agent(
        Config(
            node="n1",
            enabled={"quokka": True},
            backends={"quokka": {"library": str(library)}},
            sampling=Sampling(call_deadline_seconds=0.5, start_deadline_seconds=10.0),
            sources=Sources(rdma=False, host=False, kernel_log=False),
        ),
        ManualClock(),
        root=tmp_path,
        sinks=[gathered],
        environment={**os.environ, "PYTHONPATH": str(package), "QUOKKA_HANG": "qkTemperature:1"},
    )
    try:
        tick = agent.tick(Tier.SLOW, patience_seconds=60)
    finally:
        agent.close()
    cards = {s.subject: s for s in tick.every() if s.family is Family.CARD}
    assert [s.failed for s in cards.values()] == [{}, {"temperature_celsius": "deadline"}, {}, {}]
    assert [s.values.get("temperature_celsius") for s in cards.values()] == [61.5, None, 61.5, 61.5]
    assert [s.subject for s in tick.every() if s.family is Family.SLICE] == ["quokka-QK22-0000-c1/3"]
    assert [e.kind for _, e in gathered.events_seen] == ["call_hung"]


def test_its_keys_facts_and_events_are_in_the_contract(package: Path) -> None:
    from ullage_contract import catalogue

    backends = [b for b in load().backends if b.name in ("acme", "quokka", "numbat")]
    assert len(backends) == 3
    for backend in backends:
        assert not backend.mistakes()
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


def test_the_pages_commands_work_where_there_is_no_card(package: Path, tmp_path: Path) -> None:
    """Section 6 from top to bottom, with its own agent.toml, and the damage of section 7."""
    (tmp_path / "agent.toml").write_text((package / "agent.toml").read_text())
    _card(tmp_path / "server", 0)
    (tmp_path / "smi.txt").write_text("ACME-SMI 2.1\nCard : 0\nModel : A1\nBusy : 97 %\nTemp : 61 C\n")
    text = PAGE.read_text(encoding="utf-8")
    section = text[text.index("## 6. Try it") : text.index("## 7. Test it")]
    commands = [
        line.partition("#")[0].split()
        for line in section.splitlines()
        if line.startswith(("ullage-agent", "python -m ullage_agent"))
    ]
    commands += [
        match.replace("--seconds 60", "--rounds 50").split()
        for match in re.findall(r"^`(python tests/fuzz/.*?)`", text, re.M)
    ]
    assert len(commands) == 7
    for words in commands:
        command = [
            str(ROOT / word) if word.startswith("tests/") else word for word in words if word != "python"
        ]
        if command[0] == "ullage-agent":
            command = ["-m", "ullage_agent", *command[1:]]
        done = subprocess.run(
            [sys.executable, *command],
            capture_output=True,
            text=True,
            env={**os.environ, "PYTHONPATH": f"{package}:{ROOT / 'agent'}:{ROOT / 'collector'}"},
            cwd=tmp_path,
            check=False,
        )
        assert done.returncode == 0, (words, done.stdout, done.stderr)
        if "once" in words:
            assert "acme" in done.stdout


@pytest.mark.parametrize("name", MAKERS)
def test_the_page_types(name: str, package: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--cache-dir", os.devnull, "-p", name],
        capture_output=True,
        text=True,
        env={**os.environ, "MYPYPATH": f"{package}:{ROOT / 'agent'}"},
        cwd=package,
        check=False,
    )
    if "No module named mypy" in done.stderr:
        pytest.skip("mypy is not installed")
    assert done.returncode == 0, done.stdout
