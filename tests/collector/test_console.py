"""The console and the API over a real store: states, map planes, pages, refusals."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient

from ullage_collector import api
from ullage_collector.adjust import api as adjust
from ullage_collector.api import Views
from ullage_collector.config import Config
from ullage_collector.console import app as console
from ullage_collector.console import written
from ullage_collector.console.words import LANGUAGES, words
from ullage_collector.fleet_now import STATES, FleetNow
from ullage_collector.isolate import slurm_node
from ullage_collector.isolate.isolation import Isolation
from ullage_collector.isolate.verdict import Mode
from ullage_collector.ownership import api as ownership
from ullage_collector.pricing import api as pricing
from ullage_collector.receive.identity import Identity, Role
from ullage_collector.recommendations import api as recommendations
from ullage_collector.store.store import Store
from ullage_contract.clock import ManualClock
from ullage_contract.event import Severity
from ullage_contract.sample import FACT_NAMES

NOW = 1_795_000_000.0
EVIL = '研发一部 "];#panic()<script>\u202e'


class World:
    """A store with one node of four cards and a client for each role."""

    def __init__(self, path: Path) -> None:
        self.clock = ManualClock(wall=NOW)
        self.store = Store.open(path / "store.duckdb", clock=self.clock)
        self.now = datetime.fromtimestamp(NOW, UTC).replace(tzinfo=None)
        self.isolation = Isolation(
            self.store.cursor,
            {"slurm-node": slurm_node.actuator({"scontrol": "true", "sinfo": "true"})},
            self.clock,
        )
        self.fleet = FleetNow(self.store.cursor, self.clock, keep_seconds=0)
        self.released = 0
        self._fill()

    def _fill(self) -> None:
        from ullage_collector.store.columns import Grain, kind
        from ullage_contract.sample import Family

        with self.store.write() as db:
            db.execute(
                "INSERT INTO node (node_key, cluster_id, node_id, last_seen, origin) VALUES (1, 'c1', 'g1', ?, 'real')",
                [self.now],
            )
            for i in range(5):
                db.execute(
                    "INSERT INTO card (card_key, card_id, node_key, vendor, model, card_index, memory_total_bytes, "
                    "last_seen, origin) VALUES (?, ?, 1, 'nvidia', 'H800', ?, 80000000000, ?, 'simulated')",
                    [10 + i, f"GPU-{i}", i, self.now],
                )
            db.execute(
                "INSERT INTO workload (workload_key, workload_id, kind, cluster_id, user_name, namespace, origin) "
                "VALUES (1, 'slurm/c1/7', 'slurm_job', 'c1', 'ada', 'nlp', 'real')"
            )
            for number, card, share in ((1, 10, 10**9), (2, 11, 10**9), (3, 12, 5 * 10**8)):
                db.execute(
                    "INSERT INTO allocation (allocation_id, workload_key, card_key, node_key, share_nano, valid_from, "
                    "known_from, source) VALUES (?, 1, ?, 1, ?, ?, ?, 'test')",
                    [number, card, share, self.now - timedelta(hours=2), self.now - timedelta(hours=2)],
                )
            db.execute(
                "INSERT INTO department (department_id, name, valid_from, known_from) VALUES ('rd', ?, ?, ?)",
                [EVIL, self.now - timedelta(days=9), self.now - timedelta(days=9)],
            )
            db.execute(
                "INSERT INTO mapping_rule (rule_id, match, priority, department_id, valid_from, known_from, source) "
                "VALUES (1, 'slurm:nlp', 1, 'rd', ?, ?, 'test')",
                [self.now - timedelta(days=9), self.now - timedelta(days=9)],
            )
            db.execute(
                "INSERT INTO price (price_id, model, currency, price_micro, assumed, valid_from, known_from, source) "
                "VALUES (1, 'H*', 'CNY', 20000000, false, ?, ?, 'test')",
                [self.now - timedelta(days=9), self.now - timedelta(days=9)],
            )
            days = self.store.days
            samples = kind(Family.CARD, Grain.SAMPLE)
            day = (self.now - timedelta(minutes=30)).date()
            days.ensure(db, samples, day, ["utilization_ratio", "memory_used_bytes", "power_watts"])
            days.ensure(
                db, samples, self.now.date(), ["utilization_ratio", "memory_used_bytes", "power_watts"]
            )
            for minute in range(30):
                at = self.now - timedelta(minutes=minute)
                table = days.table(samples, at.date()).name
                for key, busy in ((10, 0.9), (11, 0.0), (12, 0.5), (13, 0.0)):
                    db.execute(
                        f"INSERT INTO {table} (time, card_key, node_key, received_at, interval_seconds, monotonic, "
                        "utilization_ratio, memory_used_bytes, power_watts) VALUES (?, ?, 1, ?, 60, 1, ?, 40000000000, 300)",
                        [at, key, at, busy],
                    )

    def client(self, role: Role | None) -> TestClient:
        views = Views(
            self.store.cursor,
            self.fleet,
            self.isolation,
            self.clock,
            self._on_release,
            store=lambda: self.store,
        )
        decided = recommendations.routes(lambda: self.store)
        money = [*adjust.routes(lambda: self.store, Config()), *pricing.routes(views)]
        app = Starlette(
            routes=[*api.routes(views), *ownership.routes(views), *money, *decided, *console.routes(views)]
        )
        identity = None if role is None else Identity("ada", role, departments=("rd",))

        async def known(scope: Any, receive: Any, send: Any) -> None:
            scope.setdefault("state", {})["identity"] = identity
            await app(scope, receive, send)

        return TestClient(known, follow_redirects=False)

    def _on_release(self) -> None:
        self.released += 1


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    yield made
    made.store.close()


def test_each_card_is_in_the_state_its_data_allow(world: World) -> None:
    states = {card.card_id: card.state for card in world.fleet.cards()[1]}
    assert states == {
        "GPU-0": "used",
        "GPU-1": "allocated_idle",
        "GPU-2": "used",
        "GPU-3": "unallocated_idle",
        "GPU-4": "unknown",
    }


def test_the_shares_of_the_states_add_up_to_the_fleet(world: World) -> None:
    snapshot = world.fleet.snapshot()
    assert sum(snapshot.share_by_state.values()) == pytest.approx(5)
    assert snapshot.share_by_state["fragmented"] == pytest.approx(0.5)
    assert sum(count.cards for count in snapshot.cards) == 5
    assert [(cost.department, cost.currency, cost.per_hour) for cost in snapshot.costs] == [("rd", "CNY", 50)]


def test_the_maps_planes_say_what_the_cards_say(world: World) -> None:
    client = world.client(Role.VIEWER)
    topology = client.get("/api/v1/fleet").json()
    body = client.get("/api/v1/fleet/state").content
    magic, version, planes, _, cards, order, at = struct.unpack_from("<4sBBHIIQ", body)
    assert (magic, version, planes, cards, order, at) == (
        b"FMAP",
        1,
        4,
        5,
        topology["version"],
        int(NOW * 1000),
    )
    state, busy, memory, owner = (body[24 + i * 5 : 24 + (i + 1) * 5] for i in range(4))
    assert [STATES[i] for i in state] == ["used", "allocated_idle", "used", "unallocated_idle", "unknown"]
    assert list(busy) == [90, 0, 50, 0, 255]
    assert list(memory) == [50, 50, 50, 50, 255]
    assert list(owner) == [0, 0, 0, 255, 255]
    assert topology["nodes"] == [["g1", 0, 5, 0]]


@pytest.mark.parametrize(
    "path", ["/fleet", "/fleet?view=table", "/card/GPU-1", "/idle", "/findings", "/incidents", "/audit"]
)
@pytest.mark.parametrize("language", ["zh", "en"])
def test_every_page_renders_with_a_strict_policy(world: World, path: str, language: str) -> None:
    answer = world.client(Role.VIEWER).get(path, headers={"accept-language": language})
    assert answer.status_code == 200
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert "unsafe" not in answer.headers["content-security-policy"]
    assert "<script>" not in answer.text
    assert "style=" not in answer.text
    assert "\u202e" not in answer.text
    assert (
        "\u6a21\u62df\u6570\u636e" in answer.text
        or "simulated data" in answer.text
        or path == "/incidents"  # it says so of each incident's own rows, and there are none
    )


def test_the_idle_page_prices_the_idle_time(world: World) -> None:
    text = world.client(Role.VIEWER).get("/idle", headers={"accept-language": "en"}).text
    assert "at least" in text
    assert "9.67 CNY" in text  # 29 minutes of one card at 20 an hour


@pytest.mark.parametrize("card", ["GPU-1", "GPU-unheard-of"])
def test_an_open_incident_shows_its_proposal_or_why_there_is_none(world: World, card: str) -> None:
    with world.store.write() as db:
        proposal = json.dumps(world.isolation.propose(db, card, reason="xid 79"))
        db.execute(
            "INSERT INTO incident (incident_id, family, subject, cause, severity, onset, opened_at, confirmed, action, "
            "proposal, evidence, history, origin) VALUES (1, 'card', ?, 'xid', 'fatal', ?, ?, true, 'isolate_card', ?, "
            """'[{"message": "fell off the bus"}]', false, 'real')""",
            [card, world.now, world.now, proposal],
        )
    text = world.client(Role.VIEWER).get("/incidents", headers={"accept-language": "en"}).text
    assert "fell off the bus" in text
    assert ("nodename=g1 state=drain" if card == "GPU-1" else "no card or node") in text


@pytest.mark.parametrize("language", ["zh", "en"])
def test_severity_and_mode_of_an_incident_are_in_the_readers_words(world: World, language: str) -> None:
    with world.store.write() as db:
        db.execute(
            "INSERT INTO incident (incident_id, family, subject, cause, code, severity, onset, opened_at, confirmed, "
            "action, evidence, history, mode, origin) VALUES (1, 'card', 'GPU-1', 'xid 79', '79', 'fatal', ?, ?, true, "
            """'isolate_card', '[{"message": "off the bus"}, {"message": "off the bus"}]', false, 'shadow', 'real')""",
            [world.now, world.now],
        )
    text = world.client(Role.VIEWER).get("/incidents", headers={"accept-language": language}).text
    said = words(language)
    assert f">{said['severities']['fatal']}</span>" in text
    assert f" · {said['modes']['shadow']}" in text
    assert "xid 79 79" not in text, "a code that the cause names is not said twice"
    assert text.count("off the bus") == 1 and f"+1 {said['events_of']}" in text


def test_an_imported_incident_without_words_shows_no_empty_box(world: World) -> None:
    with world.store.write() as db:
        db.execute(
            "INSERT INTO incident (incident_id, family, subject, cause, severity, onset, opened_at, closed_at, "
            "closed_by, confirmed, action, evidence, history, origin) VALUES (1, 'card', 'GPU-1', 'xid-79', 'fatal', "
            """?, ?, ?, 'import', true, 'none', '[{"message": ""}]', true, 'imported')""",
            [world.now, world.now, world.now],
        )
    text = world.client(Role.VIEWER).get("/incidents", headers={"accept-language": "en"}).text
    assert "xid-79" in text
    assert "<pre>" not in text
    assert words("en")["events_of"] not in text


@pytest.mark.parametrize(
    ("seconds", "zh", "en"),
    [(59, "0 分", "0 min"), (3_660, "1 小时 01 分", "1 h 01 min"), (3 * 86_400, "3 天", "3 d")],
)
def test_a_length_of_time_is_in_the_readers_words(seconds: float, zh: str, en: str) -> None:
    assert written.age(seconds, words("zh")["spans"]) == zh
    assert written.age(seconds, words("en")["spans"]) == en


@pytest.mark.parametrize(
    ("value", "name", "shown"),
    [
        (85_899_345_920, "memory_total_bytes", "80 GiB"),
        (700, "power_limit_default_watts", "700 W"),
        (["power_watts", "fan_ratio"], "unsupported", "power_watts, fan_ratio"),
        (0, "index", "0"),
        ("x\u202e", "serial", "x"),
    ],
)
def test_a_fact_is_written_with_its_unit(value: Any, name: str, shown: str) -> None:
    assert written.fact(value, name) == shown
    assert all(name in words(language)["fact_names"] for language in LANGUAGES)


def test_names_of_facts_are_those_of_the_contract() -> None:
    for language in LANGUAGES:
        assert set(words(language)["fact_names"]) <= set(FACT_NAMES)


@pytest.mark.parametrize("language", LANGUAGES)
def test_no_word_of_a_language_is_given_twice(language: str) -> None:
    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        names = [name for name, _ in pairs]
        assert len(names) == len(set(names)), sorted(name for name in names if names.count(name) > 1)
        return dict(pairs)

    source = Path(console.__file__).with_name(f"words.{language}.json")
    json.loads(source.read_text(encoding="utf-8"), object_pairs_hook=once)


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_severity_and_mode_has_a_word(language: str) -> None:
    assert set(words(language)["severities"]) == {severity.value for severity in Severity}
    assert {mode.value for mode in Mode} <= set(words(language)["modes"])


def test_an_incident_shows_what_it_cost_by_the_ledgers_lines(world: World) -> None:
    hour_us = 3_600_000_000
    begun = int(NOW) * 1_000_000 - 2 * hour_us
    with world.store.write() as db:
        db.execute(
            "INSERT INTO incident (incident_id, family, subject, cause, severity, onset, opened_at, confirmed, action, "
            "evidence, history, origin) VALUES (1, 'card', 'GPU-1', 'xid', 'fatal', ?, ?, true, 'isolate_card', '[]', "
            "false, 'real')",
            [world.now, world.now],
        )
        db.execute(
            "INSERT INTO segment (day, revision, card_key, from_us, to_us, state, share_nano, department_id, price_micro, "
            "currency, inventory_id, incident_id) VALUES (make_timestamp(?)::DATE, 1, 1, ?, ?, 'faulty', 1000000000, "
            "'platform', 20000000, 'CNY', 1, 1)",
            [begun, begun, begun + hour_us],
        )
    client = world.client(Role.VIEWER)
    assert (
        "lost 1.00 card-hours, 20.00 CNY" in client.get("/incidents", headers={"accept-language": "en"}).text
    )
    assert "损失 1.00 卡时, 20.00 CNY" in client.get("/incidents", headers={"accept-language": "zh"}).text


def test_a_gap_in_the_readings_shows_as_a_gap(world: World) -> None:
    client = world.client(Role.VIEWER)
    query = {"key": "utilization_ratio", "from": str(NOW - 3600), "to": str(NOW + 1), "step": "30"}
    body = client.get("/api/v1/cards/GPU-0/series", params=query).json()
    assert None in body["series"]["utilization_ratio"]
    assert len(body["time"]) == len(body["series"]["utilization_ratio"])
    assert client.get("/api/v1/cards/GPU-4/series", params=query).json()["time"] == []


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/api/v1/cards/nope", 404),
        ("/api/v1/cards/GPU-0/series?key=card_key", 400),
        ("/api/v1/cards/GPU-0/series?key=utilization_ratio;drop", 400),
        ("/api/v1/cards/GPU-0/series?key=utilization_ratio&from=yesterday", 400),
        ("/api/v1/cards/GPU-0/series?key=utilization_ratio&from=0&to=1000000&step=1", 400),
        ("/api/v1/ledger?by=mood", 400),
        ("/api/v1/nothing", 404),
    ],
)
def test_a_wrong_question_gets_a_clear_error(world: World, path: str, status: int) -> None:
    answer = world.client(Role.VIEWER).get(path)
    assert answer.status_code == status
    assert set(answer.json()) == {"schema_version", "error", "message"}


def test_nobody_reads_without_a_role_and_a_viewer_does_not_act(world: World) -> None:
    assert world.client(None).get("/api/v1/cards").status_code == 401
    assert world.client(None).get("/fleet").headers["location"] == "/login"
    assert world.client(Role.NODE).get("/api/v1/cards").status_code == 403
    assert world.client(Role.DEPARTMENT).get("/api/v1/cards").status_code == 403
    assert world.client(Role.DEPARTMENT).get("/api/v1/ledger").status_code == 200
    refused = world.client(Role.VIEWER).post("/api/v1/isolate", json={"subject": "GPU-0", "reason": "x"})
    assert refused.status_code == 403
    assert world.store.cursor().execute("SELECT count(*) FROM audit").fetchone() == (0,)


def test_a_card_is_isolated_only_after_its_nodes_name_was_typed(world: World) -> None:
    client = world.client(Role.OPERATOR)
    wrong = client.post("/card/GPU-1", data={"act": "isolate", "reason": "hot", "node": "g2"})
    assert wrong.status_code == 409
    dry = client.post("/card/GPU-1", data={"act": "isolate-dry", "reason": "hot"})
    assert "nodename=g1 state=drain" in dry.text
    assert client.get("/api/v1/isolations").json()["isolations"] == []
    assert (
        client.post("/card/GPU-1", data={"act": "isolate", "reason": "hot", "node": "g1"}).status_code == 200
    )
    assert [row["subject"] for row in client.get("/api/v1/isolations").json()["isolations"]] == ["GPU-1"]
    assert {card.card_id: card.state for card in world.fleet.cards()[1]}["GPU-1"] == "isolated"


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("departments/rollup", "from and to"),
        ("departments/rollup?from=2026-10-01&to=2026-11-01&tree=oak", "neither then, now nor a time"),
        ("departments/rollup?from=2026-11-01&to=2026-10-01", "more than nothing"),
        ("departments?at=2026-10-01T00:00", "lacks an offset"),
        ("departments?at=0001-01-01T00:00%2B08:00", "no day or time"),
        ("ledger?to=0001-01-02", "years 1970 to 9998"),
        ("mapping/check?at=0001-01-01", "years 1970 to 9998"),
        ("allocations?from=1e15", "years 1970 to 9998"),
        ("ledger?from=9999-12-30&to=9999-12-31&zone=America/New_York", "years 1970 to 9998"),
        ("mapping/check?days=0", "days 0"),
        ("mapping/explain", "workload"),
        ("mapping/explain?workload=nobody", "no workload"),
    ],
)
def test_a_question_that_is_none_is_told_what_to_ask(world: World, path: str, said: str) -> None:
    answer = world.client(Role.VIEWER).get(f"/api/v1/{path}")
    assert answer.status_code == 400
    assert said in answer.json()["message"]


def test_a_departments_token_sums_its_own_and_checks_nobodys_rules(world: World) -> None:
    client = world.client(Role.DEPARTMENT)
    assert client.get("/api/v1/departments/rollup?from=2026-10-01&to=2026-11-01").status_code == 200
    assert client.get("/api/v1/mapping/check").status_code == 403


def test_every_route_of_the_api_answers(world: World) -> None:
    client = world.client(Role.ADMIN)
    for path in (
        "cards",
        "cards/GPU-1",
        "nodes",
        "allocations",
        "incidents",
        "findings",
        "departments",
        "departments/rollup?from=2026-10-01&to=2026-11-01&tree=now",
        "mapping/check?days=3",
        "mapping/coverage",
        "closings",
        "adjustments",
        "prices?at=2026-10-01",
        "prices/check",
        "ledger",
        "audit",
    ):
        answer = client.get(f"/api/v1/{path}")
        assert answer.status_code == 200, path
        assert answer.json()["schema_version"] == 1
