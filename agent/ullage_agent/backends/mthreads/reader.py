"""Moore Threads cards through libmtml.so: who is there, and what each is asked.

MTML lists no processes: who has a card's device node open stands in /proc. Not here: what one card answers
(card.py) and the C side (mtml.py).
"""

from __future__ import annotations

import ctypes
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Final, TypeVar

from ullage_agent.backend import Call, Host
from ullage_agent.backends.clibrary import roomy
from ullage_agent.backends.holders import identity, scan
from ullage_agent.backends.mthreads.card import Card, quiet_total
from ullage_agent.backends.mthreads.mpc import mode_of, slices_of
from ullage_agent.backends.mthreads.mtml import LIBRARIES, Mtml, Property
from ullage_agent.backends.pcie import PciFunction
from ullage_agent.backends.roster import Attributes, Found, Probe, Roster
from ullage_contract.errors import BadInput, Broken, CardLost, NotSupported, ReadingError
from ullage_contract.identity import card_id
from ullage_contract.sample import Value

log = logging.getLogger(__name__)
T = TypeVar("T")

MPC_INSTANCE: Final = 2
_NODES: Final = ("mtmlDeviceGetGpuPath", "mtmlDeviceGetPrimaryPath", "mtmlDeviceGetRenderPath")


class MooreThreads:
    """The maker, for a Roster. Settings: library (path)."""

    vendor = "mthreads"

    def __init__(self, host: Host) -> None:
        own = host.settings.get("library")
        self._host = host
        self._library = Mtml([str(own)] if own else LIBRARIES)
        self._devices: list[ctypes.c_void_p | None] = []
        self._known: dict[int, tuple[str, Card, Found]] = {}
        self._functions: dict[str, PciFunction] = {}
        self._driver: str | None = None

    def open(self, call: Call) -> None:
        """Load and initialise the library. Raises a ReadingError."""
        self._library.open(call)

    def look(self, call: Call) -> Sequence[Found]:
        """Every card that enumerates and says who it is. Handles are kept while as many devices are counted."""
        count = call("", "mtmlLibraryCountDevice", self._library.count)
        if count != len(self._devices):
            self._forget(call)
            self._devices = [None] * count
        if self._driver is None:
            self._driver = self._quiet(call, "", "mtmlSystemGetDriverVersion", self._library.driver_version)
        found = []
        for index in range(count):
            try:
                one = self._found(call, index)
            except ReadingError as e:
                log.warning("card %s does not say who it is: %s", index, e)
                known = self._known.get(index)
                # the count is the same: it is who it was, and its probes tell the rest
                one = None if known is None or isinstance(e, CardLost) else known[2]
            if one is not None:
                found.append(one)
        self._see_holders()
        return found

    def close(self) -> None:
        """Give everything back and shut the library down."""
        self._forget(None)
        for function in self._functions.values():
            function.close()
        self._functions.clear()
        self._library.close()

    # ---- one card

    def _found(self, call: Call, index: int) -> Found | None:
        place = f"card {index}"
        handle = self._devices[index]
        if handle is None:
            handle = call(place, "mtmlLibraryInitDeviceByIndex", lambda: self._library.device(index))
            self._devices[index] = handle
        if self._is_instance(call, place, handle):
            return None  # a part of a card that is listed itself
        uuid = self._sure(call, place, "mtmlDeviceGetUUID", lambda: self._uuid(handle))
        known = self._known.get(index)
        if known is not None and known[0] == (uuid or "") and known[1].memory_bytes is not None:
            found = known[2]
        else:
            card = Card(self._library, handle, index)
            found = self._meet(call, card, uuid)
            self._known[index] = (uuid or "", card, found)
        card = self._known[index][1]
        mode = self._quiet(call, found.card_id, "mtmlDeviceGetMpcMode", lambda: mode_of(self._library, card))
        found.attributes["partition_mode"] = mode or "none"
        return found

    def _meet(self, call: Call, card: Card, uuid: str | None) -> Found:
        place = f"card {card.index}"
        ask = self._quiet if uuid else self._sure
        serial = ask(
            call,
            place,
            "mtmlDeviceGetSerialNumber",
            lambda: self._library.text("mtmlDeviceGetSerialNumber", card.handle, 64, length_first=True),
        )
        address = ask(call, place, "mtmlDeviceGetPciInfo", lambda: self._address(card))
        try:
            key = card_id(
                uuid=uuid, vendor=self.vendor, serial=serial, node_id=self._host.node_id, pci=address
            )
        except BadInput as e:
            raise Broken(f"{place}: {e}") from e
        card.memory_bytes = self._quiet(call, key, "mtmlMemoryGetUsed", lambda: quiet_total(card))
        card.cores = self._quiet(
            call,
            key,
            "mtmlDeviceCountGpuCores",
            lambda: self._library.number("mtmlDeviceCountGpuCores", card.handle),
        )
        card.nodes = tuple(
            path
            for name in _NODES
            if (path := self._quiet(call, place, name, self._texts(name, card.handle, 64))) is not None
            and path.startswith("/dev/")
        )
        function = self._function(address)
        attributes: Attributes = {
            "vendor": self.vendor,
            "model": self._quiet(
                call, place, "mtmlDeviceGetName", self._texts("mtmlDeviceGetName", card.handle, 32)
            ),
            "uuid": uuid,
            "serial": serial,
            "pci_address": address,
            "index": card.index,
            "device_node": card.nodes[0] if card.nodes else None,
            "numa_node": function.numa_node if function else None,
            "memory_total_bytes": card.memory_bytes,
            "driver_version": self._driver,
            "firmware_version": self._quiet(
                call,
                place,
                "mtmlDeviceGetMtBiosVersion",
                self._texts("mtmlDeviceGetMtBiosVersion", card.handle, 64),
            ),
            "util_kind": "duty_cycle",
        }
        probes: list[Probe] = card.probes()
        if function is not None:
            probes += function.probes()
        return Found(
            card_id=key,
            attributes={name: value for name, value in attributes.items() if value is not None},
            probes=probes,
            slices=slices_of(self._library, card, key),
            processes=lambda: self._processes(card),
        )

    def _is_instance(self, call: Call, place: str, handle: ctypes.c_void_p) -> bool:
        def ask() -> int:
            known = roomy(Property)
            self._library.run("mtmlDeviceGetProperty", handle, ctypes.byref(known))
            return int(known.mpc_type)

        return self._quiet(call, place, "mtmlDeviceGetProperty", ask) == MPC_INSTANCE

    def _processes(self, card: Card) -> Sequence[tuple[Attributes, Mapping[str, Value]]]:
        if card.holders is None:
            raise Broken(f"card {card.index}: who holds it is not known")
        return [(identity(self._host.proc, pid), {}) for pid in card.holders]

    def _see_holders(self) -> None:
        """Who has the cards' nodes open; not known where some process may not be looked at."""
        cards = [card for _, card, _ in self._known.values()]
        nodes = [node for card in cards for node in card.nodes]
        if not nodes:
            return
        held = scan(self._host.proc, nodes)
        for card in cards:
            pids = {pid for node in card.nodes for pid in held.by_node.get(node, ())}
            card.holders = tuple(sorted(pids)) if held.complete and card.nodes else None

    # ---- pieces

    def _uuid(self, handle: ctypes.c_void_p) -> str | None:
        text = self._library.text("mtmlDeviceGetUUID", handle, 48)
        return None if text is None or not text.strip("0-") else text

    def _address(self, card: Card) -> str | None:
        try:
            return card.address()
        except BadInput:
            return None

    def _texts(self, name: str, handle: ctypes.c_void_p, size: int) -> Callable[[], str | None]:
        return lambda: self._library.text(name, handle, size)

    def _function(self, address: str | None) -> PciFunction | None:
        if address is None or not (self._host.sysfs / "bus/pci/devices" / address).exists():
            return None
        return self._functions.setdefault(address, PciFunction(self._host.sysfs, address))

    def _forget(self, call: Call | None) -> None:
        """Give every handle back: the devices are counted anew."""
        owned = {card.index for _, card, _ in self._known.values()}

        def free() -> None:
            for _, card, _ in self._known.values():
                card.close()
            for index, handle in enumerate(self._devices):
                if handle is not None and index not in owned:
                    self._library.give_back("mtmlLibraryFreeDevice", handle)

        try:
            if call is None:
                free()
            else:
                call("", "mtmlLibraryFreeDevice", free)
        except ReadingError:
            pass
        self._known.clear()
        self._devices = []

    def _sure(self, call: Call, place: str, name: str, ask: Callable[[], T]) -> T | None:
        """None where the library has no such answer; every other trouble is raised."""
        try:
            return call(place, name, ask)
        except NotSupported:
            return None

    def _quiet(self, call: Call, place: str, name: str, ask: Callable[[], T]) -> T | None:
        try:
            return call(place, name, ask)
        except ReadingError:
            return None


def open_reader(host: Host) -> Roster:
    """The reader of Moore Threads cards; the library is opened at the first question."""
    return Roster(MooreThreads(host))
