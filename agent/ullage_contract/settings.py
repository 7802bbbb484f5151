"""A TOML settings file asked key by key: agent.toml, collector.toml, report.toml and their like.

A wrong setting raises ConfigError naming the file, the key, the value and what to write instead; a key
nobody asked for is wrong too, because a misspelt limit would silently be no limit.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ullage_contract.errors import ConfigError


def read(path: Path | None, default_path: Path) -> dict[str, Any] | None:
    """The document in ``path``; None means ``default_path``, whose absence gives None: defaults.

    Raises ConfigError when a named file is not there, or a file cannot be read or is no TOML.
    """
    where = path or default_path
    try:
        text = where.read_text(encoding="utf-8")
    except FileNotFoundError:
        if path is not None:
            raise ConfigError(f"{where}: no such file; create it or leave --config out") from None
        return None
    except (OSError, UnicodeDecodeError) as e:
        raise ConfigError(f"{where}: cannot be read: {e}") from e
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as e:
        raise ConfigError(f"{where}: not TOML: {e}") from e


class Table:
    """One TOML table that is asked key by key; ``finish`` then refuses what nobody asked for.

    file: for messages. name: the table's, empty for the top. content: as it was parsed.
    """

    def __init__(self, content: Mapping[str, Any], file: str, name: str) -> None:
        self.file = file
        self.content = content
        self._name = name
        self._asked: set[str] = set()

    def wrong(self, key: str, value: Any, instead: str) -> ConfigError:
        """The error that says file, key, value and what to write."""
        shown = '""' if value == "" else repr(value)[:80]
        place = f"[{self._name}] {key}" if self._name else key
        return ConfigError(f"{self.file}: {place} = {shown}: {instead}")

    def table(self, key: str) -> Table:
        """A table below this one; empty where there is none."""
        content = self._get(key, {})
        if not isinstance(content, dict):
            raise self.wrong(key, content, f"write a table: [{key}]")
        return Table(content, self.file, key)

    def tables(self, key: str) -> tuple[Mapping[str, Any], ...]:
        """The tables of an array, ``[[key]]``, as they stand: whoever takes them checks them; () where there is none."""
        content = self._get(key, [])
        if not isinstance(content, list) or not all(isinstance(item, dict) for item in content):
            raise self.wrong(key, content, f"write tables: [[{key}]]")
        return tuple(content)

    def text(self, key: str, default: str | None = None) -> str | None:
        value = self._get(key, default)
        if value is not None and not isinstance(value, str):
            raise self.wrong(key, value, 'write text in quotes, e.g. "..."')
        return value

    def texts(self, key: str, example: str = '["a", "b"]') -> tuple[str, ...]:
        """A list of texts, none of them empty; () where there is none."""
        value = self._get(key, [])
        if not isinstance(value, list) or not all(isinstance(item, str) and item for item in value):
            raise self.wrong(key, value, f"write a list of texts, e.g. {key} = {example}")
        return tuple(value)

    def wholes(self, key: str, default: Sequence[int], least: int, most: int) -> tuple[int, ...]:
        """A list of whole numbers from ``least`` to ``most``, both included."""
        value = self._get(key, list(default))
        if not isinstance(value, list) or not all(type(one) is int and least <= one <= most for one in value):
            raise self.wrong(
                key, value, f"write a list of whole numbers from {least} to {most}, e.g. [{least}]"
            )
        return tuple(value)

    def word(self, key: str, default: str, words: Sequence[str]) -> str:
        """One of ``words``."""
        value = self.text(key, default)
        if value is None or value not in words:
            raise self.wrong(key, value, f"write one of {', '.join(words)}")
        return value

    def number(self, key: str, default: float, least: float, most: float) -> float:
        """A number from ``least`` to ``most``, both included."""
        value = self._get(key, default)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self.wrong(key, value, f"write a number, e.g. {key} = {default:g}")
        if not least <= value <= most:
            raise self.wrong(key, value, f"write a number from {least:g} to {most:g}")
        return float(value)

    def whole(self, key: str, default: int, least: int, most: int) -> int:
        """A whole number from ``least`` to ``most``, both included."""
        value = self._get(key, default)
        if isinstance(value, bool) or not isinstance(value, int):
            raise self.wrong(key, value, f"write a whole number, e.g. {key} = {default}")
        if not least <= value <= most:
            raise self.wrong(key, value, f"write a whole number from {least} to {most}")
        return value

    def flag(self, key: str, default: bool) -> bool:
        value = self._get(key, default)
        if not isinstance(value, bool):
            raise self.wrong(key, value, "write true or false")
        return value

    def path(self, key: str) -> Path | None:
        """An absolute path, as a service has no home directory."""
        value = self.text(key)
        if value is None:
            return None
        if not value.startswith("/"):
            raise self.wrong(key, value, "write an absolute path, as a service has no home directory")
        return Path(value)

    def url(self, key: str) -> str | None:
        """http:// or https://, without a user or password in it; None where it is empty or absent."""
        value = self.text(key)
        if value is None or value == "":
            return None
        scheme, _, rest = value.partition("://")
        if scheme not in ("http", "https") or not rest or rest.startswith("/") or "@" in rest.split("/")[0]:
            raise self.wrong(
                key, value, "write http://host:port or https://host:port, without a user or password"
            )
        return value

    def rest(self) -> Mapping[str, Any]:
        """Everything, as it stands: whoever takes it checks it."""
        self._asked.update(self.content)
        return self.content

    def finish(self) -> None:
        """Raise ConfigError for the first key nobody asked for."""
        for key, value in self.content.items():
            if key not in self._asked:
                import difflib  # only where something is wrong: the agent starts without it

                near = difflib.get_close_matches(key, self._asked, n=1)
                known = f"did you mean {near[0]}?" if near else f"known: {', '.join(sorted(self._asked))}"
                raise self.wrong(key, value, f"no such key; {known}")

    def _get(self, key: str, default: Any) -> Any:
        self._asked.add(key)
        return self.content.get(key, default)
