"""``/api/v1/notices`` (viewer), ``/api/v1/notices/test`` and ``/retry`` (operator)."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from ullage_collector.api import SCHEMA_VERSION, Refused, as_json, need, refusal
from ullage_collector.notify import door
from ullage_collector.notify.service import Notifier
from ullage_collector.receive.identity import Identity, Role
from ullage_contract.errors import BadInput, ConfigError

if TYPE_CHECKING:
    from ullage_collector.store.store import Store


def routes(store: Callable[[], Store], notifier: Notifier) -> list[Route]:
    """The routes. store: the open store now."""

    def notices(request: Request, identity: Identity, body: dict[str, Any]) -> dict[str, Any]:
        asked = request.query_params
        return door.listed(store(), notifier.targets, state=asked.get("state"), target=asked.get("target"))

    def test(request: Request, identity: Identity, body: dict[str, Any]) -> dict[str, Any]:
        target = door.named(notifier.targets, str(body.get("target", "")))
        return door.test(target, store().clock.wall())

    def retry(request: Request, identity: Identity, body: dict[str, Any]) -> dict[str, Any]:
        target = door.named(notifier.targets, str(body.get("target", "")))
        actor = str(body.get("actor") or identity.name) if identity.how == "socket" else identity.name
        found = door.retry(store(), target, actor)
        notifier.wake()
        return found

    return [
        Route("/api/v1/notices", answering(Role.VIEWER, notices), methods=["GET"]),
        Route("/api/v1/notices/test", answering(Role.OPERATOR, test), methods=["POST"]),
        Route("/api/v1/notices/retry", answering(Role.OPERATOR, retry), methods=["POST"]),
    ]


Answer = Callable[[Request, Identity, dict[str, Any]], dict[str, Any]]


def answering(role: Role, function: Answer) -> Callable[[Request], Awaitable[Response]]:
    """A blocking function of (request, identity, JSON body) as an endpoint for at least ``role``."""

    async def answer(request: Request) -> Response:
        try:
            identity = need(request, role)
            body = json.loads(await request.body() or b"{}") if request.method == "POST" else {}
            if not isinstance(body, dict):
                raise BadInput("the body is not a JSON object")
            found = await asyncio.to_thread(function, request, identity, body)
        except Refused as e:
            return refusal(e.status, e.error, str(e))
        except (BadInput, ConfigError, ValueError) as e:
            return refusal(400, "bad_input", str(e))
        return as_json({"schema_version": SCHEMA_VERSION, **found})

    return answer
