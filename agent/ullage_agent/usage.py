"""What the agent itself costs this node: memory and processor time, its children included."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from ullage_contract.sample import Value

_TICKS: Final = os.sysconf("SC_CLK_TCK")
_PAGE: Final = os.sysconf("SC_PAGE_SIZE")


def own_usage(children: Iterable[int], proc: Path = Path("/proc")) -> dict[str, Value]:
    """``agent_memory_bytes`` (resident) and ``agent_cpu_seconds`` of this process and ``children``.

    Children that ended count with what they used, as the kernel adds it to their parent. A file that
    cannot be read leaves its key out. Check by hand: ps -o rss,cputime -p PID
    """
    values: dict[str, Value] = {}
    times = os.times()
    seconds = times.user + times.system + times.children_user + times.children_system
    try:
        pages = _resident(proc / "self/statm")
    except (OSError, ValueError, IndexError):
        return {}
    for pid in children:
        try:
            pages += _resident(proc / str(pid) / "statm")
            seconds += _cpu(proc / str(pid) / "stat")
        except (OSError, ValueError, IndexError):
            continue  # it ended just now
    values["agent_memory_bytes"] = pages * _PAGE
    values["agent_cpu_seconds"] = round(seconds, 2)
    return values


def _resident(path: Path) -> int:
    return int(path.read_bytes().split()[1])


def _cpu(path: Path) -> float:
    fields = path.read_bytes().rpartition(b")")[2].split()  # the name before may hold spaces
    return (int(fields[11]) + int(fields[12])) / _TICKS
