"""What is believed of a Slurm cluster: boundaries of runs, cards, and what happens while somebody is away."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from slurm_world import AT, CLUSTER, belief, believed, card_of, index_of, job, notes, opened

from ullage_collector.allocation.holding import NANO
from ullage_collector.allocation.slurm import gres
from ullage_collector.allocation.slurm.belief import Belief
from ullage_collector.allocation.slurm.cards import CardIndex
from ullage_collector.allocation.slurm.reports import Reservation
from ullage_collector.allocation.slurm.runs import Known, Slice, holding
from ullage_collector.store.store import Store


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    found = opened(tmp_path)
    yield found
    found.close()


@pytest.fixture
def slurm(store: Store) -> Belief:
    return belief(store)


def g1(*numbers: int) -> list[str]:
    return [card_of("g1", number) for number in numbers]


# ------------------------------------------------------------------------------- boundaries


def test_a_job_holds_its_cards_from_start_to_end(slurm: Belief, store: Store) -> None:
    slurm.believe_live([job(detail="gpu:h200:2(IDX:0,5)", tres="gres/gpu=2")], AT + 10)
    assert believed(store) == [("1", 0, None, card, "work") for card in g1(0, 5)]
    slurm.believe_past([job(state="COMPLETED", end=AT + 30, tres="gres/gpu=2")], AT + 60)
    assert believed(store) == [("1", 0, 30, card, "work") for card in g1(0, 5)]
    assert notes(store, "1")["state"] == "completed"


def test_saying_the_same_again_changes_nothing(slurm: Belief, store: Store) -> None:
    live, past = [job(detail="gpu:h200:1(IDX:0)")], [job(2, state="FAILED", end=AT + 5)]
    assert slurm.believe_live(live, AT + 10).changed
    assert slurm.believe_past(past, AT + 10).changed
    again = belief(store)
    for teller in (slurm, again):
        assert not teller.believe_live(live, AT + 30).changed
        assert not teller.believe_past(past, AT + 30).changed
    assert len(believed(store, known="true")) == 2


def test_a_pending_job_and_one_without_cards_hold_nothing(slurm: Belief, store: Store) -> None:
    slurm.believe_live([job(state="PENDING", start=AT + 99, nodes=()), job(2, tres="cpu=4")], AT + 10)
    assert believed(store) == []


def test_a_requeued_job_has_two_runs(slurm: Belief, store: Store) -> None:
    slurm.believe_live([job(detail="gpu:h200:1(IDX:0)")], AT + 10)
    slurm.believe_live([job(start=AT + 200, restarts=1, detail="gpu:h200:1(IDX:3)")], AT + 210)
    assert notes(store, "1")["restarts"] == 1
    records = [job(state="REQUEUED", end=AT + 50), job(start=AT + 200, restarts=None)]
    slurm.believe_past(records, AT + 220)
    assert believed(store) == [("1", 0, 50, *g1(0), "work"), ("1", 200, None, *g1(3), "work")]


def test_a_requeued_job_that_still_cleans_up_has_no_run_in_the_future(slurm: Belief, store: Store) -> None:
    """Seen on 22.05: COMPLETING alone, with the start and end it is to have next."""
    slurm.believe_live([job(detail="gpu:h200:1(IDX:0)")], AT + 10)
    planned = job(state="COMPLETING", start=AT + 151, end=AT + 31_536_000, restarts=1)
    slurm.believe_live([planned], AT + 30)
    assert believed(store) == [("1", 0, None, *g1(0), "work")]
    assert notes(store, "1")["end_unknown"] is True
    slurm.believe_past([job(state="REQUEUED", end=AT + 28)], AT + 60)
    assert believed(store) == [("1", 0, 28, *g1(0), "work")]


def test_a_preempted_run_ends_when_it_was_preempted(slurm: Belief, store: Store) -> None:
    slurm.believe_past([job(state="PREEMPTED", end=AT + 7)], AT + 20)
    assert believed(store) == [("1", 0, 7, "g1:1", "work")]
    assert notes(store, "1")["state"] == "preempted"


def test_a_suspended_job_keeps_what_it_holds(slurm: Belief, store: Store) -> None:
    slurm.believe_live([job(state="SUSPENDED", detail="gpu:h200:1(IDX:0)")], AT + 10)
    assert believed(store) == [("1", 0, None, *g1(0), "work")]
    assert notes(store, "1")["suspended"] is True
    slurm.believe_live([job(detail="gpu:h200:1(IDX:0)")], AT + 30)
    assert "suspended" not in notes(store, "1")
    assert len(believed(store, known="true")) == 1


def test_completing_after_the_end_is_the_platforms(slurm: Belief, store: Store) -> None:
    slurm.believe_live([job(detail="gpu:h200:1(IDX:4)")], AT + 10)
    slurm.believe_live([job(state="COMPLETING", end=AT + 15)], AT + 30)
    assert believed(store) == [
        ("1", 0, 15, *g1(4), "work"),
        ("completing/g1/1", 15, None, *g1(4), "completing"),
    ]
    assert notes(store, "completing/g1/1")["reason"] == "completing"
    slurm.believe_live([], AT + 50)
    assert believed(store)[1] == ("completing/g1/1", 15, 50, *g1(4), "completing")


def test_completing_ends_after_a_restart_of_the_collector_too(store: Store) -> None:
    first = belief(store)
    first.believe_live([job(detail="gpu:h200:1(IDX:4)")], AT + 10)
    first.believe_live([job(state="COMPLETING", end=AT + 15)], AT + 30)
    belief(store).believe_live([], AT + 50)
    assert [row[2] for row in believed(store)] == [15, 50]


def test_parts_of_arrays_and_heterogeneous_jobs_have_their_own_names(slurm: Belief, store: Store) -> None:
    jobs = [
        job(8, array_job_id=3, array_task_id=0, detail="gpu:h200:1(IDX:0)"),
        job(5, het_job_id=4, het_offset=1, detail="gpu:h200:1(IDX:1)"),
    ]
    slurm.believe_live(jobs, AT + 10)
    assert [row[0] for row in believed(store)] == ["3_0", "4+1"]


def test_a_job_on_two_nodes_is_one_workload_in_two_places(slurm: Belief, store: Store) -> None:
    detail = {"g1": "gpu:h200:1(IDX:7)", "g2": "gpu:h200:2(IDX:0-1)"}
    slurm.believe_live([job(nodes=("g1", "g2"), detail=detail, tres="gres/gpu=3")], AT + 10)
    cards = [*g1(7), card_of("g2", 0), card_of("g2", 1)]
    assert believed(store) == [("1", 0, None, card, "work") for card in cards]
    # Totals alone would split three cards otherwise: what is believed stays.
    past = job(nodes=("g1", "g2"), state="COMPLETED", end=AT + 20, tres="gres/gpu=3")
    belief(store).believe_past([past], AT + 60)
    assert believed(store) == [("1", 0, 20, card, "work") for card in cards]
    belief(store).believe_past([past], AT + 90)
    assert believed(store) == [("1", 0, 20, card, "work") for card in cards]


def test_a_run_never_seen_has_exact_node_count_and_times_and_no_card(slurm: Belief, store: Store) -> None:
    slurm.believe_past([job(state="COMPLETED", end=AT + 2, tres="gres/gpu=3")], AT + 60)
    assert believed(store) == [("1", 0, 2, "g1:3", "work")]
    assert "no prolog" in notes(store, "1")["card_unknown"]


def test_a_run_that_lasted_no_second_is_no_holding(slurm: Belief, store: Store) -> None:
    slurm.believe_past([job(state="CANCELLED", end=AT)], AT + 60)
    assert believed(store) == []


# ------------------------------------------------------------------------------- somebody is away


def test_a_run_out_of_sight_stays_open_until_accounting_says_when_it_ended(
    slurm: Belief, store: Store
) -> None:
    slurm.believe_live([job(detail="gpu:h200:1(IDX:0)")], AT + 10)
    slurm.believe_live([], AT + 30)
    slurm.believe_live([], AT + 50)
    assert believed(store) == [("1", 0, None, *g1(0), "work")]
    assert notes(store, "1")["end_unknown"] is True
    assert [row.workload_id for row in slurm.end_unknown()] == [f"slurm/{CLUSTER}/1"]
    slurm.believe_past([job(state="COMPLETED", end=AT + 17)], AT + 90)
    assert believed(store) == [("1", 0, 17, *g1(0), "work")]
    assert "end_unknown" not in notes(store, "1")
    assert len(believed(store, known="true")) == 2


def test_a_run_that_comes_back_into_sight_was_never_gone(slurm: Belief, store: Store) -> None:
    slurm.believe_live([job(detail="gpu:h200:1(IDX:0)")], AT + 10)
    slurm.believe_live([], AT + 30)
    slurm.believe_live([job(detail="gpu:h200:1(IDX:0)")], AT + 50)
    assert believed(store) == [("1", 0, None, *g1(0), "work")]
    assert "end_unknown" not in notes(store, "1")


def test_without_accounting_a_run_ends_when_it_was_last_seen_and_says_so(store: Store) -> None:
    slurm = belief(store, accounting=False)
    slurm.believe_live([job(detail="gpu:h200:1(IDX:0)")], AT + 10)
    slurm.believe_live([], AT + 30)
    assert believed(store) == [("1", 0, 10, *g1(0), "work")]
    assert notes(store, "1")["end_estimated"] is True


def test_a_run_seen_under_another_start_is_corrected(slurm: Belief, store: Store) -> None:
    slurm.believe_live([job(detail="gpu:h200:1(IDX:0)")], AT + 10)
    slurm.believe_live([], AT + 30)
    slurm.believe_past([job(start=AT + 3, state="COMPLETED", end=AT + 20)], AT + 60)
    assert believed(store) == [("1", 3, 20, "g1:1", "work")]


def test_a_start_set_anew_when_nodes_had_booted_is_one_run(slurm: Belief, store: Store) -> None:
    slurm.believe_live([job(state="RUNNING+CONFIGURING", detail="gpu:h200:1(IDX:0)")], AT + 10)
    slurm.believe_live([job(start=AT + 100, detail="gpu:h200:1(IDX:0)")], AT + 110)
    assert believed(store) == [("1", 100, None, *g1(0), "work")]


def test_another_run_of_the_job_does_not_end_the_one_nobody_told_the_end_of(
    slurm: Belief, store: Store
) -> None:
    slurm.believe_live([job(detail="gpu:h200:1(IDX:0)")], AT + 10)
    slurm.believe_live([], AT + 30)
    slurm.believe_past([job(start=AT - 500, state="REQUEUED", end=AT - 400)], AT + 60)
    assert ("1", 0, None, *g1(0), "work") in believed(store)


def test_a_record_that_changed_later_is_a_correction(slurm: Belief, store: Store) -> None:
    slurm.believe_past([job(state="COMPLETED", end=AT + 20)], AT + 60)
    slurm.believe_past([job(state="CANCELLED", end=AT + 25)], AT + 120)
    assert believed(store) == [("1", 0, 25, "g1:1", "work")]
    assert [row[2] for row in believed(store, known="true")] == [20, 25]


def test_what_only_the_controller_says_outlives_its_answer(slurm: Belief, store: Store) -> None:
    """sacct --json of 22.05 names no reservation and no restarts."""
    known = {"reservation": "r1", "restarts": 2}
    slurm.believe_live([job(detail="gpu:h200:1(IDX:0)", **known)], AT + 10)
    slurm.believe_live([job(state="COMPLETED", end=AT + 15, **known)], AT + 30)
    slurm.believe_live([], AT + 50)
    slurm.believe_past([job(state="COMPLETED", end=AT + 15, restarts=None)], AT + 60)
    assert notes(store, "1")["restarts"] == 2
    cursor = store.cursor()
    assert '"slurm-reservation": "r1"' in cursor.execute("SELECT labels FROM workload").fetchall()[0][0]
    cursor.close()


# ------------------------------------------------------------------------------- fences and reservations


def test_a_fence_is_isolation_and_never_a_holding(slurm: Belief, store: Store) -> None:
    by_comment = job(1, comment="fence:GPU-g1-3:12", detail="gpu:h200:1(IDX:3)")
    by_account = job(2, account="ullage-fence", nodes=("g2",), detail="gpu:h200:1(IDX:0)")
    slurm.believe_live([by_comment, by_account], AT + 10)
    assert believed(store) == []
    assert [(f.node, f.index, f.card_id, f.from_us, f.to_us, f.comment) for f in slurm.fences] == [
        ("g1", 3, card_of("g1", 3), AT * 1_000_000, None, "fence:GPU-g1-3:12"),
        ("g2", 0, card_of("g2", 0), AT * 1_000_000, None, None),
    ]
    # Accounting need not keep the comment.
    slurm.believe_past([job(1, state="CANCELLED", end=AT + 30)], AT + 60)
    slurm.believe_live([], AT + 70)
    assert (believed(store), slurm.fences) == ([], ())


def _reservation(**more: object) -> Reservation:
    plain = Reservation("r1", AT - 60, AT + 600, ("g2",), ("nlp", "vision"), (), {"cpu": 64}, ("SPEC_NODES",))
    return replace(plain, **more)  # type: ignore[arg-type]


def test_a_reservation_holds_all_cards_of_its_nodes_for_its_account(slurm: Belief, store: Store) -> None:
    slurm.known.paths = {"nlp": "/root/rd/nlp"}
    slurm.believe_reservations([_reservation()], AT)
    name = "reservation/tiny/r1"
    assert believed(store) == [(name, -60, None, card_of("g2", n), "reserved") for n in range(8)]
    cursor = store.cursor()
    row = cursor.execute("SELECT kind, namespace, labels, attributes FROM workload").fetchall()[0]
    cursor.close()
    assert row[:2] == ("reservation", "nlp")
    assert '"slurm-accounts": "nlp,vision"' in row[2]
    assert "/root/rd/nlp" in row[3]
    slurm.believe_reservations([_reservation()], AT + 60)
    assert len(believed(store, known="true")) == 8


def test_a_reservation_ends_as_planned_or_when_it_is_gone(slurm: Belief, store: Store) -> None:
    slurm.believe_reservations([_reservation(), _reservation(name="r2", nodes=("g1",))], AT)
    slurm.believe_reservations([_reservation()], AT + 60)
    assert {row[2] for row in believed(store) if row[0].endswith("r2")} == {60}
    # The collector was away over the end of the other.
    belief(store).believe_reservations([], AT + 9_000)
    assert {row[2] for row in believed(store) if row[0].endswith("r1")} == {600}


def test_a_reservation_that_counts_cards_holds_so_many(slurm: Belief, store: Store) -> None:
    slurm.believe_reservations([_reservation(nodes=("g1", "g2"), tres={"gres/gpu": 5})], AT)
    assert [row[3] for row in believed(store)] == ["g1:3", "g2:2"]


def test_maintenance_and_what_has_not_begun_are_no_holdings(slurm: Belief, store: Store) -> None:
    slurm.believe_reservations([_reservation(flags=("MAINT",)), _reservation(name="r2", start=AT + 5)], AT)
    assert believed(store) == []


# ------------------------------------------------------------------------------- shares of cards


def test_shards_are_a_share_of_their_card(slurm: Belief, store: Store) -> None:
    slurm.known.configured = {"g1": gres.read("gpu:a100:8,shard:32")}
    jobs = [
        job(1, detail="shard:3(IDX:2)", tres="gres/shard=3"),
        job(2, detail="shard:a100:3(0/4,2/4,1/4)", tres="gres/shard=3"),
    ]
    slurm.believe_live(jobs, AT + 10)
    cursor = store.cursor()
    rows = cursor.execute(
        "SELECT w.workload_id, c.card_id, a.share_nano FROM allocation a JOIN workload w USING (workload_key)"
        " JOIN card c USING (card_key) ORDER BY ALL"
    ).fetchall()
    cursor.close()
    assert rows == [
        ("slurm/tiny/1", card_of("g1", 2), NANO * 3 // 4),
        ("slurm/tiny/2", card_of("g1", 1), NANO // 2),
        ("slurm/tiny/2", card_of("g1", 2), NANO // 4),
    ]
    slurm.believe_past([job(1, state="COMPLETED", end=AT + 20, tres="gres/shard=3")], AT + 60)
    assert ("1", 0, 20, *g1(2), "work") in believed(store)


def test_shards_of_a_card_nobody_knows_the_size_of_count_the_whole_card_and_say_so(slurm: Belief) -> None:
    found = holding(slurm.known, job(detail="shard:3(IDX:2)", tres="gres/shard=3"), over=False)
    assert found.places is not None
    assert [(place.card_id, place.share_nano) for place in found.places] == [(card_of("g1", 2), NANO)]
    assert "is not known" in str(found.attributes["card_unknown"])


def test_mig_instances_are_their_share_of_a_card_nobody_knows(slurm: Belief, store: Store) -> None:
    slurm.believe_live([job(detail="gpu:1g.10gb:2(IDX:0-1)", tres="gres/gpu=2,gres/gpu:1g.10gb=2")], AT + 10)
    [row] = believed(store)
    assert row[3].startswith("g1:0.2857")
    assert notes(store, "1")["mig_profile"] == "1g.10gb"
    assert (
        not belief(store)
        .believe_live([job(detail="gpu:1g.10gb:2(IDX:0-1)", tres="gres/gpu=2,gres/gpu:1g.10gb=2")], AT + 30)
        .changed
    )


def test_a_node_no_agent_names_counts_its_cards(store: Store) -> None:
    slurm = belief(store)
    slurm.known.index = CardIndex({})
    slurm.believe_live([job(nodes=("x9",), detail="gpu:h200:4(IDX:0-3)", tres="gres/gpu=4")], AT + 10)
    assert believed(store) == [("1", 0, None, "x9:4", "work")]
    assert "no agent" in notes(store, "1")["card_unknown"]
    # Its agent starts: the next answer of the controller places the cards.
    slurm.known.index = index_of({"x9": range(8)})
    slurm.believe_live([job(nodes=("x9",), detail="gpu:h200:4(IDX:0-3)", tres="gres/gpu=4")], AT + 30)
    assert [row[3] for row in believed(store)] == [card_of("x9", n) for n in range(4)]


def test_labels_and_attributes_say_account_qos_partition_and_reservation(slurm: Belief) -> None:
    slurm.known.paths = {"nlp": "/root/rd/nlp"}
    found = holding(
        slurm.known, job(8, array_job_id=3, array_task_id=1, reservation="r1"), over=False
    ).workload
    assert found.labels == {
        "slurm-account": "nlp",
        "slurm-qos": "normal",
        "slurm-partition": "batch",
        "slurm-reservation": "r1",
    }
    assert found.attributes == {
        "qos": "normal",
        "reservation": "r1",
        "account_path": "/root/rd/nlp",
        "array_job_id": 3,
    }
    assert (found.workload_id, found.namespace, found.user) == ("slurm/tiny/3_1", "nlp", "daemon")


def test_slices_a_prolog_named_are_held_as_slices(store: Store) -> None:
    known = Known(
        CLUSTER, index_of(), slices={"GPU-g1-0/gi7": Slice("GPU-g1-0/gi7", "GPU-g1-0", 1 / 7, 1 / 8)}
    )
    text = json.dumps({"job_id": "1", "gpus": "MIG-aa", "cards": "GPU-g1-0/gi7", "started_at": AT})
    known.hooks.take([(AT * 1_000_000, "g1", "job_started", text)])
    found = holding(known, job(detail="gpu:1g.10gb:1(IDX:0)", tres="gres/gpu:1g.10gb=1"), over=False)
    assert found.places is not None
    [place] = found.places
    assert (place.card_id, place.slice_id) == ("GPU-g1-0", "GPU-g1-0/gi7")
    assert (place.share_nano, place.memory_share_nano) == (round(NANO / 7), NANO // 8)
