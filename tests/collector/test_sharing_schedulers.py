"""Sharing systems that schedulers bring: Volcano, gpushare, ACK, qGPU, GPU Manager, elastic-gpu, OrionX, Koordinator, Run:ai."""

from __future__ import annotations

import json

import pytest
from sharing_pods import GIB, HALF, MIB, ONE, QUARTER, container, node, pod

from ullage_collector.allocation.sharing import IdKind, asked, assigned, group_card, on_node, paid_share
from ullage_contract.errors import BadInput

CARD = "GPU-76f93f2b-8cd8-4dd0-e555-56418bde1457"


def test_volcano_vgpu() -> None:
    """volcano.sh, How to use volcano vgpu: number, memory in MiB, cores in per cent, of each."""
    amounts = {"volcano.sh/vgpu-number": 1, "volcano.sh/vgpu-memory": 4096, "volcano.sh/vgpu-cores": 25}
    (want,) = asked(pod(amounts), card_memory_bytes=16 * GIB)
    assert (want.system, want.cards, want.compute_nano, want.memory_nano) == (
        "volcano-vgpu",
        1,
        QUARTER,
        QUARTER,
    )
    work = pod(amounts, {"volcano.sh/vgpu-ids-new": f"{CARD},NVIDIA,4096,25:"})
    register = f"{CARD},4,16384,NVIDIA-Tesla T4,true,hami-core:"
    place = node(annotations={"volcano.sh/node-vgpu-register": register})
    (row,) = assigned(work, node=place)
    assert (row.container, row.device, row.compute_nano, row.memory_nano) == ("main", CARD, QUARTER, QUARTER)
    (card,) = on_node(place)
    assert (card.replicas, card.memory_bytes, card.model, card.mode) == (
        4,
        16 * GIB,
        "NVIDIA-Tesla T4",
        "hami-core",
    )
    assert sum(row.compute_nano or 0 for _ in range(4)) == ONE


def test_volcano_vgpu_memory_in_per_cent() -> None:
    (want,) = asked(pod({"volcano.sh/vgpu-number": 2, "volcano.sh/vgpu-memory-percentage": 50}))
    assert (want.cards, want.compute_nano, want.memory_nano) == (2, None, HALF)


def test_volcanos_memory_factor_is_the_sites() -> None:
    amounts = {"volcano.sh/vgpu-number": 1, "volcano.sh/vgpu-memory": 8}
    (want,) = asked(pod(amounts), unit_bytes={"volcano.sh/vgpu-memory": GIB})
    assert want.memory_bytes == 8 * GIB


def test_volcanos_older_gpu_sharing() -> None:
    """volcano.sh, How to use gpu sharing: gpu-memory in MB, the card by volcano.sh/gpu-index; no compute limit."""
    work = pod({"volcano.sh/gpu-memory": 4096}, {"volcano.sh/gpu-index": "1"})
    (row,) = assigned(work, card_memory_bytes=16 * GIB)
    assert (row.container, row.index, row.compute_nano, row.memory_nano) == ("main", 1, None, QUARTER)
    assert paid_share(row.compute_nano, row.memory_nano) == QUARTER


def test_volcanos_gpu_number_is_whole_cards() -> None:
    """volcano.sh, How to use gpu number: exclusive cards, a list of indices."""
    rows = assigned(pod({"volcano.sh/gpu-number": 2}, {"volcano.sh/gpu-index": "0,3"}))
    assert [(r.index, r.compute_nano) for r in rows] == [(0, ONE), (3, ONE)]


def test_gpushare_of_the_open_extender() -> None:
    """AliyunContainerService/gpushare-scheduler-extender, userguide.md: GiB, the card's index and size on the pod."""
    (want,) = asked(pod({"aliyun.com/gpu-mem": 4}), card_memory_bytes=16 * GIB)
    assert (want.system, want.compute_nano, want.memory_bytes, want.memory_nano) == (
        "gpushare",
        None,
        4 * GIB,
        QUARTER,
    )
    notes = {
        "ALIYUN_COM_GPU_MEM_ASSIGNED": "true",
        "ALIYUN_COM_GPU_MEM_ASSUME_TIME": "1543489482118529270",
        "ALIYUN_COM_GPU_MEM_DEV": "16",
        "ALIYUN_COM_GPU_MEM_IDX": "1",
        "ALIYUN_COM_GPU_MEM_POD": "4",
    }
    (row,) = assigned(pod({"aliyun.com/gpu-mem": 4}, notes))
    assert (row.container, row.index, row.memory_bytes, row.memory_nano) == ("main", 1, 4 * GIB, QUARTER)
    assert 4 * paid_share(row.compute_nano, row.memory_nano) == ONE


def test_gpushare_in_mib_has_the_same_share() -> None:
    """The plugin may count MiB (userguide.md: 3803 of 7606): the share is exact, the bytes too."""
    notes = {
        "ALIYUN_COM_GPU_MEM_DEV": "7606",
        "ALIYUN_COM_GPU_MEM_IDX": "0",
        "ALIYUN_COM_GPU_MEM_POD": "3803",
    }
    (row,) = assigned(pod({"aliyun.com/gpu-mem": 3803}, notes))
    assert (row.memory_bytes, row.memory_nano) == (3803 * MIB, HALF)
    (want,) = asked(pod({"aliyun.com/gpu-mem": 3803}), unit_bytes={"aliyun.com/gpu-mem": MIB})
    assert want.memory_bytes == 3803 * MIB


def test_gpushare_that_found_no_card_holds_none() -> None:
    notes = {"ALIYUN_COM_GPU_MEM_IDX": "-1", "ALIYUN_COM_GPU_MEM_POD": "4", "ALIYUN_COM_GPU_MEM_DEV": "16"}
    assert assigned(pod({"aliyun.com/gpu-mem": 4}, notes)) == []


def test_ack_cgpu_by_container_and_card() -> None:
    """alibabacloud.com, use cGPU to allocate computing power; the JSON as koordinator's transformer reads it: container, card, amount."""
    amounts = {"aliyun.com/gpu-mem": "4", "aliyun.com/gpu-core.percentage": "25"}
    (want,) = asked(pod(amounts), card_memory_bytes=16 * GIB)
    assert (want.system, want.compute_nano, want.memory_nano) == ("cgpu", QUARTER, QUARTER)
    notes = {
        "scheduler.framework.gpushare.allocation": '{"0":{"1":4},"1":{"1":8}}',
        "gpushare.alibabacloud.com/core-percentage": '{"0":{"1":25},"1":{"1":50}}',
        "scheduler.framework.gpushare.assigned": "true",
    }
    rows = assigned(pod([amounts, amounts], notes), card_memory_bytes=16 * GIB)
    assert [(r.container, r.index, r.compute_nano, r.memory_nano) for r in rows] == [
        ("main", 1, QUARTER, QUARTER),
        ("second", 1, HALF, HALF),
    ]


def test_ack_divides_what_is_asked_of_several_cards() -> None:
    """alibabacloud.com, multi-card sharing, N GiB of M cards are N/M of each: 8 GiB with the label aliyun.com/gpu-count of 4 are 2 GiB of each."""
    (want,) = asked(pod({"aliyun.com/gpu-mem": 8}, labels={"aliyun.com/gpu-count": "4"}))
    assert (want.cards, want.memory_bytes) == (4, 2 * GIB)
    notes = {"scheduler.framework.gpushare.allocation": '{"0":{"0":2,"1":2,"2":2,"3":2}}'}
    rows = assigned(pod({"aliyun.com/gpu-mem": 8}, notes), card_memory_bytes=8 * GIB)
    assert [(r.index, r.memory_nano) for r in rows] == [(i, QUARTER) for i in range(4)]


def test_ack_node_labels_give_the_cards_size() -> None:
    labels = {
        "aliyun.accelerator/nvidia_count": "4",
        "aliyun.accelerator/nvidia_name": "Tesla-V100-SXM2-16GB",
        "aliyun.accelerator/nvidia_mem": "16384MiB",
    }
    (card,) = on_node(node(labels))
    assert (card.cards, card.memory_bytes, card.model) == (4, 16 * GIB, "Tesla-V100-SXM2-16GB")
    (want,) = asked(pod({"aliyun.com/gpu-mem": 4}), node=node(labels))
    assert want.memory_nano == QUARTER


def test_qgpu() -> None:
    """tencentcloud.com 457/59103: qgpu-core in per cent of a card, qgpu-memory in GiB, N * 100 are whole cards."""
    amounts = {"tke.cloud.tencent.com/qgpu-core": 25, "tke.cloud.tencent.com/qgpu-memory": 4}
    (want,) = asked(pod(amounts), card_memory_bytes=16 * GIB)
    assert (want.system, want.cards, want.compute_nano, want.memory_nano) == ("qgpu", 1, QUARTER, QUARTER)
    (want,) = asked(pod({"tke.cloud.tencent.com/qgpu-core": "200"}))
    assert (want.cards, want.compute_nano) == (2, ONE)


@pytest.mark.parametrize(
    ("core", "memory", "share", "each"), [(160, 60, 800_000_000, 30), (121, 31, 600_000_000, 15)]
)
def test_qgpu_over_several_cards_divides_and_rounds_down(
    core: int, memory: int, share: int, each: int
) -> None:
    """cloud.tencent.com 457/127667: the two examples of its table."""
    amounts = {"tke.cloud.tencent.com/qgpu-core": core, "tke.cloud.tencent.com/qgpu-memory": memory}
    (want,) = asked(pod(amounts))
    assert (want.cards, want.compute_nano, want.memory_bytes) == (2, share, each * GIB)


def test_gpu_manager() -> None:
    """tkestack/gpu-manager README: vcuda-core 100 a card, vcuda-memory in 256 MiB; the index per container."""
    amounts = {"tencent.com/vcuda-core": 25, "tencent.com/vcuda-memory": 16}
    notes = {
        "tencent.com/gpu-assigned": "true",
        "tencent.com/predicate-gpu-idx-0": "1",
        "tencent.com/predicate-gpu-idx-1": "0,2",
        "tencent.com/predicate-node": "node-1",
    }
    work = pod([amounts, {"tencent.com/vcuda-core": 200}], notes)
    rows = assigned(work, card_memory_bytes=16 * GIB)
    assert [(r.container, r.index, r.compute_nano, r.memory_nano) for r in rows] == [
        ("main", 1, QUARTER, QUARTER),
        ("second", 0, ONE, None),
        ("second", 2, ONE, None),
    ]
    whole = asked(work)[1]
    assert (whole.cards, whole.compute_nano) == (2, ONE)


def test_elastic_gpu() -> None:
    """elastic-ai/elastic-gpu-scheduler README: gpu-core 100 a card, gpu-memory in MB; an annotation per container."""
    amounts = {"elasticgpu.io/gpu-core": 25, "elasticgpu.io/gpu-memory": 4096}
    notes = {
        "elasticgpu.io/assumed": "true",
        "elasticgpu.io/container-main": "3",
        "elasticgpu.io/container-x": "-1",
    }
    (row,) = assigned(pod(amounts, notes), card_memory_bytes=16 * GIB)
    assert (row.container, row.index, row.compute_nano, row.memory_nano) == ("main", 3, QUARTER, QUARTER)
    (want,) = asked(pod({"elasticgpu.io/gpu-core": "200"}))
    assert (want.cards, want.compute_nano) == (2, ONE)


def test_orionx_says_its_shares_in_the_environment() -> None:
    """virtaitech/orion, kubernetes guide: ORION_GMEM MiB and ORION_RATIO per cent of each vGPU."""
    env = {"ORION_VGPU": "2", "ORION_GMEM": "4096", "ORION_RATIO": "25", "ORION_CROSS_NODE": "0"}
    (want,) = asked(pod({"virtaitech.com/gpu": 2}, env=env), card_memory_bytes=16 * GIB)
    assert (want.system, want.cards, want.compute_nano, want.memory_nano) == ("orionx", 2, QUARTER, QUARTER)
    (want,) = asked(pod({"virtaitech.com/gpu": 1}, env={"ORION_GMEM": "4096"}))
    assert (want.compute_nano, want.memory_bytes) == (None, 4096 * MIB)


def test_koordinator() -> None:
    """koordinator.sh, GPU share with HAMi: gpu.shared 1, core and memory ratio 50; its device-allocated annotation."""
    amounts = {
        "koordinator.sh/gpu.shared": 1,
        "koordinator.sh/gpu-core": 25,
        "koordinator.sh/gpu-memory-ratio": 25,
    }
    (want,) = asked(pod(amounts))
    assert (want.system, want.cards, want.compute_nano, want.memory_nano) == (
        "koordinator",
        1,
        QUARTER,
        QUARTER,
    )
    allocated = {
        "gpu": [
            {
                "minor": 1,
                "resources": {
                    "koordinator.sh/gpu-core": "25",
                    "koordinator.sh/gpu-memory": "5760Mi",
                    "koordinator.sh/gpu-memory-ratio": "25",
                },
            }
        ]
    }
    (row,) = assigned(pod(amounts, {"scheduling.koordinator.sh/device-allocated": json.dumps(allocated)}))
    assert (row.container, row.index, row.compute_nano) == ("main", 1, QUARTER)
    assert (row.memory_bytes, row.memory_nano) == (5760 * MIB, QUARTER)
    assert 4 * QUARTER == ONE


def test_koordinator_over_several_cards_is_divided() -> None:
    """koordinator.sh, device scheduling: gpu 200 is two cards; gpu.shared 2 halves what is asked for."""
    (want,) = asked(pod({"koordinator.sh/gpu": 200}))
    assert (want.cards, want.compute_nano, want.memory_nano) == (2, ONE, ONE)
    amounts = {
        "koordinator.sh/gpu.shared": 2,
        "koordinator.sh/gpu-core": 100,
        "koordinator.sh/gpu-memory": "16Gi",
    }
    (want,) = asked(pod(amounts), card_memory_bytes=32 * GIB)
    assert (want.cards, want.compute_nano, want.memory_bytes, want.memory_nano) == (2, HALF, 8 * GIB, QUARTER)


def test_a_makers_names_beside_koordinators_are_the_same_share() -> None:
    """koordinator.sh, device scheduling Cambricon MLU: the plugin's own resources repeat what is asked for."""
    amounts = {
        "koordinator.sh/gpu.shared": "1",
        "koordinator.sh/gpu-memory": "1Gi",
        "koordinator.sh/gpu-core": "10",
        "cambricon.com/mlu.smlu.vcore": "10",
        "cambricon.com/mlu.smlu.vmemory": "4",
    }
    (want,) = asked(pod(amounts))
    assert (want.system, want.vendor, want.cards) == ("koordinator", "cambricon", 1)
    assert (want.compute_nano, want.memory_bytes) == (100_000_000, GIB)


def test_runai_fractions_are_of_memory_and_of_one_container() -> None:
    """run-ai-docs.nvidia.com, GPU fractions: gpu-fraction is a portion of memory, of the first container."""
    notes = {"gpu-fraction": "0.25", "gpu-fraction-num-devices": "1", "received-resource-type": "Fraction"}
    group = "3e456911-a6ea-4b1a-8f55-e90fba89ad76"
    work = pod([{}, {}], notes, {"runai-gpu-group": group})
    (want,) = asked(work)
    assert (want.system, want.container, want.compute_nano, want.memory_nano) == (
        "runai",
        "main",
        None,
        QUARTER,
    )
    (row,) = assigned(work)
    assert (row.device, row.id_kind, row.memory_nano) == (group, IdKind.GROUP, QUARTER)
    assert 4 * paid_share(row.compute_nano, row.memory_nano) == ONE


def test_runai_memory_is_in_mib_and_may_be_of_several_cards() -> None:
    notes = {"gpu-memory": "4096", "gpu-fraction-num-devices": "2", "gpu-fraction-container-name": "second"}
    work = pod([{}, {}], notes, {"runai-gpu-group/a-1": "a-1", "runai-gpu-group/b-2": "b-2"})
    (want,) = asked(work, card_memory_bytes=16 * GIB)
    assert (want.container, want.cards, want.memory_bytes, want.memory_nano) == (
        "second",
        2,
        4 * GIB,
        QUARTER,
    )
    assert [row.device for row in assigned(work)] == ["a-1", "b-2"]


def test_the_pod_that_reserves_a_card_for_fractions_holds_nothing_itself() -> None:
    """NVIDIA/KAI-Scheduler: the reservation pod asks for a whole card; four quarters beside it are still one card."""
    group = "3e456911-a6ea-4b1a-8f55-e90fba89ad76"
    reservation = pod(
        {"nvidia.com/gpu": 1},
        {"run.ai/reserve_for_gpu_index": CARD},
        {"runai-gpu-group": group, "app.runai.resource.reservation": "runai-reservation-gpu"},
        namespace="runai-reservation",
    )
    quarter = pod({}, {"gpu-fraction": "0.25"}, {"runai-gpu-group": group})
    assert asked(reservation) == []
    assert assigned(reservation) == []
    assert group_card(reservation) == (group, CARD)
    assert group_card(quarter) is None
    rows = [row for work in (reservation, *[quarter] * 4) for row in assigned(work)]
    assert sum(paid_share(r.compute_nano, r.memory_nano) for r in rows) == ONE


def test_fractions_above_one_card_are_kept() -> None:
    """Three pods of half a card's memory in one group: over-subscription, as the scheduler wrote it."""
    half = pod({}, {"gpu-fraction": "0.5"}, {"runai-gpu-group": "g"})
    assert sum(row.memory_nano or 0 for _ in range(3) for row in assigned(half)) == 1_500_000_000


def test_init_containers_are_told_apart_and_sidecars_are_not_init() -> None:
    inits = [
        container("prepare", {"aliyun.com/gpu-mem": 2}),
        container("proxy", {"aliyun.com/gpu-mem": 1}, restartPolicy="Always"),
    ]
    rows = asked(pod({"aliyun.com/gpu-mem": 4}, inits=inits))
    assert [(r.container, r.init) for r in rows] == [("prepare", True), ("proxy", False), ("main", False)]


@pytest.mark.parametrize(
    ("amounts", "notes", "says"),
    [
        (
            {},
            {"scheduling.koordinator.sh/device-allocated": "{"},
            "koordinator: scheduling.koordinator.sh/device",
        ),
        ({}, {"scheduling.koordinator.sh/device-allocated": '{"gpu":[{"minor":-1}]}'}, "koordinator"),
        ({}, {"scheduler.framework.gpushare.allocation": '{"0":4}'}, "cgpu: scheduler.framework.gpushare"),
        (
            {},
            {"ALIYUN_COM_GPU_MEM_IDX": "one", "ALIYUN_COM_GPU_MEM_POD": "4"},
            "gpushare: ALIYUN_COM_GPU_MEM_IDX",
        ),
        (
            {"tencent.com/vcuda-core": 30},
            {"tencent.com/predicate-gpu-idx-0": "x"},
            "gpu-manager: tencent.com/pred",
        ),
        ({}, {"elasticgpu.io/container-main": "a"}, "elastic-gpu: elasticgpu.io/container-main"),
        ({}, {"gpu-fraction": "half"}, "runai: gpu-fraction"),
        ({}, {"gpu-fraction": "0.5", "gpu-fraction-num-devices": "0"}, "runai: gpu-fraction-num-devices"),
        (
            {},
            {"gpu-fraction": "0.5", "gpu-fraction-num-devices": "9999999"},
            "runai: gpu-fraction-num-devices",
        ),
        ({}, {"gpu-fraction": "1e15"}, "a share of more cards than there are"),
        ({}, {"scheduling.koordinator.sh/device-allocated": '{"gpu": NaN}'}, "not JSON"),
        (
            {},
            {"gpu-fraction": "0.5", "gpu-fraction-container-name": "gone"},
            "runai: gpu-fraction-container-name",
        ),
        (
            {"volcano.sh/gpu-memory": 1},
            {"volcano.sh/gpu-index": "first"},
            "volcano-gpu: volcano.sh/gpu-index",
        ),
        ({"nvidia.com/gpu": "1.5"}, {}, "device-plugin: nvidia.com/gpu"),
        ({"nvidia.com/gpu": "99999999999"}, {}, "device-plugin: nvidia.com/gpu"),
        ({"aliyun.com/gpu-mem": "-4"}, {}, "gpushare: aliyun.com/gpu-mem"),
    ],
)
def test_malformed_says_system_name_and_value(
    amounts: dict[str, object], notes: dict[str, str], says: str
) -> None:
    with pytest.raises(BadInput) as failed:
        assigned(pod(amounts, notes))
    assert says in str(failed.value)
