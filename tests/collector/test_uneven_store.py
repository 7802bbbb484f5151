"""Uneven use on a real store: requests and quota hours as sources said them, published states, the finding, route and command."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from tests.collector.finding_pages import client, seen
from tests.collector.quota_world import CARD, DAWN, QuotaWorld, at, us

from ullage_collector.cli import main
from ullage_collector.config import Config
from ullage_collector.detect.rounds import Rounds
from ullage_collector.detect.uneven.finding import KIND
from ullage_collector.ledger import HOUR_US, cost_atoms, formatted, quantity, rounded
from ullage_collector.quota.hours import make
from ullage_collector.states import States
from ullage_collector.store.columns import Grain, kind
from ullage_contract.sample import Family

QUOTAS = """\
tree,name,parent,pool,vendor,model,min,max,department,binds
site,root,,*,nvidia,H800,,,,
site,nlp,root,*,nvidia,H800,4,4,nlp,department:nlp
site,ads,root,*,nvidia,H800,4,12,ads,department:ads
"""
MICRO = 12_345_678


class World(QuotaWorld):
    """Twelve H800 on three nodes: nlp holds 4 and waits for 3 more from 2 to 8 at its ceiling, ads holds 4 and uses 2."""

    def fill(self) -> None:
        for node in ("n1", "n2", "n3"):
            self.cards(4, node=node, pool="train")
        self.run(
            "INSERT INTO price (price_id, model, currency, price_micro, assumed, valid_from, known_from, source) "
            "VALUES (1, 'H800', 'CNY', ?, false, ?, ?, 'list.csv')",
            *(MICRO, at(-2400), at(-2400)),
        )
        self.rule("k8s:nlp", "nlp")
        self.rule("k8s:ads", "ads")
        self.bring("quotas", QUOTAS, "quotas.csv", since_us=us(-24))
        self.hold("k8s/dc1/nlp/a", ["G1", "G2", "G3", "G4"], -1, None)
        self.hold("k8s/dc1/ads/b", ["G5", "G6", "G7", "G8"], -1, None)
        for card, busy in (*((n, 0.9) for n in range(1, 7)), (7, 0.0), (8, 0.0)):
            self.minutes(f"G{card}", busy)
        self.run(
            "INSERT INTO request (request_id, source, cluster_id, workload_id, kind, asked_at, cards_nano, resource, namespace, "
            "valid_from, valid_to, known_from) VALUES (1, 'kubernetes', 'dc1', 'k8s/dc1/nlp/c/u', 'kubernetes_pod', ?, ?, "
            "'nvidia.com/gpu', 'nlp', ?, ?, ?)",
            *(at(2), 3 * CARD, at(2), at(8), at(2)),
        )

    def minutes(self, card: str, busy: float) -> None:
        minutes = kind(Family.CARD, Grain.MINUTE)
        columns = ["utilization_ratio", "utilization_ratio_max"]
        with self.store.write() as db:
            self.store.days.ensure(db, minutes, datetime.fromtimestamp(DAWN, UTC).date(), columns)
            db.execute(
                f"INSERT INTO {self.store.days.table(minutes, datetime.fromtimestamp(DAWN, UTC).date()).name} "
                "(minute, card_key, node_key, covered_seconds, samples, origin, utilization_ratio, utilization_ratio_max) "
                "SELECT ?::TIMESTAMP + to_minutes(m), ?, ?, 60, 6, 'real', ?, ? FROM range(1440) r(m)",
                [at(0), *self._cards[card], busy, busy],
            )

    def publish(self) -> None:
        make(self.store, us(0), us(24))
        with self.store.write() as cursor:
            now = datetime.fromtimestamp(self.clock.wall(), UTC)
            States(cursor).make(datetime.fromtimestamp(DAWN, UTC).date(), now)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path, now=30.0)
    made.fill()
    yield made
    made.close()


def test_without_a_day_published_lately_what_stands_stays(world: World) -> None:
    world.publish()
    Rounds(lambda: world.store, config(world)).round()
    world.clock.step_wall(4 * 86400)
    world.run("DELETE FROM request")
    Rounds(lambda: world.store, config(world)).round()
    assert len(seen(world.store, KIND)) == 1
    world.clock.step_wall(-4 * 86400 + 3700)
    Rounds(lambda: world.store, config(world)).round()
    assert seen(world.store, KIND) == []


def config(world: World, **uneven: Any) -> Config:
    text = "schema_version = 1\n[finding]\nleast_card_hours = 10\n"
    path = world.folder / "uneven.toml"
    path.write_text(text, encoding="utf-8")
    return Config(data=world.folder, parts={"uneven": {"rules": str(path), **uneven}})


def test_who_waited_at_its_ceiling_beside_free_cards_is_found_and_read_everywhere(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    rounds = Rounds(lambda: world.store, config(world))
    rounds.round()
    assert seen(world.store, KIND) == []  # nothing is published yet
    world.publish()
    rounds.round()
    (told,) = seen(world.store, KIND)
    evidence = told["evidence"]
    assert (told["subject"], told["action"], evidence["model"]) == ("nlp", "raise_max", "H800")
    # 3 cards waited for 6 hours; 4 were free, and 2 of ads idled
    assert (evidence["overlap_card_hours"], evidence["hours"], evidence["idle"]) == (
        18.0,
        6,
        {"free": 18.0},
    )
    assert evidence["idle_nodes"] == ["n3"] and evidence["at_its_ceiling_card_hours"] == 18.0
    atoms = cost_atoms(3 * quantity(CARD, 0, 6 * HOUR_US), MICRO)
    assert (
        evidence["cost"] == evidence["cost_per_day"] == {"CNY": formatted(rounded(atoms, "CNY"))}
    )  # one day is published

    answer = client(world.store).get("/api/v1/uneven", params={"from": DAWN, "to": DAWN + 86400}).json()
    assert (answer["overlap_card_hours"], answer["cost"], answer["days_published"]) == (
        "18",
        evidence["cost"],
        1,
    )
    assert [hour["overlap_card_hours"] for hour in answer["hours"]] == ["3"] * 6
    (between,) = answer["between"]
    assert (between["waiting"], between["idle"], between["action"]) == ("nlp", "free", "raise_max")
    assert client(world.store).get("/api/v1/uneven", params={"from": DAWN, "to": DAWN}).status_code == 400

    path = world.folder / "collector" / "store.duckdb"
    path.parent.mkdir()
    world.store.close()
    (world.folder / "store.duckdb").rename(path)
    code = main(
        [
            "uneven",
            "--from",
            "2026-10-21T00:00:00Z",
            "--to",
            "2026-10-22T00:00:00Z",
            "--data",
            str(world.folder),
        ]
    )
    assert (
        code,
        "nlp waited for H800 on dc1; free, pool train idled: 18 card-hours" in capsys.readouterr().out,
    ) == (0, True)
    assert (
        main(["uneven", "--json", "--data", str(world.folder)]) == 3
    )  # of the week before six days are missing
    assert json.loads(capsys.readouterr().out)["between"] == answer["between"]


@pytest.mark.parametrize("holder", ["bio", "nlp"])
def test_held_idle_cards_of_another_are_to_be_lent(world: World, holder: str) -> None:
    """bio works on the last four: ads' two idle ones are left. Where they are nlp's and silent, they may be its own way out."""
    world.hold(f"k8s/dc1/{holder}/d", ["G9", "G10", "G11", "G12"], -1, None)
    if holder == "bio":
        for card in range(9, 13):
            world.minutes(f"G{card}", 0.8)
        world.run("UPDATE request SET cards_nano = ?", 2 * CARD)
    world.publish()
    Rounds(lambda: world.store, config(world)).round()
    found = seen(world.store, KIND)
    if holder == "nlp":
        assert found == []
        return
    (told,) = found
    assert (told["action"], told["evidence"]["idle"]) == ("lend", {"ads": 12.0})
    assert told["evidence"]["workloads"] == ["k8s/dc1/ads/b"]


def test_warm_replicas_are_not_to_be_lent(world: World) -> None:
    """ads' two idle cards are of a service that waits for requests."""
    world.hold("k8s/dc1/bio/d", ["G9", "G10", "G11", "G12"], -1, None)
    for card in range(9, 13):
        world.minutes(f"G{card}", 0.8)
    world.run("UPDATE workload SET scenario = 'Online-Serving' WHERE workload_id = 'k8s/dc1/ads/b'")
    world.publish()
    assert world.store.cursor().execute(
        "SELECT DISTINCT scenario FROM segment WHERE state = 'allocated_idle'"
    ).fetchall() == [("Online-Serving",)]
    Rounds(lambda: world.store, config(world)).round()
    assert seen(world.store, KIND) == []
