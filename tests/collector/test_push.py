"""POST /v1/push over real sockets: every answer of docs/interfaces.md, and what it leaves in the journal."""

from __future__ import annotations

import gzip
import http.client
import json
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from tests.collector.front_world import HEADERS, STREAM, Front, batch

from ullage_collector.batch import read_batch
from ullage_collector.journal import Journal, Position, Record
from ullage_collector.receive.identity import Role
from ullage_collector.receive.streams import StreamRow
from ullage_contract import wire
from ullage_contract.errors import DiskFull, StoreError

NOW = 1_800_000_000.0


@pytest.fixture
def front(tmp_path: Path) -> Iterator[Front]:
    with Front(tmp_path) as made:
        yield made


def notices(front: Front) -> list[tuple[str, str]]:
    """The collector's own events so far: (kind, message)."""
    front.settle()
    return [
        (event.kind, event.message)
        for record in front.journalled("events")
        if record.identity == "collector"
        for event in read_batch(record.body).events
    ]


# ---- what is taken


def test_a_batch_is_in_the_journal_before_its_answer(front: Front) -> None:
    body = batch(1)
    got = front.push(body, sent_at=NOW + 1.25)
    assert got.status == 200
    assert got.json == {
        "schema_version": 1,
        "stream": STREAM,
        "accepted_through": 1,
        "durable_through": 1,
        "duplicate": False,
        "clock_skew_seconds": 1.25,
    }
    assert front.journalled() == [
        Record(STREAM, 1, "samples", "c1", "gpu-a01", "local", int(NOW * 1e6), 1.25, body)
    ]


def test_the_lanes_are_kept_apart(front: Front) -> None:
    assert front.push(batch(1)).status == 200
    assert front.push(batch(1, lane="events", stream="e" * 32)).status == 200
    assert [r.lane for r in front.journalled("samples")] == ["samples"]
    assert [r.lane for r in front.journalled("events")] == ["events"]


def test_a_kept_connection_carries_many_batches(front: Front) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", front.port, timeout=20)
    for sequence in range(1, 51):
        assert front.push(batch(sequence), connection=connection).json["durable_through"] == sequence
    connection.close()
    assert [r.sequence for r in front.journalled()] == list(range(1, 51))


def test_a_gap_is_legal_and_counted(front: Front) -> None:
    for sequence in (5, 6, 10):
        assert front.push(batch(sequence)).json["accepted_through"] == sequence
    assert front.health.gaps == 3


def test_many_connections_share_one_sync(front: Front, tmp_path: Path) -> None:
    results: list[int] = []

    def one(number: int) -> None:
        stream = f"{number:032d}"
        results.append(front.push(batch(1, stream=stream, node=f"n{number}")).status)

    threads = [threading.Thread(target=one, args=(i,)) for i in range(50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [200] * 50
    assert sorted(r.node for r in front.journalled()) == sorted(f"n{i}" for i in range(50))


# ---- duplicates and conflicts


def test_the_same_batch_again_is_a_duplicate_and_stored_once(front: Front) -> None:
    body = batch(1)
    front.push(body)
    got = front.push(body)
    assert got.status == 200
    assert got.json["duplicate"] is True
    assert got.json["durable_through"] == 1
    assert len(front.journalled()) == 1


def test_an_older_batch_again_is_a_duplicate_too(front: Front) -> None:
    for sequence in range(1, 6):
        front.push(batch(sequence))
    got = front.push(batch(2))
    assert (got.status, got.json["duplicate"], got.json["durable_through"]) == (200, True, 5)
    assert len(front.journalled()) == 5


def test_one_number_with_two_bodies_is_a_conflict_and_an_event(front: Front) -> None:
    front.push(batch(1, power=300.0))
    got = front.push(batch(1, power=301.0))
    assert (got.status, got.json["error"]) == (409, "sequence_conflict")
    assert len(front.journalled()) == 1
    assert [kind for kind, _ in notices(front)] == ["identity_conflict"]
    front.push(batch(1, power=302.0))
    assert len(notices(front)) == 1  # told once an hour, not each time


def test_a_stream_that_another_node_uses_is_a_conflict(front: Front) -> None:
    front.push(batch(1))
    got = front.push(batch(2, node="gpu-b07"))
    assert (got.status, got.json["error"]) == (409, "sequence_conflict")
    assert "gpu-b07" in got.json["message"]


def test_a_number_jumped_over_has_no_body_to_conflict_with(front: Front) -> None:
    front.push(batch(1))
    front.push(batch(200))
    assert front.push(batch(72, power=7.0)).json["duplicate"] is True  # 72 = 200 - 128: the ring's same place
    assert front.push(batch(199, power=7.0)).json["duplicate"] is True


def test_duplicates_are_known_after_a_restart_from_journal_and_store(tmp_path: Path) -> None:
    with Front(tmp_path) as front:
        for sequence in (1, 2, 3):
            front.push(batch(sequence))
    applied = StreamRow("a" * 32, "samples", "c1", "gpu-a01", 9)
    with Front(tmp_path, rows=(applied,)) as front:
        assert front.push(batch(3)).json["duplicate"] is True
        assert front.push(batch(3, power=1.0)).status == 409
        assert front.push(batch(4)).json["durable_through"] == 4
        assert front.push(batch(9, stream="a" * 32)).json["duplicate"] is True
        assert front.push(batch(10, stream="a" * 32)).json["accepted_through"] == 10


def test_two_machines_under_one_name_are_an_event(front: Front) -> None:
    front.push(batch(1, machine_id="m1"))
    assert notices(front) == []
    assert front.push(batch(1, stream="b" * 32, machine_id="m2")).status == 200
    [(kind, message)] = notices(front)
    assert kind == "identity_conflict"
    assert "m1" in message
    assert "m2" in message


# ---- what is refused, and changes nothing


def refusals() -> list[tuple[str, bytes, str]]:
    good = json.loads(gzip.decompress(batch(1)))

    def changed(**more: object) -> bytes:
        return gzip.compress(json.dumps({**good, **more}).encode())

    rows = {"card": {**good["families"]["card"], "time": [1.0]}}
    return [
        ("empty", b"", "malformed"),
        ("not gzip", b"hello", "malformed"),
        ("cut off", batch(1)[:-10], "malformed"),
        ("not JSON", gzip.compress(b"{"), "malformed"),
        ("nested", gzip.compress(b'{"families":' * 50_000), "malformed"),
        ("a list", gzip.compress(b"[]"), "malformed"),
        ("not UTF-8", gzip.compress(b'{"stream":"\xff\xfe"}'), "malformed"),
        ("NaN", gzip.compress(json.dumps(good).replace("300.0", "NaN").encode()), "malformed"),
        ("newer", changed(schema_version=2), "schema_version"),
        ("no number", changed(sequence=0), "malformed"),
        ("a huge number", changed(sequence=2**60), "malformed"),
        ("a lane of its own", changed(lane="other"), "malformed"),
        ("a control character", changed(node="a\nb"), "malformed"),
        ("columns of two lengths", changed(families=rows), "malformed"),
        ("samples among events", changed(lane="events"), "malformed"),
        (
            "events among samples",
            changed(
                events=[
                    {
                        "time": 1.0,
                        "kind": "xid",
                        "severity": "fatal",
                        "family": "card",
                        "subject": "x",
                        "source": "s",
                        "message": "",
                        "attributes": {},
                    }
                ]
            ),
            "malformed",
        ),
    ]


@pytest.mark.parametrize(("what", "body", "word"), refusals(), ids=[r[0] for r in refusals()])
def test_what_is_malformed_is_refused_and_changes_nothing(
    front: Front, what: str, body: bytes, word: str
) -> None:
    got = front.push(body)
    assert (got.status, got.json["error"]) == (400, word)
    assert got.json["schema_version"] == 1
    assert got.json["message"]
    assert front.journalled() == front.journalled("events") == []
    assert front.push(batch(1)).status == 200  # the stream is as it was


def test_a_gzip_bomb_is_refused_without_unpacking_it(front: Front) -> None:
    bomb = gzip.compress(b" " * (wire.MAX_JSON_BYTES + 1))
    assert len(bomb) < 100_000
    got = front.push(bomb)
    assert (got.status, got.json["error"]) == (413, "too_large")


def test_too_many_rows_are_refused(front: Front) -> None:
    most = wire.MAX_ROWS
    with pytest.MonkeyPatch.context() as patch:  # our own encoder would not make it
        patch.setattr(wire, "MAX_ROWS", 2 * most)
        body = batch(1, cards=most + 1)
    got = front.push(body)
    assert (got.status, got.json["error"]) == (413, "too_large")
    assert front.journalled() == []


def test_a_body_over_the_bound_is_refused_before_it_is_read(front: Front) -> None:
    head = (
        f"POST /v1/push HTTP/1.1\r\nHost: localhost\r\nContent-Type: {wire.CONTENT_TYPE}\r\n"
        f"Content-Encoding: gzip\r\nContent-Length: {wire.MAX_BODY_BYTES + 1}\r\n\r\n"
    )
    found = front.raw(head.encode())
    assert found.startswith(b"HTTP/1.1 413 ")
    assert b'"error":"too_large"' in found
    assert b"connection: close" in found


def test_a_chunked_body_over_the_bound_is_refused_while_it_comes(front: Front) -> None:
    head = (
        f"POST /v1/push HTTP/1.1\r\nHost: localhost\r\nContent-Type: {wire.CONTENT_TYPE}\r\n"
        "Content-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n"
    ).encode()
    chunk = b"100000\r\n" + b"x" * 0x100000 + b"\r\n"
    found = front.raw(head + chunk * 5)
    assert found.startswith(b"HTTP/1.1 413 ")
    assert front.push(batch(1)).status == 200


@pytest.mark.parametrize(
    ("method", "headers", "status", "word"),
    [
        ("GET", HEADERS, 405, "method_not_allowed"),
        ("PUT", HEADERS, 405, "method_not_allowed"),
        ("POST", {**HEADERS, "Content-Type": "text/plain"}, 415, "unsupported_media_type"),
        ("POST", {"Content-Type": wire.CONTENT_TYPE}, 415, "unsupported_media_type"),
        ("POST", {**HEADERS, "Content-Encoding": "br"}, 415, "unsupported_media_type"),
        ("POST", {**HEADERS, wire.SENT_AT_HEADER: "yesterday"}, 400, "malformed"),
        ("POST", {**HEADERS, wire.SENT_AT_HEADER: "nan"}, 400, "malformed"),
        ("POST", {**HEADERS, wire.SENT_AT_HEADER: "-1"}, 400, "malformed"),
    ],
)
def test_a_request_that_is_no_push_is_refused(
    front: Front, method: str, headers: dict[str, str], status: int, word: str
) -> None:
    got = front.request(method, "/v1/push", batch(1), headers)
    assert (got.status, got.json["error"]) == (status, word)
    assert front.journalled() == []
    assert front.health.answers[status] == 1


def test_a_push_without_a_length_is_refused(front: Front) -> None:
    head = (
        f"POST /v1/push HTTP/1.1\r\nHost: localhost\r\nContent-Type: {wire.CONTENT_TYPE}\r\n"
        "Content-Encoding: gzip\r\nConnection: close\r\n\r\n"
    )
    assert front.raw(head.encode()).startswith(b"HTTP/1.1 411 ")


# ---- who may


def test_without_a_token_nothing_is_taken(tmp_path: Path) -> None:
    with Front(tmp_path, tokens=True) as front:
        got = front.push(batch(1))
        assert (got.status, got.json["error"]) == (401, "unauthenticated")
        assert got.headers["www-authenticate"].startswith("Bearer")
        assert front.push(batch(1), token="ullage_node_guessed").status == 401
        assert front.journalled() == []


def test_a_node_speaks_for_itself_alone(tmp_path: Path) -> None:
    with Front(tmp_path, tokens=True) as front:
        token = front.token["gpu-a01"]
        assert front.push(batch(1), token=token).status == 200
        got = front.push(batch(1, stream="b" * 32, node="gpu-a02"), token=token)
        assert (got.status, got.json["error"]) == (403, "forbidden")
        assert "gpu-a02" in got.json["message"]
        assert [(r.node, r.identity) for r in front.journalled()] == [("gpu-a01", "gpu-a01")]


def test_a_token_of_one_cluster_is_not_good_for_another(tmp_path: Path) -> None:
    with Front(tmp_path) as front:
        token = front.add_token("gpu-a01", Role.NODE, cluster="c1")
        front.run(_reload(front))
        assert front.push(batch(1, cluster="c2"), token=token).status == 403
        assert front.push(batch(1, cluster="c1"), token=token).status == 200


def test_a_viewer_sends_nothing(tmp_path: Path) -> None:
    with Front(tmp_path, tokens=True) as front:
        got = front.push(batch(1), token=front.token["viewer"])
        assert (got.status, got.json["error"]) == (403, "forbidden")


def test_an_admin_may_send_for_any_node(tmp_path: Path) -> None:
    with Front(tmp_path, tokens=True) as front:
        assert front.push(batch(1, node="gpu-z99"), token=front.token["admin"]).status == 200


async def _reload(front: Front) -> None:
    front.doorkeeper.reload()


# ---- clocks


@pytest.mark.parametrize("skew", [0.0, 300.0, -300.0, 12.5])
def test_a_clock_off_by_up_to_five_minutes_is_stored_as_it_is(front: Front, skew: float) -> None:
    assert front.push(batch(1, now=NOW + skew), sent_at=NOW + skew).json["clock_skew_seconds"] == skew
    [record] = front.journalled()
    assert (record.skew_seconds, record.clock_wrong, record.shift_seconds) == (skew, False, 0.0)
    assert notices(front) == []


@pytest.mark.parametrize("skew", [301.0, -301.0, 86_400.0, -1_700_000_000.0])
def test_a_clock_off_by_more_is_stored_by_ours_and_told_once(front: Front, skew: float) -> None:
    assert front.push(batch(1, now=NOW + skew), sent_at=NOW + skew).json["clock_skew_seconds"] == skew
    [record] = front.journalled()
    assert record.clock_wrong
    assert NOW + skew + record.shift_seconds == NOW
    front.push(batch(2, now=NOW + skew), sent_at=NOW + skew)
    assert [kind for kind, _ in notices(front)] == ["clock_wrong"]


def test_a_sender_that_does_not_say_its_time_has_no_skew(front: Front) -> None:
    assert front.push(batch(1)).json["clock_skew_seconds"] is None
    assert front.journalled()[0].skew_seconds is None


# ---- pressure and trouble


def test_a_store_that_is_behind_makes_senders_wait(front: Front) -> None:
    front.pressure.pending = 1001
    got = front.push(batch(1))
    assert (got.status, got.json["error"]) == (429, "busy")
    assert 5 <= int(got.headers["retry-after"]) <= 15
    assert front.journalled() == []
    front.pressure.pending = 1000
    assert front.push(batch(1)).status == 200
    front.pressure.pending = 1001
    assert front.push(batch(1)).json["duplicate"] is True  # what is safe already is said to be, however busy


class Failing(Journal):
    """A journal whose disk is full or broken as the test says."""

    failure: StoreError | None = None

    def append(self, records: Sequence[Record]) -> list[Position]:
        if self.failure is not None:
            raise self.failure
        return super().append(records)


@pytest.mark.parametrize(
    ("failure", "status", "word"),
    [(DiskFull("full"), 507, "disk_full"), (StoreError("input/output error"), 503, "busy")],
)
def test_a_disk_that_takes_nothing_is_told_and_the_batch_is_welcome_later(
    tmp_path: Path, failure: StoreError, status: int, word: str
) -> None:
    with Front(tmp_path, journal=Failing) as front:
        front.push(batch(1))
        for journal in front.journals.values():
            assert isinstance(journal, Failing)
            journal.failure = failure
        got = front.push(batch(2))
        assert (got.status, got.json["error"]) == (status, word)
        for journal in front.journals.values():
            assert isinstance(journal, Failing)
            journal.failure = None
        got = front.push(batch(2))
        assert (got.status, got.json["duplicate"], got.json["durable_through"]) == (200, False, 2)


class Held(Journal):
    """A journal whose sync takes until the test lets it go."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.entered = threading.Event()
        self.go = threading.Event()

    def append(self, records: Sequence[Record]) -> list[Position]:
        self.entered.set()
        assert self.go.wait(20)
        return super().append(records)


def test_nothing_is_answered_before_it_is_durable_and_one_batch_a_stream_is_in_flight(
    tmp_path: Path,
) -> None:
    with Front(tmp_path, journal=Held) as front:
        journal = front.journals["samples"]
        assert isinstance(journal, Held)
        answers: list[int] = []
        first = threading.Thread(target=lambda: answers.append(front.push(batch(1)).status))
        first.start()
        assert journal.entered.wait(20)
        got = front.push(batch(2))
        assert (got.status, got.json["error"], got.headers["retry-after"]) == (503, "busy", "1")
        assert front.push(batch(1, power=1.0)).status == 409
        assert answers == []
        journal.go.set()
        front.journals["events"].go.set()  # type: ignore[attr-defined]
        first.join(20)
        assert answers == [200]
        assert front.push(batch(2)).json["durable_through"] == 2


def test_a_sender_that_hangs_up_before_its_answer_has_its_batch_all_the_same(tmp_path: Path) -> None:
    with Front(tmp_path, journal=Held) as front:
        journal = front.journals["samples"]
        assert isinstance(journal, Held)
        connection = http.client.HTTPConnection("127.0.0.1", front.port, timeout=20)
        connection.request("POST", "/v1/push", batch(1), HEADERS)
        assert journal.entered.wait(20)
        connection.close()
        journal.go.set()
        got = front.push(batch(1))
        while got.status == 503:
            got = front.push(batch(1))
        assert got.json["duplicate"] is True
        assert len(front.journalled()) == 1
