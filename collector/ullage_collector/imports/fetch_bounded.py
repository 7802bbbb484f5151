"""One GET over HTTP that ends: bounded in time and size, TLS verified, no redirect followed, secrets from files alone.

A redirect is refused: a token would go where nobody said.
"""

from __future__ import annotations

import http.client
import ssl
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from ullage_contract.errors import BadInput, ConfigError
from ullage_contract.plain import plain

_TOLD_BYTES: Final = 300  # our choice: because an error is a sentence


def shown(url: str) -> str:
    """A URL for messages: without its question, and nothing of one with a user in it."""
    return url.split("?")[0][:200] if "@" not in url else "…"


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any, **__: Any) -> None:
        return None


def opener_of(ca_file: Path | None) -> urllib.request.OpenerDirector:
    """What opens URLs and trusts the authorities in ``ca_file`` (None: the system's). Raises ConfigError."""
    try:
        context = ssl.create_default_context(cafile=str(ca_file) if ca_file else None)
    except (OSError, ssl.SSLError) as e:
        raise ConfigError(f"ca_file {ca_file}: cannot be read: {e}") from e
    return urllib.request.build_opener(urllib.request.HTTPSHandler(context=context), _NoRedirect())


def read_secret(path: Path, key: str) -> str:
    """The one line of a file that holds a token or password. Raises ConfigError; never shows what it holds."""
    try:
        text = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as e:
        raise ConfigError(f"{key} {path}: cannot be read: {type(e).__name__}") from e
    if not text or "\n" in text or not text.isprintable():
        raise ConfigError(f"{key} {path}: write the secret and nothing else into it")
    return text


def get(
    opener: urllib.request.OpenerDirector,
    url: str,
    headers: Mapping[str, str],
    most: int,
    until: float,
    monotonic: Callable[[], float],
    *,
    where: str = "",
    tell: bool = False,
) -> bytes:
    """One body, of at most ``most`` bytes, before ``until``: a server that sends drop by drop ends too.

    where: the table of the settings that errors name. tell: a refusal's first words are part of the error. Raises BadInput.
    """
    parts: list[bytes] = []
    size = 0
    try:
        request = urllib.request.Request(url, headers=dict(headers))
        with opener.open(request, timeout=max(0.1, until - monotonic())) as response:
            while block := response.read1(65536):
                parts.append(block)
                size += len(block)
                if size > most:
                    raise BadInput(
                        f"{shown(url)}: more than {where}max_bytes allows ({most} left for this page)"
                    )
                if monotonic() > until:
                    raise BadInput(f"{shown(url)}: not done in {where}timeout_seconds; {size} bytes came")
    except urllib.error.HTTPError as e:
        said = _told(e) if tell else ""
        e.close()
        if 300 <= e.code < 400:
            target = shown(str(e.headers.get("Location", "")))
            raise BadInput(f"{shown(url)}: it redirects to {target}; write that URL if you trust it") from e
        hint = "; is token_file right?" if e.code in (401, 403) else ""
        raise BadInput(f"{shown(url)}: the server answers {e.code}{said}{hint}") from e
    except ssl.SSLError as e:
        raise BadInput(f"{shown(url)}: TLS: {e.reason or e}; name its CA in {where}ca_file") from e
    except urllib.error.URLError as e:
        said = f"{e.reason}"
        hint = f"; name its CA in {where}ca_file" if isinstance(e.reason, ssl.SSLError) else ""
        raise BadInput(f"{shown(url)}: {said[:200]}{hint}") from e
    except (OSError, http.client.HTTPException, ValueError) as e:
        raise BadInput(f"{shown(url)}: {type(e).__name__}: {str(e)[:200]}") from e
    return b"".join(parts)


def _told(refusal: urllib.error.HTTPError) -> str:
    try:
        said = plain(refusal.read(_TOLD_BYTES).decode("utf-8", "replace"), limit=_TOLD_BYTES)
    except (OSError, http.client.HTTPException, ValueError):
        return ""
    return f": {said}" if said else ""
