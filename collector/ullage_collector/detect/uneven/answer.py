"""What the route and the command say of a stretch: hour by hour who waited and what idled, and between whom. Whole, not the worst."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from ullage_collector.detect.uneven import finding
from ullage_collector.detect.uneven.match import Hour, Matched, Pair, matched
from ullage_collector.detect.uneven.reading import DAY_US, Use, last_day_us, read
from ullage_collector.detect.uneven.settings import Rules
from ullage_collector.ledger import HOUR_US
from ullage_collector.quota.show import hours_text
from ullage_contract.errors import BadInput

if TYPE_CHECKING:
    import duckdb

SCHEMA_VERSION: Final = 1
MOST_DAYS: Final = 92  # our choice: a quarter, as other routes; longer stretches are asked for in parts


def answer(
    cursor: duckdb.DuckDBPyConnection, rules: Rules, now_us: int, from_us: int | None, to_us: int | None
) -> dict[str, Any]:
    """from_us, to_us None: the days of the rules up to the newest published one. Cut to whole UTC hours.

    Raises BadInput where no day is published yet, and for a stretch that is empty or too long.
    """
    last = last_day_us(cursor)
    if last is None:
        raise BadInput("no day is published yet: what idled is not known; run ullage-collector publish")
    end = (to_us if to_us is not None else last) // HOUR_US * HOUR_US
    start = (from_us if from_us is not None else end - rules.days * DAY_US) // HOUR_US * HOUR_US
    if not 0 < end - start <= MOST_DAYS * DAY_US:
        raise BadInput(f"--from and --to: give a stretch of at least an hour and at most {MOST_DAYS} days")
    use = read(cursor, start, end, now_us, rules)
    return document(use, matched(use.demands, use.supplies, across_clusters=rules.across_clusters))


def document(use: Use, met: Matched) -> dict[str, Any]:
    """As JSON; card-hours are exact decimals as text."""
    money, unpriced = finding.worth(met.pairs)
    return {
        "schema_version": SCHEMA_VERSION,
        "from": _time(use.from_us),
        "to": _time(use.to_us),
        "days_published": use.days,
        "days": -(-(use.to_us - use.from_us) // DAY_US),
        "overlap_card_hours": hours_text(sum(pair.quantity for pair in met.pairs)),
        "own_idle_card_hours": hours_text(sum(pair.quantity for pair in met.own)),
        "kind_not_known_card_hours": hours_text(use.unplaced),
        "cost": money,
        "card_hours_without_price": hours_text(unpriced),
        "hours": [_hour(hour) for hour in met.hours],
        "between": list(_between(met.pairs, use.places)),
        "refused": list(use.refused[:20]),
    }


def _hour(hour: Hour) -> dict[str, Any]:
    return {
        "hour": _time(hour.hour_us),
        "vendor": hour.kind.vendor,
        "model": hour.kind.model,
        "waiting_card_hours": hours_text(hour.waiting),
        "idle_card_hours": hours_text(hour.idle),
        "own_idle_card_hours": hours_text(hour.own),
        "overlap_card_hours": hours_text(hour.overlap),
    }


def _between(
    pairs: tuple[Pair, ...], places: Mapping[finding.Side, finding.Place]
) -> Iterator[dict[str, Any]]:
    """Who waited beside whose idle cards, the most first."""
    groups: dict[tuple[str, ...], list[Pair]] = defaultdict(list)
    for pair in pairs:
        demand, supply = pair.demand, pair.supply
        name = (demand.department, demand.cluster, demand.kind.model, supply.department or finding.FREE)
        groups[(*name, supply.pool or "", supply.cluster, finding.action(pair))].append(pair)
    for key, here in sorted(groups.items(), key=lambda one: (-sum(p.quantity for p in one[1]), one[0])):
        waiting, cluster, model, idle, pool, there, action = key
        money, _ = finding.worth(here)
        place = places.get(finding.side_of(here[0].supply), finding.Place())
        yield {
            "waiting": waiting,
            "cluster": cluster,
            "model": model,
            "idle": idle,
            "idle_pool": pool or None,
            "idle_cluster": there,
            "idle_nodes": {name: hours_text(amount) for name, amount in place.nodes},
            "hours": len({pair.demand.hour_us for pair in here}),
            "card_hours": hours_text(sum(pair.quantity for pair in here)),
            "cost": money,
            "action": action,
        }


def lines(found: Mapping[str, Any]) -> Iterator[str]:
    """For a terminal."""
    yield (
        f"{found['from']} to {found['to']}: {found['overlap_card_hours']} card-hours idled while others waited for them"
        f"{_money(found['cost'])}"
    )
    if found["days_published"] < found["days"]:
        yield f"{found['days'] - found['days_published']} of {found['days']} days are not published: nothing is said of them"
    for key, text in (
        ("own_idle_card_hours", "more idled with those who waited themselves"),
        ("kind_not_known_card_hours", "were waited for without a kind of card anybody knows"),
        ("card_hours_without_price", "of the first have no price"),
    ):
        if found[key] != "0":
            yield f"{found[key]} card-hours {text}"
    for row in found["between"]:
        pool = f", pool {row['idle_pool']}" if row["idle_pool"] else ""
        there = f", cluster {row['idle_cluster']}" if row["idle_cluster"] != row["cluster"] else ""
        yield (
            f"  {row['waiting']} waited for {row['model']} on {row['cluster']}; {row['idle']}{pool}{there} idled: "
            f"{row['card_hours']} card-hours in {row['hours']} hours{_money(row['cost'])}: {row['action']}"
        )


def _money(cost: Mapping[str, str]) -> str:
    return "".join(f", {amount} {currency}" for currency, amount in cost.items())


def _time(us: int) -> str:
    return datetime.fromtimestamp(us // 1_000_000, UTC).isoformat().replace("+00:00", "Z")
