"""Enflame GCU: through EFML (libefml.so), whose old calls by index and new calls by handle live side by side.

This file is only the description and imports nothing heavy; the reader loads in a child process.
"""

from __future__ import annotations

from ullage_agent.backend import Backend
from ullage_agent.backends.enflame.sources import SOURCES

backend = Backend(
    name="enflame",
    title="Enflame",
    pci=(("1e36", ("12", "0302", "0380")),),
    device_nodes=("gcu[0-9]*", "gcuctl", "dtu[0-9]*"),
    reader="ullage_agent.backends.enflame.reader:open_reader",
    decoder="ullage_agent.backends.enflame.decode:decode",
    sources=SOURCES,
    # efml.h efmlUtilization_t.gcu: per cent of time in which one or more kernels was executing
    util_kind="kernel_resident",
)
