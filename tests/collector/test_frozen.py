"""Which revisions a span of closed periods stands on."""

from __future__ import annotations

from datetime import UTC, date, datetime

import pytest

from ullage_collector.frozen import PeriodClosing, Pins, pins

DAY = date(2026, 10, 1)


def closed(
    starts: int, ends: int, at: int, dimensions: int | None = 1, revisions: dict[date, int] | None = None
) -> PeriodClosing:
    return PeriodClosing(
        zone="UTC",
        starts_us=starts,
        ends_us=ends,
        closed_at=datetime(2026, 11, at, tzinfo=UTC),
        closed_by="ada",
        rule=None,
        reason=None,
        dimensions_revision=dimensions,
        revisions={DAY: 1} if revisions is None else revisions,
    )


A, B, C = closed(0, 10, 1, 5, {DAY: 2}), closed(10, 20, 3, 9, {DAY: 4}), closed(20, 30, 2, 7, {DAY: 3})


@pytest.mark.parametrize(
    ("span", "found"),
    [
        ((0, 10), Pins(A, 5, {DAY: 2})),
        ((3, 4), Pins(A, 5, {DAY: 2})),
        ((0, 20), Pins(B, 9, {DAY: 4})),
        ((5, 25), Pins(B, 9, {DAY: 4})),  # B was closed last, though it is not the latest of them
        ((20, 30), Pins(C, 7, {DAY: 3})),
        ((20, 31), None),
        ((-1, 10), None),
        ((40, 50), None),
    ],
)
def test_a_span_stands_on_its_closings_alone_where_they_cover_all_of_it(
    span: tuple[int, int], found: Pins | None
) -> None:
    for order in ((A, B, C), (C, A, B)):
        assert pins(order, *span) == found


def test_a_gap_between_closed_periods_is_open() -> None:
    assert pins((A, C), 0, 30) is None


def test_what_an_older_ullage_closed_without_naming_revisions_is_read_from_the_newest() -> None:
    assert pins((closed(0, 10, 1, None, {}),), 0, 10) is None
    assert pins((A, closed(10, 20, 1, None, {})), 0, 20) is None
