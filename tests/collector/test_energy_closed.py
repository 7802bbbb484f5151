"""Energy and remainders of a closed period stand; what becomes known later goes forward; dropped minutes are read where they are."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.collector.books_world import CARD_MINUTE, DAYS, Books, t

from ullage_collector.imports import map as maps
from ullage_collector.imports.door import import_file
from ullage_collector.ledger import ATOMS_PER_UNIT
from ullage_collector.publish import telemetry
from ullage_collector.publish.closed_periods import close
from ullage_collector.publish.facts import post_corrections, publish_day
from ullage_collector.publish.publisher import sources
from ullage_contract.errors import LedgerError

POWER = ("power_watts",)
PERIOD = (t(5, 16), t(7, 16))  # [6 Oct, 8 Oct) in Shanghai


def power(books: Books, card: str, start: datetime, count: int, watts: float) -> None:
    with books.store.write() as w:
        for day in {(start + timedelta(minutes=n)).date() for n in range(count)}:
            table = books.store.days.ensure(w, CARD_MINUTE, day, POWER)
            w.execute(
                f"INSERT INTO {table.name} BY NAME SELECT minute, card_key, node_key, 60 AS covered_seconds, 6 AS samples, "
                "'real' AS origin, ? AS power_watts FROM card, "
                "(SELECT ?::TIMESTAMP + to_minutes(m) AS minute FROM range(?) r(m)) WHERE card_id = ? AND minute::DATE = ?",
                [watts, start, count, card, day],
            )


def load(books: Books, folder: Path, text: str) -> None:
    path = folder / "book.toml"
    path.write_text(text, encoding="utf-8")
    books.clock.advance(60)
    import_file(books.store, "prices", path, maps.load(None), again=True)
    books.clock.advance(60)


def tariff(amount: str) -> str:
    return f'[[tariff]]\nper_kwh = "{amount}"\ncurrency = "CNY"\n[[pue]]\npue = "1.5"\n'


def lines(books: Books, table: str) -> list[tuple[Any, ...]]:
    sql = f"SELECT * FROM {table} ORDER BY ALL"
    return books.store.reader().execute(sql).fetchall()


def cost(books: Books, first: datetime, end: datetime) -> int:
    """Atoms of the energy of [first, end) as kept; lines that lie across are refused by the assertion."""
    rows = (
        books.store.reader()
        .execute(
            "SELECT from_us, to_us, energy_mj::HUGEINT * pue_milli * tariff_micro * 1000000 FROM energy_line "
            "WHERE from_us < epoch_us(?::TIMESTAMP) AND to_us > epoch_us(?::TIMESTAMP)",
            [end, first],
        )
        .fetchall()
    )
    return sum(int(atoms) for _, _, atoms in rows)


def posted(books: Books, cost_class: str) -> list[tuple[str, int, int]]:
    return [
        (department, int(quantity), int(atoms))
        for department, quantity, atoms in books.store.reader()
        .execute(
            "SELECT department_id, quantity, cost_atoms FROM adjustment WHERE kind = 'correction' AND cost_class = ? "
            "ORDER BY adjustment_id",
            [cost_class],
        )
        .fetchall()
    ]


@pytest.fixture
def books(tmp_path: Path) -> Books:
    found = Books(tmp_path)
    power(found, "G0", t(6), 3 * 1440, 500.0)
    load(found, tmp_path, tariff("0.60"))
    with found.store.write() as w:
        w.execute(
            "INSERT INTO touched_day SELECT unnest(?::DATE[]), ?", [DAYS, found.now().replace(tzinfo=None)]
        )
    found.publish()
    close(found.store, found.root, DAYS[0], DAYS[2], "Asia/Shanghai", reason="signed", actor="ada")
    return found


def test_a_tariff_known_late_leaves_closed_energy_and_goes_forward_to_the_atom(
    books: Books, tmp_path: Path
) -> None:
    before = cost(books, *PERIOD)
    # 40 hours at half a kilowatt, PUE 1.5, 0.60 a kWh
    assert before == 18 * ATOMS_PER_UNIT
    load(books, tmp_path, tariff("0.80"))
    books.publish()
    assert cost(books, *PERIOD) == before
    after = cost(books, PERIOD[1], t(9))
    assert after == 192 * ATOMS_PER_UNIT // 10  # 32 h x 0.5 kWh x 1.5 x 0.80
    (line,) = posted(books, "energy")
    assert line == ("old", 0, 6 * ATOMS_PER_UNIT)
    assert books.publish() == {}
    load(books, tmp_path, tariff("0.60"))
    books.publish()
    assert sum(atoms for _, _, atoms in posted(books, "energy")) == 0


def test_closing_alone_makes_no_new_lines_and_a_late_owner_moves_the_energy(books: Books) -> None:
    kept = lines(books, "energy_line")
    for day in DAYS:
        publish_day(books.store, books.root, day, now=books.now())
    assert lines(books, "energy_line") == kept
    books.rule("new")
    books.publish()
    mj = 40 * 1_800_000_000
    assert posted(books, "energy") == [
        ("new", mj, 18 * ATOMS_PER_UNIT),
        ("old", -mj, -18 * ATOMS_PER_UNIT),
    ]


def test_a_purchase_known_late_corrects_the_rounding_of_its_rate_too(books: Books, tmp_path: Path) -> None:
    load(
        books,
        tmp_path,
        tariff("0.60") + '[[price]]\nmodel = "H800"\nkind = "owned"\ncurrency = "CNY"\ncapex = "700000"\n'
        "in_service = 2026-10-06T00:00:00Z\nend_of_life = 2030-10-06T00:00:00Z\n",
    )
    books.publish()
    corrected = sum(atoms for *_, atoms in posted(books, "capacity"))
    before = 2 * 40 * 20 * ATOMS_PER_UNIT
    exact = 2 * 40 * 700_000 * ATOMS_PER_UNIT / (1461 * 24)
    assert corrected + before == pytest.approx(exact, rel=1e-15)
    assert lines(books, "remainder_line") != []


def test_a_day_whose_minutes_were_dropped_is_read_from_its_published_telemetry(
    books: Books, tmp_path: Path
) -> None:
    kept = lines(books, "energy_line")
    day = DAYS[1]
    telemetry.publish_day(books.store, books.root, day, now=books.now())
    with books.store.write() as w:
        (table,) = (
            row[0]
            for row in w.execute(
                "SELECT table_name FROM duckdb_tables() WHERE table_name LIKE 'card_minute_%' AND table_name LIKE ?",
                [f"%{day:%Y%m%d}"],
            ).fetchall()
        )
        w.execute(f"DELETE FROM {table}")
        w.execute(
            "INSERT INTO dropped_day VALUES ('card_minute', ?, ?)", [day, books.now().replace(tzinfo=None)]
        )
    load(books, tmp_path, tariff("0.80"))
    again = publish_day(
        books.store, books.root, day, now=books.now(), sources=sources(books.store, books.root, day)
    )
    assert again.manifest.day == day
    now = lines(books, "energy_line")
    assert [row[:12] for row in now] == [row[:12] for row in kept]
    assert {row[13] for row in now if row[0] == day} == {600_000, 800_000}  # until 16:00 it is closed


def test_energy_whose_telemetry_is_gone_is_told_and_not_given_back(books: Books) -> None:
    """Power alone says nothing of use, so that no line of capacity stands on the minutes: the energy does."""
    assert cost(books, t(6), t(7))
    states = {row[0] for row in books.store.reader().execute("SELECT DISTINCT state FROM segment").fetchall()}
    assert not states & {"used", "allocated_idle"}
    with books.store.write() as w:
        books.store.days.drop_others(w, CARD_MINUTE, [])
    books.rule("new")
    for day in (DAYS[0], DAYS[2]):  # one that is closed, one that is open
        with pytest.raises(LedgerError, match="telemetry the store no longer holds"):
            publish_day(books.store, books.root, day, now=books.now())
    assert cost(books, t(8), t(9))
    post_corrections(books.store, now=books.now())
    assert posted(books, "energy") == []
