"""Where each value of an Alveo card comes from; printed in docs/metrics.md. PF: /sys/bus/pci/devices/BDF."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from ullage_agent.backends.pcie_sources import SOURCES as PCIE

SOURCES: Final[Mapping[str, str]] = {
    "power_watts": "PF/xmc.*/xmc_power, else hwmon power1_input",
    "power_limit_watts": "PF/xmc.*/max_power: 0, 1, 2 mean 75, 150, 225 W",
    "voltage_volts": "PF/xmc.*/xmc_vccint_vol, else hwmon VCC INT",
    "current_amperes": "PF/xmc.*/xmc_vccint_curr, else hwmon VCC INT Current",
    "temperature_celsius": "PF/xmc.*/xmc_fpga_temp, else hwmon FPGA TEMP",
    "memory_temperature_celsius": "PF/xmc.*/xmc_hbm_temp, xmc_ddr_temp0..3 and hwmon HBM, DIMMn: the highest",
    "board_temperature_celsius": "PF/xmc.*/xmc_se98_temp0..2 and hwmon PCB: the highest",
    "fan_rpm": "PF/xmc.*/xmc_fan_rpm, else hwmon fan1_input; only with fan_presence",
    "memory_used_bytes": "PF/memstat_raw of the banks in PF/icap.*/mem_topology",
    "memory_total_bytes": "PF/icap.*/mem_topology: DDR and HBM banks in use by the loaded design",
    "clock_core_hertz": "PF/icap.*/clock_freqs, the first",
    "ecc_corrected": "PF/mig.*/ecc_ce_cnt, summed",
    "ecc_uncorrected": "PF/mig.*/ecc_ue_cnt, summed",
    "heartbeat": "PF/xmc.*/xmc_heartbeat_count of the satellite controller",
    "health": "derived: PF/dev_offline, PF/firewall.*/detected_level, xmc_heartbeat_stall, xmc_power_warn",
    "health_detail": "what the health word was derived from",
    "processes": "processes with its render node open",
    **PCIE,
}
