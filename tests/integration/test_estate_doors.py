"""Inventory, topology and versions through a collector that serves: the commands ask it, the store stays its own."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from collector_process import CollectorProcess

from ullage_collector.cli import main

FIXTURES = Path(__file__).parents[1] / "fixtures" / "topology"


@pytest.fixture
def served(tmp_path: Path) -> Iterator[CollectorProcess]:
    collector = CollectorProcess(tmp_path / "data")
    collector.start()
    yield collector
    collector.ensure_ended()


def run(served: CollectorProcess, capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, dict]:
    code = main(["--data", str(served.directory), "--log-level", "error", *arguments])
    return code, json.loads(capsys.readouterr().out)


def test_the_estate_is_imported_and_asked_through_the_socket(
    served: CollectorProcess, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cards = tmp_path / "cards.csv"
    cards.write_text(
        "card_id,node_id,vendor,model,serial,life,from,replaces\n"
        "G1,gpu-a01,nvidia,H800,S1,in_service,2026-01-01T00:00:00Z,\n"
        "G9,gpu-a01,nvidia,H800,S9,in_service,2026-04-01T00:00:00Z,S1\n"
    )
    assert run(served, capsys, "import", "inventory", str(cards))[0] == 0
    tree = str(FIXTURES / "tree.conf")
    code, said = run(served, capsys, "import", "topology", tree, "--format", "slurm-conf")
    assert (code, said["imports"][0]["rows_added"]) == (0, 9)
    code, said = run(served, capsys, "import", "topology", tree, "--format", "slurm-conf")
    assert (code, said["imports"][0]["rows_added"], said["imports"][0]["rows_present"]) == (0, 0, 9)
    code, found = run(served, capsys, "inventory", "history", "S1", "--json")
    assert (code, found["cards"]) == (0, ["G1", "G9"])
    code, found = run(served, capsys, "inventory", "reconcile", "--json")
    assert [row["evidence"]["reason"] for row in found["findings"]] == ["node_never_seen"]
    code, found = run(served, capsys, "topology", "check", "--json")
    assert (code, len(found["strangers"])) == (3, 6)
    assert run(served, capsys, "versions", "--json")[1]["versions"] == []
    with urllib.request.urlopen(
        f"http://127.0.0.1:{served.port}/api/v1/topology?node=gpu-a01", timeout=20
    ) as answer:
        rows = json.load(answer)["rows"]
    assert [(row["relation"], row["target"]) for row in rows] == [("leaf_switch", "leaf01")]
    assert (
        main(["--data", str(served.directory), "import", "topology", str(cards), "--format", "ibnetdiscover"])
        == 2
    )
    assert "cards.csv:1" in capsys.readouterr().err
    assert served.stop() == 0
    assert "Traceback" not in served.log.read_text()
