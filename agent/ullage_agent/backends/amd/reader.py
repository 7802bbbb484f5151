"""AMD cards through plain sysfs, in the child: no ROCm, no tool, no library.

The physical card is the card; partitions (DPX, QPX, CPX x NPS) are its slices, and power, temperature and errors
belong to the card alone. Not here: what the files mean (card.py, ras.py, gpu_metrics.py, kfd.py).
"""

from __future__ import annotations

import errno
import json
import logging
import os
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Final

from ullage_agent.backend import Call, Host
from ullage_agent.backends.amd import kfd
from ullage_agent.backends.amd.card import AmdCard
from ullage_agent.backends.pcie import PciFunction
from ullage_agent.backends.roster import Attributes, Found, Probe, Roster, Slice
from ullage_contract.catalogue import Tier
from ullage_contract.errors import Broken, CardLost, NotPresent, ReadingError
from ullage_contract.identity import card_id, slice_id
from ullage_contract.sample import Value

log = logging.getLogger(__name__)

VENDOR_ID: Final = "0x1002"
UTIL_KIND: Final = "kernel_resident"
"""gpu_busy_percent is 100 while a compute context is merely resident (rocm-systems issue 10293): read it beside power."""
_WHOLE: Final = frozenset({"", "spx", "none", "unknown"})

_PASSING: Final = frozenset(
    {errno.EIO, errno.ENODEV, errno.EBUSY, errno.EAGAIN, errno.ETIMEDOUT, errno.EINTR}
)
"""What a read says while a card is reset."""


def open_reader(host: Host) -> Roster:
    """For the child."""
    return Roster(Amd(host))


class Amd:
    """A ``roster.Maker``."""

    vendor = "amd"

    def __init__(self, host: Host) -> None:
        self._host = host
        self._cards: dict[Path, _Known] = {}

    def open(self, call: Call) -> None:
        """Nothing to open. Raises NotPresent when the driver shows no card at all."""
        root = self._host.sysfs / "class/drm"
        if not root.is_dir() or not any(self._devices()):
            raise NotPresent(f"{root}: no card of driver amdgpu is listed; is the driver loaded?")

    def look(self, call: Call) -> Sequence[Found]:
        """Every physical card; those that do not say who they are, are left out."""
        known: dict[Path, _Known] = {}
        found: list[tuple[_Known, Attributes]] = []
        nodes = kfd.nodes(self._host.sysfs)
        for index, device in self._devices():
            card = self._cards.get(device) or _Known(self._host, device, index)
            try:
                attributes = call(card.place, "identity", card.attributes)
                call(card.place, "gpu_metrics", card.card.learn)
            except CardLost:
                card.close()
                continue
            except ReadingError as e:
                log.warning("%s: %s", card.place, e)
                if card.identity is None:
                    continue
                attributes = card.identity
            known[device] = card
            found.append((card, attributes))
        for device, card in self._cards.items():
            if device not in known:
                card.close()
        self._cards = known
        _share_boards(found)
        return [card.found(attributes, nodes) for card, attributes in found]

    def close(self) -> None:
        """Close every descriptor."""
        for card in self._cards.values():
            card.close()
        self._cards = {}

    def _devices(self) -> list[tuple[int, Path]]:
        """(DRM card number, device directory); connectors, other makers and partitions' own nodes left out."""
        root = self._host.sysfs / "class/drm"
        try:
            names = [name for name in os.listdir(root) if name.startswith("card") and name[4:].isdecimal()]  # noqa: PTH208
        except OSError:
            return []
        devices = []
        for name in sorted(names, key=lambda name: int(name[4:])):
            device = (root / name / "device").resolve()
            try:
                vendor = (device / "vendor").read_text(encoding="ascii").strip().lower()
            except (OSError, UnicodeDecodeError):
                continue  # amdgpu_xcp: a partition's platform device has no vendor
            if vendor == VENDOR_ID:
                devices.append((int(name[4:]), device))
        return devices


class _Known:
    """A card that was seen: its files stay open from look to look."""

    def __init__(self, host: Host, device: Path, index: int) -> None:
        self._host = host
        self._device = device
        self._index = index
        self.place = device.name
        self.card = AmdCard(device)
        self._function = PciFunction(host.sysfs, device.name)
        self.identity: Attributes | None = None
        self._names: tuple[str | None, str | None] | None = None
        self._card_id: str | None = None

    def close(self) -> None:
        self.card.close()
        self._function.close()

    def attributes(self) -> Attributes:
        """Static facts. Raises CardLost when the directory is gone."""
        if not self._device.exists():
            raise CardLost(f"{self._device}: the device is gone")
        device_id = (self._text("device") or "").removeprefix("0x")
        if self._names is None:
            self._names = self._name("unique_id"), self._name("serial_number")
        uuid, serial = self._names
        compute, memory = self._text("current_compute_partition"), self._text("current_memory_partition")
        self.identity = {
            "model": self._text("product_name") or _model(device_id),
            "uuid": uuid,
            "serial": serial,
            "pci_address": self.place,
            "index": self._index,
            "minor": self._index,
            "device_node": f"/dev/dri/card{self._index}",
            "numa_node": self._function.numa_node,
            "memory_total_bytes": self._number("mem_info_vram_total"),
            "power_limit_default_watts": self._default_limit(),
            "partition_mode": _mode(compute, memory),
            "util_kind": UTIL_KIND,
            "driver_version": self._driver(),
            "firmware_version": self._text("vbios_version"),
            "runtime_version": self._rocm(),
        }
        return self.identity

    def found(self, attributes: Attributes, nodes: Sequence[kfd.Node]) -> Found:
        shares = attributes.get("board_id") is not None
        self.card.share_power(shares)
        uuid, serial = attributes.get("uuid"), attributes.get("serial")
        # once given it stays: also when a card's other die is missing for a while
        self._card_id = name = self._card_id or card_id(
            uuid=uuid if isinstance(uuid, str) else None,
            vendor="amd",
            # dies of one board have one serial number: the place tells them apart
            serial=serial if isinstance(serial, str) and not shares else None,
            node_id=self._host.node_id,
            pci=self.place,
        )
        mine = [node for node in nodes if node.pci_address == self.place]
        processes = kfd.Processes(self._host.sysfs, self._host.proc, [node.gpu_id for node in mine])
        return Found(
            card_id=name,
            attributes={key: value for key, value in attributes.items() if value is not None},
            probes=[*self.card.probes(), *self._function.probes(), *_count(processes, bool(mine))],
            slices=self._slices(name, str(attributes.get("partition_mode") or "none"), mine),
            processes=processes.read if mine else None,
        )

    def _slices(self, card: str, mode: str, nodes: Sequence[kfd.Node]) -> Callable[[], list[Slice]] | None:
        """Partitions that are made now, in the order of their compute nodes; None for a whole card."""
        if mode == "none":
            return None
        count = max(len(nodes), len(self.card.metrics.partitions) if self.card.metrics else 0)
        if count < 2:
            return None
        total = sum(node.memory_bytes or 0 for node in nodes)

        def made() -> list[Slice]:
            return [self._slice(card, mode, number, count, nodes, total) for number in range(count)]

        return made

    def _slice(
        self, card: str, mode: str, number: int, count: int, nodes: Sequence[kfd.Node], total: int
    ) -> Slice:
        memory = nodes[number].memory_bytes if number < len(nodes) else None
        attributes: Attributes = {
            "vendor": "amd",
            "index": number,
            "profile": mode,
            "compute_share": 1 / count,
            "util_kind": UTIL_KIND,
        }
        probes = [Probe("gpu_metrics", ("utilization_ratio",), lambda: self._busy(number))]
        if memory is not None:
            attributes |= {"memory_total_bytes": memory, "memory_share": memory / total}
            probes.append(
                Probe("mem_banks", ("memory_total_bytes",), lambda: {"memory_total_bytes": memory}, Tier.SLOW)
            )
        return Slice(slice_id(card, f"xcp{number}"), attributes, probes)

    def _busy(self, number: int) -> dict[str, Value | None]:
        """The mean of the partition's compute dies, from what the card's own probe just read."""
        partitions = self.card.metrics.partitions if self.card.metrics else ()
        busy = [value for value in partitions[number] if value <= 100] if number < len(partitions) else []
        return {"utilization_ratio": sum(busy) / len(busy) / 100 if busy else None}

    def _name(self, name: str) -> str | None:
        """A part of the card's key; None where there is none. Raises Broken for what cannot be read only now:
        without it the card would get another key."""
        try:
            text = (self._device / name).read_text(encoding="utf-8", errors="replace").strip()
        except OSError as e:
            if e.errno in _PASSING:
                raise Broken(f"{name}: {os.strerror(e.errno or 0)}") from e
            return None
        return text if set(text) - {"0"} and text.isprintable() else None

    def _text(self, name: str) -> str | None:
        """A file read once a look; None where there is none."""
        try:
            text = (self._device / name).read_text(encoding="utf-8", errors="replace").strip()
        except OSError:
            return None
        return text if text.isprintable() and text not in ("", "(null)", "N/A") else None

    def _number(self, name: str) -> int | None:
        text = self._text(name)
        return int(text) if text and text.isdecimal() else None

    def _default_limit(self) -> float | None:
        for path in sorted(self._device.glob("hwmon/hwmon*/power1_cap_default")):
            microwatts = self._number(str(path.relative_to(self._device)))
            return None if not microwatts else microwatts * 1e-6
        return None

    def _driver(self) -> str | None:
        """The module's own version (ROCm's packages), else the kernel's: in-tree amdgpu has none of its own."""
        for path in (
            self._host.sysfs / "module/amdgpu/version",
            self._host.proc / "sys/kernel/osrelease",
        ):
            try:
                return path.read_text(encoding="ascii", errors="replace").strip() or None
            except OSError:
                continue
        return None

    def _rocm(self) -> str | None:
        """ROCm's version file, where it is installed ([backends.amd] rocm = "/opt/rocm")."""
        place = Path(str(self._host.settings.get("rocm", "/opt/rocm"))) / ".info/version"
        try:
            return place.read_text(encoding="ascii", errors="replace").strip()[:40] or None
        except OSError:
            return None


def _count(processes: kfd.Processes, listed: bool) -> list[Probe]:
    if not listed:
        return []
    return [Probe("kfd_processes", ("processes",), lambda: {"processes": len(processes.read())}, Tier.SLOW)]


def _mode(compute: str | None, memory: str | None) -> str:
    """``cpx/nps4``; none for a card that is whole."""
    word = (compute or "").lower()
    if word in _WHOLE:
        return "none"
    return f"{word}/{memory.lower()}" if memory else word


def _share_boards(found: Sequence[tuple[_Known, Attributes]]) -> None:
    """Dies of one module (MI250) have one serial number; only the first reports power, for the board."""
    boards: dict[str, list[Attributes]] = {}
    for _, attributes in found:
        attributes.pop("board_id", None)
        attributes.pop("chip", None)
        serial = attributes.get("serial")
        if isinstance(serial, str):
            boards.setdefault(serial, []).append(attributes)
    for serial, dies in boards.items():
        if len(dies) > 1:
            for number, attributes in enumerate(dies):
                attributes |= {"board_id": f"amd-{serial}", "chip": number}


@cache
def _models() -> dict[str, Any]:
    # JSON and a plain path: tomllib and importlib.resources would cost the child a mebibyte
    text = Path(__file__).with_name("models.json").read_text(encoding="utf-8")
    return dict(json.loads(text)["instinct"])


def _model(device_id: str) -> str | None:
    name = _models().get(device_id.lower())
    return str(name) if name else None
