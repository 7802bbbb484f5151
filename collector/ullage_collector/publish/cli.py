"""``ullage-collector publish [--day D] [--through D] [--all]``: what is due, or one day.

While a collector serves, the command goes through its socket; else it opens the store itself.
"""

from __future__ import annotations

import argparse
import json
import sys
from datetime import UTC, datetime
from typing import Any

from ullage_collector import operator_door
from ullage_collector.config import Config
from ullage_contract.command import day


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's arguments; days are UTC."""
    parser.add_argument("--day", type=day, metavar="D", help="this day alone, e.g. 2026-11-20")
    parser.add_argument("--through", type=day, metavar="D", help="the last day (default: yesterday, UTC)")
    parser.add_argument("--all", action="store_true", help="also days that are sealed and unchanged")


def run(args: argparse.Namespace, config: Config) -> int:
    """0 all published, 3 some days failed."""
    if operator_door.is_served(config.socket_path):
        document = {
            "day": args.day.isoformat() if args.day else None,
            "through": args.through.isoformat() if args.through else None,
            "all": args.all,
        }
        outcome = operator_door.call(config.socket_path, "POST", "/api/v1/publish", document)
    else:
        outcome = _alone(args, config)
    json.dump({"schema_version": 1, **outcome}, sys.stdout)
    sys.stdout.write("\n")
    return 3 if outcome["failed"] else 0


def _alone(args: argparse.Namespace, config: Config) -> dict[str, Any]:
    from ullage_collector.publish.publisher import publish
    from ullage_collector.states import rules_of
    from ullage_collector.store.store import Store

    rules = rules_of(config.part("states"))
    store = Store.open(config.store_path, config.store)
    try:
        now = datetime.fromtimestamp(store.clock.wall(), UTC)
        outcome = publish(
            store,
            config.published_dir,
            now=now,
            day=args.day,
            through=args.through,
            everything=args.all,
            rules=rules,
            progress=lambda what, share: print(f"{what} {share:.0%}", file=sys.stderr),
        )
        return outcome.to_json()
    finally:
        store.close()
