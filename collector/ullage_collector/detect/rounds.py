"""The part of ``serve`` that compares what is owned, said and run with what is seen, every few minutes.

Reading happens outside any write; a round that fails is told and tried again, and what was found before stays open.
Not here: the judgements (detect/inventory.py, detect/over_subscription.py, detect/fragmentation/, detect/versions.py,
detect/idle_watch.py, detect/stragglers/, detect/placement/, detect/sizing/, detect/uneven/, topology/domains.py).
"""

from __future__ import annotations

import hashlib
import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import duckdb

from ullage_collector.config import Config
from ullage_collector.detect import idle_finding, over_subscription
from ullage_collector.detect import inventory as inventory_kinds
from ullage_collector.detect import versions as version_kinds
from ullage_collector.detect.card_cost import with_cost
from ullage_collector.detect.findings import Found, keep
from ullage_collector.detect.fragmentation import finding as fragmentation
from ullage_collector.detect.fragmentation import reading as fragmentation_reading
from ullage_collector.detect.fragmentation.settings import rules_of as fragmentation_rules
from ullage_collector.detect.idle_rules import rules_of as idle_rules_of
from ullage_collector.detect.idle_watch import IdleWatch
from ullage_collector.detect.placement import finding as placement
from ullage_collector.detect.placement.settings import rules_of as placement_rules
from ullage_collector.detect.placement.watch import PlacementWatch
from ullage_collector.detect.sizing import finding as sizing
from ullage_collector.detect.sizing.settings import rules_of as sizing_rules
from ullage_collector.detect.sizing.watch import SizingWatch
from ullage_collector.detect.stragglers import finding as stragglers
from ullage_collector.detect.stragglers.settings import rules_of as straggler_rules_of
from ullage_collector.detect.stragglers.watch import StragglerWatch
from ullage_collector.detect.uneven import finding as uneven
from ullage_collector.detect.uneven.settings import rules_of as uneven_rules
from ullage_collector.detect.uneven.watch import UnevenWatch
from ullage_collector.fleet_now import FleetNow
from ullage_collector.inventory.life import rules_of as inventory_rules
from ullage_collector.inventory.reading import reconciled
from ullage_collector.sql import statements
from ullage_collector.states import rules_of as states_rules
from ullage_collector.topology import agents
from ullage_collector.topology.domains import Topology
from ullage_collector.topology.keep import keep as keep_topology
from ullage_collector.topology.reading import load, settings_of
from ullage_collector.topology.relation import Relation
from ullage_collector.version_reading import judged
from ullage_contract.errors import UllageError

if TYPE_CHECKING:
    from ullage_collector.store.store import Store

log = logging.getLogger(__name__)

EVERY_SECONDS: Final = 300.0
"""our choice: none of it changes faster, and a person acts on none of it within minutes."""
AGENTS: Final = "agents:facts"
TOPOLOGY_KINDS: Final = ("topology_conflict",)
COSTING: Final = ("owned_not_seen",)
"""Of what lists and agents disagree about, the kinds that cost money: cards that are paid for and not there."""


@dataclass(frozen=True, slots=True)
class Round:
    """What one round did. opened, ended, open: findings of all its kinds."""

    opened: int
    ended: int
    open: int


class Rounds:
    """One round after another on the store. Raises ConfigError at once when a rule file or setting is wrong."""

    def __init__(self, store: Callable[[], Store], config: Config) -> None:
        """store: the open store now; it may be opened anew meanwhile."""
        self._store = store
        self._inventory = inventory_rules(config.part("inventory"))
        self._versions = version_kinds.rules_of(config.part("versions"))
        self._fragmentation = fragmentation_rules(config.part("fragmentation"))
        self._precedence, _ = settings_of(config.part("topology"))
        states = states_rules(config.part("states"))
        self._life = states.life
        self._idle = IdleWatch(idle_rules_of(config.part("idle")), states)
        jobs = straggler_rules_of(config.part("stragglers"))
        self._stragglers = StragglerWatch(jobs)
        self._placement = PlacementWatch(placement_rules(config.part("placement")), jobs)
        self._sizing = SizingWatch(sizing_rules(config.part("sizing")), jobs)
        self._uneven = UnevenWatch(uneven_rules(config.part("uneven")))
        self._since_us = round(store().clock.wall() * 1e6)
        self._facts_said: dict[str, str] = {}

    def run(self, stop: threading.Event) -> None:
        """Rounds until stopped. The first comes after one interval: agents need a moment to be heard after a start."""
        while not stop.wait(EVERY_SECONDS):
            done = self.round()
            if done.opened or done.ended:
                log.info("%d findings opened, %d ended, %d are open", done.opened, done.ended, done.open)

    def round(self) -> Round:
        """Look once and keep the findings. Raises what the store raises; then nothing is changed."""
        store = self._store()
        now_us = round(store.clock.wall() * 1e6)
        self._hear_agents(store, now_us)
        cursor = store.cursor()
        try:
            compared, _ = reconciled(cursor, self._inventory, now_us, self._since_us)
            odd = judged(cursor, self._versions, now_us)
            topology = load(cursor, now_us, now_us, self._precedence)
            conflicts = conflicts_of(topology)
            handed_out = over_subscription.find(over_subscription.now_held(cursor, now_us))
            compared_found = [
                *with_cost(cursor, [f for f in compared.found if f.kind in COSTING], self._life, now_us),
                *(f for f in compared.found if f.kind not in COSTING),
            ]
            handed_out = with_cost(cursor, handed_out, self._life, now_us)
            fleet = FleetNow(store.cursor, store.clock, keep_seconds=0)
            free = fragmentation_reading.read(cursor, fleet, topology, self._fragmentation)
            fragmented = fragmentation.find(free, self._fragmentation, now_us)
            idle = self._now("idle", self._idle.look, cursor, now_us)
            held_up = self._now("straggler", self._stragglers.look, cursor, now_us)
            scattered = self._now(
                "placement", lambda c, at: self._placement.look(c, at, topology, free), cursor, now_us
            )
            sized = self._now("sizing", self._sizing.look, cursor, now_us)
            waiting = self._now("uneven use", self._uneven.look, cursor, now_us)
        finally:
            cursor.close()
        with store.write() as writer:
            kept = (
                keep(
                    writer,
                    inventory_kinds.KINDS,
                    compared_found,
                    now_us,
                    unjudged=frozenset(compared.unjudged),
                ),
                keep(writer, version_kinds.KINDS, odd, now_us),
                keep(writer, TOPOLOGY_KINDS, conflicts, now_us),
                keep(writer, [over_subscription.KIND], handed_out, now_us),
                keep(writer, [fragmentation.KIND], fragmented, now_us),
                *(
                    keep(writer, kinds, seen[0], now_us, unjudged=seen[1])
                    for kinds, seen in (
                        ([idle_finding.KIND], idle),
                        (stragglers.KINDS, held_up),
                        ([placement.KIND], scattered),
                        ([uneven.KIND], waiting),
                        (sizing.KINDS, sized),
                    )
                    if seen is not None
                ),
            )
        return Round(*(sum(getattr(k, name) for k in kept) for name in ("opened", "ended", "open")))

    def _now(
        self,
        what: str,
        look: Callable[[duckdb.DuckDBPyConnection, int], tuple[list[Found], set[str]]],
        cursor: duckdb.DuckDBPyConnection,
        now_us: int,
    ) -> tuple[list[Found], set[str]] | None:
        """What a watch over minutes says; None where it failed, whatever the reason: the rest goes on without it."""
        try:
            return look(cursor, now_us)
        except (UllageError, duckdb.Error) as e:
            log.error("%s findings stay as they are: %s", what, e)
        except Exception:
            log.exception("%s findings stay as they are", what)
        return None

    def _hear_agents(self, store: Store, now_us: int) -> None:
        """Keep what the agents' facts say of their nodes' insides; nothing is compared when they say the same again."""
        cursor = store.cursor()
        try:
            stated: dict[str, list[agents.Stated]] = {}
            for cluster, *row in cursor.execute(statements("topology")["stated"]).fetchall():
                stated.setdefault(cluster, []).append(agents.Stated(*row))
        finally:
            cursor.close()
        for cluster, items in stated.items():
            relations = list(agents.relations(items))
            mark = _digest(relations)
            if self._facts_said.get(cluster) == mark:
                continue
            with store.write() as writer:
                keep_topology(writer, AGENTS, cluster, relations, now_us, now_us)
            self._facts_said[cluster] = mark


def conflicts_of(topology: Topology) -> list[Found]:
    """A finding for every subject that sources put in two places."""
    return [
        Found(
            "topology_conflict",
            conflict.family if conflict.family in ("card", "node", "port") else "fleet",
            conflict.subject,
            conflict.since_us,
            {
                "cluster": conflict.cluster,
                "relation": conflict.relation,
                "said": [{"source": source, "target": target} for source, target in conflict.said],
                "believed": conflict.believed,
            },
            key=f"{conflict.cluster} {conflict.family} {conflict.relation}",
            action="correct_one_source",
        )
        for conflict in topology.conflicts()
    ]


def _digest(relations: list[Relation]) -> str:
    total = hashlib.sha256()
    for key in sorted(str(relation.key()) for relation in relations):
        total.update(key.encode("utf-8", "replace"))
    return total.hexdigest()
