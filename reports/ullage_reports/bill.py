"""The bill of a period: what everybody owes, exact in atoms and printed so that rows and columns add up.

Capacity prints as the tables of cost print it. The total is rounded half up, each column to it, the rows to what the columns leave beside
capacity, and the cells so that both add up (ledger.round_table); no cell is made from nothing. Not here: the rules of sharing
(shared_costs.py), and tables for people (bill_tables.py).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from fractions import Fraction
from typing import Any, Final

from ullage_collector import ledger
from ullage_collector.ledger import PLATFORM, UNMAPPED
from ullage_collector.published import Facts
from ullage_reports import shared_costs
from ullage_reports.bill_model import AdjustmentRow, Bill, BillGroup, BillRow, Charges, PolicyRow, SharedRow
from ullage_reports.cost_policy import DEFAULT, CostPolicy, Stretch, stretches
from ullage_reports.model import Kind
from ullage_reports.period import Period
from ullage_reports.reading import Reading, instant, us
from ullage_reports.rounding import hours_decimal
from ullage_reports.shared_costs import SQL, Payer, Shared
from ullage_reports.sql import statements
from ullage_reports.tree import BETWEEN, id_of, parents_of
from ullage_reports.trust_model import SumCheck

COLUMNS: Final = ("shared", "energy", "corrections", "credits")
"""Besides capacity, in the order of every table."""
CAPACITY: Final = "capacity"
KWH: Final = 3_600_000_000 * 1000
"""Millijoules times thousandths of a PUE in a kilowatt-hour."""
KWH_DIGITS: Final = 3
WEIGHT_DIGITS: Final = 6

Cells = dict[tuple[str, str], int]


@dataclass(frozen=True, slots=True)
class Charged:
    """A period's charges besides capacity, exact. cells: payer -> column -> atoms, signed. remainder: atoms of prices that no card share
    carries. energy, unpriced, estimated: millijoules times thousandths of the PUE; energy None: none is published. adjustments: rows of
    query ``adjustments``."""

    cells: Mapping[Payer, Mapping[str, int]]
    remainder: int
    shared: Shared
    energy: int | None
    unpriced: int
    estimated: int
    adjustments: tuple[tuple[Any, ...], ...]


def charged(facts: Facts, period: Period, currency: str, policies: Sequence[CostPolicy]) -> Charged:
    """Read and share out. facts: open over the period. Raises what shared_costs.share_out raises."""
    span = {"from_us": us(period.start), "to_us": us(period.end)}
    cut = stretches(policies, period.start, period.end)
    shared = shared_costs.share_out(facts, currency, cut)
    found: dict[Payer, dict[str, int]] = defaultdict(lambda: dict.fromkeys(COLUMNS, 0))
    for payer, atoms in shared.by_payer().items():
        found[payer]["shared"] += atoms
    sql = statements(SQL)
    rows = facts.rows(sql["energy"], {"currency": currency})
    for department, business, scenario, atoms, *_ in rows:
        found[Payer(str(department), str(business), str(scenario))]["energy"] += int(atoms)
    adjustments = facts.rows(sql["adjustments"], {"currency": currency, **span})
    for row in adjustments:
        column = "credits" if row[1] == "credit" else "corrections"
        found[Payer(str(row[2]), str(row[3]), str(row[4]))][column] += int(row[9])
    return Charged(
        cells={payer: cells for payer, cells in found.items() if any(cells.values())},
        remainder=int(facts.rows(sql["remainder"], {"currency": currency})[0][0]),
        shared=shared,
        energy=sum(int(row[4]) for row in rows) if rows else None,
        unpriced=sum(int(row[5]) for row in rows),
        estimated=sum(int(row[6]) for row in rows),
        adjustments=tuple(adjustments),
    )


def bill(
    reading: Reading, policies: Sequence[CostPolicy] = DEFAULT, tree_at: datetime | None = None
) -> tuple[Bill, tuple[SumCheck, ...]]:
    """The bill and its sum checks. tree_at: whose organisation it is told by; None: that of the period's end.

    Raises ConfigError where a policy cannot be applied.
    """
    return _Making(reading, policies, tree_at).made()


class _Making:
    """One bill in the making."""

    def __init__(self, reading: Reading, policies: Sequence[CostPolicy], tree_at: datetime | None) -> None:
        self._reading = reading
        self._charged = charged(reading.facts, reading.period, reading.currency, policies)
        self._unit = ledger.minor_atoms(reading.currency)
        self._digits = ledger.minor_units(reading.currency)
        self._organisation = reading.facts.organisation()
        self._tree_at_us = us(reading.period.end) - 1 if tree_at is None else us(tree_at)
        self._places: dict[str, str] = {}
        self._remainder = self._printed_remainder()
        self._columns = self._totals()

    def made(self) -> tuple[Bill, tuple[SumCheck, ...]]:
        own = self._own_capacity()
        departments = self._departments(own)
        groups = {
            name: self._group(name, lambda payer, name=name: _group_key(payer, name))  # type: ignore[misc]
            for name in ("business", "scenario")
        }
        total = self._charges(self._columns)
        shared = self._charged.shared
        billed = bool(self._reading.rows("energy_billed")[0][0])
        found = Bill(
            total=total,
            departments=departments,
            businesses=groups["business"],
            scenarios=groups["scenario"],
            exact={name: str(atoms) for name, atoms in self._exact().items()},
            policies=tuple(_policy(s) for s in shared.stretches),
            shared=self._shared_rows(),
            adjustments=tuple(self._adjustment(row) for row in self._charged.adjustments),
            energy_kwh=None if self._charged.energy is None else kwh(self._charged.energy),
            unpriced_kwh=kwh(self._charged.unpriced if billed else 0),
            energy_billed=billed,
            estimated_kwh=kwh(self._charged.estimated),
            hours_without_quota=shared.hours_without_quota,
        )
        moved = sum(shared.by_payer().values())
        parts: list[tuple[str, list[Charges]]] = [
            ("bill", [row.charges for row in departments if row.depth == 0]),
            ("bill_own", [row.own for row in departments]),
            ("bill_business", [row.charges for row in groups["business"]]),
            ("bill_scenario", [row.charges for row in groups["scenario"]]),
        ]
        checks = tuple(
            SumCheck(level, len(rows), total.total, _difference(rows, total), moved) for level, rows in parts
        )
        return found, checks

    # ------------------------------------------------------------------------------- the whole
    def _exact(self) -> dict[str, int]:
        found = {CAPACITY: self._reading.whole.atoms + self._charged.remainder, **dict.fromkeys(COLUMNS, 0)}
        for cells in self._charged.cells.values():
            for column, atoms in cells.items():
                found[column] += atoms
        return found

    def _printed_remainder(self) -> int:
        """What prices leave, in whole minor units: what capacity with it comes to, less capacity as it is printed. Rounded by itself it
        could bring the rest of the bill a whole unit from what its rows are."""
        if not self._charged.remainder:
            return 0
        printed = _minor(self._reading.total.cost, self._digits)
        return ledger.half_up(self._reading.whole.atoms + self._charged.remainder, self._unit) - printed

    def _totals(self) -> dict[str, int]:
        """Column -> whole minor units. Capacity is as the tables of cost print it; the others are rounded to what the total leaves."""
        exact = self._exact()
        capacity = _minor(self._reading.total.cost, self._digits) + self._remainder
        rest = {column: exact[column] for column in COLUMNS}
        low = sum(atoms // self._unit for atoms in rest.values())
        high = -sum(-atoms // self._unit for atoms in rest.values())
        wanted = ledger.half_up(sum(exact.values()), self._unit) - capacity
        return {
            CAPACITY: capacity,
            **ledger.apportion(min(high, max(low, wanted)), rest, self._unit),
        }

    def _fitted(
        self, rows: Mapping[str, Mapping[str, int]], capacity: Mapping[str, int]
    ) -> dict[str, Charges]:
        """Rows of exact atoms by column, with their printed capacity, as charges that add up to the whole."""
        columns = {column: self._columns[column] for column in COLUMNS}
        exact = {name: sum(cells.values()) for name, cells in rows.items()}
        fitted: dict[tuple[str, str], int] = {}
        if rows:
            fitted = ledger.round_table(
                {(name, column): a for name, cells in rows.items() for column, a in cells.items() if a},
                ledger.apportion(sum(columns.values()), exact, self._unit),
                columns,
                self._unit,
            )
        return {
            name: self._charges(
                {
                    CAPACITY: capacity.get(name, 0),
                    **{column: fitted.get((name, column), 0) for column in COLUMNS},
                }
            )
            for name in {**capacity, **rows}
        }

    def _charges(self, minor: Mapping[str, int]) -> Charges:
        return Charges(**{name: ledger.minor_decimal(amount, self._digits) for name, amount in minor.items()})

    # ------------------------------------------------------------------------------- departments
    def _place(self, department: str) -> str:
        """Where a department stands in the organisation the bill is told by (tree.py)."""
        found = self._places.get(department)
        if found is None:
            path = self._organisation.place(department, self._reading.span["from_us"], self._tree_at_us).path
            found = self._places[department] = BETWEEN.join(path)
        return found

    def _own_capacity(self) -> dict[str, int]:
        """Place -> printed capacity that is booked on the department itself."""
        found: dict[str, int] = defaultdict(int)
        for place, (_, own) in self._reading.figures.departments.items():
            minor = _minor(own.cost, self._digits)
            if minor or own.hours:
                found[self._place(id_of(place))] += minor
        if self._remainder:
            found[PLATFORM] += self._remainder
        return dict(found)

    def _departments(self, capacity: Mapping[str, int]) -> tuple[BillRow, ...]:
        rows: dict[str, dict[str, int]] = defaultdict(lambda: dict.fromkeys(COLUMNS, 0))
        for payer, cells in self._charged.cells.items():
            for column, atoms in cells.items():
                rows[self._place(payer.department)][column] += atoms
        own = self._fitted(rows, capacity)
        parents = parents_of(own)
        children: dict[str | None, list[str]] = defaultdict(list)
        for place, above in parents.items():
            children[above].append(place)
        nothing = self._charges(dict.fromkeys((CAPACITY, *COLUMNS), 0))
        below: dict[str, Charges] = {}

        def summed(place: str) -> Charges:
            found = own.get(place, nothing)
            for child in children[place]:
                found += summed(child)
            below[place] = found
            return found

        for root in children[None]:
            summed(root)
        listed: list[BillRow] = []

        def walk(place: str, depth: int) -> None:
            department = id_of(place)
            above = parents[place]
            listed.append(
                BillRow(
                    department_id=department,
                    name=self._reading.name(department),
                    parent_id=None if above is None else id_of(above),
                    depth=depth,
                    kind={PLATFORM: Kind.PLATFORM, UNMAPPED: Kind.UNMAPPED}.get(department, Kind.DEPARTMENT),
                    leaf=not children[place],
                    charges=below[place],
                    own=own.get(place, nothing),
                )
            )
            for child in sorted(children[place], key=order):
                walk(child, depth + 1)

        def order(place: str) -> tuple[int, Decimal, str]:
            return ({UNMAPPED: 1, PLATFORM: 2}.get(place, 0), -below[place].total, place)

        for root in sorted(children[None], key=order):
            walk(root, 0)
        return tuple(listed)

    def _group(self, name: str, key: Callable[[Payer], str]) -> tuple[BillGroup, ...]:
        rows: dict[str, dict[str, int]] = defaultdict(lambda: dict.fromkeys(COLUMNS, 0))
        for payer, cells in self._charged.cells.items():
            for column, atoms in cells.items():
                rows[key(payer)][column] += atoms
        capacity = {
            each: _minor(amounts.cost, self._digits)
            for each, amounts in self._reading.figures.groups[name].items()
        }
        if self._remainder:
            capacity[PLATFORM] = capacity.get(PLATFORM, 0) + self._remainder
        fitted = self._fitted(rows, capacity)
        order = sorted(fitted, key=lambda each: (each == PLATFORM, -fitted[each].total, each))
        return tuple(BillGroup(each, fitted[each]) for each in order)

    # ------------------------------------------------------------------------------- what stands behind it
    def _shared_rows(self) -> tuple[SharedRow, ...]:
        amounts: dict[tuple[str, str, str], int] = defaultdict(int)
        shared = self._charged.shared
        for move in shared.moves:
            policy = move.stretch.policy.policy_id
            amounts[policy, move.method, move.giver.department] -= move.atoms
            amounts[policy, move.method, move.taker.department] += move.atoms
        weights: dict[tuple[str, str, str], Fraction] = {}
        several = {(p.stretch.policy.policy_id, p.method): [0] for p in shared.pools}
        for pool in shared.pools:
            several[pool.stretch.policy.policy_id, pool.method][0] += 1
            of = sum(pool.weights.values(), Fraction(0))
            for name, weight in pool.weights.items():
                if of:
                    weights[pool.stretch.policy.policy_id, pool.method, name] = weight / of
        label = self._reading.period.label
        return tuple(
            SharedRow(
                charge_id=charge_id(label, department),
                policy_id=policy,
                method=method,
                department_id=department,
                department=self._reading.name(department),
                weight=_weight(weights.get((policy, method, department)))
                if several.get((policy, method)) == [1]
                else None,
                cost=self._reading.rounding.money(atoms),
            )
            for (policy, method, department), atoms in sorted(amounts.items())
            if atoms
        )

    def _adjustment(self, row: tuple[Any, ...]) -> AdjustmentRow:
        return AdjustmentRow(
            adjustment_id=str(row[0]),
            kind=str(row[1]),
            department_id=str(row[2]),
            department=self._reading.name(str(row[2])),
            business=row[3] or None,
            scenario=row[4] or None,
            cost_class=str(row[5]),
            period_from=None if row[6] is None else instant(int(row[6])),
            period_to=None if row[7] is None else instant(int(row[7])),
            posted_at=instant(int(row[8])),
            cost=self._reading.rounding.money(int(row[9])),
            reason=str(row[10]),
            requester=str(row[11]),
            approver=row[12],
            model=row[13],
            state=row[14],
            hours=hours_decimal(int(row[15])) if row[5] == "capacity" and int(row[15]) else None,
        )


def charge_id(label: str, department: str) -> str:
    """How ``ullage-report explain`` names what a department was given or gave in a period."""
    return f"shared/{label}/{department}"


def _group_key(payer: Payer, name: str) -> str:
    return PLATFORM if payer.department == PLATFORM else str(getattr(payer, name))


def _difference(rows: Iterable[Charges], total: Charges) -> Decimal:
    """The worst difference of any column, and of the totals."""
    listed = list(rows)
    names = (CAPACITY, *COLUMNS, "total")
    parts: list[Decimal] = [
        sum((getattr(row, name) for row in listed), Decimal(0)) - getattr(total, name) for name in names
    ]
    return max(parts, key=abs)


def _policy(stretch: Stretch) -> PolicyRow:
    policy = stretch.policy
    return PolicyRow(
        policy.policy_id, policy.digest, policy.valid_from, stretch.start, stretch.end, policy.words
    )


def _minor(money: Decimal, digits: int) -> int:
    return int(money.scaleb(digits))


def kwh(amount: int) -> Decimal:
    """Millijoules times thousandths of a PUE as kilowatt-hours, half up."""
    return Decimal(ledger.half_up(amount * 10**KWH_DIGITS, KWH)).scaleb(-KWH_DIGITS)


def _weight(weight: Fraction | None) -> Decimal | None:
    if weight is None:
        return None
    scaled = ledger.half_up(weight.numerator * 10**WEIGHT_DIGITS, weight.denominator)
    return Decimal(scaled).scaleb(-WEIGHT_DIGITS)
