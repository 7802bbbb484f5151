"""What xe and i915 write into the kernel log about a card in trouble.

The drivers number nothing: where a line has no code, the driver's own words for what happened are it, so that
two troubles of one card within a minute stay two events.
"""

from __future__ import annotations

from typing import Final

from ullage_agent.backend import LogPattern
from ullage_contract.event import Severity

_CARD: Final = r"\b(?:xe|i915) (?P<pci>[0-9a-f]{4}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]): "


def _pattern(regex: str, severity: Severity, name: str, kind: str = "driver_error") -> LogPattern:
    return LogPattern(_CARD + regex, kind, severity, "intel", attributes={"name": name})


PATTERNS: Final[tuple[LogPattern, ...]] = (
    # xe ...: [drm] *ERROR* [Hardware Error]: Tile0 reported NONFATAL error 0x20000
    LogPattern(
        _CARD
        + r".*\[Hardware Error\]: Tile(?P<tile>\d+) reported (?P<code>FATAL|NONFATAL|CORRECTABLE) error",
        "ras",
        Severity.WARNING,
        "intel",
        severities={
            "FATAL": Severity.FATAL,
            "NONFATAL": Severity.CRITICAL,
            "CORRECTABLE": Severity.INFO,
        },
        attributes={"name": "HARDWARE_ERROR"},
    ),
    # xe ...: [drm] *ERROR* [Hardware Error]: NONFATAL: HEC Uncorrected FW FD Corruption error reported, bit[2] is set
    LogPattern(
        _CARD + r".*\[Hardware Error\]: (?P<code>FATAL|NONFATAL|CORRECTABLE): (?P<detail>.+)",
        "ras",
        Severity.CRITICAL,
        "intel",
    ),
    _pattern(r".*Xe has declared device \S+ as (?P<code>wedged)", Severity.FATAL, "DEVICE_WEDGED"),
    _pattern(r".*\bdevice (?P<code>wedged)\b", Severity.FATAL, "DEVICE_WEDGED"),
    _pattern(r".*(?P<code>[Ss]urvivability mode) enabled", Severity.FATAL, "SURVIVABILITY_MODE"),
    _pattern(r".*\bGT(?P<gt>\d+): (?:GT )?(?P<code>reset failed)", Severity.CRITICAL, "GT_RESET_FAILED"),
    _pattern(r".*(?P<code>GuC Crash dump)", Severity.CRITICAL, "GUC_CRASH"),
    _pattern(
        r".*\bGT(?P<gt>\d+): (?P<code>Engine reset): engine_class=(?P<engine>\w+)",
        Severity.WARNING,
        "ENGINE_RESET",
    ),
    _pattern(
        r".*\b(?P<code>Timedout job): \S+.*?(?: in (?P<process>[^\[\]]+?) \[(?P<pid>\d+)\])?$",
        Severity.WARNING,
        "JOB_TIMEOUT",
    ),
    _pattern(r".*(?P<code>TLB invalidation fence timeout)", Severity.WARNING, "TLB_TIMEOUT"),
    # i915 ...: [drm] GPU HANG: ecode 12:1:84dffffb, in python3 [4711]
    _pattern(
        r".*GPU HANG: ecode (?P<code>[0-9a-f:]+)(?:, in (?P<process>[^\[\]]+?) \[(?P<pid>\d+)\])?",
        Severity.WARNING,
        "GPU_HANG",
    ),
    _pattern(r".*(?P<code>Resetting (?P<engine>\w+)) for ", Severity.WARNING, "ENGINE_RESET"),
    _pattern(r".*probe with driver \w+ failed with error (?P<code>-\d+)", Severity.CRITICAL, "PROBE_FAILED"),
)
