"""What may run here: the allow-list, the binding, the expiry, once only, and never beside work. Each ask is answered."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from ullage_agent.probes.desk import FILE_NAME, Desk
from ullage_agent.probes.process import Job
from ullage_agent.probes.settings import Command, Probes
from ullage_agent.probes.verdict import Found, passed
from ullage_contract.asked import AskedProbe
from ullage_contract.clock import ManualClock
from ullage_contract.event import Event, Severity
from ullage_contract.sample import Facts, Family, Origin, Sample, Value

NOW = 1_800_000_000.0
CARD = "GPU-5fd4f087-86f3-7a43-b711-4771313afc50"
ON = Probes(
    enable=("enumerate", "settled", "memory", "diagnose"),
    settled_seconds=1.5,
    commands=(Command("diagnose", "nvidia", ("/usr/bin/dcgmi", "diag", "-i", "{card}", "{pci}")),),
)


def ask(number: int = 1, probe: str = "memory", **more: Any) -> AskedProbe:
    fields: dict[str, Any] = {
        "probe_id": f"{number:032x}",
        "probe": probe,
        "cluster": "c1",
        "node": "n1",
        "card": CARD,
        "incident": 7,
        "expires": NOW + 900,
    }
    return AskedProbe(**{**fields, **more})


@dataclass
class World:
    """A desk, and a node whose readings come as long as it is open. values: of the card's slow row."""

    folder: Path
    settings: Probes = ON
    values: dict[str, Value] = field(
        default_factory=lambda: {
            "health": "ok",
            "ecc_uncorrected": 3,
            "processes": 0,
            "links_active": 18,
            "links_total": 18,
        }
    )
    failed: dict[str, str] = field(default_factory=dict)
    facts: dict[str, Any] = field(
        default_factory=lambda: {
            "vendor": "nvidia",
            "uuid": CARD,
            "index": 3,
            "minor": 3,
            "pci_address": "0000:3b:00.0",
        }
    )
    processes: tuple[str, ...] = ()
    seen: bool = True
    during: Callable[[World], Found | None] = lambda world: passed("fine", tested_bytes=5)

    def __post_init__(self) -> None:
        self.clock = ManualClock(wall=NOW)
        self.jobs: list[Job] = []
        self.told: list[tuple[Event, Origin]] = []
        self.ticks = 0
        self._stop = threading.Event()
        self.desk = self.fresh_desk()
        self._thread = threading.Thread(target=self._live, daemon=True)
        self._thread.start()

    def fresh_desk(self) -> Desk:
        desk = Desk(
            self.settings,
            cluster="c1",
            node="n1",
            folder=self.folder,
            fresh_seconds=5.0,
            clock=self.clock,
            run=self._run,
        )
        desk.start(lambda event, origin: self.told.append((event, origin)))
        return desk

    def _run(self, job: Job, name: str) -> Found | None:
        self.jobs.append(job)
        return self.during(self)

    def _live(self) -> None:
        while not self._stop.wait(0.02):
            self.ticks += 1
            if self.desk.watch is not None:
                self.tick()

    def tick(self) -> None:
        watch = self.desk.watch
        assert watch is not None
        if self.seen:
            watch.facts([Facts(Family.CARD, CARD, NOW, self.facts)])
            rows = [Sample(Family.CARD, CARD, NOW, 1.0, 60.0, dict(self.values), dict(self.failed))]
            rows += [Sample(Family.PROCESS, f"{CARD}#{pid}", NOW, 1.0, 60.0, {}) for pid in self.processes]
            watch.samples(rows)
        watch.sources([])

    def event(
        self, kind: str, family: Family = Family.NODE, severity: Severity = Severity.INFO, **attributes: Value
    ) -> None:
        assert self.desk.watch is not None
        subject = CARD if family is Family.CARD else "n1"
        self.desk.watch.events(
            [Event(NOW, kind, severity, family, subject, "x", "text", attributes=attributes)]
        )

    def outcome(self, asked: AskedProbe, skew: float | None = 0.0) -> tuple[str, str]:
        before = len(self.told)
        self.desk.step(asked, skew)
        (event, _) = self.told[before]
        return str(event.attributes["outcome"]), event.message

    def close(self) -> None:
        self._stop.set()
        self._thread.join()
        self.desk.close()


@pytest.fixture
def world(tmp_path: Path) -> Any:
    made = World(tmp_path)
    yield made
    made.close()


def test_a_named_probe_runs_and_its_result_names_ask_incident_and_figures(world: World) -> None:
    assert world.outcome(ask()) == ("passed", "memory: fine")
    event, origin = world.told[0]
    assert (event.kind, event.family, event.subject, event.severity) == (
        "probe_result",
        Family.CARD,
        CARD,
        Severity.INFO,
    )
    assert event.attributes == {
        "id": f"{1:032x}",
        "probe": "memory",
        "incident": 7,
        "outcome": "passed",
        "tested_bytes": 5,
    }
    assert origin is Origin.REAL
    assert world.jobs[0].card == {"card": "3", "minor": "3", "pci": "0000:3b:00.0", "uuid": CARD}


@pytest.mark.parametrize("enable", [(), ("enumerate",)])
def test_what_is_not_on_the_allow_list_is_refused_with_the_reason(
    tmp_path: Path, enable: tuple[str, ...]
) -> None:
    world = World(tmp_path, settings=replace(ON, enable=enable))
    outcome, why = world.outcome(ask())
    world.close()
    assert (outcome, world.jobs) == ("refused", [])
    assert "not on this node's allow-list" in why


def test_an_old_reply_that_comes_again_does_nothing_also_after_a_restart(world: World) -> None:
    world.outcome(ask())
    world.desk.step(ask(), 0.0)
    world.desk.close()
    world.desk = world.fresh_desk()
    world.desk.step(ask(), 0.0)
    world.clock.step_wall(-86_400)  # nor when the clock was set back
    world.desk.step(ask(), -86_400.0)
    assert (len(world.jobs), len(world.told)) == (1, 1)


def test_a_forgotten_ask_is_not_done_again(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ullage_agent.probes.remembered.MOST_IDS", 2)
    for number in range(1, 5):
        world.outcome(ask(number, expires=NOW + 100 + number))
    assert world.outcome(ask(1, expires=NOW + 101)) == (
        "refused",
        "memory: it may have been asked before, and is forgotten; ask anew",
    )
    assert len(world.jobs) == 4


def test_a_memory_that_cannot_be_believed_trusts_no_ask_of_before(world: World, tmp_path: Path) -> None:
    world.outcome(ask())
    world.desk.close()
    (tmp_path / FILE_NAME).write_text('{"schema_version": 1, "thr', encoding="utf-8")
    world.desk = world.fresh_desk()
    world.desk.step(ask(), 0.0)
    world.desk.step(ask(2), 0.0)
    assert len(world.jobs) == 1
    world.clock.advance(3700)
    assert world.outcome(ask(3, expires=NOW + 3700 + 900))[0] == "passed"


def test_a_memory_that_cannot_be_written_lets_nothing_run(tmp_path: Path) -> None:
    world = World(tmp_path / "gone")
    outcome, why = world.outcome(ask())
    world.close()
    assert (outcome, world.jobs) == ("refused", [])
    assert "could be asked twice" in why


@pytest.mark.parametrize(
    ("expires", "skew", "outcome"),
    [
        (NOW + 1, 0.0, "passed"),
        (NOW - 1, 0.0, "expired"),
        (NOW - 1, 60.0, "passed"),  # our clock is a minute fast
        (NOW + 30, -60.0, "expired"),  # or a minute slow
        (NOW + 7200, 0.0, "refused"),
        (NOW + 7200, -7200.0, "expired"),
        (NOW + 900, None, "refused"),
        (NOW + 900, float("nan"), "refused"),
    ],
)
def test_expiry_is_by_the_collectors_clock(
    world: World, expires: float, skew: float | None, outcome: str
) -> None:
    assert world.outcome(ask(expires=expires), skew)[0] == outcome


@pytest.mark.parametrize("where", [{"node": "n2"}, {"cluster": "c2"}])
def test_an_ask_for_another_node_is_refused(world: World, where: dict[str, str]) -> None:
    outcome, why = world.outcome(ask(**where))
    assert (outcome, world.jobs) == ("refused", [])
    assert "this is c1/n1" in why


# ---- never beside work


def test_a_process_on_the_card_refuses(world: World) -> None:
    world.processes = ("4711",)
    assert world.outcome(ask()) == ("refused", "memory: a process runs on the card")
    world.processes = ()
    world.values["processes"] = 2
    assert world.outcome(ask(2)) == ("refused", "memory: 2 processes run on the card")
    assert world.jobs == []


def test_processes_nobody_can_list_are_not_none(world: World) -> None:
    del world.values["processes"]
    assert world.outcome(ask(1))[1] == "memory: its maker does not say which processes run on it"
    world.failed["processes"] = "deadline"
    assert world.outcome(ask(2))[0] == "refused"
    assert world.jobs == []


def test_a_job_or_pod_on_the_card_refuses_until_it_ends(world: World) -> None:
    world.event("job_started", job_id="77", account="physics", cards=f"GPU-other,{CARD}")
    assert world.outcome(ask(1)) == ("refused", "memory: job 77 holds the card")
    world.event("job_ended", job_id="77", account="physics", cards=f"GPU-other,{CARD}")
    assert world.outcome(ask(2))[0] == "passed"
    world.event("devices_assigned", namespace="a", pod="b", container="c", resource="gpu", cards=CARD)
    assert world.outcome(ask(3))[0] == "refused"
    world.event("devices_released", namespace="a", pod="b", container="c", resource="gpu", cards=CARD)
    assert world.outcome(ask(4))[0] == "passed"


def test_a_job_whose_card_nobody_can_place_refuses(world: World) -> None:
    world.event("job_started", job_id="78", account="physics", cards="?")
    assert world.outcome(ask()) == ("refused", "memory: job 78 holds a card nobody can place")


def test_our_own_fence_is_no_work(world: World) -> None:
    world.event("job_started", job_id="79", account="ullage-fence", cards=CARD)
    assert world.outcome(ask())[0] == "passed"


def test_work_that_comes_while_it_runs_takes_the_pass_away(world: World) -> None:
    def start_work(world: World) -> Found:
        world.event("job_started", job_id="80", account="physics", cards=CARD)
        return passed("fine")

    world.during = start_work
    outcome, why = world.outcome(ask())
    assert outcome == "refused"
    assert "work came while it ran" in why


def test_a_card_that_is_not_read_is_not_touched(world: World) -> None:
    world.seen = False
    world.desk._fresh_seconds = 0.3
    assert world.outcome(ask(card="GPU-nobody")) == ("refused", "memory: the card is not read on this node")
    assert world.outcome(ask(2, "enumerate", card="GPU-nobody")) == (
        "failed",
        "enumerate: the maker's reader does not see the card",
    )


# ---- what only reads


def test_enumerate_passes_a_card_with_its_identity_and_fails_one_whose_calls_fail(world: World) -> None:
    assert world.outcome(ask(1, "enumerate"))[0] == "passed"
    world.failed["power_watts"] = "broken"
    assert world.outcome(ask(2, "enumerate")) == (
        "failed",
        "enumerate: calls on the card fail: power_watts (broken)",
    )
    world.failed.clear()
    world.values["health"] = "lost"
    assert world.outcome(ask(3, "enumerate"))[0] == "failed"
    world.values["health"] = "ok"
    world.facts["uuid"] = "GPU-another"
    assert world.outcome(ask(4, "enumerate"))[0] == "failed"


def test_what_we_may_not_read_is_not_the_cards_fault(world: World) -> None:
    world.failed["fan_ratio"] = "not_permitted"
    assert world.outcome(ask(1, "enumerate"))[0] == "passed"


def test_settled_passes_a_quiet_card_and_says_how_many_counters_stood_still(world: World) -> None:
    outcome, why = world.outcome(ask(1, "settled"))
    assert outcome == "passed", why
    assert world.told[0][0].attributes["counters"] == 1
    assert world.jobs == []


@pytest.mark.parametrize(
    ("trouble", "says"),
    [
        ({"health": "degraded"}, "health is degraded"),
        ({"links_active": 17}, "17 of 18 links are up"),
        ({"remap_pending": 1}, "remap_pending is 1"),
        ({"recovery_action": "reset"}, "the card asks for reset"),
    ],
)
def test_settled_fails_a_card_that_is_not_well(world: World, trouble: dict[str, Value], says: str) -> None:
    world.values.update(trouble)
    outcome, why = world.outcome(ask(1, "settled"))
    assert outcome == "failed"
    assert says in why


def test_settled_fails_when_a_counter_grows_or_an_event_comes(world: World) -> None:
    timer = threading.Timer(0.5, lambda: world.values.update(ecc_uncorrected=4))
    timer.start()
    assert world.outcome(ask(1, "settled")) == ("failed", "settled: ecc_uncorrected went from 3 to 4")
    timer = threading.Timer(0.5, lambda: world.event("xid", Family.CARD, Severity.FATAL))
    timer.start()
    assert world.outcome(ask(2, "settled"))[0] == "failed"


def test_settled_knows_nothing_where_the_counters_were_not_read(world: World) -> None:
    from ullage_agent.probes.passive import Settling

    found = Settling(begin_tick=0).found(60.0)
    assert found.outcome.value == "refused"


# ---- commands


def test_a_command_is_the_local_files_with_the_makers_own_facts_filled_in(world: World) -> None:
    assert world.outcome(ask(1, "diagnose"))[0] == "passed"
    assert world.jobs[0].argv == ("/usr/bin/dcgmi", "diag", "-i", "3", "0000:3b:00.0")


def test_a_command_without_what_it_wants_to_know_is_not_run(world: World) -> None:
    del world.facts["pci_address"]
    assert world.outcome(ask(1, "diagnose"))[1].startswith("diagnose: the command wants {pci}")
    world.facts["vendor"] = "ascend"
    assert world.outcome(ask(2, "diagnose")) == (
        "refused",
        "diagnose: [probes.diagnose] names no command for ascend",
    )
    assert world.outcome(ask(3, "memory"))[0] == "refused"
    assert world.jobs == []


# ---- ends of agents


def test_an_agent_that_ends_in_the_middle_says_so_when_it_is_back(world: World) -> None:
    world.during = lambda world: None
    world.desk.step(ask(), 0.0)
    assert world.told == []
    world.desk.close()
    world.desk = world.fresh_desk()
    for _ in range(500):
        if world.told:
            break
        threading.Event().wait(0.02)
    (event, _) = world.told[0]
    assert (event.attributes["outcome"], event.attributes["id"]) == ("refused", f"{1:032x}")
    assert "ended while it ran" in event.message
    world.during = lambda world: passed("fine")
    world.desk.step(ask(), 0.0)
    assert len(world.jobs) == 1


def test_what_every_answer_repeats_while_it_waits_takes_one_place(world: World) -> None:
    release = threading.Event()
    world.during = lambda world: passed("fine") if release.wait(10) else None
    for _ in range(100):
        world.desk.asked([ask(1), ask(2)], 0.0)
    assert world.desk._waiting.qsize() <= 2
    release.set()
    for _ in range(500):
        if len(world.told) == 2:
            break
        threading.Event().wait(0.02)
    assert len(world.jobs) == 2


def test_a_flood_of_asks_is_bounded(world: World) -> None:
    release = threading.Event()
    world.during = lambda world: passed("fine") if release.wait(10) else None
    world.desk.asked([ask(n) for n in range(1, 200)], 0.0)
    assert world.desk._waiting.qsize() <= 32
    release.set()


def test_the_memory_on_disk_is_readable_and_small(world: World, tmp_path: Path) -> None:
    world.outcome(ask())
    kept = json.loads((tmp_path / FILE_NAME).read_text(encoding="utf-8"))
    assert kept["seen"][0]["running"] is False
    assert kept["seen"][0]["asked"]["id"] == f"{1:032x}"
