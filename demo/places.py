"""The demonstration fleet: 64 servers of five makers, their cards, pools and schedulers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from ullage_agent.backends.simulated.models import MODELS, Identity, Model, identity

CLUSTER: Final = "demo"
CARDS_PER_SERVER: Final = 8


@dataclass(frozen=True, slots=True)
class Group:
    """Servers of one model under one scheduler. prefix: their names, ``h800-01`` and on. servers: in a fleet of 64."""

    prefix: str
    model: str
    servers: int
    pool: str
    scheduler: str


GROUPS: Final = (
    Group("h800", "NVIDIA H800", 20, "train-h800", "slurm"),
    Group("a100", "NVIDIA A100-SXM4-80GB", 14, "serve-a100", "k8s"),
    Group("ascend", "Ascend 910B3", 12, "train-ascend", "slurm"),
    Group("k100", "Hygon K100_AI", 8, "train-k100", "slurm"),
    Group("mlu", "Cambricon MLU590-M9", 5, "serve-mlu", "k8s"),
    Group("c500", "MetaX C500", 5, "serve-c500", "k8s"),
)


@dataclass(frozen=True, slots=True)
class Card:
    """One owned card. index: its row in every array. place: 0..7 on its server."""

    index: int
    node_id: str
    place: int
    model: Model
    who: Identity
    pool: str
    scheduler: str


def fleet(servers: int) -> list[Card]:
    """The cards of a fleet of this many servers, the makers in the same proportions; at least one server each."""
    total = sum(group.servers for group in GROUPS)
    if servers < len(GROUPS):
        raise ValueError(f"{servers} servers cannot hold one of each of {len(GROUPS)} groups")
    counts = [max(1, group.servers * servers // total) for group in GROUPS]
    counts[0] += servers - sum(counts)
    cards: list[Card] = []
    for group, count in zip(GROUPS, counts, strict=True):
        model = MODELS[group.model]
        for number in range(1, count + 1):
            node = f"{group.prefix}-{number:02d}"
            for place in range(CARDS_PER_SERVER):
                cards.append(
                    Card(
                        len(cards),
                        node,
                        place,
                        model,
                        identity(node, place, model),
                        group.pool,
                        group.scheduler,
                    )
                )
    return cards
