"""libhlml.so, Habana's management library: functions, structs, and return codes as our errors.

From the public header hlml.h (HabanaAI/gohlml) and the Python binding (pyhlml), read 2026-11-21. Never called:
hlml_device_get_pcie_throughput (slow, and its 64-bit count is cut to 32) and the NIC statistics (some 100 ms of
firmware time a port).
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import Any, Final

from ullage_agent.backends.clibrary import CLibrary, roomy, text_of
from ullage_contract.errors import Broken, CardLost, DeadlineExceeded, NotPermitted, NotPresent, NotSupported

NAMES: Final = (
    "libhlml.so",
    "/usr/lib/habanalabs/libhlml.so",
    "/lib/habanalabs/libhlml.so",
    "/opt/habanalabs/lib/libhlml.so",
)

# hlml_return_t
_OK: Final = 0
_LACKING: Final = frozenset({2, 3, 6, 21})
"""INVALID_ARGUMENT (a kind that an old release does not know), NOT_SUPPORTED, NOT_FOUND, NO_DATA."""
_PERMISSION, _ALREADY, _NO_DRIVER, _TIMEOUT, _LOST = 4, 5, 9, 10, 15
_WORDS: Final = {1: "uninitialized", 7: "insufficient size", 20: "memory", 49: "unknown"}

BOARD, AIP = 1, 0  # hlml_temperature_sensors_t
SLOWDOWN: Final = 1  # hlml_temperature_thresholds_t
SOC: Final = 0  # hlml_clock_type_t
CORRECTED, UNCORRECTED = 0, 1  # hlml_memory_error_type_t
VOLATILE, AGGREGATE = 0, 1  # hlml_ecc_counter_type_t
SRAM, DRAM = 0, 1  # hlml_memory_location_type_t
SINGLE_BIT, DOUBLE_BIT = 0, 1  # hlml_row_replacement_cause_t

_PORT_WORDS: Final = 2
_BUS_ID_AT: Final = 4
"""Of hlml_pci_info: the text begins behind ``unsigned bus``; its length differs between releases."""
_BUS_ID_MOST: Final = 19


class Memory(ctypes.Structure):
    """hlml_memory_t."""

    _fields_ = [("free", ctypes.c_ulonglong), ("total", ctypes.c_ulonglong), ("used", ctypes.c_ulonglong)]


class Hlml:
    """The opened library. Every function raises a ReadingError. A device is an opaque handle."""

    def __init__(self, names: Sequence[str] = NAMES) -> None:
        self.library = CLibrary("Habana's libhlml", names)
        self._ready = False

    def open(self) -> None:
        """Load and initialize, once."""
        self.library.open()
        if not self._ready:
            self._run("hlml_init")
            self._ready = True

    def close(self) -> None:
        """hlml_shutdown. Never raises."""
        if self._ready:
            self._ready = False
            try:
                self._run("hlml_shutdown")
            except Exception:  # noqa: S110 it is the end; what it says helps nobody
                pass

    def count(self) -> int:
        """Cards that enumerate."""
        found = ctypes.c_uint(0)
        self._run("hlml_device_get_count", ctypes.byref(found))
        return found.value

    def handle(self, index: int) -> ctypes.c_void_p:
        """The device of an index."""
        handle = ctypes.c_void_p()
        self._run("hlml_device_get_handle_by_index", ctypes.c_uint(index), ctypes.byref(handle))
        return handle

    def text(self, name: str, device: ctypes.c_void_p) -> str | None:
        """A function (device, buffer, length); None for an empty answer and for N/A."""
        buffer = ctypes.create_string_buffer(256)
        self._run(name, device, buffer, ctypes.c_uint(256))
        found = text_of(buffer.raw)
        return None if found in {"N/A", "NA"} else found

    def driver_version(self) -> str | None:
        """None where the release lacks it."""
        buffer = ctypes.create_string_buffer(256)
        try:
            self._run("hlml_get_driver_version", buffer, ctypes.c_uint(256))
        except (NotSupported, Broken):
            return None
        return text_of(buffer.raw)

    def address(self, device: ctypes.c_void_p) -> str | None:
        """The PCI address as the library prints it."""
        info = roomy(ctypes.c_ubyte * 256)
        self._run("hlml_device_get_pci_info", device, ctypes.byref(info))
        raw = bytes(info)[_BUS_ID_AT : _BUS_ID_AT + _BUS_ID_MOST]
        return text_of(raw)

    def narrow(self, name: str, device: ctypes.c_void_p, *kind: int) -> int:
        """A function (device, kind..., u32 out)."""
        out = roomy(ctypes.c_uint * 2)  # utilisation is a struct of one or two
        self._run(name, device, *map(ctypes.c_int, kind), ctypes.byref(out))
        return out[0]

    def wide(self, name: str, device: ctypes.c_void_p, *kind: int) -> int:
        """A function (device, kind..., u64 out)."""
        out = ctypes.c_ulonglong(0)
        self._run(name, device, *map(ctypes.c_int, kind), ctypes.byref(out))
        return out.value

    def memory(self, device: ctypes.c_void_p) -> Memory:
        """Bytes; what the driver keeps for itself counts as used."""
        out = roomy(Memory)
        self._run("hlml_device_get_memory_info", device, ctypes.byref(out))
        return out

    def replaced_rows(self, device: ctypes.c_void_p, cause: int) -> int:
        """HBM rows replaced for one cause; the addresses are not asked for."""
        out = ctypes.c_uint(0)
        self._run("hlml_device_get_replaced_rows", device, ctypes.c_int(cause), ctypes.byref(out), None)
        return out.value

    def ports(self, device: ctypes.c_void_p) -> list[int]:
        """Numbers of the ports that lead to other cards of the node."""
        every, outside = roomy(ctypes.c_uint64 * _PORT_WORDS), roomy(ctypes.c_uint64 * _PORT_WORDS)
        self._run("hlml_get_mac_addr_info", device, ctypes.byref(every), ctypes.byref(outside))
        mask = sum((every[n] & ~outside[n]) << 64 * n for n in range(_PORT_WORDS))
        return [port for port in range(64 * _PORT_WORDS) if mask >> port & 1]

    def link_up(self, device: ctypes.c_void_p, port: int) -> bool:
        """Whether one port's link is up."""
        up = ctypes.c_bool(False)
        self._run("hlml_nic_get_link", device, ctypes.c_uint32(port), ctypes.byref(up))
        return up.value

    def _run(self, name: str, *arguments: Any) -> None:
        code = self.library.function(name)(*arguments)
        if code == _OK or (code == _ALREADY and name == "hlml_init"):
            return
        if code in _LACKING:
            raise NotSupported(f"{name}: code {code}")
        if code == _LOST:
            raise CardLost(f"{name}: AIP is lost (15)")
        if code == _NO_DRIVER:
            raise NotPresent(f"{name}: the habanalabs driver is not loaded (9)")
        if code == _TIMEOUT:
            raise DeadlineExceeded(f"{name}: the firmware did not answer in time (10)")
        if code == _PERMISSION:
            raise NotPermitted(f"{name}: not permitted (4): needs root or the group of /dev/accel")
        raise Broken(f"{name}: {_WORDS.get(code, 'code')} ({code})")
