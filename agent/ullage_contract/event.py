"""Something that happened: an Xid, a RAS error, a port going down, a card that no longer answers.

Events have a lane of their own: pushed ahead of samples and of any backlog.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from ullage_contract.sample import Family, Value


class Severity(StrEnum):
    """How bad one event is by itself; a rule may judge otherwise."""

    INFO = "info"
    WARNING = "warning"
    CRITICAL = "critical"
    FATAL = "fatal"


@dataclass(frozen=True, slots=True)
class Event:
    """One event, with the maker's own code kept.

    time: seconds since the epoch, UTC, when it happened by the node's clock.
    kind: one of KINDS. family and subject: what it happened to (card_id, port_id, node_id).
    code: the maker's code as text (Xid ``79``, Ascend ``0x80E01801``), or None.
    source: kernel_log, library, sysfs, agent, tool, scheduler.
    message: one line, control characters stripped, at most 500 characters, no command line arguments.
    attributes: flat extras (pid, link, pci_address, block ...).
    """

    time: float
    kind: str
    severity: Severity
    family: Family
    subject: str
    source: str
    message: str
    code: str | None = None
    vendor: str | None = None
    attributes: Mapping[str, Value] = field(default_factory=dict)


KINDS: Mapping[str, str] = {
    "xid": "NVIDIA Xid, code = its number",
    "sxid": "NVIDIA NVSwitch SXid, code = its number",
    "card_lost": "a card that was there no longer answers or enumerates",
    "card_back": "a lost card answers again",
    "ecc_uncorrected": "uncorrectable memory error; attributes.contained = 1 when the card says it contained it",
    "ras": "a maker's RAS, health or incident code; code = the maker's",
    "recovery_action": "the card asks for a reset, reboot or drain; code = the action",
    "port_down": "an RDMA port left ACTIVE/LinkUp",
    "port_up": "an RDMA port is ACTIVE/LinkUp again",
    "port_missing": "an RDMA port that was there is gone",
    "call_hung": "a library call did not return in time; attributes.call names it",
    "backend_failed": "a maker's reader ended or could not start",
    "backend_back": "a maker's reader works again",
    "source_blind": "a source cannot be read any more (kernel log closed, tool missing, no permission)",
    "source_back": "a blind source can be read again",
    "clock_wrong": "the node's clock is off by more than five minutes",
    "identity_conflict": "two machine-ids under one node_id, or one sequence number with two bodies",
    "spool_dropped": "the spool was full and dropped its oldest batches; attributes.batches counts them",
    "agent_started": "the agent started",
    "probe_result": "a probe the collector asked for: attributes.id, probe, incident, outcome (passed, failed, refused, "
    "expired) and its figures; a passed probe is no proof that the card is well",
    "driver_error": "another kernel log line of a maker's driver that its catalogue knows",
    "job_started": "a scheduler's hook on the node told of a job: scheduler, cluster, job_id, array_job_id, "
    "array_task_id, account, user, partition, restarts, started_at, gpus as given, cards in their order (? unknown), "
    "unresolved; a long list comes as part 1 to parts",
    "job_ended": "the same hook told of its end; attributes as job_started",
    "devices_assigned": "the kubelet handed devices to a container: namespace, pod, container, resource, devices as "
    "given, cards in their order (? unknown); of a claim: claim, claims (driver/pool/device) or cdi, cards; again = 1 "
    "when told before, placeholders = ids that say nothing; a long list comes as part 1 to parts",
    "devices_released": "they are no longer the container's; attributes as devices_assigned",
}
"""Every event kind and its meaning; another kind is refused by the encoder."""
