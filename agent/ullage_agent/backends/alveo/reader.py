"""Every Alveo card of this server that XRT's drivers are bound to."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ullage_agent.backend import Call, Host
from ullage_agent.backends.alveo.card import Card
from ullage_agent.backends.alveo.names import DRIVERS, VENDOR
from ullage_agent.backends.holders import Watch
from ullage_agent.backends.roster import Found, Roster
from ullage_contract.identity import card_id


class AlveoMaker:
    """See roster.Maker."""

    vendor = "alveo"

    def __init__(self, host: Host) -> None:
        self._host = host
        self._cards: dict[str, Card] = {}
        self._watch = Watch(host.proc)

    def open(self, call: Call) -> None:
        """Nothing to open."""

    def look(self, call: Call) -> Sequence[Found]:
        """One a slot: its user and management functions are one device."""
        slots: dict[str, list[tuple[bool, Path]]] = {}
        for place in sorted((self._host.sysfs / "bus/pci/devices").glob("*:*:*.*")):
            try:
                vendor = (place / "vendor").read_text(encoding="ascii").strip().removeprefix("0x")
                driver = (place / "driver").readlink().name
            except OSError:
                continue
            if vendor == VENDOR and driver in DRIVERS:
                management = "mgmt" in driver
                slots.setdefault(place.name.partition(".")[0], []).append((management, place))
        for gone in set(self._cards) - set(slots):
            self._cards.pop(gone).close()
        cards = [self._card(slot, [place for _, place in sorted(found)]) for slot, found in slots.items()]
        nodes = [node for card in cards for node in card.nodes]
        held = call("", "/proc", lambda: self._watch.scan(nodes))
        boards: dict[str, list[Card]] = {}
        for card in cards:
            card.held = held
            serial = card.word(("xmc", "serial_num"), ("hwmon_sdm", "serial_num"))
            boards.setdefault(serial or "", []).append(card)
        return [self._found(index, card, boards) for index, card in enumerate(cards)]

    def close(self) -> None:
        """Close every descriptor."""
        for card in self._cards.values():
            card.close()

    def _card(self, slot: str, functions: Sequence[Path]) -> Card:
        known = self._cards.get(slot)
        if known is not None and known.address == functions[0].name:
            return known
        if known is not None:
            known.close()
        card = self._cards[slot] = Card(self._host, functions)
        return card

    def _found(self, index: int, card: Card, boards: dict[str, list[Card]]) -> Found:
        """Two devices of one serial number are one board (U30): chips on it in the order of their slots."""
        serial = card.word(("xmc", "serial_num"), ("hwmon_sdm", "serial_num"))
        together = boards.get(serial or "", []) if serial else [card]
        chip = together.index(card) if len(together) > 1 else None
        return Found(
            card_id(
                vendor=self.vendor, serial=serial, chip=chip, node_id=self._host.node_id, pci=card.address
            ),
            {
                "model": card.word(
                    ("xmc", "bd_name"), ("hwmon_sdm", "bd_name"), ("", "board_name"), ("rom", "VBNV")
                ),
                "serial": serial,
                "board_id": f"{self.vendor}-{serial}" if chip is not None else None,
                "chip": chip,
                "pci_address": card.address,
                "index": index,
                "numa_node": card.pci.numa_node,
                "device_node": card.nodes[0] if card.nodes else None,
                "driver_version": self._version(),
                "firmware_version": card.word(("xmc", "bmc_ver"), ("hwmon_sdm", "active_msp_ver")),
            },
            card.probes(),
            processes=card.processes,
            alarms=card.alarms,
        )

    def _version(self) -> str | None:
        """xocl's; "2.14.354,43926231f7183688add2dccfd391b36a1f000bea" of which the hash is left out."""
        for module in ("xocl", "xclmgmt"):
            try:
                text = (self._host.sysfs / "module" / module / "version").read_text(encoding="utf-8")
            except OSError:
                continue
            return text.split(",")[0].strip() or None
        return None


def open_reader(host: Host) -> Roster:
    """The reader for the child process."""
    return Roster(AlveoMaker(host))
