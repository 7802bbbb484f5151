"""The cards that can be simulated: what their makers publish, and how their readings look.

Shared by the live backend and the demonstration's history, so that both look alike. Memory and power
are the makers' published figures; idle power, clocks and thermal resistance are set so that load gives
the temperatures real fleets show (core 28..61 C between the 10th and 90th percentile, 69 C at the 99th).
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

GIB: Final = 1 << 30

_COMMON: Final = frozenset(
    {
        "utilization_ratio",
        "memory_used_bytes",
        "memory_total_bytes",
        "power_watts",
        "power_limit_watts",
        "temperature_celsius",
        "clock_core_hertz",
        "ecc_corrected",
        "ecc_uncorrected",
        "health",
        "health_detail",
        "processes",
        "pcie_width",
        "pcie_generation",
    }
)
_NVIDIA: Final = _COMMON | {
    "sm_active_ratio",
    "tensor_active_ratio",
    "memory_bandwidth_ratio",
    "energy_joules",
    "memory_temperature_celsius",
    "clock_sm_hertz",
    "clock_memory_hertz",
    "throttle_reasons",
    "pcie_rx_bytes",
    "pcie_tx_bytes",
    "link_rx_bytes",
    "link_tx_bytes",
    "links_active",
    "links_total",
    "retired_pages",
    "remap_pending",
    "remap_failure",
    "recovery_action",
}


@dataclass(frozen=True, slots=True)
class Model:
    """One product.

    vendor: as in the facts of real cards. keys: the catalogue keys its maker's library gives.
    thermal_resistance: degrees above ambient a watt, at steady state. power_step_watts: resolution of the reading.
    id_prefix: how the maker's own identifiers begin. lossless: RDMA devices are RoCE (else InfiniBand).
    """

    vendor: str
    name: str
    memory_bytes: int
    tdp_watts: float
    idle_watts: float
    thermal_resistance: float
    clock_idle_hertz: int
    clock_max_hertz: int
    clock_memory_hertz: int
    links: int
    util_kind: str
    power_step_watts: float
    driver: str
    runtime: str
    id_prefix: str
    port_rate_bits: int
    keys: frozenset[str]
    cards_per_board: int = 1
    pcie_generation: int = 4


MODELS: Final[Mapping[str, Model]] = MappingProxyType(
    {
        model.name: model
        for model in (
            Model("nvidia", "NVIDIA H800", 80 * GIB, 700, 70, 0.062, 345_000_000, 1_980_000_000, 2_619_000_000, 8,
                  "kernel_resident", 0.001, "550.90.07", "CUDA 12.4", "GPU", 400_000_000_000, _NVIDIA, pcie_generation=5),
            Model("nvidia", "NVIDIA A100-SXM4-80GB", 80 * GIB, 400, 58, 0.095, 210_000_000, 1_410_000_000, 1_593_000_000,
                  12, "kernel_resident", 0.001, "535.161.08", "CUDA 12.2", "GPU", 200_000_000_000, _NVIDIA),
            Model("nvidia", "NVIDIA H20", 96 * GIB, 500, 75, 0.075, 345_000_000, 1_980_000_000, 2_619_000_000, 18,
                  "kernel_resident", 0.001, "550.90.07", "CUDA 12.4", "GPU", 400_000_000_000, _NVIDIA, pcie_generation=5),
            Model("ascend", "Ascend 910B3", 64 * GIB, 400, 90, 0.085, 800_000_000, 1_800_000_000, 1_600_000_000, 7,
                  "core_mean", 0.1, "24.1.rc2", "CANN 8.0.RC2", "NPU", 200_000_000_000,
                  _COMMON | {"memory_bandwidth_ratio", "control_cpu_ratio", "memory_temperature_celsius",
                             "voltage_volts", "sm_active_ratio"}),
            Model("hygon", "Hygon K100_AI", 64 * GIB, 400, 85, 0.085, 600_000_000, 1_500_000_000, 1_750_000_000, 0,
                  "kernel_resident", 1.0, "6.2.23", "DTK 24.04", "DCU", 200_000_000_000,
                  _COMMON | {"memory_temperature_celsius", "hotspot_temperature_celsius", "clock_memory_hertz"}),
            Model("cambricon", "Cambricon MLU590-M9", 80 * GIB, 550, 80, 0.070, 500_000_000, 1_500_000_000, 1_600_000_000,
                  6, "core_mean", 1.0, "5.10.29", "Neuware 3.8", "MLU", 200_000_000_000,
                  _COMMON | {"board_temperature_celsius", "memory_temperature_celsius", "links_active", "links_total"}),
            Model("metax", "MetaX C500", 64 * GIB, 350, 55, 0.100, 400_000_000, 1_600_000_000, 1_800_000_000, 7,
                  "kernel_resident", 1.0, "2.5.2", "MACA 2.23", "MXC", 200_000_000_000,
                  _COMMON | {"hotspot_temperature_celsius", "board_temperature_celsius", "memory_bandwidth_ratio"}),
        )
    }
)  # fmt: skip
"""By name. Memory and TDP: the makers' product pages; the rest is ours and only has to look right."""

MIXED: Final = (
    "NVIDIA H800",
    "NVIDIA H800",
    "NVIDIA A100-SXM4-80GB",
    "NVIDIA H20",
    "Ascend 910B3",
    "Hygon K100_AI",
    "Cambricon MLU590-M9",
    "MetaX C500",
)
"""What a node with ``model = "mixed"`` holds, repeated: no real server does, but every maker is on one page."""

_NAMESPACE: Final = uuid.UUID("7f6a4c52-1f0e-4f3b-9d51-3d5f7a3e2c10")


@dataclass(frozen=True, slots=True)
class Identity:
    """Who a simulated card is: the same in history and live for one node and place."""

    card_id: str
    serial: str
    board_id: str
    pci_address: str


def identity(node_id: str, index: int, model: Model) -> Identity:
    """The card at place ``index`` of ``node_id``; never that of a real card, since it begins with SIM-."""
    own = uuid.uuid5(_NAMESPACE, f"{node_id}/{index}/{model.name}")
    return Identity(
        card_id=f"SIM-{model.id_prefix}-{own}",
        serial=f"SIM{own.int % 10**12:012d}",
        board_id=f"SIM-{node_id}-board{index // model.cards_per_board}",
        pci_address=f"0000:{0x18 + 0x11 * index % 0xE0:02x}:00.0",
    )
