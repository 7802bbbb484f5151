"""One Hygon DCU: what is asked of it and what the answers mean in the catalogue's units.

Utilisation: drivers since 6.3 have no counter of it; the window functions sample for as long as they are told
(hy-smi: 1000 ms) and are asked for a short window, else rsmi_dev_busy_percent_get. Memory in use holds what the
driver keeps for itself: an idle card may say 94 %.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Mapping
from typing import Final, TypeVar

from ullage_agent.backends.amd import ras
from ullage_agent.backends.amd.ras import Counts, Pages
from ullage_agent.backends.hygon.rocm_smi_library import (
    BLOCKS,
    CORE,
    CRITICAL,
    CURRENT,
    EDGE,
    HBM,
    JUNCTION,
    MEMORY,
    FileError,
    RocmSmi,
    lost_or_lacking,
)
from ullage_agent.backends.pcie import PciFunction
from ullage_agent.backends.roster import Probe
from ullage_agent.backends.sysfs import hwmon, labelled
from ullage_contract.catalogue import Tier
from ullage_contract.errors import Broken, NotSupported, ReadingError
from ullage_contract.sample import Value

T = TypeVar("T")
Answer = Mapping[str, Value | None]

MOST_WATTS: Final = 5000.0  # our choice: because no module draws that
HOTTEST: Final = 200.0  # our choice: because silicon is dead before
_RESERVED, _PENDING, _FAILED = 0, 1, 2


class HygonCard:
    """A card by its index in the library. function: its place on the PCI bus."""

    def __init__(self, smi: RocmSmi, index: int, function: PciFunction, window_ms: int) -> None:
        self._smi = smi
        self.index = index
        self.function = function
        self._window_ms = window_ms
        self._blocks: dict[str, int] | None = None
        self._was_there = function.files.root.is_dir()

    @property
    def on_the_bus(self) -> bool:
        """Whether sysfs still shows it; True where it never did (a container's /sys, a masked address)."""
        there = self.function.files.root.is_dir()
        self._was_there = self._was_there or there
        return there or not self._was_there

    def probes(self) -> list[Probe]:
        """In the order they are asked: of two that give one key the first that answers counts."""
        found = [
            Probe("rsmi_dev_hcu_util_get", ("utilization_ratio",), self._asked(self._window("utilization_ratio", "rsmi_dev_hcu_util_get"))),
            Probe("rsmi_dev_busy_percent_get", ("utilization_ratio",), self._asked(self._per_cent("utilization_ratio", "rsmi_dev_busy_percent_get"))),
            Probe("rsmi_dev_cu_util_get", ("sm_active_ratio",), self._asked(self._window("sm_active_ratio", "rsmi_dev_cu_util_get")), Tier.SLOW),
            Probe("rsmi_dev_memory_busy_percent_get", ("memory_bandwidth_ratio",), self._asked(self._per_cent("memory_bandwidth_ratio", "rsmi_dev_memory_busy_percent_get"))),
            Probe("rsmi_dev_memory_total_get", ("memory_total_bytes",), self._asked(self._size("memory_total_bytes", "rsmi_dev_memory_total_get"))),
            Probe("rsmi_dev_memory_usage_get", ("memory_used_bytes",), self._asked(self._size("memory_used_bytes", "rsmi_dev_memory_usage_get"))),
            Probe("rsmi_dev_power_ave_get", ("power_watts",), self._asked(self._power("power_watts", lambda: self._of_sensor("rsmi_dev_power_ave_get")))),
            Probe("rsmi_dev_power_get", ("power_watts",), self._asked(self._power("power_watts", lambda: self._smi.power_now(self.index)))),
            Probe("rsmi_dev_temp_metric_get(edge)", ("temperature_celsius",), self._asked(self._heat("temperature_celsius", EDGE))),
            Probe("rsmi_dev_temp_metric_get(core)", ("temperature_celsius",), self._asked(self._heat("temperature_celsius", CORE))),
            Probe("rsmi_dev_temp_metric_get(junction)", ("hotspot_temperature_celsius",), self._asked(self._heat("hotspot_temperature_celsius", JUNCTION))),
            Probe("rsmi_dev_temp_metric_get(memory)", ("memory_temperature_celsius",), self._asked(self._heat("memory_temperature_celsius", MEMORY))),
            Probe("rsmi_dev_temp_metric_get(hbm)", ("memory_temperature_celsius",), self._asked(self._hbm)),
            Probe("rsmi_dev_temp_metric_get(edge, critical)", ("temperature_limit_celsius",), self._asked(self._heat("temperature_limit_celsius", EDGE, CRITICAL)), Tier.SLOW),
            Probe("rsmi_dev_power_cap_get", ("power_limit_watts",), self._asked(self._power("power_limit_watts", lambda: self._of_sensor("rsmi_dev_power_cap_get"))), Tier.SLOW),
            Probe("rsmi_dev_pci_replay_counter_get", ("pcie_replays",), self._asked(lambda: {"pcie_replays": self._smi.wide("rsmi_dev_pci_replay_counter_get", self.index)}), Tier.SLOW),
            Probe("rsmi_dev_ecc_count_get", self._error_keys(), self._asked(self._errors), Tier.SLOW),
        ]  # fmt: skip
        bus = self.function.probes() if self._was_there else []
        return [*found, *self._clocks(), *bus]

    def learn(self) -> None:
        """Which blocks count errors: asked once, because each costs a call. Raises a ReadingError."""
        if self._blocks is not None:
            return
        counted: dict[str, int] = {}
        for name, block in BLOCKS.items():
            try:
                self._smi.errors(self.index, block)
            except NotSupported as e:
                if isinstance(e, FileError) and not self.on_the_bus:
                    raise lost_or_lacking(e, False) from e
                continue
            except ReadingError:
                pass  # it counts, but not just now
            counted[name] = block
        self._blocks = counted

    def _asked(self, ask: Callable[[], Answer]) -> Callable[[], Answer]:
        def asked() -> Answer:
            try:
                return ask()
            except FileError as e:
                raise lost_or_lacking(e, self.on_the_bus) from e

        return asked

    def _of_sensor(self, name: str) -> int:
        return self._smi.wide(name, self.index, ctypes.c_uint32(0))

    def _window(self, key: str, name: str) -> Callable[[], Answer]:
        def ask() -> Answer:
            return {key: _ratio(self._smi.window(name, self.index, self._window_ms), name)}

        return ask

    def _per_cent(self, key: str, name: str) -> Callable[[], Answer]:
        def ask() -> Answer:
            return {key: _ratio(self._smi.narrow(name, self.index), name)}

        return ask

    def _size(self, key: str, name: str) -> Callable[[], Answer]:
        def ask() -> Answer:
            amount = self._smi.wide(name, self.index, ctypes.c_int(0))  # RSMI_MEM_TYPE_VRAM
            if amount >= 1 << 62:
                raise Broken(f"{name} of card {self.index} is {amount:#x}")
            return {key: amount}

        return ask

    def _power(self, key: str, microwatts: Callable[[], int]) -> Callable[[], Answer]:
        def ask() -> Answer:
            watts = microwatts() * 1e-6
            if not 0 < watts < MOST_WATTS:
                raise Broken(f"card {self.index}: {key} {watts:g}")
            return {key: watts}

        return ask

    def _degrees(self, sensor: int, metric: int) -> float:
        milli = self._smi.wide(
            "rsmi_dev_temp_metric_get", self.index, ctypes.c_uint32(sensor), ctypes.c_int(metric), signed=True
        )
        if not -100_000 < milli < HOTTEST * 1000:
            raise Broken(f"card {self.index}: temperature {sensor} is {milli} millidegrees")
        return milli / 1000

    def _heat(self, key: str, sensor: int, metric: int = CURRENT) -> Callable[[], Answer]:
        return lambda: {key: self._degrees(sensor, metric)}

    def _hbm(self) -> Answer:
        """The hottest stack."""
        found: list[float] = []
        why: NotSupported | None = None
        for sensor in HBM:
            try:
                found.append(self._degrees(sensor, CURRENT))
            except NotSupported as e:
                why = e
        if not found and why is not None:
            raise why
        return {"memory_temperature_celsius": max(found)}

    def _clocks(self) -> list[Probe]:
        """From the driver's own sensors: the library's struct cannot be trusted."""
        place = hwmon(self.function.files.root)
        if place is None:
            return []
        clocks = labelled(place, "freq")
        found = []
        for key, label in (("clock_core_hertz", "sclk"), ("clock_memory_hertz", "mclk")):
            if name := clocks.get(label):
                found.append(self._file(key, f"hwmon/{place.name}/{name}"))
        return found

    def _file(self, key: str, path: str) -> Probe:
        return Probe(path, (key,), lambda: {key: float(self.function.files.number(path))})

    # ---- errors

    def _error_keys(self) -> tuple[str, ...]:
        counted = set(self._blocks or ())
        keys: list[str] = []
        if ras.MEMORY_BLOCK in counted:
            keys += ["ecc_corrected", "ecc_uncorrected"]
        if counted - {ras.MEMORY_BLOCK}:
            keys += ["sram_ecc_corrected", "sram_ecc_uncorrected"]
        if keys:
            keys += ["retired_pages", "remap_pending", "remap_failure", "health", "health_detail"]
        return tuple(keys)

    def _errors(self) -> Answer:
        """The library has no verdict of its own: ours, from counts and pages, as for AMD's."""
        found: dict[str, Counts] = {}
        why: ReadingError | None = None
        for name, block in (self._blocks or {}).items():
            try:
                counted = self._smi.errors(self.index, block)
            except FileError:
                raise
            except NotSupported:
                continue
            except ReadingError as e:
                why = e
                continue
            found[name] = Counts(int(counted.uncorrectable), int(counted.correctable), int(counted.deferred))
        bad = self._pages()
        if not found and why is not None:
            raise why
        answer: dict[str, Value | None] = dict(ras.values(found))
        if bad is not None:
            answer |= {
                "retired_pages": bad.retired,
                "remap_pending": int(bad.pending > 0),
                "remap_failure": int(bad.failed > 0),
            }
        if why is None or any(block.uncorrected for block in found.values()):
            answer |= ras.health(found, bad)
        return answer

    def _pages(self) -> Pages | None:
        try:
            states = self._smi.pages(self.index)
        except ReadingError:
            return None
        return Pages(len(states), states.count(_PENDING), states.count(_FAILED))


def _ratio(per_cent: float, name: str) -> float:
    """0..1; a sentinel (all ones, not a number) is no reading."""
    if not 0 <= per_cent <= 100:
        raise Broken(f"{name} is {per_cent:g} per cent")
    return per_cent / 100
