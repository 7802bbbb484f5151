"""What the sampler reads in its own process: the RDMA ports, the host, the kernel log.

A source only reads files of the kernel, so it needs no child; each still runs in a thread of its
own with a deadline, because a sick NIC can hold a sysfs read. A maker's library is no source: it is
a backend and lives in a child (``backend.Reader``).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from ullage_agent.backend import Reading
from ullage_contract.catalogue import Tier
from ullage_contract.event import Event
from ullage_contract.sample import Facts


@runtime_checkable
class Source(Protocol):
    """Read every tick, always from the same thread, never twice at a time.

    One trouble is one subject's: a port that cannot be read yields a reading with ``failed``, the
    others go on. What ``read`` raises ends this source's tick alone and is told in its SourceReport.
    """

    name: str
    """Lower case, unique: ``rdma``, ``host``, ``kernel_log``; the ``source`` label of the metrics."""

    def facts(self) -> Iterator[Facts]:
        """Every subject there is now. Asked at start, once an hour, on SIGHUP; sent on change and daily."""
        ...

    def read(self, tier: Tier) -> Iterator[Reading]:
        """One reading a subject, of family PORT or NODE (``subject`` is the port_id or node_id).

        FAST yields the fast metrics; SLOW both tiers. Several readings of one subject are merged.
        """
        ...

    def events(self) -> Iterator[Event]:
        """What happened since the last call. Never blocks to wait for more."""
        ...


@dataclass(frozen=True, slots=True)
class SourceReport:
    """How one source or one maker did in one tick: ``ullage_source_success`` and ``_duration_seconds``.

    name: the source's or the maker's name.
    success: it was asked and everything it was asked for came in time; one failed metric of one card
        is still a success, a maker that did not answer or a source that raised is not.
    duration_seconds: from the question to the last answer, or to giving up.
    message: why not, one line; None on success.
    children, stuck_children: of a maker: its living child processes, and those that could not be
        killed; None for an in-process source.
    """

    name: str
    success: bool
    duration_seconds: float
    message: str | None = None
    children: int | None = None
    stuck_children: int | None = None
