"""One Alveo device's probes: the user function (xocl), the management function (xclmgmt), or either alone.

Sensors are XMC's attributes, read by the driver from the satellite controller (xmc.c; names as XRT's own
core/pcie/linux/device_linux.cpp asks for them), else hwmon by label. 0 is how XMC says a sensor is not fitted.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

from ullage_agent.backend import Host
from ullage_agent.backends.alveo.memory import banks, used_bytes
from ullage_agent.backends.holders import Held, identity
from ullage_agent.backends.hwmon import Hwmon, directories, temperature
from ullage_agent.backends.pcie import PciFunction
from ullage_agent.backends.roster import Attributes, Probe
from ullage_agent.backends.sysfs import SysfsFiles
from ullage_contract.catalogue import Tier
from ullage_contract.errors import Broken, CardLost, NotPermitted, NotSupported, ReadingError
from ullage_contract.event import Severity
from ullage_contract.sample import Value

_LEVEL_WATTS: Final = {0: 75.0, 1: 150.0, 2: 225.0}
"""XMC's power levels: XRT core/common/sensor.cpp lvl_to_power_watts."""
_Ask = Callable[[], dict[str, Value]]


class Card:
    """functions: the device's PCI functions, the user's first. held: who has its nodes open, renewed by the maker."""

    def __init__(self, host: Host, functions: Sequence[Path]) -> None:
        self._host = host
        self._functions = list(functions)
        self.address = functions[0].name
        self.pci = PciFunction(host.sysfs, self.address)
        self.held = Held({}, False)
        self._files = {place: SysfsFiles(place) for place in functions}
        self._parts = {
            name: self._part(name)
            for name in ("xmc", "hwmon_sdm", "icap", "firewall", "rom")
        }  # fmt: skip
        self._migs = [path for place in functions for path in sorted(place.glob("mig.*"))]
        found = [hwmon for place in functions for hwmon in directories(place).values()]
        self._hwmons = [Hwmon(path) for path in found]
        self.nodes = tuple(
            f"/dev/dri/{path.name}" for place in functions for path in sorted(place.glob("drm/renderD[0-9]*"))
        )

    def _part(self, name: str) -> SysfsFiles | None:
        """A subdevice's directory, "xmc.u.19922944": of the user function where both have one."""
        for place in self._functions:
            for path in sorted(place.glob(f"{name}.*")):
                return SysfsFiles(path)
        return None

    def word(self, *places: tuple[str, str]) -> str | None:
        """The first text that is there: (part or "", file)."""
        for part, name in places:
            for files in self._places(part):
                try:
                    text = files.text(name)
                except ReadingError:
                    continue
                if text:
                    return text
        return None

    def probes(self) -> list[Probe]:
        """In the order they are asked."""
        slow = Tier.SLOW
        return [
            Probe("health", ("health", "health_detail"), self._health),
            Probe("xmc_power", ("power_watts",), self._power),
            Probe("xmc_fpga_temp", ("temperature_celsius",), self._heat("temperature_celsius", ("xmc_fpga_temp",), "fpga")),
            Probe(
                "xmc_memory_temp",
                ("memory_temperature_celsius",),
                self._heat("memory_temperature_celsius", ("xmc_hbm_temp", *(f"xmc_ddr_temp{n}" for n in range(4))), "hbm", "dimm"),
            ),
            Probe(
                "xmc_se98_temp",
                ("board_temperature_celsius",),
                self._heat("board_temperature_celsius", tuple(f"xmc_se98_temp{n}" for n in range(3)), "pcb"),
            ),
            Probe("memstat_raw", ("memory_used_bytes", "memory_total_bytes"), self._memory),
            Probe("clock_freqs", ("clock_core_hertz",), self._clock),
            Probe("max_power", ("power_limit_watts",), self._power_limit, slow),
            Probe("xmc_vccint_vol", ("voltage_volts",), self._rail("voltage_volts", "xmc_vccint_vol", "in", "vcc int", "vccint"), slow),
            Probe(
                "xmc_vccint_curr",
                ("current_amperes",),
                self._rail("current_amperes", "xmc_vccint_curr", "curr", "vcc int current", "vccint current", "vccint"),
                slow,
            ),
            Probe("xmc_fan_rpm", ("fan_rpm",), self._fan, slow),
            Probe("mig_ecc", ("ecc_corrected", "ecc_uncorrected"), self._ecc, slow),
            Probe("xmc_heartbeat_count", ("heartbeat",), self._heartbeat, slow),
            Probe("holders", ("processes",), self._count, slow),
            *self.pci.probes(),
        ]  # fmt: skip

    def alarms(self) -> Sequence[tuple[str, Severity, str]]:
        """A tripped firewall, by level and status."""
        tripped = self._firewall()
        if tripped is None:
            return []
        level, name, status = tripped
        return [(f"firewall:{level}:{status}", Severity.CRITICAL, f"{name} tripped, status {status}")]

    def processes(self) -> Sequence[tuple[Attributes, Mapping[str, Value]]]:
        """Who has the card open."""
        return [(identity(self._host.proc, pid), {}) for pid in self._users()]

    def close(self) -> None:
        """Close every descriptor."""
        self.pci.close()
        for files in (*self._files.values(), *(part for part in self._parts.values() if part is not None)):
            files.close()
        for hwmon in self._hwmons:
            hwmon.close()

    # ---- health

    def _health(self) -> dict[str, Value]:
        if not self._functions[0].exists():
            raise CardLost(f"{self._functions[0]} is gone")
        if self._optional("", "dev_offline"):
            return {"health": "critical", "health_detail": "dev_offline: the driver took it offline"}
        tripped = self._firewall()
        if tripped is not None:
            return {"health": "critical", "health_detail": f"{tripped[1]} tripped, status {tripped[2]}"}
        if self._optional("xmc", "xmc_heartbeat_stall"):
            return {
                "health": "degraded",
                "health_detail": "xmc_heartbeat_stall: its satellite controller hangs",
            }
        if self._optional("xmc", "xmc_power_warn"):
            return {
                "health": "degraded",
                "health_detail": "xmc_power_warn: it draws more than its slot may give",
            }
        known = [self._optional(*place) for place in (("", "dev_offline"), ("firewall", "detected_level"))]
        if all(value is None for value in known):
            raise NotSupported(
                f"{self.address}: neither dev_offline nor a firewall: nothing tells its health"
            )
        return {"health": "ok", "health_detail": "online, no firewall tripped"}

    def _firewall(self) -> tuple[int, str, str] | None:
        """(level, name, status) of the firewall that tripped; level 0 is none."""
        level = self._optional("firewall", "detected_level")
        if not level:
            return None
        status = self.word(("firewall", "detected_status")) or "unknown"
        return level, self.word(("firewall", "detected_level_name")) or f"AXI firewall {level}", status

    # ---- sensors

    def _power(self) -> dict[str, Value]:
        microwatts = self._optional("xmc", "xmc_power")
        if microwatts:
            return {"power_watts": microwatts / 1e6}
        for hwmon in self._hwmons:
            try:
                return {"power_watts": hwmon.positive("power", "power1_input")}
            except NotSupported:
                continue
        raise NotSupported(f"{self.address} measures no power")

    def _power_limit(self) -> dict[str, Value]:
        level = self._optional("xmc", "max_power")
        if level not in _LEVEL_WATTS:
            raise NotSupported(f"{self.address}: max_power is {level}")
        return {"power_limit_watts": _LEVEL_WATTS[level]}

    def _heat(self, key: str, names: Sequence[str], *labels: str) -> _Ask:
        def ask() -> dict[str, Value]:
            found = [float(value) for name in names if (value := self._optional("xmc", name))]
            if not found:
                found = [
                    value
                    for hwmon in self._hwmons
                    for value in hwmon.matching("temp", lambda label: label.startswith(labels))
                    if value
                ]
            if not found:
                raise NotSupported(f"{self.address} has no such sensor")
            return {key: temperature(max(found))}

        return ask

    def _rail(self, key: str, name: str, prefix: str, *labels: str) -> _Ask:
        def ask() -> dict[str, Value]:
            thousandths = self._optional("xmc", name)
            if thousandths:
                return {key: thousandths / 1000}
            for hwmon in self._hwmons:
                try:
                    found = hwmon.labelled(prefix, *labels)
                except NotSupported:
                    continue
                if found:
                    return {key: found}
            raise NotSupported(f"{self.address} has no such rail")

        return ask

    def _fan(self) -> dict[str, Value]:
        present = self.word(("xmc", "fan_presence"), ("hwmon_sdm", "fan_presence"))
        if present is not None and present.upper().startswith(("A", "N")):
            raise NotSupported(f"{self.address} is cooled without a fan of its own")
        rpm = self._optional("xmc", "xmc_fan_rpm")
        if rpm is not None:
            return {"fan_rpm": rpm}
        for hwmon in self._hwmons:
            try:
                return {"fan_rpm": hwmon.value("fan", "fan1_input")}
            except NotSupported:
                continue
        raise NotSupported(f"{self.address} tells no fan speed")

    def _heartbeat(self) -> dict[str, Value]:
        return {"heartbeat": self._number("xmc", "xmc_heartbeat_count")}

    # ---- the loaded design

    def _memory(self) -> dict[str, Value]:
        """Of the loaded design's banks; without a design nothing is given out and no bank is there."""
        icap = self._parts["icap"]
        if icap is None:
            raise NotSupported(f"{self.address} has no icap")
        found = banks(icap.raw("mem_topology"))
        if not found:
            return {}
        memstat = self.word(("", "memstat_raw"))
        if memstat is None:
            raise NotSupported(f"{self.address} has no memstat_raw")
        return {
            "memory_used_bytes": used_bytes(memstat, found),
            "memory_total_bytes": sum(bank.size_bytes for bank in found),
        }

    def _clock(self) -> dict[str, Value]:
        text = self.word(("icap", "clock_freqs"))
        if text is None:
            raise NotSupported(f"{self.address} tells no clocks")
        first = next((word for word in text.split() if word.isdecimal() and int(word)), None)
        if first is None:
            raise NotSupported(f"{self.address}: no clock runs")
        return {"clock_core_hertz": int(first) * 1e6}

    def _ecc(self) -> dict[str, Value]:
        sums: dict[str, Value] = {}
        for key, name in (("ecc_corrected", "ecc_ce_cnt"), ("ecc_uncorrected", "ecc_ue_cnt")):
            counts = []
            for path in self._migs:
                files = SysfsFiles(path)
                try:
                    counts.append(files.number(name))
                except NotSupported:
                    continue
                finally:
                    files.close()
            if counts:
                sums[key] = sum(counts)
        if not sums:
            raise NotSupported(f"{self.address}: the loaded design counts no memory errors")
        return sums

    def _count(self) -> dict[str, Value]:
        if not self.nodes:
            raise NotSupported(f"{self.address} has no render node: its user function has no driver")
        if not self.held.complete:
            raise NotPermitted("the open files of other users' processes: give the agent CAP_SYS_PTRACE")
        return {"processes": len(self._users())}

    def _users(self) -> list[int]:
        return sorted({pid for node in self.nodes for pid in self.held.by_node.get(node, ())})

    # ---- files

    def _places(self, part: str) -> list[SysfsFiles]:
        if not part:
            return list(self._files.values())
        found = self._parts[part]
        return [] if found is None else [found]

    def _number(self, part: str, name: str) -> int:
        found = self._optional(part, name)
        if found is None:
            raise NotSupported(f"{self.address} has no {part or 'own'} {name}")
        return found

    def _optional(self, part: str, name: str) -> int | None:
        """A number; None where no function has the file. Raises Broken, NotPermitted and CardLost."""
        for files in self._places(part):
            try:
                text = files.text(name)
            except NotSupported:
                continue
            if not text:
                continue
            try:
                return int(text, 0)
            except ValueError as e:
                if text.isdecimal():
                    return int(text)
                raise Broken(f"{files.root / name}: {text[:40]!r} is no number") from e
        return None
