"""Pages: telling a person about an intent, written to the audit first, the same kind once in a while."""

from __future__ import annotations

import logging
from typing import Final, Protocol

from ullage_collector.isolate.book import Book, Change
from ullage_collector.isolate.intent import Intent

log = logging.getLogger(__name__)

MOST_KINDS: Final = (
    10_000  # our choice: because more kinds in a window are a storm, and pages about it are due again
)


class Pager(Protocol):
    """Who tells a person. Never raises, never blocks."""

    def page(self, subject: str, text: str, incident_id: int | None) -> None: ...


class LogPager:
    """Pages are warnings of the log, where no other way is set up."""

    def page(self, subject: str, text: str, incident_id: int | None) -> None:
        log.warning("page: %s: %s (incident %s)", subject, text, incident_id)


class Pages:
    """Pages wait for the commit of what they tell of. quiet_seconds: how long a kind is told only once."""

    def __init__(self, book: Book, quiet_seconds: float, pager: Pager | None = None) -> None:
        self._book = book
        self._quiet_seconds = quiet_seconds
        self._pager = pager or LogPager()
        self._waiting: list[tuple[str, str, int | None]] = []
        self._told_at: dict[str, float] = {}

    def tell(self, intent: Intent, text: str, kind: str) -> None:
        """Tell of an intent, in a transaction of its own."""
        with self._book.change() as change:
            self.note(change, intent, text, kind)
        self.send()

    def note(self, change: Change, intent: Intent, text: str, kind: str) -> None:
        """Tell of an intent once its change is committed and ``send`` is called; not again within the quiet time."""
        now = self._book.clock.monotonic()
        if now - self._told_at.get(kind, float("-inf")) < self._quiet_seconds:
            return
        if len(self._told_at) > MOST_KINDS:
            self._told_at.clear()
        self._told_at[kind] = now
        change.audit(intent, "page", text)
        self.note_of(intent.subject, text, intent.incident_id)

    def note_of(self, subject: str, text: str, incident_id: int | None) -> None:
        """As ``note``, of what is no intent; its caller writes the audit."""
        self._waiting.append((subject, text, incident_id))

    def send(self) -> None:
        """Hand over what waits; who cannot be told is logged."""
        if not self._waiting:  # most often; the lock is busy in a burst
            return
        with self._book.lock:
            pages, self._waiting = self._waiting, []
        for page in pages:
            try:
                self._pager.page(*page)
            except Exception:
                log.exception("nobody was told: %s: %s", page[0], page[1])
