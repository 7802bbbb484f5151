"""What the listener answers by itself: status, JSON body, headers. Errors always say word and text."""

from __future__ import annotations

from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final

import msgspec

_encode = msgspec.json.Encoder().encode
SCHEMA_VERSION: Final = 1

_STATUS_LINES: Final = {
    status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode() for status in HTTPStatus
}
_JSON: Final = b"content-type: application/json\r\n"


@dataclass(frozen=True, slots=True)
class Reply:
    """One whole answer. headers: further ``name: value`` lines. close: the connection ends with it."""

    status: int
    body: bytes
    headers: tuple[bytes, ...] = ()
    close: bool = False

    def encode(self, *, keep_alive: bool, head: bool = False) -> bytes:
        """The bytes on the connection."""
        lines = [
            status_line(self.status),
            _JSON,
            b"content-length: %d\r\n" % len(self.body),
            *(line + b"\r\n" for line in self.headers),
        ]
        if not keep_alive or self.close:
            lines.append(b"connection: close\r\n")
        lines.append(b"\r\n")
        if not head:
            lines.append(self.body)
        return b"".join(lines)


def status_line(status: int) -> bytes:
    """``HTTP/1.1 200 OK`` with its line end; codes HTTP does not name get no phrase."""
    return _STATUS_LINES.get(status) or f"HTTP/1.1 {status} \r\n".encode()


def answer(document: dict[str, Any]) -> Reply:
    """200 with a document that holds its own schema_version."""
    return Reply(200, _encode(document))


def error(
    status: int, word: str, message: str, *, headers: tuple[bytes, ...] = (), close: bool = False
) -> Reply:
    """docs/interfaces.md, Wire: every error body is schema_version, error, message."""
    if status == 401:
        headers = (*headers, b'www-authenticate: Bearer realm="ullage"')
    document = {"schema_version": SCHEMA_VERSION, "error": word, "message": message}
    return Reply(status, _encode(document), headers, close)


def busy(status: int, message: str, retry_after_seconds: int) -> Reply:
    """429 or 503: come again after so many seconds."""
    return error(status, "busy", message, headers=(b"retry-after: %d" % retry_after_seconds,))
