"""The price book as it is believed now, for whoever says what something costs at this moment (detectors, the fleet's figures).

Not here: what a day costs (day.py): that is worked out card by card, with what the node is labelled.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ullage_collector.node_labels import cut_labels, labels_of
from ullage_collector.prices import Price, PriceBook, usable
from ullage_collector.pricing.exchange import Exchange, Policy, Rate
from ullage_collector.sql import statements

if TYPE_CHECKING:
    import duckdb

_END: Final = 2**62
"""After everything that was ever heard."""


def book_now(connection: duckdb.DuckDBPyConnection) -> PriceBook:
    """Prices believed now, told in the policy's currency where a rate is known. What could never count is left out."""
    sql = statements("fleet_now")
    told: list[str] = []
    rates = usable(Rate, connection.execute(sql["rates"]).fetchall(), "rate", told)
    policies = usable(Policy, connection.execute(sql["policies"]).fetchall(), "policy", told)
    prices = usable(Price, connection.execute(sql["prices"]).fetchall(), "price", told)
    labels = {}
    if any(price.label is not None for price in prices):
        heard = labels_of(connection.execute(sql["node_labels"]).fetchall())
        labels = {node: next(iter(cut_labels(rows, _END, _END + 1)))[2] for node, rows in heard.items()}
    return PriceBook(prices, exchange=Exchange(rates, policies), labels=labels)
