"""What share of a card a piece with a maker's name is: MIG 1g.10gb, cpx_nps4, Ascend 2c or vir02, vDCU 36c-16g. Pure.

How many parts a whole card has is in systems.toml (``wholes``); a profile that means different shares on different
models has none until the model is known.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction
from typing import Final

from ullage_collector.allocation.sharing.facts import Whole, wholes

GIB: Final = 1 << 30
_MIG: Final = re.compile(r"(?:(?P<c>[0-9]+)c\.)?(?P<g>[0-9]+)g\.(?P<gb>[0-9]+)gb.*")
_VNPU: Final = re.compile(r"(?:vir)?0*(?P<c>[0-9]+)c?(?:[._].*)?")
_VNPU_MEMORY: Final = re.compile(r".*[._](?P<g>[0-9]+)g(?:[._].*)?")


@dataclass(frozen=True, slots=True)
class Piece:
    """A piece of a card: shares of its compute and memory, its memory in bytes; None is not known."""

    compute: Fraction | None = None
    memory: Fraction | None = None
    memory_bytes: int | None = None


def piece(
    kind: str,
    profile: str,
    model: str | None,
    *,
    cores_total: int | None = None,
    total_bytes: int | None = None,
) -> Piece:
    """The share a profile of that kind is. model: of the node's cards, or a word of it, None where unknown.

    cores_total: compute units of a whole card as the node counts them (vDCU). total_bytes: memory of a whole card.
    An unknown profile is an empty piece.
    """
    if kind in ("MIG", "DRS"):
        match = _MIG.fullmatch(profile)
        if match is None:
            return Piece()
        base = f"{match['g']}g.{match['gb']}gb"
        # A compute instance (1c.3g.20gb) has its own compute and the memory of its GPU instance.
        compute = _parts(kind, base, int(match["c"] or match["g"]), model)
        size = int(match["gb"]) * GIB
        return Piece(compute, _memory_slices(kind, base, model, size, total_bytes), size)
    if kind == "XCP":
        whole = _whole(kind, profile.partition("_")[0], model)
        part = None if whole is None else Fraction(1, whole.parts)
        return Piece(part, part)
    if kind == "vNPU":
        match, memory = _VNPU.fullmatch(profile), _VNPU_MEMORY.fullmatch(profile)
        if match is None:
            return Piece()
        share = _parts(kind, profile, int(match["c"]), model)
        # A profile without a memory of its own has memory in the proportion of its cores (virtualization templates).
        return Piece(share, None, int(memory["g"]) * GIB) if memory else Piece(share, share)
    if kind == "vDCU":
        cores, memory_gib = (int(word[:-1]) for word in profile.split("-"))
        return Piece(Fraction(cores, cores_total) if cores_total else None, None, memory_gib * GIB)
    if kind == "DCU-MIG":
        return Piece(None, None, int(profile.split("-")[1].removesuffix("gb")) * GIB)
    if kind == "MIM":
        return Piece(None, None, int(profile.split(".")[1].removesuffix("gb")) * GIB)
    return Piece()


def _memory_slices(
    kind: str, profile: str, model: str | None, size: int, total_bytes: int | None
) -> Fraction | None:
    """The share of memory a MIG profile has: whole memory slices, as its name rounds the gigabytes.

    A card of seven compute slices has eight of memory, others as many as of compute (MIG user guide, read
    2026-11-21): 7g.80gb of a card of 79.6 GiB is all of it, not more.
    """
    whole = _whole(kind, profile, model)
    if whole is None or not total_bytes or kind != "MIG":
        return None
    slices = 8 if whole.parts == 7 else whole.parts
    return Fraction(max(1, min(slices, round(Fraction(size * slices, total_bytes)))), slices)


def _parts(kind: str, profile: str, count: int, model: str | None) -> Fraction | None:
    whole = _whole(kind, profile, model)
    return None if whole is None else Fraction(count, whole.parts)


def _whole(kind: str, profile: str, model: str | None) -> Whole | None:
    """The row for a profile on a model. Without a model: the only one, or the one nobody calls ambiguous."""
    rows = [w for w in wholes() if w.kind == kind and (profile in w.profiles or "*" in w.profiles)]
    if model:
        word = model.casefold().replace(" ", "-")
        for row in rows:
            if any(m.casefold().replace(" ", "-") in word for m in row.models):
                return row
        return next((row for row in rows if not row.models), rows[0] if len(rows) == 1 else None)
    if any(profile in row.ambiguous for row in rows):
        return None
    named = [row for row in rows if profile in row.profiles and (row.models == () or len(rows) == 1)]
    exact = [row for row in rows if profile in row.profiles]
    return next(iter(named or exact or rows), None)
