"""Times as people write them: what UTC cannot hold is told like what is no time at all."""

from __future__ import annotations

import argparse
from datetime import UTC, datetime, timedelta, timezone

import pytest

from ullage_contract.command import instant
from ullage_contract.errors import BadInput
from ullage_contract.instants import asked_us, in_utc, iso


def test_a_time_is_aware_where_it_names_an_offset() -> None:
    assert iso("2026-11-20T08:00:00+08:00") == datetime(2026, 11, 20, tzinfo=UTC)
    assert iso("2026-11-20").tzinfo is None
    assert in_utc(datetime(2026, 11, 20, 8, tzinfo=timezone(timedelta(hours=8)))) == datetime(
        2026, 11, 20, tzinfo=UTC
    )


@pytest.mark.parametrize(
    "text", ["", "soon", "2026-02-30", "0001-01-01T00:00:00+08:00", "9999-12-31T23:00:00-08:00"]
)
def test_what_is_no_instant_is_a_value_error_and_never_an_overflow(text: str) -> None:
    with pytest.raises(ValueError, match=r"instant|isoformat|day|month"):
        iso(text)
    with pytest.raises(argparse.ArgumentTypeError, match="is no time"):
        instant(text)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("soon", "neither epoch seconds nor ISO 8601"),
        ("2026-11-20", "lacks an offset"),
        ("nan", "years 1970 to 9998"),
        ("-1", "years 1970 to 9998"),
        ("1e15", "years 1970 to 9998"),
        ("1e400", "years 1970 to 9998"),
        ("9999-12-31T00:00:00Z", "years 1970 to 9998"),
        ("1969-12-31T23:59:59Z", "years 1970 to 9998"),
        ("0001-01-01T00:00:00+08:00", "neither"),
    ],
)
def test_who_asks_about_no_time_there_is_told_which_there_are(text: str, said: str) -> None:
    with pytest.raises(BadInput, match=f"^at: .*{said}"):
        asked_us(text, "at")


def test_epoch_seconds_and_iso_8601_are_the_same_instant() -> None:
    assert (
        asked_us("1792584000.25", "at") == asked_us("2026-10-21T20:00:00.250+08:00", "at") == 1792584000250000
    )
