"""Queries over published days, in files of named statements: ``-- name: cells`` and a sentence saying what it does."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from importlib import resources
from types import MappingProxyType

_NAME = re.compile(r"^-- name: ([a-z_]+)\s*$", re.MULTILINE)


@cache
def statements(file: str) -> Mapping[str, str]:
    """The statements of ``sql/<file>.sql`` by name."""
    text = resources.files("ullage_reports.sql").joinpath(f"{file}.sql").read_text(encoding="utf-8")
    parts = _NAME.split(text)
    return MappingProxyType({name: body.strip() for name, body in zip(parts[1::2], parts[2::2], strict=True)})
