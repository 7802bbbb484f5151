"""Running jobs that do nothing any more though they look busy, and where it began.

Two symptoms. ``spinning``: cards are fully utilised, draw less than half of their usual power and move nothing: kernels that
wait for a peer. ``no_traffic``: a job over several nodes moved much before and moves nothing now, and its cards do not work.
A job whose hosts read or write storage may be loading or writing a checkpoint: nothing is said meanwhile. Unknown cards
prove nothing. Pure; thresholds and sources in stragglers.toml.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ullage_collector.detect.stragglers.peers import mean_over
from ullage_collector.detect.stragglers.settings import Rules
from ullage_collector.detect.stragglers.window import Flags, Indices, Rows, Values, Window, enough, run_start


@dataclass(frozen=True, slots=True)
class Hang:
    """A job that hangs since a minute of the window. responsible: rows of cards where it probably began, first to stop or
    the only ones not waiting; empty: all stopped alike. why: first_to_stop, not_waiting or None.

    from_start: it hung before the window began. unheard: rows of cards nothing was heard of since. known: cards that show it.
    """

    gang: int
    symptom: str
    since: int
    from_start: bool
    responsible: tuple[int, ...]
    why: str | None
    unheard: tuple[int, ...]
    known: int
    ratio: float
    power_ratio: float | None


@dataclass(frozen=True, slots=True)
class _Cards:
    """What each card's minutes show. spins: full, weak and without traffic. works: draws its power or moves data. known:
    one or the other can be told."""

    spins: Flags
    works: Flags
    stopped: Flags
    share: Values


def hangs(window: Window, rules: Rules) -> list[Hang]:
    """Every job that hangs. Jobs of one card have nobody to wait for and are not judged."""
    cards = _look(window, rules)
    hosts = _hosts_at_work(window, rules)
    traffic = _traffic(window)
    found = []
    for gang, rows in enumerate(window.of_gangs()):
        if len(rows) < 2 or hosts[gang]:
            continue
        one = _spinning(window, cards, gang, rows, rules) or _silent(
            window, cards, traffic, gang, rows, rules
        )
        if one is not None:
            found.append(one)
    return found


def _look(window: Window, rules: Rules) -> _Cards:
    hang, cards, minutes = rules.hang, window.cards, window.minutes
    link, pcie = cards.of("link_bytes", minutes), cards.of("pcie_bytes", minutes)
    power = cards.of("power_watts", minutes)
    busy = cards.of("utilization_ratio", minutes)
    busy = np.where(np.isnan(busy), cards.of("sm_active_ratio", minutes), busy)
    share = (power / window.usual_watts[:, None]).astype(np.float32)
    with np.errstate(invalid="ignore"):
        still = np.where(np.isnan(link), pcie <= hang.quiet_pcie_bytes, link <= hang.quiet_bytes)
        moves = np.where(np.isnan(link), pcie > hang.quiet_pcie_bytes, link > hang.quiet_bytes)
        weak, strong = share < hang.power_ratio, share >= hang.power_ratio
        spins = (busy >= hang.full) & weak & still
        works = moves | strong
        stopped = weak & still & (busy < hang.full)
    return _Cards(np.asarray(spins), np.asarray(works), np.asarray(stopped), share)


def _hosts_at_work(window: Window, rules: Rules) -> Flags:
    """Of each gang, whether a host that is its alone moves storage in the span: means over it."""
    hosts, span = window.hosts, rules.hang.span
    moved = np.zeros(len(hosts.names), np.bool_)
    for key in ("storage_read_bytes", "storage_written_bytes"):
        with np.errstate(invalid="ignore"):
            moved |= mean_over(hosts.of(key, window.minutes)[:, -span:]) >= rules.hang.writing_bytes
    found = np.zeros(len(window.gangs), np.bool_)
    if len(moved):
        found[hosts.gang[moved & ~window.shared[hosts.node]]] = True
    return found


def _spinning(window: Window, cards: _Cards, gang: int, rows: Indices, rules: Rules) -> Hang | None:
    hang = rules.hang
    late = slice(window.minutes - hang.span, window.minutes)
    spins, works, stopped = cards.spins[rows], cards.works[rows], cards.stopped[rows]
    waits = spins | stopped
    known = enough((waits | works)[:, late].sum(axis=1), hang.span, rules.known)
    still = known & ~works[:, late].any(axis=1) & waits[:, late].any(axis=1)
    spinning = still & (spins[:, late].sum(axis=1) > stopped[:, late].sum(axis=1))
    # Who works beside cards that wait is slow, not hung: that is for unlike.py.
    if spinning.sum() < 2 or spinning.sum() < hang.least_ratio * known.sum() or (known & ~still).any():
        return None
    if known.sum() < hang.least_ratio * len(rows):
        return None
    return _hang(window, cards, gang, "spinning", rows, known, still, still & ~spinning, rules)


def _silent(
    window: Window, cards: _Cards, traffic: Values, gang: int, rows: Indices, rules: Rules
) -> Hang | None:
    """Zero traffic of a job over several nodes that moved much before."""
    hang, late = rules.hang, slice(window.minutes - rules.hang.span, window.minutes)
    nodes = len(set(window.cards.node[rows].tolist()) - {-1})
    mine = traffic[gang]
    if nodes < 2 or not enough((~np.isnan(mine[late])).sum()[None], hang.span, rules.known)[0]:
        return None
    before = mine[: window.minutes - hang.span]
    heard = before[~np.isnan(before)]
    usual = max(float(np.nan_to_num(window.usual_bytes[gang])), float(heard.max()) if len(heard) else 0.0)
    if usual < hang.least_usual_bytes or np.nanmax(mine[late]) > hang.quiet_bytes:
        return None
    works, rests = cards.works[rows], (cards.spins | cards.stopped)[rows]
    known = enough((works | rests)[:, late].sum(axis=1), hang.span, rules.known)
    still = known & ~works[:, late].any(axis=1)
    if not known.any() or still.sum() < 0.9 * known.sum() or known.sum() < hang.least_ratio * len(rows):
        return None
    return _hang(window, cards, gang, "no_traffic", rows, known, still, np.zeros(len(rows), np.bool_), rules)


def _hang(
    window: Window,
    cards: _Cards,
    gang: int,
    symptom: str,
    rows: Indices,
    known: Flags,
    still: Flags,
    odd: Flags,
    rules: Rules,
) -> Hang:
    """since: when half of the cards that are still had stopped; who stopped well before them is responsible."""
    hang = rules.hang
    began = run_start(cards.works[rows], (cards.spins | cards.stopped)[rows])
    middle = int(np.median(began[still]))
    first = still & (began <= middle - hang.earlier)
    responsible, why = odd, "not_waiting"
    if not odd.any() or odd.sum() > max(1, len(rows) // 4):
        responsible, why = first, "first_to_stop"
    if not responsible.any() or responsible.sum() > max(1, len(rows) // 4):
        responsible, why = np.zeros(len(rows), np.bool_), ""
    late = slice(max(0, middle), window.minutes)
    silent = np.isnan(cards.share[rows][:, late]).all(axis=1) & ~known
    shares = cards.share[rows][still][:, window.minutes - hang.span :]
    power = float(np.nanmedian(shares)) if (~np.isnan(shares)).any() else None
    return Hang(
        gang=gang,
        symptom=symptom,
        since=middle,
        from_start=not cards.works[rows].any(),
        responsible=tuple(rows[responsible].tolist()),
        why=why or None,
        unheard=tuple(rows[silent].tolist()),
        known=int(still.sum()),
        ratio=float(still.sum() / max(1, known.sum())),
        power_ratio=power,
    )


def _traffic(window: Window) -> Values:
    """(gangs, minutes): the most that any of a gang's ports or links moved, a second; NaN where nothing of it is known."""
    found = np.full((len(window.gangs), window.minutes), np.nan, np.float32)
    for rows, key in ((window.ports, "traffic_bytes"), (window.cards, "link_bytes")):
        _take_most(found, rows, rows.of(key, window.minutes))
    return found


def _take_most(found: Values, rows: Rows, values: Values) -> None:
    if len(rows.names):
        np.fmax.at(found, rows.gang, values)
