"""What the sampler hands its rows to: the spool, the Prometheus exporter, OTLP.

A sink never blocks a tick: it keeps or writes what it is given and returns within milliseconds;
sending happens in a thread of its own. What a sink raises is logged and counted against that sink
alone; the others still get the rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from ullage_agent.source import SourceReport
from ullage_contract.event import Event
from ullage_contract.sample import Facts, Origin, Sample


@runtime_checkable
class Sink(Protocol):
    """Called from the sampler's thread; ``events`` also from the threads of makers and sources.

    Within one tick: facts (when there are new ones), then samples, then sources. Events come at
    once, whenever they happen. ``origin`` is SIMULATED for everything a simulated maker says, else
    REAL: one call never mixes the two.
    """

    def facts(self, facts: Sequence[Facts], *, origin: Origin = Origin.REAL) -> None:
        """Facts that are new or changed, and all of them once a day."""
        ...

    def samples(self, samples: Sequence[Sample], *, origin: Origin = Origin.REAL) -> None:
        """One tick's rows, stamped; one call an origin and tick.

        A subject that is in no row of this tick was not read: it is absent, never its last value.
        """
        ...

    def events(self, events: Sequence[Event], *, origin: Origin = Origin.REAL) -> None:
        """Events, already stamped with time and subject."""
        ...

    def sources(self, reports: Sequence[SourceReport]) -> None:
        """How every source and maker did in this tick; all of them, every tick."""
        ...

    def close(self) -> None:
        """Write what is held and stop. Called once, last; never raises."""
        ...
