"""Where each catalogue value of an AMD card comes from; printed in docs/metrics.md.

DEV is /sys/class/drm/cardN/device, HW its hwmon directory, GM a field of its gpu_metrics file.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from ullage_agent.backends.pcie_sources import SOURCES as PCIE

SOURCES: Final[Mapping[str, str]] = {
    **PCIE,
    "utilization_ratio": "DEV/gpu_busy_percent, else GM average_gfx_activity; partition: mean of GM xcp_stats gfx_busy_inst",
    "memory_bandwidth_ratio": "DEV/mem_busy_percent, else GM average_umc_activity",
    "memory_used_bytes": "DEV/mem_info_vram_used",
    "memory_total_bytes": "DEV/mem_info_vram_total; partition: its KFD memory banks",
    "memory_host_used_bytes": "DEV/mem_info_gtt_used",
    "power_watts": "HW/power1_average, else power1_input (MI300)",
    "power_instant_watts": "HW/power1_input",
    "board_power_watts": "as power_watts, where dies share a board (one serial number): MI250",
    "power_limit_watts": "HW/power1_cap",
    "energy_joules": "GM energy_accumulator x 2^-16 J; 0 is not counted",
    "voltage_volts": "HW in0 vddgfx, else GM voltage_gfx",
    "temperature_celsius": "HW temp edge, else junction (MI300 has no edge sensor)",
    "hotspot_temperature_celsius": "HW temp junction, else GM temperature_hotspot",
    "memory_temperature_celsius": "HW temp mem, else GM temperature_mem",
    "temperature_limit_celsius": "HW temp crit of edge, else junction",
    "fan_ratio": "HW/pwm1 over pwm1_max",
    "fan_rpm": "HW/fan1_input, else GM current_fan_speed",
    "clock_core_hertz": "HW freq sclk, else mean of GM current_gfxclk",
    "clock_core_max_hertz": "highest level of DEV/pp_dpm_sclk",
    "clock_memory_hertz": "HW freq mclk, else GM current_uclk",
    "throttle_reasons": "GM indep_throttle_status; ASIC bits are unknown; 1.6 and later: residencies that grew since last time",
    "throttle_power_seconds": "GM ppt_residency_acc over accumulation_counter (1.6 and later), since the reader began",
    "throttle_thermal_seconds": "GM socket, VR and HBM residency, the greatest (1.6 and later)",
    "throttle_hardware_seconds": "GM prochot_residency_acc (1.6 and later)",
    "performance_state": "DEV/power/runtime_status: a sleeping card is not asked for more",
    "pcie_replays": "DEV/pcie_replay_count, else GM pcie_replay_count_acc",
    "link_rx_bytes": "sum of GM xgmi_read_data_acc (KiB)",
    "link_tx_bytes": "sum of GM xgmi_write_data_acc (KiB)",
    "links_active": "GM xgmi_link_status (1.7 and later)",
    "links_total": "GM xgmi_link_status (1.7 and later)",
    "ecc_corrected": "DEV/ras/umc_err_count ce",
    "ecc_uncorrected": "DEV/ras/umc_err_count ue",
    "sram_ecc_corrected": "sum of ce of every other DEV/ras/*_err_count",
    "sram_ecc_uncorrected": "sum of ue of every other DEV/ras/*_err_count",
    "retired_pages": "lines of DEV/ras/gpu_vram_bad_pages",
    "remap_pending": "a line of gpu_vram_bad_pages says P",
    "remap_failure": "a line of gpu_vram_bad_pages says F",
    "health": "critical: an uncorrectable error in any RAS block or a page that cannot be retired; degraded: deferred or pending",
    "health_detail": "the blocks and counts behind health",
    "processes": "KFD processes that hold memory of the card",
    "process_memory_used_bytes": "/sys/class/kfd/kfd/proc/PID/vram_GPUID",
}
