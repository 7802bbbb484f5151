"""What a card can do at most: peak of its matrix units by model, from peaks.toml and from report.toml.

[[peak]]
model = "*910B3*"                  # a glob over models, case aside
tflops = 313                       # dense, BF16 or, where a card has none, FP16, of one card as its library counts it
source = "the contract, annex 2"   # the document that says so

A model that no row names has no peak: figures that need one are not shown. Not here: what was done with it (economics.py).
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any, Final

from ullage_contract import settings
from ullage_contract.errors import ConfigError
from ullage_reports import config

FILE: Final = "peaks.toml"
MOST: Final = 500
"""Rows of one file. our choice: no maker's catalogue is longer."""
MOST_TFLOPS: Final = 10**6
"""our choice: a thousand times the fastest card of today; what is above is a slip of the unit."""


@dataclass(frozen=True, slots=True)
class Peak:
    """model: a glob. tflops_micro: millionths of a TFLOPS. source: the document."""

    model: str
    tflops_micro: int
    source: str


@cache
def shipped() -> tuple[Peak, ...]:
    """The rows of peaks.toml."""
    text = (resources.files(__package__) / FILE).read_text(encoding="utf-8")
    return _rows(tomllib.loads(text).get("peak"), FILE)


def load(path: Path | None) -> tuple[Peak, ...]:
    """[[peak]] of report.toml, then the shipped rows. Raises ConfigError naming the row."""
    data = settings.read(path, config.DEFAULT_PATH) or {}
    return (*_rows(data.get("peak", []), str(path or config.DEFAULT_PATH)), *shipped())


def peak_of(model: str, peaks: tuple[Peak, ...]) -> Peak | None:
    """The first row whose glob fits; None: nobody says."""
    asked = model.casefold()
    return next((peak for peak in peaks if fnmatchcase(asked, peak.model.casefold())), None)


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
