"""What the kubelet handed to which container, asked every some seconds; differences become events.

``devices_assigned`` and ``devices_released`` carry namespace, pod, container and either ``resource`` with ``devices``
(ids as given) or ``claim`` with ``claims`` (driver/pool/device, or ``cdi`` names where the kubelet is too old), and
``cards`` in the same order, "?" where nobody can place one. ``placeholders`` counts ids a sharing system does not go
by; an annotation of the pod says which card it is. An assignment names all that the container has of the resource;
what is left after a release is told again. All is told again (``again`` = 1) after a start and once an hour.

A kubelet that is away releases nothing; neither does one that has just started and knows no pods yet. The asking
happens in a thread of its own with a deadline, so that a hung kubelet holds nobody.
"""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Set
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Final, NamedTuple

from ullage_agent.backend import Reading
from ullage_agent.holders.cards import Cards
from ullage_agent.holders.devices import UNPLACED, Placed, place
from ullage_agent.holders.pod_resources import Container, PodResources, containers
from ullage_agent.holders.telling import parts_of
from ullage_contract.catalogue import Tier
from ullage_contract.clock import Clock
from ullage_contract.errors import Broken, NotSupported, ReadingError
from ullage_contract.event import Event, Severity
from ullage_contract.sample import Facts, Family, Value

log = logging.getLogger(__name__)

TELL_AGAIN_SECONDS: Final = 3600.0
WAIT_FOR_CARDS_SECONDS: Final = 30.0
"""our choice: because a driver's library takes up to 20 s to load, and a device told without its card is half told."""
GONE_POLLS: Final = 2
"""our choice: lists in a row a device must be missing from, because a kubelet lists pods while it changes them."""
EMPTY_SECONDS: Final = 60.0
"""our choice: because a kubelet that has just started lists nothing until it has its pods from the API server."""
CALL_SECONDS: Final = 5.0  # our choice: because a list of hundreds of pods takes milliseconds


class Key(NamedTuple):
    """Whose. Either resource or claim (namespace/name) is set; cdi: the ids are CDI names."""

    namespace: str
    pod: str
    container: str
    resource: str
    claim: str = ""
    cdi: bool = False


@dataclass(slots=True)
class _Held:
    """One device of a key. told: as it was last placed, None when it was not told in this life of the agent.

    missing_since: monotonic; None while it is listed.
    """

    told: Placed | None = None
    missing: int = 0
    missing_since: float | None = None


class Kubelet:
    """A ``source.Source``. Its thread starts with the first ``events``; end it with ``close``.

    socket: the kubelet's. interval_seconds: between two questions. state: where what is held is kept over a restart,
    so that what was released meanwhile is told; None keeps nothing. wake: called when events wait.
    """

    name = "kubelet"

    def __init__(
        self,
        socket: Path,
        *,
        node_id: str,
        clock: Clock,
        cards: Callable[[], Cards],
        interval_seconds: float = 15.0,
        call_seconds: float = CALL_SECONDS,
        state: Path | None = None,
        wake: Callable[[], None] = lambda: None,
    ) -> None:
        self._client = PodResources(socket, call_seconds)
        self._node_id = node_id
        self._clock = clock
        self._cards = cards
        self._interval = interval_seconds
        self._call_seconds = call_seconds
        self._state = state
        self._wake = wake
        self._began = clock.monotonic()
        self._held: dict[Key, dict[str, _Held]] = _restored(state)
        self._listed: dict[Key, tuple[str, ...]] | None = None
        self._answer: tuple[int, int] | None = None
        self._placed_with: Cards | None = None
        self._told_all_at = clock.monotonic()
        self._unplaced_told: set[str] = set()
        self._allocatable_at: float | None = None
        self._has_get = True
        self._failure: str | None = None
        self._waiting: SimpleQueue[Event] = SimpleQueue()
        self._thread: threading.Thread | None = None
        self._due = threading.Event()
        self._stopping = False

    # ---- the Source protocol

    def facts(self) -> Iterator[Facts]:
        """None: assignments are events."""
        return iter(())

    def read(self, tier: Tier) -> Iterator[Reading]:
        """No readings. Raises Broken while the kubelet does not answer as it should."""
        if self._failure is not None:
            raise Broken(self._failure)
        return iter(())

    def events(self) -> Iterator[Event]:
        """What was found since the last call, without waiting."""
        if self._thread is None and not self._stopping:
            self._thread = threading.Thread(target=self._run, name="ullage-kubelet", daemon=True)
            self._thread.start()
        while True:
            try:
                yield self._waiting.get_nowait()
            except Empty:
                return

    def cards_changed(self) -> None:
        """The node's cards are others than before: what could not be placed is tried again at once."""
        self._due.set()

    def close(self) -> None:
        """Stop the thread; one that waits for the kubelet is left to its deadline. Never raises."""
        self._stopping = True
        self._due.set()
        if self._thread is not None:
            self._thread.join(timeout=1)

    # ---- the thread

    def _run(self) -> None:
        asked_at: float | None = None
        while not self._stopping:
            now = self._clock.monotonic()
            if asked_at is None or now - asked_at >= self._interval:
                asked_at = now
                self.poll()
            else:
                self._tell_changes(self._clock.wall())
            if not self._waiting.empty():
                self._wake()
            self._due.wait(max(0.05, self._interval - (self._clock.monotonic() - asked_at)))
            self._due.clear()

    def poll(self) -> None:
        """Ask once and put what changed in the queue. Never raises."""
        try:
            listed = self._list()
            self._settle(listed)
            self._ask_allocatable()
            self._failure = None
        except ReadingError as e:
            if self._failure is None:
                log.warning("what the kubelet handed out is not known: %s", e)
            self._failure = str(e)
            self._has_get = True  # the one that comes back may be newer
        except Exception as e:
            log.exception("BUG: the kubelet's list could not be used")
            self._failure = f"BUG: {type(e).__name__}: {e}"[:300]

    def _list(self) -> dict[Key, tuple[str, ...]]:
        """What is handed out now. An answer that is the last one again is not read again. Raises a ReadingError."""
        answer = self._client.list()
        print_ = (len(answer), hash(answer))
        if self._listed is None or print_ != self._answer:
            self._listed = _by_key(containers(answer))
            self._answer = print_
        return self._listed

    def _settle(self, listed: Mapping[Key, tuple[str, ...]]) -> None:
        wall, now = self._clock.wall(), self._clock.monotonic()
        changed = False
        for key, ids in listed.items():
            held = self._held.setdefault(key, {})
            for device in ids:
                one = held.get(device)
                if one is None:
                    held[device] = _Held()
                    changed = True
                else:
                    one.missing, one.missing_since = 0, None
        gone = self._gone(listed, now)
        if now - self._told_all_at >= TELL_AGAIN_SECONDS:
            self._told_all_at = now
            self._tell_all(wall, gone)
        self._tell_changes(wall, gone)
        if self._may_tell():
            for key, devices in gone.items():
                placed = {
                    device: self._held[key][device].told or self._place(key, device) for device in devices
                }
                self._tell("devices_released", key, placed, wall)
                for device in devices:
                    del self._held[key][device]
                if self._held[key]:
                    self._tell("devices_assigned", key, self._whole(key, set()), wall, again=True)
                else:
                    del self._held[key]
                changed = True
        if changed:
            self._keep()

    # ---- what is gone

    def _gone(self, listed: Mapping[Key, tuple[str, ...]], now: float) -> dict[Key, list[str]]:
        """Devices that are no longer held, for certain."""
        elsewhere: dict[tuple[str, str], set[Key]] = {}
        for key, ids in listed.items():
            for device in ids:
                elsewhere.setdefault((key.resource, device), set()).add(key)
        gone: dict[Key, list[str]] = {}
        until = now + self._call_seconds
        for key, held in self._held.items():
            there = set(listed.get(key, ()))
            for device, one in held.items():
                if device in there:
                    continue
                one.missing += 1
                if one.missing_since is None:
                    one.missing_since = now
                handed_on = bool(key.resource) and bool(elsewhere.get((key.resource, device)))
                settled = one.missing >= GONE_POLLS and (
                    bool(listed) or now - one.missing_since >= EMPTY_SECONDS
                )
                if handed_on or settled:
                    gone.setdefault(key, []).append(device)
        for key in list(gone):
            # a pod's whole list was read a moment ago where it has others; else its own word is asked for
            if key not in listed and not self._confirmed(key, gone[key], until):
                del gone[key]
        return gone

    def _confirmed(self, key: Key, devices: Iterable[str], until: float) -> bool:
        """Whether the kubelet, asked for this pod, does not show these devices either; True where it has no Get."""
        if not self._has_get:
            return True
        if self._clock.monotonic() > until:
            return False
        try:
            found = self._client.get(key.namespace, key.pod)
        except NotSupported:
            self._has_get = False
            return True
        except ReadingError:
            return False
        shown = set(_by_key(found or ()).get(key, ()))
        return not shown.intersection(devices)

    # ---- telling

    def _may_tell(self) -> bool:
        return bool(self._cards()) or self._clock.monotonic() - self._began >= WAIT_FOR_CARDS_SECONDS

    def _tell_changes(self, wall: float, gone: Mapping[Key, list[str]] | None = None) -> None:
        """What is new, and what can be placed better than it was told. What is just being released is not."""
        if not self._may_tell():
            return
        cards = self._cards()
        again = cards is not self._placed_with
        self._placed_with = cards
        for key, held in self._held.items():
            left = set((gone or {}).get(key, ()))
            fresh = better = False
            for device, one in held.items():
                if device in left or one.missing:
                    continue
                if one.told is None:
                    one.told = self._place(key, device)
                    fresh = True
                elif again and one.told.subject is None:
                    placed = self._place(key, device)
                    better |= placed != one.told
                    one.told = placed
            if fresh or better:
                self._tell("devices_assigned", key, self._whole(key, left), wall, again=not fresh)

    def _whole(self, key: Key, left: Set[str]) -> dict[str, Placed]:
        """Everything a key holds: an assignment is always told whole, so that the newest one says it all."""
        return {
            device: one.told
            for device, one in self._held[key].items()
            if one.told is not None and device not in left
        }

    def _tell_all(self, wall: float, gone: Mapping[Key, list[str]]) -> None:
        for key in self._held:
            self._tell("devices_assigned", key, self._whole(key, set(gone.get(key, ()))), wall, again=True)

    def _place(self, key: Key, device: str) -> Placed:
        cards = self._cards()
        if not key.claim:
            return place(key.resource, device, cards)
        if key.cdi:
            kind, _, name = device.partition("=")
            return place(kind, name, cards)
        driver, _, rest = device.partition("/")
        return place(driver, rest.rpartition("/")[2], cards)

    def _tell(
        self, kind: str, key: Key, placed: Mapping[str, Placed], wall: float, *, again: bool = False
    ) -> None:
        if not placed:
            return
        ids = sorted(placed)
        listed = "cdi" if key.cdi else ("claims" if key.claim else "devices")
        lists = {listed: ids, "cards": [placed[device].subject or UNPLACED for device in ids]}
        about: dict[str, Value] = {
            "namespace": key.namespace[:200],
            "pod": key.pod[:300],
            "container": key.container[:200],
        }
        about |= {"claim": key.claim[:500]} if key.claim else {"resource": key.resource[:300]}
        placeholders = sum(one.placeholder for one in placed.values())
        if placeholders:
            about["placeholders"] = placeholders
        if again:
            about["again"] = 1
        word = "assigned to" if kind == "devices_assigned" else "released by"
        for part in parts_of(lists):
            self._waiting.put(
                Event(
                    time=wall,
                    kind=kind,
                    severity=Severity.INFO,
                    family=Family.NODE,
                    subject=self._node_id,
                    source="scheduler",
                    message=f"{len(ids)} of {key.claim or key.resource} {word} {key.namespace}/{key.pod}",
                    attributes={**about, **part},
                )
            )

    def _ask_allocatable(self) -> None:
        """Now and then: say in the log which devices nobody could place if they were handed out."""
        now = self._clock.monotonic()
        cards = self._cards()
        if not cards or (
            self._allocatable_at is not None and now - self._allocatable_at < TELL_AGAIN_SECONDS
        ):
            return
        self._allocatable_at = now
        try:
            every = self._client.allocatable()
        except ReadingError as e:
            log.debug("the kubelet does not say what it could hand out: %s", e)
            return
        lost: dict[str, list[str]] = {}
        for devices in every:
            for device in devices.ids:
                placed = place(devices.resource, device, cards)
                if placed.subject is None and not placed.placeholder:
                    lost.setdefault(devices.resource, []).append(device)
        for resource, ids in sorted(lost.items()):
            if resource not in self._unplaced_told:
                self._unplaced_told.add(resource)
                log.info(
                    "%d devices of %s are no card of this node that is known, such as %.60s",
                    len(ids),
                    resource,
                    ids[0],
                )

    # ---- over a restart

    def _keep(self) -> None:
        if self._state is None:
            return
        document = [[*key, sorted(held)] for key, held in sorted(self._held.items())]
        temporary = self._state.with_name(f".{self._state.name}.tmp")
        try:
            temporary.write_text(json.dumps(document), encoding="utf-8")
            temporary.replace(self._state)
        except OSError as e:
            log.debug("%s: %s; a release during a restart will not be told", self._state, e)


def _by_key(found: Iterable[Container]) -> dict[Key, tuple[str, ...]]:
    gathered: dict[Key, dict[str, None]] = {}
    for container in found:
        whose = (container.namespace, container.pod, container.name)
        for devices in container.devices:
            gathered.setdefault(Key(*whose, devices.resource), {}).update(dict.fromkeys(devices.ids))
        for claim in container.claims:
            key = Key(*whose, "", f"{claim.namespace}/{claim.name}", not claim.devices)
            gathered.setdefault(key, {}).update(dict.fromkeys(claim.devices or claim.cdi))
    return {key: tuple(ids) for key, ids in gathered.items() if ids}


def _restored(state: Path | None) -> dict[Key, dict[str, _Held]]:
    """What was held when the agent last ran; nothing when that is not known."""
    held: dict[Key, dict[str, _Held]] = {}
    if state is None:
        return held
    try:
        for namespace, pod, container, resource, claim, cdi, ids in json.loads(
            state.read_text(encoding="utf-8")
        ):
            texts = (namespace, pod, container, resource, claim, *ids)
            if not all(isinstance(one, str) for one in texts):
                raise ValueError("not text")
            held[Key(namespace, pod, container, resource, claim, bool(cdi))] = {
                device: _Held() for device in ids
            }
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, TypeError) as e:
        log.warning("%s cannot be believed and begins anew: %s", state, e)
        return {}
    return held
