"""Rows once and only once, whatever comes: duplicates, poison, kills, wrong clocks, new agents."""

from __future__ import annotations

import gzip
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests.collector.fleet_fixture import NOON, STREAM, Fleet, card_sample

from ullage_collector.journal import Position
from ullage_collector.store import writer as writer_module
from ullage_collector.store.writer import EVENTS, SAMPLES
from ullage_contract.clock import ManualClock
from ullage_contract.errors import DiskFull
from ullage_contract.event import Event, Severity
from ullage_contract.sample import Facts, Family, Origin, Sample
from ullage_contract.wire import encode


@pytest.fixture
def fleet(tmp_path: Path):
    fleet = Fleet(tmp_path)
    yield fleet
    fleet.close()


def test_rows_come_out_as_they_went_in(fleet: Fleet) -> None:
    fleet.push(
        [
            card_sample(
                "GPU-1",
                NOON,
                {"utilization_ratio": 0.25, "energy_joules": 1e12 + 0.5, "health": "ok", "throttle_reasons": 5,
                 "memory_used_bytes": 33_487_323_136, "pcie_rx_bytes": 2**64 - 1},
                failed={"power_watts": "deadline", "fan_ratio": "broken"},
            )
        ]
    )  # fmt: skip
    fleet.writer.drain()
    (row,) = fleet.rows(
        "SELECT c.card_id, n.node_id, utilization_ratio, energy_joules, health, throttle_reasons, memory_used_bytes, "
        "pcie_rx_bytes, power_watts, failed, b.boot_id, b.origin, e.counters_epoch, clock_shift_seconds, interval_seconds "
        "FROM card_sample s JOIN card c USING (card_key) JOIN node n ON n.node_key = s.node_key "
        "JOIN boot b USING (boot_key) JOIN epoch e USING (epoch_key)"
    )
    assert row == (
        "GPU-1", "n1", 0.25, 1e12 + 0.5, "ok", 5, 33_487_323_136, 2**64 - 1, None,
        "fan_ratio=broken power_watts=deadline", "boot-1", "real", "boot-1", None, 10.0,
    )  # fmt: skip


def test_every_family_has_its_place(fleet: Fleet) -> None:
    def sample(family: Family, subject: str, **values: float) -> Sample:
        return Sample(family, subject, NOON, 1.0, 10.0, values)

    fleet.push(
        [
            sample(Family.CARD, "GPU-1", power_watts=1.0),
            sample(Family.SLICE, "GPU-1/3", utilization_ratio=0.5),
            sample(Family.PORT, "n1/mlx5_0/1", xmit_data_bytes=7),
            sample(Family.NODE, "n1", load1=2.0),
            sample(Family.PROCESS, "GPU-1#4711", process_memory_used_bytes=9),
        ]
    )
    fleet.writer.drain()
    assert fleet.rows("SELECT slice_id, card_id FROM slice_sample JOIN slice USING (slice_key) JOIN card USING (card_key)") == [("GPU-1/3", "GPU-1")]  # fmt: skip
    assert fleet.rows("SELECT device, port, xmit_data_bytes FROM port_sample JOIN port USING (port_key)") == [("mlx5_0", 1, 7)]  # fmt: skip
    assert fleet.rows("SELECT node_id, load1 FROM node_sample JOIN node USING (node_key)") == [("n1", 2.0)]
    assert fleet.rows("SELECT card_id, pid, process_memory_used_bytes FROM process_sample JOIN card USING (card_key)") == [("GPU-1", 4711, 9)]  # fmt: skip


def test_a_record_that_stands_twice_counts_once(fleet: Fleet) -> None:
    batch = fleet.push([card_sample("GPU-1", NOON, {"power_watts": 1.0})])
    fleet.journal(batch, encode(batch))
    fleet.writer.drain()
    fleet.journal(batch, encode(batch))
    fleet.writer.drain()
    fleet.reopen()
    fleet.journal(batch, encode(batch))
    fleet.writer.drain()
    assert fleet.one("SELECT count(*) FROM card_sample") == 1
    assert fleet.rows("SELECT stream, applied_through, gaps FROM stream") == [(STREAM, 1, 0)]


def test_a_gap_is_legal_and_counted(fleet: Fleet) -> None:
    fleet.push([card_sample("GPU-1", NOON, {"power_watts": 1.0})])
    fleet.push([card_sample("GPU-1", NOON + 10, {"power_watts": 1.0})], sequence=5)
    fleet.writer.drain()
    assert fleet.rows("SELECT applied_through, gaps FROM stream") == [(5, 3)]
    assert fleet.writer.applied_through(STREAM) == 5


def test_the_position_moves_with_the_rows(fleet: Fleet) -> None:
    for i in range(50):
        fleet.push([card_sample("GPU-1", NOON + i * 10, {"power_watts": float(i)})])
    fleet.writer.step(limit_bytes=1)
    assert fleet.one("SELECT count(*) FROM card_sample") == 1
    fleet.reopen()
    fleet.writer.drain()
    assert fleet.one("SELECT count(*) FROM card_sample") == 50
    assert fleet.one("SELECT count(DISTINCT time) FROM card_sample") == 50
    assert fleet.writer.position(SAMPLES) == fleet.journals["samples"].end
    assert fleet.writer.position(EVENTS) == Position(0, 0)


def test_a_poisoned_batch_is_quarantined_and_the_next_go_on(fleet: Fleet) -> None:
    fleet.push([card_sample("GPU-1", NOON, {"power_watts": 1.0})])
    batch = fleet.batch([card_sample("GPU-1", NOON + 10, {"power_watts": 2.0})])
    fleet.journal(batch, b"not gzip")
    batch = fleet.batch([card_sample("GPU-1", NOON + 20, {"power_watts": 3.0})])
    document = json.loads(gzip.decompress(encode(batch)))
    document["families"]["process"] = {**document["families"]["card"], "subject": ["no-pid"], "columns": {}}
    fleet.journal(batch, gzip.compress(json.dumps(document).encode()))
    fleet.push([card_sample("GPU-1", NOON + 30, {"power_watts": 4.0})])
    fleet.writer.drain()
    assert fleet.rows("SELECT power_watts FROM card_sample ORDER BY 1") == [(1.0,), (4.0,)]
    kept = fleet.rows("SELECT sequence, reason, file FROM quarantine ORDER BY 1")
    assert [row[0] for row in kept] == [2, 3]
    assert "gzip" in kept[0][1]
    assert "card_id#pid" in kept[1][1]
    assert (fleet.folder / "quarantine" / kept[0][2]).read_bytes() == b"not gzip"
    assert fleet.one("SELECT applied_through FROM stream") == 4
    assert fleet.writer.counts.quarantined == 2


def test_the_quarantine_is_bounded_and_counts_on(fleet: Fleet) -> None:
    fleet.quarantine._max_bytes = 20
    for _ in range(3):
        fleet.journal(fleet.batch(), b"not gzip at")
    fleet.writer.drain()
    files = [file for (file,) in fleet.rows("SELECT file FROM quarantine ORDER BY sequence")]
    assert [file is not None for file in files] == [True, False, False]


def test_a_value_a_column_cannot_hold_is_one_broken_reading(fleet: Fleet) -> None:
    fleet.push(
        [
            card_sample("GPU-1", NOON, {"pcie_rx_bytes": 5, "power_watts": 1.0}),
            card_sample("GPU-2", NOON, {"pcie_rx_bytes": -5, "power_watts": 2.0}),
        ]
    )
    fleet.writer.drain()
    assert fleet.rows("SELECT pcie_rx_bytes, power_watts, failed FROM card_sample ORDER BY power_watts") == [
        (5, 1.0, None),
        (None, 2.0, "pcie_rx_bytes=broken"),
    ]
    assert fleet.one("SELECT count(*) FROM quarantine") == 0


def test_a_full_disk_is_nobodys_fault(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    fleet.push([card_sample("GPU-1", NOON, {"power_watts": 1.0})])

    def full(cursor: object) -> None:
        raise DiskFull("no room")

    monkeypatch.setattr(fleet.store, "_commit", full)
    with pytest.raises(DiskFull):
        fleet.writer.step()
    monkeypatch.undo()
    assert fleet.one("SELECT count(*) FROM quarantine") == 0
    fleet.writer.drain()
    assert fleet.one("SELECT count(*) FROM card_sample") == 1


def test_a_wrong_clock_is_shifted_and_flagged(fleet: Fleet) -> None:
    fleet.push([card_sample("GPU-1", NOON + 4000, {"power_watts": 1.0})], skew=4000.0, at=NOON)
    fleet.writer.drain()
    fleet.clock.advance(61)
    fleet.writer.step()
    assert fleet.rows("SELECT epoch(time), clock_shift_seconds FROM card_sample") == [(NOON, -4000.0)]
    assert fleet.rows("SELECT clock_wrong, clock_skew_seconds FROM node") == [(True, 4000.0)]


def test_a_small_skew_is_kept_and_told(fleet: Fleet) -> None:
    fleet.push([card_sample("GPU-1", NOON + 20, {"power_watts": 1.0})], skew=20.0)
    fleet.writer.drain()
    fleet.clock.advance(61)
    fleet.writer.step()
    assert fleet.rows("SELECT epoch(time), clock_shift_seconds FROM card_sample") == [(NOON + 20, None)]
    assert fleet.rows("SELECT clock_wrong, clock_skew_seconds FROM node") == [(False, 20.0)]


def test_nonsense_times_are_refused_and_the_rest_kept(fleet: Fleet) -> None:
    fleet.push(
        [
            card_sample("GPU-1", 12.0, {"power_watts": 1.0}, failed={"fan_ratio": "broken"}),
            card_sample("GPU-1", NOON, {"power_watts": 2.0}, failed={"fan_rpm": "broken"}),
            card_sample("GPU-1", NOON + 86_400, {"power_watts": 3.0}),
        ],
        at=NOON,
    )
    fleet.writer.drain()
    assert fleet.rows("SELECT power_watts, failed FROM card_sample") == [(2.0, "fan_rpm=broken")]
    assert fleet.writer.counts.rows_refused == 2
    assert len(fleet.store.days.tables(writer_module.kind(Family.CARD, writer_module.Grain.SAMPLE))) == 1


def test_rows_around_midnight_go_to_their_own_days(tmp_path: Path) -> None:
    midnight = NOON + 12 * 3600
    fleet = Fleet(tmp_path, ManualClock(wall=midnight + 60))
    fleet.push([card_sample("GPU-1", midnight + s, {"power_watts": float(s)}) for s in (-20, -10, 0, 10)])
    fleet.writer.drain()
    assert fleet.one("SELECT count(*) FROM card_sample_20261021") == 2
    assert fleet.one("SELECT count(*) FROM card_sample_20261022") == 2
    fleet.close()


def test_a_metric_of_a_newer_agent_is_set_apart(fleet: Fleet) -> None:
    batch = fleet.batch([card_sample("GPU-1", NOON, {"power_watts": 1.0})])
    document = json.loads(gzip.decompress(encode(batch)))
    document["families"]["card"]["columns"]["flux_capacitance"] = [1.21]
    fleet.journal(batch, gzip.compress(json.dumps(document).encode()))
    fleet.writer.drain()
    assert fleet.rows("SELECT power_watts FROM card_sample") == [(1.0,)]
    assert fleet.writer.counts.unknown_metrics == 1


def test_a_node_speaks_for_itself_alone(fleet: Fleet) -> None:
    fleet.push([Sample(Family.NODE, "n2", NOON, 1.0, 10.0, {"load1": 1.0})], node="n1")
    fleet.writer.drain()
    assert fleet.one("SELECT count(*) FROM node_sample") == 0
    assert "another node" in fleet.one("SELECT reason FROM quarantine")


def test_facts_are_dated_on_change_and_late_ones_are_history(fleet: Fleet) -> None:
    def facts(time: float, **attributes: object) -> Facts:
        return Facts(Family.CARD, "GPU-1", time, attributes)  # type: ignore[arg-type]

    fleet.push(facts=[facts(NOON, vendor="nvidia", model="H800", driver_version="535", index=0)])
    fleet.push(facts=[facts(NOON + 100, vendor="nvidia", model="H800", driver_version="550", index=0)])
    fleet.push(facts=[facts(NOON + 200, vendor="nvidia", model="H800", driver_version="550", index=0)])
    fleet.push(facts=[facts(NOON - 500, driver_version="530")])
    fleet.writer.drain()
    history = fleet.rows("SELECT value, epoch(valid_from) FROM fact WHERE name = 'driver_version' ORDER BY 2")
    assert history == [('"530"', NOON - 500), ('"535"', NOON), ('"550"', NOON + 100)]
    assert fleet.rows("SELECT vendor, model, card_index, facts->>'driver_version' FROM card") == [
        ("nvidia", "H800", 0, "550")
    ]


def test_events_keep_who_said_them_and_two_machines_under_one_name_are_one(fleet: Fleet) -> None:
    event = Event(NOON, "xid", Severity.FATAL, Family.CARD, "GPU-1", "kernel_log", "fallen off the bus", "79", "nvidia", {"pid": 7})  # fmt: skip
    fleet.push(lane="events", stream="b" * 32, events=[event])
    fleet.push([card_sample("GPU-1", NOON, {"power_watts": 1.0})], machine_id="m-one")
    fleet.push([card_sample("GPU-1", NOON, {"power_watts": 1.0})], machine_id="m-two")
    fleet.push([card_sample("GPU-1", NOON, {"power_watts": 1.0})], machine_id="m-one")
    fleet.writer.drain()
    assert fleet.rows(
        "SELECT code, severity, attributes->>'pid', stream, sequence FROM event WHERE kind = 'xid'"
    ) == [("79", "fatal", "7", "b" * 32, 1)]
    assert fleet.one("SELECT count(*) FROM event WHERE kind = 'identity_conflict' AND subject = 'n1'") >= 1


def test_an_identity_somebody_else_made_is_found(fleet: Fleet) -> None:
    with fleet.store.write() as cursor:
        cursor.execute(
            "INSERT INTO card (card_key, card_id, node_key, vendor, origin) VALUES (nextval('subject_key'), 'GPU-9', 1, 'amd', 'imported')"
        )
    fleet.push([card_sample("GPU-9", NOON, {"power_watts": 1.0})])
    fleet.writer.drain()
    assert (
        fleet.one("SELECT count(*) FROM card_sample JOIN card USING (card_key) WHERE card_id = 'GPU-9'") == 1
    )
    assert fleet.one("SELECT count(*) FROM quarantine") == 0


def test_simulated_rows_say_so(fleet: Fleet) -> None:
    fleet.push(
        [card_sample("SIM-1", NOON, {"power_watts": 1.0})],
        origin=Origin.SIMULATED,
        node="sim",
        stream="c" * 32,
    )
    fleet.writer.drain()
    assert fleet.one("SELECT origin FROM card WHERE card_id = 'SIM-1'") == "simulated"
    assert fleet.one("SELECT b.origin FROM card_sample JOIN boot b USING (boot_key)") == "simulated"


_CHILD = """
import sys; sys.path.insert(0, sys.argv[2])
from pathlib import Path
from tests.collector.fleet_fixture import Fleet
from ullage_collector.journal import JournalReader
from ullage_collector.store.quarantine import Quarantine
from ullage_collector.store.store import Store
from ullage_collector.store.writer import Writer
folder = Path(sys.argv[1])
store = Store.open(folder / "store.duckdb")
writer = Writer(store, JournalReader(folder / "journal/samples"), JournalReader(folder / "journal/events"),
                Quarantine(folder / "quarantine", 10**6))
print("ready", flush=True)
while writer.step(limit_bytes=2000):
    pass
print("done", flush=True)
"""


def test_a_killed_writer_leaves_every_batch_whole_or_absent_and_stores_it_once(tmp_path: Path) -> None:
    fleet = Fleet(tmp_path)
    batches = 400
    for i in range(batches):
        fleet.push([card_sample(f"GPU-{c}", NOON + i, {"power_watts": float(i)}) for c in range(3)])
    fleet.store.close()
    root = str(Path(__file__).parents[2])
    for round_ in range(6):
        child = subprocess.Popen(
            [sys.executable, "-c", _CHILD, str(tmp_path), root], stdout=subprocess.PIPE, text=True
        )
        assert child.stdout is not None
        assert child.stdout.readline().strip() == "ready"
        time.sleep(0.02 + 0.03 * round_)
        os.kill(child.pid, signal.SIGKILL)
        child.wait()
        child.stdout.close()
        fleet.open()
        applied = fleet.rows("SELECT applied_through FROM stream")
        through = applied[0][0] if applied else 0
        assert fleet.one("SELECT count(*) FROM card_sample") == 3 * through
        fleet.store.close()
    fleet.open()
    fleet.writer.drain()
    assert fleet.one("SELECT count(*) FROM card_sample") == 3 * batches
    assert fleet.one("SELECT count(DISTINCT (time, card_key)) FROM card_sample") == 3 * batches
    fleet.close()


_FULL = """
import resource, signal, sys; sys.path.insert(0, sys.argv[2])
from pathlib import Path
from tests.collector.fleet_fixture import NOON, Fleet, card_sample
from ullage_contract.errors import DiskFull
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
fleet = Fleet(Path(sys.argv[1]))
for k in range(40):
    fleet.push([card_sample(f"GPU-{i}", NOON + k * 10, {"power_watts": i * 1.37 * k}) for i in range(100)])
size = max(p.stat().st_size for p in Path(sys.argv[1]).glob("store*"))
no = resource.RLIM_INFINITY
resource.setrlimit(resource.RLIMIT_FSIZE, (size + 3000, no))
refused = 0
for _ in range(3):
    try:
        fleet.writer.drain()
    except DiskFull:
        refused += 1
resource.setrlimit(resource.RLIMIT_FSIZE, (no, no))
fleet.writer.drain()
print(refused, fleet.one("SELECT count(*) FROM card_sample"), fleet.one("SELECT count(*) FROM quarantine"))
fleet.reopen()
print(fleet.one("SELECT count(DISTINCT (time, card_key)) FROM card_sample"))
"""


def test_a_file_that_may_not_grow_refuses_for_now_and_loses_nothing(tmp_path: Path) -> None:
    root = str(Path(__file__).parents[2])
    done = subprocess.run(
        [sys.executable, "-c", _FULL, str(tmp_path), root], capture_output=True, text=True, timeout=120
    )
    assert done.stdout.split("\n")[:2] == ["3 4000 0", "4000"], done.stderr
