"""A Prometheus whose answers a test makes, and readings of serving processes, for tests of requests."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any
from urllib.parse import parse_qs, urlsplit

from ullage_collector.serving.settings import Source, sources_of

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
