"""Where each catalogue value of a Kunlunxin card comes from (xpuml.h of kunlunxin/go-xpuml)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from ullage_agent.backends.pcie_sources import SOURCES as PCIE

SOURCES: Final[Mapping[str, str]] = {
    "utilization_ratio": "xpumlDeviceGetUtilizationRates.xpu",
    "memory_bandwidth_ratio": "xpumlDeviceGetUtilizationRates.memory",
    "memory_used_bytes": "xpumlDeviceGetMemoryInfo.usedGlobalMemory",
    "memory_total_bytes": "xpumlDeviceGetMemoryInfo.totalGlobalMemory",
    "power_watts": "xpumlDeviceGetPowerUsage; not of a K200, whose two devices both answer the board's",
    "board_power_watts": "K200: xpumlDeviceGetPowerUsage",
    "temperature_celsius": "xpumlDeviceGetTemperature(XPU)",
    "clock_core_hertz": "xpumlDeviceGetClockInfo(XPU)",
    "health": "xpumlDeviceGetState: unused and running ok, in reset degraded, error and exception critical",
    "health_detail": "the state's name and number",
    "recovery_action": "reset where XPUML answers RESET_REQUIRED",
    "reset_required": "RESET_REQUIRED answers of xpumlDeviceGetState",
    "processes": "xpumlDeviceGetComputeRunningProcesses",
    "process_memory_used_bytes": "xpumlDeviceGetComputeRunningProcesses.usedGlobalMemory",
    **PCIE,
}
