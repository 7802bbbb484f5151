"""Local days over published UTC days: where each is cut, and which of them are published whole."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

from ullage_reports.period import midnight, zone_info
from ullage_reports.reading import us

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class LocalDays:
    """dates: in order, without a gap. cuts: their midnights in microseconds, and the last one's end. known: those whose UTC days
    are all published. minutes: length of those that are no 24 hours."""

    dates: tuple[date, ...]
    cuts: list[int]
    known: frozenset[date]
    minutes: Mapping[date, int]

    @classmethod
    def of(cls, first: date, last: date, zone: str, missing: Collection[date]) -> LocalDays:
        """The local days [first, last] of a zone. missing: UTC days that are not published. Raises ConfigError for what is no zone."""
        info = zone_info(zone)
        dates = [first + timedelta(days=n) for n in range((last - first).days + 1)]
        cuts = [us(midnight(day, info)) for day in (*dates, last + timedelta(days=1))]
        spans = list(zip(dates, cuts, cuts[1:], strict=False))
        lengths = {day: (ends - begins) // 60_000_000 for day, begins, ends in spans}
        return cls(
            dates=tuple(dates),
            cuts=cuts,
            known=frozenset(
                day
                for day, begins, ends in spans
                if not any(one in missing for one in _utc_days(begins, ends))
            ),
            minutes={day: minutes for day, minutes in lengths.items() if minutes != 1440},
        )

    def day_of(self, begins: int) -> date:
        """The day that begins at a cut."""
        return self.dates[self.cuts.index(begins)]

    def span(self, day: date) -> tuple[int, int]:
        """[from, to) of a day, in microseconds."""
        place = (day - self.dates[0]).days
        return self.cuts[place], self.cuts[place + 1]


def _utc_days(begins: int, ends: int) -> list[date]:
    """The UTC days a local one touches."""
    one = (_EPOCH + timedelta(microseconds=begins)).date()
    last = (_EPOCH + timedelta(microseconds=ends - 1)).date()
    return [one + timedelta(days=n) for n in range((last - one).days + 1)]
