"""What the kubelet handed out: against a server that speaks the published API, and against one that misbehaves."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import random
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.agent.kubelet_server import KubeletServer, messages

from ullage_agent import protobuf
from ullage_agent.grpc_call import call
from ullage_agent.holders.cards import Card, Cards, Part
from ullage_agent.holders.kubelet import EMPTY_SECONDS, TELL_AGAIN_SECONDS, WAIT_FOR_CARDS_SECONDS, Kubelet
from ullage_agent.holders.pod_resources import PodResources, containers
from ullage_contract.catalogue import Tier
from ullage_contract.clock import ManualClock
from ullage_contract.errors import Broken, NotPermitted, NotPresent, NotSupported, ReadingError
from ullage_contract.event import Event

GPUS = [f"GPU-0000000{n}-1111-2222-3333-444444444444" for n in range(4)]
MIG = "MIG-0000000a-1111-2222-3333-444444444444"
CARDS = Cards.made(
    [Card(uuid, "nvidia", uuid=uuid, minor=n, node_number=n) for n, uuid in enumerate(GPUS)],
    [Part(f"{GPUS[3]}/gi1-ci0", GPUS[3], "gi1-ci0", MIG)],
)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[KubeletServer]:
    messages()
    made = KubeletServer(tmp_path / "kubelet.sock")
    yield made
    made.stop()


Make = Callable[..., Kubelet]


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def make(tmp_path: Path, clock: ManualClock) -> Iterator[Make]:
    made: list[Kubelet] = []

    def kubelet(**more: Any) -> Kubelet:
        arguments: dict[str, Any] = {"node_id": "n1", "clock": clock, "cards": lambda: CARDS}
        source = Kubelet(tmp_path / "kubelet.sock", **(arguments | more))
        # polls are made by hand here; the thread has its own test
        source._thread = threading.Thread(target=lambda: None)
        source._thread.start()
        made.append(source)
        return source

    yield kubelet
    for one in made:
        one.close()


def polled(source: Kubelet) -> list[tuple[str, dict[str, Any]]]:
    source.poll()
    return [(event.kind, dict(event.attributes)) for event in source.events()]


def test_whole_cards_mig_replicas_and_claims_come_out_right(server: KubeletServer, make: Make) -> None:
    server.pod("team-a", "train-0", server.container("main", {"nvidia.com/gpu": [GPUS[1], GPUS[0]]}),
               server.container("sidecar"))  # fmt: skip
    server.pod("team-b", "infer", server.container("c", {"nvidia.com/mig-1g.10gb": [MIG]}))
    server.pod("team-c", "shared", server.container("c", {"nvidia.com/gpu.shared": [f"{GPUS[2]}::3"]}))
    claim = server.claim(
        "team-d", "two", ("gpu.nvidia.com", "n1", "gpu-2"), ("gpu.nvidia.com", "n1", "gpu-9")
    )
    server.pod("team-d", "dra", server.container("c", claims=[claim]))
    old = server.claim("team-e", "old", cdi=(f"nvidia.com/gpu={GPUS[0]}",))
    server.pod("team-e", "dra", server.container("c", claims=[old]))
    server.pod("kube-system", "dns", server.container("c"))
    source = make()
    told = polled(source)
    assert {kind for kind, _ in told} == {"devices_assigned"}
    assert sorted((a for _, a in told), key=lambda a: a["namespace"]) == [
        {
            "namespace": "team-a", "pod": "train-0", "container": "main", "resource": "nvidia.com/gpu",
            "devices": f"{GPUS[0]},{GPUS[1]}", "cards": f"{GPUS[0]},{GPUS[1]}",
        },
        {
            "namespace": "team-b", "pod": "infer", "container": "c", "resource": "nvidia.com/mig-1g.10gb",
            "devices": MIG, "cards": f"{GPUS[3]}/gi1-ci0",
        },
        {
            "namespace": "team-c", "pod": "shared", "container": "c", "resource": "nvidia.com/gpu.shared",
            "devices": f"{GPUS[2]}::3", "cards": GPUS[2],
        },
        {
            "namespace": "team-d", "pod": "dra", "container": "c", "claim": "team-d/two",
            "claims": "gpu.nvidia.com/n1/gpu-2,gpu.nvidia.com/n1/gpu-9", "cards": f"{GPUS[2]},?",
        },
        {
            "namespace": "team-e", "pod": "dra", "container": "c", "claim": "team-e/old",
            "cdi": f"nvidia.com/gpu={GPUS[0]}", "cards": GPUS[0],
        },
    ]  # fmt: skip
    assert list(source.read(Tier.FAST)) == []
    assert polled(source) == []


def test_ids_a_sharing_system_does_not_go_by_are_told_as_placeholders(
    server: KubeletServer, make: Make
) -> None:
    server.pod("a", "hami", server.container("c", {"nvidia.com/gpu": [f"{GPUS[0]}-7", f"{GPUS[1]}-0"]}))
    server.pod(
        "b", "gpushare", server.container("c", {"aliyun.com/gpu-mem": [f"{GPUS[0]}-_-{n}" for n in range(3)]})
    )
    told = [attributes for _, attributes in polled(make())]
    assert [(a["cards"], a["placeholders"]) for a in told] == [("?,?", 2), ("?,?,?", 3)]


def test_a_device_is_released_when_two_lists_and_the_pods_own_word_miss_it(
    server: KubeletServer, make: Make
) -> None:
    server.pod("a", "p", server.container("c", {"nvidia.com/gpu": GPUS[:2]}))
    server.pod("a", "q", server.container("c", {"nvidia.com/gpu": [GPUS[2]]}))
    source = make()
    assert len(polled(source)) == 2
    del server.pods["a", "p"]
    assert polled(source) == []
    ((kind, attributes),) = polled(source)
    assert kind == "devices_released" and attributes["cards"] == f"{GPUS[0]},{GPUS[1]}"
    assert server.calls.count("Get") == 1
    assert polled(source) == []


def test_a_pod_missing_from_lists_but_known_by_its_name_keeps_its_devices(
    server: KubeletServer, make: Make
) -> None:
    server.pod("a", "p", server.container("c", {"nvidia.com/gpu": [GPUS[0]]}))
    server.pod("a", "q", server.container("c", {"nvidia.com/gpu": [GPUS[2]]}))
    source = make()
    polled(source)
    pb = messages()
    only_q = pb.ListPodResourcesResponse(pod_resources=[server.pods["a", "q"]]).SerializeToString()
    server.garbage = only_q
    for _ in range(5):
        assert polled(source) == []
    server.garbage = None
    assert polled(source) == []


def test_without_get_two_lists_decide(server: KubeletServer, make: Make) -> None:
    server.has_get = False
    server.pod("a", "p", server.container("c", {"nvidia.com/gpu": [GPUS[0]]}))
    server.pod("a", "q", server.container("c", {"nvidia.com/gpu": [GPUS[2]]}))
    source = make()
    polled(source)
    for name in ("p", "q"):
        del server.pods["a", name]
        server.pod("a", f"new-{name}", server.container("c", {"nvidia.com/gpu": [GPUS[1]]}))
        assert [kind for kind, _ in polled(source)] in (["devices_assigned"], ["devices_assigned"])
        assert [kind for kind, _ in polled(source)] == ["devices_released"]
    assert server.calls.count("Get") == 1  # told once that there is none, it is not asked again


def test_an_assignment_always_names_all_that_the_container_has(server: KubeletServer, make: Make) -> None:
    source = make()
    server.pod("a", "p", server.container("c", {"nvidia.com/gpu": [GPUS[0]]}))
    polled(source)
    server.pod("a", "p", server.container("c", {"nvidia.com/gpu": [GPUS[0], GPUS[1]]}))
    assert [(kind, a["devices"]) for kind, a in polled(source)] == [
        ("devices_assigned", f"{GPUS[0]},{GPUS[1]}")
    ]
    server.pod("a", "p", server.container("c", {"nvidia.com/gpu": [GPUS[1]]}))
    assert polled(source) == []
    assert [(kind, a["devices"]) for kind, a in polled(source)] == [
        ("devices_released", GPUS[0]),
        ("devices_assigned", GPUS[1]),
    ]


def test_a_device_handed_on_is_released_at_once(server: KubeletServer, make: Make) -> None:
    server.pod("a", "p", server.container("c", {"nvidia.com/gpu": [GPUS[0]]}))
    source = make()
    polled(source)
    del server.pods["a", "p"]
    server.pod("b", "next", server.container("c", {"nvidia.com/gpu": [GPUS[0]]}))
    assert sorted((kind, a["pod"]) for kind, a in polled(source)) == [
        ("devices_assigned", "next"),
        ("devices_released", "p"),
    ]


def test_a_kubelet_that_just_started_and_knows_no_pods_releases_nothing(
    server: KubeletServer, make: Make, clock: ManualClock
) -> None:
    server.has_get = False
    server.pod("a", "p", server.container("c", {"nvidia.com/gpu": [GPUS[0]]}))
    source = make()
    polled(source)
    kept = dict(server.pods)
    server.pods.clear()
    for _ in range(4):
        clock.advance(EMPTY_SECONDS / 5)
        assert polled(source) == []
    server.pods.update(kept)
    assert polled(source) == []
    server.pods.clear()
    assert polled(source) == []
    clock.advance(EMPTY_SECONDS)
    assert [kind for kind, _ in polled(source)] == ["devices_released"]


def test_a_kubelet_that_is_away_releases_nothing_and_is_said(server: KubeletServer, make: Make) -> None:
    server.pod("a", "p", server.container("c", {"nvidia.com/gpu": [GPUS[0]]}))
    source = make()
    polled(source)
    server.stop()
    for _ in range(3):
        assert polled(source) == []
        with pytest.raises(Broken, match=r"kubelet\.sock"):
            source.read(Tier.FAST)
    server.pod("a", "q", server.container("c", {"nvidia.com/gpu": [GPUS[1]]}))
    server.start()
    assert [(kind, a["pod"]) for kind, a in polled(source)] == [("devices_assigned", "q")]
    assert list(source.read(Tier.FAST)) == []


def test_a_hung_kubelet_costs_its_deadline_and_nothing_else(server: KubeletServer, make: Make) -> None:
    server.pod("a", "p", server.container("c", {"nvidia.com/gpu": [GPUS[0]]}))
    source = make(call_seconds=0.2)
    server.hang.set()
    assert polled(source) == []
    with pytest.raises(Broken, match="did not answer"):
        source.read(Tier.FAST)
    server.hang.clear()
    assert [kind for kind, _ in polled(source)] == ["devices_assigned"]


@pytest.mark.parametrize(
    "garbage",
    [
        b"\xff\xff\xff",
        b"\x0a\xff\x01",
        b"\x08\x01",
        b"\x0a\x02\x0a\x05",
        b"\x0a\x04\x0a\x02\xff\xfe",
        b"\x0b",
    ],
)
def test_garbage_is_said_and_changes_nothing(server: KubeletServer, make: Make, garbage: bytes) -> None:
    server.pod("a", "p", server.container("c", {"nvidia.com/gpu": [GPUS[0]]}))
    source = make()
    polled(source)
    server.garbage = garbage
    for _ in range(3):
        assert polled(source) == []
    with pytest.raises(Broken):
        source.read(Tier.FAST)
    server.garbage = None
    assert polled(source) == []


def test_five_thousand_pods_are_read(server: KubeletServer, make: Make) -> None:
    for number in range(5000):
        server.pod("ns", f"a-pod-with-a-rather-long-name-{number:05d}", server.container(
            "worker", {"example.com/device": [f"device-{number}-{n}-" + "x" * 60 for n in range(4)]}))  # fmt: skip
    answer = PodResources(server.socket, 30.0).list()
    assert len(answer) > 2_000_000  # more than any window, so that it needs flow control
    assert sum(len(one.ids) for c in containers(answer) for one in c.devices) == 20_000
    assert len(polled(make(call_seconds=30.0))) == 5000


def test_an_answer_beyond_the_bound_is_refused(server: KubeletServer) -> None:
    server.pod("a", "p", server.container("c", {"nvidia.com/gpu": ["x" * 300_000, "y" * 300_000]}))
    with pytest.raises(Broken, match="more than 100000 bytes"):
        call(server.socket, "/v1.PodResourcesLister/List", [b""], 5.0, most_answer_bytes=100_000)


def test_the_api_is_read_field_by_field(server: KubeletServer) -> None:
    server.pod("a", "p", server.container("c", {"nvidia.com/gpu": GPUS[:2]}))
    server.allocatable = [messages().ContainerDevices(resource_name="r", device_ids=["1", "2"])]
    client = PodResources(server.socket, 5.0)
    (container,) = containers(client.list())
    assert (container.namespace, container.pod, container.name) == ("a", "p", "c")
    assert [(d.resource, d.ids, d.numa_nodes) for d in container.devices] == [
        ("nvidia.com/gpu", (GPUS[0],), (0,)),
        ("nvidia.com/gpu", (GPUS[1],), (1,)),
    ]
    assert client.get("a", "p") == (container,)
    assert client.get("a", "nobody") is None
    assert [(d.resource, d.ids) for d in client.allocatable()] == [("r", ("1", "2"))]
    server.has_get = False
    with pytest.raises(NotSupported):
        client.get("a", "p")


def test_several_calls_on_one_connection_and_a_method_that_is_not_there(server: KubeletServer) -> None:
    assert call(server.socket, "/v1.PodResourcesLister/List", [b"", b""], 5.0) == [b"", b""]
    (refused,) = call(server.socket, "/v1.PodResourcesLister/ListAndWatch", [b""], 5.0)
    assert isinstance(refused, NotSupported)


def test_all_is_told_again_once_an_hour(server: KubeletServer, make: Make, clock: ManualClock) -> None:
    server.pod("a", "p", server.container("c", {"nvidia.com/gpu": [GPUS[0]]}))
    source = make()
    polled(source)
    clock.advance(TELL_AGAIN_SECONDS)
    ((kind, attributes),) = polled(source)
    assert (kind, attributes["again"], attributes["cards"]) == ("devices_assigned", 1, GPUS[0])
    assert polled(source) == []


def test_what_was_released_while_the_agent_was_away_is_told(
    server: KubeletServer, make: Make, tmp_path: Path
) -> None:
    state = tmp_path / "kubelet.json"
    server.has_get = False
    server.pod("a", "p", server.container("c", {"nvidia.com/gpu": [GPUS[0]]}))
    server.pod("a", "q", server.container("c", {"nvidia.com/gpu": [GPUS[1]]}))
    polled(make(state=state))
    del server.pods["a", "p"]
    source = make(state=state)
    assert [(kind, a["pod"]) for kind, a in polled(source)] == [("devices_assigned", "q")]
    assert [(kind, a["pod"], a["cards"]) for kind, a in polled(source)] == [
        ("devices_released", "p", GPUS[0])
    ]
    assert [row[1] for row in json.loads(state.read_text())] == ["q"]


@pytest.mark.parametrize("text", ["", "[[1]]", "{", '[["a","p","c","r","",false,[5]]]', "7", "[null]"])
def test_a_state_that_cannot_be_believed_begins_anew(
    server: KubeletServer, make: Make, tmp_path: Path, text: str
) -> None:
    state = tmp_path / "kubelet.json"
    state.write_text(text)
    server.pod("a", "p", server.container("c", {"nvidia.com/gpu": [GPUS[0]]}))
    assert [kind for kind, _ in polled(make(state=state))] == ["devices_assigned"]
    assert json.loads(state.read_text())


def test_devices_wait_for_the_cards_at_the_start_and_are_told_better_later(
    server: KubeletServer, make: Make, clock: ManualClock
) -> None:
    now = Cards()
    server.pod("a", "p", server.container("c", {"nvidia.com/gpu": [GPUS[0]]}))
    source = make(cards=lambda: now)
    assert polled(source) == []
    clock.advance(WAIT_FOR_CARDS_SECONDS)
    ((_, attributes),) = polled(source)
    assert attributes["cards"] == "?" and "again" not in attributes
    now = CARDS
    ((kind, attributes),) = polled(source)
    assert (kind, attributes["cards"], attributes["again"]) == ("devices_assigned", GPUS[0], 1)


def test_devices_nobody_could_place_are_named_once_in_the_log(
    server: KubeletServer, make: Make, clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    pb = messages()
    server.allocatable = [
        pb.ContainerDevices(resource_name="nvidia.com/gpu", device_ids=[GPUS[0], "GPU-strange"]),
        pb.ContainerDevices(resource_name="aliyun.com/gpu-mem", device_ids=["x-_-0"]),
    ]
    source = make()
    with caplog.at_level(logging.INFO):
        polled(source)
        clock.advance(TELL_AGAIN_SECONDS)
        polled(source)
    (line,) = [r.getMessage() for r in caplog.records if "no card of this node" in r.getMessage()]
    assert line.startswith("1 devices of nvidia.com/gpu") and "GPU-strange" in line
    assert server.calls.count("GetAllocatableResources") == 2


def test_long_names_and_many_devices_fit_the_wire(server: KubeletServer, make: Make) -> None:
    ids = [f"GPU-{n:08d}-1111-2222-3333-444444444444" for n in range(16)]
    cards = Cards.made([Card(uuid, "nvidia", uuid=uuid) for uuid in ids])
    server.pod("n" * 63, "p" * 253, server.container("c" * 63, {"nvidia.com/gpu": ids}))
    told = [attributes for _, attributes in polled(make(cards=lambda: cards))]
    assert all(len(value) <= 500 for a in told for value in a.values() if isinstance(value, str))
    assert [(a["part"], a["parts"]) for a in told] == [(1, 2), (2, 2)]
    assert ",".join(a["cards"] for a in told) == ",".join(ids)


def test_the_thread_asks_by_itself_wakes_and_ends(server: KubeletServer, clock: ManualClock) -> None:
    woken = threading.Event()
    server.pod("a", "p", server.container("c", {"nvidia.com/gpu": [GPUS[0]]}))
    source = Kubelet(
        server.socket, node_id="n1", clock=clock, cards=lambda: CARDS, wake=woken.set, interval_seconds=0.05
    )
    try:
        assert list(source.events()) == []
        assert woken.wait(10)
        events: list[Event] = list(source.events())
        assert [event.kind for event in events] == ["devices_assigned"]
        source.cards_changed()
    finally:
        source.close()
    assert source._thread is not None
    source._thread.join(10)
    assert not source._thread.is_alive()


def test_a_socket_we_may_not_open_nobody_listens_on_or_that_speaks_nonsense(tmp_path: Path) -> None:
    absent = tmp_path / "absent.sock"
    with pytest.raises(NotPresent):
        call(absent, "/a/B", [b""], 1.0)
    path = tmp_path / "k.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        with pytest.raises(NotPresent):
            call(path, "/a/B", [b""], 1.0)
        listener.listen(1)
        with pytest.raises(Broken, match="did not answer"):
            call(path, "/a/B", [b""], 0.1)
        if os.geteuid() != 0:
            path.chmod(0)
            with pytest.raises(NotPermitted):
                call(path, "/a/B", [b""], 0.1)
    with pytest.raises(Broken):
        call(tmp_path / ("x" * 200), "/a/B", [b""], 0.1)


@given(st.binary(max_size=300))
def test_no_bytes_break_the_reading(noise: bytes) -> None:
    for reading in (lambda: list(containers(noise)), lambda: list(protobuf.fields(noise))):
        try:
            reading()
        except Broken:
            continue


def test_a_server_that_dies_in_the_middle_of_its_answer_is_torn(tmp_path: Path) -> None:
    from tests.agent.libtpu import frame, literal

    path = tmp_path / "k.sock"

    def serve(listener: socket.socket, *out: bytes) -> None:
        connection, _ = listener.accept()
        with connection:
            connection.recv(65536)
            connection.sendall(b"".join(out))
            connection.shutdown(socket.SHUT_WR)
            while connection.recv(65536):
                pass

    body = b"\0\0\0\0\x0a" + b"x" * 10
    ok = literal(b"grpc-status", b"0")
    talks: list[tuple[tuple[bytes, ...], object]] = [
        ((frame(4, 0, 0), frame(1, 0x4, 1, b"\x88"), frame(0, 0, 1, body[:8])), None),
        ((frame(4, 0, 0), frame(1, 0x4, 1, b"\x88"), frame(0, 0, 1, body)), None),
        ((frame(4, 0, 0), frame(7, 0, 0, b"\0\0\0\0\0\0\0\x02")), None),
        ((frame(4, 0, 0), frame(3, 0, 1, b"\0\0\0\x08")), None),
        # trailers over several frames: the end counts when they are whole
        ((frame(1, 0x4, 1, b"\x88"), frame(0, 0, 1, body), frame(1, 0x1, 1, ok[:4]), frame(9, 0, 1, ok[4:6]),
          frame(9, 0x4, 1, ok[6:])), b"x" * 10),
    ]  # fmt: skip
    for out, expected in talks:
        path.unlink(missing_ok=True)
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(path))
            listener.listen(1)
            thread = threading.Thread(target=serve, args=(listener, *out))
            thread.start()
            (answer,) = call(path, "/a/B", [b""], 5.0)
            thread.join()
        assert answer == expected if expected is not None else isinstance(answer, Broken), out


def test_no_noise_of_a_server_breaks_the_call(tmp_path: Path) -> None:
    from tests.agent.libtpu import frame

    path = tmp_path / "k.sock"
    chance = random.Random(7)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen(1)
        for _ in range(200):
            noise = b"".join(
                frame(chance.randrange(12), chance.randrange(256), chance.choice((0, 1, 3)),
                      chance.randbytes(chance.randrange(40)))
                for _ in range(chance.randrange(1, 6))
            )  # fmt: skip
            if chance.random() < 0.3:
                noise = chance.randbytes(chance.randrange(200))

            def serve(out: bytes = noise) -> None:
                connection, _ = listener.accept()
                with connection, contextlib.suppress(OSError):
                    connection.sendall(out)
                    connection.shutdown(socket.SHUT_WR)
                    while connection.recv(65536):
                        pass

            thread = threading.Thread(target=serve)
            thread.start()
            try:
                (answer,) = call(path, "/a/B", [b""], 5.0)
                assert isinstance(answer, bytes | ReadingError)
            except ReadingError:
                pass
            thread.join()
