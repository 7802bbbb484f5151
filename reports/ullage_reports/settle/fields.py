"""One JSON object of a settle file, read key by key: every error names the file's place, the value and what it should be.

Numbers are exact: whole JSON numbers, decimals as text or as JSON numbers (parsed without binary fractions), or ``1/3``.
Not here: which keys there are (world.py).
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any, Final

from ullage_contract.errors import ConfigError
from ullage_contract.instants import YEARS, in_utc

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
LONGEST: Final = 400
"""Characters of a number or an instant. our choice: no amount needs them, and huge exponents would eat memory."""


class Fields:
    """The keys of one object. where: its place in the file, e.g. ``inputs.cards[2]``.

    ``unread`` names what was there and nobody asked for: a misspelt key must not pass in silence.
    """

    def __init__(self, value: object, where: str) -> None:
        if not isinstance(value, Mapping):
            raise wrong(where, value, "an object in braces")
        self._value: Mapping[str, Any] = value
        self._read: set[str] = set()
        self.where = where

    def __contains__(self, key: str) -> bool:
        self._read.add(key)
        return self._value.get(key) is not None

    def raw(self, key: str) -> Any:
        """The value as JSON has it; None where it is absent or null."""
        self._read.add(key)
        return self._value.get(key)

    def names(self) -> Iterator[str]:
        """All keys, as of an object whose keys are names."""
        for key in self._value:
            self._read.add(key)
            yield key

    def unread(self) -> list[str]:
        """Places of keys nobody asked for."""
        return [f"{self.where}.{key}" for key in self._value if key not in self._read]

    def place(self, key: str) -> str:
        return f"{self.where}.{key}"

    def text(self, key: str, default: str | None = None) -> str:
        """A text that is not empty; the default where it is absent. Raises ConfigError without one."""
        value = self.raw(key)
        if value is None and default is not None:
            return default
        if not isinstance(value, str) or not value or len(value) > 1000:
            raise wrong(self.place(key), value, "a text")
        return value

    def optional_text(self, key: str) -> str | None:
        return self.text(key) if key in self else None

    def choice(self, key: str, choices: Collection[str], default: str) -> str:
        """One of a few words."""
        value = self.text(key, default)
        if value not in choices:
            raise wrong(self.place(key), value, f"one of {', '.join(choices)}")
        return value

    def flag(self, key: str) -> bool | None:
        value = self.raw(key)
        if value is not None and not isinstance(value, bool):
            raise wrong(self.place(key), value, "true or false")
        return value

    def number(self, key: str, default: Fraction | None = None) -> Fraction:
        """An exact number of at least 0; the default where it is absent. Raises ConfigError without one."""
        value = self.raw(key)
        if value is None and default is not None:
            return default
        return exact(value, self.place(key))

    def optional_number(self, key: str) -> Fraction | None:
        return self.number(key) if key in self else None

    def count(self, key: str) -> int | None:
        """A whole number of at least 1, None where it is absent."""
        if key not in self:
            return None
        number = self.number(key)
        if number.denominator != 1 or number < 1:
            raise wrong(self.place(key), self.raw(key), "a whole number of at least 1")
        return int(number)

    def instant(self, key: str) -> int:
        """Microseconds since the epoch of an ISO 8601 time with offset."""
        return instant(self.raw(key), self.place(key))

    def optional_instant(self, key: str) -> int | None:
        return self.instant(key) if key in self else None

    def rows(self, key: str) -> list[Fields]:
        """A list of objects; a single object is a list of one; absent is empty."""
        value = self.raw(key)
        if value is None:
            return []
        if isinstance(value, Mapping):
            return [Fields(value, self.place(key))]
        if not isinstance(value, list):
            raise wrong(self.place(key), value, "a list")
        return [Fields(item, f"{self.place(key)}[{n}]") for n, item in enumerate(value)]

    def inner(self, key: str) -> Fields | None:
        """An object, None where it is absent."""
        return Fields(self.raw(key), self.place(key)) if key in self else None

    def span(self) -> tuple[int, int | None]:
        """``start`` and ``end`` of [start, end); an absent end is open. Raises ConfigError for one that runs backwards."""
        start, end = self.instant("start"), self.optional_instant("end")
        if end is not None and end < start:
            raise ConfigError(
                f"{self.where}: ends ({self.raw('end')}) before it starts ({self.raw('start')})"
            )
        return start, end


def exact(value: object, where: str) -> Fraction:
    """A number of at least 0, exactly. Raises ConfigError."""
    number: Fraction | None = None
    if isinstance(value, (int, Decimal)) and not isinstance(value, bool):
        text = str(value)
    elif isinstance(value, str):
        text = value.strip()
    else:
        raise wrong(where, value, 'a number, decimals as text ("12.50")')
    try:
        if 0 < len(text) <= LONGEST and "_" not in text:
            if "/" in text:
                number = Fraction(text)
            else:
                decimal = Decimal(text)
                if decimal.is_finite() and (not decimal or abs(decimal.adjusted()) < 100):
                    number = Fraction(decimal)
    except (ValueError, ArithmeticError):
        number = None
    if number is None:
        raise wrong(where, value, 'a number, decimals as text ("12.50")')
    if number < 0:
        raise wrong(where, value, "at least 0")
    return number


def instant(value: object, where: str) -> int:
    """Microseconds since the epoch of an ISO 8601 time with offset. Raises ConfigError."""
    try:
        if not isinstance(value, str) or len(value) > LONGEST:
            raise ValueError(value)
        moment = datetime.fromisoformat(value)
        if moment.tzinfo is None:
            raise ConfigError(f"{where}: {value[:60]!r} has no offset; write e.g. 2026-10-31T20:00:00+08:00")
        return (in_utc(moment) - _EPOCH) // timedelta(microseconds=1)
    except ValueError as e:
        raise wrong(where, value, "an ISO 8601 time with offset, e.g. 2026-10-31T20:00:00+08:00") from e


def asked_for(value: object, where: str) -> int:
    """The same of a time that a statement is asked for: within YEARS, as months and days are counted from it."""
    found = instant(value, where)
    if not YEARS[0] <= utc(found).year <= YEARS[1]:
        raise wrong(where, value, f"within the years {YEARS[0]} to {YEARS[1]}")
    return found


def utc(microseconds: int) -> datetime:
    """The aware instant."""
    return _EPOCH + timedelta(microseconds=microseconds)


def wrong(where: str, value: object, wanted: str) -> ConfigError:
    """The error for a value that is not what it should be."""
    if value is None:
        return ConfigError(f"{where}: is missing; write {wanted}")
    return ConfigError(f"{where}: {str(value)[:60]!r} is not {wanted}")
