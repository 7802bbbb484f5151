"""The tables of recommendations: what is proposed, by money a month, and what became of what was. No person is named but owners."""

from __future__ import annotations

from typing import Final

from ullage_contract.plain import plain
from ullage_reports.model import Report
from ullage_reports.proposals import ProposalRow
from ullage_reports.table import Cell, Column, Holds, Table
from ullage_reports.wording import Wording

PRINTED: Final = 20
"""our choice: because twenty can be decided on in a sitting; the file has all."""


def standing(w: Wording) -> Table:
    """Open and accepted ones, the dearest first; the savings add up to the total."""
    t, currency = w.t, w.report.currency
    found = w.report.proposals
    rows = found.standing if found is not None else ()
    return Table(
        key="proposals",
        caption=t("table.proposals", currency=currency, window=w.window),
        columns=(
            Column("recommendation_id", t("column.recommendation"), figures=False, shown=False),
            Column("kind", t("column.proposal"), figures=False, weight=3.0),
            Column("subject", t("column.where"), figures=False, shown=False),
            Column("saving", t("column.saving", currency=currency), weight=1.5),
            Column("alone", t("column.saving_alone", currency=currency), shown=False),
            Column("formula", t("column.formula"), figures=False, shown=False),
            Column("department", t("column.department"), figures=False, weight=1.8),
            Column("owner", t("column.owner"), figures=False, shown=False),
            Column("risk", t("column.risk"), figures=False, weight=0.8),
            Column("effort", t("column.effort"), figures=False, weight=0.8),
            Column("status", t("column.status"), figures=False, weight=1.1),
            Column("due", t("column.due"), figures=False, weight=1.2, steady=True, holds=Holds.DAY),
            Column("evidence", t("column.evidence"), figures=False, weight=1.3),
        ),
        rows=tuple(_standing(w, row) for row in rows),
        total=None
        if found is None or not rows
        else (
            Cell("", ""),
            w.name_cell(t("word.total")),
            Cell("", ""),
            w.money_cell(found.saving if found.unknown < len(rows) else None),
            *(Cell("", ""),) * 9,
        ),
        printed=PRINTED,
        more=w.more(len(rows), PRINTED),
        note=t("note.proposals"),
        empty=t("empty.proposals"),
    )


def settled(w: Wording) -> Table:
    """Done, measured, rejected and lapsed ones of the period."""
    t, currency = w.t, w.report.currency
    found = w.report.proposals
    rows = found.settled if found is not None else ()
    return Table(
        key="proposals_settled",
        caption=t("table.proposals_settled", currency=currency, window=w.window),
        columns=(
            Column("recommendation_id", t("column.recommendation"), figures=False, shown=False),
            Column("kind", t("column.proposal"), figures=False, weight=3.0),
            Column("subject", t("column.where"), figures=False, shown=False),
            Column("status", t("column.status"), figures=False, weight=1.3),
            Column(
                "changed", t("column.changed"), figures=False, weight=1.7, steady=True, holds=Holds.INSTANT
            ),
            Column("alone", t("column.saving", currency=currency), weight=1.5),
            Column("saved", t("column.saved", currency=currency), weight=1.5),
            Column("saved_days", t("column.saved_days"), weight=0.9, holds=Holds.COUNT),
            Column("department", t("column.department"), figures=False, weight=1.8),
            Column("reason", t("column.reason"), figures=False, weight=2.0),
        ),
        rows=tuple(
            (
                w.text_cell(row.recommendation_id),
                _what(w, row),
                w.text_cell(row.subject),
                Cell(t(f"proposal_state.{row.state}"), row.state),
                w.instant_cell(row.changed),
                w.money_cell(row.alone),
                w.money_cell(row.saved),
                w.count_cell(row.saved_days),
                _whose(w, row),
                w.text_cell(row.reason),
            )
            for row in rows
        ),
        printed=PRINTED,
        more=w.more(len(rows), PRINTED),
        note=t("note.proposals_settled"),
        empty=t("empty.proposals"),
    )


def lead(w: Wording, report: Report) -> str:
    """What they save together, and what was saved."""
    found = report.proposals
    if found is None:
        return w.t("lead.recommendations")
    said = []
    if found.standing:
        key = "lead.proposals_some_unknown" if found.unknown else "lead.proposals"
        if found.unknown == len(found.standing):
            key = "lead.proposals_unknown"
        said.append(
            w.t(
                key,
                count=w.f.number(len(found.standing)),
                saving=w.f.money_short(found.saving),
                unknown=w.f.number(found.unknown),
            )
        )
    done = [row for row in found.settled if row.state in ("done", "saved")]
    if done:
        measured = sum(row.saved is not None for row in done)
        said.append(
            w.t(
                "lead.proposals_done" if measured else "lead.proposals_done_unmeasured",
                count=w.f.number(len(done)),
                measured=w.f.number(measured),
                saved=w.f.money_short(found.saved),
            )
        )
    return w.t("word.sentence_gap").join(said) or w.t("lead.recommendations")


def _standing(w: Wording, row: ProposalRow) -> tuple[Cell, ...]:
    t = w.t
    sub = ""
    if row.alone is not None and row.saving != row.alone:
        sub = t("word.alone", money=w.f.number(row.alone))
    saving = w.money_cell(row.saving)
    return (
        w.text_cell(row.recommendation_id),
        _what(w, row),
        w.text_cell(row.subject),
        Cell(saving.text, saving.value, True, sub=sub),
        w.money_cell(row.alone),
        w.text_cell(row.formula),
        _whose(w, row),
        w.text_cell(row.owner),
        Cell(t(f"grade.{row.risk}"), row.risk),
        Cell(t(f"grade.{row.effort}"), row.effort),
        Cell(t(f"proposal_state.{row.state}"), row.state),
        Cell(row.due.isoformat(), row.due.isoformat(), at=row.due),
        Cell(
            ", ".join(_evidence(w, one) for one in row.evidence[:3]) + (" …" if len(row.evidence) > 3 else "")
            or "–",
            ", ".join(row.evidence),
        ),
    )


def _evidence(w: Wording, one: str) -> str:
    what, _, number = one.partition(" ")
    return w.t("word.evidence_incident" if what == "incident" else "word.evidence_finding", number=number)


def _what(w: Wording, row: ProposalRow) -> Cell:
    return Cell(text=w.t.known("proposal", plain(row.kind)), value=plain(row.kind), sub=plain(row.subject))


def _whose(w: Wording, row: ProposalRow) -> Cell:
    name = w.department_name(row.department or "", row.department_id or "")
    return w.name_cell(name, sub=w.t("word.owner", name=plain(row.owner)) if row.owner else "")
