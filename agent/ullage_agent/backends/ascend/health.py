"""Huawei's words and numbers of health in ours.

dcmi_get_device_health gives 0 to 3; npu-smi prints them as OK, Warning, Alarm, Critical (a lost chip: UNKNOWN).
An Alarm is a major fault; the boards of the 310B print it in normal use, so there it is only a degradation.
"""

from __future__ import annotations

from typing import Final

DCMI_WORDS: Final = ("OK", "Warning", "Alarm", "Critical")
"""dcmi_get_device_health 0, 1, 2, 3, in npu-smi's words (0 is said by Huawei's exporter; 1 to 3 by the documents)."""

_WORDS: Final = {"ok": "ok", "warning": "degraded", "alarm": "critical", "critical": "critical"}


def told(text: str | None) -> str | None:
    """npu-smi's word, UNKNOWN included: that a chip cannot be asked is what the tool says of it."""
    clean = (text or "").strip()
    return None if clean.upper() in ("", "-", "--", "NA", "N/A") else clean


def word_of(word: str | None, model: str | None = None) -> str | None:
    """Our word of health; None for a word we do not know, as unknown is never healthy."""
    found = _WORDS.get((word or "").strip().lower())
    if found == "critical" and (word or "").strip().lower() == "alarm" and "310B" in (model or "").upper():
        return "degraded"
    return found
