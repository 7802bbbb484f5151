"""Enflame cards through EFML: who is there, their health, virtual devices and processes.

The library has two sets of calls. Those by handle (efml*) have documented units and are preferred; health, RMA
hints, ECC and identity exist by index only (Efml*). A card of the one is found in the other by its PCI address.
Not here: the probes of each set (by_handle.py, by_index.py).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from ctypes import byref, c_bool, c_uint, c_void_p, create_string_buffer
from dataclasses import dataclass
from typing import Any, Final

from ullage_agent.backend import Call, Host
from ullage_agent.backends.answers import address
from ullage_agent.backends.clibrary import CLibrary, text_of
from ullage_agent.backends.enflame import by_handle, layouts
from ullage_agent.backends.enflame.by_index import ByIndex
from ullage_agent.backends.handles import NVML_CODES, HandleMaker, Library, Watched, Who, candidates
from ullage_agent.backends.roster import Attributes, Found, Roster
from ullage_contract.errors import Broken, NotSupported, ReadingError
from ullage_contract.identity import card_id

_ADDRESS: Final = re.compile(rb"(?:[0-9a-fA-F]{2,8}:)?[0-9a-fA-F]{2}:[0-9a-fA-F]{2}\.[0-7]")


@dataclass(frozen=True, slots=True)
class Handle:
    """One card in both sets: new is None on a release without calls by handle, old where the index is unknown."""

    new: c_void_p | None
    old: int | None


class Efml(HandleMaker):
    """The walk over the cards."""

    vendor = "enflame"

    def __init__(self, host: Host, library: Library, old: Library) -> None:
        super().__init__(host, library)
        self._old = old
        self._new_open = self._old_open = False
        self._old_places: dict[str, int] = {}
        self._unmatched = False
        self._used: dict[str, str | None] = {}
        self._physical: set[str] = set()
        self._indexes: dict[str, ByIndex] = {}
        self._driver: str | None = None

    def start(self) -> None:
        """Both sets, each by its own init; one of them is enough."""
        errors: list[ReadingError] = []
        for attribute, ask in (("_new_open", self._start_new), ("_old_open", self._start_old)):
            try:
                ask()
                setattr(self, attribute, True)
            except ReadingError as e:
                setattr(self, attribute, False)
                errors.append(e)
        if not self._new_open and not self._old_open:
            raise next((e for e in errors if not isinstance(e, NotSupported)), errors[0])
        self._driver = self._old.maybe(lambda: self._text("EfmlGetDriverVer")) if self._old_open else None

    def _start_new(self) -> None:
        self.library.run(self._named("efmlInit_v2", "efmlInit"))

    def _start_old(self) -> None:
        self._old.run("EfmlInit", c_bool(False))

    def stop(self) -> None:
        if self._new_open:
            self.library.run("efmlShutdown")
        if self._old_open:
            self._old.c.function("EfmlShutdown", restype=None)()

    def look(self, call: Call) -> Sequence[Found]:
        self._match(call)
        return super().look(call)

    def places(self) -> Iterable[int]:
        self._used = {}
        if self._new_open:
            return range(self.library.u32(self._named("efmlDeviceGetCount_v2", "efmlDeviceGetCount")))
        return range(self._old.u32("EfmlGetDevCount"))

    def handle(self, index: int) -> Handle:
        if not self._new_open:
            return Handle(None, index)
        handle = c_void_p()
        function = self._named("efmlDeviceGetHandleByIndex_v2", "efmlDeviceGetHandleByIndex")
        self.library.run(function, c_uint(index), byref(handle))
        place = self._place(handle)
        return Handle(handle, self._old_places.get(place) if place else None)

    def who(self, handle: Handle, index: int, watched: Watched[Any]) -> Who | None:
        place = watched("PciInfo", lambda: self._place_of(handle))
        if handle.old is None and self._unmatched:
            # without its index there is no UUID and no serial number: it would get another key
            raise Broken(f"card {index} at {place} is not matched with the calls by index")
        uuid = self._told(handle, watched, "EfmlGetDevUuid", self._old.known)
        serial = self._told(handle, watched, "EfmlGetDevSn", self._old.known)
        mode = watched("efmlDeviceGetVirtualizationMode", lambda: self._mode(handle))
        if mode == layouts.MODE_PF and serial:
            self._physical.add(serial)
        if mode == layouts.MODE_VF and serial in self._physical:
            return None  # a function of a physical card this machine lists: its slice
        key = card_id(vendor="enflame", uuid=uuid, serial=serial, node_id=self.host.node_id, pci=place)
        if self._used.setdefault(key, place) != place and place:
            key = f"{key}-{place}"  # functions of one card share its serial number
        attributes: Attributes = {
            "model": watched("GetName", lambda: self._name(handle)),
            "uuid": uuid,
            "serial": serial,
            "pci_address": place,
            "partition_mode": "sriov" if mode in (layouts.MODE_PF, layouts.MODE_VF) else "none",
            "driver_version": self._driver,
            "firmware_version": self._told(handle, watched, "EfmlGetFwVersion"),
            "util_kind": "kernel_resident",
        }
        return Who(key, attributes, place)

    def found(self, handle: Handle, index: int, who: Who) -> Found:
        old = None
        if handle.old is not None:
            old = self._indexes.get(who.card_id)
            if old is None or old.index != handle.old:
                old = self._indexes[who.card_id] = ByIndex(self._old, handle.old)
        new = by_handle.ByHandle(self.library, handle.new) if handle.new is not None else None
        probes = [*(new.probes() if new else ()), *(old.probes() if old else ())]
        return Found(
            who.card_id,
            who.attributes,
            probes,
            slices=(lambda: old.slices(who.card_id)) if old else None,
            processes=lambda: [self.process(pid, values) for pid, values in self._processes(new, old)],
            alarms=old.alarms if old else None,
            epoch=self._driver,
        )

    def name_of(self, handle: Handle, index: int) -> object | None:
        """Calls by index answer for whatever card sits there now."""
        return None if handle.old is None else self._old_place(handle.old)

    # ---- identity

    def _processes(
        self, new: by_handle.ByHandle | None, old: ByIndex | None
    ) -> list[tuple[int, dict[str, Any]]]:
        if new is not None:
            try:
                return new.processes()
            except NotSupported:
                if old is None:
                    raise
        return old.processes() if old is not None else []

    def _named(self, *names: str) -> str:
        return next((name for name in names if self.library.c.has(name)), names[0])

    def _place(self, handle: c_void_p) -> str | None:
        function = self._named("efmlDeviceGetPciInfo_v3", "efmlDeviceGetPciInfo_v2", "efmlDeviceGetPciInfo")
        info = self.library.known(lambda: self.library.struct(function, layouts.PciInfo, handle))
        if info is None:
            return None
        match = _ADDRESS.search(bytes(info))
        text = match[0].decode("ascii") if match else None
        if text and re.fullmatch(r"[0-9a-fA-F]{2}:[0-9a-fA-F]{2}:[0-9a-fA-F]{2}\.[0-7]", text):
            text = f"00{text}"  # this maker prints a domain of two digits
        return address(text)

    def _place_of(self, handle: Handle) -> str | None:
        if handle.new is not None:
            return self._place(handle.new)
        return self._old.known(lambda: self._old_place(handle.old or 0))

    def _old_place(self, index: int) -> str | None:
        info = self._old.struct("EfmlGetDevInfo", layouts.DeviceInfo, c_uint(index))
        return address(f"{info.domain_id:x}:{info.bus_id:02x}:{info.dev_id:02x}.{info.func_id:x}")

    def _match(self, call: Call) -> None:
        """PCI address -> index of the calls by index, each card's call watched for itself."""
        self._old_places, self._unmatched = {}, False
        if not self._old_open:
            return
        try:
            count = call("", "EfmlGetDevCount", lambda: self._old.u32("EfmlGetDevCount"))
        except ReadingError:
            self._unmatched = True
            return
        for index in range(min(count, 128)):  # MAX_DEVICE_COUNT
            try:
                place = call(
                    f"old #{index}",
                    "EfmlGetDevInfo",
                    lambda index=index: self._old_place(index),  # type: ignore[misc]
                )
            except ReadingError:
                self._unmatched = True
                continue
            if place:
                self._old_places[place] = index

    def _mode(self, handle: Handle) -> int | None:
        if handle.new is None:
            return None
        return self.library.known(lambda: self.library.i32("efmlDeviceGetVirtualizationMode", handle.new))

    def _name(self, handle: Handle) -> str | None:
        if handle.new is not None:
            name = self.library.maybe(lambda: self.library.text("efmlDeviceGetName", handle.new, length=128))
            if name:
                return name
        if handle.old is None:
            return None
        return self._old.maybe(lambda: self._text("EfmlGetDevName", c_uint(handle.old or 0)))

    def _told(
        self, handle: Handle, watched: Watched[Any], function: str, quiet: Callable[..., Any] | None = None
    ) -> str | None:
        """A text of a call by index. quiet: which of its errors are no text."""
        if handle.old is None:
            return None
        index = c_uint(handle.old)
        guard = quiet or self._old.maybe
        return watched(function, lambda: guard(lambda: self._text(function, index)))  # type: ignore[no-any-return]

    def _text(self, function: str, *leading: Any) -> str | None:
        """Calls by index write texts without being told a length: MAX_CHAR_BUFF_LEN is 128."""
        buffer = create_string_buffer(1024)
        self._old.run(function, *leading, buffer)
        return text_of(buffer.raw)


def open_reader(host: Host) -> Roster:
    """Called in the child. Loads nothing yet."""
    names = candidates(host, "libefml.so.2", "libefml.so.1", "libefml.so", "/usr/lib/libefml.so")
    library = CLibrary("EFML (libefml.so)", names)
    return Roster(Efml(host, Library(library, NVML_CODES), Library(library, layouts.OLD_CODES)))
