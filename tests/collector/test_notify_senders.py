"""Each way of telling somebody, against real servers: what arrives, how it is signed, what a refusal becomes."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import shutil
import socket
import subprocess
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from tests.collector.mail_server import PASSWORD, USER, Mailbox, free_port, mail_server
from tests.collector.notify_world import AT, Answer, Receiver, certificates, news, server_context, target

from ullage_collector.notify.alerts import alerts_of, tell
from ullage_collector.notify.message import Message
from ullage_collector.notify.senders import SENDERS
from ullage_collector.notify.settings import KINDS, Target
from ullage_collector.notify.webhook import signature
from ullage_contract.errors import ConfigError
from ullage_contract.event import Severity
from ullage_contract.http_post import NotTold

# aiosmtpd warns of AUTH without STARTTLS also where the connection has TLS from the first byte.
pytestmark = pytest.mark.filterwarnings("ignore:Requiring AUTH while not requiring TLS:UserWarning")

GOOD = {"feishu": b'{"code":0,"msg":"success"}', "dingtalk": b'{"errcode":0,"errmsg":"ok"}'}
GOOD["wecom"] = GOOD["dingtalk"]
HTTP_KINDS = tuple(kind for kind in KINDS if kind != "email")
NASTY = "n1 <@all> [x](http://evil) **b** @张三\u202e\n# head"


def send(to: Target, *items: Any, doubtful: bool = False) -> str | None:
    return SENDERS[to.kind](to, Message("ops/incident/1", list(items) or [news()], AT, doubtful))


@pytest.fixture(scope="module")
def certs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return certificates(tmp_path_factory.mktemp("tls"))


def test_every_kind_has_a_sender() -> None:
    assert set(SENDERS) == set(KINDS)


@pytest.mark.parametrize("kind", HTTP_KINDS)
def test_a_message_arrives_over_http_and_over_tls(kind: str, certs: dict[str, Path]) -> None:
    for context in (None, server_context(certs)):
        with Receiver(Answer(body=GOOD.get(kind, b"{}")), context=context) as receiver:
            assert send(target(kind, url=receiver.url + "/hook", ca_file=str(certs["ca"]))) is None
            (request,) = receiver.requests
            assert b"GPU-1" in request.body
            assert b"xid-79" in request.body


@pytest.mark.parametrize("kind", HTTP_KINDS)
def test_a_server_nobody_vouches_for_is_not_told(kind: str, certs: dict[str, Path]) -> None:
    with Receiver(context=server_context(certs)) as receiver, pytest.raises(NotTold, match="TLS"):
        send(target(kind, url=receiver.url))
    assert receiver.requests == []


@pytest.mark.parametrize("kind", HTTP_KINDS)
def test_a_refusal_says_why_and_never_the_address(kind: str) -> None:
    said = json.dumps({"why": "no such key hook-s3cret-token"}).encode()
    with Receiver(Answer(403, said)) as receiver, pytest.raises(NotTold) as raised:
        send(target(kind, url=receiver.url + "/hook/hook-s3cret-token?access_token=s3cret-query"))
    assert "403" in str(raised.value)
    assert "s3cret" not in str(raised.value)
    assert raised.value.final


@pytest.mark.parametrize(
    ("status", "final"), [(400, True), (413, True), (408, False), (429, False), (503, False), (302, False)]
)
def test_which_refusals_may_change_by_themselves(status: int, final: bool) -> None:
    with Receiver(
        Answer(status, headers={"Location": "http://127.0.0.1:9/x", "Retry-After": "7"})
    ) as receiver:
        with pytest.raises(NotTold) as raised:
            send(target("webhook", url=receiver.url))
        assert raised.value.final is final
        assert raised.value.pause_seconds == 7
        assert len(receiver.requests) == 1


def test_a_pause_that_is_no_number_is_none() -> None:
    with (
        Receiver(Answer(503, headers={"Retry-After": "\u00b2"})) as receiver,
        pytest.raises(NotTold) as raised,
    ):
        send(target("webhook", url=receiver.url))
    assert raised.value.pause_seconds is None


def test_nobody_there_and_no_answer_in_time_are_told_as_such() -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
        with pytest.raises(NotTold) as raised:
            send(target("webhook", url=f"http://127.0.0.1:{port}"))
    assert not raised.value.final
    with Receiver(Answer(hang=threading.Event())) as receiver, pytest.raises(NotTold) as raised:
        send(target("webhook", url=receiver.url, timeout_seconds=0.2))
    assert not raised.value.final


def test_a_service_can_prove_who_sent_it_and_knows_a_message_again(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("k3y\n")
    with Receiver() as receiver:
        to = target("webhook", url=receiver.url, secret_file=str(secret))
        send(to)
        send(to, doubtful=True)
    first, second = receiver.requests
    assert first.headers["idempotency-key"] == second.headers["idempotency-key"] == "ops/incident/1"
    stamp = first.headers["ullage-timestamp"]
    assert first.headers["ullage-signature"] == "v1=" + signature("k3y", stamp, first.body)
    expected = hmac.new(b"k3y", stamp.encode() + b"." + first.body, hashlib.sha256).hexdigest()
    assert first.headers["ullage-signature"] == f"v1={expected}"
    assert first.json["news"][0]["subject"] == "GPU-1"
    assert (first.json["may_be_repeated"], second.json["may_be_repeated"]) == (False, True)


def test_feishu_is_signed_by_its_own_rule(tmp_path: Path) -> None:
    (tmp_path / "s").write_text("demo")
    with Receiver(Answer(body=GOOD["feishu"])) as receiver:
        send(target("feishu", url=receiver.url, secret_file=str(tmp_path / "s")))
    document = receiver.requests[0].json
    key = f"{document['timestamp']}\ndemo".encode()
    assert document["sign"] == base64.b64encode(hmac.new(key, b"", hashlib.sha256).digest()).decode()
    assert document["timestamp"] == str(int(AT))


def test_dingtalk_is_signed_in_its_query(tmp_path: Path) -> None:
    (tmp_path / "s").write_text("SECdemo")
    with Receiver(Answer(body=GOOD["dingtalk"])) as receiver:
        send(
            target(
                "dingtalk", url=receiver.url + "/robot/send?access_token=t", secret_file=str(tmp_path / "s")
            )
        )
    query = parse_qs(urlsplit(receiver.requests[0].path).query)
    assert query["access_token"] == ["t"]
    text = f"{query['timestamp'][0]}\nSECdemo".encode()
    assert query["sign"] == [base64.b64encode(hmac.new(b"SECdemo", text, hashlib.sha256).digest()).decode()]
    assert query["timestamp"] == [str(int(AT * 1000))]


@pytest.mark.parametrize(
    ("kind", "body", "final", "pause"),
    [
        ("feishu", b'{"code":19021,"msg":"sign match fail"}', True, None),
        ("feishu", b'{"code":11232,"msg":"frequency limited"}', False, 60),
        ("feishu", b'{"StatusCode":19001,"StatusMessage":"x"}', True, None),
        ("dingtalk", b'{"errcode":310000,"errmsg":"sign not match"}', True, None),
        ("dingtalk", b'{"errcode":130101,"errmsg":"send too fast"}', False, 600),
        ("wecom", b'{"errcode":93000,"errmsg":"invalid webhook url"}', True, None),
        ("wecom", b'{"errcode":45009,"errmsg":"api freq out of limit"}', False, 60),
        ("wecom", b"<html>", False, None),
    ],
)
def test_a_robot_that_answers_200_and_an_error_did_not_take_it(
    kind: str, body: bytes, final: bool, pause: float | None
) -> None:
    with Receiver(Answer(body=body)) as receiver, pytest.raises(NotTold) as raised:
        send(target(kind, url=receiver.url))
    assert (raised.value.final, raised.value.pause_seconds) == (final, pause)


@pytest.mark.parametrize(("kind", "most"), [("feishu", 20_000), ("dingtalk", 20_000), ("wecom", 4_096)])
def test_a_hundred_news_fit_the_robots_limit_and_what_was_left_out_is_said(kind: str, most: int) -> None:
    many = [news(n, subject=f"GPU-{n:04d}-" + "好" * 60) for n in range(150)]
    with Receiver(Answer(body=GOOD[kind])) as receiver:
        note = send(target(kind, url=receiver.url), *many)
        (request,) = receiver.requests
    assert len(request.body) <= most + 200
    request.body.decode()  # whole characters
    if kind == "wecom":
        assert len(request.json["markdown"]["content"].encode()) <= most
    assert note is not None and "left out" in note
    assert b"more, see" in request.body
    assert b"150 notifications" in request.body


@pytest.mark.parametrize("kind", ["dingtalk", "wecom"])
def test_names_from_the_fleet_can_neither_mention_nor_link_nor_mark_up(kind: str) -> None:
    with Receiver(Answer(body=GOOD[kind])) as receiver:
        send(target(kind, url=receiver.url), news(subject=NASTY))
        content = receiver.requests[0].json["markdown"]
    text = content.get("text") or content["content"]
    for sign in ("<@", "](http", "**b**", "@张三", "\u202e", "\n# head"):
        assert sign not in text
    assert "＜＠all＞" in text


def test_feishu_shows_names_as_they_are_in_elements_without_markup() -> None:
    with Receiver(Answer(body=GOOD["feishu"])) as receiver:
        send(target("feishu", url=receiver.url), news(subject=NASTY))
        card = receiver.requests[0].json["card"]
    assert card["elements"][0]["text"]["tag"] == card["header"]["title"]["tag"] == "plain_text"
    assert "<@all>" in card["elements"][0]["text"]["content"]
    assert card["header"]["template"] == "red"


def test_a_robot_says_when_a_message_may_be_a_repeat_and_speaks_chinese() -> None:
    with Receiver(Answer(body=GOOD["wecom"])) as receiver:
        send(target("wecom", url=receiver.url, language="zh"), doubtful=True)
        text = receiver.requests[0].json["markdown"]["content"]
    assert "可能已发送过" in text
    assert "【严重】故障" in text
    assert "建议动作: 隔离卡" in text


def test_alertmanagers_webhook_form_says_firing_and_resolved() -> None:
    with Receiver() as receiver:
        to = target("alertmanager-webhook", url=receiver.url, name="ops")
        send(to)
        send(to, news(event="incident_ended", ends=True, stands=False, at_us=round((AT - 1) * 1e6)))
    first, second = (request.json for request in receiver.requests)
    assert (first["version"], first["receiver"], first["status"]) == ("4", "ops", "firing")
    assert first["alerts"][0]["endsAt"] == "0001-01-01T00:00:00Z"
    assert second["status"] == second["alerts"][0]["status"] == "resolved"
    assert first["alerts"][0]["fingerprint"] == second["alerts"][0]["fingerprint"]
    assert first["commonLabels"]["alertname"] == "UllageIncident"


def test_what_got_worse_ends_the_alert_that_was_less_bad() -> None:
    worse = news(event="incident_worsened", severity=Severity.FATAL, severity_before=Severity.WARNING)
    before, after = alerts_of(target("alertmanager", url="http://x"), [worse], AT)
    assert (before["labels"]["severity"], after["labels"]["severity"]) == ("warning", "fatal")
    assert before["endsAt"] <= "2026-10-21T12:00:00.000Z" < after["endsAt"]


@pytest.fixture
def alertmanager(tmp_path: Path) -> Iterator[str]:
    """A real one."""
    program = shutil.which("prometheus-alertmanager") or shutil.which("alertmanager")
    if program is None:
        pytest.skip("alertmanager is not here")
    (tmp_path / "am.yml").write_text("route: {receiver: none}\nreceivers: [{name: none}]\n")
    port = free_port()
    process = subprocess.Popen(
        [program, f"--config.file={tmp_path}/am.yml", f"--storage.path={tmp_path}", "--cluster.listen-address=",
         f"--web.listen-address=127.0.0.1:{port}"],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    url = f"http://127.0.0.1:{port}"
    try:
        deadline = time.monotonic() + 60
        while True:
            try:
                urllib.request.urlopen(f"{url}/-/ready", timeout=1).read()
                break
            except OSError:
                assert time.monotonic() < deadline
                time.sleep(0.05)
        yield url
    finally:
        process.terminate()
        process.wait(20)


def test_a_real_alertmanager_takes_alerts_shows_them_once_and_ends_them(alertmanager: str) -> None:
    to = target("alertmanager", url=alertmanager)
    now = time.time()
    item = news(at_us=round(now * 1e6), since_us=round((now - 5) * 1e6))

    def shown() -> list[dict[str, Any]]:
        with urllib.request.urlopen(f"{alertmanager}/api/v2/alerts", timeout=10) as answer:
            found: list[dict[str, Any]] = json.load(answer)
        return found

    tell(to, alerts_of(to, [item], now))
    tell(to, alerts_of(to, [item], now + 1))
    (alert,) = shown()
    assert alert["labels"]["alertname"] == "UllageIncident"
    assert alert["labels"]["subject"] == "GPU-1"
    ended = news(
        event="incident_ended", ends=True, stands=False, at_us=round(now * 1e6), since_us=item.since_us
    )
    tell(to, alerts_of(to, [ended], now + 1))
    deadline = time.monotonic() + 30
    while shown():
        assert time.monotonic() < deadline
        time.sleep(0.1)


# ---------------------------------------------------------------- e-mail
@pytest.fixture(params=["none", "starttls", "tls"])
def mail(
    request: pytest.FixtureRequest, certs: dict[str, Path], tmp_path: Path
) -> Iterator[tuple[Mailbox, dict[str, Any]]]:
    box, kind = Mailbox(), str(request.param)
    settings: dict[str, Any] = {"from": "ullage@example.com", "to": ["ops@example.com"], "tls": kind}
    if kind != "none":
        (tmp_path / "password").write_text(PASSWORD)
        settings |= {
            "user": USER,
            "password_file": str(tmp_path / "password"),
            "ca_file": str(certs["ca"]),
        }
    with mail_server(box, kind, certs) as port:
        yield box, {**settings, "server": f"localhost:{port}"}


def test_mail_arrives_plain_by_starttls_and_by_tls(mail: tuple[Mailbox, dict[str, Any]]) -> None:
    box, settings = mail
    to = target("email", **settings, language="zh")
    assert send(to) is None
    send(to)
    first, second = box.letters()
    assert first["Subject"] == "【严重】故障:GPU-1 xid-79"
    assert first["Message-ID"] == second["Message-ID"]
    assert first["Auto-Submitted"] == "auto-generated"
    assert "集群: dc1" in first.get_content()


def test_a_name_with_a_line_break_makes_no_header(mail: tuple[Mailbox, dict[str, Any]]) -> None:
    box, settings = mail
    send(target("email", **settings), news(subject="GPU-1\r\nBcc: evil@example.com"))
    (letter,) = box.letters()
    assert letter["Bcc"] is None
    assert box.envelopes[0].rcpt_tos == ["ops@example.com"]


def test_a_recipient_that_is_refused_is_reported_and_the_others_get_it(
    mail: tuple[Mailbox, dict[str, Any]],
) -> None:
    box, settings = mail
    box.refuse["gone@example.com"] = "550 no such user"
    note = send(target("email", **{**settings, "to": ["ops@example.com", "gone@example.com"]}))
    assert note is not None and "gone@example.com: 550" in note
    assert len(box.envelopes) == 1
    with pytest.raises(NotTold, match="every recipient") as raised:
        send(target("email", **{**settings, "to": ["gone@example.com"]}))
    assert raised.value.final


def test_a_mail_server_that_is_busy_is_asked_again(mail: tuple[Mailbox, dict[str, Any]]) -> None:
    box, settings = mail
    box.data = "451 try again later"
    with pytest.raises(NotTold, match="451") as raised:
        send(target("email", **settings))
    assert not raised.value.final
    box.data = "554 no spam"
    with pytest.raises(NotTold, match="554") as raised:
        send(target("email", **settings))
    assert raised.value.final


def test_a_wrong_password_is_told_without_it(mail: tuple[Mailbox, dict[str, Any]], tmp_path: Path) -> None:
    _, settings = mail
    if settings["tls"] == "none":
        pytest.skip("without TLS there is no password")
    (tmp_path / "password").write_text("wr0ng-password")
    with pytest.raises(NotTold) as raised:
        send(target("email", **settings))
    assert "wr0ng" not in str(raised.value)
    assert not raised.value.final


def test_a_mail_server_without_tls_gets_no_mail_that_wants_it() -> None:
    with mail_server(Mailbox(), "none") as port, pytest.raises(NotTold):
        send(target("email", **{"from": "a@b.c", "to": ["o@b.c"], "server": f"127.0.0.1:{port}"}))


# ---------------------------------------------------------------- settings
@pytest.mark.parametrize(
    ("content", "says"),
    [
        ({"kind": "pigeon"}, "write one of"),
        ({"kind": "webhook"}, "give url, or url_file"),
        ({"kind": "webhook", "url": "ftp://x"}, "http"),
        ({"kind": "webhook", "url": "http://x", "events": ["incidents"]}, "write some of"),
        ({"kind": "webhook", "url": "http://x", "evnets": ["incident"]}, "did you mean events"),
        ({"kind": "webhook", "url": "http://x", "quiet": {"from": "22:00", "to": "08:00"}}, "IANA"),
        ({"kind": "webhook", "url": "http://x", "quiet": {"from": "22", "to": "x", "zone": "UTC"}}, "local time"),
        ({"kind": "email", "server": "x", "from": "a@b", "to": ["c@d"]}, "host:port"),
        ({"kind": "email", "server": "x:25", "from": "a@b", "to": ["c@d, e@f"]}, "address alone"),
        (
            {"kind": "email", "server": "x:25", "from": "a@b", "to": ["c@d"], "tls": "none", "user": "u",
             "password_file": "/x"},
            "only sent encrypted",
        ),
    ],
)  # fmt: skip
def test_a_wrong_setting_is_refused_with_what_to_write(content: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        target(content.pop("kind"), **content)


def test_a_secret_is_never_shown_and_a_missing_file_is_told(tmp_path: Path) -> None:
    to = target("feishu", url="https://open.feishu.cn/open-apis/bot/v2/hook/s3cret-token")
    assert "s3cret" not in repr(to)
    missing = target("feishu", url_file=str(tmp_path / "nothing"))
    with pytest.raises(ConfigError, match="url_file"):
        missing.address()
    (tmp_path / "nothing").write_text("not a url s3cret")
    with pytest.raises(ConfigError) as raised:
        missing.address()
    assert "s3cret" not in str(raised.value)
