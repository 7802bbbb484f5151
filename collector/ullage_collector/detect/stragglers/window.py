"""The last minutes of running jobs as arrays: what the detectors of stragglers, hangs and starved cards look at.

A value that is not known is NaN, and nothing is concluded from it. Not here: reading the store (watch.py).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ullage_collector.detect.idle_finding import Gang, Held

Values: TypeAlias = NDArray[np.float32]
Indices: TypeAlias = NDArray[np.int64]
Flags: TypeAlias = NDArray[np.bool_]

MINUTE_US: Final = 60_000_000


@dataclass(frozen=True, slots=True)
class Rows:
    """Cards, ports or hosts, one row each and job.

    names: their ids. gang, node: indices into the window's. peers: rows with the same number are compared; -1: compared with
    nobody. values: key of a measure -> (rows, minutes).
    """

    names: Sequence[str]
    gang: Indices
    node: Indices
    peers: Indices
    values: Mapping[str, Values]

    def of(self, key: str, minutes: int) -> Values:
        """A measure's values; all unknown where nothing measures it."""
        found = self.values.get(key)
        return np.full((len(self.names), minutes), np.nan, np.float32) if found is None else found


@dataclass(frozen=True, slots=True)
class Window:
    """``minutes`` minutes up to through_us (exclusive, epoch microseconds).

    held: what each row of cards is, in their order. shared: of each node, whether several jobs are on it. usual_watts: of each
    card's row, power of busy minutes; usual_bytes: of each gang, what a node of it moves a second; NaN: not known.
    standing: subjects of open straggler findings -> since when, so that a window that forgot the beginning does not end them.
    """

    through_us: int
    minutes: int
    gangs: Sequence[Gang]
    nodes: Sequence[str]
    held: Sequence[Held]
    cards: Rows
    ports: Rows
    hosts: Rows
    shared: Flags
    usual_watts: NDArray[np.float64]
    usual_bytes: NDArray[np.float64]
    standing: Mapping[str, int] = field(default_factory=dict)

    def of_gangs(self) -> list[Indices]:
        """The rows of cards of each gang."""
        order = np.argsort(self.cards.gang, kind="stable")
        if not self.gangs:
            return []
        edges = np.searchsorted(self.cards.gang[order], np.arange(1, len(self.gangs)))
        found: list[Indices] = np.split(order.astype(np.int64), edges)
        return found

    def at_us(self, minute: int) -> int:
        """When the minute of that index begins."""
        return self.through_us - (self.minutes - minute) * MINUTE_US


def enough(known: NDArray[np.int64], span: int, ratio: float) -> Flags:
    """Whether so many known minutes of a span are enough."""
    return np.asarray(known >= np.ceil(span * ratio - 1e-9), dtype=np.bool_)


def run_start(bad: Flags, good: Flags) -> Indices:
    """Of each row, the first good minute after its last bad one; what is neither good nor bad ends nothing.

    bad, good: (rows, minutes). The number of minutes where there is none.
    """
    minutes = bad.shape[1]
    last_bad = np.where(bad.any(axis=1), minutes - 1 - np.argmax(bad[:, ::-1], axis=1), -1)
    after = good & (np.arange(minutes) > last_bad[:, None])
    start: Indices = np.where(after.any(axis=1), np.argmax(after, axis=1), minutes).astype(np.int64)
    return start


def port_peers(gang: Sequence[int], node: Sequence[int], names: Sequence[str], least: int) -> list[int]:
    """With whom each port is compared: the port of the same name on the job's other nodes, as rails carry like traffic; in
    jobs of fewer than ``least`` nodes all the job's ports. names: port ids, node/device/port."""
    nodes: dict[int, set[int]] = {}
    for one, place in zip(gang, node, strict=True):
        nodes.setdefault(one, set()).add(place)
    label: dict[tuple[int, str], int] = {}
    found = []
    for one, name in zip(gang, names, strict=True):
        rail = "/".join(name.split("/")[-2:]) if len(nodes[one]) >= least else ""
        found.append(label.setdefault((one, rail), len(label)))
    return found
