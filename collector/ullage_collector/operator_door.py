"""How the commands speak to a running collector: HTTP over DIR/collector.sock, with operator rights.

The file's mode (0600) is the right: whoever may open the socket may do what an operator may.
"""

from __future__ import annotations

import http.client
import json
import socket
from pathlib import Path
from typing import IO, Any, Final

from ullage_contract.errors import BadInput, UllageError

TIMEOUT_SECONDS: Final = 3600.0  # our choice: because an import of a year takes minutes, and Ctrl-C is there


class DoorError(UllageError):
    """The running collector refused or failed. status: HTTP's; word: the error's."""

    def __init__(self, status: int, word: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.word = word


class WrongRequest(DoorError, BadInput):
    """What was asked is wrong, as it would be without a running collector."""


_WRONG: Final = (400, 404, 409)


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path, timeout_seconds: float) -> None:
        super().__init__("localhost", timeout=timeout_seconds)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


def is_served(path: Path) -> bool:
    """Whether a collector answers on its socket. False for a stale file."""
    probe = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    probe.settimeout(2.0)
    try:
        probe.connect(str(path))
    except OSError:
        return False
    finally:
        probe.close()
    return True


def call(
    path: Path,
    method: str,
    route: str,
    document: Any = None,
    *,
    body: IO[bytes] | bytes | None = None,
    headers: dict[str, str] | None = None,
    timeout_seconds: float = TIMEOUT_SECONDS,
) -> Any:
    """One request; the answer's JSON. document: sent as JSON; body: sent as it is (a file is streamed).

    Raises DoorError when it is refused, fails, or nobody answers (status 0).
    """
    sent = dict(headers or {})
    payload: IO[bytes] | bytes | None = body
    if document is not None:
        payload = json.dumps(document).encode()
        sent["Content-Type"] = "application/json"
    connection = _UnixConnection(path, timeout_seconds)
    try:
        connection.request(method, route, payload, sent, encode_chunked=False)
        response = connection.getresponse()
        text = response.read()
    except (OSError, http.client.HTTPException) as e:
        raise DoorError(0, "unreachable", f"{path}: the collector does not answer: {e}") from e
    finally:
        connection.close()
    try:
        found = json.loads(text) if text else {}
    except ValueError as e:
        raise DoorError(response.status, "malformed", f"{path}: the answer is not JSON") from e
    if response.status >= 400:
        kind = WrongRequest if response.status in _WRONG else DoorError
        raise kind(response.status, found.get("error", "failed"), found.get("message", ""))
    return found
