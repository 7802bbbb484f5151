"""The ledger of recommendations as people meet it: the round in serve, the routes, the page in both languages, the command."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.collector.test_console import EVIL, NOW, World

from ullage_collector import cli
from ullage_collector.config import Config
from ullage_collector.console.words import LANGUAGES, words
from ullage_collector.detect.findings import Found, keep
from ullage_collector.receive.identity import Role
from ullage_collector.recommendations.exposition import exposition
from ullage_collector.recommendations.kinds import default_rules
from ullage_collector.recommendations.rounds import RecommendationRounds

WHEN = {"accept-language": "en", "sec-fetch-site": "same-origin"}


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    (tmp_path / "collector").mkdir()
    made = World(tmp_path / "collector")
    with made.store.write() as cursor:
        idle = Found(
            "idle_workload",
            "workload",
            "slurm/c1/7",
            round(NOW * 1e6) - 9_000_000_000,
            {"cost_per_day": {"CNY": "1200.00"}, "department": "rd", "workloads": ["slurm/c1/7"]},
            owner="ada",
            action="tell_owner",
        )
        evil = Found("straggler_suspect", "card", EVIL, 1, {}, owner=EVIL)
        keep(cursor, ["idle_workload", "straggler_suspect"], [idle, evil], round(NOW * 1e6))
    RecommendationRounds(lambda: made.store, Config()).round()
    yield made
    made.store.close()


def test_a_round_opens_what_detectors_propose_and_a_viewer_reads_it(world: World) -> None:
    found = world.client(Role.VIEWER).get("/api/v1/recommendations?state=open").json()
    assert {row["kind"] for row in found["recommendations"]} == {"reclaim_idle", "replace_straggler"}
    assert found["saving_a_month"] == {"CNY": "36000.00"}
    assert world.client(Role.VIEWER).get("/api/v1/recommendations?state=x").status_code == 400


def test_a_department_sees_its_own_and_nothing_of_others(world: World) -> None:
    found = world.client(Role.DEPARTMENT).get("/api/v1/recommendations").json()
    assert [row["kind"] for row in found["recommendations"]] == ["reclaim_idle"]
    assert found["recommendations"][0]["shared_with"] == []
    body = {"id": 1}
    assert world.client(Role.DEPARTMENT).post("/api/v1/recommendations/accept", json=body).status_code == 403


def test_a_department_that_waits_is_not_told_whose_work_idles(world: World) -> None:
    with world.store.write() as cursor:
        evidence = {
            "cost_per_day": {"CNY": "900.00"},
            "department": "rd",
            "workloads": ["k8s/c1/secret/theirs/u"],
        }
        waits = Found("uneven_use", "department", "rd", 1, evidence, key="c1 H800", action="lend")
        keep(cursor, ["uneven_use"], [waits], round(NOW * 1e6))
    RecommendationRounds(lambda: world.store, Config()).round()
    told = world.client(Role.DEPARTMENT).get("/api/v1/recommendations")
    rows = {row["kind"]: row for row in told.json()["recommendations"]}
    assert list(rows["lend_cards"]["evidence"]) == ["findings"] and "secret" not in told.text
    assert rows["reclaim_idle"]["evidence"]["workloads"] == ["slurm/c1/7"]
    assert "secret" in world.client(Role.VIEWER).get("/api/v1/recommendations").text


def test_the_ledger_is_on_the_metrics_page(world: World) -> None:
    page = exposition(world.store)
    assert 'ullage_recommendations{state="open"} 2\n' in page
    assert 'ullage_recommendations_saving_per_month{currency="CNY"} 36000.00\n' in page
    assert "ullage_recommendations_saved" not in page  # nothing was measured: no series, and no 0


def test_only_an_operator_decides_and_the_audit_says_who(world: World) -> None:
    body = {"id": 1, "reason": "agreed with rd"}
    assert world.client(Role.VIEWER).post("/api/v1/recommendations/accept", json=body).status_code == 403
    done = world.client(Role.OPERATOR).post("/api/v1/recommendations/accept", json=body).json()
    assert (done["recommendations"][0]["state"], done["recommendations"][0]["accepted_by"]) == (
        "accepted",
        "ada",
    )
    again = world.client(Role.OPERATOR).post("/api/v1/recommendations/accept", json=body)
    assert (again.status_code, "is accepted" in again.json()["message"]) == (400, True)
    cursor = world.store.cursor()
    audit = cursor.execute("SELECT actor, subject, result, reason FROM audit").fetchall()
    assert audit == [("ada", "1", "accepted", "agreed with rd")]
    cursor.close()


@pytest.mark.parametrize("number", ["0", "-1", str(2**63), "9" * 5000], ids=["0", "-1", "2**63", "long"])
def test_a_number_that_nothing_can_have_is_refused(world: World, number: str) -> None:
    client = world.client(Role.OPERATOR)
    form = {"id": number, "act": "accept", "reason": ""}
    assert client.post("/recommendations", data=form, headers=WHEN).status_code == 409
    if len(number) < 5000:
        answer = client.post("/api/v1/recommendations/accept", json={"id": int(number)})
        assert (answer.status_code, "recommendation" in answer.json()["message"]) == (400, True)


def test_the_page_shows_money_and_takes_a_decision_and_no_markup(world: World) -> None:
    client = world.client(Role.OPERATOR)
    text = client.get("/recommendations", headers=WHEN).text
    assert "36000.00 CNY" in text and "1200.00 CNY a day" in text
    assert "<script>" not in text and "\u202e" not in text
    assert (
        client.post(
            "/recommendations", data={"id": "1", "act": "reject", "reason": ""}, headers=WHEN
        ).status_code
        == 409
    )
    said = client.post(
        "/recommendations", data={"id": "1", "act": "reject", "reason": "needed"}, headers=WHEN
    )
    assert said.status_code == 303
    text = client.get("/recommendations", headers=WHEN).text
    assert words("en")["recommendation_states"]["rejected"] in text and "needed" in text
    viewer = world.client(Role.VIEWER).get("/recommendations", headers={"accept-language": "zh"}).text
    assert "<form" not in viewer.split('id="page"')[1] and words("zh")["nav"]["recommendations"] in viewer


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_kind_has_a_name(language: str) -> None:
    assert set(words(language)["recommendations"]) == set(default_rules().kinds)


def test_the_command_lists_and_decides_with_no_collector_running(
    world: World, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    world.store.close()
    common = ["--data", str(tmp_path), "recommendations"]
    assert cli.main([*common, "list"]) == 0
    printed = capsys.readouterr().out
    assert "1 open reclaim_idle slurm/c1/7: 36000.00 CNY a month; ada" in printed
    assert "together 36000.00 CNY a month" in printed
    assert cli.main([*common, "done", "1", "--reason", "stopped", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["recommendations"][0]["state"] == "done"
    assert cli.main([*common, "accept", "1"]) == 2
    assert "is done" in capsys.readouterr().err
