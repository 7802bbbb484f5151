"""What so many cards of a node or rack show at once that it is the room's fault, not theirs: nothing is isolated for it.

Which rules, and what share, is the rules' data (``share``, docs/faults.md). A rack nobody knows is no rack. Guarded by
the book's lock; rates run on the monotonic clock. Not here: the same rule on several nodes at once (breaker.py).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Final

from ullage_collector.isolate.book import Book
from ullage_collector.isolate.surroundings import Place, Surroundings

if TYPE_CHECKING:
    from ullage_collector.detect.fault_rule import Share

MOST_SEEN: Final = 10_000
"""our choice: because a rule that speaks so often within minutes speaks of the whole site."""


class Facility:
    """shares: by the rule's name. What was decided before this process began counts for as long as it is young."""

    def __init__(self, book: Book, surroundings: Surroundings, shares: Mapping[str, Share]) -> None:
        self._surroundings = surroundings
        self._clock = book.clock
        self._shares = dict(shares)
        self._seen: dict[str, deque[tuple[float, Place, str]]] = {}
        wall, now = self._clock.wall(), self._clock.monotonic()
        for intent in book.live():
            if intent.rule in self._shares and intent.family == "card":
                age = max(0.0, wall - intent.decided_at)
                self._of(intent.rule).append((now - age, intent.place, intent.subject))

    def note(self, rule: str, place: Place, card: str) -> str | None:
        """A rule found something on a card just now; what it is of the room with this, None: it is the card's."""
        if rule not in self._shares:
            return None
        self._of(rule).append((self._clock.monotonic(), place, card))
        return self.holds(rule, place)

    def holds(self, rule: str, place: Place) -> str | None:
        """Why nothing is isolated for the rule on that node by itself; None: it is the cards' own."""
        share = self._shares.get(rule)
        if share is None:
            return None
        since = self._clock.monotonic() - share.within_us / 1e6
        shown = {(where, card) for at, where, card in self._of(rule) if at > since}
        for name, places in self._around(share, place):
            cards = sum(len(self._surroundings.fleet().cards.get(where, ())) for where in places)
            bad = len({card for where, card in shown if where in places})
            if cards and bad >= share.cards and bad >= share.ratio * cards:
                return f"{rule} on {bad} of {cards} cards of {name}: look at its cooling and power, not at the cards"
        return None

    def _around(self, share: Share, place: Place) -> Iterator[tuple[str, set[Place]]]:
        """The node and its racks, by name, with the nodes in them."""
        if "node" in share.of:
            yield place[1], {place}
        if "rack" in share.of:
            domains = self._surroundings.fleet().domains
            for domain in sorted(domains.get(place, ())):
                if domain.startswith("rack:"):
                    there = {p for p, found in domains.items() if p[0] == place[0] and domain in found}
                    yield f"rack {domain.partition(':')[2]}", there

    def _of(self, rule: str) -> deque[tuple[float, Place, str]]:
        return self._seen.setdefault(rule, deque(maxlen=MOST_SEEN))
