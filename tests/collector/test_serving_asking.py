"""Requests asked of a Prometheus: each counted once for who held the card then, and no server stops anything."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.collector.fleet_world import at
from tests.collector.serving_world import NOON, ServingStore, matrix, source

from ullage_collector import metrics
from ullage_collector.serving import prometheus
from ullage_contract.errors import BadInput


def test_a_minute_asked_becomes_requests_and_tokens_of_the_pod_that_held(served: ServingStore) -> None:
    served.prometheus.vllm("chat-0", lambda at: 1000 + (at - NOON) // 60 * 2)
    assert served.rounds(5) == [True] * 5
    requests, prompt, generated, minutes = served.sums()
    assert (requests, prompt, generated, minutes) == (2 * 64 - 2, 20 * 63, 200 * 63, 63), (
        "the hour before is told at once"
    )
    assert served.sums(2) == (None,) * 4


def test_an_outage_is_caught_up_and_the_sums_are_those_without_it(
    served: ServingStore, tmp_path: Path, empty_store: Path
) -> None:
    def requests(at: float) -> float:
        return (at - NOON + 7200) // 60 * 3

    served.prometheus.vllm("chat-0", requests)
    served.rounds(3)
    served.prometheus.dead = True
    assert served.rounds(30) == [False] * 30
    assert len(served.prometheus.questions) < 3 + 5 + 31, "a dead server is asked once a round"
    served.prometheus.dead = False
    served.rounds(3)
    steady = ServingStore(tmp_path / "steady", empty_store)
    steady.prometheus.vllm("chat-0", requests)
    steady.rounds(36)
    assert served.sums() == steady.sums()
    steady.store.close()


def test_a_server_for_which_it_is_too_much_is_asked_for_less(served: ServingStore) -> None:
    served.prometheus.vllm("chat-0", lambda at: at // 60)
    served.prometheus.most_points = 100
    assert served.rounds(4) == [False, False, True, True]
    assert served.sums()[3] == 60
    steps = [(int(q["end"]) - int(q["start"])) // 60 + 1 for q in served.prometheus.questions]
    assert steps[0] == 60
    assert min(steps) < 30


def test_the_collectors_own_metrics_say_whether_a_source_answers(served: ServingStore) -> None:
    def page() -> str:
        return "\n".join(metrics._serving("c", served.health))

    served.prometheus.vllm("chat-0", lambda at: at // 60)
    served.prometheus.vllm("nobody", lambda at: at // 60)
    assert 'up{source="prom"}' not in page()
    served.rounds(1)
    assert 'c_serving_source_up{source="prom"} 1' in page()
    assert (
        f'c_serving_source_ownerless_total{{source="prom"}} {served.health.serving["prom"].ownerless}'
        in page()
    )
    assert served.health.serving["prom"].ownerless == served.health.serving["prom"].readings > 0
    served.prometheus.dead = True
    served.rounds(2)
    assert 'c_serving_source_up{source="prom"} 0' in page()
    assert 'c_serving_source_failures_total{source="prom"} 2' in page()


def test_what_lies_further_back_than_the_bound_stays_unknown(served: ServingStore) -> None:
    served.prometheus.vllm("chat-0", lambda at: 0.0)
    served.rounds(1)
    served.clock.advance(3 * 3600)
    served.rounds(2)
    minutes = served.sums()[3]
    assert 115 <= minutes <= 125, "the hour before the outage and the last one of it"


@pytest.mark.parametrize(
    "said",
    [
        b"",
        b"<html>login</html>",
        b"[]",
        b'{"status": "error", "error": "parse error"}',
        b'{"status": "success", "data": {"resultType": "vector", "result": []}}',
        json.dumps(matrix([{"metric": {}, "values": [["x", "1"]]}])).encode(),
        json.dumps(matrix([{"metric": [], "values": []}])).encode(),
        b"[" * 100_000,
    ],
)
def test_garbage_is_no_answer_and_nothing_is_kept_of_it(
    served: ServingStore, said: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    served.prometheus.said = said
    assert served.rounds(3) == [False] * 3
    assert served.rows("SELECT * FROM serving") == served.rows("SELECT * FROM serving_asked") == []
    assert sum("unknown meanwhile" in r.message for r in caplog.records) == 1, "told once"
    served.prometheus.said = None
    served.prometheus.vllm("chat-0", lambda at: at // 60)
    assert served.rounds(1) == [True]


@pytest.mark.parametrize(
    "beside",
    [{"isPartial": True}, {"warnings": ["fetch series for {store=2}: rpc error: Unavailable"]}],
    ids=["VictoriaMetrics", "Thanos"],
)
def test_a_part_of_an_answer_is_none_and_is_asked_for_again(
    served: ServingStore, beside: dict[str, Any]
) -> None:
    count = [0]
    served.prometheus.vllm("chat-0", lambda at: (at - NOON) // 60)
    served.rounds(3)
    known = served.sums()
    fetch = served.prometheus.fetch

    def part(*asked: Any) -> bytes:
        count[0] += 1
        return json.dumps({**json.loads(fetch(*asked)), **beside}).encode()

    served.watch._fetch = part
    assert served.rounds(4) == [False] * 4 and count == [4]
    assert served.sums() == known
    served.watch._fetch = fetch
    assert served.rounds(4)[-1] and served.sums()[0] == known[0] + 8


@pytest.mark.parametrize(
    "beside",
    [
        {"isPartial": False, "warnings": []},
        {"warnings": ["PromQL info: metric might not be a counter"]},
        {"infos": ["PromQL info: x"]},
        {"warnings": ["No StoreAPIs matched for this query"], "data": {"resultType": "matrix", "result": []}},
    ],
)
def test_notes_and_a_time_before_the_first_store_stop_nothing(
    served: ServingStore, beside: dict[str, Any]
) -> None:
    fetch = served.prometheus.fetch
    served.watch._fetch = lambda *asked: json.dumps({**json.loads(fetch(*asked)), **beside}).encode()
    assert served.rounds(2) == [True, True]


_GOOD = matrix(
    [
        {
            "metric": {
                "__name__": "vllm:request_success_total",
                "namespace": "web",
                "pod": "chat-0",
                "instance": "i",
            },
            "values": [[60, "1"], [120, "2"]],
        }
    ]
)
_LEAVES = st.one_of(
    st.none(), st.booleans(), st.integers(-(10**30), 10**400), st.floats(), st.text(max_size=3), st.just([]), st.just({}),
    st.just([1]), st.just([[1, 2, 3]]), st.just("9" * 5000),
)  # fmt: skip


@given(st.lists(st.tuples(st.integers(0, 14), _LEAVES), min_size=1, max_size=3))
@settings(max_examples=300, deadline=None)
def test_whatever_a_server_answers_is_readings_or_bad_input(changes: list[tuple[int, Any]]) -> None:
    document = copy.deepcopy(_GOOD)
    for place, value in changes:
        paths: list[tuple[Any, Any]] = []
        todo: list[Any] = [document]
        while todo:
            one = todo.pop()
            for key in list(one) if isinstance(one, dict) else range(len(one)):
                paths.append((one, key))
                if isinstance(one[key], dict | list):
                    todo.append(one[key])
        if paths:
            holder, key = paths[place % len(paths)]
            holder[key] = copy.deepcopy(value)

    def fetch(*_: Any) -> bytes:
        return json.dumps(document).encode()

    try:
        answer = prometheus.ask(source(), 60, 120, fetch)
    except BadInput:
        return
    for reading in answer.readings:
        assert reading.value >= 0
        assert 60 <= reading.time <= 120
        assert reading.workload.startswith("k8s/dc1/")


def test_series_without_a_workload_nan_and_other_peoples_pods_add_nothing(
    served: ServingStore, caplog: pytest.LogCaptureFixture
) -> None:
    served.prometheus.add("vllm:request_success_total", lambda at: at, instance="x")
    served.prometheus.vllm("nobody", lambda at: at)
    served.prometheus.vllm("chat-0", lambda at: float("nan"))
    served.rounds(3)
    assert served.sums()[0] is None
    assert "no labels that name a workload" in caplog.text
    assert served.rows("SELECT count(*) FROM serving WHERE requests IS NOT NULL") == [(0,)]


def test_two_scrapes_or_two_servers_of_one_process_count_once(served: ServingStore) -> None:
    def requests(at: float) -> float:
        return at // 60

    for job in ("annotations", "podmonitor"):
        for replica in ("a", "b"):
            served.prometheus.vllm("chat-0", requests, job=job, prometheus_replica=replica)
    served.rounds(2)
    assert served.sums()[0] == 60


def test_two_processes_of_one_pod_add_up_and_the_least_known_one_bounds_the_hour(
    served: ServingStore,
) -> None:
    served.prometheus.vllm("chat-0", lambda at: at // 60, instance="10.0.0.1:8000")
    served.prometheus.vllm(
        "chat-0", lambda at: at // 60 if at > NOON - 1200 else None, instance="10.0.0.1:8001"
    )
    served.rounds(1)
    ((requests, covered, replicas),) = served.rows(
        "SELECT requests, covered_seconds, replicas FROM serving_hour ORDER BY hour LIMIT 1"
    )
    assert (requests, covered, replicas) == (59 + 19, 19 * 60, 2)


def test_ranks_of_one_sglang_say_the_same_and_are_read_once(served: ServingStore) -> None:
    for rank in ("0", "1", "2", "3"):
        served.prometheus.add(
            "sglang:num_running_reqs",
            lambda at: 2.0,
            namespace="web",
            pod="chat-0",
            instance="i",
            tp_rank=rank,
        )
    served.rounds(1)
    assert served.rows("SELECT DISTINCT running, requests FROM serving") == [(2.0, None)]


def test_a_counter_not_shown_is_unknown_unless_the_site_says_that_nothing_is_dropped(
    tmp_path: Path, empty_store: Path
) -> None:
    for says, expected in ((False, None), (True, 0.0)):
        made = ServingStore(tmp_path / str(says), empty_store, absent_is_zero=says)
        made.prometheus.add(
            "sglang:num_running_reqs", lambda at: 0.0, namespace="web", pod="chat-0", instance="i"
        )
        made.rounds(1)
        assert made.sums()[0] == expected
        made.prometheus.add(
            "sglang:num_requests_total",
            lambda at: 4.0 if at > NOON else None,
            namespace="web",
            pod="chat-0",
            instance="i",
        )
        made.rounds(3)
        assert made.sums()[0] == 4.0, "it began beside its process"
        made.store.close()


def test_a_pods_name_given_again_is_the_pod_that_held_then(tmp_path: Path, empty_store: Path) -> None:
    made = ServingStore(tmp_path, empty_store)
    with made.store.write() as cursor:
        cursor.execute("UPDATE allocation SET valid_to = ? WHERE workload_key = 1", [at(11.5)])
        cursor.execute("UPDATE workload SET workload_id = 'k8s/dc1/web/chat-0/u2' WHERE workload_key = 2")
        cursor.execute("UPDATE allocation SET valid_from = ? WHERE workload_key = 2", [at(11.5)])
    made.prometheus.vllm(
        "chat-0", lambda at: (at - NOON + 3600) // 60 if at < NOON - 1800 else (at - NOON + 1800) // 60
    )
    made.rounds(1)
    assert made.sums(1)[0] == 28, "11:01 to 11:29"
    assert made.sums(2)[0] == 30, "11:30 to noon"
    made.store.close()


def test_a_store_that_refuses_leaves_the_question_to_be_asked_again(
    served: ServingStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    served.prometheus.vllm("chat-0", lambda at: at // 60)
    served.rounds(2)
    before = served.sums()

    def refuse(*_: Any, **__: Any) -> Any:
        raise RuntimeError("killed here")

    with monkeypatch.context() as patched:
        patched.setattr("ullage_collector.serving.watch.write", refuse)
        with pytest.raises(RuntimeError):
            served.rounds(1)
    assert served.sums() == before
    served.rounds(1)
    assert served.sums()[0] == before[0] + 2


def test_a_question_names_every_metric_and_the_sites_matchers_and_carries_its_token(tmp_path: Path) -> None:
    secret = tmp_path / "token"
    secret.write_text("s3cret\n")
    headers: dict[str, str] = {}

    def fetch(_: Any, url: str, sent: Any) -> bytes:
        headers.update(sent)
        return json.dumps(matrix([])).encode()

    asked = source(match=['team="a"'], systems=["vllm"], token_file=str(secret), tenant="ml")
    assert prometheus.ask(asked, 60, 120, fetch).readings == []
    assert headers["Authorization"] == "Bearer s3cret"
    assert headers["X-Scope-OrgID"] == "ml"
    assert prometheus.expression(asked) == (
        'last_over_time({__name__=~"vllm:generation_tokens_total|vllm:num_requests_running|vllm:num_requests_waiting|'
        'vllm:prompt_tokens_total|vllm:request_success_total",team="a"}[120s])'
    )
