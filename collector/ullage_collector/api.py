"""The JSON API below /api/v1. Every answer carries schema_version; a refusal is {"error", "message"}.

Read routes need the viewer role, acting routes the operator role. What a department's token may see is
cut here. Not here: pages (console/) and the push (receive/).
"""

from __future__ import annotations

import asyncio
import json
import logging
import struct
import zlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from ullage_collector.audit import naive_utc
from ullage_collector.fleet_now import STATES, CardNow, FleetNow
from ullage_collector.isolate.isolation import Isolation
from ullage_collector.receive.identity import Identity, Role
from ullage_collector.sql import statements
from ullage_contract import catalogue
from ullage_contract.clock import Clock
from ullage_contract.errors import ActuatorError, BadInput, ConfigError, StoreError, UllageError
from ullage_contract.instants import asked_us, within
from ullage_contract.sample import Family

if TYPE_CHECKING:
    import duckdb

    from ullage_collector.isolate.assembly import Assembly
    from ullage_collector.store.store import Store

log = logging.getLogger(__name__)

SCHEMA_VERSION: Final = 1
MAX_ROWS: Final = (
    10_000  # our choice: because a page or script that wants more should read the published days
)
MAX_POINTS: Final = 5_000  # our choice: because a chart has fewer pixels
NO_OWNER: Final = 255
UNKNOWN_BYTE: Final = 255
PLANES: Final = 4
Answer = Callable[[Request, Identity, dict[str, Any]], Any]
"""Of the request, who made it and its JSON body ({} where it is no POST): the answer, a dict or a whole Response."""
_HEADER: Final = struct.Struct("<4sBBHIIQ")
"""FMAP, version, planes, reserved, cards, topology version, milliseconds since the epoch: 24 bytes."""


@dataclass(frozen=True, slots=True)
class Views:
    """What the API and the pages read and act on. on_release: told after a release (the fault engine looks anew).

    acting: what isolates by itself and the emergency stop; None: a person's isolate and release alone. store: the open store
    now, for pages that keep what a person decides; None: they only show.
    """

    connect: Callable[[], duckdb.DuckDBPyConnection]
    fleet: FleetNow
    isolation: Isolation
    clock: Clock
    on_release: Callable[[], None]
    acting: Assembly | None = None
    store: Callable[[], Store] | None = None


class Refused(UllageError):
    """An answer that is no: status and word of the error body."""

    def __init__(self, status: int, error: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.error = error


def identity_of(request: Request) -> Identity:
    """Who made the request, as the listener found out."""
    identity = request.scope.get("state", {}).get("identity")
    if not isinstance(identity, Identity):
        raise Refused(401, "unauthenticated", "no identity: send a token")
    return identity


def need(request: Request, role: Role) -> Identity:
    """The identity, if its role suffices; else Refused."""
    identity = identity_of(request)
    if not identity.allows(role):
        raise Refused(403, "forbidden", f"{identity.name} is {identity.role.value}; this needs {role.value}")
    return identity


def routes(views: Views) -> list[Route]:
    """The API's routes."""
    table: list[tuple[str, str, Role, Callable[[Views, Request], Any]]] = [
        ("GET", "/api/v1/fleet", Role.VIEWER, _fleet),
        ("GET", "/api/v1/fleet/state", Role.VIEWER, _fleet_state),
        ("GET", "/api/v1/cards", Role.VIEWER, _cards),
        ("GET", "/api/v1/cards/{card:path}/series", Role.VIEWER, _series),
        ("GET", "/api/v1/cards/{card:path}", Role.VIEWER, _card),
        ("GET", "/api/v1/nodes", Role.VIEWER, _nodes),
        ("GET", "/api/v1/allocations", Role.VIEWER, _allocations),
        ("GET", "/api/v1/serving", Role.VIEWER, _serving),
        ("GET", "/api/v1/incidents", Role.VIEWER, _incidents),
        ("GET", "/api/v1/findings", Role.VIEWER, _findings),
        ("GET", "/api/v1/ledger", Role.DEPARTMENT, _ledger),
        ("GET", "/api/v1/audit", Role.VIEWER, _audit),
        ("GET", "/api/v1/isolations", Role.VIEWER, _isolations),
    ]
    found = [
        Route(path, endpoint(role, reading(views, function)), methods=[method])
        for method, path, role, function in table
    ]

    def isolate(request: Request, identity: Identity, body: dict[str, Any]) -> dict[str, Any]:
        return _isolate(views, identity, body)

    def release(request: Request, identity: Identity, body: dict[str, Any]) -> dict[str, Any]:
        return _release(views, identity, body)

    found.append(Route("/api/v1/isolate", endpoint(Role.OPERATOR, isolate), methods=["POST"]))
    found.append(Route("/api/v1/release", endpoint(Role.OPERATOR, release), methods=["POST"]))
    return found


def reading(views: Views, function: Callable[[Views, Request], Any]) -> Answer:
    """A reader of views and the query alone as an endpoint's function."""

    def answer(request: Request, identity: Identity, body: dict[str, Any]) -> Any:
        return function(views, request)

    return answer


def endpoint(
    role: Role, function: Answer, *, on_socket: bool = False
) -> Callable[[Request], Awaitable[Response]]:
    """A blocking function as an endpoint for at least ``role``; it runs in a thread, and a dict gets schema_version.

    on_socket: only who opened the collector's own socket, as the function reads files of this machine.
    A wrong request is 400, what a scheduler refused 502, what the store cannot do 500; each in the body of refusal().
    """

    async def answer(request: Request) -> Response:
        try:
            identity = need(request, role)
            if on_socket and identity.how != "socket":
                raise Refused(403, "forbidden", "this names files of the collector's machine: use its socket")
            found = await asyncio.to_thread(function, request, identity, await _body(request))
        except Refused as e:
            return refusal(e.status, e.error, str(e))
        except (BadInput, ConfigError) as e:
            return refusal(400, "bad_input", str(e))
        except ActuatorError as e:
            return refusal(502, "actuator", str(e))
        except StoreError as e:
            log.error("%s: %s", request.url.path, e)
            return refusal(500, "store", str(e))
        except ValueError as e:
            if request.method != "POST":
                raise
            return refusal(400, "bad_input", str(e))  # a number or date of the body that is none
        if isinstance(found, Response):
            return found
        return as_json({"schema_version": SCHEMA_VERSION, **found})

    return answer


async def _body(request: Request) -> dict[str, Any]:
    if request.method != "POST":
        return {}
    body = json.loads(await request.body() or b"{}")
    if not isinstance(body, dict):
        raise BadInput("the body is not a JSON object")
    return body


def actor_of(body: dict[str, Any], identity: Identity) -> str:
    """Who acts: whom the command on the collector's socket names, else whose token it is."""
    return str(body.get("actor") or identity.name) if identity.how == "socket" else identity.name


def text_of(body: dict[str, Any], name: str) -> str:
    """A text of the body. Raises BadInput where it is missing or empty."""
    value = body.get(name)
    if not isinstance(value, str) or not value:
        raise BadInput(f"{name} is missing")
    return value


def refusal(status: int, error: str, message: str) -> JSONResponse:
    """The body every error of ours has."""
    return JSONResponse(
        {"schema_version": SCHEMA_VERSION, "error": error, "message": message}, status_code=status
    )


def as_json(value: Any) -> Response:
    """JSON with times as ISO 8601 with Z and exact numbers as text."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=_plain)
    return Response(text, media_type="application/json")


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.replace(tzinfo=None).isoformat(timespec="milliseconds") + "Z"
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, Decimal):
        return str(value)
    raise TypeError(f"BUG: {type(value).__name__} in an answer")


def select(views: Views, file: str, name: str, parameters: Any) -> list[dict[str, Any]]:
    """A named statement's rows as dicts."""
    with views.connect() as connection:
        cursor = connection.execute(statements(file)[name], parameters)
        names = [column[0] for column in cursor.description or ()]
        return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]


def topology(cards: list[CardNow]) -> dict[str, Any]:
    """The map's order of cards: what a byte plane's positions mean. ``version`` changes when the order does.

    nodes: [node_id, first card, cards, cluster number]; cards: [card_id, model number, index].
    owners: at most 254 department ids; the planes give their numbers.
    """
    clusters: dict[str, int] = {}
    models: dict[str, int] = {}
    nodes: list[list[Any]] = []
    rows: list[list[Any]] = []
    last: tuple[str, str] | None = None
    for number, card in enumerate(cards):
        cluster = clusters.setdefault(card.cluster_id, len(clusters))
        if (card.cluster_id, card.node_id) != last:
            nodes.append([card.node_id, number, 0, cluster])
            last = (card.cluster_id, card.node_id)
        nodes[-1][2] += 1
        rows.append([card.card_id, models.setdefault(card.model, len(models)), card.index])
    owners = _owner_numbers(cards)
    digest = zlib.crc32(json.dumps([nodes, rows, list(models), list(owners)]).encode())
    return {
        "schema_version": SCHEMA_VERSION,
        "version": digest,
        "states": list(STATES),
        "clusters": list(clusters),
        "models": list(models),
        "owners": list(owners),
        "nodes": nodes,
        "cards": rows,
    }


def planes(at: float, cards: list[CardNow]) -> bytes:
    """The map's state: a 24-byte header and one byte a card in each of four planes.

    state: place in STATES. utilisation, memory: per cent, 255: not known. owner: number, 255: nobody.
    """
    owners = _owner_numbers(cards)
    header = _HEADER.pack(b"FMAP", 1, PLANES, 0, len(cards), topology(cards)["version"], int(at * 1000))
    numbers = {state: i for i, state in enumerate(STATES)}
    return b"".join(
        (
            header,
            bytes(numbers[card.state] for card in cards),
            bytes(_per_cent(card.utilization_ratio) for card in cards),
            bytes(_per_cent(card.memory_ratio) for card in cards),
            bytes(
                NO_OWNER if card.department is None else owners.get(card.department, 254) for card in cards
            ),
        )
    )


def _owner_numbers(cards: list[CardNow]) -> dict[str, int]:
    names = sorted({card.department for card in cards if card.department is not None})
    return {name: i for i, name in enumerate(names[:254])}


def _per_cent(ratio: float | None) -> int:
    return UNKNOWN_BYTE if ratio is None else max(0, min(100, round(ratio * 100)))


def _fleet(views: Views, request: Request) -> Any:
    found = topology(views.fleet.cards()[1])
    names = views.fleet.department_names()
    return {**found, "owners": [names.get(owner, owner) for owner in found["owners"]]}


def _fleet_state(views: Views, request: Request) -> Response:
    at, cards = views.fleet.cards()
    return Response(
        planes(at, cards), media_type="application/octet-stream", headers={"Cache-Control": "no-store"}
    )


def card_json(card: CardNow) -> dict[str, Any]:
    """One card now, as the API shows it."""
    return {
        "card_id": card.card_id,
        "cluster_id": card.cluster_id,
        "node_id": card.node_id,
        "vendor": card.vendor,
        "model": card.model,
        "index": card.index,
        "pool": card.pool,
        "state": card.state,
        "utilization_ratio": card.utilization_ratio,
        "memory_ratio": card.memory_ratio,
        "power_watts": card.power_watts,
        "temperature_celsius": card.temperature_celsius,
        "health": card.health,
        "last_time": card.last_time,
        "held_share": str(Decimal(card.held_nano) / 1_000_000_000),
        "workload_id": card.workload_id,
        "user": card.user,
        "department_id": card.department,
        "scenario": card.scenario,
        "origin": card.origin,
    }


def _cards(views: Views, request: Request) -> Any:
    at, cards = views.fleet.cards()
    wanted = {
        key: request.query_params[key]
        for key in ("cluster", "node", "vendor", "model", "state")
        if key in request.query_params
    }
    attributes = {"cluster": "cluster_id", "node": "node_id"}
    chosen = [
        card
        for card in cards
        if all(getattr(card, attributes.get(key, key)) == value for key, value in wanted.items())
    ]
    return {
        "schema_version": SCHEMA_VERSION,
        "at": datetime.fromtimestamp(at, UTC),
        "total": len(chosen),
        "cards": [card_json(card) for card in chosen[:MAX_ROWS]],
    }


def find_card(views: Views, card_id: str) -> dict[str, Any]:
    """One card's row of the store. Raises Refused 404."""
    rows = select(views, "console", "card", [card_id])
    if not rows:
        raise Refused(404, "not_found", f"no card {card_id[:80]!r}; GET /api/v1/cards lists them")
    row = rows[0]
    row["facts"] = json.loads(row["facts"]) if row["facts"] else {}
    return row


def _card(views: Views, request: Request) -> Any:
    card_id = request.path_params["card"]
    row = find_card(views, card_id)
    key = row.pop("card_key")
    now = next((card for card in views.fleet.cards()[1] if card.card_id == card_id), None)
    return {
        "schema_version": SCHEMA_VERSION,
        **row,
        "now": card_json(now) if now else None,
        "allocations": select(views, "console", "card_allocations", [key]),
        "events": select(views, "console", "card_events", [card_id]),
        "incidents": incidents(views, card_id, closed=True),
    }


def series(
    views: Views, card_id: str, keys: list[str], start: datetime, end: datetime, step_seconds: int
) -> dict[str, Any]:
    """Means of ``keys`` of one card in steps over [start, end): {"time": [...], "series": {key: [...]}}.

    Times are epoch seconds; a step without a row is there with null, so that a gap shows as a gap.
    """
    known = catalogue.keys(Family.CARD)
    for key in keys:
        if key not in known or known[key].type is catalogue.Type.TEXT:
            raise BadInput(f"{key[:60]!r} is no number of a card; see docs/metrics.md")
    if not keys or len(keys) > 16:
        raise BadInput("key: give 1 to 16 keys, separated by commas")
    row = find_card(views, card_id)
    with views.connect() as connection:
        # minutes are what history was imported as and what stays; raw rows are finer and win where both are
        rows = [
            found
            for table, time in (("card_minute", "minute"), ("card_sample", "time"))
            for found in connection.execute(
                _series_sql(table, time, keys), [step_seconds, row["card_key"], start, end]
            ).fetchall()
        ]
    by_step = {int(found[0].replace(tzinfo=UTC).timestamp()): found[1:] for found in rows}
    if not by_step:
        return {
            "schema_version": SCHEMA_VERSION,
            "card_id": card_id,
            "time": [],
            "series": {k: [] for k in keys},
        }
    steps = list(range(min(by_step), max(by_step) + 1, step_seconds))
    empty = (None,) * len(keys)
    return {
        "schema_version": SCHEMA_VERSION,
        "card_id": card_id,
        "step_seconds": step_seconds,
        "time": steps,
        "series": {key: [by_step.get(step, empty)[i] for step in steps] for i, key in enumerate(keys)},
    }


def _series_sql(table: str, time: str, keys: list[str]) -> str:
    """Means by step. table, time and keys are words of the catalogue and the schema, never input."""
    known = catalogue.keys(Family.CARD)
    columns = ", ".join(
        "NULL" if table == "card_minute" and known[key].kind is catalogue.Kind.COUNTER else f"avg({key})"
        for key in keys
    )
    return (
        f"SELECT time_bucket(to_seconds(?), {time}) AS step, {columns} FROM {table} "  # noqa: S608
        f"WHERE card_key = ? AND {time} >= ? AND {time} < ? GROUP BY step ORDER BY step"
    )


def _series(views: Views, request: Request) -> Any:
    end = _instant(request, "to", views.clock.wall())
    start = _instant(request, "from", end.replace(tzinfo=UTC).timestamp() - 3600)
    seconds = (end - start).total_seconds()
    if not 0 < seconds <= 366 * 86400:
        raise BadInput("from and to: give a span of more than nothing and at most a year")
    try:
        step = int(request.query_params.get("step", max(10, round(seconds / 60))))
    except ValueError as e:
        raise BadInput("step: give whole seconds") from e
    if step < 1 or seconds / step > MAX_POINTS:
        raise BadInput(f"step: at most {MAX_POINTS} points; give at least {int(seconds / MAX_POINTS) + 1} s")
    keys = [key for key in request.query_params.get("key", "").split(",") if key]
    return series(views, request.path_params["card"], keys, start, end, step)


def _instant(request: Request, name: str, default: float) -> datetime:
    """A query parameter as naive UTC: epoch seconds or ISO 8601 with offset."""
    text = request.query_params.get(name, "")
    return naive_utc(asked_us(text, name) / 1e6 if text else default)


def day_of(request: Request, name: str, default: date) -> date:
    """A day of the query, or the default. Raises BadInput for what is none."""
    text = request.query_params.get(name, "")
    try:
        return within(date.fromisoformat(text), name, text) if text else default
    except ValueError as e:
        raise BadInput(f"{name}: {text[:40]!r} is no day; write 2026-11-20") from e


def _nodes(views: Views, request: Request) -> Any:
    rows = select(views, "console", "nodes", [])
    for row in rows:
        row["facts"] = json.loads(row["facts"]) if row["facts"] else {}
    return {"schema_version": SCHEMA_VERSION, "nodes": rows}


def _allocations(views: Views, request: Request) -> Any:
    to = _instant(request, "to", views.clock.wall() + 1)
    start = _instant(request, "from", views.clock.wall())
    rows = select(views, "console", "allocations", {"from": start, "to": to, "limit": MAX_ROWS})
    for row in rows:
        for name in ("attributes", "labels", "workload_attributes"):
            row[name] = json.loads(row[name]) if row[name] else {}
    return {"schema_version": SCHEMA_VERSION, "allocations": rows}


def _serving(views: Views, request: Request) -> Any:
    to = _instant(request, "to", views.clock.wall() + 1)
    start = _instant(request, "from", views.clock.wall() - 86_400)
    asked = {"from": start, "to": to, "workload": request.query_params.get("workload"), "limit": MAX_ROWS}
    return {"schema_version": SCHEMA_VERSION, "serving": select(views, "serving", "list_hours", asked)}


def incidents(views: Views, subject: str | None, *, closed: bool) -> list[dict[str, Any]]:
    """Incidents newest first; proposal and evidence as objects."""
    rows = select(views, "incidents", "list_incidents", [subject, closed, 500])
    for row in rows:
        row["proposal"] = json.loads(row["proposal"]) if row["proposal"] else None
        row["evidence"] = json.loads(row["evidence"])
    return rows


def _incidents(views: Views, request: Request) -> Any:
    closed = request.query_params.get("closed", "1") != "0"
    return {"schema_version": SCHEMA_VERSION, "incidents": incidents(views, None, closed=closed)}


def _findings(views: Views, request: Request) -> Any:
    rows = select(views, "console", "findings", [MAX_ROWS])
    for row in rows:
        row["evidence"] = json.loads(row["evidence"])
    return {"schema_version": SCHEMA_VERSION, "findings": rows}


def _ledger(views: Views, request: Request) -> Any:
    from ullage_collector import ledger_answers

    return ledger_answers.answer(views, request)


def audit_rows(views: Views, limit: int) -> list[dict[str, Any]]:
    """The audit, newest first."""
    rows = select(views, "isolation", "list_audit", [limit])
    for row in rows:
        for column in ("evidence", "command", "undo"):
            row[column] = json.loads(row[column]) if row[column] else None
    return rows


def _audit(views: Views, request: Request) -> Any:
    return {"schema_version": SCHEMA_VERSION, "audit": audit_rows(views, MAX_ROWS)}


def _isolations(views: Views, request: Request) -> Any:
    from ullage_collector.isolate.answers import listing

    return listing(views, ended=request.query_params.get("ended") == "1")


def _isolate(views: Views, identity: Identity, body: dict[str, Any]) -> dict[str, Any]:
    until = body.get("until")
    if until is not None and not isinstance(until, int | float):
        raise BadInput("until: give epoch seconds")
    outcome = views.isolation.isolate(
        str(body.get("subject", "")),
        reason=str(body.get("reason", "")),
        actor=actor_of(body, identity),
        execute_calls=body.get("execute") is True,
        until=until,
        actuator=body.get("actuator"),
    )
    return outcome.to_json()


def _release(views: Views, identity: Identity, body: dict[str, Any]) -> dict[str, Any]:
    outcome = views.isolation.release(
        str(body.get("subject", "")),
        reason=str(body.get("reason", "")),
        actor=actor_of(body, identity),
        execute_calls=body.get("execute") is True,
    )
    if outcome.executed:
        views.on_release()
    return outcome.to_json()
