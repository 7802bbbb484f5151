"""``rbln-smi`` (older: ``rbln-stat``): its table and its ``--json``.

A CA25 board holds four NPUs; the table prints name and power on the first of them only, the JSON repeats
the name of the board in ``board_info``. Sizes in JSON are text of bytes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from itertools import accumulate
from typing import Any

from ullage_agent.backend import Decoded, DecodedCard
from ullage_agent.backends.json_text import TORN, find_torn_json, listing, looks_like_json, mapping, word
from ullage_agent.backends.printed import address, box, celsius, number, ratio, said, size, watts, whole
from ullage_contract.errors import BadInput
from ullage_contract.sample import Value

_VERSION = re.compile(r"KMD ver(?:sion)?\s*[:=]?\s*(\S+)", re.IGNORECASE)
_PSTATE = re.compile(r"^\s*P\d+\s*$", re.IGNORECASE)
_HEALTH = {"P10": "degraded", "P12": "critical"}
"""P-states that are trouble: thermal throttling and system abort (docs.rbln.ai, device management)."""
_SIZES = re.compile(r"(\S+)\s*/\s*(\S+)")


def decode(text: str) -> Decoded:
    """The NPUs. Raises BadInput for a text that is not this tool's."""
    if looks_like_json(text) and "devices" in text:
        return _json(text)
    return _table(text)


def _table(text: str) -> Decoded:
    head: list[str] | None = None
    listed: list[str] | None = None
    contexts: dict[int, list[Mapping[str, Any]]] | None = None
    rows: list[tuple[int, dict[str, str]]] = []
    for row in (row for group in box(text.splitlines()).groups for row in group):
        names = [cell.lower() for cell in row]
        if "npu" in names and any("bus" in name for name in names):
            head = names
        elif "pid" in names and "npu" in names:
            listed, contexts = names, contexts or {}
        elif listed is not None and contexts is not None and len(row) == len(listed):
            _context(dict(zip(listed, row, strict=True)), contexts)
        elif head is not None and len(row) == len(head) and (index := whole(row[0])) is not None:
            rows.append((index, dict(zip(head, row, strict=True))))
    if head is None:
        raise BadInput("no table of rbln-smi or rbln-stat in this text")
    shared = any(not said(cells.get("name")) for _, cells in rows)  # one name for the NPUs of a board
    boards = list(accumulate(1 if said(cells.get("name")) else 0 for _, cells in rows))
    cards = [
        _row(
            index, cells, board - 1 if shared else None, None if contexts is None else contexts.get(index, [])
        )
        for (index, cells), board in zip(rows, boards, strict=True)
    ]
    version = _VERSION.search(text)
    return Decoded(
        maker="rebellions",
        tool="rbln-smi" if version else "rbln-stat",
        format="table",
        driver_version=said(version[1]) if version else None,
        cards=cards,
    )


def _context(cells: Mapping[str, str], contexts: dict[int, list[Mapping[str, Any]]]) -> None:
    """A row of the context table: a process may hold several."""
    npu, pid = whole(cells.get("npu")), whole(cells.get("pid"))
    if npu is None or pid is None:
        return
    process = {
        "pid": pid,
        "name": said(cells.get("process")),
        "memory_used_bytes": size(cells.get("mem") or cells.get("memalloc") or cells.get("memory"), 1),
    }
    contexts.setdefault(npu, []).append(process)


def _row(
    index: int, cells: Mapping[str, str], board: int | None, processes: list[Mapping[str, Any]] | None
) -> DecodedCard:
    memory = _SIZES.search(cells.get("memory(used/total)") or cells.get("memory") or "")
    return _card(
        index,
        model=said(cells.get("name")),
        pci=cells.get("pci bus id") or cells.get("bus id"),
        device=said(cells.get("device")),
        temperature=cells.get("temp"),
        power=cells.get("power"),
        pstate=cells.get("perf"),
        used=size(memory[1], 1) if memory else None,
        total=size(memory[2], 1) if memory else None,
        utilization=cells.get("util"),
        extra={} if board is None else {"board": board},
        processes=processes,
    )


def _json(text: str) -> Decoded:
    found, torn = find_torn_json(text, "rbln-smi")
    document = mapping(found)
    cards = []
    for position, entry in enumerate(listing(document.get("devices"))):
        item = mapping(entry)
        memory, pci = mapping(item.get("memory")), mapping(item.get("pci"))
        index = whole(word(item.get("npu")))
        card = _card(
            position if index is None else index,
            model=said(word(item.get("name"))),
            pci=word(pci.get("bus_id")),
            device=said(word(item.get("device"))),
            temperature=word(item.get("temperature")),
            power=word(item.get("card_power")),
            pstate=word(item.get("pstate")),
            used=size(word(memory.get("used")), 1),
            total=size(word(memory.get("total")), 1),
            utilization=word(item.get("util")),
            extra={
                "firmware": said(word(item.get("fw_ver"))),
                "sid": said(word(item.get("sid"))),
                "status": said(word(item.get("status"))),
                "numa_node": whole(word(pci.get("numa_node"))),
                "link_speed": said(word(pci.get("link_speed"))),
                "link_width": said(word(pci.get("link_width"))),
                "board_info": said(word(item.get("board_info"))),
            },
            uuid=said(word(item.get("uuid"))),
            processes=_contexts(document, item.get("npu")),
            status=said(word(item.get("status"))),
        )
        cards.append(card)
    if not cards and "devices" not in document:
        raise BadInput("this JSON is not rbln-smi's: it has no devices")
    return Decoded(
        maker="rebellions",
        tool="rbln-smi --json",
        format="json",
        driver_version=said(word(document.get("KMD_version"))),
        cards=cards,
        notes=[TORN] if torn else [],
    )


def _contexts(document: Mapping[str, Any], npu: Any) -> list[Mapping[str, Any]] | None:
    if "contexts" not in document:
        return None
    return [
        {
            "pid": whole(word(item.get("pid"))),
            "name": said(word(item.get("process") or item.get("name"))),
            "memory_used_bytes": size(word(item.get("memalloc") or item.get("memory")), 1),
        }
        for item in map(mapping, listing(document["contexts"]))
        if str(item.get("npu")) == str(npu)
    ]


def _card(
    index: int,
    *,
    model: str | None,
    pci: str | None,
    device: str | None,
    temperature: str | None,
    power: str | None,
    pstate: str | None,
    used: int | None,
    total: int | None,
    utilization: str | None,
    extra: dict[str, Any],
    uuid: str | None = None,
    processes: list[Mapping[str, Any]] | None = None,
    status: str | None = None,
) -> DecodedCard:
    values: dict[str, Value | None] = {
        "utilization_ratio": ratio(utilization),
        "memory_used_bytes": used,
        "memory_total_bytes": total,
        "temperature_celsius": celsius(temperature),
        "power_watts": _power(power),
        "performance_state": said(pstate),
        "health_detail": status,
        "health": _HEALTH.get(pstate.strip().upper(), "ok") if pstate and _PSTATE.match(pstate) else None,
    }
    return DecodedCard(
        index=index,
        model=model,
        uuid=uuid,
        pci_address=address(pci),
        values={key: value for key, value in values.items() if value is not None},
        processes=processes,
        extra={"device": device, **extra},
    )


def _power(text: str | None) -> float | None:
    """``45.2W``; the JSON of some versions says milliwatts (``18100mW``)."""
    if text and text.strip().lower().endswith("mw"):
        found = number(text)
        return None if found is None else found / 1000
    return watts(text)
