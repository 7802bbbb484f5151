"""What ``ullage-report`` can be asked: its words and their options. What they do is cli's."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any, Final

import ullage_contract
from ullage_contract.command import Parser, day
from ullage_reports import config as settings
from ullage_reports import edition
from ullage_reports.period import PeriodKind

_PERIOD: Final = {
    PeriodKind.DAILY: ("D", "the local day, e.g. 2026-11-20, or last"),
    PeriodKind.WEEKLY: ("W", "the ISO week, e.g. 2026-W47, or last"),
    PeriodKind.MONTHLY: ("M", "the month, e.g. 2026-10, or last"),
    PeriodKind.QUARTERLY: ("Q", "the quarter, e.g. 2026-Q4, or last"),
    PeriodKind.YEARLY: ("Y", "the year, e.g. 2026, or last"),
}


def _given(text: str) -> str:
    """A text that is one: an empty one, from a variable nobody set, would silently be the default."""
    if not text.strip():
        raise argparse.ArgumentTypeError("is empty; write a value, or leave the option out")
    return text


def _folder(text: str) -> Path:
    """A folder by its name; an empty one would be the working directory."""
    return Path(_given(text))


_SHARED: Final[dict[str, dict[str, Any]]] = {
    "--zone": {"type": _given, "metavar": "IANA", "help": "whose midnights cut the days (default UTC)"},
    "--currency": {"type": _given, "metavar": "CODE", "help": "ISO 4217 (default: the only one there is)"},
    "--until": {"type": day, "metavar": "DAY", "help": "the last day (default: the last published)"},
    "--json": {"action": "store_true", "help": "JSON on stdout instead of tables"},
    "--trust-files": {
        "action": "store_true",
        "help": "do not check published files against their manifests first",
    },
}
"""Options that several words have."""


class _Parser(Parser):
    config_default = settings.DEFAULT_PATH
    data_default = settings.DEFAULT_DATA


def parser() -> argparse.ArgumentParser:
    """The parser of the whole command."""
    top = _Parser(prog="ullage-report", description="Statements of cost and use from published days.")
    top.add_argument("--version", action="version", version=f"ullage {ullage_contract.__version__}")
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for kind in PeriodKind:
        _statement(commands.add_parser(kind.value, help=f"a {kind.value} statement"), kind)
    command = commands.add_parser(
        "schedule", help="what is due by [schedule] of the settings: what comes next, or made and mailed now"
    )
    command.add_argument(
        "--once", action="store_true", help="make what is due and not made yet, then exit: for a timer"
    )
    command = commands.add_parser(
        "explain",
        help="one line of the ledger, or a shared charge: formula, rates, weights, versions and rows",
    )
    command.add_argument(
        "line",
        metavar="LINE-ID",
        help="as segments.parquet, FOCUS (x_LineId) and the API have it, or shared/PERIOD/DEPARTMENT",
    )
    _shared(command, "--zone", help="of a shared charge: whose midnights cut its period")
    _shared(command, "--currency", help="of a shared charge: ISO 4217 (default: the only one)")
    _shared(command, "--json", "--trust-files")
    command = commands.add_parser(
        "budget", help="what is spent of each budget, and where its month or quarter is going"
    )
    command.add_argument("file", type=Path, metavar="FILE", help="[[budget]] tables: docs/budgets.md")
    command.add_argument(
        "--at",
        type=day,
        metavar="DAY",
        help="in whose month or quarter (default: the last day published whole)",
    )
    _shared(command, "--zone", "--json", "--trust-files")
    command = commands.add_parser(
        "tides",
        help="which cards a scenario holds and does not need by hour and weekday, and who could use them",
    )
    command.add_argument("--weeks", type=int, metavar="N", help="how many weeks (default 4)")
    command.add_argument(
        "--rules", type=Path, metavar="FILE", help="windows and reserves (default: those shipped)"
    )
    _shared(command, "--zone", help="whose hours and weekdays (default UTC)")
    _shared(command, "--until", "--currency", "--json", "--trust-files")
    command = commands.add_parser(
        "anomalies", help="unusual days of departments, scenarios and models, and what moved on them"
    )
    command.add_argument("--days", type=int, metavar="N", help="how many days are judged (default 28)")
    command.add_argument(
        "--rules",
        type=Path,
        metavar="FILE",
        help="what is unusual, and special days (default: those shipped)",
    )
    _shared(command, "--until", "--zone", "--currency", "--json", "--trust-files")
    command = commands.add_parser(
        "alerts", help="budgets and anomalies somebody has to be told of; told once each with --send"
    )
    command.add_argument(
        "--send", action="store_true", help="tell whom [alerts] names what they were not told"
    )
    _shared(command, "--json", "--trust-files")
    command = commands.add_parser(
        "economics", help="what work cost: by job, used hour, what cards computed, tokens and requests"
    )
    span = command.add_mutually_exclusive_group(required=True)
    for kind in (PeriodKind.WEEKLY, PeriodKind.MONTHLY):
        metavar, meaning = _PERIOD[kind]
        span.add_argument(edition.OPTION[kind], metavar=metavar, help=meaning)
    _shared(command, "--zone", "--currency", "--json", "--trust-files")
    command = commands.add_parser("diff", help="what is other in one statement than in another")
    command.add_argument("before", type=Path, metavar="A", help="a statement that --format json wrote")
    command.add_argument("after", type=Path, metavar="B", help="the other one")
    _shared(command, "--json")
    _settle(
        commands.add_parser(
            "settle",
            help="price a small world given in one file",
            description="Price a world given in one file, with no store behind it: docs/settle.md.",
        )
    )
    return top


def _statement(command: argparse.ArgumentParser, kind: PeriodKind) -> None:
    metavar, meaning = _PERIOD[kind]
    command.add_argument(edition.OPTION[kind], dest="period", metavar=metavar, required=True, help=meaning)
    command.add_argument(
        "--out", type=_folder, metavar="DIR", help="where to write (default DATA/reports); - is stdout"
    )
    command.add_argument(
        "--format",
        type=_given,
        metavar="LIST",
        help="html,pdf,csv,xlsx,parquet,json; monthly also focus (default html)",
    )
    command.add_argument("--lang", type=_given, metavar="LANG", help="zh or en (default zh)")
    if kind is PeriodKind.MONTHLY:
        command.add_argument(
            "--grain",
            choices=("day", "hour"),
            default="day",
            help="how long a charge of FOCUS may be: a local day (default), or a line of the ledger",
        )
    command.add_argument(
        "--tree",
        choices=("then", "now"),
        default="then",
        help="departments by the organisation valid at each hour, or by today's (default then)",
    )
    _shared(command, "--zone", help="whose midnights cut the period (default UTC)")
    _shared(command, "--currency", "--trust-files")
    command.add_argument(
        "--mail", action="store_true", help="also send it to those whom [mail] of the settings names"
    )


def _settle(command: argparse.ArgumentParser) -> None:
    command.add_argument("file", type=Path, metavar="FILE", help="the world as JSON; - is stdin")
    command.add_argument(
        "--by",
        choices=("month", "day"),
        help="periods (default: a day if the window lies in one, else months)",
    )
    command.add_argument(
        "--policy",
        action="append",
        default=[],
        metavar="NAME=WORD",
        help="instead of what the file says, e.g. unallocated_idle=even; may be given again",
    )
    _shared(command, "--json")


def _shared(command: argparse.ArgumentParser, *options: str, help: str | None = None) -> None:
    """Options of _SHARED, with their own words or those given here."""
    for option in options:
        said = {"help": help} if help else {}
        command.add_argument(option, **{**_SHARED[option], **said})
