"""A proposed move can be done, gives back what it promises, and nothing is proposed that is not safe."""

from __future__ import annotations

import csv
import json
import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from fragmentation_cases import OPENB_NODES, OPENB_PODS, loops
from hypothesis import given, settings
from hypothesis import strategies as st

from ullage_collector.cli import main
from ullage_collector.detect.fragmentation.capacity import FreeNode, as_arrays
from ullage_collector.detect.fragmentation.files import read_asks
from ullage_collector.detect.fragmentation.measure import CLASSES, SATISFIED
from ullage_collector.detect.fragmentation.moves import Plan, propose
from ullage_collector.detect.fragmentation.placed import Board, Placed
from ullage_collector.detect.fragmentation.search import Search
from ullage_collector.detect.fragmentation.task import Ask, Kinds, Task, learned
from ullage_collector.detect.fragmentation.task import given as exactly

WHOLE = exactly([Task(Ask(1000, 0, 1, 1000), 1.0)])


def lost(nodes: Sequence[FreeNode], tasks: Sequence[Task]) -> float:
    """By the plain loops: nothing of what is tested."""
    return sum(sum(row.values()) - row[CLASSES[SATISFIED]] for row in loops(nodes, tasks)) if tasks else 0.0


def plan(
    nodes: Sequence[FreeNode],
    work: Sequence[Placed],
    kinds: Kinds = WHOLE,
    most: int = 20,
    least: float = 100.0,
) -> Plan:
    return propose(nodes, work, kinds, most=most, least_milli=least, most_together=8)


def replay(nodes: Sequence[FreeNode], work: Sequence[Placed], found: Plan, kinds: Kinds) -> list[FreeNode]:
    """Do the steps by hand on plain lists; fails where one cannot be. Then compares every promise."""
    cards, cpu = [list(n.cards) for n in nodes], [n.cpu_milli for n in nodes]
    memory = [n.memory_mib for n in nodes]
    moved = set()
    for group, (regained, published) in enumerate(
        zip(found.regained_milli, found.published_milli, strict=True), 1
    ):
        before = now(nodes, cards, cpu, memory)
        for step in (s for s in found.steps if s.group == group):
            one, ask, there = step.work, step.work.ask, nodes[step.node]
            here = nodes[one.node]
            assert one in work and one.stays is None and one.name not in moved
            moved.add(one.name)
            assert step.node != one.node and (here.cluster, here.pool) == (there.cluster, there.pool)
            assert not ask.models or there.model in ask.models
            assert len(set(step.cards)) == len(step.cards) == ask.cards
            before_islands = {here.islands[c] if here.islands else "" for c in one.cards}
            if ask.cards > 1 and len(before_islands) == 1 and before_islands != {""}:
                assert len({there.islands[c] for c in step.cards}) == 1
            for card in one.cards:
                cards[one.node][card] += ask.share_milli
            for card in step.cards:
                cards[step.node][card] -= ask.share_milli
                assert cards[step.node][card] >= 0
            for free, asked in ((cpu, ask.cpu_milli), (memory, ask.memory_mib)):
                assert asked is not None
                if free[one.node] is not None:
                    free[one.node] += asked
                if asked:
                    assert free[step.node] is not None
                    free[step.node] -= asked
                    assert free[step.node] >= 0
                elif free[step.node] is not None:
                    assert free[step.node] >= 0
        after = now(nodes, cards, cpu, memory)
        assert lost(before, kinds.asking) - lost(after, kinds.asking) == pytest.approx(regained, abs=1e-5)
        assert lost(before, kinds.tasks) - lost(after, kinds.tasks) == pytest.approx(published, abs=1e-5)
    assert list(found.after) == now(nodes, cards, cpu, memory)
    return list(found.after)


def now(
    nodes: Sequence[FreeNode],
    cards: Sequence[Sequence[int]],
    cpu: Sequence[int | None],
    memory: Sequence[int | None],
) -> list[FreeNode]:
    return [
        replace(n, cards=tuple(c), cpu_milli=p, memory_mib=m)
        for n, c, p, m in zip(nodes, cards, cpu, memory, strict=True)
    ]


def free(
    name: str, *cards: int, cpu: int | None = 64_000, memory: int | None = 64_000, **more: object
) -> FreeNode:
    return replace(FreeNode(name, "A", cpu, memory, cards), **more)


def half(name: str, node: int, card: int, cpu: int = 1000) -> Placed:
    return Placed(name, node, (card,), Ask(cpu, 10, 1, 500))


def test_of_two_halves_one_moves_beside_the_other_and_a_whole_card_is_back() -> None:
    nodes = [free("a", 500), free("b", 500)]
    work = [half("p", 0, 0), half("q", 1, 0)]
    found = plan(nodes, work)
    assert [(step.work.name, step.node, step.cards) for step in found.steps] == [("p", 1, (0,))]
    assert found.regained_milli == pytest.approx(
        [1000]
    )  # both halves were fragments; now a whole card is free
    replay(nodes, work, found, WHOLE)


def test_a_task_without_cards_leaves_the_node_whose_cards_it_starves() -> None:
    nodes = [free("a", 1000, 1000, cpu=500), free("b", 0, cpu=8000)]
    work = [Placed("p", 0, (), Ask(4000, 10, 0, 0))]
    found = plan(nodes, work)
    assert [(step.work.name, step.node) for step in found.steps] == [("p", 1)]
    assert found.regained_milli == pytest.approx([2000])
    replay(nodes, work, found, WHOLE)


def test_a_card_that_two_share_is_emptied_by_two_moves_of_one_group() -> None:
    kinds = exactly([Task(Ask(0, 0, 1, 1000), 1.0)])
    nodes = [free("a", 400), free("b", 300), free("c", 300)]
    work = [Placed("p", 0, (0,), Ask(0, 1, 1, 300)), Placed("q", 0, (0,), Ask(0, 1, 1, 300))]
    found = plan(nodes, work, kinds)
    assert [step.group for step in found.steps] == [1, 1]
    assert {step.node for step in found.steps} == {1, 2}
    assert found.regained_milli == pytest.approx([1000])
    replay(nodes, work, found, kinds)


def test_workloads_of_a_group_that_get_in_each_others_way_promise_nothing() -> None:
    """Each alone would fill b's scrap; together one of them breaks into the whole card of c."""
    kinds = exactly([Task(Ask(0, 0, 1, 1000), 1.0)])
    nodes = [free("a", 400), free("b", 300), free("c", 1000)]
    work = [Placed("p", 0, (0,), Ask(0, 1, 1, 300)), Placed("q", 0, (0,), Ask(0, 1, 1, 300))]
    assert plan(nodes, work, kinds).steps == ()


def test_trying_a_group_leaves_nothing_behind() -> None:
    nodes = [free("a", 400), free("b", 300), free("c", 300)]
    work = [Placed("p", 0, (0,), Ask(0, 1, 1, 300)), Placed("q", 0, (0,), Ask(0, 1, 1, 300))]
    search = Search(nodes, work, exactly([Task(Ask(0, 0, 1, 1000), 1.0)]).asking, 8)
    first, second = search.best(20, 100.0), search.best(20, 100.0)
    assert first is not None and first == second
    assert [search.board.node(number) for number in range(3)] == nodes
    assert (search._free.cards == as_arrays(nodes).cards).all()
    assert (search._free.memory_mib == as_arrays(nodes).memory_mib).all()


def test_where_it_is_already_is_no_move() -> None:
    assert Board.of([free("a", 500, 500)]).why_not(half("p", 0, 0), 0, (1,)) == "it is there already"
    with pytest.raises(ValueError, match="BUG"):
        Board.of([free("a", 500, 500)]).move(half("p", 0, 0), 0, (1,))


@pytest.mark.parametrize(
    ("there", "work", "why"),
    [
        (free("b", 400), half("p", 0, 0), "a card has too little free"),
        (free("b", 500, cpu=999), half("p", 0, 0), "processors are short"),
        (free("b", 500, cpu=None), half("p", 0, 0), "free processors are not known"),
        (free("b", 500, memory=9), half("p", 0, 0), "memory is short"),
        (free("b", 500, memory=None), half("p", 0, 0), "free memory is not known"),
        (free("b", 500), Placed("p", 0, (0,), Ask(1, None, 1, 500)), "its memory is not known"),
        (free("b", 500), Placed("p", 0, (0,), Ask(1, 1, 1, 500, frozenset("B"))), "another card model"),
        (free("b", 500, pool="x"), half("p", 0, 0), "another pool"),
        (free("b", 500, cluster="x"), half("p", 0, 0), "another pool"),
        (free("b", 500), replace(half("p", 0, 0), stays="a gang"), "a gang"),
    ],
)
def test_what_is_not_safe_is_not_proposed(there: FreeNode, work: Placed, why: str) -> None:
    nodes = [free("a", 500), there]
    assert Board.of(nodes).why_not(work, 1, (0,)) == why
    found = plan(nodes, [work])
    assert found.steps == ()
    assert found.after == tuple(nodes)


def test_cards_of_one_island_stay_in_one_island() -> None:
    two = Ask(0, 1, 2, 1000)
    kinds = exactly([Task(Ask(0, 0, 4, 1000), 1.0)])
    here = free("a", 0, 0, 1000, 1000, islands=("x", "x", "y", "y"))
    work = [Placed("p", 0, (0, 1), two)]
    torn = free("b", 1000, 0, 1000, 0, islands=("x", "x", "y", "y"))
    assert Board.of([here, torn]).why_not(work[0], 1, (0, 2)) == "its cards would not be in one island"
    assert plan([here, torn], work, kinds).steps == ()
    unsaid = free("b", 1000, 0, 1000, 0)
    assert plan([here, unsaid], work, kinds).steps == ()
    whole = free("b", 1000, 0, 1000, 1000, islands=("x", "x", "y", "y"))
    found = plan([here, whole], work, kinds)
    assert [step.cards for step in found.steps] == [(2, 3)]
    replay([here, whole], work, found, kinds)


def test_too_little_is_not_worth_a_move_and_there_is_a_most() -> None:
    nodes = [free("a", 500), free("b", 500), free("c", 500), free("d", 500)]
    work = [half(name, number, 0) for number, name in enumerate("pqrs")]
    assert plan(nodes, work, least=1001.0).steps == ()
    assert len(plan(nodes, work).steps) == 2
    assert len(plan(nodes, work, most=1).steps) == 1


def test_nothing_that_asks_for_cards_is_typical_and_nothing_moves() -> None:
    nodes = [free("a", 500), free("b", 500)]
    kinds = exactly([Task(Ask(1, 1, 0, 0), 1.0)])
    assert plan(nodes, [half("p", 0, 0)], kinds).steps == ()
    assert plan(nodes, []).steps == ()


@st.composite
def worlds(draw: st.DrawFn) -> tuple[list[FreeNode], list[Placed], Kinds]:
    nodes, work = [], []
    for number in range(draw(st.integers(1, 5))):
        size = draw(st.integers(0, 4))
        left = [draw(st.sampled_from((0, 200, 500, 1000))) for _ in range(size)]
        islands = draw(st.sampled_from(((), ("x",) * size, ("x", "y") * 2)))[:size]
        name = f"n{number}"
        nodes.append(
            FreeNode(
                name,
                draw(st.sampled_from("AB")),
                draw(st.one_of(st.none(), st.integers(0, 9))),
                draw(st.one_of(st.none(), st.integers(0, 9))),
                tuple(left),
                pool=draw(st.sampled_from(("", "", "p"))),
                islands=islands,
            )
        )
        room = [1000 - milli for milli in left]
        for one in range(draw(st.integers(0, 4))):
            share = draw(st.sampled_from((200, 500, 1000)))
            fits = [card for card, milli in enumerate(room) if milli >= share]
            cards = tuple(fits[: draw(st.integers(0, 2))])
            for card in cards:
                room[card] -= share
            ask = Ask(
                draw(st.integers(0, 5)),
                draw(st.one_of(st.none(), st.integers(0, 5))),
                len(cards),
                share if cards else 0,
                draw(st.sampled_from((frozenset(), frozenset("A")))) if cards else frozenset(),
            )
            stays = draw(st.sampled_from((None, None, None, "it stays")))
            work.append(Placed(f"{name}w{one}", number, cards, ask, stays=stays))
    asks = st.builds(
        Ask, st.integers(0, 5), st.none(), st.integers(1, 3), st.sampled_from((200, 500, 1000))
    ) | st.just(Ask(3, None, 0, 0))
    tasks = draw(st.lists(st.builds(Task, asks, st.floats(0.1, 5)), min_size=1, max_size=4))
    return nodes, work, exactly(tasks)


@given(worlds(), st.integers(1, 4))
@settings(max_examples=400, deadline=None)
def test_whatever_is_proposed_can_be_done_and_gives_what_it_promises(
    world: tuple[list[FreeNode], list[Placed], Kinds], most: int
) -> None:
    nodes, work, kinds = world
    found = plan(nodes, work, kinds, most=most, least=50.0)
    after = replay(nodes, work, found, kinds)
    assert len(found.steps) <= most
    counts = [sum(s.group == g for s in found.steps) for g in range(1, len(found.regained_milli) + 1)]
    assert all(gain >= 50.0 * count for gain, count in zip(found.regained_milli, counts, strict=True))
    assert sum(n.free_milli for n in after) == sum(n.free_milli for n in nodes)
    assert found.considered + sum(found.stays.values()) == len(work)


def openb(seed: int, part: float) -> tuple[list[FreeNode], list[Placed], Kinds]:
    """The public nodes after placing a part of the public tasks at random: first card that fits of a random node."""
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
    asks = read_asks(OPENB_PODS)
    chance = random.Random(seed)
    cards, cpu, memory = (
        [list(n.cards) for n in nodes],
        [n.cpu_milli for n in nodes],
        [n.memory_mib for n in nodes],
    )
    work = []
    for number in chance.sample(range(len(asks)), round(part * len(asks))):
        ask = asks[number]
        assert ask.memory_mib is not None
        for place in chance.sample(range(len(nodes)), len(nodes)):
            fits = [card for card, milli in enumerate(cards[place]) if milli >= ask.share_milli]
            if cpu[place] >= ask.cpu_milli and memory[place] >= ask.memory_mib and len(fits) >= ask.cards:
                taken = tuple(fits[: ask.cards])
                for card in taken:
                    cards[place][card] -= ask.share_milli
                cpu[place] -= ask.cpu_milli
                memory[place] -= ask.memory_mib
                work.append(Placed(f"openb-pod-{number:04}", place, taken, ask))
                break
    return now(nodes, cards, cpu, memory), work, learned(asks, covered_ratio=0.95)


@pytest.mark.skipif(not OPENB_PODS.exists(), reason="the public openb trace is not beside the repository")
@pytest.mark.parametrize(("seed", "part"), [(1, 0.5), (2, 0.9)])
def test_every_step_on_the_openb_nodes_can_be_done_and_regains_what_it_promises(
    seed: int, part: float
) -> None:
    nodes, work, kinds = openb(seed, part)
    found = plan(nodes, work, kinds)
    replay(nodes, work, found, kinds)
    assert len(found.steps) == 20
    assert sum(found.regained_milli) > 30_000  # seen: 63 and 91 cards by 20 moves


NODES = "sn,model,cpu_free_milli,mem_free_mib,gpu_free_milli,islands\n"
PODS = "name,sn,cards,cpu_milli,memory_mib,num_gpu,gpu_milli,gpu_spec,movable\n"


def command(folder: Path, nodes: str, pods: str) -> list[str]:
    (folder / "n.csv").write_text(NODES + nodes, encoding="utf-8")
    (folder / "p.csv").write_text(PODS + pods, encoding="utf-8")
    (folder / "t.csv").write_text(
        "cpu_milli,memory_mib,num_gpu,gpu_milli,gpu_spec,weight\n1000,1,1,1000,,1\n", encoding="utf-8"
    )
    files = [f"--{name}={folder / name[0]}.csv" for name in ("nodes", "pods", "tasks")]
    return ["defragment", *files]


def test_the_command_lists_the_moves_and_what_they_give(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = command(
        tmp_path,
        "a,A,64000,64000,500,\nb,A,64000,64000,500|0,x|x\n",
        "p,a,0,1000,10,1,500,,\nq,b,0,1000,10,1,500,,no\nr,b,1,1000,,1,1000,,\n",
    )
    assert main([*given, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [(m["workload"], m["from"], m["to"], m["to_cards"]) for m in found["moves"]] == [
        ("p", "a", "b", [0])
    ]
    assert found["regained_milli"] == pytest.approx(1000)
    assert (found["says"], found["considered"]) == (None, 1)
    assert found["stays"] == {"its file says no": 1, "its memory is not known": 1}
    assert (found["starts"][0]["jobs"], found["starts"][0]["jobs_after"]) == (0, 1)
    assert main(given) == 0
    assert "1 moves give back 1.0 cards" in capsys.readouterr().out


def test_the_command_says_when_nothing_is_safe(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = command(tmp_path, "a,A,64000,64000,500,\nb,A,0,64000,500,\n", "p,a,0,1000,10,1,500,,\n")
    assert main([*given, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["says"], found["moves"], found["regained_milli"]) == ("nothing safe to move", [], 0)
    assert main(given) == 0
    assert "nothing safe to move" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("nodes", "pods", "told"),
    [
        ("a,A,1,1,500,\n", "p,z,0,1,1,1,500,,\n", "p.csv:2: sn 'z' is not among the nodes"),
        ("a,A,1,1,500,\n", "p,a,1,1,1,1,500,,\n", "p.csv:2: cards: a has 1, counted from 0; there is no 1"),
        ("a,A,1,1,500,\n", "p,a,0,1,1,1,501,,\n", "p.csv:2: cards: card 0 of a would hold"),
        ("a,A,1,1,500|0,\n", "p,a,0,1,1,2,500,,\n", "p.csv:2: cards '0': num_gpu is 2"),
        ("a,A,1,1,500|0,\n", "p,a,0|0,1,1,2,100,,\n", "p.csv:2: cards '0|0'"),
        ("a,A,1,1,500,\n", "p,a,,1,1,1,500,,\n", "p.csv:2: cards ''"),
        ("a,A,1,1,500,\n", "p,a,0,1,1,1,100,,\np,a,0,1,1,1,100,,\n", "p.csv:3: name 'p' stands twice"),
        ("a,A,1,1,500,\n", "p,a,0,1,1,1,500,,perhaps\n", "p.csv:2: movable 'perhaps'"),
        ("a,A,1,1,500|0,x\n", "p,a,0,1,1,1,500,,\n", "n.csv:2: islands 'x': 1 names for 2 cards"),
    ],
)
def test_a_wrong_row_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], nodes: str, pods: str, told: str
) -> None:
    assert main(command(tmp_path, nodes, pods)) == 2
    assert told in capsys.readouterr().err


def test_a_wrong_number_of_moves_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = command(tmp_path, "a,A,1,1,500,\n", "p,a,0,1,1,1,500,,\n")
    assert main([*given, "--most", "0"]) == 2
    assert "--most 0" in capsys.readouterr().err
