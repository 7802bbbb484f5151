"""Our mark on what we place in Kubernetes: an annotation that says for whom, why, since when, and what exactly.

What stands is ours only while it is as its mark says. One annotation a subject, so that two cards of one node share a
taint and the last one released takes it away.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from ullage_collector.isolate.actuator import MARK, Target

DOMAIN: Final = "ullage.dev"
TAINT_KEY: Final = f"{DOMAIN}/isolated"  # our choice: because a key wants a domain of its owner before it
_ANNOTATION: Final = f"{DOMAIN}/isolation-"
_LABEL_LENGTH: Final = 63
"""A label's value: at most 63 letters, digits, - _ . with letters or digits at its ends — Kubernetes documentation,
"Labels and selectors"."""

Taint = Mapping[str, str]
"""key, value and effect, as a node's or a device's taint has them."""


@dataclass(frozen=True, slots=True)
class Mark:
    """What we placed for one subject. at: RFC 3339, when. by: the field manager we wrote as. taints: as placed.
    cordon: we made the node unschedulable.
    """

    marker: str
    incident: int | None
    reason: str
    at: str
    by: str
    taints: tuple[Taint, ...] = ()
    cordon: bool = False

    @property
    def key(self) -> str:
        """The annotation's key."""
        return annotation_key(self.marker)

    def text(self) -> str:
        """The annotation's value."""
        said: dict[str, Any] = {"marker": self.marker, "reason": self.reason, "at": self.at, "by": self.by}
        if self.incident is not None:
            said["incident"] = self.incident
        if self.taints:
            said["taints"] = [dict(taint) for taint in self.taints]
        if self.cordon:
            said["cordon"] = True
        return msgspec.json.encode(said).decode("utf-8")


def annotation_key(marker: str) -> str:
    """The key for one subject; a subject's name may hold what a key may not."""
    return f"{_ANNOTATION}{digest(marker)}"


def marks(annotations: Mapping[str, Any] | None) -> dict[str, Mark]:
    """Our marks by marker. What has our prefix but is no mark of ours is left out: whoever wrote it keeps it."""
    found = {}
    for key, text in (annotations or {}).items():
        mark = _read(text) if key.startswith(_ANNOTATION) else None
        if mark is not None and mark.key == key:
            found[mark.marker] = mark
    return found


def digest(*parts: str) -> str:
    """Twelve hexadecimal digits of a name, for keys and object names."""
    return hashlib.sha256("\n".join(parts).encode("utf-8")).hexdigest()[:12]


def taint_value(target: Target) -> str:
    """What people see behind the taint's key: the incident, else the subject as far as a label may say it."""
    if target.incident_id is not None:
        return f"incident-{target.incident_id}"
    plain = re.sub(r"[^A-Za-z0-9._-]", "-", target.subject)[:_LABEL_LENGTH].strip("-_.")
    return plain or digest(target.marker)


def same_taint(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Equal in key, value and effect; when it was added is the server's."""
    return all((one.get(k) or "") == (other.get(k) or "") for k in ("key", "value", "effect"))


def stamp(seconds: float) -> str:
    """RFC 3339 in whole seconds, as API servers write times."""
    return datetime.fromtimestamp(int(seconds), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _read(text: Any) -> Mark | None:
    try:
        said = msgspec.json.decode(text) if isinstance(text, str) else None
    except (msgspec.DecodeError, RecursionError):
        return None
    if not isinstance(said, dict):
        return None
    marker, incident, taints = said.get("marker"), said.get("incident"), said.get("taints") or []
    if not isinstance(marker, str) or not marker.startswith(MARK) or not isinstance(taints, list):
        return None
    if incident is not None and not isinstance(incident, int):
        return None
    if not all(isinstance(t, dict) and all(isinstance(v, str) for v in t.values()) for t in taints):
        return None
    return Mark(
        marker,
        incident,
        str(said.get("reason") or ""),
        str(said.get("at") or ""),
        str(said.get("by") or ""),
        tuple(taints),
        said.get("cordon") is True,
    )
