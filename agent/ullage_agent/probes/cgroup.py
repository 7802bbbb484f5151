"""A cgroup of its own for one probe, where cgroup v2 can be written: bounded, and ended whole.

Where it cannot (a container, ProtectControlGroups=yes, cgroup v1) the probe runs in the agent's own and the result
says so; its session and deadline hold in any case.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import time
from pathlib import Path
from typing import Final

log = logging.getLogger(__name__)

MEMORY_BYTES: Final = (
    4 << 30
)  # our choice: a maker's diagnosis needs some hundred MiB; the node's work needs the rest
PIDS: Final = 512  # our choice: because a diagnosis starts some dozen
CPU_WEIGHT: Final = 1  # the least there is: cgroup-v2, cpu.weight is 1 to 10000
_GONE_SECONDS: Final = 1.0


class ProbeGroup:
    """path: of the group, None when there is none; why_not then says why."""

    def __init__(self, path: Path | None, why_not: str | None = None) -> None:
        self.path = path
        self.why_not = why_not

    def end(self) -> bool:
        """Kill what is left in it and remove it; whether it is gone. Never raises."""
        if self.path is None:
            return True
        with contextlib.suppress(OSError):
            (self.path / "cgroup.kill").write_text("1", encoding="ascii")
        until = time.monotonic() + _GONE_SECONDS
        while True:
            with contextlib.suppress(OSError, ValueError):
                for pid in (self.path / "cgroup.procs").read_text(encoding="ascii").split():
                    os.kill(int(pid), signal.SIGKILL)
            try:
                self.path.rmdir()
                return True
            except FileNotFoundError:
                return True
            except OSError as e:
                if time.monotonic() > until:
                    log.warning("%s cannot be removed: %s", self.path, e.strerror)
                    return False
                time.sleep(0.02)


def make(name: str, parent: Path | None = None, *, proc: Path = Path("/proc")) -> ProbeGroup:
    """A fresh group ``name`` below ``parent``, or below the agent's own group. Never raises."""
    if parent is None:
        parent = own_group(proc)
        if parent is None:
            return ProbeGroup(None, "there is no cgroup v2 here")
    path = parent / name
    try:
        path.mkdir()
    except OSError as e:
        return ProbeGroup(None, f"{path}: {e.strerror}")
    if not (path / "cgroup.procs").exists():
        with contextlib.suppress(OSError):
            path.rmdir()
        return ProbeGroup(None, f"{parent} is no cgroup v2")
    for file, value in (("memory.max", MEMORY_BYTES), ("pids.max", PIDS), ("cpu.weight", CPU_WEIGHT)):
        # a controller that is not given to our group has no file: the rest still holds
        with contextlib.suppress(OSError):
            if (path / file).exists():
                (path / file).write_text(str(value), encoding="ascii")
    return ProbeGroup(path)


def own_group(proc: Path = Path("/proc")) -> Path | None:
    """This process's group in the mounted cgroup v2 tree; None where there is none."""
    try:
        mounts = (proc / "self/mountinfo").read_text(encoding="utf-8", errors="replace").splitlines()
        groups = (proc / "self/cgroup").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return None
    # mountinfo(5): ... mount point is the fifth field; the type follows the separator " - "
    mount = next((line.split()[4] for line in mounts if " - cgroup2 " in line), None)
    inside = next((line.removeprefix("0::") for line in groups if line.startswith("0::")), None)
    if mount is None or inside is None:
        return None
    return Path(mount) / inside.lstrip("/")
