"""``/api/v1/quotas``: the quota trees with what is used, borrowed, lent and waited for; sprints; imports of both files.

Reading needs the viewer role, sprints the operator's; files are named on the socket alone. Not here: the figures.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from starlette.requests import Request
from starlette.routing import Route

from ullage_collector.api import MAX_ROWS, actor_of, endpoint, text_of
from ullage_collector.audit import naive_utc
from ullage_collector.quota import imports, show, sprint
from ullage_collector.quota.known import read
from ullage_collector.quota.readers import Given
from ullage_collector.receive.identity import Identity, Role
from ullage_collector.sql import statements
from ullage_contract.errors import BadInput
from ullage_contract.instants import asked_us

if TYPE_CHECKING:
    from ullage_collector.store.store import Store

MAX_DAYS: Final = 92  # our choice: because a longer stretch is added up from the hours


def routes(store: Callable[[], Store]) -> list[Route]:
    """The routes; they stand before those of other imports. store: the open store now."""

    def quotas(request: Request, identity: Identity, body: dict[str, Any]) -> dict[str, Any]:
        opened = store()
        now = opened.clock.wall()
        asked = request.query_params
        if "from" in asked or "to" in asked:
            start = us(asked.get("from"), "from", now)
            end = us(asked.get("to"), "to", now)
            return stretch(opened, start, end, us(asked.get("known"), "known", now), asked.get("tree"))
        at = us(asked.get("at"), "at", now)
        return instant(opened, at, us(asked.get("known"), "known", now), asked.get("tree"))

    def hours(request: Request, identity: Identity, body: dict[str, Any]) -> dict[str, Any]:
        opened = store()
        now = opened.clock.wall()
        end = us(request.query_params.get("to"), "to", now)
        start = us(request.query_params.get("from"), "from", end / 1e6 - 86_400)
        cursor = opened.cursor()
        try:
            found = cursor.execute(
                statements("quota")["hours"],
                {"from": naive_utc(start / 1e6), "to": naive_utc(end / 1e6), "limit": MAX_ROWS + 1},
            )
            names = [column[0] for column in found.description or ()]
            rows = [dict(zip(names, row, strict=True)) for row in found.fetchall()]
        finally:
            cursor.close()
        for row in rows:
            for name in (*show.AMOUNTS,):
                row[name] = None if row[name] is None else str(row[name])
        return {"truncated": len(rows) > MAX_ROWS, "hours": rows[:MAX_ROWS]}

    def declare(request: Request, identity: Identity, body: dict[str, Any]) -> dict[str, Any]:
        opened = store()
        with opened.write() as cursor:
            made = sprint.declare(
                cursor,
                text_of(body, "pool"),
                text_of(body, "department"),
                us(text_of(body, "from"), "from", 0),
                us(text_of(body, "to"), "to", 0),
                reason=str(body.get("reason") or ""),
                actor=actor_of(body, identity),
                now=opened.clock.wall(),
            )
        return {
            "sprint_id": made.sprint_id,
            "undo": f"ullage-collector quota sprint --cancel {made.sprint_id}",
        }

    def cancel(request: Request, identity: Identity, body: dict[str, Any]) -> dict[str, Any]:
        opened = store()
        number = body.get("sprint_id")
        if not isinstance(number, int) or isinstance(number, bool):
            raise BadInput("sprint_id: give the sprint's number")
        with opened.write() as cursor:
            left = sprint.cancel(
                cursor,
                number,
                reason=str(body.get("reason") or ""),
                actor=actor_of(body, identity),
                now=opened.clock.wall(),
            )
        return {"sprint_id": number, "result": "ended" if left else "withdrawn"}

    def bring(request: Request, identity: Identity, body: dict[str, Any]) -> dict[str, Any]:
        kind = request.url.path.rpartition("/")[2]
        return {"imports": [bring_in(store(), kind, body)]}

    return [
        Route("/api/v1/quotas", endpoint(Role.VIEWER, quotas), methods=["GET"]),
        Route("/api/v1/quotas/hours", endpoint(Role.VIEWER, hours), methods=["GET"]),
        Route("/api/v1/quotas/sprints", endpoint(Role.OPERATOR, declare), methods=["POST"]),
        Route("/api/v1/quotas/sprints/cancel", endpoint(Role.OPERATOR, cancel), methods=["POST"]),
        *(
            Route(f"/api/v1/import/{kind}", endpoint(Role.OPERATOR, bring, on_socket=True), methods=["POST"])
            for kind in imports.KINDS
        ),
    ]


def instant(store: Store, at_us: int, known_us: int, tree: str | None) -> dict[str, Any]:
    """The document of one instant."""
    return _document(store, at_us, at_us + 1, known_us, at_us, tree)


def stretch(store: Store, from_us: int, to_us: int, known_us: int, tree: str | None) -> dict[str, Any]:
    """The document of a stretch. Raises BadInput for one that is empty or too long."""
    if not 0 < to_us - from_us <= MAX_DAYS * 86_400_000_000:
        raise BadInput(f"from and to: give a stretch of more than nothing and at most {MAX_DAYS} days")
    return _document(store, from_us, to_us, known_us, None, tree)


def _document(
    store: Store, from_us: int, to_us: int, known_us: int, at_us: int | None, tree: str | None
) -> dict[str, Any]:
    cursor = store.cursor()
    try:
        cursor.execute("BEGIN TRANSACTION READ ONLY")
        known = read(cursor, from_us, to_us, as_of_us=known_us)
        cursor.execute("ROLLBACK")
    finally:
        cursor.close()
    return show.document(known, at_us=at_us, tree=tree)


def bring_in(store: Store, kind: str, body: dict[str, Any]) -> dict[str, Any]:
    """Import a file as the command asks for it. Raises BadInput, ConfigError."""
    since = body.get("since")
    return imports.import_file(
        store,
        kind,
        Path(text_of(body, "file")),
        form=body.get("format") or None,
        given=Given(
            cluster=body.get("cluster") or None,
            pool=str(body.get("pool") or Given().pool),
            guaranteed=body.get("guaranteed") is True,
        ),
        since_us=None if since is None else us(str(since), "since", 0),
        again=body.get("again") is True,
    ).to_json()


def us(text: str | None, name: str, default: float) -> int:
    """An instant as microseconds since the epoch: epoch seconds or ISO 8601 with an offset; None: the default, in seconds.

    Raises BadInput naming the parameter.
    """
    return asked_us(text, name) if text else round(default * 1e6)
