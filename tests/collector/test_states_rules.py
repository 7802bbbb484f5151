"""The thresholds of states are a file: the shipped one is read whole, one's own takes its place, a wrong one is refused."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

import pytest
from tests.collector.fleet_world import LATER, card_hours
from tests.collector.states_world import TODAY, mapped

from ullage_collector.states import States, default_rules, load_rules, rules_of
from ullage_contract.errors import ConfigError


def test_every_threshold_of_the_shipped_rules_is_read() -> None:
    rules = default_rules()
    assert (rules.window_seconds, rules.bridge_seconds) == (600, 600)
    assert rules.margin_us == (600 + 10 * 600) * 1_000_000
    assert {s.key for s in rules.signals if s.judges} == {"sm_active_ratio", "utilization_ratio"}


def test_rules_of_ones_own_take_the_place_of_those_shipped(tmp_path: Path) -> None:
    shipped = resources.files("ullage_collector.detect").joinpath("states.toml").read_text(encoding="utf-8")
    mine = tmp_path / "states.toml"
    mine.write_text(shipped.replace("window_seconds = 600", "window_seconds = 3600"), encoding="utf-8")
    rules = rules_of({"rules": str(mine)})
    assert rules.window_seconds == 3600
    assert rules_of({}) == default_rules()
    world = mapped()
    world.card("G1")
    world.hold("G1", "slurm/dc1/nlp/1", 0, 2)
    world.minutes("G1", 0, 0.5, 0.0)
    world.minutes("G1", 0.5, 2, 0.9)
    States(world.db, rules).make(TODAY, LATER)
    assert card_hours(world.lines())["nlp", "used"] == 2.0


@pytest.mark.parametrize(
    ("harm", "named"),
    [
        (("window_seconds = 600", "window_seconds = 0"), "window_seconds"),
        (('kind = "level"', 'kind = "guess"'), "guess"),
        (('ordered = "not_owned"', 'ordered = "free"'), "life.ordered"),
        (("[telemetry]", "[telemetri]"), "telemetry"),
        (("schema_version = 1", "schema_version = ["), "cannot be read"),
    ],
)
def test_wrong_rules_are_refused_by_name(tmp_path: Path, harm: tuple[str, str], named: str) -> None:
    shipped = resources.files("ullage_collector.detect").joinpath("states.toml").read_text(encoding="utf-8")
    mine = tmp_path / "states.toml"
    mine.write_text(shipped.replace(*harm), encoding="utf-8")
    with pytest.raises(ConfigError, match=named):
        load_rules(mine)
    with pytest.raises(ConfigError, match="not known"):
        rules_of({"rulez": "x"})
