"""``ullage-collector isolate|release CARD --reason TEXT``: a dry run unless --execute.

While a collector serves, the command goes through its socket; else it opens the store itself.
"""

from __future__ import annotations

import argparse
import getpass
import json
import sys
from datetime import UTC, datetime
from typing import Any

from ullage_collector import operator_door
from ullage_collector.config import Config


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of both commands; ``--until`` and ``--actuator`` are isolate's."""
    isolating = parser.prog.endswith("isolate")
    parser.add_argument(
        "subject", metavar="CARD", help="card_id, UUID, serial, NODE/INDEX, NODE/PCI-address or a node"
    )
    parser.add_argument("--reason", required=True, metavar="TEXT", help="why; it goes into the audit")
    parser.add_argument("--execute", action="store_true", help="do it; without this only print the calls")
    parser.add_argument("--json", action="store_true", help="the outcome as JSON on stdout")
    if isolating:
        parser.add_argument(
            "--until", type=_instant, metavar="TIME", help="expiry, e.g. 2027-01-31T00:00:00Z"
        )
        parser.add_argument("--actuator", metavar="NAME", help="instead of the cluster's own")


def run(args: argparse.Namespace, config: Config) -> int:
    """0 done or shown; UllageError when it is refused or fails."""
    document = {
        "subject": args.subject,
        "reason": args.reason,
        "execute": args.execute,
        "actor": getpass.getuser(),
        "until": getattr(args, "until", None),
        "actuator": getattr(args, "actuator", None),
    }
    if operator_door.is_served(config.socket_path):
        outcome = operator_door.call(config.socket_path, "POST", f"/api/v1/{args.command}", document)
    else:
        outcome = _alone(args.command, document, config)
    if args.json:
        print(json.dumps(outcome, ensure_ascii=False))
    else:
        _show(outcome)
    return 0


def _alone(command: str, document: dict[str, Any], config: Config) -> dict[str, Any]:
    from ullage_collector.isolate.isolation import from_config
    from ullage_collector.store.store import Store
    from ullage_contract.clock import SystemClock

    clock = SystemClock()
    store = Store.open(config.store_path, config.store, clock)
    try:
        isolation = from_config(config, store.cursor, clock)
        if command == "release":
            outcome = isolation.release(
                document["subject"],
                reason=document["reason"],
                actor=document["actor"],
                execute_calls=document["execute"],
            )
        else:
            outcome = isolation.isolate(
                document["subject"],
                reason=document["reason"],
                actor=document["actor"],
                execute_calls=document["execute"],
                until=document["until"],
                actuator=document["actuator"],
            )
        return outcome.to_json()
    finally:
        store.close()


def _show(outcome: dict[str, Any]) -> None:
    done = outcome["executed"]
    print(f"{'Done' if done else 'Dry run'}: {outcome['action']} {outcome['subject']} on {outcome['node']}")
    for call in outcome["calls"]:
        print(f"  {call}")
    for note in outcome["notes"]:
        print(f"  # {note}")
    also = outcome["also_takes"]
    if also["cards"]:
        print(f"This also takes {len(also['cards'])} other cards: {', '.join(also['cards'])}")
    if also["workloads"]:
        print(f"Holding cards there now: {', '.join(also['workloads'])}")
    if outcome["undo"]:
        print(f"Undo: ullage-collector release {outcome['subject']} --reason ... --execute")
    if not done:
        print("Nothing was changed. Add --execute to do it.", file=sys.stderr)


def _instant(text: str) -> float:
    try:
        found = datetime.fromisoformat(text)
    except ValueError as e:
        raise argparse.ArgumentTypeError(f"{text!r} is no time, e.g. 2027-01-31T00:00:00Z") from e
    return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()
