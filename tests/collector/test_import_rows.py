"""Allocations, inventory, prices, mapping and incidents: dated twice, never doubled, refused by name."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.collector.fleet_fixture import NOON

from ullage_collector.config import Store as StoreSettings
from ullage_collector.imports import map as maps
from ullage_collector.imports.door import import_file
from ullage_collector.imports.placement import WHOLE, Card, Request, first_fit
from ullage_collector.imports.report import Report
from ullage_collector.store.store import Store
from ullage_contract.clock import ManualClock

INVENTORY = "card_id,node_id,vendor,model,life,from,to\n"
ALLOCATIONS = "workload_id,card_id,node_id,share,from,to\n"


class World:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.clock = ManualClock(NOON)
        self.store = Store.open(folder / "store.duckdb", StoreSettings(threads=1), self.clock)

    def load(self, kind: str, name: str, text: str, given: str | None = None) -> Report:
        path = self.folder / name
        path.write_text(text, encoding="utf-8")
        self.clock.advance(60)
        found = maps.load(None) if given is None else maps.parse(given, "map.toml")
        (report,) = import_file(self.store, kind, path, found)
        return report

    def rows(self, sql: str, *parameters: object) -> list[tuple]:
        return self.store.reader().execute(sql, list(parameters)).fetchall()


@pytest.fixture
def world(tmp_path: Path):
    world = World(tmp_path)
    yield world
    world.store.close()


def believed(world: World) -> list[tuple]:
    return world.rows(
        "SELECT card_id, life, strftime(valid_from, '%m-%d'), strftime(valid_to, '%m-%d') FROM inventory "
        "WHERE known_to IS NULL ORDER BY card_id, valid_from"
    )


def test_an_owned_card_is_known_before_it_is_ever_seen(world: World) -> None:
    report = world.load(
        "inventory", "i.csv", INVENTORY + "G1,n1,NVIDIA,H800,in_service,2026-10-01T00:00:00Z,\n"
    )
    assert report.rows_added == 1
    assert world.rows("SELECT card_id, vendor, first_seen FROM card") == [("G1", "nvidia", None)]
    assert believed(world) == [("G1", "in_service", "10-01", None)]


def test_a_later_life_ends_the_one_before_and_what_was_believed_is_kept(world: World) -> None:
    world.load("inventory", "a.csv", INVENTORY + "G1,n1,nvidia,H800,in_service,2026-10-01T00:00:00Z,\n")
    then = world.rows("SELECT max(known_from) FROM inventory")[0][0]
    world.load("inventory", "b.csv", INVENTORY + "G1,n1,nvidia,H800,rma,2026-10-10T00:00:00Z,\n")
    assert believed(world) == [("G1", "in_service", "10-01", "10-10"), ("G1", "rma", "10-10", None)]
    as_of = world.rows(
        "SELECT life, valid_to FROM inventory WHERE known_from <= ? AND (known_to IS NULL OR known_to > ?)",
        then,
        then,
    )
    assert as_of == [("in_service", None)]
    before = believed(world)
    world.load("inventory", "c.csv", INVENTORY + "G1,n1,nvidia,H800,in_service,2026-10-01T00:00:00Z,\n\n")
    assert believed(world) == before  # an older file says nothing against the newer one


def test_the_lives_of_one_file_follow_each_other(world: World) -> None:
    text = INVENTORY + "".join(
        f"G1,n1,nvidia,H800,{life},2026-10-{day:02d}T00:00:00Z,\n"
        for life, day in (("in_service", 1), ("rma", 5), ("in_service", 9))
    )
    world.load("inventory", "a.csv", text)
    assert believed(world) == [
        ("G1", "in_service", "10-01", "10-05"),
        ("G1", "rma", "10-05", "10-09"),
        ("G1", "in_service", "10-09", None),
    ]
    assert world.load("inventory", "b.csv", text + "\n").rows_present == 3


def test_a_wrong_inventory_row_is_refused_by_name(world: World) -> None:
    text = INVENTORY + "".join(
        [
            "G1,n1,nvidia,H800,in_service,2026-10-01T00:00:00Z,\n",
            "G2,n1,nvidia,H800,broken,2026-10-01T00:00:00Z,\n",
            ",n1,nvidia,H800,in_service,2026-10-01T00:00:00Z,\n",
            "G4,n1,nvidia,H800,in_service,soon,\n",
            "G5,n1,nvidia,H800,in_service,2026-10-01T00:00:00Z,2026-09-01T00:00:00Z\n",
        ]
    )
    report = world.load("inventory", "i.csv", text)
    assert (report.rows_added, report.rows_refused) == (1, 4)
    said = dict(report.refusals)
    assert "'broken'" in said[2]
    assert said[3] == "no card"
    assert "'soon'" in said[4]
    assert "ends before" in said[5]


def test_a_row_of_many_cards_is_as_many_cards(world: World) -> None:
    given = '[inventory]\nnode = "{n}"\ncard = "{n}/{#}"\nvendor = "amd"\nmodel = "{m}"\ncount = "gpus"\nfrom = 2026-10-01T00:00:00Z\n'
    report = world.load("inventory", "n.csv", "n,m,gpus\na,X,3\nb,Y,0\nc,Z,many\n", given)
    assert (report.rows_read, report.rows_added, report.rows_refused) == (3, 3, 1)
    assert [r[0] for r in believed(world)] == ["a/0", "a/1", "a/2"]


def holdings(world: World) -> list[tuple]:
    return world.rows(
        "SELECT workload_id, card_id, share_nano, strftime(valid_from, '%H:%M'), strftime(valid_to, '%H:%M') "
        "FROM allocation a JOIN workload USING (workload_key) LEFT JOIN card USING (card_key) WHERE known_to IS NULL ORDER BY 1, 2"
    )


def test_a_job_that_ended_since_is_one_allocation(world: World) -> None:
    world.load("allocations", "a.csv", ALLOCATIONS + "slurm/c/1,G1,n1,1,2026-10-21T08:00:00Z,\n")
    assert holdings(world) == [("slurm/c/1", "G1", 10**9, "08:00", None)]
    report = world.load(
        "allocations", "b.csv", ALLOCATIONS + "slurm/c/1,G1,n1,1,2026-10-21T08:00:00Z,2026-10-21T09:00:00Z\n"
    )
    assert report.rows_added == 1
    assert holdings(world) == [("slurm/c/1", "G1", 10**9, "08:00", "09:00")]
    assert world.rows("SELECT count(*) FROM allocation") == [(2,)]
    again = world.load(
        "allocations",
        "c.csv",
        ALLOCATIONS + "slurm/c/1,G1,n1,1,2026-10-21T08:00:00Z,2026-10-21T09:00:00Z\n\n",
    )
    assert (again.rows_added, again.rows_present) == (0, 1)


def test_shares_are_exact_nano_shares(world: World) -> None:
    rows = "".join(
        f"w{i},G1,n1,{share},2026-10-21T08:00:00Z,\n"
        for i, share in enumerate(("0.333333333", "0.25", "0.1"))
    )
    world.load("allocations", "a.csv", ALLOCATIONS + rows)
    assert [r[2] for r in holdings(world)] == [333_333_333, 250_000_000, 100_000_000]


def test_a_wrong_allocation_row_is_refused_by_name(world: World) -> None:
    rows = [
        "w1,G1,n1,1.5,2026-10-21T08:00:00Z,\n",
        "w2,G1,n1,half,2026-10-21T08:00:00Z,\n",
        ",G1,n1,1,2026-10-21T08:00:00Z,\n",
        "w4,G1,n1,1,2026-10-21T08:00:00Z,2026-10-21T07:00:00Z\n",
        "w5,,n1,1,2026-10-21T08:00:00Z,\n",
        "w6,G1,n1,1,2026-10-21T08:00:00Z,never\n",
        "w7,G1,n1,1,2026-10-21T08:00:00Z,\n",
    ]
    report = world.load("allocations", "a.csv", ALLOCATIONS + "".join(rows))
    assert (report.rows_added, report.rows_refused) == (1, 6)
    said = dict(report.refusals)
    assert "at most 1" in said[1]
    assert "'half'" in said[2]
    assert said[3] == "no workload"
    assert "before it begins" in said[4]
    assert "no card" in said[5]
    assert "'never'" in said[6]


def test_work_on_a_node_whose_cards_are_not_named_counts_cards(world: World) -> None:
    given = '[allocations]\nnode = "{n}"\ncard = "{card|}"\nworkload = "{w}"\ncards = "gpus"\nfrom = "from"\n'
    report = world.load("allocations", "a.csv", "w,n,gpus,from\njob,n1,2,2026-10-21T08:00:00Z\n", given)
    assert report.rows_added == 1
    assert world.rows("SELECT card_key, share_nano, node_id FROM allocation JOIN node USING (node_key)") == [
        (None, 2 * 10**9, "n1")
    ]


def test_placing_again_after_cards_were_listed_moves_and_does_not_double(world: World) -> None:
    given = (
        '[allocations]\ncluster = "c"\nworkload = "{w}"\ncards = "gpus"\nplace = "first_fit"\nfrom = "from"\n'
    )
    text = "w,gpus,from\na,1,2026-10-21T08:00:00Z\nb,2,2026-10-21T08:00:00Z\n"
    first = world.load("allocations", "a.csv", text, given)
    assert first.notes["unplaced"] == 2
    assert [h[1] for h in holdings(world)] == [None, None]
    inventory = '[inventory]\ncluster = "c"\nnode = "n1"\ncard = "{g}"\nvendor = "amd"\nmodel = "X"\nfrom = 2026-10-01T00:00:00Z\n'
    world.load("inventory", "i.csv", "g\nG1\nG2\nG3\n", inventory)
    second = world.load("allocations", "b.csv", text + "\n", given)
    assert second.notes["unplaced"] == 0
    assert [(h[0], h[1]) for h in holdings(world)] == [("a", "G1"), ("b", "G2"), ("b", "G3")]
    assert world.rows(
        "SELECT count(*) FROM allocation WHERE known_to IS NULL AND (attributes->>'placed_by') = 'first_fit'"
    ) == [(3,)]


def test_first_fit_never_gives_a_card_twice_and_is_the_same_each_time() -> None:
    cards = [Card(f"n{n}", f"n{n}/{c}", "A" if n else "B", 0, None) for n in range(3) for c in range(4)]
    requests = [
        Request(
            i,
            i % 40,
            i % 40 + 1 + i % 13,
            (0, 0, 1, 4)[i % 4],
            WHOLE * (1 + i % 3) // 4,
            frozenset({"A"} if i % 5 == 0 else ()),
        )
        for i in range(300)
    ]
    placed = first_fit(cards, requests)
    assert placed == first_fit(cards, list(reversed(requests)))
    by_number = {r.number: r for r in requests}
    for instant in range(60):
        held: dict[str, int] = {}
        for number, where in placed.items():
            request = by_number[number]
            if request.from_us <= instant < (request.to_us or 10**9):
                for card in where:
                    held[card.card_id] = held.get(card.card_id, 0) + (
                        WHOLE if request.cards else request.share_nano
                    )
                if request.models:
                    assert {card.model for card in where} <= request.models
                if request.cards:
                    assert len(where) == request.cards
                    assert len({card.node_id for card in where}) == 1
        assert all(share <= WHOLE for share in held.values())


PRICES = """
[[price]]
model = "H800*"
currency = "CNY"
hourly = "20.00"
from = 2026-01-01T00:00:00+08:00
[[price]]
model = "A100"
currency = "CNY"
hourly = "12.345678"
assumed = true
"""


def test_prices_are_exact_and_dated(world: World) -> None:
    assert world.load("prices", "prices.toml", PRICES).rows_added == 2
    assert world.rows(
        "SELECT model, price_micro, assumed, strftime(valid_from, '%Y-%m-%d %H') FROM price ORDER BY 1"
    ) == [
        ("A100", 12_345_678, True, "1970-01-01 00"),
        ("H800*", 20_000_000, False, "2025-12-31 16"),
    ]


def test_a_changed_price_file_replaces_what_it_said_and_nothing_of_others(world: World) -> None:
    world.load("prices", "prices.toml", PRICES)
    world.load("prices", "other.toml", PRICES.replace("20.00", "99.00"))
    then = world.rows("SELECT max(known_from) FROM price")[0][0]
    report = world.load("prices", "prices.toml", PRICES.replace("20.00", "21.00"))
    assert (report.rows_added, report.rows_present) == (1, 1)
    now = world.rows("SELECT price_micro FROM price WHERE known_to IS NULL AND model = 'H800*' ORDER BY 1")
    assert now == [(21_000_000,), (99_000_000,)]
    before = world.rows(
        "SELECT price_micro FROM price WHERE known_from <= ? AND (known_to IS NULL OR known_to > ?) AND model = 'H800*' ORDER BY 1",
        then,
        then,
    )
    assert before == [(20_000_000,), (99_000_000,)]


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ('"20.00"', '"twenty"', "no decimal"),
        ('"20.00"', '"0.1234567"', "six digits"),
        ('"20.00"', '"-1"', "at least 0"),
        ('"CNY"', '"RMB$"', "ISO 4217"),
        ("hourly", "hourlie", "not known here"),
        ("+08:00", "", "no zone"),
    ],
)
def test_a_wrong_price_is_refused_by_name(world: World, old: str, new: str, says: str) -> None:
    report = world.load("prices", "prices.toml", PRICES.replace(old, new, 1))
    assert report.rows_refused == 1
    assert says in report.refusals[0][1]
    assert report.rows_added == 1


MAPPING = """
[[department]]
id = "rd"
name = "研发"
[[department]]
id = "rd/nlp"
name = "NLP"
owner = "ada"
[[rule]]
match = "slurm:nlp-*"
priority = 10
department = "rd/nlp"
scenario = "training"
"""


def test_departments_and_rules(world: World) -> None:
    assert world.load("mapping", "mapping.toml", MAPPING).rows_added == 3
    assert world.rows("SELECT department_id, parent_id, owner FROM department ORDER BY 1") == [
        ("rd", None, None),
        ("rd/nlp", "rd", "ada"),
    ]
    assert world.load("mapping", "mapping.toml", MAPPING + "\n").rows_present == 3
    gone = world.load("mapping", "mapping.toml", MAPPING.replace("nlp-*", "lang-*"))
    assert gone.rows_added == 1
    assert world.rows("SELECT match FROM mapping_rule WHERE known_to IS NULL") == [("slurm:lang-*",)]
    bad = MAPPING.replace("slurm:", "slurmm:") + '[[rule]]\nmatch = "user:x"\n'
    report = world.load("mapping", "bad.toml", bad)
    assert report.rows_refused == 2


def test_rules_may_come_from_a_table(world: World) -> None:
    report = world.load(
        "mapping",
        "rules.csv",
        "match,priority,department,business,scenario,from\nuser:ada,5,rd,,,2026-01-01T00:00:00Z\nuser:bob,x,rd,,,\n",
    )
    assert (report.rows_added, report.rows_refused) == (1, 1)


def test_incidents_of_the_past_are_records_and_not_doubled(world: World) -> None:
    fault = {
        "subject": "G1",
        "cause": "fell off the bus",
        "severity": "fatal",
        "code": "79",
        "vendor": "nvidia",
        "onset": "2026-10-20T01:00:00Z",
        "closed_at": None,
        "confirmed": True,
        "action": "isolate_card",
    }
    lines = [
        fault,
        {**fault, "onset": "2026-10-21T01:00:00Z", "closed_at": "2026-10-21T03:00:00Z"},
        {**fault, "severity": "bad"},
        {**fault, "onset": "once"},
    ]
    report = world.load("incidents", "i.jsonl", "\n".join(json.dumps(x) for x in lines))
    assert (report.rows_added, report.rows_refused) == (2, 2)
    assert world.rows("SELECT history, confirmed, origin, closed_by FROM incident ORDER BY onset") == [
        (True, True, "imported", None),
        (True, True, "imported", "import"),
    ]
    assert world.load("incidents", "again.jsonl", json.dumps(fault)).rows_present == 1
