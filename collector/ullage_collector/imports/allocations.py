"""Who held which card, from a file. A share that does not say otherwise is a whole card.

What the store believes word for word is not doubled. The same holding (workload, card, start) with another end
or share replaces what was believed, from now on: a job that was running when the first file was written and
has ended in the second is one allocation.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa

from ullage_collector.allocation import workloads
from ullage_collector.allocation.holding import Workload
from ullage_collector.imports.expression import Template, TimeSpec, ValueSpec
from ullage_collector.imports.map import AllocationMap, Map
from ullage_collector.imports.placement import Card, Request, first_fit
from ullage_collector.imports.records import NANO, Row, nano, read, zone_of
from ullage_collector.imports.report import Report
from ullage_collector.imports.source import Source, unreadable
from ullage_collector.sql import fill, statements
from ullage_collector.store import incoming
from ullage_contract.errors import BadInput, ConfigError

if TYPE_CHECKING:
    import duckdb

    from ullage_collector.store.store import Store

log = logging.getLogger(__name__)

_ALLOCATION: Final = {
    "workload_key": pa.int32(),
    "card_key": pa.int32(),
    "slice_key": pa.int32(),
    "node_key": pa.int32(),
    "share_nano": pa.int64(),
    "memory_share_nano": pa.int64(),
    "valid_from": incoming.TIMESTAMP,
    "valid_to": incoming.TIMESTAMP,
    "attributes": pa.string(),
}
_SAME_HOLDING: Final = (
    "a.workload_key = i.workload_key AND a.card_key IS NOT DISTINCT FROM i.card_key "
    "AND a.slice_key IS NOT DISTINCT FROM i.slice_key AND a.node_key IS NOT DISTINCT FROM i.node_key "
    "AND a.valid_from = i.valid_from"
)


@dataclass(frozen=True, slots=True)
class _Held:
    """One row understood. card_id None: on the node, or nobody knows where."""

    row: Row
    workload: str
    cluster: str
    node: str | None
    card_id: str | None
    slice_id: str | None
    from_us: int
    to_us: int | None
    share_nano: int
    memory_share_nano: int | None
    cards: int
    models: frozenset[str]
    placed: bool = False


def import_allocations(
    store: Store, cursor: duckdb.DuckDBPyConnection, source: Source, given: Map, report: Report
) -> None:
    """Import the file's allocations, in one transaction. Raises ConfigError when the map does not fit the file."""
    spec = given.allocations
    if spec is None:
        raise ConfigError(f"{given.name} has no [allocations]")
    held: list[_Held] = []
    labels = list(spec.labels)
    fields: dict[str, Template | TimeSpec | ValueSpec | None] = {
        "cluster": spec.cluster,
        "node": spec.node,
        "card": spec.card,
        "slice": spec.slice,
        "workload": spec.workload,
        "kind": spec.kind,
        "labels": spec.labels_json,
        "name": spec.name,
        "user": spec.user,
        "namespace": spec.namespace,
        "partition": spec.partition,
        "scenario": spec.scenario,
        "from": spec.starts,
        "to": spec.ends,
        "share": spec.share,
        "memory_share": spec.memory_share,
        "cards": Template(f"{{{spec.cards}}}") if spec.cards else None,
        "models": Template(f"{{{spec.models}|}}") if spec.models else None,
        **{f"label:{key}": spec.labels[key] for key in labels},
    }
    spans = [n for n in ("cluster", "node", "card", "slice", "workload") if fields[n]]
    zone = zone_of(spec.starts, spec.ends)
    for row in read(cursor, source, fields, spec.filters, zone, spans if spec.span_of_rows else ()):
        report.rows_read += row["rows"] or 1
        try:
            held.append(_understood(row, spec))
        except BadInput as e:
            report.refuse(row.number, str(e))
    for line, why in unreadable(cursor, source):
        report.rows_read += 1
        report.refuse(line, why)
    _keep(store, held, given, source.path, report)


def _understood(row: Row, spec: AllocationMap) -> _Held:
    workload, cluster = row.text("workload"), row.text("cluster")
    if workload is None or len(workload) > 200:
        raise BadInput("no workload")
    if cluster is None:
        raise BadInput("no cluster")
    from_us, to_us = row.bounds(spec.interval_seconds)
    share = _share(row, "share")
    cards = 1
    if spec.cards:
        text = row.text("cards")
        try:
            cards = int(float(text or ""))
        except ValueError:
            raise BadInput(f"{spec.cards} {str(text)[:40]!r} is no number of cards") from None
        if cards < 1:
            raise BadInput(f"{spec.cards} is {cards}: it holds no card")
    share_nano = NANO if share is None else nano(share)
    if cards > 1 and share_nano != NANO:
        raise BadInput(f"{cards} cards with a share of {share} of one: which is it?")
    memory = _share(row, "memory_share")
    card, slice_id, node = row.text("card"), row.text("slice"), row.text("node")
    if spec.place == "named" and card is None and slice_id is None:
        if node is None:
            raise BadInput("no card")
        if cards == 1 and spec.cards is None:
            raise BadInput("no card; where only the node is known, name the column that counts cards")
    models = row.text("models") or ""
    return _Held(
        row=row,
        workload=workload,
        cluster=cluster,
        node=node,
        card_id=card if spec.place == "named" else None,
        slice_id=slice_id,
        from_us=from_us,
        to_us=to_us,
        share_nano=share_nano,
        memory_share_nano=None if memory is None else nano(memory),
        cards=cards,
        models=frozenset(m.strip() for m in models.split(spec.models_separator) if m.strip()),
    )


def _share(row: Row, name: str) -> float | None:
    share: float | None = row[name]
    if share is None:
        if row[f"{name}_written"] is not None:
            raise BadInput(f"{name} {str(row[f'{name}_written'])[:40]!r} is no number")
        return None
    if not 0 < share <= 1:
        raise BadInput(f"{name} is {share:g}: a share of one card is above 0 and at most 1")
    return share


def _keep(
    store: Store,
    held: Sequence[_Held],
    given: Map,
    path: Path,
    report: Report,
) -> None:
    spec = given.allocations
    assert spec is not None
    origin = given.origin.value
    sql = statements("imports")
    now_us = round(store.clock.wall() * 1e6)
    with store.write() as cursor:
        if spec.place == "first_fit":
            held = _placed(cursor, held, report)
        # A file may say a workload in many rows: the first names it.
        said = {item.workload: item for item in reversed(held)}
        told = {text: _workload(item, list(spec.labels)) for text, item in said.items()}
        keys = workloads.keep(cursor, told, told.keys(), origin)
        identities = store.identities
        rows: list[tuple[Any, ...]] = []
        for item in held:
            node_key = None
            if item.node is not None:
                node_key = identities.node(cursor, item.cluster, item.node, None, origin).key
            slice_key = card_key = None
            if item.slice_id is not None:
                if node_key is None:
                    report.refuse(item.row.number, "a slice needs its node")
                    continue
                slice_key = identities.slice(cursor, item.slice_id, node_key, item.from_us, origin)
                card_key = identities.card_key(item.slice_id.rpartition("/")[0])
            elif item.card_id is not None:
                card_key = identities.card_key(item.card_id)
                if card_key is None:
                    if node_key is None:
                        report.refuse(
                            item.row.number, f"card {item.card_id[:60]!r} is not known and has no node"
                        )
                        continue
                    card_key = identities.card(cursor, item.card_id, node_key, None, origin)
                node_key = node_key if node_key is not None else identities.node_of(card_key)
            share = item.share_nano if card_key is not None else item.share_nano * item.cards
            note = json.dumps({"placed_by": "first_fit"}) if item.placed else None
            key = keys[item.workload]
            rows.append(
                (
                    key,
                    card_key,
                    slice_key,
                    node_key,
                    share,
                    item.memory_share_nano,
                    item.from_us,
                    item.to_us,
                    note,
                )
            )
        identities.flush(cursor)
        # One holding twice in a file (a job's two lines for one card) is one.
        rows = list({row[:4] + row[6:7]: row for row in rows}.values())
        incoming.execute(cursor, sql["stage_allocations"], incoming.table(_ALLOCATION, rows))
        if not rows:
            return
        present = cursor.execute(fill(sql["present_allocations"], same_holding=_SAME_HOLDING)).fetchall()[0][
            0
        ]
        cursor.execute(fill(sql["end_allocations"], same_holding=_SAME_HOLDING), [now_us])
        if spec.place == "first_fit":
            cursor.execute(sql["end_places"], [now_us])
        added = cursor.execute(
            fill(sql["put_allocations"], same_holding=_SAME_HOLDING), [now_us, f"import:{path.name}"]
        ).fetchall()[0][0]
        report.rows_added += added
        report.rows_present += present
        report.notes["workloads"] = len(keys)


def _workload(item: _Held, labels: Sequence[str]) -> Workload:
    row = item.row
    said = _labels(row.text("labels"))
    said |= {key: str(row[f"label:{key}"]) for key in labels if row[f"label:{key}"] is not None}
    return Workload(
        item.workload,
        row.text("kind") or "process",
        item.cluster,
        row.text("name"),
        row.text("user"),
        row.text("namespace"),
        row.text("partition"),
        said,
        scenario=row.text("scenario"),
    )


def _labels(text: str | None) -> dict[str, str]:
    """Labels of a JSON object; none when it is none."""
    try:
        found = json.loads(text or "{}")
    except ValueError:
        return {}
    return {str(k): str(v) for k, v in found.items()} if isinstance(found, dict) else {}


def _placed(cursor: duckdb.DuckDBPyConnection, held: Sequence[_Held], report: Report) -> list[_Held]:
    """The same rows with cards of the cluster's inventory; one row a card."""
    sql = statements("imports")
    found: list[_Held] = []
    unplaced = 0
    for cluster in sorted({item.cluster for item in held}):
        cards = [Card(*row) for row in cursor.execute(sql["capacity"], [cluster]).fetchall()]
        mine = [item for item in held if item.cluster == cluster]
        requests = [
            Request(
                number,
                item.from_us,
                item.to_us,
                item.cards if item.share_nano == NANO else 0,
                item.share_nano,
                item.models,
            )
            for number, item in enumerate(mine)
        ]
        places = first_fit(cards, requests)
        for number, item in enumerate(mine):
            where = places.get(number)
            if not where:
                unplaced += 1
                found.append(item)
                continue
            found += [
                replace(item, node=card.node_id, card_id=card.card_id, cards=1, placed=True) for card in where
            ]
    report.notes["unplaced"] = unplaced
    return found
