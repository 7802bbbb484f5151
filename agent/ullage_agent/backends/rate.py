"""From a counter to its rate: energy to power, busy time to a share.

Two readings closer together than MIN_SECONDS give the last rate again: the quotient of two small numbers is noise.
"""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic
from typing import Final

MIN_SECONDS: Final = 0.5
"""Our choice: because energy registers are updated some hundred times a second at best, and facts and a
reading follow each other at once."""
MAX_SECONDS: Final = 180.0
"""Our choice: because a rate over more than three slow ticks says nothing of now."""


class Rate:
    """Rate of one counter. clock: seconds, never going back."""

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._before: tuple[float, float] | None = None
        self._last: float | None = None

    def of(self, count: float) -> float | None:
        """Counts a second since the reading before. None at first, and after a counter began anew."""
        now = self._clock()
        before = self._before
        if before is None or count < before[0] or now - before[1] > MAX_SECONDS:
            self._before, self._last = (count, now), None
            return None
        elapsed = now - before[1]
        if elapsed < MIN_SECONDS:
            return self._last
        self._before, self._last = (count, now), (count - before[0]) / elapsed
        return self._last
