"""The tables of the bill: what everybody owes, what was shared out, what goes forward, and by which policy."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Final

from ullage_contract.plain import plain
from ullage_reports.bill_model import AdjustmentRow, Bill, BillGroup, BillRow, Charges, SharedRow
from ullage_reports.cost_policy import WORDS
from ullage_reports.format import DASH
from ullage_reports.model import Kind
from ullage_reports.table import Cell, Column, Holds, Lines, Table
from ullage_reports.wording import PLATFORM_KEY, Wording

COLUMNS: Final = ("capacity", "shared", "energy", "corrections", "credits", "total")
ROWS_PRINTED: Final = 120
"""Rows on a page; the file has all."""
DETAILS_PRINTED: Final = 40


def said(w: Wording, bill: Bill) -> str:
    """One sentence for page one: what is owed in all, and of what it is made where that is more than capacity."""
    total = bill.total
    parts = [
        w.t(
            "sentence.bill_part", name=w.t(f"bill_inside.{name}"), money=w.f.money_short(getattr(total, name))
        )
        for name in COLUMNS[:-1]
        if getattr(total, name)
    ]
    key = "sentence.bill" if w.report.copy is None else "sentence.bill_copy"
    return w.t(key, total=w.f.money_short(total.total), parts=w.t("word.comma").join(parts))


def departments(w: Wording) -> Table:
    """One row a department in reading order; what is owed by an inner department itself is a row of its own below it."""
    bill = w.report.bill
    known = _known(w)
    rows: list[tuple[Cell, ...]] = []
    for row in bill.departments if bill else ():
        name = _department(w, row)
        rows.append(
            (
                w.text_cell(row.department_id),
                w.name_cell(name, indent=row.depth),
                *_cells(w, row.charges, priced=known[row.department_id][0]),
            )
        )
        if not row.leaf and any(getattr(row.own, column) for column in COLUMNS):
            rows.append(
                (
                    w.text_cell(row.department_id),
                    w.name_cell(w.t("name.own", name=name), indent=row.depth + 1, tone="muted"),
                    *_cells(w, row.own, priced=known[row.department_id][1]),
                )
            )
    return Table(
        key="bill",
        caption=w.t("table.bill", currency=w.report.currency, window=w.window),
        columns=(
            Column("department_id", w.t("column.department_id"), figures=False, shown=False),
            Column("department", w.t("column.department"), figures=False, weight=3.9),
            *_columns(w),
        ),
        rows=tuple(rows),
        total=(Cell("", ""), w.name_cell(w.t("word.total")), *_cells(w, bill.total if bill else None)),
        printed=ROWS_PRINTED,
        more=w.more(len(rows), ROWS_PRINTED),
        note=w.t("note.bill"),
        empty=w.t("empty.no_data"),
    )


def groups(w: Wording, key: str, groups: Sequence[BillGroup]) -> Table:
    """By scenario or business. key: ``scenarios`` or ``businesses``."""
    bill = w.report.bill
    shown = w.report.scenarios if key == "scenarios" else w.report.businesses
    unknown = {row.key for row in shown if not row.amounts.priced}
    return Table(
        key=f"bill_{key}",
        caption=w.t(f"table.bill_{key}", currency=w.report.currency, window=w.window),
        columns=(Column("key", w.t(f"column.{key}"), figures=False, weight=3.9), *_columns(w)),
        rows=tuple(
            (
                w.name_cell(w.group(key, row.key), tone="muted" if row.key in ("", PLATFORM_KEY) else ""),
                *_cells(w, row.charges, priced=row.key not in unknown),
            )
            for row in groups
        ),
        total=(w.name_cell(w.t("word.total")), *_cells(w, bill.total if bill else None)),
        printed=DETAILS_PRINTED,
        more=w.more(len(groups), DETAILS_PRINTED),
        empty=w.t("empty.no_data"),
    )


def shared(w: Wording) -> Table:
    """What each department was given, or gave, rule by rule."""
    bill, t, currency = w.report.bill, w.t, w.report.currency
    rows = bill.shared if bill else ()
    return Table(
        key="shared",
        caption=t("table.shared", currency=currency, window=w.window),
        columns=(
            Column("department_id", t("column.department_id"), figures=False, shown=False),
            Column("department", t("column.department"), figures=False, weight=3.4),
            Column("method", t("column.method"), figures=False, weight=2.2),
            Column("policy", t("column.policy"), figures=False, weight=1.2),
            Column("weight", t("column.weight"), weight=1.0, holds=Holds.RATIO),
            Column("cost", t("column.cost", currency=currency), weight=1.6),
            Column("charge_id", t("column.charge_id"), figures=False, shown=False),
        ),
        rows=tuple(_shared_row(w, row) for row in rows),
        printed=DETAILS_PRINTED,
        more=w.more(len(rows), DETAILS_PRINTED),
        note=t("note.shared" if w.report.copy is None else "note.shared_copy"),
        empty=t("empty.shared"),
    )


def adjustments(w: Wording) -> Table:
    """Corrections and credits that this statement carries."""
    bill, t, currency = w.report.bill, w.t, w.report.currency
    rows = bill.adjustments if bill else ()
    return Table(
        key="adjustments",
        caption=t("table.adjustments", currency=currency, window=w.window),
        columns=(
            Column("adjustment_id", t("column.adjustment"), figures=False, shown=False),
            Column("department_id", t("column.department_id"), figures=False, shown=False),
            Column("department", t("column.department"), figures=False, weight=4.4),
            Column("kind", t("column.kind_of"), figures=False, weight=1.6, steady=True),
            Column("cost_class", t("column.cost_class"), figures=False, shown=False),
            Column("of", t("column.corrects"), figures=False, weight=1.8),
            Column("posted_at", t("column.posted"), figures=False, shown=False, holds=Holds.INSTANT),
            Column("model", t("column.model"), figures=False, shown=False),
            Column("state", t("column.state"), figures=False, shown=False),
            Column("hours", t("column.hours"), shown=False),
            Column("cost", t("column.cost", currency=currency), weight=1.5),
            Column("reason", t("column.reason"), figures=False, shown=False),
            Column("requester", t("column.requester"), figures=False, weight=1.3),
            Column("approver", t("column.approver"), figures=False, weight=1.3),
        ),
        rows=tuple(
            (
                w.text_cell(row.adjustment_id),
                w.text_cell(row.department_id),
                w.name_cell(w.department_name(row.department, row.department_id), sub=_reason(w, row).text),
                Cell(t.known("adjustment", row.kind), row.kind, sub=_of(w, row)),
                w.text_cell(row.cost_class),
                w.name_cell(_period(w, row.period_from, row.period_to)),
                w.instant_cell(row.posted_at),
                w.text_cell(row.model),
                w.text_cell(row.state),
                w.hours_cell(row.hours),
                w.money_cell(row.cost),
                _reason(w, row),
                w.text_cell(row.requester),
                w.text_cell(row.approver),
            )
            for row in rows
        ),
        printed=DETAILS_PRINTED,
        more=w.more(len(rows), DETAILS_PRINTED),
        empty=t("empty.adjustments"),
    )


def _of(w: Wording, row: AdjustmentRow) -> str:
    """What a line corrects, below its kind: energy, or the state, and the model."""
    named = [] if row.cost_class == "capacity" else [w.t(f"bill_column.{row.cost_class}")]
    named += [w.state(row.state)] if row.state else []
    named += [plain(row.model)] if row.model else []
    return w.t("word.comma").join(named)


def _reason(w: Wording, row: AdjustmentRow) -> Cell:
    """Why, as people wrote it; of a correction what became known late, in the page's language."""
    late, _, news = row.reason.partition(": ")
    if row.kind != "correction" or late != "late":
        return w.text_cell(row.reason)
    named = [w.t.known("late", plain(word)) for word in news.split(", ")]
    return Cell(w.t("word.known_late", what=w.t("word.comma").join(named)), row.reason)


def policies(w: Wording) -> Table:
    """Which version of the policy decided which part of the period."""
    bill, t = w.report.bill, w.t
    return Table(
        key="policies",
        caption=t("table.policies", window=w.window),
        columns=(
            Column("policy", t("column.policy"), figures=False, weight=1.2),
            Column("digest", t("column.policy_digest"), figures=False, weight=1.5),
            Column("since", t("column.since"), figures=False, weight=1.7, steady=True, holds=Holds.INSTANT),
            Column("until", t("column.until"), figures=False, weight=1.7, steady=True, holds=Holds.INSTANT),
            Column("says", t("column.says"), figures=False, weight=5.0),
        ),
        rows=tuple(
            (
                w.text_cell(_policy_name(w, row.policy_id)),
                w.text_cell(row.digest),
                w.instant_cell(row.since),
                w.instant_cell(row.until),
                Cell(
                    t("word.sentence_gap").join(_word(w, name, word) for name, word in row.words.items()),
                    "; ".join(f"{name}={w.plain(word)}" for name, word in row.words.items()),
                ),
            )
            for row in (bill.policies if bill else ())
        ),
        empty=t("empty.no_data"),
    )


def moving(w: Wording) -> tuple[str, ...]:
    """What the period's policies say that moves money, as sentences; empty: what is owed is what was held."""
    found: dict[str, None] = {}
    for row in w.report.bill.policies if w.report.bill else ():
        for name, word in row.words.items():
            if name in WORDS and word != WORDS[name][0]:
                found[_word(w, name, word)] = None
    return tuple(found)


def faults_move(w: Wording) -> bool:
    """Whether a policy of the period has somebody else than the platform pay for faults."""
    bill = w.report.bill
    usual = WORDS["faulty"][0]
    return any(row.words.get("faulty", usual) != usual for row in (bill.policies if bill else ()))


def lines(w: Wording, bill: Bill) -> Lines:
    """What is missing in the bill, and its energy, as sentences."""
    t, f = w.t, w.f
    found = []
    if bill.energy_kwh is None:
        found.append(t("bill.no_energy"))
    elif w.report.copy is None:
        found.append(t("bill.energy", kwh=f.number(bill.energy_kwh)))
    if bill.estimated_kwh:
        found.append(t("bill.estimated", kwh=f.number(bill.estimated_kwh)))
    if bill.energy_kwh and not bill.energy_billed:
        found.append(t("bill.not_billed"))
    if bill.unpriced_kwh:
        found.append(t("bill.unpriced", kwh=f.number(bill.unpriced_kwh)))
    if bill.hours_without_quota:
        found.append(t("bill.hours_without_quota", hours=f.number(bill.hours_without_quota)))
    return Lines(tuple(found))


def _columns(w: Wording) -> tuple[Column, ...]:
    return tuple(
        Column(name, w.t(f"bill_column.{name}"), weight=1.7 if name in ("capacity", "total") else 1.45)
        for name in COLUMNS
    )


def _known(w: Wording) -> dict[str, tuple[bool, bool]]:
    """Of each department: whether what its cards cost is known, with those below it and its own; one that has no hours cost 0."""
    found: dict[str, tuple[bool, bool]] = defaultdict(lambda: (True, True))
    for row in w.report.departments:
        below, own = found[row.department_id]
        found[row.department_id] = (below and row.amounts.priced, own and row.own.priced)
    return found


def _cells(w: Wording, charges: Charges | None, *, priced: bool = True) -> tuple[Cell, ...]:
    """The columns of one row; energy that nobody published is not known, and is no 0, nor is capacity of which no hour has a price."""
    if charges is None:
        return tuple(Cell("", "", True) for _ in COLUMNS)
    found = [w.money_cell(getattr(charges, name)) for name in COLUMNS]
    if w.report.bill is None or w.report.bill.energy_kwh is None:
        found[COLUMNS.index("energy")] = Cell(DASH, "", True)
    if not charges.capacity and not (priced and not w.nothing_priced):
        found[COLUMNS.index("capacity")] = Cell(DASH, "", True)
        if not charges.total:
            found[COLUMNS.index("total")] = Cell(DASH, "", True)
    for name in ("shared", "corrections", "credits"):
        if not getattr(charges, name):
            place = COLUMNS.index(name)
            found[place] = found[place]._replace(tone="muted")
    return tuple(found)


def _shared_row(w: Wording, row: SharedRow) -> tuple[Cell, ...]:
    return (
        w.text_cell(row.department_id),
        w.name_cell(w.department_name(row.department, row.department_id)),
        Cell(w.t(f"shared_rule.{row.method.partition('/')[0]}"), row.method),
        w.text_cell(_policy_name(w, row.policy_id)),
        w.ratio_cell(row.weight),
        w.money_cell(row.cost),
        w.text_cell(row.charge_id),
    )


def _word(w: Wording, policy: str, word: str) -> str:
    """What a policy says, as a sentence; names of departments and trees as they are."""
    told = w.t.known(f"policy.{policy}", word)
    if told != word:
        return told
    return w.t("policy.other", name=w.t.known("policy_name", policy), word=w.plain(word))


def _policy_name(w: Wording, policy_id: str) -> str:
    return w.t("policy.default") if policy_id == "default" else policy_id


def _department(w: Wording, row: BillRow) -> str:
    if row.kind is not Kind.DEPARTMENT:
        return w.t(f"name.{row.kind}")
    return w.department_name(row.name, row.department_id)


def _period(w: Wording, since: object, until: object) -> str:
    """A closed period by its local days."""
    from datetime import datetime, timedelta

    from ullage_reports.period import zone_info

    if not isinstance(since, datetime) or not isinstance(until, datetime):
        return ""
    zone = zone_info(w.report.period.zone)
    return w.f.span(
        since.astimezone(zone).date(), (until - timedelta(microseconds=1)).astimezone(zone).date()
    )
