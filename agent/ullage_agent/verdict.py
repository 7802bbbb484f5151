"""One card's newest row in one word, for ``ullage-agent check``: good, warning, critical or unknown.

A first answer for a scheduler's prolog, from this node alone and this instant. Not here: judging over
time, confirming, isolating; those are the collector's. Missing data is unknown, never good.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from ullage_contract.catalogue import THROTTLE_REASONS, bit_names
from ullage_contract.sample import Value

GOOD: Final = "good"
WARNING: Final = "warning"
CRITICAL: Final = "critical"
UNKNOWN: Final = "unknown"

WORST_FIRST: Final = (CRITICAL, WARNING, UNKNOWN, GOOD)

_HARDWARE_THROTTLE: Final = ("hardware_slowdown", "hardware_thermal", "hardware_power_brake")
"""Held down by the card's own protection: cooling or power supply (NVML clocks event reasons 0x8, 0x40, 0x80)."""

_GRAVE_ACTIONS: Final = ("reset", "reboot", "drain_and_reset", "bus_reset", "system_reboot", "replace")
"""NVML field 230: the card asks for something that ends its work; drain_p2p and imex leave it usable."""


def of_card(values: Mapping[str, Value], failed: Mapping[str, str]) -> tuple[str, list[str]]:
    """The word and the reasons, worst first, of one card's newest values (slow ones may be a minute old).

    values, failed: as in sample.Sample. Empty both means no row came: unknown.
    """
    critical: list[str] = []
    warning: list[str] = []
    health = values.get("health")
    detail = f" ({values['health_detail']})" if values.get("health_detail") else ""
    if health == "lost":
        return CRITICAL, ["lost"]
    if health == "critical":
        critical.append(f"health critical{detail}")
    elif health == "degraded":
        warning.append(f"health degraded{detail}")
    action = values.get("recovery_action")
    if action in _GRAVE_ACTIONS:
        critical.append(f"asks for {action}")
    elif action not in (None, "none"):
        warning.append(f"asks for {action}")
    for key, text, to in (
        ("remap_failure", "row remap failed", critical),
        ("reset_required", "needs a reset", critical),
        ("remap_pending", "row remap waits for a reset", warning),
    ):
        if values.get(key) == 1:
            to.append(text)
    if values.get("fabric_state") == "failed":
        critical.append("fabric registration failed")
    reasons = values.get("throttle_reasons")
    if isinstance(reasons, int):
        held = [name for name in bit_names(THROTTLE_REASONS, reasons) if name in _HARDWARE_THROTTLE]
        if held:
            warning.append(f"held down by {', '.join(held)}")
    for key, most, text in (
        ("links_active", "links_total", "links"),
        ("pcie_width", "pcie_width_max", "lanes"),
    ):
        now, whole = values.get(key), values.get(most)
        if isinstance(now, int) and isinstance(whole, int) and 0 <= now < whole:
            warning.append(f"{now} of {whole} {text}")
    hung = sorted(key for key, reason in failed.items() if reason == "deadline")
    if critical:
        return CRITICAL, critical + warning
    if warning:
        return WARNING, warning
    if not values or "health" in failed:
        return UNKNOWN, [f"no answer ({failed['health']})" if "health" in failed else "no reading"]
    if hung:
        return WARNING, [f"hangs in {', '.join(hung[:3])}"]
    return GOOD, []
