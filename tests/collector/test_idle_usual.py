"""Quiet that always ends is usual and only noted; quiet that was never so is new and told early; also after a restart."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from tests.collector.fleet_world import DAY, LATER, us
from tests.collector.idle_world import TRAINING, Watched

from ullage_collector.detect.findings import Found
from ullage_collector.detect.idle_rules import default_rules
from ullage_collector.detect.idle_settings import default_settings
from ullage_collector.detect.tide import Tide
from ullage_collector.detect.usual import DAY as DAY_SECONDS
from ullage_collector.detect.usual import HOUR, History, Hour, Spell, judge
from ullage_collector.states import States

RULES = default_rules().usual
NIGHT = range(8)


def hour(day: int, of_day: int, *, used: bool, idle: bool = True) -> Hour:
    at = day * DAY_SECONDS + of_day * HOUR
    return Hour(at, at, at + HOUR, False) if used else Hour(at, None, None, idle)


def nights(days: range, quiet: Any = NIGHT, **more: Any) -> History:
    """Work by day that is quiet at night, on so many days; the first is day 0."""
    return History(hour(d, h, used=h not in quiet, **more) for d in days for h in range(24))


def at(day: int, of_day: float) -> float:
    return day * DAY_SECONDS + of_day * HOUR


# ------------------------------------------------------------------------------- the verdict
def test_a_night_like_the_nights_before_is_usual_until_an_hour_after_they_ended() -> None:
    past = nights(range(5))
    for now in (1.0, 4.0, 7.9, 8.9):
        usual = judge(past, at(5, 0), at(5, now), RULES).usual
        assert usual is not None
        assert (usual.days, usual.of, usual.ends_by) == (5, 5, at(5, 8))
    assert judge(past, at(5, 0), at(5, 9.1), RULES).usual is None


def test_quiet_by_day_of_work_that_is_quiet_at_night_is_new() -> None:
    past = nights(range(5))
    verdict = judge(past, at(5, 12), at(5, 13), RULES)
    assert (verdict.usual, verdict.new) == (None, True)


def test_a_night_that_goes_on_from_the_day_before_is_no_usual_night() -> None:
    past = nights(range(5))
    assert judge(past, at(4, 12), at(5, 3), RULES).usual is None, "as long as no night was"


def test_two_nights_are_chance_and_nobodys_past_says_nothing() -> None:
    for past in (nights(range(3, 5)), History(())):
        verdict = judge(past, at(5, 0), at(5, 3), RULES)
        assert (verdict.usual, verdict.new) == (None, False)


def test_quiet_that_nobody_ever_came_back_from_is_not_usual() -> None:
    dead = History(hour(d, h, used=False) for d in range(5) for h in range(24))
    assert judge(dead, at(0, 0), at(5, 3), RULES).usual is None
    blips = History(
        Hour(at(d, h), at(d, h), at(d, h) + 60, True) if h == 12 else hour(d, h, used=False)
        for d in range(5)
        for h in range(24)
    )
    assert judge(blips, at(4, 12.1), at(5, 3), RULES).usual is None, (
        "a minute of work a day is no coming back"
    )


def test_days_nobody_knows_are_no_days() -> None:
    holes = [hour(d, h, used=h not in NIGHT) for d in (0, 2, 4) for h in range(24)]
    usual = judge(History(holes), at(5, 0), at(5, 3), RULES).usual
    assert usual is not None
    assert (usual.days, usual.of) == (3, 3)
    silent = nights(range(5), idle=False)
    assert judge(silent, at(5, 0), at(5, 3), RULES).usual is None


def test_one_odd_night_in_five_leaves_it_usual_two_do_not() -> None:
    for odd, expected in ((1, True), (2, False)):
        past = History(hour(d, h, used=h not in NIGHT or d < odd) for d in range(5) for h in range(24))
        assert (judge(past, at(5, 0), at(5, 3), RULES).usual is not None) is expected


def test_weekends_are_held_against_weekends() -> None:
    past = History(hour(d, h, used=d % 7 not in (5, 6)) for d in range(21) for h in range(24))
    saturday = judge(past, at(26, 0), at(26, 15), RULES).usual
    assert saturday is not None
    assert (saturday.by, saturday.days) == ("weekday", 2)
    assert judge(past, at(21, 0), at(21, 3), RULES).usual is None, "a Monday"


def test_spells_are_cut_out_of_hours() -> None:
    made = History(
        [
            Hour(0, 0, 1200, True),
            Hour(HOUR, None, None, True),
            Hour(2 * HOUR, 2 * HOUR + 1800, 3 * HOUR, True),
            Hour(3 * HOUR, None, None, True),
            Hour(9 * HOUR, None, None, True),
            Hour(10 * HOUR, None, None, False),
        ]
    )
    assert made.spells == [
        Spell(1200, 2 * HOUR + 1800, worked=True),
        Spell(3 * HOUR, 4 * HOUR, worked=False),
        Spell(9 * HOUR, 10 * HOUR, worked=False),
    ]
    assert made.spell(2000) == made.spells[0]
    assert made.spell(3 * HOUR - 60) is None
    assert not made.known(5 * HOUR)


# ------------------------------------------------------------------------------- on the store
def days(
    watched: Watched, workloads: dict[str, str], quiet: tuple[float, float] = (0.0, 8.0), count: int = 4
) -> None:
    """Cards by the workload that holds them: at work on the days before but for ``quiet`` hours, the bill's states made."""
    for card, workload in workloads.items():
        watched.world.card(card)
        watched.world.hold(card, workload, -24 * count, None)
        for day in range(-count, 0):
            start = 24.0 * day
            for begin, end, busy in ((0.0, quiet[0], 0.9), (*quiet, 0.0), (quiet[1], 24.0, 0.9)):
                watched.world.minutes(card, start + begin, start + end, busy)
    for day in range(-count, 0):
        States(watched.world.db).make((DAY + timedelta(days=day)).date(), LATER)


def only(found: list[Found]) -> Found:
    (one,) = found
    return one


def test_the_nightly_quiet_of_a_job_is_a_note_with_what_a_person_can_check() -> None:
    watched = Watched()
    days(watched, {"A": TRAINING})
    watched.hosts("n1", -1, 24)
    watched.world.minutes("A", 0, 24, 0.0)
    night = only(watched.until(7.5))
    assert (night.action, night.evidence["held_back_by"]) == ("note", "usual_quiet")
    assert night.evidence["usual"] == {
        "by": "time_of_day",
        "quiet_then": 4,
        "of": 4,
        "ends_by": "2026-10-07T08:00:00Z",
    }
    late = only(watched.until(9.5, 7.5))
    assert (late.action, late.evidence["held_back_by"], late.since_us) == ("propose_reclaim", None, us(0))
    assert "usual" not in late.evidence


def test_new_quiet_is_noted_as_soon_as_it_is_judged_whatever_its_pool_does() -> None:
    watched = Watched()
    days(watched, {"A": TRAINING})
    for number in range(6):
        other = f"slurm/dc1/9{number}"
        watched.world.card(f"B{number}")
        watched.world.hold(f"B{number}", other, 0, None)
        for minute in range(10 * 60, 15 * 60, 30):
            watched.world.minutes(f"B{number}", minute / 60, minute / 60 + 0.3, 0.9)
            watched.world.minutes(f"B{number}", minute / 60 + 0.3, minute / 60 + 0.5, 0.0)
    watched.world.minutes("A", 8, 13, 0.9)
    watched.world.minutes("A", 13, 15, 0.0)
    assert watched.until(13.6) == []
    early = only(watched.look(13.8))
    assert (early.subject, early.action, early.since_us) == (TRAINING, "note", us(13))


def test_pods_that_are_gone_are_the_past_of_those_their_controller_made_since() -> None:
    watched = Watched()
    days(watched, {"A": "k8s/dc1/web/notebook-old/u1"})
    new = "k8s/dc1/web/notebook-new/u2"
    watched.world.workload(new, scenario="development")
    watched.world.db.execute(
        """UPDATE workload SET scenario = 'development', attributes = '{"owner_kind": "Deployment", "owner": "notebook"}'"""
    )
    watched.world.db.execute("UPDATE allocation SET valid_to = TIMESTAMP '2026-10-07'")
    watched.world.hold("A", new, 0, None)
    watched.world.minutes("A", 0, 24, 0.0)
    found = only(watched.until(6.0))
    assert (found.subject, found.evidence["held_back_by"]) == (new, "usual_quiet")


def test_a_collector_that_starts_knows_the_tide_of_the_days_before() -> None:
    watched = Watched()
    days(watched, {f"G{n}": f"slurm/dc1/{n}" for n in range(20)}, quiet=(0.0, 8.0))
    for n in range(20):
        watched.world.minutes(f"G{n}", 0, 8, 0.0)
    watched.look(7.0)
    detector = watched.watch._detector
    pool = detector._pools["dc1/training"]
    before_dawn, night = (pool.coming(us(hours) / 1e6, 3600) for hours in (7.5, 3.0))
    assert before_dawn > 2 * night, "work comes back at eight"


def test_an_hour_remembered_weighs_as_one_that_was_seen() -> None:
    settings = default_settings().tide
    seen, told = Tide(settings), Tide(settings)
    for half in range(48 * 3):
        at_half = half * 1800.0
        wakes = 10 if half % 48 == 16 else 0
        seen.add(at_half + 1, wakes=wakes, minutes=300)
        if half % 2 == 0:
            told.remember(at_half, wakes=wakes, minutes=600)
    now = 3 * DAY_SECONDS + 7.5 * HOUR
    seen.add(now, wakes=0, minutes=1)
    assert told.coming(now, HOUR) / told.rate(now) == pytest.approx(
        seen.coming(now, HOUR) / seen.rate(now), rel=0.3
    )
