"""Cards used by processes that no allocation of the card covers: outside any scheduler, or beside what it gave.

Pure: rows in, findings out. What a process's cgroup names decides: a job or pod has to hold the card itself; a
session has to be a holder's own user; where the cgroup tells no holder, any allocation of the card covers the
process, because nobody can say otherwise. Daemons that belong on cards are data (unallocated_use.toml).
Not here: reading the store and keeping findings (unallocated_watch.py).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from functools import cache
from typing import Any, Final

from ullage_collector.detect.findings import Found
from ullage_contract import rule_file
from ullage_contract.settings import Table

KIND: Final = "used_without_allocation"
COMM_CHARACTERS: Final = 15
"""What the kernel keeps of a process's name (TASK_COMM_LEN, proc(5))."""
MOST_NAMED: Final = 8  # our choice: because a page shows as many holders of one card


FILE: Final = "unallocated_use.toml"


@dataclass(frozen=True, slots=True)
class Daemon:
    """Processes that may be on any card. names: globs over the command. users: globs over whose it is."""

    names: tuple[str, ...]
    users: tuple[str, ...]
    why: str


@dataclass(frozen=True, slots=True)
class Rules:
    """unallocated_use.toml as values, in microseconds. bare_nodes: globs over node and cluster/node."""

    seen_us: int
    young_us: int
    leaving_us: int
    slurm_units: tuple[str, ...]
    daemons: tuple[Daemon, ...]
    bare_nodes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class OnCard:
    """A process seen on a card lately. None: the node did not say.

    first_us, seen_us: first and last sight within the time looked at, by the collector's clock.
    holder_kind, holder_id: what its cgroup names (ullage_agent.holders.cgroup).
    """

    card_id: str
    pid: int
    cluster: str
    node: str
    first_us: int
    seen_us: int
    command: str | None = None
    user: str | None = None
    started_us: int | None = None
    holder_kind: str | None = None
    holder_id: str | None = None


@dataclass(frozen=True, slots=True)
class Allocated:
    """One allocation believed now. card_id None: of this many cards of the node nobody knows which.

    job_id: Slurm's own number where the source states it. to_us None: still held.
    """

    workload_id: str
    kind: str
    user: str | None
    job_id: str | None
    cluster: str
    node: str | None
    card_id: str | None
    from_us: int
    to_us: int | None


def find(
    processes: Iterable[OnCard],
    allocations: Iterable[Allocated],
    rules: Rules,
    now_us: int,
    heard: Callable[[str, str], int | None] | None = None,
) -> tuple[list[Found], set[str]]:
    """(findings, cards that cannot be judged yet).

    A process is covered when it was last seen within an allocation, or ``leaving_us`` after its end. A process too
    young, and a job's or pod's whose scheduler has not been heard since it was young, cannot be judged.
    heard: when the scheduler of a workload kind and cluster last told all it runs, None: not at all; without it every
    scheduler counts as heard just now.
    """
    of_card: dict[str, list[Allocated]] = {}
    of_node: dict[tuple[str, str], list[Allocated]] = {}
    for row in allocations:
        if row.card_id is not None:
            of_card.setdefault(row.card_id, []).append(row)
        elif row.node is not None:
            of_node.setdefault((row.cluster, row.node), []).append(row)
    found = []
    young: set[str] = set()
    for process in processes:
        if _expected(process, rules):
            continue
        here = [row for row in of_card.get(process.card_id, ()) if _covers(row, process, rules)]
        near = [
            row for row in of_node.get((process.cluster, process.node), ()) if _covers(row, process, rules)
        ]
        reason = _uncovered(process, here, near, rules)
        if reason is None:
            continue
        began = process.started_us if process.started_us is not None else process.first_us
        if now_us - began < rules.young_us or _untold(process, began, rules, heard):
            young.add(process.card_id)
            continue
        found.append(_finding(process, reason, here, began))
    return found, young


def _untold(
    process: OnCard, began: int, rules: Rules, heard: Callable[[str, str], int | None] | None
) -> bool:
    """A job's or pod's process that its scheduler had no chance yet to tell us of."""
    if heard is None or process.holder_kind not in ("slurm_job", "kubernetes_pod"):
        return False
    last = heard(process.holder_kind, process.cluster)
    return last is None or last < began + rules.young_us


def _covers(row: Allocated, process: OnCard, rules: Rules) -> bool:
    return row.from_us <= process.seen_us + rules.leaving_us and (
        row.to_us is None or row.to_us + rules.leaving_us > process.seen_us
    )


def _uncovered(
    process: OnCard, here: Sequence[Allocated], near: Sequence[Allocated], rules: Rules
) -> str | None:
    """Why nothing covers the process; None when something does or nobody can tell.

    here: allocations of the card. near: those of the node whose cards nobody knows.
    """
    kind, name = process.holder_kind, process.holder_id
    by_slurm = kind == "slurm_job" or (
        kind == "systemd_unit" and any(fnmatchcase(name or "", unit) for unit in rules.slurm_units)
    )
    if by_slurm and not (name or "").isdigit():
        # by its SLUID, or in slurmd's own group: a job's, nobody knows which
        held = any(row.kind == "slurm_job" for row in (*here, *near))
        return None if held else ("other_holder" if here else "no_allocation")
    if kind in ("slurm_job", "kubernetes_pod"):
        if any(_is(row, kind, name) for row in (*here, *near)):
            return None
        return "other_holder" if here else "no_allocation"
    if kind == "user_session":
        mine = [row for row in (*here, *near) if row.user is None or process.user in (None, row.user)]
        if mine:
            return None
        return "other_user" if here else "no_allocation"
    return None if here or near else "no_allocation"


def _is(row: Allocated, kind: str, name: str | None) -> bool:
    """Whether an allocation is the job's or pod's whose name a cgroup has: number or uid."""
    if name is None or row.kind not in (kind, "notebook"):
        return False
    return name in (row.job_id, row.workload_id.rpartition("/")[2])


def _expected(process: OnCard, rules: Rules) -> bool:
    """A daemon that belongs there, or a node whose use outside a scheduler is wanted."""
    if any(
        fnmatchcase(process.node, glob) or fnmatchcase(f"{process.cluster}/{process.node}", glob)
        for glob in rules.bare_nodes
    ):
        return True
    command, user = process.command, process.user
    if command is None:
        return False
    return any(
        any(_named(command, name) for name in daemon.names)
        and any(fnmatchcase(user or "", glob) for glob in daemon.users)
        for daemon in rules.daemons
    )


def _named(command: str, glob: str) -> bool:
    return fnmatchcase(command, glob) or (
        len(command) == COMM_CHARACTERS and "*" not in glob and glob[:COMM_CHARACTERS] == command
    )


def _finding(process: OnCard, reason: str, here: Sequence[Allocated], began: int) -> Found:
    since = datetime.fromtimestamp(began / 1e6, tz=UTC).replace(microsecond=0)
    known = process.holder_kind not in (None, "unknown")
    return Found(
        kind=KIND,
        family="card",
        subject=process.card_id,
        since_us=began,
        evidence={
            "pid": process.pid,
            "command": process.command,
            "user": process.user,
            "since": since.isoformat().replace("+00:00", "Z"),
            "holder_kind": process.holder_kind,
            "holder_id": process.holder_id,
            "cluster": process.cluster,
            "node": process.node,
            "reason": reason,
            "held_by": sorted({row.workload_id for row in here})[:MOST_NAMED],
        },
        key=f"{process.pid}-{began // 1_000_000}",
        # our choice: a cgroup that names nobody may be a namespace we cannot see into
        confidence=1.0 if known else 0.8,
        owner=process.user,
        action="ask_its_user",
    )


@cache
def default_rules() -> Rules:
    """The rules shipped with the package."""
    return parse_rules(rule_file.shipped("ullage_collector.detect", FILE), FILE)


def parse_rules(text: str, where: str) -> Rules:
    """Raises ConfigError."""
    top = rule_file.opened(text, where)
    seconds, slurm = top.table("seconds"), top.table("slurm")
    daemons = []
    for content in top.tables("process"):
        row = Table(content, where, "process")
        daemons.append(Daemon(row.texts("names"), row.texts("users"), row.text("why") or ""))
        row.finish()
    rules = Rules(
        seen_us=round(seconds.number("seen", 120, 1, 3600) * 1e6),
        young_us=round(seconds.number("young", 60, 0, 3600) * 1e6),
        leaving_us=round(seconds.number("leaving", 60, 0, 3600) * 1e6),
        slurm_units=slurm.texts("units"),
        daemons=tuple(daemons),
    )
    seconds.finish()
    slurm.finish()
    top.finish()
    return rules


def rules_of(part: Mapping[str, Any]) -> Rules:
    """The shipped rules with what [allocation] of collector.toml adds: bare_nodes, system_processes.

    The table's other keys are other sources'. Raises ConfigError for a value that is no list of texts.
    """
    table = Table(part, "collector.toml", "allocation")
    shipped = default_rules()
    own = table.texts("system_processes", '["my-exporter"]')
    more = (Daemon(own, ("*",), "[allocation] system_processes"),) if own else ()
    return Rules(
        seen_us=shipped.seen_us,
        young_us=shipped.young_us,
        leaving_us=shipped.leaving_us,
        slurm_units=shipped.slurm_units,
        daemons=shipped.daemons + more,
        bare_nodes=table.texts("bare_nodes", '["workstation-*", "lab/*"]'),
    )
