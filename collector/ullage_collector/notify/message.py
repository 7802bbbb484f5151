"""One message to one target, whatever carries it: its key, its news, and whether it may have been told before."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from ullage_collector.notify.news import News
from ullage_collector.notify.settings import Target


@dataclass(frozen=True, slots=True)
class Message:
    """key: the same however often it is sent. news: at least one, in order. at: seconds since the epoch, now."""

    key: str
    news: Sequence[News]
    at: float
    doubtful: bool = False


class Sender(Protocol):
    """Tells one target. A function a kind; the table is in senders.py."""

    def __call__(self, target: Target, message: Message) -> str | None:
        """Send it; a note about what was told only in part, or None. Raises NotTold, or ConfigError for its own files."""
        ...
