"""Iluvatar chips through IXML: NVML's names and layouts in a library of its own, and ixml* calls beside them.

Loaded RTLD_LOCAL, so its nvml* symbols never meet NVIDIA's. Layouts and codes: api.h (Deep-Spark/go-ixml).
A board may carry two chips with one power sensor. A dead chip answers 65535 W and then 0 C, 100 %, 25 MHz: once
the power says so, the rest is not believed either.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterable, Mapping
from ctypes import c_char, c_int, c_uint, c_ulonglong, c_void_p
from dataclasses import dataclass
from typing import Any, Final

from ullage_agent.backend import Host
from ullage_agent.backends.answers import (
    ALL_ONES,
    MOST_WATTS,
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
from ullage_agent.backends.iluvatar.health import bits, verdict
from ullage_agent.backends.roster import Attributes, Found, Probe, Roster
from ullage_contract.catalogue import THROTTLE_REASONS, Tier
from ullage_contract.errors import Broken, NotSupported, ReadingError
from ullage_contract.event import Severity
from ullage_contract.identity import card_id
from ullage_contract.sample import Value

SM: Final = 1
MEM: Final = 2
THROTTLE: Final = {1 << bit: word for bit, word in enumerate(THROTTLE_REASONS[:9])}
"""nvmlClocksThrottleReason*: our first nine words stand in NVML's order."""


class PciInfo(ctypes.Structure):
    _fields_ = [
        ("busIdLegacy", c_char * 16),
        ("domain", c_uint),
        ("bus", c_uint),
        ("device", c_uint),
        ("pciDeviceId", c_uint),
        ("pciSubSystemId", c_uint),
        ("busId", c_char * 32),
    ]


class Memory(ctypes.Structure):
    _fields_ = [("total", c_ulonglong), ("free", c_ulonglong), ("used", c_ulonglong)]


class Utilization(ctypes.Structure):
    _fields_ = [("gpu", c_uint), ("memory", c_uint)]


class ProcessInfo(ctypes.Structure):
    _fields_ = [("pid", c_uint), ("usedGpuMemory", c_ulonglong)]


@dataclass(slots=True)
class Pulse:
    """What one chip's power said at its last asking."""

    dead: bool = False


class Ixml(HandleMaker):
    """The walk over the chips and what each is asked."""

    vendor = "iluvatar"

    def __init__(self, host: Host, library: Library) -> None:
        super().__init__(host, library)
        self._driver: str | None = None
        self._runtime: str | None = None
        self._pulses: dict[str, Pulse] = {}

    def start(self) -> None:
        lib = self.library
        lib.run(self._named("nvmlInit_v2", "nvmlInit"))
        self._driver = lib.maybe(lambda: lib.text("nvmlSystemGetDriverVersion", length=80))
        cuda = lib.maybe(
            lambda: lib.i32(
                self._named("nvmlSystemGetCudaDriverVersion_v2", "nvmlSystemGetCudaDriverVersion")
            )
        )
        self._runtime = f"{cuda // 1000}.{cuda % 1000 // 10}" if cuda and cuda > 0 else None

    def stop(self) -> None:
        self.library.run("nvmlShutdown")

    def places(self) -> Iterable[int]:
        return range(self.library.u32(self._named("nvmlDeviceGetCount_v2", "nvmlDeviceGetCount")))

    def handle(self, index: int) -> c_void_p:
        handle = c_void_p()
        function = self._named("nvmlDeviceGetHandleByIndex_v2", "nvmlDeviceGetHandleByIndex")
        self.library.run(function, c_uint(index), ctypes.byref(handle))
        return handle

    def who(self, handle: Any, index: int, watched: Watched[Any]) -> Who | None:
        lib = self.library

        def text(function: str, length: int) -> str | None:
            return watched(function, lambda: lib.known(lambda: lib.text(function, handle, length=length)))  # type: ignore[no-any-return]

        def number(function: str) -> int | None:
            return watched(function, lambda: lib.known(lambda: lib.u32(function, handle)))  # type: ignore[no-any-return]

        uuid = text("nvmlDeviceGetUUID", 80)
        serial = text("nvmlDeviceGetSerial", 30)
        function = self._named("nvmlDeviceGetPciInfo_v3", "nvmlDeviceGetPciInfo")
        pci = watched(function, lambda: lib.struct(function, PciInfo, handle))
        place = address(f"{pci.domain:x}:{pci.bus:02x}:{pci.device:02x}.0")
        # only a chip of a board with several has a position on it (Deep-Spark/ix-exporter asks so)
        position = number("ixmlDeviceGetBoardPosition")
        board = number("nvmlDeviceGetBoardId") if position is not None else None
        minor = number("nvmlDeviceGetMinorNumber")
        attributes: Attributes = {
            "model": text("nvmlDeviceGetName", 96),
            "uuid": uuid,
            "serial": serial,
            "chip": position,
            "board_id": None if board is None else f"{self.host.node_id}-iluvatar-{board:x}",
            "pci_address": place,
            "minor": minor,
            "device_node": self._node(minor),
            "driver_version": self._driver,
            "runtime_version": self._runtime,
            "firmware_version": text("nvmlDeviceGetVbiosVersion", 32),
            "util_kind": "kernel_resident",
        }
        key = card_id(
            vendor="iluvatar",
            uuid=uuid,
            serial=serial,
            chip=position,
            node_id=self.host.node_id,
            pci=place,
        )
        return Who(key, attributes, place)

    def found(self, handle: Any, index: int, who: Who) -> Found:
        pulse = self._pulses.setdefault(who.card_id, Pulse())
        probes = [self._power(handle, pulse, shared=who.attributes.get("chip") is not None)]
        return Found(
            who.card_id,
            who.attributes,
            [*probes, *self._fast(handle, pulse), *self._slow(handle, pulse)],
            processes=lambda: [self.process(row.pid, held(row.usedGpuMemory)) for row in self._rows(handle)],
            alarms=lambda: self._alarms(handle, pulse),
            epoch=self._driver,
        )

    # ---- the probes

    def _power(self, handle: Any, pulse: Pulse, *, shared: bool) -> Probe:
        """First of all, for it tells whether the rest is to be believed."""
        function = "ixmlDeviceGetBoardPowerUsage" if shared else "nvmlDeviceGetPowerUsage"

        def ask() -> float:
            pulse.dead = False
            try:
                milliwatts = self.library.u32(function, handle)
            except NotSupported:
                if not shared:
                    raise
                milliwatts = self.library.u32("nvmlDeviceGetPowerUsage", handle)
            pulse.dead = milliwatts != ALL_ONES and milliwatts / 1000 >= MOST_WATTS
            return watts(milliwatts, function)

        return probe(function, "board_power_watts" if shared else "power_watts", ask)

    def _fast(self, handle: Any, pulse: Pulse) -> list[Probe]:
        number = self._number(handle, pulse)
        return [
            Probe(
                "nvmlDeviceGetUtilizationRates",
                ("utilization_ratio", "memory_bandwidth_ratio"),
                lambda: self._utilization(handle, pulse),
            ),
            Probe(
                "nvmlDeviceGetMemoryInfo",
                ("memory_used_bytes", "memory_total_bytes"),
                lambda: self._memory(handle, pulse),
            ),
            number("nvmlDeviceGetTemperature", "temperature_celsius", degrees, c_int(0)),
            Probe(
                "nvmlDeviceGetClockInfo",
                ("clock_core_hertz", "clock_sm_hertz"),
                lambda: self._core_clock(handle, pulse),
            ),
            number("nvmlDeviceGetClockInfo", "clock_memory_hertz", megahertz, c_int(MEM)),
            probe(
                "nvmlDeviceGetEncoderUtilization",
                "encoder_ratio",
                lambda: self._codec("Encoder", handle, pulse),
            ),
            probe(
                "nvmlDeviceGetDecoderUtilization",
                "decoder_ratio",
                lambda: self._codec("Decoder", handle, pulse),
            ),
            probe(
                "nvmlDeviceGetCurrentClocksThrottleReasons",
                "throttle_reasons",
                lambda: throttle_bits(
                    self.library.u64("nvmlDeviceGetCurrentClocksThrottleReasons", handle),
                    THROTTLE,
                    THROTTLE_REASONS,
                ),
            ),
            Probe("ixmlDeviceGetHealth", ("health", "health_detail"), lambda: self._health(handle, pulse)),
        ]

    def _slow(self, handle: Any, pulse: Pulse) -> list[Probe]:
        number = self._number(handle, pulse, Tier.SLOW)
        return [
            number("nvmlDeviceGetEnforcedPowerLimit", "power_limit_watts", watts),
            number("nvmlDeviceGetPowerManagementLimit", "power_limit_watts", watts),
            number("nvmlDeviceGetTemperatureThreshold", "temperature_limit_celsius", degrees, c_int(1)),
            number("nvmlDeviceGetFanSpeed", "fan_ratio", share),
            number("nvmlDeviceGetMaxClockInfo", "clock_core_max_hertz", megahertz, c_int(SM)),
            number("nvmlDeviceGetPerformanceState", "performance_state", _state),
            number("nvmlDeviceGetCurrPcieLinkGeneration", "pcie_generation", lanes),
            number("nvmlDeviceGetMaxPcieLinkGeneration", "pcie_generation_max", lanes),
            number("nvmlDeviceGetCurrPcieLinkWidth", "pcie_width", lanes),
            number("nvmlDeviceGetMaxPcieLinkWidth", "pcie_width_max", lanes),
            number("nvmlDeviceGetPcieThroughput", "pcie_tx_bytes_per_second", kilobytes, c_int(0)),
            number("nvmlDeviceGetPcieThroughput", "pcie_rx_bytes_per_second", kilobytes, c_int(1)),
            number("nvmlDeviceGetPcieReplayCounter", "pcie_replays", count),
            Probe(
                "ixmlDeviceGetEccErros",
                ("ecc_corrected", "ecc_uncorrected"),
                lambda: self._ecc(handle, pulse),
                Tier.SLOW,
            ),
            probe(
                "nvmlDeviceGetComputeRunningProcesses",
                "processes",
                lambda: len(self._rows(handle)),
                tier=Tier.SLOW,
            ),
        ]

    def _number(self, handle: Any, pulse: Pulse, tier: Tier = Tier.FAST) -> Callable[..., Probe]:
        """Makes probes of one ``unsigned int``: (function, key, how it becomes our value, leading arguments)."""

        def make(function: str, key: str, scale: Callable[[int, str], Value], *leading: Any) -> Probe:
            def ask() -> Value:
                _believe(pulse, function)
                return scale(self.library.u32(function, handle, *leading), function)

            return probe(function, key, ask, tier=tier)

        return make

    def _utilization(self, handle: Any, pulse: Pulse) -> Mapping[str, Value]:
        function = "nvmlDeviceGetUtilizationRates"
        _believe(pulse, function)
        rates = self.library.struct(function, Utilization, handle)
        return {
            "utilization_ratio": share(rates.gpu, function),
            "memory_bandwidth_ratio": share(rates.memory, function),
        }

    def _memory(self, handle: Any, pulse: Pulse) -> Mapping[str, Value]:
        function = "nvmlDeviceGetMemoryInfo"
        _believe(pulse, function)
        held = self.library.struct(function, Memory, handle)
        return memory(held.used, held.total, function)

    def _core_clock(self, handle: Any, pulse: Pulse) -> Mapping[str, Value]:
        function = "nvmlDeviceGetClockInfo"
        _believe(pulse, function)
        hertz = megahertz(self.library.u32(function, handle, c_int(SM)), function)
        return {"clock_core_hertz": hertz, "clock_sm_hertz": hertz}

    def _codec(self, which: str, handle: Any, pulse: Pulse) -> float:
        function = f"nvmlDeviceGet{which}Utilization"
        _believe(pulse, function)
        return share(self.library.pair(function, handle)[0], function)

    def _ecc(self, handle: Any, pulse: Pulse) -> Mapping[str, Value]:
        function = "ixmlDeviceGetEccErros"
        _believe(pulse, function)
        single, double = self.library.pair(function, handle)
        return {"ecc_corrected": count(single, function), "ecc_uncorrected": count(double, function)}

    def _health(self, handle: Any, pulse: Pulse) -> Mapping[str, Value]:
        try:
            raw = self.library.u64("ixmlDeviceGetHealth", handle)
        except ResetRequired:
            return {"health": "critical", "health_detail": "reset required"}
        except NotSupported:
            if pulse.dead:
                return {"health": "critical", "health_detail": "dead (65535 W)"}
            raise
        word, detail = verdict(raw)
        if pulse.dead:
            return {"health": "critical", "health_detail": f"dead (65535 W); {detail}"}
        return {"health": word, "health_detail": detail}

    def _alarms(self, handle: Any, pulse: Pulse) -> list[tuple[str, Severity, str]]:
        dead = [("65535W", Severity.CRITICAL, "the chip is dead: it answers 65535 W")] if pulse.dead else []
        try:
            raw = self.library.u64("ixmlDeviceGetHealth", handle)
        except NotSupported:
            return dead
        except ReadingError:
            if dead:
                return dead
            raise
        return dead + [(f"{bit.value:#x}", bit.severity, f"{bit.name} error") for bit in bits(raw)]

    def _rows(self, handle: Any) -> list[ProcessInfo]:
        return self.library.rows("nvmlDeviceGetComputeRunningProcesses", ProcessInfo, handle)

    def _named(self, *names: str) -> str:
        """The first of the names that this release has, else the first: its absence is then told."""
        return next((name for name in names if self.library.c.has(name)), names[0])

    def _node(self, minor: int | None) -> str | None:
        if minor is None or not (self.host.dev / f"iluvatar{minor}").exists():
            return None
        return f"/dev/iluvatar{minor}"


def _believe(pulse: Pulse, function: str) -> None:
    if pulse.dead:
        raise Broken(f"{function}: the chip is dead (65535 W); what it answers is not real")


def _state(value: int, function: str) -> str:
    if value > 15:  # NVML_PSTATE_UNKNOWN is 32
        raise NotSupported(f"{function}: unknown")
    return f"P{value}"


def open_reader(host: Host) -> Roster:
    """Called in the child. Loads nothing yet."""
    names = candidates(
        host,
        "/usr/local/corex/lib64/libixml.so",
        "/usr/local/corex/lib/libixml.so",
        "libixml.so",
    )
    return Roster(Ixml(host, Library(CLibrary("IXML (libixml.so)", names), NVML_CODES)))
