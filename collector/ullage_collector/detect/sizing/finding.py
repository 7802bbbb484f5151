"""Cards too big for their work, and small holders that would fit one card, as findings with what that saves a month. Pure.

Each is told by itself: a card may be in both, and whoever adds up what is saved counts it once (docs/recommendations.md).
Not here: reading the store (reading.py).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from fractions import Fraction
from typing import Any, Final

from ullage_collector.detect.findings import Found
from ullage_collector.detect.idle_finding import MOST_NAMED, Gang
from ullage_collector.detect.sizing.fit import Owned, share_for, slice_for, smaller_for
from ullage_collector.detect.sizing.need import Need
from ullage_collector.detect.sizing.pack import Small, packed
from ullage_collector.detect.sizing.saving import Saving, price_of, saving, savings
from ullage_collector.detect.sizing.settings import Rules
from ullage_collector.ledger import (
    NANO,
    PLATFORM,
    QUANTITY_PER_CARD_HOUR,
    UNMAPPED,
    formatted,
    rounded,
)
from ullage_collector.prices import PriceBook

OVERSIZED: Final = "oversized_card"
SHAREABLE: Final = "shareable_cards"
KINDS: Final = (OVERSIZED, SHAREABLE)
_GROUPS: Final = 5  # our choice: groups a line of evidence can hold; all works are named
_WORK: Final = 200  # our choice: enough that no money is counted twice; evidence stays below a page


@dataclass(frozen=True, slots=True)
class Worked:
    """A job that held its whole cards alone over all of its window. needs: of each of them, in the order held.

    from_us: where the window begins. vendor, model: of its cards, all of one, as the cards call it; a price goes by the
    inventory's word.
    """

    gang: Gang
    needs: tuple[Need, ...]
    vendor: str
    model: str
    from_us: int
    minutes: int


def serves(gang: Gang, rules: Rules) -> bool:
    """Whether it is judged as serving: its scenario says so, or nobody says what it is for."""
    scenario = (gang.scenario or "").casefold()
    return not scenario or any(fnmatchcase(scenario, glob) for glob in rules.serving)


def find(
    worked: Iterable[Worked], owned: Sequence[Owned], rules: Rules, prices: PriceBook, now_us: int
) -> list[Found]:
    """Both kinds. owned: the models the fleet has. Raises nothing: what has no price saves hours only."""
    judged = [one for one in worked if _is_at_work(one, rules)]
    found = [_oversized(one, owned, rules, prices, now_us) for one in judged if is_oversized(one, rules)]
    return [*found, *_shareable(judged, rules, prices, now_us)]


def is_oversized(one: Worked, rules: Rules) -> bool:
    """Whether every card of it stays below all limits; a figure nobody knows is below none."""
    return all(value is not None and value <= limit for value, limit in _figures(one, rules))


def is_unknown(one: Worked, rules: Rules) -> bool:
    """Whether too little is known to say that it is too big, or that it is not any more."""
    figures = list(_figures(one, rules))
    return any(value is None for value, _ in figures) and all(
        value is None or value <= limit for value, limit in figures
    )


def _figures(one: Worked, rules: Rules) -> Iterator[tuple[float | None, float]]:
    most = rules.oversized
    for need in one.needs:
        yield need.activity, most.activity
        yield need.memory, most.memory
        yield need.bandwidth, most.bandwidth
        yield need.power, most.power


def _is_at_work(one: Worked, rules: Rules) -> bool:
    return any(need.active_minutes >= rules.least_active * one.minutes for need in one.needs)


def together(needs: Sequence[Need]) -> Need:
    """The most that any of the cards needs, of each figure; of what one does not know, nobody knows."""

    def most(values: Iterable[Any]) -> Any:
        known = list(values)
        return None if None in known else max(known)

    return Need(
        activity=most(need.activity for need in needs),
        bandwidth=most(need.bandwidth for need in needs),
        memory_bytes=most(need.memory_bytes for need in needs),
        watts=most(need.watts for need in needs),
        active_minutes=max(need.active_minutes for need in needs),
        total_bytes=None
        if any(n.total_bytes is None for n in needs)
        else min(n.total_bytes or 0 for n in needs),
        limit_watts=None
        if any(n.limit_watts is None for n in needs)
        else min(n.limit_watts or 0 for n in needs),
        assumed=tuple(sorted({name for need in needs for name in need.assumed})),
    )


# ------------------------------------------------------------------------------- too big
def _oversized(one: Worked, owned: Sequence[Owned], rules: Rules, prices: PriceBook, now_us: int) -> Found:
    gang, need = one.gang, together(one.needs)
    model = one.model
    alone = len(gang.held) == 1
    # Cards of one job talk to each other, which slices of most makers cannot: those are for work of one card.
    cut = slice_for(need, model, rules) if alone else None
    share = share_for(need, one.vendor, model, rules) if alone else None
    smaller = smaller_for(need, one.vendor, model, owned, rules)
    ways = savings(gang, cut, share, smaller, prices, rules.days_a_month, now_us)
    best = ways[0] if ways else None
    if smaller is not None and not any(way.way == "smaller_model" for way in ways):
        smaller = None  # it would cost no less
    evidence: dict[str, Any] = {
        **_who(gang),
        **_needs(need),
        "slice": None if cut is None else f"{cut.kind} {cut.profile}",
        "share": None
        if share is None
        else f"{share.system}: {', '.join(f'{name}={n}' for name, n in share.ask)}",
        "smaller_model": None if smaller is None else smaller.model,
        "fits": best.way if best else "not_known",
        **_saved(best, rules),
        "window_days": one.minutes // 1440,
        "judged_by": "peaks" if serves(gang, rules) else "quantile",
        "cards_without_price": sum(price_of(held, prices, now_us) is None for held in gang.held) or None,
    }
    return Found(
        OVERSIZED,
        "workload",
        gang.name,
        one.from_us,
        evidence,
        # our choice: all four figures agree over days; what nobody has tried is whether the work likes the smaller one.
        confidence=round((0.8 if best else 0.6) - 0.1 * len(need.assumed), 2),
        owner=gang.user or (None if gang.department == UNMAPPED else gang.department),
        action={"slice": "use_a_slice", "share": "use_a_share", "smaller_model": "use_a_smaller_model"}.get(
            best.way if best else "", "ask_for_less"
        ),
    )


# ------------------------------------------------------------------------------- together
def _shareable(judged: Iterable[Worked], rules: Rules, prices: PriceBook, now_us: int) -> Iterable[Found]:
    groups: dict[tuple[str, str, str, str | None], list[Worked]] = defaultdict(list)
    for one in judged:
        if len(one.gang.held) != 1 or not one.gang.held[0].model:
            continue
        held = one.gang.held[0]
        whose = None if rules.share.across_departments else one.gang.department or UNMAPPED
        groups[one.gang.cluster, held.pool or "", held.model or "", whose].append(one)
    for key, here in sorted(groups.items(), key=lambda group: [str(part) for part in group[0]]):
        made = _together(key, here, rules, prices, now_us)
        if made is not None:
            yield made


def _together(
    key: tuple[str, str, str, str | None],
    here: Sequence[Worked],
    rules: Rules,
    prices: PriceBook,
    now_us: int,
) -> Found | None:
    cluster, pool, model, department = key
    by_name = {one.gang.name: one for one in here}
    small = [
        Small(
            one.gang.name,
            one.gang.held[0].card_id or "",
            one.needs[0],
            slice_for(one.needs[0], one.model, rules),
            share_for(one.needs[0], one.vendor, one.model, rules),
        )
        for one in here
    ]
    groups = packed(small, rules)
    if not groups:
        return None
    freed = [by_name[one.name].gang.held[0] for group in groups for one in group[1:]]
    saved = saving("share", freed, NANO, prices, rules.days_a_month, now_us)
    all_of = [one for group in groups for one in group]
    evidence: dict[str, Any] = {
        "cluster": cluster,
        "pool": pool or None,
        "model": model,
        "department": department,
        "holders": len(all_of),
        "cards_saved": len(freed),
        "groups": [_group(group) for group in groups[:_GROUPS]],
        "nodes": sorted({by_name[o.name].gang.held[0].node_id or "" for o in all_of} - {""})[:MOST_NAMED],
        "workloads": sorted(by_name[one.name].gang.held[0].workload_id for one in all_of)[:_WORK],
        **_saved(saved, rules),
        "cards_without_price": sum(price_of(held, prices, now_us) is None for held in freed) or None,
    }
    return Found(
        SHAREABLE,
        "fleet",
        "/".join(
            part for part in (cluster, pool, model, None if department == UNMAPPED else department) if part
        ),
        max(by_name[one.name].from_us for one in all_of),
        evidence,
        confidence=0.7,  # our choice: peaks of days add up on paper; that they never meet nobody can promise
        owner=PLATFORM if department in (None, UNMAPPED) else department,
        action="share_a_card",
    )


def _group(group: Sequence[Small]) -> dict[str, str]:
    """Work -> what it would get of the card."""
    found = {}
    for one in group:
        if one.slice is not None:
            found[one.name] = f"{one.slice.kind} {one.slice.profile}"
        elif one.share is not None:
            found[one.name] = f"{one.share.system} " + ", ".join(f"{name}={n}" for name, n in one.share.ask)
    return found


# ------------------------------------------------------------------------------- evidence
def _who(gang: Gang) -> Mapping[str, Any]:
    return {
        "model": gang.held[0].model,
        "cards": len(gang.held),
        "workloads": sorted({held.workload_id for held in gang.held})[:MOST_NAMED],
        "nodes": sorted({held.node_id for held in gang.held if held.node_id})[:MOST_NAMED],
        "department": gang.department,
        "scenario": gang.scenario,
    }


def _needs(need: Need) -> Mapping[str, Any]:
    gib = None if need.memory_bytes is None else round(need.memory_bytes / 2**30, 1)
    return {
        "activity_peak": _ratio(need.activity),
        "memory_peak_gib": gib,
        "memory_peak_ratio": _ratio(need.memory),
        "bandwidth_peak": _ratio(need.bandwidth),
        "power_of_limit": _ratio(need.power),
        "assumed": list(need.assumed) or None,
    }


def _saved(saved: Saving | None, rules: Rules) -> Mapping[str, Any]:
    if saved is None:
        return {"saved_card_hours_per_month": None, "saved_per_month": None, "saving_per_day": None}
    month = (
        None
        if saved.atoms is None or saved.currency is None
        else {saved.currency: _money(saved.atoms, saved.currency)}
    )
    day = None
    if saved.atoms is not None and saved.currency is not None:
        day = {saved.currency: _money(saved.atoms // rules.days_a_month, saved.currency)}
    return {
        "saved_card_hours_per_month": float(round(Fraction(saved.quantity, QUANTITY_PER_CARD_HOUR), 1)),
        "saved_per_month": month,
        "saving_per_day": day,
    }


def _money(atoms: int, currency: str) -> str:
    return formatted(rounded(atoms, currency), grouped=False)


def _ratio(value: float | None) -> float | None:
    return None if value is None else round(value, 2)
