"""Tides: when a scenario holds cards that it does not need, week after week, and who could work on them meanwhile.

Demand is counted by hour and weekday from published days. What may be lent in a window is what was held there in every week
less the highest demand of any week, less a reserve; unknown hours count as demand, hours that are not published as nothing at
all. The risk is tried on the weeks themselves: what the other weeks would have lent is held against each week's own demand.
A proposal for people: nothing is moved. Use of the cards alone says little of online inference, so its loans are marked.

Windows and reserves: tides.toml. Not here: printing (tides_command.py).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from math import floor
from typing import Final
from zoneinfo import ZoneInfo

from ullage_collector import ledger
from ullage_reports.tides_settings import Loan, Rules

HOURS_A_WEEK: Final = 168
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)

Group = tuple[str, str]
"""Pool and scenario."""


@dataclass(frozen=True, slots=True)
class Hour:
    """What a scenario held in a pool in one UTC hour. hour: since the epoch. held, needed: nano-share microseconds; atoms: what
    the priced part of it cost, priced: that part."""

    pool: str
    scenario: str
    hour: int
    held: int
    needed: int
    atoms: int
    priced: int


@dataclass(frozen=True, slots=True)
class Window:
    """One loan on one weekday in a pool.

    cards: whole cards that could be lent; 0 where none could. weekday: 0 is Monday, of the window's first hour. hours: how long
    it lasts. held, needed: the least cards held and the most needed in any week there. short_ratio: share of the weeks in which
    the others' loan would have been too much, short_cards: by how many at worst. atoms_a_week: the list value of the lent time;
    None: nothing there is priced. weeks: how many of each hour were seen at least.
    """

    loan: Loan
    pool: str
    weekday: int
    hours: int
    weeks: int
    held: Fraction
    needed: Fraction
    cards: int
    short_ratio: Fraction
    short_cards: Fraction
    atoms_a_week: int | None


@dataclass(frozen=True, slots=True)
class Demand:
    """A pool's scenario over the week. held, needed: cards by local hour of the week (0 is Monday 00:00), mean of the weeks that
    were seen; None: never seen."""

    pool: str
    scenario: str
    held: tuple[Fraction | None, ...]
    needed: tuple[Fraction | None, ...]


@dataclass(frozen=True, slots=True)
class Tides:
    """demands: by pool and scenario. windows: every loan on every weekday with a lender there, the most cards first."""

    demands: tuple[Demand, ...]
    windows: tuple[Window, ...]


@dataclass(frozen=True, slots=True)
class _Seen:
    held: Fraction
    needed: Fraction
    atoms: int
    priced: int


def tides(rows: Iterable[Hour], told: Iterable[int], zone: ZoneInfo, rules: Rules) -> Tides:
    """See the module. told: the UTC hours that are published; rows of others are not looked at."""
    weeks = _weeks(told, zone)
    by_group: dict[Group, dict[int, Hour]] = defaultdict(dict)
    for row in rows:
        by_group[row.pool, row.scenario][row.hour] = row
    series = {
        group: {
            place: [(week, _seen(found.get(hour))) for week, hour in hours] for place, hours in weeks.items()
        }
        for group, found in sorted(by_group.items())
    }
    windows = [
        window
        for (pool, scenario), seen in series.items()
        for loan in rules.loans
        if loan.lender == scenario
        for weekday in loan.weekdays
        if (window := _window(loan, pool, weekday, seen, rules)) is not None
    ]
    windows.sort(key=lambda w: (-w.cards * w.hours, w.pool, w.loan.name, w.weekday))
    return Tides(tuple(_demand(group, seen) for group, seen in series.items()), tuple(windows))


def _weeks(told: Iterable[int], zone: ZoneInfo) -> dict[int, list[tuple[int, int]]]:
    """Local hour of the week -> (which week, UTC hour). A local hour that comes twice is two hours of that place."""
    found: dict[int, list[tuple[int, int]]] = defaultdict(list)
    for hour in sorted(set(told)):
        local = (_EPOCH + timedelta(hours=hour)).astimezone(zone)
        place = local.weekday() * 24 + local.hour
        monday = local.date() - timedelta(days=local.weekday())
        found[place].append((monday.toordinal() // 7, hour))
    return found


def _seen(row: Hour | None) -> _Seen:
    """Cards in an hour; a published hour without a row held none."""
    if row is None:
        return _Seen(Fraction(0), Fraction(0), 0, 0)
    one = ledger.QUANTITY_PER_CARD_HOUR
    return _Seen(Fraction(row.held, one), Fraction(row.needed, one), row.atoms, row.priced)


def _demand(group: Group, seen: Mapping[int, Sequence[tuple[int, _Seen]]]) -> Demand:
    def mean(values: list[Fraction]) -> Fraction | None:
        return sum(values, Fraction(0)) / len(values) if values else None

    places = [[one for _, one in seen.get(place, ())] for place in range(HOURS_A_WEEK)]
    return Demand(
        *group,
        tuple(mean([one.held for one in some]) for some in places),
        tuple(mean([one.needed for one in some]) for some in places),
    )


def _window(
    loan: Loan, pool: str, weekday: int, seen: Mapping[int, Sequence[tuple[int, _Seen]]], rules: Rules
) -> Window | None:
    """None where an hour of the window was seen in fewer weeks than a rhythm needs, or the lender never held a card there."""
    places = [(weekday * 24 + loan.from_hour + n) % HOURS_A_WEEK for n in range(loan.hours)]
    # a window over Sunday's midnight ends in the next week: its later hours count to the week it began in
    wraps = [(weekday * 24 + loan.from_hour + n) // HOURS_A_WEEK for n in range(loan.hours)]
    by_week: dict[int, list[_Seen]] = defaultdict(list)
    for place, later in zip(places, wraps, strict=True):
        for week, one in seen.get(place, ()):
            by_week[week - later].append(one)
    whole = {week: some for week, some in by_week.items() if len(some) >= loan.hours}
    if len(whole) < rules.least_weeks:
        return None
    held = min(one.held for some in whole.values() for one in some)
    needed = max(one.needed for some in whole.values() for one in some)
    if not any(one.held for some in whole.values() for one in some):
        return None
    cards = _lendable(whole.values(), rules)
    short, worst = 0, Fraction(0)
    for week, some in whole.items():
        lent = _lendable([other for key, other in whole.items() if key != week], rules)
        missing = max(one.needed + lent - one.held for one in some)
        if lent and missing > 0:
            short += 1
            worst = max(worst, missing)
    atoms, priced = (
        sum(one.atoms for some in whole.values() for one in some),
        sum(one.priced for some in whole.values() for one in some),
    )
    lent_time = cards * loan.hours * ledger.QUANTITY_PER_CARD_HOUR
    return Window(
        loan=loan,
        pool=pool,
        weekday=weekday,
        hours=loan.hours,
        weeks=len(whole),
        held=held,
        needed=needed,
        cards=cards,
        short_ratio=Fraction(short, len(whole)),
        short_cards=worst,
        atoms_a_week=ledger.half_up(lent_time * atoms, priced) if priced else None,
    )


def _lendable(weeks: Iterable[Sequence[_Seen]], rules: Rules) -> int:
    """Whole cards that were held in every hour of every week above the most needed and the reserve."""
    hours = [one for some in weeks for one in some]
    held, needed = min(one.held for one in hours), max(one.needed for one in hours)
    reserve = max(needed * rules.reserve_ratio, Fraction(rules.reserve_cards))
    return max(0, floor(held - needed - reserve))
