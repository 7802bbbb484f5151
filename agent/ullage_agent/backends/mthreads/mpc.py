"""MPC instances: the hard parts a card is cut into. Each is a device of its own to the library.

Not here: SR-IOV virtual GPUs and sGPU shares; the library on the host says nothing of what they use.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence

from ullage_agent.backends.clibrary import roomy, text_of
from ullage_agent.backends.mthreads.card import Card
from ullage_agent.backends.mthreads.mtml import MOST_INSTANCES, MpcProfile, Mtml
from ullage_agent.backends.roster import Attributes, Probe, Slice
from ullage_contract.catalogue import Tier
from ullage_contract.errors import Broken, NotSupported, ReadingError
from ullage_contract.identity import slice_id
from ullage_contract.sample import Value


def mode_of(library: Mtml, card: Card) -> str:
    """ "mpc" where the card is cut, else "none". Raises a ReadingError."""
    return "mpc" if library.number("mtmlDeviceGetMpcMode", card.handle) == 1 else "none"


def slices_of(library: Mtml, card: Card, key: str) -> Callable[[], Sequence[Slice]]:
    """Every instance of the card. Raises a ReadingError."""

    def ask() -> Sequence[Slice]:
        try:
            if mode_of(library, card) != "mpc":
                return []
        except NotSupported:
            return []
        found = []
        for place, instance in enumerate(_instances(library, card)):
            try:
                number = library.number("mtmlDeviceGetMpcInstanceIndex", instance)
            except NotSupported:
                number = place
            found.append(_slice(library, card, key, number, instance))
        return found

    return ask


def _instances(library: Mtml, card: Card) -> list[ctypes.c_void_p]:
    """Handles of the instances; they belong to the card's own and are not given back."""
    count = library.number("mtmlDeviceCountMpcInstances", card.handle)
    if count > MOST_INSTANCES:
        raise Broken(f"card {card.index}: {count} MPC instances")
    if count == 0:
        return []
    handles = roomy(ctypes.c_void_p * count)
    library.run("mtmlDeviceGetMpcInstances", card.handle, ctypes.c_uint(count), handles)
    return [ctypes.c_void_p(handle) for handle in handles if handle]


def _slice(library: Mtml, card: Card, key: str, number: int, handle: ctypes.c_void_p) -> Slice:
    attributes: Attributes = {"vendor": "mthreads"}
    try:
        profile = roomy(MpcProfile)
        library.run("mtmlDeviceGetMpcProfileInfo", handle, ctypes.byref(profile))
        name = text_of(profile.name)
        if name:
            attributes["profile"] = name
        if card.memory_bytes and 0 < profile.memory <= card.memory_bytes:
            attributes["memory_total_bytes"] = int(profile.memory)
            attributes["memory_share"] = int(profile.memory) / card.memory_bytes
        if card.cores and 0 < profile.cores <= card.cores:
            attributes["compute_share"] = profile.cores / card.cores
    except ReadingError:
        pass  # it is there and says nothing of itself
    try:
        uuid = library.text("mtmlDeviceGetUUID", handle, 48)
        if uuid:
            attributes["uuid"] = uuid
    except ReadingError:
        pass
    keys = ("utilization_ratio", "memory_used_bytes", "memory_total_bytes")
    probe = Probe("mtmlDeviceInitGpu(MPC)", keys, lambda: _use(library, handle), Tier.SLOW)
    return Slice(slice_id(key, f"mpc-{number}"), attributes, [probe])


def _use(library: Mtml, handle: ctypes.c_void_p) -> dict[str, Value]:
    answer: dict[str, Value] = {}
    with library.borrowed("mtmlDeviceInitGpu", "mtmlDeviceFreeGpu", handle) as gpu:
        per_cent = library.number("mtmlGpuGetUtilization", gpu)
        if per_cent <= 100:
            answer["utilization_ratio"] = per_cent / 100
    with library.borrowed("mtmlDeviceInitMemory", "mtmlDeviceFreeMemory", handle) as memory:
        total = library.large("mtmlMemoryGetTotal", memory)
        used = library.large("mtmlMemoryGetUsed", memory)
        if 0 < total < 1 << 50 and used <= total:
            answer.update({"memory_total_bytes": total, "memory_used_bytes": used})
    if not answer:
        raise Broken("the instance says nothing of itself")
    return answer
