"""The process a probe runs in: joins its cgroup, becomes nice, does one job from stdin, says one line on stdout.

``python -m ullage_agent.probes.child`` by process.py alone. What libraries print goes nowhere.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any, Final

from ullage_agent.probes.verdict import Found, refused
from ullage_contract.errors import ReadingError

_PR_SET_PDEATHSIG: Final = 1  # prctl(2)


def main() -> int:
    """Do the job; 0 when a verdict was said."""
    answer = os.dup(1)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    job = json.loads(sys.stdin.buffer.read())
    _settle_in(job)
    found = _found(job)
    line = json.dumps(
        {"outcome": found.outcome.value, "reason": found.reason, "figures": dict(found.figures)}
    )
    os.write(answer, line.encode() + b"\n")
    return 0


def _settle_in(job: dict[str, Any]) -> None:
    """An agent that dies takes the probe with it; the cgroup is best effort, the parent has told what there is."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if job["cgroup"] is not None:
        with contextlib.suppress(OSError):
            (Path(job["cgroup"]) / "cgroup.procs").write_text(str(os.getpid()), encoding="ascii")
    with contextlib.suppress(OSError):
        os.nice(job["nice"])


def _found(job: dict[str, Any]) -> Found:
    try:
        if job["argv"]:
            from ullage_agent.probes import diagnose

            return diagnose.run(job["argv"], good=job["good"], not_run=job["not_run"])
        from ullage_agent.probes import bandwidth, memory_pattern

        if job["probe"] == "memory":
            return memory_pattern.run(job["card"], most_bytes=int(job["limits"]["memory_bytes"]))
        return bandwidth.run(job["card"], least_bytes_per_second=job["limits"]["least_bytes_per_second"])
    except ReadingError as e:
        return refused(str(e))


if __name__ == "__main__":
    sys.exit(main())
