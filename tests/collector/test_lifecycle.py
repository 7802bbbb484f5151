"""From wanted to released: what is lost is placed again, what others did is left alone, everything has a way out."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.collector.isolation_world import World

from ullage_collector.isolate.actuator import Target
from ullage_collector.isolate.intent import State
from ullage_collector.isolate.policy_settings import Override
from ullage_collector.isolate.verdict import Action, Follow, Mode, Turn
from ullage_collector.isolate.way_back import ProbeAnswer

DAY = 86400.0


class Probe:
    """A prober that answers what it is told to."""

    def __init__(self, answer: ProbeAnswer) -> None:
        self.answer = answer
        self.asked: list[tuple[int, str]] = []

    def probe(self, isolation_id: int, incident_id: int | None, target: Target) -> ProbeAnswer:
        self.asked.append((isolation_id, target.subject))
        return self.answer

    def forget(self, isolation_id: int) -> None:
        """It remembers nothing."""


def test_work_is_let_finish_before_the_card_counts_as_isolated() -> None:
    world = World()
    world.hold("n0-0")
    world.consider("n0-0")
    world.step()
    assert world.state("n0-0") is State.WAITING
    world.drop("n0-0")
    world.step(31)
    assert world.state("n0-0") is State.ISOLATED


def test_work_is_ended_only_where_a_rule_opted_in_and_after_its_deadline() -> None:
    world = World(overrides=(Override(rule="dbe", drain="end"),), drain_deadline_seconds=600)
    for card, rule in (("n0-0", "dbe"), ("n1-0", "other")):
        world.hold(card)
        world.consider(card, rule=rule, action=Action.DRAIN_CARD)
    world.step()
    world.step(599)
    assert "end_work n0-0" not in world.scheduler.calls
    world.step(31)
    world.step(31)
    assert world.scheduler.calls == ["isolate n0-0", "isolate n1-0", "end_work n0-0"]


def test_a_passed_probe_then_a_day_of_probation_and_it_is_released() -> None:
    world = World()
    world.prober = probe = Probe(ProbeAnswer.PENDING)
    world.restart()
    verdict = world.consider("n0-0")
    world.step()
    world.end(verdict)
    world.step(31)
    assert world.state("n0-0") is State.PROBING
    probe.answer = ProbeAnswer.PASSED
    world.step(31)
    assert world.state("n0-0") is State.PROBATION
    assert world.scheduler.standing_of == {}
    assert {number for number, _ in probe.asked} == {1}
    world.step(DAY - 60)
    assert world.state("n0-0") is State.PROBATION
    world.step(61)
    assert world.state("n0-0") is State.RELEASED


def test_a_probe_waits_until_nobody_holds_the_card() -> None:
    world = World()
    world.prober = probe = Probe(ProbeAnswer.PASSED)
    world.restart()
    world.hold("n0-0")
    verdict = world.consider("n0-0")
    world.step()
    world.end(verdict)
    world.step(31)
    assert probe.asked == [] and world.state("n0-0") is State.WAITING


@pytest.mark.parametrize(
    ("answer", "follow"),
    [
        (ProbeAnswer.FAILED, Follow.REBOOT),
        (ProbeAnswer.PENDING, Follow.RESET),  # nobody looked: not known to be worse
        (ProbeAnswer.UNPROBED, Follow.RESET),
    ],
)
def test_a_probe_that_does_not_pass_keeps_the_card_and_only_a_failed_one_goes_a_level_up(
    answer: ProbeAnswer, follow: Follow
) -> None:
    world = World()
    world.prober = Probe(answer)
    world.restart()
    verdict = world.consider("n0-0", follow=Follow.RESET)
    world.step()
    world.end(verdict)
    world.step(31)
    world.step(1600)
    intent = world.intent("n0-0")
    assert (intent.state, intent.follow) == (State.ISOLATED, follow)
    assert "probe" in world.pages.told[-1][1]
    world.step(DAY)
    assert world.state("n0-0") is State.ISOLATED
    world.isolation.release("n0-0", reason="replaced", actor="ada", execute_calls=True)
    assert world.state("n0-0") is State.GIVEN_BACK
    assert world.scheduler.standing_of == {}


def test_what_comes_again_in_probation_is_isolated_again_one_level_up() -> None:
    world = World()
    verdict = world.consider("n0-0", follow=Follow.RESET)
    world.step()
    world.end(verdict)
    world.step(31)
    assert world.state("n0-0") is State.PROBATION
    world.clock.advance(700)
    world.consider("n0-0")
    world.step()
    intent = world.intent("n0-0")
    assert (intent.state, intent.follow, intent.parent_id) == (State.ISOLATED, Follow.REBOOT, 1)
    assert world.scheduler.calls == ["isolate n0-0", "release n0-0", "isolate n0-0"]


def test_what_has_to_be_replaced_only_a_person_gives_back() -> None:
    world = World()
    verdict = world.consider("n0-0", follow=Follow.REPLACE)
    world.step()
    world.end(verdict)
    world.step(31)
    world.step(8 * DAY)
    assert world.state("n0-0") is State.ISOLATED
    assert any("decide" in text for _, text in world.pages.told), "isolated for a week is told"


def test_one_of_two_cards_that_recovers_does_not_release_the_node() -> None:
    world = World(node_instead_of_card=Mode.AUTOMATIC)
    world.default = ("fake-node",)
    world.restart()
    one = world.consider("n0-0")
    world.step()
    two = world.consider("n0-1")
    world.step()
    world.end(one)
    world.step(31)
    assert world.scheduler.calls == ["isolate n0"]
    world.end(two)
    world.step(31)
    assert world.scheduler.calls == ["isolate n0", "release n0"]


@pytest.mark.parametrize("how", ["cancelled", "restarted and cancelled"])
def test_a_fence_that_was_lost_is_placed_again(how: str) -> None:
    world = World()
    world.consider("n0-0")
    world.step()
    world.scheduler.standing_of.clear()
    if "restarted" in how:
        world.restart()
    world.step(31)
    assert world.scheduler.calls == ["isolate n0-0"] * 2
    assert world.state("n0-0") is State.ISOLATED
    assert "reconcile" in world.audit("n0-0")
    assert world.db.execute("SELECT count(*) FROM isolation").fetchone() == (1,)


def test_who_takes_the_fence_away_again_and_again_means_it() -> None:
    world = World()
    world.consider("n0-0")
    world.step()
    for _ in range(6):
        world.scheduler.standing_of.clear()
        world.step(31)
    assert len(world.scheduler.calls) == 4
    assert world.state("n0-0") is State.ADVISED
    assert "somebody means it" in world.pages.told[-1][1]


def test_what_others_took_over_is_shown_and_never_touched() -> None:
    world = World()
    verdict = world.consider(None, node="n0", action=Action.ISOLATE_NODE)
    world.step()
    world.scheduler.standing_of["n0"] = "root: disk swap"
    world.step(31)
    assert world.state("n0") is State.OTHERS
    world.end(verdict)
    world.step(31)
    assert world.state("n0") is State.RELEASED
    assert world.scheduler.standing_of["n0"] == "root: disk swap"
    assert world.scheduler.calls == ["isolate n0"]
    assert world.db.execute("SELECT released_by FROM isolation").fetchall() == [("others",)]


def test_a_node_that_others_give_back_while_its_fault_is_open_is_a_persons_decision() -> None:
    world = World()
    world.consider(None, node="n0", action=Action.ISOLATE_NODE)
    world.step()
    world.scheduler.standing_of["n0"] = "root: disk swap"
    world.step(31)
    world.scheduler.standing_of.clear()
    world.step(31)
    assert world.state("n0") is State.ADVISED
    assert world.scheduler.calls == ["isolate n0"]


def test_a_drain_of_somebody_else_is_neither_doubled_nor_undone() -> None:
    world = World()
    world.scheduler.others["n0"] = "NHC: disk"
    world.consider(None, node="n0", action=Action.ISOLATE_NODE)
    world.step()
    world.step(31)
    assert world.scheduler.calls == []
    assert world.state("n0") is State.ADVISED


def test_a_scheduler_that_is_away_is_waited_for_and_what_waited_too_long_is_advice() -> None:
    world = World()
    world.step()
    world.consider("n0-0")
    world.scheduler.silent = True
    world.step()
    world.step(60)
    assert world.state("n0-0") is State.WANTED
    world.scheduler.silent = False
    world.step(60)
    assert world.state("n0-0") is State.ISOLATED
    world.consider("n1-0")
    world.scheduler.silent = True
    for _ in range(20):
        world.step(61)
    assert world.state("n1-0") is State.ADVISED
    world.scheduler.silent = False
    world.step(61)
    assert world.scheduler.calls == ["isolate n0-0"]


def test_a_scheduler_that_does_not_answer_changes_nothing_we_believe() -> None:
    world = World()
    world.consider("n0-0")
    world.step()
    world.scheduler.silent = True
    world.step(31)
    assert world.state("n0-0") is State.ISOLATED
    assert world.scheduler.calls == ["isolate n0-0"]


def test_a_card_that_cannot_be_isolated_goes_to_its_node_and_a_person() -> None:
    world = World()
    world.scheduler.refuse = {"isolate"}
    verdict = world.consider("n0-0")
    for _ in range(4):
        world.step(61)
    assert world.state("n0-0") is State.FAILED
    assert world.state("n0") is State.ASKED
    assert any("failed" in text for _, text in world.pages.told)
    assert world.db.execute("SELECT count(*) FROM isolation WHERE released_at IS NULL").fetchone() == (0,)
    world.scheduler.refuse = set()
    world.policy.approve(verdict.incident_id, actor="ada")
    world.step()
    assert world.scheduler.calls == ["isolate n0"]


def test_a_call_that_failed_after_it_took_effect_is_believed_for_what_stands() -> None:
    from ullage_contract.errors import ActuatorError

    world = World()

    def broken(verb: str, target: Target) -> None:
        raise ActuatorError("the answer was lost")

    world.scheduler.after = broken
    world.consider("n0-0")
    world.step()
    assert world.state("n0-0") is State.ISOLATED
    assert world.scheduler.calls == ["isolate n0-0"]


def test_two_cards_with_faults_of_the_nodes_side_take_the_node() -> None:
    world = World()
    world.consider("n0-0", rule="pcie-width")
    world.step()
    assert "n0" not in {intent.subject for intent in world.book.live()}
    world.consider("n0-1", rule="nvlink-down")
    world.step()
    world.step()
    assert world.scheduler.calls == ["isolate n0-0", "isolate n0-1", "isolate n0"]
    assert "2 of 8 cards" in world.intent("n0").reason


def test_two_cards_with_faults_of_their_own_do_not_and_all_of_them_do() -> None:
    world = World(cards_per_node=2, cards_per_window=9)
    world.consider("n0-0")
    world.step()
    world.consider("n1-0")
    world.step()
    assert world.scheduler.calls == ["isolate n0-0", "isolate n1-0"]
    world.consider("n0-1")
    world.step()
    world.step()
    assert world.scheduler.calls[-1] == "isolate n0"


def test_a_persons_isolation_is_watched_placed_again_and_ends_at_its_time() -> None:
    world = World(mode=Mode.ADVISE)
    until = world.clock.wall() + 7200
    world.isolation.isolate("n0-0", reason="noise", actor="ada", execute_calls=True, until=until)
    world.step(31)
    assert (world.state("n0-0"), world.intent("n0-0").mode) == (State.ISOLATED, "person")
    world.scheduler.standing_of.clear()
    world.step(31)
    assert world.scheduler.calls == ["isolate n0-0"] * 2
    world.step(7200)
    assert world.state("n0-0") is State.RELEASED
    assert world.scheduler.standing_of == {}


def test_a_person_who_gives_back_what_the_policy_isolated_is_left_alone() -> None:
    world = World()
    world.consider("n0-0")
    world.step()
    world.isolation.release("n0-0", reason="false alarm", actor="ada", execute_calls=True)
    assert world.state("n0-0") is State.GIVEN_BACK
    world.step(31)
    world.clock.advance(700)
    world.consider("n0-0", rule="ecc")
    world.step()
    assert world.state("n0-0") is State.ADVISED
    assert world.scheduler.calls == ["isolate n0-0", "release n0-0"]


def test_while_frozen_what_was_lost_is_told_and_not_placed_again() -> None:
    world = World()
    world.consider("n0-0")
    world.step()
    world.freeze.freeze(reason="stop", actor="ada")
    world.scheduler.standing_of.clear()
    world.step(31)
    assert world.scheduler.calls == ["isolate n0-0"]
    assert "frozen" in world.pages.told[-1][1]
    world.freeze.unfreeze(reason="go", actor="ada")
    world.step(31)
    assert world.scheduler.calls == ["isolate n0-0"] * 2


def test_an_incident_that_was_closed_beside_us_ends_what_stands_for_it() -> None:
    world = World()
    world.db.execute(
        "INSERT INTO incident (incident_id, family, subject, cause, severity, onset, opened_at, confirmed, action, "
        "evidence, history, origin) VALUES (1, 'card', 'n0-0', 'x', 'fatal', now()::TIMESTAMP, now()::TIMESTAMP, "
        "true, 'isolate_card', '[]', false, 'real')"
    )
    world.consider("n0-0", incident=1)
    world.step()
    world.db.execute(
        "UPDATE incident SET closed_at = now()::TIMESTAMP, closed_by = 'event' WHERE incident_id = 1"
    )
    world.step(31)
    assert world.state("n0-0") is State.PROBATION


def test_a_fault_that_comes_while_the_card_is_released_takes_it_out_again() -> None:
    world = World()
    verdict = world.consider("n0-0", follow=Follow.RESET)
    world.step()
    world.end(verdict)
    second = world.verdict("n0-0", rule="ecc")
    world.scheduler.after = lambda verb, target: world.policy.consider(second) if verb == "release" else None
    world.clock.advance(601)
    second = replace(second, decided_us=round(world.clock.wall() * 1e6), turn=Turn.OPENED)
    world.lifecycle.step()
    world.lifecycle.step()
    intent = world.intent("n0-0")
    assert (intent.state, intent.follow) == (State.ISOLATED, Follow.REBOOT)
    assert world.scheduler.calls == ["isolate n0-0", "release n0-0", "isolate n0-0"]


def test_nodes_are_served_side_by_side_and_one_that_hangs_stops_no_other() -> None:
    import threading
    import time

    world = World(cards_per_window=99, breaker=False, parallel_calls=4)
    stuck = threading.Event()
    world.scheduler.before = lambda verb, target: stuck.wait(20) if target.node_id == "n0" else None
    for n in range(6):
        world.consider(f"n{n}-0")
    stop = threading.Event()
    thread = threading.Thread(target=world.lifecycle.run, args=(stop,))
    thread.start()
    try:
        for _ in range(400):
            if len(world.scheduler.calls) == 5:
                break
            time.sleep(0.05)
        assert sorted(world.scheduler.calls) == [f"isolate n{n}-0" for n in range(1, 6)]
    finally:
        stuck.set()
        stop.set()
        thread.join(30)
    assert not thread.is_alive()


def test_a_person_and_a_rule_that_want_the_same_card_are_one_fence_and_one_row() -> None:
    world = World()
    sync = world.isolation.on_change
    world.isolation.on_change = lambda: None  # as if the process died before it took note
    world.isolation.isolate("n0-0", reason="noise", actor="bob", execute_calls=True)
    world.isolation.on_change = sync
    world.consider("n0-0")
    world.step()
    live = world.book.live()
    assert [(intent.subject, intent.state) for intent in live] == [("n0-0", State.ISOLATED)]
    assert world.scheduler.calls == ["isolate n0-0"]
    assert world.db.execute("SELECT count(*) FROM isolation").fetchone() == (1,)


def test_what_a_verdict_raised_meanwhile_is_not_lost_by_a_step_that_read_before() -> None:
    world = World()
    world.consider("n0-0")
    world.step()
    before = world.intent("n0-0")
    world.consider("n0-0", rule="other", follow=Follow.RESET)
    assert world.intent("n0-0").follow is Follow.RESET
    with world.book.change() as change:
        change.move(before, State.ISOLATED, "read before the verdict came")
    assert world.intent("n0-0").follow is Follow.RESET
    world.restart()
    assert world.intent("n0-0").follow is Follow.RESET
