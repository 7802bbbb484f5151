"""AMD (Xilinx) Alveo cards: through the sysfs and hwmon files of xocl and xclmgmt (XRT).

This file is only the description and imports nothing heavy; the reader loads in a child process.
"""

from __future__ import annotations

from ullage_agent.backend import Backend

backend = Backend(
    name="alveo",
    title="AMD Alveo",
    pci=(("10ee", ("1200",)),),
    decoder="ullage_agent.backends.alveo.decode:decode",
)
