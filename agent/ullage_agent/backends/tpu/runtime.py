"""What libtpu's RuntimeMetricService says: metric names in, (runtime device id, number) out.

Protobuf of tpu.monitoring.runtime, as published with tpu-info and seen by gRPC reflection:
MetricRequest{metric_name = 1}; MetricResponse{metric = 1 {name = 1, metrics = 3 {attribute = 1 {key = 1,
value = 2 {string = 1, int = 3}}, gauge = 3 {as_double = 1, as_int = 2}, counter = 4 {the same}}}}.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Final

from ullage_agent.backends.tpu.grpc_call import call
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
    for name, answer in zip(NAMES, call(host, port, METHOD, requests, timeout_seconds), strict=True):
        try:
            found[name] = sorted(rows(answer)) if isinstance(answer, bytes) else answer
        except Broken as e:
            found[name] = e
    return found


def rows(message: bytes) -> Rows:
    """The (device id, number) pairs of a MetricResponse. Raises Broken for bytes that are none."""
    out: Rows = []
    for number, value in _fields(message):
        if number != 1 or not isinstance(value, bytes):
            continue
        for inner, metric in _fields(value):
            if inner == 3 and isinstance(metric, bytes):
                row = _row(metric)
                if row is not None:
                    out.append(row)
    return out


def _row(metric: bytes) -> tuple[int, float] | None:
    device: int | None = None
    measured: float | None = None
    for number, value in _fields(metric):
        if not isinstance(value, bytes):
            continue
        if number == 1:
            device = _device(value)
        elif number in (3, 4):  # gauge, counter: a double in 1 or an integer in 2; proto3 leaves out 0
            measured = 0.0
            for kind, content in _fields(value):
                if kind == 1 and isinstance(content, float):
                    measured = content
                elif kind == 2 and isinstance(content, int):
                    measured = float(_signed(content))
    return None if measured is None else (device or 0, measured)


def _device(attribute: bytes) -> int:
    """The id in the attribute's value; 0 is what proto3 leaves out."""
    for number, value in _fields(attribute):
        if number == 2 and isinstance(value, bytes):
            for kind, content in _fields(value):
                if kind == 3 and isinstance(content, int):
                    return _signed(content)
                if kind == 1 and isinstance(content, bytes) and content.isdigit():
                    return int(content)
    return 0


def _signed(value: int) -> int:
    return value - (1 << 64) if value >= 1 << 63 else value


def _fields(message: bytes) -> Iterator[tuple[int, int | float | bytes]]:
    """(field number, varint, double or bytes) of a message, in order."""
    at = 0
    while at < len(message):
        key, at = _varint(message, at)
        number, wire = key >> 3, key & 7
        if wire == 0:
            value, at = _varint(message, at)
            yield number, value
        elif wire == 1:
            if at + 8 > len(message):
                raise Broken("libtpu's answer is torn")
            yield number, float(struct.unpack_from("<d", message, at)[0])
            at += 8
        elif wire == 2:
            length, at = _varint(message, at)
            if at + length > len(message):
                raise Broken("libtpu's answer is torn")
            yield number, message[at : at + length]
            at += length
        elif wire == 5:
            at += 4
        else:
            raise Broken(f"libtpu's answer has wire type {wire}")


def _varint(message: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        if at >= len(message) or shift > 63:
            raise Broken("libtpu's answer is torn")
        byte = message[at]
        at += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if not byte & 0x80:
            return value & ((1 << 64) - 1), at
