"""Work that runs and what is free beside it, and whether a piece of it could run elsewhere: the one place that checks a move.

Pure. What is not known is not safe: a move whose processors, memory or island cannot be checked is refused with that
reason. Not here: which moves are worth it (moves.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from ullage_collector.detect.fragmentation.capacity import FreeNode
from ullage_collector.detect.fragmentation.task import Ask

CHECKED: Final = ("processors", "memory", "share", "model", "topology", "pool")
"""What every proposed move was checked for."""


@dataclass(frozen=True, slots=True)
class Placed:
    """One workload on one node. node: its place in the list of nodes. cards: positions in the node's ``cards``.

    ask.models: the models it may run on; empty: any. stays: why it may not be moved; None: it may.
    """

    name: str
    node: int
    cards: tuple[int, ...]
    ask: Ask
    owner: str | None = None
    stays: str | None = None


@dataclass(slots=True)
class Board:
    """What is free while moves are tried, node by node. Changed by ``move`` and ``undo`` alone."""

    nodes: Sequence[FreeNode]
    cards: list[list[int]] = field(default_factory=list)
    cpu_milli: list[int | None] = field(default_factory=list)
    memory_mib: list[int | None] = field(default_factory=list)

    @classmethod
    def of(cls, nodes: Sequence[FreeNode]) -> Board:
        """As it stands now."""
        return cls(
            nodes,
            [list(node.cards) for node in nodes],
            [node.cpu_milli for node in nodes],
            [node.memory_mib for node in nodes],
        )

    def node(self, number: int) -> FreeNode:
        """A node as it stands on the board."""
        return replace(
            self.nodes[number],
            cards=tuple(self.cards[number]),
            cpu_milli=self.cpu_milli[number],
            memory_mib=self.memory_mib[number],
        )

    def why_not(self, work: Placed, target: int, cards: Sequence[int]) -> str | None:
        """Why ``work`` cannot run on these cards of another node now; None: it can."""
        ask, here, there = work.ask, self.nodes[work.node], self.nodes[target]
        if work.stays is not None:
            return work.stays
        if target == work.node:
            return "it is there already"
        if (here.cluster, here.pool) != (there.cluster, there.pool):
            return "another pool"
        if ask.models and there.model not in ask.models:
            return "another card model"
        if len(cards) != ask.cards or len(set(cards)) != len(cards):
            return "not as many cards"
        if any(self.cards[target][card] < ask.share_milli for card in cards):
            return "a card has too little free"
        return self._short(ask, target) or self._torn(work, target, cards)

    def _short(self, ask: Ask, target: int) -> str | None:
        """Processors and memory; asking for none needs no knowledge."""
        free_cpu, free_memory = self.cpu_milli[target], self.memory_mib[target]
        if ask.cpu_milli and (free_cpu is None or free_cpu < ask.cpu_milli):
            return "free processors are not known" if free_cpu is None else "processors are short"
        if ask.memory_mib is None:
            return "its memory is not known"
        if ask.memory_mib and (free_memory is None or free_memory < ask.memory_mib):
            return "free memory is not known" if free_memory is None else "memory is short"
        return None

    def _torn(self, work: Placed, target: int, cards: Sequence[int]) -> str | None:
        """Cards that reach each other without the network have to do so again."""
        if len(cards) < 2:
            return None
        before = {self.nodes[work.node].island(card) for card in work.cards}
        if len(before) > 1 or before == {""}:
            return None
        after = {self.nodes[target].island(card) for card in cards}
        return None if len(after) == 1 and after != {""} else "its cards would not be in one island"

    def move(self, work: Placed, target: int, cards: tuple[int, ...]) -> Placed:
        """The workload where it is then. Raises ValueError (BUG) for a move that cannot be."""
        why = self.why_not(work, target, cards)
        if why is not None:
            raise ValueError(f"BUG: {work.name} to {self.nodes[target].name}: {why}")
        return self._put(work, target, cards)

    def undo(self, moved: Placed, before: Placed) -> None:
        """Back to where it was."""
        self._put(moved, before.node, before.cards)

    def _put(self, work: Placed, target: int, cards: tuple[int, ...]) -> Placed:
        self._change(work, 1)
        moved = replace(work, node=target, cards=cards)
        self._change(moved, -1)
        return moved

    def _change(self, work: Placed, sign: int) -> None:
        ask, node = work.ask, work.node
        for card in work.cards:
            self.cards[node][card] += sign * ask.share_milli
        cpu, memory = self.cpu_milli[node], self.memory_mib[node]
        if cpu is not None:
            self.cpu_milli[node] = cpu + sign * ask.cpu_milli
        if memory is not None and ask.memory_mib is not None:
            self.memory_mib[node] = memory + sign * ask.memory_mib
