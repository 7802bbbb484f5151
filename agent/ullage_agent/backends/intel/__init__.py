"""Intel GPUs (Max, Flex, Arc): through sysfs, hwmon and fdinfo of the xe and i915 drivers.

This file is only the description and imports nothing heavy; the reader loads in a child process.
"""

from __future__ import annotations

from ullage_agent.backend import Backend

backend = Backend(
    name="intel",
    title="Intel GPU",
    pci=(("8086", ("0380", "0300")),),
    decoder="ullage_agent.backends.intel.decode:decode",
)
