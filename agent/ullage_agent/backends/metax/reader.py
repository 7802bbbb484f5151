"""MetaX cards through MXSML: who is there, their health, slices and processes. Not here: the probes (values.py).

MXSML discovers cards when it is initialised and never again, so it is initialised anew after a card failed. It
has no shutdown. Cards that exist and cannot be used are in a list of their own ("limited").
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from ctypes import byref, c_char, c_uint
from typing import Any, Final

from ullage_agent.backend import Call, Host
from ullage_agent.backends.answers import address, memory, share
from ullage_agent.backends.clibrary import CLibrary, roomy, text_of
from ullage_agent.backends.handles import HandleMaker, Library, Watched, Who, candidates
from ullage_agent.backends.metax import layouts as mx
from ullage_agent.backends.metax.values import Values
from ullage_agent.backends.roster import Attributes, Found, Probe, Roster, Slice
from ullage_contract.errors import Broken, CardLost, NotSupported, ReadingError
from ullage_contract.event import Severity
from ullage_contract.identity import card_id, slice_id
from ullage_contract.sample import Value

REINIT: Final = 1  # MXSML_INIT_FLAG_REINIT: discover the cards anew


class Mxsml(HandleMaker):
    """The walk over the cards. An index below zero is a limited device: -1 - its id."""

    vendor = "metax"

    def __init__(self, host: Host, library: Library) -> None:
        super().__init__(host, library)
        self._runtime: str | None = None
        self._stale = False
        self._missing_looks = 0
        self._seen: set[str] = set()
        self._opened = False
        self._keys: dict[str, str] = {}
        self._brands: dict[str, int] = {}
        self._standing: dict[str, dict[str, list[tuple[str, Severity, str]]]] = {}
        self._boards: dict[str, set[str]] = {}

    def start(self) -> None:
        lib = self.library
        if self._opened and lib.c.has("mxSmlInitWithFlags"):
            lib.run("mxSmlInitWithFlags", c_uint(REINIT))
        else:
            lib.run("mxSmlInit")
        self._opened = True
        self._runtime = lib.maybe(lambda: self._text("mxSmlGetMacaVersion", length=64))

    def stop(self) -> None:
        """There is nothing to call."""

    def open(self, call: Call) -> None:
        super().open(call)
        if self._stale and self.library.c.has("mxSmlInitWithFlags"):
            self._stale = False
            call("", "mxSmlInitWithFlags", lambda: self.library.run("mxSmlInitWithFlags", c_uint(REINIT)))

    def look(self, call: Call) -> Sequence[Found]:
        """While a card is missing, cards are discovered anew: soon, then at every tenth look (ten minutes)."""
        found = super().look(call)
        present = {card.card_id for card in found}
        self._seen |= present
        self._missing_looks = self._missing_looks + 1 if self._seen - present else 0
        self._stale |= self._missing_looks in (1, 2, 4) or (self._missing_looks + 1) % 10 == 0
        return found

    def places(self) -> Iterable[int]:
        """The function returns the count itself; no card at all is no error."""
        lib = self.library
        count = int(lib.c.function("mxSmlGetDeviceCount", restype=c_uint)())
        limited = lib.maybe(lambda: lib.struct("mxSmlGetAllLimitedDevices", mx.DeviceIds))
        ids = (
            []
            if limited is None
            else [i for i in limited.deviceId[: max(0, min(limited.number, 128))] if i >= 0]
        )
        return [*range(count), *(-1 - i for i in ids)]

    def handle(self, index: int) -> c_uint:
        return c_uint(index if index >= 0 else -1 - index)

    def who(self, handle: Any, index: int, watched: Watched[Any]) -> Who | None:
        if index < 0:
            return self._limited(handle, watched)
        lib = self.library
        try:
            info = watched(
                "mxSmlGetDeviceInfo", lambda: lib.struct("mxSmlGetDeviceInfo", mx.DeviceInfo, handle)
            )
        except ReadingError:
            self._stale = True
            raise
        if info.mode == mx.MODE_VF and self._physical(handle, watched):
            return None  # a function of a physical card that this machine has: its slice
        place = address(text_of(info.bdfId))
        uuid = text_of(info.uuid)
        serial = watched(
            "mxSmlGetBoardSerial",
            lambda: lib.known(lambda: self._text("mxSmlGetBoardSerial", handle, length=32)),
        )

        def version(unit: int) -> str | None:
            function = "mxSmlGetDeviceVersion"
            return watched(  # type: ignore[no-any-return]
                function, lambda: lib.maybe(lambda: self._text(function, handle, c_uint(unit), length=64))
            )

        key = card_id(vendor="metax", uuid=uuid, serial=serial, node_id=self.host.node_id, pci=place)
        self._brands[key] = int(info.brand)
        if place:
            self._keys[place] = key
        if serial:
            self._boards.setdefault(serial, set()).add(key)
        attributes: Attributes = {
            "index": int(info.deviceId) if info.deviceId < 1 << 16 else index,
            "model": text_of(info.deviceName),
            "uuid": uuid,
            "serial": serial,
            "board_id": f"metax-{serial}" if serial else None,
            "pci_address": place,
            "partition_mode": self._partition(handle, int(info.mode), watched),
            "driver_version": version(mx.VERSION_DRIVER),
            "firmware_version": version(mx.VERSION_BIOS),
            "runtime_version": self._runtime,
            "minor": None,
        }
        return Who(key, attributes, place)

    def found(self, handle: Any, index: int, who: Who) -> Found:
        if index < 0:
            told = {"health": "critical", "health_detail": "limited device: MXSML cannot use it"}
            probes = [Probe("mxSmlGetAllLimitedDevices", ("health", "health_detail"), lambda: told)]
            alarm = ("limited", Severity.CRITICAL, "the card exists and MXSML cannot use it")
            return Found(who.card_id, who.attributes, probes, alarms=lambda: [alarm])
        serial = who.attributes.get("serial")
        brand = self._brands.get(who.card_id, 0)
        values = Values(self.library, handle, brand, lambda: len(self._boards.get(str(serial), ())) > 1)
        driver = who.attributes.get("driver_version")
        return Found(
            who.card_id,
            who.attributes,
            values.probes(),
            slices=lambda: [*self._sgpus(handle, who), *self._functions(handle, who, values)],
            processes=lambda: [
                self.process(pid, {"process_memory_used_bytes": held})
                for pid, held in values.processes(str(who.pci or ""))
            ],
            alarms=lambda: self._alarms(who.card_id, values),
            epoch=str(driver) if driver else None,
        )

    def name_of(self, handle: Any, index: int) -> object | None:
        """The index is all its calls take, and a new discovery moves it. A limited device has no values."""
        if index < 0:
            return None
        try:
            info = self.library.struct("mxSmlGetDeviceInfo", mx.DeviceInfo, handle)
        except ReadingError:
            self._stale = True
            raise
        return text_of(info.uuid), text_of(info.bdfId)

    # ---- identity

    def _limited(self, handle: Any, watched: Watched[Any]) -> Who:
        """Only its id and address are known; who it was before is known by its address."""
        lib = self.library
        info = watched(
            "mxSmlGetLimitedDeviceInfo",
            lambda: lib.struct("mxSmlGetLimitedDeviceInfo", mx.DeviceInfo, handle),
        )
        self._stale = True
        place = address(text_of(info.bdfId))
        key = self._keys.get(place or "") or card_id(
            vendor="metax", node_id=self.host.node_id, pci=place, chip=None if place else handle.value
        )
        return Who(key, {"index": handle.value, "pci_address": place}, place)

    def _physical(self, handle: Any, watched: Watched[Any]) -> bool:
        """Whether this machine has physical cards beside virtual functions: in a virtual machine it has none."""
        lib = self.library
        function = "mxSmlGetPfDeviceCount"
        if not lib.c.has(function):
            return False
        return bool(watched(function, lambda: int(lib.c.function(function, restype=c_uint)())))

    def _partition(self, handle: Any, mode: int, watched: Watched[Any]) -> str:
        if mode in (mx.MODE_PF, mx.MODE_VF):
            return "sriov"
        function = "mxSmlGetSgpuToggle"
        toggle = watched(function, lambda: self.library.maybe(lambda: self.library.u32(function, handle)))
        return "sgpu" if toggle == 1 else "none"

    def _text(self, function: str, *leading: Any, length: int) -> str | None:
        """MXSML takes the length by pointer."""
        buffer = roomy(c_char * length)
        size = c_uint(length)
        self.library.run(function, *leading, byref(buffer), byref(size))
        return text_of(bytes(buffer))

    # ---- health and slices

    def _alarms(self, card: str, values: Values) -> list[tuple[str, Severity, str]]:
        """An unavailable reason, PCI events (counted since the driver was loaded) and link ports that are down.

        Where one of the calls fails now, what it said last stands on: it is not known that it went away.
        """
        standing = self._standing.setdefault(card, {})
        asks: dict[str, Callable[[], list[tuple[str, Severity, str]]]] = {
            "unavailable": lambda: self._unavailable(values),
            "ports": lambda: self._ports(values),
        }
        for kind in mx.PCI_EVENTS:
            asks[f"events {kind}"] = lambda kind=kind: self._pci_events(values, kind)  # type: ignore[misc]
        for name, ask in asks.items():
            try:
                standing[name] = ask()
            except CardLost:
                raise
            except NotSupported:
                standing[name] = []
            except ReadingError:
                continue
        return [alarm for alarms in standing.values() for alarm in alarms]

    def _unavailable(self, values: Values) -> list[tuple[str, Severity, str]]:
        code, reason = values.unavailable()
        return [(f"unavailable:{code}", Severity.CRITICAL, f"not available: {reason}")] if code else []

    def _pci_events(self, values: Values, kind: int) -> list[tuple[str, Severity, str]]:
        name, fatal = mx.PCI_EVENTS[kind]
        severity = Severity.CRITICAL if fatal else Severity.WARNING
        return [
            (
                f"{name}:{event.bitNumber}",
                severity,
                f"PCI event {name}: {text_of(event.name) or f'bit {event.bitNumber}'}",
            )
            for event in values.pci_events(kind)
            if event.count > 0
        ]

    def _ports(self, values: Values) -> list[tuple[str, Severity, str]]:
        down = values.ports_down()
        return [("metaxlink", Severity.WARNING, f"MetaXLink ports down: {down}")] if down else []

    def _sgpus(self, handle: Any, who: Who) -> list[Slice]:
        lib = self.library
        if not lib.c.has("mxSmlGetSgpuCount"):
            return []
        count = int(lib.c.function("mxSmlGetSgpuCount", restype=c_uint)(handle))
        found: list[Slice] = []
        for number in range(mx.SGPUS):
            if len(found) >= min(count, mx.SGPUS):
                break
            sgpu = c_uint(number)
            try:
                info = lib.struct("mxSmlGetSgpuInfo", mx.SgpuInfo, handle, sgpu)
            except NotSupported:
                continue  # no sGPU of this number
            attributes: Attributes = {
                "uuid": text_of(info.uuid),
                "profile": f"{info.computeQuota}c.{info.vramQuota}m",
                "compute_share": info.computeQuota / 100 if info.computeQuota <= 100 else None,
                "memory_total_bytes": info.vramQuota << 20,
                "minor": int(info.minor),
            }
            probes = [
                Probe(
                    "mxSmlGetSgpuMemory",
                    ("memory_used_bytes", "memory_total_bytes"),
                    lambda sgpu=sgpu: self._sgpu_memory(handle, sgpu),  # type: ignore[misc]
                ),
                Probe(
                    "mxSmlGetSgpuUsage",
                    ("utilization_ratio",),
                    lambda sgpu=sgpu: self._sgpu_usage(handle, sgpu),  # type: ignore[misc]
                ),
            ]
            attributes = {key: value for key, value in attributes.items() if value is not None}
            found.append(Slice(slice_id(who.card_id, f"sgpu{number}"), attributes, probes))
        return found

    def _sgpu_memory(self, handle: Any, sgpu: c_uint) -> Mapping[str, Value]:
        held = self.library.struct("mxSmlGetSgpuMemory", mx.SgpuMemory, handle, sgpu)
        return memory(held.used, held.total, "mxSmlGetSgpuMemory")

    def _sgpu_usage(self, handle: Any, sgpu: c_uint) -> Mapping[str, Value]:
        """Ten-thousandths (mx_sml.h)."""
        function = "mxSmlGetSgpuUsage"
        return {"utilization_ratio": share(self.library.i32(function, handle, sgpu) / 100, function)}

    def _functions(self, handle: Any, who: Who, values: Values) -> list[Slice]:
        """SR-IOV virtual functions of a physical card."""
        if who.attributes.get("partition_mode") != "sriov":
            return []
        lib = self.library
        ids = lib.struct("mxSmlGetVirtualDevicesByPhysicalId", mx.DeviceIds, handle)
        if not 0 <= ids.number <= 128:
            raise Broken(f"mxSmlGetVirtualDevicesByPhysicalId: {ids.number} functions are not to be believed")
        found = []
        for number in ids.deviceId[: ids.number]:
            virtual = c_uint(number)
            try:
                info = lib.struct("mxSmlGetDeviceInfo", mx.DeviceInfo, virtual)
            except CardLost:
                continue  # this function is gone, not its card
            place = address(text_of(info.bdfId))
            attributes: Attributes = {
                "uuid": text_of(info.uuid),
                "pci_address": place,
                "profile": f"1/{ids.number}",
                "compute_share": 1 / ids.number,
            }
            attributes = {key: value for key, value in attributes.items() if value is not None}
            probes = Values(lib, virtual, int(info.brand), lambda: False).slice_probes()
            found.append(Slice(slice_id(who.card_id, place or f"vf{number}"), attributes, probes))
        return found


def open_reader(host: Host) -> Roster:
    """Called in the child. Loads nothing yet."""
    names = candidates(
        host,
        "/opt/mxdriver/lib/libmxsml.so",
        "/opt/maca/lib/libmxsml.so",
        "/opt/mxn100/lib/libmxsml.so",
        "libmxsml.so",
    )
    return Roster(Mxsml(host, Library(CLibrary("MXSML (libmxsml.so)", names), mx.CODES)))
