"""Compute processes on a card: memory, share of the card, and who they are.

A process's command is its name in /proc/PID/comm, never its arguments. Pids are the host's only when the
agent sees the host's pid namespace (hostPID in Kubernetes); a pid it cannot see has no name.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from ullage_agent.backend import Call, Reading
from ullage_agent.backends.holders import identity
from ullage_agent.backends.nvidia.nvml_library import NOT_FOUND, Library
from ullage_contract.errors import CardLost, NotSupported, ReadingError
from ullage_contract.sample import Facts, Family, Value

_FUNCTIONS: Final = (
    "nvmlDeviceGetComputeRunningProcesses_v3",
    "nvmlDeviceGetComputeRunningProcesses_v2",
)
_NAMELESS: Final = 0xFFFFFFFFFFFFFFFF  # NVML_VALUE_NOT_AVAILABLE


class Processes:
    """Of one card."""

    def __init__(self, library: Library, card_id: str, handle: Any, proc: Path) -> None:
        self._library = library
        self._card_id = card_id
        self._handle = handle
        self._proc = proc
        self._function = 0
        self._utilization = True
        self._since = 0
        self._told: dict[int, str] = {}

    @property
    def supported(self) -> bool:
        return self._function < len(_FUNCTIONS)

    def read(self, call: Call) -> tuple[int | None, str | None, list[Reading | Facts]]:
        """(how many, why not, one reading a process and facts of new ones). Raises CardLost.

        One process with several contexts or MIG instances is one row; its memory is the sum.
        """
        try:
            listed = self._list(call)
        except CardLost:
            raise
        except ReadingError as e:
            return None, e.reason, []
        if listed is None:
            return None, None, []
        memory: dict[int, int | None] = {}
        for process in listed:
            used = process.usedGpuMemory
            known = None if used is None or used == _NAMELESS else int(used)
            before = memory.get(int(process.pid), 0)
            memory[int(process.pid)] = None if known is None or before is None else before + known
        busy = self._busy(call)
        items: list[Reading | Facts] = []
        for pid, used_bytes in memory.items():
            values: dict[str, Value] = {}
            if used_bytes is not None:
                values["process_memory_used_bytes"] = used_bytes
            if pid in busy:
                values["process_utilization_ratio"] = busy[pid]
            items.extend(self._new_facts(pid))
            items.append(Reading(Family.PROCESS, f"{self._card_id}#{pid}", values))
        self._told = {pid: start for pid, start in self._told.items() if pid in memory}
        return len(memory), None, items

    def facts(self) -> Iterator[Facts]:
        """Of the processes seen by the last ``read``."""
        for pid in list(self._told):
            del self._told[pid]
            yield from self._new_facts(pid)

    def _list(self, call: Call) -> list[Any] | None:
        while self.supported:
            function = _FUNCTIONS[self._function]
            try:
                return self._library.ask(  # type: ignore[no-any-return]
                    call,
                    self._card_id,
                    function,
                    lambda f=function: getattr(self._library.nvml, f)(self._handle),  # type: ignore[misc]
                )
            except NotSupported:
                self._function += 1
        return None

    def _busy(self, call: Call) -> dict[int, float]:
        """pid -> SM share since the last question. Empty where the card cannot tell (MIG, before Maxwell)."""
        if not self._utilization:
            return {}
        try:
            samples = self._library.ask(call, self._card_id, "nvmlDeviceGetProcessUtilization", self._samples)
        except CardLost:
            raise
        except NotSupported:
            self._utilization = False
            return {}
        except ReadingError:
            return {}
        newest: dict[int, tuple[int, float]] = {}
        for sample in samples:
            stamp = int(sample.timeStamp)
            if sample.smUtil <= 100 and stamp >= newest.get(int(sample.pid), (0, 0.0))[0]:
                newest[int(sample.pid)] = (stamp, sample.smUtil / 100)
            self._since = max(self._since, stamp)
        return {pid: ratio for pid, (_, ratio) in newest.items()}

    def _samples(self) -> Any:
        nvml = self._library.nvml
        try:
            return nvml.nvmlDeviceGetProcessUtilization(self._handle, self._since)
        except nvml.NVMLError as e:
            if int(e.value) == NOT_FOUND:  # no sample since then: nobody computed
                return []
            raise

    def _new_facts(self, pid: int) -> Iterator[Facts]:
        start = self._start_of(pid)
        if self._told.get(pid) == start:
            return
        self._told[pid] = start
        attributes = {"card_id": self._card_id, "vendor": "nvidia", **identity(self._proc, pid)}
        yield Facts(
            Family.PROCESS,
            f"{self._card_id}#{pid}",
            time.time(),
            attributes,
        )

    def _start_of(self, pid: int) -> str:
        """The process's start time in ticks, so that a pid used again is a new process; "" when unseen."""
        try:
            text = (self._proc / str(pid) / "stat").read_text(encoding="ascii", errors="replace")
            return text.rpartition(")")[2].split()[19]
        except (OSError, IndexError):
            return ""
