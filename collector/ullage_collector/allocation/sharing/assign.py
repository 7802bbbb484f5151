"""What was handed to a pod, from what schedulers and device plugins wrote onto it. Pure.

Each reader knows one system's annotations; of two that speak of the same maker's cards the scheduler's own word
wins, so that nothing is counted twice. A pod that is not placed yet has nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Final

from ullage_collector.allocation.sharing import aliyun, hami, makers, schedulers, tencent
from ullage_collector.allocation.sharing.ask import asked
from ullage_collector.allocation.sharing.ground import Ground
from ullage_collector.allocation.sharing.pod import Pod, read_pod
from ullage_collector.allocation.sharing.share import Asked, Assigned, memory_share, refuse_nonsense

_Reader = Callable[[Pod, Ground, list[Asked]], list[Assigned]]

READERS: Final[tuple[_Reader, ...]] = (
    schedulers.koordinator,
    hami.allocated,
    schedulers.run_ai,
    schedulers.volcano,
    aliyun.allocated,
    tencent.allocated,
    makers.ascend,
    makers.cambricon,
    makers.metax,
    makers.enflame,
    makers.mthreads,
    makers.intel,
)


def assigned(
    pod: Mapping[str, Any],
    *,
    node: Mapping[str, Any] | None = None,
    card_memory_bytes: int | None = None,
    unit_bytes: Mapping[str, int] | None = None,
) -> list[Assigned]:
    """Every device the pod's annotations name, by container; empty: no scheduler wrote any.

    Where an annotation names the card alone, the share is what the container asked for.
    node, card_memory_bytes, unit_bytes: as for ``asked``. Raises BadInput naming system, annotation and value.
    """
    parsed = read_pod(pod)
    if parsed.reserves:
        return []
    ground = Ground(node, card_memory_bytes)
    wanted = asked(pod, node=node, card_memory_bytes=card_memory_bytes, unit_bytes=unit_bytes)
    found: list[Assigned] = []
    for read in READERS:
        known = {row.vendor for row in found}
        if None in known:  # Koordinator speaks of every maker's cards
            break
        for row in read(parsed, ground, wanted):
            if row.vendor not in known:
                found.append(_measured(row, ground))
    found = makers.instances(parsed, found)
    for row in found:
        refuse_nonsense(row.system, "annotations", row)
    return found


def _measured(row: Assigned, ground: Ground) -> Assigned:
    """The row with its share of memory, where the card's total is known and none is stated."""
    if row.memory_nano is not None or row.memory_bytes is None:
        return row
    total = ground.memory(row.vendor, row.device, row.index)
    return replace(row, memory_nano=memory_share(row.memory_bytes, total))


def group_card(pod: Mapping[str, Any]) -> tuple[str, str] | None:
    """The group and the card's UUID that a scheduler's reservation pod keeps; None: it is none, or has none yet."""
    return schedulers.group_card(read_pod(pod))
