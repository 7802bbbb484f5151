"""Everything that isolates, put together from collector.toml: one instance a store, in serve and in commands."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ullage_collector.detect.faults import rules_of
from ullage_collector.isolate import follow_settings, kubernetes_holders, policy_settings
from ullage_collector.isolate.book import Book
from ullage_collector.isolate.following import FollowMeans
from ullage_collector.isolate.freeze import Freeze
from ullage_collector.isolate.isolation import Isolation, from_config
from ullage_collector.isolate.lifecycle import Lifecycle
from ullage_collector.isolate.paging import Pager
from ullage_collector.isolate.places import Places
from ullage_collector.isolate.policy import Policy
from ullage_collector.isolate.probes import Probes
from ullage_collector.isolate.probing import Asking, NamedProbes
from ullage_collector.isolate.surroundings import Surroundings, Windows
from ullage_collector.isolate.way_back import Prober
from ullage_collector.isolate.windows import StoredWindows
from ullage_collector.records.bundle import bundle
from ullage_contract.clock import Clock

if TYPE_CHECKING:
    import duckdb

    from ullage_collector.config import Config


@dataclass(frozen=True, slots=True)
class Assembly:
    """What acts, and what says whether it may."""

    isolation: Isolation
    policy: Policy
    lifecycle: Lifecycle
    freeze: Freeze
    book: Book


def assemble(
    config: Config,
    connect: Callable[[], duckdb.DuckDBPyConnection],
    clock: Clock,
    *,
    probes: Asking | None = None,
    prober: Prober | None = None,
    pager: Pager | None = None,
    windows: Windows | None = None,
    heard: Callable[[str], float | None] | None = None,
) -> Assembly:
    """connect: a cursor of the open store. probes: whom the named probes are asked of; prober: in their place.
    heard: when a cluster's scheduler last said whole what it runs (seconds since the epoch); None: nobody knows.

    Raises ConfigError for a wrong setting.
    """
    table = config.part("isolation")
    settings = policy_settings.read(dict(table.get("policy", {})), str(config.path or "collector.toml"))
    follow = _follow(config, connect, clock, heard)
    freeze, places = Freeze(connect, clock), Places()
    isolation = from_config(config, connect, clock, freeze=freeze, places=places)
    kubernetes_holders.ask_store(isolation.choice.actuators.values(), connect, clock)
    book = Book(connect, clock)
    surroundings = Surroundings(connect, clock, isolation.choice, windows or StoredWindows(connect))
    shares = {rule.name: rule.share for rule in rules_of(config.part("faults")) if rule.share is not None}
    policy = Policy(book, freeze, surroundings, isolation.choice, settings, pager, shares)
    if prober is None and settings.probes:
        prober = NamedProbes(probes or Probes(connect, clock), settings.probes)
    lifecycle = Lifecycle(policy, isolation.choice, surroundings, places, prober=prober, follow=follow)

    def changed() -> None:
        policy.sync()
        policy.woken.set()

    isolation.on_change = changed
    return Assembly(isolation, policy, lifecycle, freeze, book)


def _follow(
    config: Config,
    connect: Callable[[], duckdb.DuckDBPyConnection],
    clock: Clock,
    heard: Callable[[str], float | None] | None,
) -> FollowMeans:
    """How resets, reboots and replacements are run, by [isolation.follow]."""
    file = str(config.path or "collector.toml")
    settings = follow_settings.read(dict(config.part("isolation").get("follow", {})), file)
    alone = frozenset(
        rule.name for rule in rules_of(config.part("faults")) if rule.exit or rule.exit_after_us is not None
    )

    def made(incident: int) -> dict[str, Any]:
        with connect() as cursor:
            return bundle(cursor, incident, clock.wall())

    return FollowMeans(
        settings=settings,
        ends_itself=alone.__contains__,
        heard=heard or (lambda cluster: None),
        bundle=made,
        bundles=settings.bundles or config.store_path.parent / "bundles",
    )
