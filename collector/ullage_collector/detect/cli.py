"""``ullage-collector faults list|explain|test``: the fault catalogue of this collector, and rules over a recording.

The settings are read, the store is not: the command works where nothing serves. Exit codes: 0 good, 3 some lines of
the recording could not be read.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ullage_collector import text_table
from ullage_collector.config import Config
from ullage_collector.detect import fault_trial, fault_words
from ullage_collector.detect.fault_observation import Change
from ullage_collector.detect.fault_rule import FaultRule
from ullage_collector.detect.fault_settings import settings_of
from ullage_collector.isolate.verdict import Mode, Turn
from ullage_contract.errors import BadInput

SCHEMA_VERSION = 1


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """list, explain RULE, test FILE."""
    what = parser.add_subparsers(dest="what", required=True, metavar="list|explain|test")
    listed = what.add_parser("list", help="every rule with its mode, threshold, way out and source")
    listed.add_argument("--maker", help="only rules of this maker, and those of every maker")
    listed.add_argument("--mode", help="only rules in this mode")
    one = what.add_parser("explain", help="one rule in sentences")
    one.add_argument("rule", metavar="RULE", help="its name, as list shows it")
    trial = what.add_parser(
        "test", help="what the rules make of a recording, one JSON object a line; - for stdin"
    )
    trial.add_argument("file", metavar="FILE", help="the recording; - is stdin")
    trial.add_argument("--rule", action="append", default=[], help="only this rule; may be repeated")
    trial.add_argument("--node", default="recorded", help="the node of lines that name none")
    trial.add_argument(
        "--until",
        type=float,
        metavar="SECONDS",
        help="epoch seconds until which the nodes were heard after the last line",
    )
    for sub in (listed, one, trial):
        sub.add_argument("--json", action="store_true", help="JSON alone on stdout")


def run(args: argparse.Namespace, config: Config) -> int:
    """Print what was asked. Raises ConfigError for a wrong rule, BadInput for an unknown one or an unreadable file."""
    rules = settings_of(config.part("faults")).rules
    if args.what == "list":
        return _list(args, rules)
    if args.what == "explain":
        return _explain(args, rules)
    return _test(args, rules)


def as_json(rule: FaultRule) -> dict[str, Any]:
    """A rule for machines."""
    return {
        "rule": rule.name,
        "maker": rule.vendor,
        "rows": list(rule.rows),
        "says": rule.says,
        "signal": rule.signal.value,
        "evidence": fault_words.signal(rule),
        "condition": rule.condition.value if rule.signal != "none" else None,
        "threshold": fault_words.threshold(rule),
        "severity": rule.severity.value,
        "action": rule.action.value,
        "follow": rule.follow.value,
        "exit": fault_words.way_out(rule) if rule.signal != "none" else None,
        "mode": rule.mode.value,
        "confirmed": rule.confirmed,
        "money": rule.money,
        "independent": rule.independent or None,
        "yields_to": sorted(rule.yields_to),
        "why_no_signal": rule.why,
        "source": rule.source,
    }


def _list(args: argparse.Namespace, rules: Sequence[FaultRule]) -> int:
    makers = sorted({rule.vendor for rule in rules if rule.vendor is not None})
    for option, given, known in (("--maker", args.maker, makers), ("--mode", args.mode, list(Mode))):
        if given is not None and given not in known:
            raise BadInput(f"{option} {given[:40]!r} is none of {', '.join(known)}")
    shown = [
        rule
        for rule in rules
        if (args.maker is None or rule.vendor in (None, args.maker))
        and (args.mode is None or rule.mode == args.mode)
    ]
    if args.json:
        return _dump({"rules": [as_json(rule) for rule in shown]})
    rows = [["rule", "maker", "mode", "action", "evidence", "threshold", "ends by", "source"]]
    for rule in shown:
        none = rule.signal == "none"
        rows.append(
            [
                rule.name,
                rule.vendor or "any",
                "-" if none else rule.mode.value,
                "-" if none else rule.action.value,
                fault_words.signal(rule),
                fault_words.threshold(rule),
                "-" if none else fault_words.way_out(rule),
                rule.source,
            ]
        )
    for line in text_table.lines(rows):
        print(line)
    acting = sum(rule.mode != "shadow" and rule.signal != "none" for rule in shown)
    print(f"{len(shown)} rules, {acting} of them out of shadow")
    return 0


def _explain(args: argparse.Namespace, rules: Sequence[FaultRule]) -> int:
    found = next((rule for rule in rules if rule.name == args.rule), None)
    if found is None:
        import difflib

        near = difflib.get_close_matches(args.rule, [rule.name for rule in rules], n=3)
        raise BadInput(
            f"no rule {args.rule!r}; {'did you mean ' + ' or '.join(near) if near else 'see faults list'}"
        )
    sentences = list(fault_words.explain(found))
    if args.json:
        return _dump({**as_json(found), "sentences": sentences})
    for sentence in sentences:
        print(sentence)
    return 0


def _test(args: argparse.Namespace, rules: Sequence[FaultRule]) -> int:
    wanted = [rule for rule in rules if not args.rule or rule.name in args.rule]
    if args.rule and len(wanted) < len(set(args.rule)):
        raise BadInput(
            f"no rule {sorted(set(args.rule) - {rule.name for rule in wanted})[0]!r}; see faults list"
        )
    try:
        text = sys.stdin.read() if args.file == "-" else Path(args.file).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as e:
        why = e.strerror if isinstance(e, OSError) else "not UTF-8"
        raise BadInput(f"{args.file}: cannot be read: {why}") from e
    observations, problems = fault_trial.read(text.splitlines(), args.node)
    until = None if args.until is None else round(args.until * 1e6)
    changes = fault_trial.run(wanted, observations, until_us=until)
    for problem in problems:
        print(f"{args.file}:{problem.line}: {problem.why}", file=sys.stderr)
    if args.json:
        _dump(
            {
                "observations": len(observations),
                "problems": [{"line": problem.line, "why": problem.why} for problem in problems],
                "turns": [_turn(change) for change in changes],
            }
        )
    else:
        for line in _lines(changes):
            print(line)
        opened = sum(change.turn is Turn.OPENED for change in changes)
        print(f"{len(observations)} observations, {opened} incidents would open")
    return 3 if problems else 0


def _turn(change: Change) -> dict[str, Any]:
    return {
        "turn": None if change.turn is None else change.turn.value,
        "time": change.at_us / 1e6,
        "first_evidence": change.first_us / 1e6,
        "rule": change.rule.name,
        "family": change.family,
        "subject": change.subject,
        "cluster": change.cluster,
        "node": change.node,
        "severity": change.severity.value,
        "action": change.action.value,
        "follow": change.follow.value,
        "mode": change.mode.value,
        "fresh": change.fresh,
        "money": change.money,
        "reason": change.reason,
        "ended_by": change.ended_by,
        "evidence": dict(change.evidence),
    }


def _lines(changes: Iterable[Change]) -> list[str]:
    rows = [["time", "turn", "rule", "subject", "node", "action", "mode", "reason"]]
    for change in changes:
        at = datetime.fromtimestamp(change.at_us / 1e6, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        history = "" if change.fresh else " (history)"
        rows.append(
            [
                at,
                change.turn.value if change.turn else "",
                change.rule.name,
                change.subject,
                change.node,
                change.action.value,
                change.mode.value + history,
                change.reason,
            ]
        )
    return text_table.lines(rows) if len(rows) > 1 else []


def _dump(answer: dict[str, Any]) -> int:
    json.dump({"schema_version": SCHEMA_VERSION, **answer}, sys.stdout, ensure_ascii=False)
    sys.stdout.write("\n")
    return 0
