"""Recommendations in a statement: as they stood at the period's end, sums that add up, and what is not known never 0."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from pathlib import Path

from tests.collector.fleet_world import DAY, World, at, us
from tests.reports.test_model_numbers import made, publish

from ullage_collector.detect.findings import Found, keep
from ullage_collector.recommendations import book
from ullage_collector.recommendations.kinds import default_rules
from ullage_collector.recommendations.reading import proposals
from ullage_reports import period as periods
from ullage_reports.department_copy import department_copy
from ullage_reports.json_form import to_json
from ullage_reports.model import Report
from ullage_reports.pages import pages
from ullage_reports.table import Table

OCTOBER = periods.monthly("2026-10", "UTC")
KINDS = ("idle_workload", "straggler_suspect")


def world() -> World:
    """Two idle jobs, worth 0.333 and 0.333 a day times some, and a straggler; card A is out of order and idle in job 1."""
    made_ = World()
    made_.price("H800", 10_000_000)
    made_.department("rd", "研发")
    made_.rule("slurm:nlp", "rd")
    for card, job in (("A", "slurm/dc1/nlp/1"), ("B", "slurm/dc1/nlp/1"), ("C", "slurm/dc1/nlp/2")):
        made_.card(card)
        made_.hold(card, job, 0, None)
        made_.minutes(card, 0, 24, 0.0)
    made_.incident("A", 1, None)
    found = [
        Found("idle_workload", "workload", job, us(0), {"cost_per_day": {"CNY": cost}, "department": "rd", "workloads": [job]},
              owner="lin", action="propose_reclaim")
        for job, cost in (("slurm/dc1/nlp/1", "480.00"), ("slurm/dc1/nlp/2", "240.00"))
    ]  # fmt: skip
    keep(made_.db, KINDS, [*found, Found("straggler_suspect", "card", "C", us(0), owner="platform")], us(1))
    turn(made_, 2)
    return made_


def turn(of: World, hours: float) -> None:
    book.renew(of.db, proposals(of.db, default_rules(), us(hours)), default_rules(), us(hours))


def decide(of: World, kind: str, subject: str, word: str, hours: float, reason: str = "") -> None:
    (number,) = (
        r["recommendation_id"] for r in book.rows(of.db) if (r["kind"], r["subject"]) == (kind, subject)
    )
    book.decide(of.db, number, word, actor="mei", reason=reason, now=us(hours) / 1e6)


def report(of: World, root: Path, label: str = "2026-10-07") -> Report:
    publish(of, root, date.fromisoformat(label))
    return made(root, periods.daily(label, "UTC"))


def test_savings_add_up_to_their_total_and_page_one_says_it(tmp_path: Path) -> None:
    found = report(world(), tmp_path)
    assert found.proposals is not None
    rows = {(row.kind, row.subject): row for row in found.proposals.standing}
    assert {key: row.saving for key, row in rows.items()} == {
        ("mend_faulty", "A"): Decimal("7200.00"),
        ("reclaim_idle", "slurm/dc1/nlp/1"): Decimal("7200.00"),
        ("reclaim_idle", "slurm/dc1/nlp/2"): Decimal("7200.00"),
        ("replace_straggler", "C"): None,
    }
    assert rows["reclaim_idle", "slurm/dc1/nlp/1"].alone == Decimal("14400.00")
    assert (found.proposals.saving, found.proposals.unknown) == (Decimal("21600.00"), 1)
    sentence = found.page_one.sentences[2]
    assert (sentence.key, sentence.values["count"], sentence.values["saving"]) == (
        "proposals",
        3,
        Decimal("21600.00"),
    )
    for lang, said in (
        ("en", "The 3 recommendations below save CNY 21,600 a month"),
        ("zh", "每月可省 2.16 万元"),
    ):
        page = pages(found, lang)
        assert said in page.sentences[2]
        (section,) = (s for s in page.sections if s.key == "recommendations")
        table = next(b for b in section.blocks if isinstance(b, Table) and b.key == "proposals")
        column = [c.key for c in table.shown_columns].index("saving")
        assert [row[column].text for row in table.shown_rows] == ["7,200.00"] * 3 + ["–"]
        assert table.shown_total is not None and table.shown_total[column].value == "21600.00"
        shown = " ".join(cell.text + cell.sub for row in table.shown_rows for cell in row)
        assert "lin" not in shown.split()  # the finding's user is in no management copy
    assert to_json(found)
    copy = department_copy(found, "rd")
    assert copy is not None and copy.proposals is None


def test_a_row_is_as_it_stood_at_the_end_of_the_period_whatever_was_decided_later(tmp_path: Path) -> None:
    of = world()
    decide(of, "reclaim_idle", "slurm/dc1/nlp/1", "accept", 20)
    decide(of, "reclaim_idle", "slurm/dc1/nlp/1", "done", 30)
    decide(of, "reclaim_idle", "slurm/dc1/nlp/2", "reject", 31, "a customer waits for it")
    first = report(of, tmp_path)
    assert first.proposals is not None
    assert {(r.subject, r.state) for r in first.proposals.standing if r.kind == "reclaim_idle"} == {
        ("slurm/dc1/nlp/1", "accepted"),
        ("slurm/dc1/nlp/2", "open"),
    }
    assert first.proposals.settled == ()
    second = report(of, tmp_path, "2026-10-08")
    assert second.proposals is not None
    assert {(r.subject, r.state, r.saved) for r in second.proposals.settled} == {
        ("slurm/dc1/nlp/1", "done", None),
        ("slurm/dc1/nlp/2", "rejected", None),
    }
    assert "a customer waits for it" in str(to_json(second))
    third = report(of, tmp_path, "2026-10-09")
    assert third.proposals is not None and third.proposals.settled == ()


def test_what_was_saved_is_told_when_it_is_measured(tmp_path: Path) -> None:
    of = world()
    decide(of, "reclaim_idle", "slurm/dc1/nlp/2", "done", 3)
    values = {"days": 3, "before": date(2026, 10, 4), "after": date(2026, 10, 8), "before_atoms": 5 * 3_600 * 10**21,
              "after_atoms": 2 * 3_600 * 10**21, "saved": 3 * 3_600 * 10**21, "method": "x"}  # fmt: skip
    (number,) = (r["recommendation_id"] for r in book.rows(of.db) if r["subject"] == "slurm/dc1/nlp/2")
    book.note_saved(of.db, number, values, us(24 * 5) / 1e6)
    for label in ("2026-10-07", "2026-10-12"):  # when it was done, and when it was measured
        found = report(of, tmp_path, label).proposals
        assert found is not None
        assert [(r.state, r.saved, r.saved_days) for r in found.settled] == [("saved", Decimal("3.00"), 3)]
        assert found.saved == Decimal("3.00")


def test_before_anything_was_proposed_there_is_no_section(tmp_path: Path) -> None:
    of = world()
    of.db.execute("UPDATE recommendation SET opened_at = ?", [at(24)])
    found = report(of, tmp_path, DAY.date().isoformat())
    assert found.proposals is None
    assert found.page_one.sentences[2].key == "action"
