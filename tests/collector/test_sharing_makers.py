"""Pieces and shares by makers' own plugins: NVIDIA time slicing, MPS and MIG, AMD, Ascend, Cambricon, Hygon, Intel and the rest."""

from __future__ import annotations

import json

import pytest
from sharing_pods import GIB, HALF, MIB, ONE, QUARTER, node, pod

from ullage_collector.allocation.sharing import (
    IdKind,
    asked,
    assigned,
    device_of,
    on_node,
    paid_share,
)
from ullage_contract.errors import BadInput

A100 = {
    "nvidia.com/gpu.count": "8",
    "nvidia.com/gpu.product": "NVIDIA-A100-SXM4-80GB",
    "nvidia.com/gpu.memory": "81920",
    "nvidia.com/gpu.replicas": "1",
    "nvidia.com/gpu.sharing-strategy": "none",
    "nvidia.com/mig.strategy": "none",
}


def test_a_gpu_of_an_ordinary_node_is_a_card() -> None:
    (row,) = asked(pod({"nvidia.com/gpu": "8"}), node=node(A100))
    assert (row.system, row.cards, row.compute_nano, row.memory_nano) == ("device-plugin", 8, ONE, ONE)


def test_time_slicing_renamed() -> None:
    """NVIDIA GPU Operator, time-slicing with renameByDefault: nvidia.com/gpu.shared, four replicas a card."""
    place = node({**A100, "nvidia.com/gpu.replicas": "4", "nvidia.com/gpu.sharing-strategy": "time-slicing"})
    (row,) = asked(pod({"nvidia.com/gpu.shared": 1}), node=place)
    assert (row.system, row.compute_nano, row.memory_nano) == ("time-slicing", QUARTER, None)
    assert 4 * paid_share(row.compute_nano, row.memory_nano) == ONE


def test_time_slicing_by_its_old_name_is_known_by_the_nodes_labels() -> None:
    """Without renaming nvidia.com/gpu is a replica; only the node's labels say so."""
    place = node(
        {
            **A100,
            "nvidia.com/gpu.product": "NVIDIA-A100-SXM4-80GB-SHARED",
            "nvidia.com/gpu.replicas": "4",
            "nvidia.com/gpu.sharing-strategy": "time-slicing",
        }
    )
    (row,) = asked(pod({"nvidia.com/gpu": 2}), node=place)
    assert (row.system, row.cards, row.compute_nano) == ("time-slicing", 2, QUARTER)
    (card,) = on_node(place)
    assert (card.replicas, card.model, card.cards) == (4, "NVIDIA-A100-SXM4-80GB", 8)


def test_mps_limits_memory_too() -> None:
    """NVIDIA/k8s-device-plugin README: MPS gives each replica an equal part of memory and compute."""
    place = node({**A100, "nvidia.com/gpu.replicas": "4", "nvidia.com/gpu.sharing-strategy": "mps"})
    (row,) = asked(pod({"nvidia.com/gpu.shared": 1}), node=place)
    assert (row.system, row.compute_nano, row.memory_nano) == ("mps", QUARTER, QUARTER)


def test_a_replica_of_an_unknown_node_has_no_share() -> None:
    (row,) = asked(pod({"nvidia.com/gpu.shared": 1}))
    assert (row.compute_nano, row.memory_nano) == (None, None)


def test_mig_by_name() -> None:
    """MIG user guide: seven compute slices and eight memory slices a card; 1g.10gb is 1/7 and 1/8."""
    (row,) = asked(pod({"nvidia.com/mig-1g.10gb": 1}), node=node(A100))
    assert (row.system, row.profile, row.compute_nano, row.memory_nano) == (
        "mig",
        "1g.10gb",
        142_857_142,
        125_000_000,
    )
    assert 7 * (row.compute_nano or 0) == ONE - 6  # rounded down: never more than the card
    (row,) = asked(pod({"nvidia.com/mig-3g.40gb": 2}), node=node(A100))
    assert (row.cards, row.compute_nano, row.memory_nano) == (2, 428_571_428, HALF)
    (row,) = asked(pod({"nvidia.com/mig-7g.80gb": 1}), card_memory_bytes=81559 * MIB)
    assert (row.compute_nano, row.memory_nano) == (ONE, ONE)  # its name rounds: not 80 of 79.6


def test_mig_quarters_of_an_a30_are_one_card() -> None:
    """MIG user guide: an A30 has four slices."""
    (row,) = asked(pod({"nvidia.com/mig-1g.6gb": 4}), card_memory_bytes=24 * GIB)
    assert (row.cards, row.compute_nano, row.memory_nano) == (4, QUARTER, QUARTER)
    assert row.cards * paid_share(row.compute_nano, row.memory_nano) == ONE


def test_a_mig_profile_of_two_models_needs_the_model() -> None:
    """1g.24gb is 1/7 of an H100 with 94 GB and 1/4 of an RTX PRO 6000."""
    amounts = {"nvidia.com/mig-1g.24gb": 1}
    assert asked(pod(amounts))[0].compute_nano is None
    h100 = node({**A100, "nvidia.com/gpu.product": "NVIDIA-H100-NVL"})
    assert asked(pod(amounts), node=h100)[0].compute_nano == 142_857_142
    pro = node({**A100, "nvidia.com/gpu.product": "NVIDIA-RTX-PRO-6000-Blackwell-Server-Edition"})
    assert asked(pod(amounts), node=pro)[0].compute_nano == QUARTER


def test_mig_single_strategy_is_known_by_the_product() -> None:
    """GPU feature discovery, strategy single: nvidia.com/gpu is an instance, the product ends in -MIG-1g.5gb."""
    place = node(
        {
            "nvidia.com/gpu.count": "7",
            "nvidia.com/gpu.product": "A100-SXM4-40GB-MIG-1g.5gb",
            "nvidia.com/gpu.memory": "4864",
            "nvidia.com/mig.strategy": "single",
        }
    )
    (row,) = asked(pod({"nvidia.com/gpu": 2}), node=place, card_memory_bytes=40 * GIB)
    assert (row.system, row.cards, row.profile) == ("mig", 2, "1g.5gb")
    assert (row.compute_nano, row.memory_nano) == (142_857_142, 125_000_000)
    (card,) = on_node(place)
    assert (card.model, card.profile, card.cards, card.memory_bytes) == (
        "A100-SXM4-40GB",
        "1g.5gb",
        None,
        None,
    )


def test_replicas_of_a_mig_instance() -> None:
    place = node({**A100, "nvidia.com/mig-2g.20gb.replicas": "2", "nvidia.com/mig.strategy": "mixed"})
    (row,) = asked(pod({"nvidia.com/mig-2g.20gb.shared": 1}), node=place)
    assert (row.profile, row.compute_nano, row.memory_nano) == ("2g.20gb", 142_857_142, 125_000_000)


def test_gkes_labels_say_what_its_gpus_are() -> None:
    """cloud.google.com, GPU time-sharing: the resource keeps its name; labels give strategy, clients and partition."""
    labels = {
        "cloud.google.com/gke-accelerator": "nvidia-l4",
        "cloud.google.com/gke-gpu-sharing-strategy": "time-sharing",
        "cloud.google.com/gke-max-shared-clients-per-gpu": "4",
    }
    (row,) = asked(pod({"nvidia.com/gpu": 1}), node=node(labels))
    assert (row.system, row.compute_nano, row.memory_nano) == ("time-slicing", QUARTER, None)
    (row,) = asked(
        pod({"nvidia.com/gpu": 1}), node=node({**labels, "cloud.google.com/gke-gpu-sharing-strategy": "mps"})
    )
    assert (row.system, row.memory_nano) == ("mps", QUARTER)
    partition = {"cloud.google.com/gke-gpu-partition-size": "1g.5gb"}
    (row,) = asked(pod({"nvidia.com/gpu": 1}), node=node(partition), card_memory_bytes=40 * GIB)
    assert (row.profile, row.compute_nano, row.memory_nano) == ("1g.5gb", 142_857_142, 125_000_000)
    (row,) = asked(pod({"nvidia.com/gpu": 1}), node=node({**labels, **partition}))
    assert row.compute_nano == ONE // 28  # four clients share one of seven


def test_replicas_of_an_instance_say_nothing_of_cards() -> None:
    place = node({"nvidia.com/mig-2g.20gb.replicas": "2"})
    (row,) = asked(pod({"nvidia.com/gpu": 1}), node=place)
    assert (row.system, row.compute_nano) == ("device-plugin", ONE)


def test_amd_partitions_by_name() -> None:
    """ROCm/k8s-device-plugin, naming strategy mixed: eight CPX partitions are a MI300X, four QPX another."""
    (row,) = asked(pod({"amd.com/cpx_nps4": 2}))
    assert (row.system, row.profile, row.cards, row.compute_nano) == ("partition", "cpx_nps4", 2, 125_000_000)
    (row,) = asked(pod({"amd.com/qpx_nps1": 1}))
    assert (row.compute_nano, row.memory_nano) == (QUARTER, QUARTER)
    assert asked(pod({"amd.com/spx_nps1": 1}))[0].compute_nano == ONE
    apu = node({"amd.com/gpu.product-name": "AMD_Instinct_MI300A"})
    assert asked(pod({"amd.com/cpx_nps1": 1}), node=apu)[0].compute_nano == ONE // 6


def test_amd_partitions_by_label() -> None:
    """Naming strategy single: amd.com/gpu is a partition where the node labeller says how cards are cut."""
    labels = {
        "amd.com/compute-memory-partition": "dpx_nps1",
        "amd.com/gpu.product-name": "AMD_Instinct_MI300X",
        "amd.com/gpu.vram": "192G",
    }
    (row,) = asked(pod({"amd.com/gpu": 1}), node=node(labels))
    assert (row.system, row.profile, row.compute_nano, row.memory_nano) == (
        "partition",
        "dpx_nps1",
        HALF,
        HALF,
    )
    (card,) = on_node(node(labels))
    assert (card.memory_bytes, card.profile) == (192 * GIB, "dpx_nps1")


@pytest.mark.parametrize(
    ("resource", "compute", "memory"),
    [
        ("huawei.com/Ascend310P-2c", QUARTER, None),
        ("huawei.com/Ascend310P-4c.3cpu.ndvpp", HALF, None),
        ("huawei.com/Ascend910-8c", 266_666_666, None),
        ("huawei.com/Ascend910-5c.1cpu.16g", QUARTER, 16 * GIB),
        ("huawei.com/Ascend910-12c.3cpu.32g", HALF, 32 * GIB),
    ],
)
def test_ascend_vnpus_by_name(resource: str, compute: int, memory: int | None) -> None:
    """Ascend/mind-cluster, virtualization templates: 8 cores a 310P, 30 a 910A, 20 and 24 the 910B kinds."""
    (row,) = asked(pod({resource: 1}), card_memory_bytes=64 * GIB)
    assert (row.system, row.vendor, row.cards, row.compute_nano) == ("vnpu", "ascend", 1, compute)
    assert row.memory_bytes == memory
    assert row.memory_nano == (compute if memory is None else memory * ONE // (64 * GIB))


def test_ascend_vnpus_in_the_annotation() -> None:
    """mind-cluster, Pod annotation: AscendReal Ascend310P-2c-100-1 is vNPU 100 on chip 1."""
    work = pod({"huawei.com/Ascend310P-2c": 1}, {"huawei.com/AscendReal": "Ascend310P-2c-100-1"})
    (row,) = assigned(work)
    assert (row.container, row.index, row.slice_id, row.profile) == ("main", 1, "100", "2c")
    assert (row.compute_nano, row.memory_nano) == (QUARTER, QUARTER)
    assert 4 * paid_share(row.compute_nano, row.memory_nano) == ONE


def test_ascend_dynamic_vnpus_ask_for_cores() -> None:
    """mind-cluster, dynamic virtualization of 310P: npu-core 2 of 8; the scheduler writes chip and template."""
    (want,) = asked(pod({"huawei.com/npu-core": 2}))
    assert (want.cards, want.compute_nano) == (1, QUARTER)
    (want,) = asked(pod({"huawei.com/npu-core": 16}))
    assert (want.cards, want.compute_nano) == (2, ONE)
    (row,) = assigned(pod({"huawei.com/npu-core": 2}, {"huawei.com/npu-core": "0-vir02"}))
    assert (row.index, row.profile, row.compute_nano) == (0, "vir02", QUARTER)
    rows = assigned(pod({"huawei.com/npu-core": 16}, {"huawei.com/npu-core": "0,3"}))
    assert [(r.index, r.compute_nano) for r in rows] == [(0, ONE), (3, ONE)]


def test_ascend_whole_chips() -> None:
    notes = {
        "huawei.com/Ascend910": "Ascend910-0,Ascend910-1",
        "huawei.com/kltDev": "Ascend910-6,Ascend910-7",
    }
    rows = assigned(pod({"huawei.com/Ascend910": 2}, notes))
    assert [(r.index, r.compute_nano, r.id_kind) for r in rows] == [
        (0, ONE, IdKind.INDEX),
        (1, ONE, IdKind.INDEX),
    ]
    rows = assigned(
        pod({"huawei.com/Ascend910": 2}, {**notes, "huawei.com/AscendReal": "Ascend910-4,Ascend910-5"})
    )
    assert [r.index for r in rows] == [4, 5]  # what was mounted wins over what was meant


def test_ascend_soft_partitions_are_one_chip_whatever_the_amount_says() -> None:
    """mind-cluster, soft partitioning: the resource's amount repeats the quota, here 25: a quarter chip, not 25 chips."""
    labels = {
        "huawei.com/scheduler.softShareDev.aicoreQuota": "25",
        "huawei.com/scheduler.softShareDev.hbmQuota": "16384",
        "huawei.com/scheduler.softShareDev.policy": "fixed-share",
    }
    for resource in ("huawei.com/Ascend910", "huawei.com/npu"):
        (want,) = asked(pod({resource: 25}, labels=labels), card_memory_bytes=64 * GIB)
        assert (want.system, want.cards, want.compute_nano, want.memory_nano) == (
            "soft-share",
            1,
            QUARTER,
            QUARTER,
        )
    notes = {"huawei.com/AscendReal": "Ascend910-3"}
    (row,) = assigned(pod({"huawei.com/npu": 25}, notes, labels), card_memory_bytes=64 * GIB)
    assert (row.system, row.index, row.compute_nano, row.memory_nano) == ("soft-share", 3, QUARTER, QUARTER)


def test_cambricon_smlu() -> None:
    """Cambricon device plugin, dynamic-smlu: vcore per cent, vmemory 256 MiB; slot_vcore_vmemory on the pod."""
    amounts = {"cambricon.com/mlu370.smlu.vcore": 25, "cambricon.com/mlu370.smlu.vmemory": 24}
    (want,) = asked(pod(amounts), card_memory_bytes=24 * GIB)
    assert (want.system, want.cards, want.compute_nano, want.memory_nano) == ("smlu", 1, QUARTER, QUARTER)
    notes = {
        "CAMBRICON_DSMLU_ASSIGNED": "true",
        "CAMBRICON_DSMLU_PROFILE": "1_25_24",
        "CAMBRICON_DSMLU_PROFILE_INSTANCE": "1_256_1_0",
    }
    (row,) = assigned(pod(amounts, notes), card_memory_bytes=24 * GIB)
    assert (row.container, row.index, row.slice_id) == ("main", 1, "0")
    assert (row.compute_nano, row.memory_nano) == (QUARTER, QUARTER)


def test_cambricon_mim_and_shared_cards() -> None:
    """Device plugin modes mim (mlu370.mim-2m.8gb) and env-share (mlu370.share, virtualization-num a card)."""
    (row,) = asked(pod({"cambricon.com/mlu370.mim-2m.8gb": 1}), card_memory_bytes=32 * GIB)
    assert (row.system, row.profile, row.compute_nano, row.memory_nano) == ("mim", "2m.8gb", None, QUARTER)
    place = node(capacity={"cambricon.com/mlu370.share": "32", "cambricon.com/real-mlu-counts": "8"})
    (row,) = asked(pod({"cambricon.com/mlu370.share": 1}), node=place)
    assert (row.system, row.compute_nano) == ("env-share", QUARTER)
    assert asked(pod({"cambricon.com/mlu370.share": 1}))[0].compute_nano is None


def test_hygon_vdcus() -> None:
    """Hygon device plugin: dcu-share-30c-16g is 30 compute units and 16 GiB; the node says how many a card has."""
    place = node(
        {"hygon.com/dcu.name": "K100_AI", "hygon.com/dcu.cu-count": "120", "hygon.com/dcu.vram": "64G"}
    )
    (row,) = asked(pod({"hygon.com/dcu-share-30c-16g": 1}), node=place)
    assert (row.system, row.profile, row.compute_nano, row.memory_nano) == (
        "vdcu",
        "30c-16g",
        QUARTER,
        QUARTER,
    )
    (row,) = asked(pod({"hygon.com/dcu-share-30c-16g": 1}))
    assert (row.compute_nano, row.memory_bytes, row.memory_nano) == (None, 16 * GIB, None)
    (row,) = asked(pod({"hygon.com/dcu-mig-2g-15gb": 1}), card_memory_bytes=60 * GIB)
    assert (row.system, row.compute_nano, row.memory_nano) == ("dcu-mig", None, QUARTER)


def test_metax_sgpu_by_its_own_annotation() -> None:
    """MetaX's allocation annotation: a list a container; compute of 0 is an online pod without a limit."""
    document = [
        [{"uuid": "GPU-c500-0", "compute": 25, "vRam": 16384}],
        [{"uuid": "GPU-c500-1", "vRam": 8192}],
    ]
    amounts = {"metax-tech.com/sgpu": 1}
    work = pod([amounts, amounts], {"metax-tech.com/gpu-devices-allocated": json.dumps(document)})
    devices = [
        {
            "uuid": f"GPU-c500-{i}",
            "model": "C500",
            "totalDevCount": 16,
            "totalCompute": 100,
            "totalVRam": 65536,
        }
        for i in range(2)
    ]
    place = node(annotations={"metax-tech.com/node-gpu-devices": json.dumps(devices)})
    rows = assigned(work, node=place)
    assert [(r.container, r.compute_nano, r.memory_nano) for r in rows] == [
        ("main", QUARTER, QUARTER),
        ("second", None, 125_000_000),
    ]
    assert [(d.device, d.memory_bytes, d.replicas) for d in on_node(place)] == [
        ("GPU-c500-0", 64 * GIB, 16),
        ("GPU-c500-1", 64 * GIB, 16),
    ]


def test_moore_threads_sgpu_without_hami() -> None:
    """KUAE guide: sgpu-core and sgpu-memory together, sixteen cores a card; the card by gpu-index."""
    amounts = {"mthreads.com/sgpu-core": 4, "mthreads.com/sgpu-memory": 24}
    (want,) = asked(pod(amounts), card_memory_bytes=48 * GIB)
    assert (want.system, want.cards, want.compute_nano, want.memory_nano) == ("sgpu", 1, QUARTER, QUARTER)
    (row,) = assigned(pod(amounts, {"mthreads.com/gpu-index": "2"}))
    assert (row.index, row.compute_nano) == (2, QUARTER)


def test_enflame_hard_partitions() -> None:
    """HAMi docs, Enflame: drs-gcu 3 of 6; assigned-containers names profile and instance."""
    (want,) = asked(pod({"enflame.com/drs-gcu": 3}))
    assert (want.system, want.cards, want.compute_nano) == ("drs", 1, HALF)
    document = {
        "main": {
            "allocated": True,
            "request": 3,
            "profileID": "1",
            "profileName": "3g.20gb",
            "instanceID": "2",
            "instanceUUID": "7325501d-02bd-4da2-9289-24d8521736b9",
        }
    }
    notes = {
        "assigned-containers": json.dumps(document),
        "enflame.com/gcu-assigned": "true",
        "enflame.com/gcu-assigned-index": "0",
        "enflame.com/gcu-assigned-minor": "0",
    }
    capacity = {
        "devices": [{"index": "0", "minor": "0", "capacity": 6}],
        "profiles": {"1g.6gb": "0", "3g.20gb": "1", "6g.40gb": "2"},
    }
    place = node(annotations={"enflame.com/gcu-drs-capacity": json.dumps(capacity)})
    (row,) = assigned(pod({"enflame.com/drs-gcu": 3}, notes), node=place)
    assert (row.container, row.index, row.profile) == ("main", 0, "3g.20gb")
    assert row.slice_id == "7325501d-02bd-4da2-9289-24d8521736b9"
    assert (row.compute_nano, row.memory_nano) == (HALF, HALF)
    (card,) = on_node(place)
    assert (card.index, card.replicas, card.memory_bytes) == (0, 6, 40 * GIB)


def test_enflame_shared_parts_are_of_one_card() -> None:
    """gcushare: shared-gcu counts parts of a card; the node has shared-gcu / gcu-count a card."""
    place = node(capacity={"enflame.com/shared-gcu": "32", "enflame.com/gcu-count": "8"})
    (want,) = asked(pod({"enflame.com/shared-gcu": 1}), node=place)
    assert (want.cards, want.compute_nano, want.memory_nano) == (1, QUARTER, QUARTER)
    (want,) = asked(pod({"enflame.com/shared-gcu": 4}), node=place)
    assert (want.cards, want.compute_nano) == (1, ONE)
    (row,) = assigned(pod({"enflame.com/shared-gcu": 1}, {"enflame.com/gcu-assigned-id": "5"}), node=place)
    assert (row.index, row.compute_nano, row.memory_nano) == (5, QUARTER, QUARTER)
    assert asked(pod({"enflame.com/shared-gcu": 1}))[0].compute_nano is None


def test_biren_svi() -> None:
    """Biren SVI: modes of two and four instances a card."""
    (quarters,) = asked(pod({"birentech.com/1-4-gpu": 4}))
    assert (quarters.cards, quarters.compute_nano, quarters.memory_nano) == (4, QUARTER, QUARTER)
    assert quarters.cards * paid_share(quarters.compute_nano, quarters.memory_nano) == ONE
    assert asked(pod({"birentech.com/1-2-gpu": 1}))[0].compute_nano == HALF


def test_intel_shares() -> None:
    """Intel GPU plugin, shared-dev-num and GPU aware scheduling: millicores and memory.max over the cards asked for."""
    labels = {"gpu.intel.com/cards": "card0.card1", "gpu.intel.com/memory.max": str(32 * GIB)}
    shared = node(labels, capacity={"gpu.intel.com/i915": "8"})
    (row,) = asked(pod({"gpu.intel.com/i915": 1}), node=shared)
    assert (row.system, row.compute_nano, row.memory_nano) == ("shared-dev-num", QUARTER, None)
    amounts = {
        "gpu.intel.com/i915": 2,
        "gpu.intel.com/millicores": 500,
        "gpu.intel.com/memory.max": 8 * GIB,
    }
    (row,) = asked(pod(amounts), node=shared)
    assert (row.cards, row.compute_nano, row.memory_nano) == (2, QUARTER, QUARTER)
    rows = assigned(pod([amounts, {"gpu.intel.com/i915": 1}], {"gas-container-cards": "card0,card1|card0"}))
    assert [(r.container, r.device, r.index) for r in rows] == [
        ("main", "card0", 0),
        ("main", "card1", 1),
        ("second", "card0", 0),
    ]
    assert [r.compute_nano for r in rows] == [QUARTER, QUARTER, ONE]


def test_neuron_cores_need_the_node() -> None:
    """AWS Neuron device plugin: neuroncore next to neuron; the node's capacities say how many a device has."""
    place = node(capacity={"aws.amazon.com/neuron": "16", "aws.amazon.com/neuroncore": "32"})
    (row,) = asked(pod({"aws.amazon.com/neuroncore": 1}), node=place)
    assert (row.cards, row.compute_nano) == (1, HALF)
    (row,) = asked(pod({"aws.amazon.com/neuroncore": 8}), node=place)
    assert (row.cards, row.compute_nano) == (4, ONE)
    assert asked(pod({"aws.amazon.com/neuroncore": 2}))[0].compute_nano is None


@pytest.mark.parametrize(
    ("device_id", "device", "kind", "index", "slice_id", "replica"),
    [
        ("GPU-76f93f2b-8cd8-4dd0-e555-56418bde1457", None, IdKind.UUID, None, None, None),
        ("GPU-76f93f2b-8cd8-4dd0-e555-56418bde1457::3", "GPU-76f93f2b-8cd8-4dd0-e555-56418bde1457", IdKind.UUID, None, None, "3"),
        ("GPU-76f93f2b-8cd8-4dd0-e555-56418bde1457-7", "GPU-76f93f2b-8cd8-4dd0-e555-56418bde1457", IdKind.UUID, None, None, "7"),
        ("MIG-5c89852c-d268-c3f3-1b07-005d5ae1dc3f", None, IdKind.SLICE, None, "MIG-5c89852c-d268-c3f3-1b07-005d5ae1dc3f", None),
        (
            "MIG-GPU-76f93f2b-8cd8-4dd0-e555-56418bde1457/7/0",
            "GPU-76f93f2b-8cd8-4dd0-e555-56418bde1457",
            IdKind.UUID,
            None,
            "MIG-GPU-76f93f2b-8cd8-4dd0-e555-56418bde1457/7/0",
            None,
        ),
        ("Ascend910-12", None, IdKind.INDEX, 12, None, None),
        ("Ascend310P-4c.3cpu-101-2", None, IdKind.INDEX, 2, "101", None),
        ("card1-0", "card1", IdKind.NAME, 1, None, "0"),
        ("0000:c1:00.0", None, IdKind.BUS_ID, None, None, None),
        ("amdgpu_xcp_30", None, IdKind.SLICE, None, "amdgpu_xcp_30", None),
        ("3", None, IdKind.INDEX, 3, None, None),
        ("something else", None, IdKind.NAME, None, None, None),
    ],
)  # fmt: skip
def test_kubelet_device_ids_come_apart(
    device_id: str,
    device: str | None,
    kind: IdKind,
    index: int | None,
    slice_id: str | None,
    replica: str | None,
) -> None:
    found = device_of(device_id)
    assert (found.device, found.kind, found.index) == (device or device_id, kind, index)
    assert (found.slice_id, found.replica) == (slice_id, replica)


@pytest.mark.parametrize(
    ("notes", "says"),
    [
        ({"huawei.com/AscendReal": "card zero"}, "vnpu: huawei.com/AscendReal"),
        ({"huawei.com/npu-core": "x-vir02"}, "vnpu: huawei.com/npu-core"),
        ({"CAMBRICON_DSMLU_PROFILE": "1_25"}, "smlu: CAMBRICON_DSMLU_PROFILE"),
        ({"metax-tech.com/gpu-devices-allocated": "[{}]"}, "sgpu: metax-tech.com/gpu-devices-allocated"),
        ({"enflame.com/gcu-assigned-id": "0", "assigned-containers": "[]"}, "gcushare: assigned-containers"),
        (
            {"hami.io/vgpu-mig-allocations": "{}", "hami.io/vgpu-devices-allocated": "a,b,1,1"},
            "hami.io/vgpu-mig",
        ),
    ],
)
def test_malformed_says_system_name_and_value(notes: dict[str, str], says: str) -> None:
    with pytest.raises(BadInput) as failed:
        assigned(pod({}, notes))
    assert says in str(failed.value)


@pytest.mark.parametrize(
    ("labels", "says"),
    [
        ({"nvidia.com/gpu.count": "eight"}, "nvidia.com/gpu.count"),
        ({"amd.com/gpu.vram": "much"}, "amd.com/gpu.vram"),
        ({"hygon.com/dcu.cu-count": "-1"}, "hygon.com/dcu.cu-count"),
        ({"gpu.intel.com/cards": "card0", "gpu.intel.com/memory.max": "?"}, "gpu.intel.com/memory.max"),
    ],
)
def test_a_malformed_label_is_named(labels: dict[str, str], says: str) -> None:
    with pytest.raises(BadInput, match=says):
        on_node(node(labels))
    assert asked(pod({"nvidia.com/gpu": 1}), node=node(labels))[0].compute_nano == ONE


def test_a_node_that_says_nothing_has_no_devices() -> None:
    assert on_node({}) == []
    assert on_node(node({"kubernetes.io/arch": "amd64"})) == []
