"""What a change of evidence does to the incidents: one opens, worsens, ends, is part of another or of a fleet's.

Writes by the connection of the caller's transaction; the verdicts wait until it is committed. Not here: what is a fault
(detect/fault_evaluator.py), which incidents belong together (detect/correlation.py), reading and committing
(fault_engine.py).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Final

from ullage_collector.detect import correlation
from ullage_collector.detect.correlation import FLEET, Fleet, parent_of
from ullage_collector.detect.fault_observation import Change
from ullage_collector.detect.fault_settings import FaultSettings
from ullage_collector.incident_book import IncidentBook, Open, key_of, opening
from ullage_collector.incident_proposals import Proposals
from ullage_collector.isolate.verdict import Action, Follow, Mode, Turn, Verdict
from ullage_collector.topology.domains import Topology
from ullage_contract.clock import Clock
from ullage_contract.event import Event, Severity

if TYPE_CHECKING:
    import duckdb

_MODES: Final = tuple(Mode)


class Turns:
    """One thread's alone. book: the open incidents; read anew, it is put in the old one's place.

    topology: what is known of racks and switches now, read by a connection of the store.
    """

    def __init__(
        self,
        settings: FaultSettings,
        proposals: Proposals,
        clock: Clock,
        topology: Callable[[duckdb.DuckDBPyConnection], Topology],
    ) -> None:
        self.book = IncidentBook(clock)
        self._settings = settings
        self._proposals = proposals
        self._clock = clock
        self._topology = topology
        self._fleet = Fleet(settings.fleet_nodes, settings.fleet_within_us)
        self._verdicts: list[tuple[Verdict, Open]] = []

    def apply(
        self, connection: duckdb.DuckDBPyConnection, changes: Iterable[Change], event: Event | None = None
    ) -> None:
        """Write what changed. event: the one that changed it; its message is the incident's."""
        for change in changes:
            one = self.book.get(key_of(change.rule.name, change.family, change.cluster, change.subject))
            message = event.message if event is not None else change.rule.says or change.reason
            if change.turn is Turn.OPENED and one is None:
                self._opened(connection, change, message)
            elif one is None:
                continue
            elif change.turn is Turn.ENDED:
                self._ended(connection, one, change, message)
            elif change.turn is None:
                self.book.add(connection, one, dict(change.evidence), change.first_us)
            else:
                was_fresh = one.fresh
                self.book.add(connection, one, dict(change.evidence), change.first_us)
                self.book.worsen(connection, one, change)
                self._correlate(connection, one, new=not was_fresh and one.fresh)
                if one.parent is None or one.told:
                    self.tell(one, Turn.WORSENED if one.told else Turn.OPENED, fresh=change.fresh)

    def _opened(self, connection: duckdb.DuckDBPyConnection, change: Change, message: str) -> None:
        one = self.book.open(connection, opening(change, change.mode), money=change.money, message=message)
        self._correlate(connection, one, new=change.fresh)
        parent = None if one.parent is None else self.book.by_id(one.parent)
        if parent is None or parent.family == FLEET:
            self.tell(one, Turn.OPENED)

    def _ended(self, connection: duckdb.DuckDBPyConnection, one: Open, change: Change, message: str) -> None:
        children = self.book.children(one.incident_id)
        self.book.close(connection, one, change.at_us, change.ended_by or "its condition", message)
        self._proposals.forget(one.incident_id)
        self.free(connection, children)
        if one.told:
            self.tell(one, Turn.ENDED, fresh=True)
        self.end_fleet(connection, one, change.at_us)

    def free(self, connection: duckdb.DuckDBPyConnection, children: list[Open]) -> None:
        """What was part of an incident that is over stands by itself again: a partial recovery is none."""
        for child in children:
            self.book.part_of(connection, child, None)
        for child in children:
            parent = parent_of(
                child.known, [other.known for other in self.book.of_node(child.cluster, child.node)]
            )
            if parent is not None:
                self.book.part_of(connection, child, parent)
            elif not child.told:
                self.tell(child, Turn.OPENED)

    def _correlate(self, connection: duckdb.DuckDBPyConnection, one: Open, *, new: bool) -> None:
        """Find what it is part of, and what is part of it. new: it is freshly open."""
        if new and one.action is not Action.OBSERVE and one.mode is not Mode.SHADOW and one.family != FLEET:
            wave = self._fleet.opened(one.cause, one.cluster, one.node, one.incident_id, one.at_us)
            if wave is not None:
                self._hold_fleet(connection, wave)
                return
        around = self.book.of_node(one.cluster, one.node)
        if one.parent is None:
            parent = parent_of(one.known, [other.known for other in around])
            if parent is not None:
                self.book.part_of(connection, one, parent)
        if one.action.node:
            for other in around:
                if other.parent is None and parent_of(other.known, [one.known]) is not None:
                    self.book.part_of(connection, other, one.incident_id)

    def _hold_fleet(self, connection: duckdb.DuckDBPyConnection, wave: correlation.Fleetwide) -> None:
        """The same on several nodes: one incident that a person is asked about, and none of them acts by itself."""
        members = [one for number in wave.incidents if (one := self.book.by_id(number)) is not None]
        first = members[0]
        fleet = self.book.by_id(first.parent) if first.parent is not None else None
        if fleet is None or fleet.family != FLEET:
            fleet = self._open_fleet(connection, wave, members)
        for one in members:
            if one.parent != fleet.incident_id:
                self.book.part_of(connection, one, fleet.incident_id)
            if _MODES.index(one.mode) > _MODES.index(Mode.ADVISE):
                self.book.limit(connection, one, Mode.ADVISE)
                if one.told:
                    self.tell(one, Turn.WORSENED)
        self.book.add(
            connection,
            fleet,
            {
                "nodes": [f"{cluster}/{node}" for cluster, node in wave.nodes],
                "incidents": list(wave.incidents),
            },
            fleet.first_us,
        )

    def _open_fleet(
        self, connection: duckdb.DuckDBPyConnection, wave: correlation.Fleetwide, members: list[Open]
    ) -> Open:
        shared = correlation.shared_domain(self._topology(connection), wave.nodes)
        where = f"{shared[0]} {shared[1]}" if shared else "nodes that share nothing known"
        reason = f"{wave.rule} on {len(wave.nodes)} nodes within {self._settings.fleet_within_us / 6e7:g} min: {where}"
        fleet = Open(
            incident_id=0,
            cause=f"fleet_{wave.rule}",
            family=FLEET,
            subject=f"{shared[0]}:{shared[1]}" if shared else wave.rule,
            cluster=members[0].cluster,
            node=members[0].node,
            vendor=members[0].vendor,
            code=members[0].code,
            severity=Severity.CRITICAL,
            action=Action.OBSERVE,
            follow=Follow.NONE,
            mode=Mode.ADVISE,
            fresh=True,
            first_us=min(one.first_us for one in members),
            at_us=max(one.at_us for one in members),
            reason=reason,
            origin=members[0].origin,
        )
        known = self.book.get(fleet.key)
        if known is not None:
            return known
        self.book.open(connection, fleet, money=False, message=reason)
        self.tell(fleet, Turn.OPENED)
        return fleet

    def end_fleet(self, connection: duckdb.DuckDBPyConnection, one: Open, at_us: int) -> None:
        """A fleet's incident is over with the last of its members."""
        fleet = self.book.by_id(one.parent) if one.parent is not None else None
        if fleet is None or fleet.family != FLEET or self.book.children(fleet.incident_id):
            return
        self.book.close(connection, fleet, at_us, "the last of its incidents")
        self._fleet.ended(one.cause)
        self.tell(fleet, Turn.ENDED, fresh=True)

    def tell(self, one: Open, turn: Turn, *, fresh: bool | None = None) -> None:
        """Keep a verdict for when the transaction is committed."""
        one.told = True
        self._verdicts.append((one.verdict(turn, self._clock.wall(), {}, fresh=fresh), one))

    def take_verdicts(self) -> list[tuple[Verdict, Open]]:
        """Those not given yet, each with its incident; they are the caller's now."""
        verdicts, self._verdicts = self._verdicts, []
        return verdicts
