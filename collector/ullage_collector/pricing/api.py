"""``/api/v1/prices`` and ``/prices/check``: the price book at an instant, and where it fails. The viewer role reads them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING, Any

from starlette.requests import Request
from starlette.routing import Route

from ullage_collector.api import Views, endpoint, reading
from ullage_collector.ownership.api import at_of, now_of
from ullage_collector.pricing.book import checked, shown
from ullage_collector.receive.identity import Role

if TYPE_CHECKING:
    import duckdb


def routes(views: Views) -> list[Route]:
    """The routes. They come before those of api.py that end in a path."""

    def of(
        ask: Callable[[duckdb.DuckDBPyConnection, datetime, datetime], dict[str, Any]],
    ) -> Callable[[Views, Request], dict[str, Any]]:
        def answer(views: Views, request: Request) -> dict[str, Any]:
            now = now_of(views)
            with views.connect() as cursor:
                return ask(cursor, at_of(request, "at") or now, at_of(request, "known") or now)

        return answer

    return [
        Route("/api/v1/prices", endpoint(Role.VIEWER, reading(views, of(shown)))),
        Route("/api/v1/prices/check", endpoint(Role.VIEWER, reading(views, of(checked)))),
    ]
