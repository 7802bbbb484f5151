"""Which makers' hardware is in this server: PCI ids, device nodes and sysfs files. Reads files only.

Not here: whether a card works; that is the reader's to find out in its child. All roots come from
Host, so a recorded tree is as good as the machine.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ullage_agent.backend import Backend, Detection, Host
from ullage_agent.registry import call

log = logging.getLogger(__name__)
MAX_LISTED = 64  # our choice: because 16 boards of 4 chips are the most one server holds today


@dataclass(frozen=True, slots=True)
class PciDevice:
    """One function on the bus, ids in lower-case hex without 0x; ``class_code`` has six digits (030200).

    virtual: an SR-IOV virtual function whose physical function is on this machine too.
    passed_through: bound to vfio-pci: it belongs to a virtual machine, our driver never answers for it.
    """

    address: str
    vendor: str
    device: str
    class_code: str
    virtual: bool = False
    passed_through: bool = False


def pci_devices(sysfs: Path) -> tuple[PciDevice, ...]:
    """Everything on the PCI bus, by address. An unreadable device is left out; no bus gives ()."""
    devices = []
    root = sysfs / "bus/pci/devices"
    try:
        names = sorted(entry.name for entry in root.iterdir())
    except OSError:
        return ()
    for name in names:
        place = root / name
        try:
            devices.append(
                PciDevice(
                    address=name,
                    vendor=_hex(place / "vendor"),
                    device=_hex(place / "device"),
                    class_code=_hex(place / "class"),
                    virtual=(place / "physfn").exists(),
                    passed_through=_driver(place) == "vfio-pci",
                )
            )
        except (OSError, UnicodeDecodeError):
            continue
    return tuple(devices)


def detect(host: Host, backend: Backend, devices: Sequence[PciDevice] | None = None) -> Detection:
    """Is this maker's hardware here? ``devices`` saves scanning the bus once a maker. Never raises."""
    try:
        if backend.detector is not None:
            found = call(backend.detector, host, backend)
            if not isinstance(found, Detection):
                raise TypeError(f"it gave a {type(found).__name__}, not a Detection")
            return found
        return by_ids(host, backend, pci_devices(host.sysfs) if devices is None else devices)
    except Exception as e:  # a stranger's detector may raise anything; only its own maker suffers
        log.warning("detector of %s failed: %s", backend.name, e)
        return Detection(
            present=False,
            found=(),
            tried=(backend.detector or "PCI bus",),
            why_not=f"its detector failed: {type(e).__name__}: {e}"[:300],
        )


def by_ids(host: Host, backend: Backend, devices: Sequence[PciDevice]) -> Detection:
    """The default detector: PCI vendor and class, then device nodes, then sysfs files. Any hit counts."""
    if backend.simulated:
        return Detection(
            present=False,
            found=(),
            tried=(),
            why_not=f"simulated cards are never detected; set [backends.{backend.name}] enabled = true",
        )
    found: list[str] = []
    tried: list[str] = []
    cards = [d for d in devices if _matches(backend, d)]
    for vendor, classes in backend.pci:
        wanted = f" class {' or '.join(classes)}" if classes else ""
        listed = f" device {' '.join(sorted(backend.pci_devices))}" if backend.pci_devices else ""
        tried.append(f"PCI {vendor}:*{wanted}{listed}")
    found.extend(f"PCI {d.address} {d.vendor}:{d.device} class {d.class_code}" for d in cards)
    for root, globs, shown in (
        (host.dev, backend.device_nodes, "/dev"),
        (host.sysfs, backend.sysfs_nodes, "/sys"),
    ):
        for pattern in globs:
            tried.append(f"{shown}/{pattern}")
            found.extend(f"{shown}/{hit}" for hit in _glob(root, pattern))
    physical = [d for d in cards if not d.virtual and not d.passed_through]
    return Detection(
        present=bool(found),
        found=_capped(found),
        tried=tuple(tried),
        why_not=None if found else _why_not(tried, bool(devices)),
        # hardware that only a device node shows is not on the PCI bus, so the bus cannot count it
        cards_expected=len(physical) if physical or (backend.pci and devices and not found) else None,
    )


def _matches(backend: Backend, device: PciDevice) -> bool:
    if backend.pci_devices and device.device not in backend.pci_devices:
        return False
    return any(
        device.vendor == vendor and (not classes or device.class_code.startswith(classes))
        for vendor, classes in backend.pci
    )


def _why_not(tried: Sequence[str], bus: bool) -> str:
    if not tried:
        return "the backend names no PCI id, device node or sysfs file to look for"
    note = "" if bus else " (this machine shows no PCI bus)"
    return f"none of these is here: {'; '.join(tried)}{note}"


def _glob(root: Path, pattern: str) -> list[str]:
    try:
        return sorted(str(hit.relative_to(root)) for hit in root.glob(pattern.lstrip("/")))
    except (OSError, ValueError):
        return []


def _capped(found: list[str]) -> tuple[str, ...]:
    if len(found) <= MAX_LISTED:
        return tuple(found)
    return (*found[:MAX_LISTED], f"and {len(found) - MAX_LISTED} more")


def _driver(place: Path) -> str | None:
    try:
        return (place / "driver").readlink().name
    except OSError:
        return None


def _hex(path: Path) -> str:
    return path.read_text(encoding="ascii").strip().lower().removeprefix("0x")
