"""A bill beside a whole report for the renderers' tests: from its own tables, so that it adds up. Not a test."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal

from ullage_reports.bill_model import AdjustmentRow, Bill, BillGroup, BillRow, Charges, PolicyRow, SharedRow
from ullage_reports.model import GroupRow, Report
from ullage_reports.trust_model import SumCheck

WORDS = {
    "unallocated_idle": "proportional",
    "faulty": "platform_pays_from_fault_onset",
    "allocated_idle": "department_pays",
    "borrowing": "reserved_with_half_credit",
}
NOTHING = Decimal("0.00")


def billed(report: Report, *, energy: bool = True, credit: Decimal = Decimal("-1250000.00")) -> Report:
    """The report with half of the platform's cost shared out, energy, a correction and a credit to the first department."""
    leaves = [row for row in report.departments if row.leaf]
    platform = next((row for row in leaves if row.kind == "platform"), None)
    others = [row for row in leaves if row is not platform]
    pool = (platform.own.cost / 2).quantize(Decimal("0.01")) if platform and others else NOTHING
    own: dict[str, Charges] = {}
    left = pool
    for number, row in enumerate(others):
        given = left if number == len(others) - 1 else (pool / len(others)).quantize(Decimal("0.01"))
        left -= given
        own[row.department_id] = Charges(
            row.own.cost,
            given,
            (row.own.cost / 40).quantize(Decimal("0.01")) if energy else NOTHING,
            Decimal("-90321.07") if number == 0 else NOTHING,
            credit if number == 1 % len(others) else NOTHING,
        )
    if platform is not None:
        own[platform.department_id] = Charges(platform.own.cost, -pool, NOTHING, Decimal("90321.07"), NOTHING)
    nothing = Charges(*(NOTHING,) * 5)
    rows = []
    for number, row in enumerate(report.departments):
        below = [row]
        for other in report.departments[number + 1 :]:
            if other.depth <= row.depth:
                break
            below.append(other)
        rows.append(
            BillRow(
                *(row.department_id, row.name, row.parent_id, row.depth, row.kind, row.leaf),
                sum((own.get(each.department_id, nothing) for each in below), nothing),
                own.get(row.department_id, nothing),
            )
        )
    total = sum(own.values(), nothing)
    bill = Bill(
        total=total,
        departments=tuple(rows),
        businesses=_groups(report.businesses, total),
        scenarios=_groups(report.scenarios, total),
        exact={},
        policies=(
            PolicyRow(
                *("2026", "0f3a9c2b7d11", datetime(2026, 1, 1, tzinfo=UTC)),
                *(report.period.start, report.period.end, WORDS),
            ),
        ),
        shared=tuple(
            SharedRow(
                *(
                    f"shared/{report.period.label}/{name}",
                    "2026",
                    "unallocated_idle/proportional",
                    name,
                    name,
                ),
                *(Decimal("0.016667") if name != "platform" else None, charges.shared),
            )
            for name, charges in own.items()
            if charges.shared
        ),
        adjustments=tuple(_adjustments(report, others)),
        energy_kwh=Decimal("48211.507") if energy else None,
        energy_billed=True,
        unpriced_kwh=Decimal("12.500") if energy else Decimal(0),
        estimated_kwh=Decimal("301.250") if energy else Decimal(0),
        hours_without_quota=3,
    )
    checks = (*report.trust.checks, SumCheck("bill", len(rows), total.total, NOTHING, 0))
    return replace(report, bill=bill, trust=replace(report.trust, checks=checks))


def _groups(groups: Sequence[GroupRow], total: Charges) -> tuple[BillGroup, ...]:
    """Capacity as it is; everything else with the first, so that they add up."""
    return tuple(
        BillGroup(
            row.key,
            Charges(row.amounts.cost, *(NOTHING,) * 4)
            if number
            else Charges(row.amounts.cost, total.shared, total.energy, total.corrections, total.credits),
        )
        for number, row in enumerate(groups)
    )


def _adjustments(report: Report, others: Sequence[object]) -> list[AdjustmentRow]:
    names = [getattr(row, "department_id", "") for row in others[:2]]
    since = datetime(2026, 9, 30, 16, tzinfo=UTC)
    until = datetime(2026, 10, 31, 16, tzinfo=UTC)
    said = (
        "XID 79 on GPU-0a11 was confirmed late; the card was out of order for nine hours before it was told"
    )
    return [
        AdjustmentRow(
            *(str(number), "correction" if closed else "credit", name, name, None, "training", "capacity"),
            *(
                since if closed else None,
                until if closed else None,
                report.period.start,
                cost,
                said,
                "Li Lei",
                "Han Mei",
            ),
        )
        for number, (name, closed, cost) in enumerate(
            zip(names, (True, False), (Decimal("-90321.07"), Decimal("-1250000.00")), strict=False), 17
        )
    ]
