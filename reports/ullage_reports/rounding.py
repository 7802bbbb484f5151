"""Exact sums into printed amounts: the totals are rounded once, every table is fitted to them both ways.

Money and hours of the whole are rounded half up; the seven states to that whole; each table's rows to the same
whole; and a row's states so that rows and columns both add up (ledger.round_table). Not here: reading sums.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Final

from ullage_collector import ledger
from ullage_collector.ledger import STATES, Branch, Rounded
from ullage_reports.model import Amounts, Change, StateAmount

HOUR_DIGITS: Final = 2
"""Decimals of card-hours on pages. our choice: 0.01 h is 36 s of a card, finer than anybody acts on."""
HOUR_UNIT: Final = ledger.QUANTITY_PER_CARD_HOUR // 10**HOUR_DIGITS
RATIO_DIGITS: Final = 4


@dataclass(slots=True)
class Sums:
    """Exact sums of one row. quantity, atoms: by state. unpriced: quantity without a price."""

    quantity: dict[str, int] = field(default_factory=lambda: dict.fromkeys(STATES, 0))
    atoms: dict[str, int] = field(default_factory=lambda: dict.fromkeys(STATES, 0))
    unpriced: int = 0

    def add(self, state: str, quantity: int, atoms: int, unpriced: int) -> None:
        """One cell more."""
        self.quantity[state] += quantity
        self.atoms[state] += atoms
        self.unpriced += unpriced

    @property
    def all_quantity(self) -> int:
        return sum(self.quantity.values())

    @property
    def all_atoms(self) -> int:
        return sum(self.atoms.values())


@dataclass(frozen=True, slots=True)
class _Whole:
    """The printed total in whole units, and its states': what every table is fitted to."""

    cost: int
    hours: int
    unpriced: int
    state_cost: Mapping[str, int]
    state_hours: Mapping[str, int]


class Rounding:
    """Rounds the tables of one report. total: exact sums of everything. currency: ISO 4217."""

    def __init__(self, total: Sums, currency: str) -> None:
        self._digits = ledger.minor_units(currency)
        self._unit = ledger.minor_atoms(currency)
        cost = ledger.half_up(total.all_atoms, self._unit)
        hours = ledger.half_up(total.all_quantity, HOUR_UNIT)
        self._whole = _Whole(
            cost=cost,
            hours=hours,
            unpriced=ledger.half_up(total.unpriced, HOUR_UNIT),
            state_cost=ledger.apportion(cost, total.atoms, self._unit),
            state_hours=ledger.apportion(hours, total.quantity, HOUR_UNIT),
        )
        whole = self._whole
        self.total = self._amounts(
            whole.cost, whole.hours, whole.unpriced, whole.state_cost, whole.state_hours, total
        )

    def money(self, atoms: int) -> Decimal:
        """One figure alone, half up."""
        return ledger.minor_decimal(ledger.half_up(atoms, self._unit), self._digits)

    def table(self, rows: Mapping[str, Sums]) -> dict[str, Amounts]:
        """Rows that add up to the total, and whose states add up to the total's states. Rows are exactly the whole.

        Raises LedgerError (BUG) when the rows are not parts of the total.
        """
        whole = self._whole
        cost = (
            ledger.apportion(whole.cost, {k: s.all_atoms for k, s in rows.items()}, self._unit)
            if rows
            else {}
        )
        return self._fitted(rows, cost, self._row_hours(rows), self._row_unpriced(rows))

    def tree(
        self, own: Mapping[str, Sums], parent: Mapping[str, str | None]
    ) -> dict[str, tuple[Amounts, Amounts]]:
        """Rows of a tree: key -> (with everything below, what is its own). Children and own add up to their parent.

        own: key -> what is booked on it. parent: key -> its parent or None, for every key of the tree, without cycles.
        """
        children: dict[str | None, list[str]] = {}
        for key, above in parent.items():
            children.setdefault(above, []).append(key)
        nothing = Sums()

        def branch(key: str, part: str) -> Branch:
            sums = own.get(key, nothing)
            amount = {"cost": sums.all_atoms, "hours": sums.all_quantity, "unpriced": sums.unpriced}[part]
            return Branch(amount, {child: branch(child, part) for child in sorted(children.get(key, ()))})

        whole = self._whole
        rounded: dict[str, dict[str, int]] = {}
        for part, unit, total in (
            ("cost", self._unit, whole.cost),
            ("hours", HOUR_UNIT, whole.hours),
            ("unpriced", HOUR_UNIT, whole.unpriced),
        ):
            roots = Branch(0, {key: branch(key, part) for key in sorted(children.get(None, ()))})
            rounded[part] = {}
            if roots.children:
                _own_parts(ledger.round_tree(roots, unit, total=total), rounded[part])
        every = {key: own.get(key, nothing) for key in parent}
        mine = self._fitted(every, rounded["cost"], rounded["hours"], rounded["unpriced"])

        def below(key: str) -> list[str]:
            found = [key]
            for child in children.get(key, ()):
                found.extend(below(child))
            return found

        return {key: (self._joined([(mine[k], every[k]) for k in below(key)]), mine[key]) for key in parent}

    def _row_hours(self, rows: Mapping[str, Sums]) -> dict[str, int]:
        if not rows:
            return {}
        return ledger.apportion(self._whole.hours, {k: s.all_quantity for k, s in rows.items()}, HOUR_UNIT)

    def _row_unpriced(self, rows: Mapping[str, Sums]) -> dict[str, int]:
        if not rows:
            return {}
        return ledger.apportion(self._whole.unpriced, {k: s.unpriced for k, s in rows.items()}, HOUR_UNIT)

    def _fitted(
        self,
        rows: Mapping[str, Sums],
        cost: Mapping[str, int],
        hours: Mapping[str, int],
        unpriced: Mapping[str, int],
    ) -> dict[str, Amounts]:
        if not rows:
            return {}
        whole = self._whole
        cost_cells = ledger.round_table(
            {(k, state): a for k, s in rows.items() for state, a in s.atoms.items() if a},
            cost,
            whole.state_cost,
            self._unit,
        )
        hour_cells = ledger.round_table(
            {(k, state): q for k, s in rows.items() for state, q in s.quantity.items() if q},
            hours,
            whole.state_hours,
            HOUR_UNIT,
        )
        return {
            key: self._amounts(
                cost[key],
                hours[key],
                unpriced[key],
                {state: cost_cells.get((key, state), 0) for state in STATES},
                {state: hour_cells.get((key, state), 0) for state in STATES},
                sums,
            )
            for key, sums in rows.items()
        }

    def _joined(self, parts: Iterable[tuple[Amounts, Sums]]) -> Amounts:
        amounts = []
        exact = Sums()
        for amount, sums in parts:
            amounts.append(amount)
            for state in STATES:
                exact.add(state, sums.quantity[state], sums.atoms[state], 0)
        zero_cost = ledger.minor_decimal(0, self._digits)
        zero_hours = ledger.minor_decimal(0, HOUR_DIGITS)
        return Amounts(
            cost=sum((a.cost for a in amounts), zero_cost),
            hours=sum((a.hours for a in amounts), zero_hours),
            states=tuple(
                StateAmount(
                    state,
                    sum((a.states[n].cost for a in amounts), zero_cost),
                    sum((a.states[n].hours for a in amounts), zero_hours),
                )
                for n, state in enumerate(STATES)
            ),
            unpriced_hours=sum((a.unpriced_hours for a in amounts), zero_hours),
            used_ratio=used_ratio(exact),
            known_ratio=known_ratio(exact),
        )

    def _amounts(
        self,
        cost: int,
        hours: int,
        unpriced: int,
        state_cost: Mapping[str, int],
        state_hours: Mapping[str, int],
        exact: Sums,
    ) -> Amounts:
        return Amounts(
            cost=ledger.minor_decimal(cost, self._digits),
            hours=ledger.minor_decimal(hours, HOUR_DIGITS),
            states=tuple(
                StateAmount(
                    state,
                    ledger.minor_decimal(state_cost[state], self._digits),
                    ledger.minor_decimal(state_hours[state], HOUR_DIGITS),
                )
                for state in STATES
            ),
            unpriced_hours=ledger.minor_decimal(unpriced, HOUR_DIGITS),
            used_ratio=used_ratio(exact),
            known_ratio=known_ratio(exact),
        )


def _own_parts(node: Rounded, into: dict[str, int]) -> None:
    for key, child in node.children.items():
        into[key] = child.own
        _own_parts(child, into)


def hours_decimal(quantity: int) -> Decimal:
    """Card-hours of one figure alone, two decimals, half up."""
    return ledger.minor_decimal(ledger.half_up(quantity, HOUR_UNIT), HOUR_DIGITS)


def ratio(part: int, whole: int) -> Decimal | None:
    """part / whole, four decimals, half up; None where there is no whole."""
    if whole == 0:
        return None
    if whole < 0:
        part, whole = -part, -whole
    return Decimal(ledger.half_up(part * 10**RATIO_DIGITS, whole)).scaleb(-RATIO_DIGITS)


def decimal_ratio(part: Decimal, whole: Decimal) -> Decimal | None:
    """The same of printed figures of one unit."""
    digits = min(int(part.as_tuple().exponent), int(whole.as_tuple().exponent), 0)
    return ratio(int(part.scaleb(-digits)), int(whole.scaleb(-digits)))


def used_ratio(sums: Sums) -> Decimal | None:
    """Used over what is known to be used or not."""
    return ratio(sums.quantity[ledger.USED], sums.all_quantity - sums.quantity[ledger.UNKNOWN])


def known_ratio(sums: Sums) -> Decimal | None:
    """Known over all."""
    whole = sums.all_quantity
    return ratio(whole - sums.quantity[ledger.UNKNOWN], whole)


def change(now: Decimal, before: Decimal) -> Change:
    """From the figure before to the figure now."""
    difference = now - before
    return Change(before, difference, decimal_ratio(difference, abs(before)))
