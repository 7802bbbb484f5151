"""tides.toml as values: the windows in which cards may be lent, and what is kept back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Any, Final

from ullage_contract import rule_file
from ullage_contract.errors import ConfigError
from ullage_contract.settings import Table

FILE: Final = "tides.toml"
WEEKDAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


@dataclass(frozen=True, slots=True)
class Loan:
    """A window a day in which a lender's scenario may lend to a borrower's. from_hour, to_hour: local, 0..23; a window that ends
    before it begins goes over midnight. back_hours: before its end they have to be on their way back. weekdays: 0 is Monday."""

    name: str
    lender: str
    borrower: str
    from_hour: int
    to_hour: int
    back_hours: float
    weekdays: tuple[int, ...]

    @property
    def hours(self) -> int:
        """How long it lasts, 1..24."""
        return (self.to_hour - self.from_hour) % 24 or 24


@dataclass(frozen=True, slots=True)
class Rules:
    """weeks: how far back is looked; least_weeks: fewer are no rhythm. reserve_ratio: of the highest demand, kept above it."""

    weeks: int
    least_weeks: int
    reserve_ratio: Fraction
    reserve_cards: int
    loans: tuple[Loan, ...]


@cache
def default_rules() -> Rules:
    """The rules shipped with the package."""
    return parse(rule_file.shipped("ullage_reports", FILE), FILE)


def read(path: Path | None) -> Rules:
    """A site's file; None: the shipped one. Raises ConfigError naming file and key."""
    if path is None:
        return default_rules()
    try:
        return parse(path.read_text(encoding="utf-8"), str(path))
    except (OSError, UnicodeDecodeError) as e:
        raise ConfigError(f"{path}: cannot be read: {e}") from e


def parse(text: str, where: str) -> Rules:
    """Raises ConfigError."""
    top = rule_file.opened(text, where)
    history, reserve = top.table("history"), top.table("reserve")
    rules = Rules(
        weeks=history.whole("weeks", 4, 1, 53),
        least_weeks=history.whole("least_weeks", 2, 2, 53),
        reserve_ratio=Fraction(str(reserve.number("ratio", 0.1, 0, 10))),
        reserve_cards=reserve.whole("least_cards", 1, 0, 1_000_000),
        loans=tuple(_loan(content, where) for content in top.tables("loan")),
    )
    for table in (history, reserve, top):
        table.finish()
    if rules.least_weeks > rules.weeks:
        raise history.wrong("least_weeks", rules.least_weeks, f"write at most weeks, {rules.weeks}")
    return rules


def _loan(content: Mapping[str, Any], where: str) -> Loan:
    row = Table(content, where, "loan")
    days = row.texts("days", '["mon", "tue"]')
    if not days or set(days) - set(WEEKDAYS):
        raise row.wrong("days", list(days), f"write some of {', '.join(WEEKDAYS)}")
    loan = Loan(
        name=row.text("name") or "",
        lender=row.text("lender") or "",
        borrower=row.text("borrower") or "",
        from_hour=row.whole("from_hour", 22, 0, 23),
        to_hour=row.whole("to_hour", 7, 0, 23),
        back_hours=row.number("back_hours", 1, 0, 12),
        weekdays=tuple(sorted({WEEKDAYS.index(day) for day in days})),
    )
    row.finish()
    for key in ("name", "lender", "borrower"):
        if not getattr(loan, key):
            raise row.wrong(key, "", "write a word, e.g. inference")
    if loan.back_hours >= loan.hours:
        raise row.wrong("back_hours", loan.back_hours, f"write less than the window's {loan.hours} hours")
    return loan
