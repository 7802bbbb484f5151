"""What is known now as Prometheus text: /metrics of the agent. Names come from the catalogue.

Written by hand because prometheus_client takes ten times as long for a picture that is copied whole
(docs/decisions/0002-exposition-by-hand.md); promtool and prometheus_client's own parsers judge it in the tests.
What is unsupported, failed or stale is an absent series, never 0 or NaN. Not here: the server (http_door.py).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from ullage_agent.outputs.latest import Latest, Row, text_of, words_of
from ullage_agent.outputs.push_sink import LaneStatus
from ullage_contract import __version__, catalogue
from ullage_contract.catalogue import Kind, Metric
from ullage_contract.sample import Family, Origin, Value

PLAIN: Final = "text/plain; version=0.0.4; charset=utf-8"
OPENMETRICS: Final = "application/openmetrics-text; version=1.0.0; charset=utf-8"

_FAMILIES: Final = (Family.CARD, Family.SLICE, Family.PORT, Family.NODE)
"""Not processes: a series a process id would never end."""

CARD_INFO: Final = (
    ("uuid", "uuid"),
    ("board", "board_id"),
    ("pci_address", "pci_address"),
    ("partition_mode", "partition_mode"),
    ("util_kind", "util_kind"),
    ("driver_version", "driver_version"),
    ("firmware_version", "firmware_version"),
    ("runtime_version", "runtime_version"),
)
"""(label, fact) of ``ullage_card_info``: what changes with an upgrade at most, and no serial numbers."""


def negotiate(accept: str | None) -> str:
    """The content type for an Accept header: OpenMetrics for who asks for it, plain text for all others."""
    for part in (accept or "").split(","):
        media, _, parameters = part.partition(";")
        if media.strip() == "application/openmetrics-text" and "q=0" not in parameters.replace("q=0.", ""):
            return OPENMETRICS
    return PLAIN


class Exposition:
    """Renders ``latest``. lanes: the push lanes' status, asked at every scrape; None when nothing is pushed."""

    def __init__(
        self,
        latest: Latest,
        *,
        cluster: str,
        node: str,
        lanes: Callable[[], Sequence[LaneStatus]] | None = None,
    ) -> None:
        self._latest = latest
        self._place = f'cluster="{_escape(cluster)}",node="{_escape(node)}"'
        self._lanes = lanes

    def render(self, content_type: str = PLAIN) -> bytes:
        """The whole text in one of the two content types."""
        out = _Text(openmetrics=content_type == OPENMETRICS)
        rows = self._latest.rows()
        for family in _FAMILIES:
            some = [(row, self._labels(row) + _marked(row)) for row in rows if row.family is family]
            if some:
                for metric in catalogue.keys(family).values():
                    _series(out, metric, family, some)
        self._cards(out, [row for row in rows if row.family is Family.CARD])
        self._agent(out)
        return out.end()

    def _labels(self, row: Row) -> str:
        """The stable labels of one subject, without braces."""
        if row.family is Family.NODE:
            return self._place
        if row.family is Family.PORT:
            *_, device, port = ("", "", *row.subject.split("/"))
            device = text_of(row.attributes, "device") or device
            port = text_of(row.attributes, "port") or port
            return f'{self._place},device="{_escape(device)}",port="{_escape(port)}"'
        vendor = _escape(text_of(row.attributes, "vendor"))
        model = _escape(text_of(row.attributes, "model"))
        made = f'vendor="{vendor}",model="{model}"'
        if row.family is Family.SLICE:
            card = text_of(row.attributes, "card_id") or row.subject.rpartition("/")[0]
            return f'{self._place},card="{_escape(card)}",{made},slice="{_escape(row.subject)}"'
        return f'{self._place},card="{_escape(row.subject)}",{made}'

    def _cards(self, out: _Text, cards: Sequence[Row]) -> None:
        lines = []
        for row in cards:
            more = "".join(
                f',{label}="{_escape(text)}"'
                for label, fact in CARD_INFO
                if (text := text_of(row.attributes, fact))
            )
            lines.append((f'{self._labels(row)}{more},origin="{row.origin.value}"', 1))
        out.family("ullage_card_info", "gauge", "a card and its slow facts, for joins", lines)

    def _agent(self, out: _Text) -> None:
        here = self._place
        out.family(
            "ullage_agent_info", "gauge", "the agent's version", [(f'{here},version="{__version__}"', 1)]
        )
        reports = self._latest.reports()
        out.family(
            "ullage_source_success",
            "gauge",
            "1: everything this source or maker was asked for came in time",
            [(f'source="{_escape(r.name)}"', int(r.success)) for r in reports],
        )
        out.family(
            "ullage_source_duration_seconds",
            "gauge",
            "how long the last reading of this source or maker took",
            [(f'source="{_escape(r.name)}"', round(r.duration_seconds, 6)) for r in reports],
        )
        out.family(
            "ullage_children",
            "gauge",
            "living child processes that read this maker's library",
            [(f'maker="{_escape(r.name)}"', r.children) for r in reports if r.children is not None],
        )
        out.family(
            "ullage_stuck_children",
            "gauge",
            "child processes of this maker that could not be ended",
            [
                (f'maker="{_escape(r.name)}"', r.stuck_children)
                for r in reports
                if r.stuck_children is not None
            ],
        )
        if self._lanes is not None:
            _push(out, self._lanes())


class _Text:
    """Collects lines. A family without lines is not mentioned at all."""

    def __init__(self, *, openmetrics: bool) -> None:
        self._openmetrics = openmetrics
        self._lines: list[str] = []

    def family(
        self, name: str, kind: str, meaning: str, lines: Iterable[tuple[str, int | float | None]]
    ) -> None:
        """One family's series as (labels without braces, value). name: without the counters' ``_total``."""
        series = f"{name}_total" if kind == "counter" else name
        body = [f"{series}{{{labels}}} {value!r}\n" for labels, value in lines if value is not None]
        if body:
            head = name if self._openmetrics else series
            self._lines.append(f"# HELP {head} {_meaning(meaning)}\n# TYPE {head} {kind}\n")
            self._lines += body

    def end(self) -> bytes:
        if self._openmetrics:
            self._lines.append("# EOF\n")
        return "".join(self._lines).encode("utf-8", "replace")


def _series(out: _Text, metric: Metric, family: Family, rows: Sequence[tuple[Row, str]]) -> None:
    key = metric.key
    lines: list[tuple[str, int | float | None]] = []
    for row, labels in rows:
        value = row.values.get(key)
        if value is None:
            continue
        if metric.kind is Kind.STATE:
            for word, holds in (words_of(metric, value) or {}).items():
                lines.append((f'{labels},state="{_escape(word)}"', int(holds)))
        else:
            lines.append((labels, _number(value)))
    kind = "counter" if metric.kind is Kind.COUNTER else "gauge"
    unit = "" if metric.unit == "1" else f" ({metric.unit})"
    out.family(metric.prometheus(family), kind, f"{metric.meaning}{unit}", lines)


def _push(out: _Text, lanes: Sequence[LaneStatus]) -> None:
    labels = [f'lane="{lane.lane}"' for lane in lanes]

    def family(name: str, kind: str, meaning: str, values: Iterable[int | float | None]) -> None:
        out.family(name, kind, meaning, zip(labels, values, strict=True))

    family(
        "ullage_push_success",
        "gauge",
        "1: the collector took the last batch",
        [None if x.up is None else int(x.up) for x in lanes],
    )
    family(
        "ullage_push_last_success_timestamp_seconds",
        "gauge",
        "when the collector last took a batch",
        [x.last_success for x in lanes],
    )
    family("ullage_push_batches", "counter", "batches the collector took", [x.sent for x in lanes])
    family(
        "ullage_push_failures",
        "counter",
        "attempts that failed; the batch is kept",
        [x.failures for x in lanes],
    )
    family(
        "ullage_push_refused_batches",
        "counter",
        "batches quarantined: refused for good",
        [x.refused for x in lanes],
    )
    family("ullage_spool_batches", "gauge", "batches that wait", [x.batches for x in lanes])
    family("ullage_spool_bytes", "gauge", "bytes that wait", [x.bytes for x in lanes])
    family(
        "ullage_spool_dropped_batches",
        "counter",
        "oldest batches dropped at the bound",
        [x.dropped for x in lanes],
    )


def _marked(row: Row) -> str:
    """Real series carry the stable labels alone; simulated ones say so wherever they show."""
    return "" if row.origin is Origin.REAL else f',origin="{row.origin.value}"'


def _number(value: Value) -> int | float | None:
    """A number a series may have; None for text, NaN and infinity, which are no readings."""
    if isinstance(value, str) or not math.isfinite(value):
        return None
    return value


def _escape(text: str) -> str:
    if "\\" in text or '"' in text or "\n" in text:
        return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return text


def _meaning(text: str) -> str:
    """A HELP text: the same escapes in both formats, so quotes are avoided rather than escaped."""
    return text.replace("\\", "\\\\").replace("\n", "\\n").replace('"', "'")
