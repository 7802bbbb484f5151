"""``ullage-collector serve`` as a process: what is pushed shows, what breaks mends, what is stopped is whole."""

from __future__ import annotations

import http.client
import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import duckdb
import pytest
from prometheus_client.parser import text_string_to_metric_families
from tests.integration.collector_process import CollectorProcess

from ullage_collector import config as settings
from ullage_collector.cli import main
from ullage_collector.operator_door import DoorError, call, is_served
from ullage_collector.serve import Collector
from ullage_contract import wire
from ullage_contract.clock import SystemClock
from ullage_contract.event import Event, Severity
from ullage_contract.sample import Facts, Family, Origin, Sample


@pytest.fixture
def collector(tmp_path: Path) -> Iterator[CollectorProcess]:
    made = CollectorProcess(tmp_path / "data")
    yield made
    made.ensure_ended()


def ask(port: int, method: str, path: str, body: bytes | None = None, **headers: str) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    connection.request(method, path, body, {k.replace("_", "-"): v for k, v in headers.items()})
    response = connection.getresponse()
    found = response.status, response.read()
    connection.close()
    return found


def push(
    port: int, sequence: int, *, lane: str = "samples", skew: float = 0.0, node: str = "gpu-a01"
) -> dict[str, Any]:
    now = time.time() + skew
    body = wire.encode(
        wire.Batch(
            stream=f"{lane[0]}{node.encode().hex():0>31}"[:32],
            sequence=sequence,
            lane=lane,
            agent="test",
            cluster="c1",
            node=node,
            machine_id="m",
            boot_id="b",
            origin=Origin.REAL,
            samples=[
                Sample(Family.CARD, f"{node}-GPU-{i}", now, 1.0, 10.0, {"power_watts": float(sequence)})
                for i in range(2)
            ]
            if lane == "samples"
            else (),
            facts=[Facts(Family.CARD, f"{node}-GPU-0", now, {"vendor": "nvidia", "model": "H20"})],
            events=[
                Event(
                    now,
                    "xid",
                    Severity.FATAL,
                    Family.CARD,
                    f"{node}-GPU-0",
                    "kernel_log",
                    "Xid 79",
                    "79",
                    "nvidia",
                )
            ]
            if lane == "events"
            else (),
        )
    )
    status, answer = ask(
        port,
        "POST",
        wire.PUSH_PATH,
        body,
        Content_Type=wire.CONTENT_TYPE,
        Content_Encoding="gzip",
        Ullage_Sent_At=f"{now:.3f}",
    )
    assert status == 200, answer
    found: dict[str, Any] = json.loads(answer)
    return found


def eventually(what: Callable[[], Any], seconds: float = 30.0) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < deadline, "it did not come"
        time.sleep(0.05)
    return found


def test_what_is_pushed_shows_and_is_whole_after_a_stop(collector: CollectorProcess) -> None:
    collector.start()
    port = collector.port
    push(port, 1)
    push(port, 1, lane="events")

    def incidents() -> Any:
        return json.loads(ask(port, "GET", "/api/v1/incidents")[1])["incidents"]

    [incident] = eventually(incidents)
    assert (incident["subject"], incident["code"]) == ("gpu-a01-GPU-0", "79")
    cards = eventually(
        lambda: len(found := json.loads(ask(port, "GET", "/api/v1/cards")[1])["cards"]) == 2 and found
    )
    assert {card["power_watts"] for card in cards} == {1.0}
    status, page = ask(port, "GET", "/fleet", Accept="text/html")
    assert status == 200
    assert b"<html" in page
    families = {
        family.name: family
        for family in text_string_to_metric_families(ask(port, "GET", "/metrics")[1].decode())
    }
    assert sum(s.value for s in families["ullage_fleet_cards"].samples) == 2
    assert [s.value for s in families["ullage_collector_batches"].samples] == [1, 1]
    assert {s.labels["part"]: s.value for s in families["ullage_collector_part_up"].samples} == dict.fromkeys(
        ("store-writer", "fault-engine", "rollup", "journal-keeper"), 1.0
    ) | {s.labels["part"]: 1.0 for s in families["ullage_collector_part_up"].samples}
    assert json.loads(ask(port, "GET", "/healthz")[1])["status"] == "ok"
    assert collector.stop() == 0
    with duckdb.connect(str(collector.directory / "collector" / "store.duckdb"), read_only=True) as store:
        assert store.execute("SELECT count(*) FROM card_sample").fetchall() == [(2,)]
    assert not (collector.directory / "collector.sock").exists()


def test_a_wrong_clock_is_put_right_in_the_store_and_shown_at_the_node(collector: CollectorProcess) -> None:
    collector.start()
    push(collector.port, 1, node="ahead", skew=7200.0)
    push(collector.port, 1, node="behind", skew=-7200.0)
    push(collector.port, 1, node="little", skew=200.0)
    received = time.time()
    path = collector.directory / "collector" / "store.duckdb"
    eventually(
        lambda: (
            len(json.loads(ask(collector.port, "GET", "/api/v1/nodes")[1])["nodes"]) == 3
            and b'journal_pending_bytes{lane="samples"} 0\n' in ask(collector.port, "GET", "/metrics")[1]
        )
    )
    assert collector.stop() == 0
    with duckdb.connect(str(path), read_only=True) as store:
        rows = dict(
            store.execute(
                "SELECT node_id, max(epoch(time)) FROM card_sample JOIN node USING (node_key) GROUP BY 1"
            ).fetchall()
        )
        assert abs(rows["ahead"] - received) < 30
        assert abs(rows["behind"] - received) < 30
        assert abs(rows["little"] - received - 200) < 30
        flags = dict(store.execute("SELECT node_id, clock_wrong FROM node").fetchall())
        assert flags == {"ahead": True, "behind": True, "little": False}
        told = store.execute("SELECT subject FROM event WHERE kind = 'clock_wrong' ORDER BY 1").fetchall()
        assert told == [("ahead",), ("behind",)]


def test_the_socket_is_the_commands_way_in(collector: CollectorProcess) -> None:
    path = collector.directory / "collector.sock"
    assert not is_served(path)
    collector.start()
    assert is_served(path)
    assert call(path, "GET", "/healthz")["status"] == "ok"
    with pytest.raises(DoorError, match="no such") as refused:
        call(path, "POST", "/api/v1/no-such-thing", {})
    assert refused.value.status == 404
    assert collector.stop() == 0
    with pytest.raises(DoorError, match="does not answer"):
        call(path, "GET", "/healthz")


def test_a_token_made_while_serving_closes_the_open_door(
    collector: CollectorProcess, capsys: pytest.CaptureFixture[str]
) -> None:
    collector.start()
    assert ask(collector.port, "GET", "/api/v1/cards")[0] == 200
    assert main(["--data", str(collector.directory), "token", "boss", "--role", "admin"]) == 0
    token = capsys.readouterr().out.strip()
    eventually(lambda: ask(collector.port, "GET", "/api/v1/cards")[0] == 401)
    assert ask(collector.port, "GET", "/api/v1/cards", Authorization=f"Bearer {token}")[0] == 200
    assert collector.stop() == 0
    assert token not in collector.log.read_text()


class Served:
    """A Collector in a thread of this process, so that a test can reach inside and break something."""

    def __init__(self, directory: Path) -> None:
        path = directory / "c.toml"
        path.write_text('[listen]\naddress = "127.0.0.1:0"\nsocket = false\n[receive]\nreserve_bytes = 0\n')
        self.collector = Collector(settings.load(path, data=directory / "data"), SystemClock())
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.failure: BaseException | None = None

    def _run(self) -> None:
        import uvloop

        try:
            uvloop.run(self.collector.run())
        except BaseException as e:
            self.failure = e

    def __enter__(self) -> Collector:
        self.thread.start()
        while not self.collector.started.wait(0.1):
            assert self.thread.is_alive(), self.failure
        return self.collector

    def __exit__(self, *exc: object) -> None:
        self.collector.stop()
        self.thread.join(60)
        assert not self.thread.is_alive()
        assert self.failure is None


def test_a_store_that_died_is_opened_anew_and_nothing_acknowledged_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Closing the database under everybody is what a fatal error of DuckDB looks like: it refuses everything."""
    with Served(tmp_path) as served:
        push(served.port, 1)
        eventually(lambda: served._writer is not None and served._writer.counts.batches == 1)
        door = served._door
        door.store._connection.close()
        for sequence in range(2, 30):
            assert push(served.port, sequence)["durable_through"] == sequence  # receiving goes on
        first = door.store
        eventually(lambda: door.store is not first)

        def stored() -> Any:
            try:
                with door.cursor() as cursor:
                    return cursor.execute(
                        "SELECT count(*), count(DISTINCT power_watts) FROM card_sample"
                    ).fetchone() == (
                        58,
                        29,
                    )
            except duckdb.Error:
                return False

        eventually(stored)
        push(served.port, 1, lane="events")
        eventually(lambda: json.loads(ask(served.port, "GET", "/api/v1/incidents")[1])["incidents"])


def test_the_journal_shrinks_once_everybody_has_read_it(tmp_path: Path) -> None:
    path = tmp_path / "c.toml"
    path.write_text(
        '[listen]\naddress = "127.0.0.1:0"\nsocket = false\n[receive]\nsegment_bytes = 65536\nreserve_bytes = 0\n'
    )
    made = Served(tmp_path)
    made.collector = Collector(settings.load(path, data=tmp_path / "data"), SystemClock())
    with made as served:
        connection = http.client.HTTPConnection("127.0.0.1", served.port, timeout=10)
        noise = "".join(f"{i * 7919 % 10**9:09d}" for i in range(2000))
        for sequence in range(1, 60):
            body = wire.encode(
                wire.Batch(
                    "a" * 32, sequence, "samples", "t", "c", "n", None, None, Origin.REAL,
                    facts=[Facts(Family.NODE, "n", time.time(), {"hostname": os.urandom(4).hex() + noise[:1900]})],
                )
            )  # fmt: skip
            connection.request(
                "POST", wire.PUSH_PATH, body, {"Content-Type": wire.CONTENT_TYPE, "Content-Encoding": "gzip"}
            )
            response = connection.getresponse()
            assert response.read()
            assert response.status == 200
        connection.close()
        journal = tmp_path / "data" / "collector" / "journal" / "samples"
        eventually(lambda: len(list(journal.glob("*.journal"))) == 1)
