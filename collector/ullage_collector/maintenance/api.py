"""``/api/v1/maintenance``: windows (viewer); ``/plan``, ``/start``, ``/end`` (operator)."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from starlette.requests import Request
from starlette.routing import Route

from ullage_collector.api import actor_of, endpoint
from ullage_collector.fleet_now import FleetNow
from ullage_collector.maintenance import work
from ullage_collector.receive.identity import Identity, Role
from ullage_contract.errors import BadInput

if TYPE_CHECKING:
    from ullage_collector.store.store import Store


def routes(store: Callable[[], Store], fleet: FleetNow, isolation: work.Isolates) -> list[Route]:
    """The routes. store: the open store now."""

    def listed(request: Request, identity: Identity, body: dict[str, Any]) -> dict[str, Any]:
        return work.listed(store())

    def act(request: Request, identity: Identity, body: dict[str, Any]) -> dict[str, Any]:
        action = request.url.path.rpartition("/")[2]
        return do(store(), fleet, isolation, action, {**body, "actor": actor_of(body, identity)})

    return [
        Route("/api/v1/maintenance", endpoint(Role.VIEWER, listed), methods=["GET"]),
        *(
            Route(f"/api/v1/maintenance/{action}", endpoint(Role.OPERATOR, act), methods=["POST"])
            for action in ("plan", "start", "end")
        ),
    ]


def do(
    store: Store, fleet: FleetNow, isolation: work.Isolates, action: str, body: dict[str, Any]
) -> dict[str, Any]:
    """One of plan, start and end, as asked for in JSON. Raises BadInput."""
    window_id = body.get("window_id")
    if window_id is not None and (not isinstance(window_id, int) or isinstance(window_id, bool)):
        raise BadInput("window_id: give the window's number")
    actor, reason = str(body.get("actor", "")), str(body.get("reason") or "")
    execute = body.get("execute") is True
    if action == "end":
        if window_id is None:
            raise BadInput("window_id: name the window to end")
        return work.end(store, isolation, window_id, reason=reason or "over", actor=actor, execute=execute)
    now = store.clock.wall()
    begin, end = body.get("from"), body.get("to")
    for name, value in (("from", begin), ("to", end)):
        if value is not None and (isinstance(value, bool) or not isinstance(value, int | float)):
            raise BadInput(f"{name}: give epoch seconds")
    if window_id is None and end is None:
        raise BadInput("to: say when the window is planned to end (--to), e.g. 2026-11-20T08:00:00Z")
    asked = work.Asked(
        str(body.get("nodes") or ""),
        float(now if begin is None else begin),
        float(now + 1 if end is None else end),
        reason,
        actor,
    )
    if window_id is None and not reason.strip():
        raise BadInput("reason: say why; it goes into the audit and to whoever is told")
    if action == "plan":
        return work.plan(store, fleet, asked, announce=body.get("announce") is True)
    return work.start(store, isolation, asked, window_id=window_id, execute=execute)
