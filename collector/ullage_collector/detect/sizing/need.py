"""What work needs of its card over days: figures that exist only where enough minutes are known. Pure.

A figure is the value that all but a share of the window's minutes stay at or below, where a minute nobody measured counts as above:
losing minutes can only raise it, or leave it unknown.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import floor
from typing import Final


@dataclass(frozen=True, slots=True)
class Need:
    """One card over the window. Ratios of the whole card, memory and power in bytes and watts. None: not known.

    active_minutes: known ones with work. total_bytes: the card's memory; limit_watts: the power limit in force.
    assumed: of bandwidth and power, those the maker's library cannot give, as its card says: they are taken to be as high as
    the activity, as bandwidth then is here already.
    """

    activity: float | None
    bandwidth: float | None
    memory_bytes: int | None
    watts: float | None
    active_minutes: int
    total_bytes: int | None
    limit_watts: float | None
    assumed: tuple[str, ...] = ()

    @property
    def memory(self) -> float | None:
        """Share of the card's memory."""
        if self.memory_bytes is None or not self.total_bytes:
            return None
        return self.memory_bytes / self.total_bytes

    @property
    def power(self) -> float | None:
        """Share of the power limit."""
        if "power" in self.assumed:
            return self.activity
        return None if self.watts is None or not self.limit_watts else self.watts / self.limit_watts


UNKNOWN: Final = Need(None, None, None, None, 0, None, None)
"""Of a card of which no minute is known."""


def spare(minutes: int, quantile: float) -> int:
    """How many of a window's minutes may lie above a figure, those that are missing included."""
    return floor(minutes * (1 - quantile) + 1e-9)


def figure(largest: Sequence[float] | None, known: int, minutes: int, quantile: float) -> float | None:
    """The figure from the largest known values, the greatest first, ``spare(minutes, quantile) + 1`` of them or all.

    known: minutes with a value, of ``minutes``. None: too few are known.
    """
    above = spare(minutes, quantile) - (minutes - known)
    if above < 0 or largest is None or above >= len(largest):
        return None
    return float(largest[above])
