"""One piece of news: something that happened and that somebody may want to hear. Pure types; texts are in texts.toml."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Final

from ullage_contract.event import Severity

EVENTS: Final = (
    "incident_opened",
    "incident_worsened",
    "incident_ended",
    "isolated",
    "released",
    "approval",
    "freeze",
    "unfreeze",
    "breaker",
    "page",
    "maintenance",
    "finding_opened",
    "finding_ended",
    "report_late",
    "report_came",
    "test",
)
"""Every word ``events`` of a target can be told by; a finding's kind follows a colon."""
_RANK: Final = {severity: rank for rank, severity in enumerate(Severity)}


@dataclass(frozen=True, slots=True)
class News:
    """One piece.

    key: unique for ever. event: a word of EVENTS. about: what the news of one thing share (``incident/12``), so that an
    end finds its beginning. at_us, since_us: microseconds since the epoch, when it happened and since when the thing is so.
    ends: it says that the thing is over. stands: it is so until other news end it. cluster, node None: not of one.
    severity_before: of something that got worse. details: what else the texts name; short texts.
    """

    key: str
    event: str
    about: str
    severity: Severity
    family: str
    subject: str
    at_us: int
    since_us: int
    cluster: str | None = None
    node: str | None = None
    ends: bool = False
    stands: bool = False
    severity_before: Severity | None = None
    kind: str = ""
    details: Mapping[str, str] = field(default_factory=dict)

    @property
    def is_critical(self) -> bool:
        """Bad enough to be told at night."""
        return _RANK[self.severity] >= _RANK[Severity.CRITICAL]

    def at_least(self, severity: Severity) -> bool:
        """Whether it is as bad as ``severity`` or worse."""
        return _RANK[self.severity] >= _RANK[severity]

    @property
    def words(self) -> tuple[str, ...]:
        """What a target may have written in ``events`` to get it, from the most exact on."""
        family = {
            "incident_opened": "incident",
            "incident_worsened": "incident",
            "incident_ended": "incident",
        }
        family |= {"isolated": "isolation", "released": "isolation", "unfreeze": "freeze"}
        family |= {"finding_opened": "finding", "finding_ended": "finding"}
        family |= {"report_late": "report", "report_came": "report"}
        wide = family.get(self.event, self.event)
        kinds = (f"{self.event}:{self.kind}", f"{wide}:{self.kind}") if self.kind else ()
        return (*kinds, self.event, wide)

    def to_json(self) -> dict[str, Any]:
        """As the outbox keeps it; ``from_json`` is its inverse."""
        return {**asdict(self), "details": dict(self.details)}


def worse(now: Severity, before: Severity) -> bool:
    """Whether ``now`` is worse than ``before``."""
    return _RANK[now] > _RANK[before]


def severity(text: object) -> Severity:
    """A severity of the store; a word nobody knows is critical, because silence would be worse."""
    try:
        return Severity(str(text))
    except ValueError:
        return Severity.CRITICAL


def from_json(document: Mapping[str, Any]) -> News:
    """A piece as ``to_json`` gave it."""
    before = document.get("severity_before")
    return News(
        **{
            **document,
            "severity": Severity(document["severity"]),
            "severity_before": None if before is None else Severity(before),
        }
    )


def dumps(news: News) -> str:
    """One piece as text."""
    return json.dumps(news.to_json(), ensure_ascii=False)
