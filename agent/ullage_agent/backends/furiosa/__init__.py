"""FuriosaAI (RNGD): through its management library libfuriosa_smi.so.

This file is only the description and imports nothing heavy; the reader loads in a child process.
"""

from __future__ import annotations

from ullage_agent.backend import Backend
from ullage_agent.backends.pcie_sources import SOURCES as PCIE

backend = Backend(
    name="furiosa",
    title="FuriosaAI",
    pci=(("1ed2", ()),),  # pci.ids: FuriosaAI makes nothing but NPUs
    device_nodes=("rngd/npu[0-9]*", "npu[0-9]*mgmt"),
    sysfs_nodes=("class/rngd_mgmt/rngd!npu[0-9]*mgmt",),
    reader="ullage_agent.backends.furiosa.reader:open_reader",
    decoder="ullage_agent.backends.furiosa.decode:decode",
    # furiosa_smi.h of furiosa-smi-go
    sources={
        "utilization_ratio": "furiosa_smi_get_device_performance_counter: task_execution_cycle over cycle_count since the last reading, mean over PEs",
        "power_watts": "furiosa_smi_get_device_power_consumption rms_total",
        "temperature_celsius": "furiosa_smi_get_device_temperature soc_peak",
        "board_temperature_celsius": "furiosa_smi_get_device_temperature ambient",
        "clock_core_hertz": "furiosa_smi_get_core_frequency, mean over PEs",
        "clock_memory_hertz": "furiosa_smi_get_memory_frequency",
        "memory_used_bytes": "furiosa_smi_get_memory_utilization in_use_bytes (releases that have it)",
        "memory_total_bytes": "furiosa_smi_get_memory_utilization total_bytes (releases that have it)",
        "performance_state": "furiosa_smi_get_governor_profile",
        "health": "furiosa_smi_get_device_liveness: false is critical",
        "health_detail": "alive or not alive",
        "processes": "/proc/*/fd: processes that have /dev/rngd/npuN* open",
        **PCIE,
        "pcie_generation": "furiosa_smi_get_pcie_link_info, else the PCI bus",
        "pcie_width": "furiosa_smi_get_pcie_link_info, else the PCI bus",
        "pcie_width_max": "furiosa_smi_get_pcie_link_info, else the PCI bus",
    },
    util_kind="core_mean",
)
