"""The measure and the proposal of the fleet as the store knows it now: what the routes and commands answer."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from ullage_collector.config import Config
from ullage_collector.detect.fragmentation import reading
from ullage_collector.detect.fragmentation.answer import answer
from ullage_collector.detect.fragmentation.proposal import proposal, started
from ullage_collector.detect.fragmentation.settings import Rules, rules_of
from ullage_collector.fleet_now import FleetNow
from ullage_collector.topology.reading import load, settings_of
from ullage_contract.clock import ManualClock
from ullage_contract.errors import BadInput

if TYPE_CHECKING:
    import duckdb

SCHEMA_VERSION: Final = 1
MOST_MOVES: Final = (
    200  # our choice: because a route answers within seconds; the command on files allows more
)


def measured(
    connection: duckdb.DuckDBPyConnection, config: Config, now_us: int, parameters: Mapping[str, str]
) -> dict[str, Any]:
    """``fragmentation``: parameter memory (1: test memory too). Raises BadInput where too few tasks ran."""
    memory = parameters.get("memory") == "1"
    fleet, rules = _read(connection, config, now_us, memory)
    return {
        "schema_version": SCHEMA_VERSION,
        **_known(fleet, now_us),
        **answer(fleet.nodes, fleet.typical.kinds, memory=memory),
        **started(fleet.nodes, fleet.typical.kinds, rules, None),
    }


def moves(
    connection: duckdb.DuckDBPyConnection, config: Config, now_us: int, parameters: Mapping[str, str]
) -> dict[str, Any]:
    """``defragment``: parameters memory and most (moves). Raises BadInput where too few tasks ran."""
    memory, most = parameters.get("memory") == "1", parameters.get("most", "")
    fleet, rules = _read(connection, config, now_us, memory)
    if most:
        if not (most.isascii() and most.isdecimal() and 1 <= int(most[:9]) <= MOST_MOVES):
            raise BadInput(f"most: {most[:20]!r} is no number from 1 to {MOST_MOVES}")
        rules = replace(rules, most_moves=int(most))
    return {
        "schema_version": SCHEMA_VERSION,
        **_known(fleet, now_us),
        **proposal(fleet.nodes, fleet.work, fleet.typical.kinds, rules, memory=memory),
    }


def _read(
    connection: duckdb.DuckDBPyConnection, config: Config, now_us: int, memory: bool
) -> tuple[reading.Fleet, Rules]:
    rules = rules_of(config.part("fragmentation"))
    precedence, _ = settings_of(config.part("topology"))
    # One instant for all that is read: the question's.
    fleet_now = FleetNow(lambda: nullcontext(connection), ManualClock(now_us / 1e6))
    topology = load(connection, now_us, now_us, precedence)
    fleet = reading.read(connection, fleet_now, topology, rules, memory=memory)
    if not fleet.typical.kinds.tasks:
        raise BadInput(
            f"{fleet.typical.tasks} tasks began in the last {rules.history_days} days; fewer than {rules.least_tasks} "
            "make nothing typical: give --nodes and --tasks, or wait"
        )
    return fleet, rules


def _known(fleet: reading.Fleet, now_us: int) -> dict[str, Any]:
    return {
        "at_us": now_us,
        "left_out": dict(fleet.left_out),
        "typical_of_tasks": fleet.typical.tasks,
        "tasks_without_cpu": fleet.asked_without_cpu,
    }
