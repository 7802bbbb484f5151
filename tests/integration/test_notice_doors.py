"""Notifications, maintenance, costs and the audit's file through a collector that serves: commands, API, a real receiver."""

from __future__ import annotations

import json
import logging
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from collector_process import CollectorProcess
from tests.collector.notify_world import Receiver

from ullage_collector.cli import main

CARDS = "card_id,node_id,vendor,model,from\n" + "".join(
    f"G{n},n{1 + n // 2},nvidia,H800,2026-10-01T00:00:00Z\n" for n in range(4)
)
ISOLATION = """
[isolation]
actuator = "command"
[isolation.command]
isolate = ["/bin/true", "{node_id}"]
release = ["/bin/true", "{node_id}"]
whole_node = true
"""


@pytest.fixture(autouse=True)
def _root_handlers() -> Iterator[None]:
    """The command logs to the stderr of its test: give the root logger its own handlers back."""
    root = logging.getLogger()
    before = list(root.handlers), root.level
    yield
    root.handlers, level = before
    root.setLevel(level)


def until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_who_asked_to_be_told_is_told_once_also_over_a_kill(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with Receiver() as receiver:
        config = (
            ISOLATION
            + f'[[notify]]\nkind = "webhook"\nname = "ops"\nurl = "{receiver.url}/s3cret-path"\nlanguage = "en"\n'
        )
        process = CollectorProcess(tmp_path, config=config)
        process.start()
        base = ["--data", str(tmp_path), "--config", str(tmp_path / "collector.toml")]

        def command(*arguments: str) -> tuple[int, str]:
            code = main([*base, *arguments])
            return code, capsys.readouterr().out

        def heard() -> list[str]:
            # A message may come again after a kill, by the same key: who hears it twice knows it is one.
            messages = {request.headers["idempotency-key"]: request for request in receiver.requests}
            return [f"{n['event']} {n['subject']}" for r in messages.values() for n in r.json["news"]]

        try:
            (tmp_path / "cards.csv").write_text(CARDS)
            assert command("import", "inventory", str(tmp_path / "cards.csv"))[0] == 0
            assert command("publish")[0] in (0, 3)
            code, out = command("notify", "test", "ops", "--json")
            assert (code, json.loads(out)["told"]) == (0, True)
            assert heard() == ["test ops"]
            assert command("isolate", "G0", "--reason", "xid 79", "--execute")[0] == 0
            until(lambda: "isolated G0" in heard())

            process.kill()
            process.start()
            assert command("release", "G0", "--reason", "replaced", "--execute")[0] == 0
            until(lambda: "released G0" in heard())
            time.sleep(2)
            assert heard() == ["test ops", "isolated G0", "released G0"]

            with urllib.request.urlopen(f"http://127.0.0.1:{process.port}/metrics", timeout=10) as answer:
                page = answer.read().decode()
            assert 'ullage_notices_sent_total{target="ops"} 1' in page
            assert 'ullage_notices_dead{target="ops"} 0' in page
            code, out = command("notify", "list", "--json")
            assert code == 0 and "s3cret" not in out
            assert "s3cret" not in process.log.read_text()

            _maintenance(command, heard)
            _records(command, tmp_path)
        finally:
            process.kill()


def _maintenance(command: Callable[..., tuple[int, str]], heard: Callable[[], list[str]]) -> None:
    to = ("--to", "2099-01-01T00:00:00Z", "--reason", "new firmware")
    code, out = command("maintenance", "plan", "n[1-2]", *to, "--announce", "--json")
    planned: dict[str, Any] = json.loads(out)
    assert code == 0 and planned["window_id"] == 1 and planned["moves"] == []
    code, out = command("maintenance", "start", "--window", "1", "--execute", "--json")
    assert code == 0 and json.loads(out)["failed"] == 0
    until(lambda: {"isolated n1", "isolated n2"} <= set(heard()))
    code, out = command("maintenance", "end", "1", "--execute", "--json")
    assert code == 0 and json.loads(out)["failed"] == 0
    until(lambda: {"released n1", "released n2"} <= set(heard()))
    _, out = command("maintenance", "list", "--json")
    assert {window["state"] for window in json.loads(out)["windows"]} == {"ended"}


def _records(command: Callable[..., tuple[int, str]], folder: Path) -> None:
    code, out = command("incidents", "cost", "--json")
    assert code in (0, 3) and json.loads(out)["incidents"] == []
    code, out = command("audit", "export")
    assert code == 0
    (folder / "audit.jsonl").write_text(out)
    assert command("audit", "verify", str(folder / "audit.jsonl"))[0] == 0
    actions = [json.loads(line)["action"] for line in out.splitlines()]
    assert actions.count("isolate") >= 3
