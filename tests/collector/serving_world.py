"""A store in which pods hold cards, a Prometheus whose answers a test makes, and a watch between them, for tests of requests."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

from tests.collector.fleet_world import DAY, at

from ullage_collector.config import Store as StoreSettings
from ullage_collector.health import Health, ServingHealth
from ullage_collector.serving.settings import Source, sources_of
from ullage_collector.serving.watch import ServingWatch
from ullage_collector.store.store import Store
from ullage_contract.clock import ManualClock

POD: Final = "k8s/dc1/web/chat-0/u1"
NOON: Final = DAY.timestamp() + 12 * 3600

Value = Callable[[float], float | None]
"""Seconds since the epoch -> what the series shows then; None: it is not there."""


def source(**more: Any) -> Source:
    """One [[serving]] as its table would give it."""
    (found,) = sources_of(
        {"sources": ({"url": "http://prom:9090", "name": "prom", "cluster": "dc1"} | more,)}
    )
    return found


class MadePrometheus:
    """Answers range questions from functions of time, as the API documents it. dead: it is away. said: answers as they are.

    most_points: of one answer, or it says no.
    """

    def __init__(self) -> None:
        self.series: list[tuple[dict[str, str], Value]] = []
        self.dead = False
        self.said: bytes | None = None
        self.most_points = 1_000_000
        self.questions: list[dict[str, str]] = []

    def add(self, name: str, value: Value, **labels: str) -> None:
        self.series.append(({"__name__": name, **labels}, value))

    def vllm(self, pod: str, requests: Value, *, running: Value = lambda at: 0.0, **labels: str) -> None:
        """A vLLM's numbers: ten prompt tokens and a hundred generated ones for each request."""
        known = {"namespace": "web", "pod": pod, "instance": "10.0.0.1:8000", "job": "web/vllm"} | labels
        self.add("vllm:request_success_total", requests, **known, model_name="m", finished_reason="stop")
        self.add("vllm:num_requests_running", running, **known, model_name="m")
        self.add("vllm:num_requests_waiting", lambda at: 0.0, **known, model_name="m")
        self.add("vllm:prompt_tokens_total", _times(requests, 10), **known, model_name="m")
        self.add("vllm:generation_tokens_total", _times(requests, 100), **known, model_name="m")

    def fetch(self, source: Source, url: str, headers: Mapping[str, str]) -> bytes:
        from ullage_contract.errors import BadInput

        asked = {key: values[0] for key, values in parse_qs(urlsplit(url).query).items()}
        self.questions.append(asked)
        if self.dead:
            raise BadInput("http://prom:9090: Connection refused")
        if self.said is not None:
            return self.said
        start, end, step = int(asked["start"]), int(asked["end"]), int(asked["step"])
        result = []
        for labels, value in self.series:
            points = [(at, found) for at in range(start, end + 1, step) if (found := value(at)) is not None]
            if points:
                result.append(
                    {"metric": labels, "values": [[at, repr(float(found))] for at, found in points]}
                )
        if sum(len(series["values"]) for series in result) > self.most_points:
            raise BadInput(
                "http://prom:9090: the server answers 422: query processing would load too many samples"
            )
        return json.dumps(matrix(result)).encode()


def matrix(result: Iterable[Any]) -> dict[str, Any]:
    """The API's answer to a range question."""
    return {"status": "success", "data": {"resultType": "matrix", "result": list(result)}}


def _times(value: Value, factor: float) -> Value:
    def times(at: float) -> float | None:
        found = value(at)
        return None if found is None else found * factor

    return times


class ServingStore:
    """A store in which a pod holds a card, and a watch on a made Prometheus; the clock is the test's.

    empty: a store with nothing in it: a copy opens sooner than a new one is made.
    """

    def __init__(self, folder: Path, empty: Path, **settings: Any) -> None:
        self.prometheus = MadePrometheus()
        self.clock = ManualClock(wall=NOON)
        folder.mkdir(exist_ok=True)
        shutil.copyfile(empty, folder / "store.duckdb")
        self.store = Store.open(folder / "store.duckdb", StoreSettings(threads=1), self.clock)
        with self.store.write() as cursor:
            for key, name, start in ((1, POD, at(0)), (2, "k8s/dc1/web/chat-1/u2", at(0))):
                cursor.execute(
                    "INSERT INTO workload (workload_key, workload_id, kind, cluster_id, origin) "
                    "VALUES (?, ?, 'kubernetes_pod', 'dc1', 'real')",
                    [key, name],
                )
                cursor.execute(
                    "INSERT INTO allocation (allocation_id, workload_key, node_key, share_nano, valid_from, known_from, source, "
                    "\"rank\") VALUES (?, ?, 7, 1000000000, ?, ?, 'test', 'work')",
                    [key, key, start, start],
                )
        self.source = source(back_seconds=3600, **settings)
        self.health = Health()
        self.health.serving["prom"] = ServingHealth()
        self.watch = ServingWatch(
            lambda: self.store, self.source, self.health.serving["prom"], self.prometheus.fetch
        )

    def rounds(self, minutes: int) -> list[bool]:
        """So many rounds, one a minute."""
        answered = []
        for _ in range(minutes):
            self.clock.advance(60)
            answered.append(self.watch.round())
        return answered

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        cursor = self.store.cursor()
        try:
            return cursor.execute(query).fetchall()
        finally:
            cursor.close()

    def sums(self, key: int = 1) -> tuple[Any, ...]:
        """(requests, prompt tokens, generated tokens, covered minutes) of one workload."""
        (found,) = self.rows(
            "SELECT sum(requests), sum(prompt_tokens), sum(generated_tokens), sum(covered_us) / 6e7 FROM serving "
            f"WHERE workload_key = {key}"
        )
        return found
