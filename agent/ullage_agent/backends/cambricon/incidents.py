"""What CNDev calls health: device and driver states, and the incidents of its own checks, in our words.

Names and numbers: cndev.h cndevHealthError_t, cndevDriverHealthStateEnum_t, cndevHealthSystem_t (read 2026-11-21).
Which incidents weigh more than CNDev's own WARN is our choice; it is said where it is made.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from ullage_contract.event import Severity

CODES: Final = (
    "OK", "UNKNOWN", "INTERNAL", "XID_ERROR", "PCIE_REPLAY_RATE", "PCIE_GENERATION", "PCIE_WIDTH", "LOW_BANDWIDTH",
    "HIGH_LATENCY", "MLULINK_DOWN", "MLULINK_REPLAY", "MLULINK_ERROR_THRESHOLD", "MLULINK_CRC_ERROR_THRESHOLD",
    "DIE2DIE_CRC_ERROR_THRESHOLD", "SBE_VIOLATION", "DBE_VIOLATION", "SBE_THRESHOLD_VIOLATION",
    "DBE_THRESHOLD_VIOLATION", "ROW_REMAP_FAILURE", "PENDING_ROW_REMAP", "ADDRESSSWAP_FAILURE", "PENDING_ADDRESSSWAP",
    "REPAIR_FAILURE", "PENDING_PAGE_REPAIR", "PENDING_PAGE_RETIREMENTS", "PAGE_REPAIR_RESOURCE_THRESHOLD",
    "TEMP_VIOLATION", "THERMAL_VIOLATION", "DEVICE_COUNT_MISMATCH", "DRIVER_ERROR", "DEVSYS_ERROR",
)  # fmt: skip
"""CNDEV_FR_* by number."""
DRIVER_STATES: Final = (
    "early init", "bring up", "booting", "late init", "running", "boot error", "in reset", "reset error", "unknown",
)  # fmt: skip
SYSTEMS: Final = {
    1: "PCIe", 2: "MLU-Link", 4: "PMU", 8: "MCU", 16: "memory", 32: "thermal", 64: "power", 128: "driver",
}  # fmt: skip
RUNNING: Final = 4
_DRIVER_DEAD: Final = (5, 7)
FAIL: Final = 20
WARN: Final = 10

PENDING: Final = frozenset(
    {"PENDING_ROW_REMAP", "PENDING_ADDRESSSWAP", "PENDING_PAGE_REPAIR", "PENDING_PAGE_RETIREMENTS"}
)
"""They wait for a reset."""
FAILURES: Final = frozenset({"ROW_REMAP_FAILURE", "ADDRESSSWAP_FAILURE", "REPAIR_FAILURE"})
"""The memory can be repaired no more."""
# our choice: because work on such a card gives wrong results or dies, whatever CNDev's own verdict is
_GRAVE: Final = FAILURES | {
    "DBE_VIOLATION", "DBE_THRESHOLD_VIOLATION", "MLULINK_DOWN", "DRIVER_ERROR", "DEVSYS_ERROR",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Standing:
    """One incident that stands. code: CNDEV_FR_ name without the prefix."""

    code: str
    system: str
    failed: bool
    message: str

    @property
    def severity(self) -> Severity:
        if self.code in FAILURES:
            return Severity.FATAL
        return Severity.CRITICAL if self.failed or self.code in _GRAVE else Severity.WARNING

    @property
    def text(self) -> str:
        """One line for people."""
        return f"{self.system}: {self.code}{f': {self.message}' if self.message else ''}"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What CNDev says of a card now. standing: None where the library gives no incidents (before V2)."""

    health: str
    detail: str
    standing: tuple[Standing, ...] | None


def name_of(code: int) -> str:
    """The CNDEV_FR_ name; a number we do not know is itself."""
    return CODES[code] if 0 <= code < len(CODES) else f"CODE_{code}"


def judge(
    device_state: int, driver_state: int, overall: int | None, standing: tuple[Standing, ...] | None
) -> Verdict:
    """device_state 0 in problem, 1 good; driver_state 4 running; overall 0 pass, 10 warn, 20 fail, None before V2."""
    driver = (
        DRIVER_STATES[driver_state] if 0 <= driver_state < len(DRIVER_STATES) else f"state {driver_state}"
    )
    detail = ["in problem" if device_state == 0 else "good" if device_state == 1 else f"state {device_state}"]
    word = "ok" if device_state == 1 else "critical"
    if driver_state != RUNNING:
        detail.append(f"driver {driver}")
        word = "critical" if driver_state in _DRIVER_DEAD or word == "critical" else "degraded"
    if overall is not None and overall >= WARN:
        detail.append("FAIL" if overall >= FAIL else "WARN")
        word = "critical" if overall >= FAIL else ("degraded" if word == "ok" else word)
    for incident in standing or ():
        detail.append(incident.code)
        grave = incident.severity is not Severity.WARNING
        word = "critical" if grave else ("degraded" if word == "ok" else word)
    return Verdict(word, " ".join(detail), standing)
