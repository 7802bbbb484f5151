"""What an operator on this machine asks a running collector for: import, publish, close, backup.

The store is one process's; these commands go through its API on DIR/collector.sock. They name files of this
machine, so they are answered on the socket alone: whoever may open it may read what the collector may.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from ullage_collector.api import Refused, as_json, need, refusal
from ullage_collector.config import Config
from ullage_collector.receive.identity import Role
from ullage_contract.errors import BadInput, ConfigError, StoreError

if TYPE_CHECKING:
    from ullage_collector.store.store import Store

log = logging.getLogger(__name__)

Action = Callable[[dict[str, Any], Request], dict[str, Any]]


def routes(store: Callable[[], Store], config: Config) -> list[Route]:
    """The routes. store: the open store now; it may be opened anew meanwhile."""

    def import_(body: dict[str, Any], request: Request) -> dict[str, Any]:
        from ullage_collector.imports import map as maps
        from ullage_collector.imports.door import import_file

        given = maps.parse(_text(body, "map"), _text(body, "map_name"))
        reports = import_file(
            store(),
            request.path_params["kind"],
            Path(_text(body, "file")),
            given,
            again=bool(body.get("again")),
        )
        return {"imports": [report.to_json() for report in reports]}

    def import_slurm(body: dict[str, Any], request: Request) -> dict[str, Any]:
        from ullage_collector.allocation.slurm.history import keep

        return {"imports": [keep(store(), config, body)]}

    def import_departments(body: dict[str, Any], request: Request) -> dict[str, Any]:
        from ullage_collector.ownership.keeping import keep_departments, said_of

        return {"imports": [keep_departments(store(), said_of(body))]}

    def publish(body: dict[str, Any], request: Request) -> dict[str, Any]:
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

    def close(body: dict[str, Any], request: Request) -> dict[str, Any]:
        from ullage_collector.publish.closing import close as close_period

        first, end = _day(body, "from"), _day(body, "to")
        if first is None or end is None:
            raise BadInput("from and to: give the period's first day and the first no longer in it")
        return close_period(
            store(),
            first,
            end,
            _text(body, "zone"),
            reason=_text(body, "reason"),
            actor=str(body.get("actor") or need(request, Role.OPERATOR).name),
        ).to_json()

    def backup(body: dict[str, Any], request: Request) -> dict[str, Any]:
        from ullage_collector.store.backup import back_up

        out = Path(_text(body, "out"))
        if not out.is_absolute():
            raise BadInput(f"out {str(out)!r} is not an absolute path")
        return back_up(store(), config.published_dir, out)

    return [
        Route("/api/v1/import/departments", _on_socket(import_departments), methods=["POST"]),
        Route("/api/v1/import/slurm", _on_socket(import_slurm), methods=["POST"]),
        Route("/api/v1/import/{kind}", _on_socket(import_), methods=["POST"]),
        Route("/api/v1/publish", _on_socket(publish), methods=["POST"]),
        Route("/api/v1/close", _on_socket(close), methods=["POST"]),
        Route("/api/v1/backup", _on_socket(backup), methods=["POST"]),
    ]


def _on_socket(action: Action) -> Callable[[Request], Awaitable[Response]]:
    async def answer(request: Request) -> Response:
        try:
            identity = need(request, Role.OPERATOR)
            if identity.how != "socket":
                raise Refused(403, "forbidden", "this names files of the collector's machine: use its socket")
            body = json.loads(await request.body() or b"{}")
            if not isinstance(body, dict):
                raise BadInput("the body is not a JSON object")
            return as_json(await asyncio.to_thread(action, body, request))
        except Refused as e:
            return refusal(e.status, e.error, str(e))
        except (BadInput, ConfigError, ValueError) as e:
            return refusal(400, "bad_input", str(e))
        except StoreError as e:
            log.error("%s: %s", request.url.path, e)
            return refusal(500, "store", str(e))

    return answer


def _text(body: dict[str, Any], name: str) -> str:
    value = body.get(name)
    if not isinstance(value, str) or not value:
        raise BadInput(f"{name} is missing")
    return value


def _day(body: dict[str, Any], name: str) -> date | None:
    value = body.get(name)
    return None if value is None else date.fromisoformat(str(value))
