"""Hygon DCU: through librocm_smi64.so (brought by the driver, /opt/hyhal) and libhydmi.so for vDCUs.

    [backends.hygon]
    library = "/opt/hyhal/lib/librocm_smi64.so"
    virtual_library = "/opt/hyhal/lib/libhydmi.so"
    window_ms = 50          # how long one card's utilisation is sampled

This file is only the description and imports nothing heavy; the reader loads in a child process.
"""

from __future__ import annotations

from ullage_agent.backend import Backend
from ullage_agent.backends.hygon.sources import SOURCES

backend = Backend(
    name="hygon",
    title="Hygon DCU",
    # 1d94 is every function of Hygon's processors too: only co-processors and display controllers are cards
    pci=(("1d94", ("0b40", "1200", "0380", "0302")),),
    device_nodes=("mkfd",),
    sysfs_nodes=("module/hycu", "module/hydcu"),
    reader="ullage_agent.backends.hygon.reader:open_reader",
    decoder="ullage_agent.backends.hygon.decode:decode",
    kernel_log="ullage_agent.backends.hygon.kernel:PATTERNS",
    sources=SOURCES,
    util_kind="kernel_resident",
)
