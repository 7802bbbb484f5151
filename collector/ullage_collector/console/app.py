"""The console's pages, behind the listener that knows who is asking.

Strict CSP: scripts and styles come from here alone, nothing inline. Forms are plain HTML; that they come
from our own pages is checked by the listener (Origin and Sec-Fetch-Site, receive/identity.py).
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, urlsplit

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, RedirectResponse, Response
from starlette.routing import BaseRoute, Route

import ullage_assets
from ullage_collector import api
from ullage_collector.api import Refused, Views, need
from ullage_collector.console import findings, recommendations, written
from ullage_collector.console.words import LANGUAGES, wanted, words
from ullage_collector.fleet_now import ACTIVE_RATIO, STATES
from ullage_collector.isolate import answers
from ullage_collector.ledger import UNMAPPED
from ullage_collector.receive.identity import Identity, Role
from ullage_collector.records.shown import texts as incident_costs
from ullage_contract.errors import ActuatorError, AssetMissing, BadInput
from ullage_contract.plain import plain

STATIC: Final = Path(__file__).parent / "static"
VENDOR: Final = ("htmx.min.js", "uPlot.iife.min.js", "uPlot.min.css", "NotoSansSC-Regular.woff2")
TABLE_ROWS: Final = 1_000  # our choice: because a longer page is read by nobody; the API has all
LOOK_BACK: Final = timedelta(
    hours=24
)  # our choice: because the hot store keeps days and a page must be quick
CSP: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
CHARTS: Final = (
    # title, catalogue keys, their labels, factor to the page's unit, top of the axis
    ("chart_use", "utilization_ratio,memory_bandwidth_ratio", ("utilization", "bandwidth"), "100", "100"),
    ("chart_memory", "memory_used_bytes", ("memory",), str(1 / 2**30), ""),
    ("chart_power", "power_watts", ("power",), "1", ""),
    ("chart_temperature", "temperature_celsius,memory_temperature_celsius", ("core", "memory"), "1", ""),
)

Page = Callable[["Console", Request, Identity], Response]


def routes(views: Views) -> list[BaseRoute]:
    """The pages' routes; the last one answers every path that nobody else did."""
    return Console(views).routes()


class Console:
    """The pages."""

    def __init__(self, views: Views) -> None:
        self._views = views
        self._templates = Environment(
            loader=PackageLoader("ullage_collector.console"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._templates.filters.update(written.FILTERS)

    def routes(self) -> list[BaseRoute]:
        """The pages' routes."""
        return [
            Route("/", self._home),
            Route("/fleet", self._page(_fleet)),
            Route("/idle", self._page(_idle)),
            Route("/findings", self._page(findings.page)),
            Route("/recommendations", self._page(recommendations.page)),
            Route(
                "/recommendations",
                self._page(recommendations.decide, role=Role.OPERATOR, form=True),
                methods=["POST"],
            ),
            Route("/incidents", self._page(_incidents)),
            Route("/isolations", self._page(_isolations)),
            Route("/isolations", self._page(_decide, role=Role.OPERATOR, form=True), methods=["POST"]),
            Route("/audit", self._page(_audit)),
            Route("/card/{card:path}", self._page(_card)),
            Route("/card/{card:path}", self._page(_act, role=Role.OPERATOR, form=True), methods=["POST"]),
            Route("/login", self._login_page),
            Route("/language", self._language),
            Route("/static/{name}", self._static),
            Route("/static/vendor/{name}", self._vendor),
            Route("/{rest:path}", self._missing),
        ]

    def render(self, request: Request, template: str, *, status: int = 200, **values: Any) -> HTMLResponse:
        """A page in the reader's language."""
        language = wanted(request.headers.get("accept-language", ""), request.cookies.get("ullage_language"))
        identity = request.scope.get("state", {}).get("identity")
        text = self._templates.get_template(template).render(
            {
                "w": words(language),
                "lang": language,
                "states": STATES,
                "here": "",
                "origins": (),
                "frozen": self._frozen(identity),
                "decided": {},
                "may_act": isinstance(identity, Identity) and identity.allows(Role.OPERATOR),
                "path": quote(request.url.path, safe=""),
                "who": identity.name if isinstance(identity, Identity) else "",
                **values,
            }
        )
        return HTMLResponse(
            text,
            status_code=status,
            headers={
                "Content-Security-Policy": CSP,
                "X-Content-Type-Options": "nosniff",
                "Referrer-Policy": "same-origin",
                "Cache-Control": "no-store",
            },
        )

    def _frozen(self, identity: Any) -> Any:
        """The word that froze everything, for the banner of every page; None: nothing is frozen, or who asks is nobody."""
        acting = self._views.acting
        if acting is None or not acting.freeze.frozen or not isinstance(identity, Identity):
            return None
        word = acting.freeze.word
        return word and {**word.to_json(), "at": datetime.fromtimestamp(word.at, UTC).replace(tzinfo=None)}

    def words(self, request: Request) -> Any:
        """The reader's texts."""
        language = wanted(request.headers.get("accept-language", ""), request.cookies.get("ullage_language"))
        return words(language)

    @property
    def views(self) -> Views:
        """What the pages read and act on."""
        return self._views

    def _page(
        self, page: Page, *, role: Role = Role.VIEWER, form: bool = False
    ) -> Callable[[Request], Awaitable[Response]]:
        async def answer(request: Request) -> Response:
            try:
                identity = need(request, role)
                if form:
                    request.state.form = await request.form()  # here: a thread cannot wait for it
                return await asyncio.to_thread(page, self, request, identity)
            except Refused as e:
                return self._refused(request, e)

        return answer

    def _refused(self, request: Request, refused: Refused) -> Response:
        if refused.status == 401:
            return RedirectResponse("/login", status_code=303)
        text = self.words(request)
        message = {403: text["forbidden"], 404: text["not_found"]}.get(refused.status, str(refused))
        return self.render(request, "message.html", status=refused.status, message=message)

    async def _missing(self, request: Request) -> Response:
        if request.url.path.startswith(("/api/", "/v1/")):
            return api.refusal(404, "not_found", f"no route {request.url.path[:80]}")
        return self.render(request, "message.html", status=404, message=self.words(request)["not_found"])

    async def _home(self, request: Request) -> Response:
        return RedirectResponse("/fleet", status_code=307)

    async def _login_page(self, request: Request) -> Response:
        return self.render(request, "login.html", wrong="failed" in request.query_params)

    async def _language(self, request: Request) -> Response:
        to = request.query_params.get("to", "")
        back = urlsplit(request.query_params.get("back", "/fleet")).path
        answer = RedirectResponse(
            back if back.startswith("/") and not back.startswith("//") else "/fleet", 303
        )
        if to in LANGUAGES:
            answer.set_cookie("ullage_language", to, max_age=366 * 86400, samesite="lax")
        return answer

    async def _static(self, request: Request) -> Response:
        name = request.path_params["name"]
        if name not in ("map.js", "card.js", "app.css", "icon.svg"):
            return Response(status_code=404)
        return FileResponse(STATIC / name, headers={"Cache-Control": "no-cache"})

    async def _vendor(self, request: Request) -> Response:
        name = request.path_params["name"]
        if name not in VENDOR:
            return Response(status_code=404)
        try:
            return FileResponse(ullage_assets.path(name), headers={"Cache-Control": "max-age=86400"})
        except AssetMissing as e:
            return Response(str(e), status_code=404, media_type="text/plain")


def _fleet(console: Console, request: Request, identity: Identity) -> Response:
    _, cards = console.views.fleet.cards()
    origins = {card.origin for card in cards}
    if request.query_params.get("view") != "table":
        text = console.words(request)
        keys = ("states", "utilization", "memory", "nobody", "somebody", "not_known")
        names = console.views.fleet.department_names()
        departments = {**{key: plain(name) for key, name in names.items()}, UNMAPPED: text["unmapped"]}
        given = {**{key: text[key] for key in keys}, "departments": departments}
        data = json.dumps(given, ensure_ascii=False).replace("<", "\\u003c")
        return console.render(request, "fleet.html", here="fleet", origins=origins, words_json=Markup(data))
    state = request.query_params.get("state")
    chosen = [card for card in cards if state is None or card.state == state]
    return console.render(
        request,
        "fleet_table.html",
        here="fleet",
        origins=origins,
        counts=Counter(card.state for card in cards),
        cards=chosen[:TABLE_ROWS],
        more=len(chosen) > TABLE_ROWS,
        names=console.views.fleet.department_names(),
    )


def _card(console: Console, request: Request, identity: Identity, **more: Any) -> Response:
    card_id = request.path_params["card"]
    views = console.views
    row = api.find_card(views, card_id)
    now = next((card for card in views.fleet.cards()[1] if card.card_id == card_id), None)
    end = views.clock.wall()
    if now is not None and now.last_time is not None:
        end = min(end, now.last_time.replace(tzinfo=UTC).timestamp() + 60)
    elif row["last_seen"] is not None:
        end = row["last_seen"].replace(tzinfo=UTC).timestamp() + 60
    isolations = api.select(views, "isolation", "standing", ["card", card_id, ""])
    return console.render(
        request,
        "card.html",
        status=int(more.pop("status", 200)),
        card=row,
        now=now,
        charts=CHARTS,
        **{"from": end - 3600, "to": end},
        allocations=api.select(views, "console", "card_allocations", [row["card_key"]]),
        events=api.select(views, "console", "card_events", [card_id]),
        incidents=api.incidents(views, card_id, closed=True),
        decided=_by_incident(views),
        is_isolated=bool(isolations),
        names=views.fleet.department_names(),
        origins={row["origin"]},
        outcome=more.get("outcome"),
    )


def _act(console: Console, request: Request, identity: Identity) -> Response:
    """Isolate or release from a card's page: a dry run, or the real thing after the node's name was typed."""
    form = request.state.form
    text = console.words(request)
    act = str(form.get("act", ""))
    card_id = request.path_params["card"]
    row = api.find_card(console.views, card_id)
    really = not act.endswith("-dry")
    outcome: dict[str, Any] = {"error": False, "text": "", "calls": [], "also": ""}
    status = 200
    try:
        if really and str(form.get("node", "")).strip() != row["node_id"]:
            raise BadInput(text["wrong_node"])
        reason = str(form.get("reason", ""))
        isolation = console.views.isolation
        if act.startswith("release"):
            done = isolation.release(card_id, reason=reason, actor=identity.name, execute_calls=really)
            if done.executed:
                console.views.on_release()
        else:
            # who typed the node's name has seen in the dry run what would take it whole
            done = isolation.isolate(
                card_id, reason=reason, actor=identity.name, execute_calls=really, may_take_node=really
            )
        outcome["text"] = text["did_call" if done.executed else "would_call"]
        outcome["calls"] = [*done.calls, *(f"# {note}" for note in done.notes)]
        outcome["also"] = ", ".join((*done.also.cards, *done.also.workloads))
    except (BadInput, ActuatorError) as e:
        outcome["error"] = True
        outcome["text"] = f"{text['failed']}: {plain(e, limit=400)}"
        status = 409
    return _card(console, request, identity, outcome=outcome, status=status)


def _incidents(console: Console, request: Request, identity: Identity) -> Response:
    found = api.incidents(console.views, None, closed=True)
    return console.render(
        request,
        "incidents.html",
        here="incidents",
        incidents=found,
        origins={incident["origin"] for incident in found},
        decided=_by_incident(console.views),
        costs=incident_costs(console.views, console.words(request)),
        isolations=api.select(console.views, "isolation", "list_isolations", []),
    )


def _by_incident(views: Views) -> dict[int, list[dict[str, Any]]]:
    """Live intents by the incidents they stand for."""
    found: dict[int, list[dict[str, Any]]] = {}
    for row in answers.listing(views)["intents"]:
        for number in row["open_incidents"] or ():
            found.setdefault(number, []).append(row)
    return found


def _isolations(console: Console, request: Request, identity: Identity, **more: Any) -> Response:
    found = answers.listing(console.views, ended=True)
    live = [row for row in found["intents"] if row["closed_at"] is None]
    return console.render(
        request,
        "isolations.html",
        status=int(more.get("status", 200)),
        here="isolations",
        acting=console.views.acting is not None,
        live=[row for row in live if row["state"] != "shadow"],
        shadow=sum(row["state"] == "shadow" for row in live),
        ended=[row for row in found["intents"] if row["closed_at"] is not None][:50],
        breaker=found["breaker"],
        origins=_origins(console),
        error=more.get("error", ""),
    )


def _origins(console: Console) -> set[str]:
    """Where the fleet's cards are from, for pages whose rows do not say it themselves."""
    return {row["origin"] for row in api.select(console.views, "console", "origins", [])}


def _decide(console: Console, request: Request, identity: Identity) -> Response:
    """Freeze, unfreeze, approve, deny or have what follows run, from a form; then the page again."""
    form, acting = request.state.form, console.views.acting
    acts = {
        "freeze": answers.freeze,
        "unfreeze": answers.unfreeze,
        "approve": answers.approve,
        "deny": answers.deny,
        "follow": answers.follow,
    }
    act = acts.get(str(form.get("act", "")))
    number = str(form.get("incident", ""))
    body = {
        "reason": str(form.get("reason", "")),
        "incident": int(number) if number.isdecimal() else None,
        "digest": str(form.get("digest")) if form.get("digest") else None,
    }
    try:
        if act is None or acting is None:
            raise BadInput("no such act")
        act(acting, identity.name, body)
    except (BadInput, ActuatorError) as e:
        text = f"{console.words(request)['failed']}: {plain(e, limit=400)}"
        return _isolations(console, request, identity, status=409, error=text)
    return RedirectResponse("/isolations", status_code=303)


def _audit(console: Console, request: Request, identity: Identity) -> Response:
    return console.render(
        request,
        "audit.html",
        here="audit",
        rows=api.audit_rows(console.views, TABLE_ROWS),
        origins=_origins(console),
    )


def _idle(console: Console, request: Request, identity: Identity) -> Response:
    views = console.views
    at, cards = views.fleet.cards()
    now = datetime.fromtimestamp(at, UTC).replace(tzinfo=None)
    parameters = {"now": now, "back": now - LOOK_BACK, "active": ACTIVE_RATIO}
    since = {
        row["card_id"]: (row["last_busy"], row["seen_from"])
        for row in api.select(views, "console", "idle_since", parameters)
    }
    names = views.fleet.department_names()
    found = []
    for card in cards:
        if card.state != "allocated_idle" or card.card_id not in since:
            continue
        last_busy, seen_from = since[card.card_id]
        # what the card did before this holder came is not this holder's
        known = [instant for instant in (last_busy, card.held_from) if instant is not None]
        start = max([*known, seen_from])
        price = views.fleet.price(card)
        hours = Decimal((now - start).total_seconds()) / 3600 * card.held_nano / 1_000_000_000
        cost = "–" if price is None else f"{hours * price[0]:,.2f} {price[1]}"
        found.append(
            {
                "card": card,
                "since": start,
                "at_least": start == seen_from,
                "duration": written.age((now - start).total_seconds(), console.words(request)["spans"]),
                "cost": cost,
            }
        )
    found.sort(key=lambda row: row["since"])
    return console.render(
        request,
        "idle.html",
        here="idle",
        rows=found[:TABLE_ROWS],
        names=names,
        origins={card.origin for card in cards},
    )
