"""Incidents as rows: opened, added to, worsened, closed; with their audit. What is open is kept in memory too.

Every method writes by the connection of the caller's transaction. Not here: what is a fault, and what is done about it.
"""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from ullage_collector import audit
from ullage_collector.audit import AuditRow, naive_utc
from ullage_collector.detect.correlation import Known
from ullage_collector.isolate.verdict import Action, Follow, Mode, Turn, Verdict
from ullage_collector.sql import statements
from ullage_contract.clock import Clock
from ullage_contract.event import Severity

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import duckdb

    from ullage_collector.detect.fault_observation import Change

log = logging.getLogger(__name__)

MAX_EVIDENCE: Final = 50  # our choice: because fifty events say what a thousand would

Key = tuple[str, str, str, str]
"""cause, family, cluster of a node, subject."""


@dataclass(slots=True)
class Open:
    """An open incident. told: a verdict of its opening was given. at_us: when it opened, by its evidence's clock."""

    incident_id: int
    cause: str
    family: str
    subject: str
    cluster: str
    node: str
    vendor: str | None
    code: str | None
    severity: Severity
    action: Action
    follow: Follow
    mode: Mode
    fresh: bool
    first_us: int
    at_us: int
    reason: str
    origin: str
    parent: int | None = None
    told: bool = False
    evidence: list[dict[str, Any]] = field(default_factory=list)

    @property
    def key(self) -> Key:
        return key_of(self.cause, self.family, self.cluster, self.subject)

    @property
    def known(self) -> Known:
        """As correlation sees it."""
        return Known(
            self.incident_id,
            self.cause,
            self.family,
            self.subject,
            self.cluster,
            self.node,
            self.action,
            self.mode,
            self.fresh,
            self.parent,
        )

    @property
    def target(self) -> str:
        """What an isolation would be of: the card, else CLUSTER/NODE."""
        return self.subject if self.family == "card" else f"{self.cluster}/{self.node}"

    def verdict(
        self, turn: Turn, now: float, domains: Mapping[str, str], *, fresh: bool | None = None
    ) -> Verdict:
        """This incident's turn for who decides. now: seconds since the epoch."""
        return Verdict(
            turn=turn,
            incident_id=self.incident_id,
            rule=self.cause,
            family=self.family,
            subject=self.subject,
            cluster_id=self.cluster,
            node_id=self.node,
            card_id=self.subject if self.family == "card" else None,
            severity=self.severity,
            action=self.action,
            follow=self.follow,
            mode=self.mode,
            fresh=self.fresh if fresh is None else fresh,
            first_evidence_us=self.first_us,
            decided_us=round(now * 1e6),
            reason=self.reason,
            evidence=self.evidence[-1] if self.evidence else {},
            domains=domains,
        )


def key_of(cause: str, family: str, cluster: str, subject: str) -> Key:
    """A node's id is its cluster's alone; every other subject is unique in the world."""
    return cause, family, cluster if family == "node" else "", subject


class IncidentBook:
    """The open incidents of a store. One thread's alone."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._open: dict[Key, Open] = {}
        self._by_id: dict[int, Open] = {}
        self._of_node: dict[tuple[str, str], dict[int, Open]] = {}
        self._children: dict[int, dict[int, Open]] = {}

    def read(self, connection: duckdb.DuckDBPyConnection) -> list[Open]:
        """Read anew what is open; those that were and are no more."""
        still = {
            int(number) for (number,) in connection.execute(statements("incidents")["still_open"]).fetchall()
        }
        gone = [one for one in self if one.incident_id not in still]
        for one in gone:
            self._forget(one)
        if still - self._by_id.keys():
            for row in connection.execute(statements("incidents")["open_incidents"]).fetchall():
                one = _of_row(row)
                if one.incident_id not in self._by_id:
                    self._keep(one)
        return gone

    def _keep(self, one: Open) -> None:
        self._open[one.key] = one
        self._by_id[one.incident_id] = one
        self._of_node.setdefault((one.cluster, one.node), {})[one.incident_id] = one
        if one.parent is not None:
            self._children.setdefault(one.parent, {})[one.incident_id] = one

    def _forget(self, one: Open) -> None:
        if self._open.get(one.key) is one:
            del self._open[one.key]
        self._by_id.pop(one.incident_id, None)
        _drop(self._of_node, (one.cluster, one.node), one.incident_id)
        if one.parent is not None:
            _drop(self._children, one.parent, one.incident_id)

    def get(self, key: Key) -> Open | None:
        """The open incident of a cause and subject."""
        return self._open.get(key)

    def by_id(self, incident_id: int) -> Open | None:
        """An open incident by its number."""
        return self._by_id.get(incident_id)

    def __iter__(self) -> Iterator[Open]:
        return iter(list(self._by_id.values()))

    def of_node(self, cluster: str, node: str) -> list[Open]:
        """Open incidents on one node."""
        return list(self._of_node.get((cluster, node), {}).values())

    def children(self, incident_id: int) -> list[Open]:
        """Open incidents that are part of another."""
        return list(self._children.get(incident_id, {}).values())

    def open(self, connection: duckdb.DuckDBPyConnection, one: Open, *, money: bool, message: str) -> Open:
        """Write a new incident; its number is set. one.evidence: its first evidence. message: for the audit."""
        sql = statements("incidents")
        (number,) = connection.execute(sql["next_incident"]).fetchone() or (1,)
        now = self._clock.wall()
        one.incident_id = int(number)
        for evidence in one.evidence:
            evidence.setdefault("message", _said(evidence))
        connection.execute(
            sql["open_incident"],
            [
                one.incident_id,
                one.family,
                one.subject,
                one.cause,
                one.severity.value,
                one.vendor,
                one.code,
                naive_utc(one.first_us / 1e6),
                naive_utc(now),
                money,
                one.action.value,
                None,
                json.dumps(one.evidence, ensure_ascii=False),
                not one.fresh,
                one.origin,
                one.cluster,
                one.node,
                one.parent,
                one.mode.value,
                one.follow.value,
                one.reason,
            ],
        )
        self._audit(
            connection,
            one,
            "open_incident",
            message,
            f"incident {number}" + ("" if one.fresh else " (history)"),
        )
        level = logging.INFO if one.mode is Mode.SHADOW or one.action is Action.OBSERVE else logging.WARNING
        log.log(level, "incident %d: %s on %s: %s", number, one.cause, one.subject, message)
        self._keep(one)
        return one

    def add(
        self, connection: duckdb.DuckDBPyConnection, one: Open, evidence: dict[str, Any], first_us: int
    ) -> None:
        """More evidence; beyond MAX_EVIDENCE it is not written."""
        one.first_us = min(one.first_us, first_us)
        if len(one.evidence) >= MAX_EVIDENCE:
            return
        evidence.setdefault("message", _said(evidence))
        one.evidence.append(evidence)
        connection.execute(
            statements("incidents")["add_evidence"],
            [json.dumps(one.evidence, ensure_ascii=False), naive_utc(first_us / 1e6), one.incident_id],
        )

    def worsen(self, connection: duckdb.DuckDBPyConnection, one: Open, change: Change) -> None:
        """Another level, or fresh evidence of what was history."""
        one.action, one.follow, one.severity = change.action, change.follow, change.severity
        one.fresh = one.fresh or change.fresh
        one.reason = change.reason
        connection.execute(
            statements("incidents")["worsen"],
            [
                one.action.value,
                one.follow.value,
                one.severity.value,
                change.money,
                not one.fresh,
                one.reason,
                one.incident_id,
            ],
        )
        self._audit(
            connection, one, "worsen_incident", change.reason, f"incident {one.incident_id}: {one.action}"
        )

    def part_of(self, connection: duckdb.DuckDBPyConnection, one: Open, parent: int | None) -> None:
        """It is part of another incident, or of none any more."""
        self._forget(one)
        one.parent = parent
        self._keep(one)
        connection.execute(statements("incidents")["set_parent"], [parent, one.incident_id])

    def limit(self, connection: duckdb.DuckDBPyConnection, one: Open, mode: Mode) -> None:
        """How far it may go has become less."""
        one.mode = mode
        connection.execute(statements("incidents")["set_mode"], [mode.value, one.incident_id])

    def close(
        self, connection: duckdb.DuckDBPyConnection, one: Open, at_us: int, by: str, message: str = ""
    ) -> None:
        """Its exit condition came true."""
        self._forget(one)
        connection.execute(
            statements("incidents")["close_incident"], [naive_utc(at_us / 1e6), by, one.incident_id]
        )
        self._audit(
            connection,
            one,
            "close_incident",
            message or by,
            f"incident {one.incident_id} closed by {by.removeprefix('event ')}",
        )

    def _audit(
        self, connection: duckdb.DuckDBPyConnection, one: Open, action: str, reason: str, result: str
    ) -> None:
        audit.write(
            connection,
            AuditRow(
                at=self._clock.wall(),
                actor=f"rule {one.cause}",
                action=action,
                subject=one.subject,
                reason=reason,
                evidence=one.evidence[-1] if action == "open_incident" and one.evidence else None,
                result=result,
            ),
        )


def _drop(groups: dict[Any, dict[int, Open]], key: object, number: int) -> None:
    """Take one out of its group, and the group away when it was the last."""
    group = groups.get(key, {})
    group.pop(number, None)
    if not group:
        groups.pop(key, None)


def _said(evidence: Mapping[str, Any]) -> str:
    """Evidence that is no event, in one line for people."""
    if "metric" not in evidence:
        return ", ".join(f"{key}: {value}" for key, value in evidence.items() if key not in ("time", "node"))[
            :500
        ]
    rest = {key: value for key, value in evidence.items() if key not in ("time", "node", "metric", "value")}
    said = f"{evidence['metric']} {evidence.get('value', '')}".strip()
    more = ", ".join(f"{key.replace('_', ' ')} {value}" for key, value in rest.items() if value is not None)
    return f"{said} ({more})" if more else said


def opening(change: Change, mode: Mode, parent: int | None = None) -> Open:
    """The incident that a change opens; its number comes when it is written."""
    return Open(
        incident_id=0,
        cause=change.rule.name,
        family=change.family,
        subject=change.subject,
        cluster=change.cluster,
        node=change.node,
        vendor=change.vendor,
        code=change.code,
        severity=change.severity,
        action=change.action,
        follow=change.follow,
        mode=mode,
        fresh=change.fresh,
        first_us=change.first_us,
        at_us=change.at_us,
        reason=change.reason,
        origin=change.origin.value,
        parent=parent,
        evidence=[dict(change.evidence)],
    )


def _of_row(row: tuple[Any, ...]) -> Open:
    number, family, subject, cause, severity, vendor, code, onset, action, evidence, history, origin = row[
        :12
    ]
    cluster, node, parent, mode, follow, reason, opened = row[12:]
    return Open(
        incident_id=int(number),
        cause=cause,
        family=family,
        subject=subject,
        cluster=cluster or "",
        node=node or (subject if family == "node" else ""),
        vendor=vendor,
        code=code,
        severity=Severity(severity),
        # imported records say reset, reboot or replace where we say what becomes of the card meanwhile
        action=Action(action) if action in set(Action) else Action.OBSERVE,
        follow=Follow(follow) if follow else Follow.NONE,
        mode=Mode(mode) if mode else Mode.ADVISE,
        fresh=not history,
        first_us=int(onset),
        at_us=int(opened),
        reason=reason or f"{cause} {code or ''}".strip(),
        origin=origin,
        parent=parent,
        told=True,
        evidence=list(json.loads(evidence)),
    )
