"""Guarantees by the hour, from the published quota book: who lends to whom, and whose guarantee stands free.

The book's own figures are integrals over the instants of an hour, so that cards that changed hands within it count for as long as
they were held. A quota that names no department lends as the platform. What a quota with others below it promises beyond
them is its own department's. Not here: what it costs (shared_costs.py).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from fractions import Fraction
from functools import cache
from typing import TYPE_CHECKING, Any, Final

from ullage_collector.ledger import HOUR_US, PLATFORM, UNALLOCATED_IDLE
from ullage_collector.published import Facts
from ullage_contract.errors import ConfigError
from ullage_reports import cost_sharing
from ullage_reports.cost_policy import CostPolicy
from ullage_reports.cost_sharing import NOTHING
from ullage_reports.sql import statements

if TYPE_CHECKING:
    from ullage_reports.shared_costs import Lot

SQL: Final = "bill"
_CARDS: Final = ("cards", "card_shares")
"""Resources that are cards; others (memory) are no card-hours."""
NOBODY: Final = ""
"""In place of the department of a quota that names none, and of work no quota binds: what it borrows is nobody's to share."""


@dataclass(frozen=True, slots=True)
class Held:
    """Hours of one lot that a department held in one UTC hour; of the platform: that were free."""

    hour_us: int
    department: str
    lot: Lot
    quantity: int
    atoms: int


@dataclass(frozen=True, slots=True)
class Node:
    """A quota's own figures in one hour, nano-share microseconds: without those of the quotas below it."""

    department: str | None
    leaf: bool
    unused: Fraction
    borrowed: Fraction
    lent: Fraction


@dataclass(frozen=True, slots=True)
class Scope:
    """One kind of cards of a tree in one hour."""

    vendor: str | None
    model: str | None
    nodes: tuple[Node, ...]

    def takes(self, lot: Lot) -> bool:
        """Whether its limits are about cards of this make and model. A pool of cards is not told from the others of a model."""
        return _takes(self.vendor, self.model, lot.vendor, lot.model)


@dataclass(frozen=True, slots=True)
class Guarantees:
    """The book over a stretch. unused: department -> card-hours guaranteed and not held, in nano-share microseconds.

    departments: who is guaranteed anything. missing: hours without a row although the tree has some in the stretch.
    """

    hours: Mapping[int, Sequence[Scope]]
    unused: Mapping[str, Fraction]
    departments: frozenset[str]
    above: Mapping[str, Sequence[str]] = field(default_factory=dict)
    missing: int = 0

    def parts(self, cells: Sequence[Held]) -> Iterator[tuple[Held, Fraction, Mapping[str, int], bool]]:
        """(cell, part, departments, lent): that part of the cell is lent to its payer by the departments, in whole-number
        proportion, or is guaranteed to them and stands free. The parts of a cell are never more than 1 together."""
        by_hour: dict[int, list[Held]] = defaultdict(list)
        for cell in cells:
            by_hour[cell.hour_us].append(cell)
        for hour, mine in sorted(by_hour.items()):
            scopes = self.hours.get(hour, ())
            if len(scopes) == 1:
                for number, part, departments, lent in self._scope(scopes[0], mine):
                    yield mine[number], part, departments, lent
                continue
            given: dict[int, Fraction] = defaultdict(Fraction)
            for scope in scopes:
                for number, asked, departments, lent in self._scope(scope, mine):
                    part = min(asked, 1 - given[number])
                    if part > 0:
                        given[number] += part
                        yield mine[number], part, departments, lent

    def _scope(
        self, scope: Scope, cells: Sequence[Held]
    ) -> Iterator[tuple[int, Fraction, Mapping[str, int], bool]]:
        taken = [(number, cell) for number, cell in enumerate(cells) if scope.takes(cell.lot)]
        free = [number for number, cell in taken if cell.lot.state == UNALLOCATED_IDLE]
        free_quantity = Fraction(sum(cells[number].quantity for number in free))
        book = cost_sharing.booked(
            borrowed=_summed((n.department or NOBODY, n.borrowed) for n in scope.nodes if n.leaf),
            lent=_summed((n.department or PLATFORM, n.lent) for n in scope.nodes),
            unused=_summed((n.department or PLATFORM, n.unused) for n in scope.nodes),
            free=free_quantity,
        )
        bound = frozenset(n.department for n in scope.nodes if n.department and n.leaf)
        held: dict[str, list[int]] = defaultdict(list)
        for number, cell in taken:
            owner = self._owner(cell.department, bound)
            if owner is not None and cell.lot.state != UNALLOCATED_IDLE:
                held[owner].append(number)
        lenders = cost_sharing.whole(book.lent)
        for name, amount in sorted(book.borrowed.items()):
            quantity = sum(cells[number].quantity for number in held[name])
            part = min(Fraction(1), amount / quantity) if quantity else NOTHING
            for number in held[name] if part else ():
                yield number, part, lenders, True
        kept = cost_sharing.whole(book.kept)
        stands = sum(book.kept.values(), NOTHING)
        for number in free if stands else ():
            yield number, stands / free_quantity, kept, False

    def _owner(self, department: str, bound: frozenset[str]) -> str | None:
        """The quota's department a department's work counts at: its own, or the nearest above it that has one."""
        for name in (department, *self.above.get(department, ())):
            if name in bound:
                return name
        return None


@cache
def _takes(vendor: str | None, glob: str | None, lot_vendor: str, lot_model: str) -> bool:
    if vendor and vendor.casefold() != lot_vendor.casefold():
        return False
    return any(fnmatchcase(lot_model.casefold(), one) for one in (glob or "*").casefold().split("|"))


def read(facts: Facts, policy: CostPolicy, from_us: int, to_us: int) -> Guarantees:
    """The book of [from_us, to_us); hours that are cut by it count for the part that lies in it.

    Raises ConfigError where several trees guarantee something and the policy names none of them.
    """
    span = {"from_us": from_us, "to_us": to_us}
    tree = policy.quota_tree
    if tree is None:
        names = [str(row[0]) for row in facts.rows(statements(SQL)["quota_trees"], span)]
        if len(names) > 1:
            raise ConfigError(
                f"policy {policy.policy_id}: several quota trees guarantee cards ({', '.join(names[:5])}); name the one "
                "that counts with quota_tree"
            )
        tree = names[0] if names else ""
    scopes: dict[tuple[int, Any, Any, Any, Any], list[tuple[Any, ...]]] = defaultdict(list)
    for row in facts.rows(statements(SQL)["quota_hours"], {**span, "tree": tree}):
        if row[2] in _CARDS:
            scopes[int(row[0]), row[1], row[2], row[3], row[4]].append(row)
    hours: dict[int, list[Scope]] = defaultdict(list)
    unused: dict[str, Fraction] = defaultdict(Fraction)
    for (hour, _, _, vendor, model), rows in scopes.items():
        inside = Fraction(min(hour + HOUR_US, to_us) - max(hour, from_us), HOUR_US)
        nodes = tuple(_nodes(rows, inside))
        hours[hour].append(Scope(vendor or None, model or None, nodes))
        for node in nodes:
            if node.department and node.unused:
                unused[node.department] += node.unused
    departments = frozenset(
        str(row[7]) for rows in scopes.values() for row in rows if row[7] and int(row[8] or 0) > 0
    )
    organisation = facts.organisation()
    lines = [str(row[0]) for row in facts.rows("SELECT DISTINCT department_id FROM segment")]
    above = {name: tuple(reversed(organisation.place(name, from_us, None).path[:-1])) for name in lines}
    wanted = -(-(to_us - from_us // HOUR_US * HOUR_US) // HOUR_US)
    return Guarantees(hours, dict(unused), departments, above, wanted - len(hours) if tree else wanted)


def _nodes(rows: Sequence[tuple[Any, ...]], inside: Fraction) -> Iterator[Node]:
    """Each quota's own figures: its row less the rows of those below it."""
    below: dict[str, list[tuple[Any, ...]]] = defaultdict(list)
    for row in rows:
        if row[6]:
            below[str(row[6])].append(row)
    for row in rows:
        children = below.get(str(row[5]), [])

        def own(
            of: int, children: Sequence[tuple[Any, ...]] = children, row: tuple[Any, ...] = row
        ) -> Fraction:
            found = _number(row[of]) - sum(_number(child[of]) for child in children)
            return max(0, found) * inside

        guaranteed = own(8), own(9)
        yield Node(
            department=str(row[7]) if row[7] else None,
            leaf=not children,
            unused=max(NOTHING, guaranteed[0] - guaranteed[1]),
            borrowed=own(10),
            lent=own(11),
        )


def _number(value: Any) -> int:
    """A figure of the book; what is not stated counts nothing."""
    return 0 if value is None else int(value)


def _summed(parts: Iterable[tuple[str, Fraction]]) -> dict[str, Fraction]:
    found: dict[str, Fraction] = defaultdict(Fraction)
    for name, amount in parts:
        if amount:
            found[name] += amount
    return dict(found)
