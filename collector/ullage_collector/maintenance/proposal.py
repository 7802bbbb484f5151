"""Where the work of nodes that go away could go: a proposal over free cards by model and shape. Pure.

The shape of work is how many cards it has on each node: a piece that was on one node is put on one node. Nothing is moved;
schedulers and owners decide.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

NANO: Final = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Hold:
    """What one workload has on one node. share_nano: 10^9 is a whole card. until_us None: nobody says until when.

    user, department, owner None: not known. reserved: nobody's work yet, a reservation.
    """

    cluster: str
    node: str
    workload: str
    model: str
    share_nano: int
    since_us: int
    until_us: int | None = None
    name: str | None = None
    user: str | None = None
    department: str | None = None
    owner: str | None = None
    reserved: bool = False

    @property
    def cards(self) -> int:
        """Cards it needs elsewhere: part of a card needs one."""
        return -(-self.share_nano // NANO)


@dataclass(frozen=True, slots=True)
class Free:
    """Free, healthy and heard-of cards of one model on one node that stays."""

    cluster: str
    node: str
    model: str
    cards: int


@dataclass(frozen=True, slots=True)
class Move:
    """One hold and where it could go. to None: nowhere, and why."""

    hold: Hold
    to: str | None
    why: str = ""


@dataclass(frozen=True, slots=True)
class Proposal:
    """moves: one for each hold that lasts into the window. over_before: holds that end before it by what is said."""

    moves: tuple[Move, ...]
    over_before: tuple[Hold, ...]
    left: tuple[Free, ...] = field(default=())


def propose(holds: Iterable[Hold], free: Sequence[Free], begin_us: int) -> Proposal:
    """Put each hold that is not over at ``begin_us`` on one node with enough free cards of its model in its cluster.

    Largest first, each on the node where least is left over, so that whole nodes stay free for whole-node work. A hold nobody
    knows the end of is taken to last.
    """
    holds = list(holds)
    before = tuple(h for h in holds if h.until_us is not None and h.until_us <= begin_us)
    room = {(f.cluster, f.model, f.node): f.cards for f in free if f.cards > 0}
    moves = []
    lasting = [h for h in holds if h not in before]
    for hold in sorted(lasting, key=lambda h: (-h.cards, h.cluster, h.node, h.workload, h.model)):
        if hold.reserved:
            moves.append(Move(hold, None, "a reservation: its owner moves or shortens it"))
            continue
        fitting = sorted(
            (cards - hold.cards, node)
            for (cluster, model, node), cards in room.items()
            if (cluster, model) == (hold.cluster, hold.model) and cards >= hold.cards
        )
        if not fitting:
            total = sum(n for (c, m, _), n in room.items() if (c, m) == (hold.cluster, hold.model))
            moves.append(
                Move(hold, None, f"no node has {hold.cards} free {hold.model}; {total} are free in all")
            )
            continue
        _, node = fitting[0]
        room[hold.cluster, hold.model, node] -= hold.cards
        moves.append(Move(hold, node))
    left = tuple(Free(c, n, m, cards) for (c, m, n), cards in sorted(room.items()) if cards)
    return Proposal(tuple(moves), before, left)
