"""report.toml: what a report is made with when the command line does not say.

[report]
zone = "Asia/Shanghai"        # periods are cut at its midnights
currency = "CNY"
fiscal_start_month = 4        # quarters and years are counted from it, and named by the year they begin in; default 1
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
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Final

from ullage_contract import settings
from ullage_contract.errors import ConfigError, LedgerError

DEFAULT_PATH: Final = Path("/etc/ullage/report.toml")
DEFAULT_DATA: Final = Path("/var/lib/ullage")
TABLES: Final = ("report", "focus", "mail", "schedule", "policy", "peak", "watch", "alerts")
ARRAYS: Final = ("policy", "peak")
"""Those of TABLES of which there may be several."""
LOG_LEVELS: Final = ("debug", "info", "warning", "error", "critical")


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
    values = _table(path, "watch", Watch)
    for key, value in values.items():
        if not value:
            raise _wrong(path, f"watch.{key}", value, "write the path of a file, or leave it out")
    return Watch(**{key: Path(value) for key, value in values.items()})


def load(path: Path | None = None) -> Settings:
    """[report] of ``path``; None means DEFAULT_PATH, whose absence means defaults.

    Raises ConfigError when a named file cannot be read, is no TOML, or holds a key, type or value it should not.
    """
    values = _table(path, "report", Settings, lists=("formats",), numbers=("fiscal_start_month",))
    for key, check in _CHECKS.items():
        if key in values and (instead := check(values[key])) is not None:
            raise _wrong(path, f"report.{key}", values[key], instead)
    if "formats" in values:
        values["formats"] = tuple(values["formats"])
    if "out" in values:
        values["out"] = Path(values["out"])
    return Settings(**values)


# ------------------------------------------------------------- what to write instead of a value; None: it is good
def _zone(value: str) -> str | None:
    from ullage_reports.period import zone_info

    try:
        zone_info(value)
    except ConfigError:
        return "that is no IANA time zone; write e.g. Asia/Shanghai or UTC"
    return None


def _currency(value: str) -> str | None:
    from ullage_collector import ledger

    try:
        ledger.minor_units(value)
    except LedgerError:
        return "write an ISO 4217 code, e.g. CNY, USD, EUR"
    return None


def _lang(value: str) -> str | None:
    from ullage_reports.formats import LANGUAGES

    return None if value in LANGUAGES else f"write one of {', '.join(LANGUAGES)}"


def _formats(value: list[str]) -> str | None:
    from ullage_reports.formats import NAMES

    if not value:
        return "nothing would be written; write some of " + ", ".join(NAMES)
    for name in value:
        if name not in NAMES:
            near = difflib.get_close_matches(name, NAMES, n=1)
            meant = f"did you mean {near[0]}? " if near else ""
            return f"{name[:40]!r} is not known; {meant}write some of {', '.join(NAMES)}"
    return None


def _out(value: str) -> str | None:
    return None if value else "write a folder, or leave it out for DATA/reports"


def _log_level(value: str) -> str | None:
    return None if value.lower() in LOG_LEVELS else f"write one of {', '.join(LOG_LEVELS)}"


def _month(value: int) -> str | None:
    return None if 1 <= value <= 12 else "write a month, 1 to 12"


_CHECKS: Final[Mapping[str, Callable[[Any], str | None]]] = {
    "zone": _zone,
    "currency": _currency,
    "lang": _lang,
    "formats": _formats,
    "out": _out,
    "log_level": _log_level,
    "fiscal_start_month": _month,
}


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
            raise _no_table(where, table, data[table])
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


def _no_table(where: Path, name: str, value: Any) -> ConfigError:
    if not isinstance(value, dict | list) or name in {field.name for field in fields(Settings)}:
        return ConfigError(f"{where}: {name[:40]} stands in no table; write it below [report]")
    shown = {table: f"[[{table}]]" if table in ARRAYS else f"[{table}]" for table in TABLES}
    near = difflib.get_close_matches(name, TABLES, n=1)
    instead = f"did you mean {shown[near[0]]}?" if near else f"known: {', '.join(shown.values())}"
    return ConfigError(f"{where}: [{name[:40]}] is not known; {instead}")


def _wrong(path: Path | None, key: str, value: Any, instead: str) -> ConfigError:
    """The error that says file, key, value and what to write."""
    shown = '""' if value == "" else repr(value)[:80]
    return ConfigError(f"{path or DEFAULT_PATH}: {key} = {shown}: {instead}")
