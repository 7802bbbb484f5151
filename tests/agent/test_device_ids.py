"""Device plugins' ids to cards and slices: each maker's spelling, and what must stay unplaced."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.agent.maker_bench import link

from ullage_agent.factbook import FactBook
from ullage_agent.holders.cards import Card, Cards, Part, render_nodes
from ullage_agent.holders.devices import CONVENTIONS, PLACEHOLDERS, Placed, place
from ullage_contract.sample import Facts, Family

GPU = "GPU-8f2c6a1e-3b1d-4c55-9a8e-0123456789ab"
MLU = "MLU-20001012-1916-0000-0000-000000000000"
HOLDER = "n1-0000:33:00.0"

CARDS = Cards.made(
    [
        Card(GPU, "nvidia", uuid=GPU, serial="1652123000001", pci="0000:3b:00.0", minor=5, node_number=5, index=0),
        Card("amd-1", "amd", uuid="0xabcd", pci="0000:c1:00.0", minor=1, node_number=1, index=1),
        Card("ascend-S1-c0", "ascend", serial="S1", pci="0000:81:00.0", minor=3, node_number=3, index=0),
        Card("two-chips-c0", "ascend", pci="0000:82:00.0", node_number=8),
        Card("two-chips-c1", "ascend", pci="0000:82:00.0", node_number=9),
        Card(MLU, "cambricon", uuid=MLU, index=2, node_number=2),
        Card("TW0000-K100", "hygon", serial="TW0000-K100", pci="0000:33:00.0", index=0),
        Card("mt-uuid", "mthreads", uuid="7c8b9a00-1111-2222-3333-444444444444"),
        Card("GPU-mx-uuid", "metax", uuid="GPU-mx-uuid", pci="0000:0b:00.0"),
        Card("gaudi-AN1", "gaudi", serial="AN1", index=4),
        Card("intel-a", "intel", node_number=2, pci="0000:4d:00.0", index=0),
        Card("neuron-0", "neuron", node_number=0, index=0),
        Card("n1-tpu-c3", "tpu", index=3, node_number=0),
    ],
    [
        Part(f"{GPU}/gi1-ci0", GPU, "gi1-ci0", "MIG-11111111-2222-3333-4444-555555555555"),
        Part("ascend-S1-c0/100", "ascend-S1-c0", "100"),
    ],
    {129: "0000:c1:00.0", 130: "0000:ff:00.0"},
)  # fmt: skip

TABLE: dict[tuple[str, str], str | None] = {
    ("nvidia.com/gpu", GPU): GPU,
    ("nvidia.com/gpu", GPU.upper()): GPU,
    ("nvidia.com/gpu.shared", f"{GPU}::0"): GPU,
    ("nvidia.com/gpu", f"{GPU}::11"): GPU,
    ("nvidia.com/mig-1g.10gb", "MIG-11111111-2222-3333-4444-555555555555"): f"{GPU}/gi1-ci0",
    ("nvidia.com/mig-1g.5gb", f"MIG-{GPU}/1/0"): f"{GPU}/gi1-ci0",
    ("nvidia.com/mig-1g.5gb", f"MIG-{GPU}/2/0"): None,
    ("nvidia.com/mig-1g.10gb.shared", "MIG-11111111-2222-3333-4444-555555555555::1"): f"{GPU}/gi1-ci0",
    ("gpu.nvidia.com", "gpu-5"): GPU,
    ("gpu.nvidia.com", "gpu-0"): None,  # the index, not the minor number
    ("nvidia.com/gpu", "0"): None,  # no plugin of theirs spells it so: it could be any order
    ("amd.com/gpu", "0000:c1:00.0"): "amd-1",
    ("amd.com/gpu", "card1"): "amd-1",
    ("amd.com/gpu", "amdgpu_xcp_3"): None,
    ("gpu.amd.com", "gpu-1-129"): "amd-1",
    ("huawei.com/Ascend910", "Ascend910-3"): "ascend-S1-c0",
    ("huawei.com/Ascend310P", "Ascend310P-7"): None,
    ("huawei.com/npu", "npu-3"): "ascend-S1-c0",
    ("huawei.com/Ascend910-2c", "Ascend910-2c-100-3"): "ascend-S1-c0/100",
    ("huawei.com/Ascend910-2c", "Ascend910-2c-101-3"): None,
    ("huawei.com/Ascend310P-4c.3cpu", "Ascend310P-4c.3cpu-100-3"): "ascend-S1-c0/100",
    ("huawei.com/Ascend910", "0000:82:00.0"): None,  # two chips at one address
    ("cambricon.com/mlu", MLU): MLU,
    ("cambricon.com/mlu370", "mlu-2"): MLU,
    ("cambricon.com/mlu.share", f"{MLU}-_-4"): MLU,
    ("cambricon.com/mlu", f"{MLU}--fake--2"): MLU,
    ("hygon.com/dcu", "TW0000-K100"): "TW0000-K100",
    ("hygon.com/dcu", "0000:33:00.0"): "TW0000-K100",
    ("mthreads.com/gpu", "7c8b9a00-1111-2222-3333-444444444444"): "mt-uuid",
    ("metax-tech.com/gpu", "GPU-mx-uuid"): "GPU-mx-uuid",
    ("metax-tech.com/gpu", "0000:0B:00.0"): "GPU-mx-uuid",
    ("habana.ai/gaudi", "AN1"): "gaudi-AN1",
    ("gpu.intel.com/i915", "card2-0"): "intel-a",
    ("gpu.intel.com/xe", "card2-3"): "intel-a",
    ("gpu.intel.com/monitoring", "all"): None,
    ("aws.amazon.com/neuron", "0"): "neuron-0",
    ("aws.amazon.com/neuroncore", "0"): None,  # a core's number over all devices
    ("google.com/tpu", "3"): "n1-tpu-c3",
    ("example.com/anything", "1652123000001"): GPU,
    ("example.com/anything", "0000:3B:00"): GPU,
    ("example.com/anything", "3"): None,
    ("example.com/anything", ""): None,
}


@pytest.mark.parametrize(("resource", "device"), TABLE)
def test_an_id_is_placed_as_its_plugin_spells_it_or_not_at_all(resource: str, device: str) -> None:
    assert place(resource, device, CARDS) == Placed(TABLE[resource, device])


@pytest.mark.parametrize(
    ("resource", "device"),
    [
        ("nvidia.com/gpu", f"{GPU}-3"),  # HAMi
        ("aliyun.com/gpu-mem", f"{GPU}-_-17"),
        ("tencent.com/vcuda-core", "0-12"),
        ("volcano.sh/vgpu-number", f"{GPU}-1"),
        ("tke.cloud.tencent.com/qgpu-core", "0"),
        ("cambricon.com/mlu370.smlu.vcore", f"{MLU}-_-1"),
        ("metax-tech.com/sgpu", "GPU-mx-uuid"),
        ("elasticgpu.io/gpu-memory", GPU),
    ],
)  # fmt: skip
def test_an_id_the_sharing_system_does_not_go_by_is_never_a_card(resource: str, device: str) -> None:
    assert place(resource, device, CARDS) == Placed(None, placeholder=True)


def test_every_row_says_where_it_is_from() -> None:
    assert all(row.source and row.resource for row in CONVENTIONS)
    assert all(glob and source for glob, source in PLACEHOLDERS)


def test_cards_are_what_the_makers_stated() -> None:
    book = FactBook()
    attributes = {
        "vendor": "amd",
        "minor": 1,
        "device_node": "/dev/dri/card1",
        "pci_address": "0000:c1:00.0",
        "index": 0,
    }
    book.put("amd", Facts(Family.CARD, "A", 1.0, attributes))
    book.put("amd", Facts(Family.SLICE, "A/xcp0", 1.0, {"card_id": "A", "uuid": "U"}))
    book.put("amd", Facts(Family.CARD, "B", 1.0, {"vendor": "amd", "minor": None, "device_node": None}))
    cards = Cards.of(book)
    assert (cards.by_node(1, "amd"), cards.by_index(0, "amd"), cards.named("u")) == ("A", "A", "A/xcp0")
    assert cards.is_cut("A") and not cards.is_cut("B")
    assert cards == Cards.of(book) and bool(cards) and not Cards()


def test_two_cards_of_one_name_are_neither() -> None:
    assert Cards.made([Card("a", serial="S"), Card("b", serial="s")]).named("S") is None


def test_render_nodes_lead_to_their_cards(tmp_path: Path) -> None:
    drm = tmp_path / "class/drm"
    link(drm / "renderD129/device", "../../../devices/pci0000:c0/0000:c1:00.0")
    link(drm / "renderD200/device", "../../../devices/platform/amdgpu_xcp_0")
    link(drm / "card0/device", "../../../devices/pci0000:c0/0000:c1:00.0")
    assert render_nodes(tmp_path) == {129: "0000:c1:00.0"}
    assert render_nodes(tmp_path / "absent") == {}


@given(st.text(max_size=80), st.text(max_size=80))
def test_no_id_breaks_it(resource: str, device: str) -> None:
    placed = place(resource, device, CARDS).subject
    assert placed is None or placed in {c.card_id for c in CARDS.cards} | {p.slice_id for p in CARDS.parts}
