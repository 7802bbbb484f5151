"""What nobody held, shared out: lent guarantees at each instant, and the free pool of a period by one of five rules."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from fractions import Fraction
from typing import Final

from ullage_collector.ledger import FAULTY, HELD_STATES, ISOLATED, PLATFORM, UNALLOCATED_IDLE, UNMAPPED
from ullage_reports.settle.charges import NOTHING, SHARED, Amount, Book, Key, Piece, unused_cards
from ullage_reports.settle.world import World

CREDIT: Final = {
    "reserved_with_full_credit": Fraction(1),
    "reserved_with_half_credit": Fraction(1, 2),
    "reserved_without_credit": Fraction(0),
}
"""What a lender gets back of the price of a lent card, and so what the borrower pays of it."""


def lent(world: World, pieces: list[Piece]) -> list[Piece]:
    """Shares as paid for: under a reservation a department pays its guarantee, less the credit for what it lent.

    What is held beyond one's guarantee comes first from cards nobody is guaranteed, then from the unused guarantees of the
    others, in proportion. For those the borrower pays the credit and the lender the rest; guaranteed cards that stand
    free are their department's, as far as there are free cards. Nothing is paid twice and nothing is negative.
    """
    credit = CREDIT.get(world.policy.borrowing)
    if credit is None:
        return pieces
    unused = unused_cards(world, pieces)
    total_unused = sum(unused.values(), NOTHING)
    if not total_unused:
        return pieces
    held: dict[str, Fraction] = {}
    for piece in pieces:
        if piece.state in HELD_STATES:
            held[piece.department] = held.get(piece.department, NOTHING) + piece.share
    over = {
        name: share - (world.quota[name].least if name in world.quota else NOTHING)
        for name, share in held.items()
    }
    borrowed = {name: share for name, share in over.items() if share > 0 and name != PLATFORM}
    total_borrowed = sum(borrowed.values(), NOTHING)
    unreserved = max(NOTHING, len(world.cards) - sum((q.least for q in world.quota.values()), NOTHING))
    taken = min(max(NOTHING, total_borrowed - unreserved), total_unused)
    free = sum((p.share for p in pieces if p.department == PLATFORM and p.state == UNALLOCATED_IDLE), NOTHING)
    kept = min(total_unused - taken, free)
    found: list[Piece] = []
    for piece in pieces:
        part = NOTHING
        if piece.state in HELD_STATES and piece.department in borrowed:
            of_it = borrowed[piece.department] / held[piece.department] * taken / total_borrowed
            part = of_it * (1 - credit)
        elif piece.department == PLATFORM and piece.state == UNALLOCATED_IDLE and free:
            part = kept / free
        found += _moved(piece, part, unused)
    return found


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
    classes = (UNALLOCATED_IDLE, FAULTY, ISOLATED) if together else (UNALLOCATED_IDLE,)
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
    rule = world.policy.unallocated_idle
    if rule == "fixed":
        given = dict(world.fixed)
        rest = 1 - sum(given.values(), NOTHING)
        return {**given, PLATFORM: rest} if rest > 0 else given
    if rule == "unused_guarantee":
        return {name: cards for (when, name), cards in book.unused.items() if when == period}
    holders = _holders(book, period)
    if rule == "even":
        names = {name for name in holders if name != UNMAPPED} | set(world.quota)
        return dict.fromkeys(sorted(names), Fraction(1))
    return holders


def _holders(book: Book, period: str) -> dict[str, Fraction]:
    """Department -> what it pays for what it held in a period: proportional means by cost."""
    found: dict[str, Fraction] = {}
    states: Sequence[str] = HELD_STATES
    for key, amount in book.amounts.items():
        if key.period == period and key.cost_class in states and key.department not in (PLATFORM, SHARED):
            found[key.department] = found.get(key.department, NOTHING) + amount.cost
    return found
