"""Laws of quotas over time, for any trees, cards and work: nothing is lost, doubled or negative, however it is cut."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from ullage_collector.quota.division import ROOT, Shape, divide
from ullage_collector.quota.entry import QuotaEntry, Scope
from ullage_collector.quota.sprint import Sprint, shaped
from ullage_collector.quota.steps import HOUR_US, Piece, Span, Step, by_hour, steps, total
from ullage_collector.quota.tree import Node, Tree

CARD = 10**9
END = 3 * HOUR_US


@dataclass(frozen=True)
class World:
    spans: list[Span]
    cards: list[Piece]
    held: list[Piece]
    asked: list[Piece]


@st.composite
def trees(draw: st.DrawFn) -> tuple[tuple[Node, ...], Shape]:
    count = draw(st.integers(1, 6))
    parents = [draw(st.integers(ROOT, n - 1)) for n in range(count)]
    amount = st.none() | st.integers(0, 8 * CARD)
    nodes = tuple(
        Node(f"q{n}", None if p == ROOT else f"q{p}", None, None, None, ()) for n, p in enumerate(parents)
    )
    limits = [[draw(amount) for _ in range(count)] for _ in range(3)]
    return nodes, Shape(parents, *limits)  # type: ignore[arg-type]


@st.composite
def pieces(draw: st.DrawFn, names: list[str | None], most: int) -> list[Piece]:
    found = []
    for _ in range(draw(st.integers(0, most))):
        start = draw(st.integers(-HOUR_US, END))
        end = draw(st.integers(start, END + HOUR_US))
        found.append(Piece(start, end, draw(st.integers(1, 3 * CARD)), draw(st.sampled_from(names))))
    return found


@st.composite
def worlds(draw: st.DrawFn) -> World:
    cuts = sorted({0, END, *draw(st.lists(st.integers(1, END - 1), max_size=2))})
    spans = []
    for start, end in pairwise(cuts):
        spans.append(Span(start, end, *draw(trees())))
    names: list[str | None] = [None, "gone", *(f"q{n}" for n in range(6))]
    return World(spans, draw(pieces([None], 6)), draw(pieces(names, 8)), draw(pieces(names, 5)))


def run(world: World) -> list[Step]:
    return list(steps(world.spans, world.cards, world.held, world.asked))


def inside(piece: Piece, start: int = 0, end: int = END) -> int:
    return piece.nano * max(0, min(piece.to_us, end) - max(piece.from_us, start))


@given(worlds())
def test_steps_cover_the_time_once_and_all_use_is_in_them(world: World) -> None:
    found = run(world)
    assert (found[0].from_us, found[-1].to_us) == (0, END)
    assert all(a.to_us == b.from_us for a, b in pairwise(found))
    summed = total(found)
    assert summed.used == sum(map(inside, world.held))
    assert summed.waiting == sum(map(inside, world.asked))
    assert summed.capacity == sum(map(inside, world.cards))
    assert summed.stood_us == END


@given(worlds())
def test_at_every_instant_what_is_borrowed_is_lent_nobodys_or_over(world: World) -> None:
    for step in run(world):
        division, shape = step.division, step.span.shape
        roots = shape.below[ROOT]
        borrowed = sum(division.borrowed[r] for r in roots) + division.outside
        assert borrowed == sum(division.lent[r] for r in roots) + division.unguaranteed + division.over
        for figures in (division.used, division.borrowed, division.lent, division.headroom, step.waiting):
            assert all(value >= 0 for value in figures)
        # a step says what an instant of it says
        middle = (step.from_us + step.to_us) // 2
        numbers = {node.name: i for i, node in enumerate(step.span.nodes)}
        own = [0] * len(numbers)
        outside = 0
        for piece in world.held:
            if piece.from_us <= middle < piece.to_us:
                if piece.node in numbers:
                    own[numbers[piece.node]] += piece.nano
                else:
                    outside += piece.nano
        capacity = sum(p.nano for p in world.cards if p.from_us <= middle < p.to_us)
        assert division == divide(shape, own, outside, capacity)


@given(worlds(), st.lists(st.integers(1, END - 1), max_size=4))
def test_sums_do_not_depend_on_where_time_is_cut(world: World, cuts: list[int]) -> None:
    whole = total(run(world))
    edges = sorted({0, END, *cuts})
    parts = []
    for start, end in pairwise(edges):
        cut = [
            Span(max(s.from_us, start), min(s.to_us, end), s.nodes, s.shape)
            for s in world.spans
            if s.from_us < end and start < s.to_us
        ]
        parts.append(total(run(World(cut, world.cards, world.held, world.asked))))
    hours = by_hour(run(world)).values()
    for pieces_of in (parts, list(hours)):
        for name in ("capacity", "used", "outside", "unguaranteed", "over", "waiting", "stood_us"):
            assert sum(getattr(part, name) for part in pieces_of) == getattr(whole, name)
        for quota, entry in whole.nodes.items():
            for name in (
                "used",
                "guaranteed_used",
                "borrowed",
                "lent",
                "shared_used",
                "waiting",
                "headroom",
                "min",
                "max",
            ):
                found = sum(getattr(p.nodes[quota], name) for p in pieces_of if quota in p.nodes)
                assert found == getattr(entry, name), (quota, name)


@given(trees(), st.integers(0, 40 * CARD), st.integers(0, 5), st.booleans())
def test_a_sprint_gives_its_department_every_card_and_everybody_else_none(
    drawn: tuple[tuple[Node, ...], Shape], capacity: int, number: int, deep: bool
) -> None:
    nodes, shape = drawn
    scope = Scope("p")
    theirs = {n for n in range(len(nodes)) if n == number}
    entries = [
        QuotaEntry(
            "t",
            node.name,
            node.parent,
            scope=scope,
            min_nano=shape.mins[n] if shape.stated[n] else None,
            max_nano=shape.maxes[n],
            department=("d/deep" if deep else "d") if n in theirs else "other",
        )
        for n, node in enumerate(nodes)
    ]
    tree = Tree("t", entries)
    if not tree.limits(scope):
        return
    found_nodes, found = shaped(tree, scope, Sprint(1, "p", "d", 0, 1), capacity)
    by_name = {node.name: i for i, node in enumerate(found_nodes)}
    own = f"q{number}" if number < len(nodes) else "d"
    assert found.mins[by_name[own]] == capacity
    assert sum(found.mins[r] for r in found.below[ROOT]) == capacity
    below = {own}
    for node in found_nodes:
        if node.parent in below:
            below.add(node.name)
    above = set()
    at = next(node for node in found_nodes if node.name == own).parent
    while at is not None:
        above.add(at)
        at = found_nodes[by_name[at]].parent
    for name, i in by_name.items():
        if name in above:
            assert found.mins[i] == capacity
        elif name not in below:
            assert found.mins[i] == 0
        if name in above | {own} and found.maxes[i] is not None:
            assert found.maxes[i] >= capacity
