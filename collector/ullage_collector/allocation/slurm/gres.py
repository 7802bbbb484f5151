"""Generic resources as Slurm writes them: what a node is configured with and what a job got on a node.

``gpu:h200:4(IDX:0-3,5)`` is four GPUs at these bits of the node's GPU records; ``shard:2(0/4,2/4)`` says for
each GPU in turn how many of its shards are the job's. What an index means stands in cards.py.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from fractions import Fraction
from typing import Final

from ullage_collector.allocation.slurm.words import amount, indices, text
from ullage_contract.errors import BadInput

CARDS: Final = ("gpu", "npu", "mlu", "dcu", "gcu", "xpu", "hpu", "tpu", "neuron")
"""GRES names that are cards. # our choice: because sites name them after the maker's word; `gres` overrides it."""
SHARES: Final = ("shard", "mps")
"""GRES names that are shares of a GPU (gres.conf(5): they share the GPU's File)."""
_MIG: Final = re.compile(r"(?:.*[_:.-])?(\d+)g\.(\d+)gb(?:\+me)?", re.IGNORECASE)
MIG_SLICES: Final = 7  # compute slices of every NVIDIA card with MIG but the A30's 4 (MIG user guide)
_MIG_CARD: Final = {("1", "6"): 4, ("2", "12"): 4, ("4", "24"): 4}  # the A30's own profiles


@dataclass(frozen=True, slots=True)
class Gres:
    """Some of one generic resource on one node.

    type None: not typed. indices: bits of the node's records; None: Slurm does not say which.
    parts: (index, taken, of): shares of single cards.
    """

    name: str
    type: str | None
    count: int
    indices: tuple[int, ...] | None = None
    parts: tuple[tuple[int, int, int], ...] = ()

    @property
    def mig(self) -> str | None:
        """The MIG profile, 1g.10gb, when the type names one."""
        match = _MIG.fullmatch(self.type or "")
        return f"{match[1]}g.{match[2]}gb" if match else None

    @property
    def mig_share(self) -> Fraction | None:
        """The compute share of a card that one of these is, when they are MIG instances."""
        match = _MIG.fullmatch(self.type or "")
        return Fraction(int(match[1]), _MIG_CARD.get((match[1], match[2]), MIG_SLICES)) if match else None


def read(written: str | None) -> tuple[Gres, ...]:
    """Everything in one node's GRES text; () where there is nothing. Raises BadInput when it makes no sense."""
    return tuple(_one(part) for part in _parts(text(written) or ""))


def cards_of(found: Collection[Gres], names: Collection[str]) -> int:
    """How many cards these are, shares not counted."""
    return sum(gres.count for gres in found if gres.name in names)


def from_tres(counts: dict[str, int], names: Collection[str]) -> tuple[Gres, ...]:
    """What a job's TRES say of cards and shares, over all its nodes: typed ones where they add up to all."""
    found: list[Gres] = []
    for name in (*names, *SHARES):
        whole = counts.get(f"gres/{name}")
        typed = {
            key.partition(":")[2]: count
            for key, count in counts.items()
            if key.startswith(f"gres/{name}:") and count
        }
        if typed and whole in (None, sum(typed.values())):
            found += [Gres(name, kind, count) for kind, count in sorted(typed.items())]
        elif whole:
            found.append(Gres(name, None, whole))
    return tuple(found)


def _parts(listed: str) -> list[str]:
    found, depth, begin = [], 0, 0
    for at, letter in enumerate(listed + ","):
        depth += {"(": 1, ")": -1}.get(letter, 0)
        if letter == "," and depth == 0:
            if listed[begin:at].strip():
                found.append(listed[begin:at].strip())
            begin = at + 1
    if depth:
        raise BadInput(f"{listed[:80]!r} is no GRES: brackets do not match")
    return found


def _one(part: str) -> Gres:
    head, bracket, detail = part.partition("(")
    words = head.removeprefix("gres/").removeprefix("gres:").split(":")
    count = amount(words[-1]) if len(words) > 1 else None
    if count is None and len(words) > 1 and words[-1]:
        words.append("")
        count = 1
    name, kind = words[0], ":".join(words[1:-1]) or None
    if not name or (len(words) > 1 and count is None):
        raise BadInput(f"{part[:80]!r} is no GRES: write name[:type]:count")
    found = 1 if count is None else count
    if not bracket:
        return Gres(name, kind, found)
    inner = detail.rpartition(")")[0]
    if inner.startswith("IDX:"):
        bits = inner.removeprefix("IDX:")
        return Gres(name, kind, found, None if text(bits) is None else indices(bits))
    if "/" in inner:
        return Gres(name, kind, found, parts=_shares(inner, part))
    return Gres(name, kind, found)  # (S:0-1): sockets; (CNT:2): without files


def _shares(inner: str, part: str) -> tuple[tuple[int, int, int], ...]:
    """``0/4,2/4`` counts GPUs from 0; ``1:2/4`` names the GPU."""
    found = []
    for position, piece in enumerate(inner.split(",")):
        match = re.fullmatch(r"(?:(\d{1,5}):)?(\d{1,9})/(\d{1,9})", piece.strip())
        if match is None or int(match[3]) == 0:
            raise BadInput(f"{part[:80]!r} is no GRES: {piece[:20]!r} is no share taken/all")
        if int(match[2]):
            found.append((int(match[1]) if match[1] else position, int(match[2]), int(match[3])))
    return tuple(found)
