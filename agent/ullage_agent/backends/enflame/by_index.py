"""EFML's calls by index: floats in watts and degrees, memory in MB, and all that is known of health.

A flag that asks for something lasts: what ECC and RMA said at the last slow reading goes into every health word.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from ctypes import byref, c_bool, c_float, c_uint
from dataclasses import dataclass
from typing import Any, Final

from ullage_agent.backends.answers import degrees, megahertz, memory, share
from ullage_agent.backends.clibrary import roomy
from ullage_agent.backends.enflame import layouts
from ullage_agent.backends.handles import Library, probe
from ullage_agent.backends.roster import Probe, Slice
from ullage_contract.catalogue import Tier
from ullage_contract.errors import Broken, CardLost, NotSupported, ReadingError
from ullage_contract.event import Severity
from ullage_contract.identity import slice_id
from ullage_contract.sample import Value

MIB: Final = 1 << 20
RECORDS: Final = 64  # our choice: because between two looks, a minute apart, fewer happen to one card


@dataclass(slots=True)
class Asked:
    """What the card said last. replace: its RMA hint. reset: a blacklist waits for one. sick: not healthy."""

    replace: bool = False
    reset: bool = False
    sick: bool = False


class ByIndex:
    """One card's calls. Kept as long as the card has its index."""

    def __init__(self, library: Library, index: int) -> None:
        self._library = library
        self.index = index
        self._at = c_uint(index)
        self._asked = Asked()
        self._records: set[tuple[int, int]] | None = None

    def probes(self) -> list[Probe]:
        """What these calls give; the same keys' calls by handle are asked before."""
        slow = {"tier": Tier.SLOW}
        return [
            probe(
                "EfmlGetDevDtuUsage", "utilization_ratio", lambda: self._usage("EfmlGetDevDtuUsage", self._at)
            ),
            Probe(
                "EfmlGetDevMem",
                ("memory_used_bytes", "memory_total_bytes"),
                lambda: self._memory("EfmlGetDevMem", self._at),
            ),
            Probe("EfmlGetDevPwr", ("power_watts", "power_limit_watts"), self._power),
            Probe(
                "EfmlGetDevTempV2",
                ("temperature_celsius", "memory_temperature_celsius", "board_temperature_celsius"),
                self._temperatures,
            ),
            Probe("EfmlGetDevClk", ("clock_core_hertz", "clock_memory_hertz"), self._clocks),
            probe("EfmlGetDevVolt", "voltage_volts", self._voltage, **slow),
            Probe(
                "EfmlGetDevEccStatus",
                ("ecc_corrected", "ecc_uncorrected", "remap_pending"),
                self._ecc,
                Tier.SLOW,
            ),
            probe("EfmlGetDevRmaStatus", "recovery_action", self._recovery, **slow),
            Probe("EfmlGetDevHealth", ("health", "health_detail"), self._health),
            Probe("EfmlGetGcuLarePortInfo", ("links_total", "links_active"), self._links, Tier.SLOW),
            probe("EfmlGetProcessInfo", "processes", lambda: len(self._rows()), **slow),
        ]

    def processes(self) -> list[tuple[int, dict[str, Any]]]:
        """(pid, process_* values)."""
        return [(int(row.pid), {"process_memory_used_bytes": int(row.dev_mem_usage)}) for row in self._rows()]

    def alarms(self) -> list[tuple[str, Severity, str]]:
        """What stands, and error records that came since the last look: at the first look they are history."""
        found: list[tuple[str, Severity, str]] = []
        if self._asked.replace:
            found.append(("rma", Severity.CRITICAL, "the card asks to be replaced (RMA)"))
        if self._asked.reset:
            found.append(("pdblack", Severity.WARNING, "a pending blacklist waits for a reset"))
        try:
            self._asked.sick = not self._healthy()
        except CardLost:
            raise
        except NotSupported:
            self._asked.sick = False
        except ReadingError:
            pass  # not known now: what stood stands on
        if self._asked.sick:
            found.append(("health", Severity.CRITICAL, "EfmlGetDevHealth says it is not healthy"))
        return found + self._new_records()

    def slices(self, card: str) -> list[Slice]:
        """Virtual devices (vGCU) of a physical one."""
        lib = self._library
        if not lib.c.has("EfmlGetVdevList"):
            return []
        room = 32
        ids, count = roomy(c_uint * room), c_uint(room)
        try:
            lib.run("EfmlGetVdevList", self._at, byref(ids), byref(count))
        except NotSupported:
            return []
        found = []
        for number in list(ids)[: min(count.value, room)]:
            at = c_uint(number)
            probes = [
                Probe(
                    "EfmlGetVdevMem",
                    ("memory_used_bytes", "memory_total_bytes"),
                    lambda at=at: self._memory("EfmlGetVdevMem", self._at, at),  # type: ignore[misc]
                ),
                Probe(
                    "EfmlGetVdevDtuUsage",
                    ("utilization_ratio",),
                    lambda at=at: {"utilization_ratio": self._usage("EfmlGetVdevDtuUsage", self._at, at)},  # type: ignore[misc]
                ),
            ]
            found.append(Slice(slice_id(card, f"vgcu{number}"), {"profile": "vgcu"}, probes))
        return found

    # ---- values

    def _usage(self, function: str, *at: c_uint) -> float:
        value = c_float(0)
        self._library.run(function, *at, byref(value))
        return share(_finite(value.value, function), function)

    def _memory(self, function: str, *at: c_uint) -> Mapping[str, Value]:
        held = self._library.struct(function, layouts.OldMemory, *at)
        return memory(held.mem_used * MIB, held.mem_total_size * MIB, function)

    def _power(self) -> Mapping[str, Value]:
        function = "EfmlGetDevPwr"
        power = self._library.struct(function, layouts.Power, self._at)
        drawn, most = _finite(power.cur_pwr_consumption, function), _finite(power.pwr_capability, function)
        if not 0 <= drawn < 65535 or not 0 <= most < 65535:
            raise Broken(f"{function}: {drawn:g} of {most:g} W is no power")
        return {"power_watts": round(drawn, 3), "power_limit_watts": round(most, 3) or None}  # type: ignore[dict-item]

    def _temperatures(self) -> Mapping[str, Value]:
        function = "EfmlGetDevTempV2"
        told = self._library.struct(function, layouts.Thermal, self._at)
        found: dict[str, Value] = {
            "temperature_celsius": degrees(_finite(told.cur_asic_temp, function), function)
        }
        # a card without that sensor leaves 0 there
        for key, raw in (
            ("memory_temperature_celsius", told.cur_mem_temp),
            ("board_temperature_celsius", told.cur_board_temp),
        ):
            if raw:
                found[key] = degrees(_finite(raw, function), function)
        return found

    def _clocks(self) -> Mapping[str, Value]:
        function = "EfmlGetDevClk"
        told = self._library.struct(function, layouts.Clocks, self._at)
        return {
            "clock_core_hertz": megahertz(told.cur_dtu_clock, function),
            "clock_memory_hertz": megahertz(told.cur_hbm_clock, function),
        }

    def _voltage(self) -> float:
        function = "EfmlGetDevVolt"
        volts = _finite(self._library.struct(function, layouts.Voltages, self._at).vdd_dtu, function)
        if not 0 < volts < 20:
            raise Broken(f"{function}: {volts:g} V is no core supply")
        return round(volts, 4)

    def _ecc(self) -> Mapping[str, Value]:
        told = self._library.struct("EfmlGetDevEccStatus", layouts.EccStatus, self._at)
        self._asked.reset = bool(told.pdblack)
        return {
            "ecc_corrected": int(told.ecnt_sb),
            "ecc_uncorrected": int(told.ecnt_db),
            "remap_pending": int(bool(told.pdblack)),
        }

    def _recovery(self) -> str:
        told = self._library.struct("EfmlGetDevRmaStatus", layouts.RmaStatus, self._at)
        if not told.is_dtu_support_rma:
            raise NotSupported("EfmlGetDevRmaStatus: this card gives no RMA hints")
        self._asked.replace = bool(told.flags)
        if self._asked.replace:
            return "replace"
        return "drain_and_reset" if self._asked.reset else "none"

    def _healthy(self) -> bool:
        value = c_bool(False)
        self._library.run("EfmlGetDevHealth", self._at, byref(value))
        return bool(value.value)

    def _health(self) -> Mapping[str, Value]:
        """The library's word, and what it asks for beside."""
        details = []
        word = "ok"
        if self._asked.reset:
            word, details = "degraded", ["pending blacklist"]
        if self._asked.replace:
            word, details = "critical", [*details, "RMA asked for"]
        if not self._healthy():
            word, details = "critical", [*details, "not healthy"]
        return {"health": word, "health_detail": "; ".join(details) or "healthy"}

    def _links(self) -> Mapping[str, Value]:
        total = self._library.u32("EfmlGetGcuLarePortNum", self._at)
        if total > 64:
            raise Broken(f"EfmlGetGcuLarePortNum: {total} ports are not to be believed")
        up = 0
        for port in range(total):
            told = self._library.struct("EfmlGetGcuLarePortInfo", layouts.LarePort, self._at, c_uint(port))
            up += bool(told.connected)
        return {"links_total": total, "links_active": up}

    def _rows(self) -> list[layouts.OldProcessInfo]:
        return self._library.rows("EfmlGetProcessInfo", layouts.OldProcessInfo, self._at)

    def _new_records(self) -> list[tuple[str, Severity, str]]:
        lib = self._library
        if not lib.c.has("EfmlGetErrorRecords"):
            return []
        rows, total = roomy(layouts.ErrorRecord * RECORDS), c_uint(0)
        try:
            lib.run("EfmlGetErrorRecords", self._at, c_uint(RECORDS), byref(rows), byref(total))
        except ReadingError:
            return []
        now = {
            (int(row.event_id), int(row.time_stamp)): row for row in list(rows)[: min(total.value, RECORDS)]
        }
        before, self._records = self._records, set(now)
        if before is None:
            return []
        found = []
        for key, row in now.items():
            if key in before:
                continue
            reset = layouts.RESETS.get(row.reset_type, f"reset type {row.reset_type}")
            source = layouts.RESET_SOURCES.get(row.source, "unknown")
            severity = Severity.WARNING if row.source == 0 else Severity.CRITICAL
            found.append(
                (f"{key[0]:#x}@{key[1]}", severity, f"error record {key[0]:#x}: {reset}, source {source}")
            )
        return found


def _finite(value: float, function: str) -> float:
    if not math.isfinite(value):
        raise Broken(f"{function}: {value} is no number")
    return float(value)
