"""Neuron devices through the driver's sysfs tree, beside one long-lived neuron-monitor for what only it knows.

Source: neuron-sysfs-user-guide and neuron-monitor user guide. Files are opened read-only: a write to a counter
clears it. Neuron gives no temperature, watts or clock. A device's NeuronCores are what schedulers hand out;
they share the device's memory and errors and are not reported as slices.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from ullage_agent.backend import Call, Host
from ullage_agent.backends import holders
from ullage_agent.backends.json_text import find_json, listing, mapping, word
from ullage_agent.backends.neuron.monitor import Report, parse
from ullage_agent.backends.pcie import PciFunction
from ullage_agent.backends.printed import address, said, whole
from ullage_agent.backends.roster import Attributes, Found, Probe, Roster
from ullage_agent.backends.sysfs import SysfsFiles, glance
from ullage_agent.backends.toolstream import ToolStream, find_tool
from ullage_contract.catalogue import Tier
from ullage_contract.errors import BadInput, Broken, NotPresent, NotSupported, ReadingError
from ullage_contract.identity import card_id
from ullage_contract.sample import Value

FOLDERS: Final = ("/opt/aws/neuron/bin",)
PERIOD_SECONDS: Final = 5
FRESH_SECONDS: Final = 20.0  # our choice: because three periods without a report are silence
FIRST_WAIT_SECONDS: Final = 1.5  # our choice: because a call may take 2 s and the first report comes at once
LISTING_SECONDS: Final = 1.5

MONITOR_SETTINGS: Final = {
    "period": f"{PERIOD_SECONDS}s",
    "neuron_runtimes": [
        {"tag_filter": ".*", "metrics": [{"type": "neuroncore_counters"}, {"type": "memory_used"}]}
    ],
    "system_metrics": [{"type": "neuron_hw_counters"}],
}
"""Only what is read here: each further group costs the node processor time."""

_CRITICAL: Final = ("mem_ecc_uncorrected", "sram_ecc_uncorrected", "reset_fail_count", "hw_error")
_DEGRADED: Final = ("mem_ecc_repairable_uncorrected",)


class _Device:
    """One neuronN directory."""

    def __init__(self, place: Path, number: int) -> None:
        self.number = number
        self.files = SysfsFiles(place)
        self.cores = sorted(
            (path.name for path in place.glob("neuron_core[0-9]*")), key=lambda name: int(name[11:])
        )

    def text(self, *names: str) -> str | None:
        """The first of these files that says something."""
        for name in names:
            try:
                text = said(self.files.text(name))
            except ReadingError:
                continue
            if text:
                return text
        return None

    def counter(self, name: str) -> int:
        """A counter: a directory with ``total`` in it, in some driver versions a plain file. Raises as SysfsFiles."""
        try:
            return self.files.number(f"{name}/total")
        except NotSupported:
            if (self.files.root / name).is_dir():
                raise
            return self.files.number(name)


class Neuron:
    """backends.roster.Maker over the driver's tree and neuron-monitor."""

    vendor = "neuron"

    def __init__(self, host: Host) -> None:
        self._host = host
        self._root = host.sysfs / "devices/virtual/neuron_device"
        self._devices: dict[str, _Device] = {}
        self._pci: dict[str, PciFunction | None] = {}
        self._listing: dict[int, tuple[str | None, int | None]] | None = None
        self._config: int | None = None
        self._stream: ToolStream | None = None
        self._parsed: tuple[str, int, Report] | None = None
        self._waited = False

    def open(self, call: Call) -> None:
        """Start neuron-monitor once; without it the driver's counters are still read."""
        if self._stream is not None:
            return
        # a file that lives in memory as long as we do; the tool opens it through our /proc entry
        self._config = os.memfd_create("ullage-neuron-monitor")
        os.write(self._config, json.dumps(MONITOR_SETTINGS).encode("ascii"))
        config = f"/proc/{os.getpid()}/fd/{self._config}"
        tool = find_tool("neuron-monitor", FOLDERS, self._host.settings.get("monitor"))
        self._stream = ToolStream([tool, "-c", config], fresh_seconds=FRESH_SECONDS)

    def look(self, call: Call) -> Sequence[Found]:
        """Every device directory the driver shows."""
        if not self._root.is_dir():
            raise NotPresent(f"{self._root} is not there: is the neuron driver loaded?")
        names = sorted(
            (path.name for path in self._root.glob("neuron[0-9]*") if path.name[6:].isdigit()),
            key=lambda name: int(name[6:]),
        )
        for gone in set(self._devices) - set(names):
            self._devices.pop(gone).files.close()
        new = [name for name in names if name not in self._devices]
        for name in new:
            self._devices[name] = _Device(self._root / name, int(name[6:]))
        if new or self._listing is None:
            self._listing = self._list(call)
        if not self._waited:  # so that the first reading already has a report
            self._waited = True
            try:
                call("", "neuron-monitor", lambda: self._latest(FIRST_WAIT_SECONDS))
            except ReadingError:
                pass  # told by the probes that need it
        return [self._found(self._devices[name]) for name in names]

    def close(self) -> None:
        """End neuron-monitor, close the files."""
        if self._stream is not None:
            self._stream.close()
        if self._config is not None:
            os.close(self._config)
            self._config = None
        for device in self._devices.values():
            device.files.close()
        for function in self._pci.values():
            if function is not None:
                function.close()

    # ---- neuron-monitor and neuron-ls

    def _latest(self, wait_seconds: float) -> str:
        if self._stream is None:
            raise NotPresent("neuron-monitor was not started")
        return self._stream.latest(wait_seconds)

    def _report(self, device: _Device) -> Report:
        line = self._latest(0.0)
        cores = len(device.cores) or 1
        if self._parsed is None or self._parsed[0] is not line or self._parsed[1] != cores:
            self._parsed = (line, cores, parse(line, cores))
        return self._parsed[2]

    def _list(self, call: Call) -> dict[int, tuple[str | None, int | None]]:
        """neuron-ls once an inventory: device -> (PCI address, bytes of memory). Empty without the tool."""
        tool = find_tool("neuron-ls", FOLDERS, self._host.settings.get("lister"))

        def run() -> str:
            try:
                done = subprocess.run(
                    [tool, "--json-output"],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.DEVNULL,
                    timeout=LISTING_SECONDS,
                    check=False,
                )
            except (OSError, subprocess.TimeoutExpired) as e:
                raise NotPresent(f"{tool}: {e}") from e
            return done.stdout.decode("utf-8", "replace")

        try:
            entries = listing(find_json(call("", "neuron-ls", run), "neuron-ls"))
        except (ReadingError, BadInput):
            return {}
        found = {}
        for entry in map(mapping, entries):
            number = whole(word(entry.get("neuron_device")))
            if number is not None:
                found[number] = (address(word(entry.get("bdf"))), whole(word(entry.get("memory_size"))))
        return found

    # ---- one device

    def _found(self, device: _Device) -> Found:
        pci, memory = (self._listing or {}).get(device.number, (None, None))
        if pci is not None and self._pci.get(pci) is None:
            self._pci[pci] = PciFunction.at(self._host.sysfs, pci)
        function = self._pci.get(pci) if pci is not None else None
        serial = device.text("info/serial_number")
        place = "info/architecture/"
        attributes: Attributes = {
            "model": device.text(place + "device_name", place + "device_type", place + "arch_type"),
            "serial": serial,
            "uuid": serial,
            "pci_address": pci,
            "index": device.number,
            "minor": device.number,
            "device_node": f"/dev/neuron{device.number}",
            "numa_node": function.numa_node if function else None,
            "memory_total_bytes": memory,
            "driver_version": self._driver_version(),
            "util_kind": "core_mean",
        }
        return Found(
            card_id=card_id(
                vendor=self.vendor,
                uuid=serial,  # "the unique device identifier"; the kernel log names devices by it
                chip=device.number,
                node_id=self._host.node_id,
            ),
            attributes={name: value for name, value in attributes.items() if value is not None},
            probes=list(self._probes(device, memory, function)),
            processes=lambda: self._processes(device),
            epoch=self._epoch(),
        )

    def _probes(self, device: _Device, memory: int | None, function: PciFunction | None) -> Iterator[Probe]:
        yield Probe("neuron-monitor", ("utilization_ratio",), lambda: self._utilization(device))
        yield Probe("device_mem", ("memory_used_bytes",), lambda: self._memory(device))
        yield Probe("neuron_device_memory_size", ("memory_total_bytes",), lambda: self._total(device, memory))
        yield Probe(
            "host_mem",
            ("memory_host_used_bytes",),
            lambda: {"memory_host_used_bytes": device.counter("stats/memory_usage/host_mem")},
        )
        yield Probe("health", ("health", "health_detail"), lambda: self._health(device))
        for key, name in (
            ("ecc_uncorrected", "mem_ecc_uncorrected"),
            ("sram_ecc_uncorrected", "sram_ecc_uncorrected"),
            ("ecc_corrected", "mem_ecc_corrected"),
            ("sram_ecc_corrected", "sram_ecc_corrected"),
        ):
            yield Probe(name, (key,), self._errors(device, key, name), Tier.SLOW)
        yield Probe("runtimes", ("processes",), lambda: {"processes": len(self._users(device))}, Tier.SLOW)
        if function is not None:
            yield from function.probes()

    def _utilization(self, device: _Device) -> Mapping[str, Value]:
        return {"utilization_ratio": self._report(device).utilization(device.number)}

    def _memory(self, device: _Device) -> Mapping[str, Value]:
        try:
            used = [device.counter(f"{core}/stats/memory_usage/device_mem") for core in device.cores]
        except NotSupported:
            used = []
        if used:
            return {"memory_used_bytes": sum(used)}
        held = self._report(device).memory_used(device.number)
        if held is None:
            raise NotSupported("neither sysfs nor neuron-monitor counts this device's memory")
        return {"memory_used_bytes": held}

    def _total(self, device: _Device, listed: int | None) -> Mapping[str, Value]:
        if listed:
            return {"memory_total_bytes": listed}
        total = self._report(device).memory_total()
        if total is None:
            raise NotSupported("neuron-monitor does not say how much memory a device has")
        return {"memory_total_bytes": total}

    def _errors(self, device: _Device, key: str, name: str) -> Callable[[], Mapping[str, Value]]:
        def ask() -> Mapping[str, Value]:
            try:
                return {key: device.counter(f"stats/hardware/{name}")}
            except NotSupported:
                count = self._report(device).errors(device.number).get(name)
                if count is None:
                    raise Broken(f"neuron-monitor does not say {name}") from None
                return {key: count}

        return ask

    def _health(self, device: _Device) -> Mapping[str, Value]:
        """Nothing readable is no health at all, so NotSupported; never "ok" for silence."""
        counts: dict[str, int] = {}
        for name in (*_CRITICAL[:2], *_DEGRADED):
            self._count(device, f"stats/hardware/{name}", name, counts)
        for core in device.cores:
            self._count(device, f"{core}/stats/other_info/reset_fail_count", "reset_fail_count", counts)
            self._count(device, f"{core}/stats/status/hw_error", "hw_error", counts)
        if not counts:
            raise NotSupported("the driver shows no error counter")
        standing = [f"{name}={count}" for name, count in counts.items() if count]
        word_ = "ok"
        if any(counts.get(name) for name in _DEGRADED):
            word_ = "degraded"
        if any(counts.get(name) for name in _CRITICAL):
            word_ = "critical"
        return {"health": word_, "health_detail": " ".join(standing) or "no errors counted"}

    @staticmethod
    def _count(device: _Device, path: str, name: str, counts: dict[str, int]) -> None:
        try:
            counts[name] = counts.get(name, 0) + device.counter(path)
        except NotSupported:
            pass

    # ---- processes

    def _users(self, device: _Device) -> list[tuple[int, float | None, int | None]]:
        return self._report(device).processes(device.number)

    def _processes(self, device: _Device) -> Sequence[tuple[Attributes, Mapping[str, Value]]]:
        rows: list[tuple[Attributes, Mapping[str, Value]]] = []
        for pid, share, held in self._users(device):
            values: dict[str, Value] = {}
            if share is not None:
                values["process_utilization_ratio"] = min(1.0, share)
            if held is not None:
                values["process_memory_used_bytes"] = held
            rows.append((holders.identity(self._host.proc, pid), values))
        return rows

    # ---- the driver

    def _driver_version(self) -> str | None:
        return glance(self._host.sysfs / "module/neuron/version")

    def _epoch(self) -> str | None:
        """The driver's load: its counters begin anew with it."""
        try:
            return f"neuron-{int((self._host.sysfs / 'module/neuron').stat().st_ctime)}"
        except OSError:
            return None


def open_reader(host: Host) -> Roster:
    """What the child runs."""
    return Roster(Neuron(host))
