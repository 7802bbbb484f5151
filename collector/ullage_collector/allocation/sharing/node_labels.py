"""What makers' labels and a node's capacities say of all its cards of a maker alike. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from ullage_collector.allocation.sharing.quantity import quantity
from ullage_collector.allocation.sharing.share import NodeDevice, bad
from ullage_collector.allocation.sharing.written import whole

_MIB: Final = 1 << 20
_GIB: Final = 1 << 30
_MIG_PRODUCT: Final = re.compile(r"(?P<model>.+?)-MIG-(?P<profile>[0-9c.]*[0-9]+g\.[0-9]+gb[.a-z]*)")
OF_INSTANCES: Final = "shared"
"""The mode of rows that speak of MIG instances' replicas, not of cards."""


def gke(labels: Mapping[str, str]) -> Iterator[NodeDevice]:
    """GKE's own GPU sharing: nvidia.com/gpu keeps its name, only these labels say what one is."""
    partition = labels.get("cloud.google.com/gke-gpu-partition-size")
    strategy = labels.get("cloud.google.com/gke-gpu-sharing-strategy")
    if partition or strategy:
        yield NodeDevice(
            system="mig" if partition else "device-plugin",
            vendor="nvidia",
            device=None,
            replicas=_number(labels, "cloud.google.com/gke-max-shared-clients-per-gpu"),
            model=labels.get("cloud.google.com/gke-accelerator"),
            profile=partition,
            mode="time-slicing" if strategy == "time-sharing" else strategy,
        )


def nvidia(labels: Mapping[str, str]) -> Iterator[NodeDevice]:
    """GPU feature discovery's labels: one row; under strategy single it is of MIG instances, not of cards."""
    product = labels.get("nvidia.com/gpu.product")
    if product is None and "nvidia.com/gpu.count" not in labels:
        return
    model = (product or "").removesuffix("-SHARED") or None
    instance = _MIG_PRODUCT.fullmatch(model or "")
    memory = _number(labels, "nvidia.com/gpu.memory")
    strategy = labels.get("nvidia.com/gpu.sharing-strategy", "none")
    replicas = _number(labels, "nvidia.com/gpu.replicas")
    if product and product.endswith("-SHARED") and strategy == "none":
        strategy = "time-slicing"  # releases without the label knew no other
    yield NodeDevice(
        system="mig" if instance else "device-plugin",
        vendor="nvidia",
        device=None,
        cards=None if instance else _number(labels, "nvidia.com/gpu.count"),
        memory_bytes=None if instance or not memory else memory * _MIB,
        replicas=replicas if replicas and replicas > 1 else None,
        model=instance["model"] if instance else model,
        profile=instance["profile"] if instance else None,
        mode=None if strategy == "none" else strategy,
    )


def nvidia_instances(labels: Mapping[str, str]) -> Iterator[NodeDevice]:
    """Strategy mixed: replicas of instances, a row for each profile that is shared."""
    for name in labels:
        if match := re.fullmatch(r"nvidia\.com/mig-([0-9c.]*[0-9]+g\.[0-9]+gb[.a-z]*?)\.replicas", name):
            replicas = _number(labels, name)
            if replicas and replicas > 1:
                yield NodeDevice(
                    system="mig",
                    vendor="nvidia",
                    device=None,
                    replicas=replicas,
                    profile=match[1],
                    mode=OF_INSTANCES,
                )


def amd(labels: Mapping[str, str]) -> Iterator[NodeDevice]:
    partition = labels.get("amd.com/compute-memory-partition")
    model, vram = labels.get("amd.com/gpu.product-name"), labels.get("amd.com/gpu.vram")
    if partition or model or vram:
        yield NodeDevice(
            system="partition" if partition else "device-plugin",
            vendor="amd",
            device=None,
            memory_bytes=_gib(vram, "amd.com/gpu.vram"),
            model=model,
            profile=partition,
        )


def intel(labels: Mapping[str, str], capacity: Mapping[str, Any]) -> Iterator[NodeDevice]:
    cards = len([c for c in labels.get("gpu.intel.com/cards", "").split(".") if c])
    if not cards:
        return
    total = _number(labels, "gpu.intel.com/memory.max")
    handed = sum(
        int(quantity(capacity[name], system="device-plugin", where=name))
        for name in ("gpu.intel.com/i915", "gpu.intel.com/xe")
        if name in capacity
    )
    yield NodeDevice(
        system="device-plugin",
        vendor="intel",
        device=None,
        cards=cards,
        memory_bytes=total // cards if total else None,
        replicas=handed // cards if handed > cards else None,
        mode="shared-dev-num" if handed > cards else None,
    )


def hygon(labels: Mapping[str, str]) -> Iterator[NodeDevice]:
    if any(name in labels for name in ("hygon.com/dcu.name", "hygon.com/dcu.cu-count", "hygon.com/dcu.vram")):
        yield NodeDevice(
            system="device-plugin",
            vendor="hygon",
            device=None,
            memory_bytes=_gib(labels.get("hygon.com/dcu.vram"), "hygon.com/dcu.vram"),
            cores_total=_number(labels, "hygon.com/dcu.cu-count"),
            model=labels.get("hygon.com/dcu.name"),
        )


def aliyun(labels: Mapping[str, str]) -> Iterator[NodeDevice]:
    count = _number(labels, "aliyun.accelerator/nvidia_count")
    if count is not None:
        written = labels.get("aliyun.accelerator/nvidia_mem", "")
        match = re.fullmatch(r"([0-9]{1,9}) ?(MiB|GiB)", written.strip())
        yield NodeDevice(
            system="gpushare",
            vendor="nvidia",
            device=None,
            cards=count,
            memory_bytes=int(match[1]) * (_MIB if match[2] == "MiB" else _GIB) if match else None,
            model=labels.get("aliyun.accelerator/nvidia_name"),
        )


def parts(
    capacity: Mapping[str, Any], system: str, vendor: str, many: str, cards: str
) -> Iterator[NodeDevice]:
    """Into how many parts each card is handed out, from two capacities of the node."""
    if many not in capacity or cards not in capacity:
        return
    parts = int(quantity(capacity[many], system=system, where=many))
    whole_cards = int(quantity(capacity[cards], system=system, where=cards))
    if whole_cards and parts >= whole_cards:
        yield NodeDevice(
            system=system, vendor=vendor, device=None, cards=whole_cards, replicas=parts // whole_cards
        )


def _number(labels: Mapping[str, str], name: str) -> int | None:
    return whole("device-plugin", name, labels[name]) if name in labels else None


def _gib(text: str | None, name: str) -> int | None:
    """Memory in whole GiB as the labellers write it: 192G, 64GiB."""
    if text is None:
        return None
    match = re.fullmatch(r"([0-9]{1,9}) ?G(?:i|B|iB)?", text.strip())
    if match is None:
        raise bad("device-plugin", name, text, "not an amount of GiB")
    return int(match[1]) * _GIB
