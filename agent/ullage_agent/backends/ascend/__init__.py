"""Huawei Ascend: through DCMI (libdcmi.so, brought by the driver) and the codes of its fault table.

This file is only the description and imports nothing heavy; the reader loads in a child process.
"""

from __future__ import annotations

from ullage_agent.backend import Backend
from ullage_agent.backends.ascend.sources import SOURCES

backend = Backend(
    name="ascend",
    title="Huawei Ascend",
    # 19e5 is all of Huawei's PCI devices, network cards and management chips too: only accelerators count
    pci=(("19e5", ("1200",)),),
    # chips of a SoC (310B) sit on no PCI bus; a container sees the manager where it sees a chip
    device_nodes=("davinci[0-9]*", "davinci_manager"),
    sysfs_nodes=("module/drv_davinci_intf_host",),
    reader="ullage_agent.backends.ascend.reader:open_reader",
    decoder="ullage_agent.backends.ascend.decode:decode",
    sources=SOURCES,
    # DCMI utilisation 2 (AI Core): mean over the chip's AI cores of the time they work
    util_kind="core_mean",
)
