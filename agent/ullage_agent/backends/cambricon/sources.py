"""Where each catalogue value of a Cambricon card comes from; printed in docs/metrics.md."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from ullage_agent.backends.pcie_sources import SOURCES as PCIE_SOURCES

SOURCES: Final[Mapping[str, str]] = {
    "utilization_ratio": "cndevGetDeviceUtilizationInfo.averageCoreUtilization; sMLU: mluQuota used over mluQuota",
    "encoder_ratio": "cndevGetVideoCodecUtilization, mean of the encoders",
    "decoder_ratio": "cndevGetVideoCodecUtilization, mean of the decoders",
    "control_cpu_ratio": "cndevGetDeviceCPUUtilization.chipUtilization",
    "memory_used_bytes": "cndevGetMemoryUsageV2.physicalMemoryUsed, else cndevGetMemoryUsage; sMLU: memorySize used",
    "memory_total_bytes": "cndevGetMemoryUsageV2.physicalMemoryTotal, else cndevGetMemoryUsage; sMLU: memorySize",
    "memory_reserved_bytes": "cndevGetMemoryUsageV2.reservedMemory",
    "power_watts": "cndevGetDevicePowerInfo.usage, else cndevGetPowerInfo",
    "power_limit_watts": "cndevGetDevicePowerInfo.cap, else cndevGetPowerInfo",
    "voltage_volts": "cndevGetVoltageInfo.ipuCoreVoltage",
    "temperature_celsius": "cndevGetTemperatureInfo.chip, else the hottest cluster",
    "memory_temperature_celsius": "cndevGetTemperatureInfo.memory",
    "board_temperature_celsius": "cndevGetTemperatureInfo.board",
    "clock_core_hertz": "cndevGetFrequencyInfo.boardFreq",
    "clock_core_max_hertz": "cndevGetFrequencyInfo.boardFreqArange[1]",
    "clock_memory_hertz": "cndevGetFrequencyInfo.ddrFreq",
    "throttle_reasons": "cndevGetPerformanceThrottleReason",
    "pcie_rx_bytes": "cndevGetPCIethroughputV2.pcieReadTotal",
    "pcie_tx_bytes": "cndevGetPCIethroughputV2.pcieWriteTotal",
    "pcie_replays": "cndevGetPcieReplayCounter",
    **PCIE_SOURCES,
    "link_rx_bytes": "cndevGetMLULinkCounter.cntrReadByte, all ports",
    "link_tx_bytes": "cndevGetMLULinkCounter.cntrWriteByte, all ports",
    "link_replay_errors": "cndevGetMLULinkCounter.errReplay, all ports",
    "link_crc_errors": "cndevGetMLULinkCounter.errCRC24 + errCRC32, all ports",
    "links_total": "cndevGetMLULinkPortNumber",
    "links_active": "cndevGetMLULinkStatusV2.macState: up, LLDP or ready",
    "ecc_corrected": "cndevGetMemEccCounter.volatileDramEccSbeCounter, else cndevGetECCInfo.correctedError",
    "ecc_uncorrected": "cndevGetMemEccCounter.volatileDramEccDbeCounter, else cndevGetECCInfo.uncorrectedError",
    "ecc_corrected_lifetime": "cndevGetMemEccCounter.aggregateDramEccSbeCounter",
    "ecc_uncorrected_lifetime": "cndevGetMemEccCounter.aggregateDramEccDbeCounter",
    "sram_ecc_corrected": "cndevGetMemEccCounter.volatileSramEccSbeCounter",
    "sram_ecc_uncorrected": "cndevGetMemEccCounter.volatileSramEccDbeCounter + volatileSramEccParityCounter",
    "retired_pages": "cndevGetRemappedRowsV2, else cndevGetRemappedRows, else cndevGetRetiredPages: both causes",
    "retired_pages_corrected": "the same: for correctable errors",
    "retired_pages_uncorrected": "the same: for uncorrectable errors",
    "remap_pending": "cndevGetRepairStatus.isPending or isRetirePending, else a PENDING_* incident",
    "remap_failure": "cndevGetRepairStatus.isFailure, else a *_FAILURE incident",
    "heartbeat": "cndevGetCardHeartbeatCount",
    "health": "cndevGetCardHealthStateV2 (overallHealth, incidents), else cndevGetCardHealthState",
    "health_detail": "device and driver state, overall verdict, incidents by their CNDEV_FR_ name",
    "recovery_action": "drain_and_reset while a PENDING_* incident stands",
    "processes": "cndevGetProcessInfo",
    "process_memory_used_bytes": "cndevGetProcessInfo.physicalMemoryUsed",
}
