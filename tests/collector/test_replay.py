"""``ullage-collector replay``: a series file in, findings as CSV out, and what it says of files it cannot use."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ullage_collector.cli import main
from ullage_collector.detect.series import read

START = 1_790_000_040
GIB = 2.0**30


def rows(pod: str = "p", quiet: int = 70) -> list[dict[str, Any]]:
    """Five busy minutes, quiet ones, one busy minute."""
    duty = [50.0] * 5 + [0.0] * quiet + [80.0]
    return [{"pod": pod, "ts": START + 60 * i, "duty": d, "mem_bytes": 8 * GIB} for i, d in enumerate(duty)]


def written(path: Path, content: list[dict[str, Any]]) -> Path:
    pq.write_table(pa.Table.from_pylist(content), path)
    return path


def replay(path: Path, capsys: pytest.CaptureFixture[str], *more: str) -> tuple[int, str, str]:
    code = main(["replay", "--series", str(path), "--detector", "idle", *more])
    said = capsys.readouterr()
    return code, said.out, said.err


def test_a_finding_is_a_line_with_when_it_was_found_and_when_it_ended(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = written(tmp_path / "s.parquet", rows())
    code, out, err = replay(file, capsys)
    assert (code, err) == (0, "")
    assert out == f"pod,detect_ts,clear_ts\np,{START + 65 * 60},{START + 75 * 60}\n"


def test_an_open_finding_has_no_end(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = written(tmp_path / "s.parquet", rows()[:-1])
    _, out, _ = replay(file, capsys)
    assert out.splitlines()[1:] == [f"p,{START + 65 * 60},"]


def test_order_doubled_rows_and_unknown_columns_change_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plain = rows("a") + rows("b", quiet=90)
    mixed = [{**row, "zone": "x"} for row in (plain[::-1] + plain[10:40])]
    expected = replay(written(tmp_path / "a.parquet", plain), capsys)
    assert replay(written(tmp_path / "b.parquet", mixed), capsys) == expected
    assert expected[1].count("\n") == 3


def test_of_two_rows_of_one_instant_the_one_that_shows_work_counts(tmp_path: Path) -> None:
    content = rows()
    content.append({**content[30], "duty": 90.0})
    content.append({**content[31], "duty": None})
    points = {point.at: point for point in read(written(tmp_path / "s.parquet", content))}
    assert points[START + 30 * 60].busy_ratio == 0.9
    assert points[START + 31 * 60].busy_ratio == 0.0
    assert points[START + 30 * 60].rows == 2


def test_null_and_not_a_number_are_unknown_and_never_quiet(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for number, nothing in enumerate((None, float("nan"))):
        content = [{**row, "duty": nothing} if i >= 5 else row for i, row in enumerate(rows(quiet=200))]
        code, out, _ = replay(written(tmp_path / f"{number}.parquet", content), capsys)
        assert (code, out) == (0, "pod,detect_ts,clear_ts\n")
        content = [{**row, "mem_bytes": nothing} for row in rows(quiet=200)]
        code, out, _ = replay(written(tmp_path / f"m{number}.parquet", content), capsys)
        assert (code, out) == (0, "pod,detect_ts,clear_ts\n")


def test_other_types_of_time_and_number_are_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    expected = replay(written(tmp_path / "a.parquet", rows()), capsys)
    stamped = [
        {**row, "ts": datetime.fromtimestamp(row["ts"], tz=UTC), "mem_bytes": int(row["mem_bytes"])}
        for row in rows()
    ]
    assert replay(written(tmp_path / "b.parquet", stamped), capsys) == expected
    whole = [{**row, "duty": int(row["duty"]), "ts": float(row["ts"])} for row in rows()]
    assert replay(written(tmp_path / "c.parquet", whole), capsys) == expected


def test_an_empty_series_and_one_that_never_knows_anything_have_no_findings(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "s.parquet"
    duckdb.execute(
        f"COPY (SELECT 'p' AS pod, 1 AS ts, 1.0 AS duty, 1.0 AS mem_bytes WHERE false) TO '{file}' (FORMAT parquet)"
    )
    assert replay(file, capsys) == (0, "pod,detect_ts,clear_ts\n", "")
    duckdb.execute(
        f"COPY (SELECT 'p' AS pod, 60 * i AS ts, NULL AS duty, NULL AS mem_bytes FROM range(90) r(i)) "
        f"TO '{file}' (FORMAT parquet)"
    )
    assert replay(file, capsys) == (0, "pod,detect_ts,clear_ts\n", "")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"duty": "busy"}, "column duty is VARCHAR; write numbers"),
        ({"duty": -1.0}, "duty -1; write per cent"),
        ({"duty": 250.0}, "duty 250; write per cent"),
        ({"mem_bytes": -5.0}, "mem_bytes -5; write bytes"),
        ({"mem_bytes": True}, "column mem_bytes is BOOLEAN"),
        ({"ts": START * 1000}, "ts is no epoch second"),
        ({"ts": -3}, "ts is no epoch second"),
        ({"ts": "2026-11-20"}, "column ts is VARCHAR"),
        ({"pod": None}, "rows without pod or ts"),
    ],
)
def test_values_that_cannot_be_are_named_with_exit_code_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], change: dict[str, Any], said: str
) -> None:
    file = written(tmp_path / "s.parquet", [{**row, **change} for row in rows()])
    code, out, err = replay(file, capsys)
    assert (code, out) == (2, "")
    assert said in err
    assert "s.parquet" in err


@pytest.mark.parametrize("column", ["pod", "ts", "duty", "mem_bytes"])
def test_a_missing_column_is_named_with_exit_code_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], column: str
) -> None:
    file = written(tmp_path / "s.parquet", [{k: v for k, v in row.items() if k != column} for row in rows()])
    code, out, err = replay(file, capsys)
    assert (code, out) == (2, "")
    assert f"no column {column}; it has" in err


def test_no_file_and_no_parquet_are_said_with_exit_code_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert replay(tmp_path / "none.parquet", capsys)[0] == 2
    text = tmp_path / "text.parquet"
    text.write_text("pod,ts,duty,mem_bytes\n", encoding="utf-8")
    code, out, err = replay(text, capsys)
    assert (code, out) == (2, "")
    assert "cannot be read as Parquet" in err


def test_a_file_name_with_signs_of_a_pattern_is_that_file_alone(tmp_path: Path) -> None:
    written(tmp_path / "a.parquet", rows("other"))
    file = written(tmp_path / "[a]*.parquet", rows("mine"))
    assert {point.pod for point in read(file)} == {"mine"}
