"""Medians over groups of rows, all groups at once: how far each member stands off its peers.

Groups of like size are sorted together as one array, so that a thousand jobs cost little more than one.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from ullage_collector.detect.stragglers.window import Indices, Values

MAD_SCALE: Final = 1.4826
"""Makes the median of absolute deviations a standard deviation where noise is Gaussian: 1 / 0.6745, a textbook's."""


class Groups:
    """The members of each group. label: of each row, -1: in none."""

    def __init__(self, label: Indices) -> None:
        order = np.argsort(label, kind="stable")
        order = order[label[order] >= 0]
        names, first, count = np.unique(label[order], return_index=True, return_counts=True)
        self.count = len(names)
        self.sizes: Indices = count.astype(np.int64)
        self.of: Indices = np.full(len(label), -1, np.int64)
        self.of[order] = np.repeat(np.arange(len(names)), count)
        self._buckets: list[tuple[Indices, Indices]] = []
        width = 1 << np.ceil(np.log2(np.maximum(count, 1))).astype(np.int64)
        for size in np.unique(width):
            which = np.flatnonzero(width == size)
            places = first[which, None] + np.arange(size)
            inside = np.arange(size) < count[which, None]
            members = np.where(inside, order[np.where(inside, places, 0)] if len(order) else 0, -1)
            self._buckets.append((which, members))

    def median(self, values: Values) -> tuple[Values, Indices]:
        """(median, how many were known) of each group and minute; NaN where none was. values: (rows, minutes)."""
        found = np.full((self.count, values.shape[1]), np.nan, np.float32)
        known = np.zeros((self.count, values.shape[1]), np.int64)
        for which, members in self._buckets:
            some = values[members]
            some[members < 0] = np.nan
            found[which], known[which] = _median(some)
        return found, known

    def spread(self, found: Values) -> Values:
        """A value of each group for each of its rows; NaN for rows in none. found: (groups, minutes)."""
        if not self.count:
            return np.full((len(self.of), found.shape[1]), np.nan, np.float32)
        given = found[np.maximum(self.of, 0)]
        given[self.of < 0] = np.nan
        return given


def median_over(values: Values) -> Values:
    """Each row's median over its known minutes; NaN where there is none."""
    return (
        _median(values.T[None].copy())[0][0] if values.shape[1] else np.full(len(values), np.nan, np.float32)
    )


def mean_over(values: Values) -> Values:
    """Each row's mean over its known minutes; NaN where there is none."""
    known = (~np.isnan(values)).sum(axis=1)
    return np.where(known > 0, np.nansum(values, axis=1) / np.maximum(known, 1), np.nan).astype(np.float32)


def _median(some: Values) -> tuple[Values, Indices]:
    """(median, known) over the second of three axes, which is sorted in place; unknown values sort last."""
    some.sort(axis=1)
    known: Indices = (~np.isnan(some)).sum(axis=1)
    low = np.maximum((known - 1) // 2, 0)
    high = np.minimum(known // 2, some.shape[1] - 1)
    lower = np.take_along_axis(some, low[:, None, :], axis=1)[:, 0, :]
    upper = np.take_along_axis(some, high[:, None, :], axis=1)[:, 0, :]
    middle: Values = np.where(known > 0, (lower + upper) / 2, np.nan).astype(np.float32)
    return middle, known
