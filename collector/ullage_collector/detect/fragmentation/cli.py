"""``ullage-collector fragmentation|defragment``: what typical work cannot use of what is free, and what moving would give.

With --nodes it works on files alone; the store is not looked at. Without, the fleet as the store knows it now. Exit
codes: 0 good, 2 a file is wrong. Nothing is ever moved: the second command prints a proposal.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from ullage_collector.config import Config
from ullage_collector.detect.fragmentation import lines
from ullage_collector.detect.fragmentation.answer import answer
from ullage_collector.detect.fragmentation.files import read_asks, read_nodes, read_placed, read_tasks
from ullage_collector.detect.fragmentation.proposal import proposal, started
from ullage_collector.detect.fragmentation.settings import Rules, rules_of
from ullage_collector.detect.fragmentation.task import Kinds, given, learned
from ullage_collector.estate.answers import ask
from ullage_contract.errors import BadInput

SCHEMA_VERSION: Final = 1
MOST_MOVES: Final = 10_000  # our choice: as [moves] most of fragmentation.toml allows


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Files, and how to show; of whichever of the two commands the parser is for."""
    moving = _is_moving(parser.prog.rsplit(" ", 1)[-1])
    parser.add_argument(
        "--nodes", type=Path, metavar="CSV", help="what is free on every node (default: ask the store)"
    )
    if moving:
        parser.add_argument("--pods", type=Path, metavar="CSV", help="what runs where")
        parser.add_argument(
            "--tasks", type=Path, metavar="CSV", help="kinds of tasks, weighted (default: typical of --pods)"
        )
        parser.add_argument("--most", type=int, metavar="N", help="at most so many moves")
    else:
        tasks = parser.add_mutually_exclusive_group()
        tasks.add_argument("--tasks", type=Path, metavar="CSV", help="kinds of tasks with their weights")
        tasks.add_argument(
            "--pods", type=Path, metavar="CSV", help="tasks that ran: typical kinds are learned"
        )
    parser.add_argument("--memory", action="store_true", help="a task also needs its memory")
    parser.add_argument("--json", action="store_true", help="JSON alone on stdout")


def run(args: argparse.Namespace, config: Config) -> int:
    """Measure and print. Raises BadInput for wrong files, every wrong row with file and line, ConfigError for settings."""
    if args.nodes is None:
        found = _of_store(args, config)
    else:
        found = _of_files(args, rules_of(config.part("fragmentation")))
    if args.json:
        json.dump({"schema_version": SCHEMA_VERSION, **found}, sys.stdout, ensure_ascii=False)
        sys.stdout.write("\n")
        return 0
    for line in lines.proposal(found) if _is_moving(args.command) else lines.answer(found):
        print(line)
    return 0


def _of_store(args: argparse.Namespace, config: Config) -> dict[str, Any]:
    """What the running collector answers, or the store opened here."""
    if args.tasks is not None or args.pods is not None:
        raise BadInput("--tasks and --pods go with --nodes; without it the store's own tasks count")
    moving = _is_moving(args.command)
    most = str(args.most) if moving and args.most is not None else None
    path = "/api/v1/fragmentation/moves" if moving else "/api/v1/fragmentation"
    return ask(config, path, {"memory": "1" if args.memory else None, "most": most})


def _of_files(args: argparse.Namespace, rules: Rules) -> dict[str, Any]:
    moving = _is_moving(args.command)
    if (args.pods if moving else args.tasks or args.pods) is None:
        raise BadInput(
            "--pods says what runs where" if moving else "give --tasks, or --pods to learn typical tasks from"
        )
    nodes, kinds = read_nodes(args.nodes, memory=args.memory), _kinds(args, rules)
    if not moving:
        return {**answer(nodes, kinds, memory=args.memory), **started(nodes, kinds, rules, None)}
    if args.most is not None:
        if not 1 <= args.most <= MOST_MOVES:
            raise BadInput(f"--most {args.most}: write a number from 1 to {MOST_MOVES}")
        rules = replace(rules, most_moves=args.most)
    return proposal(nodes, read_placed(args.pods, nodes), kinds, rules, memory=args.memory)


def _kinds(args: argparse.Namespace, rules: Rules) -> Kinds:
    """The tasks given, or the typical ones of the history given. Raises BadInput."""
    if args.tasks is not None:
        return given(read_tasks(args.tasks, memory=args.memory))
    asks = read_asks(args.pods, memory=args.memory)
    return learned(asks, covered_ratio=rules.covered_ratio, with_memory=args.memory)


def _is_moving(command: str) -> bool:
    return command == "defragment"
