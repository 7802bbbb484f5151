"""What the DFL and board-controller drivers write into the kernel log about a card in trouble."""

from __future__ import annotations

from typing import Final

from ullage_agent.backend import LogPattern
from ullage_contract.event import Severity

PATTERNS: Final[tuple[LogPattern, ...]] = (
    LogPattern(
        r"\bdfl-pci (?P<pci>[0-9a-f]{4}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]): .*(?P<code>enumeration failure)",
        "driver_error",
        Severity.CRITICAL,
        "intel-fpga",
        attributes={"name": "ENUMERATION_FAILED"},
    ),
    LogPattern(
        r"\bdfl-pci (?P<pci>[0-9a-f]{4}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]): .*failed with error (?P<code>-\d+)",
        "driver_error",
        Severity.CRITICAL,
        "intel-fpga",
        attributes={"name": "PROBE_FAILED"},
    ),
)
