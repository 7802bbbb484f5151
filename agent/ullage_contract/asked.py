"""What a collector may ask a node in the answer to the node's own push: a probe of one card, by name, once.

It is bound to cluster, node, card and incident, expires by the collector's clock, and carries a name only: what the
name does is the node's own allow-list's business (``[probes]`` of agent.toml). An agent that does not know the field
ignores it; a collector that asks nothing does not send it.

    {"asked": [{"id": "4f..", "probe": "memory", "cluster": "c1", "node": "gpu-a017", "card": "GPU-..",
                "incident": 17, "expires": 1795263000.0}]}
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from ullage_contract.errors import BadInput, WireError
from ullage_contract.identity import check_id

MAX_ASKED: Final = 8  # our choice: because probes run one at a time, and an answer stays below 4 KiB
LONGEST_LIFE_SECONDS: Final = 3600.0
"""our choice: an asked probe is for a card that was just isolated or repaired, not a standing order; the agent
refuses one that expires later than this from now, so that what it has to remember is bounded."""

_ID: Final = re.compile(r"[0-9a-f]{32}")
_NAME: Final = re.compile(r"[a-z][a-z_]{0,31}")


class ProbeOutcome(StrEnum):
    """What became of an asked probe: ``attributes.outcome`` of the event ``probe_result``.

    PASSED: it ran and found nothing wrong, which is no proof that the card is well. FAILED: it ran and the card did
    not do what it should, or it did not end in time. REFUSED: it did not run, or says nothing about the card.
    EXPIRED: its time was over before it could begin.
    """

    PASSED = "passed"
    FAILED = "failed"
    REFUSED = "refused"
    EXPIRED = "expired"


@dataclass(frozen=True, slots=True)
class AskedProbe:
    """One probe asked of one card.

    probe_id: 32 hex digits, random, never used twice. probe: a name of the node's own list. incident: its number at
    the collector, 0 when a person asked without one. expires: seconds since the epoch by the collector's clock; it
    has to begin before.
    """

    probe_id: str
    probe: str
    cluster: str
    node: str
    card: str
    incident: int
    expires: float

    def to_json(self) -> dict[str, Any]:
        return {
            "id": self.probe_id,
            "probe": self.probe,
            "cluster": self.cluster,
            "node": self.node,
            "card": self.card,
            "incident": self.incident,
            "expires": round(self.expires, 3),
        }


def check_probe_name(name: str) -> str:
    """``name`` itself, if it can name a probe. Raises BadInput."""
    if not _NAME.fullmatch(name):
        raise BadInput(f"probe {name[:40]!r} is no name: write up to 32 lower-case letters and _")
    return name


def asked_from_json(value: Any) -> tuple[AskedProbe, ...]:
    """The field ``asked`` of an answer, at most MAX_ASKED of it; () where it is absent.

    An entry that is not one is left out: a newer collector may ask what this side does not understand, and an
    answer is good for its watermarks in any case.
    """
    found: list[AskedProbe] = []
    for entry in value if isinstance(value, list) else ():
        try:
            found.append(_entry(entry))
        except BadInput:
            continue
        if len(found) == MAX_ASKED:
            break
    return tuple(found)


def asked_to_json(asked: Sequence[AskedProbe]) -> list[dict[str, Any]]:
    """The field as it travels. Raises WireError (BUG) for more than MAX_ASKED."""
    if len(asked) > MAX_ASKED:
        raise WireError(f"BUG: {len(asked)} probes asked in one answer, at most {MAX_ASKED} fit")
    return [one.to_json() for one in asked]


def _entry(value: Any) -> AskedProbe:
    if not isinstance(value, dict):
        raise BadInput("an asked probe is an object")
    texts = {name: value.get(name) for name in ("id", "probe", "cluster", "node", "card")}
    incident, expires = value.get("incident"), value.get("expires")
    if not all(isinstance(text, str) for text in texts.values()) or not _ID.fullmatch(str(texts["id"])):
        raise BadInput("an asked probe has texts id (32 hex digits), probe, cluster, node and card")
    if not isinstance(incident, int) or isinstance(incident, bool) or not 0 <= incident < 2**53:
        raise BadInput("incident is a whole number from 0")
    if isinstance(expires, bool) or not isinstance(expires, int | float):
        raise BadInput("expires is seconds since the epoch")
    if not 0 <= expires < 1e11:  # which NaN and infinity are not, either
        raise BadInput("expires is seconds since the epoch")
    return AskedProbe(
        probe_id=str(texts["id"]),
        probe=check_probe_name(str(texts["probe"])),
        cluster=check_id("cluster", str(texts["cluster"])),
        node=check_id("node", str(texts["node"])),
        card=check_id("card", str(texts["card"])),
        incident=incident,
        expires=float(expires),
    )
