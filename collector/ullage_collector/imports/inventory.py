"""Owned cards from a file: the denominator of every report. One row is a card's life over a time.

A life that begins when an earlier one of the same card is still open ends the earlier one there. A row that
``replaces`` another card joins its asset and ends that card's life (inventory/assets.py). Nothing that was believed is
erased: it gets a known_to, so that a closed statement can be reproduced. Lives in an unusual order are told.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa

from ullage_collector.imports.expression import Template, TimeSpec, ValueSpec
from ullage_collector.imports.map import LIVES, InventoryMap, Map
from ullage_collector.imports.records import Row, read, zone_of
from ullage_collector.imports.report import Report
from ullage_collector.imports.source import Source, unreadable
from ullage_collector.inventory import purchase
from ullage_collector.inventory.assets import Assets, Listed, resolve
from ullage_collector.inventory.life import default_rules
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
    "asset_id": pa.string(),
    "replaces": pa.string(),
}
_REPLACED: Final = {"card_id": pa.string(), "next_from": incoming.TIMESTAMP}
_JOINED: Final = {"card_id": pa.string(), "asset_id": pa.string()}
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
    asset_id: str | None
    replaces: str | None


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
        "asset": spec.asset,
        "replaces": spec.replaces,
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
    from_us, to_us = row.bounds(spec.interval_seconds)
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
    asset, replaces = row.text("asset"), row.text("replaces")
    for name, text in (("asset", asset), ("replaces", replaces)):
        if text is not None:
            check_id(name, text)
            if count > 1:
                raise BadInput(f"{name} {text[:40]!r} names one thing and the row is {count} cards")
    bought = purchase.checked({key: row[f"purchase:{key}"] for key in spec.purchase}).to_json()
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
            purchase=bought,
            asset_id=asset,
            replaces=replaces,
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


def _placed(lives: Iterable[_Life], assets: Assets) -> list[_Life]:
    """Every life with its asset; one of a replaced card ends where the card that came for it begins."""
    found = []
    for life in lives:
        ends = assets.ends.get(life.card_id)
        if ends is not None and life.from_us < ends and (life.to_us is None or life.to_us > ends):
            life = replace(life, to_us=ends)
        found.append(replace(life, asset_id=assets.asset_of[life.card_id]))
    return found


def _keep(store: Store, lives: Sequence[_Life], origin: str, path: Path, report: Report) -> None:
    sql = statements("imports")
    now_us = round(store.clock.wall() * 1e6)
    if not lives:
        return
    with store.write() as cursor:
        identities = store.identities
        for life in lives:
            node = identities.node(cursor, life.cluster, life.node, None, origin)
            identities.card(cursor, life.card_id, node.key, None, origin, life.vendor, life.model)
        identities.flush(cursor)
        believed = [Listed(*row) for row in cursor.execute(sql["listed_assets"]).fetchall()]
        said = [Listed(n.card_id, n.serial, n.asset_id, n.replaces, n.from_us) for n in lives]
        assets = resolve([*believed, *said])
        known = [(card, asset) for card, asset in assets.asset_of.items() if asset is not None]
        incoming.execute(cursor, sql["name_assets"], incoming.table(_JOINED, known))
        rows = [_row(life) for life in _placed(lives, assets)]
        incoming.execute(cursor, sql["stage_inventory"], incoming.table(_LIFE, rows))
        cursor.execute(sql["cut_inventory"])
        newest = cursor.execute(sql["newest_inventory"]).fetchall()[0][0]
        present = cursor.execute(fill(sql["present_inventory"], same_life=_SAME_LIFE)).fetchall()[0][0]
        cursor.execute(sql["shorten_inventory"], [now_us])
        cursor.execute(fill(sql["end_inventory"], same_life=_SAME_LIFE), [now_us, newest])
        added = cursor.execute(
            fill(sql["put_inventory"], same_life=_SAME_LIFE), [now_us, f"import:{path.name}"]
        ).fetchall()[0][0]
        _end_replaced(cursor, assets, now_us)
        after = cursor.execute(sql["lives_of_import"]).fetchall()
    report.rows_added += added
    report.rows_present += present
    _warn(assets, after, report)


def _end_replaced(cursor: duckdb.DuckDBPyConnection, assets: Assets, now_us: int) -> None:
    """End the lives of replaced cards that the store holds where their successors begin."""
    if assets.ends:
        sql = statements("imports")
        incoming.execute(cursor, sql["stage_replaced"], incoming.table(_REPLACED, assets.ends.items()))
        cursor.execute(sql["shorten_replaced"], [now_us])
        cursor.execute(sql["end_replaced"], [now_us])


def _warn(assets: Assets, lives: Sequence[tuple[str, str, str]], report: Report) -> None:
    """Tell what was taken as it stands: joins that join nothing, and lives in an order no card has. lives: by card and start."""
    for doubt in assets.doubts:
        report.warn(f"{doubt}; the histories are not joined")
    rules = default_rules()
    for (card, before, _), (next_card, after, since) in pairwise(lives):
        if card == next_card and rules.unusual(before, after):
            report.warn(f"{card}: {after} from {since} after {before} is no usual way of a card")


def _row(life: _Life) -> tuple[Any, ...]:
    return (
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
        life.asset_id,
        life.replaces,
    )
