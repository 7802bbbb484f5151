"""The ledger of recommendations: exact money, nothing counted twice, every state reached and left as promised, savings measured."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest
from tests.collector.fleet_world import DAY, NANO, World, at, us

from ullage_collector.detect.findings import Found, keep
from ullage_collector.ledger import ATOMS_PER_UNIT
from ullage_collector.prices import PriceBook
from ullage_collector.recommendations import book, shown
from ullage_collector.recommendations.kinds import default_rules, parse
from ullage_collector.recommendations.proposal import Finding, Fleet, Owned, propose
from ullage_collector.recommendations.reading import proposals
from ullage_collector.recommendations.saved import measured
from ullage_collector.sql import statements
from ullage_contract import rule_file
from ullage_contract.errors import BadInput, ConfigError

RULES = default_rules()
JOB = "slurm/dc1/1"


def idle(subject: str = JOB, cost: str = "480.00", action: str = "propose_reclaim", **more: Any) -> Found:
    evidence = {"cost_per_day": {"CNY": cost}, "department": "llm", "workloads": [subject], **more}
    return Found("idle_workload", "workload", subject, us(0), evidence, owner="lin", action=action)


class Ledger:
    """A world with two cards held by a job, findings that come and go, and rounds."""

    def __init__(self) -> None:
        self.world = World()
        self.db = self.world.db
        self.world.price("H800", 10_000_000)
        for card in ("A", "B"):
            self.world.card(card)
            self.world.hold(card, JOB, 0, None)

    def find(self, *found: Found, kinds: tuple[str, ...] = ("idle_workload",)) -> None:
        keep(self.db, kinds, found, us(1))

    def fault(self, card: str, number: int = 1) -> None:
        self.db.execute(
            "INSERT INTO incident (incident_id, family, subject, cause, severity, onset, opened_at, confirmed, action, "
            "evidence, history, origin) VALUES (?, 'card', ?, 'ecc', 'critical', ?, ?, true, 'isolate_card', '[]', false, 'real')",
            [number, card, at(0), at(0)],
        )

    def round(self, hours: float = 2.0) -> book.Renewed:
        return book.renew(self.db, proposals(self.db, RULES, us(hours)), RULES, us(hours))

    def rows(self) -> dict[str, dict[str, Any]]:
        return {row["kind"]: row for row in book.rows(self.db)}

    def decide(self, word: str, number: int = 1, reason: str = "", hours: float = 3.0) -> None:
        book.decide(self.db, number, word, actor="mei", reason=reason, now=us(hours) / 1e6)

    def results(self) -> list[tuple[str, str]]:
        return self.db.execute(
            "SELECT actor, result FROM audit WHERE action = 'recommendation' ORDER BY ALL"
        ).fetchall()


@pytest.fixture
def ledger() -> Ledger:
    return Ledger()


def test_a_month_is_the_findings_day_times_thirty_exactly_and_says_so(ledger: Ledger) -> None:
    ledger.find(idle(cost="0.01"), idle("slurm/dc1/2", cost="33.33"))
    assert ledger.round().opened == 1  # 0.30 a month bothers nobody
    (row,) = book.rows(ledger.db)
    assert row["month_atoms"] == row["counted_atoms"] == 99990 * ATOMS_PER_UNIT // 100
    assert row["formula"] == "33.33 CNY a day (cost_per_day) x 30 days"
    assert (row["department_id"], row["owner"], row["risk"], row["effort"]) == ("llm", "lin", "medium", "low")
    assert row["due"] == (DAY + timedelta(days=3)).date()
    assert row["evidence"]["findings"] == [2]


def test_a_note_opens_nothing_and_a_proposal_stays_when_its_finding_says_less(ledger: Ledger) -> None:
    ledger.find(idle(action="note"))
    assert ledger.round().opened == 0
    ledger.find(idle(at_most={"x": 1}))
    assert ledger.round().opened == 1
    ledger.find(idle(action="note", at_most={"x": 2}))
    assert ledger.round() == book.Renewed(0, 0, 1)


def test_what_is_not_known_is_never_zero(ledger: Ledger) -> None:
    found = Found(
        "starved_cards",
        "workload",
        JOB,
        us(0),
        {"cost_per_day": {"CNY": "240"}, "activity": None, "named": ["A"]},
    )
    ledger.find(found, kinds=("starved_cards",))
    ledger.round()
    row = ledger.rows()["feed_starved"]
    assert (row["month_atoms"], row["counted_atoms"]) == (None, None)
    assert "not known" in row["formula"]
    assert shown.totals([row]) == {}
    ledger.find(
        Found(
            **{
                **{f: getattr(found, f) for f in found.__slots__},
                "evidence": {**found.evidence, "activity": 0.25},
            }
        ),
        kinds=("starved_cards",),
    )
    ledger.round()
    assert ledger.rows()["feed_starved"]["month_atoms"] == 240 * 30 * 3 * ATOMS_PER_UNIT // 4


def test_two_proposals_never_count_the_same_share_of_a_card(ledger: Ledger) -> None:
    ledger.find(idle())
    ledger.fault("A")
    ledger.round()
    rows = ledger.rows()
    mend, reclaim = rows["mend_faulty"], rows["reclaim_idle"]
    assert mend["month_atoms"] == mend["counted_atoms"] == 240 * 30 * ATOMS_PER_UNIT
    assert reclaim["month_atoms"] == 480 * 30 * ATOMS_PER_UNIT
    assert reclaim["counted_atoms"] == 240 * 30 * ATOMS_PER_UNIT  # card B alone
    assert reclaim["shared_with"] == ["mend_faulty A"]
    assert shown.totals(rows.values()) == {"CNY": "14400.00"}  # what both cards cost, and no more
    # once the fault is mended the job's two cards count for it again
    ledger.db.execute("UPDATE incident SET closed_at = ?", [at(2)])
    ledger.round(3)
    assert ledger.rows()["reclaim_idle"]["counted_atoms"] == 480 * 30 * ATOMS_PER_UNIT


def test_what_was_rejected_keeps_no_money_from_others(ledger: Ledger) -> None:
    ledger.find(idle())
    ledger.fault("A")
    ledger.round()
    mend = ledger.rows()["mend_faulty"]["recommendation_id"]
    ledger.decide("reject", mend, "the card is written off")
    ledger.round()
    rows = ledger.rows()
    assert rows["reclaim_idle"]["counted_atoms"] == rows["reclaim_idle"]["month_atoms"]
    assert shown.totals(rows.values()) == {"CNY": "14400.00"}


def test_a_node_out_of_order_counts_its_free_cards_once_too(ledger: Ledger) -> None:
    ledger.world.card("C", node="n2")  # nobody holds it
    ledger.fault("C")
    ledger.db.execute(
        "INSERT INTO incident SELECT 2, 'node', 'n2', cause, severity, vendor, code, onset, opened_at, closed_at, closed_by, confirmed, "
        "'isolate_node', proposal, evidence, history, origin, 'dc1', 'n2', parent_id, \"mode\", follow, reason FROM incident"
    )
    ledger.round()
    rows = {row["family"]: row for row in book.rows(ledger.db)}
    assert rows["card"]["month_atoms"] == rows["node"]["month_atoms"] == 7200 * ATOMS_PER_UNIT
    assert shown.totals(rows.values()) == {"CNY": "7200.00"}


def test_a_node_means_its_own_cluster_s_cards_and_not_those_of_its_namesake() -> None:
    fleet = Fleet(
        held=(),
        owned={
            f"GPU-{cluster}": Owned(f"GPU-{cluster}", cluster, "n1", "H800", None)
            for cluster in ("dc1", "dc2")
        },
        prices=PriceBook(()),
        now_us=us(0),
    )
    found = Finding(1, "idle_workload", "node", "n1", {"cluster": "dc2"}, 1.0, None, "propose_reclaim")
    (made,) = propose([found], [], fleet, RULES)
    assert set(made.claims) == {("GPU-dc2", "")}


def test_what_nobody_knows_the_saving_of_takes_nothing_from_others(ledger: Ledger) -> None:
    starved = Found(
        "starved_cards", "workload", JOB, us(0), {"cost_per_day": {"CNY": "240"}, "activity": None}
    )
    scattered = Found("scattered_job", "workload", JOB, us(0), {"cost_per_day": {"CNY": "24"}})
    ledger.find(starved, scattered, kinds=("starved_cards", "scattered_job"))
    ledger.round()
    row = ledger.rows()["gather_job"]
    assert (row["counted_atoms"], row["shared_with"]) == (720 * ATOMS_PER_UNIT, [])


def test_a_share_held_by_another_is_no_overlap(ledger: Ledger) -> None:
    for number, workload in enumerate(("k8s/dc1/a/p/1", "k8s/dc1/b/p/2")):
        if not number:
            ledger.world.card("C")
        ledger.world.hold("C", workload, 0, None, NANO // 2)
    ledger.find(idle("k8s/dc1/a/p/1", "120"), idle("k8s/dc1/b/p/2", "120"))
    ledger.round()
    assert [row["shared_with"] for row in book.rows(ledger.db)] == [[], []]
    assert shown.totals(book.rows(ledger.db)) == {"CNY": "7200.00"}


def test_a_job_of_many_pods_means_all_its_pods_and_not_only_those_its_evidence_names(ledger: Ledger) -> None:
    pods = [f"k8s/dc1/nlp/p{n}/{n}" for n in range(3)]
    for number, pod in enumerate(pods):
        ledger.world.card(f"P{number}")
        ledger.world.workload(pod, labels={"job-name": "sft"})
        ledger.world.hold(f"P{number}", pod, 0, None)
    ledger.find(idle("gang/dc1/nlp/sft", "720", workloads=pods[:1]))
    ledger.fault("P2")
    found = proposals(ledger.db, RULES, us(2), ["job-name"])
    book.renew(ledger.db, found, RULES, us(2))
    row = ledger.rows()["reclaim_idle"]
    assert row["evidence"]["workloads"] == pods
    assert (
        row["counted_atoms"] == 480 * 30 * ATOMS_PER_UNIT
    )  # two of three cards: the third has to be mended first


def test_findings_of_one_pool_that_mean_other_cards_are_recommendations_of_their_own(ledger: Ledger) -> None:
    pods = [f"k8s/dc1/nlp/p{n}/{n}" for n in range(2)]
    for number, pod in enumerate(pods):
        ledger.world.card(f"P{number}")
        ledger.world.hold(f"P{number}", pod, 0, None, NANO // 4)
    ledger.find(
        *(
            Found(
                "shareable_cards",
                "fleet",
                "dc1/dev",
                us(0),
                {"saving_per_day": {"CNY": "50.00"}, "workloads": [pod]},
                key=f"H800 {n}",
            )
            for n, pod in enumerate(pods)
        ),
        kinds=("shareable_cards",),
    )
    ledger.round()
    assert {row["subject"] for row in book.rows(ledger.db)} == {"dc1/dev H800 0", "dc1/dev H800 1"}
    assert shown.totals(book.rows(ledger.db)) == {"CNY": "3000.00"}


def test_a_round_writes_only_what_changed_and_reads_no_row_that_is_over(ledger: Ledger) -> None:
    class Told:
        """The store's connection, and what was written through it."""

        def __init__(self, db: Any) -> None:
            self.db = db
            self.written: list[str] = []

        def execute(self, statement: str, *given: Any) -> Any:
            self.written += [
                word for word in ("INSERT INTO", "UPDATE") if f"{word} recommendation" in statement
            ]
            return self.db.execute(statement, *given)

    def renew(hours: float) -> list[str]:
        told = Told(ledger.db)
        book.renew(told, proposals(ledger.db, RULES, us(hours)), RULES, us(hours))  # type: ignore[arg-type]
        return told.written

    def standing() -> list[int]:
        query = statements("recommendations")["standing"]
        return [row[0] for row in ledger.db.execute(query).fetchall()]

    ledger.find(idle(), idle("slurm/dc1/2"))
    assert renew(2) == ["INSERT INTO"] * 2
    assert renew(3) == []
    ledger.find(idle(cost="960.00"), idle("slurm/dc1/2"))
    assert renew(4) == ["UPDATE"]
    ledger.decide("reject", 2, "needed")
    assert renew(5) == [] and standing() == [1, 2]  # its finding is open: it is not to be proposed again
    ledger.find(idle(cost="960.00"))
    assert renew(6) == [] and standing() == [1]


def test_a_finding_that_suggests_something_else_is_another_recommendation(ledger: Ledger) -> None:
    def uneven(action: str) -> Found:
        evidence = {"cost_per_day": {"CNY": "90.00"}, "workloads": [JOB], "department": "cv"}
        return Found(
            "uneven_use", "department", "cv", us(0), {**evidence, "by": action}, key="dc1 H800", action=action
        )

    ledger.find(uneven("lend"), kinds=("uneven_use",))
    ledger.round()
    ledger.find(uneven("raise_max"), kinds=("uneven_use",))
    ledger.round()
    rows = ledger.rows()
    assert (rows["lend_cards"]["state"], rows["raise_quota"]["state"]) == ("lapsed", "open")
    assert rows["lend_cards"]["reason"] == book.OTHERWISE
    assert rows["raise_quota"]["subject"] == "cv dc1 H800"
    ledger.find(uneven("a_word_of_a_newer_detector"), kinds=("uneven_use",))
    assert ledger.round() == book.Renewed(0, 0, 1)


def test_a_proposal_lapses_with_its_finding_and_an_accepted_one_is_then_done(ledger: Ledger) -> None:
    ledger.find(idle(), idle("slurm/dc1/2"))
    ledger.round()
    ledger.decide("accept", 1, hours=2.5)
    ledger.find()
    assert ledger.round(4).ended == 2
    rows = {row["recommendation_id"]: row for row in book.rows(ledger.db)}
    assert (rows[1]["state"], rows[1]["accepted_by"], rows[1]["done_by"]) == (
        "done",
        "mei",
        "recommendations",
    )
    assert (rows[2]["state"], rows[2]["reason"]) == ("lapsed", "its finding ended")
    assert ledger.results() == [
        ("mei", "accepted"),
        ("recommendations", "done"),
        ("recommendations", "lapsed"),
    ]


def test_what_was_rejected_is_not_proposed_again_until_it_is_found_anew(ledger: Ledger) -> None:
    ledger.find(idle())
    ledger.round()
    with pytest.raises(BadInput, match="say why"):
        ledger.decide("reject", 1)
    ledger.decide("reject", 1, "it serves a customer at noon")
    assert ledger.round().opened == 0
    with pytest.raises(BadInput, match="is rejected"):
        ledger.decide("accept", 1)
    with pytest.raises(BadInput, match="no recommendation 9"):
        ledger.decide("accept", 9)
    ledger.find()
    ledger.find(idle())
    assert ledger.round().opened == 1
    assert {row["state"] for row in book.rows(ledger.db)} == {"rejected", "open"}


def test_an_unread_round_changes_nothing_of_a_finding_that_is_still_open(ledger: Ledger) -> None:
    ledger.find(idle())
    ledger.round()
    assert book.renew(ledger.db, [], RULES, us(3)) == book.Renewed(0, 0, 1)


def spend(ledger: Ledger, day: int, state: str, hours: int, known: bool = True) -> None:
    """``hours`` of card A by the job in a state on the UTC day ``day`` after the test's."""
    date = (DAY + timedelta(days=day)).date()
    start = us(day * 24)
    ledger.db.execute(
        "INSERT INTO segment (day, revision, card_key, from_us, to_us, state, share_nano, workload_key, department_id, "
        "price_micro, currency, inventory_id) VALUES (?, 1, ?, ?, ?, ?, ?, ?, 'llm', 10000000, 'CNY', 1)",
        [
            date,
            ledger.world.cards["A"],
            start,
            start + hours * 3_600_000_000,
            state,
            NANO,
            ledger.world.workloads[JOB],
        ],
    )
    if known:
        ledger.db.execute(
            "INSERT INTO published VALUES ('facts', ?, 1, 'sealed', 'x', ?, NULL)", [date, at(day * 24)]
        )


def test_savings_are_the_days_before_less_as_many_after_and_wait_until_both_are_known(ledger: Ledger) -> None:
    ledger.find(idle())
    ledger.round()
    ledger.decide("done", hours=12)
    for day in (-3, -2, -1, 0):  # three whole days before: shorter than the week of the rules
        spend(ledger, day, "allocated_idle", 20)
    for day in (1, 2):
        spend(ledger, day, "allocated_idle", 2)
    assert measured(ledger.db, RULES) == []  # the third day after is not published: unknown is not saved
    spend(ledger, 3, "used", 24)
    ((number, values),) = measured(ledger.db, RULES)
    book.note_saved(ledger.db, number, values, us(96) / 1e6)
    (row,) = book.rows(ledger.db)
    assert (row["state"], row["window_days"]) == ("saved", 3)
    assert (row["before_atoms"], row["after_atoms"]) == (600 * ATOMS_PER_UNIT, 40 * ATOMS_PER_UNIT)
    assert row["saved_atoms"] == 560 * ATOMS_PER_UNIT
    assert "3 days from 2026-10-04 less 3 days from 2026-10-08" in row["method"]
    told = shown.to_json(row)
    assert (told["saved"], told["done_by"], told["a_month"]) == ("560.00", "mei", "14400.00")
    assert json.dumps(told)
    assert any("saved 560.00 CNY" in line for line in shown.lines([told], {}))


@pytest.mark.parametrize(
    ("before", "after", "saved"),
    [(0, 24, 0), (0, 4, 160), (4, 24, 0), (4, 4, 200), (24, 0, 200)],
    ids=["all lost", "some lost", "more lost", "as much lost as before", "less lost than before"],
)
def test_time_of_which_nobody_knows_afterwards_is_not_saved(
    ledger: Ledger, before: int, after: int, saved: int
) -> None:
    ledger.find(idle())
    ledger.round()
    ledger.decide("done", hours=12)
    spend(ledger, -1, "allocated_idle", 20)
    spend(ledger, -1, "unknown", before, known=False)
    spend(ledger, 1, "unknown", after)
    ((_, values),) = measured(ledger.db, RULES)
    assert values["saved"] == saved * ATOMS_PER_UNIT
    assert values["saved"] == values["before_atoms"] - values["after_atoms"]
    assert ("nobody knows" in values["method"]) is (after > before)


def test_rules_that_could_count_twice_or_nothing_are_refused() -> None:
    text = rule_file.shipped("ullage_collector.recommendations", "recommendations.toml")
    for old, new, said in (
        ('"defragment",\n]', "]", "name every"),
        ('findings = ["hang_suspect"]', 'findings = ["idle_workload"]', "is in two kinds"),
        ('states = ["faulty", "isolated"]', 'states = ["broken"]', "write some of"),
        ('least = "100"', 'least = "-1"', "at least 0"),
    ):
        assert old in text
        with pytest.raises(ConfigError, match=said):
            parse(text.replace(old, new, 1), "rules.toml")
