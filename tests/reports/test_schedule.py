"""When reports are due, in local time over clock changes and holidays."""

from __future__ import annotations

import itertools
import tempfile
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ullage_contract.errors import ConfigError
from ullage_reports.period import PeriodKind
from ullage_reports.schedule import Schedule, load

YEAR = datetime(2026, 1, 1, tzinfo=UTC)
ZONES = (
    "UTC",
    "Asia/Shanghai",
    "America/New_York",
    "Australia/Lord_Howe",
    "Africa/Cairo",
    "America/Santiago",
)


def plan(tmp: Path, *lines: str, zone: str = "UTC") -> Schedule:
    path = tmp / "report.toml"
    path.write_text("[schedule]\n" + "\n".join(lines), encoding="utf-8")
    found = load(path, zone)
    assert found is not None
    return found


def told(found: Schedule, kind: PeriodKind, days: int = 400) -> list[tuple[str, str]]:
    zone = ZoneInfo(found.zone)
    return [
        (f"{slot.at.astimezone(zone):%Y-%m-%d %H:%M}", slot.period.label)
        for slot in found.slots(kind, YEAR, YEAR + timedelta(days=days))
    ]


@pytest.mark.parametrize("zone", ZONES)
@pytest.mark.parametrize("at", ["00:00", "00:30", "01:30", "02:00", "02:30", "23:59"])
def test_every_local_day_is_reported_once_whatever_the_clock_does(tmp_path: Path, zone: str, at: str) -> None:
    found = plan(tmp_path, f'daily = "{at}"', zone=zone)
    slots = list(found.slots(PeriodKind.DAILY, YEAR, YEAR + timedelta(days=365)))
    labels = [slot.period.label for slot in slots]
    assert len(set(labels)) == len(labels) >= 364
    days = [date.fromisoformat(label) for label in labels]
    assert all(b - a == timedelta(days=1) for a, b in itertools.pairwise(days))
    assert all(slot.period.end <= slot.at for slot in slots), "never before the day has ended"


def test_a_time_the_clock_skips_is_later_and_one_that_comes_twice_is_the_first(tmp_path: Path) -> None:
    found = plan(tmp_path, 'daily = "02:30"', zone="America/New_York")
    spring = found.next(PeriodKind.DAILY, datetime(2026, 3, 8, 0, tzinfo=UTC) + timedelta(hours=8))
    before = found.next(PeriodKind.DAILY, datetime(2026, 3, 8, 6, tzinfo=UTC))
    assert before.at == datetime(2026, 3, 8, 7, 30, tzinfo=UTC) and before.period.label == "2026-03-07"
    assert spring.at == datetime(2026, 3, 9, 6, 30, tzinfo=UTC)
    twice = plan(tmp_path, 'daily = "01:30"', zone="America/New_York")
    autumn = list(
        twice.slots(
            PeriodKind.DAILY, datetime(2026, 11, 1, 4, tzinfo=UTC), datetime(2026, 11, 1, 12, tzinfo=UTC)
        )
    )
    assert [slot.at for slot in autumn] == [datetime(2026, 11, 1, 5, 30, tzinfo=UTC)]


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 120 * 1440), min_size=1, max_size=12), st.sampled_from(ZONES))
def test_however_the_runs_fall_every_slot_comes_once(minutes: list[int], zone: str) -> None:

    with tempfile.TemporaryDirectory() as folder:
        found = plan(
            Path(folder), 'daily = "02:30"', 'weekly = "sun 02:00"', 'monthly = "workday 1 00:00"', zone=zone
        )
    edges = [YEAR, *(YEAR + timedelta(minutes=m) for m in sorted(minutes)), YEAR + timedelta(days=121)]
    for kind in found.rules:
        whole = list(found.slots(kind, edges[0], edges[-1]))
        parts = [slot for a, b in itertools.pairwise(edges) for slot in found.slots(kind, a, b)]
        assert parts == whole and whole


def test_a_week_is_reported_on_its_weekday(tmp_path: Path) -> None:
    found = plan(tmp_path, 'weekly = "Mon 09:00"', zone="Asia/Shanghai")
    assert told(found, PeriodKind.WEEKLY, 20) == [
        ("2026-01-05 09:00", "2026-W01"),
        ("2026-01-12 09:00", "2026-W02"),
        ("2026-01-19 09:00", "2026-W03"),
    ]


def test_a_month_waits_for_its_working_day_over_holidays_and_days_worked_instead(tmp_path: Path) -> None:
    lines = (
        'monthly = "workday 3 10:00"',
        'holidays = ["2026-10-01/2026-10-07"]',
        'working_days = ["2026-10-10"]',
    )
    by_month = dict((label, at) for at, label in told(plan(tmp_path, *lines), PeriodKind.MONTHLY))
    assert by_month["2026-09"] == "2026-10-10 10:00", "8, 9 and Saturday the 10th are the first working days"
    assert by_month["2026-10"] == "2026-11-04 10:00"
    assert by_month["2026-01"] == "2026-02-04 10:00"


def test_a_quarter_is_reported_in_the_month_after_it(tmp_path: Path) -> None:
    found = plan(tmp_path, 'quarterly = "workday 5 10:00"')
    assert told(found, PeriodKind.QUARTERLY, 365) == [
        ("2026-01-07 10:00", "2025-Q4"), ("2026-04-07 10:00", "2026-Q1"),
        ("2026-07-07 10:00", "2026-Q2"), ("2026-10-07 10:00", "2026-Q3"),
    ]  # fmt: skip


def test_a_month_with_too_few_working_days_takes_its_last_one(tmp_path: Path) -> None:
    lines = ('monthly = "workday 15 10:00"', 'holidays = ["2026-02-03/2026-02-28"]')
    assert ("2026-02-02 10:00", "2026-01") in told(plan(tmp_path, *lines), PeriodKind.MONTHLY)


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ('daily = "8:00"', '"08:00"'),
        ('daily = "mon 08:00"', '"08:00"'),
        ('weekly = "monday 09:00"', '"mon 09:00"'),
        ('weekly = "09:00"', '"mon 09:00"'),
        ('weekly = ""', '"mon 09:00"'),
        ('monthly = "workday 0 10:00"', "workday 3"),
        ('monthly = "workday 16 10:00"', "workday 3"),
        ('monthly = "3 10:00"', "workday 3"),
        ('quarterly = "workday five 10:00"', "workday 5"),
        ('daily = "24:00"', '"08:00"'),
        ("daily = 8", "text in quotes"),
        ('daily = "08:00"\nholidays = ["2026-10"]', "write days"),
        ('daily = "08:00"\nholidays = ["2026-10-07/2026-10-01"]', "first day before the last"),
        ('hourly = "00"', "hourly"),
        ("wait_hours = 3", "when a report is due"),
    ],
)
def test_a_wrong_setting_says_what_to_write(tmp_path: Path, line: str, says: str) -> None:
    with pytest.raises(ConfigError) as raised:
        plan(tmp_path, line)
    assert says in str(raised.value) and "report.toml" in str(raised.value)


def test_no_schedule_is_none_and_a_wrong_zone_an_error(tmp_path: Path) -> None:
    path = tmp_path / "report.toml"
    path.write_text("[report]\n")
    assert load(path, "UTC") is None
    with pytest.raises(ConfigError, match="time zone"):
        plan(tmp_path, 'daily = "08:00"', zone="+08:00")
