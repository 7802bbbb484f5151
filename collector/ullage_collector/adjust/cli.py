"""``ullage-collector credit|dispute|adjustments``: money that goes forward, asked for, decided and listed.

While a collector serves, a command goes through its socket; else it opens the store itself.
"""

from __future__ import annotations

import argparse
import getpass
import json
import sys
from typing import Any

from ullage_collector import operator_door, text_table
from ullage_collector.config import Config
from ullage_contract.command import day
from ullage_contract.errors import BadInput


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of one of the three; which, the parser's own name says."""
    command = parser.prog.rpartition(" ")[2]
    if command == "adjustments":
        _add_adjustments(parser)
        return
    if command == "credit":
        parser.add_argument("--department", required=True, metavar="ID", help="whose bill is less")
        parser.add_argument("--amount", required=True, metavar="UNITS", help="how much, e.g. 120.50")
        parser.add_argument("--currency", required=True, metavar="CODE", help="ISO 4217, e.g. CNY")
    else:
        parser.add_argument(
            "line", nargs="?", metavar="LINE-ID", help="a line of the ledger, as explain has it"
        )
        parser.add_argument("--department", metavar="ID", help="or all of a department's own lines")
        parser.add_argument("--from", dest="first", type=day, metavar="DATE", help="the first day of them")
        parser.add_argument(
            "--to", dest="end", type=day, metavar="DATE", help="the first day no longer disputed"
        )
        parser.add_argument("--zone", default="UTC", metavar="IANA", help="whose midnights (default UTC)")
        parser.add_argument("--amount", metavar="UNITS", help="how much of it (default: all)")
        parser.add_argument("--currency", metavar="CODE", help="where it costs several")
    parser.add_argument("--reason", required=True, metavar="TEXT", help="why; it stands on the statement")
    parser.add_argument("--requester", metavar="NAME", help="who asks (default: the user of this machine)")
    parser.add_argument("--json", action="store_true", help="JSON on stdout")


def _add_adjustments(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", required=True, metavar="list|approve|reject|withdraw")
    listing = actions.add_parser("list", help="corrections, credits and disputes, the newest first")
    listing.add_argument("--kind", choices=("correction", "credit", "dispute"), help="one kind alone")
    listing.add_argument(
        "--status", choices=("requested", "posted", "rejected", "withdrawn"), help="one status alone"
    )
    listing.add_argument("--department", metavar="ID", help="one department alone")
    for word, meaning in (
        ("approve", "post it: the first open period carries it"),
        ("reject", "say no"),
        ("withdraw", "whoever asked takes it back"),
    ):
        deciding = actions.add_parser(word, help=meaning)
        deciding.add_argument("number", type=int, metavar="ID", help="its number, as list shows it")
        deciding.add_argument("--reason", required=True, metavar="TEXT", help="why; it goes into the audit")
        deciding.add_argument("--by", metavar="NAME", help="who decides (default: the user of this machine)")
        deciding.add_argument("--json", action="store_true", help="JSON on stdout")
    listing.add_argument("--json", action="store_true", help="JSON on stdout")


def run(args: argparse.Namespace, config: Config) -> int:
    """0 done; UllageError when it is refused."""
    if args.command != "adjustments":
        found = _ask(args, config)
        said = (
            f"adjustment {found['adjustment_id']} is {found['status']}; somebody else approves or rejects it"
        )
    elif args.action == "list":
        found = _list(args, config)
        said = "\n".join(_lines(found["adjustments"])) or "there is none"
    else:
        found = _decide(args, config)
        said = f"adjustment {found['adjustment_id']} is {found['status']}"
        if found["posted_at"]:
            said += f", carried by the period of {found['posted_at']}"
    sys.stdout.write((json.dumps(found, ensure_ascii=False, default=_plain) if args.json else said) + "\n")
    return 0


def _ask(args: argparse.Namespace, config: Config) -> dict[str, Any]:
    user = getpass.getuser()
    body: dict[str, Any] = {"actor": user, "requester": args.requester or user, "reason": args.reason}
    if args.command == "credit":
        body |= {"department": args.department, "amount": args.amount, "currency": args.currency}
        route = "/api/v1/credits"
    else:
        if (args.line is None) == (args.department is None):
            raise BadInput("name a LINE-ID, or --department with --from and --to")
        if args.line is None and (args.first is None or args.end is None):
            raise BadInput(
                "--department: say --from and --to, the first day and the first no longer disputed"
            )
        body |= {"line_id": args.line, "amount": args.amount, "currency": args.currency, "zone": args.zone}
        if args.line is None:
            body |= {
                "department": args.department,
                "from": args.first.isoformat(),
                "to": args.end.isoformat(),
            }
        route = "/api/v1/disputes"
    if operator_door.is_served(config.socket_path):
        return dict(operator_door.call(config.socket_path, "POST", route, body))
    from ullage_collector.adjust import requests
    from ullage_collector.adjust.api import disputed_of

    with _store(config) as store:
        if args.command == "credit":
            number = requests.request_credit(
                store,
                department=args.department,
                amount=args.amount,
                currency=args.currency,
                reason=args.reason,
                requester=body["requester"],
                recorded_by=user,
            )
        else:
            number = requests.request_dispute(
                store,
                disputed_of(body, config),
                amount=args.amount,
                reason=args.reason,
                requester=body["requester"],
                recorded_by=user,
            )
    return {"schema_version": 1, "adjustment_id": number, "status": "requested"}


def _decide(args: argparse.Namespace, config: Config) -> dict[str, Any]:
    by = args.by or getpass.getuser()
    if operator_door.is_served(config.socket_path):
        body = {"actor": by, "adjustment_id": args.number, "reason": args.reason}
        return dict(
            operator_door.call(config.socket_path, "POST", f"/api/v1/adjustments/{args.action}", body)
        )
    from ullage_collector.adjust import requests

    with _store(config) as store:
        return {
            "schema_version": 1,
            **requests.decide(store, args.number, args.action, reason=args.reason, by=by),
        }


def _list(args: argparse.Namespace, config: Config) -> dict[str, Any]:
    asked = {"kind": args.kind, "status": args.status, "department": args.department}
    if operator_door.is_served(config.socket_path):
        from urllib.parse import urlencode

        query = urlencode({name: value for name, value in asked.items() if value is not None})
        return dict(
            operator_door.call(
                config.socket_path, "GET", "/api/v1/adjustments" + (f"?{query}" if query else "")
            )
        )
    from ullage_collector.adjust import requests

    with _store(config) as store:
        cursor = store.cursor()
        try:
            return {"schema_version": 1, "adjustments": requests.adjustments(cursor, **asked)}
        finally:
            cursor.close()


def _lines(rows: list[dict[str, Any]]) -> list[str]:
    if not rows:
        return []
    shown = [
        (
            row["adjustment_id"],
            row["kind"],
            row["status"],
            row["department_id"],
            row["state"] or "",
            "" if row["cost"] is None else f"{row['cost']} {row['currency']}",
            row["requester"],
            row["approver"] or "",
            row["reason"],
        )
        for row in rows
    ]
    head = ("id", "kind", "status", "department", "state", "cost", "requester", "approver", "reason")
    return text_table.lines([head, *shown], right=(0, 5))


def _store(config: Config) -> Any:
    from contextlib import closing

    from ullage_collector.store.store import Store

    return closing(Store.open(config.store_path, config.store))


def _plain(value: Any) -> str:
    return value.isoformat() + "Z" if hasattr(value, "isoformat") else str(value)
