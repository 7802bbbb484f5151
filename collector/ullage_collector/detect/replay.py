"""``ullage-collector replay --series FILE --detector idle``: a detector over a recorded series, as it would have run live.

Samples are taken one at a time in time order; what a detector learns comes from the file's past alone. Prints CSV,
``pod,detect_ts,clear_ts`` in epoch seconds by (detect_ts, pod); ``clear_ts`` is empty while the finding is open. With
``--curves`` it prints what each threshold trades instead. Exit codes: 0 good, 2 a file that cannot be used. Not here: reading the
file (series.py), the judgement (idle.py), the truth (hindsight.py).
"""

from __future__ import annotations

import argparse
import csv
import json
import logging
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ullage_collector import text_table
from ullage_collector.config import Config
from ullage_collector.detect.idle import IdleDetector, Raised, Sample
from ullage_collector.detect.idle_settings import SETTINGS, IdleSettings, load, settings_of
from ullage_collector.detect.series import Point, read
from ullage_contract.errors import BadInput, ConfigError

if TYPE_CHECKING:
    from ullage_collector.detect.idle_curves import Curve

log = logging.getLogger(__name__)

SCHEMA_VERSION: Final = 1


@dataclass(frozen=True, slots=True)
class Flag:
    """One finding of a replay, in epoch seconds. cleared None: open at the end of the series."""

    pod: str
    detected: float
    cleared: float | None
    began: float
    probability: float


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """--series FILE, --detector idle, --setting early|cautious; --curves [--only NAME ...] [--json | --html FILE]."""
    parser.add_argument(
        "--series", type=Path, required=True, metavar="FILE", help="Parquet: pod, ts, duty (%%), mem_bytes"
    )
    parser.add_argument("--detector", choices=("idle",), required=True, help="which one is tried")
    parser.add_argument(
        "--setting", choices=SETTINGS, default="cautious", help="how sure it has to be (default cautious)"
    )

    parser.add_argument(
        "--thresholds",
        type=Path,
        metavar="FILE",
        help="a file like detect/idle.toml; without it the one [idle] names",
    )
    parser.add_argument(
        "--curves", action="store_true", help="precision, recall and minutes by the value of each threshold"
    )
    parser.add_argument(
        "--only",
        action="append",
        default=[],
        metavar="NAME",
        help="with --curves: this threshold, e.g. tide.half_life_seconds; may be repeated",
    )
    parser.add_argument("--json", action="store_true", help="with --curves: JSON alone on stdout")
    parser.add_argument("--html", type=Path, metavar="FILE", help="with --curves: a page that stands alone")


def run(args: argparse.Namespace, config: Config) -> int:
    """Replay and print. Raises ConfigError (exit code 2) for a file that cannot be used: the arguments name it."""
    if not args.curves and (args.only or args.json or args.html):
        raise ConfigError("--only, --json and --html belong to --curves; add it")
    settings = load(args.thresholds) if args.thresholds else settings_of(config.part("idle"))
    try:
        if args.curves:
            return _curves(args, settings)
        found = flags(read(args.series), settings, args.setting)
    except BadInput as e:
        raise ConfigError(str(e)) from e
    out = csv.writer(sys.stdout, lineterminator="\n")
    out.writerow(("pod", "detect_ts", "clear_ts"))
    for flag in found:
        out.writerow((flag.pod, _seconds(flag.detected), _seconds(flag.cleared)))
    return 0


def _curves(args: argparse.Namespace, settings: IdleSettings) -> int:
    """Reckon and show the curves of the thresholds asked for. Raises BadInput for an unknown one, and as ``read`` does."""
    from ullage_collector.detect.curve_page import page
    from ullage_collector.detect.idle_curves import curves, names

    known = names(args.setting)
    for name in args.only:
        if name not in known:
            raise BadInput(f"--only {name[:60]}: no such threshold; write one of {', '.join(known)}")
    wanted = tuple(dict.fromkeys(args.only)) or known
    points = list(read(args.series))
    pods = len({point.pod for point in points})
    found = []
    for curve in curves(points, settings, args.setting, wanted):
        found.append(curve)
        log.info("%s: %d values tried (%d of %d)", curve.name, len(curve.points), len(found), len(wanted))
    now = next(score for value, score in found[0].points if value == found[0].value)
    said = (
        f"{pods} pods, {len(points)} samples, {now.runs} true runs of {settings.lasts_seconds / 60:.0f} minutes and more.",
        f"Setting {args.setting} as it is set: {now}.",
        "One threshold is moved at a time; what was idle stays what the settings as they are say.",
    )
    if args.html is not None:
        text = page(f"Thresholds of idleness: {args.setting}", said, found)
        try:
            args.html.write_text(text, encoding="utf-8")
        except OSError as e:
            raise BadInput(f"{args.html}: cannot be written: {e.strerror}") from e
    if args.json:
        answer = {
            "schema_version": SCHEMA_VERSION,
            "setting": args.setting,
            "pods": pods,
            "samples": len(points),
            "runs": now.runs,
            "thresholds": [_as_json(curve) for curve in found],
        }
        sys.stdout.write(json.dumps(answer) + "\n")
    elif args.html is None:
        for line in (*said, *(line for curve in found for line in ("", *_table(curve)))):
            sys.stdout.write(line + "\n")
    return 0


def _as_json(curve: Curve) -> dict[str, object]:
    return {
        "name": curve.name,
        "unit": curve.unit,
        "value": curve.value,
        "points": [
            {
                "value": value,
                "precision": score.precision,
                "recall": score.recall,
                "median_minutes": score.minutes,
                "findings": score.findings,
            }
            for value, score in curve.points
        ],
    }


def _table(curve: Curve) -> list[str]:
    from ullage_collector.detect.curve_page import shown

    rows: list[list[str]] = [[curve.name, "precision", "recall", "median min", "findings", ""]]
    for value, score in curve.points:
        rows.append(
            [
                shown(value),
                f"{score.precision:.3f}",
                f"{score.recall:.3f}",
                "-" if score.minutes is None else f"{score.minutes:.0f}",
                str(score.findings),
                "set" if value == curve.value else "",
            ]
        )
    return text_table.lines(rows, right=range(5))


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
