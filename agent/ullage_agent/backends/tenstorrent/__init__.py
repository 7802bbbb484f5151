"""Tenstorrent: the tt-kmd driver's sysfs attributes and hwmon sensors.

This file is only the description and imports nothing heavy; the reader loads in a child process.
"""

from __future__ import annotations

from ullage_agent.backend import Backend
from ullage_agent.backends.pcie_sources import SOURCES as PCIE

backend = Backend(
    name="tenstorrent",
    title="Tenstorrent",
    pci=(("1e52", ()),),
    device_nodes=("tenstorrent/[0-9]*",),
    sysfs_nodes=("class/tenstorrent/tenstorrent![0-9]*",),
    reader="ullage_agent.backends.tenstorrent.reader:open_reader",
    decoder="ullage_agent.backends.tenstorrent.decode:decode",
    # SYS is /sys/class/tenstorrent/tenstorrent!N (tt-kmd docs/sysfs-attributes.md), HW its device's hwmon
    sources={
        "utilization_ratio": "HW power1_input over power1_max: a proxy, the chip counts no busy time",
        "power_watts": "HW power1_input",
        "power_limit_watts": "HW power1_max (TDP limit)",
        "temperature_celsius": "HW temp1_input (ASIC)",
        "temperature_limit_celsius": "HW temp1_max",
        "voltage_volts": "HW in0_input (core)",
        "current_amperes": "HW curr1_input",
        "fan_rpm": "HW fan1_input (Blackhole)",
        "clock_core_hertz": "SYS tt_aiclk",
        "heartbeat": "SYS tt_heartbeat",
        "health": "derived: tt_heartbeat stands still (critical), tt_therm_trip_count above 0 (degraded)",
        "health_detail": "which of the two",
        "processes": "/proc/*/fd: processes that have /dev/tenstorrent/N open",
        **PCIE,
    },
    util_kind="proxy_power",
)
