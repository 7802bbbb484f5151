"""What a node says of its cards: sharing systems' registers in its annotations, makers' labels and capacities. Pure.

A register lists devices; labels and capacities speak of all cards of a maker alike (``device`` None). What is not
said stays None. Not here: which of our cards a device is, and what pods hold.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from ullage_collector.allocation.sharing.device_id import device_of
from ullage_collector.allocation.sharing.facts import Annotation, annotation_facts
from ullage_collector.allocation.sharing.quantity import quantity
from ullage_collector.allocation.sharing.share import NodeDevice, bad, mapping, texts
from ullage_collector.allocation.sharing.written import json_of, rows, table, whole, word
from ullage_contract.errors import BadInput

_MIB: Final = 1 << 20
_GIB: Final = 1 << 30
_MIG_PRODUCT: Final = re.compile(r"(?P<model>.+?)-MIG-(?P<profile>[0-9c.]*[0-9]+g\.[0-9]+gb[.a-z]*)")
_OF_INSTANCES: Final = "shared"  # the mode of rows that speak of instances' replicas, not of cards
_TRUE: Final = ("true", "1", "t", "True", "TRUE", "T")


def on_node(node: Mapping[str, Any]) -> list[NodeDevice]:
    """Every device and every maker's row a node states; registers first, in the table's order.

    Raises BadInput naming system, annotation or label, and value: one malformed makes the node's word worthless.
    """
    return [device for read in _readers(node) for device in read]


def stated(node: Mapping[str, Any] | None) -> list[NodeDevice]:
    """As ``on_node``, but what is malformed is left out: a pod's reader then knows less, ``on_node`` says why."""
    found: list[NodeDevice] = []
    for read in _readers(node or {}):
        try:
            found.extend(read)
        except BadInput:
            continue
    return found


def _readers(node: Mapping[str, Any]) -> Iterator[Iterator[NodeDevice]]:
    metadata, status = mapping(node.get("metadata")), mapping(node.get("status"))
    labels, notes = texts(metadata.get("labels")), texts(metadata.get("annotations"))
    capacity = {**mapping(status.get("capacity")), **mapping(status.get("allocatable"))}
    for row in annotation_facts():
        if row.where == "node annotation" and row.seen is None and row.key in notes:
            if row.form == "register":
                yield _register(row, notes[row.key])
            elif row.system == "sgpu":
                yield _metax(notes[row.key])
            elif row.system == "drs":
                yield _enflame_drs(notes[row.key])
    yield _nvidia(labels)
    yield _nvidia_instances(labels)
    yield _amd(labels)
    yield _intel(labels, capacity)
    yield _hygon(labels)
    yield _aliyun(labels)
    yield _parts(capacity, "gcushare", "enflame", "enflame.com/shared-gcu", "enflame.com/gcu-count")
    yield _parts(capacity, "device-plugin", "neuron", "aws.amazon.com/neuroncore", "aws.amazon.com/neuron")
    for name in capacity:
        if re.fullmatch(r"cambricon\.com/mlu[0-9]*\.share", name):
            yield _parts(capacity, "env-share", "cambricon", name, "cambricon.com/real-mlu-counts")


def _register(row: Annotation, text: str) -> Iterator[NodeDevice]:
    """HAMi's and Volcano's register: a device between colons, or a JSON list (pkg/device/devices.go)."""
    if text.lstrip().startswith("["):
        for item in rows(row.system, row.key, json_of(row.system, row.key, text)):
            fields = table(row.system, row.key, item)
            yield _device(
                row,
                fields.get("id"),
                fields.get("count", 0),
                fields.get("devmem", 0),
                fields.get("devcore", 0),
                fields.get("type"),
                fields.get("mode"),
                fields.get("health") is True,
                fields.get("index", 0),
            )
        return
    for segment in text.split(":"):
        items = [item.strip() for item in segment.split(",")]
        if items == [""]:
            continue
        if len(items) in (5, 6):  # Volcano: uuid,count,memory,type,health[,mode]
            mode = items[5] if len(items) == 6 else None
            yield _device(row, items[0], items[1], items[2], 0, items[3], mode, items[4] in _TRUE, None)
        elif len(items) in (7, 9):
            index, mode = (items[7], items[8]) if len(items) == 9 else (None, None)
            yield _device(
                row, items[0], items[1], items[2], items[3], items[4], mode, items[6] in _TRUE, index
            )
        else:
            raise bad(row.system, row.key, segment, "not 5, 6, 7 or 9 fields a device")


def _device(
    row: Annotation,
    device: object,
    count: object,
    memory: object,
    cores: object,
    model: object,
    mode: object,
    healthy: bool,
    index: object,
) -> NodeDevice:
    name = word(row.system, row.key, device)
    total, most = whole(row.system, row.key, memory), whole(row.system, row.key, cores)
    parsed = device_of(name)
    return NodeDevice(
        system=row.system,
        vendor=row.vendor,
        device=name,
        id_kind=parsed.kind,
        index=parsed.index if index is None else whole(row.system, row.key, index),
        cards=1,
        memory_bytes=total * _MIB or None,
        cores_total=most or None,
        replicas=whole(row.system, row.key, count) or None,
        model=model if isinstance(model, str) and model else None,
        mode=mode if isinstance(mode, str) and mode else None,
        healthy=healthy,
    )


def _metax(text: str) -> Iterator[NodeDevice]:
    key = "metax-tech.com/node-gpu-devices"
    for item in rows("sgpu", key, json_of("sgpu", key, text)):
        fields = table("sgpu", key, item)
        name = word("sgpu", key, fields.get("uuid"))
        model = fields.get("model")
        yield NodeDevice(
            system="sgpu",
            vendor="metax",
            device=name,
            id_kind=device_of(name).kind,
            cards=1,
            memory_bytes=whole("sgpu", key, fields.get("totalVRam", 0)) * _MIB or None,
            cores_total=whole("sgpu", key, fields.get("totalCompute", 0)) or None,
            replicas=whole("sgpu", key, fields.get("totalDevCount", 0)) or None,
            model=model if isinstance(model, str) else None,
            mode="sgpu",
            healthy=fields.get("healthy") is True,
        )


def _enflame_drs(text: str) -> Iterator[NodeDevice]:
    key = "enflame.com/gcu-drs-capacity"
    document = table("drs", key, json_of("drs", key, text))
    profiles = [p for p in table("drs", key, document.get("profiles", {})) if re.fullmatch(r"\d+g\.\d+gb", p)]
    largest = max(
        (int(p.split(".")[1][:-2]) for p in profiles), default=0
    )  # the whole card's profile: 6g.40gb
    for item in rows("drs", key, document.get("devices", [])):
        fields = table("drs", key, item)
        index = whole("drs", key, fields.get("index"))
        yield NodeDevice(
            system="drs",
            vendor="enflame",
            device=str(index),
            id_kind=device_of(str(index)).kind,
            index=index,
            cards=1,
            memory_bytes=largest * _GIB or None,
            replicas=whole("drs", key, fields.get("capacity", 0)) or None,
            mode="drs",
        )


def _nvidia(labels: Mapping[str, str]) -> Iterator[NodeDevice]:
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


def _nvidia_instances(labels: Mapping[str, str]) -> Iterator[NodeDevice]:
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
                    mode=_OF_INSTANCES,
                )


def _amd(labels: Mapping[str, str]) -> Iterator[NodeDevice]:
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


def _intel(labels: Mapping[str, str], capacity: Mapping[str, Any]) -> Iterator[NodeDevice]:
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


def _hygon(labels: Mapping[str, str]) -> Iterator[NodeDevice]:
    if any(name in labels for name in ("hygon.com/dcu.name", "hygon.com/dcu.cu-count", "hygon.com/dcu.vram")):
        yield NodeDevice(
            system="device-plugin",
            vendor="hygon",
            device=None,
            memory_bytes=_gib(labels.get("hygon.com/dcu.vram"), "hygon.com/dcu.vram"),
            cores_total=_number(labels, "hygon.com/dcu.cu-count"),
            model=labels.get("hygon.com/dcu.name"),
        )


def _aliyun(labels: Mapping[str, str]) -> Iterator[NodeDevice]:
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


def _parts(
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


class Ground:
    """What is known of the cards of the node a pod lies on. Without a node nothing is."""

    __slots__ = ("devices", "total")

    def __init__(self, node: Mapping[str, Any] | None, card_memory_bytes: int | None) -> None:
        """card_memory_bytes: of each card, as our own agent reads it; it wins over what the node says."""
        self.devices = stated(node)
        self.total = card_memory_bytes

    def row(self, vendor: str | None, system: str | None = None) -> NodeDevice:
        """The maker's row of the node; one that states nothing where there is none."""
        for device in self.devices:
            alike = device.device is None and device.vendor == vendor and system in (None, device.system)
            if alike and device.mode != _OF_INSTANCES:
                return device
        return NodeDevice(system or "", vendor, None)

    def device(self, vendor: str | None, device: str, index: int | None) -> NodeDevice:
        """The register's device of that id, or of that index; else the maker's row."""
        own = [d for d in self.devices if d.device is not None and d.vendor == vendor]
        for found in own:
            if found.device == device:
                return found
        for found in own:
            if index is not None and found.index == index:
                return found
        return self.row(vendor)

    def memory(self, vendor: str | None, device: str | None = None, index: int | None = None) -> int | None:
        """Memory of a card in bytes: the caller's, the device's, or that of all the maker's cards where alike."""
        if self.total is not None:
            return self.total
        if device is not None:
            found = self.device(vendor, device, index).memory_bytes
            if found:
                return found
        sizes = {d.memory_bytes for d in self.devices if d.vendor == vendor and d.memory_bytes}
        return sizes.pop() if len(sizes) == 1 else None
