"""Lists in an event's attributes: cut into as many events as the wire's limit on one text needs.

Each event carries ``part`` and ``parts`` when there is more than one; lists cut together stay in step.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from ullage_contract.sample import Value

MOST_CHARACTERS: Final = 500
"""Of one text attribute (wire._event, intake)."""


def parts_of(lists: Mapping[str, Sequence[str]]) -> Iterator[dict[str, Value]]:
    """The lists, all of one length, comma-joined and cut alike; at least one part, even of empty lists.

    An entry with a comma in it, or too long for an attribute, is given as ``?``: nobody could take it apart again.
    """
    rows = [tuple(_entry(text) for text in row) for row in zip(*lists.values(), strict=True)]
    cuts: list[list[tuple[str, ...]]] = [[]]
    lengths = [0] * len(lists)
    for row in rows:
        grown = [length + len(text) + 1 for length, text in zip(lengths, row, strict=True)]
        if cuts[-1] and max(grown) - 1 > MOST_CHARACTERS:
            cuts.append([])
            grown = [len(text) + 1 for text in row]
        cuts[-1].append(row)
        lengths = grown
    for number, cut in enumerate(cuts, 1):
        part: dict[str, Value] = (
            {name: ",".join(column) for name, column in zip(lists, zip(*cut, strict=True), strict=True)}
            if cut
            else {}
        )
        if len(cuts) > 1:
            part |= {"part": number, "parts": len(cuts)}
        yield part


def _entry(text: str) -> str:
    return text if "," not in text and 0 < len(text) <= MOST_CHARACTERS else "?"
