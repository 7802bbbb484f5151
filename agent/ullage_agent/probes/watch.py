"""What the agent's own readings say of its cards now: a sink beside the others, there only where probes are enabled.

Everything a probe needs to know before, while and after it runs: the newest row of a card, who holds it, what
happened to it. Unknown stays unknown: ``work_on`` says why it cannot be said.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from ullage_agent.source import SourceReport
from ullage_contract import catalogue
from ullage_contract.event import Event, Severity
from ullage_contract.sample import Facts, Family, Origin, Sample, Value

UNPLACED: Final = "?"
KEPT_EVENTS: Final = 200  # our choice: a storm on one card says the same a hundred times
Key = tuple[str, ...]


@dataclass(slots=True)
class Seen:
    """One card. slow: the newest row with slow metrics; a row is values, failed and the tick it came in.

    events: (tick, event) of warning or worse, newest last. processes: their number in the newest tick.
    """

    origin: Origin
    facts: Mapping[str, Value | list[str] | None] = field(default_factory=dict)
    values: Mapping[str, Value] = field(default_factory=dict)
    failed: Mapping[str, str] = field(default_factory=dict)
    tick: int = -1
    slow_values: Mapping[str, Value] = field(default_factory=dict)
    slow_failed: Mapping[str, str] = field(default_factory=dict)
    slow_tick: int = -1
    process_tick: int = -1
    events: list[tuple[int, Event]] = field(default_factory=list)


class Watch:
    """A Sink, read by the desk's thread. fence_accounts: as in settings.Probes."""

    def __init__(self, *, fence_accounts: Sequence[str]) -> None:
        self._fences = frozenset(fence_accounts)
        self._changed = threading.Condition()
        self._cards: dict[str, Seen] = {}
        self._ports: dict[str, Mapping[str, Value]] = {}
        self._held: dict[Key, set[str]] = {}
        self._tick = 0

    # ---- the sink

    def facts(self, facts: Sequence[Facts], *, origin: Origin = Origin.REAL) -> None:
        with self._changed:
            for one in facts:
                if one.family is Family.CARD:
                    self._card(one.subject, origin).facts = one.attributes

    def samples(self, samples: Sequence[Sample], *, origin: Origin = Origin.REAL) -> None:
        with self._changed:
            for sample in samples:
                if sample.family is Family.CARD:
                    self._row(self._card(sample.subject, origin), sample)
                elif sample.family is Family.PORT:
                    self._ports[sample.subject] = sample.values
                elif sample.family is Family.PROCESS:
                    card = sample.subject.rpartition("#")[0].partition("/")[0]
                    self._card(card, origin).process_tick = self._tick

    def events(self, events: Sequence[Event], *, origin: Origin = Origin.REAL) -> None:
        with self._changed:
            for event in events:
                if event.family is Family.CARD and event.severity is not Severity.INFO:
                    seen = self._card(event.subject, origin)
                    seen.events.append((self._tick, event))
                    del seen.events[:-KEPT_EVENTS]
                elif event.kind in ("job_started", "job_ended", "devices_assigned", "devices_released"):
                    self._hold(event)

    def sources(self, reports: Sequence[SourceReport]) -> None:
        with self._changed:
            self._tick += 1
            self._changed.notify_all()

    def close(self) -> None:
        with self._changed:
            self._changed.notify_all()

    # ---- what the desk asks

    @property
    def tick(self) -> int:
        """How many ticks have ended."""
        return self._tick

    def wait(self, tick: int, seconds: float) -> bool:
        """Until ``tick`` ticks have ended, ``seconds`` at most; whether they have."""
        with self._changed:
            return self._changed.wait_for(lambda: self._tick >= tick, seconds)

    def card(self, card_id: str) -> Seen | None:
        """A copy of what is known of the card; None when nothing was ever read of it."""
        with self._changed:
            seen = self._cards.get(card_id)
            if seen is None or not (seen.facts or seen.tick >= 0):
                return None
            return Seen(
                seen.origin,
                seen.facts,
                seen.values,
                seen.failed,
                seen.tick,
                seen.slow_values,
                seen.slow_failed,
                seen.slow_tick,
                seen.process_tick,
                list(seen.events),
            )

    def port(self, port_id: str) -> Mapping[str, Value]:
        """The newest row of a port; empty when there is none."""
        with self._changed:
            return self._ports.get(port_id, {})

    def work_on(self, card_id: str, *, since_tick: int, must_know: bool = True) -> str | None:
        """Why the card cannot be taken as free of work; None when it is.

        since_tick: only a slow reading of this tick or a later one counts. must_know: a maker that does not say which
        processes run is a reason; what only reads may do without.
        """
        with self._changed:
            for key, cards in self._held.items():
                if card_id in cards:
                    return f"{' '.join(key)} holds the card"
                if UNPLACED in cards:
                    return f"{' '.join(key)} holds a card nobody can place"
            seen = self._cards.get(card_id)
            if seen is None or seen.slow_tick < since_tick:
                return "the card was not read again just now"
            if seen.process_tick >= since_tick:
                return "a process runs on the card"
            count = seen.slow_values.get("processes")
            if isinstance(count, int | float) and not isinstance(count, bool):
                return None if count == 0 else f"{count:g} processes run on the card"
            if not must_know:
                return None
            if "processes" in seen.slow_failed:
                return f"its processes could not be listed ({seen.slow_failed['processes']})"
            return "its maker does not say which processes run on it"

    # ---- taking in

    def _card(self, card_id: str, origin: Origin) -> Seen:
        seen = self._cards.get(card_id)
        if seen is None:
            seen = self._cards[card_id] = Seen(origin)
        seen.origin = origin
        return seen

    def _row(self, seen: Seen, sample: Sample) -> None:
        seen.values, seen.failed, seen.tick = sample.values, sample.failed, self._tick
        if _has_slow(sample):
            seen.slow_values, seen.slow_failed, seen.slow_tick = sample.values, sample.failed, self._tick

    def _hold(self, event: Event) -> None:
        said = event.attributes
        if event.kind.startswith("job_"):
            if str(said.get("account", "")) in self._fences:
                return
            key: Key = ("job", str(said.get("job_id", "?")))
        else:
            pod = f"{said.get('namespace', '?')}/{said.get('pod', '?')}/{said.get('container', '?')}"
            key = ("pod", pod, str(said.get("resource") or said.get("claim") or "?"))
        cards = {card for card in str(said.get("cards", "")).split(",") if card}
        if event.kind == "job_ended":
            self._held.pop(key, None)
        elif event.kind == "devices_released":
            held = self._held.get(key, set()) - cards
            self._held[key] = held
            if not held:
                del self._held[key]
        elif int(said.get("part", 1)) > 1:
            self._held.setdefault(key, set()).update(cards)
        elif cards:
            self._held[key] = cards


def _has_slow(sample: Sample) -> bool:
    """Whether it is a row of a slow tick: those name slow metrics beside the fast ones."""
    known = catalogue.keys(sample.family)
    slow = catalogue.Tier.SLOW
    return any(known[key].tier is slow for key in (*sample.values, *sample.failed) if key in known)
