"""A fleet's day worked out: what the lines of its states say, by department and by reason, for tests of states."""

from __future__ import annotations

from datetime import date, datetime

from tests.collector.fleet_world import DAY, HOUR, LATER, NANO, World, card_hours

from ullage_collector.states import DayStates, States

TODAY = DAY.date()


def make(world: World, day: date = TODAY, now: datetime = LATER) -> DayStates:
    return States(world.db).make(day, now)


def hours(world: World) -> dict[tuple[str, str], float]:
    make(world)
    return card_hours(world.lines())


def mapped() -> World:
    world = World()
    world.rule("slurm:nlp", "nlp")
    world.rule("slurm:rec", "rec")
    return world


def reasons(world: World) -> dict[tuple[str, str | None], float]:
    """(state, reason) -> card-hours."""
    found: dict[tuple[str, str | None], float] = {}
    for line in world.lines():
        key = (line["state"], line["reason"])
        found[key] = found.get(key, 0) + line["share_nano"] * (line["to_us"] - line["from_us"]) / (
            NANO * HOUR
        )
    return found
