"""The last state on disk, for ``check``: a sink that keeps a verdict a card and replaces one small file a tick.

The file is written beside and renamed, so a reader never sees half of it. It is not kept over a crash
of the machine (no fsync): a stale state is unknown anyway. Not here: history.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from ullage_agent import verdict
from ullage_agent.source import SourceReport
from ullage_contract import catalogue
from ullage_contract.catalogue import Tier
from ullage_contract.clock import Clock
from ullage_contract.event import Event
from ullage_contract.sample import Facts, Family, Origin, Sample, Value

SCHEMA_VERSION: Final = 1
FILE_NAME: Final = "state.json"
MAKER_KEYS: Final = ("index", "minor", "uuid", "serial", "pci_address", "model", "vendor")


@dataclass(slots=True)
class _Card:
    """slow: the newest slow values, good for three slow ticks; fast, failed: of the newest row."""

    facts: Mapping[str, Any] = field(default_factory=dict)
    fast: Mapping[str, Value] = field(default_factory=dict)
    failed: Mapping[str, str] = field(default_factory=dict)
    slow: dict[str, Value] = field(default_factory=dict)
    slow_at: float = 0.0
    tick: int = -1
    simulated: bool = False


class StateFile:
    """A Sink. path: DIR/agent/state.json."""

    def __init__(
        self,
        path: Path,
        *,
        node_id: str,
        clock: Clock,
        boot_id: str | None,
        fast_seconds: float,
        slow_seconds: float,
    ) -> None:
        self._path = path
        self._node_id = node_id
        self._clock = clock
        self._boot_id = boot_id
        self._fast_seconds = fast_seconds
        self._slow_seconds = slow_seconds
        self._slow_keys = frozenset(k for k, m in catalogue.keys(Family.CARD).items() if m.tier is Tier.SLOW)
        self._cards: dict[str, _Card] = {}
        self._ports_down: dict[str, str] = {}
        self._cards_expected: Value | None = None
        self._cards_seen: Value | None = None
        self._tick = 0

    def facts(self, facts: Sequence[Facts], *, origin: Origin = Origin.REAL) -> None:
        for one in facts:
            if one.family is Family.CARD:
                card = self._cards.setdefault(one.subject, _Card())
                card.facts = {k: one.attributes[k] for k in MAKER_KEYS if one.attributes.get(k) is not None}
                card.simulated = origin is Origin.SIMULATED

    def samples(self, samples: Sequence[Sample], *, origin: Origin = Origin.REAL) -> None:
        now = self._clock.monotonic()
        for sample in samples:
            if sample.family is Family.NODE and sample.subject == self._node_id:
                self._cards_expected = sample.values.get("cards_expected", self._cards_expected)
                self._cards_seen = sample.values.get("cards_seen")
            if sample.family is not Family.CARD:
                continue
            card = self._cards.setdefault(sample.subject, _Card(simulated=origin is Origin.SIMULATED))
            card.tick = self._tick
            card.fast = {k: v for k, v in sample.values.items() if k not in self._slow_keys}
            card.failed = dict(sample.failed)
            slow = {k: v for k, v in sample.values.items() if k in self._slow_keys}
            if slow:
                card.slow, card.slow_at = slow, now

    def events(self, events: Sequence[Event], *, origin: Origin = Origin.REAL) -> None:
        for event in events:
            if event.kind in ("port_down", "port_missing"):
                self._ports_down[event.subject] = event.message
            elif event.kind == "port_up":
                self._ports_down.pop(event.subject, None)

    def sources(self, reports: Sequence[SourceReport]) -> None:
        """The end of a tick: write. Raises OSError, which the sampler counts."""
        document = {
            "schema_version": SCHEMA_VERSION,
            "time": round(self._clock.wall(), 3),
            "monotonic": round(self._clock.monotonic(), 3),
            "boot_id": self._boot_id,
            "interval_seconds": self._fast_seconds,
            "node": self._node_id,
            "pid": os.getpid(),
            "sources": [
                {"name": r.name, "success": r.success, "message": r.message, "maker": r.children is not None}
                for r in reports
            ],
            "cards": [self._card(subject, card) for subject, card in self._cards.items()],
            "ports_down": dict(self._ports_down),
            "cards_expected": self._cards_expected,
            "cards_seen": self._cards_seen,
        }
        self._tick += 1
        text = json.dumps(document, separators=(",", ":"))
        aside = self._path.with_name(f".{FILE_NAME}.new")
        aside.write_text(text, encoding="utf-8")
        aside.replace(self._path)

    def close(self) -> None:
        """The agent ends: an old state must not look like a living one."""
        with contextlib.suppress(OSError):
            self._path.unlink()

    def _card(self, subject: str, card: _Card) -> dict[str, Any]:
        if card.tick != self._tick:
            word, reasons = verdict.UNKNOWN, ["no reading in the last tick"]
        else:
            fresh = self._clock.monotonic() - card.slow_at <= 3 * self._slow_seconds
            word, reasons = verdict.of_card({**(card.slow if fresh else {}), **card.fast}, card.failed)
        return {
            "card_id": subject,
            **card.facts,
            "verdict": word,
            "reasons": reasons,
            "simulated": card.simulated,
        }
