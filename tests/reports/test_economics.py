"""What work cost: exact figures of a day one can work out with a pencil, and none where a part is not known."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from tests.collector.fleet_world import DAY, LATER, World

from ullage_collector.publish.files import publish_dimensions, publish_facts_day
from ullage_collector.states import States
from ullage_contract.clock import ManualClock
from ullage_contract.command import PARTIAL, USAGE
from ullage_contract.errors import ConfigError
from ullage_reports import cli, peaks

NOW = datetime(2026, 11, 1, 6, tzinfo=UTC)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One day. H100: a training job of 8 hours, matrix units active a quarter of the time. Ascend: compute units alone, and no peak.

    H200: held, hardly measured. A serving workload on the second H100, whose requests are known for three hours, one of them by half.
    """
    world = World()
    for name in ("tensor_active_ratio", "sm_active_ratio"):
        world.db.execute(f"ALTER TABLE card_minute ADD COLUMN IF NOT EXISTS {name} FLOAT")
    world.card("G1", "NVIDIA H100 80GB HBM3")
    world.card("G2", "NVIDIA H100 80GB HBM3")
    world.card("N1", "Ascend 910B3", "n2", vendor="ascend", origin="simulated")
    world.card("G3", "NVIDIA H200", "n3")
    world.card("X1", "BI-V150", "n4", vendor="iluvatar")
    world.hold("X1", "slurm/dc1/nlp/5", 0, 2, node="n4")
    world.minutes("X1", 0, 2, 0.9)
    world.price("*H100*", 24_000_000)
    world.price("Ascend*", 6_000_000)
    world.price("*H200*", 30_000_000)
    world.department("nlp", "Language")
    world.rule("slurm:*", "nlp", scenario="training")
    world.rule("k8s:*", "nlp", business="Search", scenario="inference")
    world.hold("G1", "slurm/dc1/nlp/1", 0, 8)
    world.minutes("G1", 0, 8, 0.9, tensor_active_ratio=0.25, sm_active_ratio=0.5)
    world.hold("G2", "k8s/dc1/serve/chat/uid", 0, 4)
    world.minutes("G2", 0, 4, 0.9, tensor_active_ratio=0.25, sm_active_ratio=0.5)
    world.hold("N1", "slurm/dc1/nlp/2", 0, 6, node="n2")
    world.minutes("N1", 0, 6, 0.9, sm_active_ratio=0.4)
    world.hold("N1", "slurm/dc1/nlp/3", 6, 8, node="n2")
    world.minutes("N1", 6, 8, 0.9, sm_active_ratio=0.4)
    world.hold("G3", "slurm/dc1/nlp/4", 0, 10, node="n3")
    world.minutes("G3", 0, 1, 0.9, tensor_active_ratio=0.25)
    served = [(0, 1000, 300_000, 100_000, 3600.0), (1, 3000, 900_000, 300_000, 3600.0)]
    for hour, requests, prompt, generated, covered in [*served, (2, 500, 1, 1, 1800.0)]:
        world.db.execute(
            "INSERT INTO serving_hour (workload_key, hour, requests, prompt_tokens, generated_tokens, covered_seconds, source, replicas) SELECT workload_key, "
            "?, ?, ?, ?, ?, 'test', 1 FROM workload WHERE workload_id = 'k8s/dc1/serve/chat/uid'",
            [(DAY + timedelta(hours=hour)).replace(tzinfo=None), requests, prompt, generated, covered],
        )
    root = tmp_path_factory.mktemp("data")
    States(world.db).make(DAY.date(), LATER)
    publish_facts_day(world.db, root / "published", DAY.date(), status="sealed", now=LATER)
    publish_dimensions(world.db, root / "published", now=LATER)
    return root


def run(data: Path, *words: str) -> int:
    return cli.main([*words, "--data", str(data)], clock=ManualClock(NOW.timestamp()))


@pytest.fixture
def told(data: Path, capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    assert run(data, "economics", "--month", "2026-10", "--json") == PARTIAL, "thirty days are missing"
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def by(rows: list[dict[str, Any]], key: str) -> dict[str, dict[str, Any]]:
    return {row[key]: row for row in rows}


def test_a_used_hour_costs_all_hours_over_the_used_ones(told: dict[str, Any]) -> None:
    models = by(told["economics"]["models"], "model")
    assert models["NVIDIA H100 80GB HBM3"]["cost"] == "1152.00", "two cards, 24 hours, 24.00"
    assert models["NVIDIA H100 80GB HBM3"]["used_hour_cost"] == "96.0000", "over the 12 hours that worked"
    assert models["Ascend 910B3"]["used_hour_cost"] == "18.0000"
    assert models["BI-V150"]["used_hour_cost"] is None, "no price is no 0"
    assert told["economics"]["used_hour_cost"] == "96.0000", (
        "2016.00 over 21 hours, those without a price apart"
    )
    makers = by(told["economics"]["makers"], "vendor")
    assert makers["ascend"]["used_hour_cost"] == "18.0000"
    assert told["origins"] == ["real", "simulated"]


def test_a_pflop_day_costs_what_the_measured_part_did(told: dict[str, Any]) -> None:
    """12 hours x 0.25 x 989.5 TFLOPS = 0.12369 PFLOP-days, and all of the held time was measured: the whole 1152.00 on it."""
    row = by(told["economics"]["models"], "model")["NVIDIA H100 80GB HBM3"]
    assert (row["signal"], row["active_ratio"], row["covered_ratio"]) == ("tensor", "0.250000", "1.000000")
    days = Decimal(12) * Decimal("0.25") / 24 * Decimal("0.9895")
    assert abs(Decimal(row["pflop_days"]) - days) < Decimal("0.001")
    assert abs(Decimal(row["pflop_day_cost"]) - Decimal(1152) / days) < Decimal("0.01")
    assert "datasheet" in row["source"]


def test_what_has_no_peak_or_too_little_measured_has_no_figure(told: dict[str, Any]) -> None:
    models = by(told["economics"]["models"], "model")
    ascend, little = models["Ascend 910B3"], models["NVIDIA H200"]
    assert (ascend["signal"], ascend["active_ratio"], ascend["peak_tflops"], ascend["pflop_day_cost"]) == (
        "sm",
        "0.400000",
        None,
        None,
    )
    assert (little["signal"], little["covered_ratio"], little["pflop_day_cost"]) == (None, "0.100000", None)
    assert little["peak_tflops"] == "989.5"
    assert by(told["economics"]["makers"], "vendor")["nvidia"]["pflop_day_cost"] is None, (
        "a maker is known where its models are"
    )


def test_a_site_can_say_what_its_cards_can_do(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "report.toml"
    file.write_text('[[peak]]\nmodel = "*910b3*"\ntflops = 300\nsource = "contract 7"\n', encoding="utf-8")
    run(data, "economics", "--month", "2026-10", "--json", "--config", str(file))
    row = by(json.loads(capsys.readouterr().out)["economics"]["models"], "model")["Ascend 910B3"]
    assert (row["peak_tflops"], row["source"]) == ("300", "contract 7")
    assert Decimal(row["pflop_day_cost"]) == Decimal("3600.0000"), (
        "8 h x 0.4 x 0.3 PFLOPS = 0.04 PFLOP-days, 144.00"
    )


def test_jobs_are_counted_by_scenario_with_the_middle_one(told: dict[str, Any]) -> None:
    training = by(told["economics"]["scenarios"], "scenario")["training"]
    assert (training["jobs"], training["unpriced"]) == (5, 1)
    assert training["cost"] == "540.00", "192 + 36 + 12 + 300"
    assert training["median"] == "36.00", "of 12, 36, 192 and 300 the lower of the middle two"
    assert [row["cost"] for row in told["economics"]["jobs"]] == [
        "300.00",
        "192.00",
        "96.00",
        "36.00",
        "12.00",
    ]


def test_tokens_cost_what_the_hours_did_whose_counts_are_known(told: dict[str, Any]) -> None:
    one, every = told["economics"]["served"]
    assert one["workload_id"] == "k8s/dc1/serve/chat/uid" and every["workload_id"] is None
    assert (one["hours"], one["cost"], one["requests"]) == (2, "48.00", 4000), (
        "an hour known by half is not counted"
    )
    assert one["thousand_requests"] == "12.0000"
    assert one["million_tokens"] == "30.0000", "48.00 over 1.6 million"
    assert one["million_generated"] == "120.0000"
    assert {**every, "workload_id": 1, "department": 1, "department_id": 1, "business": 1} == {
        **one,
        "workload_id": 1,
        "department": 1,
        "department_id": 1,
        "business": 1,
    }


def test_the_text_says_that_figures_are_estimates_and_cards_simulated(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(data, "economics", "--week", "2026-W41")
    said = capsys.readouterr().out
    assert "simulated" in said and "estimates" in said and "k8s/dc1/serve/chat/uid" in said


def test_the_months_statement_has_the_section_in_both_languages_and_every_file(
    data: Path, tmp_path: Path
) -> None:
    for lang, said in (("en", "What work cost"), ("zh", "工作成本")):
        run(
            data,
            "monthly",
            "--month",
            "2026-10",
            "--lang",
            lang,
            "--format",
            "html,csv,json",
            "--out",
            str(tmp_path),
        )
        assert said in (tmp_path / f"ullage-monthly-2026-10.{lang}.html").read_text(encoding="utf-8")
    folder = tmp_path / "ullage-monthly-2026-10.en.csv"
    assert "96.0000" in (folder / "economics_models.csv").read_text(encoding="utf-8")
    assert "120.0000" in (folder / "economics_served.csv").read_text(encoding="utf-8")
    told = json.loads((tmp_path / "ullage-monthly-2026-10.json").read_text(encoding="utf-8"))
    assert told["economics"]["models"][0]["used_hour_cost"] == "96.0000"
    run(data, "weekly", "--week", "2026-W41", "--format", "json", "--out", str(tmp_path))
    assert (
        json.loads((tmp_path / "ullage-weekly-2026-W41.json").read_text(encoding="utf-8"))["economics"]
        is None
    )


def test_nothing_published_is_said(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(data, "economics", "--month", "2026-09") == USAGE
    assert "2026-09" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ('model = "*"\ntflops = 1\nsource = "x"', "glob"),
        ('model = "A"\ntflops = 0\nsource = "x"', "TFLOPS"),
        ('model = "A"\ntflops = true\nsource = "x"', "TFLOPS"),
        ('model = "A"\ntflops = 312000000\nsource = "x"', "TFLOPS"),
        ('model = "A"\ntflops = 1\nsource = " "', "document"),
        ('model = "A"\ntflops = 1', "source"),
    ],
)
def test_a_wrong_peak_is_named(tmp_path: Path, row: str, said: str) -> None:
    file = tmp_path / "report.toml"
    file.write_text(f"[[peak]]\n{row}\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=said):
        peaks.load(file)


def test_the_first_glob_of_report_toml_counts_before_the_longest_word_of_the_shared_table(
    tmp_path: Path,
) -> None:
    def tflops(model: str, told: tuple[peaks.Peak, ...]) -> float | None:
        found = peaks.peak_of(model, told)
        return None if found is None or found.tflops_micro is None else found.tflops_micro / 10**6

    shipped = peaks.load(None)
    models = ("NVIDIA H100 PCIe", "NVIDIA H100 80GB HBM3", "NVIDIA H800", "NVIDIA H800 PCIe", "Ascend 910B3")
    assert [tflops(model, shipped) for model in models] == [756.5, 989.5, 990, None, None]
    file = tmp_path / "report.toml"
    file.write_text(
        '[[peak]]\nmodel = "*H800*"\ntflops = 700\nsource = "contract 7"\n'
        '[[peak]]\nmodel = "*h800 pcie*"\ntflops = 1\nsource = "contract 8"\n',
        encoding="utf-8",
    )
    told = peaks.load(file)
    assert [tflops(model, told) for model in models] == [756.5, 989.5, 700, 700, None]
    # what periods were closed with before the table was shared has globs alone, and is read as it was
    old = peaks.Peak("*H100*", 5_000_000, "x")
    assert (tflops("NVIDIA H100 PCIe", (old,)), tflops("NVIDIA H800", (old,))) == (5, None)
    assert date(2026, 10, 7) == DAY.date()


def test_a_job_a_model_and_a_maker_cost_what_they_cost_in_the_tables_that_add_up(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Ten jobs of a third of a yuan each are 3.33 together: three of them are printed as 0.34, here and there alike."""
    world = World()
    for number in range(10):
        world.card(f"G{number}", f"H{number % 3}00")
        world.hold(f"G{number}", f"slurm/dc1/nlp/{number}", 0, 1)
        world.minutes(f"G{number}", 0, 1, 0.9)
    world.price("H*", 333_333)
    States(world.db).make(DAY.date(), LATER)
    publish_facts_day(world.db, tmp_path / "published", DAY.date(), status="sealed", now=LATER)
    publish_dimensions(world.db, tmp_path / "published", now=LATER)
    run(tmp_path, "monthly", "--month", "2026-10", "--format", "json", "--out", "-")
    report = json.loads(capsys.readouterr().out)
    run(tmp_path, "economics", "--month", "2026-10", "--json")
    for told in (report["economics"], json.loads(capsys.readouterr().out)["economics"]):
        jobs = {row["workload_id"]: row["cost"] for row in told["jobs"]}
        assert jobs == {row["workload_id"]: row["amounts"]["held_cost"] for row in report["workloads"]}
        assert sorted(jobs.values()) == ["0.33"] * 7 + ["0.34"] * 3
        models = {row["model"]: row["cost"] for row in told["models"]}
        assert models == {row["model"]: row["amounts"]["cost"] for row in report["models"]}
        assert [row["cost"] for row in told["makers"]] == [
            row["amounts"]["cost"] for row in report["vendors"]
        ]


@pytest.fixture(scope="module")
def week(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole week: a card with a price for all of it, and one of another maker without."""
    world = World()
    world.card("G1", "NVIDIA H100 80GB HBM3")
    world.card("X1", "BI-V150", "n4", vendor="iluvatar")
    world.price("*H100*", 24_000_000)
    world.rule("slurm:*", "nlp", scenario="training")
    states, root = States(world.db), tmp_path_factory.mktemp("week")
    for number in range(5, 12):
        day = (DAY + timedelta(days=number)).date()
        world.hold("G1", f"slurm/dc1/nlp/{number}", 24 * number, 24 * number + 8)
        world.hold("X1", f"slurm/dc1/nlp/x{number}", 24 * number, 24 * number + 8, node="n4")
        states.make(day, LATER)
        publish_facts_day(world.db, root / "published", day, status="sealed", now=LATER)
    publish_dimensions(world.db, root / "published", now=LATER)
    return root


def test_hours_without_a_price_are_told_and_cost_is_never_nothing_for_them(
    week: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(week, "economics", "--week", "2026-W42", "--json") == PARTIAL
    out, err = capsys.readouterr()
    told = json.loads(out)
    assert (told["missing_days"], told["unpriced_card_hours"]) == ([], "168.000000")
    assert "168.00 card-hours have no price in CNY and are in no sum" in err
    costs = {row["vendor"]: row["cost"] for row in told["economics"]["makers"]}
    assert costs == {"nvidia": "4032.00", "iluvatar": None}


def test_a_currency_that_nothing_is_priced_in_costs_nothing_known(
    week: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["economics", "--week", "2026-W42", "--currency", "EUR"]
    assert run(week, *words, "--json") == PARTIAL
    out, err = capsys.readouterr()
    told = json.loads(out)["economics"]
    for table in ("makers", "models", "scenarios"):
        assert told[table] and {row["cost"] for row in told[table]} == {None}, table
    assert told["jobs"] == []
    assert "nothing of these days is priced in EUR: prices are in CNY" in err
    assert run(week, *words) == PARTIAL
    maker = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("nvidia  "))
    assert maker.split()[:4] == ["nvidia", "-", "-", "0.00"], "no model, no cost, no hour that worked"
    assert run(week, "economics", "--week", "2026-W42", "--currency", "eur") == USAGE
    assert "is no ISO 4217 code" in capsys.readouterr().err
