"""Where each catalogue value of a Neuron device comes from; printed in docs/metrics.md.

SYS is /sys/devices/virtual/neuron_device/neuronN (neuron-sysfs-user-guide); MON a report of neuron-monitor.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from ullage_agent.backends.pcie_sources import SOURCES as PCIE

SOURCES: Final[Mapping[str, str]] = {
    "utilization_ratio": "MON neuroncore_counters.neuroncores_in_use.*.neuroncore_utilization: summed over processes, mean over the device's cores",
    "memory_used_bytes": "SYS neuron_coreK/stats/memory_usage/device_mem/total summed; else MON usage_breakdown",
    "memory_total_bytes": "MON neuron_hardware_info.neuron_device_memory_size, else neuron-ls memory_size",
    "memory_host_used_bytes": "SYS stats/memory_usage/host_mem/total",
    "ecc_corrected": "MON neuron_hw_counters mem_ecc_corrected",
    "ecc_uncorrected": "SYS stats/hardware/mem_ecc_uncorrected; else MON",
    "sram_ecc_corrected": "MON neuron_hw_counters sram_ecc_corrected",
    "sram_ecc_uncorrected": "SYS stats/hardware/sram_ecc_uncorrected; else MON",
    "health": "derived: uncorrected ECC, failed resets, hw_error (critical); repairable uncorrected ECC (degraded)",
    "health_detail": "which of these counters are not 0",
    "processes": "MON neuron_runtime_data[] that use a core of the device",
    "process_memory_used_bytes": "MON memory_used.usage_breakdown.neuroncore_memory_usage",
    "process_utilization_ratio": "MON neuroncore_utilization of the process, mean over the device's cores",
    **PCIE,
}
