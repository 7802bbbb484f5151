"""The arithmetic of money: exact integers in, exact integers out, rounded once, on statements.

A share of a card is counted in nano-shares (10^9 = the whole card), time in microseconds, a price in
micro-units of the currency per card-hour. Quantity = share x duration; cost = quantity x price, in
*atoms*. Sums are integer sums, so no order and no grouping changes them (docs/interfaces.md, Money).

Standard library only: reports import this module and nothing else of the collector but ``published``.
Not here: who pays and why (states, mapping, prices), and where rows are kept (published).
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Context, Decimal, Inexact, InvalidOperation
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
    """Whole units for a table whose row and column totals are already rounded: it adds up both ways.

    cells: (row, column) -> exact fine units; an absent cell is 0. rows, columns: whole units of each margin,
    each within one unit of its exact sum and with one common total.
    Every cell gets its floor; what the margins still miss is laid on cells by largest remainder, moved
    along where a row or column would be left over, on cells that are not 0 while any such way exists.
    Raises LedgerError("BUG...") when the margins do not belong to the cells.
    """
    if sum(rows.values()) != sum(columns.values()):
        raise LedgerError(f"BUG: rows add up to {sum(rows.values())}, columns to {sum(columns.values())}")
    result = {key: amount // unit for key, amount in cells.items()}
    need_row = dict(rows)
    need_column = dict(columns)
    for (row, column), floor in result.items():
        need_row[row] -= floor
        need_column[column] -= floor
    if any(n < 0 for n in need_row.values()) or any(n < 0 for n in need_column.values()):
        raise LedgerError("BUG: a margin is smaller than the floors of its cells")
    ups: dict[tuple[str, str], int] = {}
    fractional = sorted((k for k in cells if cells[k] % unit), key=lambda k: (-(cells[k] % unit), k))
    for row, column in fractional:
        if need_row[row] and need_column[column]:
            ups[row, column] = 1
            need_row[row] -= 1
            need_column[column] -= 1
    if any(need_row.values()):
        once = {key: 1 for key in fractional}
        often = {key: 1 << 60 for key in cells if cells[key]}
        anywhere = {(row, column): 1 << 60 for row in rows for column in columns}
        for room in (once, often, anywhere):
            _fill(ups, room, need_row, need_column)
    for key, up in ups.items():
        if up:
            result[key] = result.get(key, 0) + up
    return result


def _fill(
    ups: dict[tuple[str, str], int],
    room: Mapping[tuple[str, str], int],
    need_row: dict[str, int],
    need_column: dict[str, int],
) -> None:
    """Move units along augmenting paths (row -> column forward, column -> row back) until none is left."""
    by_row: dict[str, list[str]] = {}
    for row, column in sorted(room):
        by_row.setdefault(row, []).append(column)
    for start in sorted(need_row):
        while need_row[start]:
            came: dict[tuple[bool, str], tuple[bool, str] | None] = {(True, start): None}
            queue: list[tuple[bool, str]] = [(True, start)]
            goal: tuple[bool, str] | None = None
            for is_row, name in queue:
                if is_row:
                    for column in by_row.get(name, ()):
                        if (False, column) not in came and ups.get((name, column), 0) < room[name, column]:
                            came[False, column] = (True, name)
                            queue.append((False, column))
                elif need_column[name]:
                    goal = (False, name)
                    break
                else:
                    for (row, column), up in ups.items():
                        if column == name and up and (True, row) not in came:
                            came[True, row] = (False, name)
                            queue.append((True, row))
            if goal is None:
                break
            need_row[start] -= 1
            need_column[goal[1]] -= 1
            at = goal
            while (before := came[at]) is not None:
                if at[0]:  # column -> row: take one back
                    ups[at[1], before[1]] -= 1
                else:
                    ups[before[1], at[1]] = ups.get((before[1], at[1]), 0) + 1
                at = before


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
