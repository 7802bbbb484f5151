"""``ullage-collector maintenance plan|start|end|list``: dry runs unless --announce or --execute.

While a collector serves, the command goes through its socket; else it opens the store itself. Exit codes: 0 good, 3 some nodes
were refused, or some work has nowhere to go.
"""

from __future__ import annotations

import argparse
import getpass
import json
import sys
from collections.abc import Iterator
from datetime import datetime
from typing import Any

from ullage_collector import operator_door
from ullage_collector.config import Config
from ullage_contract.command import instant
from ullage_contract.errors import ConfigError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of the four sub-commands; times are ISO 8601 with an offset."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="plan|start|end|list")
    plan = actions.add_parser("plan", help="who holds what, where it could go, whom to tell what")
    start = actions.add_parser("start", help="take the nodes out; a dry run unless --execute")
    end = actions.add_parser("end", help="give the nodes back; a dry run unless --execute")
    listing = actions.add_parser("list", help="windows, newest first")
    for each in (plan, start):
        each.add_argument(
            "named", metavar="NODES|RACK", nargs=None if each is plan else "?",
            help="n[1-4], CLUSTER/NODE, rack:NAME, room:NAME or leaf_switch:NAME",
        )  # fmt: skip
        each.add_argument("--from", dest="from_", type=instant, metavar="T", help="its begin (default: now)")
        each.add_argument("--to", type=instant, metavar="T", help="its planned end")
        each.add_argument("--reason", default="", metavar="TEXT", help="why; goes into the audit")
    plan.add_argument("--announce", action="store_true", help="keep the window and tell the departments")
    start.add_argument("--window", type=int, metavar="ID", help="a window that was planned")
    end.add_argument("window", type=int, metavar="ID", help="the window's number, as list shows it")
    end.add_argument("--reason", default="", metavar="TEXT", help="why; goes into the audit")
    for each in (start, end):
        each.add_argument("--execute", action="store_true", help="do it; without this only print the calls")
    for each in (plan, start, end, listing):
        each.add_argument("--json", action="store_true", help="JSON on stdout")


def run(args: argparse.Namespace, config: Config) -> int:
    """Ask and print."""
    if args.action == "list":
        found = _found(config, "GET", "", {})
        lines: Iterator[str] = (
            f"window {w['window_id']} {w['cluster']}/{w['node']} {w['from']} - {w['to']} {w['state']}: {w['reason']}"
            for w in found["windows"]
        )
        return _print(args, found, lines, 0)
    body: dict[str, Any] = {"actor": getpass.getuser(), "reason": args.reason}
    if args.action == "end":
        body |= {"window_id": args.window, "execute": args.execute}
    else:
        body |= {"nodes": args.named, "from": _seconds(args.from_), "to": _seconds(args.to)}
        if args.action == "plan":
            body["announce"] = args.announce
        else:
            body |= {"window_id": args.window, "execute": args.execute}
            if (args.window is None) == (args.named is None):
                raise ConfigError("maintenance start: name NODES, or a planned --window ID; one of them")
    found = _found(config, "POST", args.action, body)
    if args.action == "plan":
        nowhere = any(move["to_node"] is None for move in found["moves"])
        return _print(args, found, _plan_lines(found), 3 if nowhere else 0)
    return _print(args, found, _act_lines(found), 3 if found["failed"] else 0)


def _print(args: argparse.Namespace, found: dict[str, Any], lines: Iterator[str], code: int) -> int:
    if args.json:
        print(json.dumps(found, ensure_ascii=False))
        return code
    for line in lines:
        print(line)
    if found.get("executed") is False:
        print("Nothing was changed. Add --execute to do it.", file=sys.stderr)
    elif args.action == "plan" and found["window_id"] is None:
        print("Nothing was kept and nobody was told. Add --announce to do it.", file=sys.stderr)
    return code


def _plan_lines(found: dict[str, Any]) -> Iterator[str]:
    yield f"{len(found['nodes'])} nodes, {found['from']} - {found['to']}: {found['reason']}"
    for hold in found["held"]:
        who = hold["user"] or "user unknown"
        yield f"held: {hold['cards']} {hold['model']} on {hold['node']} by {hold['workload']} ({who}, {hold['department'] or 'unmapped'}) until {hold['until']}"
    for move in found["moves"]:
        to = f"could go to {move['to_node']}" if move["to_node"] else f"nowhere: {move['why_not']}"
        yield f"move: {move['workload']}, {move['cards']} {move['model']} from {move['from_node']}: {to}"
    for workload in found["over_before"]:
        yield f"over before it begins, as its scheduler says: {workload}"
    for message in found["messages"]:
        yield f"tell {message['department'] or 'unmapped'} ({message['owner'] or 'owner unknown'}): {message['text']['en']}"
    if found["window_id"] is not None:
        yield f"window {found['window_id']} is kept; start it with: ullage-collector maintenance start --window {found['window_id']} --execute"


def _act_lines(found: dict[str, Any]) -> Iterator[str]:
    yield f"{'Done' if found['executed'] else 'Dry run'}: window {found['window_id'] or 'not kept yet'}"
    for node in found["nodes"]:
        yield f"{node['node']}" + (f": refused: {node['error']}" if "error" in node else "")
        for call in node["calls"]:
            yield f"  {call}"


def _found(config: Config, method: str, action: str, body: dict[str, Any]) -> dict[str, Any]:
    if operator_door.is_served(config.socket_path):
        route = f"/api/v1/maintenance/{action}".rstrip("/")
        answer: dict[str, Any] = operator_door.call(
            config.socket_path, method, route, body if method == "POST" else None
        )
        return answer
    from ullage_collector.fleet_now import FleetNow
    from ullage_collector.isolate.isolation import from_config
    from ullage_collector.maintenance import work
    from ullage_collector.maintenance.api import do
    from ullage_collector.store.store import Store
    from ullage_contract.clock import SystemClock

    clock = SystemClock()
    store = Store.open(config.store_path, config.store, clock)
    try:
        if method == "GET":
            return {"schema_version": 1, **work.listed(store)}
        isolation = from_config(config, store.cursor, clock)
        return {"schema_version": 1, **do(store, FleetNow(store.cursor, clock), isolation, action, body)}
    finally:
        store.close()


def _seconds(time: datetime | None) -> float | None:
    return None if time is None else time.timestamp()
