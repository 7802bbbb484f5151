"""Whether a job's ports carry its ring, and whether congestion holds them up. Pure: counters' growth in, figures out.

Totals are over the whole window: a minute nobody heard adds nothing, so silence makes a job quiet and never congested.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Final

from ullage_collector.detect.placement.settings import SECOND, Sign

MOVED: Final = ("xmit_data_bytes", "rcv_data_bytes")


@dataclass(frozen=True, slots=True)
class PortFigures:
    """One port of a job over the window. grown: counter -> growth; one that is not there is not known.

    covered_seconds: of the window, how long it was heard.
    """

    name: str
    covered_seconds: float
    grown: Mapping[str, float] = field(default_factory=dict)

    @property
    def moved(self) -> float | None:
        """Bytes both ways; None: not known."""
        known = [self.grown[key] for key in MOVED if key in self.grown]
        return sum(known) if known else None


@dataclass(frozen=True, slots=True)
class Congestion:
    """What the job's ports show. bytes_a_second: of the busiest one. seen: sign -> the worst port's value; measured: the
    longest a port was held, a share of the time, None: no port measures it. known: some sign could have shown."""

    bytes_a_second: float
    seen: Mapping[str, float]
    worst: str | None
    measured: Fraction | None
    known: bool


def congestion(
    ports: Iterable[PortFigures], signs: Iterable[Sign], window_seconds: float
) -> Congestion | None:
    """None: nobody knows what any of them moved."""
    ports = list(ports)
    moved = [port.moved for port in ports if port.moved is not None]
    if not moved:
        return None
    seen: dict[str, float] = {}
    worst: str | None = None
    measured: Fraction | None = None
    known = False
    for sign in signs:
        values = {
            port.name: value for port in ports if (value := _value(port, sign, window_seconds)) is not None
        }
        if not values:
            continue
        known = True
        name = max(sorted(values), key=lambda port: values[port])
        if values[name] >= sign.at_least:
            seen[sign.key] = values[name]
            worst = worst or name
        if sign.stops:
            held = min(Fraction(values[name]), Fraction(1)) if values[name] >= sign.at_least else Fraction(0)
            measured = held if measured is None else max(measured, held)
    return Congestion(max(moved) / window_seconds, seen, worst, measured, known)


def _value(port: PortFigures, sign: Sign, window_seconds: float) -> float | None:
    grown = port.grown.get(sign.key)
    if grown is None:
        return None
    if sign.per == SECOND:
        return grown / window_seconds
    whole = port.grown.get(sign.per)
    return None if not whole else grown / whole
