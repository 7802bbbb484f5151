"""XIDs: the driver's error events, taken from CNDev's queue without waiting.

A card is registered when it is first seen; CNDev then keeps its events until they are taken. Not here: what an
XID means; Cambricon publishes no list.
"""

from __future__ import annotations

import ctypes
import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final

from ullage_agent.backend import Call
from ullage_agent.backends.cambricon.cndev import TIMEOUT, VERSIONS, Cndev, failure
from ullage_agent.backends.cambricon.layouts import EventData
from ullage_agent.backends.clibrary import roomy
from ullage_contract.errors import NotSupported, ReadingError

log = logging.getLogger(__name__)

XID_ERROR: Final = 1
WAIT_MILLISECONDS: Final = 1  # our choice: because 0 is not documented as "do not wait"
MOST_AT_ONCE: Final = 100  # our choice: because a storm must not eat the tick; the rest comes with the next


@dataclass(frozen=True, slots=True)
class Xid:
    """device: the handle. timestamp: the driver's, in its own unit (not documented)."""

    device: int
    code: int
    timestamp: int


class XidQueue:
    """One event handle for all cards."""

    def __init__(self, library: Cndev) -> None:
        self._library = library
        self._handle: ctypes.c_void_p | None = None
        self._registered: set[int] = set()
        self._off = False

    def since(self, call: Call, devices: Iterable[int]) -> Iterator[Xid]:
        """What arrived since the last call, at most MOST_AT_ONCE. Never raises; a library without events gives none."""
        if self._off or self._library.library.path is None:
            return
        try:
            self._register(call, devices)
            for _ in range(MOST_AT_ONCE):
                xid = call("", "cndevEventWait", self._next)
                if xid is None:
                    return
                yield xid
        except NotSupported as e:
            self._off = True
            log.info("no XIDs from this library: %s", e)
        except ReadingError as e:
            log.debug("XIDs could not be read: %s", e)

    def close(self) -> None:
        """Give the handle back. Never raises."""
        handle, self._handle = self._handle, None
        if handle is not None:
            try:
                self._run("cndevEventHandleDestroy", handle)
            except ReadingError:
                pass

    def _register(self, call: Call, devices: Iterable[int]) -> None:
        fresh = [device for device in devices if device not in self._registered]
        if self._handle is None:
            handle = ctypes.c_void_p()
            call(
                "",
                "cndevEventHandleCreate",
                lambda: self._run("cndevEventHandleCreate", ctypes.byref(handle)),
            )
            self._handle = handle
        for device in fresh:
            self._registered.add(device)
            arguments = (self._handle, ctypes.c_ulonglong(XID_ERROR), ctypes.c_int(device))
            call("", "cndevRegisterEvents", lambda given=arguments: self._run("cndevRegisterEvents", *given))  # type: ignore[misc]

    def _next(self) -> Xid | None:
        wait = self._library.library.function("cndevEventWait")
        for version in VERSIONS:
            data = roomy(EventData)
            data.version = version
            code = wait(self._handle, ctypes.byref(data), ctypes.c_int(WAIT_MILLISECONDS))
            if code == 0:
                return Xid(data.device, data.data, data.timestamp) if data.type & XID_ERROR else None
            if code == TIMEOUT:
                return None
            if code != 3:
                break
        raise failure(code, "cndevEventWait")

    def _run(self, name: str, *arguments: Any) -> None:
        self._library.run(name, *arguments)
