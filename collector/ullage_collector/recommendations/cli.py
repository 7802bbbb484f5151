"""``ullage-collector recommendations list|accept|done|reject``: what is proposed in money, and what becomes of it.

While a collector serves, the command goes through its socket; else it opens the store itself.
"""

from __future__ import annotations

import argparse
import getpass
import json
from typing import Any

from ullage_collector import operator_door
from ullage_collector.config import Config
from ullage_collector.recommendations import shown
from ullage_collector.recommendations.book import STATES


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of the four sub-commands."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="list|accept|done|reject")
    listing = actions.add_parser("list", help="by money a month; what is settled comes last")
    listing.add_argument("--state", choices=STATES, help="these alone (default: all)")
    listing.add_argument("--json", action="store_true", help="JSON on stdout")
    for word, meaning in (
        ("accept", "somebody will do it"),
        ("done", "it was done; what it saved is measured from the days after"),
        ("reject", "it will not be done"),
    ):
        action = actions.add_parser(word, help=meaning)
        action.add_argument("id", type=int, metavar="ID", help="its number, as list shows it")
        action.add_argument(
            "--reason",
            default="",
            required=word == "reject",
            metavar="TEXT",
            help="why; it is shown and goes into the audit",
        )
        action.add_argument("--json", action="store_true", help="JSON on stdout")


def run(args: argparse.Namespace, config: Config) -> int:
    """Ask and print."""
    if args.action == "list":
        found = _found(config, "GET", "", {"state": args.state})
    else:
        body = {"id": args.id, "reason": args.reason, "actor": getpass.getuser()}
        found = _found(config, "POST", args.action, body)
    if args.json:
        print(json.dumps(found, ensure_ascii=False))
        return 0
    for line in shown.lines(
        found["recommendations"], found["saving_a_month"] if args.action == "list" else {}
    ):
        print(line)
    return 0


def _found(config: Config, method: str, action: str, body: dict[str, Any]) -> dict[str, Any]:
    if operator_door.is_served(config.socket_path):
        route = f"/api/v1/recommendations/{action}".rstrip("/")
        if method == "GET" and body["state"]:
            route += f"?state={body['state']}"
        answer: dict[str, Any] = operator_door.call(
            config.socket_path, method, route, body if method == "POST" else None
        )
        return answer
    from ullage_collector.recommendations.api import do, listed
    from ullage_collector.store.store import Store
    from ullage_contract.clock import SystemClock

    store = Store.open(config.store_path, config.store, SystemClock())
    try:
        told = listed(store, body["state"]) if method == "GET" else do(store, action, body)
        return {"schema_version": 1, **told}
    finally:
        store.close()
