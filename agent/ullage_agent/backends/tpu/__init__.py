"""Google TPU: chips from the PCI bus, busy time and memory from the running workload's libtpu.

This file is only the description and imports nothing heavy; the reader loads in a child process.
"""

from __future__ import annotations

from ullage_agent.backend import Backend
from ullage_agent.backends.pcie_sources import SOURCES as PCIE

backend = Backend(
    name="tpu",
    title="Google TPU",
    pci=(("1ae0", ()),),
    # Google makes network and storage functions too. v2 and v3 0027, v4 005e, v5e 0063, v5p 0062, v6e 006f,
    # v7x 0076: tpu_info device.py of cloud-accelerator-diagnostics
    pci_devices=frozenset({"0027", "005e", "0063", "0062", "006f", "0076"}),
    reader="ullage_agent.backends.tpu.reader:open_reader",
    decoder="ullage_agent.backends.tpu.decode:decode",
    # GRM is libtpu's RuntimeMetricService.GetRuntimeMetric on localhost:8431
    sources={
        "utilization_ratio": "GRM tpu.runtime.tensorcore.dutycycle.percent; 0 where no process holds the chip",
        "memory_used_bytes": "GRM tpu.runtime.hbm.memory.usage.bytes; 0 where no process holds the chip",
        "memory_total_bytes": "GRM tpu.runtime.hbm.memory.total.bytes, while a workload runs",
        "processes": "/proc/*/fd: processes that have /dev/vfio/GROUP or /dev/accelN open",
        **PCIE,
    },
    util_kind="duty_cycle",
)
