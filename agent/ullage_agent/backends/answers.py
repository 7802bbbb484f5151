"""What an answer of a maker's library may be: units into ours, sentinels and nonsense into errors.

Not here: which call gives it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from ullage_contract.errors import BadInput, Broken, NotSupported
from ullage_contract.identity import pci_address
from ullage_contract.sample import Value

ALL_ONES: Final = 0xFFFFFFFF
ALL_ONES_64: Final = (1 << 64) - 1
MOST_WATTS: Final = 65535.0
"""All ones of 16 bits, in watts: what a dead card answers (ixsmi on a BI-V100, recorded); no card draws it."""


def share(per_cent: float, function: str) -> float:
    """Per cent as 0..1. Raises Broken for what is none."""
    if not 0 <= per_cent <= 100:
        raise Broken(f"{function}: {per_cent:g} is no per cent")
    return per_cent / 100


def watts(milliwatts: int, function: str) -> float:
    """mW as W. Raises NotSupported for all ones (not available), Broken for what no card draws."""
    if milliwatts == ALL_ONES:
        raise NotSupported(f"{function}: not available")
    if milliwatts / 1000 >= MOST_WATTS:
        raise Broken(f"{function}: {milliwatts / 1000:g} W is no power")
    return milliwatts / 1000


def degrees(celsius: float, function: str) -> float:
    """A temperature. Raises Broken outside -100..300, what no card survives; NotSupported for all ones."""
    if celsius in (ALL_ONES, -1):
        raise NotSupported(f"{function}: not available")
    if not -100 <= celsius <= 300:
        raise Broken(f"{function}: {celsius:g} is no temperature")
    return float(celsius)


def megahertz(mhz: int, function: str) -> float:
    """MHz as Hz. Raises NotSupported for all ones, Broken above 20 GHz."""
    if mhz == ALL_ONES:
        raise NotSupported(f"{function}: not available")
    if not 0 <= mhz <= 20_000:
        raise Broken(f"{function}: {mhz} MHz is no clock")
    return mhz * 1e6


def memory(used: int, total: int, function: str) -> dict[str, Value]:
    """Bytes used and there. Raises Broken where more is used than there is, or nothing is there."""
    if not 0 < total < 1 << 50 or not 0 <= used <= total:
        raise Broken(f"{function}: {used} of {total} bytes is no memory")
    return {"memory_used_bytes": used, "memory_total_bytes": total}


def address(text: str | None) -> str | None:
    """A PCI address as we write it, or None."""
    try:
        return pci_address(text) if text else None
    except BadInput:
        return None


def lanes(value: int, function: str) -> int:
    """A link's width or generation. Raises Broken for what is none."""
    if not 0 < value <= 32:
        raise Broken(f"{function}: {value} is no link width or generation")
    return value


def count(value: int, function: str) -> int:
    """A counter of 32 or 64 bits. Raises NotSupported for all ones (not available)."""
    if value in (ALL_ONES, ALL_ONES_64):
        raise NotSupported(f"{function}: not available")
    return value


def kilobytes(value: int, function: str) -> float:
    """A rate in KB/s as bytes a second: NVML's word, which its followers kept, means 1000."""
    return float(count(value, function) * 1000)


def held(value: int) -> Mapping[str, Value]:
    """A process' device memory; all ones are not available."""
    return {} if value == ALL_ONES_64 else {"process_memory_used_bytes": value}


def throttle_bits(raw: int, words: Mapping[int, str], names: Sequence[str]) -> int:
    """A maker's reason bits as ours; a bit nobody documents is ``unknown``."""
    bits = 0
    for bit in range(raw.bit_length()):
        if raw >> bit & 1:
            bits |= 1 << names.index(words.get(1 << bit, "unknown"))
    return bits
