"""Intel Gaudi (Habana): through libhlml.so, which the maker's driver package brings.

    [backends.gaudi]
    library = "/usr/lib/habanalabs/libhlml.so"

This file is only the description and imports nothing heavy; the reader loads in a child process.
"""

from __future__ import annotations

from ullage_agent.backend import Backend
from ullage_agent.backends.gaudi.sources import SOURCES

backend = Backend(
    name="gaudi",
    title="Intel Gaudi",
    pci=(("1da3", ("1200",)),),
    # not /dev/accel: other makers' drivers put their nodes there too
    sysfs_nodes=("module/habanalabs",),
    reader="ullage_agent.backends.gaudi.reader:open_reader",
    decoder="ullage_agent.backends.gaudi.decode:decode",
    kernel_log="ullage_agent.backends.gaudi.kernel:PATTERNS",
    sources=SOURCES,
    util_kind="proxy_power",
)
