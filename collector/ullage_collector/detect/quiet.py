"""One subject's quiet spells, from one look at a time: when a spell began, what it bridges and how it ends.

A spell is unbroken quiet on memory that is held. A short hole without knowledge and a short blip of little work do not
end it; silence longer than that ends it without saying that anybody worked. Pure, and never looks ahead.
Not here: what makes a look quiet (idle.py for a series), and whether a spell is a finding.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Look(Enum):
    """What one sample shows. BLIP: work so little that it may be noise. EMPTY: quiet, and nothing is held."""

    QUIET = "quiet"
    BLIP = "blip"
    BUSY = "busy"
    EMPTY = "empty"
    UNKNOWN = "unknown"


class End(Enum):
    """Why a spell ended. WORKED: somebody came back. LET_GO: the memory was given back. UNHEARD: nobody knows."""

    WORKED = "worked"
    LET_GO = "let_go"
    UNHEARD = "unheard"


@dataclass(frozen=True, slots=True)
class Bridges:
    """What a spell outlasts, in seconds between the quiet looks on both sides of it."""

    hole_seconds: float
    blip_seconds: float


@dataclass(slots=True)
class Quiet:
    """The spell a subject is in.

    began: epoch seconds of its first quiet look; None: it is in none. last: the newest quiet look of the spell.
    unseen: seconds of it that were bridged and of which nobody knows.
    """

    began: float | None = None
    last: float = 0.0
    unseen: float = 0.0

    def see(self, at: float, look: Look, bridges: Bridges, unseen: float = 0.0) -> End | None:
        """Take one look; times ascend. The end of the spell that this look ended, else None.

        A quiet look after too long a silence ends the old spell and begins a new one. unseen: seconds since the look before
        of which nobody knows, where looks are thinned out and their distance does not tell.
        """
        self.unseen = 0.0 if self.began is None else self.unseen + unseen
        if self.began is None:
            if look is Look.QUIET:
                self.began = self.last = at
            return None
        since = at - self.last
        if since > bridges.hole_seconds:
            self.began, self.last = (at, at) if look is Look.QUIET else (None, 0.0)
            self.unseen = 0.0
            return End.UNHEARD
        if look is Look.QUIET:
            self.last = at
            return None
        if look is Look.UNKNOWN or (look is Look.BLIP and since <= bridges.blip_seconds):
            return None
        self.began = None
        return End.LET_GO if look is Look.EMPTY else End.WORKED

    def age(self, at: float) -> float | None:
        """Seconds of the spell that were seen; None: in none. What is lost may hide work, so it makes no spell older."""
        return None if self.began is None else at - self.began - self.unseen
