"""Intel NPUs that the ivpu driver (intel_vpu) drives. Files: drivers/accel/ivpu/ivpu_sysfs.c, Linux 6.11 to 6.18.

Reading them does not wake a sleeping NPU: the driver answers from memory, and 0 MHz when it is powered down.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from time import monotonic
from typing import Final

from ullage_agent.backend import Call, Host
from ullage_agent.backends.holders import Held, Watch, identity
from ullage_agent.backends.pcie import PciFunction
from ullage_agent.backends.rate import Rate
from ullage_agent.backends.roster import Attributes, Found, Probe, Roster
from ullage_contract.catalogue import Tier
from ullage_contract.errors import CardLost, NotPermitted
from ullage_contract.identity import card_id
from ullage_contract.sample import Value

_DRIVER: Final = "bus/pci/drivers/intel_vpu"
_MODELS: Final = {
    "7d1d": "Intel NPU (Meteor Lake)",
    "ad1d": "Intel NPU (Arrow Lake)",
    "643e": "Intel NPU (Lunar Lake)",
    "b03e": "Intel NPU (Panther Lake)",
}


class _Npu:
    def __init__(self, host: Host, address: str, clock: Callable[[], float]) -> None:
        self.address = address
        self._host = host
        self.pci = PciFunction(host.sysfs, address)
        self._files = self.pci.files
        self._busy = Rate(clock)
        accel = sorted(path.name for path in self._files.root.glob("accel/accel[0-9]*"))
        self.node = f"/dev/accel/{accel[0]}" if accel else None
        self.held = Held({}, False)

    def probes(self) -> list[Probe]:
        return [
            Probe("npu_busy_time_us", ("utilization_ratio",), self._utilization),
            Probe("npu_memory_utilization", ("memory_host_used_bytes",), self._memory),
            Probe("npu_current_frequency_mhz", ("clock_core_hertz",), self._clock),
            Probe("npu_max_frequency_mhz", ("clock_core_max_hertz",), self._clock_max, Tier.SLOW),
            Probe("holders", ("processes",), self._count, Tier.SLOW),
        ]

    def processes(self) -> Sequence[tuple[Attributes, Mapping[str, Value]]]:
        return [(identity(self._host.proc, pid), {}) for pid in self.held.by_node.get(self.node or "", ())]

    def still(self) -> None:
        """Raises CardLost when the driver let go of it. It gives no other verdict; its errors are in the kernel log."""
        if not (self._host.sysfs / _DRIVER / self.address).exists():
            raise CardLost(f"{self.address}: its driver let go of it")

    def _utilization(self) -> dict[str, Value]:
        microseconds_a_second = self._busy.of(self._files.number("npu_busy_time_us"))
        if microseconds_a_second is None:
            return {}
        return {"utilization_ratio": min(1.0, microseconds_a_second / 1e6)}

    def _memory(self) -> dict[str, Value]:
        return {"memory_host_used_bytes": self._files.number("npu_memory_utilization")}

    def _clock(self) -> dict[str, Value]:
        return {"clock_core_hertz": self._files.number("npu_current_frequency_mhz") * 1e6}

    def _clock_max(self) -> dict[str, Value]:
        return {"clock_core_max_hertz": self._files.number("npu_max_frequency_mhz") * 1e6}

    def _count(self) -> dict[str, Value]:
        if not self.held.complete:
            raise NotPermitted("the open files of other users' processes: give the agent CAP_SYS_PTRACE")
        return {"processes": len(self.held.by_node.get(self.node or "", ()))}


class NpuMaker:
    """See roster.Maker."""

    vendor = "intel-npu"

    def __init__(self, host: Host, clock: Callable[[], float] = monotonic) -> None:
        self._host = host
        self._clock = clock
        self._npus: dict[str, _Npu] = {}
        self._watch = Watch(host.proc)

    def open(self, call: Call) -> None:
        """Nothing to open."""

    def look(self, call: Call) -> Sequence[Found]:
        """Every device the driver has; one it let go of is lost."""
        places = sorted((self._host.sysfs / _DRIVER).glob("*:*:*.*"))
        present = {place.name for place in places}
        for gone in set(self._npus) - present:
            self._npus.pop(gone).pci.close()
        found = [self._found(index, place) for index, place in enumerate(places)]
        nodes = [npu.node for npu in self._npus.values() if npu.node is not None]
        held = call("", "/proc", lambda: self._watch.scan(nodes))
        for npu in self._npus.values():
            npu.held = held
        return found

    def close(self) -> None:
        """Close every descriptor."""
        for npu in self._npus.values():
            npu.pci.close()

    def _found(self, index: int, place: Path) -> Found:
        npu = self._npus.get(place.name)
        if npu is None:
            npu = self._npus[place.name] = _Npu(self._host, place.name, self._clock)
        try:
            device = (place / "device").read_text(encoding="ascii").strip().removeprefix("0x")
        except OSError:
            device = "?"
        return Found(
            card_id(vendor=self.vendor, node_id=self._host.node_id, pci=place.name),
            {
                "model": _MODELS.get(device, f"Intel NPU [0x{device}]"),
                "pci_address": place.name,
                "index": index,
                "numa_node": npu.pci.numa_node,
                "device_node": npu.node,
                "util_kind": "duty_cycle",
            },
            npu.probes(),
            processes=npu.processes,
            still=npu.still,
        )


def open_reader(host: Host) -> Roster:
    """The reader for the child process."""
    return Roster(NpuMaker(host))
