"""Kubernetes: keep new work off one card by DeviceTaintRules, where cards are handed out by dynamic resource allocation.

One rule a device that is the card or a part of it. Where the server has no such rules, or no ResourceSlice names the
card, it says so and proposes the node. Rules of others, and taints of the driver itself, are shown and left.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from ullage_collector.allocation.kubernetes.client import Absent, ApiError, Document
from ullage_collector.isolate.actuator import Call, Plan, Standing, Target
from ullage_collector.isolate.kubernetes_api import Api, ApiCall, node_path, planning
from ullage_collector.isolate.kubernetes_devices import (
    EFFECTS,
    KEEPS_OFF,
    Found,
    Place,
    Served,
    as_placed,
    effect_of,
    find,
    hits,
    holding_pods,
    mark_of,
    rule,
    selects,
    served,
)
from ullage_collector.isolate.kubernetes_mark import TAINT_KEY, Mark, Taint, stamp, taint_value
from ullage_collector.isolate.kubernetes_others import Nodes, taint_text
from ullage_collector.isolate.kubernetes_settings import (
    Servers,
    Work,
    maintenance_taints,
    own_table,
    servers,
    work,
)
from ullage_collector.isolate.kubernetes_told import event_write
from ullage_collector.isolate.kubernetes_work import Holding, ending, telling, untelling
from ullage_collector.isolate.kubernetes_write import Write
from ullage_contract.clock import Clock, SystemClock
from ullage_contract.errors import ActuatorError

log = logging.getLogger(__name__)

NAME: Final = "kubernetes-card"
_SERVED_SECONDS: Final = 300.0  # our choice: what a server has changes with its upgrade


@dataclass(slots=True)
class _Seen:
    """What was read for one target: its devices, all devices there are, every rule of the cluster."""

    versions: Served
    places: tuple[Place, ...]
    present: frozenset[tuple[str, str, str]]
    rules: list[Document]
    ours: list[Document] = field(default_factory=list)
    changed: list[Document] = field(default_factory=list)


class KubernetesCard:
    """See the module. effect: NoSchedule, NoExecute, or None, which keeps nothing off and is a rehearsal.

    holding: who holds the card of a target, besides what claims say.
    """

    name = NAME
    whole_node = False

    def __init__(
        self,
        servers: Servers,
        clock: Clock,
        *,
        work: Work,
        effect: str = "NoSchedule",
        tell: bool = True,
        maintenance: tuple[str, ...] = (),
    ) -> None:
        self._servers, self._clock, self._work = servers, clock, work
        self._effect, self._tell, self._maintenance = effect, tell, maintenance
        self._versions: dict[str, tuple[float, Served]] = {}
        self._nodes = Nodes(clock)
        self.holding: Holding | None = None

    # ------------------------------------------------------------------------------------- planning
    def plan_isolate(self, target: Target) -> Plan:
        """A rule a device of the card that has none of ours yet; pods as ``target.drain`` says.

        Raises ActuatorError: no answer, no such rules there, a card that no slice names, a selector that would be
        empty; each proposes the node.
        """
        if target.family != "card":
            raise ActuatorError(
                f"{NAME} isolates single cards, {target.subject} is a node: use kubernetes-node"
            )
        with planning():
            return self._plan_isolate(self._servers.api(target.cluster_id), target)

    def plan_release(self, target: Target) -> Plan:
        """Delete our rules for the card that are as we placed them.

        Raises ActuatorError: no answer, or all that stands was changed by others.
        """
        with planning():
            return self._plan_release(self._servers.api(target.cluster_id), target)

    def standing(self, target: Target) -> Standing:
        """By our rules and whether they still hit the card's devices; see Standing. Never raises."""
        try:
            seen = self._look(self._servers.api(target.cluster_id), target)
        except (ActuatorError, ApiError) as e:
            log.debug("standing of %s: %s", target.subject, e)
            return Standing.UNKNOWN
        counts = {*KEEPS_OFF, self._effect}
        standing = [given for given in seen.ours if effect_of(given) in counts]
        if standing and all(any(selects(given, place) for given in standing) for place in seen.places):
            return Standing.OURS
        if seen.changed or any(self._others(seen, place) for place in seen.places):
            return Standing.OTHERS
        return Standing.GONE

    def taken_by_others(self, cluster_id: str) -> Mapping[str, str] | None:
        """Nodes that others took from new work, with what; None: no answer."""
        return self._nodes.taken(self._servers, cluster_id, self._maintenance)

    def node_labels(self, cluster_id: str) -> Mapping[str, Mapping[str, str]] | None:
        """node_id -> its labels; None: no answer."""
        return self._nodes.labels(self._servers, cluster_id)

    # ------------------------------------------------------------------------------------- how it is made
    def _plan_isolate(self, api: Api, target: Target) -> Plan:
        seen = self._look(api, target)
        if not seen.places:
            raise ActuatorError(
                f"{target.subject} is in no ResourceSlice of node {target.node_id}: it is not handed out by dynamic "
                "resource allocation; isolate the node (kubernetes-node)"
            )
        said: list[str] = []
        for place in seen.places:
            said += [f"device {place.device}: {what}: left alone" for what in self._others(seen, place)]
        said += [
            f"rule {_name(given)} of ours was changed by others: left as it is" for given in seen.changed
        ]
        marks = [mark for given in seen.ours if (mark := mark_of(given, target.marker))]
        at = min((mark.at for mark in marks), default=stamp(self._clock.wall()))
        calls: list[Call] = []
        undo: list[Call] = []
        for place in seen.places:
            for effect in self._effects(target, seen.versions):
                taint = {"key": TAINT_KEY, "value": taint_value(target), "effect": effect}
                mark = Mark(target.marker, target.incident_id, target.reason, at, api.manager, (taint,))
                if any(effect_of(given) == effect and selects(given, place) for given in seen.ours):
                    said.append(f"device {place.device} has our taint {effect} already")
                    continue
                made = self._create(api, seen.versions, place, taint, mark)
                calls.append(made)
                undo.append(
                    self._delete(api, seen.versions, dict(made.shown.body or {}), target, look_first=True)
                )
        for given in seen.ours:
            if hits(given) in seen.present and not any(selects(given, place) for place in seen.places):
                said.append(f"rule {_name(given)} of ours hits another device now: it is taken back")
                calls.append(self._delete(api, seen.versions, given, target))
        mark = Mark(target.marker, target.incident_id, target.reason, at, api.manager)
        if self._tell and (node := api.found(node_path(target.node_id))) is not None:
            calls += event_write(api, node, target, mark)
        if self._effect == "None":
            said.append(
                "effect None keeps nothing off: a rehearsal; the rule's status says whom NoExecute would end"
            )
        elif target.drain == "end" and self._work.evict:
            calls += ending(api, target, self._work, self._holding(api, seen), said)
        elif target.drain == "notify":
            calls += telling(api, target, mark, self._holding(api, seen), said)
        if target.drain == "finish":
            said.append("running pods stay; claims that tolerate the taint may still get the card")
        return Plan(self.name, tuple(calls), tuple(undo), whole_node=False, notes=tuple(said))

    def _plan_release(self, api: Api, target: Target) -> Plan:
        try:
            seen = self._look(api, target, devices=False)
        except ActuatorError:
            gone = f"{api.server} has no DeviceTaintRule: nothing of ours can stand there"
            return Plan(self.name, (), (), whole_node=False, notes=(gone,))
        if seen.changed and not seen.ours:
            raise ActuatorError(
                f"rule {_name(seen.changed[0])} was changed since we placed it: it is left alone; delete it where it "
                "was changed"
            )
        said = [f"rule {_name(given)} was changed by others: left as it is" for given in seen.changed]
        if not seen.ours:
            said.append(f"nothing of ours stands for {target.subject}")
        calls: list[Call] = [self._delete(api, seen.versions, given, target) for given in seen.ours]
        calls += untelling(api, target)
        return Plan(self.name, tuple(calls), (), whole_node=False, notes=tuple(said))

    def _look(self, api: Api, target: Target, *, devices: bool = True) -> _Seen:
        versions = self._served(api, target.cluster_id)
        try:
            found = find(api, versions, target) if devices else Found((), frozenset())
            seen = _Seen(versions, found.places, found.present, list(api.items(versions.rules_path)))
        except Absent:
            self._versions.pop(target.cluster_id, None)  # the server was upgraded: ask anew next time
            raise
        for given in seen.rules:
            if mark_of(given, target.marker) is not None:
                (seen.ours if as_placed(given, target.marker) else seen.changed).append(given)
        return seen

    def _served(self, api: Api, cluster_id: str) -> Served:
        known = self._versions.get(cluster_id)
        if known is None or self._clock.monotonic() - known[0] > _SERVED_SECONDS:
            known = self._versions[cluster_id] = (self._clock.monotonic(), served(api))
        return known[1]

    def _effects(self, target: Target, versions: Served) -> list[str]:
        if self._effect == "None" and versions.rules == "v1alpha3":
            raise ActuatorError("effect None is not known to resource.k8s.io/v1alpha3: no rehearsal there")
        ends = target.drain == "end" and not self._work.evict and self._effect != "None"
        return ["NoExecute"] if ends else [self._effect]

    def _others(self, seen: _Seen, place: Place) -> list[str]:
        """What of others keeps new work off a device, in words."""
        found = [
            f"rule {_name(given)} with {taint_text(given['spec']['taint'])}"
            for given in seen.rules
            if given not in seen.ours and effect_of(given) in KEEPS_OFF and selects(given, place)
        ]
        found += [
            f"taint {taint_text(t)} of its driver" for t in place.taints if t.get("effect") in KEEPS_OFF
        ]
        return found

    def _holding(self, api: Api, seen: _Seen) -> Holding:
        def held(target: Target) -> frozenset[str]:
            known = self.holding(target) if self.holding is not None else None
            return holding_pods(api, seen.versions, seen.places) | (known or frozenset())

        return held

    # ------------------------------------------------------------------------------------- single writes
    def _create(self, api: Api, versions: Served, place: Place, taint: Taint, mark: Mark) -> Write:
        body = rule(versions, place, taint, mark)
        call = api.call("POST", versions.rules_path, body, strict=True, varying=(mark.at,))
        name = body["metadata"]["name"]

        def again() -> ApiCall | None:
            have = api.found(f"{versions.rules_path}/{name}")
            if have is None:
                return call
            if as_placed(have, mark.marker):
                return None
            raise ActuatorError(f"rule {name} is there and not as we place it: it is left alone")

        def accept(answer: Document) -> None:
            """A server that drops what it does not know would have made a rule for other devices."""
            kept = (answer.get("spec") or {}).get("deviceSelector")
            if kept == body["spec"]["deviceSelector"]:
                return
            uid = (answer.get("metadata") or {}).get("uid")
            options = {"apiVersion": "v1", "kind": "DeleteOptions", "preconditions": {"uid": uid}}
            try:
                api.send(api.call("DELETE", f"{versions.rules_path}/{name}", options))
            except ApiError as e:
                raise ActuatorError(
                    f"rule {name} was kept as {kept!r} and could not be taken back ({e}): delete it now"
                ) from e
            raise ActuatorError(
                f"{api.server} keeps {kept!r} of the rule's selector only: the rule was taken back; isolate the node"
            )

        return Write(api, f"taint device {place.device} of {place.pool}", call, again, accept=accept)

    def _delete(
        self, api: Api, versions: Served, given: Document, target: Target, *, look_first: bool = False
    ) -> Write:
        name = _name(given)

        def again() -> ApiCall | None:
            have = api.found(f"{versions.rules_path}/{name}")
            if have is None:
                return None
            if not as_placed(have, target.marker):
                raise ActuatorError(f"rule {name} was changed since we placed it: it is left alone")
            return _deletion(api, versions, have)

        return Write(
            api, f"release rule {name}", _deletion(api, versions, given), again, look_first=look_first
        )


def _deletion(api: Api, versions: Served, given: Document) -> ApiCall:
    """The deletion of this very rule as it was read."""
    metadata = given["metadata"]
    expected = {key: metadata[key] for key in ("uid", "resourceVersion") if key in metadata}
    body: dict[str, Any] = {"apiVersion": "v1", "kind": "DeleteOptions"}
    if expected:
        body["preconditions"] = expected
    return api.call("DELETE", f"{versions.rules_path}/{metadata['name']}", body)


def _name(given: Document) -> str:
    return str((given.get("metadata") or {}).get("name"))


def actuator(settings: Mapping[str, Any], clock: Clock | None = None) -> KubernetesCard:
    """From [isolation.kubernetes-card]; every key stands in collector.example.toml. Raises ConfigError."""
    clock = clock or SystemClock()
    table = own_table(settings, NAME)
    made = KubernetesCard(
        servers(table, NAME, clock),
        clock,
        work=work(table),
        effect=table.word("effect", "NoSchedule", EFFECTS),
        tell=table.flag("tell", True),
        maintenance=maintenance_taints(table),
    )
    table.finish()
    return made
