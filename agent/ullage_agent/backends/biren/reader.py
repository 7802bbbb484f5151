"""Biren cards through BRML. Layouts and codes: brml.h (BirenTechnology/go-brml).

A card in SVI mode 2 or 4 is cut into that many instances: they are its slices, never cards beside it.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterable, Mapping
from ctypes import c_char, c_int, c_uint, c_ulonglong, c_void_p
from typing import Any, Final

from ullage_agent.backend import Host
from ullage_agent.backends.answers import (
    address,
    count,
    degrees,
    held,
    kilobytes,
    lanes,
    megahertz,
    memory,
    share,
    throttle_bits,
    watts,
)
from ullage_agent.backends.clibrary import CLibrary, text_of
from ullage_agent.backends.handles import Codes, HandleMaker, Library, Watched, Who, candidates, probe
from ullage_agent.backends.roster import Attributes, Found, Probe, Roster, Slice
from ullage_contract.catalogue import THROTTLE_REASONS, Tier
from ullage_contract.errors import Broken, CardLost, NotSupported, ReadingError
from ullage_contract.event import Severity
from ullage_contract.identity import card_id, slice_id
from ullage_contract.sample import Value

CODES: Final = Codes(
    unsupported=frozenset({2, 3}),  # invalid argument: an enum this release does not know; not supported
    absent=frozenset({7}),
    permission=frozenset({4}),
    uninitialised=frozenset({1}),
    more=frozenset({6, 10}),
    messages={
        4: "no permission: run as root or make /dev/biren readable",
        5: "not found",
        7: "the driver is not loaded",
        8: "timeout",
        15: "busy",
        16: "library and driver are of different versions",
    },
)
HEALTH: Final = {
    0: ("ok", "ok"),
    1: ("warning", "degraded"),
    2: ("critical warning", "critical"),
    3: ("error", "critical"),
}
"""brmlGpuHealthStatus_t -> its name and our health word."""
THROTTLE: Final = {1: "hardware_slowdown", 2: "hardware_thermal", 4: "hardware_power_brake"}
FLASH: Final = 6  # BRML_GPU_FIRMWARE_TYPE_FLASH: what the board was flashed with
NOT_FOUND: Final = 5


class PciInfo(ctypes.Structure):
    _fields_ = [
        ("domain", c_uint),
        ("bus", c_uint),
        ("device", c_uint),
        ("function", c_uint),
        ("pciDeviceId", c_uint),
        ("pciSubSystemId", c_uint),
        ("busId", c_char * 32),
    ]


class Memory(ctypes.Structure):
    _fields_ = [("total", c_ulonglong), ("free", c_ulonglong), ("used", c_ulonglong)]


class Utilization(ctypes.Structure):
    _fields_ = [("gpu", c_uint), ("memory", c_uint)]


class ProcessInfo(ctypes.Structure):
    _fields_ = [("pid", c_uint), ("usedGpuMemory", c_ulonglong), ("usedHostMemory", c_ulonglong)]


class GPUInfo(ctypes.Structure):
    _fields_ = [
        ("name", c_char * 96),
        ("id", c_char * 96),
        ("serial", c_char * 96),
        ("board_id", c_char * 96),
    ]


class Brml(HandleMaker):
    """The walk over the cards and what each is asked."""

    vendor = "biren"

    def __init__(self, host: Host, library: Library) -> None:
        super().__init__(host, library)
        self._driver: str | None = None
        self._runtime: str | None = None
        self._slots: dict[str, tuple[int, str]] = {}

    def start(self) -> None:
        lib = self.library
        lib.run("brmlInit")
        self._driver = lib.maybe(lambda: lib.text("brmlSystemGetDriverVersion", length=80))
        supa = lib.maybe(lambda: lib.i32("brmlSystemGetSupaDriverVersion"))
        # brml.h BRML_SUPA_DRIVER_VERSION_MAJOR and _MINOR
        self._runtime = f"{supa // 1000}.{supa % 1000 // 10}" if supa and supa > 0 else None

    def stop(self) -> None:
        self.library.run("brmlShutdown")

    def places(self) -> Iterable[int]:
        self._slots = {}
        return range(self.library.u32("brmlDeviceGetCount"))

    def handle(self, index: int) -> c_void_p:
        """NOT_FOUND of this call alone means that the card is gone; elsewhere it is a value nobody has."""
        handle = c_void_p()
        function = "brmlDeviceGetHandleByIndex"
        code = self.library.c.function(function)(c_uint(index), ctypes.byref(handle))
        if code == NOT_FOUND:
            raise CardLost(f"{function}: card {index} is counted and not found")
        if code != 0:
            raise CODES.failure(code, function)
        return handle

    def who(self, handle: Any, index: int, watched: Watched[Any]) -> Who | None:
        lib = self.library
        uuid = watched(
            "brmlDeviceGetUUID",
            lambda: lib.known(lambda: lib.text("brmlDeviceGetUUID", handle, length=80)),
        )
        pci = watched("brmlDeviceGetPciInfo", lambda: lib.struct("brmlDeviceGetPciInfo", PciInfo, handle))
        place = address(f"{pci.domain:x}:{pci.bus:02x}:{pci.device:02x}.{pci.function:x}")
        info = watched(
            "brmlDeviceGetGpuInfo",
            lambda: lib.known(lambda: lib.struct("brmlDeviceGetGpuInfo", GPUInfo, handle)),
        )
        name = text_of(info.name) if info else None
        serial = text_of(info.serial) if info else None
        slot = (place or "").split(".")[0]
        first = self._slots.setdefault(slot, (index, serial)) if slot and serial else None
        if first is not None and first[0] != index and first[1] == serial:
            return None  # an instance of the card in this slot, counted beside it
        minor = watched(
            "brmlDeviceGetMinorNumber", lambda: lib.maybe(lambda: lib.u32("brmlDeviceGetMinorNumber", handle))
        )
        mode = watched("brmlDeviceGetSviMode", lambda: lib.maybe(lambda: self._svi(handle)))
        attributes: Attributes = {
            "model": name,
            "uuid": uuid,
            "serial": serial,
            "board_id": text_of(info.board_id) if info else None,
            "pci_address": place,
            "minor": minor,
            "device_node": None if minor is None else f"/dev/biren/card_{minor}",
            "partition_mode": "none" if mode in (None, 0, 1) else "svi",
            "driver_version": self._driver,
            "runtime_version": self._runtime,
            "firmware_version": watched("brmlDeviceGetFirmwareVersion", lambda: self._firmware(handle)),
            "util_kind": "kernel_resident",
        }
        key = card_id(vendor="biren", uuid=uuid, serial=serial, node_id=self.host.node_id, pci=place)
        return Who(key, attributes, place)

    def found(self, handle: Any, index: int, who: Who) -> Found:
        return Found(
            who.card_id,
            who.attributes,
            self._probes(handle),
            slices=lambda: self._slices(handle, who),
            processes=lambda: [self.process(row.pid, held(row.usedGpuMemory)) for row in self._rows(handle)],
            alarms=lambda: self._alarms(handle),
            epoch=self._driver,
        )

    def _probes(self, handle: Any) -> list[Probe]:
        lib = self.library

        def number(
            function: str, key: str, scale: Callable[[int, str], Value], *leading: Any, **more: Any
        ) -> Probe:
            return probe(function, key, lambda: scale(lib.u32(function, handle, *leading), function), **more)

        def counter(function: str, key: str, *leading: Any) -> Probe:
            return probe(
                function, key, lambda: count(lib.u64(function, handle, *leading), function), tier=Tier.SLOW
            )

        slow = {"tier": Tier.SLOW}
        return [
            Probe(
                "brmlDeviceGetUtilizationRates",
                ("utilization_ratio", "memory_bandwidth_ratio"),
                lambda: self._utilization(handle),
            ),
            Probe(
                "brmlDeviceGetMemoryInfo",
                ("memory_used_bytes", "memory_total_bytes"),
                lambda: self._memory(handle),
            ),
            number("brmlDeviceGetPowerUsage", "power_watts", watts),
            number("brmlDeviceGetTemperature", "temperature_celsius", degrees, c_int(0)),
            number("brmlDeviceGetTemperature", "memory_temperature_celsius", degrees, c_int(1)),
            number("brmlDeviceGetTemperature", "board_temperature_celsius", degrees, c_int(3)),
            number("brmlDeviceGetClockInfo", "clock_core_hertz", megahertz, c_int(1)),
            number("brmlDeviceGetClockInfo", "clock_memory_hertz", megahertz, c_int(2)),
            number("brmlDeviceGetClockInfo", "clock_video_hertz", megahertz, c_int(4), **slow),
            number("brmlDeviceGetMaxClockInfo", "clock_core_max_hertz", megahertz, c_int(1), **slow),
            probe("brmlDeviceGetEncoderUtilization", "encoder_ratio", lambda: self._codec("Encoder", handle)),
            probe("brmlDeviceGetDecoderUtilization", "decoder_ratio", lambda: self._codec("Decoder", handle)),
            probe(
                "brmlDeviceGetCurrentClocksThrottleReasons",
                "throttle_reasons",
                lambda: throttle_bits(
                    lib.u64("brmlDeviceGetCurrentClocksThrottleReasons", handle), THROTTLE, THROTTLE_REASONS
                ),
            ),
            Probe("brmlDeviceGetHealthStatus", ("health", "health_detail"), lambda: self._health(handle)),
            number("brmlDeviceGetPcieThroughput", "pcie_tx_bytes_per_second", kilobytes, c_int(0), **slow),
            number("brmlDeviceGetPcieThroughput", "pcie_rx_bytes_per_second", kilobytes, c_int(1), **slow),
            number("brmlDeviceGetPowerManagementLimit", "power_limit_watts", watts, **slow),
            number(
                "brmlDeviceGetTemperatureThreshold", "temperature_limit_celsius", degrees, c_int(1), **slow
            ),
            number("brmlDeviceGetCurrPcieLinkGeneration", "pcie_generation", lanes, **slow),
            number("brmlDeviceGetMaxPcieLinkGeneration", "pcie_generation_max", lanes, **slow),
            number("brmlDeviceGetCurrPcieLinkWidth", "pcie_width", lanes, **slow),
            number("brmlDeviceGetMaxPcieLinkWidth", "pcie_width_max", lanes, **slow),
            number("brmlDeviceGetPcieReplayCounter", "pcie_replays", count, **slow),
            counter("brmlDeviceGetTotalEccErrors", "ecc_corrected", c_int(0), c_int(0)),
            counter("brmlDeviceGetTotalEccErrors", "ecc_uncorrected", c_int(1), c_int(0)),
            probe(
                "brmlDeviceGetMemoryErrorCounter", "sram_ecc_corrected", lambda: self._sram(handle, 0), **slow
            ),
            probe(
                "brmlDeviceGetMemoryErrorCounter",
                "sram_ecc_uncorrected",
                lambda: self._sram(handle, 1),
                **slow,
            ),
            counter("brmlDeviceGetTotalAerErrors", "pcie_aer_correctable", c_int(0)),
            counter("brmlDeviceGetTotalAerErrors", "pcie_aer_fatal", c_int(1)),
            counter("brmlDeviceGetTotalAerErrors", "pcie_aer_nonfatal", c_int(2)),
            Probe(
                "brmlDeviceGetBrLinkState",
                ("links_total", "links_active"),
                lambda: self._links(handle),
                Tier.SLOW,
            ),
            Probe(
                "brmlDeviceGetBrLinkErrorCounter",
                ("link_replay_errors", "link_recovery_errors", "link_crc_errors"),
                lambda: self._link_errors(handle),
                Tier.SLOW,
            ),
            probe(
                "brmlDeviceGetComputeRunningProcesses",
                "processes",
                lambda: len(self._rows(handle)),
                tier=Tier.SLOW,
            ),
        ]

    def _utilization(self, handle: Any) -> Mapping[str, Value]:
        function = "brmlDeviceGetUtilizationRates"
        rates = self.library.struct(function, Utilization, handle)
        return {
            "utilization_ratio": share(rates.gpu, function),
            "memory_bandwidth_ratio": share(rates.memory, function),
        }

    def _memory(self, handle: Any) -> Mapping[str, Value]:
        function = "brmlDeviceGetMemoryInfo"
        held = self.library.struct(function, Memory, handle)
        return memory(held.used, held.total, function)

    def _codec(self, which: str, handle: Any) -> float:
        function = f"brmlDeviceGet{which}Utilization"
        return share(self.library.pair(function, handle)[0], function)

    def _health(self, handle: Any) -> Mapping[str, Value]:
        status = self.library.i32("brmlDeviceGetHealthStatus", handle)
        if status not in HEALTH:
            raise Broken(f"brmlDeviceGetHealthStatus: {status} is no status we know")
        name, word = HEALTH[status]
        return {"health": word, "health_detail": f"{name} ({status})"}

    def _alarms(self, handle: Any) -> list[tuple[str, Severity, str]]:
        status = self.library.i32("brmlDeviceGetHealthStatus", handle)
        name, word = HEALTH.get(status, ("unknown", "ok"))
        if word == "ok":
            return []
        severity = Severity.WARNING if word == "degraded" else Severity.CRITICAL
        return [(str(status), severity, f"health status {name}")]

    def _sram(self, handle: Any, error: int) -> int:
        """L1 and L2 cache; a location the card does not count is left out of the sum."""
        counts = [
            self.library.maybe(
                lambda place=place: self.library.u64(  # type: ignore[misc]
                    "brmlDeviceGetMemoryErrorCounter", handle, c_int(error), c_int(0), c_int(place)
                )
            )
            for place in (0, 1)
        ]
        there = [count for count in counts if count is not None]
        if not there:
            raise NotSupported("brmlDeviceGetMemoryErrorCounter: no cache is counted")
        return sum(count(value, "brmlDeviceGetMemoryErrorCounter") for value in there)

    def _links(self, handle: Any) -> Mapping[str, Value]:
        total = self._link_number(handle)
        up = sum(
            self.library.i32("brmlDeviceGetBrLinkState", handle, c_uint(link)) == 1 for link in range(total)
        )
        return {"links_total": total, "links_active": up}

    def _link_errors(self, handle: Any) -> Mapping[str, Value]:
        function = "brmlDeviceGetBrLinkErrorCounter"
        sums = [0, 0, 0, 0]
        for link in range(self._link_number(handle)):
            for kind in range(4):
                sums[kind] += count(self.library.u64(function, handle, c_uint(link), c_int(kind)), function)
        return {
            "link_replay_errors": sums[0],
            "link_recovery_errors": sums[1],
            "link_crc_errors": sums[2] + sums[3],
        }

    def _link_number(self, handle: Any) -> int:
        total = self.library.u32("brmlDeviceGetBrLinkNumber", handle)
        if total > 64:
            raise Broken(f"brmlDeviceGetBrLinkNumber: {total} links are not to be believed")
        return total

    def _rows(self, handle: Any) -> list[ProcessInfo]:
        return self.library.rows("brmlDeviceGetComputeRunningProcesses", ProcessInfo, handle)

    def _firmware(self, handle: Any) -> str | None:
        lib = self.library
        return lib.maybe(lambda: lib.text("brmlDeviceGetFirmwareVersion", handle, c_int(FLASH), length=80))

    def _svi(self, handle: Any) -> int:
        return self.library.pair("brmlDeviceGetSviMode", handle)[0]

    def _slices(self, handle: Any, who: Who) -> list[Slice]:
        """SVI instances 0 .. n-1. One whose handle cannot be had is left out."""
        count = self.library.maybe(lambda: self._svi(handle))
        if count not in (2, 4):
            return []
        found = []
        for number in range(count):
            instance = c_void_p()
            try:
                self.library.run(
                    "brmlDeviceGetGpuInstanceById", handle, c_uint(number), ctypes.byref(instance)
                )
            except CardLost:
                raise
            except ReadingError:
                continue
            attributes: Attributes = {
                "profile": f"1/{count}",
                "compute_share": 1 / count,
                "memory_share": 1 / count,
            }
            probes = [
                Probe(
                    "brmlDeviceGetMemoryInfo",
                    ("memory_used_bytes", "memory_total_bytes"),
                    lambda instance=instance: self._memory(instance),  # type: ignore[misc]
                ),
                Probe(
                    "brmlDeviceGetUtilizationRates",
                    ("utilization_ratio", "memory_bandwidth_ratio"),
                    lambda instance=instance: self._utilization(instance),  # type: ignore[misc]
                ),
            ]
            found.append(Slice(slice_id(who.card_id, f"svi{number}"), attributes, probes))
        return found


def open_reader(host: Host) -> Roster:
    """Called in the child. Loads nothing yet."""
    names = candidates(
        host,
        "libbiren-ml.so.1",
        "/usr/local/birensupa/driver/biren-smi/lib/libbiren-ml.so.1",
        "/usr/local/birensupa/driver/biren-smi/libbiren-ml.so.1",
        "libbiren-ml.so",
    )
    return Roster(Brml(host, Library(CLibrary("BRML (libbiren-ml.so.1)", names), CODES)))
