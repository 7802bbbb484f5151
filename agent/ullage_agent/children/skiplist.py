"""Calls that hung or crashed a child, and how long the next children leave them alone.

An entry is (card, call); ``*`` stands for every card or every call. It is skipped for a while, then
tried once; when it hangs again the while doubles, when it returns the entry is forgotten.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from ullage_contract.errors import DeadlineExceeded

FIRST_SECONDS: Final = (
    60.0  # our choice: because a driver reset takes tens of seconds, and a try costs a child
)
LONGEST_SECONDS: Final = 3600.0  # our choice: because an operator who repaired a card waits at most that long
WIDEN_AT: Final = 3  # our choice: because each further hung call of a sick card costs all others a deadline


@dataclass(slots=True)
class Entry:
    """reason: ``deadline`` or ``broken`` (it crashed). pinned: its child could not be killed, so never try again yet."""

    card: str
    call: str
    reason: str
    times: int
    until: float
    pinned: bool = False


class SkipList:
    """All instants are the injected clock's monotonic seconds."""

    def __init__(self) -> None:
        self._entries: dict[tuple[str, str], Entry] = {}

    def note(self, card: str, call: str, now: float, reason: str = DeadlineExceeded.reason) -> Entry:
        """(card, call) hung, or crashed its child. Three calls of one card, or one call on three cards,
        widen to the whole card or the whole call: a lost card hangs in all of them."""
        entry = self._put(card, call, now, reason)
        same_card = [e for e in self._active(now) if e.card == card and "*" not in (e.card, e.call)]
        same_call = [e for e in self._active(now) if e.call == call and "*" not in (e.card, e.call)]
        if card and len(same_card) >= WIDEN_AT and (card, "*") not in self._entries:
            self._widen(same_card, self._put(card, "*", now, reason))
        elif len(same_call) >= WIDEN_AT and ("*", call) not in self._entries:
            self._widen(same_call, self._put("*", call, now, reason))
        return entry

    def returned(self, card: str, call: str) -> bool:
        """It was tried again and came back. True when it was on the list."""
        return self._entries.pop((card, call), None) is not None

    def pin(self, card: str, call: str) -> None:
        """Its child cannot be killed: trying again would only make a second one."""
        if entry := self._entries.get((card, call)):
            entry.pinned = True

    def unpin(self) -> None:
        """No unkillable child is left."""
        for entry in self._entries.values():
            entry.pinned = False

    def skipped(self, now: float) -> list[list[str]]:
        """[card, call, reason] of everything to leave alone now."""
        return [[e.card, e.call, e.reason] for e in self._active(now)]

    def watched(self, now: float) -> list[list[str]]:
        """[card, call] of everything that may be tried again: tell me when it returns."""
        return [[e.card, e.call] for e in self._entries.values() if not e.pinned and e.until <= now]

    def names(self, card: str) -> str | None:
        """The reason when any call of this card is on the list, else None."""
        for entry in self._entries.values():
            if entry.card == card:
                return entry.reason
        return None

    def __len__(self) -> int:
        return len(self._entries)

    def _active(self, now: float) -> list[Entry]:
        return [e for e in self._entries.values() if e.pinned or e.until > now]

    def _put(self, card: str, call: str, now: float, reason: str) -> Entry:
        entry = self._entries.get((card, call))
        times = entry.times + 1 if entry else 1
        wait = min(FIRST_SECONDS * 2.0 ** (times - 1), LONGEST_SECONDS)
        self._entries[card, call] = fresh = Entry(card, call, reason, times, now + wait)
        return fresh

    def _widen(self, entries: list[Entry], whole: Entry) -> None:
        for entry in entries:
            entry.until = max(entry.until, whole.until)
