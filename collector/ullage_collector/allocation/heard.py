"""When each scheduler last told us whole what it runs: what nobody could tell is then no proof of anything.

Sources write it, detectors read it; it lives in memory, because after a restart nothing has been heard yet.
"""

from __future__ import annotations

import threading
from collections.abc import Collection


class Heard:
    """By workload kind (slurm_job, kubernetes_pod) and cluster, microseconds since the epoch. Any thread."""

    def __init__(self) -> None:
        self._at: dict[tuple[str, str], int] = {}
        self._lock = threading.Lock()

    def note(self, kind: str, cluster: str, at_us: int) -> None:
        """The scheduler's answer of this instant was taken whole."""
        with self._lock:
            self._at[kind, cluster] = max(at_us, self._at.get((kind, cluster), at_us))

    def last(self, kind: str, cluster: str) -> int | None:
        """When it last answered; None: not since this collector started, or nobody asks it."""
        return self._at.get((kind, cluster))

    def all_of(self, cluster: str, kinds: Collection[str]) -> float | None:
        """When the one of these that is silent the longest last answered, in seconds since the epoch.

        None: one of them has not answered since this collector started, or there is none.
        """
        at = [self._at.get((kind, cluster)) for kind in kinds]
        known = [us for us in at if us is not None]
        return min(known) / 1e6 if known and len(known) == len(at) else None
