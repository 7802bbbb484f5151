"""What becomes news: once, in time, nothing of before the first look, nothing lost when numbers come late."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.collector.notify_world import AT, target

from ullage_collector import audit
from ullage_collector.audit import AuditRow, naive_utc
from ullage_collector.config import Store as StoreSettings
from ullage_collector.notify import outbox, sources
from ullage_collector.notify.news import News
from ullage_collector.notify.texts import FIELDS, catalogue
from ullage_collector.store.store import Store
from ullage_contract.clock import ManualClock
from ullage_contract.event import Severity


class World:
    def __init__(self, store: Store, clock: ManualClock) -> None:
        self.store, self.clock = store, clock

    def look(self) -> list[News]:
        """One look, kept as the service keeps it."""
        cursor = self.store.cursor()
        found = sources.look(cursor, self.clock.wall())
        cursor.close()
        with self.store.write() as writer:
            sources.keep(writer, found)
            outbox.put(
                writer,
                [target("webhook", url="http://x", events=["*"], severity="info")],
                found.news,
                self.clock.wall(),
            )
        return list(found.news)

    def events(self) -> list[str]:
        return [f"{item.event} {item.subject}" for item in self.look()]

    def run(self, sql: str, *parameters: Any) -> None:
        with self.store.write() as cursor:
            cursor.execute(sql, list(parameters))

    def incident(self, number: int, severity: str = "critical", *, history: bool = False) -> None:
        self.run(
            "INSERT INTO incident (incident_id, family, subject, cause, severity, onset, opened_at, confirmed, action, evidence, "
            "history, origin) VALUES (?, 'card', ?, 'xid-79', ?, ?, ?, true, 'isolate_card', '[]', ?, 'real')",
            number, f"GPU-{number}", severity, naive_utc(self.clock.wall() - 5), naive_utc(self.clock.wall()), history,
        )  # fmt: skip


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    clock = ManualClock(wall=AT)
    store = Store.open(tmp_path / "store.duckdb", StoreSettings(threads=1), clock)
    found = World(store, clock)
    found.run("INSERT INTO node (node_key, cluster_id, node_id, origin) VALUES (1, 'dc1', 'n1', 'real')")
    found.run(
        "INSERT INTO card (card_key, card_id, node_key, vendor, model, origin) VALUES (2, 'GPU-5', 1, 'nvidia', 'H800', 'real')"
    )
    yield found
    store.close()


def test_what_is_there_at_the_first_look_is_told_to_nobody(world: World) -> None:
    world.incident(1)
    assert world.look() == []
    assert world.look() == []
    world.incident(5)
    (opened,) = world.look()
    assert (opened.event, opened.cluster, opened.node) == ("incident_opened", "dc1", "n1")
    assert opened.details["model"] == "H800"
    world.run("UPDATE incident SET closed_at = opened_at, closed_by = 'release'")
    assert world.events() == ["incident_ended GPU-5"]
    assert world.look() == []


def test_getting_worse_is_news_and_getting_better_is_not(world: World) -> None:
    world.look()
    world.incident(1, "warning")
    assert world.events() == ["incident_opened GPU-1"]
    world.run("UPDATE incident SET severity = 'fatal'")
    (worse,) = world.look()
    assert (worse.event, worse.severity, worse.severity_before) == (
        "incident_worsened",
        Severity.FATAL,
        Severity.WARNING,
    )
    world.run("UPDATE incident SET severity = 'critical'")
    assert world.look() == []
    world.run("UPDATE incident SET action = 'replace'")
    assert world.events() == ["incident_worsened GPU-1"]
    assert len(sources.standing(world.store.cursor())) == 1


def test_history_is_a_record_and_no_news(world: World) -> None:
    world.look()
    world.incident(1, history=True)
    assert world.look() == []
    world.run("UPDATE incident SET closed_at = opened_at")
    assert world.look() == []


def test_shadow_and_parts_of_another_incident_are_not_told_until_they_are_more(world: World) -> None:
    world.look()
    world.incident(1)
    world.incident(2)
    world.run("UPDATE incident SET \"mode\" = 'shadow' WHERE incident_id = 1")
    world.run("UPDATE incident SET parent_id = 1 WHERE incident_id = 2")
    assert world.look() == []
    world.run("UPDATE incident SET \"mode\" = 'advise', parent_id = NULL")
    assert world.events() == ["incident_opened GPU-1", "incident_opened GPU-2"]
    world.run("UPDATE incident SET parent_id = 1 WHERE incident_id = 2")
    assert world.look() == []
    world.run("UPDATE incident SET closed_at = opened_at WHERE incident_id = 2")
    assert world.events() == ["incident_ended GPU-2"]  # who was told of it hears of its end


def test_history_that_gets_fresh_evidence_is_news(world: World) -> None:
    world.look()
    world.incident(1, history=True)
    assert world.look() == []
    world.run("UPDATE incident SET history = false")
    assert world.events() == ["incident_opened GPU-1"]


def test_a_smaller_number_that_commits_later_is_not_lost(world: World) -> None:
    world.look()
    world.incident(100)
    assert world.events() == ["incident_opened GPU-100"]
    world.incident(99)
    assert world.events() == ["incident_opened GPU-99"]
    assert world.look() == []


def test_isolations_and_what_the_audit_says(world: World) -> None:
    world.look()
    world.run(
        "INSERT INTO isolation (isolation_id, family, subject, reason, actuator, requested_by, isolated_at, placed, undo) "
        "VALUES (1, 'card', 'GPU-5', 'xid 79', 'slurm-node', 'ada', '2026-10-21', '{}', '{}')"
    )
    with world.store.write() as cursor:
        for action in ("isolate", "freeze", "unfreeze", "ask_approval", "breaker", "page", "approve"):
            audit.write(cursor, AuditRow(AT, "ada", action, "GPU-5", "because", "done"))
    assert world.events() == [
        "isolated GPU-5", "freeze GPU-5", "unfreeze GPU-5", "approval GPU-5", "breaker GPU-5", "page GPU-5",
    ]  # fmt: skip
    world.run("UPDATE isolation SET released_at = '2026-10-21', released_by = 'bob'")
    (released,) = world.look()
    assert (released.event, released.details["by"], released.about) == ("released", "bob", "isolation/1")


def test_a_page_for_an_approval_is_told_as_one(world: World) -> None:
    world.look()
    with world.store.write() as cursor:
        audit.write(cursor, AuditRow(AT, "policy", "page", "GPU-5", "xid 79", "waits for approval"))
        audit.write(cursor, AuditRow(AT, "policy", "page", "GPU-5", "xid 79", "three nodes show the same"))
    assert world.events() == ["approval GPU-5", "page GPU-5"]


@pytest.mark.parametrize("by", ["failed", "joined"])
def test_an_isolation_of_which_nothing_was_given_back_is_not_told_as_released(world: World, by: str) -> None:
    world.look()
    world.run(
        "INSERT INTO isolation (isolation_id, family, subject, reason, actuator, requested_by, isolated_at, placed, undo) "
        "VALUES (1, 'card', 'GPU-5', 'xid 79', 'slurm-node', 'ada', '2026-10-21', '{}', '{}')"
    )
    world.look()
    world.run("UPDATE isolation SET released_at = '2026-10-21', released_by = ?", by)
    assert world.look() == []


def test_findings_open_and_end_with_their_kind(world: World) -> None:
    world.look()
    world.run(
        "INSERT INTO finding (finding_id, kind, family, subject, since, evidence, confidence) "
        "VALUES (1, 'unlisted_card', 'card', 'GPU-5', '2026-10-21', '{}', 1.0)"
    )
    (opened,) = world.look()
    assert (opened.event, opened.kind) == ("finding_opened", "unlisted_card")
    assert target("webhook", url="http://x", events=["finding:unlisted*"]).wants(opened)
    assert not target("webhook", url="http://x").wants(opened)
    world.run("UPDATE finding SET until = '2026-10-22'")
    assert world.events() == ["finding_ended GPU-5"]


def test_a_day_that_is_not_published_in_time_is_late_once_and_then_comes(world: World) -> None:
    world.run("INSERT INTO published VALUES ('facts', '2026-10-19', 1, 'sealed', 'x', '2026-10-20', NULL)")
    world.look()  # noon of the 21st: the 20th is late already, and that is not news of a first look
    world.clock.advance(17.9 * 3600)
    assert world.look() == []
    world.clock.advance(0.2 * 3600)
    assert world.events() == ["report_late 2026-10-21"]
    assert world.look() == []
    world.run(
        "INSERT INTO published VALUES ('facts', '2026-10-21', 1, 'provisional', 'x', '2026-10-22', NULL)"
    )
    assert world.events() == ["report_came 2026-10-21"]
    assert world.look() == []


def test_a_burst_larger_than_one_look_comes_whole(world: World) -> None:
    world.look()
    world.run(
        "INSERT INTO incident (incident_id, family, subject, cause, severity, onset, opened_at, confirmed, action, evidence, "
        "history, origin) SELECT n, 'card', 'GPU-x' || n, 'x', 'fatal', '2026-10-21', '2026-10-21', true, 'reset', '[]', false, "
        "'real' FROM range(1, 1201) r(n)"
    )
    found = world.look() + world.look() + world.look()
    assert len({item.key for item in found}) == 1200 == len(found)


def test_both_languages_say_the_same_things() -> None:
    zh, en = catalogue("zh"), catalogue("en")

    def shape(table: Any) -> Any:
        return {key: shape(value) for key, value in table.items()} if isinstance(table, dict) else None

    assert shape(zh) == shape(en)
    assert set(FIELDS) == set(en["label"])


def test_a_freeze_stands_until_it_is_taken_back(world: World) -> None:
    world.look()

    def write(action: str) -> None:
        with world.store.write() as cursor:
            audit.write(cursor, AuditRow(AT, "ada", action, None, "because", "done"))

    def stands() -> list[str]:
        return [item.event for item in sources.standing(world.store.cursor())]

    write("freeze")
    (frozen,) = world.look()
    assert (frozen.subject, frozen.stands, stands()) == ("fleet", True, ["freeze"])
    write("unfreeze")
    (thawed,) = world.look()
    assert (thawed.ends, thawed.about, stands()) == (True, frozen.about, [])
    write("freeze")
    write("unfreeze")
    write("freeze")
    assert len(world.look()) == 3
    assert stands() == ["freeze"]
