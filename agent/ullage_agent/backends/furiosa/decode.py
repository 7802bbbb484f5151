"""``furiosa-smi info|status|ps``: tables and ``--format json``. Columns differ per release: read by header."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from ullage_agent.backend import Decoded, DecodedCard
from ullage_agent.backends.json_text import TORN, find_torn_json, listing, looks_like_json, mapping, word
from ullage_agent.backends.printed import address, box, celsius, number, said, size, watts, whole
from ullage_contract.errors import BadInput
from ullage_contract.sample import Value

_CORE = re.compile(r"Core\s+(\d+)\s*:\s*(\d+(?:\.\d+)?)\s*%", re.IGNORECASE)
_SIZES = re.compile(r"([\d.]+)\s*([KMGT]i?B)?\s*/\s*([\d.]+)\s*([KMGT]i?B)", re.IGNORECASE)
_HEALTH = {"alive": "ok", "true": "ok", "dead": "critical", "not alive": "critical", "false": "critical"}
_NPU = re.compile(r"npu:?(\d+)(?:(?:pe|:)([\d\-,]+))?")
_STATE = re.compile(r"(\d+)\s*\((\w+)\)")


def decode(text: str) -> Decoded:
    """The NPUs. Raises BadInput for a text that is not this tool's."""
    if looks_like_json(text):
        return _json(text)
    return _table(text)


def _table(text: str) -> Decoded:
    head: list[str] | None = None
    cards: list[DecodedCard] = []
    lines = text.splitlines()
    if (held := _held(lines)) is not None:
        return held
    for group in box(lines).groups:
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


def _held(lines: Sequence[str]) -> Decoded | None:
    """``ps``: a row a process, with the PEs it holds (npu0pe0-3). None for another table."""
    rows = [row for group in box(lines).groups for row in group]
    for position, row in enumerate(rows):
        head = [cell.lower() for cell in row]
        if "pid" not in head or not {"npu", "device"} & set(head):
            continue
        place = head.index("npu") if "npu" in head else head.index("device")
        entries = []
        for cells in rows[position + 1 :]:
            if len(cells) < len(head):
                continue
            command = next((i for i, name in enumerate(head) if name in ("cmd", "command")), None)
            entries.append(
                {
                    "device": cells[place],
                    "pid": cells[head.index("pid")],
                    "command": "|".join(cells[command : command + 1 + len(cells) - len(head)])
                    if command is not None
                    else None,
                }
            )
        return _processes(entries, "table")
    return None


def _processes(entries: Sequence[Mapping[str, Any]], form: str) -> Decoded:
    """Processes by the card they are on; a card that nobody holds is not in ``ps``."""
    held: dict[int, list[dict[str, Any]]] = {}
    for entry in entries:
        match = _NPU.search(word(entry.get("device")) or "")
        pid = whole(word(entry.get("pid")))
        if match is None or pid is None:
            continue
        process = {"pid": pid, "name": said(word(entry.get("command"))), "cores": match[2] or None}
        memory = whole(word(entry.get("memory_usage")))
        if memory is not None:
            process["memory_used_bytes"] = memory
        held.setdefault(int(match[1]), []).append(process)
    cards = [
        DecodedCard(index=index, processes=processes, extra={"device": f"npu{index}"})
        for index, processes in sorted(held.items())
    ]
    return Decoded(maker="furiosa", tool="furiosa-smi ps", format=form, cards=cards)


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
            for column, found in block.items():
                if found and (column == name or column.startswith((f"{name} ", f"{name}("))):
                    return " ".join(found)
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
    if match := _SIZES.search(cell("memory", "dram", "hbm", "mem") or ""):
        values["memory_used_bytes"] = size(f"{match[1]} {match[2] or match[4]}")
        values["memory_total_bytes"] = size(f"{match[3]} {match[4]}")
    if liveness := said(cell("liveness", "status")):
        values["health_detail"] = liveness
        values["health"] = _HEALTH.get(liveness.lower())
    values["performance_state"] = said(cell("governor"))
    return DecodedCard(
        index=position if index is None else index,
        model=said(cell("arch")),
        uuid=said(cell("uuid", "device uuid")),
        serial=said(cell("serial", "s/n", "device sn", "sn")),
        pci_address=address(cell("pci-bdf", "pci bdf", "bdf")),
        values={key: value for key, value in values.items() if value is not None},
        extra={key: value for key, value in extra.items() if value is not None},
    )


def _json(text: str) -> Decoded:
    document, torn = find_torn_json(text, "furiosa-smi")
    entries = [mapping(entry) for entry in (document if isinstance(document, list) else [document])]
    if not any(entry.keys() & {"dev_name", "device", "pe_utilizations", "pci_bdf"} for entry in entries):
        raise BadInput("this JSON is not furiosa-smi's: no dev_name, pe_utilizations or pci_bdf")
    if all("pid" in entry for entry in entries):
        return _processes(entries, "json")
    cards = []
    for position, entry in enumerate(entries):
        device = said(word(entry.get("dev_name") or entry.get("device")))
        index = whole(word(entry.get("index")))
        if index is None:
            index = whole(device) if device else None
        loads = [
            load
            for load in (
                number(word(mapping(pe).get("utilization", mapping(pe).get("pe_utilization"))))
                for pe in listing(entry.get("pe_utilizations"))
            )
            if load is not None
        ]
        values: dict[str, Value | None] = {
            "temperature_celsius": celsius(word(entry.get("temperature"))),
            "power_watts": watts(word(entry.get("power"))),
            "utilization_ratio": sum(loads) / len(loads) / 100 if loads else None,
            "clock_core_hertz": _frequency(entry.get("core_frequency", entry.get("core_clock"))),
            "clock_memory_hertz": _frequency(entry.get("memory_frequency")),
        }
        liveness = entry.get("liveness")
        if isinstance(liveness, bool):
            liveness = "alive" if liveness else "not alive"
        if alive := said(word(liveness)):
            values["health_detail"] = alive
            values["health"] = _HEALTH.get(alive.lower())
        values["performance_state"] = said(word(entry.get("governor")))
        cores = [mapping(core) for core in listing(entry.get("cores"))]
        occupied = sum((word(core.get("status")) or "").lower() == "occupied" for core in cores)
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
                        "cores_occupied": occupied if cores else None,
                        "pci_device": said(word(entry.get("pci_dev"))),
                    }.items()
                    if value is not None
                },
            )
        )
    return Decoded(
        maker="furiosa", tool="furiosa-smi", format="json", cards=cards, notes=[TORN] if torn else []
    )


def _frequency(value: Any) -> float | None:
    found = number(word(value))
    return None if found is None else found * 1e6
