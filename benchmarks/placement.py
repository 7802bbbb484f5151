"""Jobs placed well and badly on made fabrics, and how many are told rightly; and how long a verdict takes.

    python benchmarks/placement.py [--fabrics 40] [--seed 1] [--strict]

Real: the detector and its rules. Made: fabrics of leaf switches of unequal size with rails, nodes that take no work or whose
switches nobody knows, and jobs placed by a scheduler that packs, or by one that takes any node. Truth is found by trying every
choice of switches. The peer calls every job on two switches or more scattered. The last line is JSON; with --strict the exit code is
1 when precision or recall is below 0.99.
"""

from __future__ import annotations

import random
import sys
import time
from collections import Counter
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Final

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.scored import run

from ullage_collector.detect.idle_finding import Gang, Held
from ullage_collector.detect.placement.fabric import Group
from ullage_collector.detect.placement.finding import Node, Placed, find
from ullage_collector.detect.placement.settings import default_rules
from ullage_collector.detect.placement.traffic import PortFigures
from ullage_collector.prices import Price, PriceBook

NOW: Final = 1_792_584_000_000_000
LEAST: Final = 0.99
BOOK: Final = PriceBook([Price(1, "H800", "CNY", 12_000_000)])


@dataclass(frozen=True, slots=True)
class Case:
    """A made job. truth: it stands on more groups than it must, and everything about it can be known."""

    placed: Placed
    nodes: list[Node]
    truth: bool
    peer: bool


def made(chance: random.Random, number: int) -> list[Case]:
    """The jobs of one fabric."""
    rails = chance.choice([1, 4, 8])
    nodes: list[tuple[str, Group, bool, bool]] = []  # name, group, takes work, switches known
    for leaf in range(chance.randint(2, 6)):
        group = frozenset(f"f{number}-l{leaf}-r{r}" for r in range(rails))
        for each in range(chance.randint(2, 8)):
            nodes.append((f"n{leaf}-{each}", group, chance.random() > 0.1, chance.random() > 0.04))
    seen = [
        Node(
            n,
            "c",
            "H800",
            "",
            g if known else frozenset(),
            None,
            8,
            chance.choice([0, 8]),
            frozenset(f"{n}-{c}" for c in range(8)),
        )
        for n, g, takes, known in nodes
        if takes
    ]
    cases = []
    for count in range(6):
        able = [node for node in nodes if node[2]]
        size = chance.randint(2, max(2, min(12, len(able))))
        if len(able) < size:
            continue
        on = (
            sorted(able, key=lambda n: sorted(n[1]))[:size]
            if chance.random() < 0.5
            else chance.sample(able, size)
        )
        heard, loud = chance.random() > 0.1, chance.random() > 0.1
        held = tuple(
            Held(f"j{count}", f"{n[0]}-{c}", n[0], 10**9, NOW - 10**11, "H800") for n in on for c in range(8)
        )
        gang = Gang(f"j{count}", "slurm_job", "c", "training", "rd", None, held)
        ports = (
            [PortFigures(f"{n[0]}/p", 1800.0, {"rcv_data_bytes": 1800 * (1e9 if loud else 1e4)}) for n in on]
            if heard
            else []
        )
        sizes = Counter(node[1] for node in able if node[3])
        has = len({node[1] for node in on})
        enough = [
            k for k in range(1, has) if any(sum(pick) >= size for pick in combinations(sizes.values(), k))
        ]
        known = heard and loud and all(node[3] for node in on)
        leaves = {n[0]: n[1] if n[3] else frozenset() for n in on}
        cases.append(Case(Placed(gang, leaves, ports), seen, known and bool(enough), has > 1))
    return cases


def score(fabrics: int, seed: int) -> dict[str, float]:
    """Precision and recall of the detector and of the peer, jobs, and microseconds a job."""
    chance = random.Random(seed)
    cases = [case for number in range(fabrics) for case in made(chance, number)]
    started = time.perf_counter()
    told = [bool(find([case.placed], case.nodes, default_rules(), BOOK, NOW)) for case in cases]
    spent = time.perf_counter() - started
    truth = [case.truth for case in cases]
    figures = {
        "jobs": float(len(cases)),
        "scattered": float(sum(truth)),
        "microseconds_a_job": spent / len(cases) * 1e6,
    }
    for name, said in (("", told), ("peer_", [case.peer for case in cases])):
        right = sum(a and b for a, b in zip(said, truth, strict=True))
        figures[f"{name}precision"] = right / max(1, sum(said))
        figures[f"{name}recall"] = right / max(1, sum(truth))
    return {key: round(value, 4) for key, value in figures.items()}


if __name__ == "__main__":
    sys.exit(
        run(
            "placement",
            "scattered_job",
            {"fabrics": 40},
            lambda args: score(args.fabrics, args.seed),
            least=LEAST,
        )
    )
