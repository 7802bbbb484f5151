"""What is known of the cards of the node a pod lies on, for the shares that the pod alone does not say. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ullage_collector.allocation.sharing.node import stated
from ullage_collector.allocation.sharing.node_labels import OF_INSTANCES
from ullage_collector.allocation.sharing.share import NodeDevice


class Ground:
    """What is known of the cards of the node a pod lies on. Without a node nothing is."""

    __slots__ = ("devices", "total")

    def __init__(self, node: Mapping[str, Any] | None, card_memory_bytes: int | None) -> None:
        """card_memory_bytes: of each card, as our own agent reads it; it wins over what the node says."""
        self.devices = stated(node)
        self.total = card_memory_bytes

    def row(self, vendor: str | None, system: str | None = None) -> NodeDevice:
        """The maker's row of the node; one that states nothing where there is none."""
        for device in self.devices:
            alike = device.device is None and device.vendor == vendor and system in (None, device.system)
            if alike and device.mode != OF_INSTANCES:
                return device
        return NodeDevice(system or "", vendor, None)

    def device(self, vendor: str | None, device: str, index: int | None) -> NodeDevice:
        """The register's device of that id, or of that index; else the maker's row."""
        own = [d for d in self.devices if d.device is not None and d.vendor == vendor]
        for found in own:
            if found.device == device:
                return found
        for found in own:
            if index is not None and found.index == index:
                return found
        return self.row(vendor)

    def memory(self, vendor: str | None, device: str | None = None, index: int | None = None) -> int | None:
        """Memory of a card in bytes: the caller's, the device's, or that of all the maker's cards where alike."""
        if self.total is not None:
            return self.total
        if device is not None:
            found = self.device(vendor, device, index).memory_bytes
            if found:
                return found
        sizes = {d.memory_bytes for d in self.devices if d.vendor == vendor and d.memory_bytes}
        return sizes.pop() if len(sizes) == 1 else None
