"""Recommendations of a period, from the collector's ledger: what is proposed a month, and what became of what was.

A row is as it stood at the period's end, whatever was decided later; what it saved is shown as soon as it is measured. Money in
another currency than the report's is in no sum. Not here: what is proposed and what counts (the collector's recommendations).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any, Final

from ullage_collector import ledger
from ullage_collector.ledger import PLATFORM, UNMAPPED
from ullage_reports.reading import Reading, aware, us

ACTIVE: Final = ("open", "accepted")
"""States in which something is still to be done."""


@dataclass(frozen=True, slots=True)
class ProposalRow:
    """One recommendation. state: at the period's end. department: printed name; owner: the department's, None: nobody named.

    saving: what it saves a month and no other row does; alone: without the others; None: not known. Rows of a table add up.
    saved: measured over saved_days after it was done, against as many before; None: not measured. changed: when its state last
    changed before the period's end. evidence: ``finding 12``, ``incident 3``.
    """

    recommendation_id: str
    kind: str
    family: str
    subject: str
    state: str
    department_id: str | None
    department: str | None
    owner: str | None
    risk: str
    effort: str
    confidence: Decimal
    opened: datetime
    due: date
    changed: datetime
    saving: Decimal | None
    alone: Decimal | None
    formula: str
    saved: Decimal | None
    saved_days: int | None
    accepted_by: str | None
    reason: str | None
    evidence: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Proposals:
    """standing: open or accepted at the period's end, the dearest first. saving: a month, of all of them together; unknown: how many of
    them nobody knows the saving of. settled: done, measured, rejected or lapsed within the period. saved: of those measured."""

    standing: tuple[ProposalRow, ...]
    saving: Decimal
    unknown: int
    settled: tuple[ProposalRow, ...]
    saved: Decimal


def proposals(reading: Reading) -> Proposals | None:
    """None where the ledger has no row of the period: an older Ullage, or nothing was ever proposed."""
    names = [row[0] for row in reading.facts.connection.execute("DESCRIBE recommendation").fetchall()]
    start, end = reading.period.start, reading.period.end
    standing: list[tuple[Mapping[str, Any], str, datetime]] = []
    settled: list[tuple[Mapping[str, Any], str, datetime]] = []
    for values in reading.rows("recommendations", {"to_us": us(end)}):
        row = dict(zip(names, values, strict=True))
        state, changed = _then(row, end)
        if state in ACTIVE:
            standing.append((row, state, changed))
        elif changed >= start or (row["measured_at"] and start <= aware(row["measured_at"]) < end):
            settled.append((row, state, changed))
    if not standing and not settled:
        return None
    exact = {
        str(row["recommendation_id"]): int(row["counted_atoms"])
        for row, _, _ in standing
        if row["counted_atoms"] is not None and row["currency"] == reading.currency
    }
    unit = ledger.minor_atoms(reading.currency)
    digits = ledger.minor_units(reading.currency)
    whole = ledger.half_up(sum(exact.values()), unit)
    shares = {
        key: ledger.minor_decimal(minor, digits)
        for key, minor in ledger.apportion(whole, exact, unit).items()
    }
    rows = [_row(reading, row, state, changed, shares) for row, state, changed in standing]
    over = [_row(reading, row, state, changed, {}) for row, state, changed in settled]
    return Proposals(
        standing=tuple(
            sorted(rows, key=lambda r: (r.saving is None, -(r.saving or 0), r.due, int(r.recommendation_id)))
        ),
        saving=ledger.minor_decimal(whole, digits),
        unknown=sum(row.saving is None for row in rows),
        settled=tuple(
            sorted(
                over, key=lambda r: (r.saved is None, -(r.saved or 0), r.changed, int(r.recommendation_id))
            )
        ),
        saved=sum((row.saved for row in over if row.saved is not None), ledger.minor_decimal(0, digits)),
    )


def _then(row: Mapping[str, Any], end: datetime) -> tuple[str, datetime]:
    """Its state at ``end``, and since when."""
    for name in ("ended_at", "done_at", "accepted_at"):
        at = None if row[name] is None else aware(row[name])
        if at is None or at >= end:
            continue
        if name == "ended_at":
            return str(row["state"]), at
        if name == "done_at":
            return ("saved" if row["saved_atoms"] is not None else "done"), at
        return "accepted", at
    return "open", aware(row["opened_at"])


def _row(
    reading: Reading, row: Mapping[str, Any], state: str, changed: datetime, shares: Mapping[str, Decimal]
) -> ProposalRow:
    number = str(row["recommendation_id"])
    department = row["department_id"]
    ours = row["currency"] == reading.currency

    def money(name: str) -> Decimal | None:
        return reading.rounding.money(int(row[name])) if ours and row[name] is not None else None

    named = reading.figures.names.get(str(department))
    evidence = json.loads(row["evidence"] or "{}")
    return ProposalRow(
        recommendation_id=number,
        kind=row["kind"],
        family=row["family"],
        subject=row["subject"],
        state=state,
        department_id=department,
        department=None
        if department is None or department in (PLATFORM, UNMAPPED)
        else reading.name(str(department)),
        owner=named[3] if named else None,
        risk=row["risk"],
        effort=row["effort"],
        confidence=Decimal(str(round(float(row["confidence"]), 4))),
        opened=aware(row["opened_at"]),
        due=row["due"],
        changed=changed,
        saving=shares.get(number),
        alone=money("month_atoms"),
        formula=row["formula"],
        saved=money("saved_atoms"),
        saved_days=row["window_days"],
        accepted_by=row["accepted_by"],
        reason=row["reason"],
        evidence=tuple(
            f"{what} {one}"
            for what, key in (("finding", "findings"), ("incident", "incidents"))
            for one in evidence.get(key, ())
        ),
    )
