"""``prices show|check`` and what a price file does to the store: from the file to the published day."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest

from ullage_collector import cli
from ullage_collector.config import Store as StoreSettings
from ullage_collector.imports import map as maps
from ullage_collector.imports.door import import_file
from ullage_collector.imports.report import Report
from ullage_collector.ledger import ATOMS_PER_UNIT, HOUR_US, NANO
from ullage_collector.pricing.book import checked, shown
from ullage_collector.pricing.cli import check_lines, show_lines
from ullage_collector.pricing.now import book_now
from ullage_collector.publish.facts import publish_day, publish_names, stale_days
from ullage_collector.published import Published
from ullage_collector.store.store import Store
from ullage_contract.clock import ManualClock

DAY = date(2026, 10, 7)
NOW = datetime(2026, 10, 8, 1, tzinfo=UTC)
START = datetime(2026, 10, 7, tzinfo=UTC)
INVENTORY = "card_id,node_id,vendor,model,life,from,to\n" + "".join(
    f"G{n},n{n // 8},nvidia,{'H800' if n < 8 else 'L40S'},in_service,2026-01-01T00:00:00Z,\n"
    for n in range(9)
)
BOOK = """
[[price]]
model = "H800"
per = "node"
cards = 8
currency = "USD"
kind = "contract"
hourly = "24.00"
list = "32"

[[rate]]
from = "USD"
to = "CNY"
rate = "7.1"

[[policy]]
currency = "CNY"

[[tariff]]
per_kwh = "0.65"
currency = "CNY"
zone = "Asia/Shanghai"
hours = "08:00-22:00"

[[pue]]
pue = "1.35"
"""


class World:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.root = folder / "published"
        self.clock = ManualClock(NOW.timestamp())
        (folder / "collector").mkdir()
        self.store = Store.open(folder / "collector" / "store.duckdb", StoreSettings(threads=1), self.clock)

    def load(self, kind: str, name: str, text: str) -> Report:
        path = self.folder / name
        path.write_text(text, encoding="utf-8")
        self.clock.advance(60)
        (report,) = import_file(self.store, kind, path, maps.load(None))
        return report

    def now(self) -> datetime:
        return datetime.fromtimestamp(self.clock.wall(), UTC)

    def publish(self) -> None:
        self.clock.advance(60)
        publish_day(self.store, self.root, DAY, now=self.now())
        publish_names(self.store, self.root, now=self.now())

    def rows(self, sql: str) -> list[tuple]:
        with Published(self.root).open(START, START + timedelta(days=1)) as facts:
            return facts.rows(sql)


@pytest.fixture
def world(tmp_path: Path):
    made = World(tmp_path)
    made.load("inventory", "cards.csv", INVENTORY)
    yield made
    made.store.close()


def test_a_file_becomes_exact_lines_and_what_it_says_no_more_ends(world: World) -> None:
    assert world.load("prices", "book.toml", BOOK).rows_added == 5
    world.publish()
    # 24 USD x 7.1 x 0.9 / 8 = 19.17 a card-hour; the list's 32 in the same way
    assert world.rows(
        "SELECT DISTINCT price_micro, list_micro, currency FROM segment WHERE model = 'H800'"
    ) == [(19_170_000, 25_560_000, "CNY")]
    assert world.rows(
        "SELECT sum(quantity) // 3600000000000000000 FROM segment WHERE price_micro IS NULL"
    ) == [(24,)]
    host = world.rows("SELECT kind, sum(cost_atoms), min(department_id) FROM remainder GROUP BY kind")
    assert host == [("host", 24 * 24 * 71 * ATOMS_PER_UNIT // 100, "platform")]
    (told,) = world.rows("SELECT kind, list_micro, terms FROM price")
    assert told[:2] == ("contract", 3_600_000)
    assert json.loads(told[2])["total"] == 8
    sources = world.rows("SELECT DISTINCT source_rows FROM segment WHERE card_id = 'G1'")
    assert " rate=" in sources[0][0]

    assert stale_days(world.store, DAY, DAY) == []
    report = world.load("prices", "book.toml", BOOK.replace('rate = "7.1"', 'rate = "7.2"'))
    assert (report.rows_added, report.rows_present) == (1, 4)
    assert stale_days(world.store, DAY, DAY) == [DAY]
    world.publish()
    assert world.rows("SELECT DISTINCT price_micro FROM segment WHERE model = 'H800'") == [(19_440_000,)]

    only_prices = BOOK[: BOOK.index("[[rate]]")]
    world.load("prices", "book.toml", only_prices)
    world.publish()
    assert world.rows("SELECT DISTINCT currency, price_micro FROM segment WHERE model = 'H800'") == [
        ("USD", 2_700_000)
    ]


def test_prices_show_says_what_holds_and_what_was_believed(world: World) -> None:
    before = world.now()
    world.load("prices", "book.toml", BOOK)
    found = shown(world.store.reader(), world.now(), world.now())
    (price,) = found["prices"]
    assert (price["per_card_hour"], price["list"], price["part_of_node"]) == ("2.70", "3.60", "1/8")
    assert [len(found[name]) for name in ("rates", "tariffs", "pue", "policy")] == [1, 1, 1, 1]
    assert shown(world.store.reader(), world.now(), before)["prices"] == []
    text = "\n".join(show_lines(found))
    assert "1 USD is 7.1 CNY" in text
    assert "08:00-22:00 Asia/Shanghai" in text
    assert "PUE 1.35" in text


def test_prices_check_tells_what_is_missing_and_what_contradicts(world: World) -> None:
    world.load("prices", "book.toml", BOOK.replace("cards = 8", "cards = 6"))
    world.load(
        "prices",
        "other.toml",
        '[[price]]\nmodel = "B200"\ncurrency = "CNY"\nhourly = "1"\n[[price]]\nmodel = "L40?"\ncurrency = "EUR"\nhourly = "2"\n'
        '[[price]]\nmodel = "L4*S"\ncurrency = "EUR"\nhourly = "3"\nassumed = true\n'
        '[[price]]\nmodel = "H800"\nkind = "contract"\ncurrency = "USD"\nhourly = "2"\n',
    )
    found = checked(world.store.reader(), world.now(), world.now())
    assert found["wrong"]
    assert found["unpriced"] == []
    assert [(c["cards"], c["loses"]["per_card_hour"]) for c in found["conflicts"]] == [
        (8, "3.60"),
        (1, "2.00"),
    ]
    assert found["no_rate"] == [{"currency": "EUR", "cards": 1}]
    assert [p["model"] for p in found["unmatched"]] == ["B200"]
    assert found["no_tariff"][0]["minutes"] == 10 * 60
    text = "\n".join(check_lines(found))
    for words in (
        "no exchange rate: EUR",
        "conflict: price",
        "assumed: price",
        "for no card",
        "no tariff: 600",
    ):
        assert words in text

    world.load("prices", "other.toml", '[[price]]\nmodel = "B200"\ncurrency = "CNY"\nhourly = "1"\n')
    found = checked(world.store.reader(), world.now(), world.now())
    assert [(u["model"], u["cards"]) for u in found["unpriced"]] == [("L40S", 1)]
    assert [(c["node"], c["cards"], c["counted"]) for c in found["crowded"]] == [("main/n0", 8, 6)]


def test_the_command_ends_with_3_where_cards_have_no_price(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    world.load("prices", "book.toml", BOOK)
    world.store.close()
    data = ["--data", str(world.folder)]
    assert cli.main([*data, "prices", "check", "--json", "--at", "2026-10-07T12:00:00Z"]) == 3
    assert json.loads(capsys.readouterr().out)["unpriced"][0]["model"] == "L40S"
    assert cli.main([*data, "prices", "show", "--at", "2026-10-07T12:00:00Z"]) == 0
    assert "contract" in capsys.readouterr().out
    world.store = Store.open(
        world.folder / "collector" / "store.duckdb", StoreSettings(threads=1), world.clock
    )


def test_a_table_of_prices_knows_owned_cards_too(world: World) -> None:
    head = "model,pool,currency,hourly,capex,salvage_fraction,in_service,end_of_life,rack_per_month,from,to\n"
    rows = "H800,,CNY,,210000,0.05,2026-01-01T00:00:00+08:00,2030-01-01T00:00:00+08:00,730,,\nL40S,,CNY,5.5,,,,,,,\n"
    report = world.load("prices", "prices.csv", head + rows)
    assert (report.rows_added, report.rows_refused) == (3, 0)
    world.publish()
    exact = 210_000 * 0.95 / (1461 * 24) + 1
    (micro,) = world.rows("SELECT DISTINCT price_micro FROM segment WHERE model = 'H800'")[0]
    assert micro == round(exact * 10**6)
    left = world.rows("SELECT sum(cost_atoms) FROM remainder")[0][0]
    assert abs(left) <= 8 * 24 * HOUR_US * NANO // 2
    assert left != 0


def test_the_example_is_taken_as_it_stands(world: World) -> None:
    example = Path(__file__).parents[2] / "collector" / "prices.example.toml"
    report = world.load("prices", "prices.toml", example.read_text(encoding="utf-8"))
    assert (report.rows_read, report.rows_refused) == (10, 0)
    assert report.rows_added == 12  # an owned card has a rate after its life, a mixed node one for each model


def test_what_a_card_costs_now_is_what_its_day_will_cost(world: World) -> None:
    world.load("prices", "book.toml", BOOK)
    world.load(
        "prices",
        "single.toml",
        '[[price]]\ncard = "G1"\nkind = "contract"\ncurrency = "USD"\nhourly = "3"\n'
        '[[price]]\nmodel = "*"\nlabel = "room=a*"\ncurrency = "CNY"\nhourly = "4"\n',
    )
    with world.store.write() as w:
        w.execute(
            "INSERT INTO fact VALUES ('node', 'n1', 'room', '\"a7\"', TIMESTAMP '2026-01-01', TIMESTAMP '2026-01-01')"
        )
    at = int(START.timestamp()) * 10**6
    with world.store.write() as cursor:
        book = book_now(cursor)
    found = {
        name: book.at(model, None, at, node=node, card=name)
        for name, node, model in (("G1", "n0", "H800"), ("G2", "n0", "H800"), ("G8", "n1", "L40S"))
    }
    now = {name: (price.price_micro, price.currency) for name, price in found.items() if price is not None}
    assert now == {"G1": (21_300_000, "CNY"), "G2": (19_170_000, "CNY"), "G8": (4_000_000, "CNY")}
    assert book.at("L40S", None, at) is None  # nobody says of which node
    world.publish()
    assert (
        dict(
            (row[0], row[1:])
            for row in world.rows(
                "SELECT DISTINCT card_id, price_micro, currency FROM segment WHERE card_id IN ('G1', 'G2', 'G8')"
            )
        )
        == now
    )
