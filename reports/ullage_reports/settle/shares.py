"""Who holds what share of each card at one instant. What one card can give is never exceeded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Final

from ullage_reports.settle.activity import readings
from ullage_reports.settle.world import Allocation, Card, World

NOTHING: Final = Fraction(0)
WHOLE: Final = Fraction(1)


def held_shares(
    world: World, at_us: int, holding: Sequence[Allocation], out: Mapping[str, str]
) -> dict[str, list[tuple[Allocation, Fraction]]]:
    """Card -> (allocation, share), shares of a card adding up to at most 1.

    holding: the allocations of this instant. out: cards that are faulty or isolated: a number of cards is placed on
    others. Named cards come first; a number of cards takes wholly free ones, then what is left of others, in the order of the
    file. Where all of them ask for more than is left, each gets its part of that; where nothing is left, they share with the named.
    """
    asked: dict[str, list[tuple[Allocation, Fraction]]] = {card.card: [] for card in world.cards}
    by_name = {card.card: card for card in world.cards}
    for held in holding:
        if held.card is not None:
            asked[held.card].append((held, _asked(world, held, by_name[held.card])))
    counts = [held for held in holding if held.card is None]
    if counts:
        _place(world, counts, [card for card in world.cards if card.card not in out], asked)
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


def _place(
    world: World,
    counts: Sequence[Allocation],
    cards: Sequence[Card],
    asked: dict[str, list[tuple[Allocation, Fraction]]],
) -> None:
    """Add numbers of cards to what is asked of each; those of a model first."""
    left = {
        card.card: max(WHOLE - sum((share for _, share in asked[card.card]), NOTHING), NOTHING)
        for card in cards
    }
    for model in (*sorted({h.model for h in counts if h.model}), None):
        wanted = [h for h in counts if h.model == model]
        room = [card for card in cards if model in (None, card.model)] if wanted else []
        for held, name, share in _placed(world, wanted, room, left):
            asked[name].append((held, share))
            left[name] = max(left[name] - share, NOTHING)


def _placed(
    world: World, wanted: Sequence[Allocation], room: Sequence[Card], left: Mapping[str, Fraction]
) -> list[tuple[Allocation, str, Fraction]]:
    """(allocation, card, share of it). room: the cards they may be placed on. left: what of each is left."""
    free = [card for card in room if left[card.card] == WHOLE]
    begun = {card.card: left[card.card] for card in room if NOTHING < left[card.card] < WHOLE}
    placed = []
    for held in wanted:
        chosen = free[: held.count]
        asks = {card.card: _asked(world, held, card) for card in chosen}
        del free[: held.count]
        if len(chosen) < held.count:
            fits = {card.card: _asked(world, held, card) for card in room if card.card in begun}
            some = [name for name, ask in fits.items() if ask <= begun[name]][: held.count - len(chosen)]
            if len(chosen) + len(some) < held.count:
                return _divided(world, wanted, room, left) if room else []
            asks |= {name: fits[name] for name in some}
        for name, ask in asks.items():
            begun[name] = begun.get(name, WHOLE) - ask
            placed.append((held, name, ask))
    return placed


def _divided(
    world: World, wanted: Sequence[Allocation], room: Sequence[Card], left: Mapping[str, Fraction]
) -> list[tuple[Allocation, str, Fraction]]:
    """Each one's part of what is left of every card, by what it asks for altogether; of nothing, of every card alike."""
    needs = [
        (held, held.count * sum((_asked(world, held, card) for card in room), NOTHING) / len(room))
        for held in wanted
    ]
    free = sum((left[card.card] for card in room), NOTHING)
    if not free:
        return [(held, card.card, need / len(room)) for card in room for held, need in needs]
    most = max(free, sum((need for _, need in needs), NOTHING))
    return [
        (held, card.card, left[card.card] * need / most)
        for card in room
        for held, need in needs
        if left[card.card]
    ]


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
