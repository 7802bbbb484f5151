"""``--query-gpu=... --format=csv`` of tools made after nvidia-smi: ixsmi, brsmi. The head names the columns.

Not here: nvidia-smi's own CSV, which has hundreds of columns (backends/nvidia/query_csv).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from ullage_agent.backend import DecodedCard
from ullage_agent.backends.printed import address, celsius, csv_rows, hertz, ratio, said, size, watts, whole
from ullage_contract.sample import Value

_UNIT: Final = re.compile(r"\[[^\[\]]*\]")

_Read = Callable[[str | None], Value | None]
COLUMNS: Final[Mapping[str, tuple[tuple[str, ...], _Read]]] = {
    "utilization_ratio": (("utilization.gpu",), ratio),
    "memory_bandwidth_ratio": (("utilization.memory",), ratio),
    "encoder_ratio": (("utilization.encoder",), ratio),
    "decoder_ratio": (("utilization.decoder",), ratio),
    "memory_used_bytes": (("memory.used",), size),
    "memory_total_bytes": (("memory.total",), size),
    "memory_reserved_bytes": (("memory.reserved",), size),
    "power_watts": (("power.draw", "power.draw.average"), watts),
    "power_instant_watts": (("power.draw.instant",), watts),
    "board_power_watts": (("board.power.draw",), watts),
    "power_limit_watts": (("enforced.power.limit", "power.limit"), watts),
    "temperature_celsius": (("temperature.gpu",), celsius),
    "memory_temperature_celsius": (("temperature.memory",), celsius),
    "fan_ratio": (("fan.speed",), ratio),
    "clock_core_hertz": (
        ("clocks.gr", "clocks.current.graphics", "clocks.sm", "clocks.current.sm"),
        hertz,
    ),
    "clock_sm_hertz": (("clocks.sm", "clocks.current.sm"), hertz),
    "clock_memory_hertz": (("clocks.mem", "clocks.current.memory"), hertz),
    "performance_state": (("pstate",), said),
    "pcie_generation": (("pcie.link.gen.current", "pcie.link.gen.gpucurrent"), whole),
    "pcie_generation_max": (("pcie.link.gen.max",), whole),
    "pcie_width": (("pcie.link.width.current",), whole),
    "pcie_width_max": (("pcie.link.width.max",), whole),
    "ecc_corrected": (("ecc.errors.corrected.volatile.total",), whole),
    "ecc_uncorrected": (("ecc.errors.uncorrected.volatile.total",), whole),
    "health_detail": (("health", "gpu.health", "health.status"), said),
}
"""Catalogue key -> (columns that may hold it, best first; how its text is read)."""


def cards(lines: Sequence[str]) -> tuple[list[DecodedCard], str | None] | None:
    """(cards, driver version) of the first table of columns; None when no line is a head of such columns.

    Rows shorter than the head keep what they have; a repeated head (``-l``) begins the same cards anew: the
    last row of an index counts.
    """
    rows = [row for row in csv_rows(lines) if row]
    known = {name for names, _ in COLUMNS.values() for name in names} | {
        "index",
        "name",
        "uuid",
        "pci.bus_id",
    }
    head: list[str] = []
    found: dict[object, DecodedCard] = {}
    driver: str | None = None
    seen = 0
    for row in rows:
        names = [_UNIT.sub("", cell).strip().lower() for cell in row]
        if sum(name in known for name in names) >= min(2, len(names)) and any(
            name in known for name in names
        ):
            head, seen = names, 0
            continue
        if not head:
            continue
        cells = dict(zip(head, (cell.strip() for cell in row), strict=False))
        if len(head) > 1 and len(row) < 2:
            continue  # a line of something else
        driver = said(cells.get("driver_version")) or driver
        card = _card(cells, seen)
        seen += 1
        found[card.index if "index" in head else card.uuid or card.pci_address or card.index] = card
    return (list(found.values()), driver) if head else None


def _card(cells: Mapping[str, str], position: int) -> DecodedCard:
    values: dict[str, Value] = {}
    for key, (names, read) in COLUMNS.items():
        text = next((cells[name] for name in names if name in cells), None)
        value = read(text)
        if value is not None:
            values[key] = value
    index = whole(cells.get("index"))
    return DecodedCard(
        index=position if index is None else index,
        model=said(cells.get("name") or cells.get("gpu_name")),
        uuid=said(cells.get("uuid") or cells.get("gpu_uuid")),
        serial=said(cells.get("serial") or cells.get("gpu_serial")),
        pci_address=address(cells.get("pci.bus_id") or cells.get("gpu_bus_id")),
        values=values,
    )
