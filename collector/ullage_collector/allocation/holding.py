"""What a scheduler says of one workload: what it holds, where, from when to when. Pure types.

A **holding** is one run of one workload: a Slurm job that was requeued has two, a pod has one. It is named by its
workload and the instant it began; everything else about it may be learned later (which cards, when it ended).
Not here: believing it (book.py) and reading it from anybody (slurm/, kubernetes/).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from ullage_contract.sample import Value

NANO: Final = 1_000_000_000


class Rank(StrEnum):
    """What a holding takes when others hold the same card.

    WORK: its share. RESERVED: what work leaves free of the card, ``allocated_idle`` of its account.
    COMPLETING: what work and reservations leave free; the platform's, as the scheduler is still cleaning up.
    """

    WORK = "work"
    RESERVED = "reserved"
    COMPLETING = "completing"


@dataclass(frozen=True, slots=True)
class Workload:
    """Who holds. None: its source does not say.

    workload_id: ``slurm/<cluster>/<job id>`` (of an array task ``<array job>_<task>``, of a part of a
        heterogeneous job ``<job>+<offset>``), ``k8s/<cluster>/<namespace>/<pod>/<uid>``,
        ``reservation/<cluster>/<name>``; at most 200 characters.
    kind: slurm_job, kubernetes_pod, notebook, reservation or process.
    namespace: the Kubernetes namespace or the Slurm account.
    labels: what mapping rules see as ``label:key=value``. attributes: qos, reservation, array and the like.
    scenario: as the source says, used where no rule gives one.
    """

    workload_id: str
    kind: str
    cluster: str
    name: str | None = None
    user: str | None = None
    namespace: str | None = None
    partition: str | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    attributes: Mapping[str, Value] = field(default_factory=dict)
    scenario: str | None = None


@dataclass(frozen=True, slots=True)
class Place:
    """What is held on one node.

    card_id None: ``cards`` of the node's cards, nobody knows which. slice_id: of that card, or None.
    share_nano: of one card's compute, 1e9 the whole; above it is over-subscription and kept as it is.
    memory_share_nano: of its memory; None: not stated, the whole goes with a whole card.
    """

    node: str
    card_id: str | None = None
    slice_id: str | None = None
    share_nano: int = NANO
    memory_share_nano: int | None = None
    cards: int = 1


@dataclass(frozen=True, slots=True)
class Holding:
    """One run of one workload over [from_us, to_us), microseconds since the epoch.

    to_us None: it still runs. places: None where this source does not say where (what is believed of places
    stays), () where it holds no card: it then is no allocation.
    attributes: flat extras of the run (state, restarts, suspended, prolog, device ids nobody could place).
    """

    workload: Workload
    from_us: int
    to_us: int | None = None
    places: tuple[Place, ...] | None = None
    rank: Rank = Rank.WORK
    attributes: Mapping[str, Value] = field(default_factory=dict)
