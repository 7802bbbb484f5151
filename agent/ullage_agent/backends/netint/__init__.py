"""NETINT video processing units (Quadra, T408/T432 "Logan"): through NVMe's sysfs and ni_rsrc_mon.

This file is only the description and imports nothing heavy; the reader loads in a child process.
"""

from __future__ import annotations

from ullage_agent.backend import Backend

backend = Backend(
    name="netint",
    title="NETINT",
    pci=(("1d82", ()),),
    decoder="ullage_agent.backends.netint.decode:decode",
)
