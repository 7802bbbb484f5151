"""Routes below /api/v1 about who owns what: departments, sums over them, the rules checked and explained.

Reading needs the viewer role; sums a department's token may see are of its own lines alone.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, time
from typing import Any

from starlette.requests import Request
from starlette.routing import Route

from ullage_collector.api import Views, endpoint, identity_of, reading
from ullage_collector.ownership import departments, rules
from ullage_collector.ownership.reading import MOST_DAYS
from ullage_collector.receive.identity import Role
from ullage_contract.errors import BadInput
from ullage_contract.instants import iso, within

DAYS = 30  # our choice: because a rule for something that runs monthly should be seen to match


def routes(views: Views) -> list[Route]:
    """The routes. They come before those of api.py that end in a path."""
    table: list[tuple[str, Role, Callable[[Views, Request], dict[str, Any]]]] = [
        ("/api/v1/departments", Role.VIEWER, _departments),
        ("/api/v1/departments/rollup", Role.DEPARTMENT, _rollup),
        ("/api/v1/mapping/check", Role.VIEWER, _check),
        ("/api/v1/mapping/coverage", Role.VIEWER, _coverage),
        ("/api/v1/mapping/explain", Role.VIEWER, _explain),
    ]
    return [Route(path, endpoint(role, reading(views, function))) for path, role, function in table]


def _departments(views: Views, request: Request) -> dict[str, Any]:
    with views.connect() as cursor:
        return departments.departments(cursor, at_of(request, "at") or now_of(views), at_of(request, "known"))


def _rollup(views: Views, request: Request) -> dict[str, Any]:
    start, end = at_of(request, "from"), at_of(request, "to")
    if start is None or end is None:
        raise BadInput("from and to: give days (UTC) or times, e.g. from=2026-10-01&to=2026-11-01")
    with views.connect() as cursor:
        return departments.rollup(
            cursor,
            start,
            end,
            request.query_params.get("tree", departments.THEN),
            now_of(views),
            identity_of(request).sees_department,
        )


def _check(views: Views, request: Request) -> dict[str, Any]:
    with views.connect() as cursor:
        return rules.check_mapping(
            cursor,
            at_of(request, "at") or now_of(views),
            _number(request, "days", DAYS),
            at_of(request, "known"),
        )


def _coverage(views: Views, request: Request) -> dict[str, Any]:
    days = _number(request, "days", DAYS)
    if not 1 <= days <= MOST_DAYS:
        raise BadInput(f"days {days}: give 1 to {MOST_DAYS}")
    with views.connect() as cursor:
        return rules.coverage(cursor, at_of(request, "at") or now_of(views), days)


def _explain(views: Views, request: Request) -> dict[str, Any]:
    workload = request.query_params.get("workload", "")
    if not workload:
        raise BadInput("workload: give its id, or a job's number")
    with views.connect() as cursor:
        return rules.explain_workload(
            cursor, workload, now_of(views), at_of(request, "at"), at_of(request, "known")
        )


def now_of(views: Views) -> datetime:
    """The collector's clock, aware UTC."""
    return datetime.fromtimestamp(views.clock.wall(), UTC)


def at_of(request: Request, name: str) -> datetime | None:
    """A query parameter as an aware instant: a day (its UTC midnight) or ISO 8601 with an offset; None: not given."""
    text = request.query_params.get(name, "")
    if not text:
        return None
    try:
        found = iso(text.replace(" ", "+"))
    except ValueError as e:
        raise BadInput(
            f"{name}: {text[:40]!r} is no day or time; write 2026-11-20 or 2026-11-20T00:00:00Z"
        ) from e
    if found.tzinfo is None:
        if len(text) > len("2026-11-20") or found.time() != time():
            raise BadInput(f"{name}: {text[:40]!r} lacks an offset; add Z or +08:00")
        found = found.replace(tzinfo=UTC)
    return within(found, name, text)


def _number(request: Request, name: str, default: int) -> int:
    text = request.query_params.get(name, "")
    try:
        return int(text) if text else default
    except ValueError as e:
        raise BadInput(f"{name}: {text[:20]!r} is no whole number") from e
