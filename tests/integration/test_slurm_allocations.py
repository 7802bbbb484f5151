"""The collector's allocations against a real Slurm: random jobs of several accounts, daemons stopped in the middle.

ULLAGE_SLURM_SECONDS sets how long jobs are thrown at it (default 60; the soak form takes 600).
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import subprocess
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path

import pytest
import slurm_cluster
from collector_process import CollectorProcess
from slurm_cluster import CLUSTER, NODES, SlurmCluster

from ullage_collector.allocation.book import AllocationBook
from ullage_collector.allocation.slurm.asking import Asking
from ullage_collector.allocation.slurm.settings import SlurmSettings
from ullage_collector.allocation.slurm.source import SlurmSource
from ullage_collector.store.store import Store

WHY_NOT = slurm_cluster.why_not()
pytestmark = [
    pytest.mark.skipif(WHY_NOT is not None, reason=WHY_NOT or ""),
    pytest.mark.timeout(1500),
]

POLL = 5.0
REPOSITORY = Path(__file__).parents[2]
USERS = tuple(slurm_cluster.USERS)

PROLOG = """#!/bin/sh
ULLAGE_JOBS_DIR={folder}/told/$SLURMD_NODENAME; export ULLAGE_JOBS_DIR
exec {snippets}/prolog.d/50-ullage
"""
EPILOG = """#!/bin/sh
ULLAGE_JOBS_DIR={folder}/told/$SLURMD_NODENAME; export ULLAGE_JOBS_DIR
exec {snippets}/epilog.d/50-ullage
"""
SEEN = """#!/bin/sh
# What the job's node knows of its cards, kept by the test apart from all of Ullage.
echo "$SLURM_JOB_ID $SLURMD_NODENAME $(date +%s) ${{SLURM_JOB_GPUS:-none}}" >> {folder}/truth.txt
"""


def card_of(node: str, number: int) -> str:
    """The card whose device file has this number."""
    return f"GPU-{node}-{number}"


def with_cards(folder: Path) -> Store:
    """A store that knows the nodes' cards as their agents name them."""
    store = Store.open(folder / "store.duckdb")
    with store.write() as cursor:
        identities = store.identities
        now_us = round(time.time() * 1e6)
        for node in NODES:
            key = identities.node(cursor, CLUSTER, node.name, now_us, "real").key
            for number in node.numbers:
                identities.card(cursor, card_of(node.name, number), key, now_us, "real")
        identities.flush(cursor)
        cursor.execute(
            "UPDATE card SET minor = regexp_extract(card_id, '[0-9]+$')::INTEGER,"
            " pci_address = format('0000:{:02x}:00.0', 16 + regexp_extract(card_id, '[0-9]+$')::INTEGER)"
        )
    return store


class Watched:
    """The poller in a thread on a real store, and the agents' part: files of the prolog become events."""

    def __init__(self, cluster: SlurmCluster, store: Store, *, prolog: bool) -> None:
        settings = SlurmSettings(
            CLUSTER,
            conf=cluster.folder / "etc" / "slurm.conf",
            gres_conf=cluster.folder / "etc" / "gres.conf",
            poll_seconds=POLL,
            slowest_seconds=POLL,
            accounting_seconds=10.0,
        )
        self.store = store
        self.asking = Asking(settings, settings.programs())
        self.source = SlurmSource(self.asking, store, AllocationBook(store, "slurm"))
        self.failed: list[BaseException] = []
        self._cluster = cluster
        self.prolog = prolog
        self._told: set[tuple[str, str]] = set()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join(60)

    def _run(self) -> None:
        try:
            while not self._stop.is_set():
                self.tell()
                self._stop.wait(min(1.0, self.source.step(time.time())))
        except BaseException as e:
            self.failed.append(e)

    def tell(self) -> None:
        """As the agent's job source does: each file once as an event of its node."""
        if not self.prolog:
            return
        rows = []
        for path in sorted((self._cluster.folder / "told").glob("*/*")):
            mark = (path.parent.name, path.name)
            if path.name.startswith(".") or mark in self._told:
                continue
            with contextlib.suppress(FileNotFoundError):
                said = dict(line.partition("=")[::2] for line in path.read_text().splitlines())
                kind = "job_ended" if path.name.endswith(".ended") else "job_started"
                at = float(said["ended_at"] if kind == "job_ended" else said["started_at"])
                entries = [entry for entry in said.get("gpus", "").split(",") if entry]
                attributes = {
                    k: v for k, v in said.items() if v and k in ("scheduler", "job_id", "account", "user")
                }
                attributes |= {"gpus": ",".join(entries), "cards": ",".join("?" for _ in entries)}
                if "started_at" in said:  # the epilog of a job whose prolog never ran does not know
                    attributes["started_at"] = float(said["started_at"])
                rows.append((at, path.parent.name, kind, json.dumps(attributes)))
                self._told.add(mark)
        if not rows:
            return
        with self.store.write() as cursor:
            for at, node, kind, text in rows:
                cursor.execute(
                    "INSERT INTO event (event_id, time, received_at, node_key, family, subject, kind, severity, source,"
                    " message, attributes, origin) SELECT nextval('event_number'), make_timestamp(?), now(), node_key,"
                    " 'node', node_id, ?, 'info', 'scheduler', '', ?, 'real' FROM node WHERE node_id = ?",
                    [round(at * 1e6), kind, text, node],
                )


def held(store: Store) -> dict[tuple[str, int, str], dict[str, object]]:
    """What is believed: by job label, start and node its end and cards (None for one nobody knows)."""
    cursor = store.cursor()
    rows = cursor.execute(
        "SELECT w.workload_id, epoch_us(a.valid_from) // 1000000, epoch_us(a.valid_to) // 1000000, n.node_id,"
        " c.card_id, a.share_nano FROM allocation a JOIN workload w USING (workload_key) JOIN node n USING (node_key)"
        " LEFT JOIN card c ON c.card_key = a.card_key"
        " WHERE a.known_to IS NULL AND a.source = 'slurm' AND a.\"rank\" = 'work'"
    ).fetchall()
    cursor.close()
    found: dict[tuple[str, int, str], dict[str, object]] = {}
    for workload, start, end, node, card, share in rows:
        label = workload.removeprefix(f"slurm/{CLUSTER}/")
        entry = found.setdefault((label, start, node), {"ends": set(), "cards": set(), "count": 0})
        entry["ends"].add(end)
        entry["count"] += share // 1_000_000_000
        if card is not None:
            entry["cards"].add(card)
    return found


def accounted(cluster: SlurmCluster) -> dict[tuple[str, int, str], dict[str, object]]:
    """What sacct says, read as text by the test itself: by label, start and node its end, count and raw job id."""
    done = cluster.tool(
        "sacct",
        *(
            "-a",
            "-D",
            "-X",
            "-n",
            "-P",
            "-S",
            "2020-01-01",
            "--format=JobID,JobIDRaw,Start,End,NodeList,AllocTRES%200,Account",
        ),
        more={"TZ": "UTC", "SLURM_TIME_FORMAT": "%s"},
    )
    found: dict[tuple[str, int, str], dict[str, object]] = {}
    for line in done.stdout.splitlines():
        label, raw, start, end, listed, tres, account = line.split("|")
        counts = dict(part.split("=") for part in tres.split(",") if "=" in part)
        gpus = int(counts.get("gres/gpu", 0))
        if not start.isdigit() or not gpus or account == "ullage-fence" or listed.startswith("None"):
            continue
        if end.isdigit() and end == start:
            continue  # it lasted no second: nobody pays for it
        nodes = cluster.tool("scontrol", "show", "hostnames", listed).stdout.split()
        for node in nodes:
            found[label, int(start), node] = {
                "end": int(end) if end.isdigit() else None,
                "count": gpus // len(nodes),
                "job": int(raw.partition(".")[0]),
            }
    return found


def truth(cluster: SlurmCluster) -> dict[tuple[int, str], list[tuple[int, list[str]]]]:
    """What slurmd handed out, by job and node: when, and the cards by the n-th file of gres.conf."""
    files = {node.name: node.numbers for node in NODES}
    found: dict[tuple[int, str], list[tuple[int, list[str]]]] = {}
    for line in (cluster.folder / "truth.txt").read_text().splitlines():
        job, node, at, listed = line.split()
        if listed != "none":
            cards = [card_of(node, files[node][int(bit)]) for bit in listed.split(",")]
            found.setdefault((int(job), node), []).append((int(at), cards))
    return found


class Throwing:
    """Random jobs of three accounts: short, long, arrays, on two nodes, heterogeneous, cancelled, requeued,
    preempted, suspended."""

    def __init__(self, cluster: SlurmCluster, seed: int) -> None:
        self._cluster = cluster
        self._random = random.Random(seed)
        self.done: dict[str, int] = {}

    def run(self, seconds: float) -> None:
        end = time.time() + seconds
        while time.time() < end:
            with contextlib.suppress(RuntimeError, subprocess.TimeoutExpired):
                self._one()
            time.sleep(self._random.uniform(0.2, 1.2))

    def _one(self) -> None:
        chance = self._random
        user = chance.choice(USERS)
        word = chance.choice(
            ["short"] * 4
            + ["long"] * 4
            + ["array", "two", "het", "spare", "spare", "cancel", "requeue", "suspend", "fence"]
        )
        kind = chance.choice(["gpu:h200", "gpu:h200", "gpu:mi300x", "gpu"])
        seconds = chance.randint(1, 4) if word == "short" else chance.randint(8, 30)
        count = chance.randint(1, 4)
        cluster = self._cluster
        if word in ("short", "long"):
            cluster.submit(user, f"sleep {seconds}", f"--gres={kind}:{count}")
        elif word == "array":
            cluster.submit(user, f"sleep {seconds}", "--array=1-3", f"--gres={kind}:1")
        elif word == "two":
            cluster.submit(user, f"sleep {seconds}", "-N2", f"--gres=gpu:h200:{count}")
        elif word == "het":
            self._het(user, seconds)
        elif word == "spare":
            cluster.submit(user, f"sleep {seconds + 20}", "-p", "spare", "--gres=gpu:h200:6")
        elif word == "fence":
            cluster.tool(
                "sbatch", "--parsable", "-A", "ullage-fence", "--comment=fence:GPU-g1-7:1", "-o", "/dev/null",
                "--gres=gpu:h200:1", "--wrap", f"sleep {seconds}",
            )  # fmt: skip
        else:
            running = cluster.tool("squeue", "-h", "-r", "-t", "R", "-o", "%i %a").stdout.splitlines()
            jobs = [row.split()[0] for row in running if "ullage-fence" not in row and "+" not in row]
            if not jobs:
                return
            job = chance.choice(jobs)
            if word == "cancel":
                cluster.tool("scancel", job)
            elif word == "requeue":
                cluster.tool("scontrol", "requeue", job)
            else:
                cluster.tool("scontrol", "suspend", job)
                time.sleep(2)
                cluster.tool("scontrol", "resume", job)
        self.done[word] = self.done.get(word, 0) + 1

    def preempt(self) -> None:
        """On an empty cluster: a spare job gives way to one that needs its cards."""
        cluster = self._cluster
        spare = cluster.submit("daemon", "sleep 60", "-p", "spare", "-w", "g1", "--gres=gpu:h200:6")
        _until(lambda: "R" in cluster.tool("squeue", "-h", "-j", spare, "-o", "%t").stdout)
        time.sleep(2)
        cluster.submit("games", "sleep 9", "-w", "g1", "--gres=gpu:h200:4")

    def _het(self, user: str, seconds: int) -> None:
        account = slurm_cluster.USERS[user]
        self._cluster.tool(
            "sbatch", "--parsable", f"--uid={user}", "-A", account, "-o", "/dev/null", "-n1", "--gres=gpu:h200:1",
            ":", "-A", account, "-n1", "--gres=gpu:mi300x:1", "--wrap", f"sleep {seconds}",
        )  # fmt: skip

    def finish(self) -> None:
        """Nothing pending; what runs is ended."""
        tool = self._cluster.tool
        tool("scancel", "--state=PENDING", check=False)
        for _ in range(120):
            if not tool("squeue", "-h", "-t", "R,CG,S,PD", check=False).stdout.strip():
                return
            tool("scancel", "--state=PENDING", check=False)
            tool("scancel", "--state=SUSPENDED", check=False)
            time.sleep(0.5)
        raise AssertionError(tool("squeue").stdout)


@pytest.fixture(scope="module")
def cluster() -> Iterator[SlurmCluster]:
    """A cluster whose prolog and epilog are the shipped snippets, with the test's own note beside them."""
    extra = "Prolog={folder}/hooks/prolog.d/*\nEpilog={folder}/hooks/epilog.d/*\n"
    with slurm_cluster.slurm_cluster(extra=extra, prepare=_hooks) as found:
        yield found


def _hooks(folder: Path) -> None:
    """Before anything starts: slurmctld wants the programs to be there."""
    snippets = REPOSITORY / "deploy" / "slurm"
    (folder / "truth.txt").touch(0o644)
    (folder / "told").mkdir(mode=0o755)
    for name, text in (
        ("prolog.d/10-seen", SEEN),
        ("prolog.d/50-ullage", PROLOG),
        ("epilog.d/50-ullage", EPILOG),
    ):
        path = folder / "hooks" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text.format(folder=folder, snippets=snippets))
        path.chmod(0o755)


def _run(cluster: SlurmCluster, folder: Path, seconds: float) -> tuple[list[Watched], Throwing]:
    """Jobs for so long, slurmdbd and then slurmctld stopped in the middle; watched with and without prologs."""
    watching = []
    for prolog in (True, False):
        place = folder / f"prolog-{prolog}"
        place.mkdir()
        watching.append(Watched(cluster, with_cards(place), prolog=prolog))
    throwing = Throwing(cluster, seed=4)
    for watched in watching:
        watched.start()
    try:
        throwing.preempt()
        throwing.run(seconds * 0.3)
        cluster.stop_part("slurmdbd")
        throwing.run(seconds * 0.15)
        cluster.start_part("slurmdbd")
        throwing.run(seconds * 0.15)
        cluster.stop_part("slurmctld")
        time.sleep(seconds * 0.1)
        cluster.start_part("slurmctld")
        throwing.run(seconds * 0.3)
        throwing.finish()
        time.sleep(30)  # accounting is asked every ten seconds, and slurmctld tells it within as many
    finally:
        for watched in watching:
            watched.stop()
    for watched in watching:
        assert not watched.failed, watched.failed
    return watching, throwing


def _check(watched: Watched, cluster: SlurmCluster) -> dict[str, int]:
    """Every run of sacct is believed, to the second, and every one believed is of sacct; cards are slurmd's."""
    believed, said, handed = held(watched.store), accounted(cluster), truth(cluster)
    missing = {key: said[key] for key in said.keys() - believed.keys()}
    invented = {key: believed[key] for key in believed.keys() - said.keys()}
    assert not missing, f"not believed: {missing}"
    assert not invented, f"invented: {invented}"
    figures = dict.fromkeys(("runs", "card_unknown", "shorter_than_a_poll", "no_prolog_ran"), 0)
    for key, row in said.items():
        (_, start, node), mine = key, believed[key]
        assert mine["ends"] == {row["end"]}, f"{key}: {mine} but sacct {row}"
        assert mine["count"] == row["count"], f"{key}: {mine} but sacct {row}"
        lived = row["end"] - start
        figures["runs"] += 1
        figures["shorter_than_a_poll"] += lived <= POLL
        given = [
            cards for at, cards in handed.get((row["job"], node), ()) if start - 1 <= at <= row["end"] + 5
        ]
        figures["no_prolog_ran"] += not given
        if given:
            assert mine["cards"] <= set(given[0]), f"{key}: {mine} but slurmd gave {given}"
        if len(mine["cards"]) < row["count"]:
            figures["card_unknown"] += 1
            assert not (watched.prolog and given), f"{key}: its prolog told {given}, believed {mine}"
            seen = lived > 2 * POLL + 5 and not _was_blind(cluster, start, row["end"])
            assert not seen, f"{key} lived {lived} s, its cards are not known: {mine}"
    cursor = watched.store.cursor()
    open_ = cursor.execute(
        "SELECT count(*) FROM allocation WHERE known_to IS NULL AND valid_to IS NULL"
    ).fetchall()
    fences = cursor.execute("SELECT count(*) FROM workload WHERE namespace = 'ullage-fence'").fetchall()
    cursor.close()
    assert open_ == [(0,)]
    assert fences == [(0,)]
    return figures


def _was_blind(cluster: SlurmCluster, start: int, end: int) -> bool:
    """The controller was stopped for most of this run's life: no poll could see it."""
    return any(
        min(end, until) - max(start, since) > 0
        for name, since, until in cluster.stopped
        if name == "slurmctld"
    )


def _promise(cluster: SlurmCluster, folder: Path, seconds: float) -> None:
    watching, throwing = _run(cluster, folder, seconds)
    for watched in watching:
        figures = _check(watched, cluster)
        asked = watched.asking.calls
        print(json.dumps({"prolog": watched.prolog, "seconds": seconds, **figures, "asked": asked}))
        assert figures["runs"] > seconds / 4
        watched.store.close()
    states = Counter(cluster.tool("sacct", "-aDXnP", "-S", "2020-01-01", "-o", "State%20").stdout.split())
    print(json.dumps({"thrown": throwing.done, "states": states}))
    assert {"COMPLETED", "CANCELLED", "PREEMPTED"} <= states.keys()
    if seconds >= 300:
        assert "REQUEUED" in states
        assert {"array", "two", "het", "cancel", "requeue", "suspend", "fence"} <= throwing.done.keys()


def test_allocations_equal_accounting_to_the_second_and_slurmd_to_the_card(
    cluster: SlurmCluster, tmp_path: Path
) -> None:
    _promise(cluster, tmp_path, float(os.environ.get("ULLAGE_SLURM_SECONDS", "60")))


@pytest.mark.soak
@pytest.mark.skipif("ULLAGE_SLURM_SECONDS" not in os.environ, reason="ten minutes: ULLAGE_SLURM_SECONDS=600")
def test_ten_minutes_of_random_jobs_are_believed_to_the_second(cluster: SlurmCluster, tmp_path: Path) -> None:
    _promise(cluster, tmp_path, float(os.environ["ULLAGE_SLURM_SECONDS"]))


def test_the_controller_gets_at_most_six_rpcs_a_minute(cluster: SlurmCluster, tmp_path: Path) -> None:
    """With shipped intervals, by Slurm's own count."""
    store = with_cards(tmp_path)
    settings = SlurmSettings(CLUSTER, conf=cluster.folder / "etc" / "slurm.conf")
    source = SlurmSource(Asking(settings, settings.programs()), store, AllocationBook(store, "slurm"))
    cluster.submit("daemon", "sleep 200", "--gres=gpu:h200:3")
    time.sleep(2)
    cluster.tool("sdiag", "--reset")
    end = time.time() + 60
    while time.time() < end:
        time.sleep(min(1.0, source.step(time.time())))
    asked = _rpcs(cluster)
    print(json.dumps({"rpcs_in_a_minute": asked}))
    assert 3 <= asked <= 6
    store.close()


def _rpcs(cluster: SlurmCluster) -> int:
    """Questions to the controller since the reset, without sdiag's own and the daemons' own."""
    ours = 0
    for line in cluster.tool("sdiag").stdout.splitlines():
        name = line.strip().partition(" ")[0]
        if name.startswith("REQUEST_") and name.endswith("_INFO") and name != "REQUEST_STATS_INFO":
            ours += int(line.partition("count:")[2].split()[0])
    return ours


def test_a_serving_collector_believes_a_job_and_its_end(cluster: SlurmCluster, tmp_path: Path) -> None:
    """The part of ``serve``, killed in the middle of the job."""
    table = f'[[allocation.slurm]]\ncluster = "{CLUSTER}"\npoll_seconds = 2.0\naccounting_seconds = 2.0\n'
    table += f'conf = "{cluster.folder}/etc/slurm.conf"\n'
    collector = CollectorProcess(tmp_path / "data", config=table)
    collector.start()
    try:
        job = f"slurm/{CLUSTER}/" + cluster.submit("daemon", "sleep 12", "--gres=gpu:h200:2")
        _until(lambda: _held_by(collector, job) and _held_by(collector, job)[0]["valid_to"] is None)
        collector.kill()
        collector.start()
        _until(lambda: bool(_held_by(collector, job)) and _held_by(collector, job)[0]["valid_to"] is not None)
        [row] = [row for row in accounted(cluster).items() if row[0][0] == job.rpartition("/")[2]]
        [held_row] = _held_by(collector, job)
        assert (_seconds(held_row["valid_from"]), _seconds(held_row["valid_to"])) == (
            row[0][1],
            row[1]["end"],
        )
    finally:
        collector.ensure_ended()


def _held_by(collector: CollectorProcess, workload: str) -> list[dict[str, str | None]]:
    url = f"http://127.0.0.1:{collector.port}/api/v1/allocations?from=2026-01-01T00:00:00Z"
    with urllib.request.urlopen(url, timeout=30) as answer:
        rows = json.loads(answer.read())["allocations"]
    return [row for row in rows if row["workload_id"] == workload]


def _seconds(written: str | None) -> int:
    assert written is not None
    return int(datetime.fromisoformat(written).timestamp())


def _until(good: Callable[[], bool], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not good():
        assert time.monotonic() < end
        time.sleep(0.5)


def test_an_empty_window_of_accounting_is_no_trouble(cluster: SlurmCluster) -> None:
    settings = SlurmSettings(CLUSTER, conf=cluster.folder / "etc" / "slurm.conf")
    asking = Asking(settings, settings.programs())
    assert asking.runs(1_600_000_000, 1_600_003_600) == []
    assert asking.accounts()["nlp"] == "/root/research/nlp"
    assert asking.nodes()["m1"][0].count == 7
    assert "m1" in {room.node for room in asking.rooms}
    assert all(room.cpu_free_milli is not None and room.memory_free_mib is not None for room in asking.rooms)
