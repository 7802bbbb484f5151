"""Credits and disputes: asked for by one person, decided by another, carried by the first open period, never edited."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient
from tests.collector.books_world import DAYS, Books, t

from ullage_collector import cli
from ullage_collector.adjust import api
from ullage_collector.adjust.requests import (
    adjustments,
    decide,
    line_disputed,
    period_disputed,
    request_credit,
    request_dispute,
)
from ullage_collector.config import Config
from ullage_collector.ledger import ATOMS_PER_UNIT
from ullage_collector.publish.closed_periods import close
from ullage_collector.publish.facts import publish_names
from ullage_collector.published import Published
from ullage_collector.receive.identity import Identity, Role
from ullage_contract.errors import BadInput

CREDIT = {
    "department": "old",
    "amount": "120.50",
    "currency": "CNY",
    "reason": "the outage of the 6th",
    "requester": "lin",
    "recorded_by": "ops",
}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, float]:
    found = Books(tmp_path_factory.mktemp("made"))
    found.publish()
    publish_names(found.store, found.root, now=found.now())
    return found.kept()


@pytest.fixture
def books(made: tuple[Path, float], tmp_path: Path) -> Books:
    return Books.copied(made, tmp_path / "data")


def listed(books: Books, **asked: Any) -> list[dict[str, Any]]:
    return adjustments(books.store.reader(), **asked)


def audit(books: Books) -> list[tuple[Any, ...]]:
    return (
        books.store.reader()
        .execute("SELECT action, actor, subject, result, reason FROM audit ORDER BY audit_id")
        .fetchall()
    )


def test_a_credit_is_money_once_another_person_approved_it(books: Books) -> None:
    number = request_credit(books.store, **CREDIT)
    (row,) = listed(books)
    assert (row["status"], row["cost"], row["requester"], row["approver"]) == (
        "requested",
        "-120.50",
        "lin",
        None,
    )
    for name in ("lin", " Lin ", "LIN", "ops"):
        with pytest.raises(BadInput, match="somebody else has to decide"):
            decide(books.store, number, "approve", reason="x", by=name)
    done = decide(books.store, number, "approve", reason="agreed", by="wang")
    assert done["posted_at"] == books.now().replace(tzinfo=None), (
        "nothing is closed: now is in the open period"
    )
    (row,) = listed(books)
    assert (row["status"], row["approver"], row["decision"]) == ("posted", "wang", "agreed")
    assert row["cost_atoms"] == str(-12050 * ATOMS_PER_UNIT // 100)
    assert audit(books) == [
        ("credit_requested", "ops", f"adjustment/{number}", "requested", "the outage of the 6th"),
        ("adjustment_approve", "wang", f"adjustment/{number}", "posted", "agreed"),
    ]
    with pytest.raises(BadInput, match="is posted already, by wang"):
        decide(books.store, number, "reject", reason="no", by="zhao")


def test_a_credit_about_nothing_goes_to_the_period_after_the_last_closed_one(books: Books) -> None:
    close(books.store, books.root, DAYS[0], DAYS[2], "Asia/Shanghai", reason="signed", actor="ada")
    number = request_credit(books.store, **CREDIT)
    assert decide(books.store, number, "approve", reason="x", by="wang")["posted_at"] == t(7, 16)
    publish_names(books.store, books.root, now=books.now())
    with Published(books.root).open(*(datetime(2026, 10, d, 16, tzinfo=UTC) for d in (7, 8))) as facts:
        assert facts.rows("SELECT kind, status, requester, approver FROM adjustment") == [
            ("credit", "posted", "lin", "wang")
        ]


def test_who_asked_may_take_it_back_and_nobody_else(books: Books) -> None:
    number = request_credit(books.store, **CREDIT)
    with pytest.raises(BadInput, match="only lin or ops may withdraw"):
        decide(books.store, number, "withdraw", reason="x", by="wang")
    assert decide(books.store, number, "withdraw", reason="was a mistake", by="lin")["status"] == "withdrawn"
    second = request_credit(books.store, **CREDIT)
    assert decide(books.store, second, "reject", reason="no", by="wang") == {
        "adjustment_id": second,
        "status": "rejected",
        "posted_at": None,
    }
    assert [row["status"] for row in listed(books)] == ["rejected", "withdrawn"]
    assert listed(books, status="posted") == []


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"amount": "0"}, "is no amount of CNY"),
        ({"amount": "-5"}, "is no amount of CNY"),
        ({"amount": "1.005"}, "is no amount of CNY"),
        ({"amount": "NaN"}, "is no amount of CNY"),
        ({"amount": "1e30"}, "is no amount of CNY"),
        ({"currency": "yuan"}, "ISO 4217"),
        ({"department": "nobody"}, "no line, rule or organisation names it"),
        ({"reason": "  "}, "reason"),
        ({"requester": " "}, "requester"),
    ],
)
def test_a_credit_that_says_nothing_sound_is_refused_by_name(
    books: Books, wrong: dict[str, str], said: str
) -> None:
    with pytest.raises(BadInput, match=said):
        request_credit(books.store, **(CREDIT | wrong))
    assert listed(books) == []


def test_a_line_is_disputed_for_what_it_costs_and_no_more(books: Books) -> None:
    close(books.store, books.root, DAYS[0], DAYS[1], "UTC", reason="signed", actor="ada")
    start = datetime(2026, 10, 6, 5, tzinfo=UTC)
    with Published(books.root).open(start, start + timedelta(hours=1)) as facts:
        line, cost = facts.rows("SELECT line_id, cost_atoms FROM raw_segment WHERE department_id = 'old'")[5]
    disputed = line_disputed(books.root, line)
    assert (disputed.department_id, disputed.atoms, disputed.atoms // ATOMS_PER_UNIT) == (
        "old",
        int(cost),
        20,
    )
    said = {"reason": "the card was broken", "requester": "lin", "recorded_by": "lin"}
    with pytest.raises(BadInput, match=r"it costs 20.00 CNY; no more can be disputed"):
        request_dispute(books.store, disputed, amount="20.01", **said)
    number = request_dispute(books.store, disputed, amount=None, **said)
    assert decide(books.store, number, "approve", reason="it was", by="wang")["posted_at"] == t(7)
    (row,) = listed(books, kind="dispute")
    assert (row["cost"], row["line_id"], row["state"], row["model"]) == ("-20.00", line, "unknown", "H800")
    for id_, why in (("G0", "is no line id"), (line.replace("#", "#9"), "no such line")):
        with pytest.raises(BadInput, match=why):
            line_disputed(books.root, id_)


def test_nothing_is_given_back_twice(books: Books) -> None:
    start = datetime(2026, 10, 6, 5, tzinfo=UTC)
    with Published(books.root).open(start, start + timedelta(hours=1)) as facts:
        first, second = (
            row[0]
            for row in facts.rows("SELECT line_id FROM raw_segment WHERE department_id = 'old' LIMIT 2")
        )
    said = {"reason": "the card was broken", "requester": "lin", "recorded_by": "lin"}
    line, other = line_disputed(books.root, first), line_disputed(books.root, second)
    day = period_disputed(books.root, "old", DAYS[0], DAYS[1], "UTC", None)
    part = request_dispute(books.store, line, amount="15", **said)
    with pytest.raises(
        BadInput, match=rf"15.00 of it or of its time is contested by adjustment {part} already"
    ):
        request_dispute(books.store, line, amount="5.01", **said)
    request_dispute(books.store, line, amount="5", **said)
    request_dispute(books.store, other, amount=None, **said)
    with pytest.raises(BadInput, match=r"it costs 480.00 CNY, and 40.00 of it"):
        request_dispute(books.store, day, amount=None, **said)
    whole = request_dispute(books.store, day, amount="440", **said)
    decide(books.store, whole, "approve", reason="it was", by="wang")
    with pytest.raises(BadInput, match="contested"):
        request_dispute(books.store, day, amount="0.01", **said)
    # What was refused or taken back is contested no more.
    decide(books.store, part, "reject", reason="no", by="wang")
    request_dispute(books.store, day, amount="15", **said)


def test_others_rows_take_no_place_in_a_departments_list(
    books: Books, monkeypatch: pytest.MonkeyPatch
) -> None:
    request_credit(books.store, **CREDIT)
    for _ in range(3):
        request_credit(books.store, **(CREDIT | {"department": "platform"}))
    monkeypatch.setattr("ullage_collector.adjust.requests.MOST_LISTED", 2)
    lin = client(books, DEPARTMENT)
    assert [row["department_id"] for row in lin.get("/api/v1/adjustments").json()["adjustments"]] == ["old"]
    assert len(client(books, OPERATOR).get("/api/v1/adjustments").json()["adjustments"]) == 2


def test_a_token_is_told_nothing_of_what_another_department_pays(books: Books) -> None:
    asked = {"from": "2026-10-06", "to": "2026-10-07", "zone": "UTC", "reason": "x"}
    said = {
        client(books, DEPARTMENT)
        .post("/api/v1/disputes", json=asked | {"department": name})
        .json()["message"]
        for name in ("platform", "nobody", "new")
    }
    assert said == {"lin may dispute what its own departments pay, nothing else"}


def test_energy_is_disputed_like_capacity(tmp_path: Path) -> None:
    books = Books(tmp_path)
    with books.store.write() as w:
        w.execute(
            "INSERT INTO tariff VALUES (1, NULL, 'CNY', 1000000, 'UTC', NULL, NULL, ?, NULL, ?, NULL, 'file')",
            [t(1), t(1)],
        )
    books.minutes("G0", t(6), 180, 0.9, watts=500.0)
    books.publish()
    start = datetime(2026, 10, 6, 1, tzinfo=UTC)
    with Published(books.root).open(start, start + timedelta(hours=1)) as facts:
        ((line, cost),) = facts.rows(
            "SELECT line_id, cost_atoms FROM raw_energy WHERE from_us = ?", [int(start.timestamp()) * 10**6]
        )
    disputed = line_disputed(books.root, line)
    assert (disputed.department_id, disputed.atoms) == ("old", int(cost)) and cost == ATOMS_PER_UNIT // 2
    request_dispute(books.store, disputed, amount=None, reason="x", requester="lin", recorded_by="lin")
    assert books.store.reader().execute("SELECT cost_class, cost_atoms FROM adjustment").fetchall() == [
        ("energy", -cost)
    ]
    whole = period_disputed(books.root, "old", DAYS[0], DAYS[1], "UTC", None)
    # 24 card-hours at 20, and half a kilowatt in each: hours nobody measured are taken like those around them.
    assert whole.atoms == 480 * ATOMS_PER_UNIT + 24 * cost


def test_a_department_disputes_its_own_days_and_an_open_period_carries_its_own(books: Books) -> None:
    disputed = period_disputed(books.root, "old", DAYS[1], DAYS[2], "Asia/Shanghai", None)
    assert (disputed.currency, disputed.atoms // ATOMS_PER_UNIT) == ("CNY", 480)
    number = request_dispute(
        books.store, disputed, amount="100", reason="x", requester="lin", recorded_by="lin"
    )
    assert decide(books.store, number, "approve", reason="y", by="wang")["posted_at"] == t(6, 16)
    with pytest.raises(BadInput, match="nothing with a price is published"):
        period_disputed(books.root, "nobody", DAYS[1], DAYS[2], "UTC", None)
    with pytest.raises(BadInput, match="at most 400 days"):
        period_disputed(books.root, "old", date(1, 1, 1), date(9999, 12, 31), "UTC", None)
    with pytest.raises(BadInput, match="is not after"):
        period_disputed(books.root, "old", DAYS[2], DAYS[2], "UTC", None)


def test_a_correction_is_nobodys_to_decide(books: Books) -> None:
    close(books.store, books.root, DAYS[0], DAYS[1], "UTC", reason="signed", actor="ada")
    books.rule("new")
    books.publish()
    number = listed(books, kind="correction")[0]["adjustment_id"]
    with pytest.raises(BadInput, match="nobody decides it"):
        decide(books.store, number, "reject", reason="x", by="wang")


def client(books: Books, identity: Identity) -> TestClient:
    app = Starlette(routes=api.routes(lambda: books.store, Config(data=books.root.parent)))

    async def as_somebody(scope: Any, receive: Any, send: Any) -> None:
        scope.setdefault("state", {})["identity"] = identity
        await app(scope, receive, send)

    return TestClient(as_somebody)


OPERATOR = Identity("wang", Role.OPERATOR)
DEPARTMENT = Identity("lin", Role.DEPARTMENT, departments=("old",))


def test_a_departments_token_sees_and_disputes_its_own_alone_and_decides_nothing(books: Books) -> None:
    lin, wang = client(books, DEPARTMENT), client(books, OPERATOR)
    asked = {"department": "old", "from": "2026-10-06", "to": "2026-10-07", "zone": "UTC", "reason": "x"}
    made = lin.post("/api/v1/disputes", json=asked | {"requester": "somebody else"})
    assert made.status_code == 200, made.text
    number = made.json()["adjustment_id"]
    assert listed(books)[0]["requester"] == "lin", "a token asks for itself"
    other = lin.post("/api/v1/disputes", json=asked | {"department": "platform"})
    assert (other.status_code, "its own departments" in other.json()["message"]) == (400, True)
    decision = {"adjustment_id": number, "reason": "agreed"}
    assert lin.post("/api/v1/adjustments/approve", json=decision).status_code == 403
    assert lin.post("/api/v1/credits", json=CREDIT).status_code == 403
    # An operator enters a credit for another person, and may not approve what was entered under the same token.
    entered = wang.post("/api/v1/credits", json=CREDIT).json()["adjustment_id"]
    refused = wang.post(
        "/api/v1/adjustments/approve", json={"adjustment_id": entered, "reason": "x", "actor": "zhao"}
    )
    assert (refused.status_code, "somebody else" in refused.json()["message"]) == (400, True)
    assert wang.post("/api/v1/adjustments/approve", json=decision).json()["status"] == "posted"
    books.rule("new")
    assert {row["department_id"] for row in lin.get("/api/v1/adjustments").json()["adjustments"]} == {"old"}
    assert wang.get("/api/v1/closings").json()["closings"] == []
    assert lin.get("/api/v1/closings").status_code == 403


def test_the_commands_ask_decide_and_list_with_no_collector_running(
    books: Books, capsys: pytest.CaptureFixture[str]
) -> None:
    books.store.close()
    common = ["--data", str(books.root.parent)]
    asked = ["credit", "--department", "old", "--amount", "12", "--currency", "CNY", "--reason", "outage"]
    assert cli.main([*common, *asked, "--requester", "lin", "--json"]) == 0
    number = str(json.loads(capsys.readouterr().out)["adjustment_id"])
    decision = ["adjustments", "approve", number, "--reason", "agreed"]
    assert cli.main([*common, *decision, "--by", "lin"]) == 2
    assert "somebody else has to decide" in capsys.readouterr().err
    assert cli.main([*common, *decision, "--by", "wang"]) == 0
    assert f"adjustment {number} is posted, carried by the period of" in capsys.readouterr().out
    dispute = ["dispute", "--department", "old", "--from", "2026-10-06", "--to", "2026-10-07"]
    assert cli.main([*common, *dispute, "--reason", "broken"]) == 0
    assert cli.main([*common, "dispute", "--reason", "broken"]) == 2
    capsys.readouterr()
    assert cli.main([*common, "adjustments", "list", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)["adjustments"]
    assert [(row["kind"], row["status"], row["cost"]) for row in rows] == [
        ("dispute", "requested", "-480.00"),
        ("credit", "posted", "-12.00"),
    ]
    assert cli.main([*common, "adjustments", "list", "--kind", "credit"]) == 0
    printed = capsys.readouterr().out
    assert "-12.00 CNY" in printed and "lin" in printed and "wang" in printed
    assert cli.main([*common, "closings", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["due"] is None


def test_a_statement_in_the_same_breath_as_a_closing_is_not_forgotten(books: Books) -> None:
    number = request_credit(books.store, **CREDIT)
    close(books.store, books.root, DAYS[0], date(2026, 10, 9), "UTC", reason="signed", actor="ada")
    assert decide(books.store, number, "approve", reason="x", by="wang")["posted_at"] == t(9)
