"""Owned cards from a file: the denominator of every report. One row is a card's life over a time.

A life that begins when an earlier one of the same card is still open ends the earlier one there. Nothing
that was believed is erased: it gets a known_to, so that a closed statement can be reproduced.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa

from ullage_collector.imports.expression import Template, TimeSpec, ValueSpec
from ullage_collector.imports.map import LIVES, InventoryMap, Map
from ullage_collector.imports.records import Row, read, zone_of
from ullage_collector.imports.report import Report
from ullage_collector.imports.source import Source, unreadable
from ullage_collector.sql import fill, statements
from ullage_collector.store import incoming
from ullage_contract.errors import BadInput, ConfigError
from ullage_contract.identity import check_id

if TYPE_CHECKING:
    import duckdb

    from ullage_collector.store.store import Store

MAX_CARDS_A_ROW: Final = (
    1024  # our choice: because no node has more, and a wrong column must not make millions
)
_NUMBER: Final = "\x01"  # stands for {#} on the way through SQL: no identity can hold it
_LIFE: Final = {
    "card_id": pa.string(),
    "cluster_id": pa.string(),
    "node_id": pa.string(),
    "vendor": pa.string(),
    "model": pa.string(),
    "serial": pa.string(),
    "board_id": pa.string(),
    "pool": pa.string(),
    "life": pa.string(),
    "valid_from": incoming.TIMESTAMP,
    "valid_to": incoming.TIMESTAMP,
    "purchase": pa.string(),
}
_SAME: Final = " AND ".join(f"a.{name} IS NOT DISTINCT FROM i.{name}" for name in _LIFE)
_SAME_LIFE: Final = f"a.card_id = i.card_id AND {_SAME}"


@dataclass(frozen=True, slots=True)
class _Life:
    card_id: str
    cluster: str
    node: str
    vendor: str
    model: str
    serial: str | None
    board_id: str | None
    pool: str | None
    life: str
    from_us: int
    to_us: int | None
    purchase: str | None


def import_inventory(
    store: Store, cursor: duckdb.DuckDBPyConnection, source: Source, given: Map, report: Report
) -> None:
    """Import the file's lives, in one transaction. Raises ConfigError when the map does not fit the file."""
    spec = given.inventory
    if spec is None:
        raise ConfigError(f"{given.name} has no [inventory]")
    # {#} is the number of the card within its row: no column of the file.
    numbered = "{#}" in spec.card.text
    fields: dict[str, Template | TimeSpec | ValueSpec | None] = {
        "cluster": spec.cluster,
        "node": spec.node,
        "card": Template(spec.card.text.replace("{#}", _NUMBER)),
        "vendor": spec.vendor,
        "model": spec.model,
        "serial": spec.serial,
        "board_id": spec.board_id,
        "pool": spec.pool,
        "life": spec.life,
        "from": spec.starts,
        "to": spec.ends,
        "count": Template(f"{{{spec.count}}}") if spec.count else None,
        **{f"purchase:{key}": template for key, template in spec.purchase.items()},
    }
    lives: list[_Life] = []
    spans = ("cluster", "node", "card") if spec.span_of_rows else ()
    for row in read(cursor, source, fields, spec.filters, zone_of(spec.starts, spec.ends), spans):
        report.rows_read += row["rows"] or 1
        try:
            lives += _understood(row, spec, numbered)
        except BadInput as e:
            report.refuse(row.number, str(e))
    for line, why in unreadable(cursor, source):
        report.rows_read += 1
        report.refuse(line, why)
    _keep(store, _following(lives), given.origin.value, source.path, report)


def _understood(row: Row, spec: InventoryMap, numbered: bool) -> list[_Life]:
    texts = {name: row.text(name) for name in ("card", "cluster", "node", "vendor", "model")}
    for name, text in texts.items():
        if text is None:
            raise BadInput(f"no {name}")
        if name != "model":
            check_id(name, text.replace(_NUMBER, "0"))
    life = (row.text("life") or "").lower()
    if life not in LIVES:
        raise BadInput(f"life {life[:30]!r} is none of {', '.join(LIVES)}")
    from_us, to_us = row["from"], row["to"]
    if from_us is None:
        raise BadInput(f"from {str(row['from_written'])[:40]!r} is no time")
    if row["last"] is not None:
        to_us = row["last"] + round(spec.interval_seconds * 1e6)
    if to_us is None and row["to_written"] is not None:
        raise BadInput(f"to {str(row['to_written'])[:40]!r} is no time")
    if to_us is not None and to_us <= from_us:
        raise BadInput("it ends before it begins")
    count = 1
    if spec.count:
        try:
            count = int(float(row.text("count") or ""))
        except ValueError:
            raise BadInput(f"{spec.count} {str(row.text('count'))[:40]!r} is no number of cards") from None
        if not 0 <= count <= MAX_CARDS_A_ROW:
            raise BadInput(f"{spec.count} is {count}: a row has at most {MAX_CARDS_A_ROW} cards")
        if count > 1 and not numbered:
            raise BadInput(f"{count} cards need {{#}} in the card's name")
    said = {key: row[f"purchase:{key}"] for key in spec.purchase if row[f"purchase:{key}"] is not None}
    purchase = json.dumps(said, ensure_ascii=False, sort_keys=True) if said else None
    card = str(texts["card"])
    return [
        _Life(
            card_id=card.replace(_NUMBER, str(number)),
            cluster=str(texts["cluster"]),
            node=str(texts["node"]),
            vendor=str(texts["vendor"]).lower(),
            model=str(texts["model"]),
            serial=row.text("serial"),
            board_id=row.text("board_id"),
            pool=row.text("pool"),
            life=life,
            from_us=from_us,
            to_us=to_us,
            purchase=purchase,
        )
        for number in range(count)
    ]


def _following(lives: Sequence[_Life]) -> list[_Life]:
    """One life a card and start; one without an end, or too late an end, ends where the card's next begins."""
    by_card: dict[str, dict[int, _Life]] = {}
    for life in lives:
        by_card.setdefault(life.card_id, {})[life.from_us] = life
    found: list[_Life] = []
    for starts in by_card.values():
        ordered = [starts[start] for start in sorted(starts)]
        for life, later in zip(ordered, [*ordered[1:], None], strict=True):
            if later is not None and (life.to_us is None or life.to_us > later.from_us):
                life = replace(life, to_us=later.from_us)
            found.append(life)
    return found


def _keep(store: Store, lives: Sequence[_Life], origin: str, path: Path, report: Report) -> None:
    sql = statements("imports")
    now_us = round(store.clock.wall() * 1e6)
    rows: list[tuple[Any, ...]] = []
    with store.write() as cursor:
        identities = store.identities
        for life in lives:
            node = identities.node(cursor, life.cluster, life.node, None, origin)
            identities.card(cursor, life.card_id, node.key, None, origin, life.vendor, life.model)
            rows.append(
                (
                    life.card_id,
                    life.cluster,
                    life.node,
                    life.vendor,
                    life.model,
                    life.serial,
                    life.board_id,
                    life.pool,
                    life.life,
                    life.from_us,
                    life.to_us,
                    life.purchase,
                )
            )
        identities.flush(cursor)
        if not rows:
            return
        incoming.execute(cursor, sql["stage_inventory"], incoming.table(_LIFE, rows))
        cursor.execute(sql["cut_inventory"])
        newest = cursor.execute(sql["newest_inventory"]).fetchall()[0][0]
        present = cursor.execute(fill(sql["present_inventory"], same_life=_SAME_LIFE)).fetchall()[0][0]
        cursor.execute(sql["shorten_inventory"], [now_us])
        cursor.execute(fill(sql["end_inventory"], same_life=_SAME_LIFE), [now_us, newest])
        added = cursor.execute(
            fill(sql["put_inventory"], same_life=_SAME_LIFE), [now_us, f"import:{path.name}"]
        ).fetchall()[0][0]
    report.rows_added += added
    report.rows_present += present
