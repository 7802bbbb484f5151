"""What would hold a piece of work: a slice of its card's model, a share by its maker's sharing system, or a smaller model. Pure.

Only what the shipped tables know of the very model is named: sizing.toml for slices, allocation/sharing for shares, card_models.toml for models.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from math import ceil
from typing import Any, Final

from ullage_collector.allocation.sharing.facts import Fact, Meaning, facts
from ullage_collector.allocation.sharing.profiles import piece
from ullage_collector.detect.sizing.need import Need
from ullage_collector.detect.sizing.settings import Rules, model_of, slices_of

SYSTEMS: Final = ("smlu", "sgpu", "hami")
"""our choice: the maker's own before HAMi, as it needs nothing new."""


@dataclass(frozen=True, slots=True)
class Slice:
    """A slice that would do. compute, memory: what it takes of the card; memory is its share of bandwidth, too."""

    kind: str
    profile: str
    compute: Fraction
    memory: Fraction

    @property
    def takes(self) -> Fraction:
        """Of the card, as what is left of the scarcer half cannot be given away."""
        return max(self.compute, self.memory)


@dataclass(frozen=True, slots=True)
class Share:
    """A share by a sharing system: what to ask for, resource -> number, and what it takes of the card."""

    system: str
    ask: tuple[tuple[str, int], ...]
    takes: Fraction


def slices(model: str, total_bytes: int, rules: Rules) -> list[Slice]:
    """What a card of this model can be cut into, the smallest first; []: nobody knows."""
    row = slices_of(rules, model, total_bytes)
    found = []
    for profile in row.profiles if row else ():
        part = piece(row.kind if row else "", profile, model, total_bytes=total_bytes)
        memory = part.memory
        if memory is None and part.memory_bytes:
            memory = min(Fraction(1), Fraction(part.memory_bytes, total_bytes))
        if part.compute is not None and memory is not None and row is not None:
            found.append(Slice(row.kind, profile, part.compute, memory))
    return sorted(found, key=lambda one: (one.takes, one.compute, one.memory))


def slice_for(need: Need, model: str, rules: Rules) -> Slice | None:
    """The smallest slice with room for it; None: there is none, or nobody knows."""
    if (
        need.total_bytes is None
        or need.memory_bytes is None
        or need.activity is None
        or need.bandwidth is None
    ):
        return None
    for one in slices(model, need.total_bytes, rules):
        if (
            need.memory_bytes * rules.memory_headroom <= one.memory * need.total_bytes
            and need.activity <= rules.load * one.compute
            and need.bandwidth <= rules.load * one.memory
        ):
            return one
    return None


def share_for(need: Need, vendor: str, model: str, rules: Rules) -> Share | None:
    """What to ask the maker's sharing system for; None: no system of the shipped tables shares this maker's cards by parts."""
    if need.total_bytes is None or need.memory_bytes is None or need.activity is None:
        return None
    found = _system(vendor, model)
    if found is None:
        return None
    compute, memory = found
    parts, unit = compute.parts or 100, memory.unit_bytes or 1
    cores = max(1, ceil(need.activity / rules.load * parts - 1e-9))
    amount = max(1, ceil(need.memory_bytes * rules.memory_headroom / unit))
    takes = max(Fraction(cores, parts), Fraction(amount * unit, need.total_bytes))
    if takes >= 1:
        return None
    return Share(compute.system, ((compute.resource, cores), (memory.resource, amount)), takes)


def _system(vendor: str, model: str) -> tuple[Fact, Fact] | None:
    """The first system that asks for parts of compute and amounts of memory of such a card."""
    usable = [fact for fact in facts() if fact.usable and fact.vendor == vendor and "{" not in fact.resource]
    for system in SYSTEMS:
        theirs = [fact for fact in usable if fact.system == system and _is_for(fact.resource, model)]
        compute = next((f for f in theirs if f.meaning is Meaning.COMPUTE and f.parts), None)
        memory = next((f for f in theirs if f.meaning is Meaning.MEMORY and f.unit_bytes), None)
        if compute is not None and memory is not None:
            return compute, memory
    return None


def _is_for(resource: str, model: str) -> bool:
    """A resource with a model in its name (huawei.com/Ascend910B3-core) is for that model alone."""
    name = resource.partition("/")[2].casefold()
    if not name.startswith("ascend"):
        return True
    asked = name.rpartition("-")[0] or name
    return model.casefold().replace(" ", "").endswith(asked.removeprefix("ascend"))


@dataclass(frozen=True, slots=True)
class Owned:
    """A model the fleet has. price_micro, currency None: the price book has none. total_bytes: its memory. made: what its cards
    call it, where that is otherwise; the inventory's word may be the site's own."""

    vendor: str
    model: str
    total_bytes: int | None
    price_micro: int | None = None
    currency: str | None = None
    made: str | None = None


def smaller_for(need: Need, vendor: str, model: str, owned: Iterable[Owned], rules: Rules) -> Owned | None:
    """The smallest model of the maker that the fleet has and that would hold it, the cheapest first; None: none does."""
    here = model_of(rules, model)
    if here is None or here.tflops_micro is None or here.bytes_per_second is None:
        return None
    if need.memory_bytes is None or need.activity is None or need.bandwidth is None:
        return None
    fits: list[tuple[Any, ...]] = []
    for one in owned:
        there = model_of(rules, one.made or one.model)
        if there is None or there.tflops_micro is None or there.bytes_per_second is None:
            continue
        if one.vendor != vendor or one.total_bytes is None or there.tflops_micro >= here.tflops_micro:
            continue
        if (
            need.memory_bytes * rules.memory_headroom <= one.total_bytes
            and need.activity * here.tflops_micro <= rules.load * there.tflops_micro
            and need.bandwidth * here.bytes_per_second <= rules.load * there.bytes_per_second
        ):
            fits.append((one.price_micro is None, one.price_micro or 0, there.tflops_micro, one.model, one))
    return min(fits, key=lambda fit: fit[:4])[-1] if fits else None
