"""What a card can do at most: peak of its matrix units by model, from report.toml, else from the shared table (card_models.toml).

[[peak]]
model = "*910B3*"                  # a glob over models, case aside
tflops = 313                       # dense, BF16 or, where a card has none, FP16, of one card as its library counts it
source = "the contract, annex 2"   # the document that says so

The first glob that fits counts; where none does, the longest word of the shared table that fits. A model that no row names, or whose row
has no TFLOPS, has no peak: figures that need one are not shown. Not here: what was done with it (economics.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path
from typing import Any, Final

from ullage_contract import card_models, settings
from ullage_contract.errors import ConfigError
from ullage_reports import config

MOST: Final = 500
"""Rows of one file. our choice: no maker's catalogue is longer."""
MOST_TFLOPS: Final = card_models.MOST_TFLOPS


@dataclass(frozen=True, slots=True)
class Peak:
    """model: a glob; by_word: a word of the shared table. tflops_micro: millionths of a TFLOPS; None: no document says. source: the document."""

    model: str
    tflops_micro: int | None
    source: str
    by_word: bool = False


@cache
def shipped() -> tuple[Peak, ...]:
    """The shared table, a row a word."""
    return tuple(
        Peak(word, row.tflops_micro, row.source, by_word=True)
        for row in card_models.shipped()
        for word in row.words
    )


def load(path: Path | None) -> tuple[Peak, ...]:
    """[[peak]] of report.toml, then the shared table. Raises ConfigError naming the row."""
    data = settings.read(path, config.DEFAULT_PATH) or {}
    return (*_rows(data.get("peak", []), str(path or config.DEFAULT_PATH)), *shipped())


def peak_of(model: str, peaks: tuple[Peak, ...]) -> Peak | None:
    """The first glob that fits, else the longest word; None: nobody says."""
    asked = model.casefold()
    globs = (peak for peak in peaks if not peak.by_word and fnmatchcase(asked, peak.model.casefold()))
    words = (peak for peak in peaks if peak.by_word and card_models.is_word(peak.model, model))
    found = next(globs, None) or max(words, key=lambda peak: len(peak.model), default=None)
    return None if found is None or found.tflops_micro is None else found


def _rows(given: Any, where: str) -> tuple[Peak, ...]:
    if not isinstance(given, list) or len(given) > MOST:
        raise ConfigError(f"{where}: peak is no list of at most {MOST} tables; write [[peak]]")
    found = []
    for number, row in enumerate(given):
        place = f"{where}: peak[{number}]"
        if not isinstance(row, dict) or set(row) != {"model", "tflops", "source"}:
            raise ConfigError(f"{place}: write model, tflops and source, and nothing else")
        model, tflops, source = row["model"], row["tflops"], row["source"]
        if not isinstance(model, str) or not model.strip("* "):
            raise ConfigError(f"{place}.model = {str(model)[:40]!r}: write a glob that names a model")
        if not isinstance(source, str) or not source.strip():
            raise ConfigError(f"{place}.source: name the document that says {model[:40]!r} can do that")
        if isinstance(tflops, bool) or not isinstance(tflops, (int, float)) or not 0 < tflops <= MOST_TFLOPS:
            raise ConfigError(
                f"{place}.tflops = {str(tflops)[:40]}: write TFLOPS above 0, at most {MOST_TFLOPS}"
            )
        found.append(Peak(model, round(tflops * 10**6), source.strip()))
    return tuple(found)
