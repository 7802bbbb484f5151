"""reports/README.md: the settings it shows are settings, and say what the page says."""

from __future__ import annotations

import re
from decimal import Decimal
from pathlib import Path

from ullage_reports import alert_settings, config, mail_settings, schedule
from ullage_reports.formats import FORMATS
from ullage_reports.mail_settings import MailSettings
from ullage_reports.period import PeriodKind

PAGE = (Path(__file__).parents[2] / "reports/README.md").read_text(encoding="utf-8")


def shown(tmp_path: Path) -> Path:
    """All settings of the page in one file."""
    path = tmp_path / "report.toml"
    path.write_text("\n".join(re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)), encoding="utf-8")
    return path


def test_the_settings_of_the_page_are_read(tmp_path: Path) -> None:
    path = shown(tmp_path)
    assert config.load(path).zone == "Asia/Shanghai"
    mail = mail_settings.load(path)
    assert mail is not None and mail.departments == {"rd/cv": ("cv-lead@example.com",)}
    plan = schedule.load(path, "Asia/Shanghai")
    assert plan is not None and set(plan.rules) == set(PeriodKind) and len(plan.days.holidays) == 7
    assert config.watch(path).budgets == Path("/etc/ullage/budgets.toml")
    told = alert_settings.load(path)
    assert told is not None and (told.percents, told.anomaly) == ((80, 100), Decimal("5000.00"))


def test_defaults_are_as_the_page_says() -> None:
    plain = MailSettings("h", 25, "none", "a@b")
    assert (plain.attach, plain.department_reports) == (("pdf",), ("weekly", "monthly"))
    assert mail_settings.PORTS == {"starttls": 587, "tls": 465, "plain": 25}
    assert "default: 587, 465 with tls, 25 with plain" in PAGE


def test_every_format_is_on_the_page() -> None:
    assert all(f"| `{name}` |" in PAGE for name in FORMATS)
