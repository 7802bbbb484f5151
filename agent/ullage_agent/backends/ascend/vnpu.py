"""vNPUs: the slices a chip is cut into (templates vir01 ... vir16), as the library lists them.

Not here: soft slices (HAMi, mind-cluster's shared devices); no library knows them, only the scheduler does.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ullage_agent.backends.ascend.chip import MIB, Chip
from ullage_agent.backends.ascend.dcmi import (
    TOTAL_RESOURCE,
    VDEV_ACTIVITY,
    VDEV_MNG,
    VDEV_RESOURCE,
    Dcmi,
    TotalResource,
    VdevQuery,
)
from ullage_agent.backends.clibrary import roomy, text_of
from ullage_agent.backends.roster import Attributes, Probe, Slice
from ullage_contract.catalogue import Tier
from ullage_contract.errors import Broken, ReadingError
from ullage_contract.identity import slice_id
from ullage_contract.sample import Value

MOST_SLICES = 32
"""DCMI_SOC_SPLIT_MAX."""


def slices_of(dcmi: Dcmi, chip: Chip, card: str) -> Callable[[], Sequence[Slice]]:
    """Every vNPU of a chip, each with its template, its shares and a probe. Raises a ReadingError."""

    def ask() -> Sequence[Slice]:
        found = []
        for number in vnpu_ids(dcmi, chip):
            try:
                found.append(_slice(dcmi, chip, card, number))
            except ReadingError:
                # it is there and says nothing of itself: a slice without a profile, not no slice
                found.append(Slice(slice_id(card, str(number)), {}, [_activity(dcmi, chip, number, None)]))
        return found

    return ask


def vnpu_ids(dcmi: Dcmi, chip: Chip) -> list[int]:
    """The ids of the chip's vNPUs. Raises a ReadingError, NotSupported where the chip cannot be cut."""
    total = roomy(TotalResource)
    dcmi.info(chip.place, VDEV_MNG, TOTAL_RESOURCE, total)
    if total.vdev_num > MOST_SLICES:
        raise Broken(f"{chip.place}: {total.vdev_num} vNPUs")
    return [int(number) for number in total.vdev_id[: total.vdev_num]]


def _slice(dcmi: Dcmi, chip: Chip, card: str, number: int) -> Slice:
    query = roomy(VdevQuery)
    query.vdev_id = number
    dcmi.info(chip.place, VDEV_MNG, VDEV_RESOURCE, query)
    computing = query.computing
    held = int(computing.memory_size) * MIB
    attributes: Attributes = {"profile": text_of(query.name), "vendor": "ascend", "model": chip.model}
    if chip.cores and 0 < computing.aic <= chip.cores:
        attributes["compute_share"] = float(computing.aic) / chip.cores
    if chip.memory_bytes and 0 < held <= chip.memory_bytes:
        attributes["memory_share"] = held / chip.memory_bytes
        attributes["memory_total_bytes"] = held
    for key in [key for key, value in attributes.items() if value is None]:
        del attributes[key]
    return Slice(slice_id(card, str(number)), attributes, [_activity(dcmi, chip, number, held or None)])


def _activity(dcmi: Dcmi, chip: Chip, number: int, total_bytes: int | None) -> Probe:
    """How busy it is. The unit of vdev_memory_* is not documented, so only their ratio is used."""

    def ask() -> dict[str, Value]:
        query = roomy(VdevQuery)
        query.vdev_id = number
        dcmi.info(chip.place, VDEV_MNG, VDEV_ACTIVITY, query)
        computing = query.computing
        answer: dict[str, Value] = {}
        if computing.vdev_aicore_utilization <= 100:
            answer["utilization_ratio"] = computing.vdev_aicore_utilization / 100
        total, free = int(computing.vdev_memory_total), int(computing.vdev_memory_free)
        if total_bytes:
            answer["memory_total_bytes"] = total_bytes
        if 0 <= free <= total and total:
            share = 1 - free / total
            answer["memory_ratio"] = share
            if total_bytes:
                answer["memory_used_bytes"] = round(total_bytes * share)
        if not answer:
            raise Broken(f"vNPU {number}: it says nothing of itself")
        return answer

    return Probe(
        "dcmi_get_device_info(VDEV_MNG)",
        ("utilization_ratio", "memory_total_bytes", "memory_used_bytes", "memory_ratio"),
        ask,
        Tier.SLOW,
    )


__all__ = ["slices_of", "vnpu_ids"]
