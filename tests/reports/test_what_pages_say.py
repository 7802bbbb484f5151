"""What a page says is so on every other page: no label over another figure, no reassurance over a loss, no count that is not there."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from bill_sample import WORDS, billed
from rendering_sample import sample
from tests.reports.anomaly_world import Days, on

from ullage_collector.published import Published
from ullage_contract.plain import plain
from ullage_reports import period as periods
from ullage_reports.anomalies import Anomalies, AnomalyRow
from ullage_reports.charts import sparkline
from ullage_reports.cost_policy import WORDS as POLICY_WORDS
from ullage_reports.department_copy import department_copy
from ullage_reports.model import RANKED, Amounts, HolderRow, Report, TreeCut
from ullage_reports.pages import Pages, pages
from ullage_reports.palette import ALERT
from ullage_reports.proposals import ProposalRow, Proposals
from ullage_reports.statement import statement
from ullage_reports.table import Cell, Figure, Lines, Table

NOW = datetime(2026, 10, 2, 6, tzinfo=UTC)
LANGS = pytest.mark.parametrize("lang", ["zh", "en"])
FAULT = date(2026, 9, 4)
MONEY = ("cost", "capacity", "cost_each")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A week, from 30 August to 6 September. On FAULT card 8 is out of order, card 9 isolated, and neither by an incident; then
    card 9 is held twelve hours for development by nobody known, without a price."""
    days = Days()
    for number in range(27, 35):
        days.usual(on(number))
    days.line(FAULT, 8, 0, 24, "platform", None, state="faulty")
    days.line(FAULT, 9, 0, 12, "platform", None, state="isolated")
    days.line(FAULT, 9, 12, 24, "__unallocated__", "x", price=None, scenario="development")
    made = tmp_path_factory.mktemp("said")
    days.publish(made, [on(number) for number in range(27, 35)])
    return made


@pytest.fixture(scope="module")
def quarter(root: Path) -> Report:
    return statement(Published(root), periods.quarterly("2026-Q3", "UTC"), now=NOW)


@pytest.fixture(scope="module")
def month(root: Path) -> Report:
    return statement(Published(root), periods.monthly("2026-09", "UTC"), now=NOW)


def table(page: Pages, key: str) -> Table:
    return next(one for one in page.file_tables if one.key == key)


def column(one: Table, key: str) -> list[Cell]:
    place = [column.key for column in one.columns].index(key)
    return [row[place] for row in one.rows]


def lead(page: Pages, key: str) -> str:
    return next(section.lead for section in page.sections if section.key == key)


@LANGS
def test_what_is_idle_or_free_of_a_month_is_not_called_held_idle(quarter: Report, lang: str) -> None:
    page = pages(quarter, lang)
    months = table(page, "months")
    title = next(column.title for column in months.columns if column.key == "idle_cost")
    held = next(view.label for view in page.tiles if view.key == "idle_held_cost")
    assert held not in title
    assert (
        sum(Decimal(cell.value) for cell in column(months, "idle_cost") if cell.value)
        == quarter.total.idle_cost
    )


@LANGS
def test_a_month_nobody_published_has_dashes_and_no_zero(quarter: Report, lang: str) -> None:
    july, august, _ = table(pages(quarter, lang), "months").rows
    assert [cell.text for cell in july[2:]] == ["–"] * 6 and {cell.value for cell in july[2:]} == {""}
    assert Decimal(august[2].value) > 0


@LANGS
def test_cards_out_of_service_without_an_incident_are_told_with_their_hours(month: Report, lang: str) -> None:
    incidents = table(pages(month, lang), "incidents")
    assert not incidents.rows
    assert "24.00" in incidents.empty and "12.00" in incidents.empty
    assert incidents.empty != table(pages(replace(month, total=_well(month)), lang), "incidents").empty


def _well(report: Report) -> Amounts:
    nothing = Decimal("0.00")
    states = tuple(
        replace(s, cost=nothing, hours=nothing) if s.state in ("faulty", "isolated") else s
        for s in report.total.states
    )
    return replace(report.total, states=states)


@LANGS
def test_hours_beyond_the_listed_incidents_are_told_below_them(lang: str) -> None:
    report = sample()
    out = report.total.state_hours("faulty", "isolated")
    listed = sum((row.hours for row in report.incidents), Decimal(0))
    assert out > listed > 0
    assert f"{out - listed:,}" in table(pages(report, lang), "incidents").note
    every = replace(report, incidents=(replace(report.incidents[0], hours=out),))
    assert table(pages(every, lang), "incidents").note == ""


@LANGS
def test_nothing_is_called_done_where_cards_stand_free(month: Report, lang: str) -> None:
    said = pages(month, lang).sentences[2]
    assert said == {"en": "No workload held cards idle.", "zh": "没有任务占着卡不用。"}[lang]


@LANGS
def test_a_list_of_the_dearest_is_not_said_to_be_all(lang: str) -> None:
    report = sample()
    first: HolderRow = report.holders[0]
    for count, whole in ((RANKED, False), (RANKED - 1, True)):
        many = tuple(replace(first, workload_id=f"w{n}") for n in range(count))
        said = table(pages(replace(report, holders=many), lang), "idle").more
        assert ({"en": "has all", "zh": "全部"}[lang] in said) is whole, said
        assert str(count) in said and "--format csv" in said
        day = replace(report, holders=many, period=periods.daily("2026-11-17", "Asia/Shanghai"))
        assert (str(RANKED) in table(pages(day, lang), "exceptions").note) is not whole


@LANGS
def test_no_page_claims_a_file_that_nobody_asked_for(lang: str) -> None:
    shown = repr(pages(sample(), lang).sections)
    assert "CSV file" not in shown and "CSV 文件" not in shown
    assert "--format csv" in shown


def _unusual(*states: str) -> Anomalies:
    day = date(2026, 11, 17)
    row = AnomalyRow(
        "department", "d0", "cost", day, day, 1, Decimal(9), Decimal(4), Decimal(5), Decimal("1.25"), "", ()
    )
    return Anomalies(day, day, 7, 28, True, tuple(replace(row, state=state) for state in states))


@pytest.mark.parametrize(
    ("states", "english", "chinese"),
    [
        (("open",), "One anomaly, which goes on.", "有一处异常，仍在持续。"),
        (("closed",), "One anomaly, which has ended or become the usual.", "有一处异常，已结束或已成常态。"),
        (
            ("closed", "settled"),
            "2 anomalies, which have all ended or become the usual.",
            "有 2 处异常，均已结束或已成常态。",
        ),
        (("open", "closed"), "2 anomalies; one of them goes on.", "有 2 处异常，其中一处仍在持续。"),
        (("open", "open"), "2 anomalies; 2 of them go on.", "有 2 处异常，其中 2 处仍在持续。"),
    ],
)
def test_anomalies_are_counted_as_one_says_it(states: tuple[str, ...], english: str, chinese: str) -> None:
    report = replace(sample(), anomalies=_unusual(*states))
    assert (lead(pages(report, "en"), "anomalies"), lead(pages(report, "zh"), "anomalies")) == (
        english,
        chinese,
    )


@pytest.mark.parametrize(
    ("changes", "said"), [(0, "did not change"), (1, "changed once"), (2, "changed 2 times")]
)
def test_changes_of_the_organisation_are_counted_as_one_says_it(changes: int, said: str) -> None:
    report = replace(sample(), tree=TreeCut(changes=changes))
    assert said in table(pages(report, "en"), "departments").note
    assert "0" not in table(pages(replace(report, tree=TreeCut()), "zh"), "departments").note


@LANGS
def test_a_job_named_by_its_id_is_not_named_twice(month: Report, lang: str) -> None:
    economics = month.economics
    assert economics is not None
    first, second, *_ = economics.jobs
    jobs = (replace(first, name=f"job {first.workload_id}"), replace(second, name="sft of the week"))
    page = pages(replace(month, economics=replace(economics, jobs=jobs)), lang)
    named = [row[0] for row in table(page, "economics_jobs").rows]
    assert first.workload_id not in named[0].sub and "sft of the week" in named[1].sub


@LANGS
def test_by_department_does_not_contradict_the_policy(lang: str) -> None:
    """The sample's policy shares free cards out; with the default's words nothing is."""
    shared = billed(sample())
    assert shared.bill is not None
    usual = {name: words[0] for name, words in POLICY_WORDS.items()}
    policies = tuple(replace(row, words=usual) for row in shared.bill.policies)
    plain = replace(shared, bill=replace(shared.bill, policies=policies))
    before = {"en": "Before sharing", "zh": "分摊之前"}[lang]
    out = {"en": "Free cards are shared out", "zh": "空闲卡按各部门"}[lang]
    page, other = pages(shared, lang), pages(plain, lang)
    assert before in lead(page, "departments") and before not in lead(other, "departments")
    assert out in method(page)[1] and out not in method(other)[1]
    faults = replace(
        shared,
        bill=replace(
            shared.bill,
            policies=tuple(
                replace(row, words={**WORDS, "faulty": "department_pays"}) for row in shared.bill.policies
            ),
        ),
    )
    assert before in lead(pages(faults, lang), "incidents") and before not in lead(page, "incidents")


def method(page: Pages) -> tuple[str, ...]:
    return next(b.items for s in page.sections for b in s.blocks if isinstance(b, Lines) and b.ordered)


def heights(values: list[float | None]) -> list[float]:
    """The heights of a sparkline's points, 0 at the top of its 22."""
    drawn = re.search('<polyline points="([^"]+)"', sparkline("s", "t", "d", values))
    assert drawn is not None
    return [float(point.split(",")[1]) for point in drawn[1].split()]


def test_a_cent_is_no_cliff_and_a_tenth_is_one() -> None:
    assert (
        max(heights([2234725.87, 2234725.86, 2234725.87]))
        - min(heights([2234725.87, 2234725.86, 2234725.87]))
        < 0.1
    )
    assert max(heights([100.0, 97.5, 100.0])) - min(heights([100.0, 97.5, 100.0])) == pytest.approx(
        8, abs=0.1
    )
    assert max(heights([100.0, 90.0, 80.0])) - min(heights([100.0, 90.0, 80.0])) == pytest.approx(16)
    assert set(heights([0.0, 0.0, 0.0])) == {11}
    assert ALERT not in sparkline("s", "t", "d", [100.0, 100.0, 99.9])
    assert ALERT in sparkline("s", "t", "d", [100.0, 100.0, 60.0])


@LANGS
def test_exceptions_name_departments_as_the_other_tables_do(lang: str) -> None:
    made = sample()
    period = periods.daily("2026-11-17", "Asia/Shanghai")
    unusual = _unusual("open", "open", "open")
    ids = ("platform", "d0", "")
    rows = tuple(
        replace(row, subject=id, of="scenario" if not id else row.of)
        for row, id in zip(unusual.rows, ids, strict=True)
    )
    page = pages(replace(made, period=period, anomalies=replace(unusual, rows=rows)), lang)
    cells = [row[1] for row in table(page, "exceptions").rows if row[0].value == "anomaly"]
    assert [cell.value for cell in cells] == list(ids), "a file has the id"
    named = {"en": ("Platform", "Not given"), "zh": ("平台", "未标注")}[lang]
    department = next(row.name for row in made.departments if row.department_id == "d0")
    assert cells[0].text == named[0] and cells[1].text == plain(department) and cells[2].text not in ("", "–")


@LANGS
def test_idleness_cut_at_the_periods_edge_may_be_older(lang: str) -> None:
    made = sample()
    first, second, *_ = made.holders
    edge = replace(first, since=made.period.start, running=True)
    inside = replace(second, since=made.period.start + timedelta(minutes=1), running=True)
    cells = column(table(pages(replace(made, holders=(edge, inside)), lang), "idle"), "since")
    assert cells[0].sub == {"en": "or before · still so", "zh": "或更早 · 仍在持续"}[lang]
    assert cells[1].sub == {"en": "still so", "zh": "仍在持续"}[lang]
    assert cells[0].at == made.period.start, "the file has the instant as it was"
    day = periods.daily("2026-11-17", "Asia/Shanghai")
    fault = replace(made.incidents[0], onset=day.start)
    held = replace(first, since=day.start, running=True, idle_hours=Decimal("9.00"))
    rows = table(
        pages(replace(made, period=day, holders=(held,), incidents=(fault,)), lang), "exceptions"
    ).rows
    since = {row[0].value: row[2].sub for row in rows}
    assert since["idle"] == cells[0].sub.partition(" · ")[0] and since["incident"] == "", (
        "an incident's onset is its own"
    )


@LANGS
def test_a_chart_without_the_platform_says_so(month: Report, lang: str) -> None:
    page = pages(month, lang)
    platform = next(row for row in month.departments if row.department_id == "platform")
    figures = {b.name: b for s in page.sections for b in s.blocks if isinstance(b, Figure)}
    assert f"{platform.amounts.cost:,}" in figures["departments-cost"].note
    assert f"{platform.amounts.hours:,}" in figures["departments-states"].note
    alone = replace(month, departments=tuple(row for row in month.departments if row is not platform))
    assert not any(
        b.note
        for s in pages(alone, lang).sections
        for b in s.blocks
        if isinstance(b, Figure) and "departments" in b.name
    )


@LANGS
def test_each_share_of_use_names_what_it_is_a_share_of(month: Report, lang: str) -> None:
    """Of cost in the table of states, of known hours in tables, of all hours in the capacity chart."""
    page = pages(month, lang)
    known, every = {"en": ("known", "all card-hours"), "zh": ("已知", "全部卡时")}[lang]
    for one in page.file_tables:
        for head in one.columns:
            if head.key == "used_ratio" and one.key != "budgets":
                assert known in head.title, one.key
    capacity = next(
        b for s in page.sections for b in s.blocks if isinstance(b, Figure) and b.name == "capacity"
    )
    assert every in capacity.title.partition("(")[2] + capacity.title.partition("（")[2]


@LANGS
def test_what_no_hour_of_which_has_a_price_costs_a_dash_and_the_totals_stay(month: Report, lang: str) -> None:
    """Twelve hours of nobody known, for development, without a price."""
    page = pages(month, lang)
    for key, name, costs in (
        ("departments", "__unallocated__", ("cost", "allocated_idle_cost", "used_cost")),
        (
            "scenarios",
            {"en": "Development", "zh": "开发"}[lang],
            ("cost", "allocated_idle_cost", "used_cost"),
        ),
        ("unmapped", "dc1", ("cost",)),
        ("economics_scenarios", {"en": "Development", "zh": "开发"}[lang], ("cost", "median")),
        ("bill", "__unallocated__", ("capacity", "total")),
        ("workloads", "slurm/dc1/x", ("held_cost", "used_cost")),
    ):
        one = table(page, key)
        keys = [column.key for column in one.columns]
        (row,) = (row for row in one.rows if name in [cell.value for cell in row])
        for cost in costs:
            cell = row[keys.index(cost)]
            assert cell.value == "" and cell.text in ("–", ""), (key, cost)
    departments = table(page, "departments")
    assert departments.total is not None
    assert departments.total[3].value == str(month.total.cost)
    top = [row for row in departments.rows if row[1].indent == 0]
    assert sum((Decimal(row[3].value or 0) for row in top), Decimal(0)) == month.total.cost
    drawn = next(
        b for s in page.sections for b in s.blocks if isinstance(b, Figure) and b.name == "departments-cost"
    )
    assert ">0.00</text>" not in drawn.svg


@LANGS
def test_nothing_is_free_in_a_currency_nothing_is_priced_in(root: Path, lang: str) -> None:
    """A fleet priced in CNY, asked for in USD: what it cost in USD is not known, and is nowhere 0."""
    for period in (periods.daily("2026-09-04", "UTC"), periods.quarterly("2026-Q3", "UTC")):
        report = statement(Published(root), period, now=NOW, currency="USD")
        page = pages(report, lang)
        first = page.sentences[0]
        assert "USD" in first and "CNY" in first and "0.00" not in first
        assert first.startswith(
            {"en": "Nothing of this period is priced in USD", "zh": "本期没有以 USD 计价的卡时"}[lang]
        )
        money = [view for view in page.tiles if view.key in ("cost", "waste_cost", "idle_held_cost")]
        assert [view.change for view in money] == [""] * 3
        assert len({view.value for view in money}) == 1 and "0" not in money[0].value
        assert "USD" in page.bar.title
        for one in page.file_tables:
            for n, head in enumerate(one.columns):
                if one.key not in ("checks", "foreign") and (head.key in MONEY or head.key.endswith("_cost")):
                    assert {row[n].value for row in one.rows} <= {""}, (one.key, head.key)
    copy = department_copy(report, "rd")
    assert copy is not None and "0.00" not in pages(copy, lang).sentences[0]


@LANGS
def test_two_figures_of_a_used_hour_have_two_titles(month: Report, lang: str) -> None:
    """Of the priced hours alone in one table, and of none where some are without a price in the other."""
    page = pages(month, lang)
    prices, work = table(page, "models"), table(page, "economics_models")
    assert column(prices, "effective_price")[0].value and not column(work, "used_hour_cost")[0].value
    titles = [
        next(c.title for c in one.columns if c.key == key)
        for one, key in ((prices, "effective_price"), (work, "used_hour_cost"))
    ]
    assert titles[0] != titles[1]
    said = {"en": "without a price", "zh": "没有价格"}[lang]
    assert said in work.note
    whole = replace(month, trust=replace(month.trust, unpriced_hours=Decimal(0)))
    prices, work = (table(pages(whole, lang), key) for key in ("models", "economics_models"))
    assert "priced" not in prices.columns[9].title and said not in work.note.partition("。")[0]


def _proposed(saving: str | None, state: str = "open", saved: str | None = None) -> ProposalRow:
    worth = None if saving is None else Decimal(saving)
    return ProposalRow(
        *("1", "reclaim_idle", "workload", "j1", state, "d0", "d0", None, "low", "low", Decimal(1)),
        *(NOW, date(2026, 11, 30), NOW, worth, worth, ""),
        *(None if saved is None else Decimal(saved), 7, None, None, ()),
    )


@pytest.mark.parametrize(
    ("standing", "settled", "said"),
    [
        ((_proposed("9.00"),), (), "that stand: 1. Together they save CNY 9.00"),
        ((_proposed("9.00"), _proposed(None)), (), "what 1 of them would save nobody knows"),
        ((_proposed(None),), (), "that stand: 1. What they would save nobody knows."),
        ((), (_proposed("9.00", "done"),), "Done in this period: 1; what that saved is not measured yet."),
        (
            (),
            (_proposed("9.00", "saved", "4.00"),),
            "Done in this period: 1; measured: 1, which saved CNY 4.00.",
        ),
    ],
)
def test_a_saving_nobody_knows_is_not_zero(
    standing: tuple[ProposalRow, ...], settled: tuple[ProposalRow, ...], said: str
) -> None:
    saving = sum((row.saving or Decimal(0) for row in standing), Decimal("0.00"))
    saved = sum((row.saved or Decimal(0) for row in settled), Decimal("0.00"))
    unknown = sum(row.saving is None for row in standing)
    report = replace(sample(), proposals=Proposals(standing, saving, unknown, settled, saved))
    page = pages(report, "en")
    assert said in lead(page, "recommendations")
    total = table(page, "proposals").total
    assert total is None or (total[3].value == "") is (unknown == len(standing))
    assert "0.00 元" not in lead(pages(report, "zh"), "recommendations").replace("9.00 元", "")
