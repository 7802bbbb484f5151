"""``ullage-collector``: the commands of docs/interfaces.md. Each command's module is imported when it is used.

Exit codes: 0 good, 1 failed, 2 usage or configuration, 3 partial. JSON stands alone on stdout.
"""

from __future__ import annotations

import argparse
import importlib
import logging
import os
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import ullage_contract
from ullage_collector import config as settings
from ullage_contract.command import FAILED, USAGE, Parser, exit_code, instant
from ullage_contract.errors import ConfigError, UllageError

_DOORS: Final = {
    "import": ("ullage_collector.imports.cli", "bring history in; the same file twice adds nothing"),
    "publish": ("ullage_collector.publish.cli", "rollups, states, ledger and telemetry days"),
    "close": ("ullage_collector.publish.close_cli", "a period's money no longer changes"),
    "closings": ("ullage_collector.publish.closings_cli", "closed periods, and what keeps the next from it"),
    "credit": ("ullage_collector.adjust.cli", "ask that a department pays less; somebody else approves"),
    "dispute": ("ullage_collector.adjust.cli", "contest a line or a department's period"),
    "adjustments": ("ullage_collector.adjust.cli", "corrections, credits and disputes: list and decide"),
    "mapping": ("ullage_collector.ownership.cli", "what the rules that say who pays do, and where they fail"),
    "prices": (
        "ullage_collector.pricing.cli",
        "what a card-hour and a kilowatt-hour cost, and where nobody says it",
    ),
    "quota": ("ullage_collector.quota.cli", "who is promised, uses, borrows and waits for cards; sprints"),
    "faults": ("ullage_collector.detect.cli", "the fault catalogue: list, explain, try rules on a recording"),
    "fragmentation": (
        "ullage_collector.detect.fragmentation.cli",
        "free cards that typical work cannot use, of files or of the fleet",
    ),
    "defragment": (
        "ullage_collector.detect.fragmentation.cli",
        "a few moves that would give most back; a proposal, nothing is moved",
    ),
    "uneven": ("ullage_collector.detect.uneven.cli", "who waited for cards while others' of the kind idled"),
    "replay": ("ullage_collector.detect.replay", "a detector over a recorded series, as it would have run"),
    "isolate": ("ullage_collector.isolate.cli", "keep new work off a card; a dry run unless --execute"),
    "release": ("ullage_collector.isolate.cli", "give a card back; a dry run unless --execute"),
    "freeze": ("ullage_collector.isolate.cli", "emergency stop: nothing is isolated until unfreeze"),
    "unfreeze": ("ullage_collector.isolate.cli", "isolating is allowed again"),
    "approve": ("ullage_collector.isolate.cli", "confirm the isolation an incident proposes"),
    "deny": ("ullage_collector.isolate.cli", "say no to the isolation an incident proposes"),
    "follow": ("ullage_collector.isolate.cli", "have the reset, reboot or replacement of an incident run"),
    "isolations": ("ullage_collector.isolate.cli", "what is isolated: since when, for whom, until what"),
    "inventory": ("ullage_collector.estate.cli", "owned cards against seen ones; an asset's history"),
    "topology": ("ullage_collector.estate.cli", "where things stand; what contradicts, what is unknown"),
    "versions": ("ullage_collector.estate.cli", "who runs what; what drifts, what is too old"),
    "maintenance": (
        "ullage_collector.maintenance.cli",
        "who is in the way; taking nodes out and giving them back",
    ),
    "incidents": (
        "ullage_collector.records.cli",
        "what incidents cost; what goes with one to the card's maker",
    ),
    "recommendations": (
        "ullage_collector.recommendations.cli",
        "what is proposed in money a month, by whom it is accepted, what it saved",
    ),
    "audit": ("ullage_collector.records.cli", "the audit as a file that shows edits and gaps"),
    "notify": ("ullage_collector.notify.cli", "who is told what; a test message; messages given up"),
    "backup": ("ullage_collector.store.backup", "a consistent copy while serving"),
}
"""Commands of other parts: each module has ``add_arguments(parser)`` and ``run(args, config) -> int``;
``args.command`` says which command it is."""


_EXTRA: Final = frozenset(
    {"duckdb", "httptools", "jinja2", "msgspec", "numpy", "pyarrow", "starlette", "uvloop", "yaml"}
)
"""What the extra brings that the agent alone has not."""


def main(argv: Sequence[str] | None = None) -> int:
    """The command; its exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        return _run(arguments)
    except ModuleNotFoundError as e:
        if (e.name or "").partition(".")[0] not in _EXTRA:
            raise
        print(
            f"ullage-collector: {e.name} is not installed; pip install 'ullage[collector]'", file=sys.stderr
        )
        return 1


def _run(arguments: Sequence[str]) -> int:
    parser = _parser(arguments)
    args = parser.parse_args(arguments)
    for name in ("config", "data", "log_level"):
        vars(args).setdefault(name, None)
    try:
        config = settings.load(args.config, data=args.data)
    except ConfigError as e:
        print(f"ullage-collector: {e}", file=sys.stderr)
        return 2
    _log_to_stderr(args.log_level or config.log_level)
    try:
        if args.command == "serve":
            from ullage_collector.serve import run

            return run(config)
        if args.command == "token":
            return _token(args, config)
        module = importlib.import_module(_DOORS[args.command][0])
        code: int = module.run(args, config)
        return code
    except UllageError as e:
        print(f"ullage-collector: {e}", file=sys.stderr)
        return exit_code(e)
    except OSError as e:
        return _told(e, config)
    except KeyboardInterrupt:
        return 1


def _told(error: OSError, config: settings.Config) -> int:
    """A file or folder that cannot be made or read; where it is below the data, another place has to be named."""
    logging.getLogger(__name__).debug("where it happened", exc_info=error)
    if error.filename is None:
        print(f"ullage-collector: {error}", file=sys.stderr)
        return FAILED
    place = Path(os.fsdecode(error.filename))
    # /proc/x/collector fails at /proc/x already, a file in the data's place at the folder below it
    ours = place.is_relative_to(config.data) or config.data.is_relative_to(place)
    next_step = "; give another place with --data DIR" if ours else ""
    print(f"ullage-collector: {place}: {error.strerror}{next_step}", file=sys.stderr)
    return USAGE if ours else FAILED


class _Parser(Parser):
    config_default = settings.DEFAULT_PATH
    data_default = settings.DEFAULT_DATA


def _parser(arguments: Sequence[str]) -> argparse.ArgumentParser:
    parser = _Parser(
        prog="ullage-collector", description="Receives what agents measure, keeps it, prices it and shows it."
    )
    parser.add_argument("--version", action="version", version=f"ullage {ullage_contract.__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    commands.add_parser("serve", help="receiver, store, engine, console and API")
    _token_arguments(commands.add_parser("token", help="make a token, print it once, store its hash"))
    for name, (module, meaning) in _DOORS.items():
        command = commands.add_parser(name, help=meaning)
        if name in arguments:  # only the command that is used is imported
            importlib.import_module(module).add_arguments(command)
    return parser


def _token_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="NODE", help="the node it speaks for, or a person's or tool's name")
    parser.add_argument(
        "--role",
        choices=("node", "department", "viewer", "operator", "admin"),
        default="node",
        help="what it may do (default node)",
    )
    parser.add_argument("--cluster", help="a node's cluster (default: any)")
    parser.add_argument(
        "--department",
        action="append",
        default=[],
        metavar="ID",
        help="what a department's token may see; may be repeated",
    )
    parser.add_argument("--expires", type=instant, metavar="TIME", help="e.g. 2027-01-31T00:00:00Z")


def _token(args: argparse.Namespace, config: settings.Config) -> int:
    from ullage_collector.receive.identity import Role, add_token

    role = Role(args.role)
    if role is Role.DEPARTMENT and not args.department:
        raise ConfigError("a department's token needs --department ID")
    token = add_token(
        config.tokens_path,
        name=args.name,
        role=role,
        node=args.name if role is Role.NODE else None,
        cluster=args.cluster,
        departments=tuple(args.department),
        expires=args.expires,
        now=time.time(),
    )
    print(token)
    print(f"its hash is in {config.tokens_path}; the token is shown only here", file=sys.stderr)
    return 0


def _log_to_stderr(level: str) -> None:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level.upper())


class _Formatter(logging.Formatter):
    """UTC with milliseconds."""

    def formatTime(self, record: logging.LogRecord, datefmt: Any = None) -> str:
        return datetime.fromtimestamp(record.created, UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"
