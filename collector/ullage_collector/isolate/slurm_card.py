"""Slurm: keep new work off one card of a live node with a fence job, and take the fence away again.

Which index of Slurm is which card says allocation/slurm/cards.py; where it does not know, nothing is fenced and the
node is proposed. How a fence is placed stands in slurm_fencing.py. A fence ends with scancel, a reboot of the node
or a lost slurmctld state: ``standing`` then says GONE, and isolating again places it anew.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from ullage_collector.allocation.slurm import cards, gres, words
from ullage_collector.allocation.slurm.cards import Card, NodeCards
from ullage_collector.allocation.slurm.command import Programs
from ullage_collector.isolate.actuator import Plan, Standing, Target
from ullage_collector.isolate.slurm_calls import PROGRAMS, JobView, NodeView, Partition, SlurmCalls
from ullage_collector.isolate.slurm_fence import (
    SOON_SECONDS,
    Fence,
    FenceSettings,
    NotSaid,
    Place,
    Seen,
    fences,
    in_vain,
    look,
    patient,
    used_indices,
)
from ullage_collector.isolate.slurm_fence_calls import waits_on
from ullage_collector.isolate.slurm_fencing import Fencing
from ullage_collector.isolate.slurm_unfencing import Unfencing
from ullage_collector.sql import statements
from ullage_contract.clock import Clock, SystemClock
from ullage_contract.errors import ActuatorError, BadInput, ConfigError
from ullage_contract.settings import Table

if TYPE_CHECKING:
    import duckdb

log = logging.getLogger(__name__)

TABLE: Final = "isolation.slurm-card"
CACHE_SECONDS: Final = 1.0
MAPPING_SECONDS: Final = 30.0  # our choice: because cards and gres.conf change with a person's work
REGISTERING_SECONDS: Final = (
    5.0  # our choice: because nodes register within some seconds of a slurmctld's start
)
_SHAREABLE: Final = ("preempt/partition_prio",)


@dataclass(frozen=True, slots=True)
class ClusterFences:
    """One Slurm cluster. gres_conf: the site's, None where it is not given. gres: GRES names that are cards."""

    calls: SlurmCalls = field(default_factory=SlurmCalls)
    fence: FenceSettings = field(default_factory=FenceSettings)
    gres_conf: Path | None = None
    gres: tuple[str, ...] = gres.CARDS


@dataclass(slots=True)
class _Looked:
    """What was read of a cluster, and when (monotonic seconds)."""

    at: float
    fences: tuple[Fence, ...] = ()
    nodes: dict[str, tuple[NodeView, tuple[JobView, ...]]] = field(default_factory=dict)


class SlurmCard:
    """See the module. plain: for clusters not named in ``by_cluster``. Cards come from the store (``read_from``)."""

    name = "slurm-card"
    whole_node = False

    def __init__(
        self,
        plain: ClusterFences,
        by_cluster: Mapping[str, ClusterFences] | None = None,
        *,
        known_cards: Callable[[str], list[Card]] | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._plain = plain
        self._by_cluster = dict(by_cluster or {})
        self._cards = known_cards
        self._clock = clock or SystemClock()
        self._lock = threading.Lock()
        self._looked: dict[str, _Looked] = {}
        self._indices: dict[tuple[str, int, int | None, str], int] = {}
        self._mapped: dict[tuple[str, str], tuple[float, str, int]] = {}

    def read_from(self, connect: Callable[[], duckdb.DuckDBPyConnection]) -> None:
        """The agents' cards from the store."""

        def known(cluster_id: str) -> list[Card]:
            cursor = connect()
            try:
                return [
                    Card(*row)
                    for row in cursor.execute(statements("slurm")["cards"], [cluster_id]).fetchall()
                ]
            finally:
                cursor.close()

        self._cards = known

    # ---- the actuator

    def plan_isolate(self, target: Target) -> Plan:
        """A fence on exactly this card. Raises ActuatorError, with the node proposed, where that is not sure."""
        cluster = self._of(target)
        node = self._node(cluster, target)
        index = self._index(cluster, target, node)
        place, notes = self._place(cluster, target, node, index)
        seen = self._seen(cluster, target, place)
        others = [f for f in self._standing_there(cluster, place) if f.marker != target.marker and f.there]
        if any(fence.index == index for fence in others):
            raise ActuatorError(f"{target.subject} is kept by another fence already; release that one first")
        if seen.holder is not None:
            after = {
                "requeue": "it is requeued",
                "cancel": "it is cancelled",
            }.get(cluster.fence.end_with if target.drain == "end" else "", "it is let finish")
            told = "" if target.drain == "finish" else "its owner is told, "
            notes.append(
                f"job {seen.holder.label} holds the card: {told}{after}; the fence takes the card before waiting jobs"
            )
        elif not seen.node.available:
            notes.append(
                f"{place.node} takes no work now ({'+'.join(seen.node.states).lower()}): the fence waits for it"
            )
        below = seen.below(index)
        forget = self._forgetting(target.cluster_id)
        if seen.holder is None and below:
            notes.append(
                f"{below} free cards before it are held for at most {cluster.fence.hold_seconds + 1} s: Slurm gives the "
                "lowest index first"
            )
        return Plan(
            actuator=self.name,
            calls=(Fencing(cluster.calls, cluster.fence, target, place, self._clock, seen, after=forget),),
            undo=(Unfencing(cluster.calls, cluster.fence, target, self._clock, after=forget),),
            whole_node=False,
            notes=tuple(notes),
        )

    def plan_release(self, target: Target) -> Plan:
        """Cancel our fence with this marker. Raises ActuatorError when Slurm does not answer."""
        cluster = self._of(target)
        standing = [f for f in fences(cluster.calls, cluster.fence) if f.marker == target.marker]
        if not standing:
            return Plan(self.name, (), (), False, (f"no fence of {target.subject} stands in Slurm",))
        labels = ", ".join(fence.job.label for fence in standing)
        forget = self._forgetting(target.cluster_id)
        return Plan(
            actuator=self.name,
            calls=(Unfencing(cluster.calls, cluster.fence, target, self._clock, after=forget),),
            undo=(),
            whole_node=False,
            notes=(f"the fences are jobs {labels}",),
        )

    def standing(self, target: Target) -> Standing:
        """OURS: our fence runs on the card's index, or waits in front of everybody for the job that holds it.

        GONE as well where the fence ends soon or waits for the wrong job: isolating again puts both right.
        """
        try:
            return self._stands(target)
        except ActuatorError as e:
            log.info("standing of %s is unknown: %s", target.subject, e)
            return Standing.UNKNOWN

    def _seen(self, cluster: ClusterFences, target: Target, place: Place) -> Seen:
        """The node now; a slurmctld that was just started is given some seconds to hear of its nodes."""
        until = self._clock.monotonic() + REGISTERING_SECONDS
        while True:
            try:
                return look(cluster.calls, cluster.fence, place.node, place.index, place.names, target)
            except NotSaid:
                if self._clock.monotonic() >= until:
                    raise
                self._clock.sleep(1.0)

    # ---- what stands

    def _stands(self, target: Target) -> Standing:
        cluster = self._of(target)
        looked = self._look(cluster, target.cluster_id)
        mine = [fence for fence in looked.fences if fence.marker == target.marker]
        index = self._known_index(cluster, target)
        if index is None and mine:
            index = mine[0].placed
        for fence in mine:
            if not fence.job.waiting and not fence.job.leaving and fence.index == index:
                end = fence.job.end
                soon = end is not None and end - self._clock.wall() < SOON_SECONDS
                return Standing.GONE if soon else Standing.OURS
        for fence in looked.fences:
            if fence.card_id == target.subject and fence.there and fence.marker != target.marker:
                return Standing.OTHERS
        waiting = [fence for fence in mine if fence.job.waiting and fence.placed == index]
        if waiting and index is not None and self._waits_well(cluster, target, looked, waiting, index):
            return Standing.OURS
        return Standing.GONE

    def _waits_well(
        self, cluster: ClusterFences, target: Target, looked: _Looked, waiting: list[Fence], index: int
    ) -> bool:
        """Whether the fences will get the card before anybody else as they wait now."""
        if not all(patient(fence.job.reason) for fence in waiting):
            return False
        name = self._slurm_name(cluster, target)
        if name not in looked.nodes:
            looked.nodes[name] = (cluster.calls.node(name), tuple(cluster.calls.jobs(f"--nodelist={name}")))
        node, jobs = looked.nodes[name]
        if index not in used_indices(node, cluster.gres):
            awaited = {fence.job.waits_for for fence in waiting} - {None}
            return not any(in_vain(cluster.calls, label) for label in awaited if label)
        for job in jobs:
            if waits_on(job) in {fence.job.waits_for for fence in waiting}:
                return job.leaving or index in (cluster.calls.indices(job.label, name, cluster.gres) or ())
        return False

    def _look(self, cluster: ClusterFences, cluster_id: str) -> _Looked:
        """The cluster's fences with their indices; kept for a second. A running job's index never changes."""
        with self._lock:
            now = self._clock.monotonic()
            kept = self._looked.get(cluster_id)
            if kept is not None and now - kept.at < CACHE_SECONDS:
                return kept
            found = []
            live = set()
            for fence in fences(cluster.calls, cluster.fence):
                index = None
                if not fence.job.waiting and fence.job.nodes:
                    key = (cluster_id, fence.job.job_id, fence.job.submit, fence.job.label)
                    live.add(key)
                    index = self._indices.get(key)
                    if index is None:
                        bits = cluster.calls.indices(fence.job.label, fence.job.nodes[0], cluster.gres)
                        if bits is not None and len(bits) == 1:
                            index = self._indices[key] = bits[0]
                found.append(replace(fence, index=index))
            for key in [key for key in self._indices if key[0] == cluster_id and key not in live]:
                del self._indices[key]
            self._looked[cluster_id] = _Looked(now, tuple(found))
            return self._looked[cluster_id]

    def _forgetting(self, cluster_id: str) -> Callable[[], None]:
        """What makes the next ``standing`` ask anew."""

        def forget() -> None:
            with self._lock:
                self._looked.pop(cluster_id, None)

        return forget

    def _standing_there(self, cluster: ClusterFences, place: Place) -> list[Fence]:
        found = []
        for fence in fences(cluster.calls, cluster.fence):
            if place.node in fence.job.nodes:
                bits = cluster.calls.indices(fence.job.label, place.node, place.names)
                found.append(replace(fence, index=bits[0] if bits else None))
        return found

    # ---- where it goes

    def _of(self, target: Target) -> ClusterFences:
        return self._by_cluster.get(target.cluster_id, self._plain)

    def _slurm_name(self, cluster: ClusterFences, target: Target) -> str:
        kept = self._mapped.get((target.cluster_id, target.subject))
        return kept[1] if kept is not None else self._node(cluster, target).name

    def _node(self, cluster: ClusterFences, target: Target) -> NodeView:
        """Slurm's node, under our name or its first label."""
        if target.family != "card":
            raise ActuatorError(
                f"slurm-card isolates cards; {target.subject} is a {target.family}: use slurm-node"
            )
        try:
            return cluster.calls.node(target.node_id)
        except ActuatorError as e:
            short = target.node_id.partition(".")[0]
            if short == target.node_id or "not found" not in str(e):
                raise
            return cluster.calls.node(short)

    def _known_index(self, cluster: ClusterFences, target: Target) -> int | None:
        """The card's index as of late; None where nobody knows it."""
        kept = self._mapped.get((target.cluster_id, target.subject))
        if kept is not None and self._clock.monotonic() - kept[0] < MAPPING_SECONDS:
            return kept[2]
        try:
            return self._index(cluster, target, self._node(cluster, target))
        except ActuatorError:
            return None

    def _index(self, cluster: ClusterFences, target: Target, node: NodeView) -> int:
        if self._cards is None:
            raise ActuatorError("slurm-card was not given the store: it cannot know which card an index is")
        known = [
            replace(card, node=node.name)
            for card in self._cards(target.cluster_id)
            if card.node == target.node_id
        ]
        listed = None
        if cluster.gres_conf is not None:
            try:
                listed = cards.for_nodes(cards.read_gres_conf(cluster.gres_conf, cluster.gres), [node.name])
            except BadInput as e:
                raise ActuatorError(f"which index the card has is not known: {e}") from e
        found: NodeCards = cards.card_index(known, {node.name: node.configured}, listed, cluster.gres).of(
            node.name
        )
        if target.subject not in found.by_index:
            why = found.why_not or "Slurm has no record of it"
            raise ActuatorError(
                f"which index {target.subject} has in Slurm is not proven: {why}; "
                f"isolate the node {target.node_id} instead"
            )
        index = found.by_index.index(target.subject)
        self._mapped[target.cluster_id, target.subject] = (self._clock.monotonic(), node.name, index)
        return index

    def _place(
        self, cluster: ClusterFences, target: Target, node: NodeView, index: int
    ) -> tuple[Place, list[str]]:
        """Partition and GRES of the fence. Raises ActuatorError where a fence would not be exact."""
        instead = f"isolate the node {target.node_id} instead"
        here = [item for item in node.configured if item.name in cluster.gres and item.count]
        if len({(item.name, item.type) for item in here}) != 1:
            raise ActuatorError(
                f"{node.name} has cards of several types, and Slurm's order of them is not proven; {instead}"
            )
        if any(item.name in gres.SHARES and item.count for item in node.configured):
            raise ActuatorError(
                f"{node.name} gives out shares of cards (shard, mps): a fence cannot be aimed; {instead}"
            )
        config = cluster.calls.config()
        select = config.get("SelectType", "")
        if select != "select/cons_tres":
            raise ActuatorError(f"SelectType is {select or 'unknown'}, not select/cons_tres; {instead}")
        partitions = cluster.calls.partitions(node.partitions)
        chosen = self._partition(cluster, node, partitions, instead)
        notes = []
        whole = sorted(p.name for p in partitions if p.exclusive and p.row.get("State") == "UP")
        if whole:
            notes.append(
                f"jobs of partition {', '.join(whole)} take whole nodes and stay off {node.name} meanwhile"
            )
        preempting = config.get("PreemptType", "") in _SHAREABLE
        preempts = preempting and any(
            p.tier < chosen.tier and p.row.get("PreemptMode", "OFF") != "OFF" for p in partitions
        )
        preemptible = preempting and chosen.row.get("PreemptMode", "OFF") != "OFF"
        if preemptible and any(p.tier > chosen.tier for p in partitions):
            raise ActuatorError(
                f"a fence in partition {chosen.name} would be preempted by others; "
                f"name one of the highest PriorityTier in [{TABLE}] partition, or {instead}"
            )
        kind = here[0].type
        limit = words.text(chosen.row.get("MaxTime"))
        return (
            Place(
                node=node.name,
                index=index,
                cards=sum(item.count for item in here),
                gres=f"{here[0].name}:{kind}" if kind else here[0].name,
                names=cluster.gres,
                partition=chosen.name,
                max_minutes=None if limit in (None, "UNLIMITED") else _minutes(str(limit)),
                preempts=preempts,
            ),
            notes,
        )

    def _partition(
        self, cluster: ClusterFences, node: NodeView, partitions: list[Partition], instead: str
    ) -> Partition:
        """The one that is looked at first among those a small job of our account may use."""
        wanted = [p for p in partitions if cluster.fence.partition in ("", p.name)]
        if not wanted:
            raise ActuatorError(
                f"{node.name} is not in partition {cluster.fence.partition or 'of any name'}; "
                f"set [{TABLE}] partition, or {instead}"
            )
        against = [(p, p.why_not(cluster.fence.account, cluster.fence.qos)) for p in wanted]
        good = [p for p, why in against if why is None]
        if not good:
            raise ActuatorError(
                f"{'; '.join(str(why) for _, why in against)}: no fence beside other work; {instead}"
            )
        return max(good, key=lambda p: (p.tier, p.row.get("Default") == "YES", p.name))


def actuator(settings: Mapping[str, Any]) -> SlurmCard:
    """From [isolation.slurm-card]; its table ``clusters`` has one of the same keys a cluster that differs.

    conf, path, scontrol, squeue, sbatch, scancel: where Slurm is. gres_conf, gres: as in [allocation.slurm].
    account, qos, partition, user, priority, memory, minutes, hold_seconds, settle_seconds, end_with: FenceSettings. Raises ConfigError.
    """
    table = dict(settings)
    several = table.pop("clusters", {})
    if not isinstance(several, dict) or not all(isinstance(own, dict) for own in several.values()):
        raise ConfigError(f"[{TABLE}] clusters: write a table a cluster: [{TABLE}.clusters.hpc2]")
    plain = _cluster(table, TABLE)
    return SlurmCard(
        plain,
        {str(name): _cluster({**table, **own}, f"{TABLE}.clusters.{name}") for name, own in several.items()},
    )


def _cluster(content: Mapping[str, Any], name: str) -> ClusterFences:
    table = Table(content, "collector.toml", name)
    plain = FenceSettings()
    conf = table.path("conf")
    path = table.text("path") or Programs().path
    programs = {word: table.text(word) or word for word in PROGRAMS}
    user = table.text("user") or ""
    fence = FenceSettings(
        account=table.text("account") or plain.account,
        qos=str(table.text("qos", plain.qos)),
        partition=table.text("partition") or "",
        user=user,
        priority=table.whole("priority", plain.priority, 0, 4_294_967_293),
        memory=table.text("memory") or plain.memory,
        minutes=table.whole("minutes", plain.minutes, 2, 1440),
        hold_seconds=table.whole("hold_seconds", plain.hold_seconds, 2, 60),
        settle_seconds=table.number("settle_seconds", plain.settle_seconds, 2, 300),
        end_with=table.word("end_with", plain.end_with, ("", "requeue", "cancel")),
    )
    found = ClusterFences(
        calls=SlurmCalls(str(conf) if conf else None, path, programs),
        fence=fence,
        gres_conf=table.path("gres_conf"),
        gres=table.texts("gres", '["gpu", "npu"]') or gres.CARDS,
    )
    table.finish()
    return found


def _minutes(written: str) -> int:
    """``[days-]hours:minutes:seconds`` as whole minutes, one at least."""
    days, dash, clock = written.partition("-")
    parts = [int(part) for part in (clock if dash else written).split(":") if part.isdecimal()]
    while len(parts) < 3:
        parts.insert(0, 0)
    return max(1, (int(days) if dash and days.isdecimal() else 0) * 1440 + parts[0] * 60 + parts[1])
