"""Are there NETINT VPUs here? By the PCI bus, with the maker's SSDs left out."""

from __future__ import annotations

from ullage_agent.backend import Backend, Detection, Host
from ullage_agent.backends.netint.names import STORAGE, VENDOR
from ullage_agent.detection import by_ids, pci_devices


def detect(host: Host, backend: Backend) -> Detection:
    """See names.py."""
    devices = pci_devices(host.sysfs)
    return by_ids(host, backend, [d for d in devices if d.vendor == VENDOR and d.device not in STORAGE])
