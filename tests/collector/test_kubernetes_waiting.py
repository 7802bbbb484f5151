"""Who waits for cards in Kubernetes: from an API server to table request, whatever the server does meanwhile."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from api_server import ApiServer
from kube_world import CLUSTER, Kube, Watched, access_to

from ullage_collector.allocation.kubernetes import waiting
from ullage_collector.allocation.kubernetes.follow import Changed, Listed
from ullage_collector.allocation.kubernetes.waiting import WaitingPod, WaitingPods, read
from ullage_collector.allocation.kubernetes.workloads import Naming
from ullage_collector.config import Store as StoreSettings
from ullage_collector.quota.imports import import_file
from ullage_collector.quota.known import read as read_quotas
from ullage_collector.quota.readers import Given
from ullage_collector.quota.show import document
from ullage_collector.store.store import Store
from ullage_contract.clock import ManualClock, SystemClock
from ullage_contract.errors import StoreError

CARD = 10**9
GPU = "nvidia.com/gpu"


@pytest.fixture
def server() -> Iterator[ApiServer]:
    server = ApiServer().start()
    yield server
    server.kill()


@pytest.fixture
def kube(server: ApiServer) -> Kube:
    kube = Kube(access_to(server.url))
    kube.make_namespace()
    kube.node("n1", {}, {GPU: "8"})
    return kube


@pytest.fixture
def watched(server: ApiServer, tmp_path: Path, kube: Kube) -> Iterator[Watched]:
    with Watched(tmp_path, access_to(server.url)) as watched:
        yield watched


def requests(watched: Watched, known: str = "known_to IS NULL") -> list[dict[str, Any]]:
    """Everything believed of who waits, by pod and resource."""
    names = ("id", "pod", "cards", "resource", "queue", "namespace", "user", "reason", "from_us", "to_us")
    rows = watched.rows(
        "SELECT request_id, split_part(workload_id, '/', 4), cards_nano / 1e9, resource, queue, namespace, user_name,"
        f" reason, epoch_us(valid_from), epoch_us(valid_to) FROM request WHERE {known} ORDER BY ALL"
    )
    found = [dict(zip(names, row, strict=True)) for row in rows]
    return sorted(found, key=lambda row: (row["pod"], row["resource"], row["from_us"]))


def open_pods(watched: Watched) -> list[str]:
    return [row["pod"] for row in requests(watched) if row["to_us"] is None]


def until_open(watched: Watched, *pods: str) -> None:
    watched.wait(lambda: open_pods(watched), lambda found: found == sorted(pods))


def made_us(kube: Kube, pod: str) -> int:
    at = kube.ask("GET", kube.path("pods", pod))["metadata"]["creationTimestamp"]
    return round(datetime.fromisoformat(at).timestamp() * 1e6)


def scheduled(kube: Kube, pod: str, reason: str) -> None:
    """The scheduler's word on a pod it has no node for."""
    condition = {"type": "PodScheduled", "status": "False", "reason": reason}
    kube.status(pod, {"conditions": [condition]})


# ------------------------------------------------------------------------------- from the server to the table


def test_a_pod_waits_from_its_making_to_its_binding(kube: Kube, watched: Watched) -> None:
    kube.pod("p1", {GPU: "2"}, labels={"kueue.x-k8s.io/queue-name": "nlp", "hub.jupyter.org/username": "li"})
    kube.pod("plain", {"cpu": "2"})
    until_open(watched, "p1")
    (row,) = requests(watched)
    assert (row["cards"], row["resource"], row["queue"]) == (2, GPU, "nlp")
    assert (row["namespace"], row["user"], row["reason"]) == ("ullage-test", "li", None)
    assert row["from_us"] == made_us(kube, "p1")
    scheduled(kube, "p1", "Unschedulable")
    watched.wait(lambda: requests(watched), lambda rows: rows[0]["reason"] == "Unschedulable")
    assert len(requests(watched, "true")) == 1  # it waits on, for a reason that is known now
    kube.bind("p1", "n1")
    watched.until("p1", bool)
    until_open(watched)
    (row,) = requests(watched)
    assert row["from_us"] <= row["to_us"] <= round(time.time() * 1e6)
    assert watched.source.health.waiting == 0


def test_who_is_deleted_or_fails_without_a_node_waits_no_more(kube: Kube, watched: Watched) -> None:
    for name in ("deleted", "failed", "stays"):
        kube.pod(name, {GPU: "1"})
    until_open(watched, "deleted", "failed", "stays")
    kube.delete("deleted")
    kube.status("failed", {"phase": "Failed", "reason": "Preempting"})
    until_open(watched, "stays")
    assert [row["pod"] for row in requests(watched)] == ["deleted", "failed", "stays"]


def test_a_gated_pod_waits_for_its_gate_and_says_so(kube: Kube, watched: Watched) -> None:
    kube.pod("p1", {GPU: "4"}, schedulingGates=[{"name": "kueue.x-k8s.io/admission"}])
    scheduled(kube, "p1", "SchedulingGated")
    until_open(watched, "p1")
    assert requests(watched)[0]["reason"] == "SchedulingGated: kueue.x-k8s.io/admission"


def test_nothing_is_told_while_the_server_is_away(server: ApiServer, kube: Kube, watched: Watched) -> None:
    for name in ("stays", "goes"):
        kube.pod(name, {GPU: "1"})
    until_open(watched, "goes", "stays")
    before = requests(watched, "true")
    server.kill()
    watched.settle()
    assert requests(watched, "true") == before
    other = ApiServer()
    other.objects = server.objects
    other.start()
    meanwhile = Kube(access_to(other.url))
    meanwhile.delete("goes")
    meanwhile.pod("comes", {GPU: "1"})
    server.objects.compact()
    other.kill()
    server.start()
    until_open(watched, "comes", "stays")
    assert watched.listed() == 2
    assert [row["id"] for row in requests(watched) if row["pod"] == "stays"] == [
        row["id"] for row in before if row["pod"] == "stays"
    ]


def test_a_restart_tells_nothing_twice_and_ends_who_went_meanwhile(
    server: ApiServer, kube: Kube, watched: Watched
) -> None:
    for name in ("stays", "goes"):
        kube.pod(name, {GPU: "1"})
    until_open(watched, "goes", "stays")
    watched.stop()
    kube.delete("goes")
    server.kill()
    before = requests(watched, "true")
    watched.start(anew=True)
    time.sleep(0.5)
    assert requests(watched, "true") == before  # nobody was heard yet: nobody has ended to wait
    server.start()
    until_open(watched, "stays")
    assert [row["id"] for row in requests(watched) if row["pod"] == "stays"] == [
        row["id"] for row in before if row["pod"] == "stays"
    ]


def test_who_waits_is_shown_in_its_quota(kube: Kube, watched: Watched, tmp_path: Path) -> None:
    path = tmp_path / "q.toml"
    path.write_text(
        '[[quota]]\ntree = "t"\nname = "nlp"\nmin = 4\nbinds = ["queue=nlp-of-research"]\n'
        '[[quota]]\ntree = "t"\nname = "rest"\nmin = 2\nbinds = ["k8s=ullage-test"]\n'
    )
    import_file(watched.store, "quotas", path, given=Given(cluster=None, pool="*", guaranteed=False))
    kube.pod("p1", {GPU: "2"}, labels={"volcano.sh/queue-name": "nlp-of-research"})
    kube.pod("p2", {GPU: "3"})
    until_open(watched, "p1", "p2")

    def shown() -> dict[str, str]:
        now_us = round(time.time() * 1e6)
        found = document(
            read_quotas(watched.store.reader(), now_us, now_us + 1, as_of_us=now_us), at_us=now_us
        )
        return {n["quota"]: n["waiting"] for t in found["trees"] for p in t["cards"] for n in p["nodes"]}

    assert shown() == {"nlp": "2", "rest": "3"}
    kube.bind("p1", "n1")
    until_open(watched, "p2")
    assert shown() == {"nlp": "0", "rest": "3"}


# ------------------------------------------------------------------------------- what a pod asks for


def pod(*limits: Mapping[str, str], name: str = "p1", version: int = 1, **more: Any) -> dict[str, Any]:
    containers = [{"name": f"c{n}", "resources": {"limits": dict(given)}} for n, given in enumerate(limits)]
    return {
        "metadata": {
            "name": name,
            "namespace": "ns",
            "uid": f"uid-{name}",
            "resourceVersion": str(version),
            "creationTimestamp": "2026-11-21T14:06:40Z",
            **more.pop("metadata", {}),
        },
        "spec": {"containers": containers, **more.pop("spec", {})},
        "status": {"phase": "Pending", **more},
    }


def waiting_pod(*limits: Mapping[str, str], **more: Any) -> WaitingPod:
    found = read(pod(*limits, **more), Naming(CLUSTER))
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("limits", "asks"),
    [
        ([{GPU: "1"}, {GPU: "2"}], {GPU: 3 * CARD}),
        ([{"nvidia.com/mig-1g.10gb": "2"}], {"nvidia.com/mig-1g.10gb": 2 * (CARD // 7)}),
        ([{GPU: "1"}, {"huawei.com/Ascend910": "8"}], {GPU: CARD, "huawei.com/Ascend910": 8 * CARD}),
        ([{GPU: "2", "nvidia.com/gpucores": "50"}], {GPU: CARD}),
    ],
)
def test_a_pod_asks_for_all_its_containers_do(limits: list[dict[str, str]], asks: dict[str, int]) -> None:
    assert {r.resource: r.cards_nano for r in waiting_pod(*limits).requests} == asks


def test_a_pod_that_asks_for_no_card_is_not_kept() -> None:
    assert read(pod({"cpu": "2"}), Naming(CLUSTER)) is None
    assert read(pod({GPU: "0"}), Naming(CLUSTER)) is None


def test_a_pod_that_is_being_deleted_waits_no_more() -> None:
    assert not waiting_pod({GPU: "1"}).over
    assert waiting_pod({GPU: "1"}, metadata={"deletionTimestamp": "2026-11-21T14:07:40Z"}).over
    assert waiting_pod({GPU: "1"}, phase="Failed").over


# ------------------------------------------------------------------------------- the register


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    made = Store.open(tmp_path / "store.duckdb", StoreSettings(threads=1))
    yield made
    made.close()


def listed(*found: WaitingPod) -> Listed[Any]:
    return Listed("pods", list(found), 0.0, None)


def changed(found: WaitingPod, *, gone: bool = False) -> Changed[Any]:
    return Changed("pods", found, gone, 0.0, 0.0)


def told(store: Store) -> list[tuple[str, bool]]:
    cursor = store.cursor()
    rows = cursor.execute(
        "SELECT split_part(workload_id, '/', 4), valid_to IS NULL FROM request WHERE known_to IS NULL ORDER BY ALL"
    ).fetchall()
    cursor.close()
    return [(name, stands) for name, stands in rows]


def test_nothing_is_told_before_the_first_list_is_complete(store: Store) -> None:
    clock = SystemClock()
    earlier = WaitingPods("kubernetes", CLUSTER)
    earlier.hear_pods(listed(waiting_pod({GPU: "1"}, name="a"), waiting_pod({GPU: "1"}, name="b")))
    earlier.tell(store, clock)
    later = WaitingPods("kubernetes", CLUSTER)
    later.hear_pod(changed(waiting_pod({GPU: "1"}, name="c")))
    later.tell(store, clock)
    assert told(store) == [("a", True), ("b", True)]
    later.hear_pods(listed(waiting_pod({GPU: "1"}, name="b")))
    later.tell(store, clock)
    assert told(store) == [("a", False), ("b", True)]


def test_an_empty_first_list_ends_who_waited_before(store: Store) -> None:
    earlier, later = WaitingPods("kubernetes", CLUSTER), WaitingPods("kubernetes", CLUSTER)
    earlier.hear_pods(listed(waiting_pod({GPU: "1"}, name="a")))
    earlier.tell(store, SystemClock())
    later.hear_pods(listed())
    later.tell(store, SystemClock())
    assert told(store) == [("a", False)]


def test_words_late_and_out_of_order_change_nothing(store: Store) -> None:
    register = WaitingPods("kubernetes", CLUSTER)
    register.hear_pods(listed(waiting_pod({GPU: "2"}, version=7)))
    register.hear_pod(changed(waiting_pod({GPU: "1"}, version=6)))
    register.hear_pod(changed(waiting_pod({GPU: "1"}, name="never"), gone=True))
    assert [r.cards_nano for r in register.requests()] == [2 * CARD]
    register.hear_pod(changed(waiting_pod({GPU: "2"}, version=8), gone=True))
    register.hear_pod(changed(waiting_pod({GPU: "2"}, version=8), gone=True))
    assert len(register) == 0


class Refusing:
    """A store whose disk is full for a while. written: how often it was asked."""

    def __init__(self, store: Store) -> None:
        self.store, self.full, self.written = store, True, 0

    @contextmanager
    def write(self) -> Iterator[Any]:
        self.written += 1
        if self.full:
            raise StoreError("disk full")
        with self.store.write() as cursor:
            yield cursor


def test_what_a_full_disk_refused_is_told_later_and_what_stands_is_not_told_again(store: Store) -> None:
    refusing: Any = Refusing(store)
    register = WaitingPods("kubernetes", CLUSTER)
    register.hear_pods(listed(waiting_pod({GPU: "1"})))
    with pytest.raises(StoreError):
        register.tell(refusing, SystemClock())
    refusing.full = False
    register.tell(refusing, SystemClock())
    register.hear_pods(listed(waiting_pod({GPU: "1"}, version=9)))
    register.tell(refusing, SystemClock())
    assert (told(store), refusing.written) == ([("p1", True)], 2)


def test_telling_that_takes_long_is_done_at_most_a_twentieth_of_the_time(store: Store) -> None:
    clock = ManualClock(wall=1_795_270_000.0)

    class Slow(Refusing):
        @contextmanager
        def write(self) -> Iterator[Any]:
            with super().write() as cursor:
                yield cursor
            clock.advance(1.0)

    slow: Any = Slow(store)
    slow.full = False
    register = WaitingPods("kubernetes", CLUSTER)
    for number in range(100):
        register.hear_pods(listed(waiting_pod({GPU: "1"}, name=f"p{number}")))
        register.tell(slow, clock)
        clock.advance(1.0)
    assert 4 <= slow.written <= 6


def test_more_pods_than_a_fleet_has_are_left_out_and_told_once(
    store: Store, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(waiting, "MOST", 2)
    register = WaitingPods("kubernetes", CLUSTER)
    with caplog.at_level(logging.WARNING):
        register.hear_pods(listed(*(waiting_pod({GPU: "1"}, name=f"p{n}") for n in range(4))))
        register.hear_pod(changed(waiting_pod({GPU: "1"}, name="p9")))
    assert len(register) == 2
    assert [r.message for r in caplog.records if "left out" in r.message] == [
        f"cluster {CLUSTER}: more than 2 pods wait; the others are left out"
    ]


def test_a_pod_nobody_understands_hides_no_other(kube: Kube, watched: Watched) -> None:
    # No server checks what a sharing system's resource may be.
    kube.pod("odd", {GPU: "1", "nvidia.com/gpucores": "99999999999"})
    kube.pod("p1", {GPU: "1"})
    until_open(watched, "p1")
