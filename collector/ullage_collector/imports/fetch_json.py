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

import http.client
import ipaddress
import json
import ssl
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from ullage_collector.imports.departments import MAX_FILE_BYTES, Row, json_rows
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
    opener = _opener(spec)
    headers = {"Accept": "application/json", **_bearer(spec)}
    left, number, seen = spec.max_bytes, 1, set[str]()
    page: str | None = url
    while page is not None:
        if page in seen or len(seen) == MOST_PAGES:
            raise BadInput(f"{url}: the pages do not end (next says {page[:200]})")
        seen.add(page)
        body = _get(opener, page, headers, left, until, monotonic)
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
        raise ConfigError(f"--url {_shown(url)!r}: write https://host/path, without a user or password")
    if parsed.scheme == "http" and not _is_loopback(parsed.hostname):
        raise ConfigError(
            f"--url {_shown(url)}: only https:// leaves this machine; who leads whom is not for all to read"
        )


def _shown(url: str) -> str:
    return url.split("?")[0][:200] if "@" not in url else "…"


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any, **__: Any) -> None:
        return None


def _opener(spec: HttpSpec) -> urllib.request.OpenerDirector:
    try:
        context = ssl.create_default_context(cafile=str(spec.ca_file) if spec.ca_file else None)
    except (OSError, ssl.SSLError) as e:
        raise ConfigError(f"ca_file {spec.ca_file}: cannot be read: {e}") from e
    return urllib.request.build_opener(urllib.request.HTTPSHandler(context=context), _NoRedirect())


def _bearer(spec: HttpSpec) -> dict[str, str]:
    if spec.token_file is None:
        return {}
    return {"Authorization": f"Bearer {read_secret(spec.token_file, 'token_file')}"}


def read_secret(path: Path, key: str) -> str:
    """The one line of a file that holds a token or password. Raises ConfigError; never shows what it holds."""
    try:
        text = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as e:
        raise ConfigError(f"{key} {path}: cannot be read: {type(e).__name__}") from e
    if not text or "\n" in text or not text.isprintable():
        raise ConfigError(f"{key} {path}: write the secret and nothing else into it")
    return text


def _get(
    opener: urllib.request.OpenerDirector,
    url: str,
    headers: dict[str, str],
    most: int,
    until: float,
    monotonic: Callable[[], float],
) -> bytes:
    """One body, of at most ``most`` bytes, before ``until``: a server that sends drop by drop ends too."""
    parts: list[bytes] = []
    size = 0
    try:
        request = urllib.request.Request(url, headers=headers)
        with opener.open(request, timeout=max(0.1, until - monotonic())) as response:
            while block := response.read1(65536):
                parts.append(block)
                size += len(block)
                if size > most:
                    raise BadInput(
                        f"{_shown(url)}: more than [http] max_bytes allows ({most} left for this page)"
                    )
                if monotonic() > until:
                    raise BadInput(f"{_shown(url)}: not done in [http] timeout_seconds; {size} bytes came")
    except urllib.error.HTTPError as e:
        e.close()
        if 300 <= e.code < 400:
            target = _shown(str(e.headers.get("Location", "")))
            raise BadInput(f"{_shown(url)}: it redirects to {target}; write that URL if you trust it") from e
        hint = "; is token_file right?" if e.code in (401, 403) else ""
        raise BadInput(f"{_shown(url)}: the server answers {e.code}{hint}") from e
    except ssl.SSLError as e:
        raise BadInput(f"{_shown(url)}: TLS: {e.reason or e}; name its CA in [http] ca_file") from e
    except urllib.error.URLError as e:
        said = f"{e.reason}"
        hint = "; name its CA in [http] ca_file" if isinstance(e.reason, ssl.SSLError) else ""
        raise BadInput(f"{_shown(url)}: {said[:200]}{hint}") from e
    except (OSError, http.client.HTTPException, ValueError) as e:
        raise BadInput(f"{_shown(url)}: {type(e).__name__}: {str(e)[:200]}") from e
    return b"".join(parts)


def _next_page(page: str, answer: Any, spec: HttpSpec) -> str | None:
    said = _at(answer, spec.next) if spec.next else None
    if said in (None, ""):
        return None
    if not isinstance(said, str):
        raise BadInput(f"{_shown(page)}: {'.'.join(spec.next)} is no URL")
    found = urllib.parse.urljoin(page, said)
    if urllib.parse.urlsplit(found)[:2] != urllib.parse.urlsplit(page)[:2]:
        raise BadInput(
            f"{_shown(page)}: the next page is on another server ({_shown(found)}); it is not followed"
        )
    return found


def _at(answer: Any, names: tuple[str, ...]) -> Any:
    for name in names:
        answer = answer.get(name) if isinstance(answer, dict) else None
    return answer


def _names(text: str | None) -> tuple[str, ...]:
    return tuple(text.split(".")) if text else ()
