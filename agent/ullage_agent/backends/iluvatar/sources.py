"""Where each catalogue value of an Iluvatar chip comes from (api.h of Deep-Spark/go-ixml)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from ullage_agent.backends.pcie_sources import SOURCES as PCIE

SOURCES: Final[Mapping[str, str]] = {
    **PCIE,
    "utilization_ratio": "nvmlDeviceGetUtilizationRates.gpu of libixml",
    "memory_bandwidth_ratio": "nvmlDeviceGetUtilizationRates.memory of libixml",
    "encoder_ratio": "nvmlDeviceGetEncoderUtilization of libixml",
    "decoder_ratio": "nvmlDeviceGetDecoderUtilization of libixml",
    "memory_used_bytes": "nvmlDeviceGetMemoryInfo.used of libixml",
    "memory_total_bytes": "nvmlDeviceGetMemoryInfo.total of libixml",
    "power_watts": "nvmlDeviceGetPowerUsage of libixml; not of a board with two chips",
    "board_power_watts": "two chips on a board: ixmlDeviceGetBoardPowerUsage, of both",
    "power_limit_watts": "nvmlDeviceGetEnforcedPowerLimit, else ...PowerManagementLimit of libixml",
    "temperature_celsius": "nvmlDeviceGetTemperature(GPU) of libixml",
    "temperature_limit_celsius": "nvmlDeviceGetTemperatureThreshold(SLOWDOWN) of libixml",
    "fan_ratio": "nvmlDeviceGetFanSpeed of libixml",
    "clock_core_hertz": "nvmlDeviceGetClockInfo(SM) of libixml, which ixsmi shows too",
    "clock_sm_hertz": "nvmlDeviceGetClockInfo(SM) of libixml",
    "clock_memory_hertz": "nvmlDeviceGetClockInfo(MEM) of libixml",
    "clock_core_max_hertz": "nvmlDeviceGetMaxClockInfo(SM) of libixml",
    "throttle_reasons": "nvmlDeviceGetCurrentClocksThrottleReasons of libixml",
    "performance_state": "nvmlDeviceGetPerformanceState of libixml",
    "pcie_generation": "nvmlDeviceGetCurrPcieLinkGeneration of libixml",
    "pcie_generation_max": "nvmlDeviceGetMaxPcieLinkGeneration of libixml",
    "pcie_width": "nvmlDeviceGetCurrPcieLinkWidth of libixml",
    "pcie_width_max": "nvmlDeviceGetMaxPcieLinkWidth of libixml",
    "pcie_rx_bytes_per_second": "nvmlDeviceGetPcieThroughput(RX) of libixml",
    "pcie_tx_bytes_per_second": "nvmlDeviceGetPcieThroughput(TX) of libixml",
    "pcie_replays": "nvmlDeviceGetPcieReplayCounter of libixml",
    "ecc_corrected": "ixmlDeviceGetEccErros.single_error",
    "ecc_uncorrected": "ixmlDeviceGetEccErros.double_error",
    "health": "ixmlDeviceGetHealth bits: temperature and voltage alone degraded, any other critical; a dead card critical",
    "health_detail": "the names of the bits",
    "processes": "nvmlDeviceGetComputeRunningProcesses of libixml",
    "process_memory_used_bytes": "nvmlDeviceGetComputeRunningProcesses.usedGpuMemory of libixml",
}
