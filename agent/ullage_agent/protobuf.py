"""Protobuf's wire format as much as reading it needs: the fields of one message, in order.

Because the protobuf package is compiled and larger than an agent. Source: protobuf.dev, "Encoding".
Not here: any message's meaning; who reads one knows its field numbers.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from ullage_contract.errors import Broken

Field = int | float | bytes
"""A varint as it stands (unsigned), a double, or the bytes of a text, message or packed list."""


def fields(message: bytes | memoryview) -> Iterator[tuple[int, Field]]:
    """(field number, value) of a message, in order. 32-bit fields are skipped: nobody here has one.

    Raises Broken for bytes that are no message.
    """
    at, end = 0, len(message)
    while at < end:
        key, at = varint(message, at)
        number, wire = key >> 3, key & 7
        if wire == 0:
            value, at = varint(message, at)
            yield number, value
        elif wire == 1:
            if at + 8 > end:
                raise Broken("the message is torn")
            yield number, float(struct.unpack_from("<d", message, at)[0])
            at += 8
        elif wire == 2:
            length, at = varint(message, at)
            if at + length > end:
                raise Broken("the message is torn")
            yield number, bytes(message[at : at + length])
            at += length
        elif wire == 5:
            if at + 4 > end:
                raise Broken("the message is torn")
            at += 4
        else:
            raise Broken(f"the message has wire type {wire}")


def varint(message: bytes | memoryview, at: int) -> tuple[int, int]:
    """The unsigned number at ``at`` and where it ends. Raises Broken."""
    value = shift = 0
    while True:
        if at >= len(message) or shift > 63:
            raise Broken("the message is torn")
        byte = message[at]
        at += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if not byte & 0x80:
            return value & ((1 << 64) - 1), at


def signed(value: int) -> int:
    """A varint of an int64 field as the number it stands for."""
    return value - (1 << 64) if value >= 1 << 63 else value


def text(value: Field) -> str:
    """A string field. Raises Broken when it is another type or no UTF-8."""
    if not isinstance(value, bytes):
        raise Broken("the message has a number where a text should be")
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError as e:
        raise Broken("the message has a text that is no UTF-8") from e


def encoded(number: int, value: str) -> bytes:
    """A string field as it travels, for the few requests we make."""
    raw = value.encode("utf-8")
    return _as_varint(number << 3 | 2) + _as_varint(len(raw)) + raw


def _as_varint(value: int) -> bytes:
    out = bytearray()
    while True:
        low, value = value & 0x7F, value >> 7
        out.append(low | (0x80 if value else 0))
        if not value:
            return bytes(out)
