"""The ASGI app behind the listener: health, metrics, login, OTLP, and the API's and console's routes.

Not here: what those routes do.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any
from urllib.parse import parse_qs

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import BaseRoute, Route

from ullage_collector import metrics
from ullage_collector.health import Health
from ullage_collector.receive.identity import COOKIE, SESSION_SECONDS, Doorkeeper
from ullage_collector.receive.otlp import Otlp

SCHEMA_VERSION = 1
_METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")


def build(
    *,
    health: Health,
    doorkeeper: Doorkeeper,
    otlp: Otlp,
    exposition: Callable[[], str],
    api: Sequence[BaseRoute] = (),
    pages: Sequence[BaseRoute] = (),
) -> Starlette:
    """The app. exposition: the text of /metrics; it may block.

    api: routes below /api, where what is not there is a JSON 404; pages: the console's, which may answer
    every other path.
    """

    async def healthz(request: Request) -> Response:
        failed = sorted(name for name, part in health.parts.items() if not part.running)
        document = {
            "schema_version": SCHEMA_VERSION,
            "status": "degraded" if failed else "ok",
            "failed": failed,
        }
        return JSONResponse(document, 503 if failed else 200)

    async def show_metrics(request: Request) -> Response:
        text = await asyncio.to_thread(exposition)
        return PlainTextResponse(text, media_type=metrics.CONTENT_TYPE)

    async def login(request: Request) -> Response:
        """Form or JSON with ``token``; sets the session's cookie and goes to ``next``."""
        fields = await _fields(request)
        opened = doorkeeper.open_session(fields.get("token", "").strip())
        wants_page = "text/html" in request.headers.get("accept", "")
        if opened is None:
            if wants_page:
                return RedirectResponse("/login?failed=1", 303)
            return _error(401, "unauthenticated", "this token is not known here, or opens no console")
        value, identity = opened
        target = fields.get("next", "/")
        if not target.startswith("/") or target.startswith(("//", "/\\")):
            target = "/"
        response: Response
        if wants_page:
            response = RedirectResponse(target, 303)
        else:
            response = JSONResponse({"schema_version": SCHEMA_VERSION, "name": identity.name})
        response.set_cookie(
            COOKIE,
            value,
            max_age=SESSION_SECONDS,
            path="/",
            httponly=True,
            samesite="strict",
            secure=request.scope["scheme"] == "https",
        )
        return response

    async def logout(request: Request) -> Response:
        response = RedirectResponse("/", 303)
        response.delete_cookie(COOKIE, path="/")
        return response

    async def missing(request: Request) -> Response:
        return _error(404, "not_found", f"{request.method} {request.url.path}: no such route here")

    def failed(request: Request, error: Exception) -> Response:
        status = error.status_code if isinstance(error, HTTPException) else 500
        word = {404: "not_found", 405: "method_not_allowed"}.get(status, "failed")
        detail = error.detail if isinstance(error, HTTPException) else "the collector failed on this request"
        return _error(status, word, f"{request.method} {request.url.path}: {detail}")

    return Starlette(
        routes=[
            Route("/healthz", healthz),
            Route("/metrics", show_metrics),
            Route("/login", login, methods=["POST"]),
            Route("/logout", logout, methods=["POST"]),
            Route("/v1/metrics", otlp.endpoint, methods=["POST"]),
            *api,
            *(Route(f"/{top}/{{rest:path}}", missing, methods=_METHODS) for top in ("api", "v1")),
            *pages,
        ],
        exception_handlers={HTTPException: failed},
    )


async def _fields(request: Request) -> dict[str, str]:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > 16 * 1024:
            raise HTTPException(413, "the form is too large")
    if request.headers.get("content-type", "").startswith("application/json"):
        import json

        try:
            document: Any = json.loads(bytes(body))
        except ValueError:
            return {}
        return {str(k): str(v) for k, v in document.items()} if isinstance(document, dict) else {}
    return {k: v[0] for k, v in parse_qs(body.decode("utf-8", "replace")).items()}


def _error(status: int, word: str, message: str) -> JSONResponse:
    return JSONResponse({"schema_version": SCHEMA_VERSION, "error": word, "message": message}, status)
