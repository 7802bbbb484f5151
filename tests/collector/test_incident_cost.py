"""What incidents cost, against the lines the states make: parts add up to the ledger, and nothing is said twice."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from tests.collector.fleet_world import DAY, HOUR, LATER, NANO, World, us

from ullage_collector.incident_cost import (
    Costs,
    IncidentCost,
    Run,
    Span,
    costs,
    how_ended,
    kept_until,
    spans_of,
)
from ullage_collector.ledger import ATOMS_PER_UNIT
from ullage_collector.states import States
from ullage_contract.errors import BadInput

CARD_HOUR = NANO * HOUR


def reckon(world: World, *, only: int | None = None, to: float = 24) -> Costs:
    States(world.db).make(DAY.date(), LATER)
    return costs(world.db, us(0), us(to), only=only)


def said(world: World, workload: str, state: str, **labels: str) -> None:
    """How the scheduler says the workload's runs ended."""
    key = world.workloads[workload]
    world.db.execute(
        "UPDATE allocation SET attributes = ? WHERE workload_key = ?", [json.dumps({"state": state}), key]
    )
    if labels:
        world.db.execute(
            "UPDATE workload SET labels = ? WHERE workload_key = ?",
            [json.dumps({name.replace("_", "-"): value for name, value in labels.items()}), key],
        )


def one(found: Costs) -> IncidentCost:
    (item,) = found.incidents
    return item


def broken_job() -> tuple[World, int]:
    """Two cards of one job; at 8:00 one fails, at 8:05 the job is gone; the card is away until 20:00."""
    world = World()
    world.rule("slurm:nlp", "nlp")
    for name in ("G1", "G2"):
        world.card(name, "A800")
        world.hold(name, "slurm/dc1/nlp/31", 0, 8 + 1 / 12)
        world.minutes(name, 0, 8, 0.9)
    world.minutes("G2", 8, 8 + 1 / 12, 0.9)
    world.price("A800", 10_000_000)
    incident = world.incident("G1", 8, 9.5)
    world.isolate("G1", 8 + 1 / 12, 20, incident=incident)
    return world, incident


def test_a_fault_costs_its_card_the_work_of_the_job_and_what_idled() -> None:
    world, incident = broken_job()
    said(world, "slurm/dc1/nlp/31", "node_fail")
    cost = one(reckon(world))
    assert cost.incident_id == incident
    # from the onset until the job let go: faulty; then isolated
    assert cost.faulty.quantity == CARD_HOUR // 12
    assert cost.isolated.quantity == CARD_HOUR * 12 - CARD_HOUR // 12
    assert cost.lost.quantity == 12 * CARD_HOUR
    assert cost.lost.atoms == {"CNY": 120 * ATOMS_PER_UNIT}
    # both cards' work since midnight; the other card worked on for five minutes
    assert cost.wasted.quantity == 16 * CARD_HOUR + CARD_HOUR // 12
    assert cost.idle.quantity == 0
    assert cost.maybe_wasted.quantity == 0
    assert cost.to_json()["lost"]["cost"] == {"CNY": "120.00"}


def test_work_since_the_last_checkpoint_alone_is_wasted_where_the_workload_says_how_often() -> None:
    world, _ = broken_job()
    said(world, "slurm/dc1/nlp/31", "node_fail", ullage_checkpoint_seconds="7200")
    cost = one(reckon(world))
    assert cost.wasted.quantity == CARD_HOUR // 12  # it had kept everything until 8:00


@pytest.mark.parametrize(
    ("state", "wasted", "maybe"),
    [("completed", 0, 0), ("cancelled", 0, 0), ("failed", 16, 0), ("weird", 0, 16)],
)
def test_only_an_end_the_scheduler_calls_a_failure_wastes_work(state: str, wasted: int, maybe: int) -> None:
    world, _ = broken_job()
    said(world, "slurm/dc1/nlp/31", state)
    cost = one(reckon(world))
    assert cost.wasted.quantity // CARD_HOUR == wasted
    assert cost.maybe_wasted.quantity // CARD_HOUR == maybe


def test_a_job_that_lives_on_wastes_nothing_and_what_it_idles_is_told() -> None:
    world = World()
    for name in ("G1", "G2"):
        world.card(name)
        world.hold(name, "slurm/dc1/nlp/31", 0, 12)
        world.minutes(name, 0, 6, 0.9)
        world.minutes(name, 6, 12, 0.0)
    world.incident("G1", 6, 10)
    cost = one(reckon(world))
    assert cost.faulty.quantity == 4 * CARD_HOUR
    assert cost.idle.quantity == 4 * CARD_HOUR  # of G2, while the incident lasted
    assert cost.wasted.quantity == cost.maybe_wasted.quantity == 0
    assert cost.idle.unpriced == cost.idle.quantity  # nobody gave a price


@pytest.mark.parametrize("action", ["isolate_card", "observe"])
def test_what_is_not_confirmed_moves_no_money_and_its_isolation_is_visible(action: str) -> None:
    world = World()
    world.card("G1")
    world.hold("G1", "slurm/dc1/nlp/31", 0, 8)
    world.minutes("G1", 0, 8, 0.9)
    incident = world.incident("G1", 8, 9.5, confirmed=False, action=action)
    world.isolate("G1", 8, 20, incident=incident)
    said(world, "slurm/dc1/nlp/31", "failed")
    found = reckon(world)
    assert found.incidents == ()
    assert found.unconfirmed["isolated"].quantity == 12 * CARD_HOUR
    asked = one(reckon(world, only=incident))
    assert not asked.confirmed
    assert asked.lost.quantity == asked.wasted.quantity == asked.idle.quantity == 0


def test_isolation_without_an_incident_stands_beside_the_incidents() -> None:
    world = World()
    world.card("G1")
    world.isolate("G1", 2, 5, reason="maintenance: new firmware")
    found = reckon(world)
    assert found.without["isolated"].quantity == 3 * CARD_HOUR
    assert found.to_json()["without_incident"]["isolated"]["card_hours"] == "3.000000000000"


def test_two_incidents_of_one_job_count_its_work_once_for_the_earlier() -> None:
    world = World()
    for name in ("G1", "G2"):
        world.card(name)
        world.hold(name, "slurm/dc1/nlp/31", 0, 8)
        world.minutes(name, 0, 8, 0.9)
    first = world.incident("G1", 8, 9)
    world.incident("G2", 8.05, 9)
    said(world, "slurm/dc1/nlp/31", "failed")
    found = {item.incident_id: item.wasted.quantity for item in reckon(world).incidents}
    assert found.pop(first) == 16 * CARD_HOUR
    assert set(found.values()) == {0}
    assert one(reckon(world, only=first)).wasted.quantity == 16 * CARD_HOUR


def test_a_nodes_incident_takes_all_its_cards() -> None:
    world = World()
    for name, node in (("G1", "n1"), ("G2", "n1"), ("G3", "n2")):
        world.card(name, node=node)
    world.incident("n1", 0, 1, family="node", action="isolate_node")
    assert one(reckon(world)).faulty.quantity == 2 * CARD_HOUR


def test_days_that_were_not_worked_out_are_said() -> None:
    world = World()
    world.card("G1")
    found = reckon(world, to=30)
    assert [day.isoformat() for day in found.missing] == ["2026-10-08"]
    with pytest.raises(BadInput, match="no incident 5"):
        costs(world.db, us(0), us(1), only=5)
    with pytest.raises(BadInput, match="more than nothing"):
        costs(world.db, us(1), us(1))


# ---------------------------------------------------------------- laws
hours = st.integers(0, 24 * 4).map(lambda quarter: quarter / 4)
stretches = st.tuples(hours, hours).filter(lambda pair: pair[0] != pair[1]).map(sorted)


# Shrinking a fleet takes minutes: what fails is shown as it came.
@settings(
    max_examples=20,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.reuse, Phase.generate],
)
@given(
    held=st.lists(
        st.tuples(st.integers(0, 3), stretches, st.sampled_from(["failed", "completed", "odd"])), max_size=6
    ),
    broken=st.lists(
        st.tuples(st.sampled_from(["G0", "G1", "G2", "G3", "n1"]), stretches, st.booleans(), st.booleans()),
        max_size=6,
    ),
    kept=st.lists(st.tuples(st.integers(0, 3), stretches, st.integers(-1, 5)), max_size=4),
    cut=stretches,
)
def test_over_all_incidents_lost_adds_up_to_the_ledgers_faulty_and_isolated(
    held: list[Any], broken: list[Any], kept: list[Any], cut: list[float]
) -> None:
    world = World()
    for n in range(4):
        world.card(f"G{n}", "A800", node="n1" if n < 2 else "n2")
        world.minutes(f"G{n}", 0, 24, 0.9 if n % 2 else 0.0)
    world.price("A800", 7_777_777)
    for number, (card, (start, end), state) in enumerate(held):
        name = f"slurm/dc1/nlp/{number}"
        world.hold(f"G{card}", name, start, end)
        said(world, name, state)
    incidents = [
        world.incident(
            subject, start, None if still else end, family="node" if subject == "n1" else "card",
            confirmed=confirmed, action="isolate_node" if subject == "n1" else "isolate_card",
        )
        for subject, (start, end), confirmed, still in broken
    ]  # fmt: skip
    for card, (start, end), which in kept:
        world.isolate(
            f"G{card}", start, end, incident=incidents[which] if 0 <= which < len(incidents) else None
        )
    States(world.db).make(DAY.date(), LATER)
    found = costs(world.db, us(cut[0]), us(cut[1]))
    for state in ("faulty", "isolated"):
        lines = [line for line in world.lines() if line["state"] == state]

        def within(line: dict[str, Any]) -> int:
            return max(0, min(line["to_us"], us(cut[1])) - max(line["from_us"], us(cut[0])))

        quantity = sum(line["share_nano"] * within(line) for line in lines)
        atoms = sum(line["share_nano"] * within(line) * line["price_micro"] for line in lines)
        parts = [getattr(item, state) for item in found.incidents]
        parts += [found.without[state], found.unconfirmed[state]]
        assert sum(part.quantity for part in parts) == quantity
        assert sum(part.atoms.get("CNY", 0) for part in parts) == atoms
    used = sum(
        line["share_nano"] * (line["to_us"] - line["from_us"])
        for line in world.lines()
        if line["state"] == "used"
    )
    assert sum(item.wasted.quantity + item.maybe_wasted.quantity for item in found.incidents) <= used
    assert all(item.confirmed for item in found.incidents)


moments = st.integers(0, 40)


@st.composite
def runs(draw: st.DrawFn) -> Run:
    begun = draw(moments)
    onset = draw(moments)
    return Run(
        incident_id=draw(st.integers(1, 3)),
        onset_us=onset,
        closed_us=draw(st.none() | st.integers(onset, 60)),
        workload_key=draw(st.integers(1, 2)),
        begun_us=begun,
        ended_us=begun + draw(st.integers(1, 30)),
        ended=draw(st.booleans()),
        said=draw(st.sampled_from(["failed", "completed", None])),
        checkpoint_us=draw(st.none() | st.integers(1, 9)),
    )


@given(st.lists(runs(), max_size=8))
def test_no_instant_of_a_workload_counts_twice(given_runs: list[Run]) -> None:
    spans = spans_of(given_runs)
    assert all(span.from_us < span.to_us for span in spans)
    for one_span in spans:
        for other in spans:
            if one_span is other or one_span.workload_key != other.workload_key:
                continue
            if (one_span.kind == "idle") != (other.kind == "idle"):
                continue
            assert one_span.to_us <= other.from_us or other.to_us <= one_span.from_us
    wanted = {
        (run.workload_key, instant)
        for run in given_runs
        if how_ended(run) == "wasted"
        for instant in range(kept_until(run), run.ended_us)
    }
    got = {
        (span.workload_key, instant)
        for span in spans
        if span.kind == "wasted"
        for instant in range(span.from_us, span.to_us)
    }
    assert got == wanted
    assert spans == spans_of(reversed(given_runs)) or len({r.incident_id for r in given_runs}) < len(
        given_runs
    )


def test_a_run_ends_by_the_fault_only_near_its_onset() -> None:
    def ended(at: int) -> str | None:
        return how_ended(Run(1, 1_000_000_000, None, 1, 0, at, True, "failed"))

    assert ended(1_000_000_000 - 60_000_001) is None
    assert ended(1_000_000_000 - 60_000_000) == ended(1_600_000_000) == "wasted"
    assert ended(1_600_000_001) is None
    assert spans_of([Run(1, 5, None, 1, 0, 9, False)]) == [Span("idle", 1, 5, 9, 1)]
