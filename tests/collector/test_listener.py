"""The listener: bounds of bytes and time, odd clients, TLS, and answers of an app streamed through it."""

from __future__ import annotations

import asyncio
import http.client
import json
import socket
import ssl
import stat
import subprocess
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.collector.front_world import HEADERS, Front, batch, client_context

from ullage_collector.config import Listen
from ullage_contract import wire
from ullage_contract.errors import ConfigError


@pytest.fixture
def front(tmp_path: Path) -> Iterator[Front]:
    with Front(tmp_path) as made:
        yield made


PUSH_HEAD = f"POST /v1/push HTTP/1.1\r\nHost: localhost\r\nContent-Type: {wire.CONTENT_TYPE}\r\nContent-Encoding: gzip\r\n"


def raw_push(body: bytes, more: str = "") -> bytes:
    return f"{PUSH_HEAD}{more}Content-Length: {len(body)}\r\n\r\n".encode() + body


def turn(front: Front, seconds: float) -> None:
    """Turn the clock, once the loop is done with what came, and give the sweep two rounds."""
    time.sleep(0.2)
    front.clock.advance(seconds)
    time.sleep(0.3)


# ---- odd clients


@pytest.mark.parametrize(
    "nonsense",
    [b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc", b"hello\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"\x00" * 100],
    ids=["a TLS hello", "words", "a version to come", "zeros"],
)
def test_what_is_no_http_gets_400_and_the_end(front: Front, nonsense: bytes) -> None:
    found = front.raw(nonsense)
    assert found.startswith(b"HTTP/1.1 400 ")
    assert b"connection: close" in found
    assert front.push(batch(1)).status == 200


def test_a_length_and_chunks_at_once_are_refused(front: Front) -> None:
    """Two lengths are how one request is hidden in another."""
    found = front.raw(
        f"{PUSH_HEAD}Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n".encode() + b"0\r\n\r\n"
    )
    assert found.startswith(b"HTTP/1.1 400 ")


def test_a_body_in_many_pieces_and_in_chunks_is_one_body(front: Front) -> None:
    body = batch(1)
    with socket.create_connection(("127.0.0.1", front.port), timeout=10) as made:
        for i in range(0, len(data := raw_push(body, "Connection: close\r\n")), 50):
            made.sendall(data[i : i + 50])
        assert made.recv(65536).startswith(b"HTTP/1.1 200 ")
    body = batch(2)
    half = len(body) // 2
    chunks = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in (body[:half], body[half:]))
    found = front.raw(
        f"{PUSH_HEAD}Connection: close\r\nTransfer-Encoding: chunked\r\n\r\n".encode() + chunks + b"0\r\n\r\n"
    )
    assert found.startswith(b"HTTP/1.1 200 ")
    assert [r.body for r in front.journalled()] == [batch(1), batch(2)]


def test_the_next_request_before_the_answer_ends_the_connection_after_the_answer(front: Front) -> None:
    found = front.raw(raw_push(batch(1)) + raw_push(batch(2)))
    assert found.count(b"HTTP/1.1 ") == 1
    assert found.startswith(b"HTTP/1.1 200 ")
    assert b"connection: close" in found
    assert [r.sequence for r in front.journalled()] == [1]


def test_expect_100_is_answered_before_the_body(front: Front) -> None:
    body = batch(1)
    with socket.create_connection(("127.0.0.1", front.port), timeout=10) as made:
        made.sendall(f"{PUSH_HEAD}Expect: 100-continue\r\nContent-Length: {len(body)}\r\n\r\n".encode())
        assert made.recv(1000) == b"HTTP/1.1 100 Continue\r\n\r\n"
        made.sendall(body)
        assert made.recv(65536).startswith(b"HTTP/1.1 200 ")


def test_expect_100_of_a_refused_request_gets_the_refusal_alone(front: Front) -> None:
    found = front.raw(f"{PUSH_HEAD}Expect: 100-continue\r\nContent-Length: {10**9}\r\n\r\n".encode())
    assert found.startswith(b"HTTP/1.1 413 ")


def test_a_small_refused_request_keeps_its_connection(front: Front) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", front.port, timeout=10)
    assert (
        front.request("POST", "/v1/push", b"x" * 1000, {"Content-Type": "x/y"}, connection=connection).status
        == 415
    )
    assert front.push(batch(1), connection=connection).status == 200
    connection.close()


def test_http_1_0_is_answered_and_closed(front: Front) -> None:
    found = front.raw(b"GET /healthz HTTP/1.0\r\nHost: localhost\r\n\r\n")
    assert found.startswith(b"HTTP/1.1 200 ")
    assert found.endswith(b'"failed":[]}')


@pytest.mark.parametrize(
    "head",
    [
        b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"a" * 40_000 + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\n" + b"X: a\r\n" * 40_000,
        b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"a" * 100_000,
    ],
    ids=["a long path", "a long header", "many headers", "a header without end"],
)
def test_a_head_over_the_bound_is_refused(front: Front, head: bytes) -> None:
    found = front.raw(head)
    assert found.startswith(b"HTTP/1.1 431 ")


# ---- time


def test_a_head_that_drips_is_cut_off(front: Front) -> None:
    with socket.create_connection(("127.0.0.1", front.port), timeout=10) as made:
        made.sendall(b"GET /healthz HTTP/1.1\r\n")
        for _ in range(3):
            turn(front, 1.5)
            made.sendall(b"X: y\r\n")  # progress does not buy time
        turn(front, 1.0)
        assert made.recv(1000).startswith(b"HTTP/1.1 408 ")
        turn(front, 3.0)
        assert made.recv(1000) == b""
    assert front.health.timeouts == 1


def test_a_body_that_drips_is_cut_off_and_nothing_of_it_is_kept(front: Front) -> None:
    data = raw_push(batch(1))
    with socket.create_connection(("127.0.0.1", front.port), timeout=10) as made:
        made.sendall(data[:-20])
        for i in range(20, 10, -1):
            made.sendall(data[-i : len(data) - i + 1])
        turn(front, 21.0)
        assert made.recv(1000).startswith(b"HTTP/1.1 408 ")
    assert front.journalled() == []


def test_a_connection_that_says_nothing_is_closed(front: Front) -> None:
    with socket.create_connection(("127.0.0.1", front.port), timeout=10) as made:
        turn(front, 6.0)
        assert made.recv(100) == b""


def test_an_idle_kept_connection_lives_its_time_and_no_longer(front: Front) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", front.port, timeout=10)
    front.push(batch(1), connection=connection)
    turn(front, 55.0)
    assert front.push(batch(2), connection=connection).status == 200
    turn(front, 61.0)
    assert connection.sock.recv(10) == b""
    connection.close()


# ---- room


def test_over_the_bound_of_connections_the_silent_make_room_for_new_ones(tmp_path: Path) -> None:
    listen = Listen(port=0, max_connections=3, header_seconds=60)
    with Front(tmp_path, listen=listen, tokens=True) as front:
        agent = http.client.HTTPConnection("127.0.0.1", front.port, timeout=10)
        assert front.push(batch(1), token=front.token["gpu-a01"], connection=agent).status == 200
        silent = [socket.create_connection(("127.0.0.1", front.port), timeout=10) for _ in range(20)]
        assert silent[0].recv(10) == b""  # the first ones were let go
        assert front.push(batch(2), token=front.token["gpu-a01"], connection=agent).status == 200
        assert front.health.connections <= 3
        deadline = time.monotonic() + 30  # the last of them may still wait to be taken in
        while front.health.connections_refused < 18 and time.monotonic() < deadline:
            time.sleep(0.01)
        assert front.health.connections_refused >= 18
        assert front.health.connections <= 3
        for made in (*silent, agent):
            made.close()


def test_over_the_bound_nobody_known_is_thrown_out(tmp_path: Path) -> None:
    with Front(tmp_path, listen=Listen(port=0, max_connections=2), tokens=True) as front:
        known = [http.client.HTTPConnection("127.0.0.1", front.port, timeout=10) for _ in range(2)]
        for number, connection in enumerate(known, start=1):
            assert (
                front.push(batch(number), token=front.token["gpu-a01"], connection=connection).status == 200
            )
        assert front.raw(b"").startswith(b"HTTP/1.1 503 ")
        for number, connection in enumerate(known, start=3):
            assert (
                front.push(batch(number), token=front.token["gpu-a01"], connection=connection).status == 200
            )
            connection.close()


# ---- the app behind

Send = Callable[[Any], Awaitable[None]]
Receive = Callable[[], Awaitable[Any]]


async def echo(scope: Any, receive: Receive, send: Send) -> None:
    """Tells what it was asked; then does what the path says."""
    path = scope["path"]
    if path == "/fails":
        raise ValueError("on purpose")
    if path == "/forgets":
        return
    if path == "/breaks":
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"half", "more_body": True})
        raise ValueError("on purpose")
    if path == "/nobody-reads":
        await send({"type": "http.response.start", "status": 202, "headers": [(b"content-length", b"2")]})
        await send({"type": "http.response.body", "body": b"ok"})
        return
    if path == "/events":
        await send(
            {
                "type": "http.response.start",
                "status": 200,
                "headers": [(b"content-type", b"text/event-stream")],
            }
        )
        for i in range(3):
            await send({"type": "http.response.body", "body": b"data: %d\n\n" % i, "more_body": True})
            await asyncio.sleep(0.01)
        while (await receive())["type"] != "http.disconnect":
            pass
        scope["app_seen"].append("disconnect")
        return
    size = 0
    while True:
        message = await receive()
        size += len(message.get("body", b""))
        if not message.get("more_body"):
            break
    answer = json.dumps(
        {
            "method": scope["method"],
            "path": path,
            "query": scope["query_string"].decode(),
            "size": size,
            "identity": scope["state"]["identity"] and scope["state"]["identity"].name,
            "scheme": scope["scheme"],
        }
    ).encode()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"x-kind", b"echo")]})
    await send({"type": "http.response.body", "body": answer})


@pytest.fixture
def behind(tmp_path: Path) -> Iterator[Front]:
    with Front(tmp_path, app=echo) as made:
        yield made


def test_what_is_no_push_goes_to_the_app_with_its_identity(behind: Front) -> None:
    got = behind.request("GET", "/caf%C3%A9?a=1&b=2")
    assert got.json == {
        "method": "GET",
        "path": "/café",
        "query": "a=1&b=2",
        "size": 0,
        "identity": "local",
        "scheme": "http",
    }
    assert got.headers["x-kind"] == "echo"


def test_a_large_body_is_streamed_to_the_app_and_the_connection_goes_on(behind: Front) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", behind.port, timeout=20)
    for _ in range(2):
        assert (
            behind.request("POST", "/", b"x" * 20_000_000, connection=connection).json["size"] == 20_000_000
        )
    connection.close()


def test_head_has_no_body_and_the_next_answer_is_whole(behind: Front) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", behind.port, timeout=20)
    assert behind.request("HEAD", "/", connection=connection).body == b""
    assert behind.request("GET", "/", connection=connection).json["method"] == "GET"
    connection.close()


def test_an_app_that_fails_answers_500_and_nobody_else_notices(behind: Front) -> None:
    for path in ("/fails", "/forgets"):
        got = behind.request("GET", path)
        assert (got.status, got.json["error"]) == (500, "failed")
        assert "on purpose" not in got.body.decode()
    assert behind.health.app_errors == 2
    assert behind.push(batch(1)).status == 200


def test_an_answer_that_breaks_in_the_middle_is_seen_as_broken(behind: Front) -> None:
    with pytest.raises(http.client.IncompleteRead):
        behind.request("GET", "/breaks")


def test_an_answer_before_the_body_was_read_arrives(behind: Front) -> None:
    found = behind.raw(
        b"POST /nobody-reads HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000\r\n\r\n" + b"x" * 1000
    )
    assert found.startswith(b"HTTP/1.1 202 ")
    assert found.endswith(b"ok")


def test_events_are_streamed_and_the_app_hears_of_the_end(tmp_path: Path) -> None:
    seen: list[str] = []

    async def app(scope: Any, receive: Receive, send: Send) -> None:
        scope["app_seen"] = seen
        await echo(scope, receive, send)

    with Front(tmp_path, app=app) as front:
        with socket.create_connection(("127.0.0.1", front.port), timeout=10) as made:
            made.sendall(b"GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n")
            found = b""
            while b"data: 2" not in found:
                found += made.recv(4096)
            assert b"transfer-encoding: chunked" in found
        deadline = time.monotonic() + 10
        while not seen and time.monotonic() < deadline:
            time.sleep(0.01)
        assert seen == ["disconnect"]


def test_a_reader_that_takes_nothing_does_not_fill_the_memory(tmp_path: Path) -> None:
    sent = 0

    async def flood(scope: Any, receive: Receive, send: Send) -> None:
        nonlocal sent
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for _ in range(1000):
            await send({"type": "http.response.body", "body": b"x" * 1_000_000, "more_body": True})
            sent += 1_000_000

    with (
        Front(tmp_path, app=flood) as front,
        socket.create_connection(("127.0.0.1", front.port), timeout=10) as made,
    ):
        made.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        made.recv(100)
        time.sleep(0.5)
        assert sent < 50_000_000
        assert front.push(batch(1)).status == 200


# ---- the machine's own socket


def test_the_socket_is_the_operators_and_nobody_elses(tmp_path: Path) -> None:
    with Front(tmp_path, tokens=True, app=echo) as front:
        assert stat.S_IMODE(front.socket_path.stat().st_mode) == 0o600
        made = socket.socket(socket.AF_UNIX)
        made.settimeout(10)
        made.connect(str(front.socket_path))
        made.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        found = b""
        while part := made.recv(4096):
            found += part
        assert b'"identity": "socket"' in found
        made.close()
    assert not front.socket_path.exists()


def test_a_stale_socket_is_replaced(tmp_path: Path) -> None:
    left = socket.socket(socket.AF_UNIX)
    left.bind(str(tmp_path / "c.sock"))
    left.close()
    with Front(tmp_path) as front:
        assert front.push(batch(1)).status == 200


def test_a_port_that_is_taken_is_said_so(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with (
            pytest.raises(ConfigError, match=f"127.0.0.1:{port} cannot be bound"),
            Front(tmp_path, listen=Listen(port=port)),
        ):
            pass


# ---- TLS


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A CA, a server's certificate for localhost, a node's and one of a stranger's CA; made by openssl."""
    directory = tmp_path_factory.mktemp("tls")

    def openssl(*arguments: str) -> None:
        done = subprocess.run(
            ["openssl", *arguments], cwd=directory, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr

    try:
        subprocess.run(["openssl", "version"], capture_output=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("openssl is not here")
    new = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    for ca in ("ca", "stranger-ca"):
        openssl(
            "req",
            "-x509",
            *new,
            "-days",
            "2",
            "-subj",
            f"/CN={ca}",
            "-keyout",
            f"{ca}.key",
            "-out",
            f"{ca}.pem",
        )
    for name, ca in (("localhost", "ca"), ("gpu-a01", "ca"), ("stranger", "stranger-ca")):
        openssl("req", *new, "-subj", f"/CN={name}", "-keyout", f"{name}.key", "-out", f"{name}.csr")
        (directory / "san").write_text(f"subjectAltName=DNS:{name}\n")
        openssl("x509", "-req", "-in", f"{name}.csr", "-CA", f"{ca}.pem", "-CAkey", f"{ca}.key", "-CAcreateserial",
                "-days", "2", "-extfile", "san", "-out", f"{name}.pem")  # fmt: skip
    return directory


def tls_listen(certificates: Path) -> Listen:
    return Listen(
        port=0,
        tls_certificate=certificates / "localhost.pem",
        tls_key=certificates / "localhost.key",
        client_ca=certificates / "ca.pem",
        header_seconds=5,
    )


def tls_push(front: Front, context: ssl.SSLContext, body: bytes) -> tuple[int, Any]:
    connection = http.client.HTTPSConnection("localhost", front.port, context=context, timeout=10)
    connection.request("POST", "/v1/push", body, HEADERS)
    response = connection.getresponse()
    found = response.status, json.loads(response.read())
    connection.close()
    return found


def test_a_client_certificate_speaks_for_the_node_it_names(tmp_path: Path, certificates: Path) -> None:
    with Front(tmp_path, listen=tls_listen(certificates)) as front:
        own = client_context(
            certificates / "ca.pem", certificates / "gpu-a01.pem", certificates / "gpu-a01.key"
        )
        assert tls_push(front, own, batch(1))[0] == 200
        assert tls_push(front, own, batch(1, stream="b" * 32, node="gpu-a02"))[0] == 403
        [record] = front.journalled()
        assert record.identity == "gpu-a01"


def test_without_a_client_certificate_nothing_is_taken(tmp_path: Path, certificates: Path) -> None:
    with Front(tmp_path, listen=tls_listen(certificates)) as front:
        status, answer = tls_push(front, client_context(certificates / "ca.pem"), batch(1))
        assert (status, answer["error"]) == (401, "unauthenticated")


def test_a_strangers_certificate_does_not_get_in(tmp_path: Path, certificates: Path) -> None:
    with Front(tmp_path, listen=tls_listen(certificates)) as front:
        strange = client_context(
            certificates / "ca.pem", certificates / "stranger.pem", certificates / "stranger.key"
        )
        with pytest.raises((ssl.SSLError, ConnectionError, http.client.RemoteDisconnected)):
            tls_push(front, strange, batch(1))
        assert front.journalled() == []


def test_plain_http_on_the_tls_port_harms_nobody(tmp_path: Path, certificates: Path) -> None:
    with Front(tmp_path, listen=tls_listen(certificates)) as front:
        front.raw(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        own = client_context(
            certificates / "ca.pem", certificates / "gpu-a01.pem", certificates / "gpu-a01.key"
        )
        assert tls_push(front, own, batch(1))[0] == 200


def test_a_certificate_that_cannot_be_read_is_said_so(tmp_path: Path, certificates: Path) -> None:
    listen = Listen(port=0, tls_certificate=certificates / "localhost.pem", tls_key=certificates / "ca.key")
    with pytest.raises(ConfigError, match="tls_certificate"), Front(tmp_path, listen=listen):
        pass


def test_a_long_answer_over_tls_is_whole(tmp_path: Path, certificates: Path) -> None:
    async def long(scope: Any, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for _ in range(50):
            await send({"type": "http.response.body", "body": b"x" * 100_000, "more_body": True})
        await send({"type": "http.response.body", "body": b""})

    with Front(tmp_path, listen=tls_listen(certificates), app=long) as front:
        context = client_context(certificates / "ca.pem")
        connection = http.client.HTTPSConnection("localhost", front.port, context=context, timeout=10)
        connection.request("GET", "/")
        assert len(connection.getresponse().read()) == 5_000_000
        connection.close()
