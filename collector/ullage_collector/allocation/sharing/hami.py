"""HAMi and Volcano vGPU: ``uuid,type,memory,cores`` a device, written onto the pod for every maker alike. Pure.

Text: devices between colons, containers between semicolons (HAMi pkg/device/devices.go, read 2026-11-21). Newer
releases count init containers first, older ones and Volcano the ordinary ones alone. Cores of 0 are no limit.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Final

from ullage_collector.allocation.sharing.device_id import device_of
from ullage_collector.allocation.sharing.facts import Annotation, annotation_facts
from ullage_collector.allocation.sharing.ground import Ground
from ullage_collector.allocation.sharing.pod import Pod
from ullage_collector.allocation.sharing.profiles import piece
from ullage_collector.allocation.sharing.share import Asked, Assigned, bad, memory_share, nano
from ullage_collector.allocation.sharing.written import json_of, rows, table, whole, word

_MIB: Final = 1 << 20
_MIG: Final = "hami.io/vgpu-mig-allocations"


@dataclass(frozen=True, slots=True)
class _Instance:
    """What a second annotation says of one device: its MIG profile, its instance's id, its vNPU template."""

    profile: str | None = None
    slice_id: str | None = None
    memory_mib: int | None = None
    cores: int | None = None


def allocated(pod: Pod, ground: Ground, wanted: list[Asked]) -> list[Assigned]:
    """Every device of every maker that HAMi or Volcano vGPU handed to the pod."""
    found: list[Assigned] = []
    for row in annotation_facts():
        if row.form == "hami" and row.seen is None and row.key in pod.annotations:
            found.extend(_devices(row, pod, ground))
    return found


def _devices(row: Annotation, pod: Pod, ground: Ground) -> list[Assigned]:
    segments = pod.annotations[row.key].split(";")
    if len(segments) > 1 and not segments[-1].strip():
        segments.pop()
    names = _containers(len(segments), pod)
    instances = _instances(row, pod)
    templates = _templates(row, pod)
    found: list[Assigned] = []
    for place, segment in enumerate(segments):
        devices = [text for text in segment.split(":") if text.strip()]
        for number, text in enumerate(devices):
            instance = instances.get((place, number)) or next(templates, None)
            found.append(_device(row, names[place], text, instance, ground))
    return found


def _containers(segments: int, pod: Pod) -> Sequence[str | None]:
    """Whose each segment is; None where the count fits neither way of counting."""
    every = [container.name for container in pod.containers]
    ordinary = [container.name for container in pod.ordinary]
    if segments == len(every):
        return every
    return ordinary if segments == len(ordinary) else [None] * segments


def _device(
    row: Annotation, container: str | None, text: str, instance: _Instance | None, ground: Ground
) -> Assigned:
    fields = [field.strip() for field in text.split(",")]
    if len(fields) < 4:
        raise bad(row.system, row.key, text, "not uuid,type,memory,cores")
    device = word(row.system, row.key, fields[0])
    memory, cores = whole(row.system, row.key, fields[2]), whole(row.system, row.key, fields[3])
    parsed = device_of(device)
    share = None if row.core is None or not cores else cores * row.core
    memory_bytes, memory_nano = memory * _MIB or None, None
    if row.cores == "node" and cores:
        whole_card = ground.device(row.vendor, parsed.device, parsed.index).cores_total
        share = Fraction(cores, whole_card) if whole_card else None
    if row.memory == "unused":
        share, memory_bytes, memory_nano = Fraction(1), None, nano(Fraction(1))
    elif row.memory == "MiB or 1/100" and 0 < memory <= 100:
        # Releases before hard partitions wrote per cent; no partition is as small as 100 MiB.
        memory_bytes, memory_nano = None, nano(Fraction(memory, 100))
    profile = slice_id = None
    if instance is not None:
        profile, slice_id = instance.profile, instance.slice_id
        kind = "vNPU" if row.vendor == "ascend" else "MIG"
        model = fields[1] if row.vendor == "ascend" else ground.device(row.vendor, device, None).model
        if profile:
            total = ground.memory(row.vendor, parsed.device, parsed.index)
            part = piece(kind, profile, model, total_bytes=total)
            share = part.compute
            memory_nano = nano(part.memory)
            memory_bytes = memory_bytes or part.memory_bytes
        if instance.cores:
            share = Fraction(instance.cores, 100)
        if instance.memory_mib:
            memory_bytes = instance.memory_mib * _MIB
    if memory_nano is None:
        memory_nano = memory_share(memory_bytes, ground.memory(row.vendor, parsed.device, parsed.index))
    return Assigned(
        system=row.system,
        vendor=row.vendor,
        container=container,
        device=parsed.device,
        id_kind=parsed.kind,
        index=parsed.index,
        slice_id=slice_id or parsed.slice_id,
        profile=profile or parsed.profile,
        compute_nano=nano(share),
        memory_bytes=memory_bytes,
        memory_nano=memory_nano,
    )


def _instances(row: Annotation, pod: Pod) -> Mapping[tuple[int, int], _Instance]:
    """MIG instances by container and device place (HAMi pkg/device/nvidia/mig_allocations.go)."""
    if row.key != "hami.io/vgpu-devices-allocated" or not pod.annotations.get(_MIG):
        return {}
    found: dict[tuple[int, int], _Instance] = {}
    for item in rows("hami", _MIG, json_of("hami", _MIG, pod.annotations[_MIG])):
        fields = table("hami", _MIG, item)
        place = (
            whole("hami", _MIG, fields.get("containerIndex")),
            whole("hami", _MIG, fields.get("deviceIndex")),
        )
        found[place] = _Instance(word("hami", _MIG, fields.get("profile")), _text(fields, "migUUID"))
    return found


def _templates(row: Annotation, pod: Pod) -> Any:
    """What HAMi adds of Ascend devices, in the devices' order: vNPU templates, or memory and cores of soft slices."""
    if row.vendor != "ascend":
        return iter(())
    key = row.key.replace("hami.io/", "huawei.com/").removesuffix("-devices-allocated")
    text = pod.annotations.get(key, "")
    if not text.lstrip().startswith("["):  # mind-cluster writes device names under the same key
        return iter(())
    found: list[_Instance] = []
    for item in rows("hami", key, json_of("hami", key, text)):
        fields = table("hami", key, item)
        found.append(
            _Instance(
                profile=_text(fields, "temp"),
                memory_mib=whole("hami", key, fields.get("memory", 0)) or None,
                cores=whole("hami", key, fields.get("core", 0)) or None,
            )
        )
    return iter(found)


def _text(fields: Mapping[str, Any], key: str) -> str | None:
    value = fields.get(key)
    return value if isinstance(value, str) and value else None
