"""What follows page one: sections in the order a reader needs, each with its figures and tables.

A section that has nothing to say is said in a line or left out, never an empty page.
"""

from __future__ import annotations

from decimal import Decimal

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
)
from ullage_reports.model import DepartmentRow
from ullage_reports.period import PeriodKind
from ullage_reports.table import Figure, Lines, Section, Table
from ullage_reports.trust_model import MethodLine
from ullage_reports.wording import Wording


def sections(w: Wording, held: Table) -> tuple[Section, ...]:
    """Those of a report, of a department's copy, or of a period of which nothing is known. held: the workloads that held cards."""
    if w.nothing_known:
        return (*_bill(w), _trust(w))
    return _sections(w, held) if w.report.copy is None else _copy_sections(w, held)


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
        _section(
            w,
            "incidents",
            w.t("lead.incidents_shared" if bill_tables.faults_move(w) else "lead.incidents"),
            tables.incidents(w),
        ),
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
        *((_section(w, "departments", _departments_lead(w), tables.departments(w)),) if several else ()),
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
    """What work cost, where the report says so: of a month, a quarter and a year."""
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
    if not report.held.priced or w.nothing_priced:
        key = "lead.workload_one_unpriced" if report.workload_count == 1 else "lead.workloads_unpriced"
    return w.t(
        key,
        count=w.f.number(report.workload_count),
        hours=w.hours(report.held.held_hours),
        cost=w.f.money_short(report.held.held_cost),
    )


def _departments_lead(w: Wording) -> str:
    """Whose the cards are in the tables of cost: before anything is shared out."""
    return w.t("lead.departments_shared" if bill_tables.moving(w) else "lead.departments")


def _movers(w: Wording) -> str:
    """Who went up and down most in money against the period before; nothing to say gives the general lead."""
    rows = [
        r
        for r in w.report.departments
        if r.depth == 0 and r.change is not None and r.amounts.priced and not w.nothing_priced
    ]

    def by_difference(row: DepartmentRow) -> Decimal:
        return row.change.difference if row.change is not None else Decimal(0)

    up = sorted((r for r in rows if by_difference(r) > 0), key=by_difference, reverse=True)[:3]
    down = sorted((r for r in rows if by_difference(r) < 0), key=by_difference)[:3]
    said = [_departments_lead(w)]
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


def _named(groups: tuple[object, ...]) -> bool:
    """Whether a grouping says anything: some row has a key of its own."""
    return any(getattr(row, "key", "") not in ("", "platform") for row in groups)


def _method(w: Wording, line: MethodLine) -> str:
    """A line of the method; who pays is as the policies of the period say."""
    moving = bill_tables.moving(w)
    if line.key == "payer" and moving:
        return w.t("method.payer_shared", policies=w.t("word.sentence_gap").join(moving))
    return w.t(f"method.{line.key}", **{key: plain(value) for key, value in line.values.items()})


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
        days = ", ".join(w.spans(trust.missing_days))
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
    method = tuple(_method(w, line) for line in trust.method)
    digests = [
        t("trust.data_digest", digest=plain(trust.data_digest)),
        t(
            "trust.dimensions",
            revision=w.f.number(trust.dimensions_revision),
            digest=plain(trust.dimensions_digest) or t("word.not_published"),
        ),
        *((t("trust.file_note"),) if report.copy is None else ()),
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
