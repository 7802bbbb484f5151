"""Who holds a card: processes that have its device node open, and who they are.

For makers whose library lists no processes. A process's command is its name in /proc/PID/comm, never its
arguments. Pids are the host's only where the agent sees the host's pid namespace (hostPID in Kubernetes).
"""

from __future__ import annotations

import os
import pwd
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ullage_contract.sample import Value


@dataclass(frozen=True, slots=True)
class Held:
    """by_node: device node -> pids that have it open, sorted. complete: no process refused to be looked at."""

    by_node: Mapping[str, tuple[int, ...]]
    complete: bool


LOOK_AGAIN: Final = 5
"""Scans after which a process that shows no change is looked at again; our choice: because reading every link of
2000 processes takes 0.3 s, and a descriptor closed and opened under the same number is rare."""


class Watch:
    """Scans all processes again and again, and reads the links of those that changed.

    A process has changed when it is new or its descriptor numbers are others than at the last scan.
    """

    def __init__(self, proc: Path) -> None:
        self._proc = proc
        self._wanted: frozenset[str] = frozenset()
        self._known: dict[str, tuple[list[str], tuple[str, ...]]] = {}
        self._scans = 0

    def scan(self, nodes: Iterable[str]) -> Held:
        """Who has these nodes open. Seeing other users' files needs root or CAP_SYS_PTRACE."""
        wanted = frozenset(nodes)
        if wanted != self._wanted:
            self._wanted = wanted
            self._known.clear()
        self._scans += 1
        known, self._known = self._known, {}
        found: dict[str, list[int]] = {}
        complete = True
        try:
            names = os.listdir(self._proc)  # noqa: PTH208 Path objects cost more than the calls
        except OSError:
            return Held({}, False)
        own = str(os.getpid())
        for name in names:
            if not name.isdigit() or name == own:
                continue
            place = f"{self._proc}/{name}/fd"
            try:
                descriptors = os.listdir(place)  # noqa: PTH208
            except PermissionError:
                complete = False
                continue
            except OSError:  # it ended meanwhile
                continue
            before = known.get(name)
            if before is None or before[0] != descriptors or (int(name) + self._scans) % LOOK_AGAIN == 0:
                before = (descriptors, self._links(place, descriptors))
            self._known[name] = before
            for node in before[1]:
                found.setdefault(node, []).append(int(name))
        return Held({node: tuple(sorted(pids)) for node, pids in found.items()}, complete)

    def _links(self, place: str, descriptors: list[str]) -> tuple[str, ...]:
        """The wanted nodes among a process's open files."""
        seen = set()
        for descriptor in descriptors:
            try:
                target = os.readlink(f"{place}/{descriptor}")  # noqa: PTH115
            except OSError:
                continue
            if target in self._wanted:
                seen.add(target)
        return tuple(sorted(seen))


def scan(proc: Path, nodes: Iterable[str]) -> Held:
    """Every process's open files, once. What is scanned each minute keeps a Watch."""
    return Watch(proc).scan(nodes)


def identity(proc: Path, pid: int) -> dict[str, Value | list[str] | None]:
    """Facts of a process as far as they can be seen: pid, command, user, cgroup."""
    place = proc / str(pid)
    known = {
        "command": _first_line(place / "comm"),
        "user": _user(place),
        "cgroup": _cgroup(place / "cgroup"),
    }
    return {"pid": pid, **{name: value for name, value in known.items() if value is not None}}


def _first_line(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8", errors="replace").split("\n", 1)[0].strip() or None
    except OSError:
        return None


def _user(place: Path) -> str | None:
    try:
        uid = place.stat().st_uid
    except OSError:
        return None
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:  # a user the host does not know (container, LDAP down)
        return str(uid)


def _cgroup(path: Path) -> str | None:
    """The cgroup v2 path, else the longest v1 path: that one names the job or pod."""
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return None
    paths = {line.split(":", 2)[1]: line.split(":", 2)[2] for line in lines if line.count(":") >= 2}
    unified = paths.get("")
    if unified and unified != "/":
        return unified
    return max(paths.values(), key=len, default=None)
