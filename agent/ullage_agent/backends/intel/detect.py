"""Are there Intel GPUs here? By the PCI bus, with the processor's own graphics left out."""

from __future__ import annotations

from ullage_agent.backend import Backend, Detection, Host
from ullage_agent.backends.intel.devices import VENDOR, is_card
from ullage_agent.detection import by_ids, pci_devices


def detect(host: Host, backend: Backend) -> Detection:
    """See devices.is_card."""
    devices = pci_devices(host.sysfs)
    cards = [
        device
        for device in devices
        if device.vendor == VENDOR
        and is_card(device.address, device.device, device.class_code, host.settings)
    ]
    return by_ids(host, backend, cards)
