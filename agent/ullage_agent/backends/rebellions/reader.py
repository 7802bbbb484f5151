"""Rebellions NPUs through librbln-ml.

Source: rblnml.h vendored in rbln-container-toolkit (names, structs, units; temperature in degrees and power in
microwatts are said there, utilisation is read as per cent). The header has no "not supported": what a card does
not have is an ioctl failure, told as broken. P-states: docs.rbln.ai, device management.
A CA25 board holds four NPUs; the first alone has the board's power, so it is the board's, counted once a board.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterable, Iterator, Mapping, Sequence
from ctypes import c_char, c_size_t, c_uint8, c_uint32, c_uint64
from typing import Any, Final

from ullage_agent.backend import Call, Host
from ullage_agent.backends import holders
from ullage_agent.backends.answers import address, degrees, memory, share, watts
from ullage_agent.backends.clibrary import CLibrary, text_of
from ullage_agent.backends.handles import Codes, HandleMaker, Library, Watched, Who
from ullage_agent.backends.roster import Attributes, Found, Probe, Roster
from ullage_contract.catalogue import Tier
from ullage_contract.errors import NotPermitted, NotSupported
from ullage_contract.identity import card_id
from ullage_contract.sample import Value

NAMES: Final = (
    "librbln-ml.so",
    "/usr/lib/librbln-ml.so",
    "/usr/lib/x86_64-linux-gnu/librbln-ml.so",
    "/usr/local/lib/librbln-ml.so",
)
CODES: Final = Codes(
    unsupported=frozenset(),
    permission=frozenset({3}),
    lost=frozenset({4}),
    uninitialised=frozenset({1}),
    messages={
        2: "invalid argument",
        3: "no permission: make /dev/rbln* readable for the agent's user",
        4: "not found",
        5: "the driver refused (ioctl failed)",
    },
)
"""rblnmlReturn_t."""

HEALTH: Final = {
    10: ("degraded", "P10: thermal throttling"),
    12: ("critical", "P12: system abort, the NPU hangs"),
}
"""P-states that are trouble; the others are clocks and PCIe generations of normal work, P14 idle."""
_SHARED_BOARDS: Final = ("CA25",)
"""Models whose board carries several NPUs behind one power reading."""
_MOST_PSTATE: Final = 15
_WINDOW_SHARE: Final = 0.5  # our choice: because a BAR0 of less than half the DRAM counts something else


class DeviceInfo(ctypes.Structure):
    _fields_ = (
        ("uuid", c_char * 38),
        ("bus_id", c_char * 32),
        ("serial_id", c_uint64),
        ("board_info", c_uint32),
        ("device_id", c_uint32),
        ("group_id", c_uint32),
        ("numa_node", c_uint32),
    )


class HwIpInfo(ctypes.Structure):
    _fields_ = (
        ("sram_base_address", c_uint64),
        ("dram_base_address", c_uint64),
        ("dram_size", c_uint64),
        ("sram_size", c_uint32),
        ("device_id", c_uint32),
        ("cpld_version", c_uint32),
        ("chiplet_cnt", c_uint32),
        ("cpucp_version", c_uint8 * 128),
        ("card_name", c_uint8 * 16),
    )


class Bar0(ctypes.Structure):
    _fields_ = (("free", c_uint64), ("used", c_uint64), ("total", c_uint64))


class Rebellions(HandleMaker):
    """HandleMaker over librbln-ml. Boards are told apart anew at each look: they need every NPU's word."""

    vendor = "rebellions"

    def __init__(self, host: Host) -> None:
        chosen = host.settings.get("library")
        names = (str(chosen),) if chosen else NAMES
        super().__init__(host, Library(CLibrary("librbln-ml", names), CODES))
        self._watch = holders.Watch(host.proc)
        self._held = holders.Held({}, False)
        self._boards: dict[str, tuple[str, int]] = {}
        self._seated: dict[str, tuple[str | None, int | None]] = {}
        self._leader: str | None = None

    # ---- what HandleMaker asks

    def start(self) -> None:
        self.library.run("rblnmlInit")

    def stop(self) -> None:
        if self.library.c.has("rblnmlShutdown"):
            self.library.run("rblnmlShutdown")

    def places(self) -> Iterable[int]:
        self._leader = None
        return range(self.library.u32("rblnmlDeviceGetCount"))

    def handle(self, index: int) -> Any:
        found = c_uint64()
        self.library.run("rblnmlDeviceGetHandleByIndex", c_uint32(index), ctypes.byref(found))
        return c_uint64(found.value)

    def who(self, handle: Any, index: int, watched: Watched[Any]) -> Who:
        info: DeviceInfo = watched(
            "rblnmlGetDeviceInfo", lambda: self.library.struct("rblnmlGetDeviceInfo", DeviceInfo, handle)
        )
        chip: HwIpInfo | None = watched(
            "rblnmlGetDeviceHWIPInfo",
            lambda: self.library.maybe(
                lambda: self.library.struct("rblnmlGetDeviceHWIPInfo", HwIpInfo, handle)
            ),
        )
        uuid = text_of(info.uuid)
        serial = f"{info.serial_id:016x}" if info.serial_id not in (0, (1 << 64) - 1) else None
        pci = address(text_of(info.bus_id))
        name = text_of(bytes(chip.card_name)) if chip is not None else None
        key = card_id(
            vendor=self.vendor,
            uuid=uuid,
            serial=serial,
            chip=None if uuid else info.device_id,
            node_id=self.host.node_id,
            pci=pci,
        )
        seat = self._board(
            key, name, serial
        )  # asked of every NPU: the board's first one leads those behind it
        board, first = self._seated.setdefault(key, seat)
        attributes: Attributes = {
            "model": name or self._model_of(board),
            "uuid": uuid,
            "serial": serial,
            "pci_address": pci,
            "board_id": board,
            "chip": first,
            "device_node": f"/dev/rbln{info.device_id}",
            "minor": int(info.device_id),
            "numa_node": int(info.numa_node) if info.numa_node < 1024 else None,
            "memory_total_bytes": int(chip.dram_size) if chip is not None and chip.dram_size else None,
            "driver_version": watched(
                "rblnmlGetKernelVersion", lambda: self._version("rblnmlGetKernelVersion", handle)
            ),
            "firmware_version": watched(
                "rblnmlGetFwVersion", lambda: self._version("rblnmlGetFwVersion", handle)
            ),
            "util_kind": "core_mean",
        }
        return Who(key, attributes, pci)

    def look(self, call: Call) -> Sequence[Found]:
        """As HandleMaker; who holds the nodes is looked up once for all cards."""
        found = super().look(call)
        nodes = [str(one.attributes["device_node"]) for one in found]
        self._held = call("", "/proc", lambda: self._watch.scan(nodes))
        return found

    def found(self, handle: Any, index: int, who: Who) -> Found:
        node = str(who.attributes["device_node"])
        total = who.attributes.get("memory_total_bytes")
        return Found(
            card_id=who.card_id,
            attributes=who.attributes,
            probes=list(self._probes(handle, who, node, total if isinstance(total, int) else None)),
            processes=lambda: [self.process(pid, {}) for pid in self._pids(node)],
        )

    def name_of(self, handle: Any, index: int) -> object | None:
        """The header does not say what a handle is, nor that it stays one NPU's."""
        info = self.library.struct("rblnmlGetDeviceInfo", DeviceInfo, handle)
        return text_of(info.uuid), text_of(info.bus_id)

    # ---- boards

    def _board(self, key: str, name: str | None, serial: str | None) -> tuple[str | None, int | None]:
        """(board, chip on it) of an NPU whose board carries several; (None, None) for a card of its own.

        Such a board's first NPU bears the name; those behind it have none, or all bear it and one serial.
        """
        if name is not None and not any(model in name for model in _SHARED_BOARDS):
            self._leader = None
            return None, None
        board = f"rebellions-{serial}" if serial and name is not None else None
        if name is not None and (board is None or board != self._leader):
            self._leader = board or key
            self._boards[self._leader] = (name, 0)
            return self._leader, 0
        if self._leader is None:
            return None, None
        model, last = self._boards[self._leader]
        self._boards[self._leader] = (model, last + 1)
        return self._leader, last + 1

    def _model_of(self, board: str | None) -> str | None:
        return self._boards[board][0] if board in self._boards else None

    # ---- one NPU

    def _probes(self, handle: Any, who: Who, node: str, total: int | None) -> Iterator[Probe]:
        library = self.library
        shared = who.attributes.get("board_id") is not None

        def utilization() -> Mapping[str, Value]:
            name = "rblnmlDeviceGetUtilization"
            return {"utilization_ratio": share(library.u32(name, handle), name)}

        def temperature() -> Mapping[str, Value]:
            name = "rblnmlDeviceGetTemperature"
            return {"temperature_celsius": degrees(library.u32(name, handle), name)}

        def power() -> Mapping[str, Value]:
            name = "rblnmlDeviceGetPowerUsage"
            microwatts = library.u32(name, handle)
            if microwatts in (0, 0xFFFFFFFF):
                raise NotSupported(f"{name}: this NPU has no power reading")
            key = "board_power_watts" if shared else "power_watts"
            return {key: watts(microwatts, name) / 1000}

        def pstate() -> Mapping[str, Value]:
            name = "rblnmlDeviceGetPowerState"
            number = library.u32(name, handle)
            if number > _MOST_PSTATE:
                raise NotSupported(f"{name}: {number} is no P-state")
            word, detail = HEALTH.get(number, ("ok", f"P{number}"))
            return {"performance_state": f"P{number}", "health": word, "health_detail": detail}

        def used() -> Mapping[str, Value]:
            name = "rblnmlDeviceGetBAR0MemoryInfo"
            found = library.struct(name, Bar0, handle)
            if total is None or not total * _WINDOW_SHARE <= found.total <= total:
                raise NotSupported(f"{name}: a window of {found.total} bytes does not span the DRAM")
            return {"memory_used_bytes": memory(found.used, found.total, name)["memory_used_bytes"]}

        yield Probe("rblnmlDeviceGetUtilization", ("utilization_ratio",), utilization)
        yield Probe("rblnmlDeviceGetTemperature", ("temperature_celsius",), temperature)
        yield Probe("rblnmlDeviceGetPowerUsage", ("board_power_watts" if shared else "power_watts",), power)
        yield Probe("rblnmlDeviceGetPowerState", ("health", "health_detail", "performance_state"), pstate)
        yield Probe("rblnmlDeviceGetBAR0MemoryInfo", ("memory_used_bytes",), used)
        if total:
            yield Probe("dram_size", ("memory_total_bytes",), lambda: {"memory_total_bytes": total})
        yield Probe("/proc", ("processes",), lambda: {"processes": len(self._pids(node))}, Tier.SLOW)

    def _version(self, name: str, handle: Any) -> str | None:
        return self.library.maybe(lambda: self._text(name, handle))

    def _text(self, name: str, handle: Any) -> str | None:
        buffer = ctypes.create_string_buffer(512)
        self.library.run(name, handle, buffer, c_size_t(128))
        return text_of(buffer.raw)

    def _pids(self, node: str) -> tuple[int, ...]:
        pids = self._held.by_node.get(node, ())
        if not pids and not self._held.complete:
            raise NotPermitted("other users' open files cannot be seen: run as root or with CAP_SYS_PTRACE")
        return pids


def open_reader(host: Host) -> Roster:
    """What the child runs."""
    return Roster(Rebellions(host))
