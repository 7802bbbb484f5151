"""``ullage-collector mapping check`` and ``mapping explain WORKLOAD``: what the rules that say who pays do.

While a collector serves, the commands go through its socket; else they open the store themselves. Exit codes: 0 good;
3 when a check found rules that contradict each other, give departments that are gone, or are wrong.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from ullage_collector import operator_door
from ullage_collector.config import Config
from ullage_contract.command import instant

if TYPE_CHECKING:
    import duckdb

DAYS = 30


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The commands' arguments; times are ISO 8601, UTC without an offset."""
    asked = parser.add_subparsers(dest="asked", required=True, metavar="check|explain")
    check = asked.add_parser(
        "check", help="conflicts, rules without effect, departments that are gone, coverage"
    )
    check.add_argument("--days", type=int, default=DAYS, metavar="N", help=f"how far back (default {DAYS})")
    explain = asked.add_parser("explain", help="whose a workload is, by which rule, and why not by another")
    explain.add_argument("workload", metavar="WORKLOAD", help="its id, or the end of it: a job's number")
    for command in (check, explain):
        command.add_argument(
            "--at", type=instant, metavar="T", help="when (default: now; the end of what has ended)"
        )
        command.add_argument("--known", type=instant, metavar="T", help="as believed then (default: now)")
        command.add_argument("--json", action="store_true", help="JSON on stdout")


def run(args: argparse.Namespace, config: Config) -> int:
    """0 good, 3 a check found something that is wrong."""
    found = _check(args, config) if args.asked == "check" else _explain(args, config)
    if args.json:
        print(json.dumps({"schema_version": 1, **found}, ensure_ascii=False))
    elif args.asked == "check":
        _show_check(found)
    else:
        _show_explanation(found)
    if args.asked == "check" and (found["conflicts"] or found["gone"] or found["refused"]):
        return 3
    return 0


def _check(args: argparse.Namespace, config: Config) -> dict[str, Any]:
    if operator_door.is_served(config.socket_path):
        return _asked(config, "check", {"days": args.days, "at": _text(args.at), "known": _text(args.known)})

    from ullage_collector.ownership.rules import check_mapping

    return _alone(config, lambda cursor, now: check_mapping(cursor, args.at or now, args.days, args.known))


def _explain(args: argparse.Namespace, config: Config) -> dict[str, Any]:
    if operator_door.is_served(config.socket_path):
        given = {"workload": args.workload, "at": _text(args.at), "known": _text(args.known)}
        return _asked(config, "explain", given)

    from ullage_collector.ownership.rules import explain_workload

    return _alone(
        config, lambda cursor, now: explain_workload(cursor, args.workload, now, args.at, args.known)
    )


def _asked(config: Config, question: str, given: dict[str, Any]) -> dict[str, Any]:
    query = urlencode({name: value for name, value in given.items() if value is not None})
    answer: dict[str, Any] = operator_door.call(
        config.socket_path, "GET", f"/api/v1/mapping/{question}?{query}"
    )
    return answer


def _alone(
    config: Config, ask: Callable[[duckdb.DuckDBPyConnection, datetime], dict[str, Any]]
) -> dict[str, Any]:
    from ullage_collector.store.store import Store

    store = Store.open(config.store_path, config.store)
    try:
        return ask(store.reader(), datetime.fromtimestamp(store.clock.wall(), UTC))
    finally:
        store.close()


# ------------------------------------------------------------------------------- for people
def _show_check(found: dict[str, Any]) -> None:
    print(f"{found['rules']} rules, the {found['days']} days before {found['at']}")
    for text in found["refused"]:
        print(f"wrong: {text}")
    for each in found["conflicts"]:
        print(
            f"conflict over the {each['dimension']}: {_rule(each['wins'])} wins and {_rule(each['loses'])} says otherwise, "
            f"with the same priority and length; e.g. {each['example']} ({each['workloads']} workloads, {_hours(each['card_hours'])} card-hours)"
        )
    for each in found["gone"]:
        moved = f"; it is {each['moved_to']} now" if each["moved_to"] else ""
        print(
            f"gone: {_rule(each['rule'])} gives {each['rule']['department']}, which the organisation lacks{moved}"
        )
    for each in found["shadowed"]:
        print(f"never wins: {_rule(each['rule'])} is covered by {_rule(each['by'])}")
    for each in found["never_won"]:
        print(f"did not win: {_rule(each['rule'])} matched, and {_rule(each['by'])} beat it")
    for rule in found["unmatched"]:
        print(f"matched nobody: {_rule(rule)}")
    coverage = found["coverage"]
    share = coverage["unmapped_share"]
    said = (
        "nothing was held"
        if share is None
        else f"{float(share):.2%} of {_hours(coverage['held_card_hours'])} held card-hours"
    )
    print(f"unmapped: {said}; {coverage['days_missing']} days are not worked out")
    for day in coverage["days"]:
        if day["unmapped_share"] is not None and float(day["unmapped_share"]) > 0:
            print(
                f"  {day['day']}  {float(day['unmapped_share']):.2%}  {_hours(day['unmapped_card_hours'])} card-hours"
            )
    for each in coverage["top_unmapped"]:
        names = " ".join(f"{n}={each[n]}" for n in ("namespace", "user", "partition") if each[n])
        print(f"  {each['workload_id']}  {_hours(each['card_hours'])} card-hours  {names}")


def _show_explanation(found: dict[str, Any]) -> None:
    for answer in found["answers"]:
        if answer["pool"]:
            print(f"on cards of pool {answer['pool']}:")
        print(answer["sentence"])
        leaders = [
            f"{n.replace('_', ' ')} {answer[n]}" for n in ("owner", "deputy", "cost_center") if answer[n]
        ]
        if leaders:
            print(f"  {', '.join(leaders)}")
        for name, said in answer["dimensions"].items():
            if name != "department" and said["value"] is not None:
                print(f"  {name} {said['value']}: {said['version'] or 'as its source says'}")
            for lost in said["lost"]:
                print(f"  {name}: {_rule(lost)} lost: {lost['why']}")
        for lost in answer["not_valid_then"]:
            print(f"  {_rule(lost)} did not count: {lost['why']}")
        print(f"  rules see: {', '.join(answer['seen'])}")


def _rule(rule: dict[str, Any]) -> str:
    given = " ".join(f"{n}={rule[n]}" for n in ("department", "business", "scenario") if rule[n])
    return f"rule {rule['rule_id']} ({rule['match']}, priority {rule['priority']}: {given}; {rule['source']})"


def _hours(exact: str) -> str:
    return f"{Decimal(exact):,.2f}"


def _text(at: datetime | None) -> str | None:
    return None if at is None else at.astimezone(UTC).isoformat().replace("+00:00", "Z")
