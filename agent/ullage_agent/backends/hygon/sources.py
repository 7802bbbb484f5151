"""Where each catalogue value of a Hygon DCU comes from; printed in docs/metrics.md."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from ullage_agent.backends.pcie_sources import SOURCES as PCIE

SOURCES: Final[Mapping[str, str]] = {
    **PCIE,
    "utilization_ratio": "rsmi_dev_hcu_util_get over a short window (window_ms), else rsmi_dev_busy_percent_get; vDCU: dmiGetVDevBusyPercent",
    "sm_active_ratio": "rsmi_dev_cu_util_get over a short window: mean share of compute units active",
    "memory_bandwidth_ratio": "rsmi_dev_memory_busy_percent_get",
    "memory_used_bytes": "rsmi_dev_memory_usage_get(VRAM), with what the driver keeps; vDCU: dmiGetVDeviceInfo",
    "memory_total_bytes": "rsmi_dev_memory_total_get(VRAM); vDCU: dmiGetVDeviceInfo",
    "power_watts": "rsmi_dev_power_ave_get, else rsmi_dev_power_get",
    "power_limit_watts": "rsmi_dev_power_cap_get",
    "temperature_celsius": "rsmi_dev_temp_metric_get(edge), else (core)",
    "hotspot_temperature_celsius": "rsmi_dev_temp_metric_get(junction)",
    "memory_temperature_celsius": "rsmi_dev_temp_metric_get(memory), else the hottest HBM stack",
    "temperature_limit_celsius": "rsmi_dev_temp_metric_get(edge, critical)",
    "clock_core_hertz": "hwmon freq sclk; the library's struct has two layouts and is not asked",
    "clock_memory_hertz": "hwmon freq mclk",
    "pcie_replays": "rsmi_dev_pci_replay_counter_get",
    "ecc_corrected": "rsmi_dev_ecc_count_get(UMC).correctable",
    "ecc_uncorrected": "rsmi_dev_ecc_count_get(UMC).uncorrectable",
    "sram_ecc_corrected": "sum of rsmi_dev_ecc_count_get of all other blocks, correctable",
    "sram_ecc_uncorrected": "sum of rsmi_dev_ecc_count_get of all other blocks, uncorrectable",
    "retired_pages": "rsmi_dev_memory_reserved_pages_get",
    "remap_pending": "a page of rsmi_dev_memory_reserved_pages_get is pending",
    "remap_failure": "a page of rsmi_dev_memory_reserved_pages_get cannot be reserved",
    "health": "critical: an uncorrectable error in any block or a page that cannot be reserved; the library has no verdict",
    "health_detail": "the blocks and counts behind health",
    "processes": "rsmi_compute_process_info_get and rsmi_compute_process_gpus_get",
    "process_memory_used_bytes": "rsmi_compute_process_info_by_device_get; 0 is not said",
}
