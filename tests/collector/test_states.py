"""The seven states of a day: who holds, who pays, what is used. Conventions as the cost scenarios'."""

from __future__ import annotations

from datetime import UTC, date, datetime

import pytest
from tests.collector.fleet_world import LATER, NANO, World, at, card_hours, cost, us
from tests.collector.states_world import TODAY, hours, make, mapped

from ullage_collector.ledger import ATOMS_PER_UNIT
from ullage_collector.states import States
from ullage_contract.errors import LedgerError


def test_a_free_card_is_unallocated_idle_all_day_in_24_hours_of_the_clock() -> None:
    world = World()
    world.card("G1")
    result = make(world)
    lines = world.lines()
    assert len(lines) == 24 == result.rows
    assert {(r["state"], r["department_id"], r["share_nano"], r["reason"]) for r in lines} == {
        ("unallocated_idle", "platform", NANO, "free")
    }
    assert [r["from_us"] for r in lines] == [us(h) for h in range(24)]


def test_half_a_card_pays_half_and_the_other_half_is_fragmented() -> None:
    world = mapped()
    world.card("G1")
    world.hold("G1", "slurm/dc1/nlp/1", 12, 21, NANO // 2)
    world.minutes("G1", 0, 24, 0.9)
    assert hours(world) == {
        ("nlp", "used"): 4.5,
        ("platform", "fragmented"): 4.5,
        ("platform", "unallocated_idle"): 15.0,
    }


def test_a_card_that_fails_under_a_job_is_the_platforms_from_the_onset() -> None:
    world = mapped()
    world.card("G1", "A800")
    world.price("A800", 10_000_000)
    world.hold("G1", "slurm/dc1/nlp/31", 0, 9)
    world.minutes("G1", 0, 9, 0.8)
    incident = world.incident("G1", 8, 9.5)
    isolation = world.isolate("G1", 8.5, 20, incident=incident)
    assert hours(world) == {
        ("nlp", "used"): 8.0,
        ("platform", "faulty"): 1.0,
        ("platform", "isolated"): 11.0,
        ("platform", "unallocated_idle"): 4.0,
    }
    lines = world.lines()
    assert {r["incident_id"] for r in lines if r["state"] == "faulty"} == {incident}
    assert {r["isolation_id"] for r in lines if r["state"] == "isolated"} == {isolation}
    assert cost(lines)["nlp", "used"] == 80 * ATOMS_PER_UNIT
    assert sum(cost(lines).values()) == 240 * ATOMS_PER_UNIT


def test_an_isolation_waits_until_the_holder_is_done() -> None:
    world = mapped()
    world.card("G1")
    world.hold("G1", "slurm/dc1/nlp/1", 0, 10)
    world.minutes("G1", 0, 10, 1.0)
    world.isolate("G1", 4, 12)
    assert hours(world) == {
        ("nlp", "used"): 10.0,
        ("platform", "isolated"): 2.0,
        ("platform", "unallocated_idle"): 12.0,
    }


@pytest.mark.parametrize(
    ("confirmed", "action", "faulty"),
    [(True, "isolate_card", 2.0), (True, "replace", 2.0), (False, "replace", 0.0), (True, "observe", 0.0)],
)
def test_only_a_confirmed_incident_that_asks_for_isolation_is_money(
    confirmed: bool, action: str, faulty: float
) -> None:
    world = World()
    world.card("G1")
    world.incident("G1", 3, 5, confirmed=confirmed, action=action)
    assert hours(world).get(("platform", "faulty"), 0.0) == faulty


def test_a_node_incident_takes_all_its_cards_and_a_card_incident_only_its_own() -> None:
    world = World()
    for name, node in (("G1", "n1"), ("G2", "n1"), ("G3", "n2")):
        world.card(name, node=node)
    world.incident("n1", 0, 1, family="node", action="isolate_node", cause="node_down")
    world.incident("G3", 0, 1, action="isolate_node")
    assert hours(world)["platform", "faulty"] == 3.0


def test_an_open_incident_lasts_to_the_end_of_the_day() -> None:
    world = World()
    world.card("G1")
    world.incident("G1", 20, None)
    assert hours(world)["platform", "faulty"] == 4.0


def test_a_notebook_that_does_nothing_is_idle_from_the_start_of_its_silence_in_work() -> None:
    world = World()
    world.rule("k8s:rec-dev", "rec", scenario="development")
    world.card("G1", "H20")
    world.price("H20", 20_000_000)
    world.hold("G1", "k8s/rec-dev/jupyter-1", 0, 24)
    world.minutes("G1", 0, 2, 0.5)
    world.minutes("G1", 2, 24, 0.0)
    assert hours(world) == {("rec", "used"): 2.0, ("rec", "allocated_idle"): 22.0}
    assert cost(world.lines())["rec", "allocated_idle"] == 440 * ATOMS_PER_UNIT
    assert {r["scenario"] for r in world.lines()} == {"development"}


def test_nine_idle_minutes_are_still_use_and_ten_are_idle_from_the_first() -> None:
    world = mapped()
    world.card("G1")
    world.hold("G1", "slurm/dc1/nlp/1", 0, 2)
    world.minutes("G1", 0, 0.5, 0.5)
    world.minutes("G1", 0.5, 0.65, 0.0)  # nine minutes
    world.minutes("G1", 0.65, 1, 0.5)
    world.minutes("G1", 1, 1 + 10 / 60, 0.0)  # ten
    world.minutes("G1", 1 + 10 / 60, 2, 0.5)
    make(world)
    idle = [r for r in world.lines() if r["state"] == "allocated_idle"]
    assert [(r["from_us"], r["to_us"]) for r in idle] == [(us(1), us(1 + 10 / 60))]


def test_a_silent_hour_is_not_idle() -> None:
    world = mapped()
    world.card("G1")
    world.hold("G1", "slurm/dc1/nlp/1", 0, 24)
    world.minutes("G1", 0, 6, 0.0)
    world.minutes("G1", 7, 24, 0.7)
    assert hours(world) == {("nlp", "allocated_idle"): 6.0, ("nlp", "unknown"): 1.0, ("nlp", "used"): 17.0}


def test_no_telemetry_at_all_is_unknown_and_stays_with_the_holder() -> None:
    world = World(minutes=False)
    world.rule("slurm:nlp", "nlp")
    world.card("G1")
    world.hold("G1", "slurm/dc1/nlp/1", 0, 24)
    assert hours(world) == {("nlp", "unknown"): 24.0}


def test_a_short_silence_neither_ends_an_idle_stretch_nor_counts_in_it() -> None:
    world = mapped()
    for name in ("G1", "G2", "G3"):
        world.card(name)
        world.hold(name, f"slurm/dc1/nlp/{name}", 0, 1)
    minute = 1 / 60
    world.minutes("G1", 0, 6 * minute, 0.0)  # 6 idle, 2 silent, 6 idle: twelve known minutes
    world.minutes("G1", 8 * minute, 14 * minute, 0.0)
    world.minutes("G1", 14 * minute, 1, 0.9)
    world.minutes("G2", 0, 4 * minute, 0.0)  # 4 idle, 4 silent, 4 idle: eight, too few
    world.minutes("G2", 8 * minute, 12 * minute, 0.0)
    world.minutes("G2", 12 * minute, 1, 0.9)
    world.minutes("G3", 0, 6 * minute, 0.0)  # 6 idle, 30 silent, 6 idle: a long silence could hide work
    world.minutes("G3", 36 * minute, 42 * minute, 0.0)
    world.minutes("G3", 42 * minute, 1, 0.9)
    make(world)
    by_card = {
        name: card_hours(r for r in world.lines() if r["card_key"] == key)
        for name, key in world.cards.items()
    }
    assert by_card["G1"]["nlp", "allocated_idle"] == pytest.approx(12 / 60)
    assert by_card["G1"]["nlp", "unknown"] == pytest.approx(2 / 60)
    assert ("nlp", "allocated_idle") not in by_card["G2"]
    assert by_card["G2"]["nlp", "unknown"] == pytest.approx(4 / 60)
    assert ("nlp", "allocated_idle") not in by_card["G3"]


def test_the_last_holders_idle_minutes_are_not_charged_to_the_next() -> None:
    world = mapped()
    world.card("G1")
    minute = 1 / 60
    world.hold("G1", "slurm/dc1/nlp/1", 0, 1)
    world.hold("G1", "slurm/dc1/rec/2", 1, 2)
    world.minutes("G1", 0, 1 - 6 * minute, 0.9)
    world.minutes("G1", 1 - 6 * minute, 1 + 6 * minute, 0.0)
    world.minutes("G1", 1 + 6 * minute, 2, 0.9)
    assert hours(world) == {
        ("nlp", "used"): 1.0,
        ("rec", "used"): 1.0,
        ("platform", "unallocated_idle"): 22.0,
    }


def test_idle_over_midnight_is_idle_on_both_sides() -> None:
    world = mapped()
    world.card("G1")
    world.hold("G1", "slurm/dc1/nlp/1", -5, 5)
    minute = 1 / 60
    world.minutes("G1", -5, -5 * minute, 0.9)
    world.minutes("G1", -5 * minute, 5 * minute, 0.0)  # five minutes on each side of midnight
    world.minutes("G1", 5 * minute, 5, 0.9)
    make(world, date(2026, 10, 6))
    make(world, date(2026, 10, 7))
    idle = [(r["from_us"], r["to_us"]) for r in world.lines() if r["state"] == "allocated_idle"]
    assert idle == [(us(-5 * minute), us(0)), (us(0), us(5 * minute))]


def test_the_greatest_value_counts_not_the_mean() -> None:
    world = mapped()
    world.card("G1")
    world.hold("G1", "slurm/dc1/nlp/1", 0, 1)
    world.minutes("G1", 0, 1, 0.0, sm_active_ratio_max=0.03)
    assert hours(world)["nlp", "used"] == 1.0


def test_loading_data_over_the_bus_is_use() -> None:
    world = mapped()
    world.card("G1")
    world.hold("G1", "slurm/dc1/nlp/1", 0, 1)
    world.minutes("G1", 0, 1, 0.0, pcie_rx_bytes_increase=60 * 60e6)
    assert hours(world)["nlp", "used"] == 1.0


def test_a_minute_that_is_mostly_silent_cannot_prove_idleness_but_can_prove_use() -> None:
    world = mapped()
    world.card("G1")
    world.hold("G1", "slurm/dc1/nlp/1", 0, 2)
    world.minutes("G1", 0, 1, 0.0, covered=10)
    world.minutes("G1", 1, 2, 0.5, covered=10)
    assert hours(world) == {
        ("nlp", "unknown"): 1.0,
        ("nlp", "used"): 1.0,
        ("platform", "unallocated_idle"): 22.0,
    }


def test_values_that_are_not_there_are_unknown_never_zero() -> None:
    world = mapped()
    world.card("G1")
    world.hold("G1", "slurm/dc1/nlp/1", 0, 1)
    world.minutes("G1", 0, 1, None)
    assert hours(world)["nlp", "unknown"] == 1.0


def test_power_above_what_free_cards_draw_is_use_and_at_it_is_idle() -> None:
    world = mapped()
    for name in ("G1", "G2", "G3"):
        world.card(name)
    world.minutes("G3", 0, 24, None, power_watts=60.0, power_watts_max=62.0)  # nobody holds it: 60 W is idle
    for name, watts in (("G1", 300.0), ("G2", 63.0)):
        world.hold(name, f"slurm/dc1/nlp/{name}", 0, 24)
        world.minutes(name, 0, 24, None, power_watts=watts, power_watts_max=watts, power_limit_watts=700.0)
    assert hours(world) == {
        ("nlp", "used"): 24.0,
        ("nlp", "allocated_idle"): 24.0,
        ("platform", "unallocated_idle"): 24.0,
    }


def test_over_subscribed_shares_are_divided_by_their_sum() -> None:
    world = mapped()
    world.card("G1")
    world.minutes("G1", 0, 24, 0.9)
    world.hold("G1", "slurm/dc1/nlp/1", 0, 24)
    world.hold("G1", "slurm/dc1/rec/2", 0, 24)
    world.hold("G1", "slurm/dc1/rec/3", 0, 24)
    make(world)
    shares = [r["share_nano"] for r in world.lines() if r["from_us"] == us(0)]
    assert shares == [333_333_333, 333_333_333, 333_333_334]


def test_allocations_without_a_card_spread_over_what_is_free_of_the_node() -> None:
    world = mapped()
    for n in range(4):
        world.card(f"G{n}")
    world.minutes("G0", 0, 24, 0.9)
    world.hold("G0", "slurm/dc1/rec/1", 0, 24)
    world.hold(None, "slurm/dc1/nlp/2", 0, 24, 2 * NANO)  # two of the node's cards, nobody knows which
    result = hours(world)
    assert result["rec", "used"] == 24.0  # what is known to be held is not touched
    assert result["nlp", "unknown"] == pytest.approx(48.0, abs=1e-6)
    assert result["platform", "unallocated_idle"] == pytest.approx(24.0, abs=1e-6)
    assert ("platform", "fragmented") not in result


def test_unknown_cards_that_ask_for_more_than_is_free_get_exactly_what_is_free() -> None:
    world = mapped()
    for n in range(3):
        world.card(f"G{n}")
    world.hold("G0", "slurm/dc1/rec/1", 0, 24)
    world.hold(None, "slurm/dc1/nlp/2", 0, 24, 2 * NANO)
    world.hold(None, "slurm/dc1/nlp/3", 0, 24, 5 * NANO)
    assert hours(world) == {("rec", "unknown"): 24.0, ("nlp", "unknown"): 48.0}


def test_a_card_seen_and_not_listed_counts_from_when_it_was_seen_and_is_a_finding() -> None:
    world = World()
    world.card("G1", own=False, first_seen=at(6))
    assert hours(world) == {("platform", "unallocated_idle"): 18.0}
    assert world.db.execute("SELECT kind, subject, until FROM finding").fetchall() == [
        ("unlisted_card", "G1", None)
    ]
    world.own("G1", start=at(0))
    make(world)
    assert card_hours(world.lines()) == {("platform", "unallocated_idle"): 24.0}
    assert world.db.execute("SELECT count(*) FROM finding WHERE until IS NULL").fetchall() == [(0,)]


def test_a_card_owned_and_never_seen_is_capacity() -> None:
    world = World()
    world.own("G1", node="n7")
    assert hours(world) == {("platform", "unallocated_idle"): 24.0}


@pytest.mark.parametrize(
    ("life", "expected"),
    [
        ("ordered", {}),
        ("retired", {}),
        ("lent", {}),
        ("stock", {("platform", "unallocated_idle"): 24.0}),
        ("commissioning", {("platform", "isolated"): 24.0}),
        ("maintenance", {("platform", "isolated"): 24.0}),
        ("rma", {("platform", "isolated"): 24.0}),
    ],
)
def test_a_cards_life_decides_whether_it_is_capacity(
    life: str, expected: dict[tuple[str, str], float]
) -> None:
    world = World()
    world.card("G1", life=life)
    assert hours(world) == expected


def test_retiring_a_card_needs_a_row_and_no_edit() -> None:
    world = World()
    world.card("G1")
    world.own("G1", life="retired", start=at(10))
    assert hours(world) == {("platform", "unallocated_idle"): 10.0}


def test_a_life_word_nobody_knows_stops_the_day_instead_of_losing_capacity() -> None:
    world = World()
    world.card("G1", life="on_loan")
    with pytest.raises(LedgerError, match="on_loan"):
        make(world)


def test_prices_and_mappings_cut_where_they_change() -> None:
    world = World()
    world.card("G1")
    world.hold("G1", "slurm/dc1/nlp/1", 0, 24)
    world.price("H*", 10_000_000, end=at(6.5))
    world.price("H800", 12_000_000, start=at(6.5))
    world.rule("slurm:nlp", "old", end=at(18.25))
    world.rule("slurm:nlp", "new", start=at(18.25))
    make(world)
    amounts = cost(world.lines())
    assert amounts["old", "unknown"] == 206 * ATOMS_PER_UNIT  # 6.5 h at 10, 11.75 h at 12
    assert amounts["new", "unknown"] == 69 * ATOMS_PER_UNIT  # 5.75 h at 12
    assert len(world.lines()) == 24 + 2


def test_a_missing_price_is_an_unpriced_row_and_never_a_default() -> None:
    world = World()
    world.card("G1")
    world.card("G2", "A100")
    world.price("A100", 5_000_000)
    result = make(world)
    lines = world.lines()
    assert {r["price_micro"] for r in lines if r["card_key"] == world.cards["G1"]} == {None}
    assert result.worked.unpriced == 24 * 3_600_000_000 * NANO


def test_an_unmapped_workload_is_shown_as_unmapped() -> None:
    world = World()
    world.card("G1")
    world.hold("G1", "slurm/dc1/ghost/1", 0, 24)
    assert hours(world) == {("__unallocated__", "unknown"): 24.0}


def test_a_wrong_mapping_rule_is_left_out_and_told() -> None:
    world = World()
    world.card("G1")
    world.hold("G1", "slurm/dc1/nlp/1", 0, 24)
    world.rule("account=nlp", "wrong", priority=9)
    world.rule("slurm:*", "right")
    result = make(world)
    assert card_hours(world.lines()) == {("right", "unknown"): 24.0}
    assert len(result.worked.refused) == 1
    assert "account=nlp" in result.worked.refused[0]


def test_late_data_make_a_new_revision_and_no_data_none() -> None:
    world = mapped()
    world.card("G1")
    world.hold("G1", "slurm/dc1/nlp/1", 0, 24)
    assert (make(world).revision, make(world).revision) == (1, 1)
    world.minutes("G1", 0, 24, 0.9)
    late = make(world)
    assert (late.revision, late.changed) == (2, True)
    assert {r["revision"] for r in world.lines()} == {2}
    assert card_hours(world.lines()) == {("nlp", "used"): 24.0}


def test_a_day_can_be_worked_out_as_it_was_believed_then() -> None:
    world = World()
    world.card("G1")
    world.price("H800", 10_000_000, known=at(-100))
    world.db.execute("UPDATE price SET known_to = ?", [at(48)])
    world.price("H800", 11_000_000, known=at(48))
    states = States(world.db)
    states.make(TODAY, LATER, known_at=datetime(2026, 10, 8, 12, tzinfo=UTC))
    assert {r["price_micro"] for r in world.lines()} == {10_000_000}
    assert states.make(TODAY, LATER).revision == 2
    assert {r["price_micro"] for r in world.lines()} == {11_000_000}


def test_an_allocation_of_a_card_nobody_owned_costs_nothing_and_is_told() -> None:
    world = World()
    world.card("G1", start=at(12))
    world.hold("G1", "slurm/dc1/nlp/1", 0, 6)
    result = make(world)
    assert result.worked.orphans == 1
    assert sum(card_hours(world.lines()).values()) == 12.0


def test_a_day_is_not_made_unknown_because_its_minutes_were_dropped() -> None:
    world = mapped()
    world.card("G1")
    world.hold("G1", "slurm/dc1/nlp/1", 0, 24)
    world.minutes("G1", 0, 24, 0.9)
    make(world)
    world.db.execute("DELETE FROM card_minute")
    with pytest.raises(LedgerError, match="no longer holds"):
        make(world)
    assert card_hours(world.lines()) == {("nlp", "used"): 24.0}


def test_a_slice_with_telemetry_of_its_own_is_judged_by_it() -> None:
    world = mapped()
    world.card("G1")
    world.minutes("G1", 0, 24, 0.5)
    world.db.execute(
        "CREATE TABLE slice_minute AS SELECT minute, 7 AS slice_key, covered_seconds, 0.0 AS sm_active_ratio_max FROM card_minute"
    )
    world.hold("G1", "slurm/dc1/nlp/1", 0, 24, NANO // 2, slice_key=7)
    world.hold("G1", "slurm/dc1/rec/2", 0, 24, NANO // 2, slice_key=8)
    assert hours(world) == {("nlp", "allocated_idle"): 12.0, ("rec", "used"): 12.0}


@pytest.mark.parametrize("told", ["profile", "fact", "share alone"])
def test_a_mig_card_without_figures_of_its_slices_proves_work_and_never_idleness(told: str) -> None:
    """NVML has no utilisation of a card in MIG mode, exporters write 0: read as idle it bills work as waste."""
    world = mapped()
    world.card("G1")
    world.minutes("G1", 0, 12, 0.5)
    world.minutes("G1", 12, 24, 0.0)
    world.db.execute(
        "INSERT INTO slice (slice_key, slice_id, card_key, profile) VALUES (7, 'G1/1', ?, ?)",
        [world.cards["G1"], "1g.10gb" if told == "profile" else None],
    )
    if told == "fact":
        world.db.execute('UPDATE card SET facts = \'{"partition_mode": "mig"}\'')
    world.hold("G1", "slurm/dc1/nlp/1", 0, 24, slice_key=7)
    quiet = "allocated_idle" if told == "share alone" else "unknown"
    assert hours(world) == {("nlp", "used"): 12.0, ("nlp", quiet): 12.0}
