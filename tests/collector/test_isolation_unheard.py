"""A scheduler that is away for a while between the decision and the call: waited for, as long as a decision may wait."""

from __future__ import annotations

from isolation_world import World

from ullage_collector.isolate.intent import State
from ullage_collector.isolate.surroundings import SURVEY_SECONDS


def away(world: World) -> None:
    """It does not answer the survey, nor who looks at the card."""
    world.scheduler.silent = True
    world.step(SURVEY_SECONDS)
    assert world.surroundings.fleet().unheard == {"c"}


def test_a_scheduler_that_answers_again_is_called_when_it_has_said_what_others_took() -> None:
    world = World()
    world.consider("n0-0")
    away(world)
    assert world.state("n0-0") is State.WANTED
    world.scheduler.silent = False
    world.step(4)  # it answers about the card, but the last survey is the silent one
    assert world.state("n0-0") is State.WANTED
    assert world.scheduler.calls == []
    world.step(SURVEY_SECONDS)
    world.step(60)
    assert world.scheduler.calls == ["isolate n0-0"]
    assert world.pages.told == []


def test_one_that_stays_away_too_long_leaves_advice_and_a_page() -> None:
    world = World()
    world.consider("n0-0")
    away(world)
    for _ in range(20):
        world.step(60)
    assert world.state("n0-0") is State.ADVISED
    assert len(world.pages.told) == 1
    world.scheduler.silent = False
    world.step(SURVEY_SECONDS)
    world.step(60)
    assert world.scheduler.calls == []
