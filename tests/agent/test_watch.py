"""Jobs that may never return: each costs its own result only."""

from __future__ import annotations

import threading
import time

from ullage_agent.sources.watch import Outcome, Watch


def test_outcomes_come_in_order_and_an_error_is_a_value() -> None:
    def broken() -> int:
        raise OSError("no such device")

    found = list(Watch[int](1.0).round({"a": lambda: 1, "b": broken, "c": lambda: 3}))
    assert [(o.name, o.value, o.late) for o in found] == [
        ("a", 1, False),
        ("b", None, False),
        ("c", 3, False),
    ]
    assert isinstance(found[1].error, OSError)


def test_two_held_jobs_are_waited_for_once_and_the_rest_goes_on() -> None:
    release = threading.Event()
    watch: Watch[int] = Watch(0.1)
    jobs = {
        "a": lambda: 1,
        "held": lambda: int(release.wait()),
        "b": lambda: 2,
        "also": lambda: int(release.wait()),
        "c": lambda: 3,
    }
    first = list(watch.round(jobs))
    assert [o.name for o in first if o.late and o.first] == ["held", "also"]
    assert [o.value for o in first if not o.late] == [1, 2, 3]
    threads = threading.active_count()
    for _ in range(3):
        again = list(watch.round(jobs))
        assert {o.name for o in again if o.late and not o.first} == {"held", "also"}
        assert [o.value for o in again if not o.late] == [1, 2, 3]
    assert threading.active_count() <= threads, "no thread is added for a job that is held already"
    release.set()
    for _ in range(100):
        if not any(o.late for o in watch.round(jobs)):
            break
        time.sleep(0.02)
    assert [o.value for o in watch.round(jobs)] == [1, 1, 2, 1, 3]


def test_two_watches_share_who_is_held() -> None:
    release = threading.Event()
    held: dict[str, threading.Thread] = {}
    one: Watch[int] = Watch(0.05, held)
    two: Watch[int] = Watch(0.05, held)
    list(one.round({"a": lambda: int(release.wait())}))
    assert list(two.round({"a": lambda: 1})) == [Outcome("a", late=True)]
    release.set()
