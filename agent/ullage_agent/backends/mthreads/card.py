"""One Moore Threads card: what is asked of it and what the answers mean in the catalogue's units.

MTML counts memory in bytes, power in mW, clocks in MHz, use in per cent. It has no word of health and lists no
processes: both are derived here, and only from what was read.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from typing import Final

from ullage_agent.backends.clibrary import roomy
from ullage_agent.backends.mthreads.mtml import CodecUse, DriverFailure, LinkSpec, Mtml, PciInfo, RetiredPages
from ullage_agent.backends.roster import Probe
from ullage_contract.catalogue import Tier
from ullage_contract.errors import Broken, NotPermitted, NotSupported, ReadingError
from ullage_contract.identity import pci_address
from ullage_contract.sample import Value

Answer = dict[str, Value]

_DRAM: Final = 1
_ECC: Final = {
    # catalogue key -> (error type 0 corrected 1 uncorrected, counter 0 volatile 1 aggregate)
    "ecc_corrected": (0, 0),
    "ecc_uncorrected": (1, 0),
    "ecc_corrected_lifetime": (0, 1),
    "ecc_uncorrected_lifetime": (1, 1),
}
LINK_DOWN: Final = 0
LINK_DOWNGRADED: Final = 2
_MOST_LINKS: Final = 32
_MOST_FANS: Final = 16
_LANES: Final = (1, 2, 4, 8, 12, 16, 32)


class Card:
    """handle, gpu, memory, vpu: the library's objects; the last three are None where it would not give them.

    holders: pids that have a node of the card open; None where /proc could not be read.
    """

    def __init__(self, library: Mtml, handle: ctypes.c_void_p, index: int) -> None:
        self._library = library
        self.handle = handle
        self.index = index
        self.parts: dict[str, ctypes.c_void_p] = {}
        self.memory_bytes: int | None = None
        self.cores: int | None = None
        self.nodes: tuple[str, ...] = ()
        self.holders: tuple[int, ...] | None = None
        self._driver_failed = False
        self._uncorrected: int | None = None
        self._pending: bool | None = None
        self._links: tuple[int, ...] = ()

    def close(self) -> None:
        """Give every object of the card back. Never raises."""
        for kind, part in self.parts.items():
            self._library.give_back(f"mtmlDeviceFree{kind}", part)
        self.parts.clear()
        self._library.give_back("mtmlLibraryFreeDevice", self.handle)

    def probes(self) -> list[Probe]:
        """In the order they are asked; health comes last, from what the others found."""
        slow = Tier.SLOW
        pcie = ("pcie_generation", "pcie_generation_max", "pcie_width", "pcie_width_max")
        return [
            Probe("mtmlGpuGetUtilization", ("utilization_ratio",), self._watched(self.utilization)),
            Probe(
                "mtmlMemoryGetUsed", ("memory_used_bytes", "memory_total_bytes"), self._watched(self.memory)
            ),
            Probe("mtmlDeviceGetPowerUsage", ("power_watts",), self._watched(self.power)),
            Probe("mtmlGpuGetTemperature", ("temperature_celsius",), self._watched(self.temperature)),
            Probe(
                "mtmlGpuGetClock",
                ("clock_core_hertz",),
                self._clock("clock_core_hertz", "Gpu", "mtmlGpuGetClock"),
            ),
            Probe(
                "mtmlMemoryGetClock",
                ("clock_memory_hertz",),
                self._clock("clock_memory_hertz", "Memory", "mtmlMemoryGetClock"),
            ),
            Probe("mtmlVpuGetUtilization", ("encoder_ratio", "decoder_ratio"), self._watched(self.codecs)),
            Probe("mtmlMemoryGetUsedSystem", ("memory_reserved_bytes",), self._watched(self.reserved)),
            Probe(
                "mtmlGpuGetMaxClock",
                ("clock_core_max_hertz",),
                self._clock("clock_core_max_hertz", "Gpu", "mtmlGpuGetMaxClock"),
                slow,
            ),
            Probe(
                "mtmlVpuGetClock",
                ("clock_video_hertz",),
                self._clock("clock_video_hertz", "Vpu", "mtmlVpuGetClock"),
                slow,
            ),
            Probe("mtmlDeviceGetFanSpeed", ("fan_ratio",), self._watched(self.fan_ratio), slow),
            Probe("mtmlDeviceGetFanRpm", ("fan_rpm",), self._watched(self.fan_rpm), slow),
            Probe("mtmlDeviceGetPciInfo", pcie, self._watched(self.pcie), slow),
            *(
                Probe(
                    f"mtmlMemoryGetEccErrorCounter({kind},{life})",
                    (key,),
                    self._watched(self._ecc(key)),
                    slow,
                )
                for key, (kind, life) in _ECC.items()
            ),
            Probe(
                "mtmlMemoryGetRetiredPagesCount",
                ("retired_pages", "retired_pages_corrected", "retired_pages_uncorrected"),
                self._watched(self.retired),
                slow,
            ),
            Probe(
                "mtmlMemoryGetRetiredPagesPendingStatus",
                ("remap_pending", "recovery_action"),
                self._watched(self.pending),
                slow,
            ),
            Probe(
                "mtmlDeviceGetMtLinkState", ("links_total", "links_active"), self._watched(self.links), slow
            ),
            Probe("device nodes held open", ("processes",), self.processes, slow),
            Probe("health", ("health", "health_detail"), self.health),
        ]

    # ---- readings

    def utilization(self) -> Answer:
        return {"utilization_ratio": _ratio(self._number("Gpu", "mtmlGpuGetUtilization"), "utilisation")}

    def memory(self) -> Answer:
        part = self._part("Memory")
        total = self._library.large("mtmlMemoryGetTotal", part)
        used = self._library.large("mtmlMemoryGetUsed", part)
        if not 0 < total < 1 << 50 or used > total:
            raise Broken(f"{used} of {total} bytes in use")
        return {"memory_total_bytes": total, "memory_used_bytes": used}

    def reserved(self) -> Answer:
        held = self._library.large("mtmlMemoryGetUsedSystem", self._part("Memory"))
        if held >= 1 << 50:
            raise Broken(f"{held} bytes reserved")
        return {"memory_reserved_bytes": held}

    def power(self) -> Answer:
        milliwatts = self._library.number("mtmlDeviceGetPowerUsage", self.handle)
        # our choice: because no card that answers draws nothing, and none draws 10 kW
        if not 0 < milliwatts < 10_000_000:
            raise Broken(f"power {milliwatts} mW")
        return {"power_watts": milliwatts / 1000}

    def temperature(self) -> Answer:
        degrees = ctypes.c_int(self._number("Gpu", "mtmlGpuGetTemperature")).value
        if not -40 <= degrees <= 200 or degrees == -1:
            raise Broken(f"temperature {degrees}")
        return {"temperature_celsius": float(degrees)}

    def codecs(self) -> Answer:
        use = roomy(CodecUse)
        self._library.run("mtmlVpuGetUtilization", self._part("Vpu"), ctypes.byref(use))
        return {
            "encoder_ratio": _ratio(use.encode, "encoder"),
            "decoder_ratio": _ratio(use.decode, "decoder"),
        }

    def fan_ratio(self) -> Answer:
        fastest = max(_ratio(speed, "fan") for speed in self._fans("mtmlDeviceGetFanSpeed"))
        return {"fan_ratio": fastest}

    def fan_rpm(self) -> Answer:
        fastest = max(self._fans("mtmlDeviceGetFanRpm"))
        if fastest >= 100_000:
            raise Broken(f"fan {fastest} rpm")
        return {"fan_rpm": float(fastest)}

    def address(self) -> str | None:
        """The PCI address. Raises a ReadingError."""
        info = self._pci()
        text = bytes(info.sbdf).split(b"\0")[0].decode("ascii", "replace")
        if text:
            return pci_address(text)
        if info.bus > 0xFF or info.device > 0x1F:
            return None
        return pci_address(f"{info.segment:04x}:{info.bus:02x}:{info.device:02x}.0")

    def pcie(self) -> Answer:
        info = self._pci()
        found = {
            "pcie_generation": info.now_generation,
            "pcie_generation_max": info.max_generation,
            "pcie_width": info.now_width,
            "pcie_width_max": info.max_width,
        }
        # another release lays the struct out differently: only what can be is taken
        good = {
            key: value
            for key, value in found.items()
            if (value in _LANES if "width" in key else 1 <= value <= 7)
        }
        if not good:
            raise NotSupported(f"card {self.index}: the library says nothing of the link")
        return dict(good)

    def retired(self) -> Answer:
        counts = roomy(RetiredPages)
        self._library.run("mtmlMemoryGetRetiredPagesCount", self._part("Memory"), ctypes.byref(counts))
        if max(counts.single, counts.double) >= 1 << 31:
            raise Broken(f"{counts.single:#x} retired pages")
        return {
            "retired_pages": counts.single + counts.double,
            "retired_pages_corrected": counts.single,
            "retired_pages_uncorrected": counts.double,
        }

    def pending(self) -> Answer:
        self._pending = None
        state = self._number("Memory", "mtmlMemoryGetRetiredPagesPendingStatus")
        if state not in (0, 1):
            raise Broken(f"pending state {state}")
        self._pending = state == 1
        return {"remap_pending": state, "recovery_action": "drain_and_reset" if state else "none"}

    def links(self) -> Answer:
        self._links = ()
        spec = roomy(LinkSpec)
        self._library.run("mtmlDeviceGetMtLinkSpec", self.handle, ctypes.byref(spec))
        if not 0 < spec.links <= _MOST_LINKS:
            raise NotSupported(f"card {self.index} has no MtLink ({spec.links})")
        states = tuple(
            self._library.number("mtmlDeviceGetMtLinkState", self.handle, ctypes.c_uint(link))
            for link in range(spec.links)
        )
        self._links = states
        return {"links_total": len(states), "links_active": sum(state in (1, 2) for state in states)}

    def processes(self) -> Answer:
        if not self.nodes:
            raise NotSupported(f"card {self.index}: no device node of it is known")
        if self.holders is None:
            raise NotPermitted("/proc/PID/fd of every process: run as root or with CAP_SYS_PTRACE")
        return {"processes": len(self.holders)}

    def health(self) -> Answer:
        """From the driver's failure, memory errors, retirements that wait, links; ok when none of them is known."""
        word, detail = "ok", []
        if self._driver_failed:
            self._driver_failed = False
            word = "critical"
            detail.append("driver failure")
        if self._uncorrected:
            word = "degraded" if word == "ok" else word
            detail.append(f"{self._uncorrected} uncorrected errors")
        if self._pending:
            word = "degraded" if word == "ok" else word
            detail.append("retired pages wait for a reset")
        worn = [number for number, state in enumerate(self._links) if state == LINK_DOWNGRADED]
        # a link without a partner is down for ever: only a downgraded one is trouble by itself
        if worn:
            word = "degraded" if word == "ok" else word
            detail.append(f"MtLink {', '.join(map(str, worn))} downgraded")
        return {"health": word, "health_detail": ", ".join(detail) or "answers, no trouble known"}

    # ---- pieces

    def _watched(self, ask: Callable[[], Answer]) -> Callable[[], Answer]:
        """Remembers that the driver itself failed, until health has told it."""

        def asked() -> Answer:
            try:
                return ask()
            except DriverFailure:
                self._driver_failed = True
                raise

        return asked

    def _ecc(self, key: str) -> Callable[[], Answer]:
        kind, life = _ECC[key]

        def ask() -> Answer:
            part = self._part("Memory")
            if key == "ecc_uncorrected":
                self._uncorrected = None
            now, later = ctypes.c_uint(0), ctypes.c_uint(0)
            self._library.run("mtmlMemoryGetEccMode", part, ctypes.byref(now), ctypes.byref(later))
            if now.value != 1:
                raise NotSupported(f"card {self.index}: ECC is switched off")
            count = self._library.large(
                "mtmlMemoryGetEccErrorCounter",
                part,
                ctypes.c_uint(kind),
                ctypes.c_uint(life),
                ctypes.c_uint(_DRAM),
            )
            if count >= 1 << 63:
                raise Broken(f"{key} {count:#x}")
            if key == "ecc_uncorrected":
                self._uncorrected = count
            return {key: count}

        return ask

    def _clock(self, key: str, kind: str, name: str) -> Callable[[], Answer]:
        def ask() -> Answer:
            mhz = self._number(kind, name)
            if not 0 < mhz < 100_000:
                raise Broken(f"{name}: {mhz} MHz")
            return {key: mhz * 1e6}

        return self._watched(ask)

    def _fans(self, name: str) -> Sequence[int]:
        count = self._library.number("mtmlDeviceCountFan", self.handle)
        if not 0 < count <= _MOST_FANS:
            raise NotSupported(f"card {self.index} has no fan ({count})")
        return [self._library.number(name, self.handle, ctypes.c_uint(fan)) for fan in range(count)]

    def _pci(self) -> PciInfo:
        info = roomy(PciInfo)
        self._library.run("mtmlDeviceGetPciInfo", self.handle, ctypes.byref(info))
        return info

    def _number(self, kind: str, name: str) -> int:
        return self._library.number(name, self._part(kind))

    def _part(self, kind: str) -> ctypes.c_void_p:
        """The card's GPU, Memory or Vpu; made at the first question. Raises a ReadingError."""
        part = self.parts.get(kind)
        if part is None:
            part = self.parts[kind] = self._library.object_of(f"mtmlDeviceInit{kind}", self.handle)
        return part


def _ratio(per_cent: int, what: str) -> float:
    if not 0 <= per_cent <= 100:
        raise Broken(f"{what} {per_cent} per cent")
    return per_cent / 100


def quiet_total(card: Card) -> int | None:
    """The card's memory, or None where it cannot be had."""
    try:
        total = card.memory()["memory_total_bytes"]
    except ReadingError:
        return None
    return total if isinstance(total, int) else None
