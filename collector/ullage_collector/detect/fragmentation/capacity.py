"""What is free on nodes, as values and as arrays. Pure.

A node with cards of two models is two parts, as a task asks for one model; both have the node's processors.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

UNKNOWN: Final = np.iinfo(np.int64).max
"""Free processors or memory nobody told: no task fails for them, and whoever shows the figure says how many nodes."""


@dataclass(frozen=True, slots=True)
class FreeNode:
    """What one node has free. cards: free thousandths of each card that may take work, 0..1000.

    cpu_milli, memory_mib None: nobody told. model "": not known; a task that names models has no access.
    Cards that are fenced, isolated or broken are not among ``cards``.
    card_ids: of ``cards``, or () where nobody names them. islands: of ``cards``, the NVLink, HCCS or xGMI domain of each,
    "": not known; () where none is known. domain: what nodes of one job have to share, ``rails``: the fabric planes its
    cards are on; "": not known.
    """

    name: str
    model: str
    cpu_milli: int | None
    memory_mib: int | None
    cards: tuple[int, ...]
    cluster: str = ""
    pool: str = ""
    card_ids: tuple[str, ...] = ()
    islands: tuple[str, ...] = ()
    domain: str = ""
    rails: str = ""

    @property
    def place(self) -> tuple[str, str, str]:
        """What tells it from every other: cluster, name and model."""
        return self.cluster, self.name, self.model

    def island(self, card: int) -> str:
        """The island of the card at this position; "": not known."""
        return self.islands[card] if self.islands else ""

    @property
    def free_milli(self) -> int:
        """Thousandths of a card, all cards together."""
        return sum(self.cards)


@dataclass(frozen=True, slots=True)
class Free:
    """The same of N nodes with at most G cards each, as int64. A card that is not there has 0 free, which takes no task.

    cards: [N, G] thousandths. cpu_milli, memory_mib: [N], UNKNOWN where nobody told.
    model: [N], place in ``models``.
    """

    cards: Ints
    cpu_milli: Ints
    memory_mib: Ints
    model: Ints
    models: tuple[str, ...]

    @property
    def total_milli(self) -> Ints:
        """[N] free thousandths of a node."""
        return np.asarray(self.cards.sum(axis=1))


def as_arrays(nodes: Sequence[FreeNode]) -> Free:
    """The nodes in their order."""
    widest = max((len(node.cards) for node in nodes), default=0)
    padded = [node.cards + (0,) * (widest - len(node.cards)) for node in nodes]
    models = tuple(dict.fromkeys(node.model for node in nodes))
    numbers = {name: number for number, name in enumerate(models)}
    return Free(
        cards=np.array(padded, dtype=np.int64).reshape(len(nodes), widest),
        cpu_milli=_known([node.cpu_milli for node in nodes]),
        memory_mib=_known([node.memory_mib for node in nodes]),
        model=np.array([numbers[node.model] for node in nodes], dtype=np.int64),
        models=models,
    )


def _known(values: Sequence[int | None]) -> Ints:
    return np.array([UNKNOWN if value is None else value for value in values], dtype=np.int64)
