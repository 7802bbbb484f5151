"""One reading of one card, slice, port, node or process at one instant, and the dated facts beside it.

A value is there, or it is *unsupported* (a fact of card and metric, in the facts), or it *failed*
(with a reason): never 0 for unknown. A key in neither ``values`` nor ``failed`` is missing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

Value = float | int | str
"""Numbers in the catalogue's unit; text only for metrics of value type text and state."""


class Origin(StrEnum):
    """Where a row is from. Simulated data is labelled as simulated wherever it shows."""

    REAL = "real"
    IMPORTED = "imported"
    SIMULATED = "simulated"


class Family(StrEnum):
    """The wide tables: one row layout each."""

    CARD = "card"
    SLICE = "slice"
    PORT = "port"
    NODE = "node"
    PROCESS = "process"


@dataclass(frozen=True, slots=True)
class Sample:
    """One row of one family.

    subject: card_id, slice_id, port_id or node_id; for a process ``card_id#pid``.
    time: seconds since the epoch, UTC, the node's own clock; monotonic: seconds since boot, same instant.
    interval_seconds: the tier's period: how long this row stands for, at most.
    values: catalogue key -> value in the catalogue's unit.
    failed: catalogue key -> reason word (errors.REASONS).
    counters_epoch: names the life of the counters (boot id + driver load); a change means they began anew.
    """

    family: Family
    subject: str
    time: float
    monotonic: float
    interval_seconds: float
    values: Mapping[str, Value]
    failed: Mapping[str, str] = field(default_factory=dict)
    counters_epoch: str | None = None


@dataclass(frozen=True, slots=True)
class Facts:
    """Dated, slow attributes of a subject: sent at start, on change and once a day.

    time: instant from which they hold, seconds since the epoch, UTC.
    attributes: flat; text, number, or list of text. Known names: FACT_NAMES.
    """

    family: Family
    subject: str
    time: float
    attributes: Mapping[str, Value | list[str] | None]


FACT_NAMES: Mapping[str, str] = {
    # card and slice
    "card_id": "of a slice or process: the card it is part of",
    "vendor": "maker, lower case: nvidia, ascend, amd, ...",
    "model": "the maker's product name, as its library prints it",
    "uuid": "the maker's UUID",
    "serial": "board serial number",
    "board_id": "physical module; cards with one board_id share its power reading",
    "chip": "chip number on the board",
    "pci_address": "DDDD:BB:DD.F, lower case",
    "index": "the library's index: for people only, never a key",
    "minor": "minor number of the card's device node, for schedulers that count by it",
    "device_node": "the card's device node",
    "numa_node": "NUMA node of the PCI slot",
    "memory_total_bytes": "device memory",
    "power_limit_default_watts": "the maker's default power limit",
    "partition_mode": "mig, vnpu, smlu, cpx, ... or none",
    "profile": "of a slice: the maker's profile name, e.g. 1g.10gb",
    "compute_share": "of a slice: share of the card's compute, 0..1",
    "memory_share": "of a slice: share of the card's memory, 0..1",
    "util_kind": "what the maker's utilisation means: kernel_resident, sm, duty_cycle, core_mean, proxy_power",
    "unsupported": "list of catalogue keys this card cannot give",
    "nearest_ports": "list of port_ids on the closest PCI path",
    "driver_version": "kernel driver",
    "firmware_version": "card or NIC firmware / VBIOS",
    "runtime_version": "CUDA, CANN, ROCm, Neuware, DTK ... as the library reports it",
    # port
    "node_id": "the node the subject sits in",
    "device": "RDMA device name, e.g. mlx5_0",
    "port": "port number on the device",
    "link_layer": "InfiniBand or Ethernet",
    "hca_type": "as /sys/class/infiniband/*/hca_type",
    "netdev": "network interface of the port",
    "node_guid": "RDMA node GUID",
    "role": "fabric (serves cards), management, or virtual (an SR-IOV function)",
    "physfn": "of a virtual function: the PCI address of its physical one",
    # node
    "machine_id": "/etc/machine-id",
    "hostname": "host name",
    "kernel_version": "uname -r",
    "os_version": "PRETTY_NAME of os-release",
    "cpu_model": "model name of the first processor",
    "cpu_count": "logical processors",
    "agent_version": "version of ullage on the node",
    "backends": "list: maker=state, one per backend with hardware",
    # process
    "pid": "process id in the host's namespace",
    "command": "command name, never its arguments",
    "user": "user name of the process",
    "cgroup": "cgroup path of the process",
    "started_at": "when the process started, seconds since the epoch, UTC, by the node's clock",
    "holder_kind": "what its cgroup names: slurm_job, kubernetes_pod, container, systemd_unit, user_session, unknown",
    "holder_id": "job id or SLUID, pod uid, container id, unit name, user id; as the cgroup spells it",
}
"""Every fact name and its meaning; a fact outside it is refused by the encoder."""
