"""kill -9 of a serving collector in the middle of ingest: what was acknowledged is in the store, once."""

from __future__ import annotations

import http.client
import json
import random
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest
from tests.integration.collector_process import CollectorProcess

from ullage_contract import wire
from ullage_contract.event import Event, Severity
from ullage_contract.sample import Family, Origin, Sample

CARDS = 4
ROUNDS = 20


class Node(threading.Thread):
    """An agent as the wire asks for: one batch in flight, the same bytes again until it is durable.

    Its samples carry their sequence in ``power_watts``, so that the store can be asked for every one.
    """

    def __init__(self, collector: CollectorProcess, number: int, lane: str) -> None:
        super().__init__(daemon=True)
        self._collector = collector
        self.node = f"gpu-{number:03d}"
        self.lane = lane
        self.stream = f"{lane[0]}{number:031d}"
        self.acknowledged = 0
        self.sent = 0
        self.resent = 0
        self.refused: Counter[int] = Counter()
        self.ending = threading.Event()
        self._random = random.Random(number)

    def _batch(self, sequence: int) -> bytes:
        now = time.time()
        samples = [
            Sample(
                Family.CARD,
                f"{self.node}-card{i}",
                now,
                now,
                10.0,
                {"power_watts": float(sequence), "fan_ratio": 0.5},
            )
            for i in range(CARDS)
        ]
        events = [
            Event(now, "port_down", Severity.WARNING, Family.NODE, self.node, "agent", f"number {sequence}")
        ]
        return wire.encode(
            wire.Batch(
                stream=self.stream,
                sequence=sequence,
                lane=self.lane,
                agent="test",
                cluster="c1",
                node=self.node,
                machine_id=self.node,
                boot_id="b1",
                origin=Origin.REAL,
                samples=samples if self.lane == "samples" else (),
                events=events if self.lane == "events" else (),
            )
        )

    def run(self) -> None:
        connection: http.client.HTTPConnection | None = None
        body = b""
        while not self.ending.is_set():
            if not body:
                self.sent += 1
                body = self._batch(self.sent)
            try:
                if connection is None:
                    connection = http.client.HTTPConnection("127.0.0.1", self._collector.port, timeout=10)
                connection.request(
                    "POST",
                    wire.PUSH_PATH,
                    body,
                    {
                        "Content-Type": wire.CONTENT_TYPE,
                        "Content-Encoding": "gzip",
                        wire.SENT_AT_HEADER: f"{time.time():.3f}",
                    },
                )
                response = connection.getresponse()
                answer = json.loads(response.read())
            except (OSError, http.client.HTTPException, ValueError):
                if connection is not None:
                    connection.close()
                connection = None
                self.resent += 1
                self.ending.wait(0.02)
                continue
            if response.status == 200 and answer["durable_through"] >= self.sent:
                self.acknowledged = self.sent
                body = b""
            else:
                self.refused[response.status] += 1
                self.ending.wait(0.05)
            if self._random.random() < 0.3:
                self.ending.wait(self._random.random() * 0.01)


@pytest.fixture
def collector(tmp_path: Path) -> Iterator[CollectorProcess]:
    made = CollectorProcess(tmp_path / "data")
    yield made
    made.ensure_ended()


def test_twenty_kills_in_the_middle_of_ingest_lose_nothing_and_store_nothing_twice(
    collector: CollectorProcess,
) -> None:
    collector.start()
    nodes = [Node(collector, i, "samples") for i in range(6)] + [Node(collector, 0, "events")]
    for node in nodes:
        node.start()
    chance = random.Random(7)
    for _ in range(ROUNDS):
        before = sum(node.acknowledged for node in nodes)
        deadline = time.monotonic() + 30
        while sum(node.acknowledged for node in nodes) < before + 60:  # ingest runs
            assert time.monotonic() < deadline, collector.log.read_text()[-3000:]
            time.sleep(0.01)
        time.sleep(
            chance.random() * 1.2
        )  # and the kill lands anywhere: between writes, in one, in a rotation
        collector.kill()
        collector.start()
    for node in nodes:
        node.ending.set()
        node.join(30)
    drain(collector, nodes)
    assert collector.stop() == 0
    assert sum(node.resent for node in nodes) >= ROUNDS  # the kills were felt
    check(collector.directory / "collector" / "store.duckdb", nodes)


def drain(collector: CollectorProcess, nodes: list[Node]) -> None:
    """Until the store has read both journals.

    The figure is a moment old (serve.KEEPER_SECONDS): only one that stays nought for a second is the last word.
    """
    deadline = time.monotonic() + 60
    quiet_since: float | None = None
    while time.monotonic() < deadline:
        connection = http.client.HTTPConnection("127.0.0.1", collector.port, timeout=10)
        connection.request("GET", "/metrics")
        text = connection.getresponse().read().decode()
        connection.close()
        pending = [
            float(line.split()[-1])
            for line in text.splitlines()
            if line.startswith("ullage_collector_journal_pending_bytes{")
        ]
        if not pending or any(pending):
            quiet_since = None
        elif quiet_since is None:
            quiet_since = time.monotonic()
        elif time.monotonic() - quiet_since > 1.0:
            return
        time.sleep(0.2)
    raise AssertionError(f"the store does not catch up:\n{collector.log.read_text()[-3000:]}")


def check(path: Path, nodes: list[Node]) -> None:
    with duckdb.connect(str(path), read_only=True) as connection:
        for node in nodes:
            if node.lane == "samples":
                rows = connection.execute(
                    "SELECT power_watts::BIGINT, c.card_id FROM card_sample s JOIN card c USING (card_key) "
                    "WHERE c.card_id LIKE ? || '-card%'",
                    [node.node],
                ).fetchall()
                per_batch = CARDS
            else:
                rows = connection.execute(
                    "SELECT sequence, subject FROM event WHERE stream = ?", [node.stream]
                ).fetchall()
                per_batch = 1
            counts = Counter(rows)
            twice = [row for row, count in counts.items() if count > 1]
            assert not twice, f"{node.stream}: stored twice: {twice[:5]}"
            batches = Counter(sequence for sequence, _ in counts)
            missing = [s for s in range(1, node.acknowledged + 1) if batches[s] != per_batch]
            assert not missing, f"{node.stream}: {len(missing)} of {node.acknowledged} lost: {missing[:5]}"
            assert max(batches) <= node.sent
            assert node.acknowledged > ROUNDS
        [(conflicts,)] = connection.execute(
            "SELECT count(*) FROM event WHERE kind = 'identity_conflict'"
        ).fetchall()
        assert conflicts == 0
        [(quarantined,)] = connection.execute("SELECT count(*) FROM quarantine").fetchall()
        assert quarantined == 0


def test_a_second_collector_on_the_same_directory_is_refused(collector: CollectorProcess) -> None:
    collector.start()
    second = CollectorProcess(collector.directory)
    with pytest.raises(AssertionError, match=f"another collector serves this directory.*{collector.pid}"):
        second.start()
    assert collector.stop() == 0


def test_a_kill_while_stopping_is_no_worse_than_any_other(collector: CollectorProcess) -> None:
    collector.start()
    node = Node(collector, 1, "samples")
    node.start()
    deadline = time.monotonic() + 30
    while node.acknowledged < 50 and time.monotonic() < deadline:
        time.sleep(0.01)
    threading.Timer(0.05, collector.kill).start()
    try:
        collector.stop()
    finally:
        time.sleep(0.1)
    collector.start()
    node.ending.set()
    node.join(30)
    drain(collector, [node])
    assert collector.stop() == 0
    check(collector.directory / "collector" / "store.duckdb", [node])
