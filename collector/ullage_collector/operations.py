"""What an operator on this machine asks a running collector for: import, publish, close, backup.

The store is one process's; these commands go through its API on DIR/collector.sock. They name files of this
machine, so they are answered on the socket alone: whoever may open it may read what the collector may.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from ullage_collector.api import Answer, actor_of, endpoint, text_of
from ullage_collector.config import Config
from ullage_collector.receive.identity import Identity, Role
from ullage_contract.errors import BadInput

if TYPE_CHECKING:
    from ullage_collector.store.store import Store

log = logging.getLogger(__name__)


def routes(store: Callable[[], Store], config: Config) -> list[Route]:
    """The routes. store: the open store now; it may be opened anew meanwhile."""

    def import_(request: Request, identity: Identity, body: dict[str, Any]) -> dict[str, Any]:
        from ullage_collector.imports import map as maps
        from ullage_collector.imports.door import import_file

        given = maps.parse(text_of(body, "map"), text_of(body, "map_name"))
        reports = import_file(
            store(),
            request.path_params["kind"],
            Path(text_of(body, "file")),
            given,
            again=bool(body.get("again")),
        )
        return {"imports": [report.to_json() for report in reports]}

    def import_slurm(request: Request, identity: Identity, body: dict[str, Any]) -> dict[str, Any]:
        from ullage_collector.allocation.slurm.history import keep

        return {"imports": [keep(store(), config, body)]}

    def import_departments(request: Request, identity: Identity, body: dict[str, Any]) -> dict[str, Any]:
        from ullage_collector.ownership.keeping import keep_departments, said_of

        return {"imports": [keep_departments(store(), said_of(body))]}

    def publish(request: Request, identity: Identity, body: dict[str, Any]) -> dict[str, Any]:
        from ullage_collector.publish.publisher import publish as publish_due
        from ullage_collector.states import rules_of

        opened = store()
        return publish_due(
            opened,
            config.published_dir,
            now=datetime.fromtimestamp(opened.clock.wall(), UTC),
            day=_day(body, "day"),
            through=_day(body, "through"),
            everything=bool(body.get("all")),
            rules=rules_of(config.part("states")),
        ).to_json()

    def close(request: Request, identity: Identity, body: dict[str, Any]) -> dict[str, Any]:
        from ullage_collector.publish.closed_periods import close as close_period

        first, end = _day(body, "from"), _day(body, "to")
        if first is None or end is None:
            raise BadInput("from and to: give the period's first day and the first no longer in it")
        return close_period(
            store(),
            config.published_dir,
            first,
            end,
            text_of(body, "zone"),
            reason=text_of(body, "reason"),
            actor=actor_of(body, identity),
        ).to_json()

    def backup(request: Request, identity: Identity, body: dict[str, Any]) -> dict[str, Any]:
        from ullage_collector.store.backup import back_up

        out = Path(text_of(body, "out"))
        if not out.is_absolute():
            raise BadInput(f"out {str(out)!r} is not an absolute path")
        return back_up(store(), config.published_dir, out)

    def door(function: Answer) -> Callable[[Request], Awaitable[Response]]:
        return endpoint(Role.OPERATOR, function, on_socket=True)

    return [
        Route("/api/v1/import/departments", door(import_departments), methods=["POST"]),
        Route("/api/v1/import/slurm", door(import_slurm), methods=["POST"]),
        Route("/api/v1/import/{kind}", door(import_), methods=["POST"]),
        Route("/api/v1/publish", door(publish), methods=["POST"]),
        Route("/api/v1/close", door(close), methods=["POST"]),
        Route("/api/v1/backup", door(backup), methods=["POST"]),
    ]


def _day(body: dict[str, Any], name: str) -> date | None:
    value = body.get(name)
    return None if value is None else date.fromisoformat(str(value))
