"""One Intel GPU's probes: sysfs, hwmon and the fdinfo of its users.

A card the kernel put to sleep (power/runtime_status) is not woken to be measured: it is unused, and nothing else
is known of it. Sources: Documentation/ABI/testing/sysfs-driver-intel-{xe,i915}-hwmon, drivers' sysfs as in gt.py.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

from ullage_agent.backend import Host
from ullage_agent.backends.drm_clients import Busy, DrmClients, Look
from ullage_agent.backends.holders import identity
from ullage_agent.backends.hwmon import Hwmon, directories, temperature
from ullage_agent.backends.intel import gt
from ullage_agent.backends.intel.errors import ErrorCounters
from ullage_agent.backends.pcie import PciFunction
from ullage_agent.backends.rate import Rate
from ullage_agent.backends.roster import Attributes, Probe
from ullage_contract.catalogue import Tier
from ullage_contract.errors import CardLost, NotPermitted, NotSupported, ReadingError
from ullage_contract.sample import Value

_AWAKE_TO_DOUBT: Final = 0.05
"""Our choice: because a card with no user known to us that is awake for more than this has users we do not see."""
_SIZES: Final = ("memory/physical_vram_size_bytes", "physical_vram_size_bytes")


class Card:
    """Built when the card is first seen; asked until it is gone."""

    def __init__(self, host: Host, address: str, clients: DrmClients, clock: Callable[[], float]) -> None:
        self.address = address
        self._proc = host.proc
        self._pci = PciFunction(host.sysfs, address)
        self._files = self._pci.files
        root = self._files.root
        self._gts = gt.find(root)
        self._drm = next((path for path in sorted(root.glob("drm/card[0-9]*"))), None)
        self._tiles = sorted(path.name for path in root.glob("tile[0-9]*"))
        self._errors = ErrorCounters(root)
        places = directories(root)
        # i915 makes one for the device and one a tile ("i915_gt0"): the device's has the whole card
        place = next(
            (places[name] for name in ("xe", "i915") if name in places), next(iter(places.values()), None)
        )
        self._hwmon = Hwmon(place) if place is not None else None
        self._clients = clients
        self._busy = Busy(address)
        self._clock = clock
        self._energy = Rate(clock)
        self._idle: list[Rate] = []
        self._link = PciFunction(host.sysfs, _slot(root) or address)

    @property
    def numa_node(self) -> int | None:
        """See PciFunction."""
        return self._pci.numa_node

    @property
    def device_node(self) -> str | None:
        """The card's render node, which is what computes."""
        names = sorted(path.name for path in self._files.root.glob("drm/renderD[0-9]*"))
        return f"/dev/dri/{names[0]}" if names else None

    @property
    def sees_everyone(self) -> bool:
        """Whether every process may be looked at, so that sums over users are whole."""
        return self._clients.look().complete

    def attributes(self) -> Attributes:
        """What does not change while the driver is loaded."""
        default = None
        if self._hwmon is not None:
            try:
                default = self._hwmon.positive("power", "power1_rated_max", "power2_rated_max")
            except ReadingError:
                default = None
        return {"power_limit_default_watts": default}

    def probes(self) -> list[Probe]:
        """In the order they are asked."""
        slow = Tier.SLOW
        link = {probe.call: probe for probe in self._link.probes()}
        own = {probe.call: probe for probe in self._pci.probes()}
        return [
            Probe("bus", ("health", "health_detail"), self._health),
            Probe("utilization", ("utilization_ratio",), self._utilization),
            Probe("fdinfo_memory", ("memory_used_bytes",), self._memory_used),
            Probe("vram_size", ("memory_total_bytes",), self._memory_total),
            Probe("energy", ("energy_joules", "power_watts"), self._power),
            Probe("temp_pkg", ("temperature_celsius",), self._awake(self._temperature)),
            Probe("temp_vram", ("memory_temperature_celsius",), self._awake(self._memory_temperature)),
            Probe("act_freq", ("clock_core_hertz",), self._awake(self._clock_core)),
            Probe("throttle", ("throttle_reasons",), self._awake(self._throttle)),
            Probe("power_max", ("power_limit_watts",), self._awake(self._power_limit), slow),
            Probe("in_input", ("voltage_volts",), self._awake(self._voltage), slow),
            Probe("fan_input", ("fan_rpm",), self._awake(self._fan), slow),
            Probe("temp_max", ("temperature_limit_celsius",), self._awake(self._temperature_limit), slow),
            Probe("rp0_freq", ("clock_core_max_hertz",), self._awake(self._clock_max), slow),
            Probe("media_freq", ("clock_video_hertz",), self._awake(self._clock_video), slow),
            Probe("error_counter", self._errors.gives, self._awake(self._errors.read), slow),
            Probe("fdinfo", ("processes",), self._process_count, slow),
            *(probe for name, probe in link.items() if "link" in name),
            *(probe for name, probe in own.items() if "link" not in name),
        ]

    def alarms(self) -> Sequence[tuple[str, str]]:
        """(code, message) of every fatal error counter that is not 0."""
        return [] if self._asleep() else self._errors.fatal()

    def processes(self) -> Sequence[tuple[Attributes, Mapping[str, Value]]]:
        """The users we may see, whole or not."""
        look = self._clients.look()
        usage = self._busy.usage(look)
        rows: dict[int, dict[str, Value]] = {}
        for client in look.by_card.get(self.address, {}).values():
            row = rows.setdefault(min(client.pids), {})
            if client.resident_bytes is not None:
                row["process_memory_used_bytes"] = (
                    int(row.get("process_memory_used_bytes", 0)) + client.resident_bytes
                )
            if usage is not None and client.client_id in usage.by_client:
                share = float(row.get("process_utilization_ratio", 0.0)) + usage.by_client[client.client_id]
                row["process_utilization_ratio"] = min(1.0, share)
        return [(identity(self._proc, pid), row) for pid, row in sorted(rows.items())]

    def close(self) -> None:
        """Close every descriptor."""
        self._pci.close()
        self._link.close()
        if self._hwmon is not None:
            self._hwmon.close()

    # ---- how busy

    def _utilization(self) -> dict[str, Value]:
        """The busiest engine class of its users; where they are not all seen, the share of time it was awake.

        The first reading is not there yet: both are differences.
        """
        if self._asleep():
            return {"utilization_ratio": 0.0}  # the kernel puts a card to sleep only when nobody uses it
        awake = self._awake_ratio()
        look = self._clients.look()
        usage = self._busy.usage(look)
        hidden = not look.by_card.get(self.address) and awake is not None and awake > _AWAKE_TO_DOUBT
        if look.complete and usage is not None and not hidden:
            return {"utilization_ratio": usage.ratio}
        if awake is not None:
            return {"utilization_ratio": awake}
        if not look.complete and not any(part.idle_ms for part in self._gts):
            raise NotPermitted(
                "utilisation needs the fdinfo of all processes: give the agent CAP_SYS_PTRACE and the host's pid namespace"
            )
        return {}

    def _awake_ratio(self) -> float | None:
        """Share of time not in the idle state: the mean of the compute parts, or the media part when it did more."""
        try:
            found = gt.idle_seconds(self._files, self._gts)
        except CardLost:
            raise
        except ReadingError:
            return None
        while len(self._idle) < len(found):
            self._idle.append(Rate(self._clock))
        shares = [
            (media, rate.of(seconds)) for (media, seconds), rate in zip(found, self._idle, strict=False)
        ]
        compute = [1 - idle for media, idle in shares if idle is not None and not media]
        video = [1 - idle for media, idle in shares if idle is not None and media]
        if not compute and not video:
            return None
        return min(1.0, max(0.0, sum(compute) / len(compute) if compute else 0.0, *video))

    def _memory_used(self) -> dict[str, Value]:
        look = self._clients.look()
        self._must_see_all(look)
        users = look.by_card.get(self.address, {}).values()
        sizes = [client.resident_bytes for client in users]
        if any(size is None for size in sizes):
            raise NotSupported("the driver's fdinfo tells no memory")
        return {"memory_used_bytes": sum(size for size in sizes if size is not None)}

    def _process_count(self) -> dict[str, Value]:
        look = self._clients.look()
        self._must_see_all(look)
        pids = {pid for client in look.by_card.get(self.address, {}).values() for pid in client.pids}
        return {"processes": len(pids)}

    def _must_see_all(self, look: Look) -> None:
        if not look.complete:
            raise NotPermitted(
                "the fdinfo of other users' processes: give the agent CAP_SYS_PTRACE and the host's pid namespace"
            )

    def _memory_total(self) -> dict[str, Value]:
        """xe: physical VRAM of the tiles; i915 (Intel's own packages): lmem_total_bytes."""
        if self._drm is not None:
            for base in ("", f"drm/{self._drm.name}/"):
                try:
                    return {"memory_total_bytes": self._files.number(f"{base}lmem_total_bytes")}
                except NotSupported:
                    continue
        for name in _SIZES:
            try:
                sizes = [self._files.number(f"{tile}/{name}") for tile in self._tiles]
            except NotSupported:
                continue
            if sizes:
                return {"memory_total_bytes": sum(sizes)}
        raise NotSupported("neither lmem_total_bytes nor physical_vram_size_bytes")

    # ---- hwmon

    def _power(self) -> dict[str, Value]:
        """energy1 is the card, energy2 the package alone (Flex and Max have the card's, small cards may not)."""
        if self._asleep():
            return {}
        hwmon = self._sensors()
        joules = hwmon.positive("energy", "energy1_input", "energy2_input")
        watts = self._energy.of(joules)
        return {"energy_joules": joules, **({} if watts is None else {"power_watts": watts})}

    def _temperature(self) -> dict[str, Value]:
        hwmon = self._sensors()
        try:
            return {"temperature_celsius": temperature(hwmon.labelled("temp", "pkg", "package"))}
        except NotSupported:
            return {"temperature_celsius": temperature(hwmon.positive("temp", "temp1_input", "temp2_input"))}

    def _memory_temperature(self) -> dict[str, Value]:
        hwmon = self._sensors()
        try:
            return {"memory_temperature_celsius": temperature(hwmon.labelled("temp", "vram"))}
        except NotSupported:
            found = hwmon.matching("temp", lambda label: label.startswith("vram"))
            if not found:
                raise
            return {"memory_temperature_celsius": temperature(max(found))}

    def _temperature_limit(self) -> dict[str, Value]:
        return {
            "temperature_limit_celsius": self._sensors().positive(
                "temp", "temp2_max", "temp2_crit", "temp1_max"
            )
        }

    def _power_limit(self) -> dict[str, Value]:
        return {
            "power_limit_watts": self._sensors().positive("power", "power1_max", "power2_max", "power1_cap")
        }

    def _voltage(self) -> dict[str, Value]:
        return {"voltage_volts": self._sensors().positive("in", "in1_input", "in0_input")}

    def _fan(self) -> dict[str, Value]:
        return {"fan_rpm": self._sensors().value("fan", "fan1_input")}

    def _sensors(self) -> Hwmon:
        if self._hwmon is None:
            raise NotSupported(f"{self._files.root} has no hwmon")
        return self._hwmon

    # ---- tiles

    def _clock_core(self) -> dict[str, Value]:
        return {"clock_core_hertz": gt.clock_hertz(self._files, self._gts)}

    def _clock_max(self) -> dict[str, Value]:
        return {"clock_core_max_hertz": gt.clock_hertz(self._files, self._gts, highest=True)}

    def _clock_video(self) -> dict[str, Value]:
        return {"clock_video_hertz": gt.clock_hertz(self._files, self._gts, media=True)}

    def _throttle(self) -> dict[str, Value]:
        return {"throttle_reasons": gt.throttle_bits(self._files, self._gts)}

    # ---- health

    def _health(self) -> dict[str, Value]:
        """Lost, survivability mode, fatal error counters. Nothing of the kind is "ok" only where counters say so."""
        if not self._files.root.exists():
            raise CardLost(f"{self._files.root} is gone")
        if self._asleep():
            return {}
        self._answers()
        if (self._files.root / "survivability_mode").exists():
            return {"health": "critical", "health_detail": "survivability mode: its firmware must be flashed"}
        try:
            fatal = self._errors.fatal()
        except NotSupported:
            return {}
        if fatal:
            return {"health": "critical", "health_detail": fatal[0][1]}
        return {"health": "ok", "health_detail": "no fatal error counted"}

    def _answers(self) -> None:
        """A device that fell off the bus reads as all ones."""
        try:
            descriptor = os.open(self._files.root / "config", os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return
        try:
            if os.pread(descriptor, 2, 0) == b"\xff\xff":
                raise CardLost(
                    f"{self.address}: its configuration space reads as all ones: it fell off the bus"
                )
        except OSError:
            return
        finally:
            os.close(descriptor)

    # ---- asleep

    def _asleep(self) -> bool:
        try:
            return self._files.text("power/runtime_status") == "suspended"
        except CardLost:
            raise
        except ReadingError:
            return False

    def _awake(self, ask: Callable[[], dict[str, Value]]) -> Callable[[], dict[str, Value]]:
        return lambda: {} if self._asleep() else ask()


def _slot(device: Path) -> str | None:
    """The address of the port that faces the slot, where the card has a switch of its own.

    Arc and Flex cards do: their GPU's own link is inside the card and always reads 2.5 GT/s x1. The switch's
    upstream port is Intel's, and stands between a port of the server and the card's downstream port.
    """
    real = device.resolve()
    downstream, upstream = real.parent, real.parent.parent
    try:
        vendors = [(place / "vendor").read_text(encoding="ascii").strip() for place in (downstream, upstream)]
        above = (upstream.parent / "vendor").exists()
    except OSError:
        return None
    return upstream.name if above and vendors == ["0x8086", "0x8086"] else None
