"""The sender against a real server: every answer, every way not to answer, and what is deleted when."""

from __future__ import annotations

import random
import socket
import ssl
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from batch_rows import samples_body
from wire_server import CLOSE, CUT, HANG, LOSE, Raw, Status, WireServer

from ullage_agent.outputs.push import MAX_YIELD_SECONDS, Pusher
from ullage_agent.outputs.quarantine import Quarantine
from ullage_agent.outputs.spool import Spool
from ullage_agent.outputs.transport import Endpoint, HttpTransport
from ullage_contract.clock import ManualClock
from ullage_contract.errors import ConfigError


@pytest.fixture
def server() -> Iterator[WireServer]:
    with WireServer() as running:
        yield running


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


class Lane:
    """A spool and its sender, stepped by hand."""

    def __init__(self, place: Path, url: str, clock: ManualClock, **more: object) -> None:
        endpoint = {k: more.pop(k) for k in list(more) if k in Endpoint.__slots__}
        endpoint.setdefault("timeout_seconds", 5.0)
        self.place = place
        self.clock = clock
        self.quarantine = Quarantine(place / "quarantine")
        self.spool = Spool(place / "samples", lane="samples", quarantine=self.quarantine)
        self.conflicts: list[tuple[str, int, str]] = []
        self.pusher = Pusher(
            self.spool,
            HttpTransport(Endpoint(url=url, **endpoint)),  # type: ignore[arg-type]
            clock=clock,
            chance=random.Random(1),
            on_conflict=lambda *what: self.conflicts.append(what),
            **more,  # type: ignore[arg-type]
        )

    def put(self, *which: int) -> None:
        for number in which:
            self.spool.append(samples_body(number))

    def drain(self, steps: int = 1_000) -> float | None:
        """Step while there is something to do at once; what the last step said."""
        for _ in range(steps):
            delay = self.pusher.step()
            if delay is None or delay > 0:
                return delay
        raise AssertionError("the lane never came to rest")

    def quarantined(self) -> list[str]:
        return sorted(
            p.name.split("-")[-1].removesuffix(".batch") for p in (self.place / "quarantine").glob("*")
        )


def test_everything_arrives_in_order_over_one_connection_and_is_deleted(
    tmp_path: Path, server: WireServer, clock: ManualClock
) -> None:
    lane = Lane(tmp_path, server.url, clock)
    lane.put(*range(20))
    assert lane.drain() is None
    assert [n for _, n in server.order] == list(range(1, 21))
    assert server.connections == 1
    assert lane.spool.batches == 0 and not list(tmp_path.glob("samples/*/*.batch"))
    assert lane.pusher.sent == 20 and lane.pusher.up


@pytest.mark.parametrize("status", [400, 413, 422])
def test_a_poisoned_batch_is_quarantined_and_the_next_go_on(
    tmp_path: Path, server: WireServer, clock: ManualClock, status: int
) -> None:
    lane = Lane(tmp_path, server.url, clock)
    lane.put(1, 2, 3)
    server.plan.extend([None, Status(status, "malformed")])
    assert lane.drain() is None
    assert [n for _, n in server.order] == [1, 3]
    assert lane.quarantined() == [f"{status}_malformed"]
    assert lane.pusher.refused == 1 and lane.spool.batches == 0


@pytest.mark.parametrize("status", [301, 401, 403, 404, 405, 408, 411, 415, 418, 500, 502, 504, 507])
def test_an_answer_that_may_change_keeps_the_batch_and_backs_off(
    tmp_path: Path, server: WireServer, clock: ManualClock, status: int
) -> None:
    lane = Lane(tmp_path, server.url, clock)
    lane.put(1, 2)
    server.plan.append(Status(status, "unauthenticated"))
    pause = lane.drain()
    assert pause is not None and 0.5 <= pause <= 1.0
    assert lane.spool.batches == 2 and lane.pusher.trouble == "unauthenticated" and not lane.pusher.up
    assert lane.pusher.step() == pytest.approx(pause)  # not a request before its time
    assert len(server.requests) == 1
    clock.advance(pause)
    assert lane.drain() is None
    assert [n for _, n in server.order] == [1, 2]
    assert lane.quarantined() == []


def test_a_sequence_conflict_quarantines_and_what_comes_next_has_a_new_stream(
    tmp_path: Path, server: WireServer, clock: ManualClock
) -> None:
    lane = Lane(tmp_path, server.url, clock)
    lane.put(1, 2)
    old = lane.spool.stream
    server.taken[old, 1] = b"another body under our number"
    assert lane.drain() is None
    lane.put(3)
    assert lane.drain() is None
    new = lane.spool.stream
    assert new != old
    assert server.order == [(old, 2), (new, 1)]
    assert lane.quarantined() == ["409_sequence_conflict"]
    assert [(s, n) for s, n, _ in lane.conflicts] == [(old, 1)]


@pytest.mark.parametrize("status", [429, 503])
def test_retry_after_is_obeyed_and_not_by_all_at_the_same_moment(
    tmp_path: Path, server: WireServer, clock: ManualClock, status: int
) -> None:
    lane = Lane(tmp_path, server.url, clock)
    lane.put(1)
    server.plan.append(Status(status, "busy", {"Retry-After": "30"}))
    pause = lane.drain()
    assert pause is not None and 30 < pause < 33
    clock.advance(29.9)
    assert lane.drain() is not None and len(server.requests) == 1
    clock.advance(3.2)
    assert lane.drain() is None and len(server.requests) == 2


def test_retry_after_as_a_date_and_as_nonsense(
    tmp_path: Path, server: WireServer, clock: ManualClock
) -> None:
    lane = Lane(tmp_path, server.url, clock)
    lane.put(1)
    date = datetime.fromtimestamp(clock.wall() + 120, tz=UTC).strftime("%a, %d %b %Y %H:%M:%S GMT")
    server.plan.append(Status(503, "busy", {"Retry-After": date}))
    pause = lane.drain()
    assert pause is not None and 119 <= pause <= 133
    clock.advance(pause)
    for nonsense in ("soon", "nan", "-5", "1e99"):
        server.plan.append(Status(503, "busy", {"Retry-After": nonsense}))
        pause = lane.drain()
        assert pause is not None and 0 <= pause <= 4_000
        clock.advance(pause)
    assert lane.drain() is None


def test_pauses_grow_to_a_bound_are_jittered_and_end_with_success(
    tmp_path: Path, server: WireServer, clock: ManualClock
) -> None:
    lane = Lane(tmp_path, server.url, clock, max_pause_seconds=60.0)
    lane.put(1)
    pauses = []
    server.plan.extend([Status(500)] * 12)
    for _ in range(12):
        pause = lane.drain()
        assert pause is not None
        pauses.append(pause)
        clock.advance(pause)
    for pause, ceiling in zip(pauses, [1, 2, 4, 8, 16, 32, 60, 60, 60, 60, 60, 60], strict=True):
        assert ceiling / 2 <= pause <= ceiling
    assert len({round(p, 6) for p in pauses[6:]}) == 6
    assert lane.drain() is None
    lane.put(2)
    server.plan.append(Status(500))
    pause = lane.drain()
    assert pause is not None and pause <= 1.0


@pytest.mark.parametrize("action", [CUT, LOSE])
def test_an_answer_lost_after_the_batch_was_taken_costs_nothing_and_doubles_nothing(
    tmp_path: Path, server: WireServer, clock: ManualClock, action: str
) -> None:
    lane = Lane(tmp_path, server.url, clock)
    lane.put(1, 2, 3)
    server.plan.extend([None, action])
    while (pause := lane.drain()) is not None:
        clock.advance(pause)
    assert [n for _, n in server.order] == [1, 2, 3]
    assert server.duplicates == 1 and not server.conflicts
    assert lane.spool.batches == 0


def test_a_connection_the_other_side_closed_while_idle_is_no_failure(
    tmp_path: Path, server: WireServer, clock: ManualClock
) -> None:
    lane = Lane(tmp_path, server.url, clock)
    lane.put(1)
    server.plan.append(CLOSE)
    assert lane.drain() is None
    lane.put(2)
    assert lane.drain() is None
    assert lane.pusher.failures == 0
    assert [n for _, n in server.order] == [1, 2] and server.connections == 2


def test_a_collector_that_hangs_costs_one_timeout_and_the_batch_stays(
    tmp_path: Path, server: WireServer, clock: ManualClock
) -> None:
    lane = Lane(tmp_path, server.url, clock, timeout_seconds=0.3)
    lane.put(1)
    server.plan.append(HANG)
    pause = lane.drain()
    assert pause is not None and lane.pusher.trouble == "unreachable" and lane.spool.batches == 1
    clock.advance(pause)
    assert lane.drain() is None and lane.spool.batches == 0


def test_nobody_listening_is_kept_and_told_once(
    tmp_path: Path, clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    with socket.socket() as bound:  # held and never listened on: nobody else can take the port meanwhile
        bound.bind(("127.0.0.1", 0))
        lane = Lane(tmp_path, f"http://127.0.0.1:{bound.getsockname()[1]}/v1/push", clock)
        lane.put(1)
        for _ in range(5):
            pause = lane.drain()
            assert pause is not None
            clock.advance(pause)
    assert lane.pusher.failures == 5 and lane.spool.batches == 1
    assert sum("unreachable" in r.getMessage() for r in caplog.records) == 1


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>please log in</html>",
        b"[]",
        b"{}",
        b'{"stream": "somebody-else", "accepted_through": 9, "durable_through": 9}',
        b'{"stream": null, "accepted_through": true, "durable_through": true}',
        b"[" * 50_000,
    ],
    ids=["empty", "html", "list", "object", "other stream", "wrong types", "deep"],
)
def test_a_200_that_is_no_collectors_answer_deletes_nothing(
    tmp_path: Path, server: WireServer, clock: ManualClock, body: bytes
) -> None:
    lane = Lane(tmp_path, server.url, clock)
    lane.put(1)
    server.plan.append(Raw(body))
    pause = lane.drain()
    assert pause is not None and lane.pusher.trouble == "no_collector"
    assert lane.spool.batches == 1
    clock.advance(pause)
    assert lane.drain() is None


def test_only_what_is_durable_is_deleted_and_what_is_accepted_is_not_sent_twice(
    tmp_path: Path, server: WireServer, clock: ManualClock
) -> None:
    lane = Lane(tmp_path, server.url, clock)
    server.durable_lag = 3
    lane.put(*range(5))
    assert lane.drain() is None
    assert lane.spool.waiting(lane.spool.stream) == 3  # 3, 4 and 5 are accepted, not yet sure
    lane.put(5)
    assert lane.drain() is None
    assert server.requests == [(lane.spool.stream, n) for n in range(1, 7)] and server.duplicates == 0
    server.durable_lag = 0
    lane.put(6)
    assert lane.drain() is None
    assert lane.spool.batches == 0


def test_over_a_new_connection_what_is_not_durable_is_sent_again_because_it_may_be_another_collector(
    tmp_path: Path, server: WireServer, clock: ManualClock
) -> None:
    lane = Lane(tmp_path, server.url, clock)
    server.durable_lag = None
    lane.put(0, 1)
    server.plan.extend([None, CLOSE])
    assert lane.drain() is None
    other = dict(server.taken)
    server.taken.clear()  # the next connection reaches a collector that knows nothing of it
    server.durable_lag = 0
    lane.put(2)
    assert lane.drain() is None
    assert server.taken.keys() == {(lane.spool.stream, n) for n in (1, 2, 3)}
    assert all(server.taken[place] == body for place, body in other.items())


def test_of_several_streams_samples_go_oldest_first_and_events_newest_first(
    tmp_path: Path, server: WireServer, clock: ManualClock
) -> None:
    for newest_first, expected in ((False, ["old 1", "old 2", "new 1"]), (True, ["new 1", "old 1", "old 2"])):
        lane = Lane(tmp_path / str(newest_first), server.url, clock, newest_first=newest_first)
        lane.put(1, 2)
        old = lane.spool.stream
        lane.spool.mint()
        lane.put(3)
        server.order.clear()
        assert lane.drain() is None
        assert [f"{'old' if s == old else 'new'} {n}" for s, n in server.order] == expected


def test_samples_let_new_events_go_first_but_not_for_ever(
    tmp_path: Path, server: WireServer, clock: ManualClock
) -> None:
    events = Lane(tmp_path / "events", server.url, clock, newest_first=True)
    samples = Lane(tmp_path / "samples", server.url, clock, yield_to=events.pusher)
    samples.put(1)
    events.put(2)
    waited = 0.0
    while (delay := samples.pusher.step()) is not None and delay > 0:
        waited += delay
    assert waited == pytest.approx(MAX_YIELD_SECONDS)
    samples.put(3)
    assert events.drain() is None
    assert samples.pusher.step() == 0.0
    samples.put(4)
    events.put(5)
    server.plan.append(Status(503, "busy", {"Retry-After": "60"}))
    events.drain()
    assert samples.pusher.step() == 0.0  # events may not be sent now: samples need not wait


def test_the_token_is_read_anew_when_the_file_changes_and_is_never_logged(
    tmp_path: Path, server: WireServer, clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    token = tmp_path / "token"
    token.write_text("first-secret\n")
    lane = Lane(tmp_path, server.url, clock, token_file=token)
    lane.put(1)
    assert lane.drain() is None
    token.write_text("second-secret\n")
    import os

    os.utime(token, (1, 1))
    lane.put(2)
    server.plan.append(Status(401, "unauthenticated"))
    pause = lane.drain()
    assert pause is not None
    clock.advance(pause)
    token.unlink()
    pause = lane.drain()
    assert pause is not None and lane.spool.batches == 1
    clock.advance(pause)
    token.write_text("third-secret")
    assert lane.drain() is None
    sent = [h["authorization"] for h in server.headers]
    assert sent == ["Bearer first-secret", "Bearer second-secret", "Bearer third-secret"]
    assert "secret" not in caplog.text


def test_a_broken_step_does_not_end_the_thread(
    tmp_path: Path, server: WireServer, clock: ManualClock
) -> None:
    from ullage_contract.clock import SystemClock

    lane = Lane(tmp_path, server.url, clock)
    real = SystemClock()
    lane.pusher._clock = real
    answers = iter([RuntimeError("once")])
    original = lane.spool.take

    def take(stream: str, *, after: int = 0) -> object:
        for error in answers:
            raise error
        return original(stream, after=after)

    lane.spool.take = take  # type: ignore[method-assign, assignment]
    lane.put(1)
    lane.pusher.start("test")
    server.wait_for(lambda s: len(s.taken) == 1)
    lane.pusher.close()
    assert lane.pusher.failures == 1


@pytest.mark.parametrize(
    "url",
    ["ftp://c/", "http://", "c:9736", "http://u:p@c/", "http://c:99999/", "https://"],
)
def test_a_url_that_cannot_be_used_is_refused_at_start(url: str) -> None:
    with pytest.raises(ConfigError):
        HttpTransport(Endpoint(url=url))


def test_a_header_with_a_line_break_is_refused_without_showing_it() -> None:
    with pytest.raises(ConfigError) as caught:
        HttpTransport(Endpoint(url="http://c/", headers={"X": "se\r\ncret"}))
    assert "cret" not in str(caught.value)


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A CA, and a server and a node certificate by it, made by openssl."""
    place = tmp_path_factory.mktemp("certificates")

    def openssl(*arguments: str) -> None:
        subprocess.run(["openssl", *arguments], cwd=place, check=True, capture_output=True)

    try:
        openssl("version")
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("needs the openssl command")
    openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
            "-subj", "/CN=test CA", "-keyout", "ca.key", "-out", "ca.pem")  # fmt: skip
    (place / "san").write_text("subjectAltName=IP:127.0.0.1,DNS:localhost\n")
    for name in ("server", "node"):
        openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                "-subj", f"/CN={name}", "-keyout", f"{name}.key", "-out", f"{name}.csr")  # fmt: skip
        openssl("x509", "-req", "-in", f"{name}.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial",
                "-days", "2", "-extfile", "san", "-out", f"{name}.pem")  # fmt: skip
    return place


def test_over_tls_the_collector_is_verified_and_the_node_shows_its_certificate(
    tmp_path: Path, clock: ManualClock, certificates: Path
) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates / "server.pem", certificates / "server.key")
    context.load_verify_locations(certificates / "ca.pem")
    context.verify_mode = ssl.CERT_REQUIRED
    with WireServer() as server:
        server.server.socket = context.wrap_socket(server.server.socket, server_side=True)
        url = server.url.replace("http://", "https://")
        good = {
            "ca_file": certificates / "ca.pem",
            "cert_file": certificates / "node.pem",
            "key_file": certificates / "node.key",
        }
        lane = Lane(tmp_path / "good", url, clock, **good)
        lane.put(1, 2)
        assert lane.drain() is None and len(server.taken) == 2 and server.connections == 1
        stranger = Lane(tmp_path / "stranger", url, clock)  # does not know the CA
        stranger.put(1)
        assert stranger.drain() is not None and stranger.spool.batches == 1
        nameless = Lane(tmp_path / "nameless", url, clock, ca_file=certificates / "ca.pem")
        nameless.put(1)
        assert nameless.drain() is not None and nameless.spool.batches == 1
        assert len(server.taken) == 2


def test_a_renewed_certificate_authority_is_used_without_a_restart(
    tmp_path: Path, clock: ManualClock, certificates: Path
) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates / "server.pem", certificates / "server.key")
    with WireServer() as server:
        server.server.socket = context.wrap_socket(server.server.socket, server_side=True)
        trusted = tmp_path / "ca.pem"
        trusted.write_bytes((certificates / "node.pem").read_bytes())  # not who signed the server's
        lane = Lane(tmp_path, server.url.replace("http://", "https://"), clock, ca_file=trusted)
        lane.put(1)
        pause = lane.drain()
        assert pause is not None and lane.spool.batches == 1
        trusted.write_bytes((certificates / "ca.pem").read_bytes())
        clock.advance(pause)
        assert lane.drain() is None and len(server.taken) == 1
        trusted.unlink()  # a file that is gone costs the next connection, not the agent
        lane.pusher._transport.close()
        lane.put(2)
        assert lane.drain() is not None and lane.pusher.trouble == "unreachable"
