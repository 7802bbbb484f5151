"""What goes with an incident to a card's maker: the fault and the card, and nobody's work."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ullage_collector import cli
from ullage_collector.records.bundle import bundle
from ullage_collector.store.store import Store
from ullage_contract.clock import ManualClock
from ullage_contract.errors import BadInput

NOW = 1_795_000_000.0


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "collector").mkdir()
    store = Store.open(tmp_path / "collector" / "store.duckdb", clock=ManualClock(wall=NOW))
    db = store.cursor()
    for key, cluster in ((1, "c"), (2, "d")):
        db.execute(
            "INSERT INTO node (node_key, cluster_id, node_id, origin, facts) "
            "VALUES (?, ?, 'g1', 'real', '{\"driver_version\": \"570.1\"}')",
            [key, cluster],
        )
    db.execute(
        "INSERT INTO card (card_key, card_id, node_key, vendor, model, uuid, serial, origin, facts) "
        "VALUES (5, 'GPU-1', 1, 'nvidia', 'H100', 'GPU-1', '1652922012345', 'real', '{\"vbios_version\": \"96.0\"}')"
    )
    db.execute(
        "INSERT INTO workload (workload_key, workload_id, kind, cluster_id, user_name, origin) "
        "VALUES (9, 'slurm/c/77', 'slurm_job', 'c', 'li.wei', 'real')"
    )
    evidence = [{"code": "64", "time": 1.0, "holders": [{"workload": "slurm/c/77", "user": "li.wei"}]}]
    db.execute(
        "INSERT INTO incident (incident_id, family, subject, cause, severity, code, onset, opened_at, confirmed, action, follow, "
        "evidence, history, origin, cluster_id, node_id) VALUES (3, 'card', 'GPU-1', 'xid_reset_needed', 'critical', '64', "
        "'2026-11-18 10:00:00', '2026-11-18 10:00:01', true, 'isolate_card', 'replace', ?, false, 'real', 'c', 'g1')",
        [json.dumps(evidence)],
    )
    for number, at in ((1, "2026-11-18 09:59:59"), (2, "2026-01-01 00:00:00")):
        db.execute(
            "INSERT INTO event (event_id, time, received_at, family, subject, kind, severity, code, source, message, attributes, "
            "origin) VALUES (?, ?, ?, 'card', 'GPU-1', 'xid', 'critical', '64', 'kmsg', 'Xid 64', '{\"pid\": 4711}', 'real')",
            [number, at, at],
        )
    store.close()
    return tmp_path


def test_it_has_the_fault_the_card_and_its_serial(folder: Path) -> None:
    store = Store.open(folder / "collector" / "store.duckdb")
    found = bundle(store.cursor(), 3, NOW)
    store.close()
    (card,) = found["cards"]
    assert (card["serial"], card["facts"]["vbios_version"]) == ("1652922012345", "96.0")
    assert [node["cluster_id"] for node in found["nodes"]] == ["c"]
    assert (found["incident"]["cause"], found["incident"]["evidence"][0]["code"]) == (
        "xid_reset_needed",
        "64",
    )
    assert [event["time"] for event in found["events"]] == ["2026-11-18T09:59:59+00:00"]


def test_nobodys_work_is_in_it(folder: Path) -> None:
    store = Store.open(folder / "collector" / "store.duckdb")
    text = json.dumps(bundle(store.cursor(), 3, NOW))
    store.close()
    assert all(word not in text for word in ("li.wei", "slurm/c/77", "4711"))


def test_an_unknown_number_is_said(folder: Path) -> None:
    store = Store.open(folder / "collector" / "store.duckdb")
    with pytest.raises(BadInput, match="incident 99"):
        bundle(store.cursor(), 99, NOW)
    store.close()


def test_the_command_writes_a_new_file_for_its_owner_alone(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = folder / "rma.json"
    arguments = ["--data", str(folder), "incidents", "bundle", "3", "--out", str(out)]
    assert cli.main(arguments) == 0
    assert json.loads(out.read_text())["incident"]["incident_id"] == 3
    assert out.stat().st_mode & 0o777 == 0o600
    assert cli.main(arguments) == 2  # a file that is there is not overwritten
    capsys.readouterr()
    assert cli.main(["--data", str(folder), "incidents", "bundle", "3"]) == 0
    assert json.loads(capsys.readouterr().out)["schema_version"] == 1
