"""Iluvatar CoreX: through IXML (libixml.so), which has NVML's names and health bits of its own.

This file is only the description and imports nothing heavy; the reader loads in a child process.
"""

from __future__ import annotations

from ullage_agent.backend import Backend
from ullage_agent.backends.iluvatar.sources import SOURCES

backend = Backend(
    name="iluvatar",
    title="Iluvatar CoreX",
    pci=(("1e3e", ("12", "0302", "0380")),),
    device_nodes=("iluvatar[0-9]*",),
    reader="ullage_agent.backends.iluvatar.reader:open_reader",
    decoder="ullage_agent.backends.iluvatar.decode:decode",
    sources=SOURCES,
    # IXML's api.h keeps NVML's words: per cent of time in which one or more kernels was executing
    util_kind="kernel_resident",
)
