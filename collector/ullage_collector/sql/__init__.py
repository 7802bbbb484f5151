"""SQL in files: ``NNNN_*.sql`` are migrations; the others hold named statements.

A named statement begins with ``-- name: open_incident`` and a sentence saying what it does. ``{place}`` stands
for a table or a list of columns that the metric catalogue decides; values are always parameters.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from importlib import resources
from types import MappingProxyType

_NAME = re.compile(r"^-- name: ([a-z_]+)\s*$", re.MULTILINE)
_PLACE = re.compile(r"\{([a-z_]+)\}")
_MIGRATION = re.compile(r"^(\d{4})_[a-z0-9_]+\.sql$")


@cache
def statements(file: str) -> Mapping[str, str]:
    """The statements of ``sql/<file>.sql`` by name. Raises FileNotFoundError: BUG, it is part of the package."""
    text = resources.files("ullage_collector.sql").joinpath(f"{file}.sql").read_text(encoding="utf-8")
    parts = _NAME.split(text)
    return MappingProxyType({name: body.strip() for name, body in zip(parts[1::2], parts[2::2], strict=True)})


def fill(statement: str, **parts: str) -> str:
    """A statement with its ``{name}`` places filled by texts the code made: table and column names, never input.

    Raises ValueError (BUG) for a place without a text and a text without a place.
    """
    places = set(_PLACE.findall(statement))
    if places != parts.keys():
        raise ValueError(f"BUG: places {sorted(places)} filled with {sorted(parts)}")
    return _PLACE.sub(lambda match: parts[match[1]], statement)


def migrations() -> list[tuple[int, str, str]]:
    """(version, file name, text) of every migration, ascending from 1 without a gap."""
    found = []
    for entry in resources.files("ullage_collector.sql").iterdir():
        match = _MIGRATION.match(entry.name)
        if match:
            found.append((int(match[1]), entry.name, entry.read_text(encoding="utf-8")))
    found.sort()
    if [version for version, _, _ in found] != list(range(1, len(found) + 1)):
        raise ValueError(f"BUG: migrations are not numbered from 1: {[name for _, name, _ in found]}")
    return found
