"""Qualcomm Cloud AI 100: the qaic driver's sysfs and hwmon, and what qaic-util says once an inventory.

This file is only the description and imports nothing heavy; the reader loads in a child process.
"""

from __future__ import annotations

from ullage_agent.backend import Backend
from ullage_agent.backends.pcie_sources import SOURCES as PCIE

backend = Backend(
    name="qualcomm",
    title="Qualcomm Cloud AI",
    # 17cb makes modems and network cards too: AIC100 a100, AIC080 a080 (drivers/accel/qaic/qaic_drv.c)
    pci=(("17cb", ()),),
    pci_devices=frozenset({"a100", "a080"}),
    sysfs_nodes=("module/qaic",),
    reader="ullage_agent.backends.qualcomm.reader:open_reader",
    decoder="ullage_agent.backends.qualcomm.decode:decode",
    # DEV is the SoC's PCI function; HW its hwmon, where the driver has telemetry (Cloud AI Platform SDK)
    sources={
        "board_power_watts": "HW power1_input: of the whole board, also where it carries several SoCs",
        "power_watts": "HW power1_input where qaic-util shows one SoC on the board",
        "power_limit_watts": "HW power1_max (TDP in force)",
        "temperature_celsius": "HW temp2_input (SoC)",
        "board_temperature_celsius": "HW temp1_input",
        "temperature_limit_celsius": "HW temp2_crit (warning)",
        "performance_state": "HW power_level: 1 full, 2 reduced, 3 minimal power",
        "throttle_reasons": "HW throttle_percent above 0, reason unknown",
        "ecc_corrected": "DEV ce_count (kernel 6.17 and newer)",
        "ecc_uncorrected": "DEV ue_count (kernel 6.17 and newer)",
        "memory_total_bytes": "qaic-util -q Dram Total, once an inventory",
        "health": "derived: ue_count above 0 critical; a SoC without its accel node, or Status:Error, critical; throttling and non-fatal errors degraded",
        "health_detail": "which of these",
        "processes": "/proc/*/fd: processes that have the SoC's /dev/accel node open",
        **PCIE,
    },
)
