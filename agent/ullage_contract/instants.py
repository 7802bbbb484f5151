"""Times as people write them: ISO 8601, and no other than UTC can hold; and those that are asked about.

Not here: what a text without an offset means, which differs by where it stands.
"""

from __future__ import annotations

import math
from datetime import UTC, date, datetime, timedelta
from typing import Final, TypeVar

from ullage_contract.errors import BadInput

YEARS: Final = (1970, 9998)
"""Years that may be asked about: from the epoch on, and a year less than a date can have, as days are added to what is asked."""
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_Day = TypeVar("_Day", bound=date)


def iso(text: str) -> datetime:
    """What ISO 8601 says, in UTC where it names an offset.

    Raises ValueError for what is none, and for what is no instant in UTC: the first hours of year 1 east of it, the last of 9999 west.
    """
    return in_utc(datetime.fromisoformat(text))


def in_utc(found: datetime) -> datetime:
    """An aware time in UTC; one without an offset as it is. Raises ValueError for what is no instant there."""
    if found.tzinfo is None:
        return found
    try:
        return found.astimezone(UTC)
    except OverflowError as e:
        raise ValueError(f"{found} is no instant in UTC") from e


def asked_us(text: str, name: str) -> int:
    """Microseconds since the epoch of a parameter: epoch seconds, or ISO 8601 with an offset. Raises BadInput naming it."""
    try:
        seconds = float(text)
    except ValueError:
        try:
            found = iso(text)
        except ValueError as e:
            raise BadInput(f"{name}: {text[:40]!r} is neither epoch seconds nor ISO 8601 with offset") from e
        if found.tzinfo is None:
            raise BadInput(f"{name}: {text[:40]!r} lacks an offset; add Z or +08:00") from None
        within(found, name, text)
        return (found - _EPOCH) // timedelta(microseconds=1)
    if not math.isfinite(seconds) or not 0 <= seconds < (YEARS[1] - YEARS[0] + 1) * 365 * 86_400:
        raise BadInput(_outside(name, text))
    return round(seconds * 1e6)


def within(found: _Day, name: str, text: str) -> _Day:
    """A day or time of YEARS. Raises BadInput naming the parameter and what was written."""
    if not YEARS[0] <= found.year <= YEARS[1]:
        raise BadInput(_outside(name, text))
    return found


def _outside(name: str, text: str) -> str:
    return (
        f"{name}: {text[:40]!r} is not in the years {YEARS[0]} to {YEARS[1]}; write e.g. 2026-11-20T00:00:00Z"
    )
