"""Every Intel GPU of this server that xe or i915 drives."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from time import monotonic

from ullage_agent.backend import Call, Host
from ullage_agent.backends.drm_clients import DrmClients
from ullage_agent.backends.intel.card import Card
from ullage_agent.backends.intel.devices import DRIVERS, VENDOR, is_card, names
from ullage_agent.backends.roster import Found, Roster
from ullage_contract.event import Severity
from ullage_contract.identity import card_id


class IntelMaker:
    """Looks at the PCI bus; see roster.Maker."""

    vendor = "intel"

    def __init__(self, host: Host, clock: Callable[[], float] = monotonic) -> None:
        self._host = host
        self._clock = clock
        self._cards: dict[str, Card] = {}
        self._clients = DrmClients(host.proc, DRIVERS, clock)

    def open(self, call: Call) -> None:
        """Nothing to open."""

    def look(self, call: Call) -> Sequence[Found]:
        """Cards a driver of ours is bound to; virtual functions are parts of their card, not cards."""
        found = []
        root = self._host.sysfs / "bus/pci/devices"
        present = set()
        for place in sorted(root.glob("*:*:*.*")):
            try:
                vendor, device, class_code = (
                    (place / name).read_text(encoding="ascii").strip().removeprefix("0x")
                    for name in ("vendor", "device", "class")
                )
                driver = (place / "driver").readlink().name
            except OSError:
                continue
            if vendor != VENDOR or driver not in DRIVERS or (place / "physfn").exists():
                continue
            if not is_card(place.name, device, class_code, self._host.settings):
                continue
            present.add(place.name)
            found.append(call(place.name, "find", partial(self._found, place.name, device, driver)))
        for gone in set(self._cards) - present:
            self._cards.pop(gone).close()
        indexed = []
        for index, (card, attributes) in enumerate(found):
            indexed.append(self._entry(card, {**attributes, "index": index}))
        return indexed

    def close(self) -> None:
        """Close every descriptor."""
        for card in self._cards.values():
            card.close()

    def _found(self, address: str, device: str, driver: str) -> tuple[Card, dict[str, str | None]]:
        card = self._cards.get(address)
        if card is None:
            card = self._cards[address] = Card(self._host, address, self._clients, self._clock)
        return card, {
            "model": names().get(device, f"Intel Graphics [0x{device}]"),
            "pci_address": address,
            "driver_version": self._version(driver),
            "partition_mode": self._partition(address),
        }

    def _entry(self, card: Card, attributes: dict[str, str | int | None]) -> Found:
        return Found(
            # the drivers show no UUID and no serial number; xpu-smi's UUID is made of the PCI place too
            card_id(vendor=self.vendor, node_id=self._host.node_id, pci=card.address),
            {
                **attributes,
                **card.attributes(),
                "numa_node": card.numa_node,
                "device_node": card.device_node,
                # engines of users seen busy, or only the share of time the card was awake
                "util_kind": "kernel_resident" if card.sees_everyone else "duty_cycle",
            },
            card.probes(),
            processes=card.processes,
            alarms=lambda: [(code, Severity.CRITICAL, message) for code, message in card.alarms()],
        )

    def _version(self, driver: str) -> str | None:
        """Of Intel's own packages; the kernel's own driver has its version."""
        try:
            return (self._host.sysfs / "module" / driver / "version").read_text(
                encoding="utf-8"
            ).strip() or None
        except OSError:
            return None

    def _partition(self, address: str) -> str:
        place = self._host.sysfs / "bus/pci/devices" / address / "sriov_numvfs"
        try:
            return "sriov" if int(place.read_text(encoding="ascii")) > 0 else "none"
        except (OSError, ValueError):
            return "none"


def open_reader(host: Host) -> Roster:
    """The reader for the child process."""
    return Roster(IntelMaker(host))
