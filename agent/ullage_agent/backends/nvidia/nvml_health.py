"""The health word of an NVIDIA card, from what the card itself says.

A rule of the collector may judge otherwise; this is the card's own complaint in our four words.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from ullage_contract.sample import Value

SIGNALS: Final = ("recovery_action", "remap_failure", "remap_pending", "ecc_uncorrected", "reset_required")
"""What is looked at. Where a card gives none of them its health is not known, whatever else it answers."""

_MILD_ACTIONS: Final = frozenset({"drain_p2p", "imex"})  # the card computes; its links do not


def verdict(values: Mapping[str, Value]) -> tuple[str, str] | None:
    """(health word, detail) or None when no signal is there.

    critical: a recovery action that takes the card away, a failed row remap (replace the card), an
    uncorrected error since driver load, a reset asked for. degraded: a pending remap (safe until the
    next reset: NVIDIA GPU memory error management), a link-only action, a failed fabric registration.
    """
    if not any(name in values for name in SIGNALS):
        return None
    critical: list[str] = []
    degraded: list[str] = []
    action = values.get("recovery_action", "none")
    if action != "none":
        (degraded if action in _MILD_ACTIONS else critical).append(f"recovery_action={action}")
    if values.get("remap_failure"):
        critical.append("remap_failure")
    if values.get("ecc_uncorrected"):
        critical.append(f"ecc_uncorrected={values['ecc_uncorrected']}")
    if values.get("reset_required"):
        critical.append("reset_required")
    if values.get("remap_pending"):
        degraded.append("remap_pending")
    if values.get("fabric_state") == "failed":
        degraded.append("fabric_state=failed")
    word = "critical" if critical else "degraded" if degraded else "ok"
    return word, "; ".join(critical + degraded) or "no complaint"
