"""Which cards of one maker there have been, remembered across its children.

A reader that is started anew (after a hang, a crash) cannot know what its predecessor had seen: a card
it does not list would silently vanish, and old troubles would be told again. So the parent remembers.
Not here: reading anything, and judging a card beyond *listed* and *lost*.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from ullage_agent.backend import Reading
from ullage_agent.children.skiplist import SkipList
from ullage_contract.event import Event
from ullage_contract.sample import Family

REPEATED_AFTER_SECONDS: Final = 3600.0  # our choice: a trouble that lasts may be told again each hour
MOST_TOLD: Final = 1000  # our choice: a bound, because a mad library may tell any number of troubles

_WHAT_A_LOST_CARD_SAYS: Final = {"health": "lost", "health_detail": "not listed any more"}


class RollCall:
    """All instants are the injected clock's monotonic seconds."""

    def __init__(self) -> None:
        self._known: set[str] = set()
        self._named: set[str] = set()
        self._absent: set[str] = set()
        self._told_lost: set[str] = set()
        self._told: dict[tuple[str, str, str | None, str], float] = {}

    def name(self, card: str) -> None:
        """A card said its name: from now on it is a subject."""
        self._named.add(card)

    def named(self, card: str) -> bool:
        """Whether ``card`` is a card_id; before a card says it, a call is marked by some place."""
        return card in self._named

    def learn(self, listed: set[str], skip: SkipList, *, fresh: bool) -> tuple[list[str], list[str]]:
        """The reader has listed its cards. (newly lost, returned), for the events.

        fresh: it is the first list of this child; a card missing then is lost until it is listed
        again. Later lists are the reader's own judgement. A card that is skipped as a whole cannot
        even say its name and counts as there.
        """
        skipped = {card for card in self._known if skip.names(card)}
        lost: list[str] = []
        if fresh:
            self._absent |= self._known - listed - skipped
            lost = sorted(self._absent - self._told_lost)
        back = sorted(self._absent & listed)
        self._absent -= listed
        self._known = listed | self._absent | skipped
        return lost, back

    def missing(
        self, delivered: set[tuple[Family, str]], skip: SkipList, failed: str | None
    ) -> Iterator[Reading]:
        """What to say of known cards that gave no row in this tick, where the reason is ours.

        failed: the reason word when the maker as a whole failed, else None. A card that is gone in
        the reader's own eyes is the reader's to report.
        """
        for card in sorted(self._known):
            if (Family.CARD, card) in delivered:
                continue
            if card in self._absent:
                yield Reading(Family.CARD, card, _WHAT_A_LOST_CARD_SAYS)
            elif (reason := skip.names(card) or failed) is not None:
                yield Reading(Family.CARD, card, {}, {"health": reason})

    def was_told(self, event: Event, now: float) -> bool:
        """Whether an earlier child told this within the hour.

        A fresh reader that finds a card it cannot name tells it of the node; which one it is, we know.
        """
        if event.kind == "card_lost" and event.family is Family.NODE and self._absent:
            return True
        told = self._told.get(_same(event))
        return told is not None and now - told < REPEATED_AFTER_SECONDS

    def tell(self, event: Event, now: float) -> None:
        """``event`` goes out."""
        if event.kind == "card_lost":
            self._told_lost.add(event.subject)
        elif event.kind == "card_back":
            self._told_lost.discard(event.subject)
        self._told[_same(event)] = now
        if len(self._told) > MOST_TOLD:
            self._told = {k: at for k, at in self._told.items() if now - at < REPEATED_AFTER_SECONDS}
            if len(self._told) > MOST_TOLD:
                self._told.clear()


def _same(event: Event) -> tuple[str, str, str | None, str]:
    return event.kind, event.subject, event.code, event.message
