"""What the fragmentation measure costs: an openb-sized fleet by 35 kinds of tasks, beside plain Python loops.

    python benchmarks/fragmentation.py [--nodes 1213] [--kinds 35] [--rounds 30] [--strict]

Nodes as in the public openb trace: half with eight cards, most others with two; cards are free in parts, as after a
day's work. *measure* is one whole judgement of every node; *arrays* turns nodes into arrays first. The peer follows
the same rule node by node, task by task, card by card, and has to come to the same figure. *plan* is a proposal of
twenty moves for tasks placed at random on whole nodes, and what they give back. The last line is JSON; with --strict
the exit code is 1 where the best round takes 10 ms or longer.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests/collector"))

from fragmentation_cases import loops

from ullage_collector.detect.fragmentation.capacity import FreeNode, as_arrays
from ullage_collector.detect.fragmentation.measure import CLASSES, SATISFIED, measure, totalled
from ullage_collector.detect.fragmentation.moves import Plan, propose
from ullage_collector.detect.fragmentation.placed import Placed
from ullage_collector.detect.fragmentation.settings import default_rules
from ullage_collector.detect.fragmentation.task import Ask, Task, given, normalised

LIMIT_SECONDS = 0.010


def fleet(count: int, chance: random.Random) -> list[FreeNode]:
    """Nodes with 8, 2, 4 or 1 cards as often as openb's 1,213 have them."""
    nodes = []
    for number in range(count):
        size = chance.choices((8, 2, 4, 1), (617, 518, 54, 24))[0]
        cards = tuple(chance.choice((0, 0, 1000, 1000, chance.randrange(1000))) for _ in range(size))
        cpu = chance.randrange(128_001)
        nodes.append(FreeNode(f"n{number}", f"M{chance.randrange(7)}", cpu, 262_144, cards))
    return nodes


def kinds(count: int, chance: random.Random) -> tuple[Task, ...]:
    """A seventh ask for no card, most others for one or a share of it, as openb's typical kinds."""
    found = []
    for _ in range(count):
        cards = chance.choices((0, 1, 2, 4, 8), (13, 84, 1, 1, 1))[0]
        share = 0 if not cards else 1000 if cards > 1 else chance.choice((1000, 460, 500, 250, 340, 680, 150))
        found.append(Task(Ask(chance.randrange(1000, 16_000), None, cards, share), chance.random()))
    return normalised(found)


def loaded(
    nodes: Sequence[FreeNode], tasks: Sequence[Task], chance: random.Random
) -> tuple[list[FreeNode], list[Placed]]:
    """The nodes, empty at first, with tasks at random on the first cards that fit, six a node."""
    free = [replace(node, cards=(1000,) * len(node.cards), cpu_milli=96_000) for node in nodes]
    work = []
    for number in range(6 * len(nodes)):
        ask = replace(chance.choices(tasks, [task.weight for task in tasks])[0].ask, memory_mib=8192)
        place = chance.randrange(len(free))
        node = free[place]
        fits = tuple(card for card, milli in enumerate(node.cards) if milli >= ask.share_milli)[: ask.cards]
        if len(fits) < ask.cards or (node.cpu_milli or 0) < ask.cpu_milli or (node.memory_mib or 0) < 8192:
            continue
        free[place] = replace(
            node,
            cards=tuple(m - ask.share_milli * (c in fits) for c, m in enumerate(node.cards)),
            cpu_milli=(node.cpu_milli or 0) - ask.cpu_milli,
            memory_mib=(node.memory_mib or 0) - 8192,
        )
        work.append(Placed(f"w{number}", place, fits, ask))
    return free, work


def proposed(nodes: Sequence[FreeNode], work: Sequence[Placed], tasks: Sequence[Task]) -> Plan:
    """By the shipped rules."""
    rules = default_rules()
    least = rules.least_cards_a_move * 1000
    return propose(
        nodes, work, given(tasks), most=rules.most_moves, least_milli=least, most_together=rules.most_together
    )


def seconds(work: Callable[[], object], rounds: int) -> list[float]:
    """How long each round took."""
    found = []
    for _ in range(rounds):
        began = time.perf_counter()
        work()
        found.append(time.perf_counter() - began)
    return found


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--nodes", type=int, default=1213)
    parser.add_argument("--kinds", type=int, default=35)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--strict", action="store_true")
    args = parser.parse_args(argv)
    chance = random.Random(0)
    nodes, tasks = fleet(args.nodes, chance), kinds(args.kinds, chance)
    free = as_arrays(nodes)
    ours = totalled(measure(free, tasks)).fragmented_milli
    peers = sum(sum(row.values()) - row[CLASSES[SATISFIED]] for row in loops(nodes, tasks))
    if abs(ours - peers) > 1e-6 * max(1.0, peers):
        print(f"the two do not agree: {ours} and {peers}", file=sys.stderr)
        return 1
    vectors = seconds(lambda: measure(free, tasks), args.rounds)
    arrays = seconds(lambda: as_arrays(nodes), args.rounds)
    plain = seconds(lambda: loops(nodes, tasks), max(3, args.rounds // 10))
    ratio = min(plain) / min(vectors)
    print(
        f"{args.nodes} nodes x {args.kinds} kinds: {min(vectors) * 1e3:.2f} ms (median "
        f"{statistics.median(vectors) * 1e3:.2f}), arrays {min(arrays) * 1e3:.2f} ms; plain loops "
        f"{min(plain) * 1e3:.1f} ms: {ratio:.1f} x; {ours / 1000:.1f} cards fragmented by both"
    )
    busy, work = loaded(nodes, tasks, chance)
    began = time.perf_counter()
    plan = proposed(busy, work, tasks)
    planning = time.perf_counter() - began
    print(
        f"{len(work)} workloads: {len(plan.steps)} moves give back {sum(plan.regained_milli) / 1000:.1f} cards, "
        f"found in {planning:.2f} s"
    )
    figures = {
        "nodes": args.nodes,
        "kinds": args.kinds,
        "measure_ms": round(min(vectors) * 1e3, 3),
        "measure_median_ms": round(statistics.median(vectors) * 1e3, 3),
        "arrays_ms": round(min(arrays) * 1e3, 3),
        "plain_loops_ms": round(min(plain) * 1e3, 2),
        "ratio": round(ratio, 1),
        "workloads": len(work),
        "plan_seconds": round(planning, 2),
        "plan_moves": len(plan.steps),
        "plan_regained_cards": round(sum(plan.regained_milli) / 1000, 1),
    }
    print(json.dumps({"benchmark": "fragmentation", "figures": figures}))
    return 1 if args.strict and min(vectors) >= LIMIT_SECONDS else 0


if __name__ == "__main__":
    sys.exit(main())
