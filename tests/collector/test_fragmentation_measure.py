"""The measure equals the published rule: by hand, against plain loops, on the public trace, and what always holds."""

from __future__ import annotations

import csv
from dataclasses import replace

import numpy as np
import pytest
from fragmentation_cases import CASES, OPENB_NODES, OPENB_PODS, Case, loops
from hypothesis import given, settings
from hypothesis import strategies as st

from ullage_collector.detect.fragmentation.answer import answer
from ullage_collector.detect.fragmentation.capacity import FreeNode, as_arrays
from ullage_collector.detect.fragmentation.files import read_asks
from ullage_collector.detect.fragmentation.measure import CLASSES, SATISFIED, measure, totalled
from ullage_collector.detect.fragmentation.task import Ask, Task, learned, models_of, normalised, typical
from ullage_collector.detect.fragmentation.task import given as exactly
from ullage_contract.errors import BadInput

MODELS = ("A", "B", "C", "")
amounts = st.one_of(st.integers(0, 1000), st.sampled_from((0, 250, 500, 1000)))
nodes_drawn = st.lists(
    st.builds(
        FreeNode,
        name=st.just("n"),
        model=st.sampled_from(MODELS),
        cpu_milli=st.one_of(st.none(), st.integers(0, 8000)),
        memory_mib=st.one_of(st.none(), st.integers(0, 4000)),
        cards=st.lists(amounts, max_size=9).map(tuple),
    ),
    max_size=6,
)
asks_drawn = st.builds(
    Ask,
    cpu_milli=st.integers(0, 8000),
    memory_mib=st.one_of(st.none(), st.integers(0, 4000)),
    cards=st.integers(1, 8),
    share_milli=st.one_of(st.integers(1, 1000), st.sampled_from((250, 500, 1000))),
    models=st.frozensets(st.sampled_from(MODELS[:3]), max_size=2),
) | st.builds(
    Ask,
    cpu_milli=st.integers(0, 8000),
    memory_mib=st.integers(0, 4000),
    cards=st.just(0),
    share_milli=st.just(0),
)
tasks_drawn = st.lists(st.builds(Task, ask=asks_drawn, weight=st.floats(0.01, 100)), min_size=1, max_size=6)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_case_worked_by_hand(case: Case) -> None:
    total = totalled(measure(as_arrays(case.nodes), normalised(case.tasks), memory=case.memory))
    assert total.free_milli == case.free
    assert total.by_class == pytest.approx(dict.fromkeys(CLASSES, 0.0) | case.by_class, abs=1e-9)
    assert total.fragmented_milli == pytest.approx(case.fragmented, abs=1e-9)
    assert total.ratio == (pytest.approx(case.fragmented / case.free) if case.free else None)


def test_the_cases_cover_every_class_and_the_plain_loops_agree() -> None:
    met = {name for case in CASES for name, milli in case.by_class.items() if milli}
    assert met == set(CLASSES)
    for case in CASES:
        summed = dict.fromkeys(CLASSES, 0.0)
        for one in loops(case.nodes, case.tasks, memory=case.memory):
            for name, milli in one.items():
                summed[name] += milli
        assert summed == pytest.approx(dict.fromkeys(CLASSES, 0.0) | case.by_class, abs=1e-9), case.name


@given(nodes_drawn, tasks_drawn, st.booleans())
@settings(max_examples=300, deadline=None)
def test_every_node_is_as_the_plain_loops_say(nodes: list[FreeNode], tasks: list[Task], memory: bool) -> None:
    measured = measure(as_arrays(nodes), normalised(tasks), memory=memory)
    for row, one in zip(measured.by_class, loops(nodes, tasks, memory=memory), strict=True):
        assert dict(zip(CLASSES, row, strict=True)) == pytest.approx(one, abs=1e-6)


@given(nodes_drawn, tasks_drawn)
@settings(max_examples=200, deadline=None)
def test_a_fragment_is_free_and_classes_add_up_and_memory_only_adds(
    nodes: list[FreeNode], tasks: list[Task]
) -> None:
    free, kinds = as_arrays(nodes), normalised(tasks)
    published, with_memory = measure(free, kinds), measure(free, kinds, memory=True)
    for measured in (published, with_memory):
        assert (measured.fragmented_milli <= measured.free_milli).all()
        assert (measured.by_class >= -1e-9).all()
        assert measured.by_class.sum(axis=1) == pytest.approx(measured.free_milli, abs=1e-6)
    assert (with_memory.fragmented_milli >= published.fragmented_milli - 1e-6).all()


@given(nodes_drawn, tasks_drawn)
@settings(max_examples=100, deadline=None)
def test_order_and_scale_change_nothing(nodes: list[FreeNode], tasks: list[Task]) -> None:
    before = totalled(measure(as_arrays(nodes), normalised(tasks)))
    mixed = [replace(n, cards=tuple(sorted(n.cards))) for n in reversed(nodes)]
    scaled = [replace(t, weight=t.weight * 8) for t in reversed(tasks)]
    after = totalled(measure(as_arrays(mixed), normalised(scaled)))
    assert after.by_class == pytest.approx(before.by_class, abs=1e-6)


def test_a_node_whose_processors_nobody_told_fails_no_task_and_is_counted() -> None:
    nodes = [FreeNode("n", "A", None, None, (1000,))]
    tasks = exactly([Task(Ask(10**9, 10**9, 1, 1000), 1.0)])
    found = answer(nodes, tasks, memory=True)
    assert (found["fragmented_milli"], found["nodes_without_cpu"], found["nodes_without_memory"]) == (0, 1, 1)


def test_tasks_that_all_ask_for_no_card_have_no_second_figure() -> None:
    nodes = [FreeNode("n", "A", 1000, None, (1000,))]
    found = answer(nodes, exactly([Task(Ask(1, None, 0, 0), 1.0)]))
    assert (found["fragmented_milli"], found["ratio"], found["gpu_tasks"]) == (1000, 1.0, None)


def test_no_nodes_and_nothing_free_have_no_ratio() -> None:
    tasks = exactly([Task(Ask(1, None, 1, 1000), 1.0)])
    assert answer([], tasks)["ratio"] is None
    assert answer([FreeNode("n", "A", 1, 1, (0, 0))], tasks)["ratio"] is None


def test_clusters_and_pools_add_up_to_the_whole_and_the_worst_nodes_come_first() -> None:
    nodes = [
        FreeNode(
            f"n{number:02}", "A", 8000, None, (500, 100 * (number % 7)), f"c{number % 2}", f"p{number % 3}"
        )
        for number in range(30)
    ]
    found = answer(nodes, exactly([Task(Ask(1, None, 1, 400), 3.0), Task(Ask(1, None, 1, 1000), 1.0)]))
    for key, groups in (("clusters", 2), ("pools", 6)):
        assert len(found[key]) == groups
        for figure in ("free_milli", "fragmented_milli"):
            assert sum(group[figure] for group in found[key]) == pytest.approx(found[figure])
            assert sum(group["gpu_tasks"][figure] for group in found[key]) == pytest.approx(
                found["gpu_tasks"][figure]
            )
    worst = [one["fragmented_milli"] for one in found["top"]]
    assert worst == sorted(worst, reverse=True)
    assert len(worst) == 20


def test_typical_kinds_go_from_the_most_common_until_enough_are_covered() -> None:
    one, two, half, cpu = (Ask(1, 5, 1, 1000), Ask(1, 5, 2, 1000), Ask(1, 5, 1, 500), Ask(9, 5, 0, 0))
    asks = [one] * 50 + [half] * 25 + [two] * 20 + [cpu] * 5
    found = typical(asks, covered_ratio=0.95)
    assert [(t.ask.cards, t.ask.share_milli) for t in found] == [(1, 1000), (1, 500), (2, 1000)]
    assert [t.weight for t in found] == pytest.approx([50 / 95, 25 / 95, 20 / 95])
    assert len(typical(asks, covered_ratio=0.951)) == 4
    assert [t.ask.cards for t in learned(asks, covered_ratio=1).asking] == [1, 1, 2]
    assert typical([], covered_ratio=0.95) == ()
    assert [t.weight for t in typical(asks, covered_ratio=1, most=2)] == pytest.approx([2 / 3, 1 / 3])


def test_of_kinds_seen_equally_often_the_bigger_comes_first() -> None:
    small, big = Ask(1000, None, 1, 500), Ask(1000, None, 1, 1000)
    (kept,) = typical([small, big], covered_ratio=0.5)
    assert kept.ask == big


def test_memory_tells_kinds_apart_only_where_it_is_tested() -> None:
    asks = [Ask(1, 10, 1, 1000), Ask(1, 20, 1, 1000)]
    assert [t.ask.memory_mib for t in typical(asks, covered_ratio=1)] == [None]
    assert len(typical(asks, covered_ratio=1, with_memory=True)) == 2


def test_models_are_an_or_list() -> None:
    assert models_of("V100M16|V100M32") == {"V100M16", "V100M32"}
    assert models_of(" ") == frozenset()
    with pytest.raises(BadInput, match="no model between"):
        models_of("A||B")


@pytest.mark.skipif(not OPENB_PODS.exists(), reason="the public openb trace is not beside the repository")
def test_an_empty_openb_cluster_scores_what_was_published() -> None:
    """866 of 6,212 GPUs by the published rule, 25.9 for tasks that ask for cards; 35 typical kinds."""
    with OPENB_NODES.open(encoding="utf-8") as file:
        nodes = [
            FreeNode(
                row["sn"],
                row["model"],
                int(row["cpu_milli"]),
                int(row["memory_mib"]),
                (1000,) * int(row["gpu"]),
            )
            for row in csv.DictReader(file)
        ]
    kinds = learned(read_asks(OPENB_PODS), covered_ratio=0.95)
    found = answer(nodes, kinds)
    assert (len(nodes), found["free_milli"], len(kinds.tasks)) == (1213, 6_212_000, 35)
    assert found["fragmented_milli"] == pytest.approx(866_232.552, abs=1e-2)
    assert found["gpu_tasks"]["fragmented_milli"] == pytest.approx(25_856.952, abs=1e-2)
    for kind, key in ((kinds.tasks, found), (kinds.asking, found["gpu_tasks"])):
        rows = loops(nodes, kind)
        slow = sum(sum(row.values()) - row[CLASSES[SATISFIED]] for row in rows)
        assert key["fragmented_milli"] == pytest.approx(slow, abs=1e-6 * slow)


def test_a_wide_node_beside_narrow_ones_changes_nothing() -> None:
    """Cards that are not there are padding, never a place for a task of a small share."""
    tasks = normalised([Task(Ask(0, None, 2, 1), 1.0)])
    nodes = [FreeNode("a", "A", 0, None, (1000,)), FreeNode("b", "A", 0, None, (1,) * 16)]
    assert np.allclose(measure(as_arrays(nodes), tasks).fragmented_milli, [1000, 0])
