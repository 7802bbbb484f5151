"""Kunlunxin XPU: through XPUML (libxpuml.so, part of the driver).

This file is only the description and imports nothing heavy; the reader loads in a child process.
"""

from __future__ import annotations

from ullage_agent.backend import Backend
from ullage_agent.backends.kunlunxin.sources import SOURCES

backend = Backend(
    name="kunlunxin",
    title="Kunlunxin",
    # 1d22 is Baidu; network cards of that id are no accelerators
    pci=(("1d22", ("12", "0302", "0380")),),
    device_nodes=("xpu[0-9]*", "xpuctrl"),
    reader="ullage_agent.backends.kunlunxin.reader:open_reader",
    decoder="ullage_agent.backends.kunlunxin.decode:decode",
    sources=SOURCES,
    # xpuml.h xpumlUtilization_t.xpu: per cent of time in which one or more kernels was executing
    util_kind="kernel_resident",
)
