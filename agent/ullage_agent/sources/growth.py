"""Counters summed over parts that come and go: interfaces, disks, mounts.

A plain sum falls when a part is unplugged and would look like a counter that began anew. Here each
part's own growth is added up since the agent started, so the sum only grows; the row's counters_epoch
names that start.
"""

from __future__ import annotations

from ullage_contract.sample import Value


class Growth:
    """Sums of growth by metric, from 0 at the start."""

    def __init__(self) -> None:
        self._last: dict[tuple[str, str], float | int] = {}
        self._total: dict[str, float | int] = {}

    def add(self, key: str, part: str, reading: float | int) -> None:
        """A part's counter as read now. A part seen for the first time adds nothing: what it counted before
        we looked is not known to be ours. One that went down began anew and adds what it counts since."""
        last = self._last.get((key, part))
        grown = 0 if last is None else reading - last if reading >= last else reading
        self._last[key, part] = reading
        self._total[key] = self._total.get(key, 0) + grown

    def values(self, *keys: str) -> dict[str, Value]:
        """The sums so far of these metrics; one of which no part was ever seen is absent."""
        return {key: self._total[key] for key in keys if key in self._total}
