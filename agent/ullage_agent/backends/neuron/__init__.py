"""AWS Neuron (Inferentia, Trainium): the driver's sysfs counters and one neuron-monitor that goes on printing.

This file is only the description and imports nothing heavy; the reader loads in a child process.
"""

from __future__ import annotations

from ullage_agent.backend import Backend
from ullage_agent.backends.neuron.sources import SOURCES

backend = Backend(
    name="neuron",
    title="AWS Neuron",
    pci=(("1d0f", ()),),
    # Amazon makes network and storage functions too. Inf1 7064..7067, Trn1 7164, Inf2 7264, Trn2 7364, Trn3 7564 7565:
    # aws-neuron-driver neuron_pci.h
    pci_devices=frozenset({"7064", "7065", "7066", "7067", "7164", "7264", "7364", "7564", "7565"}),
    device_nodes=("neuron[0-9]*",),
    sysfs_nodes=("devices/virtual/neuron_device/neuron[0-9]*",),
    reader="ullage_agent.backends.neuron.reader:open_reader",
    decoder="ullage_agent.backends.neuron.decode:decode",
    kernel_log="ullage_agent.backends.neuron.kernel:PATTERNS",
    sources=SOURCES,
    # neuroncore_utilization: per cent of the period the core was executing (neuron-monitor user guide)
    util_kind="core_mean",
)
