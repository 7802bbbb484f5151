"""libhydmi.so: the virtual devices (vDCU) a card was divided into. From dmi_virtual.h (read 2026-11-21).

Not called: whatever makes, changes or ends a vDCU.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from ullage_agent.backends.clibrary import CLibrary, roomy
from ullage_contract.errors import Broken, NotPermitted, NotPresent, NotSupported

NAMES: Final = (
    "libhydmi.so.1",
    "libhydmi.so",
    "/opt/hyhal/lib/libhydmi.so",
    "/opt/hyhal/lib/libhydmi.so.1.5",
    "/opt/dtk/.hyhal/lib/libhydmi.so",
)
PARTS_OF_A_CARD: Final = 4
"""A card is divided into at most four, and numbers may have gaps (dcu-dcgm asks for cards x 4)."""

# dmiStatus
_OPEN_FAILED, _NO_NODE, _NO_SUCH_PART = 3, 5, 15
_LACKING: Final = frozenset({6, 10, 14})
_PERMISSION: Final = 19


class DeviceInfo(ctypes.Structure):
    """dmiDeviceInfo."""

    _fields_ = [
        ("name", ctypes.c_char * 256),
        ("compute_unit_count", ctypes.c_int),
        ("global_mem_size", ctypes.c_size_t),
        ("usage_mem_size", ctypes.c_size_t),
        ("container_id", ctypes.c_uint64),
        ("device_id", ctypes.c_int),
    ]


@dataclass(frozen=True, slots=True)
class Part:
    """One vDCU. card: index of the card it is part of. Units and sizes are the vDCU's own."""

    number: int
    card: int
    compute_units: int
    memory_bytes: int
    used_bytes: int


class Hydmi:
    """The library, where there is one."""

    def __init__(self, names: Sequence[str] = NAMES) -> None:
        self.library = CLibrary("Hygon's libhydmi", names)

    def open(self) -> None:
        """Load it, once. Raises NotPresent where the driver has no virtualisation."""
        self.library.open()

    def compute_units(self, card: int) -> int | None:
        """Of the whole card; None when it does not say."""
        units = int(self._info("dmiGetDeviceInfo", card).compute_unit_count)
        return units if 0 < units < 4096 else None

    def parts(self, cards: int) -> list[Part]:
        """Every vDCU that is made now."""
        made = ctypes.c_int(0)
        self._run("dmiGetVDeviceCount", ctypes.byref(made))
        found: list[Part] = []
        for number in range(cards * PARTS_OF_A_CARD):
            if len(found) >= made.value:
                break
            try:
                info = self._info("dmiGetVDeviceInfo", number)
            except NotPresent:
                continue
            found.append(
                Part(
                    number=number,
                    card=int(info.device_id),
                    compute_units=int(info.compute_unit_count),
                    memory_bytes=int(info.global_mem_size),
                    used_bytes=int(info.usage_mem_size),
                )
            )
        return found

    def busy(self, part: int) -> int:
        """Per cent."""
        out = ctypes.c_int(-1)
        self._run("dmiGetVDevBusyPercent", ctypes.c_int(part), ctypes.byref(out))
        return out.value

    def _info(self, name: str, number: int) -> Any:
        out = roomy(DeviceInfo)
        self._run(name, ctypes.c_int(number), ctypes.byref(out))
        return out

    def _run(self, name: str, *arguments: Any) -> None:
        status = self.library.function(name)(*arguments)
        if status == 0:
            return
        if status in _LACKING:
            raise NotSupported(f"{name}: status {status}")
        if status in (_NO_NODE, _NO_SUCH_PART):
            raise NotPresent(f"{name}: there is none (status {status})")
        if status in (_OPEN_FAILED, _PERMISSION):
            raise NotPermitted(f"{name}: needs /dev/mkfd (status {status})")
        raise Broken(f"{name}: status {status}")
