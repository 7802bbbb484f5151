"""What nvidia-smi prints for a value, and for none: shared by the decoders of all its formats.

Not here: layouts (tables, trees, CSV); those are a file each.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from ullage_contract.catalogue import RECOVERY_ACTIONS, THROTTLE_REASONS
from ullage_contract.errors import BadInput
from ullage_contract.identity import pci_address

MIB: Final = 1 << 20

_ABSENT: Final = frozenset(
    {
        "",
        "-",
        "n/a",
        "na",
        "err!",
        "error",
        "none found",
        "not supported",
        "not available",
        "not found",
        "unknown",
        "unknown error",
        "insufficient permissions",
        "no permission",
        "gpu is lost",
        "gpu requires reset",
        "reset required",
        "redacted",
        "function not found",
        "requested functionality has been deprecated",
    }
)
"""Texts nvidia-smi prints where there is no value; brackets around them are taken off first."""

_NUMBER: Final = re.compile(r"^[+-]?\d+(?:\.\d+)?")
_HEX: Final = re.compile(r"^0x[0-9a-fA-F]+$")

_SCALE: Final[Mapping[str, float]] = {
    "kib": 1024,
    "mib": MIB,
    "gib": 1 << 30,
    "mb": MIB,  # nvidia-smi writes MB in dmon's head and old tables and means 2^20
    "gb": 1 << 30,
    "b": 1,
}

_THROTTLE: Final[Mapping[str, str]] = {
    "gpu_idle": "idle",
    "idle": "idle",
    "applications_clocks_setting": "application_clocks",
    "application_clocks_setting": "application_clocks",
    "user_defined_clocks": "application_clocks",
    "sw_power_cap": "software_power_cap",
    "hw_slowdown": "hardware_slowdown",
    "hw_thermal_slowdown": "hardware_thermal",
    "hw_power_brake_slowdown": "hardware_power_brake",
    "hw_power_brake": "hardware_power_brake",
    "sync_boost": "sync_boost",
    "sw_thermal_slowdown": "software_thermal",
    "display_clocks_setting": "display_clocks",
    "display_clock_setting": "display_clocks",
    "unknown": "unknown",
}
"""nvidia-smi's names, in any format after ``key``, for our bits."""

_RECOVERY: Final[Mapping[str, str]] = {
    "none": "none",
    "reset": "reset",
    "gpu_reset": "reset",
    "reboot": "reboot",
    "node_reboot": "reboot",
    "drain_p2p": "drain_p2p",
    "drain_and_reset": "drain_and_reset",
    "drain_reset": "drain_and_reset",
    "imex": "imex",
    "restart_imex": "imex",
    "bus_reset": "bus_reset",
    "system_reboot": "system_reboot",
}


def key(text: str) -> str:
    """``GPU T.Limit Temp`` as ``gpu_t_limit_temp``: one spelling for text labels, XML tags and CSV names."""
    return re.sub(r"[^a-z0-9]+", "_", text.strip().lower()).strip("_")


def said(text: str | None) -> str | None:
    """The text, or None where it is one of nvidia-smi's ways of saying nothing."""
    if text is None:
        return None
    clean = text.strip()
    bare = clean.strip("[]<>").strip()
    return None if bare.lower().rstrip(".") in _ABSENT else clean


def number(text: str | None) -> float | None:
    """The leading number of ``631.95 W``, ``100 %`` or ``16x``; None where nothing is said."""
    clean = said(text)
    match = _NUMBER.match(clean) if clean else None
    return float(match.group()) if match else None


def whole(text: str | None) -> int | None:
    """``number`` as an integer; also reads 0x... (bit masks, ids)."""
    clean = said(text)
    if clean and _HEX.match(clean):
        return int(clean, 16)
    value = number(clean)
    return None if value is None else int(value)


def ratio(text: str | None) -> float | None:
    """Per cent as 0..1. Above 100 (fans may be) is kept; below 0 is nonsense and None."""
    value = number(text)
    return None if value is None or value < 0 else value / 100


def size(text: str | None, unit: str = "mib") -> int | None:
    """Bytes from ``19818 MiB``; a bare number counts in ``unit``."""
    value = number(text)
    if value is None or text is None:
        return None
    written = re.sub(r"[^a-z]", "", text.strip().lower())
    return round(value * _SCALE.get(written, _SCALE[unit]))


def watts(text: str | None) -> float | None:
    """Power; 65535 W is what a dead card answers (all bits of a 16 bit register), hence None."""
    value = number(text)
    return None if value is None or not 0 <= value < 65535 else value


def celsius(text: str | None) -> float | None:
    """A temperature or margin; outside -100..300 it is a sentinel, not a temperature."""
    value = number(text)
    return None if value is None or not -100 <= value <= 300 else value


def hertz(text: str | None) -> float | None:
    """MHz as hertz. 0 MHz is a real value: a clock that is gated."""
    value = number(text)
    return None if value is None or value < 0 else value * 1e6


def yes(text: str | None) -> int | None:
    """1 for Yes, Enabled, Active; 0 for No, Disabled, Not Active; None where nothing is said."""
    word = (said(text) or "").lower()
    if word in ("yes", "enabled", "active", "on", "true", "1"):
        return 1
    if word in ("no", "disabled", "not active", "off", "false", "0"):
        return 0
    return None


def address(text: str | None) -> str | None:
    """A PCI address as DDDD:BB:DD.F, or None when the text is no address (masked, absent)."""
    clean = said(text)
    if clean is None:
        return None
    try:
        return pci_address(clean)
    except BadInput:
        return None


def throttle_bit(name: str) -> int | None:
    """Our bit for one of nvidia-smi's reason names, or None for a name we do not know."""
    ours = _THROTTLE.get(key(name))
    return None if ours is None else 1 << THROTTLE_REASONS.index(ours)


NVML_THROTTLE: Final[Mapping[int, str]] = {
    # nvml.h nvmlClocksEventReason* (formerly nvmlClocksThrottleReason*)
    0x1: "idle",
    0x2: "application_clocks",
    0x4: "software_power_cap",
    0x8: "hardware_slowdown",
    0x10: "sync_boost",
    0x20: "software_thermal",
    0x40: "hardware_thermal",
    0x80: "hardware_power_brake",
    0x100: "display_clocks",
}


def throttle_mask(nvml: int) -> int:
    """NVML's reason mask as our bit set; a bit we do not know becomes ``unknown``."""
    ours = 0
    for bit, name in NVML_THROTTLE.items():
        if nvml & bit:
            ours |= 1 << THROTTLE_REASONS.index(name)
            nvml &= ~bit
    if nvml:
        ours |= 1 << THROTTLE_REASONS.index("unknown")
    return ours


def recovery(text: str | None) -> str | None:
    """The catalogue's word for a printed recovery action, or None. ``None`` (the word) is an action."""
    if text is None or said(text) is None:
        return None
    word = _RECOVERY.get(key(text))
    return word if word in RECOVERY_ACTIONS else None


def mig_mode(text: str | None) -> str | None:
    """``mig`` for Enabled, ``none`` for Disabled, None where the card knows no MIG."""
    return {1: "mig", 0: "none"}.get(-1 if (on := yes(text)) is None else on)
