"""Import, publish and backup through a collector that serves: its socket, its one store, its pushes going on."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from collector_process import CollectorProcess

from ullage_collector import operator_door
from ullage_collector.cli import main
from ullage_collector.operator_door import DoorError
from ullage_collector.store.store import Store


@pytest.fixture
def served(tmp_path: Path) -> Iterator[CollectorProcess]:
    collector = CollectorProcess(tmp_path / "data")
    collector.start()
    yield collector
    collector.ensure_ended()


def run(served: CollectorProcess, capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, dict]:
    code = main(["--data", str(served.directory), "--log-level", "error", *arguments])
    return code, json.loads(capsys.readouterr().out)


def test_history_money_and_a_copy_through_the_socket(
    served: CollectorProcess, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cards = tmp_path / "cards.csv"
    cards.write_text("card_id,node_id,vendor,model,from\nG1,n1,nvidia,H800,2026-10-01T00:00:00Z\n")
    held = tmp_path / "held.csv"
    held.write_text(
        "workload_id,card_id,node_id,from,to\njob/1,G1,n1,2026-10-21T00:00:00Z,2026-10-21T12:00:00Z\n"
    )
    seen = tmp_path / "seen.csv"
    seen.write_text(
        "time,node_id,card_id,vendor,model,utilization_ratio\n"
        + "".join(f"2026-10-21T{m // 60:02d}:{m % 60:02d}:00Z,n1,G1,nvidia,H800,0.5\n" for m in range(600))
        + "2026-10-21T10:00:00Z,n1,G1,nvidia,H800,fifty\n"
    )
    assert run(served, capsys, "import", "inventory", str(cards))[0] == 0
    assert run(served, capsys, "import", "allocations", str(held))[0] == 0
    code, said = run(served, capsys, "import", "telemetry", str(seen))
    assert code == 3
    assert (said["imports"][0]["rows_added"], said["imports"][0]["rows_refused"]) == (600, 1)
    code, said = run(served, capsys, "publish")
    assert code == 0
    assert [day["day"] for day in said["facts"]] == ["2026-10-21"]
    code, said = run(served, capsys, "backup", "--out", str(tmp_path / "copy"))
    assert code == 0
    assert served.stop() == 0
    copied = Store.open(tmp_path / "copy" / "collector" / "store.duckdb")
    states = (
        copied.reader()
        .execute(
            "SELECT state, sum(share_nano::DOUBLE * (to_us - from_us)) / 3.6e18 FROM segment GROUP BY 1 ORDER BY 1"
        )
        .fetchall()
    )
    copied.close()
    assert states == [("unallocated_idle", 12.0), ("unknown", 2.0), ("used", 10.0)]


def test_files_of_the_collectors_machine_are_named_on_its_socket_alone(served: CollectorProcess) -> None:
    body = json.dumps({"out": "/nowhere"}).encode()
    asked = urllib.request.Request(
        f"http://127.0.0.1:{served.port}/api/v1/backup", body, {"Content-Type": "application/json"}
    )
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(asked, timeout=30)
    assert refused.value.code == 403
    assert json.loads(refused.value.read())["error"] == "forbidden"
    refused.value.close()
    with pytest.raises(DoorError, match="absolute"):
        operator_door.call(served.directory / "collector.sock", "POST", "/api/v1/backup", {"out": "here"})
