"""The demonstration's history: the same for one seed, nobody holds more than a card, truth fits telemetry."""

from __future__ import annotations

import csv
import hashlib
import itertools
import json
import tomllib
from datetime import date
from pathlib import Path

import pytest

duckdb = pytest.importorskip("duckdb", reason="needs the collector extra")
pytest.importorskip("numpy", reason="needs the dev extra")

from demo import fleet as demo_fleet  # noqa: E402
from demo.places import CARDS_PER_SERVER, GROUPS, fleet  # noqa: E402

from ullage_agent.backends.simulated.models import MODELS, identity  # noqa: E402
from ullage_collector.mapping import Mapper, Rule, Subject  # noqa: E402
from ullage_contract.catalogue import keys  # noqa: E402
from ullage_contract.event import KINDS  # noqa: E402
from ullage_contract.sample import Family  # noqa: E402

END = date(2026, 11, 20)
DAYS = 3
SERVERS = 16


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("fleet")
    demo_fleet.make(out, servers=SERVERS, days=DAYS, end=END, seed=7)
    return out


def query(sql: str, folder: Path) -> list[tuple[object, ...]]:
    with duckdb.connect() as connection:
        connection.execute(f"SET file_search_path = '{folder}'")
        return connection.execute(sql).fetchall()


def test_the_same_seed_gives_the_same_files(made: Path, tmp_path: Path) -> None:
    demo_fleet.make(tmp_path, servers=SERVERS, days=DAYS, end=END, seed=7)
    for file in sorted(made.iterdir()):
        digests = [
            hashlib.sha256((folder / file.name).read_bytes()).hexdigest() for folder in (made, tmp_path)
        ]
        assert digests[0] == digests[1], file.name


def test_every_column_is_the_catalogues_and_every_row_says_simulated(made: Path) -> None:
    columns = [row[0] for row in query("DESCRIBE FROM 'telemetry.parquet'", made)]
    own = {"time", "cluster_id", "node_id", "card_id", "vendor", "model", "origin", "interval_seconds"}
    assert set(columns) - own <= set(keys(Family.CARD))
    for table in ("telemetry", "allocations"):
        assert query(f"SELECT DISTINCT origin FROM '{table}.parquet'", made) == [("simulated",)]
    assert query("SELECT count(*) FROM 'telemetry.parquet' WHERE card_id NOT LIKE 'SIM-%'", made) == [(0,)]


def test_five_makers_and_the_window_is_full(made: Path) -> None:
    summary = json.loads((made / "fleet.json").read_text())
    rows = query(
        "SELECT count(*), count(DISTINCT card_id), count(DISTINCT vendor), epoch(min(time)), epoch(max(time)) FROM 'telemetry.parquet'",
        made,
    )[0]
    assert rows[:3] == (summary["telemetry_rows"], SERVERS * CARDS_PER_SERVER, 5)
    assert (rows[3], rows[4]) == (summary["begin"], summary["end"] - 60)
    whole = SERVERS * CARDS_PER_SERVER * DAYS * 1440
    assert 0.97 * whole < summary["telemetry_rows"] < whole
    assert query(
        "SELECT max(n) FROM (SELECT count(*) n FROM 'telemetry.parquet' GROUP BY card_id, time)", made
    ) == [(1,)]


def test_no_card_is_held_by_more_than_itself(made: Path) -> None:
    """At every instant the shares on a card add up to at most 1: the schedulers may fragment, never overbook."""
    most, least = query(
        """
        WITH edge AS (
            SELECT card_id, "from" AS t, share AS s FROM 'allocations.parquet'
            UNION ALL SELECT card_id, coalesce("to", TIMESTAMP '2100-01-01'), -share FROM 'allocations.parquet')
        SELECT max(x), min(x) FROM (SELECT sum(s) OVER (PARTITION BY card_id ORDER BY t, s) AS x FROM edge)
        """,
        made,
    )[0]
    assert most == 1.0 and least == 0.0
    assert query("SELECT count(*) FROM 'allocations.parquet' WHERE share = 0.5", made)[0][0] > 0  # type: ignore[operator]


def test_gangs_are_whole_and_small_jobs_stay_on_one_server(made: Path) -> None:
    rows = query(
        "SELECT count(*) AS cards, count(DISTINCT node_id) AS servers FROM 'allocations.parquet' GROUP BY workload_id",
        made,
    )
    for cards, servers in rows:
        assert isinstance(cards, int) and isinstance(servers, int)
        assert servers == max(1, cards // CARDS_PER_SERVER)


def test_counters_only_grow_and_values_are_in_range(made: Path) -> None:
    falls = query(
        """
        SELECT count(*) FROM (
            SELECT energy_joules - lag(energy_joules) OVER w AS e, ecc_corrected - lag(ecc_corrected) OVER w AS c,
                   ecc_uncorrected - lag(ecc_uncorrected) OVER w AS u
            FROM 'telemetry.parquet' WHERE health <> 'lost' WINDOW w AS (PARTITION BY card_id ORDER BY time))
        WHERE e < 0 OR c < 0 OR u < 0
        """,
        made,
    )
    assert falls == [(0,)]
    wrong = query(
        """
        SELECT count(*) FROM 'telemetry.parquet'
        WHERE NOT utilization_ratio BETWEEN 0 AND 1 OR NOT sm_active_ratio BETWEEN 0 AND 1
           OR memory_used_bytes > memory_total_bytes OR power_watts > 1.04 * power_limit_watts
           OR NOT temperature_celsius BETWEEN 15 AND 110
        """,
        made,
    )
    assert wrong == [(0,)]


def test_what_a_maker_does_not_give_is_null_and_a_lost_card_gives_its_health_alone(made: Path) -> None:
    for model in {group.model for group in GROUPS}:
        for key in ("energy_joules", "sm_active_ratio", "memory_temperature_celsius"):
            given = query(f"SELECT count({key}) FROM 'telemetry.parquet' WHERE model = '{model}'", made)[0][0]
            assert bool(given) is (key in MODELS[model].keys), (model, key)
    lost = query(
        "SELECT count(*), count(utilization_ratio), count(power_watts) FROM 'telemetry.parquet' WHERE health = 'lost'",
        made,
    )
    assert lost[0][0] > 0 and lost[0][1:] == (0, 0)  # type: ignore[operator]


def test_a_card_nobody_holds_does_nothing(made: Path) -> None:
    """Telemetry and allocations tell one story, to the minute at an allocation's edges."""
    working = query(
        """
        SELECT count(*) FROM 'telemetry.parquet' t
        WHERE t.utilization_ratio > 0 AND NOT EXISTS (
            SELECT 1 FROM 'allocations.parquet' a WHERE a.card_id = t.card_id
              AND a."from" < t.time + INTERVAL 1 MINUTE AND coalesce(a."to", TIMESTAMP '2100-01-01') > t.time)
        """,
        made,
    )
    assert working == [(0,)]


def test_true_idleness_is_what_telemetry_shows(made: Path) -> None:
    busy = query(
        """
        SELECT count(*) FROM 'truth_idle.parquet' i
        JOIN 'allocations.parquet' a USING (workload_id, card_id)
        JOIN 'telemetry.parquet' t ON t.card_id = i.card_id AND t.time >= i."from" AND t.time + INTERVAL 1 MINUTE <= i."to"
        WHERE a.share = 1 AND t.utilization_ratio >= 0.03
        """,
        made,
    )
    assert busy == [(0,)]
    shortest = query("""SELECT epoch(min("to" - "from")) FROM 'truth_idle.parquet'""", made)[0][0]
    assert isinstance(shortest, float) and shortest > 9 * 60  # an allocation's edge may cut half a minute
    kinds = dict(
        query(
            "SELECT work, sum(idle_card_seconds) / sum(held_card_seconds) FROM 'truth_workloads.csv' GROUP BY 1",
            made,
        )
    )
    assert kinds["held"] > 0.95 and kinds["notebook"] > 0.8 and kinds["training"] < 0.05  # type: ignore[operator]


def test_the_mapping_gives_every_workload_its_true_department(made: Path) -> None:
    text = tomllib.loads((made / "mapping.toml").read_text())
    rules = [
        Rule(i, r["match"], r["priority"], r.get("department"), r.get("business"), r.get("scenario"))
        for i, r in enumerate(text["rule"])
    ]
    mapper = Mapper(rules)
    with (made / "truth_workloads.csv").open() as file:
        truth = {row["workload_id"]: row["department"] for row in csv.DictReader(file)}
    rows = query("SELECT DISTINCT workload_id, namespace FROM 'allocations.parquet'", made)
    assert len(rows) == len(truth)
    unmapped = 0
    for workload, namespace in rows:
        owner = mapper.at(Subject(str(workload), namespace=str(namespace)), 2_000_000_000_000_000)
        expected = truth[str(workload)] or "__unallocated__"
        unmapped += expected == "__unallocated__"
        assert owner.department == expected
    assert 0 < unmapped < len(rows) / 5, "somebody is unmapped, and a report must show it"


def test_inventory_covers_every_card_once_at_every_instant(made: Path) -> None:
    with (made / "inventory.csv").open() as file:
        rows = list(csv.DictReader(file))
    lives: dict[str, list[dict[str, str]]] = {}
    for row in rows:
        lives.setdefault(row["card_id"], []).append(row)
    owned = {card.who.card_id for card in fleet(SERVERS)}
    assert owned <= set(lives)
    for stretches in lives.values():
        stretches.sort(key=lambda row: row["from"])
        for earlier, later in itertools.pairwise(stretches):
            assert earlier["to"] == later["from"]
        assert stretches[-1]["to"] == ""
    assert {"in_service", "rma", "stock"} == {row["life"] for row in rows}


def test_every_model_has_a_price_and_every_event_is_of_a_known_kind(made: Path) -> None:
    book = tomllib.loads((made / "prices.toml").read_text())
    assert {price["model"] for price in book["price"]} == {group.model for group in GROUPS}
    assert [tariff.get("hours") for tariff in book["tariff"]] == [None, "23:00-07:00"] and len(
        book["pue"]
    ) == 1
    events = [json.loads(line) for line in (made / "events.jsonl").read_text().splitlines()]
    assert {event["kind"] for event in events} <= set(KINDS)
    assert {"xid", "card_lost", "ecc_uncorrected", "port_down", "ras"} <= {event["kind"] for event in events}
    incidents = [json.loads(line) for line in (made / "incidents.jsonl").read_text().splitlines()]
    assert {"xid-79", "xid-48", "ascend-L6", "port-down", "port-flap"} == {i["cause"] for i in incidents}


def test_history_and_live_name_the_same_cards() -> None:
    card = fleet(16)[3]
    assert card.who == identity(card.node_id, card.place, card.model)


def test_too_small_a_fleet_is_refused() -> None:
    with pytest.raises(ValueError, match="one of each"):
        fleet(3)
