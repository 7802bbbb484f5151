"""EFML's calls by handle: NVML's shape, bytes, milliwatts, MHz and per cent."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from ctypes import c_int, c_void_p
from typing import Any, Final

from ullage_agent.backends.answers import degrees, held, kilobytes, lanes, megahertz, memory, share, watts
from ullage_agent.backends.enflame import layouts
from ullage_agent.backends.handles import Library, probe
from ullage_agent.backends.roster import Probe
from ullage_contract.catalogue import Tier
from ullage_contract.sample import Value

# efmlClockType_t
GRAPHICS: Final = 0
SIP: Final = 1
MEM: Final = 2
VIDEO: Final = 3


class ByHandle:
    """One card's calls."""

    def __init__(self, library: Library, handle: c_void_p) -> None:
        self._library = library
        self._handle = handle

    def probes(self) -> list[Probe]:
        """What these calls give."""
        number, slow = self._number, {"tier": Tier.SLOW}
        return [
            Probe(
                "efmlDeviceGetUtilizationRates",
                ("utilization_ratio", "memory_bandwidth_ratio"),
                self._utilization,
            ),
            Probe("efmlDeviceGetMemoryInfo", ("memory_used_bytes", "memory_total_bytes"), self._memory),
            number("efmlDeviceGetPowerUsage", "power_watts", watts),
            number("efmlDeviceGetTemperature", "temperature_celsius", degrees, c_int(0)),
            number("efmlDeviceGetClockInfo", "clock_core_hertz", megahertz, c_int(GRAPHICS)),
            number("efmlDeviceGetClockInfo", "clock_sm_hertz", megahertz, c_int(SIP)),
            number("efmlDeviceGetClockInfo", "clock_memory_hertz", megahertz, c_int(MEM)),
            number("efmlDeviceGetClockInfo", "clock_video_hertz", megahertz, c_int(VIDEO), **slow),
            number("efmlDeviceGetMaxClockInfo", "clock_core_max_hertz", megahertz, c_int(GRAPHICS), **slow),
            number("efmlDeviceGetEnforcedPowerLimit", "power_limit_watts", watts, **slow),
            number(
                "efmlDeviceGetTemperatureThreshold", "temperature_limit_celsius", degrees, c_int(1), **slow
            ),
            number("efmlDeviceGetFanSpeed", "fan_ratio", share, **slow),
            number("efmlDeviceGetPcieThroughput", "pcie_tx_bytes_per_second", kilobytes, c_int(0), **slow),
            number("efmlDeviceGetPcieThroughput", "pcie_rx_bytes_per_second", kilobytes, c_int(1), **slow),
            number("efmlDeviceGetCurrPcieLinkGeneration", "pcie_generation", lanes, **slow),
            number("efmlDeviceGetMaxPcieLinkGeneration", "pcie_generation_max", lanes, **slow),
            number("efmlDeviceGetCurrPcieLinkWidth", "pcie_width", lanes, **slow),
            number("efmlDeviceGetMaxPcieLinkWidth", "pcie_width_max", lanes, **slow),
            self._codec("Encoder", "encoder_ratio"),
            self._codec("Decoder", "decoder_ratio"),
            probe(
                "efmlDeviceGetComputeRunningProcesses_v3",
                "processes",
                lambda: len(self._rows()),
                tier=Tier.SLOW,
            ),
        ]

    def processes(self) -> list[tuple[int, dict[str, Any]]]:
        """(pid, process_* values)."""
        return [(int(row.pid), dict(held(row.usedGcuMemory))) for row in self._rows()]

    def _number(
        self, function: str, key: str, scale: Callable[[int, str], Value], *leading: Any, **more: Any
    ) -> Probe:
        return probe(
            function,
            key,
            lambda: scale(self._library.u32(function, self._handle, *leading), function),
            **more,
        )

    def _utilization(self) -> Mapping[str, Value]:
        function = "efmlDeviceGetUtilizationRates"
        rates = self._library.struct(function, layouts.Utilization, self._handle)
        return {
            "utilization_ratio": share(rates.gcu, function),
            "memory_bandwidth_ratio": share(rates.memory, function),
        }

    def _memory(self) -> Mapping[str, Value]:
        """v1: of the second version two orders of fields are in the field."""
        function = "efmlDeviceGetMemoryInfo"
        held = self._library.struct(function, layouts.Memory, self._handle)
        return memory(held.used, held.total, function)

    def _codec(self, which: str, key: str) -> Probe:
        function = f"efmlDeviceGet{which}Utilization"
        return probe(
            function,
            key,
            lambda: share(self._library.pair(function, self._handle)[0], function),
            tier=Tier.SLOW,
        )

    def _rows(self) -> list[layouts.ProcessInfo]:
        return self._library.rows(
            "efmlDeviceGetComputeRunningProcesses_v3", layouts.ProcessInfo, self._handle
        )
