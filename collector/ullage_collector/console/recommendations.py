"""The page of recommendations: what is proposed in money, who takes it on, what it saved.

Not here: what is proposed and what a decision does (recommendations/).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from ullage_collector.receive.identity import Identity
from ullage_collector.recommendations import book, shown
from ullage_collector.recommendations.api import WORDS, do
from ullage_contract.errors import BadInput

if TYPE_CHECKING:
    from ullage_collector.console.app import Console

ROWS: int = 500
"""our choice: because nobody decides on more in one sitting; the API has all."""


def page(
    console: Console, request: Request, identity: Identity, *, error: str = "", status: int = 200
) -> Response:
    """Those to be decided first, by money; then those that were."""
    cursor = console.views.connect()
    try:
        found = book.rows(cursor, most=ROWS)
    finally:
        cursor.close()
    told = [shown.to_json(row) for row in found]
    return console.render(
        request,
        "recommendations.html",
        status=status,
        here="recommendations",
        standing=[row for row in told if row["state"] in book.ACTIVE],
        settled=[row for row in told if row["state"] not in book.ACTIVE],
        together=shown.totals(found),
        may_decide=console.views.store is not None,
        error=error,
        names=console.views.fleet.department_names(),
        origins={card.origin for card in console.views.fleet.cards()[1]},
    )


def decide(console: Console, request: Request, identity: Identity) -> Response:
    """What a person says of one, then the page again."""
    form: Any = request.state.form
    text = console.words(request)
    word, number = str(form.get("act", "")), str(form.get("id", ""))
    try:
        if console.views.store is None or word not in WORDS or not number.isdecimal() or len(number) > 18:
            raise BadInput(text["failed"])
        body = {"id": int(number), "reason": str(form.get("reason", "")), "actor": identity.name}
        do(console.views.store(), word, body)
    except BadInput as e:
        return page(console, request, identity, error=str(e), status=409)
    return RedirectResponse("/recommendations", status_code=303)
