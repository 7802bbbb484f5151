"""Kubernetes: keep new pods off a node by a taint of our own, over the API server's REST interface.

The taint and its mark (an annotation) are one write, merged with what stands at the version that was read, so others'
taints are kept as they are. Cordon, NoExecute and eviction are opted in to. Running pods stay unless a rule ends them.
Not here: single cards (kubernetes_card.py), pods (kubernetes_work.py).
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from ullage_collector.allocation.kubernetes.client import ApiError, Document
from ullage_collector.isolate.actuator import Call, Plan, Standing, Target
from ullage_collector.isolate.kubernetes_api import MERGE, Api, ApiCall, node_path, planning
from ullage_collector.isolate.kubernetes_mark import (
    TAINT_KEY,
    Mark,
    Taint,
    marks,
    same_taint,
    stamp,
    taint_value,
)
from ullage_collector.isolate.kubernetes_others import (
    Nodes,
    annotations_of,
    cordoned_by_us,
    holders,
    notes,
    taint_text,
    taints_of,
)
from ullage_collector.isolate.kubernetes_settings import (
    Servers,
    Work,
    maintenance_taints,
    own_table,
    servers,
    work,
)
from ullage_collector.isolate.kubernetes_told import condition_write, event_write
from ullage_collector.isolate.kubernetes_work import Holding, ending, telling, untelling
from ullage_collector.isolate.kubernetes_write import Write
from ullage_contract.clock import Clock, SystemClock
from ullage_contract.errors import ActuatorError

log = logging.getLogger(__name__)

NAME: Final = "kubernetes-node"


class KubernetesNode:
    """See the module. holding: who holds the card of a target, where the pods themselves do not say."""

    name = NAME
    whole_node = True

    def __init__(
        self,
        servers: Servers,
        clock: Clock,
        *,
        work: Work,
        cordon: bool = False,
        tell: bool = True,
        maintenance: tuple[str, ...] = (),
    ) -> None:
        self._servers, self._clock, self._work = servers, clock, work
        self._cordon, self._tell, self._maintenance = cordon, tell, maintenance
        self._nodes = Nodes(clock)
        self.holding: Holding | None = None

    # ------------------------------------------------------------------------------------- planning
    def plan_isolate(self, target: Target) -> Plan:
        """Taint, mark, condition, event; pods as ``target.drain`` says. Calls that stand already are left out.

        Raises ActuatorError: no answer, no such node, or a taint with our key that we did not place.
        """
        with planning():
            return self._plan_isolate(self._servers.api(target.cluster_id), target)

    def plan_release(self, target: Target) -> Plan:
        """Take back what we placed for this subject and nobody changed since; what others need stays.

        Raises ActuatorError: no answer, or only a taint with our key stands that we did not place.
        """
        with planning():
            return self._plan_release(self._servers.api(target.cluster_id), target)

    def _plan_isolate(self, api: Api, target: Target) -> Plan:
        node = self._node(api, target)
        said = notes(node, self._maintenance)
        calls: list[Call] = []
        first = self._isolating(api, target, node)
        after = node
        if first is not None:
            calls.append(
                Write(
                    api,
                    f"taint node {target.node_id}",
                    first,
                    lambda: self._isolating(api, target, self._node(api, target)),
                )
            )
            after = _patched(node, first)
        else:
            said.append(f"the taint stands already on {target.node_id}")
        if self._tell:
            calls += condition_write(api, target.node_id, after, lambda: self._node(api, target))
            calls += event_write(api, after, target, marks(annotations_of(after)).get(target.marker))
        if target.drain == "end" and self._work.evict:
            calls += ending(api, target, self._work, self.holding, said)
        elif target.drain == "notify":
            calls += telling(api, target, marks(annotations_of(after))[target.marker], self.holding, said)
        if target.drain == "finish":
            said.append("running pods stay; pods that tolerate the taint may still come")
        undo = self._releasing(api, target, after)
        return Plan(
            actuator=self.name,
            calls=tuple(calls),
            undo=(self._release(api, target, undo, look_first=True),) if undo is not None else (),
            whole_node=True,
            notes=tuple(said),
        )

    def _plan_release(self, api: Api, target: Target) -> Plan:
        node = api.found(node_path(target.node_id))
        if node is None:
            gone = f"{api.server} has no node {target.node_id} any more: nothing to undo there"
            return Plan(actuator=self.name, calls=(), undo=(), whole_node=True, notes=(gone,))
        said = notes(node, self._maintenance)
        calls: list[Call] = []
        first = self._releasing(api, target, node)
        after = node
        if first is not None:
            said += self._changed(node, target)
            calls.append(self._release(api, target, first))
            after = _patched(node, first)
        else:
            said.append(f"nothing of ours stands on {target.node_id} for {target.subject}")
        if self._tell or not marks(annotations_of(after)):
            calls += condition_write(api, target.node_id, after, lambda: self._node(api, target))
        calls += untelling(api, target)
        return Plan(actuator=self.name, calls=tuple(calls), undo=(), whole_node=True, notes=tuple(said))

    def standing(self, target: Target) -> Standing:
        """By our mark and the taints it names; see Standing. Never raises."""
        try:
            node = self._servers.api(target.cluster_id).found(node_path(target.node_id))
        except (ActuatorError, ApiError) as e:
            log.debug("standing of %s: %s", target.subject, e)
            return Standing.UNKNOWN
        if node is None:
            return Standing.UNKNOWN  # it was removed, or is another cluster's: nothing can be said of it
        mine = marks(annotations_of(node)).get(target.marker)
        if mine is not None and mine.taints:
            there = [any(same_taint(wanted, t) for t in taints_of(node)) for wanted in mine.taints]
            if all(there):
                return Standing.OURS
        foreign = _foreign(node)
        return Standing.OTHERS if foreign or holders(node, self._maintenance) else Standing.GONE

    def taken_by_others(self, cluster_id: str) -> Mapping[str, str] | None:
        """Nodes that others took from new work, with what; None: no answer."""
        return self._nodes.taken(self._servers, cluster_id, self._maintenance)

    def node_labels(self, cluster_id: str) -> Mapping[str, Mapping[str, str]] | None:
        """node_id -> its labels; None: no answer."""
        return self._nodes.labels(self._servers, cluster_id)

    # ------------------------------------------------------------------------------------- one write
    def _node(self, api: Api, target: Target) -> Document:
        """Raises ApiError, ActuatorError where there is none."""
        node = api.found(node_path(target.node_id))
        if node is None:
            raise ActuatorError(
                f"{api.server} has no node {target.node_id}: the agent's node_id is not what Kubernetes calls it, "
                f"or cluster {target.cluster_id} is reached wrongly in [isolation.{NAME}]"
            )
        return node

    def _isolating(self, api: Api, target: Target, node: Document) -> ApiCall | None:
        """The write that isolates, None where it stands. Raises ActuatorError where our key is taken by others."""
        ours = marks(annotations_of(node))
        mine = ours.get(target.marker)
        standing = taints_of(node)
        wanted = [self._taint(target, effect, standing, ours) for effect in self._effects(target)]
        if mine is not None:  # what an earlier run placed besides stays placed
            wanted += [t for t in mine.taints if not any(t.get("effect") == w.get("effect") for w in wanted)]
        cordoned = bool((node.get("spec") or {}).get("unschedulable"))
        cordon = (self._cordon or (mine is not None and mine.cordon)) and (
            not cordoned or cordoned_by_us(node, ours.values())
        )
        missing = [w for w in wanted if not any(same_taint(w, t) for t in standing)]
        mark = Mark(
            target.marker,
            target.incident_id,
            target.reason,
            mine.at if mine is not None else stamp(self._clock.wall()),
            mine.by if mine is not None else api.manager,
            tuple(wanted),
            cordon,
        )
        if (
            mine is not None
            and not missing
            and replace(mine, reason=mark.reason) == mark
            and cordon <= cordoned
        ):
            return None
        spec: dict[str, Any] = {}
        if missing:
            spec["taints"] = [*standing, *missing]
        if cordon and not cordoned:
            spec["unschedulable"] = True
        return _patch(api, target, node, {mark.key: mark.text()}, spec, (mark.at,))

    def _effects(self, target: Target) -> list[str]:
        ends = target.drain == "end" and not self._work.evict
        return ["NoSchedule", "NoExecute"] if ends else ["NoSchedule"]

    def _taint(
        self, target: Target, effect: str, standing: list[Mapping[str, Any]], ours: Mapping[str, Mark]
    ) -> Taint:
        """Ours of this effect if one of our marks stands for it, else a new one: a key and effect may be there once."""
        for taint in standing:
            if taint.get("key") == TAINT_KEY and taint.get("effect") == effect:
                if any(same_taint(taint, placed) for mark in ours.values() for placed in mark.taints):
                    return {k: str(taint.get(k) or "") for k in ("key", "value", "effect")}
                raise ActuatorError(
                    f"node {target.node_id} has taint {taint_text(taint)} that we did not place: remove it, or leave "
                    "the node to whoever placed it"
                )
        return {"key": TAINT_KEY, "value": taint_value(target), "effect": effect}

    def _releasing(self, api: Api, target: Target, node: Document) -> ApiCall | None:
        """The write that releases, None where nothing of this subject stands."""
        ours = marks(annotations_of(node))
        mine = ours.pop(target.marker, None)
        if mine is None:
            if not ours and (foreign := _foreign(node)):
                raise ActuatorError(
                    f"node {target.node_id} has taint {taint_text(foreign[0])} that we did not place: it is left "
                    "alone; release it where it was placed"
                )
            return None
        kept_for_others = [t for mark in ours.values() for t in mark.taints]
        going = [t for t in mine.taints if not any(same_taint(t, kept) for kept in kept_for_others)]
        standing = taints_of(node)
        left = [t for t in standing if not any(same_taint(t, gone) for gone in going)]
        spec: dict[str, Any] = {}
        if len(left) != len(standing):
            spec["taints"] = left or None
        if mine.cordon and not any(m.cordon for m in ours.values()) and cordoned_by_us(node, (mine,)):
            spec["unschedulable"] = None
        return _patch(api, target, node, {mine.key: None}, spec)

    def _release(self, api: Api, target: Target, first: ApiCall, *, look_first: bool = False) -> Write:
        return Write(
            api,
            f"release node {target.node_id}",
            first,
            lambda: self._releasing(api, target, self._node(api, target)),
            look_first=look_first,
        )

    def _changed(self, node: Document, target: Target) -> list[str]:
        """What of our own has been changed or taken away since, for the plan's notes."""
        ours = marks(annotations_of(node))
        mine = ours[target.marker]
        said = []
        for taint in mine.taints:
            if not any(same_taint(taint, t) for t in taints_of(node)):
                said.append(f"our taint {taint_text(taint)} was changed or removed by others: left as it is")
        shared = [m.marker for m in ours.values() if m.marker != target.marker]
        if shared:
            said.append(f"the node stays isolated for {', '.join(sorted(shared))}")
        if mine.cordon and not cordoned_by_us(node, (mine,)):
            said.append("our cordon was lifted or set anew by others: left as it is")
        return said


def _foreign(node: Document) -> list[Mapping[str, Any]]:
    """Taints with our key that none of our marks stands for."""
    placed = [t for mark in marks(annotations_of(node)).values() for t in mark.taints]
    return [
        t
        for t in taints_of(node)
        if t.get("key") == TAINT_KEY and not any(same_taint(t, mine) for mine in placed)
    ]


def _patch(
    api: Api,
    target: Target,
    node: Document,
    annotations: Mapping[str, str | None],
    spec: Mapping[str, Any],
    varying: tuple[str, ...] = (),
) -> ApiCall:
    """Annotations and whole spec fields at the version that was read: a later change makes it a conflict."""
    body: dict[str, Any] = {
        "metadata": {
            "resourceVersion": (node.get("metadata") or {}).get("resourceVersion"),
            "annotations": dict(annotations),
        }
    }
    if spec:
        body["spec"] = dict(spec)
    return api.call("PATCH", node_path(target.node_id), body, content=MERGE, strict=True, varying=varying)


def _patched(node: Document, call: ApiCall) -> Document:
    """The node as it will be after one of our writes, to plan what follows it."""
    body = call.body or {}
    metadata = dict(node.get("metadata") or {})
    metadata["annotations"] = _merged(metadata.get("annotations"), body["metadata"]["annotations"])
    return {**node, "metadata": metadata, "spec": _merged(node.get("spec"), body.get("spec"))}


def _merged(have: Mapping[str, Any] | None, changes: Mapping[str, Any] | None) -> dict[str, Any]:
    both = {**(have or {}), **(changes or {})}
    return {key: value for key, value in both.items() if value is not None}


def actuator(settings: Mapping[str, Any], clock: Clock | None = None) -> KubernetesNode:
    """From [isolation.kubernetes-node]; every key stands in collector.example.toml. Raises ConfigError."""
    clock = clock or SystemClock()
    table = own_table(settings, NAME)
    made = KubernetesNode(
        servers(table, NAME, clock),
        clock,
        work=work(table),
        cordon=table.flag("cordon", False),
        tell=table.flag("tell", True),
        maintenance=maintenance_taints(table),
    )
    table.finish()
    return made
