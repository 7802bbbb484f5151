"""What each user of a graphics card does with it: the fdinfo of open DRM files (drm-usage-stats.rst).

A client is one opening of a card, known by drm-pdev and drm-client-id; processes that inherited or were
handed the file share it, and it counts once. Busy time comes in nanoseconds (i915) or in cycles beside a total
(xe). Reading other users' files needs root or CAP_SYS_PTRACE: where that is missing, or the agent has a pid
namespace of its own, ``complete`` is false and a sum over clients would be too low.

Cheap enough for every tick: a process is looked at again only when its number of open files changed
(Linux 6.2 and newer show it as the size of /proc/PID/fd), and all of them once a minute.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from typing import Final

FRESH_SECONDS: Final = 1.0  # our choice: because all cards of one tick may share one look
FULL_SECONDS: Final = 55.0  # our choice: because a slow tick comes every 60 s
_INITIAL_PID_NAMESPACE: Final = "pid:[4026531836]"  # PROC_PID_INIT_INO, include/linux/proc_ns.h
_UNITS: Final = {"": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}
_LOCAL: Final = ("vram", "local")
"""Memory regions on the card: vram0 (xe), local0 (i915)."""
_HIDDEN: Final = ("hidden",)
_KERNEL: Final = ("kernel thread",)
_NEVER: Final = (_HIDDEN, _KERNEL)
"""In place of descriptors: processes that are only looked at again with all others."""


@dataclass(slots=True)
class Client:
    """One opening of a card. busy and total: engine class -> ns, or cycles with the total beside them.

    capacity: engines of a class, 1 where not said. resident_bytes: on the card; None where the driver does not say.
    """

    client_id: str
    pids: set[int] = field(default_factory=set)
    busy: dict[str, int] = field(default_factory=dict)
    total: dict[str, int] = field(default_factory=dict)
    capacity: dict[str, int] = field(default_factory=dict)
    resident_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class Look:
    """All clients at one instant. by_card: PCI address -> client id -> client. complete: see the module."""

    time: float
    by_card: Mapping[str, Mapping[str, Client]]
    complete: bool


@dataclass(frozen=True, slots=True)
class Usage:
    """Between two looks. ratio: the busiest engine class, 0..1. by_client: client id -> its own busiest class."""

    ratio: float
    by_class: Mapping[str, float]
    by_client: Mapping[str, float]


def parse_fdinfo(text: str) -> tuple[str | None, str, Client] | None:
    """(PCI address, driver, client) of one fdinfo file; None when it is no DRM file."""
    fields: dict[str, str] = {}
    for line in text.splitlines():
        if line.startswith("drm-"):
            key, _, value = line.partition(":")
            fields[key[4:]] = value.strip()
    if "driver" not in fields or "client-id" not in fields:
        return None
    client = Client(fields["client-id"])
    memory: dict[str, dict[str, int]] = {}
    for key, value in fields.items():
        what, _, name = key.partition("-")
        if what == "engine" and name.startswith("capacity-"):
            client.capacity[name.removeprefix("capacity-")] = max(1, _bytes(value) or 1)
        elif what == "total" and name.startswith("cycles-"):
            _keep(client.total, name.removeprefix("cycles-"), _bytes(value))
        elif what in ("engine", "cycles"):
            _keep(client.busy, name, _bytes(value.removesuffix("ns").strip()))
        elif what in ("resident", "memory", "total") and name.startswith(_LOCAL):
            _keep(memory.setdefault(what, {}), name, _bytes(value))
    for what in ("resident", "memory", "total"):
        if what in memory:
            client.resident_bytes = sum(memory[what].values())
            break
    return fields.get("pdev"), fields["driver"], client


def _keep(into: dict[str, int], name: str, value: int | None) -> None:
    if value is not None:
        into[name] = value


def _bytes(text: str) -> int | None:
    number, _, unit = text.partition(" ")
    if not number.isdecimal() or unit not in _UNITS:
        return None
    return int(number) * _UNITS[unit]


class DrmClients:
    """All clients of cards of some drivers. clock: seconds, never going back."""

    def __init__(self, proc: Path, drivers: tuple[str, ...], clock: Callable[[], float] = monotonic) -> None:
        self._proc = str(proc)
        self._drivers = drivers
        self._clock = clock
        self._seen: dict[str, tuple[tuple[int, int], tuple[str, ...]]] = {}
        self._full_at = float("-inf")
        self._look: Look | None = None
        self._own_namespace = _namespace(proc) not in (None, _INITIAL_PID_NAMESPACE)

    def look(self) -> Look:
        """The clients now; at most FRESH_SECONDS old."""
        now = self._clock()
        if self._look is not None and now - self._look.time < FRESH_SECONDS:
            return self._look
        complete = self._walk(full=now - self._full_at >= FULL_SECONDS) and not self._own_namespace
        if now - self._full_at >= FULL_SECONDS:
            self._full_at = now
        cards: dict[str, dict[str, Client]] = {}
        for pid, place in self._files():
            parsed = self._read(place)
            if parsed is None or parsed[1] not in self._drivers:
                continue
            address, _, client = parsed
            if address is None:
                continue
            known = cards.setdefault(address, {}).setdefault(client.client_id, client)
            known.pids.add(pid)
        self._look = Look(now, cards, complete)
        return self._look

    def _walk(self, *, full: bool) -> bool:
        """Find which processes have a DRM file open. False when one would not be looked at."""
        try:
            names = os.listdir(self._proc)  # noqa: PTH208 thousands of processes: Path objects cost more than the calls
        except OSError:
            self._seen.clear()
            return False
        seen: dict[str, tuple[tuple[int, int], tuple[str, ...]]] = {}
        own = str(os.getpid())
        for name in names:
            if not name.isdecimal() or name == own:
                continue
            place = f"{self._proc}/{name}/fd"
            before = self._seen.get(name)
            if before is not None and before[1] in _NEVER and not full:
                seen[name] = before
                continue
            try:
                status = os.stat(place)  # noqa: PTH116
            except OSError:
                continue
            mark = (status.st_ino, status.st_size)
            if before is not None and before[0] == mark and not full:
                seen[name] = before
            else:
                seen[name] = (mark, _drm_files(place))
        self._seen = seen
        return all(files != _HIDDEN for _, files in seen.values())

    def _files(self) -> Iterator[tuple[int, str]]:
        for name, (_, files) in self._seen.items():
            for descriptor in files if files not in _NEVER else ():
                yield int(name), f"{self._proc}/{name}/fdinfo/{descriptor}"

    def _read(self, place: str) -> tuple[str | None, str, Client] | None:
        try:
            descriptor = os.open(place, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return None
        try:
            return parse_fdinfo(os.read(descriptor, 16384).decode("utf-8", "replace"))
        except OSError:
            return None
        finally:
            os.close(descriptor)


def _drm_files(place: str) -> tuple[str, ...]:
    """Descriptors that are DRM files; _HIDDEN when they may not be seen, _KERNEL when no file at all is open."""
    try:
        names = os.listdir(place)  # noqa: PTH208
    except PermissionError:
        return _HIDDEN
    except OSError:  # it ended meanwhile
        return ()
    if not names:
        return _KERNEL
    found = []
    for name in names:
        try:
            if os.readlink(f"{place}/{name}").startswith(("/dev/dri/", "/dev/accel/")):  # noqa: PTH115
                found.append(name)
        except PermissionError:
            return _HIDDEN
        except OSError:
            continue
    return tuple(found)


def _namespace(proc: Path) -> str | None:
    """Our own pid namespace; None where it cannot be told (a recorded tree)."""
    try:
        return os.readlink(proc / "self/ns/pid")  # noqa: PTH115
    except OSError:
        return None


class Busy:
    """How busy one card was between two looks."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._before: Look | None = None
        self._rates: dict[str, float] = {}
        self._last: Usage | None = None

    def usage(self, look: Look) -> Usage | None:
        """Since the look before; the same again for the same look. None at first, and while a total is not known."""
        before = self._before
        if before is not None and look.time == before.time:
            return self._last
        self._before = look
        self._last = None if before is None else self._between(before, look)
        return self._last

    def _between(self, before: Look, now: Look) -> Usage | None:
        old, new = before.by_card.get(self._address, {}), now.by_card.get(self._address, {})
        elapsed = now.time - before.time
        if elapsed <= 0:
            return None
        totals = self._totals(old, new, elapsed)
        classes: dict[str, float] = {}
        clients: dict[str, float] = {}
        for client_id, client in new.items():
            known = old.get(client_id)
            for engine, busy in client.busy.items():
                grown = busy - (known.busy.get(engine, 0) if known is not None else 0)
                if grown <= 0:
                    # the document allows a value to fall behind for a while: stay with the larger one
                    share = 0.0
                else:
                    span = totals.get(engine) if client.total else elapsed * 1e9
                    if not span:
                        return None
                    share = grown / span / client.capacity.get(engine, 1)
                classes[engine] = classes.get(engine, 0.0) + share
                clients[client_id] = min(1.0, max(clients.get(client_id, 0.0), share))
        classes = {engine: min(1.0, share) for engine, share in classes.items()}
        return Usage(max(classes.values(), default=0.0), classes, clients)

    def _totals(
        self, old: Mapping[str, Client], new: Mapping[str, Client], elapsed: float
    ) -> dict[str, float]:
        """Cycles that passed, by engine class: from clients seen twice, else from the rate learnt from such."""
        totals: dict[str, float] = {}
        for client_id, client in new.items():
            known = old.get(client_id)
            for engine, total in client.total.items():
                if known is not None and total > known.total.get(engine, total):
                    totals[engine] = max(totals.get(engine, 0.0), total - known.total[engine])
        for engine, span in totals.items():
            self._rates[engine] = span / elapsed
        return {**{engine: rate * elapsed for engine, rate in self._rates.items()}, **totals}
