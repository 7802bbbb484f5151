"""Which file or statistic name of which NIC driver is which metric of ours.

Not here: reading (rdma.py, ethtool.py) and what an increase means (ullage_contract.counters).

Names are from drivers/infiniband/core/sysfs.c (counters/), drivers/infiniband/hw/*/ (hw_counters/)
and the drivers' ``ethtool -S`` tables: mlx5 en_stats.c, bnxt_ethtool.c, pensando/ionic.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

WORD_BYTES: Final = 4
"""port_xmit_data and port_rcv_data count 4-byte words (IBA PortCounters; on RoCE with mlx5 as well)."""

SATURATED_32: Final = 2**32 - 1
"""A classic 32-bit data or packet counter at this value stands still: it is read from counters_ext or not at all."""

CLASSIC: Final[Mapping[str, tuple[str, int]]] = {
    "port_xmit_data": ("xmit_data_bytes", WORD_BYTES),
    "port_rcv_data": ("rcv_data_bytes", WORD_BYTES),
    "port_xmit_packets": ("xmit_packets", 1),
    "port_rcv_packets": ("rcv_packets", 1),
    "unicast_xmit_packets": ("unicast_xmit_packets", 1),
    "unicast_rcv_packets": ("unicast_rcv_packets", 1),
    "multicast_xmit_packets": ("multicast_xmit_packets", 1),
    "multicast_rcv_packets": ("multicast_rcv_packets", 1),
    "port_xmit_wait": ("xmit_wait", 1),
    "symbol_error": ("symbol_errors", 1),
    "link_error_recovery": ("link_error_recoveries", 1),
    "link_downed": ("link_downed", 1),
    "port_rcv_errors": ("rcv_errors", 1),
    "port_rcv_remote_physical_errors": ("rcv_remote_physical_errors", 1),
    "port_rcv_switch_relay_errors": ("rcv_switch_relay_errors", 1),
    "port_xmit_discards": ("xmit_discards", 1),
    "port_xmit_constraint_errors": ("xmit_constraint_errors", 1),
    "port_rcv_constraint_errors": ("rcv_constraint_errors", 1),
    "local_link_integrity_errors": ("local_link_integrity_errors", 1),
    "excessive_buffer_overrun_errors": ("excessive_buffer_overrun_errors", 1),
    "VL15_dropped": ("vl15_dropped", 1),
}
"""File below counters/ -> (metric, factor)."""

EXTENDED: Final[Mapping[str, tuple[str, int]]] = {
    "port_xmit_data_64": ("xmit_data_bytes", WORD_BYTES),
    "port_rcv_data_64": ("rcv_data_bytes", WORD_BYTES),
    "port_xmit_packets_64": ("xmit_packets", 1),
    "port_rcv_packets_64": ("rcv_packets", 1),
    "port_unicast_xmit_packets": ("unicast_xmit_packets", 1),
    "port_unicast_rcv_packets": ("unicast_rcv_packets", 1),
    "port_multicast_xmit_packets": ("multicast_xmit_packets", 1),
    "port_multicast_rcv_packets": ("multicast_rcv_packets", 1),
}
"""File below counters_ext/ (old mlx4) -> (metric, factor): used only where the classic 32-bit one is saturated;
recorded ones say 0 packets beside millions of bytes, so a missing classic counter stays missing."""

EXTENDED_KEYS: Final = frozenset(key for key, _ in EXTENDED.values())

_MLX5: Final = (
    "out_of_sequence",
    "out_of_buffer",
    "packet_seq_err",
    "local_ack_timeout_err",
    "rnr_nak_retry_err",
    "implied_nak_seq_err",
    "duplicate_request",
    "rx_write_requests",
    "rx_read_requests",
    "rx_atomic_requests",
    "rx_icrc_encapsulated",
    "req_cqe_error",
    "req_cqe_flush_error",
    "resp_cqe_error",
    "resp_cqe_flush_error",
    "req_remote_access_errors",
    "req_remote_invalid_request",
    "resp_local_length_error",
    "resp_remote_access_errors",
    "rx_dct_connect",
    "req_transport_retries_exceeded",
    "req_rnr_retries_exceeded",
    "roce_adp_retrans",
    "roce_adp_retrans_to",
    "roce_slow_restart",
    "roce_slow_restart_cnps",
    "roce_slow_restart_trans",
    "np_cnp_sent",
    "np_ecn_marked_roce_packets",
    "rp_cnp_handled",
    "rp_cnp_ignored",
)

HARDWARE: Final[Mapping[str, tuple[str, int]]] = {
    **{name: (name, 1) for name in _MLX5},
    # ionic: bytes are bytes; resp_rx_outouf_seq is spelled so
    "tx_rdma_ucast_bytes": ("xmit_data_bytes", 1),
    "rx_rdma_ucast_bytes": ("rcv_data_bytes", 1),
    "tx_rdma_ucast_pkts": ("unicast_xmit_packets", 1),
    "rx_rdma_ucast_pkts": ("unicast_rcv_packets", 1),
    "tx_rdma_mcast_pkts": ("multicast_xmit_packets", 1),
    "rx_rdma_mcast_pkts": ("multicast_rcv_packets", 1),
    "tx_rdma_cnp_pkts": ("np_cnp_sent", 1),
    "rx_rdma_cnp_pkts": ("rp_cnp_handled", 1),
    "rx_rdma_ecn_pkts": ("np_ecn_marked_roce_packets", 1),
    "req_rx_pkt_seq_err": ("packet_seq_err", 1),
    "req_rx_rnr_retry_err": ("rnr_nak_retry_err", 1),
    "req_rx_rmt_acc_err": ("req_remote_access_errors", 1),
    "req_rx_rmt_req_err": ("req_remote_invalid_request", 1),
    "req_rx_impl_nak_seq_err": ("implied_nak_seq_err", 1),
    "req_rx_cqe_err": ("req_cqe_error", 1),
    "req_rx_cqe_flush": ("req_cqe_flush_error", 1),
    "req_tx_retry_excd_err": ("req_transport_retries_exceeded", 1),
    "resp_rx_dup_request": ("duplicate_request", 1),
    "resp_rx_outof_buf": ("out_of_buffer", 1),
    "resp_rx_outouf_seq": ("out_of_sequence", 1),
    "resp_rx_cqe_err": ("resp_cqe_error", 1),
    "resp_rx_cqe_flush": ("resp_cqe_flush_error", 1),
    "resp_rx_loc_len_err": ("resp_local_length_error", 1),
    "resp_tx_rmt_acc_err": ("resp_remote_access_errors", 1),
    # bnxt_re (hw_counters.c): bytes are bytes
    "tx_bytes": ("xmit_data_bytes", 1),
    "rx_bytes": ("rcv_data_bytes", 1),
    "tx_pkts": ("xmit_packets", 1),
    "rx_pkts": ("rcv_packets", 1),
    "tx_cnp_pkts": ("np_cnp_sent", 1),
    "cnp_tx_pkts": ("np_cnp_sent", 1),
    "rx_cnp_pkts": ("rp_cnp_handled", 1),
    "cnp_rx_pkts": ("rp_cnp_handled", 1),
    "rx_ecn_marked_pkts": ("np_ecn_marked_roce_packets", 1),
    "seq_err_naks_rcvd": ("packet_seq_err", 1),
    "rnr_naks_rcvd": ("rnr_nak_retry_err", 1),
    "max_retry_exceeded": ("req_transport_retries_exceeded", 1),
    "to_retransmits": ("local_ack_timeout_err", 1),
    "dup_req": ("duplicate_request", 1),
    "dup_reqs": ("duplicate_request", 1),
    "remote_access_err": ("req_remote_access_errors", 1),
    "remote_invalid_req_err": ("req_remote_invalid_request", 1),
    "res_length_mismatch": ("resp_local_length_error", 1),
    "oos_drop_count": ("out_of_sequence", 1),
    "res_oos_drop_count": ("out_of_sequence", 1),
    "res_oob_drop_count": ("out_of_buffer", 1),
    "rx_write_req": ("rx_write_requests", 1),
    "rx_read_req": ("rx_read_requests", 1),
    "rx_atomic_req": ("rx_atomic_requests", 1),
}
"""File below hw_counters/, or name in ``rdma statistic``, -> (metric, factor). Drivers use one spelling each."""

NO_PMA: Final = "N/A (no PMA)"
"""What the kernel prints where the port has no performance management agent (iWARP, some VFs): no value."""


def count(text: str | bytes) -> int | None:
    """A counter file's number; None for ``N/A (no PMA)`` and anything else that is no natural number."""
    try:
        value = int(text)
    except ValueError:
        return None
    return value if value >= 0 else None


@dataclass(frozen=True, slots=True)
class EthernetStatistic:
    """A metric as the sum of some ``ethtool -S`` statistics.

    names: with {p} for the lossless priority; those the driver has are summed.
    factor: to the catalogue's unit (pause durations come in microseconds).
    """

    key: str
    names: tuple[str, ...]
    factor: float = 1


_PRIORITIES = range(8)

ETHERNET: Final[tuple[EthernetStatistic, ...]] = (
    # Tried in order; the first line of a metric of which the driver has any name is taken.
    # mlx5: prio<n> are PFC pauses, global those of 802.3x; pause_ctrl_phy holds both and is the last resort.
    EthernetStatistic("rx_pause_frames", ("rx_global_pause", *(f"rx_prio{p}_pause" for p in _PRIORITIES))),
    EthernetStatistic("rx_pause_frames", ("rx_pause_frames", "rx_pfc_frames")),  # bnxt
    EthernetStatistic("rx_pause_frames", ("frames_rx_pause", "frames_rx_pripause")),  # ionic
    EthernetStatistic("rx_pause_frames", ("rx_pause_ctrl_phy",)),
    EthernetStatistic("tx_pause_frames", ("tx_global_pause", *(f"tx_prio{p}_pause" for p in _PRIORITIES))),
    EthernetStatistic("tx_pause_frames", ("tx_pause_frames", "tx_pfc_frames")),
    EthernetStatistic("tx_pause_frames", ("frames_tx_pause", "frames_tx_pripause")),
    EthernetStatistic("tx_pause_frames", ("tx_pause_ctrl_phy",)),
    EthernetStatistic("lossless_rx_pause_frames", ("rx_prio{p}_pause",)),
    EthernetStatistic("lossless_rx_pause_frames", ("rx_pfc_ena_frames_pri{p}",)),
    EthernetStatistic("lossless_tx_pause_frames", ("tx_prio{p}_pause",)),
    EthernetStatistic("lossless_tx_pause_frames", ("tx_pfc_ena_frames_pri{p}",)),
    EthernetStatistic("lossless_rx_pause_seconds", ("rx_prio{p}_pause_duration",), 1e-6),
    EthernetStatistic("lossless_rx_pause_seconds", ("pfc_pri{p}_rx_duration_us",), 1e-6),
    EthernetStatistic("lossless_rx_pause_seconds", ("rx_pripause_{p}_1us_count",), 1e-6),
    EthernetStatistic("lossless_tx_pause_seconds", ("tx_prio{p}_pause_duration",), 1e-6),
    EthernetStatistic("lossless_tx_pause_seconds", ("pfc_pri{p}_tx_duration_us",), 1e-6),
    EthernetStatistic("lossless_tx_pause_seconds", ("tx_pripause_{p}_1us_count",), 1e-6),
    # rx_prio<n>_discards is another hardware group and may count the same packets: not added to these two.
    EthernetStatistic("lossless_discards", ("rx_prio{p}_buf_discard", "rx_prio{p}_cong_discard")),
    EthernetStatistic("lossless_discards", ("rx_prio{p}_discards",)),
    EthernetStatistic("ecn_marked", ("rx_prio{p}_marked",)),
    EthernetStatistic("rx_discards_phy", ("rx_discards_phy",)),
    EthernetStatistic("rx_discards_phy", ("rx_stat_discard",)),
    EthernetStatistic("rx_discards_phy", ("frames_rx_dropped",)),
    EthernetStatistic("rx_crc_errors_phy", ("rx_crc_errors_phy",)),
    EthernetStatistic("rx_crc_errors_phy", ("rx_fcs_err_frames",)),
    EthernetStatistic("rx_crc_errors_phy", ("frames_rx_bad_fcs",)),
    EthernetStatistic("rx_symbol_errors_phy", ("rx_symbol_err_phy",)),
    EthernetStatistic("rx_symbol_errors_phy", ("rx_pcs_symbol_err_phy",)),
    EthernetStatistic("rx_corrected_bits_phy", ("rx_corrected_bits_phy",)),
    EthernetStatistic("rx_corrected_bits_phy", ("rx_corrected_bits",)),  # bnxt
    EthernetStatistic("tx_pause_storm_warnings", ("tx_pause_storm_warning_events",)),
    EthernetStatistic("tx_pause_storm_errors", ("tx_pause_storm_error_events",)),
)


@dataclass(frozen=True, slots=True)
class EthernetSum:
    """One metric resolved against a driver's own list: indexes into its statistics, and the factor."""

    key: str
    indexes: tuple[int, ...]
    factor: float


def resolve(names: Iterable[str], lossless_priority: int) -> tuple[EthernetSum, ...]:
    """Which of the driver's statistics (in its order) make up which metric, for one lossless priority.

    Old mlx5 drivers print ``tx_pause_storm_warning_events`` with a trailing space: names are stripped.
    """
    place = {name.strip(): index for index, name in enumerate(names)}
    found: dict[str, EthernetSum] = {}
    for statistic in ETHERNET:
        if statistic.key in found:
            continue
        wanted = (name.format(p=lossless_priority) for name in statistic.names)
        indexes = tuple(place[name] for name in wanted if name in place)
        if indexes:
            found[statistic.key] = EthernetSum(statistic.key, indexes, statistic.factor)
    return tuple(found.values())


def ethernet_values(sums: Iterable[EthernetSum], statistics: Mapping[int, int]) -> dict[str, float | int]:
    """The metrics from the driver's statistics by index. Durations are seconds, the rest whole numbers."""
    values: dict[str, float | int] = {}
    for each in sums:
        total = sum(statistics[index] for index in each.indexes)
        values[each.key] = total if each.factor == 1 else total * each.factor
    return values
