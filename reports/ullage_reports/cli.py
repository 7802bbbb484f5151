"""``ullage-report``: statements from published days, and of a world in a file. Renderers and DuckDB are imported when they are needed.

Exit codes: 0 good, 1 failed, 2 usage or configuration, 3 partial (days, prices or use are missing, or the
sum check failed; then nothing is written). Files written are listed on stdout, one a line; ``--out -`` with
``--format json`` puts the JSON there instead. Everything else goes to stderr.
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from ullage_contract.clock import Clock, SystemClock, utc
from ullage_contract.command import FAILED, GOOD, PARTIAL, exit_code
from ullage_contract.errors import UllageError
from ullage_reports import arguments, edition
from ullage_reports import config as settings
from ullage_reports.period import PeriodKind


def main(argv: Sequence[str] | None = None, *, clock: Clock | None = None) -> int:
    """The command; its exit code."""
    args = arguments.parser().parse_args(argv)
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
    return _WORDS.get(args.command, _report)(args, chosen, clock)


def _settle(args: argparse.Namespace, chosen: settings.Settings, clock: Clock) -> int:
    from ullage_reports.settle.command import run

    priced = run(args.file, as_json=args.json, by=args.by, policies=args.policy)
    return GOOD if priced else PARTIAL


def _budget(args: argparse.Namespace, chosen: settings.Settings, clock: Clock) -> int:
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


def _tides(args: argparse.Namespace, chosen: settings.Settings, clock: Clock) -> int:
    from ullage_reports import tides_command

    good = tides_command.run(
        edition.published_below(args.data),
        until=args.until,
        weeks=args.weeks,
        rules=args.rules,
        zone=args.zone or chosen.zone,
        currency=args.currency or chosen.currency,
        as_json=args.json,
        verify=not args.trust_files,
    )
    return GOOD if good else PARTIAL


def _alerts(args: argparse.Namespace, chosen: settings.Settings, clock: Clock) -> int:
    from ullage_reports import alerting

    published = edition.published_below(args.data)
    verify = not args.trust_files
    if args.send:
        return alerting.once(published, args.config, chosen, args.data, clock, anew=True, verify=verify)
    alerting.show(published, args.config, chosen, as_json=args.json, verify=verify)
    return GOOD


def _anomalies(args: argparse.Namespace, chosen: settings.Settings, clock: Clock) -> int:
    from ullage_reports import anomaly_command

    good = anomaly_command.run(
        edition.published_below(args.data),
        until=args.until,
        days=args.days,
        rules=args.rules or settings.watch(args.config).anomalies,
        zone=args.zone or chosen.zone,
        currency=args.currency or chosen.currency,
        as_json=args.json,
        verify=not args.trust_files,
    )
    return GOOD if good else PARTIAL


def _economics(args: argparse.Namespace, chosen: settings.Settings, clock: Clock) -> int:
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


def _diff(args: argparse.Namespace, chosen: settings.Settings, clock: Clock) -> int:
    from ullage_reports import diff

    return GOOD if diff.run(args.before, args.after, as_json=args.json) else PARTIAL


def _explain(args: argparse.Namespace, chosen: settings.Settings, clock: Clock) -> int:
    from ullage_reports import cost_policy, explain, explain_energy, explain_shared

    published, verify = edition.published_below(args.data), not args.trust_files
    if not args.line.startswith(explain_shared.PREFIX):
        tell = explain_energy.run if explain_energy.is_energy(args.line) else explain.run
        tell(published, args.line, as_json=args.json, verify=verify)
        return GOOD
    zone = args.zone or chosen.zone
    explain_shared.run(
        published,
        args.line,
        cost_policy.load(args.config, zone),
        zone=zone,
        currency=args.currency or chosen.currency,
        as_json=args.json,
        verify=verify,
        fiscal_start=chosen.fiscal_start_month,
    )
    return GOOD


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


_WORDS: Final[Mapping[str, Callable[[argparse.Namespace, settings.Settings, Clock], int]]] = {
    "alerts": _alerts,
    "anomalies": _anomalies,
    "budget": _budget,
    "diff": _diff,
    "economics": _economics,
    "explain": _explain,
    "schedule": _schedule,
    "settle": _settle,
    "tides": _tides,
}
"""Words that are no statement of a period."""


def _log_to_stderr(level: str) -> None:
    logging.basicConfig(
        level=level.upper(),
        stream=sys.stderr,
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
        force=True,
    )


if __name__ == "__main__":
    sys.exit(main())
