"""What somebody who reads sees of a finding: the API's list and the console's page, in each language."""

from __future__ import annotations

import json
import re
from typing import Any

from starlette.applications import Starlette
from starlette.testclient import TestClient

from ullage_collector import api
from ullage_collector.api import Views
from ullage_collector.config import Config
from ullage_collector.console import app as console
from ullage_collector.console.findings import MONEY
from ullage_collector.console.words import LANGUAGES, words
from ullage_collector.estate import answers
from ullage_collector.fleet_now import FleetNow
from ullage_collector.isolate.isolation import Isolation
from ullage_collector.receive.identity import Identity, Role
from ullage_collector.store.store import Store


def client(store: Store) -> TestClient:
    """A viewer of API, estate answers and console."""
    views = Views(
        store.cursor,
        FleetNow(store.cursor, store.clock, keep_seconds=0),
        Isolation(store.cursor, {}, store.clock),
        store.clock,
        lambda: None,
    )
    estate = answers.routes(views, Config(), lambda: store)
    app = Starlette(routes=[*api.routes(views), *estate, *console.routes(views)])

    async def known(scope: Any, receive: Any, send: Any) -> None:
        scope.setdefault("state", {})["identity"] = Identity("ada", Role.VIEWER)
        await app(scope, receive, send)

    return TestClient(known)


def seen(store: Store, kind: str) -> list[dict[str, Any]]:
    """The open findings of a kind as the API lists them; on the page they are named in both languages, without a raw key."""
    web = client(store)
    listed = [
        row
        for row in web.get("/api/v1/findings").json()["findings"]
        if row["kind"] == kind and row["until"] is None
    ]
    for row in listed:
        evidence = row["evidence"] if isinstance(row["evidence"], dict) else json.loads(row["evidence"])
        row["evidence"] = evidence
        for language in LANGUAGES:
            said = words(language)
            text = web.get("/findings", headers={"accept-language": language}).text
            part = text[text.index(said["findings"][kind]["name"]) :]
            part = part[: part.index("</table>")]
            subject = said["evidence_words"].get(row["subject"], row["subject"])
            assert subject in part and said["actions"][row["action"]] in part
            shown = set(re.findall(r'<span class="soft">([^<]*)</span>', part))
            column = next((key for key in MONEY if evidence.get(key)), None)
            if column is not None:  # money a day has a column of its own
                assert all(str(amount) in part for amount in evidence[column].values())
            assert {said["evidence_names"][key] for key in evidence if key not in ("key", column)} <= shown
            assert not {key for key in evidence if "_" in key} & shown
            assert not set(re.findall(r"[a-z_]+", part)) & (
                set(said["actions"]) | {"__unallocated__", "none_free_now"}
            )
    return listed
