"""The memory banks of a loaded design: which there are (icap's mem_topology) and how much is given out of each.

mem_topology is struct mem_topology of XRT's xclbin.h: a count of 32 bits, then from offset 8 on 40 bytes a bank
(type, used, 6 spare, size in KiB, base address, name of 16). memstat_raw has a line a bank, "bytes buffers", and
after them lines of groups of banks, which would count twice. Without a design there are no banks.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final

from ullage_contract.errors import Broken

_BANK: Final = struct.Struct("<BB6xQQ16s")
_FIRST: Final = 8
_ON_CARD: Final = frozenset({0, 1, 2, 6})  # MEM_DDR3, MEM_DDR4, MEM_DRAM, MEM_HBM
_MOST_BANKS: Final = 1024  # our choice: because the largest card has 32 HBM banks and a handful of others


@dataclass(frozen=True, slots=True)
class Bank:
    """One device memory in use by the design. line: its place in memstat_raw."""

    line: int
    name: str
    size_bytes: int


def banks(raw: bytes) -> list[Bank]:
    """Device memories of a mem_topology; [] when no design is loaded. Raises Broken for a torn one."""
    if not raw:
        return []
    if len(raw) < _FIRST:
        raise Broken(f"mem_topology has only {len(raw)} bytes")
    (count,) = struct.unpack_from("<i", raw)
    if not 0 <= count <= _MOST_BANKS or len(raw) < _FIRST + count * _BANK.size:
        raise Broken(f"mem_topology says {count} banks in {len(raw)} bytes")
    found = []
    for line in range(count):
        kind, used, size_kib, _, name = _BANK.unpack_from(raw, _FIRST + line * _BANK.size)
        if used and kind in _ON_CARD:
            found.append(Bank(line, name.split(b"\0")[0].decode("ascii", "replace"), size_kib * 1024))
    return found


def used_bytes(memstat: str, found: list[Bank]) -> int:
    """Given out of these banks. Raises Broken when a bank has no line."""
    lines = memstat.splitlines()
    total = 0
    for bank in found:
        words = lines[bank.line].split() if bank.line < len(lines) else []
        if not words or not words[0].isdecimal():
            raise Broken(f"memstat_raw has no number for bank {bank.name}")
        total += int(words[0])
    return total
