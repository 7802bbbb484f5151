"""Slurm's lists of names: ``tux[0-3,12,18-20],gpu-a01`` and ``r[1-2]n[01-04]`` as single names, in order."""

from __future__ import annotations

import re
from typing import Final

from ullage_contract.errors import BadInput

MOST_NAMES: Final = 100_000
"""our choice: because the largest clusters have a tenth of it, and a typing error must not fill the memory."""
_PART: Final = re.compile(r"[^\[\]]+|\[[^\[\]]*\]")
_RANGE: Final = re.compile(r"^([0-9]{1,18})(?:-([0-9]{1,18}))?$")


def expand(text: str) -> list[str]:
    """The names of a list. Leading zeros of a range's start are kept. Raises BadInput naming the wrong part."""
    names: list[str] = []
    for item in _items(text):
        names += _expanded(item, MOST_NAMES - len(names))
    return names


def _items(text: str) -> list[str]:
    """Split at commas that stand in no bracket."""
    items, depth, start = [], 0, 0
    for place, letter in enumerate(text):
        depth += (letter == "[") - (letter == "]")
        if depth not in (0, 1):
            raise BadInput(f"list of names {text[:60]!r}: brackets do not match")
        if letter == "," and depth == 0:
            items.append(text[start:place])
            start = place + 1
    if depth:
        raise BadInput(f"list of names {text[:60]!r}: a bracket is not closed")
    return [item.strip() for item in [*items, text[start:]] if item.strip()]


def _expanded(item: str, room: int) -> list[str]:
    found = [""]
    for part in _PART.findall(item):
        ends = _numbers(part[1:-1], item) if part.startswith("[") else [part]
        if len(found) * len(ends) > room:
            raise BadInput(f"list of names {item[:60]!r}: more than {MOST_NAMES} names")
        found = [head + end for head in found for end in ends]
    return found


def _numbers(inside: str, item: str) -> list[str]:
    numbers: list[str] = []
    for piece in inside.split(","):
        match = _RANGE.match(piece.strip())
        if match is None:
            raise BadInput(f"list of names {item[:60]!r}: {piece[:30]!r} is no number or range")
        first, last = match[1], match[2] or match[1]
        if not 0 <= int(last) - int(first) < MOST_NAMES:
            raise BadInput(
                f"list of names {item[:60]!r}: the range {piece[:40]!r} runs backwards or is too long"
            )
        numbers += [str(n).zfill(len(first)) for n in range(int(first), int(last) + 1)]
    return numbers
