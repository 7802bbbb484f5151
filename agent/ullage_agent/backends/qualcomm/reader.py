"""Qualcomm Cloud AI SoCs through the qaic driver, with names and sizes from one ``qaic-util -q`` an inventory.

Source: kernel Documentation/ABI/testing/sysfs-driver-qaic (ce_count, ue_count, ue_nonfatal_count; 6.17) and the
hwmon of the Platform SDK's driver: power of the board, temp1 the board's, temp2 the SoC's. That driver writes
temperatures in microdegrees where hwmon means millidegrees; both are read, for no chip is at 1000 degrees.
One board may carry four SoCs (Ultra): the power reading is the board's and is counted once a board. What part of
its time a SoC computes is told by no file, and by the tool only as cores in use, so there is no utilisation.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from ullage_agent.backend import Call, DecodedCard, Host
from ullage_agent.backends import holders
from ullage_agent.backends.pcie import PciFunction
from ullage_agent.backends.qualcomm.decode import decode
from ullage_agent.backends.roster import Attributes, Found, Probe, Roster
from ullage_agent.backends.sysfs import SysfsFiles, glance, hwmon
from ullage_agent.backends.toolstream import find_tool
from ullage_contract.catalogue import THROTTLE_REASONS, Tier, bits_of
from ullage_contract.errors import BadInput, Broken, NotPermitted, NotPresent, NotSupported, ReadingError
from ullage_contract.identity import card_id
from ullage_contract.sample import Value

VENDOR: Final = "0x17cb"
MODELS: Final = {"0xa100": "Cloud AI 100", "0xa080": "Cloud AI 80"}
FOLDERS: Final = ("/opt/qti-aic/tools",)
LISTING_SECONDS: Final = 1.5  # our choice: because a call may take 2 s
LEVELS: Final = {1: "full power", 2: "reduced power", 3: "minimal power"}
"""hwmon power_level."""
_MICRO: Final = 1_000_000


class _Soc:
    """One PCI function."""

    def __init__(self, host: Host, address: str) -> None:
        self.pci = PciFunction(host.sysfs, address)
        self.files = self.pci.files
        place = self.files.root
        sensors = hwmon(place)
        self.sensors = SysfsFiles(sensors) if sensors is not None else None
        self.node = _node(place)

    def sensor(self, name: str) -> int:
        if self.sensors is None:
            raise NotSupported(
                "the driver has no telemetry (hwmon): it comes with the Platform SDK's qaic driver"
            )
        return self.sensors.number(name)

    def close(self) -> None:
        self.pci.close()
        if self.sensors is not None:
            self.sensors.close()


class Qualcomm:
    """backends.roster.Maker over the PCI bus and hwmon."""

    vendor = "qualcomm"

    def __init__(self, host: Host) -> None:
        self._host = host
        self._socs: dict[str, _Soc] = {}
        self._listed: dict[str, DecodedCard] | None = None
        self._watch = holders.Watch(host.proc)
        self._held = holders.Held({}, False)

    def open(self, call: Call) -> None:
        """Nothing to open but the files themselves."""

    def look(self, call: Call) -> Sequence[Found]:
        """Every SoC bound to a driver of ours: one passed through to a virtual machine is not this host's."""
        root = self._host.sysfs / "bus/pci/devices"
        try:
            addresses = sorted(path.name for path in root.iterdir() if _is_soc(path))
        except OSError as e:
            raise NotPresent(f"{root} cannot be read: mount the host's /sys") from e
        for gone in set(self._socs) - set(addresses):
            self._socs.pop(gone).close()
        for address in addresses:
            soc = self._socs.get(address)
            if soc is None or soc.sensors is None or soc.node is None:  # a SoC that boots gets them later
                if soc is not None:
                    soc.close()
                self._socs[address] = _Soc(self._host, address)
        if self._listed is None or set(addresses) - set(self._listed):
            self._listed = self._list(call)
        nodes = [soc.node for soc in self._socs.values() if soc.node]
        self._held = call("", "/proc", lambda: self._watch.scan(nodes))
        return [self._found(self._socs[address], address) for address in addresses]

    def close(self) -> None:
        """Close the files."""
        for soc in self._socs.values():
            soc.close()

    def _list(self, call: Call) -> dict[str, DecodedCard]:
        """qaic-util by PCI address; empty without the tool or the permission to ask the cards."""
        tool = find_tool("qaic-util", FOLDERS, self._host.settings.get("lister"))

        def run() -> str:
            try:
                done = subprocess.run(
                    [tool, "-q"],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.DEVNULL,
                    timeout=LISTING_SECONDS,
                    check=False,
                )
            except (OSError, subprocess.TimeoutExpired) as e:
                raise NotPresent(f"{tool}: {e}") from e
            return done.stdout.decode("utf-8", "replace")

        try:
            cards = decode(call("", "qaic-util", run)).cards
        except (ReadingError, BadInput):
            return {}
        return {card.pci_address: card for card in cards if card.pci_address}

    # ---- one SoC

    def _found(self, soc: _Soc, address: str) -> Found:
        listed = (self._listed or {}).get(address)
        board = listed.board_id if listed is not None else None
        mates = [a for a, card in sorted((self._listed or {}).items()) if board and card.board_id == board]
        try:
            device = soc.files.text("device")
        except ReadingError:
            device = ""
        total = listed.values.get("memory_total_bytes") if listed is not None else None
        attributes: Attributes = {
            "model": (listed.model if listed is not None else None) or MODELS.get(device),
            "serial": listed.serial if listed is not None else None,
            "board_id": board,
            "chip": mates.index(address) if len(mates) > 1 else None,
            "pci_address": address,
            "index": listed.index if listed is not None else None,
            "device_node": soc.node,
            "numa_node": soc.pci.numa_node,
            "memory_total_bytes": total,
            "firmware_version": str(listed.extra["firmware"])
            if listed and "firmware" in listed.extra
            else None,
            "driver_version": self._driver_version(),
        }
        return Found(
            # the address, for the SoC's serial number is in the tool's answer only, which may be missing
            card_id=card_id(vendor=self.vendor, node_id=self._host.node_id, pci=address),
            attributes={name: value for name, value in attributes.items() if value is not None},
            probes=list(self._probes(soc, listed, alone=len(mates) == 1)),
            processes=lambda: [(holders.identity(self._host.proc, pid), {}) for pid in self._pids(soc)],
            epoch=self._epoch(),
        )

    def _probes(self, soc: _Soc, listed: DecodedCard | None, *, alone: bool) -> Iterator[Probe]:
        yield Probe("health", ("health", "health_detail"), lambda: self._health(soc, listed))
        for key, name, tier in (
            ("board_power_watts", "power1_input", Tier.FAST),
            ("power_limit_watts", "power1_max", Tier.SLOW),
        ):
            yield Probe(name, (key,), _watts(soc, key, name), tier)
        if alone:
            yield Probe("power1_input", ("power_watts",), _watts(soc, "power_watts", "power1_input"))
        for key, name, tier in (
            ("temperature_celsius", "temp2_input", Tier.FAST),
            ("board_temperature_celsius", "temp1_input", Tier.FAST),
            ("temperature_limit_celsius", "temp2_crit", Tier.SLOW),
        ):
            yield Probe(name, (key,), _degrees(soc, key, name), tier)
        yield Probe("power_level", ("performance_state",), lambda: _level(soc), Tier.SLOW)
        yield Probe("throttle_percent", ("throttle_reasons",), lambda: _throttle(soc))
        for key, name in (("ecc_corrected", "ce_count"), ("ecc_uncorrected", "ue_count")):
            yield Probe(name, (key,), _count(soc, key, name), Tier.SLOW)
        total = listed.values.get("memory_total_bytes") if listed is not None else None
        if isinstance(total, int):
            yield Probe("qaic-util", ("memory_total_bytes",), lambda: {"memory_total_bytes": total})
        yield Probe("/proc", ("processes",), lambda: {"processes": len(self._pids(soc))}, Tier.SLOW)
        yield from soc.pci.probes()

    def _health(self, soc: _Soc, listed: DecodedCard | None) -> Mapping[str, Value]:
        """Trouble that files show; "ok" only where at least one of them was there to be read."""
        seen = False
        worst = 0
        words: list[str] = []
        for name, level in (("ue_count", 2), ("ue_nonfatal_count", 1)):
            try:
                count = soc.files.number(name)
            except NotSupported:
                continue
            seen = True
            if count > 0:
                worst, words = max(worst, level), [*words, f"{name}={count}"]
        if soc.sensors is not None:
            try:
                throttled = soc.sensor("throttle_percent")
                seen = True
                if throttled > 0:
                    worst, words = max(worst, 1), [*words, f"throttled by {throttled} %"]
            except NotSupported:
                pass
        if soc.pci.driver is not None and soc.node is None:
            worst, words = 2, [*words, "its driver made no accel node: the SoC did not boot"]
            seen = True
        status = listed.values.get("health_detail") if listed is not None else None
        if isinstance(status, str):
            ready = status.lower() == "ready"
            seen = seen or ready
            if not ready and os.geteuid() == 0:  # of others the tool says Error where it only may not ask
                seen = True
                worst, words = 2, [*words, f"qaic-util says {status}"]
        if not seen:
            raise NotSupported("the driver shows neither error counters nor telemetry")
        return {
            "health": ("ok", "degraded", "critical")[worst],
            "health_detail": "; ".join(words) or "no trouble seen",
        }

    def _pids(self, soc: _Soc) -> tuple[int, ...]:
        if soc.node is None:
            raise NotSupported("the SoC has no device node")
        pids = self._held.by_node.get(soc.node, ())
        if not pids and not self._held.complete:
            raise NotPermitted("other users' open files cannot be seen: run as root or with CAP_SYS_PTRACE")
        return pids

    def _driver_version(self) -> str | None:
        return glance(self._host.sysfs / "module/qaic/version")

    def _epoch(self) -> str | None:
        """Errors are counted since the driver was loaded."""
        try:
            return f"qaic-{int((self._host.sysfs / 'module/qaic').stat().st_ctime)}"
        except OSError:
            return None


def _is_soc(place: Path) -> bool:
    try:
        if (place / "vendor").read_text(encoding="ascii").strip() != VENDOR:
            return False
        if (place / "device").read_text(encoding="ascii").strip() not in MODELS:
            return False
    except (OSError, UnicodeDecodeError):
        return False
    try:
        return (place / "driver").readlink().name != "vfio-pci"
    except OSError:
        return True


def _node(place: Path) -> str | None:
    """/dev/accel/accelN of the kernel's driver, /dev/qaic_aic100_N... of older ones; None while there is none."""
    for pattern in ("accel/accel[0-9]*", "qaic/*", "drm/renderD*"):
        for found in sorted(place.glob(pattern)):
            folder = {"accel": "accel/", "drm": "dri/"}.get(found.parent.name, "")
            return f"/dev/{folder}{found.name}"
    return None


def _watts(soc: _Soc, key: str, name: str) -> Callable[[], Mapping[str, Value]]:
    def ask() -> Mapping[str, Value]:
        watts = soc.sensor(name) / _MICRO
        if not 0 <= watts < 65535:
            raise Broken(f"{name} reads {watts:g} W")
        return {key: watts}

    return ask


def _degrees(soc: _Soc, key: str, name: str) -> Callable[[], Mapping[str, Value]]:
    def ask() -> Mapping[str, Value]:
        raw = soc.sensor(name)
        # microdegrees of the SDK's driver start where millidegrees are 1000 degrees
        celsius = raw / (_MICRO if abs(raw) >= _MICRO else 1000)
        if not -100 <= celsius <= 300:
            raise Broken(f"{name} reads {raw}")
        return {key: celsius}

    return ask


def _count(soc: _Soc, key: str, name: str) -> Callable[[], Mapping[str, Value]]:
    return lambda: {key: soc.files.number(name)}


def _level(soc: _Soc) -> Mapping[str, Value]:
    level = soc.sensor("power_level")
    if level not in LEVELS:
        raise Broken(f"power_level reads {level}")
    return {"performance_state": LEVELS[level]}


def _throttle(soc: _Soc) -> Mapping[str, Value]:
    throttled = soc.sensor("throttle_percent")
    if not 0 <= throttled <= 100:
        raise Broken(f"throttle_percent reads {throttled}")
    return {"throttle_reasons": bits_of(THROTTLE_REASONS, ["unknown"]) if throttled else 0}


def open_reader(host: Host) -> Roster:
    """What the child runs."""
    return Roster(Qualcomm(host))
