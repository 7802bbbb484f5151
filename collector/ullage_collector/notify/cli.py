"""``ullage-collector notify list|test NAME|retry NAME``.

While a collector serves, the command goes through its socket; else it opens the store itself. Exit codes: 0 good, 1 a test
message was not taken, 3 dead letters are there.
"""

from __future__ import annotations

import argparse
import getpass
import json
import sys
import time
from typing import Any
from urllib.parse import urlencode

from ullage_collector import operator_door
from ullage_collector.config import Config


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of the three sub-commands."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="list|test|retry")
    listing = actions.add_parser("list", help="targets, and the newest messages with what became of them")
    listing.add_argument("--state", metavar="WORD", help="gathering, waiting, sending, sent, dead or merged")
    listing.add_argument("--target", metavar="NAME", help="of that [[notify]] alone")
    listing.add_argument("--json", action="store_true", help="JSON on stdout")
    test = actions.add_parser("test", help="send one test message now")
    retry = actions.add_parser("retry", help="messages given up are sent again")
    for each in (test, retry):
        each.add_argument("name", metavar="NAME", help="of a [[notify]] in collector.toml")
        each.add_argument("--json", action="store_true", help="JSON on stdout")


def run(args: argparse.Namespace, config: Config) -> int:
    """Ask and print."""
    if args.action == "list":
        return _list(args, config)
    body = {"target": args.name, "actor": getpass.getuser()}
    found = _found(config, "POST", f"/api/v1/notices/{args.action}", body)
    if args.json:
        print(json.dumps(found, ensure_ascii=False))
    elif args.action == "retry":
        print(f"{found['waiting_again']} messages wait again")
    elif found["told"]:
        print(
            f"{args.name} ({found['kind']}) took it" + (f": {found['problem']}" if found["problem"] else "")
        )
    else:
        print(f"{args.name} ({found['kind']}) did not take it: {found['problem']}", file=sys.stderr)
    return 1 if args.action == "test" and not found["told"] else 0


def _list(args: argparse.Namespace, config: Config) -> int:
    asked = {key: value for key, value in (("state", args.state), ("target", args.target)) if value}
    found = _found(config, "GET", f"/api/v1/notices?{urlencode(asked)}", asked)
    dead = sum(target["counts"].get("dead", 0) for target in found["targets"])
    if args.json:
        print(json.dumps(found, ensure_ascii=False, default=_plain))
        return 3 if dead else 0
    for target in found["targets"]:
        counts = ", ".join(f"{count} {state}" for state, count in target["counts"].items()) or "nothing yet"
        print(f"{target['name']} ({target['kind']}): {counts}")
    for row in found["notices"]:
        what = row["news"][0]
        more = f" and {len(row['news']) - 1} more" if len(row["news"]) > 1 else ""
        problem = f": {row['problem']}" if row["problem"] else ""
        print(
            f"#{row['notice_id']} {row['state']} to {row['target']}, {what['event']} {what['subject']}{more}{problem}"
        )
    if not found["targets"]:
        print("nobody is told anything: add a [[notify]] to collector.toml", file=sys.stderr)
    return 3 if dead else 0


def _found(config: Config, method: str, route: str, body: dict[str, Any]) -> dict[str, Any]:
    if operator_door.is_served(config.socket_path):
        answer: dict[str, Any] = operator_door.call(
            config.socket_path, method, route, body if method == "POST" else None
        )
        return answer
    from ullage_collector.notify import door
    from ullage_collector.notify.settings import targets_of
    from ullage_collector.store.store import Store

    targets = targets_of(config.part("notify"), str(config.path or "collector.toml"))
    if route.endswith("/test"):
        return {"schema_version": 1, **door.test(door.named(targets, body["target"]), time.time())}
    store = Store.open(config.store_path, config.store)
    try:
        if method == "GET":
            found = door.listed(store, targets, state=body.get("state"), target=body.get("target"))
        else:
            found = door.retry(store, door.named(targets, body["target"]), body["actor"])
    finally:
        store.close()
    return {"schema_version": 1, **found}


def _plain(value: Any) -> str:
    return f"{value.isoformat()}Z"
