"""The outbox: nothing is lost, nothing is told twice that could be known, nobody waits for somebody else's receiver."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.collector.notify_world import AT, Answer, Receiver, news, target

from ullage_collector.config import Config
from ullage_collector.config import Store as StoreSettings
from ullage_collector.notify import door, outbox
from ullage_collector.notify.message import Message
from ullage_collector.notify.outbox import FINAL_TRIES, Outbox
from ullage_collector.notify.service import Notifier, exposition, from_config
from ullage_collector.notify.settings import Target
from ullage_collector.store.store import Store
from ullage_contract.clock import ManualClock
from ullage_contract.errors import BadInput
from ullage_contract.event import Severity
from ullage_contract.http_post import NotTold


class Heard:
    """A sender that keeps what it is told and fails as often as a test says."""

    def __init__(self) -> None:
        self.messages: list[Message] = []
        self.failures: list[Exception] = []

    def __call__(self, to: Target, message: Message) -> str | None:
        if self.failures:
            raise self.failures.pop(0)
        self.messages.append(message)
        return None

    def subjects(self) -> list[list[str]]:
        return [[item.subject for item in message.news] for message in self.messages]


class Box:
    def __init__(self, store: Store, **settings: Any) -> None:
        self.store = store
        self.target = target("webhook", url="http://x", **{"gather_seconds": 10, **settings})
        self.heard = Heard()
        self.box = Outbox(lambda: store, self.target, self.heard, spread=lambda: 1.0)

    @property
    def clock(self) -> ManualClock:
        assert isinstance(self.store.clock, ManualClock)
        return self.store.clock

    def put(self, *items: Any) -> None:
        with self.store.write() as cursor:
            outbox.put(cursor, [self.target], items, self.clock.wall())

    def step(self, after: float = 0.0) -> float:
        self.clock.advance(after)
        return self.box.step()

    def states(self) -> list[tuple[Any, ...]]:
        cursor = self.store.cursor()
        try:
            return cursor.execute("SELECT state, tried, problem FROM notice ORDER BY notice_id").fetchall()
        finally:
            cursor.close()


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = Store.open(tmp_path / "store.duckdb", StoreSettings(threads=1), ManualClock(wall=AT))
    yield opened
    opened.close()


def test_news_of_one_subject_within_the_time_are_one_message_and_later_ones_another(store: Store) -> None:
    box = Box(store)
    box.put(news(1))
    box.clock.advance(9.999)
    box.put(news(1, key="b", event="incident_worsened"), news(2))
    box.clock.advance(0.001)
    box.put(news(1, key="c", event="incident_ended"))
    box.step()
    assert [[item.key for item in m.news] for m in box.heard.messages] == [["incident/1/opened", "b"]]
    box.step(10)
    keys = [[item.key for item in m.news] for m in box.heard.messages[1:]]
    assert keys == [["incident/2/opened"], ["c"]]
    box.step(3600)
    assert len(box.heard.messages) == 3


def test_by_cluster_and_by_nothing(store: Store) -> None:
    cluster, everything = Box(store, name="c", group_by="cluster"), Box(store, name="a", group_by="all")
    for box in (cluster, everything):
        box.put(news(1), news(2), news(3, cluster="dc2"))
        box.clock.advance(10)
        box.step()
    assert cluster.heard.subjects() == [["GPU-1", "GPU-2"], ["GPU-3"]]
    assert everything.heard.subjects() == [["GPU-1", "GPU-2", "GPU-3"]]


def test_a_refusal_is_tried_again_later_and_later_and_then_told(store: Store) -> None:
    box = Box(store, gather_seconds=0)
    box.heard.failures = [NotTold("down"), NotTold("down"), NotTold("busy", pause_seconds=600)]
    box.put(news(1))
    assert box.step() == pytest.approx(5)
    assert box.states() == [("waiting", 1, "down")]
    assert box.step(4.9) > 0
    assert box.states()[0][1] == 1
    assert box.step(0.2) == pytest.approx(10)
    assert box.step(10) == pytest.approx(60)  # it asked for ten minutes; looked at every minute
    assert box.states() == [("waiting", 3, "busy")]
    box.step(599)
    assert box.heard.messages == []
    box.step(2)
    assert box.states() == [("sent", 4, None)]
    assert (box.box.counts.told, box.box.counts.failed) == (1, 3)


def test_a_message_that_is_refused_for_good_is_a_dead_letter_and_the_next_ones_go_out(store: Store) -> None:
    box = Box(store, gather_seconds=0)
    box.heard.failures = [NotTold("400", final=True)]
    box.put(news(1), news(2))
    box.step()
    assert box.heard.subjects() == [["GPU-2"]]  # it did not stand in the way
    for _ in range(FINAL_TRIES - 1):
        box.heard.failures = [NotTold("400", final=True)]
        box.step(1000)
    assert [row[0] for row in box.states()] == ["dead", "sent"]
    shown = door.listed(store, [box.target], state="dead")
    assert shown["targets"][0]["counts"] == {"dead": 1, "sent": 1}
    assert shown["notices"][0]["problem"] == "400"
    assert door.retry(store, box.target, "ada") == {"target": "webhook", "waiting_again": 1}
    box.step()
    assert box.heard.subjects() == [["GPU-2"], ["GPU-1"]]


def test_nobody_waits_for_ever(store: Store) -> None:
    box = Box(store, gather_seconds=0, give_up_hours=1)
    box.put(news(1))
    for _ in range(20):
        box.heard.failures = [NotTold("down")]
        box.step(400)
    assert box.states()[0][0] == "dead"
    assert box.box.counts.dead == 1


def test_more_than_a_minute_takes_go_into_the_last_message_of_the_minute(store: Store) -> None:
    box = Box(store, gather_seconds=0, per_minute=3)
    box.put(*(news(n) for n in range(1, 8)))
    box.step()
    assert box.heard.subjects() == [["GPU-1"], ["GPU-2"], ["GPU-3", "GPU-4", "GPU-5", "GPU-6", "GPU-7"]]
    box.put(news(8))
    box.step(59)
    assert len(box.heard.messages) == 3
    box.step(2)
    assert box.heard.subjects()[3:] == [["GPU-8"]]


def test_a_clock_that_steps_back_keeps_nobody_waiting(store: Store) -> None:
    box = Box(store, gather_seconds=0, per_minute=1)
    box.put(news(1))
    box.step()
    box.clock.step_wall(-7200)
    box.put(news(2))
    box.step()
    assert box.heard.subjects() == [["GPU-1"], ["GPU-2"]]


def test_quiet_hours_gather_until_the_morning_and_let_the_critical_pass(store: Store) -> None:
    # noon UTC is 20:00 in Shanghai
    box = Box(store, quiet={"from": "20:00", "to": "08:00", "zone": "Asia/Shanghai"}, group_by="all")
    box.put(news(1, severity=Severity.WARNING))
    box.clock.advance(3600)
    box.put(news(2, severity=Severity.WARNING), news(3, severity=Severity.CRITICAL))
    box.step(10)
    assert box.heard.subjects() == [["GPU-3"]]
    box.step(11 * 3600 - 11)
    assert len(box.heard.messages) == 1
    box.step(1)
    assert box.heard.subjects()[1:] == [["GPU-1", "GPU-2"]]


@pytest.mark.parametrize(
    ("events", "severity", "wanted"),
    [
        (["incident"], "warning", True),
        (["incident_ended"], "warning", False),
        (["incident:xid-*"], "warning", True),
        (["incident_opened:ecc*"], "warning", False),
        (["freeze"], "info", False),
        (["incident"], "fatal", False),
        (["*"], "critical", True),
    ],
)
def test_who_wants_what(events: list[str], severity: str, wanted: bool) -> None:
    assert target("webhook", url="http://x", events=events, severity=severity).wants(news(1)) is wanted


def test_another_clusters_news_are_not_wanted_and_the_fleets_are() -> None:
    to = target("webhook", url="http://x", clusters=["dc2*"])
    assert not to.wants(news(1))
    assert to.wants(news(1, cluster=None))


# ---------------------------------------------------------------- crashes
CHILD = """
    import os, sys, threading
    from pathlib import Path
    from tests.collector.notify_world import news, target
    from ullage_collector.config import Store as StoreSettings
    from ullage_collector.notify import outbox
    from ullage_collector.notify.senders import SENDERS
    from ullage_collector.store.store import Store

    store = Store.open(Path(sys.argv[1]), StoreSettings(threads=1))
    to = target("webhook", url=sys.argv[2], gather_seconds=0, again=sys.argv[3] == "again")

    def sender(target, message):
        if sys.argv[4] == "before":
            os.kill(os.getpid(), 9)
        note = SENDERS["webhook"](target, message)
        if sys.argv[4] == "after":
            os.kill(os.getpid(), 9)
        return note

    box = outbox.Outbox(lambda: store, to, sender)
    box.recover()
    if sys.argv[5] == "put":
        with store.write() as cursor:
            outbox.put(cursor, [to], [news(1)], store.clock.wall() - 1)
    box.step()
    store.close()
"""


def _run(path: Path, url: str, again: str, die: str, put: str) -> int:
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(CHILD), str(path), url, again, die, put],
        cwd=root, env={**os.environ, "PYTHONPATH": os.pathsep.join([str(root), *filter(None, [os.environ.get("PYTHONPATH")])])}, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode in (0, -signal.SIGKILL), done.stderr
    return done.returncode


def test_killed_before_sending_it_is_told_after_the_restart(tmp_path: Path) -> None:
    with Receiver() as receiver:
        assert _run(tmp_path / "s.duckdb", receiver.url, "again", "before", "put") == -signal.SIGKILL
        assert receiver.requests == []
        assert _run(tmp_path / "s.duckdb", receiver.url, "again", "never", "no") == 0
        assert len(receiver.requests) == 1
        assert _run(tmp_path / "s.duckdb", receiver.url, "again", "never", "no") == 0
        assert len(receiver.requests) == 1


def test_killed_between_sending_and_noting_it_comes_again_with_the_same_key_and_says_so(
    tmp_path: Path,
) -> None:
    with Receiver() as receiver:
        assert _run(tmp_path / "s.duckdb", receiver.url, "again", "after", "put") == -signal.SIGKILL
        assert _run(tmp_path / "s.duckdb", receiver.url, "again", "never", "no") == 0
        first, second = receiver.requests
        # a receiver that keeps keys takes it once
        assert len({request.headers["idempotency-key"] for request in receiver.requests}) == 1
        assert (first.json["may_be_repeated"], second.json["may_be_repeated"]) == (False, True)


def test_killed_between_sending_and_noting_it_is_not_told_twice_to_who_wants_that(tmp_path: Path) -> None:
    with Receiver() as receiver:
        assert _run(tmp_path / "s.duckdb", receiver.url, "once", "after", "put") == -signal.SIGKILL
        assert _run(tmp_path / "s.duckdb", receiver.url, "once", "never", "no") == 0
        assert len(receiver.requests) == 1
    store = Store.open(tmp_path / "s.duckdb", StoreSettings(threads=1))
    (row,) = store.cursor().execute("SELECT state, problem FROM notice").fetchall()
    store.close()
    assert row[0] == "dead" and "again = false" in row[1]


# ---------------------------------------------------------------- the whole
def test_a_hanging_target_stops_no_other_and_the_metrics_say_who_waits(tmp_path: Path) -> None:
    store = Store.open(tmp_path / "store.duckdb", StoreSettings(threads=1))
    stuck = threading.Event()
    with Receiver(Answer(hang=stuck)) as slow, Receiver() as quick:
        config = Config(
            parts={
                "notify": {
                    "targets": (
                        {"kind": "webhook", "name": "slow", "url": slow.url, "timeout_seconds": 60},
                        {"kind": "webhook", "name": "quick", "url": quick.url},
                    )
                }
            }
        )
        notifier = from_config(config, lambda: store)
        notifier.look()  # what is there by now is told to nobody
        stop = threading.Event()
        threads = [threading.Thread(target=run, args=(stop,)) for _, run in notifier.parts()]
        with store.write() as cursor:
            cursor.execute(
                "INSERT INTO incident (incident_id, family, subject, cause, severity, onset, opened_at, confirmed, "
                "action, evidence, history, origin) SELECT n, 'card', 'GPU-' || n, 'xid-79', 'fatal', TIMESTAMP '2026-11-20', "
                "TIMESTAMP '2026-11-20', true, 'isolate_card', '[]', false, 'real' FROM range(3) r(n)"
            )
        for thread in threads:
            thread.start()
        try:
            _until(lambda: notifier.boxes["quick"].counts.told == 3)
            text = exposition(store, notifier)
            assert 'ullage_notices_sent_total{target="quick"} 3' in text
            assert 'ullage_notices_waiting{target="slow"} 3' in text
        finally:
            stuck.set()
            stop.set()
            for thread in threads:
                thread.join(20)
    store.close()


def test_a_test_message_goes_past_the_outbox_and_an_unknown_name_says_which_there_are() -> None:
    with Receiver() as receiver:
        to = target("webhook", url=receiver.url, name="ops")
        assert door.test(to, AT) == {"target": "ops", "kind": "webhook", "told": True, "problem": None}
        assert json.loads(receiver.requests[0].body)["title"] == "[test] Ullage notification ops"
    with pytest.raises(BadInput, match="there are ops"):
        door.named([to], "opps")


def test_an_alertmanager_hears_again_and_again_what_stands_and_no_more_what_ended(store: Store) -> None:
    with Receiver() as receiver:
        to = target("alertmanager", url=receiver.url)
        notifier = Notifier(lambda: store, (to,))
        notifier.look()
        with store.write() as cursor:
            cursor.execute(
                "INSERT INTO incident (incident_id, family, subject, cause, severity, onset, opened_at, confirmed, action, "
                "evidence, history, origin) VALUES (1, 'card', 'GPU-1', 'xid-79', 'fatal', '2026-10-21', '2026-10-21', true, "
                "'isolate_card', '[]', false, 'real')"
            )
        assert notifier.repeat(to) == 0
        notifier.look()
        assert notifier.repeat(to) == 1
        (alert,) = receiver.requests[-1].json
        assert alert["endsAt"] > "2026-10-21T12:03"
        with store.write() as cursor:
            cursor.execute("UPDATE incident SET closed_at = '2026-10-21 12:00:00', closed_by = 'x'")
        notifier.look()
        assert notifier.repeat(to) == 0


def _until(true: Any) -> None:
    deadline = time.monotonic() + 60
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.02)
