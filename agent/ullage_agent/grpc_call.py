"""A unary gRPC call in plain text to a server on this machine: as much HTTP/2 as that needs, and no more.

Because grpcio costs a child 20 MiB and an agent a compiled dependency. Over TCP (libtpu) or a Unix socket (the
kubelet). No TLS, no compression, no streaming. Sources: RFC 9113 (frames, flow control), RFC 7541 (HPACK), gRPC
over HTTP2 (PROTOCOL-HTTP2.md). We ask for a header table of size 0, so that every header of the answer stands
there in full, and read one of them: grpc-status.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator, Sequence
from pathlib import Path
from time import monotonic
from typing import Final

from ullage_contract.errors import Broken, NotPermitted, NotPresent, NotSupported, ReadingError

MOST_ANSWER_BYTES: Final = 1 << 20  # our choice: because what most services here say is a few KiB
MOST_REQUEST_BYTES: Final = (
    32 << 10
)  # below the window of 65,535 bytes a connection begins with (RFC 9113 6.9.2)
MOST_HEADER_BYTES: Final = 64 << 10  # our choice: because an answer's headers are some hundred bytes

_PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_DATA, _HEADERS, _RST_STREAM, _SETTINGS, _PING, _GOAWAY, _CONTINUATION = 0, 1, 3, 4, 6, 7, 9
_WINDOW_UPDATE: Final = 8
_END_STREAM, _ACK, _END_HEADERS, _PADDED, _PRIORITY = 0x1, 0x1, 0x4, 0x8, 0x20
_MOST_FRAME: Final = 1 << 14  # SETTINGS_MAX_FRAME_SIZE, which we leave at its default
_WINDOW: Final = 1 << 20  # our choice: what may be under way unread; it is opened again when half is used
_FIRST_WINDOW: Final = 65_535  # of a connection, before any WINDOW_UPDATE

Place = tuple[str, int] | Path
"""(host, port), or the path of a Unix socket."""

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
    place: Place,
    path: str,
    requests: Sequence[bytes],
    timeout_seconds: float,
    *,
    most_answer_bytes: int = MOST_ANSWER_BYTES,
) -> list[bytes | ReadingError]:
    """One answer, or why there is none, a request; all on one connection.

    path: /package.Service/Method. requests: protobuf messages, together at most MOST_REQUEST_BYTES.
    timeout_seconds: for everything. most_answer_bytes: the longest message that is taken.
    Raises NotPresent when nobody listens, NotPermitted when the socket is not ours to open, Broken when who
    listens speaks no gRPC or not in time.
    """
    until = monotonic() + timeout_seconds
    name = str(place) if isinstance(place, Path) else f"{place[0]}:{place[1]}"
    with _connected(place, name, timeout_seconds) as connection:
        streams = {1 + 2 * i: _Stream(most_answer_bytes) for i in range(len(requests))}
        talk = _Talk(connection, streams)
        try:
            # the name of a Unix socket is no authority: grpc-go refuses a path there
            connection.sendall(_opening("localhost" if isinstance(place, Path) else name, path, requests))
            for frame in _frames(connection, until):
                talk.take(frame)
                if all(stream.ended for stream in streams.values()):
                    break
        except TimeoutError as e:
            raise Broken(f"{name} did not answer within {timeout_seconds:g} s") from e
        except OSError as e:
            raise Broken(f"{name}: {e}") from e
        return [stream.answer() for stream in streams.values()]


def _connected(place: Place, name: str, timeout_seconds: float) -> socket.socket:
    try:
        if isinstance(place, tuple):
            return socket.create_connection(place, timeout_seconds)
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            connection.settimeout(timeout_seconds)
            connection.connect(str(place))
        except BaseException:
            connection.close()
            raise
        return connection
    except (ConnectionRefusedError, FileNotFoundError) as e:
        raise NotPresent(f"nobody listens on {name}") from e
    except PermissionError as e:
        raise NotPermitted(f"{name}: {e.strerror}; the agent needs to read and write this socket") from e
    except OSError as e:
        raise Broken(f"{name}: {e}") from e


class _Stream:
    def __init__(self, most_bytes: int) -> None:
        self.data = bytearray()
        self.headers = bytearray()
        self.status: int | None = None
        self.ended = False
        self.last_headers = False
        self.why: str | None = None
        self._most_bytes = most_bytes

    def add(self, data: bytes) -> None:
        """Raises Broken when the answer becomes longer than it may."""
        self.data += data
        if len(self.data) > self._most_bytes + 5:
            raise Broken(f"the answer has more than {self._most_bytes} bytes")

    def add_headers(self, block: bytes, flags: int) -> None:
        """A part of a header block; its last part ends the call when its first one said so. Raises Broken."""
        self.headers += block
        if len(self.headers) > MOST_HEADER_BYTES:
            raise Broken(f"the answer's headers have more than {MOST_HEADER_BYTES} bytes")
        if not flags & _END_HEADERS:
            return
        status = _status(bytes(self.headers))
        self.status = self.status if status is None else status
        self.headers.clear()
        self.ended |= self.last_headers

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
        if not self.ended:
            return Broken(self.why or "the call was cut off")
        return bytes(self.data[5 : 5 + length])


def _opening(authority: str, path: str, requests: Sequence[bytes]) -> bytes:
    if sum(map(len, requests)) > MOST_REQUEST_BYTES:
        raise ValueError(f"BUG: requests of more than {MOST_REQUEST_BYTES} bytes")
    settings = struct.pack(">HIHIHI", 1, 0, 2, 0, 4, _WINDOW)  # table size, push, stream window
    out = bytearray(_PREFACE + _frame(_SETTINGS, 0, 0, settings))
    out += _frame(_WINDOW_UPDATE, 0, 0, struct.pack(">I", _WINDOW - _FIRST_WINDOW))
    headers = (
        b"\x83\x86"  # :method POST, :scheme http
        + b"\x04" + _text(path.encode())
        + b"\x01" + _text(authority.encode())
        + b"\x0f\x10" + _text(b"application/grpc")
        + b"\x00" + _text(b"te") + _text(b"trailers")
    )  # fmt: skip
    for i, request in enumerate(requests):
        out += _frame(_HEADERS, _END_HEADERS, 1 + 2 * i, headers)
        message = struct.pack(">BI", 0, len(request)) + request
        for at in range(0, len(message), _MOST_FRAME):
            part = message[at : at + _MOST_FRAME]
            last = _END_STREAM if at + _MOST_FRAME >= len(message) else 0
            out += _frame(_DATA, last, 1 + 2 * i, part)
    return bytes(out)


def _text(raw: bytes) -> bytes:
    if len(raw) > 126:
        raise ValueError(f"BUG: a header of {len(raw)} bytes")
    return bytes([len(raw)]) + raw


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def _frames(connection: socket.socket, until: float) -> Iterator[tuple[int, int, int, bytes]]:
    """(type, flags, stream, payload) of every frame as they come. Ends when the other side closes."""
    pending = bytearray()
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
        pending += got


class _Talk:
    """What the frames of one connection do to its calls, and what is said back."""

    def __init__(self, connection: socket.socket, streams: dict[int, _Stream]) -> None:
        self._connection = connection
        self._streams = streams
        self._unread: dict[int, int] = {}

    def take(self, frame: tuple[int, int, int, bytes]) -> None:
        """Raises Broken for an answer that cannot be one, OSError when the other side is gone."""
        kind, flags, number, payload = frame
        if kind == _SETTINGS and not flags & _ACK:
            self._connection.sendall(_frame(_SETTINGS, _ACK, 0, b""))
        elif kind == _PING and not flags & _ACK:
            self._connection.sendall(_frame(_PING, _ACK, 0, payload))
        elif kind == _GOAWAY:
            self._went_away(payload)
        elif kind == _DATA:
            self._reopen(0, len(payload))
        stream = self._streams.get(number)
        if stream is None or stream.ended:
            return
        if kind == _DATA:
            stream.add(_unpadded(flags, payload))
            stream.ended = bool(flags & _END_STREAM)
            if not stream.ended:
                self._reopen(number, len(payload))
        elif kind == _HEADERS:
            stream.last_headers = bool(flags & _END_STREAM)
            stream.add_headers(_unpadded(flags, payload, headers=True), flags)
        elif kind == _CONTINUATION:
            stream.add_headers(payload, flags)
        elif kind == _RST_STREAM:
            stream.ended, stream.why = True, f"the server reset the call: {payload.hex()}"

    def _reopen(self, number: int, read: int) -> None:
        """Give back what was read of a window (0: the connection's), in steps of half of it."""
        unread = self._unread.get(number, 0) + read
        if unread >= _WINDOW // 2:
            self._connection.sendall(_frame(_WINDOW_UPDATE, 0, number, struct.pack(">I", unread)))
            unread = 0
        self._unread[number] = unread

    def _went_away(self, payload: bytes) -> None:
        """Calls above the last one the server took are lost; with an error, all that have not ended."""
        last = int.from_bytes(payload[:4], "big") & 0x7FFFFFFF if len(payload) >= 4 else 0
        code = int.from_bytes(payload[4:8], "big") if len(payload) >= 8 else 0
        for number, stream in self._streams.items():
            if not stream.ended and (code or number > last):
                stream.ended, stream.why = True, f"the server went away with error {code}"


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
