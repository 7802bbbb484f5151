"""What a recorded series was, told with hindsight, and how a detector's findings compare with it.

A true run is quiet on held memory for as long as a finding says (``[spell] lasts_seconds``), with the bridges of ``[bridge]`` and
the quiet of ``[look]``; what is not known is not quiet. Written apart from the detector on purpose: the two must not share a
mistake. Not here: finding anything (idle.py), and trying other thresholds (idle_curves.py).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from ullage_collector.detect.idle_settings import IdleSettings
    from ullage_collector.detect.replay import Flag
    from ullage_collector.detect.series import Point

SAMPLE_SECONDS: Final = 60.0
"""our choice: a run ends a minute after its last quiet sample, and a finding up to a minute later is still right."""

Runs = Mapping[str, Sequence[tuple[float, float]]]
"""True runs by pod, as (start, end) in epoch seconds."""


@dataclass(frozen=True, slots=True)
class Score:
    """How findings compare with the truth. minutes: median from a run's start to its first finding; None: none found."""

    precision: float
    recall: float
    minutes: float | None
    findings: int
    runs: int

    def __str__(self) -> str:
        minutes = "-" if self.minutes is None else f"{self.minutes:.0f}"
        return (
            f"precision {self.precision:.3f}  recall {self.recall:.3f}  median {minutes:>3} min  "
            f"({self.findings} findings, {self.runs} runs)"
        )


def truth(points: Iterable[Point], settings: IdleSettings) -> Runs:
    """True runs of each pod that was seen. points: of each pod in time order."""
    by_pod: dict[str, list[Point]] = defaultdict(list)
    for point in points:
        by_pod[point.pod].append(point)
    return {pod: _runs(rows, settings) for pod, rows in by_pod.items()}


def _runs(rows: Sequence[Point], settings: IdleSettings) -> list[tuple[float, float]]:
    runs: list[tuple[float, float]] = []
    start: float | None = None
    last = 0.0
    for row in rows:
        if start is not None and row.at - last > settings.bridges.hole_seconds:
            runs.append((start, last + SAMPLE_SECONDS))
            start = None
        if row.busy_ratio is None or row.held_bytes is None:
            continue
        held = row.held_bytes >= settings.held_bytes
        if row.busy_ratio <= settings.quiet_ratio and held:
            start, last = row.at if start is None else start, row.at
            continue
        blip = held and settings.quiet_ratio < row.busy_ratio < settings.blip_ratio
        if start is not None and not (blip and row.at - last <= settings.bridges.blip_seconds):
            runs.append((start, last + SAMPLE_SECONDS))
            start = None
    if start is not None:
        runs.append((start, last + SAMPLE_SECONDS))
    return [run for run in runs if run[1] - run[0] >= settings.lasts_seconds]


def score(found: Sequence[Flag], runs: Runs) -> Score:
    """Every finding counts for precision; a run is recalled once. Of nothing found, and of nothing true, the share is 1."""
    first: dict[tuple[str, float], float] = {}
    right = 0
    for flag in found:
        for start, end in runs.get(flag.pod, ()):
            if start <= flag.detected <= end + SAMPLE_SECONDS:
                right += 1
                first.setdefault((flag.pod, start), (flag.detected - start) / 60.0)
                break
    total = sum(map(len, runs.values()))
    return Score(
        precision=right / len(found) if found else 1.0,
        recall=len(first) / total if total else 1.0,
        minutes=median(first.values()) if first else None,
        findings=len(found),
        runs=total,
    )
