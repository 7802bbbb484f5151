"""The arithmetic of sharing cost out, for a settle file and for a statement alike: weights, and who lends to whom.

Exact numbers in, exact numbers out; no cards, no store. What the words mean is in docs/cost-model.md.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from fractions import Fraction
from math import lcm
from typing import Final

from ullage_collector.ledger import PLATFORM, UNMAPPED

NOTHING: Final = Fraction(0)
CREDIT: Final = {
    "reserved_with_full_credit": Fraction(1),
    "reserved_with_half_credit": Fraction(1, 2),
    "reserved_without_credit": Fraction(0),
}
"""What a lender gets back of the price of a lent card, and so what the borrower pays of it."""

Amounts = Mapping[str, Fraction]


def weights(
    rule: str, *, paid: Amounts, guaranteed: Collection[str], fixed: Amounts, unused: Amounts
) -> dict[str, Fraction]:
    """Department -> weight in sharing the free pool out; no weight at all: it stays where it is.

    paid: what each department pays for what it held. guaranteed: who is guaranteed anything. unused: guaranteed and
    not held. fixed: shares of 1, whose rest is the platform's.
    """
    if rule == "fixed":
        rest = 1 - sum(fixed.values(), NOTHING)
        return {**fixed, PLATFORM: rest} if rest > 0 else dict(fixed)
    if rule == "unused_guarantee":
        return dict(unused)
    if rule == "even":
        names = {name for name in paid if name != UNMAPPED} | set(guaranteed)
        return dict.fromkeys(sorted(names), Fraction(1))
    return dict(paid) if rule == "proportional" else {}


@dataclass(frozen=True, slots=True)
class Lending:
    """Cards, or card-hours, that are guaranteed to one and held by another, or by nobody.

    borrowed: borrower -> what of its own is lent to it. lent: lender -> what others hold of its guarantee; their sums
    are equal. kept: department -> what of its guarantee stands free, never more than is free.
    """

    borrowed: Amounts
    lent: Amounts
    kept: Amounts


def lending(*, held: Amounts, guaranteed: Amounts, cards: Fraction, free: Fraction) -> Lending:
    """Who lends to whom at one instant.

    held: department -> cards it holds. cards: how many there are. free: how many nobody holds. What is held beyond one's
    guarantee comes first from cards nobody is guaranteed, then from the unused guarantees of the others, in proportion.
    """
    unused = unused_of(held, guaranteed)
    total_unused = sum(unused.values(), NOTHING)
    over = {name: share - guaranteed.get(name, NOTHING) for name, share in held.items()}
    borrowing = {name: share for name, share in over.items() if share > 0 and name != PLATFORM}
    wanted = sum(borrowing.values(), NOTHING)
    unreserved = max(NOTHING, cards - sum(guaranteed.values(), NOTHING))
    taken = min(max(NOTHING, wanted - unreserved), total_unused)
    kept = min(total_unused - taken, free)
    return Lending(borrowed=_parts(taken, borrowing), lent=_parts(taken, unused), kept=_parts(kept, unused))


def booked(*, borrowed: Amounts, lent: Amounts, unused: Amounts, free: Fraction) -> Lending:
    """The same from a quota book's own figures of a stretch of time.

    borrowed: use beyond the guarantee, of which only what is lent is anybody's. unused: guaranteed and not held.
    """
    taken = sum(lent.values(), NOTHING)
    idle = {name: amount - lent.get(name, NOTHING) for name, amount in unused.items()}
    idle = {name: amount for name, amount in idle.items() if amount > 0}
    borrowing = _parts(taken, borrowed)
    kept = min(sum(idle.values(), NOTHING), free)
    return Lending(borrowed=borrowing, lent=dict(lent) if borrowing else {}, kept=_parts(kept, idle))


def unused_of(held: Amounts, guaranteed: Amounts) -> dict[str, Fraction]:
    """Department -> what it is guaranteed and does not hold; those without are not in it."""
    return {
        name: least - held.get(name, NOTHING)
        for name, least in guaranteed.items()
        if least > held.get(name, NOTHING)
    }


def whole(shares: Amounts) -> dict[str, int]:
    """Weights as whole numbers in the same proportion, for ledger.split; those of 0 are left out."""
    kept = {name: share for name, share in shares.items() if share}
    unit = lcm(*(share.denominator for share in kept.values())) if kept else 1
    return {name: int(share * unit) for name, share in kept.items()}


def _parts(amount: Fraction, shares: Amounts) -> dict[str, Fraction]:
    total = sum(shares.values(), NOTHING)
    if not amount or not total:
        return {}
    return {name: amount * share / total for name, share in shares.items() if share}
