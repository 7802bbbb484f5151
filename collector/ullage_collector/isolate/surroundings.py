"""What the policy has to know of the fleet around a target: its cards, its racks, who else keeps work off it.

Read from the store and, by ``survey``, from the schedulers. ``survey`` may wait for a scheduler and is the
lifecycle's; everything else answers at once from what was read last.
"""

from __future__ import annotations

import logging
import threading
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Protocol

from ullage_collector.audit import naive_utc
from ullage_collector.isolate.actuator import MARK, Labeller, Surveyor, Target
from ullage_collector.isolate.choice import Choice
from ullage_collector.isolate.intent import Intent
from ullage_collector.sql import statements
from ullage_contract.clock import Clock
from ullage_contract.errors import UllageError

if TYPE_CHECKING:
    import duckdb

log = logging.getLogger(__name__)

KEEP_SECONDS: Final = (
    10.0  # our choice: because cards come and go in hours; a burst must not read them each time
)
SURVEY_SECONDS: Final = 30.0  # our choice: because people drain nodes by hand, in minutes

Place = tuple[str, str]
"""Cluster and node."""


class Windows(Protocol):
    """Who knows when a node is being worked on."""

    def covers(self, cluster_id: str, node_id: str, at: float) -> str | None:
        """Why a node is in maintenance at an instant (seconds since the epoch); None: it is not."""
        ...


class NoWindows:
    """Nobody plans maintenance here."""

    def covers(self, cluster_id: str, node_id: str, at: float) -> str | None:
        return None


@dataclass(frozen=True, slots=True)
class Fleet:
    """cards: of each node. resting: cards whose life keeps work off them. domains: "rack:r1" of each node.

    others: nodes that somebody else keeps work off, by place, with why. unheard: clusters whose scheduler was
    asked and did not answer: what others did there is not known.
    """

    cards: Mapping[Place, frozenset[str]] = field(default_factory=dict)
    resting: frozenset[str] = frozenset()
    domains: Mapping[Place, frozenset[str]] = field(default_factory=dict)
    others: Mapping[Place, str] = field(default_factory=dict)
    unheard: frozenset[str] = frozenset()


class Surroundings:
    """connect: a cursor of the open store."""

    def __init__(
        self,
        connect: Callable[[], duckdb.DuckDBPyConnection],
        clock: Clock,
        choice: Choice,
        windows: Windows | None = None,
    ) -> None:
        self._connect = connect
        self._clock = clock
        self._choice = choice
        self._windows = windows or NoWindows()
        self._lock = threading.Lock()
        self._read_at = float("-inf")
        self._surveyed_at = float("-inf")
        self._fleet = Fleet()
        self._others: dict[Place, str] = {}
        self._unheard: frozenset[str] = frozenset()
        self._labels: dict[Place, Mapping[str, str]] = {}

    def fleet(self) -> Fleet:
        """The fleet as read at most some seconds ago."""
        with self._lock:
            now = self._clock.monotonic()
            if now - self._read_at >= KEEP_SECONDS:
                self._fleet = self._read()
                self._read_at = now
            return self._fleet

    def labels(self, cluster_id: str, node_id: str) -> Mapping[str, str]:
        """The scheduler's words on a node, as the last survey saw them; empty: none, or not asked yet."""
        return self._labels.get((cluster_id, node_id), {})

    def maintenance(self, cluster_id: str, node_id: str) -> str | None:
        """Why a node is being worked on now; None: it is not."""
        return self._windows.covers(cluster_id, node_id, self._clock.wall())

    def target(self, intent: Intent) -> Target | None:
        """What an actuator is told; None: the store does not know the card yet."""
        vendor = minor = pci = None
        node_id = intent.node_id
        if intent.family == "card":
            with self._connect() as cursor:
                row = cursor.execute(statements("policy")["target"], [intent.subject]).fetchone()
            if row is None:
                return None
            _, node_id, vendor, minor, pci = row
            if node_id != intent.node_id:  # the card moved: what stood, stood on the old node
                node_id, minor, pci = intent.node_id, None, None
        return Target(
            family=intent.family,
            subject=intent.subject,
            cluster_id=intent.cluster_id,
            node_id=node_id,
            vendor=vendor,
            minor=minor,
            pci_address=pci,
            reason=intent.reason,
            marker=f"{MARK}{intent.subject}",
            incident_id=intent.incident_id,
            drain="finish" if intent.drain == "finish" else "notify",
        )

    def held(self, intent: Intent) -> bool:
        """Whether work holds the card, or any card of the node, now, as the allocations say."""
        parameters: dict[str, Any] = {
            "now": naive_utc(self._clock.wall()),
            "cluster": intent.cluster_id,
            "node": intent.node_id,
            "card": None if intent.takes_node else intent.subject,
        }
        with self._connect() as cursor:
            row = cursor.execute(statements("policy")["held"], parameters).fetchone()
        return bool(row and row[0])

    def survey(self) -> None:
        """Ask every cluster's scheduler what others keep work off, at most every SURVEY_SECONDS. Never raises."""
        now = self._clock.monotonic()
        if now - self._surveyed_at < SURVEY_SECONDS:
            return
        self._surveyed_at = now
        others: dict[Place, str] = {}
        unheard = set()
        labels: dict[Place, Mapping[str, str]] = {}
        for cluster_id in sorted({cluster for cluster, _ in self.fleet().cards}):
            try:
                actuators = self._choice.looks(cluster_id)
            except UllageError as e:
                log.warning("survey of %s: %s", cluster_id, e)
                continue
            for actuator in actuators:
                if isinstance(actuator, Surveyor):
                    found = _asked(actuator.taken_by_others, cluster_id)
                    if found is None:
                        unheard.add(cluster_id)
                    else:
                        others.update({(cluster_id, node): str(why) for node, why in found.items()})
                if isinstance(actuator, Labeller):
                    words = _asked(actuator.node_labels, cluster_id)
                    labels.update({(cluster_id, node): found for node, found in (words or {}).items()})
        with self._lock:
            for place, known in self._labels.items():  # who does not answer has not taken its words back
                if place[0] in unheard:
                    labels.setdefault(place, known)
            self._others, self._unheard, self._labels = others, frozenset(unheard), labels
            self._read_at = float("-inf")

    def _read(self) -> Fleet:
        now = {"now": naive_utc(self._clock.wall())}
        cards: dict[Place, set[str]] = defaultdict(set)
        resting = set()
        domains: dict[Place, set[str]] = defaultdict(set)
        with self._connect() as cursor:
            for cluster, node, card, rests in cursor.execute(
                statements("policy")["fleet_cards"], now
            ).fetchall():
                cards[(cluster, node)].add(card)
                if rests:
                    resting.add(card)
            for cluster, node, relation, target in cursor.execute(
                statements("policy")["node_domains"], now
            ).fetchall():
                domains[(cluster, node)].add(f"{relation}:{target}")
        return Fleet(
            cards={place: frozenset(found) for place, found in cards.items()},
            resting=frozenset(resting),
            domains={place: frozenset(found) for place, found in domains.items()},
            others=dict(self._others),
            unheard=self._unheard,
        )


def _asked(ask: Callable[[str], Any], cluster_id: str) -> Any:
    """What it answers; None when it fails: one scheduler's trouble stops no other's survey."""
    try:
        return ask(cluster_id)
    except Exception:
        log.exception("survey of %s failed", cluster_id)
        return None
