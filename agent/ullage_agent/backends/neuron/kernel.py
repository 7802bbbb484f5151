"""What the Neuron runtime writes into the kernel log when hardware fails: one NEURON_HW_ERR line a fault.

    NEURON_HW_ERR=SRAM_UNCORRECTABLE_ERROR instance-id=i-... hostname=... nd-id=0 nc-id=0 serial-num=... action=...

Source: Neuron runtime troubleshooting guide and the neuron-problem-detector's rules (SRAM_, NC_ and
HBM_UNCORRECTABLE_ERROR, DMA_ERROR, HANG_ON_COLLECTIVES), read 2026-11-21. Each of these makes Amazon's own
detector replace the node; a hang on collectives may be the application's doing, so it is a warning here.
"""

from __future__ import annotations

from typing import Final

from ullage_agent.backend import LogPattern
from ullage_contract.event import Severity

PATTERNS: Final = (
    LogPattern(
        regex=r"NEURON_HW_ERR=(?P<code>[A-Z0-9_]*UNCORRECTABLE[A-Z0-9_]*)"
        r"(?:(?:.*?\bnd-id=(?P<device>\d+))?(?:.*?\bnc-id=(?P<core>\d+))?"
        r".*?\bserial-num=(?P<uuid>\w+)(?:.*?\baction=(?P<action>\w+))?)?",
        kind="ecc_uncorrected",
        severity=Severity.CRITICAL,
        vendor="neuron",
    ),
    LogPattern(
        regex=r"NEURON_HW_ERR=(?P<code>[A-Z0-9_]+)"
        r"(?:(?:.*?\bnd-id=(?P<device>\d+))?(?:.*?\bnc-id=(?P<core>\d+))?"
        r".*?\bserial-num=(?P<uuid>\w+)(?:.*?\baction=(?P<action>\w+))?)?",
        kind="ras",
        severity=Severity.CRITICAL,
        vendor="neuron",
        severities={"HANG_ON_COLLECTIVES": Severity.WARNING},
    ),
)
