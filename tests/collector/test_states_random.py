"""Fleets nobody would design, held against a slow reading of the rules, instant by instant."""

from __future__ import annotations

import random
from fractions import Fraction
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.collector.fleet_world import DAY, LATER, NANO, World, us
from tests.collector.random_fleet import moment, random_world, shuffled

from ullage_collector.ledger import UNMAPPED
from ullage_collector.mapping import Mapper, Rule, Subject
from ullage_collector.prices import Price, PriceBook
from ullage_collector.states import States, default_rules

many = settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.too_slow])
TO = 1 << 62


def rows(world: World, sql: str) -> list[tuple[Any, ...]]:
    return world.db.execute(sql).fetchall()


def lines_of(world: World) -> list[dict[str, Any]]:
    States(world.db).make(DAY.date(), LATER)
    return world.lines()


def capacity_at(world: World, card: int, t: int) -> tuple[str, str, str | None, int] | None:
    """(treatment, model, pool, node) of a card at an instant, or None where nobody owns it."""
    found = rows(
        world,
        f"SELECT i.life, i.model, i.pool, n.node_key FROM inventory i JOIN card c USING (card_id) "
        f"JOIN node n ON n.node_id = i.node_id WHERE card_key = {card} AND epoch_us(valid_from) <= {t} "
        f"AND (valid_to IS NULL OR epoch_us(valid_to) > {t}) AND i.known_to IS NULL "
        "ORDER BY i.valid_from DESC, i.inventory_id DESC LIMIT 1",
    )
    if not found or default_rules().life[found[0][0]] == "not_owned":
        return None
    return default_rules().life[found[0][0]], found[0][1], found[0][2], found[0][3]


def within(table: str, start: str, end: str, t: int) -> str:
    return f"FROM {table} WHERE epoch_us({start}) <= {t} AND ({end} IS NULL OR epoch_us({end}) > {t})"


def expected_at(world: World, card: int, t: int) -> dict[tuple[str, str], Fraction] | None:
    """(department, state) -> share, with used, idle and unknown together as held; None: not owned."""
    own = capacity_at(world, card, t)
    if own is None:
        return None
    treatment, _, _, node = own
    (card_id,) = rows(world, f"SELECT card_id FROM card WHERE card_key = {card}")[0]
    (node_id,) = rows(world, f"SELECT node_id FROM node WHERE node_key = {node}")[0]
    held = rows(
        world,
        f"SELECT workload_key, share_nano {within('allocation', 'valid_from', 'valid_to', t)} AND card_key = {card} ORDER BY 1",
    )
    shares = {key: Fraction(share, NANO) for key, share in held}
    total = sum(shares.values(), Fraction(0))
    if total > 1:
        shares = {key: share / total for key, share in shares.items()}
    known = min(total, Fraction(1))
    loose = rows(
        world,
        f"SELECT workload_key, share_nano {within('allocation', 'valid_from', 'valid_to', t)} AND card_key IS NULL "
        f"AND node_key = {node} ORDER BY 1",
    )
    if loose:
        free_of_node = Fraction(0)
        for (other,) in rows(world, "SELECT card_key FROM card ORDER BY 1"):
            there = capacity_at(world, other, t)
            if there is not None and there[3] == node:
                taken = rows(
                    world,
                    f"SELECT coalesce(sum(share_nano), 0) {within('allocation', 'valid_from', 'valid_to', t)} "
                    f"AND card_key = {other}",
                )
                free_of_node += 1 - min(Fraction(1), Fraction(int(taken[0][0]), NANO))
        asked = sum((Fraction(share, NANO) for _, share in loose), Fraction(0))
        for key, share in loose:
            shares[key] = Fraction(share, NANO) * (1 - known) / max(free_of_node, asked)
    held_share = sum(shares.values(), Fraction(0))
    isolated = rows(
        world, f"SELECT 1 {within('isolation', 'isolated_at', 'released_at', t)} AND subject = '{card_id}'"
    )
    actions = ", ".join(f"'{a}'" for a in default_rules().faulty_actions)
    faulty = rows(
        world,
        f"SELECT 1 {within('incident', 'onset', 'closed_at', t)} AND confirmed AND action IN ({actions}) "
        f"AND subject IN ('{card_id}', '{node_id}')",
    )
    # a share below a billionth of a card holds nothing: it cannot be written down
    holds_work = any(share >= Fraction(1, NANO) for share in shares.values())
    if not holds_work and (isolated or treatment == "isolated"):
        return {("platform", "isolated"): Fraction(1)}
    if faulty or treatment == "faulty":
        return {("platform", "faulty"): Fraction(1)}
    found: dict[tuple[str, str], Fraction] = {}
    for key, share in shares.items():
        department = owner_at(world, key, t)
        found[department, "held"] = found.get((department, "held"), Fraction(0)) + share
    if held_share < 1:
        state = "fragmented" if known else "unallocated_idle"
        found["platform", state] = 1 - held_share
    return found


def owner_at(world: World, workload: int, t: int) -> str:
    rules = [
        Rule(*row)
        for row in rows(
            world,
            "SELECT rule_id, match, priority, department_id, business, scenario, epoch_us(valid_from), epoch_us(valid_to) "
            "FROM mapping_rule",
        )
    ]
    workload_id, namespace = rows(
        world, f"SELECT workload_id, namespace FROM workload WHERE workload_key = {workload}"
    )[0]
    return Mapper(rules).at(Subject(workload_id, "dc1", namespace), t).department


def price_at(world: World, model: str, pool: str | None, t: int) -> int | None:
    book = PriceBook(
        Price(*row)
        for row in rows(
            world,
            "SELECT price_id, model, currency, price_micro, pool, assumed, epoch_us(valid_from), epoch_us(valid_to) FROM price",
        )
    )
    found = book.at(model, pool, t)
    return found.price_micro if found else None


@many
@given(st.integers(0, 10**9))
def test_shares_of_an_owned_card_add_up_to_the_whole_at_every_instant(seed: int) -> None:
    world = random_world(random.Random(seed))
    by_cell: dict[tuple[int, int, int], int] = {}
    for line in lines_of(world):
        assert line["share_nano"] > 0
        assert line["from_us"] < line["to_us"]
        assert line["from_us"] // 3_600_000_000 == (line["to_us"] - 1) // 3_600_000_000
        key = (line["card_key"], line["from_us"], line["to_us"])
        by_cell[key] = by_cell.get(key, 0) + line["share_nano"]
    assert set(by_cell.values()) <= {NANO}
    ends: dict[int, int] = {}
    for card, start, end in sorted(by_cell):
        assert start >= ends.get(card, 0)
        ends[card] = end


@many
@given(st.integers(0, 10**9))
def test_every_instant_is_what_a_slow_reading_of_the_rules_says(seed: int) -> None:
    rng = random.Random(seed)
    world = random_world(rng)
    lines = lines_of(world)
    edges = [line["from_us"] for line in lines] or [us(0)]
    for t in [moment(rng) for _ in range(5)] + [rng.choice(edges) for _ in range(5)]:
        for card in world.cards.values():
            here = [r for r in lines if r["card_key"] == card and r["from_us"] <= t < r["to_us"]]
            expected = expected_at(world, card, t)
            if expected is None:
                assert here == []
                continue
            found: dict[tuple[str, str], Fraction] = {}
            for r in here:
                state = "held" if r["state"] in ("used", "allocated_idle", "unknown") else r["state"]
                key = (r["department_id"], state)
                found[key] = found.get(key, Fraction(0)) + Fraction(r["share_nano"], NANO)
            tiny = Fraction(20, NANO)  # what does not divide
            for key in expected.keys() | found.keys():
                assert abs(found.get(key, Fraction(0)) - expected.get(key, Fraction(0))) <= tiny, (key, t)
            own = capacity_at(world, card, t)
            assert own is not None
            assert {r["price_micro"] for r in here} == {price_at(world, own[1], own[2], t)}


@many
@given(st.integers(0, 10**9))
def test_the_order_of_rows_changes_nothing(seed: int) -> None:
    rng = random.Random(seed)
    world = random_world(rng)
    first = [{k: v for k, v in line.items() if k != "revision"} for line in lines_of(world)]
    shuffled(world, rng)
    result = States(world.db).make(DAY.date(), LATER)
    assert not result.changed
    assert [{k: v for k, v in line.items() if k != "revision"} for line in world.lines()] == first


@many
@given(st.integers(0, 10**9))
def test_losing_telemetry_makes_nothing_used_or_idle_that_was_not(seed: int) -> None:
    """Whole hours of silence may only turn used or idle into unknown; ten minutes apart they may not hide work."""
    rng = random.Random(seed)
    world = random_world(rng)
    known_before = {
        (r["allocation_id"], r["from_us"]): r["state"]
        for r in lines_of(world)
        if r["state"] in ("used", "allocated_idle")
    }
    hour = rng.randint(0, 23)
    world.db.execute(f"DELETE FROM card_minute WHERE hour(minute) = {hour}")
    if not rows(world, "SELECT count(*) FROM card_minute")[0][0]:
        return
    worked = States(world.db).work_out(DAY.date(), LATER).lines.to_pylist()
    gone = (us(hour), us(hour + 1))
    for r in worked:
        if gone[0] <= r["from_us"] and r["to_us"] <= gone[1]:
            assert r["state"] not in ("used", "allocated_idle") or r["allocation_id"] is None
        elif r["state"] == "allocated_idle" and (r["allocation_id"], r["from_us"]) in known_before:
            assert known_before[r["allocation_id"], r["from_us"]] == "allocated_idle"


def test_unmapped_is_never_the_platforms() -> None:
    world = World()
    world.card("G1")
    world.hold("G1", "slurm/dc1/ghost/1", 0, 24)
    assert {r["department_id"] for r in lines_of(world)} == {UNMAPPED}
