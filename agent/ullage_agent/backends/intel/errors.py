"""RAS counters of Intel's own i915 packages: DEVICE/drm/cardN/gt/gtM/error_counter/*.

Mainline drivers have none. A name with ``fatal`` is uncorrectable, with ``correctable`` corrected; with ``hbm`` in
it the device memory's, else on-chip (as Intel's Kubernetes device plugin reads them: any fatal one above 0 makes a
card unhealthy). The device memory has fatal counters alone (i915_sysfs.c of those packages), so nobody tells its
corrected errors.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from ullage_agent.backends.sysfs import SysfsFiles
from ullage_contract.errors import NotSupported
from ullage_contract.sample import Value

_GIVES: Final = ("ecc_uncorrected", "sram_ecc_corrected", "sram_ecc_uncorrected")


class ErrorCounters:
    """All of one card's. Descriptors are not kept: there are some hundred, read once a minute."""

    gives = _GIVES

    def __init__(self, device: Path) -> None:
        self._device = device
        self._names = sorted(
            path.relative_to(device).as_posix()
            for pattern in ("drm/card[0-9]*/gt/gt[0-9]*/error_counter/*", "gt/gt[0-9]*/error_counter/*")
            for path in device.glob(pattern)
            if "fatal" in path.name or "correctable" in path.name
        )

    def read(self) -> dict[str, Value]:
        """Sums by kind; a kind without counters is left out. Raises NotSupported when there are none."""
        sums: dict[str, int] = {}
        for name, count in self._counts():
            if "fatal" in name:
                key = "ecc_uncorrected" if "hbm" in name else "sram_ecc_uncorrected"
            else:
                key = "sram_ecc_corrected"
            sums[key] = sums.get(key, 0) + count
        return dict(sums)

    def fatal(self) -> list[tuple[str, str]]:
        """(code, message) of every counter above 0 whose name says fatal or nonfatal. Raises NotSupported when there are no counters."""
        found = []
        for name, count in self._counts():
            if "fatal" in name and count > 0:
                *_, part, _, counter = name.split("/")
                found.append(
                    (f"{part}/{counter}", f"{count} uncorrectable errors counted by {part}/{counter}")
                )
        return found

    def _counts(self) -> list[tuple[str, int]]:
        if not self._names:
            raise NotSupported(f"{self._device}: the driver has no error counters")
        files = SysfsFiles(self._device)
        try:
            return [(name, files.number(name)) for name in self._names]
        finally:
            files.close()
