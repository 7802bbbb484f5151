"""Jobs of 1, 2, 4, 8 ... whole cards that could start now, and what keeps free cards from them, one cause a card. Pure.

A job runs in one pool, on one card model. Up to a node's cards it runs on one node, in one island where one is large
enough for it; a larger job takes whole nodes that share a switch and rails. Causes are found by taking the demands up
one after another, each card named by the demand that loses it. What nobody told (an island, a switch, free
processors) loses no card and is counted. Fenced and isolated cards are not among the nodes' cards.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from ullage_collector.detect.fragmentation.capacity import FreeNode
from ullage_collector.detect.fragmentation.task import WHOLE_MILLI, Task

CAUSES: Final = ("pool", "model", "node", "island", "switch", "rail", "processors", "memory")
"""In the order in which demands are taken up. pool: fewer than a job's are free in the pool. model: of one model.
node: on one node, or on whole nodes."""


@dataclass(frozen=True, slots=True)
class Need:
    """What a job takes beside each of its cards; None: not known, and not demanded."""

    cpu_milli: int | None
    memory_mib: int | None


@dataclass(frozen=True, slots=True)
class Start:
    """Jobs of ``size`` cards that could start now, all at once. stranded: the other free cards by cause.

    size x jobs and the stranded cards add up to the whole cards that are free.
    """

    size: int
    jobs: int
    stranded: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Parts:
    """Cards that are partly held. free_milli: what is free of them; stranded_milli: of cards on which no kind of task
    could run; cards: how many."""

    cards: int
    free_milli: int
    stranded_milli: int


def need_of(tasks: Iterable[Task]) -> Need:
    """Beside a card, by the median of tasks that ask for whole cards, by weight; of any cards where none does."""
    asking = [task for task in tasks if task.ask.cards and task.weight > 0]
    whole = [task for task in asking if task.ask.share_milli == WHOLE_MILLI] or asking
    return Need(
        _median([(task.ask.cpu_milli // task.ask.cards, task.weight) for task in whole]),
        _median([(t.ask.memory_mib // t.ask.cards, t.weight) for t in whole if t.ask.memory_mib is not None]),
    )


def starts(nodes: Sequence[FreeNode], sizes: Iterable[int], need: Need) -> list[Start]:
    """One answer a size, each for an empty queue: the sizes do not share the cards."""
    groups = _groups(nodes)
    found = []
    for size in sizes:
        usable = _usable(groups, size, need)
        free = sum(group.free for group in groups)
        stranded = {}
        for cause, cards in zip(CAUSES, usable, strict=True):
            stranded[cause], free = free - cards, cards
        found.append(Start(size, free // size, stranded))
    return found


def parts(nodes: Sequence[FreeNode], tasks: Iterable[Task]) -> Parts:
    """Free shares of partly held cards, and those that no kind of one card or less could use where it is."""
    kinds = [task.ask for task in tasks if task.ask.cards == 1]
    count = free = stranded = 0
    for node in nodes:
        here = [ask for ask in kinds if not ask.models or node.model in ask.models]
        here = [ask for ask in here if node.cpu_milli is None or node.cpu_milli >= ask.cpu_milli]
        least = min((ask.share_milli for ask in here), default=WHOLE_MILLI + 1)
        partly = [milli for milli in node.cards if 0 < milli < WHOLE_MILLI]
        count += len(partly)
        free += sum(partly)
        stranded += sum(milli for milli in partly if milli < least)
    return Parts(count, free, stranded)


@dataclass(frozen=True, slots=True)
class _Node:
    """free: whole cards; islands: of them in each island, loose: in no known one; widest: cards an island may have."""

    free: int
    cards: int
    islands: tuple[int, ...]
    loose: int
    widest: int
    cpu_milli: int | None
    memory_mib: int | None
    domain: str
    rails: str


@dataclass(slots=True)
class _Model:
    """Nodes of one pool and model. width: cards of the largest of them."""

    nodes: list[_Node]
    width: int


@dataclass(slots=True)
class _Pool:
    models: list[_Model]
    free: int


def _groups(nodes: Sequence[FreeNode]) -> list[_Pool]:
    pools: dict[tuple[str, str], dict[str, list[_Node]]] = defaultdict(lambda: defaultdict(list))
    for node in nodes:
        whole = [card for card, milli in enumerate(node.cards) if milli == WHOLE_MILLI]
        widths = Counter(node.island(card) for card in range(len(node.cards)))
        unsaid = widths.pop("", 0)
        islands = Counter(node.island(card) for card in whole)
        loose = islands.pop("", 0)
        pools[node.cluster, node.pool][node.model].append(
            _Node(
                len(whole),
                len(node.cards),
                tuple(islands.values()),
                loose,
                max(widths.values(), default=0) + unsaid,
                node.cpu_milli,
                node.memory_mib,
                node.domain,
                node.rails,
            )
        )
    return [
        _Pool(
            [_Model(here, max(node.cards for node in here)) for here in models.values()],
            sum(node.free for here in models.values() for node in here),
        )
        for models in pools.values()
    ]


def _usable(groups: Sequence[_Pool], size: int, need: Need) -> list[int]:
    """Cards that jobs could take, with the demands of CAUSES taken up one after another."""
    models = [model for group in groups for model in group.models]
    levels = [
        sum(group.free // size * size for group in groups),
        sum(sum(node.free for node in model.nodes) // size * size for model in models),
    ]
    for demands in range(len(CAUSES) - 2):
        # A node whose rails alone nobody said is in any group of its rails, never in more than before.
        jobs = sum(_jobs(model, size, demands, need) for model in models)
        levels.append(min(levels[-1], jobs * size))
    return levels


def _jobs(model: _Model, size: int, demands: int, need: Need) -> int:
    """demands: 0 node, 1 and island, 2 and switch, 3 and rail, 4 and processors, 5 and memory."""
    cpu = need.cpu_milli if demands >= 4 else None
    memory = need.memory_mib if demands >= 5 else None
    if size <= model.width:
        return sum(_on(node, size, demands >= 1, cpu, memory) for node in model.nodes)
    if not model.width:
        return 0
    whole: Counter[tuple[str, str]] = Counter()
    loose = 0
    for node in model.nodes:
        if node.free == model.width and _on(node, model.width, False, cpu, memory):
            if (demands >= 2 and not node.domain) or (demands >= 3 and not node.rails):
                loose += 1
            else:
                whole[node.domain if demands >= 2 else "", node.rails if demands >= 3 else ""] += 1
    return _together(whole.values(), loose, -(-size // model.width))


def _on(node: _Node, size: int, island: bool, cpu: int | None, memory: int | None) -> int:
    """Jobs of at most a node's cards that could start on this one."""
    jobs = node.free // size
    if island and size <= node.widest:
        jobs = _together(node.islands, node.loose, size)
    for free, each in ((node.cpu_milli, cpu), (node.memory_mib, memory)):
        if free is not None and each:
            jobs = min(jobs, free // (each * size))
    return jobs


def _together(counts: Iterable[int], loose: int, size: int) -> int:
    """How often ``size`` fit together: of one group each time, what is in no known group taken to be where it is missed."""
    counts = list(counts)
    jobs = sum(count // size for count in counts)
    for left in sorted((count % size for count in counts), reverse=True):
        if left and size - left <= loose:
            loose -= size - left
            jobs += 1
    return jobs + loose // size


def _median(values: list[tuple[int, float]]) -> int | None:
    """The least value with half of the weight at or below it; None: there are none."""
    left = sum(weight for _, weight in values) / 2
    for value, weight in sorted(values):
        left -= weight
        if left <= 0:
            return value
    return max((value for value, _ in values), default=None)
