"""Every answer of the API, asked about times nobody can mean: told what is wrong with them, and never an error of the collector's own."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from starlette.applications import Starlette
from starlette.routing import Route
from starlette.testclient import TestClient
from tests.collector.test_console import World

from ullage_collector import api
from ullage_collector.adjust import api as adjust
from ullage_collector.api import Views
from ullage_collector.config import Config
from ullage_collector.estate import answers as estate
from ullage_collector.ownership import api as ownership
from ullage_collector.pricing import api as pricing
from ullage_collector.quota import api as quota
from ullage_collector.receive.identity import Identity, Role
from ullage_collector.recommendations import api as recommendations
from ullage_collector.records import api as records

NAMES = ("from", "to", "at", "known", "tree", "step", "days")
TIMES = ("1e15", "0001-01-01T00:00:00+08:00", "9999-12-31")


@pytest.fixture
def routes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Route]]:
    world = World(tmp_path_factory.mktemp("world"))

    def store() -> object:
        return world.store

    views = Views(world.store.cursor, world.fleet, world.isolation, world.clock, lambda: None, store=store)  # type: ignore[arg-type]
    every = [
        *quota.routes(store),  # type: ignore[arg-type]
        *estate.routes(views, Config(), store),  # type: ignore[arg-type]
        *records.routes(store),  # type: ignore[arg-type]
        *adjust.routes(store, Config()),  # type: ignore[arg-type]
        *recommendations.routes(store),  # type: ignore[arg-type]
        *api.routes(views),
        *ownership.routes(views),
        *pricing.routes(views),
    ]
    yield [route for route in every if route.path.startswith("/api/") and "GET" in (route.methods or ())]
    world.store.close()


def test_no_time_that_is_asked_about_is_an_error_of_the_collectors_own(routes: list[Route]) -> None:
    app = Starlette(routes=routes)
    identity = Identity("ada", Role.OPERATOR, departments=("rd",))

    async def known(scope: dict, receive: object, send: object) -> None:
        scope.setdefault("state", {})["identity"] = identity
        await app(scope, receive, send)  # type: ignore[arg-type]

    client = TestClient(known, follow_redirects=False, raise_server_exceptions=False)
    broken = []
    for route in routes:
        path = re.sub(r"\{[^}]+\}", "GPU-1", re.sub(r"\{\w+:int\}", "1", route.path))
        for name in NAMES:
            for text in TIMES:
                code = client.get(path, params={name: text}).status_code
                if code >= 500:
                    broken.append(f"{path}?{name}={text!r}: {code}")
    assert not broken
