"""The facts that hold now, by subject, and which of them are to be sent.

Facts come from several sides (a card's from its maker, its nearest ports from the RDMA source); a
subject's facts are their union. They are sent when new or changed, and all of them once a day, so
that a collector that lost everything knows the fleet again within one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from ullage_contract.sample import Facts, Family, Origin, Value

DAY_SECONDS: Final = 86400.0
Attributes = Mapping[str, Value | list[str] | None]
Key = tuple[Family, str]


@dataclass(slots=True)
class _Page:
    """origin: of the maker that owns the subject. since: wall time from which ``merged`` holds."""

    origin: Origin
    parts: dict[str, Attributes] = field(default_factory=dict)
    merged: Attributes = field(default_factory=dict)
    since: float = 0.0
    sent_at: float | None = None
    touched: bool = True


class FactBook:
    """Not thread-safe: the sampler's thread alone writes it."""

    def __init__(self) -> None:
        self._pages: dict[Key, _Page] = {}

    def put(self, source: str, facts: Facts, origin: Origin = Origin.REAL) -> None:
        """What ``source`` now says of the subject, in place of what it said before."""
        page = self._pages.setdefault((facts.family, facts.subject), _Page(origin))
        if origin is Origin.SIMULATED:
            page.origin = origin
        if page.parts.get(source) != facts.attributes:
            page.parts[source] = facts.attributes
            page.touched = True

    def keep_only(self, source: str, subjects: Iterable[Key]) -> None:
        """``source`` has listed everything it knows: what it no longer names is no longer its."""
        kept = set(subjects)
        for key in [k for k, page in self._pages.items() if source in page.parts and k not in kept]:
            page = self._pages[key]
            del page.parts[source]
            page.touched = True
            if not page.parts:
                del self._pages[key]

    def attributes(self, family: Family, subject: str) -> Attributes:
        """All that is known of a subject; empty when nothing is."""
        page = self._pages.get((family, subject))
        return _union(page) if page is not None else {}

    def origin(self, family: Family, subject: str) -> Origin:
        """Whose the subject is; REAL when nothing is known of it."""
        page = self._pages.get((family, subject))
        return page.origin if page is not None else Origin.REAL

    def subjects(self, family: Family) -> list[str]:
        return [subject for kind, subject in self._pages if kind is family]

    def due(self, wall: float) -> dict[Origin, list[Facts]]:
        """What is to be sent now: new, changed, or last sent a day ago (or in the future: a clock was set back)."""
        found: dict[Origin, list[Facts]] = {}
        for (family, subject), page in self._pages.items():
            if page.touched:
                page.touched = False
                merged = _union(page)
                if merged != page.merged or page.sent_at is None:
                    page.merged, page.since, page.sent_at = merged, wall, None
            if page.sent_at is not None and 0 <= wall - page.sent_at < DAY_SECONDS:
                continue
            page.sent_at = wall
            found.setdefault(page.origin, []).append(Facts(family, subject, page.since, page.merged))
        return found


def _union(page: _Page) -> dict[str, Value | list[str] | None]:
    merged: dict[str, Value | list[str] | None] = {}
    for part in page.parts.values():
        merged.update(part)
    return merged
