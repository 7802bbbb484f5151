"""A resource that says all by itself: whole cards, replicas, cores, pieces with a maker's name. Pure.

What one of them is may be said by the node alone: under MIG's strategy single a GPU is an instance, on a node with
replicas it is one of them. Without the node it is what its name says.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from math import ceil
from typing import Final

from ullage_collector.allocation.sharing.facts import Fact
from ullage_collector.allocation.sharing.ground import Ground
from ullage_collector.allocation.sharing.lines import Line, whole_count
from ullage_collector.allocation.sharing.pod import Container
from ullage_collector.allocation.sharing.profiles import Piece, piece
from ullage_collector.allocation.sharing.share import Asked, memory_share, nano

_ONE: Final = Fraction(1)


def alone(container: Container, line: Line, ground: Ground) -> Iterator[Asked]:
    """One row from a resource that says all by itself: whole cards, replicas, cores, pieces."""
    fact, count = line.fact, whole_count(line)
    row = ground.row(fact.vendor)
    model = row.model
    cards, share, profile = count, Piece(), line.match.profile
    system = fact.system
    if fact.profile is not None and profile is not None:
        share = piece(
            fact.profile,
            profile,
            _chip(line.resource) or model,
            cores_total=row.cores_total,
            total_bytes=ground.memory(fact.vendor),
        )
        if line.resource.endswith(".shared"):
            share = _replica_of(share, ground, profile)
    elif fact.unit == "card":
        system, share, profile = _card(fact, ground)
    elif fact.unit == "replica":
        shared = ground.row(fact.vendor, None if fact.vendor == "nvidia" else system)
        system = shared.mode if fact.vendor == "nvidia" and shared.mode else system
        share = _replica(shared.replicas, shared.mode)
    elif fact.unit == "core":
        per_card = row.replicas
        if per_card:
            cards = ceil(Fraction(count, per_card))
            share = Piece(Fraction(count, per_card * cards))
    else:  # parts of a card: 1/N card, part
        parts = fact.parts or ground.row(fact.vendor, system).replicas
        each = Fraction(count, parts) if parts else None
        if fact.per == "all":
            cards = max(1, ceil(each)) if each is not None else 1
            each = None if each is None else each / cards
            share = Piece(each, each)
        else:
            share = Piece(Fraction(1, parts), Fraction(1, parts)) if parts else Piece()
    memory_nano = nano(share.memory)
    if memory_nano is None:
        memory_nano = memory_share(share.memory_bytes, ground.memory(fact.vendor))
    yield Asked(
        container=container.name,
        init=container.init,
        system=system,
        vendor=fact.vendor,
        resources=(line.resource,),
        cards=cards,
        compute_nano=nano(share.compute),
        memory_bytes=share.memory_bytes,
        memory_nano=memory_nano,
        profile=profile,
    )


def _card(fact: Fact, ground: Ground) -> tuple[str, Piece, str | None]:
    """What one of a plugin's cards is on this node: a whole one, an instance or partition of one, or a replica."""
    row = ground.row(fact.vendor)
    if row.profile is not None and row.system in ("mig", "partition"):
        kind = "MIG" if row.system == "mig" else "XCP"
        share = piece(kind, row.profile, row.model, total_bytes=ground.memory(fact.vendor))
        if row.replicas:
            share = _divided(share, row.replicas)
        return row.system, share, row.profile
    if row.replicas and row.mode:
        return row.mode, _replica(row.replicas, row.mode), None
    return fact.system, Piece(_ONE, _ONE), None


def _replica(replicas: int | None, mode: str | None) -> Piece:
    """One of a card's equal replicas.

    # our choice: because replicas cannot be told apart, each is an equal share of the card's time; memory is
    # limited by MPS alone (NVIDIA/k8s-device-plugin README.md), by the others nobody's share.
    """
    if not replicas:
        return Piece()
    share = Fraction(1, replicas)
    return Piece(share, share if mode == "mps" else None)


def _replica_of(share: Piece, ground: Ground, profile: str) -> Piece:
    for device in ground.devices:
        if device.vendor == "nvidia" and device.profile == profile and device.replicas:
            return _divided(share, device.replicas)
    return Piece()


def _divided(share: Piece, by: int) -> Piece:
    return Piece(
        None if share.compute is None else share.compute / by,
        None if share.memory is None else share.memory / by,
        None if share.memory_bytes is None else share.memory_bytes // by,
    )


def _chip(resource: str) -> str | None:
    """The chip a vNPU's name says: huawei.com/Ascend310P-2c."""
    name = resource.removeprefix("huawei.com/Ascend")
    return name.partition("-")[0] if name != resource else None
