"""A month as FOCUS 1.2: every product exact, every hour once, names FOCUS allows, and the statement's own sums."""

from __future__ import annotations

import csv
import json
import shutil
import sys
import time
from collections import defaultdict
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from threading import Event
from typing import Any

import duckdb
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.collector.fleet_world import DAY, LATER, NANO, World
from tests.reports import focus_validator

from ullage_collector.publish.files import publish_dimensions, publish_facts_day
from ullage_collector.published import Facts, Published
from ullage_collector.revision import write_revision
from ullage_collector.states import States
from ullage_contract.clock import ManualClock
from ullage_contract.command import FAILED, PARTIAL, USAGE
from ullage_contract.errors import ConfigError, StoreError
from ullage_reports import cli, focus, html, statement
from ullage_reports import period as periods
from ullage_reports.config import Issuer
from ullage_reports.period import PeriodKind

NOW = datetime(2026, 11, 1, 6, tzinfo=UTC)
THIRD = NANO // 3
OURS = (
    "x_SubAccountName",
    "x_CostClass",
    "x_Business",
    "x_Scenario",
    "x_JobId",
    "x_Pool",
    "x_AllocatedMethodId",
)
MONTH = periods.parse(PeriodKind.MONTHLY, "2026-10", "Asia/Shanghai")


def publish(world: World, root: Path, *days: date) -> Path:
    states = States(world.db)
    for day in days:
        states.make(day, LATER)
        publish_facts_day(world.db, root / "published", day, status="sealed", now=LATER)
    publish_dimensions(world.db, root / "published", now=LATER)
    return root


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two days: thirds of a card at a price that does not divide, a name that is not ASCII, a card without a price."""
    world = World()
    world.card("G1", "H800")
    world.card("N1", "Ascend 910B3", "n2", vendor="ascend", origin="simulated")
    world.card("X1", "BI-V150", "n3", vendor="iluvatar")
    world.price("H800", 20_333_333)
    world.price("Ascend*", 7_250_000, assumed=True)
    world.department("rd", "研发一部")
    world.department("rd/cv", "Vision", "rd")
    world.rule("slurm:nlp", "rd", scenario="training")
    world.rule("k8s:cv-*", "rd/cv", business="搜索", scenario="development")
    world.hold("G1", "slurm/dc1/nlp/1", 0, 7, THIRD)
    for number in range(2, 9):  # sevenths of an hour, which no decimals hold
        world.hold("G1", f"slurm/dc1/nlp/{number}", 8 + number / 7, 9 + number / 7, THIRD // number)
    world.minutes("G1", 0, 24, 0.9)
    world.hold("N1", "k8s/dc1/cv-dev/notebook-1/uid", 0, 24, node="n2")
    world.minutes("N1", 0, 24, 0.4)
    world.incident("G1", 10, 12)
    return publish(world, tmp_path_factory.mktemp("data"), DAY.date(), date(2026, 10, 8))


@pytest.fixture(scope="module")
def out(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the command writes for the month, line by line."""
    folder = tmp_path_factory.mktemp("out")
    assert run(data, folder, "focus,json", "--grain", "hour") == PARTIAL, (
        "days and a price are missing: code 3"
    )
    return folder


def run(data: Path, out: Path, formats: str, *more: str, kind: str = "monthly", of: str = "2026-10") -> int:
    option = {"monthly": "--month", "daily": "--date"}[kind]
    arguments = [kind, option, of, "--format", formats, "--data", str(data), "--out", str(out)]
    arguments += ["--zone", "Asia/Shanghai", "--currency", "CNY", *more]
    return cli.main(arguments, clock=ManualClock(NOW.timestamp()))


def rows(out: Path) -> list[dict[str, str]]:
    with (out / "focus.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def told(out: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((out / "ullage-monthly-2026-10.json").read_text("utf-8"))
    return found


def written(value: Any) -> str | None:
    """A value of Parquet as CSV has it."""
    return format(value, "f") if isinstance(value, Decimal) else None if value is None else str(value)


def at(text: str) -> datetime:
    assert text.endswith("Z"), text
    return datetime.fromisoformat(text)


def test_both_files_hold_the_same_rows(out: Path) -> None:
    with duckdb.connect() as db:
        read = "SELECT * FROM read_parquet(?)", "SELECT * FROM read_csv(?, all_varchar = true)"
        parquet = db.execute(read[0], [str(out / "focus.parquet")]).fetchall()
        text = db.execute(read[1], [str(out / "focus.csv")]).fetchall()
    assert [[written(value) for value in row] for row in parquet] == [list(row) for row in text]
    assert len(text) > 50


def test_the_columns_are_those_of_focus_and_ours_begin_with_x(out: Path) -> None:
    names = list(rows(out)[0])
    theirs = [name for name in names if not name.startswith("x_")]
    assert len(theirs) == 57
    assert theirs == sorted(theirs, key=str.lower)
    assert names[: len(theirs)] == theirs
    assert set(OURS) < set(names)


def test_quantity_times_price_is_the_cost_to_the_last_digit(out: Path) -> None:
    for row in rows(out):
        quantity = Decimal(row["PricingQuantity"])
        assert quantity == quantity.quantize(Decimal("1e-9"))
        for price, cost in (("ListUnitPrice", "ListCost"), ("ContractedUnitPrice", "ContractedCost")):
            assert Decimal(row[price]) * quantity == Decimal(row[cost])
        assert row["BilledCost"] == row["EffectiveCost"] == row["ContractedCost"]
        assert row["ConsumedQuantity"] == row["PricingQuantity"]
        assert quantity > 0


def test_the_sums_are_the_statements(out: Path) -> None:
    cost = sum(Decimal(row["BilledCost"]) for row in rows(out))
    hours = sum(Decimal(row["PricingQuantity"]) for row in rows(out))
    total = told(out)["total"]
    assert cost.quantize(Decimal("0.01")) == Decimal(total["cost"])
    priced = Decimal(total["hours"]) - Decimal(48)  # the card without a price is in no row
    assert abs(hours - priced) <= Decimal("0.005")
    by: dict[str, Decimal] = defaultdict(Decimal)
    for row in rows(out):
        by[row["SubAccountId"]] += Decimal(row["BilledCost"])
    for department in told(out)["departments"]:
        own = Decimal(department["own"]["cost"])
        assert abs(by[department["department_id"]] - own) <= Decimal("0.01"), department


def test_what_the_cuts_leave_is_the_platforms_and_nothing_is_lost(data: Path, out: Path) -> None:
    left = [row for row in rows(out) if row["x_LineId"].startswith("residue/")]
    assert left
    assert {row["SubAccountId"] for row in left} == {"platform"}
    assert all(row["ResourceId"] == "" and "Rounding" in row["ChargeDescription"] for row in left)
    hours: dict[str, Decimal] = defaultdict(Decimal)
    for row in rows(out):
        hours[row["SkuId"]] += Decimal(row["PricingQuantity"])
    with Published(data / "published").open(MONTH.start, MONTH.end) as facts:
        exact = facts.rows(
            "SELECT vendor || '/' || model, sum(quantity) FROM segment WHERE price_id > 0 GROUP BY 1"
        )
    for sku, quantity in exact:
        missing = Decimal(int(quantity)) / Decimal(3_600_000_000 * NANO) - hours[sku]
        assert 0 <= missing < Decimal("1e-9"), sku


def test_times_are_utc_and_the_billing_period_is_the_local_month(out: Path) -> None:
    for row in rows(out):
        assert row["BillingPeriodStart"] == "2026-09-30T16:00:00Z"
        assert row["BillingPeriodEnd"] == "2026-10-31T16:00:00Z"
        start, end = at(row["ChargePeriodStart"]), at(row["ChargePeriodEnd"])
        assert at(row["BillingPeriodStart"]) <= start < end <= at(row["BillingPeriodEnd"])


def test_the_shares_of_a_card_are_one_at_every_hour(out: Path) -> None:
    shares: dict[tuple[str, datetime], Decimal] = defaultdict(Decimal)
    for row in rows(out):
        if row["x_AllocatedRatio"]:
            begin, end = at(row["x_ChargeFrom"]), at(row["x_ChargeTo"])
            assert at(row["ChargePeriodStart"]) <= begin < end <= at(row["ChargePeriodEnd"])
            hour = begin.replace(minute=0, second=0, microsecond=0)
            assert end <= hour + timedelta(hours=1)
            lasts = (end - begin) // timedelta(microseconds=1)
            shares[row["ResourceId"], hour] += Decimal(row["x_AllocatedRatio"]) * lasts
    assert len(shares) == 2 * 48
    assert set(shares.values()) == {Decimal(3_600_000_000)}


def test_names_are_in_the_characters_focus_allows_and_ours_in_their_own(out: Path) -> None:
    found = rows(out)
    for row in found:
        for name, value in row.items():
            assert name.startswith("x_") or name == "Tags" or value.isascii(), (name, value)
    named = {row["SubAccountId"]: (row["SubAccountName"], row["x_SubAccountName"]) for row in found}
    assert named["rd"] == ("rd", "研发一部")
    assert named["rd/cv"] == ("Vision", "Vision")
    assert named["platform"][0] == "Platform"
    assert {json.loads(row["Tags"])["business"] for row in found} == {"", "搜索"}


def test_simulated_cards_are_labelled(out: Path) -> None:
    origins = {row["x_Origin"] for row in rows(out) if "Ascend" in row["SkuId"]}
    assert origins == {"simulated"}


def test_the_same_days_give_the_same_bytes(data: Path, out: Path, tmp_path: Path) -> None:
    run(data, tmp_path, "focus", "--grain", "hour")
    for name in focus.FILES:
        assert (tmp_path / name).read_bytes() == (out / name).read_bytes()
    run(data, tmp_path, "focus")
    days = [(tmp_path / name).read_bytes() for name in focus.FILES]
    run(data, tmp_path, "focus")
    assert days == [(tmp_path / name).read_bytes() for name in focus.FILES]


ALIKE = (
    "ResourceId",
    "x_JobId",
    "SubAccountId",
    "x_CostClass",
    "SkuPriceId",
    "x_AllocatedRatio",
    "x_Reason",
    "x_Origin",
)


def test_a_charge_is_a_local_day_of_lines_that_are_alike_and_the_money_is_the_same(
    data: Path, out: Path, tmp_path: Path
) -> None:
    """A zone of half hours: lines over its midnights are cut, and every day is as long as its rows say."""
    assert run(data, tmp_path, "focus", "--zone", "Asia/Kolkata") == PARTIAL
    days = rows(tmp_path)
    lines = [row for row in days if row["x_Lines"]]
    seen = [(*(row[name] for name in ALIKE), row["ChargePeriodStart"]) for row in lines]
    assert len(set(seen)) == len(seen) < len([row for row in rows(out) if row["x_Lines"]]) / 2
    assert {at(row["ChargePeriodStart"]).strftime("%H:%M") for row in lines} == {"18:30"}
    hours: dict[tuple[str, str], Decimal] = defaultdict(Decimal)
    for row in lines:
        begins, ends = at(row["ChargePeriodStart"]), at(row["ChargePeriodEnd"])
        assert ends - begins == timedelta(days=1)
        assert begins <= at(row["x_ChargeFrom"]) < at(row["x_ChargeTo"]) <= ends
        assert Decimal(row["PricingQuantity"]) * Decimal(row["ListUnitPrice"]) == Decimal(row["BilledCost"])
        hours[row["ResourceId"], row["ChargePeriodStart"]] += Decimal(row["PricingQuantity"])
    for (_, day), quantity in hours.items():
        owned = {"2026-10-06": "18.5", "2026-10-07": "24", "2026-10-08": "5.5"}[day[:10]]
        assert abs(quantity - Decimal(owned)) < Decimal("1e-6"), (
            "two cards, 48 hours each, cut at midnights of India"
        )
    assert sum(Decimal(row["BilledCost"]) for row in days) == sum(Decimal(r["BilledCost"]) for r in rows(out))


def test_only_a_month_can_be_billed(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(data, tmp_path, "focus", kind="daily", of="2026-10-07") == USAGE
    assert "monthly" in capsys.readouterr().err
    with Published(data / "published").open(MONTH.start, MONTH.end) as facts, pytest.raises(ConfigError):
        focus.write(facts, periods.parse(PeriodKind.DAILY, "2026-10-07", "UTC"), "CNY", Issuer(), tmp_path)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('provider = "平台"', "ASCII"),
        ('provder = "x"', "provider"),
        ("provider = 1", "text"),
        ('account_id = ""', "ASCII"),
    ],
)
def test_a_wrong_issuer_is_named(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], line: str, said: str
) -> None:
    file = tmp_path / "report.toml"
    file.write_text(f"[focus]\n{line}\n", encoding="utf-8")
    assert run(data, tmp_path, "focus", "--config", str(file)) != PARTIAL
    assert said in capsys.readouterr().err
    assert not (tmp_path / "focus.csv").exists()


def test_the_issuer_is_who_the_settings_say(data: Path, tmp_path: Path) -> None:
    file = tmp_path / "report.toml"
    file.write_text('[focus]\nprovider = "Card Hall"\naccount_id = "hall"\n', encoding="utf-8")
    run(data, tmp_path, "focus", "--config", str(file))
    row = rows(tmp_path)[0]
    assert row["ProviderName"] == row["InvoiceIssuerName"] == row["PublisherName"] == "Card Hall"
    assert row["BillingAccountId"] == "hall"
    assert row["InvoiceId"] == "hall/2026-10/CNY"


def test_what_cannot_be_written_leaves_what_was_there(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "focus.csv").write_text("before", encoding="ascii")
    monkeypatch.setattr(focus, "FILES", {"focus.parquet": "FORMAT parquet", "focus.csv": "FORMAT nothing"})
    with pytest.raises(StoreError), Published(data / "published").open(MONTH.start, MONTH.end) as facts:
        focus.write(facts, MONTH, "CNY", Issuer(), tmp_path)
    assert (tmp_path / "focus.csv").read_text(encoding="ascii") == "before"
    assert [path.name for path in tmp_path.iterdir()] == ["focus.csv"]


def test_it_is_written_while_the_others_are_drawn(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """And listed behind them: an hour of them would not wait for the other. The waits end early only where both go on at once."""
    begun, drawn = Event(), Event()
    write, render = focus.write, html.render

    def writing(*given: Any) -> focus.Written:
        begun.set()
        assert drawn.wait(60), "FOCUS was waited for before anything was drawn"
        return write(*given)

    def drawing(*given: Any) -> Path:
        assert begun.wait(60), "FOCUS was not begun while this is drawn"
        drawn.set()
        return render(*given)

    monkeypatch.setattr(focus, "write", writing)
    monkeypatch.setattr(html, "render", drawing)
    before = sys.getswitchinterval()
    assert run(data, tmp_path, "focus,html") == PARTIAL
    listed = [Path(line).name for line in capsys.readouterr().out.splitlines()]
    assert listed == ["ullage-monthly-2026-10.zh.html", "focus.parquet", "focus.csv"]
    assert sys.getswitchinterval() == before


def test_who_stops_the_drawing_stops_it_too(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C does not wait for a query of hours, and leaves nothing half written."""
    asked = Event()
    write = focus.write

    def without_end(facts: Facts, *given: Any) -> focus.Written:
        asked.set()
        facts.connection.execute(
            "SELECT sum(a.range * b.range % 7) FROM range(10000000) a, range(10000000) b"
        )
        return write(facts, *given)

    def stopped(*_: Any) -> Path:
        assert asked.wait(60)
        time.sleep(0.5)  # the query is going on
        raise KeyboardInterrupt

    monkeypatch.setattr(focus, "write", without_end)
    monkeypatch.setattr(html, "render", stopped)
    assert run(data, tmp_path, "html,focus") == FAILED
    assert not list(tmp_path.iterdir())


def test_days_published_while_the_report_is_made_are_not_mixed_with_it(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    own = tmp_path / "data"
    shutil.copytree(data, own)

    def publish_again(*given: Any, **more: Any) -> Any:
        made = read_statement(*given, **more)
        names = Published(own / "published").dimensions()
        assert names is not None

        def write(folder: Path) -> dict[str, Any]:
            for file in names.files:
                shutil.copyfile(names.path(file.name), folder / file.name)
            (folder / "more.parquet").write_bytes(b"")
            return {}

        write_revision(
            own / "published" / "dimensions",
            what="dimensions",
            day=None,
            status="sealed",
            now=LATER,
            write=write,
        )
        return made

    read_statement = statement.statement
    monkeypatch.setattr(statement, "statement", publish_again)
    assert run(own, tmp_path, "json,focus") == FAILED
    assert "published while the report was made" in capsys.readouterr().err
    assert not (tmp_path / "focus.csv").exists()
    monkeypatch.undo()
    assert run(own, tmp_path, "json,focus") == PARTIAL, "asked again, both read the new names"


def test_what_stops_it_is_told_and_the_others_stay(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(focus, "FILES", {"focus.csv": "FORMAT nothing"})
    assert run(data, tmp_path, "focus,json") == FAILED
    told = capsys.readouterr()
    assert "focus: " in told.err and "nothing" in told.err
    assert [path.name for path in tmp_path.iterdir()] == ["ullage-monthly-2026-10.json"]
    assert [Path(line).name for line in told.out.splitlines()] == ["ullage-monthly-2026-10.json"]


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    shares=st.lists(st.integers(1, NANO // 4), min_size=1, max_size=4),
    edges=st.lists(st.integers(1, 23), min_size=2, max_size=2, unique=True).map(sorted),
    price=st.integers(0, 10**9),
    grain=st.sampled_from(list(focus.Grain)),
)
def test_any_share_and_price_keeps_every_product_exact(
    shares: list[int],
    edges: list[int],
    price: int,
    grain: focus.Grain,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    world = World()
    world.card("G1", "H800")
    world.price("H800", price)
    for number, share in enumerate(shares):
        world.hold("G1", f"slurm/dc1/a/{number}", edges[0], edges[1], share)
    world.minutes("G1", 0, 24, 0.9)
    folder = tmp_path_factory.mktemp("any")
    publish(world, folder, DAY.date())
    with Published(folder / "published").open(MONTH.start, MONTH.end) as facts:
        written = focus.write(facts, MONTH, "CNY", Issuer(), folder, grain=grain)
        ((exact,),) = facts.rows("SELECT sum(quantity) FROM segment WHERE currency = 'CNY'")
    found = rows(folder)
    assert written.rows == len(found)
    assert written.cost == sum(Decimal(row["BilledCost"]) for row in found)
    assert written.hours == sum(Decimal(row["PricingQuantity"]) for row in found)
    missing = Decimal(int(exact)) / Decimal(3_600_000_000 * NANO) - written.hours
    assert 0 <= missing < Decimal("1e-9")
    for row in found:
        assert Decimal(row["PricingQuantity"]) * Decimal(row["ListUnitPrice"]) == Decimal(row["ListCost"])


@focus_validator.where_named
@pytest.mark.parametrize("name", list(focus.FILES))
def test_the_validator_of_the_finops_foundation_passes_it(out: Path, name: str) -> None:
    focus_validator.check(out / name)
