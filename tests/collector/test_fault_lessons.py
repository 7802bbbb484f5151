"""What went wrong elsewhere, told as a story and held here: from the journal to the scheduler, on the real parts.

The stories are public issues of NVSentinel, gpud and node-problem-detector; each test says what happened there.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fault_fleet import DAY, UNLIMITED, FaultFleet

from ullage_collector.audit import naive_utc
from ullage_collector.detect.fault_settings import settings_of
from ullage_collector.detect.faults import shipped_rules
from ullage_collector.isolate.intent import STANDS, State
from ullage_collector.isolate.policy_settings import Override
from ullage_collector.isolate.probes import Probes
from ullage_collector.isolate.probing import NamedProbes
from ullage_collector.isolate.verdict import Action, Mode
from ullage_collector.journal import Record
from ullage_contract.errors import BadInput
from ullage_contract.event import Severity
from ullage_contract.sample import Family

HOUR = 3600.0


@pytest.fixture
def made(tmp_path: Path) -> Iterator[Any]:
    fleets: list[FaultFleet] = []

    def make(**options: Any) -> FaultFleet:
        fleets.append(FaultFleet(tmp_path / str(len(fleets)), **{**UNLIMITED, **options}))
        return fleets[-1]

    yield make
    for fleet in fleets:
        fleet.close()


def state_of(fleet: FaultFleet, subject: str) -> State | None:
    """The state of the live intent about a subject."""
    found = [intent for intent in fleet.book.live() if intent.subject == subject]
    return found[-1].state if found else None


def open_causes(fleet: FaultFleet) -> set[str]:
    return {row["cause"] for row in fleet.incidents(closed=False)}


# -------------------------------------------------------------------------------- recovery


@pytest.mark.parametrize("when", ["before it is told", "while the recovery waits in the journal"])
def test_a_recovery_is_understood_by_a_collector_that_was_restarted(made: Any, when: str) -> None:
    """NVSentinel PR 1825: a restarted monitor had lost its state, and the recovery was never reported."""
    fleet = made()
    fleet.push("n0", fleet.event("card_lost", "n0-0"))
    fleet.look(1)
    assert fleet.apart() == {"n0-0"}
    if when == "before it is told":
        fleet.restart()
        fleet.look(60)
        fleet.push("n0", fleet.event("card_back", "n0-0"))
    else:
        fleet.push("n0", fleet.event("card_back", "n0-0"))
        fleet.clock.advance(60)
        fleet.restart()
    fleet.look(31)
    fleet.look(31)
    assert open_causes(fleet) == set()
    assert fleet.apart() == set()
    assert state_of(fleet, "n0-0") is State.PROBATION


def test_a_recovery_told_by_an_agent_that_was_restarted_ends_the_fault_of_before(made: Any) -> None:
    """The same on the node's side: the agent's stream is a new one, the recovery is of the fault of the old one."""
    fleet = made()
    fleet.push("n0", fleet.event("source_blind", "n0", family=Family.NODE, severity=Severity.WARNING))
    fleet.push("n0", fleet.event("card_lost", "n0-3"))
    fleet.look(1)
    assert open_causes(fleet) == {"source_blind", "card_lost"}
    fleet._sequence.clear()  # a new stream counts from one again
    again = fleet.record(
        "n0", fleet.event("card_back", "n0-3"), fleet.event("source_back", "n0", family=Family.NODE)
    )
    fleet.journal.append([_on_stream(again, "f" * 32)])
    fleet.look(31)
    assert open_causes(fleet) == set()


def _on_stream(record: Record, stream: str) -> Record:
    return replace(record, stream=stream)


def test_one_of_two_cards_that_is_back_gives_the_node_not_back(made: Any) -> None:
    """NVSentinel PR 296: one of two faulty cards recovered, and the node was uncordoned with the other still broken."""
    fleet = made()
    fleet.push("n0", fleet.event("card_lost", "n0-0"))
    fleet.look(1)
    fleet.push("n0", fleet.event("card_lost", "n0-1"))
    fleet.look(1)
    fleet.push("n0", fleet.event("card_back", "n0-0"))
    for _ in range(4):
        fleet.look(31)
    assert "n0-1" in fleet.apart() or "n0" in fleet.apart()
    assert [row["subject"] for row in fleet.incidents(closed=False)] == ["n0-1"]
    assert not any(call == "release n0" for call in fleet.scheduler.calls)


# -------------------------------------------------------------------------------- stale events


@pytest.mark.parametrize("restarts", [0, 1])
def test_a_cold_start_acts_on_nothing_that_is_old(made: Any, restarts: int) -> None:
    """NVSentinel issue 1280: a cold start replayed stored events, and rebooted a node for a fault of days ago."""
    fleet = made()
    for card, code in (("n0-0", 95), ("n1-0", 79), ("n2-0", 48)):
        fleet.push(card[:2], fleet.xid(code, card))  # received in time, by a collector that then was away
    fleet.clock.advance(6 * HOUR)
    for _ in range(restarts):
        fleet.restart()
    fleet.look(1)
    fleet.look(31)
    assert fleet.scheduler.calls == []
    assert len(fleet.incidents()) == 3, "they are kept on record"


def test_an_agents_spool_of_six_hours_ago_acts_on_nothing(made: Any) -> None:
    fleet = made()
    fleet.push("n0", fleet.xid(95, "n0-0", ago=6 * HOUR), fleet.xid(79, "n0-1", ago=5 * HOUR))
    fleet.look(1)
    fleet.look(31)
    assert fleet.scheduler.calls == []
    fleet.push("n0", fleet.xid(95, "n0-0"))  # now it happens again, and counts
    fleet.look(1)
    assert fleet.apart() == {"n0-0"}


# -------------------------------------------------------------------------------- a way out


def test_every_rule_that_isolates_owns_a_way_out() -> None:
    """NVSentinel issue 911: a fatal check without an action left the node cordoned for ever."""
    for rule in shipped_rules():
        if rule.action is Action.OBSERVE or rule.signal == "none":
            continue
        by_itself = bool(rule.exit) or rule.exit_after_us is not None
        by_repair = rule.follow.value != "none"  # somebody resets, reboots or replaces it, and gives it back
        assert by_itself or by_repair or rule.says, f"{rule.name}: nothing says how it ends"


@pytest.mark.parametrize("code", [48, 95, 119, 79])
def test_who_gives_a_card_back_ends_its_incident_and_it_stays_back(made: Any, code: int) -> None:
    """NVSentinel issue 458: the fault was over, and the node stayed cordoned."""
    fleet = made()
    fleet.push("n0", fleet.xid(code, "n0-0"))
    fleet.look(1)
    (subject,) = fleet.apart()
    fleet.isolation.release(subject, reason="reset, tested", actor="ada", execute_calls=True)
    fleet.engine.forget_closed()
    for _ in range(5):
        fleet.look(31)
    assert fleet.apart() == set()
    assert open_causes(fleet) == set(), "the next fault of this card is a new one"
    fleet.look(fleet.settings.cooldown_seconds)
    fleet.push("n0", fleet.xid(code, "n0-0"))
    fleet.look(1)
    assert fleet.apart() in ({subject}, {"n0"}), "and is acted on again, a level up where the rule says so"


# -------------------------------------------------------------------------------- new rules


def test_a_new_rule_that_fits_every_node_isolates_nobody(made: Any) -> None:
    """NVSentinel issues 1663 and 1716: a new check marked every node of a model for replacement on its first day."""
    table = {
        "name": "new_check",
        "kind": "xid",
        "vendor": "nvidia",
        "codes": ["999"],
        "severity": "fatal",
        "action": "drain_node",
        "follow": "replace",
        "confirmed": True,
        "source": "a site's idea",
    }
    fleet = made(nodes=8, rules=settings_of({"fault": [table]}).rules, fleet_nodes=0, breaker=False)
    for n in range(8):
        fleet.push(f"n{n}", fleet.xid(999, f"n{n}-0"))
        fleet.look(1)
    fleet.look(31)
    assert fleet.scheduler.calls == []
    shipped = [rule for rule in shipped_rules() if rule.name not in BEFORE and rule.signal != "none"]
    assert {rule.mode for rule in shipped} == {Mode.SHADOW}


BEFORE = {
    "xid_fallen_off_the_bus",
    "xid_reset_needed",
    "xid_double_bit_error",
    "sxid_fatal",
    "card_lost",
    "ecc_uncontained",
    "ras_fatal",
    "offender_card",
    "offender_node",
}
"""Rules that advise as they ship; every other one counts in shadow until a site lets it do more."""


def test_a_rule_that_fits_many_nodes_at_once_asks_a_person_even_when_it_is_automatic(made: Any) -> None:
    fleet = made(nodes=8)
    for n in range(8):
        fleet.push(f"n{n}", fleet.xid(95, f"n{n}-0"))
    fleet.look(1)
    fleet.look(31)
    assert len(fleet.apart()) <= 2
    assert "fleet" in {row["family"] for row in fleet.incidents()} or fleet.policy.breaker.open()


def test_the_breaker_blocks_no_release(made: Any) -> None:
    """A tripped breaker has to stop what isolates, never what gives back: else a storm keeps the fleet out."""
    fleet = made(nodes=8, fleet_nodes=0)
    fleet.push("n0", fleet.event("card_lost", "n0-0"))
    fleet.look(1)
    assert fleet.apart() == {"n0-0"}
    for n in (1, 2, 3):
        fleet.push(f"n{n}", fleet.event("card_lost", f"n{n}-0"))
    fleet.look(1)
    assert "card_lost" in fleet.policy.breaker.open()
    stood = fleet.apart()
    fleet.push("n0", fleet.event("card_back", "n0-0"))
    fleet.look(31)
    fleet.look(31)
    assert "card_lost" in fleet.policy.breaker.open(), "it is still tripped"
    assert fleet.apart() == stood - {"n0-0"}


# -------------------------------------------------------------------------------- blindness


def test_a_source_that_went_blind_is_a_fault_of_its_own_and_no_cards(made: Any) -> None:
    """node-problem-detector issue 1168: a flood closed the kernel log's reader, and it stayed silent and green."""
    fleet = made()
    fleet.push(
        "n0", fleet.event("source_blind", "n0", family=Family.NODE, severity=Severity.WARNING, source="kmsg")
    )
    fleet.look(1)
    (row,) = fleet.incidents(closed=False)
    assert (row["cause"], row["subject"], row["action"]) == ("source_blind", "n0", "observe")
    fleet.look(2 * HOUR)
    assert open_causes(fleet) == {"source_blind"}, "it stands until the source is back, however long"
    assert fleet.scheduler.calls == []
    fleet.push("n0", fleet.event("source_back", "n0", family=Family.NODE, severity=Severity.INFO))
    fleet.look(1)
    assert open_causes(fleet) == set()


def test_silence_of_a_node_is_neither_a_fault_nor_a_recovery(made: Any) -> None:
    fleet = made()
    fleet.push("n0", fleet.event("card_lost", "n0-0"))
    fleet.look(1)
    for _ in range(20):
        fleet.look(HOUR)
    assert fleet.apart() == {"n0-0"}
    assert open_causes(fleet) == {"card_lost"}


# -------------------------------------------------------------------------------- the checker


def test_a_card_is_probed_only_when_it_is_isolated_and_nobody_holds_it(made: Any) -> None:
    """gpud issue 1164: the checker's own probing filled the kernel log with errors. Ours touches no card in use."""
    fleet = made()
    probes = Probes(fleet.store.cursor, fleet.clock)
    with pytest.raises(BadInput):
        probes.ask(None, "n0-0", "memory", asked_by="a test")  # in service: refused whoever asks
    fleet.prober = NamedProbes(probes, ["memory"])
    fleet.restart()
    with fleet.store.write() as db:
        db.execute(
            "INSERT INTO allocation (allocation_id, workload_key, card_key, share_nano, valid_from, known_from, source) "
            "VALUES (nextval('allocation_number'), 1, 10, 1000000000, ?, ?, 'test')",
            [naive_utc(fleet.clock.wall() - 60)] * 2,
        )
    fleet.push("n0", fleet.event("card_lost", "n0-0"))
    fleet.look(1)
    fleet.push("n0", fleet.event("card_back", "n0-0"))
    fleet.look(31)
    fleet.look(31)
    assert probes.asked_of("c", "n0") == (), "a job holds it"
    with fleet.store.write() as db:
        db.execute("UPDATE allocation SET valid_to = ?", [naive_utc(fleet.clock.wall())])
    fleet.look(31)
    fleet.look(31)
    assert [one.card for one in probes.asked_of("c", "n0")] == ["n0-0"]
    assert probes.asked_of("c", "n1") == ()
    assert fleet.apart() == {"n0-0"}, "and it stays isolated until the probe has passed"


def test_a_repair_that_never_ends_is_not_in_progress_for_ever(made: Any) -> None:
    """NVSentinel issue 1808: a reboot that had failed counted as in progress for ever and blocked every other one."""
    fleet = made()
    fleet.prober = NamedProbes(Probes(fleet.store.cursor, fleet.clock), ["memory"])
    fleet.restart()
    fleet.push("n0", fleet.event("card_lost", "n0-0"))
    fleet.look(1)
    fleet.push("n0", fleet.event("card_back", "n0-0"))
    for _ in range(4):
        fleet.look(31)
    assert state_of(fleet, "n0-0") is State.PROBING
    fleet.look(fleet.settings.probe_seconds + 31)
    (intent,) = [one for one in fleet.book.live() if one.subject == "n0-0"]
    assert (intent.state, intent.follow.value) == (State.ISOLATED, "reboot"), "a person decides"
    assert any("not answered" in text for _, text in fleet.pages.told)
    fleet.push("n1", fleet.event("card_lost", "n1-0"))  # and nobody else waits for it
    fleet.look(1)
    assert "n1-0" in fleet.apart()


def test_a_fault_that_comes_again_after_the_reboot_goes_one_level_up(made: Any) -> None:
    fleet = made()
    fleet.push("n0", fleet.xid(95, "n0-0"), boot="boot-1")
    fleet.look(1)
    fleet.clock.advance(900)
    fleet.push("n0", fleet.xid(95, "n0-0"), boot="boot-2")
    fleet.look(1)
    (row,) = fleet.incidents(closed=False)
    assert (row["action"], row["subject"]) == ("isolate_node", "n0-0")


# -------------------------------------------------------------------------------- several at once


def test_one_fault_that_is_over_ends_no_other_of_the_same_card(made: Any) -> None:
    """NVSentinel issue 1252: one Xid cancelled another."""
    fleet = made()
    fleet.push("n0", fleet.event("card_lost", "n0-0"))
    fleet.look(1)
    fleet.push("n0", fleet.xid(95, "n0-0"))
    fleet.look(1)
    fleet.push("n0", fleet.event("card_back", "n0-0"))
    for _ in range(4):
        fleet.look(31)
    assert open_causes(fleet) == {"xid_reset_needed"}
    assert fleet.apart() == {"n0-0"}


@pytest.mark.parametrize("milder", [13, 31, 43, 45])
def test_a_programs_xid_takes_nothing_back_from_a_fatal_one(made: Any, milder: int) -> None:
    fleet = made(overrides=(Override(rule="xid_application", mode=Mode.AUTOMATIC),))
    fleet.push("n0", fleet.xid(milder, "n0-0"), fleet.xid(95, "n0-0"), fleet.xid(milder, "n0-0"))
    fleet.look(1)
    for _ in range(3):
        fleet.push("n0", fleet.xid(milder, "n0-0"))
        fleet.look(31)
    assert "xid_reset_needed" in open_causes(fleet)
    assert fleet.apart() == {"n0-0"}
    fleet.look(2 * DAY)
    assert fleet.apart() == {"n0-0"}, "what is quiet is not repaired"
    assert all(intent.state in STANDS for intent in fleet.book.live() if intent.subject == "n0-0")
