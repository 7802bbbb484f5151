"""What a statement's figures stand on: sum checks, coverage, what has no price, no owner, no name, and the manifests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from decimal import Decimal

from ullage_collector import ledger
from ullage_collector.published import Manifest
from ullage_reports.model import TOP_NAMES, Amounts, DepartmentRow, GroupRow, ModelRow, TrendPoint
from ullage_reports.period import Period, PeriodKind
from ullage_reports.reading import DAY_US, Reading, day_us, instant
from ullage_reports.rounding import HOUR_UNIT, hours_decimal, ratio
from ullage_reports.trust_model import (
    AssumedPrice,
    ForeignRow,
    MethodLine,
    OriginRow,
    SourceDay,
    SumCheck,
    Trust,
    UnlistedCard,
    UnmappedRow,
    UnpricedRow,
)


def trust(
    reading: Reading,
    departments: tuple[DepartmentRow, ...],
    groups: Mapping[str, tuple[GroupRow, ...]],
    models: tuple[ModelRow, ...],
    trend: tuple[TrendPoint, ...],
    more: Sequence[SumCheck],
) -> Trust:
    """The trust page. The tables are those of the report, as printed: they are checked, not their sums. more: checks of what is made elsewhere."""
    tables: dict[str, list[Amounts]] = {
        "department": [row.amounts for row in departments if row.depth == 0],
        "department_own": [row.own for row in departments],
        **{name: [row.amounts for row in rows] for name, rows in groups.items()},
        "model": [row.amounts for row in models],
        "hour" if reading.period.kind is PeriodKind.DAILY else "day": [p.amounts for p in trend],
    }
    quantity, atoms = reading.whole.quantity, reading.whole.atoms
    cells_atoms = sum(c.atoms for c in reading.cells)
    cells_quantity = sum(c.quantity for c in reading.cells)
    exact = abs(cells_atoms - atoms) + abs(cells_quantity - quantity)
    checks = [_check(reading, level, rows, exact) for level, rows in tables.items()]
    states = sum((s.cost for s in reading.total.states), Decimal(0)) - reading.total.cost
    checks.insert(1, SumCheck("state", len(reading.total.states), reading.total.cost, states, exact))
    checks += more
    checks += _manifest_check(reading)
    dimensions = reading.facts.dimensions
    held = sum(c.quantity for c in reading.cells if c.state in ledger.HELD_STATES)
    known = sum(c.quantity for c in reading.cells if c.state in (ledger.USED, ledger.ALLOCATED_IDLE))
    origins = reading.rows("origins")
    origin_hours = (
        ledger.apportion(
            ledger.half_up(quantity, HOUR_UNIT), {str(o): int(q) for o, _, q in origins}, HOUR_UNIT
        )
        if origins
        else {}
    )
    return Trust(
        checks=tuple(checks),
        coverage_ratio=ratio(known, held),
        attributed_ratio=reading.figures.trust_ratio,
        unpriced_hours=reading.total.unpriced_hours,
        unpriced=tuple(
            UnpricedRow(str(m), p, int(n), hours_decimal(int(q)), instant(int(a)), instant(int(b)))
            for m, p, n, q, a, b in reading.rows("unpriced")
        ),
        foreign=tuple(
            ForeignRow(str(c), hours_decimal(int(q)), _foreign_money(str(c), int(a)))
            for c, q, a in reading.rows("foreign_currencies", {"currency": reading.currency, **reading.span})
        ),
        unmapped=tuple(
            UnmappedRow(
                str(k), str(n), int(w), hours_decimal(int(q)), reading.rounding.money(int(a)), bool(priced)
            )
            for k, n, w, q, a, priced in reading.rows(
                "unmapped", {"currency": reading.currency, "top": TOP_NAMES}
            )
        ),
        assumed_prices=tuple(
            AssumedPrice(
                price_id=str(i),
                model=str(m),
                pool=p,
                price=ledger.price_decimal(int(micro)),
                source=str(source),
                hours=hours_decimal(int(q)),
                cost=reading.rounding.money(int(a)),
            )
            for i, m, p, micro, _, source, q, a in reading.rows("assumed", {"currency": reading.currency})
        ),
        unlisted=tuple(
            UnlistedCard(
                str(c), str(n), str(v), str(m), hours_decimal(int(q)), reading.rounding.money(int(a)), bool(p)
            )
            for c, n, v, m, q, a, p in reading.rows(
                "unlisted", {"currency": reading.currency, "top": TOP_NAMES}
            )
        ),
        origins=tuple(
            OriginRow(str(o), int(n), ledger.minor_decimal(origin_hours[str(o)], 2)) for o, n, _ in origins
        ),
        days=tuple(_source_day(m) for m in reading.facts.days),
        missing_days=reading.facts.missing,
        dimensions_revision=dimensions.revision if dimensions else None,
        dimensions_digest=dimensions.digest if dimensions else None,
        data_digest=reading.facts.digest(),
        method=_method(reading.period, reading.currency),
    )


def _check(reading: Reading, level: str, rows: list[Amounts], exact: int) -> SumCheck:
    """Printed parts against the printed total, in money, hours and every state; the worst difference is told."""
    total = reading.total
    differences = [
        sum((a.cost for a in rows), Decimal(0)) - total.cost,
        sum((a.hours for a in rows), Decimal(0)) - total.hours,
        sum((a.unpriced_hours for a in rows), Decimal(0)) - total.unpriced_hours,
    ]
    for n, state in enumerate(total.states):
        differences.append(sum((a.states[n].cost for a in rows), Decimal(0)) - state.cost)
        differences.append(sum((a.states[n].hours for a in rows), Decimal(0)) - state.hours)
    for a in rows:
        differences.append(sum((s.cost for s in a.states), Decimal(0)) - a.cost)
        differences.append(sum((s.hours for s in a.states), Decimal(0)) - a.hours)
    worst = max(differences, key=abs)
    return SumCheck(level, len(rows), total.cost, worst, exact)


def _manifest_check(reading: Reading) -> list[SumCheck]:
    """What was read of each whole UTC day against what its publisher summed, and against what was owned.

    Its total is those days' money, not the period's, which a zone's midnights cut elsewhere. Empty: no whole UTC day.
    """
    read = {int(d): (int(q), int(a)) for d, q, a in reading.rows("day_sums")}
    owned = {int(d): int(q) for d, q in reading.rows("owned")}
    first, last = reading.span["from_us"], reading.span["to_us"]
    difference = 0
    days = 0
    published = 0
    for manifest in reading.facts.days:
        number = day_us(manifest.day) // DAY_US if manifest.day else -1
        if not first <= number * DAY_US <= last - DAY_US:
            continue
        days += 1
        quantity, atoms = read.get(number, (0, 0))
        sums = manifest.facts.get("sums", [])
        difference += abs(quantity - sum(int(s["quantity"]) for s in sums))
        difference += abs(atoms - sum(int(s["atoms"]) for s in sums))
        difference += abs(quantity - owned.get(number, 0))
        published += sum(int(s["atoms"]) for s in sums if s["currency"] == reading.currency)
    total = ledger.rounded(published, reading.currency)
    return [SumCheck("manifest", days, total, total - total, difference)] if days else []


def _method(period: Period, currency: str) -> tuple[MethodLine, ...]:
    return (
        MethodLine("capacity", {}),
        MethodLine("payer", {}),
        MethodLine("split", {"minutes": "10"}),
        MethodLine("price", {"currency": currency}),
        MethodLine("rounding", {"zone": period.zone}),
    )


def _foreign_money(currency: str, atoms: int) -> Decimal:
    return ledger.rounded(atoms, currency)


def _source_day(manifest: Manifest) -> SourceDay:
    return SourceDay(
        day=manifest.day or date.min,
        revision=manifest.revision,
        status=manifest.status,
        digest=manifest.digest,
        published_at=manifest.published_at,
    )
