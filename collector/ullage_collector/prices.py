"""What a card-hour costs: prices dated twice, looked up and never scaled, never defaulted.

Pure. A price is found by card, node (its name or a label), pool, card model (a glob) and instant, as believed at
``known_at``. A contract price or an owned card's rate goes before a list price, which stays known beside it. Among those
of a kind the most specific wins: a price of the single card, then of its node, then of its pool, then the longer pattern
of the model; then the one valid from later, then the one known later, then the larger price_id. No price is an answer:
an error row for whoever prints it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from fractions import Fraction
from itertools import pairwise
from typing import Any, TypeVar

from ullage_collector.ledger import minor_units
from ullage_collector.pricing.exchange import Exchange, Rate
from ullage_collector.pricing.terms import rounded_micro, terms_of
from ullage_contract.errors import LedgerError

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Price:
    """One price per card-hour, true over [valid_from_us, valid_to_us), believed over [known_from_us, known_to_us).

    model: glob over the card's model name, case counts. pool: None for every pool. currency: ISO 4217.
    price_micro: micro-units of the currency. assumed: a page that shows it says so. *_us: microseconds; None: open.
    kind: list, contract or owned; None is list. node: glob over the node's name, with a slash over
    ``cluster/node``; label: ``key=glob`` over its labels; card: a
    card_id; None: any. list_micro: the list price told with it. terms: pricing/terms.py, None: the price and no more.
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
    kind: str | None = None
    node: str | None = None
    label: str | None = None
    card: str | None = None
    list_micro: int | None = None
    terms: str | None = None
    source: str | None = None

    @property
    def is_list(self) -> bool:
        return self.kind in (None, "list")

    def __post_init__(self) -> None:
        minor_units(self.currency)
        if self.kind not in (None, "list", "contract", "owned"):
            raise LedgerError(f"price {self.price_id}: kind {self.kind!r} is none of list, contract, owned")
        if self.terms is not None:
            terms_of(self.terms)
        if self.price_micro < 0:
            raise LedgerError(
                f"price {self.price_id} for {self.model!r} is below 0: {self.price_micro} micro-units"
            )


@dataclass(frozen=True, slots=True)
class PriceSpan:
    """One price over [from_us, to_us); price None: nobody gave one. listed: the list price beside it, None: nobody gave one."""

    from_us: int
    to_us: int
    price: Price | None
    listed: Price | None = None


_R = TypeVar("_R")


def usable(of: Callable[..., _R], rows: Iterable[tuple[Any, ...]], what: str, refused: list[str]) -> list[_R]:
    """Rows of the store that can count, each made by ``of``; of the others the reason is added to ``refused``.

    what: the word for one, before the number that stands first in its row.
    """
    found = []
    for row in rows:
        try:
            found.append(of(*row))
        except LedgerError as e:
            refused.append(f"{what} {row[0]}: {e}")
            log.warning("%s %s: %s; it is left out", what, row[0], e)
    return found


class PriceBook:
    """Prices as believed at one instant; ``known_at_us`` None takes those believed now.

    exchange: what ``at`` converts by; None: each price stays in its currency. labels: node -> its labels where nobody tells them.
    """

    def __init__(
        self,
        prices: Iterable[Price],
        *,
        known_at_us: int | None = None,
        exchange: Exchange | None = None,
        labels: Mapping[str, tuple[str, ...]] | None = None,
    ) -> None:
        self._exchange = exchange
        self._labels = labels or {}
        self._prices = [p for p in prices if _believed(p, known_at_us)]
        self._nodes: dict[tuple[str | None, str | None, tuple[str, ...]], tuple[Price, ...]] = {}
        self._cards = {p.card for p in self._prices if p.card is not None}
        self._of_nodes = [p for p in self._prices if p.node is not None or p.label is not None]
        self._classes: dict[tuple[Any, ...], tuple[Price, ...]] = {}

    @property
    def labelled(self) -> bool:
        """Whether any price asks for a node's label."""
        return any(p.label is not None for p in self._prices)

    def matching(
        self,
        model: str,
        pool: str | None,
        *,
        cluster: str | None = None,
        node: str | None = None,
        labels: tuple[str, ...] = (),
        card: str | None = None,
    ) -> tuple[Price, ...]:
        """Every price for such a card, best first, whenever it is valid. labels: ``key=value`` of its node."""
        place = (cluster, node, labels or self._labels.get(node or "", ()))
        if place not in self._nodes:
            self._nodes[place] = tuple(p for p in self._of_nodes if _on_node(p, *place))
        on_node = self._nodes[place]
        key = (model, pool, tuple(p.price_id for p in on_node), card if card in self._cards else None)
        if key not in self._classes:
            fits = [
                p
                for p in self._prices
                if p.pool in (None, pool)
                and (p.card is None or p.card == card)
                and fnmatchcase(model, p.model)
                and (p in on_node or (p.node is None and p.label is None))
            ]
            self._classes[key] = tuple(sorted(fits, key=_rank))
        return self._classes[key]

    def at(self, model: str, pool: str | None, instant_us: int, **place: Any) -> Price | None:
        """The price of a card-hour at an instant; None: nobody gave one, and nothing stands in for it. place: as matching."""
        found = next((p for p in self.matching(model, pool, **place) if _valid(p, instant_us)), None)
        if found is None or self._exchange is None:
            return found
        return _converted(found, self._exchange.spans(found.currency, instant_us, instant_us + 1)[0].rate)

    def spans(self, model: str, pool: str | None, from_us: int, to_us: int, **place: Any) -> list[PriceSpan]:
        """Prices over [from_us, to_us), cut where they change; together they cover it. place: as matching."""
        return spans_of(self.matching(model, pool, **place), from_us, to_us)


def spans_of(matching: tuple[Price, ...], from_us: int, to_us: int) -> list[PriceSpan]:
    """What ``PriceBook.matching`` found, over [from_us, to_us)."""
    edges = {from_us, to_us}
    for price in matching:
        edges.update(e for e in (price.valid_from_us, price.valid_to_us) if e is not None)
    cuts = sorted(e for e in edges if from_us <= e <= to_us)
    spans: list[PriceSpan] = []
    for start, end in pairwise(cuts):
        valid = [p for p in matching if _valid(p, start)]
        found = valid[0] if valid else None
        listed = next((p for p in valid if p.is_list), None)
        if spans and spans[-1].price == found and spans[-1].listed == listed:
            spans[-1] = replace(spans[-1], to_us=end)
        else:
            spans.append(PriceSpan(start, end, found, listed))
    return spans


def _converted(price: Price, rate: Rate | None) -> Price:
    if rate is None:
        return price
    exact = terms_of(price.terms).exact if price.terms is not None else Fraction(price.price_micro)
    listed = None if price.list_micro is None else rounded_micro(price.list_micro * rate.factor)
    return replace(
        price, price_micro=rounded_micro(exact * rate.factor), list_micro=listed, currency=rate.to, terms=None
    )


def same_rank(one: Price, other: Price) -> bool:
    """Whether only the number of two prices decides between them, where both match and are valid."""
    return _rank(one)[:-2] == _rank(other)[:-2]


def _on_node(price: Price, cluster: str | None, node: str | None, labels: tuple[str, ...]) -> bool:
    if price.node is not None:
        name = f"{cluster}/{node}" if "/" in price.node and cluster is not None else node
        if node is None or name is None or not fnmatchcase(name, price.node):
            return False
    return price.label is None or any(fnmatchcase(text, price.label) for text in labels)


def _believed(price: Price, known_at_us: int | None) -> bool:
    if known_at_us is None:
        return price.known_to_us is None
    return price.known_from_us <= known_at_us and (
        price.known_to_us is None or known_at_us < price.known_to_us
    )


def _valid(price: Price, instant_us: int) -> bool:
    return price.valid_from_us <= instant_us and (price.valid_to_us is None or instant_us < price.valid_to_us)


def _rank(price: Price) -> tuple[Any, ...]:
    return (
        price.is_list,
        price.card is None,
        price.node is None and price.label is None,
        -len(price.node or "") - len(price.label or ""),
        price.pool is None,
        -len(price.model),
        -price.valid_from_us,
        -price.known_from_us,
        -price.price_id,
    )
