"""``npu-smi``: the table of ``npu-smi info``, its process list, and the key/value answers of ``info -t``, ``-l``, ``-m``.

The table's head says which columns there are: the second line of a chip is named "Chip Device", "Chip Phy-ID"
or only "Chip", memory is one pair (DDR) or two (DDR and HBM). Cells are cut at the bars, so long names and
shifted bars do not matter. Key/value answers are read in key_value.py.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from ullage_agent.backend import Decoded, DecodedCard
from ullage_agent.backends.ascend.health import told, word_of
from ullage_agent.backends.ascend.key_value import decode_key_value
from ullage_agent.backends.printed import MIB, address, celsius, number, said, watts
from ullage_agent.backends.smi_table import MOST_WIDTH
from ullage_contract.errors import BadInput
from ullage_contract.sample import Value

SLICED_NPU_ID: Final = 32768
"""The NPU id npu-smi prints inside a container with a part of a chip (recorded 2026, npu-smi 25.5.1)."""

_VERSIONS: Final = re.compile(r"npu-smi\s+v?(\S+)(?:.*?\bVersion\s*:\s*([^\s|]+))?")
_COLUMN: Final = re.compile(r"([A-Za-z][\w-]*(?: [A-Za-z][\w-]*)?)\s*\(([^)]*)\)")
_TOKEN: Final = re.compile(r"(?:[\d.]+|NA|N/A|-)\s*/\s*(?:[\d.]+|N/A|NA|-)|N/A|\S+")
_PAIR: Final = re.compile(r"^([\d.]+|NA|N/A|-)\s*/\s*([\d.]+|N/A|NA|-)$")
_BUS: Final = re.compile(r"^(?:[0-9a-fA-FxX*]{4,8}:)?[0-9a-fA-FxX*]{2}:[0-9a-fA-FxX*]{2}(?:\.[0-7xX*])?$")
_FIRST_BAR: Final = re.compile(r"([|│])")
_FIRST_CELL: Final = re.compile(r"(?i)^(?:\d+\s*[\w.-]*|npu\b.*|chip\b.*|no running\b.*)$")
"""What stands in a table's first cell: a line that lost its first bar keeps it."""
_MASKED: Final = re.compile(r"[xX*]{2}")


def decode(text: str) -> Decoded:
    """The chips. Raises BadInput for a text that is not npu-smi's."""
    table = _Table()
    for line in text.splitlines():
        table.take(line[:MOST_WIDTH].expandtabs())
    if not table.headed:
        return decode_key_value(text)
    versions = _VERSIONS.search(text)
    cards = [card for card in (_card(chip, table.processes) for chip in table.chips) if card is not None]
    return Decoded(
        maker="ascend",
        tool="npu-smi info",
        format="table",
        driver_version=versions[2] if versions else None,
        cards=cards,
        extra={"tool_version": versions[1]} if versions else {},
        notes=[*table.notes(), *_suspect(cards)],
    )


@dataclass(slots=True)
class _Chip:
    """The two lines of one chip as far as the text has them: column -> text."""

    npu_id: int | None = None
    name: str | None = None
    chip: int | None = None
    device: int | None = None
    bus: str | None = None
    health: str | None = None
    has_device: bool = False
    cells: dict[str, str] = field(default_factory=dict)
    complete: bool = False


class _Table:
    """Takes the lines one by one: heads, chips, processes. Anything else is passed over."""

    def __init__(self) -> None:
        self.headed = False
        self.chips: list[_Chip] = []
        self.processes: dict[tuple[int, int], list[Mapping[str, Any]]] | None = None
        self._first: tuple[str, ...] = ()
        self._second: tuple[str, ...] = ()
        self._chip_head: tuple[str, ...] = ()
        self._closed = False

    def take(self, line: str) -> None:
        """One line of the text."""
        if not re.search(r"[|│]", line):
            if self.chips and re.match(r"^\s*\+[-=+]+\+?\s*$", line):
                self._closed = self.chips[-1].complete
            return
        before, bar, behind = (
            _FIRST_BAR.split(line, maxsplit=1) if _FIRST_BAR.search(line) else (line, "", "")
        )
        if bar and before.strip() and not _FIRST_CELL.match(before.strip()):
            line = bar + behind  # what a log or a quotation put in front of the table
        cells = [cell.strip() for cell in re.split(r"[|│]", line.strip().strip("|│"))]
        low = " ".join(cells).lower()
        head = cells[0].lower().split()
        if head[:1] == ["npu"] and "health" in low:
            self.headed, self._first = True, _columns(cells[-1])
        elif head[:1] == ["chip"] and "bus-id" in low:
            self._second, self._chip_head = _columns(cells[-1]), tuple(head)
        elif head[:1] == ["npu"] and "process" in low:
            self.processes = {} if self.processes is None else self.processes
        elif self.processes is not None:
            self._process(cells)
        elif self.headed and len(cells) >= 3:
            self._closed = False
            self._chip(cells)

    def notes(self) -> Iterator[str]:
        """What a reader of the decoded text should know."""
        if self.chips and not self.chips[-1].complete:
            yield "truncated: the last chip's second line is missing"
        elif self.chips and not self._closed and self.processes is None:
            yield "truncated: the table does not end"
        if any(chip.bus and _MASKED.search(chip.bus) for chip in self.chips):
            yield "masked: bus ids are overwritten"
        if any(chip.npu_id == SLICED_NPU_ID for chip in self.chips):
            yield f"NPU id {SLICED_NPU_ID}: printed inside a sliced container; memory total is its quota"

    def _chip(self, cells: Sequence[str]) -> None:
        words = cells[0].split()
        if not words or not words[0].isdecimal():
            return
        middle = cells[1].strip()
        if _BUS.match(middle) or (middle.upper() in ("NA", "N/A", "-") and all(w.isdecimal() for w in words)):
            self._second_line(words, middle, cells)
        elif len(words) >= 2:
            chip = _Chip(npu_id=int(words[0]), name=" ".join(words[1:]), health=told(middle))
            chip.cells.update(_aligned(self._first, " ".join(cells[2:])))
            chip.has_device = any(word in ("device", "phy-id") for word in self._chip_head)
            self.chips.append(chip)

    def _second_line(self, words: Sequence[str], bus: str, cells: Sequence[str]) -> None:
        chip = self.chips[-1] if self.chips else _Chip()
        if not self.chips or chip.complete:
            # a further chip of the same board that has no first line of its own
            chip = _Chip(npu_id=chip.npu_id, name=chip.name)
            chip.has_device = any(word in ("device", "phy-id") for word in self._chip_head)
            self.chips.append(chip)
        chip.chip = int(words[0])
        if len(words) > 1 and words[1].isdecimal():
            chip.device = int(words[1])
        chip.bus = bus
        chip.cells.update(_aligned(self._second, " ".join(cells[2:])))
        chip.complete = True

    def _process(self, cells: Sequence[str]) -> None:
        words = cells[0].split()
        if (
            self.processes is None
            or not words
            or not all(word.isdecimal() for word in words)
            or len(cells) < 3
        ):
            return
        pid = re.search(r"\d+", cells[1])
        if pid is None:
            return
        held = number(cells[-1]) if len(cells) >= 4 else None
        self.processes.setdefault((int(words[0]), int(words[1]) if len(words) > 1 else 0), []).append(
            {
                "pid": int(pid.group()),
                "name": said(cells[2]),
                "memory_used_bytes": None if held is None else round(held * MIB),
            }
        )


def _columns(cell: str) -> tuple[str, ...]:
    """``AICore(%)   Memory-Usage(MB)  HBM-Usage(MB)`` as lower-case names in order."""
    return tuple(match[1].split()[-1].lower() for match in _COLUMN.finditer(cell))


def _aligned(columns: Sequence[str], cell: str) -> dict[str, str]:
    """Column -> text. Pairs go to the ``-usage`` columns, single values to the others, each in their order."""
    tokens = _TOKEN.findall(cell)
    pairs = [token for token in tokens if _PAIR.match(token)]
    single = [token for token in tokens if not _PAIR.match(token)]
    found = dict(zip((c for c in columns if c.endswith("usage")), pairs, strict=False))
    found.update(zip((c for c in columns if not c.endswith("usage")), single, strict=False))
    return found


def _card(
    chip: _Chip, processes: Mapping[tuple[int, int], list[Mapping[str, Any]]] | None
) -> DecodedCard | None:
    if chip.npu_id is None and chip.chip is None:
        return None
    used, total = _memory(chip.cells)
    busy = number(chip.cells.get("aicore"))
    values: dict[str, Value | None] = {
        "utilization_ratio": busy / 100 if busy is not None and 0 <= busy <= 100 else None,
        "memory_used_bytes": used,
        "memory_total_bytes": total,
        "power_watts": watts(chip.cells.get("power")),
        "temperature_celsius": celsius(chip.cells.get("temp")),
        "health": word_of(chip.health, chip.name),
        "health_detail": chip.health,
    }
    index = chip.device if chip.device is not None else (None if chip.has_device else chip.npu_id)
    key = (chip.npu_id if chip.npu_id is not None else -1, chip.chip or 0)
    return DecodedCard(
        index=index,
        model=said(chip.name),
        pci_address=address(chip.bus),
        board_id=None,
        chip=chip.chip,
        values={name: value for name, value in values.items() if value is not None},
        processes=None if processes is None else processes.get(key, []),
        extra={name: value for name, value in _extra(chip).items() if value is not None},
    )


def _extra(chip: _Chip) -> dict[str, Any]:
    pages, all_pages = _pair(chip.cells.get("hugepages-usage"))
    ddr_used, ddr_total = _pair(chip.cells.get("memory-usage"))
    both = "hbm-usage" in chip.cells
    return {
        "npu_id": chip.npu_id,
        "hugepages_used": None if pages is None else int(pages),
        "hugepages_total": None if all_pages is None else int(all_pages),
        "ddr_used_bytes": round(ddr_used * MIB) if both and ddr_used is not None else None,
        "ddr_total_bytes": round(ddr_total * MIB) if both and ddr_total is not None else None,
    }


def _memory(cells: Mapping[str, str]) -> tuple[int | None, int | None]:
    """(used, total) bytes: the HBM where there is some, else the DDR (npu-smi's MB are 2^20)."""
    for column in ("hbm-usage", "memory-usage"):
        used, total = _pair(cells.get(column))
        if total:
            return (None if used is None else round(used * MIB)), round(total * MIB)
    return None, None


def _pair(text: str | None) -> tuple[float | None, float | None]:
    match = _PAIR.match(text or "")
    return (number(match[1]), number(match[2])) if match else (None, None)


def _suspect(cards: Sequence[DecodedCard]) -> Iterator[str]:
    """310B prints 0.0 W while it works, and Alarm in normal use (several reports, 2023 to 2025)."""
    for card in cards:
        if card.values.get("power_watts") == 0:
            yield f"suspect: NPU {card.index} prints 0.0 W"
        if (card.model or "").startswith("310B") and card.values.get("health_detail") == "Alarm":
            yield f"suspect: NPU {card.index}: {card.model} boards print Alarm in normal use"


__all__ = ["BadInput", "decode"]
