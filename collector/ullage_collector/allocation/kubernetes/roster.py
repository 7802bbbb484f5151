"""Who is on the cluster: pods, nodes and claims as they were told, and from them the holdings. No network, no store.

A pod's run begins where it was first believed to begin and is never moved. Words told twice, late or out of order
change nothing; a pod that is in no list any more has gone between the last word and the list (ends.py).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any, Final

from ullage_collector.allocation.book import Standing
from ullage_collector.allocation.holding import NANO, Holding, Place, Workload
from ullage_collector.allocation.kubernetes.assignments import Assignments
from ullage_collector.allocation.kubernetes.cards import Cards
from ullage_collector.allocation.kubernetes.claims import Claim, DeviceSlice
from ullage_collector.allocation.kubernetes.ends import Said, finished, went
from ullage_collector.allocation.kubernetes.follow import Changed, Listed
from ullage_collector.allocation.kubernetes.nodes import Node
from ullage_collector.allocation.kubernetes.places import Placed, place
from ullage_collector.allocation.kubernetes.pods import Pod
from ullage_collector.allocation.kubernetes.reservations import Held, Reservations
from ullage_collector.allocation.kubernetes.workloads import Naming, node_pool
from ullage_contract.sample import Value

KEPT_US: Final = 3_600_000_000
"""Our choice: an hour after its end a pod's late words have come; what comes later is left as it was told."""
_LEAST_SKEW_SECONDS: Final = (
    5.0  # our choice: whole seconds on both sides; less is no statement about a clock
)
_MOST_DEVICES: Final = 20  # our choice: more ids than a node has cards name nothing anybody reads


class Roster:
    """One cluster's state. ``hear_*`` take what is told; ``take_dirty`` says whose holdings to say anew.

    last_seen_us: until when everything was seen, by an earlier life of ours or an earlier follower; None: never.
    """

    def __init__(self, naming: Naming, drivers: Iterable[str] = ()) -> None:
        self.naming = naming
        self.assignments = Assignments()
        self.nodes: dict[str, Node] = {}
        self._cards = Cards()
        self._skews: dict[str, float] = {}
        self._pods: dict[str, Held] = {}
        self._reservations = Reservations(self._pods, drivers)
        self._by_name: dict[tuple[str, str, str], set[str]] = {}
        self._by_node: dict[str, set[str]] = {}
        self._vanished: dict[str, Holding] = {}
        self._standing: dict[str, Standing] = {}
        self._finished: set[str] = set()
        self._learned_us: dict[str, int] = {}
        self.last_seen_us: int | None = None
        self._dirty: set[str] = set()
        self._later: dict[str, int] = {}
        self._listed = False

    def __len__(self) -> int:
        """Pods that hold."""
        return sum(1 for held in self._pods.values() if held.end_us is None)

    # ------------------------------------------------------------------------------ what is believed
    def believe(
        self,
        standing: Iterable[Standing],
        finished_ids: Iterable[str],
        last_seen_us: int | None,
        learned_us: Mapping[str, int],
    ) -> None:
        """What the book holds from before the first list.

        standing: its open runs. finished_ids: workloads all of whose runs have an end.
        last_seen_us: until when an earlier life of ours saw everything; None: there was none.
        learned_us: by workload, when it last learned something of it: it was there then.
        """
        for run in standing:
            known = self._standing.get(run.workload_id)
            if known is None or known.from_us < run.from_us:
                self._standing[run.workload_id] = run
        self._finished.update(finished_ids)
        self.last_seen_us = last_seen_us
        self._learned_us = dict(learned_us)

    # ------------------------------------------------------------------------------ pods
    def hear_pods(self, told: Listed[Pod]) -> None:
        """A complete list: what is in it is there, what we knew and is not in it has gone meanwhile."""
        at_us = _us(told.at)
        fresh_us = _us(told.fresh_at) if told.fresh_at is not None else self.last_seen_us
        there = {pod.uid for pod in told.items}
        for pod in told.items:
            self._see(pod, at_us, listed=True)
        for uid, held in self._pods.items():
            if uid not in there and not held.gone:
                self._go(held, fresh_us, at_us)
        if not self._listed:
            self._listed = True
            self._end_standing(at_us)

    def hear_pod(self, told: Changed[Pod]) -> None:
        """One change."""
        pod, at_us = told.item, _us(told.at)
        held = self._see(pod, at_us)
        if told.gone and held is not None and not held.gone:
            self._go(held, _us(told.fresh_at), at_us)

    def _see(self, pod: Pod, at_us: int, *, listed: bool = False) -> Held | None:
        """The pod as it now is; None where that is older than what is known. A list is never older."""
        held = self._pods.get(pod.uid)
        if held is not None and not listed and (held.gone or 0 <= pod.version < held.pod.version):
            return None
        if held is not None and held.gone:
            held.gone = False  # it is there after all
            held.end_us, held.end_attributes = None, {}
        if held is None:
            workload_id = pod.workload.workload_id
            standing = self._standing.get(workload_id)
            held = Held(pod, standing.from_us if standing is not None else pod.from_us)
            held.settled = pod.terminal and workload_id in self._finished and standing is None
            self._pods[pod.uid] = held
            self._by_name.setdefault((pod.node, pod.namespace, pod.name), set()).add(pod.uid)
            self._by_node.setdefault(pod.node, set()).add(pod.uid)
            self._dirty |= self._reservations.hear_pod(pod)
        held.pod = pod
        if pod.terminal and held.end_us is None:
            self._end(held, finished(pod, held.from_us, at_us, self._skew(pod.node)))
        self._dirty.add(pod.uid)
        return held

    def _go(self, held: Held, fresh_us: int | None, at_us: int) -> None:
        """It is no longer there: it went after ``fresh_us`` and not after ``at_us``."""
        held.gone = True
        self._dirty.add(held.pod.uid)
        if held.end_us is None:
            pod = held.pod
            released = self.assignments.released_us((pod.node, pod.namespace, pod.name), held.from_us)
            self._end(held, went(held.from_us, fresh_us, at_us, pod.deletion_us, released))

    def _end(self, held: Held, end: tuple[int, Said]) -> None:
        held.end_us, held.end_attributes = end
        self._dirty |= self._reservations.sharers(held)

    def _end_standing(self, at_us: int) -> None:
        """Runs the book holds open whose pods went while nobody watched."""
        known = {held.pod.workload.workload_id for held in self._pods.values()}
        for workload_id, run in self._standing.items():
            if workload_id in known:
                continue
            parts = workload_id.split("/")
            name = (run.nodes[0] if run.nodes else "", *(parts[2:4] if len(parts) == 5 else ("", "")))
            of = (name[0], name[1], name[2])
            seen = (
                self.last_seen_us,
                self._learned_us.get(workload_id),
                self.assignments.told_us(of, run.from_us),
            )
            until = run.attributes.get("deleting_until_us")
            end, said = went(
                run.from_us,
                max((at for at in seen if at is not None), default=None),
                at_us,
                until if isinstance(until, int) else None,
                self.assignments.released_us(of, run.from_us),
            )
            kept = {key: value for key, value in run.attributes.items() if key != "deleting_until_us"}
            workload = Workload(workload_id, run.kind, self.naming.cluster)
            self._vanished[workload_id] = Holding(workload, run.from_us, end, attributes={**kept, **said})
            self._dirty.add(workload_id)

    def _skew(self, node: str) -> float | None:
        """By how much a node's clock is ahead; None: not known, or not worth a word."""
        known = self.nodes.get(node)
        said = known.skew_seconds if known is not None else None
        skew = said if said is not None else self._skews.get(node)
        return skew if skew is not None and abs(skew) >= _LEAST_SKEW_SECONDS else None

    # ------------------------------------------------------------------------------ nodes, claims, devices, cards
    def hear_nodes(self, told: Listed[Node]) -> None:
        """A complete list of nodes."""
        for node in told.items:
            self._node(node)
        for name in set(self.nodes) - {node.name for node in told.items}:
            del self.nodes[name]

    def hear_node(self, told: Changed[Node]) -> None:
        """One change. A node that is gone keeps its pods until they are gone."""
        if told.gone:
            self.nodes.pop(told.item.name, None)
        else:
            self._node(told.item)

    def _node(self, node: Node) -> None:
        before = self.nodes.get(node.name)
        self.nodes[node.name] = node
        if before is None or before.document != node.document:
            self._dirty |= self._by_node.get(node.name, set())

    def hear_skews(self, skews: Mapping[str, float]) -> None:
        """How far nodes' clocks are ahead, as their agents' pushes tell."""
        self._skews = dict(skews)

    def hear_claims(self, told: Listed[Claim]) -> None:
        """A complete list of claims."""
        self._dirty |= self._reservations.hear_claims(told)

    def hear_claim(self, told: Changed[Claim]) -> None:
        """One change."""
        self._dirty |= self._reservations.hear_claim(told)

    def hear_slices(self, told: Listed[DeviceSlice]) -> None:
        """A complete list of resource slices."""
        for given in told.items:
            self._dirty |= self._reservations.hear_slice(given)

    def hear_slice(self, told: Changed[DeviceSlice]) -> None:
        """One change."""
        if not told.gone:
            self._dirty |= self._reservations.hear_slice(told.item)

    def hear_handed(self, of: tuple[str, str, str]) -> None:
        """``assignments`` heard something of a pod of this node, namespace and name."""
        self._dirty |= self._by_name.get(of, set())

    def use_cards(self, cards: Cards, changed: Iterable[str]) -> None:
        """The store's cards anew. changed: nodes whose cards are others than before: who is there is placed again."""
        self._cards = cards
        for node in changed:
            self._dirty |= self._by_node.get(node, set())

    # ------------------------------------------------------------------------------ holdings
    def take_dirty(self, now_us: int) -> set[str]:
        """Whose holdings may have changed since the last call; ``put_back`` what could not be said."""
        dirty, self._dirty = self._dirty, set()
        for uid, at_us in list(self._later.items()):
            if at_us <= now_us:
                del self._later[uid]
                dirty.add(uid)
        return dirty

    def put_back(self, dirty: set[str]) -> None:
        """Say these anew later."""
        self._dirty |= dirty

    def holdings(self, dirty: Iterable[str], now_us: int) -> Iterator[Holding]:
        """What is held by these pods; several for one whose claims were shared by changing numbers."""
        for uid in sorted(dirty):
            vanished = self._vanished.get(uid)
            if vanished is not None:
                yield vanished
            held = self._pods.get(uid)
            if held is not None and not held.settled and self._listed:
                yield from self._holdings(held, now_us)

    def knows(self, uid: str) -> bool:
        """Whether the pod is still kept."""
        return uid in self._pods

    def said(self, uids: Iterable[str]) -> None:
        """These are in the book."""
        for uid in uids:
            if self._vanished.pop(uid, None) is not None:
                self._standing.pop(uid, None)

    def _holdings(self, held: Held, now_us: int) -> Iterator[Holding]:
        pod = held.pod
        of = (pod.node, pod.namespace, pod.name)
        handed = self.assignments.held(of, held.from_us, held.end_us, now_us)
        again = self.assignments.unsettled_until(of, held.from_us)
        if again is not None and again > now_us and held.end_us is None:
            self._later[pod.uid] = again
        seen = {d: self.assignments.replicas(pod.node, d) for h in handed for d in h.devices if "::" in d}
        node = self.nodes.get(pod.node)
        placed = place(pod, node, handed, self._cards, seen)
        base = placed.all(pod.node)
        if placed.notes and not base:
            base = (Place(pod.node),)  # it holds something: what, nobody understands
        if pod.claims and not held.claims and not base:
            return  # its claims are not told yet: nothing is known, so nothing is said
        attributes = self._attributes(held, placed)
        workload = self._with_pool(pod.workload, node)
        for from_us, to_us in self._reservations.runs(held):
            of_claims = self._reservations.places(held, from_us, self._cards, self.assignments.claimed)
            yield Holding(workload, from_us, to_us, _merged((*base, *of_claims)), attributes=attributes)

    @staticmethod
    def _attributes(held: Held, placed: Placed) -> dict[str, Value]:
        attributes: dict[str, Value] = {**held.pod.attributes, **held.end_attributes}
        if placed.systems:
            attributes["sharing"] = ",".join(sorted(placed.systems))
        if placed.devices:
            attributes["unplaced_devices"] = ",".join(placed.devices[:_MOST_DEVICES])
        if placed.notes:
            attributes["not_understood"] = "; ".join(placed.notes)
        if held.pod.deletion_us is not None and held.end_us is None:
            attributes["deleting_until_us"] = held.pod.deletion_us
        return attributes

    def _with_pool(self, workload: Workload, node: Node | None) -> Workload:
        pool = node_pool(node.labels, self.naming) if node is not None else None
        if pool is None:
            return workload
        return replace(workload, partition=pool, attributes={**workload.attributes, "node_pool": pool})

    # ------------------------------------------------------------------------------ housekeeping
    def forget(self, now_us: int) -> None:
        """Drop pods that are gone and ended an hour ago, with nobody left who shared a claim with them."""
        for uid, held in list(self._pods.items()):
            if not held.gone or held.end_us is None or held.end_us > now_us - KEPT_US or uid in self._dirty:
                continue
            others = (self._pods.get(other) for other in self._reservations.sharers(held))
            if any(other is not None and other.end_us is None for other in others):
                continue
            del self._pods[uid]
            self._reservations.forget(held)
            _leave(self._by_name, (held.pod.node, held.pod.namespace, held.pod.name), uid)
            _leave(self._by_node, held.pod.node, uid)
            self._later.pop(uid, None)
            self._finished.discard(held.pod.workload.workload_id)
        self.assignments.forget(now_us - KEPT_US)


def _us(seconds: float) -> int:
    return round(seconds * 1e6)


def _leave(index: dict[Any, set[str]], key: object, uid: str) -> None:
    uids = index.get(key, set())
    uids.discard(uid)
    if not uids:
        index.pop(key, None)


def _merged(places: Iterable[Place]) -> tuple[Place, ...]:
    """Unknown cards of a node as one place: so many whole cards, or a share of one; the others as they are."""
    known = [p for p in places if p.card_id is not None]
    unknown: dict[str, int] = {}
    for p in places:
        if p.card_id is None:
            unknown[p.node] = unknown.get(p.node, 0) + p.share_nano * p.cards
    for node, nano in unknown.items():
        cards = max(1, nano // NANO)
        known.append(Place(node, share_nano=max(1, nano // cards), cards=cards))
    return tuple(known)
