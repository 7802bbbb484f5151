"""The idle detector on quiet spells made by hand, and on a made fleet with a tide."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace

import pytest

from ullage_collector.detect.idle import Cleared, IdleDetector, Raised, Sample, Turn
from ullage_collector.detect.idle_settings import default_settings, parse
from ullage_collector.detect.quiet import End, Look
from ullage_collector.detect.replay import flags
from ullage_collector.detect.series import Point
from ullage_collector.detect.tide import Tide
from ullage_contract.errors import ConfigError

GIB = 2.0**30
START = 1_790_000_000.0 - 1_790_000_000.0 % 86_400
SETTINGS = default_settings()
CAUTIOUS = SETTINGS.settings["cautious"]


def turns(looks: str, *, step: float = 60.0, setting: str = "cautious") -> list[Turn]:
    """One subject, a look a minute: q quiet, b blip, w work, e empty, ? unknown, a space for no sample."""
    words = {"q": Look.QUIET, "b": Look.BLIP, "w": Look.BUSY, "e": Look.EMPTY, "?": Look.UNKNOWN}
    detector = IdleDetector(SETTINGS, SETTINGS.settings[setting])
    found: list[Turn] = []
    for number, sign in enumerate(looks):
        if sign != " ":
            found += detector.see(Sample("a", START + number * step, words[sign], GIB))
    return found


def test_a_spell_older_than_the_hour_is_a_finding_dated_back_to_its_first_quiet_minute() -> None:
    (raised,) = turns("w" * 5 + "q" * 61)
    assert raised == Raised("a", START + 65 * 60, START + 5 * 60, 1.0)


def test_one_minute_less_is_none() -> None:
    assert turns("w" * 5 + "q" * 60) == []


def test_work_ends_it_at_once_and_the_next_spell_counts_anew() -> None:
    found = turns("w" + "q" * 70 + "w" + "q" * 50)
    assert [type(turn) for turn in found] == [Raised, Cleared]
    assert isinstance(found[1], Cleared)
    assert (found[1].at, found[1].why) == (START + 71 * 60, End.WORKED)


@pytest.mark.parametrize("middle", ["b", "bb", "?", "???", "   "])
def test_short_holes_and_blips_do_not_end_a_spell(middle: str) -> None:
    (raised,) = turns("w" + "q" * 30 + middle + "q" * 31)
    assert isinstance(raised, Raised)
    assert raised.began == START + 60


@pytest.mark.parametrize("middle", ["w", "bbb", "e", "????", "    ", "bbw"])
def test_work_longer_blips_empty_memory_and_longer_holes_do(middle: str) -> None:
    assert turns("w" + "q" * 30 + middle + "q" * 50) == []


def test_nobody_is_found_during_a_blip() -> None:
    (raised,) = turns("w" + "q" * 59 + "bb" + "q")
    assert raised.at == START + 62 * 60


@pytest.mark.parametrize("looks", ["?" * 300, "e" * 300, "b" * 300, "w" * 300, " " * 300, "qw" * 150])
def test_what_is_unknown_empty_or_at_work_is_never_found(looks: str) -> None:
    assert turns(looks) == []
    assert turns(looks, setting="early") == []


def test_silence_ends_a_finding_as_unheard_and_not_as_work() -> None:
    found = turns("w" + "q" * 61 + "?" * 10)
    assert isinstance(found[-1], Cleared)
    assert found[-1].why is End.UNHEARD
    assert found[-1].at - (START + 61 * 60) == 5 * 60


def test_an_older_sample_of_a_subject_is_ignored() -> None:
    detector = IdleDetector(SETTINGS, CAUTIOUS)
    for minute in range(61):
        detector.see(Sample("a", START + minute * 60, Look.QUIET, GIB))
    assert detector.see(Sample("a", START, Look.BUSY, GIB)) == []
    assert detector.see(Sample("a", START + 61 * 60, Look.BUSY, GIB))[0].began == START


def test_samples_every_ten_seconds_give_the_same_answer_as_every_minute() -> None:
    (slow,) = turns("w" * 10 + "q" * 65)
    (fast,) = turns("w" * 60 + "q" * 65 * 6, step=10.0)
    assert isinstance(slow, Raised)
    assert isinstance(fast, Raised)
    assert (slow.at, slow.began) == (fast.at, fast.began)


def test_a_lone_subject_nobody_has_seen_at_work_is_not_guessed_about() -> None:
    (raised,) = turns("q" * 80, setting="early")
    assert raised.at - raised.began == SETTINGS.settings["early"].sure_seconds


def test_a_pause_that_always_ends_is_learned_after_a_few() -> None:
    found = turns(("w" * 6 + "q" * 54) * 12, setting="early")
    assert len([turn for turn in found if isinstance(turn, Raised)]) <= 3
    assert not [turn for turn in found if turn.at - START > 4 * 3600]


def test_forgotten_subjects_begin_anew() -> None:
    detector = IdleDetector(SETTINGS, CAUTIOUS)
    for minute in range(59):
        detector.see(Sample("a", START + minute * 60, Look.QUIET, GIB))
    detector.forget(START + 3600)
    assert detector.see(Sample("a", START + 3600, Look.QUIET, GIB)) == []


def fleet(seed: int, *, pods: int = 40, hours: int = 16, nulls: float = 0.0, work: int = 1) -> list[Point]:
    """Pods whose requests come by chance, each at least ``work`` minutes: many in the first half, few in the second."""
    chance = random.Random(seed)
    points = []
    for pod in range(pods):
        busy_for = 0
        for minute in range(hours * 60):
            late = minute >= hours * 30
            if busy_for:
                busy_for -= 1
            elif chance.random() < (0.004 if late else 0.08):
                busy_for = chance.randint(work, work + 2)
            duty: float | None = 0.4 if busy_for else 0.0
            if chance.random() < nulls:
                duty = None
            points.append(Point(f"pod-{pod:02}", START + minute * 60, duty, 20 * GIB))
    return sorted(points, key=lambda point: (point.at, point.pod))


def lasting(points: list[Point]) -> dict[str, list[tuple[float, float]]]:
    """The quiet spells of an hour and more of a made fleet without nulls, with hindsight."""
    spells: dict[str, list[tuple[float, float]]] = {}
    began: dict[str, float] = {}
    last = max(point.at for point in points)
    for point in points:
        quiet = point.busy_ratio == 0.0
        if quiet:
            began.setdefault(point.pod, point.at)
        if point.pod in began and (not quiet or point.at == last):
            start = began.pop(point.pod)
            if point.at - start > 3600:
                spells.setdefault(point.pod, []).append((start, point.at))
    return spells


def test_the_early_setting_is_right_far_more_often_than_waiting_as_long_when_the_tide_turns() -> None:
    points = fleet(3)
    spells = lasting(points)

    def right(setting_name: str, found_by: float | None = None) -> tuple[float, int]:
        told = SETTINGS
        if found_by is not None:
            wait = replace(told.settings[setting_name], ask_seconds=found_by, sure_seconds=found_by)
            told = replace(told, settings={**told.settings, setting_name: wait})
        found = flags(points, told, setting_name)
        good = sum(
            any(start <= flag.detected <= end for start, end in spells.get(flag.pod, ())) for flag in found
        )
        return good / len(found), good

    total = sum(map(len, spells.values()))
    early, found = right("early")
    waited, _ = right("early", 44 * 60)
    assert early > waited
    assert early >= 0.9
    assert found >= 0.9 * total
    cautious, found = right("cautious")
    assert (cautious, found) == (1.0, total)


def test_the_detector_never_looks_ahead() -> None:
    points = fleet(5, pods=12, hours=8, nulls=0.02)
    whole = flags(points, SETTINGS, "early")
    for hours in (3, 5, 6.5):
        until = START + hours * 3600
        part = flags([point for point in points if point.at <= until], SETTINGS, "early")
        assert [(flag.pod, flag.detected) for flag in part] == [
            (flag.pod, flag.detected) for flag in whole if flag.detected <= until
        ]


def test_lost_samples_make_no_finding_that_was_not_there() -> None:
    points = fleet(7, pods=10, hours=10, work=8)
    spells = lasting(points)
    chance = random.Random(1)
    thinned = [
        point
        for point in points
        if chance.random() > 0.2 and not 4 * 3600 <= point.at - START < 5 * 3600  # an hour without any
    ]
    for flag in flags(thinned, SETTINGS, "cautious"):
        assert not START + 4 * 3600 < flag.began < START + 5 * 3600
        assert any(
            start <= flag.detected and flag.began - 300 <= end for start, end in spells.get(flag.pod, ())
        )


def ticks(days: int) -> Iterator[float]:
    for minute in range(days * 1440):
        yield START + minute * 60.0


def test_earlier_days_tell_that_the_tide_comes_in() -> None:
    told = SETTINGS.tide
    tide = Tide(told)
    for at in ticks(3):
        morning = 8 * 3600 <= at % 86_400 < 10 * 3600
        tide.add(at, wakes=3 if morning else 0, minutes=30.0)
    before_eight = START + 3 * 86_400 + 7.75 * 3600
    at = START + 3 * 86_400
    while at < before_eight:
        tide.add(at, wakes=0, minutes=30.0)
        at += 60.0
    assert tide.coming(before_eight, 900.0) > 2 * tide.rate(before_eight)
    assert tide.coming(before_eight - 4 * 3600, 900.0) == pytest.approx(
        tide.rate(before_eight - 4 * 3600), rel=0.3
    )


def test_one_day_alone_says_nothing_of_the_time_of_day() -> None:
    tide = Tide(SETTINGS.tide)
    for minute in range(600):
        tide.add(START + minute * 60.0, wakes=minute % 3, minutes=10.0)
    at = START + 600 * 60.0
    assert tide.coming(at, 900.0) == tide.rate(at)


def test_a_wrong_settings_file_says_which_key() -> None:
    with pytest.raises(ConfigError, match=r"own\.toml: \[setting\]|probability"):
        parse("schema_version = 1\n[setting.early]\nprobability = 2\n", "own.toml")
    with pytest.raises(ConfigError, match="hole_second"):
        parse("schema_version = 1\n[bridge]\nhole_second = 2\n", "own.toml")
    with pytest.raises(ConfigError, match="not TOML"):
        parse("schema_version = ", "own.toml")
