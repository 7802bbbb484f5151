"""``ullage-agent decode``: a recorded tool output as a document. The decoders are the makers' own."""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Final

from ullage_agent import registry
from ullage_agent.backend import Decoded, DecodedCard
from ullage_agent.commands.snapshot import event_json
from ullage_contract.errors import BadInput, ConfigError
from ullage_contract.sample import Value

SCHEMA_VERSION: Final = 1
MAX_BYTES: Final = 64 * 1024 * 1024  # our choice: because the longest recorded logs are some megabytes
DECODERS: Final = {
    "rdma": "ullage_agent.sources.rdma_decode:decode",
    "kernel-log": "ullage_agent.sources.kernel_log:decode",
    "kmsg": "ullage_agent.sources.kernel_log:decode",
}
"""What is no maker's. The kernel log by either of its names."""

_ENDLESS: Final = re.compile(r"\d{301}")
"""our choice: 300 digits, because serial numbers have forty at most, Python's int() refuses 4300, and
what has fewer is a finite float."""


_BLANK: Final = re.compile(r"[^\S\n]{500}")
_REPEATED: Final = re.compile(r"([^\s])\1{63,}+")
_MOST_REPEATED: Final = 4096
"""our choice: because the widest gap in what tools print is some hundred blanks and the longest rule some hundred
characters; patterns that are quick on those are not on sixty thousand (found by fuzzing)."""


def read(file: str) -> str:
    """The text of ``file``; ``-`` is stdin. Bytes that are not UTF-8 become U+FFFD: tools print such names.

    Raises BadInput for a file that cannot be read or is larger than MAX_BYTES.
    """
    try:
        if file == "-":
            content = sys.stdin.buffer.read(MAX_BYTES + 1)
        else:
            with Path(file).open("rb") as opened:
                content = opened.read(MAX_BYTES + 1)
    except OSError as e:
        raise BadInput(f"{file}: cannot be read: {e.strerror}") from e
    if len(content) > MAX_BYTES:
        raise BadInput(f"{file}: more than {MAX_BYTES} bytes; cut out the part that matters")
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        return content.decode("utf-16", "replace")  # a text saved by a Windows terminal
    return content.decode("utf-8-sig", "replace")


def decoded(maker: str, text: str) -> Decoded:
    """``text`` as ``maker``'s decoder reads it.

    Raises ConfigError for a maker nobody knows or that has no decoder, BadInput for a text that is not its.
    """
    return checked(decoder_of(maker), text)


def decoder_of(maker: str) -> Callable[[str], Any]:
    """The maker's decoder. Raises ConfigError for a maker nobody knows or that has none."""
    entry = DECODERS.get(maker)
    if entry is None:
        known = registry.load()
        try:
            backend = known.named(maker)
        except ConfigError as e:
            raise ConfigError(f"{e}; also: {', '.join(DECODERS)}") from e
        if backend.decoder is None:
            raise ConfigError(f"{backend.title} has no tool whose output could be decoded")
        entry = backend.decoder
    found: Callable[[str], Any] = registry.resolve(entry)
    return found


def checked(decoder: Callable[[str], Any], text: str) -> Decoded:
    """What ``decoder`` says of ``text``, with what no card can have left out and noted.

    Raises BadInput for a text that is not the decoder's, or that holds a number, a gap or a rule without end.
    """
    if (match := _ENDLESS.search(text)) is not None:
        line = text.count("\n", 0, match.start()) + 1
        raise BadInput(f"line {line} has a number of more than 300 digits: the text is damaged")
    repeated = next((m for m in _REPEATED.finditer(text) if len(m[0]) >= _MOST_REPEATED), None)
    for match, what in ((_BLANK.search(text), "blanks"), (repeated, "equal characters")):
        if match is not None:
            line = text.count("\n", 0, match.start()) + 1
            raise BadInput(f"line {line} has a run of {len(match[0])} {what} or more: the text is damaged")
    result = decoder(text)
    if not isinstance(result, Decoded):
        raise BadInput(f"BUG: the decoder gave a {type(result).__name__}")
    cards = [replace(card, values=_possible(card.values)) for card in result.cards]
    if all(len(now.values) == len(was.values) for now, was in zip(cards, result.cards, strict=True)):
        return result
    note = "numbers that no reading can have are left out: the text is damaged"
    return replace(result, cards=cards, notes=[*result.notes, note])


def _possible(values: Mapping[str, Value]) -> dict[str, Value]:
    """Without NaN, infinity and what 64 bits cannot hold, as the wire leaves them out. What is no number at all is
    the decoder's own slip, which its tests are to name (ullage_agent.conformance, tests/fuzz)."""
    return {
        key: value
        for key, value in values.items()
        if not isinstance(value, int | float) or (abs(value) < 2**64 and math.isfinite(value))
    }


def document(maker: str, text: str) -> dict[str, Any]:
    """What ``decode --json`` prints."""
    return as_document(decoded(maker, text))


def as_document(result: Decoded) -> dict[str, Any]:
    """A decoder's answer as plain dicts and lists."""
    return {
        "schema_version": SCHEMA_VERSION,
        "maker": result.maker,
        "tool": result.tool,
        "format": result.format,
        "driver_version": result.driver_version,
        "cards": [_card(card) for card in result.cards],
        "events": [event_json(event) for event in result.events],
        "ports": [_plain(port) for port in result.ports],
        "samples": [_plain(sample) for sample in result.samples],
        "extra": _plain(result.extra),
        "notes": list(result.notes),
    }


def _card(card: DecodedCard) -> dict[str, Any]:
    plain: dict[str, Any] = _plain(asdict(card))
    return plain


def _plain(value: Any) -> Any:
    """Dicts, lists and scalars that JSON has: a number that is none (``Infinity`` in a tool's own JSON) is null."""
    if isinstance(value, Mapping):
        return {key: _plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
