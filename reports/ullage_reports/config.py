"""report.toml: what a report is made with when the command line does not say.

[report]
zone = "Asia/Shanghai"        # periods are cut at its midnights
currency = "CNY"
lang = "zh"
formats = ["html", "pdf"]
out = "/var/lib/ullage/reports"
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


@dataclass(frozen=True, slots=True)
class Settings:
    """[report]. currency None: the only one the period is priced in. out None: DATA/reports."""

    zone: str = "UTC"
    currency: str | None = None
    lang: str = "zh"
    formats: tuple[str, ...] = ("html",)
    out: Path | None = None
    log_level: str = "info"


def load(path: Path | None = None) -> Settings:
    """The settings in ``path``; None means DEFAULT_PATH, whose absence means defaults.

    Raises ConfigError when a named file cannot be read, is no TOML, or holds a key or type it should not.
    """
    data = settings.read(path, DEFAULT_PATH)
    if data is None:
        return Settings()
    where = path or DEFAULT_PATH
    for table in data:
        if table not in ("report", "mail"):
            raise ConfigError(f"{where}: [{table[:40]}] is not known; write [report]")
    return _settings(where, data.get("report", {}))


def _settings(where: Path, table: Any) -> Settings:
    known = [field.name for field in fields(Settings)]
    if not isinstance(table, dict):
        raise ConfigError(f"{where}: report is no table; write [report]")
    for key, value in table.items():
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1)
            raise ConfigError(
                f"{where}: report.{key[:40]} is not known; write {near[0] if near else known[0]}"
            )
        good = (
            isinstance(value, list) and all(isinstance(v, str) for v in value)
            if key == "formats"
            else isinstance(value, str)
        )
        if not good:
            raise ConfigError(
                f"{where}: report.{key} = {value!r}; write {'a list of texts' if key == 'formats' else 'a text'}"
            )
    values: dict[str, Any] = dict(table)
    if "formats" in values:
        values["formats"] = tuple(values["formats"])
    if "out" in values:
        values["out"] = Path(values["out"])
    return Settings(**values)
