"""A report as pages: what stands where, in one language. HTML and PDF lay out this, CSV writes its tables.

Nothing is computed here that is a figure of its own; a section that has nothing to say is said in a line or left
out, never an empty page.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from typing import Final

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
    proposal_tables,
    tables,
    trust_tables,
    workload_tables,
)
from ullage_reports.format import DASH
from ullage_reports.model import DepartmentRow, Report, Sentence, Status, Tile, Unit
from ullage_reports.period import PeriodKind
from ullage_reports.table import Column, Figure, Holds, Lines, Notice, Section, Table, TileView
from ullage_reports.wording import Wording, tone, wording

MARKS: Final = ("simulated", "imported", "assumed")
"""Words every page carries when figures are not measured or not priced for good; keys ``mark.*``."""


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
    marks = _marks(w)
    held = workload_tables.workloads(w)
    sections = (
        (*_bill(w), _trust(w))
        if w.nothing_known
        else _sections(w, held)
        if report.copy is None
        else _copy_sections(w, held)
    )
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
        notices=_notices(w),
        sentences=_sentences(w),
        tiles=tuple(_tile(w, tile) for tile in report.page_one.tiles),
        bar=figures.where_it_went(w),
        states=states,
        sections=sections,
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


# ------------------------------------------------------------------------------------------ page one
def _sentences(w: Wording) -> tuple[str, ...]:
    """What page one says first: the period's own sentences, and what is owed where that is not capacity alone."""
    if w.nothing_known:
        return (w.t("sentence.no_data"), *_owed(w))
    return (*(_sentence(w, sentence) for sentence in w.report.page_one.sentences), *_owed(w))


def _owed(w: Wording) -> tuple[str, ...]:
    """What is owed, unless the period's cost says the same."""
    bill = w.report.bill
    if bill is None or bill.plain:
        return ()
    total = bill.total
    same = not (total.shared or total.energy or total.corrections or total.credits)
    return () if same else (bill_tables.said(w, bill),)


def _sentence(w: Wording, sentence: Sentence) -> str:
    """One sentence of page one; a difference chooses its word, and only parts that are not 0 are named."""
    values = {key: _value(w, key, value) for key, value in sentence.values.items()}
    key = sentence.key
    total = w.report.total
    if key in ("cost", "cost_change") and not total.cost and total.unpriced_hours == total.hours:
        return w.t("sentence.no_price")
    difference = sentence.values.get("difference")
    if isinstance(difference, Decimal):
        values["difference"] = w.f.money_short(abs(difference))
        ratio = sentence.values.get("ratio")
        if isinstance(ratio, Decimal):
            values["ratio"] = w.f.percent(abs(ratio))
        started = difference > 0 and sentence.values.get("previous") == 0
        key += "_new" if started else "_up" if difference > 0 else "_down" if difference < 0 else "_same"
    if key == "proposals" and sentence.values.get("count") == 1:
        key = "proposals_one"
    if key == "action" and sentence.values.get("count") == 1:
        key = "action_one"
    if key == "waste" and not total.cost:
        key = "waste_hours"
    if sentence.key == "waste":
        parts = sorted(
            (
                (value, name.removesuffix("_ratio"))
                for name, value in sentence.values.items()
                if name != "ratio" and name.endswith("_ratio") and isinstance(value, Decimal) and value
            ),
            reverse=True,
        )
        named = [
            w.t("sentence.part", ratio=w.f.percent(value), state=w.state_inside(name))
            for value, name in parts
        ]
        values["parts"] = w.t("word.comma").join(named)
    return w.t(f"sentence.{key}", **values)


def _value(w: Wording, key: str, value: Decimal | int | str | None) -> str:
    if isinstance(value, Decimal):
        return w.f.percent(value) if key.endswith("ratio") else w.f.money_short(value)
    if isinstance(value, int):
        return w.f.number(value)
    if key == "kind":
        return w.t.known("proposal", plain(value))
    if key == "department" and value:
        for row in w.report.departments:
            if value in (row.department_id, row.name):
                return w.department(row)
    return plain(value)


def _tile(w: Wording, tile: Tile) -> TileView:
    change, colour = "", ""
    if tile.change is not None and not w.nothing_known:
        if tile.unit is Unit.RATIO:
            change = w.t("tile.points", points=w.f.points(tile.change.difference))
        elif tile.change.ratio is not None:
            change = w.f.change(tile.change.ratio)
        else:
            change = w.t("word.new") if tile.change.difference else DASH
        colour = tone(tile.change.difference, tile.better)
    return TileView(
        key=tile.key,
        label=w.t(f"tile.{tile.key}"),
        value=_tile_value(w, tile),
        change=w.t("tile.compared", change=change) if change else "",
        tone=colour,
        note=w.t(f"tile_note.{tile.key}"),
        spark=figures.spark(w, tile.key),
    )


def _tile_value(w: Wording, tile: Tile) -> str:
    if tile.value is None or w.nothing_known:
        return w.t("word.not_known")
    if tile.unit is Unit.MONEY:
        return w.f.money_short(tile.value)
    if tile.unit is Unit.RATIO:
        return w.f.percent(tile.value)
    return w.f.number(tile.value)


def _tile_table(w: Wording) -> Table:
    """The tiles as a file: exact values, not the short ones of the page."""
    t = w.t
    return Table(
        key="page_one",
        caption=t("table.page_one", window=w.window),
        columns=(
            Column("key", "key", figures=False),
            Column("label", t("column.name"), figures=False),
            Column("unit", "unit", figures=False),
            Column("value", t("column.value")),
            Column("previous", t("word.before")),
            Column("difference", t("column.difference_before")),
            Column("change", t("column.change"), holds=Holds.RATIO),
        ),
        rows=tuple(
            (
                w.text_cell(tile.key),
                w.text_cell(t(f"tile.{tile.key}")),
                w.text_cell(w.report.currency if tile.unit is Unit.MONEY else tile.unit.value),
                w.money_cell(None if w.nothing_known else tile.value),
                w.money_cell(tile.change.previous if tile.change else None),
                w.money_cell(tile.change.difference if tile.change else None),
                w.change_cell(tile.change),
            )
            for tile in w.report.page_one.tiles
        ),
        empty=t("empty.no_data"),
    )


def _marks(w: Wording) -> tuple[str, ...]:
    """Those of MARKS that are so, as they are printed."""
    origins = {row.origin for row in w.report.trust.origins if row.hours or row.cards}
    if w.report.trust.assumed_prices:
        origins.add("assumed")
    if w.report.copy is not None:
        origins.update(w.report.copy.marks)
    return tuple(w.t(f"mark.{word}") for word in MARKS if word in origins)


def _notices(w: Wording) -> tuple[Notice, ...]:
    trust, t = w.report.trust, w.t
    found = []
    if not trust.adds_up:
        found.append(Notice(t("notice.sum_check"), grave=True))
    if trust.missing_days:
        spans = _spans(w, trust.missing_days)
        days = ", ".join(spans[:4]) + ("" if len(spans) <= 4 else " …")
        found.append(
            Notice(t("notice.missing_days", count=w.f.number(len(trust.missing_days)), days=days), True)
        )
    if trust.unpriced_hours:
        models = ", ".join(dict.fromkeys(plain(row.model) for row in trust.unpriced[:5]))
        key = "notice.unpriced" if models else "notice.unpriced_part"
        found.append(Notice(t(key, hours=w.f.number(trust.unpriced_hours), models=models), grave=True))
    if untariffed := w.report.bill.unpriced_kwh if w.report.bill else None:
        found.append(Notice(t("bill.unpriced", kwh=w.f.number(untariffed)), grave=True))
    if trust.foreign:
        listed = ", ".join(plain(row.currency) for row in trust.foreign)
        found.append(Notice(t("notice.foreign", currencies=listed), grave=True))
    for origin in ("simulated", "imported"):
        hours = sum((row.hours for row in trust.origins if row.origin == origin), Decimal(0))
        if hours and w.report.total.hours:
            part = w.f.percent_plain(hours / w.report.total.hours)
            found.append(Notice(t(f"notice.{origin}", ratio=part)))
    if trust.assumed_prices:
        cost = sum((row.cost for row in trust.assumed_prices), Decimal(0))
        found.append(Notice(t("notice.assumed", cost=w.f.money_short(cost))))
    if w.report.status is Status.PROVISIONAL:
        found.append(Notice(t("notice.provisional")))
    return tuple(found)


# ------------------------------------------------------------------------------------------ sections
def _sections(w: Wording, held: Table) -> tuple[Section, ...]:
    report = w.report
    found = [
        *_exceptions(w),
        *_outlook(w),
        *_bill(w),
        _section(
            w,
            "departments",
            _movers(w),
            figures.departments(w),
            figures.department_states(w),
            tables.departments(w),
            budget_tables.rows(w) if report.budgets else None,
            new_page=True,
        ),
        _section(
            w,
            "scenarios",
            w.t("lead.scenarios"),
            figures.group_states(w, "scenarios", report.scenarios),
            tables.groups(w, "scenarios", report.scenarios),
            tables.groups(w, "businesses", report.businesses) if _named(report.businesses) else None,
        ),
        _section(
            w,
            "models",
            w.t("lead.models"),
            figures.model_states(w, report.models),
            tables.models(w),
            tables.groups(w, "vendors", report.vendors) if len(report.vendors) > 1 else None,
            tables.groups(w, "pools", report.pools) if len(report.pools) > 1 else None,
            tables.groups(w, "clusters", report.clusters) if len(report.clusters) > 1 else None,
        ),
        *_economics(w),
        _section(w, "workloads", _held_lead(w), held),
        _section(
            w,
            "idle",
            w.t("lead.idle"),
            figures.capacity(w),
            figures.trend(w),
            figures.week_hours(w),
            tables.holders(w),
        ),
        _section(w, "incidents", w.t("lead.incidents"), tables.incidents(w)),
    ]
    if report.findings or report.proposals is not None:
        found.append(
            _section(
                w,
                "recommendations",
                proposal_tables.lead(w, report),
                proposal_tables.standing(w) if report.proposals and report.proposals.standing else None,
                proposal_tables.settled(w) if report.proposals and report.proposals.settled else None,
                finding_tables.printed(w) if report.findings else None,
            )
        )
    if report.anomalies is not None:
        table = anomaly_tables.rows(w) if report.anomalies.rows else None
        found.append(_section(w, "anomalies", anomaly_tables.lead(w, report), table))
    found.append(_trust(w))
    return tuple(found)


def _copy_sections(w: Wording, held: Table) -> tuple[Section, ...]:
    """Of a department's copy: what is its own, and nothing that stands on other departments' figures."""
    several = len(w.report.departments) > 1
    return (
        *_bill(w),
        *((_section(w, "departments", w.t("lead.departments"), tables.departments(w)),) if several else ()),
        _section(w, "idle", w.t("lead.idle"), tables.idle_workloads(w), new_page=True),
        _section(w, "workloads", _held_lead(w), held),
        _trust(w),
    )


def _exceptions(w: Wording) -> tuple[Section, ...]:
    """What a day's operators have to look at, before anything else."""
    if w.report.period.kind is not PeriodKind.DAILY:
        return ()
    table = exception_tables.rows(w)
    count = len(table.rows)
    lead = w.t("lead.exceptions", count=w.f.number(count)) if count else w.t("lead.no_exceptions")
    return (_section(w, "exceptions", lead, table if count else None),)


def _outlook(w: Wording) -> tuple[Section, ...]:
    """Where it goes, and what to decide, where the report says so: of a quarter and a year."""
    if w.report.outlook is None:
        return ()
    tables_of = (outlook_tables.months(w), outlook_tables.models(w))
    return (_section(w, "outlook", outlook_tables.lead(w, w.report), *tables_of, new_page=True),)


def _economics(w: Wording) -> tuple[Section, ...]:
    """What work cost, where the report says so: of a month and a quarter."""
    found = w.report.economics
    if found is None:
        return ()
    section = _section(
        w,
        "economics",
        economics_tables.lead(w, w.report),
        economics_tables.makers(w) if len(found.makers) > 1 else None,
        economics_tables.models(w),
        economics_tables.scenarios(w),
        economics_tables.jobs(w),
        economics_tables.served(w) if found.served else None,
    )
    return (section,)


def _bill(w: Wording) -> tuple[Section, ...]:
    """What is owed; nothing is said where it is capacity alone, which the tables of cost say."""
    bill = w.report.bill
    if bill is None or bill.plain:
        return ()
    told = bill_tables.lines(w, bill)
    return (
        _section(
            w,
            "bill",
            w.t("lead.bill"),
            bill_tables.departments(w),
            bill_tables.groups(w, "scenarios", bill.scenarios) if bill.scenarios else None,
            bill_tables.groups(w, "businesses", bill.businesses) if _named(bill.businesses) else None,
            bill_tables.shared(w) if bill.shared else None,
            bill_tables.adjustments(w) if bill.adjustments else None,
            told if told.items else None,
            new_page=True,
        ),
    )


def _section(
    w: Wording, key: str, lead: str, *blocks: Figure | Table | Lines | None, new_page: bool = False
) -> Section:
    kept = tuple(block for block in blocks if block is not None)
    return Section(key=key, title=w.t(f"section.{key}"), lead=lead, blocks=kept, new_page=new_page)


def _held_lead(w: Wording) -> str:
    """How many workloads held cards, and what they held."""
    report = w.report
    key = "lead.workload_one" if report.workload_count == 1 else "lead.workloads"
    return w.t(
        key,
        count=w.f.number(report.workload_count),
        hours=w.hours(report.held.held_hours),
        cost=w.f.money_short(report.held.held_cost),
    )


def _movers(w: Wording) -> str:
    """Who went up and down most in money against the period before; nothing to say gives the general lead."""
    rows = [r for r in w.report.departments if r.depth == 0 and r.change is not None]

    def by_difference(row: DepartmentRow) -> Decimal:
        return row.change.difference if row.change is not None else Decimal(0)

    up = sorted((r for r in rows if by_difference(r) > 0), key=by_difference, reverse=True)[:3]
    down = sorted((r for r in rows if by_difference(r) < 0), key=by_difference)[:3]
    said = [w.t("lead.departments")]
    for key, movers in (("lead.up", up), ("lead.down", down)):
        if movers:
            listed = w.t("word.comma").join(
                w.t(
                    "lead.mover",
                    name=w.department(row),
                    money=w.f.signed(w.f.money_short(by_difference(row)), by_difference(row)),
                )
                for row in movers
            )
            said.append(w.t(key, listed=listed))
    return w.t("word.sentence_gap").join(said)


def _spans(w: Wording, days: Sequence[date]) -> list[str]:
    """Days that follow each other as one span each."""
    spans: list[tuple[date, date]] = []
    for day in sorted(days):
        if spans and day - spans[-1][1] == timedelta(days=1):
            spans[-1] = (spans[-1][0], day)
        else:
            spans.append((day, day))
    return [w.f.span(first, last) for first, last in spans]


def _named(groups: tuple[object, ...]) -> bool:
    """Whether a grouping says anything: some row has a key of its own."""
    return any(getattr(row, "key", "") not in ("", "platform") for row in groups)


def _trust(w: Wording) -> Section:
    trust, t, report = w.report.trust, w.t, w.report
    facts = [
        t("trust.adds_up" if trust.adds_up else "trust.does_not_add_up"),
    ]
    if trust.coverage_ratio is not None:
        facts.append(t("trust.coverage", ratio=w.f.percent(trust.coverage_ratio)))
    if trust.attributed_ratio is not None:
        facts.append(t("trust.attributed", ratio=w.f.percent(trust.attributed_ratio)))
    if trust.unpriced_hours:
        facts.append(t("trust.unpriced", hours=w.hours(trust.unpriced_hours)))
    if trust.missing_days:
        days = ", ".join(_spans(w, trust.missing_days))
        facts.append(t("trust.missing_days", count=w.f.number(len(trust.missing_days)), days=days))
    optional: list[Table] = [
        table
        for table in (
            trust_tables.unpriced(w),
            trust_tables.foreign(w),
            trust_tables.unmapped(w),
            trust_tables.assumed(w),
            trust_tables.unlisted(w),
            trust_tables.origins(w),
            bill_tables.policies(w),
            trust_tables.sources(w),
        )
        if table.rows
    ]
    told_clear = (
        () if w.nothing_known or report.copy else (trust_tables.unpriced(w), trust_tables.unmapped(w))
    )
    clear = [table.empty for table in told_clear if not table.rows]
    method = tuple(
        t(f"method.{line.key}", **{key: plain(value) for key, value in line.values.items()})
        for line in trust.method
    )
    digests = [
        t("trust.data_digest", digest=plain(trust.data_digest)),
        t(
            "trust.dimensions",
            revision=w.f.number(trust.dimensions_revision),
            digest=plain(trust.dimensions_digest) or t("word.not_published"),
        ),
        *((t("trust.file_note", stem=plain(report.stem)),) if report.copy is None else ()),
    ]
    return Section(
        key="trust",
        title=t("section.trust"),
        lead=t("lead.trust"),
        blocks=(
            Lines(tuple([*facts, *clear])),
            trust_tables.checks(w),
            *optional,
            Lines(tuple(digests)),
            *((Lines(method, ordered=True, heading=t("section.method")),) if method else ()),
        ),
    )


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
        _tile_table(w),
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
