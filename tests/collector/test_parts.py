"""Parts fail alone and come back."""

from __future__ import annotations

import logging
import threading

import pytest

from ullage_collector.health import Health
from ullage_collector.parts import Part
from ullage_contract.clock import SystemClock
from ullage_contract.errors import StoreError


def part(run: object, health: Health) -> Part:
    return Part("p", run, health=health, clock=SystemClock(), first_pause_seconds=0.01)  # type: ignore[arg-type]


def test_a_part_that_fails_is_started_again_and_told() -> None:
    health = Health()
    runs: list[int] = []
    well = threading.Event()

    def run(stop: threading.Event) -> None:
        runs.append(1)
        if len(runs) < 4:
            raise StoreError("the disk is full")
        well.set()
        stop.wait()

    made = part(run, health)
    made.start()
    assert well.wait(10)
    assert health.parts["p"].running
    assert health.parts["p"].failures == 3
    assert health.parts["p"].last_failure == "StoreError: the disk is full"
    made.stop()
    assert made.join(10)
    assert not health.parts["p"].running


def test_an_unknown_failure_is_logged_with_its_place_and_the_part_goes_on(
    caplog: pytest.LogCaptureFixture,
) -> None:
    health = Health()
    well = threading.Event()
    failed = []

    def run(stop: threading.Event) -> None:
        if not failed:
            failed.append(1)
            raise ZeroDivisionError("on purpose")
        well.set()
        stop.wait()

    made = part(run, health)
    with caplog.at_level(logging.ERROR):
        made.start()
        assert well.wait(10)
        made.stop()
        assert made.join(10)
    assert "ZeroDivisionError" in caplog.text


def test_a_part_that_ends_by_itself_is_started_again() -> None:
    health = Health()
    runs: list[int] = []
    enough = threading.Event()

    def run(stop: threading.Event) -> None:
        runs.append(1)
        if len(runs) == 3:
            enough.set()

    made = part(run, health)
    made.start()
    assert enough.wait(10)
    made.stop()
    assert made.join(10)


def test_a_restarted_part_begins_anew_and_that_is_no_failure() -> None:
    health = Health()
    begun = threading.Semaphore(0)

    def run(stop: threading.Event) -> None:
        begun.release()
        stop.wait()

    made = part(run, health)
    made.start()
    assert begun.acquire(timeout=10)
    made.restart()
    assert begun.acquire(timeout=10)
    made.stop()
    assert made.join(10)
    assert health.parts["p"].failures == 0


def test_a_part_stopped_before_it_began_never_begins() -> None:
    runs: list[int] = []
    made = part(lambda stop: runs.append(1), Health())
    made.stop()
    made.start()
    assert made.join(10)
    assert runs == []
