"""One tick as a document: what ``once`` prints and ``bundle`` holds. Numbers stay in the catalogue's units."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from ullage_agent.assembly import Agent
from ullage_agent.makers import Makers
from ullage_agent.sampler import Tick
from ullage_agent.source import SourceReport
from ullage_contract import __version__
from ullage_contract.event import Event
from ullage_contract.sample import Facts, Family, Origin, Sample

SCHEMA_VERSION: Final = 1


class Gathered:
    """A Sink that keeps the events of a single tick; samples and facts come with the Tick and the book."""

    def __init__(self) -> None:
        self.events_seen: list[tuple[Origin, Event]] = []

    def facts(self, facts: Iterable[Facts], *, origin: Origin = Origin.REAL) -> None:
        pass

    def samples(self, samples: Iterable[Sample], *, origin: Origin = Origin.REAL) -> None:
        pass

    def events(self, events: Iterable[Event], *, origin: Origin = Origin.REAL) -> None:
        self.events_seen.extend((origin, event) for event in events)

    def sources(self, reports: Iterable[SourceReport]) -> None:
        pass

    def close(self) -> None:
        pass


def document(agent: Agent, tick: Tick, gathered: Gathered) -> dict[str, Any]:
    """The whole tick. Cards in the makers' order of index; slices and processes inside their card."""
    book = agent.sampler.book
    rows: dict[tuple[Family, str], tuple[Origin, Sample]] = {}
    for origin, samples in tick.samples.items():
        for sample in samples:
            rows[sample.family, sample.subject] = (origin, sample)

    def entry(family: Family, subject: str, key: str) -> dict[str, Any]:
        found = rows.get((family, subject))
        return {
            key: subject,
            "origin": (found[0] if found else book.origin(family, subject)).value,
            **{k: v for k, v in book.attributes(family, subject).items() if v is not None},
            "values": dict(found[1].values) if found else {},
            "failed": dict(found[1].failed) if found else {},
        }

    def subjects(family: Family) -> list[str]:
        seen = dict.fromkeys(book.subjects(family))
        seen.update(dict.fromkeys(subject for kind, subject in rows if kind is family))
        return list(seen)

    cards = []
    slices, processes = subjects(Family.SLICE), subjects(Family.PROCESS)
    for card in subjects(Family.CARD):
        one = entry(Family.CARD, card, "card_id")
        one["slices"] = [entry(Family.SLICE, s, "slice_id") for s in slices if s.startswith(f"{card}/")]
        one["processes"] = [
            entry(Family.PROCESS, p, "process_id")
            for p in processes
            if p.startswith((f"{card}#", f"{card}/"))
        ]
        cards.append(one)
    cards.sort(
        key=lambda c: (str(c.get("vendor")), c.get("index") if isinstance(c.get("index"), int) else 1 << 30)
    )
    node = entry(Family.NODE, agent.config.node, "node_id")
    return {
        "schema_version": SCHEMA_VERSION,
        "agent_version": __version__,
        "cluster": agent.config.cluster,
        "tier": tick.tier.value,
        "node": node,
        "cards": cards,
        "ports": [entry(Family.PORT, port, "port_id") for port in sorted(subjects(Family.PORT))],
        "makers": makers_json(agent.makers, tick.reports),
        "sources": {
            r.name: {
                "success": r.success,
                "duration_seconds": round(r.duration_seconds, 6),
                "message": r.message,
            }
            for r in tick.reports
        },
        "events": [event_json(event, origin) for origin, event in gathered.events_seen],
        "duration_seconds": round(tick.duration_seconds, 6),
    }


def makers_json(makers: Makers, reports: Iterable[SourceReport] = ()) -> dict[str, Any]:
    """Per maker: is it here, why not, what was found and tried, and how its child does."""
    by_name = {report.name: report for report in reports}
    result: dict[str, Any] = {}
    for maker in makers.every:
        report = by_name.get(maker.backend.name)
        result[maker.backend.name] = {
            "title": maker.backend.title,
            "present": maker.detection.present,
            "used": maker.used,
            "why_not": maker.detection.why_not,
            "found": list(maker.detection.found),
            "tried": list(maker.detection.tried),
            "cards_expected": maker.detection.cards_expected,
            "children": report.children if report else 0,
            "stuck_children": report.stuck_children if report else 0,
            "success": report.success if report else None,
            "message": report.message if report else None,
        }
    for broken in makers.broken:
        result.setdefault(
            broken.name,
            {
                "title": broken.name,
                "present": False,
                "used": False,
                "why_not": f"its backend ({broken.entry}) cannot be loaded: {broken.message}",
                "found": [],
                "tried": [broken.entry],
                "cards_expected": None,
                "children": 0,
                "stuck_children": 0,
                "success": None,
                "message": None,
            },
        )
    return result


def event_json(event: Event, origin: Origin = Origin.REAL) -> dict[str, Any]:
    return {
        "time": event.time,
        "kind": event.kind,
        "severity": event.severity.value,
        "family": event.family.value,
        "subject": event.subject,
        "source": event.source,
        "code": event.code,
        "vendor": event.vendor,
        "message": event.message,
        "attributes": dict(event.attributes),
        "origin": origin.value,
    }
