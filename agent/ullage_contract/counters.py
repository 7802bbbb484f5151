"""How much a counter grew between two readings, told the same way at both ends.

A counter goes down only because it began anew or because it is narrow and wrapped; it stands still
at its maximum because it is narrow and saturates. Each has its own answer here, and where the truth
cannot be known the answer is None: never 0, never a guess. Rates and sums over more than two readings
belong to the collector.

Widths and which counters saturate stand in the catalogue (kernel drivers/infiniband/core/sysfs.c,
PORT_PMA_ATTR; include/rdma/ib_pma.h: classic port counters saturate; mlx5_ifc.h query_q_counter_out:
Q-counters are 32 bits and wrap).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from ullage_contract.catalogue import Kind, Metric

WRAP_ZONE_RATIO: Final = 0.10
"""our choice: a narrow counter that went down wrapped only if it was within a tenth of its maximum; a
reset at that height is rare, and a wrap from lower would need more than nine tenths of the range
between two readings."""


@dataclass(frozen=True, slots=True)
class Increase:
    """What happened between two readings of one counter.

    amount: growth in the counter's unit, at least 0; None when it cannot be known.
    reset: it began anew in between; ``amount`` is then what it counted since, and what it counted
        between the old reading and the reset is lost.
    wrapped: it passed its maximum once and went on from 0; ``amount`` has that added.
    saturated: it stands at its maximum and counts no further: ``amount`` is None.
    """

    amount: float | int | None
    reset: bool = False
    wrapped: bool = False
    saturated: bool = False


UNKNOWN: Final = Increase(None)


def maximum(metric: Metric) -> int | None:
    """The largest value a narrow counter can show, or None for one of 64 bits."""
    return None if metric.bits is None else (1 << metric.bits) - 1


def increase(
    metric: Metric, old: float | int | None, new: float | int | None, same_epoch: bool = True
) -> Increase:
    """Growth of ``metric`` from ``old`` to the later ``new``.

    old, new: raw readings, in the catalogue's unit; None, a negative value or NaN is no reading.
    same_epoch: both rows carry the same ``counters_epoch``. When False the counter is known to have
        begun anew between them, even if it has already passed the old value. A row without an epoch
        (RDMA ports: their counters have lives of their own) compares equal to another without one.
    A narrow counter seen above its maximum is wider on this hardware (extended port counters): it
    then counts like any 64-bit one.
    Raises ValueError when ``metric`` is no counter: that is a mistake in the caller, not in the data.
    """
    if metric.kind is not Kind.COUNTER:
        raise ValueError(f"BUG: {metric.key} is a {metric.kind.value}, it has no increase")
    if new is None or not new >= 0:
        return UNKNOWN
    top = maximum(metric)
    narrow = top is not None and new <= top and (old is None or not old > top)
    if narrow and metric.saturates and new == top:
        return Increase(None, saturated=True)
    if old is None or not old >= 0:
        return UNKNOWN
    if not same_epoch:
        return Increase(new, reset=True)
    if new >= old:
        return Increase(new - old)
    if narrow and not metric.saturates and top is not None and old > top * (1 - WRAP_ZONE_RATIO):
        return Increase(new + top + 1 - old, wrapped=True)
    return Increase(new, reset=True)
