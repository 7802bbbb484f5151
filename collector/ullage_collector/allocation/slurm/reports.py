"""What ``scontrol`` and ``sacctmgr`` write as text: reservations, what nodes are configured with, the account tree."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from ullage_collector.allocation.room import Room
from ullage_collector.allocation.slurm import gres, words
from ullage_collector.allocation.slurm.gres import Gres
from ullage_contract.errors import BadInput

CLOSED: Final = frozenset(
    [
        "DOWN",
        "DRAIN",
        "DRAINED",
        "DRAINING",
        "ERROR",
        "FAIL",
        "FAILING",
        "FUTURE",
        "INVAL",
        "INVALID_REG",
        "MAINT",
        "MAINTENANCE",
        "NOT_RESPONDING",
        "NO_RESPOND",
        "PERFCTRS",
        "POWERING_DOWN",
        "POWER_DOWN",
        "REBOOT",
        "REBOOT_ISSUED",
        "REBOOT_REQUESTED",
        "UNKNOWN",
    ]
)
"""States and flags of a node on which nothing new starts — sinfo(1), NODE STATE CODES."""


@dataclass(frozen=True, slots=True)
class Reservation:
    """One reservation. Times are seconds since the epoch, UTC. accounts, users: who may use it.

    tres: what is reserved, over all nodes. maintenance: nobody's work runs there on purpose.
    """

    name: str
    start: int
    end: int
    nodes: tuple[str, ...]
    accounts: tuple[str, ...]
    users: tuple[str, ...]
    tres: Mapping[str, int]
    flags: tuple[str, ...]

    @property
    def maintenance(self) -> bool:
        """Flag MAINT: the platform's own, held by no account."""
        return "MAINT" in self.flags


def reservations(said: str) -> list[Reservation]:
    """``scontrol --oneliner show reservation``; floating ones without a start are left out.

    Raises BadInput for times that are no seconds and lists that are none.
    """
    found = []
    for line in said.splitlines():
        if "ReservationName=" not in line:
            continue
        row = words.fields(line)
        start, end = words.instant(row.get("StartTime")), words.instant(row.get("EndTime"))
        if start is None or end is None:
            continue
        found.append(
            Reservation(
                name=row["ReservationName"],
                start=start,
                end=end,
                nodes=tuple(words.hosts(row.get("Nodes"))),
                accounts=_listed(row.get("Accounts")),
                users=_listed(row.get("Users")),
                tres=words.tres(row.get("TRES")),
                flags=_listed(row.get("Flags")),
            )
        )
    return found


def nodes(said: str) -> dict[str, tuple[Gres, ...]]:
    """``scontrol --oneliner show node``: what each node is configured with; one nobody can read is left out."""
    found = {}
    for line in said.splitlines():
        if line.startswith("NodeName="):
            row = words.fields(line)
            with contextlib.suppress(BadInput):
                found[row["NodeName"]] = gres.read(row.get("Gres"))
    return found


def rooms(said: str) -> list[Room]:
    """``scontrol --oneliner show node``: processors and memory of each node, and what of them jobs leave.

    Processors are CPUEfctv (22.05 and later: without those set aside for the system), else CPUTot; memory is RealMemory
    less MemSpecLimit, MiB both — scontrol(1), slurm.conf(5). A word that is missing is not known.
    """
    found = []
    for line in said.splitlines():
        if not line.startswith("NodeName="):
            continue
        row = words.fields(line)
        cpu, cpu_taken = _count(row.get("CPUEfctv") or row.get("CPUTot")), _count(row.get("CPUAlloc"))
        memory, memory_taken = _count(row.get("RealMemory")), _count(row.get("AllocMem"))
        if memory is not None:
            memory -= _count(row.get("MemSpecLimit")) or 0
        found.append(
            Room(
                node=row["NodeName"],
                cpu_milli=None if cpu is None else 1000 * cpu,
                cpu_free_milli=None if cpu is None or cpu_taken is None else 1000 * (cpu - cpu_taken),
                memory_mib=memory,
                memory_free_mib=None if memory is None or memory_taken is None else memory - memory_taken,
                why=_closed(row.get("State", "")),
            )
        )
    return found


def _closed(state: str) -> str | None:
    """The word of a state that keeps new work off (``MIXED+DRAIN``, ``DOWN*``); None: it takes work, or says nothing."""
    if "*" in state:
        return "not responding"
    found = [word.strip("~#!%$@^-") for word in state.upper().split("+")]
    return next((word.lower() for word in found if word in CLOSED), None)


def _count(written: str | None) -> int | None:
    return int(written) if written is not None and written.isascii() and written.isdigit() else None


def account_paths(said: str) -> dict[str, str]:
    """``sacctmgr -P -n show assoc format=account,user,parentname``: account -> its path, /root/rd/nlp."""
    parents: dict[str, str] = {}
    for line in said.splitlines():
        account, user, parent = [*line.split("|"), "", "", ""][:3]
        if account and not user:
            parents[account] = parent
    paths = {}
    for account in parents:
        path, at = [], account
        while at and at not in path:
            path.append(at)
            at = parents.get(at, "")
        paths[account] = "/" + "/".join(reversed(path))
    return paths


def _listed(written: str | None) -> tuple[str, ...]:
    """A comma-separated list; entries that are denied (a minus before them) are nobody's."""
    parts = (part.strip() for part in (words.text(written) or "").split(","))
    return tuple(part.removeprefix("+") for part in parts if part and not part.startswith("-"))
