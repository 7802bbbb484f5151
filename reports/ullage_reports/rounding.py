"""Exact sums into printed amounts: the totals are rounded once, every table is fitted to them both ways.

Money and hours of the whole are rounded half up; what was held and what was not to that whole, their states to
each; each table's rows to the same whole; and a row's states so that rows and columns both add up
(ledger.round_table). Not here: reading sums.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Final

from ullage_collector import ledger
from ullage_collector.ledger import HELD_STATES, STATES, Branch, Rounded
from ullage_reports.model import Amounts, Change, HeldAmounts, StateAmount

HOUR_DIGITS: Final = 2
"""Decimals of card-hours on pages. our choice: 0.01 h is 36 s of a card, finer than anybody acts on."""
HOUR_UNIT: Final = ledger.QUANTITY_PER_CARD_HOUR // 10**HOUR_DIGITS
RATIO_DIGITS: Final = 6
"""Decimals of a ratio. our choice: a page shows one of its per cent, and a figure rounded twice must not differ from one rounded once."""


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
            state_cost=_by_state(cost, total.atoms, self._unit),
            state_hours=_by_state(hours, total.quantity, HOUR_UNIT),
        )
        whole = self._whole
        self.total = self._amounts(whole.unpriced, whole.state_cost, whole.state_hours, total)

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

    def held(self, rows: Mapping[str, Sums]) -> tuple[dict[str, HeldAmounts], HeldAmounts]:
        """Rows of what was held, and their total: the held states of the whole. Other states of the rows are not looked at.

        Raises LedgerError (BUG) when the rows' held states are not the whole's.
        """
        whole = self._whole
        parts: list[Mapping[str, Mapping[str, int]]] = []
        for unit, states, amounts in (
            (HOUR_UNIT, whole.state_hours, {k: s.quantity for k, s in rows.items()}),
            (self._unit, whole.state_cost, {k: s.atoms for k, s in rows.items()}),
        ):
            columns = {state: states[state] for state in HELD_STATES}
            exact = {k: sum(row[state] for state in HELD_STATES) for k, row in amounts.items()}
            cells = ledger.round_table(
                {(k, state): row[state] for k, row in amounts.items() for state in HELD_STATES if row[state]},
                ledger.apportion(sum(columns.values()), exact, unit),
                columns,
                unit,
            )
            parts.append({k: {state: cells.get((k, state), 0) for state in HELD_STATES} for k in rows})
        unpriced_exact = {k: s.unpriced for k, s in rows.items()}
        unpriced_total = ledger.half_up(sum(unpriced_exact.values()), HOUR_UNIT)
        unpriced = ledger.apportion(unpriced_total, unpriced_exact, HOUR_UNIT)
        total = self._held(whole.state_hours, whole.state_cost, unpriced_total)
        return {k: self._held(parts[0][k], parts[1][k], unpriced[k]) for k in rows}, total

    def _held(self, hours: Mapping[str, int], cost: Mapping[str, int], unpriced: int) -> HeldAmounts:
        used, idle, unknown = (ledger.minor_decimal(hours[state], HOUR_DIGITS) for state in HELD_STATES)
        used_c, idle_c, unknown_c = (ledger.minor_decimal(cost[state], self._digits) for state in HELD_STATES)
        return HeldAmounts(
            held_hours=used + idle + unknown,
            used_hours=used,
            idle_hours=idle,
            unknown_hours=unknown,
            held_cost=used_c + idle_c + unknown_c,
            used_cost=used_c,
            idle_cost=idle_c,
            unknown_cost=unknown_c,
            unpriced_hours=ledger.minor_decimal(unpriced, HOUR_DIGITS),
        )

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
        unpriced: int,
        state_cost: Mapping[str, int],
        state_hours: Mapping[str, int],
        exact: Sums,
    ) -> Amounts:
        return Amounts(
            cost=ledger.minor_decimal(sum(state_cost.values()), self._digits),
            hours=ledger.minor_decimal(sum(state_hours.values()), HOUR_DIGITS),
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


def _by_state(total: int, exact: Mapping[str, int], unit: int) -> dict[str, int]:
    """Held and not held to the total, then each one's states: what was held is a printed total of its own."""
    groups = (HELD_STATES, tuple(state for state in STATES if state not in HELD_STATES))
    sums = {str(n): sum(exact[state] for state in group) for n, group in enumerate(groups)}
    parts = ledger.apportion(total, sums, unit)
    return {
        state: amount
        for n, group in enumerate(groups)
        for state, amount in ledger.apportion(
            parts[str(n)], {state: exact[state] for state in group}, unit
        ).items()
    }


def _own_parts(node: Rounded, into: dict[str, int]) -> None:
    for key, child in node.children.items():
        into[key] = child.own
        _own_parts(child, into)


def hours_decimal(quantity: int) -> Decimal:
    """Card-hours of one figure alone, two decimals, half up."""
    return ledger.minor_decimal(ledger.half_up(quantity, HOUR_UNIT), HOUR_DIGITS)


def ratio(part: int, whole: int) -> Decimal | None:
    """part / whole, RATIO_DIGITS decimals, half up; None where there is no whole."""
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
