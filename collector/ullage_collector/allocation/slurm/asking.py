"""The few questions put to Slurm, each one bulk read, and how long to wait between them.

What each costs, seen with sdiag on Slurm 22.05: squeue --json one RPC, with indices and exact times (scontrol show
job two); scontrol show reservation one; scontrol show node two; sacct and sacctmgr none, they ask slurmdbd.
"""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

from ullage_collector.allocation.slurm import data_parser, reports
from ullage_collector.allocation.slurm.command import Run
from ullage_collector.allocation.slurm.gres import Gres
from ullage_collector.allocation.slurm.job import SlurmJob
from ullage_collector.allocation.slurm.reports import Reservation
from ullage_collector.allocation.slurm.settings import SlurmSettings

STATES: Final = (
    "RUNNING,SUSPENDED,COMPLETING,CONFIGURING,STOPPED,SIGNALING,STAGE_OUT,COMPLETED,CANCELLED,FAILED,TIMEOUT,"
    "NODE_FAIL,PREEMPTED,BOOT_FAIL,DEADLINE,OUT_OF_MEMORY,SPECIAL_EXIT"
)
"""Everything but PENDING: ten thousand waiting jobs hold nothing and would be most of the answer."""
SHARE_OF_TIME: Final = 20.0
"""# our choice: because a controller that answers for a second is then busy with us a twentieth of the time."""
JITTER: Final = 0.1  # our choice: because several collectors started together should not ask together


@dataclass(slots=True)
class Asking:
    """One cluster's programs. calls: how often each was run, by name. seconds: the last squeue took."""

    settings: SlurmSettings
    run: Run
    calls: dict[str, int] = field(default_factory=dict)
    seconds: float = 0.0

    def queue(self) -> list[SlurmJob]:
        """All jobs that hold, or lately held, nodes. Raises ReadingError or BadInput."""
        began = time.monotonic()
        said = self._run((self.settings.squeue, "--all", "--json", f"--states={STATES}"))
        self.seconds = time.monotonic() - began
        return data_parser.read_squeue(said, self.settings.gres)

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
        """What each node is configured with."""
        return reports.nodes(self._text((self.settings.scontrol, "--oneliner", "show", "node")))

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
    """When to ask again: evenly, slower the longer an answer takes, slower still while there is none. Seconds."""

    usual: float
    slowest: float
    chance: random.Random = field(default_factory=random.Random)
    failed: int = 0

    def after(self, took: float) -> float:
        """The wait after an answer."""
        self.failed = 0
        return self._jittered(max(self.usual, SHARE_OF_TIME * took))

    def after_failure(self) -> float:
        """The wait after no answer: twice as long each time."""
        self.failed += 1
        return self._jittered(self.usual * 2.0 ** min(self.failed - 1, 10))

    def _jittered(self, wait: float) -> float:
        # Only ever later: the budget of questions a minute is a limit.
        return min(wait, self.slowest) * (1.0 + JITTER * self.chance.random())


def _written(instant: float) -> str:
    """As sacct reads it with TZ=UTC; to the second."""
    return datetime.fromtimestamp(max(0.0, instant), UTC).strftime("%Y-%m-%dT%H:%M:%S")
