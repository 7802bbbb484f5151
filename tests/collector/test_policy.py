"""What is decided about verdicts: modes, limits, freeze, breaker, approvals; decided once, and kept before it acts."""

from __future__ import annotations

import json
import stat
from dataclasses import replace
from pathlib import Path

import pytest
from tests.collector.isolation_world import World

from ullage_collector.isolate import command, policy_settings
from ullage_collector.isolate.intent import State
from ullage_collector.isolate.policy_settings import Override
from ullage_collector.isolate.verdict import Action, Follow, Mode, Turn
from ullage_contract.errors import BadInput, ConfigError


def test_an_automatic_rule_isolates_the_card_and_writes_down_every_step() -> None:
    world = World()
    world.consider("n0-3")
    assert world.state("n0-3") is State.WANTED
    assert world.scheduler.calls == []
    world.step()
    assert world.scheduler.calls == ["isolate n0-3"]
    assert world.state("n0-3") is State.ISOLATED
    assert world.db.execute("SELECT subject, incident_id, released_at FROM isolation").fetchall() == [
        ("n0-3", 1, None)
    ]
    assert world.audit("n0-3")[0] == "decide"
    assert world.audit("n0-3").count("isolate") >= 2


def test_a_sites_own_program_isolates_and_releases(tmp_path: Path) -> None:
    program = tmp_path / "fence"
    log = tmp_path / "log"
    program.write_text(f'#!/bin/sh\necho "$@" >> {log}\n')
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    world = World(probation_seconds=60)
    world.actuators = {
        "command": command.actuator(
            {
                "isolate": [str(program), "on", "{node_id}", "{minor}", "{incident_id}"],
                "release": [str(program), "off"],
            }
        )
    }
    world.default = ("command",)
    world.restart()
    verdict = world.consider("n1-2")
    world.step()
    assert log.read_text() == "on n1 2 1\n"
    world.end(verdict)
    world.step(31)
    assert log.read_text() == "on n1 2 1\noff\n"
    assert world.state("n1-2") is State.PROBATION
    world.step(61)
    assert world.state("n1-2") is State.RELEASED


def test_by_default_a_rule_only_advises_and_shows_the_exact_calls() -> None:
    world = World(mode=policy_settings.PolicySettings().mode)
    world.consider("n0-3")
    world.step()
    intent = world.intent("n0-3")
    assert (intent.state, intent.mode, intent.calls) == (State.ADVISED, "advise", ("isolate n0-3",))
    assert world.scheduler.calls == []


def test_a_rule_in_shadow_is_only_counted() -> None:
    world = World()
    world.consider("n0-3", mode=Mode.SHADOW)
    world.step()
    assert world.state("n0-3") is State.SHADOW
    assert world.intent("n0-3").calls is None
    assert world.scheduler.calls == []


def test_an_override_that_names_a_rule_says_its_mode_and_one_that_does_not_only_lowers() -> None:
    overrides = (
        Override(node="n9", mode=Mode.ADVISE),
        Override(rule="xid-*", mode=Mode.AUTOMATIC),
        Override(cluster="c", mode=Mode.AUTOMATIC),
    )
    world = World(mode=Mode.ADVISE, overrides=overrides)
    world.consider("n0-0", mode=Mode.SHADOW)
    world.consider("n9-0", mode=Mode.AUTOMATIC)
    world.consider("n1-0", rule="other", mode=Mode.SHADOW)
    world.consider("n2-0", rule="other", mode=Mode.AUTOMATIC)
    states = [world.state(card) for card in ("n0-0", "n9-0", "n1-0", "n2-0")]
    assert states == [State.WANTED, State.ADVISED, State.SHADOW, State.WANTED]


def test_the_same_verdict_twice_is_one_and_a_late_one_is_none() -> None:
    world = World()
    verdict = world.consider("n0-0")
    world.policy.consider(verdict)
    world.step()
    world.restart()
    world.policy.consider(verdict)
    world.end(verdict)
    world.step(31)
    world.policy.consider(verdict)
    world.step(31)
    assert world.scheduler.calls == ["isolate n0-0", "release n0-0"]
    assert len(world.db.execute("SELECT * FROM isolation_intent").fetchall()) == 1


@pytest.mark.parametrize("seconds", [130.0, -130.0])
def test_what_did_not_just_happen_never_acts(seconds: float) -> None:
    world = World()
    verdict = world.verdict("n0-0")
    world.clock.step_wall(seconds)
    world.policy.consider(verdict)
    world.consider("n1-0", fresh=False)
    world.step()
    assert world.state("n0-0") is State.ADVISED
    assert "history" in (world.intent("n1-0").held_back or "")
    assert world.scheduler.calls == []


def test_a_fresh_verdict_about_what_was_only_history_acts() -> None:
    world = World()
    old = world.consider("n0-0", fresh=False)
    world.policy.consider(replace(old, fresh=True, turn=Turn.WORSENED))
    world.step()
    assert world.scheduler.calls == ["isolate n0-0"]


def test_what_holds_it_back_is_said_as_of_the_last_fresh_verdict() -> None:
    world = World(mode=Mode.AUTOMATIC)
    world.policy.consider(world.verdict("n0-0", fresh=False))
    assert "history" in (world.intent("n0-0").held_back or "")
    world.freeze.freeze(reason="rule X", actor="ada")
    world.policy.consider(world.verdict("n0-0"))
    assert world.intent("n0-0").held_back == "frozen by ada: rule X"
    world.policy.consider(world.verdict("n0-0", fresh=False))
    assert world.intent("n0-0").held_back == "frozen by ada: rule X"


def test_at_most_two_cards_and_one_node_in_ten_minutes_and_the_rest_is_paged() -> None:
    world = World(breaker=False)
    for n in range(4):
        world.consider(f"n{n}-0")
    for n in (10, 11):
        world.consider(None, node=f"n{n}", action=Action.ISOLATE_NODE)
    world.step()
    assert world.scheduler.calls == ["isolate n0-0", "isolate n1-0", "isolate n10"]
    assert "limit" in (world.intent("n2-0").held_back or "")
    assert "limit" in (world.intent("n11").held_back or "")
    assert len(world.pages.told) == 1, "one page for one kind of trouble"
    world.clock.advance(601)
    world.consider("n5-0")
    world.step()
    assert world.scheduler.calls[-1] == "isolate n5-0"


def test_the_rate_outlives_a_restart_and_no_step_of_the_clock_makes_room() -> None:
    world = World(breaker=False)
    world.consider("n0-0")
    world.consider("n1-0")
    world.step()
    world.clock.step_wall(3600)
    world.consider("n2-0")
    world.clock.step_wall(-3600)
    world.restart()
    world.consider("n3-0")
    world.step()
    assert world.scheduler.calls == ["isolate n0-0", "isolate n1-0"]


def test_two_per_cent_of_a_clusters_cards_count_those_that_others_took() -> None:
    world = World(nodes=50, isolated_ratio=0.02, breaker=False, cards_per_window=100)  # 400 cards: 8
    world.scheduler.others["n40"] = "maintenance by root"
    world.step()
    world.consider("n0-0")
    world.step()
    assert "9 of the 400 cards" in (world.intent("n0-0").held_back or "")
    del world.scheduler.others["n40"]
    world.step(31)
    world.consider("n1-0")
    world.step()
    assert world.scheduler.calls == ["isolate n1-0"]


def test_cards_that_the_inventory_has_in_repair_count_too() -> None:
    world = World(nodes=50, isolated_ratio=0.02, breaker=False)
    for i in range(8):
        world.db.execute(
            "INSERT INTO inventory (inventory_id, card_id, cluster_id, node_id, vendor, model, life, valid_from, known_from, source) "
            "VALUES (?, ?, 'c', 'n3', 'nvidia', 'H800', 'rma', '2026-01-01', '2026-01-01', 'test')",
            [i, f"n3-{i}"],
        )
    world.consider("n0-0")
    assert "limit" in (world.intent("n0-0").held_back or "")


def test_one_node_a_rack_counting_a_drain_of_somebody_else() -> None:
    world = World(nodes_per_domain=1, nodes_per_window=9, breaker=False)
    for n in range(20):
        world.db.execute(
            "INSERT INTO topology (topology_id, source, cluster_id, family, subject, relation, target, valid_from, "
            "known_from) VALUES (?, 'file:plan', 'c', 'node', ?, 'rack', ?, '2026-01-01', '2026-01-01')",
            [n, f"n{n}", f"r{n // 2}"],
        )
    world.scheduler.others["n1"] = "NHC: disk"
    world.step()
    for n in (0, 2, 3, 4):
        world.consider(None, node=f"n{n}", action=Action.ISOLATE_NODE)
    world.step()
    assert world.scheduler.calls == ["isolate n2", "isolate n4"]
    assert "rack:r0: n1" in (world.intent("n0").held_back or "")


def test_nodes_whose_rack_nobody_knows_count_as_one_rack() -> None:
    world = World(nodes_per_domain=1, nodes_per_window=9)
    world.consider(None, node="n0", action=Action.ISOLATE_NODE)
    world.consider(None, node="n1", action=Action.ISOLATE_NODE)
    world.step()
    assert world.scheduler.calls == ["isolate n0"]


def test_a_scheduler_that_does_not_answer_leaves_no_room_by_itself() -> None:
    world = World()
    world.scheduler.silent = True
    world.step()
    world.consider("n0-0")
    world.step()
    assert "does not say" in (world.intent("n0-0").held_back or "")


def test_three_nodes_with_the_same_trip_the_breaker_page_and_stop_what_is_planned() -> None:
    world = World(cards_per_window=100)
    first = world.consider("n0-0")
    world.step()
    world.consider("n1-0")
    world.consider("n2-0")
    world.consider("n3-0", rule="another")
    world.step()
    assert world.scheduler.calls == ["isolate n0-0", "isolate n3-0"]
    assert [world.state(card) for card in ("n1-0", "n2-0")] == [State.ADVISED] * 2
    assert [subject for subject, _ in world.pages.told] == ["xid-fatal"]
    world.restart()
    world.consider("n4-0")
    assert world.state("n4-0") is State.ADVISED, "a tripped breaker outlives a restart"
    world.end(first)
    world.step(31)
    assert world.scheduler.calls[-1] == "release n0-0", "a breaker never blocks a release"
    world.clock.advance(3700)
    world.consider("n5-0")
    assert world.state("n5-0") is State.WANTED


def test_frozen_nothing_is_placed_and_what_was_planned_stays_advice() -> None:
    world = World()
    before = world.consider("n0-0")
    world.step()
    world.consider("n1-0")
    world.freeze.freeze(reason="wrong rule", actor="ada")
    world.consider("n2-0")
    world.step()
    world.restart()
    assert world.freeze.frozen
    world.end(before)
    world.step(31)
    assert world.scheduler.calls == ["isolate n0-0", "release n0-0"]
    with pytest.raises(BadInput, match="frozen by ada"):
        world.isolation.isolate("n3-0", reason="x", actor="bob", execute_calls=True)
    world.freeze.unfreeze(reason="fixed", actor="ada")
    world.step(31)
    assert world.scheduler.calls == ["isolate n0-0", "release n0-0"]
    assert world.state("n1-0") is State.ADVISED
    actions = [
        row[0] for row in world.db.execute("SELECT action FROM audit WHERE subject IS NULL").fetchall()
    ]
    assert actions == ["freeze", "unfreeze"]


def test_a_freeze_between_two_calls_of_a_plan_stops_the_second() -> None:
    world = World()
    actuator = world.actuators["fake-card"]
    plain = actuator.plan_isolate

    def two(target):  # type: ignore[no-untyped-def]
        plan = plain(target)
        return replace(plan, calls=(replace(plan.calls[0], verb="prepare"), *plan.calls))

    actuator.plan_isolate = two
    world.scheduler.after = lambda verb, target: (
        world.freeze.freeze(reason="stop", actor="ada") if verb == "prepare" else None
    )
    world.consider("n0-0")
    world.step()
    assert world.scheduler.calls == ["prepare n0-0"]
    assert world.state("n0-0") is State.ADVISED
    assert world.db.execute("SELECT count(*) FROM isolation WHERE released_at IS NULL").fetchone() == (0,)


def test_a_person_approves_exactly_the_calls_shown_and_an_approval_expires() -> None:
    world = World(mode=Mode.APPROVE, approval_seconds=3600)
    verdict = world.consider("n0-0")
    with pytest.raises(BadInput, match="not known yet"):
        world.policy.approve(verdict.incident_id, actor="ada")
    world.step()
    intent = world.intent("n0-0")
    assert (intent.state, intent.calls) == (State.ASKED, ("isolate n0-0",))
    with pytest.raises(BadInput, match="others now"):
        world.policy.approve(verdict.incident_id, actor="ada", digest="0" * 16)
    world.policy.approve(verdict.incident_id, actor="ada", digest=intent.digest)
    world.step()
    assert world.scheduler.calls == ["isolate n0-0"]
    late = world.consider("n1-0")
    world.step(3601)
    assert world.state("n1-0") is State.EXPIRED
    with pytest.raises(BadInput, match="expired"):
        world.policy.approve(late.incident_id, actor="ada")


def test_who_says_no_is_heard_for_the_cool_down() -> None:
    world = World(mode=Mode.APPROVE, overrides=(Override(rule="sure", mode=Mode.AUTOMATIC),))
    verdict = world.consider("n0-0")
    world.policy.deny(verdict.incident_id, actor="ada", reason="its owner is at it")
    assert world.state("n0-0") is State.DENIED
    world.restart()
    world.consider("n0-0", rule="sure")
    assert "cool-down" in (world.intent("n0-0").held_back or "")
    world.clock.advance(1801)
    world.consider("n0-0", rule="sure", action=Action.DRAIN_CARD)
    assert world.state("n0-0") is State.WANTED


def test_opted_out_nodes_and_nodes_in_maintenance_are_only_advised() -> None:
    class Tonight:
        def covers(self, cluster_id: str, node_id: str, at: float) -> str | None:
            return "new firmware" if node_id == "n2" else None

    world = World(opt_out=("c/n1",))
    world.windows = Tonight()
    world.scheduler.labels["n3"] = {"ullage.dev/isolate": "false"}
    world.restart()
    world.step()
    for n in (1, 2, 3):
        world.consider(f"n{n}-0")
    held = [world.intent(f"n{n}-0").held_back or "" for n in (1, 2, 3)]
    assert held == [
        "opted out by opt_out 'c/n1'",
        "maintenance: new firmware",
        "opted out by label ullage.dev/isolate=false",
    ]


def test_two_faults_of_one_card_are_one_fence_that_stands_until_both_have_ended() -> None:
    world = World()
    one = world.consider("n0-0", follow=Follow.RESET)
    world.step()
    two = world.consider("n0-0", rule="ecc")
    world.step(31)
    world.end(one)
    world.step(31)
    assert world.state("n0-0") is State.ISOLATED
    world.end(two)
    world.step(31)
    assert world.scheduler.calls == ["isolate n0-0", "release n0-0"]


def test_a_card_fault_on_an_isolated_node_keeps_the_node_away() -> None:
    world = World()
    node = world.consider(None, node="n0", action=Action.ISOLATE_NODE)
    world.step()
    card = world.consider("n0-1")
    world.end(node)
    world.step(31)
    assert world.state("n0") is State.ISOLATED
    world.end(card)
    world.step(31)
    assert world.scheduler.calls == ["isolate n0", "release n0"]


def test_a_card_that_only_its_node_can_be_taken_for_waits_for_a_person() -> None:
    world = World()
    world.scheduler.no_card = "the partition is exclusive: isolate the node"
    verdict = world.consider("n0-0")
    world.step()
    assert world.state("n0-0") is State.REPLACED
    world.step()
    assert world.state("n0") is State.ASKED
    assert world.intent("n0").calls == ("isolate n0",)
    world.policy.approve(verdict.incident_id, actor="ada")
    world.step()
    assert world.scheduler.calls == ["isolate n0"]


def test_a_store_that_cannot_be_written_loses_no_verdict() -> None:
    world = World()
    plain = world.book._connect
    world.book._connect = lambda: (_ for _ in ()).throw(RuntimeError("no room left"))  # type: ignore[assignment]
    world.consider("n0-0")
    world.book._connect = plain
    world.step()
    assert world.scheduler.calls == ["isolate n0-0"]


def test_a_wrong_setting_is_named() -> None:
    for table, words in (
        ({"mode": "auto"}, "mode"),
        ({"nodes_per_windw": 2}, "nodes_per_windw"),
        ({"isolated_ratio": 2}, "isolated_ratio"),
        ({"override": [{"rule": "x"}]}, "say a mode"),
        ({"override": {"rule": "x"}}, "override"),
    ):
        with pytest.raises(ConfigError, match=words):
            policy_settings.read(table, "collector.toml")
    found = policy_settings.read(
        {"mode": "automatic", "override": [{"rule": "a", "mode": "shadow", "drain": "end"}]}, "f"
    )
    assert found.overrides == (Override(rule="a", mode=Mode.SHADOW, drain="end"),)


def test_what_is_decided_says_who_why_and_how_to_take_it_back() -> None:
    world = World()
    world.consider("n0-0", evidence={"code": 79})
    world.step()
    row = world.db.execute(
        "SELECT actor, reason, evidence, command FROM audit WHERE action = 'isolate' AND command IS NOT NULL LIMIT 1"
    ).fetchone()
    assert row is not None
    assert row[0] == "rule xid-fatal"
    assert json.loads(row[3]) == [{"command": ["isolate", "n0-0"]}]
    decided = world.db.execute("SELECT evidence FROM audit WHERE action = 'decide'").fetchone()
    assert decided is not None and json.loads(decided[0])["code"] == 79


def test_the_page_has_every_state_and_the_example_every_setting_with_its_default() -> None:
    import re
    import tomllib
    from dataclasses import fields

    root = Path(__file__).parents[2]
    page = (root / "docs/isolation.md").read_text(encoding="utf-8")
    states = page.split("## States")[1].split("## ")[0]
    assert re.findall(r"^\| ([a-z_]+) \|", states, re.MULTILINE)[1:] == [state.value for state in State]
    table = tomllib.loads((root / "collector/collector.example.toml").read_text(encoding="utf-8"))
    example = table["isolation"]["policy"]
    known = {field.name for field in fields(policy_settings.PolicySettings)} - {"overrides"}
    assert set(example) == known
    assert policy_settings.read(example, "example") == policy_settings.PolicySettings()


def test_what_is_planned_for_an_incident_that_may_go_less_far_by_now_is_only_advice() -> None:
    """As the fault engine says of each node of a fleet's incident."""
    world = World(breaker=False)
    verdict = world.consider("n0-0")
    world.policy.consider(replace(verdict, turn=Turn.WORSENED, mode=Mode.ADVISE))
    assert (world.state("n0-0"), world.scheduler.calls) == (State.ADVISED, [])
    approved = world.consider("n1-0", mode=Mode.APPROVE)
    world.step()
    world.policy.approve(approved.incident_id, actor="ada")
    world.policy.consider(replace(approved, turn=Turn.WORSENED, mode=Mode.ADVISE))
    assert world.state("n1-0") is State.WANTED  # a person has decided


def test_what_a_sites_override_made_automatic_is_carried_out_after_a_restart_too() -> None:
    world = World(overrides=(Override(rule="xid-*", mode=Mode.AUTOMATIC),))
    verdict = world.verdict("n0-0", mode=Mode.ADVISE)
    world.policy.consider(verdict)
    assert world.state("n0-0") is State.WANTED
    world.restart()
    world.policy.consider(verdict)  # as the engine tells what is open anew
    world.step()
    assert world.scheduler.calls == ["isolate n0-0"]
