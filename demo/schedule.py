"""Two weeks of jobs, services and notebooks on the fleet, placed by schedulers that are not perfect.

Each pool has its own queue. Jobs of whole servers need whole servers; small ones go where they fit,
not always best: that is where fragments come from. Services and notebooks may take half a card.
Times are seconds since the epoch. Numbers: ullage_agent.backends.simulated.dynamics.
"""

from __future__ import annotations

import heapq
import json
import math
import random
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from demo.happenings import Happening
from demo.people import DEPARTMENTS, STRANGER, Department
from demo.places import CARDS_PER_SERVER, CLUSTER, Card
from ullage_agent.backends.simulated import dynamics
from ullage_agent.backends.simulated.dynamics import HABITS, Work

WHOLE: Final = 2
"""Capacity of a card in halves."""

WARM_UP_SECONDS: Final = 2 * 86400.0
"""The schedule begins this long before the window, so that the window begins in the middle of life."""

LONGEST_SECONDS: Final = 6 * 86400.0  # our choice: sites bound a job's time; days are common
BACKFILL: Final = (
    20  # our choice: how deep a queue is searched for something that fits, as schedulers bound it
)
LOCAL_OFFSET_SECONDS: Final = 8 * 3600.0

# What each kind of scheduler is asked for, as shares of its pool's card time.
DEMAND: Final = {
    "slurm": {Work.TRAINING: 0.82, Work.HELD: 0.07, Work.INFERENCE: 0.03, Work.NOTEBOOK: 0.02},
    "k8s": {Work.INFERENCE: 0.26, Work.LLM: 0.36, Work.NOTEBOOK: 0.14, Work.HELD: 0.08, Work.TRAINING: 0.06},
}
HALF_CARDS: Final = {Work.INFERENCE: 0.5, Work.NOTEBOOK: 0.6, Work.HELD: 0.3}
"""Share of k8s requests for one card that ask for half of one."""


@dataclass(slots=True)
class Workload:
    """One job, service or notebook, and how it behaves. cards: indexes; share: of each, 1 or 0.5."""

    workload_id: str
    kind: str
    work: Work
    name: str
    user: str
    namespace: str
    partition: str
    labels: dict[str, str]
    department: str
    size: int
    share: float
    life: float
    intensity: float
    memory_ratio: float
    plateau: float
    exchange_ratio: float
    dip_share: float
    checkpoint_every: float
    checkpoint_seconds: float
    startup_seconds: float
    seed: int
    cards: tuple[int, ...] = ()
    start: float = 0.0
    end: float = 0.0

    @property
    def labels_json(self) -> str:
        """The labels as the allocations file carries them."""
        return json.dumps(self.labels, ensure_ascii=False, sort_keys=True)


@dataclass(slots=True)
class _Pool:
    scheduler: str
    cards: list[Card]
    free: dict[int, int] = field(default_factory=dict)
    away: dict[int, float] = field(default_factory=dict)
    queue: list[Workload] = field(default_factory=list)


def workloads(
    cards: Sequence[Card], happenings: Sequence[Happening], begin: float, end: float, seed: int
) -> list[Workload]:
    """Everything that held a card within [begin, end); starts may lie before it, ends never after."""
    pools: dict[str, _Pool] = {}
    for card in cards:
        pool = pools.setdefault(card.pool, _Pool(card.scheduler, []))
        pool.cards.append(card)
        pool.free[card.index] = WHOLE
    found: list[Workload] = []
    for number, (name, pool) in enumerate(pools.items()):
        draw = random.Random(f"{seed}/{name}")
        mine = [h for h in happenings if set(h.cards) & set(pool.free) and (h.kills or h.away)]
        arrivals = _arrivals(name, pool, begin - WARM_UP_SECONDS, end, draw, number)
        found += _run(pool, arrivals, mine, end, draw)
    return sorted((w for w in found if w.end > begin), key=lambda w: (w.start, w.workload_id))


def _arrivals(
    name: str, pool: _Pool, begin: float, end: float, draw: random.Random, number: int
) -> list[tuple[float, Workload]]:
    counter = 100_000 * (number + 1)
    arrivals: list[tuple[float, Workload]] = []
    for work, share in DEMAND[pool.scheduler].items():
        sizes, weights = _sizes(work, pool)
        mean = sum(
            weight * size * _half(pool, work, size) * _mean_life(work, size)
            for size, weight in zip(sizes, weights, strict=True)
        )
        rate = share * len(pool.cards) / mean
        time = begin
        while True:
            time += draw.expovariate(rate)
            if time >= end:
                break
            hour = (time + LOCAL_OFFSET_SECONDS) % 86400 / 3600
            if work is Work.NOTEBOOK and not 8 < hour < 22 and draw.random() < 0.85:
                continue
            counter += 1
            size = draw.choices(sizes, weights)[0]
            arrivals.append((time, _request(name, pool, work, size, counter, draw)))
        if work in (Work.LLM, Work.INFERENCE):  # services are there from the start
            for _ in range(int(rate * _mean_life(work, 1))):
                counter += 1
                size = draw.choices(sizes, weights)[0]
                arrivals.append(
                    (begin + draw.uniform(0, 3600), _request(name, pool, work, size, counter, draw))
                )
    return sorted(arrivals, key=lambda each: each[0])


def _request(name: str, pool: _Pool, work: Work, size: int, number: int, draw: random.Random) -> Workload:
    owners = (*DEPARTMENTS, STRANGER)
    owner = draw.choices(owners, [each.weight for each in owners])[0]
    habit = HABITS[work]
    median = habit.life_median_seconds * (size**dynamics.GANG_LIFE_EXPONENT if work is Work.TRAINING else 1)
    if work in (Work.LLM, Work.INFERENCE):
        median *= 3  # services of a company live longer than a trace's replicas
    full = draw.random() < dynamics.FULL_PLATEAU_SHARE
    workload_id, kind, title, namespace = _names(pool, work, owner, number, draw)
    return Workload(
        workload_id=workload_id,
        kind=kind,
        work=work,
        name=title,
        user=draw.choice(owner.users),
        namespace=namespace,
        partition=name if pool.scheduler == "slurm" else "",
        labels={"app": title.rsplit("-", 1)[0]},
        department=owner.id,
        size=size,
        share=0.5
        if pool.scheduler == "k8s" and size == 1 and draw.random() < HALF_CARDS.get(work, 0)
        else 1.0,
        life=min(LONGEST_SECONDS, max(60.0, draw.lognormvariate(math.log(median), habit.life_sigma))),
        intensity=draw.uniform(*habit.intensity),
        memory_ratio=draw.uniform(*habit.memory),
        plateau=draw.uniform(0.95, 1.0) if full else draw.uniform(0.55, 0.92),
        exchange_ratio=draw.uniform(0.02, 0.15),
        dip_share=draw.uniform(*dynamics.DIP_SHARE),
        checkpoint_every=draw.uniform(*dynamics.CHECKPOINT_EVERY_SECONDS),
        checkpoint_seconds=draw.uniform(*dynamics.CHECKPOINT_SECONDS),
        startup_seconds=draw.uniform(*dynamics.STARTUP_SECONDS),
        seed=draw.getrandbits(63),
    )


def _names(
    pool: _Pool, work: Work, owner: Department, number: int, draw: random.Random
) -> tuple[str, str, str, str]:
    """(workload_id, kind, name, account or namespace)."""
    if pool.scheduler == "slurm":
        account = draw.choice(owner.training)
        title = {
            Work.TRAINING: f"{account.rpartition('-')[2]}-{draw.choice(('7b', '32b', '72b', 'moe', 'base'))}",
            Work.INFERENCE: f"eval-{draw.choice(('mmlu', 'ceval', 'nightly'))}",
            Work.NOTEBOOK: "jupyter",
        }.get(work, "interactive")
        if work is Work.INFERENCE:
            account = f"{account.partition('-')[0]}-eval"
        return f"slurm/{CLUSTER}/{number}", "slurm_job", f"{title}-{number % 1000}", account
    serving = work in (Work.LLM, Work.INFERENCE)
    namespace = owner.serving[0] if serving else owner.serving[-1]
    uid = uuid.UUID(int=draw.getrandbits(128), version=4)
    if work is Work.NOTEBOOK:
        title = f"notebook-{draw.choice(owner.users).replace('.', '-')}-{number % 1000}"
        return f"k8s/{CLUSTER}/{namespace}/{title}/{uid}", "notebook", title, namespace
    head = {
        Work.LLM: f"vllm-{draw.choice(('qwen', 'deepseek', 'internal'))}",
        Work.INFERENCE: f"infer-{draw.choice(('ocr', 'rank', 'embed', 'asr'))}",
        Work.TRAINING: "finetune",
    }.get(work, "debug")
    title = f"{head}-{number % 1000}"
    return f"k8s/{CLUSTER}/{namespace}/{title}/{uid}", "kubernetes_pod", title, namespace


def _run(
    pool: _Pool,
    arrivals: Sequence[tuple[float, Workload]],
    happenings: Sequence[Happening],
    end: float,
    draw: random.Random,
) -> list[Workload]:
    """The pool's life: arrivals, ends and happenings in time order."""
    running: dict[int, Workload] = {}
    done: list[Workload] = []
    ends: list[tuple[float, int]] = []
    steps: list[tuple[float, int, Workload | Happening | None]] = [(t, 2, w) for t, w in arrivals]
    steps += [(h.start, 0, h) for h in happenings]
    steps += [(h.end, 1, None) for h in happenings if h.away]
    steps.sort(key=lambda each: (each[0], each[1]))
    serial = 0

    def finish(key: int, time: float) -> None:
        workload = running.pop(key)
        workload.end = time
        for card in workload.cards:
            pool.free[card] += round(workload.share * WHOLE)
        done.append(workload)

    def dispatch(time: float) -> None:
        nonlocal serial
        position = 0
        while position < min(len(pool.queue), BACKFILL):
            workload = pool.queue[position]
            chosen = _place(pool, workload, time, draw)
            if chosen is None:
                position += 1
                continue
            pool.queue.pop(position)
            workload.cards, workload.start = chosen, time
            for card in chosen:
                pool.free[card] -= round(workload.share * WHOLE)
            serial += 1
            running[serial] = workload
            heapq.heappush(ends, (time + workload.life, serial))

    for time, _, what in [*steps, (end, 3, None)]:
        while ends and ends[0][0] <= time:
            when, key = heapq.heappop(ends)
            if key in running:
                finish(key, when)
                dispatch(when)
        if isinstance(what, Happening):
            hit = set(what.cards)
            if what.away:
                pool.away.update({card: what.end for card in hit if card in pool.free})
            for key in [k for k, w in running.items() if what.kills and hit & set(w.cards)]:
                finish(key, time)
        elif what is not None:
            pool.queue.append(what)
        dispatch(time)
    for key in list(running):
        finish(key, end)
    return done


def _place(pool: _Pool, workload: Workload, time: float, draw: random.Random) -> tuple[int, ...] | None:
    """Cards for it, or None: whole servers for eight and more, else one server with room, not always the best."""
    halves = round(workload.share * WHOLE)
    servers: dict[str, list[int]] = {}
    for card in pool.cards:
        if pool.away.get(card.index, 0.0) <= time and pool.free[card.index] >= halves:
            servers.setdefault(card.node_id, []).append(card.index)
    if workload.share < 1:
        room = [index for indexes in servers.values() for index in indexes]
        begun = [index for index in room if pool.free[index] < WHOLE]
        if begun and draw.random() < 0.7:
            return (draw.choice(begun),)
        return (draw.choice(room),) if room else None
    if workload.size >= CARDS_PER_SERVER:
        whole = [indexes for indexes in servers.values() if len(indexes) == CARDS_PER_SERVER]
        wanted = workload.size // CARDS_PER_SERVER
        if len(whole) < wanted:
            return None
        return tuple(index for indexes in whole[:wanted] for index in indexes)
    fitting = [indexes for indexes in servers.values() if len(indexes) >= workload.size]
    if not fitting:
        return None
    best = min(fitting, key=len) if draw.random() < 0.7 else draw.choice(fitting)
    return tuple(best[: workload.size])


def _sizes(work: Work, pool: _Pool) -> tuple[list[int], list[float]]:
    most = len(pool.cards) // 2
    if work is Work.TRAINING and pool.scheduler == "slurm":
        pairs = [p for p in zip(dynamics.GANG_SIZES, dynamics.GANG_WEIGHTS, strict=True) if p[0] <= most]
    elif work is Work.LLM:
        pairs = [(1, 0.4), (2, 0.3), (4, 0.2), (8, 0.1)]
    else:
        pairs = [(1, 1.0)]
    total = sum(weight for _, weight in pairs)
    return [size for size, _ in pairs], [weight / total for _, weight in pairs]


def _half(pool: _Pool, work: Work, size: int) -> float:
    return 1 - 0.5 * HALF_CARDS.get(work, 0) if pool.scheduler == "k8s" and size == 1 else 1.0


def _mean_life(work: Work, size: int) -> float:
    habit = HABITS[work]
    life = habit.life_median_seconds * math.exp(habit.life_sigma**2 / 2)
    if work is Work.TRAINING:
        life *= size**dynamics.GANG_LIFE_EXPONENT
    if work in (Work.LLM, Work.INFERENCE):
        life *= 3
    return min(life, LONGEST_SECONDS)
