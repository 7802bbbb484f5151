"""AMD (Xilinx) Alveo cards: through the sysfs and hwmon files of xocl and xclmgmt (XRT).

This file is only the description and imports nothing heavy; the reader loads in a child process.
"""

from __future__ import annotations

from ullage_agent.backend import Backend
from ullage_agent.backends.alveo.sources import SOURCES

backend = Backend(
    name="alveo",
    title="AMD Alveo",
    # Xilinx's id is on network cards and anybody's own designs too: which functions are cards says detect.py
    pci=(("10ee", ("1200",)),),
    reader="ullage_agent.backends.alveo.reader:open_reader",
    decoder="ullage_agent.backends.alveo.decode:decode",
    kernel_log="ullage_agent.backends.alveo.kernel:PATTERNS",
    detector="ullage_agent.backends.alveo.detect:detect",
    sources=SOURCES,
)
