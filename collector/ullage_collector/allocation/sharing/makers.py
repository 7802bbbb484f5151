"""What makers' own plugins and schedulers write onto a pod: Ascend, Cambricon, MetaX, Enflame, Moore Threads, Intel. Pure.

Under HAMi the same annotations come beside HAMi's own, which then win (assign.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from typing import Any, Final

from ullage_collector.allocation.sharing.device_id import device_of
from ullage_collector.allocation.sharing.ground import Ground
from ullage_collector.allocation.sharing.pod import Pod
from ullage_collector.allocation.sharing.profiles import piece
from ullage_collector.allocation.sharing.share import Asked, Assigned, IdKind, bad, nano
from ullage_collector.allocation.sharing.tencent import on_cards
from ullage_collector.allocation.sharing.written import indices, json_of, rows, table, whole, word

_ASCEND_REAL: Final = "huawei.com/AscendReal"
_ASCEND_CORE: Final = "huawei.com/npu-core"
_ASCEND_NAMES: Final = (
    "huawei.com/npu",
    "huawei.com/Ascend910",
    "huawei.com/Ascend310P",
    "huawei.com/Ascend310",
)
_SMLU: Final = "CAMBRICON_DSMLU_PROFILE"
_SMLU_INSTANCE: Final = "CAMBRICON_DSMLU_PROFILE_INSTANCE"
_METAX: Final = "metax-tech.com/gpu-devices-allocated"
_ENFLAME: Final = "assigned-containers"
_ENFLAME_CARDS: Final = (
    "enflame.com/gcu-assigned-minor",
    "enflame.com/gcu-assigned-index",
    "enflame.com/gcu-assigned-id",
)
_MTHREADS: Final = "mthreads.com/gpu-index"
_GAS: Final = "gas-container-cards"
_MIB: Final = 1 << 20


def ascend(pod: Pod, ground: Ground, wanted: list[Asked]) -> list[Assigned]:
    """mind-cluster: the chips or vNPUs mounted, else those the scheduler chose."""
    rows_wanted = [row for row in wanted if row.vendor == "ascend"]
    names = {row.container for row in rows_wanted}
    container = next(iter(names)) if len(names) == 1 else None
    want = rows_wanted[0] if len(rows_wanted) == 1 else None
    for key in (_ASCEND_REAL, *_ASCEND_NAMES):
        text = pod.annotations.get(key, "").strip()
        if text and not text.startswith("["):
            return [_chip(key, name, container, want, ground) for name in text.replace(",", " ").split()]
    text = pod.annotations.get(_ASCEND_CORE, "").strip()
    if not text:
        return []
    chip, mark, template = text.partition("-")
    if not mark:
        return _shared(
            on_cards("vnpu", container, indices("vnpu", _ASCEND_CORE, text), wanted, "ascend"), want
        )
    part = piece("vNPU", template, ground.row("ascend").model)
    return [
        Assigned(
            system="vnpu",
            vendor="ascend",
            container=container,
            device=chip,
            id_kind=IdKind.INDEX,
            index=whole("vnpu", _ASCEND_CORE, chip),
            profile=template,
            compute_nano=nano(part.compute)
            if part.compute is not None or want is None
            else want.compute_nano,
            memory_bytes=part.memory_bytes,
            memory_nano=nano(part.memory),
        )
    ]


def _chip(key: str, name: str, container: str | None, want: Asked | None, ground: Ground) -> Assigned:
    parsed = device_of(name)
    if parsed.kind is not IdKind.INDEX or not name.startswith("Ascend"):
        raise bad("vnpu", key, name, "not a chip's name; Ascend910-0 or Ascend310P-2c-100-0")
    row = Assigned(
        system="vnpu" if parsed.profile else (want.system if want else "device-plugin"),
        vendor="ascend",
        container=container,
        device=name,
        id_kind=IdKind.INDEX,
        index=parsed.index,
        slice_id=parsed.slice_id,
        profile=parsed.profile,
    )
    if parsed.profile is None:
        return _shared([row], want)[0]
    part = piece("vNPU", parsed.profile, name.partition("-")[0])
    return replace(
        row,
        compute_nano=nano(part.compute),
        memory_bytes=part.memory_bytes,
        memory_nano=nano(part.memory),
    )


def _shared(found: Sequence[Assigned], want: Asked | None) -> list[Assigned]:
    """Devices with the share of one that was asked for."""
    if want is None:
        return list(found)
    return [
        replace(
            row,
            compute_nano=want.compute_nano,
            memory_bytes=want.memory_bytes,
            memory_nano=want.memory_nano,
        )
        for row in found
    ]


def cambricon(pod: Pod, ground: Ground, wanted: list[Asked]) -> list[Assigned]:
    """Dynamic sMLU: slot_vcore_vmemory; one container of a pod can have one."""
    if _SMLU not in pod.annotations:
        return []
    slot, cores, memory = _three(_SMLU, pod.annotations[_SMLU])
    names = {row.container for row in wanted if row.vendor == "cambricon"}
    return [
        Assigned(
            system="smlu",
            vendor="cambricon",
            container=next(iter(names)) if len(names) == 1 else None,
            device=str(slot),
            id_kind=IdKind.INDEX,
            index=slot,
            compute_nano=nano(Fraction(cores, 100)) if cores else None,
            memory_bytes=memory * 256 * _MIB or None,
        )
    ]


def _three(key: str, text: str) -> tuple[int, int, int]:
    words = text.split("_")
    if len(words) != 3:
        raise bad("smlu", key, text, "not slot_vcore_vmemory")
    slot, cores, memory = (whole("smlu", key, item) for item in words)
    return slot, cores, memory


def instances(pod: Pod, found: list[Assigned]) -> list[Assigned]:
    """The rows with the instance's id that Cambricon's plugin adds once the slice is made."""
    text = pod.annotations.get(_SMLU_INSTANCE)
    own = [row for row in found if row.vendor == "cambricon"]
    if text is None or len(own) != 1:
        return found
    words = text.split("_")
    if len(words) != 4:
        raise bad("smlu", _SMLU_INSTANCE, text, "not profile_handle_slot_instance")
    slot, number = whole("smlu", _SMLU_INSTANCE, words[2]), whole("smlu", _SMLU_INSTANCE, words[3])
    added = replace(own[0], slice_id=str(number), index=slot if own[0].index is None else own[0].index)
    return [added if row is own[0] else row for row in found]


def metax(pod: Pod, ground: Ground, wanted: list[Asked]) -> list[Assigned]:
    """sGPU: a list of cards a container; compute of 0 is no limit (an online pod)."""
    if _METAX not in pod.annotations:
        return []
    document = rows("sgpu", _METAX, json_of("sgpu", _METAX, pod.annotations[_METAX]))
    every = [container.name for container in pod.containers]
    ordinary = [container.name for container in pod.ordinary]
    names = every if len(document) == len(every) else ordinary
    found: list[Assigned] = []
    for place, cards in enumerate(document):
        for item in rows("sgpu", _METAX, cards):
            fields = table("sgpu", _METAX, item)
            device = word("sgpu", _METAX, fields.get("uuid"))
            cores = whole("sgpu", _METAX, fields.get("compute", 0))
            parsed = device_of(device)
            found.append(
                Assigned(
                    system="sgpu",
                    vendor="metax",
                    container=names[place] if len(document) == len(names) else None,
                    device=parsed.device,
                    id_kind=parsed.kind,
                    index=parsed.index,
                    compute_nano=nano(Fraction(cores, 100)) if cores else None,
                    memory_bytes=whole("sgpu", _METAX, fields.get("vRam", 0)) * _MIB or None,
                )
            )
    return found


def enflame(pod: Pod, ground: Ground, wanted: list[Asked]) -> list[Assigned]:
    """gcushare and DRS: the pod's card, and of each container its parts of it or its profile and instance."""
    key = next((key for key in _ENFLAME_CARDS if pod.annotations.get(key)), None)
    if key is None:
        return []
    cards = indices("gcushare", key, pod.annotations[key])
    text = pod.annotations.get(_ENFLAME)
    holders = {row.container: row for row in wanted if row.vendor == "enflame"}
    if text is None:
        return [row for name, want in holders.items() for row in _gcu(cards, name, want, None, None)]
    document = table("gcushare", _ENFLAME, json_of("gcushare", _ENFLAME, text))
    found: list[Assigned] = []
    for name, item in document.items():
        fields = table("gcushare", _ENFLAME, item)
        found.extend(_gcu(cards, name, holders.get(name), fields.get("profileName"), _instance(fields)))
    return found


def _instance(fields: Any) -> str | None:
    value = fields.get("instanceUUID") or fields.get("instanceID")
    return value if isinstance(value, str) else None


def _gcu(
    cards: Sequence[int], container: str, want: Asked | None, profile: object, instance: str | None
) -> list[Assigned]:
    part = piece("DRS", profile, None) if isinstance(profile, str) and profile else None
    found = [
        Assigned(
            system=want.system if want else ("drs" if part else "gcushare"),
            vendor="enflame",
            container=container,
            device=str(card),
            id_kind=IdKind.INDEX,
            index=card,
            slice_id=instance,
        )
        for card in cards
    ]
    if part is None:
        return _shared(found, want)
    return [
        replace(row, profile=str(profile), compute_nano=nano(part.compute), memory_bytes=part.memory_bytes)
        for row in found
    ]


def mthreads(pod: Pod, ground: Ground, wanted: list[Asked]) -> list[Assigned]:
    """sGPU: the pod's cards by index; the share is what was asked for."""
    text = pod.annotations.get(_MTHREADS)
    holders = [row for row in wanted if row.vendor == "mthreads"]
    if text is None or len(holders) != 1:
        return []
    cards = indices("sgpu", _MTHREADS, text)
    return _shared(on_cards("sgpu", holders[0].container, cards, (), "mthreads"), holders[0])


def intel(pod: Pod, ground: Ground, wanted: list[Asked]) -> list[Assigned]:
    """GPU aware scheduling: ``card0,card1|card2``, a part between bars for each container."""
    text = pod.annotations.get(_GAS)
    if text is None:
        return []
    parts = text.split("|")
    names = [container.name for container in pod.ordinary]
    found: list[Assigned] = []
    for place, part in enumerate(parts):
        container = names[place] if place < len(names) else None
        want = next((w for w in wanted if w.vendor == "intel" and w.container == container), None)
        for card in (item.strip() for item in part.split(",")):
            if card:
                parsed = device_of(card)
                row = Assigned("device-plugin", "intel", container, card, parsed.kind, parsed.index)
                found.extend(_shared([row], want))
    return found
