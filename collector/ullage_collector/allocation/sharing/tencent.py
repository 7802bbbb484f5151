"""GPU Manager and elastic-gpu: which cards each container got; how much of them is what it asked for. Pure.

qGPU writes no card that a public document names: its card comes from the kubelet or from the agent.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from ullage_collector.allocation.sharing.ground import Ground
from ullage_collector.allocation.sharing.pod import Pod
from ullage_collector.allocation.sharing.share import Asked, Assigned, IdKind
from ullage_collector.allocation.sharing.written import indices

_PREDICATE: Final = re.compile(r"tencent\.com/predicate-gpu-idx-([0-9]{1,4})")
_ELASTIC: Final = "elasticgpu.io/container-"


def allocated(pod: Pod, ground: Ground, wanted: list[Asked]) -> list[Assigned]:
    """The cards of each container, from either system's annotations."""
    names = [container.name for container in pod.ordinary]
    found: list[Assigned] = []
    for key in sorted(pod.annotations):
        text = pod.annotations[key]
        if match := _PREDICATE.fullmatch(key):
            place = int(match[1])
            container = names[place] if place < len(names) else None
            found.extend(on_cards("gpu-manager", container, indices("gpu-manager", key, text), wanted))
        elif key.startswith(_ELASTIC):
            cards = indices("elastic-gpu", key, text)
            found.extend(on_cards("elastic-gpu", key.removeprefix(_ELASTIC), cards, wanted))
    return found


def on_cards(
    system: str, container: str | None, cards: Sequence[int], wanted: Sequence[Asked], vendor: str = "nvidia"
) -> list[Assigned]:
    """A container's cards by index, each with the share of one card that the container asked that system for."""
    want = next((w for w in wanted if w.system == system and container in (None, w.container)), None)
    return [
        Assigned(
            system=system,
            vendor=vendor,
            container=container,
            device=str(card),
            id_kind=IdKind.INDEX,
            index=card,
            compute_nano=want.compute_nano if want else None,
            memory_bytes=want.memory_bytes if want else None,
            memory_nano=want.memory_nano if want else None,
        )
        for card in cards
    ]
