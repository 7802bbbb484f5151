"""The demonstration fleet goes on: every server pushes what a minute of the history's last hour showed.

Forwards and backwards through that hour, so that nothing jumps: the same cards, the same holders, labelled
simulated like the history. One card falls off the bus at the start (VICTIM), so that the map, the incidents and a
proposal have something to show. It uses the wire like any agent: a stream a server, in order, one batch in flight.
"""

from __future__ import annotations

import http.client
import logging
import secrets
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import pyarrow.compute as pc
import pyarrow.parquet as pq

from demo.places import fleet
from ullage_contract import __version__, catalogue, wire
from ullage_contract.event import Event, Severity
from ullage_contract.sample import Facts, Family, Origin, Sample

log = logging.getLogger(__name__)

EVERY_SECONDS: Final = 60.0
MINUTES: Final = 60
VICTIM: Final = ("h800-07", 3)
"""Node and place of the card that is lost when the demonstration goes live. Any card would do."""


class Live:
    """Pushes for every server of the history until ``stop``. address: host and port of the collector."""

    def __init__(self, telemetry: Path, end: float, address: tuple[str, int], stop: threading.Event) -> None:
        self._minutes = _last_hour(telemetry, end)
        self._address = address
        self._stop = stop
        self._streams: dict[str, tuple[str, int]] = {}
        servers = len({node for minute in self._minutes for node in minute})
        cards = fleet(servers)
        self._places = {card.who.card_id: card.place for card in cards}
        self._victim = next((c.who.card_id for c in cards if (c.node_id, c.place) == VICTIM), None)

    def run(self) -> None:
        """Push once a minute; what the collector refuses is told and left behind."""
        for minute in _there_and_back(len(self._minutes)):
            began = time.monotonic()
            try:
                self._push(self._minutes[minute])
            except (OSError, http.client.HTTPException) as e:
                log.warning("live: %s", e)
            if self._stop.wait(max(0.0, EVERY_SECONDS - (time.monotonic() - began))):
                return

    def _push(self, rows: dict[str, list[dict[str, Any]]]) -> None:
        now = time.time()
        connection = http.client.HTTPConnection(*self._address, timeout=20)
        for node, cards in rows.items():
            stream, sequence = self._streams.get(node, (secrets.token_hex(16), 0))
            sequence += 1
            self._streams[node] = (stream, sequence)
            batch = wire.Batch(
                stream=stream,
                sequence=sequence,
                lane="samples",
                agent=__version__,
                cluster=cards[0]["cluster_id"],
                node=node,
                machine_id=None,
                boot_id=f"demo-{node}",
                origin=Origin.SIMULATED,
                samples=[self._sample(card, now) for card in cards],
                facts=[self._facts(card, now) for card in cards] if sequence == 1 else (),
            )
            self._send(connection, batch)
            if sequence == 1 and any(card["card_id"] == self._victim for card in cards):
                self._send(connection, self._fault(batch, now))
        connection.close()

    def _send(self, connection: http.client.HTTPConnection, batch: wire.Batch) -> None:
        connection.request(
            "POST",
            wire.PUSH_PATH,
            wire.encode(batch),
            {
                "Content-Type": wire.CONTENT_TYPE,
                "Content-Encoding": "gzip",
                wire.SENT_AT_HEADER: f"{time.time():.3f}",
            },
        )
        answer = connection.getresponse()
        body = answer.read()
        if answer.status != 200:
            log.warning("live: %s: %d %s", batch.node, answer.status, body[:200])

    def _fault(self, batch: wire.Batch, now: float) -> wire.Batch:
        """The victim's Xid 79, in the lane of events."""
        assert self._victim is not None
        event = Event(
            time=now,
            kind="xid",
            severity=Severity.FATAL,
            family=Family.CARD,
            subject=self._victim,
            source="kernel_log",
            message="GPU has fallen off the bus (simulated)",
            code="79",
            vendor="nvidia",
        )
        return replace(
            batch,
            stream=secrets.token_hex(16),
            sequence=1,
            lane="events",
            samples=(),
            facts=(),
            events=(event,),
        )

    def _sample(self, row: dict[str, Any], now: float) -> Sample:
        known = catalogue.keys(Family.CARD)
        counters = {key for key, metric in known.items() if metric.kind is catalogue.Kind.COUNTER}
        values = {key: row[key] for key in known.keys() - counters if row.get(key) is not None}
        if row["card_id"] == self._victim:
            values = {"health": "lost", "health_detail": "fallen off the bus"}
        return Sample(
            family=Family.CARD,
            subject=row["card_id"],
            time=now,
            monotonic=time.monotonic(),
            interval_seconds=EVERY_SECONDS,
            values=values,
        )

    def _facts(self, row: dict[str, Any], now: float) -> Facts:
        return Facts(
            Family.CARD,
            row["card_id"],
            now,
            {
                "vendor": row["vendor"],
                "model": row["model"],
                "index": self._places.get(row["card_id"]),
                "memory_total_bytes": row.get("memory_total_bytes"),
            },
        )


def _last_hour(telemetry: Path, end: float) -> list[dict[str, list[dict[str, Any]]]]:
    """For each of the last MINUTES: node -> its cards' rows."""
    import datetime

    after = datetime.datetime.fromtimestamp(end - MINUTES * 60, datetime.UTC).replace(tzinfo=None)
    table = pq.read_table(telemetry, filters=pc.field("time") >= after)
    minutes: dict[Any, dict[str, list[dict[str, Any]]]] = {}
    for row in table.to_pylist():
        minutes.setdefault(row["time"], {}).setdefault(row["node_id"], []).append(row)
    return [minutes[at] for at in sorted(minutes)]


def _there_and_back(count: int) -> Iterator[int]:
    """count-1 ... 0 ... count-1 for ever: goes on where the history ended."""
    while True:
        yield from range(count - 1, -1, -1)
        yield from range(1, count - 1)
