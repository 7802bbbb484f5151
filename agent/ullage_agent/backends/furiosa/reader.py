"""FuriosaAI NPUs through libfuriosa_smi. npuN is counted anew at each boot, so a card is its UUID, else its serial.

What a card's PEs (cores) do is the difference of two counter readings: the first one gives no utilisation.
PEs can be handed out in twos and fours; the library does not tell who holds which, so there are no slices.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Final

from ullage_agent.backend import Call, Host
from ullage_agent.backends import holders
from ullage_agent.backends.clibrary import text_of
from ullage_agent.backends.furiosa.library import NAMES, Cycles, Info, Library
from ullage_agent.backends.pcie import PciFunction
from ullage_agent.backends.printed import address
from ullage_agent.backends.roster import Attributes, Found, Probe, Roster
from ullage_contract.catalogue import Tier
from ullage_contract.errors import BadInput, Broken, CardLost, NotPermitted, NotSupported, ReadingError
from ullage_contract.identity import card_id
from ullage_contract.sample import Value

MODELS: Final = {0: "Warboy", 1: "RNGD", 2: "RNGD-Max", 3: "RNGD-S"}
"""FuriosaSmiArch."""
GOVERNORS: Final = {0: "performance", 1: "powersave"}
"""FuriosaSmiGovernorProfile."""
_UNKNOWN_NODE: Final = 0xFFFFFFFF


class _Npu:
    def __init__(self, handle: int) -> None:
        self.handle = handle
        self.before: list[Cycles] | None = None
        self.pci: PciFunction | None = None
        self.nodes: tuple[str, ...] = ()


class Furiosa:
    """backends.roster.Maker over libfuriosa_smi."""

    vendor = "furiosa"

    def __init__(self, host: Host) -> None:
        self._host = host
        chosen = host.settings.get("library")
        self._library = Library((str(chosen),) if chosen else NAMES)
        self._npus: dict[str, _Npu] = {}
        self._seats: dict[int, tuple[_Npu, Info, str]] = {}
        self._driver: str | None = None
        self._watch = holders.Watch(host.proc)
        self._held = holders.Held({}, False)

    def open(self, call: Call) -> None:
        """Load the library."""
        call("", "furiosa_smi_init", self._library.open)

    def look(self, call: Call) -> Sequence[Found]:
        """Every NPU that answers with its name."""
        handles = call("", "furiosa_smi_get_device_handles", self._library.handles)
        self._driver = call("", "furiosa_smi_get_driver_info", self._library.driver)
        found: list[tuple[_Npu, Info, str]] = []
        for handle in handles:
            known = self._seats.get(handle)
            try:
                ask = partial(self._library.info, handle)
                info = call(f"npu{handle}", "furiosa_smi_get_device_info", ask)
                key = self._key(info)
            except (CardLost, BadInput):
                continue  # it enumerates and does not say who it is: the roster finds it lost
            except ReadingError:
                if known is not None:  # not known who sits there now: who sat there is asked on
                    found.append(known)
                continue
            npu = self._npus.setdefault(key, _Npu(handle))
            npu.handle = handle
            if npu.pci is None and (bdf := address(text_of(info.bdf))):
                npu.pci = PciFunction.at(self._host.sysfs, bdf)
            npu.nodes = self._nodes(text_of(info.name) or f"npu{info.index}")
            found.append((npu, info, key))
        self._seats = {npu.handle: (npu, info, key) for npu, info, key in found}
        nodes = [node for npu, _, _ in found for node in npu.nodes]
        self._held = call("", "/proc", lambda: self._watch.scan(nodes))
        return [self._found(npu, info, key) for npu, info, key in found]

    def close(self) -> None:
        """Close the files; the library has nothing to give back."""
        for npu in self._npus.values():
            if npu.pci is not None:
                npu.pci.close()

    # ---- one NPU

    def _key(self, info: Info) -> str:
        bdf = address(text_of(info.bdf))
        return card_id(
            vendor=self.vendor,
            uuid=text_of(info.uuid),
            serial=text_of(info.serial),
            node_id=self._host.node_id,
            pci=bdf,
        )

    def _nodes(self, name: str) -> tuple[str, ...]:
        try:
            return tuple(f"/dev/rngd/{path.name}" for path in (self._host.dev / "rngd").glob(f"{name}*"))
        except OSError:
            return ()

    def _found(self, npu: _Npu, info: Info, key: str) -> Found:
        name = text_of(info.name)
        attributes: Attributes = {
            "model": MODELS.get(info.arch, f"architecture {info.arch}"),
            "uuid": text_of(info.uuid),
            "serial": text_of(info.serial),
            "pci_address": address(text_of(info.bdf)),
            "index": int(info.index),
            "device_node": f"/dev/rngd/{name}mgmt" if name else None,
            "numa_node": int(info.numa_node) if info.numa_node != _UNKNOWN_NODE else None,
            "firmware_version": info.firmware_version.text(),
            "driver_version": self._driver,
            "util_kind": "core_mean",
        }
        return Found(
            card_id=key,
            attributes={name: value for name, value in attributes.items() if value is not None},
            probes=list(self._probes(npu)),
            processes=lambda: [(holders.identity(self._host.proc, pid), {}) for pid in self._pids(npu)],
            still=lambda: self._still(npu, key),
        )

    def _still(self, npu: _Npu, key: str) -> None:
        """A handle is the NPU's number. Raises CardLost when another one has it now; a name that cannot be read now
        is no sign of that: numbers are given at boot."""
        try:
            now = self._key(self._library.info(npu.handle))
        except CardLost:
            raise
        except (ReadingError, BadInput):
            return
        if now != key:
            raise CardLost(f"handle {npu.handle} answers as {now}, not as {key}")

    def _probes(self, npu: _Npu) -> Iterator[Probe]:
        library, prefix = self._library, "furiosa_smi_get_"
        yield Probe(f"{prefix}device_liveness", ("health", "health_detail"), lambda: self._health(npu))
        yield Probe(
            f"{prefix}device_performance_counter", ("utilization_ratio",), lambda: self._utilization(npu)
        )
        yield Probe(
            f"{prefix}device_power_consumption",
            ("power_watts",),
            lambda: self._in_range(
                "power_watts",
                library.number(f"{prefix}device_power_consumption", npu.handle, ctypes.c_double),
                65535,
            ),
        )
        yield Probe(
            f"{prefix}device_temperature",
            ("temperature_celsius", "board_temperature_celsius"),
            lambda: self._temperature(npu),
        )
        yield Probe(f"{prefix}core_frequency", ("clock_core_hertz",), lambda: self._clock(npu))
        yield Probe(
            f"{prefix}memory_frequency",
            ("clock_memory_hertz",),
            lambda: {
                "clock_memory_hertz": library.number(f"{prefix}memory_frequency", npu.handle, ctypes.c_uint32)
                * 1e6
            },
        )
        yield Probe(
            f"{prefix}memory_utilization",
            ("memory_used_bytes", "memory_total_bytes"),
            lambda: self._memory(npu),
        )
        yield Probe(
            f"{prefix}governor_profile", ("performance_state",), lambda: self._governor(npu), Tier.SLOW
        )
        yield Probe(
            f"{prefix}pcie_link_info",
            ("pcie_generation", "pcie_width", "pcie_width_max"),
            lambda: self._link(npu),
            Tier.SLOW,
        )
        yield Probe("/proc", ("processes",), lambda: {"processes": len(self._pids(npu))}, Tier.SLOW)
        if npu.pci is not None:
            yield from npu.pci.probes()

    def _health(self, npu: _Npu) -> Mapping[str, Value]:
        if self._library.alive(npu.handle):
            return {"health": "ok", "health_detail": "alive"}
        return {"health": "critical", "health_detail": "not alive"}

    def _utilization(self, npu: _Npu) -> Mapping[str, Value]:
        """Nothing at the first reading, after a reset, and while the library repeats itself."""
        now, before = self._library.counters(npu.handle), npu.before
        if before is not None and _instants(now) == _instants(before):
            return {}
        npu.before = now
        if before is None or len(before) != len(now):
            return {}
        shares = []
        for old, new in zip(before, now, strict=True):
            cycles, busy = new.cycles - old.cycles, new.busy - old.busy
            if cycles < 0 or busy < 0:
                return {}
            shares.append(min(1.0, busy / cycles) if cycles else 0.0)
        return {"utilization_ratio": sum(shares) / len(shares)}

    def _temperature(self, npu: _Npu) -> Mapping[str, Value]:
        found = self._library.temperature(npu.handle)
        for value in (found.soc_peak, found.ambient):
            if not -100 <= value <= 300:
                raise Broken(f"libfuriosa_smi says {value:g} degrees")
        return {"temperature_celsius": found.soc_peak, "board_temperature_celsius": found.ambient}

    @staticmethod
    def _in_range(key: str, value: float, most: float) -> Mapping[str, Value]:
        if not 0 <= value < most:
            raise Broken(f"libfuriosa_smi says {key} {value:g}")
        return {key: value}

    def _clock(self, npu: _Npu) -> Mapping[str, Value]:
        each = self._library.frequencies(npu.handle)
        return self._in_range("clock_core_hertz", sum(each) / len(each) * 1e6, 1e11)

    def _memory(self, npu: _Npu) -> Mapping[str, Value]:
        found = self._library.memory(npu.handle)
        if not 0 < found.total_bytes < 1 << 48 or found.in_use_bytes > found.total_bytes:
            raise Broken(f"libfuriosa_smi says {found.in_use_bytes} of {found.total_bytes} bytes in use")
        return {"memory_used_bytes": found.in_use_bytes, "memory_total_bytes": found.total_bytes}

    def _governor(self, npu: _Npu) -> Mapping[str, Value]:
        number = int(self._library.number("furiosa_smi_get_governor_profile", npu.handle, ctypes.c_uint32))
        if number not in GOVERNORS:
            raise NotSupported(f"governor profile {number} has no name")
        return {"performance_state": GOVERNORS[number]}

    def _link(self, npu: _Npu) -> Mapping[str, Value]:
        found = self._library.link(npu.handle)
        if not (1 <= found.generation <= 7 and 0 < found.width <= 32 and 0 < found.max_width <= 32):
            raise NotSupported(f"libfuriosa_smi says generation {found.generation}, {found.width} lanes")
        return {
            "pcie_generation": found.generation,
            "pcie_width": found.width,
            "pcie_width_max": found.max_width,
        }

    def _pids(self, npu: _Npu) -> list[int]:
        if not npu.nodes:
            raise NotSupported("no device node of this card is visible")
        pids = {pid for node in npu.nodes for pid in self._held.by_node.get(node, ())}
        if not pids and not self._held.complete:
            raise NotPermitted("other users' open files cannot be seen: run as root or with CAP_SYS_PTRACE")
        return sorted(pids)


def _instants(counters: Sequence[Cycles]) -> list[tuple[int, int]]:
    return [(pe.timestamp, pe.cycles) for pe in counters]


def open_reader(host: Host) -> Roster:
    """What the child runs."""
    return Roster(Furiosa(host))
