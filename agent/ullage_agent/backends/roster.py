"""The cards of one maker in its child: who is there, who was lost, and one reading of each, from a list of probes.

A maker says how to find its cards (``Maker.look``) and, per card, which probes there are. Everything that
must be the same for all makers is here: what a card cannot is learnt once and told in its facts, a failed
reading carries its reason, a lost card is lost and invents nothing, one card's trouble never stops the next.
Not here: NVIDIA, whose library deserves more (backends/nvidia), and how a maker's library is called.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol, TypeVar

from ullage_agent.backend import Call, Reading
from ullage_contract.catalogue import Kind, Tier, Type, keys
from ullage_contract.errors import Broken, CardLost, NotPresent, NotSupported, ReadingError
from ullage_contract.event import Event, Severity
from ullage_contract.sample import Facts, Family, Value

log = logging.getLogger(__name__)

Attributes = dict[str, Value | list[str] | None]
T = TypeVar("T")

GROWTH_EVENTS: Final[Mapping[str, tuple[str, Severity]]] = {
    "ecc_uncorrected": ("ecc_uncorrected", Severity.CRITICAL),
    "sram_ecc_uncorrected": ("ecc_uncorrected", Severity.CRITICAL),
}
"""Counters whose growth between two readings of one card is an event of its own."""
_SLIPS: Final[set[tuple[str, str]]] = set()
"""(call, exception) of probes whose own code raised: the traceback is told once."""
HEALTH_SEVERITY: Final = {"degraded": Severity.WARNING, "critical": Severity.CRITICAL, "lost": Severity.FATAL}


@dataclass(frozen=True, slots=True)
class Probe:
    """One call to the maker and what it gives.

    call: the C function's or file's name: what hangs is known by it. gives: the catalogue keys it can give.
    ask: the call; returns key -> value in the catalogue's units, leaving out what the answer does not hold, and
    raises a ReadingError. tier: FAST probes are asked at every tick, SLOW ones at SLOW ticks.
    """

    call: str
    gives: tuple[str, ...]
    ask: Callable[[], Mapping[str, Value | None]]
    tier: Tier = Tier.FAST


@dataclass(frozen=True, slots=True)
class Slice:
    """A part of a card that is there now: its key, facts and probes."""

    slice_id: str
    attributes: Attributes
    probes: Sequence[Probe]


@dataclass(frozen=True, slots=True)
class Found:
    """A card that enumerates now.

    attributes: its static facts without ``unsupported``. probes: in the order they are asked.
    slices: asked at SLOW ticks and at facts. processes: rows of the processes on it, each with attributes pid,
    command, user, cgroup as far as known, and process_* values; asked at SLOW ticks. None: the maker cannot.
    alarms: the maker's fault or incident codes standing now, as (code, severity, message); asked at SLOW ticks.
    epoch: a text that names the life of the card's counters, or None.
    still: asked after the card's calls of every reading, where they go to an index or place that another card can
    take; raises CardLost when another answers there, a ReadingError when it cannot be told. What was read is then
    thrown away, and a card that is not where it was is looked for before it is lost. None: a handle of its own.
    """

    card_id: str
    attributes: Attributes
    probes: Sequence[Probe]
    slices: Callable[[], Sequence[Slice]] | None = None
    processes: Callable[[], Sequence[tuple[Attributes, Mapping[str, Value]]]] | None = None
    alarms: Callable[[], Sequence[tuple[str, Severity, str]]] | None = None
    epoch: str | None = None
    still: Callable[[], None] | None = None


class Maker(Protocol):
    """What a maker's reader module brings."""

    vendor: str

    def open(self, call: Call) -> None:
        """Open the library or tool; called before every look, cheap when open. Raises a ReadingError."""
        ...

    def look(self, call: Call) -> Sequence[Found]:
        """Every card that enumerates now. A card that is listed but does not answer raises for itself only:
        leave it out, it is then found lost. Raises a ReadingError when the library is unwell."""
        ...

    def close(self) -> None:
        """Give everything back; never raises."""
        ...


@dataclass(slots=True)
class _Card:
    found: Found
    refused: set[tuple[str, str]] = field(default_factory=set)
    """(call, key) that was answered with not supported: not asked again until the next facts."""
    learnt: bool = False
    lost: str | None = None
    health: str | None = None
    counted: dict[str, int | float] = field(default_factory=dict)
    alarms: dict[str, str] = field(default_factory=dict)


class Roster:
    """A ``backend.Reader`` over a Maker."""

    def __init__(self, maker: Maker) -> None:
        self._maker = maker
        self._cards: dict[str, _Card] = {}
        self._events: list[Event] = []
        self._looked = False
        self._searched = False
        self.clock: Callable[[], float] | None = None

    # ---- the Reader protocol

    def facts(self, call: Call) -> Iterator[Facts]:
        """Cards, slices and processes; what a card cannot is learnt anew."""
        self._searched = False
        self._look(call)
        now = self._now()
        for card in list(self._cards.values()):
            while card.lost is None:
                card.refused.clear()
                card.learnt = False
                try:
                    self._ask(card, Tier.SLOW, call)
                    break
                except CardLost as e:
                    if not self._moved(card, call):
                        self._lose(card, str(e))
            attributes = {**card.found.attributes, "vendor": self._maker.vendor}
            attributes["unsupported"] = sorted(self._never(card))
            yield Facts(Family.CARD, card.found.card_id, now, attributes)
            if card.lost is None:
                for part in self._slices(card, call):
                    yield Facts(
                        Family.SLICE, part.slice_id, now, {**part.attributes, "card_id": card.found.card_id}
                    )

    def read(self, tier: Tier, call: Call) -> Iterator[Reading | Facts]:
        """One reading a card, followed on SLOW by its slices and processes."""
        self._searched = False
        if tier is Tier.SLOW or not self._looked:
            self._look(call)
        for card in list(self._cards.values()):
            while card.lost is None:
                try:
                    yield from self._read_card(card, tier, call)
                    break
                except CardLost as e:
                    if not self._moved(card, call):
                        self._lose(card, str(e))
            else:
                yield Reading(
                    Family.CARD,
                    card.found.card_id,
                    {"health": "lost", "health_detail": (card.lost or "lost")[:200]},
                )

    def events(self, call: Call) -> Iterator[Event]:
        """What the readings since the last call showed."""
        events, self._events = self._events, []
        yield from events

    def close(self) -> None:
        self._maker.close()

    # ---- who is there

    def _look(self, call: Call) -> None:
        self._maker.open(call)
        present = {found.card_id: found for found in self._maker.look(call)}
        self._looked = True
        for card_id, found in present.items():
            card = self._cards.get(card_id)
            if card is None:
                self._cards[card_id] = _Card(found)
                continue
            card.found = found
            if card.lost is not None:
                card.lost = None
                card.counted.clear()
                self._tell("card_back", Severity.INFO, card, "it answers again")
        for card_id, card in self._cards.items():
            if card_id not in present and card.lost is None:
                self._lose(card, "it is not listed any more")

    def _moved(self, card: _Card, call: Call) -> bool:
        """Whether a card that is not where it was sits elsewhere now: looked for once a question."""
        if card.found.still is None or self._searched:
            return False
        self._searched = True
        try:
            self._look(call)
        except ReadingError:
            return False
        return card.lost is None

    def _sure(self, card: _Card, call: Call) -> None:
        """Raises CardLost when what was just read was another card's, another ReadingError when that is not known."""
        if card.found.still is not None:
            call(card.found.card_id, "identity", card.found.still)

    def _lose(self, card: _Card, why: str) -> None:
        if card.lost is None:
            card.lost = why
            self._tell("card_lost", Severity.FATAL, card, why)

    def _never(self, card: _Card) -> set[str]:
        """Catalogue keys that no probe of this card gives: none names it, or every one that does refused it."""
        given = {
            key for probe in card.found.probes for key in probe.gives if (probe.call, key) not in card.refused
        }
        return set(keys(Family.CARD)) - given

    # ---- one reading

    def _read_card(self, card: _Card, tier: Tier, call: Call) -> Iterator[Reading | Facts]:
        values, failed = self._ask(card, tier, call)
        yield Reading(Family.CARD, card.found.card_id, values, failed, card.found.epoch)
        self._watch(card, values)
        if tier is not Tier.SLOW:
            return
        for part in self._slices(card, call):
            part_values, part_failed = _gather(part.probes, tier, call, part.slice_id, Family.SLICE, set())
            try:
                self._sure(card, call)
            except CardLost:
                raise
            except ReadingError as e:
                part_values, part_failed = {}, dict.fromkeys((*part_values, *part_failed), e.reason)
            yield Reading(Family.SLICE, part.slice_id, part_values, part_failed, card.found.epoch)
        yield from self._processes(card, call)
        self._alarms(card, call)

    def _ask(self, card: _Card, tier: Tier, call: Call) -> tuple[dict[str, Value], dict[str, str]]:
        refused = set(card.refused)
        values, failed = _gather(card.found.probes, tier, call, card.found.card_id, Family.CARD, refused)
        try:
            self._sure(card, call)
        except CardLost:
            raise  # what was refused was another card's
        except ReadingError as e:
            values, failed = {}, dict.fromkeys((*values, *failed), e.reason)  # not known whose they are
        card.refused = refused
        if tier is Tier.SLOW:
            card.learnt = True
        return values, failed

    def _slices(self, card: _Card, call: Call) -> Sequence[Slice]:
        if card.found.slices is None:
            return ()
        return self._quiet(card, call, "slices", card.found.slices)

    def _processes(self, card: _Card, call: Call) -> Iterator[Reading | Facts]:
        if card.found.processes is None:
            return
        now = self._now()
        for attributes, values in self._quiet(card, call, "processes", card.found.processes):
            subject = f"{card.found.card_id}#{attributes.get('pid')}"
            yield Facts(Family.PROCESS, subject, now, {**attributes, "card_id": card.found.card_id})
            yield Reading(Family.PROCESS, subject, values)

    def _alarms(self, card: _Card, call: Call) -> None:
        """Codes that began to stand since the last look become events; one that went away and comes is new."""
        if card.found.alarms is None:
            return
        try:
            standing = call(card.found.card_id, "alarms", card.found.alarms)
            self._sure(card, call)
        except CardLost:
            raise
        except ReadingError:
            return  # not known what stands: what stood is kept, nothing is told twice
        for code, severity, message in standing:
            if code not in card.alarms:
                self._tell("ras", severity, card, message, code=code)
        card.alarms = {code: message for code, _, message in standing}

    def _quiet(self, card: _Card, call: Call, name: str, ask: Callable[[], Sequence[T]]) -> Sequence[T]:
        try:
            answer = call(card.found.card_id, name, ask)
            self._sure(card, call)
            return answer
        except CardLost:
            raise
        except ReadingError:
            return ()

    # ---- what the readings show

    def _watch(self, card: _Card, values: Mapping[str, Value]) -> None:
        for key, (kind, severity) in GROWTH_EVENTS.items():
            value = values.get(key)
            if not isinstance(value, int | float):
                continue
            before = card.counted.get(key)
            card.counted[key] = value
            if before is not None and value > before:
                message = f"{value - before:g} new uncorrectable errors ({key} {before:g} -> {value:g})"
                self._tell(kind, severity, card, message)
        health = values.get("health")
        if isinstance(health, str):
            if card.health is not None and health != card.health and health in HEALTH_SEVERITY:
                detail = values.get("health_detail") or health
                self._tell(
                    "ras", HEALTH_SEVERITY[health], card, f"health is {detail}", code=f"health:{health}"
                )
            card.health = health

    def _tell(
        self, kind: str, severity: Severity, card: _Card, message: str, *, code: str | None = None
    ) -> None:
        attributes: dict[str, Value] = {}
        pci = card.found.attributes.get("pci_address")
        if isinstance(pci, str):
            attributes["pci_address"] = pci
        self._events.append(
            Event(
                time=self._now(),
                kind=kind,
                severity=severity,
                family=Family.CARD,
                subject=card.found.card_id,
                source="library",
                message="".join(ch if ch.isprintable() else " " for ch in message)[:500],
                code=code,
                vendor=self._maker.vendor,
                attributes=attributes,
            )
        )

    def _now(self) -> float:
        if self.clock is not None:
            return self.clock()
        import time

        return time.time()


def _gather(
    probes: Sequence[Probe],
    tier: Tier,
    call: Call,
    subject: str,
    family: Family,
    refused: set[tuple[str, str]],
) -> tuple[dict[str, Value], dict[str, str]]:
    """Ask every probe of the tier; values that are there, reasons for those that failed. Raises CardLost."""
    values: dict[str, Value] = {}
    failed: dict[str, str] = {}
    known = keys(family)
    for probe in probes:
        if tier is Tier.FAST and probe.tier is Tier.SLOW:
            continue
        wanted = [key for key in probe.gives if key not in values and (probe.call, key) not in refused]
        if not wanted:
            continue
        try:
            answer = call(subject, probe.call, probe.ask)
        except CardLost:
            raise
        except (NotSupported, NotPresent):
            refused.update((probe.call, key) for key in wanted)
            continue
        except ReadingError as e:
            failed.update(dict.fromkeys(wanted, e.reason))
            continue
        except Exception as e:  # a probe's own slip with what the maker gave: told, and the next goes on
            if (slip := (probe.call, type(e).__name__)) not in _SLIPS:
                _SLIPS.add(slip)
                log.warning("%s: %s: %s: %s (told once)", subject, probe.call, slip[1], e, exc_info=True)
            failed.update(dict.fromkeys(wanted, Broken.reason))
            continue
        for key in wanted:
            value = answer.get(key)
            if value is None:
                continue
            metric = known.get(key)
            if metric is None or not _sane(value, metric.type, metric.kind):
                failed[key] = Broken.reason
                continue
            values[key] = value
    # a key that several probes can give is only failed when none of them gave it
    for key in values:
        failed.pop(key, None)
    return values, failed


def _sane(value: Value, kind: Type, what: Kind) -> bool:
    """Whether a value can be one: text for words, a finite number else, no counter or size below zero."""
    if kind is Type.TEXT:
        return isinstance(value, str)
    if not isinstance(value, int | float) or value != value or value in (float("inf"), float("-inf")):
        return False
    return not (what is Kind.COUNTER and value < 0)
