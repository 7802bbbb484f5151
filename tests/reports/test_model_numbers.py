"""A statement's numbers: worked by hand once, and adding up always."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from tests.collector.fleet_world import DAY, LATER, NANO, World, at

from ullage_collector.ledger import STATES
from ullage_collector.publish.files import publish_dimensions, publish_facts_day
from ullage_collector.published import Published
from ullage_collector.states import States
from ullage_contract.clock import ManualClock
from ullage_contract.errors import ConfigError
from ullage_reports import cli
from ullage_reports import period as periods
from ullage_reports.json_form import to_json
from ullage_reports.model import Kind, Report, Status
from ullage_reports.period import Period
from ullage_reports.statement import statement

NOW = datetime(2026, 11, 1, 6, tzinfo=UTC)


def publish(world: World, root: Path, *days: date, status: str = "provisional") -> None:
    states = States(world.db)
    for day in days:
        states.make(day, LATER)
        publish_facts_day(world.db, root, day, status=status, now=LATER)
    publish_dimensions(world.db, root, now=LATER)


def made(root: Path, period: Period, currency: str | None = "CNY") -> Report:
    report = statement(Published(root), period, currency=currency, now=NOW)
    assert report.trust.adds_up, report.trust.checks
    return report


def by_department(report: Report) -> dict[str, tuple[Decimal, Decimal]]:
    return {row.department_id: (row.amounts.cost, row.amounts.hours) for row in report.departments}


def costs(report: Report) -> dict[str, Decimal]:
    return {s.state: s.cost for s in report.total.states if s.cost}


def worked() -> World:
    """One H800 at 20.00 and one Ascend at 7.25; the day in UTC is 2026-10-07.

    G1: rd/nlp holds half of it 00:00-08:00 and works; a fault 10:00-12:00 confirmed; free otherwise.
    N1: rd/cv holds it 00:00-24:00, works to 06:00, then does nothing.
    """
    world = World()
    world.card("G1", "H800")
    world.card("N1", "Ascend 910B3", "n2", vendor="ascend")
    world.price("H800", 20_000_000)
    world.price("Ascend*", 7_250_000, assumed=True)
    world.department("rd", "研发")
    world.department("rd/nlp", "语言", "rd")
    world.department("rd/cv", "视觉")
    world.rule("slurm:nlp", "rd/nlp", scenario="training")
    world.rule("k8s:cv-*", "rd/cv", business="search", scenario="development")
    world.hold("G1", "slurm/dc1/nlp/1", 0, 8, NANO // 2)
    world.minutes("G1", 0, 24, 0.9)
    world.hold("N1", "k8s/dc1/cv-dev/notebook-1/uid", 0, 24, node="n2")
    world.minutes("N1", 0, 6, 0.4)
    world.minutes("N1", 6, 24, 0.0)
    world.incident("G1", 10, 12)
    return world


def test_a_day_worked_by_hand(tmp_path: Path) -> None:
    publish(worked(), tmp_path, DAY.date())
    report = made(tmp_path, periods.daily("2026-10-07", "UTC"))
    # G1: 8 h x 1/2 x 20 = 80 used, 80 left over; 2 h x 20 = 40 out of order; 14 h x 20 = 280 free
    # N1: 6 h x 7.25 = 43.50 used, 18 h x 7.25 = 130.50 held but idle
    assert costs(report) == {
        "used": Decimal("123.50"),
        "allocated_idle": Decimal("130.50"),
        "unallocated_idle": Decimal("280.00"),
        "fragmented": Decimal("80.00"),
        "faulty": Decimal("40.00"),
    }
    assert (report.total.cost, report.total.hours) == (Decimal("654.00"), Decimal("48.00"))
    assert by_department(report) == {
        "rd": (Decimal("254.00"), Decimal("28.00")),
        "rd/cv": (Decimal("174.00"), Decimal("24.00")),
        "rd/nlp": (Decimal("80.00"), Decimal("4.00")),
        "platform": (Decimal("400.00"), Decimal("20.00")),
    }
    assert [(r.department_id, r.depth, r.kind, r.leaf) for r in report.departments] == [
        ("rd", 0, Kind.DEPARTMENT, False),
        ("rd/cv", 1, Kind.DEPARTMENT, True),
        ("rd/nlp", 1, Kind.DEPARTMENT, True),
        ("platform", 0, Kind.PLATFORM, True),
    ]
    assert {r.key: r.amounts.cost for r in report.scenarios} == {
        "development": Decimal("174.00"),
        "training": Decimal("80.00"),
        "platform": Decimal("400.00"),
    }
    h800, ascend = report.models
    assert (h800.price_low, h800.effective_price, h800.cards) == (Decimal("20.00"), Decimal("120.0000"), 1)
    assert (ascend.price_low, ascend.assumed, ascend.effective_price) == (
        Decimal("7.25"),
        True,
        Decimal("29.0000"),
    )
    assert report.total.used_ratio == Decimal("0.208333")  # 10 of 48 hours
    assert report.total.waste_cost == Decimal("530.50")
    (holder,) = report.holders
    assert (holder.workload_id, holder.department, holder.idle_cost, holder.idle_hours, holder.running) == (
        "k8s/dc1/cv-dev/notebook-1/uid",
        "视觉",
        Decimal("130.50"),
        Decimal("18.00"),
        True,
    )
    assert holder.since == datetime(2026, 10, 7, 6, tzinfo=UTC)
    assert report.workload_count == 2 and report.workloads_rest is None
    notebook, job = report.workloads
    assert (notebook.workload_id, notebook.department, notebook.scenario, notebook.cards) == (
        "k8s/dc1/cv-dev/notebook-1/uid",
        "视觉",
        "development",
        1,
    )
    n, j = notebook.amounts, job.amounts
    assert (n.held_hours, n.used_hours, n.idle_hours, n.unknown_hours) == (24, 6, 18, 0)
    assert [str(v) for v in (n.held_cost, n.used_cost, n.idle_cost, n.unknown_cost)] == [
        "174.00",
        "43.50",
        "130.50",
        "0.00",
    ]
    assert (j.held_hours, j.used_hours, j.idle_hours, j.held_cost) == (4, 4, 0, 80)
    assert (report.held.held_hours, report.held.held_cost) == (28, 254)
    assert (job.since, job.until) == (DAY, DAY + timedelta(hours=8))
    (incident,) = report.incidents
    assert (incident.hours, incident.cost, incident.cause) == (Decimal("2.00"), Decimal("40.00"), "xid-79")
    assert report.trust.coverage_ratio == Decimal("1.0000")
    assert report.trust.attributed_ratio == Decimal("1.0000")
    (assumed,) = report.trust.assumed_prices
    assert (assumed.price, assumed.hours, assumed.cost) == (
        Decimal("7.25"),
        Decimal("24.00"),
        Decimal("174.00"),
    )
    assert report.status is Status.PROVISIONAL
    assert len(report.trend) == 24
    assert report.previous is None
    assert [s.key for s in report.page_one.sentences] == ["cost", "waste", "action"]


def test_a_local_midnight_cuts_a_day_where_the_zone_says(tmp_path: Path) -> None:
    world = World()
    world.card("G1")
    world.price("H800", 20_000_000)
    world.rule("slurm:nlp", "nlp")
    world.hold("G1", "slurm/dc1/nlp/p1", 12, 21, NANO // 2)
    publish(world, tmp_path, date(2026, 10, 6), date(2026, 10, 7), date(2026, 10, 8))
    # 12:00-21:00Z is 20:00-24:00 on the 7th and 00:00-05:00 on the 8th in Shanghai
    first = made(tmp_path, periods.daily("2026-10-07", "Asia/Shanghai"))
    second = made(tmp_path, periods.daily("2026-10-08", "Asia/Shanghai"))
    assert by_department(first)["nlp"] == (Decimal("40.00"), Decimal("2.00"))
    assert by_department(second)["nlp"] == (Decimal("50.00"), Decimal("2.50"))
    assert second.trust.missing_days == ()
    # Kolkata is 5 h 30 min ahead: its midnight falls within a UTC hour
    assert by_department(made(tmp_path, periods.daily("2026-10-07", "Asia/Kolkata")))["nlp"] == (
        Decimal("65.00"),
        Decimal("3.25"),
    )
    kathmandu = made(tmp_path, periods.daily("2026-10-08", "Asia/Kathmandu"))
    assert by_department(kathmandu)["nlp"] == (Decimal("27.50"), Decimal("1.38"))
    assert len(kathmandu.trend) == 24
    assert sum(p.amounts.cost for p in kathmandu.trend) == kathmandu.total.cost


def test_a_missing_price_is_an_error_row_and_the_report_is_partial(tmp_path: Path) -> None:
    world = World()
    world.card("G1")
    world.card("X1", "BI-V150", pool="lab")
    world.price("H800", 20_000_000)
    publish(world, tmp_path, DAY.date(), status="sealed")
    report = made(tmp_path, periods.daily("2026-10-07", "UTC"))
    (row,) = report.trust.unpriced
    assert (row.model, row.pool, row.cards, row.hours) == ("BI-V150", "lab", 1, Decimal("24.00"))
    assert report.trust.unpriced_hours == report.total.unpriced_hours == Decimal("24.00")
    assert report.total.cost == Decimal("480.00")
    assert report.status is Status.PARTIAL
    assert report.trust.attributed_ratio == Decimal("0.5000")
    bi = next(m for m in report.models if m.model == "BI-V150")
    assert (bi.price_low, bi.effective_price, bi.amounts.cost) == (None, None, Decimal("0.00"))


def test_used_hours_without_a_price_or_in_another_currency_make_no_hour_cheaper(tmp_path: Path) -> None:
    world = World()
    for card, pool in (("G1", None), ("G2", "lab"), ("G3", "abroad")):
        world.card(card, pool=pool)
        world.hold(card, f"slurm/dc1/nlp/{card}", 0, 12)
        world.minutes(card, 0, 24, 0.9)
    world.price("H800", 20_000_000, end=at(6))
    world.price("H800", 3_000_000, pool="abroad", currency="USD")
    publish(world, tmp_path, DAY.date())
    report = made(tmp_path, periods.daily("2026-10-07", "UTC"))
    (h800,) = report.models
    assert h800.amounts.cost == Decimal("240.00")
    assert h800.effective_price == Decimal("20.0000"), "two cards, six priced hours, all of them used"


def test_what_nobody_mapped_is_shown_with_its_name(tmp_path: Path) -> None:
    world = World()
    world.card("G1")
    world.price("H800", 20_000_000)
    world.hold("G1", "slurm/dc1/ghost/1", 0, 6)
    world.hold("G1", "slurm/dc1/ghost/2", 6, 12)
    publish(world, tmp_path, DAY.date())
    report = made(tmp_path, periods.daily("2026-10-07", "UTC"))
    assert [(r.department_id, r.kind) for r in report.departments] == [
        ("__unallocated__", Kind.UNMAPPED),
        ("platform", Kind.PLATFORM),
    ]
    (row,) = report.trust.unmapped
    assert (row.kind, row.name, row.workloads, row.hours, row.cost) == (
        "account",
        "ghost",
        2,
        Decimal("12.00"),
        Decimal("240.00"),
    )


def test_another_currency_is_listed_apart_and_never_converted(tmp_path: Path) -> None:
    world = World()
    world.card("G1")
    world.card("G2", "A100")
    world.price("H800", 20_000_000)
    world.price("A100", 3_000_000, currency="USD")
    publish(world, tmp_path, DAY.date())
    period = periods.daily("2026-10-07", "UTC")
    with pytest.raises(ConfigError, match="--currency"):
        statement(Published(tmp_path), period, now=NOW)
    report = made(tmp_path, period, "USD")
    assert report.total.cost == Decimal("72.00")
    assert report.total.hours == Decimal("48.00")
    (row,) = report.trust.foreign
    assert (row.currency, row.hours, row.cost) == ("CNY", Decimal("24.00"), Decimal("480.00"))
    assert report.status is Status.PARTIAL


def test_a_week_compares_with_the_week_before_only_when_all_of_it_is_published(tmp_path: Path) -> None:
    world = worked()
    week = periods.weekly("2026-W41", "UTC")  # 5 to 11 October
    days = [date(2026, 9, 28) + timedelta(days=n) for n in range(14)]
    publish(world, tmp_path, *days[1:], status="sealed")
    assert made(tmp_path, week).previous is None
    publish(world, tmp_path, days[0], status="sealed")
    report = made(tmp_path, week)
    assert report.previous is not None
    assert report.previous.label == "2026-W40"
    assert report.change is not None
    assert report.change.previous == Decimal("4578.00")  # seven days of two free cards, 27.25 an hour
    assert report.change.difference == report.total.cost - report.change.previous == Decimal("0.00")
    nlp = next(r for r in report.departments if r.department_id == "rd/nlp")
    assert nlp.change is not None
    assert (nlp.change.previous, nlp.change.ratio) == (Decimal("0.00"), None)
    assert report.page_one.sentences[0].key == "cost_change"
    assert report.status is Status.SEALED
    assert report.trend[0].label == "2026-10-05"
    assert len(report.heat) == 7 * 24


def test_days_nobody_published_are_named_and_never_zero(tmp_path: Path) -> None:
    publish(worked(), tmp_path, DAY.date())
    report = made(tmp_path, periods.weekly("2026-W41", "UTC"))
    assert len(report.trust.missing_days) == 6
    assert [p.published for p in report.trend] == [False, False, True, False, False, False, False]
    assert report.status is Status.PARTIAL
    empty = made(tmp_path, periods.daily("2025-01-01", "UTC"), None)
    assert (empty.currency, empty.total.hours, empty.total.used_ratio) == ("XXX", Decimal("0.00"), None)
    assert empty.page_one.tiles[1].value is None
    assert empty.trust.coverage_ratio is None


def test_origins_are_told_apart(tmp_path: Path) -> None:
    world = World()
    world.card("G1")
    world.card("S1", origin="simulated")
    publish(world, tmp_path, DAY.date())
    report = made(tmp_path, periods.daily("2026-10-07", "UTC"))
    assert [(o.origin, o.cards, o.hours) for o in report.trust.origins] == [
        ("real", 1, Decimal("24.00")),
        ("simulated", 1, Decimal("24.00")),
    ]


def test_a_card_nobody_listed_is_named(tmp_path: Path) -> None:
    world = World()
    world.card("G1", own=False, first_seen=at(12))
    world.price("H800", 20_000_000)
    publish(world, tmp_path, DAY.date())
    report = made(tmp_path, periods.daily("2026-10-07", "UTC"))
    (card,) = report.trust.unlisted
    assert (card.card_id, card.hours, card.cost) == ("G1", Decimal("12.00"), Decimal("240.00"))
    assert [f.kind for f in report.findings] == ["unlisted_card"]


def test_parents_in_a_circle_do_not_hang_and_lose_nothing(tmp_path: Path) -> None:
    world = World()
    world.card("G1")
    world.price("H800", 20_000_000)
    world.department("a", "A", "b")
    world.department("b", "B", "a")
    world.rule("slurm:*", "a")
    world.hold("G1", "slurm/dc1/x/1", 0, 24)
    publish(world, tmp_path, DAY.date())
    report = made(tmp_path, periods.daily("2026-10-07", "UTC"))
    assert sum(r.amounts.cost for r in report.departments if r.depth == 0) == Decimal("480.00")


def test_a_path_of_a_thousand_levels_is_cut_and_loses_nothing(tmp_path: Path) -> None:
    world = World()
    world.card("G1")
    world.price("H800", 20_000_000)
    world.rule("slurm:*", "/".join("a" * 1000))
    world.hold("G1", "slurm/dc1/x/1", 0, 24)
    publish(world, tmp_path, DAY.date())
    report = made(tmp_path, periods.daily("2026-10-07", "UTC"))
    assert sum(r.amounts.cost for r in report.departments if r.depth == 0) == Decimal("480.00")
    assert max(r.depth for r in report.departments) < 20


def test_the_json_form_keeps_every_digit_and_says_its_version(tmp_path: Path) -> None:
    publish(worked(), tmp_path, DAY.date())
    report = made(tmp_path, periods.daily("2026-10-07", "UTC"))
    data = json.loads(json.dumps(to_json(report)))
    assert data["schema_version"] == 1
    assert data["stem"] == "ullage-daily-2026-10-07"
    assert data["total"]["cost"] == "654.00"
    assert [s["state"] for s in data["total"]["states"]] == list(STATES)
    assert data["trust"]["adds_up"] is True
    assert data["period"]["start"] == "2026-10-07T00:00:00Z"


def test_the_command_writes_json_alone_on_stdout_and_says_partial(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    publish(worked(), tmp_path / "published", DAY.date(), status="sealed")
    clock = ManualClock(NOW.timestamp())
    common = ["--data", str(tmp_path), "daily", "--format", "json", "--out"]
    assert cli.main([*common, "-", "--date", "2026-10-07"], clock=clock) == 0
    said = capsys.readouterr()
    assert json.loads(said.out)["generated_at"] == "2026-11-01T06:00:00Z"
    assert cli.main([*common, str(tmp_path / "out"), "--date", "2026-10-07"], clock=clock) == 0
    (line,) = capsys.readouterr().out.splitlines()
    assert Path(line) == tmp_path / "out" / "ullage-daily-2026-10-07.json"
    assert json.loads(Path(line).read_text(encoding="utf-8"))["total"]["cost"] == "654.00"
    assert cli.main([*common, "-", "--date", "2026-10-08"], clock=clock) == 3
    assert "not published" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [
        ["daily", "--date", "yesterday"],
        ["weekly", "--week", "2026-W60"],
        ["monthly", "--month", "2026-13"],
        ["quarterly", "--quarter", "2026-Q5"],
        ["daily", "--date", "2026-10-07", "--zone", "+08:00"],
        ["daily", "--date", "2026-10-07", "--lang", "fr"],
        ["daily", "--date", "2026-10-07", "--format", "doc"],
        ["daily", "--date", "2026-10-07", "--out", "-", "--format", "html"],
        ["--config", "/nowhere/report.toml", "daily", "--date", "2026-10-07"],
    ],
)
def test_a_wrong_word_is_a_usage_error(
    arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["--data", str(tmp_path), *arguments]) == 2
    assert capsys.readouterr().out == ""


def test_published_files_that_were_changed_stop_the_report(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    publish(worked(), tmp_path / "published", DAY.date())
    (file,) = (tmp_path / "published").rglob("segments.parquet")
    body = bytearray(file.read_bytes())
    body[300] ^= 1
    file.write_bytes(body)
    code = cli.main(
        ["--data", str(tmp_path), "daily", "--date", "2026-10-07", "--format", "json", "--out", "-"]
    )
    said = capsys.readouterr()
    assert (code, said.out) == (1, "")
    assert "segments.parquet" in said.err


@pytest.mark.parametrize(("zone", "days"), [("UTC", 1), ("Asia/Shanghai", None)])
def test_the_manifests_check_is_of_whole_utc_days_and_their_money(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], zone: str, days: int | None
) -> None:
    """A day of another zone holds no whole UTC day: nothing was compared, and no row says that it adds up."""
    publish(worked(), tmp_path / "published", DAY.date())
    asked = ["daily", "--date", "2026-10-07", "--zone", zone, "--format", "json", "--out", "-"]
    cli.main(["--data", str(tmp_path), *asked])
    found = json.loads(capsys.readouterr().out)
    rows = {check["level"]: check for check in found["trust"]["checks"]}
    if days is None:
        assert "manifest" not in rows
    else:
        assert (rows["manifest"]["parts"], rows["manifest"]["total"]) == (days, found["total"]["cost"])


def test_a_report_whose_sum_check_fails_is_not_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    publish(worked(), tmp_path / "published", DAY.date())
    (manifest,) = (tmp_path / "published" / "facts").rglob("manifest.json")
    data = json.loads(manifest.read_text(encoding="utf-8"))
    data["facts"]["sums"][0]["atoms"] = str(int(data["facts"]["sums"][0]["atoms"]) + 1)
    manifest.write_text(json.dumps(data), encoding="utf-8")
    out = tmp_path / "out"
    code = cli.main(
        ["--data", str(tmp_path), "daily", "--date", "2026-10-07", "--format", "json", "--out", str(out)]
    )
    assert code == 3
    assert "1 exactly" in capsys.readouterr().err
    assert not out.exists()
