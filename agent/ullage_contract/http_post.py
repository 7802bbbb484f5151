"""One HTTP POST that follows no redirect, with a deadline for each step, and what can come of telling somebody.

A failure says host and status and at most a piece of the answer with every secret taken out; never a URL, as robots have
their secret in it.
"""

from __future__ import annotations

import http.client
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from ullage_contract.errors import UllageError
from ullage_contract.plain import plain

MOST_ANSWER_BYTES: Final = 64 * 1024  # our choice: because an answer is a word and a number
RETRY_STATUSES: Final = frozenset({408, 425, 429})
"""Refusals that another time may not be: RFC 9110 and RFC 6585."""


class NotTold(UllageError):
    """A message did not arrive, or nobody knows.

    final: another attempt with the same message is refused again. pause_seconds: the receiver asks for so long; None: it
    says nothing.
    """

    def __init__(self, message: str, *, final: bool = False, pause_seconds: float | None = None) -> None:
        super().__init__(message)
        self.final = final
        self.pause_seconds = pause_seconds


@dataclass(frozen=True, slots=True)
class Answer:
    """status: HTTP's. body: as it came, at most MOST_ANSWER_BYTES."""

    status: int
    body: bytes


def post(
    url: str,
    body: bytes,
    headers: Mapping[str, str],
    *,
    timeout_seconds: float,
    ca_file: Path | None = None,
    proxy: str | None = None,
    secrets: tuple[str, ...] = (),
) -> Answer:
    """POST once. Raises NotTold for every answer but 2xx, and when there is none."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    try:
        connection = _connection(parts.scheme, host, parts.port, timeout_seconds, ca_file, proxy)
        plain_proxy = proxy is not None and parts.scheme == "http"
        try:
            connection.request("POST", url if plain_proxy else path, body, dict(headers))
            response = connection.getresponse()
            answer = Answer(response.status, response.read(MOST_ANSWER_BYTES))
            after = response.headers.get("Retry-After", "")
        finally:
            connection.close()
    except ssl.SSLError as e:
        raise NotTold(f"{host}: TLS: {e.reason or type(e).__name__}") from None
    except (OSError, http.client.HTTPException, UnicodeError) as e:
        why = e.strerror if isinstance(e, OSError) and e.strerror else type(e).__name__
        raise NotTold(f"{host}: {hidden(why, url, *secrets)}") from None
    if 200 <= answer.status < 300:
        return answer
    said = hidden(plain(answer.body.decode("utf-8", "replace"), limit=200), url, *secrets)
    raise NotTold(
        f"{host}: HTTP {answer.status}: {said}" if said else f"{host}: HTTP {answer.status}",
        final=400 <= answer.status < 500 and answer.status not in RETRY_STATUSES,
        pause_seconds=float(after) if after.isdecimal() else None,
    )


def hidden(text: str, *secrets: str) -> str:
    """A text without any of the secrets, nor the query or last part of the path of those that are URLs."""
    for secret in secrets:
        parts = urlsplit(secret)
        for piece in (secret, parts.query, parts.path.rpartition("/")[2], *parts.query.split("=")):
            if len(piece) >= 6:
                text = text.replace(piece, "***")
    return text


def _connection(
    scheme: str, host: str, port: int | None, timeout: float, ca_file: Path | None, proxy: str | None
) -> http.client.HTTPConnection:
    if scheme == "https":
        context = ssl.create_default_context(cafile=str(ca_file) if ca_file else None)
        if proxy is None:
            return http.client.HTTPSConnection(host, port, timeout=timeout, context=context)
        through = urlsplit(proxy)
        tunnel = http.client.HTTPSConnection(
            through.hostname or "", through.port, timeout=timeout, context=context
        )
        tunnel.set_tunnel(host, port or 443)
        return tunnel
    if proxy is not None:
        through = urlsplit(proxy)
        return http.client.HTTPConnection(through.hostname or "", through.port or 80, timeout=timeout)
    return http.client.HTTPConnection(host, port, timeout=timeout)
