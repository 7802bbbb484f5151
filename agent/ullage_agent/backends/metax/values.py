"""What one MetaX card is asked, and how its answers become the catalogue's values."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from ctypes import byref, c_uint
from typing import Any, Final

from ullage_agent.backends.answers import (
    address,
    degrees,
    megahertz,
    memory,
    share,
    throttle_bits,
    watts,
)
from ullage_agent.backends.clibrary import roomy, text_of
from ullage_agent.backends.handles import Library, probe
from ullage_agent.backends.metax import layouts as mx
from ullage_agent.backends.roster import Probe
from ullage_contract.catalogue import THROTTLE_REASONS, Tier
from ullage_contract.errors import Broken, NotSupported
from ullage_contract.sample import Value

_GENERATION: Final = {2.5: 1, 5.0: 2, 8.0: 3, 16.0: 4, 32.0: 5, 64.0: 6}
_MEGABYTE: Final = 1_000_000  # our choice: because mx_sml.h says MBytes/s and a link's rate counts in tens
KIB: Final = 1024


class Values:
    """One card's or function's calls. shared: whether its board carries other cards too, asked at each reading."""

    def __init__(self, library: Library, handle: Any, brand: int, shared: Callable[[], bool]) -> None:
        self._library = library
        self._handle = handle
        self._kind = 1 if brand == mx.BRAND_N else 0
        self._shared = shared

    def slice_probes(self) -> list[Probe]:
        """What a virtual function has of its own."""
        return [self._usage("utilization_ratio", mx.USAGE_CORE[self._kind]), self._memory_probe()]

    def probes(self) -> list[Probe]:
        """What a whole card gives."""
        slow = {"tier": Tier.SLOW}
        function = "mxSmlGetTemperatureInfo"
        return [
            *self.slice_probes(),
            Probe("mxSmlGetBoardPowerInfo", ("power_watts", "board_power_watts"), self._power),
            Probe(
                function,
                ("temperature_celsius", "hotspot_temperature_celsius"),
                lambda: dict.fromkeys(
                    ("temperature_celsius", "hotspot_temperature_celsius"), self._temperature(mx.HOTSPOT)
                ),
            ),
            probe(function, "memory_temperature_celsius", lambda: self._temperature(mx.HBM)),
            probe("mxSmlGetClocks", "clock_core_hertz", lambda: self._clock(mx.CLOCK_CORE[self._kind])),
            probe("mxSmlGetClocks", "clock_memory_hertz", lambda: self._clock(mx.CLOCK_MEMORY[self._kind])),
            Probe("mxSmlGetDeviceUnavailableReason", ("health", "health_detail"), self._health),
            probe("mxSmlGetCurrentClocksThrottleReason", "throttle_reasons", self._throttle),
            Probe(
                "mxSmlGetPcieThroughput",
                ("pcie_rx_bytes_per_second", "pcie_tx_bytes_per_second"),
                self._throughput,
                Tier.SLOW,
            ),
            self._usage("encoder_ratio", mx.USAGE_ENCODER, **slow),
            self._usage("decoder_ratio", mx.USAGE_DECODER, **slow),
            probe(
                "mxSmlGetBoardPowerLimit",
                "power_limit_watts",
                lambda: watts(
                    self._library.u32("mxSmlGetBoardPowerLimit", self._handle), "mxSmlGetBoardPowerLimit"
                ),
                **slow,
            ),
            probe(function, "temperature_limit_celsius", lambda: self._temperature(mx.HOTLIMIT), **slow),
            probe("mxSmlGetFanSpeedInfo", "fan_rpm", self._fan, **slow),
            probe("mxSmlGetDpmIpClockInfo", "clock_core_max_hertz", self._clock_max, **slow),
            self._link("mxSmlGetPcieInfo", "pcie_generation", "pcie_width"),
            self._link("mxSmlGetPcieMaxLinkInfo", "pcie_generation_max", "pcie_width_max"),
            Probe("mxSmlGetMetaXLinkPortState", ("links_total", "links_active"), self._links, Tier.SLOW),
            Probe(
                "mxSmlGetTotalEccErrors",
                (
                    "ecc_corrected",
                    "ecc_uncorrected",
                    "sram_ecc_corrected",
                    "sram_ecc_uncorrected",
                    "retired_pages",
                ),
                self._ecc,
                Tier.SLOW,
            ),
            probe("mxSmlGetSingleGpuProcess", "processes", lambda: len(self._rows()), **slow),
        ]

    # ---- shared with the reader

    def unavailable(self) -> tuple[int, str]:
        """(code, reason); code 0 is available."""
        function = "mxSmlGetDeviceUnavailableReason"
        told = self._library.struct(function, mx.UnavailableReason, self._handle)
        return int(told.unavailableCode), text_of(told.unavailableReason) or f"code {told.unavailableCode}"

    def pci_events(self, kind: int) -> list[mx.PciEvent]:
        """Events of a type: ``(id, type, rows, &size)``, the rows before their number."""
        return self._array("mxSmlGetPciEventInfo", mx.PciEvent, c_uint(kind))

    def ports_down(self) -> str:
        """Numbers of the MetaXLink ports that are down, or ""."""
        states = self._ports()
        return ", ".join(str(number) for number, state in enumerate(states) if state in mx.PORT_DOWN)

    def processes(self, place: str) -> list[tuple[int, int]]:
        """(pid, bytes on this card). A process of several cards names each by its address."""
        found = []
        for row in self._rows():
            parts = list(row.processGpuInfo)[: min(int(row.gpuNumber), 64)]
            mine = [part for part in parts if address(text_of(part.bdfId)) == place] or (
                parts if len(parts) == 1 else []
            )
            found.append((int(row.processId), sum(int(part.gpuMemoryUsage) for part in mine)))
        return found

    # ---- the probes

    def _usage(self, key: str, unit: int, **more: Any) -> Probe:
        function = "mxSmlGetDeviceIpUsage"
        return probe(
            function,
            key,
            lambda: share(self._library.i32(function, self._handle, c_uint(unit)), function),
            **more,
        )

    def _memory_probe(self) -> Probe:
        def ask() -> Mapping[str, Value]:
            function = "mxSmlGetMemoryInfo"
            held = self._library.struct(function, mx.MemoryInfo, self._handle)
            return memory(held.vramUse * KIB, held.vramTotal * KIB, function)

        return Probe("mxSmlGetMemoryInfo", ("memory_used_bytes", "memory_total_bytes"), ask)

    def _power(self) -> Mapping[str, Value]:
        function = "mxSmlGetBoardPowerInfo"
        ways = self._library.rows(function, mx.ElectricInfo, self._handle)
        if not ways:
            raise NotSupported(f"{function}: the board has no supply it could measure")
        total = sum(watts(way.power, function) for way in ways)
        return {"board_power_watts" if self._shared() else "power_watts": total}

    def _temperature(self, sensor: int) -> float:
        """Hundredths of a degree."""
        function = "mxSmlGetTemperatureInfo"
        return degrees(self._library.i32(function, self._handle, c_uint(sensor)) / 100, function)

    def _clock(self, unit: int) -> float:
        rows = self._library.rows("mxSmlGetClocks", mx.Number, self._handle, c_uint(unit))
        if not rows:
            raise NotSupported("mxSmlGetClocks: the card has no such clock")
        return megahertz(rows[0].value, "mxSmlGetClocks")

    def _clock_max(self) -> float:
        function = "mxSmlGetDpmIpClockInfo"
        rows = self._array(function, mx.Number, c_uint(mx.DPM_CORE[self._kind]))
        if not rows:
            raise NotSupported(f"{function}: the card lists no clocks")
        return max(megahertz(row.value, function) for row in rows)

    def _health(self) -> Mapping[str, Value]:
        code, reason = self.unavailable()
        if code == 0:
            return {"health": "ok", "health_detail": "available"}
        return {"health": "critical", "health_detail": f"not available: {reason} ({code})"}

    def _throttle(self) -> int:
        raw = self._library.u64("mxSmlGetCurrentClocksThrottleReason", self._handle)
        return throttle_bits(raw, mx.THROTTLE, THROTTLE_REASONS)

    def _throughput(self) -> Mapping[str, Value]:
        function = "mxSmlGetPcieThroughput"
        rate = self._library.struct(function, mx.PcieThroughput, self._handle)
        if rate.rx < 0 or rate.tx < 0:
            raise Broken(f"{function}: {rate.rx} and {rate.tx} MB/s are no rates")
        return {
            "pcie_rx_bytes_per_second": float(rate.rx * _MEGABYTE),
            "pcie_tx_bytes_per_second": float(rate.tx * _MEGABYTE),
        }

    def _fan(self) -> int:
        """(rpm, pwm); passively cooled cards have none."""
        return self._library.pair("mxSmlGetFanSpeedInfo", self._handle)[0]

    def _link(self, function: str, generation: str, width: str) -> Probe:
        def ask() -> Mapping[str, Value]:
            info = self._library.struct(function, mx.PcieInfo, self._handle)
            speed = round(float(info.speed), 1)
            if speed not in _GENERATION or not 0 < info.width <= 32:
                raise Broken(f"{function}: {speed} GT/s x{info.width} is no link")
            return {generation: _GENERATION[speed], width: int(info.width)}

        return Probe(function, (generation, width), ask, Tier.SLOW)

    def _links(self) -> Mapping[str, Value]:
        used = [state for state in self._ports() if state not in mx.PORT_UNUSED]
        return {"links_total": len(used), "links_active": used.count(mx.PORT_UP)}

    def _ports(self) -> list[int]:
        return [row.value for row in self._array("mxSmlGetMetaXLinkPortState", mx.Number, room=mx.LINKS)]

    def _ecc(self) -> Mapping[str, Value]:
        errors = self._library.struct("mxSmlGetTotalEccErrors", mx.EccErrors, self._handle)
        return {
            "ecc_corrected": int(errors.dramCE),
            "ecc_uncorrected": int(errors.dramUE),
            "sram_ecc_corrected": int(errors.sramCE),
            "sram_ecc_uncorrected": int(errors.sramUE),
            "retired_pages": int(errors.retiredPage),
        }

    def _rows(self) -> list[Any]:
        """v2 where the release has it: its entries are longer, so the two must not be confused."""
        if self._library.c.has("mxSmlGetSingleGpuProcess_v2"):
            return self._library.rows("mxSmlGetSingleGpuProcess_v2", mx.ProcessV2, self._handle)
        return self._library.rows("mxSmlGetSingleGpuProcess", mx.Process, self._handle)

    def _array(self, function: str, kind: Any, *leading: Any, room: int = 32) -> list[Any]:
        """Calls that take the rows before their number."""
        while True:
            rows, count = roomy(kind * room), c_uint(room)
            code = self._library.c.function(function)(self._handle, *leading, byref(rows), byref(count))
            if code == 0 and count.value <= room:
                return list(rows)[: count.value]
            if code not in self._library.codes.more or count.value <= room or count.value > 1024:
                raise (
                    self._library.codes.failure(code, function)
                    if code
                    else Broken(f"{function}: {count.value} rows are not to be believed")
                )
            room = count.value
