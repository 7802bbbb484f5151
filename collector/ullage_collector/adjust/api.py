"""``/api/v1/closings``, ``/adjustments``, ``/credits`` and ``/disputes``: closed periods, and money that goes forward, asked for, decided
and listed.

A department's token sees and disputes its own alone; credits and decisions need the operator's role. With a token, who asks and who decides
is whose token it is; on the socket the command says it.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from typing import TYPE_CHECKING, Any

from starlette.requests import Request
from starlette.routing import Route

from ullage_collector.adjust import requests
from ullage_collector.api import actor_of, endpoint, text_of
from ullage_collector.publish import closings_cli
from ullage_collector.receive.identity import Identity, Role
from ullage_contract.errors import BadInput

if TYPE_CHECKING:
    from ullage_collector.config import Config
    from ullage_collector.store.store import Store


def routes(store: Callable[[], Store], config: Config) -> list[Route]:
    """The routes. store: the open store now."""

    def listed(request: Request, identity: Identity, body: dict[str, Any]) -> dict[str, Any]:
        asked = request.query_params
        cursor = store().cursor()
        try:
            rows = requests.adjustments(
                cursor,
                kind=asked.get("kind"),
                status=asked.get("status"),
                department=asked.get("department"),
                sees=None if identity.allows(Role.VIEWER) else identity.sees_department,
            )
        finally:
            cursor.close()
        return {"adjustments": rows}

    def credit(request: Request, identity: Identity, body: dict[str, Any]) -> dict[str, Any]:
        number = requests.request_credit(
            store(),
            department=text_of(body, "department"),
            amount=text_of(body, "amount"),
            currency=text_of(body, "currency"),
            reason=text_of(body, "reason"),
            requester=_requester(body, identity),
            recorded_by=actor_of(body, identity),
        )
        return {"adjustment_id": number, "status": "requested"}

    def dispute(request: Request, identity: Identity, body: dict[str, Any]) -> dict[str, Any]:
        refusal = BadInput(f"{identity.name} may dispute what its own departments pay, nothing else")
        if not body.get("line_id") and not identity.sees_department(text_of(body, "department")):
            raise refusal  # before anything of another department is read, or said
        disputed = disputed_of(body, config)
        if not identity.sees_department(disputed.department_id):
            raise refusal
        number = requests.request_dispute(
            store(),
            disputed,
            amount=str(body["amount"]) if body.get("amount") is not None else None,
            reason=text_of(body, "reason"),
            requester=_requester(body, identity),
            recorded_by=actor_of(body, identity),
        )
        return {"adjustment_id": number, "status": "requested"}

    def decide(request: Request, identity: Identity, body: dict[str, Any]) -> dict[str, Any]:
        word = request.url.path.rpartition("/")[2]
        number = body.get("adjustment_id")
        if not isinstance(number, int) or isinstance(number, bool):
            raise BadInput("adjustment_id: give the adjustment's number")
        return requests.decide(
            store(), number, word, reason=text_of(body, "reason"), by=actor_of(body, identity)
        )

    def closed(request: Request, identity: Identity, body: dict[str, Any]) -> dict[str, Any]:
        return closings_cli.document(store(), config)

    return [
        Route("/api/v1/closings", endpoint(Role.VIEWER, closed), methods=["GET"]),
        Route("/api/v1/adjustments", endpoint(Role.DEPARTMENT, listed), methods=["GET"]),
        Route("/api/v1/credits", endpoint(Role.OPERATOR, credit), methods=["POST"]),
        Route("/api/v1/disputes", endpoint(Role.DEPARTMENT, dispute), methods=["POST"]),
        *(
            Route(f"/api/v1/adjustments/{word}", endpoint(Role.OPERATOR, decide), methods=["POST"])
            for word in requests.DECISIONS
        ),
    ]


def disputed_of(body: dict[str, Any], config: Config) -> requests.Disputed:
    """What a document of the command or the API disputes. Raises BadInput."""
    if body.get("line_id"):
        return requests.line_disputed(config.published_dir, text_of(body, "line_id"))
    first, end = text_of(body, "from"), text_of(body, "to")
    currency = body.get("currency")
    return requests.period_disputed(
        config.published_dir,
        text_of(body, "department"),
        date.fromisoformat(first),
        date.fromisoformat(end),
        text_of(body, "zone"),
        None if currency is None else str(currency),
    )


def _requester(body: dict[str, Any], identity: Identity) -> str:
    """Who asks. A department's token asks for itself; an operator may enter what another person wants."""
    if identity.how != "socket" and not identity.allows(Role.OPERATOR):
        return identity.name
    return str(body.get("requester") or actor_of(body, identity))
