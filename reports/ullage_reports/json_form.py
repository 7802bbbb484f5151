"""A report as one JSON file: the same numbers as on the pages, as text that keeps every digit."""

from __future__ import annotations

import json
from pathlib import Path

from ullage_reports.model import Report, to_json


def text(report: Report) -> str:
    """The report as JSON text, ``schema_version`` first, ending in a line break."""
    return json.dumps(to_json(report), ensure_ascii=False, indent=1) + "\n"


def render(report: Report, lang: str, out: Path) -> Path:
    """Write ``<stem>.json`` below ``out``; lang changes nothing, the file carries keys and not sentences."""
    path = out / f"{report.stem}.json"
    path.write_text(text(report), encoding="utf-8")
    return path
