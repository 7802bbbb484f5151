"""``fragmentation`` on files: exactly what the rows say, and wrong rows told with file and line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ullage_collector.cli import main

NODES = "sn,model,cpu_free_milli,mem_free_mib,gpu_free_milli\n"
TASKS = "cpu_milli,memory_mib,num_gpu,gpu_milli,gpu_spec,weight\n"


def written(folder: Path, nodes: str, tasks: str) -> list[str]:
    (folder / "n.csv").write_text(NODES + nodes, encoding="utf-8")
    (folder / "t.csv").write_text(TASKS + tasks, encoding="utf-8")
    return ["fragmentation", "--nodes", str(folder / "n.csv"), "--tasks", str(folder / "t.csv")]


def test_json_holds_the_figures_of_exactly_these_tasks(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = written(
        tmp_path,
        "n1,T4,32000,1000,1000|340|0\nn2,P100,500,1000,1000\n",
        "1000,10,1,1000,,3\n1000,10,1,340,T4|P100,1\n",
    )
    assert main([*command, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    # n1: a whole card leaves 340 (3/4); 0.34 leaves nothing. n2: processors are short for both.
    assert found["free_milli"] == 2340
    assert found["fragmented_milli"] == pytest.approx(0.75 * 340 + 1000)
    assert found["ratio"] == pytest.approx((0.75 * 340 + 1000) / 2340)
    assert {name: milli for name, milli in found["by_class"].items() if milli} == pytest.approx(
        {"q2_lack_gpu": 255, "q3_satisfied": 0.75 * 1000 + 0.25 * 1340, "q4_lack_cpu": 1000}
    )
    assert "lack_memory" not in found["by_class"]
    assert [(one["sn"], one["fragmented_milli"]) for one in found["top"]] == [("n2", 1000), ("n1", 255)]
    assert found["gpu_tasks"]["fragmented_milli"] == pytest.approx(found["fragmented_milli"])


def test_memory_is_tested_when_asked_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = written(tmp_path, "n1,T4,32000,99,1000\n", "1000,100,1,1000,,1\n")
    assert main([*command, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["fragmented_milli"] == 0
    assert main([*command, "--json", "--memory"]) == 0
    assert json.loads(capsys.readouterr().out)["by_class"]["lack_memory"] == 1000


def test_a_person_gets_a_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = written(tmp_path, "n1,T4,32000,99,500|500\n", "1000,100,1,1000,,1\n0,0,0,0,,1\n")
    assert main(command) == 0
    out = capsys.readouterr().out
    assert "fragmented by the published rule: 1.0 cards (100.00 % of what is free)" in out
    assert "n1" in out.splitlines()[-1]


def test_a_list_without_weights_counts_each_row_and_history_is_learned(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = written(tmp_path, "n1,T4,32000,99,500\n", "")
    rows = (
        "name,cpu_milli,memory_mib,num_gpu,gpu_milli,gpu_spec\n" + "p,1,1,1,500,\n" * 19 + "p,1,1,1,1000,\n"
    )
    (tmp_path / "t.csv").write_text(rows, encoding="utf-8")
    assert main([*command, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["fragmented_milli"] == pytest.approx(500 / 20)
    assert main([*command[:3], "--pods", command[4], "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["fragmented_milli"] == 0  # 95 % are covered by halves


@pytest.mark.parametrize(
    ("nodes", "tasks", "told"),
    [
        ("n1,T4,1,1,1001\n", "1,1,1,1000,,1\n", "n.csv:2: gpu_free_milli '1001'"),
        ("n1,T4,1,1,1000|\n", "1,1,1,1000,,1\n", "n.csv:2: gpu_free_milli ''"),
        ("n1,T4,-1,1,1000\n", "1,1,1,1000,,1\n", "n.csv:2: cpu_free_milli '-1'"),
        ("n1,T4,,1,1000\n", "1,1,1,1000,,1\n", "n.csv:2: cpu_free_milli ''"),
        (",T4,1,1,1000\n", "1,1,1,1000,,1\n", "n.csv:2: sn is empty"),
        ("n1,T4,1,1,1000\n\nn1,T4,1,1,1000\n", "1,1,1,1000,,1\n", "n.csv:4: sn 'n1' is already on line 2"),
        ("n1,T4,1,1\n", "1,1,1,1000,,1\n", "n.csv:2: 4 cells where the header has 5"),
        ("", "1,1,1,1000,,1\n", "n.csv: no rows below the header"),
        ("n1,T4,1,1,1000\n", "1,1,1,0,,1\n", "t.csv:2: gpu_milli 0"),
        ("n1,T4,1,1,1000\n", "1,1,2,1500,,1\n", "t.csv:2: gpu_milli 1500"),
        ("n1,T4,1,1,1000\n", "1,1,1,1000,,-1\n", "t.csv:2: weight '-1'"),
        ("n1,T4,1,1,1000\n", "1,1,1,1000,,nan\n", "t.csv:2: weight 'nan'"),
        ("n1,T4,1,1,1000\n", "1,1,1,1000,,inf\n", "t.csv:2: weight 'inf'"),
        ("n1,T4,1,1,1000\n", "1,1,1,1000,A||B,1\n", "t.csv:2: gpu_spec 'A||B'"),
        ("n1,T4,1,1,1000\n", "1,1,1,1000,,0\n", "no task has a weight above 0"),
        ("n1,T4,1,1,1000\n", "1.5,1,1,1000,,1\n", "t.csv:2: cpu_milli '1.5'"),
        ("n1,T4,1,1,1000\n", '1,1,1,1000,"A"B,1\n', "t.csv:2: not CSV"),
        ("n1,T4,1,,1000\n", "1,1,1,1000,,1\n", "n.csv:2: mem_free_mib is empty"),
        ("n1,T4,1,1,1000\n", "1,,1,1000,,1\n", "t.csv:2: memory_mib is empty"),
    ],
)
def test_a_wrong_row_is_told_with_file_and_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], nodes: str, tasks: str, told: str
) -> None:
    assert main([*written(tmp_path, nodes, tasks), "--memory", "--json"]) == 2
    said = capsys.readouterr()
    assert told in said.err
    assert said.out == ""


def test_all_wrong_rows_are_told_together_but_no_book_of_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = written(tmp_path, "".join(f"n{n},T4,x,1,1000\n" for n in range(30)), "1,1,1,1000,,1\n")
    assert main(command) == 2
    err = capsys.readouterr().err
    assert "n.csv:21: " in err
    assert "n.csv:22: " not in err
    assert "and 10 rows more" in err


@pytest.mark.parametrize("broken", ["missing", "column", "bytes", "twice"])
def test_a_file_that_is_none_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str], broken: str) -> None:
    command = written(tmp_path, "n1,T4,1,1,1000\n", "1,1,1,1000,,1\n")
    file = tmp_path / "n.csv"
    if broken == "missing":
        file.unlink()
    elif broken == "column":
        file.write_text("sn,model\nn1,T4\n", encoding="utf-8")
    elif broken == "twice":
        file.write_text(NODES.replace("model", "sn,model"), encoding="utf-8")
    else:
        file.write_bytes(NODES.encode() + b"\xff\xfe\n")
    assert main(command) == 2
    assert str(file) in capsys.readouterr().err


def test_a_wrong_setting_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = written(tmp_path, "n1,T4,1,1,1000\n", "1,1,1,1000,,1\n")
    (tmp_path / "r.toml").write_text("[typical]\ncovered_ratio = 95\n", encoding="utf-8")
    (tmp_path / "c.toml").write_text(f"[fragmentation]\nrules = '{tmp_path / 'r.toml'}'\n", encoding="utf-8")
    assert main(["--config", str(tmp_path / "c.toml"), *command[:3], "--pods", command[4]]) == 2
    assert "covered_ratio" in capsys.readouterr().err
