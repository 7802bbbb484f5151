"""The few questions put to Slurm, each one bulk read, and how long to wait between them.

What each costs, seen with sdiag on Slurm 22.05: squeue --json one RPC, with indices and exact times (scontrol show
job two); scontrol show reservation one; scontrol show node two; sacct and sacctmgr none, they ask slurmdbd.
"""

from __future__ import annotations

import random
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from math import ceil
from typing import Final

from ullage_collector.allocation.room import Room
from ullage_collector.allocation.slurm import data_parser, reports, waiting
from ullage_collector.allocation.slurm.command import Run
from ullage_collector.allocation.slurm.gres import Gres
from ullage_collector.allocation.slurm.job import SlurmJob
from ullage_collector.allocation.slurm.reports import Reservation
from ullage_collector.allocation.slurm.settings import SlurmSettings
from ullage_collector.allocation.slurm.waiting import Pending
from ullage_contract.clock import Clock

STATES: Final = (
    "RUNNING,SUSPENDED,COMPLETING,CONFIGURING,STOPPED,SIGNALING,STAGE_OUT,COMPLETED,CANCELLED,FAILED,TIMEOUT,"
    "NODE_FAIL,PREEMPTED,BOOT_FAIL,DEADLINE,OUT_OF_MEMORY,SPECIAL_EXIT"
)
"""Everything but PENDING: ten thousand waiting jobs hold nothing and would be most of the answer."""
SHARE_OF_TIME: Final = 20.0
"""# our choice: because a controller that answers for a second is then busy with us a twentieth of the time."""
WAITING_SHARE_OF_TIME: Final = 40.0
"""# our choice: because who waits is told in minutes, not seconds, and 10,000 that wait are a large answer."""
RPCS_A_MINUTE: Final = 6  # our choice: because slurmctld serves its own users first
JITTER: Final = 0.1  # our choice: because several collectors started together should not ask together


@dataclass(slots=True)
class Asking:
    """One cluster's programs. calls: how often each was run, by name. seconds: the last squeue took, pending_seconds:
    the last one of who waits. rooms: as ``nodes`` last said."""

    settings: SlurmSettings
    run: Run
    calls: dict[str, int] = field(default_factory=dict)
    seconds: float = 0.0
    pending_seconds: float = 0.0
    rooms: list[Room] = field(default_factory=list)

    def queue(self) -> list[SlurmJob]:
        """All jobs that hold, or lately held, nodes. Raises ReadingError or BadInput."""
        began = time.monotonic()
        said = self._run((self.settings.squeue, "--all", "--json", f"--states={STATES}"))
        self.seconds = time.monotonic() - began
        return data_parser.read_squeue(said, self.settings.gres)

    def pending(self) -> list[Pending]:
        """All jobs that have not begun. Raises ReadingError or BadInput."""
        began = time.monotonic()
        said = self._run((self.settings.squeue, "--all", "--json", "--states=PENDING"))
        self.pending_seconds = time.monotonic() - began
        return waiting.read_pending(said, self.settings.gres)

    def runs(self, since: float, until: float, jobs: Sequence[int] = ()) -> list[SlurmJob]:
        """The runs that held nodes within [since, until), of everybody or of these jobs."""
        argv = [
            self.settings.sacct,
            "--allusers",
            "--duplicates",
            "--allocations",
            "--json",
            f"--starttime={_written(since)}",
            f"--endtime={_written(until)}",
        ]
        if jobs:
            argv.append("--jobs=" + ",".join(str(job) for job in jobs))
        return data_parser.read_sacct(self._run(argv))

    def reservations(self) -> list[Reservation]:
        """Every reservation there is."""
        return reports.reservations(self._text((self.settings.scontrol, "--oneliner", "show", "reservation")))

    def nodes(self) -> dict[str, tuple[Gres, ...]]:
        """What each node is configured with; ``rooms`` is then what each has free beside its cards."""
        said = self._text((self.settings.scontrol, "--oneliner", "show", "node"))
        self.rooms = reports.rooms(said)
        return reports.nodes(said)

    def accounts(self) -> dict[str, str]:
        """Account -> its path in the tree."""
        return reports.account_paths(
            self._text(
                (
                    self.settings.sacctmgr,
                    "--noheader",
                    "--parsable2",
                    "--readonly",
                    "show",
                    "assoc",
                    "format=account,user,parentname",
                )
            )
        )

    def _text(self, argv: Sequence[str]) -> str:
        return self._run(argv).decode("utf-8", "replace")

    def _run(self, argv: Sequence[str]) -> bytes:
        self.calls[argv[0]] = self.calls.get(argv[0], 0) + 1
        return self.run(argv, seconds=self.settings.deadline_seconds)


@dataclass(slots=True)
class Pace:
    """When to ask again: evenly, slower the longer an answer takes, slower still while there is none. Seconds.

    share: how many times as long as an answer took it is waited at least.
    """

    usual: float
    slowest: float
    chance: random.Random = field(default_factory=random.Random)
    failed: int = 0
    share: float = SHARE_OF_TIME

    def after(self, took: float) -> float:
        """The wait after an answer."""
        self.failed = 0
        return self._jittered(max(self.usual, self.share * took))

    def after_failure(self) -> float:
        """The wait after no answer: twice as long each time."""
        self.failed += 1
        return self._jittered(self.usual * 2.0 ** min(self.failed - 1, 10))

    def _jittered(self, wait: float) -> float:
        # Only ever later: the budget of questions a minute is a limit.
        return min(wait, self.slowest) * (1.0 + JITTER * self.chance.random())


class Clocked:
    """What is due when, by the monotonic clock; everything is due at first."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._at: dict[str, float] = {}

    def due(self, what: str) -> bool:
        """Whether its time has come."""
        return self._clock.monotonic() >= self._at.get(what, 0.0)

    def put_off(self, what: str, seconds: float) -> None:
        """Due again after so long."""
        self._at[what] = self._clock.monotonic() + seconds

    def wait(self, *what: str) -> float:
        """Seconds until the first of these is due."""
        return max(0.0, min(self._at.get(name, 0.0) for name in what) - self._clock.monotonic())


class Turns:
    """Who may be asked beside the queue now, so that no minute has more than six RPCs.

    poll_seconds: between two questions for the queue, each one RPC; three are left in a minute at least.
    """

    def __init__(self, clock: Clock, poll_seconds: float) -> None:
        self._clock = clock
        self._most = max(RPCS_A_MINUTE // 2, RPCS_A_MINUTE - ceil(60.0 / poll_seconds))
        self._taken: deque[tuple[float, int]] = deque()

    def take(self, rpcs: int) -> bool:
        """Whether a question of so many RPCs fits into the last minute; then it is counted."""
        now = self._clock.monotonic()
        while self._taken and self._taken[0][0] <= now - 60.0:
            self._taken.popleft()
        if sum(count for _, count in self._taken) + rpcs > self._most:
            return False
        self._taken.append((now, rpcs))
        return True


def _written(instant: float) -> str:
    """As sacct reads it with TZ=UTC; to the second."""
    return datetime.fromtimestamp(max(0.0, instant), UTC).strftime("%Y-%m-%dT%H:%M:%S")
