"""A site's budgets: who may spend how much in which kind of period. A TOML file of [[budget]] tables."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from fractions import Fraction
from pathlib import Path
from typing import Any, Final

from ullage_collector import ledger
from ullage_contract import rule_file
from ullage_contract.errors import ConfigError, LedgerError
from ullage_contract.settings import Table
from ullage_reports.amount import amount as number

PERIODS: Final = ("month", "quarter")
MOST: Final = 10**15
"""Currency units. our choice: because no fleet costs more in a quarter."""


@dataclass(frozen=True, slots=True)
class Budget:
    """departments, scenarios: globs over their ids; what fits any of both counts. atoms: the amount. period: month or quarter."""

    name: str
    departments: tuple[str, ...]
    scenarios: tuple[str, ...]
    atoms: int
    currency: str
    period: str

    def covers(self, department: str, scenario: str) -> bool:
        """Whether what a department pays for a scenario ("" where none is given) counts."""
        return any(fnmatchcase(department, glob) for glob in self.departments) and any(
            fnmatchcase(scenario, glob) for glob in self.scenarios
        )


def read(path: Path) -> tuple[Budget, ...]:
    """The budgets of a file. Raises ConfigError naming file and key."""
    return parse(_text(path), str(path))


def text_of(path: Path) -> str:
    """The text of a file of budgets. Raises ConfigError where it cannot be read or is wrong."""
    text = _text(path)
    parse(text, str(path))
    return text


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as e:
        raise ConfigError(f"{path}: cannot be read: {e}; write [[budget]] tables (docs/budgets.md)") from e


def parse(text: str, where: str) -> tuple[Budget, ...]:
    """Raises ConfigError."""
    top = rule_file.opened(text, where)
    found = tuple(_budget(content, where) for content in top.tables("budget"))
    top.finish()
    if not found:
        raise ConfigError(f"{where}: no budget; write [[budget]] tables (docs/budgets.md)")
    names = [budget.name for budget in found]
    for name in names:
        if names.count(name) > 1:
            raise ConfigError(f"{where}: [[budget]] name = {name!r} is given twice; write another")
    return found


def _budget(content: Mapping[str, Any], where: str) -> Budget:
    row = Table(content, where, "budget")
    name, amount = row.text("name") or "", row.text("amount") or ""
    currency = row.text("currency") or ""
    departments = row.texts("departments", '["llm", "llm/*"]')
    scenarios = row.texts("scenarios", '["training"]') or ("*",)
    period = row.word("period", "month", PERIODS)
    row.finish()  # before anything is missed that was only misspelt
    if not name:
        raise row.wrong("name", name, "write a name")
    try:
        digits = ledger.minor_units(currency)
    except LedgerError as e:
        raise row.wrong("currency", currency, "write an ISO 4217 code, e.g. CNY") from e
    money = number(amount)
    exact = None if money is None or money > MOST else Fraction(money) * 10**digits
    if exact is None or exact.denominator != 1:
        raise row.wrong(
            "amount", amount, f'write an amount in quotes with at most {digits} decimals, e.g. "250000.00"'
        )
    if not departments:
        raise row.wrong("departments", [], 'write a list of ids, e.g. departments = ["llm", "llm/*"]')
    return Budget(
        name=name,
        departments=departments,
        scenarios=scenarios,
        atoms=int(exact) * ledger.ATOMS_PER_UNIT // 10**digits,
        currency=currency,
        period=period,
    )
