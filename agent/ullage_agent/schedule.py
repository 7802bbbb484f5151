"""When the next tick is due, and of which tier. Arithmetic on the injected clock; it never sleeps.

Ticks lie on a grid with a phase of the node's own, so that ten thousand nodes booted together do
not ask and push together. A tick that took too long skips grid points; ticks never come in bursts.
"""

from __future__ import annotations

import zlib

from ullage_contract.catalogue import Tier
from ullage_contract.clock import Clock


class Schedule:
    """fast_seconds, slow_seconds: the two periods; the slow one is rounded to whole fast ones."""

    def __init__(self, clock: Clock, node_id: str, fast_seconds: float, slow_seconds: float) -> None:
        self._clock = clock
        self._fast = fast_seconds
        self._every = max(1, round(slow_seconds / fast_seconds))
        jitter = zlib.crc32(node_id.encode("utf-8"))
        self._phase = (jitter % 10_007) / 10_007 * fast_seconds
        self._slow_slot = jitter // 10_007 % self._every
        self._last: int | None = None
        self.missed = 0

    def wait_seconds(self) -> float:
        """Until the next tick; 0 when it is due. The first is due at once."""
        if self._last is None:
            return 0.0
        return max(0.0, (self._last + 1) * self._fast + self._phase - self._clock.monotonic())

    def take(self) -> Tier:
        """Start the tick that is due and say its tier. The first one reads everything."""
        slot = int((self._clock.monotonic() - self._phase) // self._fast)
        first = self._last is None
        last = slot if self._last is None else self._last
        # floating point may put an instant on the grid a hair before it
        slot = max(slot, last + (0 if first else 1))
        self.missed += max(0, slot - last - 1)
        self._last = slot
        slow = any(s % self._every == self._slow_slot for s in range(last + 1, slot + 1))
        return Tier.SLOW if first or slow else Tier.FAST
