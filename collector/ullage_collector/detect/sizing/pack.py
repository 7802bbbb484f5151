"""Small holders of whole cards put together on fewer: first fit, the largest first. Pure.

With slices each gets the smallest that holds it and the card's parts are counted; without, sums of what each needs. A proposal: a better
one may exist, never one that saves less than nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from ullage_collector.detect.sizing.fit import Share, Slice
from ullage_collector.detect.sizing.need import Need
from ullage_collector.detect.sizing.settings import Rules


@dataclass(frozen=True, slots=True)
class Small:
    """One holder of one whole card. need: all of it is known. slice, share: what would hold it alone, one of them at least."""

    name: str
    card_id: str
    need: Need
    slice: Slice | None
    share: Share | None


def is_known(need: Need) -> bool:
    """Whether every figure sharing asks for is there."""
    return None not in (need.activity, need.bandwidth, need.memory, need.power)


def packed(small: Sequence[Small], rules: Rules) -> list[list[Small]]:
    """Groups of two and more that fit one card each, whoever fits none left out. All of one model.

    Only those that are cut or shared alike are put together.
    """
    found: list[list[Small]] = []
    for sliced in (True, False):
        some = [one for one in small if (one.slice is not None) is sliced and _may(one, rules)]
        some.sort(key=lambda one: (-_weight(one), one.name, one.card_id))
        bins: list[list[Small]] = []
        for one in some:
            for here in bins:
                if len(here) < rules.share.most and fits([*here, one], rules):
                    here.append(one)
                    break
            else:
                bins.append([one])
        found += [here for here in bins if len(here) > 1]
    return found


def fits(together: Sequence[Small], rules: Rules) -> bool:
    """Whether one card holds all of them: memory peaks with headroom, activity, bandwidth, power, and the slices' parts."""
    share = rules.share
    needs = [one.need for one in together]
    if not all(is_known(need) for need in needs):
        return False
    if (
        sum(need.activity or 0.0 for need in needs) > share.load
        or sum(need.bandwidth or 0.0 for need in needs) > share.load
        or sum(need.power or 0.0 for need in needs) > share.power
        or sum(need.memory or 0.0 for need in needs) * rules.memory_headroom > share.memory
    ):
        return False
    cut = [one.slice for one in together if one.slice is not None]
    if len(cut) == len(together):
        return (
            sum((s.compute for s in cut), Fraction(0)) <= 1 and sum((s.memory for s in cut), Fraction(0)) <= 1
        )
    return sum((one.share.takes for one in together if one.share is not None), Fraction(0)) <= 1


def _may(one: Small, rules: Rules) -> bool:
    need = one.need
    if one.slice is None and one.share is None:
        return False
    return (
        is_known(need)
        and max(need.activity or 0.0, need.bandwidth or 0.0, need.memory or 0.0) <= rules.share.single
    )


def _weight(one: Small) -> float:
    if one.slice is not None:
        return float(one.slice.takes)
    return max(one.need.memory or 0.0, one.need.activity or 0.0)
