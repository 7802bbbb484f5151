"""Where each catalogue value of a MetaX card comes from (mx_sml.h, and pymxsml of gpustack/runtime)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from ullage_agent.backends.pcie_sources import SOURCES as PCIE

SOURCES: Final[Mapping[str, str]] = {
    **PCIE,
    "utilization_ratio": "mxSmlGetDeviceIpUsage(XCORE; DLA on N cards); sGPU: mxSmlGetSgpuUsage",
    "encoder_ratio": "mxSmlGetDeviceIpUsage(VPUE)",
    "decoder_ratio": "mxSmlGetDeviceIpUsage(VPUD)",
    "memory_used_bytes": "mxSmlGetMemoryInfo.vramUse; sGPU: mxSmlGetSgpuMemory.used",
    "memory_total_bytes": "mxSmlGetMemoryInfo.vramTotal; sGPU: mxSmlGetSgpuMemory.total",
    "power_watts": "mxSmlGetBoardPowerInfo, sum of its ways",
    "board_power_watts": "the same, of a board that carries several cards",
    "power_limit_watts": "mxSmlGetBoardPowerLimit",
    "temperature_celsius": "mxSmlGetTemperatureInfo(HOTSPOT), which mx-smi shows as Temp",
    "hotspot_temperature_celsius": "mxSmlGetTemperatureInfo(HOTSPOT)",
    "memory_temperature_celsius": "mxSmlGetTemperatureInfo(HBM), where the card has it",
    "temperature_limit_celsius": "mxSmlGetTemperatureInfo(HOTLIMIT)",
    "fan_rpm": "mxSmlGetFanSpeedInfo",
    "clock_core_hertz": "mxSmlGetClocks(XCORE; DLA on N cards), the first",
    "clock_memory_hertz": "mxSmlGetClocks(MC0; MC on N cards), the first",
    "clock_core_max_hertz": "mxSmlGetDpmIpClockInfo(XCORE; DLA on N cards), the last",
    "throttle_reasons": "mxSmlGetCurrentClocksThrottleReason",
    "pcie_rx_bytes_per_second": "mxSmlGetPcieThroughput.rx",
    "pcie_tx_bytes_per_second": "mxSmlGetPcieThroughput.tx",
    "pcie_generation": "mxSmlGetPcieInfo.speed",
    "pcie_generation_max": "mxSmlGetPcieMaxLinkInfo.speed",
    "pcie_width": "mxSmlGetPcieInfo.width",
    "pcie_width_max": "mxSmlGetPcieMaxLinkInfo.width",
    "links_total": "mxSmlGetMetaXLinkPortState: ports that are used",
    "links_active": "mxSmlGetMetaXLinkPortState: ports that are up",
    "ecc_corrected": "mxSmlGetTotalEccErrors.dramCE",
    "ecc_uncorrected": "mxSmlGetTotalEccErrors.dramUE",
    "sram_ecc_corrected": "mxSmlGetTotalEccErrors.sramCE",
    "sram_ecc_uncorrected": "mxSmlGetTotalEccErrors.sramUE",
    "retired_pages": "mxSmlGetTotalEccErrors.retiredPage",
    "health": "mxSmlGetDeviceUnavailableReason, and the list of limited devices: either is critical",
    "health_detail": "the reason's text and code",
    "processes": "mxSmlGetSingleGpuProcess_v2, else ..._v1",
    "process_memory_used_bytes": "mxSmlGetSingleGpuProcess_v2.gpuMemoryUsage of this card",
}
