"""``ullage-collector incidents cost|bundle`` and ``ullage-collector audit export|verify``.

While a collector serves, the command goes through its socket; else it opens the store itself. Exit codes: 0 good, 3 days are
missing in a cost, or a verified file was changed.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from ullage_collector import operator_door
from ullage_collector.audit_export import GENESIS, as_csv, as_jsonl, verify
from ullage_collector.config import Config
from ullage_contract.errors import BadInput


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of whichever of the two commands the parser is for."""
    if parser.prog.endswith("incidents"):
        actions = parser.add_subparsers(dest="action", required=True, metavar="cost|bundle")
        cost = actions.add_parser("cost", help="what each confirmed incident lost, wasted and idled")
        cost.add_argument("--incident", type=int, metavar="ID", help="that one alone")
        pack = actions.add_parser(
            "bundle", help="fault, evidence, facts and serial of a card for its maker, as JSON"
        )
        pack.add_argument("incident", type=int, metavar="INCIDENT", help="the incident's number")
        pack.add_argument(
            "--out", type=Path, metavar="FILE", help="a new file, for the owner alone (default: stdout)"
        )
        chosen = [cost]
    else:
        actions = parser.add_subparsers(dest="action", required=True, metavar="export|verify")
        export = actions.add_parser("export", help="rows with the hash of all before them")
        export.add_argument(
            "--format", choices=("jsonl", "csv"), default="jsonl", help="default jsonl, which verify reads"
        )
        export.add_argument("--subject", metavar="ID", help="rows about that subject alone")
        check = actions.add_parser("verify", help="whether an export in JSON lines was changed or has gaps")
        check.add_argument("file", type=Path, metavar="FILE", help="what audit export wrote")
        check.add_argument("--json", action="store_true", help="JSON on stdout")
        chosen = [export]
    for each in chosen:
        each.add_argument("--from", dest="from_", metavar="T", help="a day or a time (default: the first)")
        each.add_argument("--to", metavar="T", help="a day or a time, not included (default: now)")
        if each.prog.endswith("cost"):
            each.add_argument("--json", action="store_true", help="JSON on stdout")


def run(args: argparse.Namespace, config: Config) -> int:
    """Ask and print."""
    if args.action == "cost":
        return _cost(args, config)
    if args.action == "bundle":
        return _bundle(args, config)
    if args.action == "verify":
        return _verify(args)
    return _export(args, config)


def _cost(args: argparse.Namespace, config: Config) -> int:
    asked = {key: value for key, value in (("from", args.from_), ("to", args.to)) if value}
    route = (
        f"/api/v1/incidents/{args.incident}/cost" if args.incident is not None else "/api/v1/incidents/cost"
    )
    with _door(config) as ask:
        found = ask(route, asked)
    code = 3 if found["days_missing"] else 0
    if args.json:
        print(json.dumps(found, ensure_ascii=False))
        return code
    for item in found["incidents"]:
        print(f"#{item['incident_id']} {item['cause']} {item['subject']} {item['onset']}")
        for name in ("lost", "wasted", "maybe_wasted", "idle"):
            print(f"  {name:12} {_amount(item[name])}")
    print(f"lost by incidents: {_amount(found['lost_by_incidents'])}")
    for title, key in (
        ("without an incident", "without_incident"),
        ("on unconfirmed ones", "on_unconfirmed_incidents"),
    ):
        for state, amount in found[key].items():
            print(f"{state} {title}: {_amount(amount)}")
    if found["days_missing"]:
        print(
            f"{len(found['days_missing'])} days are not worked out yet: {', '.join(found['days_missing'][:5])}",
            file=sys.stderr,
        )
    return code


def _bundle(args: argparse.Namespace, config: Config) -> int:
    with _door(config) as ask:
        found = ask(f"/api/v1/incidents/{args.incident}/bundle", {})
    text = json.dumps(found, ensure_ascii=False, indent=1)
    if args.out is None:
        print(text)
        return 0
    try:
        with os.fdopen(
            os.open(args.out, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8"
        ) as file:
            file.write(text + "\n")
    except OSError as e:
        raise BadInput(f"--out {args.out}: {e.strerror}; name a new file in a folder that is there") from e
    print(
        f"{args.out}: incident {args.incident}, {len(found['cards'])} cards, {len(found['events'])} events",
        file=sys.stderr,
    )
    return 0


def _amount(amount: dict[str, Any]) -> str:
    money = ", ".join(f"{value} {currency}" for currency, value in amount["cost"].items()) or "no price"
    return f"{float(amount['card_hours']):.2f} card-hours, {money}"


def _verify(args: argparse.Namespace) -> int:
    try:
        with args.file.open(encoding="utf-8") as lines:
            found = verify(lines)
    except (OSError, UnicodeDecodeError) as e:
        why = e.strerror if isinstance(e, OSError) else "not UTF-8"
        raise BadInput(f"{args.file}: cannot be read: {why}; name what audit export wrote") from e
    if args.json:
        document = {"schema_version": 1, "rows": found.rows, "changed": found.wrong, "gaps": found.gaps}
        print(json.dumps(document))
    else:
        print(f"{found.rows} rows, {len(found.wrong)} changed, {len(found.gaps)} gaps")
        for number in found.wrong:
            print(f"changed: audit {number}")
        for first, last in found.gaps:
            print(f"gap: between audit {first} and {last}")
    return 3 if found.wrong or found.gaps else 0


def _export(args: argparse.Namespace, config: Config) -> int:
    asked = {
        key: value
        for key, value in (("from", args.from_), ("to", args.to), ("subject", args.subject))
        if value
    }
    with _door(config) as ask:
        form = as_csv if args.format == "csv" else as_jsonl
        for line in form(_rows(ask, asked)):
            print(line)
    return 0


def _rows(
    ask: Callable[[str, dict[str, str]], dict[str, Any]], asked: dict[str, str]
) -> Iterator[dict[str, Any]]:
    after, chain, more = 0, GENESIS, True
    while more:
        found = ask("/api/v1/audit/export", {**asked, "after": str(after), "chain": chain})
        yield from found["rows"]
        after, chain, more = found["after"], found["chain"], found["more"]


@contextmanager
def _door(config: Config) -> Iterator[Callable[[str, dict[str, str]], dict[str, Any]]]:
    if operator_door.is_served(config.socket_path):

        def through(route: str, asked: dict[str, str]) -> dict[str, Any]:
            answer: dict[str, Any] = operator_door.call(
                config.socket_path, "GET", f"{route}?{urlencode(asked)}"
            )
            return answer

        yield through
        return
    from ullage_collector.records.api import bundle_document, cost_document, export_page
    from ullage_collector.store.store import Store

    store = Store.open(config.store_path, config.store)

    def alone(route: str, asked: dict[str, str]) -> dict[str, Any]:
        if route.endswith("/export"):
            return {"schema_version": 1, **export_page(store, asked)}
        number = route.split("/")[4]
        if route.endswith("/bundle"):
            return bundle_document(store, int(number))
        return {
            "schema_version": 1,
            **cost_document(store, asked, int(number) if number.isdecimal() else None),
        }

    try:
        yield alone
    finally:
        store.close()
