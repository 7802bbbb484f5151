"""HAMi's pods and nodes, maker by maker, written after its documentation and sources (Project-HAMi/HAMi)."""

from __future__ import annotations

import json

import pytest
from sharing_pods import GIB, HALF, MIB, ONE, QUARTER, container, node, pod

from ullage_collector.allocation.sharing import IdKind, asked, assigned, on_node, paid_share
from ullage_contract.errors import BadInput

CARD = "GPU-0fc3eda5-e98b-a25b-5b0d-cf5c855d1448"
OTHER = "GPU-8e7d2f10-1111-2222-3333-444455556666"


def test_nvidia_count_memory_and_cores_are_of_each_card() -> None:
    """docs/config.md and examples/nvidia: gpu is the number of cards, gpumem (MiB) and gpucores (%) are of each."""
    (row,) = asked(pod({"nvidia.com/gpu": "2", "nvidia.com/gpumem": "3000", "nvidia.com/gpucores": "30"}))
    assert (row.system, row.vendor, row.cards) == ("hami", "nvidia", 2)
    assert row.compute_nano == 300_000_000
    assert row.memory_bytes == 3000 * MIB
    assert row.resources == ("nvidia.com/gpu", "nvidia.com/gpucores", "nvidia.com/gpumem")


def test_nvidia_memory_in_per_cent_is_a_share() -> None:
    (row,) = asked(pod({"nvidia.com/gpu": 1, "nvidia.com/gpumem-percentage": 25}))
    assert (row.memory_nano, row.memory_bytes, row.compute_nano) == (QUARTER, None, None)
    assert paid_share(row.compute_nano, row.memory_nano) == QUARTER


def test_cores_alone_leave_all_the_memory() -> None:
    """Without gpumem a HAMi container gets the card's whole memory; what is paid is the compute share."""
    (row,) = asked(pod({"nvidia.com/gpu": 1, "nvidia.com/gpucores": 25}))
    assert (row.compute_nano, row.memory_nano) == (QUARTER, ONE)


def test_the_allocated_annotation_names_card_memory_and_cores() -> None:
    """docs/develop/protocol.md: the example of a task with 3000 MiB and no core limit."""
    work = pod(
        {"nvidia.com/gpu": 1, "nvidia.com/gpumem": 3000},
        {"hami.io/vgpu-devices-allocated": f"{CARD},NVIDIA,3000,0:;"},
    )
    (row,) = assigned(work, card_memory_bytes=12_000 * MIB)
    assert (row.container, row.device, row.id_kind) == ("main", CARD, IdKind.UUID)
    assert (row.compute_nano, row.memory_bytes, row.memory_nano) == (None, 3000 * MIB, QUARTER)


def test_a_card_whose_size_nobody_knows_keeps_its_bytes_and_has_no_share() -> None:
    work = pod({}, {"hami.io/vgpu-devices-allocated": f"{CARD},NVIDIA,3000,0:;"})
    (row,) = assigned(work)
    assert (row.memory_bytes, row.memory_nano) == (3000 * MIB, None)
    assert row.with_total(6000 * MIB).memory_nano == HALF


def test_the_nodes_register_gives_the_size_of_each_card() -> None:
    """docs/develop/protocol.md: hami.io/node-nvidia-register, seven fields a device."""
    register = (
        f"{CARD},10,32768,100,NVIDIA-Tesla V100-PCIE-32GB,0,true:{OTHER},10,16384,100,NVIDIA-T4,0,true:"
    )
    place = node(annotations={"hami.io/node-nvidia-register": register})
    first, second = on_node(place)
    assert (first.device, first.memory_bytes, first.replicas, first.cores_total) == (CARD, 32 * GIB, 10, 100)
    assert (second.model, second.healthy) == ("NVIDIA-T4", True)
    text = f"{CARD},NVIDIA,8192,25:{OTHER},NVIDIA,8192,50:;"
    rows = assigned(pod({}, {"hami.io/vgpu-devices-allocated": text}), node=place)
    assert [(r.device, r.compute_nano, r.memory_nano) for r in rows] == [
        (CARD, QUARTER, QUARTER),
        (OTHER, HALF, HALF),
    ]


def test_the_register_as_json_reads_alike() -> None:
    devices = [
        {"id": CARD, "index": 1, "count": 4, "devmem": 8192, "devcore": 100, "type": "A10", "health": True},
        {"id": OTHER, "count": 4, "devmem": 8192, "devcore": 100, "type": "A10", "mode": "mig"},
    ]
    rows = on_node(node(annotations={"hami.io/node-nvidia-register": json.dumps(devices)}))
    assert [(r.device, r.index, r.healthy, r.mode) for r in rows] == [
        (CARD, 1, True, None),
        (OTHER, 0, False, "mig"),
    ]


def test_four_quarters_of_one_card_are_one_card() -> None:
    work = pod({}, {"hami.io/vgpu-devices-allocated": f"{CARD},NVIDIA,4096,25:;"})
    rows = [assigned(work)[0] for _ in range(4)]
    assert sum(paid_share(r.compute_nano, r.memory_nano) for r in rows) == ONE
    assert {r.device for r in rows} == {CARD}


def test_shares_above_one_card_are_kept() -> None:
    """Five pods of 30 per cent on a card with core scaling: 1.5 cards, shown, never cut down."""
    work = pod({}, {"hami.io/vgpu-devices-allocated": f"{CARD},NVIDIA,12288,30:;"})
    rows = [assigned(work, card_memory_bytes=8 * GIB)[0] for _ in range(5)]
    assert sum(r.compute_nano or 0 for r in rows) == 1_500_000_000
    assert rows[0].memory_nano == 1_500_000_000  # deviceMemoryScaling: more than the card has


def test_containers_are_told_apart_with_and_without_init_containers() -> None:
    """pkg/device/devices.go, Resourcereqs: init containers come first; older releases write the others alone."""
    first = container("prepare", {"nvidia.com/gpu": 1})
    newer = f"{CARD},NVIDIA,1024,0:;;{OTHER},NVIDIA,2048,0:;"
    work = pod([{}, {"nvidia.com/gpu": 1}], {"hami.io/vgpu-devices-allocated": newer}, inits=[first])
    assert [(r.container, r.device) for r in assigned(work)] == [("prepare", CARD), ("second", OTHER)]
    older = f";{OTHER},NVIDIA,2048,0:;"
    work = pod([{}, {"nvidia.com/gpu": 1}], {"hami.io/vgpu-devices-allocated": older}, inits=[first])
    assert [(r.container, r.device) for r in assigned(work)] == [("second", OTHER)]


def test_a_segment_nobody_can_place_is_the_pods() -> None:
    work = pod([{}, {}, {}], {"hami.io/vgpu-devices-allocated": f"{CARD},NVIDIA,1,0:;;;;"})
    assert assigned(work)[0].container is None


def test_mig_instances_by_their_own_annotation() -> None:
    """pkg/device/nvidia/mig_allocations.go: profile and instance of each device by container and place."""
    mig = [
        {
            "containerIndex": 0,
            "deviceIndex": 0,
            "gpuUUID": CARD,
            "profile": "2g.10gb",
            "placement": {"start": 0, "size": 2},
            "migUUID": "MIG-5c89852c-d268-c3f3-1b07-005d5ae1dc3f",
            "gpuInstanceID": 3,
            "computeInstanceID": 0,
        }
    ]
    work = pod(
        {"nvidia.com/gpu": 1},
        {
            "hami.io/vgpu-devices-allocated": f"{CARD},NVIDIA,9856,0:;",
            "hami.io/vgpu-mig-allocations": json.dumps(mig),
        },
    )
    (row,) = assigned(work, card_memory_bytes=40 * GIB)
    assert (row.device, row.slice_id) == (CARD, "MIG-5c89852c-d268-c3f3-1b07-005d5ae1dc3f")
    assert (row.profile, row.compute_nano, row.memory_nano) == ("2g.10gb", 285_714_285, QUARTER)


def test_an_older_mig_id_is_a_slice_of_its_card() -> None:
    work = pod({}, {"hami.io/vgpu-devices-allocated": f"{CARD}[1-0],NVIDIA,4864,14:;"})
    (row,) = assigned(work)
    assert (row.device, row.slice_id) == (CARD, f"{CARD}[1-0]")


def test_ascend_templates_are_quarters() -> None:
    """docs/ascend910b-support.md and device-configmap.yaml: vir05_1c_16g is 5 of a 910B3's 20 cores."""
    work = pod(
        {"huawei.com/Ascend910B3": 1, "huawei.com/Ascend910B3-memory": 16384},
        {
            "hami.io/Ascend910B3-devices-allocated": "9E1A3C2D,Ascend910B3,16384,0:;",
            "huawei.com/Ascend910B3": '[{"UUID":"9E1A3C2D","temp":"vir05_1c_16g"}]',
        },
    )
    (row,) = assigned(work, card_memory_bytes=64 * GIB)
    assert (row.vendor, row.profile) == ("ascend", "vir05_1c_16g")
    assert (row.compute_nano, row.memory_nano) == (QUARTER, QUARTER)
    assert 4 * QUARTER == ONE


def test_ascend_soft_slices_have_cores_in_per_cent() -> None:
    """pkg/device/ascend/device.go: huawei.com/vnpu-mode hami-core writes memory and core instead of a template."""
    resources = {
        "huawei.com/Ascend910B4": 1,
        "huawei.com/Ascend910B4-memory": 8192,
        "huawei.com/Ascend910B4-core": 25,
    }
    (want,) = asked(pod(resources), card_memory_bytes=32 * GIB)
    assert (want.compute_nano, want.memory_nano, want.cards) == (QUARTER, QUARTER, 1)
    notes = {
        "hami.io/Ascend910B4-devices-allocated": "A-1,Ascend910B4,8192,25:;",
        "huawei.com/Ascend910B4": '[{"UUID":"A-1","memory":8192,"core":25}]',
    }
    (row,) = assigned(pod(resources, notes), card_memory_bytes=32 * GIB)
    assert (row.compute_nano, row.memory_nano) == (QUARTER, QUARTER)


def test_an_ascend_card_with_nothing_more_said_is_whole() -> None:
    (row,) = asked(pod({"huawei.com/Ascend910B3": 2}))
    assert (row.cards, paid_share(row.compute_nano, row.memory_nano)) == (2, ONE)


def test_cambricon_memory_is_in_256_mib() -> None:
    """pkg/device/cambricon/device.go: vmemory times 256 MiB, vcore in per cent; the profile is idx_cores_256MiB."""
    resources = {
        "cambricon.com/vmlu": 1,
        "cambricon.com/mlu.smlu.vmemory": 24,
        "cambricon.com/mlu.smlu.vcore": 25,
    }
    (want,) = asked(pod(resources), card_memory_bytes=24 * GIB)
    assert (want.system, want.compute_nano, want.memory_bytes) == ("hami", QUARTER, 6 * GIB)
    assert want.memory_nano == QUARTER
    notes = {
        "hami.io/cambricon-mlu-devices-allocated": "node-1-cambricon-mlu-2,MLU,6144,25:;",
        "CAMBRICON_DSMLU_PROFILE": "2_25_24",
        "CAMBRICON_DSMLU_PROFILE_INSTANCE": "1_256_2_7",
    }
    (row,) = assigned(pod(resources, notes))
    assert (row.system, row.index, row.compute_nano, row.slice_id) == ("hami", 2, QUARTER, "7")


def test_hygon_by_both_of_its_names() -> None:
    """docs/hygon-dcu-support.md: dcumem in MiB, dcucores in per cent; hcu* since 2.10."""
    for word in ("dcu", "hcu"):
        amounts = {f"hygon.com/{word}num": 1, f"hygon.com/{word}mem": 16384, f"hygon.com/{word}cores": 25}
        (want,) = asked(pod(amounts), card_memory_bytes=64 * GIB)
        assert (want.vendor, want.compute_nano, want.memory_nano) == ("hygon", QUARTER, QUARTER)
    notes = {"hami.io/hcu-devices-allocated": ";HCU-T9K2310,HCU,16384,25:;"}
    (row,) = assigned(pod({"hygon.com/hcunum": 1}, notes, inits=[container("init")]))
    assert (row.container, row.device, row.id_kind) == ("main", "HCU-T9K2310", IdKind.UUID)
    (card,) = on_node(
        node(annotations={"hami.io/node-hcu-register": "HCU-T9K2310,4,65536,100,HCU-K100_AI,0,true,3,hami:"})
    )
    assert (card.vendor, card.index, card.memory_bytes) == ("hygon", 3, 64 * GIB)


def test_moore_threads_has_sixteen_cores_a_card() -> None:
    """pkg/device/mthreads/device.go: 16 cores and 96 times 512 MiB a card, totals over the cards asked for."""
    quarter = {"mthreads.com/vgpu": 1, "mthreads.com/sgpu-core": 4, "mthreads.com/sgpu-memory": 24}
    (want,) = asked(pod(quarter), card_memory_bytes=48 * GIB)
    assert (want.cards, want.compute_nano, want.memory_bytes, want.memory_nano) == (
        1,
        QUARTER,
        12 * GIB,
        QUARTER,
    )
    two = {"mthreads.com/vgpu": 2, "mthreads.com/sgpu-core": 32, "mthreads.com/sgpu-memory": 192}
    (want,) = asked(pod(two))
    assert (want.cards, want.compute_nano, want.memory_bytes) == (2, ONE, 48 * GIB)
    notes = {
        "hami.io/mthreads-vgpu-devices-allocated": "node-1-mthreads-3,Mthreads,12288,4:;",
        "mthreads.com/gpu-index": "3",
    }
    rows = assigned(pod(quarter, notes))
    assert [(r.index, r.compute_nano, r.id_kind) for r in rows] == [(3, QUARTER, IdKind.INDEX)]


def test_metax_defaults_to_a_whole_card() -> None:
    """docs/metax-support.md: vcore of 100 where it is not written, vmemory in GiB where it has no unit."""
    (want,) = asked(
        pod({"metax-tech.com/sgpu": 1, "metax-tech.com/vcore": 25, "metax-tech.com/vmemory": 16}),
        card_memory_bytes=64 * GIB,
    )
    assert (want.compute_nano, want.memory_bytes, want.memory_nano) == (QUARTER, 16 * GIB, QUARTER)
    (want,) = asked(pod({"metax-tech.com/sgpu": 2, "metax-tech.com/vmemory": "8Gi"}))
    assert (want.cards, want.compute_nano, want.memory_bytes) == (2, ONE, 8 * GIB)
    notes = {"hami.io/metax-sgpu-devices-allocated": "GPU-c500-1,Metax-SGPU,16384,25:;"}
    notes["metax-tech.com/gpu-devices-allocated"] = '[[{"uuid":"GPU-c500-1","compute":25,"vRam":16384}]]'
    rows = assigned(pod({"metax-tech.com/sgpu": 1}, notes))
    assert [(r.device, r.compute_nano, r.memory_bytes) for r in rows] == [("GPU-c500-1", QUARTER, 16 * GIB)]


def test_iluvatar_names_its_chips() -> None:
    """docs/iluvatar-gpu-support.md: vMem in 256 MiB, vCore in per cent, a name for each chip."""
    amounts = {"iluvatar.ai/BI-V150-vgpu": 1, "iluvatar.ai/BI-V150.vMem": 32, "iluvatar.ai/BI-V150.vCore": 25}
    (want,) = asked(pod(amounts), card_memory_bytes=32 * GIB)
    assert (want.vendor, want.compute_nano, want.memory_nano) == ("iluvatar", QUARTER, QUARTER)
    notes = {"hami.io/BI-V150-devices-allocated": f"{CARD},BI-V150,8192,25:;"}
    (row,) = assigned(pod(amounts, notes))
    assert (row.vendor, row.compute_nano, row.memory_bytes) == ("iluvatar", QUARTER, 8 * GIB)


def test_two_chips_of_one_container_are_two_rows() -> None:
    amounts = {"iluvatar.ai/BI-V150-vgpu": 1, "iluvatar.ai/MR-V100-vgpu": 1, "iluvatar.ai/MR-V100.vCore": 50}
    rows = asked(pod(amounts))
    assert sorted((r.resources[0], r.compute_nano) for r in rows) == [
        ("iluvatar.ai/BI-V150-vgpu", None),
        ("iluvatar.ai/MR-V100-vgpu", HALF),
    ]


def test_kunlunxin_quarters_by_memory() -> None:
    """pkg/device/kunlun/vdevice.go: vxpu-memory in MiB, 24576 of 98304 is a quarter."""
    (want,) = asked(
        pod({"kunlunxin.com/vxpu": 1, "kunlunxin.com/vxpu-memory": 24576}), card_memory_bytes=96 * GIB
    )
    assert (want.compute_nano, want.memory_nano) == (None, QUARTER)
    assert paid_share(want.compute_nano, want.memory_nano) == QUARTER
    (row,) = assigned(pod({}, {"hami.io/xpu-devices-allocated": "XPU-3,XPU,24576,25:;"}))
    assert (row.vendor, row.index, row.compute_nano) == ("kunlunxin", 3, QUARTER)


def test_whole_cards_of_makers_whose_figures_mean_nothing() -> None:
    """pkg/device/enflame/gcu.go and kunlun/device.go write 100 or 0 beside a whole card."""
    (gcu,) = assigned(pod({}, {"hami.io/enflame-gcu-devices-allocated": "node-1-GCU-5,GCU,100,100:;"}))
    assert (gcu.index, gcu.compute_nano, gcu.memory_nano, gcu.memory_bytes) == (5, ONE, ONE, None)
    (xpu,) = assigned(pod({}, {"hami.io/kunlun-allocated": "XPU-1,KUNLUN,4096,0:;"}))
    assert (xpu.vendor, xpu.compute_nano) == ("kunlunxin", ONE)
    (card,) = assigned(pod({}, {"hami.io/Biren-devices-allocated": f"{CARD},Biren,0,0:;"}))
    assert paid_share(card.compute_nano, card.memory_nano) == ONE


def test_enflames_older_slices_are_per_cent() -> None:
    """pkg/device/enflame/device.go: vgcu-percentage of one card; shared-gcu beside it is the same share."""
    amounts = {"enflame.com/vgcu": 1, "enflame.com/vgcu-percentage": 25, "enflame.com/shared-gcu": 1}
    (want,) = asked(pod(amounts))
    assert (want.cards, want.compute_nano, want.memory_nano) == (1, QUARTER, QUARTER)
    (row,) = assigned(
        pod(amounts, {"hami.io/enflame-vgpu-devices-allocated": "node-1-enflame-0,Enflame,25,0:;"})
    )
    assert (row.index, row.memory_nano, row.memory_bytes) == (0, QUARTER, None)


def test_amd_cores_are_compute_units_of_the_nodes_count() -> None:
    """docs/develop/amd-vgpu.md: the annotation counts CUs, devcore of the register is the whole card's."""
    (want,) = asked(pod({"amd.com/gpu": 1, "amd.com/gpucores": 25, "amd.com/gpumem": 49152}))
    assert (want.system, want.compute_nano, want.memory_bytes) == ("hami", QUARTER, 48 * GIB)
    devices = [{"id": "amd-7", "devmem": 196608, "devcore": 304, "type": "AMDGPU", "health": True}]
    place = node(annotations={"hami.io/node-amd-register": json.dumps(devices)})
    work = pod({}, {"hami.io/amd-devices-allocated": "amd-7,AMDGPU,49152,76:;"})
    (row,) = assigned(work, node=place)
    assert (row.compute_nano, row.memory_nano) == (QUARTER, QUARTER)
    assert assigned(work)[0].compute_nano is None  # without the register nobody knows how many there are


def test_neuron_core_masks_are_not_amounts() -> None:
    (row,) = assigned(pod({}, {"hami.io/aws-neuron-devices-allocated": "node-1-AWSNeuron-2,AWSNeuron,0,3:;"}))
    assert (row.vendor, row.index, row.compute_nano) == ("neuron", 2, ONE)


@pytest.mark.parametrize(
    "text",
    [
        f"{CARD},NVIDIA,3000",
        ",NVIDIA,3000,0:;",
        f"{CARD},NVIDIA,-1,0:;",
        f"{CARD},NVIDIA,3000,ten:;",
        f"{CARD},NVIDIA,3.5,0:;",
        "nonsense",
    ],
)
def test_a_malformed_annotation_says_system_annotation_and_value(text: str) -> None:
    with pytest.raises(BadInput, match=r"hami: hami\.io/vgpu-devices-allocated: .*"):
        assigned(pod({}, {"hami.io/vgpu-devices-allocated": text}))


def test_one_malformed_pod_leaves_the_others() -> None:
    good = pod({}, {"hami.io/vgpu-devices-allocated": f"{CARD},NVIDIA,3000,0:;"})
    with pytest.raises(BadInput):
        assigned(pod({}, {"hami.io/vgpu-devices-allocated": "nonsense"}))
    assert len(assigned(good)) == 1


def test_a_malformed_register_is_the_nodes_trouble_alone() -> None:
    place = node(annotations={"hami.io/node-nvidia-register": "nonsense"})
    with pytest.raises(BadInput, match=r"hami\.io/node-nvidia-register"):
        on_node(place)
    work = pod({}, {"hami.io/vgpu-devices-allocated": f"{CARD},NVIDIA,3000,50:;"})
    (row,) = assigned(work, node=place)
    assert (row.compute_nano, row.memory_nano) == (HALF, None)


def test_what_waits_for_a_device_holds_none() -> None:
    assert assigned(pod({"nvidia.com/gpu": 1}, {"hami.io/vgpu-devices-allocated": ""})) == []
    assert assigned(pod({"nvidia.com/gpu": 1})) == []
