"""Parts of a card: MIM instances (hard) and sMLU instances (soft), as CNDev lists them.

Of a MIM instance CNDev gives the profile and its size; what it uses is not asked. Not here: env-share, which is
only a way of counting in the device plugin.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ullage_agent.backends.cambricon import layouts
from ullage_agent.backends.cambricon.card import MIB, Card
from ullage_agent.backends.cambricon.cndev import Cndev
from ullage_agent.backends.clibrary import text_of
from ullage_agent.backends.roster import Attributes, Probe, Slice
from ullage_contract.catalogue import Tier
from ullage_contract.errors import Broken, CardLost, ReadingError
from ullage_contract.identity import slice_id
from ullage_contract.sample import Value


def mode_of(library: Cndev, handle: int) -> str:
    """ "mim", "smlu" or "none". Raises only CardLost."""
    for word, name in (("mim", "cndevGetMimMode"), ("smlu", "cndevGetSMLUMode")):
        try:
            if library.ask(name, layouts.Mode, handle).on == 1:
                return word
        except CardLost:
            raise
        except ReadingError:
            continue
    return "none"


def slices_of(
    library: Cndev, card: Card, card_key: str, mode: Callable[[], str]
) -> Callable[[], Sequence[Slice]]:
    """The instances of the card's mode. Raises a ReadingError."""

    def ask() -> Sequence[Slice]:
        if mode() == "smlu":
            rows = library.rows("cndevGetAllSMluInstanceInfo", layouts.SoftSlice, card.handle)
            return [_soft(library, card, card_key, row) for row in rows]
        if mode() == "mim":
            hard = library.rows("cndevGetAllMluInstanceInfo", layouts.HardSlice, card.handle)
            return [_hard(card, card_key, row) for row in hard]
        return []

    return ask


def _soft(library: Cndev, card: Card, card_key: str, row: layouts.SoftSlice) -> Slice:
    attributes: Attributes = {"vendor": "cambricon", **_named(row.profile_name, row.uuid)}
    if 0 < row.quota[0] <= 100:
        attributes["compute_share"] = row.quota[0] / 100
    if row.memory[0]:
        attributes["memory_total_bytes"] = int(row.memory[0])
        if card.memory_bytes and row.memory[0] <= card.memory_bytes:
            attributes["memory_share"] = int(row.memory[0]) / card.memory_bytes
    number = int(row.instance_id)
    probe = Probe(
        "cndevGetAllSMluInstanceInfo",
        ("utilization_ratio", "memory_used_bytes", "memory_total_bytes"),
        lambda: _use(library, card, number),
        Tier.SLOW,
    )
    return Slice(slice_id(card_key, f"smlu-{number}"), attributes, [probe])


def _use(library: Cndev, card: Card, number: int) -> dict[str, Value]:
    """How much of its quota it uses. CNDev counts both in per cent of the card (our reading, not seen on a card)."""
    for row in library.rows("cndevGetAllSMluInstanceInfo", layouts.SoftSlice, card.handle):
        if row.instance_id == number:
            answer: dict[str, Value] = {}
            if row.memory[0] and row.memory[1] <= row.memory[0]:
                answer["memory_used_bytes"] = int(row.memory[1])
                answer["memory_total_bytes"] = int(row.memory[0])
            if 0 < row.quota[0] <= 100 and row.quota[1] <= row.quota[0]:
                answer["utilization_ratio"] = row.quota[1] / row.quota[0]
            return answer
    raise Broken(f"sMLU instance {number} is not listed any more")


def _hard(card: Card, card_key: str, row: layouts.HardSlice) -> Slice:
    attributes: Attributes = {"vendor": "cambricon", **_named(row.profile_name, row.uuid)}
    if card.cores and 0 < row.core_count <= card.cores:
        attributes["compute_share"] = row.core_count / card.cores
    held = int(row.memory_size) * MIB
    if card.memory_bytes and 0 < held <= card.memory_bytes:
        attributes["memory_total_bytes"] = held
        attributes["memory_share"] = held / card.memory_bytes
    return Slice(slice_id(card_key, f"mim-{int(row.instance_id)}"), attributes, [])


def _named(profile: bytes, uuid: bytes) -> Attributes:
    found = {"profile": text_of(profile), "uuid": text_of(uuid)}
    return {name: value for name, value in found.items() if value is not None}
