"""Jobs that may never return, one after another, so that a held one costs its own result only.

A read of a sick NIC's file can hang in the kernel and cannot be interrupted. Jobs run in a thread
started for the round; when one overruns, the thread is left to it, a new one does the rest, and that
job is not asked again until its thread has come back. Not here: ending the thread, which nobody can.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Outcome(Generic[T]):
    """What came of one job: a value, an error, or neither when it is held (``late``).

    first: of a late one, whether this round is the first to find it held.
    """

    name: str
    value: T | None = None
    error: Exception | None = None
    late: bool = False
    first: bool = False


class Watch(Generic[T]):
    """Runs rounds of named jobs. One thread a round, and one more for each job that is held.

    held: names that have not come back, with their threads; give two watches one dict when a name held in
        one must not be asked in the other. Only the thread that runs rounds touches it.
    """

    def __init__(self, deadline_seconds: float, held: dict[str, threading.Thread] | None = None) -> None:
        self._deadline_seconds = deadline_seconds
        self._held: dict[str, threading.Thread] = {} if held is None else held

    def round(self, jobs: Mapping[str, Callable[[], T]]) -> Iterator[Outcome[T]]:
        """Every job's outcome in order, each as soon as it is known. Errors of a job are values here."""
        for name in [name for name, thread in self._held.items() if not thread.is_alive()]:
            del self._held[name]
        todo = []
        for name in jobs:
            if name in self._held:
                yield Outcome(name, late=True)
            else:
                todo.append(name)
        while todo:
            answers: SimpleQueue[Outcome[T]] = SimpleQueue()
            left = threading.Event()
            thread = threading.Thread(
                target=_work,
                args=([(n, jobs[n]) for n in todo], answers, left),
                name="ullage-watch",
                daemon=True,
            )
            thread.start()
            while todo:
                name = todo.pop(0)
                try:
                    yield answers.get(timeout=self._deadline_seconds)
                except Empty:
                    left.set()
                    self._held[name] = thread
                    yield Outcome(name, late=True, first=True)
                    break


def _work(
    jobs: Sequence[tuple[str, Callable[[], T]]], answers: SimpleQueue[Outcome[T]], left: threading.Event
) -> None:
    for name, job in jobs:
        if left.is_set():
            return
        try:
            answers.put(Outcome(name, value=job()))
        except Exception as e:
            answers.put(Outcome(name, error=e))
