"""What nobody held, shared out: lent guarantees at each instant, and the free pool of a period by one of five rules.

The arithmetic is cost_sharing's, as it is a statement's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from fractions import Fraction

from ullage_collector.ledger import FAULTY, HELD_STATES, ISOLATED, PLATFORM, UNALLOCATED_IDLE
from ullage_reports import cost_sharing
from ullage_reports.cost_sharing import CREDIT, NOTHING
from ullage_reports.settle.charges import ENERGY, SHARED, Amount, Book, Key, Piece, held_cards
from ullage_reports.settle.world import World


def lent(world: World, pieces: list[Piece]) -> list[Piece]:
    """Shares as paid for: under a reservation a department pays its guarantee, less the credit for what it lent.

    For lent cards the borrower pays the credit and the lender the rest; guaranteed cards that stand free are their
    department's, as far as there are free cards. Nothing is paid twice and nothing is negative.
    """
    credit = CREDIT.get(world.policy.borrowing)
    if credit is None:
        return pieces
    held = held_cards(pieces)
    free = sum((p.share for p in pieces if p.department == PLATFORM and p.state == UNALLOCATED_IDLE), NOTHING)
    found = cost_sharing.lending(
        held=held,
        guaranteed={name: quota.least for name, quota in world.quota.items()},
        cards=Fraction(len(world.cards)),
        free=free,
    )
    moved: list[Piece] = []
    for piece in pieces:
        if piece.state in HELD_STATES and piece.department in found.borrowed:
            part = found.borrowed[piece.department] / held[piece.department] * (1 - credit)
            moved += _moved(piece, part, found.lent)
        elif piece.department == PLATFORM and piece.state == UNALLOCATED_IDLE and free:
            moved += _moved(piece, sum(found.kept.values(), NOTHING) / free, found.kept)
        else:
            moved.append(piece)
    return moved


def _moved(piece: Piece, part: Fraction, weights: Mapping[str, Fraction]) -> list[Piece]:
    """A part of a piece given to others by weight, the rest left where it is."""
    if not part:
        return [piece]
    total = sum(weights.values(), NOTHING)
    moved = [
        replace(piece, department=name, share=piece.share * part * weight / total, held=None, began_us=None)
        for name, weight in weights.items()
        if weight
    ]
    left = replace(piece, share=piece.share * (1 - part))
    return [*([left] if left.share else []), *moved]


def spread(world: World, book: Book) -> dict[Key, Amount]:
    """The book's amounts with the free pool of each period paid by whom the policy says; what nobody weighs stays put."""
    amounts = {key: Amount(amount.quantity, amount.cost) for key, amount in book.amounts.items()}
    together = world.policy.faulty == "loss_shared_by_all"
    owner = PLATFORM
    if together:
        owner = SHARED
        for key in [k for k in amounts if k.department == PLATFORM and k.cost_class == UNALLOCATED_IDLE]:
            moved = amounts.pop(key)
            amounts.setdefault(replace(key, department=SHARED), Amount()).add(moved.quantity, moved.cost)
    if world.policy.unallocated_idle == "none":
        return amounts
    classes = (UNALLOCATED_IDLE, FAULTY, ISOLATED, ENERGY) if together else (UNALLOCATED_IDLE,)
    for key in [k for k in amounts if k.department == owner and k.cost_class in classes]:
        parts = weights(world, book, key.period)
        total = sum(parts.values(), NOTHING)
        if not total:
            continue
        pool = amounts.pop(key)
        for name, weight in sorted(parts.items()):
            if weight:
                part = weight / total
                amounts.setdefault(replace(key, department=name), Amount()).add(
                    pool.quantity * part, pool.cost * part
                )
    return amounts


def weights(world: World, book: Book, period: str) -> dict[str, Fraction]:
    """Department -> weight in sharing the free pool of a period."""
    return cost_sharing.weights(
        world.policy.unallocated_idle,
        paid=_holders(book, period),
        guaranteed=world.quota,
        fixed=world.fixed,
        unused={name: cards for (when, name), cards in book.unused.items() if when == period},
    )


def _holders(book: Book, period: str) -> dict[str, Fraction]:
    """Department -> what it pays for what it held in a period: proportional means by cost."""
    found: dict[str, Fraction] = {}
    states: Sequence[str] = HELD_STATES
    for key, amount in book.amounts.items():
        if key.period == period and key.cost_class in states and key.department not in (PLATFORM, SHARED):
            found[key.department] = found.get(key.department, NOTHING) + amount.cost
    return found
