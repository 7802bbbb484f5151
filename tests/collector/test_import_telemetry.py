"""History in files of any shape: units, zones, nulls, refused rows, twice the same, overlaps, finer and coarser."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.collector.fleet_fixture import NOON, Fleet, card_sample

from ullage_collector.config import Store as StoreSettings
from ullage_collector.imports import map as maps
from ullage_collector.imports import telemetry, telemetry_rows
from ullage_collector.imports.door import import_file
from ullage_collector.imports.report import Report
from ullage_collector.store.store import Store
from ullage_contract.clock import ManualClock
from ullage_contract.errors import BadInput, ConfigError

CSV_MAP = """
[telemetry]
cluster = "c1"
node = "{host}"
subject = "{host}/{gpu}"
vendor = "nvidia"
model = "H800"
time = { column = "ts", unit = "s" }
[telemetry.metrics]
utilization_ratio = { column = "duty", factor = 0.01, null = ["N/A", "-1"] }
memory_used_bytes = { column = "mem_mib", factor = 1048576 }
energy_joules = { column = "mj", factor = 0.001 }
"""


class World:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.store = Store.open(folder / "store.duckdb", StoreSettings(threads=1), ManualClock(NOON + 86_400))

    def write(self, name: str, text: str, encoding: str = "utf-8") -> Path:
        path = self.folder / name
        path.write_text(text, encoding=encoding)
        return path

    def load(self, path: Path, map_text: str, **more: bool) -> Report:
        (report,) = import_file(self.store, "telemetry", path, maps.parse(map_text, "map.toml"), **more)
        return report

    def rows(self, sql: str, *parameters: object) -> list[tuple]:
        return self.store.reader().execute(sql, list(parameters)).fetchall()


@pytest.fixture
def world(tmp_path: Path):
    world = World(tmp_path)
    yield world
    world.store.close()


def line(minute: int, duty: object = 50, gpu: int = 0, mem: object = 1024, mj: object = "") -> str:
    return f"n1,{gpu},{int(NOON) + minute * 60},{duty},{mem},{mj}\n"


HEADER = "host,gpu,ts,duty,mem_mib,mj\n"


def test_units_and_identities_are_what_the_map_says(world: World) -> None:
    path = world.write("a.csv", HEADER + line(0, 25, 3, 2048, 1500) + line(1, 75, 3, 2048, 4500))
    report = world.load(path, CSV_MAP)
    assert (report.rows_read, report.rows_added, report.rows_refused) == (2, 2, 0)
    assert world.rows(
        "SELECT card_id, node_id, cluster_id, vendor, model, utilization_ratio, utilization_ratio_max, memory_used_bytes, "
        "energy_joules_increase, covered_seconds, samples, m.origin, c.origin "
        "FROM card_minute m JOIN card c USING (card_key) JOIN node n ON n.node_key = m.node_key ORDER BY minute"
    ) == [
        (
            "n1/3",
            "n1",
            "c1",
            "nvidia",
            "H800",
            0.25,
            0.25,
            2048 * 2**20,
            None,
            60.0,
            1,
            "imported",
            "imported",
        ),
        (
            "n1/3",
            "n1",
            "c1",
            "nvidia",
            "H800",
            0.75,
            0.75,
            2048 * 2**20,
            3.0,
            60.0,
            1,
            "imported",
            "imported",
        ),
    ]
    assert world.rows("SELECT utilization_ratio, covered_seconds FROM card_hour") == [(0.5, 120.0)]
    assert world.rows("SELECT epoch(first_seen), epoch(last_seen) FROM card") == [(NOON, NOON + 60)]


def test_what_means_missing_is_unknown_and_never_zero(world: World) -> None:
    path = world.write(
        "a.csv", HEADER + line(0, "N/A") + line(1, "-1") + line(2, "") + line(3, "NaN") + line(4, 0)
    )
    report = world.load(path, CSV_MAP)
    assert report.rows_refused == 0
    assert [r[0] for r in world.rows("SELECT utilization_ratio FROM card_minute ORDER BY minute")] == [
        None
    ] * 4 + [0.0]


def test_a_bad_row_is_refused_counted_and_listed_while_the_rest_goes_on(world: World) -> None:
    bad = [
        line(1, "busy"),
        line(2, 9300),
        "n1,0,yesterday,50,1,\n",
        f",0,{int(NOON) + 240},50,1,\n",
        f"n1,0,{int(NOON) + 300},50,1,7,8,9\n",
        f"n1,0,{int(NOON) + 360},50,-5e40,\n",
    ]
    path = world.write("a.csv", HEADER + line(0) + "".join(bad) + line(9))
    report = world.load(path, CSV_MAP)
    assert (report.rows_read, report.rows_added, report.rows_refused) == (8, 2, 6)
    reasons = dict(report.refusals)
    assert "busy" in reasons[2]
    assert "factor = 0.01" in reasons[3]
    assert "time" in reasons[4]
    assert "cluster or node" in reasons[5]
    assert len(reasons) == 6


def test_only_the_first_twenty_refused_rows_are_listed_and_all_are_counted(world: World) -> None:
    path = world.write("a.csv", HEADER + "".join(line(i, "x") for i in range(50)) + line(60))
    report = world.load(path, CSV_MAP)
    assert report.rows_refused == 50
    assert len(report.refusals) == 20
    assert report.rows_added == 1


def test_the_same_file_twice_adds_nothing_and_an_overlap_only_what_is_new(world: World) -> None:
    first = world.write("a.csv", HEADER + "".join(line(i) for i in range(10)))
    second = world.write("b.csv", HEADER + "".join(line(i, 99) for i in range(5, 15)))
    assert world.load(first, CSV_MAP).rows_added == 10
    again = world.load(first, CSV_MAP)
    assert again.again
    assert again.rows_added == 0
    forced = world.load(first, CSV_MAP, again=True)
    assert (forced.rows_added, forced.rows_present) == (0, 10)
    overlap = world.load(second, CSV_MAP)
    assert (overlap.rows_added, overlap.rows_present) == (5, 5)
    assert world.rows("SELECT count(*), count(DISTINCT minute), sum(covered_seconds) FROM card_minute") == [
        (15, 15, 900.0)
    ]
    assert world.rows("SELECT covered_seconds FROM card_hour") == [(900.0,)]
    assert world.rows("SELECT utilization_ratio FROM card_minute WHERE minute = '2026-10-21 12:07'") == [
        (0.5,)
    ]
    assert len(world.rows("SELECT * FROM import")) == 2


def test_naive_times_are_of_the_maps_zone(world: World) -> None:
    text = CSV_MAP.replace('{ column = "ts", unit = "s" }', '{ column = "ts", zone = "Asia/Shanghai" }')
    rows = ["2026-10-21 20:00:00", "2026-10-21T12:01:00Z", "2026-10-21T20:02:00+08:00"]
    path = world.write("a.csv", HEADER + "".join(f"n1,0,{t},50,1,\n" for t in rows))
    assert world.load(path, text).rows_added == 3
    assert [r[0] for r in world.rows("SELECT epoch(minute) FROM card_minute ORDER BY 1")] == [
        NOON,
        NOON + 60,
        NOON + 120,
    ]


@pytest.mark.parametrize(("unit", "factor"), [("s", 1), ("ms", 1000), ("us", 10**6), ("ns", 10**9)])
def test_epochs_of_any_unit_and_offset(world: World, unit: str, factor: int) -> None:
    table = pa.table(
        {
            "host": ["n1"],
            "gpu": [0],
            "ts": [int(NOON - 1000) * factor],
            "duty": [1.0],
            "mem_mib": [1],
            "mj": [1.0],
        }
    )
    pq.write_table(table, world.folder / "a.parquet")
    text = CSV_MAP.replace('unit = "s"', f'unit = "{unit}", offset_seconds = 1000')
    assert world.load(world.folder / "a.parquet", text).rows_added == 1
    assert world.rows("SELECT epoch(minute) FROM card_minute") == [(NOON,)]


def test_typed_timestamps_with_and_without_a_zone(world: World) -> None:
    for number, type_ in enumerate(
        (pa.timestamp("us"), pa.timestamp("ms"), pa.timestamp("us", tz="Asia/Tokyo"))
    ):
        at = (
            pa.array([int((NOON + 60 * number) * 1e6)], pa.int64())
            .cast(pa.timestamp("us", tz=type_.tz))
            .cast(type_)
        )
        pq.write_table(
            pa.table({"host": ["n1"], "gpu": [0], "ts": at, "duty": [1.0], "mem_mib": [1], "mj": [1.0]}),
            world.folder / f"{number}.parquet",
        )
        assert (
            world.load(world.folder / f"{number}.parquet", CSV_MAP.replace(', unit = "s"', "")).rows_added
            == 1
        )
    assert [r[0] for r in world.rows("SELECT epoch(minute) FROM card_minute ORDER BY 1")] == [
        NOON,
        NOON + 60,
        NOON + 120,
    ]


def test_finer_rows_become_exact_minutes(world: World) -> None:
    rows = "".join(f"n1,0,{int(NOON) + s},{10 if s < 30 else 90},1,{s * 1000}\n" for s in range(0, 120, 10))
    report = world.load(
        world.write("a.csv", HEADER + rows),
        CSV_MAP.replace("[telemetry.metrics]", "interval_seconds = 10\n[telemetry.metrics]"),
    )
    assert report.rows_added == 12
    assert world.rows(
        "SELECT covered_seconds, samples, utilization_ratio, utilization_ratio_max, energy_joules_increase FROM card_minute ORDER BY minute"
    ) == [
        (60.0, 6, pytest.approx(0.5), pytest.approx(0.9), 50.0),
        (60.0, 6, pytest.approx(0.9), pytest.approx(0.9), 60.0),
    ]


def test_coarser_rows_stand_for_their_whole_interval(world: World) -> None:
    rows = "".join(f"n1,0,{int(NOON) + 300 * i},{8 * i},1,\n" for i in range(12))
    world.load(
        world.write("a.csv", HEADER + rows),
        CSV_MAP.replace("[telemetry.metrics]", "interval_seconds = 300\n[telemetry.metrics]"),
    )
    assert world.rows("SELECT count(*), sum(covered_seconds) FROM card_minute") == [(60, 3600.0)]
    assert world.rows("SELECT covered_seconds, utilization_ratio FROM card_hour") == [
        (3600.0, pytest.approx(0.44))
    ]


def test_two_rows_in_a_minute_are_one_minute(world: World) -> None:
    path = world.write("a.csv", HEADER + f"n1,0,{int(NOON)},20,1,\n" + f"n1,0,{int(NOON) + 30},40,1,\n")
    report = world.load(path, CSV_MAP)
    assert (report.rows_added, report.rows_refused) == (2, 0)
    assert world.rows(
        "SELECT utilization_ratio, samples FROM card_minute WHERE minute = '2026-10-21 12:00'"
    ) == [(pytest.approx(0.3), 2)]


def test_what_an_agent_sent_is_believed_before_an_import(tmp_path: Path) -> None:
    fleet = Fleet(tmp_path, ManualClock(wall=NOON + 7200))
    fleet.push(
        [card_sample("n1/0", NOON + 10 * i, {"utilization_ratio": 0.9}) for i in range(6)], at=NOON + 60
    )
    fleet.writer.drain()
    fleet.rollup.catch_up()
    path = tmp_path / "a.csv"
    path.write_text(HEADER + line(0, 10) + line(1, 10))
    (report,) = import_file(fleet.store, "telemetry", path, maps.parse(CSV_MAP, "map.toml"))
    assert (report.rows_added, report.rows_present) == (1, 1)
    assert fleet.rows("SELECT utilization_ratio, origin FROM card_minute ORDER BY minute") == [
        (pytest.approx(0.9), "real"),
        (pytest.approx(0.1), "imported"),
    ]
    fleet.close()


def test_an_import_marks_its_days_for_a_new_revision(world: World) -> None:
    world.load(world.write("a.csv", HEADER + line(0) + line(24 * 60)), CSV_MAP)
    assert [str(r[0]) for r in world.rows("SELECT day FROM touched_day ORDER BY 1")] == [
        "2026-10-21",
        "2026-10-22",
    ]


def test_json_lines_with_a_broken_one(world: World) -> None:
    good = [
        json.dumps({"host": "n1", "gpu": 0, "ts": int(NOON) + 60 * i, "duty": 50, "mem_mib": 1, "mj": None})
        for i in range(3)
    ]
    path = world.write("a.jsonl", "\n".join([good[0], "{not json", good[1], "[1]", good[2]]) + "\n")
    report = world.load(path, CSV_MAP)
    assert (report.rows_added, report.rows_refused) == (3, 2)
    assert [row for row, _ in report.refusals] == [2, 4]


def test_a_chinese_spreadsheets_encoding(world: World) -> None:
    text = (
        CSV_MAP.replace("{host}", "{主机}").replace('"duty"', '"使用率"') + '\n[file]\nencoding = "gb18030"\n'
    )
    path = world.write("a.csv", f"主机,gpu,ts,使用率,mem_mib,mj\n北京一号,0,{int(NOON)},50,1,\n", "gb18030")
    assert world.load(path, text).rows_added == 1
    assert world.rows("SELECT card_id FROM card") == [("北京一号/0",)]


def test_filters_skip_and_are_counted(world: World) -> None:
    text = CSV_MAP + '\n[[telemetry.filter]]\ncolumn = "gpu"\nis = ["0"]\n'
    report = world.load(world.write("a.csv", HEADER + line(0) + line(0, gpu=1) + line(1)), text)
    assert (report.rows_read, report.rows_added, report.rows_skipped) == (3, 2, 1)


def test_columns_named_as_the_catalogue_need_no_map(world: World) -> None:
    at = pa.array([int(NOON * 1e6)], pa.int64()).cast(pa.timestamp("us"))
    table = pa.table(
        {
            "time": at,
            "node_id": ["n1"],
            "card_id": ["GPU-1"],
            "vendor": ["NVIDIA"],
            "model": ["H800"],
            "power_watts": [300.5],
            "health": ["ok"],
            "throttle_reasons": [5],
            "ours": ["x"],
        }
    )
    pq.write_table(table, world.folder / "t.parquet")
    (report,) = import_file(world.store, "telemetry", world.folder / "t.parquet", maps.load(None))
    assert report.rows_added == 1
    assert world.rows(
        "SELECT power_watts, health, throttle_reasons, vendor FROM card_minute JOIN card USING (card_key)"
    ) == [(300.5, "ok", 5, "nvidia")]


def test_nodes_and_ports_come_in_too(world: World) -> None:
    path = world.write(
        "p.csv",
        "id,ts,rx\n"
        + f"n1/mlx5_0/1,{int(NOON)},5\nn1/mlx5_0/1,{int(NOON) + 60},25\nnonsense,{int(NOON)},5\n",
    )
    text = '[telemetry]\nfamily = "port"\nnode = "n1"\nsubject = "{id}"\ntime = { column = "ts", unit = "s" }\n[telemetry.metrics]\nrcv_data_bytes = { column = "rx", factor = 4 }\n'
    report = world.load(path, text)
    assert (report.rows_added, report.rows_refused) == (2, 1)
    assert world.rows("SELECT rcv_data_bytes_increase FROM port_minute ORDER BY minute") == [(None,), (80.0,)]
    text = '[telemetry]\nfamily = "node"\nnode = "n1"\ntime = { column = "ts", unit = "s" }\nsubject = "n1"\n[telemetry.metrics]\nload1 = "rx"\n'
    assert world.load(path, text).rows_added == 3
    assert world.rows("SELECT count(*), max(load1_max) FROM node_minute") == [(2, 25.0)]


def test_unsorted_files_go_through_the_stage_and_give_the_same(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (telemetry, telemetry_rows):
        monkeypatch.setattr(module, "PIECE_ROWS", 100)
    cards, minutes = 4, 3 * 1440
    times = [int(NOON) - 86_400 + 60 * m for _ in range(cards) for m in range(minutes)]
    table = pa.table({
        "host": ["n1"] * len(times), "gpu": [c for c in range(cards) for _ in range(minutes)], "ts": times,
        "duty": [float((c * 7 + m) % 100) for c in range(cards) for m in range(minutes)],
        "mem_mib": [1] * len(times), "mj": [float(m) for _ in range(cards) for m in range(minutes)],
    })  # fmt: skip
    pq.write_table(table, world.folder / "by_card.parquet", row_group_size=5000)
    report = world.load(world.folder / "by_card.parquet", CSV_MAP)
    assert report.rows_added == cards * minutes
    assert world.rows(
        "SELECT count(*), sum(covered_seconds), round(sum(energy_joules_increase), 6) FROM card_minute"
    ) == [(cards * minutes, cards * minutes * 60.0, round(cards * (minutes - 1) * 0.001, 6))]
    assert world.rows("SELECT sum(covered_seconds) FROM card_hour") == [(cards * minutes * 60.0,)]
    assert not list(world.folder.glob("import-*"))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('[telemetry]\ntime = "ts"\n[telemetry.metrics]\npower = "x"\n', "no metric of a card"),
        ('[telemetry]\nnod = "{x}"\n', "did you mean node"),
        ('[telemetry]\nnode = "{x"\n', "braces"),
        ('[telemetry]\ntime = { column = "ts", zone = "Mars/Olympus" }\n', "IANA"),
        ('also = ["inventory"]\n[telemetry]\n', r"no \[inventory\]"),
    ],
)
def test_a_wrong_map_is_told_by_file_key_and_what_to_write(text: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        maps.parse(text, "map.toml")


def test_a_column_the_file_has_not_is_told_with_those_it_has(world: World) -> None:
    with pytest.raises(ConfigError, match=r"no column 'host'.*hosts"):
        world.load(world.write("a.csv", "hosts,ts,duty,mem_mib,mj\nn1,1,2,3,4\n"), CSV_MAP)


def test_a_file_that_is_none_is_refused_whole(world: World) -> None:
    with pytest.raises(BadInput, match="cannot be read as parquet"):
        world.load(world.write("a.parquet", "no parquet"), CSV_MAP)
    with pytest.raises(BadInput, match="cannot be read"):
        world.load(world.folder / "absent.csv", CSV_MAP)


def test_a_map_cannot_smuggle_sql(world: World) -> None:
    evil = "x' || (SELECT count(*) FROM card) || '"
    text = CSV_MAP.replace('cluster = "c1"', f'cluster = "{evil}"')
    assert world.load(world.write("a.csv", HEADER + line(0)), text).rows_added == 1
    assert world.rows("SELECT cluster_id FROM node") == [(evil,)]


def test_every_shipped_map_parses() -> None:
    for name in maps.shipped():
        if name != "dcgm_exporter":
            assert maps.load(name).kinds()
