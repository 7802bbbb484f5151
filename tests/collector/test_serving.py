"""Requests of serving systems: each counted once, what is not known is not zero, and no Prometheus stops anything."""

from __future__ import annotations

import copy
import itertools
import json
import random
import shutil
import tomllib
from dataclasses import fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.collector.fleet_world import DAY, at, us
from tests.collector.serving_world import MadePrometheus, matrix, source

from ullage_collector import metrics, published
from ullage_collector.config import Store as StoreSettings
from ullage_collector.health import Health, ServingHealth
from ullage_collector.published import Published
from ullage_collector.serving import prometheus
from ullage_collector.serving.book import keep
from ullage_collector.serving.counting import SPAN_US, Process, Reading, count
from ullage_collector.serving.settings import Source, sources_of
from ullage_collector.serving.systems import by_prefix, parse, shipped
from ullage_collector.serving.watch import ServingWatch
from ullage_collector.sql import migrations
from ullage_collector.store.retention import Retention
from ullage_collector.store.store import Store
from ullage_contract.clock import ManualClock
from ullage_contract.errors import BadInput, ConfigError
from ullage_contract.served import KINDS, Served

POD = "k8s/dc1/web/chat-0/u1"
NOON = DAY.timestamp() + 12 * 3600
P = Process(1, "prom/vllm", "10.0.0.1:8000")
MINUTE = 60_000_000


class ServingStore:
    """A store in which a pod holds a card, and a watch on a made Prometheus; the clock is the test's."""

    empty: Path
    """A store with nothing in it, made once: a copy opens sooner than a new one is made."""

    def __init__(self, folder: Path, **settings: Any) -> None:
        self.prometheus = MadePrometheus()
        self.clock = ManualClock(wall=NOON)
        folder.mkdir(exist_ok=True)
        shutil.copyfile(self.empty, folder / "store.duckdb")
        self.store = Store.open(folder / "store.duckdb", StoreSettings(threads=1), self.clock)
        with self.store.write() as cursor:
            for key, name, start in ((1, POD, at(0)), (2, "k8s/dc1/web/chat-1/u2", at(0))):
                cursor.execute(
                    "INSERT INTO workload (workload_key, workload_id, kind, cluster_id, origin) "
                    "VALUES (?, ?, 'kubernetes_pod', 'dc1', 'real')",
                    [key, name],
                )
                cursor.execute(
                    "INSERT INTO allocation (allocation_id, workload_key, node_key, share_nano, valid_from, known_from, source, "
                    "\"rank\") VALUES (?, ?, 7, 1000000000, ?, ?, 'test', 'work')",
                    [key, key, start, start],
                )
        self.source = source(back_seconds=3600, **settings)
        self.health = Health()
        self.health.serving["prom"] = ServingHealth()
        self.watch = ServingWatch(
            lambda: self.store, self.source, self.health.serving["prom"], self.prometheus.fetch
        )

    def rounds(self, minutes: int) -> list[bool]:
        """So many rounds, one a minute."""
        answered = []
        for _ in range(minutes):
            self.clock.advance(60)
            answered.append(self.watch.round())
        return answered

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        cursor = self.store.cursor()
        try:
            return cursor.execute(query).fetchall()
        finally:
            cursor.close()

    def sums(self, key: int = 1) -> tuple[Any, ...]:
        """(requests, prompt tokens, generated tokens, covered minutes) of one workload."""
        (found,) = self.rows(
            "SELECT sum(requests), sum(prompt_tokens), sum(generated_tokens), sum(covered_us) / 6e7 FROM serving "
            f"WHERE workload_key = {key}"
        )
        return found


@pytest.fixture(scope="module", autouse=True)
def _empty_store(tmp_path_factory: pytest.TempPathFactory) -> None:
    ServingStore.empty = tmp_path_factory.mktemp("empty") / "store.duckdb"
    Store.open(ServingStore.empty, StoreSettings(threads=1), ManualClock(wall=NOON)).close()


@pytest.fixture
def served(tmp_path: Path) -> Any:
    made = ServingStore(tmp_path)
    yield made
    made.store.close()


# ------------------------------------------------------------------------------- counting
def readings(
    *values: float | None, series: str = "s", kind: str = "requests", start: int = 0
) -> list[Reading]:
    """One a minute; None: the process does not show it then."""
    return [
        Reading(P, series, kind, (start + n) * MINUTE, value)
        for n, value in enumerate(values)
        if value is not None
    ]


def total(found: Any, kind: str = "requests") -> float | None:
    values = [getattr(span, kind) for span in found.spans.values() if getattr(span, kind) is not None]
    return sum(values) if values else None


def test_a_counter_that_falls_began_anew_and_counts_from_nothing() -> None:
    found = count(readings(100, 103, 2, 5), {}, ())
    assert total(found) == 3 + 2 + 3
    assert sum(span.resets for span in found.spans.values()) == 1
    assert sum(span.covered_us for span in found.spans.values()) == 3 * MINUTE


def test_the_first_reading_says_nothing_of_what_was_before() -> None:
    found = count(readings(5000), {}, ())
    assert total(found) is None
    assert count(readings(7, start=2), found.last, ()).spans[P, 0].requests == 7, (
        "it fell: what it shows came since"
    )


def test_no_request_in_minutes_that_are_known_is_zero_and_in_others_unknown() -> None:
    found = count(readings(4, 4, 4), {}, ())
    assert total(found) == 0
    assert total(count(readings(1, 1, kind="running"), {}, ())) is None


def test_a_counter_made_at_first_use_counts_whole_where_its_process_was_seen_before_it() -> None:
    seen = readings(0, 0, 1, kind="running")
    lazy = count([*seen, *readings(None, None, 3)], {}, ("prom/vllm",))
    assert total(lazy) == 3
    assert total(count([*seen, *readings(None, None, 3)], {}, ())) is None
    assert total(count(readings(3), {}, ("prom/vllm",))) is None, "nobody saw it before: it may be years old"


def test_a_short_silence_is_bridged_a_long_one_stays_unknown_and_its_sum_is_kept() -> None:
    short = count([*readings(10, 11), *readings(20, start=10)], {}, ())
    assert (total(short), sum(s.covered_us for s in short.spans.values())) == (10, 10 * MINUTE)
    long = count([*readings(10, 11), *readings(20, start=60)], {}, ())
    assert (total(long), sum(s.covered_us for s in long.spans.values())) == (10, MINUTE)


def test_values_that_are_none_are_counted_and_change_nothing() -> None:
    found = count([*readings(5, float("nan"), float("inf"), -1.0, 6)], {}, ())
    assert (total(found), found.strange) == (1, 3)


def test_any_order_any_batching_and_any_repetition_give_the_same_sums() -> None:
    chance = random.Random(4)
    true = list(itertools.accumulate(chance.choice((0, 0, 1, 5)) for _ in range(60)))
    whole = count(readings(*true), {}, ())
    for _ in range(20):
        cuts = sorted(chance.sample(range(1, 60), 5))
        known: dict[Any, Any] = {}
        spans: dict[Any, list[Any]] = {}
        for start, end in zip([0, *cuts], [*cuts, 60], strict=True):
            # each batch brings the last minutes of the one before again, in any order
            batch = [r for r in readings(*true) if max(0, start - 3) * MINUTE <= r.at_us < end * MINUTE]
            chance.shuffle(batch)
            part = count(batch, known, ())
            known = {P: known.get(P, {}) | part.last.get(P, {})}
            for key, span in part.spans.items():
                spans.setdefault(key, []).append(span)
        sums = {
            key: (sum(s.requests or 0 for s in parts), sum(s.covered_us for s in parts))
            for key, parts in spans.items()
        }
        assert sums == {key: (span.requests, span.covered_us) for key, span in whole.spans.items()}


def test_what_was_known_is_split_to_the_five_minutes_it_lies_in() -> None:
    found = count([*readings(1), *readings(1, start=8)], {}, ())
    assert {start // SPAN_US: span.covered_us // MINUTE for (_, start), span in found.spans.items()} == {
        0: 5,
        1: 3,
    }


# ------------------------------------------------------------------------------- asking a Prometheus
def test_a_minute_asked_becomes_requests_and_tokens_of_the_pod_that_held(served: ServingStore) -> None:
    served.prometheus.vllm("chat-0", lambda at: 1000 + (at - NOON) // 60 * 2)
    assert served.rounds(5) == [True] * 5
    requests, prompt, generated, minutes = served.sums()
    assert (requests, prompt, generated, minutes) == (2 * 64 - 2, 20 * 63, 200 * 63, 63), (
        "the hour before is told at once"
    )
    assert served.sums(2) == (None,) * 4


def test_an_outage_is_caught_up_and_the_sums_are_those_without_it(
    served: ServingStore, tmp_path: Path
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
    steady = ServingStore(tmp_path / "steady")
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


def test_a_counter_not_shown_is_unknown_unless_the_site_says_that_nothing_is_dropped(tmp_path: Path) -> None:
    for says, expected in ((False, None), (True, 0.0)):
        made = ServingStore(tmp_path / str(says), absent_is_zero=says)
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


def test_a_pods_name_given_again_is_the_pod_that_held_then(tmp_path: Path) -> None:
    made = ServingStore(tmp_path)
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


# ------------------------------------------------------------------------------- hours, published days, retention
def test_hours_are_published_with_their_day_and_late_ones_make_it_due_again(
    served: ServingStore, tmp_path: Path
) -> None:
    served.prometheus.vllm("chat-0", lambda at: at // 60)
    served.rounds(1)
    assert served.rows("SELECT * FROM touched_day") == [], "today is not published yet"
    served.clock.advance(86_400)
    late = [Served("k8s/dc1/web/chat-0", "t", "vllm", "s", "requests", NOON + n * 60, n) for n in range(4)]
    with served.store.write() as cursor:
        keep(cursor, late, source="otlp", now_us=round(served.clock.wall() * 1e6))
    assert served.rows("SELECT day FROM touched_day") == [(DAY.date(),)]
    cursor = served.store.cursor()
    now = datetime.fromtimestamp(served.clock.wall(), UTC)
    published.publish_facts_day(cursor, tmp_path / "p", DAY.date(), status="provisional", now=now)
    cursor.close()
    with Published(tmp_path / "p").open(DAY, now) as facts:
        rows = facts.rows(
            "SELECT workload_id, hour_us, requests, prompt_tokens, generated_tokens, covered_seconds FROM serving"
        )
    assert rows == [(POD, us(11), 59, 590, 5900, 59 * 60.0), (POD, us(12), 3, None, None, 180.0)]


def test_five_minutes_go_with_the_minutes_and_hours_stay(served: ServingStore) -> None:
    served.prometheus.vllm("chat-0", lambda at: at // 60)
    served.rounds(1)
    retention = Retention(served.store, StoreSettings(threads=1))
    day = served.clock.wall()
    retention.step(datetime.fromtimestamp(day + 34 * 86_400, UTC))
    assert served.rows("SELECT count(*) > 0 FROM serving") == [(True,)]
    assert served.rows("SELECT count(*) FROM serving_series") == [(0,)]
    retention.step(datetime.fromtimestamp(day + 36 * 86_400, UTC))
    assert served.rows("SELECT count(*) FROM serving") == [(0,)]
    assert served.rows("SELECT count(*) > 0 FROM serving_hour") == [(True,)]
    retention.step(datetime.fromtimestamp(day + 801 * 86_400, UTC))
    assert served.rows("SELECT count(*) FROM serving_hour") == [(0,)]


def test_a_store_that_kept_requests_with_an_index_keeps_them_without_it() -> None:
    database = duckdb.connect()
    plain = next(version for version, file, _ in migrations() if file.endswith("serving_plain.sql"))
    for version, _, text in migrations():
        if version == plain:
            database.execute(
                "INSERT INTO serving VALUES (1, 's/vllm', 't', '2026-10-07', 5, NULL, 7, 1, NULL, 300000000, 0)"
            )
            database.execute(
                "INSERT INTO serving_hour VALUES (1, '2026-10-07', 's/vllm', 5, NULL, 7, 1, NULL, 1, 300)"
            )
        database.execute(text)
    assert database.execute("SELECT requests, prompt_tokens, covered_us FROM serving").fetchall() == [
        (5, None, 300_000_000)
    ]
    assert database.execute("SELECT requests, covered_seconds FROM serving_hour").fetchall() == [(5, 300)]
    assert database.execute(
        "SELECT count(*) FROM duckdb_constraints() WHERE table_name IN ('serving', 'serving_hour') AND constraint_type LIKE 'PRIMARY%'"
    ).fetchall() == [(0,)]


# ------------------------------------------------------------------------------- settings and the table
def test_every_system_says_where_its_names_are_from_and_no_name_means_two_things() -> None:
    for system in shipped().values():
        assert system.source.startswith("https://")
        assert set(system.names) <= set(KINDS)
    own = [name for s in shipped().values() if not s.plain for names in s.names.values() for name in names]
    assert len(own) == len(set(own))
    assert by_prefix()["vllm:request_success"][1] == "requests", "OpenTelemetry may drop _total"
    assert {"vllm", "sglang", "tgi", "triton", "kserve", "mindie", "ray_serve"} <= shipped().keys()


@pytest.mark.parametrize(
    ("table", "says"),
    [
        ({}, "url"),
        ({"url": "ftp://x"}, "http"),
        ({"url": "http://p", "systems": ["vlm"]}, "known"),
        ({"url": "http://p", "systems": ["mindie", "nim"]}, "same names"),
        ({"url": "http://p", "match": ['a="b"}) or vector(1)']}, "label matchers"),
        ({"url": "http://p", "job": "{slurm}", "pod": "{pod}"}, "Slurm"),
        ({"url": "http://p", "user": "u"}, "go together"),
        ({"url": "http://p", "tokenfile": "/x"}, "did you mean token_file"),
        ({"url": "http://p", "every_seconds": 1}, "from 15"),
    ],
)
def test_a_wrong_setting_says_what_to_write(table: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        sources_of({"sources": (table,)})


def test_the_example_names_every_key_and_no_other() -> None:
    text = (Path(__file__).parents[2] / "collector" / "collector.example.toml").read_text()
    block = text.split("#[[serving]]\n")[1].split("\n\n")[0]
    table = tomllib.loads("\n".join(line.removeprefix("#") for line in block.splitlines()))
    for_slurm = ("namespace", "pod", "user", "password_file")
    for without in (("job", "token_file"), for_slurm):
        sources_of({"sources": ({key: value for key, value in table.items() if key not in without},)})
    assert {field.name for field in fields(Source)} == table.keys() - {"match"} | {"matchers"}


def test_sources_need_names_of_their_own_and_slurm_jobs_are_named_by_a_label() -> None:
    with pytest.raises(ConfigError, match="stands twice"):
        sources_of({"sources": ({"url": "http://p"}, {"url": "http://p:1"})})
    job = source(job="{slurm_job}")
    assert prometheus.workload_of(job, {"slurm_job": "77"}) == "slurm/dc1/77"
    assert prometheus.workload_of(job, {}) is None
    with pytest.raises(ConfigError, match="source"):
        parse('schema_version = 1\n[[system]]\nname = "x"\nrequests = ["a"]\n', "own.toml")


def test_a_refusal_is_told_with_what_the_server_says(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="Connection refused"):
        prometheus.ask(source(url="http://127.0.0.1:9", timeout_seconds=1), 0, 60)
