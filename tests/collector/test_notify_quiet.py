"""Quiet hours: from one local time to another, also in the nights when the clocks change."""

from __future__ import annotations

from datetime import datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.collector.notify_world import news, target

from ullage_collector.notify.quiet import Quiet
from ullage_contract.event import Severity

BERLIN = ZoneInfo("Europe/Berlin")
NIGHT = Quiet(time(22), time(8), ZoneInfo("Asia/Shanghai"))


def utc(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def test_a_night_begins_and_ends_at_local_times() -> None:
    assert NIGHT.until(utc("2026-11-20T13:59:59Z")) is None
    assert NIGHT.until(utc("2026-11-20T14:00:00Z")) == utc("2026-11-21T00:00:00Z")
    assert NIGHT.until(utc("2026-11-20T23:59:59Z")) == utc("2026-11-21T00:00:00Z")
    assert NIGHT.until(utc("2026-11-21T00:00:00Z")) is None


@pytest.mark.parametrize(
    ("begin", "end", "at", "until"),
    [
        # 2026-03-29: 02:00 becomes 03:00; the night is an hour shorter
        (time(22), time(7), "2026-03-28T21:00:00Z", "2026-03-29T05:00:00Z"),
        # its end does not exist that night: it ends with the jump
        (time(22), time(2, 30), "2026-03-29T00:59:59Z", "2026-03-29T01:00:00Z"),
        # its beginning does not exist: it begins with the jump
        (time(2, 30), time(6), "2026-03-29T01:00:00Z", "2026-03-29T04:00:00Z"),
        # 2026-10-25: 03:00 becomes 02:00; the night is an hour longer
        (time(22), time(7), "2026-10-24T20:00:00Z", "2026-10-25T06:00:00Z"),
        # its end comes twice: the first one counts
        (time(22), time(2, 30), "2026-10-25T00:29:59Z", "2026-10-25T00:30:00Z"),
        # its beginning comes twice: the first one counts
        (time(2, 30), time(6), "2026-10-25T00:30:00Z", "2026-10-25T05:00:00Z"),
    ],
)
def test_nights_in_which_the_clocks_change(begin: time, end: time, at: str, until: str) -> None:
    quiet = Quiet(begin, end, BERLIN)
    assert quiet.until(utc(at)) == utc(until)
    assert quiet.until(utc(until)) is None


def test_just_before_a_beginning_that_does_not_exist_it_is_not_quiet() -> None:
    assert Quiet(time(2, 30), time(6), BERLIN).until(utc("2026-03-29T00:59:59Z")) is None


def test_days_are_those_of_the_beginning() -> None:
    weekend = Quiet(time(20), time(6), ZoneInfo("UTC"), frozenset({4, 5}))  # Friday and Saturday
    assert weekend.until(utc("2026-11-20T21:00:00Z")) == utc("2026-11-21T06:00:00Z")
    assert weekend.until(utc("2026-11-22T05:59:00Z")) == utc("2026-11-22T06:00:00Z")
    assert weekend.until(utc("2026-11-22T21:00:00Z")) is None


@given(
    instant=st.integers(1_767_225_600, 1_830_297_600),  # 2026 and 2027
    zone=st.sampled_from(
        ["Europe/Berlin", "America/New_York", "Asia/Shanghai", "Australia/Lord_Howe", "UTC"]
    ),
    begin=st.times(),
    end=st.times(),
)
def test_when_it_ends_it_is_no_longer_quiet_and_until_then_it_is(
    instant: int, zone: str, begin: time, end: time
) -> None:
    begin, end = begin.replace(second=0, microsecond=0), end.replace(second=0, microsecond=0)
    if begin == end:
        return
    quiet = Quiet(begin, end, ZoneInfo(zone))
    until = quiet.until(instant)
    if until is None:
        return
    assert instant < until <= instant + timedelta(hours=26).total_seconds()
    assert quiet.until(until - 1) == until
    # until may touch the next night where a night is nearly a day long; it is never the same one
    assert quiet.until(until) is None or quiet.until(until) > until + 1


def test_what_is_critical_is_told_at_night_and_the_rest_in_the_morning() -> None:
    to = target("webhook", url="http://x", quiet={"from": "22:00", "to": "08:00", "zone": "Asia/Shanghai"})
    night = utc("2026-11-20T15:00:00Z")
    assert to.due_at(news(severity=Severity.CRITICAL), night) == night
    assert to.due_at(news(severity=Severity.WARNING), night) == utc("2026-11-21T00:00:00Z")
    assert to.group_key(news(severity=Severity.CRITICAL)) != to.group_key(news(severity=Severity.WARNING))
    loud = target("webhook", url="http://x", quiet_passes="fatal",
                  quiet={"from": "22:00", "to": "08:00", "zone": "Asia/Shanghai"})  # fmt: skip
    assert loud.due_at(news(severity=Severity.CRITICAL), night) == utc("2026-11-21T00:00:00Z")
