"""Budgets: exact sums, a forecast one can check by hand, and unknown days that are never free."""

from __future__ import annotations

import json
from datetime import date, timedelta
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.collector.fleet_world import DAY, LATER, World

from ullage_collector.ledger import ATOMS_PER_UNIT
from ullage_collector.publish.files import publish_dimensions, publish_facts_day
from ullage_collector.published import Published
from ullage_collector.states import States
from ullage_contract.command import GOOD, PARTIAL, USAGE
from ullage_contract.errors import ConfigError
from ullage_reports import budget_settings, cli
from ullage_reports.budget import LEAST_DAYS, Spent, Standing, course
from ullage_reports.budget_reading import last_whole
from ullage_reports.budget_settings import Budget

OCTOBER = [date(2026, 10, 1) + timedelta(days=n) for n in range(31)]
BEFORE = [date(2026, 9, 3) + timedelta(days=n) for n in range(28)]


def budget(amount: int, **more: str) -> Budget:
    return Budget("b", ("rd",), ("*",), amount, "CNY", more.get("period", "month"))


def stands(amount: int, known: list[date], cost: dict[date, int] | int = 10) -> Spent:
    costs = cost if isinstance(cost, dict) else dict.fromkeys(known, cost)
    return course(budget(amount), costs, 0, OCTOBER, frozenset(known))


def test_like_days_have_a_forecast_without_a_range() -> None:
    spent = stands(310, BEFORE + OCTOBER[:10])
    assert (spent.spent, spent.known, spent.ahead, spent.missing) == (100, 10, 21, 0)
    assert spent.a_day == 10
    assert spent.cheapest == spent.expected == spent.dearest == 310
    assert spent.standing is Standing.ON_TRACK
    assert spent.used_ratio == Fraction(100, 310)


@pytest.mark.parametrize(
    ("amount", "standing"),
    [
        (99, Standing.EXCEEDED),
        (200, Standing.CERTAIN),
        (350, Standing.LIKELY),
        (430, Standing.AT_RISK),
        (600, Standing.ON_TRACK),
    ],
)
def test_every_standing_has_its_amount(amount: int, standing: Standing) -> None:
    days = BEFORE + OCTOBER[:10]
    costs = dict.fromkeys(days, 10) | {day: 20 for day in BEFORE[-7:]}
    spent = stands(amount, days, costs)
    assert spent.spent == 100
    assert spent.cheapest == 310
    assert spent.cheapest < (spent.expected or 0) < (spent.dearest or 0)
    assert spent.standing is standing, (spent.cheapest, spent.expected, spent.dearest)


def test_a_weekends_days_are_forecast_by_weekends() -> None:
    days = BEFORE + OCTOBER[:10]
    costs = {day: 0 if day.weekday() >= 5 else 7 for day in days}
    spent = stands(10_000, days, costs)
    assert spent.cheapest == spent.expected == spent.dearest == 7 * sum(day.weekday() < 5 for day in OCTOBER)


def test_a_day_that_is_not_published_is_forecast_and_not_free() -> None:
    spent = stands(10_000, BEFORE + OCTOBER[:4] + OCTOBER[6:10])
    assert (spent.known, spent.missing, spent.ahead) == (8, 2, 21)
    assert spent.expected == 310


def test_before_a_week_is_known_there_is_no_forecast() -> None:
    spent = stands(100, OCTOBER[: LEAST_DAYS - 1])
    assert spent.expected is None
    assert spent.standing is Standing.UNKNOWN
    assert stands(59, OCTOBER[: LEAST_DAYS - 1]).standing is Standing.EXCEEDED, "what is spent is known"
    assert stands(100, OCTOBER[:LEAST_DAYS]).expected == 310


def test_nothing_known_is_nothing_spent_and_nothing_said() -> None:
    spent = stands(100, [])
    assert (spent.spent, spent.a_day, spent.ahead, spent.standing) == (0, None, 31, Standing.UNKNOWN)


@given(
    cost=st.lists(st.integers(0, 10**6), min_size=59, max_size=59),
    until=st.integers(0, 31),
    amount=st.integers(0, 10**8),
)
def test_the_forecast_is_in_its_range_and_a_whole_period_has_none(
    cost: list[int], until: int, amount: int
) -> None:
    days = BEFORE + OCTOBER[:until]
    costs = dict(zip(days, cost, strict=False))
    spent = stands(amount, days, costs)
    assert spent.cheapest is not None and spent.expected is not None and spent.dearest is not None
    assert spent.spent <= spent.cheapest <= spent.expected <= spent.dearest
    if until == 31:
        assert spent.spent == spent.cheapest == spent.dearest == sum(costs[day] for day in OCTOBER)


# ---- the command


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten published days: rd trains on a card at 20 an hour by day, cv serves on one all day; one has no price."""
    world = World()
    root = tmp_path_factory.mktemp("data")
    for card, model in (("G1", "H800"), ("G2", "H800"), ("G3", "BI-V150")):
        world.card(card, model)
    world.price("H800", 20_000_000)
    world.rule("slurm:nlp", "rd", scenario="training")
    world.rule("slurm:cv", "rd/cv", scenario="inference")
    world.department("fin/audit", "Audit")  # pays for nothing
    world.hold("G2", "slurm/dc1/cv/1", 0, 240)
    states = States(world.db)
    for n in range(10):
        world.hold("G1", f"slurm/dc1/nlp/{n}", 24 * n, 24 * n + 12)
        day = (DAY + timedelta(days=n)).date()
        states.make(day, LATER)
        publish_facts_day(world.db, root / "published", day, status="sealed", now=LATER)
    publish_dimensions(world.db, root / "published", now=LATER)
    return root


FILE = """
[[budget]]
name = "rd, everything below it"
departments = ["rd", "rd/*"]
amount = "20000.00"
currency = "CNY"

[[budget]]
name = "serving"
departments = ["*"]
scenarios = ["inference"]
amount = "100.00"
currency = "CNY"
period = "quarter"
"""


def test_the_command_sums_what_the_ledger_has(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "budgets.toml"
    file.write_text(FILE, encoding="utf-8")
    assert cli.main(["budget", str(file), "--data", str(data), "--json"]) == PARTIAL
    first, second = json.loads(capsys.readouterr().out)["budgets"]
    assert first["spent"] == f"{10 * (12 + 24) * 20}.00"
    assert first["days"] == {"known": 10, "missing": 6, "ahead": 15}
    assert first["forecast"]["expected"] == f"{31 * 36 * 20}.00"
    assert first["standing"] == "certainly_over"
    assert second["spent"] == f"{10 * 24 * 20}.00"
    assert second["period"] == "2026-Q4"
    assert second["standing"] == "exceeded"
    assert cli.main(["budget", str(file), "--data", str(data)]) == PARTIAL
    page = capsys.readouterr().out
    assert "rd, everything below it" in page and "will be exceeded even by the cheapest course" in page
    assert "are not published; they are forecast, not free" in page


def test_days_are_cut_at_the_zones_midnights_exactly(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "budgets.toml"
    file.write_text(FILE, encoding="utf-8")
    assert cli.main(["budget", str(file), "--data", str(data), "--json", "--zone", "Asia/Kolkata"]) == PARTIAL
    first = json.loads(capsys.readouterr().out)["budgets"][0]
    assert first["days"]["known"] == 9, "the first and the last local day are not published whole"
    half_past = Fraction(9 * 36 * 20)  # nine whole days of the same rhythm, wherever they are cut
    assert first["spent"] == f"{half_past}.00"


def test_what_has_no_price_is_told(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "budgets.toml"
    file.write_text(
        '[[budget]]\nname = "all"\ndepartments = ["*"]\namount = "9999999"\ncurrency = "CNY"\n',
        encoding="utf-8",
    )
    assert cli.main(["budget", str(file), "--data", str(data)]) == PARTIAL
    assert "240.00 card-hours have no price in CNY" in capsys.readouterr().out


def test_a_budget_that_is_kept_ends_well(data: Path, tmp_path: Path) -> None:
    file = tmp_path / "budgets.toml"
    file.write_text(
        '[[budget]]\nname = "rd"\ndepartments = ["rd"]\namount = "9999999"\ncurrency = "CNY"\n',
        encoding="utf-8",
    )
    assert (
        cli.main(["budget", str(file), "--data", str(data), "--at", "2026-10-16"]) == PARTIAL
    )  # six days are missing
    assert cli.main(["budget", str(file), "--data", str(data), "--at", "2026-11-02"]) == GOOD


def alone(file: Path, departments: str, scenarios: str = '["*"]') -> Path:
    file.write_text(
        f'[[budget]]\nname = "b"\ndepartments = {departments}\nscenarios = {scenarios}\namount = "9999999"\ncurrency = "CNY"\n',
        encoding="utf-8",
    )
    return file


@pytest.mark.parametrize(
    ("departments", "scenarios", "unmatched", "standing"),
    [
        ('["rdd"]', '["*"]', ["departments rdd"], "unknown"),
        ('["rdd", "x*"]', '["*"]', ["departments rdd", "departments x*"], "unknown"),
        ('["rd", "rdd"]', '["*"]', ["departments rdd"], "on_track"),
        ('["rd"]', '["trainning"]', ["scenarios trainning"], "unknown"),
        ('["rd", "rd/cv/*"]', '["training", "later"]', [], "on_track"),
        ('["rd/cv", "platform"]', '["*"]', [], "on_track"),
        ('["fin", "fin/*"]', '["*"]', [], "on_track"),
        ('["fin/audit"]', '["*"]', [], "on_track"),
        ('["fin"]', '["*"]', ["departments fin"], "unknown"),
    ],
)
def test_a_budget_of_nobody_is_not_on_track(
    data: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    departments: str,
    scenarios: str,
    unmatched: list[str],
    standing: str,
) -> None:
    file = alone(tmp_path / "budgets.toml", departments, scenarios)
    words = ["budget", str(file), "--data", str(data), "--at", "2026-11-02"]
    assert cli.main([*words, "--json"]) == (PARTIAL if unmatched else GOOD)
    out, err = capsys.readouterr()
    (told,) = json.loads(out)["budgets"]
    assert [f"{one['key']} {one['glob']}" for one in told["unmatched"]] == unmatched
    assert told["standing"] == standing
    assert (told["spent"] is None and told["forecast"]["expected"] is None) == (standing == "unknown")
    for one in unmatched:
        key, glob = one.split()
        assert f"budget 'b': {key} '{glob}' fits no {key[:-1]}; nothing of it is counted" in err
    assert cli.main(words) == (PARTIAL if unmatched else GOOD)
    assert ("nobody is known whom it names" in capsys.readouterr().out) == (standing == "unknown")


def test_a_budget_in_a_statement_that_is_nobodys_is_told(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, config = alone(tmp_path / "budgets.toml", '["rdd"]'), tmp_path / "report.toml"
    config.write_text(f'[watch]\nbudgets = "{file}"\n', encoding="utf-8")
    words = ["--format", "json", "--out", str(tmp_path), "--data", str(data), "--config", str(config)]
    cli.main(["daily", "--date", "2026-10-10", *words])
    assert "departments 'rdd' fits no department" in capsys.readouterr().err


def test_what_is_not_published_is_never_nothing_spent(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = alone(tmp_path / "budgets.toml", '["rd"]')
    empty = tmp_path / "empty"
    empty.mkdir()
    cases = {
        (data, "2019-01-01", "UTC"): (PARTIAL, 31),
        (data, "2026-11-02", "UTC"): (GOOD, 0),  # a month that has not begun
        (empty, "2026-10-10", "UTC"): (PARTIAL, 0),
        (empty, "", "UTC"): (PARTIAL, 0),
    }
    for (folder, at, zone), (code, missing) in cases.items():
        words = ["budget", str(file), "--data", str(folder), "--zone", zone, *(["--at", at] if at else [])]
        assert cli.main([*words, "--json"]) == code, (folder, at)
        out, err = capsys.readouterr()
        (told,) = json.loads(out)["budgets"]
        assert told["spent"] is None and told["used_ratio"] is None
        assert (told["days"]["known"], told["days"]["missing"]) == (0, missing)
        assert ("no day is published" in err) == (folder is empty)
        cli.main(words)
        out = capsys.readouterr().out
        assert "not known, of 9999999.00 CNY: no day of the period is published whole" in out
        assert "0.00 CNY of" not in out


def test_without_a_day_it_is_the_period_of_the_last_day_that_is_published_whole(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, root = alone(tmp_path / "budgets.toml", '["rd"]'), tmp_path / "published"
    for name in ("2026-10-29", "2026-10-30", "2026-10-31", "2026-11-01"):
        (root / "facts" / f"day={name}").mkdir(parents=True)
    for zone, day in (
        ("UTC", date(2026, 11, 1)),
        ("Asia/Shanghai", date(2026, 11, 1)),
        ("America/New_York", date(2026, 10, 31)),
    ):
        assert last_whole(Published(root), zone) == day
        cli.main(["budget", str(file), "--data", str(tmp_path), "--zone", zone, "--json"])
        assert json.loads(capsys.readouterr().out)["budgets"][0]["period"] == f"{day:%Y-%m}"
    assert last_whole(Published(tmp_path), "UTC") is None


def test_days_that_passed_while_later_ones_are_published_are_missing_and_not_to_come() -> None:
    known = frozenset(OCTOBER[:10])
    as_at_the_end = course(budget(10_000), dict.fromkeys(known, 10), 0, OCTOBER, known)
    assert (as_at_the_end.missing, as_at_the_end.ahead) == (0, 21)
    later = course(budget(10_000), dict.fromkeys(known, 10), 0, OCTOBER, known, passed=date(2026, 10, 20))
    assert (later.known, later.missing, later.ahead) == (10, 9, 12)
    assert later.expected == as_at_the_end.expected == 310


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (('amount = "20000.00"', 'amount = "20000.001"'), "at most 2 decimals"),
        (('amount = "20000.00"', "amount = 20000"), "amount"),
        (('amount = "20000.00"', 'amount = "-1"'), "amount"),
        (('amount = "20000.00"', 'amount = "NaN"'), "amount"),
        (
            ('amount = "20000.00"', 'amount = "1e999999999"'),
            "amount = '1e999999999': write an amount in quotes",
        ),
        (('amount = "20000.00"', 'amount = "1e-999999999"'), "at most 2 decimals"),
        (('amount = "20000.00"', 'amount = "1000000000000001"'), "amount"),
        (('amount = "20000.00"', f'amount = "1.{"0" * 30}1"'), "at most 2 decimals"),
        (
            ('departments = ["rd", "rd/*"]', 'department = ["rd"]'),
            r"\[budget\] department = \['rd'\]: no such key; did you mean departments\?",
        ),
        (('currency = "CNY"', 'currancy = "CNY"'), "did you mean currency"),
        (('currency = "CNY"', 'currency = "RMB "'), "ISO 4217"),
        (('departments = ["rd", "rd/*"]', "departments = []"), "departments"),
        (('name = "serving"', 'name = "rd, everything below it"'), "given twice"),
        (('period = "quarter"', 'period = "week"'), "month, quarter"),
        (('scenarios = ["inference"]', 'scenario = ["inference"]'), "scenario"),
        ((FILE, ""), "no budget"),
    ],
)
def test_a_wrong_budget_is_named(change: tuple[str, str], said: str) -> None:
    text = FILE.replace(*change)
    assert text != FILE
    with pytest.raises(ConfigError, match=said):
        budget_settings.parse(text, "budgets.toml")


def test_a_file_that_is_not_there_is_named(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["budget", "/nowhere.toml", "--data", str(data)]) == USAGE
    assert "/nowhere.toml" in capsys.readouterr().err


def test_an_amount_is_exact_atoms() -> None:
    (one, _) = budget_settings.parse(FILE, "x")
    assert one.atoms == 20_000 * ATOMS_PER_UNIT
