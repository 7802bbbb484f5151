"""Events, samples and errors: the fixed words, and that nothing travels that could be changed under way."""

from __future__ import annotations

import dataclasses
import re

import pytest

from ullage_contract import errors
from ullage_contract.clock import ManualClock, SystemClock, utc
from ullage_contract.errors import REASONS, ReadingError, UllageError, WireError
from ullage_contract.event import KINDS, Event, Severity
from ullage_contract.sample import Facts, Family, Origin, Sample


def test_event_kinds_are_words_with_a_meaning() -> None:
    for kind, meaning in KINDS.items():
        assert re.fullmatch(r"[a-z][a-z_]*", kind) and len(meaning) > 10


def test_severities_are_in_order_from_harmless_to_fatal() -> None:
    assert [s.value for s in Severity] == ["info", "warning", "critical", "fatal"]


def test_what_travels_is_frozen() -> None:
    event = Event(1.0, "xid", Severity.FATAL, Family.CARD, "GPU-1", "kernel_log", "x")
    sample = Sample(Family.CARD, "GPU-1", 1.0, 1.0, 10.0, {})
    facts = Facts(Family.CARD, "GPU-1", 1.0, {})
    for thing in (event, sample, facts):
        with pytest.raises(dataclasses.FrozenInstanceError):
            thing.subject = "other"  # type: ignore[misc]


def test_simulated_data_has_a_word_of_its_own() -> None:
    assert [o.value for o in Origin] == ["real", "imported", "simulated"]


def test_every_reading_error_has_a_reason_that_may_travel() -> None:
    found = set()
    waiting: list[type[UllageError]] = [ReadingError]
    while waiting:
        kind = waiting.pop()
        waiting += kind.__subclasses__()
        if kind is not ReadingError and issubclass(kind, ReadingError):
            found.add(kind.reason)
    assert found == REASONS


def test_the_tree_in_the_first_lines_names_every_error() -> None:
    tree = errors.__doc__ or ""
    for name, kind in vars(errors).items():
        if isinstance(kind, type) and issubclass(kind, UllageError):
            assert re.search(rf"\b{name}\b", tree), f"{name} is not in the tree"
            assert kind.__doc__


def test_a_wire_error_carries_the_word_of_the_answer() -> None:
    assert WireError("x").code == "malformed"
    assert WireError("x", code="too_large").code == "too_large"


def test_the_manual_clock_moves_only_when_told_and_wall_time_may_jump_alone() -> None:
    clock = ManualClock(wall=100.0, monotonic=5.0)
    clock.sleep(2.0)
    clock.sleep(-1.0)
    assert (clock.wall(), clock.monotonic()) == (102.0, 7.0)
    clock.step_wall(-50.0)
    assert (clock.wall(), clock.monotonic()) == (52.0, 7.0)


def test_the_system_clock_can_be_woken_for_good() -> None:
    clock = SystemClock()
    before = clock.monotonic()
    clock.wake()
    clock.sleep(30.0)
    clock.sleep(30.0)
    assert clock.monotonic() - before < 10.0
    assert clock.wall() > 1.7e9
    assert utc(0.0).isoformat() == "1970-01-01T00:00:00+00:00"
