"""What xocl and xclmgmt write into the kernel log about a card in trouble."""

from __future__ import annotations

from typing import Final

from ullage_agent.backend import LogPattern
from ullage_contract.event import Severity

_CARD: Final = r"\b(?:xocl|xclmgmt) (?P<pci>[0-9a-f]{4}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]): "

PATTERNS: Final[tuple[LogPattern, ...]] = (
    # xclmgmt 0000:05:00.0: check_temp_within_range: Warning: A Xilinx acceleration device is reporting a temperature of 96C. ...
    LogPattern(
        _CARD + r".*(?P<code>check_temp_within_range): .*temperature of (?P<celsius>\d+)C",
        "driver_error",
        Severity.WARNING,
        "alveo",
        attributes={"name": "TOO_HOT"},
    ),
    # firewall.m firewall.m.10485760: dev ffff9b24390edc10, check_firewall: AXI Firewall 3 tripped, status: 0x4, ...
    LogPattern(
        r"check_firewall: (?:AXI )?Firewall (?P<code>\d+) tripped, status: (?P<status>0x[0-9a-f]+)",
        "ras",
        Severity.CRITICAL,
        "alveo",
        attributes={"name": "FIREWALL_TRIPPED"},
    ),
    LogPattern(
        _CARD + r".*(?P<code>card is in a bad state|device is offline)",
        "driver_error",
        Severity.FATAL,
        "alveo",
        attributes={"name": "OFFLINE"},
    ),
)
