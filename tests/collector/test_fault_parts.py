"""Rules that look at a part or at more than the card: the same link, the link's generation, the share of a rack."""

from __future__ import annotations

from typing import Any

import pytest
from tests.collector.fault_world import DAY, HOUR, MIN, RULES, T0, S, sample, xid
from tests.collector.isolation_world import World

from ullage_collector.detect.fault_evaluator import Evaluator
from ullage_collector.detect.fault_rule import Share
from ullage_collector.detect.faults import parse_rules
from ullage_collector.isolate.intent import State
from ullage_collector.isolate.verdict import Mode, Turn
from ullage_contract.errors import ConfigError

# ---- the same link (row 7)


def opened(name: str, *events: Any) -> bool:
    evaluator = Evaluator([RULES[name]])
    return any(c.turn is Turn.OPENED for event in events for c in evaluator.event(event))


@pytest.mark.parametrize(
    ("name", "more"), [("xid_nvlink_repeated", {}), ("xid_nvlink_nonfatal_repeated", {"fatal": 0})]
)
def test_the_same_link_twice_in_a_day_is_a_fault_and_another_link_is_not(
    name: str, more: dict[str, Any]
) -> None:
    code = sorted(RULES[name].codes)[0]
    first = xid(code, at=T0, link=6, **more)
    assert opened(name, first, xid(code, at=T0 + HOUR, link=6, **more))
    assert not opened(name, first, xid(code, at=T0 + HOUR, link=7, **more))
    assert not opened(name, first, xid(code, at=T0 + DAY + S, link=6, **more))
    assert not opened(name, first, xid(code, at=T0 + MIN, link=6, **more))  # one burst


def test_a_line_that_names_no_link_is_no_links_second_error() -> None:
    assert not opened("xid_nvlink_repeated", xid(74, at=T0), xid(74, at=T0 + HOUR))
    assert not opened("xid_nvlink_repeated", xid(74, at=T0, link=3), xid(74, at=T0 + HOUR))
    assert opened("xid_nvlink_many", *(xid(74, at=T0 + n * HOUR) for n in range(3)))
    assert not opened("xid_nvlink_many", *(xid(74, at=T0 + n * HOUR, link=n) for n in range(2)))


def test_two_links_in_one_instant_are_two_and_a_restart_forgets_neither() -> None:
    from ullage_collector.detect.fault_track import from_json

    evaluator = Evaluator([RULES["xid_nvlink_repeated"]])
    for link in (1, 2):
        assert not evaluator.event(xid(74, at=T0, link=link))
    tracks = [
        from_json(t.rule, t.family, t.subject, t.cluster, t.node, t.vendor, t.to_json())
        for t in evaluator.tracks
    ]
    again = Evaluator([RULES["xid_nvlink_repeated"]], tracks)
    assert [c.turn for c in again.event(xid(74, at=T0 + HOUR, link=2))] == [Turn.OPENED]


# ---- PCIe replays by generation and lanes (row 22)


def replays(amount: float, **link: float) -> bool:
    rule = RULES["pcie_replays"]
    seen = sample(rule, at=T0, values=dict(link), growth={"pcie_replays": amount}, seconds=60.0)
    return any(c.turn is Turn.OPENED for c in Evaluator([rule]).sample(seen))


@pytest.mark.parametrize(
    ("generation", "lanes", "limit"),
    [(1, 16, 3), (2, 16, 5), (3, 16, 8), (4, 16, 16), (5, 16, 31), (6, 16, 62), (4, 8, 8), (3, 1, 1)],
)
def test_the_limit_is_the_links_own(generation: int, lanes: int, limit: int) -> None:
    link = {"pcie_generation_max": generation, "pcie_width_max": lanes}
    assert replays(limit + 1, **link)
    assert not replays(limit, **link)


@pytest.mark.parametrize(
    "link",
    [
        {},
        {"pcie_generation_max": 3},
        {"pcie_width_max": 16},
        {"pcie_generation_max": 7, "pcie_width_max": 16},
        {"pcie_generation_max": 0, "pcie_width_max": 16},
    ],
)
def test_a_link_that_does_not_say_what_it_is_has_the_mildest_limit(link: dict[str, float]) -> None:
    assert not replays(62, **link)
    assert replays(63, **link)


def test_an_idle_link_that_lowered_its_speed_is_judged_by_what_it_can_be() -> None:
    """A card that idles at generation 1 counts what it counted under load."""
    assert not replays(20, pcie_generation=1, pcie_width=16, pcie_generation_max=5, pcie_width_max=16)


# ---- the room (row 18)

HOT = "core_over_limit"
SHARE = Share(0.3, 3, frozenset({"node", "rack"}), 600_000_000)


def hot(nodes: int = 4, cards: int = 8, **settings: Any) -> World:
    world = World(nodes, cards, cards_per_window=100, breaker=False, **settings)
    world.shares = {HOT: SHARE}
    world.restart()
    return world


def rack(world: World, name: str, *nodes: str) -> None:
    now = world.naive(world.clock.wall() - 60)
    for node in nodes:
        world.db.execute(
            "INSERT INTO topology (topology_id, family, subject, cluster_id, relation, target, valid_from, known_from, source) "
            "VALUES (?, 'node', ?, 'c', 'rack', ?, ?, ?, 'test')",
            [hash(node), node, name, now, now],
        )
    world.clock.advance(60)


def test_a_third_of_a_nodes_cards_hot_at_once_is_the_rooms_and_only_advised() -> None:
    world = hot()
    for card in ("n0-0", "n0-1", "n0-2"):
        world.consider(card, rule=HOT)
    assert [world.state(f"n0-{i}") for i in range(3)] == [State.ADVISED] * 3
    assert "3 of 8 cards of n0" in str(world.intent("n0-2").held_back)
    assert any("cooling" in text for _, text in world.pages.told)


def test_two_hot_cards_are_the_cards_own() -> None:
    world = hot()
    world.consider("n0-0", rule=HOT)
    world.consider("n0-1", rule=HOT)
    world.step()
    assert [world.state(f"n0-{i}") for i in range(2)] == [State.ISOLATED] * 2


def test_hot_cards_spread_over_a_rack_are_the_rooms_where_the_rack_is_known() -> None:
    spread = ("n0-0", "n0-1", "n1-0")
    known, unknown = hot(2, 4), hot(2, 4)
    rack(known, "r1", "n0", "n1")
    for world in (known, unknown):
        for card in spread:
            world.consider(card, rule=HOT)
        world.step()
    assert {known.state(card) for card in spread} == {State.ADVISED}
    assert "3 of 8 cards of rack r1" in str(known.intent("n1-0").held_back)
    assert {unknown.state(card) for card in spread} == {State.ISOLATED}


def test_what_lies_ten_minutes_apart_and_another_rule_do_not_count_together() -> None:
    world = hot()
    for card in ("n0-0", "n0-1"):
        world.consider(card, rule=HOT)
        world.step()
    world.consider("n0-3", rule="another")
    world.step(601)
    world.consider("n0-2", rule=HOT)
    world.step()
    assert world.state("n0-2") is State.ISOLATED


def test_a_restart_does_not_forget_what_was_hot_a_minute_ago() -> None:
    world = hot()
    for card in ("n0-0", "n0-1"):
        world.consider(card, rule=HOT, mode=Mode.APPROVE)
    world.clock.advance(60)
    world.restart()
    world.consider("n0-2", rule=HOT)
    assert world.state("n0-2") is State.ADVISED


@pytest.mark.parametrize(
    "line",
    [
        'same = "link"',
        'per_lane = { generation = "pcie_generation_max", width = "pcie_width_max", rates = [1] }',
        'share = { ratio = 2, cards = 3, of = ["node"], within = "1min" }',
        'share = { ratio = 0.3, cards = 3, of = ["site"], within = "1min" }',
    ],
)
def test_a_wrong_part_says_where(line: str) -> None:
    text = '[[fault]]\nname = "x"\nkind = "xid"\nseverity = "info"\naction = "observe"\nconfirmed = false\nsource = "s"\n'
    with pytest.raises(ConfigError, match="x"):
        parse_rules(text + line + "\n", "faults.toml")


def test_the_shipped_rules_of_heat_know_the_room() -> None:
    assert RULES[HOT].share == SHARE == RULES["no_margin_left"].share
