"""A report as one JSON file: the same numbers as on the pages, as text that keeps every digit.

A key of the report and a row of a table stand on a line each, so that two files can be compared and a long one opened.
"""

from __future__ import annotations

import json
from pathlib import Path

from ullage_reports.model import Report, to_json


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
