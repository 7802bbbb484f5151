"""Cambricon MLU: through CNDev (libcndev.so, part of the driver or Neuware).

This file is only the description and imports nothing heavy; the reader loads in a child process.
"""

from __future__ import annotations

from ullage_agent.backend import Backend
from ullage_agent.backends.cambricon.sources import SOURCES

backend = Backend(
    name="cambricon",
    title="Cambricon",
    pci=(("cabc", ("1200", "0b40", "0380", "0302", "0300")),),
    device_nodes=("cambricon_dev[0-9]*", "cambricon_ctl"),
    sysfs_nodes=("module/cambricon_drv",),
    reader="ullage_agent.backends.cambricon.reader:open_reader",
    decoder="ullage_agent.backends.cambricon.decode:decode",
    sources=SOURCES,
    # cndev.h cndevUtilizationInfo_t.averageCoreUtilization: the average utilisation of the MLU cores
    util_kind="core_mean",
)
