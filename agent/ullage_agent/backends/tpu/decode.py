"""``tpu-info``: chips by device node, and what the running workload's libtpu says of them.

Chip numbers of the runtime are not the numbers of the device nodes: the two tables are kept apart and never
joined by number. Without a workload there is no runtime table: that is no fault.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from ullage_agent.backend import Decoded, DecodedCard
from ullage_agent.backends.printed import GIB, number, said, whole
from ullage_contract.errors import BadInput

_EDGE = re.compile(r"[|│┃]")
_HEAD = {
    "libtpu_version": re.compile(r"libtpu version\s*:\s*(\d\S*)", re.IGNORECASE),
    "accelerator_type": re.compile(r"accelerator type\s*:\s*(v?\d\w*)", re.IGNORECASE),
}
_GAP = re.compile(r"\s{2,}")
_SIZES = re.compile(r"(\d+(?:\.\d+)?)\s*([KMGT]i?B)\s*/\s*(\d+(?:\.\d+)?)\s*([KMGT]i?B)", re.IGNORECASE)


def decode(text: str) -> Decoded:
    """The chips and the runtime's rows. Raises BadInput for a text that is not this tool's."""
    chips: list[dict[str, Any]] = []
    runtime: list[dict[str, Any]] = []
    cores: list[dict[str, Any]] = []
    holders: dict[str, dict[str, Any]] = {}
    table = ""
    for line in text.splitlines():
        title = line.strip().lower()
        if not _EDGE.search(line):
            for name, word in (
                ("tpu chips", "chips"),
                ("runtime utilization", "runtime"),
                ("tensorcore utilization", "cores"),
                ("process info", "processes"),
            ):
                if title.startswith(name) or name in title:
                    table = word
            continue
        cells = _cells(line)
        if not cells or cells[0].lower() in ("chip", "chip id", "device"):
            continue
        if table == "chips" and cells[0].startswith("/dev/"):
            chips.append(_chip(cells))
        elif table == "runtime" and (row := _runtime(line, cells)):
            runtime.append(row)
        elif table == "cores" and len(cells) >= 2 and whole(cells[0]) is not None:
            cores.append({"core": whole(cells[0]), "utilization_pct": number(cells[1])})
        elif table == "processes" and cells[0].startswith("/dev/") and len(cells) >= 2:
            holders[cells[0]] = {
                "pid": whole(cells[1]),
                "name": said(cells[2]) if len(cells) > 2 else None,
            }
    if not table:
        raise BadInput("no table of tpu-info in this text")
    if not chips:
        chips = [{"device_path": path, "type": None, "devices": None, "pid": None} for path in holders]
    cards = [
        DecodedCard(
            index=i,
            model=chip["type"],
            processes=_held(chip["pid"], holders.get(chip["device_path"])),
            extra={"device_path": chip["device_path"], "devices": chip["devices"], "pid": chip["pid"]},
        )
        for i, chip in enumerate(chips)
    ]
    extra: dict[str, Any] = {"runtime": runtime}
    for name, pattern in _HEAD.items():
        if match := pattern.search(text):
            extra[name] = match[1]
    if cores:
        extra["cores"] = cores
    notes = []
    if runtime and [row["chip"] for row in runtime] != list(range(len(chips))):
        notes.append("the runtime's chip numbers are not those of the device nodes: not joined")
    return Decoded(maker="tpu", tool="tpu-info", format="table", cards=cards, extra=extra, notes=notes)


def _held(pid: int | None, holder: dict[str, Any] | None) -> list[dict[str, Any]] | None:
    """The process on a chip; None where the text says of none (a masked or absent pid)."""
    if holder is not None and holder["pid"] is not None:
        return [holder]
    return None if pid is None else [{"pid": pid, "name": None}]


def _cells(line: str) -> list[str]:
    """Cells of a line drawn by rich: separated by bars, or by blanks where the inner bars are missing."""
    inner = line.strip()
    inner = inner[1:] if inner[:1] in "|│┃" else inner
    inner = inner[:-1] if inner[-1:] in "|│┃" else inner
    if _EDGE.search(inner):
        return [cell.strip() for cell in _EDGE.split(inner)]
    return [cell for cell in _GAP.split(inner.strip()) if cell]


def _chip(cells: Sequence[str]) -> dict[str, Any]:
    return {
        "device_path": cells[0],
        "type": said(cells[1]) if len(cells) > 1 else None,
        "devices": whole(cells[2]) if len(cells) > 2 else None,
        "pid": whole(cells[3]) if len(cells) > 3 else None,
    }


def _runtime(line: str, cells: Sequence[str]) -> dict[str, Any] | None:
    chip = whole(cells[0])
    memory = _SIZES.search(line)
    if chip is None or memory is None:
        return None
    return {
        "chip": chip,
        "memory_used_gib": _gib(memory[1], memory[2]),
        "memory_total_gib": _gib(memory[3], memory[4]),
        "duty_cycle_pct": number(cells[-1]),
    }


def _gib(value: str, unit: str) -> float:
    factor = {"k": 1 << 10, "m": 1 << 20, "g": GIB, "t": 1 << 40}[unit[0].lower()]
    return float(value) * factor / GIB
