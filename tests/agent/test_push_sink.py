"""The push sink: what is gathered for how long, what goes ahead of what, and what an hour away costs."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from batch_rows import SENDER, card_sample, xid
from wire_server import HANG, Status, WireServer

from ullage_agent.outputs.batches import BatchWriter
from ullage_agent.outputs.push import Pusher
from ullage_agent.outputs.push_sink import GATHER_EVENTS_SECONDS, OVERTAKE_BATCHES, PushSink
from ullage_agent.outputs.quarantine import Quarantine
from ullage_agent.outputs.spool import Spool
from ullage_agent.outputs.transport import Endpoint, HttpTransport
from ullage_agent.sink import Sink
from ullage_contract.clock import Clock, ManualClock, SystemClock
from ullage_contract.sample import Facts, Family, Origin, Sample
from ullage_contract.wire import decode


class Rig:
    """A sink with both lanes against a real server; stepped by hand unless started."""

    def __init__(self, place: Path, url: str, clock: Clock, *, max_batches: int = 8_640) -> None:
        self.clock = clock
        self.url = url
        quarantine = Quarantine(place / "quarantine")
        self.spools = {
            lane: Spool(
                place / lane,
                lane=lane,
                quarantine=quarantine,
                max_batches=max_batches,
                on_drop=lambda count: self.sink.dropped(count),
            )
            for lane in ("samples", "events")
        }
        events = self._pusher("events", newest_first=True, max_pause_seconds=15.0)
        self.pushers = {"samples": self._pusher("samples", yield_to=events), "events": events}
        self.sink = PushSink(
            sender=SENDER,
            samples=self.spools["samples"],
            events=self.spools["events"],
            samples_pusher=self.pushers["samples"],
            events_pusher=events,
            clock=clock,
        )

    def _pusher(self, lane: str, **more: object) -> Pusher:
        return Pusher(
            self.spools[lane],
            HttpTransport(Endpoint(url=self.url, timeout_seconds=5.0)),
            clock=self.clock,
            chance=random.Random(1),
            on_conflict=lambda *what: self.sink.conflict(*what),
            **more,  # type: ignore[arg-type]
        )

    def send(self) -> None:
        """Every lane sends all it may send at this instant."""
        for pusher in (self.pushers["events"], self.pushers["samples"]):
            while pusher.step() == 0.0:
                pass


@pytest.fixture
def server() -> Iterator[WireServer]:
    with WireServer() as running:
        yield running


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


def test_it_is_a_sink(tmp_path: Path, server: WireServer, clock: ManualClock) -> None:
    assert isinstance(Rig(tmp_path, server.url, clock).sink, Sink)


def test_samples_of_thirty_seconds_are_one_batch_and_first_facts_go_at_once(
    tmp_path: Path, server: WireServer, clock: ManualClock
) -> None:
    rig = Rig(tmp_path, server.url, clock)
    facts = Facts(Family.CARD, "GPU-1", clock.wall(), {"vendor": "nvidia", "model": "H100"})
    rig.sink.facts([facts])
    for tick in range(7):
        rig.sink.samples([card_sample(tick)])
        rig.sink.sources(())
        rig.sink.step()
        rig.send()
        clock.advance(10)
    sizes = [len(b.families[Family.CARD].subject) for b in server.batches]
    assert sizes == [1, 4] and [len(b.facts) for b in server.batches] == [1, 0]
    assert server.batches[0].facts == [facts]
    assert rig.sink.step() == pytest.approx(10)  # the last two ticks wait for their thirty seconds
    clock.advance(10)
    rig.sink.step()
    rig.send()
    assert sum(len(b.families[Family.CARD].subject) for b in server.batches) == 7


def test_events_are_gathered_two_hundred_milliseconds_and_no_longer(
    tmp_path: Path, server: WireServer, clock: ManualClock
) -> None:
    rig = Rig(tmp_path, server.url, clock)
    rig.sink.events([xid(1)])
    assert rig.sink.step() == pytest.approx(GATHER_EVENTS_SECONDS)
    clock.advance(0.1)
    rig.sink.events([xid(2)])
    clock.advance(0.1)
    assert rig.sink.step() is None
    rig.send()
    assert [[e.message for e in b.events] for b in server.batches] == [["event 1", "event 2"]]
    assert server.batches[0].lane == "events"


def test_real_and_simulated_rows_never_share_a_batch(
    tmp_path: Path, server: WireServer, clock: ManualClock
) -> None:
    rig = Rig(tmp_path, server.url, clock)
    rig.sink.samples([card_sample(1)])
    rig.sink.samples([card_sample(2, card="SIM-1")], origin=Origin.SIMULATED)
    rig.sink.events([xid(1)])
    rig.sink.events([xid(2)], origin=Origin.SIMULATED)
    rig.sink.step(everything=True)
    rig.send()
    assert {(b.lane, b.origin, len(b.events) + sum(len(f.subject) for f in b.families.values())) for b in server.batches} == {
        ("samples", Origin.REAL, 1),
        ("samples", Origin.SIMULATED, 1),
        ("events", Origin.REAL, 1),
        ("events", Origin.SIMULATED, 1),
    }  # fmt: skip


def test_an_hour_away_arrives_in_order_and_a_new_event_overtakes_the_backlog(
    tmp_path: Path, server: WireServer, clock: ManualClock
) -> None:
    rig = Rig(tmp_path, server.url, clock)
    rig.sink.events([xid(0)])
    clock.advance(1)
    rig.sink.step()
    rig.send()
    server.plan.extend([Status(503)] * 10_000)
    for tick in range(360):  # an hour of ticks, an event a minute
        rig.sink.samples([card_sample(tick)])
        if tick % 6 == 0:
            rig.sink.events([xid(1 + tick // 6)])
        clock.advance(10)
        rig.sink.step()
        rig.send()
    waiting = rig.spools["events"].batches
    assert waiting == 60 > OVERTAKE_BATCHES and rig.spools["samples"].batches >= 90
    server.plan.clear()
    clock.advance(300)
    # The collector is back: one batch of the backlog gets through, then something new happens.
    assert rig.pushers["events"].step() == 0.0
    rig.sink.events([xid(999)])
    clock.advance(0.2)
    rig.sink.step()
    server.order.clear()
    rig.send()
    events = [b for b in server.batches if b.lane == "events"]
    assert [e.message for b in events for e in b.events] == [
        "event 0",
        "event 1",
        "event 999",
        *(f"event {n}" for n in range(2, 61)),
    ]
    for stream in {s for s, _ in server.order}:
        numbers = [n for s, n in server.order if s == stream]
        assert numbers == sorted(numbers)
    rig.sink.step(everything=True)
    rig.send()
    samples = [b for b in server.batches if b.lane == "samples"]
    times = [t for b in samples for t in b.families[Family.CARD].time]
    assert times == [1_800_000_000.0 + n for n in range(360)]
    assert all(s.batches == 0 for s in rig.spools.values()) and not server.conflicts
    assert rig.sink.dropped_batches == 0


def test_no_new_stream_is_minted_while_the_collector_is_away_or_when_little_waits(
    tmp_path: Path, server: WireServer, clock: ManualClock
) -> None:
    rig = Rig(tmp_path, server.url, clock)
    stream = rig.spools["events"].stream
    server.plan.extend([Status(503)] * 100)
    for n in range(50):
        rig.sink.events([xid(n)])
        clock.advance(1)
        rig.sink.step()
        rig.send()
    assert rig.spools["events"].stream == stream
    server.plan.clear()
    clock.advance(60)
    rig.send()
    rig.sink.events([xid(99)])
    clock.advance(1)
    rig.sink.step()
    assert rig.spools["events"].stream == stream


def test_at_the_bound_one_event_says_how_much_was_dropped_and_not_one_a_batch(
    tmp_path: Path, server: WireServer, clock: ManualClock
) -> None:
    rig = Rig(tmp_path, server.url, clock, max_batches=5)
    for n in range(40):
        rig.sink.samples([card_sample(n)])
        clock.advance(30)
        rig.sink.step()
    rig.send()
    told = [e for b in server.batches for e in b.events]
    assert [e.kind for e in told] == ["spool_dropped"] * len(told)
    assert len(told) == 4 and all(e.subject == SENDER.node for e in told)
    assert rig.sink.dropped_batches == rig.spools["samples"].dropped == 35
    assert told[0].attributes == {"batches": 1} and told[1].attributes == {"batches": 10}


def test_a_copied_spool_becomes_an_event_and_a_new_stream(
    tmp_path: Path, server: WireServer, clock: ManualClock
) -> None:
    rig = Rig(tmp_path, server.url, clock)
    old = rig.spools["samples"].stream
    server.taken[old, 1] = b"the copy was faster"
    rig.sink.samples([card_sample(1)])
    rig.sink.step(everything=True)
    rig.send()
    clock.advance(1)
    rig.sink.step()
    rig.send()
    (event,) = [e for b in server.batches for e in b.events]
    assert event.kind == "identity_conflict" and event.attributes["stream"] == old
    assert rig.spools["samples"].stream != old


def test_one_row_that_cannot_be_sent_does_not_cost_the_others(
    tmp_path: Path, server: WireServer, clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    rig = Rig(tmp_path, server.url, clock)
    good = [card_sample(n) for n in range(9)]
    wrong = Sample(Family.CARD, "GPU-x", 1.0, 1.0, 10.0, {"no_such_metric": 1.0})
    odd = Sample(Family.CARD, "GPU-y", 1.0, 1.0, 10.0, {"power_watts": [1.0]})  # type: ignore[dict-item]
    with caplog.at_level(logging.ERROR):
        rig.sink.samples([*good[:4], wrong, *good[4:], odd])
        rig.sink.step(everything=True)
    rig.send()
    times = [t for b in server.batches for t in b.families[Family.CARD].time]
    assert times == [s.time for s in good]
    assert "no_such_metric" in caplog.text and rig.sink._samples_writer.refused == 2


def test_too_many_rows_and_too_many_bytes_are_split_in_order(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "s", lane="samples", quarantine=Quarantine(tmp_path / "q"))
    rows = [card_sample(n) for n in range(100)]
    writer = BatchWriter(spool, SENDER, max_rows=30, max_bytes=450)
    assert writer.write(rows, Origin.REAL) == spool.batches > 4
    found, after = [], 0
    while (taken := spool.take(spool.stream, after=after)) is not None:
        after = taken[0].sequence
        assert len(taken[1]) <= 450
        found += decode(taken[1]).families[Family.CARD].time
    assert found == [row.time for row in rows]


def test_the_threads_deliver_and_an_event_does_not_wait_for_samples_that_hang(
    tmp_path: Path, server: WireServer
) -> None:
    rig = Rig(tmp_path, server.url, SystemClock())
    server.plan.append(HANG)
    rig.sink.facts([Facts(Family.NODE, "gpu-a017", 1.0, {"hostname": "a"})])
    rig.sink.start()
    rig.sink.sources(())
    server.wait_for(lambda s: len(s.requests) == 1)  # the samples' batch hangs in the server now
    rig.sink.events([xid(7)])
    server.wait_for(lambda s: [e.message for b in s.batches for e in b.events] == ["event 7"])
    rig.sink.close()


def test_close_spools_and_sends_what_was_gathered(tmp_path: Path, server: WireServer) -> None:
    rig = Rig(tmp_path, server.url, SystemClock())
    rig.sink.start()
    rig.sink.samples([card_sample(n) for n in range(3)])
    rig.sink.events([xid(1)])
    rig.sink.close()
    assert {b.lane for b in server.batches} == {"samples", "events"}
    assert rig.sink.spool_bytes == 0


def test_close_with_nobody_there_leaves_everything_on_disk_and_returns(tmp_path: Path) -> None:
    rig = Rig(tmp_path, "http://127.0.0.1:9/v1/push", SystemClock())
    rig.sink.start()
    rig.sink.samples([card_sample(1)])
    began = time.monotonic()
    rig.sink.close()
    assert time.monotonic() - began < 10
    assert len(list(tmp_path.glob("samples/*/*.batch"))) == 1


def test_what_waits_in_memory_is_bounded_when_the_disk_hangs(
    tmp_path: Path, server: WireServer, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ullage_agent.outputs.push_sink.MAX_WAITING_ROWS", 100)
    rig = Rig(tmp_path, server.url, clock)
    for n in range(150):
        rig.sink.samples([card_sample(n)])
    assert rig.sink.rows_dropped == 50
    rig.sink.step(everything=True)
    rig.send()
    assert server.batches[0].families[Family.CARD].time[0] == 1_800_000_050.0


def test_status_tells_both_lanes(tmp_path: Path, server: WireServer, clock: ManualClock) -> None:
    rig = Rig(tmp_path, server.url, clock)
    rig.sink.samples([card_sample(1)])
    rig.sink.step(everything=True)
    before = {s.lane: s for s in rig.sink.status()}
    assert (before["samples"].batches, before["samples"].up, before["samples"].last_success) == (
        1,
        None,
        None,
    )
    rig.send()
    after = {s.lane: s for s in rig.sink.status()}
    assert (after["samples"].sent, after["samples"].up, after["samples"].last_success) == (
        1,
        True,
        clock.wall(),
    )
    assert after["events"].sent == 0
