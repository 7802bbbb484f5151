"""The files beside telemetry: who held what, what is owned, what it costs, who pays, what broke, the truth."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from demo.activity import Idle
from demo.happenings import Happening
from demo.people import CURRENCY, DEPARTMENTS, PRICES, RULES
from demo.places import CLUSTER, GROUPS, Card
from demo.schedule import Workload
from ullage_agent.backends.simulated.models import MODELS, identity

TIMESTAMP = pa.timestamp("us")
"""UTC, without a zone: as the store keeps times."""

ALLOCATION_SCHEMA = pa.schema(
    [
        ("workload_id", pa.string()),
        ("kind", pa.string()),
        ("name", pa.string()),
        ("user", pa.string()),
        ("namespace", pa.string()),
        ("partition", pa.string()),
        ("labels", pa.string()),
        ("cluster_id", pa.string()),
        ("node_id", pa.string()),
        ("card_id", pa.string()),
        ("share", pa.float64()),
        ("from", TIMESTAMP),
        ("to", TIMESTAMP),
        ("source", pa.string()),
        ("origin", pa.string()),
    ],
    metadata={b"ullage.origin": b"simulated"},
)
INVENTORY_COLUMNS = (
    "card_id", "cluster_id", "node_id", "vendor", "model", "serial", "board_id", "pool", "life", "from", "to",
    "purchase_price", "purchase_currency", "purchased", "depreciation_months",
)  # fmt: skip

DAY_TARIFF: Final = "0.85"
NIGHT_TARIFF: Final = "0.35"
NIGHT: Final = "23:00-07:00"
ZONE: Final = "Asia/Shanghai"
"""A kilowatt-hour in CNY. our choice: round figures near a Chinese industrial tariff of two times of day."""
PUE: Final = "1.30"
"""our choice: an ordinary air-cooled hall."""


def allocations(path: Path, workloads: Iterable[Workload], cards: Sequence[Card], end: float) -> int:
    """One row a workload and card; ``to`` is null while it still holds the card at the window's end."""
    columns: dict[str, list[Any]] = {name: [] for name in ALLOCATION_SCHEMA.names}
    for workload in workloads:
        common = {
            "workload_id": workload.workload_id,
            "kind": workload.kind,
            "name": workload.name,
            "user": workload.user,
            "namespace": workload.namespace,
            "partition": workload.partition or None,
            "labels": workload.labels_json,
            "cluster_id": CLUSTER,
            "share": workload.share,
            "from": _microseconds(workload.start),
            "to": None if workload.end >= end else _microseconds(workload.end),
            "source": workload.workload_id.partition("/")[0],
            "origin": "simulated",
        }
        for index in workload.cards:
            card = cards[index]
            for name in columns:
                if name == "node_id":
                    columns[name].append(card.node_id)
                elif name == "card_id":
                    columns[name].append(card.who.card_id)
                else:
                    columns[name].append(common[name])
    table = pa.table(columns, schema=ALLOCATION_SCHEMA)
    pq.write_table(table, path, compression="zstd")
    return int(table.num_rows)


def inventory(path: Path, cards: Sequence[Card], happenings: Iterable[Happening], begin: float) -> int:
    """Every owned card's life. A card sent to its maker has rows of its own; four spares are in stock."""
    bought = begin - 200 * 86400
    away = {h.cards[0]: h for h in happenings if h.effect == "broken"}
    rows: list[list[str]] = []

    def row(card: Card | None, life: str, start: float, end: float | None, spare: int = 0) -> None:
        group = next(g for g in GROUPS if card is None or g.pool == card.pool)
        model = MODELS[group.model]
        node = "store-room" if card is None else card.node_id
        who = identity("store-room", spare, model) if card is None else card.who
        _, capex = PRICES[model.name]
        rows.append(
            [who.card_id, CLUSTER, node, model.vendor, model.name, who.serial, who.board_id, group.pool, life,
             _time(start), "" if end is None else _time(end), str(capex), CURRENCY, _time(bought), "48"]
        )  # fmt: skip

    for card in cards:
        happening = away.get(card.index)
        if happening is None:
            row(card, "in_service", bought, None)
            continue
        row(card, "in_service", bought, happening.start)
        row(card, "rma", happening.start, happening.end)
        row(card, "in_service", happening.end, None)
    for spare in range(4):
        row(None, "stock", bought, None, spare)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(INVENTORY_COLUMNS)
        writer.writerows(rows)
    return len(rows)


def prices(path: Path, begin: float) -> None:
    """Assumed prices of a card-hour and of power by day and by night, valid since long before the window."""
    since = _time(begin - 365 * 86400)
    lines = [
        "# Assumed for the demonstration: pages that show these prices say so.",
        "schema_version = 1",
        "",
    ]
    for model, (price, _) in PRICES.items():
        lines += [
            "[[price]]",
            f"model = {json.dumps(model)}",
            f'currency = "{CURRENCY}"',
            f'hourly = "{price}"',
            f'from = "{since}"',
            "assumed = true",
            "",
        ]
    for per_kwh, hours in ((DAY_TARIFF, None), (NIGHT_TARIFF, NIGHT)):
        lines += [
            "[[tariff]]",
            f'per_kwh = "{per_kwh}"',
            f'currency = "{CURRENCY}"',
            f'zone = "{ZONE}"',
            *([f'hours = "{hours}"'] if hours else []),
            f'from = "{since}"',
            "",
        ]
    lines += ["[[pue]]", f'pue = "{PUE}"', f'from = "{since}"', ""]
    path.write_text("\n".join(lines), encoding="utf-8")


def mapping(path: Path, begin: float) -> None:
    """Departments and the rules that say who pays."""
    since = _time(begin - 365 * 86400)
    lines = ["schema_version = 1", ""]
    for department in DEPARTMENTS:
        lines += [
            "[[department]]",
            f'id = "{department.id}"',
            f'name = "{department.name}"',
            f'owner = "{department.owner}"',
            f'cost_center = "{department.cost_center}"',
            f'from = "{since}"',
            "",
        ]
    for match, priority, owner, business, scenario in RULES:
        lines += ["[[rule]]", f'match = "{match}"', f"priority = {priority}"]
        for name, value in (("department", owner), ("business", business), ("scenario", scenario)):
            if value is not None:
                lines.append(f'{name} = "{value}"')
        lines += [f'from = "{since}"', ""]
    path.write_text("\n".join(lines), encoding="utf-8")


def incidents(folder: Path, happenings: Iterable[Happening], begin: float, end: float) -> tuple[int, int]:
    """``events.jsonl``: what the nodes would have sent. ``incidents.jsonl``: what a person would have recorded."""
    events = sorted(
        (e for h in happenings for e in h.events if begin <= e["time"] < end),
        key=lambda e: (e["time"], e["subject"]),
    )
    records = [
        {**h.incident, "onset": _time(h.incident["onset"]), "closed_at": _closed(h.incident["closed_at"])}
        for h in happenings
        if h.incident is not None
    ]
    for name, lines in (("events.jsonl", events), ("incidents.jsonl", records)):
        with (folder / name).open("w", encoding="utf-8") as file:
            for line in lines:
                file.write(
                    json.dumps({"origin": "simulated", "cluster_id": CLUSTER, **line}, ensure_ascii=False)
                    + "\n"
                )
    return len(events), len(records)


def truth(
    folder: Path,
    workloads: Sequence[Workload],
    cards: Sequence[Card],
    idle: Sequence[Idle],
    begin: float,
    end: float,
) -> None:
    """What really happened: idle stretches, and one line a workload with who should pay for it."""
    pq.write_table(
        pa.table(
            {
                "workload_id": [each.workload_id for each in idle],
                "card_id": [cards[each.card].who.card_id for each in idle],
                "from": pa.array([_microseconds(each.start) for each in idle], TIMESTAMP),
                "to": pa.array([_microseconds(each.end) for each in idle], TIMESTAMP),
            }
        ),
        folder / "truth_idle.parquet",
        compression="zstd",
    )
    seconds: dict[str, float] = {}
    for each in idle:
        seconds[each.workload_id] = seconds.get(each.workload_id, 0.0) + each.end - each.start
    with (folder / "truth_workloads.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(
            ["workload_id", "work", "department", "cards", "share", "held_card_seconds", "idle_card_seconds"]
        )
        for workload in workloads:
            held = (min(workload.end, end) - max(workload.start, begin)) * len(workload.cards)
            writer.writerow(
                [workload.workload_id, workload.work.value, workload.department, len(workload.cards), workload.share,
                 round(held, 3), round(seconds.get(workload.workload_id, 0.0), 3)]
            )  # fmt: skip


def _closed(seconds: float | None) -> str | None:
    return None if seconds is None else _time(seconds)


def _microseconds(seconds: float) -> int:
    return round(seconds * 1000) * 1000


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(round(seconds), tz=UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
