"""A unary gRPC call in plain text to a server on this machine: as much HTTP/2 as that needs, and no more.

Because grpcio costs a child 20 MiB and an agent a compiled dependency. No TLS, no compression, no streaming.
Sources: RFC 9113 (frames), RFC 7541 (HPACK), gRPC over HTTP2 (PROTOCOL-HTTP2.md). We ask for a header table of
size 0, so that every header of the answer stands there in full, and read one of them: grpc-status.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator, Sequence
from time import monotonic
from typing import Final

from ullage_contract.errors import Broken, NotPermitted, NotPresent, NotSupported, ReadingError

MOST_ANSWER_BYTES: Final = 1 << 20  # our choice: because three numbers for each of some chips are a few KiB

_PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_DATA, _HEADERS, _RST_STREAM, _SETTINGS, _PING, _GOAWAY, _CONTINUATION = 0, 1, 3, 4, 6, 7, 9
_WINDOW_UPDATE: Final = 8
_END_STREAM, _ACK, _END_HEADERS, _PADDED, _PRIORITY = 0x1, 0x1, 0x4, 0x8, 0x20
_MOST_FRAME: Final = 1 << 14  # SETTINGS_MAX_FRAME_SIZE, which we leave at its default

# RFC 7541 appendix B, the codes that "grpc-status" and its numbers need
_HUFFMAN: Final = {
    "0": "00000", "1": "00001", "2": "00010", "3": "011001", "4": "011010", "5": "011011", "6": "011100",
    "7": "011101", "8": "011110", "9": "011111", "-": "010110", "a": "00011", "c": "00100", "g": "100110",
    "p": "101011", "r": "101100", "s": "01000", "t": "01001", "u": "101101",
}  # fmt: skip


def _huffman(text: str) -> bytes:
    bits = "".join(_HUFFMAN[ch] for ch in text)
    bits += "1" * (-len(bits) % 8)
    return int(bits, 2).to_bytes(len(bits) // 8, "big")


_STATUS_NAMES: Final = (b"grpc-status", _huffman("grpc-status"))
_STATUS: Final = {form: code for code in range(17) for form in (str(code).encode(), _huffman(str(code)))}
_ERRORS: Final[dict[int, type[ReadingError]]] = {
    5: NotSupported,
    7: NotPermitted,
    12: NotSupported,
    16: NotPermitted,
}
"""grpc-status: not found, permission denied, unimplemented, unauthenticated. Anything else is broken."""


def call(
    host: str, port: int, path: str, requests: Sequence[bytes], timeout_seconds: float
) -> list[bytes | ReadingError]:
    """One answer, or why there is none, a request; all on one connection.

    path: /package.Service/Method. requests: protobuf messages.
    Raises NotPresent when nobody listens, Broken when who listens speaks no gRPC or not in time.
    """
    until = monotonic() + timeout_seconds
    try:
        connection = socket.create_connection((host, port), timeout_seconds)
    except ConnectionRefusedError as e:
        raise NotPresent(f"nobody listens on {host}:{port}") from e
    except OSError as e:
        raise Broken(f"{host}:{port}: {e}") from e
    with connection:
        streams = {1 + 2 * i: _Stream() for i in range(len(requests))}
        try:
            connection.sendall(_opening(f"{host}:{port}", path, requests))
            for frame in _frames(connection, until):
                _take(connection, frame, streams)
                if all(stream.ended for stream in streams.values()):
                    break
        except TimeoutError as e:
            raise Broken(f"{host}:{port} did not answer within {timeout_seconds:g} s") from e
        except OSError as e:
            raise Broken(f"{host}:{port}: {e}") from e
        return [stream.answer() for stream in streams.values()]


class _Stream:
    def __init__(self) -> None:
        self.data = bytearray()
        self.headers = bytearray()
        self.status: int | None = None
        self.ended = False
        self.why: str | None = None

    def answer(self) -> bytes | ReadingError:
        """The message behind gRPC's five bytes, if the call went well."""
        if self.status not in (None, 0):
            kind = _ERRORS.get(self.status or 0, Broken)
            return kind(f"grpc-status {self.status}")
        if len(self.data) < 5:
            return Broken(self.why or "the call ended without an answer")
        compressed, length = struct.unpack_from(">BI", self.data)
        if compressed or len(self.data) < 5 + length:
            return Broken("the answer is compressed or torn")
        return bytes(self.data[5 : 5 + length])


def _opening(authority: str, path: str, requests: Sequence[bytes]) -> bytes:
    settings = struct.pack(">HIHIHI", 1, 0, 2, 0, 4, MOST_ANSWER_BYTES)  # table size, push, stream window
    out = bytearray(_PREFACE + _frame(_SETTINGS, 0, 0, settings))
    out += _frame(_WINDOW_UPDATE, 0, 0, struct.pack(">I", MOST_ANSWER_BYTES))
    headers = (
        b"\x83\x86"  # :method POST, :scheme http
        + b"\x04" + _text(path.encode())
        + b"\x01" + _text(authority.encode())
        + b"\x0f\x10" + _text(b"application/grpc")
        + b"\x00" + _text(b"te") + _text(b"trailers")
    )  # fmt: skip
    for i, request in enumerate(requests):
        out += _frame(_HEADERS, _END_HEADERS, 1 + 2 * i, headers)
        out += _frame(_DATA, _END_STREAM, 1 + 2 * i, struct.pack(">BI", 0, len(request)) + request)
    return bytes(out)


def _text(raw: bytes) -> bytes:
    if len(raw) > 126:
        raise ValueError(f"BUG: a header of {len(raw)} bytes")
    return bytes([len(raw)]) + raw


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def _frames(connection: socket.socket, until: float) -> Iterator[tuple[int, int, int, bytes]]:
    """(kind, flags, stream, payload) as they come. Ends when the other side closes."""
    pending = bytearray()
    seen = 0
    while True:
        while len(pending) >= 9:
            length = int.from_bytes(pending[:3], "big")
            if length > _MOST_FRAME or pending[:5] == b"HTTP/":
                raise Broken("who listens there speaks no HTTP/2")
            if len(pending) < 9 + length:
                break
            kind, flags, stream = struct.unpack_from(">BBI", pending, 3)
            yield kind, flags, stream & 0x7FFFFFFF, bytes(pending[9 : 9 + length])
            del pending[: 9 + length]
        left = until - monotonic()
        if left <= 0:
            raise TimeoutError
        connection.settimeout(left)
        got = connection.recv(65536)
        if not got:
            return
        seen += len(got)
        if seen > 4 * MOST_ANSWER_BYTES:
            raise Broken("more was answered than three metrics can be")
        pending += got


def _take(connection: socket.socket, frame: tuple[int, int, int, bytes], streams: dict[int, _Stream]) -> None:
    kind, flags, number, payload = frame
    if kind == _SETTINGS and not flags & _ACK:
        connection.sendall(_frame(_SETTINGS, _ACK, 0, b""))
    elif kind == _PING and not flags & _ACK:
        connection.sendall(_frame(_PING, _ACK, 0, payload))
    elif kind == _GOAWAY:
        code = int.from_bytes(payload[4:8], "big") if len(payload) >= 8 else 0
        for stream in streams.values():
            if not stream.ended and code:
                stream.ended, stream.why = True, f"the server went away with error {code}"
    stream_ = streams.get(number)
    if stream_ is None:
        return
    if kind == _DATA:
        stream_.data += _unpadded(flags, payload)
    elif kind in (_HEADERS, _CONTINUATION):
        stream_.headers += _unpadded(flags, payload, kind == _HEADERS) if kind == _HEADERS else payload
        if flags & _END_HEADERS:
            status = _status(bytes(stream_.headers))
            stream_.status = stream_.status if status is None else status
            stream_.headers.clear()
    elif kind == _RST_STREAM:
        stream_.ended, stream_.why = True, f"the server reset the call: {payload.hex()}"
    if flags & _END_STREAM and kind in (_DATA, _HEADERS):
        stream_.ended = True


def _unpadded(flags: int, payload: bytes, headers: bool = False) -> bytes:
    start, stop = 0, len(payload)
    if flags & _PADDED and payload:
        start, stop = 1, len(payload) - payload[0]
    if headers and flags & _PRIORITY:
        start += 5
    return payload[start:stop]


def _status(block: bytes) -> int | None:
    """grpc-status of a header block; None when it is not there or stands in a form we cannot read."""
    at = 0
    try:
        while at < len(block):
            first = block[at]
            if first & 0x80:  # indexed: a header of the static table, none of ours
                _, at = _integer(block, at, 7)
                continue
            if first & 0xE0 == 0x20:  # the table's size
                _, at = _integer(block, at, 5)
                continue
            index, at = _integer(block, at, 6 if first & 0x40 else 4)
            name = b""
            if not index:
                name, at = _string(block, at)
            value, at = _string(block, at)
            if name in _STATUS_NAMES and value in _STATUS:
                return _STATUS[value]
    except IndexError:
        raise Broken("the answer's headers are torn") from None
    return None


def _integer(block: bytes, at: int, bits: int) -> tuple[int, int]:
    value = block[at] & ((1 << bits) - 1)
    at += 1
    if value < (1 << bits) - 1:
        return value, at
    shift = 0
    while True:
        more = block[at]
        at += 1
        value += (more & 0x7F) << shift
        shift += 7
        if not more & 0x80 or shift > 28:
            return value, at


def _string(block: bytes, at: int) -> tuple[bytes, int]:
    length, at = _integer(block, at, 7)
    if at + length > len(block):
        raise IndexError
    return block[at : at + length], at + length
