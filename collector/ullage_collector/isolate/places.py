"""A lock a node: whoever calls an actuator there holds it, so that two never do at once."""

from __future__ import annotations

import threading
from collections import defaultdict

from ullage_collector.isolate.surroundings import Place


class Places:
    """One instance a store. The locks may be taken again by the thread that holds them."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._locks: dict[Place, threading.RLock] = defaultdict(threading.RLock)

    def lock(self, place: Place) -> threading.RLock:
        """The lock of a node, as a context manager."""
        with self._guard:
            return self._locks[place]
