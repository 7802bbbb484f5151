"""Online inference by its requests: nobody asked for a day and a replica too many, or it stays a note."""

from __future__ import annotations

from typing import Any

import pytest
from tests.collector.fleet_world import at
from tests.collector.idle_world import Watched

from ullage_collector.detect.findings import Found
from ullage_collector.detect.idle_requests import Requests, Service, held_back, spare
from ullage_collector.detect.idle_rules import default_rules, rules_of
from ullage_contract.errors import ConfigError

RULES = default_rules().requests
LABELS = {"serving.kserve.io/inferenceservice": "chat"}
HOURS = 31.0
"""Busy for the first hour of the day, then 30 hours of quiet."""


class Chat(Watched):
    """A service of some replicas, each with a card that worked for an hour and is quiet since."""

    def __init__(self, replicas: int = 2, **settings: Any) -> None:
        labels = settings.pop("labels", LABELS)
        super().__init__(**settings)
        self.pods = [f"k8s/dc1/web/chat-{number}/u{number}" for number in range(replicas)]
        for number, pod in enumerate(self.pods):
            self.world.workload(pod, scenario="online_inference", labels=labels)
            self.world.card(f"G{number}", node=f"n{number}")
            self.world.hold(f"G{number}", pod, 0, None, node=f"n{number}")
            self.world.minutes(f"G{number}", 0, 1 + number / 10, 0.9)
            self.world.minutes(f"G{number}", 1 + number / 10, HOURS + 1, 0.0)
            self.hosts(f"n{number}", 0, HOURS + 1)

    def served(
        self,
        pod: int = 0,
        start: float = 0.0,
        end: float = HOURS,
        *,
        requests: float | None = 0.0,
        running: float | None = 0.0,
        source: str = "prom/vllm",
        target: str = "10.0.0.1:8000",
    ) -> None:
        """Rows of five minutes: ``requests`` in each."""
        workload = self.world.workloads[self.pods[pod]]
        self.world.db.execute(
            "DELETE FROM serving WHERE workload_key = ? AND source = ? AND target = ? AND start >= ? AND start < ?",
            [workload, source, target, at(start), at(end)],
        )
        self.world.db.execute(
            f"INSERT INTO serving SELECT ?, ?, ?, TIMESTAMP '{at(0)}' + to_minutes(m * 5), ?, NULL, NULL, ?, 0, "
            f"?, 0 FROM range({round(start * 12)}, {round(end * 12)}) r(m)",
            [
                workload,
                source,
                target,
                requests,
                running,
                0 if requests is None else 300_000_000,
            ],
        )

    def found(self) -> dict[str, Found]:
        """By subject, at the end."""
        return {one.subject: one for one in self.until(HOURS)}


def grades(found: dict[str, Found]) -> list[tuple[str | None, Any]]:
    return [(one.action, one.evidence["held_back_by"]) for _, one in sorted(found.items())]


def test_a_replica_nobody_asked_for_a_day_is_proposed_and_the_service_keeps_its_last() -> None:
    chat = Chat(3)
    for number in range(3):
        chat.served(number)
        chat.served(number, 2, 2.1, requests=4.0)
    found = chat.found()
    assert grades(found) == [
        ("propose_reclaim", None),
        ("propose_reclaim", None),
        ("note", "minimum_replicas"),
    ]
    evidence = found[chat.pods[0]].evidence
    assert evidence["requests"] == {
        "in_window": 0,
        "window_hours": 24.0,
        "known_ratio": 1.0,
        "running": 0.0,
        "waiting": 0.0,
        "last_request_before": "2026-10-07T02:05:00Z",
        "sources": "prom/vllm",
    }
    assert (evidence["service"], evidence["replicas"], evidence["minimum_replicas"]) == (
        "service/dc1/web/chat",
        3,
        1,
    )
    assert evidence["minimum_from"] == "minimum_default"


def test_one_request_in_the_window_keeps_a_replica_and_does_not_keep_the_other() -> None:
    chat = Chat(2)
    chat.served(0)
    chat.served(1)
    chat.served(1, 20, 20.1, requests=1.0)
    assert grades(chat.found()) == [("propose_reclaim", None), ("note", "requests_served")]


def test_a_request_that_runs_or_waits_is_use_though_none_has_ended() -> None:
    chat = Chat(2)
    chat.served(0, running=1.0)
    chat.served(1)
    assert grades(chat.found()) == [("note", "requests_served"), ("propose_reclaim", None)]


def test_what_is_known_in_part_is_unknown_and_never_idle() -> None:
    chat = Chat(2)
    chat.served(0)
    chat.world.db.execute("DELETE FROM serving WHERE start >= ? AND start < ?", [at(20), at(20.5)])
    chat.served(1, 8, HOURS)
    assert grades(chat.found()) == [("note", "request_metrics_partial"), ("note", "request_metrics_partial")]


def test_a_second_process_that_nobody_hears_makes_the_pod_unknown() -> None:
    chat = Chat(2)
    chat.served(0)
    chat.served(0, 0, 12, target="10.0.0.1:8001")
    assert grades(chat.found())[0] == ("note", "request_metrics_partial")


def test_two_sources_are_believed_where_either_saw_a_request() -> None:
    chat = Chat(2)
    chat.served(0)
    chat.served(0, 25, 25.1, source="otlp/vllm", requests=2.0)
    assert grades(chat.found())[0] == ("note", "requests_served")


def test_gauges_alone_are_no_request_metrics() -> None:
    chat = Chat(2)
    chat.served(0, requests=None, running=0.0)
    assert grades(chat.found())[0] == ("note", "no_request_metrics")


def test_busy_cards_are_no_finding_whatever_the_requests_say() -> None:
    chat = Chat(2)
    chat.served(0)
    chat.served(1)
    chat.world.minutes("G0", HOURS - 0.5, HOURS, 0.5)
    assert list(chat.found()) == [chat.pods[1]]


@pytest.mark.parametrize(
    ("settings", "labels", "expected", "said"),
    [
        (
            {"minimum_replicas": {"k8s/dc1/web/chat-*": 0}},
            LABELS,
            2,
            "[idle.minimum_replicas] k8s/dc1/web/chat-*",
        ),
        ({"minimum_replicas": {"k8s/dc1/web/*": 2}}, LABELS, 0, "[idle.minimum_replicas] k8s/dc1/web/*"),
        ({}, LABELS | {"ullage.dev/min-replicas": "0"}, 2, "ullage.dev/min-replicas"),
        ({}, LABELS | {"ullage.dev/min-replicas": "many"}, 1, "minimum_default"),
        ({}, {}, 0, "minimum_default"),
    ],
)
def test_the_minimum_is_a_setting_a_label_or_the_last_replica(
    settings: dict[str, Any], labels: dict[str, str], expected: int, said: str
) -> None:
    chat = Chat(2, labels=labels, **settings)
    for number in range(2):
        chat.served(number)
    found = chat.found()
    assert sum(one.action == "propose_reclaim" for one in found.values()) == expected
    assert {one.evidence["minimum_from"] for one in found.values()} == {said}


def test_work_nobody_said_the_purpose_of_is_online_inference_where_its_requests_are_counted() -> None:
    chat = Chat(3)
    chat.world.db.execute("UPDATE workload SET scenario = NULL")
    chat.served(0)
    chat.served(1)
    found = chat.found()
    assert [
        (one.evidence["use"], *grade) for one, grade in zip(found.values(), grades(found), strict=True)
    ] == [
        ("online_inference", "propose_reclaim", None),
        ("online_inference", "propose_reclaim", None),
        ("unknown", "note", "scenario_unknown"),
    ]


@pytest.mark.parametrize("lost", ["telemetry", "card"])
def test_a_replica_that_nobody_hears_or_that_stands_on_a_broken_card_serves_nobody(lost: str) -> None:
    chat = Chat(3, minimum_replicas={"k8s/dc1/web/chat-*": 2})
    for number in range(2):
        chat.served(number)
    if lost == "telemetry":
        chat.world.db.execute(
            "DELETE FROM card_minute WHERE minute >= ? AND card_key = (SELECT card_key FROM card WHERE card_id = 'G2')",
            [at(20)],
        )
    else:
        chat.world.incident("G2", 20, None)
    found = chat.found()
    assert grades({name: found[name] for name in chat.pods[:2]}) == [("note", "minimum_replicas")] * 2
    assert found[chat.pods[0]].evidence["replicas"] == 2


def test_pods_of_one_controller_are_replicas_of_one_service() -> None:
    chat = Chat(2, labels={})
    chat.world.db.execute(
        """UPDATE workload SET attributes = '{"owner_kind": "Deployment", "owner": "chat"}' WHERE workload_id LIKE 'k8s/%'"""
    )
    for number in range(2):
        chat.served(number)
    found = chat.found()
    assert grades(found) == [("propose_reclaim", None), ("note", "minimum_replicas")]
    assert found[chat.pods[0]].evidence["service"] == "service/dc1/web/Deployment/chat"


def test_of_idle_replicas_the_longest_quiet_may_go_and_no_more_than_are_too_many() -> None:
    service = Service("s", 5, 3, "minimum_default")
    idle = [("c", service, 30.0), ("a", service, 10.0), ("b", service, 20.0)]
    assert spare(idle) == {"a", "b"}
    assert spare([("a", Service("s", 1, 1, ""), 1.0)]) == spare([]) == set()


def test_what_holds_requests_back() -> None:
    day = RULES.window_seconds
    assert held_back(None, RULES) == "no_request_metrics"
    assert held_back(Requests(None, 0, 0, 0, None, ()), RULES) == "no_request_metrics"
    assert held_back(Requests(None, day, 0, 0, None, ()), RULES) == "request_metrics_partial"
    assert held_back(Requests(0, day * 0.98, 0, 0, None, ()), RULES) == "request_metrics_partial"
    assert held_back(Requests(0, day, None, None, None, ()), RULES) is None, "a system may have no gauges"
    assert held_back(Requests(1, 60, 0, 0, None, ()), RULES) == "requests_served"


def test_of_two_workloads_of_one_gang_the_less_known_bounds_and_both_count() -> None:
    leader = Requests(2, 86_400, 1, None, 10, ("a",))
    worker = Requests(None, 600, None, 3, 20, ("b",))
    assert leader.together(worker) == worker.together(leader) == Requests(2, 600, 1, 3, 20, ("a", "b"))
    assert leader.together(leader).in_window == 4
    assert leader.besides(worker) == Requests(2, 86_400, 1, 3, 20, ("a", "b"))


def test_a_wrong_minimum_says_so() -> None:
    with pytest.raises(ConfigError, match="whole number"):
        rules_of({"minimum_replicas": {"k8s/*": -1}})
