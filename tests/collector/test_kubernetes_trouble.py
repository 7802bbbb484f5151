"""Nothing lost, nothing invented: servers that die, forget, stall, refuse and repeat themselves, and wrong clocks."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from api_server import ApiServer
from kube_world import ApiAnswer, Kube, Watched, access_to, stamp

from ullage_collector.allocation.holding import NANO


@pytest.fixture
def server() -> Iterator[ApiServer]:
    server = ApiServer().start()
    yield server
    server.kill()


@pytest.fixture
def kube(server: ApiServer) -> Kube:
    kube = Kube(access_to(server.url))
    kube.make_namespace()
    kube.node("n1", {}, {"nvidia.com/gpu": "8"})
    return kube


@pytest.fixture
def watched(server: ApiServer, tmp_path: Path, kube: Kube) -> Iterator[Watched]:
    with Watched(tmp_path, access_to(server.url)) as watched:
        yield watched


def us(seconds: float) -> int:
    return round(seconds * 1e6)


def all_rows(watched: Watched) -> list[tuple[Any, ...]]:
    return watched.rows("SELECT count(*) FROM allocation WHERE known_to IS NULL")


def test_a_killed_server_costs_no_pod_and_no_second(server: ApiServer, kube: Kube, watched: Watched) -> None:
    kube.pod("p1", {"nvidia.com/gpu": "1"}, node="n1")
    watched.until("p1", bool)
    server.kill()
    server.start()
    kube.pod("p2", {"nvidia.com/gpu": "1"}, node="n1")
    time.sleep(1.1)
    kube.finish("p1")
    (row,) = watched.until("p1", lambda rows: rows[0]["to_us"] is not None)
    assert "end_estimated" not in row["attributes"]
    (row,) = watched.until("p2", bool)
    assert row["from_us"] == kube.bound_us("p2")
    assert all_rows(watched) == [(2,)]
    assert watched.listed() == 1  # it was resumed, not begun anew


def test_history_compacted_while_away_is_listed_anew_without_loss_or_invention(
    server: ApiServer, kube: Kube, watched: Watched
) -> None:
    for name in ("stays", "goes", "ends"):
        kube.pod(name, {"nvidia.com/gpu": "1"}, node="n1")
    watched.until("ends", bool)
    watched.settle()
    before = time.time()
    server.kill()
    # What a cluster does while nobody watches: by another way in, to the same objects.
    other = ApiServer()
    other.objects = server.objects
    other.start()
    meanwhile = Kube(access_to(other.url))
    time.sleep(1.1)
    meanwhile.delete("goes")
    meanwhile.finish("ends")
    meanwhile.pod("comes", {"nvidia.com/gpu": "1"}, node="n1")
    meanwhile.pod("came and went".replace(" ", "-"), {"nvidia.com/gpu": "1"}, node="n1")
    meanwhile.delete("came-and-went")
    server.objects.compact()
    other.kill()
    server.start()
    (gone,) = watched.until("goes", lambda rows: rows[0]["to_us"] is not None)
    assert gone["attributes"]["end_estimated"] == "last_seen"
    assert gone["from_us"] <= gone["to_us"] <= us(before + 2)
    (ended,) = watched.until("ends", lambda rows: rows[0]["to_us"] is not None)
    assert "end_estimated" not in ended["attributes"]
    (come,) = watched.until("comes", bool)
    assert come["from_us"] == kube.bound_us("comes")
    assert watched.held("stays")[0]["to_us"] is None
    assert watched.listed() == 2
    assert watched.held("came-and-went") == []  # nobody saw it: it is not made up
    assert all_rows(watched) == [(4,)]


def test_a_list_page_that_lapses_begins_the_list_anew(server: ApiServer, kube: Kube, tmp_path: Path) -> None:
    for number in range(501):
        server.objects.create(
            ("pods", kube.namespace, f"p{number:03}"),
            {
                "metadata": {"name": f"p{number:03}", "namespace": kube.namespace},
                "spec": {"containers": [{"name": "c", "image": "i"}]},
            },
        )
    kube.pod("zz", {"nvidia.com/gpu": "1"}, node="n1")
    real, asked = server.objects.list, []

    def lapsing(resource: str, *rest: Any) -> Any:
        if resource == "pods" and rest[2]:
            asked.append(rest[2])
            if len(asked) == 1:
                server.objects.compact()
        return real(resource, *rest)

    server.objects.list = lapsing  # type: ignore[method-assign]
    with Watched(tmp_path, access_to(server.url)) as watched:
        watched.until("zz", bool)
    assert len(asked) >= 2


def test_words_told_twice_and_out_of_order_change_nothing(
    server: ApiServer, kube: Kube, watched: Watched
) -> None:
    kube.pod("p1", {"nvidia.com/gpu": "1"}, node="n1")
    old = {"kind": "Pod", "apiVersion": "v1", **kube.ask("GET", kube.path("pods", "p1"))}
    watched.until("p1", bool)
    time.sleep(1.1)
    kube.finish("p1")
    (ended,) = watched.until("p1", lambda rows: rows[0]["to_us"] is not None)
    finished = kube.ask("GET", kube.path("pods", "p1"))
    kube.delete("p1")
    watched.settle()
    for event in (
        {"type": "MODIFIED", "object": old},
        {"type": "ADDED", "object": old},
        {"type": "MODIFIED", "object": finished},
        {"type": "DELETED", "object": finished},
        {"type": "DELETED", "object": finished},
    ):
        server.say("pods", event)
    watched.settle()
    assert watched.held("p1") == [ended]


def test_an_unknown_event_and_an_object_nobody_understands_stop_nothing(
    server: ApiServer, kube: Kube, watched: Watched
) -> None:
    watched.settle()
    server.say(
        "pods", {"type": "RENAMED", "object": {"metadata": {"name": "x", "resourceVersion": "999999"}}}
    )
    server.say("pods", {"type": "ADDED", "object": {"spec": {"nodeName": "n1", "resourceClaims": [{}]}}})
    kube.pod("p1", {"nvidia.com/gpu": "1"}, node="n1")
    watched.until("p1", bool)
    assert watched.source.followers[0].health.unknown_events == 1
    assert watched.listed() == 1


@pytest.mark.parametrize(
    "line",
    [
        b'{"type":"ADDED","object"\n',
        b"[]\n",
        b'{"type":"ERROR","object":{"kind":"Status","code":500,"message":"etcd"}}\n',
    ],
)
def test_a_broken_watch_is_taken_up_again(
    server: ApiServer, kube: Kube, watched: Watched, line: bytes
) -> None:
    watched.settle()
    server.say("pods", line)
    kube.pod("p1", {"nvidia.com/gpu": "1"}, node="n1")
    watched.until("p1", bool)
    watched.wait(lambda: watched.source.followers[0].health.failures, lambda n: n >= 1)
    assert watched.listed() == 1


def test_a_gone_event_inside_a_watch_lists_anew(server: ApiServer, kube: Kube, watched: Watched) -> None:
    kube.pod("p1", {"nvidia.com/gpu": "1"}, node="n1")
    watched.until("p1", bool)
    server.say("pods", {"type": "ERROR", "object": {"kind": "Status", "code": 410, "message": "too old"}})
    watched.wait(watched.listed, lambda lists: lists == 2)
    assert len(watched.held("p1")) == 1


def test_a_half_open_connection_is_cut_and_what_was_missed_is_told(
    server: ApiServer, kube: Kube, watched: Watched
) -> None:
    kube.pod("p1", {"nvidia.com/gpu": "1"}, node="n1")
    watched.until("p1", bool)
    server.freeze()
    kube.delete("p1")
    kube.pod("p2", {"nvidia.com/gpu": "1"}, node="n1")
    watched.wait(lambda: watched.source.followers[0].health.failures, lambda n: n >= 1)
    server.freeze(False)
    watched.until("p2", bool)
    (row,) = watched.until("p1", lambda rows: rows[0]["to_us"] is not None)
    assert row["from_us"] <= row["to_us"] <= us(time.time())


def test_a_server_that_is_busy_is_left_alone_as_long_as_it_says(
    server: ApiServer, kube: Kube, tmp_path: Path
) -> None:
    kube.pod("p1", {"nvidia.com/gpu": "1"}, node="n1")
    server.requests.clear()
    server.fail(3, 429, retry_after=1)
    server.fail(2, 503, retry_after=None)
    with Watched(tmp_path, access_to(server.url)) as watched:
        watched.until("p1", bool)
    assert len([r for r in server.requests if r.startswith("GET /api/v1/pods")]) < 12


def test_who_may_not_read_is_told_what_is_missing_and_goes_on_when_it_may(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    tokens: dict[str, set[tuple[str, str]]] = {"root": {("*", "*")}, "ullage": {("list", "nodes")}}
    server = ApiServer(tokens=tokens).start()
    kube = Kube(access_to(server.url, "root"))
    kube.make_namespace()
    kube.node("n1")
    kube.pod("p1", {"nvidia.com/gpu": "1"}, node="n1")
    try:
        with caplog.at_level(logging.INFO), Watched(tmp_path, access_to(server.url, "ullage")) as watched:
            watched.wait(lambda: watched.source.followers[0].health.failures, lambda n: n >= 1)
            tokens["ullage"] = {(verb, kind) for verb in ("list", "watch") for kind in ("pods", "nodes")}
            watched.until("p1", bool)
        assert "403" in caplog.text and "collector-rbac.yaml" in caplog.text
        assert "ullage-token" not in caplog.text and "Bearer" not in caplog.text
        with (
            caplog.at_level(logging.INFO),
            Watched(tmp_path / "b", access_to(server.url, "s3cret")) as watched,
        ):
            watched.wait(lambda: watched.source.followers[0].health.failures, lambda n: n >= 1)
        assert "401" in caplog.text and "s3cret" not in caplog.text
    finally:
        server.kill()


def test_a_server_without_claims_is_told_once_and_served(
    kube: Kube, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    server = ApiServer(dra=()).start()
    old = Kube(access_to(server.url))
    old.make_namespace()
    old.node("n1")
    old.pod("p1", {"nvidia.com/gpu": "1"}, node="n1")
    with caplog.at_level(logging.INFO), Watched(tmp_path, access_to(server.url)) as watched:
        watched.until("p1", bool)
        watched.settle()
    server.kill()
    assert caplog.text.count("no resource.k8s.io") == 1


# ------------------------------------------------------------------------------------ the collector itself


def test_a_restart_of_the_collector_takes_up_what_it_believed(
    server: ApiServer, kube: Kube, watched: Watched
) -> None:
    for name in ("stays", "ends", "goes", "over"):
        kube.pod(name, {"nvidia.com/gpu": "1"}, node="n1")
    time.sleep(1.1)
    kube.finish("over")
    over = watched.until("over", lambda rows: bool(rows and rows[0]["to_us"]))
    stays = watched.until("stays", bool)
    watched.settle()
    watched.stop()
    stopped = time.time()
    time.sleep(1.1)
    kube.finish("ends")
    kube.delete("goes")
    watched.start(anew=True)
    (ended,) = watched.until("ends", lambda rows: rows[0]["to_us"] is not None)
    assert "end_estimated" not in ended["attributes"]
    (gone,) = watched.until("goes", lambda rows: rows[0]["to_us"] is not None)
    assert gone["attributes"]["end_estimated"] == "last_seen"
    assert gone["from_us"] <= gone["to_us"] <= us(stopped + 1)
    watched.settle()
    assert watched.held("stays") == stays and watched.held("over") == over
    assert len(watched.standing()) == 1
    labels = watched.rows("SELECT name, namespace FROM workload WHERE name = 'goes'")
    assert labels == [("goes", kube.namespace)]  # ending it from memory alone forgets nothing of it


def test_what_the_node_saw_released_ends_a_pod_that_went_unseen(
    server: ApiServer, kube: Kube, watched: Watched
) -> None:
    card = watched.card(1, "n1")
    kube.pod("goes", {"nvidia.com/gpu": "1"}, node="n1")
    watched.handed("n1", "goes", [card], [card])
    watched.until("goes", lambda rows: bool(rows and rows[0]["card"]))
    watched.settle()
    watched.stop()
    time.sleep(1.1)
    kube.delete("goes")
    at = time.time()
    watched.handed("n1", "goes", [card], [card], kind="devices_released", at=at)
    watched.start(anew=True)
    (row,) = watched.until("goes", lambda rows: rows[0]["to_us"] is not None)
    assert (row["to_us"], row["attributes"]["end_estimated"], row["card"]) == (us(at), "released", card)


def test_a_source_that_is_started_again_keeps_what_it_knew(kube: Kube, watched: Watched) -> None:
    kube.pod("p1", {"nvidia.com/gpu": "1"}, node="n1")
    first = watched.until("p1", bool)
    watched.stop()
    kube.pod("p2", {"nvidia.com/gpu": "1"}, node="n1")
    watched.start()
    watched.until("p2", bool)
    assert watched.held("p1") == first


# ------------------------------------------------------------------------------------ clocks


@pytest.mark.parametrize("ahead", [600.0, -600.0])
def test_a_nodes_clock_ten_minutes_off_moves_no_end(kube: Kube, watched: Watched, ahead: float) -> None:
    kube.beat("n1", {}, ahead_seconds=ahead)
    watched.settle()
    kube.pod("p1", {"nvidia.com/gpu": "1"}, node="n1")
    watched.until("p1", bool)
    time.sleep(2.1)
    ended = time.time()
    kube.finish("p1", at=ended + ahead)
    (row,) = watched.until("p1", lambda rows: rows[0]["to_us"] is not None)
    # Heartbeat, note and container end have whole seconds: two of them differ by up to two.
    assert abs(row["to_us"] - us(ended)) <= 2_500_000
    assert row["from_us"] <= row["to_us"]


def test_a_clock_nobody_knows_to_be_wrong_never_ends_a_pod_in_the_future_or_before_it_began(
    kube: Kube, watched: Watched
) -> None:
    for name, off in (("fast", 600.0), ("slow", -600.0)):
        kube.pod(name, {"nvidia.com/gpu": "1"}, node="n1")
        watched.until(name, bool)
        time.sleep(1.1)
        kube.finish(name, at=time.time() + off)
        (row,) = watched.until(name, lambda rows: rows[0]["to_us"] is not None)
        assert row["from_us"] < row["to_us"] <= us(time.time() + 1), name
        assert row["attributes"]["end_estimated"] == "clock"


def test_a_servers_wrong_clock_is_taken_into_account(tmp_path: Path) -> None:
    server = ApiServer(ahead_seconds=600.0).start()
    kube = Kube(access_to(server.url))
    kube.make_namespace()
    kube.node("n1")
    with Watched(tmp_path, access_to(server.url)) as watched:
        kube.pod("p1", {"nvidia.com/gpu": "1"}, node="n1")
        (row,) = watched.until("p1", bool)
        assert row["from_us"] > us(time.time() + 500)
        kube.delete("p1")
        (row,) = watched.until("p1", lambda rows: rows == [] or rows[0]["to_us"] is not None) or [None]
        # One clock for both ends: it does not end ten minutes before it began, nor is it refused.
        assert row is None or row["to_us"] >= row["from_us"]
    server.kill()


def test_a_pod_without_any_container_end_is_marked_as_estimated(kube: Kube, watched: Watched) -> None:
    kube.pod("evicted", {"nvidia.com/gpu": "1"}, node="n1")
    watched.until("evicted", bool)
    time.sleep(1.1)
    at = time.time()
    kube.status("evicted", {"phase": "Failed", "reason": "Evicted"})
    (row,) = watched.until("evicted", lambda rows: rows[0]["to_us"] is not None)
    assert row["attributes"] == {"phase": "Failed", "reason": "Evicted", "end_estimated": "status"}
    assert abs(row["to_us"] - us(at)) < 10_000_000


def test_a_pod_being_deleted_holds_until_it_is_gone(kube: Kube, watched: Watched) -> None:
    kube.pod("p1", {"nvidia.com/gpu": "1"}, node="n1")
    watched.until("p1", bool)
    kube.delete("p1", at_once=False)
    (row,) = watched.until("p1", lambda rows: "deleting_until_us" in rows[0]["attributes"])
    assert row["to_us"] is None
    at = time.time()
    time.sleep(1.1)
    kube.delete("p1")
    (row,) = watched.until("p1", lambda rows: rows[0]["to_us"] is not None)
    assert row["to_us"] >= us(at) and row["attributes"] == {"deleted": 1}
    assert row["share"] == NANO and stamp(at)


def test_a_way_that_leads_nowhere_ends_nothing(server: ApiServer, kube: Kube, watched: Watched) -> None:
    """A proxy in between may say 404 or an empty 200 that is no list: neither says that no pod is there."""
    kube.pod("p1", {"nvidia.com/gpu": "1"}, node="n1")
    first = watched.until("p1", bool)
    server.kill()
    server.start()
    server.fail(4, 404, retry_after=None)
    watched.wait(lambda: watched.source.followers[0].health.failures, lambda n: n >= 1)
    kube_after = Kube(access_to(server.url))
    for _ in range(20):
        try:
            kube_after.pod("p2", {"nvidia.com/gpu": "1"}, node="n1")
            break
        except ApiAnswer:
            time.sleep(0.1)
    watched.until("p2", bool)
    assert watched.held("p1") == first
