"""The metric catalogue: one table. Everything else is derived from it or checked against it.

``key`` is the name in SQL, JSON, CSV and the API: snake case with the unit. The Prometheus name is
``ullage_<subject>_<key>`` (counters end in ``_total``). The OpenTelemetry name is the semantic
convention's ``hw.*`` where it has one, else ``ullage.*``. Where each maker gets a value stands in
its backend's ``sources`` and is printed with this table in docs/metrics.md.

Adding a metric is one line here plus the backends that can read it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from types import MappingProxyType
from typing import Final

from ullage_contract.sample import Family

SEMCONV_SCHEMA_URL: Final = "https://opentelemetry.io/schemas/1.37.0"
"""The semantic convention version whose hw.* names stand below."""


class Kind(StrEnum):
    """gauge: a level. counter: only grows within one counters_epoch. state: one word or bit set of a fixed list."""

    GAUGE = "gauge"
    COUNTER = "counter"
    STATE = "state"


class Type(StrEnum):
    """The column's type: float is 64 bit on the wire, 32 bit for gauges in the store."""

    FLOAT = "float"
    INTEGER = "integer"
    TEXT = "text"


class Tier(StrEnum):
    """How often it is read: fast 10 s, slow 60 s."""

    FAST = "fast"
    SLOW = "slow"


@dataclass(frozen=True, slots=True)
class Metric:
    """One line of the table.

    words: for kind state and type text, the allowed words; for kind state and type integer, the
    names of bits 0, 1, 2...; empty otherwise.
    bits: width of a hardware counter that is narrower than 64 bits, else None.
    saturates: the counter stops at its maximum instead of wrapping: at the maximum its growth is unknown.
    otel_attributes: constant attributes the convention asks for.
    """

    key: str
    families: tuple[Family, ...]
    kind: Kind
    unit: str
    type: Type
    tier: Tier
    meaning: str
    otel: str
    otel_attributes: Mapping[str, str]
    words: tuple[str, ...] = ()
    bits: int | None = None
    saturates: bool = False

    def prometheus(self, family: Family) -> str:
        """The series name without the ``_total`` that counters get, and that nothing else may end in."""
        key = self.key if self.kind is Kind.COUNTER else self.key.removesuffix("_total")
        return f"ullage_{family.value}_{key}"


THROTTLE_REASONS: Final = (
    "idle",
    "application_clocks",
    "software_power_cap",
    "hardware_slowdown",
    "sync_boost",
    "software_thermal",
    "hardware_thermal",
    "hardware_power_brake",
    "display_clocks",
    "current_limit",
    "reliability",
    "host_request",
    "unknown",
)
"""Bit 0, 1, 2... of ``throttle_reasons``. idle to software_power_cap are normal work; hardware_* are not."""

HEALTH_WORDS: Final = ("ok", "degraded", "critical", "lost")
"""``health``: the maker's own word is kept in ``health_detail``."""

RECOVERY_ACTIONS: Final = (
    "none",
    "reset",
    "reboot",
    "drain_p2p",
    "drain_and_reset",
    "imex",
    "bus_reset",
    "system_reboot",
    "replace",
)
"""``recovery_action``: what the card itself asks for. 0..7 as NVML field 230; replace is our word for RMA."""

_CARD = (Family.CARD,)
_BOTH = (Family.CARD, Family.SLICE)
_PORT = (Family.PORT,)
_NODE = (Family.NODE,)
_PROCESS = (Family.PROCESS,)


def _metric(
    families: tuple[Family, ...],
    key: str,
    kind: Kind,
    unit: str,
    meaning: str,
    *,
    type: Type | None = None,
    tier: Tier = Tier.FAST,
    otel: str | None = None,
    attributes: Mapping[str, str] | None = None,
    words: tuple[str, ...] = (),
    bits: int | None = None,
    saturates: bool = False,
) -> Metric:
    chosen = type or (Type.INTEGER if kind is Kind.COUNTER or unit == "By" else Type.FLOAT)
    return Metric(
        key=key,
        families=families,
        kind=kind,
        unit=unit,
        type=chosen,
        tier=tier,
        meaning=meaning,
        otel=otel or f"ullage.{families[0].value}.{key}",
        otel_attributes=MappingProxyType(dict(attributes or {})),
        words=words,
        bits=bits,
        saturates=saturates,
    )


def _gauge(families: tuple[Family, ...], key: str, unit: str, meaning: str, **more: object) -> Metric:
    return _metric(families, key, Kind.GAUGE, unit, meaning, **more)  # type: ignore[arg-type]


def _counter(families: tuple[Family, ...], key: str, unit: str, meaning: str, **more: object) -> Metric:
    return _metric(families, key, Kind.COUNTER, unit, meaning, **more)  # type: ignore[arg-type]


def _state(
    families: tuple[Family, ...], key: str, words: tuple[str, ...], meaning: str, **more: object
) -> Metric:
    more.setdefault("type", Type.TEXT)
    return _metric(families, key, Kind.STATE, "1", meaning, words=words, **more)  # type: ignore[arg-type]


_SLOW: Final = {"tier": Tier.SLOW}
_GPU: Final = {"hw.type": "gpu"}


def _flow(key: str, meaning: str, direction: str, link: str, **more: object) -> Metric:
    attributes = {"network.io.direction": direction, "ullage.link": link}
    return _counter(_CARD, key, "By", meaning, otel="hw.gpu.io", attributes=attributes, **more)


def _errors(key: str, meaning: str, error: str, **more: object) -> Metric:
    return _counter(
        _CARD, key, "{error}", meaning, otel="hw.errors", attributes={**_GPU, "error.type": error}, **more
    )


def _port_errors(key: str, meaning: str, bits: int, **more: object) -> Metric:
    """A classic port counter: narrow, and it saturates (kernel drivers/infiniband/core/sysfs.c PORT_PMA_ATTR)."""
    attributes = {"hw.type": "network", "error.type": key.removesuffix("_total")}
    return _counter(
        _PORT,
        key,
        "{error}",
        meaning,
        otel="hw.errors",
        attributes=attributes,
        bits=bits,
        saturates=True,
        **more,
    )


def _queue(key: str, meaning: str, bits: int | None = 32) -> Metric:
    """An hw_counters Q-counter: 32 bits in mlx5 firmware and it wraps (mlx5_ifc query_q_counter_out)."""
    return _counter(_PORT, key, "{event}", meaning, bits=bits)


# fmt: off
METRICS: Final[tuple[Metric, ...]] = (
    # ---- card and slice: how busy
    _gauge(_BOTH, "utilization_ratio", "1", "share of time the maker calls busy; see util_kind", otel="hw.gpu.utilization"),
    _gauge(_BOTH, "sm_active_ratio", "1", "share of compute units (SM, CU, AI core) active, mean over time"),
    _gauge(_BOTH, "sm_occupancy_ratio", "1", "resident warps or waves over the most the card can hold"),
    _gauge(_BOTH, "tensor_active_ratio", "1", "share of time the matrix units (tensor, cube, MFMA) are active"),
    _gauge(_BOTH, "vector_active_ratio", "1", "share of time the vector units are active"),
    _gauge(_CARD, "fp64_active_ratio", "1", "share of time the FP64 pipes are active"),
    _gauge(_CARD, "fp32_active_ratio", "1", "share of time the FP32 pipes are active"),
    _gauge(_CARD, "fp16_active_ratio", "1", "share of time the FP16 pipes are active"),
    _gauge(_BOTH, "memory_bandwidth_ratio", "1", "share of time device memory is read or written, or of its peak bandwidth"),
    _gauge(_CARD, "encoder_ratio", "1", "video encoder utilisation", otel="hw.gpu.utilization", attributes={"hw.gpu.task": "encoder"}),
    _gauge(_CARD, "decoder_ratio", "1", "video decoder utilisation", otel="hw.gpu.utilization", attributes={"hw.gpu.task": "decoder"}),
    _gauge(_CARD, "control_cpu_ratio", "1", "utilisation of the card's own control or scalar processor (AI CPU, control CPU)"),
    # ---- memory
    _gauge(_BOTH, "memory_used_bytes", "By", "device memory allocated, without what the driver reserves", otel="hw.gpu.memory.usage"),
    _gauge(_BOTH, "memory_total_bytes", "By", "device memory there is", otel="hw.gpu.memory.limit"),
    _gauge(_BOTH, "memory_reserved_bytes", "By", "device memory the driver keeps for itself"),
    _gauge(_BOTH, "memory_ratio", "1", "memory in use where the maker gives only a share", otel="hw.gpu.memory.utilization"),
    _gauge(_CARD, "memory_host_used_bytes", "By", "host memory the card has mapped (GTT, BAR1)"),
    # ---- power and energy
    _gauge(_CARD, "power_watts", "W", "power drawn now, averaged as the card does (1 s on most)", otel="hw.power", attributes=_GPU),
    _gauge(_CARD, "power_instant_watts", "W", "power drawn at this instant"),
    _gauge(_CARD, "power_limit_watts", "W", "power limit in force", **_SLOW),
    _gauge(_CARD, "memory_power_watts", "W", "power drawn by the device memory"),
    _gauge(_CARD, "board_power_watts", "W", "power of the whole board when several cards share it; count once a board_id"),
    _counter(_CARD, "energy_joules", "J", "energy since the driver was loaded", type=Type.FLOAT, otel="hw.energy", attributes=_GPU),
    _gauge(_CARD, "voltage_volts", "V", "core supply", otel="hw.voltage", attributes=_GPU, **_SLOW),
    _gauge(_CARD, "current_amperes", "A", "core supply current", **_SLOW),
    # ---- temperatures
    _gauge(_CARD, "temperature_celsius", "Cel", "core", otel="hw.temperature", attributes={**_GPU, "hw.sensor_location": "core"}),
    _gauge(_CARD, "memory_temperature_celsius", "Cel", "device memory", otel="hw.temperature", attributes={**_GPU, "hw.sensor_location": "memory"}),
    _gauge(_CARD, "hotspot_temperature_celsius", "Cel", "hottest point or junction", otel="hw.temperature", attributes={**_GPU, "hw.sensor_location": "hotspot"}),
    _gauge(_CARD, "board_temperature_celsius", "Cel", "board", otel="hw.temperature", attributes={**_GPU, "hw.sensor_location": "board"}),
    _gauge(_CARD, "temperature_margin_celsius", "Cel", "degrees left to the slowdown limit (T.Limit)"),
    _gauge(_CARD, "temperature_limit_celsius", "Cel", "core temperature at which the card slows down", otel="hw.temperature.limit", attributes=_GPU, **_SLOW),
    _gauge(_CARD, "fan_ratio", "1", "fan speed over its maximum", otel="hw.fan.speed_ratio", attributes={"hw.type": "fan"}, **_SLOW),
    _gauge(_CARD, "fan_rpm", "rpm", "fan speed, revolutions per minute", otel="hw.fan.speed", attributes={"hw.type": "fan"}, **_SLOW),
    # ---- clocks and throttling
    _gauge(_CARD, "clock_core_hertz", "Hz", "graphics or core clock"),
    _gauge(_CARD, "clock_core_max_hertz", "Hz", "highest core clock", **_SLOW),
    _gauge(_CARD, "clock_sm_hertz", "Hz", "SM, AI core or matrix clock"),
    _gauge(_CARD, "clock_memory_hertz", "Hz", "memory clock"),
    _gauge(_CARD, "clock_video_hertz", "Hz", "video clock", **_SLOW),
    _state(_CARD, "throttle_reasons", THROTTLE_REASONS, "why the clocks are held down, bit set", type=Type.INTEGER),
    _counter(_CARD, "throttle_power_seconds", "s", "time held down by the power cap", type=Type.FLOAT, **_SLOW),
    _counter(_CARD, "throttle_thermal_seconds", "s", "time held down by temperature", type=Type.FLOAT, **_SLOW),
    _counter(_CARD, "throttle_hardware_seconds", "s", "time held down by the hardware's own protection", type=Type.FLOAT, **_SLOW),
    _state(_CARD, "performance_state", (), "the maker's P-state word, e.g. P0", **_SLOW),
    # ---- PCIe
    _flow("pcie_rx_bytes", "received by the card over PCIe", "receive", "pcie"),
    _flow("pcie_tx_bytes", "sent by the card over PCIe", "transmit", "pcie"),
    _gauge(_CARD, "pcie_rx_bytes_per_second", "By/s", "PCIe receive rate where the maker gives only a rate", type=Type.FLOAT),
    _gauge(_CARD, "pcie_tx_bytes_per_second", "By/s", "PCIe send rate where the maker gives only a rate", type=Type.FLOAT),
    _gauge(_CARD, "pcie_generation", "1", "link generation now; idle cards lower it by design", type=Type.INTEGER, **_SLOW),
    _gauge(_CARD, "pcie_generation_max", "1", "highest link generation of card and slot", type=Type.INTEGER, **_SLOW),
    _gauge(_CARD, "pcie_width", "{lane}", "link width now", type=Type.INTEGER, **_SLOW),
    _gauge(_CARD, "pcie_width_max", "{lane}", "widest link of card and slot", type=Type.INTEGER, **_SLOW),
    _errors("pcie_replays", "PCIe replays", "pcie_replay", **_SLOW),
    _errors("pcie_aer_correctable", "PCIe AER correctable errors", "pcie_aer_correctable", **_SLOW),
    _errors("pcie_aer_nonfatal", "PCIe AER non-fatal errors", "pcie_aer_nonfatal", **_SLOW),
    _errors("pcie_aer_fatal", "PCIe AER fatal errors", "pcie_aer_fatal", **_SLOW),
    # ---- card-to-card links (NVLink, HCCS, xGMI, MLULink, ...)
    _flow("link_rx_bytes", "received over card-to-card links, all links", "receive", "card"),
    _flow("link_tx_bytes", "sent over card-to-card links, all links", "transmit", "card"),
    _gauge(_CARD, "link_rx_bytes_per_second", "By/s", "card-to-card receive rate where the maker gives only a rate", type=Type.FLOAT),
    _gauge(_CARD, "link_tx_bytes_per_second", "By/s", "card-to-card send rate where the maker gives only a rate", type=Type.FLOAT),
    _gauge(_CARD, "links_active", "{link}", "card-to-card links up", type=Type.INTEGER, **_SLOW),
    _gauge(_CARD, "links_total", "{link}", "card-to-card links the card has", type=Type.INTEGER, **_SLOW),
    _errors("link_crc_errors", "CRC errors of card-to-card links", "link_crc", **_SLOW),
    _errors("link_replay_errors", "replays of card-to-card links", "link_replay", **_SLOW),
    _errors("link_recovery_errors", "recoveries of card-to-card links", "link_recovery", **_SLOW),
    _state(_CARD, "fabric_state", ("not_supported", "not_started", "in_progress", "completed", "failed"), "NVSwitch fabric registration", **_SLOW),
    # ---- errors and health
    _errors("ecc_corrected", "corrected memory errors since driver load", "ecc_corrected", **_SLOW),
    _errors("ecc_uncorrected", "uncorrected memory errors since driver load", "ecc_uncorrected", **_SLOW),
    _errors("ecc_corrected_lifetime", "corrected memory errors over the card's life", "ecc_corrected_lifetime", **_SLOW),
    _errors("ecc_uncorrected_lifetime", "uncorrected memory errors over the card's life", "ecc_uncorrected_lifetime", **_SLOW),
    _errors("sram_ecc_corrected", "corrected on-chip memory errors since driver load", "sram_ecc_corrected", **_SLOW),
    _errors("sram_ecc_uncorrected", "uncorrected on-chip memory errors since driver load", "sram_ecc_uncorrected", **_SLOW),
    _gauge(_CARD, "retired_pages", "{page}", "pages or rows taken out of use", type=Type.INTEGER, **_SLOW),
    _gauge(_CARD, "retired_pages_corrected", "{page}", "of these, for corrected errors", type=Type.INTEGER, **_SLOW),
    _gauge(_CARD, "retired_pages_uncorrected", "{page}", "of these, for uncorrected errors", type=Type.INTEGER, **_SLOW),
    _gauge(_CARD, "remap_pending", "1", "1: a page retirement or row remap waits for a reset", type=Type.INTEGER, **_SLOW),
    _gauge(_CARD, "remap_failure", "1", "1: a row remap failed; the card should be replaced", type=Type.INTEGER, **_SLOW),
    _state(_CARD, "health", HEALTH_WORDS, "the maker's verdict in our words", otel="hw.status", attributes=_GPU),
    _state(_CARD, "health_detail", (), "the maker's own word, code or bits"),
    _state(_CARD, "recovery_action", RECOVERY_ACTIONS, "what the card itself asks for", **_SLOW),
    _gauge(_CARD, "reset_required", "1", "1: the card says it needs a reset", type=Type.INTEGER, **_SLOW),
    _counter(_CARD, "heartbeat", "1", "the firmware's own heartbeat; frozen means hung", **_SLOW),
    _gauge(_CARD, "processes", "{process}", "compute processes on the card", type=Type.INTEGER, **_SLOW),
    # ---- process
    _gauge(_PROCESS, "process_memory_used_bytes", "By", "device memory of the process on this card", **_SLOW),
    _gauge(_PROCESS, "process_utilization_ratio", "1", "share of time this process kept the card busy", **_SLOW),
    # ---- port: state
    _state(_PORT, "state", ("down", "init", "armed", "active", "active_defer"), "logical state"),
    _state(_PORT, "physical_state", ("sleep", "polling", "disabled", "training", "link_up", "link_error_recovery", "phy_test"), "physical state"),
    _gauge(_PORT, "rate_bits_per_second", "bit/s", "signalling rate in force", type=Type.INTEGER),
    _gauge(_PORT, "width_lanes", "{lane}", "lanes in force, e.g. 4 for 4X", type=Type.INTEGER, **_SLOW),
    # ---- port: traffic
    _counter(_PORT, "xmit_data_bytes", "By", "sent (port_xmit_data x 4)", otel="hw.network.io", attributes={"network.io.direction": "transmit"}),
    _counter(_PORT, "rcv_data_bytes", "By", "received (port_rcv_data x 4)", otel="hw.network.io", attributes={"network.io.direction": "receive"}),
    _counter(_PORT, "xmit_packets", "{packet}", "packets sent", otel="hw.network.packets", attributes={"network.io.direction": "transmit"}),
    _counter(_PORT, "rcv_packets", "{packet}", "packets received", otel="hw.network.packets", attributes={"network.io.direction": "receive"}),
    _counter(_PORT, "unicast_xmit_packets", "{packet}", "unicast packets sent"),
    _counter(_PORT, "unicast_rcv_packets", "{packet}", "unicast packets received"),
    _counter(_PORT, "multicast_xmit_packets", "{packet}", "multicast packets sent"),
    _counter(_PORT, "multicast_rcv_packets", "{packet}", "multicast packets received"),
    _counter(_PORT, "xmit_wait", "{tick}", "ticks with data to send and no credit: congestion, not sickness", bits=32, saturates=True),
    # ---- port: classic error counters
    _port_errors("symbol_errors", "minor link errors", 16),
    _port_errors("link_error_recoveries", "link retrained by itself", 8),
    _port_errors("link_downed", "link went down", 8),
    _port_errors("rcv_errors", "packets received with an error", 16),
    _port_errors("rcv_remote_physical_errors", "packets the other end marked bad", 16),
    _port_errors("rcv_switch_relay_errors", "packets a switch could not relay", 16),
    _port_errors("xmit_discards", "packets dropped for congestion or a dead peer", 16),
    _port_errors("xmit_constraint_errors", "packets not sent for a partition or raw filter", 8),
    _port_errors("rcv_constraint_errors", "packets refused for a partition or raw filter", 8),
    _port_errors("local_link_integrity_errors", "link errors above the threshold", 4),
    _port_errors("excessive_buffer_overrun_errors", "buffer overruns above the threshold", 4),
    _port_errors("vl15_dropped", "management packets dropped for want of buffers", 16),
    # ---- port: hw_counters (transport)
    _queue("out_of_sequence", "packets that arrived out of order"),
    _queue("out_of_buffer", "packets dropped for want of receive buffers: the receiver's software is slow"),
    _queue("packet_seq_err", "NAK sequence errors seen by the requester: packets lost on the path"),
    _queue("local_ack_timeout_err", "no answer in time: peer or path dead"),
    _queue("rnr_nak_retry_err", "receiver-not-ready retries used up"),
    _queue("implied_nak_seq_err", "implied NAKs"),
    _queue("duplicate_request", "requests received twice"),
    _queue("rx_write_requests", "RDMA writes received"),
    _queue("rx_read_requests", "RDMA reads received"),
    _queue("rx_atomic_requests", "RDMA atomics received"),
    _queue("rx_icrc_encapsulated", "RoCE packets with a corrupt payload"),
    _queue("req_cqe_error", "requester completions in error, flushes included"),
    _queue("req_cqe_flush_error", "requester completions flushed at teardown"),
    _queue("resp_cqe_error", "responder completions in error, flushes included"),
    _queue("resp_cqe_flush_error", "responder completions flushed at teardown"),
    _queue("req_remote_access_errors", "requester remote access errors"),
    _queue("req_remote_invalid_request", "requester remote invalid requests"),
    _queue("resp_local_length_error", "responder local length errors"),
    _queue("resp_remote_access_errors", "responder remote access errors"),
    _queue("rx_dct_connect", "DCT connections received"),
    _queue("req_transport_retries_exceeded", "requester transport retries used up"),
    _queue("req_rnr_retries_exceeded", "requester RNR retries used up"),
    _queue("roce_adp_retrans", "RoCE adaptive retransmissions"),
    _queue("roce_adp_retrans_to", "RoCE adaptive retransmission timeouts"),
    _queue("roce_slow_restart", "RoCE slow restarts"),
    _queue("roce_slow_restart_cnps", "CNPs sent in RoCE slow restart"),
    _queue("roce_slow_restart_trans", "state changes of RoCE slow restart"),
    _queue("np_cnp_sent", "congestion notifications sent", None),
    _queue("np_ecn_marked_roce_packets", "RoCE packets received with the ECN mark", None),
    _queue("rp_cnp_handled", "congestion notifications obeyed", None),
    _queue("rp_cnp_ignored", "congestion notifications ignored: misconfigured", None),
    # ---- port: Ethernet side (ethtool -S)
    _counter(_PORT, "rx_pause_frames", "{frame}", "pause frames received, all priorities: the peer throttles us"),
    _counter(_PORT, "tx_pause_frames", "{frame}", "pause frames sent, all priorities: our receive side is behind"),
    _counter(_PORT, "lossless_rx_pause_frames", "{frame}", "pause frames received on the lossless priority"),
    _counter(_PORT, "lossless_tx_pause_frames", "{frame}", "pause frames sent on the lossless priority"),
    _counter(_PORT, "lossless_rx_pause_seconds", "s", "time the peer paused the lossless priority", type=Type.FLOAT),
    _counter(_PORT, "lossless_tx_pause_seconds", "s", "time we paused the lossless priority", type=Type.FLOAT),
    _counter(_PORT, "lossless_discards", "{packet}", "packets dropped on the lossless priority: an emergency"),
    _counter(_PORT, "ecn_marked", "{packet}", "packets marked on the lossless priority"),
    _counter(_PORT, "rx_discards_phy", "{packet}", "packets dropped for want of port buffers"),
    _counter(_PORT, "rx_crc_errors_phy", "{error}", "frames with a bad checksum"),
    _counter(_PORT, "rx_symbol_errors_phy", "{error}", "symbol errors of the Ethernet side"),
    _counter(_PORT, "rx_corrected_bits_phy", "{bit}", "bits corrected by FEC"),
    _counter(_PORT, "tx_pause_storm_warnings", "{event}", "pause storm warnings"),
    _counter(_PORT, "tx_pause_storm_errors", "{event}", "pause storms cut off"),
    # ---- node
    _gauge(_NODE, "cpu_busy_ratio", "1", "share of processor time not idle and not waiting", otel="system.cpu.utilization"),
    _gauge(_NODE, "cpu_iowait_ratio", "1", "share of processor time waiting for storage"),
    _gauge(_NODE, "load1", "1", "1 minute load average"),
    _gauge(_NODE, "memory_total_bytes", "By", "host memory", otel="system.memory.limit"),
    _gauge(_NODE, "memory_available_bytes", "By", "host memory available without swapping", otel="system.linux.memory.available"),
    _gauge(_NODE, "swap_used_bytes", "By", "swap in use"),
    _counter(_NODE, "network_rx_bytes", "By", "received by physical interfaces", otel="system.network.io", attributes={"network.io.direction": "receive"}),
    _counter(_NODE, "network_tx_bytes", "By", "sent by physical interfaces", otel="system.network.io", attributes={"network.io.direction": "transmit"}),
    _counter(_NODE, "network_drops", "{packet}", "packets dropped by physical interfaces"),
    _counter(_NODE, "network_errors", "{error}", "errors of physical interfaces"),
    _counter(_NODE, "tcp_retransmits", "{segment}", "TCP segments sent again"),
    _counter(_NODE, "disk_read_bytes", "By", "read from block devices", otel="system.disk.io", attributes={"disk.io.direction": "read"}),
    _counter(_NODE, "disk_written_bytes", "By", "written to block devices", otel="system.disk.io", attributes={"disk.io.direction": "write"}),
    _counter(_NODE, "disk_busy_seconds", "s", "time block devices were busy, summed over devices", type=Type.FLOAT),
    _counter(_NODE, "nfs_read_bytes", "By", "read over NFS by applications", **_SLOW),
    _counter(_NODE, "nfs_written_bytes", "By", "written over NFS by applications", **_SLOW),
    _counter(_NODE, "nfs_retransmits", "{request}", "NFS requests sent again", **_SLOW),
    _counter(_NODE, "nfs_wait_seconds", "s", "time NFS requests took, summed", type=Type.FLOAT, **_SLOW),
    _counter(_NODE, "lustre_read_bytes", "By", "read over Lustre", **_SLOW),
    _counter(_NODE, "lustre_written_bytes", "By", "written over Lustre", **_SLOW),
    _counter(_NODE, "gpfs_read_bytes", "By", "read over GPFS or CPFS", **_SLOW),
    _counter(_NODE, "gpfs_written_bytes", "By", "written over GPFS or CPFS", **_SLOW),
    _gauge(_NODE, "fuse_waiting", "{request}", "requests waiting in FUSE mounts (object stores) now", type=Type.INTEGER, **_SLOW),
    _counter(_NODE, "pressure_cpu_seconds", "s", "time some task waited for a processor (PSI some)", type=Type.FLOAT),
    _counter(_NODE, "pressure_memory_seconds", "s", "time some task waited for memory (PSI some)", type=Type.FLOAT),
    _counter(_NODE, "pressure_io_seconds", "s", "time some task waited for storage (PSI some)", type=Type.FLOAT),
    _counter(_NODE, "pressure_io_full_seconds", "s", "time all tasks waited for storage (PSI full)", type=Type.FLOAT),
    _gauge(_NODE, "bond_slaves_down", "{interface}", "bond members that are down", type=Type.INTEGER, **_SLOW),
    _gauge(_NODE, "filesystem_free_ratio", "1", "free share of the file system that is fullest", **_SLOW),
    _gauge(_NODE, "host_power_watts", "W", "power of the server without its accelerators", **_SLOW),
    _gauge(_NODE, "uptime_seconds", "s", "since boot", otel="system.uptime"),
    _gauge(_NODE, "cards_expected", "{card}", "accelerators the PCI bus shows", type=Type.INTEGER, **_SLOW),
    _gauge(_NODE, "cards_seen", "{card}", "accelerators the makers' libraries answer for", type=Type.INTEGER),
    _gauge(_NODE, "spool_bytes", "By", "batches waiting on the node's disk"),
    _counter(_NODE, "spool_dropped_batches", "{batch}", "batches dropped because the spool was full"),
    _gauge(_NODE, "agent_memory_bytes", "By", "resident memory of the agent and its children"),
    _counter(_NODE, "agent_cpu_seconds", "s", "processor time of the agent and its children", type=Type.FLOAT),
)
# fmt: on


@cache
def keys(family: Family) -> Mapping[str, Metric]:
    """Every metric of a family by key, in the table's order: also the order of columns."""
    return MappingProxyType({m.key: m for m in METRICS if family in m.families})


@cache
def metric(family: Family, key: str) -> Metric:
    """One metric. Raises UnknownMetric naming the key."""
    found = keys(family).get(key)
    if found is None:
        from ullage_contract.errors import UnknownMetric

        raise UnknownMetric(f"{key!r} is no metric of a {family.value}; see docs/metrics.md")
    return found


def bit_names(words: tuple[str, ...], value: int) -> list[str]:
    """The names of the bits set in ``value``; a bit beyond the list is named ``bit<n>``."""
    names = []
    bit = 0
    while value >> bit:
        if value >> bit & 1:
            names.append(words[bit] if bit < len(words) else f"bit{bit}")
        bit += 1
    return names


def bits_of(words: tuple[str, ...], names: list[str]) -> int:
    """The bit set with these names. Raises ValueError for a name not in ``words``."""
    value = 0
    for name in names:
        if name not in words:
            raise ValueError(f"{name!r} is none of {', '.join(words)}")
        value |= 1 << words.index(name)
    return value
