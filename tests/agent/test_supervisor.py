"""A maker's library may hang, crash, babble or vanish: that maker alone suffers, and only as little as can be."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import fake_maker
import pytest
from conftest import Kept

from ullage_agent.backend import Backend, Reading
from ullage_agent.children.supervisor import Supervisor
from ullage_contract.catalogue import Tier
from ullage_contract.clock import ManualClock
from ullage_contract.event import Event
from ullage_contract.sample import Facts

Supervise = Callable[..., Supervisor]


def _values(kept: Kept) -> dict[str, dict[str, object]]:
    return {reading.subject: dict(reading.values) for reading in kept.of(Reading)}


def test_every_card_comes_with_its_exact_values(supervise: Supervise, kept: Kept) -> None:
    report = supervise(fake_maker.backend).tick(Tier.FAST, kept)
    assert report.success, report.message
    assert report.children == 1
    assert _values(kept) == {card: fake_maker.FAST for card in fake_maker.CARDS}
    assert [f.subject for f in kept.of(Facts)] == list(fake_maker.CARDS)
    assert {r.counters_epoch for r in kept.of(Reading)} == {"load-1"}


def test_the_slow_tier_reads_both_tiers(supervise: Supervise, kept: Kept) -> None:
    supervise(fake_maker.backend).tick(Tier.SLOW, kept)
    assert _values(kept)["FAKE-2"] == {**fake_maker.FAST, **fake_maker.SLOW}


def test_one_child_serves_every_tick(supervise: Supervise, kept: Kept) -> None:
    supervisor = supervise(fake_maker.backend)
    for _ in range(20):
        assert supervisor.tick(Tier.FAST, kept).success
    assert supervisor.started == 1
    assert len(kept.of(Facts)) == len(fake_maker.CARDS), "facts are asked at start, not every tick"


def test_a_hanging_call_costs_that_metric_of_that_card_alone(
    supervise: Supervise, kept: Kept, control: Path
) -> None:
    (control / "hang@FAKE-1@power_watts").touch()
    supervisor = supervise(fake_maker.backend)
    report = supervisor.tick(Tier.FAST, kept)
    assert report.success, report.message
    readings = {r.subject: r for r in kept.of(Reading)}
    assert readings["FAKE-1"].failed == {"power_watts": "deadline"}
    assert readings["FAKE-1"].values == {k: v for k, v in fake_maker.FAST.items() if k != "power_watts"}
    for card in ("FAKE-0", "FAKE-2", "FAKE-3"):
        assert readings[card].values == fake_maker.FAST
        assert not readings[card].failed
    assert len(kept.of(Reading)) == 4, "asked again after the hang, yet every card once"
    (event,) = kept.of(Event)
    assert (event.kind, event.subject, event.attributes["call"]) == ("call_hung", "FAKE-1", "power_watts")
    assert supervisor.children == 1


def test_a_hung_call_is_left_alone_longer_each_time_and_forgotten_when_it_returns(
    supervise: Supervise, kept: Kept, control: Path, clock: ManualClock
) -> None:
    (control / "hang@FAKE-1@power_watts").touch()
    supervisor = supervise(fake_maker.backend)
    hung_at = []
    begin = clock.monotonic()
    for _ in range(80):
        before = len(kept.of(Event))
        supervisor.tick(Tier.FAST, kept)
        if len(kept.of(Event)) > before:
            hung_at.append(clock.monotonic() - begin)
        clock.advance(10)
    assert hung_at == [0, 60, 180, 420], "60 s, 120 s, 240 s, then 480 s"
    (control / "hang@FAKE-1@power_watts").unlink()
    clock.advance(480)
    kept.clear()
    supervisor.tick(Tier.FAST, kept)
    assert _values(kept)["FAKE-1"] == fake_maker.FAST
    assert not kept.of(Event)
    (control / "hang@FAKE-1@power_watts").touch()
    supervisor.tick(Tier.FAST, kept)
    clock.advance(61)
    (control / "hang@FAKE-1@power_watts").unlink()
    kept.clear()
    supervisor.tick(Tier.FAST, kept)
    assert not {r.subject: r for r in kept.of(Reading)}["FAKE-1"].failed, "back-off began anew at 60 s"


def test_a_card_that_hangs_in_everything_is_left_alone_as_a_whole(
    supervise: Supervise, kept: Kept, control: Path
) -> None:
    for key in fake_maker.FAST:
        (control / f"hang@FAKE-2@{key}").touch()
    supervisor = supervise(fake_maker.backend)
    report = supervisor.tick(Tier.FAST, kept)
    assert report.success, report.message
    readings = {r.subject: r for r in kept.of(Reading)}
    assert readings["FAKE-2"].failed == dict.fromkeys(fake_maker.FAST, "deadline")
    assert readings["FAKE-3"].values == fake_maker.FAST
    assert len(kept.of(Event)) == 3, "the fourth call was never tried"


def test_a_call_that_hangs_on_every_card_is_left_alone_on_all(
    supervise: Supervise, kept: Kept, control: Path
) -> None:
    for card in fake_maker.CARDS:
        (control / f"hang@{card}@power_watts").touch()
    supervise(fake_maker.backend).tick(Tier.FAST, kept)
    assert len(kept.of(Event)) == 3
    for reading in kept.of(Reading):
        assert reading.failed == {"power_watts": "deadline"}


def test_a_segfault_in_a_call_costs_that_call_alone(supervise: Supervise, kept: Kept, control: Path) -> None:
    (control / "segv@FAKE-0@temperature_celsius").touch()
    supervisor = supervise(fake_maker.backend)
    assert supervisor.tick(Tier.FAST, kept).success
    readings = {r.subject: r for r in kept.of(Reading)}
    assert readings["FAKE-0"].failed == {"temperature_celsius": "broken"}
    assert readings["FAKE-3"].values == fake_maker.FAST
    kinds = [e.kind for e in kept.of(Event)]
    assert kinds == ["backend_failed", "backend_back"]
    assert "SIGSEGV in temperature_celsius of FAKE-0" in kept.of(Event)[0].message


def test_a_reader_that_always_crashes_is_started_ever_more_rarely_and_told_once(
    supervise: Supervise, kept: Kept, control: Path, clock: ManualClock
) -> None:
    (control / "segv@@read").touch()
    supervisor = supervise(fake_maker.backend)
    for _ in range(360):  # an hour
        assert not supervisor.tick(Tier.FAST, kept).success
        clock.advance(10)
    assert supervisor.started < 25
    assert [e.kind for e in kept.of(Event)] == ["backend_failed"]
    (control / "segv@@read").unlink()
    clock.advance(301)
    assert supervisor.tick(Tier.FAST, kept).success
    assert [e.kind for e in kept.of(Event)] == ["backend_failed", "backend_back"]


def test_garbage_on_the_pipe_ends_the_child_and_the_next_one_works(
    supervise: Supervise, kept: Kept, control: Path, clock: ManualClock
) -> None:
    supervisor = supervise(fake_maker.backend)
    (control / "garbage@@events").touch()
    report = supervisor.tick(Tier.FAST, kept)
    assert not report.success
    assert "garbage" in (report.message or "")
    (control / "garbage@@events").unlink()
    clock.advance(300)
    kept.clear()
    assert supervisor.tick(Tier.FAST, kept).success
    assert _values(kept) == {card: fake_maker.FAST for card in fake_maker.CARDS}


def test_a_flood_is_cut_off(supervise: Supervise, kept: Kept, control: Path) -> None:
    (control / "flood@@events").touch()
    report = supervise(fake_maker.backend).tick(Tier.FAST, kept)
    assert "an answer of more than" in (report.message or "")
    assert len(kept.of(Reading)) == 4, "what came before the flood stands"


def test_an_endless_line_is_cut_off(supervise: Supervise, kept: Kept, control: Path) -> None:
    (control / "longline@@events").touch()
    assert "a line of more than" in (supervise(fake_maker.backend).tick(Tier.FAST, kept).message or "")


def test_a_library_that_prints_disturbs_nothing(supervise: Supervise, kept: Kept, control: Path) -> None:
    (control / "print@FAKE-0@power_watts").touch()
    assert supervise(fake_maker.backend).tick(Tier.FAST, kept).success


def test_a_reader_that_raises_keeps_its_child(supervise: Supervise, kept: Kept, control: Path) -> None:
    (control / "raise@@read").touch()
    supervisor = supervise(fake_maker.backend)
    report = supervisor.tick(Tier.FAST, kept)
    assert report.message == "read: the library answered 999"
    (control / "raise@@read").unlink()
    assert supervisor.tick(Tier.FAST, kept).success
    assert supervisor.started == 1


def test_a_slip_of_the_readers_own_says_where_and_debug_the_whole_way(
    supervise: Supervise, kept: Kept, control: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (control / "slip@@read").touch()
    supervisor = supervise(fake_maker.backend)
    with caplog.at_level("DEBUG"):
        report = supervisor.tick(Tier.FAST, kept)
    assert re.search(r"ZeroDivisionError: a slip .*\(fake_maker\.py:\d+ in _slip\)", report.message or "")
    (told,) = [r.getMessage() for r in caplog.records if "Traceback" in r.getMessage()]
    assert "in read" in told and told.count("fake_maker.py") >= 2
    assert supervisor.started == 1


def test_what_cannot_travel_is_named_by_its_field_and_the_rest_comes(
    supervise: Supervise, kept: Kept, caplog: pytest.LogCaptureFixture
) -> None:
    supervisor = supervise(fake_maker.misfit)
    report = supervisor.tick(Tier.FAST, kept)
    assert report.success, report.message
    assert _values(kept) == {"FAKE-3": {"power_watts": 3.0}}
    told = [r.getMessage() for r in caplog.records if "left out" in r.getMessage()]
    assert ["counters_epoch is" in text for text in told] == [True, False, True]
    assert "FAKE-1: reading.values.power_watts" in told[1]
    assert supervisor.started == 1, "a wrong type costs its row, not the child"


def test_what_a_living_child_prints_is_shown_at_debug(
    supervise: Supervise, kept: Kept, control: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (control / "print@@read").touch()
    supervisor = supervise(fake_maker.backend)
    with caplog.at_level("DEBUG"):
        supervisor.tick(Tier.FAST, kept)
        supervisor.tick(Tier.FAST, kept)
    assert "its child: and writes to its standard output" in caplog.text
    assert supervisor.started == 1


def test_a_crash_is_told_once(
    supervise: Supervise, kept: Kept, control: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (control / "segv@FAKE-1@power_watts").touch()
    supervise(fake_maker.backend).tick(Tier.FAST, kept)
    assert len([r for r in caplog.records if "SIGSEGV" in r.getMessage()]) == 1
    assert len([e for e in kept.of(Event) if "SIGSEGV" in e.message]) == 1


def test_a_failed_metric_carries_its_reason(supervise: Supervise, kept: Kept, control: Path) -> None:
    (control / "raise@FAKE-0@power_watts").touch()
    (control / "lost@FAKE-1@utilization_ratio").touch()
    assert supervise(fake_maker.backend).tick(Tier.FAST, kept).success
    readings = {r.subject: r for r in kept.of(Reading)}
    assert readings["FAKE-0"].failed == {"power_watts": "broken"}
    assert readings["FAKE-1"].values == {"health": "lost"}


def test_a_vanished_card_is_absent_and_the_others_stay(
    supervise: Supervise, kept: Kept, control: Path
) -> None:
    supervisor = supervise(fake_maker.backend)
    supervisor.tick(Tier.FAST, kept)
    (control / "vanish@FAKE-3@").touch()
    kept.clear()
    assert supervisor.tick(Tier.FAST, kept).success
    assert set(_values(kept)) == {"FAKE-0", "FAKE-1", "FAKE-2"}


def test_a_hang_outside_any_call_is_noticed_too(
    supervise: Supervise, kept: Kept, control: Path, clock: ManualClock
) -> None:
    (control / "hang@@late").touch()
    supervisor = supervise(fake_maker.backend)
    report = supervisor.tick(Tier.FAST, kept)
    assert not report.success
    assert "silent" in (report.message or "")
    assert len(kept.of(Reading)) == 4, "what came before it stands"
    (control / "hang@@late").unlink()
    clock.advance(10)
    assert supervisor.tick(Tier.FAST, kept).success


def test_a_known_card_without_a_row_says_why_instead_of_vanishing(
    supervise: Supervise, kept: Kept, control: Path
) -> None:
    supervisor = supervise(fake_maker.backend)
    supervisor.tick(Tier.FAST, kept)
    (control / "segv@@read").touch()
    kept.clear()
    supervisor.tick(Tier.FAST, kept)
    assert {r.subject: r.failed for r in kept.of(Reading)} == {
        card: {"health": "broken"} for card in fake_maker.CARDS
    }


def test_a_reader_that_cannot_be_opened_says_why(supervise: Supervise, kept: Kept) -> None:
    missing = Backend(name="missing", title="Missing", reader="no_such_module:Reader")
    report = supervise(missing).tick(Tier.FAST, kept)
    assert not report.success
    assert "No module named 'no_such_module'" in (report.message or "")
    assert [e.kind for e in kept.of(Event)] == ["backend_failed"]


def test_a_child_that_cannot_be_killed_is_left_and_one_more_is_started(
    supervise: Supervise, kept: Kept, control: Path, clock: ManualClock
) -> None:
    (control / "hang@FAKE-1@power_watts").touch()
    supervisor = supervise(fake_maker.backend, kill=lambda pid: None)
    report = supervisor.tick(Tier.FAST, kept)
    assert report.success, "the second child reads everything else"
    assert (report.children, report.stuck_children) == (2, 1)
    assert {r.subject: r for r in kept.of(Reading)}["FAKE-1"].failed == {"power_watts": "deadline"}
    clock.advance(7200)
    supervisor.tick(Tier.FAST, kept)
    assert supervisor.started == 2, "the call is not tried again while its child is stuck"
    (control / "hang@FAKE-2@power_watts").touch()
    for _ in range(30):
        report = supervisor.tick(Tier.FAST, kept)
        clock.advance(10)
    assert (report.children, report.stuck_children) == (2, 2), "no third child, however often it is asked"
    assert supervisor.started == 2
    assert "cannot be killed" in (report.message or "")
    for pid in supervisor.pids():
        os.kill(pid, 9)
    for file in control.glob("hang@*"):
        file.unlink()
    time.sleep(0.2)
    clock.advance(3600)
    assert supervisor.tick(Tier.FAST, kept).success, "when the driver lets go, all is as before"
    assert supervisor.children == 1


def test_events_of_the_library_come_through(supervise: Supervise, kept: Kept, control: Path) -> None:
    supervisor = supervise(fake_maker.backend)
    (control / "event@0x80E01801").touch()
    supervisor.tick(Tier.FAST, kept)
    (event,) = kept.of(Event)
    assert (event.kind, event.code, event.severity) == ("ras", "0x80E01801", "critical")


def test_close_lets_the_library_close(supervise: Supervise, kept: Kept, control: Path) -> None:
    supervisor = supervise(fake_maker.backend)
    supervisor.tick(Tier.FAST, kept)
    supervisor.close()
    assert (control / "closed").exists()
    assert supervisor.children == 0


def test_a_killed_child_is_replaced_in_the_same_tick(supervise: Supervise, kept: Kept) -> None:
    supervisor = supervise(fake_maker.backend)
    supervisor.tick(Tier.FAST, kept)
    (pid,) = supervisor.pids()
    os.kill(pid, 9)
    kept.clear()
    supervisor.tick(Tier.FAST, kept)
    assert set(_values(kept)) == set(fake_maker.CARDS)
    assert supervisor.pids() != [pid]


def test_a_card_that_vanished_while_its_reader_was_started_anew_is_lost_until_it_is_back(
    supervise: Supervise, kept: Kept, control: Path, clock: ManualClock
) -> None:
    supervisor = supervise(fake_maker.backend)
    supervisor.tick(Tier.FAST, kept)
    (control / "vanish@FAKE-3@").touch()
    for _ in range(3):
        (pid,) = supervisor.pids()
        os.kill(pid, 9)
        clock.advance(600)
        kept_now = Kept()
        supervisor.tick(Tier.FAST, kept_now)
        assert {r.subject: r.values for r in kept_now.of(Reading)}["FAKE-3"] == {
            "health": "lost",
            "health_detail": "not listed any more",
        }
        kept.extend(kept_now)
    (control / "vanish@FAKE-3@").unlink()
    supervisor.tick(Tier.FAST, kept, facts=True)
    told = [(e.kind, e.subject) for e in kept.of(Event) if e.kind.startswith("card_")]
    assert told == [("card_lost", "FAKE-3"), ("card_back", "FAKE-3")], "told once, not by every new reader"
    assert _values(kept)["FAKE-3"] == fake_maker.FAST


def test_a_call_before_any_card_has_a_name_is_told_of_the_node(
    supervise: Supervise, kept: Kept, control: Path
) -> None:
    (control / "hang@FAKE-0@name").touch()
    supervise(fake_maker.backend).tick(Tier.FAST, kept)
    (event,) = kept.of(Event)
    assert (event.subject, event.attributes["place"], event.attributes["call"]) == ("n1", "FAKE-0", "name")


def test_no_child_outlives_a_killed_agent_even_while_it_hangs(
    control: Path, fake_environment: dict[str, str]
) -> None:
    (control / "hang@FAKE-1@power_watts").touch()
    program = (
        "import sys, threading, time, fake_maker\n"
        "from ullage_agent.backend import Host\n"
        "from ullage_agent.children.supervisor import Deadlines, Supervisor\n"
        "from ullage_contract.catalogue import Tier\n"
        "from ullage_contract.clock import SystemClock\n"
        "host = Host('n1', settings={'control': sys.argv[1]})\n"
        "supervisor = Supervisor(fake_maker.backend, host, SystemClock(), deadlines=Deadlines(call=60))\n"
        "threading.Thread(target=supervisor.tick, args=(Tier.FAST, lambda item: None), daemon=True).start()\n"
        "while not supervisor.pids(): time.sleep(0.01)\n"
        "time.sleep(1)\n"
        "print(*supervisor.pids(), flush=True)\n"
        "time.sleep(60)\n"
    )
    agent = subprocess.Popen(
        [sys.executable, "-c", program, str(control)], stdout=subprocess.PIPE, text=True, env=fake_environment
    )
    assert agent.stdout is not None
    child = int(agent.stdout.readline())
    agent.kill()
    agent.communicate()
    end = time.monotonic() + 20
    while _runs(child):
        assert time.monotonic() < end, "the child is still there"
        time.sleep(0.05)


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
