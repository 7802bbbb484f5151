"""Maintenance: who is in the way, where work could go, nodes out and back, and the ledger's words for it."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.collector.fleet_world import DAY as WORLD_DAY
from tests.collector.fleet_world import HOUR, LATER, NANO, World, us
from tests.collector.notify_world import AT

from ullage_collector.allocation.slurm.job import SlurmJob
from ullage_collector.allocation.slurm.runs import Known, holding
from ullage_collector.cli import main
from ullage_collector.config import Store as StoreSettings
from ullage_collector.fleet_now import FleetNow
from ullage_collector.isolate.actuator import Plan, Standing, Target
from ullage_collector.isolate.isolation import Isolation
from ullage_collector.ledger import IDLE_STATES
from ullage_collector.maintenance import work
from ullage_collector.maintenance.proposal import Free, Hold, propose
from ullage_collector.maintenance.windows import InWindow, Windows, believed
from ullage_collector.maintenance.work import Asked
from ullage_collector.states import States
from ullage_collector.store.store import Store
from ullage_contract.clock import ManualClock
from ullage_contract.errors import ActuatorError, BadInput

END = AT + 4 * 3600


@dataclass
class Scheduler:
    """An actuator without calls that refuses some nodes."""

    refuses: set[str] = field(default_factory=set)
    name: str = "test"
    whole_node: bool = True
    verifies: bool = False

    def plan_isolate(self, target: Target) -> Plan:
        if target.node_id in self.refuses:
            raise ActuatorError(f"{target.node_id} is another's")
        return Plan(self.name, (), (), True)

    def plan_release(self, target: Target) -> Plan:
        return Plan(self.name, (), (), True)

    def standing(self, target: Target) -> Standing:
        return Standing.UNKNOWN


class Fleet:
    """n1 to n4 in dc1 with four cards each, all heard of, n1 and n2 at work."""

    def __init__(self, folder: Path) -> None:
        self.clock = ManualClock(wall=AT)
        self.store = Store.open(folder / "collector/store.duckdb", StoreSettings(threads=1), self.clock)
        self.scheduler = Scheduler()
        self.isolation = Isolation(
            self.store.cursor, {"test": self.scheduler}, self.clock, default_actuator="test"
        )
        with self.store.write() as cursor:
            for n in range(1, 5):
                cursor.execute(
                    "INSERT INTO node (node_key, cluster_id, node_id, origin, last_seen) VALUES (?, 'dc1', ?, 'real', now())",
                    [n, f"n{n}"],
                )
                for i in range(4):
                    cursor.execute(
                        "INSERT INTO card (card_key, card_id, node_key, vendor, model, card_index, origin, last_seen) "
                        "VALUES (?, ?, ?, 'nvidia', 'H800', ?, 'real', TIMESTAMP '2026-10-21 12:00:00')",
                        [n * 10 + i, f"G{n}{i}", n, i],
                    )
            cursor.execute(
                "INSERT INTO mapping_rule (rule_id, match, priority, department_id, valid_from, known_from, source) "
                "VALUES (1, 'slurm:nlp', 1, 'nlp', '2020-01-01', '2020-01-01', 't')"
            )
            cursor.execute(
                "INSERT INTO department (department_id, name, owner, valid_from, known_from) "
                "VALUES ('nlp', 'NLP', 'li.lei', '2020-01-01', '2020-01-01')"
            )

    def hold(self, key: int, name: str, cards: list[int], *, planned: float | None = None) -> None:
        with self.store.write() as cursor:
            cursor.execute(
                "INSERT INTO workload (workload_key, workload_id, kind, cluster_id, user_name, namespace, origin) "
                "VALUES (?, ?, 'slurm_job', 'dc1', 'han', 'nlp', 'real')",
                [key, name],
            )
            for card in cards:
                cursor.execute(
                    "INSERT INTO allocation (allocation_id, workload_key, card_key, node_key, share_nano, valid_from, known_from, "
                    "source, attributes) VALUES (nextval('allocation_number'), ?, ?, ?, 1000000000, '2026-10-21 08:00:00', "
                    "'2026-10-21 08:00:00', 't', ?)",
                    [
                        key,
                        card,
                        card // 10,
                        None if planned is None else json.dumps({"planned_end": planned}),
                    ],
                )

    def fleet(self, unheard: frozenset[int] = frozenset()) -> FleetNow:
        """What the fleet looks like now: every card but ``unheard`` has just spoken."""
        with self.store.write() as cursor:
            cursor.execute(
                "CREATE OR REPLACE VIEW card_sample AS SELECT card_key, TIMESTAMP '2026-10-21 11:59:55' AS time, "
                "0.0::FLOAT AS utilization_ratio, 0::UBIGINT AS memory_used_bytes, 1::UBIGINT AS memory_total_bytes, "
                "0.0::FLOAT AS memory_ratio, 70.0::FLOAT AS power_watts, 40.0::FLOAT AS temperature_celsius, 'ok' AS health, "
                "0.5::FLOAT AS sm_active_ratio, 0.0::FLOAT AS tensor_active_ratio, 0.0::FLOAT AS memory_bandwidth_ratio "
                f"FROM card WHERE card_key NOT IN ({', '.join(map(str, unheard)) or 0})"
            )
        return FleetNow(self.store.cursor, self.clock)

    def asked(self, named: str, begin: float = AT, end: float = END) -> Asked:
        return Asked(named, begin, end, "new firmware", "ada")


@pytest.fixture(autouse=True)
def _handlers() -> Iterator[None]:
    """A command logs to the stderr it was begun with; that one is gone after the test."""
    root = logging.getLogger()
    before = list(root.handlers), root.level
    yield
    root.handlers, root.level = before


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    found = Fleet(tmp_path)
    yield found
    found.store.close()


def test_a_plan_says_who_until_when_where_to_and_whom_to_tell(fleet: Fleet) -> None:
    fleet.hold(1, "slurm/dc1/1", [10, 11, 12])
    fleet.hold(2, "slurm/dc1/2", [13], planned=AT + 1800)
    fleet.hold(3, "slurm/dc1/3", [20, 21])
    found = work.plan(fleet.store, fleet.fleet(), fleet.asked("n1", AT + 3600))
    held = {hold["workload"]: hold for hold in found["held"]}
    assert set(held) == {"slurm/dc1/1", "slurm/dc1/2"}
    assert held["slurm/dc1/1"]["until"] == "unknown"
    assert held["slurm/dc1/2"]["until"] == "2026-10-21T12:30:00Z"
    assert (held["slurm/dc1/1"]["department"], held["slurm/dc1/1"]["owner"]) == ("nlp", "li.lei")
    assert found["over_before"] == ["slurm/dc1/2"]
    (move,) = found["moves"]
    assert (move["workload"], move["to_node"]) == ("slurm/dc1/1", "n3")  # n2 has two free, n3 and n4 four
    (message,) = found["messages"]
    assert (message["owner"], message["users"]) == ("li.lei", ["han"])
    assert "could go to n3" in message["text"]["en"] and "可迁往 n3" in message["text"]["zh"]
    assert found["window_id"] is None
    assert work.listed(fleet.store) == {"windows": []}


def test_isolated_faulty_and_silent_cards_and_nodes_of_other_windows_take_no_work(fleet: Fleet) -> None:
    fleet.hold(1, "slurm/dc1/1", [10, 11])
    with fleet.store.write() as cursor:
        cursor.execute(
            "INSERT INTO isolation (isolation_id, family, subject, reason, actuator, requested_by, isolated_at, placed, undo) "
            "VALUES (1, 'node', 'n2', 'x', 'test', 'ada', '2026-10-21', '{}', '{}')"
        )
    work.plan(fleet.store, fleet.fleet(), fleet.asked("n4"), announce=True)
    silent = frozenset({30, 31, 32})
    found = work.plan(fleet.store, fleet.fleet(silent), fleet.asked("n1"))
    (move,) = found["moves"]
    assert move["to_node"] is None
    assert move["why_not"] == "no node has 2 free H800; 1 are free in all"
    assert found["free_after"] == [{"cluster": "dc1", "node": "n3", "model": "H800", "cards": 1}]


def test_an_announcement_is_kept_and_is_in_the_audit_for_whoever_is_told(fleet: Fleet) -> None:
    fleet.hold(1, "slurm/dc1/1", [10])
    found = work.plan(fleet.store, fleet.fleet(), fleet.asked("n[1-2]"), announce=True)
    assert found["window_id"] == 1
    rows = fleet.store.cursor().execute("SELECT action, subject, reason FROM audit").fetchall()
    assert [row[:2] for row in rows] == [("maintenance_announced", "nlp")]
    assert "new firmware" in rows[0][2]
    assert [w["state"] for w in work.listed(fleet.store)["windows"]] == ["planned", "planned"]


def test_start_takes_out_end_gives_back_and_what_was_believed_stays(fleet: Fleet) -> None:
    work.plan(fleet.store, fleet.fleet(), fleet.asked("n1,n2", AT - 10), announce=True)
    dry = work.start(fleet.store, fleet.isolation, fleet.asked(""), window_id=1)
    assert not dry["executed"] and dry["failed"] == 0
    assert {w.state for w in believed(fleet.store.cursor())} == {"planned"}
    done = work.start(fleet.store, fleet.isolation, fleet.asked(""), window_id=1, execute=True)
    assert done["failed"] == 0
    rows = (
        fleet.store.cursor()
        .execute("SELECT subject, reason, expires_at FROM isolation ORDER BY subject")
        .fetchall()
    )
    assert rows == [("n1", "maintenance: new firmware", None), ("n2", "maintenance: new firmware", None)]
    ended = work.end(fleet.store, fleet.isolation, 1, reason="done", actor="ada", execute=True)
    assert ended["failed"] == 0
    released = (
        fleet.store.cursor().execute("SELECT released_by, released_at IS NOT NULL FROM isolation").fetchall()
    )
    assert released == [("ada", True)] * 2
    assert {w.state for w in believed(fleet.store.cursor())} == {"ended"}
    history = fleet.store.cursor().execute(
        "SELECT state FROM maintenance_window WHERE node_id = 'n1' ORDER BY known_to NULLS LAST, state DESC"
    )
    assert {row[0] for row in history.fetchall()} == {"planned", "started", "ended"}
    with pytest.raises(BadInput, match="nothing that is planned or started"):
        work.end(fleet.store, fleet.isolation, 1, reason="again", actor="ada", execute=True)


def test_a_node_that_is_refused_stops_no_other_and_stays_planned(fleet: Fleet) -> None:
    fleet.scheduler.refuses.add("n1")
    done = work.start(fleet.store, fleet.isolation, fleet.asked("n1,n2"), execute=True)
    assert done["failed"] == 1
    assert {w.node: w.state for w in believed(fleet.store.cursor())} == {"n1": "planned", "n2": "started"}
    ended = work.end(fleet.store, fleet.isolation, 1, reason="done", actor="ada", execute=True)
    assert ended["failed"] == 0
    assert {w.node: w.state for w in believed(fleet.store.cursor())} == {"n1": "cancelled", "n2": "ended"}


def test_in_window_lasts_as_long_as_it_does_and_not_as_long_as_was_planned(fleet: Fleet) -> None:
    windows: InWindow = Windows(fleet.store.cursor)
    work.plan(fleet.store, fleet.fleet(), fleet.asked("n1", AT + 100, AT + 200), announce=True)

    def seen(*moments: float) -> list[bool]:
        return [windows.in_window("dc1", "n1", "G10", AT + moment) for moment in moments]

    assert seen(99, 100, 199, 200) == [False, True, True, False]
    assert not windows.in_window("dc1", "n2", None, AT + 150)
    assert not windows.in_window("dc2", "n1", None, AT + 150)
    work.start(
        fleet.store, fleet.isolation, fleet.asked(""), window_id=1, execute=True
    )  # earlier than planned
    assert seen(-1, 0, 200, 90_000) == [False, True, True, True]
    work.end(fleet.store, fleet.isolation, 1, reason="done", actor="ada", execute=True)
    assert seen(0, 150) == [False, False]


@pytest.mark.parametrize(
    ("named", "says"),
    [
        ("n9", "no node that Ullage knows"),
        ("rack:r1", "no node is known"),
        ("", "at least one"),
        ("n[1-", "bracket"),
    ],
)
def test_what_names_no_node_is_refused(fleet: Fleet, named: str, says: str) -> None:
    with pytest.raises(BadInput, match=says):
        work.plan(fleet.store, fleet.fleet(), fleet.asked(named))


def test_the_ledger_calls_it_isolated_and_never_idle() -> None:
    world = World()
    world.card("G1")
    world.card("G2")
    world.isolate("n1", 2, 6, family="node", reason="maintenance: new firmware")
    States(world.db).make(WORLD_DAY.date(), LATER)
    lines = [line for line in world.lines() if us(2) <= line["from_us"] < us(6)]
    assert {(line["state"], line["reason"]) for line in lines} == {("isolated", "maintenance: new firmware")}
    assert sum(line["share_nano"] * (line["to_us"] - line["from_us"]) for line in lines) == 8 * NANO * HOUR
    assert "isolated" not in IDLE_STATES


def test_the_commands_plan_start_and_end(
    fleet: Fleet, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fleet.hold(1, "slurm/dc1/1", [10])
    fleet.store.close()
    config = tmp_path / "collector.toml"
    config.write_text(
        '[isolation]\nactuator = "command"\n[isolation.command]\nisolate = ["/bin/true", "{node_id}"]\nrelease = ["/bin/true", "{node_id}"]\nwhole_node = true\n'
    )
    common = ["--config", str(config), "--data", str(tmp_path), "maintenance"]
    to = ["--to", "2099-01-01T00:00:00Z", "--reason", "new firmware"]
    assert (
        main([*common, "plan", "n1", *to, "--announce", "--json"]) == 3
    )  # nobody was heard of: nowhere to go
    assert json.loads(capsys.readouterr().out)["window_id"] == 1
    assert main([*common, "start", "--window", "1"]) == 0
    assert "Nothing was changed" in capsys.readouterr().err
    assert main([*common, "list", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["windows"][0]["state"] == "planned"


# ---------------------------------------------------------------- the proposal
holds = st.builds(
    Hold,
    cluster=st.sampled_from(["a", "b"]),
    node=st.just("gone"),
    workload=st.text("xyz", min_size=1, max_size=2),
    model=st.sampled_from(["H800", "A800"]),
    share_nano=st.integers(1, 9 * NANO),
    since_us=st.just(0),
    until_us=st.none() | st.integers(0, 20),
    reserved=st.booleans(),
)
frees = st.builds(
    Free,
    st.sampled_from(["a", "b"]),
    st.text("mn", min_size=1, max_size=2),
    st.sampled_from(["H800", "A800"]),
    st.integers(0, 8),
)


@given(
    st.lists(holds, max_size=8), st.lists(frees, max_size=6, unique_by=lambda f: (f.cluster, f.node, f.model))
)
def test_no_card_is_promised_twice_and_every_hold_is_answered(
    given_holds: list[Hold], free: list[Free]
) -> None:
    found = propose(given_holds, free, 10)
    assert len(found.moves) + len(found.over_before) == len(given_holds)
    used: dict[Any, int] = {}
    for move in found.moves:
        if move.to is not None:
            key = (move.hold.cluster, move.hold.model, move.to)
            used[key] = used.get(key, 0) + move.hold.cards
        else:
            assert move.why
    left = {(f.cluster, f.model, f.node): f.cards for f in found.left}
    for item in free:
        key = (item.cluster, item.model, item.node)
        assert used.pop(key, 0) + left.pop(key, 0) == item.cards
    assert not used and not left


@pytest.mark.parametrize(
    ("limit", "over", "planned"),
    [(7200, False, True), (7200, True, False), (365 * 86_400, False, False), (None, False, False)],
)
def test_slurm_says_until_when_a_job_is_there_by_its_limit(
    limit: int | None, over: bool, planned: bool
) -> None:
    end = None if limit is None else 1_000 + limit
    job = SlurmJob(job_id=7, states=("RUNNING",), user="han", account="nlp", start=1_000, end=end)
    found = holding(Known("dc1"), job, over=over).attributes.get("planned_end")
    assert found == (end if planned else None)
