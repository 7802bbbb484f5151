"""Quotas through the command and the API, alone and through a collector that serves."""

from __future__ import annotations

import json
import logging
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from collector_process import CollectorProcess

from ullage_collector.cli import main

FIXTURES = Path(__file__).parents[1] / "fixtures" / "quota"
CARDS = "card_id,node_id,vendor,model,from\n" + "".join(
    f"G{n},n1,nvidia,H800,2026-10-01T00:00:00Z\n" for n in range(4)
)
HELD = (
    "workload_id,card_id,node_id,namespace,from,to\n"
    "k8s/default/team-a/p1/u1,G0,n1,team-a,2026-10-21T00:00:00Z,2026-10-21T12:00:00Z\n"
    "k8s/default/team-a/p2/u2,G1,n1,team-a,2026-10-21T00:00:00Z,2026-10-21T12:00:00Z\n"
    "k8s/default/team-a/p3/u3,G2,n1,team-a,2026-10-21T00:00:00Z,2026-10-21T12:00:00Z\n"
)
QUOTAS = """
[[quota]]
name = "a"
pool = "train"
min = 1
department = "rd/a"
binds = ["k8s=team-a"]
[[quota]]
name = "b"
pool = "train"
min = 3
department = "rd/b"
binds = ["k8s=team-b"]
"""
POOLS = '[[pool]]\nname = "train"\nmatch = "model:H800"\n'


@pytest.fixture(autouse=True)
def _root_handlers() -> Iterator[None]:
    """The command logs to the stderr of its test: give the root logger its own handlers back."""
    root = logging.getLogger()
    before = list(root.handlers), root.level
    yield
    root.handlers, level = before
    root.setLevel(level)


def files(folder: Path) -> dict[str, Path]:
    found = {}
    for name, text in (
        ("cards.csv", CARDS),
        ("held.csv", HELD),
        ("company.toml", QUOTAS),
        ("pools.toml", POOLS),
    ):
        found[name] = folder / name
        found[name].write_text(text, encoding="utf-8")
    return found


def command(data: Path, capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    code = main(["--data", str(data), "--log-level", "error", *arguments])
    said = capsys.readouterr()
    return code, said.out, said.err


def whole_way(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Imports, figures, a sprint and its undo; the same alone and through a collector that serves."""
    given = files(tmp_path)
    assert command(data, capsys, "import", "inventory", str(given["cards.csv"]))[0] == 0
    assert command(data, capsys, "import", "allocations", str(given["held.csv"]))[0] == 0
    for kind, name, rows in (("pools", "pools.toml", 1), ("quotas", "company.toml", 2)):
        code, out, _ = command(data, capsys, "import", kind, str(given[name]))
        (report,) = json.loads(out)["imports"]
        assert (code, report["rows_added"], report["rows_refused"]) == (0, rows, 0)
        code, out, err = command(data, capsys, "import", kind, str(given[name]))
        assert json.loads(out)["imports"][0]["imported_before"] is True
    at = "2026-10-21T06:00:00Z"
    code, out, _ = command(data, capsys, "quota", "show", "--at", at, "--json")
    (part,) = json.loads(out)["trees"][0]["cards"]
    figures = {node["quota"]: (node["used"], node["borrowed"], node["lent"]) for node in part["nodes"]}
    assert figures == {"a": ("3", "2", "0"), "b": ("0", "0", "2")}
    code, out, err = command(data, capsys, "quota", "show", "--at", at, "--tree", "nope")
    assert (code, out) == (2, "")
    assert "no quota tree 'nope'; there are " in err
    code, out, _ = command(
        data, capsys, "quota", "show", "--from", "2026-10-21T00:00:00Z", "--to", "2026-10-22T00:00:00Z"
    )
    lines = [line.split() for line in out.splitlines()]
    assert ["a", "24", "-", "36", "12", "24", "0", "0", "60"] in lines
    sprint = ("quota", "sprint", "train", "--department", "rd/a", "--from", "2026-10-21T05:00:00Z", "--to")
    code, out, err = command(data, capsys, *sprint, "2099-10-21T07:00:00Z", "--reason", "launch")
    assert code == 0, err
    number = json.loads(out)["sprint_id"]
    assert f"--cancel {number}" in err
    code, out, err = command(data, capsys, *sprint, "2026-10-21T06:00:00Z", "--reason", "again")
    assert code == 2
    assert f"sprint {number} of rd/a" in err
    code, out, _ = command(data, capsys, "quota", "show", "--at", at)
    assert "SPRINT" in out
    assert "launch" in out
    assert ["a", "4", "-", "3", "3", "0", "0", "0", "1"] in [line.split() for line in out.splitlines()]
    code, out, _ = command(data, capsys, "quota", "sprint", "--cancel", str(number))
    assert json.loads(out) == {"schema_version": 1, "sprint_id": number, "result": "ended"}


def test_the_command_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    whole_way(tmp_path / "data", tmp_path, capsys)


def test_what_is_missing_or_wrong_is_a_usage_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = tmp_path / "data"
    for arguments, says in (
        (
            ("quota", "show", "--at", "2026-10-21T00:00:00Z", "--from", "2026-10-21T00:00:00Z"),
            "--at is an instant",
        ),
        (("quota", "show", "--to", "2026-10-21T00:00:00Z"), "--to needs --from"),
        (("quota", "sprint", "train", "--department", "x"), "needs --from, --to, --reason"),
        (("import", "quotas"), "name the FILE"),
    ):
        code, out, err = command(data, capsys, *arguments)
        assert (code, out) == (2, ""), arguments
        assert says in err
    code, out, err = command(data, capsys, "quota", "show", "--at", "tomorrow")
    assert (code, out) == (2, "")
    assert "ISO 8601" in err


def test_every_schedulers_file_is_imported_by_its_content(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = tmp_path / "data"
    for name, code, rows in (
        ("kueue-v1beta2.json", 0, 8),
        ("volcano.json", 3, 7),
        ("koordinator.json", 0, 4),
        ("ack.json", 0, 7),
        ("slurm-assoc-tree.txt", 0, 7),
        ("slurm-qos.txt", 0, 2),
    ):
        arguments = ("import", "quotas", str(FIXTURES / name), "--cluster", "dc1")
        found, out, _ = command(data, capsys, *arguments)
        (report,) = json.loads(out)["imports"]
        assert (found, report["rows_added"]) == (code, rows), name
        command(data, capsys, *arguments)
        found, out, _ = command(data, capsys, *arguments, "--again")
        assert json.loads(out)["imports"][0]["rows_added"] == 0, name


def test_through_a_collector_that_serves(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    collector = CollectorProcess(tmp_path / "data")
    collector.start()
    try:
        whole_way(collector.directory, tmp_path, capsys)
        base = f"http://127.0.0.1:{collector.port}"
        with urllib.request.urlopen(
            f"{base}/api/v1/quotas?at=2026-10-21T04:00:00Z&tree=company", timeout=30
        ) as got:
            found = json.load(got)
        assert found["schema_version"] == 1
        assert [node["used"] for node in found["trees"][0]["cards"][0]["nodes"]] == ["3", "0"]
        with urllib.request.urlopen(f"{base}/api/v1/quotas/hours", timeout=30) as got:
            assert json.load(got)["truncated"] is False
        with urllib.request.urlopen(f"{base}/metrics", timeout=30) as got:
            text = got.read().decode()
        line = 'ullage_quota_cards{tree="company",pool="train",resource="cards",vendor="",model="",quota="b",kind="min"} 3'
        assert line in text.splitlines()
        assert text.count("# TYPE ullage_quota_cards gauge") == 1
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(f"{base}/api/v1/quotas?at=soon", timeout=30)
        assert refused.value.code == 400
        body = json.dumps({"file": "/etc/hostname"}).encode()
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(f"{base}/api/v1/import/quotas", body, timeout=30)
        assert refused.value.code == 403
        assert collector.stop() == 0
    finally:
        collector.ensure_ended()
