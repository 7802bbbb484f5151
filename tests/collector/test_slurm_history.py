"""Past runs come in through the command, twice as once, and a served cluster becomes a part of ``serve``."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from slurm_world import AT, CLUSTER, opened, past, squeue

from ullage_collector import cli
from ullage_collector.allocation.slurm import source
from ullage_collector.config import load
from ullage_collector.store.store import Store
from ullage_contract.errors import ConfigError


def _configured(folder: Path, more: str = "") -> Path:
    path = folder / "collector.toml"
    path.write_text(
        f'data = "{folder}"\n[[allocation.slurm]]\ncluster = "{CLUSTER}"\npath = "{folder}/bin"\n{more}'
    )
    return path


def _tool(folder: Path, name: str, said: str) -> None:
    path = folder / "bin" / name
    path.parent.mkdir(exist_ok=True)
    (folder / f"{name}.said").write_text(said)
    path.write_text(f'#!/bin/sh\necho "$@" >> {folder}/{name}.asked\n/bin/cat {folder}/{name}.said\n')
    path.chmod(0o755)


def _imported(capsys: pytest.CaptureFixture[str], *argv: object) -> tuple[int, dict[str, object]]:
    code = cli.main(["--log-level", "error", "import", "slurm", *map(str, argv)])
    [report] = json.loads(capsys.readouterr().out)["imports"]
    return code, report


def _rows(folder: Path) -> list[tuple[object, ...]]:
    store = Store.open(folder / "collector" / "store.duckdb")
    cursor = store.cursor()
    rows = cursor.execute(
        "SELECT w.workload_id, epoch_us(a.valid_from) // 1000000, epoch_us(a.valid_to) // 1000000, n.node_id,"
        " a.share_nano, a.source FROM allocation a JOIN workload w USING (workload_key)"
        " JOIN node n USING (node_key) WHERE a.known_to IS NULL ORDER BY ALL"
    ).fetchall()
    cursor.close()
    store.close()
    return rows


def test_a_saved_answer_of_sacct_comes_in_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = _configured(tmp_path)
    saved = tmp_path / "sacct.json"
    saved.write_text(
        squeue(past(1, AT, AT + 30, count=2), past(2, AT, 0), past(3, AT, AT + 5, account="ullage-fence"))
    )
    code, report = _imported(capsys, saved, "--config", config)
    assert (code, report["rows_read"], report["rows_added"]) == (0, 3, 1)
    assert _rows(tmp_path) == [("slurm/tiny/1", AT, AT + 30, "g1", 2_000_000_000, "slurm")]
    assert _imported(capsys, saved, "--config", config)[1]["rows_added"] == 0
    saved.write_text(squeue(past(1, AT, AT + 31, count=2)))
    report = _imported(capsys, saved, "--config", config)[1]
    assert (report["rows_added"], report["notes"]) == (1, {"corrected": 1})
    assert [row[2] for row in _rows(tmp_path)] == [AT + 31]


def test_a_span_of_time_is_asked_of_accounting_piece_by_piece(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = _configured(tmp_path)
    _tool(tmp_path, "sacct", squeue(past(1, AT, AT + 30)))
    _tool(tmp_path, "scontrol", "NodeName=g1 Gres=gpu:h200:8\n")
    _tool(tmp_path, "sacctmgr", "root||\nnlp||root\n")
    code, report = _imported(
        capsys, "--config", config, "--from", "2026-11-20T00:00:00Z", "--to", "2026-11-20T05:00:00Z"
    )
    assert (code, report["rows_read"], report["rows_added"]) == (0, 3, 1)
    asked = (tmp_path / "sacct.asked").read_text().splitlines()
    assert ["--starttime=2026-11-20T00:00:00" in asked[0], "--endtime=2026-11-20T05:00:00" in asked[-1]] == [
        True,
        True,
    ]
    assert len(asked) == 3


def test_accounting_that_does_not_answer_fails_the_import(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = _configured(tmp_path)
    assert cli.main(["import", "slurm", "--config", str(config)]) == 2
    assert "sacct is not in" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("argv", "why"),
    [
        (["--cluster", "other"], "there are: tiny"),
        (["--from", "2026-11-20T00:00:00Z", "--to", "2026-11-19T00:00:00Z"], "after --from"),
    ],
)
def test_what_cannot_be_meant_is_a_usage_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], argv: list[str], why: str
) -> None:
    assert cli.main(["import", "slurm", "--config", str(_configured(tmp_path)), *argv]) == 2
    assert why in capsys.readouterr().err


def test_each_cluster_is_a_part_of_serve_and_a_wrong_setting_stops_the_start(tmp_path: Path) -> None:
    config = load(_configured(tmp_path, '[[allocation.slurm]]\ncluster = "b"\n'))
    store = opened(tmp_path)
    assert [name for name, _ in source.parts(config, lambda: store)] == ["slurm-tiny", "slurm-b"]
    store.close()
    with pytest.raises(ConfigError, match="pol_seconds"):
        source.parts(load(_configured(tmp_path, "pol_seconds = 3\n")), lambda: store)
