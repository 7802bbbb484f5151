"""``neuron-ls`` (table and ``--json-output``) and one report line of ``neuron-monitor``.

Every process of neuron-monitor lists all cores, so a core's utilisation is summed over processes. No
process means no entry: idle, if the monitor itself reports. There is no temperature, power or clock.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from ullage_agent.backend import Decoded, DecodedCard
from ullage_agent.backends.json_text import TORN, find_torn_json, listing, looks_like_json, mapping, word
from ullage_agent.backends.printed import address, box, number, said, whole
from ullage_contract.errors import BadInput
from ullage_contract.sample import Value


def decode(text: str) -> Decoded:
    """The devices. Raises BadInput for a text that is not one of these tools'."""
    if looks_like_json(text):
        document, torn = find_torn_json(text, "neuron-ls or neuron-monitor")
        decoded = _json(document)
        return replace(decoded, notes=[TORN]) if torn else decoded
    return _table(text)


def _json(document: Any) -> Decoded:
    if isinstance(document, list):
        return _listed(document)
    if {"neuron_runtime_data", "system_data", "neuron_hardware_info"} & mapping(document).keys():
        return _monitored(mapping(document))
    for name in ("mlas", "neuron_devices", "devices"):  # later releases wrap the list
        if isinstance(mapping(document).get(name), list):
            return _listed(mapping(document)[name])
    raise BadInput("this JSON is neither neuron-ls's nor neuron-monitor's")


def _table(text: str) -> Decoded:
    """The head may run over several lines; its words are joined column by column."""
    head: list[str] | None = None
    cards: list[DecodedCard] = []
    for group in box(text.splitlines()).groups:
        joined = [" ".join(filter(None, column)).lower() for column in zip(*group, strict=False)]
        if any("neuron device" in name for name in joined):
            head = joined
            continue
        if head is None:
            continue
        for row in group:
            cells = _fitted(row, head)
            if cells is None:
                continue
            if (index := whole(cells[_at(head, "neuron device")])) is not None:
                cards.append(_row(index, dict(zip(head, cells, strict=True))))
            elif cards and (more := _row(0, dict(zip(head, cells, strict=True))).processes):
                # a further process of the device above: its own cells stand empty
                cards[-1] = replace(cards[-1], processes=[*(cards[-1].processes or ()), *more])
    if head is None:
        raise BadInput("no table of neuron-ls in this text")
    return Decoded(maker="neuron", tool="neuron-ls", format="table", cards=cards)


def _fitted(row: Sequence[str], head: Sequence[str]) -> Sequence[str] | None:
    """The row in as many cells as the head has: a command may hold bars of its own. None for a torn row."""
    spare = len(row) - len(head)
    if spare == 0:
        return row
    command = next((i for i, column in enumerate(head) if "command" in column), None)
    if spare < 0 or command is None:
        return None
    return [*row[:command], "|".join(row[command : command + spare + 1]), *row[command + spare + 1 :]]


def _at(head: Sequence[str], name: str) -> int:
    return next(i for i, column in enumerate(head) if name in column)


def _row(index: int, cells: Mapping[str, str]) -> DecodedCard:
    def cell(*words: str) -> str | None:
        return next((v for k, v in cells.items() if all(w in k for w in words)), None)

    connected = [int(n) for n in re.findall(r"\d+", cell("connected") or "")]
    extra: dict[str, Any] = {
        "neuron_cores": whole(cell("neuron", "cores")),
        "logical_nc": whole(cell("logical", "nc")),
        "memory_gb": whole(cell("memory")),  # printed in whole GB: no count of bytes
        "connected": connected if cell("connected") is not None else None,
    }
    pid = whole(cell("pid"))
    name = said(cell("command"))
    process = {"pid": pid, "name": name, "runtime_version": said(cell("runtime", "version"))}
    listed = any("pid" in column for column in cells)
    return DecodedCard(
        index=index,
        pci_address=address(cell("bdf")),
        processes=None if not listed else [] if pid is None else [_without_none(process, "pid", "name")],
        extra={key: value for key, value in extra.items() if value is not None},
    )


def _without_none(mapping_: Mapping[str, Any], *kept: str) -> dict[str, Any]:
    return {key: value for key, value in mapping_.items() if value is not None or key in kept}


def _listed(document: Sequence[Any]) -> Decoded:
    cards = []
    for position, entry in enumerate(map(mapping, document)):
        index = whole(word(entry.get("neuron_device")))
        memory = whole(word(entry.get("memory_size")))
        cards.append(
            DecodedCard(
                index=position if index is None else index,
                pci_address=address(word(entry.get("bdf"))),
                values={} if memory is None else {"memory_total_bytes": memory},
                processes=[
                    {"pid": whole(word(p.get("pid"))), "name": said(word(p.get("command")))}
                    for p in map(mapping, listing(entry.get("neuron_processes")))
                ],
                extra={
                    "neuron_cores": whole(word(entry.get("nc_count"))),
                    "connected": [n for n in listing(entry.get("connected_to")) if isinstance(n, int)],
                },
            )
        )
    if not any("neuron_device" in mapping(entry) or "nc_count" in mapping(entry) for entry in document):
        raise BadInput("this JSON is not neuron-ls's: no neuron_device")
    return Decoded(maker="neuron", tool="neuron-ls --json-output", format="json", cards=cards)


def _monitored(document: Mapping[str, Any]) -> Decoded:
    hardware = mapping(document.get("neuron_hardware_info"))
    count = whole(word(hardware.get("neuron_device_count"))) or 0
    per_device = whole(word(hardware.get("neuroncore_per_device_count"))) or 1
    cores, memory, pids = core_use(document), device_memory(document, per_device), []
    counters = {
        whole(word(item.get("neuron_device_index"))): item
        for item in map(
            mapping,
            listing(
                mapping(mapping(document.get("system_data")).get("neuron_hw_counters")).get("neuron_devices")
            ),
        )
    }
    for runtime in map(mapping, listing(document.get("neuron_runtime_data"))):
        pids.append(
            {"pid": whole(word(runtime.get("pid"))), "name": said(word(runtime.get("neuron_runtime_tag")))}
        )
    devices = max(
        [count, *(n + 1 for n in counters if n is not None), *(c // per_device + 1 for c in cores)], default=0
    )
    cards = []
    for device in range(min(devices, 256)):
        own = [cores[c] for c in cores if c // per_device == device]
        errors = counters.get(device, {})
        values: dict[str, Value | None] = {
            "utilization_ratio": sum(own) / per_device if own else None,
            "memory_used_bytes": memory.get(device),
            "memory_total_bytes": whole(word(hardware.get("neuron_device_memory_size"))),
            "ecc_corrected": whole(word(errors.get("mem_ecc_corrected"))),
            "ecc_uncorrected": whole(word(errors.get("mem_ecc_uncorrected"))),
            "sram_ecc_corrected": whole(word(errors.get("sram_ecc_corrected"))),
            "sram_ecc_uncorrected": whole(word(errors.get("sram_ecc_uncorrected"))),
        }
        cards.append(
            DecodedCard(
                index=device,
                model=said(word(hardware.get("neuron_device_type"))),
                values={key: value for key, value in values.items() if value is not None},
                extra={"neuron_cores": per_device},
            )
        )
    return Decoded(
        maker="neuron",
        tool="neuron-monitor",
        format="json",
        cards=cards,
        extra={"processes": pids},
    )


def core_use(document: Mapping[str, Any]) -> dict[int, float]:
    """Core number -> share of the period it was busy, 0..1, summed over processes and capped at 1."""
    use: dict[int, float] = {}
    for runtime in map(mapping, listing(document.get("neuron_runtime_data"))):
        counters = mapping(mapping(runtime.get("report")).get("neuroncore_counters"))
        for name, core in mapping(counters.get("neuroncores_in_use")).items():
            load = number(word(mapping(core).get("neuroncore_utilization")))
            if load is not None and str(name).isdecimal():
                use[int(name)] = min(1.0, use.get(int(name), 0.0) + load / 100)
    return use


def device_memory(document: Mapping[str, Any], per_device: int) -> dict[int, int]:
    """Device number -> bytes held by the monitored processes, from the per-core breakdown."""
    held: dict[int, int] = {}
    for runtime in map(mapping, listing(document.get("neuron_runtime_data"))):
        used = mapping(
            mapping(mapping(runtime.get("report")).get("memory_used")).get("neuron_runtime_used_bytes")
        )
        cores = mapping(mapping(used.get("usage_breakdown")).get("neuroncore_memory_usage"))
        for name, parts in cores.items():
            if str(name).isdecimal():
                total = sum(v for v in mapping(parts).values() if isinstance(v, int) and v >= 0)
                device = int(name) // per_device
                held[device] = held.get(device, 0) + total
    return held
