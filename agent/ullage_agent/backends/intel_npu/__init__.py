"""Intel NPUs (in Core Ultra processors): through the sysfs files of the ivpu driver.

This file is only the description and imports nothing heavy; the reader loads in a child process.
"""

from __future__ import annotations

from ullage_agent.backend import Backend

_PCI = "/sys/bus/pci/devices/BDF"

backend = Backend(
    name="intel-npu",
    title="Intel NPU",
    pci=(("8086", ("1200",)),),
    # Meteor, Arrow, Lunar and Panther Lake: drivers/accel/ivpu/ivpu_drv.h. Intel's FPGAs share class 1200
    pci_devices=frozenset({"7d1d", "ad1d", "643e", "b03e"}),
    sysfs_nodes=("bus/pci/drivers/intel_vpu/*:*:*.*",),
    reader="ullage_agent.backends.intel_npu.reader:open_reader",
    kernel_log="ullage_agent.backends.intel_npu.kernel:PATTERNS",
    sources={
        "utilization_ratio": f"growth of {_PCI}/npu_busy_time_us between two readings",
        "memory_host_used_bytes": f"{_PCI}/npu_memory_utilization (bytes, host memory: the NPU has none of its own)",
        "clock_core_hertz": f"{_PCI}/npu_current_frequency_mhz; 0 while it is powered down",
        "clock_core_max_hertz": f"{_PCI}/npu_max_frequency_mhz",
        "processes": "processes with its /dev/accel node open",
    },
    # ivpu_sysfs.c: time in which the device had jobs
    util_kind="duty_cycle",
)
