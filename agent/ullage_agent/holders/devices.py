"""A device plugin's device id to our card or slice: one table, one row a convention.

First what names itself (a UUID, a serial number, a PCI address), then what the maker's own plugin numbers by
something its driver numbers too (a device node, a physical id). Nothing is placed by the order of a list.

With most card-sharing systems the kubelet's ids are placeholders: it picks any of them, and the plugin goes by
an annotation of the pod. Such an id is never placed, however much it looks like a card's; ``placeholder`` says so.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Final

from ullage_agent.holders.cards import Cards

UNPLACED: Final = "?"
"""What stands in a list of cards for a device nobody can place."""


@dataclass(frozen=True, slots=True)
class Placed:
    """subject: card_id or slice_id; None when it is not known. placeholder: the id says nothing, an annotation does."""

    subject: str | None
    placeholder: bool = False


@dataclass(frozen=True, slots=True)
class Convention:
    """How one plugin spells its ids.

    resource: glob over the resource name, lower case. pattern: the whole id. find: the groups to a subject.
    source: where the spelling is from.
    """

    resource: str
    pattern: re.Pattern[str]
    find: Callable[[Cards, re.Match[str]], str | None]
    source: str


def _row(
    resource: str, pattern: str, find: Callable[[Cards, re.Match[str]], str | None], source: str
) -> Convention:
    return Convention(resource, re.compile(pattern, re.IGNORECASE), find, source)


def _vnpu(cards: Cards, match: re.Match[str]) -> str | None:
    card = cards.by_node(int(match["card"]), "ascend")
    return cards.part(card, match["part"]) if card else None


def _old_mig(cards: Cards, match: re.Match[str]) -> str | None:
    card = cards.named(match["card"])
    return cards.part(card, f"gi{match['gi']}-ci{match['ci']}") if card else None


def _node(vendor: str) -> Callable[[Cards, re.Match[str]], str | None]:
    return lambda cards, match: cards.by_node(int(match["n"]), vendor)


def _index(vendor: str) -> Callable[[Cards, re.Match[str]], str | None]:
    return lambda cards, match: cards.by_index(int(match["n"]), vendor)


def _minor(vendor: str) -> Callable[[Cards, re.Match[str]], str | None]:
    return lambda cards, match: cards.numbered(int(match["n"]), vendor)


def _named(cards: Cards, match: re.Match[str]) -> str | None:
    return cards.named(match["name"])


CONVENTIONS: Final[tuple[Convention, ...]] = (
    _row("nvidia.com/*", r"(?P<name>.+)::\d+", _named, "NVIDIA/k8s-device-plugin: replicas are UUID::n"),
    _row(
        "nvidia.com/*",
        r"MIG-(?P<card>GPU-[^/]+)/(?P<gi>\d+)/(?P<ci>\d+)",
        _old_mig,
        "NVIDIA MIG user guide: names of drivers before R470",
    ),
    _row("gpu.nvidia.com", r"gpu-(?P<n>\d+)", _minor("nvidia"), "NVIDIA DRA driver: gpu-<minor>"),
    _row("huawei.com/*", r"(?:ascend\w+|npu)-(?P<n>\d+)", _node("ascend"), "ascend-device-plugin: type-<physical id>"),
    _row(
        "huawei.com/*",
        r"ascend\w+-[\w.]*\d+c[\w.]*-(?P<part>\d+)-(?P<card>\d+)",
        _vnpu,
        "ascend-device-plugin: type-template-<vNPU id>-<physical id>",
    ),
    _row("cambricon.com/*", r"(?P<name>.+?)(?:-_-|--fake--)\d+", _named, "cambricon-k8s-device-plugin: env-share, SR-IOV"),
    _row("cambricon.com/*", r"mlu-?(?P<n>\d+)", _index("cambricon"), "cambricon-k8s-device-plugin: slot"),
    _row("amd.com/*", r"card(?P<n>\d+)", _node("amd"), "ROCm/k8s-device-plugin: names of DRM cards"),
    _row("gpu.amd.com", r"gpu-(?P<n>\d+)(?:-\d+)?", _node("amd"), "ROCm/k8s-gpu-dra-driver: gpu-<card>-<render>"),
    _row("hygon.com/*", r"(?:card|dcu-?)(?P<n>\d+)", _node("hygon"), "dcu-device-plugin: names of DRM cards"),
    _row("gpu.intel.com/*", r"card(?P<n>\d+)(?:-\d+)?", _node("intel"), "intel-device-plugins: cardN-<share>"),
    _row("npu.intel.com/*", r"accel(?P<n>\d+)(?:-\d+)?", _node("intel-npu"), "intel-device-plugins: accelN-<share>"),
    _row("habana.ai/*", r"(?:accel)?(?P<n>\d+)", _index("gaudi"), "habanalabs-k8s-device-plugin: index where no serial"),
    _row("aws.amazon.com/neuron*", r"neuron-?(?P<n>\d+)", _node("neuron"), "AWS Neuron device plugin: /dev/neuronN"),
    _row("aws.amazon.com/neuron", r"(?P<n>\d+)", _node("neuron"), "AWS Neuron device plugin: /dev/neuronN"),
    _row("aws.amazon.com/neurondevice", r"(?P<n>\d+)", _node("neuron"), "AWS Neuron device plugin: /dev/neuronN"),
    _row("google.com/tpu", r"(?:accel)?(?P<n>\d+)", _index("tpu"), "GKE TPU device plugin: the chip's index"),
    _row("rebellions.ai/*", r"rbln(?P<n>\d+)", _node("rebellions"), "rbln-k8s-device-plugin: /dev/rblnN"),
    _row("kunlunxin.com/*", r"(?:xpu-?)?(?P<n>\d+)", _node("kunlunxin"), "Kunlunxin device plugin: /dev/xpuN"),
    _row("enflame.com/*", r"(?:gcu-?)?(?P<n>\d+)", _index("enflame"), "Enflame device plugin: the card's index"),
    _row("tenstorrent.com/*", r"(?:tenstorrent-?)?(?P<n>\d+)", _node("tenstorrent"), "tt-k8s-device-plugin: /dev/tenstorrent/N"),
    _row("birentech.com/*", r"card_?(?P<n>\d+)", _node("biren"), "Biren device plugin: /dev/biren/card_N"),
)  # fmt: skip
"""Rows of one resource are tried in order. A pattern matches the whole id."""

PLACEHOLDERS: Final[tuple[tuple[str, str], ...]] = (
    ("aliyun.com/gpu-mem", "gpushare: ALIYUN_COM_GPU_MEM_IDX"),
    ("aliyun.com/gpu-core*", "cGPU: the scheduler's annotation"),
    ("tencent.com/vcuda-*", "GPU Manager: tencent.com/predicate-gpu-idx-*"),
    ("tke.cloud.tencent.com/qgpu-*", "qGPU: tke.cloud.tencent.com/*-gpu-idx"),
    ("elasticgpu.io/*", "elastic-gpu: elasticgpu.io/container-*"),
    ("volcano.sh/vgpu-*", "Volcano vGPU: volcano.sh/vgpu-ids-new"),
    ("koordinator.sh/*", "Koordinator: scheduling.koordinator.sh/device-allocated"),
    ("virtaitech.com/gpu", "OrionX: its own controller"),
    ("cambricon.com/vmlu", "HAMi"),
    ("cambricon.com/*.smlu.*", "Cambricon dynamic sMLU: CAMBRICON_DSMLU_*"),
    ("hygon.com/dcunum", "HAMi"),
    ("mthreads.com/vgpu", "HAMi"),
    ("iluvatar.ai/vcuda-core", "HAMi"),
    ("iluvatar.ai/*-vgpu", "HAMi"),
    ("enflame.com/vgcu", "HAMi"),
    ("kunlunxin.com/vxpu", "HAMi"),
    ("metax-tech.com/sgpu", "HAMi and MetaX: the scheduler's annotation"),
)
"""Resources whose kubelet ids say nothing, and where the truth stands instead. Names from each one's documentation."""

_HAMI: Final = re.compile(
    r"(?:gpu|mlu|dcu|npu)-[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}-\d+", re.IGNORECASE
)
"""HAMi's plugin for NVIDIA hands out <uuid>-<n> under nvidia.com/gpu and goes by hami.io/vgpu-devices-to-allocate
(Project-HAMi/HAMi, its plugin's Allocate); ids of MIG devices it takes as they are."""


def place(resource: str, device: str, cards: Cards) -> Placed:
    """The card or slice of one device id.

    resource: the resource's name, or a DRA driver's. A name that says which card it is (UUID, serial number, PCI
    address, our own id) needs no convention.
    """
    name = resource.lower()
    if any(fnmatchcase(name, glob) for glob, _ in PLACEHOLDERS) or _HAMI.fullmatch(device):
        return Placed(None, placeholder=True)
    found = cards.named(device) or cards.at(device)
    if found is not None:
        return Placed(found)
    for row in CONVENTIONS:
        if fnmatchcase(name, row.resource):
            match = row.pattern.fullmatch(device)
            if match is not None and (found := row.find(cards, match)) is not None:
                return Placed(found)
    return Placed(None)
