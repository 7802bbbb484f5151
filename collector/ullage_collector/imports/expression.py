"""What a map says, as SQL over a file's columns: templates, times and values. Nothing of a map is SQL itself.

Column names are quoted, texts are literals, numbers are checked: an operator's map cannot read another
file or table than the one it is for.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final, Protocol

from ullage_contract.errors import ConfigError
from ullage_contract.instants import in_utc, iso

_PLACE: Final = re.compile(r"\{\{|\}\}|\{([^{}]*)\}")

TIME_UNITS: Final[Mapping[str, int]] = {"s": 1_000_000, "ms": 1_000, "us": 1, "ns": 0}
"""Microseconds in one; ns is divided."""


class Columns(Protocol):
    """What a file has. ``column`` raises ConfigError for a name it has not; ``kind`` is the column's SQL type."""

    def has(self, name: str) -> bool: ...
    def column(self, name: str) -> str: ...
    def kind(self, name: str) -> str: ...


def identifier(name: str) -> str:
    """A quoted SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """A quoted SQL text."""
    return "'" + text.replace("'", "''") + "'"


@dataclass(frozen=True, slots=True)
class Template:
    """A text with columns in it: ``{pod}/0``; ``{{`` and ``}}`` are braces.

    ``{pool|main}`` is ``main`` where the column is missing, in the row or in the file; ``{pool|}`` is nothing.
    The whole is NULL when a column in it is NULL.
    """

    text: str

    def names(self) -> list[str]:
        """The columns in it, in order."""
        return [m[1].partition("|")[0] for m in _PLACE.finditer(self.text) if m[1] is not None]

    def fill(self, labels: Mapping[str, str]) -> str | None:
        """The text with labels in it; None when one without a fallback is missing."""
        parts: list[str] = []
        at = 0
        for match in _PLACE.finditer(self.text):
            parts.append(self.text[at : match.start()])
            at = match.end()
            if match[1] is None:
                parts.append(match[0][0])
                continue
            name, bar, fallback = match[1].partition("|")
            value = labels.get(name) or (fallback if bar else None)
            if value is None:
                return None
            parts.append(value)
        return ("".join(parts) + self.text[at:]).strip() or None

    def sql(self, of: Columns) -> str:
        """The expression, of type VARCHAR; an empty text counts as missing."""
        parts: list[str] = []
        plain, at = "", 0
        for match in _PLACE.finditer(self.text):
            plain += self.text[at : match.start()]
            at = match.end()
            if match[1] is None:
                plain += match[0][0]
                continue
            name, bar, fallback = match[1].partition("|")
            if bar and not of.has(name):
                plain += fallback
                continue
            if plain:
                parts.append(literal(plain))
                plain = ""
            value = f"nullif(CAST({of.column(name)} AS VARCHAR), '')"
            parts.append(f"coalesce({value}, {literal(fallback)})" if bar else value)
        plain += self.text[at:]
        if plain or not parts:
            parts.append(literal(plain))
        return f"nullif(trim({' || '.join(parts)}), '')"


@dataclass(frozen=True, slots=True)
class TimeSpec:
    """Where a time is and how it is written.

    column: None when ``constant_us`` says it for all rows.
    unit: s, ms, us or ns since the epoch; iso for text; auto: a timestamp column or text.
    zone: IANA zone of times without one. offset_seconds: added, e.g. where a trace begins at 0.
    optional: the file may have no such column.
    """

    column: str | None
    unit: str = "auto"
    zone: str = "UTC"
    offset_seconds: int = 0
    constant_us: int | None = None
    optional: bool = False

    def sql(self, of: Columns) -> str:
        """Microseconds since the epoch as BIGINT; NULL where the column is missing or no time.

        The session's TimeZone must be ``zone``.
        """
        if self.column is None:
            return f"CAST({self.constant_us} AS BIGINT)"
        if self.optional and not of.has(self.column):
            return "CAST(NULL AS BIGINT)"
        expression, kind = of.column(self.column), of.kind(self.column)
        shift = f" + {self.offset_seconds * 1_000_000}" if self.offset_seconds else ""
        if self.unit in TIME_UNITS:
            number = f"TRY_CAST({expression} AS DOUBLE)"
            if kind in _WHOLE:
                number = f"CAST({expression} AS BIGINT)"
            scaled = f"{number} / 1000" if self.unit == "ns" else f"{number} * {TIME_UNITS[self.unit]}"
            if kind in _WHOLE and self.unit == "ns":
                scaled = f"{number} // 1000"
            return f"CAST({scaled} AS BIGINT){shift}"
        if kind.startswith("TIMESTAMP") and kind != "TIMESTAMP WITH TIME ZONE":
            if self.zone == "UTC":
                return f"epoch_us(CAST({expression} AS TIMESTAMP)){shift}"
            return f"epoch_us(CAST(CAST({expression} AS TIMESTAMP) AS TIMESTAMP WITH TIME ZONE)){shift}"
        if kind == "TIMESTAMP WITH TIME ZONE":
            return f"epoch_us({expression}){shift}"
        if kind not in ("VARCHAR", "DATE"):
            raise ConfigError(
                f'time column {self.column!r} is {kind}: say unit = "s", "ms", "us" or "ns" since the epoch'
            )
        return f"epoch_us(TRY_CAST(CAST({expression} AS VARCHAR) AS TIMESTAMP WITH TIME ZONE)){shift}"

    def bound(self, microseconds: int, kind: str) -> str | None:
        """An instant in the column's own unit, for a filter that the file's statistics can answer; else None."""
        if self.column is None:
            return None
        shifted = microseconds - self.offset_seconds * 1_000_000
        if self.unit in TIME_UNITS and kind in _WHOLE:
            if self.unit == "ns":
                return str(shifted * 1000)
            return str(-(-shifted // TIME_UNITS[self.unit]))
        if self.zone == "UTC" and kind == "TIMESTAMP":
            return f"make_timestamp({shifted})"
        return None


_WHOLE: Final = frozenset({"BIGINT", "INTEGER", "UBIGINT", "UINTEGER", "SMALLINT", "HUGEINT"})


@dataclass(frozen=True, slots=True)
class ValueSpec:
    """Where a number or word is: value = column * factor + offset; texts in ``null`` mean missing."""

    column: str
    factor: float = 1.0
    offset: float = 0.0
    null: Sequence[str | float] = field(default=())
    optional: bool = False

    def raw(self, of: Columns) -> str:
        """The column with what means missing set to NULL."""
        if self.optional and not of.has(self.column):
            return "CAST(NULL AS DOUBLE)"
        expression = of.column(self.column)
        if of.kind(self.column) == "VARCHAR":
            expression = f"nullif(trim({expression}), '')"
        for word in self.null:
            meant = literal(word) if isinstance(word, str) else repr(word)
            expression = (
                f"nullif(CAST({expression} AS VARCHAR), {meant})"
                if isinstance(word, str)
                else f"nullif({expression}, {meant})"
            )
        return expression

    def number(self, of: Columns) -> str:
        """The number, of type DOUBLE; NULL where it is missing, NaN or no number."""
        raw, kind = self.raw(of), of.kind(self.column)
        value = (
            f"CAST({raw} AS DOUBLE)" if is_number(kind) and not self.null else f"TRY_CAST({raw} AS DOUBLE)"
        )
        if kind not in _WHOLE:
            value = f"nullif({value}, 'NaN'::DOUBLE)"
        if self.factor != 1.0:
            value = f"{value} * {self.factor!r}"
        return value if not self.offset else f"({value} + {self.offset!r})"


_NUMBERS: Final = _WHOLE | {"DOUBLE", "FLOAT", "TINYINT", "USMALLINT", "UTINYINT"}


def is_number(kind: str) -> bool:
    """Whether a column of this SQL type needs no parsing to be a number."""
    return kind in _NUMBERS or kind.startswith("DECIMAL")


def instant_us(text: object, place: str) -> int:
    """Microseconds since the epoch of an ISO 8601 text or TOML time with an offset. Raises ConfigError."""
    try:
        found = in_utc(text) if isinstance(text, datetime) else iso(str(text))
    except ValueError as e:
        raise ConfigError(f"{place} = {str(text)[:40]!r} is no time, e.g. 2026-11-01T00:00:00+08:00") from e
    if found.tzinfo is None:
        raise ConfigError(f"{place} = {str(text)[:40]!r} has no zone: write +08:00 or Z behind it")
    found = found.astimezone(UTC)
    return int(found.timestamp()) * 1_000_000 + found.microsecond
