"""A fault engine over a real store, both journals and a writer: for its tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ullage_collector.detect.fault_settings import FaultSettings
from ullage_collector.detect.faults import site_rules
from ullage_collector.fault_engine import FaultEngine
from ullage_collector.isolate import slurm_node
from ullage_collector.isolate.isolation import Isolation
from ullage_collector.isolate.verdict import Verdict
from ullage_collector.journal import Journal, JournalReader, Record
from ullage_collector.store.quarantine import Quarantine
from ullage_collector.store.store import Store
from ullage_collector.store.writer import Writer
from ullage_contract import wire
from ullage_contract.clock import ManualClock
from ullage_contract.event import Event, Severity
from ullage_contract.sample import Facts, Family, Origin, Sample

NOW = 1_795_000_000.0


class Told:
    """Who decides: keeps every verdict."""

    def __init__(self) -> None:
        self.verdicts: list[Verdict] = []

    def consider(self, verdict: Verdict) -> None:
        self.verdicts.append(verdict)

    def turns(self) -> list[tuple[str, str, str, str, bool]]:
        return [(v.turn.value, v.rule, v.subject, v.mode.value, v.fresh) for v in self.verdicts]


class World:
    """A store, both journals, a writer and an engine. Every shipped rule advises unless a test says otherwise."""

    def __init__(self, folder: Path, *, fleet_nodes: int = 3, changes: str = "") -> None:
        self.folder = folder
        self.clock = ManualClock(wall=NOW)
        self.store = Store.open(folder / "store.duckdb", clock=self.clock)
        self.journals = {lane: Journal(folder / lane) for lane in ("events", "samples")}
        self.writer = Writer(
            self.store,
            JournalReader(folder / "samples"),
            JournalReader(folder / "events"),
            Quarantine(folder / "quarantine", 1 << 20),
        )
        self.isolation = Isolation(
            self.store.cursor, {"slurm-node": slurm_node.actuator({"scontrol": "true"})}, self.clock
        )
        site = folder / "faults.toml"
        site.write_text(changes, encoding="utf-8")
        self.settings = FaultSettings(site_rules(site), fleet_nodes)
        self.sequence = dict.fromkeys(("events", "samples"), 0)
        self.told = Told()
        self.engine = self.made()

    def made(self) -> FaultEngine:
        """A fresh engine, as after a restart."""
        return FaultEngine(
            self.store.cursor,
            JournalReader(self.folder / "events"),
            (),
            self.isolation,
            self.clock,
            decider=self.told,
            settings=self.settings,
        )

    def push(
        self, node: str, *events: Event, samples: tuple[Sample, ...] = (), facts: tuple[Facts, ...] = ()
    ) -> None:
        """One batch of a node, as received now."""
        lane = "events" if events else "samples"
        self.sequence[lane] += 1
        stream = ("e" if events else "s") * 32
        body = wire.encode(
            wire.Batch(
                stream,
                self.sequence[lane],
                lane,
                "0.1.0",
                "c",
                node,
                None,
                f"boot-{node}",
                Origin.REAL,
                samples,
                facts,
                events,
            )
        )
        received = int(self.clock.wall() * 1e6)
        self.journals[lane].append(
            [Record(stream, self.sequence[lane], lane, "c", node, node, received, 0.0, body)]
        )

    def cards(self, node: str, *cards: str) -> None:
        """The node tells which cards it has."""
        now = self.clock.wall()
        facts = [
            Facts(Family.CARD, c, now, {"vendor": "nvidia", "model": "H200", "node_id": node}) for c in cards
        ]
        self.push(node, samples=(self.sample(node, Family.NODE),), facts=tuple(facts))
        self.write()

    def sample(
        self, subject: str, family: Family = Family.CARD, *, epoch: str | None = "boot", **values: Any
    ) -> Sample:
        return Sample(
            family,
            subject,
            self.clock.wall(),
            1e6,
            10.0,
            values or {"processes": 0} if family is Family.CARD else values,
            {},
            epoch,
        )

    def write(self) -> None:
        while self.writer.step():
            pass

    def round(self, node: str, *samples: Sample, seconds: float = 10.0) -> None:
        """Time passes, the node samples, the engine reads."""
        self.clock.advance(seconds)
        self.push(node, samples=samples)
        self.write()
        self.engine.sample_step()

    def incidents(self) -> list[dict[str, Any]]:
        with self.store.cursor() as db:
            found = db.execute("SELECT * FROM incident ORDER BY incident_id")
            names = [column[0] for column in found.description or ()]
            return [dict(zip(names, row, strict=True)) for row in found.fetchall()]

    def open(self) -> list[str]:
        return [f"{row['cause']} {row['subject']}" for row in self.incidents() if row["closed_at"] is None]

    def close(self) -> None:
        for journal in self.journals.values():
            journal.close()
        self.store.close()


ALL_ADVISE = "".join(
    f'[[fault]]\nname = "{name}"\nmode = "automatic"\n'
    for name in (
        "xid_fallen_off_the_bus",
        "xid_reset_needed",
        "card_lost",
        "links_lost",
        "ecc_uncorrected_growth",
    )
)


def event(
    kind: str, card: str, *, at: float = NOW, code: str | None = None, family: Family = Family.CARD
) -> Event:
    return Event(at, kind, Severity.FATAL, family, card, "kernel_log", f"{kind} {code}", code, "nvidia")
