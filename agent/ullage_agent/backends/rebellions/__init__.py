"""Rebellions (ATOM, REBEL): through its management library librbln-ml.so.

This file is only the description and imports nothing heavy; the reader loads in a child process.
"""

from __future__ import annotations

from ullage_agent.backend import Backend
from ullage_agent.backends.pcie_sources import SOURCES as PCIE

backend = Backend(
    name="rebellions",
    title="Rebellions",
    pci=(("1eff", ()),),  # pci.ids: Rebellions makes nothing but NPUs
    device_nodes=("rbln[0-9]*",),
    reader="ullage_agent.backends.rebellions.reader:open_reader",
    decoder="ullage_agent.backends.rebellions.decode:decode",
    # rblnml.h as rbln-container-toolkit ships it
    sources={
        "utilization_ratio": "rblnmlDeviceGetUtilization, read as per cent",
        "memory_total_bytes": "rblnmlGetDeviceHWIPInfo dram_size",
        "memory_used_bytes": "rblnmlDeviceGetBAR0MemoryInfo bar0_used, where that window spans the DRAM",
        "power_watts": "rblnmlDeviceGetPowerUsage (uW) of a card with one NPU",
        "board_power_watts": "rblnmlDeviceGetPowerUsage of the first NPU of a board of several (CA25)",
        "temperature_celsius": "rblnmlDeviceGetTemperature",
        "performance_state": "rblnmlDeviceGetPowerState",
        "health": "derived from the P-state: P12 system abort is critical, P10 thermal throttling degraded",
        "health_detail": "the P-state and what it means",
        "processes": "/proc/*/fd: processes that have /dev/rblnN open",
        **PCIE,
    },
    util_kind="core_mean",
)
