"""NVML fields in one call a card: the array is kept, read by ``struct`` and never by attribute.

pynvml builds a new array type a call; keeping one makes a reading three times cheaper. The value is a
union: it is read by the type the library wrote, and the array is wiped before each call so that no
byte of the reading before can show through. A field has a return code of its own: the call succeeds
even when every field in it failed.
"""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Mapping, Sequence
from typing import Any, Final

from ullage_agent.backend import Call
from ullage_agent.backends.nvidia.nvml_library import GPU_IS_LOST, SUCCESS, Library, failure
from ullage_contract.errors import CardLost, NotSupported, ReadingError

ALL_LINKS: Final = 0xFFFFFFFF
"""scopeId UINT_MAX: NVLink counters summed by the driver over all links."""

Field = tuple[int, int]
"""(field id, scope id)."""

_NEVER_WRITTEN: Final = 999
_ENTRY: Final = "24xIIQ"  # nvmlFieldValue_t: id, scope, timestamp, latency; type, return, value


class FieldBatch:
    """Some fields of one card. ``read`` gives each field's number, or why it has none."""

    def __init__(self, library: Library, handle: Any, fields: Sequence[Field]) -> None:
        self._library = library
        self._fields = tuple(dict.fromkeys(fields))
        nvml = library.nvml
        self._array = (nvml.c_nvmlFieldValue_t * len(self._fields))()
        for entry, (field, scope) in zip(self._array, self._fields, strict=True):
            entry.fieldId, entry.scopeId, entry.nvmlReturn = field, scope, _NEVER_WRITTEN
        self._size = ctypes.sizeof(self._array)
        self._blank = bytes(self._array)
        self._unpack = struct.Struct("=" + _ENTRY * len(self._fields)).unpack_from
        self._handle = handle
        self._function: Any = None

    def __len__(self) -> int:
        return len(self._fields)

    def read(self, call: Call, card: str) -> Mapping[Field, float | int | ReadingError]:
        """Raises CardLost, or ReadingError when the whole call failed."""
        if not self._fields:
            return {}
        self._library.ask(call, card, "nvmlDeviceGetFieldValues", self._run)
        words = self._unpack(self._array)
        found: dict[Field, float | int | ReadingError] = {}
        for position, field in enumerate(self._fields):
            kind, code, raw = words[position * 3 : position * 3 + 3]
            if code == SUCCESS:
                found[field] = _number(kind, raw)
            elif code == GPU_IS_LOST:
                raise CardLost(f"field {field[0]}: the GPU is lost")
            else:
                found[field] = failure(code, f"field {field[0]}")
        return found

    def _run(self) -> None:
        if self._function is None:
            self._function = self._library.nvml._nvmlGetFunctionPointer("nvmlDeviceGetFieldValues")
        ctypes.memmove(self._array, self._blank, self._size)
        code = self._function(self._handle, len(self._fields), self._array)
        if code != SUCCESS:
            raise self._library.nvml.NVMLError(code)


def _number(kind: int, raw: int) -> float | int | ReadingError:
    """The union's value by nvmlValueType_t; all bits set means "not available"."""
    if kind == 0:
        value: float = struct.unpack("<d", struct.pack("<Q", raw))[0]
        return value
    if kind == 1:
        low = raw & 0xFFFFFFFF
        return low if low != 0xFFFFFFFF else NotSupported("the value is all ones: not available")
    if kind in (2, 3):
        return raw if raw != 0xFFFFFFFFFFFFFFFF else NotSupported("the value is all ones: not available")
    if kind == 4:
        return raw - (1 << 64) if raw >> 63 else raw
    if kind == 5:
        low = raw & 0xFFFFFFFF
        return low - (1 << 32) if low >> 31 else low
    if kind == 6:
        return raw & 0xFFFF
    return NotSupported(f"value type {kind} is none that nvml.h names")
