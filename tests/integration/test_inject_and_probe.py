"""Drills on real processes: what is injected arrives like anything else, and an asked probe goes there and back."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import uvloop
from whole_stack import WholeStack, wait_for

from ullage_collector import config as collector_config
from ullage_collector.isolate.probes import ProbeState
from ullage_collector.serve import Collector
from ullage_contract.clock import SystemClock

DRILL = """
title = "a fatal Xid, and a card that goes and comes back"
[[fault]]
at = 0
do = "xid"
card = 0
code = "79"
for = 600
[[fault]]
at = 0.2
do = "lost"
card = 1
[[fault]]
at = 3
do = "back"
card = 1
[[fault]]
at = 0.5
do = "port_down"
port = 1
for = 2
"""
ALLOWED = "[inject]\nallow = true\n"


def inject(stack: WholeStack, scenario: Path) -> dict[str, Any]:
    done = subprocess.run(
        [
            *(sys.executable, "-m", "ullage_agent", "--config", str(stack.folder / "agent.toml")),
            "inject",
            str(scenario),
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_an_injected_fault_is_an_incident_at_a_real_collector_and_moves_no_money(tmp_path: Path) -> None:
    scenario = tmp_path / "drill.toml"
    scenario.write_text(DRILL, encoding="utf-8")
    stack = WholeStack(tmp_path / "stack", cards=4, agent_config=ALLOWED)
    try:
        stack.start()
        cards = wait_for("the cards", lambda: stack.api("cards").get("cards") or None)
        assert len(cards) >= 4 or wait_for("all cards", lambda: len(stack.api("cards")["cards"]) >= 4)
        made = inject(stack, scenario)
        assert [one["do"] for one in made["faults"]] == ["xid", "lost", "port_down"]
        found = wait_for(
            "the incident",
            lambda: [i for i in stack.api("incidents")["incidents"] if str(i.get("code")) == "79"],
        )
        assert found[0]["subject"].startswith("SIM-")
        assert found[0]["origin"] == "simulated"
    finally:
        stack.close()


class ServedHere:
    """A collector in this process, so that a test can ask as the policy does; the agent is a process of its own."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        file = folder / "collector.toml"
        file.write_text('[listen]\naddress = "127.0.0.1:0"\n[receive]\nreserve_bytes = 0\n', encoding="utf-8")
        self.directory = folder
        self.collector = Collector(collector_config.load(file, data=folder), SystemClock())
        self._thread = threading.Thread(target=lambda: uvloop.run(self.collector.run()), daemon=True)

    @property
    def port(self) -> int:
        return self.collector.port

    def start(self, timeout_seconds: float = 60.0) -> None:
        self._thread.start()
        assert self.collector.started.wait(timeout_seconds)

    def ensure_ended(self) -> None:
        self.collector.stop()
        self._thread.join(60)


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[WholeStack]:
    made = WholeStack(
        tmp_path / "stack",
        cards=2,
        agent_config='[probes]\nenable = ["enumerate", "diagnose"]\n[probes.diagnose.nvidia]\n'
        f'command = ["{sys.executable}", "-c", "print(\'card {{card}} at {{pci}} is fine\')"]\n' + ALLOWED,
    )
    made.collector = ServedHere(tmp_path / "stack" / "collector")  # type: ignore[assignment]
    try:
        made.start()
        yield made
    finally:
        made.close()


def test_a_probe_is_asked_in_the_answer_to_a_push_and_its_result_comes_back(stack: WholeStack) -> None:
    served: Any = stack.collector
    probes = served.collector._probes
    cards = wait_for("both cards", lambda: len(found := stack.api("cards")["cards"]) == 2 and found)
    first, second = sorted(card["card_id"] for card in cards)
    with served.collector._door.cursor() as cursor:
        for card in (first, second):
            cursor.execute(
                "INSERT INTO isolation (isolation_id, family, subject, reason, actuator, requested_by, isolated_at, "
                "placed, undo) VALUES (nextval('isolation_number'), 'card', ?, 'a drill', 'test', 'test', now(), "
                "'[]', '[]')",
                [card],
            )
    # whatever simulated job holds them ends with a fatal Xid, and nothing new comes for ten minutes
    with stack.faults.open("a", encoding="utf-8") as file:
        file.write("xid card=0 code=79 for=1\nxid card=1 code=79 for=1\n")

    def answered(card: str, probe: str) -> Any:
        probe_id = probes.ask(7, card, probe, asked_by="rule drill")

        def settled() -> Any:
            result = probes.result(probe_id)
            return result if result.state is not ProbeState.WAITING else None

        return wait_for(f"{probe} of {card}", settled, 90)

    good = answered(first, "enumerate")
    if good.state is ProbeState.REFUSED:  # the job was still there
        good = answered(first, "enumerate")
    assert good.state is ProbeState.PASSED, good
    ran = answered(second, "diagnose")
    assert ran.state is ProbeState.PASSED, ran
    assert "is fine" in ran.reason
    not_named = answered(second, "memory")
    assert not_named.state is ProbeState.REFUSED
    assert "allow-list" in not_named.reason
    with served.collector._door.cursor() as cursor:
        count = cursor.execute(
            "SELECT count(*), count(DISTINCT origin) FROM event WHERE kind = 'probe_result'"
        ).fetchone()
        origins = cursor.execute("SELECT DISTINCT origin FROM event WHERE kind = 'probe_result'").fetchall()
    assert count is not None and count[0] >= 3
    assert origins == [("simulated",)]
