"""Kunlunxin cards through XPUML. Layouts and codes: xpuml.h (kunlunxin/go-xpuml); every struct has 128 bytes.

The header leaves out names and UUIDs, so a card is its serial number and its model a number. A K200 is two
devices with one serial, one PCI address and one power sensor; an R200 cut into virtual functions lists them
beside the physical one.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterable, Mapping
from ctypes import c_char, c_int, c_uint, c_ulonglong, c_void_p
from typing import Any, Final

from ullage_agent.backend import Host
from ullage_agent.backends.answers import address, degrees, megahertz, memory, share, watts
from ullage_agent.backends.clibrary import CLibrary
from ullage_agent.backends.handles import (
    NVML_CODES,
    HandleMaker,
    Library,
    ResetRequired,
    Watched,
    Who,
    candidates,
    probe,
)
from ullage_agent.backends.roster import Attributes, Found, Probe, Roster, Slice
from ullage_contract.catalogue import Tier
from ullage_contract.errors import Broken
from ullage_contract.event import Severity
from ullage_contract.identity import card_id, slice_id
from ullage_contract.sample import Value

MODELS: Final = {0: "K200", 1: "K100", 2: "R200", 3: "R300", 4: "R200-8F", 200: "R200-PF"}
"""xpumlDeviceModel_t; what is not here is named by its PCI device id."""
PCI_MODELS: Final = {0x3684: "Kunlun", 0x3685: "Kunlun VF", 0x3688: "P800"}
VIRTUAL: Final = {201: 1.0, 202: 1 / 2, 203: 1 / 3}
"""Model of a virtual function -> its share of the card: one of one, of two, of three."""
K200: Final = 0
STATES: Final[Mapping[int, tuple[str, str]]] = {
    0: ("unused", "ok"),
    201: ("running", "ok"),
    205: ("in reset", "degraded"),
    207: ("error", "critical"),
    208: ("exception", "critical"),
}
"""xpumlDeviceState_t -> its name and our health word."""


class PciInfo(ctypes.Structure):
    _fields_ = [
        ("domain", c_uint),
        ("bus", c_uint),
        ("device", c_uint),
        ("function", c_uint),
        ("pciDeviceId", c_uint),
        ("pciSubSystemId", c_uint),
        ("busId", c_char * 32),
        ("reserved", c_ulonglong * 9),
    ]


class Memory(ctypes.Structure):
    _fields_ = [
        (name, c_ulonglong)
        for name in (
            "pageSizeGlobalMemory",
            "totalGlobalMemory",
            "freeGlobalMemory",
            "usedGlobalMemory",
            "pageSizeL3Memory",
            "totalL3Memory",
            "freeL3Memory",
            "usedL3Memory",
        )
    ] + [("reserved", c_ulonglong * 8)]


class Utilization(ctypes.Structure):
    _fields_ = [("xpu", c_uint), ("memory", c_uint), ("reserved", c_ulonglong * 15)]


class ProcessInfo(ctypes.Structure):
    _fields_ = [
        ("pid", c_uint),
        ("usedGlobalMemory", c_ulonglong),
        ("usedL3Memory", c_ulonglong),
        ("root_ns_pid", c_uint),
        ("reserved_u32", c_uint),
        ("reserved", c_ulonglong * 12),
    ]


class DeviceAttributes(ctypes.Structure):
    _fields_ = [
        ("archId", c_int),
        ("boardId", c_int),
        ("modelId", c_int),
        ("clusterCount", c_uint),
        ("sdnnCount", c_uint),
        ("dmaEngineCount", c_uint),
        ("decoderCount", c_uint),
        ("encoderCount", c_uint),
        ("imgProcCount", c_uint),
        ("maxVFCount", c_uint),
        ("globalMemorySizeMB", c_ulonglong),
        ("l3MemorySizeMB", c_ulonglong),
        ("sn", c_ulonglong * 2),
        ("reserved", c_ulonglong * 7),
    ]


class Xpuml(HandleMaker):
    """The walk over the devices and what each is asked."""

    vendor = "kunlunxin"

    def __init__(self, host: Host, library: Library) -> None:
        super().__init__(host, library)
        self._driver: str | None = None
        self._chips: dict[str, int] = {}
        self._physical: set[str] = set()
        self._functions: dict[str, list[tuple[Any, str, int]]] = {}

    def start(self) -> None:
        self.library.run("xpumlInit")
        self._driver = self.library.maybe(lambda: self.library.text("xpumlSystemGetDriverVersion", length=80))

    def stop(self) -> None:
        self.library.run("xpumlShutdown")

    def places(self) -> Iterable[int]:
        self._chips = {}
        self._functions = {}
        return range(self.library.u32("xpumlDeviceGetCount"))

    def handle(self, index: int) -> c_void_p:
        handle = c_void_p()
        self.library.run("xpumlDeviceGetHandleByIndex", c_uint(index), ctypes.byref(handle))
        return handle

    def who(self, handle: Any, index: int, watched: Watched[Any]) -> Who | None:
        lib = self.library
        pci = watched("xpumlDeviceGetPciInfo", lambda: lib.struct("xpumlDeviceGetPciInfo", PciInfo, handle))
        place = address(f"{pci.domain:x}:{pci.bus:02x}:{pci.device:02x}.{pci.function:x}")
        serial = watched(
            "xpumlDeviceGetSerial",
            lambda: lib.known(lambda: lib.text("xpumlDeviceGetSerial", handle, length=30)),
        )
        model = watched("xpumlDeviceGetAttributes", lambda: lib.known(lambda: self._model(handle)))
        if model in VIRTUAL and serial in self._physical:
            self._functions.setdefault(serial, []).append((handle, place or str(index), model))
            return None
        if model == 200 and serial:
            self._physical.add(serial)
        chip: int | None = None
        if model == K200 and serial:
            chip = self._chips.setdefault(serial, 0)
            self._chips[serial] += 1
        key = card_id(vendor="kunlunxin", serial=serial, chip=chip, node_id=self.host.node_id, pci=place)
        if (
            model in VIRTUAL and place
        ):  # a function whose card this machine does not see: the serial is the card's
            key = f"{key}-{place}" if serial else key
        watched("xpumlDeviceGetMemoryInfo", lambda: lib.struct("xpumlDeviceGetMemoryInfo", Memory, handle))
        # the driver that the state says is missing answers CardLost here, before anything is promised
        device_id = pci.pciDeviceId >> 16
        name = MODELS.get(model) if model is not None else None
        attributes: Attributes = {
            "model": name or PCI_MODELS.get(device_id) or f"Kunlunxin {device_id:04x}",
            "serial": serial,
            "chip": chip,
            "board_id": f"kunlunxin-{serial}" if chip is not None else None,
            "pci_address": place,
            "device_node": self._node(index),
            "driver_version": self._driver,
            "util_kind": "kernel_resident",
            "partition_mode": "sriov" if model == 200 or model in VIRTUAL else "none",
        }
        return Who(key, attributes, place)

    def found(self, handle: Any, index: int, who: Who) -> Found:
        lib = self.library

        def utilization() -> Mapping[str, Value]:
            function = "xpumlDeviceGetUtilizationRates"
            rates = lib.struct(function, Utilization, handle)
            return {
                "utilization_ratio": share(rates.xpu, function),
                "memory_bandwidth_ratio": share(rates.memory, function),
            }

        power = "board_power_watts" if who.attributes.get("chip") is not None else "power_watts"
        probes = [
            Probe(
                "xpumlDeviceGetUtilizationRates", ("utilization_ratio", "memory_bandwidth_ratio"), utilization
            ),
            Probe(
                "xpumlDeviceGetMemoryInfo",
                ("memory_used_bytes", "memory_total_bytes"),
                lambda: self._memory(handle),
            ),
            probe(
                "xpumlDeviceGetPowerUsage",
                power,
                lambda: watts(lib.u32("xpumlDeviceGetPowerUsage", handle), "xpumlDeviceGetPowerUsage"),
            ),
            probe(
                "xpumlDeviceGetTemperature",
                "temperature_celsius",
                lambda: degrees(
                    lib.u32("xpumlDeviceGetTemperature", handle, c_int(0)), "xpumlDeviceGetTemperature"
                ),
            ),
            probe(
                "xpumlDeviceGetClockInfo",
                "clock_core_hertz",
                lambda: megahertz(
                    lib.u32("xpumlDeviceGetClockInfo", handle, c_int(0)), "xpumlDeviceGetClockInfo"
                ),
            ),
            Probe(
                "xpumlDeviceGetState",
                ("health", "health_detail", "reset_required", "recovery_action"),
                lambda: self._health(handle),
            ),
            probe(
                "xpumlDeviceGetComputeRunningProcesses",
                "processes",
                lambda: len(self._rows(handle)),
                tier=Tier.SLOW,
            ),
        ]
        return Found(
            who.card_id,
            who.attributes,
            probes,
            slices=lambda: self._slices(who),
            processes=lambda: [
                self.process(row.root_ns_pid or row.pid, {"process_memory_used_bytes": row.usedGlobalMemory})
                for row in self._rows(handle)
            ],
            alarms=lambda: self._alarms(handle),
            epoch=self._driver,
        )

    def _model(self, handle: Any) -> int:
        return int(self.library.struct("xpumlDeviceGetAttributes", DeviceAttributes, handle).modelId)

    def _memory(self, handle: Any) -> Mapping[str, Value]:
        function = "xpumlDeviceGetMemoryInfo"
        held = self.library.struct(function, Memory, handle)
        return memory(held.usedGlobalMemory, held.totalGlobalMemory, function)

    def _state(self, handle: Any) -> int:
        return self.library.i32("xpumlDeviceGetState", handle)

    def _health(self, handle: Any) -> Mapping[str, Value]:
        try:
            state = self._state(handle)
        except ResetRequired:
            return {
                "health": "critical",
                "health_detail": "reset required",
                "reset_required": 1,
                "recovery_action": "reset",
            }
        if state not in STATES:
            raise Broken(f"xpumlDeviceGetState: {state} is no state we know")
        name, word = STATES[state]
        return {
            "health": word,
            "health_detail": f"{name} ({state})",
            "reset_required": 0,
            "recovery_action": "none",
        }

    def _alarms(self, handle: Any) -> list[tuple[str, Severity, str]]:
        try:
            state = self._state(handle)
        except ResetRequired:
            return [("reset_required", Severity.CRITICAL, "XPUML asks for a reset of this card")]
        name, word = STATES.get(state, ("unknown", "ok"))
        return [(str(state), Severity.CRITICAL, f"device state {name}")] if word == "critical" else []

    def _rows(self, handle: Any) -> list[ProcessInfo]:
        return self.library.rows("xpumlDeviceGetComputeRunningProcesses", ProcessInfo, handle)

    def _slices(self, who: Who) -> list[Slice]:
        """The virtual functions of a physical one: seen in the same look, told apart by their PCI address."""
        serial = who.attributes.get("serial")
        found = []
        for handle, place, model in self._functions.get(str(serial), []):
            probes = [
                Probe(
                    "xpumlDeviceGetMemoryInfo",
                    ("memory_used_bytes", "memory_total_bytes"),
                    lambda handle=handle: self._memory(handle),  # type: ignore[misc]
                ),
                Probe(
                    "xpumlDeviceGetUtilizationRates",
                    ("utilization_ratio",),
                    lambda handle=handle: self._slice_utilization(handle),  # type: ignore[misc]
                ),
            ]
            attributes: Attributes = {
                "profile": f"VF {round(1 / VIRTUAL[model])}",
                "compute_share": VIRTUAL[model],
                "pci_address": place,
            }
            found.append(Slice(slice_id(who.card_id, place), attributes, probes))
        return found

    def _slice_utilization(self, handle: Any) -> Mapping[str, Value]:
        function = "xpumlDeviceGetUtilizationRates"
        return {"utilization_ratio": share(self.library.struct(function, Utilization, handle).xpu, function)}

    def _node(self, index: int) -> str | None:
        """/dev/xpuN by the library's index; where some are missing the count says nothing, so only what is there."""
        return f"/dev/xpu{index}" if (self.host.dev / f"xpu{index}").exists() else None


def open_reader(host: Host) -> Roster:
    """Called in the child. Loads nothing yet."""
    names = candidates(
        host,
        "libxpuml.so",
        "libxpuml.so.1",
        "/usr/local/xpu/lib64/libxpuml.so",
        "/usr/local/xpu/lib/libxpuml.so",
        "/usr/lib/x86_64-linux-gnu/libxpuml.so.1",
    )
    return Roster(Xpuml(host, Library(CLibrary("XPUML (libxpuml.so)", names), NVML_CODES)))
