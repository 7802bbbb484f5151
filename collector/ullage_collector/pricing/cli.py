"""``ullage-collector prices show|check``: what a card-hour and a kilowatt-hour cost at an instant, and where nobody says it.

While a collector serves, the commands go through its socket; else they open the store themselves. Exit codes: 0 good; 3 when
a check found cards without a price, prices that contradict each other, or energy without a tariff.
"""

from __future__ import annotations

import argparse
import json
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode

from ullage_collector import operator_door, text_table
from ullage_collector.config import Config
from ullage_contract.command import instant


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The commands' arguments; times are ISO 8601, UTC without an offset."""
    asked = parser.add_subparsers(dest="asked", required=True, metavar="show|check")
    for name, what in (
        ("show", "prices, exchange rates, tariffs, PUE and policy that hold"),
        ("check", "cards without a price, conflicts, missing rates and tariffs, prices for nothing"),
    ):
        command = asked.add_parser(name, help=what)
        command.add_argument("--at", type=instant, metavar="T", help="when (default: now)")
        command.add_argument("--known", type=instant, metavar="T", help="as believed then (default: now)")
        command.add_argument("--json", action="store_true", help="JSON on stdout")


def run(args: argparse.Namespace, config: Config) -> int:
    """0 good, 3 a check found something that is wrong."""
    found = _found(args, config)
    if args.json:
        print(json.dumps({"schema_version": 1, **found}, ensure_ascii=False))
    else:
        for line in show_lines(found) if args.asked == "show" else check_lines(found):
            print(line)
    return 3 if args.asked == "check" and found["wrong"] else 0


def _found(args: argparse.Namespace, config: Config) -> dict[str, Any]:
    if operator_door.is_served(config.socket_path):
        given = {"at": args.at, "known": args.known}
        query = urlencode({name: at.isoformat() for name, at in given.items() if at is not None})
        path = "/api/v1/prices" + ("/check" if args.asked == "check" else "")
        answer: dict[str, Any] = operator_door.call(config.socket_path, "GET", f"{path}?{query}")
        return answer

    from ullage_collector.pricing.book import checked, shown
    from ullage_collector.store.store import Store

    store = Store.open(config.store_path, config.store)
    try:
        now = datetime.fromtimestamp(store.clock.wall(), UTC)
        ask = shown if args.asked == "show" else checked
        return ask(store.reader(), args.at or now, args.known or now)
    finally:
        store.close()


def show_lines(found: dict[str, Any]) -> list[str]:
    """What ``prices show`` prints."""
    lines = [f"at {found['at']}, as known at {found['known']}"]
    rows: list[tuple[str, ...]] = [
        ("price", "kind", "for", "a card-hour", "list", "made of", "valid", "from")
    ]
    for price in found["prices"]:
        parts = ", ".join(f"{name} {amount}" for name, amount in price["components"].items())
        rows.append(
            (
                str(price["price_id"]),
                price["kind"] + (" (assumed)" if price["assumed"] else ""),
                _whom(price),
                f"{price['per_card_hour']} {price['currency']}",
                price["list"] or "",
                parts if len(price["components"]) > 1 else "",
                _valid(price),
                price["source"] or "",
            )
        )
    if len(rows) > 1:
        lines += text_table.lines(rows)
    lines += [
        f"rate {r['rate_id']}: 1 {r['from']} is {r['rate']} {r['to']}, {_valid(r)}" for r in found["rates"]
    ]
    for each in found["tariffs"]:
        hours = " ".join(word for word in (each["weekdays"], each["hours"]) if word)
        when = f", {hours} {each['zone']}" if hours else ""
        lines.append(
            f"tariff {each['tariff_id']}: {each['per_kwh']} {each['currency']} a kWh"
            f"{when}{_cluster(each)}, {_valid(each)}"
        )
    lines += [f"PUE {each['pue']}{_cluster(each)}, {_valid(each)}" for each in found["pue"]]
    for each in found["policy"]:
        said = [f"told in {each['currency']}"] if each["currency"] else []
        said += [f"holes in energy by {each['gap_energy']}"] if each["gap_energy"] else []
        lines.append(f"policy {each['policy_id']}: {', '.join(said)}, {_valid(each)}")
    return lines + [f"wrong: {text}" for text in found["refused"]]


def check_lines(found: dict[str, Any]) -> list[str]:
    """What ``prices check`` prints."""
    lines = [f"{found['cards']} cards owned at {found['at']}, as known at {found['known']}"]
    lines += [f"wrong: {text}" for text in found["refused"]]
    for each in found["unpriced"]:
        pool = f" in pool {each['pool']}" if each["pool"] else ""
        lines.append(
            f"no price: {each['cards']} cards {each['model']}{pool} of {each['cluster']}; add a [[price]]"
        )
    for each in found["conflicts"]:
        lines.append(
            f"conflict: price {each['wins']['price_id']} ({_whom(each['wins'])}, {each['wins']['per_card_hour']}) wins and "
            f"{each['loses']['price_id']} ({_whom(each['loses'])}, {each['loses']['per_card_hour']}) says otherwise for "
            f"{each['cards']} cards, e.g. {each['example']}; give one a narrower pattern or a from"
        )
    for each in found["no_rate"]:
        lines.append(f"no exchange rate: {each['currency']} of {each['cards']} cards; add a [[rate]]")
    for each in found["crowded"]:
        lines.append(
            f"too many cards: {each['node']} has {each['cards']}, price {each['price']['price_id']} counts {each['counted']}"
        )
    for each in found["no_tariff"]:
        lines.append(
            f"no tariff: {each['minutes']} minutes of the day in {each['cluster']}; add a [[tariff]]"
            + ("" if found["energy"] else " when energy is measured")
        )
    if found["no_pue"]:
        lines.append(f"no PUE: energy is counted once in {', '.join(found['no_pue'])}; add a [[pue]]")
    for price in found["assumed"]:
        lines.append(f"assumed: price {price['price_id']} ({_whom(price)}, {price['per_card_hour']})")
    if found["written_off"]:
        lines.append(
            f"written off: {len(found['written_off'])} cards, maintenance alone, e.g. {found['written_off'][0]}"
        )
    lines += [f"for no card: price {price['price_id']} ({_whom(price)})" for price in found["unmatched"]]
    return lines if len(lines) > 1 else [*lines, "nothing is wrong"]


def _whom(price: dict[str, Any]) -> str:
    words = [f"{name} {price[name]}" for name in ("card", "node", "label", "pool") if price[name]]
    if price["model"] != "*" or not words:
        words.append(f"model {price['model']}")
    if price["part_of_node"]:
        words.append(f"{price['part_of_node']} of a node")
    return ", ".join(words)


def _cluster(row: dict[str, Any]) -> str:
    return f" in {row['cluster']}" if row["cluster"] else ""


def _valid(row: dict[str, Any]) -> str:
    start, end = row["valid_from"][:16], row["valid_to"]
    if start.startswith("1970-01-01"):
        return f"to {end[:16]}" if end else "always"
    return f"{start} to {end[:16]}" if end else f"from {start}"
