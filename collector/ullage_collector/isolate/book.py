"""Keeps the intents: in the store, and in memory as the store has them.

Every change is one transaction with its audit rows, committed before anything is called; memory follows
only what was committed. One instance a store; all changes go through ``change``, one at a time.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import fields, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, TypeVar

from ullage_collector import audit
from ullage_collector.audit import AuditRow, naive_utc
from ullage_collector.isolate.actuator import MARK, Plan
from ullage_collector.isolate.intent import FOLLOW_ASKED, PERSON, STANDS, Cause, Intent, State, stronger
from ullage_collector.isolate.verdict import Action, Follow
from ullage_collector.sql import fill, statements
from ullage_contract.clock import Clock

if TYPE_CHECKING:
    import duckdb

_Key = TypeVar("_Key")
_TIMES: Final = frozenset({"decided_at", "changed_at", "placed_at", "expires_at", "closed_at"})
_JSON: Final = frozenset({"calls", "domains", "evidence"})
_COLUMNS: Final = tuple(field.name for field in fields(Intent) if field.name != "intent_id")


class Overtaken(Exception):
    """Another thread moved the intent on since the caller read it: the step is begun anew from what is so now."""


class Book:
    """connect: a cursor of the open store. Raises what DuckDB raises when the store cannot be read."""

    def __init__(self, connect: Callable[[], duckdb.DuckDBPyConnection], clock: Clock) -> None:
        self._connect = connect
        self.clock = clock
        self.lock = threading.RLock()
        self._live: dict[int, Intent] = {}
        self._causes: dict[int, dict[int, Cause]] = {}
        self._by_key: dict[tuple[str, str, str], int] = {}
        self._by_place: dict[tuple[str, str], dict[int, None]] = {}
        self._by_incident: dict[int, dict[int, None]] = {}
        with connect() as cursor:
            row = cursor.execute(statements("policy")["highest"]).fetchone() or (0, 0)
            self._last_intent, self._last_incident = int(row[0]), int(row[1])
            for row in cursor.execute(_filled("live_intents")).fetchall():
                self._keep(_read(row))
            for intent_id, incident, rule, node_side, ended in cursor.execute(
                statements("policy")["causes"]
            ).fetchall():
                self._keep_cause(
                    int(intent_id), Cause(int(incident), str(rule), bool(node_side), bool(ended))
                )

    # ---- reading

    def live(self) -> list[Intent]:
        """Every intent that has not ended, by number."""
        with self.lock:
            return list(self._live.values())  # numbers only grow, and a change keeps its place

    def get(self, intent_id: int) -> Intent | None:
        """A live intent as it is now; None: it has ended."""
        return self._live.get(intent_id)

    def about(self, cluster_id: str, family: str, subject: str) -> Intent | None:
        """The live intent about a target; None: there is none."""
        with self.lock:
            return self._live.get(self._by_key.get((cluster_id, family, subject), -1))

    def on_node(self, cluster_id: str, node_id: str) -> list[Intent]:
        """Live intents on one node."""
        with self.lock:
            return [self._live[number] for number in self._by_place.get((cluster_id, node_id), ())]

    def causes(self, intent_id: int) -> list[Cause]:
        """The incidents a live intent stands for."""
        with self.lock:
            return list(self._causes.get(intent_id, {}).values())

    def over(self, intent_id: int) -> bool:
        """It has causes, and all of them have ended."""
        causes = self.causes(intent_id)
        return bool(causes) and all(cause.ended for cause in causes)

    def caused_by(self, incident_id: int) -> list[Intent]:
        """Live intents that stand for an incident."""
        with self.lock:
            return [self._live[number] for number in self._by_incident.get(incident_id, ())]

    def read(self, name: str, parameters: Any = None, *, file: str = "policy") -> list[tuple[Any, ...]]:
        """The rows of a statement of policy.sql, or of another file's."""
        with self._connect() as cursor:
            return cursor.execute(statements(file)[name], parameters).fetchall()

    # ---- changing

    def next_intent(self) -> int:
        """The next number; one that a rolled back change took is not given again."""
        self._last_intent += 1
        return self._last_intent

    def is_new(self, incident_id: int) -> bool:
        """No verdict of it, nor of a later one, was considered before."""
        return incident_id > self._last_incident

    @contextmanager
    def change(self) -> Iterator[Change]:
        """One transaction, alone. Rolled back, and memory left as it was, when the body raises."""
        with self.lock:
            cursor = self._connect()
            try:
                cursor.execute("BEGIN")
                change = Change(self, cursor, self.clock.wall())
                try:
                    yield change
                    self._commit(cursor)
                except BaseException:
                    with suppress(Exception):
                        cursor.execute("ROLLBACK")
                    raise
                self._last_incident = max(self._last_incident, change.considered)
                ended = [intent for intent in change.intents.values() if not intent.live]
                for intent in ended:  # first: one that takes its place may be among the others
                    self._forget(intent)
                for intent in change.intents.values():
                    if intent.live:
                        self._keep(intent)
                for intent_id, cause in change.new_causes:
                    if intent_id in self._live:
                        self._keep_cause(intent_id, cause)
            finally:
                cursor.close()

    def _keep(self, intent: Intent) -> None:
        self._live[intent.intent_id] = intent
        self._by_key[intent.key] = intent.intent_id
        self._by_place.setdefault(intent.place, {})[intent.intent_id] = None

    def _keep_cause(self, intent_id: int, cause: Cause) -> None:
        self._causes.setdefault(intent_id, {})[cause.incident_id] = cause
        self._by_incident.setdefault(cause.incident_id, {})[intent_id] = None

    def _forget(self, intent: Intent) -> None:
        number = intent.intent_id
        if self._live.pop(number, None) is None:
            return
        _drop(self._by_place, intent.place, number)
        for incident_id in self._causes.pop(number, {}):
            _drop(self._by_incident, incident_id, number)
        if self._by_key.get(intent.key) == number:
            del self._by_key[intent.key]

    def _commit(self, cursor: duckdb.DuckDBPyConnection) -> None:
        cursor.execute("COMMIT")

    def sync(self) -> list[Intent]:
        """See what changed beside us: incidents that closed, isolations a person placed or released.

        Those that a person released, which have ended now.
        """
        gone: list[Intent] = []
        with self.lock:
            closed = self.read("closed_incidents")
            ended = self.read("ended_isolations")
            strays = self.read("stray_isolations")
            if not (closed or ended or strays):
                return gone
            with self.change() as change:
                for (incident_id,) in closed:
                    change.end_cause(int(incident_id))
                for intent_id, by in ended:
                    intent = self.get(int(intent_id))
                    if intent is not None and intent.state in STANDS:
                        gone.append(intent)
                        change.end(intent, State.GIVEN_BACK, f"released by {by}", actor=str(by))
                for row in strays:
                    change.adopt(row)
        return gone


class Change:
    """An open transaction of a Book. intents: as they will be; nothing is so before it is committed."""

    def __init__(self, book: Book, cursor: duckdb.DuckDBPyConnection, now: float) -> None:
        self._book = book
        self.cursor = cursor
        self.now = now
        self.intents: dict[int, Intent] = {}
        self.new_causes: list[tuple[int, Cause]] = []
        self.considered = 0

    def add(self, intent: Intent, *, actor: str, result: str) -> Intent:
        """A new intent (its number is given here), with its audit row."""
        intent = replace(intent, intent_id=self._book.next_intent())
        self.cursor.execute(
            _filled("insert_intent", marks=", ".join("?" * len(_COLUMNS))),
            [intent.intent_id, *_values(intent)],
        )
        self.intents[intent.intent_id] = intent
        self.audit(intent, "decide", result, actor=actor)
        return intent

    def save(
        self, intent: Intent, *, action: str | None = None, result: str = "", actor: str = "policy"
    ) -> Intent:
        """The intent as it is now; with ``action`` an audit row of that step. Only what changed is written.

        What has to be done to the hardware only grows: a verdict may have raised it since the caller read the intent.
        Raises Overtaken where it is in another state by now.
        """
        self._not_overtaken(intent)
        return self._write(intent, action=action, result=result, actor=actor)

    def current(self, intent: Intent) -> Intent:
        """The intent as it will be so far."""
        return self.intents.get(intent.intent_id) or self._book.get(intent.intent_id) or intent

    def _not_overtaken(self, intent: Intent) -> None:
        """What stands is kept track of even where its intent has ended; a person's no is never taken back."""
        before = self.intents.get(intent.intent_id) or self._book.get(intent.intent_id)
        if before is None and intent.state in STANDS:
            return
        if before is None or before.state is not intent.state:
            now = before.state.value if before is not None else "ended"
            raise Overtaken(f"the isolation of {intent.subject} was {intent.state.value} and is {now}")

    def _write(self, intent: Intent, *, action: str | None, result: str, actor: str) -> Intent:
        before = self.intents.get(intent.intent_id) or self._book.get(intent.intent_id)
        if before is not None and before.state is not State.SHADOW:
            intent = replace(intent, follow=stronger(intent.follow, before.follow))
            if FOLLOW_ASKED in before.evidence and FOLLOW_ASKED not in intent.evidence:
                asked = {FOLLOW_ASKED: before.evidence[FOLLOW_ASKED]}
                intent = replace(intent, evidence={**intent.evidence, **asked})
        changed = [
            name for name in _COLUMNS if before is None or getattr(before, name) != getattr(intent, name)
        ]
        if changed:
            self.cursor.execute(
                fill(
                    statements("policy")["update_intent"],
                    columns=", ".join(f"{name} = ?" for name in changed),
                ),
                [*(_plain(name, getattr(intent, name)) for name in changed), intent.intent_id],
            )
        self.intents[intent.intent_id] = intent
        if action is not None:
            self.audit(intent, action, result, actor=actor)
        return intent

    def move(
        self,
        intent: Intent,
        state: State,
        why: str,
        *,
        action: str | None = "lifecycle",
        actor: str = "policy",
        **more: Any,
    ) -> Intent:
        """Into another state, with an audit row (none where ``action`` is None: the caller writes a fuller one).

        Raises Overtaken where it is not in the state any more that the caller saw.
        """
        self._not_overtaken(intent)
        moved = replace(intent, state=state, changed_at=self.now, **more)
        result = f"{intent.state.value} -> {state.value}: {why}"
        return self._write(moved, action=action, result=result, actor=actor)

    def end(self, intent: Intent, state: State, why: str, *, actor: str = "policy") -> Intent:
        """To its end."""
        return self.move(intent, state, why, actor=actor, closed_at=self.now, held_back=why)

    def weight(self, incident_id: int) -> int:
        """How far the verdicts of an incident were considered; -1: not at all."""
        if self._book.is_new(incident_id):
            return -1
        row = self.cursor.execute(statements("policy")["weight"], [incident_id]).fetchone()
        return int(row[0]) if row else -1

    def put_weight(self, incident_id: int, weight: int) -> None:
        """Considered so far."""
        name = "first_weight" if self._book.is_new(incident_id) else "put_weight"
        self.cursor.execute(statements("policy")[name], [incident_id, weight, naive_utc(self.now)])
        self.considered = max(self.considered, incident_id)

    def add_cause(self, intent: Intent, incident_id: int, rule: str, node_side: bool) -> None:
        """Another incident the intent stands for; known ones are left as they are."""
        known = {cause.incident_id for cause in self._book.causes(intent.intent_id)}
        if incident_id in known:
            return
        self.cursor.execute(
            statements("policy")["add_cause"],
            [intent.intent_id, incident_id, rule, node_side, naive_utc(self.now)],
        )
        self.new_causes.append((intent.intent_id, Cause(incident_id, rule, node_side)))

    def end_cause(self, incident_id: int) -> None:
        """That incident has ended, for every intent that stands for it."""
        self.cursor.execute(statements("policy")["end_cause"], [naive_utc(self.now), incident_id])
        for intent in self._book.caused_by(incident_id):
            for cause in self._book.causes(intent.intent_id):
                if cause.incident_id == incident_id and not cause.ended:
                    self.new_causes.append((intent.intent_id, replace(cause, ended=True)))

    def open_isolation(self, intent: Intent, plan: Plan) -> int:
        """The row of what is about to be placed; its number."""
        sql = statements("isolation")
        (number,) = self.cursor.execute(sql["next_isolation"]).fetchone() or (0,)
        self.cursor.execute(
            sql["insert_isolation"],
            [
                number,
                intent.family,
                intent.subject,
                intent.cluster_id,
                intent.node_id,
                intent.incident_id,
                intent.reason,
                plan.actuator,
                intent.approved_by or intent.requested_by,
                naive_utc(self.now),
                None,
                json.dumps({"marker": marker_of(intent), "calls": [call.to_json() for call in plan.calls]}),
                json.dumps([call.to_json() for call in plan.undo]),
            ],
        )
        return int(number)

    def close_isolation(self, intent: Intent, by: str) -> None:
        """What was placed stands no more, or is no longer ours."""
        if intent.isolation_id is not None:
            self.cursor.execute(
                statements("isolation")["end_isolation"], [naive_utc(self.now), by, intent.isolation_id]
            )

    def adopt(self, row: tuple[Any, ...]) -> None:
        """An isolation in force that no intent knows joins the target's intent, or becomes one.

        It is looked at before anything is believed of it.
        """
        number, family, subject, incident, reason, actuator, by, at, until, cluster, node = row
        live = self._book.about(str(cluster or ""), str(family), str(subject))
        if live is not None and live.state in STANDS:
            self.cursor.execute(
                statements("isolation")["end_isolation"], [naive_utc(self.now), "joined", int(number)]
            )
            self.audit(live, "reconcile", f"isolation {number} joins isolation {live.isolation_id}")
            return
        if live is not None and live.state is not State.PROBATION:
            self.move(
                live,
                State.ISOLATING,
                f"{by} isolated it",
                actor=str(by),
                isolation_id=int(number),
                actuator=str(actuator),
                approved_by=str(by),
                held_back=None,
                placed_at=_seconds(at),
                expires_at=_seconds(until),
                attempts=0,
            )
            return
        if live is not None:
            self.end(live, State.RELEASED, f"{by} isolated it in probation")
        self.add(
            Intent(
                intent_id=0,
                state=State.ISOLATING,
                mode=PERSON,
                family=str(family),
                subject=str(subject),
                cluster_id=str(cluster or ""),
                node_id=str(node),
                rule=PERSON,
                action=Action.ISOLATE_NODE if family == "node" else Action.ISOLATE_CARD,
                follow=Follow.NONE,
                drain="finish",
                incident_id=incident,
                reason=str(reason),
                requested_by=str(by),
                approved_by=str(by),
                actuator=str(actuator),
                whole_node=family == "node",
                isolation_id=int(number),
                decided_at=_seconds(at) or self.now,
                changed_at=self.now,
                placed_at=_seconds(at),
                expires_at=_seconds(until),
            ),
            actor=str(by),
            result="placed by a person; watched from now on",
        )

    def audit(
        self,
        intent: Intent,
        action: str,
        result: str,
        *,
        actor: str = "policy",
        plan: Plan | None = None,
        evidence: Mapping[str, Any] | None = None,
    ) -> None:
        """An audit row about an intent."""
        audit.write(
            self.cursor,
            AuditRow(
                at=self.now,
                actor=actor,
                action=action,
                subject=intent.subject,
                reason=intent.reason,
                result=result[:2000],
                evidence={
                    "intent": intent.intent_id,
                    "incident": intent.incident_id,
                    "rule": intent.rule,
                    "mode": intent.mode,
                    **(intent.evidence if action == "decide" else {}),
                    **(evidence or {}),
                },
                command=[call.to_json() for call in plan.calls] if plan else None,
                undo=[call.to_json() for call in plan.undo] if plan else None,
            ),
        )


def _drop(index: dict[_Key, dict[int, None]], key: _Key, number: int) -> None:
    index[key].pop(number, None)
    if not index[key]:
        del index[key]


def marker_of(intent: Intent) -> str:
    """What makes what the intent placed ours."""
    return f"{MARK}{intent.subject}"


def _filled(name: str, **more: str) -> str:
    return fill(statements("policy")[name], columns=", ".join(_COLUMNS), **more)


def _values(intent: Intent) -> list[Any]:
    return [_plain(name, getattr(intent, name)) for name in _COLUMNS]


def _plain(name: str, value: Any) -> Any:
    if value is None:
        return None
    if name in _TIMES:
        return naive_utc(value)
    if name in _JSON:
        return json.dumps(
            dict(value) if isinstance(value, Mapping) else list(value), ensure_ascii=False, default=str
        )
    return value.value if isinstance(value, State | Action | Follow) else value


def _read(row: tuple[Any, ...]) -> Intent:
    found = dict(zip(("intent_id", *_COLUMNS), row, strict=True))
    for name in _TIMES:
        found[name] = _seconds(found[name])
    for name in _JSON:
        found[name] = None if found[name] is None else json.loads(found[name])
    if found["calls"] is not None:
        found["calls"] = tuple(found["calls"])
    return Intent(
        **{
            **found,
            "state": State(found["state"]),
            "action": Action(found["action"]),
            "follow": Follow(found["follow"]),
        }
    )


def _seconds(naive: datetime | None) -> float | None:
    return None if naive is None else naive.replace(tzinfo=UTC).timestamp()
