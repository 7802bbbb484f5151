"""A run of Slurm as a holding: who, from when to when, which cards, and how sure. Pure, over what is known now.

Cards come from the prolog where there was one, else from the controller's indices, else they are counted and
nobody knows which. Completing and reservations stand in aside.py.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from ullage_collector.allocation.holding import NANO, Holding, Place, Workload
from ullage_collector.allocation.room import MIB
from ullage_collector.allocation.slurm import gres
from ullage_collector.allocation.slurm.cards import CardIndex, NodeCards
from ullage_collector.allocation.slurm.gres import Gres
from ullage_collector.allocation.slurm.hooks import Hooks, Told
from ullage_collector.allocation.slurm.job import SlurmJob
from ullage_contract.sample import Value

SECOND = 1_000_000
UNLIMITED_SECONDS = 364 * 86_400
"""slurmctld gives a job without a time limit an end 365 days after its start (job_mgr.c): that is no plan."""


@dataclass(frozen=True, slots=True)
class Slice:
    """A part of a card as its agent states it; shares 0..1, None where it does not."""

    slice_id: str
    card_id: str
    compute_share: float | None = None
    memory_share: float | None = None


@dataclass(slots=True)
class Known:
    """What is known of the cluster when a run is read.

    configured: by NodeName what Slurm is configured with. slices: by slice_id. paths: of accounts in their tree.
    names: GRES names that are cards.
    """

    cluster: str
    index: CardIndex = field(default_factory=lambda: CardIndex({}))
    configured: Mapping[str, tuple[Gres, ...]] = field(default_factory=dict)
    slices: Mapping[str, Slice] = field(default_factory=dict)
    paths: Mapping[str, str] = field(default_factory=dict)
    hooks: Hooks = field(default_factory=Hooks)
    names: Sequence[str] = gres.CARDS
    fence_account: str = "ullage-fence"

    def is_fence(self, job: SlurmJob) -> bool:
        """A job that keeps work off a card: isolation, never allocation."""
        return job.account == self.fence_account or (job.comment or "").startswith("fence:")


def workload_id(cluster: str, label: str) -> str:
    """``slurm/<cluster>/<job>``."""
    return f"slurm/{cluster}/{label}"


def name_of(known: Known, job: SlurmJob) -> tuple[str, int]:
    """A run's name: workload id and its start in microseconds. The job has begun."""
    assert job.start is not None
    return workload_id(known.cluster, job.label), job.start * SECOND


def workload(known: Known, job: SlurmJob) -> Workload:
    """Who holds."""
    account_path = known.paths.get(job.account or "")
    labels = {
        "slurm-account": job.account,
        "slurm-qos": job.qos,
        "slurm-partition": job.partition,
        "slurm-reservation": job.reservation,
    }
    attributes: dict[str, Value | None] = {
        "qos": job.qos,
        "reservation": job.reservation,
        "account_path": account_path,
        "array_job_id": job.array_job_id,
        "het_job_id": job.het_job_id,
    }
    return Workload(
        workload_id=workload_id(known.cluster, job.label),
        kind="slurm_job",
        cluster=known.cluster,
        name=job.name,
        user=job.user,
        namespace=job.account,
        partition=job.partition,
        labels={key: value for key, value in labels.items() if value is not None},
        attributes={key: value for key, value in attributes.items() if value is not None},
    )


def holding(known: Known, job: SlurmJob, *, over: bool, believed: bool = False) -> Holding:
    """The run as a holding. over: its end is the past. believed: it was believed before, with places.

    A run that was believed keeps its places where neither indices nor every node's prolog are at hand now, as a
    job's totals say less.
    """
    assert job.start is not None
    end_us = job.end * SECOND if over and job.end is not None else None
    told = {
        node: known.hooks.of(job.job_id, known.index.node_id(node), job.start * SECOND, end_us)
        for node in job.nodes
    }
    attributes: dict[str, Value] = {"job_id": job.job_id, "state": job.state}
    if job.restarts is not None:
        attributes["restarts"] = job.restarts
    attributes |= _beside(job)
    if job.suspended:
        attributes["suspended"] = True
    if not over and job.end is not None and 0 < job.end - job.start < UNLIMITED_SECONDS:
        attributes["planned_end"] = (
            job.end
        )  # by its time limit, so that maintenance knows who is there until when
    places: tuple[Place, ...] | None
    if believed and not job.gres and not all(found is not None and found.devices for found in told.values()):
        places = None
    else:
        here = [
            _on_node(known, node, wanted, told[node]) for node, wanted in _wanted(job, told, known).items()
        ]
        places = tuple(place for found in here for place in found.places)
        why = next((found.why_not for found in here if found.why_not), None)
        why = (job.doubt or why) if why is not None else None
        if why is not None:
            attributes["card_unknown"] = why[:200]
        profiles = sorted({found.profile for found in here if found.profile})
        if profiles:
            attributes["mig_profile"] = ",".join(profiles)
        if _is_split(job, told, known):
            attributes["count_split"] = "even"
    if any(told.values()):
        attributes["prolog"] = True
    return Holding(workload(known, job), job.start * SECOND, end_us, places, attributes=attributes)


def _beside(job: SlurmJob) -> dict[str, Value]:
    """Processors and memory of the run on all its nodes, as far as Slurm tracks them."""
    found: dict[str, Value] = {}
    if "cpu" in job.tres:
        found["cpu_milli"] = 1000 * job.tres["cpu"]
    if "mem" in job.tres:
        found["memory_mib"] = job.tres["mem"] // MIB
    return found


def provisional(known: Known, told: Sequence[Told]) -> Holding:
    """A run that only prologs have told of so far, on one node or several; by start of the first.

    Numbers in its list of devices count cards; where they turn out to be shards, the controller says so.
    """
    first = told[0]
    label = next((entry.label for entry in told if entry.label), str(first.job_id))
    places: list[Place] = []
    for entry in told:
        subjects = [
            _subject(known, known.index.nodes.get(entry.node), token, entry) for token in entry.devices
        ]
        places += _whole(known, entry.node, subjects)
    ends = [entry.ended_us for entry in told if entry.ended_us is not None]
    ended = max(ends) if len(ends) == len(told) else None
    account = next((entry.account for entry in told if entry.account), None)
    path = known.paths.get(account or "")
    return Holding(
        Workload(
            workload_id=workload_id(known.cluster, label),
            kind="slurm_job",
            cluster=known.cluster,
            user=next((entry.user for entry in told if entry.user), None),
            namespace=account,
            partition=next((entry.partition for entry in told if entry.partition), None),
            labels={"slurm-account": account} if account else {},
            attributes={"account_path": path} if path else {},
        ),
        first.second_us,
        None if ended is None else max(ended - ended % SECOND, first.second_us),
        tuple(places),
        attributes={"job_id": first.job_id, "state": "running", "prolog": True, "prolog_only": True},
    )


@dataclass(frozen=True, slots=True)
class _Here:
    """What a run holds on one node. why_not: why a card is not known; profile: of MIG instances not known."""

    places: tuple[Place, ...]
    why_not: str | None = None
    profile: str | None = None


def _wanted(job: SlurmJob, told: Mapping[str, Told | None], known: Known) -> dict[str, tuple[Gres, ...]]:
    """By node what the run has there: as the controller details it, else the totals split over its nodes."""
    if job.gres:
        return {node: job.gres.get(node, ()) for node in job.nodes}
    totals = gres.from_tres(dict(job.tres), known.names)
    if len(job.nodes) == 1:
        return {job.nodes[0]: totals}
    if len(totals) == 1 and totals[0].name in known.names:
        counts = [len(found.devices) if (found := told[node]) else 0 for node in job.nodes]
        if all(counts) and sum(counts) == totals[0].count:
            return {node: (replace(totals[0], count=n),) for node, n in zip(job.nodes, counts, strict=True)}
    split: dict[str, tuple[Gres, ...]] = {}
    for position, node in enumerate(job.nodes):
        shares = [
            replace(item, count=item.count // len(job.nodes) + (position < item.count % len(job.nodes)))
            for item in totals
        ]
        split[node] = tuple(item for item in shares if item.count)
    return split


def _is_split(job: SlurmJob, told: Mapping[str, Told | None], known: Known) -> bool:
    """Several nodes, and nobody said how many on each."""
    if job.gres or len(job.nodes) < 2:
        return False
    return not all(found is not None and found.devices for found in told.values())


def _on_node(known: Known, name: str, wanted: Sequence[Gres], told: Told | None) -> _Here:
    node = known.index.of(name)
    cards = [item for item in wanted if item.name in known.names and item.mig is None]
    instances = [item for item in wanted if item.name in known.names and item.mig is not None]
    shares = [item for item in wanted if item.name in gres.SHARES]
    subjects = [] if told is None else [_subject(known, node, token, told) for token in told.devices]
    places: list[Place] = []
    why: str | None = None
    if cards:
        count = sum(item.count for item in cards)
        found = subjects if len(subjects) == count and not instances and not shares else []
        if not found or None in found:
            by_index = [node.at(index) for item in cards for index in item.indices or ()]
            if len(by_index) == count and by_index.count(None) <= (found.count(None) if found else count):
                found = by_index
        if len(found) != count or len(set(found) - {None}) + found.count(None) != count:
            found = [None] * count
        if None in found:
            why = node.why_not or "Slurm did not say which, and no prolog did"
        places += _whole(known, node.node, found)
    profile = None
    for item in instances:
        slices = [subject for subject in subjects if subject is not None and subject in known.slices]
        if len(slices) == item.count == len(subjects):
            places += [_slice(known.slices[s], node.node, item) for s in slices]
            continue
        share = item.mig_share
        assert share is not None
        places.append(_unknown(node.node, int(NANO * share) * item.count))
        profile, why = item.mig, "Slurm counts MIG instances there, and no agent named these"
    for item in shares:
        found_shares, reason = _shares(known, name, node, item, subjects if not cards else [])
        places += found_shares
        why = why or reason
    return _Here(tuple(places), why, profile)


def _subject(known: Known, node: NodeCards | None, token: str, told: Told) -> str | None:
    """The card or slice an entry of SLURM_JOB_GPUS means. A number is an index into the node's records: what the
    agent made of it goes by device numbers, which is another thing (cards.py)."""
    if token.isascii() and token.isdigit():
        return node.at(int(token)) if node is not None and len(token) <= 6 else None
    return told.devices.get(token)


def _whole(known: Known, node: str, subjects: Sequence[str | None]) -> list[Place]:
    """Whole cards, and slices where an entry names one; what is not known is counted."""
    places = []
    for subject in subjects:
        if subject is None:
            continue
        part = known.slices.get(subject)
        if part is not None:
            places.append(_slice(part, node, None))
        else:
            places.append(Place(node, subject))
    unknown = subjects.count(None) if isinstance(subjects, list) else sum(s is None for s in subjects)
    if unknown:
        places.append(Place(node, cards=unknown))
    return places


def _slice(part: Slice, node: str, item: Gres | None) -> Place:
    share = part.compute_share
    nano = round(share * NANO) if share else None
    if nano is None:
        stated = item.mig_share if item is not None else None
        nano = int(NANO * stated) if stated is not None else NANO
    memory = round(part.memory_share * NANO) if part.memory_share else None
    return Place(node, part.card_id, part.slice_id, nano, memory)


def _shares(
    known: Known, name: str, node: NodeCards, item: Gres, subjects: Sequence[str | None]
) -> tuple[list[Place], str | None]:
    """Shards or mps: k of n of a card."""
    if item.parts:
        places: list[Place] = []
        lost = 0
        for index, taken, all_ in item.parts:
            card = node.at(index)
            if card is None:
                lost += NANO * taken // all_
            else:
                places.append(Place(node.node, card, None, NANO * taken // all_))
        if lost:
            places.append(_unknown(node.node, lost))
        return places, node.why_not if lost else None
    each = _each(known, name, item.name)
    bits = item.indices or ()
    card = node.at(bits[0]) if len(bits) == 1 else (subjects[0] if len(subjects) == 1 else None)
    if len(bits) > 1 and each is not None and item.count == each * len(bits):
        return _whole(known, node.node, [node.at(bit) for bit in bits]), node.why_not
    if each is None:
        why = f"how many {item.name}s a card has is not known; its whole card is counted"
        return [Place(node.node, card)], why
    nano = NANO * item.count // each
    if card is None:
        return [_unknown(node.node, nano)], node.why_not or "Slurm did not say which, and no prolog did"
    return [Place(node.node, card, None, nano)], None


def _each(known: Known, name: str, share: str) -> int | None:
    """How many shares one card of the node has, where that is the same for all; None: not known."""
    configured = known.configured.get(name, ())
    cards = gres.cards_of(configured, known.names)
    shares = sum(item.count for item in configured if item.name == share)
    return shares // cards if cards and shares and shares % cards == 0 else None


def _unknown(node: str, nano: int) -> Place:
    """Some of the node's cards, nobody knows which; as the book counts them."""
    cards = max(1, nano // NANO)
    return Place(node, share_nano=nano // cards, cards=cards)
