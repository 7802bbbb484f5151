"""The doors to the renderers: a format is a name and where its ``render`` lives, imported only when asked for.

``render(report: Report, lang: str, out: Path) -> Path`` writes below the folder ``out``, names its file
or folder after ``report.stem`` and returns it.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from ullage_contract.errors import ConfigError

if TYPE_CHECKING:
    from ullage_reports.model import Report

Render = Callable[["Report", str, Path], Path]

FORMATS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "html": "ullage_reports.html:render",
        "pdf": "ullage_reports.pdf:render",
        "csv": "ullage_reports.csv_files:render",
        "xlsx": "ullage_reports.xlsx:render",
        "parquet": "ullage_reports.parquet:render",
        "json": "ullage_reports.json_form:render",
    }
)
FOCUS: Final = "focus"
"""A format too, of a month alone: written from the ledger's lines (focus.py), and so by no renderer of a report."""
NAMES: Final = (*FORMATS, FOCUS)
"""What can be asked for."""
LANGUAGES: Final = ("zh", "en")


def renderer(name: str) -> Render:
    """The renderer of a format. Raises ConfigError for one nobody registered."""
    where = FORMATS.get(name)
    if where is None:
        raise ConfigError(f"--format {name[:40]!r} is not known; choose from {', '.join(NAMES)}")
    module, _, function = where.partition(":")
    found: Render = getattr(importlib.import_module(module), function)
    return found
