"""Freeze, approvals and the list of isolations, by API, page, /metrics and command."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient
from tests.collector.isolation_world import World

from ullage_collector import api
from ullage_collector.api import Views
from ullage_collector.cli import main
from ullage_collector.console import app as console
from ullage_collector.console.words import LANGUAGES, words
from ullage_collector.fleet_now import FleetNow
from ullage_collector.isolate import answers, follow_call
from ullage_collector.isolate.assembly import Assembly
from ullage_collector.isolate.intent import State
from ullage_collector.isolate.verdict import Follow, Mode
from ullage_collector.receive.identity import Identity, Role
from ullage_collector.store.store import Store


def client(world: World, role: Role = Role.OPERATOR, *, language: str = "en") -> TestClient:
    acting = Assembly(world.isolation, world.policy, world.lifecycle, world.freeze, world.book)
    fleet = FleetNow(world.connect, world.clock, keep_seconds=0)
    views = Views(world.connect, fleet, world.isolation, world.clock, lambda: None, acting)
    app = Starlette(routes=[*api.routes(views), *answers.routes(acting), *console.routes(views)])

    async def known(scope: Any, receive: Any, send: Any) -> None:
        scope.setdefault("state", {})["identity"] = Identity("ada", role)
        await app(scope, receive, send)

    return TestClient(known, follow_redirects=False, headers={"Accept-Language": language})


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    made = Store.open(tmp_path / "store.duckdb")
    yield made
    made.close()


def test_the_button_freezes_and_every_page_says_so_until_it_is_undone(store: Store) -> None:
    world = World(connect=store.cursor)
    operator = client(world)
    assert "Frozen" not in operator.get("/fleet").text
    done = operator.post("/isolations", data={"act": "freeze", "reason": "bad rule <b>"})
    assert done.status_code == 303
    for page in ("/fleet", "/idle", "/incidents", "/isolations", "/audit", "/card/n0-0", "/nowhere"):
        text = operator.get(page).text
        assert "Frozen" in text and "bad rule &lt;b&gt;" in text, page
    world.restart()
    assert "已冻结" in client(world, language="zh").get("/fleet").text
    assert "ullage_isolation_frozen 1" in answers.exposition(
        Assembly(world.isolation, world.policy, world.lifecycle, world.freeze, world.book)
    )
    client(world).post("/isolations", data={"act": "unfreeze", "reason": "ok"})
    assert "Frozen" not in client(world).get("/fleet").text


def test_only_operators_act_and_a_reason_is_needed() -> None:
    world = World()
    viewer = client(world, Role.VIEWER)
    for name in ("freeze", "unfreeze", "approve", "deny"):
        assert viewer.post(f"/api/v1/{name}", json={"reason": "x", "incident": 1}).status_code == 403
    assert viewer.post("/isolations", data={"act": "freeze", "reason": "x"}).status_code == 403
    assert 'name="act"' not in viewer.get("/isolations").text
    operator = client(world)
    assert operator.post("/api/v1/freeze", json={"reason": " "}).status_code == 400
    assert operator.post("/api/v1/unfreeze", json={"reason": "x"}).status_code == 400
    assert operator.post("/api/v1/approve", json={"incident": "1"}).status_code == 400
    assert operator.post("/isolations", data={"act": "format"}).status_code == 409
    assert not world.freeze.frozen


def test_a_page_shows_the_exact_calls_and_approves_these_alone() -> None:
    world = World(mode=Mode.APPROVE)
    verdict = world.consider("n0-0")
    world.step()
    operator = client(world)
    page = operator.get("/isolations").text
    assert "isolate n0-0" in page and "waits for approval" in page
    digest = world.intent("n0-0").digest
    assert digest and digest in page
    form = {"act": "approve", "incident": str(verdict.incident_id), "digest": "0" * 16}
    assert operator.post("/isolations", data=form).status_code == 409
    assert operator.post("/isolations", data={**form, "digest": digest}).status_code == 303
    world.step()
    assert world.scheduler.calls == ["isolate n0-0"]


@pytest.mark.parametrize(
    ("language", "said", "button"),
    [("en", "reset: waits for a person", "Have it run"), ("zh", "重置: 等待人工确认", "确认执行")],
)
def test_what_follows_an_isolation_is_said_in_words_and_run_by_who_may_act(
    language: str, said: str, button: str
) -> None:
    world = World()
    verdict = world.consider("n0-0")
    world.step()
    world.db.execute(
        "INSERT INTO isolation_follow (incident_id, follow, intent_id, family, subject, cluster_id, node_id, state, actor, "
        "changed_at) VALUES (?, 'reset', ?, 'card', 'n0-0', 'c', 'n0', 'waiting', 'policy', now())",
        [verdict.incident_id, world.intent("n0-0").intent_id],
    )
    operator = client(world, language=language)
    page = operator.get("/isolations").text
    assert said in page and button in page
    assert button not in client(world, Role.VIEWER, language=language).get("/isolations").text
    answer = operator.post("/isolations", data={"act": "follow", "incident": str(verdict.incident_id)})
    assert answer.status_code == 409, "there is no program for it here: that is told"


def test_every_state_of_what_follows_has_its_words() -> None:
    said = {"shown", "waiting", "held", "approved", "running", *follow_call.Outcome} - {
        follow_call.Outcome.NOT_BEGUN
    }
    for language in LANGUAGES:
        assert set(words(language)["follow_states"]) == {str(state) for state in said}
        assert set(words(language)["follows"]) == {
            str(follow) for follow in Follow if follow is not Follow.NONE
        }


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_way_out_is_said_in_the_readers_language(language: str) -> None:
    said = words(language)["exits"]
    assert set(said) == set(answers.EXITS)
    for key, sentence in answers.EXITS.items():
        assert re.findall(r"\{\w+\}", said[key]) == re.findall(r"\{\w+\}", sentence), key
    assert words("en")["exits"] == answers.EXITS
    assert {f"incidents_{follow}" for follow in Follow if follow is not Follow.NONE} <= set(said)


def test_a_way_out_reads_in_chinese_as_in_english() -> None:
    row = {
        "state": "advised",
        "closed_at": None,
        "expires_at": None,
        "open_incidents": [6],
        "held_back": None,
    }
    row |= {"mode": "advise", "follow": "reboot"}
    assert answers.exit_of(row, words("zh")["exits"]) == "事件 6 结束且已重启"
    assert answers.exit_of(row) == "incident 6 ends and reboot is done"


def test_every_isolation_is_listed_with_its_age_owner_and_exit() -> None:
    world = World()
    world.consider("n0-0")
    world.isolation.isolate(
        "n1-0", reason="noise", actor="bob", execute_calls=True, until=world.clock.wall() + 7200
    )
    world.scheduler.others["n2"] = "root: disk"
    world.step(3600)
    rows = {row["subject"]: row for row in client(world).get("/api/v1/isolations").json()["intents"]}
    assert rows["n0-0"]["age_seconds"] == pytest.approx(3600, abs=1)
    assert (rows["n0-0"]["owner"], rows["n0-0"]["exit"]) == ("rule xid-fatal", "incident 1 ends")
    assert rows["n1-0"]["owner"] == "bob" and rows["n1-0"]["exit"].startswith("released at 2026-")
    assert all(row["exit"] for row in rows.values())


def test_a_card_page_shows_what_was_decided_about_its_incident(store: Store) -> None:
    world = World(connect=store.cursor, mode=Mode.ADVISE)
    world.db.execute(
        "INSERT INTO incident (incident_id, family, subject, cause, severity, onset, opened_at, confirmed, action, "
        "evidence, history, origin) VALUES (1, 'card', 'n0-0', 'xid-fatal', 'fatal', now()::TIMESTAMP, "
        "now()::TIMESTAMP, true, 'isolate_card', '[]', false, 'real')"
    )
    world.consider("n0-0")
    world.step()
    text = client(world).get("/card/n0-0").text
    assert "advised" in text and "isolate n0-0" in text
    assert "isolate n0-0" in client(world).get("/incidents").text


def test_the_commands_freeze_a_store_nobody_serves_and_a_restart_keeps_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def said(*words: str) -> tuple[int, str]:
        code = main(["--data", str(tmp_path), "--log-level", "error", *words])
        return code, capsys.readouterr().out

    assert said("freeze", "--reason", "bad rule")[0] == 0
    code, out = said("unfreeze", "--reason", "ok", "--json")
    assert code == 0 and json.loads(out)["frozen"] is False
    assert said("unfreeze", "--reason", "again")[0] == 2
    assert said("approve", "7")[0] == 2
    assert said("deny", "7", "--reason", "no")[0] == 2


def test_metrics_count_isolations_by_mode_and_state_and_name_stopped_rules() -> None:
    world = World(cards_per_window=99)
    world.consider("n9-0", mode=Mode.SHADOW, rule="new")
    for n in range(3):
        world.consider(f"n{n}-0")
    acting = Assembly(world.isolation, world.policy, world.lifecycle, world.freeze, world.book)
    text = answers.exposition(acting)
    assert 'ullage_isolations{mode="shadow",state="shadow"} 1' in text
    assert 'ullage_isolations{mode="automatic",state="advised"} 3' in text
    assert 'ullage_isolation_breaker_seconds{rule="xid-fatal"} 3600' in text
    assert world.state("n0-0") is State.ADVISED
