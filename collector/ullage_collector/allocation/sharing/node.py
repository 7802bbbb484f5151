"""What a node says of its cards: sharing systems' registers in its annotations, makers' labels and capacities. Pure.

A register lists devices; labels and capacities speak of all cards of a maker alike (``device`` None). What is not
said stays None. Not here: which of our cards a device is, and what pods hold.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from ullage_collector.allocation.sharing import node_labels
from ullage_collector.allocation.sharing.device_id import device_of
from ullage_collector.allocation.sharing.facts import Annotation, annotation_facts
from ullage_collector.allocation.sharing.share import NodeDevice, bad, mapping, texts
from ullage_collector.allocation.sharing.written import json_of, rows, table, whole, word
from ullage_contract.errors import BadInput

_MIB: Final = 1 << 20
_GIB: Final = 1 << 30
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
    yield node_labels.gke(labels)
    yield node_labels.nvidia(labels)
    yield node_labels.nvidia_instances(labels)
    yield node_labels.amd(labels)
    yield node_labels.intel(labels, capacity)
    yield node_labels.hygon(labels)
    yield node_labels.aliyun(labels)
    yield node_labels.parts(
        capacity, "gcushare", "enflame", "enflame.com/shared-gcu", "enflame.com/gcu-count"
    )
    yield node_labels.parts(
        capacity, "device-plugin", "neuron", "aws.amazon.com/neuroncore", "aws.amazon.com/neuron"
    )
    for name in capacity:
        if re.fullmatch(r"cambricon\.com/mlu[0-9]*\.share", name):
            yield node_labels.parts(capacity, "env-share", "cambricon", name, "cambricon.com/real-mlu-counts")


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
