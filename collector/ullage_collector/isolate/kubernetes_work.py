"""The pods on an isolated node or card: told, or evicted as far as their disruption budgets allow.

Pods of DaemonSets, mirrors of static pods, pods that ended or are ending are left; so are pods without a controller
unless the settings say otherwise, as nobody makes them again. A refused eviction is tried again for a while and then
reported: the isolation stands without it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from ullage_collector.allocation.kubernetes.client import Absent, ApiError, Busy, Document, Unreachable
from ullage_collector.allocation.kubernetes.pods import TERMINAL
from ullage_collector.isolate.actuator import Call, Run, Target
from ullage_collector.isolate.kubernetes_api import MERGE, Api, ApiCall, Conflict
from ullage_collector.isolate.kubernetes_mark import Mark, annotation_key, marks
from ullage_collector.isolate.kubernetes_others import annotations_of
from ullage_collector.isolate.kubernetes_settings import Work
from ullage_collector.isolate.kubernetes_told import event_about
from ullage_collector.isolate.kubernetes_write import Write
from ullage_contract.errors import ActuatorError

Holding = Callable[[Target], frozenset[str] | None]
"""The uids of the pods that hold a target's card now; None: not known."""

_MIRROR: Final = "kubernetes.io/config.mirror"
"""The annotation of a static pod's mirror, which only its kubelet ends — "Static Pods"."""
_PAUSE_SECONDS: Final = 1.0  # our choice: budgets change as pods become ready, in seconds


@dataclass(frozen=True, slots=True)
class Evictions:
    """A Procedure: evict what ``find`` finds. calls: as planned, in order; what came since is evicted alike."""

    api: Api
    version: str
    work: Work
    calls: tuple[ApiCall, ...]
    find: Callable[[], list[Document]] = field(repr=False)

    def to_json(self) -> dict[str, Any]:
        return {
            "calls": [call.to_json() for call in self.calls],
            "tried_again_for_seconds": self.work.evict_seconds,
        }

    def __str__(self) -> str:
        return "\n  ".join(str(call) for call in self.calls)

    def run(self, run: Run) -> list[str]:
        """Evict each pod; one line a pod. Never raises: what a budget or a lost server refused is in the lines."""
        clock = self.api.clock
        ends = clock.monotonic() + self.work.evict_seconds
        lines: dict[str, str] = {}
        waiting: set[str] = set()
        while True:
            try:
                pods = {_name(pod): pod for pod in self.find()}
            except (ApiError, ActuatorError) as e:
                lines["pods"], waiting = f"pods cannot be listed: {e}", {*waiting, "pods"}
            else:
                lines.pop("pods", None)
                lines |= {name: f"pod {name}: gone" for name in waiting - {"pods"} - set(pods)}
                waiting = {name for name, pod in pods.items() if not self._evicted(name, pod, lines)}
            if not waiting or clock.monotonic() + _PAUSE_SECONDS > ends:
                return list(lines.values())
            clock.sleep(_PAUSE_SECONDS)

    def _evicted(self, name: str, pod: Document, lines: dict[str, str]) -> bool:
        """Evict it and write its line; False where it is worth another try."""
        try:
            self.api.send(eviction(self.api, self.version, pod, self.work.grace_seconds))
        except Absent:
            lines[name] = f"pod {name}: gone"
            return True
        except (Busy, Conflict, Unreachable) as e:
            lines[name] = f"pod {name}: not evicted, it runs on: {e}"
            return False
        except ApiError as e:
            lines[name] = f"pod {name}: not evicted, it runs on: {e}"
            return True
        lines[name] = f"pod {name}: evicted"
        return True


def eviction(api: Api, version: str, pod: Document, grace_seconds: int | None) -> ApiCall:
    """The eviction of this pod, not of a later one of its name."""
    metadata = pod["metadata"]
    options: dict[str, Any] = {"preconditions": {"uid": metadata["uid"]}}
    if grace_seconds is not None:
        options["gracePeriodSeconds"] = grace_seconds
    body = {
        "apiVersion": version,
        "kind": "Eviction",
        "metadata": {"name": metadata["name"], "namespace": metadata["namespace"]},
        "deleteOptions": options,
    }
    return api.call("POST", f"{_path(pod)}/eviction", body)


def ending(api: Api, target: Target, work: Work, holding: Holding | None, said: list[str]) -> list[Call]:
    """The eviction of the pods on the target; said: gets a line for each pod that is left, and why. Raises ApiError."""
    pods = _going(_concerned(api, target, holding, said), work, said)
    if not pods:
        return []
    version = eviction_version(api)
    calls = tuple(eviction(api, version, pod, work.grace_seconds) for pod in pods)
    return [
        Evictions(api, version, work, calls, lambda: _going(_concerned(api, target, holding, []), work, []))
    ]


def telling(api: Api, target: Target, mark: Mark, holding: Holding | None, said: list[str]) -> list[Call]:
    """Our mark on the pods of the target, and an event about each and about its controller. Raises ApiError."""
    told = Mark(mark.marker, mark.incident, mark.reason, mark.at, mark.by)
    calls: list[Call] = []
    pods = [p for p in _concerned(api, target, holding, said) if _kept(p, bare=True) is None]
    owners: dict[str, tuple[Mapping[str, Any], str]] = {}
    for pod in pods:
        metadata = pod["metadata"]
        calls += _annotation(api, pod, told.key, told.text(), (told.at,))
        about = {
            "apiVersion": "v1",
            "kind": "Pod",
            "namespace": metadata["namespace"],
            "name": metadata["name"],
            "uid": metadata["uid"],
        }
        calls += event_about(api, about, metadata["namespace"], told, at=mark.at)
        if owner := _controller(pod):
            owners[str(owner.get("uid"))] = (owner, metadata["namespace"])
    for owner, namespace in owners.values():
        about = {"namespace": namespace, **{k: owner.get(k) for k in ("apiVersion", "kind", "name", "uid")}}
        calls += event_about(api, about, namespace, told, at=mark.at)
    return calls


def untelling(api: Api, target: Target) -> list[Call]:
    """Take our mark for the target off its node's pods. Raises ApiError."""
    calls: list[Call] = []
    for pod in _pods(api, target):
        if target.marker in marks(annotations_of(pod)):
            calls += _annotation(api, pod, annotation_key(target.marker), None)
    return calls


def eviction_version(api: Api) -> str:
    """policy/v1 from 1.22 on, policy/v1beta1 before: what the server says its pods' eviction is. Raises ApiError."""
    for resource in api.get("/api/v1").get("resources") or ():
        if resource.get("name") == "pods/eviction":
            return f"{resource.get('group') or 'policy'}/{resource.get('version') or 'v1'}"
    return "policy/v1"


def _concerned(api: Api, target: Target, holding: Holding | None, said: list[str]) -> list[Document]:
    """The node's pods; of a card those that hold it, none when nobody knows which do."""
    if target.family != "card":
        return _pods(api, target)
    uids = holding(target) if holding is not None else None
    if uids is None:
        said.append("who holds the card is not known: no pod is told or ended")
        return []
    return [pod for pod in _pods(api, target) if pod["metadata"].get("uid") in uids]


def _pods(api: Api, target: Target) -> list[Document]:
    found = api.items("/api/v1/pods", {"fieldSelector": f"spec.nodeName={target.node_id}"})
    return [pod for pod in found if (pod.get("metadata") or {}).get("uid")]


def _going(pods: list[Document], work: Work, said: list[str]) -> list[Document]:
    going = []
    for pod in pods:
        why = _kept(pod, bare=work.bare)
        if why is None:
            going.append(pod)
        elif why:
            said.append(f"pod {_name(pod)} is left: {why}")
    return going


def _kept(pod: Document, *, bare: bool) -> str | None:
    """Why a pod is left: empty where nothing is to be said, None where it is not left."""
    owner = _controller(pod)
    if (pod.get("status") or {}).get("phase") in TERMINAL or pod["metadata"].get("deletionTimestamp"):
        return ""
    if _MIRROR in annotations_of(pod):
        return "a static pod"
    if owner is not None and owner.get("kind") == "DaemonSet":
        return "of a DaemonSet"
    if owner is None and not bare:
        return "it has no controller that would make it again; bare_pods = true evicts such pods"
    return None


def _controller(pod: Document) -> Mapping[str, Any] | None:
    owners = pod["metadata"].get("ownerReferences") or ()
    return next((owner for owner in owners if owner.get("controller")), None)


def _annotation(
    api: Api, pod: Document, key: str, text: str | None, varying: tuple[str, ...] = ()
) -> list[Call]:
    """Set or (None) take off one annotation of this very pod; nothing where it is so."""
    if annotations_of(pod).get(key) == text:
        return []
    uid = pod["metadata"]["uid"]
    body = {"metadata": {"uid": uid, "annotations": {key: text}}}
    call = api.call("PATCH", _path(pod), body, content=MERGE, varying=varying)

    def again() -> ApiCall | None:
        now = api.found(_path(pod))
        if now is None or now["metadata"].get("uid") != uid or annotations_of(now).get(key) == text:
            return None
        return call

    return [Write(api, f"annotation of pod {_name(pod)}", call, again, needed=False)]


def _name(pod: Document) -> str:
    return f"{pod['metadata'].get('namespace')}/{pod['metadata'].get('name')}"


def _path(pod: Document) -> str:
    return f"/api/v1/namespaces/{pod['metadata']['namespace']}/pods/{pod['metadata']['name']}"
