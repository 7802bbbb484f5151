"""Which asked probes this agent has seen, on disk, so that none is done twice: over restarts, replays and clock steps.

An id is written and fsync-ed before anything runs. Only so many are kept; what is forgotten is covered by the latest
expiry among the forgotten: an ask that expires no later is refused, known or not. A file that cannot be believed
covers everything that may have been asked until now.
"""

from __future__ import annotations

import json
import logging
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from ullage_contract.asked import LONGEST_LIFE_SECONDS, AskedProbe, asked_from_json

log = logging.getLogger(__name__)

MOST_IDS: Final = 512  # our choice: eight a quarter of an hour for half a day, in some 100 kB


@dataclass(slots=True)
class _Seen:
    asked: AskedProbe
    running: bool


class Remembered:
    """The file at ``path``. Used by one thread. now: the collector's clock when the file is first looked at."""

    def __init__(self, path: Path, *, now: float) -> None:
        self._path = path
        self._seen: dict[str, _Seen] = {}
        self._through = 0.0
        self._read(now)

    def knows(self, asked: AskedProbe) -> bool:
        """It was seen before, and is still remembered."""
        return asked.probe_id in self._seen

    def may_have_known(self, asked: AskedProbe) -> bool:
        """It may have been seen before, and been forgotten: it must not run."""
        return asked.expires <= self._through

    def begin(self, asked: AskedProbe, *, running: bool) -> None:
        """From now on it is known; returns when that is on disk. running: it is about to run.

        Raises OSError when it cannot be written; it is then known in memory alone and must not run.
        """
        self._seen[asked.probe_id] = _Seen(asked, running)
        while len(self._seen) > MOST_IDS:
            oldest = next(iter(self._seen))
            self._through = max(self._through, self._seen.pop(oldest).asked.expires)
        self._write()

    def end(self, asked: AskedProbe) -> None:
        """It does not run any more and what became of it was told. Raises OSError."""
        seen = self._seen.get(asked.probe_id)
        if seen is not None and seen.running:
            seen.running = False
            self._write()

    def interrupted(self) -> list[AskedProbe]:
        """Those an agent before this one began and never told of."""
        return [seen.asked for seen in self._seen.values() if seen.running]

    def _read(self, now: float) -> None:
        try:
            document: Any = json.loads(self._path.read_text(encoding="utf-8"))
            through = document["through"]
            if not isinstance(through, int | float) or document["schema_version"] != 1:
                raise ValueError("another version")
            for entry in document["seen"]:
                (asked,) = asked_from_json([entry["asked"]])
                self._seen[asked.probe_id] = _Seen(asked, bool(entry["running"]))
            self._through = float(through)
        except FileNotFoundError:
            return
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as e:
            self._seen.clear()
            self._through = now + LONGEST_LIFE_SECONDS
            log.error(
                "%s cannot be believed (%s): every probe that may have been asked by now is refused for an hour",
                self._path,
                e,
            )

    def _write(self) -> None:
        document = {
            "schema_version": 1,
            "through": self._through,
            "seen": [{"asked": one.asked.to_json(), "running": one.running} for one in self._seen.values()],
        }
        fresh = self._path.with_name(self._path.name + ".new")
        with fresh.open("w", encoding="utf-8") as file:
            json.dump(document, file)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(self._path)
        directory = os.open(self._path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
