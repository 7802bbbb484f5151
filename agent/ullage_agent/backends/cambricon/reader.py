"""Cambricon cards through libcndev.so: who is there, what each is asked, and the XIDs the driver reports.

Not here: what one card answers (card.py) and the C side (cndev.py).
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from ullage_agent.backend import Call, Host
from ullage_agent.backends.cambricon import layouts
from ullage_agent.backends.cambricon.card import Card
from ullage_agent.backends.cambricon.cndev import LIBRARIES, Cndev
from ullage_agent.backends.cambricon.slices import mode_of, slices_of
from ullage_agent.backends.cambricon.xids import XidQueue
from ullage_agent.backends.clibrary import text_of
from ullage_agent.backends.holders import identity
from ullage_agent.backends.pcie import PciFunction
from ullage_agent.backends.roster import Attributes, Found, Probe, Roster
from ullage_contract.errors import BadInput, Broken, CardLost, NotSupported, ReadingError
from ullage_contract.event import Event, Severity
from ullage_contract.identity import card_id, pci_address
from ullage_contract.sample import Family, Value

log = logging.getLogger(__name__)

T = TypeVar("T")


class Cambricon:
    """The maker, for a Roster. Settings: library (path)."""

    vendor = "cambricon"

    def __init__(self, host: Host) -> None:
        self._host = host
        self.node_id = host.node_id
        own = host.settings.get("library")
        home = os.environ.get("NEUWARE_HOME")
        places = [*LIBRARIES, *([f"{home}/lib64/libcndev.so"] if home else [])]
        self.library = Cndev([str(own)] if own else places)
        self.known: dict[str, tuple[Card, Found]] = {}
        self._functions: dict[str, PciFunction] = {}
        self._count: int | None = None

    def open(self, call: Call) -> None:
        """Load and initialise the library. Raises a ReadingError."""
        self.library.open(call)

    def look(self, call: Call) -> Sequence[Found]:
        """Every card that enumerates and says who it is. Handles and indexes may move: the UUID does not."""
        count = call("", "cndevGetDeviceCount", self.library.count)
        found = []
        unmoved = count == self._count
        self._count = count
        for index in range(count):
            try:
                found.append(self._found(call, index))
            except ReadingError as e:
                before = self._at(index) if unmoved and not isinstance(e, CardLost) else None
                if before is not None:
                    found.append(
                        before
                    )  # no card came or went: it is who it was, and its probes tell the rest
                else:
                    log.warning("card %s does not say who it is: %s", index, e)
        here = {one.card_id for one in found}
        self.known = {key: entry for key, entry in self.known.items() if key in here}
        return found

    def close(self) -> None:
        """cndevRelease."""
        for function in self._functions.values():
            function.close()
        self._functions.clear()
        self.library.close()

    # ---- one card

    def _at(self, index: int) -> Found | None:
        return next((found for card, found in self.known.values() if card.index == index), None)

    def _found(self, call: Call, index: int) -> Found:
        place = f"card {index}"
        handle = call(place, "cndevGetDeviceHandleByIndex", lambda: self.library.handle(index))
        key, identified = self._identity(call, place, handle)
        known = self.known.get(key)
        if known is not None and known[0].memory_bytes is not None:
            card, found = known
            card.handle, card.index = handle, index
            found.attributes["index"] = index
        else:
            card = Card(self.library, handle, index)
            self._measure(call, key, card)
            found = Found(
                card_id=key,
                attributes=self._attributes(call, card, identified),
                probes=[*card.probes(), *self._bus(identified.get("pci_address"))],
                slices=slices_of(
                    self.library, card, key, lambda: str(found.attributes.get("partition_mode"))
                ),
                processes=lambda: self._processes(card),
                alarms=card.alarms,
                still=lambda: self._still(card, identified),
            )
            self.known[key] = card, found
        try:
            mode = call(key, "cndevGetSMLUMode", lambda: mode_of(self.library, handle))
        except CardLost:
            raise
        except ReadingError:
            mode = "none"
        found.attributes["partition_mode"] = mode
        return found

    def _identity(self, call: Call, place: str, handle: int) -> tuple[str, Attributes]:
        """The card's key and what it is made of. Raises a ReadingError: who it is must not be guessed."""
        uuid = self._sure(call, place, "cndevGetUUID", lambda: self._uuid(handle))
        serial = address = None
        try:
            serial = self._sure(call, place, "cndevGetCardSN", lambda: self._serial(handle))
            address = self._sure(call, place, "cndevGetPCIeInfoV2", lambda: self._address(handle))
        except CardLost:
            raise
        except ReadingError:
            if uuid is None:
                raise
        try:
            key = card_id(
                uuid=uuid, vendor=self.vendor, serial=serial, node_id=self._host.node_id, pci=address
            )
        except BadInput as e:
            raise Broken(f"{place}: {e}") from e
        return key, {"uuid": uuid, "serial": serial, "pci_address": address}

    def _still(self, card: Card, identified: Attributes) -> None:
        """A handle is a number, and nothing says that it stays one card's. Raises CardLost when it is another's;
        a name that cannot be read now is borne while no card came or went."""
        name, ask = (
            ("uuid", self._uuid)
            if identified["uuid"] is not None
            else ("serial", self._serial)
            if identified["serial"] is not None
            else ("pci_address", self._address)
        )
        try:
            now = ask(card.handle)
        except CardLost:
            raise
        except ReadingError:
            if self.library.count() != self._count:
                raise
            return
        if now != identified[name]:
            raise CardLost(f"card {card.index} answers as {now}, not as {identified[name]}")

    def _attributes(self, call: Call, card: Card, identified: Attributes) -> Attributes:
        place = f"card {card.index}"
        name = self._sure(
            call,
            place,
            "cndevGetCardNameStringByDevId",
            lambda: self.library.text("cndevGetCardNameStringByDevId", card.handle),
        )
        driver = firmware = None
        try:
            versions = call(
                place,
                "cndevGetVersionInfo",
                lambda: self.library.ask("cndevGetVersionInfo", layouts.Versions, card.handle),
            )
            driver = f"{versions.driver_major}.{versions.driver_minor}.{versions.driver_build}"
            firmware = f"{versions.mcu_major}.{versions.mcu_minor}.{versions.mcu_build}"
        except CardLost:
            raise
        except ReadingError:
            pass
        function = self._function(identified.get("pci_address"))
        known: Attributes = {
            "vendor": self.vendor,
            "model": text_of(name) if name else None,
            **identified,
            "index": card.index,
            "device_node": f"/dev/cambricon_dev{card.index}",
            "numa_node": function.numa_node if function else None,
            "memory_total_bytes": card.memory_bytes,
            "driver_version": driver,
            "firmware_version": firmware,
            "util_kind": "core_mean",
        }
        return {key: value for key, value in known.items() if value is not None}

    def _measure(self, call: Call, key: str, card: Card) -> None:
        for name, ask in (
            ("cndevGetMemoryUsageV2", card.memory),
            ("cndevGetMemoryUsage", card.memory_before_v2),
        ):
            try:
                total = call(key, name, ask)["memory_total_bytes"]
                card.memory_bytes = total if isinstance(total, int) else None
                break
            except CardLost:
                raise
            except ReadingError:
                continue
        try:
            count = call(
                key,
                "cndevGetCoreCount",
                lambda: self.library.ask("cndevGetCoreCount", layouts.Number, card.handle).number,
            )
            card.cores = count if 0 < count < 4096 else None
        except CardLost:
            raise
        except ReadingError:
            pass

    def _processes(self, card: Card) -> Sequence[tuple[Attributes, dict[str, Value]]]:
        if card.held is None:
            raise Broken(f"card {card.index}: its processes could not be read")
        return [
            (identity(self._host.proc, pid), {"process_memory_used_bytes": held}) for pid, held in card.held
        ]

    # ---- pieces

    def _uuid(self, handle: int) -> str | None:
        text = text_of(self.library.ask("cndevGetUUID", layouts.Uuid, handle).uuid)
        return None if text is None or not text.strip("0-") else text

    def _serial(self, handle: int) -> str | None:
        number = self.library.ask("cndevGetCardSN", layouts.Serial, handle).sn
        return f"{number:x}" if number not in (0, 0xFFFFFFFFFFFFFFFF) else None

    def _address(self, handle: int) -> str | None:
        info = self.library.ask("cndevGetPCIeInfoV2", layouts.PcieInfo, handle)
        if info.bus > 0xFF or info.device > 0x1F:
            return None
        return pci_address(f"{info.domain:04x}:{info.bus:02x}:{info.device:02x}.{info.function & 7}")

    def _function(self, address: object) -> PciFunction | None:
        if not isinstance(address, str) or not (self._host.sysfs / "bus/pci/devices" / address).exists():
            return None
        return self._functions.setdefault(address, PciFunction(self._host.sysfs, address))

    def _bus(self, address: object) -> list[Probe]:
        function = self._function(address)
        return [] if function is None else function.probes()

    def _sure(self, call: Call, place: str, name: str, ask: Callable[[], T]) -> T | None:
        """None where the library has no such answer; every other trouble is raised."""
        try:
            return call(place, name, ask)
        except NotSupported:
            return None


class CambriconReader(Roster):
    """The Roster, and the XIDs that arrived meanwhile."""

    def __init__(self, maker: Cambricon) -> None:
        super().__init__(maker)
        self._cambricon = maker
        self._xids = XidQueue(maker.library)

    def events(self, call: Call) -> Iterator[Event]:
        """What the readings showed, and the XIDs since the last call."""
        yield from super().events(call)
        cards = {card.handle: found for card, found in self._cambricon.known.values()}
        for xid in self._xids.since(call, cards):
            found = cards.get(xid.device)
            attributes: dict[str, Value] = {"driver_timestamp": xid.timestamp}
            address = found.attributes.get("pci_address") if found else None
            if isinstance(address, str):
                attributes["pci_address"] = address
            yield Event(
                time=time.time() if self.clock is None else self.clock(),
                kind="ras",
                # our choice: because what a Cambricon XID asks for is published nowhere
                severity=Severity.WARNING,
                family=Family.CARD if found else Family.NODE,
                subject=found.card_id if found else self._cambricon.node_id,
                source="library",
                message=f"XID {xid.code:#x}",
                code=f"xid:{xid.code:#x}",
                vendor=self._cambricon.vendor,
                attributes=attributes,
            )

    def close(self) -> None:
        self._xids.close()
        super().close()


def open_reader(host: Host) -> Roster:
    """The reader of Cambricon cards; the library is opened at the first question."""
    return CambriconReader(Cambricon(host))
