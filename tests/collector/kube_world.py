"""A cluster driven by plain requests, and our source on a real store beside it: what the Kubernetes tests stand on.

``Kube`` plays scheduler, kubelet and users against any API server, the stand-in or a real one; ``Watched`` runs the
source in a thread and reads what it made of it from table ``allocation``.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ullage_collector.allocation.book import AllocationBook
from ullage_collector.allocation.kubernetes.access import Access, Credential
from ullage_collector.allocation.kubernetes.settings import Settings
from ullage_collector.allocation.kubernetes.source import KubernetesSource
from ullage_collector.allocation.kubernetes.workloads import Naming
from ullage_collector.config import Store as StoreSettings
from ullage_collector.store.store import Store
from ullage_contract.clock import SystemClock

CLUSTER = "k8s-test"
NVIDIA = "GPU-0000000{}-1111-2222-3333-444444444444"
PATIENCE_SECONDS = 60.0


def gpu(number: int) -> str:
    """The UUID, and so the card_id, of a made-up card."""
    return NVIDIA.format(number)


def stamp(seconds: float) -> str:
    return datetime.fromtimestamp(int(seconds), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def access_to(url: str, token: str | None = None, authority: Path | None = None) -> Access:
    return Access(
        server=url,
        credential=lambda: Credential(token=token),
        where="test",
        authority=authority.read_bytes if authority else None,
    )


class ApiAnswer(Exception):
    """What a request was refused with."""

    def __init__(self, status: int, document: Mapping[str, Any]) -> None:
        super().__init__(f"{status} {document.get('message')}")
        self.status, self.document = status, document


class Kube:
    """Requests to one API server, as users, the scheduler and kubelets make them."""

    def __init__(self, access: Access, namespace: str = "ullage-test") -> None:
        self._access = access
        self.namespace = namespace

    def ask(
        self, method: str, path: str, body: Any = None, content: str = "application/json"
    ) -> dict[str, Any]:
        """The document of an answer. Raises ApiAnswer for one that is no success."""
        connection = self._access.connect(10.0)
        try:
            headers = {"Content-Type": content, "User-Agent": "kubelet/test"}
            token = self._access.credential().token
            if token:
                headers["Authorization"] = f"Bearer {token}"
            data = None if body is None else json.dumps(body)
            connection.request(method, self._access.prefix + path, body=data, headers=headers)
            response = connection.getresponse()
            document: dict[str, Any] = json.loads(response.read() or b"{}")
        finally:
            connection.close()
        if response.status >= 300:
            raise ApiAnswer(response.status, document)
        return document

    def make_namespace(self) -> None:
        """The namespace with the service account that pods of a real server need."""
        for path, body in (
            ("/api/v1/namespaces", {"metadata": {"name": self.namespace}}),
            (f"/api/v1/namespaces/{self.namespace}/serviceaccounts", {"metadata": {"name": "default"}}),
        ):
            try:
                self.ask("POST", path, body)
            except ApiAnswer as e:
                if e.status != 409:
                    raise

    def path(self, kind: str, name: str = "", part: str = "") -> str:
        return "/".join(p for p in (f"/api/v1/namespaces/{self.namespace}/{kind}", name, part) if p)

    def node(
        self,
        name: str,
        labels: Mapping[str, str] | None = None,
        offers: Mapping[str, str] | None = None,
        annotations: Mapping[str, str] | None = None,
    ) -> None:
        self.ask(
            "POST",
            "/api/v1/nodes",
            {
                "metadata": {
                    "name": name,
                    "labels": dict(labels or {}),
                    "annotations": dict(annotations or {}),
                }
            },
        )
        offered = {"cpu": "64", "memory": "512Gi", "pods": "250", **(offers or {})}
        self.beat(name, {"capacity": offered, "allocatable": offered})

    def beat(self, name: str, status: Mapping[str, Any] | None = None, ahead_seconds: float = 0.0) -> None:
        """The kubelet's heartbeat, by a clock that may be wrong."""
        ready = {"type": "Ready", "status": "True", "reason": "KubeletReady", "message": "ok"}
        ready |= {
            "lastHeartbeatTime": stamp(time.time() + ahead_seconds),
            "lastTransitionTime": stamp(time.time()),
        }
        self.ask(
            "PATCH",
            f"/api/v1/nodes/{name}/status",
            {"status": {**(status or {}), "conditions": [ready]}},
            "application/strategic-merge-patch+json",
        )

    def pod(
        self,
        name: str,
        limits: Mapping[str, str] | None = None,
        *,
        node: str | None = None,
        containers: Sequence[Mapping[str, Any]] | None = None,
        annotations: Mapping[str, str] | None = None,
        labels: Mapping[str, str] | None = None,
        owner: Mapping[str, Any] | None = None,
        **spec: Any,
    ) -> str:
        """Make a pod and, with ``node``, bind it as the scheduler does; its uid."""
        plain = [{"name": "main", "image": "none", "resources": {"limits": dict(limits or {})}}]
        metadata: dict[str, Any] = {
            "name": name,
            "labels": dict(labels or {}),
            "annotations": dict(annotations or {}),
        }
        if owner:
            metadata["ownerReferences"] = [owner]
        body = {
            "metadata": metadata,
            "spec": {
                "containers": list(containers or plain),
                "restartPolicy": "Never",
                "automountServiceAccountToken": False,
                "tolerations": [{"operator": "Exists"}],
                **spec,
            },
        }
        made = self.ask("POST", self.path("pods"), body)
        if node is not None:
            self.bind(name, node)
        return str(made["metadata"]["uid"])

    def bind(self, name: str, node: str) -> None:
        self.ask(
            "POST",
            self.path("pods", name, "binding"),
            {
                "apiVersion": "v1",
                "kind": "Binding",
                "metadata": {"name": name},
                "target": {"kind": "Node", "name": node},
            },
        )

    def annotate(self, name: str, annotations: Mapping[str, str]) -> None:
        self.ask(
            "PATCH",
            self.path("pods", name),
            {"metadata": {"annotations": dict(annotations)}},
            "application/merge-patch+json",
        )

    def status(self, name: str, status: Mapping[str, Any]) -> None:
        self.ask(
            "PATCH",
            self.path("pods", name, "status"),
            {"status": status},
            "application/strategic-merge-patch+json",
        )

    def finish(self, name: str, at: float | None = None, phase: str = "Succeeded") -> None:
        """Its containers end; at: by the node's clock, now where it is right."""
        pod = self.ask("GET", self.path("pods", name))
        ended = stamp(time.time() if at is None else at)
        terminated = {"exitCode": 0, "reason": "Completed", "startedAt": ended, "finishedAt": ended}
        statuses = [
            {
                "name": c["name"],
                "image": "none",
                "imageID": "",
                "ready": False,
                "restartCount": 0,
                "state": {"terminated": terminated},
            }
            for c in pod["spec"]["containers"]
        ]
        self.status(name, {"phase": phase, "containerStatuses": statuses})

    def delete(self, name: str, *, at_once: bool = True) -> None:
        """As the kubelet ends a deletion (at once), or as a user asks for one."""
        body = {"gracePeriodSeconds": 0} if at_once else {}
        self.ask("DELETE", self.path("pods", name), body)

    def bound_us(self, name: str) -> int:
        """When the API server says it was bound."""
        pod = self.ask("GET", self.path("pods", name))
        (at,) = [c["lastTransitionTime"] for c in pod["status"]["conditions"] if c["type"] == "PodScheduled"]
        return round(datetime.fromisoformat(at).timestamp() * 1e6)


class Watched:
    """Our source on a store, running while it is entered."""

    def __init__(self, folder: Path, access: Access, **more: Any) -> None:
        self.folder = folder
        self.access = access
        self.store = Store.open(folder / "store.duckdb", StoreSettings(threads=1))
        self.more = more
        self.source = self._source()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self.failed: BaseException | None = None

    def _source(self) -> KubernetesSource:
        naming = self.more.get("naming", Naming(CLUSTER))
        return KubernetesSource(
            Settings(naming, gather_seconds=0.05, drivers=self.more.get("drivers", ())),
            lambda: self.access,
            lambda: self.store,
            self.folder / "kubernetes",
            SystemClock(),
            follow={
                "quiet_seconds": 2.0,
                "longest_pause_seconds": 0.3,
                "absent_seconds": 0.3,
                **self.more.get("follow", {}),
            },
        )

    def __enter__(self) -> Watched:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        self.store.close()

    def start(self, *, anew: bool = False) -> None:
        """Run; anew: as after a restart of the collector, knowing only the store and what lies beside it."""
        if anew:
            self.source = self._source()
        self._stop = threading.Event()

        def run() -> None:
            try:
                self.source.run(self._stop)
            except BaseException as e:
                self.failed = e

        self._thread = threading.Thread(target=run, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join(20)
            assert not self._thread.is_alive(), "the source does not end"
        if self.failed is not None:
            raise self.failed

    def rows(self, sql: str, *parameters: Any) -> list[tuple[Any, ...]]:
        cursor = self.store.cursor()
        try:
            return cursor.execute(sql, list(parameters)).fetchall()
        finally:
            cursor.close()

    def held(self, pod: str) -> list[dict[str, Any]]:
        """What is believed of a pod, by start and card."""
        names = ("card", "slice", "node", "share", "memory", "from_us", "to_us", "attributes")
        found = self.rows(
            """SELECT c.card_id, s.slice_id, n.node_id, a.share_nano, a.memory_share_nano, epoch_us(a.valid_from),
                      epoch_us(a.valid_to), a.attributes
               FROM allocation a JOIN workload w USING (workload_key) LEFT JOIN card c USING (card_key)
               LEFT JOIN slice s ON s.slice_key = a.slice_key LEFT JOIN node n ON n.node_key = a.node_key
               WHERE a.known_to IS NULL AND w.name = ? ORDER BY a.valid_from, c.card_id, s.slice_id""",
            pod,
        )
        rows = [dict(zip(names, row, strict=True)) for row in found]
        for row in rows:
            row["attributes"] = json.loads(row["attributes"] or "{}")
        return rows

    def until(self, pod: str, holds: Callable[[list[dict[str, Any]]], bool]) -> list[dict[str, Any]]:
        """What is believed of a pod, as soon as it is as wanted."""
        return self.wait(lambda: self.held(pod), holds)

    def wait(self, look: Callable[[], Any], right: Callable[[Any], bool]) -> Any:
        until = time.monotonic() + PATIENCE_SECONDS
        while True:
            seen = look()
            if right(seen):
                return seen
            if self.failed is not None:
                raise self.failed
            assert time.monotonic() < until, f"still {seen}"
            time.sleep(0.05)

    def settle(self) -> None:
        """Until two rounds have passed since now: what was told by now is believed."""
        begun = self.source.health.rounds
        self.wait(lambda: self.source.health.rounds, lambda rounds: rounds >= begun + 3)

    def listed(self) -> int:
        """How often pods were listed."""
        return self.source.followers[0].health.lists

    def standing(self) -> list[str]:
        return [run.workload_id for run in AllocationBook(self.store, "kubernetes").standing(CLUSTER)]

    # -------------------------------------------------------------------------- the nodes' side
    def card(
        self,
        number: int,
        node: str,
        *,
        minor: int | None = None,
        memory: int = 80 << 30,
        pci: str | None = None,
    ) -> str:
        """A card as the agents' facts make it."""
        card = gpu(number)
        with self.store.write() as cursor:
            identities = self.store.identities
            key = identities.node(cursor, CLUSTER, node, None, "real").key
            identities.card(cursor, card, key, None, "real", "nvidia", "H100")
            identities.flush(cursor)
            cursor.execute(
                "UPDATE card SET uuid = ?, minor = ?, card_index = ?, memory_total_bytes = ?, pci_address = ?, "
                "facts_at = now()::TIMESTAMP WHERE card_id = ?",
                [card, number if minor is None else minor, number, memory, pci, card],
            )
        return card

    def mig(self, number: int, node: str, gi: int, compute: float, memory: float, uuid: str) -> str:
        """A MIG instance of a card, as the agents' facts make it."""
        slice_id = f"{gpu(number)}/gi{gi}-ci0"
        with self.store.write() as cursor:
            identities = self.store.identities
            key = identities.node(cursor, CLUSTER, node, None, "real").key
            identities.slice(cursor, slice_id, key, 0, "real")
            identities.flush(cursor)
            cursor.execute(
                "UPDATE slice SET compute_share = ?, memory_share = ?, facts = ?, facts_at = now()::TIMESTAMP "
                "WHERE slice_id = ?",
                [compute, memory, json.dumps({"uuid": uuid}), slice_id],
            )
        return slice_id

    def handed(
        self,
        node: str,
        pod: str,
        devices: Sequence[str],
        cards: Sequence[str],
        *,
        resource: str = "nvidia.com/gpu",
        container: str = "main",
        kind: str = "devices_assigned",
        at: float | None = None,
        namespace: str = "ullage-test",
    ) -> None:
        """What the node's agent tells of the kubelet, as it lies in the store."""
        attributes = {"namespace": namespace, "pod": pod, "container": container, "resource": resource}
        attributes |= {"devices": ",".join(devices), "cards": ",".join(cards)}
        with self.store.write() as cursor:
            key = self.store.identities.node(cursor, CLUSTER, node, None, "real").key
            self.store.identities.flush(cursor)
            cursor.execute(
                """INSERT INTO event (event_id, time, received_at, node_key, family, subject, kind, severity, source,
                                      message, attributes, origin)
                   VALUES (nextval('event_number'), make_timestamp(?), now()::TIMESTAMP, ?, 'node', ?, ?, 'info', 'agent',
                           'devices', ?, 'real')""",
                [round((time.time() if at is None else at) * 1e6), key, node, kind, json.dumps(attributes)],
            )
