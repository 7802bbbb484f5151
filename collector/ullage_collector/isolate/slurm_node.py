"""Slurm: drain a node, and resume it only while its drain is still ours.

Slurm holds one reason a node; ours begins with our mark and was set by our user. A drain of a person, of NHC or of
another tool is left alone: it is neither overwritten nor resumed. Running jobs finish, that is what drain means;
told or ended they are only where the target's drain says so, and ended only where the settings allow it.
"""

from __future__ import annotations

import os
import pwd
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from ullage_collector.allocation.slurm.command import Programs
from ullage_collector.isolate.actuator import MARK, Call, CommandCall, Plan, Run, Standing, Target
from ullage_collector.isolate.slurm_calls import PROGRAMS, JobView, SlurmCalls, call
from ullage_collector.isolate.slurm_fence_calls import ending, notice, tell
from ullage_contract.clock import Clock, SystemClock
from ullage_contract.errors import ActuatorError, ConfigError
from ullage_contract.settings import Table

TABLE: Final = "isolation.slurm-node"
CACHE_SECONDS: Final = 1.0
MAX_REASON_CHARACTERS: Final = 200
_COLUMNS: Final = "%N|%T|%u|%E"


@dataclass(frozen=True, slots=True)
class NodeDrains:
    """One Slurm cluster. user: who sets our reasons, as Slurm shows it. end_with: what drain "end" does to the
    jobs of a node: requeue or cancel; empty: nothing, they are let finish."""

    calls: SlurmCalls
    user: str
    end_with: str = ""
    is_explicit: bool = False
    """Whether conf or path is set: the calls then carry them."""


@dataclass(frozen=True, slots=True)
class Drained:
    """A node's state words, and its reason with who set it; None where there is none."""

    states: tuple[str, ...]
    reason: str | None
    by: str | None

    @property
    def away(self) -> bool:
        """New jobs are kept off it, or it does not answer."""
        return any(word.startswith(("drain", "down", "fail", "maint")) for word in self.states)


class NodeJobs:
    """The procedure that tells or ends the jobs of a node, one by one; one that cannot be told stops nothing."""

    def __init__(self, drains: NodeDrains, target: Target, jobs: tuple[JobView, ...]) -> None:
        self._drains = drains
        self._target = target
        self._jobs = jobs

    def to_json(self) -> dict[str, Any]:
        return {"procedure": "slurm jobs", "commands": [list(made.argv) for made in self._calls(self._jobs)]}

    def __str__(self) -> str:
        return "; ".join(str(made) for made in self._calls(self._jobs)) or "# no job runs there"

    def run(self, run: Run) -> list[str]:
        """Once more over the jobs that are there now. Raises ActuatorError when Slurm does not answer."""
        did = []
        for job in jobs_of(self._drains, self._target.node_id):
            what = self._of(job)
            if not self._ends:
                did.append(tell(run, what, job))
                continue
            try:
                call(run, what)
                did.append(f"job {job.label}: {self._drains.end_with}")
            except ActuatorError as e:
                did.append(f"job {job.label} was not ended: {e}")
        return did

    def _calls(self, jobs: tuple[JobView, ...]) -> list[CommandCall]:
        return [self._of(job) for job in jobs]

    def _of(self, job: JobView) -> CommandCall:
        if self._ends:
            return ending(self._drains.calls, job, self._drains.end_with)
        return notice(self._drains.calls, job, self._target.node_id, self._target)

    @property
    def _ends(self) -> bool:
        return self._target.drain == "end" and self._drains.end_with != ""


class SlurmNode:
    """See the module. plain: for clusters not named in ``by_cluster``."""

    name = "slurm-node"
    whole_node = True

    def __init__(
        self,
        plain: NodeDrains,
        by_cluster: Mapping[str, NodeDrains] | None = None,
        *,
        clock: Clock | None = None,
    ) -> None:
        self._plain = plain
        self._by_cluster = dict(by_cluster or {})
        self._clock = clock or SystemClock()
        self._lock = threading.Lock()
        self._seen: dict[str, tuple[float, dict[str, Drained]]] = {}

    def plan_isolate(self, target: Target) -> Plan:
        """Drain the node with our marker and the incident in the reason; tell or end its jobs as the target says.

        Raises ActuatorError when somebody else drained it: that stays as it is.
        """
        drains = self._of(target)
        calls: list[Call] = []
        notes = []
        try:
            found = self._drained(target)
        except ActuatorError as e:
            found = None
            notes.append(f"who drained the node before is looked at when it is done; not now: {e}")
        ours = found is not None and self.is_ours(found, target)
        if found is not None and ours:
            notes.append(f"node {target.node_id} is drained by us already ({found.reason})")
        else:
            refuse_others(found, target, self.is_ours)
            calls.append(self._draining(drains, target))
        if target.drain == "end" or (target.drain == "notify" and not ours):
            calls.append(NodeJobs(drains, target, tuple(jobs_of(drains, target.node_id))))
        if target.drain != "end" or not drains.end_with:
            notes.append("running jobs finish; no new job starts on this node")
        return Plan(
            actuator=self.name,
            calls=tuple(calls),
            undo=(self._resuming(drains, target, "state=resume"),),
            whole_node=True,
            notes=tuple(notes),
        )

    def plan_release(self, target: Target) -> Plan:
        """Resume the node. Raises ActuatorError when its drain is not ours, or Slurm does not answer."""
        drains = self._of(target)
        found = self._drained(target)
        calls: tuple[Call, ...] = ()
        notes: tuple[str, ...] = ()
        if found is None:
            notes = (f"Slurm has no node {target.node_id} any more: nothing to undo there",)
        elif self.is_ours(found, target):
            # resume would call a node that is down idle; undrain takes back just the drain.
            down = any(word.startswith("down") for word in found.states)
            calls = (self._resuming(drains, target, "state=undrain" if down else "state=resume"),)
        elif not found.reason:
            notes = (f"node {target.node_id} is not drained any more: nothing to undo in Slurm",)
        else:
            raise ActuatorError(others_drain(found, target))
        return Plan(actuator=self.name, calls=calls, undo=(), whole_node=True, notes=notes)

    def standing(self, target: Target) -> Standing:
        """OURS only while the drain's reason begins with our mark and our user set it. Never raises."""
        try:
            found = self._drained(target)
        except ActuatorError:
            return Standing.UNKNOWN
        if found is None:
            return Standing.UNKNOWN  # Slurm has no such node: nothing can be said of it
        if self.is_ours(found, target):
            return Standing.OURS
        if found.reason and found.away:
            return Standing.OTHERS
        return Standing.GONE

    def taken_by_others(self, cluster_id: str) -> Mapping[str, str] | None:
        """Nodes that somebody else keeps from new work, with the reason; None when Slurm does not answer."""
        drains = self._by_cluster.get(cluster_id, self._plain)
        try:
            nodes = self._nodes(drains, cluster_id)
        except ActuatorError:
            return None
        return {
            name: f"{found.by or 'nobody known'}: {found.reason or '/'.join(found.states)}"[
                :MAX_REASON_CHARACTERS
            ]
            for name, found in nodes.items()
            if found.away and not _is_ours(drains, found)
        }

    # ---- reading

    def _of(self, target: Target) -> NodeDrains:
        return self._by_cluster.get(target.cluster_id, self._plain)

    def is_ours(self, found: Drained, target: Target) -> bool:
        """Whether the node's drain is one of ours, for this target or another card of the node."""
        return _is_ours(self._of(target), found)

    def now(self, target: Target) -> Drained | None:
        """The node as Slurm says it this moment. Raises ActuatorError when it does not answer."""
        self.forget(target.cluster_id)
        return self._drained(target)

    def forget(self, cluster_id: str) -> None:
        """Ask anew the next time."""
        with self._lock:
            self._seen.pop(cluster_id, None)

    def _drained(self, target: Target) -> Drained | None:
        """The node under our name or its first label; None where Slurm has neither."""
        nodes = self._nodes(self._of(target), target.cluster_id)
        return nodes.get(target.node_id) or nodes.get(target.node_id.partition(".")[0])

    def _nodes(self, drains: NodeDrains, cluster_id: str) -> dict[str, Drained]:
        """Every node of the cluster in one question, kept for a second."""
        with self._lock:
            now = self._clock.monotonic()
            kept = self._seen.get(cluster_id)
            if kept is not None and now - kept[0] < CACHE_SECONDS:
                return kept[1]
            said = drains.calls.text("sinfo", "--all", "--noheader", "--Node", f"--format={_COLUMNS}")
            found = {}
            for line in said.splitlines():
                name, state, by, why = [*line.split("|", 3), "", "", ""][:4]
                reason = None if why.strip() in ("", "none") else why.strip()
                words = tuple(part for part in state.strip().lower().rstrip("*~#!%$@^-").split("+") if part)
                found[name.strip()] = Drained(words, reason, by.strip() if reason else None)
            self._seen[cluster_id] = (now, found)
            return found

    def _draining(self, drains: NodeDrains, target: Target) -> Update:
        update = _update(drains, target, "state=drain", f"reason={reason(target)}")
        return Update(self, target, update, drains=True)

    def _resuming(self, drains: NodeDrains, target: Target, state: str) -> Update:
        return Update(self, target, _update(drains, target, state), drains=False)


class Update:
    """One ``scontrol update`` that looks first: between plan and call somebody may have drained the node."""

    def __init__(self, slurm: SlurmNode, target: Target, update: CommandCall, *, drains: bool) -> None:
        self._slurm = slurm
        self._target = target
        self._update = update
        self._drains = drains

    def to_json(self) -> dict[str, Any]:
        return self._update.to_json()

    def __str__(self) -> str:
        return str(self._update)

    def run(self, run: Run) -> list[str]:
        """Look, then call. Raises ActuatorError when somebody else's drain stands, or Slurm does not answer."""
        found = self._slurm.now(self._target)
        if found is not None and self._slurm.is_ours(found, self._target):
            if self._drains:
                return ["it is drained by us already"]
        elif self._drains:
            refuse_others(found, self._target, self._slurm.is_ours)
        elif found is None or not found.reason:
            return ["it is not drained any more"]
        else:
            raise ActuatorError(others_drain(found, self._target))
        call(run, self._update)
        self._slurm.forget(self._target.cluster_id)
        return ["scontrol ended with 0"]


def refuse_others(found: Drained | None, target: Target, is_ours: Callable[[Drained, Target], bool]) -> None:
    """Raise ActuatorError where somebody else keeps new work off the node; nothing of theirs is overwritten."""
    if found is not None and found.reason and found.away and not is_ours(found, target):
        raise ActuatorError(
            f"node {target.node_id} is kept from new work already by {found.by} ({found.reason[:120]!r}); "
            "that is left alone, nothing to do"
        )


def others_drain(found: Drained, target: Target) -> str:
    """Why a drain is not taken back."""
    return (
        f"node {target.node_id} is drained for another reason ({str(found.reason)[:120]!r}, by {found.by}), "
        "not by us: it is left alone; release it where it was placed"
    )


def _is_ours(drains: NodeDrains, found: Drained) -> bool:
    return (
        found.reason is not None
        and found.reason.startswith(MARK)
        and found.by == drains.user
        and any(word.startswith(("drain", "down")) for word in found.states)
    )


def _update(drains: NodeDrains, target: Target, *what: str) -> CommandCall:
    if drains.is_explicit:
        return drains.calls.change("scontrol", "update", f"nodename={target.node_id}", *what)
    scontrol = drains.calls.programs.get("scontrol", "scontrol")
    return CommandCall((scontrol, "update", f"nodename={target.node_id}", *what))


def reason(target: Target) -> str:
    """Marker, incident and reason on one line, as sinfo shows it."""
    incident = f" incident {target.incident_id}:" if target.incident_id is not None else ""
    return f"{target.marker}{incident} {target.reason}"[:MAX_REASON_CHARACTERS]


def jobs_of(drains: NodeDrains, node: str) -> list[JobView]:
    """The jobs that run on a node, fences of cards left out. Raises ActuatorError when Slurm does not answer."""
    return [
        job
        for job in drains.calls.jobs(f"--nodelist={node}")
        if not job.waiting and not job.leaving and not job.comment.startswith("fence:")
    ]


def actuator(settings: Mapping[str, Any]) -> SlurmNode:
    """From [isolation.slurm-node]; its table ``clusters`` has one of the same keys a cluster that differs.

    conf, path, scontrol, sinfo, squeue, scancel: where Slurm is. user: who sets our reasons, the collector's own
    user where it is not given. end_with: NodeDrains. Raises ConfigError.
    """
    table = dict(settings)
    several = table.pop("clusters", {})
    if not isinstance(several, dict) or not all(isinstance(own, dict) for own in several.values()):
        raise ConfigError(f"[{TABLE}] clusters: write a table a cluster: [{TABLE}.clusters.hpc2]")
    return SlurmNode(
        _cluster(table, TABLE),
        {str(name): _cluster({**table, **own}, f"{TABLE}.clusters.{name}") for name, own in several.items()},
    )


def _cluster(content: Mapping[str, Any], name: str) -> NodeDrains:
    table = Table(content, "collector.toml", name)
    conf, path = table.path("conf"), table.text("path")
    found = NodeDrains(
        calls=SlurmCalls(
            str(conf) if conf else None,
            path or Programs().path,
            {word: table.text(word) or word for word in PROGRAMS},
        ),
        user=table.text("user") or _own_user(),
        end_with=table.word("end_with", "", ("", "requeue", "cancel")),
        is_explicit=conf is not None or path is not None,
    )
    table.finish()
    return found


def _own_user() -> str:
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return str(os.geteuid())
