"""Agents that push, files that say, one round that compares: findings in the store, answers of the API, the commands."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient
from tests.collector.fleet_fixture import NOON, Fleet, card_sample

from ullage_collector.api import Views
from ullage_collector.cli import main
from ullage_collector.config import Config, load
from ullage_collector.detect.rounds import Rounds
from ullage_collector.detect.sizing.watch import SizingWatch
from ullage_collector.estate import answers
from ullage_collector.fleet_now import FleetNow
from ullage_collector.imports import map as maps
from ullage_collector.imports.door import import_file
from ullage_collector.isolate.isolation import Isolation
from ullage_collector.receive.identity import Identity, Role
from ullage_collector.store.store import naive_utc
from ullage_collector.topology.door import Asked, import_topology
from ullage_contract.errors import ConfigError
from ullage_contract.sample import Facts, Family, Sample

HOUR = 3600.0
FIXTURES = Path(__file__).parents[1] / "fixtures" / "topology"


class Estate:
    """Three nodes of cluster c1 with two cards and a port each; everything happens on one clock."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.fleet = Fleet(folder)
        self.clock = self.fleet.clock
        self.drivers = {"n1": "550.54.15", "n2": "550.54.15", "n3": "550.54.15"}
        self.silent: set[str] = set()

    def hear(self) -> None:
        """Every node that speaks sends a row and all its facts."""
        now = self.clock.wall()
        for number, (node, driver) in enumerate(self.drivers.items(), 1):
            if node in self.silent:
                continue
            cards = [f"GPU-{node}-{n}" for n in range(2)]
            facts = [
                Facts(
                    Family.CARD,
                    card,
                    now,
                    {
                        "vendor": "nvidia",
                        "model": "NVIDIA H800",
                        "serial": f"S-{card}",
                        "driver_version": driver,
                        "pci_address": f"0000:3{n}:00.0",
                        "nearest_ports": [f"{node}/mlx5_0/1"],
                    },
                )
                for n, card in enumerate(cards)
            ]
            port = {
                "node_guid": f"a088:c203:000{number}:0001",
                "role": "fabric",
                "device": "mlx5_0",
                "port": 1,
            }
            facts.append(Facts(Family.PORT, f"{node}/mlx5_0/1", now, port))
            facts.append(Facts(Family.NODE, node, now, {"kernel_version": "5.15.0-91-generic"}))
            samples = [card_sample(card, now, {"power_watts": 300.0}) for card in cards]
            samples.append(
                Sample(Family.PORT, f"{node}/mlx5_0/1", now, now - NOON + 1000, 10.0, {}, {}, "boot-1")
            )
            self.fleet.push(samples, node=node, stream=f"{number}" * 32, facts=facts)
        self.fleet.writer.drain()
        with self.fleet.store.write() as cursor:
            self.fleet.store.identities.flush_seen(cursor)

    def load(self, kind: str, text: str) -> None:
        path = self.folder / f"{kind}-{self.clock.wall():.0f}.csv"
        path.write_text(text, encoding="utf-8")
        import_file(self.fleet.store, kind, path, maps.load(None))

    def open(self) -> dict[tuple[str, str], dict[str, Any]]:
        rows = self.fleet.rows("SELECT kind, subject, evidence FROM finding WHERE until IS NULL ORDER BY ALL")
        return {(kind, subject): json.loads(text) for kind, subject, text in rows}

    def listed(self, *nodes: str, life: str = "in_service") -> str:
        begins = naive_utc(NOON - 30 * 24 * HOUR).isoformat() + "Z"
        rows = [f"GPU-{node}-{n},c1,{node},nvidia,H800,{life},{begins}" for node in nodes for n in range(2)]
        return "card_id,cluster_id,node_id,vendor,model,life,from\n" + "\n".join(rows) + "\n"


@pytest.fixture
def estate(tmp_path: Path) -> Iterator[Estate]:
    found = Estate(tmp_path)
    yield found
    found.fleet.close()


def rounds(estate: Estate, config: Config | None = None) -> Rounds:
    return Rounds(lambda: estate.fleet.store, config or Config())


def test_a_round_finds_what_is_wrong_and_ends_what_is_so_no_more(estate: Estate) -> None:
    round_ = rounds(estate)
    estate.load("inventory", estate.listed("n1", "n2", "n4"))
    estate.drivers["n3"] = "535.104.05"
    estate.hear()
    found = round_.round()
    assert (found.opened, found.ended) == (2, 0)
    assert set(estate.open()) == {("owned_not_seen", "n4"), ("version_drift", "n3")}
    assert estate.open()[("owned_not_seen", "n4")]["reason"] == "node_never_seen"
    estate.load("inventory", estate.listed("n4", life="retired"))
    assert round_.round().ended == 1


def test_a_detector_with_a_bug_stops_no_other(
    estate: Estate, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: Any) -> Any:
        raise KeyError("a bug")

    monkeypatch.setattr(SizingWatch, "look", broken)
    estate.load("inventory", estate.listed("n1", "n2", "n3", "n4"))
    estate.hear()
    assert rounds(estate).round().opened == 1
    assert set(estate.open()) == {("owned_not_seen", "n4")}
    assert "sizing findings stay as they are" in caplog.text


def test_a_silent_node_is_found_after_an_hour_of_listening_and_a_restart_starts_it_anew(
    estate: Estate,
) -> None:
    round_ = rounds(estate)
    estate.load("inventory", estate.listed("n1", "n2", "n3"))
    estate.hear()
    estate.silent.add("n2")
    for _ in range(4):
        estate.clock.advance(HOUR / 4)
        estate.hear()
    assert round_.round().opened == 1
    assert estate.open()[("owned_not_seen", "n2")]["reason"] == "node_silent"
    again = rounds(estate)  # the collector comes back
    assert (
        again.round().ended == 0
    )  # it has not listened long enough to take anything back, or to say it anew
    assert ("owned_not_seen", "n2") in estate.open()
    estate.silent.clear()
    estate.hear()
    assert again.round().ended == 1


def test_drift_in_a_pool_needs_a_majority_and_carries_what_a_person_checks(estate: Estate) -> None:
    estate.drivers["n3"] = "535.104.05"
    estate.hear()
    rounds(estate).round()
    found = estate.open()[("version_drift", "n3")]
    assert (found["most_run"], found["most"], found["of"]) == ("550.54.15", 4, 6)
    assert found["subjects"] == ["GPU-n3-0", "GPU-n3-1"]
    estate.drivers["n3"] = "550.54.15"
    estate.clock.advance(HOUR)
    estate.hear()
    assert rounds(estate).round().ended == 1


def test_a_change_before_a_fault_is_found_with_both_versions_and_times(estate: Estate) -> None:
    estate.hear()
    estate.clock.advance(2 * HOUR)
    estate.drivers["n1"] = "560.28.03"
    estate.hear()
    with estate.fleet.store.write() as cursor:
        cursor.execute(
            "INSERT INTO incident (incident_id, family, subject, cause, severity, onset, opened_at, confirmed, action, "
            "evidence, history, origin) VALUES (1, 'card', 'GPU-n1-0', 'xid-79', 'fatal', ?, ?, true, 'isolate_card', "
            "'[]', false, 'real')",
            [naive_utc(estate.clock.wall() + HOUR)] * 2,
        )
    estate.clock.advance(2 * HOUR)
    rounds(estate).round()
    found = estate.open()[("version_change_before_fault", "GPU-n1-0")]
    assert [(c["from"], c["to"], c["hours_before"]) for c in found["changes"]] == [
        ("550.54.15", "560.28.03", 1.0)
    ]


def test_a_running_job_on_two_drivers_is_found(estate: Estate) -> None:
    estate.drivers["n2"] = "535.104.05"
    estate.hear()
    begins = naive_utc(estate.clock.wall() - HOUR).isoformat() + "Z"
    estate.load(
        "allocations",
        "workload_id,cluster_id,node_id,card_id,from\n"
        f"slurm/c1/nlp/1,c1,n1,GPU-n1-0,{begins}\nslurm/c1/nlp/1,c1,n2,GPU-n2-0,{begins}\n",
    )
    rounds(estate).round()
    found = estate.open()[("version_drift_in_job", "slurm/c1/nlp/1")]
    assert found["versions"] == {"535.104.05": ["GPU-n2-0"], "550.54.15": ["GPU-n1-0"]}


def test_the_sites_minimum_is_read_from_the_settings(estate: Estate, tmp_path: Path) -> None:
    settings = tmp_path / "collector.toml"
    settings.write_text(
        '[[versions.minimum]]\nname = "driver"\nvendor = "nvidia"\nversion = "560"\nsource = "us"\n'
    )
    estate.hear()
    rounds(estate, load(settings)).round()
    assert ("version_below_minimum", "n1") in estate.open()
    settings.write_text('[[versions.minimum]]\nname = "driver"\n')
    with pytest.raises(ConfigError, match="write the version"):
        rounds(estate, load(settings))


def test_agents_facts_become_topology_and_are_not_said_twice(estate: Estate) -> None:
    estate.hear()
    round_ = rounds(estate)
    round_.round()
    rows = estate.fleet.rows("SELECT relation, count(*) FROM topology GROUP BY 1 ORDER BY 1")
    assert rows == [("nearest_port", 6), ("node", 9), ("pci_address", 6)]
    before = estate.fleet.one("SELECT count(*) FROM topology")
    rounds(estate).round()
    round_.round()
    assert estate.fleet.one("SELECT count(*) FROM topology") == before


def test_two_sources_that_contradict_each_other_are_a_finding_until_one_is_corrected(estate: Estate) -> None:
    estate.hear()
    table = estate.folder / "racks.csv"
    table.write_text("node,rack\nn1,A07\n")
    nodes = estate.folder / "nodes.json"
    nodes.write_text(
        json.dumps({"metadata": {"name": "n1", "labels": {"topology.kubernetes.io/rack": "A08"}}})
    )
    for file, form in ((table, "csv"), (nodes, "kubernetes")):
        import_topology(estate.fleet.store, Asked(file, form), {})
    round_ = rounds(estate)
    round_.round()
    assert estate.open()[("topology_conflict", "n1")]["believed"] == "A07"
    table.write_text("node,rack\nn1,A08\n")
    estate.clock.advance(60)
    import_topology(estate.fleet.store, Asked(table, "csv"), {})
    estate.clock.advance(60)
    assert round_.round().ended == 1


@pytest.mark.parametrize("part", ["placement", "sizing", "uneven"])
def test_a_misspelt_setting_of_a_detector_is_told_at_the_start(estate: Estate, part: str) -> None:
    with pytest.raises(ConfigError, match="rulez"):
        rounds(estate, Config(parts={part: {"rulez": "x.toml"}}))


# ------------------------------------------------------------------------------------------------ API
def client(estate: Estate, role: Role = Role.VIEWER, how: str = "token") -> TestClient:
    store = estate.fleet.store
    isolation = Isolation(store.cursor, {}, estate.clock)
    views = Views(store.cursor, FleetNow(store.cursor, estate.clock), isolation, estate.clock, lambda: None)
    app = Starlette(routes=answers.routes(views, Config(), lambda: store))

    async def known(scope: Any, receive: Any, send: Any) -> None:
        scope.setdefault("state", {})["identity"] = Identity("ada", role, how=how)
        await app(scope, receive, send)

    return TestClient(known)


def test_the_topology_of_an_earlier_time_is_answered(estate: Estate) -> None:
    estate.hear()
    table = estate.folder / "racks.csv"
    began = estate.clock.wall()
    for rack in ("A", "B"):
        table.write_text(f"node,rack\nn1,{rack}\n")
        import_topology(estate.fleet.store, Asked(table, "csv"), {})
        estate.clock.advance(HOUR)
    ask = client(estate)

    def racks(**parameters: Any) -> list[str]:
        answer = ask.get("/api/v1/topology", params=parameters)
        assert answer.status_code == 200, answer.text
        return [row["target"] for row in answer.json()["rows"]]

    assert racks() == ["B"]
    assert racks(at=began + 60) == ["A"]
    assert racks(at=(naive_utc(began) + timedelta(minutes=1)).isoformat() + "Z") == ["A"]
    assert racks(at=began - 60) == []
    assert racks(known=began + 60) == ["A"]  # what was believed before the second import
    assert racks(node="n2") == []
    assert ask.get("/api/v1/topology", params={"at": "noon"}).status_code == 400
    assert ask.get("/api/v1/topology", params={"at": "2026-10-21T12:00:00"}).json()["error"] == "bad_input"
    assert ask.get("/api/v1/topology/check").json()["unknown"]["rack"]["nodes"] == 2


def test_inventory_and_versions_are_answered_and_a_file_is_imported_on_the_socket_alone(
    estate: Estate,
) -> None:
    estate.load("inventory", estate.listed("n1"))
    estate.hear()
    ask = client(estate)
    found = ask.get("/api/v1/inventory/reconcile").json()
    assert {row["kind"] for row in found["findings"]} == {"unlisted_card"}
    assert len(found["findings"]) == 4
    assert ask.get("/api/v1/inventory/history", params={"of": "GPU-n1-0"}).json()["cards"] == ["GPU-n1-0"]
    assert ask.get("/api/v1/inventory/history", params={"of": "nobody"}).status_code == 400
    drivers = next(row for row in ask.get("/api/v1/versions").json()["versions"] if row["name"] == "driver")
    assert drivers["versions"] == [{"version": "550.54.15", "count": 6}]
    ran = ask.get("/api/v1/versions", params={"of": "GPU-n1-0"}).json()["ran"]
    assert [(row["name"], row["version"], row["to_us"]) for row in ran] == [("driver", "550.54.15", None)]
    body = {"file": str(FIXTURES / "tree.conf"), "format": "slurm-conf", "cluster": "c1"}
    assert client(estate, Role.OPERATOR).post("/api/v1/topology/import", json=body).status_code == 403
    assert ask.post("/api/v1/topology/import", json=body).status_code == 403
    socket = client(estate, Role.OPERATOR, "socket")
    assert socket.post("/api/v1/topology/import", json=body).json()["imports"][0]["rows_added"] == 9
    assert socket.post("/api/v1/topology/import", json={"file": 7}).status_code == 400
    assert client(estate, Role.DEPARTMENT).get("/api/v1/topology").status_code == 403


# ------------------------------------------------------------------------------------------------ commands
@pytest.fixture(autouse=True)
def _root_handlers() -> Iterator[None]:
    root = logging.getLogger()
    before = list(root.handlers), root.level
    yield
    root.handlers, level = before
    root.setLevel(level)


def run(data: Path, capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, Any]:
    code = main(["--data", str(data), "--log-level", "error", *arguments])
    out = capsys.readouterr().out
    return code, json.loads(out) if out.startswith("{") else out


def test_the_commands_answer_without_a_collector_that_serves(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cards = tmp_path / "cards.csv"
    cards.write_text(
        "card_id,node_id,vendor,model,serial,life,from,replaces\n"
        "G1,gpu-a01,nvidia,H800,S1,in_service,2026-01-01T00:00:00Z,\n"
        "G9,gpu-a01,nvidia,H800,S9,in_service,2026-04-01T00:00:00Z,S1\n"
    )
    assert run(tmp_path / "d", capsys, "import", "inventory", str(cards))[0] == 0
    code, found = run(tmp_path / "d", capsys, "inventory", "history", "S1", "--json")
    assert (code, found["asset_id"], found["cards"]) == (0, "G1", ["G1", "G9"])
    assert found["lives"][0]["valid_to"] == "2026-04-01T00:00:00Z"
    code, text = run(tmp_path / "d", capsys, "inventory", "history", "G9")
    assert code == 0
    assert "asset G1" in text
    assert main(["--data", str(tmp_path / "d"), "inventory", "history", "G7"]) == 2
    assert "'G7' is not listed" in capsys.readouterr().err
    code, found = run(tmp_path / "d", capsys, "inventory", "reconcile", "--json")
    assert code == 3
    assert [row["kind"] for row in found["findings"]] == ["owned_not_seen"]

    for name, form in (
        ("tree.conf", "slurm-conf"),
        ("racks.csv", "csv"),
        ("ibnetdiscover.txt", "ibnetdiscover"),
    ):
        code, found = run(
            tmp_path / "d", capsys, "import", "topology", str(FIXTURES / name), "--format", form
        )
        assert code == 0
        assert found["imports"][0]["rows_added"] > 0
    again = run(tmp_path / "d", capsys, "import", "topology", str(FIXTURES / "racks.csv"), "--format", "csv")
    assert again[1]["imports"][0]["rows_added"] == 0
    lldp = str(FIXTURES / "lldpctl.json")
    assert main(["--data", str(tmp_path / "d"), "import", "topology", lldp, "--format", "lldp-json"]) == 2
    assert "--node" in capsys.readouterr().err
    assert (
        run(tmp_path / "d", capsys, "import", "topology", lldp, "--format", "lldp-json", "--node", "gpu-a01")[
            0
        ]
        == 0
    )
    code, found = run(tmp_path / "d", capsys, "topology", "check", "--json")
    assert code == 3  # nodes that nobody knows are named
    assert {s["node"] for s in found["strangers"]} >= {"gpu-a02", "login1"}
    code, text = run(tmp_path / "d", capsys, "topology", "show", "--node", "gpu-a01")
    assert code == 0
    assert "tor-07a" in text
    code, found = run(tmp_path / "d", capsys, "topology", "show", "--at", "2020-01-01T00:00:00Z", "--json")
    assert found["total"] == 0
    code, found = run(tmp_path / "d", capsys, "versions", "--json")
    assert (code, found["versions"], found["findings"]) == (0, [], [])
