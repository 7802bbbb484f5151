"""report.toml: what a report is made with when the command line does not say.

[report]
zone = "Asia/Shanghai"        # periods are cut at its midnights
currency = "CNY"
fiscal_start_month = 4        # quarters and years are counted from it, and named by the year it is in; default 1
lang = "zh"
formats = ["html", "pdf"]
out = "/var/lib/ullage/reports"

[focus]                       # who bills, in FOCUS files
provider = "AI Platform"
account_id = "ai-platform"
account_name = "AI Platform"

[watch]                       # what is looked after beside the figures
budgets = "/etc/ullage/budgets.toml"      # docs/budgets.md
anomalies = "/etc/ullage/anomalies.toml"  # in place of the shipped rules: docs/anomalies.md

[mail] is in mail_settings.py, [schedule] in schedule.py, [[policy]] in cost_policy.py, [alerts] in alert_settings.py.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Final

from ullage_contract import settings
from ullage_contract.errors import ConfigError

DEFAULT_PATH: Final = Path("/etc/ullage/report.toml")
DEFAULT_DATA: Final = Path("/var/lib/ullage")
TABLES: Final = ("report", "focus", "mail", "schedule", "policy", "peak", "watch", "alerts")


@dataclass(frozen=True, slots=True)
class Settings:
    """[report]. currency None: the only one the period is priced in. out None: DATA/reports. fiscal_start_month: 1..12."""

    zone: str = "UTC"
    currency: str | None = None
    lang: str = "zh"
    formats: tuple[str, ...] = ("html",)
    out: Path | None = None
    log_level: str = "info"
    fiscal_start_month: int = 1


@dataclass(frozen=True, slots=True)
class Issuer:
    """[focus]. provider: ProviderName, PublisherName and InvoiceIssuerName, which FOCUS wants alike where cost is billed.
    account_id, account_name: the cost pool that issues the statement."""

    provider: str = "AI Platform"
    account_id: str = "ai-platform"
    account_name: str = "AI Platform"


@dataclass(frozen=True, slots=True)
class Watch:
    """[watch]. budgets None: there are none. anomalies None: the shipped rules."""

    budgets: Path | None = None
    anomalies: Path | None = None


def watch(path: Path | None = None) -> Watch:
    """[watch] of ``path``, as ``load``. Raises ConfigError."""
    return Watch(**{key: Path(value) for key, value in _table(path, "watch", Watch).items()})


def load(path: Path | None = None) -> Settings:
    """[report] of ``path``; None means DEFAULT_PATH, whose absence means defaults.

    Raises ConfigError when a named file cannot be read, is no TOML, or holds a key or type it should not.
    """
    values = _table(path, "report", Settings, lists=("formats",), numbers=("fiscal_start_month",))
    if "formats" in values:
        values["formats"] = tuple(values["formats"])
    if "out" in values:
        values["out"] = Path(values["out"])
    month = values.get("fiscal_start_month", 1)
    if not 1 <= month <= 12:
        raise ConfigError(
            f"{path or DEFAULT_PATH}: report.fiscal_start_month = {month}; write a month, 1 to 12"
        )
    return Settings(**values)


def issuer(path: Path | None = None) -> Issuer:
    """[focus] of ``path``, as ``load``. Raises ConfigError, also for what is not printable ASCII: FOCUS allows no more."""
    values = _table(path, "focus", Issuer)
    for key, value in values.items():
        if not value or not value.isascii() or not value.isprintable():
            raise ConfigError(
                f"{path or DEFAULT_PATH}: focus.{key} = {value!r}; write a name in ASCII: FOCUS allows nothing else"
            )
    return Issuer(**values)


def _table(
    path: Path | None, name: str, of: type, lists: tuple[str, ...] = (), numbers: tuple[str, ...] = ()
) -> dict[str, Any]:
    """A table of the file, its keys and types checked; empty where there is none."""
    data = settings.read(path, DEFAULT_PATH)
    if data is None:
        return {}
    where = path or DEFAULT_PATH
    for table in data:
        if table not in TABLES:
            raise ConfigError(f"{where}: [{table[:40]}] is not known; write [report]")
    found = data.get(name, {})
    if not isinstance(found, dict):
        raise ConfigError(f"{where}: {name} is no table; write [{name}]")
    known = [field.name for field in fields(of)]
    for key, value in found.items():
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1)
            raise ConfigError(
                f"{where}: {name}.{key[:40]} is not known; write {near[0] if near else known[0]}"
            )
        good = (
            isinstance(value, list) and all(isinstance(v, str) for v in value)
            if key in lists
            else isinstance(value, int) and not isinstance(value, bool)
            if key in numbers
            else isinstance(value, str)
        )
        if not good:
            wanted = "a list of texts" if key in lists else "a whole number" if key in numbers else "a text"
            raise ConfigError(f"{where}: {name}.{key} = {value!r}; write {wanted}")
    return dict(found)
