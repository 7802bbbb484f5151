"""amdgpu's throttle status in our reasons.

``throttle_status`` is the ASIC's own bits; ``indep_throttle_status`` (gpu_metrics v1.3, v2.2 and later) is the
driver's own numbering: kernel drivers/gpu/drm/amd/pm/swsmu/inc/amdgpu_smu.h, SMU_THROTTLER_*, read 2026-11-21.
"""

from __future__ import annotations

from typing import Final

from ullage_contract.catalogue import THROTTLE_REASONS, bits_of

_POWER: Final = bits_of(THROTTLE_REASONS, ["software_power_cap"])
_CURRENT: Final = bits_of(THROTTLE_REASONS, ["current_limit"])
_SOFT_HEAT: Final = bits_of(THROTTLE_REASONS, ["software_thermal"])
_HARD_HEAT: Final = bits_of(THROTTLE_REASONS, ["hardware_thermal"])
_RELIABILITY: Final = bits_of(THROTTLE_REASONS, ["reliability"])
_UNKNOWN: Final = bits_of(THROTTLE_REASONS, ["unknown"])

RANGES: Final[tuple[tuple[int, int, int], ...]] = (
    # first bit, last bit, ours
    (0, 7, _POWER),  # PPT0..3, SPL, FPPT, SPPT, SPPT_APU: package power limits
    (16, 23, _CURRENT),  # TDC_*, EDC_*, APCC: design and peak current
    (32, 43, _SOFT_HEAT),  # TEMP_*: the firmware holds a temperature limit
    (44, 47, _HARD_HEAT),  # VRHOT0, VRHOT1, PROCHOT_CPU, PROCHOT_GFX: a pin says too hot
    (56, 57, _RELIABILITY),  # PPM, FIT: failures-in-time and package power manager
)


def reasons_of_bits(independent: int | None) -> int:
    """Our bit set of an independent status; ``unknown`` where the bits are the ASIC's own (None) or new."""
    if independent is None:
        return _UNKNOWN
    reasons = 0
    left = independent
    for first, last, ours in RANGES:
        mask = ((1 << (last - first + 1)) - 1) << first
        if independent & mask:
            reasons |= ours
            left &= ~mask
    return reasons | (_UNKNOWN if left else 0)
