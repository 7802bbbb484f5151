"""Koordinator, Run:ai and KAI, Volcano's older GPU sharing: what each wrote onto a pod of its cards. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from typing import Any, Final

from ullage_collector.allocation.sharing.device_id import device_of
from ullage_collector.allocation.sharing.ground import Ground
from ullage_collector.allocation.sharing.pod import Pod
from ullage_collector.allocation.sharing.quantity import quantity
from ullage_collector.allocation.sharing.share import Asked, Assigned, IdKind, nano
from ullage_collector.allocation.sharing.tencent import on_cards
from ullage_collector.allocation.sharing.written import indices, json_of, rows, table, whole

_KOORDINATOR: Final = "scheduling.koordinator.sh/device-allocated"
_GROUP: Final = "runai-gpu-group"
_RESERVED: Final = "run.ai/reserve_for_gpu_index"
_VOLCANO: Final = "volcano.sh/gpu-index"


def koordinator(pod: Pod, ground: Ground, wanted: list[Asked]) -> list[Assigned]:
    """Koordinator's device-allocated: the pod's cards by minor number, each with its resources."""
    if _KOORDINATOR not in pod.annotations:
        return []
    document = table("koordinator", _KOORDINATOR, _document(pod))
    holders = [row for row in wanted if row.system == "koordinator"]
    names = {row.container for row in holders}
    vendors = {row.vendor for row in holders}
    found: list[Assigned] = []
    for item in rows("koordinator", _KOORDINATOR, document.get("gpu") or []):
        fields = table("koordinator", _KOORDINATOR, item)
        minor = whole("koordinator", _KOORDINATOR, fields.get("minor"))
        own = fields.get("id")
        parsed = device_of(own) if isinstance(own, str) and own else device_of(str(minor))
        amounts = table("koordinator", _KOORDINATOR, fields.get("resources") or {})
        memory = _amount(amounts, "gpu-memory")
        found.append(
            Assigned(
                system="koordinator",
                vendor=next(iter(vendors)) if len(vendors) == 1 else None,
                container=next(iter(names)) if len(names) == 1 else None,
                device=parsed.device,
                id_kind=parsed.kind,
                index=minor,
                slice_id=parsed.slice_id,
                compute_nano=nano(_percent(amounts, "gpu-core")),
                memory_bytes=None if memory is None else int(memory),
                memory_nano=nano(_percent(amounts, "gpu-memory-ratio")),
            )
        )
    return found


def _document(pod: Pod) -> Any:
    return json_of("koordinator", _KOORDINATOR, pod.annotations[_KOORDINATOR])


def _amount(amounts: Mapping[str, Any], name: str) -> Fraction | None:
    for prefix in ("koordinator.sh/", "kubernetes.io/"):
        if prefix + name in amounts:
            return quantity(amounts[prefix + name], system="koordinator", where=f"{_KOORDINATOR} {name}")
    return None


def _percent(amounts: Mapping[str, Any], name: str) -> Fraction | None:
    amount = _amount(amounts, name)
    return None if amount is None else amount / 100


def run_ai(pod: Pod, ground: Ground, wanted: list[Asked]) -> list[Assigned]:
    """A fractional pod's groups: pods of one group share one card, which ``group_card`` names."""
    want = next((row for row in wanted if row.system == "runai"), None)
    if want is None:
        return []
    return [
        Assigned(
            system="runai",
            vendor="nvidia",
            container=want.container,
            device=group,
            id_kind=IdKind.GROUP,
            compute_nano=want.compute_nano,
            memory_bytes=want.memory_bytes,
            memory_nano=want.memory_nano,
        )
        for group in _groups(pod)
    ]


def _groups(pod: Pod) -> list[str]:
    several = sorted(v or k.partition("/")[2] for k, v in pod.labels.items() if k.startswith(f"{_GROUP}/"))
    one = pod.labels.get(_GROUP)
    return several or ([one] if one else [])


def group_card(pod: Pod) -> tuple[str, str] | None:
    """The group and the UUID of its card, of a reservation pod; None of any other."""
    group, card = pod.labels.get(_GROUP), pod.annotations.get(_RESERVED)
    return (group, card) if pod.reserves and group and card else None


def volcano(pod: Pod, ground: Ground, wanted: list[Asked]) -> list[Assigned]:
    """Volcano's GPU sharing and GPU number: card indices of the pod, the shares it asked for."""
    text = pod.annotations.get(_VOLCANO)
    if text is None or not any(row.system == "volcano-gpu" for row in wanted):
        return []
    names = {row.container for row in wanted if row.system == "volcano-gpu"}
    container = next(iter(names)) if len(names) == 1 else None
    return on_cards("volcano-gpu", container, indices("volcano-gpu", _VOLCANO, text), wanted)
