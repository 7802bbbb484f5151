"""The numbers of a report, once: every page, file and mail is drawn from these dataclasses.

Money and card-hours are already rounded (largest remainder, top down), so every table adds up to the
last digit as it stands: a renderer prints, it never adds and never rounds money. Names are raw text
that other people chose: pass them through ``ullage_contract.plain`` and escape them.

A renderer is ``render(report: Report, lang: str, out: Path) -> Path``: it writes below the folder
``out``, names its file or folder after ``report.stem``, and returns what it wrote. lang is ``zh`` or
``en``. Texts live in the renderer's catalogue; this module carries keys and values.
Not here: what is owed (bill_model.py) and what the figures stand on (trust_model.py), how the numbers come about
(statement.py), how a period is cut (period.py) and the JSON form (json_form.py).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from operator import attrgetter
from typing import TYPE_CHECKING

from ullage_reports.period import Period

if TYPE_CHECKING:
    from ullage_reports.anomalies import Anomalies
    from ullage_reports.bill_model import Bill
    from ullage_reports.budgets import BudgetRow
    from ullage_reports.economics import Economics
    from ullage_reports.outlook import Outlook
    from ullage_reports.proposals import Proposals
    from ullage_reports.trust_model import Trust

SCHEMA_VERSION = 1
"""Of the JSON form. A key may be added within a version; a changed meaning is a new version."""
RANKED = 50
"""Rows of ranked lists. our choice: a page shows ten, a file fifty; nobody acts on the fifty-first this week."""
TOP_NAMES = 200
"""Rows of incidents and of lists of errors: unmapped names, unlisted cards. our choice: nobody mends more before the next report."""


class Kind(StrEnum):
    """Which department a row is."""

    DEPARTMENT = "department"
    PLATFORM = "platform"
    UNMAPPED = "unmapped"


class Status(StrEnum):
    """provisional: some day may still change. sealed: every day has passed. partial: days or prices are missing."""

    PROVISIONAL = "provisional"
    SEALED = "sealed"
    PARTIAL = "partial"


class Unit(StrEnum):
    """Of a tile: how the value is printed. ratio is 0..1."""

    MONEY = "money"
    RATIO = "ratio"
    HOURS = "hours"
    CARDS = "cards"
    COUNT = "count"


@dataclass(frozen=True, slots=True)
class StateAmount:
    """One state's part of a row. cost: currency, minor units. hours: card-hours, two decimals."""

    state: str
    cost: Decimal
    hours: Decimal


@dataclass(frozen=True, slots=True)
class Amounts:
    """Money and hours of one row.

    cost, hours: add up over the rows of a table to its total, exactly.
    states: all seven, in ledger.STATES order; add up to cost and hours, exactly.
    unpriced_hours: part of hours that has no price and so no cost; two decimals.
    used_ratio: used hours over hours whose use is known, 0..1, six decimals; None when none is known.
    known_ratio: hours whose use is known over hours, 0..1, six decimals; None when there are no hours.
    """

    cost: Decimal
    hours: Decimal
    states: tuple[StateAmount, ...]
    unpriced_hours: Decimal
    used_ratio: Decimal | None
    known_ratio: Decimal | None

    def state_cost(self, *names: str) -> Decimal:
        """Cost of these states together."""
        return sum((s.cost for s in self.states if s.state in names), Decimal(0))

    def state_hours(self, *names: str) -> Decimal:
        """Card-hours of these states together."""
        return sum((s.hours for s in self.states if s.state in names), Decimal(0))

    @property
    def idle_cost(self) -> Decimal:
        """Held but idle, free, and fragmented."""
        return self.state_cost("allocated_idle", "unallocated_idle", "fragmented")

    @property
    def priced(self) -> bool:
        """Whether its cost is known at all; not where it has hours and none of them a price: that cost is no 0."""
        return bool(self.cost) or not self.hours or self.unpriced_hours < self.hours

    @property
    def waste_cost(self) -> Decimal:
        """What bought no work: idle, out of order, isolated. Unknown is not in it."""
        return self.idle_cost + self.state_cost("faulty", "isolated")


@dataclass(frozen=True, slots=True)
class Change:
    """Against the previous period of the same kind. ratio: difference / |previous|, six decimals; None when previous is 0."""

    previous: Decimal
    difference: Decimal
    ratio: Decimal | None


@dataclass(frozen=True, slots=True)
class Tile:
    """One of the five figures on page one, or the sixth, of budgets. value None: not known, print a dash and never 0.

    key: cost, used_ratio, waste_cost, idle_held_cost, trust_ratio; in a department's copy department_cost, used_ratio,
    idle_held_cost, known_ratio; of budgets, where there are any, budgets_over or budget_worst_ratio. better: "up", "down" or "" for neither.
    """

    key: str
    unit: Unit
    value: Decimal | None
    change: Change | None
    better: str


@dataclass(frozen=True, slots=True)
class Sentence:
    """One of the three sentences on page one: a text key and its values.

    key: ``cost``, ``cost_change`` (cost, previous, difference, ratio), ``waste``, ``no_waste`` (ratio and one
    ``<state>_ratio`` a waste state), ``action``, ``no_action`` (count, saving, department, workload).
    values: Decimal money is in the report's currency; names are raw text.
    """

    key: str
    values: Mapping[str, Decimal | int | str | None]


@dataclass(frozen=True, slots=True)
class TreeCut:
    """By which organisation departments are summed.

    at None: each hour by the one valid at that hour; else all hours by that of the instant. changes: how often the
    organisation changed within the period.
    """

    at: datetime | None = None
    changes: int = 0


@dataclass(frozen=True, slots=True)
class DepartmentRow:
    """One department with everything below it; rows come as a tree in reading order.

    A department that moved within the period has a row in each place where the hours are cut by the organisation then.
    depth: 0 at the top. amounts: with its sub-departments; the rows of depth 0 add up to the total, and a
    row's children add up to it together with ``own``. own: what is booked on the department itself.
    leaf: no children. share: of the report's cost, 0..1, six decimals, None when the report costs nothing.
    """

    department_id: str
    name: str
    parent_id: str | None
    depth: int
    kind: Kind
    leaf: bool
    owner: str | None
    cost_center: str | None
    amounts: Amounts
    own: Amounts
    share: Decimal | None
    change: Change | None


@dataclass(frozen=True, slots=True)
class GroupRow:
    """One scenario, business, vendor, pool or cluster. key "" : none given; the platform's own rows have key ``platform``."""

    key: str
    amounts: Amounts
    share: Decimal | None
    change: Change | None


@dataclass(frozen=True, slots=True)
class ModelRow:
    """One card model of one maker.

    cards: distinct cards with a segment in the period. price_low, price_high: list price per card-hour, equal
    when there was one; None: no price at all. effective_price: cost of all its hours over its used hours,
    of those priced in the report's currency, minor units and two more decimals; None when nothing was used or use is not known. assumed: some price is an assumption.
    """

    model: str
    vendor: str
    cards: int
    price_low: Decimal | None
    price_high: Decimal | None
    assumed: bool
    effective_price: Decimal | None
    amounts: Amounts
    share: Decimal | None


@dataclass(frozen=True, slots=True)
class HolderRow:
    """One workload that held cards and did nothing, ranked by money.

    cards: how many cards it held idle; card_id, node_id: the one that cost most. since: start of its idle time in
    the period. idle_hours, idle_cost: held but idle. held_hours: all it held. running: it still held at the period's end.
    priced False: no idle hour has a price in the report's currency, so idle_cost is not known.
    """

    workload_id: str
    department_id: str
    department: str
    business: str | None
    scenario: str | None
    cards: int
    card_id: str
    node_id: str
    model: str
    since: datetime
    idle_hours: Decimal
    idle_cost: Decimal
    held_hours: Decimal
    running: bool
    priced: bool = True


@dataclass(frozen=True, slots=True)
class HeldAmounts:
    """What workloads held. held: used + idle + unknown, in hours and in money, exactly. idle: held but idle.

    Hours have two decimals, costs the currency's minor units. unpriced_hours: part of held_hours without a price.
    """

    held_hours: Decimal
    used_hours: Decimal
    idle_hours: Decimal
    unknown_hours: Decimal
    held_cost: Decimal
    used_cost: Decimal
    idle_cost: Decimal
    unknown_cost: Decimal
    unpriced_hours: Decimal

    @property
    def priced(self) -> bool:
        """As of Amounts."""
        return bool(self.held_cost) or not self.held_hours or self.unpriced_hours < self.held_hours

    def __add__(self, other: HeldAmounts) -> HeldAmounts:
        """Both together: printed figures, so the sum prints what the rows add up to."""
        return self.plus((other,))

    def plus(self, others: Iterable[HeldAmounts]) -> HeldAmounts:
        """All of them together; of a long list one sum a figure, and not one a row."""
        every = (self, *others)
        names = (f.name for f in dataclasses.fields(self))
        return HeldAmounts(*(sum(map(attrgetter(name), every), Decimal(0)) for name in names))

    def __sub__(self, other: HeldAmounts) -> HeldAmounts:
        """What is left of a total when these rows are taken off."""
        names = (f.name for f in dataclasses.fields(self))
        return HeldAmounts(*(getattr(self, name) - getattr(other, name) for name in names))


@dataclass(frozen=True, slots=True)
class WorkloadRow:
    """One workload that held cards, under one department, business and scenario, dearest first.

    A workload whose department, business or scenario changed within the period has a row for each. kind: pod, slurm_job,
    ... None: not known. cards: distinct cards it held. since, until: first and last instant it held some in the
    period. share: of the report's cost, 0..1, six decimals, None when the report costs nothing.
    """

    workload_id: str
    name: str | None
    kind: str | None
    department_id: str
    department: str
    business: str | None
    scenario: str | None
    cards: int
    since: datetime
    until: datetime
    amounts: HeldAmounts
    share: Decimal | None


@dataclass(frozen=True, slots=True)
class WorkloadRest:
    """Workload rows beyond those that are listed. rows: how many."""

    rows: int
    amounts: HeldAmounts


@dataclass(frozen=True, slots=True)
class IncidentRow:
    """One incident that cost card-hours in the period, or was open in it. closed_at None: still open.

    hours, cost: faulty and isolated time whose reason is this incident. priced False: none of these hours has a price in the report's
    currency, so cost is not known.
    """

    incident_id: str
    family: str
    subject: str
    node_id: str | None
    vendor: str | None
    cause: str
    code: str | None
    severity: str
    onset: datetime
    closed_at: datetime | None
    confirmed: bool
    action: str
    origin: str
    hours: Decimal
    cost: Decimal
    priced: bool = True


@dataclass(frozen=True, slots=True)
class FindingRow:
    """One finding that held in the period. until None: still so. confidence: 0..1."""

    finding_id: str
    kind: str
    family: str
    subject: str
    since: datetime
    until: datetime | None
    confidence: Decimal
    owner: str | None
    action: str | None


@dataclass(frozen=True, slots=True)
class TrendPoint:
    """One local day of the period, or one local hour of a daily report. start: aware UTC; label: local, as printed.

    published: False when no facts are published for some of it: a gap, never zero.
    """

    start: datetime
    label: str
    published: bool
    amounts: Amounts


@dataclass(frozen=True, slots=True)
class HeatCell:
    """One weekday and hour in the report's zone. weekday: 1 Monday to 7 Sunday. Ratios 0..1; None: nothing known.

    used_ratio: used over known hours. held_ratio: held (used, idle, unknown) over all hours.
    """

    weekday: int
    hour: int
    used_ratio: Decimal | None
    held_ratio: Decimal | None
    hours: Decimal


@dataclass(frozen=True, slots=True)
class PageOne:
    """Readable in 60 seconds: three sentences, five tiles, where each unit of money went."""

    sentences: tuple[Sentence, ...]
    tiles: tuple[Tile, ...]
    states: tuple[StateAmount, ...]
    state_changes: Mapping[str, Change]


@dataclass(frozen=True, slots=True)
class DepartmentCopy:
    """Whose copy a report is: it holds that department's figures and no other's. marks: ``simulated``, ``imported`` and
    ``assumed`` where some of the whole report's data are so; whether the department's are is not known. cut: the whole report does not
    list every workload, so some of the department's may not be listed. nothing_priced: as of the whole report."""

    department_id: str
    marks: tuple[str, ...]
    cut: bool = False
    nothing_priced: bool = False


@dataclass(frozen=True, slots=True)
class ClosedBy:
    """Who closed a period, and when: then its statement never changes. rule: which rule did; None: ``by`` is a person."""

    at: datetime
    by: str
    rule: str | None
    reason: str | None


@dataclass(frozen=True, slots=True)
class Report:
    """A whole statement. previous: the period compared with, None where none of it is published.

    tree: by which organisation departments are summed. workload_count: distinct workloads that held cards. held: what they held together. workloads with workloads_rest,
    which is None where every row is listed, add up to held. proposals: None where the ledger of recommendations has none. economics, outlook: None where they are not worked out. anomalies: None where nobody asked for them. copy: None for the
    whole report (department_copy.py). closed: None while some of the period is open, and the statement provisional. total and all
    tables but the bill are capacity; the bill is what is owed. bill None: of a report that
    was made without.
    """

    period: Period
    previous: Period | None
    currency: str
    minor_units: int
    status: Status
    generated_at: datetime
    cards: int
    total: Amounts
    change: Change | None
    page_one: PageOne
    departments: tuple[DepartmentRow, ...]
    businesses: tuple[GroupRow, ...]
    scenarios: tuple[GroupRow, ...]
    vendors: tuple[GroupRow, ...]
    models: tuple[ModelRow, ...]
    pools: tuple[GroupRow, ...]
    clusters: tuple[GroupRow, ...]
    workload_count: int
    held: HeldAmounts
    workloads: tuple[WorkloadRow, ...]
    workloads_rest: WorkloadRest | None
    holders: tuple[HolderRow, ...]
    incidents: tuple[IncidentRow, ...]
    findings: tuple[FindingRow, ...]
    trend: tuple[TrendPoint, ...]
    heat: tuple[HeatCell, ...]
    trust: Trust
    tree: TreeCut = TreeCut()
    proposals: Proposals | None = None
    economics: Economics | None = None
    outlook: Outlook | None = None
    anomalies: Anomalies | None = None
    budgets: tuple[BudgetRow, ...] = ()
    copy: DepartmentCopy | None = None
    closed: ClosedBy | None = None
    bill: Bill | None = None

    @property
    def nothing_priced(self) -> bool:
        """No card-hour has a price in the report's currency: what its cards cost is not known in it, and no figure of money is 0."""
        if self.copy is not None and self.copy.nothing_priced:
            return True
        foreign = [row.hours for row in self.trust.foreign]
        rounded = Decimal("0.01") * len(foreign)  # each currency's hours are rounded alone
        without = sum(foreign, self.total.unpriced_hours) + rounded
        return bool(self.total.hours) and not self.total.cost and without >= self.total.hours

    @property
    def stem(self) -> str:
        """Name of the files, without suffix: ``ullage-weekly-2026-W47``."""
        return f"ullage-{self.period.kind}-{self.period.label}"
