"""Published days, read: the one door between the collector and its reports. Immutable folders, newest revision wins.

    facts/day=2026-11-20/rev=1/{segments,coverage,activity,energy,remainder,serving,quota}.parquet  manifest.json
    dimensions/rev=7/{card,node,workload,department,price,incident,finding,...}.parquet  manifest.json

What lies in a closed period is read from the revisions its closing named (frozen.py), not from the newest.

It opens folders alone and never the live store. Not here: writing them (publish/files.py), and what a revision is (revision.py).
"""

from __future__ import annotations

import hashlib
import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from ullage_collector import frozen
from ullage_collector.frozen import PeriodClosing as PeriodClosing
from ullage_collector.frozen import Pins
from ullage_collector.organisation import Department, Organisation
from ullage_collector.revision import SEALED, manifest_of, newest
from ullage_collector.revision import Manifest as Manifest
from ullage_collector.sql import fill, statements
from ullage_contract.errors import StoreError

if TYPE_CHECKING:
    import duckdb

DIMENSIONS: Final = (
    "card",
    "node",
    "workload",
    "department",
    "price",
    "incident",
    "finding",
    "recommendation",
    "adjustment",
    "closing",
    "exchange_rate",
    "tariff",
    "pue",
)
DAY_FILES: Final = {
    "segments": "raw_segment",
    "coverage": "coverage",
    "energy": "raw_energy",
    "remainder": "raw_remainder",
    "serving": "raw_serving",
    "quota": "quota_hour",
    "activity": "raw_activity",
}
"""Files of a day of facts, and the views a reader sees them by."""
LATER: Final[frozenset[str]] = frozenset(
    {
        "recommendation.parquet",
        "adjustment.parquet",
        "closing.parquet",
        "exchange_rate.parquet",
        "tariff.parquet",
        "pue.parquet",
        "energy.parquet",
        "remainder.parquet",
        "serving.parquet",
        "quota.parquet",
        "activity.parquet",
    }
)
"""Files a revision of an older Ullage may lack: they read as no rows. Any other that is missing is an error."""
_DAY: Final = re.compile(r"day=([0-9]{4}-[0-9]{2}-[0-9]{2})")


class Published:
    """DIR/published, for reading. Nothing is kept open between calls; days published meanwhile are seen by the next."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def days(self) -> list[date]:
        """Every UTC day with facts, in order. A folder that is named after no day, such as day=2026-02-30, is passed over."""
        try:
            names = [path.name for path in (self.root / "facts").iterdir()]
        except (FileNotFoundError, NotADirectoryError):
            return []
        except OSError as e:
            raise StoreError(f"{self.root}: cannot be read: {e}; give the report's user read rights") from e
        return sorted(day for name in names if (day := _day_of(name)) is not None)

    def facts(self, day: date, *, before: datetime | None = None) -> Manifest | None:
        """A day's newest revision, None where it is not published. before: the newest that was published by then."""
        return newest(self._folder(day), before=before)

    def dimensions(self) -> Manifest | None:
        """The newest names and prices, None where none are published."""
        return newest(self.root / "dimensions")

    def closings(self) -> tuple[PeriodClosing, ...]:
        """Closed periods as the newest names know them, the earliest first."""
        import duckdb

        dimensions = self.dimensions()
        if dimensions is None or not dimensions.names("closing.parquet"):
            return ()
        connection = duckdb.connect(":memory:", config={"threads": 1})
        try:
            connection.execute(_view("closing", (dimensions,), "closing.parquet"))
            rows = connection.execute(statements("published")["closings"]).fetchall()
        except duckdb.Error as e:
            dimensions.verify()
            raise StoreError(
                f"{dimensions.folder}: cannot be read: {str(e)[:300]}; {dimensions.again}"
            ) from e
        finally:
            connection.close()
        return tuple(frozen.of_row(row) for row in rows)

    def closing(self, start: datetime, end: datetime) -> PeriodClosing | None:
        """The last of the closings that cover [start, end) (aware), by which it never changes again; None while some of it is open."""
        found = frozen.pins(self.closings(), _us(start), _us(end))
        return None if found is None else found.last

    def _folder(self, day: date) -> Path:
        return self.root / "facts" / f"day={day.isoformat()}"

    def _pinned(
        self, pins: Pins, days: Sequence[date]
    ) -> tuple[list[tuple[date, Manifest | None]], Manifest]:
        """The revisions a closed span stands on. Raises StoreError where one is gone."""

        def named(parent: Path, revision: int) -> Manifest:
            found = manifest_of(parent / f"rev={revision}")
            if found is None:
                raise StoreError(
                    f"{parent}: revision {revision} is gone, which a closed period stands on; bring it back from a backup"
                )
            return found

        facts = [
            (day, named(self._folder(day), pins.revisions[day]) if day in pins.revisions else None)
            for day in days
        ]
        return facts, named(self.root / "dimensions", pins.dimensions_revision)

    @contextmanager
    def open(
        self,
        start: datetime,
        end: datetime,
        *,
        verify: bool = True,
        beside: PeriodClosing | None = None,
        memory_bytes: int = 1 << 30,
        threads: int = 2,
    ) -> Iterator[Facts]:
        """The facts of [start, end) as in-memory views, for as long as the body runs.

        A span that is wholly closed is read from the revisions its closings stand on, whatever was published since; any other from the
        newest. start, end: aware. verify: check every file against its manifest first. beside: as it was
        published when that period was closed, for what its statement is compared with.
        Raises StoreError for a folder that cannot be read or is not what its manifest says, or is gone.
        """
        import duckdb

        first, last = _us(start), _us(end)
        wanted = _utc_days(first, last)
        dimensions: Manifest | None
        pins = None
        if beside is not None and beside.dimensions_revision is not None:
            of_it = Pins(beside, beside.dimensions_revision, {})
            dimensions = self._pinned(of_it, ())[1]
            manifests = [(day, self.facts(day, before=beside.closed_at)) for day in wanted]
        elif (pins := frozen.pins(self.closings(), first, last)) is not None:
            manifests, dimensions = self._pinned(pins, wanted)
        else:
            manifests = [(day, self.facts(day)) for day in wanted]
            dimensions = self.dimensions()
        used = tuple(m for _, m in manifests if m is not None)
        read = (*used, *((dimensions,) if dimensions else ()))
        if verify:
            for manifest in read:
                manifest.verify()
        sql = statements("published")
        spill = tempfile.TemporaryDirectory(prefix="ullage-report-")
        connection = duckdb.connect(
            ":memory:",
            config={
                "threads": threads,
                "memory_limit": f"{memory_bytes}B",
                "temp_directory": spill.name,  # else DuckDB spills into the working directory
                "autoload_known_extensions": False,
                "autoinstall_known_extensions": False,
            },
        )
        try:
            for name, view in DAY_FILES.items():
                connection.execute(_view(view, used, f"{name}.parquet"))
            for name in DIMENSIONS:
                connection.execute(_view(name, (dimensions,) if dimensions else (), f"{name}.parquet"))
            for clipped in (
                "clipped",
                "clipped_energy",
                "clipped_remainder",
                "clipped_serving",
                "clipped_activity",
            ):
                connection.execute(fill(sql[clipped], from_us=str(first), to_us=str(last)))
            yield Facts(
                connection=connection,
                days=used,
                missing=tuple(day for day, m in manifests if m is None),
                dimensions=dimensions,
                closing=pins.last if pins else None,
            )
        except duckdb.Error as e:
            if not verify:
                for manifest in read:
                    manifest.verify()  # says which file it is, and what helps
            raise StoreError(f"{self.root}: published files cannot be read: {str(e)[:300]}") from e
        finally:
            connection.close()
            spill.cleanup()


@dataclass(frozen=True, slots=True)
class Facts:
    """An open span of published time.

    Views: ``segment`` (columns of segments.parquet cut to the span, with ``quantity`` in nano-share microseconds and ``atoms``, NULL
    where unpriced), ``energy`` and ``remainder`` (what of a price no share of a card carries) cut alike, ``serving`` and ``activity``
    (whole hours, of the span in which they begin), ``coverage`` and ``quota_hour`` (whole days, as they are published), and the
    dimensions by name. days: the revisions used. missing: UTC days of the span that are not published. closing: the last of the closings
    that cover the span, which then never changes; None while some of it is open.
    """

    connection: duckdb.DuckDBPyConnection
    days: tuple[Manifest, ...]
    missing: tuple[date, ...]
    dimensions: Manifest | None
    closing: PeriodClosing | None = None

    def rows(
        self, sql: str, parameters: Sequence[Any] | Mapping[str, Any] | None = None
    ) -> list[tuple[Any, ...]]:
        """All rows of a query over the views."""
        cursor = self.connection.execute(sql, parameters) if parameters else self.connection.execute(sql)
        return cursor.fetchall()

    def organisation(self) -> Organisation:
        """The departments, dated twice; what an older Ullage did not publish of them is None."""
        cursor = self.connection.execute(statements("published")["departments"])
        names = [column[0] for column in cursor.description or ()]
        return Organisation(_department(dict(zip(names, row, strict=True))) for row in cursor.fetchall())

    @property
    def sealed(self) -> bool:
        """Every day of the span is published and will not change but by a new revision of a sealed day."""
        return not self.missing and all(m.status == SEALED for m in self.days)

    def digest(self) -> str:
        """SHA-256 over the digests of everything read, in order: names the data a report stands on."""
        hashes = [m.digest for m in self.days]
        if self.dimensions:
            hashes.append(self.dimensions.digest)
        return hashlib.sha256("\n".join(hashes).encode()).hexdigest()


def _day_of(name: str) -> date | None:
    """The day a folder of facts is named after; None: none."""
    match = _DAY.fullmatch(name)
    try:
        return date.fromisoformat(match[1]) if match else None
    except ValueError:
        return None


def _department(row: Mapping[str, Any]) -> Department:
    def us(name: str) -> int | None:
        at = row[name]
        return None if at is None else _us(at.replace(tzinfo=UTC))

    return Department(
        department_id=row["department_id"],
        name=row["name"],
        parent_id=row["parent_id"],
        owner=row["owner"],
        deputy=row.get("deputy"),
        cost_center=row["cost_center"],
        source_key=row.get("source_key"),
        valid_from_us=us("valid_from") or 0,
        valid_to_us=us("valid_to"),
        known_from_us=us("known_from") or 0,
        known_to_us=us("known_to"),
        source=row.get("source"),
    )


def _view(view: str, manifests: Sequence[Manifest], file: str) -> str:
    """The view over a file of several revisions."""
    sql = statements("published")
    paths = [manifest.path(file) for manifest in manifests if file not in LATER or manifest.names(file)]
    empty = sql[f"empty_{view}"]
    if not paths:
        return empty
    listed = ", ".join("'" + str(path).replace("'", "''") + "'" for path in paths)
    return f"{empty}\n{fill(sql['source'], view=view, files=listed)}"


def _us(instant: datetime) -> int:
    if instant.tzinfo is None:
        raise ValueError(f"BUG: {instant} has no zone")
    return (instant - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)


def _utc_days(first_us: int, last_us: int) -> list[date]:
    if last_us <= first_us:
        return []
    start = (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=first_us)).date()
    end = (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=last_us - 1)).date()
    return [start + timedelta(days=n) for n in range((end - start).days + 1)]
