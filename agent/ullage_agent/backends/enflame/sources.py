"""Where each catalogue value of an Enflame card comes from (efml.h; efml* by handle, Efml* by index)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from ullage_agent.backends.pcie_sources import SOURCES as PCIE

SOURCES: Final[Mapping[str, str]] = {
    **PCIE,
    "utilization_ratio": "efmlDeviceGetUtilizationRates.gcu, else EfmlGetDevDtuUsage; vGCU: EfmlGetVdevDtuUsage",
    "memory_bandwidth_ratio": "efmlDeviceGetUtilizationRates.memory",
    "encoder_ratio": "efmlDeviceGetEncoderUtilization",
    "decoder_ratio": "efmlDeviceGetDecoderUtilization",
    "memory_used_bytes": "efmlDeviceGetMemoryInfo.used, else EfmlGetDevMem (MB); vGCU: EfmlGetVdevMem",
    "memory_total_bytes": "efmlDeviceGetMemoryInfo.total, else EfmlGetDevMem (MB); vGCU: EfmlGetVdevMem",
    "power_watts": "efmlDeviceGetPowerUsage, else EfmlGetDevPwr",
    "power_limit_watts": "efmlDeviceGetEnforcedPowerLimit, else EfmlGetDevPwr.pwr_capability",
    "temperature_celsius": "efmlDeviceGetTemperature(GCU), else EfmlGetDevTempV2.cur_asic_temp",
    "memory_temperature_celsius": "EfmlGetDevTempV2.cur_mem_temp",
    "board_temperature_celsius": "EfmlGetDevTempV2.cur_board_temp",
    "temperature_limit_celsius": "efmlDeviceGetTemperatureThreshold(SLOWDOWN)",
    "fan_ratio": "efmlDeviceGetFanSpeed",
    "clock_core_hertz": "efmlDeviceGetClockInfo(GRAPHICS), else EfmlGetDevClk.cur_dtu_clock",
    "clock_sm_hertz": "efmlDeviceGetClockInfo(SIP)",
    "clock_memory_hertz": "efmlDeviceGetClockInfo(MEM), else EfmlGetDevClk.cur_hbm_clock",
    "clock_video_hertz": "efmlDeviceGetClockInfo(VIDEO)",
    "clock_core_max_hertz": "efmlDeviceGetMaxClockInfo(GRAPHICS)",
    "voltage_volts": "EfmlGetDevVolt.vdd_dtu",
    "pcie_rx_bytes_per_second": "efmlDeviceGetPcieThroughput(RX)",
    "pcie_tx_bytes_per_second": "efmlDeviceGetPcieThroughput(TX)",
    "pcie_generation": "efmlDeviceGetCurrPcieLinkGeneration",
    "pcie_generation_max": "efmlDeviceGetMaxPcieLinkGeneration",
    "pcie_width": "efmlDeviceGetCurrPcieLinkWidth",
    "pcie_width_max": "efmlDeviceGetMaxPcieLinkWidth",
    "links_total": "EfmlGetGcuLarePortNum",
    "links_active": "EfmlGetGcuLarePortInfo.connected of every port",
    "ecc_corrected": "EfmlGetDevEccStatus.ecnt_sb",
    "ecc_uncorrected": "EfmlGetDevEccStatus.ecnt_db",
    "remap_pending": "EfmlGetDevEccStatus.pdblack: a blacklist waits for a reset",
    "recovery_action": "replace where EfmlGetDevRmaStatus.flags asks for it, drain_and_reset where pdblack does",
    "health": "EfmlGetDevHealth; an RMA hint is critical, a pending blacklist degraded",
    "health_detail": "what the health word was derived from",
    "processes": "efmlDeviceGetComputeRunningProcesses_v3, else EfmlGetProcessInfo",
    "process_memory_used_bytes": "the same calls' device memory",
}
