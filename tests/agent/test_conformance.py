"""The conformance test passes for every maker of ours and for the guide's, and names what a bad one does wrong."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from tests.agent.test_writing_a_backend import _card, package  # noqa: F401  # its fixture is the guide's package
from tests.emulators.build import compiler

ROOT = Path(__file__).parents[2]

GOOD: Mapping[str, str] = {
    "ullage_bad/__init__.py": """
from ullage_agent.backend import Backend
backend = Backend(name="bad", title="Bad", pci=(("1f4d", ()),), reader="ullage_bad.reader:open_reader",
                  decoder="ullage_bad.texts:decode", kernel_log="ullage_bad.texts:PATTERNS",
                  sources={"power_watts": "power()", "energy_joules": "energy()"})
""",
    "ullage_bad/reader.py": """
from ullage_agent.backend import Reading
from ullage_contract.sample import Facts, Family
class Reader:
    def __init__(self): self.energy = 0
    def facts(self, call): yield Facts(Family.CARD, "BAD-1", 1.0, {"vendor": "bad", "model": "B1"})
    def read(self, tier, call):
        self.energy += 5
        yield Reading(Family.CARD, "BAD-1", {"power_watts": 7.0, "energy_joules": self.energy}, counters_epoch="1")
    def events(self, call): return iter(())
    def close(self): pass
def open_reader(host): return Reader()
""",
    "ullage_bad/texts.py": """
from ullage_agent.backend import Decoded, DecodedCard, LogPattern
from ullage_contract.errors import BadInput
from ullage_contract.event import Severity
def decode(text):
    if "BAD-SMI" not in text: raise BadInput("line 1: no BAD-SMI")
    return Decoded("bad", "bad-smi", "table", cards=[DecodedCard(0, values={"power_watts": 7.0})])
PATTERNS = (LogPattern(r"bad (?P<pci>[0-9a-f:.]+): fault (?P<code>\\d+)", "ras", Severity.CRITICAL, "bad"),)
""",
}


def run(*arguments: str, path: Path | None = None) -> tuple[int, dict[str, Any], str]:
    """Exit code, {backend: {check: result}} and what went to standard error."""
    environment = {**os.environ, **({"PYTHONPATH": str(path)} if path else {})}
    done = subprocess.run(
        [sys.executable, "-m", "ullage_agent.conformance", *arguments, "--json"],
        capture_output=True,
        text=True,
        env=environment,
        cwd=path or ROOT,
        timeout=170,
        check=False,
    )
    if not done.stdout:
        return done.returncode, {}, done.stderr
    found = json.loads(done.stdout)["backends"]
    return (
        done.returncode,
        {name: {r["check"]: r for r in results} for name, results in found.items()},
        done.stderr,
    )


def failed(results: Mapping[str, Any]) -> dict[str, str]:
    return {check: r["message"] for check, r in results.items() if r["passed"] is False}


@pytest.fixture
def backend(tmp_path: Path) -> Callable[..., Path]:
    """A package in a folder, installed as pip would, with some of its files replaced."""

    def make(**replaced: str) -> Path:
        information = tmp_path / "ullage_bad-1.0.dist-info"
        information.mkdir()
        (information / "METADATA").write_text("Metadata-Version: 2.1\nName: ullage-bad\nVersion: 1.0\n")
        (information / "entry_points.txt").write_text("[ullage.backends]\nbad = ullage_bad:backend\n")
        for name, text in GOOD.items():
            place = tmp_path / name
            place.parent.mkdir(exist_ok=True)
            place.write_text(replaced.get(place.stem.strip("_"), text))
        (tmp_path / "agent.toml").write_text("[backends.bad]\nenabled = true\n")
        return tmp_path

    return make


def test_every_maker_of_ours_conforms() -> None:
    code, found, _ = run("ullage")
    assert {name: failed(results) for name, results in found.items() if failed(results)} == {}
    assert code == 0
    assert len(found) >= 24


def test_the_simulated_cards_are_read_by_the_same_checks(tmp_path: Path) -> None:
    config = tmp_path / "agent.toml"
    config.write_text("[backends.simulated]\nenabled = true\ncards = 2\n")
    code, found, _ = run("simulated", "--config", str(config))
    assert failed(found["simulated"]) == {}
    assert found["simulated"]["its identities stay"]["passed"] is True
    assert code == 0


def test_the_guides_first_maker_conforms(package: Path, tmp_path: Path) -> None:  # noqa: F811
    server = tmp_path / "server"
    _card(server, 0)
    _card(server, 1)
    tool = tmp_path / "smi.txt"
    tool.write_text("ACME-SMI 2.1\nCard : 0\nModel : A1\nTemp : 61 C\n")
    lines = tmp_path / "dmesg.txt"
    lines.write_text("[ 12.5] acme 0000:3b:00.0: fault 17: HBM uncorrectable\n")
    code, found, _ = run(
        "ullage_acme", "--root", str(server), "--tool", str(tool), "--kernel-log", str(lines), path=package
    )
    assert failed(found["acme"]) == {}
    assert found["acme"]["it states its cards"]["message"] == "2 cards"
    assert found["acme"]["it decodes smi.txt"]["passed"] is True
    assert found["acme"]["it knows lines of dmesg.txt"]["passed"] is True
    assert code == 0


@pytest.mark.skipif(compiler() is None, reason="no C compiler: the page's library cannot be built")
def test_the_guides_second_maker_conforms(package: Path, tmp_path: Path) -> None:  # noqa: F811
    library = tmp_path / "libqkml.so"
    subprocess.run(
        [
            str(compiler()),
            "-std=gnu11",
            "-shared",
            "-fPIC",
            "-o",
            str(library),
            str(package / "tests/qkml.c"),
        ],
        check=True,
    )
    config = tmp_path / "agent.toml"
    config.write_text(f'[backends.quokka]\nenabled = true\nlibrary = "{library}"\n')
    code, found, _ = run("quokka", "--config", str(config), path=package)
    assert failed(found["quokka"]) == {}
    assert found["quokka"]["every question is answered"]["passed"] is True
    assert code == 0


def test_a_good_backend_passes_every_check(backend: Callable[..., Path]) -> None:
    place = backend()
    (place / "smi.txt").write_text("BAD-SMI 1\n")
    code, found, _ = run(
        "ullage-bad", "--config", str(place / "agent.toml"), "--tool", str(place / "smi.txt"), path=place
    )
    assert failed(found["bad"]) == {}
    assert code == 0


@pytest.mark.parametrize(
    ("file", "old", "new", "check", "said"),
    [
        ("init", '"1f4d"', '"0x1F4D"', "it says how its hardware is noticed", "0x1F4D"),
        ("init", '"power_watts":', '"power_wats":', "its sources are metrics of the catalogue", "power_wats"),
        ("init", "reader:open_reader", "reader:nope", "its reader can be imported", "nope"),
        ("init", "\nbackend", "\nimport ullage_bad.reader\nbackend", "its description is cheap", "reader"),
        (
            "init",
            "energy_joules",
            "temperature_celsius",
            "every metric it names is read, failed or unsupported",
            "temperature",
        ),
        (
            "reader",
            '"power_watts": 7.0',
            '"power_watts": "hot"',
            "nothing is outside the contract",
            "left out",
        ),
        ("reader", "+= 5", "-= 5", "counters do not fall", "energy_joules"),
        (
            "reader",
            '"BAD-1", 1.0',
            '"BAD-" + str(id(object()) if self.energy else 1), 1.0',
            "its identities stay",
            "index",
        ),
        (
            "reader",
            'Reading(Family.CARD, "BAD-1"',
            'Reading(Family.CARD, "BAD-2"',
            "facts come before readings",
            "BAD-2",
        ),
        (
            "reader",
            "self.energy += 5",
            "raise ZeroDivisionError",
            "every question is answered",
            "ZeroDivision",
        ),
        (
            "texts",
            'if "BAD-SMI" not in text: raise',
            "if False: raise",
            "it refuses what is not its tool's",
            "cards in",
        ),
        (
            "texts",
            'raise BadInput("line',
            'raise KeyError("line',
            "it refuses what is not its tool's",
            "KeyError",
        ),
        ("texts", '"ras"', '"oops"', "its kernel-log patterns", "oops"),
        ("texts", "bad (?P<pci>", "(a+)+$|bad (?P<pci>", "its patterns end on any line", "nested"),
    ],
)
def test_each_mistake_is_named_by_its_check(
    file: str, old: str, new: str, check: str, said: str, backend: Callable[..., Path]
) -> None:
    text = GOOD[f"ullage_bad/{'__init__' if file == 'init' else file}.py"]
    assert old in text
    place = backend(**{file: text.replace(old, new)})
    code, found, _ = run("bad", "--config", str(place / "agent.toml"), path=place)
    assert said in failed(found["bad"])[check]
    assert code == 1


def test_a_package_nobody_installed_is_a_usage_error_that_lists_those_there() -> None:
    code, found, said = run("nosuch")
    assert (code, found) == (2, {})
    assert "nosuch" in said and "simulated" in said
