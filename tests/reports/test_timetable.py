"""``schedule --once`` as a timer calls it: each report once, what was missed caught up with, nothing twice."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from mail_sample import publish
from tests.collector.mail_server import Mailbox, mail_server

from ullage_contract.clock import ManualClock
from ullage_contract.command import FAILED, GOOD, PARTIAL, USAGE
from ullage_reports import cli
from ullage_reports.kept import holding

CIO, FIN = "cio@example.com", "fin@example.com"
INSTALLED = datetime(2026, 10, 7, 20, tzinfo=UTC)
DUE = datetime(2026, 10, 8, 8, tzinfo=UTC)


@pytest.fixture(scope="module")
def published_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return publish(tmp_path_factory.mktemp("data"))


@pytest.fixture
def data(published_once: Path, tmp_path: Path) -> Path:
    shutil.copytree(published_once, tmp_path / "data")
    return tmp_path / "data"


@pytest.fixture
def server() -> Iterator[tuple[Mailbox, int]]:
    box = Mailbox()
    with mail_server(box, "none") as port:
        yield box, port


def settings(folder: Path, *lines: str, port: int | None = None) -> Path:
    mail = (
        f'[mail]\nhost = "localhost"\nport = {port}\ntls = "plain"\nsender = "u@example.com"\nattach = ["html"]\n'
        f'[mail.recipients]\ndaily = ["{CIO}", "{FIN}"]\n'
        if port
        else ""
    )
    path = folder / "report.toml"
    path.write_text(
        '[report]\nlang = "en"\nformats = ["json"]\ncurrency = "CNY"\n'
        + mail
        + "[schedule]\n"
        + "\n".join(lines or ['daily = "08:00"']),
        encoding="utf-8",
    )
    return path


def once(data: Path, config: Path, at: datetime, *more: str) -> int:
    words = more or ("--once",)
    return cli.main(
        ["schedule", *words, "--config", str(config), "--data", str(data)], clock=ManualClock(at.timestamp())
    )


def opened(data: Path) -> list[str]:
    return list(json.loads((data / "reports/schedule.json").read_text("utf-8"))["open"])


def made(data: Path) -> set[str]:
    return {path.stem for path in (data / "reports").glob("ullage-*.json")}


def test_the_first_run_makes_nothing_of_the_past(data: Path, tmp_path: Path) -> None:
    config = settings(tmp_path, 'daily = "08:00"', 'weekly = "mon 09:00"', 'quarterly = "workday 1 09:00"')
    assert once(data, config, DUE + timedelta(days=10)) == GOOD
    assert made(data) == set() and opened(data) == []


def test_what_is_due_is_made_and_mailed_once(
    data: Path, tmp_path: Path, server: tuple[Mailbox, int], capsys: pytest.CaptureFixture[str]
) -> None:
    box, port = server
    config = settings(tmp_path, port=port)
    assert once(data, config, INSTALLED) == GOOD
    assert once(data, config, DUE - timedelta(seconds=1)) == GOOD
    assert made(data) == set()
    capsys.readouterr()
    assert once(data, config, DUE) == GOOD
    assert made(data) == {"ullage-daily-2026-10-07"} and len(box.envelopes) == 2
    out = capsys.readouterr().out
    assert out == f"{data}/reports/ullage-daily-2026-10-07.json\n"
    for minutes in (0, 15, 600):
        assert once(data, config, DUE + timedelta(minutes=minutes)) == GOOD
    assert len(box.envelopes) == 2 and capsys.readouterr().out == ""


def test_a_clock_that_goes_back_makes_nothing_twice(data: Path, tmp_path: Path) -> None:
    config = settings(tmp_path)
    once(data, config, INSTALLED)
    assert once(data, config, DUE) == GOOD
    path = data / "reports/ullage-daily-2026-10-07.json"
    path.unlink()
    for back in (timedelta(minutes=3), timedelta(0)):
        assert once(data, config, DUE - back) == GOOD
    assert not path.exists()


def test_what_was_missed_is_made_oldest_first(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = settings(tmp_path, 'daily = "08:00"', 'weekly = "mon 09:00"', "wait_hours = 0")
    once(data, config, INSTALLED)
    assert once(data, config, datetime(2026, 10, 12, 12, tzinfo=UTC)) == PARTIAL, "days are missing"
    names = [Path(line).stem for line in capsys.readouterr().out.splitlines()]
    days = [f"ullage-daily-2026-10-{day:02d}" for day in range(7, 12)]
    assert names == [*days, "ullage-weekly-2026-W41"]
    assert opened(data) == []


def test_after_a_long_outage_the_newest_are_made_and_the_others_told(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = settings(tmp_path, 'daily = "08:00"', "wait_hours = 0")
    once(data, config, INSTALLED)
    once(data, config, INSTALLED + timedelta(days=30))
    assert len(made(data)) == 7 and "ullage-daily-2026-11-05" in made(data)
    assert capsys.readouterr().err.count("passed over") == 23


def test_a_report_waits_for_days_that_are_not_published_yet(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = settings(tmp_path)
    away = data / "away"
    (data / "published/facts").rename(away)
    once(data, config, INSTALLED)
    assert once(data, config, DUE + timedelta(hours=1)) == GOOD
    assert made(data) == set() and "waits for 1 unpublished days" in capsys.readouterr().err
    away.rename(data / "published/facts")
    assert once(data, config, DUE + timedelta(hours=2)) == GOOD
    assert made(data) == {"ullage-daily-2026-10-07"}


def test_a_report_that_waited_long_enough_is_made_without_the_days(data: Path, tmp_path: Path) -> None:
    config = settings(tmp_path)
    once(data, config, INSTALLED + timedelta(days=1))
    assert once(data, config, DUE + timedelta(days=1, hours=5)) == GOOD
    assert once(data, config, DUE + timedelta(days=1, hours=6)) == PARTIAL
    assert made(data) == {"ullage-daily-2026-10-08"} and opened(data) == []


def test_a_mail_that_was_refused_is_sent_at_a_later_run_and_only_it(
    data: Path, tmp_path: Path, server: tuple[Mailbox, int]
) -> None:
    box, port = server
    config = settings(tmp_path, port=port)
    once(data, config, INSTALLED)
    box.refuse[FIN] = "550 no such user"
    assert once(data, config, DUE) == FAILED
    assert opened(data) == ["daily/2026-10-07/UTC"]
    box.refuse.clear()
    assert once(data, config, DUE + timedelta(minutes=15)) == GOOD
    assert [envelope.rcpt_tos for envelope in box.envelopes] == [[CIO], [FIN]]
    assert opened(data) == []


def test_what_fails_for_a_day_is_given_up_and_told(
    data: Path, tmp_path: Path, server: tuple[Mailbox, int], capsys: pytest.CaptureFixture[str]
) -> None:
    box, port = server
    config = settings(tmp_path, port=port)
    once(data, config, INSTALLED)
    box.refuse[FIN] = "550 no such user"
    assert once(data, config, DUE) == FAILED
    assert once(data, config, DUE + timedelta(hours=23)) == FAILED
    assert opened(data) == ["daily/2026-10-07/UTC"]
    once(data, config, DUE + timedelta(hours=24))
    assert "daily/2026-10-07/UTC" not in opened(data)
    assert "2026-10-07: given up after 24 h" in capsys.readouterr().err


def test_a_report_that_did_not_add_up_is_sent_when_it_does(
    data: Path, tmp_path: Path, server: tuple[Mailbox, int]
) -> None:
    box, port = server
    config = settings(tmp_path, port=port)
    once(data, config, INSTALLED)
    (manifest,) = (data / "published/facts").rglob("manifest.json")
    good = manifest.read_text("utf-8")
    found = json.loads(good)
    found["facts"]["sums"][0]["quantity"] += "0"
    manifest.write_text(json.dumps(found), encoding="utf-8")
    assert once(data, config, DUE) == PARTIAL
    assert {str(letter["Subject"]) for letter in box.letters()} == {
        "Accelerator cost, day 2026-10-07: delayed"
    }
    manifest.write_text(good, encoding="utf-8")
    assert once(data, config, DUE + timedelta(hours=1)) == GOOD
    assert len(box.envelopes) == 4 and opened(data) == []


def test_two_timers_at_once_do_it_once(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = settings(tmp_path)
    once(data, config, INSTALLED)
    with holding(data / "reports/schedule.json", wait=False):
        assert once(data, config, DUE) == FAILED
    assert "another ullage-report" in capsys.readouterr().err and made(data) == set()


def test_a_clock_that_was_years_ahead_does_not_silence_the_schedule(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = settings(tmp_path)
    once(data, config, INSTALLED + timedelta(days=3000))
    once(data, config, INSTALLED)
    assert "ahead of the clock" in capsys.readouterr().err
    assert once(data, config, DUE) == GOOD
    assert made(data) == {"ullage-daily-2026-10-07"}


def test_without_once_it_says_what_comes_next_and_makes_nothing(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = settings(tmp_path, 'daily = "08:00"', 'monthly = "workday 3 10:00"')
    assert once(data, config, INSTALLED, "--log-level", "error") == GOOD
    assert capsys.readouterr().out.splitlines() == [
        "daily: next 2026-10-08 08:00 UTC, of 2026-10-07",
        "monthly: next 2026-11-04 10:00 UTC, of 2026-10",
    ]
    assert made(data) == set()


def test_no_schedule_is_a_usage_error(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = tmp_path / "report.toml"
    config.write_text("[report]\n")
    assert once(data, config, DUE) == USAGE
    assert "there is no [schedule]" in capsys.readouterr().err
