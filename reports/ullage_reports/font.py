"""Which characters a TrueType font can draw: its ``cmap`` table, formats 4 and 12 (OpenType 1.9.1, "cmap").

Enough to tell a reader that a rare character of a name is shown as a box; typst does the drawing.
"""

from __future__ import annotations

import struct
from functools import cache
from pathlib import Path
from typing import Final

from ullage_contract.errors import AssetMissing

_UNICODE: Final = {(0, 3), (0, 4), (0, 6), (3, 1), (3, 10)}
"""(platform, encoding) of subtables that map Unicode."""


@cache
def characters(path: Path) -> frozenset[int]:
    """Code points the font at ``path`` has a glyph for. Raises AssetMissing when it is no font we can read."""
    data = path.read_bytes()
    try:
        return frozenset(_read(data))
    except (struct.error, KeyError, IndexError) as e:
        raise AssetMissing(
            f"{path} is not a TrueType font with a Unicode table; run `make assets` again"
        ) from e


def _read(data: bytes) -> set[int]:
    count = struct.unpack_from(">H", data, 4)[0]
    tables = {
        data[12 + 16 * n : 16 + 16 * n]: struct.unpack_from(">II", data, 20 + 16 * n) for n in range(count)
    }
    start = tables[b"cmap"][0]
    found: set[int] = set()
    for n in range(struct.unpack_from(">H", data, start + 2)[0]):
        platform, encoding, offset = struct.unpack_from(">HHI", data, start + 4 + 8 * n)
        if (platform, encoding) not in _UNICODE:
            continue
        at = start + offset
        form = struct.unpack_from(">H", data, at)[0]
        if form == 4:
            found |= _segments(data, at)
        elif form == 12:
            for group in range(struct.unpack_from(">I", data, at + 12)[0]):
                first, last, _ = struct.unpack_from(">III", data, at + 16 + 12 * group)
                found.update(range(first, last + 1))
    return found


def _segments(data: bytes, at: int) -> set[int]:
    """Format 4. A code point whose glyph is 0 is not drawn and so not counted."""
    count = struct.unpack_from(">H", data, at + 6)[0] // 2
    ends = struct.unpack_from(f">{count}H", data, at + 14)
    starts = struct.unpack_from(f">{count}H", data, at + 16 + 2 * count)
    deltas = struct.unpack_from(f">{count}H", data, at + 16 + 4 * count)
    offsets_at = at + 16 + 6 * count
    found = set()
    for n, (first, last, delta) in enumerate(zip(starts, ends, deltas, strict=True)):
        offset = struct.unpack_from(">H", data, offsets_at + 2 * n)[0]
        for code in range(first, min(last, 0xFFFE) + 1):
            glyph = code
            if offset:
                place = offsets_at + 2 * n + offset + 2 * (code - first)
                glyph = struct.unpack_from(">H", data, place)[0]
                if glyph == 0:
                    continue
            if (glyph + delta) & 0xFFFF:
                found.add(code)
    return found
