"""A settle file's statement, as asked for at an instant: its lines, its closed periods, and what they need corrected.

A closed period stays as it was printed. What became known later is the difference between its lines as known now and
as printed then, by department, as a ``correction`` in the first open period after it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal, localcontext
from fractions import Fraction
from typing import Final

from ullage_contract.errors import ConfigError
from ullage_reports.cost_sharing import NOTHING
from ullage_reports.settle import spans
from ullage_reports.settle.charges import Book, Saving, charge
from ullage_reports.settle.fields import LONGEST
from ullage_reports.settle.lines import CORRECTION, Line, rounded
from ullage_reports.settle.pool import lent, spread
from ullage_reports.settle.sharing import divided
from ullage_reports.settle.spans import By
from ullage_reports.settle.world import World

PRECISION: Final = 3 * LONGEST
"""Digits that sums are kept in. our choice: a price and an amount as long as numbers may be, and as many again for their sums."""


@dataclass(frozen=True, slots=True)
class Statement:
    """Lines add up to totals exactly. as_of: microseconds; None: with all that ever became known.

    unpriced: (period, model or tariff) -> quantity nobody gave a price for; it is in no line.
    """

    by: By
    lines: tuple[Line, ...]
    totals: dict[str, Decimal]
    as_of: int | None = None
    unpriced: dict[tuple[str, str], Fraction] = field(default_factory=dict)
    savings: tuple[Saving, ...] = ()
    estimated_kwh: Fraction = NOTHING


def settle(world: World, by: By | None = None) -> tuple[Statement, ...]:
    """One statement for each instant it is asked for, oldest first; one of everything known where none is named.

    by: None: as closed periods are written, else a day when the window lies in one local day, else months.
    Raises ConfigError where the file asks for something impossible.
    """
    if world.division is not None:
        label = spans.spans(world, spans.coarsest(world), most=1)
        lines = divided(world.division, world.digits, label[0].label if label else "total")
        return (Statement(By.DAY if world.division.days else By.MONTH, tuple(lines), _totals(lines, [])),)
    with localcontext(prec=PRECISION):
        statements = _Statements(world, by or spans.coarsest(world))
        return tuple(statements.at(known) for known in world.as_of or (None,))


class _Statements:
    """Statements of one world; each state of knowledge is priced once."""

    def __init__(self, world: World, by: By) -> None:
        self._world = world
        self._by = by
        self._cut = spans.spans(world, by)
        self._priced: dict[int | None, tuple[list[Line], Book]] = {}
        self._closed = sorted(
            (closed.label, self._closed_us(closed.label, closed.closed_us)) for closed in world.closed
        )
        labels = [label for label, _ in self._closed]
        for label in labels:
            if len(label) != len(self._cut[0].label):
                raise ConfigError(
                    f"inputs.closed_periods: {label!r} is no {by}; ask for the statement --by the other"
                )
            if labels.count(label) > 1:
                raise ConfigError(f"inputs.closed_periods: {label!r} is closed twice")

    def _closed_us(self, label: str, given: int | None) -> int:
        """When a period was closed: as the file says, else with the first statement after it when several are asked
        for, else when it ended."""
        if given is not None:
            return given
        ended = spans.end_us(label, self._world.zone)
        asked = [t for t in self._world.as_of if t >= ended]
        return asked[0] if len(self._world.as_of) > 1 and asked else ended

    def _known(self, known: int | None) -> tuple[list[Line], Book]:
        if known not in self._priced:
            world = self._world.known_at(known)
            book = charge(world, self._cut, lent)
            self._priced[known] = (rounded(spread(world, book), world.digits), book)
        return self._priced[known]

    def _lines(self, period: str, known: int | None) -> list[Line]:
        return [line for line in self._known(known)[0] if line.period == period]

    def at(self, known: int | None) -> Statement:
        """The statement as asked for at an instant."""
        closed = [(label, when) for label, when in self._closed if known is None or when <= known]
        lines: list[Line] = []
        posted: dict[str, dict[tuple[str, str], tuple[Decimal, Fraction]]] = {}
        for label, when in closed:
            own = self._lines(label, when)
            lines += own
            lines += [
                line
                for earlier in posted
                for line in self._corrections(earlier, label, when, posted[earlier])
            ]
            posted[label] = _sums(own)
        shut = {label for label, _ in closed}
        for span in self._cut:
            if span.label not in shut:
                lines += self._lines(span.label, known)
        for label in posted:
            into = spans.after(label, self._world.zone)
            while into in shut:
                into = spans.after(into, self._world.zone)
            lines += self._corrections(label, into, known, posted[label])
        book = self._known(known)[1]
        return Statement(
            by=self._by,
            lines=tuple(sorted(lines, key=Line.order)),
            totals=_totals(lines, [span.label for span in self._cut]),
            as_of=known,
            unpriced=dict(sorted(book.unpriced.items())),
            savings=tuple(sorted(book.savings.values(), key=lambda s: (-s.cost, s.job or "", s.from_us))),
            estimated_kwh=book.estimated_kwh,
        )

    def _corrections(
        self,
        period: str,
        into: str,
        known: int | None,
        posted: dict[tuple[str, str], tuple[Decimal, Fraction]],
    ) -> list[Line]:
        """What a closed period would cost as known now, less what was posted of it; ``posted`` is brought up to date."""
        now = _sums(self._lines(period, known))
        found = []
        for key in sorted(now.keys() | posted.keys()):
            cost, quantity = now.get(key, (Decimal(0), NOTHING))
            before, held = posted.get(key, (Decimal(0), NOTHING))
            if cost != before:
                department, unit = key
                difference = cost - before
                found.append(
                    Line(into, department, CORRECTION, difference, quantity - held, unit, corrects=period)
                )
        posted.clear()
        posted.update(now)
        return found


def _sums(lines: list[Line]) -> dict[tuple[str, str], tuple[Decimal, Fraction]]:
    """(department, unit) -> cost and quantity."""
    found: dict[tuple[str, str], tuple[Decimal, Fraction]] = {}
    for line in lines:
        cost, quantity = found.get((line.department, line.unit), (Decimal(0), NOTHING))
        found[line.department, line.unit] = (cost + line.cost, quantity + line.quantity)
    return found


def _totals(lines: list[Line], periods: list[str]) -> dict[str, Decimal]:
    found: dict[str, Decimal] = dict.fromkeys(periods, Decimal(0))
    for line in lines:
        found[line.period] = found.get(line.period, Decimal(0)) + line.cost
    return dict(sorted(found.items()))
