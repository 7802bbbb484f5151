"""Moore Threads: through MTML (libmtml.so, brought by the driver).

This file is only the description and imports nothing heavy; the reader loads in a child process.
"""

from __future__ import annotations

from ullage_agent.backend import Backend
from ullage_agent.backends.mthreads.sources import SOURCES

backend = Backend(
    name="mthreads",
    title="Moore Threads",
    # the audio function of a graphics card has class 0403 and is no card
    pci=(("1ed5", ("0300", "0302", "0380", "1200")),),
    device_nodes=("mtgpu.[0-9]*", "mtgpu[0-9]*"),
    sysfs_nodes=("module/mtgpu",),
    reader="ullage_agent.backends.mthreads.reader:open_reader",
    decoder="ullage_agent.backends.mthreads.decode:decode",
    sources=SOURCES,
    # mtmlGpuGetUtilization: share of time the GPU was busy; MTML does not say how it is measured
    util_kind="duty_cycle",
)
