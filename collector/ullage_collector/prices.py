"""What a card-hour costs: prices dated twice, looked up and never scaled, never defaulted.

Pure. A price is found by card model (a glob), pool and instant, as believed at ``known_at``. A price of the
card's own pool beats one for every pool, then the longer pattern, then the one valid from later, then
the one known later, then the larger price_id. No price is an answer: an error row for whoever prints it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from itertools import pairwise
from typing import Any

from ullage_collector.ledger import minor_units
from ullage_contract.errors import LedgerError


@dataclass(frozen=True, slots=True)
class Price:
    """One price per card-hour, true over [valid_from_us, valid_to_us), believed over [known_from_us, known_to_us).

    model: glob over the card's model name, case counts. pool: None for every pool. currency: ISO 4217.
    price_micro: micro-units of the currency. assumed: a page that shows it says so. *_us: microseconds; None: open.
    """

    price_id: int
    model: str
    currency: str
    price_micro: int
    pool: str | None = None
    assumed: bool = False
    valid_from_us: int = 0
    valid_to_us: int | None = None
    known_from_us: int = 0
    known_to_us: int | None = None

    def __post_init__(self) -> None:
        minor_units(self.currency)
        if self.price_micro < 0:
            raise LedgerError(
                f"price {self.price_id} for {self.model!r} is below 0: {self.price_micro} micro-units"
            )


@dataclass(frozen=True, slots=True)
class PriceSpan:
    """One price over [from_us, to_us); price None: nobody gave one."""

    from_us: int
    to_us: int
    price: Price | None


def usable_prices(rows: Iterable[tuple[Any, ...]]) -> list[Price]:
    """Prices out of rows of table ``price``; one that could never count is left out: the day's states tell of it."""
    kept = []
    for row in rows:
        try:
            kept.append(Price(*row))
        except LedgerError:
            continue
    return kept


class PriceBook:
    """Prices as believed at one instant; ``known_at_us`` None takes those believed now."""

    def __init__(self, prices: Iterable[Price], *, known_at_us: int | None = None) -> None:
        self._prices = [p for p in prices if _believed(p, known_at_us)]
        self._found: dict[tuple[str, str | None], list[Price]] = {}

    def matching(self, model: str, pool: str | None) -> list[Price]:
        """Every price for such a card, best first, whenever it is valid."""
        key = (model, pool)
        if key not in self._found:
            fits = [p for p in self._prices if p.pool in (None, pool) and fnmatchcase(model, p.model)]
            self._found[key] = sorted(fits, key=_rank)
        return self._found[key]

    def at(self, model: str, pool: str | None, instant_us: int) -> Price | None:
        """The price of a card-hour at an instant; None: nobody gave one, and nothing stands in for it."""
        return next((p for p in self.matching(model, pool) if _valid(p, instant_us)), None)

    def spans(self, model: str, pool: str | None, from_us: int, to_us: int) -> list[PriceSpan]:
        """Prices over [from_us, to_us), cut where they change; together they cover it."""
        edges = {from_us, to_us}
        for price in self.matching(model, pool):
            edges.update(e for e in (price.valid_from_us, price.valid_to_us) if e is not None)
        cuts = sorted(e for e in edges if from_us <= e <= to_us)
        spans: list[PriceSpan] = []
        for start, end in pairwise(cuts):
            found = self.at(model, pool, start)
            if spans and spans[-1].price == found:
                spans[-1] = PriceSpan(spans[-1].from_us, end, found)
            else:
                spans.append(PriceSpan(start, end, found))
        return spans


def _believed(price: Price, known_at_us: int | None) -> bool:
    if known_at_us is None:
        return price.known_to_us is None
    return price.known_from_us <= known_at_us and (
        price.known_to_us is None or known_at_us < price.known_to_us
    )


def _valid(price: Price, instant_us: int) -> bool:
    return price.valid_from_us <= instant_us and (price.valid_to_us is None or instant_us < price.valid_to_us)


def _rank(price: Price) -> tuple[bool, int, int, int, int]:
    return (
        price.pool is None,
        -len(price.model),
        -price.valid_from_us,
        -price.known_from_us,
        -price.price_id,
    )
