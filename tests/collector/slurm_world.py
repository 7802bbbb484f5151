"""A small Slurm in a real store: nodes with cards, a book, and programs that answer what a test says."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ullage_collector.allocation.book import AllocationBook
from ullage_collector.allocation.slurm import gres
from ullage_collector.allocation.slurm.belief import Belief
from ullage_collector.allocation.slurm.cards import Card, CardIndex, card_index
from ullage_collector.allocation.slurm.job import SlurmJob
from ullage_collector.allocation.slurm.runs import Known
from ullage_collector.store.store import Store
from ullage_contract.clock import ManualClock
from ullage_contract.errors import Broken

CLUSTER = "tiny"
AT = 1_795_270_000
"""2026-11-21T14:06:40Z: when every test begins."""
NODES: Mapping[str, tuple[int, ...]] = {"g1": tuple(range(8)), "g2": tuple(range(8))}


def card_of(node: str, number: int) -> str:
    return f"GPU-{node}-{number}"


def cards_of(nodes: Mapping[str, Sequence[int]] = NODES) -> list[Card]:
    return [
        Card(node, card_of(node, number), number, f"0000:{number + 16:02x}:00.0", float(AT))
        for node, numbers in nodes.items()
        for number in numbers
    ]


def index_of(nodes: Mapping[str, Sequence[int]] = NODES) -> CardIndex:
    return card_index(
        cards_of(nodes),
        {node: gres.read(f"gpu:h200:{len(numbers)}") for node, numbers in nodes.items()},
        None,
    )


def job(
    number: int = 1,
    *,
    start: int | None = AT,
    end: int | None = None,
    state: str = "RUNNING",
    nodes: Sequence[str] = ("g1",),
    detail: str | Mapping[str, str] | None = None,
    tres: str = "cpu=1,gres/gpu=1",
    **more: Any,
) -> SlurmJob:
    """A run. detail: gres_detail of its first node, or by node."""
    details = {nodes[0]: detail} if isinstance(detail, str) else dict(detail or {})
    counts = {k: int(v) for k, _, v in (part.partition("=") for part in tres.split(",")) if v}
    return SlurmJob(
        job_id=number,
        states=tuple(state.split("+")),
        start=start,
        end=end,
        nodes=tuple(nodes),
        tres=counts,
        gres={node: gres.read(text) for node, text in details.items()},
        **{"account": "nlp", "user": "daemon", "partition": "batch", "restarts": 0, "qos": "normal", **more},
    )


def opened(folder: Path, nodes: Mapping[str, Sequence[int]] = NODES) -> Store:
    """A store that has seen the cards, with a clock that stands at AT."""
    store = Store.open(folder / "store.duckdb", clock=ManualClock(wall=float(AT)))
    with store.write() as cursor:
        identities = store.identities
        for node, numbers in nodes.items():
            key = identities.node(cursor, CLUSTER, node, AT * 1_000_000, "real").key
            for number in numbers:
                identities.card(cursor, card_of(node, number), key, AT * 1_000_000, "real")
        identities.flush(cursor)
        cursor.execute(
            "UPDATE card SET minor = regexp_extract(card_id, '[0-9]+$')::INTEGER,"
            " pci_address = format('0000:{:02x}:00.0', 16 + regexp_extract(card_id, '[0-9]+$')::INTEGER)"
        )
    return store


def belief(store: Store, **more: Any) -> Belief:
    known = Known(CLUSTER, index_of(), {n: gres.read("gpu:h200:8") for n in NODES})
    return Belief(known, store, AllocationBook(store, "slurm"), **more)


def believed(store: Store, *, known: str = "a.known_to IS NULL") -> list[tuple[Any, ...]]:
    """(label, from, to, card or count of node, rank), seconds since AT, sorted."""
    cursor = store.cursor()
    rows = cursor.execute(
        "SELECT w.workload_id, epoch_us(a.valid_from) // 1000000, epoch_us(a.valid_to) // 1000000, n.node_id, c.card_id,"
        f' a.share_nano, a."rank" FROM allocation a JOIN workload w USING (workload_key) JOIN node n USING (node_key)'
        f" LEFT JOIN card c ON c.card_key = a.card_key WHERE {known} ORDER BY ALL"
    ).fetchall()
    cursor.close()
    found = [
        (
            workload.removeprefix(f"slurm/{CLUSTER}/"),
            start - AT,
            None if end is None else end - AT,
            card or f"{node}:{share / 1e9:g}",
            rank,
        )
        for workload, start, end, node, card, share, rank in rows
    ]
    return sorted(found, key=str)


def notes(store: Store, label: str) -> dict[str, Any]:
    """Attributes of a run's rows, as believed now."""
    cursor = store.cursor()
    row = cursor.execute(
        "SELECT a.attributes FROM allocation a JOIN workload w USING (workload_key)"
        " WHERE w.workload_id = ? AND a.known_to IS NULL ORDER BY a.valid_from DESC",
        [f"slurm/{CLUSTER}/{label}"],
    ).fetchall()[0]
    cursor.close()
    found: dict[str, Any] = json.loads(row[0])
    return found


def told(store: Store, at: float, node: str, kind: str = "job_started", **attributes: Any) -> None:
    """An event as an agent pushes it."""
    with store.write() as cursor:
        cursor.execute(
            "INSERT INTO event (event_id, time, received_at, node_key, family, subject, kind, severity, source, message,"
            " attributes, origin) SELECT nextval('event_number'), make_timestamp(?), make_timestamp(?), node_key, 'node',"
            " node_id, ?, 'info', 'scheduler', '', ?, 'real' FROM node WHERE node_id = ?",
            [round(at * 1e6), round(at * 1e6), kind, json.dumps({"scheduler": "slurm", **attributes}), node],
        )


@dataclass
class Programs:
    """command.Run that answers from a table: program -> text, or an error to raise. asked: every argv."""

    answers: dict[str, str | Exception] = field(default_factory=dict)
    asked: list[tuple[str, ...]] = field(default_factory=list)

    def __call__(self, argv: Sequence[str], *, seconds: float) -> bytes:
        self.asked.append(tuple(argv))
        what = f"{argv[0]} {argv[-1]}" if argv[0] == "scontrol" else argv[0]
        if "--states=PENDING" in argv and "squeue PENDING" in self.answers:
            what = "squeue PENDING"  # else all jobs, as Slurm 22.05 answers
        answer = self.answers.get(what, Broken(f"{what} is away"))
        if isinstance(answer, Exception):
            raise answer
        return answer.encode()

    def count(self, name: str) -> int:
        return sum(argv[0] == name for argv in self.asked)


def squeue(*jobs: dict[str, Any]) -> str:
    return json.dumps(
        {"meta": {"plugin": {"data_parser": "data_parser/v0.0.44"}}, "jobs": list(jobs), "errors": []}
    )


def live(
    number: int, start: int, detail: str = "gpu:h200:1(IDX:0)", node: str = "g1", **more: Any
) -> dict[str, Any]:
    """A job of squeue --json."""
    return {
        "job_id": number,
        "job_state": ["RUNNING"],
        "start_time": start,
        "nodes": node,
        "gres_detail": [detail],
        "tres_alloc_str": "cpu=1,gres/gpu=1",
        "account": "nlp",
        "user_name": "daemon",
        "restart_cnt": 0,
        **more,
    }


def waits(number: int, tres: str = "cpu=1,gres/gpu=2,gres/gpu:h200=2", **more: Any) -> dict[str, Any]:
    """A pending job of squeue --json, submitted a minute before AT."""
    return {
        "job_id": number,
        "job_state": ["PENDING"],
        "state_reason": "Resources",
        "submit_time": {"set": True, "infinite": False, "number": AT - 60},
        "eligible_time": {"set": True, "infinite": False, "number": AT - 60},
        "tres_req_str": tres,
        "account": "nlp",
        "user_name": "daemon",
        "partition": "batch",
        "qos": "normal",
        **more,
    }


def past(number: int, start: int, end: int, node: str = "g1", count: int = 1, **more: Any) -> dict[str, Any]:
    """A run of sacct --json."""
    return {
        "job_id": number,
        "state": {"current": ["COMPLETED"]},
        "time": {"start": start, "end": end},
        "nodes": node,
        "tres": {"allocated": [{"type": "gres", "name": "gpu", "count": count}]},
        "account": "nlp",
        "user": "daemon",
        **more,
    }
