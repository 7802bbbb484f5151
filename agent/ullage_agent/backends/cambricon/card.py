"""One Cambricon card: what is asked of it and what the answers mean in the catalogue's units.

CNDev counts memory in MB (2^20), processes in KiB, power in W, clocks in MHz, use in per cent.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from ullage_agent.backends.cambricon import layouts
from ullage_agent.backends.cambricon.cndev import Cndev, InProblem
from ullage_agent.backends.cambricon.incidents import (
    FAIL,
    FAILURES,
    PENDING,
    SYSTEMS,
    Standing,
    Verdict,
    judge,
    name_of,
)
from ullage_agent.backends.clibrary import text_of
from ullage_agent.backends.roster import Probe
from ullage_contract.catalogue import THROTTLE_REASONS, Tier, bits_of
from ullage_contract.errors import Broken, NotSupported
from ullage_contract.event import Severity
from ullage_contract.sample import Value

MIB: Final = 1 << 20
_LINK_UP: Final = (1, 2, 3)
"""cndevMLULinkMACStateEnum_t: up, LLDP received, ready; 0 is down."""
_MOST_LINKS: Final = 32
# places in cndevMLULinkCounter_t
_READ, _WRITE, _REPLAY, _CRC24, _CRC32 = 0, 2, 4, 7, 8
_THROTTLE: Final = {
    # TDP and a set power cap are both a power limit held by firmware
    "tdp": "software_power_cap",
    "power_setting": "software_power_cap",
    "clock_setting": "application_clocks",
    "frequency_locked": "application_clocks",
    "power_brake": "hardware_power_brake",
    "thermal_slowdown": "hardware_thermal",
}

Answer = dict[str, Value]


class Card:
    """verdict: of the last question about its health. held: (pid, bytes) of the last list of processes."""

    def __init__(self, library: Cndev, handle: int, index: int) -> None:
        self._library = library
        self.handle = handle
        self.index = index
        self.memory_bytes: int | None = None
        self.verdict: Verdict | None = None
        self.held: tuple[tuple[int, int], ...] | None = None
        self.cores: int | None = None

    def probes(self) -> list[Probe]:
        """In the order they are asked; a later one that gives the same key is its older or poorer form."""
        slow = Tier.SLOW
        memory = ("memory_used_bytes", "memory_total_bytes")
        power = ("power_watts", "power_limit_watts")
        rows = ("retired_pages", "retired_pages_corrected", "retired_pages_uncorrected")
        return [
            Probe("cndevGetCardHealthStateV2", ("health", "health_detail"), self.health),
            Probe("cndevGetDeviceUtilizationInfo", ("utilization_ratio",), self.utilization),
            Probe("cndevGetMemoryUsageV2", (*memory, "memory_reserved_bytes"), self.memory),
            Probe("cndevGetMemoryUsage", memory, self.memory_before_v2),
            Probe("cndevGetDevicePowerInfo", power, self.power),
            Probe("cndevGetPowerInfo", power, self.power_before_v2),
            Probe(
                "cndevGetTemperatureInfo",
                ("temperature_celsius", "board_temperature_celsius", "memory_temperature_celsius"),
                self.temperature,
            ),
            Probe(
                "cndevGetFrequencyInfo",
                ("clock_core_hertz", "clock_core_max_hertz", "clock_memory_hertz"),
                self.frequency,
            ),
            Probe("cndevGetPerformanceThrottleReason", ("throttle_reasons",), self.throttle),
            Probe("cndevGetVideoCodecUtilization", ("encoder_ratio", "decoder_ratio"), self.codecs),
            Probe("cndevGetDeviceCPUUtilization", ("control_cpu_ratio",), self.control_cpu),
            Probe("cndevGetPCIethroughputV2", ("pcie_rx_bytes", "pcie_tx_bytes"), self.throughput),
            Probe("cndevGetMLULinkCounter", tuple(_link_keys()), self.link_traffic),
            Probe("cndevGetMLULinkStatusV2", ("links_active", "links_total"), self.links, slow),
            Probe("cndevGetMemEccCounter", tuple(_ecc_keys()), self.memory_ecc, slow),
            Probe("cndevGetECCInfo", ("ecc_corrected", "ecc_uncorrected"), self.ecc, slow),
            Probe("cndevGetRemappedRowsV2", rows, lambda: self.rows("cndevGetRemappedRowsV2"), slow),
            Probe("cndevGetRemappedRows", rows, lambda: self.rows("cndevGetRemappedRows"), slow),
            Probe("cndevGetRetiredPages", rows, self.pages, slow),
            Probe("cndevGetRepairStatus", ("remap_pending", "remap_failure"), self.repair, slow),
            Probe("incidents", ("remap_pending", "remap_failure", "recovery_action"), self.asked_for, slow),
            Probe("cndevGetCardHeartbeatCount", ("heartbeat",), self.heartbeat, slow),
            Probe("cndevGetPcieReplayCounter", ("pcie_replays",), self.replays, slow),
            Probe("cndevGetVoltageInfo", ("voltage_volts",), self.voltage, slow),
            Probe("cndevGetProcessInfo", ("processes",), self.processes, slow),
        ]

    # ---- health

    def health(self) -> Answer:
        """V2 with its incidents, else V1; a card that answers only "in problem" is critical."""
        self.verdict = None
        try:
            self.verdict = self._verdict()
        except InProblem:
            self.verdict = Verdict("critical", "in problem (error 18)", None)
        return {"health": self.verdict.health, "health_detail": self.verdict.detail}

    def alarms(self) -> Sequence[tuple[str, Severity, str]]:
        """The incidents of the last question. Raises Broken when they are not known."""
        if self.verdict is None or self.verdict.standing is None:
            raise Broken("its incidents are not known")
        return [(one.code, one.severity, one.text) for one in self.verdict.standing]

    def asked_for(self) -> Answer:
        """What the incidents say of repairs; NotSupported where the library gives no incidents."""
        if self.verdict is None:
            raise Broken("its incidents are not known")
        if self.verdict.standing is None:
            raise NotSupported("this library gives no incidents")
        codes = {one.code for one in self.verdict.standing}
        return {
            "remap_pending": int(bool(codes & PENDING)),
            "remap_failure": int(bool(codes & FAILURES)),
            "recovery_action": "drain_and_reset" if codes & PENDING else "none",
        }

    def _verdict(self) -> Verdict:
        try:
            state = self._library.ask("cndevGetCardHealthStateV2", layouts.HealthV2, self.handle)
        except NotSupported:
            old = self._library.ask("cndevGetCardHealthState", layouts.HealthV1, self.handle)
            return judge(old.device_state, old.driver_state, None, None)
        if state.incident_count > layouts.MOST_INCIDENTS:
            raise Broken(f"card {self.index}: {state.incident_count} incidents")
        standing: dict[str, Standing] = {}
        for incident in state.incidents[: state.incident_count]:
            if incident.code == 0:
                continue
            one = Standing(
                name_of(incident.code),
                SYSTEMS.get(incident.system, f"system {incident.system}"),
                incident.health >= FAIL,
                text_of(incident.message) or "",
            )
            before = standing.get(one.code)
            if before is None or (one.failed and not before.failed):
                standing[one.code] = one
        return judge(state.device_state, state.driver_state, state.overall, tuple(standing.values()))

    # ---- fast

    def utilization(self) -> Answer:
        info = self._library.ask("cndevGetDeviceUtilizationInfo", layouts.Utilization, self.handle)
        return {"utilization_ratio": _ratio(info.average, "utilisation")}

    def memory(self) -> Answer:
        info = self._library.ask("cndevGetMemoryUsageV2", layouts.MemoryV2, self.handle)
        answer = _memory(info.total, info.used)
        if 0 <= info.reserved_mb <= info.total:
            answer["memory_reserved_bytes"] = info.reserved_mb * MIB
        return answer

    def memory_before_v2(self) -> Answer:
        info = self._library.ask("cndevGetMemoryUsage", layouts.MemoryV1, self.handle)
        return _memory(info.total, info.used)

    def power(self) -> Answer:
        info = self._library.ask("cndevGetDevicePowerInfo", layouts.PowerV2, self.handle)
        return _power(info.usage, info.cap)

    def power_before_v2(self) -> Answer:
        info = self._library.ask("cndevGetPowerInfo", layouts.PowerV1, self.handle)
        return _power(info.usage, info.cap)

    def temperature(self) -> Answer:
        info = self._library.ask("cndevGetTemperatureInfo", layouts.Temperature, self.handle)
        clusters = [degrees for degrees in info.cluster if _sensible(degrees) and degrees != 0]
        core = info.chip if _sensible(info.chip) and info.chip != 0 else max(clusters, default=None)
        answer: Answer = {} if core is None else {"temperature_celsius": float(core)}
        for key, degrees in (("board", info.board), ("memory", info.memory)):
            if _sensible(degrees) and degrees != 0:  # 0 is what a sensor that is not there reads
                answer[f"{key}_temperature_celsius"] = float(degrees)
        if not answer:
            raise Broken(f"card {self.index}: no temperature makes sense (chip {info.chip})")
        return answer

    def frequency(self) -> Answer:
        info = self._library.ask("cndevGetFrequencyInfo", layouts.Frequency, self.handle)
        found = {
            "clock_core_hertz": info.board,
            "clock_core_max_hertz": info.range[1],
            "clock_memory_hertz": info.ddr,
        }
        answer: Answer = {key: mhz * 1e6 for key, mhz in found.items() if 0 < mhz < 100_000}
        if "clock_core_hertz" not in answer:
            raise Broken(f"card {self.index}: core clock {info.board}")
        return answer

    def throttle(self) -> Answer:
        info = self._library.ask("cndevGetPerformanceThrottleReason", layouts.Throttle, self.handle)
        names = {word for field, word in _THROTTLE.items() if getattr(info, field) == 1}
        return {"throttle_reasons": bits_of(THROTTLE_REASONS, sorted(names))}

    def codecs(self) -> Answer:
        info = self._library.ask("cndevGetVideoCodecUtilization", layouts.Codecs, self.handle)
        answer: Answer = {}
        for key, count, loads in (
            ("encoder_ratio", info.encoder_count, info.encoder),
            ("decoder_ratio", info.decoder_count, info.decoder),
        ):
            known = [load for load in loads[: max(0, min(count, 20))] if 0 <= load <= 100]
            if known:
                answer[key] = sum(known) / len(known) / 100
        if not answer:
            raise NotSupported(f"card {self.index} has no video codec")
        return answer

    def control_cpu(self) -> Answer:
        info = self._library.ask("cndevGetDeviceCPUUtilization", layouts.CardCpu, self.handle)
        return {"control_cpu_ratio": _ratio(info.average, "card CPU")}

    def throughput(self) -> Answer:
        """CNDev reads and writes as the card does: what it reads, it receives (our reading of the header)."""
        info = self._library.ask("cndevGetPCIethroughputV2", layouts.Throughput, self.handle)
        if info.read_total < 0 or info.write_total < 0:
            raise Broken(f"card {self.index}: PCIe totals {info.read_total}, {info.write_total}")
        return {"pcie_rx_bytes": info.read_total, "pcie_tx_bytes": info.write_total}

    def link_traffic(self) -> Answer:
        sums = dict.fromkeys(_link_keys(), 0)
        for port in range(self._ports()):
            struct = self._library.ask("cndevGetMLULinkCounter", layouts.LinkCounter, self.handle, port)
            for key, places in _link_keys().items():
                sums[key] += sum(struct.counters[place] for place in places)
        return dict(sums)

    # ---- slow

    def links(self) -> Answer:
        ports = self._ports()
        active = 0
        for port in range(ports):
            active += (
                self._library.ask("cndevGetMLULinkStatusV2", layouts.LinkStatus, self.handle, port).mac
                in _LINK_UP
            )
        return {"links_total": ports, "links_active": active}

    def memory_ecc(self) -> Answer:
        info = self._library.ask("cndevGetMemEccCounter", layouts.MemoryEcc, self.handle)
        return {key: int(sum(getattr(info, name) for name in names)) for key, names in _ecc_keys().items()}

    def ecc(self) -> Answer:
        info = self._library.ask("cndevGetECCInfo", layouts.Ecc, self.handle)
        if max(info.corrected, info.uncorrected) >= 1 << 63:
            raise Broken(f"card {self.index}: ECC counts {info.corrected:#x}")
        return {"ecc_corrected": info.corrected, "ecc_uncorrected": info.uncorrected}

    def rows(self, name: str) -> Answer:
        info = self._library.ask(name, layouts.RemappedRows, self.handle)
        return _retired(info.corrected, info.uncorrected)

    def pages(self) -> Answer:
        single, double = (
            self._library.ask("cndevGetRetiredPages", layouts.RetiredPages, self.handle, cause=cause).count
            for cause in (0, 1)
        )
        return _retired(single, double)

    def repair(self) -> Answer:
        info = self._library.ask("cndevGetRepairStatus", layouts.Repair, self.handle)
        return {
            "remap_pending": int(bool(info.pending) or bool(info.retire_pending)),
            "remap_failure": int(bool(info.failure)),
        }

    def heartbeat(self) -> Answer:
        return {
            "heartbeat": self._library.ask("cndevGetCardHeartbeatCount", layouts.Number, self.handle).number
        }

    def replays(self) -> Answer:
        return {
            "pcie_replays": self._library.ask("cndevGetPcieReplayCounter", layouts.Number, self.handle).number
        }

    def voltage(self) -> Answer:
        info = self._library.ask("cndevGetVoltageInfo", layouts.Voltage, self.handle)
        if not 0 < info.core < 10_000:
            raise Broken(f"card {self.index}: core voltage {info.core} mV")
        return {"voltage_volts": info.core / 1000}

    def processes(self) -> Answer:
        self.held = None
        memory: dict[int, int] = {}
        for row in self._library.rows("cndevGetProcessInfo", layouts.Process, self.handle):
            if row.pid:
                memory[row.pid] = memory.get(row.pid, 0) + row.physical * 1024
        self.held = tuple(memory.items())
        return {"processes": len(memory)}

    # ---- pieces

    def _ports(self) -> int:
        ports = self._library.number("cndevGetMLULinkPortNumber", self.handle)
        if not 0 < ports <= _MOST_LINKS:
            raise NotSupported(f"card {self.index} has no MLU-Link ({ports})")
        return ports


def _memory(total: int, used: int) -> Answer:
    if total <= 0 or not 0 <= used <= total:
        raise Broken(f"{used} MB of {total} MB in use")
    return {"memory_total_bytes": total * MIB, "memory_used_bytes": used * MIB}


def _power(usage: int, cap: int) -> Answer:
    # our choice: because no card that answers draws nothing, and none draws 10 kW
    if not 0 < usage < 10_000:
        raise Broken(f"power {usage}")
    answer: Answer = {"power_watts": float(usage)}
    if 0 < cap < 10_000:
        answer["power_limit_watts"] = float(cap)
    return answer


def _ratio(per_cent: int, what: str) -> float:
    if not 0 <= per_cent <= 100:
        raise Broken(f"{what} {per_cent} per cent")
    return per_cent / 100


def _sensible(degrees: int) -> bool:
    return -40 <= degrees <= 200 and degrees != -1


def _retired(single: int, double: int) -> Answer:
    if max(single, double) >= 1 << 31:
        raise Broken(f"{single:#x} retired rows")
    return {
        "retired_pages": single + double,
        "retired_pages_corrected": single,
        "retired_pages_uncorrected": double,
    }


def _ecc_keys() -> dict[str, tuple[str, ...]]:
    """Catalogue key -> fields of cndevMemEccCounter_t; a parity error of SRAM cannot be corrected."""
    return {
        "ecc_corrected": ("dram_sbe",),
        "ecc_uncorrected": ("dram_dbe",),
        "ecc_corrected_lifetime": ("life_dram_sbe",),
        "ecc_uncorrected_lifetime": ("life_dram_dbe",),
        "sram_ecc_corrected": ("sram_sbe",),
        "sram_ecc_uncorrected": ("sram_dbe", "sram_parity"),
    }


def _link_keys() -> dict[str, tuple[int, ...]]:
    """Catalogue key -> counters of a port."""
    return {
        "link_rx_bytes": (_READ,),
        "link_tx_bytes": (_WRITE,),
        "link_replay_errors": (_REPLAY,),
        "link_crc_errors": (_CRC24, _CRC32),
    }
