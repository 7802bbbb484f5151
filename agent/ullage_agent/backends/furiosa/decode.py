"""``furiosa-smi info|status|ps``: tables and ``--format json``. Columns differ per release: read by header."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from ullage_agent.backend import Decoded, DecodedCard
from ullage_agent.backends.json_text import find_json, listing, looks_like_json, mapping, word
from ullage_agent.backends.printed import address, box, celsius, number, said, size, watts, whole
from ullage_contract.errors import BadInput
from ullage_contract.sample import Value

_CORE = re.compile(r"Core\s+(\d+)\s*:\s*([\d.]+)\s*%", re.IGNORECASE)
_STATE = re.compile(r"(\d+)\s*\((\w+)\)")


def decode(text: str) -> Decoded:
    """The NPUs. Raises BadInput for a text that is not this tool's."""
    if looks_like_json(text):
        return _json(text)
    return _table(text)


def _table(text: str) -> Decoded:
    head: list[str] | None = None
    cards: list[DecodedCard] = []
    for group in box(text.splitlines()).groups:
        rows = list(group)
        if head is None or (rows and "device" in [cell.lower() for cell in rows[0]]):
            for position, row in enumerate(rows):
                names = [cell.lower().rstrip(".") for cell in row]
                if "device" in names:
                    head = names
                    rows = rows[position + 1 :]
                    break
        if head is None:
            continue
        cards.extend(_cards(head, rows, len(cards)))
    if head is None:
        raise BadInput("no table of furiosa-smi in this text")
    kind = "status" if any("core" in name for name in head) else "ps" if "pid" in head else "info"
    return Decoded(maker="furiosa", tool=f"furiosa-smi {kind}", format="table", cards=cards)


def _cards(head: Sequence[str], rows: Sequence[Sequence[str]], before: int) -> list[DecodedCard]:
    """A card's cells may run over several lines; its name stands on one of them, anywhere."""
    blocks: list[dict[str, list[str]]] = []
    device = head.index("device")
    whole_rows = [row for row in rows if len(row) == len(head)]
    named = sum(bool(said(row[device])) for row in whole_rows)
    for row in whole_rows:
        start_new = not blocks or (named > 1 and bool(said(row[device])) and bool(blocks[-1]["device"]))
        if start_new:
            blocks.append({name: [] for name in head})
        for name, cell in zip(head, row, strict=True):
            if cell:
                blocks[-1][name].append(cell)
    return [_card(block, before + i) for i, block in enumerate(blocks) if block["device"]]


def _card(block: Mapping[str, list[str]], position: int) -> DecodedCard:
    def cell(*names: str) -> str | None:
        for name in names:
            if block.get(name):
                return " ".join(block[name])
        return None

    device = said(cell("device"))
    index = whole(device) if device else None
    loads = [float(v) for _, v in _CORE.findall(cell("core utilization", "pe utilization") or "")]
    states = _STATE.findall(cell("cores", "pes") or "")
    extra: dict[str, Any] = {"device": device, "firmware": said(cell("firmware", "firmware version"))}
    values: dict[str, Value | None] = {
        "temperature_celsius": celsius(cell("temp", "temperature")),
        "power_watts": watts(cell("power")),
        "memory_used_bytes": None,
        "clock_core_hertz": None,
    }
    if loads:
        values["utilization_ratio"] = sum(loads) / len(loads) / 100
        extra["core_utilization_pct"] = loads
    if states:
        extra["cores_occupied"] = sum(state.lower() == "occupied" for _, state in states)
    if memory := cell("memory", "dram"):
        used, _, total = memory.partition("/")
        values["memory_used_bytes"] = size(used)
        values["memory_total_bytes"] = size(total)
    if liveness := said(cell("liveness", "status")):
        values["health_detail"] = liveness
    return DecodedCard(
        index=position if index is None else index,
        model=said(cell("arch")),
        uuid=said(cell("uuid", "device uuid")),
        serial=said(cell("serial", "device sn", "sn")),
        pci_address=address(cell("pci-bdf", "pci bdf", "bdf")),
        values={key: value for key, value in values.items() if value is not None},
        extra={key: value for key, value in extra.items() if value is not None},
    )


def _json(text: str) -> Decoded:
    document = find_json(text, "furiosa-smi")
    entries = [mapping(entry) for entry in (document if isinstance(document, list) else [document])]
    if not any(entry.keys() & {"dev_name", "device", "pe_utilizations", "pci_bdf"} for entry in entries):
        raise BadInput("this JSON is not furiosa-smi's: no dev_name, pe_utilizations or pci_bdf")
    cards = []
    for position, entry in enumerate(entries):
        device = said(word(entry.get("dev_name") or entry.get("device")))
        index = whole(device) if device else None
        loads = [
            load
            for load in (
                number(word(mapping(pe).get("utilization"))) for pe in listing(entry.get("pe_utilizations"))
            )
            if load is not None
        ]
        values: dict[str, Value | None] = {
            "temperature_celsius": celsius(word(entry.get("temperature"))),
            "power_watts": watts(word(entry.get("power"))),
            "utilization_ratio": sum(loads) / len(loads) / 100 if loads else None,
            "clock_core_hertz": _frequency(entry.get("core_frequency")),
            "clock_memory_hertz": _frequency(entry.get("memory_frequency")),
        }
        liveness = entry.get("liveness")
        if isinstance(liveness, bool):
            values["health_detail"] = "alive" if liveness else "not alive"
        cards.append(
            DecodedCard(
                index=position if index is None else index,
                model=said(word(entry.get("arch"))),
                uuid=said(word(entry.get("device_uuid"))),
                serial=said(word(entry.get("device_sn"))),
                pci_address=address(word(entry.get("pci_bdf"))),
                values={key: value for key, value in values.items() if value is not None},
                extra={
                    key: value
                    for key, value in {
                        "device": device,
                        "firmware": said(word(entry.get("firmware"))),
                        "core_utilization_pct": loads or None,
                    }.items()
                    if value is not None
                },
            )
        )
    return Decoded(maker="furiosa", tool="furiosa-smi", format="json", cards=cards)


def _frequency(value: Any) -> float | None:
    found = number(word(value))
    return None if found is None else found * 1e6
