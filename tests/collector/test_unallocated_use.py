"""Cards used by processes nothing covers: the judgement on rows, then from pushed batches to kept findings."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from tests.collector.fleet_fixture import NOON, Fleet, card_sample

from ullage_collector.config import Config
from ullage_collector.detect.unallocated_use import (
    KIND,
    Allocated,
    OnCard,
    default_rules,
    find,
    parse_rules,
    rules_of,
)
from ullage_collector.detect.unallocated_watch import UnallocatedWatch
from ullage_contract.errors import ConfigError
from ullage_contract.sample import Facts, Family, Sample, Value

S = 1_000_000
NOW = round(NOON) * S
RULES = default_rules()
POD = "3f4c7c9e-8a54-4b0b-9d8e-0f5d6b1e2a77"

BARE = OnCard(
    "GPU-1", 41, "dc1", "n1", first_us=NOW - 100 * S, seen_us=NOW - 10 * S, command="python3", user="alice",
    started_us=NOW - 3600 * S, holder_kind="user_session", holder_id="1000",
)  # fmt: skip
JOB = Allocated("slurm/dc1/100_7", "slurm_job", "bob", "107", "dc1", "n1", "GPU-1", NOW - 7200 * S, None)
PODS = Allocated(
    f"k8s/dc1/ns/p/{POD}", "kubernetes_pod", None, None, "dc1", "n1", "GPU-1", NOW - 7200 * S, None
)


def reasons(process: OnCard, *allocations: Allocated) -> list[Any]:
    found, _ = find([process], allocations, RULES, NOW)
    return [item.evidence["reason"] for item in found]


def in_job(number: str) -> OnCard:
    return replace(BARE, holder_kind="slurm_job", holder_id=number)


def test_a_process_on_a_card_nobody_holds_is_found_with_what_a_person_needs() -> None:
    (found,), young = find([BARE], [], RULES, NOW)
    assert young == set()
    assert (found.kind, found.family, found.subject, found.owner) == (KIND, "card", "GPU-1", "alice")
    assert found.since_us == NOW - 3600 * S and found.key == f"41-{found.since_us // S}"
    assert dict(found.evidence) == {
        "pid": 41, "command": "python3", "user": "alice", "since": "2026-10-21T11:00:00Z",
        "holder_kind": "user_session", "holder_id": "1000", "cluster": "dc1", "node": "n1",
        "reason": "no_allocation", "held_by": [],
    }  # fmt: skip


@pytest.mark.parametrize(
    ("process", "allocations", "expected"),
    [
        # the job or pod that holds the card, an array task by Slurm's own number
        (in_job("107"), [JOB], []),
        (in_job("100_7"), [JOB], []),
        (replace(BARE, holder_kind="kubernetes_pod", holder_id=POD), [PODS], []),
        # another job or pod than holds the card; one that holds nothing
        (in_job("108"), [JOB], ["other_holder"]),
        (in_job("107"), [replace(JOB, card_id="GPU-2")], ["no_allocation"]),
        (replace(BARE, holder_kind="kubernetes_pod", holder_id="0" * 32), [PODS], ["other_holder"]),
        (replace(BARE, holder_kind="kubernetes_pod", holder_id="107"), [JOB], ["other_holder"]),
        # of the job's cards on this node nobody knows which
        (in_job("107"), [replace(JOB, card_id=None)], []),
        (in_job("107"), [replace(JOB, card_id=None, node="n2")], ["no_allocation"]),
        # by its SLUID, or where Slurm does not track by cgroup: some job's
        (in_job("s5K1KKYAYG5D00"), [JOB], []),
        (in_job("s5K1KKYAYG5D00"), [], ["no_allocation"]),
        (in_job("s5K1KKYAYG5D00"), [PODS], ["other_holder"]),
        (replace(BARE, holder_kind="systemd_unit", holder_id="slurmd.service"), [JOB], []),
        (replace(BARE, holder_kind="systemd_unit", holder_id="gpu1_slurmstepd.scope"), [], ["no_allocation"]),
        # a session on somebody else's card, on one's own, on one whose holder is not known
        (BARE, [JOB], ["other_user"]),
        (replace(BARE, user="bob"), [JOB], []),
        (BARE, [PODS], []),
        (replace(BARE, user=None), [JOB], []),
        # nobody can say otherwise of an allocated card
        (replace(BARE, holder_kind="container", holder_id="a" * 64), [JOB], []),
        (replace(BARE, holder_kind="unknown", holder_id=None), [JOB], []),
        (replace(BARE, holder_kind=None, holder_id=None), [], ["no_allocation"]),
        (replace(BARE, holder_kind="container", holder_id="a" * 64), [replace(JOB, card_id="GPU-2")],
         ["no_allocation"]),
        # times: over, not begun, ended a moment ago
        (in_job("107"), [replace(JOB, to_us=NOW - 600 * S)], ["no_allocation"]),
        (in_job("107"), [replace(JOB, to_us=NOW - 40 * S)], []),
        (in_job("107"), [replace(JOB, from_us=NOW + 600 * S)], ["no_allocation"]),
    ],
)  # fmt: skip
def test_what_covers_a_process_is_decided_by_what_its_cgroup_names(
    process: OnCard, allocations: list[Allocated], expected: list[str]
) -> None:
    assert reasons(process, *allocations) == expected


def test_a_process_too_young_is_neither_found_nor_forgiven() -> None:
    for process in (
        replace(BARE, started_us=NOW - 59 * S),
        replace(BARE, started_us=None, first_us=NOW - 59 * S),
    ):
        assert find([process], [], RULES, NOW) == ([], {"GPU-1"})
    found, young = find([replace(BARE, started_us=NOW - 60 * S)], [], RULES, NOW)
    assert len(found) == 1 and not young


@pytest.mark.parametrize(
    ("command", "user", "expected"),
    [
        ("nvidia-persiste", "root", []),  # what the kernel keeps of nvidia-persistenced
        ("nvidia-persiste", "nvidia-persistenced", []),
        ("nv-hostengine", "root", []),
        ("nv-hostengine", "alice", ["no_allocation"]),  # a name alone could be anybody's
        ("nvidia-cuda-mps", "alice", []),
        ("Xorg", "gdm", []),
        ("Xorgish", "root", ["no_allocation"]),
        ("python3", "root", ["no_allocation"]),
        ("dcgm-exporter", "root", []),
        (None, "root", ["no_allocation"]),
    ],
)
def test_daemons_that_belong_on_cards_are_known_by_name_and_user(
    command: str | None, user: str, expected: list[str]
) -> None:
    assert reasons(replace(BARE, command=command, user=user)) == expected


def test_nodes_without_a_scheduler_on_purpose_and_a_sites_own_daemons_are_settings() -> None:
    rules = rules_of({"bare_nodes": ["lab/*", "ws-*"], "system_processes": ["acme-exporter*"], "slurm": {}})
    for process in (
        replace(BARE, node="ws-7"),
        replace(BARE, cluster="lab"),
        replace(BARE, command="acme-exporter-2"),
    ):
        assert find([process], [], rules, NOW)[0] == []
    assert len(find([BARE], [], rules, NOW)[0]) == 1
    for wrong in ({"bare_nodes": "ws-1"}, {"system_processes": [7]}):
        with pytest.raises(ConfigError):
            rules_of(wrong)


@pytest.mark.parametrize("text", ["schema_version = 2", "x", "schema_version = 1\nodd = 1"])
def test_rules_that_cannot_be_read_say_so(text: str) -> None:
    with pytest.raises(ConfigError):
        parse_rules(text, "rules.toml")


# ---- from pushed batches to kept findings


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    made = Fleet(tmp_path)
    yield made
    made.close()


class World:
    """One node with a card whose processes are pushed as an agent would."""

    def __init__(self, fleet: Fleet, **settings: Any) -> None:
        self.fleet = fleet
        self.watch = UnallocatedWatch(lambda: fleet.store, Config(parts={"allocation": settings}))

    def look(
        self, *pids: int, listed: int | None = -1, facts: Mapping[int, Mapping[str, Value]] | None = None
    ) -> None:
        """One slow tick at the clock's now. listed: the card's count of processes; -1 the number of pids."""
        now = self.fleet.clock.wall()
        count = len(pids) if listed == -1 else listed
        values: dict[str, Value] = {} if count is None else {"processes": count}
        samples = [card_sample("GPU-1", now, {"power_watts": 100.0, **values})]
        samples += [Sample(Family.PROCESS, f"GPU-1#{pid}", now, 5.0, 10.0, {}) for pid in pids]
        told = [
            Facts(Family.PROCESS, f"GPU-1#{pid}", now, {"card_id": "GPU-1", "pid": pid, **about})
            for pid, about in (facts or {}).items()
        ]
        self.fleet.push(samples=samples, facts=told)
        self.fleet.writer.drain()

    def round(self) -> list[dict[str, Any]]:
        """The findings that are open after one round."""
        self.watch.round()
        cursor = self.fleet.store.cursor()
        rows = cursor.execute(
            "SELECT subject, since, evidence FROM finding WHERE kind = ? AND until IS NULL ORDER BY 1, 2",
            [KIND],
        ).fetchall()
        cursor.close()
        return [{"card": card, "since": since, **json.loads(text)} for card, since, text in rows]

    def forward(self, seconds: float) -> None:
        self.fleet.clock.advance(seconds)


TRAIN: dict[str, Value] = {
    "command": "python3", "user": "alice", "holder_kind": "user_session", "holder_id": "1000",
}  # fmt: skip


def test_a_process_outside_any_allocation_is_found_within_two_minutes_and_ends_with_it(fleet: Fleet) -> None:
    world = World(fleet)
    world.look()
    assert world.round() == []
    started = fleet.clock.wall() + 1
    world.forward(60)
    world.look(41, facts={41: {**TRAIN, "started_at": started}})
    found: list[dict[str, Any]] = []
    while not found:  # rounds of serve
        world.forward(20)
        found = world.round()
    assert fleet.clock.wall() - started < 120
    (only,) = found
    assert (only["card"], only["pid"], only["command"], only["user"]) == ("GPU-1", 41, "python3", "alice")
    assert only["since"] == datetime.fromtimestamp(int(started), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    assert (only["holder_kind"], only["holder_id"], only["key"]) == (
        "user_session",
        "1000",
        f"41-{int(started)}",
    )
    world.forward(60)
    world.look(41)
    assert len(world.round()) == 1
    world.forward(121)
    world.look()
    assert world.round() == []


def test_silence_opens_nothing_and_closes_nothing(fleet: Fleet) -> None:
    world = World(fleet)
    world.look(41, facts={41: {**TRAIN, "started_at": NOON - 600}})
    assert len(world.round()) == 1
    world.forward(3600)
    assert len(world.round()) == 1  # nobody was heard: it stays
    world.look(listed=None)
    assert len(world.round()) == 1  # heard, but its processes were not listed
    world.look(listed=2)
    assert len(world.round()) == 1  # counted, but not named
    world.look()
    assert world.round() == []


def test_an_old_backlog_is_no_process_of_now(fleet: Fleet) -> None:
    world = World(fleet)
    old = NOON - 900
    fleet.push(
        samples=[
            card_sample("GPU-1", old, {"processes": 1}),
            Sample(Family.PROCESS, "GPU-1#41", old, 5.0, 10.0, {}),
        ],
        facts=[Facts(Family.PROCESS, "GPU-1#41", old, {"pid": 41, **TRAIN})],
    )
    fleet.writer.drain()
    assert world.round() == []


def test_a_pid_used_again_is_another_finding(fleet: Fleet) -> None:
    world = World(fleet)
    world.look(41, facts={41: {**TRAIN, "started_at": NOON - 600}})
    (first,) = world.round()
    world.forward(130)
    new = {"command": "train", "user": "bob", "holder_kind": "unknown", "started_at": NOON + 10}
    world.look(41, facts={41: new})
    (second,) = world.round()
    assert first["key"] != second["key"]
    assert (second["command"], second["user"], second["holder_id"]) == ("train", "bob", None)


def test_a_process_told_of_before_the_collector_started_is_still_known(fleet: Fleet) -> None:
    World(fleet).look(41, facts={41: {**TRAIN, "started_at": NOON - 600}})
    fleet.clock.advance(7200)
    world = World(fleet)
    world.look(41)
    (found,) = world.round()
    assert (found["command"], found["user"]) == ("python3", "alice")


def hold(
    fleet: Fleet, workload: str, card: str | None, *, job_id: int, rank: str = "work", to: float | None = None
) -> None:
    with fleet.store.write() as cursor:
        node = cursor.execute("SELECT node_key FROM node").fetchall()[0][0]
        key = (
            None
            if card is None
            else cursor.execute("SELECT card_key FROM card WHERE card_id = ?", [card]).fetchall()[0][0]
        )
        cursor.execute(
            "INSERT INTO workload (workload_key, workload_id, kind, cluster_id, user_name, origin) "
            "SELECT nextval('workload_number'), ?, 'slurm_job', 'c1', 'bob', 'real'",
            [workload],
        )
        cursor.execute(
            "INSERT INTO allocation (allocation_id, workload_key, card_key, node_key, share_nano, valid_from, valid_to, "
            "known_from, source, attributes, \"rank\") SELECT nextval('allocation_number'), max(workload_key), ?, ?, "
            "1000000000, ?, ?, ?, 'slurm', ?, ? FROM workload",
            [key, node, datetime.fromtimestamp(NOON - 900, UTC).replace(tzinfo=None),
             None if to is None else datetime.fromtimestamp(to, UTC).replace(tzinfo=None),
             datetime.fromtimestamp(NOON - 880, UTC).replace(tzinfo=None),
             json.dumps({"job_id": job_id}), rank],
        )  # fmt: skip


def in_slurm(job: str) -> dict[str, Value]:
    return {**TRAIN, "user": "bob", "holder_kind": "slurm_job", "holder_id": job, "started_at": NOON - 600}


@pytest.mark.parametrize(
    ("holder", "card", "rank", "to", "expected"),
    [
        ("107", "GPU-1", "work", None, []),
        ("107", "GPU-1", "completing", None, []),
        ("107", None, "work", None, []),
        ("108", "GPU-1", "work", None, ["other_holder"]),
        ("107", "GPU-1", "reserved", None, ["no_allocation"]),  # a reservation is no job
        ("107", "GPU-1", "work", NOON - 500, ["no_allocation"]),
    ],
)
def test_allocations_believed_now_cover_their_jobs_processes(
    fleet: Fleet, holder: str, card: str | None, rank: str, to: float | None, expected: list[str]
) -> None:
    world = World(fleet)
    world.look(41, facts={41: in_slurm(holder)})
    hold(fleet, "slurm/c1/100_7", card, job_id=107, rank=rank, to=to)
    assert [found["reason"] for found in world.round()] == expected


def test_what_is_no_longer_believed_covers_nothing(fleet: Fleet) -> None:
    world = World(fleet)
    world.look(41, facts={41: in_slurm("107")})
    hold(fleet, "slurm/c1/107", "GPU-1", job_id=107)
    assert world.round() == []
    with fleet.store.write() as cursor:
        cursor.execute("UPDATE allocation SET known_to = valid_from + INTERVAL 1 MINUTE")
    (found,) = world.round()
    assert found["reason"] == "no_allocation"


def test_a_bare_node_is_left_alone(fleet: Fleet) -> None:
    world = World(fleet, bare_nodes=["*"])
    world.look(41, facts={41: {**TRAIN, "started_at": NOON - 600}})
    assert world.round() == []


def test_a_node_whose_clock_is_off_is_judged_by_the_collectors(fleet: Fleet) -> None:
    world = World(fleet)
    fleet.clock.step_wall(200)  # the node's clock stays 200 s behind
    behind = fleet.clock.wall() - 200
    fleet.push(
        samples=[
            card_sample("GPU-1", behind, {"processes": 1}),
            Sample(Family.PROCESS, "GPU-1#41", behind, 5.0, 10.0, {}),
        ],
        facts=[Facts(Family.PROCESS, "GPU-1#41", behind, {"pid": 41, **TRAIN, "started_at": behind - 600})],
    )
    fleet.writer.drain()
    assert world.round() == []
    with fleet.store.write() as cursor:
        cursor.execute("UPDATE node SET clock_skew_seconds = -200")
    assert len(world.round()) == 1


@pytest.mark.parametrize(
    ("last", "judged"), [(None, False), (0, False), (RULES.young_us - 1, False), (RULES.young_us, True)]
)
def test_a_jobs_process_is_not_judged_before_its_scheduler_had_a_chance_to_tell(
    last: int | None, judged: bool
) -> None:
    process = in_job("77")
    assert process.started_us is not None
    heard = None if last is None else process.started_us + last
    found, unjudged = find([process], [], RULES, NOW, lambda kind, cluster: heard)
    assert (bool(found), unjudged) == (judged, set() if judged else {process.card_id})


def test_a_process_outside_any_scheduler_needs_no_scheduler_to_be_found() -> None:
    found, _ = find([BARE], [], RULES, NOW, lambda kind, cluster: None)
    assert len(found) == 1
