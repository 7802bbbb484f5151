"""NETINT video processing units (Quadra, T408 and T432): through NVMe's sysfs and ni_rsrc_mon.

This file is only the description and imports nothing heavy; the reader loads in a child process.
"""

from __future__ import annotations

from ullage_agent.backend import Backend
from ullage_agent.backends.netint.sources import SOURCES

backend = Backend(
    name="netint",
    title="NETINT",
    # which of them are no SSDs: detect.py
    pci=(("1d82", ()),),
    reader="ullage_agent.backends.netint.reader:open_reader",
    decoder="ullage_agent.backends.netint.decode:decode",
    detector="ullage_agent.backends.netint.detect:detect",
    sources=SOURCES,
    # ni_rsrc_mon -h: LOAD, realtime load in per cent of an engine
    util_kind="duty_cycle",
)
