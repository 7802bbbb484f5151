"""The fault engine over a real store: samples, correlation, the fleet, offenders, and verdicts that survive a crash."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.collector.fault_world import released

from ullage_collector import fault_engine, incident_memory
from ullage_collector.detect.fault_settings import FaultSettings
from ullage_collector.detect.faults import site_rules
from ullage_collector.fault_engine import FaultEngine
from ullage_collector.fault_intake import FRESH_SECONDS
from ullage_collector.isolate import slurm_node
from ullage_collector.isolate.isolation import Isolation
from ullage_collector.isolate.verdict import Verdict
from ullage_collector.journal import Journal, JournalReader, Record
from ullage_collector.sql import statements
from ullage_collector.store.quarantine import Quarantine
from ullage_collector.store.store import Store, naive_utc
from ullage_collector.store.writer import Writer
from ullage_collector.topology.keep import keep
from ullage_collector.topology.relation import Relation
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


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path, changes=ALL_ADVISE)
    yield made
    made.close()


def event(
    kind: str, card: str, *, at: float = NOW, code: str | None = None, family: Family = Family.CARD
) -> Event:
    return Event(at, kind, Severity.FATAL, family, card, "kernel_log", f"{kind} {code}", code, "nvidia")


# ---------------------------------------------------------------------------------------- samples


def test_a_counter_that_grew_opens_an_incident_and_a_reset_of_it_does_not(world: World) -> None:
    world.cards("g1", "GPU-1")
    world.engine.sample_step()
    for value in (3, 3, 3):
        world.round("g1", world.sample("GPU-1", ecc_uncorrected=value))
    assert world.open() == []
    world.round("g1", world.sample("GPU-1", epoch="boot2", ecc_uncorrected=0))
    assert world.open() == []
    world.round("g1", world.sample("GPU-1", epoch="boot2", ecc_uncorrected=1))
    assert world.open() == ["ecc_uncorrected_growth GPU-1"]
    (verdict,) = world.told.verdicts
    assert (verdict.card_id, verdict.cluster_id, verdict.node_id, verdict.fresh) == ("GPU-1", "c", "g1", True)


def test_growth_while_the_collector_was_away_is_seen_when_it_is_back(world: World) -> None:
    world.cards("g1", "GPU-1")
    world.round("g1", world.sample("GPU-1", ecc_uncorrected=3))
    world.engine = world.made()
    world.round("g1", world.sample("GPU-1", ecc_uncorrected=5), seconds=1800.0)
    assert world.open() == ["ecc_uncorrected_growth GPU-1"]


def test_a_healthy_fleet_stays_in_the_store(world: World) -> None:
    world.cards("g1", *(f"GPU-{n}" for n in range(8)))
    world.engine.sample_step()
    fine = {
        "health": "ok",
        "ecc_uncorrected": 0,
        "recovery_action": "none",
        "throttle_reasons": 4,
        "remap_pending": 0,
    }
    for _ in range(3):
        world.clock.advance(10)
        world.push("g1", samples=tuple(world.sample(f"GPU-{n}", **fine) for n in range(8)))
        world.write()
        assert world.engine.sample_step() == 0
    assert world.incidents() == []


def test_links_that_were_long_up_are_missed_after_a_restart_too(world: World) -> None:
    world.cards("g1", "GPU-1")
    for _ in range(31):
        world.round("g1", world.sample("GPU-1", links_active=18), seconds=60.0)
    world.engine = world.made()
    assert world.engine.sample_step() == 0
    for _ in range(2):
        world.round("g1", world.sample("GPU-1", links_active=17), seconds=60.0)
    assert world.open() == []
    world.engine = world.made()
    world.round("g1", world.sample("GPU-1", links_active=17), seconds=60.0)
    assert world.open() == ["links_lost GPU-1"]
    for _ in range(12):
        world.round("g1", world.sample("GPU-1", links_active=18), seconds=60.0)
    assert world.open() == []
    assert [v.turn.value for v in world.told.verdicts if v.rule == "links_lost"][-1] == "ended"


def test_a_limit_read_once_a_minute_holds_for_the_samples_between(world: World) -> None:
    world.cards("g1", "GPU-1")
    world.round("g1", world.sample("GPU-1", temperature_celsius=70.0, temperature_limit_celsius=90.0))
    for _ in range(3):
        world.round("g1", world.sample("GPU-1", temperature_celsius=95.0))
    assert world.open() == ["core_over_limit GPU-1"]


def test_a_links_generation_read_once_a_minute_limits_the_replays_between(world: World) -> None:
    """Generation 3 with 16 lanes may replay 8 times a minute; the same 20 are none of generation 5."""
    world.cards("g1", "GPU-1", "GPU-2")
    for card, generation in (("GPU-1", 3), ("GPU-2", 5)):
        link = {"pcie_generation_max": generation, "pcie_width_max": 16}
        world.round("g1", world.sample(card, pcie_replays=100, **link))
    for card in ("GPU-1", "GPU-2"):
        world.round("g1", world.sample(card, pcie_replays=120))
    assert world.open() == ["pcie_replays GPU-1"]


def test_the_inventory_says_how_many_cards_a_node_has(world: World) -> None:
    world.cards("g1", "GPU-1")
    with world.store.write() as db:
        for n in range(8):
            db.execute(
                "INSERT INTO inventory (inventory_id, card_id, cluster_id, node_id, vendor, model, life, valid_from, "
                "known_from, source) VALUES (?, ?, 'c', 'g1', 'nvidia', 'H200', 'in_service', ?, ?, 'cards.csv')",
                [n + 1, f"GPU-{n}", naive_utc(NOW - 86_400), naive_utc(NOW - 86_400)],
            )
    for _ in range(2):
        world.round("g1", world.sample("g1", Family.NODE, cards_seen=7))
    assert world.open() == ["cards_missing g1"]
    assert world.incidents()[0]["mode"] == "shadow"


def test_a_shadow_rule_is_told_and_proposes_nothing(world: World) -> None:
    world.cards("g1", "GPU-1")
    for _ in range(2):
        world.round("g1", world.sample("GPU-1", remap_failure=1))
    (row,) = world.incidents()
    assert "remap_failure 1 (limit 0" in row["evidence"]
    assert (row["mode"], row["proposal"], row["confirmed"], row["action"]) == (
        "shadow",
        None,
        False,
        "drain_card",
    )
    assert world.told.turns() == [("opened", "remap_failure", "GPU-1", "shadow", True)]


def test_a_late_sample_opens_a_record_that_acts_on_nothing(world: World) -> None:
    world.cards("g1", "GPU-1")
    world.engine.sample_step()
    old = [world.sample("GPU-1", remap_failure=1) for _ in range(1)]
    world.clock.advance(10)
    old.append(world.sample("GPU-1", remap_failure=1))
    world.clock.advance(FRESH_SECONDS + 60)
    world.push("g1", samples=tuple(old))
    world.write()
    world.engine.sample_step()
    assert [row["history"] for row in world.incidents()] == [True]
    assert not any(verdict.fresh for verdict in world.told.verdicts)


def test_a_management_port_is_no_fabric_port(world: World) -> None:
    now = world.clock.wall()
    for port, role in (("g1/mlx5_0/1", "fabric"), ("g1/mlx5_9/1", "management")):
        facts = Facts(
            Family.PORT, port, now, {"node_id": "g1", "device": port.split("/")[1], "port": 1, "role": role}
        )
        world.push("g1", samples=(world.sample("g1", Family.NODE, load1=1.0),), facts=(facts,))
    world.write()
    world.engine.sample_step()
    for value in (0, 5):
        world.round(
            "g1",
            *(
                world.sample(port, Family.PORT, epoch=None, link_downed=value)
                for port in ("g1/mlx5_0/1", "g1/mlx5_9/1")
            ),
        )
    assert world.open() == ["link_downed g1/mlx5_0/1"]


def test_events_and_samples_are_judged_beside_each_other_until_it_is_stopped(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fault_engine, "SAMPLES_SECONDS", 0.05)
    world.cards("g1", "GPU-1", "GPU-2")
    world.push("g1", samples=(world.sample("GPU-1", recovery_action="replace"),))
    world.write()
    world.push("g1", event("xid", "GPU-2", code="95"))
    stop = threading.Event()
    running = threading.Thread(target=world.engine.run, args=(stop,))
    running.start()
    try:
        wanted = {"recovery_replace GPU-1", "xid_reset_needed GPU-2"}
        for _ in range(400):
            if wanted <= set(world.open()):
                break
            stop.wait(0.05)
        assert wanted <= set(world.open())
    finally:
        stop.set()
        running.join(30)
    assert not running.is_alive()


# ---------------------------------------------------------------------------------------- correlation


def test_a_nodes_fault_swallows_its_cards_and_gives_them_back(world: World) -> None:
    world.cards("g1", "GPU-1", "GPU-2")
    world.push("g1", event("xid", "GPU-1", code="79"))
    world.push("g1", event("xid", "GPU-2", code="95"))
    world.engine.step()
    first, second = world.incidents()
    assert (second["cause"], second["parent_id"]) == ("xid_reset_needed", first["incident_id"])
    assert world.told.turns() == [("opened", "xid_fallen_off_the_bus", "GPU-1", "automatic", True)]
    with world.store.write() as db:
        db.execute(
            statements("incidents")["close_incidents_of"],
            released(world.clock.wall(), "released by ada", "GPU-1"),
        )
    world.engine.forget_closed()
    world.clock.advance(2)
    world.engine.tick()
    assert world.told.turns()[-1] == ("opened", "xid_reset_needed", "GPU-2", "automatic", True)
    assert world.incidents()[1]["parent_id"] is None


def test_one_of_two_cards_that_comes_back_does_not_free_the_other(world: World) -> None:
    world.cards("g1", "GPU-1", "GPU-2")
    world.push("g1", event("card_lost", "GPU-1"), event("card_lost", "GPU-2"))
    world.engine.step()
    world.push("g1", event("card_back", "GPU-1"))
    world.engine.step()
    assert world.open() == ["card_lost GPU-2"]
    assert [v.subject for v in world.told.verdicts if v.turn == "ended"] == ["GPU-1"]


def test_a_card_is_no_part_of_a_node_that_is_only_observed(world: World) -> None:
    world.cards("g1", "GPU-1")
    world.push("g1", event("source_blind", "g1", family=Family.NODE), event("card_lost", "GPU-1"))
    world.engine.step()
    assert [row["parent_id"] for row in world.incidents()] == [None, None]
    assert [v.rule for v in world.told.verdicts] == ["source_blind", "card_lost"]


def test_the_same_on_three_nodes_asks_a_person_and_acts_on_none(world: World) -> None:
    for n in range(4):
        world.cards(f"g{n}", f"GPU-{n}")
        world.push(f"g{n}", event("xid", f"GPU-{n}", code="79"))
        world.engine.step()
    assert world.open()[-2:] == [
        "fleet_xid_fallen_off_the_bus xid_fallen_off_the_bus",
        "xid_fallen_off_the_bus GPU-3",
    ]
    rows = {row["subject"]: row for row in world.incidents()}
    fleet = rows["xid_fallen_off_the_bus"]
    assert (fleet["family"], fleet["action"], fleet["severity"]) == ("fleet", "observe", "critical")
    for n in range(4):
        assert (rows[f"GPU-{n}"]["mode"], rows[f"GPU-{n}"]["parent_id"]) == ("advise", fleet["incident_id"])
    last = {v.subject: v.mode.value for v in world.told.verdicts}
    assert last == {**{f"GPU-{n}": "advise" for n in range(4)}, "xid_fallen_off_the_bus": "advise"}


def test_three_cards_of_one_node_are_no_fleet(world: World) -> None:
    world.cards("g1", "GPU-1", "GPU-2", "GPU-3")
    world.push("g1", *(event("xid", f"GPU-{n}", code="95") for n in (1, 2, 3)))
    world.engine.step()
    assert {row["family"] for row in world.incidents()} == {"card"}
    assert {row["mode"] for row in world.incidents()} == {"automatic"}


def test_a_fleet_incident_ends_with_the_last_of_its_nodes_and_the_next_is_new(world: World) -> None:
    for n in range(3):
        world.cards(f"g{n}", f"GPU-{n}")
        world.push(f"g{n}", event("card_lost", f"GPU-{n}"))
    world.engine.step()
    for n in range(3):
        assert any(row["family"] == "fleet" and row["closed_at"] is None for row in world.incidents())
        world.push(f"g{n}", event("card_back", f"GPU-{n}"))
        world.engine.step()
    assert world.open() == []
    assert world.told.verdicts[-1].family == "fleet"


def test_three_nodes_of_one_rack_are_told_by_their_rack(tmp_path: Path) -> None:
    world = World(tmp_path, changes=ALL_ADVISE)
    try:
        for n in range(3):
            world.cards(f"g{n}", f"GPU-{n}")
        us = int(NOW * 1e6)
        with world.store.write() as db:
            keep(db, "csv:racks", "c", [Relation("node", f"g{n}", "rack", "R12") for n in range(3)], us, us)
        for n in range(3):
            world.push(f"g{n}", event("xid", f"GPU-{n}", code="79"))
        world.engine.step()
        fleet = next(row for row in world.incidents() if row["family"] == "fleet")
        assert fleet["subject"] == "rack:R12"
        assert {dict(v.domains).get("rack") for v in world.told.verdicts if v.family == "card"} == {"R12"}
    finally:
        world.close()


def test_without_the_fleet_rule_each_acts_for_itself(tmp_path: Path) -> None:
    world = World(tmp_path, fleet_nodes=0, changes=ALL_ADVISE)
    try:
        for n in range(5):
            world.cards(f"g{n}", f"GPU-{n}")
            world.push(f"g{n}", event("xid", f"GPU-{n}", code="79"))
        world.engine.step()
        assert {v.mode.value for v in world.told.verdicts} == {"automatic"}
        assert len(world.told.verdicts) == 5
    finally:
        world.close()


# ---------------------------------------------------------------------------------------- who held it, who comes back


def hold(world: World, number: int, card: str, user: str) -> None:
    with world.store.write() as db:
        (key,) = db.execute("SELECT card_key FROM card WHERE card_id = ?", [card]).fetchone() or (0,)
        db.execute(
            "INSERT INTO workload (workload_key, workload_id, kind, cluster_id, user_name, origin) "
            "VALUES (?, ?, 'slurm_job', 'c', ?, 'real')",
            [number, f"slurm/c/{number}", user],
        )
        db.execute(
            "INSERT INTO allocation (allocation_id, workload_key, card_key, share_nano, valid_from, valid_to, known_from, "
            "source) VALUES (?, ?, ?, 1000000000, ?, ?, ?, 'slurm')",
            [
                number,
                number,
                key,
                naive_utc(NOW + (number - 1) * 3600),
                naive_utc(NOW + number * 3600),
                naive_utc(NOW),
            ],
        )


def test_two_users_work_on_one_card_is_looked_up_when_it_fails(world: World) -> None:
    world.cards("g1", "GPU-1")
    hold(world, 1, "GPU-1", "ada")
    hold(world, 2, "GPU-1", "bob")
    for n in (0, 1):
        world.clock.advance(60)
        world.push("g1", event("xid", "GPU-1", at=NOW + n * 3600 + 60, code="31"))
        world.engine.step()
        world.clock.advance(3540)
    assert world.open() == ["xid_application GPU-1", "xid_application_of_two GPU-1"]
    assert not any(row["confirmed"] for row in world.incidents())


def test_a_card_isolated_three_times_in_a_month_is_somebodys_decision(world: World) -> None:
    world.cards("g1", "GPU-1")
    with world.store.write() as db:
        for n in range(3):
            db.execute(
                "INSERT INTO isolation (isolation_id, family, subject, reason, actuator, requested_by, isolated_at, "
                "released_at, released_by, placed, undo) VALUES (?, 'card', 'GPU-1', 'r', 'a', 'u', ?, ?, 'ada', '{}', '[]')",
                [n + 1, naive_utc(NOW - n * 5 * 86_400), naive_utc(NOW - n * 5 * 86_400 + 3600)],
            )
    assert [(o.rule, o.subject, o.times) for o in world.engine.look_for_offenders()] == [
        ("offender_card", "GPU-1", 3)
    ]
    assert world.open() == ["offender_card GPU-1"]
    with world.store.cursor() as db:
        assert db.execute("SELECT kind, subject FROM finding WHERE until IS NULL").fetchall() == [
            ("repeat_offender", "GPU-1")
        ]
    with world.store.write() as db:
        db.execute(statements("incidents")["close_incidents_of"], released(NOW + 60, "ada", "GPU-1"))
    world.engine.forget_closed()
    world.clock.advance(120)
    world.engine.tick()
    world.engine.look_for_offenders()
    assert world.open() == []  # a person has dealt with these three


# ---------------------------------------------------------------------------------------- crashes


def test_a_restart_tells_the_open_incidents_again_and_old_ones_are_not_fresh(world: World) -> None:
    world.cards("g1", "GPU-1")
    world.push("g1", event("xid", "GPU-1", code="95"))
    world.engine.step()
    world.told.verdicts.clear()
    world.engine = world.made()
    assert world.told.turns() == [("opened", "xid_reset_needed", "GPU-1", "automatic", True)]
    world.clock.advance(FRESH_SECONDS * 2)
    world.told.verdicts.clear()
    world.engine = world.made()
    assert world.told.turns() == [("opened", "xid_reset_needed", "GPU-1", "automatic", False)]


def test_a_decision_that_cannot_be_written_is_made_again(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.cards("g1", "GPU-1")
    world.push("g1", *(event("xid", "GPU-1", at=NOW - n * 600, code="94") for n in (3, 2, 1)))

    def full(connection: Any, evaluator: Any) -> None:
        raise OSError("no room left")

    with monkeypatch.context() as patched:
        patched.setattr(incident_memory, "keep_states", full)
        with pytest.raises(OSError):
            world.engine.step()
    assert world.incidents() == []
    assert world.told.verdicts == []
    assert world.engine.step() == 1
    assert "xid_contained GPU-1" in world.open()


def test_a_crash_in_the_middle_of_a_count_does_not_begin_it_anew(world: World) -> None:
    world.cards("g1", "GPU-1")
    for n in range(3):
        world.push("g1", event("xid", "GPU-1", at=NOW + n * 600, code="94"))
        world.clock.advance(600)
        world.engine = world.made()
        world.engine.step()
    assert "xid_contained_repeated GPU-1" in world.open()


def test_a_port_that_stays_down_is_told_when_the_node_was_heard_since(world: World) -> None:
    world.cards("g1", "GPU-1")
    world.push("g1", event("port_down", "g1/mlx5_0/1", family=Family.PORT))
    world.engine.step()
    world.clock.advance(300)
    world.engine.tick()
    assert world.open() == []  # nobody has heard the node since: nothing is known
    world.push("g1", samples=(world.sample("g1", Family.NODE, load1=1.0),))
    world.write()
    world.clock.advance(5)
    world.engine.tick()
    assert world.open() == ["port_down g1/mlx5_0/1"]


def test_a_new_fault_is_told_before_the_backlog_of_other_nodes(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fault_engine, "SLICE_SECONDS", 0.0)
    for n in range(20):
        world.push(f"g{n}", event("xid", f"GPU-{n}", at=NOW - 3600, code="79"))
    world.push("g99", event("xid", "GPU-99", code="79"))
    assert world.engine.step() == 2  # the new one, and the oldest
    assert [v.node_id for v in world.told.verdicts if v.fresh] == ["g99"]
    assert world.told.verdicts[0].node_id == "g99"
    while world.engine.step():
        pass
    assert len(world.incidents()) == 21
    assert [v.node_id for v in world.told.verdicts if v.fresh] == ["g99"]


def test_a_node_judged_before_others_is_not_counted_again_after_a_crash(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fault_engine, "SLICE_SECONDS", 0.0)
    for n in range(5):
        world.push(f"g{n}", event("xid", f"GPU-{n}", at=NOW - 3600, code="94"))
    world.push("g99", *(event("xid", "GPU-99", at=NOW - n * 600, code="94") for n in (1, 0)))
    assert world.engine.step() == 2
    assert world.engine.position < world.journals["events"].end
    world.engine = world.made()
    while world.engine.step():
        pass
    assert world.engine.position == world.journals["events"].end
    (once,) = (row for row in world.incidents() if row["subject"] == "GPU-99")
    assert len(json.loads(once["evidence"])) == 2
    world.clock.advance(600)
    world.push("g99", event("xid", "GPU-99", at=NOW + 600, code="94"))
    world.engine.step()
    assert "xid_contained_repeated GPU-99" in world.open()
