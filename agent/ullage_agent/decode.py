"""``ullage-agent decode``: a recorded tool output as a document. The decoders are the makers' own."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from ullage_agent import registry
from ullage_agent.backend import Decoded, DecodedCard
from ullage_agent.snapshot import event_json
from ullage_contract.errors import BadInput, ConfigError

SCHEMA_VERSION: Final = 1
MAX_BYTES: Final = 64 * 1024 * 1024  # our choice: because the longest recorded logs are some megabytes
DECODERS: Final = {
    "rdma": "ullage_agent.rdma_decode:decode",
    "kernel-log": "ullage_agent.kernel_log:decode",
}
"""What is no maker's."""


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
    result = registry.call(entry, text)
    if not isinstance(result, Decoded):
        raise BadInput(f"BUG: the decoder of {maker} gave a {type(result).__name__}")
    return result


def document(maker: str, text: str) -> dict[str, Any]:
    """What ``decode --json`` prints."""
    result = decoded(maker, text)
    return {
        "schema_version": SCHEMA_VERSION,
        "maker": result.maker,
        "tool": result.tool,
        "format": result.format,
        "driver_version": result.driver_version,
        "cards": [_card(card) for card in result.cards],
        "events": [event_json(event) for event in result.events],
        "ports": [dict(port) for port in result.ports],
        "samples": [dict(sample) for sample in result.samples],
        "extra": dict(result.extra),
        "notes": list(result.notes),
    }


def _card(card: DecodedCard) -> dict[str, Any]:
    plain = asdict(card)
    plain["values"] = dict(card.values)
    plain["extra"] = dict(card.extra)
    plain["slices"] = [dict(one) for one in card.slices]
    plain["processes"] = None if card.processes is None else [dict(one) for one in card.processes]
    return plain
