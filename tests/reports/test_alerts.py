"""Alerts by the command, a real mail server and a real listener for posts: who is told what, once, and what a refusal becomes."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from tests.collector.mail_server import Mailbox, mail_server
from tests.reports.anomaly_world import Days, on

from ullage_contract.clock import ManualClock
from ullage_contract.command import FAILED, GOOD, USAGE
from ullage_reports import cli
from ullage_reports.alert_settings import AlertSettings
from ullage_reports.alerts import of_budgets
from ullage_reports.budgets import BudgetRow

FINOPS, LEAD = "finops@example.com", "lead@example.com"
SWEEP = 38
"""A day after the first on which rd holds three more cards: 2026-09-10, a Thursday."""


@pytest.fixture(scope="module")
def published_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    days = Days()
    for number in range(42):
        days.usual(on(number), cards=4 if number == SWEEP else 8)
        if number == SWEEP:
            for card in (4, 5, 6):
                days.line(on(number), card, 0, 24, "rd", "sweep-9", scenario="training")
            days.line(on(number), 7, 0, 24, "platform", None, state="unallocated_idle")
    made = tmp_path_factory.mktemp("data")
    days.publish(made / "published", [on(number) for number in range(42)])
    return made


@pytest.fixture
def data(published_once: Path, tmp_path: Path) -> Path:
    shutil.copytree(published_once, tmp_path / "data")
    return tmp_path / "data"


@pytest.fixture
def server() -> Iterator[tuple[Mailbox, int]]:
    box = Mailbox()
    with mail_server(box, "none") as port:
        yield box, port


class Hook:
    """What was posted, and the status that is answered."""

    def __init__(self) -> None:
        self.got: list[tuple[str | None, dict[str, Any]]] = []
        self.status = 204

    def handler(self) -> type[BaseHTTPRequestHandler]:
        hook = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                if hook.status < 300:
                    hook.got.append((self.headers["Authorization"], body))
                self.send_response(hook.status)
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None: ...

        return Handler


@pytest.fixture
def hook() -> Iterator[tuple[Hook, str]]:
    made = Hook()
    listener = ThreadingHTTPServer(("127.0.0.1", 0), made.handler())
    thread = threading.Thread(target=listener.serve_forever)
    thread.start()
    yield made, f"http://127.0.0.1:{listener.server_port}/alerts"
    listener.shutdown()
    thread.join()
    listener.server_close()


def settings(folder: Path, port: int, *alerts: str, tight: str = "4800.00") -> Path:
    (folder / "budgets.toml").write_text(
        f'[[budget]]\nname = "Training"\ndepartments = ["rd"]\namount = "{tight}"\ncurrency = "CNY"\nperiod = "month"\n'
        '[[budget]]\nname = "Serving"\ndepartments = ["cv"]\namount = "90000.00"\ncurrency = "CNY"\nperiod = "month"\n',
        encoding="utf-8",
    )
    path = folder / "report.toml"
    path.write_text(
        f'[report]\nlang = "en"\n[watch]\nbudgets = "{folder / "budgets.toml"}"\n'
        f'[mail]\nhost = "localhost"\nport = {port}\ntls = "plain"\nsender = "ullage@example.com"\n[alerts]\n'
        + "\n".join(alerts or (f'mail = ["{FINOPS}"]', 'anomaly = "500"'))
        + "\n",
        encoding="utf-8",
    )
    return path


def send(data: Path, config: Path) -> int:
    clock = ManualClock(datetime(2026, 9, 14, 6, tzinfo=UTC).timestamp())
    return cli.main(["alerts", "--send", "--config", str(config), "--data", str(data)], clock=clock)


def test_each_is_told_once_in_one_mail_and_names_what_moved(
    data: Path, tmp_path: Path, server: tuple[Mailbox, int]
) -> None:
    box, port = server
    config = settings(tmp_path, port)
    assert send(data, config) == GOOD
    (letter,) = box.letters()
    text = letter.get_content()
    # rd to 13 September: 9 working days and 4 of weekends, and the sweep: 9 x 400 + 4 x 160 + 720 = 4,960
    assert "Budget Training, 2026-09: 4,960.00 CNY of 4,800.00 are spent (103.3%)" in text
    assert "department rd +720.00 CNY, 1,120.00 instead of 400.00. slurm/dc1/sweep-9 of rd (+720.00)" in text
    assert "Serving" not in text and "forecast" not in text
    assert letter["To"] == FINOPS and letter["Subject"].startswith("[Ullage] 2 alerts")
    assert send(data, config) == GOOD
    assert len(box.letters()) == 1


def test_a_higher_threshold_is_news_again_and_a_lower_one_never(
    data: Path, tmp_path: Path, server: tuple[Mailbox, int]
) -> None:
    box, port = server
    alerts = (f'mail = ["{FINOPS}"]', "budget_percents = [50, 80, 100]")
    assert (
        send(data, settings(tmp_path, port, *alerts, tight="9000.00")) == GOOD
    )  # 55 %, and more to come than is left
    first = box.letters()[0].get_content()
    assert (
        "(55.1%)" in first
        and "will be exceeded" in first
        and "As days are expected it is spent on 2026-09-24" in first
    )
    assert send(data, settings(tmp_path, port, *alerts, tight="9000.00")) == GOOD
    assert len(box.letters()) == 1
    # the amount is another: so is the budget
    assert send(data, settings(tmp_path, port, *alerts, tight="6100.00")) == GOOD
    assert "(81.3%)" in box.letters()[1].get_content()
    told = json.loads((data / "reports/alerted.json").read_text())["told"]
    assert sum("6100.00/" in key for key in told) == 4  # 50, 80, likely and certainly


def test_of_a_budget_the_highest_is_told_and_what_is_spent_needs_no_forecast() -> None:
    from decimal import Decimal

    row = BudgetRow("b", ("rd",), ("*",), False, "2026-09", "CNY", Decimal(100), Decimal(85), None, None, None, None, None,
                    1, 0, 1, Decimal(0), None, None, "certainly_over")  # fmt: skip
    spent, forecast = of_budgets([row], AlertSettings(percents=(50, 80, 100)))
    assert spent.key.endswith("/80%") and spent.also == (spent.key[: -len("80%")] + "50%",)
    assert forecast.key.endswith("/certainly_over") and len(forecast.also) == 1
    (over,) = of_budgets([replace(row, spent=Decimal(101), standing="exceeded")], AlertSettings())
    assert over.key.endswith("/100%")
    (at,) = of_budgets([replace(row, spent=Decimal(100), standing="on_track")], AlertSettings())
    assert at.key.endswith("/80%")  # all of it is spent, and no more: it is not exceeded


def test_who_was_refused_is_tried_again_alone_and_a_webhook_is_a_target_of_its_own(
    data: Path, tmp_path: Path, server: tuple[Mailbox, int], hook: tuple[Hook, str]
) -> None:
    (box, port), (posts, url) = server, hook
    (tmp_path / "token").write_text("s3cret-token\n")
    config = settings(
        tmp_path, port, f'mail = ["{FINOPS}"]', 'anomaly = "500"', f'webhook = "{url}"',
        f'token_file = "{tmp_path / "token"}"', "[alerts.budgets]", f'Training = ["{LEAD}"]',
    )  # fmt: skip
    box.refuse[LEAD] = "451 later"
    posts.status = 503
    assert send(data, config) == FAILED
    assert [letter["To"] for letter in box.letters()] == [FINOPS]
    box.refuse.clear()
    posts.status = 204
    assert send(data, config) == GOOD
    assert [letter["To"] for letter in box.letters()] == [FINOPS, LEAD]
    assert "Anomaly" not in box.letters()[1].get_content()  # the lead is told of the budget alone
    ((token, body),) = posts.got
    assert token == "Bearer s3cret-token"
    assert [alert["kind"] for alert in body["alerts"]] == ["budget_spent", "anomaly"]
    assert body["alerts"][1]["anomaly"]["difference"] == "720.00"
    assert send(data, config) == GOOD
    assert (len(box.letters()), len(posts.got)) == (2, 1)


def test_the_schedule_tells_it_and_looks_again_only_when_a_day_is_published(
    data: Path, tmp_path: Path, server: tuple[Mailbox, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    from ullage_reports import alerting

    box, port = server
    config = settings(tmp_path, port)
    config.write_text(
        config.read_text() + '[schedule]\nmonthly = "workday 3 10:00"\nmail = false\n', encoding="utf-8"
    )
    looked: list[int] = []
    before = alerting.look
    monkeypatch.setattr(alerting, "look", lambda *a, **k: (looked.append(1), before(*a, **k))[1])
    clock = ManualClock(datetime(2026, 9, 14, 6, tzinfo=UTC).timestamp())
    asked = ["schedule", "--once", "--config", str(config), "--data", str(data)]
    box.refuse[FINOPS] = "451 later"
    assert cli.main(asked, clock=clock) == FAILED  # somebody was not told: the next run looks again
    box.refuse.clear()
    for _ in range(3):
        assert cli.main(asked, clock=clock) == GOOD
    assert (len(box.letters()), len(looked)) == (1, 2)


def test_what_there_is_to_tell_can_be_seen_without_telling_anybody(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = settings(tmp_path, 9)
    assert cli.main(["alerts", "--json", "--config", str(config), "--data", str(data)]) == GOOD
    told = json.loads(capsys.readouterr().out)["alerts"]
    assert [alert["kind"] for alert in told] == ["budget_spent", "anomaly"]
    assert not (data / "reports").exists()


def test_where_nothing_is_told_it_is_said_why(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def said(text: str, folder: Path = data) -> str:
        file = tmp_path / "report.toml"
        file.write_text(text, encoding="utf-8")
        assert cli.main(["alerts", "--config", str(file), "--data", str(folder)]) == GOOD
        out, err = capsys.readouterr()
        assert out == ""
        return err

    bare = said('[report]\nzone = "UTC"\n')
    assert "there is no [alerts]: nobody would be told" in bare
    assert "there is no [watch] budgets: no budget is looked at" in bare
    assert "there is nothing to tell" in bare
    foreign = said(f'[report]\ncurrency = "USD"\n[alerts]\nmail = ["{FINOPS}"]\nanomaly = "1"\n')
    assert (
        "nothing of these days is priced in USD: prices are in CNY; anomalies are told by an amount of money"
        in foreign
    )
    assert "no [alerts]" not in foreign
    empty = tmp_path / "empty"
    empty.mkdir()
    assert "no day is published, so nothing is known" in said(f'[alerts]\nmail = ["{FINOPS}"]\n', empty)


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (('mail = ["a b"]',), "an address alone"),
        (('budget_standings = ["fine"]', f'mail = ["{FINOPS}"]'), "at_risk"),
        (('anomaly = "much"', f'mail = ["{FINOPS}"]'), "an amount in quotes"),
        (('anomaly = "1e999999999"', f'mail = ["{FINOPS}"]'), "an amount in quotes"),
        (('anomaly = "5"',), "who is told"),
        (('webhook = "https://u:p@x/"',), "without a user"),
        ((f'mail = ["{FINOPS}"]', "budget_percent = [80]"), "did you mean"),
    ],
)
def test_a_wrong_setting_is_named(
    data: Path, tmp_path: Path, lines: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert send(data, settings(tmp_path, 9, *lines)) == USAGE
    assert said in capsys.readouterr().err


def test_what_is_told_of_a_budget_is_what_its_bill_says_under_the_policy(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = settings(tmp_path, 9)
    (tmp_path / "budgets.toml").write_text(
        '[[budget]]\nname = "Q"\ndepartments = ["rd"]\namount = "1.00"\ncurrency = "CNY"\nperiod = "quarter"\n',
        encoding="utf-8",
    )
    common = ["--config", str(config), "--data", str(data)]
    spent = []
    for more in ("", '[[policy]]\nunallocated_idle = "fixed"\nfixed = { rd = "1" }\n'):
        text = config.read_text(encoding="utf-8").replace("[report]\n", "[report]\nfiscal_start_month = 9\n")
        config.write_text(
            text.replace("fiscal_start_month = 9\n" * 2, "fiscal_start_month = 9\n") + more, "utf-8"
        )
        assert cli.main(["alerts", "--json", *common]) == GOOD
        told = json.loads(capsys.readouterr().out)["alerts"][0]["budget"]
        cli.main(["budget", str(tmp_path / "budgets.toml"), "--json", "--at", "2026-09-13", *common])
        (of_command,) = json.loads(capsys.readouterr().out)["budgets"]
        assert (told["label"], told["spent"]) == ("2026-Q1", of_command["spent"])
        spent.append(told["spent"])
    assert spent[0] != spent[1]
