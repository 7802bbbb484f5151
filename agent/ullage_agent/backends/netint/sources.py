"""Where each value of a NETINT VPU comes from; printed in docs/metrics.md. NVME: /sys/bus/pci/devices/BDF/nvme/nvmeN."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from ullage_agent.backends.pcie_sources import SOURCES as PCIE

SOURCES: Final[Mapping[str, str]] = {
    "utilization_ratio": "ni_rsrc_mon LOAD of decoder, encoder, scaler and AI engine: the highest",
    "decoder_ratio": "ni_rsrc_mon LOAD of the decoder",
    "encoder_ratio": "ni_rsrc_mon LOAD of the encoder",
    "control_cpu_ratio": "ni_rsrc_mon FW_LOAD: the busiest firmware processor",
    "memory_ratio": "ni_rsrc_mon MEM, SHARE_MEM, P2P_MEM: the fullest pool (per cent alone)",
    "power_watts": "ni_rsrc_mon POWER (json2 and text; N/A before firmware that measures it)",
    "temperature_celsius": "hwmon of its NVMe controller, temp1_input; else ni_rsrc_mon TEMP",
    "pcie_tx_bytes_per_second": "ni_rsrc_mon PCIE_THROUGHPUT (card to host, steps of 100 Mbit/s)",
    "health": "NVME/state: live is ok; resetting, connecting degraded; dead critical",
    "health_detail": "NVME/state",
    "processes": "processes with its NVMe nodes open, ni_rsrc_mon itself left out",
    **PCIE,
}
