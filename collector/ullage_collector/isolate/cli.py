"""The commands of isolation: ``isolate|release CARD``, ``freeze|unfreeze``, ``approve|deny|follow INCIDENT``,
``isolations``.

isolate and release are dry runs unless --execute. While a collector serves, a command goes through its socket; else
it opens the store itself, and an approved isolation is carried out at once.
"""

from __future__ import annotations

import argparse
import getpass
import json
import sys
from datetime import datetime
from typing import Any

from ullage_collector import operator_door
from ullage_collector.config import Config
from ullage_contract.command import instant
from ullage_contract.errors import BadInput


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of one of the commands; which, the parser's own name says."""
    command = parser.prog.rpartition(" ")[2]
    if command not in ("isolate", "release"):
        _add_deciding(parser, command)
        return
    isolating = command == "isolate"
    parser.add_argument(
        "subject", metavar="CARD", help="card_id, UUID, serial, NODE/INDEX, NODE/PCI-address or a node"
    )
    parser.add_argument("--reason", required=True, metavar="TEXT", help="why; it goes into the audit")
    parser.add_argument("--execute", action="store_true", help="do it; without this only print the calls")
    parser.add_argument("--json", action="store_true", help="the outcome as JSON on stdout")
    if isolating:
        parser.add_argument("--until", type=instant, metavar="TIME", help="expiry, e.g. 2027-01-31T00:00:00Z")
        parser.add_argument("--actuator", metavar="NAME", help="instead of the cluster's own")


def run(args: argparse.Namespace, config: Config) -> int:
    """0 done or shown; UllageError when it is refused or fails."""
    if args.command not in ("isolate", "release"):
        return _decide(args, config)
    until: datetime | None = getattr(args, "until", None)
    document = {
        "subject": args.subject,
        "reason": args.reason,
        "execute": args.execute,
        "actor": getpass.getuser(),
        "until": None if until is None else until.timestamp(),
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
    from ullage_collector.isolate.assembly import assemble
    from ullage_collector.store.store import Store
    from ullage_contract.clock import SystemClock

    clock = SystemClock()
    store = Store.open(config.store_path, config.store, clock)
    try:
        isolation = assemble(config, store.cursor, clock).isolation
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


def _add_deciding(parser: argparse.ArgumentParser, command: str) -> None:
    if command in ("approve", "deny", "follow"):
        parser.add_argument("incident", type=int, metavar="INCIDENT", help="the incident's number")
    if command == "approve":
        parser.add_argument("--digest", metavar="HEX", help="of the calls you saw; others by now are refused")
    if command in ("freeze", "unfreeze", "deny"):
        parser.add_argument("--reason", required=True, metavar="TEXT", help="why; it goes into the audit")
    if command == "isolations":
        parser.add_argument("--ended", action="store_true", help="also those that have ended")
    parser.add_argument("--json", action="store_true", help="the answer as JSON on stdout")


def _decide(args: argparse.Namespace, config: Config) -> int:
    document = {
        name: getattr(args, name)
        for name in ("reason", "incident", "digest")
        if getattr(args, name, None) is not None
    }
    document["actor"] = getpass.getuser()
    if operator_door.is_served(config.socket_path):
        if args.command == "isolations":
            route = "/api/v1/isolations" + ("?ended=1" if args.ended else "")
            answer = operator_door.call(config.socket_path, "GET", route)
        else:
            answer = operator_door.call(config.socket_path, "POST", f"/api/v1/{args.command}", document)
    elif args.command == "isolations":
        raise BadInput(
            f"{config.socket_path}: no collector answers there; start ullage-collector serve, or name its folder with "
            "--data DIR"
        )
    else:
        answer = _decided_alone(args.command, document, config)
    if args.json:
        print(json.dumps(answer, ensure_ascii=False, default=str))
    else:
        _show_decided(args.command, answer)
    return 0


def _decided_alone(command: str, document: dict[str, Any], config: Config) -> dict[str, Any]:
    from ullage_collector.isolate import answers
    from ullage_collector.isolate.assembly import assemble
    from ullage_collector.store.store import Store
    from ullage_contract.clock import SystemClock

    clock = SystemClock()
    store = Store.open(config.store_path, config.store, clock)
    try:
        assembly = assemble(config, store.cursor, clock)
        actor = str(document["actor"])
        if command == "freeze":
            return answers.freeze(assembly, actor, document)
        if command == "unfreeze":
            return answers.unfreeze(assembly, actor, document)
        if command == "deny":
            return answers.deny(assembly, actor, document)
        if command == "follow":
            raise BadInput("nobody serves here: what follows an isolation is run by a running collector")
        if command == "approve":
            decided = answers.approve(assembly, actor, document)
            assembly.lifecycle.carry_out(int(decided["intent"]))
            intent = assembly.book.get(int(decided["intent"]))
            return {**decided, "state": intent.state.value if intent else "ended"}
        raise RuntimeError(f"BUG: {command} is no command that works alone")
    finally:
        store.close()


def _show_decided(command: str, answer: dict[str, Any]) -> None:
    if command == "freeze":
        print("Frozen: nothing is isolated until it is unfrozen; releasing is allowed.")
        if answer["stopped"]:
            print(f"{answer['stopped']} planned isolations are only advice now.")
    elif command == "unfreeze":
        print("Unfrozen. What was planned before stays advice.")
    elif command == "isolations":
        _table(answer)
    else:
        print(f"{answer['subject']} on {answer['node']}: {answer['state']}")
        for call in answer["calls"] if command == "approve" else ():
            print(f"  {call}")
        if command == "follow":
            print(
                "It is run as soon as nothing forbids it; ullage-collector isolations shows what became of it."
            )


def _table(answer: dict[str, Any]) -> None:
    word = answer["freeze"]
    if word and word["frozen"]:
        print(f"FROZEN by {word['actor']}: {word['reason']}")
    for row in answer["intents"]:
        hours = float(row["age_seconds"]) / 3600
        why = f" ({row['held_back']})" if row["held_back"] else ""
        print(
            f"{row['state']:<10} {row['mode']:<9} {row['subject']} on {row['node_id']}, {hours:.1f} h, {row['owner']}: "
            f"{row['reason']}{why}; exit: {row['exit']}"
        )
        for follow in row["follows"]:
            said = f": {follow['result']}" if follow["result"] else ""
            print(f"  {follow['follow']} of incident {follow['incident_id']}: {follow['state']}{said}")
