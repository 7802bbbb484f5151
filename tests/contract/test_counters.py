"""What a counter may claim to have grown: never below nothing, never a guess."""

from __future__ import annotations

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ullage_contract.catalogue import METRICS, Kind, Metric, metric
from ullage_contract.counters import Increase, increase, maximum
from ullage_contract.sample import Family

COUNTERS = [m for m in METRICS if m.kind is Kind.COUNTER]
LINK_DOWNED = metric(Family.PORT, "link_downed")  # 8 bits, saturates
XMIT_WAIT = metric(Family.PORT, "xmit_wait")  # 32 bits, saturates
WRITES = metric(Family.PORT, "rx_write_requests")  # 32 bits, wraps
BYTES = metric(Family.PORT, "xmit_data_bytes")  # 64 bits
ENERGY = metric(Family.CARD, "energy_joules")  # float

readings = st.one_of(st.none(), st.integers(0, 2**64 - 1), st.floats(0, 1e18), st.just(float("nan")))


@pytest.mark.parametrize(
    ("counter", "old", "new", "same_epoch", "expected"),
    [
        (BYTES, 1000, 1500, True, Increase(500)),
        (BYTES, 1000, 1000, True, Increase(0)),
        (BYTES, 1000, 40, True, Increase(40, reset=True)),
        (BYTES, 1000, 5000, False, Increase(5000, reset=True)),
        (ENERGY, 10.5, 12.0, True, Increase(1.5)),
        (LINK_DOWNED, 3, 4, True, Increase(1)),
        (LINK_DOWNED, 254, 255, True, Increase(None, saturated=True)),
        (LINK_DOWNED, 255, 255, True, Increase(None, saturated=True)),
        (LINK_DOWNED, None, 255, True, Increase(None, saturated=True)),
        (LINK_DOWNED, 0, 255, False, Increase(None, saturated=True)),
        (LINK_DOWNED, 255, 2, True, Increase(2, reset=True)),
        (LINK_DOWNED, 250, 2, True, Increase(2, reset=True)),
        (LINK_DOWNED, 250, 300, True, Increase(50)),
        (LINK_DOWNED, 300, 255, True, Increase(255, reset=True)),
        (XMIT_WAIT, 2489603687, 2**32 - 1, True, Increase(None, saturated=True)),
        (XMIT_WAIT, 2**32 - 1, 2**32 + 7, True, Increase(8)),
        (WRITES, 2**32 - 100, 50, True, Increase(150, wrapped=True)),
        (WRITES, 2**32 - 1, 0, True, Increase(1, wrapped=True)),
        (WRITES, 2**31, 50, True, Increase(50, reset=True)),
        (WRITES, 2**32 - 100, 50, False, Increase(50, reset=True)),
        (WRITES, 10, 2**32 - 1, True, Increase(2**32 - 11)),
        (BYTES, None, 5, True, Increase(None)),
        (BYTES, 5, None, True, Increase(None)),
        (BYTES, -5, 5, True, Increase(None)),
        (BYTES, 5, -5, True, Increase(None)),
        (ENERGY, math.nan, 5.0, True, Increase(None)),
        (ENERGY, 5.0, math.nan, True, Increase(None)),
    ],
)
def test_each_rule_by_hand(
    counter: Metric, old: float | None, new: float | None, same_epoch: bool, expected: Increase
) -> None:
    assert increase(counter, old, new, same_epoch) == expected


@given(st.sampled_from(COUNTERS), readings, readings, st.booleans())
def test_an_increase_is_never_negative_and_unknown_is_never_zero(
    counter: Metric, old: float | None, new: float | None, same_epoch: bool
) -> None:
    found = increase(counter, old, new, same_epoch)
    missing = old is None or new is None or math.isnan(old) or math.isnan(new)
    if missing or found.saturated:
        assert found.amount is None
    else:
        assert found.amount is not None and found.amount >= 0
    assert sum((found.reset, found.wrapped, found.saturated)) <= 1
    if found.reset:
        assert found.amount == new
    if found.wrapped or found.saturated:
        assert counter.bits is not None
        assert counter.saturates is found.saturated


@given(st.sampled_from(COUNTERS), st.lists(st.integers(0, 10**6), min_size=1, max_size=30))
def test_what_truly_happened_is_found_again_while_nothing_resets(counter: Metric, steps: list[int]) -> None:
    """A counter of this width fed with known steps: the increases found add up to what was counted."""
    top = maximum(counter)
    steps = [step if top is None else step % (top // 40 + 1) for step in steps]
    value, readings_seen = 0, [0]
    for step in steps:
        value += step
        readings_seen.append(value if top is None or counter.saturates else value & top)
    if counter.saturates and top is not None and value >= top:
        return
    total = 0.0
    for old, new in itertools.pairwise(readings_seen):
        amount = increase(counter, old, new).amount
        assert amount is not None
        total += amount
    assert total == value


@given(st.integers(0, 2**40), st.integers(1, 2**32 // 11))
def test_a_queue_counter_that_wraps_loses_nothing(start: int, step: int) -> None:
    total, seen = 0, start & 0xFFFFFFFF
    for i in range(1, 30):
        now = (start + i * step) & 0xFFFFFFFF
        amount = increase(WRITES, seen, now).amount
        assert amount == step
        total, seen = total + step, now
    assert total == 29 * step


def test_only_a_counter_has_an_increase() -> None:
    with pytest.raises(ValueError, match="BUG: power_watts"):
        increase(metric(Family.CARD, "power_watts"), 1, 2)
