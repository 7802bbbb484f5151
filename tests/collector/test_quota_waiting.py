"""Who waits for cards: told in full, kept as dated facts, and counted where it is known which cards are asked for."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.collector.quota_world import CARD, DAWN, HOUR_US, QuotaWorld, us

from ullage_collector.allocation.holding import Workload
from ullage_collector.quota.entry import Scope
from ullage_collector.quota.steps import total
from ullage_collector.quota.waiting import Kept, Request, keep_waiting
from ullage_contract.errors import BadInput


@pytest.fixture
def world(tmp_path: Path) -> Iterator[QuotaWorld]:
    made = QuotaWorld(tmp_path)
    yield made
    made.close()


def pending(job: str, asked: float, cards: float = 2, **more: object) -> Request:
    workload = Workload(
        f"slurm/mini/{job}",
        "slurm_job",
        "mini",
        user=str(more.pop("user", "li")),
        namespace=str(more.pop("account", "nlp")),
    )
    given: dict = {"resource": "gres/gpu", "queue": "gpu", "reason": "Resources", **more}
    return Request(workload, us(asked), round(cards * CARD), **given)


def tell(world: QuotaWorld, hours: float, *requests: Request, source: str = "slurm") -> Kept:
    with world.store.write() as cursor:
        return keep_waiting(cursor, source, "mini", requests, us(hours))


def believed(world: QuotaWorld) -> list[tuple[str, float, float, float | None]]:
    rows = world.run(
        "SELECT workload_id, cards_nano, epoch_us(valid_from), epoch_us(valid_to) FROM request WHERE known_to IS NULL "
        "ORDER BY workload_id, valid_from"
    )
    zero = us(0)
    return [
        (
            name.rpartition("/")[2],
            nano / CARD,
            (a - zero) / HOUR_US,
            None if b is None else (b - zero) / HOUR_US,
        )
        for name, nano, a, b in rows
    ]


def test_the_same_told_twice_changes_nothing_and_what_is_absent_has_ended(world: QuotaWorld) -> None:
    assert tell(world, 2, pending("1", 1), pending("2", 1.5, 4)) == Kept(2, 0, 2)
    assert tell(world, 3, pending("1", 1), pending("2", 1.5, 4, reason="Priority")) == Kept(0, 0, 2)
    assert world.run("SELECT DISTINCT reason FROM request WHERE workload_id LIKE '%/2'") == [("Priority",)]
    assert tell(world, 4, pending("2", 1.5, 4, reason="Priority")) == Kept(0, 1, 1)
    assert believed(world) == [("1", 2, 1, 4), ("2", 4, 1.5, None)]
    assert tell(world, 5) == Kept(0, 1, 0)
    assert believed(world) == [("1", 2, 1, 4), ("2", 4, 1.5, 5)]


def test_what_changed_ends_and_goes_on_as_it_is_told(world: QuotaWorld) -> None:
    tell(world, 2, pending("1", 1, 8))
    assert tell(world, 3, pending("1", 1, 4)) == Kept(1, 1, 1)
    assert tell(world, 4, pending("1", 1, 4)) == Kept(0, 0, 1)
    assert believed(world) == [("1", 8, 1, 3), ("1", 4, 3, None)]


def test_a_requeued_job_waits_anew(world: QuotaWorld) -> None:
    tell(world, 2, pending("1", 1))
    tell(world, 3)
    tell(world, 6, pending("1", 5))
    assert believed(world) == [("1", 2, 1, 3), ("1", 2, 5, None)]


def test_a_request_that_is_told_again_waits_again_and_no_hour_counts_twice(world: QuotaWorld) -> None:
    tell(world, 2, pending("1", 1))
    tell(world, 3)
    assert tell(world, 6, pending("1", 1)) == Kept(1, 0, 1)
    assert tell(world, 7, pending("1", 1), pending("1", 1, resource=None)) == Kept(1, 0, 2)
    tell(world, 8)
    tell(world, 9, pending("1", 1, resource=None))
    assert believed(world) == [("1", 2, 1, 3), ("1", 2, 1, 8), ("1", 2, 6, 8), ("1", 2, 9, None)]


def test_sources_and_clusters_do_not_end_each_others_requests(world: QuotaWorld) -> None:
    tell(world, 2, pending("1", 1))
    assert tell(world, 3, source="other") == Kept(0, 0, 0)
    assert believed(world) == [("1", 2, 1, None)]


@pytest.mark.parametrize("cards", [0, -1])
def test_a_request_for_no_cards_is_refused_and_nothing_changes(world: QuotaWorld, cards: int) -> None:
    tell(world, 2, pending("1", 1))
    with pytest.raises(BadInput, match="waits for"):
        tell(world, 3, pending("2", 1, cards))
    assert believed(world) == [("1", 2, 1, None)]


SLURM = "Cluster|Account|User|Partition|ParentName|Share|GrpTRES\n" + "\n".join(
    ("mini|root|||||", "mini|nlp|||root|1|gres/gpu=8,gres/gpu:h200=4", "mini|vision|||root|1|gres/gpu=4")
)


def test_waiting_counts_in_the_account_and_above_it_exactly(world: QuotaWorld) -> None:
    world.cards(8, node="g1", model="NVIDIA H200", cluster="mini")
    world.bring("quotas", SLURM, "assoc.txt", since_us=us(-1))
    tell(
        world,
        2,
        pending("1", 1, 3),
        pending("2", 1.5, 2, account="vision"),
        pending("3", 1, 1, account="who"),
    )
    tell(world, 4)
    (part,) = [p for p in world.shown(2)["trees"][0]["cards"] if p["model"] is None]
    waiting = {node["quota"]: node["waiting"] for node in part["nodes"]}
    assert waiting == {"root": "5", "nlp": "3", "vision": "2"}
    assert part["waiting"] == "5"
    summed = total(world.known(0, 6).steps("slurm/mini", Scope()))
    assert summed.nodes["root"].waiting == (3 * CARD * 3 * HOUR_US) + (2 * CARD * 5 * HOUR_US // 2)
    assert {n["waiting"] for n in world.summed(5, 6)["trees"][0]["cards"][0]["nodes"]} == {"0"}


def test_a_typed_request_counts_in_its_type_and_an_account_without_one_in_all(world: QuotaWorld) -> None:
    world.cards(8, node="g1", model="NVIDIA H200", cluster="mini")
    world.bring("quotas", SLURM, "assoc.txt", since_us=us(-1))
    tell(
        world, 2, pending("1", 1, 3, resource="gres/gpu:h200"), pending("2", 1, 2, resource="gres/gpu:mi300")
    )
    found = {
        (part["model"], node["quota"]): node["waiting"]
        for part in world.shown(2)["trees"][0]["cards"]
        for node in part["nodes"]
    }
    assert found["*h200|*h200[!0-9]*", "nlp"] == "3"
    assert found[None, "nlp"] == "2"


def test_a_resource_nobody_knows_is_told_and_counts_without_its_kind(world: QuotaWorld) -> None:
    world.bring("quotas", SLURM, "assoc.txt", since_us=us(-1))
    tell(world, 2, pending("1", 1, 3, resource="gres/quantum"))
    assert any("gres/quantum" in text for text in world.known(2, 3).refused)


def test_waiting_that_fits_several_pools_counts_in_none_and_is_shown_beside(world: QuotaWorld) -> None:
    world.bring(
        "quotas",
        '[[quota]]\nname = "nlp"\npool = "a"\nmin = 4\nbinds = ["slurm=nlp"]\n'
        '[[quota]]\nname = "nlp"\npool = "b"\nmin = 2\nbinds = ["slurm=nlp"]\n',
        "q.toml",
    )
    tell(world, 2, pending("1", 1, 3))
    (tree,) = world.shown(2)["trees"]
    assert tree["unplaced"] == {"used": "0", "waiting": "3"}
    assert {node["waiting"] for part in tree["cards"] for node in part["nodes"]} == {"0"}


def test_waiting_as_known_at_a_time_never_changes(world: QuotaWorld) -> None:
    world.bring("quotas", SLURM, "assoc.txt", since_us=us(-1))
    tell(world, 12.0, pending("1", 1, 3))
    before = world.summed(0, 11, known=12.5)
    tell(world, 13.0)
    assert world.summed(0, 11, known=12.5) == before
    assert DAWN % 86_400 == 0
