"""One probe in a process of its own: started, watched, killed when its time is over.

The process leads a session, sits in a cgroup of its own where there can be one, and is nice. Deadlines run on real
seconds, as waiting is on real pipes. Not here: what it does (child.py).
"""

from __future__ import annotations

import json
import logging
import os
import selectors
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from time import monotonic
from typing import Any, Final

from ullage_agent.probes import cgroup
from ullage_agent.probes.verdict import Found, failed, refused
from ullage_contract.asked import ProbeOutcome
from ullage_contract.sample import Value

log = logging.getLogger(__name__)

KILL_SECONDS: Final = 2.0  # our choice: because a process not in D state is gone within milliseconds
LOOK_SECONDS: Final = 0.2  # our choice: how soon an agent that stops ends its probe
MOST_BYTES: Final = 64 * 1024  # our choice: a verdict is one line of JSON
MOST_FIGURES: Final = 24


@dataclass(frozen=True, slots=True)
class Job:
    """What the child is told.

    probe: a name of settings.NAMES. card: what the maker says of it (index, minor, pci, uuid). argv: of a command,
    already filled. limits: numbers by name (memory_bytes ...).
    """

    probe: str
    card: Mapping[str, str | None]
    deadline_seconds: float
    nice: int = 19
    argv: tuple[str, ...] = ()
    good: tuple[int, ...] = (0,)
    not_run: tuple[int, ...] = ()
    limits: Mapping[str, float] = field(default_factory=dict)


class ProbeProcess:
    """Runs one job at a time. stuck: a process of an earlier probe that could not be killed is still there."""

    def __init__(
        self,
        *,
        cgroup_parent: Path | None = None,
        environment: Mapping[str, str] | None = None,
        stopping: Callable[[], bool] = lambda: False,
    ) -> None:
        self._parent = cgroup_parent
        self._environment = environment
        self._stopping = stopping
        self._left: subprocess.Popen[bytes] | None = None

    @property
    def stuck(self) -> bool:
        if self._left is not None and self._left.poll() is not None:
            self._left = None
        return self._left is not None

    def run(self, job: Job, name: str) -> Found | None:
        """Run it to its end or its deadline. None when the agent stops meanwhile. Never raises."""
        group = cgroup.make(name, self._parent)
        try:
            process = subprocess.Popen(
                [sys.executable, "-P", "-m", "ullage_agent.probes.child"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
                env=None if self._environment is None else dict(self._environment),
            )
        except OSError as e:
            group.end()
            return refused(f"no process could be started for it: {e.strerror}")
        began = monotonic()
        try:
            told = json.dumps({**_plain(job), "cgroup": str(group.path) if group.path else None})
            output, overran = self._listen(process, told.encode(), began + job.deadline_seconds)
        finally:
            gone = self._end(process)
            group.end()
        seconds = round(monotonic() - began, 3)
        where: dict[str, Value] = {"ran_seconds": seconds, "own_cgroup": int(group.path is not None)}
        if self._stopping():
            return None
        if overran:
            text = f"it did not end within {job.deadline_seconds:g} s and was killed"
            return failed(text if gone else f"{text}; it cannot be killed (a driver holds it)", **where)
        found = _verdict(output)
        if found is None:
            return failed(f"it died ({_how(process.returncode)})", **where)
        return replace(found, figures={**found.figures, **where})

    def _listen(self, process: subprocess.Popen[bytes], told: bytes, until: float) -> tuple[bytes, bool]:
        """What it says, and whether its time was over first."""
        assert process.stdin is not None and process.stdout is not None
        with suppress(BrokenPipeError):
            process.stdin.write(told)
            process.stdin.close()
        output = b""
        with selectors.DefaultSelector() as selector:
            selector.register(process.stdout, selectors.EVENT_READ)
            while not self._stopping():
                left = until - monotonic()
                if left <= 0:
                    return output, True
                if not selector.select(min(left, LOOK_SECONDS)):
                    continue
                piece = os.read(process.stdout.fileno(), 8192)
                if not piece:
                    break
                output = (output + piece)[-MOST_BYTES:]
        return output, False

    def _end(self, process: subprocess.Popen[bytes]) -> bool:
        """Kill its session and wait; whether it is gone."""
        with suppress(subprocess.TimeoutExpired):
            process.wait(0.0 if process.poll() is not None else 0.05)
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        assert process.stdout is not None
        process.stdout.close()
        try:
            process.wait(KILL_SECONDS)
        except subprocess.TimeoutExpired:
            self._left = process
            log.error("probe process %d cannot be killed; no probe runs until it is gone", process.pid)
            return False
        return True


def _plain(job: Job) -> dict[str, Any]:
    return {
        "probe": job.probe,
        "card": dict(job.card),
        "deadline_seconds": job.deadline_seconds,
        "nice": job.nice,
        "argv": list(job.argv),
        "good": list(job.good),
        "not_run": list(job.not_run),
        "limits": dict(job.limits),
    }


def _verdict(output: bytes) -> Found | None:
    """The verdict in the last line; None where there is none."""
    try:
        said = json.loads(output.rstrip(b"\n").rpartition(b"\n")[2])
        figures = {
            str(name)[:40]: value if not isinstance(value, str) else value[:200]
            for name, value in list(said["figures"].items())[:MOST_FIGURES]
            if isinstance(value, int | float | str) and not isinstance(value, bool)
        }
        return Found(ProbeOutcome(said["outcome"]), str(said["reason"])[:400], figures)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None


def _how(status: int | None) -> str:
    if status is None:
        return "still there"
    if status < 0:
        with suppress(ValueError):
            return signal.Signals(-status).name
    return f"exit code {status}"
