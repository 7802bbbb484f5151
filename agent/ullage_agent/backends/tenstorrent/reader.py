"""Tenstorrent chips through tt-kmd: attributes of the class device, sensors of its hwmon.

Source: tt-kmd docs/sysfs-attributes.md and its hwmon tables (units: temp mC, in mV, curr mA, power uW, fan rpm).
The chip counts no busy time: ``utilization_ratio`` is power over its limit, and util_kind says so. The second
chip of an n300 hangs behind the first one's Ethernet and has no PCI function: the driver shows nothing of it.
PCIe traffic is left out: its 32-bit counters of 32-byte words wrap within seconds at full rate.
"""

from __future__ import annotations

import errno
import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from ullage_agent.backend import Call, Host
from ullage_agent.backends import holders
from ullage_agent.backends.pcie import PciFunction
from ullage_agent.backends.printed import said
from ullage_agent.backends.roster import Attributes, Found, Probe, Roster
from ullage_agent.backends.sysfs import SysfsFiles, glance, hwmon
from ullage_contract.catalogue import Tier
from ullage_contract.errors import Broken, CardLost, NotPermitted, NotPresent, NotSupported, ReadingError
from ullage_contract.identity import card_id
from ullage_contract.sample import Value

log = logging.getLogger(__name__)

ALL_ONES: Final = 0xFFFFFFFF
"""What every register reads as when PCIe is dead."""
FROZEN_SECONDS: Final = 30.0  # our choice: because three fast ticks without a beat are no hiccup
_MOST: Final = {"temperature": 300.0, "power": 65535.0, "volts": 100.0, "amperes": 65535.0, "rpm": 1e6}
"""Above these a sensor shows all ones or worse; unit by unit, our choice: because no card comes near."""

_SENSORS: Final = (
    # key, file, factor to our unit, kind for _MOST, tier
    ("power_watts", "power1_input", 1e-6, "power", Tier.FAST),
    ("temperature_celsius", "temp1_input", 1e-3, "temperature", Tier.FAST),
    ("power_limit_watts", "power1_max", 1e-6, "power", Tier.SLOW),
    ("temperature_limit_celsius", "temp1_max", 1e-3, "temperature", Tier.SLOW),
    ("voltage_volts", "in0_input", 1e-3, "volts", Tier.SLOW),
    ("current_amperes", "curr1_input", 1e-3, "amperes", Tier.SLOW),
    ("fan_rpm", "fan1_input", 1.0, "rpm", Tier.SLOW),
)
_MODELS: Final = {"faca": "grayskull", "401e": "wormhole", "b140": "blackhole"}
"""PCI device id -> architecture, for firmware that does not tell the card's type."""


class _Chip:
    """One class device."""

    def __init__(self, host: Host, place: Path, number: int) -> None:
        self.number = number
        self.node = f"/dev/tenstorrent/{number}"
        self.files = SysfsFiles(place)
        device = (place / "device").resolve()
        self.pci = PciFunction.at(host.sysfs, device.name)
        sensors = hwmon(device)
        self.sensors = SysfsFiles(sensors) if sensors is not None else None
        self.beat: tuple[int, float] | None = None
        self.board: str | None = None
        self.place_on_board: int | None = None  # its own for good: its neighbour may be lost
        self._names: dict[str, str] = {}

    def number_of(self, files: SysfsFiles | None, name: str) -> int:
        """A file's number. A chip that waits for its hardware to be set up answers ENODATA: broken, not unsupported."""
        if files is None:
            raise NotSupported(f"{self.node} has no hwmon")
        try:
            return files.number(name)
        except NotSupported as e:
            if isinstance(e.__cause__, OSError) and e.__cause__.errno == errno.ENODATA:
                raise Broken(f"{self.node}: {name}: the chip is not set up; reset it") from e
            raise

    def name(self, name: str) -> str | None:
        """What the chip's key is made of: None where the driver has no such attribute. What it said before stands
        while it cannot be told *now*, for without it the chip would get another key; raises a ReadingError where
        nothing was said before, CardLost when the chip is gone."""
        before = self._names.get(name)
        try:
            text = said(self.files.text(name))
        except CardLost:
            raise
        except ReadingError as e:
            if before is not None:
                return before
            if not isinstance(e, NotSupported):
                raise
            if isinstance(e.__cause__, OSError) and e.__cause__.errno == errno.ENODATA:
                raise Broken(f"{self.node}: {name}: the chip is not set up; reset it") from e
            return None
        if not text or not set(text) - {"0"}:
            return before
        self._names[name] = text
        return text

    def text(self, name: str) -> str | None:
        """What an attribute says, or None; all zeros say nothing."""
        try:
            text = said(self.files.text(name))
        except ReadingError:
            return None
        return text if text and set(text) - {"0"} else None

    def close(self) -> None:
        self.files.close()
        if self.sensors is not None:
            self.sensors.close()
        if self.pci is not None:
            self.pci.close()


class Tenstorrent:
    """backends.roster.Maker over /sys/class/tenstorrent."""

    vendor = "tenstorrent"

    def __init__(self, host: Host, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._host = host
        self._root = host.sysfs / "class/tenstorrent"
        self._monotonic = monotonic
        self._chips: dict[str, _Chip] = {}
        self._watch = holders.Watch(host.proc)
        self._held = holders.Held({}, False)

    def open(self, call: Call) -> None:
        """Nothing to open but the files themselves."""
        if not self._root.is_dir():
            raise NotPresent(f"{self._root} is not there: load the tenstorrent driver (tt-kmd)")

    def look(self, call: Call) -> Sequence[Found]:
        """Every chip the driver shows."""
        names = {path.name: int(path.name[12:]) for path in self._root.glob("tenstorrent![0-9]*")
                 if path.name[12:].isdigit()}  # fmt: skip
        for gone in set(self._chips) - set(names):
            self._chips.pop(gone).close()
        for name, number in names.items():
            # a number is given again: only the place behind it is the chip's own
            place = (self._root / name).resolve()
            known = self._chips.get(name)
            if known is not None and known.files.root != place:
                self._chips.pop(name).close()
            if name not in self._chips:
                self._chips[name] = _Chip(self._host, place, number)
        chips = sorted(self._chips.values(), key=lambda chip: chip.number)
        self._held = call("", "/proc", lambda: self._watch.scan([chip.node for chip in chips]))
        named: list[tuple[_Chip, str | None, str | None]] = []
        for chip in chips:
            try:
                named.append((chip, chip.name("tt_asic_id"), chip.name("tt_serial")))
            except ReadingError as e:
                log.warning("%s does not say who it is: %s", chip.node, e)
        serials = [serial for _, _, serial in named]
        for position, (chip, _, serial) in enumerate(named):
            if serial is not None and serials.count(serial) > 1 and chip.board != serial:
                chip.board, chip.place_on_board = serial, serials[:position].count(serial)
        return [self._found(chip, asic, serial) for chip, asic, serial in named]

    def close(self) -> None:
        """Close the files."""
        for chip in self._chips.values():
            chip.close()

    # ---- one chip

    def _found(self, chip: _Chip, asic: str | None, serial: str | None) -> Found:
        place_on_board = chip.place_on_board if chip.board == serial else None
        pci = chip.pci
        attributes: Attributes = {
            "model": chip.text("tt_card_type") or self._architecture(chip),
            "uuid": asic,
            "serial": serial,
            "board_id": serial,
            "chip": place_on_board,
            "pci_address": pci.address if pci else None,
            "index": chip.number,
            "minor": chip.number,
            "device_node": chip.node,
            "numa_node": pci.numa_node if pci else None,
            "firmware_version": chip.text("tt_fw_bundle_ver"),
            "driver_version": self._driver_version(),
            "util_kind": "proxy_power",
        }
        return Found(
            # two chips of a p300 have one serial number, and each an ASIC id of its own
            card_id=card_id(
                vendor=self.vendor,
                uuid=f"tenstorrent-{asic}" if asic else None,
                serial=serial,
                chip=place_on_board,
                node_id=self._host.node_id,
                pci=pci.address if pci else None,
            )
            if asic or serial or pci
            else card_id(vendor=self.vendor, node_id=self._host.node_id, chip=chip.number),
            attributes={name: value for name, value in attributes.items() if value is not None},
            probes=list(self._probes(chip)),
            processes=lambda: self._processes(chip),
            epoch=self._epoch(),
        )

    def _probes(self, chip: _Chip) -> Iterator[Probe]:
        yield Probe("tt_heartbeat", ("health", "health_detail"), lambda: self._health(chip))
        yield Probe("heartbeat", ("heartbeat",), lambda: {"heartbeat": self._beat(chip)}, Tier.SLOW)
        for key, name, factor, kind, tier in _SENSORS:
            yield Probe(name, (key,), self._sensor(chip, key, name, factor, kind), tier)
        yield Probe("power1", ("utilization_ratio",), lambda: self._proxy(chip))
        yield Probe(
            "tt_aiclk",
            ("clock_core_hertz",),
            lambda: {"clock_core_hertz": chip.number_of(chip.files, "tt_aiclk") * 1e6},
        )
        yield Probe("/proc", ("processes",), lambda: {"processes": len(self._pids(chip))}, Tier.SLOW)
        if chip.pci is not None:
            yield from chip.pci.probes()

    def _sensor(
        self, chip: _Chip, key: str, name: str, factor: float, kind: str
    ) -> Callable[[], Mapping[str, Value]]:
        return lambda: {key: self._measure(chip, name, factor, kind)}

    @staticmethod
    def _measure(chip: _Chip, name: str, factor: float, kind: str) -> float:
        found = chip.number_of(chip.sensors, name) * factor
        if abs(found) >= _MOST[kind]:
            raise Broken(f"{chip.node}: {name} reads {found:g}: all ones, is PCIe alive?")
        return found

    def _proxy(self, chip: _Chip) -> Mapping[str, Value]:
        limit = self._measure(chip, "power1_max", 1e-6, "power")
        if limit <= 0:
            raise NotSupported(f"{chip.node} tells no power limit")
        return {"utilization_ratio": min(1.0, self._measure(chip, "power1_input", 1e-6, "power") / limit)}

    @staticmethod
    def _beat(chip: _Chip) -> int:
        beat = chip.number_of(chip.files, "tt_heartbeat")
        if beat == ALL_ONES:
            raise CardLost(f"{chip.node}: telemetry is all ones: PCIe is dead")
        return beat

    def _health(self, chip: _Chip) -> Mapping[str, Value]:
        """Nothing is said before the heartbeat was seen to move or to stand."""
        beat, now = self._beat(chip), self._monotonic()
        if chip.beat is None:
            chip.beat = (beat, now)
            return {}
        if beat != chip.beat[0]:
            chip.beat = (beat, now)
        elif now - chip.beat[1] >= FROZEN_SECONDS:
            return {
                "health": "critical",
                "health_detail": f"heartbeat stands at {beat} for {now - chip.beat[1]:.0f} s: ARC firmware hangs",
            }
        trips = 0
        try:
            trips = chip.number_of(chip.files, "tt_therm_trip_count")
        except NotSupported:
            pass  # Wormhole does not count them
        if 0 < trips < ALL_ONES:
            return {"health": "degraded", "health_detail": f"therm_trip_count={trips}"}
        return {"health": "ok", "health_detail": "heartbeat moves"}

    # ---- processes

    def _pids(self, chip: _Chip) -> tuple[int, ...]:
        pids = self._held.by_node.get(chip.node, ())
        if not pids and not self._held.complete:
            raise NotPermitted("other users' open files cannot be seen: run as root or with CAP_SYS_PTRACE")
        return pids

    def _processes(self, chip: _Chip) -> Sequence[tuple[Attributes, Mapping[str, Value]]]:
        return [(holders.identity(self._host.proc, pid), {}) for pid in self._pids(chip)]

    # ---- the driver

    def _architecture(self, chip: _Chip) -> str | None:
        if chip.pci is None:
            return None
        try:
            return _MODELS.get(chip.pci.files.text("device").removeprefix("0x"))
        except ReadingError:
            return None

    def _driver_version(self) -> str | None:
        return glance(self._host.sysfs / "module/tenstorrent/version")

    def _epoch(self) -> str | None:
        try:
            return f"tenstorrent-{int((self._host.sysfs / 'module/tenstorrent').stat().st_ctime)}"
        except OSError:
            return None


def open_reader(host: Host) -> Roster:
    """What the child runs."""
    return Roster(Tenstorrent(host))
