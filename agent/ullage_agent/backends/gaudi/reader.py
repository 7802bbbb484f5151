"""Intel Gaudi in the child: who is there and who holds it. Not here: what a card is asked (card.py)."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Final, TypeVar

from ullage_agent.backend import Call, Host
from ullage_agent.backends import holders
from ullage_agent.backends.gaudi.card import GaudiCard
from ullage_agent.backends.gaudi.hlml_library import NAMES, Hlml
from ullage_agent.backends.pcie import PciFunction
from ullage_agent.backends.roster import Attributes, Found, Probe, Roster
from ullage_contract.catalogue import Tier
from ullage_contract.errors import BadInput, CardLost, NotPermitted, NotPresent, NotSupported, ReadingError
from ullage_contract.identity import card_id, pci_address
from ullage_contract.sample import Value

T = TypeVar("T")
log = logging.getLogger(__name__)

MOST_CARDS: Final = 64  # our choice: because a node holds eight


def open_reader(host: Host) -> Roster:
    """For the child."""
    return Roster(Gaudi(host))


class Gaudi:
    """A ``roster.Maker``."""

    vendor = "gaudi"

    def __init__(self, host: Host) -> None:
        self._host = host
        library = host.settings.get("library")
        self._hlml = Hlml((str(library),) if library else NAMES)
        self._watch = holders.Watch(host.proc)
        self._cards: dict[int, tuple[GaudiCard, Attributes]] = {}

    def open(self, call: Call) -> None:
        """Load and initialize the library. Raises a ReadingError."""
        call("", "hlml_init", self._hlml.open)

    def look(self, call: Call) -> Sequence[Found]:
        """Every card that enumerates and says who it is."""
        count = min(call("", "hlml_device_get_count", self._hlml.count), MOST_CARDS)
        if not count:
            raise NotPresent("libhlml finds no card: is the driver (habanalabs) loaded?")
        present: list[tuple[GaudiCard, Attributes]] = []
        for index in range(count):
            known = self._card(call, index)
            if known is not None:
                present.append(known)
        nodes = [node for card, _ in present if (node := card.node) is not None]
        held = self._watch.scan(nodes) if nodes else None
        return [self._found(card, attributes, held) for card, attributes in present]

    def close(self) -> None:
        """hlml_shutdown; never raises."""
        for card, _ in self._cards.values():
            if card.function is not None:
                card.function.close()
        self._hlml.close()

    # ---- cards

    def _card(self, call: Call, index: int) -> tuple[GaudiCard, Attributes] | None:
        """The card and its static facts, or None when it does not answer."""
        try:
            handle = call(f"aip{index}", "hlml_device_get_handle_by_index", lambda: self._hlml.handle(index))
            place = self._said(call, f"aip{index}", lambda: self._hlml.address(handle))
            uuid = self._said(call, f"aip{index}", lambda: self._hlml.text("hlml_device_get_uuid", handle))
            serial = self._said(
                call, f"aip{index}", lambda: self._hlml.text("hlml_device_get_serial", handle)
            )
        except CardLost as e:
            log.warning("card %s is lost: %s", index, e)
            return None
        except ReadingError as e:  # without its name it would be another card: known it stays, new it waits
            log.warning("card %s does not say who it is: %s", index, e)
            return self._cards.get(index)
        known = self._cards.get(index)
        if known is not None and known[1].get("uuid") == uuid and uuid is not None:
            known[0].handle = handle
            return known
        address = _address(place)
        function = PciFunction.at(self._host.sysfs, address) if address else None
        card = GaudiCard(self._hlml, handle, function)
        attributes: Attributes = {
            "model": self._text(call, index, "hlml_device_get_name", handle),
            "uuid": uuid,
            "serial": serial,
            "pci_address": address,
            "index": index,
            "device_node": card.node,
            "numa_node": function.numa_node if function is not None else None,
            "util_kind": "proxy_power",
            "partition_mode": "none",
            "driver_version": self._driver(call),
            "firmware_version": self._text(call, index, "hlml_get_firmware_spi_version", handle),
        }
        node = card.node
        number = re.search(r"\d+$", node) if node else None
        attributes["minor"] = int(number[0]) if number else None
        try:
            memory = call(f"aip{index}", "hlml_device_get_memory_info", lambda: self._hlml.memory(handle))
            attributes["memory_total_bytes"] = int(memory.total) or None
        except ReadingError:
            pass
        if not (uuid or serial or address):
            log.warning("card %s says neither its UUID nor its serial number nor its place", index)
            return None
        if known is not None and known[0].function is not None:
            known[0].function.close()
        self._cards[index] = card, attributes
        return self._cards[index]

    def _said(self, call: Call, card: str, ask: Callable[[], T]) -> T | None:
        """What a card can say of itself; None where this release cannot. Raises the other ReadingErrors."""
        try:
            return call(card, "identity", ask)
        except NotSupported:
            return None

    def _driver(self, call: Call) -> str | None:
        try:
            return call("", "hlml_get_driver_version", self._hlml.driver_version)
        except ReadingError:
            return None

    def _text(self, call: Call, index: int, name: str, handle: object) -> str | None:
        try:
            return call(f"aip{index}", name, lambda: self._hlml.text(name, handle))  # type: ignore[arg-type]
        except CardLost:
            raise
        except ReadingError:
            return None

    def _found(self, card: GaudiCard, attributes: Attributes, held: holders.Held | None) -> Found:
        uuid, serial, place = (attributes.get(name) for name in ("uuid", "serial", "pci_address"))
        probes = card.probes()
        node = card.node
        rows: Callable[[], Sequence[tuple[Attributes, Mapping[str, Value]]]] | None = None
        if held is not None and node is not None:
            pids = held.by_node.get(node, ())

            def users() -> Mapping[str, Value]:
                if not pids and not held.complete:
                    raise NotPermitted(
                        f"user {os.geteuid()} cannot see others' open files: run as root or with CAP_SYS_PTRACE"
                    )
                return {"processes": len(pids)}

            probes.append(Probe("/proc", ("processes",), users, Tier.SLOW))
            rows = lambda: [(holders.identity(self._host.proc, pid), {}) for pid in pids]  # noqa: E731
        return Found(
            card_id=card_id(
                uuid=uuid if isinstance(uuid, str) else None,
                vendor="gaudi",
                serial=serial if isinstance(serial, str) else None,
                node_id=self._host.node_id,
                pci=place if isinstance(place, str) else None,
            ),
            attributes={key: value for key, value in attributes.items() if value is not None},
            probes=probes,
            processes=rows,
        )


def _address(text: str | None) -> str | None:
    """In the kernel's form, or None for what is no address."""
    try:
        return pci_address(text) if text else None
    except BadInput:
        return None
