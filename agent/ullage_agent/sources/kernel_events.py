"""Kernel log lines as events: which pattern, which card, and one event for a burst of lines.

One fault prints many lines (Xid 45 once a channel, Xid 119 every six seconds). Lines equal in card,
code, process and link within a minute are one event; it goes out with the first line, and when more
came a second one with ``repeats`` tells how many. Not here: where the lines are from.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from ullage_agent.backend import LogPattern
from ullage_agent.sources.kernel_lines import Line
from ullage_contract.errors import BadInput
from ullage_contract.event import Event
from ullage_contract.identity import pci_address
from ullage_contract.sample import Family, Value

BURST_SECONDS: Final = 60.0
"""our choice: because Xid 119 repeats every 6 s and a fault that lasts is told again each minute."""

LONGEST_MESSAGE: Final = 4096
"""Characters of a line that are looked at. our choice: four times what a printk record holds
(PRINTKRB_RECORD_MAX 1024), because patterns meet whatever a text's longest line is, and some look at
every place of it from every other."""

_MOST_BURSTS: Final = 1000  # our choice: a bound, because a mad driver may print any number of codes
_KEYS: Final = frozenset({"pci", "code", "uuid", "context", "detail", "ignored", "channel"})
_INTEGERS: Final = frozenset({"pid", "link", "switch", "port", "chip", "count"})
_NOTHING: Final = frozenset({"", "<unknown>", "unknown"})
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f\u200e\u200f\u202a-\u202e\u2066-\u2069]+")

INJECTED_MARK: Final = "(injected by ullage-agent)"
"""Ends a line that ``ullage-agent inject`` wrote to the kernel's own log: its event carries ``injected`` = 1."""

CardOf = Callable[[str, str | None], str | None]
"""(PCI address DDDD:BB:DD.F, maker's UUID or None) -> card_id, or None for a card nobody knows."""


@dataclass(slots=True)
class _Burst:
    pattern: LogPattern
    first: Line
    time: float
    family: Family
    subject: str
    code: str | None
    attributes: dict[str, Value]
    order: int
    channels: list[str] = field(default_factory=list)
    lines: int = 1
    details: int = 0
    told: int = 0

    def event(self) -> Event:
        attributes = dict(self.attributes)
        attributes["lines"] = self.lines
        if self.channels:
            attributes["channels"] = ",".join(self.channels[:64])
        if self.told:
            attributes["repeats"] = self.lines - self.told
        if self.first.uptime_seconds is not None:
            attributes["uptime_seconds"] = self.first.uptime_seconds
        if self.first.sequence is not None:
            attributes["kernel_sequence"] = self.first.sequence
        pattern = self.pattern
        return Event(
            time=self.time,
            kind=pattern.kind,
            severity=pattern.severities.get(self.code or "", pattern.severity),
            family=self.family,
            subject=self.subject,
            source="kernel_log",
            message=_CONTROL.sub(" ", self.first.message).strip()[:500],
            code=self.code,
            vendor=pattern.vendor,
            attributes=attributes,
        )


class Recognizer:
    """Feed it lines in order; ask it for events.

    node_id: the subject of what belongs to no card (NVSwitch, driver).
    card_of: see CardOf; asked for every event, so that it may change while we run.
    time_of: a line's time, seconds since the epoch.
    """

    def __init__(
        self,
        patterns: Sequence[LogPattern],
        *,
        node_id: str,
        card_of: CardOf,
        time_of: Callable[[Line], float],
    ) -> None:
        self._patterns = [(re.compile(pattern.regex), pattern) for pattern in patterns]
        self._node_id = node_id
        self._card_of = card_of
        self._time_of = time_of
        self._bursts: dict[tuple[str, ...], _Burst] = {}
        self._context: dict[str, dict[str, Value]] = {}
        self._context_card = ""
        self._order = 0
        self.details = 0
        """Lines of patterns with a ``detail`` group seen so far."""

    def feed(self, line: Line) -> Event | None:
        """The event this line begins, or None: no pattern's, or one more line of an event already told."""
        message = line.message[:LONGEST_MESSAGE]
        for regex, pattern in self._patterns:
            match = regex.search(message)
            if match is not None:
                return self._matched(line, pattern, match)
        return None

    def due(self, now: float) -> Iterator[Event]:
        """Follow-ups of bursts that began more than a minute before ``now`` and had further lines."""
        for key in [k for k, burst in self._bursts.items() if now - burst.time >= BURST_SECONDS]:
            burst = self._bursts.pop(key)
            if burst.lines > burst.told:
                yield burst.event()

    def bursts(self) -> list[Event]:
        """For a finished text: one event a burst with all its lines, in order of their first line."""
        found = sorted(self._bursts.values(), key=lambda burst: burst.order)
        for burst in found:
            burst.told = 0
        return [burst.event() for burst in found]

    def _matched(self, line: Line, pattern: LogPattern, match: re.Match[str]) -> Event | None:
        groups = {name: text.strip() for name, text in match.groupdict().items() if text is not None}
        groups = {name: text for name, text in groups.items() if text.lower() not in _NOTHING}
        if "ignored" in groups:
            return None
        pci = _address(groups.get("pci"))
        attributes = _attributes(groups)
        if pci:
            attributes["pci_address"] = pci
        if "uuid" in groups:
            attributes["gpu_uuid"] = groups["uuid"]
        if "context" in groups:
            self._context_card = pci or self._context_card
            self._context.setdefault(self._context_card, {}).update(attributes)
            if len(self._context) > _MOST_BURSTS:
                self._context.clear()
            return None
        if line.message.endswith(INJECTED_MARK):
            attributes["injected"] = 1
        code = groups.get("code")
        time = self._time_of(line)
        if "detail" in groups or (code is None and pci):
            burst = self._open_burst(pci, code, time)
            if burst is not None:
                burst.details += 1
            if "detail" in groups:
                self.details += 1
            if burst is not None or "detail" in groups:
                return None
        made = (
            "injected" if "injected" in attributes else ""
        )  # a drill must not swallow the real thing, nor be it
        key = (pattern.kind, pci or "", code or "", groups.get("pid", ""), groups.get("link", ""), made)
        channel = groups.get("channel")
        known = self._bursts.get(key)
        if known is not None and 0 <= time - known.time < BURST_SECONDS:
            known.lines += 1
            if channel and channel not in known.channels:
                known.channels.append(channel)
            return None
        attributes = {**self._context.get(pci or "", {}), **attributes}
        family, subject = self._subject(pattern, pci, attributes)
        burst = _Burst(
            pattern=pattern,
            first=line,
            time=time,
            family=family,
            subject=subject,
            code=code,
            attributes={**pattern.attributes, **pattern.by_code.get(code or "", {}), **attributes},
            order=self._order,
            channels=[channel] if channel else [],
        )
        self._order += 1
        self._keep(key, known, burst)
        event = burst.event()
        burst.told = 1
        return event

    def _keep(self, key: tuple[str, ...], known: _Burst | None, burst: _Burst) -> None:
        """A burst that is over makes room for the next one of its key, but stays listed for ``bursts``."""
        if known is not None:
            self._bursts[(*key, f"until {burst.time}")] = known
            del self._bursts[key]
        self._bursts[key] = burst
        if len(self._bursts) > _MOST_BURSTS:
            del self._bursts[next(iter(self._bursts))]

    def _open_burst(self, pci: str | None, code: str | None, time: float) -> _Burst | None:
        for burst in reversed(self._bursts.values()):
            same = burst.attributes.get("pci_address") == pci and (code is None or burst.code == code)
            if same and 0 <= time - burst.time < BURST_SECONDS:
                return burst
        return None

    def _subject(
        self, pattern: LogPattern, pci: str | None, attributes: dict[str, Value]
    ) -> tuple[Family, str]:
        if "switch" in attributes or not (pci or "gpu_uuid" in attributes):
            return Family.NODE, self._node_id
        uuid = attributes.get("gpu_uuid")
        card = self._card_of(pci or "", str(uuid) if uuid is not None else None)
        return (Family.CARD, card) if card else (Family.NODE, self._node_id)


def _address(text: str | None) -> str | None:
    if text is None:
        return None
    try:
        return pci_address(text)
    except BadInput:
        return text.lower()


def _attributes(groups: dict[str, str]) -> dict[str, Value]:
    return {
        # a number of more digits than 64 bits hold is a torn line: kept as text
        name: int(text) if name in _INTEGERS and text.isdecimal() and len(text) < 19 else text[:200]
        for name, text in groups.items()
        if name not in _KEYS
    }
