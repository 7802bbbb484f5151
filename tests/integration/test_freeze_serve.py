"""The emergency stop on a collector that serves: by command through its socket, kept by a kill and a new start."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.integration.collector_process import CollectorProcess

from ullage_collector.cli import main


@pytest.fixture
def collector(tmp_path: Path) -> Iterator[CollectorProcess]:
    made = CollectorProcess(tmp_path)
    yield made
    made.ensure_ended()


def page(collector: CollectorProcess, path: str) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{collector.port}{path}", timeout=30) as answer:
        return str(answer.read().decode("utf-8"))


def test_a_freeze_through_the_socket_outlives_a_kill(
    collector: CollectorProcess, capsys: pytest.CaptureFixture[str]
) -> None:
    data = str(collector.directory)
    collector.start()
    assert "ullage_isolation_frozen 0" in page(collector, "/metrics")
    assert main(["--data", data, "freeze", "--reason", "wrong rule"]) == 0
    assert "Frozen" in capsys.readouterr().out
    assert "ullage_isolation_frozen 1" in page(collector, "/metrics")
    assert "wrong rule" in page(collector, "/fleet")
    collector.kill()
    collector.start()
    assert "ullage_isolation_frozen 1" in page(collector, "/metrics")
    assert main(["--data", data, "isolations", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["freeze"]["reason"] == "wrong rule"
    assert main(["--data", data, "unfreeze", "--reason", "fixed"]) == 0
    assert "ullage_isolation_frozen 0" in page(collector, "/metrics")
    assert main(["--data", data, "approve", "99"]) == 2
    actions = [row["action"] for row in json.loads(page(collector, "/api/v1/audit"))["audit"]]
    assert actions == ["unfreeze", "freeze"]
