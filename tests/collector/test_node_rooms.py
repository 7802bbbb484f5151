"""What nodes have free beside their cards, as Slurm and Kubernetes say it."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ullage_collector.allocation.kubernetes import nodes
from ullage_collector.allocation.kubernetes.follow import Changed, Listed
from ullage_collector.allocation.kubernetes.pods import Pod
from ullage_collector.allocation.kubernetes.requests import requested
from ullage_collector.allocation.kubernetes.rooms import Resident, Rooms, reader
from ullage_collector.allocation.kubernetes.workloads import Naming
from ullage_collector.allocation.room import Room
from ullage_collector.allocation.slurm import reports
from ullage_collector.allocation.slurm.job import SlurmJob
from ullage_collector.allocation.slurm.runs import Known, holding
from ullage_contract.errors import BadInput

LINE = (
    "NodeName={name} Arch=x86_64 CoresPerSocket=32 CPUAlloc={taken} CPUEfctv=126 CPUTot=128 Gres=gpu:h200:8 "
    "RealMemory=2000000 AllocMem=1500000 FreeMem=7 Sockets=2 State={state} MemSpecLimit=1000 Reason=a b [root@x]\n"
)


def test_slurm_says_what_jobs_leave_without_what_the_system_keeps() -> None:
    (room,) = reports.rooms(LINE.format(name="g1", taken=100, state="MIXED"))
    assert room == Room("g1", 126_000, 26_000, 1_999_000, 499_000)


@pytest.mark.parametrize(
    ("state", "why"),
    [
        ("IDLE", None),
        ("ALLOCATED", None),
        ("MIXED+PLANNED", None),
        ("IDLE+POWERED_DOWN", None),
        ("IDLE+DRAIN", "drain"),
        ("MIXED+DRAIN", "drain"),
        ("DOWN*", "not responding"),
        ("IDLE*", "not responding"),
        ("DOWN", "down"),
        ("IDLE+MAINTENANCE+RESERVED", "maintenance"),
        ("FUTURE", "future"),
        ("", None),
    ],
)
def test_a_node_slurm_keeps_work_off_is_told(state: str, why: str | None) -> None:
    assert reports.rooms(LINE.format(name="g1", taken=0, state=state))[0].why == why


def test_words_slurm_does_not_say_are_not_known_and_other_lines_are_none() -> None:
    assert reports.rooms("slurm_load_node error\nNodeName=g1 CPUTot=8 RealMemory=N/A State=IDLE\n") == [
        Room("g1", 8000, None, None, None)
    ]


def test_a_slurm_run_says_its_processors_and_memory_as_far_as_slurm_tracks_them() -> None:
    known = Known("c1")
    job = SlurmJob(7, ("RUNNING",), start=1_790_000_000, nodes=("g1",), tres={"cpu": 16, "mem": 64 << 30})
    said = holding(known, job, over=False).attributes
    assert (said["cpu_milli"], said["memory_mib"]) == (16_000, 65_536)
    bare = holding(
        known, SlurmJob(8, ("RUNNING",), start=1_790_000_000, nodes=("g1",)), over=False
    ).attributes
    assert not {"cpu_milli", "memory_mib"} & bare.keys()


def container(cpu: str | None = None, memory: str | None = None, **more: Any) -> dict[str, Any]:
    asked = {key: value for key, value in (("cpu", cpu), ("memory", memory)) if value is not None}
    return {"name": "c", "resources": {"requests": asked}, **more}


@pytest.mark.parametrize(
    ("spec", "takes"),
    [
        ({}, (0, 0)),
        ({"containers": [container("500m", "1Gi"), container("1", "1Mi")]}, (1500, 1025)),
        ({"containers": [container("0.0001", "1")]}, (1, 1)),  # rounded up
        ({"containers": [container("1", "1Gi")], "initContainers": [container("3", "512Mi")]}, (3000, 1024)),
        (
            {
                "containers": [container("1", "1Gi")],
                "initContainers": [container("1", "1Gi", restartPolicy="Always"), container("3", "1Gi")],
            },
            (4000, 2048),
        ),
        (
            {"containers": [container("1", "1Gi")], "overhead": {"cpu": "250m", "memory": "120Mi"}},
            (1250, 1144),
        ),
        ({"containers": [{"resources": {"limits": {"cpu": "2", "memory": "1Gi"}}}]}, (2000, 1024)),
    ],
)
def test_a_pod_takes_what_the_scheduler_counts(spec: dict[str, Any], takes: tuple[int, int]) -> None:
    assert requested(spec) == takes


def test_a_quantity_that_is_none_is_told() -> None:
    with pytest.raises(BadInput):
        requested({"containers": [container("lots")]})


def pod(
    uid: str, node: str | None, cpu: str = "1", *, gpu: int = 0, phase: str = "Running", version: int = 1
) -> Any:
    asks = container(cpu, "1Gi")
    if gpu:
        asks["resources"]["limits"] = {"nvidia.com/gpu": str(gpu)}
        asks["resources"]["requests"]["nvidia.com/gpu"] = str(gpu)
    return {
        "metadata": {
            "uid": uid,
            "name": uid,
            "namespace": "ns",
            "resourceVersion": str(version),
            "creationTimestamp": "2026-10-01T00:00:00Z",
        },
        "spec": {"containers": [asks], **({"nodeName": node} if node else {})},
        "status": {"phase": phase},
    }


def api_node(name: str = "n1", cpu: str = "8", memory: str = "16Gi", **spec: Any) -> nodes.Node:
    return nodes.read(
        {
            "metadata": {"name": name, "resourceVersion": "1"},
            "spec": spec,
            "status": {
                "allocatable": {"cpu": cpu, "memory": memory, "nvidia.com/gpu": "8"},
                "conditions": [{"type": "Ready", "status": "True"}],
            },
        }
    )


READ = reader(Naming("c1"))


def listed(*pods: Any) -> Listed[Any]:
    return Listed("pods", [kept for one in pods if (kept := READ(one)) is not None], 0.0, None)


def changed(one: Any, *, gone: bool = False) -> Changed[Any]:
    return Changed("pods", READ(one), gone, 0.0, 0.0)


def only(rooms: Rooms, *named: nodes.Node) -> Room:
    (room,) = rooms.rooms({node.name: node for node in named or (api_node(),)})
    return room


def test_pods_with_and_without_cards_take_and_those_without_a_node_do_not() -> None:
    assert isinstance(READ(pod("a", "n1")), Resident)
    assert isinstance(READ(pod("b", "n1", gpu=1)), Pod)
    rooms = Rooms("kubernetes", "c1")
    rooms.hear_pods(listed(pod("a", "n1"), pod("b", "n1", "2", gpu=1), pod("c", None, gpu=1), pod("d", None)))
    assert only(rooms) == Room("n1", 8000, 5000, 16_384, 14_336)


def test_a_pod_that_ended_or_went_takes_nothing_and_an_old_word_changes_nothing() -> None:
    rooms = Rooms("kubernetes", "c1")
    rooms.hear_pods(listed(pod("a", "n1", "4", version=5), pod("b", "n1", "1", version=5)))
    rooms.hear_pod(changed(pod("a", "n1", "1", version=4)))
    assert only(rooms).cpu_free_milli == 3000
    rooms.hear_pod(changed(pod("a", "n1", "4", phase="Succeeded", version=6)))
    assert only(rooms).cpu_free_milli == 7000
    rooms.hear_pod(changed(pod("b", "n1", version=7), gone=True))
    assert only(rooms).cpu_free_milli == 8000
    rooms.hear_pod(changed(pod("c", "n1", "3", gpu=1)))
    rooms.hear_pods(listed())
    assert only(rooms).cpu_free_milli == 8000


def test_a_pod_nobody_understands_makes_its_node_unknown_not_free() -> None:
    rooms = Rooms("kubernetes", "c1")
    rooms.hear_pods(listed(pod("a", "n1", "lots", gpu=1)))
    assert (only(rooms).cpu_free_milli, only(rooms).memory_free_mib) == (None, None)
    assert only(rooms, api_node("n2")).cpu_free_milli == 8000


def test_a_pod_with_cards_says_what_it_asks_for_and_what_it_does_not_ask_for_is_not_known() -> None:
    asking = READ(pod("a", "n1", "2500m", gpu=1))
    assert isinstance(asking, Pod)
    assert (asking.attributes["cpu_milli"], asking.attributes["memory_mib"]) == (2500, 1024)
    bare = pod("b", "n1", gpu=1)
    bare["spec"]["containers"][0]["resources"]["requests"] = {"nvidia.com/gpu": "1"}
    bare["spec"]["overhead"] = {"memory": "64Mi"}
    silent = READ(bare)
    assert isinstance(silent, Pod)
    assert "cpu_milli" not in silent.attributes
    rooms = Rooms("kubernetes", "c1")
    rooms.hear_pod(Changed("pods", silent, False, 0.0, 0.0))
    assert (only(rooms).cpu_free_milli, only(rooms).memory_free_mib) == (8000, 16_384 - 64)


def test_a_cordoned_or_silent_node_takes_no_work() -> None:
    rooms = Rooms("kubernetes", "c1")
    assert only(rooms, api_node(unschedulable=True)).why == "cordoned"
    silent = {
        "metadata": {"name": "n1"},
        "status": {"conditions": [{"type": "Ready", "status": "Unknown"}]},
    }
    assert only(rooms, nodes.read(silent)) == Room("n1", None, None, None, None, "not ready")
    assert only(rooms).why is None


@given(
    st.lists(st.tuples(st.sampled_from("abcd"), st.booleans(), st.integers(0, 9), st.booleans()), max_size=20)
)
@settings(max_examples=100, deadline=None)
def test_what_is_free_is_what_nobody_takes_whatever_was_told(told: list[tuple[str, bool, int, bool]]) -> None:
    rooms = Rooms("kubernetes", "c1")
    taken: dict[str, int] = {}
    for version, (uid, with_card, cpu, gone) in enumerate(told):
        rooms.hear_pod(changed(pod(uid, "n1", str(cpu), gpu=with_card, version=version), gone=gone))
        taken.pop(uid, None)
        if not gone:
            taken[uid] = cpu
    assert only(rooms, api_node(cpu="100")).cpu_free_milli == 1000 * (100 - sum(taken.values()))
