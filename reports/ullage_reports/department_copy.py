"""A department's copy of a report: its own printed figures with those of the departments below it, and nothing else.

Figures are taken from the whole report as they are printed there, so both say the same. Shares are of the department's
cost, and what is known of the fleet alone (models, pools, trend, faults, other departments) is in no copy.
A department that moved within the period has all its places together. A workload of a department below it that also
stood elsewhere is not listed: its figures are another's too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal

from ullage_collector import ledger
from ullage_collector.ledger import HELD_STATES
from ullage_reports.bill_model import Bill, BillRow, Charges
from ullage_reports.model import (
    Amounts,
    Change,
    DepartmentCopy,
    DepartmentRow,
    PageOne,
    Report,
    Sentence,
    StateAmount,
    Tile,
    Unit,
    WorkloadRow,
)
from ullage_reports.rounding import change, decimal_ratio
from ullage_reports.trust_model import SumCheck, Trust


def department_copy(report: Report, department_id: str) -> Report | None:
    """The copy; None where the department has no row in the report and owes nothing: no hours, or no such department."""
    rows = _subtrees(report.departments, department_id)
    if not rows and not (report.bill and _below(report.bill.departments, department_id)):
        return None
    tops = [row for row in rows if row.depth == 0]
    total = _together([row.amounts for row in tops] or [_none_of(report.total)])
    changed = _changed([row.change for row in tops])
    rows = [replace(row, share=decimal_ratio(row.amounts.cost, total.cost)) for row in rows]
    inside = {row.department_id for row in rows}
    moved = {
        row.department_id
        for row in rows
        if _count(report.departments, row.department_id) > _count(rows, row.department_id)
    }
    listed = tuple(
        replace(row, share=decimal_ratio(row.amounts.held_cost, total.cost))
        for row in report.workloads
        if row.department_id in inside - moved
    )
    nothing = report.held - report.held
    return replace(
        report,
        cards=0,
        total=total,
        change=changed,
        page_one=_page_one(total, changed, listed),
        departments=tuple(rows),
        businesses=(),
        scenarios=(),
        vendors=(),
        models=(),
        pools=(),
        clusters=(),
        workload_count=len({row.workload_id for row in listed}),
        held=nothing.plus(row.amounts for row in listed),
        workloads=listed,
        workloads_rest=None,
        holders=(),
        incidents=(),
        findings=(),
        proposals=None,
        economics=None,
        outlook=None,
        anomalies=None,
        budgets=(),
        trend=(),
        heat=(),
        trust=_trust(report.trust, total, tops, rows),
        copy=DepartmentCopy(
            department_id, _marks(report.trust), report.workloads_rest is not None, report.nothing_priced
        ),
        bill=None if report.bill is None else _bill(report.bill, department_id),
    )


def _bill(bill: Bill, department_id: str) -> Bill:
    """What the department and those below it owe; of the policy, not what it says of other departments' shares."""
    rows = _below(bill.departments, department_id)
    inside = {row.department_id for row in rows}
    nothing = Charges(*(amount * 0 for amount in (bill.total.capacity,) * 5))
    policies = (
        replace(row, words={name: word for name, word in row.words.items() if name != "fixed"})
        for row in bill.policies
    )
    return Bill(
        total=sum((row.charges for row in rows if row.depth == 0), nothing),
        departments=tuple(rows),
        businesses=(),
        scenarios=(),
        exact={},
        policies=tuple(policies),
        shared=tuple(row for row in bill.shared if row.department_id in inside),
        adjustments=tuple(row for row in bill.adjustments if row.department_id in inside),
        energy_kwh=None if bill.energy_kwh is None else bill.energy_kwh * 0,
        energy_billed=bill.energy_billed,
        unpriced_kwh=bill.unpriced_kwh * 0,
        estimated_kwh=bill.estimated_kwh * 0,
        hours_without_quota=bill.hours_without_quota,
    )


def _below(rows: Sequence[BillRow], department_id: str) -> list[BillRow]:
    """The department's row with those below it, moved to the top; who is above is not told."""
    found: list[BillRow] = []
    for row in rows:
        if row.department_id == department_id:
            top = row.depth
            found = [replace(row, depth=0, parent_id=None)]
        elif found and row.depth <= top:
            break
        elif found:
            found.append(replace(row, depth=row.depth - top))
    return found


def _subtrees(rows: Sequence[DepartmentRow], department_id: str) -> list[DepartmentRow]:
    """The department's rows, wherever it stands, with those below, moved to the top; who is above is not told."""
    found: list[DepartmentRow] = []
    top: int | None = None
    for row in rows:
        if top is not None and row.depth <= top:
            top = None
        if top is None and row.department_id == department_id:
            top = row.depth
            found.append(replace(row, depth=0, parent_id=None))
        elif top is not None:
            found.append(replace(row, depth=row.depth - top))
    return found


def _count(rows: Sequence[DepartmentRow], department_id: str) -> int:
    return sum(row.department_id == department_id for row in rows)


def _together(parts: Sequence[Amounts]) -> Amounts:
    """One place is as it is printed; several are added, and their ratios made from the printed hours."""
    if len(parts) == 1:
        return parts[0]
    first = parts[0]
    states = tuple(
        StateAmount(
            state.state,
            sum((part.states[n].cost for part in parts), state.cost * 0),
            sum((part.states[n].hours for part in parts), state.hours * 0),
        )
        for n, state in enumerate(first.states)
    )
    hours = sum((part.hours for part in parts), first.hours * 0)
    by_state = {state.state: state.hours for state in states}
    known = hours - by_state[ledger.UNKNOWN]
    return Amounts(
        cost=sum((part.cost for part in parts), first.cost * 0),
        hours=hours,
        states=states,
        unpriced_hours=sum((part.unpriced_hours for part in parts), first.unpriced_hours * 0),
        used_ratio=decimal_ratio(by_state[ledger.USED], known),
        known_ratio=decimal_ratio(known, hours),
    )


def _none_of(amounts: Amounts) -> Amounts:
    """No hours at all, of a department that owes all the same."""
    states = tuple(StateAmount(state.state, state.cost * 0, state.hours * 0) for state in amounts.states)
    nothing = amounts.cost * 0
    return Amounts(nothing, amounts.hours * 0, states, amounts.unpriced_hours * 0, None, None)


def _changed(parts: Sequence[Change | None]) -> Change | None:
    known = [part for part in parts if part is not None]
    if len(known) != len(parts) or not parts:
        return None
    before = sum((part.previous for part in known), Decimal(0))
    return change(before + sum((part.difference for part in known), Decimal(0)), before)


def _page_one(total: Amounts, changed: Change | None, listed: Sequence[WorkloadRow]) -> PageOne:
    idle = total.state_cost(ledger.ALLOCATED_IDLE)
    return PageOne(
        sentences=(_cost(total, changed), _idle(total, idle), *_action(total, listed)),
        tiles=(
            Tile("department_cost", Unit.MONEY, total.cost, changed, ""),
            Tile("used_ratio", Unit.RATIO, total.used_ratio, None, "up"),
            Tile("idle_held_cost", Unit.MONEY, idle, None, "down"),
            Tile("known_ratio", Unit.RATIO, total.known_ratio, None, "up"),
        ),
        states=tuple(state for state in total.states if state.state in HELD_STATES),
        state_changes={},
    )


def _cost(total: Amounts, changed: Change | None) -> Sentence:
    if changed is None:
        return Sentence("cost", {"cost": total.cost})
    told = {"previous": changed.previous, "difference": changed.difference, "ratio": changed.ratio}
    return Sentence("cost_change", {"cost": total.cost, **told})


def _idle(total: Amounts, idle: Decimal) -> Sentence:
    """By money; by hours where nothing is priced."""
    ratio = (
        decimal_ratio(idle, total.cost)
        if total.cost
        else decimal_ratio(total.state_hours(ledger.ALLOCATED_IDLE), total.hours)
    )
    return (
        Sentence("waste", {"ratio": ratio, "allocated_idle_ratio": ratio})
        if ratio
        else Sentence("no_waste", {})
    )


def _action(total: Amounts, listed: Sequence[WorkloadRow]) -> tuple[Sentence, ...]:
    """What to do first; nothing is said where cards were held idle by workloads that are not listed."""
    workloads = [row for row in listed if row.amounts.idle_hours]
    if not workloads:
        return () if total.state_hours(ledger.ALLOCATED_IDLE) else (Sentence("no_action", {}),)
    first = min(workloads, key=lambda row: (-row.amounts.idle_cost, -row.amounts.idle_hours, row.workload_id))
    told: dict[str, Decimal | int | str | None] = {
        "count": len({row.workload_id for row in workloads}),
        "saving": total.state_cost(ledger.ALLOCATED_IDLE),
        "department": first.department_id,
        "workload": first.workload_id,
    }
    return (Sentence("action", told),)


def _marks(trust: Trust) -> tuple[str, ...]:
    found = {row.origin for row in trust.origins if row.hours or row.cards}
    return tuple(
        word
        for word, so in (
            ("simulated", "simulated" in found),
            ("imported", "imported" in found),
            ("assumed", bool(trust.assumed_prices)),
        )
        if so
    )


def _trust(
    trust: Trust, total: Amounts, tops: Sequence[DepartmentRow], rows: Sequence[DepartmentRow]
) -> Trust:
    """What the copy stands on; its own rows are checked against its own total, and the whole's checks against their kind."""
    states = sum((state.cost for state in total.states), Decimal(0)) - total.cost
    own = sum((row.own.cost for row in rows), Decimal(0)) - total.cost
    exact = max((check.exact_difference for check in trust.checks), key=abs, default=0)
    return replace(
        trust,
        checks=(
            SumCheck("state", len(total.states), total.cost, states, exact),
            SumCheck("department_own", len(rows), total.cost, own, exact),
        ),
        coverage_ratio=total.known_ratio,
        attributed_ratio=None,
        unpriced_hours=total.unpriced_hours,
        unpriced=(),
        foreign=(),
        unmapped=(),
        assumed_prices=(),
        unlisted=(),
        origins=(),
    )
