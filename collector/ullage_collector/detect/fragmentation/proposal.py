"""A plan of moves as commands, routes and findings show it: what moves where, what it gives back, and what could start then."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from ullage_collector.detect.fragmentation.answer import shown
from ullage_collector.detect.fragmentation.capacity import FreeNode, as_arrays
from ullage_collector.detect.fragmentation.measure import measure, totalled
from ullage_collector.detect.fragmentation.moves import Plan, Step, propose
from ullage_collector.detect.fragmentation.placed import CHECKED, Placed
from ullage_collector.detect.fragmentation.settings import Rules
from ullage_collector.detect.fragmentation.start import need_of, parts, starts
from ullage_collector.detect.fragmentation.task import WHOLE_MILLI, Kinds, normalised

NOTHING: Final = "nothing safe to move"


def proposal(
    nodes: Sequence[FreeNode], work: Sequence[Placed], kinds: Kinds, rules: Rules, *, memory: bool = False
) -> dict[str, Any]:
    """moves in order, groups with what each gives back, before and after, jobs that could start before and after.

    Amounts are thousandths of a card; regained_milli is for tasks with cards, regained_published_milli by the published
    rule. ``says`` is NOTHING where no move is worth it, else None. It is a proposal: nothing is done.
    """
    plan = propose(
        nodes,
        work,
        kinds,
        most=rules.most_moves,
        least_milli=rules.least_cards_a_move * WHOLE_MILLI,
        most_together=rules.most_together,
        memory=memory,
    )
    counts = [
        sum(step.group == number for step in plan.steps) for number in range(1, len(plan.regained_milli) + 1)
    ]
    return {
        "says": None if plan.steps else NOTHING,
        "regained_milli": sum(plan.regained_milli),
        "regained_published_milli": sum(plan.published_milli),
        "moves": [_move(nodes, step) for step in plan.steps],
        "groups": [
            {
                "group": number,
                "moves": count,
                "regained_milli": regained,
                "regained_published_milli": published,
                "regained_milli_a_move": regained / count,
            }
            for number, (count, regained, published) in enumerate(
                zip(counts, plan.regained_milli, plan.published_milli, strict=True), 1
            )
        ],
        "before": _judged(nodes, kinds, memory),
        "after": _judged(plan.after, kinds, memory),
        "considered": plan.considered,
        "stays": dict(plan.stays),
        "checked": list(CHECKED),
        **started(nodes, kinds, rules, plan),
    }


def started(nodes: Sequence[FreeNode], kinds: Kinds, rules: Rules, plan: Plan | None) -> dict[str, Any]:
    """starts: by size the jobs that could start now, and after the plan's moves (None: there is no plan); what keeps
    free cards from them. partly_held: free shares of cards, and those no typical task could use. need: beside a card.
    """
    need = need_of(kinds.asking)
    now = starts(nodes, rules.sizes, need)
    then: Sequence[Any] = [None] * len(now) if plan is None else starts(plan.after, rules.sizes, need)
    shares = parts(nodes, kinds.asking)
    return {
        "starts": [
            {
                "cards": one.size,
                "jobs": one.jobs,
                "jobs_after": None if after is None else after.jobs,
                "stranded_cards": dict(one.stranded),
            }
            for one, after in zip(now, then, strict=True)
        ],
        "need": {"cpu_milli": need.cpu_milli, "memory_mib": need.memory_mib},
        "partly_held": {
            "cards": shares.cards,
            "free_milli": shares.free_milli,
            "stranded_milli": shares.stranded_milli,
        },
        "not_known": {
            "islands": sum(len(node.cards) > 1 and not all(node.islands or ("",)) for node in nodes),
            "domains": sum(not node.domain for node in nodes),
            "processors": sum(node.cpu_milli is None for node in nodes),
            "memory": sum(node.memory_mib is None for node in nodes),
        },
    }


def _move(nodes: Sequence[FreeNode], step: Step) -> dict[str, Any]:
    work, here, there = step.work, nodes[step.work.node], nodes[step.node]
    return {
        "group": step.group,
        "workload": work.name,
        "owner": work.owner,
        "cluster": here.cluster,
        "from": here.name,
        "from_cards": _cards(here, work.cards),
        "to": there.name,
        "to_cards": _cards(there, step.cards),
        "model": there.model,
        "cpu_milli": work.ask.cpu_milli,
        "memory_mib": work.ask.memory_mib,
        "num_gpu": work.ask.cards,
        "gpu_milli": work.ask.share_milli,
    }


def _cards(node: FreeNode, cards: Sequence[int]) -> list[Any]:
    """Their ids where they are known, else their places in the node's list."""
    return [node.card_ids[card] if node.card_ids else card for card in cards]


def _judged(nodes: Sequence[FreeNode], kinds: Kinds, memory: bool) -> Mapping[str, Any]:
    free = as_arrays(nodes)
    asking = None
    if kinds.asking:
        asking = shown(totalled(measure(free, normalised(kinds.asking), memory=memory)), memory)
    whole = shown(totalled(measure(free, normalised(kinds.tasks), memory=memory)), memory)
    return {**whole, "gpu_tasks": asking}
