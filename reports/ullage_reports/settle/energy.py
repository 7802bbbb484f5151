"""Kilowatt hours: what cards and their servers drew, holes filled as the policy says, multiplied by the PUE.

Not here: who pays for it (charges.py: whoever holds the card, the platform for the rest).
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import pairwise

from ullage_collector.ledger import HOUR_US
from ullage_contract.errors import ConfigError
from ullage_reports.settle.world import Power, Tariff, Telemetry, World


@dataclass(frozen=True, slots=True)
class Draw:
    """A card's power over [from_us, to_us). estimated: nobody measured it, a policy filled the hole."""

    from_us: int
    to_us: int
    watts: Fraction
    estimated: bool


def card_power(world: World) -> dict[str, tuple[Draw, ...]]:
    """Card -> its power over the window, in order; cards of which nothing is known are not in it.

    Raises ConfigError where energy_counter is asked for and a hole has no counter over it.
    """
    rows: dict[str, list[Power]] = {}
    for row in world.power:
        rows.setdefault(row.card, []).append(row)
    for reading in world.telemetry:
        if reading.card is not None and reading.mean_watts is not None and reading.job is None:
            rows.setdefault(reading.card, []).append(_row(reading.card, reading))
    return {
        card: tuple(_filled(world, f"card {card!r}", found, world.from_us, world.to_us))
        for card, found in rows.items()
    }


def job_power(world: World) -> dict[str, tuple[Draw, ...]]:
    """Job -> the power its own telemetry says over the window, of all its cards together."""
    rows: dict[str, list[Power]] = {}
    for reading in world.telemetry:
        if reading.job is not None and reading.mean_watts is not None:
            rows.setdefault(reading.job, []).append(_row("", reading))
    return {
        job: tuple(_filled(world, f"job {job!r}", found, *_held(world, job))) for job, found in rows.items()
    }


def _held(world: World, job: str) -> tuple[int, int]:
    """From when to when a job holds something within the window."""
    spans = [
        (held.start_us, world.to_us if held.end_us is None else held.end_us)
        for held in world.allocations
        if held.job == job
    ]
    start = max(min((start for start, _ in spans), default=world.to_us), world.from_us)
    return start, max(min(max((end for _, end in spans), default=start), world.to_us), start)


def watts_at(draws: Sequence[Draw], at_us: int) -> Draw | None:
    """The draw that holds at an instant; None: nothing is known of it."""
    n = bisect_right(draws, at_us, key=lambda d: d.from_us) - 1
    return draws[n] if n >= 0 and at_us < draws[n].to_us else None


def _row(card: str, reading: Telemetry) -> Power:
    return Power(card, reading.mean_watts, None, reading.start_us, reading.end_us)


def host_watts(world: World) -> dict[str, Fraction]:
    """Card -> its even part of its server's power."""
    found: dict[str, Fraction] = {}
    named = {card.node for card in world.cards} - {None}
    for node in world.nodes:
        for card in world.cards:
            if card.card in node.listed or (
                not node.listed and (card.node == node.node if named else len(world.nodes) == 1)
            ):
                found[card.card] = found.get(card.card, Fraction(0)) + node.host_watts / node.cards
    return found


def tariff_at(tariffs: Sequence[Tariff], at_us: int) -> Tariff | None:
    """The tariff of an instant: the one that starts last among those that hold; None: nobody gave one."""
    holding = [
        t
        for t in tariffs
        if (t.start_us is None or t.start_us <= at_us) and (t.end_us is None or at_us < t.end_us)
    ]
    return max(
        holding, key=lambda t: (t.start_us is not None, t.start_us or 0, t.end_us is not None), default=None
    )


def _filled(world: World, name: str, rows: Sequence[Power], from_us: int, to_us: int) -> list[Draw]:
    """[from_us, to_us) as it was measured, and the holes. Where readings overlap, the finest holds.

    What was measured before and after counts too: it is a hole's neighbour, and within a counter's span.
    """
    if from_us >= to_us:
        return []
    measured = [r for r in rows if r.mean_watts is not None]
    counters = [r for r in rows if r.energy_kwh is not None]
    if world.policy.gap_energy == "energy_counter":
        # a mean over a span with readings of its own inside is what the counter rose by over that span
        means = [r for r in measured if any(_within(other, r) for other in measured)]
        measured = [r for r in measured if r not in means]
        counters += [
            replace(r, mean_watts=None, energy_kwh=r.mean_watts * (r.end_us - r.start_us) / HOUR_US / 1000)
            for r in means
            if r.mean_watts is not None
        ]
    spans = list(pairwise(sorted({from_us, to_us, *(t for r in rows for t in (r.start_us, r.end_us))})))
    found: list[Draw | None] = []
    for a, b in spans:
        holding = [r for r in measured if r.start_us <= a < r.end_us]
        finest = min(holding, key=lambda r: (r.end_us - r.start_us, r.start_us, r.mean_watts), default=None)
        watts = finest.mean_watts if finest else None
        found.append(None if watts is None else Draw(a, b, watts, False))
    wanted = range(bisect_left(spans, (from_us, from_us)), bisect_left(spans, (to_us, to_us)))
    if world.policy.gap_energy == "energy_counter":
        return _by_counter(name, spans, found, counters, wanted)
    return _by_neighbours(spans, found, wanted)


def _by_neighbours(
    spans: Sequence[tuple[int, int]], found: Sequence[Draw | None], wanted: range
) -> list[Draw]:
    """Holes get the mean of what was measured last before and first after, or the one of them there is."""
    before = _last(found)
    after = [*reversed(_last([*reversed(found)]))]
    draws: list[Draw] = []
    for n in wanted:
        draw = found[n]
        if draw is None:
            known = [d.watts for d in (before[n], after[n]) if d is not None]
            if not known:
                continue
            draw = Draw(*spans[n], sum(known, Fraction(0)) / len(known), True)
        draws.append(draw)
    return draws


def _last(found: Sequence[Draw | None]) -> list[Draw | None]:
    """At each place the last that is known up to there."""
    last: Draw | None = None
    passed: list[Draw | None] = []
    for draw in found:
        last = draw or last
        passed.append(last)
    return passed


def _within(inner: Power, outer: Power) -> bool:
    """Whether a reading lies inside a longer one."""
    longer = outer.end_us - outer.start_us > inner.end_us - inner.start_us
    return longer and outer.start_us <= inner.start_us and inner.end_us <= outer.end_us


def _by_counter(
    name: str,
    spans: Sequence[tuple[int, int]],
    found: Sequence[Draw | None],
    counters: Sequence[Power],
    wanted: range,
) -> list[Draw]:
    """Holes get what the counter rose by beyond what was measured within its span, spread evenly over them."""
    draws: list[Draw] = []
    for n in wanted:
        draw, (a, b) = found[n], spans[n]
        if draw is not None:
            draws.append(draw)
            continue
        over = [c for c in counters if c.start_us <= a and b <= c.end_us]
        if not over:
            raise ConfigError(
                f"inputs.power: {name} has a hole and no energy_kwh over it; give the counter's increase, or "
                "policy gap_energy mean_of_neighbours"
            )
        counter = min(over, key=lambda c: (c.end_us - c.start_us, c.start_us))
        inside = [
            (s, d)
            for s, d in zip(spans, found, strict=True)
            if counter.start_us <= s[0] and s[1] <= counter.end_us
        ]
        drawn = sum((d.watts * (d.to_us - d.from_us) for _, d in inside if d is not None), Fraction(0))
        hole_us = sum(s[1] - s[0] for s, d in inside if d is None)
        left = (counter.energy_kwh or Fraction(0)) * 1000 * HOUR_US - drawn
        if left < 0:
            raise ConfigError(
                f"inputs.power: {name} drew more than its energy counter rose by; one of them is wrong"
            )
        draws.append(Draw(a, b, left / hole_us, True))
    return draws
