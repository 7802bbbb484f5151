"""``ullage-collector inventory|topology|versions``: what the estate's routes answer, as JSON or as lines for people.

Exit codes: 0 nothing is wrong, 3 something was found that somebody should look at.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from ullage_collector import text_table
from ullage_collector.config import Config
from ullage_collector.estate.answers import ask
from ullage_contract.errors import BadInput


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of whichever of the three commands the parser is for."""
    command = parser.prog.rsplit(" ", 1)[-1]
    if command == "inventory":
        parser.add_argument(
            "what",
            choices=("reconcile", "history"),
            metavar="reconcile|history",
            help="owned cards against seen ones; or the lives of one",
        )
        parser.add_argument("named", nargs="?", metavar="CARD|ASSET", help="card_id, serial or asset_id")
        parser.add_argument("--known", metavar="T", help="as believed at this time (default: now)")
    elif command == "topology":
        parser.add_argument(
            "what",
            choices=("check", "show"),
            metavar="check|show",
            help="what contradicts or is unknown; or every statement",
        )
        parser.add_argument("--at", metavar="T", help="what held at this time, e.g. 2026-11-01T00:00:00Z")
        parser.add_argument("--known", metavar="T", help="as believed at this time (default: now)")
        parser.add_argument("--node", help="show what is said of this node alone")
    else:
        parser.add_argument("--of", metavar="SUBJECT", help="what one card, node or port ran when")
    parser.add_argument("--json", action="store_true", help="JSON alone on stdout")


def run(args: argparse.Namespace, config: Config) -> int:
    """Ask and print. Raises UllageError when it cannot be answered."""
    answer, lines, wrong = _COMMANDS[args.command](args, config)
    if args.json:
        json.dump(answer, sys.stdout, ensure_ascii=False, default=_plain)
        sys.stdout.write("\n")
    else:
        for line in lines:
            print(line)
    return 3 if wrong else 0


Answer = tuple[Mapping[str, Any], Iterable[str], bool]


def _inventory(args: argparse.Namespace, config: Config) -> Answer:
    if args.what == "history":
        found = ask(config, "/api/v1/inventory/history", {"of": args.named, "known": args.known})
        return found, _history_lines(found), bool(found["unusual"])
    found = ask(config, "/api/v1/inventory/reconcile", {})
    lines = _finding_lines(found["findings"])
    lines.append(f"{len(found['findings'])} differences, {found['not_judged']} not judged yet")
    return found, lines, bool(found["findings"])


def _history_lines(found: Mapping[str, Any]) -> list[str]:
    rows = [["from", "to", "life", "card", "serial", "node", "model"]]
    for life in found["lives"]:
        place = f"{life['cluster_id']}/{life['node_id']}"
        begins, ends = (str(_plain(life[key]) or "")[:10] for key in ("valid_from", "valid_to"))
        rows.append([begins, ends, life["life"], life["card_id"], life["serial"] or "", place, life["model"]])
    return [
        f"asset {found['asset_id']}",
        *text_table.lines(rows),
        *(f"unusual: {text}" for text in found["unusual"]),
    ]


def _topology(args: argparse.Namespace, config: Config) -> Answer:
    asked = {"at": args.at, "known": args.known}
    if args.what == "show":
        found = ask(config, "/api/v1/topology", {**asked, "node": args.node})
        if args.node is not None and not found["rows"]:
            raise BadInput(
                f"no source says anything of node {args.node[:80]!r}; topology show lists them all"
            )
        rows = [["cluster", "family", "subject", "relation", "target", "source"]]
        rows += [[row[name] for name in rows[0]] for row in found["rows"]]
        return found, text_table.lines(rows), False
    found = ask(config, "/api/v1/topology/check", asked)
    lines = [
        f"{found['nodes']} nodes, {found['relations']} relations of {', '.join(found['sources']) or 'nobody'}"
    ]
    for conflict in found["conflicts"]:
        said = "; ".join(f"{s['target']} ({s['source']})" for s in conflict["said"])
        believed = conflict["believed"] or "nobody"
        lines.append(
            f"conflict: {conflict['family']} {conflict['subject']} {conflict['relation']}: {said}; believed: {believed}"
        )
    for level, who in found["unknown"].items():
        if who["nodes"]:
            shown = ", ".join(who["first"][:5])
            lines.append(f"unknown: {level} of {who['nodes']} nodes, e.g. {shown}")
    lines += [f"stranger: {s['cluster']}/{s['node']} named by {s['source']}" for s in found["strangers"]]
    return found, lines, bool(found["conflicts"] or found["strangers"])


def _versions(args: argparse.Namespace, config: Config) -> Answer:
    found = ask(config, "/api/v1/versions", {"of": args.of})
    if args.of:
        if not found["ran"]:
            raise BadInput(
                f"nothing is known of {args.of[:80]!r}; name a card_id, a node or a port (GET /api/v1/cards lists cards)"
            )
        rows = [["family", "name", "version", "from", "to"]]
        rows += [
            [r["family"], r["name"], r["version"] or "not said", _day(r["from_us"]), _day(r["to_us"])]
            for r in found["ran"]
        ]
        return found, text_table.lines(rows), False
    rows = [["name", "model", "version", "count", "of"]]
    for row in found["versions"]:
        for version in row["versions"]:
            count, total = str(version["count"]), str(row["total"])
            rows.append([row["name"], row["kind"] or "", version["version"], count, total])
    return found, [*text_table.lines(rows), *_finding_lines(found["findings"])], bool(found["findings"])


_COMMANDS = {"inventory": _inventory, "topology": _topology, "versions": _versions}


def _finding_lines(findings: Sequence[Mapping[str, Any]]) -> list[str]:
    lines = []
    for found in findings:
        said = ", ".join(
            f"{key}={_short(value)}" for key, value in found["evidence"].items() if value is not None
        )
        lines.append(f"{found['kind']}: {found['family']} {found['subject']}: {said}; {found['action']}")
    return lines


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 120 else text[:117] + "..."


def _day(us: int | None) -> str:
    return "" if us is None else datetime.fromtimestamp(us / 1e6, UTC).strftime("%Y-%m-%d %H:%M")


def _plain(value: Any) -> Any:
    return value.isoformat() + "Z" if isinstance(value, datetime) else value
