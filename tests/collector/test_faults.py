"""The fault catalogue as data: what ships, what a site may change, and how a wrong rule is told."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from ullage_agent.backends.nvidia.kernel import xids
from ullage_collector.detect.fault_rule import Condition, FaultRule, Signal
from ullage_collector.detect.fault_settings import settings_of
from ullage_collector.detect.faults import parse_rules, rules_of, shipped_rules, shipped_tables, site_rules
from ullage_collector.isolate.verdict import Action, Follow, Mode
from ullage_contract.errors import ConfigError
from ullage_contract.event import Event, Severity
from ullage_contract.sample import Family

ROWS = range(1, 53)
"""Of the fault catalogue."""
BEFORE_THE_CATALOGUE = {
    "card_lost",
    "xid_fallen_off_the_bus",
    "xid_reset_needed",
    "xid_double_bit_error",
    "ecc_uncontained",
    "sxid_fatal",
    "ras_fatal",
}
"""Rules that advised before the catalogue was whole."""


def rule(name: str) -> FaultRule:
    return next(rule for rule in shipped_rules() if rule.name == name)


def event(
    kind: str,
    *,
    code: str | None = None,
    vendor: str = "nvidia",
    severity: Severity = Severity.CRITICAL,
    **attributes: int | str,
) -> Event:
    return Event(
        time=1.0,
        kind=kind,
        severity=severity,
        family=Family.CARD,
        subject="GPU-1",
        source="library",
        message="m",
        code=code,
        vendor=vendor,
        attributes=attributes,
    )


def test_every_row_of_the_catalogue_has_a_rule_or_a_reason_why_not() -> None:
    assert {row for rule in shipped_rules() for row in rule.rows} == set(ROWS)
    for found in shipped_rules():
        if found.signal is Signal.NONE:
            assert found.why and len(found.why) > 20, found.name
            assert found.rows, found.name


def test_every_rule_says_what_it_is_and_whose_judgement_it_is() -> None:
    for found in shipped_rules():
        assert len(found.says) > 10, found.name
        assert len(found.source) > 15, found.name
        assert re.fullmatch(r"[a-z][a-z0-9_]*", found.name)
        if found.signal is not Signal.NONE:
            assert found.independent, found.name


def test_new_rules_ship_in_shadow_and_those_that_advised_still_do() -> None:
    advising = {
        found.name
        for found in shipped_rules()
        if found.mode is not Mode.SHADOW and found.signal is not Signal.NONE
    }
    # what our own records say acts on nothing: it asks a person
    assert advising == BEFORE_THE_CATALOGUE | {"offender_card", "offender_node"}
    assert all(rule(name).action is Action.OBSERVE for name in ("offender_card", "offender_node"))


def test_rules_that_advised_ask_for_what_they_asked_for() -> None:
    assert {name: rule(name).action.value for name in BEFORE_THE_CATALOGUE} == {
        "card_lost": "isolate_card",
        "xid_fallen_off_the_bus": "isolate_node",
        "xid_reset_needed": "isolate_card",
        "xid_double_bit_error": "isolate_card",
        "ecc_uncontained": "isolate_card",
        "sxid_fatal": "isolate_node",
        "ras_fatal": "isolate_card",
    }
    assert all(rule(name).confirmed for name in BEFORE_THE_CATALOGUE)


def test_no_event_is_enough_for_two_rules_that_act() -> None:
    once = [
        found
        for found in shipped_rules()
        if found.condition is Condition.ONCE and found.signal is Signal.EVENT
    ]
    for found in once:
        for code in found.codes or {None}:
            for severity in {found.only_severity} if found.only_severity else set(Severity):
                more: dict[str, Any] = {key: min(map(str, value)) for key, value in found.attributes.items()}
                more |= {key: int(value) for key, value in more.items() if value.isdigit()}
                seen = event(
                    found.kind or "", code=code, vendor=found.vendor or "other", severity=severity, **more
                )
                assert found.matches(seen)
                acting = [
                    other.name for other in once if other.matches(seen) and other.mode is not Mode.SHADOW
                ]
                assert len(acting) <= 1, acting


def test_every_xid_that_nvidia_wants_work_kept_away_for_has_a_rule() -> None:
    for code, xid in xids().items():
        seen = event("xid", code=str(code), fatal=1)
        found = [r for r in shipped_rules() if r.matches(seen) and r.action is not Action.OBSERVE]
        if xid.klass.startswith("isolate"):
            assert found, code
        if xid.klass == "application":
            assert all(r.condition in (Condition.DISTINCT, Condition.REPEAT) for r in found), code


@pytest.mark.parametrize("name", ["receiver_not_ready", "receive_buffers_short", "link_downed"])
def test_hints_of_the_receivers_side_and_one_link_downed_only_observe(name: str) -> None:
    assert rule(name).action is Action.OBSERVE


def test_a_contained_error_drains_nothing() -> None:
    for found in shipped_rules():
        if ("contained" in found.name and found.name != "ecc_uncontained") or "poison" in found.name:
            assert not found.action.value.startswith("drain"), found.name


def test_what_drains_running_work_is_confirmed() -> None:
    assert all(found.confirmed for found in shipped_rules() if found.action.value.startswith("drain"))


def test_what_only_observes_or_suspects_moves_no_money() -> None:
    for found in shipped_rules():
        if found.action is Action.OBSERVE or found.mode is Mode.SHADOW or not found.confirmed:
            assert not found.money


def test_expected_ports_and_links_never_come_from_the_cards_model() -> None:
    for table in shipped_tables():
        assert "model" not in table
        assert table.get("below_metric") != "links_total"


def test_every_rule_owns_a_way_out() -> None:
    """An event, a time without it, or a person: nothing else, and a state's rule always has its event."""
    for found in shipped_rules():
        if found.condition in (Condition.STANDS, Condition.FLAP):
            assert found.exit
        if found.signal is Signal.METRIC and found.exit_after_us is None:
            assert found.action is not Action.OBSERVE, f"{found.name} would be observed for ever"


def write(folder: Path, text: str) -> Path:
    file = folder / "faults.toml"
    file.write_text(text, encoding="utf-8")
    return file


def test_a_site_lets_a_rule_act_by_its_mode_alone(tmp_path: Path) -> None:
    file = write(tmp_path, '[[fault]]\nname = "xid_nvlink_fatal"\nmode = "automatic"\n')
    found = next(r for r in site_rules(file) if r.name == "xid_nvlink_fatal")
    assert found == FaultRule(
        **{**{f: getattr(rule("xid_nvlink_fatal"), f) for f in FaultRule.__slots__}, "mode": Mode.AUTOMATIC}
    )
    assert len(site_rules(file)) == len(shipped_rules())


def test_a_site_rule_with_another_signal_replaces_the_shipped_one(tmp_path: Path) -> None:
    file = write(
        tmp_path,
        '[[fault]]\nname = "card_lost"\nkind = "card_lost"\ncondition = "once"\nseverity = "warning"\naction = "observe"\n'
        'confirmed = false\nsource = "our site: cards come back"\n',
    )
    rules = site_rules(file)
    (found,) = [r for r in rules if r.name == "card_lost"]
    assert (found.action, found.exit, found.follow) == (Action.OBSERVE, frozenset(), Follow.NONE)
    assert len(rules) == len(shipped_rules())


def test_a_rule_of_a_new_name_stands_in_front(tmp_path: Path) -> None:
    file = write(
        tmp_path,
        '[[fault]]\nname = "ours"\nkind = "xid"\ncodes = ["79"]\nseverity = "info"\naction = "observe"\n'
        'confirmed = false\nsource = "our site: risers are changed first"\n',
    )
    assert site_rules(file)[0].name == "ours"
    assert site_rules(file)[0].mode is Mode.SHADOW


def test_collector_toml_goes_over_the_file_and_the_file_over_what_ships(tmp_path: Path) -> None:
    file = write(tmp_path, '[[fault]]\nname = "links_lost"\nmode = "approve"\nbad = 5\nof = 5\n')
    rules = rules_of({"file": str(file), "fault": [{"name": "links_lost", "mode": "automatic"}]})
    (found,) = [r for r in rules if r.name == "links_lost"]
    assert (found.mode, found.bad, found.of, found.severity) == (Mode.AUTOMATIC, 5, 5, Severity.CRITICAL)


def test_settings_say_when_several_nodes_are_one_incident() -> None:
    assert (settings_of({}).fleet_nodes, settings_of({}).fleet_within_us) == (3, 300_000_000)
    found = settings_of({"fleet_nodes": 0, "fleet_within": "90s"})
    assert (found.fleet_nodes, found.fleet_within_us) == (0, 90_000_000)


@pytest.mark.parametrize(
    ("part", "says"),
    [
        ({"flet_nodes": 3}, "fleet_nodes"),
        ({"fleet_within": "soon"}, "duration"),
        ({"file": "faults.toml"}, "absolute path"),
        ({"file": "/nowhere/faults.toml"}, "cannot be read"),
        ({"fault": {"name": "x"}}, "[[faults.fault]]"),
        ({"fault": [{"name": "links_lost", "mode": "wild"}]}, "wild"),
        ({"fault": [{"name": "links_lost", "yields_to": ["nobody"]}]}, "nobody"),
    ],
)
def test_a_wrong_setting_is_named(part: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        settings_of(part)
    assert says in str(caught.value)


GOOD = "name='x'\nseverity='fatal'\naction='observe'\nconfirmed=true\nsource='s'\n"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[[fault]]\nname='x'", "kind is missing"),
        ("[[fault]]\nname='x'\nbogus=1", "unknown key bogus"),
        ("[fault]\nname='x'", "[[fault]]"),
        ("nonsense", "not TOML"),
        ("rules = 3", "rules: no such key"),
        (f"[[fault]]\n{GOOD}kind='sneeze'", "no event kind"),
        (f"[[fault]]\n{GOOD}kind='xid'".replace("observe", "explode"), "action 'explode'"),
        (f"[[fault]]\n{GOOD}kind='xid'".replace("fatal", "bad"), "bad"),
        (f"[[fault]]\n{GOOD}kind='xid'\ncondition='level'", "condition level"),
        (f"[[fault]]\n{GOOD}kind='xid'\ntimes=3", "give over"),
        (f"[[fault]]\n{GOOD}kind='xid'\ntimes=3\nover='a while'", "write a duration"),
        (f"[[fault]]\n{GOOD}kind='port_down'\ncondition='stands'", "needs exit"),
        (f"[[fault]]\n{GOOD}family='card'\nmetric='colour'\ncondition='level'", "no metric of a card"),
        (f"[[fault]]\n{GOOD}family='card'\nmetric='power_watts'\ncondition='rise'", "does not fit"),
        (f"[[fault]]\n{GOOD}family='card'\nmetric='power_watts'\ncondition='level'", "needs above"),
        (f"[[fault]]\n{GOOD}family='card'\nmetric='ecc_corrected'\ncondition='rate'", "needs above"),
        (
            f"[[fault]]\n{GOOD}family='card'\nmetric='health'\ncondition='level'\nwords=['sad']",
            "words of health",
        ),
        (
            f"[[fault]]\n{GOOD}family='card'\nmetric='power_watts'\ncondition='level'\nabove=1\nbad=4\nof=2",
            "bad = 4",
        ),
        (f"[[fault]]\n{GOOD}kind='xid'\nagain={{within='1d'}}\n[[fault]]\n{GOOD}kind='xid'", "two rules"),
        (f"[[fault]]\n{GOOD}kind='xid'\nspread={{cards=2}}", "spread is a table of"),
    ],
)
def test_a_wrong_rule_is_named_with_its_place(text: str, says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_rules(text, "faults.toml")
    assert says in str(caught.value)
    assert "faults.toml" in str(caught.value)
