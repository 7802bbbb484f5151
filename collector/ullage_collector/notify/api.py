"""``/api/v1/notices`` (viewer), ``/api/v1/notices/test`` and ``/retry`` (operator)."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from starlette.requests import Request
from starlette.routing import Route

from ullage_collector.api import actor_of, endpoint
from ullage_collector.notify import door
from ullage_collector.notify.service import Notifier
from ullage_collector.receive.identity import Identity, Role

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
        found = door.retry(store(), target, actor_of(body, identity))
        notifier.wake()
        return found

    return [
        Route("/api/v1/notices", endpoint(Role.VIEWER, notices), methods=["GET"]),
        Route("/api/v1/notices/test", endpoint(Role.OPERATOR, test), methods=["POST"]),
        Route("/api/v1/notices/retry", endpoint(Role.OPERATOR, retry), methods=["POST"]),
    ]
