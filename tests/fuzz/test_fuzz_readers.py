"""Whoever reads what others wrote answers, or refuses with a reason; nothing makes it crash, hang or lie.

The long form is ``make fuzz``. What it found and what was mended stays here, in the smallest form.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parent
sys.path.insert(0, str(FOLDER))

import fuzz_readers  # noqa: E402
from damage import damaged  # noqa: E402
from fuzz_readers import Target, signature, targets  # noqa: E402

from ullage_agent.backend import Decoded, DecodedCard  # noqa: E402

_LONG = "9" * 5000


@pytest.fixture(scope="module")
def known() -> dict[str, Target]:
    return {target.name: target for target in targets(None)}


def _said(kind: str, **other: object) -> str:
    """An answer of a child with something in it replaced."""
    for line in fuzz_readers.CHILD_ANSWERS.splitlines():
        if kind in (document := json.loads(line)):
            document[kind].update(other)
            return json.dumps(document)
    raise AssertionError(kind)


FOUND = {
    "a link width of 5000 digits": ("mthreads", f"ID Name|PCIe\n1 T|8x({_LONG})"),
    "a chip of 5000 digits": ("tpu", f"Runtime Utilization\n│{_LONG}│1GiB / 2GiB│3%"),
    "a size that is a point": ("tpu", "Runtime Utilization\n│0│.GiB / .GiB│"),
    "a load that is two points": ("furiosa", "|Device|Core Utilization|\n|-|-|\n|npu0|Core 5: ..%|"),
    "infinity in a tool's JSON": (
        "tenstorrent",
        '{"device_info": [{"board_info": {"board_type": "n300", "pcie_speed": Infinity}, "telemetry": {}}]}',
    ),
    "a process of 5000 digits in the live log": (
        "kernel-live",
        f"6,37,37000000,-;NVRM: Xid (PCI:0000:9b:00): 119, pid={_LONG}, name=x, Timeout",
    ),
    "a sequence of 5000 digits": ("kernel-live", f"6,{_LONG},{_LONG},-;NVRM: Xid (PCI:0000:9b:00): 79, x"),
    "an uptime of 5000 digits": ("kernel-log", f"[{_LONG}.5] NVRM: Xid (PCI:0000:9b:00): 79, x"),
    "a process list of blanks": ("amd", "GPU: 0\n    A" + " " * 3000 + "b"),
    "a section of blanks": (
        "nvidia",
        "==============NVSMI LOG==============\nDriver Version" + " " * 3000 + "x",
    ),
    "a name of blanks": ("nvidia", "GPU 0: " + " " * 3000 + "x"),
    "a rule without end": ("amd", "GPU  Perf\n" + "=" * 3000 + "x\n0  auto"),
    "a device without words": ("intel", "Device ID|3\n|E|,"),
    "a row without cells": ("intel", "||:\n│"),
    "a list in lists without end": ("rdma", "[" * 3000),
    "brackets without end": ("qualcomm", "QID 3\n" + "[" * 9000 + "Status"),
    "a state that is a small two": ("rdma", "/sys/class/infiniband/mlx5_0/ports/1/phys_state:²"),
    "a value no float holds": ("child", _said("reading", values={"power_watts": 10**400})),
    "a time no float holds": ("child", _said("event", time=10**400)),
    "a time that is infinite": ("child", _said("event", time=float("inf"))),
    "an attribute that is infinite": ("child", _said("event", attributes={"lines": float("inf")})),
    "a code without end": ("child", _said("event", code="x" * 300, vendor="y" * 300, source="")),
    "an epoch without end": ("child", _said("reading", epoch="x" * 300)),
    "a device number that is a point": ("kunlunxin", "|x|DevID|PCI Addr|\n|2|.|0000:3b:00.0|"),
    "a log without line ends": (
        "kernel-log",
        "[1.5] " + "amdgpu 0000:03:00.0: amdgpu: ring gfx timeout " * 2000,
    ),
}
"""What ``make fuzz`` found: who was given what."""


@pytest.mark.parametrize("what", FOUND)
def test_what_was_found_stays_mended(what: str, known: dict[str, Target]) -> None:
    name, given = FOUND[what]
    assert signature(known[name], given) is None


@pytest.mark.parametrize("value", [10**23, -(10**23), 2**64, -(2**63) - 1])
@pytest.mark.parametrize("place", ["column", "attribute"])
def test_the_fast_reader_takes_no_number_the_contract_refuses(
    value: int, place: str, known: dict[str, Target]
) -> None:
    bodies = dict(known["wire"].corpus)
    document = json.loads(bodies["every-family.batch" if place == "column" else "facts.batch"])
    if place == "column":
        document["families"]["node"]["columns"]["cpu_busy_ratio"][0] = value
    else:
        document["facts"][0]["attributes"]["unheard_of"] = value
    assert signature(known["wire"], json.dumps(document)) is None


def test_every_maker_with_a_decoder_is_fed(known: dict[str, Target]) -> None:
    fed = {backend.name for backend in fuzz_readers.backends() if backend.decoder is not None}
    assert fed <= known.keys()
    assert {"rdma", "kernel-log", "kernel-live", "wire", "wire-bytes"} <= known.keys()
    assert all(target.corpus for target in known.values())


def test_the_damage_of_a_round_is_always_the_same() -> None:
    text = "| 0  A100 | 45C | 60W / 300W |\n| 1  A100 | 46C | N/A |\n"
    once, again = ([damaged(random.Random(f"7:{n}"), text, [text]) for n in range(300)] for _ in range(2))
    assert once == again
    assert len(set(once)) > 200


def test_a_crash_a_hang_and_a_lie_are_findings() -> None:
    def crash(text: object) -> None:
        raise KeyError(text)

    def hang(text: object) -> None:
        while True:
            pass

    def lie(text: object) -> None:
        fuzz_readers.check_decoded(None)

    broken = [signature(Target("x", feed, [("x", "x")]), "x") or "" for feed in (crash, lie, hang)]
    assert [text.split()[0] for text in broken] == ["KeyError", "Broke", "more"]


@pytest.mark.parametrize("value", [None, "312 W", [312]])
def test_a_value_that_is_no_number_is_a_finding_that_names_its_key(value: object) -> None:
    def decode(text: str) -> Decoded:
        return Decoded("x", "x", "json", cards=[DecodedCard(0, values={"power_watts": value})])  # type: ignore[dict-item]

    found = signature(Target("x", fuzz_readers._decoding(decode), [("x", "x")]), "x")
    assert found is not None and "power_watts is no number" in found


def test_twenty_seconds_of_damage_break_nothing() -> None:
    done = subprocess.run(
        [sys.executable, str(FOLDER / "fuzz_readers.py"), "--seconds", "20", "--seed", "1"],
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads(done.stdout.splitlines()[-1])["fuzz"]["rounds"] > 100


def test_a_decoder_that_takes_no_text_as_it_is_was_not_tested_and_says_what_is_missing(
    tmp_path: Path,
) -> None:
    foreign = tmp_path / "other.txt"
    foreign.write_text("ACME-SMI 2.1\n")
    own = FOLDER.parent / "fixtures/nvidia"
    texts = [path for path in sorted(own.rglob("*.csv"))][:1]
    assert texts
    command = [sys.executable, str(FOLDER / "fuzz_readers.py"), "--only", "nvidia", "--rounds", "30"]
    refused = subprocess.run(
        [*command, "--recording", str(foreign)], capture_output=True, text=True, check=False
    )
    assert refused.returncode == 2
    assert "--recording FILE" in refused.stderr and "recordings/nvidia/" in refused.stderr
    tested = subprocess.run(
        [*command, "--recording", str(texts[0])], capture_output=True, text=True, check=False
    )
    assert tested.returncode == 0, tested.stdout + tested.stderr
    assert "30 rounds" in tested.stdout
