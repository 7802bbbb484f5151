"""A report as one JSON file: the same numbers as on the pages, as text that keeps every digit.

A key of the report and a row of a table stand on a line each, so that two files can be compared and a long one opened.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from datetime import date, datetime
from decimal import Decimal
from enum import Enum
from functools import cache
from pathlib import Path
from typing import Any

from ullage_reports.bill_model import Charges
from ullage_reports.format import plain_digits
from ullage_reports.model import SCHEMA_VERSION, Amounts, Report
from ullage_reports.trust_model import Trust


def text(report: Report) -> str:
    """The report as JSON text, ``schema_version`` first, ending in a line break."""
    told = to_json(report)
    assert isinstance(told, dict), "BUG: a report is an object"
    keys = (f" {json.dumps(key)}: {_value(value)}" for key, value in told.items())
    return "{\n" + ",\n".join(keys) + "\n}\n"


def _value(value: object) -> str:
    if isinstance(value, list) and value:
        return "[\n" + ",\n".join(f"  {_line(row)}" for row in value) + "\n ]"
    return _line(value)


def _line(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)


def render(report: Report, lang: str, out: Path) -> Path:
    """Write ``<stem>.json`` below ``out``; lang changes nothing, the file carries keys and not sentences."""
    path = out / f"{report.stem}.json"
    path.write_text(text(report), encoding="utf-8")
    return path


def to_json(value: object) -> object:
    """The report, or any part of it, as plain JSON values: Decimals as strings, instants as ISO 8601 with Z."""
    if type(value) is Decimal:  # nearly every value of a long list is a figure or a text
        return plain_digits(value)
    if value is None or type(value) in (str, int, bool):
        return value
    if isinstance(value, Report):
        return {"schema_version": SCHEMA_VERSION, "stem": value.stem, **_fields(value)}
    if isinstance(value, Amounts):
        extra = {"idle_cost": str(value.idle_cost), "waste_cost": str(value.waste_cost)}
        return {**_fields(value), **extra}
    if isinstance(value, Charges):
        return {**_fields(value), "total": str(value.total)}
    if isinstance(value, Trust):
        return {**_fields(value), "adds_up": value.adds_up}
    if isinstance(value, Enum):
        return value.value
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return _fields(value)
    if isinstance(value, datetime):
        return value.isoformat().replace("+00:00", "Z")
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, Mapping):
        return {str(key): to_json(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [to_json(item) for item in value]
    return value


def _fields(value: object) -> dict[str, object]:
    kind: Any = type(value)
    return {name: to_json(getattr(value, name)) for name in _names(kind)}


@cache
def _names(kind: Any) -> tuple[str, ...]:
    return tuple(field.name for field in dataclasses.fields(kind))
