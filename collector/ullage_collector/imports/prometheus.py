"""History out of a Prometheus: range queries, one a metric and six hours, into the same door as any file.

A map names a query a catalogue key and makes identities of labels. What a series lacks is missing, never 0;
NaN and stale samples are missing. Two series with the same identity at the same instant: the first is taken and
the others counted, because adding them up would be a guess.
"""

from __future__ import annotations

import json
import logging
import math
import time
import tomllib
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from ullage_collector.imports import map as maps
from ullage_collector.imports.expression import Template
from ullage_contract import catalogue
from ullage_contract.catalogue import Type
from ullage_contract.errors import BadInput, ConfigError, UllageError
from ullage_contract.sample import Family
from ullage_contract.settings import Table

log = logging.getLogger(__name__)

WINDOW_SECONDS: Final = 6 * 3600
"""our choice: because Prometheus answers at most 11,000 points a series, and 360 a series of 10,000 cards stay small."""
MAX_ANSWER_BYTES: Final = 512 * 1024 * 1024  # our choice: because a wrong query must not fill the memory
ATTEMPTS: Final = 4

Get = Callable[[str, float], bytes]
"""A URL and a deadline in seconds -> the answer's body. Raises OSError."""


@dataclass(frozen=True, slots=True)
class Query:
    """A PromQL expression; value = sample * factor + offset."""

    expression: str
    factor: float
    offset: float


@dataclass(frozen=True, slots=True)
class PrometheusMap:
    """[prometheus] of a map. Templates are filled with labels."""

    name: str
    text: str
    family: Family
    step_seconds: int
    cluster: Template
    node: Template
    subject: Template
    vendor: Template
    model: Template
    metrics: Mapping[str, Query]


def load(name: str) -> PrometheusMap:
    """The map in a file, or the shipped one of this name. Raises ConfigError."""
    shipped = resources.files("ullage_collector.imports").joinpath("maps", f"{name}.toml")
    try:
        text = (
            shipped.read_text(encoding="utf-8")
            if shipped.is_file()
            else Path(name).read_text(encoding="utf-8")
        )
        document = tomllib.loads(text)
    except FileNotFoundError:
        raise ConfigError(f"{name}: no such map; shipped: {', '.join(maps.shipped())}") from None
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as e:
        raise ConfigError(f"{name}: cannot be read: {e}") from e
    top = Table(document, Path(name).name, "")
    table = top.table("prometheus")
    top.finish()
    family = Family(table.word("family", "card", ["card", "node", "port"]))
    known = catalogue.keys(family)
    metrics = table.table("metrics")
    queries: dict[str, Query] = {}
    for key, value in metrics.content.items():
        if key not in known:
            raise metrics.wrong(key, value, f"no metric of a {family.value}; see docs/metrics.md")
        if known[key].type is Type.TEXT:
            raise metrics.wrong(key, value, "a word cannot come from Prometheus, whose samples are numbers")
        metrics._get(key, None)
        spec = Table({"query": value} if isinstance(value, str) else value, metrics.file, f"metrics.{key}")
        expression = spec.text("query")
        if not expression:
            raise spec.wrong("query", expression, "write the PromQL expression")
        queries[key] = Query(
            expression, spec.number("factor", 1, -1e18, 1e18), spec.number("offset", 0, -1e18, 1e18)
        )
        spec.finish()
    found = PrometheusMap(
        name=Path(name).name,
        text=text,
        family=family,
        step_seconds=table.whole("step_seconds", 60, 1, 3600),
        cluster=Template(table.text("cluster", "main") or "main"),
        node=Template(table.text("node", "{node}") or ""),
        subject=Template(table.text("subject", "{uuid}") or ""),
        vendor=Template(table.text("vendor", "unknown") or "unknown"),
        model=Template(table.text("model", "") or ""),
        metrics=queries,
    )
    table.finish()
    if not queries:
        raise table.wrong("metrics", None, "name at least one metric and its query")
    return found


def own_map(spec: PrometheusMap) -> maps.Map:
    """The map that reads what ``fetch`` writes."""
    return maps.parse(
        '[file]\nformat = "parquet"\n[telemetry]\n'
        f'family = {json.dumps(spec.family.value)}\ncluster = "{{cluster_id}}"\nnode = "{{node_id}}"\n'
        'subject = "{subject}"\nvendor = "{vendor|}"\nmodel = "{model|}"\n'
        f'time = "time"\ninterval_seconds = {spec.step_seconds}\n',
        f"prometheus:{spec.name}",
    )


def fetch(
    url: str,
    spec: PrometheusMap,
    from_seconds: float,
    to_seconds: float,
    folder: Path,
    get: Get | None = None,
) -> Iterator[Path]:
    """A Parquet file for each six hours of [from, to) that have any sample. Raises BadInput when it answers no."""
    parsed = urllib.parse.urlsplit(url)
    if parsed.scheme not in ("http", "https") or not parsed.netloc:
        raise ConfigError(f"--url {url!r}: write http://host:port or https://host:port")
    step = spec.step_seconds
    start = math.ceil(from_seconds / step) * step
    while start < to_seconds:
        end = min(start + WINDOW_SECONDS, to_seconds)
        rows, doubled = _window(url.rstrip("/"), spec, start, end, get or _get)
        if doubled:
            log.warning(
                "%d samples share identity and time with another of their query; narrow the query", doubled
            )
        if rows:
            path = folder / f"{spec.name}-{int(start)}.parquet"
            pq.write_table(_table(spec, rows), path, compression="zstd")
            yield path
        start += WINDOW_SECONDS


Key = tuple[int, str, str, str, str | None, str | None]


def _window(
    url: str, spec: PrometheusMap, start: float, end: float, get: Get
) -> tuple[dict[Key, dict[str, float]], int]:
    """Rows of one window by time and identity, and how many samples were left out as doubled."""
    rows: dict[Key, dict[str, float]] = {}
    doubled = 0
    for key, query in spec.metrics.items():
        for labels, samples in _range(url, query.expression, start, end, spec.step_seconds, get):
            node, subject = spec.node.fill(labels), spec.subject.fill(labels)
            cluster = spec.cluster.fill(labels)
            if node is None or subject is None or cluster is None:
                continue
            identity = (cluster, node, subject, spec.vendor.fill(labels), spec.model.fill(labels))
            for at, text in samples:
                value = float(text) * query.factor + query.offset
                if not math.isfinite(value) or at >= end:
                    continue
                row = rows.setdefault((round(at * 1e6), *identity), {})
                if key in row:
                    doubled += 1
                else:
                    row[key] = value
    return rows, doubled


def _range(
    url: str, expression: str, start: float, end: float, step: int, get: Get
) -> Iterator[tuple[dict[str, str], list[tuple[float, str]]]]:
    asked = urllib.parse.urlencode(
        {"query": expression, "start": start, "end": end - step / 1000, "step": step}
    )
    body = _patiently(f"{url}/api/v1/query_range?{asked}", expression, get)
    try:
        answer: Any = json.loads(body)
        if answer["status"] != "success" or answer["data"]["resultType"] != "matrix":
            raise BadInput(
                f"{expression}: Prometheus says {str(answer.get('error', answer['status']))[:200]}"
            )
        for series in answer["data"]["result"]:
            labels = {str(k): str(v) for k, v in series["metric"].items()}
            yield labels, [(float(at), str(value)) for at, value in series["values"]]
    except (ValueError, KeyError, TypeError) as e:
        raise BadInput(f"{expression}: the answer is no range of samples: {str(e)[:100]}") from e


def _patiently(url: str, expression: str, get: Get) -> bytes:
    for attempt in range(ATTEMPTS):
        try:
            return get(url, 60.0)
        except urllib.error.HTTPError as e:
            if e.code < 500 and e.code != 429:
                said = e.read(500).decode("utf-8", "replace")
                raise BadInput(f"{expression}: Prometheus answers {e.code}: {said[:200]}") from e
            trouble: Exception = e
        except OSError as e:
            trouble = e
        if attempt + 1 < ATTEMPTS:
            time.sleep(0.2 * 4**attempt)
    host = urllib.parse.urlsplit(url).netloc
    raise UllageError(
        f"{expression}: no Prometheus answers at {host}: {getattr(trouble, 'reason', trouble)}; look at --url"
    ) from trouble


def _get(url: str, deadline_seconds: float) -> bytes:
    with urllib.request.urlopen(url, timeout=deadline_seconds) as response:
        body: bytes = response.read(MAX_ANSWER_BYTES + 1)
    if len(body) > MAX_ANSWER_BYTES:
        raise BadInput(f"an answer of more than {MAX_ANSWER_BYTES} bytes: narrow the query")
    return body


def _table(spec: PrometheusMap, rows: Mapping[Key, Mapping[str, float]]) -> pa.Table:
    keys = sorted(rows)
    columns: dict[str, pa.Array] = {
        "time": pa.array([k[0] for k in keys], pa.int64()).cast(pa.timestamp("us")),
        "cluster_id": pa.array([k[1] for k in keys], pa.string()),
        "node_id": pa.array([k[2] for k in keys], pa.string()),
        "subject": pa.array([k[3] for k in keys], pa.string()),
        "vendor": pa.array([k[4] for k in keys], pa.string()),
        "model": pa.array([k[5] for k in keys], pa.string()),
    }
    for key in spec.metrics:
        columns[key] = pa.array([rows[k].get(key) for k in keys], pa.float64())
    return pa.table(columns)
