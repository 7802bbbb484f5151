"""What each card-hour of a day costs, and what of it no share of the card carries: the price book against the capacity.

Rows in, rows out: states.py reads them from the store and joins them to its lines. Not here: which price is best
(prices.py), and how it was worked out (terms.py).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, Final

from ullage_collector.prices import Price, PriceBook, PriceSpan, spans_of
from ullage_collector.pricing.exchange import Converted, Exchange
from ullage_collector.pricing.terms import Terms, rounded_micro, terms_of

PRICE_COLUMNS: Final = (
    "card_key",
    "from_us",
    "to_us",
    "price_id",
    "price_micro",
    "list_micro",
    "currency",
    "rate_id",
)
REMAINDER_COLUMNS: Final = (
    "card_key",
    "inventory_id",
    "kind",
    "from_us",
    "to_us",
    "price_id",
    "rate_id",
    "currency",
    "cost_atoms",
)


@dataclass(frozen=True, slots=True)
class Owned:
    """A card over a stretch of a day in which it was owned and nothing about it changed. labels: ``key=value`` of its node."""

    card_key: int
    card_id: str
    inventory_id: int
    node_key: int
    cluster: str
    node: str
    model: str
    pool: str | None
    from_us: int
    to_us: int
    labels: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Piece:
    """An owned stretch at one price and one rate. price None: nobody gave one."""

    owned: Owned
    from_us: int
    to_us: int
    price: Price | None
    listed: Price | None
    converted: Converted | None


@dataclass(slots=True)
class Priced:
    """prices, remainders: column -> values. missing: currencies of which a rate is wanting."""

    prices: dict[str, list[Any]] = field(default_factory=lambda: {name: [] for name in PRICE_COLUMNS})
    remainders: dict[str, list[Any]] = field(default_factory=lambda: {name: [] for name in REMAINDER_COLUMNS})
    missing: set[str] = field(default_factory=set)


def price_day(cards: Iterable[Owned], book: PriceBook, exchange: Exchange) -> Priced:
    """Every price of the stretches, and every remainder. Raises LedgerError for terms that are none."""
    found = Priced()
    pieces = _pieces(cards, book, exchange)
    places = _places(pieces)
    terms: dict[int, Terms] = {}
    left: dict[tuple[Any, ...], dict[str, int]] = {}
    money: dict[tuple[Any, ...], tuple[int, int | None, str, int | None]] = {}
    for piece in pieces:
        owned, price, converted = piece.owned, piece.price, piece.converted
        if price is None or converted is None:
            _add(found.prices, owned.card_key, piece.from_us, piece.to_us, None, None, None, None, None)
            continue
        if converted.missing:
            found.missing.add(price.currency)
        if price.price_id not in terms:
            terms[price.price_id] = (
                terms_of(price.terms)
                if price.terms
                else Terms(Fraction(price.price_micro), anchor_us=price.valid_from_us)
            )
        behind, rate = terms[price.price_id], converted.rate
        key = (price.price_id, piece.listed.price_id if piece.listed else None, piece.from_us, piece.to_us)
        if key not in money:
            money[key] = _money(piece, price, behind, exchange)
        micro, list_micro, currency, rate_id = money[key]
        _add(
            found.prices,
            owned.card_key,
            piece.from_us,
            piece.to_us,
            price.price_id,
            micro,
            list_micro,
            currency,
            rate_id,
        )
        if price.terms is None and rate is None:
            continue
        place = places.get((owned.node_key, price.price_id), {}).get(owned.card_key, 0)
        what = (price.price_id, rate_id, place, piece.from_us, piece.to_us)
        if what not in left:
            left[what] = behind.remainder(
                micro,
                place,
                piece.from_us,
                piece.to_us,
                rate.factor if rate else Fraction(1),
                rate.valid_from_us if rate else None,
            )
        for kind, atoms in left[what].items():
            _add(
                found.remainders,
                *(owned.card_key, owned.inventory_id, kind, piece.from_us, piece.to_us),
                *(price.price_id, rate_id, currency, atoms),
            )
    return found


def cut_by_labels(
    cards: Sequence[Owned], labels: Mapping[str, Sequence[tuple[int, int, tuple[str, ...]]]]
) -> list[Owned]:
    """Stretches cut where their node's labels change. labels: node -> (from_us, to_us, ``key=value`` texts), covering the day."""
    found = []
    for card in cards:
        for start, end, texts in labels.get(card.node, ((card.from_us, card.to_us, ()),)):
            a, b = max(start, card.from_us), min(end, card.to_us)
            if a < b:
                found.append(
                    Owned(
                        *(
                            card.card_key,
                            card.card_id,
                            card.inventory_id,
                            card.node_key,
                            card.cluster,
                            card.node,
                        ),
                        *(card.model, card.pool, a, b, texts),
                    )
                )
    return found


def _pieces(cards: Iterable[Owned], book: PriceBook, exchange: Exchange) -> list[Piece]:
    pieces: list[Piece] = []
    spans: dict[tuple[int, int, int], list[PriceSpan]] = {}
    rates: dict[tuple[str, int, int], list[Converted]] = {}
    kept = []  # what is remembered by its id must live on
    for card in cards:
        matching = book.matching(
            card.model,
            card.pool,
            cluster=card.cluster,
            node=card.node,
            labels=card.labels,
            card=card.card_id,
        )
        kept.append(matching)
        key = (id(matching), card.from_us, card.to_us)
        if key not in spans:
            spans[key] = spans_of(matching, card.from_us, card.to_us)
        for span in spans[key]:
            if span.price is None:
                pieces.append(Piece(card, span.from_us, span.to_us, None, None, None))
                continue
            stretch = (span.price.currency, span.from_us, span.to_us)
            if stretch not in rates:
                rates[stretch] = exchange.spans(*stretch)
            pieces.extend(Piece(card, c.from_us, c.to_us, span.price, span.listed, c) for c in rates[stretch])
    return pieces


def _places(pieces: Iterable[Piece]) -> dict[tuple[int, int], dict[int, int]]:
    """(node, price) -> card -> the how manieth card of that price it is on its node that day, in key order."""
    cards: dict[tuple[int, int], set[int]] = defaultdict(set)
    for piece in pieces:
        if piece.price is not None and piece.price.terms is not None:
            cards[piece.owned.node_key, piece.price.price_id].add(piece.owned.card_key)
    return {group: {card: n for n, card in enumerate(sorted(keys))} for group, keys in cards.items()}


def _money(
    piece: Piece, price: Price, behind: Terms, exchange: Exchange
) -> tuple[int, int | None, str, int | None]:
    """Price and list price in micro-units, their currency, and the rate's number."""
    rate = piece.converted.rate if piece.converted else None
    micro = rounded_micro(behind.exact * rate.factor) if rate else price.price_micro
    currency = rate.to if rate else price.currency
    listed: tuple[int, str] | None = None
    if price.is_list:
        listed = (micro, currency)
    elif price.list_micro is not None:
        listed = (rounded_micro(price.list_micro * rate.factor) if rate else price.list_micro, currency)
    elif piece.listed is not None:
        other = exchange.spans(piece.listed.currency, piece.from_us, piece.to_us)[0].rate
        amount = Fraction(piece.listed.price_micro) * (other.factor if other else 1)
        listed = (rounded_micro(amount), other.to if other else piece.listed.currency)
    return (
        micro,
        listed[0] if listed and listed[1] == currency else None,
        currency,
        rate.rate_id if rate else None,
    )


def _add(columns: dict[str, list[Any]], *values: Any) -> None:
    for column, value in zip(columns.values(), values, strict=True):
        column.append(value)
