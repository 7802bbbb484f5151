"""Slurm: drain a node, and resume it only while its drain is still ours.

Slurm holds one reason a node; ours starts with our marker. A drain of a person or of another tool carries
another reason and is left alone. Running jobs finish: that is what drain means.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ullage_collector.isolate.actuator import MARK, CommandCall, Plan, Run, Standing, Target, run_program
from ullage_contract.errors import ActuatorError, ConfigError


@dataclass(frozen=True, slots=True)
class SlurmNode:
    """``scontrol`` and ``sinfo`` are called by these names or paths."""

    scontrol: str = "scontrol"
    sinfo: str = "sinfo"
    run: Run = run_program
    name: str = "slurm-node"
    whole_node: bool = True

    def plan_isolate(self, target: Target) -> Plan:
        """Drain the node with our marker in the reason."""
        reason = f"{target.marker} {target.reason}"[:200]
        return Plan(
            actuator=self.name,
            calls=(
                CommandCall(
                    (self.scontrol, "update", f"nodename={target.node_id}", "state=drain", f"reason={reason}")
                ),
            ),
            undo=(CommandCall((self.scontrol, "update", f"nodename={target.node_id}", "state=resume")),),
            whole_node=True,
            notes=("running jobs finish; no new job starts on this node",),
        )

    def plan_release(self, target: Target) -> Plan:
        """Resume the node. Raises ActuatorError when its drain does not begin with our mark."""
        ran = self.run((self.sinfo, "--noheader", "-n", target.node_id, "-o", "%E"))
        if ran.status != 0:
            raise ActuatorError(f"{self.sinfo} ended with {ran.status}: {ran.error.strip()[:200]}")
        standing = ran.output.strip().splitlines()
        reason = standing[0].strip() if standing else ""
        calls: tuple[CommandCall, ...] = ()
        notes: tuple[str, ...] = ()
        if reason.startswith(MARK):
            calls = (CommandCall((self.scontrol, "update", f"nodename={target.node_id}", "state=resume")),)
        elif reason in ("", "none"):
            notes = (f"node {target.node_id} is not drained any more: nothing to undo in Slurm",)
        else:
            raise ActuatorError(
                f"node {target.node_id} is drained for another reason ({reason[:120]!r}), not by us: "
                "it is left alone; release it where it was placed"
            )
        return Plan(actuator=self.name, calls=calls, undo=(), whole_node=True, notes=notes)

    def standing(self, target: Target) -> Standing:
        """By the node's reason: one that begins with this target's marker is ours."""
        try:
            ran = self.run((self.sinfo, "--noheader", "-n", target.node_id, "-o", "%E"))
        except ActuatorError:
            return Standing.UNKNOWN
        lines = ran.output.strip().splitlines()
        if ran.status != 0 or not lines:
            return Standing.UNKNOWN
        reason = lines[0].strip()
        if reason == "none":
            return Standing.GONE
        return (
            Standing.OURS
            if reason == target.marker or reason.startswith(f"{target.marker} ")
            else Standing.OTHERS
        )


def actuator(settings: Mapping[str, Any]) -> SlurmNode:
    """From [isolation.slurm-node]: scontrol, sinfo = names or paths."""
    if stray := set(settings) - {"scontrol", "sinfo"}:
        raise ConfigError(
            f"[isolation.slurm-node]: unknown key {sorted(stray)[0]}; known are scontrol, sinfo"
        )
    return SlurmNode(
        scontrol=str(settings.get("scontrol", "scontrol")), sinfo=str(settings.get("sinfo", "sinfo"))
    )
