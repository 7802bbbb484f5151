"""What the evaluator remembers of one rule and one subject: small, and written as JSON so that a restart changes nothing.

Not here: what it means (fault_evaluator.py) and where it is kept (incident_memory.py, table fault_state).
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Final

MOST_TIMES: Final = 256
"""our choice: because the largest threshold is five and a flood says nothing more."""


@dataclass(slots=True)
class Seen:
    """One occurrence. at_us: when it happened. who: the workload (or, of work, the card); user: its user. part: of the
    subject, where a rule counts its parts apart.
    """

    at_us: int
    fresh: bool
    who: str | None = None
    user: str | None = None
    part: str | None = None


@dataclass(slots=True)
class Standing:
    """An incident that is open. first_us and last_us: of its evidence. fresh: it has led to a fresh verdict."""

    since_us: int
    first_us: int
    last_us: int
    fresh: bool
    action: str
    follow: str
    severity: str
    origin: str


@dataclass(slots=True)
class Track:
    """Of one rule and one subject. All instants are microseconds since the epoch.

    seen: occurrences in the rule's window, by time. bad: the last samples, oldest first: 0 good, 1 bad, 2 bad and fresh. grown: growth
    of a counter in the window, as (instant, amount, seconds, fresh). sample_us: the newest sample judged. down_us: since when
    a state stands; down_fresh with it. clear_us: since when samples are good again. still: samples in a row in which a
    counter stood still. base: the healthy baseline; likely and likely_seen: what may become it. standing: the open
    incident. openings: when it opened, for the next level. closed_us: when it was last closed.
    """

    rule: str
    family: str
    subject: str
    cluster: str
    node: str
    vendor: str | None = None
    seen: list[Seen] = field(default_factory=list)
    bad: list[int] = field(default_factory=list)
    grown: list[tuple[int, float, float, bool]] = field(default_factory=list)
    sample_us: int = 0
    down_us: int | None = None
    down_fresh: bool = False
    down_origin: str = "real"
    down_told: dict[str, Any] = field(default_factory=dict)
    clear_us: int | None = None
    still: int = 0
    base: float | None = None
    likely: float | None = None
    likely_seen: int = 0
    standing: Standing | None = None
    openings: list[int] = field(default_factory=list)
    closed_us: int = 0

    @property
    def idle(self) -> bool:
        """Nothing is remembered that another sample or event could need."""
        return (
            self.standing is None
            and self.down_us is None
            and not self.seen
            and not any(self.bad)
            and not self.grown
            and not self.still
            and self.base is None
            and not self.likely_seen
            and not self.openings
        )

    @property
    def watched(self) -> bool:
        """Good samples of it matter too: something is open or half seen."""
        return self.standing is not None or any(self.bad) or bool(self.grown) or self.still > 0

    def see(self, seen: Seen) -> None:
        """Put an occurrence into its place by time; told twice it stands once."""
        told = [s for s in self.seen if (s.at_us, s.who, s.part) == (seen.at_us, seen.who, seen.part)]
        if told:
            for s in told:
                s.fresh = s.fresh or seen.fresh
            return
        self.seen.append(seen)
        self.seen.sort(key=lambda s: s.at_us)
        del self.seen[:-MOST_TIMES]

    def forget_before(self, at_us: int) -> None:
        """Drop occurrences older than ``at_us``."""
        self.seen = [s for s in self.seen if s.at_us >= at_us]

    def to_json(self) -> str:
        """What ``from_json`` reads; only what is set."""
        plain = {
            name: value
            for name, value in asdict(self).items()
            if value not in (None, [], {}, 0, False) and name not in _KEY
        }
        return json.dumps(plain, ensure_ascii=False, separators=(",", ":"))


_KEY: Final = ("rule", "family", "subject", "cluster", "node", "vendor")
_FIELDS: Final = frozenset(f.name for f in fields(Track)) - frozenset(_KEY)


def from_json(
    rule: str, family: str, subject: str, cluster: str, node: str, vendor: str | None, text: str
) -> Track:
    """The track of a row of table fault_state. Raises ValueError for what is none of ours."""
    plain = json.loads(text)
    if not isinstance(plain, dict):
        raise ValueError("not an object")
    kept = {name: value for name, value in plain.items() if name in _FIELDS}
    kept["seen"] = [Seen(**item) for item in kept.get("seen", [])]
    kept["grown"] = [
        (int(at), float(amount), float(over), bool(fresh))
        for at, amount, over, fresh in kept.get("grown", [])
    ]
    if kept.get("standing") is not None:
        kept["standing"] = Standing(**kept["standing"])
    return Track(rule, family, subject, cluster, node, vendor, **kept)


def bursts(times: list[int], burst_us: int) -> list[int]:
    """The first instants of bursts: what comes within ``burst_us`` of a burst's first counts with it. times: ascending.

    A burst has an end even when events never cease, so that a card that fails all the time is not one burst for ever.
    """
    found: list[int] = []
    for at in times:
        if not found or at - found[-1] > burst_us:
            found.append(at)
    return found
