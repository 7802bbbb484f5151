"""A report as pages: what stands where, in one language. HTML and PDF lay out this, CSV writes its tables.

Nothing is computed here that is a figure of its own; a section that has nothing to say is said in a line or left
out, never an empty page.
"""

from __future__ import annotations

from dataclasses import dataclass

from ullage_contract.plain import plain
from ullage_reports import (
    anomaly_tables,
    bill_tables,
    budget_tables,
    economics_tables,
    exception_tables,
    figures,
    finding_tables,
    outlook_tables,
    page_one_words,
    proposal_tables,
    tables,
    trust_tables,
    workload_tables,
)
from ullage_reports.model import Report, Status
from ullage_reports.period import PeriodKind
from ullage_reports.sections import sections
from ullage_reports.table import Figure, Notice, Section, Table, TileView
from ullage_reports.wording import Wording, wording


@dataclass(frozen=True, slots=True)
class Pages:
    """Everything a template prints. facts: (label, value) pairs under the title. marks: short warnings of every page.

    file_tables: all tables, for CSV, the first being page one's figures.
    """

    lang: str
    title: str
    subtitle: str
    status: str
    status_text: str
    facts: tuple[tuple[str, str], ...]
    marks: tuple[str, ...]
    notices: tuple[Notice, ...]
    sentences: tuple[str, ...]
    tiles: tuple[TileView, ...]
    bar: Figure
    states: Table
    sections: tuple[Section, ...]
    file_tables: tuple[Table, ...]
    running: str
    footer: str


_laid: tuple[Report, str, Pages] | None = None
"""What was laid out last: every format of a report asks for the same pages, one after the other."""


def pages(report: Report, lang: str) -> Pages:
    """Lay the report out, once for all formats. Raises ConfigError for a language there is no catalogue of."""
    global _laid
    last = _laid
    if last is None or last[0] is not report or last[1] != lang:
        _laid = last = (report, lang, _pages(report, lang))
    return last[2]


def _pages(report: Report, lang: str) -> Pages:
    w = wording(report, lang)
    t = w.t
    whole = report.closed is not None and report.status is not Status.PARTIAL
    status_text = t("status.closed" if whole else f"status.{report.status}")
    marks = page_one_words.marks(w)
    held = workload_tables.workloads(w)
    states = tables.states(w)
    title = t(_title(report), label=report.period.label)
    if report.copy is not None:
        title = t("title.department", title=title, name=w.department_name("", report.copy.department_id))
    return Pages(
        lang={"zh": "zh-CN", "en": "en"}[lang],
        title=title,
        subtitle=w.f.span(report.period.first, report.period.last),
        status=str(report.status),
        status_text=status_text,
        facts=(
            (t("fact.zone"), report.period.zone),
            (t("fact.currency"), report.currency),
            *(((t("fact.cards"), w.f.number(report.cards)),) if report.copy is None else ()),
            (t("fact.compared"), report.previous.label if report.previous else t("word.nothing_before")),
            (t("fact.made"), w.f.instant(report.generated_at)),
            (t("fact.closed"), _closed(w)),
        ),
        marks=marks,
        notices=page_one_words.notices(w),
        sentences=page_one_words.sentences(w),
        tiles=tuple(page_one_words.tile_view(w, tile) for tile in report.page_one.tiles),
        bar=figures.where_it_went(w),
        states=states,
        sections=sections(w, held),
        file_tables=_file_tables(w, states, held),
        running=" | ".join((title, w.f.span(report.period.first, report.period.last))),
        footer=" | ".join((report.period.zone, report.currency, status_text, *marks)),
    )


def _title(report: Report) -> str:
    """Quarters and years that are not the calendar's say so."""
    fiscal = report.period.fiscal_start != 1 and report.period.kind in (
        PeriodKind.QUARTERLY,
        PeriodKind.YEARLY,
    )
    return f"title.{'fiscal_' if fiscal else ''}{report.period.kind}"


def _closed(w: Wording) -> str:
    """Who closed the period and when, or that it is open."""
    closed, t = w.report.closed, w.t
    if closed is None:
        return t("word.not_closed")
    who = t("word.closed_rule", rule=plain(closed.rule)) if closed.rule else plain(closed.by)
    return t("word.closed_by", at=w.f.instant(closed.at), by=who)


def _file_tables(w: Wording, states: Table, held: Table) -> tuple[Table, ...]:
    """Every table there is, with rows or without: a file that is not there would tell nothing."""
    report = w.report
    grouped = {
        "scenarios": report.scenarios,
        "businesses": report.businesses,
        "vendors": report.vendors,
        "pools": report.pools,
        "clusters": report.clusters,
    }
    return (
        page_one_words.tile_table(w),
        states,
        bill_tables.departments(w),
        bill_tables.groups(w, "scenarios", report.bill.scenarios if report.bill else ()),
        bill_tables.groups(w, "businesses", report.bill.businesses if report.bill else ()),
        bill_tables.shared(w),
        bill_tables.adjustments(w),
        tables.departments(w),
        *(tables.groups(w, key, rows) for key, rows in grouped.items()),
        tables.models(w),
        economics_tables.makers(w),
        economics_tables.models(w),
        economics_tables.scenarios(w),
        economics_tables.jobs(w),
        economics_tables.served(w),
        outlook_tables.months(w),
        outlook_tables.models(w),
        *((exception_tables.rows(w),) if report.period.kind is PeriodKind.DAILY else ()),
        held,
        tables.holders(w),
        tables.incidents(w),
        finding_tables.listed(w),
        proposal_tables.standing(w),
        proposal_tables.settled(w),
        budget_tables.rows(w),
        anomaly_tables.rows(w),
        anomaly_tables.causes(w),
        tables.days(w),
        tables.week_hours(w),
        trust_tables.checks(w),
        trust_tables.unpriced(w),
        trust_tables.foreign(w),
        trust_tables.unmapped(w),
        trust_tables.assumed(w),
        trust_tables.unlisted(w),
        trust_tables.origins(w),
        bill_tables.policies(w),
        trust_tables.sources(w),
    )
