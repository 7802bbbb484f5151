"""The published rule in plain loops, straight from its words, and cases worked by hand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ullage_collector.detect.fragmentation.capacity import FreeNode
from ullage_collector.detect.fragmentation.measure import CLASSES
from ullage_collector.detect.fragmentation.task import Ask, Task

TRACES = Path(__file__).parents[2].parent / "shared/traces"
OPENB_NODES = TRACES / "openb_node_list_gpu_node.csv"
OPENB_PODS = TRACES / "openb_pod_list_default.csv"


def node(
    cards: Sequence[int], cpu: int = 64_000, model: str = "A", memory: int | None = 262_144, name: str = "n"
) -> FreeNode:
    return FreeNode(name, model, cpu, memory, tuple(cards))


def task(
    weight: float,
    cards: int = 1,
    share: int = 1000,
    cpu: int = 1000,
    models: str = "",
    memory: int | None = 0,
) -> Task:
    return Task(
        Ask(cpu, memory, cards, share if cards else 0, frozenset(filter(None, models.split("|")))), weight
    )


@dataclass(frozen=True)
class Case:
    """by_class: what is not named is 0."""

    name: str
    nodes: list[FreeNode]
    tasks: list[Task]
    by_class: dict[str, float]
    memory: bool = False

    @property
    def free(self) -> int:
        return sum(node.free_milli for node in self.nodes)

    @property
    def fragmented(self) -> float:
        return sum(milli for name, milli in self.by_class.items() if name != "q3_satisfied")


CASES = [
    Case("two whole cards free and a task for one", [node([1000, 1000])], [task(1)], {"q3_satisfied": 2000}),
    Case(
        "a half is too little for a whole, and the other card takes it",
        [node([1000, 500])],
        [task(1)],
        {"q2_lack_gpu": 500, "q3_satisfied": 1000},
    ),
    Case("two halves are no whole", [node([500, 500])], [task(1)], {"q2_lack_gpu": 1000}),
    Case(
        "two halves take a task of half a card",
        [node([500, 500])],
        [task(1, share=500)],
        {"q3_satisfied": 1000},
    ),
    Case(
        "a card with exactly the share is enough",
        [node([340, 339])],
        [task(1, share=340)],
        {"q3_satisfied": 340, "q2_lack_gpu": 339},
    ),
    Case(
        "cards enough, one processor-thousandth short",
        [node([1000], cpu=3999)],
        [task(1, cpu=4000)],
        {"q4_lack_cpu": 1000},
    ),
    Case("exactly the processors", [node([1000], cpu=4000)], [task(1, cpu=4000)], {"q3_satisfied": 1000}),
    Case("neither cards nor processors", [node([900], cpu=0)], [task(1)], {"q1_lack_both": 900}),
    Case("four asked, three there", [node([1000, 1000, 1000])], [task(1, cards=4)], {"q2_lack_gpu": 3000}),
    Case(
        "a CPU-only task that runs makes all a fragment",
        [node([1000, 250])],
        [task(1, cards=0)],
        {"xl_satisfied": 1250},
    ),
    Case(
        "a CPU-only task that does not run, too",
        [node([1000, 250], cpu=10)],
        [task(1, cards=0)],
        {"xr_lack_cpu": 1250},
    ),
    Case("another model", [node([1000], model="B")], [task(1, models="A")], {"no_access": 1000}),
    Case("either of two models", [node([1000], model="B")], [task(1, models="A|B")], {"q3_satisfied": 1000}),
    Case(
        "the model is looked at before cards and processors",
        [node([10], cpu=0, model="B")],
        [task(1, models="A")],
        {"no_access": 10},
    ),
    Case("nothing free is no fragment", [node([0, 0]), node([])], [task(1), task(1, cards=0)], {}),
    Case(
        # 1/4 CPU-only: 1500 each. 1/4 whole card: runs on the first (500 scrap), not on the second (750 + 750).
        # 1/2 of 0.6 cards: runs on both; the first's 500 is scrap, the second has none.
        "weights add up over kinds and nodes",
        [node([1000, 500]), node([750, 750])],
        [task(1, cards=0), task(1), task(2, share=600)],
        {"xl_satisfied": 750, "q2_lack_gpu": 125 + 375 + 250, "q3_satisfied": 250 + 500 + 750},
    ),
    Case(
        # half the tasks: B only, no access to 3000. The others: 2 cards and 8 processors on a node with 4.
        "model and processors apart",
        [node([1000, 1000, 1000], cpu=4000)],
        [task(3, models="B"), task(3, cards=2, cpu=8000)],
        {"no_access": 1500, "q4_lack_cpu": 1500},
    ),
    Case(
        "memory is not in the published rule",
        [node([1000], memory=10)],
        [task(1, memory=20)],
        {"q3_satisfied": 1000},
    ),
    Case(
        "with the memory test it is",
        [node([1000, 400], memory=10)],
        [task(1, memory=20)],
        {"lack_memory": 1400},
        memory=True,
    ),
    Case(
        "memory is looked at last",
        [node([1000], cpu=0, memory=10)],
        [task(1, memory=20)],
        {"q4_lack_cpu": 1000},
        memory=True,
    ),
]


def loops(
    nodes: Sequence[FreeNode], tasks: Sequence[Task], *, memory: bool = False
) -> list[dict[str, float]]:
    """The rule as its source words it, node by node, task by task, card by card. Weights are normalised here."""
    total = sum(task.weight for task in tasks)
    found = []
    for n in nodes:
        amounts = dict.fromkeys(CLASSES, 0.0)
        free = sum(n.cards)
        for t in tasks:
            p, ask = t.weight / total, t.ask
            cpu = n.cpu_milli is None or n.cpu_milli >= ask.cpu_milli
            if ask.cards == 0:
                amounts["xl_satisfied" if cpu else "xr_lack_cpu"] += p * free
                continue
            if ask.models and n.model not in ask.models:
                amounts["no_access"] += p * free
                continue
            if sum(1 for card in n.cards if card >= ask.share_milli) >= ask.cards:
                if not cpu:
                    amounts["q4_lack_cpu"] += p * free
                elif memory and None not in (n.memory_mib, ask.memory_mib) and n.memory_mib < ask.memory_mib:
                    amounts["lack_memory"] += p * free
                else:
                    scrap = sum(card for card in n.cards if card < ask.share_milli)
                    amounts["q2_lack_gpu"] += p * scrap
                    amounts["q3_satisfied"] += p * (free - scrap)
            else:
                amounts["q2_lack_gpu" if cpu else "q1_lack_both"] += p * free
        found.append(amounts)
    return found
