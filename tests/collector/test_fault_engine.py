"""The fault engine over a real store: samples, who held a card, and who comes back again and again."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from engine_world import ALL_ADVISE, NOW, World, event
from tests.collector.fault_world import released

from ullage_collector import fault_engine
from ullage_collector.fault_intake import FRESH_SECONDS
from ullage_collector.sql import statements
from ullage_collector.store.store import naive_utc
from ullage_contract.sample import Facts, Family


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path, changes=ALL_ADVISE)
    yield made
    made.close()


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
