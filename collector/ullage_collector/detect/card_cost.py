"""What the cards that a finding names cost a day, for findings about cards themselves and not about who holds them.

A card is priced as the ledger prices it: by its model and pool in the inventory, at the price of now, for 24 hours. One that the
inventory does not have, or whose life is nobody's cost (ordered, lent, retired), has no line in the ledger and is counted as without
a price. Not here: what work costs (idle_finding.cost_a_day does), and any judgement.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from ullage_collector.detect.findings import Found
from ullage_collector.detect.idle_finding import Held, cost_a_day
from ullage_collector.ledger import NANO
from ullage_collector.pricing.now import book_now
from ullage_collector.sql import statements
from ullage_collector.store.store import naive_utc

if TYPE_CHECKING:
    import duckdb

NOBODYS: Final = "not_owned"
"""How states.toml [life] treats a card that is no capacity."""
_UNPRICED: Final = Held("", None, None, NANO, 0)


def with_cost(
    cursor: duckdb.DuckDBPyConnection, found: Sequence[Found], life: Mapping[str, str], now_us: int
) -> list[Found]:
    """The findings with ``cost_per_day`` and ``cards_without_price`` where they have none. Of family node all cards the inventory
    has on it are meant.

    life: [life] of states.toml.
    """
    if not found:
        return []
    when = {"at": naive_utc(now_us / 1e6)}
    sql = statements("findings")
    of_card: dict[str, Held] = {}
    of_node: dict[tuple[str, str], list[Held]] = {}
    for card, cluster, node, model, pool, word in cursor.execute(sql["owned_at"], when).fetchall():
        if life.get(word) != NOBODYS:
            held = Held("", card, node, NANO, 0, model, pool, cluster=cluster)
            of_card[card] = held
            of_node.setdefault((cluster, node), []).append(held)
    prices = book_now(cursor)

    def cards(one: Found) -> Iterable[Held]:
        if one.family == "node":
            return of_node.get((str(one.evidence.get("cluster")), one.subject), [_UNPRICED])
        return [of_card.get(one.subject, _UNPRICED)]

    told = []
    for one in found:
        cost, unpriced = cost_a_day(cards(one), prices, now_us)
        money = {"cost_per_day": cost, "cards_without_price": unpriced or None}
        told.append(replace(one, evidence={**money, **one.evidence}))
    return told
