"""More than a whole card handed out is said, never clamped away; a whole one in parts is no finding."""

from __future__ import annotations

from pathlib import Path

from ullage_collector.allocation.book import AllocationBook
from ullage_collector.allocation.holding import NANO, Holding, Place, Rank, Workload
from ullage_collector.detect.over_subscription import Held, find, now_held
from ullage_collector.store.store import Store

QUARTER = NANO // 4


def share(number: int, nano: int, memory: int | None = None) -> Held:
    return Held("GPU-a", f"k8s/c/ns/p{number}/u", nano, memory, number)


def test_four_quarters_are_a_whole_card_and_no_finding() -> None:
    assert find(share(n, QUARTER, QUARTER) for n in range(4)) == []


def test_the_fifth_quarter_is_over_subscription_since_it_began() -> None:
    (found,) = find(share(n, QUARTER) for n in range(5))
    assert (found.subject, found.since_us, found.evidence["share"]) == ("GPU-a", 4, 1.25)
    assert found.evidence["memory_share"] is None
    assert found.evidence["holders"] == 5


def test_memory_alone_may_be_too_much() -> None:
    (found,) = find([share(1, QUARTER, NANO // 2), share(2, QUARTER, NANO)])
    assert (found.evidence["share"], found.evidence["memory_share"]) == (0.5, 1.5)


def test_the_store_says_who_holds_now_and_a_reservation_does_not_count(tmp_path: Path) -> None:
    store = Store.open(tmp_path / "store.duckdb")
    try:
        now_us = round(store.clock.wall() * 1e6)
        book = AllocationBook(store, "kubernetes")
        pods = [Workload(f"k8s/c/ns/p{n}/u", "kubernetes_pod", "c") for n in range(3)]
        book.believe(
            [
                Holding(pods[0], now_us - 20, None, (Place("n1", "GPU-a", None, NANO),)),
                Holding(pods[1], now_us - 10, None, (Place("n1", "GPU-a", None, NANO // 2),)),
                Holding(pods[2], now_us - 10, now_us - 5, (Place("n1", "GPU-b", None, NANO),)),
                Holding(
                    Workload("slurm/c/reservation/r", "reservation", "c"),
                    now_us - 30,
                    None,
                    (Place("n1", "GPU-b"), Place("n1", "GPU-b")),
                    Rank.RESERVED,
                ),
            ]
        )
        (found,) = find(now_held(store.cursor(), now_us))
        assert (found.subject, found.since_us, found.evidence["share"]) == ("GPU-a", now_us - 10, 1.5)
    finally:
        store.close()
