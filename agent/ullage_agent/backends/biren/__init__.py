"""Biren GPU: through BRML (libbiren-ml.so.1, part of the BIRENSUPA driver).

This file is only the description and imports nothing heavy; the reader loads in a child process.
"""

from __future__ import annotations

from ullage_agent.backend import Backend
from ullage_agent.backends.biren.sources import SOURCES

backend = Backend(
    name="biren",
    title="Biren",
    pci=(("1ee0", ("12", "0302", "0380")),),
    device_nodes=("biren/card_[0-9]*", "biren-m"),
    reader="ullage_agent.backends.biren.reader:open_reader",
    decoder="ullage_agent.backends.biren.decode:decode",
    sources=SOURCES,
    # brml.h brmlUtilization_t.gpu: per cent of time in which one or more kernels was executing
    util_kind="kernel_resident",
)
