"""What each threshold trades: every one has a curve, the truth is told by hand, and the page stands alone."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ullage_collector.cli import main
from ullage_collector.detect.curve_page import page
from ullage_collector.detect.hindsight import Score, score, truth
from ullage_collector.detect.idle_curves import Curve, names, tried, value_of, with_value
from ullage_collector.detect.idle_rules import rules_of
from ullage_collector.detect.idle_settings import FILE, SETTINGS, default_settings
from ullage_collector.detect.replay import Flag
from ullage_collector.detect.series import Point
from ullage_contract import rule_file
from ullage_contract.errors import ConfigError

START = 1_790_000_040
GIB = 2.0**30
TEXT = rule_file.shipped("ullage_collector.detect", FILE)


def series(*duties: float | None, pod: str = "p", held: float | None = 8 * GIB) -> list[Point]:
    """One sample a minute; duty as a ratio."""
    return [Point(pod, START + 60.0 * n, duty, held) for n, duty in enumerate(duties)]


def runs(*duties: float | None) -> list[tuple[float, float]]:
    """True runs in minutes from the start."""
    found = truth(series(*duties), default_settings())["p"]
    return [((a - START) / 60, (b - START) / 60) for a, b in found]


def test_truth_is_quiet_of_an_hour_with_short_holes_and_blips_bridged() -> None:
    assert runs(*[0.01] * 60) == [(0, 60)]
    assert runs(*[0.0] * 59) == []
    assert runs(0.5, *[0.0] * 60, 0.5) == [(1, 61)]
    assert runs(*[0.0] * 30, *[None] * 3, *[0.0] * 30) == [(0, 63)]
    assert runs(*[0.0] * 30, *[None] * 4, *[0.0] * 40) == []
    assert runs(*[0.0] * 30, 0.04, 0.04, *[0.0] * 30) == [(0, 62)]
    assert runs(*[0.0] * 30, 0.04, 0.04, 0.04, *[0.0] * 40) == []
    assert runs(*[0.0] * 30, 0.05, *[0.0] * 40) == []
    assert truth(series(*[0.0] * 90, held=None), default_settings()) == {"p": []}
    assert truth(series(*[0.0] * 90, held=GIB / 8), default_settings()) == {"p": []}


def test_every_finding_counts_for_precision_and_a_run_is_recalled_once() -> None:
    told = {"p": [(0.0, 3600.0)], "q": [(0.0, 7200.0)]}
    flags = [Flag("p", at, None, 0.0, 1.0) for at in (2640.0, 3000.0, 3660.0, 3661.0)]
    assert score(flags, told) == Score(precision=0.75, recall=0.5, minutes=44.0, findings=4, runs=2)
    assert score([], told) == Score(1.0, 0.0, None, 0, 2)
    assert score([], {}) == Score(1.0, 1.0, None, 0, 0)


def test_every_number_of_the_shipped_file_has_a_curve_and_nothing_else() -> None:
    data = tomllib.loads(TEXT)
    written: set[str] = set()

    def walk(content: dict[str, Any], place: str) -> None:
        for key, value in content.items():
            if isinstance(value, dict):
                walk(value, f"{place}{key}.")
            elif key != "schema_version":
                written.add(f"{place}{key}")

    walk(data, "")
    assert {name for setting in SETTINGS for name in names(setting)} == written


@pytest.mark.parametrize("name", names("early"))
def test_a_threshold_is_moved_alone(name: str) -> None:
    settings = default_settings()
    before = value_of(settings, name)
    moved = with_value(settings, name, before / 2)
    assert value_of(moved, name) == before / 2
    assert [other for other in names("early") if value_of(moved, other) != value_of(settings, other)] == [
        name
    ]
    values = tried(name, before)
    assert before in values and values == sorted(values) and len(values) >= 6
    assert with_value(moved, name, before) == settings


def written(path: Path) -> Path:
    """Pod a is quiet for 70 minutes, pod b for 58, after five at work."""
    rows = []
    for pod, quiet in (("a", 70), ("b", 58)):
        duty = [50.0] * 5 + [0.0] * quiet + [80.0]
        rows += [
            {"pod": pod, "ts": START + 60 * n, "duty": d, "mem_bytes": 8 * GIB} for n, d in enumerate(duty)
        ]
    pq.write_table(pa.Table.from_pylist(rows), path)
    return path


def replay(capsys: pytest.CaptureFixture[str], path: Path, *more: str) -> tuple[int, str, str]:
    code = main(["replay", "--series", str(path), "--detector", "idle", "--setting", "cautious", *more])
    said = capsys.readouterr()
    return code, said.out, said.err


def test_a_curve_says_what_each_value_gives(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = written(tmp_path / "s.parquet")
    name = "setting.cautious.sure_seconds"
    code, out, _ = replay(capsys, file, "--curves", "--json", "--only", name)
    answer = json.loads(out)
    assert (code, answer["schema_version"], answer["pods"], answer["runs"]) == (0, 1, 2, 1)
    (one,) = answer["thresholds"]
    assert (one["name"], one["value"], one["unit"]) == (name, 3600, "s")
    points = {point.pop("value"): point for point in one["points"]}
    assert points[3600] == {"precision": 1.0, "recall": 1.0, "median_minutes": 60.0, "findings": 1}
    assert points[3240] == {"precision": 0.5, "recall": 1.0, "median_minutes": 54.0, "findings": 2}
    assert points[7200] == {"precision": 1.0, "recall": 0.0, "median_minutes": None, "findings": 0}
    code, out, _ = replay(capsys, file, "--curves", "--only", name)
    lines = [line.split() for line in out.splitlines() if line.strip().startswith("36")]
    assert (code, lines) == (0, [["3600", "1.000", "1.000", "60", "1", "set"]])


def test_the_page_stands_alone_and_marks_what_is_set(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, target = written(tmp_path / "s.parquet"), tmp_path / "c.html"
    code, out, _ = replay(capsys, file, "--curves", "--only", "look.quiet_ratio", "--html", str(target))
    text = target.read_text(encoding="utf-8")
    assert (code, out) == (0, "")
    assert "look.quiet_ratio" in text and text.count("<svg") == 1 and "class=set><td>0.01</td>" in text
    assert not re.search(r"<script|src=|href=|url\(|https?:", text)
    odd = page("<b>", ("<i>",), [Curve("<u>", "", 1.0, ((1.0, Score(1.0, 0.0, None, 0, 1)),))])
    assert not re.search(r"<[biu]>", odd), "texts are escaped, and one value that finds nothing draws"


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (("--json",), "belong to --curves"),
        (("--curves", "--only", "tide.nothing"), "no such threshold"),
        (("--curves", "--only", "setting.early.probability"), "no such threshold"),
        (("--thresholds", "/nowhere/idle.toml"), "cannot be read"),
        (("--curves", "--only", "look.quiet_ratio", "--html", "/nowhere/c.html"), "cannot be written"),
    ],
)
def test_what_cannot_be_done_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], more: tuple[str, ...], said: str
) -> None:
    code, out, err = replay(capsys, written(tmp_path / "s.parquet"), *more)
    assert (code, out) == (2, "")
    assert said in err


def test_a_sites_own_thresholds_are_tried_and_used(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = tmp_path / "idle.toml"
    own.write_text(TEXT.replace("sure_seconds = 3600", "sure_seconds = 3000"), encoding="utf-8")
    file = written(tmp_path / "s.parquet")
    _, shipped, _ = replay(capsys, file)
    _, moved, _ = replay(capsys, file, "--thresholds", str(own))
    assert (shipped.count("\n"), moved.count("\n")) == (2, 3)
    assert rules_of({"thresholds": str(own)}).thresholds.settings["cautious"].sure_seconds == 3000
    assert rules_of({}).thresholds == default_settings()
    with pytest.raises(ConfigError, match="absolute path"):
        rules_of({"thresholds": "idle.toml"})
    own.write_text("[tide]\nhalf_life = 1\n", encoding="utf-8")
    with pytest.raises(ConfigError, match="half_life"):
        rules_of({"thresholds": str(own)})
