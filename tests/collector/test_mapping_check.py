"""Where mapping rules fail is said: conflicts, shadows, rules without effect, departments that are gone, coverage."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from fnmatch import translate
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.collector.fleet_world import DAY, NANO, World, at

from ullage_collector import metrics
from ullage_collector.cli import main
from ullage_collector.health import Health
from ullage_collector.ledger import UNMAPPED
from ullage_collector.mapping import SLURM_TOP, Mapper, Rule, Subject, subject
from ullage_collector.organisation import Department, Organisation
from ullage_collector.ownership.check import Seen, check, covers
from ullage_collector.ownership.explain import beaten, explain
from ullage_collector.ownership.rules import check_mapping, explain_workload
from ullage_collector.snapshot import FleetSnapshot
from ullage_collector.states import States
from ullage_contract.errors import BadInput

JOB = subject(
    "slurm/dc1/4711",
    "dc1",
    "nlp",
    "li",
    "gpu",
    '{"team": "rec"}',
    None,
    '{"account_path": "rd/nlp", "qos": "high", "annotation:cost/centre": "42"}',
    "gold",
)
LATER = datetime(2026, 11, 1, tzinfo=UTC)


@pytest.fixture(autouse=True)
def _root_handlers() -> Iterator[None]:
    """The command logs to the stderr of its test: give the root logger its own handlers back."""
    root = logging.getLogger()
    before = list(root.handlers), root.level
    yield
    root.handlers, level = before
    root.setLevel(level)


@pytest.mark.parametrize(
    "match",
    [
        "slurm:nlp",
        "slurm:dc1/nlp",
        "slurm:dc?/*",
        f"slurm:/{SLURM_TOP}/rd/nlp",
        f"slurm:/{SLURM_TOP}/rd/nlp/*",
        "slurm:/rd/*",
        f"slurm:/{SLURM_TOP}/rd/*",
        "qos:high",
        "annotation:cost/centre=4*",
        "pool:gold",
        "partition:gpu",
        "user:li",
        "label:team=rec",
        "workload:slurm/dc1/*",
        "cluster:dc1",
    ],
)
def test_a_pattern_sees_what_it_names(match: str) -> None:
    assert Mapper([Rule(1, match, 0, "d")]).at(JOB, 0).department == "d"


@pytest.mark.parametrize(
    "match",
    [
        "slurm:dc1",  # a cluster is no account
        "slurm:dc*/nlp2",
        "slurm:/rd",  # the account above, and not what is below it
        "slurm:/rd/nlp2/*",
        "slurm:rd/nlp",  # a path begins with a slash
        "qos:hig",
        "annotation:team=rec",  # of a job labels are labels
        "pool:silver",
        "k8s:nlp",
    ],
)
def test_a_pattern_sees_nothing_else(match: str) -> None:
    assert Mapper([Rule(1, match, 0, "d")]).at(JOB, 0).department == UNMAPPED


def test_a_clusters_name_is_not_taken_for_a_namespace() -> None:
    pod = Subject("k8s/nlp-west/web/p/u", "nlp-west", "web")
    assert Mapper([Rule(1, "k8s:nlp*", 0, "nlp")]).at(pod, 0).department == UNMAPPED
    assert Mapper([Rule(1, "k8s:nlp*/web", 0, "nlp")]).at(pod, 0).department == "nlp"


def test_annotations_a_site_keeps_are_seen_as_such_on_a_pod() -> None:
    pod = subject("k8s/c/web/p/u", "c", "web", None, None, '{"acme.com/owner": "rec"}', None, None)
    assert Mapper([Rule(1, "annotation:acme.com/owner=rec", 0, "rec")]).at(pod, 0).department == "rec"


def test_a_reservation_is_seen_by_the_rules_of_its_account() -> None:
    kept = Subject("reservation/dc1/maint", "dc1", "nlp")
    assert Mapper([Rule(1, "slurm:nlp", 0, "nlp")]).at(kept, 0).department == "nlp"
    assert Mapper([Rule(1, "reservation:nlp", 0, "nlp")]).at(kept, 0).department == "nlp"


@pytest.mark.parametrize("attributes", ["", "[]", "not json", '{"qos": null}', '{"annotations": 7}', "{"])
def test_attributes_that_are_none_are_nothing(attributes: str) -> None:
    found = subject("slurm/c/1", "c", "a", None, None, attributes, None, attributes)
    assert (found.qos, found.account_path, dict(found.annotations or {})) == (None, None, {})


def test_a_workload_on_cards_of_two_pools_is_paid_by_each_pools_rule() -> None:
    world = World()
    world.card("G1", pool="gold")
    world.card("G2", pool="silver")
    world.card("G3")
    for card in ("G1", "G2", "G3"):
        world.hold(card, "slurm/dc1/nlp/7", 0, 24)
    world.rule("pool:gold", "rich")
    world.rule("pool:silver", "thrifty")
    States(world.db).make(DAY.date(), LATER)
    owners = {line["card_key"]: line["department_id"] for line in world.lines()}
    assert owners == {world.cards["G1"]: "rich", world.cards["G2"]: "thrifty", world.cards["G3"]: UNMAPPED}


# ------------------------------------------------------------------------------- check
def seen(name: str, namespace: str, hours: int = 1, **more: Any) -> Seen:
    return Seen(Subject(name, "dc1", namespace, **more), 0, 100, hours * 3_600_000_000 * NANO)


def test_rules_as_good_as_each_other_that_say_otherwise_are_a_conflict_with_an_example() -> None:
    rules = [Rule(1, "slurm:nlp", 0, "nlp"), Rule(2, "user:li-*", 0, "rec")]
    assert len(rules[0].match) == len(rules[1].match)
    found = check(
        Mapper(rules),
        [seen("slurm/dc1/1", "nlp", 5, user="li-4"), seen("slurm/dc1/2", "nlp", 9, user="wang")],
        Organisation([]),
        from_us=0,
        at_us=100,
    )
    (conflict,) = found.conflicts
    assert (conflict.winner.rule_id, conflict.loser.rule_id) == (2, 1)
    assert (conflict.example, conflict.workloads) == ("slurm/dc1/1", 1)
    assert conflict.quantity == 5 * 3_600_000_000 * NANO


def test_rules_that_agree_or_stand_apart_in_priority_are_no_conflict() -> None:
    rules = [Rule(1, "slurm:nlp", 0, "nlp"), Rule(2, "user:li-*", 0, "nlp"), Rule(3, "user:l?-*", 1, "rec")]
    found = check(
        Mapper(rules), [seen("slurm/dc1/1", "nlp", user="li-4")], Organisation([]), from_us=0, at_us=100
    )
    assert not found.conflicts


def test_a_conflict_is_one_only_while_both_rules_hold() -> None:
    rules = [Rule(1, "slurm:nlp", 0, "nlp", valid_to_us=50), Rule(2, "slurm:n*p", 0, "rec", valid_from_us=50)]
    apart = check(Mapper(rules), [seen("slurm/dc1/1", "nlp")], Organisation([]), from_us=0, at_us=100)
    assert not apart.conflicts
    rules[0] = Rule(1, "slurm:nlp", 0, "nlp", valid_to_us=51)
    together = check(Mapper(rules), [seen("slurm/dc1/1", "nlp")], Organisation([]), from_us=0, at_us=100)
    assert len(together.conflicts) == 1


def test_what_matches_nobody_what_never_wins_and_what_did_not_win_are_told_apart() -> None:
    rules = [
        Rule(1, "slurm:*", 9, "all"),
        Rule(2, "slurm:nlp", 0, "nlp"),  # covered by rule 1 of a higher priority
        Rule(3, "k8s:web", 0, "web"),  # nobody there
        Rule(4, "user:li", 0, "li"),  # matched, and rule 1 beat it
        Rule(5, "k8s:old", 0, "old", valid_to_us=5),  # over before the window: history
        Rule(6, "slurm:nlp", 0, scenario="batch"),  # says something rule 1 does not
    ]
    found = check(
        Mapper(rules), [seen("slurm/dc1/1", "nlp", user="li")], Organisation([]), from_us=10, at_us=100
    )
    assert [rule.rule_id for rule in found.unmatched] == [3]
    assert [(b.rule.rule_id, b.by.rule_id) for b in found.shadowed] == [(2, 1)]
    assert [(b.rule.rule_id, b.by.rule_id) for b in found.never_won] == [(4, 1)]


def test_a_department_that_is_gone_is_named_and_where_it_moved_to() -> None:
    organisation = Organisation(
        [
            Department("rd", "R&D"),
            Department("rd/nlp", "NLP", "rd", source_key="k1", valid_to_us=50),
            Department("ai", "AI", valid_from_us=50),
            Department("ai/nlp", "NLP", "ai", source_key="k1", valid_from_us=50),
        ]
    )
    rules = [Rule(1, "slurm:nlp", 0, "rd/nlp"), Rule(2, "slurm:cv", 0, "rd/cv"), Rule(3, "slurm:x", 0, "rd")]
    found = check(Mapper(rules), [], organisation, from_us=0, at_us=100)
    assert [(g.rule.rule_id, g.moved_to) for g in found.gone] == [(1, "ai/nlp"), (2, None)]
    assert [g.rule.rule_id for g in check(Mapper(rules), [], organisation, from_us=0, at_us=40).gone] == [2]
    assert not check(Mapper(rules), [], Organisation([]), from_us=0, at_us=100).gone, "no tree, nothing gone"


GLOBS = st.lists(st.sampled_from(["a", "b", "*", "?", "[ab]", "[!a]", "/"]), min_size=1, max_size=6).map(
    "".join
)


@given(GLOBS, GLOBS, st.lists(st.text("ab/", max_size=6), max_size=40))
def test_a_pattern_said_to_cover_another_matches_all_it_does(
    wide: str, narrow: str, texts: list[str]
) -> None:
    if covers(f"user:{wide}", f"user:{narrow}"):
        for text in texts:
            if re.match(translate(narrow), text):
                assert re.match(translate(wide), text), text


@pytest.mark.parametrize(
    ("wide", "narrow", "said"),
    [
        ("slurm:*", "slurm:nlp-*", True),
        ("slurm:n*", "slurm:nlp-?", True),
        ("slurm:nlp-*", "slurm:n*", False),
        ("slurm:*", "k8s:nlp", False),
        ("k8s:*", "k8s:dc1/web", True),
        ("k8s:d*", "k8s:dc1/web", False),  # the one sees namespaces alone
        ("k8s:dc*/web", "k8s:dc1/web", True),
        ("slurm:/rd/*", "slurm:/rd/nlp/*", True),
        ("user:[ab]", "user:a", True),
        ("user:[ab]", "user:?", False),
    ],
)
def test_covering_by_hand(wide: str, narrow: str, said: bool) -> None:
    assert covers(wide, narrow) is said


# ------------------------------------------------------------------------------- explain
def test_each_loser_is_told_what_it_lacked() -> None:
    winner = Rule(9, "slurm:nlp", 5, "a", valid_from_us=10)
    assert beaten(winner, Rule(1, "slurm:nlp", 4, "b")) == "priority 4 is below 5"
    assert "shorter (7 against 9 characters)" in beaten(winner, Rule(1, "slurm:*", 5, "b"))
    assert "valid from earlier" in beaten(winner, Rule(1, "slurm:n*p", 5, "b"))
    assert "its number is smaller (1 against 9)" in beaten(
        winner, Rule(1, "slurm:n*p", 5, "b", valid_from_us=10)
    )


@given(
    st.lists(
        st.tuples(st.integers(0, 2), st.sampled_from(["*", "n*", "nl*", "n*p", "nlp"]), st.integers(0, 3)),
        min_size=1,
        max_size=8,
    )
)
def test_whoever_is_said_to_win_is_whom_the_ledger_charges(given_: list[tuple[int, str, int]]) -> None:
    rules = [
        Rule(n, f"slurm:{glob}", priority, f"d{n}", valid_from_us=begin)
        for n, (priority, glob, begin) in enumerate(given_)
    ]
    mapper = Mapper(rules)
    for when in range(4):
        found = explain(mapper, JOB, when)
        (said,) = [v for v in found.verdicts if v.dimension == "department"]
        assert said.value == mapper.at(JOB, when).department
        assert len(said.lost) + len(found.silent) + (said.winner is not None) == len(rules)


@pytest.fixture
def world() -> World:
    world = World()
    world.card("G1", pool="gold")
    world.card("G2")
    world.hold("G1", "slurm/dc1/nlp/7", 0, 24)
    world.hold("G2", "slurm/dc1/ghost/8", 6, 12, NANO // 2)
    world.db.execute(
        "INSERT INTO department (department_id, name, parent_id, owner, deputy, valid_from, known_from) VALUES "
        "('rd', 'R&D', NULL, 'ada', NULL, TIMESTAMP '2020-01-01', TIMESTAMP '2020-01-01'), "
        "('rd/nlp', 'NLP', 'rd', 'bob', 'eve', TIMESTAMP '2020-01-01', TIMESTAMP '2020-01-01')"
    )
    world.rule("slurm:n*", "rd/cv", start=at(-100))
    world.rule("slurm:nlp", "rd/nlp", business="search")
    States(world.db).make(DAY.date(), LATER)
    return world


def test_explain_names_the_rule_its_version_and_who_wins_why(world: World) -> None:
    found = explain_workload(world.db, "slurm/dc1/nlp/7", LATER)
    (answer,) = found["answers"]
    rule = answer["dimensions"]["department"]["rule"]
    assert answer["sentence"] == (
        f"slurm/dc1/nlp/7 belonged to rd/nlp at 2026-10-07T23:59:59.999999Z by rule {rule['rule_id']} (slurm:nlp, "
        "priority 0; valid from 2026-06-29T00:00:00Z; believed from 2026-06-29T00:00:00Z; map.csv); that is rd > rd/nlp"
    )
    (lost,) = answer["dimensions"]["department"]["lost"]
    assert (lost["match"], lost["why"]) == (
        "slurm:n*",
        "the same priority, and its pattern is shorter (8 against 9 characters)",
    )
    assert (answer["owner"], answer["deputy"], answer["pool"]) == ("bob", "eve", "gold")
    assert answer["dimensions"]["business"]["value"] == "search"
    assert "pool:gold" in answer["seen"]


def test_explain_says_what_was_not_valid_and_that_nobody_pays(world: World) -> None:
    found = explain_workload(world.db, "8", LATER, at=DAY - timedelta(hours=200))
    assert "belonged to nobody" in found["answers"][0]["sentence"]
    early = explain_workload(world.db, "slurm/dc1/nlp/7", LATER, at=DAY - timedelta(hours=200))
    (silent,) = early["answers"][0]["not_valid_then"]
    assert silent["why"] == "valid only from 2026-10-02T20:00:00Z"


def test_explain_as_believed_before_a_rule_was_known(world: World) -> None:
    world.db.execute("UPDATE mapping_rule SET known_from = TIMESTAMP '2026-10-20' WHERE match = 'slurm:nlp'")
    before = explain_workload(world.db, "7", LATER, known_at=datetime(2026, 10, 10, tzinfo=UTC))
    assert before["answers"][0]["department"] == "rd/cv"
    assert "no such department was in the organisation then" in before["answers"][0]["sentence"]
    assert explain_workload(world.db, "7", LATER)["answers"][0]["department"] == "rd/nlp"


def test_explain_in_a_closed_period_speaks_of_the_belief_then(world: World) -> None:
    world.db.execute("UPDATE mapping_rule SET known_from = TIMESTAMP '2026-10-20' WHERE match = 'slurm:nlp'")
    world.db.execute(
        "INSERT INTO period_close (zone, valid_from, valid_to, closed_at, closed_by, reason) VALUES ('UTC', "
        "TIMESTAMP '2026-10-01', TIMESTAMP '2026-10-09', TIMESTAMP '2026-10-15', 'ada', 'signed')"
    )
    found = explain_workload(world.db, "7", LATER)
    assert found["answers"][0]["department"] == "rd/cv"
    assert "closed and stands as believed at 2026-10-15T00:00:00Z" in found["answers"][0]["sentence"]


def test_a_name_nobody_or_two_have_is_refused(world: World) -> None:
    with pytest.raises(BadInput, match="no workload '99'"):
        explain_workload(world.db, "99", LATER)
    world.hold("G2", "slurm/dc2/nlp/7", 13, 14)
    with pytest.raises(BadInput, match="slurm/dc1/nlp/7, slurm/dc2/nlp/7"):
        explain_workload(world.db, "7", LATER)


def test_coverage_is_the_share_of_card_hours_that_maps_to_nothing(world: World) -> None:
    found = check_mapping(world.db, datetime(2026, 10, 9, tzinfo=UTC), 3)
    coverage = found["coverage"]
    assert coverage["days"] == [
        {
            "day": "2026-10-07",
            "held_card_hours": "27.000000000000",
            "unmapped_card_hours": "3.000000000000",
            "unmapped_share": "0.111111",
        }
    ]
    assert coverage["days_missing"] == 3
    assert [(w["workload_id"], w["card_hours"]) for w in coverage["top_unmapped"]] == [
        ("slurm/dc1/ghost/8", "3.000000000000")
    ]
    assert [g["rule"]["department"] for g in found["gone"]] == ["rd/cv"]
    assert [b["rule"]["match"] for b in found["never_won"]] == ["slurm:n*"]
    json.dumps(found)


def test_a_rule_that_looks_at_ids_tells_workloads_apart(world: World) -> None:
    world.hold("G2", "slurm/dc1/nlp/9", 13, 14)
    rule = world.rule("workload:slurm/dc1/nlp/9", "rd/nlp", priority=3)
    found = check_mapping(world.db, datetime(2026, 10, 9, tzinfo=UTC), 3)
    assert rule not in [r["rule_id"] for r in found["unmatched"]]


def test_the_command_without_a_collector_says_what_is_wrong(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rules = tmp_path / "mapping.toml"
    rules.write_text('[[rule]]\nmatch = "slurm:nlp"\ndepartment = "nlp"\n')
    data = ["--data", str(tmp_path / "data")]
    assert main([*data, "import", "mapping", str(rules)]) == 0
    capsys.readouterr()
    assert main([*data, "mapping", "check", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["schema_version"], [r["match"] for r in said["unmatched"]]) == (1, ["slurm:nlp"])
    assert said["unmatched"][0]["source"] == "import:mapping.toml"
    assert main([*data, "mapping", "check"]) == 0
    assert "matched nobody: rule" in capsys.readouterr().out
    assert main([*data, "mapping", "explain", "slurm/dc1/7"]) == 2
    assert "no workload" in capsys.readouterr().err


@pytest.mark.parametrize(("share", "shown"), [(0.25, True), (0.0, True), (None, False)])
def test_the_gauge_of_what_maps_to_nothing_is_absent_where_nothing_is_held(
    share: float | None, shown: bool
) -> None:
    page = metrics.render(
        Health(started_at=0.0), [], FleetSnapshot(at=1.0, unmapped_share=share), now=2.0, version="1"
    )
    assert ("ullage_mapping_unmapped_share" in page) is shown
    assert not shown or f"\nullage_mapping_unmapped_share {share}\n" in page
