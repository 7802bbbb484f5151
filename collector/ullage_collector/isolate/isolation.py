"""Isolate and release: plan, show what else it takes, act only when asked, and write down every step.

The row of an isolation is written before the first call and ended again when a call fails, so that a
crash in between leaves a row that says what may stand in the scheduler, never the other way round.
"""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from ullage_collector import audit
from ullage_collector.audit import AuditRow, naive_utc
from ullage_collector.isolate.actuator import (
    MARK,
    Actuator,
    Plan,
    Run,
    Target,
    execute,
    load,
    run_program,
)
from ullage_collector.isolate.choice import Choice, names
from ullage_collector.isolate.choice_defaults import SLURM, by_scheduler
from ullage_collector.isolate.freeze import Freeze
from ullage_collector.isolate.places import Places
from ullage_collector.sql import statements
from ullage_contract.clock import Clock
from ullage_contract.errors import ActuatorError, BadInput, ConfigError

if TYPE_CHECKING:
    import duckdb

    from ullage_collector.config import Config

log = logging.getLogger(__name__)

MAX_REASON_CHARACTERS = 200  # our choice: because Slurm shows a reason on one line of sinfo


@dataclass(frozen=True, slots=True)
class AlsoTaken:
    """What a whole-node call takes besides the card: other cards of the node and who holds them."""

    cards: tuple[str, ...]
    workloads: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What would be done (executed False) or was done."""

    action: str
    subject: str
    node_id: str
    actuator: str
    executed: bool
    calls: tuple[str, ...]
    undo: tuple[str, ...]
    also: AlsoTaken
    notes: tuple[str, ...]
    results: tuple[str, ...] = ()
    isolation_id: int | None = None
    incident_id: int | None = None

    def to_json(self) -> dict[str, Any]:
        return {
            "schema_version": 1,
            "action": self.action,
            "subject": self.subject,
            "node": self.node_id,
            "actuator": self.actuator,
            "executed": self.executed,
            "calls": list(self.calls),
            "undo": list(self.undo),
            "also_takes": {"cards": list(self.also.cards), "workloads": list(self.also.workloads)},
            "notes": list(self.notes),
            "results": list(self.results),
            "isolation": self.isolation_id,
            "incident": self.incident_id,
        }


class Isolation:
    """Isolates and releases cards and nodes. One instance a store; calls are serialised.

    connect: a cursor of the open store. actuators: by name. by_cluster: cluster_id -> actuator name or names, in the
    order they are tried; default_actuator is for clusters not named. freeze: while it says so nothing is
    isolated; None: nobody can freeze. places: a lock a node, shared with whoever else calls actuators.
    on_change: told after something was placed or released.
    """

    def __init__(
        self,
        connect: Callable[[], duckdb.DuckDBPyConnection],
        actuators: Mapping[str, Actuator],
        clock: Clock,
        *,
        default_actuator: str | Sequence[str] = "slurm-node",
        by_cluster: Mapping[str, str | Sequence[str]] | None = None,
        run: Run = run_program,
        freeze: Freeze | None = None,
        places: Places | None = None,
        on_change: Callable[[], None] = lambda: None,
    ) -> None:
        self._connect = connect
        self._clock = clock
        self.choice = Choice(
            actuators,
            _several(default_actuator),
            {cluster: _several(found) for cluster, found in (by_cluster or {}).items()},
        )
        self._run = run
        self._freeze = freeze
        self._places = places or Places()
        self.on_change = on_change
        self._lock = threading.Lock()

    def isolate(
        self,
        subject: str,
        *,
        reason: str,
        actor: str,
        execute_calls: bool = False,
        until: float | None = None,
        actuator: str | None = None,
        may_take_node: bool = False,
    ) -> Outcome:
        """Keep new work off a card (or node); a dry run unless ``execute_calls``.

        Without ``actuator`` the cluster's are tried in order, the card's first. Where those refuse, what takes the whole node is
        shown; it is called only where ``may_take_node`` or its name says that it is meant.

        subject: card_id, UUID, serial, NODE/INDEX, NODE/PCI address, or a node; NODE may be CLUSTER/NODE. until: epoch seconds of expiry.
        Raises BadInput for an unknown or ambiguous subject, an empty reason, or one that is isolated already;
        ActuatorError when the scheduler refuses.
        """
        reason = _checked_reason(reason)
        place = self._place(subject)
        with self._places.lock(place), self._lock, self._connect() as connection:
            where = self._find(connection, subject)
            standing = connection.execute(statements("isolation")["standing"], where.key).fetchone()
            if standing is not None:
                raise BadInput(
                    f"{where.subject} is isolated already (isolation {standing[0]}: {standing[3]}); "
                    "release it first"
                )
            incident = connection.execute(statements("incidents")["incident_of"], where.key).fetchone()
            incident_id = int(incident[0]) if incident else None
            target = where.target(reason)
            plan, refused = self._planned(actuator, where, target)
            also = self._also(connection, where) if plan.whole_node else AlsoTaken((), ())
            outcome = _outcome("isolate", where, plan, also, incident_id=incident_id)
            if not execute_calls:
                self._audit(connection, outcome, plan, actor, reason, "dry run: nothing was called")
                return outcome
            if refused and plan.whole_node and where.family == "card" and not may_take_node:
                raise ActuatorError(
                    f"{'; '.join(refused)}. {plan.actuator} would take the whole node: name it if that is meant (--actuator)"
                )
            if self._freeze is not None and self._freeze.frozen:
                word = self._freeze.word
                self._audit(connection, outcome, plan, actor, reason, "refused: frozen")
                raise BadInput(
                    f"everything is frozen by {word.actor if word else 'somebody'} "
                    f"({word.reason if word else 'no reason'}): unfreeze first; releasing is allowed"
                )
            connection.execute("BEGIN")
            (isolation_id,) = connection.execute(statements("isolation")["next_isolation"]).fetchone() or (0,)
            connection.execute(
                statements("isolation")["insert_isolation"],
                [
                    isolation_id,
                    where.family,
                    where.subject,
                    where.cluster_id,
                    where.node_id,
                    incident_id,
                    reason,
                    plan.actuator,
                    actor,
                    naive_utc(self._clock.wall()),
                    naive_utc(until) if until is not None else None,
                    json.dumps({"marker": target.marker, "calls": [c.to_json() for c in plan.calls]}),
                    json.dumps([c.to_json() for c in plan.undo]),
                ],
            )
            self._audit(connection, outcome, plan, actor, reason, "about to be called")
            connection.execute("COMMIT")
            try:
                results = execute(plan, run=self._run)
            except ActuatorError as e:
                connection.execute("BEGIN")
                connection.execute(
                    statements("isolation")["end_isolation"],
                    [naive_utc(self._clock.wall()), "failed", isolation_id],
                )
                self._audit(connection, outcome, plan, actor, reason, f"failed: {e}")
                connection.execute("COMMIT")
                raise
            self._audit(connection, outcome, plan, actor, reason, "; ".join(results) or "nothing to call")
            log.info("isolated %s by %s: %s", where.subject, actor, reason)
            self.on_change()
            return _outcome(
                "isolate",
                where,
                plan,
                also,
                executed=True,
                results=tuple(results),
                isolation_id=isolation_id,
                incident_id=incident_id,
            )

    def release(self, subject: str, *, reason: str, actor: str, execute_calls: bool = False) -> Outcome:
        """Give a card (or node) back; a dry run unless ``execute_calls``. Closes its open incidents.

        What others placed is left alone. A whole-node call is only undone when no other card of the node is
        isolated by one. Raises BadInput when the subject is not isolated by us, ActuatorError as ``isolate``.
        """
        reason = _checked_reason(reason)
        place = self._place(subject)
        with self._places.lock(place), self._lock, self._connect() as connection:
            where = self._find(connection, subject)
            row = connection.execute(statements("isolation")["standing"], where.key).fetchone()
            if row is None:
                raise BadInput(f"{where.subject} is not isolated by Ullage: nothing to release")
            isolation_id, actuator_name, incident_id = row[:3]
            running = connection.execute(statements("follow")["runs_on"], [isolation_id]).fetchone()
            if running is not None:
                raise BadInput(f"a {running[0]} of {where.subject} runs now: release it when that has ended")
            chosen = self.choice.named(actuator_name)
            others = connection.execute(
                statements("isolation")["standing_of_node"], [actuator_name, isolation_id, where.node_key]
            ).fetchall()
            plan = chosen.plan_release(where.target(reason))
            if plan.whole_node and others:
                plan = Plan(
                    actuator=plan.actuator,
                    calls=(),
                    undo=(),
                    whole_node=True,
                    notes=(f"the node stays isolated for {', '.join(str(o[1]) for o in others)}",),
                )
            outcome = _outcome("release", where, plan, AlsoTaken((), ()), incident_id=incident_id)
            if not execute_calls:
                self._audit(connection, outcome, plan, actor, reason, "dry run: nothing was called")
                return outcome
            try:
                results = execute(plan, run=self._run)
            except ActuatorError as e:
                self._audit(connection, outcome, plan, actor, reason, f"failed: {e}")
                raise
            now = naive_utc(self._clock.wall())
            connection.execute("BEGIN")
            connection.execute(statements("isolation")["end_isolation"], [now, actor, isolation_id])
            connection.execute(
                statements("incidents")["close_incidents_of"],
                {
                    "now": now,
                    "by": f"released by {actor}",
                    "family": where.family,
                    "subject": where.subject,
                    "cluster": where.cluster_id,
                    "incident": incident_id,
                    "isolation": isolation_id,
                },
            )
            self._audit(connection, outcome, plan, actor, reason, "; ".join(results) or "nothing to call")
            connection.execute("COMMIT")
            log.info("released %s by %s: %s", where.subject, actor, reason)
            self.on_change()
            return _outcome(
                "release",
                where,
                plan,
                AlsoTaken((), ()),
                executed=True,
                results=tuple(results),
                isolation_id=int(isolation_id),
                incident_id=incident_id,
            )

    def propose(self, connection: duckdb.DuckDBPyConnection, subject: str, *, reason: str) -> dict[str, Any]:
        """The exact calls that would isolate a subject, for an incident's page. Plans only; never raises."""
        try:
            where = self._find(connection, subject)
            plan, refused = self._planned(None, where, where.target(reason[:MAX_REASON_CHARACTERS]))
            also = self._also(connection, where) if plan.whole_node else AlsoTaken((), ())
            named = f" --actuator {plan.actuator}" if refused else ""
            command = (
                f"ullage-collector isolate {where.subject} --reason {json.dumps(reason)}{named} --execute"
            )
            return {**_outcome("isolate", where, plan, also).to_json(), "command": command}
        except (BadInput, ActuatorError) as e:
            return {
                "schema_version": 1,
                "action": "isolate",
                "subject": subject,
                "calls": [],
                "error": str(e),
            }

    def _planned(self, name: str | None, where: _Where, target: Target) -> tuple[Plan, list[str]]:
        """The plan of the named actuator, else of the cluster's first that can; and what those before it said.

        Raises BadInput for one that is not installed, ActuatorError where none can.
        """
        if name is not None:
            return self.choice.named(name).plan_isolate(target), []
        refused: list[str] = []
        for actuator in self.choice.of(where.cluster_id, where.family):
            try:
                plan = actuator.plan_isolate(target)
            except ActuatorError as e:
                refused.append(f"{actuator.name}: {e}")
                continue
            return replace(plan, notes=(*plan.notes, *(f"not by {said}" for said in refused))), refused
        raise ActuatorError("; ".join(refused))

    def _place(self, subject: str) -> tuple[str, str]:
        with self._connect() as connection:
            where = self._find(connection, subject)
        return (where.cluster_id, where.node_id)

    def _find(self, connection: duckdb.DuckDBPyConnection, subject: str) -> _Where:
        rows = connection.execute(statements("isolation")["card"], [subject]).fetchall()
        if len({row[0] for row in rows}) > 1:
            names = ", ".join(sorted({str(row[0]) for row in rows})[:5])
            raise BadInput(f"{subject!r} names several cards ({names}): give the card_id")
        if rows:
            card_id, cluster_id, node_id, vendor, _, minor, pci, _, node_key = rows[0]
            return _Where("card", card_id, cluster_id, node_id, node_key, vendor, minor, pci)
        nodes = connection.execute(statements("isolation")["node"], [subject]).fetchall()
        if len(nodes) > 1:
            raise BadInput(f"node {subject!r} is in several clusters: give CLUSTER/NODE")
        if nodes:
            cluster_id, node_id, node_key = nodes[0]
            return _Where("node", node_id, cluster_id, node_id, node_key, None, None, None)
        raise BadInput(
            f"{subject!r} is no card or node that Ullage knows: give a card_id, UUID, serial, NODE/INDEX, "
            "NODE/PCI-address or a node"
        )

    def _also(self, connection: duckdb.DuckDBPyConnection, where: _Where) -> AlsoTaken:
        sql = statements("isolation")
        cards = [
            str(card)
            for card, _ in connection.execute(sql["cards_of_node"], [where.node_key]).fetchall()
            if card != where.subject
        ]
        holders = connection.execute(
            sql["holders"], [where.node_key, naive_utc(self._clock.wall())]
        ).fetchall()
        return AlsoTaken(tuple(cards), tuple(sorted({str(row[0]) for row in holders})))

    def _audit(
        self,
        connection: duckdb.DuckDBPyConnection,
        outcome: Outcome,
        plan: Plan,
        actor: str,
        reason: str,
        result: str,
    ) -> None:
        audit.write(
            connection,
            AuditRow(
                at=self._clock.wall(),
                actor=actor,
                action=outcome.action,
                subject=outcome.subject,
                reason=reason,
                result=result,
                evidence={"incident": outcome.incident_id, "also_takes": outcome.to_json()["also_takes"]},
                command=[call.to_json() for call in plan.calls],
                undo=[call.to_json() for call in plan.undo],
            ),
        )


def from_config(
    config: Config,
    connect: Callable[[], duckdb.DuckDBPyConnection],
    clock: Clock,
    *,
    freeze: Freeze | None = None,
    places: Places | None = None,
) -> Isolation:
    """From collector.toml: [isolation] actuator, [isolation.clusters] cluster = actuator, [isolation.<actuator>].

    A cluster that neither names has its own scheduler's (choice_defaults.py).

    Raises ConfigError for a table of an actuator that is not installed. [isolation.policy] is policy_settings.py's,
    [isolation.follow] follow_settings.py's.
    """
    table = dict(config.part("isolation"))
    for own in ("policy", "follow"):
        table.pop(own, None)
    file = str(config.path or "collector.toml")
    clusters = {} if "actuator" in table else by_scheduler(config.part("allocation"), file)
    default = names(table.pop("actuator", list(SLURM)), "[isolation] actuator")
    clusters |= {
        str(cluster): names(found, f"[isolation.clusters] {cluster}")
        for cluster, found in dict(table.pop("clusters", {})).items()
    }
    for key, value in table.items():
        if not isinstance(value, dict):
            raise ConfigError(
                f"[isolation] {key}: no such key; known are actuator, clusters, policy and a table an actuator"
            )
    return Isolation(
        connect,
        load(table, connect),
        clock,
        default_actuator=default,
        by_cluster=clusters,
        freeze=freeze,
        places=places,
    )


def _several(found: str | Sequence[str]) -> tuple[str, ...]:
    return (found,) if isinstance(found, str) else tuple(found)


@dataclass(frozen=True, slots=True)
class _Where:
    family: str
    subject: str
    cluster_id: str
    node_id: str
    node_key: int
    vendor: str | None
    minor: int | None
    pci_address: str | None

    @property
    def key(self) -> list[str]:
        """A node's name is its cluster's alone."""
        return [self.family, self.subject, self.cluster_id]

    def target(self, reason: str) -> Target:
        return Target(
            family=self.family,
            subject=self.subject,
            cluster_id=self.cluster_id,
            node_id=self.node_id,
            vendor=self.vendor,
            minor=self.minor,
            pci_address=self.pci_address,
            reason=reason,
            marker=f"{MARK}{self.subject}",
        )


def _outcome(
    action: str,
    where: _Where,
    plan: Plan,
    also: AlsoTaken,
    *,
    executed: bool = False,
    results: tuple[str, ...] = (),
    isolation_id: int | None = None,
    incident_id: int | None = None,
) -> Outcome:
    return Outcome(
        action=action,
        subject=where.subject,
        node_id=where.node_id,
        actuator=plan.actuator,
        executed=executed,
        calls=tuple(str(call) for call in plan.calls),
        undo=tuple(str(call) for call in plan.undo),
        also=also,
        notes=plan.notes,
        results=results,
        isolation_id=isolation_id,
        incident_id=incident_id,
    )


def _checked_reason(reason: str) -> str:
    plain = " ".join("".join(ch if ch.isprintable() else " " for ch in reason).split())
    if not plain:
        raise BadInput("give a reason: who reads the audit later will want to know why")
    return plain[:MAX_REASON_CHARACTERS]
