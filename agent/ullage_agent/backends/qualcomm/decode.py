"""``qaic-util -q``: blocks of ``QID n`` with key and value lines, whole or cut down by grep; and its JSON."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from ullage_agent.backend import Decoded, DecodedCard
from ullage_agent.backends.json_text import TORN, find_torn_json, listing, looks_like_json, mapping, word
from ullage_agent.backends.printed import MIB, address, celsius, hertz, number, said, size, watts, whole
from ullage_contract.errors import BadInput
from ullage_contract.sample import Value

_QID = re.compile(r"^\s*QID\s*[:=]?\s*(\d+)\s*$", re.IGNORECASE)
_PAIR = re.compile(r"^\s*+([A-Za-z][\w ./()\-]*+)[:=](.*)$")


def decode(text: str) -> Decoded:
    """The SoCs. Raises BadInput for a text that is not this tool's."""
    torn = False
    if looks_like_json(text):
        document, torn = find_torn_json(text, "qaic-util")
        entries = (
            document
            if isinstance(document, list)
            else listing(mapping(document).get("devices")) or [document]
        )
        blocks = [_flat(mapping(entry)) for entry in entries]
        blocks = [block for block in blocks if "qid" in block]
        form = "json"
    else:
        blocks = _blocks(text)
        form = "text"
    if not blocks:
        raise BadInput("no QID of qaic-util in this text")
    driver = next((b[k] for b in blocks for k in ("driver_version", "lra_version") if b.get(k)), None)
    return Decoded(
        maker="qualcomm",
        tool="qaic-util -q",
        format=form,
        driver_version=said(driver),
        cards=[_card(block, i) for i, block in enumerate(blocks)],
        notes=[TORN] if torn else [],
    )


def _flat(entry: Mapping[str, Any], depth: int = 3) -> dict[str, str]:
    """Every scalar of an entry and of the groups in it by its own name; the outer one wins."""
    found: dict[str, str] = {}
    for value in entry.values():
        if isinstance(value, dict) and depth:
            for inner, text in _flat(value, depth - 1).items():
                found.setdefault(inner, text)
    found.update({_key(k): word(v) or "" for k, v in entry.items() if not isinstance(v, dict | list)})
    return found


def _blocks(text: str) -> list[dict[str, str]]:
    blocks: list[dict[str, str]] = []
    for line in text.splitlines():
        start = _QID.match(line)
        if start:
            blocks.append({"qid": start[1]})
            continue
        pair = _PAIR.match(line)
        if pair and blocks:
            blocks[-1].setdefault(_key(pair[1]), pair[2].strip())
    return blocks


def _key(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "_", text.strip().lower()).strip("_")


def _card(block: Mapping[str, str], position: int) -> DecodedCard:
    def first(*names: str) -> str | None:
        return next((block[name] for name in names if name in block), None)

    status = (first("status", "device_status") or "").strip()
    if status.lower() != "error":  # elsewhere a way of saying nothing, here the tool's own word
        status = said(status) or ""
    values: dict[str, Value | None] = {
        "health_detail": status or None,
        # Error may only be a missing permission, so it is no verdict by itself
        "health": "ok" if status.lower() == "ready" else None,
        "temperature_celsius": celsius(first("soc_temperature", "temperature", "soc_temp")),
        "power_watts": watts(first("soc_power")),
        "board_power_watts": watts(first("board_power", "card_power")),
        "power_limit_watts": watts(first("tdp_cap", "board_power_limit", "tdp")),
        "clock_core_hertz": hertz(first("nsp_frequency", "nsp_freq", "nsp_frequency_mhz")),
        "clock_memory_hertz": hertz(first("ddr_frequency", "ddr_freq", "ddr_frequency_mhz")),
        "memory_total_bytes": size(first("dram_total", "ddr_total"), MIB),
        "ecc_corrected": whole(first("ecc_correctable", "correctable_errors")),
        "ecc_uncorrected": whole(first("ecc_uncorrectable", "uncorrectable_errors")),
    }
    free = size(first("dram_free", "ddr_free"), MIB)
    total = values["memory_total_bytes"]
    if isinstance(total, int) and free is not None:
        values["memory_used_bytes"] = max(0, total - free)
    busy, free_cores, cores = None, number(first("nsp_free")), number(first("nsp_total"))
    if free_cores is not None and cores:
        busy = (cores - free_cores) / cores
    extra: dict[str, Any] = {
        "mhi_id": whole(first("mhi_id")),
        "firmware": said(first("firmware_version", "fw_version")),
        "nsp_total": whole(first("nsp_total")),
        "nsp_free": whole(first("nsp_free")),
        "nsp_occupied_ratio": busy,
        "networks_loaded": whole(first("networks_loaded")),
        "networks_active": whole(first("networks_active")),
        "hw_version": said(first("hw_version")),
    }
    qid = whole(block.get("qid"))
    return DecodedCard(
        index=position if qid is None else qid,
        model=said(first("sku_type", "board_type", "hw_type", "product")),
        serial=said(first("board_serial")) or said(first("serial_number", "hw_serial", "serial")),
        board_id=said(first("board_serial")),
        pci_address=address(first("pci_address", "pcie_address", "pci_bdf", "pci_info")),
        values={key: value for key, value in values.items() if value is not None},
        extra={key: value for key, value in extra.items() if value is not None},
    )
