"""gpushare and ACK's shared GPU scheduling: which cards a pod's memory and compute lie on. Pure.

Two ways of writing: ``ALIYUN_COM_GPU_MEM_*`` of the open extender, one card index for the pod; and JSON of
container to card to amount of ACK's scheduler. ``_DEV`` is the card's memory in the same unit as ``_POD``, so that
the share is exact whatever the unit; bytes are GiB unless the card would have more than 1024 of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from typing import Final

from ullage_collector.allocation.sharing.ground import Ground
from ullage_collector.allocation.sharing.pod import Pod
from ullage_collector.allocation.sharing.quantity import quantity
from ullage_collector.allocation.sharing.share import Asked, Assigned, IdKind, nano
from ullage_collector.allocation.sharing.written import indices, json_of, table, whole

_INDEX: Final = "ALIYUN_COM_GPU_MEM_IDX"
_OF_POD: Final = "ALIYUN_COM_GPU_MEM_POD"
_OF_CARD: Final = "ALIYUN_COM_GPU_MEM_DEV"
_MEMORY: Final = "scheduler.framework.gpushare.allocation"
_CORES: Final = "gpushare.alibabacloud.com/core-percentage"
_GIB: Final = 1 << 30
_MIB: Final = 1 << 20
_LARGEST_GIB: Final = (
    1024  # our choice: because no card has more than 1024 GiB, and none as little as 1024 MiB
)


def allocated(pod: Pod, ground: Ground, wanted: list[Asked]) -> list[Assigned]:
    """The cards of the pod; ACK's JSON where it is there, else the extender's annotations."""
    if _MEMORY in pod.annotations:
        return _by_container(pod)
    if pod.annotations.get(_INDEX) and pod.annotations.get(_OF_POD):
        return _of_pod(pod, wanted)
    return []


def _by_container(pod: Pod) -> list[Assigned]:
    memory = _amounts(pod, _MEMORY)
    cores = _amounts(pod, _CORES) if _CORES in pod.annotations else {}
    names = dict(enumerate(container.name for container in pod.ordinary))
    return [
        Assigned(
            system="cgpu",
            vendor="nvidia",
            container=names.get(container),
            device=str(card),
            id_kind=IdKind.INDEX,
            index=card,
            compute_nano=None if place not in cores else nano(cores[place] / 100),
            memory_bytes=int(memory[place] * _GIB) if place in memory else None,
        )
        for place in sorted(memory.keys() | cores.keys())
        for container, card in (place,)
    ]


def _amounts(pod: Pod, key: str) -> Mapping[tuple[int, int], Fraction]:
    """{"0":{"1":7}}: container 0 has 7 of card 1."""
    document = table("cgpu", key, json_of("cgpu", key, pod.annotations[key]))
    return {
        (whole("cgpu", key, container), whole("cgpu", key, card)): quantity(amount, system="cgpu", where=key)
        for container, cards in document.items()
        for card, amount in table("cgpu", key, cards).items()
    }


def _of_pod(pod: Pod, wanted: list[Asked]) -> list[Assigned]:
    cards = indices("gpushare", _INDEX, pod.annotations[_INDEX])
    if not cards:
        return []
    memory = quantity(pod.annotations[_OF_POD], system="gpushare", where=_OF_POD) / len(cards)
    of_card = quantity(pod.annotations.get(_OF_CARD, "0"), system="gpushare", where=_OF_CARD)
    unit = _MIB if of_card > _LARGEST_GIB else _GIB
    holders = {row.container for row in wanted if row.system in ("gpushare", "cgpu")}
    return [
        Assigned(
            system="gpushare",
            vendor="nvidia",
            container=next(iter(holders)) if len(holders) == 1 else None,
            device=str(card),
            id_kind=IdKind.INDEX,
            index=card,
            memory_bytes=int(memory * unit),
            memory_nano=nano(memory / of_card) if of_card else None,
        )
        for card in cards
    ]
