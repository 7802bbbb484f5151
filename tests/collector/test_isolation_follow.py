"""Resets, reboots and replacements: run once, never twice after a crash, and what becomes of the card by how they ended."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.collector.follow_world import REBOOT, Prober, Site

from ullage_collector.isolate.follow_call import Ended, FollowCall, Outcome
from ullage_collector.isolate.follow_settings import FollowMode, Hook
from ullage_collector.isolate.intent import State
from ullage_collector.isolate.verdict import Action, Follow, Turn
from ullage_collector.isolate.way_back import ProbeAnswer
from ullage_contract.errors import ActuatorError, BadInput


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


def test_a_reset_is_run_probed_and_the_card_is_back_in_service(site: Site) -> None:
    verdict = site.isolated()
    assert [call.argv for call in site.ran] == [("/bin/reset", "n0", "0")]
    assert site.state("n0-0") is State.ISOLATED and site.prober.asked == []  # it settles first
    told: list[None] = []
    site.policy.on_closed = lambda: told.append(None)
    for _ in range(30):
        site.step(31)
    assert site.prober.asked == ["n0-0"]
    assert (site.state("n0-0"), site.scheduler.standing_of, len(site.ran)) == (State.PROBATION, {}, 1)
    assert site.db.execute(
        "SELECT closed_by FROM incident WHERE incident_id = ?", [verdict.incident_id]
    ).fetchone() == ("reset done, probe passed",)
    assert told == [None]
    audits = site.audit("n0-0")
    assert (
        audits.index("isolate")
        < audits.index("reset")
        < audits.index("close_incident")
        < audits.index("release")
    )


def test_before_it_runs_the_store_says_that_it_is_about_to(site: Site) -> None:
    seen: list[Any] = []

    def look(call: FollowCall) -> Ended:
        seen.append(site.db.execute("SELECT state, begun_at IS NOT NULL FROM isolation_follow").fetchone())
        seen.append(site.db.execute("SELECT result FROM audit WHERE action = 'reset'").fetchall())
        return Ended(Outcome.DONE, "ok")

    assert site.follow is not None
    object.__setattr__(site.follow, "run", look)
    site.isolated()
    assert seen == [("running", True), [("about to be run",)]]
    assert site.db.execute(
        "SELECT result FROM audit WHERE action = 'reset' ORDER BY audit_id"
    ).fetchall() == [
        ("about to be run",),
        ("done: ok",),
    ]


def test_after_a_crash_it_is_never_run_again_and_a_person_is_paged(site: Site) -> None:
    site.side_by_side = True
    site.isolated()
    assert site.rows()[0][1] == "running"
    site.later.clear()  # the process dies with it
    site.restart()
    for _ in range(50):
        site.step(601)
    assert (site.ran, site.rows()[0][1], site.state("n0-0")) == ([], "unknown", State.ISOLATED)
    assert any("nobody knows" in text for _, text in site.pages.told)
    with pytest.raises(BadInput, match="once only"):
        site.lifecycle.following.approve(site.incidents, actor="ada")


def test_an_unknown_end_keeps_the_card_even_when_its_incident_ends(site: Site) -> None:
    site.ends = [Ended(Outcome.UNKNOWN, "did not end within 5 s")]
    verdict = site.isolated()
    site.step(31)
    site.end(verdict)
    site.step(7300)
    assert site.state("n0-0") is State.ISOLATED
    site.isolation.release("n0-0", reason="looked", actor="ada", execute_calls=True)
    assert site.scheduler.standing_of == {}


def test_once_an_incident(site: Site) -> None:
    site.isolated()
    for _ in range(10):
        site.step(31)
        site.policy.consider(replace(site.verdict("n0-0", follow=Follow.RESET), incident_id=site.incidents))
    assert len(site.ran) == 1


def test_a_reset_that_failed_goes_one_level_up_and_a_card_is_no_reason_to_reboot_its_node(site: Site) -> None:
    site.ends = [Ended(Outcome.FAILED, "/bin/reset ended with 1")]
    site.isolated()
    for _ in range(5):
        site.step(31)
    assert [call.argv[0] for call in site.ran] == ["/bin/reset"]
    assert site.intent("n0-0").follow is Follow.REBOOT
    assert site.rows()[-1][0] == "reboot" and "whole node" in str(site.rows()[-1][2])
    assert any("next is reboot" in text for _, text in site.pages.told)


def test_a_node_is_rebooted_when_all_its_work_is_gone_and_every_card_is_probed(site: Site) -> None:
    site.hold("n1-3")
    site.isolated("n1-0", Follow.REBOOT, action=Action.ISOLATE_NODE)
    assert site.ran == []
    site.drop("n1-3")
    site.step(31)
    assert [call.argv for call in site.ran] == [("/bin/reboot", "n1")]
    site.prober.answers = {"n1-2": ProbeAnswer.PENDING}
    for _ in range(25):
        site.step(31)
    assert site.state("n1") is State.PROBING
    assert site.prober.asked.count("n1-1") == 1  # what passed is not asked again
    site.prober.answers = {}
    site.step(31)
    site.step(31)
    assert site.state("n1") is State.PROBATION


def test_a_card_that_passed_before_another_fault_is_probed_again_after_it(site: Site) -> None:
    assert isinstance(site.prober, Prober)
    site.prober.answers = {"n1-2": ProbeAnswer.PENDING}
    site.ending = {"another"}
    site.isolated("n1-0", Follow.REBOOT, action=Action.ISOLATE_NODE)
    for _ in range(25):
        site.step(31)
    assert site.state("n1") is State.PROBING and "n1-1" in site.prober.asked
    another = site.consider("n1-1", rule="another")
    site.step(31)
    assert site.state("n1") is State.ISOLATED
    site.end(another)
    site.prober.asked.clear()
    site.prober.answers = {}
    for _ in range(3):
        site.step(31)
    assert (site.state("n1"), sorted(site.prober.asked)) == (
        State.PROBATION,
        ["n1-0", "n1-1", "n1-2", "n1-3"],
    )


def test_a_failed_probe_after_a_reset_is_a_persons(site: Site) -> None:
    site.prober.answers = {"n0-0": ProbeAnswer.FAILED}
    site.isolated()
    for _ in range(40):
        site.step(31)
    assert (site.state("n0-0"), site.intent("n0-0").follow) == (State.ISOLATED, Follow.REBOOT)
    assert len(site.ran) == 1 and site.rows()[-1][:2] == ("reboot", "waiting")


def test_without_probes_what_was_done_proves_nothing(site: Site) -> None:
    site.prober = None
    site.restart()
    site.isolated()
    for _ in range(40):
        site.step(31)
    assert (len(site.ran), site.state("n0-0")) == (1, State.ISOLATED)


def test_a_fault_that_ends_by_itself_is_waited_for(site: Site) -> None:
    """Links that are still down after the reset are no reason to give the card back."""
    site.ending = {"xid-fatal"}
    verdict = site.isolated()
    for _ in range(40):
        site.step(31)
    assert site.state("n0-0") is State.ISOLATED
    site.end(verdict)
    for _ in range(3):
        site.step(31)
    assert site.state("n0-0") is State.PROBATION


def test_another_fault_after_the_reset_keeps_the_card(site: Site) -> None:
    site.isolated()
    site.consider("n0-0", rule="another")
    for _ in range(40):
        site.step(31)
    assert site.state("n0-0") is State.ISOLATED


def test_what_has_to_be_replaced_is_asked_for_once_with_its_bundle(site: Site) -> None:
    site.db.execute("UPDATE card SET serial = '1652922012345' WHERE card_id = 'n0-0'")
    site.isolated(follow=Follow.REPLACE)
    for _ in range(40):
        site.step(31)
    path = site.folder / f"incident-{site.incidents}.json"
    assert [call.argv for call in site.ran] == [("/bin/ticket", "1652922012345", str(path))]
    assert (path.read_text().split(), path.stat().st_mode & 0o777) == (
        ["{", '"incident":', str(site.incidents), "}"],
        0o600,
    )
    assert site.state("n0-0") is State.ISOLATED


def test_a_serial_nobody_knows_is_not_made_up(site: Site) -> None:
    site.isolated(follow=Follow.REPLACE)
    assert (site.ran, site.rows()[0][1]) == ([], "held")
    assert "{serial} is not known" in str(site.rows()[0][2])


def test_nothing_is_released_while_it_runs(site: Site) -> None:
    site.side_by_side = True
    verdict = site.isolated()
    with pytest.raises(BadInput, match="runs now"):
        site.isolation.release("n0-0", reason="x", actor="ada", execute_calls=True)
    site.end(verdict)
    site.step(31)
    assert site.state("n0-0") is State.ISOLATED
    site.later.pop()()
    site.step(31)
    assert site.state("n0-0") is not State.ISOLATED


def test_what_nobody_knows_is_not_released_when_its_fault_ends_meanwhile(site: Site) -> None:
    site.side_by_side = True
    site.ends = [Ended(Outcome.UNKNOWN, "did not end within 1500 s")]
    verdict = site.isolated()
    site.end(verdict)
    site.later.pop()()
    for _ in range(5):
        site.step(31)
    assert site.state("n0-0") is State.ISOLATED
    assert any("nobody knows" in text for _, text in site.pages.told)


def test_nor_after_a_crash(site: Site) -> None:
    site.side_by_side = True
    site.end(site.isolated())
    site.later.clear()
    site.restart()
    for _ in range(5):
        site.step(31)
    assert site.state("n0-0") is State.ISOLATED
    assert any("nobody knows" in text for _, text in site.pages.told)


def test_what_failed_is_told_also_when_its_fault_ends_meanwhile(site: Site) -> None:
    site.side_by_side = True
    site.ends = [Ended(Outcome.FAILED, "in use")]
    site.end(site.isolated())
    site.later.pop()()
    site.step(31)
    assert any("next is reboot" in text for _, text in site.pages.told)


def test_what_nobody_knows_is_no_reason_to_do_more(tmp_path: Path) -> None:
    """A verdict asks for a reboot while the reset runs, and how that ends nobody knows."""
    node_reset = Hook(argv=("/bin/reset-all", "{node}"), mode=FollowMode.AUTOMATIC)
    site = Site(tmp_path, hooks={Follow.RESET: node_reset, Follow.REBOOT: REBOOT})
    site.side_by_side = True
    site.ends = [Ended(Outcome.UNKNOWN, "cut off")]
    first = site.isolated("n0-0", Follow.RESET, action=Action.ISOLATE_NODE)
    site.consider(
        "n0-0",
        incident=first.incident_id,
        action=Action.ISOLATE_NODE,
        follow=Follow.REBOOT,
        turn=Turn.WORSENED,
    )
    for _ in range(5):
        while site.later:
            site.later.pop()()
        site.step(31)
    assert [call.argv[0] for call in site.ran] == ["/bin/reset-all"]
    assert any("nobody knows" in text for _, text in site.pages.told)
    assert [row[1] for row in site.rows()] == ["unknown", "waiting"]


def test_a_store_that_cannot_be_told_the_end_calls_it_unknown(site: Site) -> None:
    site.side_by_side = True
    site.isolated()
    work = site.later.pop()
    saved = site.book.change

    def broken() -> Any:
        raise ActuatorError("disk full")

    site.book.change = broken  # type: ignore[method-assign]
    with pytest.raises(ActuatorError):
        work()
    site.book.change = saved  # type: ignore[method-assign]
    site.step(31)
    assert site.rows()[0][1] == "unknown" and len(site.ran) == 1
