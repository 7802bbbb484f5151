"""Which single events are faults of the worst kind."""

from __future__ import annotations

from pathlib import Path

import pytest

from ullage_collector.detect.faults import judge, parse_rules, shipped_rules, site_rules
from ullage_contract.errors import ConfigError
from ullage_contract.event import Event, Severity
from ullage_contract.sample import Family


def event(
    kind: str, *, code: str | None = None, severity: Severity = Severity.CRITICAL, **attributes: int
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
        vendor="nvidia",
        attributes=attributes,
    )


def test_a_lost_card_is_a_fault_and_its_return_ends_it() -> None:
    rule = judge(event("card_lost"), shipped_rules())
    assert rule is not None
    assert (rule.name, rule.action, rule.confirmed) == ("card_lost", "isolate_card", True)
    assert rule.exit == {"card_back"}


@pytest.mark.parametrize(
    ("code", "action"), [("79", "isolate_node"), ("95", "isolate_card"), ("48", "isolate_card")]
)
def test_a_fatal_xid_proposes_what_nvidia_says(code: str, action: str) -> None:
    rule = judge(event("xid", code=code), shipped_rules())
    assert rule is not None
    assert rule.action == action


@pytest.mark.parametrize("code", ["13", "31", "43", "45", "63", "94"])
def test_an_application_xid_is_no_fault_of_the_card(code: str) -> None:
    assert judge(event("xid", code=code), shipped_rules()) is None


def test_a_contained_uncorrectable_error_never_isolates() -> None:
    assert judge(event("ecc_uncorrected", contained=1), shipped_rules()) is None
    assert judge(event("ecc_uncorrected"), shipped_rules()) is not None


def test_only_fatal_switch_faults_count() -> None:
    assert judge(event("sxid", code="12028", severity=Severity.WARNING), shipped_rules()) is None
    assert judge(event("sxid", code="12020", severity=Severity.FATAL), shipped_rules()) is not None


def test_every_rule_says_whose_judgement_it_is() -> None:
    assert all(len(rule.source) > 20 for rule in shipped_rules())


def test_a_site_rule_replaces_the_shipped_one_of_its_name(tmp_path: Path) -> None:
    file = tmp_path / "faults.toml"
    file.write_text(
        '[[fault]]\nname = "card_lost"\nkind = "card_lost"\nseverity = "warning"\naction = "observe"\n'
        'confirmed = false\nsource = "our site: cards come back"\n',
        encoding="utf-8",
    )
    rules = site_rules(shipped_rules(), file)
    assert [rule.action for rule in rules if rule.name == "card_lost"] == ["observe"]
    assert len(rules) == len(shipped_rules())


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[[fault]]\nname='x'", "kind is missing"),
        ("[[fault]]\nname='x'\nbogus=1", "unknown key bogus"),
        ("[fault]\nname='x'", "[[fault]]"),
        ("nonsense", "not TOML"),
        (
            "[[fault]]\nname='x'\nkind='sneeze'\nseverity='fatal'\naction='observe'\nconfirmed=true\nsource='s'",
            "no event kind",
        ),
        (
            "[[fault]]\nname='x'\nkind='xid'\nseverity='fatal'\naction='explode'\nconfirmed=true\nsource='s'",
            "action 'explode'",
        ),
        (
            "[[fault]]\nname='x'\nkind='xid'\nseverity='bad'\naction='observe'\nconfirmed=true\nsource='s'",
            "bad",
        ),
    ],
)
def test_a_wrong_rule_is_named_with_its_place(text: str, says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_rules(text, "faults.toml")
    assert says in str(caught.value)
    assert "faults.toml" in str(caught.value)
