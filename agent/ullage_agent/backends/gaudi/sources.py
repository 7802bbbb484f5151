"""Where each catalogue value of a Gaudi comes from; printed in docs/metrics.md."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from ullage_agent.backends.pcie_sources import SOURCES as PCIE

SOURCES: Final[Mapping[str, str]] = {
    **PCIE,
    "utilization_ratio": "hlml_device_get_utilization_rates; the driver works it out of power: (now - idle) / (limit - idle)",
    "memory_used_bytes": "hlml_device_get_memory_info.used, with the driver's reserve of 672 to 768 MiB",
    "memory_total_bytes": "hlml_device_get_memory_info.total",
    "power_watts": "hlml_device_get_power_usage",
    "power_limit_watts": "hlml_device_get_power_management_limit, else _default_limit",
    "energy_joules": "hlml_device_get_total_energy_consumption, since driver load; 0 is no counter",
    "temperature_celsius": "hlml_device_get_temperature(on AIP)",
    "board_temperature_celsius": "hlml_device_get_temperature(on board)",
    "temperature_limit_celsius": "hlml_device_get_temperature_threshold(slowdown)",
    "clock_core_hertz": "hlml_device_get_clock_info(SOC)",
    "clock_core_max_hertz": "hlml_device_get_max_clock_info(SOC)",
    "throttle_reasons": "hlml_device_get_current_clocks_throttle_reasons: power is software_power_cap, thermal is hardware_thermal",
    "pcie_replays": "hlml_device_get_pcie_replay_counter",
    "ecc_uncorrected": "hlml_device_get_memory_error_counter(uncorrected, volatile, DRAM), else get_total_ecc_errors",
    "ecc_uncorrected_lifetime": "hlml_device_get_total_ecc_errors(uncorrected, aggregate)",
    "sram_ecc_uncorrected": "hlml_device_get_memory_error_counter(uncorrected, volatile, SRAM)",
    "ecc_corrected": "hlml_device_get_memory_error_counter(corrected, volatile, DRAM), else get_total_ecc_errors; mostly not supported",
    "sram_ecc_corrected": "hlml_device_get_memory_error_counter(corrected, volatile, SRAM); mostly not supported",
    "retired_pages": "hlml_device_get_replaced_rows, both causes",
    "retired_pages_corrected": "hlml_device_get_replaced_rows(multiple single-bit errors)",
    "retired_pages_uncorrected": "hlml_device_get_replaced_rows(double-bit error)",
    "remap_pending": "hlml_device_get_replaced_rows_pending_status",
    "links_total": "ports of hlml_get_mac_addr_info that are not external",
    "links_active": "hlml_nic_get_link of these ports",
    "health": "the driver's status in sysfs; rows that wait for a reset degrade it",
    "health_detail": "the driver's own word",
    "reset_required": "status is needs reset",
    "processes": "processes with the card's /dev/accel/accelN open (/proc/PID/fd)",
}
