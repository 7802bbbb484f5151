"""What a server with four makers costs: one sample of all of them, and each maker's child.

    python benchmarks/makers.py [--cards 2] [--ticks 40] [--strict]

The real agent, its supervisors and children over emulated libraries (tests/emulators; needs a C compiler) of
NVIDIA, Ascend, Cambricon and MetaX, ``--cards`` of each. Processor time is that of the agent and all children,
from /proc/PID/task/*/schedstat, a tick in the mean; memory is each child's proportional set. It is compared with
the same server with NVIDIA alone, measured in the same run. The last line is JSON; with --strict the exit code
is 1 when a limit is broken.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT)]

from tests.agent.makers_server import EXPECTED, NAMES, MakersServer  # noqa: E402
from tests.emulators.build import compiler  # noqa: E402

from ullage_agent.assembly import Agent  # noqa: E402
from ullage_contract.catalogue import Tier  # noqa: E402
from ullage_contract.clock import SystemClock  # noqa: E402
from ullage_contract.sample import Family  # noqa: E402

LIMITS = {"sample_cpu_ms": 50.0, "greatest_further_child_pss_mib": 12.0}
"""docs/architecture.md, promise 4: the agent is light, also with several makers in a server."""


def cpu_seconds(pids: list[int]) -> float:
    """Time on a processor of the processes' living threads."""
    total = 0
    for pid in pids:
        for task in Path(f"/proc/{pid}/task").iterdir():
            try:
                total += int((task / "schedstat").read_text().split()[0])
            except OSError:
                continue
    return total / 1e9


def memory_mib(pid: int) -> dict[str, float]:
    """Pss and what is the process's alone."""
    found = {"pss": 0.0, "own": 0.0}
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        name, _, rest = line.partition(":")
        if name == "Pss":
            found["pss"] = int(rest.split()[0]) / 1024
        elif name in ("Private_Clean", "Private_Dirty"):
            found["own"] += int(rest.split()[0]) / 1024
    return found


def pids_of(agent: Agent) -> dict[str, int]:
    return {one.name: pid for one in agent.sampler.supervisors for pid in one.pids()}


def measure(place: Path, makers: tuple[str, ...], cards: int, ticks: int) -> dict[str, Any]:
    """Milliseconds of processor time a tick, by tier, and each child's memory."""
    server = MakersServer(place, cards=cards, makers=makers)
    agent = server.agent(clock=SystemClock())
    try:
        for tier in (Tier.SLOW, Tier.FAST, Tier.FAST):
            tick = agent.tick(tier, patience_seconds=60)
        check(server, tick.every())
        children = pids_of(agent)
        found: dict[str, Any] = {"memory": {}, "children": len(children)}
        for tier, count in ((Tier.FAST, ticks), (Tier.SLOW, max(1, ticks // 4))):
            every = list(children.values())
            before, own, began = cpu_seconds(every), time.process_time(), time.perf_counter()
            for _ in range(count):
                tick = agent.tick(tier, patience_seconds=60)
            found[f"{tier}_wall_ms"] = 1e3 * (time.perf_counter() - began) / count
            found[f"{tier}_agent_ms"] = 1e3 * (time.process_time() - own) / count
            found[f"{tier}_cpu_ms"] = 1e3 * (cpu_seconds(every) - before + time.process_time() - own) / count
        check(server, tick.every())
        assert pids_of(agent) == children, "a child was started anew while measuring"
        found["memory"] = {name: memory_mib(pid) for name, pid in children.items()}
        return found
    finally:
        agent.close()


def check(server: MakersServer, samples: list[Any]) -> None:
    """The figures are of a server that answers as it should."""
    cards = {sample.subject: sample for sample in samples if sample.family is Family.CARD}
    for maker, found in server.cards.items():
        for card in found:
            said = {key: cards[card].values.get(key) for key in EXPECTED[maker]}
            assert said == dict(EXPECTED[maker]), f"{maker}: {said}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--cards", type=int, default=2, help="of each maker (default 2)")
    parser.add_argument("--ticks", type=int, default=40)
    parser.add_argument("--strict", action="store_true")
    arguments = parser.parse_args()
    if compiler() is None:
        sys.stderr.write("no C compiler: the emulated libraries cannot be built\n")
        return 2
    logging.disable(logging.INFO)
    with tempfile.TemporaryDirectory(prefix="ullage-makers-") as name:
        (Path(name) / "one").mkdir()
        (Path(name) / "all").mkdir()
        alone = measure(Path(name) / "one", ("nvidia",), arguments.cards, arguments.ticks)
        every = measure(Path(name) / "all", NAMES, arguments.cards, arguments.ticks)

    print(
        f"{arguments.cards} cards of each maker; processor time of agent and children, a sample in the mean"
    )
    print(f"{'':34}{'NVIDIA alone':>14}{'four makers':>14}")
    for title, key in (
        ("fast sample, CPU ms", "fast_cpu_ms"),
        ("  of it the agent's", "fast_agent_ms"),
        ("fast sample, wall ms (GPM waits)", "fast_wall_ms"),
        ("slow sample, CPU ms", "slow_cpu_ms"),
        ("slow sample, wall ms (GPM waits)", "slow_wall_ms"),
    ):
        print(f"{title:34}{alone[key]:>14.2f}{every[key]:>14.2f}")
    print(f"{'child of':34}{'PSS MiB':>14}{'own MiB':>14}")
    for maker, memory in sorted(every["memory"].items()):
        print(f"{maker:34}{memory['pss']:>14.2f}{memory['own']:>14.2f}")
    figures: dict[str, Any] = {
        "sample_cpu_ms": round(every["fast_cpu_ms"], 2),
        "slow_sample_cpu_ms": round(every["slow_cpu_ms"], 2),
        "cpu_ratio_nvidia_alone": round(every["fast_cpu_ms"] / alone["fast_cpu_ms"], 2),
        "greatest_further_child_pss_mib": round(
            max(memory["pss"] for maker, memory in every["memory"].items() if maker != "nvidia"), 2
        ),
        "child_pss_mib": {maker: round(memory["pss"], 2) for maker, memory in every["memory"].items()},
        "cards": arguments.cards * len(NAMES),
    }
    broken = [f"{k} is {figures[k]}, the limit is {v}" for k, v in LIMITS.items() if figures[k] > v]
    for line in broken:
        print(f"LIMIT BROKEN: {line}")
    print(json.dumps({"benchmark": "makers", "figures": figures}))
    return 1 if broken and arguments.strict else 0


if __name__ == "__main__":
    raise SystemExit(main())
