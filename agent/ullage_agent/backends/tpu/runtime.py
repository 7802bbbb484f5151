"""What libtpu's RuntimeMetricService says: metric names in, (runtime device id, number) out.

Protobuf of tpu.monitoring.runtime, as published with tpu-info and seen by gRPC reflection:
MetricRequest{metric_name = 1}; MetricResponse{metric = 1 {name = 1, metrics = 3 {attribute = 1 {key = 1,
value = 2 {string = 1, int = 3}}, gauge = 3 {as_double = 1, as_int = 2}, counter = 4 {the same}}}}.
"""

from __future__ import annotations

from typing import Final

from ullage_agent.grpc_call import call
from ullage_agent.protobuf import fields, signed
from ullage_contract.errors import Broken, ReadingError

METHOD: Final = "/tpu.monitoring.runtime.RuntimeMetricService/GetRuntimeMetric"
DUTY: Final = "tpu.runtime.tensorcore.dutycycle.percent"
USED: Final = "tpu.runtime.hbm.memory.usage.bytes"
TOTAL: Final = "tpu.runtime.hbm.memory.total.bytes"
NAMES: Final = (DUTY, USED, TOTAL)

Rows = list[tuple[int, float]]


def ask(host: str, port: int, timeout_seconds: float) -> dict[str, Rows | ReadingError]:
    """Every metric of NAMES on one port, rows sorted by the runtime's device id. Raises as ``grpc_call.call``."""
    requests = [b"\x0a" + bytes([len(name)]) + name.encode("ascii") for name in NAMES]
    found: dict[str, Rows | ReadingError] = {}
    for name, answer in zip(NAMES, call((host, port), METHOD, requests, timeout_seconds), strict=True):
        try:
            found[name] = sorted(rows(answer)) if isinstance(answer, bytes) else answer
        except Broken as e:
            found[name] = e
    return found


def rows(message: bytes) -> Rows:
    """The (device id, number) pairs of a MetricResponse. Raises Broken for bytes that are none."""
    out: Rows = []
    for number, value in fields(message):
        if number != 1 or not isinstance(value, bytes):
            continue
        for inner, metric in fields(value):
            if inner == 3 and isinstance(metric, bytes):
                row = _row(metric)
                if row is not None:
                    out.append(row)
    return out


def _row(metric: bytes) -> tuple[int, float] | None:
    device: int | None = None
    measured: float | None = None
    for number, value in fields(metric):
        if not isinstance(value, bytes):
            continue
        if number == 1:
            device = _device(value)
        elif number in (3, 4):  # gauge, counter: a double in 1 or an integer in 2; proto3 leaves out 0
            measured = 0.0
            for kind, content in fields(value):
                if kind == 1 and isinstance(content, float):
                    measured = content
                elif kind == 2 and isinstance(content, int):
                    measured = float(signed(content))
    return None if measured is None else (device or 0, measured)


def _device(attribute: bytes) -> int:
    """The id in the attribute's value; 0 is what proto3 leaves out."""
    for number, value in fields(attribute):
        if number == 2 and isinstance(value, bytes):
            for kind, content in fields(value):
                if kind == 3 and isinstance(content, int):
                    return signed(content)
                if kind == 1 and isinstance(content, bytes) and content.isdigit():
                    return int(content)
    return 0
