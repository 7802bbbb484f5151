"""Departments, rules and the closing of a period go through a collector that serves."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.collector.organisation_world import TREE, own_root_handlers
from tests.integration.collector_process import CollectorProcess

from ullage_collector.cli import main


@pytest.fixture(autouse=True)
def _root_handlers() -> Iterator[None]:
    yield from own_root_handlers()


def test_departments_rules_and_closing_go_through_a_collector_that_serves(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    served = CollectorProcess(tmp_path / "data")
    served.start()
    try:
        command = ["--data", str(served.directory), "--log-level", "error"]
        file = tmp_path / "hr.csv"
        file.write_text(TREE)
        rules = tmp_path / "mapping.toml"
        rules.write_text('[[rule]]\nmatch = "slurm:nlp"\ndepartment = "rd/gone"\n')
        held = tmp_path / "held.csv"
        held.write_text(
            "cluster_id,node_id,card_id,workload_id,kind,namespace,from,to\n"
            "c1,n1,G1,slurm/c1/7,slurm_job,nlp,2026-10-07 00:00:00,2026-10-08 00:00:00\n"
        )
        owned = tmp_path / "owned.csv"
        owned.write_text(
            "cluster_id,node_id,card_id,vendor,model,from\nc1,n1,G1,nvidia,H800,2026-10-07 00:00:00\n"
        )
        assert main([*command, "import", "departments", str(file)]) == 0
        for kind, given_ in (("mapping", rules), ("inventory", owned), ("allocations", held)):
            assert main([*command, "import", kind, str(given_)]) == 0
        capsys.readouterr()
        assert main([*command, "publish", "--day", "2026-10-07"]) == 0
        assert json.loads(capsys.readouterr().out)["failed"] == []
        assert (
            main([*command, "mapping", "check", "--at", "2026-10-08T12:00:00Z", "--days", "2", "--json"]) == 3
        )
        said = json.loads(capsys.readouterr().out)
        assert [gone["rule"]["department"] for gone in said["gone"]] == ["rd/gone"]
        close = [
            *command,
            "close",
            "--from",
            "2026-10-07",
            "--to",
            "2026-10-08",
            "--zone",
            "UTC",
            "--reason",
            "signed",
        ]
        assert main(close) == 0
        capsys.readouterr()
        assert main(close) == 2
        assert "shares time with the closed period" in capsys.readouterr().err
        assert main([*command, "mapping", "explain", "7"]) == 0
        out = capsys.readouterr().out
        assert "belonged to rd/gone" in out
        assert "the period is closed and stands as believed at" in out
    finally:
        served.stop()
