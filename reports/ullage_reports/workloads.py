"""Who held cards: every workload of a period with what it held, used, left idle, and what is not known.

Not here: the ranked list of idle holders (statement.py), and how the rows are printed (tables.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from ullage_collector import ledger
from ullage_reports.model import HeldAmounts, WorkloadRest, WorkloadRow
from ullage_reports.reading import Reading, instant
from ullage_reports.rounding import Sums, decimal_ratio
from ullage_reports.trust_model import SumCheck

LISTED: Final = 100_000
"""Rows of the list; the rest is one row. our choice: a file of 20 MB opens in a spreadsheet, one of 200 MB does not."""


@dataclass(frozen=True, slots=True)
class Workloads:
    """count: distinct workloads. held: everything held in the period. rows and rest add up to it."""

    count: int
    held: HeldAmounts
    rows: tuple[WorkloadRow, ...]
    rest: WorkloadRest | None
    check: SumCheck


def workloads(reading: Reading, *, listed: int = LISTED) -> Workloads:
    """The workloads of an open period, dearest first. listed: how many rows; what comes after is one."""
    found = reading.rows("workloads", {"currency": reading.currency, "top": listed})
    exact: dict[str, Sums] = {}
    for row in found:
        sums = exact[_key(row[0])] = Sums()
        for n, state in enumerate(ledger.HELD_STATES):
            sums.add(state, int(row[11 + 2 * n]), int(row[12 + 2 * n]), 0)
        sums.unpriced = int(row[17])
    amounts, held = reading.rounding.held(exact)
    rows = tuple(
        WorkloadRow(
            workload_id=str(row[2]),
            name=row[3],
            kind=row[4],
            department_id=str(row[5]),
            department=reading.name(str(row[5])),
            business=row[6],
            scenario=row[7],
            cards=int(row[8]),
            since=instant(int(row[9])),
            until=instant(int(row[10])),
            amounts=amounts[_key(row[0])],
            share=decimal_ratio(amounts[_key(row[0])].held_cost, reading.total.cost),
        )
        for row in found
        if row[0] <= listed
    )
    last = found[-1] if found and found[-1][0] > listed else None
    rest = WorkloadRest(int(last[1]), amounts[_key(last[0])]) if last else None
    return Workloads(
        count=int(reading.rows("workload_count")[0][0]),
        held=held,
        rows=rows,
        rest=rest,
        check=_check(reading, exact, rows, rest, held),
    )


def _key(place: int) -> str:
    """Rows in rank order, so that a tie of remainders goes to the dearer workload."""
    return f"{place:07d}"


def _check(
    reading: Reading,
    exact: dict[str, Sums],
    rows: tuple[WorkloadRow, ...],
    rest: WorkloadRest | None,
    held: HeldAmounts,
) -> SumCheck:
    """Every printed row, column and the held part of the report's total; exactly, against the cells."""
    listed = [row.amounts for row in rows] + ([rest.amounts] if rest else [])
    zero = held - held
    summed = zero.plus(listed)
    total = reading.total
    differences = [
        *(
            getattr(summed, name) - getattr(held, name)
            for name in ("held_hours", "used_hours", "idle_hours", "unknown_hours", "unpriced_hours")
        ),
        *(
            getattr(summed, name) - getattr(held, name)
            for name in ("held_cost", "used_cost", "idle_cost", "unknown_cost")
        ),
        held.held_cost - total.state_cost(*ledger.HELD_STATES),
        held.held_hours - total.state_hours(*ledger.HELD_STATES),
        *(a.held_cost - a.used_cost - a.idle_cost - a.unknown_cost for a in listed),
        *(a.held_hours - a.used_hours - a.idle_hours - a.unknown_hours for a in listed),
    ]
    cells = [c for c in reading.cells if c.state in ledger.HELD_STATES]
    return SumCheck(
        level="workload",
        parts=len(listed),
        total=held.held_cost,
        difference=max(differences, key=abs, default=Decimal(0)),
        exact_difference=abs(sum(c.atoms for c in cells) - sum(s.all_atoms for s in exact.values()))
        + abs(sum(c.quantity for c in cells) - sum(s.all_quantity for s in exact.values())),
    )
