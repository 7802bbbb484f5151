"""``ullage-collector replay --series FILE --detector idle``: a detector over a recorded series, as it would have run live.

Samples are taken one at a time in time order; what a detector learns comes from the file's past alone. Prints CSV,
``pod,detect_ts,clear_ts`` in epoch seconds by (detect_ts, pod); ``clear_ts`` is empty while the finding is open. Exit
codes: 0 good, 2 a file that cannot be used. Not here: reading the file (series.py) and the judgement (idle.py).
"""

from __future__ import annotations

import argparse
import csv
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from ullage_collector.config import Config
from ullage_collector.detect.idle import IdleDetector, Raised, Sample
from ullage_collector.detect.idle_settings import SETTINGS, IdleSettings, default_settings
from ullage_collector.detect.series import Point, read
from ullage_contract.errors import BadInput, ConfigError


@dataclass(frozen=True, slots=True)
class Flag:
    """One finding of a replay, in epoch seconds. cleared None: open at the end of the series."""

    pod: str
    detected: float
    cleared: float | None
    began: float
    probability: float


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """--series FILE, --detector idle, --setting early|cautious."""
    parser.add_argument(
        "--series", type=Path, required=True, metavar="FILE", help="Parquet: pod, ts, duty (%%), mem_bytes"
    )
    parser.add_argument("--detector", choices=("idle",), required=True, help="which one is tried")
    parser.add_argument(
        "--setting", choices=SETTINGS, default="cautious", help="how sure it has to be (default cautious)"
    )


def run(args: argparse.Namespace, config: Config) -> int:
    """Replay and print. Raises ConfigError (exit code 2) for a file that cannot be used: the arguments name it."""
    del config
    try:
        found = flags(read(args.series), default_settings(), args.setting)
    except BadInput as e:
        raise ConfigError(str(e)) from e
    out = csv.writer(sys.stdout, lineterminator="\n")
    out.writerow(("pod", "detect_ts", "clear_ts"))
    for flag in found:
        out.writerow((flag.pod, _seconds(flag.detected), _seconds(flag.cleared)))
    return 0


def flags(points: Iterable[Point], settings: IdleSettings, setting: str) -> list[Flag]:
    """What the detector finds in points of ascending time, by (time found, pod)."""
    detector = IdleDetector(settings, settings.settings[setting])
    opened: dict[str, Raised] = {}
    found = []
    for point in points:
        look = settings.look(point.busy_ratio, point.held_bytes)
        for turn in detector.see(Sample(point.pod, point.at, look, point.held_bytes)):
            if isinstance(turn, Raised):
                opened[turn.subject] = turn
            else:
                found.append(_flag(opened.pop(turn.subject), turn.at))
    found.extend(_flag(turn, None) for turn in opened.values())
    return sorted(found, key=lambda flag: (flag.detected, flag.pod))


def _flag(turn: Raised, cleared: float | None) -> Flag:
    return Flag(turn.subject, turn.at, cleared, turn.began, turn.probability)


def _seconds(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}".rstrip("0").rstrip(".")
