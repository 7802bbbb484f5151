"""Where each catalogue value of a Cambricon card comes from; printed in docs/metrics.md."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

SOURCES: Final[Mapping[str, str]] = {
    "utilization_ratio": "cndevGetDeviceUtilizationInfo.averageCoreUtilization",
    "encoder_ratio": "cndevGetVideoCodecUtilization, mean of the encoders",
    "decoder_ratio": "cndevGetVideoCodecUtilization, mean of the decoders",
    "memory_used_bytes": "cndevGetMemoryUsageV2.physicalMemoryUsed; slice: cndevGetAllSMluInstanceInfo.memorySize[used]",
    "memory_total_bytes": "cndevGetMemoryUsageV2.physicalMemoryTotal; slice: cndevGetAllSMluInstanceInfo.memorySize[quota]",
    "memory_reserved_bytes": "cndevGetMemoryUsageV2.reservedMemory",
    "power_watts": "cndevGetDevicePowerInfo.usage",
    "power_limit_watts": "cndevGetDevicePowerInfo.cap",
    "board_power_watts": "cndevGetDevicePowerInfo.machine on OAM machines: of the whole machine, so not used",
    "temperature_celsius": "cndevGetTemperatureInfo.chip, else the hottest cluster",
    "memory_temperature_celsius": "cndevGetTemperatureInfo.memory",
    "board_temperature_celsius": "cndevGetTemperatureInfo.board",
    "fan_ratio": "not given: cndevFanSpeedInfo_t.fanSpeed is reserved",
    "clock_core_hertz": "cndevGetFrequencyInfo.boardFreq",
    "clock_core_max_hertz": "cndevGetFrequencyInfo.boardFreqArange[1]",
    "clock_memory_hertz": "cndevGetFrequencyInfo.ddrFreq",
    "pcie_rx_bytes": "cndevGetPCIethroughputV2.pcieReadTotal",
    "pcie_tx_bytes": "cndevGetPCIethroughputV2.pcieWriteTotal",
    "pcie_generation": "cndevGetCurrentPCIInfo.currentSpeed",
    "pcie_width": "cndevGetCurrentPCIInfo.currentWidth",
    "links_total": "cndevGetMLULinkPortNumber",
    "links_active": "cndevGetMLULinkStatusV2.macState up or ready",
    "ecc_corrected": "cndevGetECCInfo.correctedError",
    "ecc_uncorrected": "cndevGetECCInfo.uncorrectedError",
    "heartbeat": "cndevGetCardHeartbeatCount",
    "health": "cndevGetCardHealthStateV2 (overallHealth, incidents), else cndevGetCardHealthState",
    "health_detail": "device and driver state, incidents by their CNDEV_FR_ name",
    "recovery_action": "incidents that wait for a reset (PENDING_*) or say the card is worn out (*_FAILURE)",
    "remap_pending": "incident PENDING_ROW_REMAP, PENDING_ADDRESSSWAP, PENDING_PAGE_REPAIR or _RETIREMENTS",
    "remap_failure": "incident ROW_REMAP_FAILURE, ADDRESSSWAP_FAILURE or REPAIR_FAILURE",
    "processes": "cndevGetProcessInfo",
    "process_memory_used_bytes": "cndevGetProcessInfo.physicalMemoryUsed",
}
