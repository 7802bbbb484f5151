"""Where each catalogue value of a Moore Threads card comes from; printed in docs/metrics.md."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from ullage_agent.backends.pcie_sources import SOURCES as PCIE_SOURCES

SOURCES: Final[Mapping[str, str]] = {
    "utilization_ratio": "mtmlGpuGetUtilization; MPC instance: the same of its device",
    "encoder_ratio": "mtmlVpuGetUtilization.encodeUtil",
    "decoder_ratio": "mtmlVpuGetUtilization.decodeUtil",
    "memory_used_bytes": "mtmlMemoryGetUsed; MPC instance: the same of its device",
    "memory_total_bytes": "mtmlMemoryGetTotal; MPC instance: the same of its device",
    "memory_reserved_bytes": "mtmlMemoryGetUsedSystem",
    "power_watts": "mtmlDeviceGetPowerUsage",
    "temperature_celsius": "mtmlGpuGetTemperature",
    "fan_ratio": "mtmlDeviceGetFanSpeed, the fastest",
    "fan_rpm": "mtmlDeviceGetFanRpm, the fastest",
    "clock_core_hertz": "mtmlGpuGetClock",
    "clock_core_max_hertz": "mtmlGpuGetMaxClock",
    "clock_memory_hertz": "mtmlMemoryGetClock",
    "clock_video_hertz": "mtmlVpuGetClock",
    **PCIE_SOURCES,
    "pcie_generation": "mtmlDeviceGetPciInfo.pciCurGen, else the bus",
    "pcie_generation_max": "mtmlDeviceGetPciInfo.pciMaxGen, else the bus",
    "pcie_width": "mtmlDeviceGetPciInfo.pciCurWidth, else the bus",
    "pcie_width_max": "mtmlDeviceGetPciInfo.pciMaxWidth, else the bus",
    "links_total": "mtmlDeviceGetMtLinkSpec.linkNum",
    "links_active": "mtmlDeviceGetMtLinkState: up or downgraded",
    "ecc_corrected": "mtmlMemoryGetEccErrorCounter(corrected, volatile, DRAM)",
    "ecc_uncorrected": "mtmlMemoryGetEccErrorCounter(uncorrected, volatile, DRAM)",
    "ecc_corrected_lifetime": "mtmlMemoryGetEccErrorCounter(corrected, aggregate, DRAM)",
    "ecc_uncorrected_lifetime": "mtmlMemoryGetEccErrorCounter(uncorrected, aggregate, DRAM)",
    "retired_pages": "mtmlMemoryGetRetiredPagesCount: both causes",
    "retired_pages_corrected": "mtmlMemoryGetRetiredPagesCount.sbeCount",
    "retired_pages_uncorrected": "mtmlMemoryGetRetiredPagesCount.dbeCount",
    "remap_pending": "mtmlMemoryGetRetiredPagesPendingStatus",
    "health": "derived: driver failure, uncorrected errors, retired pages that wait, links downgraded; see card.py",
    "health_detail": "what the health word was derived from",
    "recovery_action": "drain_and_reset where retired pages wait for a reset",
    "processes": "/proc: processes that have a device node of the card open; MTML lists none",
}
