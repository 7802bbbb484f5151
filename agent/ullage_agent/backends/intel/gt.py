"""Clocks, idleness and throttling of a card's graphics tiles, as xe and i915 lay them out in sysfs.

xe: DEVICE/tileN/gtM/{freq0,gtidle}; the first gt of a tile computes, further ones are media (xe_gt_freq.c,
xe_gt_idle.c, xe_gt_throttle.c). i915: DEVICE/drm/cardN/gt/gtM (intel_gt_sysfs_pm.c), before 6.0 only the card's
own gt_*_freq_mhz. The device's clock is the mean of its tiles', as xpu-smi says of its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ullage_agent.backends.sysfs import SysfsFiles
from ullage_contract.catalogue import THROTTLE_REASONS
from ullage_contract.errors import NotSupported

_REASONS: Final = {
    # PL1 and PL2: sustained and burst power limits; PL4 and VR TDC: peak current; the rest by name
    "pl1": "software_power_cap",
    "pl2": "software_power_cap",
    "psys_pl1": "software_power_cap",
    "psys_pl2": "software_power_cap",
    "pl4": "current_limit",
    "vr_tdc": "current_limit",
    "fastvmode": "current_limit",
    "p0_freq": "host_request",
    "soc_thermal": "hardware_thermal",
    "soc_avg_thermal": "hardware_thermal",
    "thermal": "hardware_thermal",
    "mem_thermal": "hardware_thermal",
    "vr_thermal": "hardware_thermal",
    "vr_thermalert": "hardware_thermal",
    "prochot": "hardware_slowdown",
    "ratl": "software_thermal",
    "iccmax": "current_limit",
}
"""The drivers' reasons -> ours; another one is ``unknown``."""


@dataclass(frozen=True, slots=True)
class Gt:
    """One graphics tile part. Paths below the device directory; None where this driver has none."""

    media: bool
    act_mhz: str
    max_mhz: str
    idle_ms: str | None
    throttle: tuple[tuple[str, str], ...]
    throttle_status: str | None


def find(device: Path) -> list[Gt]:
    """The parts of a card, compute parts first."""
    found = [gt for tile in sorted(device.glob("tile[0-9]*")) for gt in _xe(device, tile)]
    if not found:
        found = [gt for card in sorted(device.glob("drm/card[0-9]*")) for gt in _i915(device, card)]
    return sorted(found, key=lambda gt: gt.media)


def _xe(device: Path, tile: Path) -> list[Gt]:
    parts = []
    for number, gt in enumerate(sorted(tile.glob("gt[0-9]*"))):
        place = gt.relative_to(device).as_posix()
        throttle = f"{place}/freq0/throttle"
        parts.append(
            Gt(
                media=number > 0,
                act_mhz=f"{place}/freq0/act_freq",
                max_mhz=f"{place}/freq0/rp0_freq",
                idle_ms=f"{place}/gtidle/idle_residency_ms",
                throttle=_reasons(device, throttle, "reason_"),
                throttle_status=f"{throttle}/status",
            )
        )
    return parts


def _i915(device: Path, card: Path) -> list[Gt]:
    base = card.relative_to(device).as_posix()
    parts = []
    for gt in sorted(card.glob("gt/gt[0-9]*")):
        place = gt.relative_to(device).as_posix()
        parts.append(
            Gt(
                media=False,
                act_mhz=f"{place}/rps_act_freq_mhz",
                max_mhz=f"{place}/rps_RP0_freq_mhz",
                idle_ms=f"{place}/rc6_residency_ms",
                throttle=_reasons(device, place, "throttle_reason_"),
                throttle_status=f"{place}/throttle_reason_status",
            )
        )
    if not parts and (card / "gt_act_freq_mhz").exists():
        parts.append(
            Gt(False, f"{base}/gt_act_freq_mhz", f"{base}/gt_RP0_freq_mhz", f"{base}/power/rc6_residency_ms", (), None)
        )  # fmt: skip
    return parts


def _reasons(device: Path, place: str, prefix: str) -> tuple[tuple[str, str], ...]:
    """(reason, file) of every throttle file there is."""
    names = sorted(path.name for path in (device / place).glob(f"{prefix}*"))
    return tuple(
        (name.removeprefix(prefix), f"{place}/{name}")
        for name in names
        if name not in (f"{prefix}status", "reasons")
    )


def clock_hertz(files: SysfsFiles, parts: list[Gt], *, media: bool = False, highest: bool = False) -> float:
    """The mean of the parts' clocks. Raises as SysfsFiles, and NotSupported when there are no such parts."""
    wanted = [gt for gt in parts if gt.media is media]
    if not wanted:
        raise NotSupported(f"{files.root}: no {'media ' if media else ''}graphics tile")
    clocks = [files.number(gt.max_mhz if highest else gt.act_mhz) for gt in wanted]
    return sum(clocks) / len(clocks) * 1e6


def idle_seconds(files: SysfsFiles, parts: list[Gt]) -> list[tuple[bool, float]]:
    """(media, seconds in the idle state since driver load) of every part. Raises NotSupported without any."""
    found = [(gt.media, files.number(gt.idle_ms) / 1000) for gt in parts if gt.idle_ms is not None]
    if not found:
        raise NotSupported(f"{files.root}: no idle residency")
    return found


def throttle_bits(files: SysfsFiles, parts: list[Gt]) -> int:
    """Our bit set over all parts; 0 when none is held back. Raises NotSupported where the driver does not say."""
    bits = 0
    asked = False
    for gt in parts:
        if gt.throttle_status is None:
            continue
        asked = True
        if files.number(gt.throttle_status) == 0:
            continue
        words = [reason for reason, name in gt.throttle if files.number(name)]
        for reason in words or ["unknown"]:
            bits |= 1 << THROTTLE_REASONS.index(_REASONS.get(reason, "unknown"))
    if not asked:
        raise NotSupported(f"{files.root}: the driver tells no throttle reasons")
    return bits
