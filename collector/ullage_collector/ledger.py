"""The arithmetic of money: exact integers in, exact integers out, rounded once, on statements.

A share of a card is counted in nano-shares (10^9 = the whole card), time in microseconds, a price in
micro-units of the currency per card-hour. Quantity = share x duration; cost = quantity x price, in
*atoms*. Sums are integer sums, so no order and no grouping changes them (docs/interfaces.md, Money).

Standard library only: reports import this module and nothing else of the collector but ``published``.
Not here: who pays and why (states, mapping, prices), and where rows are kept (published).
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Context, Decimal, Inexact, InvalidOperation
from heapq import heapify, heappop, heappush
from typing import Final, TypeVar

from ullage_contract.errors import LedgerError

NANO: Final = 1_000_000_000
"""Nano-shares in a whole card."""
HOUR_US: Final = 3_600_000_000
"""Microseconds in an hour."""
MICRO: Final = 1_000_000
"""Price micro-units in one unit of the currency."""
QUANTITY_PER_CARD_HOUR: Final = HOUR_US * NANO
ATOMS_PER_UNIT: Final = HOUR_US * NANO * MICRO
"""Atoms in one unit of the currency; 3.6 x 10^24."""

PLATFORM: Final = "platform"
"""The department id that carries cost nobody is charged for."""
UNMAPPED: Final = "__unallocated__"
"""The department id of workloads no mapping rule matches; shown as unmapped, never dropped."""

USED: Final = "used"
ALLOCATED_IDLE: Final = "allocated_idle"
UNALLOCATED_IDLE: Final = "unallocated_idle"
FRAGMENTED: Final = "fragmented"
FAULTY: Final = "faulty"
ISOLATED: Final = "isolated"
UNKNOWN: Final = "unknown"
STATES: Final = (USED, ALLOCATED_IDLE, UNALLOCATED_IDLE, FRAGMENTED, FAULTY, ISOLATED, UNKNOWN)
"""The seven states, in the order every table shows them."""
HELD_STATES: Final = (USED, ALLOCATED_IDLE, UNKNOWN)
"""States a holder pays for; the others are the platform's."""
IDLE_STATES: Final = (ALLOCATED_IDLE, UNALLOCATED_IDLE, FRAGMENTED)
WASTE_STATES: Final = (ALLOCATED_IDLE, UNALLOCATED_IDLE, FRAGMENTED, FAULTY, ISOLATED)
"""What bought no work. Unknown is neither used nor waste."""

MINOR_UNITS: Final[Mapping[str, int]] = {
    # ISO 4217 (list one): digits after the point where it is not 2
    **dict.fromkeys(("BIF", "CLP", "DJF", "GNF", "ISK", "JPY", "KMF", "KRW", "PYG", "RWF", "UGX"), 0),
    **dict.fromkeys(("UYI", "VND", "VUV", "XAF", "XOF", "XPF"), 0),
    **dict.fromkeys(("BHD", "IQD", "JOD", "KWD", "LYD", "OMR", "TND"), 3),
}

_EXACT = Context(prec=100, traps=[Inexact, InvalidOperation])
_K = TypeVar("_K", bound=Hashable)


def minor_units(currency: str) -> int:
    """Digits after the point of an ISO 4217 currency: 2 unless ISO says otherwise.

    Raises LedgerError for what is not three capital letters (``RMB`` passes here; write ``CNY``).
    """
    if len(currency) != 3 or not currency.isascii() or not currency.isalpha() or not currency.isupper():
        raise LedgerError(f"currency {currency[:20]!r} is no ISO 4217 code; write e.g. CNY, USD, EUR")
    return MINOR_UNITS.get(currency, 2)


# ------------------------------------------------------------------------------- quantity and price
def quantity(share_nano: int, from_us: int, to_us: int) -> int:
    """Nano-share microseconds of ``share_nano`` of a card over [from_us, to_us).

    Raises LedgerError when the interval runs backwards or the share is not in 0..10^9.
    """
    if to_us < from_us:
        raise LedgerError(f"an interval runs backwards: from {from_us} to {to_us}")
    if not 0 <= share_nano <= NANO:
        raise LedgerError(f"a share of {share_nano} nano is outside 0..{NANO}")
    return share_nano * (to_us - from_us)


def cost_atoms(quantity_units: int, price_micro: int) -> int:
    """Atoms for a quantity at a price. Exact: both are integers."""
    return quantity_units * price_micro


def price_micro(price: Decimal) -> int:
    """A price per card-hour as micro-units, exactly.

    Raises LedgerError for a negative or not finite price and for more than six decimals: a rate that does not
    end is rounded to six decimals by whoever publishes it, never here.
    """
    if not price.is_finite() or price < 0:
        raise LedgerError(f"price {price} per card-hour is not a finite number of at least 0")
    scaled = price.scaleb(6)
    if scaled != scaled.to_integral_value():
        raise LedgerError(f"price {price} per card-hour has more than six decimals; round it to six first")
    return int(scaled)


def price_decimal(micro: int) -> Decimal:
    """Micro-units per card-hour as a Decimal with as many decimals as it needs, at least two."""
    return _shortest(Decimal(micro).scaleb(-6))


def money_exact(atoms: int) -> Decimal:
    """Atoms as an exact Decimal where the decimal ends; raises LedgerError where it does not.

    3.6 x 10^24 holds 3^2, so one atom has no finite decimal: sums over whole seconds at prices of
    six decimals mostly do not end either. Use ``rounded`` for a figure a person reads.
    """
    try:
        return _shortest(_EXACT.divide(Decimal(atoms), Decimal(ATOMS_PER_UNIT)))
    except Inexact as e:
        raise LedgerError(f"{atoms} atoms have no finite decimal; round them for a page") from e


def hours_exact(quantity_units: int, digits: int = 12) -> Decimal:
    """Card-hours of a quantity, cut to ``digits`` decimals, half up. For one figure alone, not for parts."""
    return Decimal(half_up(quantity_units * 10**digits, QUANTITY_PER_CARD_HOUR)).scaleb(-digits)


def _shortest(value: Decimal) -> Decimal:
    text = format(value, "f")
    if "." not in text:
        return Decimal(text + ".00")
    whole, fraction = text.split(".")
    fraction = fraction.rstrip("0").ljust(2, "0")
    return Decimal(f"{whole}.{fraction}")


# ------------------------------------------------------------------------------- dividing exactly
def normalised(shares: Sequence[int]) -> tuple[int, ...]:
    """Shares of one card over one instant as charged: as asked, or divided by their sum when over-subscribed.

    shares: nano-shares asked, in key order (interfaces: what does not divide goes to the last in key order).
    The result adds up to min(sum(shares), 10^9). Raises LedgerError for a negative share.
    """
    if any(share < 0 for share in shares):
        raise LedgerError(f"a share below 0 in {list(shares)[:8]}")
    total = sum(shares)
    if total <= NANO:
        return tuple(shares)
    parts = [share * NANO // total for share in shares]
    last = max(index for index, share in enumerate(shares) if share)
    parts[last] += NANO - sum(parts)
    return tuple(parts)


def split(amount: int, weights: Mapping[_K, int]) -> dict[_K, int]:
    """``amount`` divided by whole-number weights, exactly: largest remainder, ties to the smaller key.

    Keys must be comparable. Raises LedgerError for negative weights, and for weights that are all 0 unless
    amount is 0: the caller decides who carries what nobody weighs (the platform).
    """
    if any(weight < 0 for weight in weights.values()):
        raise LedgerError("a weight below 0 cannot divide an amount")
    total = sum(weights.values())
    if total == 0:
        if amount == 0:
            return dict.fromkeys(weights, 0)
        raise LedgerError(f"weights that are all 0 cannot divide {amount}; let the platform carry it")
    parts = {key: amount * weight // total for key, weight in weights.items()}
    left = amount - sum(parts.values())
    order = sorted(weights, key=lambda key: (-(amount * weights[key] % total), key))
    for key in order[:left]:
        parts[key] += 1
    return parts


def half_up(numerator: int, denominator: int) -> int:
    """numerator / denominator to the nearest integer, half away from zero. denominator > 0."""
    if numerator < 0:
        return -half_up(-numerator, denominator)
    return (2 * numerator + denominator) // (2 * denominator)


def apportion(total: int, exact: Mapping[_K, int], unit: int) -> dict[_K, int]:
    """Whole units for parts given in finer ones, so that the parts add up to ``total`` units.

    exact: key -> amount in fine units, their exact sum being what ``total`` was rounded from.
    unit: fine units in one coarse unit. Each part gets its floor; what is left goes one each to the largest
    remainders, ties to the smaller key. A total that is not within rounding of the sum is refused.
    Raises LedgerError("BUG...") then: parts that do not belong to the total.
    """
    floors = {key: amount // unit for key, amount in exact.items()}
    left = total - sum(floors.values())
    if not 0 <= left <= len(floors):
        raise LedgerError(
            f"BUG: parts of {sum(exact.values())} fine units cannot be rounded to a total of {total} x {unit}"
        )
    order = sorted(floors, key=lambda key: (-(exact[key] % unit), key))
    for key in order[:left]:
        floors[key] += 1
    return floors


# ------------------------------------------------------------------------------- trees
@dataclass(frozen=True, slots=True)
class Branch:
    """A node of a tree of exact amounts: what is its own, and its children by name.

    own: fine units that belong to this node itself and to none of its children.
    """

    own: int = 0
    children: Mapping[str, Branch] | None = None

    def exact(self) -> int:
        """The whole amount below and at this node, in fine units."""
        return self.own + sum(child.exact() for child in (self.children or {}).values())


@dataclass(frozen=True, slots=True)
class Rounded:
    """The same node in whole units: ``total`` = ``own`` + the children's totals, at every level."""

    total: int
    own: int
    children: Mapping[str, Rounded]


def round_tree(root: Branch, unit: int, *, total: int | None = None) -> Rounded:
    """Largest remainder from the top down: the root half up, then each level's parts to its rounded total.

    total: the root's whole units when a page above has already fixed them.
    A node's own part competes with its children as the smallest key.
    """
    if total is None:
        total = half_up(root.exact(), unit)
    children = root.children or {}
    exact = {(1, name): child.exact() for name, child in children.items()}
    if root.own or not children:
        exact[(0, "")] = root.own
    parts = apportion(total, exact, unit)
    return Rounded(
        total=total,
        own=parts.get((0, ""), 0),
        children={name: round_tree(child, unit, total=parts[(1, name)]) for name, child in children.items()},
    )


def round_table(
    cells: Mapping[tuple[str, str], int],
    rows: Mapping[str, int],
    columns: Mapping[str, int],
    unit: int,
) -> dict[tuple[str, str], int]:
    """Whole units for a table whose margins are already rounded: columns are met, rows where a table can meet them.

    cells: (row, column) -> exact fine units, below 0 too (corrections, credits); an absent cell is 0. rows, columns: whole
    units of each margin, with one common total; columns within one unit of their exact sums, and few (states, not workloads).
    A cell that is exactly 0 stays 0, always, and one below 0 is its floor or more. Each cell is its floor or the next whole unit if any such table has
    these margins; else single cells move further. Where no table without cells made from nothing has these margins
    at all (docs/money.md shows one), a row's total gives way, within its own floor and ceiling if that is possible:
    the rows as printed are the sums of the result.
    Raises LedgerError("BUG...") when the margins do not belong to the cells.
    """
    if sum(rows.values()) != sum(columns.values()):
        raise LedgerError(f"BUG: rows add up to {sum(rows.values())}, columns to {sum(columns.values())}")
    # A cell below 0 is rounded as what it is above its floor; the whole units come off again at the end.
    below = {place: amount // unit for place, amount in cells.items() if amount < 0}
    lifted, row_units, column_units = dict(cells), dict(rows), dict(columns)
    for (row, column), units in below.items():
        lifted[row, column] -= units * unit
        row_units[row] -= units
        column_units[column] -= units
    fitting = _Fitting(lifted, row_units, column_units, unit)
    for level in (_NEAREST, _FURTHER, _OTHER_ROWS):
        if not fitting.fit(level):
            break
    found = fitting.result()
    for place, units in below.items():
        found[place] = found.get(place, 0) + units
    return found


_NEAREST: Final = 1
"""Cells are floors or one more, rows as asked."""
_FURTHER: Final = 2
"""Cells that are not 0 may be anything from 0 up."""
_OTHER_ROWS: Final = 3
"""Besides, rows may be their floor or ceiling."""


class _Fitting:
    """A table whose columns are met, and whose rows are made to fit by moving units between columns.

    A unit leaves a row through a column, the column takes it back in another row, which gives it up in another column,
    and so on, until a row takes it for good. Columns are few, so the way is searched among them (breadth first, hence
    no row is on a way twice), and a heap for each step holds the rows that can make it, least harm first.
    """

    def __init__(
        self,
        cells: Mapping[tuple[str, str], int],
        rows: Mapping[str, int],
        columns: Mapping[str, int],
        unit: int,
    ) -> None:
        self._rows, self._columns, self._unit = sorted(rows), sorted(columns), unit
        row_number = {name: n for n, name in enumerate(self._rows)}
        column_number = {name: n for n, name in enumerate(self._columns)}
        width = range(len(self._columns))
        self._exact = [[0 for _ in width] for _ in self._rows]
        for (row, column), amount in cells.items():
            self._exact[row_number[row]][column_number[column]] = amount
        self._asked = [rows[name] for name in self._rows]
        self._units = [[amount // unit for amount in row] for row in self._exact]
        for c in width:
            need = columns[self._columns[c]] - sum(row[c] for row in self._units)
            order = sorted(
                (r for r, row in enumerate(self._exact) if row[c] % unit),
                key=lambda r: (-(self._exact[r][c] % unit), r),
            )
            if not 0 <= need <= len(order):
                raise LedgerError(f"BUG: column {self._columns[c]!r} is not what its cells were rounded to")
            for r in order[:need]:
                self._units[r][c] += 1
        self._level = _NEAREST
        self._totals = [sum(row) for row in self._units]
        self._swap: dict[tuple[int, int], list[tuple[int, int]]] = {}
        self._take: list[list[tuple[int, int]]] = []
        self._give: list[list[tuple[int, int]]] = []

    def result(self) -> dict[tuple[str, str], int]:
        return {
            (self._rows[r], self._columns[c]): self._units[r][c]
            for r, row in enumerate(self._exact)
            for c, amount in enumerate(row)
            if amount
        }

    def fit(self, level: int) -> bool:
        """Bring rows to what they may be at this level, as far as it goes. False: all are."""
        self._level = level
        wrong = [r for r in range(len(self._rows)) if not self._low(r) <= self._totals[r] <= self._high(r)]
        if not wrong:
            return False
        self._heaps()
        for row in wrong:
            while self._totals[row] > self._high(row) and self._move(row, leaves=True):
                pass
        for row in wrong:
            while self._totals[row] < self._low(row) and self._move(row, leaves=False):
                pass
        return any(not self._low(r) <= self._totals[r] <= self._high(r) for r in wrong)

    def _low(self, row: int) -> int:
        asked = self._asked[row]
        return asked if self._level < _OTHER_ROWS else min(asked, sum(self._exact[row]) // self._unit)

    def _high(self, row: int) -> int:
        asked = self._asked[row]
        return asked if self._level < _OTHER_ROWS else max(asked, -(-sum(self._exact[row]) // self._unit))

    def _can_raise(self, row: int, column: int) -> bool:
        exact = self._exact[row][column]
        if self._level > _NEAREST:
            return exact > 0
        return exact % self._unit > 0 and self._units[row][column] == exact // self._unit

    def _can_lower(self, row: int, column: int) -> bool:
        least = 0 if self._level > _NEAREST else self._exact[row][column] // self._unit
        return self._units[row][column] > least

    def _heaps(self) -> None:
        width = range(len(self._columns))
        self._swap = {(c, d): [] for c in width for d in width if c != d}
        self._take = [[] for _ in width]
        self._give = [[] for _ in width]
        for row in range(len(self._rows)):
            self._offer(row, list.append)
        for heap in (*self._swap.values(), *self._take, *self._give):
            heapify(heap)

    def _offer(self, row: int, push: Callable[[list[tuple[int, int]], tuple[int, int]], None]) -> None:
        """Enter a row wherever it can take part; entries that no longer hold are dropped when they come up."""
        width = range(len(self._columns))
        off = [self._exact[row][c] - self._units[row][c] * self._unit for c in width]
        up = [c for c in width if self._can_raise(row, c)]
        down = [c for c in width if self._can_lower(row, c)]
        for c in up:
            push(self._take[c], (-off[c], row))
            for d in down:
                if c != d:
                    push(self._swap[c, d], (off[d] - off[c], row))
        for d in down:
            push(self._give[d], (off[d], row))

    def _move(self, start: int, *, leaves: bool) -> bool:
        """One unit out of (or into) a row, along the shortest way to a row that may take (or give) it."""
        can, ends = (self._can_lower, self._take) if leaves else (self._can_raise, self._give)
        came: dict[int, tuple[int, int] | None] = {
            c: None for c in range(len(self._columns)) if can(start, c)
        }
        queue = list(came)
        for column in queue:
            end = self._first(ends[column], column, leaves)
            if end is not None:
                self._go(start, end, column, came, 1 if leaves else -1)
                return True
            for other in range(len(self._columns)):
                if other not in came:
                    pair = (column, other) if leaves else (other, column)
                    row = self._swapper(pair)
                    if row is not None:
                        came[other] = (column, row)
                        queue.append(other)
        return False

    def _go(
        self, start: int, end: int, column: int, came: Mapping[int, tuple[int, int] | None], sign: int
    ) -> None:
        touched = [start, end]
        self._units[end][column] += sign
        while (before := came[column]) is not None:
            back, row = before
            self._units[row][column] -= sign
            self._units[row][back] += sign
            touched.append(row)
            column = back
        self._units[start][column] -= sign
        for row in touched:
            self._totals[row] = sum(self._units[row])
            self._offer(row, heappush)

    def _first(self, heap: list[tuple[int, int]], column: int, takes: bool) -> int | None:
        while heap:
            row = heap[0][1]
            if takes and self._can_raise(row, column) and self._totals[row] < self._high(row):
                return row
            if not takes and self._can_lower(row, column) and self._totals[row] > self._low(row):
                return row
            heappop(heap)
        return None

    def _swapper(self, pair: tuple[int, int]) -> int | None:
        heap = self._swap[pair]
        while heap:
            row = heap[0][1]
            if self._can_raise(row, pair[0]) and self._can_lower(row, pair[1]):
                return row
            heappop(heap)
        return None


# ------------------------------------------------------------------------------- figures for people
def rounded(atoms: int, currency: str) -> Decimal:
    """Atoms as money a person reads, half up to the currency's minor unit. For one figure alone, not for parts."""
    digits = minor_units(currency)
    return minor_decimal(half_up(atoms, minor_atoms(currency)), digits)


def minor_atoms(currency: str) -> int:
    """Atoms in one minor unit (a cent, a fen, a yen)."""
    return int(ATOMS_PER_UNIT // 10 ** minor_units(currency))


def minor_decimal(minor: int, digits: int) -> Decimal:
    """Whole minor units as a Decimal with ``digits`` decimals."""
    return Decimal(minor).scaleb(-digits)


def formatted(money: Decimal, *, grouped: bool = True) -> str:
    """Plain digits with a point and, unless told otherwise, thousands commas: ``1,234,567.80``."""
    return format(money, ",f" if grouped else "f")
