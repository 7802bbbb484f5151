"""The made fleet of benchmarks/idle_fleet.py in its short form: every trap that fools simple rules, and what losing telemetry may do."""

from __future__ import annotations

from benchmarks.idle_fleet import Said, kept, measured, peer, scored
from benchmarks.idle_services import IDLE_REPLICA, services
from benchmarks.idle_traps import IDLE_KINDS, fleet

EVERY = 180
JOBS = 60
TRAPS = {
    "data loading first", "tokenising first", "checkpoints", "storage stalls", "evaluation on processors",
    "gang waits for a straggler", "warm replicas", "model loading, adapters switched", "people who think", "debugger stops",
    "mean hides spikes", "copies only", "power alone", "power-capped", "little memory held", "part of a card (vGPU)",
    "quiet every night", "shared by MPS", "MIG without utilisation", "MIG, the card says 0", "MIG, the card has power alone",
    "missing minutes read as 0", "tells nothing", "one card silent", "just started", "handed over", "hang at 100 %", "steady work",
}  # fmt: skip


def test_every_known_trap_is_in_the_fleet_and_one_job_in_ten_idles_in_each_way() -> None:
    jobs = fleet(2000, 1)
    assert {job.kind for job in jobs if job.idle_from is None} == TRAPS
    assert {job.kind for job in jobs if job.idle_from is not None} == set(IDLE_KINDS)
    assert sum(job.idle_from is not None for job in jobs) == 200
    assert len({job.name for job in jobs}) == 2000


def test_idle_jobs_are_proposed_traps_are_not_told_and_losing_telemetry_tells_nobody_new() -> None:
    jobs = fleet(JOBS, 5)
    figures, said = measured(jobs, 5, EVERY, losses=("samples",))
    assert kept(figures, EVERY) == []
    assert figures["hangs_found"] == 1.0
    assert {job.kind for job in jobs if peer(job)} & TRAPS, "the simple rule falls for some"
    owners = {job.kind for job in jobs if said.told(job) is not None}
    assert owners == set(IDLE_KINDS)


def test_a_replica_nobody_asks_is_proposed_and_no_other_is_told() -> None:
    jobs = services(1, 3)
    figures, said = measured(jobs, 3, EVERY, losses=("samples",))
    assert kept(figures, EVERY) == []
    assert {job.kind for job in jobs if said.told(job) is not None} == {IDLE_REPLICA}
    assert sum(said.proposed(job) is not None for job in jobs) == 2
    assert sum(map(peer, jobs)) == 6, "the simple rule stops every warm replica"


def test_the_score_can_fail() -> None:
    """A fleet in which busy work is proposed and what idles is missed keeps neither promise."""
    jobs = fleet(100, 2)
    right = {job.name: {"propose_reclaim": 700} for job in jobs if job.idle_from is not None}
    assert kept(scored(jobs, Said(right, frozenset(), 0.0))) == ["late"]
    missed = dict(list(right.items())[:3])
    assert "recall" in kept(scored(jobs, Said(missed, frozenset(), 0.0)))
    trap = next(job for job in jobs if job.kind == "MIG, the card says 0")
    wrong = scored(jobs, Said({**right, trap.name: {"propose_reclaim": 700}}, frozenset({trap.name}), 0.0))
    assert {"precision", "traps", "hangs"} <= set(kept(wrong))
