"""One server's simulated cards: jobs come and go, and every card's values follow them. Same seed, same story.

Time is only what ``advance`` is given; random numbers come from the seed alone. Equations and numbers:
dynamics.py. Not here: faults (faults.py) and the contract (reader.py).
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from ullage_agent.backends.simulated import dynamics
from ullage_agent.backends.simulated.dynamics import HABITS, Work
from ullage_agent.backends.simulated.models import Model

LONGEST_STEP_SECONDS: Final = 60.0
"""our choice: a reader that was away is not simulated minute by minute; state moves on by one such step."""

_GANGS: Final = tuple(
    (size, weight) for size, weight in zip(dynamics.GANG_SIZES, dynamics.GANG_WEIGHTS, strict=True)
)


@dataclass(slots=True)
class Job:
    """What some cards are busy with. Times are seconds on ``advance``'s clock."""

    work: Work
    started: float
    ends: float
    intensity: float
    memory_ratio: float
    plateau: float
    step_seconds: float
    exchange_ratio: float
    dip_share: float
    checkpoint_every: float
    checkpoint_seconds: float
    startup_seconds: float
    level: float = 0.5
    on: bool = True


@dataclass(slots=True)
class Card:
    """One card's state. Values of a moment after ``advance``; ``*_bytes``, energy and errors only grow.

    heat_celsius, slow: what faults add. job None: free.
    """

    model: Model
    ambient: float
    idle_watts: float
    lag_seconds: float
    bad_memory: bool
    free_until: float
    job: Job | None = None
    utilization: float = 0.0
    intensity: float = 0.0
    memory_used: int = 0
    power: float = 0.0
    temperature: float = 0.0
    memory_temperature: float = 0.0
    energy: float = 0.0
    link_bytes: float = 0.0
    pcie_rx: float = 0.0
    pcie_tx: float = 0.0
    ecc_corrected: int = 0
    ecc_uncorrected: int = 0
    heat_celsius: float = 0.0
    slow: bool = False


@dataclass(slots=True)
class Port:
    """One RDMA port's traffic, in bytes since the start."""

    xmit: float = 0.0
    rcv: float = 0.0
    wait: float = 0.0
    down: bool = False
    link_downed: int = 0


class Server:
    """The cards and ports of one node. Call ``advance`` with a clock that does not go back.

    seed: any text; with the node's name in it, each node has a story of its own.
    utc_offset_hours: where its people live, for the tides of inference.
    """

    def __init__(
        self, models: Sequence[Model], *, seed: str, now: float, ports: int = 0, utc_offset_hours: float = 8.0
    ) -> None:
        self._random = random.Random(seed)
        self._offset = utc_offset_hours * 3600
        self._now = now
        ambient = dynamics.AMBIENT_CELSIUS + self._random.uniform(-1, 1) * dynamics.AMBIENT_SPREAD_CELSIUS
        low, high = dynamics.SLOT_CELSIUS
        self.cards = [
            Card(
                model=model,
                ambient=ambient + low + (high - low) * place / max(1, len(models) - 1),
                idle_watts=model.idle_watts
                * (1 + self._random.uniform(-dynamics.IDLE_SPREAD, dynamics.IDLE_SPREAD)),
                lag_seconds=self._random.uniform(*dynamics.TEMPERATURE_LAG_SECONDS),
                bad_memory=self._random.random() < dynamics.BAD_MEMORY_SHARE,
                free_until=now,
            )
            for place, model in enumerate(models)
        ]
        self.ports = [Port() for _ in range(ports)]
        self._populate(now)
        for card in self.cards:
            card.power = card.idle_watts
            card.temperature = card.ambient + card.power * card.model.thermal_resistance
            card.memory_temperature = card.temperature + dynamics.MEMORY_ABOVE_CORE_CELSIUS
        self.advance(now)

    def advance(self, now: float) -> None:
        """Move everything on to ``now``. The same sequence of instants gives the same values."""
        seconds = min(max(0.0, now - self._now), LONGEST_STEP_SECONDS)
        elapsed = max(0.0, now - self._now)
        self._now = max(now, self._now)
        demand = dynamics.day_curve((self._now + self._offset) % 86400 / 3600)
        self._come_and_go(demand)
        for job in {id(card.job): card.job for card in self.cards if card.job is not None}.values():
            self._move(job, seconds, demand)
        for card in self.cards:
            self._use(card)
            self._feel(card, seconds, elapsed)
        self._traffic(elapsed)

    # ---- jobs

    def _populate(self, now: float) -> None:
        """As met in the middle of a day: shares of card time, jobs met anywhere in their life."""
        free = list(self.cards)
        works = list(HABITS)
        weights = [HABITS[work].share for work in works]
        while free:
            if self._random.random() > sum(weights):
                free.pop().free_until = now + self._random.expovariate(1 / 1800)
                continue
            work = self._random.choices(works, weights)[0]
            job = self._job(work, now, self._size(work, len(free)))
            life = job.ends - job.started
            past = self._random.random() * life
            job.started, job.ends = now - past, now - past + life
            size = self._size(work, len(free))
            for _ in range(size):
                free.pop().job = job

    def _come_and_go(self, demand: float) -> None:
        for card in self.cards:
            if card.job is not None and self._now >= card.job.ends:
                card.job = None
                # the share of free card time over that of held time sets how long a card waits for work
                card.free_until = self._now + self._random.expovariate(1 / (1500 / demand))
        waiting = [c for c in self.cards if c.job is None and self._now >= c.free_until]
        works = list(HABITS)
        # arrivals in proportion to card time over lifetime, so that shares of card time come out as wanted
        weights = [HABITS[work].share / _mean_life(work) for work in works]
        while waiting:
            work = self._random.choices(works, weights)[0]
            size = self._size(work, len(waiting))
            job = self._job(work, self._now, size)
            for _ in range(size):
                waiting.pop().job = job

    def _size(self, work: Work, most: int) -> int:
        if work is not Work.TRAINING:
            return 1
        fitting = [(min(size, len(self.cards)), weight) for size, weight in _GANGS]
        size = self._random.choices([s for s, _ in fitting], [w for _, w in fitting])[0]
        return max(1, min(size, most))

    def _job(self, work: Work, now: float, size: int) -> Job:
        draw = self._random
        habit = HABITS[work]
        median = habit.life_median_seconds
        if work is Work.TRAINING:
            median *= size**dynamics.GANG_LIFE_EXPONENT
        full = draw.random() < dynamics.FULL_PLATEAU_SHARE
        return Job(
            work=work,
            started=now,
            ends=now + max(60.0, draw.lognormvariate(math.log(median), habit.life_sigma)),
            intensity=draw.uniform(*habit.intensity),
            memory_ratio=draw.uniform(*habit.memory),
            plateau=draw.uniform(0.95, 1.0) if full else draw.uniform(0.55, 0.92),
            step_seconds=draw.lognormvariate(math.log(dynamics.STEP_MEDIAN_SECONDS), dynamics.STEP_SIGMA),
            exchange_ratio=draw.uniform(0.02, 0.15),
            dip_share=draw.uniform(*dynamics.DIP_SHARE),
            checkpoint_every=draw.uniform(*dynamics.CHECKPOINT_EVERY_SECONDS),
            checkpoint_seconds=draw.uniform(*dynamics.CHECKPOINT_SECONDS),
            startup_seconds=draw.uniform(*dynamics.STARTUP_SECONDS),
        )

    def _move(self, job: Job, seconds: float, demand: float) -> None:
        """The state of a job that all its cards share."""
        draw = self._random
        if job.work in (Work.INFERENCE, Work.NOTEBOOK):
            off = dynamics.off_seconds(demand)
            if job.work is Work.NOTEBOOK:
                off = dynamics.BURST_ON_SECONDS * (1 / dynamics.NOTEBOOK_ON_SHARE - 1)
            stay = dynamics.BURST_ON_SECONDS if job.on else off
            if draw.random() < dynamics.lag(seconds, stay):
                job.on = not job.on
                job.level = draw.uniform(0.15, 0.9) * (0.5 + 0.5 * demand)
                if job.work is Work.INFERENCE and job.on and draw.random() < 0.1:  # another model is loaded
                    job.memory_ratio = draw.uniform(*HABITS[job.work].memory)
        elif job.work is Work.LLM:
            target = 0.25 + 0.65 * demand
            job.level += (target - job.level) * dynamics.lag(seconds, 120.0) + draw.gauss(0, 0.05)
            job.level = min(1.0, max(0.03, job.level))

    # ---- cards

    def _use(self, card: Card) -> None:
        job = card.job
        if job is None:
            card.utilization, card.intensity, card.memory_used = 0.0, 0.0, 0
            return
        draw = self._random
        held = job.memory_ratio
        if job.work is Work.TRAINING:
            used, held = self._train(job)
        elif job.work is Work.HELD:
            used = 0.0
        elif job.work is Work.LLM:
            used = min(1.0, max(0.0, job.level + draw.gauss(0, 0.04)))
        else:
            used = min(1.0, max(0.0, job.level * draw.lognormvariate(0, 0.25))) if job.on else 0.0
        card.utilization = round(used, 2)  # libraries give whole per cents
        card.intensity = job.intensity * (0.6 if card.slow else 1.0)
        card.memory_used = int(held * card.model.memory_bytes) >> 21 << 21

    def _train(self, job: Job) -> tuple[float, float]:
        """(utilisation, share of memory held) of a training job now; one moment for all its cards."""
        draw = self._random
        age = self._now - job.started
        if age < job.startup_seconds:
            step = int(age / job.startup_seconds * dynamics.STARTUP_MEMORY_STEPS)
            return 0.0, job.memory_ratio * step / dynamics.STARTUP_MEMORY_STEPS
        if age % job.checkpoint_every > job.checkpoint_every - job.checkpoint_seconds:
            return draw.choice((0.0, 0.0, 0.01, 0.03)), job.memory_ratio
        if draw.random() < job.dip_share:
            return draw.uniform(0, 0.3), job.memory_ratio
        exchanging = (self._now / job.step_seconds) % 1.0 > 1 - job.exchange_ratio
        return min(
            1.0, job.plateau * (0.6 if exchanging else 1.0) + draw.uniform(-0.01, 0.01)
        ), job.memory_ratio

    def _feel(self, card: Card, seconds: float, elapsed: float) -> None:
        """Power, temperatures and what they count up."""
        draw = self._random
        model = card.model
        if card.utilization > 0:
            target = dynamics.busy_watts(card.idle_watts, model.tdp_watts, card.intensity, card.utilization)
            target *= 1 + draw.gauss(0, dynamics.BUSY_NOISE)
        else:
            target = card.idle_watts * (1 + draw.gauss(0, dynamics.IDLE_NOISE))
            if card.memory_used:
                target += 0.04 * model.tdp_watts  # a context keeps the clocks and the memory awake
        target = min(target, model.tdp_watts * dynamics.POWER_CAP)
        card.power += (target - card.power) * dynamics.lag(seconds, dynamics.POWER_LAG_SECONDS)
        core = card.ambient + card.power * model.thermal_resistance + card.heat_celsius
        card.temperature += (core - card.temperature) * dynamics.lag(seconds, card.lag_seconds)
        memory = core + dynamics.MEMORY_ABOVE_CORE_CELSIUS * (0.4 + card.utilization)
        card.memory_temperature += (memory - card.memory_temperature) * dynamics.lag(
            seconds, card.lag_seconds * dynamics.MEMORY_LAG_FACTOR
        )
        card.energy += card.power * elapsed
        card.pcie_rx += card.utilization * 4e8 * elapsed + 2e4 * elapsed
        card.pcie_tx += card.utilization * 1.5e8 * elapsed + 1e4 * elapsed
        if model.links and card.job is not None and card.job.work in (Work.TRAINING, Work.LLM):
            card.link_bytes += card.utilization * 2.5e9 * model.links * elapsed
        if card.bad_memory:
            card.ecc_corrected += _events(draw, dynamics.CORRECTED_PER_SECOND * elapsed)
        card.ecc_uncorrected += _events(draw, dynamics.UNCORRECTED_PER_CARD_SECOND * elapsed)

    def _traffic(self, elapsed: float) -> None:
        """A port carries what the training of the card beside it exchanges with other servers."""
        for place, port in enumerate(self.ports):
            if port.down or not self.cards:
                continue
            card = self.cards[place % len(self.cards)]
            rate = card.model.port_rate_bits / 8
            training = card.job is not None and card.job.work is Work.TRAINING
            share = 0.35 * card.utilization * self._random.uniform(0.8, 1.2) if training else 0.0
            sent = (share * rate + 500) * elapsed
            port.xmit += sent
            port.rcv += sent * self._random.uniform(0.97, 1.03)
            port.wait += share * 1e5 * elapsed


def _mean_life(work: Work) -> float:
    habit = HABITS[work]
    return habit.life_median_seconds * math.exp(habit.life_sigma**2 / 2)


def _events(draw: random.Random, expected: float) -> int:
    """A Poisson count for small expectations: whole part, and one more with the rest's probability."""
    whole = int(expected)
    return whole + (draw.random() < expected - whole)
