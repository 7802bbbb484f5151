"""One Kubernetes cluster as a source of holdings: followers told apart by threads, one roster, one hand on the book.

Each kind of object is followed in a thread of its own; this thread alone changes the roster and the book. What could
not be believed (a full disk) is said again later; what was told meanwhile waits in a bounded queue, and then the
followers wait. Only reads: nothing on a cluster is ever changed by it.
"""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from ullage_collector.allocation.book import AllocationBook
from ullage_collector.allocation.heard import Heard
from ullage_collector.allocation.holding import Holding
from ullage_collector.allocation.kubernetes import claims, nodes, rooms, waiting
from ullage_collector.allocation.kubernetes.access import Access
from ullage_collector.allocation.kubernetes.client import Absent, Client
from ullage_collector.allocation.kubernetes.follow import (
    ABSENT_SECONDS,
    LONGEST_PAUSE_SECONDS,
    Changed,
    Follower,
    Listed,
)
from ullage_collector.allocation.kubernetes.last_seen import LastSeen
from ullage_collector.allocation.kubernetes.pods import Pod
from ullage_collector.allocation.kubernetes.roster import Roster
from ullage_collector.allocation.kubernetes.settings import Settings, from_part
from ullage_collector.allocation.kubernetes.store_eyes import SOURCE, StoreEyes
from ullage_collector.config import Config
from ullage_collector.health import Health, PartHealth
from ullage_contract.clock import Clock
from ullage_contract.errors import StoreError, UllageError

if TYPE_CHECKING:
    from ullage_collector.store.store import Store

log = logging.getLogger(__name__)

PODS, NODES, CLAIMS, SLICES = "pods", "nodes", "resourceclaims", "resourceslices"
DRA_GROUP: Final = "/apis/resource.k8s.io"
DRA_VERSIONS: Final = ("v1", "v1beta2", "v1beta1")
"""Served versions we read, the best first — KEP 4381: v1 since 1.34, v1beta2 since 1.33, v1beta1 since 1.32."""

_QUEUE: Final = 10_000  # our choice: a burst of a fleet's pods fits, and what does not waits at the server
_BATCH: Final = 500  # our choice: pods a transaction, so that the store's writer waits for milliseconds
_RETRY_SECONDS: Final = 5.0  # our choice: because a full disk is emptied by people

Message = Listed[Any] | Changed[Any]


@dataclass(slots=True)
class SourceHealth:
    """Counted since start. synced: every kind was listed once and believed. lag_seconds: of the newest round,
    from when its oldest change came to when it was believed. waiting: pods that ask for cards and have no node."""

    synced: bool = False
    rounds: int = 0
    believed: int = 0
    refused: int = 0
    lag_seconds: float = 0.0
    holding: int = 0
    waiting: int = 0


class KubernetesSource:
    """Follows one cluster while ``run`` runs; ``run`` may be called again, what was known stays.

    access: asked for at each start. store: the open store, asked for each round as it may be opened anew.
    folder: where "last seen" is kept. part: the health of the part it is run as.
    on_nodes: told the nodes whenever one changed, in this source's thread: labels are others' topology.
    heard: noted whenever all that the server told is believed.
    follow: settings of followers that differ from their defaults.
    """

    def __init__(
        self,
        settings: Settings,
        access: Callable[[], Access],
        store: Callable[[], Store],
        folder: Path,
        clock: Clock,
        *,
        part: PartHealth | None = None,
        on_nodes: Callable[[str, Mapping[str, nodes.Node]], None] | None = None,
        heard: Heard | None = None,
        follow: Mapping[str, Any] | None = None,
    ) -> None:
        self.settings = settings
        self.health = SourceHealth()
        self.roster = Roster(settings.naming, settings.drivers)
        self.unbound = waiting.WaitingPods(SOURCE, settings.cluster)
        self.rooms = rooms.Rooms(SOURCE, settings.cluster)
        self.followers: list[Follower[Any]] = []
        self._access = access
        self._store = store
        self._note = LastSeen(folder / f"{settings.cluster}.json", clock)
        self._clock = clock
        self._part = part or PartHealth()
        self._on_nodes = on_nodes
        self._heard = heard
        self._follow = dict(follow or {})
        self._told: queue.Queue[tuple[float, Message]] = queue.Queue(_QUEUE)
        self._waiting: list[Message] = []
        self._began = False
        self._eyes = StoreEyes(settings.cluster, clock)
        self._said: dict[str, tuple[Holding, ...]] = {}
        self._refused: set[str] = set()
        self._failures = 0
        self._inner = threading.Event()

    @property
    def name(self) -> str:
        """Of the part in ``serve``."""
        return part_name(self.settings.cluster)

    def run(self, stop: threading.Event) -> None:
        """Follow until ``stop``. Raises ConfigError when there is no way to the server."""
        access = self._access()
        self._inner = threading.Event()
        self.followers = [
            self._follower(access, PODS, "/api/v1/pods", rooms.reader(self.settings.naming)),
            self._follower(access, NODES, "/api/v1/nodes", nodes.read),
        ]
        threads = [self._thread(f.run, f.kind) for f in self.followers]
        if self.settings.claims:
            threads.append(self._thread(lambda stop: self._follow_claims(access, stop), "claims"))
        try:
            while not stop.is_set():
                self._round(stop)
        finally:
            self._inner.set()
            for thread in threads:
                while thread.is_alive():
                    self._take(0.0)
                    for follower in list(self.followers):
                        follower.cut()
                    thread.join(0.05)
            self._take(0.0)
            self._last_words()

    # ------------------------------------------------------------------------------------ followers
    def _follower(self, access: Access, kind: str, path: str, read: Callable[..., Any]) -> Follower[Any]:
        client = Client(access, self._clock)
        return Follower(kind, path, client, read, self._tell, self._clock, **self._follow)

    def _thread(self, run: Callable[[threading.Event], None], kind: str) -> threading.Thread:
        thread = threading.Thread(target=run, args=(self._inner,), name=f"{self.name}-{kind}", daemon=True)
        thread.start()
        return thread

    def _tell(self, message: Message) -> None:
        """Called by followers; waits while the queue is full."""
        at = self._clock.monotonic()
        while not self._inner.is_set():
            try:
                return self._told.put((at, message), timeout=0.5)
            except queue.Full:
                continue
        return None

    def _follow_claims(self, access: Access, stop: threading.Event) -> None:
        """Find which version the server has, then follow claims and slices; that it has none is told once."""
        client = Client(access, self._clock)
        told = False
        while not stop.is_set():
            version, pause = None, ABSENT_SECONDS
            try:
                version = dra_version(client)
            except UllageError as e:
                log.warning("%s: %s; claims are asked for again", self.name, e)
                pause = LONGEST_PAUSE_SECONDS
            client.close()
            if version is not None:
                path = f"{DRA_GROUP}/{version}"
                slices = self._follower(access, SLICES, f"{path}/resourceslices", claims.read_slice)
                mine = self._follower(access, CLAIMS, f"{path}/resourceclaims", claims.read_claim)
                self.followers = [*self.followers, slices, mine]
                thread = self._thread(slices.run, SLICES)
                mine.run(stop)
                thread.join()
                return
            if pause == ABSENT_SECONDS and not told:
                told = True
                log.info("%s: this server has no resource.k8s.io we read; claims are left out", self.name)
            stop.wait(pause)

    # ------------------------------------------------------------------------------------ rounds
    def _round(self, stop: threading.Event) -> None:
        """Take what was told, by the server and by nodes, and believe what follows from it."""
        fresh_at = self.followers[0].fresh_at
        first = self._take(self.settings.gather_seconds, stop)
        self._tell_failures()
        store = self._store()
        try:
            if not self._began and not self._begin(store):
                return
            self._eyes.look(store, self.roster)
            self._believe(store)
            self.unbound.tell(store, self._clock)
            self.rooms.tell(store, self._clock, self.roster.nodes)
        except StoreError as e:
            log.error("%s: what was told is said again later: %s", self.name, e)
            stop.wait(_RETRY_SECONDS)
            return
        self.health.rounds += 1
        self.health.holding = len(self.roster)
        self.health.waiting = len(self.unbound)
        self._part.last_round_at = self._clock.wall()
        if first is not None:
            self.health.lag_seconds = self._clock.monotonic() - first
        if fresh_at is not None and self._told.empty():
            self.roster.last_seen_us = round(fresh_at * 1e6)
            self._note.write(self.roster.last_seen_us)
            if self._heard is not None:
                self._heard.note("kubernetes_pod", self.settings.cluster, self.roster.last_seen_us)
        self.roster.forget(round(self._clock.wall() * 1e6))

    def _take(self, seconds: float, stop: threading.Event | None = None) -> float | None:
        """Hear for so long what is told; when the first of it had come, None: nothing did."""
        first: float | None = None
        until = self._clock.monotonic() + seconds
        heard = 0
        while heard < _QUEUE and not (stop is not None and stop.is_set()):
            left = until - self._clock.monotonic()
            try:
                at, message = self._told.get(timeout=left) if left > 0 else self._told.get_nowait()
            except queue.Empty:
                break
            first = at if first is None else first
            heard += 1
            if self._began:
                self._hear(message)
            else:
                self._waiting.append(message)
        return first

    def _hear(self, message: Message) -> None:
        roster = self.roster
        match message.kind, message:
            case "pods", Listed():
                self.rooms.hear_pods(message)
                self.unbound.hear_pods(message)
                roster.hear_pods(replace(message, items=_bound(message)))
            case "pods", Changed():
                self.rooms.hear_pod(message)
                if not isinstance(message.item, rooms.Resident):
                    self.unbound.hear_pod(message)
                if isinstance(message.item, Pod):
                    roster.hear_pod(message)
            case "nodes", Listed():
                roster.hear_nodes(message)
            case "nodes", Changed():
                roster.hear_node(message)
            case "resourceclaims", Listed():
                roster.hear_claims(message)
            case "resourceclaims", Changed():
                roster.hear_claim(message)
            case "resourceslices", Listed():
                roster.hear_slices(message)
            case "resourceslices", Changed():
                roster.hear_slice(message)
        if message.kind == NODES and self._on_nodes is not None:
            self._on_nodes(self.settings.cluster, roster.nodes)

    def _begin(self, store: Store) -> bool:
        """Once pods and nodes are listed: take up what the book holds. Nodes that may not be read are not waited for."""
        listed = [m for m in self._waiting if isinstance(m, Listed) and m.kind == PODS]
        nodes_there = any(m.kind == NODES for m in self._waiting) or self.followers[1].health.failures > 0
        if not listed or not nodes_there:
            return False
        self._eyes.look(store, self.roster)
        ids = [pod.workload.workload_id for message in listed for pod in _bound(message)]
        standing = AllocationBook(store, SOURCE).standing(self.settings.cluster)
        finished, learned = self._eyes.runs(store, [*ids, *(run.workload_id for run in standing)])
        self.roster.believe(standing, finished, self._note.read(), learned)
        self._began = True
        waiting, self._waiting = self._waiting, []
        for message in sorted(waiting, key=lambda m: m.kind == PODS):
            self._hear(message)
        self.health.synced = True
        log.info("%s: %d pods hold cards, %d wait", self.name, len(self.roster), len(self.unbound))
        return True

    def _believe(self, store: Store) -> None:
        """Say anew whatever may have changed, in short transactions. Raises StoreError; nothing is lost then."""
        now_us = round(self._clock.wall() * 1e6)
        dirty = self.roster.take_dirty(now_us)
        if not dirty:
            return
        book = AllocationBook(store, SOURCE)
        try:
            for batch in _batches(sorted(dirty), _BATCH):
                said = {uid: tuple(self.roster.holdings((uid,), now_us)) for uid in batch}
                new = {uid: held for uid, held in said.items() if held != self._said.get(uid, ())}
                if new:
                    believed = book.believe(holding for held in new.values() for holding in held)
                    self.health.believed += believed.added
                    self._tell_refused(believed.refused)
                self._said |= {uid: held for uid, held in new.items() if self.roster.knows(uid)}
                self.roster.said(batch)
                dirty.difference_update(batch)
        except BaseException:
            self.roster.put_back(dirty)
            raise
        for uid in [uid for uid in self._said if not self.roster.knows(uid)]:
            del self._said[uid]

    def _last_words(self) -> None:
        """What was told until the end is believed, if the store lets us: what is not is found out at the next start."""
        if self._began:
            try:
                store = self._store()
                self._believe(store)
                self.unbound.tell(store, self._clock)
            except StoreError as e:
                log.warning("%s: what was told last is looked for at the next start: %s", self.name, e)

    def _tell_refused(self, refused: Sequence[tuple[str, str]]) -> None:
        for workload_id, why in refused:
            self.health.refused += 1
            if workload_id not in self._refused:
                if len(self._refused) < _QUEUE:
                    self._refused.add(workload_id)
                log.warning("%s: %s cannot be kept: %s", self.name, workload_id, why)

    def _tell_failures(self) -> None:
        """A server that does not answer is this part's failure, though it goes on by itself."""
        failures = sum(follower.health.failures for follower in self.followers)
        if failures > self._failures:
            self._part.failures += failures - self._failures
            newest = [f.health.last_failure for f in self.followers if f.health.last_failure]
            self._part.last_failure = newest[-1] if newest else None
        self._failures = failures


def part_name(cluster: str) -> str:
    """The name of a cluster's part."""
    return f"kubernetes-{cluster}"


def dra_version(client: Client) -> str | None:
    """The newest version of resource.k8s.io that the server has and we read; None: none. Raises ApiError."""
    try:
        group = client.get(DRA_GROUP)
    except Absent:
        return None
    served = {v.get("version") for v in group.get("versions") or () if isinstance(v, dict)}
    return next((version for version in DRA_VERSIONS if version in served), None)


def _bound(told: Listed[Any]) -> list[Pod]:
    return [pod for pod in told.items if isinstance(pod, Pod)]


def _batches(items: Sequence[str], size: int) -> Iterator[Sequence[str]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]


def from_config(
    config: Config,
    store: Callable[[], Store],
    health: Health,
    clock: Clock,
    on_nodes: Callable[[str, Mapping[str, nodes.Node]], None] | None = None,
    heard: Heard | None = None,
) -> list[KubernetesSource]:
    """A source for each [[allocation.kubernetes]]; none where there is none. Raises ConfigError."""
    clusters = from_part(config.part("allocation"), str(config.path))
    folder = config.collector_dir / "kubernetes"
    return [
        KubernetesSource(
            settings,
            partial(settings.access, clock),
            store,
            folder,
            clock,
            part=health.part(part_name(settings.cluster)),
            on_nodes=on_nodes,
            heard=heard,
        )
        for settings in clusters
    ]
