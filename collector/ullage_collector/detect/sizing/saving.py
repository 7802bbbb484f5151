"""What a way out saves a month: card-hours of the big model, and money at the ledger's prices. Pure, exact integers.

Not here: which ways there are (fit.py) and what is said (finding.py).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from ullage_collector.detect.idle_finding import DAY_US, Gang, Held
from ullage_collector.detect.sizing.fit import Owned, Share, Slice
from ullage_collector.ledger import NANO, cost_atoms, quantity
from ullage_collector.prices import Price, PriceBook


@dataclass(frozen=True, slots=True)
class Saving:
    """What one way saves a month: card-hours of the big model, and money where the price book has all it takes."""

    way: str
    quantity: int
    currency: str | None = None
    atoms: int | None = None


def savings(
    gang: Gang,
    cut: Slice | None,
    share: Share | None,
    smaller: Owned | None,
    prices: PriceBook,
    days: int,
    now_us: int,
) -> list[Saving]:
    """Of each way that is there, the most money first, then what has no price. The arithmetic is the ledger's."""
    found: list[Saving] = []
    parts = {"slice": cut.takes if cut else None, "share": share.takes if share else None}
    for way, takes in parts.items():
        if takes is not None:
            left = NANO - (-(-NANO * takes.numerator // takes.denominator))
            found.append(saving(way, gang.held, left, prices, days, now_us))
    if smaller is not None:
        instead = _instead(gang.held, smaller, prices, days, now_us)
        found += [instead] if instead is not None else []
    return sorted(found, key=lambda one: (one.atoms is None, -(one.atoms or 0)))


def saving(
    way: str, held: Iterable[Held], share_nano: int, prices: PriceBook, days: int, now_us: int
) -> Saving:
    """``share_nano`` of each card is free for others for so many days."""
    total, atoms, currencies, unpriced = 0, 0, set(), False
    for one in held:
        amount = quantity(share_nano, 0, days * DAY_US)
        total += amount
        price = price_of(one, prices, now_us)
        if price is None:
            unpriced = True
        else:
            atoms += cost_atoms(amount, price.price_micro)
            currencies.add(price.currency)
    if unpriced or len(currencies) != 1:
        return Saving(way, total)
    return Saving(way, total, currencies.pop(), atoms)


def _instead(
    held: Iterable[Held], smaller: Owned, prices: PriceBook, days: int, now_us: int
) -> Saving | None:
    """A smaller card in place of each: the difference of both prices; None: it is known to cost no less."""
    total, atoms, known = 0, 0, smaller.price_micro is not None
    for one in held:
        amount = quantity(NANO, 0, days * DAY_US)
        total += amount
        price = price_of(one, prices, now_us)
        if price is None or price.currency != smaller.currency or smaller.price_micro is None:
            known = False
        else:
            atoms += cost_atoms(amount, price.price_micro) - cost_atoms(amount, smaller.price_micro)
    if not known:
        return Saving("smaller_model", total)
    if atoms <= 0:
        return None
    return Saving("smaller_model", total, smaller.currency, atoms)


def price_of(one: Held, prices: PriceBook, now_us: int) -> Price | None:
    """What a card-hour of it costs now; None: nobody gave a price."""
    return one.price(prices, now_us)
