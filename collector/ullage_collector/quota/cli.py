"""``ullage-collector quota show|sprint``, and ``import quotas|pools FILE`` for the import command.

While a collector serves, the command goes through its socket; else it opens the store itself.
"""

from __future__ import annotations

import argparse
import getpass
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlencode

from ullage_collector import operator_door
from ullage_collector.config import Config
from ullage_contract.errors import ConfigError

if TYPE_CHECKING:
    from ullage_collector.store.store import Store


IMPORTS: Final = ("quotas", "pools")
"""What ``import`` takes of ours."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of both sub-commands; times are ISO 8601 with an offset."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="show|sprint")
    show = actions.add_parser("show", help="the trees with what is used, borrowed, lent and waited for")
    show.add_argument("--at", metavar="T", help="figures of this instant (default: now)")
    show.add_argument("--from", dest="from_", metavar="T", help="sums over a stretch, in card-hours")
    show.add_argument("--to", metavar="T", help="its end (default: now)")
    show.add_argument("--known", metavar="T", help="as it was known then (default: now)")
    show.add_argument("--tree", metavar="NAME", help="that tree alone")
    show.add_argument("--json", action="store_true", help="JSON on stdout")
    sprint = actions.add_parser("sprint", help="all cards of a pool for one department for a time")
    sprint.add_argument("pool", nargs="?", metavar="POOL", help="whose cards; a rule or a quota names it")
    sprint.add_argument("--department", metavar="D", help="who gets them: a department's id")
    sprint.add_argument("--from", dest="from_", metavar="T", help="its begin, e.g. 2026-11-20T00:00:00Z")
    sprint.add_argument("--to", metavar="T", help="its end")
    sprint.add_argument("--reason", default="", metavar="TEXT", help="why; it goes into the audit")
    sprint.add_argument("--cancel", type=int, metavar="ID", help="take a sprint back, from now on")


def add_import_arguments(parser: argparse.ArgumentParser) -> None:
    """What ``import quotas|pools`` takes beside FILE."""
    group = parser.add_argument_group("quotas and pools")
    group.add_argument(
        "--pool", metavar="NAME", help="the pool they are about (default: cards of every pool)"
    )
    group.add_argument(
        "--guaranteed", action="store_true", help="Slurm's limits are promises, too: min is what max is"
    )
    group.add_argument("--since", metavar="T", help="from when a scheduler's export holds (default: now)")


def run(args: argparse.Namespace, config: Config) -> int:
    """0 done or shown; UllageError when it is refused or fails."""
    if args.action == "show":
        return _show(args, config)
    return _sprint(args, config)


def _show(args: argparse.Namespace, config: Config) -> int:
    from ullage_collector.quota import show

    named = {"at": args.at, "from": args.from_, "to": args.to, "known": args.known, "tree": args.tree}
    asked = {name: value for name, value in named.items() if value is not None}
    if "at" in asked and ("from" in asked or "to" in asked):
        raise ConfigError("quota show: --at is an instant, --from and --to a stretch: give one of them")
    if "to" in asked and "from" not in asked:
        raise ConfigError("quota show: --to needs --from")
    if operator_door.is_served(config.socket_path):
        found = operator_door.call(config.socket_path, "GET", f"/api/v1/quotas?{urlencode(asked)}")
    else:
        with _store(config) as store:
            found = {"schema_version": 1, **_alone(store, asked)}
    if args.json:
        print(json.dumps(found, ensure_ascii=False))
        return 0
    for line in show.lines(found):
        print(line)
    if not found["trees"]:
        print("no quotas: ullage-collector import quotas FILE", file=sys.stderr)
    return 0


def _alone(store: Store, asked: dict[str, str]) -> dict[str, Any]:
    from ullage_collector.quota.api import instant, stretch, us

    now = store.clock.wall()
    known = us(asked.get("known"), "--known", now)
    if "from" in asked:
        start, end = us(asked["from"], "--from", now), us(asked.get("to"), "--to", now)
        return stretch(store, start, end, known, asked.get("tree"))
    return instant(store, us(asked.get("at"), "--at", now), known, asked.get("tree"))


def _sprint(args: argparse.Namespace, config: Config) -> int:
    body: dict[str, Any] = {"reason": args.reason, "actor": getpass.getuser()}
    if args.cancel is not None:
        body["sprint_id"] = args.cancel
        route = "/api/v1/quotas/sprints/cancel"
    else:
        missing = [
            name
            for name, value in (
                ("POOL", args.pool),
                ("--department", args.department),
                ("--from", args.from_),
                ("--to", args.to),
                ("--reason", args.reason),
            )
            if not value
        ]
        if missing:
            raise ConfigError(f"quota sprint needs {', '.join(missing)}; or --cancel ID")
        body |= {"pool": args.pool, "department": args.department, "from": args.from_, "to": args.to}
        route = "/api/v1/quotas/sprints"
    if operator_door.is_served(config.socket_path):
        found = operator_door.call(config.socket_path, "POST", route, body)
    else:
        with _store(config) as store:
            found = _act(store, body)
    print(json.dumps({"schema_version": 1, **found}, ensure_ascii=False))
    if "undo" in found:
        print(f"undo: {found['undo']}", file=sys.stderr)
    return 0


def _act(store: Store, body: dict[str, Any]) -> dict[str, Any]:
    from ullage_collector.quota import sprint
    from ullage_collector.quota.api import us

    now = store.clock.wall()
    with store.write() as cursor:
        if "sprint_id" in body:
            left = sprint.cancel(
                cursor, body["sprint_id"], reason=body["reason"], actor=body["actor"], now=now
            )
            return {"sprint_id": body["sprint_id"], "result": "ended" if left else "withdrawn"}
        made = sprint.declare(
            cursor,
            body["pool"],
            body["department"],
            us(body["from"], "--from", 0),
            us(body["to"], "--to", 0),
            reason=body["reason"],
            actor=body["actor"],
            now=now,
        )
        return {
            "sprint_id": made.sprint_id,
            "undo": f"ullage-collector quota sprint --cancel {made.sprint_id}",
        }


def run_import(args: argparse.Namespace, config: Config) -> list[dict[str, Any]]:
    """What ``import quotas|pools FILE`` does; its reports as JSON."""
    if args.file is None:
        raise ConfigError(f"import {args.kind}: name the FILE")
    body = {
        "file": str(args.file.absolute()),
        "format": args.format,
        "cluster": args.cluster,
        "pool": args.pool,
        "guaranteed": args.guaranteed,
        "since": args.since,
        "again": args.again,
    }
    with _importing(config) as bring:
        return bring(args.kind, body)


@contextmanager
def _importing(config: Config) -> Iterator[Callable[[str, dict[str, Any]], list[dict[str, Any]]]]:
    if operator_door.is_served(config.socket_path):

        def through(kind: str, body: dict[str, Any]) -> list[dict[str, Any]]:
            answer = operator_door.call(config.socket_path, "POST", f"/api/v1/import/{kind}", body)
            found: list[dict[str, Any]] = answer["imports"]
            return found

        yield through
        return
    from ullage_collector.quota.api import bring_in

    with _store(config) as store:
        yield lambda kind, body: [bring_in(store, kind, body)]


@contextmanager
def _store(config: Config) -> Iterator[Store]:
    from ullage_collector.store.store import Store

    store = Store.open(config.store_path, config.store)
    try:
        yield store
    finally:
        store.close()
