"""SQL in files: ``NNNN_*.sql`` are migrations; the others hold named statements.

A named statement begins with ``-- name: open_incident`` and a sentence saying what it does.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from importlib import resources
from types import MappingProxyType

_NAME = re.compile(r"^-- name: ([a-z_]+)\s*$", re.MULTILINE)


@cache
def statements(file: str) -> Mapping[str, str]:
    """The statements of ``sql/<file>.sql`` by name. Raises FileNotFoundError: BUG, it is part of the package."""
    text = resources.files("ullage_collector.sql").joinpath(f"{file}.sql").read_text(encoding="utf-8")
    parts = _NAME.split(text)
    return MappingProxyType({name: body.strip() for name, body in zip(parts[1::2], parts[2::2], strict=True)})
