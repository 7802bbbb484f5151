"""Routes over what was recorded: ``/api/v1/incidents/cost``, ``/api/v1/incidents/ID/cost``, ``/api/v1/incidents/ID/bundle``
and ``/api/v1/audit/export``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from starlette.requests import Request
from starlette.routing import Route

from ullage_collector import audit_export
from ullage_collector.api import endpoint
from ullage_collector.audit_export import instant
from ullage_collector.incident_cost import costs
from ullage_collector.receive.identity import Identity, Role
from ullage_collector.records.bundle import bundle
from ullage_contract.errors import BadInput

if TYPE_CHECKING:
    from ullage_collector.store.store import Store


def routes(store: Callable[[], Store]) -> list[Route]:
    """The routes. store: the open store now."""

    def cost(request: Request, identity: Identity, body: dict[str, Any]) -> dict[str, Any]:
        number = request.path_params.get("number")
        return cost_document(store(), dict(request.query_params), None if number is None else int(number))

    def bundled(request: Request, identity: Identity, body: dict[str, Any]) -> dict[str, Any]:
        return bundle_document(store(), int(request.path_params["number"]))

    def export(request: Request, identity: Identity, body: dict[str, Any]) -> dict[str, Any]:
        return export_page(store(), dict(request.query_params))

    return [
        Route("/api/v1/incidents/cost", endpoint(Role.VIEWER, cost), methods=["GET"]),
        Route("/api/v1/incidents/{number:int}/cost", endpoint(Role.VIEWER, cost), methods=["GET"]),
        Route("/api/v1/incidents/{number:int}/bundle", endpoint(Role.OPERATOR, bundled), methods=["GET"]),
        Route("/api/v1/audit/export", endpoint(Role.VIEWER, export), methods=["GET"]),
    ]


def cost_document(store: Store, asked: dict[str, str], only: int | None = None) -> dict[str, Any]:
    """What incidents cost; asked: from, to. One reading transaction."""
    start = asked.get("from")
    end = round(instant(asked["to"], "to") * 1e6) if asked.get("to") else round(store.clock.wall() * 1e6)
    cursor = store.cursor()
    try:
        cursor.execute("BEGIN TRANSACTION READ ONLY")
        found = costs(cursor, None if not start else round(instant(start, "from") * 1e6), end, only=only)
        cursor.execute("ROLLBACK")
    finally:
        cursor.close()
    return found.to_json()


def bundle_document(store: Store, number: int) -> dict[str, Any]:
    """What goes with an incident to the card's maker. One reading transaction. Raises BadInput for an unknown number."""
    cursor = store.cursor()
    try:
        cursor.execute("BEGIN TRANSACTION READ ONLY")
        found = bundle(cursor, number, store.clock.wall())
        cursor.execute("ROLLBACK")
    finally:
        cursor.close()
    return found


def export_page(store: Store, asked: dict[str, str]) -> dict[str, Any]:
    """One page of the audit's export; asked: from, to, subject, and after and chain of the page before."""
    try:
        after = int(asked.get("after", "0"))
    except ValueError as e:
        raise BadInput("after: give the number the page before ended with") from e
    cursor = store.cursor()
    try:
        found = audit_export.page(
            cursor,
            after=after,
            chain=asked.get("chain") or audit_export.GENESIS,
            begin=instant(asked["from"], "from") if asked.get("from") else None,
            end=instant(asked["to"], "to") if asked.get("to") else None,
            subject=asked.get("subject") or None,
        )
    finally:
        cursor.close()
    return {"rows": list(found.rows), "after": found.after, "chain": found.chain, "more": found.more}
