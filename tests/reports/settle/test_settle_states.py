"""Used, idle, unknown, out of order, and by whose name: what each instant of a card counts as."""

from __future__ import annotations

from typing import Any

import pytest
from tests.reports.settle.settle_file import at, by_department, hold, inputs, lines, told


def seen(active: bool | None, start: float, end: float, **more: Any) -> dict[str, Any]:
    return {"card": "G1", "active": active, "start": at(start), "end": at(end), **more}


HELD = [hold("rec", card="G1", job="k8s/rec/j1")]


def test_no_telemetry_at_all_is_used_and_a_hole_is_unknown() -> None:
    assert lines(inputs(allocations=HELD)) == {("rec", "used"): "240.00"}
    keys = inputs(allocations=HELD, telemetry=[seen(True, 0, 10), seen(True, 14, 24)])
    assert lines(keys) == {("rec", "used"): "200.00", ("rec", "unknown"): "40.00"}


def test_a_reading_that_says_nothing_of_activity_is_a_hole_where_others_do() -> None:
    keys = inputs(allocations=HELD, telemetry=[seen(None, 0, 12), seen(True, 12, 24)])
    assert lines(keys) == {("rec", "unknown"): "120.00", ("rec", "used"): "120.00"}


def test_power_alone_is_no_telemetry_of_activity() -> None:
    readings = [{"card": "G1", "mean_watts": "90", "start": at(0), "end": at(24)}]
    assert lines(inputs(allocations=HELD, telemetry=readings)) == {("rec", "used"): "240.00"}


def test_idle_counts_back_to_its_first_instant_once_the_window_is_full() -> None:
    # inactive 2:00 to 3:00: full at 3:00 and idle from 2:00; a window one minute longer never fills
    readings = [seen(True, 0, 2), seen(False, 2, 3), seen(True, 3, 24)]
    keys = inputs(allocations=HELD, telemetry=readings, policy={"idle_window_minutes": 60})
    assert lines(keys) == {("rec", "used"): "230.00", ("rec", "allocated_idle"): "10.00"}
    keys = inputs(allocations=HELD, telemetry=readings, policy={"idle_window_minutes": 61})
    assert lines(keys) == {("rec", "used"): "240.00"}


def test_readings_that_touch_are_one_stretch_and_an_active_spell_ends_it() -> None:
    broken = [seen(False, n / 4, (n + 1) / 4) for n in range(96)]
    policy = {"idle_window_minutes": 60}
    assert lines(inputs(allocations=HELD, telemetry=broken, policy=policy)) == {
        ("rec", "allocated_idle"): "240.00"
    }
    # half an hour idle, a quarter active, all day long: never an hour in a row
    waking = [seen(n % 3 == 2, n / 4, (n + 1) / 4) for n in range(96)]
    assert lines(inputs(allocations=HELD, telemetry=waking, policy=policy)) == {("rec", "used"): "240.00"}


def test_a_short_silence_neither_ends_an_idle_stretch_nor_counts() -> None:
    # 30 min, 5 min of silence, 30 min: an hour of inactivity, idle; with 30 min of silence it is two short stretches
    policy = {"idle_window_minutes": 60}
    short = [
        seen(True, 0, 2),
        seen(False, 2, 2.5),
        seen(False, 2.5 + 1 / 12, 3 + 1 / 12),
        seen(True, 3 + 1 / 12, 24),
    ]
    assert lines(inputs(allocations=HELD, telemetry=short, policy=policy)) == {
        ("rec", "used"): "229.17",
        ("rec", "allocated_idle"): "10.00",
        ("rec", "unknown"): "0.83",
    }
    long = [seen(True, 0, 2), seen(False, 2, 2.5), seen(False, 3, 3.5), seen(True, 3.5, 24)]
    assert lines(inputs(allocations=HELD, telemetry=long, policy=policy)) == {
        ("rec", "used"): "235.00",
        ("rec", "unknown"): "5.00",
    }


def test_a_stretch_belongs_to_one_holder() -> None:
    # 40 min idle at the end of a's hold, 40 min at the beginning of b's: neither is an hour
    readings = [seen(True, 0, 11 + 1 / 3), seen(False, 11 + 1 / 3, 12 + 2 / 3), seen(True, 12 + 2 / 3, 24)]
    keys = inputs(
        allocations=[hold("a", 0, 12, card="G1"), hold("b", 12, 24, card="G1")],
        telemetry=readings,
        policy={"idle_window_minutes": 60},
    )
    assert lines(keys) == {("a", "used"): "120.00", ("b", "used"): "120.00"}


def test_a_jobs_own_reading_goes_before_its_cards() -> None:
    keys = inputs(
        allocations=[
            hold("a", card="G1", fraction="0.5", job="ja"),
            hold("b", card="G1", fraction="0.5", job="jb"),
        ],
        telemetry=[
            seen(True, 0, 24),
            {"job": "jb", "sm_active_pct": "1.9", "start": at(0), "end": at(24)},
        ],
    )
    assert lines(keys) == {("a", "used"): "120.00", ("b", "allocated_idle"): "120.00"}


def test_idle_can_be_the_platforms() -> None:
    keys = inputs(
        allocations=HELD,
        telemetry=[seen(True, 0, 2), seen(False, 2, 24)],
        policy={"allocated_idle": "platform_pays_idle"},
    )
    assert lines(keys) == {("rec", "used"): "20.00", ("platform", "allocated_idle"): "220.00"}


def test_a_recommendation_counts_from_the_stop_and_never_for_serving() -> None:
    # idle from 2:00, full at 2:30, stopped at 3:00: 21 h x 10
    policy = {"idle_window_minutes": 30, "warn_minutes": 30}
    readings = [seen(True, 0, 2), seen(False, 2, 24)]
    found = told(inputs(allocations=[{**HELD[0], "kind": "notebook"}], telemetry=readings, policy=policy))
    (advice,) = found["recommendations"]
    assert (advice["kind"], advice["from"], advice["saving"], advice["quantity"]) == (
        "reclaim_idle_notebook",
        "2026-10-05T03:00:00Z",
        "210.00",
        "21",
    )
    serving = [{**HELD[0], "scenario": "inference"}]
    assert told(inputs(allocations=serving, telemetry=readings, policy=policy))["recommendations"] == []


BROKEN = [
    {"card": "G1", "state": "faulty", "start": at(8), "end": at(12), "reason": "Xid 79"},
    {"card": "G1", "state": "isolated", "start": at(10), "end": at(20)},
]


@pytest.mark.parametrize(
    ("policy", "wanted"),
    [
        # held to 9:00; faulty 8-10, isolated 10-20 (it goes before faulty), free 20-24 and nobody 9-...
        ("platform_pays_from_fault_onset", {"nlp": "80", "platform": "160"}),
        ("department_pays", {"nlp": "90", "platform": "150"}),
        ("tenant_pays_until_release", {"nlp": "90", "platform": "150"}),
        ("loss_shared_by_all", {"nlp": "80", "__shared__": "160"}),
    ],
)
def test_who_pays_for_a_broken_card(policy: str, wanted: dict[str, str]) -> None:
    keys = inputs(allocations=[hold("nlp", 0, 9, card="G1")], health=BROKEN, policy={"faulty": policy})
    assert by_department(keys) == wanted


def test_isolated_goes_before_faulty_and_faulty_before_held() -> None:
    keys = inputs(allocations=[hold("nlp", 0, 9, card="G1")], health=BROKEN)
    assert lines(keys) == {
        ("nlp", "used"): "80.00",
        ("platform", "faulty"): "20.00",
        ("platform", "isolated"): "100.00",
        ("platform", "unallocated_idle"): "40.00",
    }


def test_a_shared_loss_is_spread_as_the_free_pool_is() -> None:
    keys = inputs(
        cards=[{"card": name, "model": "H20"} for name in ("G1", "G2", "G3")],
        allocations=[hold("a", card="G2"), hold("b", 0, 12, card="G3")],
        health=[{"card": "G1", "state": "faulty", "start": at(0)}],
        policy={"faulty": "loss_shared_by_all", "unallocated_idle": "proportional"},
    )
    # lost: 240 faulty and 120 free; a held 240, b 120: two thirds and one third of 360
    assert by_department(keys) == {"a": "480", "b": "240"}


def test_a_namespace_is_mapped_by_priority_then_pattern_then_date() -> None:
    rules = [
        {"match": "k8s:*", "department": "everything", "effective_from": "2026-01-01T00:00:00Z"},
        {"match": "k8s:nlp-*", "department": "nlp", "effective_from": "2026-01-01T00:00:00Z"},
        {"match": "k8s:nlp-*", "department": "llm", "effective_from": at(12)},
        {
            "match": "k8s:*",
            "department": "war-room",
            "effective_from": at(18),
            "effective_to": at(20),
            "priority": 5,
        },
        {
            "match": "slurm:nlp-*",
            "department": "hpc",
            "effective_from": "2026-01-01T00:00:00Z",
            "priority": 9,
        },
    ]
    held = {"namespace": "nlp-train", "card": "G1", "source": "k8s", "start": at(0), "end": at(24)}
    keys = inputs(allocations=[held], mapping=rules)
    assert by_department(keys) == {"nlp": "120", "llm": "100", "war-room": "20"}
    assert by_department(inputs(allocations=[{**held, "source": "slurm"}], mapping=rules)) == {"hpc": "240"}
    assert by_department(inputs(allocations=[{**held, "namespace": "x"}], mapping=rules[1:2])) == {
        "__unallocated__": "240"
    }
