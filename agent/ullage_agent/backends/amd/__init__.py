"""AMD Instinct and Radeon: through sysfs, hwmon, gpu_metrics and KFD as the amdgpu driver shows them.

    [backends.amd]
    rocm = "/opt/rocm"          # where ROCm's version file is looked for

This file is only the description and imports nothing heavy; the reader loads in a child process.
"""

from __future__ import annotations

from ullage_agent.backend import Backend
from ullage_agent.backends.amd.sources import SOURCES

backend = Backend(
    name="amd",
    title="AMD Instinct and Radeon",
    # 1200 processing accelerator (MI300), 0380 display controller (MI100, MI200), 0302, 0300 (Radeon)
    pci=(("1002", ("1200", "0380", "0302", "0300")),),
    reader="ullage_agent.backends.amd.reader:open_reader",
    decoder="ullage_agent.backends.amd.decode:decode",
    kernel_log="ullage_agent.backends.amd.kernel:PATTERNS",
    sources=SOURCES,
    util_kind="kernel_resident",
)
