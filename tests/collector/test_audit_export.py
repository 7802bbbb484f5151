"""The audit's export: an edit or a gap shows, whatever part of it was exported."""

from __future__ import annotations

import csv
import json
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.collector.notify_world import AT

from ullage_collector import audit, audit_export
from ullage_collector.audit import AuditRow
from ullage_collector.audit_export import as_csv, as_jsonl, page, verify
from ullage_collector.cli import main
from ullage_collector.config import Store as StoreSettings
from ullage_collector.store.store import Store
from ullage_contract.clock import ManualClock
from ullage_contract.errors import BadInput


@pytest.fixture(autouse=True)
def _handlers() -> Iterator[None]:
    """A command logs to the stderr it was begun with; that one is gone after the test."""
    root = logging.getLogger()
    before = list(root.handlers), root.level
    yield
    root.handlers, root.level = before


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = Store.open(tmp_path / "collector/store.duckdb", StoreSettings(threads=1), ManualClock(wall=AT))
    with opened.write() as cursor:
        for n in range(10):
            reason = "=cmd()|' /C calc'!A0" if n == 3 else f"原因 {n}"
            row = AuditRow(
                AT + n * 3600, "ada", "isolate", f"GPU-{n % 2}", reason, "ok", {"n": n}, [{"x": n}]
            )
            audit.write(cursor, row)
    yield opened
    opened.close()


def lines(store: Store, **more: object) -> list[str]:
    return list(as_jsonl(page(store.cursor(), **more).rows))  # type: ignore[arg-type]


def test_an_export_as_it_came_is_whole(store: Store) -> None:
    found = verify(lines(store))
    assert (found.rows, found.wrong, found.gaps) == (10, (), ())


def test_an_edit_in_the_file_and_a_row_taken_out_of_it_show(store: Store) -> None:
    exported = lines(store)
    edited = json.loads(exported[4])
    edited["result"] = "nothing happened"
    assert verify([*exported[:4], json.dumps(edited), *exported[5:]]).wrong == (edited["audit_id"],)
    without = verify([*exported[:4], *exported[5:]])
    assert (without.wrong, without.gaps) == ((), ((4, 6),))


def test_an_edit_in_the_store_changes_every_hash_after_it(store: Store) -> None:
    before = [json.loads(line)["chain"] for line in lines(store)]
    with store.write() as cursor:
        cursor.execute("UPDATE audit SET reason = 'other' WHERE audit_id = 5")
    after = [json.loads(line)["chain"] for line in lines(store)]
    assert [a == b for a, b in zip(before, after, strict=True)] == [True] * 4 + [False] * 6


def test_pages_and_periods_have_the_chain_of_the_whole(store: Store) -> None:
    whole = lines(store)
    first = page(store.cursor(), most=4)
    second = page(store.cursor(), after=first.after, chain=first.chain, most=4)
    third = page(store.cursor(), after=second.after, chain=second.chain, most=4)
    assert (first.more, second.more, third.more) == (True, True, False)
    assert [line for p in (first, second, third) for line in as_jsonl(p.rows)] == whole
    assert lines(store, begin=AT + 2 * 3600, end=AT + 5 * 3600) == whole[2:5]
    mine = lines(store, subject="GPU-1")
    assert mine == whole[1::2]
    assert verify(mine).wrong == ()
    assert len(verify(mine).gaps) == 4


def test_a_spreadsheet_takes_no_reason_for_a_formula(store: Store) -> None:
    rows = list(csv.reader(as_csv(page(store.cursor()).rows)))
    assert rows[0][:4] == ["audit_id", "time", "actor", "action"]
    assert rows[4][5].startswith("'=cmd")
    assert all(len(row) == len(audit_export.COLUMNS) + 2 for row in rows)


def test_what_is_no_export_is_refused_with_its_line() -> None:
    with pytest.raises(BadInput, match="line 1"):
        verify(["{}"])


def test_the_commands_export_and_verify(
    store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store.close()
    common = ["--data", str(tmp_path), "audit"]
    config = tmp_path / "collector.toml"
    config.write_text("")
    common = ["--config", str(config), *common]
    assert main([*common, "export", "--from", "2026-10-21T14:00:00Z"]) == 0
    out = capsys.readouterr().out
    assert len(out.splitlines()) == 8
    (tmp_path / "a.jsonl").write_text(out)
    assert main([*common, "verify", str(tmp_path / "a.jsonl")]) == 0
    (tmp_path / "a.jsonl").write_text(out.replace("原因 5", "原因 6"))
    assert main([*common, "verify", str(tmp_path / "a.jsonl"), "--json"]) == 3
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["changed"] == [6]
    assert main(["--config", str(config), "--data", str(tmp_path), "incidents", "cost", "--json"]) == 3
    assert json.loads(capsys.readouterr().out)["incidents"] == []
