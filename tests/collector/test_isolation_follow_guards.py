"""What keeps a reset from being run: work, a freeze, a rule that may not, a scheduler that was not heard, somebody else's hand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.collector.follow_world import RESET, Site

from ullage_collector.isolate.follow_call import Ended, FollowCall, Outcome
from ullage_collector.isolate.follow_settings import FollowMode, Hook
from ullage_collector.isolate.intent import State
from ullage_collector.isolate.verdict import Follow, Mode, Turn
from ullage_contract.errors import BadInput


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


LESS: list[dict[str, Any]] = [{"mode": Mode.SHADOW}, {"mode": Mode.ADVISE}, {"fresh": False}]


def test_by_default_it_is_only_shown(tmp_path: Path) -> None:
    site = Site(tmp_path, hooks={Follow.RESET: replace(RESET, mode=Hook().mode)})
    site.isolated()
    site.step(600)
    assert (site.ran, site.rows()) == ([], [("reset", "shown", "mode shadow")])
    site.lifecycle.following.approve(site.incidents, actor="ada")
    site.step(31)
    assert [call.argv[0] for call in site.ran] == ["/bin/reset"]
    actors = site.db.execute("SELECT DISTINCT actor FROM audit WHERE action = 'reset'").fetchall()
    assert ("ada",) in actors


def test_work_that_holds_the_card_is_never_reset_away(site: Site) -> None:
    site.hold("n0-0")
    site.isolated()
    assert site.state("n0-0") is State.WAITING and site.ran == []
    site.heard = None
    site.drop("n0-0")
    site.step(31)
    site.hold("n0-0")  # another job, that began before the scheduler knew of the isolation
    site.heard = -1.0
    site.step(31)
    assert (site.ran, site.rows()) == ([], [("reset", "held", "work holds it")])
    site.drop("n0-0")
    site.step(31)
    assert len(site.ran) == 1


def test_a_card_of_which_no_scheduler_speaks_is_not_known_to_be_free(site: Site) -> None:
    site.heard = None
    site.isolated()
    site.heard = site.clock.wall() - 500
    site.step(31)
    assert (site.ran, site.rows()) == (
        [],
        [("reset", "held", "no scheduler has said lately what runs there")],
    )
    site.heard = -1.0
    site.step(31)
    assert len(site.ran) == 1


def test_what_could_not_be_run_in_time_waits_for_a_person(site: Site) -> None:
    site.heard = None
    site.isolated()
    for _ in range(40):
        site.step(31)
    site.heard = -1.0
    site.step(31)
    assert (site.ran, site.rows()[0][1]) == ([], "waiting")
    assert [text for _, text in site.pages.told if "waits for a person" in text]


def test_a_freeze_stops_it_and_afterwards_a_person_decides(site: Site) -> None:
    site.hold("n0-0")
    site.isolated()
    site.freeze.freeze(reason="stop", actor="ada")
    site.drop("n0-0")
    site.step(31)
    site.step(31)
    with pytest.raises(BadInput, match="frozen"):
        site.lifecycle.following.approve(site.incidents, actor="ada")
    site.freeze.unfreeze(reason="go", actor="ada")
    site.step(31)
    assert site.ran == []
    site.lifecycle.following.approve(site.incidents, actor="ada")
    site.step(31)
    assert len(site.ran) == 1


def test_a_freeze_between_the_mark_and_the_run_stops_it_too(site: Site) -> None:
    site.side_by_side = True
    site.isolated()
    site.freeze.freeze(reason="stop", actor="ada")
    site.later.pop()()
    assert (site.ran, site.rows()[0][1]) == ([], "waiting")


def test_one_thing_at_a_time_on_a_node(site: Site) -> None:
    site.side_by_side = True
    site.isolated("n0-0")
    site.isolated("n0-1")
    assert [row[1] for row in site.rows()].count("running") == 1
    site.later.pop()()
    site.step(31)
    assert len(site.later) == 1


def test_a_node_that_is_worked_on_is_left_alone(site: Site) -> None:
    class Windows:
        def covers(self, cluster: str, node: str, at: float) -> str | None:
            return "new cables"

    site.hold("n0-0")
    site.isolated()
    site.windows = Windows()
    site.restart()
    site.drop("n0-0")
    site.step(31)
    assert site.ran == [] and "new cables" in str(site.rows()[0][2])


def test_what_was_never_begun_waits_for_a_person(site: Site) -> None:
    site.ends = [Ended(Outcome.NOT_BEGUN, "/bin/reset: No such file or directory")]
    site.isolated()
    site.step(31)
    assert site.rows() == [("reset", "waiting", "/bin/reset: No such file or directory")]
    site.lifecycle.following.approve(site.incidents, actor="ada")
    site.step(31)
    assert site.rows()[0][1] == "done"


def test_nothing_is_reset_without_a_card_isolated(site: Site) -> None:
    site.scheduler.refuse = {"isolate"}
    site.isolated()
    site.step(31)
    assert site.ran == []
    with pytest.raises(BadInput, match="nothing can be run now"):
        site.lifecycle.following.approve(site.incidents, actor="ada")


@pytest.mark.parametrize("less", LESS)
def test_a_rule_that_only_counts_or_advises_or_speaks_of_history_has_nothing_run(
    site: Site, less: dict[str, Any]
) -> None:
    """Another rule isolated the card by itself, and asks for no reset."""
    site.isolated("n0-0", Follow.NONE)
    site.consider("n0-0", rule="another", follow=Follow.RESET, **less)
    for _ in range(3):
        site.step(31)
    assert (site.state("n0-0"), site.ran) == (State.ISOLATED, [])
    if less != {"mode": Mode.SHADOW}:
        assert site.rows()[0][:2] == ("reset", "waiting") and "another" in str(site.rows()[0][2])
        site.lifecycle.following.approve(1, actor="ada")
        site.step(31)
        assert len(site.ran) == 1


@pytest.mark.parametrize("less", LESS)
def test_nor_when_it_spoke_before_the_rule_that_isolates(site: Site, less: dict[str, Any]) -> None:
    site.consider("n0-0", rule="another", follow=Follow.RESET, **less)
    site.step(1)
    site.isolated("n0-0", Follow.NONE)
    for _ in range(3):
        site.step(31)
    assert (site.state("n0-0"), site.ran) == (State.ISOLATED, [])


def test_a_rule_that_many_nodes_show_by_now_has_nothing_run_by_itself(site: Site) -> None:
    """The fault engine has made it one incident of the fleet while work still held the card."""
    site.hold("n0-0")
    verdict = site.isolated()
    site.policy.consider(replace(verdict, turn=Turn.WORSENED, mode=Mode.ADVISE))
    site.drop("n0-0")
    for _ in range(3):
        site.step(31)
    assert (site.state("n0-0"), site.ran, site.rows()[0][1]) == (State.ISOLATED, [], "waiting")


def test_a_rule_that_the_breaker_stopped_has_nothing_run_by_itself(tmp_path: Path) -> None:
    site = Site(tmp_path, breaker_nodes=2)
    site.hold("n0-0")
    site.isolated()
    site.consider("n1-0")
    site.drop("n0-0")
    for _ in range(3):
        site.step(31)
    assert (site.state("n0-0"), site.ran, site.rows()[0][1]) == (State.ISOLATED, [], "waiting")


def test_what_only_history_asked_for_is_run_when_it_just_happens_again(site: Site) -> None:
    site.isolated("n0-0", Follow.NONE)
    site.consider("n0-0", rule="another", follow=Follow.RESET, fresh=False)
    site.step(31)
    assert site.ran == []
    site.consider("n0-0", rule="third", follow=Follow.RESET)
    assert not site.intent("n0-0").evidence["follow_asked"]
    site.lifecycle.following.approve(1, actor="ada")  # its row waits for a person already
    site.step(31)
    assert len(site.ran) == 1


def test_an_approval_that_a_freeze_stopped_is_not_begun_by_its_end(tmp_path: Path) -> None:
    site = Site(tmp_path, hooks={Follow.RESET: replace(RESET, mode=FollowMode.APPROVE)})
    site.isolated()
    site.lifecycle.following.approve(1, actor="ada")
    site.freeze.freeze(reason="stop", actor="bob")
    site.step(31)
    site.freeze.unfreeze(reason="go", actor="bob")
    site.step(31)
    assert (site.ran, site.rows()[0][1]) == ([], "waiting")


def test_an_approval_that_comes_while_it_is_looked_at_is_not_lost(tmp_path: Path) -> None:
    site = Site(tmp_path, hooks={Follow.RESET: replace(RESET, mode=FollowMode.SHADOW)})
    following = site.lifecycle.following
    call = following._call
    asked: list[str] = []

    def calling(*told: Any) -> FollowCall:
        if not asked:
            asked.append("once")
            following.approve(1, actor="ada")
        return call(*told)

    following._call = calling  # type: ignore[method-assign]
    site.isolated()
    site.step(31)
    assert len(site.ran) == 1


def test_where_no_thread_can_be_had_it_waits_for_a_person_and_keeps_nobody_busy(site: Site) -> None:
    def none(work: Callable[[], None]) -> None:
        raise RuntimeError("can't start new thread")

    object.__setattr__(site.follow, "start", none)
    site.isolated()
    assert site.ran == []
    assert site.rows() == [("reset", "waiting", "it could not be begun: can't start new thread")]
    object.__setattr__(site.follow, "start", lambda work: work())
    site.lifecycle.following.approve(1, actor="ada")
    site.step(31)
    assert len(site.ran) == 1


def test_others_drain_is_theirs_and_nothing_is_reset_under_it(site: Site) -> None:
    site.hold("n0-0")
    site.isolated()
    site.scheduler.standing_of["n0-0"] = "root: mine now"
    site.drop("n0-0")
    site.step(31)
    assert (site.state("n0-0"), site.ran) == (State.OTHERS, [])
