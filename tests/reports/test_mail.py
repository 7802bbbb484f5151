"""Mail of reports, by the command and a real mail server: who gets what, once, and what a refusal becomes."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from email.message import EmailMessage
from pathlib import Path

import pytest
from mail_sample import NAMES, publish
from tests.collector.mail_server import PASSWORD, USER, Mailbox, free_port, mail_server
from tests.collector.notify_world import certificates

import ullage_assets
from ullage_contract.clock import ManualClock
from ullage_contract.command import FAILED, GOOD, PARTIAL, USAGE
from ullage_reports import cli

# aiosmtpd warns of AUTH without STARTTLS also where the connection has TLS from the first byte.
pytestmark = pytest.mark.filterwarnings("ignore:Requiring AUTH while not requiring TLS:UserWarning")

NOW = datetime(2026, 10, 8, 6, tzinfo=UTC)
CIO, SRE, RD, FIN = "cio@example.com", "sre@example.com", "rd@example.com", "fin@example.com"


@pytest.fixture(scope="module")
def published_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return publish(tmp_path_factory.mktemp("data"))


@pytest.fixture
def data(published_once: Path, tmp_path: Path) -> Path:
    """The published days, with no mail sent of them yet."""
    shutil.copytree(published_once, tmp_path / "data")
    return tmp_path / "data"


@pytest.fixture(scope="module")
def certs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return certificates(tmp_path_factory.mktemp("tls"))


@pytest.fixture
def server() -> Iterator[tuple[Mailbox, int]]:
    box = Mailbox()
    with mail_server(box, "none") as port:
        yield box, port


def settings(folder: Path, port: int, *lines: str, tls: str = "plain", attach: str = '["html"]') -> Path:
    path = folder / "report.toml"
    path.write_text(
        f'[mail]\nhost = "localhost"\nport = {port}\ntls = "{tls}"\nsender = "ullage@example.com"\n'
        f'operators = ["{SRE}"]\nattach = {attach}\ndepartment_reports = ["daily"]\n'
        + "\n".join(lines)
        + f'\n[mail.recipients]\ndaily = ["{CIO}"]\n[mail.departments]\nrd = ["{RD}"]\nfin = ["{FIN}"]\n',
        encoding="utf-8",
    )
    return path


def run(data: Path, config: Path, *more: str, clock: ManualClock | None = None, lang: str = "en") -> int:
    return cli.main(
        ["daily", "--date", "2026-10-07", "--config", str(config), "--data", str(data), "--lang", lang,
         "--currency", "CNY", "--format", "json", "--mail", *more],
        clock=clock or ManualClock(NOW.timestamp()),
    )  # fmt: skip


def by_recipient(box: Mailbox) -> dict[str, EmailMessage]:
    found = {str(letter["To"]): letter for letter in box.letters()}
    assert len(found) == len(box.envelopes), "one letter a recipient"
    return found


def everything(letter: EmailMessage) -> str:
    """All a reader can find in it: headers, parts, and the words of a PDF."""
    found = [f"{key}: {value}" for key, value in letter.items()]
    for part in letter.walk():
        if part.is_multipart():
            continue
        raw = part.get_payload(decode=True)
        assert isinstance(raw, bytes)
        if part.get_content_type() == "application/pdf":
            raw = subprocess.run(
                ["pdftotext", "-raw", "-", "-"], input=raw, capture_output=True, check=True
            ).stdout
        found += [str(part.get_filename()), raw.decode("utf-8")]
    return "\n".join(found)


# ---------------------------------------------------------------- what arrives
@pytest.mark.parametrize("kind", ["none", "starttls", "tls"])
def test_page_one_is_in_the_mail_and_the_report_attached(
    data: Path, tmp_path: Path, certs: dict[str, Path], kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    box = Mailbox()
    more: tuple[str, ...] = ()
    if kind != "none":
        (tmp_path / "password").write_text(PASSWORD + "\n")
        more = (f'user = "{USER}"', f'password_file = "{tmp_path}/password"', f'ca_file = "{certs["ca"]}"')
    with mail_server(box, kind, certs) as port:
        config = settings(
            tmp_path, port, 'link = "https://r.example.com/u"', *more, tls="plain" if kind == "none" else kind
        )
        assert run(data, config) == GOOD
    assert set(by_recipient(box)) == {CIO, RD, FIN}
    letter = by_recipient(box)[CIO]
    assert letter["Auto-Submitted"] == "auto-generated" and letter["From"] == "ullage@example.com"
    assert letter["Subject"] == "Accelerator cost, day 2026-10-07 (Data complete)"
    told = json.loads((data / "reports/ullage-daily-2026-10-07.json").read_text("utf-8"))
    total = f"{Decimal(told['total']['cost']):,}"
    text = letter.get_body(("plain",))
    page = letter.get_body(("html",))
    assert text is not None and page is not None
    for part in (text.get_content(), page.get_content()):
        assert total in part and "https://r.example.com/u/ullage-daily-2026-10-07.en.html" in part
        for state in told["total"]["states"]:
            assert f"{Decimal(state['cost']):,}" in part
    assert not re.search(r"<(script|img|svg|link|iframe)|src=|url\(", page.get_content())
    (attached,) = letter.iter_attachments()
    assert attached.get_filename() == "ullage-daily-2026-10-07.en.html"
    assert "研发 &lt;b&gt;一部&lt;/b&gt;" in everything(letter) and "<b>一部" not in everything(letter)
    assert capsys.readouterr().err.count(": sent") == 3


@pytest.mark.skipif(
    not (ullage_assets.available() and shutil.which("pdftotext")), reason="no font or no pdftotext"
)
@pytest.mark.parametrize("lang", ["zh", "en"])
def test_a_department_sees_its_own_figures_and_nothing_of_another(
    data: Path, server: tuple[Mailbox, int], tmp_path: Path, lang: str
) -> None:
    box, port = server
    assert run(data, settings(tmp_path, port, attach='["pdf", "html"]'), lang=lang) == GOOD
    told = json.loads((data / "reports/ullage-daily-2026-10-07.json").read_text("utf-8"))
    costs = {d["department_id"]: f"{Decimal(d['amounts']['cost']):,}" for d in told["departments"]}
    hours = {d["department_id"]: f"{Decimal(d['amounts']['hours']):,}" for d in told["departments"]}
    letters = by_recipient(box)
    for to, mine in ((RD, {"rd", "rd/cv"}), (FIN, {"fin"})):
        seen = everything(letters[to])
        packed = re.sub(r"\s", "", seen)
        for department in mine:
            assert costs[department] in packed and hours[department] in packed
        others = [d for d in told["departments"] if d["department_id"] not in mine]
        assert len(others) >= 3
        for other in others:
            key = other["department_id"]
            for word in (
                re.sub(r"\s", "", NAMES.get(key, "?none?")),
                costs[key],
                f"slurm/dc1/{key.replace('/', '-')}x",
            ):
                assert word not in packed, (to, word)
        for name in NAMES:
            assert (f"{name}x/" in seen) == (name in mine) or "/" in name
        for figure in (told["total"]["cost"], told["total"]["hours"]):
            assert f"{Decimal(figure):,}" not in packed and figure not in packed, (
                "the fleet is not its business"
            )
        assert str(letters[to].get_body(("plain",))).count("https://") == 0
    assert all(costs[key] in re.sub(r"\s", "", everything(letters[CIO])) for key in costs), (
        "the whole has them all"
    )


def test_what_the_copy_says_is_what_the_whole_report_says(
    data: Path, server: tuple[Mailbox, int], tmp_path: Path
) -> None:
    box, port = server
    run(data, settings(tmp_path, port))
    told = json.loads((data / "reports/ullage-daily-2026-10-07.json").read_text("utf-8"))
    row = next(d for d in told["departments"] if d["department_id"] == "rd")
    text = by_recipient(box)[RD].get_body(("plain",))
    assert text is not None
    lines = text.get_content().splitlines()
    total = next(line for line in lines if line.startswith("Total |")).split(" | ")
    assert (total[1], total[-1]) == (row["amounts"]["cost"], row["amounts"]["hours"])
    idle = next(line for line in lines if line.startswith("Held but idle |")).split(" | ")
    wanted = next(s for s in row["amounts"]["states"] if s["state"] == "allocated_idle")
    assert (idle[1], idle[-1]) == (wanted["cost"], wanted["hours"])


def test_a_department_without_hours_is_told_in_the_log_and_stops_nobody(
    data: Path, server: tuple[Mailbox, int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    box, port = server
    config = settings(tmp_path, port)
    config.write_text(config.read_text("utf-8") + 'gone = ["x@example.com"]\n', encoding="utf-8")
    assert run(data, config) == GOOD
    assert set(by_recipient(box)) == {CIO, RD, FIN}
    assert "gone: no such department" in capsys.readouterr().err


# ---------------------------------------------------------------- the sum check
def test_a_report_that_does_not_add_up_is_not_sent_and_everybody_is_told(
    data: Path, server: tuple[Mailbox, int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    box, port = server
    (manifest,) = (data / "published/facts").rglob("manifest.json")
    found = json.loads(manifest.read_text("utf-8"))
    total = found["facts"]["sums"][0]
    total["quantity"] = str(int(total["quantity"]) + 7)
    manifest.write_text(json.dumps(found), encoding="utf-8")
    assert run(data, settings(tmp_path, port)) == PARTIAL
    assert "nothing was written" in capsys.readouterr().err
    assert not (data / "reports/ullage-daily-2026-10-07.json").exists()
    letters = by_recipient(box)
    assert set(letters) == {SRE, CIO, RD, FIN}
    rows = letters[SRE].get_content()
    assert "published manifests: 1 parts" in rows and "7 before rounding" in rows
    for to in (CIO, RD, FIN):
        assert letters[to].get_content().strip().count("\n") == 0 and "delayed" in letters[to]["Subject"]
        assert not re.search(r"\d\.\d\d|" + "|".join(NAMES.values()), everything(letters[to]))
    assert run(data, settings(tmp_path, port)) == PARTIAL
    assert len(box.envelopes) == 4, "the delay is told once"


# ---------------------------------------------------------------- once
def test_nothing_is_sent_twice_for_the_same_period_and_revision(
    data: Path, server: tuple[Mailbox, int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    box, port = server
    config = settings(tmp_path, port)
    for _ in range(3):
        assert run(data, config) == GOOD
    assert len(box.envelopes) == 3
    assert capsys.readouterr().err.count("already sent") == 6
    (old,) = (data / "published/facts").rglob("rev=*")
    newer = old.with_name(f"rev={int(old.name[4:]) + 1}")
    shutil.copytree(old, newer)
    found = json.loads((newer / "manifest.json").read_text("utf-8"))
    (newer / "manifest.json").write_text(
        json.dumps({**found, "revision": int(newer.name[4:])}), encoding="utf-8"
    )
    assert run(data, config) == GOOD
    assert len(box.envelopes) == 6, "another revision is another report"


def test_two_runs_at_once_send_one_mail_each(data: Path, server: tuple[Mailbox, int], tmp_path: Path) -> None:
    box, port = server
    config = settings(tmp_path, port)
    codes: list[int] = []
    runs = [threading.Thread(target=lambda: codes.append(run(data, config))) for _ in range(2)]
    for one in runs:
        one.start()
    for one in runs:
        one.join()
    assert codes == [GOOD, GOOD] and len(box.envelopes) == 3


def test_a_record_of_what_was_sent_that_cannot_be_read_sends_nothing(
    data: Path, server: tuple[Mailbox, int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    box, port = server
    (data / "reports").mkdir()
    (data / "reports/mailed.json").write_text('{"sent"')
    assert run(data, settings(tmp_path, port)) == FAILED
    assert "move it away" in capsys.readouterr().err and box.envelopes == []


# ---------------------------------------------------------------- refusals
def test_a_recipient_who_is_refused_is_reported_and_the_others_get_it(
    data: Path, server: tuple[Mailbox, int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    box, port = server
    config = settings(tmp_path, port)
    clock = ManualClock(NOW.timestamp())
    box.refuse[RD] = "550 no such user"
    assert run(data, config, clock=clock) == FAILED
    err = capsys.readouterr().err
    assert (
        f"mail: {RD}: department rd: NOT sent: localhost: every recipient was refused: {RD}: 550 no such user"
        in err
    )
    assert err.count(": sent") == 2 and clock.wall() == NOW.timestamp(), "for good: no try is spent on it"
    box.refuse.clear()
    assert run(data, config) == GOOD
    assert set(by_recipient(box)) == {CIO, RD, FIN}, "the next run sends what is missing and no more"


def test_a_refusal_for_now_is_tried_again_with_longer_pauses(
    data: Path, server: tuple[Mailbox, int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    box, port = server
    config = settings(tmp_path, port)
    clock = ManualClock(NOW.timestamp())
    box.refuse[RD] = "450 greylisted"
    assert run(data, config, clock=clock) == FAILED
    assert clock.wall() - NOW.timestamp() == 30 + 120 + 600
    assert len(box.envelopes) == 2
    assert "450 greylisted" in capsys.readouterr().err


def test_a_connection_that_drops_is_tried_again_with_the_same_message_id(
    data: Path, server: tuple[Mailbox, int], tmp_path: Path
) -> None:
    box, port = server
    box.drops = 2
    clock = ManualClock(NOW.timestamp())
    assert run(data, settings(tmp_path, port), clock=clock) == GOOD
    assert set(by_recipient(box)) == {CIO, RD, FIN}
    assert box.tried == 5 and clock.wall() - NOW.timestamp() == 30
    assert len({letter["Message-ID"] for letter in box.letters()}) == 3


def test_a_server_that_is_not_there_is_asked_once_a_round_for_all(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = ManualClock(NOW.timestamp())
    assert run(data, settings(tmp_path, free_port()), clock=clock) == FAILED
    assert clock.wall() - NOW.timestamp() == 750
    assert capsys.readouterr().err.count("NOT sent") == 3
    assert (data / "reports/ullage-daily-2026-10-07.json").exists(), "the files are there all the same"


def test_a_wrong_password_is_told_without_it(
    data: Path, tmp_path: Path, certs: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "password").write_text("wr0ng-password")
    box = Mailbox()
    with mail_server(box, "starttls", certs) as port:
        more = (f'user = "{USER}"', f'password_file = "{tmp_path}/password"', f'ca_file = "{certs["ca"]}"')
        assert run(data, settings(tmp_path, port, *more, tls="starttls")) == FAILED
    err = capsys.readouterr().err
    assert "535" in err and "wr0ng" not in err and box.envelopes == []


def test_a_server_without_tls_gets_no_mail_that_wants_it(
    data: Path, server: tuple[Mailbox, int], tmp_path: Path
) -> None:
    box, port = server
    assert run(data, settings(tmp_path, port, tls="starttls")) == FAILED
    assert box.tried == 0


# ---------------------------------------------------------------- settings
@pytest.mark.parametrize(
    ("change", "says"),
    [
        (("localhost", "smtp://x"), "host name alone"),
        (('"plain"', '"none"'), "write one of starttls, tls, plain"),
        (("ullage@example.com", "Ullage <u@example.com>"), "address alone"),
        ((CIO, "a@example.com, b@example.com"), "address alone"),
        (("daily = ", "hourly = "), "write one of daily, weekly"),
        (('["html"]', '["docx"]'), "write some of pdf, html"),
        (("operators", "operator"), "operator"),
        (('tls = "plain"', 'tls = "plain"\nuser = "u"\npassword_file = "/x"'), "only sent encrypted"),
        (('tls = "plain"', 'tls = "plain"\nuser = "u"'), "go together"),
    ],
)
def test_a_wrong_setting_says_file_key_and_what_to_write(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], change: tuple[str, str], says: str
) -> None:
    config = settings(tmp_path, 25)
    config.write_text(config.read_text("utf-8").replace(*change), encoding="utf-8")
    assert run(data, config) == USAGE
    err = capsys.readouterr().err
    assert says in err and "report.toml" in err


def test_mail_without_settings_is_a_usage_error(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "report.toml"
    config.write_text('[report]\nlang = "en"\n')
    assert run(data, config) == USAGE
    assert "there is no [mail]" in capsys.readouterr().err
    assert not (data / "reports").exists()
