"""What a pod asks for of cards and shares of cards, from its containers' resources and what steers them. Pure.

One card asked for with a memory and a compute share is one row (``_together``); a resource that says all by itself
is one of its own (single.py). Annotations, labels and variables that steer a share are read here too.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from functools import cache
from math import ceil
from typing import Any, Final

from ullage_collector.allocation.sharing.facts import Fact, Meaning, facts
from ullage_collector.allocation.sharing.ground import Ground
from ullage_collector.allocation.sharing.lines import Line, families, whole_count
from ullage_collector.allocation.sharing.pod import Container, Pod, read_pod
from ullage_collector.allocation.sharing.quantity import has_unit, quantity
from ullage_collector.allocation.sharing.share import (
    MOST_CARDS,
    Asked,
    bad,
    memory_share,
    nano,
    refuse_nonsense,
)
from ullage_collector.allocation.sharing.single import alone
from ullage_collector.allocation.sharing.written import whole

_SOFT_CORES: Final = "huawei.com/scheduler.softShareDev.aicoreQuota"
_SOFT_MEMORY: Final = "huawei.com/scheduler.softShareDev.hbmQuota"
_GPU_COUNT: Final = "aliyun.com/gpu-count"
_MIB: Final = 1 << 20
_ONE: Final = Fraction(1)


def asked(
    pod: Mapping[str, Any],
    *,
    node: Mapping[str, Any] | None = None,
    card_memory_bytes: int | None = None,
    unit_bytes: Mapping[str, int] | None = None,
) -> list[Asked]:
    """What each container asks for, in the pod's order; a scheduler's reservation pod asks for nothing.

    node: the node it lies on, for what only its labels say (replicas, MIG strategy single, partitions, parts).
    card_memory_bytes: of each of its cards, for the share that bytes are; it wins over the node's word.
    unit_bytes: resource to bytes of one, where a site set another unit than the table's (gpushare in MiB,
        Volcano's gpu-memory-factor).
    Raises BadInput naming the system, the resource or label, and the value.
    """
    parsed = read_pod(pod)
    if parsed.reserves:
        return []
    ground = Ground(node, card_memory_bytes)
    found: list[Asked] = []
    for container in parsed.containers:
        found.extend(_of_container(container, parsed, ground, unit_bytes or {}))
    found.extend(_fractions(parsed, ground))
    for row in found:
        refuse_nonsense(row.system, row.resources[0], row)
    return found


def _of_container(
    container: Container, pod: Pod, ground: Ground, units: Mapping[str, int]
) -> Iterator[Asked]:
    systems = families(container)
    koordinated = [lines for lines in systems if lines[0].fact.system == "koordinator"]
    if koordinated:
        # The makers' names beside koordinator.sh ones are the same share, for the maker's own plugin
        # (koordinator.sh, device scheduling: Ascend, Cambricon, MetaX).
        vendors = {lines[0].fact.vendor for lines in systems} - {None}
        vendor = vendors.pop() if len(vendors) == 1 else None
        for lines in koordinated:
            yield from _together(container, lines, pod, ground, units, vendor)
        return
    for lines in systems:
        first = lines[0].fact
        if first.vendor == "ascend" and _SOFT_CORES in pod.stated:
            yield _soft_share(container, lines, pod, ground)
        elif any(_combines(line.fact) for line in lines):
            yield from _together(container, lines, pod, ground, units, first.vendor)
        else:
            for line in lines:
                yield from alone(container, line, ground)


def _combines(fact: Fact) -> bool:
    """Whether the row says something of a share that others of its system complete."""
    return fact.meaning in (Meaning.COMPUTE, Meaning.MEMORY, Meaning.MEMORY_RATIO) or fact.unit == "share"


def _together(
    container: Container,
    lines: Sequence[Line],
    pod: Pod,
    ground: Ground,
    units: Mapping[str, int],
    vendor: str | None,
) -> Iterator[Asked]:
    """One row from a system's number of cards, compute and memory."""
    system = lines[0].fact.system
    said = [line for line in lines if line.fact.meaning is Meaning.CARDS]
    total = [line for line in lines if line.fact.meaning is not Meaning.CARDS]
    cards = sum(whole_count(line) for line in said) or _label_count(system, pod) or _needed(total)
    if cards > MOST_CARDS:
        raise bad(system, lines[0].resource, lines[0].written, "more cards than there are")
    compute = memory = None
    memory_bytes: int | None = None
    for line in total:
        fact = line.fact
        each = _of_one(line.amount, cards) if fact.per == "all" else line.amount
        parts = fact.parts if fact.unit != "part" else ground.row(fact.vendor, "gcushare").replicas
        if fact.meaning is Meaning.MEMORY:
            memory_bytes = _bytes(line, each, units)
        elif parts and fact.meaning in (Meaning.COMPUTE, Meaning.SLICE):
            compute = each / parts if compute is None else compute
        if parts and fact.meaning in (Meaning.MEMORY_RATIO, Meaning.SLICE):
            memory = each / parts if memory is None else memory
    if system == "orionx":
        compute, memory_bytes = _orion(container, compute, memory_bytes)
    stated = memory is not None or memory_bytes is not None
    if said and not stated and _absent_is_whole(lines[0].fact, (Meaning.MEMORY, Meaning.SLICE)):
        memory = _ONE
    if said and compute is None and _absent_is_whole(lines[0].fact, (Meaning.COMPUTE, Meaning.SLICE)):
        compute = _ONE
    memory_nano = nano(memory)
    if memory_nano is None:
        memory_nano = memory_share(memory_bytes, ground.memory(vendor))
    yield Asked(
        container=container.name,
        init=container.init,
        system=system,
        vendor=vendor,
        resources=tuple(line.resource for line in lines),
        cards=cards,
        compute_nano=nano(compute),
        memory_bytes=memory_bytes,
        memory_nano=memory_nano,
    )


def _soft_share(container: Container, lines: Sequence[Line], pod: Pod, ground: Ground) -> Asked:
    """mind-cluster's soft partitioning: the resource's amount repeats the quota in per cent, it is always one chip."""
    stated = pod.stated
    cores = whole("soft-share", _SOFT_CORES, stated[_SOFT_CORES])
    memory = (
        whole("soft-share", _SOFT_MEMORY, stated[_SOFT_MEMORY]) * _MIB if _SOFT_MEMORY in stated else None
    )
    return Asked(
        container=container.name,
        init=container.init,
        system="soft-share",
        vendor="ascend",
        resources=tuple(line.resource for line in lines),
        cards=1,
        compute_nano=nano(Fraction(cores, 100)),
        memory_bytes=memory,
        memory_nano=memory_share(memory, ground.memory("ascend")),
    )


def _fractions(pod: Pod, ground: Ground) -> Iterator[Asked]:
    """Run:ai's fractions: annotations alone, no resource; of the first container unless another is named."""
    notes = pod.annotations
    if not pod.ordinary or not ({"gpu-fraction", "gpu-memory"} & notes.keys()):
        return
    wanted = notes.get("gpu-fraction-container-name", pod.ordinary[0].name)
    if all(container.name != wanted for container in pod.containers):
        raise bad("runai", "gpu-fraction-container-name", wanted, "no container of the pod")
    fraction = _annotated(notes, "gpu-fraction")
    memory = _annotated(notes, "gpu-memory")
    memory_bytes = None if memory is None or fraction is not None else int(memory * _MIB)
    cores = _annotated(notes, "gpu-sm-percentage")
    devices = whole("runai", "gpu-fraction-num-devices", notes.get("gpu-fraction-num-devices", "1"))
    if not 1 <= devices <= MOST_CARDS:
        raise bad("runai", "gpu-fraction-num-devices", devices, "no number of cards")
    memory_nano = nano(fraction)
    if memory_nano is None:
        memory_nano = memory_share(memory_bytes, ground.memory("nvidia"))
    yield Asked(
        container=wanted,
        init=False,
        system="runai",
        vendor="nvidia",
        resources=tuple(k for k in ("gpu-fraction", "gpu-memory", "gpu-sm-percentage") if k in notes),
        cards=devices,
        compute_nano=None if cores is None else nano(cores / 100),
        memory_bytes=memory_bytes,
        memory_nano=memory_nano,
    )


def _annotated(notes: Mapping[str, str], key: str) -> Fraction | None:
    return quantity(notes[key], system="runai", where=key) if key in notes else None


def _orion(
    container: Container, compute: Fraction | None, memory_bytes: int | None
) -> tuple[Fraction | None, int | None]:
    """OrionX says the shares in the container's environment; what is not there stays not stated."""
    ratio, memory = container.environment.get("ORION_RATIO"), container.environment.get("ORION_GMEM")
    if ratio is not None:
        compute = quantity(ratio, system="orionx", where="ORION_RATIO") / 100
    if memory is not None:
        memory_bytes = whole("orionx", "ORION_GMEM", memory) * _MIB
    return compute, memory_bytes


def _label_count(system: str, pod: Pod) -> int:
    """ACK: what is asked for is of so many cards together (alibabacloud.com, multi-card sharing)."""
    if system not in ("gpushare", "cgpu") or _GPU_COUNT not in pod.labels:
        return 0
    return whole(system, _GPU_COUNT, pod.labels[_GPU_COUNT])


def _needed(lines: Sequence[Line]) -> int:
    """How many cards a total needs: 160 per cent are two, 100 per cent are one."""
    needed = [
        ceil(line.amount / line.fact.parts)
        for line in lines
        if line.fact.per == "all" and line.fact.parts and line.fact.meaning is not Meaning.MEMORY
    ]
    return max([1, *needed])


def _of_one(amount: Fraction, cards: int) -> Fraction:
    """A total's part of one card, in whole units, as the schedulers divide: 121 per cent over two are 60 and 60."""
    return amount if cards == 1 else Fraction(amount // cards)


def _bytes(line: Line, amount: Fraction, units: Mapping[str, int]) -> int:
    unit = line.fact.unit_bytes or 1
    if line.fact.unit == "GiB or quantity" and has_unit(line.written):
        unit = 1
    return int(amount * units.get(line.resource, unit))


def _absent_is_whole(first: Fact, meanings: tuple[Meaning, ...]) -> bool:
    return any((first.system, first.vendor, meaning) in _wholes_when_absent() for meaning in meanings)


@cache
def _wholes_when_absent() -> frozenset[tuple[str, str | None, Meaning]]:
    return frozenset((f.system, f.vendor, f.meaning) for f in facts() if f.absent == "whole")
