"""``ullage-collector serve``: wires listener, journals, store writer, fault engine, API, and stops them in order.

Every part runs in a thread of its own and may fail alone (parts.py). Between the receiver and everything
behind it there are only the journals and positions in the store, so that a store that cannot be written
stops no receiving until the journal's bound. One process a data directory, held by a lock.
Not here: what any part does.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import gc
import json
import logging
import os
import resource
import secrets
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import ullage_contract
from ullage_collector import metrics
from ullage_collector.config import Config
from ullage_collector.front import build
from ullage_collector.health import Health
from ullage_collector.journal import START, Journal, JournalReader, Position
from ullage_collector.parts import Part
from ullage_collector.receive.commit import Committer
from ullage_collector.receive.identity import Doorkeeper, Tokens, session_secret
from ullage_collector.receive.listener import Listener
from ullage_collector.receive.notices import Notices
from ullage_collector.receive.otlp import Otlp
from ullage_collector.receive.push import Push
from ullage_collector.receive.streams import StreamRow, Streams
from ullage_collector.sql import statements
from ullage_contract.clock import Clock, SystemClock
from ullage_contract.errors import ConfigError, StoreError

if TYPE_CHECKING:
    import duckdb
    from starlette.routing import BaseRoute

    from ullage_collector.fault_engine import FaultEngine
    from ullage_collector.store.store import Store
    from ullage_collector.store.writer import Writer

log = logging.getLogger(__name__)

LANES: Final = ("samples", "events")
KEEPER_SECONDS: Final = 0.25  # our choice: a quarter second of pushes is small against the journal's bound
TRUNCATE_ROUNDS: Final = 20
STOP_SECONDS: Final = 10.0


class Lock:
    """DIR/collector/lock: held while serving; says who holds it and where it listens, for people."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as e:
            holder = os.pread(self._fd, 200, 0).decode("utf-8", "replace").strip()
            os.close(self._fd)
            raise StoreError(
                f"{path}: another collector serves this directory ({holder or 'unknown'})"
            ) from e

    def write(self, document: dict[str, Any]) -> None:
        os.ftruncate(self._fd, 0)
        os.pwrite(self._fd, json.dumps(document).encode() + b"\n", 0)

    def release(self) -> None:
        os.ftruncate(self._fd, 0)
        os.close(self._fd)


class StoreDoor:
    """The open store, and its way back after DuckDB gave it up (a fatal error closes a database for good)."""

    def __init__(self, config: Config, clock: Clock) -> None:
        from ullage_collector.store.store import Store

        self._config = config
        self._clock = clock
        self.store: Store = Store.open(config.store_path, config.store, clock)

    def cursor(self) -> duckdb.DuckDBPyConnection:
        """A cursor for one reader; the caller closes it."""
        return self.store.cursor()

    def mend(self) -> bool:
        """Open the store anew if it is dead; whether it was. Raises StoreError when it does not open."""
        import duckdb

        from ullage_collector.store.store import Store

        try:
            cursor = self.store.cursor()
            cursor.execute(statements("receive")["alive"]).close()
            return False
        except duckdb.Error as e:
            log.error("the store is opened anew: %s", e)
        with contextlib.suppress(duckdb.Error):
            self.store.close()
        self.store = Store.open(self._config.store_path, self._config.store, self._clock)
        return True


class Collector:
    """Everything ``serve`` runs. ``run`` serves until ``stop`` is called; one use.

    port: what the listener is bound to, once it is. started: set when requests are answered.
    """

    def __init__(self, config: Config, clock: Clock) -> None:
        self.config = config
        self.clock = clock
        self.health = Health(started_at=clock.wall())
        self.streams = Streams()
        self.started = threading.Event()
        self.port = 0
        self._stop: asyncio.Event | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._writer: Writer | None = None
        self._engine: FaultEngine | None = None
        self._positions: dict[str, Position] = dict.fromkeys(LANES, START)
        self._pending: dict[str, int] = dict.fromkeys(LANES, 0)

    def pending_bytes(self, lane: str) -> int:
        """push.Pressure: bytes the lane's slowest consumer has still to read, at most a moment old."""
        return self._pending[lane]

    def stop(self) -> None:
        """End ``run``; from any thread."""
        if self._loop is not None and self._stop is not None:
            with contextlib.suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._stop.set)

    async def run(self) -> None:
        """Serve. Raises ConfigError or StoreError when it cannot begin."""
        self._loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        for name in (signal.SIGTERM, signal.SIGINT):
            if threading.current_thread() is threading.main_thread():
                self._loop.add_signal_handler(name, self._stop.set)
        with contextlib.ExitStack() as held:
            lock = Lock(self.config.collector_dir / "lock")
            held.callback(lock.release)
            tokens = Tokens(self.config.tokens_path)
            tokens.load()
            doorkeeper = Doorkeeper(
                tokens,
                self.config.listen,
                self.clock,
                session_secret(self.config.collector_dir / "session.key"),
            )
            doorkeeper.check_bind()
            door = self._door = StoreDoor(self.config, self.clock)
            held.callback(lambda: door.store.close())
            readers = {lane: JournalReader(self.config.journal_dir / lane) for lane in LANES}
            journals = self._journals(door.store, held)
            self._recover(door.store, readers.values())
            committers = {lane: Committer(journal, self._loop, lane) for lane, journal in journals.items()}
            parts = list(self._parts(door, journals, readers))
            for part in parts:
                part.start()
            try:
                await self._serve(lock, doorkeeper, door, journals, committers)
            finally:
                for part in parts:
                    part.stop()
                for committer in committers.values():
                    await asyncio.to_thread(committer.stop)
                for part in parts:
                    if not await asyncio.to_thread(part.join, STOP_SECONDS):
                        log.error("%s does not end; the journal keeps what it had still to do", part.name)
        log.info("stopped")

    async def _serve(
        self,
        lock: Lock,
        doorkeeper: Doorkeeper,
        door: StoreDoor,
        journals: dict[str, Journal],
        committers: dict[str, Committer],
    ) -> None:
        config, clock = self.config, self.clock
        limit = config.receive.max_pending_bytes
        push = Push(
            committers=committers,
            streams=self.streams,
            notices=Notices(committers["events"], clock),
            pressure=self,
            max_pending_bytes=limit,
            health=self.health,
            clock=clock,
            asked_of=self._probes.asked_of,
        )
        otlp = Otlp(
            samples=committers["samples"],
            pressure=self,
            max_pending_bytes=limit,
            health=self.health,
            clock=clock,
            nonce=secrets.token_hex(8),
        )
        routes, pages, exposition = self._views(door, journals)
        listener = Listener(
            config.listen,
            socket_path=config.socket_path if config.listen.socket else None,
            push=push,
            app=build(
                health=self.health,
                doorkeeper=doorkeeper,
                otlp=otlp,
                exposition=exposition,
                api=routes,
                pages=pages,
            ),
            doorkeeper=doorkeeper,
            health=self.health,
            clock=clock,
        )
        await listener.listen()
        self.port = listener.port
        lock.write({"pid": os.getpid(), "host": config.listen.host, "port": self.port})
        log.info("listening on %s port %d%s", config.listen.host, self.port, self._how(doorkeeper))
        self.started.set()
        notify("READY=1")
        try:
            assert self._stop is not None
            await self._stop.wait()
        finally:
            notify("STOPPING=1")
            log.info("stopping")
            await listener.close()

    def _how(self, doorkeeper: Doorkeeper) -> str:
        tls = ", TLS" if self.config.listen.tls_certificate else ""
        return tls + (", everybody on this machine is admin: no tokens yet" if doorkeeper.open else "")

    def _journals(self, store: Store, held: contextlib.ExitStack) -> dict[str, Journal]:
        """Both lanes' writers, numbered on behind what any consumer has read."""
        from ullage_collector.incident_memory import CONSUMER
        from ullage_collector.store.writer import EVENTS, SAMPLES

        read: dict[str, Position] = {}
        cursor = store.cursor()
        for consumer in (SAMPLES, EVENTS, CONSUMER):
            row = cursor.execute(statements("store")["position"], [consumer]).fetchone()
            read[consumer] = Position(*row) if row else START
        cursor.close()
        self._positions = {"samples": read[SAMPLES], "events": min(read[EVENTS], read[CONSUMER])}
        after = {"samples": read[SAMPLES], "events": max(read[EVENTS], read[CONSUMER])}
        settings = self.config.receive
        journals = {}
        for lane in LANES:
            journals[lane] = Journal(
                self.config.journal_dir / lane,
                segment_bytes=settings.segment_bytes,
                # Events are small and matter most: they may use what samples have to leave free.
                reserve_bytes=settings.reserve_bytes if lane == "samples" else settings.reserve_bytes // 4,
                after=after[lane],
            )
            held.callback(journals[lane].close)
        return journals

    def _recover(self, store: Store, readers: Any) -> None:
        cursor = store.cursor()
        rows = [StreamRow(*row) for row in cursor.execute(statements("receive")["streams"]).fetchall()]
        cursor.close()
        seen = self.streams.recover(rows, readers)
        log.info("%d streams known, %d batches in the journals", len(self.streams), seen)

    # ---- the parts

    def _parts(
        self, door: StoreDoor, journals: dict[str, Journal], readers: dict[str, JournalReader]
    ) -> Iterator[Part]:
        from ullage_collector.allocation.heard import Heard
        from ullage_collector.allocation.schedulers import kinds_by_cluster
        from ullage_collector.isolate.assembly import assemble
        from ullage_collector.topology.kubernetes import LabelTopology
        from ullage_collector.topology.reading import settings_of as topology_settings

        heard = Heard()
        places = LabelTopology(lambda: door.store, self.config.part("topology"))

        from ullage_collector.isolate.probes import Probes

        self._probes = Probes(door.cursor, self.clock)

        asked = kinds_by_cluster(self.config.part("allocation"), str(self.config.path or "collector.toml"))

        def last_heard(cluster: str) -> float | None:
            return heard.all_of(cluster, asked.get(cluster, ()))

        self._acting = assemble(self.config, door.cursor, self.clock, probes=self._probes, heard=last_heard)
        isolation = self._isolation = self._acting.isolation

        def write(stop: threading.Event) -> None:
            from ullage_collector.store.quarantine import Quarantine
            from ullage_collector.store.writer import Writer

            quarantine = Quarantine(self.config.quarantine_dir, self.config.receive.quarantine_bytes)
            self._writer = Writer(door.store, readers["samples"], readers["events"], quarantine)
            self._writer.run(stop)

        from ullage_collector.detect.fault_settings import settings_of as fault_settings

        faults = fault_settings(self.config.part("faults"))
        precedence, _ = topology_settings(self.config.part("topology"))

        def judge(stop: threading.Event) -> None:
            from ullage_collector.fault_engine import FaultEngine

            self._engine = FaultEngine(
                door.cursor,
                JournalReader(self.config.journal_dir / "events"),
                faults.rules,
                isolation,
                self.clock,
                decider=self._acting.policy,
                settings=faults,
                precedence=precedence,
            )
            self._acting.policy.on_closed = self._engine.forget_closed
            self._engine.run(stop)

        def roll_up(stop: threading.Event) -> None:
            from ullage_collector.store.rollup import Rollup

            Rollup(door.store).run(stop)

        def make_quota_hours(stop: threading.Event) -> None:
            from ullage_collector.quota.hours import HourMaker

            HourMaker(door.store).run(stop)

        def publish(stop: threading.Event) -> None:
            from ullage_collector.publish.publisher import Publisher

            Publisher(door.store, self.config).run(stop)

        def compare(stop: threading.Event) -> None:
            from ullage_collector.detect.rounds import Rounds

            Rounds(lambda: door.store, self.config).run(stop)

        def propose(stop: threading.Event) -> None:
            from ullage_collector.recommendations.rounds import RecommendationRounds

            RecommendationRounds(lambda: door.store, self.config).run(stop)

        def watch_use(stop: threading.Event) -> None:
            from ullage_collector.detect.unallocated_watch import UnallocatedWatch

            UnallocatedWatch(lambda: door.store, self.config, heard).run(stop)

        on_store = [
            Part(name, run, health=self.health, clock=self.clock)
            for name, run in (
                ("store-writer", write),
                ("fault-engine", judge),
                ("rollup", roll_up),
                ("publisher", publish),
                ("quota-hours", make_quota_hours),
                ("estate-rounds", compare),
                ("recommendations", propose),
                ("unallocated-use", watch_use),
                ("probes", self._probes.run),
                ("isolation", self._acting.lifecycle.run),
            )
        ]

        from ullage_collector.allocation.kubernetes import source as kubernetes

        on_store += [
            Part(source.name, source.run, health=self.health, clock=self.clock)
            for source in kubernetes.from_config(
                self.config, lambda: door.store, self.health, self.clock, places.told, heard
            )
        ]

        from ullage_collector.allocation.slurm import source as slurm

        on_store += [
            Part(name, run, health=self.health, clock=self.clock)
            for name, run in slurm.parts(self.config, lambda: door.store, heard)
        ]

        from ullage_collector.serving import watch as serving

        on_store += [
            Part(name, run, health=self.health, clock=self.clock)
            for name, run in serving.parts(self.config, lambda: door.store, self.health)
        ]

        from ullage_collector.notify import service as notices

        self._notifier = notices.from_config(self.config, lambda: door.store)
        on_store += [
            Part(name, run, health=self.health, clock=self.clock) for name, run in self._notifier.parts()
        ]

        def keep(stop: threading.Event) -> None:
            rounds = 0
            while not stop.wait(KEEPER_SECONDS):
                rounds += 1
                self._keep(journals, truncate=rounds % TRUNCATE_ROUNDS == 0)
                if rounds % TRUNCATE_ROUNDS == 0 and door.mend():
                    for part in on_store:
                        part.restart()

        yield from on_store
        yield Part("journal-keeper", keep, health=self.health, clock=self.clock)

    def _keep(self, journals: dict[str, Journal], *, truncate: bool) -> None:
        """See how far the consumers are; remove what all of them have read."""
        from ullage_collector.store.writer import EVENTS, SAMPLES

        writer, engine = self._writer, self._engine
        if writer is not None:
            self._positions["samples"] = writer.position(SAMPLES)
            if engine is not None:
                self._positions["events"] = min(writer.position(EVENTS), engine.position)
        for lane, journal in journals.items():
            self._pending[lane] = journal.pending_bytes(self._positions[lane])
            if truncate:
                journal.truncate_before(self._positions[lane])

    def _views(
        self, door: StoreDoor, journals: dict[str, Journal]
    ) -> tuple[Sequence[BaseRoute], Sequence[BaseRoute], Callable[[], str]]:
        from ullage_collector import api, operations
        from ullage_collector.adjust import api as adjust
        from ullage_collector.console import app as console
        from ullage_collector.estate import answers as estate
        from ullage_collector.fleet_now import FleetNow
        from ullage_collector.isolate import answers as acting
        from ullage_collector.maintenance import api as maintenance
        from ullage_collector.notify import api as notify_api
        from ullage_collector.notify import service as notices
        from ullage_collector.ownership import api as ownership
        from ullage_collector.pricing import api as pricing
        from ullage_collector.quota import api as quota
        from ullage_collector.quota.exposition import Exposition
        from ullage_collector.recommendations import api as recommendations
        from ullage_collector.recommendations import exposition as proposed
        from ullage_collector.records import api as records

        fleet = FleetNow(door.cursor, self.clock)

        def look_anew() -> None:
            if self._engine is not None:
                self._engine.forget_closed()

        views = api.Views(
            door.cursor, fleet, self._isolation, self.clock, look_anew, self._acting, lambda: door.store
        )

        def exposition() -> str:
            snapshot = None
            try:
                snapshot = fleet.snapshot()
            except Exception:
                log.exception("the fleet's figures could not be read for /metrics")
            writer = self._writer
            page = metrics.render(
                self.health,
                [
                    metrics.JournalState(lane, journal.size_bytes(), self._pending[lane])
                    for lane, journal in journals.items()
                ],
                snapshot,
                now=self.clock.wall(),
                version=ullage_contract.__version__,
                streams=len(self.streams),
                quarantined=writer.counts.quarantined if writer is not None else 0,
            )
            return (
                page
                + quotas.text()
                + acting.exposition(self._acting)
                + notices.exposition(door.store, self._notifier)
                + proposed.exposition(door.store)
            )

        quotas = Exposition(lambda: door.store)
        promised = quota.routes(lambda: door.store)
        asked = operations.routes(lambda: door.store, self.config)
        placed = estate.routes(views, self.config, lambda: door.store)
        told = [
            *notify_api.routes(lambda: door.store, self._notifier),
            *maintenance.routes(lambda: door.store, fleet, self._isolation),
            *records.routes(lambda: door.store),
            *adjust.routes(lambda: door.store, self.config),
            *recommendations.routes(lambda: door.store),
        ]
        return (
            [
                *api.routes(views),
                *acting.routes(self._acting),
                *ownership.routes(views),
                *pricing.routes(views),
                *placed,
                *promised,
                *told,
                *asked,
            ],
            console.routes(views),
            exposition,
        )


def notify(state: str) -> None:
    """Tell systemd (Type=notify); nothing without NOTIFY_SOCKET. sd_notify(3)."""
    target = os.environ.get("NOTIFY_SOCKET")
    if not target:
        return
    address = "\0" + target[1:] if target.startswith("@") else target
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as told:
        told.sendto(state.encode(), address)


def _raise_file_limit(connections: int) -> None:
    """One descriptor a connection and some for the store: up to the hard limit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = connections + 512
    if soft != resource.RLIM_INFINITY and soft < wanted:
        most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
        if most < connections:
            log.warning("at most %d files may be open: fewer than %d connections fit", most, connections)


def run(config: Config, clock: Clock | None = None) -> int:
    """Serve until SIGTERM or SIGINT. Exit code: 0 stopped, 1 failed, 2 a setting is wrong."""
    import uvloop

    _raise_file_limit(config.listen.max_connections)
    # The store decodes and the listener answers in one interpreter: a shorter switch interval keeps
    # answers quick while a long decode runs (5 ms is Python's default).
    sys.setswitchinterval(0.001)
    # A commit's columns are tens of thousands of lists that live for a second and hold no cycles: looking
    # through them at every 700 allocations took a third of the writer's time (measured).
    gc.set_threshold(100_000, 20, 20)
    collector = Collector(config, clock or SystemClock())
    try:
        uvloop.run(collector.run())
    except ConfigError as e:
        log.error("%s", e)
        return 2
    except StoreError as e:
        log.error("%s", e)
        return 1
    return 0
