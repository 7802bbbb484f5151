"""Fleets nobody would design: shares of any size, edges at any microsecond, rows that overlap, gaps everywhere."""

from __future__ import annotations

import random
from datetime import timedelta

from tests.collector.fleet_world import DAY, NANO, World, at

MODELS = ("H800", "H20", "A100", "Ascend 910B3")
SHARES = (NANO, NANO // 2, NANO // 3, NANO // 7, 1, NANO - 1, 123_456_789)


def instant(rng: random.Random) -> float:
    """Hours after midnight, a little beyond the day on both sides; on a round edge half the time."""
    if rng.random() < 0.5:
        return float(rng.randint(-2, 26))
    return rng.randint(-2 * 3_600_000_000, 26 * 3_600_000_000) / 3_600_000_000


def span(rng: random.Random) -> tuple[float, float | None]:
    start = instant(rng)
    return start, (None if rng.random() < 0.15 else start + rng.random() * rng.choice((0.1, 3, 30)))


def random_world(rng: random.Random) -> World:
    world = World()
    count = rng.randint(1, 5)
    names = [f"G{n}" for n in range(count)]
    for n, name in enumerate(names):
        start, end = (at(instant(rng)), None) if rng.random() < 0.3 else (None, None)
        if rng.random() < 0.2:
            end = at(instant(rng))
        world.card(
            name,
            rng.choice(MODELS),
            f"n{n // 2}",
            life=rng.choice(
                ("in_service", "in_service", "in_service", "stock", "maintenance", "rma", "lent")
            ),
            start=start,
            end=end,
            pool=rng.choice((None, "gold")),
            vendor=rng.choice(("nvidia", "ascend")),
            origin=rng.choice(("real", "imported", "simulated")),
        )
        if rng.random() < 0.3:
            world.own(
                name,
                rng.choice(MODELS),
                f"n{n // 2}",
                life=rng.choice(("retired", "in_service", "maintenance")),
                start=at(instant(rng)),
            )
    for n in range(rng.randint(0, 12)):
        start, end = span(rng)
        loose = rng.random() < 0.15
        source = rng.choice(("slurm/dc1/nlp", "slurm/dc1/cv", "k8s/dc1/rec-dev/p", "slurm/dc1/ghost"))
        world.hold(
            None if loose else rng.choice(names),
            f"{source}/{n}",
            start,
            end,
            rng.choice(SHARES) * (rng.randint(1, 3) if loose else 1),
            node=f"n{rng.randint(0, (count - 1) // 2)}",
        )
    for _ in range(rng.randint(0, 3)):
        start, end = span(rng)
        family = rng.choice(("card", "node"))
        subject = rng.choice(names) if family == "card" else f"n{rng.randint(0, (count - 1) // 2)}"
        world.incident(
            subject,
            start,
            end,
            family=family,
            confirmed=rng.random() < 0.8,
            action=rng.choice(("isolate_node", "replace", "observe")),
        )
    for _ in range(rng.randint(0, 3)):
        start, end = span(rng)
        world.isolate(rng.choice(names), start, end)
    for name in names:
        for _ in range(rng.randint(0, 6)):
            start = rng.uniform(-2, 25)
            end = start + rng.choice((0.1, 0.3, 2, 9))
            world.db.execute(
                "DELETE FROM card_minute WHERE card_key = ? AND minute >= ? - INTERVAL 1 MINUTE AND minute <= ?",
                [world.cards[name], at(start), at(end)],
            )
            world.minutes(
                name,
                start,
                end,
                rng.choice((0.0, 0.0, 0.01, 0.5, None)),
                covered=rng.choice((60.0, 60.0, 10.0)),
            )
    for _ in range(rng.randint(0, 5)):
        start, end = span(rng)
        world.price(
            rng.choice((*MODELS, "H*", "*")),
            rng.randint(0, 60_000_000),
            start=at(start),
            end=None if end is None else at(end),
            pool=rng.choice((None, None, "gold")),
            assumed=rng.random() < 0.2,
        )
    for match in ("slurm:nlp", "slurm:c*", "k8s:rec-*", "slurm:*", "user:*"):
        if rng.random() < 0.6:
            start, end = span(rng)
            world.rule(
                match,
                rng.choice(("rd/nlp", "rd/cv", "rd", "ads")),
                priority=rng.randint(0, 2),
                scenario=rng.choice((None, "training", "inference")),
                business=rng.choice((None, "search")),
                start=at(start) if rng.random() < 0.5 else None,
                end=None if end is None else at(end),
            )
    return world


def shuffled(world: World, rng: random.Random) -> None:
    """The same rows in another order: nothing may depend on it."""
    for table in ("allocation", "inventory", "incident", "isolation", "price", "mapping_rule", "card_minute"):
        seed = rng.randint(0, 10**9)
        world.db.execute(
            f"CREATE OR REPLACE TEMP TABLE mixed AS SELECT * FROM {table} ORDER BY hash(rowid + {seed})"
        )
        world.db.execute(f"DELETE FROM {table}")
        world.db.execute(f"INSERT INTO {table} SELECT * FROM mixed")


def moment(rng: random.Random) -> int:
    """A microsecond of the test day since the epoch."""
    return int((DAY + timedelta(microseconds=rng.randint(0, 86_400_000_000 - 1))).timestamp() * 1_000_000)
