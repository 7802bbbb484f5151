"""Names, addresses and numbers of a site replaced by words that tell nothing but stay the same.

The same value gives the same word wherever it stands, so a reader of a bundle still sees that two
lines speak of one card. The key never leaves the node: words cannot be looked up backwards. Not a
proof against everything a text may say: what is hidden is listed in ``KINDS``.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Callable, Iterable
from typing import Final

KINDS: Final = (
    "host names of this node, its cluster's name, user names and home directories",
    "IP and MAC addresses, RDMA GUIDs, e-mail addresses, host parts of URLs",
    "UUIDs, serial numbers, machine-id, boot id",
)
_SHORTEST: Final = 3  # our choice: because hiding every "gpu" or "a1" would hide the text itself

_UUID = re.compile(
    r"\b(GPU-|MIG-|MIG-GPU-)?[0-9a-fA-F]{8}-?(?:[0-9a-fA-F]{4}-?){3}[0-9a-fA-F]{12}(?:/\d+/\d+)?\b"
)
_IPV4 = re.compile(r"(?<![\d.])(?:\d{1,3}\.){3}\d{1,3}(?![\d.])")
_IPV6 = re.compile(r"(?<![\w:.])(?:[0-9a-fA-F]{0,4}:){2,7}[0-9a-fA-F]{0,4}(?![\w:.])")
_MAC = re.compile(r"(?<![\w:-])(?:[0-9a-fA-F]{2}[:-]){5}[0-9a-fA-F]{2}(?![\w:-])")
_GUID = re.compile(r"(?<![\w:])(?:[0-9a-fA-F]{4}:){3}[0-9a-fA-F]{4}(?![\w:])|\b0x[0-9a-fA-F]{16}\b")
_EMAIL = re.compile(r"\b[\w.+-]+@[\w-]+(?:\.[\w-]+)+\b")
_HOME = re.compile(r"(/home/|/users/|/u/)([^/\s\"':,]+)")
_URL_HOST = re.compile(r"(https?://)([^/\s\"':]+)")
_PCI_LIKE = re.compile(r"^[0-9a-fA-F]{4,8}:[0-9a-fA-F]{2}:[0-9a-fA-F]{2}(\.[0-7])?$")
_HARMLESS_ADDRESSES: Final = frozenset({"127.0.0.1", "0.0.0.0", "::1", "::", "255.255.255.255"})


class Pseudonyms:
    """key: secret bytes of this node (its machine-id), so that two bundles of one node agree."""

    def __init__(self, key: bytes) -> None:
        self._key = key
        self._words: dict[str, str] = {}
        self._pattern: re.Pattern[str] | None = None

    def hide(self, kind: str, values: Iterable[str | None]) -> None:
        """From now on these literal values read ``<kind>-xxxxxxxx``. Shorter than three characters: left."""
        for value in values:
            text = (value or "").strip()
            if len(text) >= _SHORTEST and text.lower() not in ("localhost", "default", "none", "root"):
                self._words.setdefault(text, self.word(kind, text))
        longest_first = sorted(self._words, key=len, reverse=True)
        self._pattern = (
            re.compile("|".join(rf"(?<![A-Za-z0-9]){re.escape(w)}(?![A-Za-z0-9])" for w in longest_first))
            if longest_first
            else None
        )

    def word(self, kind: str, value: str) -> str:
        """The word for one value."""
        digest = hmac.new(self._key, f"{kind}\0{value}".encode(), hashlib.sha256).hexdigest()
        return f"{kind}-{digest[:8]}"

    def scrub(self, text: str) -> str:
        """``text`` with everything of KINDS replaced."""
        if self._pattern is not None:
            text = self._pattern.sub(lambda m: self._words[m.group()], text)
        text = _EMAIL.sub(self._named("mail"), text)
        text = _UUID.sub(lambda m: f"{m.group(1) or ''}{self.word('uuid', m.group())}", text)
        text = _GUID.sub(self._named("guid"), text)
        text = _MAC.sub(self._named("mac"), text)
        text = _IPV4.sub(self._address, text)
        text = _IPV6.sub(self._address, text)
        text = _HOME.sub(lambda m: m.group(1) + self.word("user", m.group(2)), text)
        return _URL_HOST.sub(self._url, text)

    def _named(self, kind: str) -> Callable[[re.Match[str]], str]:
        return lambda m: self.word(kind, m.group().lower())

    def _address(self, match: re.Match[str]) -> str:
        text = match.group()
        if text in _HARMLESS_ADDRESSES or _PCI_LIKE.match(text) or text.count(":") == len(text):
            return text
        if "." in text and not all(int(part) < 256 for part in text.split(".")):
            return text  # a version number
        if ":" in text and "::" not in text and text.count(":") < 7:
            return text  # a time of day, a PCI address
        return self.word("address", text.lower())

    def _url(self, match: re.Match[str]) -> str:
        host = match.group(2)
        if host in _HARMLESS_ADDRESSES or host == "localhost" or host.startswith(("address-", "host-")):
            return match.group()
        return match.group(1) + self.word("host", host)
