"""The mark of the call in progress: a page of memory shared by a child and its parent.

The child writes (card, call, since when) before a library call and clears it after; when the child
hangs or dies in the call, the parent reads who it was. No lock: one writer, and a sequence number
that is odd while a mark is being written. Costs the child about a microsecond a call.
"""

from __future__ import annotations

import mmap
import os
import struct
from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic
from typing import Final

SIZE: Final = mmap.PAGESIZE
_HEAD: Final = struct.Struct(
    "<IId"
)  # sequence, active, since (CLOCK_MONOTONIC, one clock for both processes)
_TEXT: Final = struct.Struct("<HH")  # lengths of card and call in UTF-8 bytes
_TEXT_AT: Final = _HEAD.size
_CARD_MOST: Final = 400  # our choice: because a card_id has at most 200 characters, most of them ASCII
_CALL_MOST: Final = 200


@dataclass(frozen=True, slots=True)
class Mark:
    """One call in progress. since: time.monotonic() seconds when it began; sequence tells it from the next."""

    card: str
    call: str
    since: float
    sequence: int


def create() -> int:
    """A file descriptor of one zeroed page, to be inherited by the child. The caller closes it."""
    fd = os.memfd_create("ullage-mark", os.MFD_CLOEXEC)
    os.ftruncate(fd, SIZE)
    return fd


class MarkWriter:
    """The child's side."""

    def __init__(self, fd: int, now: Callable[[], float] = monotonic) -> None:
        self._page = mmap.mmap(fd, SIZE, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE)
        self._now = now
        self._sequence = 0
        self._packed: dict[tuple[str, str], bytes] = {}
        self._outer: list[tuple[str, str]] = []

    def begin(self, card: str, call: str) -> None:
        """Mark (card, call) as running. Calls may nest; the innermost is shown."""
        self._outer.append((card, call))
        self._write(card, call)

    def end(self) -> None:
        """The innermost call returned."""
        self._outer.pop()
        if self._outer:
            self._write(*self._outer[-1])
            return
        self._sequence += 2
        _HEAD.pack_into(self._page, 0, self._sequence & 0xFFFFFFFF, 0, 0.0)

    def _write(self, card: str, call: str) -> None:
        packed = self._packed.get((card, call))
        if packed is None:
            card_bytes = card.encode("utf-8", "replace")[:_CARD_MOST]
            call_bytes = call.encode("utf-8", "replace")[:_CALL_MOST]
            packed = _TEXT.pack(len(card_bytes), len(call_bytes)) + card_bytes + call_bytes
            if len(self._packed) < 20_000:  # our choice: because 64 cards of 100 calls are a third of it
                self._packed[card, call] = packed
        _HEAD.pack_into(self._page, 0, (self._sequence + 1) & 0xFFFFFFFF, 0, 0.0)
        self._page[_TEXT_AT : _TEXT_AT + len(packed)] = packed
        self._sequence += 2
        _HEAD.pack_into(self._page, 0, self._sequence & 0xFFFFFFFF, 1, self._now())


class MarkReader:
    """The parent's side. Never blocks and never raises for what the child wrote."""

    def __init__(self, fd: int) -> None:
        self._page = mmap.mmap(fd, SIZE, mmap.MAP_SHARED, mmap.PROT_READ)

    def sequence(self) -> int:
        """Grows with every mark: the child is making progress while it changes."""
        return int(_HEAD.unpack_from(self._page, 0)[0])

    def read(self) -> Mark | None:
        """The call in progress, or None between calls."""
        for _ in range(8):
            sequence, active, since = _HEAD.unpack_from(self._page, 0)
            if sequence & 1:
                continue
            if not active:
                return None
            lengths = _TEXT.unpack_from(self._page, _TEXT_AT)
            card_length, call_length = min(lengths[0], _CARD_MOST), min(lengths[1], _CALL_MOST)
            at = _TEXT_AT + _TEXT.size
            card = self._page[at : at + card_length]
            call = self._page[at + card_length : at + card_length + call_length]
            if _HEAD.unpack_from(self._page, 0)[0] == sequence:
                return Mark(card.decode("utf-8", "replace"), call.decode("utf-8", "replace"), since, sequence)
        return None

    def close(self) -> None:
        self._page.close()
