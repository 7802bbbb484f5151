"""Where jobs stand against where they could: hand-worked fabrics, what is not known is no finding, the loss is the ledger's."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from itertools import combinations
from typing import Any

import pytest
from benchmarks.placement import score
from hypothesis import given, settings
from hypothesis import strategies as st

from ullage_collector.detect.findings import Found
from ullage_collector.detect.idle_finding import DAY_US, Gang, Held
from ullage_collector.detect.placement.fabric import (
    Candidate,
    Group,
    around,
    clear,
    enough,
    least_groups,
    off_rail,
    ring,
)
from ullage_collector.detect.placement.finding import Node, Placed, find, loss_a_day, needless_ratio
from ullage_collector.detect.placement.reading import switches
from ullage_collector.detect.placement.settings import default_rules, parse_rules, rules_of
from ullage_collector.detect.placement.traffic import PortFigures
from ullage_collector.ledger import cost_atoms, formatted, quantity, rounded
from ullage_collector.prices import Price, PriceBook
from ullage_collector.topology.domains import Port, Row, Topology
from ullage_contract.errors import ConfigError

NOW = 1_792_584_000_000_000
HOUR_US = 3_600_000_000
WINDOW = default_rules().minutes * 60.0
A, B, C = (frozenset({name}) for name in "abc")
BOOK = PriceBook([Price(1, "H800", "CNY", 12_345_678), Price(2, "H20", "CNY", 4_000_000, pool="eu")])


def node(name: str, group: Group, *, free: int = 8, cards: int = 8, **more: Any) -> Node:
    cards_of = frozenset(f"{name}-{n}" for n in range(8))
    return Node(
        name,
        "c",
        more.pop("model", "NVIDIA H800"),
        "",
        group,
        more.pop("spines", None),
        cards,
        free,
        cards_of,
    )


def job(
    *places: tuple[str, Group], cards: int = 8, ports: list[PortFigures] | None = None, **more: Any
) -> Placed:
    held = tuple(
        Held("slurm/c/1", f"{name}-{n}", name, 10**9, NOON, more.get("model", "H800"))
        for name, _ in places
        for n in range(cards)
    )
    gang = Gang("slurm/c/1", "slurm_job", "c", "training", "rd", "li", held)
    if ports is None:
        ports = [port(f"{name}/p") for name, _ in places]
    return Placed(gang, dict(places), ports, more.get("rails", {}), more.get("could", {}))


NOON = NOW - 12 * HOUR_US


def port(name: str, bytes_a_second: float = 1e9, **grown: float) -> PortFigures:
    return PortFigures(
        name,
        WINDOW,
        {"xmit_data_bytes": bytes_a_second * WINDOW, **{k: v * WINDOW for k, v in grown.items()}},
    )


def judged(placed: Placed, nodes: list[Node], now: int = NOW) -> list[Found]:
    return find([placed], nodes, default_rules(), BOOK, now)


FOUR_A = [node(f"a{n}", A) for n in range(4)]
FOUR_B = [node(f"b{n}", B) for n in range(4)]


def test_four_nodes_on_two_switches_where_one_has_four_need_one() -> None:
    scattered = job(("a0", A), ("a1", A), ("b0", B), ("b1", B))
    busy = [replace(one, free=0) for one in FOUR_B[2:]]
    (found,) = judged(scattered, [*FOUR_A, *FOUR_B[:2], *busy])
    told = found.evidence
    assert (told["switch_groups"], told["switch_groups_least"]) == (2, 1)
    assert (told["ring_crossings"], told["ring_crossings_least"]) == (2, 0)
    assert told["enough_nodes"] == ["a0", "a1", "a2", "a3"]
    assert (told["of_them_new"], told["switch_groups_with_them"]) == (2, 1)
    assert (told["congestion"], told["lost_ratio"], found.action) == (
        "not_known",
        0.0,
        "place_together_next_time",
    )


def test_six_nodes_need_two_switches_of_four_and_are_no_finding_on_two() -> None:
    six = job(*((n.name, n.leaves) for n in [*FOUR_A, *FOUR_B[:2]]))
    assert judged(six, [*FOUR_A, *FOUR_B]) == []


def test_a_switch_whose_nodes_take_no_work_does_not_count() -> None:
    scattered = job(("a0", A), ("a1", A), ("b0", B), ("b1", B))
    assert (
        judged(scattered, [*FOUR_A[:3], *FOUR_B[:3]]) == []
    )  # the fourth of each is fenced: they are not among the nodes
    assert len(judged(scattered, [*FOUR_A, *FOUR_B[:3]])) == 1


def test_nodes_of_another_pool_or_with_too_few_cards_that_work_do_not_count() -> None:
    scattered = job(("a0", A), ("b0", B))
    spare = FOUR_A[1]
    for other in (
        replace(spare, pool="serve"),
        replace(spare, cards=7, free=7),
        replace(spare, model="A100"),
    ):
        assert judged(scattered, [FOUR_A[0], FOUR_B[0], other]) == []
    assert len(judged(scattered, [FOUR_A[0], FOUR_B[0], spare])) == 1


def test_switches_of_a_node_count_where_all_of_its_ports_are_known() -> None:
    ports = [Port(f"n1/p{n}", "c", "n1", 1, None, None, "fabric") for n in range(2)]
    rows = [Row("lldp:x", "c", "port", f"n1/p{n}", "leaf_switch", f"l{n}") for n in range(2)]
    nodes = [("c", "n1")]
    assert switches(Topology(rows, nodes=nodes, ports=ports), "c", "n1")[0] == frozenset({"l0", "l1"})
    assert switches(Topology(rows[:1], nodes=nodes, ports=ports), "c", "n1") == (frozenset(), None)
    assert switches(Topology([], nodes=nodes), "c", "n1") == (frozenset(), None)


def test_none_free_now_is_said() -> None:
    (found,) = judged(job(("a0", A), ("b0", B)), [FOUR_A[0], FOUR_B[0], replace(FOUR_A[1], free=7)])
    assert found.evidence["enough_nodes"] == "none_free_now"


def test_loss_by_the_formula_and_money_by_the_ledger() -> None:
    ports = [port("a0/p"), port("b0/p", lossless_rx_pause_seconds=0.5), port("c0/p", packet_seq_err=9.0)]
    three = job(("a0", A), ("b0", B), ("c0", C), ports=ports)
    (found,) = judged(three, [*FOUR_A[:2], *FOUR_B[:1], node("c0", C)])
    told = found.evidence
    # least: two on a, one more: 2 groups, 2 crossings; it has 3: 0.2 x 0.5 x (3 - 2) / 3
    assert (told["ring_crossings"], told["ring_crossings_least"], told["worst_port"]) == (3, 2, "b0/p")
    assert told["lost_ratio"] == 0.0333 and told["congested_ratio"] == 0.5
    lost = sum(int(quantity(10**9, 0, DAY_US) * Fraction(1, 30)) for _ in range(24))
    assert told["lost_card_hours_per_day"] == 19.2
    assert told["cost_per_day"] == {
        "CNY": formatted(rounded(cost_atoms(lost, 12_345_678), "CNY"), grouped=False)
    }
    assert found.action == "restart_on_these_nodes"


def test_a_card_without_a_price_is_counted_and_costs_nothing() -> None:
    held = [Held("w", "x", "n", 10**9, 0, "H20", "eu"), Held("w", "y", "n", 10**9, 0, "H20", None)]
    assert loss_a_day(held, Fraction(1, 4), BOOK, NOW) == ({"CNY": "24.00"}, 12.0, 1)


def test_what_nobody_knows_is_no_finding() -> None:
    nodes = [*FOUR_A, *FOUR_B]
    scattered = job(("a0", A), ("b0", B))
    assert len(judged(scattered, nodes)) == 1
    assert judged(replace(scattered, leaves={"a0": A, "b0": frozenset()}), nodes) == []
    assert judged(replace(scattered, ports=[]), nodes) == []
    assert judged(replace(scattered, ports=[PortFigures("p", WINDOW, {"np_cnp_sent": 1e9})]), nodes) == []
    assert judged(replace(scattered, ports=[port("p", 1e3)]), nodes) == []
    assert judged(scattered, nodes, NOON + 10) == []  # it begins
    assert (
        judged(scattered, [*FOUR_A, *(replace(one, model="A100") for one in FOUR_B)]) == []
    )  # of two models
    assert judged(scattered, [replace(one, cluster="other") for one in nodes]) == []


def test_nodes_that_share_some_switches_are_no_clear_picture() -> None:
    """One cable in the wrong place does not blind the whole pool; where nobody can tell which is wrong, nothing is said."""
    scattered = job(("a0", A), ("b0", B))
    astray = node("x", frozenset({"a", "z"}))
    assert len(judged(scattered, [*FOUR_A, *FOUR_B, astray])) == 1
    assert judged(scattered, [FOUR_A[0], FOUR_B[0], FOUR_B[1], astray]) == []
    assert judged(job(("x", astray.leaves), ("b0", B)), [*FOUR_A, *FOUR_B, astray]) == []
    assert clear({A: 4, astray.leaves: 1, B: 2}) == {A, B}
    assert clear({A: 1, astray.leaves: 1, B: 2}) == {B}


def test_rails_count_where_all_could_be_on_the_same() -> None:
    could = {"a0": frozenset("0123"), "a1": frozenset("0123")}
    apart = {"a0": frozenset("01"), "a1": frozenset("23")}
    assert off_rail(apart, could) == 4
    assert off_rail({"a0": frozenset("01"), "a1": frozenset("12")}, could) == 2
    assert off_rail({name: frozenset("01") for name in could}, could) == 0
    assert (
        off_rail(apart, {"a0": frozenset("01"), "a1": frozenset("23")}) == 0
    )  # the nodes have no rail in common
    (found,) = judged(job(("a0", A), ("a1", A), cards=2, rails=apart, could=could), FOUR_A)
    assert (found.evidence["cards_off_their_rail"], found.evidence["switch_groups"]) == (4, 1)


def test_cards_off_their_rail_cost_by_their_share() -> None:
    could = {"a0": frozenset("0123"), "a1": frozenset("0123")}
    apart = {"a0": frozenset("01"), "a1": frozenset("12")}
    ports = [port("a0/p", lossless_rx_pause_seconds=0.1)]
    (found,) = judged(job(("a0", A), ("a1", A), cards=2, rails=apart, could=could, ports=ports), FOUR_A)
    # two of four cards are off: 0.2 x 0.1 x 2/4 of 4 cards x 24 h
    assert (found.evidence["lost_ratio"], found.evidence["lost_card_hours_per_day"]) == (0.01, 0.96)
    assert needless_ratio(0, 0, 0, 4) == 0 and needless_ratio(4, 2, 1, 4) == Fraction(1, 2)


def test_the_best_ring_goes_through_each_group_and_each_spine_once() -> None:
    up, down = frozenset({"s1"}), frozenset({"s2"})
    assert ring([A, A, B], {A: up, B: up}).above == 0
    three = ring([A, B, C, A], {A: up, B: up, C: down})
    assert (three.groups, three.crossings, three.above) == (3, 3, 2)
    assert ring([A, B], {A: up}).above is None
    assert (around(1), around(2), around(5)) == (0, 2, 5)


groups_drawn = st.lists(st.integers(0, 6), min_size=1, max_size=6)


@given(groups_drawn, st.integers(1, 20))
@settings(max_examples=100, deadline=None)
def test_the_fewest_groups_are_those_of_every_choice_tried(sizes: list[int], nodes: int) -> None:
    tried = [k for k in range(1, len(sizes) + 1) if any(sum(c) >= nodes for c in combinations(sizes, k))]
    assert least_groups(sizes, nodes) == (min(tried) if tried else None)


@given(st.lists(st.tuples(st.integers(0, 4), st.booleans(), st.booleans()), max_size=16), st.integers(1, 8))
@settings(max_examples=150, deadline=None)
def test_what_is_proposed_can_be_had_and_no_choice_of_as_few_groups_keeps_more(
    drawn: list[tuple[int, bool, bool]], nodes: int
) -> None:
    all_of = [Candidate(f"n{i}", frozenset({f"s{g}"}), own, free) for i, (g, own, free) in enumerate(drawn)]
    chosen = enough(all_of, nodes, 5)
    can = [one for one in all_of if one.own or one.free]
    sizes = [sum(one.group == frozenset({f"s{g}"}) for one in can) for g in range(5)]
    fewest = least_groups(sizes, nodes)
    if chosen is None:
        assert fewest is None
        return
    by_name = {one.name: one for one in can}
    assert len(set(chosen)) == nodes and len({by_name[name].group for name in chosen}) == fewest


LOST = st.sets(st.sampled_from(["leaf a0", "leaf b0", "port", "bytes", "node a1", "node b1", "price"]))


@given(LOST)
@settings(max_examples=60, deadline=None)
def test_what_is_missing_only_ever_takes_findings_away(lost: set[str]) -> None:
    """Each is taken away from a job that is a finding, and from one that is none."""
    for placed, before in ((job(("a0", A), ("b0", B)), 1), (job(("a0", A), ("a1", A)), 0)):
        nodes = [one for one in [*FOUR_A[:2], *FOUR_B[:2]] if f"node {one.name}" not in lost]
        leaves = {
            name: frozenset() if f"leaf {name}" in lost else group for name, group in placed.leaves.items()
        }
        ports = [] if "port" in lost else list(placed.ports)
        if "bytes" in lost:
            ports = [replace(one, grown={}) for one in ports]
        assert len(judged(replace(placed, leaves=leaves, ports=ports), nodes)) <= before


@given(st.lists(st.booleans(), min_size=30, max_size=30), st.floats(0, 2e8))
@settings(max_examples=60, deadline=None)
def test_minutes_nobody_heard_only_ever_take_the_finding_away(kept: list[bool], rate: float) -> None:
    def count(minutes: int) -> int:
        figures = PortFigures(
            "p", 60.0 * minutes, {"xmit_data_bytes": rate * 60 * minutes} if minutes else {}
        )
        return len(judged(job(("a0", A), ("b0", B), ports=[figures]), [*FOUR_A, *FOUR_B]))

    assert count(sum(kept)) <= count(30)


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("[job]\nleast_nodes = 1\n", "least_nodes"),
        ('[[sign]]\nkey = "no_counter"\n', "no_counter"),
        ('[[sign]]\nkey = "out_of_sequence"\nper = "rcv_packets"\nstops = true\n', "stops"),
        ("[loss]\ncomunication_ratio = 0.2\n", "comunication_ratio"),
    ],
)
def test_a_wrong_rule_is_told(text: str, wrong: str) -> None:
    with pytest.raises(ConfigError, match=wrong):
        parse_rules(f"schema_version = 1\n{text}", "mine.toml")


def test_the_shipped_rules_are_read() -> None:
    assert rules_of({}) == default_rules()
    assert default_rules().communication_ratio == Fraction(1, 5)


def test_of_made_jobs_all_are_told_rightly() -> None:
    figures = score(8, 3)
    assert figures["scattered"] >= 5
    assert (figures["precision"], figures["recall"]) == (1.0, 1.0)
    assert figures["peer_precision"] < 0.9
