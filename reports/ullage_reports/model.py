"""The numbers of a report, once: every page, file and mail is drawn from these dataclasses.

Money and card-hours are already rounded (largest remainder, top down), so every table adds up to the
last digit as it stands: a renderer prints, it never adds and never rounds money. Names are raw text
that other people chose: pass them through ``ullage_contract.plain`` and escape them.

A renderer is ``render(report: Report, lang: str, out: Path) -> Path``: it writes below the folder
``out``, names its file or folder after ``report.stem``, and returns what it wrote. lang is ``zh`` or
``en``. Texts live in the renderer's catalogue; this module carries keys and values.
Not here: how the numbers come about (statement.py) and how a period is cut (period.py).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from enum import Enum, StrEnum
from functools import cache
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from ullage_reports.period import Period

if TYPE_CHECKING:
    from ullage_reports.anomalies import Anomalies
    from ullage_reports.budgets import BudgetRow
    from ullage_reports.economics import Economics
    from ullage_reports.outlook import Outlook
    from ullage_reports.proposals import Proposals

SCHEMA_VERSION = 1
"""Of the JSON form. A key may be added within a version; a changed meaning is a new version."""


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
    used_ratio: used hours over hours whose use is known, 0..1, four decimals; None when none is known.
    known_ratio: hours whose use is known over hours, 0..1, four decimals; None when there are no hours.
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
    def waste_cost(self) -> Decimal:
        """What bought no work: idle, out of order, isolated. Unknown is not in it."""
        return self.idle_cost + self.state_cost("faulty", "isolated")


@dataclass(frozen=True, slots=True)
class Change:
    """Against the previous period of the same kind. ratio: difference / |previous|, four decimals; None when previous is 0."""

    previous: Decimal
    difference: Decimal
    ratio: Decimal | None


@dataclass(frozen=True, slots=True)
class Tile:
    """One of the five figures on page one. value None: not known, print a dash and never 0.

    key: cost, used_ratio, waste_cost, idle_held_cost, trust_ratio; in a department's copy department_cost, used_ratio,
    idle_held_cost, known_ratio. better: "up", "down" or "" for neither.
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
    leaf: no children. share: of the report's cost, 0..1, four decimals, None when the report costs nothing.
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
    period. share: of the report's cost, 0..1, four decimals, None when the report costs nothing.
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

    hours, cost: faulty and isolated time whose reason is this incident.
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
class Charges:
    """What is charged, in the currency, minor units; each may be below 0 but capacity.

    capacity: card-hours at their prices, with what of a price no card share carries. shared: what policy moves between the platform and
    departments; of the whole it is 0. corrections: of closed periods. credits: given, or charged, by decision.
    """

    capacity: Decimal
    shared: Decimal
    energy: Decimal
    corrections: Decimal
    credits: Decimal

    @property
    def total(self) -> Decimal:
        """What is owed."""
        return self.capacity + self.shared + self.energy + self.corrections + self.credits

    def __add__(self, other: Charges) -> Charges:
        """Both together: printed figures, so the sum prints what the rows add up to."""
        return Charges(*(getattr(self, f.name) + getattr(other, f.name) for f in dataclasses.fields(self)))


@dataclass(frozen=True, slots=True)
class BillRow:
    """One department's bill; rows come as a tree in reading order, by the organisation at the period's end.

    charges: with its sub-departments; own: its alone. The own charges of all rows add up to the whole, as do the rows of depth 0.
    """

    department_id: str
    name: str
    parent_id: str | None
    depth: int
    kind: Kind
    leaf: bool
    charges: Charges
    own: Charges


@dataclass(frozen=True, slots=True)
class BillGroup:
    """The same of a business or scenario. key "": none given; the platform's has key ``platform``."""

    key: str
    charges: Charges


@dataclass(frozen=True, slots=True)
class PolicyRow:
    """A version of the policy and the part of the period it decided. since, until: aware UTC. digest: of its words."""

    policy_id: str
    digest: str
    valid_from: datetime | None
    since: datetime
    until: datetime
    words: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class SharedRow:
    """What one department was given, or gave, by one rule of one version of the policy.

    method: policy and word, e.g. ``unallocated_idle/even``. weight: its part of the department weights, 0..1, six decimals; None
    where the rule has no weights. cost: of this row alone, half up; below 0 where it gave. charge_id: for ``ullage-report explain``.
    """

    charge_id: str
    policy_id: str
    method: str
    department_id: str
    department: str
    weight: Decimal | None
    cost: Decimal


@dataclass(frozen=True, slots=True)
class AdjustmentRow:
    """One posted line that goes forward. period_from, period_to: what it corrects, None of a credit. cost: half up, signed.

    model, state: of what is corrected; None: of no one. hours: card-hours, half up, signed; None: of energy, or money alone.
    """

    adjustment_id: str
    kind: str
    department_id: str
    department: str
    business: str | None
    scenario: str | None
    cost_class: str
    period_from: datetime | None
    period_to: datetime | None
    posted_at: datetime
    cost: Decimal
    reason: str
    requester: str
    approver: str | None
    model: str | None = None
    state: str | None = None
    hours: Decimal | None = None


@dataclass(frozen=True, slots=True)
class Bill:
    """What everybody owes. total: all rows together.

    exact: column -> atoms before rounding, as text: a reader can add them up. policies: in the order they held. energy_kwh: with the PUE in it;
    None: no energy is published. energy_billed: False: the price book has no tariff at all, so that energy is told and in no
    bill. unpriced_kwh: what no tariff of the price book covers, and so without cost. estimated_kwh: energy nobody measured.
    hours_without_quota: hours in which the policy asks for guarantees and no quota is published.
    """

    total: Charges
    departments: tuple[BillRow, ...]
    businesses: tuple[BillGroup, ...]
    scenarios: tuple[BillGroup, ...]
    exact: Mapping[str, str]
    policies: tuple[PolicyRow, ...]
    shared: tuple[SharedRow, ...]
    adjustments: tuple[AdjustmentRow, ...]
    energy_kwh: Decimal | None
    energy_billed: bool
    unpriced_kwh: Decimal
    estimated_kwh: Decimal
    hours_without_quota: int

    @property
    def plain(self) -> bool:
        """Nothing but capacity: then it says no more than the tables of cost."""
        return not (self.shared or self.adjustments or (self.energy_kwh and self.energy_billed))


@dataclass(frozen=True, slots=True)
class SumCheck:
    """Parts against their whole, as printed and exactly. level: department, state, scenario, ...

    difference: printed parts minus printed total, must be 0. exact_difference: the same in atoms, must be 0.
    """

    level: str
    parts: int
    total: Decimal
    difference: Decimal
    exact_difference: int

    @property
    def good(self) -> bool:
        return self.difference == 0 and self.exact_difference == 0


@dataclass(frozen=True, slots=True)
class UnpricedRow:
    """Hours nobody gave a price for: an error row, shown on page one."""

    model: str
    pool: str | None
    cards: int
    hours: Decimal
    since: datetime
    until: datetime


@dataclass(frozen=True, slots=True)
class ForeignRow:
    """Money in another currency than the report's, of whatever kind: not converted, in no sum. hours: card-hours priced in it."""

    currency: str
    hours: Decimal
    cost: Decimal


@dataclass(frozen=True, slots=True)
class UnmappedRow:
    """A name no mapping rule matches. name: namespace or account, else user, else workload id."""

    kind: str
    name: str
    workloads: int
    hours: Decimal
    cost: Decimal


@dataclass(frozen=True, slots=True)
class AssumedPrice:
    """A price somebody assumed; every page that shows it says so."""

    price_id: str
    model: str
    pool: str | None
    price: Decimal
    source: str
    hours: Decimal
    cost: Decimal


@dataclass(frozen=True, slots=True)
class UnlistedCard:
    """A card that was seen and that no inventory lists; counted from when it was first seen."""

    card_id: str
    node_id: str
    vendor: str
    model: str
    hours: Decimal
    cost: Decimal


@dataclass(frozen=True, slots=True)
class OriginRow:
    """Where the segments' cards are from: real, imported, simulated."""

    origin: str
    cards: int
    hours: Decimal


@dataclass(frozen=True, slots=True)
class SourceDay:
    """One published UTC day this report stands on. digest: SHA-256 of its manifest, hex."""

    day: date
    revision: int
    status: str
    digest: str
    published_at: datetime


@dataclass(frozen=True, slots=True)
class MethodLine:
    """One of the five lines that say how the figures come about: a text key and its values."""

    key: str
    values: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Trust:
    """What the figures stand on.

    coverage_ratio: share of held time whose use is known, 0..1, four decimals; None when nothing was held.
    attributed_ratio: share of hours that are priced, mapped and known (the trust tile).
    missing_days: UTC days of the period that nobody has published.
    dimensions_revision, dimensions_digest: the names and prices used; None when none are published.
    data_digest: SHA-256 over all manifests' digests in order: two reports with one data digest, zone and
    currency carry one set of numbers.
    """

    checks: tuple[SumCheck, ...]
    coverage_ratio: Decimal | None
    attributed_ratio: Decimal | None
    unpriced_hours: Decimal
    unpriced: tuple[UnpricedRow, ...]
    foreign: tuple[ForeignRow, ...]
    unmapped: tuple[UnmappedRow, ...]
    assumed_prices: tuple[AssumedPrice, ...]
    unlisted: tuple[UnlistedCard, ...]
    origins: tuple[OriginRow, ...]
    days: tuple[SourceDay, ...]
    missing_days: tuple[date, ...]
    dimensions_revision: int | None
    dimensions_digest: str | None
    data_digest: str
    method: tuple[MethodLine, ...]

    @property
    def adds_up(self) -> bool:
        """Every sum check is good; a report where it is not is not sent."""
        return all(check.good for check in self.checks)


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
    list every workload, so some of the department's may not be listed."""

    department_id: str
    marks: tuple[str, ...]
    cut: bool = False


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
    def stem(self) -> str:
        """Name of the files, without suffix: ``ullage-weekly-2026-W47``."""
        return f"ullage-{self.period.kind}-{self.period.label}"


def to_json(value: object) -> object:
    """The report, or any part of it, as plain JSON values: Decimals as strings, instants as ISO 8601 with Z."""
    if type(value) is Decimal:  # nearly every value of a long list is a figure or a text
        return plain_digits(value)
    if value is None or type(value) in (str, int, bool):
        return value
    if isinstance(value, Report):
        return {"schema_version": SCHEMA_VERSION, "stem": value.stem, **_fields(value)}
    if isinstance(value, Amounts):
        extra = {"idle_cost": str(value.idle_cost), "waste_cost": str(value.waste_cost)}
        return {**_fields(value), **extra}
    if isinstance(value, Charges):
        return {**_fields(value), "total": str(value.total)}
    if isinstance(value, Trust):
        return {**_fields(value), "adds_up": value.adds_up}
    if isinstance(value, Enum):
        return value.value
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return _fields(value)
    if isinstance(value, datetime):
        return value.isoformat().replace("+00:00", "Z")
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, Mapping):
        return {str(key): to_json(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [to_json(item) for item in value]
    return value


def plain_digits(value: Decimal) -> str:
    """ASCII digits without exponent or separators, ``-`` for minus."""
    text = str(value)
    return format(value, "f") if "E" in text else text


def _fields(value: object) -> dict[str, object]:
    kind: Any = type(value)
    return {name: to_json(getattr(value, name)) for name in _names(kind)}


@cache
def _names(kind: Any) -> tuple[str, ...]:
    return tuple(field.name for field in dataclasses.fields(kind))
