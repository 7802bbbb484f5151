"""``ullage-report``: statements from published days, and of a world in a file. Renderers and DuckDB are imported when they are needed.

Exit codes: 0 good, 1 failed, 2 usage or configuration, 3 partial (days, prices or use are missing, or the
sum check failed; then nothing is written). Files written are listed on stdout, one a line; ``--out -`` with
``--format json`` puts the JSON there instead. Everything else goes to stderr.
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import ullage_contract
from ullage_contract.clock import Clock, SystemClock, utc
from ullage_contract.command import FAILED, GOOD, PARTIAL, Parser, day, exit_code
from ullage_contract.errors import UllageError
from ullage_reports import config as settings
from ullage_reports import edition
from ullage_reports.period import PeriodKind

SETTLE: Final = "Price a world given in one file, with no store behind it: docs/settle.md."
_PERIOD: Final = {
    PeriodKind.DAILY: ("D", "the local day, e.g. 2026-11-20, or last"),
    PeriodKind.WEEKLY: ("W", "the ISO week, e.g. 2026-W47, or last"),
    PeriodKind.MONTHLY: ("M", "the month, e.g. 2026-10, or last"),
    PeriodKind.QUARTERLY: ("Q", "the quarter, e.g. 2026-Q4, or last"),
    PeriodKind.YEARLY: ("Y", "the year, e.g. 2026, or last"),
}


def main(argv: Sequence[str] | None = None, *, clock: Clock | None = None) -> int:
    """The command; its exit code."""
    args = _parser().parse_args(argv)
    for name, default in (("config", None), ("data", settings.DEFAULT_DATA), ("log_level", None)):
        vars(args).setdefault(name, default)  # not set_defaults: it would reach into the shared options
    try:
        chosen = settings.load(args.config)
        _log_to_stderr(args.log_level or chosen.log_level)
        return _run(args, chosen, clock or SystemClock())
    except UllageError as e:
        print(f"ullage-report: {e}", file=sys.stderr)
        return exit_code(e)
    except OSError as e:
        print(f"ullage-report: {e}", file=sys.stderr)
        return FAILED
    except ModuleNotFoundError as e:
        if e.name not in ("duckdb", "pyarrow", "jinja2", "typst", "xlsxwriter"):
            raise
        print(f"ullage-report: {e.name} is not installed; pip install 'ullage[reports]'", file=sys.stderr)
        return FAILED
    except KeyboardInterrupt:
        return FAILED


def _run(args: argparse.Namespace, chosen: settings.Settings, clock: Clock) -> int:
    """The word that was given, with its module loaded alone; its exit code."""
    if args.command == "settle":
        from ullage_reports.settle.command import run

        priced = run(args.file, as_json=args.json, by=args.by, policies=args.policy)
        return GOOD if priced else PARTIAL
    if args.command == "budget":
        from ullage_reports import budget_command, cost_policy

        zone = args.zone or chosen.zone
        good = budget_command.run(
            edition.published_below(args.data),
            args.file,
            clock=clock,
            at=args.at,
            zone=zone,
            as_json=args.json,
            verify=not args.trust_files,
            policies=cost_policy.load(args.config, zone),
            fiscal_start=chosen.fiscal_start_month,
        )
        return GOOD if good else PARTIAL
    if args.command == "tides":
        from ullage_reports import tides_command

        tides_command.run(
            edition.published_below(args.data),
            until=args.until,
            weeks=args.weeks,
            rules=args.rules,
            zone=args.zone or chosen.zone,
            currency=args.currency or chosen.currency,
            as_json=args.json,
            verify=not args.trust_files,
        )
        return GOOD
    if args.command == "alerts":
        from ullage_reports import alerting

        published = edition.published_below(args.data)
        verify = not args.trust_files
        if args.send:
            return alerting.once(published, args.config, chosen, args.data, clock, anew=True, verify=verify)
        alerting.show(published, args.config, chosen, as_json=args.json, verify=verify)
        return GOOD
    if args.command == "anomalies":
        from ullage_reports import anomaly_command

        anomaly_command.run(
            edition.published_below(args.data),
            until=args.until,
            days=args.days,
            rules=args.rules or settings.watch(args.config).anomalies,
            zone=args.zone or chosen.zone,
            currency=args.currency or chosen.currency,
            as_json=args.json,
            verify=not args.trust_files,
        )
        return GOOD
    if args.command == "economics":
        from ullage_reports import economics_command

        kind = PeriodKind.WEEKLY if args.week else PeriodKind.MONTHLY
        good = economics_command.run(
            edition.published_below(args.data),
            edition.period_of(kind, args.week or args.month, args.zone or chosen.zone, utc(clock.wall())),
            currency=args.currency or chosen.currency,
            config=args.config,
            as_json=args.json,
            verify=not args.trust_files,
        )
        return GOOD if good else PARTIAL
    if args.command == "schedule":
        return _schedule(args, chosen, clock)
    if args.command == "diff":
        from ullage_reports import diff

        return GOOD if diff.run(args.before, args.after, as_json=args.json) else PARTIAL
    if args.command == "explain":
        _explain(args, chosen)
        return GOOD
    return _report(args, chosen, clock)


def _explain(args: argparse.Namespace, chosen: settings.Settings) -> None:
    from ullage_reports import cost_policy, explain, explain_energy, explain_shared

    published, verify = edition.published_below(args.data), not args.trust_files
    if not args.line.startswith(explain_shared.PREFIX):
        tell = explain_energy.run if explain_energy.is_energy(args.line) else explain.run
        tell(published, args.line, as_json=args.json, verify=verify)
        return
    zone = args.zone or chosen.zone
    explain_shared.run(
        published,
        args.line,
        cost_policy.load(args.config, zone),
        zone=zone,
        currency=args.currency or chosen.currency,
        as_json=args.json,
        verify=verify,
    )


def _report(args: argparse.Namespace, chosen: settings.Settings, clock: Clock) -> int:
    asked = edition.Edition(
        kind=PeriodKind(args.command),
        label=args.period,
        data=args.data,
        settings=chosen,
        config=args.config,
        zone=args.zone,
        lang=args.lang,
        formats=tuple(args.format.split(",")) if args.format else None,
        currency=args.currency,
        out=args.out,
        tree_now=args.tree == "now",
        trust_files=args.trust_files,
        mail=args.mail,
        grain=getattr(args, "grain", "day"),
    )
    return edition.make(asked, clock).code


def _schedule(args: argparse.Namespace, chosen: settings.Settings, clock: Clock) -> int:
    from ullage_reports import timetable

    asked = edition.Edition(
        kind=PeriodKind.DAILY, label="last", data=args.data, settings=chosen, config=args.config
    )
    return timetable.once(asked, clock) if args.once else timetable.show(asked, clock)


class _Parser(Parser):
    config_default = settings.DEFAULT_PATH
    data_default = settings.DEFAULT_DATA


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="ullage-report", description="Statements of cost and use from published days.")
    parser.add_argument("--version", action="version", version=f"ullage {ullage_contract.__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for kind in PeriodKind:
        metavar, meaning = _PERIOD[kind]
        command = commands.add_parser(kind.value, help=f"a {kind.value} statement")
        command.add_argument(
            edition.OPTION[kind], dest="period", metavar=metavar, required=True, help=meaning
        )
        command.add_argument(
            "--out", type=Path, metavar="DIR", help="where to write (default DATA/reports); - is stdout"
        )
        command.add_argument(
            "--format",
            metavar="LIST",
            help="html,pdf,csv,xlsx,parquet,json; monthly also focus (default html)",
        )
        command.add_argument("--lang", metavar="LANG", help="zh or en (default zh)")
        if kind is PeriodKind.MONTHLY:
            command.add_argument(
                "--grain",
                choices=("day", "hour"),
                default="day",
                help="how long a charge of FOCUS may be: a local day (default), or a line of the ledger",
            )
        command.add_argument("--zone", metavar="IANA", help="whose midnights cut the period (default UTC)")
        command.add_argument("--currency", metavar="CODE", help="ISO 4217 (default: the only one there is)")
        command.add_argument(
            "--tree",
            choices=("then", "now"),
            default="then",
            help="departments by the organisation valid at each hour, or by today's (default then)",
        )
        command.add_argument(
            "--trust-files",
            action="store_true",
            help="do not check published files against their manifests first",
        )
        command.add_argument(
            "--mail", action="store_true", help="also send it to those whom [mail] of the settings names"
        )
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
    command.add_argument("--zone", metavar="IANA", help="of a shared charge: whose midnights cut its period")
    command.add_argument(
        "--currency", metavar="CODE", help="of a shared charge: ISO 4217 (default: the only one)"
    )
    command.add_argument("--json", action="store_true", help="JSON on stdout instead of a table")
    command.add_argument(
        "--trust-files",
        action="store_true",
        help="do not check published files against their manifests first",
    )
    command = commands.add_parser(
        "budget", help="what is spent of each budget, and where its month or quarter is going"
    )
    command.add_argument("file", type=Path, metavar="FILE", help="[[budget]] tables: docs/budgets.md")
    command.add_argument(
        "--at", type=day, metavar="DAY", help="in whose month or quarter (default: the last published day)"
    )
    command.add_argument("--zone", metavar="IANA", help="whose midnights cut the days (default UTC)")
    command.add_argument("--json", action="store_true", help="JSON on stdout instead of sentences")
    command.add_argument(
        "--trust-files",
        action="store_true",
        help="do not check published files against their manifests first",
    )
    command = commands.add_parser(
        "tides",
        help="which cards a scenario holds and does not need by hour and weekday, and who could use them",
    )
    command.add_argument(
        "--until", type=day, metavar="DAY", help="the last day (default: the last published)"
    )
    command.add_argument("--weeks", type=int, metavar="N", help="how many weeks (default 4)")
    command.add_argument(
        "--rules", type=Path, metavar="FILE", help="windows and reserves (default: those shipped)"
    )
    command.add_argument("--zone", metavar="IANA", help="whose hours and weekdays (default UTC)")
    command.add_argument("--currency", metavar="CODE", help="ISO 4217 (default: the only one there is)")
    command.add_argument("--json", action="store_true", help="JSON on stdout instead of tables")
    command.add_argument(
        "--trust-files",
        action="store_true",
        help="do not check published files against their manifests first",
    )
    command = commands.add_parser(
        "anomalies", help="unusual days of departments, scenarios and models, and what moved on them"
    )
    command.add_argument(
        "--until", type=day, metavar="DAY", help="the last day judged (default: the last published)"
    )
    command.add_argument("--days", type=int, metavar="N", help="how many days are judged (default 28)")
    command.add_argument(
        "--rules",
        type=Path,
        metavar="FILE",
        help="what is unusual, and special days (default: those shipped)",
    )
    command.add_argument("--zone", metavar="IANA", help="whose midnights cut the days (default UTC)")
    command.add_argument("--currency", metavar="CODE", help="ISO 4217 (default: the only one there is)")
    command.add_argument("--json", action="store_true", help="JSON on stdout instead of sentences")
    command.add_argument(
        "--trust-files",
        action="store_true",
        help="do not check published files against their manifests first",
    )
    command = commands.add_parser(
        "alerts", help="budgets and anomalies somebody has to be told of; told once each with --send"
    )
    command.add_argument(
        "--send", action="store_true", help="tell whom [alerts] names what they were not told"
    )
    command.add_argument("--json", action="store_true", help="JSON on stdout instead of sentences")
    command.add_argument(
        "--trust-files",
        action="store_true",
        help="do not check published files against their manifests first",
    )
    command = commands.add_parser(
        "economics", help="what work cost: by job, used hour, what cards computed, tokens and requests"
    )
    span = command.add_mutually_exclusive_group(required=True)
    for kind in (PeriodKind.WEEKLY, PeriodKind.MONTHLY):
        metavar, meaning = _PERIOD[kind]
        span.add_argument(edition.OPTION[kind], metavar=metavar, help=meaning)
    command.add_argument("--zone", metavar="IANA", help="whose midnights cut the period (default UTC)")
    command.add_argument("--currency", metavar="CODE", help="ISO 4217 (default: the only one there is)")
    command.add_argument("--json", action="store_true", help="JSON on stdout instead of tables")
    command.add_argument(
        "--trust-files",
        action="store_true",
        help="do not check published files against their manifests first",
    )
    command = commands.add_parser("diff", help="what is other in one statement than in another")
    command.add_argument("before", type=Path, metavar="A", help="a statement that --format json wrote")
    command.add_argument("after", type=Path, metavar="B", help="the other one")
    command.add_argument("--json", action="store_true", help="JSON on stdout instead of a table")
    command = commands.add_parser("settle", help="price a small world given in one file", description=SETTLE)
    command.add_argument("file", type=Path, metavar="FILE", help="the world as JSON; - is stdin")
    command.add_argument("--json", action="store_true", help="JSON on stdout instead of a table")
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
    return parser


def _log_to_stderr(level: str) -> None:
    logging.basicConfig(
        level=level.upper(),
        stream=sys.stderr,
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
        force=True,
    )


if __name__ == "__main__":
    sys.exit(main())
