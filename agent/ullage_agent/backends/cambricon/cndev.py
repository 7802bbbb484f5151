"""libcndev.so as we call it: versions tried, return codes as our errors. The structs are in layouts.py.

From the public header cndev.h (Cambricon/mlu-exporter, API up to CNDEV_VERSION_6, read 2026-11-21). Most structs
begin with the API version the caller speaks; a library that does not know it answers 3. So each function is asked
with the newest version it takes, found once. A handle is a 32-bit number.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import Any, Final, TypeVar

from ullage_agent.backend import Call
from ullage_agent.backends.cambricon.layouts import CardInfo
from ullage_agent.backends.clibrary import SPARE_BYTES, CLibrary, roomy
from ullage_contract.errors import (
    Broken,
    CardLost,
    NotPermitted,
    NotPresent,
    NotSupported,
    ReadingError,
)

S = TypeVar("S", bound=ctypes.Structure)

LIBRARIES: Final = (
    "libcndev.so",
    "/usr/local/neuware/lib64/libcndev.so",
    "/usr/lib/x86_64-linux-gnu/libcndev.so",
    "/usr/lib/aarch64-linux-gnu/libcndev.so",
    "/usr/lib64/libcndev.so",
    "/usr/lib/libcndev.so",
)
VERSIONS: Final = (6, 5, 4, 3, 2, 1)
MOST_CARDS: Final = 64
MOST_ROWS: Final = 1024  # our choice: because a count beyond it is garbage, and it bounds what we allocate

UNSUPPORTED_API_VERSION: Final = 3
UNINITIALIZED: Final = 4
INVALID_DEVICE: Final = 6
INSUFFICIENT_SPACE: Final = 9
NO_DEVICES: Final = 12
TIMEOUT: Final = 17
IN_PROBLEM: Final = 18
_UNSUPPORTED: Final = frozenset({2, UNSUPPORTED_API_VERSION, 5, 10})
"""LOW_DRIVER_VERSION, UNSUPPORTED_API_VERSION, INVALID_ARGUMENT, NOT_SUPPORTED: asking again is useless."""
_MESSAGES: Final = {
    1: "the Cambricon driver is not loaded (modprobe cambricon-drv)",
    2: "the driver is older than this library wants",
    4: "the library is not initialised",
    6: "there is no such device",
    13: "no permission: give the agent's user access to /dev/cambricon_dev* and /dev/cambricon_ctl",
    14: "not found",
    15: "it is in use",
    17: "it timed out inside the driver",
    18: "the card is in problem",
}


class InProblem(Broken):
    """CNDEV_ERROR_IN_PROBLEM: the card is listed and does not work."""


class NoDevices(Broken):
    """CNDEV_ERROR_NO_DEVICES."""


def failure(code: int, function: str) -> ReadingError:
    """What CNDev's return code means to us."""
    text = f"{function}: {_MESSAGES.get(code, f'CNDev error {code}')}"
    if code in _UNSUPPORTED:
        return NotSupported(f"{function}: not supported ({code})")
    if code == 1:
        return NotPresent(text)
    if code == 13:
        return NotPermitted(text)
    if code == INVALID_DEVICE:
        return CardLost(text)
    if code == IN_PROBLEM:
        return InProblem(text)
    if code == NO_DEVICES:
        return NoDevices(text)
    return Broken(text)


class Cndev:
    """The library; opened by the first watched call."""

    def __init__(self, names: Sequence[str]) -> None:
        self.library = CLibrary("Cambricon's CNDev library", names)
        self._open = False
        self._spoken: dict[str, int] = {}

    def open(self, call: Call) -> None:
        """Load and initialise, once. Raises NotPresent, NotPermitted or Broken saying what to do."""
        if self._open:
            return
        call("", "dlopen", self.library.open)
        call("", "cndevInit", self._init)
        self._open = True

    def close(self) -> None:
        """cndevRelease. Never raises."""
        if self._open:
            self._open = False
            try:
                self.run("cndevRelease")
            except ReadingError:
                pass

    def run(self, name: str, *arguments: Any) -> None:
        """One function as it is. Raises a ReadingError for every code but 0."""
        code = self.library.function(name)(*arguments)
        if code != 0:
            if code == UNINITIALIZED:
                self._open = False
            raise failure(code, name)

    def ask(self, name: str, kind: type[S], *behind: int, **given: int) -> S:
        """A function that fills one struct, asked with the newest version it takes.

        behind: what stands behind the struct: a handle, then a port. given: fields that are asked with.
        Raises NotSupported when no version is taken.
        """
        function = self.library.function(name)
        arguments = [ctypes.c_int(value) for value in behind]
        versioned = kind._fields_[0][0] == "version"
        known = self._spoken.get(name)
        code = UNSUPPORTED_API_VERSION
        for version in (known,) if known else VERSIONS if versioned else (0,):
            struct = roomy(kind)
            for field, value in ({"version": version, **given} if versioned else given).items():
                setattr(struct, field, value)
            code = function(ctypes.byref(struct), *arguments)
            if code == 0:
                if versioned and version:
                    self._spoken[name] = version
                return struct
            if code != UNSUPPORTED_API_VERSION:
                break
        if code == UNINITIALIZED:
            self._open = False
        raise failure(code, name)

    def rows(self, name: str, kind: type[S], device: int) -> list[S]:
        """A function that fills an array: it tells how many there are when the room is too small."""
        function = self.library.function(name)
        room, code = 16, INSUFFICIENT_SPACE
        for version in VERSIONS:
            for _ in range(3):  # our choice: because between two calls few processes begin
                size = ctypes.sizeof(kind)
                buffer = ctypes.create_string_buffer(size * room + SPARE_BYTES)
                rows = (kind * room).from_buffer(buffer)
                rows[0].version = version
                count = ctypes.c_uint(room)
                code = function(ctypes.byref(count), rows, ctypes.c_int(device))
                if code != INSUFFICIENT_SPACE or count.value > MOST_ROWS:
                    break
                room = max(count.value, room * 2)
            if code != UNSUPPORTED_API_VERSION:
                break
        if code != 0:
            raise failure(code, name)
        if count.value > room:
            raise Broken(f"{name}: {count.value} rows")
        return list(rows[: count.value])

    def number(self, name: str, device: int) -> int:
        """A function that answers with a number, not a code."""
        return int(self.library.function(name)(ctypes.c_int(device)))

    def text(self, name: str, device: int) -> bytes | None:
        """A function that answers with a text."""
        found = self.library.function(name, ctypes.c_int, restype=ctypes.c_char_p)(device)
        return found if isinstance(found, bytes) else None

    def count(self) -> int:
        """Cards that enumerate. Raises a ReadingError; 0 where the library says there are none."""
        try:
            found = int(self.ask("cndevGetDeviceCount", CardInfo).number)
        except NoDevices:
            return 0
        if found > MOST_CARDS:
            raise Broken(f"cndevGetDeviceCount counts {found} cards")
        return found

    def handle(self, index: int) -> int:
        """The handle of a card. Raises a ReadingError."""
        handle = ctypes.c_int(-1)
        self.run("cndevGetDeviceHandleByIndex", ctypes.c_int(index), ctypes.byref(handle))
        return handle.value

    def _init(self) -> None:
        code = self.library.function("cndevInit")(ctypes.c_int(0))
        if code not in (0, NO_DEVICES):
            raise failure(code, "cndevInit")
