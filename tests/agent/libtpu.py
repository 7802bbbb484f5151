"""A stand-in for libtpu's metric service: HTTP/2 frames written by hand, on a port of this machine.

What it proves: that our client speaks what we read in the RFCs. Against grpcio's server it is tried where that
is installed (test_tpu.py); against a TPU's libtpu only on such a machine.
"""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Callable, Mapping

Rows = Mapping[str, list[tuple[int, int | float]]]


def varint(value: int) -> bytes:
    value &= (1 << 64) - 1
    out = b""
    while True:
        low, value = value & 0x7F, value >> 7
        out += bytes([low | (0x80 if value else 0)])
        if not value:
            return out


def message(number: int, body: bytes) -> bytes:
    return varint(number << 3 | 2) + varint(len(body)) + body


def response(name: str, rows: list[tuple[int, int | float]]) -> bytes:
    """A MetricResponse; 0 is left out as proto3 does."""
    metrics = b""
    for device, value in rows:
        attribute = message(1, b"device-id") + message(2, b"\x18" + varint(device) if device else b"")
        if isinstance(value, float):
            gauge = b"\x09" + struct.pack("<d", value) if value else b""
        else:
            gauge = b"\x10" + varint(value) if value else b""
        metrics += message(3, message(1, attribute) + message(3, gauge))
    return message(1, message(1, name.encode()) + metrics)


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def literal(name: bytes, value: bytes, huffman: bool = False) -> bytes:
    mark = 0x80 if huffman else 0
    return b"\x00" + bytes([len(name) | mark]) + name + bytes([len(value) | mark]) + value


# RFC 7541: "grpc-status" and "0", "12" in Huffman code
HUFFMAN_NAME = bytes.fromhex("9acac8b21234da8f")
HUFFMAN_CODES = {0: bytes.fromhex("07"), 12: bytes.fromhex("08bf")}


class Libtpu:
    """Serves ``rows``; a metric that is not there answers UNIMPLEMENTED. ``speak`` replaces the whole talk."""

    def __init__(
        self, rows: Rows, *, huffman: bool = False, speak: Callable[[socket.socket], None] | None = None
    ) -> None:
        self.rows = rows
        self.calls = 0
        self._huffman = huffman
        self._speak = speak
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._listener.close()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with connection:
                try:
                    (self._speak or self._talk)(connection)
                except OSError:
                    continue

    def _talk(self, connection: socket.socket) -> None:
        connection.settimeout(5)
        connection.sendall(frame(4, 0, 0) + frame(6, 0, 0, b"pingping"))
        assert self._exactly(connection, 24).startswith(b"PRI * HTTP/2.0")
        while True:
            head = connection.recv(9, socket.MSG_WAITALL)
            if len(head) < 9:
                return
            payload = self._exactly(connection, int.from_bytes(head[:3], "big"))
            if head[3] == 0:  # DATA: the request
                self._answer(connection, int.from_bytes(head[5:9], "big"), payload)

    def _answer(self, connection: socket.socket, stream: int, payload: bytes) -> None:
        self.calls += 1
        name = payload[7:].decode()
        rows = self.rows.get(name)
        if rows is None:
            connection.sendall(frame(1, 0x5, stream, b"\x20\x88" + self._status(12)))
            return
        body = response(name, rows)
        data = struct.pack(">BI", 0, len(body)) + body
        half = len(data) // 2
        out = frame(1, 0x4, stream, b"\x20\x88" + literal(b"content-type", b"application/grpc"))
        out += frame(0, 0, stream, data[:half])
        out += frame(0, 0x8, stream, b"\x03" + data[half:] + b"\0\0\0")  # padded
        trailers = self._status(0)
        out += frame(1, 0x1, stream, trailers[:3]) + frame(9, 0x4, stream, trailers[3:])
        for i in range(0, len(out), 7):  # in crumbs, as a busy loopback may
            connection.sendall(out[i : i + 7])

    def _status(self, code: int) -> bytes:
        if self._huffman:
            return literal(HUFFMAN_NAME, HUFFMAN_CODES[code], huffman=True)
        return literal(b"grpc-status", str(code).encode())

    @staticmethod
    def _exactly(connection: socket.socket, count: int) -> bytes:
        out = b""
        while len(out) < count:
            got = connection.recv(count - len(out))
            if not got:
                raise OSError("closed")
            out += got
        return out
