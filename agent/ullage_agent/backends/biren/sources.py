"""Where each catalogue value of a Biren card comes from (brml.h of BirenTechnology/go-brml, BRML 1)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from ullage_agent.backends.pcie_sources import SOURCES as PCIE

SOURCES: Final[Mapping[str, str]] = {
    **PCIE,
    "utilization_ratio": "brmlDeviceGetUtilizationRates.gpu",
    "memory_bandwidth_ratio": "brmlDeviceGetUtilizationRates.memory",
    "encoder_ratio": "brmlDeviceGetEncoderUtilization",
    "decoder_ratio": "brmlDeviceGetDecoderUtilization",
    "memory_used_bytes": "brmlDeviceGetMemoryInfo.used",
    "memory_total_bytes": "brmlDeviceGetMemoryInfo.total",
    "power_watts": "brmlDeviceGetPowerUsage",
    "power_limit_watts": "brmlDeviceGetPowerManagementLimit",
    "temperature_celsius": "brmlDeviceGetTemperature(GPU)",
    "memory_temperature_celsius": "brmlDeviceGetTemperature(MEMORY)",
    "board_temperature_celsius": "brmlDeviceGetTemperature(BOARD_SENSOR0)",
    "temperature_limit_celsius": "brmlDeviceGetTemperatureThreshold(SLOWDOWN)",
    "clock_core_hertz": "brmlDeviceGetClockInfo(CORE)",
    "clock_core_max_hertz": "brmlDeviceGetMaxClockInfo(CORE)",
    "clock_memory_hertz": "brmlDeviceGetClockInfo(MEM)",
    "clock_video_hertz": "brmlDeviceGetClockInfo(DECODE)",
    "throttle_reasons": "brmlDeviceGetCurrentClocksThrottleReasons",
    "pcie_tx_bytes_per_second": "brmlDeviceGetPcieThroughput(TX)",
    "pcie_rx_bytes_per_second": "brmlDeviceGetPcieThroughput(RX)",
    "pcie_generation": "brmlDeviceGetCurrPcieLinkGeneration",
    "pcie_generation_max": "brmlDeviceGetMaxPcieLinkGeneration",
    "pcie_width": "brmlDeviceGetCurrPcieLinkWidth",
    "pcie_width_max": "brmlDeviceGetMaxPcieLinkWidth",
    "pcie_replays": "brmlDeviceGetPcieReplayCounter",
    "pcie_aer_correctable": "brmlDeviceGetTotalAerErrors(CORRECTED)",
    "pcie_aer_nonfatal": "brmlDeviceGetTotalAerErrors(NONFATAL)",
    "pcie_aer_fatal": "brmlDeviceGetTotalAerErrors(FATAL)",
    "links_total": "brmlDeviceGetBrLinkNumber",
    "links_active": "brmlDeviceGetBrLinkState of every link",
    "link_crc_errors": "brmlDeviceGetBrLinkErrorCounter CRC_FLIT + CRC_DATA, all links",
    "link_replay_errors": "brmlDeviceGetBrLinkErrorCounter REPLAY, all links",
    "link_recovery_errors": "brmlDeviceGetBrLinkErrorCounter RECOVERY, all links",
    "ecc_corrected": "brmlDeviceGetTotalEccErrors(CORRECTED, VOLATILE)",
    "ecc_uncorrected": "brmlDeviceGetTotalEccErrors(UNCORRECTED, VOLATILE)",
    "sram_ecc_corrected": "brmlDeviceGetMemoryErrorCounter(CORRECTED), L1 + L2",
    "sram_ecc_uncorrected": "brmlDeviceGetMemoryErrorCounter(UNCORRECTED), L1 + L2",
    "health": "brmlDeviceGetHealthStatus: warning degraded, critical warning and error critical",
    "health_detail": "the status' name",
    "processes": "brmlDeviceGetComputeRunningProcesses",
    "process_memory_used_bytes": "brmlDeviceGetComputeRunningProcesses.usedGpuMemory",
}
