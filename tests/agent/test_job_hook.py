"""Jobs told by Slurm's prolog and epilog: the real scripts under sh, the directory, the events.

What they must withstand: torn and forged files, links, other users' files, a directory anybody may write, restarts.
"""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ullage_agent.holders.cards import Card, Cards, Part
from ullage_agent.holders.job_file import parse
from ullage_agent.holders.jobs import KEEP_ENDED_SECONDS, WAIT_FOR_CARDS_SECONDS, Jobs
from ullage_contract.catalogue import Tier
from ullage_contract.clock import ManualClock
from ullage_contract.errors import BadInput, Broken, NotPresent
from ullage_contract.event import Event

DEPLOY = Path(__file__).parents[2] / "deploy/slurm"
UUIDS = [f"GPU-0000000{n}-1111-2222-3333-444444444444" for n in range(4)]
# minor numbers against the order of the indices, as boards may be wired
CARDS = Cards.made(
    [Card(uuid, "nvidia", uuid=uuid, index=n, minor=3 - n, node_number=3 - n) for n, uuid in enumerate(UUIDS)]
)
ME = str(os.getuid())


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    place = tmp_path / "jobs"
    place.mkdir(mode=0o755)
    return place


Make = Callable[..., Jobs]


@pytest.fixture
def jobs(directory: Path) -> Iterator[Make]:
    made: list[Jobs] = []

    def make(**more: Any) -> Jobs:
        arguments: dict[str, Any] = {
            "node_id": "n1",
            "clock": ManualClock(wall=time.time()),
            "cards": lambda: CARDS,
            "owners": [ME],
        }
        made.append(Jobs(directory, **(arguments | more)))
        return made[-1]

    yield make
    for one in made:
        one.close()


def run(which: str, directory: Path, **environment: str) -> None:
    script = DEPLOY / which / "50-ullage"
    done = subprocess.run(
        ["sh", str(script)],
        env={"ULLAGE_JOBS_DIR": str(directory), "SLURM_CLUSTER_NAME": "c1", **environment},
        capture_output=True,
        check=False,
        timeout=30,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


JOB = {
    "SLURM_JOB_ID": "4711",
    "SLURM_JOB_ACCOUNT": "nlp",
    "SLURM_JOB_USER": "alice",
    "SLURM_JOB_PARTITION": "gpu",
    "SLURM_JOB_GPUS": "0,2",
    "CUDA_VISIBLE_DEVICES": "0,1",
}


def write(directory: Path, name: str, *lines: str, mode: int = 0o644) -> Path:
    path = directory / name
    path.write_text("\n".join(("ullage_job=1", *lines, "complete=1")) + "\n")
    path.chmod(mode)
    return path


def told(source: Jobs) -> list[Event]:
    return list(source.events())


def test_prolog_and_epilog_tell_a_job_from_its_start_to_its_end(directory: Path, jobs: Make) -> None:
    source = jobs()
    assert told(source) == []
    before = int(time.time())
    run("prolog.d", directory, **JOB)
    (started,) = told(source)
    assert (started.kind, started.subject, started.source) == ("job_started", "n1", "scheduler")
    assert before <= started.time <= time.time()
    assert dict(started.attributes) == {
        "scheduler": "slurm",
        "cluster": "c1",
        "job_id": "4711",
        "account": "nlp",
        "user": "alice",
        "partition": "gpu",
        "started_at": started.time,
        "gpus": "0,2",
        "cards": "?,?",  # indices into gres.conf's records: the collector's to place
        "unresolved": "0,2",
    }
    assert told(source) == []
    run("epilog.d", directory, SLURM_JOB_ID="4711")
    (ended,) = told(source)
    assert ended.kind == "job_ended" and ended.time >= started.time
    assert {k: v for k, v in ended.attributes.items()} == dict(started.attributes)
    assert [path.name.split(".")[-1] for path in directory.iterdir()] == ["ended"]


def test_what_is_there_at_the_start_is_told_again_also_a_job_that_ended_meanwhile(
    directory: Path, jobs: Make
) -> None:
    run("prolog.d", directory, **JOB)
    run("prolog.d", directory, **{**JOB, "SLURM_JOB_ID": "4712", "SLURM_JOB_GPUS": "1"})
    run("epilog.d", directory, SLURM_JOB_ID="4712")
    for _ in range(2):
        events = told(jobs())
        assert sorted((e.kind, e.attributes["job_id"]) for e in events) == [
            ("job_ended", "4712"),
            ("job_started", "4711"),
            ("job_started", "4712"),
        ]


def test_an_epilog_without_its_prolog_still_tells_the_end(directory: Path, jobs: Make) -> None:
    run("epilog.d", directory, **JOB)
    (ended,) = told(jobs())
    assert ended.kind == "job_ended" and ended.attributes["gpus"] == JOB["SLURM_JOB_GPUS"]
    assert "started_at" not in ended.attributes


def test_a_requeued_job_is_two_runs(directory: Path, jobs: Make) -> None:
    source = jobs()
    run("prolog.d", directory, **JOB)
    run("epilog.d", directory, SLURM_JOB_ID="4711")
    run("prolog.d", directory, **{**JOB, "SLURM_JOB_GPUS": "3", "SLURM_JOB_RESTART_COUNT": "1"})
    events = told(source)
    assert [e.kind for e in events] == ["job_started", "job_ended", "job_started"]
    assert events[2].attributes["restarts"] == 1 and events[2].attributes["gpus"] == "3"


def test_scripts_never_fail_a_job_wherever_they_may_not_write(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("not a directory")
    for which in ("prolog.d", "epilog.d"):
        run(which, blocked / "jobs", **JOB)
        run(which, blocked, **JOB)
        run(which, tmp_path / "jobs", SLURM_JOB_ID="")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full on this system")
def test_scripts_leave_nothing_torn_on_a_full_disk(directory: Path, tmp_path: Path) -> None:
    tools = tmp_path / "bin"
    tools.mkdir()
    (tools / "mktemp").write_text("#!/bin/sh\nln -s /dev/full \"$(echo \"$1\" | sed s/XXXXXX/full00/)\"\n"
                                  "echo \"$(echo \"$1\" | sed s/XXXXXX/full00/)\"\n")  # fmt: skip
    (tools / "mktemp").chmod(0o755)
    for which in ("prolog.d", "epilog.d"):
        text = (DEPLOY / which / "50-ullage").read_text()
        script = tmp_path / f"{which}.sh"
        script.write_text(text.replace("PATH=", f"PATH={tools}:", 1))
        done = subprocess.run(
            ["sh", str(script)], env={"ULLAGE_JOBS_DIR": str(directory), **JOB}, check=False, timeout=30
        )
        assert done.returncode == 0
    assert list(directory.iterdir()) == []


def test_ended_files_older_than_an_hour_are_removed_by_the_next_epilog(directory: Path) -> None:
    old = write(directory, "1.100.ended", "job_id=1", "ended_at=100")
    running = write(directory, "2.started", "job_id=2", "started_at=100")
    for path in (old, running):
        os.utime(path, (time.time() - 7200,) * 2)
    run("epilog.d", directory, SLURM_JOB_ID="4711")
    assert not old.exists() and running.exists()


def test_the_agent_removes_what_ended_a_minute_after_telling_it(directory: Path, jobs: Make) -> None:
    clock = ManualClock(wall=time.time())
    source = jobs(clock=clock)
    ended = write(directory, "1.100.ended", "job_id=1", "started_at=50", "ended_at=100")
    running = write(directory, "2.started", "job_id=2", "started_at=60")
    assert len(told(source)) == 3
    assert ended.exists()
    clock.advance(KEEP_ENDED_SECONDS + 1)
    assert told(source) == []
    assert not ended.exists() and running.exists()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("1.started", "ullage_job=1\njob_id=1\nstarted_at=5\n"),  # torn: no last line
        ("1.started", ""),
        ("1.started", "ullage_job=1\njob_id=1\nstarted_at=5\ncomplete=1"[:-5]),
        ("1.started", "ullage_job=2\njob_id=1\ncomplete=1\n"),
        ("1.started", "ullage_job=1\njob_id=2\ncomplete=1\n"),  # another job than its name
        ("1.started", "ullage_job=1\njob_id=1\ngpus=0\ngpus=1\ncomplete=1\n"),
        ("1.started", "ullage_job=1\njob_id=1\nuser\ncomplete=1\n"),
        ("1.started", "ullage_job=1\njob_id=1\nuser=a\x1b[2J\ncomplete=1\n"),
        ("1.started", "ullage_job=1\njob_id=x\ncomplete=1\n"),
        ("1.started", "ullage_job=1\njob_id=1\nstarted_at=nan\ncomplete=1\n"),
        ("1.started", "ullage_job=1\njob_id=1\nstarted_at=1\nended_at=2\ncomplete=1\n"),
        ("1.2.ended", "ullage_job=1\njob_id=1\nstarted_at=1\ncomplete=1\n"),
        ("notes.txt", "hello"),
        ("1.started~", "ullage_job=1\njob_id=1\ncomplete=1\n"),
        ("1.started", "x" * 100_000),
        ("1.started", "ullage_job=1\njob_id=1\nuser=\udcff\ncomplete=1\n"),
    ],
)
def test_a_torn_or_foreign_file_is_refused_once_and_the_others_count(
    directory: Path, jobs: Make, name: str, content: str
) -> None:
    (directory / name).write_bytes(content.encode("utf-8", "surrogateescape"))
    write(directory, "7.started", "job_id=7", "started_at=5")
    source = jobs()
    assert [e.attributes["job_id"] for e in told(source)] == ["7"]
    assert source.refused == 1
    write(directory, "8.started", "job_id=8", "started_at=6")
    assert [e.attributes["job_id"] for e in told(source)] == ["8"]
    assert source.refused == 1


@given(st.text(max_size=300) | st.lists(st.sampled_from(
    ["ullage_job=1", "job_id=7", "gpus=0-3,GPU-1", "cuda=MIG-x", "started_at=5", "ended_at=x", "=", "complete=1", ""]
)).map("\n".join))  # fmt: skip
def test_no_text_breaks_the_reading(text: str) -> None:
    try:
        job = parse(text)
    except BadInput:
        return
    assert job.job_id.isdigit()
    assert all(card is None for _, card in job.devices(Cards()))


def test_a_list_without_end_is_refused_and_nothing_else(directory: Path, jobs: Make) -> None:
    write(directory, "1.started", "job_id=1", "gpus=" + ",".join(["0-9999"] * 50), "started_at=5")
    write(directory, "7.started", "job_id=7", "started_at=5")
    source = jobs()
    assert [e.attributes["job_id"] for e in told(source)] == ["7"]
    assert source.refused == 1


def test_what_another_user_wrote_or_may_write_is_forged(directory: Path, jobs: Make, tmp_path: Path) -> None:
    write(directory, "1.started", "job_id=1", "started_at=5", mode=0o666)
    real = write(tmp_path, "elsewhere", "job_id=2", "started_at=5")
    (directory / "2.started").symlink_to(real)
    linked = write(tmp_path, "other", "job_id=3", "started_at=5")
    os.link(linked, directory / "3.started")
    os.mkfifo(directory / "4.started")
    (directory / "5.started").mkdir()
    source = jobs()
    assert told(source) == [] and source.refused == 5


def test_files_of_users_that_do_not_count_are_refused(directory: Path, jobs: Make) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root may give files away")
    os.chown(write(directory, "1.started", "job_id=1", "started_at=5"), 12345, -1)
    write(directory, "2.started", "job_id=2", "started_at=5")
    source = jobs(owners=["root", "no-such-user"])
    assert [e.attributes["job_id"] for e in told(source)] == ["2"]
    source = jobs(owners=["root", "12345"])
    assert {e.attributes["job_id"] for e in told(source)} == {"1", "2"}


def test_a_directory_others_may_write_is_not_believed_and_said(directory: Path, jobs: Make) -> None:
    write(directory, "1.started", "job_id=1", "started_at=5")
    source = jobs()
    directory.chmod(0o777)
    assert told(source) == []
    with pytest.raises(Broken, match="mode 0777"):
        source.read(Tier.FAST)
    directory.chmod(0o755)
    assert len(told(source)) == 1
    assert list(source.read(Tier.FAST)) == []
    (directory / "1.started").unlink()
    directory.rmdir()
    assert told(source) == []
    with pytest.raises(NotPresent):
        source.read(Tier.FAST)


def test_a_job_waits_for_its_cards_at_the_start_but_not_forever(directory: Path, jobs: Make) -> None:
    now = Cards()
    clock = ManualClock(wall=time.time())
    source = jobs(clock=clock, cards=lambda: now)
    write(directory, "1.started", "job_id=1", f"gpus={UUIDS[2]}", "started_at=5")
    assert told(source) == []
    clock.advance(WAIT_FOR_CARDS_SECONDS)
    (event,) = told(source)
    assert (event.attributes["cards"], event.attributes["unresolved"]) == ("?", UUIDS[2])
    now = CARDS  # the driver came late: told again, better
    (event,) = told(source)
    assert event.attributes["cards"] == UUIDS[2] and "unresolved" not in event.attributes
    now = Cards.made(CARDS.cards)
    assert told(source) == []


def test_a_number_is_an_index_that_the_node_does_not_place(directory: Path, jobs: Make) -> None:
    write(directory, "1.started", "job_id=1", "gpus=9,0", "cuda=0,1", "rocr=0", "started_at=5")
    write(directory, "2.started", "job_id=2", "cuda=0", "started_at=6")
    write(directory, "3.started", "job_id=3", f"gpus={UUIDS[1].lower()},3", "started_at=7")
    first, second, third = told(jobs())
    assert (first.attributes["cards"], first.attributes["unresolved"]) == ("?,?", "9,0")
    assert second.attributes.get("cards") is None  # a number there counts from 0 again: it says nothing
    assert (third.attributes["cards"], third.attributes["unresolved"]) == (f"{UUIDS[1]},?", "3")


def test_uuids_say_most_and_a_cut_card_is_not_told_whole(directory: Path, jobs: Make) -> None:
    cards = Cards.made(
        [Card(UUIDS[0], "nvidia", uuid=UUIDS[0], minor=0, mode="mig")],
        [Part(f"{UUIDS[0]}/gi3-ci0", UUIDS[0], "gi3-ci0", "MIG-aaaa")],
    )
    write(directory, "1.started", "job_id=1", "gpus=0", "cuda=MIG-aaaa", "started_at=5")
    write(directory, "2.started", "job_id=2", "gpus=0", "started_at=6")
    first, second = told(jobs(cards=lambda: cards))
    assert first.attributes["cards"] == f"{UUIDS[0]}/gi3-ci0"
    assert (second.attributes["cards"], second.attributes["unresolved"]) == ("?", "0")


def test_ascend_cards_are_found_by_their_device_nodes(directory: Path, jobs: Make) -> None:
    cards = Cards.made([Card(f"npu-{n}", "ascend", node_number=n, minor=n) for n in (4, 5)])
    write(directory, "1.started", "job_id=1", "ascend=5", "started_at=5")
    (event,) = told(jobs(cards=lambda: cards))
    assert (event.attributes["gpus"], event.attributes["cards"]) == ("5", "npu-5")


def test_a_long_list_travels_in_several_events_in_step(directory: Path, jobs: Make) -> None:
    cards = Cards.made([Card(f"GPU-{n:040d}", "nvidia", minor=n) for n in range(16)])
    names = [card.card_id for card in cards.cards]
    write(directory, "1.started", "job_id=1", "gpus=" + ",".join(names), "started_at=5")
    events = told(jobs(cards=lambda: cards))
    assert [e.attributes["part"] for e in events] == [1, 2]
    assert {e.attributes["parts"] for e in events} == {2}
    assert all(len(str(value)) <= 500 for e in events for value in e.attributes.values())
    pairs = [
        pair
        for e in events
        for pair in zip(
            str(e.attributes["gpus"]).split(","), str(e.attributes["cards"]).split(","), strict=True
        )
    ]
    assert pairs == [(name, name) for name in names]


def test_a_new_file_wakes_at_once(directory: Path, jobs: Make) -> None:
    import threading

    woken = threading.Event()
    source = jobs(wake=woken.set)
    assert told(source) == []
    assert woken.wait(10)  # once at the start, so that nothing written before it is missed
    for job in ("1", "2"):
        woken.clear()
        run("prolog.d", directory, **{**JOB, "SLURM_JOB_ID": job})
        assert woken.wait(10)
        assert [e.attributes["job_id"] for e in told(source)] == [job]


def test_without_inotify_the_directory_is_looked_at(
    directory: Path, jobs: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    import threading

    from ullage_agent.holders import directory_watch

    monkeypatch.setattr(directory_watch, "_inotify", lambda directory: None)
    monkeypatch.setattr(directory_watch, "LOOK_SECONDS", 0.02)
    woken = threading.Event()
    source = jobs(wake=woken.set)
    told(source)
    assert woken.wait(10)
    woken.clear()
    write(directory, "1.started", "job_id=1", "started_at=5")
    assert woken.wait(10)
    assert len(told(source)) == 1


def test_a_directory_made_anew_is_watched_anew(directory: Path, jobs: Make) -> None:
    source = jobs()
    write(directory, "1.started", "job_id=1", "started_at=5")
    assert len(told(source)) == 1
    directory.rename(directory.with_name("away"))
    assert told(source) == []
    directory.mkdir(mode=0o755)
    write(directory, "2.started", "job_id=2", "started_at=5")
    deadline = time.monotonic() + 10
    events: list[Event] = []
    while not events and time.monotonic() < deadline:
        events = told(source)
    assert [e.attributes["job_id"] for e in events] == ["2"]
