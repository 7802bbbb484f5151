"""Departments from an HTTP server that answers JSON: a token from a file, TLS verified, everything bounded.

    [http]
    rows = "data.departments"      # where the list stands in the answer; left out: the answer is the list
    token_file = "/etc/ullage/hr.token"
    ca_file = "/etc/ullage/hr-ca.pem"   # left out: the system's
    next = "paging.next"           # where the next page's URL stands, of the same server
    timeout_seconds = 60           # for all of it
    max_bytes = 67108864

A redirect is refused: the token would go where nobody said.
"""

from __future__ import annotations

import ipaddress
import json
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from ullage_collector.imports.departments import MAX_FILE_BYTES, Row, json_rows
from ullage_collector.imports.fetch_bounded import get, opener_of, read_secret, shown
from ullage_contract.errors import BadInput, ConfigError
from ullage_contract.settings import Table

MOST_PAGES: Final = 1_000  # our choice: because a list that never ends is a wrong ``next``


@dataclass(frozen=True, slots=True)
class HttpSpec:
    """[http] of a map. rows, next: names from the answer's top, dots between. token: never shown."""

    rows: tuple[str, ...]
    next: tuple[str, ...]
    token_file: Path | None
    ca_file: Path | None
    timeout_seconds: float
    max_bytes: int


def read_spec(table: Table) -> HttpSpec:
    """[http] checked. Raises ConfigError."""
    found = HttpSpec(
        rows=_names(table.text("rows")),
        next=_names(table.text("next")),
        token_file=table.path("token_file"),
        ca_file=table.path("ca_file"),
        timeout_seconds=table.number("timeout_seconds", 60, 0.1, 3600),
        max_bytes=table.whole("max_bytes", MAX_FILE_BYTES, 1, 1 << 30),
    )
    table.finish()
    return found


def fetch(url: str, spec: HttpSpec, monotonic: Callable[[], float] = time.monotonic) -> Iterator[Row]:
    """Every department the server tells, page by page. Raises BadInput or ConfigError saying what is wrong; never the token."""
    _check(url)
    until = monotonic() + spec.timeout_seconds
    opener = opener_of(spec.ca_file)
    headers = {"Accept": "application/json", **_bearer(spec)}
    left, number, seen = spec.max_bytes, 1, set[str]()
    page: str | None = url
    while page is not None:
        if page in seen or len(seen) == MOST_PAGES:
            raise BadInput(f"{url}: the pages do not end (next says {page[:200]})")
        seen.add(page)
        body = get(opener, page, headers, left, until, monotonic, where="[http] ")
        left -= len(body)
        try:
            answer = json.loads(body)
        except ValueError as e:
            raise BadInput(f"{page}: the answer is no JSON: {str(e)[:100]}") from e
        rows = _at(answer, spec.rows)
        if not isinstance(rows, list):
            where = ".".join(spec.rows) or "the answer"
            raise BadInput(f"{page}: {where} is no list; say in the map where the list stands: [http] rows")
        yield from json_rows(rows, first=number)
        number += len(rows)
        page = _next_page(page, answer, spec)


def _check(url: str) -> None:
    parsed = urllib.parse.urlsplit(url)
    if parsed.scheme not in ("http", "https") or not parsed.hostname or "@" in parsed.netloc:
        raise ConfigError(f"--url {shown(url)!r}: write https://host/path, without a user or password")
    if parsed.scheme == "http" and not _is_loopback(parsed.hostname):
        raise ConfigError(
            f"--url {shown(url)}: only https:// leaves this machine; who leads whom is not for all to read"
        )


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _bearer(spec: HttpSpec) -> dict[str, str]:
    if spec.token_file is None:
        return {}
    return {"Authorization": f"Bearer {read_secret(spec.token_file, 'token_file')}"}


def _next_page(page: str, answer: Any, spec: HttpSpec) -> str | None:
    said = _at(answer, spec.next) if spec.next else None
    if said in (None, ""):
        return None
    if not isinstance(said, str):
        raise BadInput(f"{shown(page)}: {'.'.join(spec.next)} is no URL")
    found = urllib.parse.urljoin(page, said)
    if urllib.parse.urlsplit(found)[:2] != urllib.parse.urlsplit(page)[:2]:
        raise BadInput(
            f"{shown(page)}: the next page is on another server ({shown(found)}); it is not followed"
        )
    return found


def _at(answer: Any, names: tuple[str, ...]) -> Any:
    for name in names:
        answer = answer.get(name) if isinstance(answer, dict) else None
    return answer


def _names(text: str | None) -> tuple[str, ...]:
    return tuple(text.split(".")) if text else ()
