"""Writes docs/metrics.md from the catalogue and every backend's ``sources``: ``python docs/generate_metrics.py``.

The page is never edited by hand; ``tests/contract/test_metrics_page.py`` holds it to the code.
"""

from __future__ import annotations

import sys
import tomllib
from collections.abc import Iterator, Sequence
from importlib import import_module
from pathlib import Path

from ullage_agent.backend import Backend
from ullage_contract import catalogue
from ullage_contract.catalogue import Kind, Metric
from ullage_contract.event import KINDS
from ullage_contract.sample import FACT_NAMES, Family

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs/metrics.md"

HEAD = """# Metrics

*Made by `make docs` from `ullage_contract/catalogue.py` and the backends; not edited by hand.*

A **key** is the name in SQL, JSON, CSV and the API. The Prometheus name adds `ullage_` and what it is of; counters
end in `_total`. A value that a card cannot give (*unsupported*, a fact of card and metric), that could not be read
(*failed*, with a reason) or that nobody read is absent everywhere: never 0, never the last value.

Ratios are 0 to 1. *fast* is read every 10 s, *slow* every 60 s. OpenTelemetry names starting with `hw.` or `system.` are
the semantic convention's ({schema}); attributes in brackets tell points of one name apart. States of words are
a series (Prometheus: label `state`; OpenTelemetry: `ullage.state`, for health `hw.state`) a word, 1 for the one that
holds and 0 for the others.
"""

TITLES = {
    Family.CARD: ("Cards", "Labels `cluster`, `node`, `card`, `vendor`, `model`."),
    Family.SLICE: (
        "Slices",
        "Parts of a card: MIG instances, vNPUs, shares. Labels of the card, and `slice`.",
    ),
    Family.PORT: (
        "Ports",
        "RDMA ports. Labels `cluster`, `node`, `device`, `port`. *n bits*: narrow, wraps; *saturates*: stops at its maximum instead.",
    ),
    Family.NODE: ("Nodes", "Labels `cluster`, `node`."),
    Family.PROCESS: (
        "Processes",
        "Pushed, not exposed to Prometheus: a series a process id would never end.",
    ),
}

OWN = """## The agent about itself

| series | meaning |
|---|---|
| `ullage_card_info` | 1 a card, with `uuid`, `board`, `pci_address`, `partition_mode`, `util_kind`, driver, firmware and runtime versions, `origin`; for joins, no serial numbers |
| `ullage_agent_info` | 1, with the agent's `version` |
| `ullage_source_success{source}` | 1: everything this maker or source was asked for came in time |
| `ullage_source_duration_seconds{source}` | how long its last reading took |
| `ullage_children{maker}` `ullage_stuck_children{maker}` | child processes that read a maker's library; those that could not be ended |
| `ullage_push_success{lane}` | 1: the last attempt reached the collector; absent before the first |
| `ullage_push_last_success_timestamp_seconds{lane}` | when the collector last took a batch |
| `ullage_push_batches_total{lane}` `ullage_push_failures_total{lane}` | batches taken; attempts that failed, the batch is kept |
| `ullage_push_refused_batches_total{lane}` | quarantined: refused for good |
| `ullage_spool_batches{lane}` `ullage_spool_bytes{lane}` | what waits on disk |
| `ullage_spool_dropped_batches_total{lane}` | oldest batches dropped because the spool was full |

Series of simulated cards carry `origin="simulated"`; those of real ones have no such label.
"""


def backends() -> list[Backend]:
    """Our own makers, as pyproject.toml names them; other packages' backends are not on our page."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    found = []
    for entry in project["entry-points"]["ullage.backends"].values():
        module, _, name = entry.partition(":")
        found.append(getattr(import_module(module), name))
    return sorted((b for b in found if not b.simulated), key=lambda b: b.title.lower())


def page() -> str:
    """The whole page."""
    lines = [HEAD.format(schema=catalogue.SEMCONV_SCHEMA_URL)]
    for family, (title, about) in TITLES.items():
        lines += [f"## {title}\n", f"{about}\n", *_table(family), ""]
    lines += [OWN, "## Words of states\n", *_words(), ""]
    lines += ["## Where each maker gets it\n", *_makers(backends())]
    lines += [
        "## Facts\n",
        "Dated attributes, sent at start, on change and once a day.\n",
        "| fact | meaning |",
        "|---|---|",
    ]
    lines += [f"| `{name}` | {_cell(meaning)} |" for name, meaning in FACT_NAMES.items()]
    lines += ["", "## Events\n", "| kind | meaning |", "|---|---|"]
    lines += [f"| `{kind}` | {_cell(meaning)} |" for kind, meaning in KINDS.items()]
    return "\n".join(lines) + "\n"


def _table(family: Family) -> Iterator[str]:
    if family is Family.PROCESS:
        yield "| key | unit | meaning | OpenTelemetry |"
        yield "|---|---|---|---|"
    else:
        yield "| key | Prometheus | unit | tier | meaning | OpenTelemetry |"
        yield "|---|---|---|---|---|---|"
    for metric in catalogue.keys(family).values():
        meaning = metric.meaning
        if metric.bits is not None:
            meaning += f" *({metric.bits} bits{', saturates' if metric.saturates else ''})*"
        if family is Family.PROCESS:
            yield f"| `{metric.key}` | {metric.unit} | {_cell(meaning)} | {_otel(metric)} |"
        else:
            suffix = "_total" if metric.kind is Kind.COUNTER else ""
            name = metric.prometheus(family) + suffix
            unit = "state" if metric.kind is Kind.STATE else metric.unit
            yield f"| `{metric.key}` | `{name}` | {unit} | {metric.tier.value} | {_cell(meaning)} | {_otel(metric)} |"


def _otel(metric: Metric) -> str:
    attributes = ", ".join(f"{k}={v}" for k, v in metric.otel_attributes.items())
    return f"`{metric.otel}`" + (f" [{attributes}]" if attributes else "")


def _words() -> Iterator[str]:
    yield "| key | words |"
    yield "|---|---|"
    for metric in catalogue.METRICS:
        if metric.kind is Kind.STATE:
            bits = " (bit set, from bit 0)" if metric.words and metric.type is catalogue.Type.INTEGER else ""
            words = ", ".join(f"`{w}`" for w in metric.words) or "the maker's own"
            yield f"| `{metric.key}` | {words}{bits} |"


def _makers(makers: Sequence[Backend]) -> Iterator[str]:
    order = {m.key: i for i, m in enumerate(catalogue.METRICS)}
    for maker in makers:
        yield f"### {maker.title} (`{maker.name}`)\n"
        if maker.util_kind:
            yield f"`utilization_ratio` means: {maker.util_kind}.\n"
        if not maker.sources:
            yield "Recorded outputs of its tools are decoded; nothing is read live.\n"
            continue
        yield "| key | from |"
        yield "|---|---|"
        for key in sorted(maker.sources, key=lambda k: (order.get(k, len(order)), k)):
            yield f"| `{key}` | {_cell(maker.sources[key])} |"
        yield ""


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def main() -> int:
    PAGE.write_text(page(), encoding="utf-8")
    sys.stderr.write(f"{PAGE.relative_to(ROOT)} written\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
