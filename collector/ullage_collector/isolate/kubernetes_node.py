"""Kubernetes: taint a node NoSchedule under our own key, through kubectl.

Running pods stay. Our key and value make the taint ours; other taints and cordons are left alone.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ullage_collector.isolate.actuator import CommandCall, Plan, Run, Standing, Target, run_program
from ullage_contract.errors import ActuatorError, ConfigError

TAINT_KEY = "ullage.dev/isolated"  # our choice: because a taint key wants a domain-like prefix of its owner


@dataclass(frozen=True, slots=True)
class KubernetesNode:
    """``kubectl`` is called by this name or path, with ``context`` when given."""

    kubectl: str = "kubectl"
    context: str | None = None
    run: Run = run_program
    name: str = "kubernetes-node"
    whole_node: bool = True

    def plan_isolate(self, target: Target) -> Plan:
        """Taint the node; the value names what is isolated."""
        taint = _taint(target)
        return Plan(
            actuator=self.name,
            calls=(self._call("taint", "nodes", target.node_id, taint),),
            undo=(self._call("taint", "nodes", target.node_id, f"{taint}-"),),
            whole_node=True,
            notes=("running pods stay; pods that tolerate the taint may still come",),
        )

    def plan_release(self, target: Target) -> Plan:
        """Remove the taint with our key and this subject's value; kubectl fails when it is not there."""
        call = self._call("taint", "nodes", target.node_id, f"{_taint(target)}-")
        return Plan(actuator=self.name, calls=(call,), undo=(), whole_node=True)

    def standing(self, target: Target) -> Standing:
        """By the node's taints: our key with this subject's value is ours, another that keeps pods off is others'."""
        try:
            ran = self.run(
                self._call(
                    "get", "node", target.node_id, "-o", "jsonpath={.spec}", "--request-timeout=10s"
                ).argv
            )
            spec = json.loads(ran.output) if ran.status == 0 else None
        except (ActuatorError, ValueError, KeyError, TypeError):
            return Standing.UNKNOWN
        if spec is None:
            return Standing.UNKNOWN
        taints = [f"{t.get('key')}={t.get('value', '')}:{t.get('effect')}" for t in spec.get("taints") or ()]
        if _taint(target) in taints:
            return Standing.OURS
        closed = any(taint.endswith((":NoSchedule", ":NoExecute")) for taint in taints)
        return Standing.OTHERS if closed or spec.get("unschedulable") else Standing.GONE

    def _call(self, *arguments: str) -> CommandCall:
        context = ("--context", self.context) if self.context else ()
        return CommandCall((self.kubectl, *context, *arguments))


def _taint(target: Target) -> str:
    """key=value:effect. A taint's value is a label value: 63 letters, digits, - _ . with alphanumeric ends."""
    value = re.sub(r"[^A-Za-z0-9._-]", "-", target.subject)[:63].strip("-_.")
    return f"{TAINT_KEY}={value}:NoSchedule"


def actuator(settings: Mapping[str, Any]) -> KubernetesNode:
    """From [isolation.kubernetes-node]: kubectl = name or path, context = name."""
    if stray := set(settings) - {"kubectl", "context"}:
        raise ConfigError(
            f"[isolation.kubernetes-node]: unknown key {sorted(stray)[0]}; known are kubectl, context"
        )
    return KubernetesNode(kubectl=str(settings.get("kubectl", "kubectl")), context=settings.get("context"))
