"""Waiting here and idling there: hand-worked hours, the lesser of both, both sides named, the ledger's money, nothing from gaps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from benchmarks.uneven import score
from hypothesis import given, settings
from hypothesis import strategies as st

from ullage_collector.detect.uneven.finding import (
    LEND,
    LOOK,
    MOVE_POOL,
    RAISE_MAX,
    RUN_THERE,
    action,
    find,
    runs,
    worth,
)
from ullage_collector.detect.uneven.match import Demand, Kind, Matched, Supply, matched
from ullage_collector.detect.uneven.reading import Waiting, demand_of, kind_of, waited
from ullage_collector.detect.uneven.settings import default_rules, parse_rules, rules_of
from ullage_collector.ledger import (
    HOUR_US,
    QUANTITY_PER_CARD_HOUR,
    cost_atoms,
    formatted,
    quantity,
    rounded,
)
from ullage_collector.quota.known import Asked
from ullage_contract.errors import ConfigError

CARD = 10**9
H800, H20 = Kind("nvidia", "H800"), Kind("nvidia", "H20")
NIGHT = 1_792_540_800_000_000
ONE = QUANTITY_PER_CARD_HOUR


def at(hour: int) -> int:
    return NIGHT + hour * HOUR_US


def wants(hour: int, cards: float, who: str = "rec", **more: Any) -> Demand:
    return Demand(at(hour), more.pop("cluster", "c1"), more.pop("kind", H800), who, int(cards * ONE), **more)


def idles(hour: int, cards: float, who: str | None = None, **more: Any) -> Supply:
    more.setdefault("price_micro", 10_000_000)
    more.setdefault("currency", "CNY")
    return Supply(
        at(hour),
        more.pop("cluster", "c1"),
        more.pop("kind", H800),
        int(cards * ONE),
        who,
        **more,
    )


def both(demands: Sequence[Demand], supplies: Sequence[Supply], across: bool = True) -> Matched:
    return matched(demands, supplies, across_clusters=across)


def overlap(found: Matched) -> float:
    return sum(pair.quantity for pair in found.pairs) / ONE


def test_an_hour_counts_the_lesser_of_what_waited_and_what_idled_of_one_kind() -> None:
    found = both(
        [wants(0, 8), wants(1, 2), wants(2, 4, kind=H20), wants(3, 1)],
        [idles(0, 3), idles(1, 5), idles(2, 9), idles(4, 9)],
    )
    assert [(hour.overlap / ONE, hour.waiting / ONE, hour.idle / ONE) for hour in found.hours] == [
        (3, 8, 3),
        (2, 2, 5),
        (0, 4, 0),
        (0, 1, 0),
    ]


def test_free_cards_go_before_held_ones_and_what_is_short_is_divided_by_what_each_waited_for() -> None:
    found = both([wants(0, 6, "a"), wants(0, 3, "b")], [idles(0, 4, "ads"), idles(0, 2)])
    told = {(p.demand.department, p.supply.department): p.quantity / ONE for p in found.pairs}
    # 2 free: 4/3 and 2/3; then 4 held by ads: by what is left, 14/3 and 7/3
    assert told["a", None] == pytest.approx(4 / 3) and told["b", None] == pytest.approx(2 / 3)
    assert told["a", "ads"] == pytest.approx(8 / 3) and told["b", "ads"] == pytest.approx(4 / 3)
    assert overlap(found) == 6
    (pair,) = both([wants(0, 2)], [idles(0, 4, "ads"), idles(0, 3)]).pairs
    assert pair.supply.department is None


def test_a_departments_own_idle_cards_are_its_own_affair() -> None:
    found = both([wants(0, 5)], [idles(0, 3, "rec"), idles(0, 1, "ads")])
    assert sum(pair.quantity for pair in found.own) == 3 * ONE
    assert overlap(found) == 1
    assert found.hours[0].waiting == 2 * ONE


def test_a_held_card_nobody_heard_of_may_be_its_holders_own_way_out() -> None:
    found = both(
        [wants(0, 5)], [idles(0, 3, "rec", known=False), idles(0, 9, "ads", known=False), idles(0, 1)]
    )
    assert (overlap(found), found.own) == (1, ())
    assert (found.hours[0].waiting, found.hours[0].idle) == (2 * ONE, ONE)


def test_another_cluster_lends_only_what_is_free_and_only_where_the_rules_say_so() -> None:
    supplies = [idles(0, 2, cluster="c2"), idles(0, 2, "ads", cluster="c2")]
    assert overlap(both([wants(0, 9)], supplies)) == 2
    assert overlap(both([wants(0, 9)], supplies, across=False)) == 0


@pytest.mark.parametrize(
    ("demand", "supply", "told"),
    [
        (wants(0, 1, full=True), idles(0, 1), RAISE_MAX),
        (wants(0, 1, full=True), idles(0, 1, "ads"), LEND),
        (wants(0, 1, full=True, pools=frozenset({"a"})), idles(0, 1, pool="b"), MOVE_POOL),
        (wants(0, 1, full=True, pools=frozenset({"a"})), idles(0, 1, pool="a"), RAISE_MAX),
        (wants(0, 1, pools=frozenset({"a"})), idles(0, 1, pool="a"), LOOK),
        (wants(0, 1), idles(0, 1, cluster="c2"), RUN_THERE),
    ],
)
def test_what_would_bring_the_two_together(demand: Demand, supply: Supply, told: str) -> None:
    (pair,) = both([demand], [supply]).pairs
    assert action(pair) == told


def test_cards_that_are_too_few_for_any_request_need_somebody_who_looks() -> None:
    for smallest, told in ((3, RAISE_MAX), (4, LOOK)):
        (pair,) = both([wants(0, 8, full=True, smallest_nano=smallest * CARD)], [idles(0, 3)]).pairs
        assert (action(pair), pair.quantity) == (told, 3 * ONE)
    shared = both([wants(0, 8, full=True, smallest_nano=4 * CARD)], [idles(0, 3), idles(0, 1, "ads")])
    assert [action(pair) for pair in shared.pairs] == [RAISE_MAX, LEND]


def test_a_finding_names_both_sides_the_hours_and_the_ledgers_money() -> None:
    demands = [wants(hour, 4, full=True) for hour in (20, 21, 22, 30)]
    supplies = [idles(hour, 10, pool="serve", price_micro=12_345_678) for hour in (20, 21, 22, 30)]
    supplies += [idles(20, 1, "ads", price_micro=None, currency=None)]
    rules = replace(default_rules(), least_card_hours=16)
    found = both(demands, supplies)
    (told,) = find(found.pairs, found.own, rules, at(48))
    assert (told.subject, told.since_us, told.action) == ("rec", at(20), RAISE_MAX)
    assert told.evidence["overlap_card_hours"] == 16.0
    assert told.evidence["idle"] == {"free": 16.0}
    assert told.evidence["idle_pools"] == {"serve": 16.0}
    assert told.evidence["hours"] == 4 and len(told.evidence["when"]) == 2
    atoms = cost_atoms(4 * quantity(4 * CARD // 4, 0, 4 * HOUR_US), 12_345_678)
    assert told.evidence["cost"] == {"CNY": formatted(rounded(atoms, "CNY"), grouped=False)}
    assert told.evidence["cost_per_day"] == {"CNY": formatted(rounded(atoms // 7, "CNY"), grouped=False)}
    assert find(found.pairs, found.own, replace(rules, least_card_hours=16.1), at(48)) == []
    assert find(found.pairs, found.own, replace(rules, least_hours=5), at(48)) == []
    assert find(found.pairs, found.own, rules, at(30 + 24 * 3)) == []  # it is over


def test_what_has_no_price_is_counted_and_costs_nothing() -> None:
    found = both([wants(0, 2)], [idles(0, 1), idles(0, 1, "ads", price_micro=None)])
    assert worth(found.pairs) == ({"CNY": "10.00"}, ONE)


def test_hours_in_a_row_are_one_stretch() -> None:
    assert runs([at(1), at(2), at(5)]) == [(at(1), at(3)), (at(5), at(6))]


# ------------------------------------------------------------------------------- what a request waits for
def asks(
    start: float, end: float, *, model: str | None = None, vendor: str | None = "nvidia", cards: int = 2
) -> Asked:
    return Asked(
        NIGHT + round(start * HOUR_US), NIGHT + round(end * HOUR_US), cards * CARD, "c1", vendor, model,
        {"department": ("rd", "rd/nlp")},
    )  # fmt: skip


def test_a_request_is_cut_at_hours_and_at_the_stretch_and_is_its_departments() -> None:
    found, unplaced = waited([asks(0.5, 2.25)], {"c1": {H800}}, at(0), at(2))
    assert found == {
        (at(0), "c1", H800, "rd/nlp"): (ONE, 2 * CARD),
        (at(1), "c1", H800, "rd/nlp"): (2 * ONE, 2 * CARD),
    }
    both_ask, _ = waited([asks(0, 1), asks(0, 1, cards=8)], {"c1": {H800}}, at(0), at(1))
    assert list(both_ask.values()) == [(10 * ONE, 2 * CARD)]
    assert unplaced == 0


def test_a_request_that_may_mean_several_kinds_means_none() -> None:
    assert kind_of(asks(0, 1), [H800, H20]) is None
    assert kind_of(asks(0, 1), [H800, Kind("ascend", "910B")]) == H800
    assert kind_of(asks(0, 1, model="*h20*"), [H800, H20]) == H20
    assert kind_of(asks(0, 1, vendor=None), [H800]) is None
    assert kind_of(asks(0, 1, vendor="ascend"), [H800]) is None
    assert waited([asks(0, 1)], {"c1": {H800, H20}}, at(0), at(9)) == ({}, 2 * ONE)


def test_a_quota_counts_for_its_department_and_those_below_on_cards_it_is_about() -> None:
    quotas = {
        at(0): [
            Waiting("train", "NVIDIA", "*h800*", "rd", True),
            Waiting("*", None, None, "rd/nlp", False),
            Waiting("serve", None, None, "rd/nlp2", True),
            Waiting("npu", "ascend", None, "rd", True),
        ]
    }
    demand = demand_of((at(0), "c1", H800, "rd/nlp"), ONE, CARD, quotas)
    assert (demand.full, demand.pools) == (True, frozenset({"train"}))
    assert demand_of((at(0), "c1", H20, "rd/nlp"), ONE, CARD, quotas).full is False
    assert demand_of((at(0), "c1", H800, "ads"), ONE, CARD, quotas).pools == frozenset()
    assert demand_of((at(1), "c1", H800, "rd/nlp"), ONE, CARD, quotas).full is False


# ------------------------------------------------------------------------------- laws
names = st.sampled_from(["a", "b", "c"])
clusters = st.sampled_from(["c1", "c2"])
some_demands = st.lists(
    st.builds(
        lambda h, n, who, c: Demand(at(h), c, H800, who, n),
        st.integers(0, 2),
        st.integers(0, 10**6),
        names,
        clusters,
    ),
    max_size=8,
    unique_by=lambda d: (d.hour_us, d.department, d.cluster),
)
some_supplies = st.lists(
    st.builds(
        lambda h, n, who, c, pool: Supply(at(h), c, H800, n, who, pool),
        st.integers(0, 2), st.integers(0, 10**6), st.none() | names, clusters, st.sampled_from(["n1", "n2"]),
    ),
    max_size=10,
)  # fmt: skip


@given(some_demands, some_supplies)
@settings(max_examples=200, deadline=None)
def test_nothing_is_met_twice_and_within_a_cluster_the_overlap_is_the_lesser(
    demands: list[Demand], supplies: list[Supply]
) -> None:
    found = both(demands, supplies, across=False)
    for pair in found.pairs:
        assert pair.quantity > 0 and pair.supply.department != pair.demand.department
    for demand in demands:
        met = sum(p.quantity for p in (*found.pairs, *found.own) if p.demand is demand)
        assert met <= demand.quantity
    for supply in {id(s): s for s in supplies}.values():
        assert sum(p.quantity for p in (*found.pairs, *found.own) if p.supply is supply) <= supply.quantity
    one = [d for d in demands if d.cluster == "c1"]
    own = both(one, [s for s in supplies if s.cluster == "c1"], across=False)
    assert all(hour.overlap == min(hour.waiting, hour.idle) for hour in own.hours)


@given(some_demands, some_supplies, st.data())
@settings(max_examples=150, deadline=None)
def test_cards_nobody_heard_of_only_ever_lower_what_others_could_have_had(
    demands: list[Demand], supplies: list[Supply], data: st.DataObject
) -> None:
    """A held card without telemetry is unknown; it may have been the waiting department's own way out."""
    seen = [replace(s, known=s.department is None or data.draw(st.booleans())) for s in supplies]
    whole, less = both(demands, supplies), both(demands, seen)
    for hour, before in zip(less.hours, whole.hours, strict=True):
        assert hour.overlap <= before.overlap and hour.own <= before.own


@given(some_demands, some_supplies, st.data())
@settings(max_examples=150, deadline=None)
def test_missing_hours_and_requests_only_ever_lower_the_overlap(
    demands: list[Demand], supplies: list[Supply], data: st.DataObject
) -> None:
    """Days that are not published, requests nobody told."""
    hours = data.draw(st.sets(st.integers(0, 2)))
    told = [d for d in demands if data.draw(st.booleans())]
    seen = [s for s in supplies if s.hour_us not in {at(h) for h in hours}]
    rules = replace(default_rules(), least_card_hours=1e-9, least_hours=1)
    whole, less, none = both(demands, supplies), both(demands, seen), both(told, seen)
    assert sum(p.quantity for p in less.pairs) <= sum(p.quantity for p in whole.pairs)
    assert len(find(less.pairs, less.own, rules, at(5))) <= len(find(whole.pairs, whole.own, rules, at(5)))
    assert sum(p.quantity for p in none.own) <= sum(p.quantity for p in whole.own)


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("[window]\ndays = 0\n", "days"),
        ("[finding]\nleast = 1\n", "least"),
        ("[quota]\nfull_ratio = 2\n", "full_ratio"),
    ],
)
def test_a_wrong_rule_is_told(text: str, wrong: str) -> None:
    with pytest.raises(ConfigError, match=wrong):
        parse_rules(f"schema_version = 1\n{text}", "mine.toml")


def test_the_shipped_rules_are_read() -> None:
    assert rules_of({}) == default_rules() and default_rules().days == 7


def test_of_made_weeks_those_who_could_have_been_helped_are_told() -> None:
    figures = score(4, 2)
    assert figures["departments"] >= 2
    assert (figures["precision"], figures["recall"]) == (1.0, 1.0)
    assert figures["peer_precision"] < 0.9
