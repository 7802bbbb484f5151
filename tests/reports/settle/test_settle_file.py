"""A file with a slip in it names the place, the value and what it should be; the command says it and ends with 2."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from tests.reports.settle.settle_file import at, cards, hold, inputs, price, told

from ullage_contract.command import GOOD, PARTIAL, USAGE
from ullage_contract.errors import ConfigError
from ullage_reports import cli
from ullage_reports.settle.reader import read_world
from ullage_reports.settle.world import POLICIES


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"window": None}, "inputs.window: is missing"),
        ({"window": [at(1), at(0)]}, "ends .* before it starts"),
        ({"window": ["2026-10-05T00:00:00", at(1)]}, r"window\[0\].*has no offset"),
        ({"window": ["yesterday", at(1)]}, r"window\[0\]: 'yesterday' is not an ISO 8601"),
        ({"report_timezone": "+08:00"}, "no IANA time zone"),
        ({"cards": []}, "list the owned cards"),
        ({"cards": [{"card": "G1"}]}, r"cards\[0\].model: is missing"),
        ({"cards": cards("G1", "G1")}, "listed twice"),
        ({"cards": cards("G1", sharing="magic")}, "'magic' is not time-slicing"),
        ({"price_models": [price("-1")]}, "at least 0"),
        ({"price_models": [price("ten")]}, "'ten' is not a number"),
        ({"price_models": [price("1e999999")]}, "is not a number"),
        ({"price_models": [price("NaN")]}, "is not a number"),
        ({"price_models": [{"model": "H20"}]}, "capex: is missing"),
        ({"allocations": [hold("a", card="G9")]}, "'G9' is not listed in inputs.cards"),
        ({"allocations": [hold("a")]}, "neither which card nor how many"),
        ({"allocations": [hold("a", cards="1.5")]}, "a whole number of cards"),
        ({"allocations": [{"card": "G1", "start": at(0)}]}, "neither department nor namespace"),
        ({"allocations": [hold("a", 5, 4, card="G1")]}, r"allocations\[0\]: ends"),
        ({"allocations": [hold("a", card="G1", mig_profile="9z")]}, "mig_profile"),
        ({"telemetry": [{"start": at(0)}]}, "neither which card nor which job"),
        ({"telemetry": [{"card": "G1", "sm_active_pct": "150", "start": at(0)}]}, "at most 100"),
        ({"telemetry": [{"card": "G1", "active": "yes", "start": at(0)}]}, "true or false"),
        ({"health": [{"card": "G1", "state": "sick", "start": at(0)}]}, "faulty or isolated"),
        ({"mapping": [{"match": "nlp", "department": "a", "effective_from": at(0)}]}, "k8s:<namespace>"),
        ({"policy": {"faulty": "nobody"}}, "policy.faulty: 'nobody' is not one of platform_pays"),
        ({"power": [{"card": "G1", "start": at(0)}]}, "neither mean_watts nor energy_kwh"),
        ({"quota": {"a": "many"}}, "quota.a: 'many' is not a number"),
        ({"closed_periods": 7}, "closed_periods: '7' is not a list"),
    ],
)
def test_a_slip_is_named_with_its_place(keys: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        told(inputs(**keys))


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "3", '{"inputs": []}', '{"inputs": {"window": NaN}}', "[" * 100_000]
)
def test_what_is_no_settle_file_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="file: "):
        read_world(text, "file")


def test_a_misspelt_key_is_said_and_not_swallowed() -> None:
    keys = inputs(allocations=[hold("a", card="G1", fractoin="0.5")], polcy={})
    assert set(told(keys)["ignored"]) == {"inputs.polcy", "inputs.allocations[0].fractoin"}


def test_numbers_are_exact_however_they_are_written() -> None:
    for hourly in ("0.1", 0.1, "1/10"):
        found = told(inputs(price_models=[price(hourly)]))  # type: ignore[arg-type]
        assert found["totals"] == {"2026-10-05": "2.40"}


def written(folder: Path, keys: dict[str, Any]) -> str:
    path = folder / "world.json"
    path.write_text(json.dumps({"currency": "CNY", "inputs": keys}), encoding="utf-8")
    return str(path)


def test_the_command_prints_a_table_or_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = written(tmp_path, inputs(allocations=[hold("nlp\u202e", card="G1", fraction="0.5")]))
    assert cli.main(["settle", path, "--json"]) == GOOD
    found = json.loads(capsys.readouterr().out)
    assert found["schema_version"] == 1 and found["totals"] == {"2026-10-05": "240.00"}
    assert cli.main(["settle", path]) == GOOD
    shown = capsys.readouterr().out
    assert "120.00" in shown and "fragmented" in shown and "total" in shown and "\u202e" not in shown
    assert cli.main(["settle", path, "--by", "month", "--json"]) == GOOD
    assert json.loads(capsys.readouterr().out)["totals"] == {"2026-10": "240.00"}


def test_a_policy_can_be_tried_from_the_command_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = written(tmp_path, inputs(cards=cards("G1", "G2"), allocations=[hold("a", card="G1")]))
    assert cli.main(["settle", path, "--json", "--policy", "unallocated_idle=even"]) == GOOD
    assert {x["department"] for x in json.loads(capsys.readouterr().out)["lines"]} == {"a"}
    assert cli.main(["settle", path, "--policy", "unallocated_idle=odd"]) == USAGE
    assert "unallocated_idle=none|proportional|even" in capsys.readouterr().err


def test_the_commands_exit_codes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["settle", str(tmp_path / "none.json")]) == USAGE
    assert "none.json: cannot be read" in capsys.readouterr().err
    assert cli.main(["settle", written(tmp_path, inputs(window=None))]) == USAGE
    assert "world.json: inputs.window: is missing" in capsys.readouterr().err
    assert cli.main(["settle", written(tmp_path, inputs(price_models=[]))]) == PARTIAL
    assert "no price for H20" in capsys.readouterr().err


def test_the_page_names_every_policy_word_and_every_key() -> None:
    page = (Path(__file__).parents[3] / "docs/settle.md").read_text("utf-8")
    for name, words in POLICIES.items():
        for word in (name, *words):
            assert f"`{word}`" in page, word
    source = (Path(cli.__file__).parent / "settle/reader.py").read_text("utf-8")
    for key in set(re.findall(r'(?:row|inputs|_rows|instant|number|text)\(?\.?\w*\("([a-z_]+)"', source)):
        assert key in page, key


def test_a_price_of_any_length_is_priced_to_the_cent() -> None:
    keys = inputs(cards=cards("G1"))
    keys["price_models"][0]["hourly"] = "10000000000000000000000000.01"
    assert told(keys)["totals"] == {"2026-10-05": "240000000000000000000000000.24"}


@pytest.mark.parametrize(
    ("window", "says"),
    [
        (["0001-01-01T00:00:00Z", at(1)], "years 1970 to 9998"),
        ([at(0), "9999-12-31T00:00:00Z"], "years 1970 to 9998"),
        ([at(1), at(1)], "ends .* when it starts"),
        ([at(0), "9999-12-31T23:59:59-14:00"], "is not an ISO 8601 time"),
    ],
)
def test_a_window_nobody_can_mean_is_refused(window: list[str], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        told(inputs(window=window))


def test_a_rule_may_hold_for_ever_and_a_scheme_is_one_of_two() -> None:
    rule = {"match": "k8s:*", "department": "a", "effective_from": "0001-01-01T00:00:00Z"}
    told(inputs(mapping=[rule | {"effective_to": "9999-12-31T23:59:59Z"}]))
    with pytest.raises(ConfigError, match=r"mapping\[0\]\.match: 'x:nlp'"):
        told(inputs(mapping=[rule | {"match": "x:nlp"}]))
