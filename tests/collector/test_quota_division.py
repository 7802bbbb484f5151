"""Who borrows from whom: hand-worked instants, and laws that hold for any tree and any use."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ullage_collector.quota.division import ROOT, Shape, divide, spread

CARD = 10**9


def shape(*nodes: tuple[int, int | None, int | None], lends: dict[int, int] | None = None) -> Shape:
    """(parent, min in cards, max in cards) by node."""
    lends = lends or {}
    return Shape(
        [parent for parent, _, _ in nodes],
        [None if low is None else low * CARD for _, low, _ in nodes],
        [None if high is None else high * CARD for _, _, high in nodes],
        [None if i not in lends else lends[i] * CARD for i in range(len(nodes))],
    )


def cards(values: list[int]) -> list[float]:
    return [value / CARD for value in values]


def of(*values: float) -> list[int]:
    return [round(value * CARD) for value in values]


def test_a_sibling_lends_what_it_does_not_use() -> None:
    """Root 10 of 12 cards; a is promised 6 and uses 1, b is promised 4 and uses 9: b borrows 5, all of it a's."""
    tree = shape((ROOT, 10, 12), (0, 6, 8), (0, 4, 12))
    found = divide(tree, of(0, 1, 9), 0, 12 * CARD)
    assert cards(found.used) == [10, 1, 9]
    assert cards(found.borrowed) == [0, 0, 5]
    assert cards(found.lent) == [0, 5, 0]
    assert cards(found.headroom) == [2, 2, 2]
    assert (found.unguaranteed, found.over) == (0, 0)


def test_cards_nobody_is_promised_are_used_before_anybody_lends() -> None:
    """20 cards, 10 promised: b's 5 beyond its min come out of the 10 that nobody is owed."""
    tree = shape((ROOT, 6, None), (ROOT, 4, None))
    found = divide(tree, of(1, 9), 0, 20 * CARD)
    assert cards(found.borrowed) == [0, 5]
    assert cards(found.lent) == [0, 0]
    assert found.unguaranteed == 5 * CARD
    assert cards(found.headroom) == [10, 10]


def test_what_a_parent_is_promised_beyond_its_children_is_shared_before_siblings_lend() -> None:
    """rd is promised 10, its teams 3 and 4: 3 are the department's own. a uses 8 of 3: 3 shared, then 2 of b's 4."""
    tree = shape((ROOT, 10, None), (0, 3, None), (0, 4, None))
    found = divide(tree, of(0, 8, 1), 0, 10 * CARD)
    assert cards(found.borrowed) == [0, 5, 0]
    assert cards(found.shared_used) == [3, 0, 0]
    assert cards(found.lent) == [0, 0, 2]


def test_a_department_lends_out_of_its_shared_part_first_then_out_of_its_teams_in_proportion() -> None:
    """24 cards, all promised. rd (12: teams 3 and 6, 3 shared) uses nothing; biz (12) uses 18 and borrows 6: 3 shared, 1 and 2."""
    tree = shape((ROOT, 12, None), (ROOT, 12, None), (0, 3, None), (0, 6, None))
    found = divide(tree, of(0, 18, 0, 0), 0, 24 * CARD)
    assert cards(found.lent) == [6, 0, 1, 2]
    assert cards(found.borrowed) == [0, 6, 0, 0]
    assert found.unguaranteed == 0


def test_a_lending_limit_holds_until_there_is_no_other_lender() -> None:
    """a lends at most 1 of 4, b has 4 unused: c's 3 are 1 x 1/5... of rooms 1 and 4; with 5 borrowed both are empty."""
    tree = shape((ROOT, 4, None), (ROOT, 4, None), (ROOT, 0, None), lends={0: 1})
    assert cards(divide(tree, of(0, 0, 5), 0, 8 * CARD).lent) == [1, 4, 0]
    assert cards(divide(tree, of(0, 0, 7), 0, 8 * CARD).lent) == [3, 4, 0]


def test_work_no_quota_binds_borrows_as_a_root_without_a_promise() -> None:
    tree = shape((ROOT, 8, None))
    found = divide(tree, of(2), 5 * CARD, 8 * CARD)
    assert cards(found.lent) == [5]
    assert (found.unguaranteed, found.over, found.outside) == (0, 0, 5 * CARD)
    assert cards(found.headroom) == [1]


def test_shares_beyond_the_cards_there_are_are_nobodys_loan() -> None:
    tree = shape((ROOT, 4, 4), (ROOT, None, None))
    found = divide(tree, of(4, 6), 0, 8 * CARD)
    assert (found.unguaranteed, found.over) == (4 * CARD, 2 * CARD)
    assert cards(found.lent) == [0, 0]
    assert cards(found.headroom) == [0, 0]


def test_a_node_that_states_no_min_is_promised_what_its_children_are() -> None:
    tree = shape((ROOT, None, None), (0, 2, None), (0, 3, None))
    assert tree.mins == (5 * CARD, 2 * CARD, 3 * CARD)
    assert tree.stated == (False, True, True)
    assert cards(divide(tree, of(0, 4, 1), 0, 5 * CARD).borrowed) == [0, 2, 0]


def test_the_nearest_ceiling_above_is_the_headroom() -> None:
    tree = shape((ROOT, 0, 6), (0, 0, 5), (0, 0, None))
    found = divide(tree, of(0, 4, 1), 0, 100 * CARD)
    assert cards(found.headroom) == [1, 1, 1]
    assert cards(divide(tree, of(0, 7, 1), 0, 100 * CARD).headroom) == [0, 0, 0]


@given(st.lists(st.integers(0, 10**12), min_size=1, max_size=9), st.data())
def test_what_is_spread_adds_up_and_fits(rooms: list[int], data: st.DataObject) -> None:
    amount = data.draw(st.integers(0, sum(rooms)))
    parts = spread(amount, rooms)
    assert sum(parts) == amount
    assert all(0 <= part <= room for part, room in zip(parts, rooms, strict=True))


@st.composite
def worlds(draw: st.DrawFn, *, sound: bool) -> tuple[Shape, list[int], int, int]:
    """A tree, use bound to each node, use bound nowhere, capacity. sound: no parent is promised less than its children."""
    amount = st.integers(0, 20 * CARD) | st.integers(0, 6).map(lambda n: n * CARD)
    count = draw(st.integers(1, 10))
    parents = [draw(st.integers(ROOT, n - 1)) for n in range(count)]
    mins: list[int | None] = [draw(st.none() | amount) for _ in range(count)]
    if sound:
        for n in range(count - 1, -1, -1):
            below = sum(mins[c] or 0 for c in range(n + 1, count) if parents[c] == n)
            if mins[n] is None:
                mins[n] = below
            mins[n] = max(mins[n] or 0, below)
    maxes = [draw(st.none() | amount) for _ in range(count)]
    lends = [draw(st.none() | amount) for _ in range(count)]
    own = [draw(amount) for _ in range(count)]
    return Shape(parents, mins, maxes, lends), own, draw(amount), draw(st.integers(0, 100 * CARD))


@given(worlds(sound=False))
def test_every_group_balances_whatever_the_tree(world: tuple[Shape, list[int], int, int]) -> None:
    tree, own, outside, capacity = world
    found = divide(tree, own, outside, capacity)
    roots = tree.below[ROOT]
    # all use is counted once
    assert sum(found.used[r] for r in roots) == sum(own)
    for n in range(len(own)):
        assert found.used[n] == own[n] + sum(found.used[c] for c in tree.below[n])
        assert found.used[n] == min(found.used[n], tree.mins[n]) + found.borrowed[n]
        assert 0 <= found.lent[n] <= max(0, tree.mins[n] - found.used[n])
        assert found.borrowed[n] == 0 or found.lent[n] == 0
        assert 0 <= found.shared_used[n] <= tree.shared[n]
        assert found.headroom[n] >= 0
    assert min(found.unguaranteed, found.over) >= 0
    # the roots: what is borrowed is lent, of cards nobody is promised, or beyond the cards there are
    borrowed = sum(found.borrowed[r] for r in roots) + outside
    assert borrowed == sum(found.lent[r] for r in roots) + found.unguaranteed + found.over
    assert found.unguaranteed <= max(0, capacity - sum(tree.mins[r] for r in roots))


@given(worlds(sound=True))
def test_in_a_sound_tree_all_that_leaves_borrow_is_lent_shared_or_nobodys(
    world: tuple[Shape, list[int], int, int],
) -> None:
    tree, own, outside, capacity = world
    found = divide(tree, own, outside, capacity)
    count = range(len(own))
    leaves = [n for n in count if not tree.below[n]]
    inner = [n for n in count if tree.below[n]]
    # what is bound to an inner node itself borrows as a leaf that is promised nothing would
    borrowed = sum(found.borrowed[n] for n in leaves) + sum(own[n] for n in inner) + outside
    lent = sum(found.lent[n] for n in leaves)
    # an inner node's shared part is used inside, or lent on from it
    for n in inner:
        inside = sum(found.borrowed[c] for c in tree.below[n]) + own[n]
        assert inside == found.shared_used[n] + found.borrowed[n] + (
            sum(found.lent[c] for c in tree.below[n]) - _passed_on(tree, found, n)
        )
    shared = sum(found.shared_used[n] for n in inner) + sum(_shared_lent(tree, found, n) for n in inner)
    assert borrowed == lent + shared + found.unguaranteed + found.over


def _shared_lent(tree: Shape, found: object, n: int) -> int:
    lent, used = found.lent, found.shared_used  # type: ignore[attr-defined]
    return min(lent[n], tree.shared[n] - used[n])


def _passed_on(tree: Shape, found: object, n: int) -> int:
    return found.lent[n] - _shared_lent(tree, found, n)  # type: ignore[attr-defined]
