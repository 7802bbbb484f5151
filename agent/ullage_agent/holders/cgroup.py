"""Whose a process is, by the path of its cgroup: a Slurm job, a pod, a container, a session, a unit.

Of several paths (cgroup v1 has one a controller) and of nested ones (a job in a pod, a container in a job) the one
that says most counts: job, pod, container, session, unit, in this order. A path that says nothing is ``unknown``.
Sources: Slurm's cgroup and cgroup/v2 guides, kubelet's pod cgroup names, runtimes' scope names, systemd.slice(5).
Not here: what the job or pod holds; the collector knows.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Holder:
    """kind: slurm_job, kubernetes_pod, container, user_session, systemd_unit or unknown.

    id: of a Slurm job its number, or its SLUID where the cgroup has no number (Slurm 26.05); of a pod its uid with
    dashes (32 digits without for a static pod); of a container its id or name; of a session the user's number; of a
    unit its name; None for unknown.
    """

    kind: str
    id: str | None


UNKNOWN: Final = Holder("unknown", None)
_HEX: Final = r"[0-9a-f]"

_SLURM_JOB: Final = re.compile(
    r"(?:^|/)(?:[^/]*slurmstepd\.scope|slurm(?:_[^/]*)?(?:/uid_\d+)?)/job_(\d+)(?:/|$)"
)
"""v1: slurm/uid_U/job_J/step_S, slurm_NODE/... with several slurmd a host; v2: [NODE_]slurmstepd.scope/job_J."""

_SLUID: Final = re.compile(r"(?:^|/)[^/]*slurmstepd\.scope/(s[0-9A-HJKMNP-TV-Z]{13})(?:/|$)")
"""Slurm 26.05 names a job's cgroup by its SLUID unless cgroup.conf says CgroupJobIdPaths=yes."""

_POD: Final = re.compile(
    rf"kubepods[^:]*?[-/]pod({_HEX}{{8}}(?:[-_]{_HEX}{{4}}){{3}}[-_]{_HEX}{{12}}|{_HEX}{{32}})(?:\.slice|[/:]|$)"
)
"""cgroupfs: kubepods/burstable/podUID/..., systemd: kubepods-burstable-podU_I_D.slice/..."""

_POD_ALONE: Final = re.compile(
    rf"(?:^|/)(?:[a-z]+-)*pod({_HEX}{{8}}(?:_{_HEX}{{4}}){{3}}_{_HEX}{{12}})\.slice(?:/|$)"
)
"""As seen from inside another container's cgroup namespace, where the first parts of the path are cut off."""

_CONTAINER: Final = re.compile(
    rf"(?:^|[/:])(?:cri-containerd|crio|docker|libpod|nerdctl|containerd)-({_HEX}{{12,64}})(?:\.scope)?(?:/|$)"
    rf"|(?:^|/)(?:docker|libpod|containerd|default|k8s\.io|moby)/({_HEX}{{12,64}})(?:/|$)"
)
_NAMED_CONTAINER: Final = re.compile(
    r"(?:^|/)(?:lxc(?:\.payload)?[./]|machine\.slice/machine-)([^/]+?)(?:\.scope)?(?:/|$)"
)
_SESSION: Final = re.compile(r"(?:^|/)user-(\d+)\.slice(?:/|$)|(?:^|/)user@(\d+)\.service(?:/|$)")
_UNIT: Final = re.compile(r"(?:^|/)([^/]+\.(?:service|scope|socket|mount|swap))(?=/|$)")


def _first(pattern: re.Pattern[str]) -> Callable[[str], str | None]:
    def find(path: str) -> str | None:
        match = pattern.search(path)
        return next((group for group in match.groups() if group), None) if match else None

    return find


def _pod(path: str) -> str | None:
    found = _first(_POD)(path) or _first(_POD_ALONE)(path)
    return found.replace("_", "-") if found else None


def _machine(path: str) -> str | None:
    found = _first(_NAMED_CONTAINER)(path)
    return found.replace("\\x2d", "-") if found else None


def _unit(path: str) -> str | None:
    """The innermost unit."""
    found = _UNIT.findall(path)
    return found[-1] if found else None


_LADDER: Final[tuple[tuple[str, Callable[[str], str | None]], ...]] = (
    ("slurm_job", _first(_SLURM_JOB)),
    ("slurm_job", _first(_SLUID)),
    ("kubernetes_pod", _pod),
    ("container", _first(_CONTAINER)),
    ("container", _machine),
    ("user_session", _first(_SESSION)),
    ("systemd_unit", _unit),
)


def paths_of(text: str) -> list[str]:
    """The paths in the text of /proc/PID/cgroup, without the root."""
    found = []
    for line in text.splitlines():
        parts = line.split(":", 2)
        if len(parts) == 3 and parts[2] not in ("", "/"):
            found.append(parts[2])
    return found


def holder_of(paths: Iterable[str]) -> tuple[Holder, str | None]:
    """The holder that says most, and the path it is from; the longest path where nobody is named."""
    every = list(paths)
    for kind, find in _LADDER:
        for path in every:
            found = find(path)
            if found is not None:
                return Holder(kind, found[:200]), path
    return UNKNOWN, max(every, key=len, default=None)
