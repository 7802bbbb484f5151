"""What xpu-smi's and xpumcli's names mean in the catalogue: columns of dump, rows of stats, JSON types."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from ullage_agent.backends.printed import MIB
from ullage_contract.sample import Value

_BRACKETS: Final = re.compile(r"\([^()]*\)")


@dataclass(frozen=True, slots=True)
class Meaning:
    """One of their names. key: the catalogue's. factor: theirs to ours. joined: how tiles make a device."""

    key: str
    factor: float = 1.0
    joined: str = "mean"

    def value(self, printed: float) -> Value:
        """In our unit; counts and sizes are whole."""
        found = printed * self.factor
        # 47 x 0.01 is 0.47, not its neighbour
        return round(found) if self.key in _WHOLE else round(found, 9)


_WHOLE: Final = frozenset(
    {"memory_used_bytes", "ecc_corrected", "ecc_uncorrected", "sram_ecc_corrected", "sram_ecc_uncorrected"}
)
_KILOBYTE: Final = (
    1000.0  # the tools print kB/s; xpumanager core/src divides bytes by 1000 [unchecked on a card]
)

# per tile or device; device-level is the mean or the sum as the tools' help says (smi_user_guide.md, dump -h)
_NAMES: Final[Mapping[str, Meaning]] = {
    "gpu utilization": Meaning("utilization_ratio", 0.01),
    "eu array active": Meaning("sm_active_ratio", 0.01),
    "gpu power": Meaning("power_watts", joined="sum"),
    "gpu frequency": Meaning("clock_core_hertz", 1e6),
    "media engine frequency": Meaning("clock_video_hertz", 1e6),
    "media engine freq": Meaning("clock_video_hertz", 1e6),
    "gpu core temperature": Meaning("temperature_celsius"),
    "gpu memory temperature": Meaning("memory_temperature_celsius"),
    "gpu memory utilization": Meaning("memory_ratio", 0.01),
    "gpu memory util": Meaning("memory_ratio", 0.01),
    "gpu memory bandwidth utilization": Meaning("memory_bandwidth_ratio", 0.01),
    "gpu memory bandwidth": Meaning("memory_bandwidth_ratio", 0.01),
    "gpu memory used": Meaning("memory_used_bytes", float(MIB), "sum"),
    "gpu energy consumed": Meaning("energy_joules", joined="sum"),
    "pcie read": Meaning("pcie_rx_bytes_per_second", _KILOBYTE, "sum"),
    "pcie write": Meaning("pcie_tx_bytes_per_second", _KILOBYTE, "sum"),
    "gpu memory errors correctable": Meaning("ecc_corrected", joined="sum"),
    "gpu memory errors uncorrectable": Meaning("ecc_uncorrected", joined="sum"),
    "mem errors correctable": Meaning("ecc_corrected", joined="sum"),
    "mem errors uncorrectable": Meaning("ecc_uncorrected", joined="sum"),
    "cache errors correctable": Meaning("sram_ecc_corrected", joined="sum"),
    "cache errors uncorrectable": Meaning("sram_ecc_uncorrected", joined="sum"),
    "decoder engine util": Meaning("decoder_ratio", 0.01),
    "media decoder engine utilizations": Meaning("decoder_ratio", 0.01),
    "encoder engine util": Meaning("encoder_ratio", 0.01),
    "media encoder engine utilizations": Meaning("encoder_ratio", 0.01),
}
JSON_TYPES: Final[Mapping[str, Meaning]] = {
    "XPUM_STATS_GPU_UTILIZATION": Meaning("utilization_ratio", 0.01),
    "XPUM_STATS_EU_ACTIVE": Meaning("sm_active_ratio", 0.01),
    "XPUM_STATS_POWER": Meaning("power_watts", joined="sum"),
    "XPUM_STATS_GPU_FREQUENCY": Meaning("clock_core_hertz", 1e6),
    "XPUM_STATS_MEDIA_ENGINE_FREQUENCY": Meaning("clock_video_hertz", 1e6),
    "XPUM_STATS_GPU_CORE_TEMPERATURE": Meaning("temperature_celsius"),
    "XPUM_STATS_MEMORY_TEMPERATURE": Meaning("memory_temperature_celsius"),
    "XPUM_STATS_MEMORY_USED": Meaning("memory_used_bytes", float(MIB), "sum"),
    "XPUM_STATS_MEMORY_UTILIZATION": Meaning("memory_ratio", 0.01),
    "XPUM_STATS_MEMORY_BANDWIDTH": Meaning("memory_bandwidth_ratio", 0.01),
    "XPUM_STATS_RAS_ERROR_CAT_CACHE_ERRORS_CORRECTABLE": Meaning("sram_ecc_corrected", joined="sum"),
    "XPUM_STATS_RAS_ERROR_CAT_CACHE_ERRORS_UNCORRECTABLE": Meaning("sram_ecc_uncorrected", joined="sum"),
    "XPUM_STATS_RAS_ERROR_CAT_NON_COMPUTE_ERRORS_CORRECTABLE": Meaning("ecc_corrected", joined="sum"),
    "XPUM_STATS_RAS_ERROR_CAT_NON_COMPUTE_ERRORS_UNCORRECTABLE": Meaning("ecc_uncorrected", joined="sum"),
}
SANE: Final[Mapping[str, Callable[[float], bool]]] = {
    # what the tools print for a value the driver did not give: outside these it is none
    "temperature_celsius": lambda v: -100 < v <= 300,
    "memory_temperature_celsius": lambda v: -100 < v <= 300,
    "power_watts": lambda v: 0 <= v < 65535,
}


def meaning(name: str) -> Meaning | None:
    """The meaning of a column or row name, units in brackets left out; None when it is none of the catalogue's."""
    plain = " ".join(_BRACKETS.sub(" ", name).lower().split())
    return _NAMES.get(plain) or _NAMES.get(plain.removeprefix("gpu "))


def sane(key: str, printed: float) -> bool:
    """Whether a printed number can be one of this key: nothing here is below zero but a temperature."""
    check = SANE.get(key)
    return check(printed) if check is not None else printed >= 0
