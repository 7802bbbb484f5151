"""The statement of a closed period is the same to the byte, whatever becomes known, is renamed, is dropped or is published later."""

from __future__ import annotations

import json
import shutil
from datetime import UTC, date, datetime
from pathlib import Path

import pytest
from tests.collector.books_world import Books, t

import ullage_assets
from ullage_collector.adjust.requests import decide, request_credit
from ullage_collector.config import Store as StoreSettings
from ullage_collector.publish.closed_periods import close
from ullage_collector.publish.facts import prune_names
from ullage_collector.publish.publisher import publish
from ullage_collector.published import Published
from ullage_collector.store.backup import back_up
from ullage_collector.store.retention import Retention
from ullage_contract.clock import ManualClock
from ullage_contract.command import PARTIAL
from ullage_reports import cli

FORMATS = "html,csv,json,xlsx,parquet,focus" + (",pdf" if ullage_assets.available() else "")
ZONE = "Asia/Shanghai"
SETTINGS = """
[report]
zone = "Asia/Shanghai"
[focus]
provider = "{provider}"
[[policy]]
id = "{provider}"
unallocated_idle = "{policy}"
"""


class Month(Books):
    """October with three days of cards, telemetry and names, published and sealed; it is November."""

    @property
    def data(self) -> Path:
        return self.folder

    @property
    def settings(self) -> Path:
        return self.folder / "report.toml"

    def _begin(self) -> None:
        super()._begin()
        self.configure("AI Platform", "proportional")
        with self.store.write() as w:
            w.execute("UPDATE inventory SET valid_to = TIMESTAMP '2026-10-09'")
            w.execute(
                "INSERT INTO department (department_id, name, valid_from, known_from) "
                "VALUES ('old', 'Language models', TIMESTAMP '2026-01-01', TIMESTAMP '2026-01-01')"
            )
        self.minutes("G0", t(6), 3 * 1440, 0.8)
        self.minutes("G1", t(6), 3 * 1440, 0.0)
        self.to(datetime(2026, 11, 4, 11, tzinfo=UTC))
        self.round()

    def configure(self, provider: str, policy: str) -> None:
        self.settings.write_text(SETTINGS.format(provider=provider, policy=policy), encoding="utf-8")

    def to(self, at: datetime) -> None:
        self.clock.advance(at.timestamp() - self.clock.wall())

    def round(self) -> None:
        """What the publisher of a running collector does every ten minutes."""
        outcome = publish(self.store, self.root, now=self.now())
        assert outcome.failed == []

    def close(self) -> None:
        close(self.store, self.root, date(2026, 10, 1), date(2026, 11, 1), ZONE, reason="signed", actor="ada")

    def report(self, out: Path, *asked: str, formats: str = FORMATS, data: Path | None = None) -> int:
        clock = ManualClock(self.clock.wall())
        common = ["--data", str(data or self.data), "--config", str(self.settings)]
        kinds = asked or ("monthly", "--month", "2026-10")
        return cli.main([*common, *kinds, "--format", formats, "--out", str(out)], clock=clock)

    def explain(self, line: str, capsys: pytest.CaptureFixture[str]) -> str:
        capsys.readouterr()
        assert (
            cli.main(["--data", str(self.data), "--config", str(self.settings), "explain", line, "--json"])
            == 0
        )
        return capsys.readouterr().out


def files(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, float]:
    return Month(tmp_path_factory.mktemp("made")).kept()


@pytest.fixture
def month(made: tuple[Path, float], tmp_path: Path) -> Month:
    return Month.copied(made, tmp_path / "data")


def test_a_closed_month_is_the_same_to_the_byte_whatever_happens_later(
    month: Month, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = tmp_path / "provisional"
    month.report(before, formats="json")
    assert json.loads((before / "ullage-monthly-2026-10.json").read_text())["closed"] is None
    month.close()
    first = tmp_path / "first"
    assert month.report(first) == PARTIAL, (
        "most days of the month nobody owned a card, and nothing is published"
    )
    made = files(first)
    assert {Path(name).suffix for name in made} >= {".html", ".json", ".xlsx", ".csv", ".parquet"}
    said = json.loads(made["ullage-monthly-2026-10.json"])
    assert said["closed"] == {"at": "2026-11-04T11:00:00Z", "by": "ada", "rule": None, "reason": "signed"}
    assert (said["status"], said["generated_at"]) == ("partial", said["closed"]["at"])
    with Published(month.root).open(*(datetime(2026, 10, 7, h, tzinfo=UTC) for h in (3, 4))) as facts:
        line = facts.rows("SELECT line_id FROM raw_segment WHERE department_id = 'old' ORDER BY ALL")[0][0]
    explained = [month.explain(each, capsys) for each in (line, "shared/2026-10/old")]

    # Everything that could move it: names, prices, rules, telemetry, incidents, cards, credits, settings.
    with month.store.write() as w:
        w.execute("UPDATE department SET name = 'Renamed', owner = 'zhao'")
    month.price("H800", 99_000_000)
    month.rule("new")
    month.minutes("G1", t(6, 5), 60, 0.9)
    month.incident("G0", t(7, 1), t(7, 9))
    month.own("G7", "H800", t(6))
    with month.store.write() as w:
        w.execute("UPDATE inventory SET valid_to = TIMESTAMP '2026-10-09' WHERE card_id = 'G7'")
    month.configure("Another Provider", "none")
    month.round()
    number = request_credit(
        month.store,
        department="old",
        amount="5",
        currency="CNY",
        reason="r",
        requester="lin",
        recorded_by="lin",
    )
    decide(month.store, number, "approve", reason="ok", by="wang")
    # Sixty days later the raw days and minutes are dropped, and so are names that nothing stands on.
    month.to(datetime(2027, 1, 4, tzinfo=UTC))
    month.round()
    dropped = Retention(month.store, StoreSettings()).step(month.now())
    assert ("card_minute", date(2026, 10, 6)) in dropped
    before = month.store.reader().execute("SELECT max(adjustment_id) FROM adjustment").fetchall()[0][0]
    month.price("H800", 77_000_000)
    month.round()
    late = (
        month.store.reader()
        .execute("SELECT DISTINCT state, quantity, reason FROM adjustment WHERE adjustment_id > ?", [before])
        .fetchall()
    )
    assert {(int(q), reason) for _, q, reason in late} == {(0, "late: price")}, "no hour became unknown"
    month.to(datetime(2027, 1, 9, tzinfo=UTC))
    assert prune_names(month.store, month.root, now=month.now())
    assert len(list((month.root / "dimensions").glob("rev=*"))) == 2, "the newest, and the closing's"

    again = tmp_path / "again"
    assert month.report(again) == PARTIAL
    found = files(again)
    assert found.keys() == made.keys()
    assert [name for name in made if found[name] != made[name]] == []
    assert [month.explain(each, capsys) for each in (line, "shared/2026-10/old")] == explained

    # What became known is in the first open period, and makes up the difference.
    november = tmp_path / "november"
    month.report(november, "monthly", "--month", "2026-11", formats="json,html")
    bill = json.loads((november / "ullage-monthly-2026-11.json").read_text())["bill"]
    kinds = {row["kind"] for row in bill["adjustments"]}
    assert kinds == {"correction", "credit"}
    assert bill["total"]["credits"] == "-5.00"

    # And after a restore from a backup.
    back_up(month.store, month.root, tmp_path / "backup")
    shutil.copytree(month.data / "reports", tmp_path / "backup" / "reports")
    restored = tmp_path / "restored"
    assert month.report(restored, data=tmp_path / "backup") == PARTIAL
    assert files(restored) == made


def test_a_quarter_of_closed_months_stands_and_one_with_an_open_month_does_not(
    month: Month, tmp_path: Path
) -> None:
    quarter = ("quarterly", "--quarter", "2026-Q4")
    month.close()
    month.report(tmp_path / "open", *quarter, formats="json")
    said = json.loads((tmp_path / "open" / "ullage-quarterly-2026-Q4.json").read_text())
    assert said["closed"] is None
    assert said["total"]["cost"] == "2880.00"
    month.report(tmp_path / "day", "daily", "--date", "2026-10-07", formats="json")
    said = json.loads((tmp_path / "day" / "ullage-daily-2026-10-07.json").read_text())
    assert said["closed"]["by"] == "ada", "a day of a closed month is closed"


def test_a_revision_that_a_closed_period_stands_on_and_is_gone_is_named(
    month: Month, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    month.close()
    pinned = max((month.root / "facts" / "day=2026-10-07").glob("rev=*"))
    shutil.rmtree(pinned)
    assert month.report(tmp_path / "out", formats="json") != 0
    assert "which a closed period stands on; bring it back from a backup" in capsys.readouterr().err


def test_a_department_is_corrected_by_what_the_statements_say_and_no_more(
    month: Month, tmp_path: Path
) -> None:
    """The statement of October and the corrections in November's together are October as believed now."""
    month.close()
    month.rule("new")
    month.round()
    month.report(tmp_path / "a", formats="json")
    october = json.loads((tmp_path / "a" / "ullage-monthly-2026-10.json").read_text())
    month.report(tmp_path / "b", "monthly", "--month", "2026-11", formats="json")
    november = json.loads((tmp_path / "b" / "ullage-monthly-2026-11.json").read_text())
    stood = {row["department_id"]: row["amounts"]["cost"] for row in october["departments"]}
    assert stood == {"old": "1440.00", "platform": "1440.00"}
    moved = {row["department_id"]: row["cost"] for row in november["bill"]["adjustments"]}
    assert moved == {"old": "-1440.00", "new": "1440.00"}
    assert november["bill"]["adjustments"][0]["reason"] == "late: mapping"
    row = november["bill"]["adjustments"][0]
    assert (row["hours"], row["state"], row["model"], row["requester"]) == ("72.00", "used", "H800", "ullage")
    month.report(tmp_path / "b", "monthly", "--month", "2026-11", formats="csv")
    folder = tmp_path / "b" / "ullage-monthly-2026-11.zh.csv"
    text = "".join(p.read_text(encoding="utf-8-sig") for p in sorted(folder.glob("*adjustments*")))
    assert "late: mapping" in text, "a file keeps the words, a page says them in its language"


def test_years_and_quarters_are_counted_from_the_fiscal_start(month: Month, tmp_path: Path) -> None:
    assert month.report(tmp_path / "y", "yearly", "--year", "2026", formats="json,html") == PARTIAL
    said = json.loads((tmp_path / "y" / "ullage-yearly-2026.json").read_text())
    assert said["period"]["first"] == "2026-01-01" and said["period"]["last"] == "2026-12-31"
    text = month.settings.read_text(encoding="utf-8")
    month.settings.write_text(
        text.replace("[report]\n", "[report]\nfiscal_start_month = 10\n"), encoding="utf-8"
    )
    month.report(tmp_path / "q", "quarterly", "--quarter", "2026-Q1", formats="json,html")
    said = json.loads((tmp_path / "q" / "ullage-quarterly-2026-Q1.json").read_text())
    assert (said["period"]["first"], said["total"]["cost"]) == ("2026-10-01", "2880.00")
    assert "财季报" in (tmp_path / "q" / "ullage-quarterly-2026-Q1.zh.html").read_text(encoding="utf-8")
