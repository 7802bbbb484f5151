"""Ascend chips through libdcmi.so: who is there, and what each is asked.

A chip is its die id. Several chips of one card are one board: where only chip 0 can tell its power (910C), that
reading is the board's. Not here: what one chip answers (chip.py) and the C side (dcmi.py).
"""

from __future__ import annotations

import ctypes
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, TypeVar

from ullage_agent.backend import Call, Host
from ullage_agent.backends.ascend.chip import Chip
from ullage_agent.backends.ascend.dcmi import LIBRARIES, Dcmi, DieId, Elabel, Place, uuid_of
from ullage_agent.backends.ascend.faults import from_file, shipped
from ullage_agent.backends.ascend.vnpu import slices_of, vnpu_ids
from ullage_agent.backends.clibrary import roomy, text_of
from ullage_agent.backends.holders import identity
from ullage_agent.backends.pcie import PciFunction
from ullage_agent.backends.roster import Attributes, Found, Roster
from ullage_contract.errors import BadInput, Broken, CardLost, ConfigError, NotSupported, ReadingError
from ullage_contract.identity import card_id
from ullage_contract.sample import Value

log = logging.getLogger(__name__)
T = TypeVar("T")

VERSION_FILE: Final = "/usr/local/Ascend/driver/version.info"
_DIES: Final = (1, 0)
"""VDIE is the UUID Huawei's tools use, NDIE only 910 has."""
_FLAT_DIES: Final = (2, 1)
"""On the generation with dcmiv2_* it is the DDIE."""


class Ascend:
    """The maker, for a Roster. Settings: library (path), fault_codes (path of Huawei's faultCode.json),
    version_file."""

    vendor = "ascend"

    def __init__(self, host: Host) -> None:
        own = host.settings.get("library")
        self._host = host
        self._dcmi = Dcmi([str(own)] if own else LIBRARIES)
        codes = host.settings.get("fault_codes")
        try:
            self._table = from_file(Path(str(codes))) if codes else shipped()
        except ConfigError as e:
            log.error("%s; the shipped table is used", e)
            self._table = shipped()
        self._chips: dict[Place, tuple[str | None, Chip, Found]] = {}
        self._functions: dict[str, PciFunction] = {}
        self._driver: str | None = None

    def open(self, call: Call) -> None:
        """Load and initialise the library. Raises a ReadingError."""
        self._dcmi.open(call)

    def look(self, call: Call) -> Sequence[Found]:
        """Every chip that enumerates and says who it is."""
        try:
            places = self._dcmi.places(call)
        except ReadingError:
            self._dcmi.reopen()
            raise
        if self._driver is None:
            self._driver = self._version()
        siblings: dict[int, list[Place]] = {}
        for place in places:
            siblings.setdefault(place.card if not place.flat else -1 - place.card, []).append(place)
        found = []
        for places_of_card in siblings.values():
            for place in places_of_card:
                try:
                    found.append(self._found(call, place, places_of_card))
                except ReadingError as e:
                    log.warning("%s does not say who it is: %s", place, e)
        for place in set(self._chips) - set(places):
            del self._chips[place]
        return found

    def close(self) -> None:
        """DCMI has no shutdown call."""
        for function in self._functions.values():
            function.close()
        self._functions.clear()

    # ---- one chip

    def _found(self, call: Call, place: Place, board: Sequence[Place]) -> Found:
        known = self._chips.get(place)
        try:
            uuid = self._sure(call, place, "dcmi_get_device_die_v2", lambda: self._uuid(place))
        except CardLost:
            raise
        except ReadingError:
            if known is None:
                raise  # who it is must not be guessed: another name would be another card
            return known[2]
        if known is not None and known[0] == uuid and known[1].memory_bytes is not None:
            chip, found = known[1], known[2]
        else:
            chip, found = self._meet(call, place, board, uuid)
            self._chips[place] = (uuid, chip, found)
        chip.ask_network(call, found.card_id)
        found.attributes["partition_mode"] = self._partitions(call, chip, found.card_id)
        return found

    def _meet(self, call: Call, place: Place, board: Sequence[Place], uuid: str | None) -> tuple[Chip, Found]:
        ask_serial = self._quiet if uuid else self._sure
        serial = ask_serial(call, place, "dcmi_get_card_elabel_v2", lambda: self._serial(place))
        chip = Chip(self._dcmi, place, self._table)
        call(str(place), "dcmi_get_device_chip_info_v2", chip.learn)
        address = self._quiet(call, place, "dcmi_get_device_pcie_info_v2", chip.address)
        try:
            card = card_id(
                uuid=uuid,
                vendor=self.vendor,
                serial=serial,
                chip=place.device if not place.flat else None,
                node_id=self._host.node_id,
                pci=address,
            )
        except BadInput as e:
            raise Broken(f"{place}: {e}") from e
        try:
            call(card, "dcmi_get_device_hbm_info", chip.find_memory)
        except CardLost:
            raise
        except ReadingError as e:
            log.info("%s: its memory is not known yet: %s", card, e)
        logic, physical = self._numbers(call, place)
        function = self._function(address)
        shared = self._shared_power(call, board)
        board_id: str | None = f"ascend-{serial}" if serial else f"{self._host.node_id}-ascend-{place.card}"
        if shared is None and len(board) == 1:
            board_id = None
        attributes: Attributes = {
            "vendor": self.vendor,
            "model": chip.model,
            "uuid": uuid,
            "serial": serial,
            "board_id": board_id,
            "chip": place.device if len(board) > 1 else None,
            "pci_address": address,
            "index": logic,
            "minor": physical,
            "device_node": None if physical is None else f"/dev/davinci{physical}",
            "numa_node": function.numa_node if function else None,
            "memory_total_bytes": chip.memory_bytes,
            "driver_version": self._driver,
            "util_kind": "core_mean",
        }
        probes = chip.probes(shared)
        if function is not None:
            probes += function.probes()
        found = Found(
            card_id=card,
            attributes={name: value for name, value in attributes.items() if value is not None},
            probes=probes,
            slices=slices_of(self._dcmi, chip, card),
            processes=lambda: self._processes(chip),
            alarms=chip.alarms,
            still=None if uuid is None else lambda: self._still(place, uuid),
        )
        return chip, found

    def _still(self, place: Place, uuid: str) -> None:
        """Raises CardLost when another chip answers at this place. A die id that cannot be read now is no sign of
        that: a place is a slot of the board."""
        try:
            now = self._uuid(place)
        except CardLost:
            raise
        except ReadingError:
            return
        if now != uuid:
            raise CardLost(f"{place} answers as {now}, not as {uuid}")

    def _shared_power(self, call: Call, board: Sequence[Place]) -> Place | None:
        """The place that measures for the whole board, or None when this chip measures for itself alone.

        On a board of several chips (910C) only chip 0 gives power, and it is the board's; where none does
        (310P duo) the board's controller is asked.
        """
        able = []
        for place in board:
            try:
                call(str(place), "dcmi_get_device_power_info", lambda p=place: self._power_there(p))  # type: ignore[misc]
                able.append(place)
            except NotSupported:
                continue
            except ReadingError:
                able.append(place)
        if len(able) == len(board):
            return None
        return able[0] if able else board[0]

    def _power_there(self, place: Place) -> int:
        return self._dcmi.number(place, "dcmi_get_device_power_info")

    def _partitions(self, call: Call, chip: Chip, card: str) -> str:
        try:
            ids = call(card, "dcmi_get_device_info(VDEV_MNG)", lambda: vnpu_ids(self._dcmi, chip))
            return "vnpu" if ids else "none"
        except CardLost:
            raise
        except ReadingError:
            return "none"

    def _processes(self, chip: Chip) -> Sequence[tuple[Attributes, dict[str, Value]]]:
        if chip.held is None:
            raise Broken(f"{chip.place}: its processes could not be read")
        return [
            (identity(self._host.proc, pid), {"process_memory_used_bytes": held}) for pid, held in chip.held
        ]

    # ---- identity

    def _uuid(self, place: Place) -> str | None:
        for kind in _FLAT_DIES if place.flat else _DIES:
            die = roomy(DieId)
            try:
                self._dcmi.ask(place, "dcmi_get_device_die_v2", ctypes.c_int(kind), ctypes.byref(die))
            except NotSupported:
                continue
            found = uuid_of(die)
            if found:
                return found
        return None

    def _serial(self, place: Place) -> str | None:
        label = roomy(Elabel)
        name = self._dcmi.named("dcmi_get_card_elabel_v2")
        self._dcmi.run(name, ctypes.c_int(place.card), ctypes.byref(label))
        text = text_of(label.serial_number)
        return None if text is None or text.upper() in ("NA", "N/A") else text

    def _numbers(self, call: Call, place: Place) -> tuple[int | None, int | None]:
        """(logic id, physical id); /dev/davinciN counts by the physical one."""
        if place.flat:
            physical = self._quiet(
                call, place, "dcmiv2_get_chip_phy_id_by_dev_id", lambda: self._physical(place.card)
            )
            return place.card, physical
        logic = self._quiet(call, place, "dcmi_get_device_logic_id", lambda: self._logic(place))
        if logic is None:
            return None, None
        return logic, self._quiet(
            call, place, "dcmi_get_device_phyid_from_logicid", lambda: self._physical(logic)
        )

    def _logic(self, place: Place) -> int | None:
        value = ctypes.c_int(-1)
        # the one function with its output in front
        self._dcmi.run("dcmi_get_device_logic_id", ctypes.byref(value), *place.arguments)
        return value.value if value.value >= 0 else None

    def _physical(self, logic: int) -> int | None:
        value = ctypes.c_uint(0xFFFFFFFF)
        name = "dcmiv2_get_chip_phy_id_by_dev_id" if self._dcmi.flat else "dcmi_get_device_phyid_from_logicid"
        self._dcmi.run(name, ctypes.c_uint(logic), ctypes.byref(value))
        return value.value if value.value < 0xFFFF else None

    def _function(self, address: str | None) -> PciFunction | None:
        """The function on the bus, where this machine shows it."""
        if address is None or not (self._host.sysfs / "bus/pci/devices" / address).exists():
            return None
        return self._functions.setdefault(address, PciFunction(self._host.sysfs, address))

    def _sure(self, call: Call, place: Place, name: str, ask: Callable[[], T]) -> T | None:
        """None where the library has no such answer; every other trouble is raised."""
        try:
            return call(str(place), name, ask)
        except NotSupported:
            return None

    def _quiet(self, call: Call, place: Place, name: str, ask: Callable[[], T]) -> T | None:
        try:
            return call(str(place), name, ask)
        except ReadingError:
            return None

    def _version(self) -> str | None:
        """``Version=24.1.rc2`` of the driver's version.info; it is where containers are given it, too."""
        path = Path(str(self._host.settings.get("version_file") or VERSION_FILE))
        try:
            lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
        except OSError:
            return None
        values = dict(line.split("=", 1) for line in lines if "=" in line)
        return values.get("Version", "").strip() or None


def open_reader(host: Host) -> Roster:
    """The reader of Ascend chips; the library is opened at the first question."""
    return Roster(Ascend(host))
