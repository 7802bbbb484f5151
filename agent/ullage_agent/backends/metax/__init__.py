"""MetaX and its rebrands (Mars / HPCC): through MXSML (libmxsml.so, part of the driver).

This file is only the description and imports nothing heavy; the reader loads in a child process.
"""

from __future__ import annotations

from ullage_agent.backend import Backend
from ullage_agent.backends.metax.sources import SOURCES

backend = Backend(
    name="metax",
    title="MetaX",
    pci=(("9999", ("12", "0302", "0380")),),
    device_nodes=("mxcd",),
    reader="ullage_agent.backends.metax.reader:open_reader",
    decoder="ullage_agent.backends.metax.decode:decode",
    sources=SOURCES,
    # what mxSmlGetDeviceIpUsage counts is not written down anywhere: no word is claimed
    util_kind=None,
)
