"""``ni_rsrc_mon -o full``: columns under a head in brackets, with gaps where a kind has no such value.

Blank-separated words tell nothing about gaps, so the columns of each kind are listed here, as
libxcoder source/ni_rsrc_mon.c print_full_text prints them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

_TAIL: Final = ("DEVICE", "L_FL2V", "N_FL2V", "FR", "N_FR")
_COLUMNS: Final[Mapping[str, tuple[str, ...]]] = {
    "decoder": ("INDEX", "LOAD", "MODEL_LOAD", "FW_LOAD", "INST", "MEM", "CRITICAL_MEM", "SHARE_MEM"),
    "encoder": ("INDEX", "LOAD", "MODEL_LOAD", "FW_LOAD", "INST", "MEM", "CRITICAL_MEM", "SHARE_MEM", "P2P_MEM"),
    "scaler": ("INDEX", "LOAD", "FW_LOAD", "INST", "MEM", "SHARE_MEM"),
    "ai": ("INDEX", "LOAD", "FW_LOAD", "INST", "MEM", "SHARE_MEM"),
    "uploader": ("INDEX", "FW_LOAD", "INST", "MEM", "SHARE_MEM", "P2P_MEM"),
    "nvme": ("INDEX", "FW_LOAD", "SHARE_MEM"),
    "tp": ("INDEX", "FW_LOAD", "SHARE_MEM"),
    "pcie": ("INDEX", "FW_LOAD", "PCIE_THROUGHPUT"),
}  # fmt: skip


def is_full_head(line: str) -> bool:
    """Whether a line is a head of this form."""
    return line.split()[:1] == ["INDEX"] and "LOAD(" in line


def full_row(kind: str, words: Sequence[str]) -> dict[str, str] | None:
    """One row's cells by name, INST without its maximum; None when it has not as many as it must."""
    columns = _COLUMNS.get(kind)
    device = next((n for n, word in enumerate(words) if word.startswith("/dev/")), None)
    if columns is None or device != len(columns):
        return None
    row = dict(zip((*columns, *_TAIL), words, strict=False))
    if "/" in row.get("INST", ""):
        row["INST"], _, row["MAX_INST"] = row["INST"].partition("/")
    return row
