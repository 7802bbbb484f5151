"""NVIDIA: through NVML (libnvidia-ml.so.1, brought by the driver) and the kernel log.

This file is only the description and imports nothing heavy; the reader loads in a child process.
"""

from __future__ import annotations

from ullage_agent.backend import Backend
from ullage_agent.backends.nvidia.sources import SOURCES

backend = Backend(
    name="nvidia",
    title="NVIDIA",
    pci=(("10de", ("0302", "0300")),),
    # nvidiactl exists wherever the driver is loaded, also in a container without /sys
    device_nodes=("nvidia[0-9]*", "nvidiactl"),
    sysfs_nodes=("module/nvidia",),
    reader="ullage_agent.backends.nvidia.nvml:open_reader",
    decoder="ullage_agent.backends.nvidia.decode:decode",
    kernel_log="ullage_agent.backends.nvidia.kernel:PATTERNS",
    sources=SOURCES,
    # nvml.h nvmlUtilization_t.gpu: per cent of time over the past sample period in which one or more
    # kernels was executing on the GPU
    util_kind="kernel_resident",
)
