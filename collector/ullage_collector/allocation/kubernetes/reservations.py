"""Which claims pods were reserved, and what each moment of a shared one is split into.

A claim says only who has it now. What a pod was reserved is kept for its life, so that it is known what it held
when the claim is gone; and a run is cut whenever the number of pods that hold the same claim changes, so that each
moment is split evenly among those that held then.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from itertools import pairwise

from ullage_collector.allocation.holding import NANO, Place
from ullage_collector.allocation.kubernetes.cards import Cards
from ullage_collector.allocation.kubernetes.claims import Claim, Devices, DeviceSlice, Result
from ullage_collector.allocation.kubernetes.follow import Changed, Listed
from ullage_collector.allocation.kubernetes.pods import Pod
from ullage_contract.sample import Value

Run = tuple[int, int | None]
"""From and to, microseconds; to None: it is open."""


@dataclass(slots=True)
class Held:
    """One pod. from_us: as first believed. end_us: None while it holds. claims: by uid, what it was reserved.

    gone: it was told to be removed. settled: the book has its end already and nothing new can be said.
    """

    pod: Pod
    from_us: int
    end_us: int | None = None
    end_attributes: dict[str, Value] = field(default_factory=dict)
    claims: dict[str, tuple[Result, ...]] = field(default_factory=dict)
    gone: bool = False
    settled: bool = False


class Reservations:
    """Claims and devices of one cluster. pods: the roster's own, by uid. What changes returns the pods it is about."""

    def __init__(self, pods: Mapping[str, Held], drivers: Iterable[str] = ()) -> None:
        self._pods = pods
        self._devices = Devices(drivers)
        self._claims: dict[tuple[str, str], Claim] = {}
        self._by_claim: dict[str, set[str]] = {}

    def hear_claims(self, told: Listed[Claim]) -> set[str]:
        """A complete list of claims. What a pod was reserved stays its own when the claim is gone."""
        self._claims = {(c.namespace, c.name): c for c in told.items}
        return set().union(*(self._reserve(claim) for claim in told.items))

    def hear_claim(self, told: Changed[Claim]) -> set[str]:
        """One change."""
        claim = told.item
        key = (claim.namespace, claim.name)
        known = self._claims.get(key)
        if known is not None and known.uid == claim.uid and 0 <= claim.version < known.version:
            return set()
        if told.gone:
            self._claims.pop(key, None)
            return set()
        self._claims[key] = claim
        return self._reserve(claim)

    def hear_pod(self, pod: Pod) -> set[str]:
        """A pod came: its claims may have been told before it."""
        claims = [c for name in pod.claims if (c := self._claims.get((pod.namespace, name))) is not None]
        return set().union(*(self._reserve(claim) for claim in claims))

    def hear_slice(self, given: DeviceSlice) -> set[str]:
        """A slice was told; a device of one that is gone stays known."""
        if not self._devices.hear(given):
            return set()
        return {uid for uid, held in self._pods.items() if held.claims and not held.settled}

    def sharers(self, held: Held) -> set[str]:
        """Other pods that were reserved the same claims."""
        found: set[str] = set()
        for claim in held.claims:
            found |= self._by_claim.get(claim, set())
        found.discard(held.pod.uid)
        return found

    def forget(self, held: Held) -> None:
        """A pod is dropped."""
        for claim in held.claims:
            uids = self._by_claim.get(claim, set())
            uids.discard(held.pod.uid)
            if not uids:
                self._by_claim.pop(claim, None)

    def runs(self, held: Held) -> list[Run]:
        """The pod's time, cut where the number of those that hold its claims with it changes."""
        cuts = {
            at
            for uid in self.sharers(held)
            if (other := self._pods.get(uid)) is not None
            for at in (other.from_us, other.end_us)
            if at is not None and at > held.from_us and (held.end_us is None or at < held.end_us)
        }
        edges = [held.from_us, *sorted(cuts)]
        return [*pairwise(edges), (edges[-1], held.end_us)]

    def places(self, held: Held, at_us: int, cards: Cards, told: Mapping[str, str]) -> list[Place]:
        """What the pod's claims are to it at that moment. told: as for ``Devices.place``."""
        found = []
        for claim, results in held.claims.items():
            holders = sum(1 for uid in self._by_claim.get(claim, ()) if self._holds(uid, at_us))
            for result in results:
                whole = self._devices.place(result, held.pod.node, cards, self._shares_of(result), told)
                if whole is not None:
                    found.append(_divided(whole, max(1, holders)))
        return found

    def _reserve(self, claim: Claim) -> set[str]:
        touched: set[str] = set()
        for uid in claim.pods if claim.results else ():
            held = self._pods.get(uid)
            if held is None or held.claims.get(claim.uid) == claim.results:
                continue
            held.claims[claim.uid] = claim.results
            self._by_claim.setdefault(claim.uid, set()).add(uid)
            touched |= {uid} | self.sharers(held)
        return touched

    def _holds(self, uid: str, at_us: int) -> bool:
        held = self._pods.get(uid)
        return held is not None and held.from_us <= at_us and (held.end_us is None or held.end_us > at_us)

    def _shares_of(self, result: Result) -> int:
        """Among how many shares of claims a device is given out now."""
        if result.share_id is None:
            return 1
        key = (result.driver, result.pool, result.device)
        return sum(1 for c in self._claims.values() for r in c.results if (r.driver, r.pool, r.device) == key)


def _divided(place: Place, holders: int) -> Place:
    """One of ``holders`` even parts; a whole card's memory goes along where it is stated."""
    if holders == 1:
        return place
    memory = None if place.memory_share_nano is None else place.memory_share_nano // holders
    return replace(place, share_nano=max(1, min(place.share_nano, NANO) // holders), memory_share_nano=memory)
