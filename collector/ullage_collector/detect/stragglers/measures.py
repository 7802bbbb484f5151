"""Figures of a minute out of the store's columns, as stragglers.toml names them.

A counter that its peers have and a subject did not tell in a minute makes the sum unknown, not smaller. Growth counts where
its minute and the one before were seen: after silence it may be that of several minutes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ullage_collector.detect.stragglers.settings import Measure
from ullage_collector.detect.stragglers.window import Indices, Values
from ullage_contract import catalogue
from ullage_contract.sample import Family

SEEN_SECONDS: Final = 30.0
"""detect/states.toml: a minute with less of it covered proves little."""


def columns_of(measures: Iterable[Measure], there: Iterable[str]) -> list[str]:
    """The columns of minutes that the measures need, of those that are there."""
    wanted: dict[str, None] = {}
    for one in measures:
        for name in (*(f"{key}_increase" for key in one.rate), *one.level, *one.or_level):
            wanted[name] = None
        for name in filter(None, (one.bits, one.bits_of)):
            wanted[name] = None
    there = set(there)
    return [name for name in wanted if name in there]


def measured(
    measures: Sequence[Measure],
    columns: Mapping[str, Values],
    covered: Values,
    peers: Indices,
    family: Family,
) -> dict[str, Values]:
    """Each measure's values, one minute fewer: the first is there for what came before it.

    columns: name -> (rows, minutes + 1); covered: seconds of each. What no column tells is left out.
    """
    seen = covered >= SEEN_SECONDS
    whole = seen[:, 1:] & seen[:, :-1]
    found: dict[str, Values] = {}
    for one in measures:
        values: NDArray[np.floating[Any]] | None = None
        grown = _added([f"{key}_increase" for key in one.rate], columns, peers)
        if grown is not None:
            values = np.where(whole, grown[:, 1:] / np.maximum(covered[:, 1:], 1), np.nan)
            per = None if one.bits_of is None else columns.get(one.bits_of)
            if one.bits_of is not None:
                values = None if per is None else values * 8 / np.where(per[:, 1:] > 0, per[:, 1:], np.nan)
        for level in (one.level, one.or_level):
            other = _added(level, columns, peers)
            if other is not None:
                values = other[:, 1:] if values is None else np.where(np.isnan(values), other[:, 1:], values)
        if one.bits is not None and one.bits in columns:
            values = _bits(columns[one.bits][:, 1:], mask(one, family))
        if values is not None and not np.isnan(values).all():
            found[one.key] = values.astype(np.float32)
    return found


def mask(one: Measure, family: Family) -> int:
    """The bits of a measure's words, by the catalogue. A word the catalogue does not have is no bit."""
    assert one.bits is not None
    words = catalogue.metric(family, one.bits).words
    return sum(1 << words.index(word) for word in one.words if word in words)


def _bits(values: Values, bits: int) -> Values:
    known = ~np.isnan(values)
    hit = np.where(known, values, 0).astype(np.uint64) & np.uint64(bits)
    return np.where(known, (hit != 0).astype(np.float32), np.nan).astype(np.float32)


def _added(names: Sequence[str], columns: Mapping[str, Values], peers: Indices) -> Values | None:
    """The sum of the columns that somebody of a row's peers tells; None where there is no column."""
    total: Values | None = None
    any_told = np.zeros(len(peers), np.bool_)
    for name in names:
        values = columns.get(name)
        if values is None:
            continue
        told = (~np.isnan(values)).any(axis=1)
        theirs = np.isin(peers, np.unique(peers[told & (peers >= 0)])) | told
        any_told |= theirs
        part = np.where(theirs[:, None], values, 0)
        total = part.astype(np.float32) if total is None else total + part
    if total is None:
        return None
    total[~any_told] = np.nan
    return total
