"""``check`` answers from the last state alone: fast, in one line, and unknown fails nothing unless told to."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from time import monotonic

import pytest

from ullage_agent import verdict
from ullage_agent.commands import check
from ullage_agent.source import SourceReport
from ullage_agent.state import StateFile
from ullage_contract.clock import SystemClock
from ullage_contract.event import Event, Severity
from ullage_contract.identity import boot_id
from ullage_contract.sample import Facts, Family, Sample, Value

FINE: Mapping[str, Value] = {"utilization_ratio": 0.5, "power_watts": 300.0}


@pytest.fixture
def state(tmp_path: Path) -> StateFile:
    """Of an agent that runs on this machine now."""
    (tmp_path / "agent").mkdir()
    made = StateFile(
        tmp_path / "agent/state.json",
        node_id="n1",
        clock=SystemClock(),
        boot_id=boot_id(),
        fast_seconds=10,
        slow_seconds=60,
    )
    made.facts(
        [
            Facts(
                Family.CARD,
                f"GPU-{i}",
                0.0,
                {
                    "index": i,
                    "minor": 7 - i,
                    "uuid": f"GPU-{i}",
                    "pci_address": f"0000:{i:02x}:00.0",
                    "model": "M",
                },
            )
            for i in range(8)
        ]
    )
    return made


def _tick(
    state: StateFile,
    values: Mapping[str, Mapping[str, Value]] | None = None,
    failed: Mapping[str, Mapping[str, str]] | None = None,
    *,
    absent: tuple[str, ...] = (),
    maker_works: bool = True,
    node: Mapping[str, Value] | None = None,
) -> None:
    now = monotonic()
    rows = [
        Sample(
            Family.CARD,
            f"GPU-{i}",
            1.0,
            now,
            10.0,
            (values or {}).get(f"GPU-{i}", FINE),
            (failed or {}).get(f"GPU-{i}", {}),
        )
        for i in range(8)
        if f"GPU-{i}" not in absent
    ]
    rows.append(Sample(Family.NODE, "n1", 1.0, now, 10.0, node or {"cards_expected": 8, "cards_seen": 8}))
    state.samples(rows)
    state.sources(
        [SourceReport("nvidia", maker_works, 0.01, None if maker_works else "driver is gone", 1, 0)]
    )


def _check(tmp_path: Path, capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str]:
    code = check.main([*words, "--data", str(tmp_path)])
    out = capsys.readouterr().out
    assert out.count("\n") == 1, "one line"
    return code, out.strip()


def test_all_good_is_zero(state: StateFile, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _tick(state)
    code, line = _check(tmp_path, capsys)
    assert code == 0
    assert line.startswith("OK - 8 cards good (")


@pytest.mark.parametrize(
    ("values", "failed", "code", "says"),
    [
        ({"health": "lost"}, {}, 2, "lost"),
        ({**FINE, "remap_failure": 1}, {}, 2, "row remap failed"),
        ({**FINE, "recovery_action": "reboot"}, {}, 2, "asks for reboot"),
        ({**FINE, "health": "critical", "health_detail": "0x80E01801"}, {}, 2, "0x80E01801"),
        ({**FINE, "remap_pending": 1}, {}, 1, "waits for a reset"),
        ({**FINE, "throttle_reasons": 1 << 6}, {}, 1, "hardware_thermal"),
        ({**FINE, "links_active": 17, "links_total": 18}, {}, 1, "17 of 18 links"),
        ({**FINE, "pcie_width": 8, "pcie_width_max": 16}, {}, 1, "8 of 16 lanes"),
        (FINE, {"temperature_celsius": "deadline"}, 1, "hangs in temperature_celsius"),
        ({**FINE, "throttle_reasons": 0b101, "recovery_action": "none", "health": "ok"}, {}, 0, "good"),
        (FINE, {"fan_ratio": "not_permitted"}, 0, "good"),
        ({}, {"health": "deadline"}, 0, "no answer"),
    ],
)
def test_a_card_is_judged_by_its_newest_row(
    state: StateFile,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    values: Mapping[str, Value],
    failed: Mapping[str, str],
    code: int,
    says: str,
) -> None:
    _tick(state, {"GPU-3": values}, {"GPU-3": failed})
    got, line = _check(tmp_path, capsys)
    assert (got, says in line) == (code, True), line
    assert _check(tmp_path, capsys, "--card", "2")[0] == 0, "its neighbour is not blamed"
    assert _check(tmp_path, capsys, "--card", "GPU-3")[0] == code


def test_a_card_is_found_by_index_minor_uuid_and_pci_address(
    state: StateFile, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _tick(state, {"GPU-1": {"health": "lost"}})
    for name in ("1", "GPU-1", "gpu-1", "0000:01:00.0", "01:00.0", "00000000:01:00.0"):
        assert _check(tmp_path, capsys, "--card", name)[0] == 2, name
    assert _check(tmp_path, capsys, f"--card={6}")[0] == 0, (
        "minor 6 is card 1, but index 6 is what people mean"
    )
    code, line = _check(tmp_path, capsys, "--card", "17", "--unknown-fails")
    assert (code, "no card is known as 17" in line) == (3, True)


def test_unknown_fails_nothing_unless_asked(
    state: StateFile, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _check(tmp_path, capsys)[0] == 0, "no state at all"
    assert _check(tmp_path, capsys, "--unknown-fails")[0] == 3
    _tick(state, absent=("GPU-5",))
    code, line = _check(tmp_path, capsys)
    assert (code, line.startswith("UNKNOWN - card 5")) == (0, True)
    assert _check(tmp_path, capsys, "--unknown-fails")[0] == 3
    _tick(state, maker_works=False)
    assert "nvidia: driver is gone" in _check(tmp_path, capsys)[1]
    _tick(state, {"GPU-1": {"health": "lost"}}, absent=("GPU-5",))
    assert _check(tmp_path, capsys)[0] == 2, "unknown hides nothing that is known"


def test_fewer_cards_than_the_bus_shows_is_a_warning(
    state: StateFile, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _tick(state, node={"cards_expected": 9, "cards_seen": 8})
    code, line = _check(tmp_path, capsys)
    assert (code, "8 of the 9 cards" in line) == (1, True)


def test_a_port_that_went_down_is_a_warning_until_it_is_up(
    state: StateFile, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    port = "n1/mlx5_0/1"
    state.events([Event(1.0, "port_down", Severity.CRITICAL, Family.PORT, port, "sysfs", "down")])
    _tick(state)
    assert _check(tmp_path, capsys)[0] == 1
    state.events([Event(1.0, "port_up", Severity.INFO, Family.PORT, port, "sysfs", "up")])
    _tick(state)
    assert _check(tmp_path, capsys)[0] == 0


@pytest.mark.parametrize("spoil", ["old", "boot", "torn", "foreign", "empty"])
def test_a_state_that_cannot_be_trusted_is_unknown(
    state: StateFile, tmp_path: Path, capsys: pytest.CaptureFixture[str], spoil: str
) -> None:
    _tick(state)
    file = tmp_path / "agent/state.json"
    document = json.loads(file.read_text())
    if spoil == "old":
        document["monotonic"] -= 41
    if spoil == "boot":
        document["boot_id"] = "another"
    if spoil == "foreign":
        document = {"schema_version": 1, "cards": 3}
    text = json.dumps(document)
    file.write_text({"torn": text[: len(text) // 2], "empty": ""}.get(spoil, text))
    code, line = _check(tmp_path, capsys, "--unknown-fails")
    assert (code, line.startswith("UNKNOWN")) == (3, True)


def test_slow_values_last_three_slow_ticks_and_not_longer(tmp_path: Path) -> None:
    from ullage_contract.clock import ManualClock

    clock = ManualClock()
    (tmp_path / "agent").mkdir()
    file = tmp_path / "agent/state.json"
    state = StateFile(file, node_id="n1", clock=clock, boot_id="b", fast_seconds=10, slow_seconds=60)
    state.facts([Facts(Family.CARD, "GPU-0", 0.0, {"index": 0})])

    def tick(values: Mapping[str, Value]) -> str:
        state.samples([Sample(Family.CARD, "GPU-0", 1.0, clock.monotonic(), 10.0, values)])
        state.sources([])
        return str(json.loads(file.read_text())["cards"][0]["verdict"])

    assert tick({**FINE, "remap_failure": 1}) == verdict.CRITICAL
    clock.advance(170)
    assert tick(FINE) == verdict.CRITICAL, "a fast tick does not say the row remap is fine again"
    clock.advance(20)
    assert tick(FINE) == verdict.GOOD


def test_an_agent_that_ended_leaves_no_living_state(state: StateFile, tmp_path: Path) -> None:
    _tick(state)
    state.close()
    assert check.judge(str(tmp_path / "agent/state.json"))[0] == 3


def test_a_wrong_option_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert check.main(["--crad", "1"]) == 2
    assert "no such option: --crad" in capsys.readouterr().err
    assert check.main(["--card"]) == 2


def test_check_imports_next_to_nothing() -> None:
    """What keeps it far below 100 ms: the interpreter, json, and our two small modules."""
    program = (
        "import sys; before = set(sys.modules); from ullage_agent.cli import main; code = main(['check']); "
        "print(code, *sorted(set(sys.modules) - before))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    code, *modules = done.stdout.splitlines()[-1].split()
    assert code == "0"
    heavy = {
        "argparse",
        "pathlib",
        "logging",
        "dataclasses",
        "psutil",
        "tomllib",
        "importlib.metadata",
    } & set(modules)
    assert not heavy
    assert {m for m in modules if m.startswith("ullage")} == {
        "ullage_agent",
        "ullage_agent.cli",
        "ullage_agent.commands",
        "ullage_agent.commands.check",
    }
