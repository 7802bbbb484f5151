"""amdgpu's kernel log lines: RAS errors, poison, resets, timeouts, bad pages, a card lost from the bus.

Texts: kernel drivers/gpu/drm/amd (amdgpu_ras.c, amdgpu_ras_eeprom.c, amdgpu_device.c, amdgpu_job.c) and reports,
read 2026-11-21. Two lines look like faults and are none: ``no uncorrectable hardware errors detected`` and
``ring sdma0 timeout, but soft recovered``. Hygon's driver descends from it: ``patterns`` makes its own.
"""

from __future__ import annotations

from typing import Final

from ullage_agent.backend import LogPattern
from ullage_contract.event import Severity

_PCI: Final = r"(?P<pci>[0-9a-fA-F]{4,8}:[0-9a-fA-F]{2}:[0-9a-fA-F]{2}\.[0-7])"


def patterns(driver: str, vendor: str) -> tuple[LogPattern, ...]:
    """The patterns of one maker. driver: the kernel driver's name, a regular expression without groups."""
    head = rf"\b(?:{driver}) {_PCI}: (?:(?:{driver}): )?"

    def pattern(regex: str, kind: str, severity: Severity, name: str | None = None) -> LogPattern:
        return LogPattern(
            regex=regex,
            kind=kind,
            severity=severity,
            vendor=vendor,
            attributes={"name": name} if name else {},
        )

    return (
        # totals and all-clears repeat what was told, or say that nothing was
        pattern(head + r".*(?P<ignored>\bin total in \w+ block|\bTotal \d+ |\bno (?:un)?correctable)", "ras", Severity.INFO),
        pattern(r"\bring \S+ timeout, but (?P<ignored>soft recovered)", "driver_error", Severity.INFO),
        pattern(
            head + r".*?\b(?P<count>\d+) (?:new )?uncorrectable hardware errors? detected in (?P<code>umc) block",
            "ecc_uncorrected",
            Severity.CRITICAL,
            "UNCORRECTABLE",
        ),
        pattern(
            head + r".*?\b(?P<count>\d+) (?:new )?uncorrectable hardware errors? detected in (?P<code>\w+) block",
            "ras",
            Severity.CRITICAL,
            "UNCORRECTABLE",
        ),
        pattern(
            head + r".*?\b(?P<count>\d+) (?:new )?deferred hardware errors? detected in (?P<code>\w+) block",
            "ras",
            Severity.WARNING,
            "DEFERRED",
        ),
        pattern(
            head + r".*?\b(?P<count>\d+) (?:new )?correctable hardware errors? detected in (?P<code>\w+) block",
            "ras",
            Severity.INFO,
            "CORRECTABLE",
        ),
        pattern(head + r".*\b(?P<code>poison)\b", "ras", Severity.CRITICAL, "POISON"),
        pattern(
            head + r".*RAS records:\s*(?P<records>\d+) (?P<code>exceeds? 90% of threshold):\s*(?P<threshold>\d+)",
            "ras",
            Severity.WARNING,
            "BAD_PAGES_NEAR_THRESHOLD",
        ),
        pattern(
            head + r".*RAS records:\s*(?P<records>\d+) (?P<code>exceed threshold):\s*(?P<threshold>\d+)",
            "ras",
            Severity.FATAL,
            "BAD_PAGES_THRESHOLD",
        ),
        pattern(
            head + r".*(?P<code>Saved bad pages) (?P<records>\d+) reaches threshold value (?P<threshold>\d+)",
            "ras",
            Severity.FATAL,
            "BAD_PAGES_THRESHOLD",
        ),
        pattern(head + r".*(?P<code>Replace this GPU)", "ras", Severity.FATAL, "BAD_PAGES_THRESHOLD"),
        pattern(head + r".*\b(?P<code>device lost from bus)", "driver_error", Severity.FATAL, "LOST_FROM_BUS"),
        pattern(
            head + r".*(?P<code>GPU reset)(?:\(\d+\) failed| end with ret\s*=\s*(?P<ret>-\d+))",
            "driver_error",
            Severity.CRITICAL,
            "GPU_RESET_FAILED",
        ),
        pattern(
            rf"\[drm:\w+ \[(?:{driver})\]\] \*ERROR\* (?P<code>GPU Recovery) Failed: (?P<ret>-?\d+)",
            "driver_error",
            Severity.CRITICAL,
            "GPU_RESET_FAILED",
        ),
        pattern(head + r".*\b(?P<code>GPU reset begin)", "driver_error", Severity.WARNING, "GPU_RESET"),
        pattern(head + r".*\b(?P<code>ring) (?P<ring>\S+) timeout\b", "driver_error", Severity.WARNING, "RING_TIMEOUT"),
        pattern(
            rf"\[drm:\w+ \[(?:{driver})\]\] \*ERROR\* (?P<code>ring) (?P<ring>\S+) timeout\b",
            "driver_error",
            Severity.WARNING,
            "RING_TIMEOUT",
        ),
        pattern(
            head + r".*(?P<code>over temperature range|due to GPU (?:SW )?CTF)", "driver_error", Severity.CRITICAL, "OVER_TEMPERATURE"
        ),
        pattern(
            head + r".*GPU (?P<code>thermal throttling) temperature reached", "driver_error", Severity.WARNING, "THERMAL_THROTTLING"
        ),
        pattern(
            head + r".*(?P<code>Fatal error during GPU init|amdgpu_device_ip_init failed)",
            "driver_error",
            Severity.CRITICAL,
            "INIT_FAILED",
        ),
        pattern(
            head + r".*(?P<code>SMU): (?:I'm not done with your previous command|No response)",
            "driver_error",
            Severity.WARNING,
            "SMU_SILENT",
        ),
        # an application reached past its memory: its own fault, unless many do
        pattern(
            head + r"\[(?P<hub>\w+)\] (?:retry |no-retry )?(?P<code>page fault)", "driver_error", Severity.INFO, "PAGE_FAULT"
        ),
    )  # fmt: skip


PATTERNS: Final = patterns("amdgpu", "amd")
