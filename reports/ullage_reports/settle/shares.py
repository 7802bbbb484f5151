"""Who holds what share of each card at one instant. What one card can give is never exceeded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Final

from ullage_reports.settle.activity import readings
from ullage_reports.settle.world import Allocation, Card, World

WHOLE: Final = Fraction(1)


def held_shares(
    world: World, at_us: int, holding: Sequence[Allocation], out: Mapping[str, str]
) -> dict[str, list[tuple[Allocation, Fraction]]]:
    """Card -> (allocation, share), shares of a card adding up to at most 1.

    holding: the allocations of this instant. out: cards that are faulty or isolated: a number of cards is placed on
    others. Named cards come first; a number of cards takes wholly free ones, in the order of the file, and where
    it and others ask for more than there are, each gets its part of them.
    """
    asked: dict[str, list[tuple[Allocation, Fraction]]] = {card.card: [] for card in world.cards}
    by_name = {card.card: card for card in world.cards}
    for held in holding:
        if held.card is not None:
            asked[held.card].append((held, _asked(world, held, by_name[held.card])))
    free = [card for card in world.cards if not asked[card.card] and card.card not in out]
    counts = [held for held in holding if held.card is None]
    for model in (*sorted({h.model for h in counts if h.model}), None):
        wanted = [h for h in counts if h.model == model]
        room = [card for card in free if model in (None, card.model)]
        for held, card, part in _placed(wanted, room):
            asked[card.card].append((held, part * _asked(world, held, card)))
        free = [card for card in free if not asked[card.card]]
    return {name: _fitted(world, at_us, by_name[name], parts) for name, parts in asked.items()}


def _asked(world: World, held: Allocation, card: Card) -> Fraction:
    """The share of a card an allocation asks for."""
    if held.compute_slices is not None or held.memory_slices is not None:
        compute = Fraction(held.compute_slices or 0, card.compute_slices)
        memory = Fraction(held.memory_slices or 0, card.memory_slices)
        if world.policy.mig_weight == "memory_slices":
            return memory if held.memory_slices is not None else compute
        if world.policy.mig_weight == "dominant_share":
            return max(compute, memory)
        return compute if held.compute_slices is not None else memory
    if held.fraction is not None:
        return held.fraction
    return Fraction(1, card.replicas) if card.replicas else WHOLE


def _placed(wanted: Sequence[Allocation], room: Sequence[Card]) -> list[tuple[Allocation, Card, Fraction]]:
    """(allocation, card, part of what it asks of each card)."""
    total = sum(held.count for held in wanted)
    if total > len(room):
        return [(held, card, Fraction(held.count, total)) for card in room for held in wanted]
    left = list(room)
    placed = []
    for held in wanted:
        placed += [(held, card, WHOLE) for card in left[: held.count]]
        del left[: held.count]
    return placed


def _fitted(
    world: World, at_us: int, card: Card, asked: Sequence[tuple[Allocation, Fraction]]
) -> list[tuple[Allocation, Fraction]]:
    """Shares as charged: by request, divided by their sum when it is over 1, or by what each job measurably used."""
    if not asked:
        return []
    total = sum((share for _, share in asked), Fraction(0))
    if (total > 1 or card.time_sliced) and world.policy.oversubscription == "measured_sm_share":
        measured = [(held, _measured(world, at_us, held)) for held, _ in asked]
        known = [(held, value) for held, value in measured if value is not None]
        whole = sum((value for _, value in known), Fraction(0))
        if len(known) == len(asked) and whole:
            return [(held, min(total, WHOLE) * value / whole) for held, value in known]
    if total > 1:
        return [(held, share / total) for held, share in asked]
    return list(asked)


def _measured(world: World, at_us: int, held: Allocation) -> Fraction | None:
    """The job's own streaming multiprocessor share at an instant; None where it was not measured."""
    rows = [
        r for r in world.telemetry if r.job is not None and r.job == held.job and r.sm_active_pct is not None
    ]
    values = [
        r.sm_active_pct
        for r in readings(held, rows)
        if r.start_us <= at_us < r.end_us and r.sm_active_pct is not None
    ]
    return max(values) if values else None
