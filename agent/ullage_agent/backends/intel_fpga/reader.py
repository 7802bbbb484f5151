"""Intel FPGA cards: the FPGA management engine (FME) of each, and the sensors of its board controller.

Files: Documentation/ABI/testing/sysfs-platform-dfl-fme; labels: drivers/hwmon/intel-m10-bmc-hwmon.c. An FPGA tells
nothing of how busy its user's design is: there is no utilisation.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from ullage_agent.backend import Call, Host
from ullage_agent.backends.holders import Held, Watch, identity
from ullage_agent.backends.hwmon import Hwmon, directories, temperature
from ullage_agent.backends.pcie import PciFunction
from ullage_agent.backends.roster import Attributes, Found, Probe, Roster
from ullage_agent.backends.sysfs import SysfsFiles
from ullage_contract.catalogue import THROTTLE_REASONS, Tier
from ullage_contract.errors import CardLost, NotPermitted, NotSupported, ReadingError
from ullage_contract.event import Severity
from ullage_contract.identity import card_id
from ullage_contract.sample import Value

_MODELS: Final = {
    "8086:09c4": "Intel PAC with Arria 10 GX",
    "8086:0b30": "Intel FPGA PAC N3000",
    "8086:0b2b": "Intel FPGA PAC D5005",
    "8086:bcbd": "Intel Xeon with integrated FPGA",
    "8086:bcc0": "Intel Xeon with integrated FPGA",
    "8086:bcce": "Intel FPGA (Open FPGA Stack)",
    "8086:af00": "Intel FPGA (Open FPGA Stack)",
    "1c2c:1000": "Silicom FPGA SmartNIC N5010",
    "1c2c:1001": "Silicom FPGA SmartNIC N5013",
}
"""drivers/fpga/dfl-pci.c."""
_ERRORS: Final = {
    "catfatal_errors": Severity.FATAL,
    "fme_errors": Severity.CRITICAL,
    "nonfatal_errors": Severity.WARNING,
    "pcie0_errors": Severity.WARNING,
    "pcie1_errors": Severity.WARNING,
}
"""Registers below errors/: 0 is none; severities by the ABI document's words."""
_ALARMS: Final = {
    "hardware_thermal": ("thermal", ("temp1_max_alarm", "temp1_crit_alarm")),
    "hardware_power_brake": ("power", ("power1_max_alarm", "power1_crit_alarm")),
}
_DEPTH: Final = 7
"""Our choice: because a board controller sits on dfl_dev.N/spi-master/spiN/spiN.M/NAME/hwmon below the card."""


class _Card:
    def __init__(self, host: Host, fme: Path, device: Path) -> None:
        self._host = host
        self.address = device.name
        self.pci = PciFunction(host.sysfs, device.name)
        self.files = SysfsFiles(fme)
        own = directories(fme)
        self._thermal = Hwmon(own["dfl_fme_thermal"]) if "dfl_fme_thermal" in own else None
        self._power = Hwmon(own["dfl_fme_power"]) if "dfl_fme_power" in own else None
        self._board = next((Hwmon(place) for place in _board_sensors(device)), None)
        names = [fme.name, *(path.name for path in sorted(fme.parent.glob("dfl-port.[0-9]*")))]
        self.nodes = tuple(f"/dev/{name}" for name in names)
        self.held = Held({}, False)
        self.ids = f"{_id(device / 'vendor')}:{_id(device / 'device')}"

    def probes(self) -> list[Probe]:
        slow = Tier.SLOW
        return [
            Probe("errors", ("health", "health_detail"), self._health),
            Probe("power1_input", ("power_watts",), self._power_watts),
            Probe("temp1_input", ("temperature_celsius",), self._temperature),
            Probe("board_temp", ("board_temperature_celsius",), self._board_temperature),
            Probe("alarms", ("throttle_reasons",), self._throttle),
            Probe("power1_max", ("power_limit_watts",), self._power_limit, slow),
            Probe("temp1_max", ("temperature_limit_celsius",), self._temperature_limit, slow),
            Probe("core_voltage", ("voltage_volts",), self._voltage, slow),
            Probe("core_current", ("current_amperes",), self._current, slow),
            Probe("holders", ("processes",), self._count, slow),
            *self.pci.probes(),
        ]

    def alarms(self) -> Sequence[tuple[str, Severity, str]]:
        return [
            (f"{name}:0x{value:x}", severity, f"{name} is 0x{value:x}")
            for name, severity, value in self._standing()
        ]

    def processes(self) -> Sequence[tuple[Attributes, Mapping[str, Value]]]:
        return [(identity(self._host.proc, pid), {}) for pid in self._users()]

    def close(self) -> None:
        self.pci.close()
        self.files.close()
        for hwmon in (self._thermal, self._power, self._board):
            if hwmon is not None:
                hwmon.close()

    # ---- health

    def _standing(self) -> list[tuple[str, Severity, int]]:
        """Error registers that are not 0. Raises NotSupported where the design has none."""
        found = []
        asked = False
        for name, severity in _ERRORS.items():
            try:
                value = self.files.number(f"errors/{name}")
            except NotSupported:
                continue
            asked = True
            if value:
                found.append((name, severity, value))
        if not asked:
            raise NotSupported(f"{self.files.root} has no error registers")
        return found

    def _health(self) -> dict[str, Value]:
        if not self.files.root.exists():
            raise CardLost(f"{self.files.root} is gone")
        standing = self._standing()
        if not standing:
            return {"health": "ok", "health_detail": "no error register set"}
        words = " ".join(f"{name}=0x{value:x}" for name, _, value in standing)
        bad = any(severity in (Severity.FATAL, Severity.CRITICAL) for _, severity, _ in standing)
        return {"health": "critical" if bad else "degraded", "health_detail": words}

    def _throttle(self) -> dict[str, Value]:
        bits = 0
        asked = False
        for reason, (which, names) in _ALARMS.items():
            hwmon = self._thermal if which == "thermal" else self._power
            for name in names if hwmon is not None else ():
                try:
                    standing = hwmon.files.number(name) if hwmon is not None else 0
                except NotSupported:
                    continue
                asked = True
                if standing:
                    bits |= 1 << THROTTLE_REASONS.index(reason)
        if not asked:
            raise NotSupported(f"{self.files.root} has no alarms")
        return {"throttle_reasons": bits}

    # ---- sensors

    def _power_watts(self) -> dict[str, Value]:
        """The board's own sum first: the FME measures the FPGA alone."""
        if self._board is not None:
            try:
                return {"power_watts": self._board.labelled("power", "board power")}
            except NotSupported:
                inputs = [label for label in self._board.labels("in") if label.startswith("12v")]
                pairs = [
                    self._board.labelled("in", label)
                    * self._board.labelled("curr", label.replace("voltage", "current"))
                    for label in inputs
                ]
                if pairs:
                    return {"power_watts": sum(pairs)}
        return {"power_watts": self._sensors(self._power).positive("power", "power1_input")}

    def _temperature(self) -> dict[str, Value]:
        if self._thermal is not None:
            return {"temperature_celsius": temperature(self._thermal.value("temp", "temp1_input"))}
        found = self._sensors(self._board).matching("temp", lambda label: label.startswith("fpga"))
        if not found:
            raise NotSupported("no sensor labelled FPGA")
        return {"temperature_celsius": temperature(max(found))}

    def _board_temperature(self) -> dict[str, Value]:
        found = self._sensors(self._board).matching("temp", lambda label: label.startswith("board"))
        if not found:
            raise NotSupported("no sensor labelled Board")
        return {"board_temperature_celsius": temperature(max(found))}

    def _power_limit(self) -> dict[str, Value]:
        return {"power_limit_watts": self._sensors(self._power).positive("power", "power1_max")}

    def _temperature_limit(self) -> dict[str, Value]:
        return {"temperature_limit_celsius": self._sensors(self._thermal).positive("temp", "temp1_max")}

    def _voltage(self) -> dict[str, Value]:
        return {"voltage_volts": self._sensors(self._board).labelled("in", "fpga core voltage")}

    def _current(self) -> dict[str, Value]:
        return {"current_amperes": self._sensors(self._board).labelled("curr", "fpga core current")}

    def _sensors(self, hwmon: Hwmon | None) -> Hwmon:
        if hwmon is None:
            raise NotSupported(f"{self.address} has no such hwmon")
        return hwmon

    def _count(self) -> dict[str, Value]:
        if not self.held.complete:
            raise NotPermitted("the open files of other users' processes: give the agent CAP_SYS_PTRACE")
        return {"processes": len(self._users())}

    def _users(self) -> list[int]:
        return sorted({pid for node in self.nodes for pid in self.held.by_node.get(node, ())})


class FpgaMaker:
    """See roster.Maker."""

    vendor = "intel-fpga"

    def __init__(self, host: Host) -> None:
        self._host = host
        self._cards: dict[str, _Card] = {}
        self._watch = Watch(host.proc)

    def open(self, call: Call) -> None:
        """Nothing to open."""

    def look(self, call: Call) -> Sequence[Found]:
        """Every FME on a PCI device."""
        found: list[Found] = []
        present = set()
        for link in sorted((self._host.sysfs / "bus/platform/devices").glob("dfl-fme.[0-9]*")):
            fme = link.resolve()
            device = next((place for place in fme.parents if (place / "vendor").exists()), None)
            if device is None:
                continue
            present.add(link.name)
            card = self._cards.get(link.name)
            if card is None or card.files.root != fme:
                card = self._cards[link.name] = _Card(self._host, fme, device)
            found.append(self._entry(len(found), card))
        for gone in set(self._cards) - present:
            self._cards.pop(gone).close()
        nodes = [node for card in self._cards.values() for node in card.nodes]
        held = call("", "/proc", lambda: self._watch.scan(nodes))
        for card in self._cards.values():
            card.held = held
        return found

    def close(self) -> None:
        """Close every descriptor."""
        for card in self._cards.values():
            card.close()

    def _entry(self, index: int, card: _Card) -> Found:
        return Found(
            card_id(vendor=self.vendor, node_id=self._host.node_id, pci=card.address),
            {
                "model": _MODELS.get(card.ids, f"FPGA [{card.ids}]"),
                "pci_address": card.address,
                "index": index,
                "numa_node": card.pci.numa_node,
                "device_node": card.nodes[0],
                # the static region's design: what runs on the card, so to say
                "firmware_version": _text(card.files, "bitstream_id"),
            },
            card.probes(),
            processes=card.processes,
            alarms=card.alarms,
        )


def _text(files: SysfsFiles, name: str) -> str | None:
    try:
        return files.text(name) or None
    except ReadingError:
        return None


def _id(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii").strip().removeprefix("0x")
    except OSError:
        return "?"


def _board_sensors(device: Path) -> list[Path]:
    """hwmon directories of a board controller below a card, named like n3000bmc-hwmon or d5005bmc_hwmon."""
    found: list[Path] = []
    level = [device]
    for _ in range(_DEPTH):
        below: list[Path] = []
        for place in level:
            try:
                children = [path for path in place.iterdir() if path.is_dir() and not path.is_symlink()]
            except OSError:
                continue
            below += children
        for place in below:
            for name, hwmon in directories(place).items():
                if "bmc" in name.lower() or "bmc" in place.name.lower():
                    found.append(hwmon)
        level = below
    return sorted(found)


def open_reader(host: Host) -> Roster:
    """The reader for the child process."""
    return Roster(FpgaMaker(host))
