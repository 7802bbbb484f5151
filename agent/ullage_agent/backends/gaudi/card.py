"""One Gaudi: what is asked of it and what the answers mean in the catalogue's units.

Utilisation is no duty cycle: the kernel driver works it out of power, (now - idle) / (limit - idle)
(hl_device_utilization, drivers/accel/habanalabs/common/device.c), so an idle card may say 2 %. Memory in use holds
the driver's reserve (672 to 768 MiB), and frameworks take all of it at the start.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from ctypes import c_void_p
from typing import Final

from ullage_agent.backends.gaudi.hlml_library import (
    AGGREGATE,
    AIP,
    BOARD,
    CORRECTED,
    DOUBLE_BIT,
    DRAM,
    SINGLE_BIT,
    SLOWDOWN,
    SOC,
    SRAM,
    UNCORRECTED,
    VOLATILE,
    Hlml,
)
from ullage_agent.backends.pcie import PciFunction
from ullage_agent.backends.roster import Probe
from ullage_contract.catalogue import THROTTLE_REASONS, Tier, bits_of
from ullage_contract.errors import Broken, CardLost, NotSupported, ReadingError
from ullage_contract.sample import Value

Answer = Mapping[str, Value | None]

MOST_WATTS: Final = 5000.0  # our choice: because no module draws that
HOTTEST: Final = 200  # our choice: because silicon is dead before
_POWER, _THERMAL = 1, 2  # HLML_CLOCKS_THROTTLE_REASON_*

WORDS: Final = {
    "operational": "ok",
    "in reset": "degraded",
    "in reset after device release": "degraded",
    "in device creation": "degraded",
    "needs reset": "critical",
    "disabled": "critical",
    # as the out-of-tree driver up to 2021 wrote them
    "malfunction": "critical",
}
"""The driver's word in sysfs (Documentation/ABI/testing/sysfs-driver-habanalabs), lower case -> ours."""
_RANK: Final = ("ok", "degraded", "critical")


class GaudiCard:
    """A card by its handle. function: its place on the bus, None where this /sys does not show it."""

    def __init__(self, hlml: Hlml, handle: c_void_p, function: PciFunction | None) -> None:
        self._hlml = hlml
        self.handle = handle
        self.function = function
        self._ports: list[int] | None = None

    @property
    def node(self) -> str | None:
        """The device node that a process opens to compute: /dev/accel/accelN, /dev/hlN of older drivers."""
        if self.function is None:
            return None
        for pattern, folder in (("accel/accel[0-9]*", "/dev/accel/"), ("habanalabs/hl[0-9]*", "/dev/")):
            for place in sorted(self.function.files.root.glob(pattern)):
                return folder + place.name
        return None

    def word(self) -> str | None:
        """The driver's own word for the card; None where it is not shown. Raises CardLost."""
        if self.function is None:
            return None
        root = self.function.files.root
        if not root.is_dir():
            raise CardLost(f"{self.function.address} is not on the PCI bus any more")
        for place in (root / "status", *root.glob("habanalabs/hl[0-9]*/status")):
            try:
                text = place.read_text(encoding="ascii", errors="replace").strip()
            except OSError:
                continue
            if text.isprintable() and text:
                return text[:60]
        return None

    def probes(self) -> list[Probe]:
        """In the order they are asked: of two that give one key the first that answers counts."""
        number, ecc = self._number, self._ecc
        found = [
            Probe("hlml_device_get_utilization_rates", ("utilization_ratio",), self._utilization),
            Probe("hlml_device_get_memory_info", ("memory_used_bytes", "memory_total_bytes"), self._memory),
            Probe("hlml_device_get_power_usage", ("power_watts",), self._watts("power_watts", "hlml_device_get_power_usage")),
            Probe("hlml_device_get_total_energy_consumption", ("energy_joules",), self._energy),
            Probe("hlml_device_get_temperature(aip)", ("temperature_celsius",), self._heat("temperature_celsius", "hlml_device_get_temperature", AIP)),
            Probe("hlml_device_get_temperature(board)", ("board_temperature_celsius",), self._heat("board_temperature_celsius", "hlml_device_get_temperature", BOARD)),
            Probe("hlml_device_get_clock_info(soc)", ("clock_core_hertz",), self._clock("clock_core_hertz", "hlml_device_get_clock_info")),
            Probe("hlml_device_get_current_clocks_throttle_reasons", ("throttle_reasons",), self._throttle),
            Probe("health", ("health", "health_detail", "reset_required"), self._health),
            Probe("hlml_device_get_max_clock_info(soc)", ("clock_core_max_hertz",), self._clock("clock_core_max_hertz", "hlml_device_get_max_clock_info"), Tier.SLOW),
            Probe("hlml_device_get_power_management_limit", ("power_limit_watts",), self._watts("power_limit_watts", "hlml_device_get_power_management_limit"), Tier.SLOW),
            Probe("hlml_device_get_power_management_default_limit", ("power_limit_watts",), self._watts("power_limit_watts", "hlml_device_get_power_management_default_limit"), Tier.SLOW),
            Probe("hlml_device_get_temperature_threshold(slowdown)", ("temperature_limit_celsius",), self._heat("temperature_limit_celsius", "hlml_device_get_temperature_threshold", SLOWDOWN), Tier.SLOW),
            Probe("hlml_device_get_pcie_replay_counter", ("pcie_replays",), number("pcie_replays", "hlml_device_get_pcie_replay_counter"), Tier.SLOW),
            Probe("hlml_device_get_memory_error_counter(uncorrected, dram)", ("ecc_uncorrected",), ecc("ecc_uncorrected", UNCORRECTED, VOLATILE, DRAM), Tier.SLOW),
            Probe("hlml_device_get_total_ecc_errors(uncorrected)", ("ecc_uncorrected",), ecc("ecc_uncorrected", UNCORRECTED, VOLATILE), Tier.SLOW),
            Probe("hlml_device_get_memory_error_counter(uncorrected, sram)", ("sram_ecc_uncorrected",), ecc("sram_ecc_uncorrected", UNCORRECTED, VOLATILE, SRAM), Tier.SLOW),
            Probe("hlml_device_get_total_ecc_errors(uncorrected, aggregate)", ("ecc_uncorrected_lifetime",), ecc("ecc_uncorrected_lifetime", UNCORRECTED, AGGREGATE), Tier.SLOW),
            Probe("hlml_device_get_memory_error_counter(corrected, dram)", ("ecc_corrected",), ecc("ecc_corrected", CORRECTED, VOLATILE, DRAM), Tier.SLOW),
            Probe("hlml_device_get_total_ecc_errors(corrected)", ("ecc_corrected",), ecc("ecc_corrected", CORRECTED, VOLATILE), Tier.SLOW),
            Probe("hlml_device_get_memory_error_counter(corrected, sram)", ("sram_ecc_corrected",), ecc("sram_ecc_corrected", CORRECTED, VOLATILE, SRAM), Tier.SLOW),
            Probe("hlml_device_get_replaced_rows", ("retired_pages", "retired_pages_corrected", "retired_pages_uncorrected"), self._rows, Tier.SLOW),
            Probe("hlml_device_get_replaced_rows_pending_status", ("remap_pending",), lambda: {"remap_pending": int(self._pending() > 0)}, Tier.SLOW),
            Probe("hlml_nic_get_link", ("links_active", "links_total"), self._links, Tier.SLOW),
        ]  # fmt: skip
        return [*found, *(self.function.probes() if self.function is not None else ())]

    def _number(self, key: str, name: str) -> Callable[[], Answer]:
        return lambda: {key: self._hlml.narrow(name, self.handle)}

    def _utilization(self) -> Answer:
        per_cent = self._hlml.narrow("hlml_device_get_utilization_rates", self.handle)
        if not 0 <= per_cent <= 100:
            raise Broken(f"utilisation is {per_cent} per cent")
        return {"utilization_ratio": per_cent / 100}

    def _memory(self) -> Answer:
        memory = self._hlml.memory(self.handle)
        total, used = int(memory.total), int(memory.used)
        if not total or used > total or total >= 1 << 62:
            raise Broken(f"memory: {used} of {total} bytes")
        return {"memory_used_bytes": used, "memory_total_bytes": total}

    def _watts(self, key: str, name: str) -> Callable[[], Answer]:
        def ask() -> Answer:
            watts = self._hlml.narrow(name, self.handle) / 1000
            if not 0 < watts < MOST_WATTS:
                raise Broken(f"{name}: {watts:g} W")
            return {key: watts}

        return ask

    def _energy(self) -> Answer:
        """Since the driver was loaded, in millijoules; 0 is a release that has the function and no counter."""
        millijoules = self._hlml.wide("hlml_device_get_total_energy_consumption", self.handle)
        if not 0 < millijoules < 1 << 62:
            raise NotSupported(f"the energy counter is {millijoules}")
        return {"energy_joules": millijoules / 1000}

    def _heat(self, key: str, name: str, kind: int) -> Callable[[], Answer]:
        def ask() -> Answer:
            celsius = self._hlml.narrow(name, self.handle, kind)
            if not 0 < celsius < HOTTEST:
                raise Broken(f"{name}({kind}) is {celsius}")
            return {key: float(celsius)}

        return ask

    def _clock(self, key: str, name: str) -> Callable[[], Answer]:
        def ask() -> Answer:
            megahertz = self._hlml.narrow(name, self.handle, SOC)
            if not 0 <= megahertz < 100_000:
                raise Broken(f"{name} is {megahertz} MHz")
            return {key: megahertz * 1e6}

        return ask

    def _throttle(self) -> Answer:
        bits = self._hlml.wide("hlml_device_get_current_clocks_throttle_reasons", self.handle)
        reasons = []
        if bits & _POWER:
            reasons.append("software_power_cap")
        if bits & _THERMAL:
            reasons.append("hardware_thermal")
        if bits & ~(_POWER | _THERMAL):
            reasons.append("unknown")
        return {"throttle_reasons": bits_of(THROTTLE_REASONS, reasons)}

    def _ecc(self, key: str, error: int, counter: int, location: int | None = None) -> Callable[[], Answer]:
        def ask() -> Answer:
            if location is None:
                count = self._hlml.wide("hlml_device_get_total_ecc_errors", self.handle, error, counter)
            else:
                name = "hlml_device_get_memory_error_counter"
                count = self._hlml.wide(name, self.handle, error, counter, location)
            if count >= 1 << 62:
                raise Broken(f"{key} is {count:#x}")
            return {key: count}

        return ask

    def _rows(self) -> Answer:
        single = self._hlml.replaced_rows(self.handle, SINGLE_BIT)
        double = self._hlml.replaced_rows(self.handle, DOUBLE_BIT)
        return {
            "retired_pages": single + double,
            "retired_pages_corrected": single,
            "retired_pages_uncorrected": double,
        }

    def _pending(self) -> int:
        return self._hlml.narrow("hlml_device_get_replaced_rows_pending_status", self.handle)

    def _links(self) -> Answer:
        """Ports to other cards of the node; those to the outside are counted as RDMA ports elsewhere."""
        if self._ports is None:
            self._ports = self._hlml.ports(self.handle)
        if not self._ports:
            raise NotSupported("no port leads to another card")
        return {
            "links_total": len(self._ports),
            "links_active": sum(self._hlml.link_up(self.handle, port) for port in self._ports),
        }

    def _health(self) -> Answer:
        """The driver's word, and rows that wait for a reset. Ok only where the driver says so."""
        word = self.word()
        verdict = WORDS.get(word.lower(), "degraded") if word is not None else None
        details = [word] if word is not None else []
        try:
            waiting = self._pending() > 0
        except CardLost:
            raise
        except ReadingError:
            waiting = False
        if waiting:
            verdict = max(verdict or "degraded", "degraded", key=_RANK.index)
            details.append("replaced rows wait for a reset")
        if verdict is None:
            raise NotSupported("the driver shows no status")
        answer: dict[str, Value | None] = {"health": verdict, "health_detail": "; ".join(details)}
        if word is not None:
            answer["reset_required"] = int(word.lower() == "needs reset")
        return answer
