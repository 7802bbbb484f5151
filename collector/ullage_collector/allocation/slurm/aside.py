"""What holds cards beside jobs: nodes that still clean up after one, reservations without a job, and fences.

A fence job keeps work off a card: isolation, never allocation; it is only shown here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ullage_collector.allocation.holding import Holding, Place, Rank, Workload
from ullage_collector.allocation.slurm import gres
from ullage_collector.allocation.slurm.job import SlurmJob
from ullage_collector.allocation.slurm.reports import Reservation
from ullage_collector.allocation.slurm.runs import SECOND, Known

COMPLETING_REASON = "completing"


@dataclass(frozen=True, slots=True)
class Fence:
    """A card kept free of work by a job of ours. card_id None: which is not known; index: of the node's records.

    from_us, to_us: microseconds since the epoch; to_us None: it stands.
    """

    job_id: int
    node: str
    index: int | None
    card_id: str | None
    from_us: int
    to_us: int | None
    comment: str | None


def fences(known: Known, job: SlurmJob) -> list[Fence]:
    """The cards a fence job keeps; one without an index where Slurm does not say which."""
    found = []
    assert job.start is not None
    for name in job.nodes:
        node = known.index.of(name)
        wanted = [item for item in job.gres.get(name, ()) if item.name in known.names]
        bits: list[int | None] = [bit for item in wanted for bit in item.indices or ()]
        for bit in bits or [None]:
            found.append(
                Fence(
                    job_id=job.job_id,
                    node=node.node,
                    index=bit,
                    card_id=None if bit is None else node.at(bit),
                    from_us=job.start * SECOND,
                    to_us=job.end * SECOND if job.over and job.end is not None else None,
                    comment=job.comment,
                )
            )
    return found


def completing(known: Known, job: SlurmJob, places: Sequence[Place]) -> list[Holding]:
    """The job ended and its nodes are not free yet: the platform's, node by node, from the job's end.

    places: what the job held.
    """
    assert job.end is not None
    found = []
    for name in job.nodes:
        node = known.index.node_id(name)
        here = tuple(place for place in places if place.node == node)
        if here:
            found.append(
                Holding(
                    Workload(
                        workload_id=f"slurm/{known.cluster}/completing/{node}/{job.job_id}"[:200],
                        kind="slurm_job",
                        cluster=known.cluster,
                        name=COMPLETING_REASON,
                    ),
                    job.end * SECOND,
                    None,
                    here,
                    Rank.COMPLETING,
                    {"reason": COMPLETING_REASON, "job_id": job.job_id},
                )
            )
    return found


def reserved(known: Known, reservation: Reservation, now_us: int) -> Holding | None:
    """What an account has reserved, from start to end; None before it begins, and for maintenance, which is the
    platform's doing and no account's.

    While it stands its end is a plan, kept as an attribute. A reservation that counts cards holds so many, else
    all cards of its nodes.
    """
    if reservation.maintenance or reservation.start * SECOND > now_us:
        return None
    accounts, users = reservation.accounts, reservation.users
    labels = {"slurm-reservation": reservation.name}
    if accounts:
        labels["slurm-account"] = accounts[0]
    if len(accounts) > 1:
        labels["slurm-accounts"] = ",".join(accounts)[:500]
    path = known.paths.get(accounts[0]) if accounts else None
    return Holding(
        Workload(
            workload_id=f"reservation/{known.cluster}/{reservation.name}"[:200],
            kind="reservation",
            cluster=known.cluster,
            name=reservation.name,
            user=users[0] if users and not accounts else None,
            namespace=accounts[0] if accounts else None,
            labels=labels,
            attributes={"account_path": path} if path else {},
        ),
        reservation.start * SECOND,
        reservation.end * SECOND if reservation.end * SECOND <= now_us else None,
        _reserved_places(known, reservation),
        Rank.RESERVED,
        {"reserved": True, "planned_end": reservation.end},
    )


def _reserved_places(known: Known, reservation: Reservation) -> tuple[Place, ...]:
    counted = sum(
        item.count for item in gres.from_tres(dict(reservation.tres), known.names) if item.name in known.names
    )
    places: list[Place] = []
    nodes = reservation.nodes
    for position, name in enumerate(nodes):
        node = known.index.of(name)
        configured = gres.cards_of(known.configured.get(name, ()), known.names)
        whole = configured or len(node.cards)
        mine = counted // len(nodes) + (position < counted % len(nodes)) if counted else whole
        if mine and mine >= whole == len(node.cards):
            places += [Place(node.node, card.card_id) for card in node.cards]
        elif mine:
            places.append(Place(node.node, cards=mine))
    return tuple(places)
