"""``ullage-collector close --from DATE --to DATE --zone Z --reason TEXT``: a period's money no longer changes.

While a collector serves, the command goes through its socket; else it opens the store itself.
"""

from __future__ import annotations

import argparse
import getpass
import json
import sys
from datetime import date
from typing import Any

from ullage_collector import operator_door
from ullage_collector.config import Config
from ullage_contract.command import day


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's arguments; days are those of the zone."""
    parser.add_argument(
        "--from", dest="first", type=day, required=True, metavar="DATE", help="the period's first day"
    )
    parser.add_argument(
        "--to", dest="end", type=day, required=True, metavar="DATE", help="the first day no longer in it"
    )
    parser.add_argument(
        "--zone", required=True, metavar="IANA", help="whose midnights, e.g. Asia/Shanghai or UTC"
    )
    parser.add_argument("--reason", required=True, metavar="TEXT", help="why; it goes into the audit")
    parser.add_argument("--json", action="store_true", help="the closed period as JSON on stdout")


def run(args: argparse.Namespace, config: Config) -> int:
    """0 closed; UllageError when it cannot be: not over, closed in part, days not published."""
    document = {
        "from": args.first.isoformat(),
        "to": args.end.isoformat(),
        "zone": args.zone,
        "reason": args.reason,
        "actor": getpass.getuser(),
    }
    if operator_door.is_served(config.socket_path):
        found = operator_door.call(config.socket_path, "POST", "/api/v1/close", document)
    else:
        found = _alone(document, config)
    said = (
        json.dumps({"schema_version": 1, **found}, ensure_ascii=False)
        if args.json
        else f"closed: {found['starts']} to {found['ends']} ({found['zone']}) as believed at {found['closed_at']}"
    )
    sys.stdout.write(said + "\n")
    return 0


def _alone(document: dict[str, Any], config: Config) -> dict[str, Any]:
    from ullage_collector.publish.closed_periods import close
    from ullage_collector.store.store import Store

    store = Store.open(config.store_path, config.store)
    try:
        return close(
            store,
            config.published_dir,
            date.fromisoformat(document["from"]),
            date.fromisoformat(document["to"]),
            document["zone"],
            reason=document["reason"],
            actor=document["actor"],
        ).to_json()
    finally:
        store.close()
