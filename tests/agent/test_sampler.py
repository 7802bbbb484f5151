"""One tick: everybody at once, stamped, checked, merged, handed on; nobody's trouble is another's."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from time import monotonic

import fake_maker
import pytest

from ullage_agent.backend import Reading
from ullage_agent.children.supervisor import Supervisor
from ullage_agent.config import Sampling
from ullage_agent.sampler import Sampler
from ullage_agent.source import SourceReport
from ullage_agent.worker import InProcess
from ullage_contract.catalogue import Tier
from ullage_contract.clock import ManualClock
from ullage_contract.event import Event, Severity
from ullage_contract.sample import Facts, Family, Origin, Sample

PORT = "n1/mlx5_0/1"


class KeepingSink:
    """What came, in order."""

    def __init__(self) -> None:
        self.rows: list[tuple[Origin, Sample]] = []
        self.facts_seen: list[tuple[Origin, Facts]] = []
        self.events_seen: list[tuple[Origin, Event]] = []
        self.reports: dict[str, SourceReport] = {}
        self.closed = 0

    def facts(self, facts: Sequence[Facts], *, origin: Origin = Origin.REAL) -> None:
        self.facts_seen += [(origin, f) for f in facts]

    def samples(self, samples: Sequence[Sample], *, origin: Origin = Origin.REAL) -> None:
        self.rows += [(origin, s) for s in samples]

    def events(self, events: Sequence[Event], *, origin: Origin = Origin.REAL) -> None:
        self.events_seen += [(origin, e) for e in events]

    def sources(self, reports: Sequence[SourceReport]) -> None:
        self.reports = {report.name: report for report in reports}

    def close(self) -> None:
        self.closed += 1

    def row(self, subject: str) -> Sample:
        return next(sample for _, sample in reversed(self.rows) if sample.subject == subject)


class FailingSink(KeepingSink):
    def samples(self, samples: Sequence[Sample], *, origin: Origin = Origin.REAL) -> None:
        raise OSError("disk full")


class PortSource:
    """One port and a piece of the host. ``gate`` holds it; ``broken`` makes it raise."""

    name = "ports"

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.gate.set()
        self.broken = False
        self.waiting: list[Event] = []
        self.asked: list[Tier] = []

    def facts(self) -> Iterator[Facts]:
        yield Facts(Family.PORT, PORT, 0.0, {"node_id": "n1", "device": "mlx5_0", "port": 1, "colour": "red"})

    def read(self, tier: Tier) -> Iterator[Reading]:
        self.asked.append(tier)
        self.gate.wait(30)
        if self.broken:
            raise RuntimeError("no such device")
        yield Reading(Family.PORT, PORT, {"state": "active"})
        yield Reading(Family.NODE, "n1", {"load1": 0.5})
        yield Reading(Family.PORT, PORT, {"xmit_data_bytes": 4})

    def events(self) -> Iterator[Event]:
        waiting, self.waiting = self.waiting, []
        yield from waiting


@pytest.fixture
def sink() -> KeepingSink:
    return KeepingSink()


@pytest.fixture
def sampler(clock: ManualClock, sink: KeepingSink) -> Iterator[Sampler]:
    made = Sampler(
        node_id="n1",
        clock=clock,
        boot_id="boot-1",
        sampling=Sampling(tick_budget_seconds=5.0),
        sinks=[FailingSink(), sink],
        node_values=lambda: {"cards_expected": 4},
        node_facts=lambda: {"backends": ["fake=used"]},
        nearest_ports=lambda address: [PORT] if address == "0000:3b:00.0" else [],
    )
    yield made
    made.close()


def _fake(supervise: Callable[..., Supervisor]) -> Supervisor:
    return supervise(fake_maker.backend)


def test_a_tick_stamps_merges_and_hands_on(
    sampler: Sampler, sink: KeepingSink, clock: ManualClock, supervise: Callable[..., Supervisor]
) -> None:
    sampler.add(_fake(supervise))
    sampler.add(InProcess(PortSource()))
    sampler.tick(Tier.FAST)
    card = sink.row("FAKE-0")
    assert card.values == fake_maker.FAST
    assert (card.time, card.monotonic, card.interval_seconds) == (clock.wall(), clock.monotonic(), 10.0)
    assert card.counters_epoch == "boot-1/load-1"
    port = sink.row(PORT)
    assert port.values == {"state": "active", "xmit_data_bytes": 4}, "two readings of one subject are one row"
    assert port.counters_epoch is None, "a port's counters outlive boots"
    node = sink.row("n1")
    assert (node.values["load1"], node.values["cards_seen"], node.values["cards_expected"]) == (0.5, 4, 4)
    assert node.values["agent_memory_bytes"] > 1e6
    assert sum(1 for _, s in sink.rows if s.family is Family.NODE) == 1
    assert {name: r.success for name, r in sink.reports.items()} == {"fake": True, "ports": True}
    assert sink.reports["fake"].children == 1
    assert sink.reports["ports"].children is None


def test_a_sink_that_fails_costs_the_others_nothing(
    sampler: Sampler, sink: KeepingSink, caplog: pytest.LogCaptureFixture
) -> None:
    sampler.add(InProcess(PortSource()))
    for _ in range(8):
        sampler.tick(Tier.FAST)
    assert sum(1 for _, s in sink.rows if s.subject == PORT) == 8
    told = [r for r in caplog.records if "FailingSink failed" in r.getMessage()]
    assert len(told) == 4, "told at 1, 2, 4 and 8, not every tick"


def test_a_source_that_hangs_keeps_nobody_waiting_and_is_not_asked_twice(
    clock: ManualClock, sink: KeepingSink, supervise: Callable[..., Supervisor]
) -> None:
    held = PortSource()
    held.gate.clear()
    sampler = Sampler(node_id="n1", clock=clock, sampling=Sampling(tick_budget_seconds=1.5), sinks=[sink])
    sampler.add(InProcess(held))
    sampler.add(_fake(supervise))
    for _ in range(3):
        sampler.tick(Tier.FAST)
        clock.advance(10)
    assert held.asked == [Tier.FAST]
    assert not sink.reports["ports"].success
    assert "still reading after" in (sink.reports["ports"].message or "")
    assert sum(1 for _, s in sink.rows if s.subject == "FAKE-3") == 3
    sampler.tick(Tier.SLOW)
    held.gate.set()
    clock.advance(10)
    for worker in sampler._workers:
        assert worker.wait(monotonic() + 30)
    sampler.tick(Tier.FAST)
    assert held.asked == [Tier.FAST, Tier.SLOW], "the slow tick it missed is owed"
    assert sink.row(PORT).values["state"] == "active"
    sampler.close()


def test_a_source_that_raises_is_told_and_the_rest_comes(
    sampler: Sampler, sink: KeepingSink, supervise: Callable[..., Supervisor]
) -> None:
    broken = PortSource()
    broken.broken = True
    sampler.add(InProcess(broken))
    sampler.add(_fake(supervise))
    sampler.tick(Tier.FAST)
    assert sink.reports["ports"].message == "RuntimeError: no such device"
    assert sink.row("FAKE-0").values == fake_maker.FAST
    assert sink.row("n1").values["cards_seen"] == 4, "a dead source hides no card"


def test_a_maker_that_does_not_answer_has_an_unknown_number_of_cards(
    sampler: Sampler, sink: KeepingSink, supervise: Callable[..., Supervisor], control: Path
) -> None:
    (control / "raise@@open").touch()
    sampler.add(_fake(supervise))
    sampler.tick(Tier.FAST)
    assert "cards_seen" not in sink.row("n1").values


def test_facts_are_sent_at_start_on_change_and_once_a_day(
    sampler: Sampler,
    sink: KeepingSink,
    clock: ManualClock,
    supervise: Callable[..., Supervisor],
    control: Path,
) -> None:
    sampler.add(_fake(supervise))
    for _ in range(30):
        sampler.tick(Tier.FAST)
        clock.advance(10)
    assert [f.subject for _, f in sink.facts_seen] == [*fake_maker.CARDS, "n1"]
    assert sink.facts_seen[0][1].attributes["model"] == "Fake 9000"
    sink.facts_seen.clear()
    (control / "raise@FAKE-1@name").touch()
    clock.advance(3600)
    sampler.tick(Tier.FAST)
    (changed,) = [f for _, f in sink.facts_seen]
    assert (changed.subject, changed.attributes.get("model"), changed.time) == ("FAKE-1", None, clock.wall())
    sink.facts_seen.clear()
    clock.advance(86_400)
    sampler.tick(Tier.FAST)
    assert {f.subject for _, f in sink.facts_seen} == {*fake_maker.CARDS, "n1"}


def test_a_card_knows_its_nearest_ports(
    sampler: Sampler, sink: KeepingSink, supervise: Callable[..., Supervisor]
) -> None:
    sampler.add(_fake(supervise))
    sampler.tick(Tier.FAST)
    nearest = {
        f.subject: f.attributes.get("nearest_ports") for _, f in sink.facts_seen if f.family is Family.CARD
    }
    assert nearest == {"FAKE-0": [PORT], "FAKE-1": None, "FAKE-2": None, "FAKE-3": None}


def test_what_the_contract_does_not_know_is_left_out_and_told_once(
    sampler: Sampler,
    sink: KeepingSink,
    supervise: Callable[..., Supervisor],
    caplog: pytest.LogCaptureFixture,
) -> None:
    sampler.add(supervise(fake_maker.babbling))
    sampler.add(InProcess(PortSource()))
    for _ in range(3):
        sampler.tick(Tier.SLOW)
    rows = {s.subject: s for _, s in sink.rows}
    assert rows["FAKE-0"].values == {"power_watts": 100.0}
    assert rows["FAKE-0"].failed == dict.fromkeys(
        ("temperature_celsius", "fan_ratio", "health", "throttle_reasons"), "broken"
    )
    assert rows["FAKE-1"].failed == {"power_watts": "broken"}
    assert rows["FAKE-3"].failed == {"power_watts": "broken"}, "true is no number of watts"
    assert "FAKE-2" not in rows
    assert not any("\x00" in subject for subject in rows)
    port_facts = next(f for _, f in sink.facts_seen if f.family is Family.PORT)
    assert "colour" not in port_facts.attributes
    assert len([r for r in caplog.records if "no_such_metric" in r.getMessage()]) == 1


def test_simulated_rows_never_mix_with_real_ones(
    sampler: Sampler, sink: KeepingSink, supervise: Callable[..., Supervisor]
) -> None:
    sampler.add(_fake(supervise), Origin.SIMULATED)
    sampler.add(InProcess(PortSource()))
    sampler.tick(Tier.FAST)
    origins = {s.subject: origin for origin, s in sink.rows}
    assert origins["FAKE-0"] is Origin.SIMULATED
    assert origins[PORT] is origins["n1"] is Origin.REAL
    assert {o for o, f in sink.facts_seen if f.family is Family.CARD} == {Origin.SIMULATED}
    assert sink.row("n1").values["cards_seen"] == 0, "a simulated card is no card of this node"


def test_events_go_out_at_once_from_a_waking_source(sampler: Sampler, sink: KeepingSink) -> None:
    source = PortSource()
    sampler.add(InProcess(source))
    source.waiting.append(
        Event(1.0, "port_down", Severity.CRITICAL, Family.PORT, PORT, "sysfs", "line\nbreak\x1b[31m")
    )
    sampler.pump("ports")
    ((origin, event),) = sink.events_seen
    assert (origin, event.kind) == (Origin.REAL, "port_down")
    assert event.message == "line break [31m"


def test_a_card_that_loses_its_epoch_for_a_tick_does_not_look_reset(
    sampler: Sampler, sink: KeepingSink, supervise: Callable[..., Supervisor], control: Path
) -> None:
    sampler.add(_fake(supervise))
    sampler.tick(Tier.FAST)
    (control / "segv@@read").touch()
    sampler.tick(Tier.FAST)
    assert sink.row("FAKE-0").failed == {"health": "broken"}
    assert {s.counters_epoch for _, s in sink.rows if s.family is Family.CARD} == {"boot-1/load-1"}


def test_the_slow_tier_stands_longer_where_a_row_is_slow_only(sampler: Sampler, sink: KeepingSink) -> None:
    class SlowOnly(PortSource):
        name = "slow"

        def read(self, tier: Tier) -> Iterator[Reading]:
            yield Reading(Family.PROCESS, "FAKE-0#7", {"process_memory_used_bytes": 5})

    sampler.add(InProcess(SlowOnly()))
    sampler.tick(Tier.SLOW)
    assert sink.row("FAKE-0#7").interval_seconds == 60.0


def test_closing_closes_the_sinks_once(clock: ManualClock, sink: KeepingSink) -> None:
    sampler = Sampler(node_id="n1", clock=clock, sinks=[sink])
    sampler.add(InProcess(PortSource()))
    sampler.tick(Tier.FAST)
    sampler.close()
    assert sink.closed == 1
