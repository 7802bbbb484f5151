"""One tick: ask every maker and source at once, stamp what comes, hand it to the sinks.

The sampler knows nobody in particular: makers are supervisors, ports and host are sources, outputs
are sinks. What each does wrong stays with it. Not here: when ticks are due (schedule), what runs
(makers), files and sockets (sinks).
"""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from time import monotonic
from typing import Final

from ullage_agent.backend import Reading
from ullage_agent.children.supervisor import Supervisor
from ullage_agent.config import Sampling
from ullage_agent.factbook import FactBook
from ullage_agent.intake import Intake
from ullage_agent.sink import Sink
from ullage_agent.source import SourceReport
from ullage_agent.usage import own_usage
from ullage_agent.worker import Asked, Delivered, Worker
from ullage_contract import catalogue
from ullage_contract.catalogue import Tier
from ullage_contract.clock import Clock
from ullage_contract.event import Event
from ullage_contract.sample import Facts, Family, Origin, Sample, Value

log = logging.getLogger(__name__)
OWN: Final = "agent"  # the name under which the sampler itself states facts
NearestPorts = Callable[[str], Sequence[str]]


@dataclass(frozen=True, slots=True)
class Tick:
    """What one tick gave. samples: by origin, in the order they came."""

    tier: Tier
    samples: Mapping[Origin, list[Sample]]
    reports: tuple[SourceReport, ...]
    duration_seconds: float

    def every(self) -> list[Sample]:
        return [sample for rows in self.samples.values() for sample in rows]


@dataclass(slots=True)
class _Merging:
    """Readings of one subject in one run, becoming one row."""

    origin: Origin
    at: Delivered
    reading: Reading
    values: dict[str, Value] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)


class Sampler:
    """``tick`` is called from one thread; events go to the sinks from whatever thread they come in.

    node_id: the node's key. boot_id: the kernel's, or None where it has none.
    node_values: the node metrics only the agent knows (spool, expected cards), asked every tick.
    node_facts: the same for facts. nearest_ports: PCI address -> port_ids.
    left_out: families that the settings switch off.
    process_facts: completes what a maker says of a process with what the host knows; never a simulated one's.
    """

    def __init__(
        self,
        *,
        node_id: str,
        clock: Clock,
        boot_id: str | None = None,
        sampling: Sampling | None = None,
        sinks: Sequence[Sink] = (),
        node_values: Callable[[], Mapping[str, Value]] | None = None,
        node_facts: Callable[[], Mapping[str, Value | list[str] | None]] | None = None,
        nearest_ports: NearestPorts | None = None,
        left_out: frozenset[Family] = frozenset(),
        process_facts: Callable[[Facts], Facts] | None = None,
    ) -> None:
        self._node_id = node_id
        self._clock = clock
        self._boot_id = boot_id
        self._sampling = sampling or Sampling()
        self._sinks = tuple(sinks)
        self._node_values = node_values
        self._node_facts = node_facts
        self._nearest_ports = nearest_ports
        self._left_out = left_out
        self._process_facts = process_facts
        self._workers: list[Worker] = []
        self._intake = Intake()
        self._event_intake = Intake()
        self._book = FactBook()
        self._run = 0
        self._facts_at: float | None = None
        self._sink_errors: Counter[str] = Counter()
        self._event_lock = threading.Lock()
        self._epochs: dict[tuple[Family, str], str] = {}

    def add(self, asked: Asked, origin: Origin = Origin.REAL) -> Worker:
        """From the next tick on it is asked too; its facts first."""
        worker = Worker(asked, self._clock, origin, self._event)
        self._workers.append(worker)
        self._facts_at = None
        return worker

    @property
    def names(self) -> list[str]:
        return [worker.name for worker in self._workers]

    @property
    def supervisors(self) -> list[Supervisor]:
        return [worker.asked for worker in self._workers if isinstance(worker.asked, Supervisor)]

    @property
    def book(self) -> FactBook:
        """The facts that hold now. The sampler's thread alone may change it."""
        return self._book

    def ask_facts(self) -> None:
        """The next tick asks everybody's facts anew."""
        self._facts_at = None

    def emit(self, event: Event, origin: Origin = Origin.REAL) -> None:
        """An event of the agent's own."""
        self._event(OWN, origin, event)

    def tick(self, tier: Tier, *, patience_seconds: float | None = None) -> Tick:
        """Ask, wait, stamp, hand on. Takes at most the tick's budget, or ``patience_seconds``."""
        began = monotonic()
        self._run += 1
        now = self._clock.monotonic()
        facts = self._facts_at is None or now - self._facts_at >= self._sampling.facts_seconds
        if facts:
            self._facts_at = now
        for worker in self._workers:
            worker.start(self._run, tier, facts)
        until = began + (self._sampling.tick_budget_seconds if patience_seconds is None else patience_seconds)
        for worker in self._workers:
            worker.wait(until)
        rows: dict[tuple[Family, str, int], _Merging] = {}
        reports = []
        for worker in self._workers:
            reports.append(self._collect(worker, rows))
        self._own(rows, reports)
        samples: dict[Origin, list[Sample]] = {}
        for row in rows.values():
            samples.setdefault(row.origin, []).append(self._sample(row))
        tick = Tick(tier, samples, tuple(reports), monotonic() - began)
        self._hand_on(tick)
        return tick

    def close(self) -> None:
        """Stop all workers and close the sinks, in that order. Never raises."""
        threads = [threading.Thread(target=worker.close) for worker in self._workers]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for sink in self._sinks:
            self._to_sink(sink, "close", sink.close)

    def pump(self, name: str) -> None:
        """Only the events of the source ``name``, now. Raises what the source raises."""
        for worker in self._workers:
            if worker.name == name:
                worker.pump()

    def _collect(self, worker: Worker, rows: dict[tuple[Family, str, int], _Merging]) -> SourceReport:
        taken = worker.take()
        for facts in taken.facts:
            admitted = self._intake.admit(worker.name, facts)
            if isinstance(admitted, Facts) and admitted.family not in self._left_out:
                self._book.put(worker.name, self._completed(admitted, worker.origin), worker.origin)
        seen = set()
        for delivered in taken.items:
            reading = self._intake.admit(worker.name, delivered.item)
            if not isinstance(reading, Reading) or reading.family in self._left_out:
                continue
            seen.add((reading.family, reading.subject))
            key = (reading.family, reading.subject, delivered.run)
            row = rows.get(key)
            if row is None:
                rows[key] = row = _Merging(worker.origin, delivered, reading)
            elif row.reading.counters_epoch is None:
                row.reading = reading  # of several readings of one subject, any may name the epoch
            row.values.update(reading.values)
            row.failed.update(reading.failed)
        if taken.listed is not None:
            self._book.keep_only(worker.name, taken.listed | seen)
        return taken.report

    def _completed(self, facts: Facts, origin: Origin) -> Facts:
        """A process's facts with what the host knows of it, a card's with the ports nearest to it."""
        if facts.family is Family.PROCESS and self._process_facts is not None and origin is Origin.REAL:
            return self._process_facts(facts)
        address = facts.attributes.get("pci_address")
        if facts.family is not Family.CARD or self._nearest_ports is None or not isinstance(address, str):
            return facts
        ports = list(self._nearest_ports(address))
        return replace(facts, attributes={**facts.attributes, "nearest_ports": ports}) if ports else facts

    def _own(self, rows: dict[tuple[Family, str, int], _Merging], reports: Iterable[SourceReport]) -> None:
        """The node's row gets what only the agent knows."""
        values = own_usage([pid for supervisor in self.supervisors for pid in supervisor.pids()])
        if self._node_values is not None:
            values.update(self._node_values())
        makers = {supervisor.name for supervisor in self.supervisors}
        if all(report.success for report in reports if report.name in makers):
            # a maker that did not answer has an unknown number of cards, not none
            values["cards_seen"] = len(
                {
                    subject
                    for (family, subject, _), row in rows.items()
                    if family is Family.CARD
                    and row.origin is Origin.REAL
                    and row.values.get("health") != "lost"
                    and row.values
                }
            )
        reading = Reading(Family.NODE, self._node_id, values)
        admitted = self._intake.admit(OWN, reading)
        if isinstance(admitted, Reading):
            at = Delivered(admitted, self._run, self._clock.wall(), self._clock.monotonic())
            key = (Family.NODE, self._node_id, self._run)
            row = rows.setdefault(key, _Merging(Origin.REAL, at, admitted))
            row.values.update(admitted.values)
        if self._node_facts is not None:
            stated = Facts(Family.NODE, self._node_id, self._clock.wall(), self._node_facts())
            checked = self._intake.admit(OWN, stated)
            if isinstance(checked, Facts):
                self._book.put(OWN, checked)

    def _sample(self, row: _Merging) -> Sample:
        known = catalogue.keys(row.reading.family)
        named = [*row.values, *row.failed]
        slow = bool(named) and all(known[key].tier is Tier.SLOW for key in named)
        return Sample(
            family=row.reading.family,
            subject=row.reading.subject,
            time=row.at.wall,
            monotonic=row.at.monotonic,
            interval_seconds=self._sampling.slow_seconds if slow else self._sampling.fast_seconds,
            values=row.values,
            failed={key: reason for key, reason in row.failed.items() if key not in row.values},
            counters_epoch=self._epoch(row.reading),
        )

    def _epoch(self, reading: Reading) -> str | None:
        """Boot and driver load. A reading without one (a lost card) keeps the subject's last, so that a
        gap does not look like a reset. Ports have none: their counters outlive boots (see rdma)."""
        if reading.family in (Family.PORT, Family.PROCESS):
            return None
        key = (reading.family, reading.subject)
        if reading.counters_epoch is not None:
            self._epochs[key] = reading.counters_epoch
        parts = [part for part in (self._boot_id, self._epochs.get(key)) if part]
        return "/".join(parts)[:200] or None

    def _hand_on(self, tick: Tick) -> None:
        due = self._book.due(self._clock.wall())
        for sink in self._sinks:
            for origin, facts in due.items():
                self._to_sink(sink, "facts", partial(sink.facts, facts, origin=origin))
            for origin, samples in tick.samples.items():
                self._to_sink(sink, "samples", partial(sink.samples, samples, origin=origin))
            self._to_sink(sink, "sources", partial(sink.sources, tick.reports))

    def _event(self, source: str, origin: Origin, event: Event) -> None:
        with self._event_lock:
            admitted = self._event_intake.admit(source, event)
        if isinstance(admitted, Event):
            if admitted.attributes.get("injected") == 1:
                origin = (
                    Origin.SIMULATED
                )  # made on purpose: whatever source it came through, it moves no money
            for sink in self._sinks:
                self._to_sink(sink, "events", partial(sink.events, [admitted], origin=origin))

    def _to_sink(self, sink: Sink, what: str, call: Callable[[], None]) -> None:
        try:
            call()
        except Exception:
            name = type(sink).__name__
            self._sink_errors[name] += 1
            times = self._sink_errors[name]
            if times & (times - 1) == 0:  # the 1st, 2nd, 4th, 8th ... time
                log.exception("%s failed in %s, the %s. time", name, what, times)
