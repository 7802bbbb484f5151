"""A part's rules as data: the TOML file shipped beside its code, or the one a site names in its place.

Not here: what the keys mean (the module that reads them), and asking key by key (ullage_contract.settings).
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping
from importlib import resources
from typing import Any, Final, TypeVar

from ullage_contract.errors import ConfigError
from ullage_contract.settings import Table

SCHEMA_VERSION: Final = 1
"""Of every file of rules; a file without it is taken for one."""

_Rules = TypeVar("_Rules")


def shipped(package: str, name: str) -> str:
    """The text of a file that is shipped in a package."""
    return resources.files(package).joinpath(name).read_text(encoding="utf-8")


def opened(text: str, where: str) -> Table:
    """The top of a file of rules, to be asked key by key. Raises ConfigError for what is no TOML or of another version."""
    try:
        top = Table(tomllib.loads(text), where, "")
    except tomllib.TOMLDecodeError as e:
        raise ConfigError(f"{where}: not TOML: {e}") from e
    top.whole("schema_version", SCHEMA_VERSION, SCHEMA_VERSION, SCHEMA_VERSION)
    return top


def named(table: Table) -> tuple[str, str] | None:
    """Text and name of the file that ``rules`` of a table of collector.toml names; None: the shipped one holds.

    Raises ConfigError where it cannot be read.
    """
    path = table.path("rules")
    if path is None:
        return None
    try:
        return path.read_text(encoding="utf-8"), str(path)
    except (OSError, UnicodeDecodeError) as e:
        raise table.wrong("rules", str(path), f"cannot be read: {e}") from e


def chosen(
    part: Mapping[str, Any], section: str, parse: Callable[[str, str], _Rules], default: Callable[[], _Rules]
) -> _Rules:
    """The rules that ``rules = FILE`` of a section of collector.toml names; without it those shipped.

    part: the section. parse: text and file name to rules. Raises ConfigError, also for another key of the section.
    """
    table = Table(part, "collector.toml", section)
    found = named(table)
    table.finish()
    return default() if found is None else parse(*found)
