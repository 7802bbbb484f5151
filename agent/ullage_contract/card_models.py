"""What a card model can do at most: one table for whoever needs it, card_models.toml. Read by sizing (a smaller model) and by reports
(cost per PFLOP-day).

[[model]]
words = ["H100 PCIe"]              # of the name: each part a whole word, in this order, others may lie between; case aside
tflops = 756.5                     # of the matrix units of one card as its library counts it: dense, BF16 or, without it, FP16
gb_per_second = 2000               # of device memory
source = "NVIDIA H100 datasheet"   # the document that says so

The row whose longest word fits counts: "H100 PCIe" before "H100", and H20 is no H200. A figure that is left out is one that no document
names; a row without any keeps a shorter word from fitting. Not here: memory, which every card says itself; slices (sizing.toml).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from typing import Final

from ullage_contract import rule_file
from ullage_contract.settings import Table

FILE: Final = "card_models.toml"
MOST_TFLOPS: Final = 10**6
"""our choice: a thousand times the fastest card of today; what is above is a slip of the unit."""
MOST_GB_PER_SECOND: Final = 10**6
"""our choice: as MOST_TFLOPS."""


@dataclass(frozen=True, slots=True)
class CardModel:
    """One row. tflops_micro: millionths of a TFLOPS, dense, 16 bit. bytes_per_second: of device memory. None: no document says."""

    words: tuple[str, ...]
    tflops_micro: int | None
    bytes_per_second: int | None
    source: str


@cache
def shipped() -> tuple[CardModel, ...]:
    """The rows of card_models.toml."""
    top = rule_file.opened(rule_file.shipped("ullage_contract", FILE), FILE)
    found = tuple(row_of(Table(row, FILE, "model")) for row in top.tables("model"))
    top.finish()
    return found


def row_of(row: Table) -> CardModel:
    """One [[model]], of this table or of a site's file of rules. Raises ConfigError naming file and key."""
    found = CardModel(
        words=row.texts("words"),
        tflops_micro=_scaled(row, "tflops", MOST_TFLOPS, 10**6),
        bytes_per_second=_scaled(row, "gb_per_second", MOST_GB_PER_SECOND, 10**9),
        source=row.text("source") or "",
    )
    if not found.words or not all(word.strip() for word in found.words):
        raise row.wrong("words", list(found.words), 'write words of the name, e.g. ["H100"]')
    row.finish()
    return found


def _scaled(row: Table, key: str, most: int, scale: int) -> int | None:
    value = row.number(key, most, 0.001, most)
    return round(value * scale) if key in row.content else None


def card_model(name: str, rows: Iterable[CardModel]) -> CardModel | None:
    """The row whose longest word fits a model's name, the first of several; None: no row names it."""
    fits = [(len(word), row) for row in rows for word in row.words if is_word(word, name)]
    return max(fits, key=lambda one: one[0])[1] if fits else None


@cache
def is_word(word: str, model: str) -> bool:
    """Whether a model's name has this word: H20 is in "NVIDIA H20-96G" and not in "H200"; "Ascend" may stand right before it."""
    parts = [
        rf"(?:(?<![a-z0-9])|(?<=ascend)){re.escape(part)}(?![a-z0-9])" for part in word.casefold().split()
    ]
    return bool(parts) and re.search(".*".join(parts), model.casefold()) is not None
