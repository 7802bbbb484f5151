"""``ullage-collector faults``: what it prints is what the rules are, and a recording is judged as events are."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ullage_collector.cli import main
from ullage_collector.detect import fault_words
from ullage_collector.detect.fault_rule import Condition
from ullage_collector.detect.faults import KNOWN, shipped_rules


def event(at: float, code: str, **more: Any) -> dict[str, Any]:
    return {
        "time": at,
        "kind": "xid",
        "code": code,
        "vendor": "nvidia",
        "subject": "GPU-1",
        "node": "g1",
        **more,
    }


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    lines: list[Any] = [event(1_795_000_000.0 + n * 3600, "94") for n in range(3)]
    lines.append(event(1_795_100_000.0, "79", severity="fatal"))
    lines += [
        {
            "family": "card",
            "subject": "GPU-2",
            "node": "g1",
            "vendor": "nvidia",
            "time": 1_795_200_000.0 + n * 60,
            "values": {"ecc_uncorrected": n // 2, "health": "ok"},
        }
        for n in range(4)
    ]
    file = tmp_path / "recording.jsonl"
    file.write_text("\n".join(json.dumps(line) for line in lines) + "\n", encoding="utf-8")
    return file


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    code = main(["faults", *arguments])
    return code, capsys.readouterr().out


def test_list_shows_every_rule_with_its_mode_threshold_and_source(capsys: pytest.CaptureFixture[str]) -> None:
    code, text = run(capsys, "list")
    assert code == 0
    for rule in shipped_rules():
        line = next(line for line in text.splitlines() if line.split("  ")[0] == rule.name)
        assert rule.source in line
        assert fault_words.threshold(rule) in line
        assert rule.signal == "none" or rule.mode.value in line


def test_list_as_json_says_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    _, text = run(capsys, "list", "--json", "--maker", "amd")
    rules = json.loads(text)["rules"]
    assert {rule["maker"] for rule in rules} == {"amd", None}
    assert all(rule["why_no_signal"] for rule in rules if rule["signal"] == "none")


@pytest.mark.parametrize("rule", shipped_rules(), ids=lambda rule: rule.name)
def test_every_rule_is_explained_in_sentences(rule: Any) -> None:
    sentences = list(fault_words.explain(rule))
    assert all(
        sentence.endswith(".") and ".." not in sentence and "None" not in sentence for sentence in sentences
    )
    assert rule.source in " ".join(sentences)
    assert "comes is" not in " ".join(sentences)


def test_a_rule_that_is_not_there_is_told_with_its_neighbours(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["faults", "explain", "card_lots"]) == 2
    assert "card_lost" in capsys.readouterr().err


def test_a_recording_is_judged_and_growth_is_reckoned(
    recording: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, text = run(capsys, "test", str(recording), "--json")
    assert code == 0
    turns = [(turn["turn"], turn["rule"], turn["subject"]) for turn in json.loads(text)["turns"]]
    assert turns == [
        ("opened", "xid_contained", "GPU-1"),
        ("opened", "xid_contained_repeated", "GPU-1"),
        ("opened", "xid_fallen_off_the_bus", "GPU-1"),
        ("ended", "xid_contained", "GPU-1"),
        ("opened", "ecc_uncorrected_growth", "GPU-2"),
    ]


def test_a_recording_for_one_rule_alone(recording: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, text = run(capsys, "test", str(recording), "--rule", "xid_fallen_off_the_bus")
    assert code == 0
    assert "opened" in text and "isolate_node" in text
    assert "8 observations, 1 incidents would open" in text


def test_lines_that_cannot_be_read_are_told_and_the_rest_is_judged(
    recording: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = [
        "not json",
        "[]",
        '{"kind": "sneeze", "time": 1, "subject": "x"}',
        '{"values": {"colour": 1}, "family": "card", "time": 1, "subject": "x"}',
    ]
    recording.write_text(recording.read_text(encoding="utf-8") + "\n".join(broken), encoding="utf-8")
    code = main(["faults", "test", str(recording)])
    said = capsys.readouterr()
    assert code == 3
    assert "8 observations" in said.out
    for number in (9, 10, 11, 12):
        assert f"{recording}:{number}: " in said.err


def test_a_file_that_is_not_there_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["faults", "test", "/nowhere.jsonl"]) == 2
    assert "/nowhere.jsonl" in capsys.readouterr().err


def test_the_page_names_every_key_and_condition() -> None:
    page = (Path(__file__).parents[2] / "docs/faults.md").read_text(encoding="utf-8")
    assert [key for key in KNOWN if f"`{key}`" not in page] == []
    assert [condition for condition in Condition if f"| `{condition}` |" not in page] == []
