"""``ullage-collector fragmentation``: how much of what is free typical work cannot use, of files or of the fleet.

With --nodes it works on files alone; the store is not looked at. Exit codes: 0 good, 2 a file is wrong.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from ullage_collector import text_table
from ullage_collector.config import Config
from ullage_collector.detect.fragmentation.answer import answer
from ullage_collector.detect.fragmentation.files import read_asks, read_nodes, read_tasks
from ullage_collector.detect.fragmentation.settings import rules_of
from ullage_collector.detect.fragmentation.task import Kinds, given, learned
from ullage_contract.errors import BadInput, ConfigError

SCHEMA_VERSION: Final = 1
MEANINGS: Final[Mapping[str, str]] = {
    "q1_lack_both": "cards and processors are short",
    "q2_lack_gpu": "cards are short, or too full for a task that runs",
    "q3_satisfied": "usable: no fragment",
    "q4_lack_cpu": "processors are short",
    "xl_satisfied": "the task asks for no card, and runs",
    "xr_lack_cpu": "the task asks for no card, and processors are short",
    "no_access": "another card model is asked for",
    "lack_memory": "memory is short",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Files, and how to show."""
    parser.add_argument("--nodes", type=Path, required=True, metavar="CSV", help="what is free on every node")
    tasks = parser.add_mutually_exclusive_group(required=True)
    tasks.add_argument("--tasks", type=Path, metavar="CSV", help="kinds of tasks with their weights")
    tasks.add_argument(
        "--pods", type=Path, metavar="CSV", help="tasks that ran: the typical kinds are learned"
    )
    parser.add_argument("--memory", action="store_true", help="a task also needs its memory")
    parser.add_argument("--json", action="store_true", help="JSON alone on stdout")


def run(args: argparse.Namespace, config: Config) -> int:
    """Measure and print. 2: a file is wrong; every wrong row is told with file and line."""
    try:
        found = answer(read_nodes(args.nodes, memory=args.memory), kinds_of(args, config), memory=args.memory)
    except BadInput as e:
        raise ConfigError(str(e)) from e
    if args.json:
        json.dump({"schema_version": SCHEMA_VERSION, **found}, sys.stdout, ensure_ascii=False)
        sys.stdout.write("\n")
        return 0
    for line in lines(found):
        print(line)
    return 0


def kinds_of(args: argparse.Namespace, config: Config) -> Kinds:
    """The tasks given, or the typical ones of the history given. Raises BadInput."""
    if args.tasks is not None:
        return given(read_tasks(args.tasks, memory=args.memory))
    rules = rules_of(config.part("fragmentation"))
    asks = read_asks(args.pods, memory=args.memory)
    return learned(asks, covered_ratio=rules.covered_ratio, with_memory=args.memory)


def lines(found: Mapping[str, Any]) -> Iterator[str]:
    """The answer for a person, in cards."""
    yield f"{cards(found['free_milli'])} cards are free on {found['nodes']} nodes"
    yield f"fragmented by the published rule: {_part(found)}"
    if found["gpu_tasks"] is not None:
        yield f"fragmented for tasks that ask for cards: {_part(found['gpu_tasks'])}"
    if found["nodes_without_cpu"]:
        yield f"free processors of {found['nodes_without_cpu']} nodes are not known: no task failed for them"
    if found["nodes_without_memory"]:
        yield f"free memory of {found['nodes_without_memory']} nodes is not known: no task failed for it"
    yield ""
    rows = [["class", "cards", "tasks with cards", "meaning"]]
    for name, milli in found["by_class"].items():
        other = "" if found["gpu_tasks"] is None else cards(found["gpu_tasks"]["by_class"][name])
        rows.append([name, cards(milli), other, MEANINGS[name]])
    yield from text_table.lines(rows, right=(1, 2))
    for title, key in (("cluster", "clusters"), ("pool", "pools")):
        if len(found[key]) > 1:
            yield ""
            yield from _groups(title, found[key])
    if found["top"]:
        yield ""
        yield from _nodes(found["top"])


def cards(milli: float) -> str:
    """Thousandths as cards with one digit, two below one card."""
    amount = milli / 1000
    return f"{amount:,.2f}" if 0 < abs(amount) < 1 else f"{amount:,.1f}"


def _part(found: Mapping[str, Any]) -> str:
    ratio = "" if found["ratio"] is None else f" ({100 * found['ratio']:.2f} % of what is free)"
    return f"{cards(found['fragmented_milli'])} cards{ratio}"


def _groups(title: str, groups: Sequence[Mapping[str, Any]]) -> list[str]:
    rows = [[title, "nodes", "free", "fragmented", "of it for tasks with cards"]]
    for group in groups:
        name = "/".join(filter(None, (group["cluster"], group.get("pool")))) or "(none)"
        asking = group["gpu_tasks"]
        other = "" if asking is None else cards(asking["fragmented_milli"])
        rows.append(
            [name, str(group["nodes"]), cards(group["free_milli"]), cards(group["fragmented_milli"]), other]
        )
    return text_table.lines(rows, right=(1, 2, 3, 4))


def _nodes(top: Sequence[Mapping[str, Any]]) -> list[str]:
    rows = [
        [
            "node",
            "model",
            "free",
            "fragmented",
            "for tasks with cards",
            "free on each card",
            "free processors",
        ]
    ]
    for node in top:
        asking = node["gpu_tasks"]
        cpu = node["cpu_free_milli"]
        rows.append(
            [
                "/".join(filter(None, (node["cluster"], node["sn"]))),
                node["model"],
                cards(node["free_milli"]),
                cards(node["fragmented_milli"]),
                "" if asking is None else cards(asking["fragmented_milli"]),
                " ".join(f"{milli / 1000:g}" for milli in node["gpu_free_milli"][:16]),
                "not known" if cpu is None else f"{cpu / 1000:g}",
            ]
        )
    return text_table.lines(rows, right=(2, 3, 4, 6))
