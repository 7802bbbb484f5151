"""One card, port or node of a job that is unlike its peers: it probably holds the others up.

Cards of one job and model do the same work, so each metric's median over them is what one of them should show. A suspect
stands off it by many robust deviations and by an amount that matters, minutes long, in two independent ways or in one very
clear one. Many cards of other nodes that stand off alike have a role in the job (a stage of a pipeline) and are no suspects.
Unknown is never unlike. Pure. Source: Minder (similarity and continuity); thresholds stand in stragglers.toml.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from ullage_collector.detect.stragglers.peers import MAD_SCALE, Groups, median_over
from ullage_collector.detect.stragglers.settings import Measure, Rules
from ullage_collector.detect.stragglers.window import Flags, Indices, Rows, Values, Window, enough, run_start

ALIKE_BEFORE: Final = 3
"""our choice: so many minutes like its peers before it stood off, and it did not begin so."""


@dataclass(frozen=True, slots=True)
class Sign:
    """One metric in which a suspect stands off. distance: robust deviations, unsigned."""

    key: str
    group: str
    value: float
    peers: float
    distance: float
    hardware: bool


@dataclass(frozen=True, slots=True)
class Suspect:
    """family: card, node or port. rows: of the window's cards or ports, those it is about. since: minute of the window.

    from_start: it stood off before the window began.
    """

    family: str
    gang: int
    node: int
    rows: tuple[int, ...]
    since: int
    from_start: bool
    signs: tuple[Sign, ...]
    peers: int


@dataclass(frozen=True, slots=True)
class _Off:
    """How far each row stands off in one measure: off signed, level its peers', distance unsigned; NaN: not known.

    unlike: far, matters and steady. since: minute of the window. came: it was like its peers before.
    """

    measure: Measure
    off: Values
    level: Values
    distance: Values
    unlike: Flags
    since: Indices
    came: Flags


def suspects(window: Window, rules: Rules) -> list[Suspect]:
    """Cards, ports and nodes unlike their peers, of all jobs; those of a node that is named are not named themselves."""
    found = [*_of(window, window.cards, "card", rules), *_of(window, window.ports, "port", rules)]
    nodes = {(one.gang, one.node) for one in found if one.family == "node"}
    merged: dict[tuple[int, int], Suspect] = {}
    kept: list[Suspect] = []
    for one in found:
        if one.family != "node":
            if (one.gang, one.node) not in nodes:
                kept.append(one)
        elif (one.gang, one.node) not in merged:
            merged[one.gang, one.node] = one
    return [*merged.values(), *kept]


def _of(window: Window, rows: Rows, family: str, rules: Rules) -> list[Suspect]:
    if not len(rows.names):
        return []
    groups = Groups(rows.peers)
    stands = np.array(
        [
            name in window.standing or (node >= 0 and window.nodes[node] in window.standing)
            for name, node in zip(rows.names, rows.node.tolist(), strict=True)
        ]
    )
    offs = [
        off
        for measure in rules.measures[family]
        if (off := _stand_off(window, rows, groups, measure, stands, rules)) is not None
    ]
    known = {off.measure.key: ~np.isnan(off.off) for off in offs}
    flagged = np.flatnonzero(np.logical_or.reduce([off.unlike for off in offs])) if offs else np.empty(0, int)
    on_node: dict[tuple[int, int], list[int]] = defaultdict(list)
    wanted = {(int(rows.gang[row]), int(rows.node[row])) for row in flagged.tolist()}
    gangs = {gang for gang, _ in wanted}
    for row in np.flatnonzero(np.isin(rows.gang, list(gangs))).tolist():
        place = int(rows.gang[row]), int(rows.node[row])
        if place in wanted:
            on_node[place].append(row)
    single = {off.measure.key: [row for row in flagged.tolist() if off.unlike[row]] for off in offs}
    own: dict[int, list[_Off]] = defaultdict(list)
    whole: dict[tuple[int, int], list[tuple[_Off, list[int]]]] = defaultdict(list)
    for off in offs:
        by_node: dict[tuple[int, int, bool], list[int]] = defaultdict(list)
        for row in single[off.measure.key]:
            if not _is_role(rows, groups, off, row, rules):
                by_node[int(rows.gang[row]), int(rows.node[row]), bool(off.off[row] > 0)].append(row)
        for (gang, node, _), some in by_node.items():
            told = sum(bool(known[off.measure.key][row]) for row in on_node[gang, node])
            if told >= 2 and len(some) >= rules.unlike.node_ratio * told:
                whole[gang, node].append((off, some))
            else:
                for one_row in some:
                    own[one_row].append(off)
    found = [
        one
        for place, some in whole.items()
        if (one := _node(window, rows, groups, place, some, rules)) is not None
    ]
    for one_row, signs in own.items():
        one = _single(window, rows, groups, family, one_row, signs, rules)
        if one is not None:
            found.append(one)
    return found


def _stand_off(
    window: Window, rows: Rows, groups: Groups, measure: Measure, stands: Flags, rules: Rules
) -> _Off | None:
    """None where nothing measures it. stands: of each row, whether a finding of it is open, which ends further in."""
    values = rows.values.get(measure.key)
    if values is None or not groups.count or measure.matters is None:
        return None
    unlike = rules.unlike
    middle, told = groups.median(values)
    middle[told < unlike.least_peers] = np.nan
    usual = groups.spread(middle)
    apart = values - usual
    late = apart[:, -unlike.span :]
    off = median_over(late)
    off[~enough((~np.isnan(late)).sum(axis=1), unlike.span, rules.known)] = np.nan
    centre, told = groups.median(off[:, None])
    centre[told < unlike.least_peers] = np.nan
    off = off - groups.spread(centre)[:, 0]
    deviation, _ = groups.median(np.abs(off)[:, None])
    scale = groups.spread(deviation)[:, 0] * MAD_SCALE
    level = median_over(usual[:, -unlike.span :])
    matters = np.maximum(measure.matters, measure.ratio * np.abs(level))
    with np.errstate(divide="ignore", invalid="ignore"):
        distance = np.abs(off) / np.maximum(scale, matters / unlike.distance)
        agree = apart * np.sign(off)[:, None] >= matters[:, None] / 2
        known = ~np.isnan(apart)
        in_span = known[:, -unlike.span :].sum(axis=1)
        steady = agree[:, -unlike.span :].sum(axis=1) >= unlike.steady * in_span - 1e-9
        least = np.where(stands, unlike.stays, 1.0) * unlike.distance
        is_unlike = (distance >= least) & steady & (in_span > 0)
    bad = known & ~agree
    ends = bad.copy()
    ends[:, 1:] &= bad[:, :-1]  # one minute alone among others is a blip
    since = run_start(ends, agree)
    before = np.arange(window.minutes) < since[:, None]
    came = (bad & before).sum(axis=1) >= ALIKE_BEFORE
    return _Off(
        measure, off, level, distance.astype(np.float32), np.asarray(is_unlike), since, np.asarray(came)
    )


def _is_role(rows: Rows, groups: Groups, off: _Off, row: int, rules: Rules) -> bool:
    """Whether rows of other nodes stand off in the same way, more of them than would fail at once."""
    group = groups.of[row]
    alike = (groups.of == group) & (rows.node != rows.node[row])
    with np.errstate(invalid="ignore"):
        alike &= off.off * np.sign(off.off[row]) >= abs(off.off[row]) / 2
    return int(alike.sum()) > max(1.0, rules.unlike.alike_ratio * float(groups.sizes[group]))


def _sign(off: _Off, some: Sequence[int]) -> Sign:
    level = float(np.median(off.level[list(some)]))
    return Sign(
        off.measure.key,
        off.measure.group,
        level + float(np.median(off.off[list(some)])),
        level,
        float(np.median(off.distance[list(some)])),
        off.measure.hardware,
    )


def _clear(signs: Iterable[Sign], alone: Mapping[str, bool], stands: bool, rules: Rules) -> bool:
    """Two independent groups of metrics, or one that may speak alone, very far off."""
    signs = tuple(signs)
    least = rules.unlike.alone_distance * (rules.unlike.stays if stands else 1.0)
    return len({sign.group for sign in signs}) >= 2 or any(
        alone[sign.key] and sign.distance >= least for sign in signs
    )


def _node(
    window: Window,
    rows: Rows,
    groups: Groups,
    place: tuple[int, int],
    offs: Sequence[tuple[_Off, list[int]]],
    rules: Rules,
) -> Suspect | None:
    """A node most of whose cards stand off alike: a suspect where hardware does too, or where it was not so before."""
    gang, node = place
    signs = [_sign(off, some) for off, some in offs]
    stands = window.nodes[node] in window.standing
    if not _clear(signs, {off.measure.key: off.measure.alone for off, _ in offs}, stands, rules):
        return None
    came = any(bool(off.came[some].mean() >= 0.5) for off, some in offs)
    if not came and not any(sign.hardware for sign in signs) and not stands:
        return None
    members = tuple(sorted({row for _, some in offs for row in some}))
    clearest, of = max(offs, key=lambda one: float(np.median(one[0].distance[one[1]])))
    since = int(np.median(clearest.since[of]))
    return Suspect(
        "node", gang, node, members, since, not came, _sorted(signs), int(groups.sizes[groups.of[members[0]]])
    )


def _single(
    window: Window, rows: Rows, groups: Groups, family: str, row: int, offs: Sequence[_Off], rules: Rules
) -> Suspect | None:
    signs = [_sign(off, [row]) for off in offs]
    stands = rows.names[row] in window.standing
    if not _clear(signs, {off.measure.key: off.measure.alone for off in offs}, stands, rules):
        return None
    came = any(bool(off.came[row]) for off in offs)
    peers = int(groups.sizes[groups.of[row]])
    explained = came or any(sign.hardware for sign in signs) or stands
    if not explained and peers < rules.unlike.roles_below:
        return None
    clearest = max(offs, key=lambda off: float(off.distance[row]))
    since = int(clearest.since[row])
    return Suspect(
        family, int(rows.gang[row]), int(rows.node[row]), (row,), since, not came, _sorted(signs), peers
    )


def _sorted(signs: Iterable[Sign]) -> tuple[Sign, ...]:
    return tuple(sorted(signs, key=lambda sign: -sign.distance))
