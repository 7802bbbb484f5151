"""Money's arithmetic: exact, in any order, and adding up after it is rounded."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ullage_collector import ledger
from ullage_collector.ledger import NANO, Branch, Rounded
from ullage_contract.errors import LedgerError

amounts = st.integers(min_value=0, max_value=10**30)
UNIT = 3_600_000


def test_half_a_card_for_nine_hours_at_twenty_is_ninety() -> None:
    quantity = ledger.quantity(NANO // 2, 0, 9 * ledger.HOUR_US)
    atoms = ledger.cost_atoms(quantity, ledger.price_micro(Decimal("20.00")))
    assert ledger.rounded(atoms, "CNY") == Decimal("90.00")
    assert ledger.money_exact(atoms) == Decimal("90.00")
    assert ledger.hours_exact(quantity) == Decimal("4.5")


def test_a_third_of_a_card_hour_has_no_finite_decimal_and_says_so() -> None:
    atoms = ledger.cost_atoms(ledger.quantity(1, 0, 1), 1)
    with pytest.raises(LedgerError, match="no finite decimal"):
        ledger.money_exact(atoms)


@pytest.mark.parametrize(
    ("text", "micro"), [("0", 0), ("20", 20_000_000), ("11.234567", 11_234_567), ("1E+2", 100_000_000)]
)
def test_prices_are_kept_to_six_decimals(text: str, micro: int) -> None:
    assert ledger.price_micro(Decimal(text)) == micro
    assert ledger.price_micro(ledger.price_decimal(micro)) == micro


@pytest.mark.parametrize("text", ["-1", "NaN", "Infinity", "0.0000001", "9.5890411"])
def test_a_price_that_cannot_be_kept_is_refused_not_rounded(text: str) -> None:
    with pytest.raises(LedgerError):
        ledger.price_micro(Decimal(text))


@pytest.mark.parametrize(("share", "start", "end"), [(-1, 0, 1), (NANO + 1, 0, 1), (1, 2, 1)])
def test_impossible_quantities_are_refused(share: int, start: int, end: int) -> None:
    with pytest.raises(LedgerError):
        ledger.quantity(share, start, end)


@pytest.mark.parametrize(("code", "digits"), [("CNY", 2), ("USD", 2), ("JPY", 0), ("KWD", 3), ("XXX", 2)])
def test_currencies_know_their_minor_units(code: str, digits: int) -> None:
    assert ledger.minor_units(code) == digits
    assert ledger.minor_decimal(ledger.ATOMS_PER_UNIT // ledger.minor_atoms(code), digits) == 1


@pytest.mark.parametrize("code", ["", "cny", "CN", "¥¥¥", "CNY ", "元元元"])
def test_what_is_no_currency_code_is_refused(code: str) -> None:
    with pytest.raises(LedgerError):
        ledger.minor_units(code)


def test_half_up_goes_away_from_zero() -> None:
    assert [ledger.half_up(n, 2) for n in (-3, -1, 0, 1, 3)] == [-2, -1, 0, 1, 2]


@given(st.lists(st.integers(0, 3 * NANO), min_size=1, max_size=12))
def test_normalised_shares_fill_a_card_exactly_or_stay_as_they_are(shares: list[int]) -> None:
    result = ledger.normalised(shares)
    if sum(shares) <= NANO:
        assert result == tuple(shares)
    else:
        assert sum(result) == NANO
        for asked, got in zip(shares, result, strict=True):
            assert abs(Fraction(asked * NANO, sum(shares)) - got) < len(shares)
            assert got >= 0
            assert asked > 0 or got == 0


def test_what_does_not_divide_goes_to_the_last_in_key_order() -> None:
    assert ledger.normalised([NANO, NANO, NANO]) == (333_333_333, 333_333_333, 333_333_334)
    assert ledger.normalised([NANO, NANO, NANO, 0]) == (333_333_333, 333_333_333, 333_333_334, 0)


@given(st.integers(0, 10**24), st.dictionaries(st.text(max_size=3), st.integers(0, 10**12), min_size=1))
def test_a_split_gives_away_all_and_no_more(amount: int, weights: dict[str, int]) -> None:
    if not any(weights.values()):
        weights[next(iter(weights))] = 1
    parts = ledger.split(amount, weights)
    assert sum(parts.values()) == amount
    total = sum(weights.values())
    for key, part in parts.items():
        assert abs(Fraction(amount * weights[key], total) - part) < 1
        assert weights[key] or not part


def test_weights_that_are_all_nothing_are_refused() -> None:
    with pytest.raises(LedgerError, match="platform"):
        ledger.split(5, {"a": 0, "b": 0})
    assert ledger.split(0, {"a": 0}) == {"a": 0}


@given(st.dictionaries(st.text(max_size=2), amounts, min_size=1, max_size=20), st.randoms())
def test_parts_add_up_whatever_their_order(exact: dict[str, int], rng: random.Random) -> None:
    total = ledger.half_up(sum(exact.values()), UNIT)
    parts = ledger.apportion(total, exact, UNIT)
    assert sum(parts.values()) == total
    for key, part in parts.items():
        assert 0 <= part - exact[key] // UNIT <= 1
    shuffled = list(exact.items())
    rng.shuffle(shuffled)
    assert ledger.apportion(total, dict(shuffled), UNIT) == parts


def test_left_over_cents_go_to_the_largest_remainders_then_the_smaller_key() -> None:
    assert ledger.apportion(10, {"a": 33, "b": 33, "c": 34}, 10) == {"a": 3, "b": 3, "c": 4}
    assert ledger.apportion(1, {"b": 5, "a": 5}, 10) == {"b": 0, "a": 1}


def test_parts_that_are_not_of_the_total_are_a_bug() -> None:
    with pytest.raises(LedgerError, match="BUG"):
        ledger.apportion(9, {"a": 33}, 10)


trees = st.recursive(
    st.builds(Branch, amounts),
    lambda inner: st.builds(
        Branch, st.one_of(st.just(0), amounts), st.dictionaries(st.text(max_size=2), inner, max_size=4)
    ),
    max_leaves=25,
)


def assert_adds_up(node: Rounded) -> None:
    assert node.total == node.own + sum(child.total for child in node.children.values())
    for child in node.children.values():
        assert_adds_up(child)


@given(trees)
def test_a_rounded_tree_adds_up_at_every_level_and_is_off_by_less_than_one_unit(root: Branch) -> None:
    rounded = ledger.round_tree(root, UNIT)
    assert_adds_up(rounded)
    assert abs(Fraction(root.exact(), UNIT) - rounded.total) <= Fraction(1, 2)

    def near(branch: Branch, node: Rounded) -> None:
        assert abs(Fraction(branch.exact(), UNIT) - node.total) < 1
        for name, child in (branch.children or {}).items():
            near(child, node.children[name])

    near(root, rounded)


ROWS, COLUMNS = "abcdefgh", ("used", "idle", "free", "faulty")
tables = st.dictionaries(
    st.tuples(st.sampled_from(ROWS), st.sampled_from(COLUMNS)), st.integers(0, 50 * UNIT), max_size=32
)
small = st.dictionaries(
    st.tuples(st.sampled_from("abcd"), st.sampled_from(COLUMNS[:3])),
    st.one_of(st.sampled_from([0, UNIT, UNIT // 2, UNIT // 3]), st.integers(0, 2 * UNIT)),
    min_size=1,
    max_size=12,
)


def margins(cells: dict[tuple[str, str], int], place: int) -> dict[str, int]:
    found: dict[str, int] = {}
    for key, amount in cells.items():
        found[key[place]] = found.get(key[place], 0) + amount
    return found


def printed(cells: dict[tuple[str, str], int], place: int) -> dict[str, int]:
    total = ledger.half_up(sum(cells.values()), UNIT)
    return ledger.apportion(total, margins(cells, place), UNIT) if cells else {}


@given(tables)
def test_a_table_adds_up_and_what_is_nothing_stays_nothing(cells: dict[tuple[str, str], int]) -> None:
    rows, columns = printed(cells, 0), printed(cells, 1)
    result = ledger.round_table(cells, rows, columns, UNIT)
    for column, wanted in columns.items():
        assert sum(n for (_, c), n in result.items() if c == column) == wanted
    assert all(cells[key] > 0 and n >= 0 for key, n in result.items())
    assert sum(result.values()) == sum(rows.values())


def subsets(names: list[str]) -> Iterator[set[str]]:
    for count in range(1, len(names) + 1):
        yield from map(set, itertools.combinations(names, count))


def some_table_has(
    cells: dict[tuple[str, str], int],
    columns: dict[str, int],
    low: dict[str, int],
    high: dict[str, int],
) -> bool:
    """Whether whole numbers on the cells that are not 0 can have these columns and rows in low..high (Hall, Hoffman)."""
    there = {key for key, amount in cells.items() if amount}
    enough = all(
        sum(n for r, n in low.items() if r in some)
        <= sum(n for c, n in columns.items() if any((r, c) in there for r in some))
        for some in subsets(list(low))
    )
    return enough and all(
        sum(n for c, n in columns.items() if c in some)
        <= sum(n for r, n in high.items() if any((r, c) in there for c in some))
        for some in subsets(list(columns))
    )


@given(small)
def test_rows_are_met_wherever_a_table_without_cells_from_nothing_can(
    cells: dict[tuple[str, str], int],
) -> None:
    rows, columns, exact = printed(cells, 0), printed(cells, 1), margins(cells, 0)
    result = ledger.round_table(cells, rows, columns, UNIT)
    got = {row: sum(n for (r, _), n in result.items() if r == row) for row in rows}
    low = {r: min(rows[r], n // UNIT) for r, n in exact.items()}
    high = {r: max(rows[r], -(-n // UNIT)) for r, n in exact.items()}
    if some_table_has(cells, columns, rows, rows):
        assert got == rows
    elif some_table_has(cells, columns, low, high):
        assert all(low[r] <= got[r] <= high[r] for r in rows)


@given(small)
def test_every_cell_is_its_floor_or_ceiling_wherever_the_margins_allow(
    cells: dict[tuple[str, str], int],
) -> None:
    rows, columns = printed(cells, 0), printed(cells, 1)
    keys = sorted(cells)
    floors = {key: amount // UNIT for key, amount in cells.items()}
    split = [key for key in keys if cells[key] % UNIT]

    def fits(ups: set[tuple[str, str]]) -> bool:
        return all(
            sum(floors[k] + (k in ups) for k in keys if k[place] == name) == wanted
            for place, side in ((0, rows), (1, columns))
            for name, wanted in side.items()
        )

    spare = sum(rows.values()) - sum(floors.values())
    if any(fits(set(ups)) for ups in itertools.combinations(split, spare)):
        result = ledger.round_table(cells, rows, columns, UNIT)
        assert fits({key for key in keys if result.get(key, 0) > floors[key]})
        assert all(result.get(key, 0) - floors[key] in (0, 1) for key in keys)


@given(tables, st.randoms())
def test_the_order_of_cells_changes_no_table(cells: dict[tuple[str, str], int], rng: random.Random) -> None:
    keys = list(cells)
    rng.shuffle(keys)
    rows, columns = printed(cells, 0), printed(cells, 1)
    again = ledger.round_table(
        {k: cells[k] for k in keys}, dict(reversed(rows.items())), dict(reversed(columns.items())), UNIT
    )
    assert again == ledger.round_table(cells, rows, columns, UNIT)


def test_a_row_gives_way_where_only_a_cell_from_nothing_could_meet_it() -> None:
    """By largest remainder row a gets the unit and column z too; but a has nothing in z (docs/money.md, Rounding)."""
    cells = {("a", "x"): 3, ("a", "y"): 3, ("b", "z"): 4}
    rows, columns = (
        ledger.apportion(1, {"a": 6, "b": 4}, 10),
        ledger.apportion(1, {"x": 3, "y": 3, "z": 4}, 10),
    )
    assert (rows, columns) == ({"a": 1, "b": 0}, {"x": 0, "y": 0, "z": 1})
    assert ledger.round_table(cells, rows, columns, 10) == {("a", "x"): 0, ("a", "y"): 0, ("b", "z"): 1}


def test_a_hundred_thousand_rows_are_rounded_at_once() -> None:
    rng = random.Random(7)
    cells = {
        (f"w{n:06d}", state): rng.randint(0, 3 * UNIT)
        for n in range(100_000)
        for state in rng.sample(("used", "idle", "unknown"), 2)
    }
    rows, columns = printed(cells, 0), printed(cells, 1)
    result = ledger.round_table(cells, rows, columns, UNIT)
    got = dict.fromkeys(rows, 0)
    for (row, _), n in result.items():
        got[row] += n
    assert got == rows
    assert all(abs(result[key] * UNIT - amount) < UNIT for key, amount in cells.items() if amount)


def test_margins_that_do_not_belong_are_a_bug() -> None:
    with pytest.raises(LedgerError, match="BUG"):
        ledger.round_table({("a", "x"): 10}, {"a": 1}, {"x": 2}, 10)
    with pytest.raises(LedgerError, match="BUG"):
        ledger.round_table({("a", "x"): 20}, {"a": 1}, {"x": 1}, 10)


def test_figures_for_people() -> None:
    assert ledger.formatted(Decimal("1234567.80")) == "1,234,567.80"
    assert ledger.formatted(Decimal("-0.05"), grouped=False) == "-0.05"
    assert ledger.rounded(-ledger.ATOMS_PER_UNIT // 200, "USD") == Decimal("-0.01")
    assert ledger.price_decimal(7_250_000) == Decimal("7.25")
