"""``/api/v1/recommendations``: the ledger (viewer; a department its own); ``/accept``, ``/done``, ``/reject`` (operator)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

from starlette.requests import Request
from starlette.routing import Route

from ullage_collector.api import actor_of, endpoint
from ullage_collector.receive.identity import Identity, Role
from ullage_collector.recommendations import book, shown
from ullage_contract.errors import BadInput

if TYPE_CHECKING:
    from ullage_collector.store.store import Store

WORDS: Final = ("accept", "done", "reject")


def routes(store: Callable[[], Store]) -> list[Route]:
    """The routes. store: the open store now."""

    def listing(request: Request, identity: Identity, body: dict[str, Any]) -> dict[str, Any]:
        sees = None if identity.allows(Role.VIEWER) else identity.sees_department
        return listed(store(), request.query_params.get("state") or None, sees)

    def decide(request: Request, identity: Identity, body: dict[str, Any]) -> dict[str, Any]:
        word = request.url.path.rpartition("/")[2]
        return do(store(), word, {**body, "actor": actor_of(body, identity)})

    return [
        Route("/api/v1/recommendations", endpoint(Role.DEPARTMENT, listing), methods=["GET"]),
        *(
            Route(f"/api/v1/recommendations/{word}", endpoint(Role.OPERATOR, decide), methods=["POST"])
            for word in WORDS
        ),
    ]


def listed(
    store: Store, state: str | None = None, sees: Callable[[str], bool] | None = None
) -> dict[str, Any]:
    """All rows, or those of a state, with what the standing ones save together. Raises BadInput.

    sees: which departments' rows; None: all. Who sees some alone is not told which others count a part of theirs, nor whose
    work holds the cards that it could borrow: works and cards are named in rows of a workload of its own alone.
    """
    cursor = store.cursor()
    try:
        found = book.rows(cursor, state=state)
    finally:
        cursor.close()
    if sees is not None:
        own = [row for row in found if row["department_id"] is not None and sees(row["department_id"])]
        found = [{**row, "shared_with": [], "evidence": _own_evidence(row)} for row in own]
    return {
        "recommendations": [shown.to_json(row) for row in found],
        "saving_a_month": shown.totals(found),
    }


def _own_evidence(row: Mapping[str, Any]) -> dict[str, Any]:
    """Of evidence what is the row's department's own."""
    return {
        name: some
        for name, some in row["evidence"].items()
        if row["family"] == "workload" or name in ("findings", "incidents")
    }


def do(store: Store, word: str, body: dict[str, Any]) -> dict[str, Any]:
    """Accept, call done, or reject one, as asked for in JSON: id, reason, actor. Raises BadInput."""
    number = body.get("id")
    if not isinstance(number, int) or isinstance(number, bool) or not 0 <= number < 2**63:
        raise BadInput("id: give the recommendation's number")
    reason = body.get("reason") or ""
    if not isinstance(reason, str):
        raise BadInput("reason: give text")
    with store.write() as writer:
        book.decide(
            writer,
            number,
            word,
            actor=str(body.get("actor") or ""),
            reason=reason,
            now=store.clock.wall(),
        )
        (row,) = book.rows(writer, only=number)
    return {"recommendations": [shown.to_json(row)], "saving_a_month": shown.totals([row])}
