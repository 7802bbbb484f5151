"""``xpu-smi dump -m ...`` and ``xpumcli dump``: CSV, a row a device (or tile) and instant.

A blank cell, ``N/A`` and -1 are "not readable", never zero. The time is as printed: the newer tool gives the
time of day without a date. Tiles of one device keep rows of their own (``tile``); only the first column names
and the head say what is in a row.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ullage_agent.backend import Decoded
from ullage_agent.backends.intel.discovery import plain
from ullage_agent.backends.intel.metric_names import meaning, sane
from ullage_agent.backends.printed import csv_rows, number, said, whole
from ullage_contract.errors import BadInput


def is_dump_head(line: str) -> bool:
    """Whether a line is the head of a dump."""
    names = {plain(cell) for cell in line.split(",")}
    return "timestamp" in names and bool(names & {"deviceid", "device_id"})


def decode_dump(lines: Sequence[str]) -> Decoded:
    """Rows in the order printed as ``samples``. Raises BadInput without a head."""
    head: list[str] = []
    rows: list[dict[str, Any]] = []
    notes: list[str] = []
    for line in lines:
        if is_dump_head(line):
            head = _cells(line)
            continue
        cells = _cells(line)
        if not head or len(cells) < 2 or whole(cells[1]) is None or not cells[0][:1].isdecimal():
            continue
        if len(cells) < len(head):
            notes.append("truncated: a row has fewer columns than the head")
        elif len(cells) > len(head):
            notes.append("suspect: a row has more columns than the head")
        rows.append(_row(head, cells))
    if not head:
        raise BadInput("no head of xpu-smi dump in this text (Timestamp, DeviceId, ...)")
    return Decoded(
        "intel", "xpu-smi dump", "csv", samples=rows, extra={"samples": len(rows)}, notes=sorted(set(notes))
    )


def _cells(line: str) -> list[str]:
    return [cell.strip() for cell in next(iter(csv_rows([line], skipinitialspace=True)), [])]


def _row(head: Sequence[str], cells: Sequence[str]) -> dict[str, Any]:
    row: dict[str, Any] = {}
    for name, cell in zip(head, cells, strict=False):
        short = plain(name)
        if short == "timestamp":
            row["time"] = said(cell)
        elif short in ("deviceid", "device_id"):
            row["index"] = whole(cell)
        elif short in ("tileid", "tile_id"):
            row["tile"] = whole(cell)
        else:
            known = meaning(name)
            printed = number(cell)
            if known is None:
                row[short] = printed if printed is not None else said(cell)
            elif printed is None or not sane(known.key, printed):
                row[known.key] = None
            else:
                row[known.key] = known.value(printed)
    return row
