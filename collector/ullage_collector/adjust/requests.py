"""Credits and disputes: asked for by one person, decided by another, and carried by the first open period's statement.

Nothing is edited: what was asked for is a row of ``adjustment``, what was said to it a row of ``adjustment_decision``, and both are in the
audit. A dispute that is approved is a credit of what it disputes. Not here: corrections, which nobody decides
(corrections.py).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from ullage_collector import audit, ledger
from ullage_collector.adjust.corrections import first_open
from ullage_collector.publish.closed_periods import midnight
from ullage_collector.published import Published
from ullage_collector.sql import statements
from ullage_contract.errors import BadInput, LedgerError

if TYPE_CHECKING:
    import duckdb

    from ullage_collector.store.store import Store

MOST_AMOUNT: Final = Decimal(10) ** 12
"""our choice: because no fleet costs more, and its atoms still fit 38 digits."""
MOST_DAYS: Final = 400  # our choice: because a year is disputed at most, and every day of it is read
MOST_LISTED: Final = (
    10_000  # our choice: because a longer list is read by no person; readers take the published table
)
_LINE: Final = re.compile(r".+@(\d{1,17})[#~]\d{1,9}", re.DOTALL)
DECISIONS: Final = {"approve": "posted", "reject": "rejected", "withdraw": "withdrawn"}
LISTED: Final = (
    "adjustment_id",
    "kind",
    "status",
    "department_id",
    "business",
    "scenario",
    "vendor",
    "model",
    "pool",
    "cluster_id",
    "state",
    "cost_class",
    "zone",
    "period_from",
    "period_to",
    "carried_at",
    "known_at",
    "quantity",
    "currency",
    "cost_atoms",
    "reason",
    "requester",
    "recorded_by",
    "approver",
    "decided_at",
    "decision",
    "line_id",
)


@dataclass(frozen=True, slots=True)
class Disputed:
    """What a dispute is about. atoms: its cost, at least 0. line: the row of the ledger, None for a department's whole period."""

    department_id: str
    period_from: datetime
    period_to: datetime
    zone: str
    currency: str
    atoms: int
    line: dict[str, Any] | None = None


# ------------------------------------------------------------------------------- asking
def request_credit(
    store: Store,
    *,
    department: str,
    amount: str,
    currency: str,
    reason: str,
    requester: str,
    recorded_by: str,
) -> int:
    """Ask for a credit; its number. amount: in units of the currency, above 0. requester: who wants it; recorded_by: who enters it.

    Raises BadInput for a department nobody knows, an amount or currency that is none, or no reason.
    """
    atoms = atoms_of(amount, currency)
    with store.write() as connection:
        _known(connection, department)
        return _ask(
            store,
            connection,
            kind="credit",
            department=department,
            currency=currency,
            atoms=-atoms,
            reason=reason,
            requester=requester,
            recorded_by=recorded_by,
        )


def request_dispute(
    store: Store,
    disputed: Disputed,
    *,
    amount: str | None,
    reason: str,
    requester: str,
    recorded_by: str,
) -> int:
    """Contest a line or a department's period; its number. amount: less than all of it, in units of its currency; None: all of it.

    Raises BadInput for more than it costs, with what other disputes that stand contest of it, for what costs nothing, or no reason.
    """
    atoms = disputed.atoms if amount is None else atoms_of(amount, disputed.currency)
    if disputed.atoms <= 0:
        raise BadInput("it costs nothing, so there is nothing to give back")
    if atoms > disputed.atoms:
        raise BadInput(
            f"amount {amount}: it costs {ledger.rounded(disputed.atoms, disputed.currency)} {disputed.currency}; "
            "no more can be disputed"
        )
    with store.write() as connection:
        _not_contested(connection, disputed, atoms)
        return _ask(
            store,
            connection,
            kind="dispute",
            department=disputed.department_id,
            currency=disputed.currency,
            atoms=-atoms,
            reason=reason,
            requester=requester,
            recorded_by=recorded_by,
            about=disputed,
        )


def line_disputed(root: Path, line_id: str) -> Disputed:
    """The cost of one line of the ledger, of capacity or energy, as its statement has it. root: DIR/published.

    Raises BadInput for an id that is none, and a line that is not there or has no price.
    """
    found = _LINE.fullmatch(line_id)
    if found is None:
        raise BadInput(
            f"{line_id[:100]!r} is no line id; write CARD@MICROSECONDS#NUMBER (~NUMBER of energy) as the published day and "
            "ullage-report explain have it"
        )
    at = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=int(found[1]))
    with Published(root).open(at, at + timedelta(microseconds=1)) as facts:
        cursor = facts.connection.execute(statements("adjustments")["line"], {"line": line_id})
        names = [column[0] for column in cursor.description or ()]
        rows = [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
    if not rows:
        raise BadInput(
            f"{line_id}: no such line of {at.date()} is published; ullage-report explain names those near it"
        )
    line = rows[0]
    if line["currency"] is None:
        raise BadInput(f"{line_id}: has no price, so it costs nothing yet")
    return Disputed(
        department_id=str(line["department_id"]),
        period_from=_naive(int(line["from_us"])),
        period_to=_naive(int(line["to_us"])),
        zone="UTC",
        currency=str(line["currency"]),
        atoms=int(line["cost_atoms"]),
        line=line,
    )


def period_disputed(
    root: Path, department: str, first: date, end: date, zone: str, currency: str | None
) -> Disputed:
    """What a department's own lines, of capacity and energy, cost over the local days [first, end) of an IANA zone. root: DIR/published.

    Raises BadInput for a period that is empty or too long, has nothing published, or is priced in several currencies and none is named.
    """
    if end <= first:
        raise BadInput(f"--to {end} is not after --from {first}; --to is the first day no longer disputed")
    if (end - first).days > MOST_DAYS:
        raise BadInput(f"{first} to {end}: at most {MOST_DAYS} days are disputed at once")
    starts, ends = midnight(first, zone), midnight(end, zone)
    with Published(root).open(starts, ends) as facts:
        rows = facts.rows(statements("adjustments")["department_cost"], {"department": department})
    costs = {str(code): int(atoms) for code, atoms in rows}
    if not costs:
        raise BadInput(
            f"{department}: nothing with a price is published for it from {first} to {end} ({zone})"
        )
    if currency is None and len(costs) > 1:
        raise BadInput(
            f"{department}: costs {', '.join(sorted(costs))} in that time; choose one with --currency"
        )
    chosen = currency or next(iter(costs))
    if chosen not in costs:
        raise BadInput(
            f"{department}: costs nothing in {chosen[:10]} in that time; it costs {', '.join(costs)}"
        )
    return Disputed(
        department, starts.replace(tzinfo=None), ends.replace(tzinfo=None), zone, chosen, costs[chosen]
    )


def atoms_of(amount: str, currency: str) -> int:
    """An amount of money a person wrote, exactly. Raises BadInput unless above 0 and in whole minor units of the currency."""
    try:
        digits = ledger.minor_units(currency)
        value = Decimal(amount)
        if not value.is_finite() or not 0 < value < MOST_AMOUNT or value != round(value, digits):
            raise InvalidOperation
    except LedgerError as e:
        raise BadInput(str(e)) from e
    except InvalidOperation:
        raise BadInput(
            f"amount {amount[:40]!r} is no amount of {currency}; write units above 0 with the currency's decimals, e.g. 120.50"
        ) from None
    return int(value.scaleb(digits)) * ledger.minor_atoms(currency)


# ------------------------------------------------------------------------------- deciding
def decide(store: Store, number: int, word: str, *, reason: str, by: str) -> dict[str, Any]:
    """Approve, reject or withdraw what was asked for; ``{adjustment_id, status, posted_at}``.

    Neither who asked nor who entered it may approve or reject; only they may withdraw. Approved, it is carried by the first open
    period: the one it is about, where that is open still.
    Raises BadInput for a number that is none, one that is decided already, a correction, or the wrong person.
    """
    status = DECISIONS[word]
    if not reason.strip():
        raise BadInput("reason: say why; it stands on the statement's audit")
    now = store.clock.wall()
    with store.write() as connection:
        sql = statements("adjustments")
        rows = connection.execute(sql["one"], {"id": number}).fetchall()
        if not rows:
            raise BadInput(
                f"adjustment {number}: there is none; ullage-collector adjustments list shows them"
            )
        kind, requester, recorded_by, period_from, before, decided_by, department, asked = rows[0]
        if kind == "correction":
            raise BadInput(
                f"adjustment {number} is a correction: it is the difference to what stands, nobody decides it"
            )
        if before is not None:
            raise BadInput(
                f"adjustment {number} is {before} already, by {decided_by}; ask anew if it should be other"
            )
        concerned = {_alike(requester), _alike(recorded_by)}
        if status == "withdrawn":
            if _alike(by) not in concerned:
                raise BadInput(
                    f"adjustment {number}: only {requester} or {recorded_by} may withdraw it; reject it instead"
                )
        elif _alike(by) in concerned:
            raise BadInput(
                f"adjustment {number}: {by} asked for it or entered it; somebody else has to decide (--by NAME on this machine)"
            )
        posted_at = _carrier(connection, period_from, now) if status == "posted" else None
        connection.execute(
            sql["decide"],
            {
                "id": number,
                "status": status,
                "now": audit.naive_utc(now),
                "by": by,
                "reason": reason.strip(),
                "posted_at": posted_at,
            },
        )
        audit.write(
            connection,
            audit.AuditRow(
                at=now,
                actor=by,
                action=f"adjustment_{word}",
                subject=f"adjustment/{number}",
                reason=reason.strip(),
                result=status,
                evidence={
                    "kind": kind,
                    "department": department,
                    "requester": requester,
                    "asked": asked,
                    "posted_at": None if posted_at is None else posted_at.isoformat() + "Z",
                },
            ),
        )
    return {"adjustment_id": number, "status": status, "posted_at": posted_at}


def adjustments(
    connection: duckdb.DuckDBPyConnection,
    *,
    kind: str | None = None,
    status: str | None = None,
    department: str | None = None,
    sees: Callable[[str], bool] | None = None,
) -> list[dict[str, Any]]:
    """Corrections, credits and disputes, the newest MOST_LISTED first; exact numbers as text, ``cost`` in units, half up.

    sees: whose alone; None: everybody's. Others' rows take no place in the list.
    """
    sql = statements("adjustments")
    own = None
    if sees is not None:
        own = [name for (name,) in connection.execute(sql["departments"]).fetchall() if sees(name)]
    found = connection.execute(
        sql["all"],
        {"kind": kind, "status": status, "department": department, "own": own, "most": MOST_LISTED},
    )
    names = [column[0] for column in found.description or ()]
    listed = []
    for values in found.fetchall():
        row = dict(zip(names, values, strict=True))
        shown = {name: row[name] for name in LISTED}
        shown |= {name: str(int(row[name])) for name in ("quantity", "cost_atoms")}
        shown["cost"] = (
            None if row["currency"] is None else str(ledger.rounded(int(row["cost_atoms"]), row["currency"]))
        )
        listed.append(shown)
    return listed


# ------------------------------------------------------------------------------- parts
def _ask(
    store: Store,
    connection: duckdb.DuckDBPyConnection,
    *,
    kind: str,
    department: str,
    currency: str,
    atoms: int,
    reason: str,
    requester: str,
    recorded_by: str,
    about: Disputed | None = None,
) -> int:
    if not reason.strip():
        raise BadInput("reason: say why; it stands on the statement")
    if not requester.strip():
        raise BadInput("requester: say who asks for it; somebody else has to approve it")
    now = store.clock.wall()
    line = (about.line if about else None) or {}
    number = int(
        connection.execute(
            statements("adjustments")["put"],
            {
                "kind": kind,
                "department_id": department,
                "business": line.get("business"),
                "scenario": line.get("scenario"),
                "vendor": line.get("vendor"),
                "model": line.get("model"),
                "pool": line.get("pool"),
                "cluster_id": line.get("cluster_id"),
                "state": line.get("state"),
                "cost_class": line.get("cost_class", "capacity"),
                "zone": about.zone if about else None,
                "period_from": about.period_from if about else None,
                "period_to": about.period_to if about else None,
                "posted_at": None,
                "known_at": audit.naive_utc(now),
                "quantity": 0,
                "currency": currency,
                "cost_atoms": atoms,
                "reason": reason.strip(),
                "requester": requester.strip(),
                "recorded_by": recorded_by,
                "line_id": line.get("line_id"),
                "source_rows": line.get("source_rows"),
            },
        ).fetchall()[0][0]
    )
    audit.write(
        connection,
        audit.AuditRow(
            at=now,
            actor=recorded_by,
            action=f"{kind}_requested",
            subject=f"adjustment/{number}",
            reason=reason.strip(),
            result="requested",
            evidence={
                "department": department,
                "requester": requester.strip(),
                "currency": currency,
                "cost_atoms": str(atoms),
                "line": line.get("line_id"),
            },
        ),
    )
    return number


def _carrier(connection: duckdb.DuckDBPyConnection, period_from: datetime | None, now: float) -> datetime:
    """An instant of the first open period: from what it is about on, or, about nothing, after the last closed one."""
    if period_from is None:
        last = connection.execute(statements("corrections")["last_closed"]).fetchall()[0][0]
        if last is None:
            return audit.naive_utc(now)
        period_from = last
    return first_open(connection, period_from)


def _not_contested(connection: duckdb.DuckDBPyConnection, disputed: Disputed, atoms: int) -> None:
    """Raise BadInput where more than it costs would be contested: nothing is given back twice."""
    contested, numbers = connection.execute(
        statements("adjustments")["contested"],
        {
            "department": disputed.department_id,
            "currency": disputed.currency,
            "from": disputed.period_from,
            "to": disputed.period_to,
            "line": (disputed.line or {}).get("line_id"),
        },
    ).fetchall()[0]
    if int(contested) + atoms > disputed.atoms:
        costs, already = (ledger.rounded(n, disputed.currency) for n in (disputed.atoms, int(contested)))
        raise BadInput(
            f"it costs {costs} {disputed.currency}, and {already} of it or of its time is contested by adjustment "
            f"{', '.join(map(str, numbers[:5]))} already; write a smaller amount, or have that decided or withdrawn first"
        )


def _known(connection: duckdb.DuckDBPyConnection, department: str) -> None:
    if not connection.execute(statements("adjustments")["known"], {"department": department}).fetchall()[0][
        0
    ]:
        raise BadInput(
            f"department {department[:80]!r}: no line, rule or organisation names it; "
            "ullage-collector mapping check and GET /api/v1/departments list those there are"
        )


def _alike(name: str) -> str:
    """A person's name without what makes the same one look other."""
    return " ".join(name.split()).casefold()


def _naive(microseconds: int) -> datetime:
    return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=microseconds)).replace(tzinfo=None)
