"""Intel FPGA cards (PAC A10, D5005, N3000, OFS): through the sysfs files of the kernel's DFL drivers.

This file is only the description and imports nothing heavy; the reader loads in a child process.
"""

from __future__ import annotations

from ullage_agent.backend import Backend
from ullage_agent.backends.intel_fpga.sources import SOURCES

backend = Backend(
    name="intel-fpga",
    title="Intel FPGA",
    # 1c2c: Silicom's N5010 and N5013 of the same design
    pci=(("8086", ("1200",)), ("1c2c", ("1200",))),
    # drivers/fpga/dfl-pci.c: integrated, A10 GX, N3000, D5005 and OFS; Intel's NPUs share class 1200
    pci_devices=frozenset({"bcbd", "bcc0", "09c4", "0b30", "0b2b", "bcce", "af00", "1000", "1001"}),
    sysfs_nodes=("bus/platform/devices/dfl-fme.*",),
    reader="ullage_agent.backends.intel_fpga.reader:open_reader",
    kernel_log="ullage_agent.backends.intel_fpga.kernel:PATTERNS",
    sources=SOURCES,
)
