"""Until when everything of a cluster was seen, kept in a small file: so that what went while we were away can be ended."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Final

from ullage_contract.clock import Clock

log = logging.getLogger(__name__)

EVERY_SECONDS: Final = 10.0  # our choice: how exactly it is known after a crash


class LastSeen:
    """One cluster's file, replaced at most every ten seconds; a store that is restored elsewhere has none."""

    def __init__(self, path: Path, clock: Clock) -> None:
        self._path = path
        self._clock = clock
        self._written_at: float | None = None

    def read(self) -> int | None:
        """Microseconds since the epoch; None: nobody was here before, or the file is none of ours."""
        try:
            seen = json.loads(self._path.read_text(encoding="ascii")).get("seen_until_us")
        except FileNotFoundError:
            return None
        except (OSError, ValueError, AttributeError) as e:
            log.warning("%s: cannot be read, what was seen last is not known: %s", self._path, e)
            return None
        return seen if isinstance(seen, int) and not isinstance(seen, bool) else None

    def write(self, seen_until_us: int) -> None:
        """Keep it. A disk that refuses costs exactness only."""
        now = self._clock.monotonic()
        if self._written_at is not None and now - self._written_at < EVERY_SECONDS:
            return
        self._written_at = now
        new = self._path.with_suffix(".new")
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            new.write_text(json.dumps({"seen_until_us": seen_until_us}), encoding="ascii")
            new.replace(self._path)
        except OSError as e:
            log.warning("%s: not written: %s", self._path, e)
