"""One Ascend chip: what is asked of it and what the answers mean in the catalogue's units.

Numbers of input types and units: dcmi_interface_api.h and the exporter's constants.go of Ascend/mind-cluster
(read 2026-11-21). Markers for "could not read" are -1, INT32_MAX and 0xffffffff.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from ullage_agent.backend import Call
from ullage_agent.backends.ascend.dcmi import (
    DDR,
    HBM,
    HCCS,
    MOST_CODES,
    MOST_PROCESSES,
    STATISTIC_U64,
    ChipInfo,
    Dcmi,
    EccInfo,
    HbmInfo,
    HccsStatistic,
    MemoryInfo,
    PcieInfo,
    Place,
    ProcessMemory,
)
from ullage_agent.backends.ascend.faults import FaultTable
from ullage_agent.backends.ascend.health import DCMI_WORDS, word_of
from ullage_agent.backends.clibrary import roomy, text_of
from ullage_agent.backends.roster import Probe
from ullage_contract.catalogue import Tier
from ullage_contract.errors import Broken, NotSupported, ReadingError
from ullage_contract.event import Severity
from ullage_contract.identity import pci_address
from ullage_contract.sample import Value

MIB: Final = 1 << 20
INT32_MAX: Final = 0x7FFFFFFF
MOST_TENTHS_OF_WATT: Final = 100_000  # our choice: because a board of 10 kW does not exist
HOTTEST: Final = 200  # our choice: because silicon is dead before
_RATES: Final = {
    "utilization_ratio": 2,
    "tensor_active_ratio": 14,
    "vector_active_ratio": 12,
    "control_cpu_ratio": 4,
}
_WORSE: Final = ("ok", "degraded", "critical")
_NETWORK: Final = (
    "ok", "socket failed", "no answer in time", "unreachable", "time exceeded", "fault", "starting",
    "thread error", "no address",
)  # fmt: skip
"""dcmi_rdfx_detect_result 0..8. 6 is the state before the first detection, not a fault."""
_NETWORK_FINE: Final = (0, 6)

Answer = dict[str, Value]


class Chip:
    """A chip at its place in the library.

    network: the newest result of the chip's own network detection, None when it cannot be had.
    codes: the fault codes that stand, None when they could not be read last.
    held: (pid, bytes) of the processes at the last reading, None when they could not be read.
    """

    def __init__(self, dcmi: Dcmi, place: Place, table: FaultTable) -> None:
        self._dcmi = dcmi
        self.place = place
        self._table = table
        self.model: str | None = None
        self.cores: int | None = None
        self.memory_bytes: int | None = None
        self.has_hbm = True
        self.network: int | None = None
        self.codes: tuple[int, ...] | None = None
        self.held: tuple[tuple[int, int], ...] | None = None

    # ---- once

    def learn(self) -> None:
        """Model and core count. Raises a ReadingError."""
        info = roomy(ChipInfo)
        self._dcmi.ask(self.place, "dcmi_get_device_chip_info_v2", ctypes.byref(info))
        self.model = text_of(info.npu_name) or text_of(info.chip_name) or text_of(info.chip_type)
        self.cores = info.aicore_cnt if 0 < info.aicore_cnt < 1024 else None

    def address(self) -> str | None:
        """The PCI address; None for a chip of a SoC. Raises a ReadingError."""
        info = roomy(PcieInfo)
        self._dcmi.ask(self.place, "dcmi_get_device_pcie_info_v2", ctypes.byref(info))
        if info.vendor in (0, 0xFFFFFFFF) or not 0 <= info.domain <= 0xFFFFFF or info.bus > 0xFF:
            return None
        return pci_address(f"{info.domain:04x}:{info.bus:02x}:{info.device & 0x1F:02x}.{info.function & 7}")

    def find_memory(self) -> None:
        """HBM where there is some (910), else DDR (310, 310P): decides which is asked. Raises a ReadingError."""
        try:
            self.has_hbm = self._hbm().memory_size > 0
        except NotSupported:
            self.has_hbm = False
        total = self.hbm() if self.has_hbm else self.ddr()
        value = total.get("memory_total_bytes")
        self.memory_bytes = value if isinstance(value, int) else None

    def ask_network(self, call: Call, card: str) -> None:
        """The chip's own network detection (910); kept in ``network``. Never raises but CardLost."""

        def ask() -> int:
            return self._dcmi.number(self.place, "dcmi_get_device_network_health")

        try:
            self.network = call(card, "dcmi_get_device_network_health", ask)
        except ReadingError:
            self.network = None

    # ---- probes

    def probes(self, board: Place | None) -> list[Probe]:
        """board: the place whose reading is the power of the whole board, when several chips share it."""
        memory: tuple[str, ...] = ("memory_used_bytes", "memory_total_bytes")
        found = [
            Probe("dcmi_get_device_errorcode_v2", ("recovery_action",), self.fault_codes),
            Probe("dcmi_get_device_health", ("health", "health_detail"), self.health),
            *(
                Probe(f"dcmi_get_device_utilization_rate({kind})", (key,), self._rate(key, kind))
                for key, kind in _RATES.items()
            ),
            Probe("dcmi_get_device_temperature", ("temperature_celsius",), self.temperature),
            Probe("dcmi_get_device_frequency(7)", ("clock_sm_hertz",), self._clock("clock_sm_hertz", 7)),
        ]
        if self.has_hbm:
            keys = (*memory, "memory_temperature_celsius", "clock_memory_hertz", "memory_bandwidth_ratio")
            found.append(Probe("dcmi_get_device_hbm_info", keys, self.hbm))
        else:
            found += [
                Probe("dcmi_get_device_memory_info_v3", (*memory, "clock_memory_hertz"), self.ddr),
                Probe(
                    "dcmi_get_device_utilization_rate(5)",
                    ("memory_bandwidth_ratio",),
                    self._rate("memory_bandwidth_ratio", 5),
                ),
            ]
        if board is None:
            found.append(Probe("dcmi_get_device_power_info", ("power_watts",), self.power))
        else:
            found.append(
                Probe("dcmi_get_device_power_info(board)", ("board_power_watts",), self.board(board))
            )
        found += [
            Probe("dcmi_get_device_voltage", ("voltage_volts",), self.voltage, Tier.SLOW),
            Probe(
                "dcmi_get_device_frequency(9)",
                ("clock_core_max_hertz",),
                self._clock("clock_core_max_hertz", 9),
                Tier.SLOW,
            ),
            Probe("dcmi_get_device_ecc_info", tuple(_ecc_keys()), self.ecc, Tier.SLOW),
            Probe(
                "dcmi_get_device_info(HCCS)", ("link_crc_errors", "link_replay_errors"), self.links, Tier.SLOW
            ),
            Probe("dcmi_get_device_resource_info", ("processes",), self.processes, Tier.SLOW),
        ]
        return found

    def fault_codes(self) -> Answer:
        """Reads the codes that stand now, and what the gravest asks for."""
        self.codes = None
        count, codes = ctypes.c_int(0), roomy(ctypes.c_uint * MOST_CODES)
        self._dcmi.ask(
            self.place,
            "dcmi_get_device_errorcode_v2",
            ctypes.byref(count),
            codes,
            ctypes.c_uint(MOST_CODES),
        )
        if not 0 <= count.value <= MOST_CODES:
            raise Broken(f"{self.place}: {count.value} fault codes")
        self.codes = tuple(dict.fromkeys(int(code) for code in codes[: count.value] if code))
        worst = self._table.worst(self.codes)
        return {"recovery_action": (worst.action if worst else None) or "none"}

    def health(self) -> Answer:
        """The chip's own word, made graver by the codes that stand and by its network."""
        level = self._dcmi.number(self.place, "dcmi_get_device_health")
        if not 0 <= level < len(DCMI_WORDS):
            raise Broken(f"{self.place}: health {level}")
        word = word_of(DCMI_WORDS[level], self.model) or "ok"
        detail = [DCMI_WORDS[level]]
        worst = self._table.worst(self.codes or ())
        if worst is not None:
            word = max(word, worst.health, key=_WORSE.index)
            detail += [f"{code:08X}" for code in (self.codes or ())[:8]]
        if self.network is not None and self.network not in _NETWORK_FINE:
            word = max(word, "degraded", key=_WORSE.index)
            detail.append(f"network {self._network_word()}")
        return {"health": word, "health_detail": " ".join(detail)}

    def alarms(self) -> Sequence[tuple[str, Severity, str]]:
        """What stands now, from the last reading. Raises Broken when it is not known."""
        if self.codes is None:
            raise Broken(f"{self.place}: its fault codes could not be read")
        standing = []
        for code in self.codes:
            level = self._table.level(code)
            standing.append(
                (f"{code:08X}", level.severity, f"fault {code:08X}: {level.name}, {level.meaning}")
            )
        if self.network is not None and self.network not in _NETWORK_FINE:
            text = f"the chip's own network detection says: {self._network_word()}"
            standing.append((f"network:{self.network}", Severity.WARNING, text))
        return standing

    def power(self) -> Answer:
        return {"power_watts": self._power(self.place)}

    def board(self, place: Place) -> Callable[[], Answer]:
        """The reading of the chip that measures for all of its board; below chip 0 the board's controller (MCU)."""
        return lambda: {"board_power_watts": self._board_power(place)}

    def temperature(self) -> Answer:
        degrees = self._dcmi.number(self.place, "dcmi_get_device_temperature")
        return {"temperature_celsius": float(_degrees(degrees, self.place))}

    def voltage(self) -> Answer:
        hundredths = self._dcmi.number(self.place, "dcmi_get_device_voltage")
        if not 0 < hundredths < 10_000:  # our choice: because no core supply has 100 V
            raise Broken(f"{self.place}: voltage {hundredths}")
        return {"voltage_volts": hundredths / 100}

    def hbm(self) -> Answer:
        info = self._hbm()
        total, used = int(info.memory_size), int(info.memory_usage)
        if total <= 0 or used > total:
            raise Broken(f"{self.place}: {used} MB of {total} MB in use")
        answer: Answer = {"memory_total_bytes": total * MIB, "memory_used_bytes": used * MIB}
        if -100 < info.temp < HOTTEST:
            answer["memory_temperature_celsius"] = float(info.temp)
        if 0 < info.freq < 100_000:
            answer["clock_memory_hertz"] = info.freq * 1e6
        if 0 <= info.bandwith_util_rate <= 100:
            answer["memory_bandwidth_ratio"] = info.bandwith_util_rate / 100
        return answer

    def ddr(self) -> Answer:
        info = roomy(MemoryInfo)
        self._dcmi.ask(self.place, "dcmi_get_device_memory_info_v3", ctypes.byref(info))
        total, free = int(info.memory_size), int(info.memory_available)
        if total <= 0:
            raise NotSupported(f"{self.place}: it says nothing of its memory")
        if free > total:
            raise Broken(f"{self.place}: {free} MB free of {total} MB")
        answer: Answer = {"memory_total_bytes": total * MIB, "memory_used_bytes": (total - free) * MIB}
        if 0 < info.freq < 100_000:
            answer["clock_memory_hertz"] = info.freq * 1e6
        return answer

    def ecc(self) -> Answer:
        info = roomy(EccInfo)
        kind = ctypes.c_int(HBM if self.has_hbm else DDR)
        self._dcmi.ask(self.place, "dcmi_get_device_ecc_info", kind, ctypes.byref(info))
        if info.enable_flag == 0:
            raise NotSupported(f"{self.place}: ECC is switched off")
        answer: Answer = {}
        for key, fields in _ecc_keys().items():
            counts = [int(getattr(info, name)) for name in fields]
            if any(count >= INT32_MAX for count in counts):
                raise Broken(f"{self.place}: {fields[0]} is {counts[0]:#x}")
            answer[key] = int(sum(counts) > 0) if key == "remap_pending" else sum(counts)
        return answer

    def links(self) -> Answer:
        info = roomy(HccsStatistic)
        self._dcmi.info(self.place, HCCS, STATISTIC_U64, info)
        return {"link_crc_errors": sum(info.crc_err_cnt), "link_replay_errors": sum(info.retry_cnt)}

    def processes(self) -> Answer:
        self.held = None
        count, rows = ctypes.c_int(MOST_PROCESSES), roomy(ProcessMemory * MOST_PROCESSES)
        self._dcmi.ask(self.place, "dcmi_get_device_resource_info", rows, ctypes.byref(count))
        if not 0 <= count.value <= MOST_PROCESSES:
            raise Broken(f"{self.place}: {count.value} processes")
        memory: dict[int, int] = {}
        for row in rows[: count.value]:
            if row.pid > 0:
                memory[row.pid] = memory.get(row.pid, 0) + int(row.memory)
        self.held = tuple(memory.items())
        return {"processes": len(memory)}

    # ---- pieces

    def _hbm(self) -> HbmInfo:
        info = roomy(HbmInfo)
        self._dcmi.ask(self.place, "dcmi_get_device_hbm_info", ctypes.byref(info))
        return info

    def _network_word(self) -> str:
        number = -1 if self.network is None else self.network
        return _NETWORK[number] if 0 <= number < len(_NETWORK) else f"result {number}"

    def _power(self, place: Place) -> float:
        tenths = self._dcmi.number(place, "dcmi_get_device_power_info")
        # 310B boards say 0.0 W while they work: no chip that answers draws nothing
        if not 0 < tenths < MOST_TENTHS_OF_WATT:
            raise Broken(f"{place}: power {tenths}")
        return tenths / 10

    def _board_power(self, place: Place) -> float:
        try:
            return self._power(place)
        except NotSupported:
            if place.flat:
                raise
        value = ctypes.c_int(-1)
        self._dcmi.run("dcmi_mcu_get_power_info", ctypes.c_int(place.card), ctypes.byref(value))
        if not 0 < value.value < MOST_TENTHS_OF_WATT:
            raise Broken(f"{place}: board power {value.value}")
        return value.value / 10

    def _rate(self, key: str, kind: int) -> Callable[[], Answer]:
        def ask() -> Answer:
            per_cent = self._dcmi.number(self.place, "dcmi_get_device_utilization_rate", ctypes.c_int(kind))
            if not 0 <= per_cent <= 100:  # constants.go: valid only 0..100
                raise Broken(f"{self.place}: utilisation {kind} is {per_cent}")
            return {key: per_cent / 100}

        return ask

    def _clock(self, key: str, kind: int) -> Callable[[], Answer]:
        def ask() -> Answer:
            mhz = self._dcmi.number(self.place, "dcmi_get_device_frequency", ctypes.c_int(kind))
            if not 0 < mhz < 100_000:
                raise Broken(f"{self.place}: frequency {kind} is {mhz}")
            return {key: mhz * 1e6}

        return ask


def _degrees(value: int, place: Place) -> int:
    if not -275 <= value <= HOTTEST:
        raise Broken(f"{place}: temperature {value}")
    return value


def _ecc_keys() -> Mapping[str, tuple[str, ...]]:
    """Catalogue key -> the fields of dcmi_ecc_info that make it."""
    return {
        "ecc_corrected": ("single_bit_error_cnt",),
        "ecc_uncorrected": ("double_bit_error_cnt",),
        "ecc_corrected_lifetime": ("total_single_bit_error_cnt",),
        "ecc_uncorrected_lifetime": ("total_double_bit_error_cnt",),
        "retired_pages": ("single_bit_isolated_pages_cnt", "double_bit_isolated_pages_cnt"),
        "retired_pages_corrected": ("single_bit_isolated_pages_cnt",),
        "retired_pages_uncorrected": ("double_bit_isolated_pages_cnt",),
        "remap_pending": ("single_bit_next_isolated_pages_cnt", "double_bit_next_isolated_pages_cnt"),
    }
