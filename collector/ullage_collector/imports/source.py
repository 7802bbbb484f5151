"""A file as rows with a number: Parquet as it is typed, CSV and JSON lines as text.

Rows that cannot even be read as rows (a CSV line with too many fields, a JSON line that is none) are
counted and listed like any other refused row.
"""

from __future__ import annotations

import codecs
import hashlib
import logging
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ullage_collector.imports.expression import identifier, literal
from ullage_contract.errors import BadInput, ConfigError

if TYPE_CHECKING:
    import duckdb

log = logging.getLogger(__name__)

FORMATS: Final[Mapping[str, str]] = {
    ".parquet": "parquet",
    ".csv": "csv",
    ".tsv": "csv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "jsonl",
    ".gz": "csv",
    ".toml": "toml",
}


@dataclass(frozen=True, slots=True)
class FileSpec:
    """How to read a file. format: parquet, csv or jsonl; None: by its name. encoding and delimiter: of a CSV."""

    format: str | None = None
    encoding: str = "utf-8"
    delimiter: str | None = None
    header: bool = True


@dataclass(frozen=True, slots=True)
class Source:
    """An open file. relation: SQL FROM item that gives its columns and ``import_row``, counted from 1.

    kinds: SQL type by column; empty for JSON lines, whose columns are whatever a line has.
    """

    path: Path
    format: str
    relation: str
    kinds: Mapping[str, str]
    refused: list[tuple[int, str]] = field(default_factory=list)

    def column(self, name: str) -> str:
        """SQL of a column. Raises ConfigError naming those there are."""
        if self.format == "jsonl":
            return f"(import_line ->> {literal('$.' + _json_key(name))})"
        if name not in self.kinds:
            there = ", ".join(self.kinds)
            raise ConfigError(f"{self.path.name} has no column {name!r}; it has {there[:300]}")
        return identifier(name)

    def kind(self, name: str) -> str:
        """SQL type of a column; VARCHAR in text files."""
        return self.kinds.get(name, "VARCHAR")

    def has(self, name: str) -> bool:
        """Whether the file can have this column."""
        return self.format == "jsonl" or name in self.kinds


def _json_key(name: str) -> str:
    return '"' + name.replace('"', '\\"') + '"'


def digest(path: Path, *said: str) -> str:
    """SHA-256 of the file and of what is said about it, hex. Raises BadInput when it cannot be read."""
    total = hashlib.sha256()
    for text in said:
        total.update(hashlib.sha256(text.encode()).digest())
    try:
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                total.update(block)
    except OSError as e:
        raise BadInput(f"{path}: cannot be read: {e.strerror}") from e
    return total.hexdigest()


def file_format(path: Path, spec: FileSpec) -> str:
    """parquet, csv, jsonl or toml. Raises ConfigError when neither map nor name says it."""
    found = spec.format or FORMATS.get(path.suffix.lower())
    if found is None:
        raise ConfigError(f'{path.name}: cannot tell its format; say [file] format = "csv" in the map')
    return found


def open_source(cursor: duckdb.DuckDBPyConnection, path: Path, spec: FileSpec, scratch: Path) -> Source:
    """The file, ready to be selected from. scratch: a folder for a copy where the encoding must be changed.

    Raises BadInput when it cannot be read as what it should be.
    """
    import duckdb as engine

    found = file_format(path, spec)
    if not path.is_file():
        raise BadInput(f"{path}: no such file")
    try:
        if found == "parquet":
            return _parquet(cursor, path)
        if found == "csv":
            return _csv(cursor, path, spec, scratch)
        if found == "jsonl":
            return _jsonl(cursor, path)
    except engine.Error as e:
        raise BadInput(f"{path.name} cannot be read as {found}: {str(e).splitlines()[0][:200]}") from e
    raise ConfigError(f"{path.name}: format {found} has no rows")


def _described(cursor: duckdb.DuckDBPyConnection, relation: str) -> dict[str, str]:
    rows = cursor.execute(f"DESCRIBE SELECT * FROM {relation}").fetchall()  # noqa: S608  quoted path
    return {row[0]: row[1] for row in rows}


def _parquet(cursor: duckdb.DuckDBPyConnection, path: Path) -> Source:
    quoted = literal(str(path))
    kinds = _described(cursor, f"read_parquet({quoted})")
    relation = (
        f"(SELECT *, file_row_number + 1 AS import_row FROM read_parquet({quoted}, file_row_number = true))"  # noqa: S608
    )
    return Source(path, "parquet", relation, kinds)


def _csv(cursor: duckdb.DuckDBPyConnection, path: Path, spec: FileSpec, scratch: Path) -> Source:
    readable = path
    if codecs.lookup(spec.encoding).name not in ("utf-8", "ascii"):
        readable = _as_utf8(path, spec.encoding, scratch)
    options = (
        f"all_varchar = true, header = {str(spec.header).lower()}, ignore_errors = true, store_rejects = true"
    )
    options += ", rejects_limit = 20, null_padding = false, strict_mode = true"
    if spec.delimiter:
        options += f", delim = {literal(spec.delimiter)}"
    with suppress(Exception):
        cursor.execute("DROP TABLE IF EXISTS reject_errors; DROP TABLE IF EXISTS reject_scans")
    call = f"read_csv({literal(str(readable))}, {options})"
    kinds = _described(cursor, call)
    relation = f"(SELECT *, row_number() OVER () AS import_row FROM {call})"  # noqa: S608
    return Source(path, "csv", relation, kinds)


def unreadable(cursor: duckdb.DuckDBPyConnection, source: Source) -> list[tuple[int, str]]:
    """(line, why) of lines of a CSV that were no rows, once the source has been read; at most 20."""
    import duckdb as engine

    if source.format != "csv":
        return []
    try:
        rows = cursor.execute(
            "SELECT line, any_value(error_message) FROM reject_errors GROUP BY line ORDER BY line LIMIT 20"
        ).fetchall()
    except engine.Error:
        return []
    return [(line, str(message).splitlines()[0][:200]) for line, message in rows]


def _jsonl(cursor: duckdb.DuckDBPyConnection, path: Path) -> Source:
    call = f"read_csv({literal(str(path))}, columns = {{'line': 'VARCHAR'}}, header = false, auto_detect = false, delim = '\\x01', quote = '', escape = '', max_line_size = 16777216)"
    relation = (
        "(SELECT CASE WHEN json_valid(line) AND json_type(line) = 'OBJECT' THEN CAST(line AS JSON) END AS import_line,"  # noqa: S608
        f" row_number() OVER () AS import_row FROM {call} WHERE trim(line) <> '')"
    )
    cursor.execute(f"SELECT * FROM {relation} LIMIT 0")  # noqa: S608
    return Source(path, "jsonl", relation, {})


def _as_utf8(path: Path, encoding: str, scratch: Path) -> Path:
    copy = scratch / (path.name + ".utf8")
    try:
        with (
            path.open(encoding=encoding, newline="") as source,
            copy.open("w", encoding="utf-8", newline="") as to,
        ):
            while block := source.read(1 << 20):
                to.write(block)
    except UnicodeDecodeError as e:
        raise BadInput(
            f"{path.name} is not {encoding}: {e.reason} at byte {e.start}; say [file] encoding"
        ) from e
    return copy
