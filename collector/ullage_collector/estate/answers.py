"""Routes and commands about the estate: inventory, topology, versions, fragmentation, uneven use. Each answer is made by one function for both.

While a collector serves, a command asks it over its socket; else it opens the store itself. Not here: what the answers say.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.routing import Route

from ullage_collector import operator_door, version_reading
from ullage_collector.api import Answer, Views, endpoint
from ullage_collector.config import Config
from ullage_collector.detect.fragmentation import store_answers
from ullage_collector.detect.uneven import answer as uneven
from ullage_collector.detect.uneven.settings import rules_of as uneven_rules
from ullage_collector.detect.versions import rules_of as version_rules
from ullage_collector.inventory import reading as inventory_reading
from ullage_collector.inventory.history import history
from ullage_collector.inventory.life import rules_of as inventory_rules
from ullage_collector.receive.identity import Identity, Role
from ullage_collector.topology import cli as command
from ullage_collector.topology import reading as topology_reading
from ullage_collector.topology.door import import_topology
from ullage_contract.errors import BadInput
from ullage_contract.instants import asked_us

if TYPE_CHECKING:
    import duckdb

    from ullage_collector.store.store import Store


@dataclass(frozen=True, slots=True)
class Asked:
    """One question. parameters: of the query. now_us: microseconds since the epoch. since_us: from when this collector
    listens; None: nobody serves.
    """

    connection: duckdb.DuckDBPyConnection
    parameters: Mapping[str, str]
    config: Config
    now_us: int
    since_us: int | None

    def instant_us(self, name: str) -> int:
        """A time of the query, epoch seconds or ISO 8601 with offset; now where it is not given. Raises BadInput."""
        text = self.parameters.get(name, "")
        return asked_us(text, name) if text else self.now_us


def _topology(asked: Asked) -> dict[str, Any]:
    at_us, known_us = asked.instant_us("at"), asked.instant_us("known")
    precedence, _ = topology_reading.settings_of(asked.config.part("topology"))
    found = topology_reading.load(asked.connection, at_us, known_us, precedence)
    return topology_reading.as_json(found, at_us, known_us, asked.parameters.get("node") or None)


def _topology_check(asked: Asked) -> dict[str, Any]:
    at_us, known_us = asked.instant_us("at"), asked.instant_us("known")
    precedence, _ = topology_reading.settings_of(asked.config.part("topology"))
    return topology_reading.check(topology_reading.load(asked.connection, at_us, known_us, precedence))


def _reconcile(asked: Asked) -> dict[str, Any]:
    rules = inventory_rules(asked.config.part("inventory"))
    return inventory_reading.as_json(
        *inventory_reading.reconciled(asked.connection, rules, asked.now_us, asked.since_us)
    )


def _history(asked: Asked) -> dict[str, Any]:
    named = asked.parameters.get("of", "")
    if not named:
        raise BadInput("inventory history: name a card_id, a serial or an asset_id")
    known = datetime.fromtimestamp(asked.instant_us("known") / 1e6, UTC).replace(tzinfo=None)
    rules = inventory_rules(asked.config.part("inventory"))
    return history(asked.connection, named, known, rules).to_json()


def _versions(asked: Asked) -> dict[str, Any]:
    subject = asked.parameters.get("of", "")
    if subject:
        return version_reading.history_json(asked.connection, subject)
    return version_reading.as_json(
        asked.connection, version_rules(asked.config.part("versions")), asked.now_us
    )


def _fragmentation(asked: Asked) -> dict[str, Any]:
    return store_answers.measured(asked.connection, asked.config, asked.now_us, asked.parameters)


def _fragmentation_moves(asked: Asked) -> dict[str, Any]:
    return store_answers.moves(asked.connection, asked.config, asked.now_us, asked.parameters)


def _uneven(asked: Asked) -> dict[str, Any]:
    from_us, to_us = (
        asked.instant_us(name) if asked.parameters.get(name) else None for name in ("from", "to")
    )
    rules = uneven_rules(asked.config.part("uneven"))
    return uneven.answer(asked.connection, rules, asked.now_us, from_us, to_us)


ANSWERS: Final[Mapping[str, Callable[[Asked], dict[str, Any]]]] = {
    "/api/v1/topology": _topology,
    "/api/v1/topology/check": _topology_check,
    "/api/v1/inventory/reconcile": _reconcile,
    "/api/v1/inventory/history": _history,
    "/api/v1/versions": _versions,
    "/api/v1/fragmentation": _fragmentation,
    "/api/v1/fragmentation/moves": _fragmentation_moves,
    "/api/v1/uneven": _uneven,
}
"""Route -> answer; viewers may read all of them."""


def routes(views: Views, config: Config, store: Callable[[], Store]) -> list[Route]:
    """The routes. The collector listens from now on, as far as silence is judged. store: the open store now."""
    since_us = round(views.clock.wall() * 1e6)
    found = [
        Route(path, endpoint(Role.VIEWER, _answering(views, config, since_us, make)))
        for path, make in ANSWERS.items()
    ]

    def imported(request: Request, identity: Identity, body: dict[str, Any]) -> dict[str, Any]:
        report = import_topology(store(), command.asked_of(body), config.part("topology"))
        return {"imports": [report.to_json()]}

    importing = endpoint(Role.OPERATOR, imported, on_socket=True)
    return [*found, Route(command.ROUTE, importing, methods=["POST"])]


def _answering(
    views: Views, config: Config, since_us: int, make: Callable[[Asked], dict[str, Any]]
) -> Answer:
    def answer(request: Request, identity: Identity, body: dict[str, Any]) -> dict[str, Any]:
        now_us = round(views.clock.wall() * 1e6)
        with views.connect() as connection:
            return make(Asked(connection, dict(request.query_params), config, now_us, since_us))

    return answer


def ask(config: Config, path: str, parameters: Mapping[str, str | None]) -> dict[str, Any]:
    """The answer of a route, from the running collector or from the store opened here. Raises UllageError."""
    given = {name: value for name, value in parameters.items() if value}
    if operator_door.is_served(config.socket_path):
        query = f"?{urlencode(given)}" if given else ""
        answer: dict[str, Any] = operator_door.call(config.socket_path, "GET", path + query)
        return answer
    from ullage_collector.store.store import Store

    store = Store.open(config.store_path, config.store)
    try:
        now_us = round(store.clock.wall() * 1e6)
        return ANSWERS[path](Asked(store.reader(), given, config, now_us, None))
    finally:
        store.close()
