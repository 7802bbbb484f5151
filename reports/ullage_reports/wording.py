"""One report in one language: its texts, its number format, and names made printable. What tables and figures share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Final

from ullage_collector.ledger import STATES
from ullage_contract.plain import names_alike, plain
from ullage_reports.format import DASH, Format, plain_number
from ullage_reports.model import Change, DepartmentRow, Kind, Report
from ullage_reports.period import zone_info
from ullage_reports.table import Cell
from ullage_reports.texts import Texts

PLATFORM_KEY: Final = "platform"


@dataclass(frozen=True, slots=True)
class Wording:
    """report, and how to say it. Make it with ``wording(report, lang)``.

    printing False: cells carry their value and no printed text, for rows that only a file has. nothing_priced: the report's, worked out once.
    """

    report: Report
    t: Texts
    f: Format
    window: str
    _alike: frozenset[str] = field(default=frozenset())
    _departments: Mapping[str, DepartmentRow] = field(default_factory=dict)
    printing: bool = True
    nothing_priced: bool = False

    @property
    def nothing_known(self) -> bool:
        """No card-hour is published for the period: then no figure is, and none may print as 0."""
        return not self.report.total.hours

    @property
    def some_unpriced(self) -> bool:
        """Some card-hours have no price in the report's currency."""
        trust = self.report.trust
        return bool(trust.unpriced_hours) or any(row.hours for row in trust.foreign)

    # ---------------------------------------------------------------------------------- names
    def department(self, row: DepartmentRow) -> str:
        """A department's printed name; its id beside it when another one prints alike."""
        if row.kind is Kind.PLATFORM:
            return self.t("name.platform")
        if row.kind is Kind.UNMAPPED:
            return self.t("name.unmapped")
        shown = plain(row.name) or plain(row.department_id)
        return f"{shown} ({plain(row.department_id)})" if row.name in self._alike else shown

    def department_name(self, name: str, department_id: str) -> str:
        """The same for rows that carry only name and id."""
        row = self._departments.get(department_id)
        if row is not None:
            return self.department(row)
        return plain(name) or plain(department_id) or DASH

    def group(self, prefix: str, key: str) -> str:
        """A scenario's, business's, pool's or maker's printed name."""
        if not key:
            return self.t("name.none_given")
        if key == PLATFORM_KEY:
            return self.t("name.platform")
        return self.t.known(prefix, plain(key))

    def state(self, name: str) -> str:
        """The plain word for a state."""
        return self.t(f"state.{name}")

    def state_inside(self, name: str) -> str:
        """The word within a sentence: English without its capital."""
        word = self.state(name)
        return word[:1].lower() + word[1:]

    @property
    def states(self) -> tuple[str, ...]:
        return STATES

    def hours(self, value: Decimal) -> str:
        """Card-hours with their word: ``1,234.50 card-hours``."""
        return self.t("word.card_hours", hours=self.f.number(value))

    # ---------------------------------------------------------------------------------- cells
    def name_cell(
        self, text: str, *, indent: int = 0, swatch: str = "", sub: str = "", tone: str = ""
    ) -> Cell:
        return Cell(text=text or DASH, value=text, indent=indent, swatch=swatch, sub=sub, tone=tone)

    def money_cell(self, value: Decimal | None) -> Cell:
        return self._figure(value)

    def cost_cell(self, value: Decimal | None, priced: bool) -> Cell:
        """Money of card-hours: where none of them has a price in the report's currency, what they cost is not known, and is no 0."""
        return self._figure(value if priced and not self.nothing_priced else None)

    def hours_cell(self, value: Decimal | None) -> Cell:
        return self._figure(value)

    def count_cell(self, value: int | None) -> Cell:
        return self._figure(value)

    def _figure(self, value: Decimal | int | None) -> Cell:
        return Cell(self.f.number(value) if self.printing else "", plain_number(value), True)

    def ratio_cell(self, value: Decimal | None, *, places: int = 1) -> Cell:
        """Printed as per cent; in a file the ratio itself, as the JSON has it."""
        return Cell(self.f.percent(value, places) if self.printing else "", plain_number(value), True)

    def change_cell(self, change: Change | None, *, better: str = "") -> Cell:
        """A change of money against the period before, as per cent; a start from nothing is said in words."""
        if change is None:
            return Cell(text=DASH, value="", number=True, tone="muted")
        if change.ratio is None:
            word = self.t("word.new") if change.difference else DASH
            return Cell(text=word, value="", number=True, tone="muted")
        return Cell(
            text=self.f.change(change.ratio),
            value=plain_number(change.ratio),
            number=True,
            tone=tone(change.difference, better),
        )

    def instant_cell(self, value: datetime | None, *, none: str = "", sub: str = "", tone: str = "") -> Cell:
        """Minute in the report's zone; none: what a page prints where there is no instant, a dash if not given."""
        if value is None:
            return Cell(text=none or DASH, value="", sub=sub, tone=tone)
        printed = self.f.instant(value)
        return Cell(text=printed, value=printed, sub=sub, tone=tone, at=value)

    def since_cell(self, value: datetime | None, *, sub: str = "") -> Cell:
        """When something began that a report sees from its first instant on alone: what is so at that instant may be older, and says so."""
        if value is not None and value == self.report.period.start:
            sub = " · ".join(filter(None, (self.t("word.or_before"), sub)))
        return self.instant_cell(value, sub=sub)

    def text_cell(self, value: object) -> Cell:
        shown = plain(value)
        return Cell(text=shown or DASH, value=shown)

    # ---------------------------------------------------------------------------------- words
    def plain(self, value: object) -> str:
        """What others wrote, made safe to print."""
        return plain(value)

    def yes(self, value: bool) -> str:
        return self.t("word.yes") if value else self.t("word.no")

    def more(self, count: int, printed: int, *, of_the_dearest: int | None = None) -> str:
        """The line below a table of which a page shows the first rows. of_the_dearest: the report lists no more rows than these, and a
        list as long as that may not be all there are; None: it lists all."""
        cut = of_the_dearest is not None and count >= of_the_dearest
        key = "note.more_dearest" if cut else "note.more"
        return self.t(key, shown=str(printed), count=self.f.number(count))

    def spans(self, days: Sequence[date]) -> list[str]:
        """Days that follow each other as one span each."""
        spans: list[tuple[date, date]] = []
        for day in sorted(days):
            if spans and day - spans[-1][1] == timedelta(days=1):
                spans[-1] = (spans[-1][0], day)
            else:
                spans.append((day, day))
        return [self.f.span(first, last) for first, last in spans]


def tone(difference: Decimal, better: str) -> str:
    """``good`` or ``bad`` where one direction is better; "" otherwise and for no change."""
    if not difference or not better:
        return ""
    return "good" if (difference > 0) == (better == "up") else "bad"


def wording(report: Report, lang: str) -> Wording:
    """Raises ConfigError for a language there is no catalogue of."""
    texts = Texts(lang)
    form = Format(lang=lang, zone=zone_info(report.period.zone), currency=report.currency)
    names = [row.name for row in report.departments if row.kind is Kind.DEPARTMENT]
    return Wording(
        report=report,
        t=texts,
        f=form,
        window=f"{form.span(report.period.first, report.period.last)} {report.period.zone}",
        _alike=frozenset(alike(names)),
        _departments={row.department_id: row for row in reversed(report.departments)},  # the first of each
        nothing_priced=report.nothing_priced,
    )


def alike(names: Sequence[str]) -> list[str]:
    """Names that print like another one in the list."""
    return names_alike(list(names))
