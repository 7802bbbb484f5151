"""Cost moved between the platform and departments by policy: exact, from a period's published lines, by price and payer.

A move takes whole atoms from one payer and gives them to another, so that everything moved adds up to 0 whatever the
policy. Everybody is moved for before anybody is looked at: filtering a statement changes no figure of it.
Not here: what the words mean (docs/cost-model.md), the weights (cost_sharing.py), quotas by the hour (guarantees.py), and
rounding (bill.py).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, Final

from ullage_collector import ledger
from ullage_collector.ledger import (
    ALLOCATED_IDLE,
    FAULTY,
    HELD_STATES,
    ISOLATED,
    PLATFORM,
    UNALLOCATED_IDLE,
)
from ullage_collector.published import Facts
from ullage_reports import cost_sharing, guarantees
from ullage_reports.cost_policy import CostPolicy, Stretch
from ullage_reports.cost_sharing import CREDIT
from ullage_reports.guarantees import Guarantees, Held
from ullage_reports.reading import us
from ullage_reports.sql import statements

SQL: Final = "bill"


@dataclass(frozen=True, slots=True, order=True)
class Payer:
    """Whose cost it is; business and scenario are "" where not given. whole: a department's, to be divided among its payers by what each
    pays for what it held."""

    department: str
    business: str = ""
    scenario: str = ""
    whole: bool = False


THE_PLATFORM: Final = Payer(PLATFORM)


@dataclass(frozen=True, slots=True, order=True)
class Lot:
    """What is moved: hours of one state at one price. price_id None: the price is not published."""

    vendor: str
    model: str
    cluster: str
    price_id: int | None
    price_micro: int
    state: str


@dataclass(frozen=True, slots=True)
class Move:
    """Cost taken from one payer and given to another.

    method: which policy and word, e.g. ``unallocated_idle/even``. share, of: the taker's weight and all weights together: its part of
    what the giver gives of the lot is share / of. atoms: never below 0.
    """

    stretch: Stretch
    method: str
    lot: Lot
    giver: Payer
    taker: Payer
    atoms: int
    share: Fraction
    of: Fraction


@dataclass(frozen=True, slots=True)
class Pool:
    """What was shared out by weights in one stretch. atoms: what it cost; quantity: nano-share microseconds. weights: department -> weight;
    empty: it stays with the platform. states: what is in it."""

    stretch: Stretch
    method: str
    states: tuple[str, ...]
    quantity: int
    atoms: int
    weights: Mapping[str, Fraction]


@dataclass(frozen=True, slots=True)
class Shared:
    """Everything moved in a period. hours_without_quota: hours of a borrowing policy for which no quota is published. inside: stretch ->
    department -> what each of its payers pays for what it held."""

    stretches: tuple[Stretch, ...]
    moves: tuple[Move, ...]
    pools: tuple[Pool, ...]
    inside: Mapping[Stretch, Mapping[str, Mapping[Payer, int]]]
    hours_without_quota: int = 0

    def by_payer(self) -> dict[Payer, int]:
        """Payer -> atoms, below 0 for who gives; adds up to 0."""
        whole: dict[tuple[Stretch, Payer], int] = defaultdict(int)
        for move in self.moves:
            whole[move.stretch, move.giver] -= move.atoms
            whole[move.stretch, move.taker] += move.atoms
        found: dict[Payer, int] = defaultdict(int)
        for (stretch, payer), atoms in whole.items():
            for part, amount in self.divided(stretch, payer, atoms).items():
                found[part] += amount
        return {payer: atoms for payer, atoms in sorted(found.items()) if atoms}

    def divided(self, stretch: Stretch, payer: Payer, amount: int) -> dict[Payer, int]:
        """An amount of a payer, that of a whole department among its payers; one that held nothing has it without business and scenario."""
        if not payer.whole:
            return {payer: amount}
        mine = self.inside.get(stretch, {}).get(payer.department)
        if not mine:
            return {Payer(payer.department): amount}
        sign = -1 if amount < 0 else 1
        return {part: sign * units for part, units in ledger.split(abs(amount), mine).items()}


@dataclass(slots=True)
class _Books:
    """What each payer pays of each lot, as it changes while the policies are applied. Atoms."""

    amounts: dict[tuple[Payer, Lot], int] = field(default_factory=lambda: defaultdict(int))
    moves: list[Move] = field(default_factory=list)

    def move(
        self, stretch: Stretch, method: str, lot: Lot, giver: Payer, taker: Payer, atoms: int,
        share: Fraction, of: Fraction,
    ) -> None:  # fmt: skip
        """Take and give; nothing for no atoms."""
        if not atoms or giver == taker:
            return
        self.amounts[giver, lot] -= atoms
        self.amounts[taker, lot] += atoms
        self.moves.append(Move(stretch, method, lot, giver, taker, atoms, share, of))

    def paid(self) -> dict[Payer, int]:
        """Payer -> what it pays for what was held; the platform is none."""
        found: dict[Payer, int] = defaultdict(int)
        for (payer, lot), atoms in self.amounts.items():
            if lot.state in HELD_STATES and payer.department != PLATFORM and atoms:
                found[payer] += atoms
        return found


def share_out(facts: Facts, currency: str, stretches: Sequence[Stretch]) -> Shared:
    """Apply each stretch's policy to its own lines. facts: open over the period.

    Raises ConfigError where guarantees decide and several quota trees state some, and none is named.
    """
    moves: list[Move] = []
    pools: list[Pool] = []
    inside: dict[Stretch, Mapping[str, Mapping[Payer, int]]] = {}
    missing = 0
    for stretch in stretches:
        if stretch.policy.moves:
            made = _Sharing(facts, currency, stretch)
            made.apply()
            moves += made.books.moves
            pools += made.pools
            inside[stretch] = made.inside
            missing += made.missing
    return Shared(tuple(stretches), tuple(moves), tuple(pools), inside, missing)


class _Sharing:
    """One stretch under its policy."""

    def __init__(self, facts: Facts, currency: str, stretch: Stretch) -> None:
        self._facts = facts
        self._stretch = stretch
        self._policy: CostPolicy = stretch.policy
        self._span_us = us(stretch.start), us(stretch.end)
        self._given = {"currency": currency, "from_us": self._span_us[0], "to_us": self._span_us[1]}
        self.books = _Books()
        self.pools: list[Pool] = []
        self.inside: Mapping[str, Mapping[Payer, int]] = {}
        self.missing = 0
        for payer, lot, atoms in _cells(self._rows("charged")):
            self.books.amounts[payer, lot] += atoms

    def _rows(self, name: str) -> list[tuple[Any, ...]]:
        return self._facts.rows(statements(SQL)[name], self._given)

    def apply(self) -> None:
        """Idle first, then what is out of order, then guarantees, then the free pool: each sees what those before it moved."""
        policy = self._policy
        if policy.allocated_idle == "platform_pays":
            self._idle_to_platform()
        if policy.faulty == "department_pays":
            self._faulty_to_holders()
        self.inside = _within(self.books.paid())
        guaranteed = self._guarantees()
        if guaranteed is not None and policy.borrowing in CREDIT:
            self._lend(guaranteed)
        self._share_pool(guaranteed)

    def _idle_to_platform(self) -> None:
        one = Fraction(1)
        for (payer, lot), atoms in sorted(self.books.amounts.items()):
            if lot.state == ALLOCATED_IDLE and payer.department != PLATFORM:
                self.books.move(
                    self._stretch, "allocated_idle/platform_pays", lot, payer, THE_PLATFORM, atoms, one, one
                )

    def _faulty_to_holders(self) -> None:
        names = {str(row[0]) for row in self._facts.rows(statements(SQL)["columns"])}
        if "holder_department" not in names:
            return
        one = Fraction(1)
        for payer, lot, atoms in _cells(self._rows("held_faulty")):
            self.books.move(
                self._stretch, "faulty/department_pays", lot, THE_PLATFORM, payer, atoms, one, one
            )

    # ------------------------------------------------------------------------------- guarantees
    def _guarantees(self) -> Guarantees | None:
        """What the quota book says of the stretch; None: nothing asks for it."""
        wanted = self._policy.borrowing in CREDIT or self._policy.unallocated_idle in (
            "unused_guarantee",
            "even",
        )
        if not wanted:
            return None
        return guarantees.read(self._facts, self._policy, *self._span_us)

    def _lend(self, guaranteed: Guarantees) -> None:
        """Hour by hour: borrowers keep the credit's part of what is lent to them, lenders pay the rest and what stands free."""
        keep = 1 - CREDIT[self._policy.borrowing]
        moved: dict[tuple[bool, Lot, str], dict[str, int]] = defaultdict(lambda: defaultdict(int))
        cells = [
            Held(int(row[0]), str(row[1]), Lot(*row[2:8]), int(row[8]), int(row[9]))
            for row in self._rows("charged_hours")
        ]
        if self._policy.allocated_idle == "platform_pays":
            cells = [cell for cell in cells if cell.lot.state != ALLOCATED_IDLE]
        before, paid = Fraction(0), Fraction(0)
        for cell, part, departments, lent in guaranteed.parts(cells):
            if part is not before:  # one for all cells of a borrower in an hour
                before, paid = part, part * keep if lent else part
            left = cell.atoms * paid.numerator // paid.denominator
            of = sum(departments.values())
            given = moved[lent, cell.lot, cell.department]
            for name, weight in departments.items():
                amount = left * weight // of
                given[name] += amount
                left, of = left - amount, of - weight
        self.missing += guaranteed.missing
        for (lent, lot, giver), given in sorted(moved.items()):
            word = f"{'borrowing' if lent else 'guarantee'}/{self._policy.borrowing}"
            whole = Fraction(sum(given.values()))
            for taker, atoms in sorted(given.items()):
                self.books.move(
                    self._stretch, word, lot, _whole(giver), _whole(taker), atoms, Fraction(atoms), whole
                )

    # ------------------------------------------------------------------------------- the free pool
    def _share_pool(self, guaranteed: Guarantees | None) -> None:
        policy = self._policy
        together = policy.faulty == "loss_shared_by_all"
        states = (UNALLOCATED_IDLE, FAULTY, ISOLATED) if together else (UNALLOCATED_IDLE,)
        if policy.unallocated_idle == "none":
            return
        paid = self.books.paid()
        by_department: dict[str, Fraction] = defaultdict(Fraction)
        for payer, atoms in paid.items():
            by_department[payer.department] += atoms
        weights = cost_sharing.weights(
            policy.unallocated_idle,
            paid=by_department,
            guaranteed=guaranteed.departments if guaranteed else (),
            fixed=policy.fixed,
            unused=guaranteed.unused if guaranteed else {},
        )
        lots = {
            lot: atoms
            for (payer, lot), atoms in sorted(self.books.amounts.items())
            if payer == THE_PLATFORM and lot.state in states and atoms > 0
        }
        method = f"unallocated_idle/{policy.unallocated_idle}"
        self.pools.append(
            Pool(
                self._stretch,
                method,
                states,
                sum(atoms // lot.price_micro for lot, atoms in lots.items() if lot.price_micro),
                sum(lots.values()),
                weights,
            )
        )
        whole = cost_sharing.whole(weights)
        of = Fraction(sum(whole.values()))
        if not of:
            return
        for lot, atoms in lots.items():
            for name, part in ledger.split(atoms, whole).items():
                self.books.move(
                    *(self._stretch, method, lot, THE_PLATFORM, _whole(name), part),
                    *(Fraction(whole[name]), of),
                )


def _whole(department: str) -> Payer:
    """A department as a whole; the platform is one anyway."""
    return THE_PLATFORM if department == PLATFORM else Payer(department, whole=True)


def _cells(rows: Iterable[tuple[Any, ...]]) -> Iterable[tuple[Payer, Lot, int]]:
    """Rows of query ``charged``."""
    for row in rows:
        yield Payer(str(row[0]), str(row[1]), str(row[2])), Lot(*row[3:9]), int(row[10])


def _within(paid: Mapping[Payer, int]) -> dict[str, dict[Payer, int]]:
    """Department -> its payers and what each pays: by what a department's part is divided among its businesses and scenarios."""
    found: dict[str, dict[Payer, int]] = defaultdict(dict)
    for payer, atoms in paid.items():
        if atoms > 0:
            found[payer.department][payer] = atoms
    return found
