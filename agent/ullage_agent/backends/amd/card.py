"""One AMD card from its sysfs directory: probes of plain files, of hwmon, of gpu_metrics and of RAS.

A card that the kernel has put to sleep (runtime power management; Radeon, not Instinct) is left alone: reading
its sensors would wake it and show 9 to 15 s of activity that is ours (rocm-systems issue 8024).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from ullage_agent.backends.amd import gpu_metrics, ras
from ullage_agent.backends.amd.gpu_metrics import Metrics
from ullage_agent.backends.amd.throttling import reasons_of_bits
from ullage_agent.backends.roster import Probe
from ullage_agent.backends.sysfs import SysfsFiles, hwmon, labelled
from ullage_contract.catalogue import THROTTLE_REASONS, Tier, bits_of
from ullage_contract.errors import NotSupported, ReadingError
from ullage_contract.sample import Value

Answer = dict[str, Value | None]

_JOULES_PER_COUNT: Final = 1 / 65536  # energy_accumulator counts 15.259 uJ, 2^-16 J
_ASLEEP: Final = frozenset({"suspended", "suspending"})
_LEVEL: Final = re.compile(r"(\d+)\s*Mhz", re.IGNORECASE)
_METRICS_KEYS: Final = (
    "utilization_ratio",
    "memory_bandwidth_ratio",
    "temperature_celsius",
    "hotspot_temperature_celsius",
    "memory_temperature_celsius",
    "energy_joules",
    "clock_core_hertz",
    "clock_memory_hertz",
    "throttle_reasons",
    "pcie_replays",
    "link_rx_bytes",
    "link_tx_bytes",
    "links_active",
    "links_total",
    "fan_rpm",
    "voltage_volts",
)
_RESIDENCIES: Final[Mapping[str, tuple[tuple[str, ...], str]]] = {
    # ours -> accumulators of gpu_metrics 1.6 and later, and the reason they stand for
    "throttle_power_seconds": (("residency_ppt",), "software_power_cap"),
    "throttle_thermal_seconds": (("residency_socket", "residency_vr", "residency_hbm"), "software_thermal"),
    "throttle_hardware_seconds": (("residency_prochot",), "hardware_thermal"),
}


class AmdCard:
    """The probes of one card."""

    def __init__(self, device: Path) -> None:
        self.files = SysfsFiles(device)
        self._power_key = "power_watts"
        place = hwmon(device)
        self._hwmon = f"hwmon/{place.name}/" if place else None
        self._labels = {kind: labelled(place, kind) for kind in ("temp", "freq", "in")} if place else {}
        self._metrics: Metrics | None = None
        self._residency = _Residency()
        self._measures: tuple[str, ...] | None = None

    @property
    def metrics(self) -> Metrics | None:
        """What the last tick's gpu_metrics said."""
        return self._metrics

    def share_power(self, shared: bool) -> None:
        """Whether its power is the whole board's, because other cards sit on the board too."""
        self._power_key = "board_power_watts" if shared else "power_watts"

    def asleep(self) -> bool:
        """Whether the kernel has put the card to sleep; asking does not wake it."""
        try:
            return self.files.text("power/runtime_status") in _ASLEEP
        except ReadingError:
            return False

    def learn(self) -> None:
        """Read gpu_metrics once, to know which of its fields this card measures. Raises as ``SysfsFiles.raw``."""
        if self._measures is None and not self.asleep():
            try:
                answer = self._ask_metrics()
            except NotSupported:
                answer = {}
            self._measures = tuple(key for key in _METRICS_KEYS if answer.get(key) is not None)
            if self._metrics is not None and self._metrics.one("accumulation") is not None:
                self._measures += ("throttle_reasons", *_RESIDENCIES)

    def probes(self) -> list[Probe]:
        """Cheap files first, then the sensors, then what asks the card."""
        measured = _METRICS_KEYS if self._measures is None else self._measures
        return [
            Probe("runtime_status", ("performance_state", "utilization_ratio"), self._sleep),
            *self._plain(),
            *self._sensors(),
            Probe("gpu_metrics", measured, self._awake(self._ask_metrics)),
            Probe("pp_dpm_sclk", ("clock_core_max_hertz",), self._awake(self._greatest_clock), Tier.SLOW),
            *self._errors(),
        ]

    def close(self) -> None:
        """Close the descriptors."""
        self.files.close()

    # ---- asleep

    def _sleep(self) -> Answer:
        """The kernel's word (active, suspended). A card that sleeps has no work."""
        status = self.files.text("power/runtime_status")
        if status == "unsupported":
            raise NotSupported(f"{self.files.root}: the card is never put to sleep")
        if status in _ASLEEP:
            return {"performance_state": status, "utilization_ratio": 0.0}
        return {"performance_state": status}

    def _awake(self, ask: Callable[[], Answer]) -> Callable[[], Answer]:
        def asked() -> Answer:
            return {} if self.asleep() else ask()

        return asked

    def _one(
        self, key: str, name: str, factor: float, tier: Tier = Tier.FAST, *, whole: bool = False
    ) -> Probe:
        """A file with one number; negative ones are no reading."""

        def ask() -> Answer:
            number = self.files.number(name)
            if tier is Tier.SLOW:
                self.files.forget(name)  # a descriptor a minute is not worth holding
            if number < 0:
                return {}
            return {key: number if whole else number * factor}

        return Probe(name, (key,), self._awake(ask), tier)

    # ---- plain files

    def _plain(self) -> list[Probe]:
        return [
            self._one("utilization_ratio", "gpu_busy_percent", 0.01),
            self._one("memory_bandwidth_ratio", "mem_busy_percent", 0.01),
            self._one("memory_used_bytes", "mem_info_vram_used", 1, whole=True),
            self._one("memory_total_bytes", "mem_info_vram_total", 1, whole=True),
            self._one("memory_host_used_bytes", "mem_info_gtt_used", 1, whole=True),
            self._one("pcie_replays", "pcie_replay_count", 1, Tier.SLOW, whole=True),
        ]

    # ---- hwmon

    def _sensors(self) -> list[Probe]:
        if self._hwmon is None:
            return []
        temperatures = self._labels.get("temp", {})
        probes = [
            Probe("power1", self._power_keys(), self._awake(self._power)),
            self._one("power_limit_watts", f"{self._hwmon}power1_cap", 1e-6, Tier.SLOW),
            self._one("fan_rpm", f"{self._hwmon}fan1_input", 1.0, Tier.SLOW),
            Probe("pwm1", ("fan_ratio",), self._awake(self._fan), Tier.SLOW),
        ]
        edge, junction = temperatures.get("edge"), temperatures.get("junction")
        # MI300 has no edge sensor: its junction is what there is of a core temperature
        for key, name in (
            ("temperature_celsius", edge or junction or ("temp1_input" if not temperatures else None)),
            ("hotspot_temperature_celsius", junction),
            ("memory_temperature_celsius", temperatures.get("mem")),
        ):
            if name:
                probes.append(self._one(key, f"{self._hwmon}{name}", 1e-3))
        if name := edge or junction:
            limit = name.replace("_input", "_crit")
            probes.append(self._one("temperature_limit_celsius", f"{self._hwmon}{limit}", 1e-3, Tier.SLOW))
        clocks, voltages = self._labels.get("freq", {}), self._labels.get("in", {})
        for key, label in (("clock_core_hertz", "sclk"), ("clock_memory_hertz", "mclk")):
            if name := clocks.get(label):
                probes.append(self._one(key, f"{self._hwmon}{name}", 1.0))
        if name := voltages.get("vddgfx"):
            probes.append(self._one("voltage_volts", f"{self._hwmon}{name}", 1e-3, Tier.SLOW))
        return probes

    def _power_keys(self) -> tuple[str, ...]:
        instant = (self.files.root / f"{self._hwmon}power1_input").exists()
        return (self._power_key, "power_instant_watts") if instant else (self._power_key,)

    def _power(self) -> Answer:
        """The average where the card has one; MI300 has the instant value only, which is then both."""
        assert self._hwmon is not None
        answer: Answer = {}
        why: ReadingError | None = None
        for name, keys in (
            ("power1_average", (self._power_key,)),
            ("power1_input", ("power_instant_watts", self._power_key)),
        ):
            try:
                microwatts = self.files.number(self._hwmon + name)
            except NotSupported as e:
                why = e
                continue
            if microwatts > 0:  # the second die of an MI250 says 0: its power is in the first one's
                for key in keys:
                    answer.setdefault(key, microwatts * 1e-6)
        if not answer and why is not None:
            raise why
        return answer

    def _fan(self) -> Answer:
        assert self._hwmon is not None
        name, greatest = f"{self._hwmon}pwm1", f"{self._hwmon}pwm1_max"
        value = self.files.number(name)
        try:
            top = self.files.number(greatest)
        except NotSupported:
            top = 255  # kernel Documentation/hwmon: pwm counts 0..255
        self.files.forget(name)
        self.files.forget(greatest)
        return {"fan_ratio": value / top} if top > 0 and 0 <= value <= top else {}

    # ---- gpu_metrics

    def _ask_metrics(self) -> Answer:
        self._metrics = None
        found = self._metrics = gpu_metrics.parse(self.files.raw("gpu_metrics"))
        energy, core, memory = found.one("energy"), found.one("current_gfxclk"), found.one("current_uclk")
        millivolts, up = found.one("voltage_gfx_mv"), found.fields.get("xgmi_up")
        received, sent = found.total("xgmi_read_kib"), found.total("xgmi_write_kib")
        states = up if isinstance(up, tuple) else ()
        edge, hotspot = found.one("edge"), found.one("hotspot")
        seconds, reasons = self._residency.update(found)
        return {
            "utilization_ratio": _ratio(found.one("gfx_activity")),
            "memory_bandwidth_ratio": _ratio(found.one("umc_activity")),
            "temperature_celsius": _degrees(edge if edge is not None else hotspot),
            "hotspot_temperature_celsius": _degrees(hotspot),
            "memory_temperature_celsius": _degrees(found.one("mem")),
            # 0 is a card that does not count it (seen at 20 W)
            "energy_joules": energy * _JOULES_PER_COUNT if energy else None,
            "clock_core_hertz": None if core is None else core * 1e6,
            "clock_memory_hertz": None if memory is None else memory * 1e6,
            "throttle_reasons": _reasons(found) if reasons is None else reasons,
            **seconds,
            "pcie_replays": found.one("pcie_replays"),
            # our choice: the header's "KiloBytes" read as 1024 bytes, as the driver counts memory
            "link_rx_bytes": None if received is None else received * 1024,
            "link_tx_bytes": None if sent is None else sent * 1024,
            "links_active": sum(1 for state in states if state == 1) if states else None,
            "links_total": len(states) or None,
            "fan_rpm": found.one("fan_rpm"),
            "voltage_volts": None if millivolts is None else millivolts / 1000,
        }

    def _greatest_clock(self) -> Answer:
        text = self.files.text("pp_dpm_sclk")
        self.files.forget("pp_dpm_sclk")
        levels = [int(level) for level in _LEVEL.findall(text)]
        return {"clock_core_max_hertz": max(levels) * 1e6} if levels else {}

    # ---- errors

    def _errors(self) -> list[Probe]:
        counted = [name for name, _ in ras.blocks(self.files)]
        keys: list[str] = []
        if ras.MEMORY_BLOCK in counted:
            keys += ["ecc_corrected", "ecc_uncorrected"]
        if any(name != ras.MEMORY_BLOCK for name in counted):
            keys += ["sram_ecc_corrected", "sram_ecc_uncorrected"]
        if (self.files.root / ras.PAGES).exists():
            keys += ["retired_pages", "remap_pending", "remap_failure"]
        if not keys:
            return []
        keys += ["health", "health_detail"]
        return [Probe("ras", tuple(keys), self._awake(self._ask_ras), Tier.SLOW)]

    def _ask_ras(self) -> Answer:
        """A block that cannot be read is left out; when none can, its error is the answer."""
        found: dict[str, ras.Counts] = {}
        why: ReadingError | None = None
        for name, file in ras.blocks(self.files):
            try:
                found[name] = ras.counts(self.files, file)
            except NotSupported:
                continue
            except ReadingError as e:
                why = e
        try:
            bad = ras.pages(self.files)
        except ReadingError:
            bad = None
        if why is not None and not found:
            raise why
        if not found and bad is None:
            raise NotSupported(f"{self.files.root}/ras counts nothing")
        answer: Answer = dict(ras.values(found))
        if bad is not None:
            answer |= {
                "retired_pages": bad.retired,
                "remap_pending": int(bad.pending > 0),
                "remap_failure": int(bad.failed > 0),
            }
        if why is None or any(block.uncorrected for block in found.values()):
            answer |= ras.health(found, bad)  # no verdict of good health while a block could not be asked
        return answer


class _Residency:
    """Seconds held down, from accumulators that count cycles: their share of the cycles times the firmware's clock."""

    def __init__(self) -> None:
        self._before: Metrics | None = None
        self._seconds = dict.fromkeys(_RESIDENCIES, 0.0)

    def update(self, found: Metrics) -> tuple[dict[str, float], int | None]:
        """(seconds since the reader began, reasons since the last reading); ({}, None) where there is nothing to compare."""
        before, self._before = self._before, found
        if before is None or before.one("accumulation") is None or found.one("accumulation") is None:
            return {}, None
        cycles = (found.one("accumulation") or 0) - (before.one("accumulation") or 0)
        elapsed = ((found.one("firmware_timestamp") or 0) - (before.one("firmware_timestamp") or 0)) * 1e-8
        if cycles <= 0 or elapsed <= 0:
            return dict(self._seconds), None
        reasons: list[str] = []
        for key, (names, reason) in _RESIDENCIES.items():
            grown = [max(0, (found.one(name) or 0) - (before.one(name) or 0)) for name in names]
            share = min(1.0, max(grown) / cycles)
            self._seconds[key] += share * elapsed
            if share > 0:
                reasons.append(reason)
        return dict(self._seconds), bits_of(THROTTLE_REASONS, reasons)


def _reasons(found: Metrics) -> int | None:
    independent = found.one("independent_throttle")
    if independent is not None:
        return reasons_of_bits(independent)
    status = found.one("throttle_status")
    if status is None:
        return None
    return reasons_of_bits(None) if status else 0


def _ratio(per_cent: int | None) -> float | None:
    return None if per_cent is None or per_cent > 100 else per_cent / 100


def _degrees(value: int | None) -> float | None:
    return None if value is None or value > 300 else float(value)
