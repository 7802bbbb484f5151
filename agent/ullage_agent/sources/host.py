"""The host beside its cards: processors, memory, pressure, network, storage. Reads /proc and /sys only.

Every counter of a node counts from the agent's start (growth.py), and the rows' counters_epoch names
that start. A source that is not there is an absent metric. Not here: ``cards_expected``, the spool and
the agent's own cost, which only the agent knows (sampler, usage).
"""

from __future__ import annotations

import platform
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from ullage_agent.backend import Reading
from ullage_agent.sources.growth import Growth
from ullage_agent.sources.kept_file import KeptFile, text_of
from ullage_agent.sources.mmpmon import Mmpmon
from ullage_agent.sources.network import Network
from ullage_agent.sources.storage import Storage
from ullage_agent.sources.watch import Watch
from ullage_contract.catalogue import Tier
from ullage_contract.clock import Clock, SystemClock
from ullage_contract.event import Event
from ullage_contract.identity import machine_id
from ullage_contract.sample import Facts, Family, Value

_PRESSURE: Final = (
    ("cpu", "some", "pressure_cpu_seconds"),
    ("memory", "some", "pressure_memory_seconds"),
    ("io", "some", "pressure_io_seconds"),
    ("io", "full", "pressure_io_full_seconds"),
)
_TOTAL: Final = re.compile(r"^(some|full) .*total=(\d+)", re.MULTILINE)
_MEMORY: Final = re.compile(r"^(MemTotal|MemAvailable|SwapTotal|SwapFree):\s+(\d+) kB", re.MULTILINE)

ARM_CORES: Final = {("0x48", "0xd01"): "HiSilicon Kunpeng 920", ("0x41", "0xd0c"): "Arm Neoverse N1"}
"""(implementer, part) of /proc/cpuinfo on Arm, which has no model name: Arm's MIDR, as in util-linux lscpu."""

DISK_DEADLINE_SECONDS: Final = 1.0
"""our choice: statvfs of a local file system takes microseconds; one that does not answer is left alone."""


class HostSource:
    """The source ``host``: one reading of family NODE a tick. See ``source.Source``.

    root: where the host's root is seen (in a container its mount), for /etc and for mount points.
    """

    name = "host"

    def __init__(
        self,
        node_id: str,
        *,
        sysfs: Path = Path("/sys"),
        proc: Path = Path("/proc"),
        root: Path = Path("/"),
        clock: Clock | None = None,
        storage: Storage | None = None,
    ) -> None:
        self._node_id = node_id
        self._sysfs = sysfs
        self._proc = proc
        self._root = root
        self._clock = clock or SystemClock()
        self._epoch = f"agent-{self._clock.wall():.3f}"
        self._stat = KeptFile(str(proc / "stat"), size=512)
        self._load = KeptFile(str(proc / "loadavg"))
        self._meminfo = KeptFile(str(proc / "meminfo"), size=4096)
        self._uptime = KeptFile(str(proc / "uptime"))
        self._pressure = {name: KeptFile(str(proc / "pressure" / name)) for name in ("cpu", "memory", "io")}
        self._growth = Growth()
        self._cpu: list[int] | None = None
        self._network = Network(sysfs, proc)
        self._storage = storage or Storage(sysfs, proc, root, mmpmon=Mmpmon())
        self._watch: Watch[dict[str, Value]] = Watch(DISK_DEADLINE_SECONDS)
        self._fresh = False

    def facts(self) -> Iterator[Facts]:
        """What the node is. Names that cannot be found out are left out."""
        self._refresh()
        found = {
            "machine_id": machine_id(self._root),
            "hostname": text_of(self._proc / "sys/kernel/hostname") or platform.node(),
            "kernel_version": text_of(self._proc / "sys/kernel/osrelease") or platform.release(),
            "os_version": _pretty_name(text_of(self._root / "etc/os-release")),
            "cpu_model": None,
            "cpu_count": None,
        }
        attributes: dict[str, Value | list[str] | None] = {**found, **_processors(self._proc)}
        yield Facts(
            Family.NODE,
            self._node_id,
            self._clock.wall(),
            {name: value for name, value in attributes.items() if value not in (None, "")},
        )

    def read(self, tier: Tier) -> Iterator[Reading]:
        """The node's row. One part that breaks leaves the others; its name is then a failed metric."""
        if not self._fresh or tier is Tier.SLOW:
            self._refresh()
        values: dict[str, Value] = {}
        failed: dict[str, str] = {}
        parts: list[tuple[str, Callable[[], dict[str, Value]]]] = [
            ("cpu_busy_ratio", self._processor_time),
            ("memory_total_bytes", self._memory),
            ("load1", self._levels),
            ("pressure_cpu_seconds", self._pressures),
            ("network_rx_bytes", self._network.fast),
            ("disk_read_bytes", self._storage.fast),
        ]
        if tier is Tier.SLOW:
            parts += [("bond_slaves_down", self._network.slow), ("nfs_read_bytes", self._storage.slow)]
        for key, part in parts:
            try:
                values.update(part())
            except (OSError, ValueError, IndexError):  # a file of another shape than any kernel we know
                failed[key] = "broken"
        if tier is Tier.SLOW:
            for outcome in self._watch.round({"filesystem_free_ratio": self._storage.fullest}):
                values.update(outcome.value or {})
                if outcome.late or outcome.error is not None:
                    failed[outcome.name] = "deadline" if outcome.late else "broken"
        yield Reading(Family.NODE, self._node_id, values, failed, counters_epoch=self._epoch)

    def events(self) -> Iterator[Event]:
        """None: what happens to a host shows in its rows and in the kernel log."""
        return iter(())

    def close(self) -> None:
        """Give the descriptors back."""
        for file in (self._stat, self._load, self._meminfo, self._uptime, *self._pressure.values()):
            file.close()
        self._network.close()
        self._storage.close()

    def _refresh(self) -> None:
        self._network.refresh()
        self._storage.refresh()
        self._fresh = True

    def _processor_time(self) -> dict[str, Value]:
        """Shares of the time since the last reading; absent in the first one."""
        text = self._stat.text()
        if text is None:
            return {}
        # man 5 proc_stat: user nice system idle iowait irq softirq steal (guest is part of user)
        fields = [int(field) for field in text.partition("\n")[0].split()[1:9]]
        before, self._cpu = self._cpu, fields
        if before is None or len(fields) < 8:
            return {}
        grown = [
            max(0, new - old) for new, old in zip(fields, before, strict=True)
        ]  # iowait may fall a little
        total = sum(grown)
        if total == 0:
            return {}
        idle, waiting = grown[3], grown[4]
        return {"cpu_busy_ratio": (total - idle - waiting) / total, "cpu_iowait_ratio": waiting / total}

    def _memory(self) -> dict[str, Value]:
        found = {name: int(number) * 1024 for name, number in _MEMORY.findall(self._meminfo.text() or "")}
        values: dict[str, Value] = {}
        if "MemTotal" in found:
            values["memory_total_bytes"] = found["MemTotal"]
        if "MemAvailable" in found:
            values["memory_available_bytes"] = found["MemAvailable"]
        if "SwapTotal" in found and "SwapFree" in found:
            values["swap_used_bytes"] = found["SwapTotal"] - found["SwapFree"]
        return values

    def _levels(self) -> dict[str, Value]:
        values: dict[str, Value] = {}
        if load := self._load.text():
            values["load1"] = float(load.split()[0])
        if uptime := self._uptime.text():
            values["uptime_seconds"] = float(uptime.split()[0])
        return values

    def _pressures(self) -> dict[str, Value]:
        """PSI totals; absent on kernels without it (CONFIG_PSI, or psi=0)."""
        totals = {}
        for name, file in self._pressure.items():
            for kind, total in _TOTAL.findall(file.text() or ""):
                totals[name, kind] = int(total)
        for name, kind, key in _PRESSURE:
            if (name, kind) in totals:
                self._growth.add(key, "", totals[name, kind] / 1e6)
        return self._growth.values(*(key for _, _, key in _PRESSURE))


def _pretty_name(text: str) -> str | None:
    for line in text.splitlines():
        name, _, value = line.partition("=")
        if name == "PRETTY_NAME":
            return value.strip().strip("\"'") or None
    return None


def _processors(proc: Path) -> dict[str, Value | list[str] | None]:
    """``cpu_model`` and ``cpu_count`` from /proc/cpuinfo, whatever the architecture prints there."""
    count = 0
    named: dict[str, str] = {}
    for line in text_of(proc / "cpuinfo").splitlines():
        name, _, value = line.partition(":")
        name = name.strip()
        count += name == "processor"
        named.setdefault(name, value.strip())
    model = named.get("model name") or named.get("Model Name") or named.get("cpu model")
    if not model and "CPU part" in named:
        place = (named.get("CPU implementer", ""), named["CPU part"])
        model = ARM_CORES.get(place, f"Arm implementer {place[0]} part {place[1]}")
    return {"cpu_model": model, "cpu_count": count or None}
