"""The history of one owned thing through all the cards it was: lives in order, as believed now or at an earlier instant."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from ullage_collector.inventory.assets import Listed, resolve
from ullage_collector.inventory.life import Rules, default_rules
from ullage_collector.sql import statements
from ullage_contract.errors import BadInput

if TYPE_CHECKING:
    import duckdb


@dataclass(frozen=True, slots=True)
class History:
    """One asset. cards: in the order they were it. lives: rows of the inventory by start, times naive UTC as the store's.

    unusual: lives in an order that no card has, a sentence each.
    """

    asset_id: str
    cards: tuple[str, ...]
    lives: tuple[dict[str, Any], ...]
    unusual: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        return {
            "schema_version": 1,
            "asset_id": self.asset_id,
            "cards": list(self.cards),
            "lives": list(self.lives),
            "unusual": list(self.unusual),
        }


def history(
    connection: duckdb.DuckDBPyConnection, named: str, known: datetime, rules: Rules | None = None
) -> History:
    """The history of the asset that ``named`` is, or that the card or serial ``named`` is or was part of.

    known: naive UTC; what was believed then. Raises BadInput when nothing is named so, or several assets are.
    """
    sql = statements("inventory")
    rows = [Listed(*row) for row in connection.execute(sql["assets"], {"known": known}).fetchall()]
    asset_of = {card: asset or card for card, asset in resolve(rows).asset_of.items()}
    assets = {asset for asset in asset_of.values() if asset == named}
    assets |= {asset_of[row.card_id] for row in rows if named in (row.card_id, row.serial)}
    if len(assets) != 1:
        what = (
            f"is part of {len(assets)} assets: {', '.join(sorted(assets)[:5])}" if assets else "is not listed"
        )
        raise BadInput(f"{named[:80]!r} {what}; name a card_id, a serial or an asset_id of the inventory")
    (asset,) = assets
    cards = [card for card, its in asset_of.items() if its == asset]
    result = connection.execute(sql["history"], {"cards": cards, "known": known})
    names = [column[0] for column in result.description or ()]
    lives = [dict(zip(names, row, strict=True)) for row in result.fetchall()]
    for life in lives:
        life["purchase"] = json.loads(life["purchase"]) if life["purchase"] else None
    judged = rules or default_rules()
    return History(
        asset_id=asset,
        cards=tuple(dict.fromkeys(life["card_id"] for life in lives)),
        lives=tuple(lives),
        unusual=tuple(
            f"{b['card_id']}: {b['life']} after {a['life']}"
            for a, b in pairwise(lives)
            if a["card_id"] == b["card_id"] and judged.unusual(a["life"], b["life"])
        ),
    )
