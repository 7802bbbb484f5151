"""Slurm's own programs, run with a deadline, bounded output and no shell.

Times are UTC for all (TZ), and seconds in texts: scontrol, squeue and sacct honour SLURM_TIME_FORMAT=%s. JSON has
seconds anyhow, and sacct --json of 22.05 with that format refuses its own --starttime. So daylight saving never
moves a job. Nothing of our own environment goes in.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

from ullage_contract.errors import Broken, DeadlineExceeded, NotPresent

MOST_BYTES: Final = 512 * 1024 * 1024
"""# our choice: because 100,000 jobs take about 350 MB as JSON; beyond that something is wrong."""


class Run(Protocol):
    """Runs one program."""

    def __call__(self, argv: Sequence[str], *, seconds: float) -> bytes:
        """Its stdout. Raises NotPresent, DeadlineExceeded, or Broken when it fails or says too much."""
        ...


@dataclass(frozen=True, slots=True)
class Programs:
    """The real ones. conf: SLURM_CONF, None for Slurm's own default place. path: where they are looked for."""

    conf: str | None = None
    path: str = "/usr/local/bin:/usr/bin:/bin:/opt/slurm/bin:/usr/local/slurm/bin"
    most_bytes: int = MOST_BYTES
    more: Mapping[str, str] = field(default_factory=dict)

    def __call__(self, argv: Sequence[str], *, seconds: float) -> bytes:
        environment = {
            "PATH": self.path,
            "TZ": "UTC",
            "LC_ALL": "C.UTF-8",
            "SLURM_BITSTR_LEN": "0",  # else squeue cuts the list of an array's tasks after 64 characters
            **({} if "--json" in argv else {"SLURM_TIME_FORMAT": "%s"}),
            **({"SLURM_CONF": self.conf} if self.conf else {}),
            **self.more,
        }
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            try:
                child = subprocess.Popen(
                    self._found(argv),
                    stdin=subprocess.DEVNULL,
                    stdout=out,
                    stderr=err,
                    env=environment,
                    cwd="/",
                    start_new_session=True,
                )
            except (FileNotFoundError, PermissionError) as e:
                raise NotPresent(f"{argv[0]} is not there or may not be run: {e.strerror}") from e
            deadline = time.monotonic() + seconds
            while True:
                try:
                    status = child.wait(min(0.5, max(0.01, deadline - time.monotonic())))
                    break
                except subprocess.TimeoutExpired:
                    size = os.fstat(out.fileno()).st_size
                    late = time.monotonic() >= deadline
                    if late or size > self.most_bytes:
                        _end(child)
                        if late:
                            raise DeadlineExceeded(f"{argv[0]} did not answer within {seconds:g} s") from None
                        raise Broken(f"{argv[0]} wrote more than {self.most_bytes} bytes") from None
            if os.fstat(out.fileno()).st_size > self.most_bytes:
                raise Broken(f"{argv[0]} wrote more than {self.most_bytes} bytes")
            if status != 0:
                err.seek(0)
                said = err.read(2000).decode("utf-8", "replace").strip().splitlines()
                raise Broken(f"{argv[0]} ended with {status}: {' / '.join(said)[:300]}")
            out.seek(0)
            return out.read()

    def _found(self, argv: Sequence[str]) -> list[str]:
        """The program by PATH of ours, not of the collector's."""
        if "/" in argv[0]:
            return list(argv)
        for folder in self.path.split(":"):
            candidate = f"{folder}/{argv[0]}"
            if os.access(candidate, os.X_OK):
                return [candidate, *argv[1:]]
        raise NotPresent(f"{argv[0]} is not in {self.path}; name it in [allocation.slurm]")


def _end(child: subprocess.Popen[bytes]) -> None:
    """The program and whatever it started."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(child.pid, signal.SIGKILL)
    with contextlib.suppress(subprocess.TimeoutExpired):
        child.wait(5)
