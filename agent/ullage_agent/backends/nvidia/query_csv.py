"""``nvidia-smi --query-gpu=... --format=csv`` with any set of columns, with or without units and head,
and ``--query-compute-apps``.

Columns are known by their name in the head. Without a head only columns that speak for themselves are
read (UUID, PCI address, model, P-state, recovery action and a leading index); everything else would be a guess.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from ullage_agent.backend import Decoded, DecodedCard
from ullage_agent.backends.nvidia import printed
from ullage_agent.backends.nvidia.query_tree import throttle_seconds
from ullage_agent.backends.printed import csv_rows
from ullage_contract.errors import BadInput
from ullage_contract.sample import Value

_ERRORS: Final = "ecc.errors"

COLUMNS: Final[Mapping[str, tuple[Callable[[str | None], Value | None], tuple[str, ...]]]] = {
    "utilization_ratio": (printed.ratio, ("utilization.gpu",)),
    "memory_bandwidth_ratio": (printed.ratio, ("utilization.memory",)),
    "encoder_ratio": (printed.ratio, ("utilization.encoder",)),
    "decoder_ratio": (printed.ratio, ("utilization.decoder",)),
    "memory_used_bytes": (printed.size, ("memory.used",)),
    "memory_total_bytes": (printed.size, ("memory.total",)),
    "memory_reserved_bytes": (printed.size, ("memory.reserved",)),
    "power_watts": (printed.watts, ("power.draw.average", "power.draw")),
    "power_instant_watts": (printed.watts, ("power.draw.instant",)),
    "power_limit_watts": (printed.watts, ("enforced.power.limit", "power.limit")),
    "temperature_celsius": (printed.celsius, ("temperature.gpu",)),
    "memory_temperature_celsius": (printed.celsius, ("temperature.memory",)),
    "temperature_margin_celsius": (printed.celsius, ("temperature.gpu.tlimit",)),
    "fan_ratio": (printed.ratio, ("fan.speed",)),
    "clock_core_hertz": (printed.hertz, ("clocks.current.graphics", "clocks.gr")),
    "clock_core_max_hertz": (printed.hertz, ("clocks.max.graphics", "clocks.max.gr")),
    "clock_sm_hertz": (printed.hertz, ("clocks.current.sm", "clocks.sm")),
    "clock_memory_hertz": (printed.hertz, ("clocks.current.memory", "clocks.mem")),
    "clock_video_hertz": (printed.hertz, ("clocks.current.video", "clocks.video")),
    "performance_state": (printed.said, ("pstate",)),
    "pcie_generation": (printed.whole, ("pcie.link.gen.current", "pcie.link.gen.gpucurrent")),
    "pcie_generation_max": (printed.whole, ("pcie.link.gen.max",)),
    "pcie_width": (printed.whole, ("pcie.link.width.current",)),
    "pcie_width_max": (printed.whole, ("pcie.link.width.max",)),
    "ecc_corrected": (printed.whole, (f"{_ERRORS}.corrected.volatile.total",)),
    "ecc_uncorrected": (printed.whole, (f"{_ERRORS}.uncorrected.volatile.total",)),
    "ecc_corrected_lifetime": (printed.whole, (f"{_ERRORS}.corrected.aggregate.total",)),
    "ecc_uncorrected_lifetime": (printed.whole, (f"{_ERRORS}.uncorrected.aggregate.total",)),
    "sram_ecc_corrected": (printed.whole, (f"{_ERRORS}.corrected.volatile.sram",)),
    "sram_ecc_uncorrected": (printed.whole, (f"{_ERRORS}.uncorrected.volatile.sram",)),
    "retired_pages_corrected": (
        printed.whole,
        ("remapped_rows.correctable", "retired_pages.single_bit_ecc.count", "retired_pages.sbe"),
    ),
    "retired_pages_uncorrected": (
        printed.whole,
        ("remapped_rows.uncorrectable", "retired_pages.double_bit.count", "retired_pages.dbe"),
    ),
    "remap_pending": (printed.yes, ("remapped_rows.pending",)),
    "remap_failure": (printed.yes, ("remapped_rows.failure",)),
    "recovery_action": (printed.recovery, ("gpu_recovery_action",)),
    "reset_required": (printed.yes, ("reset_status.reset_required",)),
}

_IDENTITY: Final = frozenset(
    {"index", "name", "gpu_name", "uuid", "gpu_uuid", "serial", "gpu_serial", "pci.bus_id", "gpu_bus_id"}
)
_PLAIN_EXTRA: Final[Mapping[str, str]] = {
    "vbios_version": "vbios_version",
    "compute_mode": "compute_mode",
    "persistence_mode": "persistence_mode",
    "compute_cap": "compute_capability",
    "ecc.mode.current": "ecc_mode",
    "platform.module_id": "module_id",
    "module_id": "module_id",
    "power.default_limit": "default_power_limit_w",
    "power.min_limit": "min_power_limit_w",
    "power.max_limit": "max_power_limit_w",
    "retired_pages.pending": "retired_pages_pending",
    "fabric.cliqueid": "fabric_clique_id",
}
_UUID: Final = re.compile(r"^(?:GPU|MIG)-[0-9a-fA-F-]{8,}$")
_MODEL: Final = re.compile(r"^(?:NVIDIA|Tesla|Quadro|GeForce|GRID|TITAN)\b")
_PSTATE: Final = re.compile(r"^P(?:\d|1[0-5])$")
_HEAD_WORD: Final = re.compile(r"^[A-Za-z][\w.]*(?:\s*\[[^\]]*\])?$")


def decode_csv(text: str) -> Decoded:
    """One card a row; a looped recording (``-l``) has one sample a row and the last row as the card.

    Raises BadInput when no column can be known.
    """
    lines = [line for line in text.splitlines() if line.strip()]
    rows = [[cell.strip() for cell in row] for row in csv_rows(lines, skipinitialspace=True)]
    if not rows:
        raise BadInput("an empty text: nothing of nvidia-smi's CSV in it")
    head = _head(rows[0])
    if head is not None:
        rows = rows[1:]
    else:
        head = _guess(rows)
    if head is None:
        raise BadInput(
            "no nvidia-smi format is recognised: understood are the default table, -q, -q -x, -L, "
            "nvlink -s, dcgmi nvlink -s, dmon, pmon, --query-gpu/--query-compute-apps CSV (keep the head "
            "line) and kernel logs"
        )
    rows = [_joined(row, head) for row in rows if row != rows[0] or _head(row) is None]
    if "pid" in head:
        return _applications(head, rows)
    known = set(head)
    readable = _IDENTITY | {name for _, names in COLUMNS.values() for name in names} | set(_PLAIN_EXTRA)
    if not known & readable:
        raise BadInput(f"none of the columns {sorted(known)[:8]} is one of nvidia-smi --query-gpu")
    cards: dict[Any, DecodedCard] = {}
    samples: list[dict[str, Any]] = []
    driver: str | None = None
    notes: list[str] = []
    for position, cells in enumerate(rows):
        if len(cells) < len(head):
            notes.append(f"row {position + 1} has {len(cells)} of {len(head)} columns: the text is cut")
            if len(cells) < 2 and len(head) > 1:
                continue
        row = dict(zip(head, cells, strict=False))
        driver = driver or printed.said(row.get("driver_version"))
        card = _card(row, len(cards))
        identity = card.uuid or card.pci_address or row.get("index") or len(cards)
        if identity in cards and "timestamp" not in row and "index" not in row:
            identity = len(cards)  # masked UUIDs: rows are cards, not moments
        cards[identity] = card
        sample: dict[str, Any] = {"index": card.index, **card.values}
        if (stamp := printed.said(row.get("timestamp"))) is not None:
            sample["time"] = stamp
        samples.append(sample)
    looped = len(samples) > len(cards)
    return Decoded(
        maker="nvidia",
        tool="nvidia-smi --query-gpu",
        format="csv",
        driver_version=driver,
        cards=tuple(cards.values()),
        samples=tuple(samples) if looped else (),
        extra={"samples": len(samples) // max(1, len(cards))} if looped else {},
        notes=tuple(notes),
    )


def _head(cells: Sequence[str]) -> list[str] | None:
    """The columns' names without their units, or None when this line is no head."""
    if not all(_HEAD_WORD.match(cell) for cell in cells):
        return None
    names = [re.sub(r"\s*\[.*$", "", cell).strip().lower() for cell in cells]
    readable = _IDENTITY | {"timestamp", "pid", "driver_version", "count"} | set(_PLAIN_EXTRA)
    readable |= {name for _, columns in COLUMNS.values() for name in columns}
    known = [
        name in readable or name.startswith(("clocks_event_reasons", "clocks_throttle_reasons", "ecc."))
        for name in names
    ]
    return names if any(known) else None


def _guess(rows: Sequence[Sequence[str]]) -> list[str] | None:
    """Names for a text without a head: only for columns whose every value speaks for itself."""
    width = min(len(row) for row in rows)
    names = [f"column_{number + 1}" for number in range(width)]
    found = False
    for number in range(width):
        cells = [row[number] for row in rows]
        if all(_UUID.match(cell) for cell in cells):
            names[number] = "uuid"
        elif all(printed.address(cell) and ":" in cell for cell in cells):
            names[number] = "pci.bus_id"
        elif all(printed.recovery(cell) for cell in cells):
            names[number] = "gpu_recovery_action"
        elif all(_MODEL.match(cell) for cell in cells):
            names[number] = "name"
        elif all(_PSTATE.match(cell) for cell in cells):
            names[number] = "pstate"
        else:
            continue
        found = True
    if found and names[0] == "column_1" and all(row[0].isdecimal() for row in rows):
        names[0] = "index"
    return names if found else None


def _joined(cells: list[str], head: Sequence[str]) -> list[str]:
    """A process name may hold commas; nvidia-smi does not quote them."""
    surplus = len(cells) - len(head)
    if surplus > 0 and "process_name" in head:
        at = head.index("process_name")
        return [*cells[:at], ", ".join(cells[at : at + surplus + 1]), *cells[at + surplus + 1 :]]
    return cells


def _card(row: Mapping[str, str], position: int) -> DecodedCard:
    values: dict[str, Value] = {}
    for key, (read, names) in COLUMNS.items():
        for name in names:
            value = read(row.get(name))
            if value is not None:
                values[key] = value
                break
    pages = [values.get(f"retired_pages_{word}") for word in ("corrected", "uncorrected")]
    if isinstance(pages[0], int) and isinstance(pages[1], int):
        values["retired_pages"] = pages[0] + pages[1]
    values.update(_throttling(row))
    fabric = printed.key(printed.said(row.get("fabric.state")) or "")
    if fabric in ("not_supported", "not_started", "in_progress", "completed"):
        good = printed.key(printed.said(row.get("fabric.status")) or "success") == "success"
        values["fabric_state"] = fabric if good or fabric != "completed" else "failed"
    extra: dict[str, Any] = {}
    for name, ours in _PLAIN_EXTRA.items():
        text = printed.said(row.get(name))
        if text is None:
            continue
        if ours.endswith("_w"):
            extra[ours] = printed.watts(text)
        elif ours in ("module_id", "fabric_clique_id"):
            extra[ours] = printed.whole(text)
        elif ours == "retired_pages_pending":
            extra[ours] = bool(printed.yes(text))
        else:
            extra[ours] = text.lower() if ours in ("ecc_mode", "persistence_mode") else text
    index = printed.whole(row.get("index"))
    return DecodedCard(
        index=position if index is None else index,
        model=printed.said(row.get("name") or row.get("gpu_name")),
        uuid=printed.said(row.get("uuid") or row.get("gpu_uuid")),
        serial=printed.said(row.get("serial") or row.get("gpu_serial")),
        pci_address=printed.address(row.get("pci.bus_id") or row.get("gpu_bus_id")),
        partition_mode=printed.mig_mode(row.get("mig.mode.current")),
        values=values,
        extra=extra,
    )


def _throttling(row: Mapping[str, str]) -> dict[str, Value]:
    values: dict[str, Value] = {}
    for prefix in ("clocks_event_reasons", "clocks_throttle_reasons"):
        active = printed.whole(row.get(f"{prefix}.active"))
        if active is not None:
            values["throttle_reasons"] = printed.throttle_mask(active)
            break
        mask, known = 0, False
        for name, text in row.items():
            bit = printed.throttle_bit(name.removeprefix(prefix + ".")) if name.startswith(prefix) else None
            state = printed.yes(text) if bit is not None else None
            if state is not None:
                known = True
                mask |= (bit or 0) if state else 0
        if known:
            values["throttle_reasons"] = mask
            break
    spent = {
        name.split(".", 1)[1]: printed.number(text)
        for name, text in row.items()
        if name.startswith(("clocks_event_reasons_counters.", "clocks_throttle_reasons_counters."))
    }
    values.update(
        throttle_seconds(
            power=spent.get("sw_power_cap"),
            software_thermal=spent.get("sw_thermal_slowdown"),
            hardware_thermal=spent.get("hw_thermal_slowdown"),
            power_brake=spent.get("hw_power_brake_slowdown"),
            unit=1e-6,
        )
    )
    return values


def _applications(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Decoded:
    """--query-compute-apps: processes under the cards the rows name; one nameless card when they name none."""
    found: dict[tuple[str | None, str | None], list[dict[str, Any]]] = {}
    for cells in rows:
        row = dict(zip(head, cells, strict=False))
        pid = printed.whole(row.get("pid"))
        if pid is None:
            continue
        where = (printed.said(row.get("gpu_uuid")), printed.address(row.get("gpu_bus_id")))
        found.setdefault(where, []).append(
            {
                "pid": pid,
                "name": printed.said(row.get("process_name") or row.get("name")),
                "memory_used_bytes": printed.size(row.get("used_gpu_memory") or row.get("used_memory")),
            }
        )
    return Decoded(
        maker="nvidia",
        tool="nvidia-smi --query-compute-apps",
        format="csv",
        cards=tuple(
            DecodedCard(index=None, uuid=uuid, pci_address=pci, processes=tuple(processes))
            for (uuid, pci), processes in found.items()
        ),
    )
