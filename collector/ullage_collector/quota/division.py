"""Who borrows from whom at one instant: exact integers of nano-shares over one tree and one kind of cards.

A node's use beyond its min is borrowed. What the nodes of one group (the children of one parent, or the roots) borrow
is met, in this order, by

1. the group's *shared* part: what the parent is guaranteed beyond its children's min (of the roots: cards of the
   pool that nobody is guaranteed),
2. what the group's other nodes are guaranteed and do not use: they *lend* it, in proportion to what lies unused,
3. the parent, which then borrows itself from its own group.

Our choice: shared cards first, because nobody lends while there are cards that nobody is owed. What a parent lends
comes out of its shared part first, too, then out of what its children leave unused. At the roots, what nobody can
have given is *over*: shares promised beyond the cards there are.

At every instant and in every group, what its nodes borrow = what they lend each other + shared use + what the
parent brings in; and none of these is negative. Pure; no clock, no names.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

ROOT = -1


class Shape:
    """A tree's limits. Lists by node, parents before children.

    parents: number of the parent, ROOT for roots. mins: guaranteed nano-shares; None: it states none, and what it
    uses is nobody's promise: a leaf counts as 0, an inner node as what its children are guaranteed together.
    maxes: ceiling or None. lends: most of its min that others may use, or None. stated: who states a min.
    """

    __slots__ = ("below", "lends", "maxes", "mins", "parents", "shared", "stated")

    def __init__(
        self,
        parents: Sequence[int],
        mins: Sequence[int | None],
        maxes: Sequence[int | None],
        lends: Sequence[int | None],
    ) -> None:
        self.parents = tuple(parents)
        self.stated = tuple(m is not None for m in mins)
        self.maxes = tuple(maxes)
        self.lends = tuple(lends)
        below: list[list[int]] = [[] for _ in range(len(self.parents) + 1)]
        for number, parent in enumerate(self.parents):
            if parent >= number:
                raise ValueError("BUG: a child before its parent")
            below[parent].append(number)  # the roots in the last place: ROOT is -1
        self.below = tuple(tuple(children) for children in below)
        whole: list[int] = [0] * len(self.parents)
        for number in range(len(self.parents) - 1, -1, -1):
            own = mins[number]
            whole[number] = sum(whole[c] for c in below[number]) if own is None else own
        self.mins = tuple(whole)
        self.shared = tuple(
            max(0, self.mins[n] - sum(self.mins[c] for c in self.below[n])) for n in range(len(self.parents))
        )


@dataclass(slots=True)
class Division:
    """Nano-shares by node, and of the whole.

    used: its own use and its descendants'. borrowed: used beyond min. lent: of its unused min, what others use.
    shared_used: of what it is guaranteed beyond its children, what they (or it itself) use. headroom: what it may
    still take without taking anything back: below every max above it, of cards nobody uses; None never.
    unguaranteed: use of cards nobody is guaranteed. over: use beyond the cards there are. outside: use bound nowhere.
    """

    used: list[int]
    borrowed: list[int]
    lent: list[int]
    shared_used: list[int]
    headroom: list[int]
    unguaranteed: int
    over: int
    outside: int


def divide(shape: Shape, own: Sequence[int], outside: int, capacity: int) -> Division:
    """The division at one instant.

    own: use bound to each node itself. outside: use of these cards that no node binds; it borrows as a root with no
    guarantee would. capacity: nano-shares of the cards there are.
    """
    count = len(shape.parents)
    used = list(own)
    for number in range(count - 1, -1, -1):
        parent = shape.parents[number]
        if parent >= 0:
            used[parent] += used[number]
    mins = shape.mins
    borrowed = [max(0, u - m) for u, m in zip(used, mins, strict=True)]
    unused = [max(0, m - u) for u, m in zip(used, mins, strict=True)]
    lent = [0] * count
    shared_used = [0] * count
    roots = shape.below[ROOT]
    free = max(0, capacity - sum(mins[r] for r in roots))
    need = outside + sum(borrowed[r] for r in roots)
    unguaranteed = min(need, free)
    given = min(need - unguaranteed, sum(unused[r] for r in roots))
    over = need - unguaranteed - given
    _lend(shape, roots, unused, lent, given)
    for number in range(count):
        children = shape.below[number]
        if not children:
            continue
        need = own[number] + sum(borrowed[c] for c in children)
        inside = min(need, shape.shared[number])
        shared_used[number] = inside
        mutual = min(need - inside, sum(unused[c] for c in children))
        out = max(0, lent[number] - (shape.shared[number] - inside))
        _lend(shape, children, unused, lent, mutual + out)
    return Division(
        used,
        borrowed,
        lent,
        shared_used,
        _headroom(shape, used, outside, capacity),
        unguaranteed,
        over,
        outside,
    )


def _headroom(shape: Shape, used: list[int], outside: int, capacity: int) -> list[int]:
    free = max(0, capacity - outside - sum(used[r] for r in shape.below[ROOT]))
    room: list[int] = []
    for number, parent in enumerate(shape.parents):
        most = free if parent < 0 else room[parent]
        ceiling = shape.maxes[number]
        room.append(most if ceiling is None else max(0, min(most, ceiling - used[number])))
    return room


def _lend(shape: Shape, nodes: Sequence[int], unused: list[int], lent: list[int], amount: int) -> None:
    """Spread what is lent over what lies unused, in proportion; beyond a node's lending limit only when it must be."""
    if not amount:
        return
    limits = shape.lends
    rooms = []
    for n in nodes:
        limit = limits[n]
        rooms.append(unused[n] if limit is None else min(unused[n], limit))
    within = min(amount, sum(rooms))
    shares = spread(within, rooms)
    if amount > within:
        rest = [unused[n] - share for n, share in zip(nodes, shares, strict=True)]
        shares = [a + b for a, b in zip(shares, spread(amount - within, rest), strict=True)]
    for n, share in zip(nodes, shares, strict=True):
        lent[n] = share


def spread(amount: int, rooms: Sequence[int]) -> list[int]:
    """``amount`` over ``rooms`` in proportion, exactly: it adds up, and no part is more than its room.

    amount: at most what the rooms add up to.
    """
    total = sum(rooms)
    if amount > total:
        raise ValueError(f"BUG: {amount} does not fit into {total}")
    if not amount:
        return [0] * len(rooms)
    shares = []
    through = given = 0
    for room in rooms:
        through += room
        upto = amount * through // total
        shares.append(upto - given)
        given = upto
    return shares
