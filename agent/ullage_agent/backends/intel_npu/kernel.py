"""What ivpu writes into the kernel log about an NPU in trouble."""

from __future__ import annotations

from typing import Final

from ullage_agent.backend import LogPattern
from ullage_contract.event import Severity

_NPU: Final = r"\bintel_vpu (?P<pci>[0-9a-f]{4}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]): "

PATTERNS: Final[tuple[LogPattern, ...]] = (
    # intel_vpu 0000:00:0b.0: probe with driver intel_vpu failed with error -5
    LogPattern(
        _NPU + r"probe with driver \w+ failed with error (?P<code>-\d+)",
        "driver_error",
        Severity.CRITICAL,
        "intel-npu",
        attributes={"name": "PROBE_FAILED"},
    ),
    LogPattern(
        _NPU + r".*(?P<code>Recovery triggered) by (?P<cause>.+)",
        "driver_error",
        Severity.WARNING,
        "intel-npu",
        attributes={"name": "RECOVERY"},
    ),
    # intel_vpu 0000:00:0b.0: [drm] *ERROR* ivpu_hw_power_up(): Failed to configure host SS: -5
    LogPattern(
        _NPU + r".*\*ERROR\* (?P<code>ivpu_\w+)\(\): (?P<cause>.+)",
        "driver_error",
        Severity.WARNING,
        "intel-npu",
        attributes={"name": "DRIVER_ERROR"},
    ),
)
