"""Intel GPUs (Max, Flex, Arc): through sysfs, hwmon and fdinfo of the xe and i915 drivers.

This file is only the description and imports nothing heavy; the reader loads in a child process.
"""

from __future__ import annotations

from ullage_agent.backend import Backend
from ullage_agent.backends.intel.sources import SOURCES

backend = Backend(
    name="intel",
    title="Intel GPU",
    # 0380: data centre cards without an output; 0300: Arc. Which of them are cards: detect.py
    pci=(("8086", ("0380", "0302", "0300")),),
    reader="ullage_agent.backends.intel.reader:open_reader",
    decoder="ullage_agent.backends.intel.decode:decode",
    kernel_log="ullage_agent.backends.intel.kernel:PATTERNS",
    detector="ullage_agent.backends.intel.detect:detect",
    sources=SOURCES,
    # fdinfo: time an engine was busy with work of a client (drm-usage-stats.rst); see reader for the other kind
    util_kind="kernel_resident",
)
