"""libfuriosa_smi.so as ctypes: the structs of furiosa_smi.h and what its return codes mean.

Source: furiosa_smi.h in furiosa-smi-go, releases of 2024 to 2026. Structs grew at their ends (DeviceInfo got a
pert_version), so each gets room behind it. One changed inside: the performance counter of a PE has a core
number since 2025; ``counters`` tells the two apart by what the library wrote.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from ctypes import c_bool, c_char, c_double, c_long, c_uint8, c_uint16, c_uint32, c_uint64
from typing import Any, Final, NamedTuple, TypeVar

from ullage_agent.backends.clibrary import CLibrary, roomy
from ullage_contract.errors import (
    Broken,
    CardLost,
    NotPermitted,
    NotSupported,
    ReadingError,
)

NAMES: Final = (
    "libfuriosa_smi.so",
    "/usr/lib/x86_64-linux-gnu/libfuriosa_smi.so",
    "/usr/lib/libfuriosa_smi.so",
    "/usr/local/lib/libfuriosa_smi.so",
)
MOST_DEVICES: Final = 64  # FURIOSA_SMI_MAX_DEVICE_HANDLE_SIZE
MOST_CORES: Final = 64  # FURIOSA_SMI_MAX_PE_SIZE

_WORDS: Final = {
    1: "invalid argument",
    2: "null pointer",
    3: "buffer too small",
    4: "device not found",
    5: "device lost",
    6: "device busy",
    7: "input/output error",
    8: "permission denied",
    9: "unknown architecture",
    10: "incompatible driver",
    11: "unexpected value",
    12: "parse error",
    13: "unknown error",
    14: "internal error",
    15: "not initialised",
    16: "context error",
    17: "not supported",
}
_ERRORS: Final[dict[int, type[ReadingError]]] = {4: CardLost, 5: CardLost, 8: NotPermitted, 17: NotSupported}

T = TypeVar("T")


class Handles(ctypes.Structure):
    _fields_ = (("count", c_uint32), ("handles", c_uint32 * MOST_DEVICES))


class Version(ctypes.Structure):
    _fields_ = (("major", c_uint32), ("minor", c_uint32), ("patch", c_uint32), ("metadata", c_char * 96))

    def text(self) -> str | None:
        """``1.11.0, cfd5306`` as the tool prints it; None when all is 0."""
        if not (self.major or self.minor or self.patch):
            return None
        extra = self.metadata.decode("utf-8", "replace").strip()
        return f"{self.major}.{self.minor}.{self.patch}" + (
            f", {extra}" if extra.isprintable() and extra else ""
        )


class Info(ctypes.Structure):
    _fields_ = (
        ("index", c_uint32),
        ("arch", c_uint32),
        ("core_num", c_uint32),
        ("numa_node", c_uint32),
        ("name", c_char * 96),
        ("serial", c_char * 96),
        ("uuid", c_char * 96),
        ("bdf", c_char * 96),
        ("major", c_uint16),
        ("minor", c_uint16),
        ("firmware_version", Version),
    )


class _Frequency(ctypes.Structure):
    _fields_ = (("core", c_uint32), ("frequency", c_uint32))


class Frequencies(ctypes.Structure):
    _fields_ = (("count", c_uint32), ("pe", _Frequency * MOST_CORES))


class _Counter(ctypes.Structure):
    _fields_ = (("timestamp", c_long), ("core", c_uint32), ("cycles", c_uint64), ("busy", c_uint64))


class _OldCounter(ctypes.Structure):
    _fields_ = (("timestamp", c_long), ("cycles", c_uint64), ("busy", c_uint64))


class _Counters(ctypes.Structure):
    _fields_ = (("count", c_uint32), ("pe", _Counter * MOST_CORES))


class _OldCounters(ctypes.Structure):
    _fields_ = (("count", c_uint32), ("pe", _OldCounter * MOST_CORES))


class Temperature(ctypes.Structure):
    _fields_ = (("soc_peak", c_double), ("ambient", c_double))


class Memory(ctypes.Structure):
    _fields_ = (("total_bytes", c_uint64), ("in_use_bytes", c_uint64))


class Link(ctypes.Structure):
    _fields_ = (
        ("generation", c_uint8),
        ("width", c_uint32),
        ("speed", c_double),
        ("max_width", c_uint32),
        ("max_speed", c_double),
    )


class Cycles(NamedTuple):
    """Of one PE, since the card was reset. timestamp: the library's own count, compared for equality only."""

    timestamp: int
    cycles: int
    busy: int


class Library:
    """The calls the reader makes. Every one raises our errors."""

    def __init__(self, names: Sequence[str] = NAMES) -> None:
        self._library = CLibrary("libfuriosa_smi", names)
        self._ready = False

    def open(self) -> None:
        """Load and initialise, once."""
        if not self._ready:
            self._library.open()
            self._check("furiosa_smi_init", self._library.function("furiosa_smi_init")())
            self._ready = True

    def forget(self) -> None:
        """Initialise anew at the next ``open``."""
        self._ready = False

    def handles(self) -> list[int]:
        """Of every NPU that enumerates. Raises Broken for a count that cannot be."""
        found = roomy(Handles)
        code = self._call("furiosa_smi_get_device_handles", found)
        if code == 4:  # no device at all
            return []
        self._check("furiosa_smi_get_device_handles", code)
        if found.count > MOST_DEVICES:
            raise Broken(f"libfuriosa_smi counts {found.count} devices")
        return list(found.handles[: found.count])

    def info(self, handle: int) -> Info:
        return self._filled("furiosa_smi_get_device_info", handle, Info)

    def driver(self) -> str | None:
        """The driver's version, or None."""
        found = roomy(Version)
        try:
            self._check("furiosa_smi_get_driver_info", self._call("furiosa_smi_get_driver_info", found))
        except ReadingError:
            return None
        return found.text()

    def alive(self, handle: int) -> bool:
        found = c_bool()
        function = self._library.function("furiosa_smi_get_device_liveness", c_uint32, ctypes.POINTER(c_bool))
        self._check("furiosa_smi_get_device_liveness", function(handle, ctypes.byref(found)))
        return found.value

    def number(self, name: str, handle: int, kind: Any) -> float:
        """What a call with one scalar output gives."""
        found = kind()
        function = self._library.function(name, c_uint32, ctypes.POINTER(kind))
        self._check(name, function(handle, ctypes.byref(found)))
        return float(found.value)

    def temperature(self, handle: int) -> Temperature:
        return self._filled("furiosa_smi_get_device_temperature", handle, Temperature)

    def memory(self, handle: int) -> Memory:
        return self._filled("furiosa_smi_get_memory_utilization", handle, Memory)

    def link(self, handle: int) -> Link:
        return self._filled("furiosa_smi_get_pcie_link_info", handle, Link)

    def frequencies(self, handle: int) -> list[int]:
        """MHz of each PE."""
        found = self._filled("furiosa_smi_get_core_frequency", handle, Frequencies)
        return [found.pe[i].frequency for i in range(self._counted(found.count))]

    def counters(self, handle: int) -> list[Cycles]:
        """Of each PE. The release's layout shows in how far it wrote: the older one is 8 bytes a PE shorter."""
        name = "furiosa_smi_get_device_performance_counter"
        found = self._filled(name, handle, _Counters)
        count = self._counted(found.count)
        first, old, new = _Counters.pe.offset, ctypes.sizeof(_OldCounter), ctypes.sizeof(_Counter)
        behind = ctypes.string_at(ctypes.addressof(found) + first + old * count, (new - old) * count)
        pes: Any = found.pe
        if not any(behind):
            pes = _OldCounters.from_buffer_copy(found).pe
        return [Cycles(pes[i].timestamp, pes[i].cycles, pes[i].busy) for i in range(count)]

    @staticmethod
    def _counted(count: int) -> int:
        if not 0 < count <= MOST_CORES:
            raise Broken(f"libfuriosa_smi counts {count} cores on a card")
        return count

    def _filled(self, name: str, handle: int, kind: type[T]) -> T:
        found: Any = roomy(kind)  # type: ignore[type-var]
        function = self._library.function(name, c_uint32, ctypes.c_void_p)
        self._check(name, function(handle, ctypes.addressof(found)))
        return found  # type: ignore[no-any-return]

    def _call(self, name: str, found: Any) -> int:
        function = self._library.function(name, ctypes.c_void_p)
        return int(function(ctypes.addressof(found)))

    def _check(self, name: str, code: int) -> None:
        if code == 0:
            return
        if code == 15:
            self._ready = False
        raise _ERRORS.get(code, Broken)(f"{name} answers {code}: {_WORDS.get(code, 'an unknown code')}")
