"""What every question reads first, and instants in the shapes the store and the pure parts want them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

from ullage_collector.organisation import Department, Organisation
from ullage_collector.sql import statements

if TYPE_CHECKING:
    import duckdb

MOST_DAYS: Final = 400  # our choice: because a year and a month compares with the year before
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def organisation(cursor: duckdb.DuckDBPyConnection) -> Organisation:
    """Every row ever said about departments."""
    rows = cursor.execute(statements("ownership")["departments"]).fetchall()
    return Organisation(Department(*row) for row in rows)


def instant(us: int) -> datetime:
    """The aware instant of microseconds since the epoch."""
    return _EPOCH + timedelta(microseconds=us)


def us(at: datetime) -> int:
    """Microseconds since the epoch of an aware instant."""
    return (at - _EPOCH) // timedelta(microseconds=1)


def naive(at: datetime) -> datetime:
    """An aware instant as the store keeps it: UTC without a zone."""
    return at.astimezone(UTC).replace(tzinfo=None)
