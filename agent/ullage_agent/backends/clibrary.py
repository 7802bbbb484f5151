"""A maker's C library through ctypes: loaded privately, symbol by symbol, with room behind every struct.

Loaded RTLD_LOCAL and RTLD_NOW, so that two makers' equal names (Iluvatar's ixml exports nvml*) never meet.
A symbol that a release lacks is one metric less, never an error of the whole. Not here: what codes mean
(each maker's own) and watching for hangs (backend.Call).
"""

from __future__ import annotations

import ctypes
import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, TypeVar, cast

from ullage_contract.errors import NotPermitted, NotPresent, NotSupported

log = logging.getLogger(__name__)

SPARE_BYTES: Final = 256
"""Zeroed room behind every output struct. Our choice: because makers lengthen structs between releases by
less (the longest growth seen is 33 x 4 bytes, rsmi_frequencies_t)."""

C = TypeVar("C", bound="ctypes.Structure | ctypes.Array[Any] | ctypes.Union")


class CLibrary:
    """One shared library. Nothing is loaded before ``open``.

    title: the library as people call it, for messages. names: sonames or absolute paths, tried in order.
    """

    def __init__(self, title: str, names: Sequence[str]) -> None:
        self.title = title
        self._names = tuple(names)
        self._library: ctypes.CDLL | None = None
        self._functions: dict[str, Any] = {}
        self._missing: set[str] = set()
        self.path: str | None = None

    def open(self) -> None:
        """Load it, once. Raises NotPresent naming what was tried, NotPermitted when it may not be read."""
        if self._library is not None:
            return
        refused: list[str] = []
        for name in self._names:
            if "/" in name and not Path(name).exists():
                continue
            try:
                self._library = ctypes.CDLL(name, mode=os.RTLD_NOW | os.RTLD_LOCAL)
                self.path = name
                return
            except OSError as e:
                refused.append(str(e)[:200])
        if any("ermission denied" in text for text in refused):
            raise NotPermitted(f"{self.title} may not be read by this user: {'; '.join(refused)}")
        tried = ", ".join(self._names)
        why = f" ({'; '.join(refused)})" if refused else ""
        raise NotPresent(f"{self.title} is not found; tried {tried}{why}: install the maker's driver package")

    def function(self, name: str, *argtypes: Any, restype: Any = ctypes.c_int) -> Any:
        """The C function, ready to call. Raises NotSupported when this release lacks it, told once in the log: a
        misspelt name looks the same. What is optional is asked for with ``has`` first."""
        found = self._functions.get(name)
        if found is not None:
            return found
        if self._library is None:
            raise NotPresent(f"{self.title} is not open")
        try:
            found = getattr(self._library, name)
        except AttributeError as e:
            if name not in self._missing:
                self._missing.add(name)
                log.warning("%s %s has no %s: what it gives is unsupported", self.title, self.path, name)
            raise NotSupported(f"{self.title} {self.path} has no {name}") from e
        found.argtypes = list(argtypes)
        found.restype = restype
        self._functions[name] = found
        return found

    def has(self, name: str) -> bool:
        """Whether this release has the symbol."""
        return self._library is not None and hasattr(self._library, name)


def roomy(kind: type[C]) -> C:
    """A zeroed struct, array or union with SPARE_BYTES of zeroed room behind it."""
    buffer = ctypes.create_string_buffer(ctypes.sizeof(kind) + SPARE_BYTES)
    return cast(C, kind.from_buffer(buffer))


def text_of(raw: bytes, *, limit: int = 200) -> str | None:
    """A C string's text up to its NUL; None when it is empty or no printable text."""
    text = raw.split(b"\0", 1)[0].decode("utf-8", "replace").strip()
    if not text or not text.isprintable() or "\ufffd" in text:
        return None
    return text[:limit]
