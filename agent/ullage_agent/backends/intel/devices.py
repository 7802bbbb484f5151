"""Which Intel display functions are cards: discrete GPUs, by id, class and place. Data: devices.json."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, Final

VENDOR: Final = "8086"
CLASSES: Final = ("0300", "0302", "0380")
DRIVERS: Final = ("xe", "i915")
_INTEGRATED: Final = "0000:00:02.0"
"""Where Intel's processors have had their own graphics since 2010: the integrated device's fixed place."""


@cache
def names() -> Mapping[str, str]:
    """PCI device id -> product name, of discrete GPUs."""
    text = Path(__file__).with_name("devices.json").read_text(encoding="utf-8")
    found: dict[str, str] = json.loads(text)["discrete"]
    return found


def is_card(address: str, device: str, class_code: str, settings: Mapping[str, Any]) -> bool:
    """Whether a function of Intel's is one of our cards.

    Graphics inside a processor is none unless ``[backends.intel] integrated = true``: nobody schedules it.
    """
    if not class_code.startswith(CLASSES):
        return False
    return address != _INTEGRATED or device in names() or bool(settings.get("integrated", False))
