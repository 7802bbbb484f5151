"""A price book as a file says it, worked out for single cards without a store: for tests of prices."""

from __future__ import annotations

import tomllib
from datetime import datetime

from ullage_collector.imports.prices import price_rows
from ullage_collector.ledger import NANO
from ullage_collector.prices import Price, PriceBook
from ullage_collector.pricing.day import Owned, Priced, price_day
from ullage_collector.pricing.exchange import Exchange, Policy, Rate

US = 1_000_000
HOUR = 3_600 * US


def us(text: str) -> int:
    """Microseconds of an ISO 8601 text with an offset."""
    return round(datetime.fromisoformat(text).timestamp()) * US


def prices(text: str) -> list[Price]:
    """The prices of a TOML text, numbered from 1 in the order of their rows."""
    found = []
    for entry in tomllib.loads(text)["price"]:
        for row in price_rows(entry, "import:test.toml"):
            model, pool, currency, micro, assumed, kind, node, label, card, listed, terms, a, b, source = row
            found.append(
                Price(
                    *(len(found) + 1, model, currency, micro, pool, assumed, a, b, 0, None),
                    *(kind, node, label, card, listed, terms, source),
                )
            )
    return found


def card(number: int, from_us: int, to_us: int, **more: object) -> Owned:
    """Card ``number`` of node n1, an H800 of no pool unless told otherwise."""
    told = {"node_key": 1, "cluster": "dc1", "node": "n1", "model": "H800", "pool": None, "labels": ()} | more
    return Owned(
        card_key=number,
        card_id=f"G{number}",
        inventory_id=number,
        from_us=from_us,
        to_us=to_us,
        **told,  # type: ignore[arg-type]
    )


def priced(
    text: str, cards: list[Owned], rates: tuple[Rate, ...] = (), policies: tuple[Policy, ...] = ()
) -> Priced:
    """The cards under the price book of a TOML text."""
    return price_day(cards, PriceBook(prices(text)), Exchange(rates, policies))


def atoms(found: Priced) -> int:
    """What all of it costs: price times whole cards, and the remainders."""
    columns = found.prices
    shares = sum(
        (b - a) * NANO * (micro or 0)
        for a, b, micro in zip(columns["from_us"], columns["to_us"], columns["price_micro"], strict=True)
    )
    return shares + sum(found.remainders["cost_atoms"])


def micros(found: Priced) -> list[int | None]:
    """The prices in the order of their stretches."""
    return list(found.prices["price_micro"])
