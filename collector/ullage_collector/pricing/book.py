"""The price book for people: what holds at an instant as believed at another, and where it fails the cards that are owned.

Not here: what a day costs (day.py), and printing (cli.py).
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

from ullage_collector.audit import naive_utc
from ullage_collector.ledger import price_decimal
from ullage_collector.node_labels import cut_labels, labels_of
from ullage_collector.prices import Price, PriceBook, same_rank, usable
from ullage_collector.pricing.day import Owned
from ullage_collector.pricing.exchange import Exchange, Policy, Rate
from ullage_collector.pricing.tariffs import WEEK, Pue, Tariff, charges
from ullage_collector.pricing.terms import OWNED, component_decimals, terms_of
from ullage_collector.sql import statements
from ullage_collector.states import default_rules

if TYPE_CHECKING:
    import duckdb

DAY: Final = timedelta(days=1)
MOST: Final = 20
"""our choice: because what is wrong is mended from the top, and a fleet without prices has a row for each model"""


def shown(cursor: duckdb.DuckDBPyConnection, at: datetime, known: datetime) -> dict[str, Any]:
    """Every entry that is valid at ``at`` as believed at ``known``; amounts are decimal texts. Both aware."""
    p = _parameters(at, known)
    prices, refused = _prices(cursor, p)
    return {
        "at": _written(at),
        "known": _written(known),
        "prices": [_price(price) for price in prices],
        "rates": [
            {
                "rate_id": number,
                "from": currency,
                "to": to,
                "rate": _plain(Decimal(nano).scaleb(-9)),
                **_dated(more),
            }
            for number, currency, to, nano, *more in _rows(cursor, "rates", p)
        ],
        "tariffs": [
            {
                "tariff_id": number,
                "cluster": cluster,
                "currency": currency,
                "per_kwh": str(price_decimal(micro)),
                "zone": zone,
                "hours": hours,
                "weekdays": _weekdays(weekdays),
                **_dated(more),
            }
            for number, cluster, currency, micro, zone, hours, weekdays, *more in _rows(cursor, "tariffs", p)
        ],
        "pue": [
            {"pue_id": number, "cluster": cluster, "pue": _plain(Decimal(milli).scaleb(-3)), **_dated(more)}
            for number, cluster, milli, *more in _rows(cursor, "pues", p)
        ],
        "policy": [
            {"policy_id": number, "currency": currency, "gap_energy": gap, **_dated(more)}
            for number, currency, gap, *more in _rows(cursor, "policies", p)
        ],
        "refused": refused,
    }


def checked(cursor: duckdb.DuckDBPyConnection, at: datetime, known: datetime) -> dict[str, Any]:
    """Where the price book fails the cards owned at ``at``, as believed at ``known``.

    unpriced: cards without a price. conflicts: prices of one rank that say otherwise for a card. no_rate: prices in a currency
    that nothing converts. crowded: nodes with more cards than their price counts. unmatched: prices for no card. no_tariff: the
    hours of the UTC day of ``at`` in which energy has no price, by cluster. no_pue: clusters without one. written_off: cards past
    the end of their life.
    ``wrong`` sums up whether any of those is an error.
    """
    p = _parameters(at, known)
    prices, refused = _prices(cursor, p)
    book = PriceBook(prices, known_at_us=p["as_of_us"])
    treatment = default_rules().life
    rows = [row for row in _rows(cursor, "cards", p) if treatment.get(row[-1], "serving") != "not_owned"]
    labels = _labels(cursor, p) if book.labelled else {}
    cards = []
    for card_key, card_id, inventory_id, node_key, cluster, node, model, pool, _ in rows:
        place = (card_key, card_id, inventory_id, node_key, cluster, node, model, pool)
        cards.append(Owned(*place, p["at_us"], p["at_us"] + 1, labels.get(node, ())))
    exchange = Exchange(
        (Rate(*row[:4]) for row in _rows(cursor, "rates", p)),
        (Policy(*row[:3]) for row in _rows(cursor, "policies", p)),
    )
    unpriced: Counter[tuple[str, str, str | None]] = Counter()
    matched: Counter[int] = Counter()
    conflicts: dict[tuple[int, int], tuple[Price, Price, list[str]]] = {}
    no_rate: Counter[str] = Counter()
    crowd: dict[tuple[str, int], int] = defaultdict(int)
    written_off: list[str] = []
    for card in cards:
        fits = book.matching(
            card.model,
            card.pool,
            cluster=card.cluster,
            node=card.node,
            labels=card.labels,
            card=card.card_id,
        )
        if not fits:
            unpriced[card.cluster, card.model, card.pool] += 1
            continue
        best = fits[0]
        matched.update(price.price_id for price in fits)
        for other in fits[1:]:
            if same_rank(best, other) and _says(best) != _says(other):
                conflicts.setdefault((best.price_id, other.price_id), (best, other, []))[2].append(
                    card.card_id
                )
        if exchange.spans(best.currency, p["at_us"], p["at_us"] + 1)[0].missing:
            no_rate[best.currency] += 1
        if best.terms is not None:
            behind = terms_of(best.terms)
            if behind.total > 1:
                crowd[f"{card.cluster}/{card.node}", best.price_id] += 1
            if best.kind == OWNED and not behind.components.keys() - {"maintenance"}:
                written_off.append(card.card_id)
    crowded = _crowded(crowd, {price.price_id: price for price in prices})
    no_tariff, no_pue = _without_tariff(cursor, p, {card.cluster for card in cards}, exchange, refused)
    found = {
        "at": _written(at),
        "known": _written(known),
        "cards": len(cards),
        "refused": refused,
        "unpriced": [
            {"cluster": cluster, "model": model, "pool": pool, "cards": count}
            for (cluster, model, pool), count in unpriced.most_common()
        ],
        "conflicts": [
            {"wins": _price(one), "loses": _price(other), "cards": len(ids), "example": min(ids)}
            for one, other, ids in conflicts.values()
        ],
        "no_rate": [{"currency": currency, "cards": count} for currency, count in no_rate.most_common()],
        "crowded": crowded,
        "unmatched": [_price(price) for price in prices if price.price_id not in matched],
        "assumed": [_price(price) for price in prices if price.assumed and matched[price.price_id]],
        "written_off": sorted(written_off),
        "no_tariff": no_tariff,
        "no_pue": no_pue,
        "energy": bool(_rows(cursor, "measured", {})[0][0]),
    }
    wrong = ("refused", "unpriced", "conflicts", "no_rate", "crowded")
    found["wrong"] = any(found[name] for name in wrong) or bool(found["energy"] and no_tariff)
    return found


def _without_tariff(
    cursor: duckdb.DuckDBPyConnection,
    p: Mapping[str, Any],
    clusters: Iterable[str],
    exchange: Exchange,
    refused: list[str],
) -> tuple[list[dict[str, Any]], list[str]]:
    """Stretches of the UTC day without a tariff, by cluster; and clusters without a PUE. refused: gets what is wrong."""
    sql = statements("energy")
    as_of = {"as_of": p["as_of"]}
    tariffs = usable(Tariff, cursor.execute(sql["tariffs"], as_of).fetchall(), "tariff", refused)
    pues = [Pue(*row) for row in cursor.execute(sql["pues"], as_of).fetchall()]
    start = p["at_us"] - p["at_us"] % 86_400_000_000
    found, no_pue = [], []
    for cluster in sorted(clusters):
        day = charges(cluster, start, start + 86_400_000_000, tariffs, pues, exchange)
        without = [each for each in day if each.tariff_micro is None]
        if without:
            minutes = sum(each.to_us - each.from_us for each in without) // 60_000_000
            begins = [_written(_at(each.from_us)) for each in without]
            found.append({"cluster": cluster, "minutes": minutes, "from": begins[:MOST]})
        if any(each.pue_id is None for each in day):
            no_pue.append(cluster)
    return found, no_pue


def _crowded(crowd: Mapping[tuple[str, int], int], prices: Mapping[int, Price]) -> list[dict[str, Any]]:
    found = []
    for (node, number), cards in sorted(crowd.items()):
        price = prices[number]
        behind = terms_of(price.terms or "")
        room = next(
            (
                (terms_of(other.terms or "").first - behind.first) // behind.weight
                for other in sorted(prices.values(), key=lambda o: terms_of(o.terms).first if o.terms else 0)
                if other.terms
                and other.source == price.source
                and terms_of(other.terms).whole == behind.whole
                and terms_of(other.terms).first > behind.first
            ),
            (behind.total - behind.first) // behind.weight,
        )
        if cards > room:
            found.append({"node": node, "price": _price(price), "cards": cards, "counted": room})
    return found


# ------------------------------------------------------------------------------- reading and writing
def _parameters(at: datetime, known: datetime) -> dict[str, Any]:
    return {
        "at": naive_utc(at.timestamp()),
        "as_of": naive_utc(known.timestamp()),
        "at_us": _us(at),
        "as_of_us": _us(known),
    }


def _prices(cursor: duckdb.DuckDBPyConnection, p: Mapping[str, Any]) -> tuple[list[Price], list[str]]:
    refused: list[str] = []
    return usable(Price, _rows(cursor, "prices", p), "price", refused), refused


def _labels(cursor: duckdb.DuckDBPyConnection, p: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    rows = cursor.execute(
        statements("states")["node_labels"], {"as_of": p["as_of"], "to_us": p["at_us"] + 1}
    ).fetchall()
    found = {}
    for node, heard in labels_of(rows).items():
        for _, _, texts in cut_labels(heard, p["at_us"], p["at_us"] + 1):
            found[node] = texts
    return found


def _rows(cursor: duckdb.DuckDBPyConnection, name: str, p: Mapping[str, Any]) -> list[tuple[Any, ...]]:
    sql = statements("pricing")[name]
    return cursor.execute(sql, {key: p[key] for key in ("at", "as_of") if f"${key}" in sql}).fetchall()


def _says(price: Price) -> tuple[Any, ...]:
    return (price.currency, price.price_micro, price.list_micro, price.terms)


def _price(price: Price) -> dict[str, Any]:
    behind = terms_of(price.terms) if price.terms else None
    return {
        "price_id": price.price_id,
        "kind": price.kind or "list",
        "model": price.model,
        "pool": price.pool,
        "node": price.node,
        "label": price.label,
        "card": price.card,
        "currency": price.currency,
        "per_card_hour": str(price_decimal(price.price_micro)),
        "list": None if price.list_micro is None else str(price_decimal(price.list_micro)),
        "components": component_decimals(behind.components) if behind else {},
        "part_of_node": f"{behind.weight}/{behind.total}" if behind and behind.total > 1 else None,
        "assumed": price.assumed,
        "valid_from": _written(_at(price.valid_from_us)),
        "valid_to": None if price.valid_to_us is None else _written(_at(price.valid_to_us)),
        "known_from": _written(_at(price.known_from_us)),
        "source": price.source,
    }


def _dated(more: list[Any]) -> dict[str, Any]:
    valid_from, valid_to, known_from, source = more
    return {
        "valid_from": _written(valid_from.replace(tzinfo=UTC)),
        "valid_to": None if valid_to is None else _written(valid_to.replace(tzinfo=UTC)),
        "known_from": _written(known_from.replace(tzinfo=UTC)),
        "source": source,
    }


def _weekdays(digits: str | None) -> str | None:
    return None if digits is None else ",".join(WEEK[int(digit) - 1] for digit in digits)


def _plain(value: Decimal) -> str:
    return format(value.normalize(), "f")


def _us(instant: datetime) -> int:
    return (instant - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)


def _at(us: int) -> datetime:
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=us)


def _written(at: datetime) -> str:
    return at.astimezone(UTC).isoformat().replace("+00:00", "Z")
