"""``ullage-collector closings [--json]``: which periods are closed, by whom, and what keeps the next one from it.

While a collector serves, the command goes through its socket; else it opens the store itself.
"""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any

from ullage_collector import operator_door, text_table
from ullage_collector.config import Config


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    parser.add_argument("--json", action="store_true", help="JSON on stdout instead of lines")


def run(args: argparse.Namespace, config: Config) -> int:
    """0, whatever is closed."""
    if operator_door.is_served(config.socket_path):
        found = operator_door.call(config.socket_path, "GET", "/api/v1/closings")
    else:
        found = {"schema_version": 1, **_alone(config)}
    if args.json:
        sys.stdout.write(json.dumps(found, ensure_ascii=False) + "\n")
        return 0
    rows = [
        (c["from"], c["to"], c["zone"], c["closed_at"], c["closed_by"], c["reason"])
        for c in found["closings"]
    ]
    if rows:
        rows.insert(0, ("from", "to", "zone", "closed at", "by", "reason"))
    else:
        sys.stdout.write("no period is closed\n")
    for line in text_table.lines(rows):
        sys.stdout.write(line + "\n")
    due = found["due"]
    if due is not None:
        when = due["closes_at"] or "only by a person: ullage-collector close"
        sys.stdout.write(f"next: {due['from']} to {due['to']} {due['zone']}, closes {when}\n")
        for reason in due["blocked"]:
            said = ", ".join(f"{key} {value}" for key, value in reason.items() if key != "reason")
            sys.stdout.write(f"  blocked: {reason['reason']} {said}".rstrip() + "\n")
    return 0


def document(store: Any, config: Config) -> dict[str, Any]:
    """What the command and the API say. store: the open store."""
    from ullage_collector.publish.closed_periods import closings
    from ullage_collector.publish.closing_rule import due, rule_of

    cursor = store.cursor()
    try:
        closed = [each.to_json() for each in closings(cursor)]
    finally:
        cursor.close()
    next_ = due(store, rule_of(config.part("closing"), config.path))
    return {"closings": closed, "due": None if next_ is None else next_.to_json()}


def _alone(config: Config) -> dict[str, Any]:
    from ullage_collector.store.store import Store

    store = Store.open(config.store_path, config.store)
    try:
        return document(store, config)
    finally:
        store.close()
