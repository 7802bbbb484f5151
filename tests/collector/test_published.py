"""Published days: whole or not at all, newest revision wins, nothing read but folders."""

from __future__ import annotations

import hashlib
import json
import re
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import duckdb
import pytest
from tests.collector.fleet_world import DAY, LATER, NANO, World, us

from ullage_collector import published
from ullage_collector.ledger import ATOMS_PER_UNIT
from ullage_collector.publish import files
from ullage_collector.publish.files import prune_dimensions, publish_dimensions, publish_facts_day, record
from ullage_collector.published import Published
from ullage_collector.revision import Manifest, write_revision
from ullage_collector.states import States
from ullage_contract.errors import StoreError

TODAY = DAY.date()
NEXT = DAY + timedelta(days=1)


def small() -> World:
    world = World()
    world.card("G1", "H800")
    world.card("G2", "A100", origin="simulated")
    world.price("H800", 20_000_000)
    world.rule("slurm:nlp", "nlp")
    world.hold("G1", "slurm/dc1/nlp/1", 0, 12, NANO // 4)
    return world


def publish(world: World, root: Path, status: str = "provisional", day: date = TODAY) -> Manifest:
    States(world.db).make(day, LATER)
    publish_dimensions(world.db, root, now=LATER)
    return publish_facts_day(world.db, root, day, status=status, now=LATER)


def test_a_published_day_reads_back_as_the_segments_it_was_made_of(tmp_path: Path) -> None:
    world = small()
    manifest = publish(world, tmp_path)
    assert (manifest.revision, manifest.status, manifest.day) == (1, "provisional", TODAY)
    assert manifest.facts["origins"] == ["real", "simulated"]
    with Published(tmp_path).open(DAY, NEXT) as facts:
        assert facts.missing == ()
        assert not facts.sealed
        rows = facts.rows(
            "SELECT department_id, state, sum(quantity), sum(atoms), any_value(source_rows) FROM segment "
            "WHERE card_id = 'G1' GROUP BY ALL ORDER BY ALL"
        )
        assert [(d, s, q, a) for d, s, q, a, _ in rows] == [
            ("nlp", "unknown", 3 * 3_600_000_000 * NANO, 60 * ATOMS_PER_UNIT),
            ("platform", "fragmented", 9 * 3_600_000_000 * NANO, 180 * ATOMS_PER_UNIT),
            ("platform", "unallocated_idle", 12 * 3_600_000_000 * NANO, 240 * ATOMS_PER_UNIT),
        ]
        assert rows[0][4].split(" ")[1].startswith("allocation=")
        assert facts.rows("SELECT count(DISTINCT line_id) = count(*) FROM segment") == [(True,)]
        assert facts.rows("SELECT atoms IS NULL, count(*) FROM segment WHERE card_id = 'G2' GROUP BY 1") == [
            (True, 24)
        ]
        assert facts.rows(
            "SELECT owned_quantity, held_quantity, known_quantity FROM coverage WHERE card_id = 'G1' LIMIT 1"
        ) == [(3_600_000_000 * NANO, 900_000_000 * NANO, None)]


def test_columns_are_those_the_interface_promises(tmp_path: Path) -> None:
    manifest = publish(small(), tmp_path)
    pages = Path(__file__).parents[2] / "docs" / "interfaces.md"
    listed = re.search(r"`(line_id,[^`]+)`", pages.read_text(encoding="utf-8"))
    assert listed is not None
    promised = [name.strip() for name in listed[1].replace("\n", " ").split(",")]
    described = duckdb.sql(
        f"DESCRIBE SELECT * FROM read_parquet('{manifest.path('segments.parquet')}', hive_partitioning = false)"
    ).fetchall()
    assert [row[0] for row in described] == promised
    assert dict((row[0], row[1]) for row in described)["cost_atoms"] == "DECIMAL(38,0)"


def test_a_span_is_cut_to_the_microsecond_and_the_cost_with_it(tmp_path: Path) -> None:
    publish(small(), tmp_path)
    start = DAY + timedelta(hours=5, minutes=30)  # a midnight of a half-hour zone
    with Published(tmp_path).open(start, start + timedelta(minutes=45)) as facts:
        assert facts.rows(
            "SELECT min(from_us), max(to_us), sum(atoms) FROM segment WHERE card_id = 'G1'"
        ) == [(us(5.5), us(6.25), 15 * ATOMS_PER_UNIT)]


def test_publishing_twice_adds_nothing_and_late_data_a_revision(tmp_path: Path) -> None:
    world = small()
    first = publish(world, tmp_path)
    assert publish(world, tmp_path) == first
    world.minutes("G1", 0, 24, 0.9)
    second = publish(world, tmp_path)
    assert second.revision == 2
    assert Published(tmp_path).facts(TODAY) == second
    assert first.folder.exists()


def test_sealing_is_a_revision_and_stays(tmp_path: Path) -> None:
    world = small()
    publish(world, tmp_path)
    sealed = publish(world, tmp_path, "sealed")
    assert (sealed.revision, sealed.status) == (2, "sealed")
    assert publish(world, tmp_path, "provisional") == sealed
    with Published(tmp_path).open(DAY, NEXT) as facts:
        assert facts.sealed


def test_days_that_are_not_there_are_named_and_empty_views_still_answer(tmp_path: Path) -> None:
    with Published(tmp_path / "nowhere").open(DAY, NEXT + timedelta(hours=1)) as facts:
        assert facts.missing == (date(2026, 10, 7), date(2026, 10, 8))
        assert facts.rows(
            "SELECT count(*), sum(atoms) FROM segment JOIN department USING (department_id)"
        ) == [(0, None)]
    assert Published(tmp_path / "nowhere").days() == []


def test_a_file_an_older_ullage_did_not_publish_reads_as_no_rows_and_any_other_is_missed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = publish(small(), tmp_path)
    told = manifest.folder / "manifest.json"
    data = json.loads(told.read_text())
    del data["files"]["coverage.parquet"]
    told.write_text(json.dumps(data))
    with pytest.raises(StoreError, match=r"names no coverage\.parquet"), Published(tmp_path).open(DAY, NEXT):
        pass
    monkeypatch.setattr(published, "LATER", published.LATER | {"coverage.parquet"})
    with Published(tmp_path).open(DAY, NEXT) as facts:
        assert facts.rows("SELECT count(*) FROM coverage") == [(0,)]
        assert facts.rows("SELECT count(*) > 0 FROM segment") == [(True,)]


def test_a_half_made_revision_is_passed_over(tmp_path: Path) -> None:
    first = publish(small(), tmp_path)
    torn = first.folder.parent / "rev=2"
    torn.mkdir()
    (torn / "segments.parquet").write_bytes(b"PAR1")
    assert Published(tmp_path).facts(TODAY) == first
    world = small()
    world.price("A100", 1)
    assert publish(world, tmp_path).revision == 3  # never into a folder that is there


@pytest.mark.parametrize("harm", ["cut", "change", "remove"])
def test_a_file_that_is_not_what_its_manifest_says_is_refused(tmp_path: Path, harm: str) -> None:
    manifest = publish(small(), tmp_path)
    file = manifest.path("segments.parquet")
    body = file.read_bytes()
    if harm == "cut":
        file.write_bytes(body[:-9])
    elif harm == "change":
        file.write_bytes(body[:200] + bytes([body[200] ^ 1]) + body[201:])
    else:
        file.unlink()
    with pytest.raises(StoreError, match=r"segments\.parquet"), Published(tmp_path).open(DAY, NEXT):
        pass


def test_a_manifest_of_a_newer_version_is_refused_not_guessed(tmp_path: Path) -> None:
    manifest = publish(small(), tmp_path)
    path = manifest.folder / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "schema_version": 99}))
    with pytest.raises(StoreError, match="newer"):
        Published(tmp_path).facts(TODAY)


def test_when_writing_fails_nothing_is_left_in_a_readers_way(tmp_path: Path) -> None:
    def full(folder: Path) -> dict[str, object]:
        (folder / "segments.parquet").write_bytes(b"half")
        raise OSError(28, "No space left on device")

    parent = tmp_path / "facts" / "day=2026-10-07"
    with pytest.raises(StoreError, match="No space left"):
        write_revision(parent, what="facts", day=TODAY, status="sealed", now=LATER, write=full)
    assert list(parent.iterdir()) == []


def test_names_with_quotes_and_folders_with_quotes_do_no_harm(tmp_path: Path) -> None:
    root = tmp_path / "o'brien"
    world = small()
    world.department("x'; DROP TABLE segment; --", "\u202ename'")
    publish(world, root)
    with Published(root).open(DAY, NEXT) as facts:
        assert facts.rows("SELECT department_id FROM department") == [("x'; DROP TABLE segment; --",)]


def test_a_revision_is_noted_in_the_store_and_dimensions_change_only_when_they_do(tmp_path: Path) -> None:
    world = small()
    manifest = publish(world, tmp_path)
    record(world.db, manifest)
    assert world.db.execute("SELECT what, day, revision, digest FROM published").fetchall() == [
        ("facts", TODAY, 1, manifest.digest)
    ]
    later = datetime(2026, 12, 1, tzinfo=UTC)
    assert publish_dimensions(world.db, tmp_path, now=later).revision == 1
    world.department("rd", "Research")
    assert publish_dimensions(world.db, tmp_path, now=later).revision == 2


def test_energy_and_remainders_cut_at_any_instant_are_the_whole_again(tmp_path: Path) -> None:
    manifest = publish(small(), tmp_path)
    told = manifest.folder / "manifest.json"
    data = json.loads(told.read_text())
    start = int(DAY.timestamp()) * 1_000_000
    with duckdb.connect() as db:
        db.execute(
            "COPY (SELECT 'a' AS line_id, ?::BIGINT AS from_us, ?::BIGINT AS to_us, 1000000007::BIGINT AS energy_mj, 1370::BIGINT "
            "AS pue_milli, 335800::BIGINT AS tariff_micro, 'CNY' AS currency, 0::DECIMAL(38, 0) AS cost_atoms) TO '"
            f"{manifest.folder / 'energy.parquet'}'",
            [start, start + 3_600_000_000],
        )
        db.execute(
            "COPY (SELECT 'r' AS line_id, ?::BIGINT AS from_us, ?::BIGINT AS to_us, (-43199999999999999999999989)::DECIMAL(38, 0) "
            f"AS cost_atoms) TO '{manifest.folder / 'remainder.parquet'}'",
            [start, start + 86_400_000_000],
        )
    for name in ("energy.parquet", "remainder.parquet"):
        body = (manifest.folder / name).read_bytes()
        data["files"][name] = {"bytes": len(body), "sha256": hashlib.sha256(body).hexdigest()}
    told.write_text(json.dumps(data))
    energy = remainder = cost = 0
    edges = [DAY, DAY + timedelta(minutes=13, microseconds=7), DAY + timedelta(minutes=30), NEXT]
    for a, b in pairwise(edges):
        with Published(tmp_path).open(a, b) as facts:
            mj, atoms = facts.rows("SELECT sum(energy_mj), sum(cost_atoms) FROM energy")[0]
            energy, cost = energy + int(mj or 0), cost + int(atoms or 0)
            remainder += int(facts.rows("SELECT sum(cost_atoms) FROM remainder")[0][0])
    assert energy == 1_000_000_007
    assert cost == 1_000_000_007 * 1370 * 335_800 * 10**6
    assert remainder == -43199999999999999999999989


def test_columns_that_an_older_ullage_did_not_publish_read_as_null(tmp_path: Path) -> None:
    manifest = publish(small(), tmp_path)
    told = manifest.folder / "manifest.json"
    data = json.loads(told.read_text())
    old = manifest.folder / "segments.parquet"
    with duckdb.connect() as db:
        db.execute(f"CREATE TABLE line AS SELECT * EXCLUDE (list_micro) FROM read_parquet('{old}')")
        db.execute(f"COPY line TO '{old}' (FORMAT parquet)")
    body = old.read_bytes()
    data["files"]["segments.parquet"] = {
        "bytes": len(body),
        "sha256": hashlib.sha256(body).hexdigest(),
    }
    told.write_text(json.dumps(data))
    with Published(tmp_path).open(DAY, NEXT) as facts:
        assert facts.rows("SELECT count(list_micro), count(*) > 0, sum(atoms) > 0 FROM segment") == [
            (0, True, True)
        ]


def test_a_folder_that_is_named_after_no_day_is_passed_over(tmp_path: Path) -> None:
    publish(small(), tmp_path)
    for name in (
        "day=2026-02-30",
        "day=0000-00-00",
        "day=2026-10-07\n",
        "day=٢٠٢٦-١٠-٠٧",
        "day=x",
        "lost+found",
    ):
        (tmp_path / "facts" / name).mkdir()
    assert Published(tmp_path).days() == [TODAY]


@pytest.mark.parametrize(
    "text",
    [
        "[" * 100_000,
        '{"schema_version": 1, "revision": Infinity}',
        "null",
        '{"schema_version": 1, "what": "facts", "day": null, "revision": 1, "status": "sealed", '
        '"published_at": "2026-10-08T00:00:00", "files": {}}',
    ],
)
def test_what_is_no_manifest_is_named_in_one_line(tmp_path: Path, text: str) -> None:
    manifest = publish(small(), tmp_path)
    (manifest.folder / "manifest.json").write_text(text, encoding="utf-8")
    with pytest.raises(
        StoreError, match=r"manifest\.json: is no manifest .*bring it back from a backup"
    ) as told:
        Published(tmp_path).facts(TODAY)
    assert "\n" not in str(told.value) and len(str(told.value)) < 600


@pytest.mark.parametrize("harm", ["torn", "gone"])
@pytest.mark.parametrize("what", ["facts", "dimensions"])
def test_publishing_again_puts_back_what_was_damaged_and_the_revision_stays(
    tmp_path: Path, what: str, harm: str
) -> None:
    world = small()
    publish(world, tmp_path)
    known = Published(tmp_path)
    manifest = known.facts(TODAY) if what == "facts" else known.dimensions()
    assert manifest is not None
    file = manifest.path("segments.parquet" if what == "facts" else "price.parquet")
    if harm == "torn":
        file.write_bytes(b"PAR1 torn")
    else:
        file.unlink()
    remedy = "publish --day 2026-10-07" if what == "facts" else "publish names and prices again"
    for verify in (True, False):  # by its manifest, and by what DuckDB says of it
        with (
            pytest.raises(StoreError, match=rf"{file.name}: .*{remedy}"),
            known.open(DAY, NEXT, verify=verify) as facts,
        ):
            facts.rows("SELECT * FROM segment")
            facts.rows("SELECT * FROM price")
    publish(world, tmp_path)
    again = known.facts(TODAY) if what == "facts" else known.dimensions()
    assert again == manifest
    with known.open(DAY, NEXT) as facts:
        assert facts.rows("SELECT count(*) > 0 FROM segment") == [(True,)]


def test_closings_that_cannot_be_read_say_what_helps(tmp_path: Path) -> None:
    publish(small(), tmp_path)
    names = Published(tmp_path).dimensions()
    assert names is not None
    names.path("closing.parquet").write_bytes(b"PAR1 torn")
    with pytest.raises(StoreError, match=r"closing\.parquet: is not what .* publish names and prices again"):
        Published(tmp_path).closings()


def test_what_a_killed_publisher_left_is_removed_by_the_next_whoever_it_is(tmp_path: Path) -> None:
    parent = tmp_path / "facts" / "day=2026-10-07"
    left, elsewhere = parent / ".making-999999-rev=1", tmp_path / "elsewhere"
    left.mkdir(parents=True)
    (left / "segments.parquet").write_bytes(b"half")
    (parent / ".making-notes").mkdir()
    elsewhere.mkdir()
    (elsewhere / "kept").touch()
    (parent / ".making-7-rev=1").symlink_to(elsewhere, target_is_directory=True)
    assert publish(small(), tmp_path).revision == 1
    assert not left.exists()
    assert (parent / ".making-notes").exists(), "not a publisher's"
    assert (elsewhere / "kept").exists(), "a link is not followed"


def test_a_revision_of_names_that_cannot_be_removed_is_not_told_as_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = small()
    publish(world, tmp_path)
    for number in range(2):
        world.department(f"d{number}", "D")
        publish_dimensions(world.db, tmp_path, now=LATER)
    before, rename = LATER + timedelta(days=1), Path.rename

    def stuck(path: Path, to: Path) -> Path:
        if path.name == "rev=1":
            raise OSError(13, "Permission denied")
        return rename(path, to)

    monkeypatch.setattr(Path, "rename", stuck)
    with monkeypatch.context() as busy:
        busy.setattr(files.shutil, "rmtree", lambda path: (_ for _ in ()).throw(OSError(16, "busy")))
        assert prune_dimensions(tmp_path, keep=(), before=before) == [2]
    left = tmp_path / "dimensions"
    assert sorted(path.name for path in left.iterdir()) == [".removed-rev=2", "rev=1", "rev=3"]
    monkeypatch.undo()
    assert prune_dimensions(tmp_path, keep=(), before=before) == [1]
    assert sorted(path.name for path in left.iterdir()) == ["rev=3"]
