"""Who the processes on the cards are: the facts every maker's processes get, filled in one place of the parent.

A backend says which process is on which card; command, user, cgroup, start and holder are the host's, the same for
all makers. What cannot be read is left out: a pid of another namespace or of a process that has ended has no facts.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from ullage_agent.backends.holders import identity
from ullage_agent.holders.cgroup import holder_of, paths_of
from ullage_contract.clock import Clock
from ullage_contract.sample import Facts, Value

MOST_KEPT: Final = 4096  # our choice: because no server has more processes on its cards, and it is some MiB
TICKS_PER_SECOND: Final = os.sysconf("SC_CLK_TCK")
_STEP_SECONDS: Final = (
    1.0  # our choice: a wall clock that moved this far against the other was set, not slewed
)

Attributes = dict[str, Value | list[str] | None]


@dataclass(frozen=True, slots=True)
class _Known:
    """ticks: the process's start in clock ticks since boot, which with the pid names it."""

    ticks: int
    attributes: Attributes


class Processes:
    """``complete`` is called by the sampler's thread alone. proc: the root of that file system."""

    def __init__(self, proc: Path, clock: Clock) -> None:
        self._proc = proc
        self._clock = clock
        self._known: dict[int, _Known] = {}
        self._boot: float | None = None
        self._boot_offset: float | None = None

    def complete(self, facts: Facts) -> Facts:
        """The process's facts with what the host knows of it. The backend's own words stay, but for the cgroup:
        of several paths the one that names the holder is told."""
        pid = _pid(facts)
        if pid is None:
            return facts
        found = self._of(pid)
        if not found:
            return facts
        said = {name: value for name, value in facts.attributes.items() if value is not None}
        cgroup = {"cgroup": found["cgroup"]} if found.get("cgroup") is not None else {}
        return replace(facts, attributes={**found, **said, **cgroup})

    def _of(self, pid: int) -> Attributes:
        ticks = self._ticks(pid)
        known = self._known.get(pid)
        if ticks is None:
            return known.attributes if known is not None else {}
        if known is not None and known.ticks == ticks:
            return known.attributes
        attributes: Attributes = dict(identity(self._proc, pid))
        boot = self._boot_time()
        if boot is not None:
            attributes["started_at"] = boot + ticks / TICKS_PER_SECOND
        try:
            text = (self._proc / str(pid) / "cgroup").read_text(encoding="utf-8", errors="replace")
        except OSError:
            text = None
        if text is not None:
            holder, path = holder_of(paths_of(text))
            attributes["holder_kind"] = holder.kind
            attributes["holder_id"] = holder.id
            attributes["cgroup"] = path
        attributes = {name: value for name, value in attributes.items() if value is not None}
        if len(self._known) >= MOST_KEPT:
            self._known.clear()
        self._known[pid] = _Known(ticks, attributes)
        return attributes

    def _ticks(self, pid: int) -> int | None:
        """Field 22 of /proc/PID/stat, proc(5); the name before it may hold spaces and brackets."""
        try:
            text = (self._proc / str(pid) / "stat").read_text(encoding="ascii", errors="replace")
            return int(text.rpartition(")")[2].split()[19])
        except (OSError, IndexError, ValueError):
            return None

    def _boot_time(self) -> float | None:
        """btime of /proc/stat: seconds since the epoch when the kernel began. Read again when the clock was set."""
        offset = self._clock.wall() - self._clock.monotonic()
        if self._boot_offset is not None and abs(offset - self._boot_offset) < _STEP_SECONDS:
            return self._boot
        try:
            with (self._proc / "stat").open(encoding="ascii", errors="replace") as lines:
                self._boot = next(
                    (float(line.split()[1]) for line in lines if line.startswith("btime ")), None
                )
        except (OSError, IndexError, ValueError):
            self._boot = None
        self._boot_offset = offset
        return self._boot


def _pid(facts: Facts) -> int | None:
    pid = facts.attributes.get("pid")
    if isinstance(pid, int) and not isinstance(pid, bool) and pid > 0:
        return pid
    text = facts.subject.rpartition("#")[2]
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 9 else None
