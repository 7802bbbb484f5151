"""Cards that could do more and wait: for data, for their host, for the network, or because they are held down.

A cause is told only where it was measured; low activity alone is no finding. Work that waits for requests by its nature is
only asked whether its cards are throttled. Pure; thresholds and their order stand in stragglers.toml.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase

import numpy as np

from ullage_collector.detect.stragglers.peers import mean_over
from ullage_collector.detect.stragglers.settings import Cause, Rules
from ullage_collector.detect.stragglers.window import Flags, Rows, Values, Window, enough, run_start


@dataclass(frozen=True, slots=True)
class Starved:
    """A job's starved cards. rows: of the window's cards. places: indices of the nodes that show the cause.

    activity: mean of the rows, 0..1; None: not known (throttled cards are told anyway). seen: key -> its greatest mean over
    the span among those places. shared: others are on these nodes too, whose it may be.
    """

    gang: int
    cause: Cause
    rows: tuple[int, ...]
    places: tuple[int, ...]
    since: int
    activity: float | None
    seen: Mapping[str, float]
    shared: bool


def starved(window: Window, rules: Rules) -> list[Starved]:
    """One a job at most: the first cause, in the order of the rules, that shows."""
    activity = _activity(window, rules)
    with np.errstate(invalid="ignore"):
        low = activity <= rules.starved_low
    found: dict[int, Starved] = {}
    for cause in rules.causes:
        signs = {key: _sign(window, family, key, rules) for family, key, _ in cause.any}
        shows = {family: _shows(window, cause, family, signs) for family in ("card", "host", "port")}
        gangs = {int(gang) for family, flags in shows.items() for gang in _rows(window, family).gang[flags]}
        for gang in sorted(gangs - found.keys()):
            one = _of_gang(window, gang, cause, shows, signs, activity, np.asarray(low), rules)
            if one is not None:
                found[gang] = one
    return list(found.values())


def _rows(window: Window, family: str) -> Rows:
    return {"card": window.cards, "host": window.hosts, "port": window.ports}[family]


def _activity(window: Window, rules: Rules) -> Values:
    """Mean over the span of each card's activity; NaN: not known for enough minutes."""
    minutes, span = window.minutes, rules.starved_span
    busy = window.cards.of("sm_active_ratio", minutes)
    busy = np.where(np.isnan(busy), window.cards.of("utilization_ratio", minutes), busy)[:, -span:]
    mean = mean_over(busy)
    mean[~enough((~np.isnan(busy)).sum(axis=1), span, rules.known)] = np.nan
    return mean


def _sign(window: Window, family: str, key: str, rules: Rules) -> Values:
    """Mean over the span of a measure, of each row; NaN: not known for enough minutes."""
    values = _rows(window, family).of(key, window.minutes)[:, -rules.starved_span :]
    mean = mean_over(values)
    mean[~enough((~np.isnan(values)).sum(axis=1), rules.starved_span, rules.known)] = np.nan
    return mean


def _shows(window: Window, cause: Cause, family: str, signs: Mapping[str, Values]) -> Flags:
    flags = np.zeros(len(_rows(window, family).names), np.bool_)
    with np.errstate(invalid="ignore"):
        for of, key, least in cause.any:
            if of == family:
                flags |= signs[key] >= least
    return flags


def _of_gang(
    window: Window,
    gang: int,
    cause: Cause,
    shows: Mapping[str, Flags],
    signs: Mapping[str, Values],
    activity: Values,
    low: Flags,
    rules: Rules,
) -> Starved | None:
    mine = window.cards.gang == gang
    own = mine & shows["card"]
    by_card = bool(own.any())
    if not by_card:
        scenario = (window.gangs[gang].scenario or "").casefold()
        if any(fnmatchcase(scenario, glob.casefold()) for glob in rules.serving):
            return None
        own = mine & low
        if not own.any() or own.sum() < 0.5 * (mine & ~np.isnan(activity)).sum():
            return None
    nodes = (
        set(window.cards.node[own].tolist())
        if by_card
        else {
            int(node)
            for family in ("host", "port")
            for node in _rows(window, family).node[shows[family] & (_rows(window, family).gang == gang)]
        }
    )
    seen: dict[str, float] = {}
    for family, key, _ in cause.any:
        rows = _rows(window, family)
        values = signs[key][(rows.gang == gang) & np.isin(rows.node, list(nodes))]
        if (~np.isnan(values)).any():
            seen[key] = float(np.nanmax(values))
    known = activity[own][~np.isnan(activity[own])]
    return Starved(
        gang=gang,
        cause=cause,
        rows=tuple(np.flatnonzero(own).tolist()),
        places=tuple(sorted(nodes)),
        since=_since(window, gang, cause, nodes),
        activity=float(known.mean()) if len(known) else None,
        seen=seen,
        shared=not by_card and bool(window.shared[list(nodes)].any()),
    )


def _since(window: Window, gang: int, cause: Cause, nodes: set[int]) -> int:
    """The first minute of the unbroken run in which some place showed it."""
    shown = np.zeros((1, window.minutes), np.bool_)
    told = np.zeros((1, window.minutes), np.bool_)
    for family, key, least in cause.any:
        rows = _rows(window, family)
        values = rows.of(key, window.minutes)[(rows.gang == gang) & np.isin(rows.node, list(nodes))]
        with np.errstate(invalid="ignore"):
            shown |= (values >= least).any(axis=0)
        told |= (~np.isnan(values)).any(axis=0)
    bad = told & ~shown
    bad[:, 1:] &= bad[:, :-1].copy()
    return min(int(run_start(bad, shown)[0]), window.minutes - 1)
