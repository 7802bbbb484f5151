"""Hygon DCUs in the child: who is there, their vDCUs and processes. Not here: what a card is asked (card.py)."""

from __future__ import annotations

import ctypes
import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

from ullage_agent.backend import Call, Host
from ullage_agent.backends.holders import identity
from ullage_agent.backends.hygon import hydmi_library, rocm_smi_library
from ullage_agent.backends.hygon.card import HygonCard
from ullage_agent.backends.hygon.hydmi_library import Hydmi, Part
from ullage_agent.backends.hygon.rocm_smi_library import RocmSmi
from ullage_agent.backends.pcie import PciFunction
from ullage_agent.backends.roster import Attributes, Found, Probe, Roster, Slice
from ullage_contract.catalogue import Tier
from ullage_contract.errors import Broken, CardLost, NotPresent, NotSupported, ReadingError
from ullage_contract.identity import card_id, slice_id
from ullage_contract.sample import Value

log = logging.getLogger(__name__)

UTIL_KIND: Final = "kernel_resident"
"""HCU%: share of the samples in a window at which the compute units had work at all."""
WINDOW_MS: Final = 50
"""our choice: because eight cards then take 0.4 s of a fast tick and 0.8 s of a slow one, all of it waiting."""


def open_reader(host: Host) -> Roster:
    """For the child."""
    return Roster(Hygon(host))


class Hygon:
    """A ``roster.Maker``."""

    vendor = "hygon"

    def __init__(self, host: Host) -> None:
        self._host = host
        settings = host.settings
        library, virtual = settings.get("library"), settings.get("virtual_library")
        self._smi = RocmSmi((str(library),) if library else rocm_smi_library.NAMES)
        self._dmi = Hydmi((str(virtual),) if virtual else hydmi_library.NAMES)
        window = settings.get("window_ms", WINDOW_MS)
        self._window_ms = window if isinstance(window, int) and 1 <= window <= 1000 else WINDOW_MS
        self._cards: dict[int, HygonCard] = {}
        self._identities: dict[int, Attributes] = {}
        self._names: dict[int, tuple[str | None, str | None]] = {}
        self._virtual = True

    def open(self, call: Call) -> None:
        """Load and initialize the library. Raises a ReadingError."""
        call("", "rsmi_init", self._smi.open)
        if self._virtual:
            try:
                call("", "libhydmi", self._dmi.open)
            except ReadingError as e:
                self._virtual = False  # a driver without virtualisation
                log.info("no vDCUs: %s", e)

    def look(self, call: Call) -> Sequence[Found]:
        """Every card on the bus that says who it is."""
        count = call("", "rsmi_num_monitor_devices", self._smi.count)
        if not count:
            raise NotPresent(
                "librocm_smi64 finds no card: is the driver (hycu) loaded and /dev/kfd readable?"
            )
        parts = self._parts(call, count)
        users = self._users(call)
        found = []
        for index in range(count):
            card = self._card(call, index)
            if card is None:
                continue
            try:
                found.append(self._found(call, card, parts, users))
            except ReadingError as e:  # without its name it would be another card: it waits
                log.warning("%s does not say who it is: %s", card.function.address, e)
        return found

    def close(self) -> None:
        """rsmi_shut_down; never raises."""
        for card in self._cards.values():
            card.function.close()
        self._smi.close()

    # ---- cards

    def _card(self, call: Call, index: int) -> HygonCard | None:
        """The card, or None when it is off the bus or will not say its place."""
        known = self._cards.get(index)
        if known is None:
            try:
                place = _address(
                    call(
                        f"dcu{index}",
                        "rsmi_dev_pci_id_get",
                        lambda: self._smi.wide("rsmi_dev_pci_id_get", index),
                    )
                )
            except ReadingError as e:
                log.warning("card %s does not say where it is: %s", index, e)
                return None
            known = HygonCard(self._smi, index, PciFunction(self._host.sysfs, place), self._window_ms)
            self._cards[index] = known
        if not known.on_the_bus:
            return None
        try:
            call(known.function.address, "rsmi_dev_ecc_count_get", known.learn)
        except ReadingError as e:
            log.warning("%s: %s", known.function.address, e)
            return None if not known.on_the_bus else known
        return known

    def _found(
        self,
        call: Call,
        card: HygonCard,
        parts: Sequence[Part],
        users: Mapping[int, Sequence[tuple[int, int | None]]] | None,
    ) -> Found:
        attributes = dict(self._identity(call, card))
        uuid, serial = attributes.get("uuid"), attributes.get("serial")
        name = card_id(
            uuid=uuid if isinstance(uuid, str) else None,
            vendor="hygon",
            serial=serial if isinstance(serial, str) else None,
            node_id=self._host.node_id,
            pci=card.function.address,
        )
        mine = [part for part in parts if part.card == card.index]
        attributes["partition_mode"] = "vdcu" if mine else "none"
        probes = card.probes()
        rows: Callable[[], Sequence[tuple[Attributes, Mapping[str, Value]]]] | None = None
        if users is not None:
            holding = users.get(card.index, ())
            probes.append(
                Probe(
                    "rsmi_compute_process_info_get",
                    ("processes",),
                    lambda: {"processes": len(holding)},
                    Tier.SLOW,
                )
            )
            rows = self._rows(holding)
        return Found(
            card_id=name,
            attributes={key: value for key, value in attributes.items() if value is not None},
            probes=probes,
            slices=self._slices(call, card, name, mine, attributes) if mine else None,
            processes=rows,
            still=lambda: self._still(card),
        )

    def _still(self, card: HygonCard) -> None:
        """Raises CardLost when another card answers at this index; then it is met anew at the next look. A name
        that cannot be read now is no sign of that: the library counts its cards once."""
        known = self._names.get(card.index)
        if known is None or known[0] is None:
            return
        try:
            now = self._smi.wide("rsmi_dev_unique_id_get", card.index)
        except CardLost:
            raise
        except ReadingError:
            return
        if f"{now:016x}" != known[0]:
            self._forget(card)
            raise CardLost(f"card {card.index} answers as {now:016x}, not as {known[0]}")

    def _forget(self, card: HygonCard) -> None:
        """What was learnt of an index belongs to the card that sat there."""
        card.function.close()
        for known in (self._cards, self._names, self._identities):
            known.pop(card.index, None)

    def _identity(self, call: Call, card: HygonCard) -> Attributes:
        """Static facts, asked until the card says its model; its key never changes meanwhile. Raises a
        ReadingError when what the key is made of cannot be read now."""
        known = self._identities.get(card.index)
        if known is not None and known["model"]:
            return known
        place = card.function.address

        def text(name: str, *, wide_length: bool = False) -> str | None:
            try:
                return call(place, name, lambda: self._smi.text(name, card.index, wide_length=wide_length))
            except ReadingError:
                return None

        if card.index not in self._names:
            self._names[card.index] = self._keys(call, card)
        uuid, serial = self._names[card.index]
        total = self._memory(call, card)
        attributes: Attributes = {
            "model": text("rsmi_dev_name_get", wide_length=True),
            "uuid": uuid,
            "serial": serial,
            "pci_address": place,
            "index": card.index,
            "numa_node": card.function.numa_node,
            "memory_total_bytes": total,
            "util_kind": UTIL_KIND,
            "driver_version": self._driver(call),
            "firmware_version": text("rsmi_dev_vbios_version_get"),
        }
        self._identities[card.index] = attributes
        return attributes

    def _keys(self, call: Call, card: HygonCard) -> tuple[str | None, str | None]:
        """UUID and serial number; None where this card has none."""
        place = card.function.address
        try:
            name = "rsmi_dev_unique_id_get"
            unique = call(place, name, lambda: self._smi.wide(name, card.index))
        except NotSupported:
            unique = 0
        try:
            serial = call(
                place,
                "rsmi_dev_serial_number_get",
                lambda: self._smi.text("rsmi_dev_serial_number_get", card.index),
            )
        except NotSupported:
            serial = None
        return (
            f"{unique:016x}" if unique and unique != (1 << 64) - 1 else None,
            serial if serial and set(serial) - {"0"} else None,
        )

    def _memory(self, call: Call, card: HygonCard) -> int | None:
        try:
            return call(
                card.function.address,
                "rsmi_dev_memory_total_get",
                lambda: self._smi.wide("rsmi_dev_memory_total_get", card.index, ctypes.c_int(0)),
            )
        except ReadingError:
            return None

    def _driver(self, call: Call) -> str | None:
        for module in ("hycu", "hydcu", "amdgpu"):
            path = Path(self._host.sysfs) / "module" / module / "version"
            try:
                return path.read_text(encoding="ascii", errors="replace").strip() or None
            except OSError:
                continue
        try:
            return call("", "rsmi_version_str_get", self._smi.driver_version)
        except ReadingError:
            return None

    # ---- vDCUs

    def _parts(self, call: Call, cards: int) -> Sequence[Part]:
        if not self._virtual:
            return ()
        try:
            return call("", "dmiGetVDeviceInfo", lambda: self._dmi.parts(cards))
        except ReadingError:
            return ()

    def _slices(
        self, call: Call, card: HygonCard, name: str, parts: Sequence[Part], whole: Attributes
    ) -> Callable[[], list[Slice]]:
        try:
            units = call(
                card.function.address, "dmiGetDeviceInfo", lambda: self._dmi.compute_units(card.index)
            )
        except ReadingError:
            units = None
        total = whole.get("memory_total_bytes")

        def made() -> list[Slice]:
            return [
                self._slice(name, part, units, total if isinstance(total, int) else None) for part in parts
            ]

        return made

    def _slice(self, card: str, part: Part, units: int | None, total: int | None) -> Slice:
        attributes: Attributes = {
            "vendor": "hygon",
            "index": part.number,
            "profile": f"{part.compute_units}cu",
            "memory_total_bytes": part.memory_bytes,
            "util_kind": UTIL_KIND,
        }
        if units and 0 < part.compute_units <= units:
            attributes["compute_share"] = part.compute_units / units
        if total and part.memory_bytes <= total:
            attributes["memory_share"] = part.memory_bytes / total
        return Slice(
            slice_id(card, f"vdcu{part.number}"),
            attributes,
            [
                Probe("dmiGetVDevBusyPercent", ("utilization_ratio",), lambda: self._busy(part.number)),
                Probe(
                    "dmiGetVDeviceInfo",
                    ("memory_used_bytes", "memory_total_bytes"),
                    lambda: {"memory_used_bytes": part.used_bytes, "memory_total_bytes": part.memory_bytes},
                ),
            ],
        )

    def _busy(self, part: int) -> dict[str, Value]:
        per_cent = self._dmi.busy(part)
        if not 0 <= per_cent <= 100:
            raise Broken(f"vDCU {part} is {per_cent} per cent busy")
        return {"utilization_ratio": per_cent / 100}

    # ---- processes

    def _users(self, call: Call) -> Mapping[int, Sequence[tuple[int, int | None]]] | None:
        """card index -> (pid, bytes or None); None where the library lists no processes."""
        try:
            pids = call("", "rsmi_compute_process_info_get", self._smi.pids)
        except ReadingError:
            return None
        found: dict[int, list[tuple[int, int | None]]] = {}
        for pid in pids:
            try:
                cards = call("", "rsmi_compute_process_gpus_get", lambda pid=pid: self._smi.cards_of(pid))  # type: ignore[misc]
            except ReadingError:
                continue  # it ended, or its cards cannot be told
            for index in cards:
                found.setdefault(index, []).append((pid, self._held(call, pid, index)))
        return found

    def _held(self, call: Call, pid: int, index: int) -> int | None:
        """Bytes; None for 0: this driver's way of not saying."""
        try:
            used = call("", "rsmi_compute_process_info_by_device_get", lambda: self._smi.held(pid, index))
        except (NotSupported, ReadingError):
            return None
        return used or None

    def _rows(
        self, holding: Sequence[tuple[int, int | None]]
    ) -> Callable[[], Sequence[tuple[Attributes, Mapping[str, Value]]]]:
        def rows() -> Sequence[tuple[Attributes, Mapping[str, Value]]]:
            return [
                (
                    identity(self._host.proc, pid),
                    {} if used is None else {"process_memory_used_bytes": used},
                )
                for pid, used in holding
            ]

        return rows


def _address(bdf: int) -> str:
    """domain<<32 | bus<<8 | device<<3 | function (rocm_smi.h)."""
    return f"{bdf >> 32 & 0xFFFFFFFF:04x}:{bdf >> 8 & 0xFF:02x}:{bdf >> 3 & 0x1F:02x}.{bdf & 7}"
