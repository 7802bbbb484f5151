"""Resets, reboots and replacements: run once, on what is isolated and free, never while frozen, never twice after a crash."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.collector.isolation_world import World

from ullage_collector.isolate.follow_call import Ended, FollowCall, Outcome
from ullage_collector.isolate.follow_settings import FollowMode, FollowSettings, Hook
from ullage_collector.isolate.following import FollowMeans
from ullage_collector.isolate.intent import State
from ullage_collector.isolate.verdict import Action, Follow, Mode, Turn, Verdict
from ullage_collector.isolate.way_back import ProbeAnswer
from ullage_contract.errors import ActuatorError, BadInput

RESET = Hook(argv=("/bin/reset", "{node}", "{minor}"), mode=FollowMode.AUTOMATIC)
REBOOT = Hook(argv=("/bin/reboot", "{node}"), mode=FollowMode.AUTOMATIC)
TICKET = Hook(argv=("/bin/ticket", "{serial}", "{bundle}"), mode=FollowMode.AUTOMATIC)
ALL = {Follow.RESET: RESET, Follow.REBOOT: REBOOT, Follow.REPLACE: TICKET}


class Prober:
    def __init__(self) -> None:
        self.asked: list[str] = []
        self.answers: dict[str, ProbeAnswer] = {}

    def probe(self, isolation_id: int, incident_id: int | None, target: Any) -> ProbeAnswer:
        self.asked.append(target.subject)
        return self.answers.get(target.subject, ProbeAnswer.PASSED)

    def forget(self, isolation_id: int) -> None:
        """It remembers nothing."""


class Site(World):
    """A world whose programs are noted instead of run. heard: when its scheduler last answered, None: never."""

    def __init__(self, folder: Path, *, hooks: dict[Follow, Hook] | None = None, **settings: Any) -> None:
        self.ran: list[FollowCall] = []
        self.ends: list[Ended] = []
        self.later: list[Callable[[], None]] = []
        self.side_by_side = False
        self.ending: set[str] = set()
        self.heard: float | None = -1.0
        self.folder = folder
        self.hooks = ALL if hooks is None else hooks
        super().__init__(4, 4, **settings)
        self.prober = Prober()
        self.restart()

    def restart(self) -> None:
        self.follow = FollowMeans(
            settings=FollowSettings(hooks=self.hooks),
            ends_itself=lambda rule: rule in self.ending,
            heard=lambda cluster: self.clock.wall() if self.heard == -1.0 else self.heard,
            bundle=lambda incident: {"incident": incident},
            bundles=self.folder,
            run=self.run_call,
            start=lambda work: self.later.append(work) if self.side_by_side else work(),
        )
        super().restart()

    def run_call(self, call: FollowCall) -> Ended:
        assert not self.freeze.frozen, "run while frozen"
        self.ran.append(call)
        return self.ends.pop(0) if self.ends else Ended(Outcome.DONE, "ok")

    def faulty(self, card: str = "n0-0", follow: Follow = Follow.RESET, **more: Any) -> Verdict:
        """An incident in the store and its verdict."""
        verdict = self.verdict(card, follow=follow, **more)
        self.db.execute(
            "INSERT INTO incident (incident_id, family, subject, cause, severity, onset, opened_at, confirmed, action, "
            "evidence, history, origin, cluster_id, node_id) "
            "VALUES (?, 'card', ?, ?, 'fatal', '2026-11-01', '2026-11-01', true, 'isolate_card', '[]', false, 'real', 'c', ?)",
            [verdict.incident_id, verdict.subject, verdict.rule, verdict.node_id],
        )
        self.policy.consider(verdict)
        return verdict

    def isolated(self, card: str = "n0-0", follow: Follow = Follow.RESET, **more: Any) -> Verdict:
        verdict = self.faulty(card, follow, **more)
        self.step()
        self.step(31)
        return verdict

    def rows(self) -> list[tuple[str, str, str | None]]:
        return [
            (str(a), str(b), c)
            for a, b, c in self.db.execute(
                "SELECT follow, state, result FROM isolation_follow ORDER BY changed_at, follow"
            ).fetchall()
        ]


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


LESS: list[dict[str, Any]] = [{"mode": Mode.SHADOW}, {"mode": Mode.ADVISE}, {"fresh": False}]


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
