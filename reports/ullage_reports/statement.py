"""A report's numbers, from published days: read once, summed exactly, rounded once, checked before anybody sees them.

Not here: how they are printed (html, pdf, csv_files, json_form), and the shape they have (model.py).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from typing import Final

from ullage_collector import ledger
from ullage_collector.ledger import PLATFORM, UNMAPPED
from ullage_collector.published import Facts, Published
from ullage_contract.errors import ConfigError
from ullage_reports import period as periods
from ullage_reports import timeline
from ullage_reports import trust as trust_page
from ullage_reports.anomalies import anomalies
from ullage_reports.anomaly_rules import Rules
from ullage_reports.bill import bill
from ullage_reports.bill_model import Bill
from ullage_reports.budget_settings import Budget
from ullage_reports.budgets import budget_rows
from ullage_reports.budgets import tile as budget_tile
from ullage_reports.cost_policy import DEFAULT, CostPolicy
from ullage_reports.currencies import currency_of
from ullage_reports.economics import economics
from ullage_reports.model import (
    RANKED,
    TOP_NAMES,
    Amounts,
    Change,
    ClosedBy,
    DepartmentRow,
    FindingRow,
    GroupRow,
    HolderRow,
    IncidentRow,
    Kind,
    ModelRow,
    Report,
    Status,
)
from ullage_reports.outlook import outlook
from ullage_reports.page_one import page_one
from ullage_reports.peaks import Peak
from ullage_reports.period import Period, PeriodKind
from ullage_reports.proposals import proposals
from ullage_reports.reading import GROUPS, Figures, aware, instant, read
from ullage_reports.rounding import Sums, change, decimal_ratio, hours_decimal
from ullage_reports.tree import id_of
from ullage_reports.workloads import workloads

TOP_FINDINGS: Final = 10_000
"""Rows of findings: a fleet without agents has one a node, and a page says how many say the same."""
LONG: Final = (PeriodKind.QUARTERLY, PeriodKind.YEARLY)
"""Kinds of several months, which look ahead."""
COUNTED: Final = (PeriodKind.MONTHLY, *LONG)
"""Kinds that say what work cost. our choice: a day or a week is too short for what a job costs."""


def statement(
    published: Published,
    period: Period,
    *,
    currency: str | None = None,
    now: datetime,
    verify: bool = True,
    tree_at: datetime | None = None,
    policies: Sequence[CostPolicy] = DEFAULT,
    peaks: tuple[Peak, ...] | None = None,
    unusual: Rules | None = None,
    budgets: Sequence[Budget] = (),
) -> Report:
    """The report of a period.

    currency: ISO 4217; None: the only one the period is priced in. now: when it is made; a closed period's was made
    when it was closed, as everything it says is from then. verify: check every published
    file against its manifest first. tree_at: whose organisation sums all hours; None: each hour by the one valid then. policies: who
    pays for what nobody held, as cost_policy.load gives them. peaks: what cards can do at most, as peaks.load gives them; None: what is shipped. unusual: by which rules anomalies are looked for; None: they are not. budgets:
    what may be spent, each in its month or quarter.
    Raises ConfigError when prices are in several currencies and none was chosen or a policy cannot be applied, StoreError for published files that
    are not what their manifests say. A report that does not add up is returned: its ``trust.adds_up`` is False.
    """
    with published.open(period.start, period.end, verify=verify) as facts:
        chosen = currency_of(facts, currency, period)
        before = _before(published, period, chosen, verify, tree_at, facts)
        made = facts.closing.closed_at if facts.closing else now
        report = _Statement(facts, period, chosen, made, before, tree_at, policies, peaks).report()
        closing, nothing = facts.closing, not facts.days
    if nothing:
        return report
    if budgets:
        rows = budget_rows(published, budgets, period, verify=verify, beside=closing, policies=policies)
        report = replace(report, budgets=rows)
        shown = budget_tile(rows)
        if shown is not None:
            report = replace(report, page_one=replace(report.page_one, tiles=(*report.page_one.tiles, shown)))
    if unusual is None:
        return report
    found = anomalies(
        published, period.first, period.last, period.zone, chosen, unusual, verify=verify, beside=closing
    )
    return replace(report, anomalies=found)


def _before(
    published: Published,
    period: Period,
    currency: str,
    verify: bool,
    tree_at: datetime | None,
    now: Facts,
) -> tuple[Period, Figures] | None:
    """The period before, where all of it is published: half a period is no comparison.

    now: of the period itself; the one before a closed period is read as it was when that was closed.
    """
    try:
        earlier = periods.previous(period)
    except (ConfigError, OverflowError):
        return None
    if any(published.facts(day) is None for day in earlier.utc_days()):
        return None
    with published.open(earlier.start, earlier.end, verify=verify, beside=now.closing) as facts:
        if facts.missing:
            return None
        return earlier, read(facts, earlier, currency, tree_at).figures


class _Statement:
    """One report in the making."""

    def __init__(
        self,
        facts: Facts,
        period: Period,
        currency: str,
        now: datetime,
        before: tuple[Period, Figures] | None,
        tree_at: datetime | None,
        policies: Sequence[CostPolicy],
        peaks: tuple[Peak, ...] | None,
    ) -> None:
        self._peaks = peaks
        self._tree_at = tree_at
        self._policies = policies
        self._reading = read(facts, period, currency, tree_at)
        self._figures = self._reading.figures
        self._rounding = self._reading.rounding
        self._total = self._reading.total
        self._currency = currency
        self._now = now
        self._before = before

    def report(self) -> Report:
        reading = self._reading
        departments = self._departments()
        groups = {name: self._group(name) for name in GROUPS}
        models = self._models()
        holders = self._holders()
        slots = timeline.slots_of(reading)
        trend = timeline.trend(reading, slots)
        held = workloads(reading)
        owed, checks = bill(reading, self._policies, self._tree_at)
        trust = trust_page.trust(reading, departments, groups, models, trend, (held.check, *checks))
        proposed = proposals(reading)
        idle_workloads = int(self._reading.rows("idle_workloads")[0][0])
        return Report(
            period=reading.period,
            previous=self._before[0] if self._before else None,
            currency=self._currency,
            minor_units=ledger.minor_units(self._currency),
            status=self._status(owed),
            generated_at=self._now,
            cards=reading.whole.cards,
            total=self._total,
            change=self._changed(self._total, self._before[1].rounding.total if self._before else None),
            page_one=page_one(
                reading, self._before[1] if self._before else None, holders, idle_workloads, proposed
            ),
            departments=departments,
            businesses=groups["business"],
            scenarios=groups["scenario"],
            vendors=groups["vendor"],
            models=models,
            pools=groups["pool"],
            clusters=groups["cluster"],
            workload_count=held.count,
            held=held.held,
            workloads=held.rows,
            workloads_rest=held.rest,
            holders=holders,
            incidents=self._incidents(),
            findings=self._findings(),
            trend=trend,
            heat=timeline.heat(reading, slots),
            trust=trust,
            tree=self._figures.tree,
            closed=self._closed(),
            proposals=proposed,
            outlook=outlook(reading, trend) if reading.period.kind in LONG else None,
            economics=economics(reading, held.rows, self._peaks) if reading.period.kind in COUNTED else None,
            bill=owed,
        )

    def _closed(self) -> ClosedBy | None:
        closing = self._reading.facts.closing
        if closing is None:
            return None
        return ClosedBy(closing.closed_at, closing.closed_by, closing.rule, closing.reason)

    def _status(self, owed: Bill) -> Status:
        foreign = self._reading.rows("foreign_currencies", {"currency": self._currency, **self._reading.span})
        if (
            self._reading.facts.missing
            or not self._reading.whole.lines
            or self._total.unpriced_hours
            or owed.unpriced_kwh
            or foreign
        ):
            return Status.PARTIAL
        facts = self._reading.facts
        return Status.SEALED if facts.sealed or facts.closing else Status.PROVISIONAL

    def _departments(self) -> tuple[DepartmentRow, ...]:
        figures = self._figures
        children: dict[str | None, list[str]] = defaultdict(list)
        for key, parent in figures.parents.items():
            children[parent].append(key)
        rows: list[DepartmentRow] = []

        def walk(key: str, depth: int) -> None:
            amounts, own = figures.departments[key]
            department = id_of(key)
            named = figures.names.get(department)
            before = self._before[1].departments.get(key) if self._before else None
            rows.append(
                DepartmentRow(
                    department_id=department,
                    name=str(named[1]) if named else department,
                    parent_id=None if (above := figures.parents[key]) is None else id_of(above),
                    depth=depth,
                    kind={PLATFORM: Kind.PLATFORM, UNMAPPED: Kind.UNMAPPED}.get(department, Kind.DEPARTMENT),
                    leaf=not children[key],
                    owner=named[3] if named else None,
                    cost_center=named[4] if named else None,
                    amounts=amounts,
                    own=own,
                    share=decimal_ratio(amounts.cost, self._total.cost),
                    change=self._changed(amounts, before[0] if before else None),
                )
            )
            for child in sorted(children[key], key=order):
                walk(child, depth + 1)

        def order(key: str) -> tuple[int, Decimal, Decimal, str]:
            amounts = figures.departments[key][0]
            last = {UNMAPPED: 1, PLATFORM: 2}.get(key, 0)
            return (last, -amounts.cost, -amounts.hours, key)

        for root in sorted(children[None], key=order):
            walk(root, 0)
        return tuple(rows)

    def _group(self, name: str) -> tuple[GroupRow, ...]:
        rows = []
        for key, amounts in self._figures.groups[name].items():
            before = self._before[1].groups[name].get(key) if self._before else None
            rows.append(
                GroupRow(
                    key=key,
                    amounts=amounts,
                    share=decimal_ratio(amounts.cost, self._total.cost),
                    change=self._changed(amounts, before),
                )
            )
        return tuple(
            sorted(rows, key=lambda r: (r.key == PLATFORM, -r.amounts.cost, -r.amounts.hours, r.key))
        )

    def _models(self) -> tuple[ModelRow, ...]:
        exact: dict[tuple[str, str], Sums] = defaultdict(Sums)
        for c in self._reading.cells:
            exact[c.vendor, c.model].add(c.state, c.quantity, c.atoms, c.unpriced)
        digits = ledger.minor_units(self._currency) + 2
        rows = []
        for vendor, model, cards, low, high, assumed, used in self._reading.rows(
            "models", {"currency": self._currency}
        ):
            sums = exact[str(vendor), str(model)]
            amounts = self._figures.models[str(vendor), str(model)]
            effective = None
            if used and low is not None:
                # atoms / quantity is micro-units an hour; digits after the point of the currency unit
                scaled = ledger.half_up(sums.all_atoms * 10**digits, int(used) * ledger.MICRO)
                effective = Decimal(scaled).scaleb(-digits)
            rows.append(
                ModelRow(
                    model=str(model),
                    vendor=str(vendor),
                    cards=int(cards),
                    price_low=None if low is None else ledger.price_decimal(int(low)),
                    price_high=None if high is None else ledger.price_decimal(int(high)),
                    assumed=bool(assumed),
                    effective_price=effective,
                    amounts=amounts,
                    share=decimal_ratio(amounts.cost, self._total.cost),
                )
            )
        return tuple(sorted(rows, key=lambda r: (-r.amounts.cost, -r.amounts.hours, r.vendor, r.model)))

    def _holders(self) -> tuple[HolderRow, ...]:
        last = self._reading.rows("last_instant")[0][0]
        return tuple(
            HolderRow(
                workload_id=str(workload),
                department_id=str(department),
                department=self._reading.name(str(department)),
                business=business,
                scenario=scenario,
                cards=int(cards),
                card_id=str(card),
                node_id=str(node),
                model=str(model),
                since=instant(int(since)),
                idle_hours=hours_decimal(int(idle)),
                idle_cost=self._rounding.money(int(atoms)),
                held_hours=hours_decimal(int(held)),
                running=int(until) == int(last),
                priced=bool(priced),
            )
            for workload, department, business, scenario, cards, card, node, model, since, idle, atoms, held, until, priced
            in self._reading.rows("holders", {"currency": self._currency, "top": RANKED})
        )  # fmt: skip

    def _incidents(self) -> tuple[IncidentRow, ...]:
        parameters = {"currency": self._currency, "top": TOP_NAMES, **self._reading.span}
        return tuple(
            IncidentRow(
                incident_id=str(row[0]),
                family=row[1],
                subject=row[2],
                node_id=row[3],
                vendor=row[4],
                cause=row[5],
                code=row[6],
                severity=row[7],
                onset=aware(row[8]),
                closed_at=aware(row[9]) if row[9] else None,
                confirmed=bool(row[10]),
                action=row[11],
                origin=row[12],
                hours=hours_decimal(int(row[13])),
                cost=self._rounding.money(int(row[14])),
                priced=bool(row[15]),
            )
            for row in self._reading.rows("incidents", parameters)
        )

    def _findings(self) -> tuple[FindingRow, ...]:
        return tuple(
            FindingRow(
                finding_id=str(row[0]),
                kind=row[1],
                family=row[2],
                subject=row[3],
                since=aware(row[4]),
                until=aware(row[5]) if row[5] else None,
                confidence=Decimal(str(round(float(row[6]), 4))),
                owner=row[7],
                action=row[8],
            )
            for row in self._reading.rows("findings", {"top": TOP_FINDINGS, **self._reading.span})
        )

    def _changed(self, amounts: Amounts, before: Amounts | None) -> Change | None:
        """Against the period before; a row that was not there then cost nothing. None: there is nothing to compare with."""
        if self._before is None:
            return None
        return change(amounts.cost, before.cost if before else amounts.cost * 0)
