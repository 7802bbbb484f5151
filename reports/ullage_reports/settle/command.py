"""``ullage-report settle``: a file in, its statement on stdout, as a table for people or as JSON.

Exit codes are the report's: 3 where something has no price.
"""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

from ullage_contract.errors import ConfigError
from ullage_contract.plain import plain
from ullage_reports.settle.fields import utc
from ullage_reports.settle.lines import Line, exact_text, half_up
from ullage_reports.settle.reader import MAX_BYTES, read_world
from ullage_reports.settle.spans import By
from ullage_reports.settle.statement import Statement, settle
from ullage_reports.settle.world import World

_log = logging.getLogger(__name__)
SCHEMA_VERSION: Final = 1
"""Of the JSON form."""


def run(path: Path, *, as_json: bool, by: str | None, policies: Sequence[str]) -> bool:
    """Print the statement of a file; ``-`` is stdin. policies: ``name=word`` instead of the file's. False: unpriced.

    Raises ConfigError for a file that is not what it should be.
    """
    world = read_world(_read(path), str(path))
    for policy in policies:
        name, _, word = policy.partition("=")
        world = world.with_policy(name, word)
    for place in world.ignored:
        _log.warning("%s: %s is not known and was not read", path, place)
    statements = settle(world, By(by) if by else None)
    if as_json:
        sys.stdout.write(json.dumps(to_json(world, statements), ensure_ascii=False, indent=1) + "\n")
    else:
        sys.stdout.write("\n".join(_page(world, statement) for statement in statements))
    for (period, what), quantity in statements[-1].unpriced.items():
        _log.warning(
            "%s: no price for %s in %s: %s in no line", path, plain(what), period, exact_text(quantity)
        )
    return not statements[-1].unpriced


def to_json(world: World, statements: Sequence[Statement]) -> dict[str, Any]:
    """The newest statement's lines and totals; all of them under ``statements`` where several were asked for."""
    newest = statements[-1]
    found: dict[str, Any] = {
        "schema_version": SCHEMA_VERSION,
        "currency": world.currency,
        "report_timezone": world.zone,
        "by": str(newest.by),
        **_body(world, newest),
        "recommendations": [
            {
                "kind": saving.kind,
                "department": saving.department,
                "job": saving.job,
                "from": utc(saving.from_us).isoformat().replace("+00:00", "Z"),
                "saving": _money(Decimal(half_up(saving.cost, world.digits)).scaleb(-world.digits), world),
                "quantity": exact_text(saving.quantity),
                "unit": "card_hours",
            }
            for saving in newest.savings
        ],
        "estimated_kwh": exact_text(newest.estimated_kwh),
        "ignored": list(world.ignored),
    }
    if len(statements) > 1:
        found["statements"] = [
            {"as_of": _instant(statement.as_of), **_body(world, statement)} for statement in statements
        ]
    return found


def _body(world: World, statement: Statement) -> dict[str, Any]:
    return {
        "lines": [_line(world, line) for line in statement.lines],
        "totals": {period: _money(cost, world) for period, cost in statement.totals.items()},
        "unpriced": [
            {"period": period, "model": what, "quantity": exact_text(quantity)}
            for (period, what), quantity in statement.unpriced.items()
        ],
    }


def _line(world: World, line: Line) -> dict[str, Any]:
    found: dict[str, Any] = {
        "period": line.period,
        "department": line.department,
        "cost_class": line.cost_class,
        "cost": _money(line.cost, world),
        "quantity": exact_text(line.quantity),
        "unit": line.unit,
    }
    for key, value in (("project", line.project), ("corrects", line.corrects)):
        if value is not None:
            found[key] = value
    return found


def _page(world: World, statement: Statement) -> str:
    """Columns of plain text; totals under each period."""
    head = ("period", "department", "class", "quantity", "unit", f"cost ({world.currency})")
    rows = [head]
    for period, total in statement.totals.items():
        for line in statement.lines:
            if line.period == period:
                name = plain(line.department) + (f" / {plain(line.project)}" if line.project else "")
                kind = line.cost_class + (f" of {line.corrects}" if line.corrects else "")
                rows.append(
                    (period, name, kind, exact_text(line.quantity), line.unit, _money(line.cost, world))
                )
        rows.append((period, "total", "", "", "", _money(total, world)))
    widths = [max(len(row[n]) for row in rows) for n in range(len(head))]
    right = (3, 5)
    text = [
        "  ".join(
            cell.rjust(width) if n in right else cell.ljust(width)
            for n, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
    if statement.as_of is not None:
        text.insert(0, f"as of {_instant(statement.as_of)}")
    for saving in statement.savings:
        cost = _money(Decimal(half_up(saving.cost, world.digits)).scaleb(-world.digits), world)
        if saving.cost:
            text.append(f"{saving.kind}: {plain(saving.job or saving.department)} could have saved {cost}")
    return "\n".join(text) + "\n"


def _money(value: Decimal, world: World) -> str:
    return f"{value:.{world.digits}f}"


def _instant(microseconds: int | None) -> str | None:
    return None if microseconds is None else utc(microseconds).isoformat().replace("+00:00", "Z")


def _read(path: Path) -> str:
    try:
        data = sys.stdin.buffer.read(MAX_BYTES + 1) if str(path) == "-" else _bounded(path)
    except OSError as e:
        raise ConfigError(f"{path}: cannot be read: {e.strerror or e}") from e
    if len(data) > MAX_BYTES:
        raise ConfigError(
            f"{path}: is larger than {MAX_BYTES >> 20} MiB; a world this large belongs in a store"
        )
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as e:
        raise ConfigError(f"{path}: is not UTF-8: {e}") from e


def _bounded(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(MAX_BYTES + 1)
