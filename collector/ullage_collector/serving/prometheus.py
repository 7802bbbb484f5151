"""What a Prometheus says of serving processes, minute by minute: one question for every number, exact minutes, no guess.

Asked is ``last_over_time(...[fresh])`` at whole minutes: a sample that is older says nothing, so a server that cannot be
scraped is missing, never 0. Counters come as they are shown; what they rose by is made in counting.py, which also sees to
what is asked twice. Every answer is bounded in time and size; no redirect is followed, as the token would go along.
Not here: when it is asked (watch.py), and which workload a reading is of (book.py).
"""

from __future__ import annotations

import base64
import hashlib
import json
import math
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlencode

from ullage_collector.imports.fetch_bounded import get, opener_of, read_secret
from ullage_collector.serving.settings import Source
from ullage_collector.serving.systems import System
from ullage_contract.errors import BadInput
from ullage_contract.plain import plain
from ullage_contract.served import KINDS, Served

STEP_SECONDS: Final = 60
STEPS_AT_ONCE: Final = 60
"""our choice: because 1,000 processes of ten series are 600,000 points then, about 15 MB; whoever has more is asked for less."""
MOST_SERIES: Final = 200_000  # our choice: because a wrong match must not fill the memory

_NOTES: Final = ("PromQL info:", "PromQL warning:")
"""How Prometheus begins what it says of an expression — util/annotations; older versions send both as warnings."""
_NO_STORES: Final = "No StoreAPIs matched"  # Thanos, pkg/store/proxy.go

Fetch = Callable[[Source, str, Mapping[str, str]], bytes]
"""Where from, a URL and headers -> the body. Raises BadInput."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What one question brought. unnamed: series whose labels name no workload. strange: values that are none."""

    readings: list[Served]
    unnamed: int
    strange: int


def ask(source: Source, from_seconds: int, to_seconds: int, fetch: Fetch | None = None) -> Answer:
    """The readings at every whole minute of [from, to], both whole minutes, at most STEPS_AT_ONCE of them.

    Raises BadInput when there is no answer or none that can be read, ConfigError when a secret's file cannot.
    """
    query = urlencode(
        {"query": expression(source), "start": from_seconds, "end": to_seconds, "step": STEP_SECONDS}
    )
    body = (fetch or _fetch)(source, f"{source.url}/api/v1/query_range?{query}", _headers(source))
    return _read(source, body, from_seconds, to_seconds)


def expression(source: Source) -> str:
    """The PromQL of one source: every name of its systems, and the matchers that the settings add."""
    names = sorted({name for system in source.systems for given in system.names.values() for name in given})
    inside = ",".join((f'__name__=~"{"|".join(names)}"', *source.matchers))
    return f"last_over_time({{{inside}}}[{round(source.fresh_seconds)}s])"


# ------------------------------------------------------------------------------- the answer
@dataclass(slots=True)
class _Series:
    labels: dict[str, str]
    name: str
    points: list[tuple[float, float]]


def _read(source: Source, body: bytes, first: float, last: float) -> Answer:
    try:
        answer: Any = json.loads(body)
        if answer["status"] != "success":
            raise BadInput(f"it refuses the question: {str(answer.get('error', answer['status']))[:200]}")
        if answer["data"]["resultType"] != "matrix":
            raise BadInput("the answer is no range of samples; is url a Prometheus?")
        result = answer["data"]["result"]
        _whole(answer, result)
        if len(result) > MOST_SERIES:
            raise BadInput(f"{len(result)} series, at most {MOST_SERIES} are read; narrow it with match")
        strange = 0
        series = []
        for one in result:
            points = []
            for at, text in one["values"]:
                value = float(text)
                # a NaN is what a process shows that does not know
                if math.isfinite(value) and value >= 0 and first <= float(at) <= last:
                    points.append((float(at), value))
                else:
                    strange += 1
            labels = {str(k): str(v) for k, v in one["metric"].items() if k not in source.ignore_labels}
            series.append(_Series(labels, labels.pop("__name__", ""), points))
    except (ArithmeticError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as e:
        raise BadInput(f"the answer cannot be read: {str(e)[:100]}") from e
    readings: list[Served] = []
    unnamed = 0
    by_process: dict[tuple[str, str], list[_Series]] = defaultdict(list)
    for found in series:
        workload = workload_of(source, found.labels)
        if workload is None:
            unnamed += 1
        else:
            by_process[workload, found.labels.get("instance", "")[:200]].append(found)
    for (workload, instance), rows in sorted(by_process.items()):
        for system in source.systems:
            readings += _of_process(workload, instance, system, rows, absent_is_zero=source.absent_is_zero)
    return Answer(readings, unnamed, strange)


def _whole(answer: Mapping[str, Any], result: Any) -> None:
    """Raises BadInput for a part of an answer: a series that is missing is not one that did not count.

    Thanos, Mimir and Prometheus with remote storage say so in warnings, a VictoriaMetrics cluster in isPartial. Notes about
    the expression are none; nor is a Thanos that has no store of so long ago, which answers with nothing.
    """
    warnings = answer.get("warnings") or ()
    told = [str(one) for one in ([warnings] if isinstance(warnings, str) else warnings)]
    told = [one for one in told if not one.startswith(_NOTES) and (result or _NO_STORES not in one)]
    if told or answer.get("isPartial") is True:
        raise BadInput(f"it answers in part: {plain(told[0], limit=200) if told else 'isPartial'}")


def workload_of(source: Source, labels: Mapping[str, str]) -> str | None:
    """The workload a series is of, a pod's without its uid; None where its labels do not say."""
    cluster = source.cluster.fill(labels)
    if cluster is None:
        return None
    if source.job is not None:
        job = source.job.fill(labels)
        return None if job is None else f"slurm/{cluster}/{job}"
    namespace, pod = source.namespace.fill(labels), source.pod.fill(labels)
    return None if namespace is None or pod is None else f"k8s/{cluster}/{namespace}/{pod}"


def _of_process(
    workload: str, instance: str, system: System, rows: Iterable[_Series], *, absent_is_zero: bool
) -> Iterator[Served]:
    """One process's numbers. Scraped by two jobs it is taken once; of several names of one number the first it shows."""
    own = [row for row in rows if system.counts(row.labels) and system.kind_of(row.name) is not None]
    if not own:
        return
    job = min(row.labels.get("job", "") for row in own)
    own = [row for row in own if row.labels.get("job", "") == job]
    counted: set[float] = set()
    looked: set[float] = set()
    for kind in KINDS:
        shown = next(
            (name for name in system.names.get(kind, ()) if any(row.name == name for row in own)), None
        )
        merged: dict[str, dict[float, float]] = defaultdict(dict)
        for row in own:
            if row.name == shown:
                of_series = merged[_digest(row.labels)]
                for at, value in row.points:
                    of_series[at] = max(value, of_series.get(at, value))
        for digest, points in merged.items():
            for at, value in points.items():
                (counted if kind == "requests" else looked).add(at)
                yield Served(workload, instance, system.name, digest, kind, at, value)
    if absent_is_zero and system.lazy:
        for at in sorted(looked - counted):
            yield Served(workload, instance, system.name, "absent", "requests", at, 0.0)


def _digest(labels: Mapping[str, str]) -> str:
    text = json.dumps(sorted(labels.items()), ensure_ascii=False)
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()[:24]


# ------------------------------------------------------------------------------- the question
def _headers(source: Source) -> dict[str, str]:
    headers = {"Accept": "application/json"}
    if source.token_file is not None:
        headers["Authorization"] = f"Bearer {read_secret(source.token_file, 'token_file')}"
    elif source.user is not None and source.password_file is not None:
        secret = f"{source.user}:{read_secret(source.password_file, 'password_file')}"
        headers["Authorization"] = "Basic " + base64.b64encode(secret.encode()).decode()
    if source.tenant is not None:
        # the header by which Mimir, Cortex and Loki tell tenants apart — Grafana Mimir, "Authentication and authorization"
        headers["X-Scope-OrgID"] = source.tenant
    return headers


def _fetch(source: Source, url: str, headers: Mapping[str, str]) -> bytes:
    until = time.monotonic() + source.timeout_seconds
    return get(opener_of(source.ca_file), url, headers, source.max_bytes, until, time.monotonic, tell=True)
