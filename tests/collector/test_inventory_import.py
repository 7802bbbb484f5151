"""Owned cards from files: purchase data in one shape, lives in order, an asset that outlives a swapped serial."""

from __future__ import annotations

import json
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.collector.fleet_fixture import NOON

from ullage_collector.config import Store as StoreSettings
from ullage_collector.imports import map as maps
from ullage_collector.imports.door import import_file
from ullage_collector.imports.map import LIVES
from ullage_collector.imports.report import Report
from ullage_collector.inventory import purchase
from ullage_collector.inventory.assets import Listed, resolve
from ullage_collector.inventory.history import history
from ullage_collector.inventory.life import default_rules, parse_rules, rules_of
from ullage_collector.inventory.reading import reconciled
from ullage_collector.store.store import Store
from ullage_contract.clock import ManualClock, utc
from ullage_contract.errors import BadInput, ConfigError

HEAD = "card_id,node_id,vendor,model,serial,life,from,replaces,asset_id\n"


class World:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.clock = ManualClock(NOON)
        self.store = Store.open(folder / "store.duckdb", StoreSettings(threads=1), self.clock)

    def load(self, name: str, *rows: str, head: str = HEAD) -> Report:
        path = self.folder / name
        path.write_text(head + "\n".join(rows) + "\n", encoding="utf-8")
        self.clock.advance(60)
        (report,) = import_file(self.store, "inventory", path, maps.load(None))
        return report

    def now(self) -> datetime:
        return utc(self.clock.wall()).replace(tzinfo=None)

    def rows(self, sql: str, *parameters: object) -> list[tuple]:
        return self.store.reader().execute(sql, list(parameters)).fetchall()

    def believed(self) -> list[tuple]:
        return self.rows(
            "SELECT card_id, asset_id, life, strftime(valid_from, '%m-%d'), strftime(valid_to, '%m-%d') FROM inventory "
            "WHERE known_to IS NULL ORDER BY valid_from, card_id"
        )


@pytest.fixture
def world(tmp_path: Path):
    world = World(tmp_path)
    yield world
    world.store.close()


OLD = "G1,n1,nvidia,H800,S1,in_service,2026-01-01T00:00:00Z,,"
RMA = "G1,n1,nvidia,H800,S1,rma,2026-03-01T00:00:00Z,,"
NEW = "G9,n1,nvidia,H800,S9,in_service,2026-04-01T00:00:00Z,S1,"


def test_a_serial_swapped_by_rma_keeps_one_asset_history(world: World) -> None:
    world.load("a.csv", OLD, RMA)
    world.load("b.csv", NEW)
    assert world.believed() == [
        ("G1", "G1", "in_service", "01-01", "03-01"),
        ("G1", "G1", "rma", "03-01", "04-01"),  # ended by the card that came for it
        ("G9", "G1", "in_service", "04-01", None),
    ]
    for name in ("G1", "G9", "S1", "S9"):
        found = history(world.store.reader(), name, world.now())
        assert found.asset_id == "G1"
        assert found.cards == ("G1", "G9")
        assert [(life["card_id"], life["life"]) for life in found.lives] == [
            ("G1", "in_service"),
            ("G1", "rma"),
            ("G9", "in_service"),
        ]
        assert found.unusual == ()


def test_the_swap_may_stand_in_one_file_and_an_older_file_does_not_undo_it(world: World) -> None:
    world.load("a.csv", NEW, OLD, RMA)
    before = world.believed()
    assert before[1] == ("G1", "G1", "rma", "03-01", "04-01")
    world.load("b.csv", OLD, RMA, "")
    assert world.believed() == before
    world.load("c.csv", "G9,n1,nvidia,H800,S9,maintenance,2026-05-01T00:00:00Z,,")
    assert world.believed()[-1] == ("G9", "G1", "maintenance", "05-01", None)  # the asset stays with the card


def test_one_asset_is_one_card_at_a_time(world: World) -> None:
    world.load("a.csv", OLD)
    world.load("b.csv", "G9,n1,nvidia,H800,S9,in_service,2026-04-01T00:00:00Z,G1,")
    assert world.rows(
        "SELECT count(*) FROM inventory WHERE known_to IS NULL AND asset_id = 'G1' AND valid_from <= '2026-06-01' "
        "AND (valid_to IS NULL OR valid_to > '2026-06-01')"
    ) == [(1,)]


def test_what_was_believed_before_the_swap_can_be_asked_again(world: World) -> None:
    world.load("a.csv", OLD, RMA)
    then = world.now()
    world.load("b.csv", NEW)
    earlier = history(world.store.reader(), "G1", then)
    assert [(life["life"], life["valid_to"]) for life in earlier.lives] == [
        ("in_service", datetime(2026, 3, 1)),  # noqa: DTZ001  naive as the store's
        ("rma", None),
    ]
    with pytest.raises(BadInput, match="'G9' is not listed"):
        history(world.store.reader(), "G9", then)


def test_a_replaced_card_listed_later_joins_then(world: World) -> None:
    report = world.load("b.csv", NEW)
    assert report.warnings == ["G9: replaces 'S1', which is listed nowhere; the histories are not joined"]
    assert world.believed() == [("G9", None, "in_service", "04-01", None)]
    assert world.load("a.csv", OLD, RMA).warnings == []
    assert world.believed()[-1] == ("G9", "G1", "in_service", "04-01", None)
    assert world.believed()[1] == ("G1", "G1", "rma", "03-01", "04-01")


def test_a_named_asset_goes_through_a_chain_of_cards(world: World) -> None:
    world.load(
        "a.csv",
        "G1,n1,nvidia,H800,S1,in_service,2026-01-01T00:00:00Z,,A-7",
        "G2,n1,nvidia,H800,S2,in_service,2026-02-01T00:00:00Z,S1,",
        "G3,n1,nvidia,H800,S3,in_service,2026-03-01T00:00:00Z,G2,",
    )
    assert world.believed() == [
        ("G1", "A-7", "in_service", "01-01", "02-01"),
        ("G2", "A-7", "in_service", "02-01", "03-01"),
        ("G3", "A-7", "in_service", "03-01", None),
    ]
    assert history(world.store.reader(), "A-7", world.now()).cards == ("G1", "G2", "G3")


def test_a_serial_swapped_on_a_card_named_by_its_place_is_one_history(world: World) -> None:
    report = world.load(
        "a.csv",
        "n1-ascend-c0,n1,ascend,910B,S1,in_service,2026-01-01T00:00:00Z,,",
        "n1-ascend-c0,n1,ascend,910B,S1,rma,2026-03-01T00:00:00Z,,",
        "n1-ascend-c0,n1,ascend,910B,S9,in_service,2026-04-01T00:00:00Z,S1,",
    )
    assert (report.rows_added, report.warnings) == (3, [])
    found = history(world.store.reader(), "S1", world.now())
    assert [(life["serial"], life["life"]) for life in found.lives] == [
        ("S1", "in_service"),
        ("S1", "rma"),
        ("S9", "in_service"),
    ]


def test_the_warranty_of_an_asset_outlives_its_card_and_its_lives(world: World) -> None:
    head = "card_id,node_id,vendor,model,serial,life,from,replaces,warranty_until\n"
    world.load(
        "a.csv",
        "G1,n1,nvidia,H800,S1,in_service,2026-01-01T00:00:00Z,,2026-11-30",
        "G1,n1,nvidia,H800,S1,rma,2026-03-01T00:00:00Z,,",
        "G9,n1,nvidia,H800,S9,in_service,2026-04-01T00:00:00Z,S1,",
        head=head,
    )
    now_us = round(world.clock.wall() * 1e6)
    result, _ = reconciled(world.store.reader(), default_rules(), now_us, now_us)
    ((found),) = [f for f in result.found if f.kind == "warranty_ending"]
    assert (found.evidence["card_ids"], found.evidence["days_left"]) == (["G9"], 40)


def listed(card: str, serial: str | None = None, replaces: str | None = None, at: int = 0) -> Listed:
    return Listed(card, serial, None, replaces, at)


@pytest.mark.parametrize(
    ("rows", "doubt"),
    [
        ([listed("A", "S"), listed("B", "S"), listed("C", "T", "S")], "is the serial of 2 cards"),
        ([listed("A"), listed("B", None, "A"), listed("C", None, "A")], "was replaced by B already"),
        ([listed("A", None, "B"), listed("B", None, "A")], "came after it"),
        ([listed("A", "S", "A")], "came after it"),
        ([listed("A", "S", "nothing")], "is listed nowhere"),
    ],
)
def test_a_join_that_cannot_be_is_told_and_not_made(rows: list[Listed], doubt: str) -> None:
    found = resolve(rows)
    assert len(found.doubts) == 1
    assert doubt in found.doubts[0]


@given(
    st.lists(
        st.builds(
            Listed,
            st.sampled_from("ABCDE"),
            st.sampled_from(["1", "2", None]),
            st.sampled_from(["X", None]),
            st.sampled_from(["A", "B", "C", "D", "1", "2", None]),
            st.integers(0, 9),
        )
    )
)
def test_however_cards_replace_each_other_every_card_has_at_most_one_asset_and_no_ring(
    rows: list[Listed],
) -> None:
    found = resolve(rows)
    assert set(found.asset_of) == {row.card_id for row in rows}
    said = {row.card_id for row in rows if row.replaces}
    named = {row.card_id for row in rows if row.asset_id}
    assert len(found.ends) + len(found.doubts) <= len(said)
    for card, asset in found.asset_of.items():
        if card not in said | named:
            assert asset == card  # nobody said anything of it: it is its own asset
        if asset is None:
            assert any(doubt.startswith(f"{card}: ") for doubt in found.doubts)


def test_lives_in_an_order_no_card_has_are_told_and_taken(world: World) -> None:
    report = world.load(
        "a.csv",
        "G1,n1,nvidia,H800,S1,retired,2026-01-01T00:00:00Z,,",
        "G1,n1,nvidia,H800,S1,in_service,2026-02-01T00:00:00Z,,",
        "G2,n1,nvidia,H800,S2,stock,2026-01-01T00:00:00Z,,",
        "G2,n1,nvidia,H800,S2,commissioning,2026-02-01T00:00:00Z,,",
        "G2,n1,nvidia,H800,S2,in_service,2026-02-03T00:00:00Z,,",
    )
    assert (report.rows_added, report.rows_refused, report.warned) == (5, 0, 1)
    assert report.warnings == ["G1: in_service from 2026-02-01 after retired is no usual way of a card"]
    found = history(world.store.reader(), "G1", world.now())
    assert found.unusual == ("G1: in_service after retired",)


def test_every_life_has_its_followers_and_a_move_is_usual() -> None:
    rules = default_rules()
    assert set(rules.follows) == set(LIVES)
    assert not any(rules.unusual(life, life) for life in LIVES)
    assert rules.unusual("ordered", "rma")
    assert not rules.unusual("rma", "stock")
    assert rules.follows["retired"] == frozenset()


def test_a_wrong_rule_file_says_where(tmp_path: Path) -> None:
    assert rules_of({}) is default_rules()
    own = tmp_path / "inventory.toml"
    own.write_text("[seen]\nsilent_seconds = 120\n")
    assert rules_of({"rules": str(own)}).silent_us == 120_000_000
    with pytest.raises(ConfigError, match=r"x: \[lives\] working = 'gone'"):
        parse_rules('[lives]\nworking = ["gone"]\n', "x")
    with pytest.raises(ConfigError, match="no such key"):
        rules_of({"rule": "x"})
    with pytest.raises(ConfigError, match="cannot be read"):
        rules_of({"rules": str(tmp_path / "none.toml")})


# ---------------------------------------------------------------------------------------- purchase data
def test_purchase_data_has_one_shape_and_keeps_what_it_does_not_know() -> None:
    found = purchase.checked(
        {
            "order": " PO-7 ",
            "price": "250000.00",
            "currency": "CNY",
            "date": "2026-01-05 00:00:00",
            "warranty_until": "2029-01-04",
            "supplier": "Acme",
            "asset_tag": "IT-1",
            "project": "nlp",
            "note": None,
        }
    )
    assert (found.order, found.price, found.date) == ("PO-7", Decimal("250000.00"), date(2026, 1, 5))
    assert found.warranty_until == date(2029, 1, 4)
    assert found.other == {"project": "nlp"}
    text = found.to_json()
    assert json.loads(text or "")["price"] == "250000.00"
    assert purchase.read(text) == found
    assert purchase.checked({}).to_json() is None


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ({"price": "250,000", "currency": "CNY"}, "'250,000' is no amount"),
        ({"price": "-1", "currency": "CNY"}, "is no amount"),
        ({"price": "NaN", "currency": "CNY"}, "is no amount"),
        ({"price": "1"}, "has no currency"),
        ({"price": "1", "currency": "yuan"}, "no ISO 4217 code"),
        ({"date": "5.1.2026"}, "is no day"),
        ({"date": "2026-02-01", "warranty_until": "2026-01-01"}, "is before its date"),
    ],
)
def test_wrong_purchase_data_are_refused_by_name(said: dict[str, str], message: str) -> None:
    with pytest.raises(BadInput, match=message):
        purchase.checked(said)


@given(st.dictionaries(st.sampled_from((*purchase.KEYS, "other")), st.text(max_size=20)))
def test_purchase_data_are_good_or_bad_input_and_never_an_error(said: dict[str, str]) -> None:
    try:
        found = purchase.checked(said)
    except BadInput:
        return
    assert purchase.read(found.to_json()) == found


def test_what_an_older_version_kept_unchecked_is_still_read() -> None:
    assert purchase.read('{"price": "a lot"}').other == {"price": "a lot"}
    assert purchase.read("[]") == purchase.read("{") == purchase.read(None) == purchase.Purchase()


def test_a_row_with_a_wrong_price_is_refused_and_the_others_go_on(world: World) -> None:
    report = world.load(
        "a.csv",
        "G1,n1,nvidia,H800,2026-01-01T00:00:00Z,250000,CNY,2029-01-01",
        "G2,n1,nvidia,H800,2026-01-01T00:00:00Z,much,CNY,2029-01-01",
        head="card_id,node_id,vendor,model,from,purchase_price,purchase_currency,warranty_until\n",
    )
    assert (report.rows_added, report.rows_refused) == (1, 1)
    assert report.refusals[0] == (2, "purchase price 'much' is no amount; write e.g. 250000.00")
    ((text,),) = world.rows("SELECT purchase FROM inventory WHERE known_to IS NULL")
    assert json.loads(text) == {"price": "250000", "currency": "CNY", "warranty_until": "2029-01-01"}


def test_a_store_from_before_assets_gets_them_at_the_next_import(world: World) -> None:
    world.load("a.csv", OLD)
    with world.store.write() as cursor:
        cursor.execute("UPDATE inventory SET asset_id = NULL")
    before = world.rows("SELECT count(*) FROM inventory")
    assert world.load("b.csv", OLD, "").rows_present == 1
    assert world.rows("SELECT count(*) FROM inventory") == before  # named in place, nothing is said anew
    assert world.believed() == [("G1", "G1", "in_service", "01-01", None)]
