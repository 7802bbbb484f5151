"""Counters of serving systems: each request counted once, and what is not known is not zero."""

from __future__ import annotations

import itertools
import random
from typing import Any

from ullage_collector.serving.counting import SPAN_US, Process, Reading, count

P = Process(1, "prom/vllm", "10.0.0.1:8000")
MINUTE = 60_000_000


def readings(
    *values: float | None, series: str = "s", kind: str = "requests", start: int = 0
) -> list[Reading]:
    """One a minute; None: the process does not show it then."""
    return [
        Reading(P, series, kind, (start + n) * MINUTE, value)
        for n, value in enumerate(values)
        if value is not None
    ]


def total(found: Any, kind: str = "requests") -> float | None:
    values = [getattr(span, kind) for span in found.spans.values() if getattr(span, kind) is not None]
    return sum(values) if values else None


def test_a_counter_that_falls_began_anew_and_counts_from_nothing() -> None:
    found = count(readings(100, 103, 2, 5), {}, ())
    assert total(found) == 3 + 2 + 3
    assert sum(span.resets for span in found.spans.values()) == 1
    assert sum(span.covered_us for span in found.spans.values()) == 3 * MINUTE


def test_the_first_reading_says_nothing_of_what_was_before() -> None:
    found = count(readings(5000), {}, ())
    assert total(found) is None
    assert count(readings(7, start=2), found.last, ()).spans[P, 0].requests == 7, (
        "it fell: what it shows came since"
    )


def test_no_request_in_minutes_that_are_known_is_zero_and_in_others_unknown() -> None:
    found = count(readings(4, 4, 4), {}, ())
    assert total(found) == 0
    assert total(count(readings(1, 1, kind="running"), {}, ())) is None


def test_a_counter_made_at_first_use_counts_whole_where_its_process_was_seen_before_it() -> None:
    seen = readings(0, 0, 1, kind="running")
    lazy = count([*seen, *readings(None, None, 3)], {}, ("prom/vllm",))
    assert total(lazy) == 3
    assert total(count([*seen, *readings(None, None, 3)], {}, ())) is None
    assert total(count(readings(3), {}, ("prom/vllm",))) is None, "nobody saw it before: it may be years old"


def test_a_short_silence_is_bridged_a_long_one_stays_unknown_and_its_sum_is_kept() -> None:
    short = count([*readings(10, 11), *readings(20, start=10)], {}, ())
    assert (total(short), sum(s.covered_us for s in short.spans.values())) == (10, 10 * MINUTE)
    long = count([*readings(10, 11), *readings(20, start=60)], {}, ())
    assert (total(long), sum(s.covered_us for s in long.spans.values())) == (10, MINUTE)


def test_values_that_are_none_are_counted_and_change_nothing() -> None:
    found = count([*readings(5, float("nan"), float("inf"), -1.0, 6)], {}, ())
    assert (total(found), found.strange) == (1, 3)


def test_any_order_any_batching_and_any_repetition_give_the_same_sums() -> None:
    chance = random.Random(4)
    true = list(itertools.accumulate(chance.choice((0, 0, 1, 5)) for _ in range(60)))
    whole = count(readings(*true), {}, ())
    for _ in range(20):
        cuts = sorted(chance.sample(range(1, 60), 5))
        known: dict[Any, Any] = {}
        spans: dict[Any, list[Any]] = {}
        for start, end in zip([0, *cuts], [*cuts, 60], strict=True):
            # each batch brings the last minutes of the one before again, in any order
            batch = [r for r in readings(*true) if max(0, start - 3) * MINUTE <= r.at_us < end * MINUTE]
            chance.shuffle(batch)
            part = count(batch, known, ())
            known = {P: known.get(P, {}) | part.last.get(P, {})}
            for key, span in part.spans.items():
                spans.setdefault(key, []).append(span)
        sums = {
            key: (sum(s.requests or 0 for s in parts), sum(s.covered_us for s in parts))
            for key, parts in spans.items()
        }
        assert sums == {key: (span.requests, span.covered_us) for key, span in whole.spans.items()}


def test_what_was_known_is_split_to_the_five_minutes_it_lies_in() -> None:
    found = count([*readings(1), *readings(1, start=8)], {}, ())
    assert {start // SPAN_US: span.covered_us // MINUTE for (_, start), span in found.spans.items()} == {
        0: 5,
        1: 3,
    }
