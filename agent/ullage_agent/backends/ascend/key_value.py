"""``npu-smi info -t TYPE -i N [-c M]``, ``info -l`` and ``info -m``: lines of ``Key : value``, and the table of chips.

A block begins with ``NPU ID``. Where a card has several chips, ``Chip ID`` stands before a chip's lines
(``-t common``) or after them (``-t usages``, ``-t memory``); the first line after the head decides.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from ullage_agent.backend import Decoded, DecodedCard
from ullage_agent.backends.ascend.health import told, word_of
from ullage_agent.backends.printed import MIB, address, celsius, hertz, number, ratio, said, watts, whole
from ullage_agent.backends.smi_table import MOST_WIDTH
from ullage_contract.errors import BadInput
from ullage_contract.sample import Value

_LINE: Final = re.compile(r"^\s*([A-Za-z][\w ()/%.,-]*?)\s*:(?:\s+(.*?))?\s*$")
_HEAD: Final = frozenset(
    {"chip count", "product name", "model", "manufacturer", "serial number", "software version"}
    | {"firmware version", "compatibility", "board id", "pcb id", "bom id", "pcie bus info", "slot id"}
    | {"class id", "pci vendor id", "pci device id", "subsystem vendor id", "subsystem device id"}
)
"""Keys (without unit) of the card as a whole: they say nothing about where a chip begins."""
_PROCESS: Final = re.compile(
    r"process\s*id\s*:\s*(\d+)\s+process\s*name\s*:\s*(.*?)\s+process\s*memory\s*\(MB\)\s*:\s*(\d+)",
    re.IGNORECASE,
)


def _mib(text: str | None) -> int | None:
    found = number(text)
    return None if found is None else round(found * MIB)


_Read = Callable[[str | None], Value | None]
_VALUES: Final[Mapping[str, tuple[tuple[str, _Read], ...]]] = {
    "utilization_ratio": (("aicore usage rate", ratio), ("npu utilization", ratio)),
    "control_cpu_ratio": (("ctrlcpu usage rate", ratio),),
    "vector_active_ratio": (("aivector usage rate", ratio), ("vectorcore usage rate", ratio)),
    "memory_bandwidth_ratio": (("hbm bandwidth usage rate", ratio), ("ddr bandwidth usage rate", ratio)),
    "memory_temperature_celsius": (("hbm temperature", celsius),),
    "temperature_celsius": (("temperature", celsius), ("npu temperature", celsius)),
    "power_watts": (
        ("npu real-time power", watts),
        ("power dissipation", watts),
        ("real-time power", watts),
    ),
    "clock_sm_hertz": (("aicore curfreq", hertz),),
    "clock_core_max_hertz": (("aicore freq", hertz),),
    "clock_memory_hertz": (("hbm clock speed", hertz), ("ddr clock speed", hertz)),
    "ecc_corrected": (("hbm single bit error count", whole), ("ddr single bit error count", whole)),
    "ecc_uncorrected": (("hbm double bit error count", whole), ("ddr double bit error count", whole)),
    "ecc_corrected_lifetime": (("hbm single bit aggregate total err cnt", whole),),
    "ecc_uncorrected_lifetime": (("hbm double bit aggregate total err cnt", whole),),
    "retired_pages_corrected": (("hbm single bit isolated pages count", whole),),
    "retired_pages_uncorrected": (("hbm double bit isolated pages count", whole),),
    "health_detail": (("health", told), ("health status", told)),
}


@dataclass(slots=True)
class _Chip:
    card: dict[str, str]
    chip: int | None = None
    values: dict[str, str] = field(default_factory=dict)
    processes: list[Mapping[str, Any]] = field(default_factory=list)


def decode_key_value(text: str) -> Decoded:
    """The chips of every block. Raises BadInput when nothing of npu-smi is in the text."""
    lines = [line[:MOST_WIDTH] for line in text.splitlines()]
    mapped = _map(lines)
    chips = _chips(lines)
    if not chips and not mapped:
        raise BadInput("no table of npu-smi info and no line 'NPU ID : N' in this text")
    return Decoded(
        maker="ascend",
        tool="npu-smi info -m" if mapped and not chips else "npu-smi info -t",
        format="text",
        driver_version=next(
            (c.card["software version"] for c in chips if "software version" in c.card), None
        ),
        cards=[_card(chip) for chip in chips] if chips else mapped,
        notes=[] if any(chip.values for chip in chips) or mapped else ["the text holds no value of a chip"],
    )


def _chips(lines: Sequence[str]) -> list[_Chip]:
    found: list[_Chip] = []
    card: dict[str, str] = {}
    leading: bool | None = None
    open_chip: _Chip | None = None
    for line in lines:
        process = _PROCESS.search(line)
        if process and card:
            if open_chip is None:
                open_chip = _Chip(card)
                found.append(open_chip)
            open_chip.processes.append(
                {"pid": int(process[1]), "name": process[2], "memory_used_bytes": int(process[3]) * MIB}
            )
            continue
        match = _LINE.match(line)
        if match is None:
            continue
        key, value = _key(match[1]), match[2] or ""
        if key == "npu id":
            card, leading, open_chip = {key: value}, None, None
            # a card is one chip until its Chip ID says otherwise
            continue
        if not card:
            continue
        if key == "chip id":
            if leading is None:
                leading = open_chip is None
            if leading or open_chip is None:
                open_chip = _Chip(card, whole(value))
                found.append(open_chip)
            else:
                open_chip.chip = whole(value)
                open_chip = None
        elif key in _HEAD and (open_chip is None or not open_chip.values):
            card[key] = value
        else:
            if open_chip is None:
                open_chip = _Chip(card)
                found.append(open_chip)
            open_chip.values.setdefault(key, value)
        if key == "serial number" and not any(chip.card is card for chip in found):
            found.append(_Chip(card))  # a card of which only the head is printed (-l, -t board)
            open_chip = None
    return _without_empty(found)


def _without_empty(chips: Sequence[_Chip]) -> list[_Chip]:
    """A card's empty chip is dropped where it also has chips with values."""
    return [
        chip
        for chip in chips
        if chip.values
        or chip.processes
        or not any(
            o.card is chip.card and (o.values or o.processes or o.chip is not None) and o is not chip
            for o in chips
        )
    ]


def _key(text: str) -> str:
    """``HBM Usage Rate(%)`` as ``hbm usage rate``."""
    return re.sub(r"\s*\([^)]*\)\s*$", "", text).strip().lower()


def _card(chip: _Chip) -> DecodedCard:
    values: dict[str, Value] = {}
    for key, places in _VALUES.items():
        for name, read in places:
            value = read(chip.values.get(name))
            if value is not None:
                values[key] = value
                break
    values.update(_memory(chip.values))
    health = word_of(str(values.get("health_detail") or ""))
    if health is not None:
        values["health"] = health
    codes = said(chip.values.get("error code"))
    npu_id = whole(chip.card.get("npu id"))
    extra = {
        "npu_id": npu_id,
        "chip_count": whole(chip.card.get("chip count")),
        "product_name": said(chip.card.get("product name")),
        "firmware_version": said(chip.card.get("firmware version")),
        "error_codes": codes.replace(",", " ").split() if codes else None,
    }
    return DecodedCard(
        index=npu_id,
        model=said(chip.card.get("model")) or said(chip.values.get("chip name")),
        serial=said(chip.card.get("serial number")),
        pci_address=address(chip.card.get("pcie bus info")),
        chip=chip.chip,
        values=values,
        processes=chip.processes or None,
        extra={name: value for name, value in extra.items() if value is not None},
    )


def _memory(values: Mapping[str, str]) -> dict[str, Value]:
    """Total and used of the HBM where there is some, else of the DDR; used is printed as a whole per cent only."""
    for name in ("hbm", "ddr", "memory"):
        total = _mib(values.get(f"{name} capacity"))
        share = ratio(values.get(f"{name} usage rate"))
        if total is not None and total > 0:
            return {"memory_total_bytes": total, **({} if share is None else {"memory_ratio": share})}
    for name in ("hbm", "ddr", "memory"):
        share = ratio(values.get(f"{name} usage rate"))
        if share is not None:
            return {"memory_ratio": share}
    return {}


def _map(lines: Sequence[str]) -> list[DecodedCard]:
    """``npu-smi info -m``: NPU ID, Chip ID, Chip Logic ID, (Chip Phy-ID,) Chip Name; MCUs have no logic id."""
    head: list[str] = []
    cards: list[DecodedCard] = []
    for line in lines:
        cells = [cell.strip() for cell in re.split(r"\s{2,}|\t+", line.strip())]
        low = [cell.lower() for cell in cells]
        if low[:2] == ["npu id", "chip id"]:
            head = low
        elif head and len(cells) >= 4 and cells[0].isdecimal():
            row = dict(zip(head, cells, strict=False))
            logic = whole(row.get("chip logic id"))
            if logic is None:
                continue
            physical = whole(row.get("chip phy-id"))
            cards.append(
                DecodedCard(
                    index=logic if physical is None else physical,
                    model=said(cells[-1]),
                    chip=whole(row.get("chip id")),
                    extra={"npu_id": int(cells[0])},
                )
            )
    return cards
