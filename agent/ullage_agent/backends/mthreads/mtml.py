"""libmtml.so as we call it: opaque handles, return codes as our errors.

From mtml.h 2.2.0 as its public binding gives it (MooreThreads/mthreads-ml-py, read 2026-11-21). A library, a
device and its GPU, memory and VPU are pointers that must be given back. The serial number's function has its
length before its buffer, unlike every other. Not here: what the values mean to us (card.py).
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

from ullage_agent.backend import Call
from ullage_agent.backends.clibrary import CLibrary, roomy, text_of
from ullage_contract.errors import (
    Broken,
    CardLost,
    NotPermitted,
    NotPresent,
    NotSupported,
    ReadingError,
)

LIBRARIES: Final = (
    "libmtml.so",
    "libmtml.so.2",
    "/usr/lib/x86_64-linux-gnu/libmtml.so",
    "/usr/lib/aarch64-linux-gnu/libmtml.so",
    "/usr/lib/x86_64-linux-gnu/musa/libmtml.so",
    "/usr/lib/libmtml.so",
)
"""The bare name is what the maker's binding loads, then the versioned one of its newer images."""
MOST_CARDS: Final = 64
MOST_INSTANCES: Final = 64  # our choice: because no card is cut finer

DRIVER_FAILURE: Final = 2
NOT_SUPPORTED: Final = 4
_UNSUPPORTED: Final = frozenset({3, NOT_SUPPORTED, 7, 667})
"""INVALID_ARGUMENT, NOT_SUPPORTED, NOT_FOUND (no such fan, link or instance), FUNCTION_NOT_FOUND."""
_MESSAGES: Final = {
    1: "the Moore Threads driver is not loaded (modprobe mtgpu)",
    2: "the driver failed",
    5: "no permission: give the agent's user access to /dev/mtgpu* and /dev/dri/*",
    6: "our buffer is too small for its answer",
    8: "it has no memory left",
    9: "the driver is older than this library wants: update the driver",
    10: "the driver is newer than this library: update the library",
    11: "it timed out inside the driver",
    12: "it is busy",
    999: "unknown error",
}


class DriverFailure(Broken):
    """MTML_ERROR_DRIVER_FAILURE: the driver itself says it is broken."""


class PciInfo(ctypes.Structure):
    """MtmlPciInfo, 104 bytes."""

    _fields_ = (
        ("sbdf", ctypes.c_char * 32),
        ("segment", ctypes.c_uint),
        ("bus", ctypes.c_uint),
        ("device", ctypes.c_uint),
        ("device_id", ctypes.c_uint),
        ("subsystem_id", ctypes.c_uint),
        ("bus_width", ctypes.c_uint),
        ("max_speed", ctypes.c_float),
        ("now_speed", ctypes.c_float),
        ("max_width", ctypes.c_uint),
        ("now_width", ctypes.c_uint),
        ("max_generation", ctypes.c_uint),
        ("now_generation", ctypes.c_uint),
        ("reserved", ctypes.c_int * 6),
    )


class Property(ctypes.Structure):
    """MtmlDeviceProperty, 8 bytes of bit fields. mpc_type: 0 none, 1 parent, 2 instance."""

    _fields_ = (
        ("virtual_capable", ctypes.c_uint, 1),
        ("virtual_role", ctypes.c_uint, 3),
        ("mpc_capable", ctypes.c_uint, 1),
        ("mpc_type", ctypes.c_uint, 3),
        ("link_capable", ctypes.c_uint, 1),
        ("reserved", ctypes.c_uint, 23),
        ("reserved2", ctypes.c_uint),
    )


class RetiredPages(ctypes.Structure):
    """MtmlPageRetirementCount, 8 bytes."""

    _fields_ = (("single", ctypes.c_uint), ("double", ctypes.c_uint))


class LinkSpec(ctypes.Structure):
    """MtmlMtLinkSpec, 28 bytes."""

    _fields_ = (
        ("version", ctypes.c_uint),
        ("bandwidth", ctypes.c_uint),
        ("links", ctypes.c_uint),
        ("reserved", ctypes.c_uint * 4),
    )


class CodecUse(ctypes.Structure):
    """MtmlCodecUtil; per cent."""

    _fields_ = (("encode", ctypes.c_uint), ("decode", ctypes.c_uint), ("reserved", ctypes.c_uint * 4))


class MpcProfile(ctypes.Structure):
    """MtmlMpcProfile: a kind of instance; memory in bytes."""

    _fields_ = (
        ("profile_id", ctypes.c_uint),
        ("name", ctypes.c_char * 32),
        ("memory", ctypes.c_ulonglong),
        ("cores", ctypes.c_uint),
        ("reserved", ctypes.c_uint * 4),
    )


def failure(code: int, function: str) -> ReadingError:
    """What MTML's return code means to us."""
    text = f"{function}: {_MESSAGES.get(code, f'MTML error {code}')}"
    if code in _UNSUPPORTED:
        return NotSupported(f"{function}: not supported ({code})")
    if code in (1, 670):
        return NotPresent(text)
    if code == 5:
        return NotPermitted(text)
    if code == 669:
        return CardLost(f"{function}: the GPU is lost")
    return DriverFailure(text) if code == DRIVER_FAILURE else Broken(text)


class Mtml:
    """The library and its handle; opened by the first watched call."""

    def __init__(self, names: Sequence[str]) -> None:
        self.library = CLibrary("the Moore Threads library", names)
        self._handle: ctypes.c_void_p | None = None

    def open(self, call: Call) -> None:
        """Load and initialise, once. Raises NotPresent, NotPermitted or Broken saying what to do."""
        if self._handle is not None:
            return
        call("", "dlopen", self.library.open)
        handle = ctypes.c_void_p()
        call("", "mtmlLibraryInit", lambda: self.run("mtmlLibraryInit", ctypes.byref(handle)))
        self._handle = handle

    def close(self) -> None:
        """mtmlLibraryShutDown. Never raises."""
        handle, self._handle = self._handle, None
        if handle is not None:
            self.give_back("mtmlLibraryShutDown", handle)

    def run(self, name: str, *arguments: Any) -> None:
        """One function. Raises a ReadingError for every code but 0."""
        code = self.library.function(name)(*arguments)
        if code != 0:
            raise failure(code, name)

    def number(self, name: str, *handle_and_before: Any) -> int:
        """A function whose answer is one unsigned 32-bit number."""
        value = ctypes.c_uint(0xFFFFFFFF)
        self.run(name, *handle_and_before, ctypes.byref(value))
        return value.value

    def large(self, name: str, *handle_and_before: Any) -> int:
        """A function whose answer is one unsigned 64-bit number."""
        value = ctypes.c_ulonglong(0xFFFFFFFFFFFFFFFF)
        self.run(name, *handle_and_before, ctypes.byref(value))
        return value.value

    def text(
        self, name: str, handle: ctypes.c_void_p, size: int, *, length_first: bool = False
    ) -> str | None:
        """A function that fills a text of at most ``size`` bytes; None when it is empty or none."""
        buffer = roomy(ctypes.c_char * size)
        length = ctypes.c_uint(size)
        self.run(name, handle, *((length, buffer) if length_first else (buffer, length)))
        return text_of(bytes(buffer))

    def object_of(self, name: str, *arguments: Any) -> ctypes.c_void_p:
        """A function that makes a handle of another. Raises Broken for a null one."""
        made = ctypes.c_void_p()
        self.run(name, *arguments, ctypes.byref(made))
        if not made.value:
            raise Broken(f"{name}: it gave no handle")
        return made

    @contextmanager
    def borrowed(self, make: str, free: str, handle: ctypes.c_void_p) -> Iterator[ctypes.c_void_p]:
        """A sub-object for a while."""
        made = self.object_of(make, handle)
        try:
            yield made
        finally:
            self.give_back(free, made)

    def give_back(self, name: str, handle: ctypes.c_void_p) -> None:
        """Free a handle. Never raises."""
        try:
            self.run(name, handle)
        except ReadingError:
            pass

    def count(self) -> int:
        """Devices that enumerate. Raises a ReadingError."""
        found = self.number("mtmlLibraryCountDevice", self._handle)
        if found > MOST_CARDS:
            raise Broken(f"mtmlLibraryCountDevice counts {found} devices")
        return found

    def device(self, index: int) -> ctypes.c_void_p:
        """The handle of a device. Raises a ReadingError."""
        return self.object_of("mtmlLibraryInitDeviceByIndex", self._handle, ctypes.c_uint(index))

    def driver_version(self) -> str | None:
        """The kernel driver's, as the library reports it. Raises a ReadingError."""
        system = self.object_of("mtmlLibraryInitSystem", self._handle)
        try:
            return self.text("mtmlSystemGetDriverVersion", system, 80)
        finally:
            self.give_back("mtmlLibraryFreeSystem", system)
