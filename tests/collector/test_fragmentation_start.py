"""Jobs that could start, and one cause for every free card that no job could take."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from ullage_collector.detect.fragmentation.capacity import FreeNode
from ullage_collector.detect.fragmentation.start import CAUSES, Need, Start, need_of, parts, starts
from ullage_collector.detect.fragmentation.task import Ask, Task

NOTHING = Need(None, None)


def node(free: int, cards: int = 8, **more: object) -> FreeNode:
    known = FreeNode("n", "A", None, None, (1000,) * free + (0,) * (cards - free))
    return replace(known, **more)


def one(nodes: list[FreeNode], size: int, need: Need = NOTHING) -> tuple[int, dict[str, int]]:
    (found,) = starts(nodes, [size], need)
    return found.jobs, {cause: cards for cause, cards in found.stranded.items() if cards}


def test_single_cards_start_wherever_one_is_free() -> None:
    assert one([node(3), node(5)], 1) == (8, {})


def test_eight_free_on_two_nodes_are_no_job_of_eight() -> None:
    assert one([node(3), node(5)], 8) == (0, {"node": 8})
    assert one([node(3), node(5)], 4) == (1, {"node": 4})
    assert one([node(3), node(4)], 8) == (0, {"pool": 7})


def test_a_partly_held_card_starts_nothing() -> None:
    assert one([FreeNode("n", "A", None, None, (999, 1000))], 2) == (0, {"pool": 1})


def test_models_and_pools_are_not_mixed() -> None:
    assert one([node(4), node(4, model="B")], 8) == (0, {"model": 8})
    assert one([node(4), node(4, pool="p")], 8) == (0, {"pool": 8})
    assert one([node(4), node(4, cluster="c")], 8) == (0, {"pool": 8})


def test_a_job_up_to_an_island_stays_in_one() -> None:
    islands = ("x",) * 4 + ("y",) * 4
    torn = replace(node(8), cards=(1000, 1000, 0, 0, 1000, 1000, 0, 0), islands=islands)
    assert one([torn], 4) == (0, {"island": 4})
    assert one([torn], 2) == (2, {})
    assert one([node(8, islands=islands)], 8) == (
        1,
        {},
    )  # no island has eight: the node is as near as it gets
    half = replace(torn, islands=("x", "x", "x", "x", "", "", "", ""))
    assert one([half], 4) == (1, {})
    assert one([replace(torn, islands=())], 4) == (1, {})  # nobody said: nothing is lost for it


def test_a_job_larger_than_a_node_takes_whole_nodes_behind_one_switch_and_on_the_same_rails() -> None:
    near = [node(8, domain="s1"), node(8, domain="s1")]
    far = [node(8, domain="s1"), node(8, domain="s2")]
    assert one(near, 16) == (1, {})
    assert one(far, 16) == (0, {"switch": 16})
    assert one([node(8), node(7)], 16) == (0, {"pool": 15})
    assert one([node(8), node(7), node(7)], 16) == (0, {"pool": 6, "node": 16})
    assert one([node(8, domain="s1"), node(8)], 16) == (1, {})  # nobody said where the second is
    assert one([node(8, domain="s1"), node(8, domain="s2"), node(8)], 16) == (1, {"pool": 8})
    assert one([node(8, domain="s1"), node(8, domain="s2"), node(8), node(8)], 16) == (2, {})
    three = [node(8, domain=name) for name in ("s1", "s2", "s3")]
    assert one([*three, node(8)], 16) == (1, {"switch": 16})
    odd = [node(8, domain="s1", rails="0-7"), node(8, domain="s1", rails="0-3")]
    assert one(odd, 16) == (0, {"rail": 16})
    assert one(near, 12) == (1, {"pool": 4})


def test_processors_and_memory_beside_the_cards_are_named_apart() -> None:
    need = Need(4000, 100)
    assert one([node(8, cpu_milli=16_000, memory_mib=10_000)], 1, need) == (4, {"processors": 4})
    assert one([node(8, cpu_milli=64_000, memory_mib=250)], 1, need) == (2, {"memory": 6})
    assert one([node(8, cpu_milli=16_000, memory_mib=10_000)] * 2, 16, need) == (0, {"processors": 16})
    assert one([node(8)], 8, need) == (1, {})  # not told: counted elsewhere, and nothing is lost for it


def test_a_fenced_card_is_not_among_the_cards_and_starts_nothing() -> None:
    whole, fenced = node(8), node(7, cards=7)
    assert one([whole], 8) == (1, {})
    assert one([fenced], 8) == (0, {"pool": 7})


def test_what_a_job_needs_beside_a_card_is_the_median_of_whole_card_tasks() -> None:
    tasks = [
        Task(Ask(8000, 80, 2, 1000), 3.0),
        Task(Ask(12_000, None, 1, 1000), 2.0),
        Task(Ask(1, 1, 1, 100), 50.0),
        Task(Ask(99_000, 1, 0, 0), 50.0),
    ]
    assert need_of(tasks) == Need(4000, 40)
    assert need_of([Task(Ask(7, 9, 1, 100), 1.0)]) == Need(7, 9)
    assert need_of([]) == NOTHING


def test_free_shares_that_no_typical_task_could_use_are_stranded() -> None:
    tasks = [Task(Ask(1000, 1, 1, 300), 1.0), Task(Ask(1000, 1, 1, 200, frozenset("B")), 1.0)]
    nodes = [
        FreeNode("a", "A", 5000, None, (1000, 0, 299, 300)),
        FreeNode("b", "B", 5000, None, (250,)),
        FreeNode("c", "A", 999, None, (500,)),
    ]
    found = parts(nodes, tasks)
    assert (found.cards, found.free_milli, found.stranded_milli) == (4, 1349, 299 + 500)


drawn = st.lists(
    st.builds(
        FreeNode,
        name=st.just("n"),
        cards=st.lists(st.sampled_from((0, 500, 1000, 1000)), max_size=8).map(tuple),
        model=st.sampled_from("AB"),
        cpu_milli=st.one_of(st.none(), st.integers(0, 20)),
        memory_mib=st.one_of(st.none(), st.integers(0, 20)),
        pool=st.sampled_from(("", "p")),
        domain=st.sampled_from(("", "s", "t")),
        rails=st.sampled_from(("", "r")),
    ),
    max_size=8,
)


@given(drawn, st.integers(1, 20), st.integers(0, 4), st.booleans())
@settings(max_examples=300, deadline=None)
def test_jobs_and_stranded_cards_add_up_and_no_cause_takes_less_than_nothing(
    nodes: list[FreeNode], size: int, each: int, split: bool
) -> None:
    if split:
        nodes = [replace(n, islands=tuple(("x", "y", "")[c % 3] for c in range(len(n.cards)))) for n in nodes]
    found: Start
    (found,) = starts(nodes, [size], Need(each, each))
    free = sum(milli == 1000 for n in nodes for milli in n.cards)
    assert tuple(found.stranded) == CAUSES
    assert found.jobs * size + sum(found.stranded.values()) == free
    assert all(cards >= 0 for cards in found.stranded.values()), found
    assert found.jobs >= 0


def test_no_nodes_start_nothing() -> None:
    assert one([], 1) == (0, {})
    assert starts([node(0, cards=0)], [1], NOTHING)[0].jobs == 0
    assert starts([node(8)], [], NOTHING) == []
