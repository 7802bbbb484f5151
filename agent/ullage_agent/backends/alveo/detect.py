"""Are there Alveo cards here? A card shows two functions (management and user); together they count once."""

from __future__ import annotations

from ullage_agent.backend import Backend, Detection, Host
from ullage_agent.backends.alveo.names import DRIVERS, VENDOR
from ullage_agent.detection import PciDevice, by_ids, pci_devices


def detect(host: Host, backend: Backend) -> Detection:
    """Xilinx functions of class 1200, and any that XRT's drivers are bound to; one a slot."""
    slots: dict[str, PciDevice] = {}
    for device in pci_devices(host.sysfs):
        if device.vendor != VENDOR or device.virtual:
            continue
        if device.class_code.startswith("1200") or _driver(host, device.address) in DRIVERS:
            slots.setdefault(device.address.partition(".")[0], device)
    # by_ids counts by class: a card found by its driver is counted as one too
    found = [
        PciDevice(d.address, d.vendor, d.device, "120000", d.virtual, d.passed_through)
        for d in slots.values()
    ]
    return by_ids(host, backend, found)


def _driver(host: Host, address: str) -> str | None:
    try:
        return (host.sysfs / "bus/pci/devices" / address / "driver").readlink().name
    except OSError:
        return None
