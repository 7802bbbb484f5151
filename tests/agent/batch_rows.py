"""Rows for tests of the outputs: plausible, exact, and different from each other."""

from __future__ import annotations

from collections.abc import Callable

from ullage_agent.outputs.batches import Sender
from ullage_contract.event import Event, Severity
from ullage_contract.sample import Family, Origin, Sample
from ullage_contract.wire import encode

SENDER = Sender(cluster="c1", node="gpu-a017", machine_id="0123456789abcdef", boot_id="b-1")


def card_sample(number: int, *, card: str = "GPU-1", time: float = 1_800_000_000.0) -> Sample:
    return Sample(
        family=Family.CARD,
        subject=card,
        time=time + number,
        monotonic=1_000.0 + number,
        interval_seconds=10.0,
        values={"utilization_ratio": 0.5, "power_watts": 300.0 + number},
        counters_epoch="b-1",
    )


def xid(number: int, *, code: str = "79") -> Event:
    return Event(
        time=1_800_000_000.0 + number,
        kind="xid",
        severity=Severity.FATAL,
        family=Family.CARD,
        subject="GPU-1",
        source="kernel_log",
        message=f"event {number}",
        code=code,
        vendor="nvidia",
    )


def samples_body(number: int) -> Callable[[str, int], bytes]:
    """For Spool.append: a batch that says ``number`` in its power."""
    return lambda stream, sequence: encode(
        SENDER.batch(stream, sequence, "samples", Origin.REAL, [card_sample(number)])
    )
