"""Kernel log lines of the habanalabs driver: heartbeat, resets, ECC interrupts.

Texts: kernel drivers/accel/habanalabs (device.c, gaudi.c, gaudi2.c) and drivers/misc/habanalabs of older kernels,
read 2026-11-21. The driver names a card by its PCI address or, for some years, by its node (hl0, accel0).
"""

from __future__ import annotations

from typing import Final

from ullage_agent.backend import LogPattern
from ullage_contract.event import Severity

_ADDRESS: Final = r"[0-9a-fA-F]{4}:[0-9a-fA-F]{2}:[0-9a-fA-F]{2}\.[0-7]"
_HEAD: Final = rf"\b(?:habanalabs|accel) (?:(?P<pci>{_ADDRESS})|(?P<node>hl\d+|accel\d+)): "
_NODE_HEAD: Final = rf"\b(?:habanalabs|accel) (?P<node>hl\d+|accel\d+): (?P<pci>{_ADDRESS}) "


def _pattern(regex: str, kind: str, severity: Severity, name: str | None = None) -> LogPattern:
    attributes = {"name": name} if name else {}
    return LogPattern(regex=regex, kind=kind, severity=severity, vendor="gaudi", attributes=attributes)


_LAST: Final = r"(?P<code>Failed to reset! Device is NOT usable)"
_STOPPED: Final = (
    r"(?P<code>Consecutive FW fatal errors|Failed to kill all open processes), stopping hard reset"
)

PATTERNS: Final = (
    _pattern(_HEAD + r"Device (?P<code>heartbeat) failed! PCI link is (?P<pci_link>broken)", "driver_error", Severity.FATAL, "HEARTBEAT_LINK_BROKEN"),
    _pattern(_HEAD + r"Device (?P<code>heartbeat) failed", "driver_error", Severity.FATAL, "HEARTBEAT"),
    _pattern(_NODE_HEAD + _LAST, "driver_error", Severity.FATAL, "RESET_FAILED"),
    _pattern(_HEAD + r".*" + _LAST, "driver_error", Severity.FATAL, "RESET_FAILED"),
    _pattern(_NODE_HEAD + _STOPPED, "driver_error", Severity.CRITICAL, "RESET_STOPPED"),
    _pattern(_HEAD + r".*" + _STOPPED, "driver_error", Severity.CRITICAL, "RESET_STOPPED"),
    _pattern(_HEAD + r"(?P<code>Going to (?:reset|RESET) device)(?! after release)", "driver_error", Severity.WARNING, "RESET"),
    _pattern(_HEAD + r'Received H/W interrupt (?P<interrupt>\d+) \["(?P<code>\w*DERR\w*)"\]', "ecc_uncorrected", Severity.CRITICAL, "UNCORRECTABLE"),
    _pattern(_HEAD + r'Received H/W interrupt (?P<interrupt>\d+) \["(?P<code>\w*SERR\w*)"\]', "ras", Severity.INFO, "CORRECTABLE"),
    _pattern(_HEAD + r'Received H/W interrupt (?P<interrupt>\d+) \["(?P<code>[^"]{1,60})"\]', "driver_error", Severity.WARNING, "INTERRUPT"),
    # Gaudi 2 and 3: the event's name stands before its text
    _pattern(_HEAD + r"(?P<code>\w*DERR\w*): ", "ecc_uncorrected", Severity.CRITICAL, "UNCORRECTABLE"),
    _pattern(_HEAD + r"(?P<code>\w*SERR\w*): ", "ras", Severity.INFO, "CORRECTABLE"),
    _pattern(_HEAD + r"(?P<code>Failed to detect if device is alive|device is not idle after reset|failed to initialize the H/W)", "driver_error", Severity.CRITICAL, "INIT_FAILED"),
)  # fmt: skip
"""Where each event of a Gaudi comes from; printed in docs/metrics.md."""
