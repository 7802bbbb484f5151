"""Published days: the one door between the collector and its reports. Immutable folders, newest revision wins.

    facts/day=2026-11-20/rev=1/{segments,coverage,energy,remainder,serving}.parquet  manifest.json
    dimensions/rev=7/{card,node,workload,department,price,incident,finding,...}.parquet  manifest.json

What lies in a closed period is read from the revisions its closing named (frozen.py), not from the newest.

A revision is written beside its place, synced and renamed, so a reader sees all of it or nothing; the manifest
names every file with its size and SHA-256. The write side runs in the collector; the read side opens
folders alone and never the live store.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from ullage_collector import frozen
from ullage_collector.frozen import PeriodClosing as PeriodClosing
from ullage_collector.frozen import Pins
from ullage_collector.organisation import Department, Organisation
from ullage_collector.sql import fill, statements
from ullage_contract.errors import StoreError

if TYPE_CHECKING:
    import duckdb

MANIFEST_VERSION: Final = 1
PROVISIONAL: Final = "provisional"
SEALED: Final = "sealed"
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
_REVISION: Final = re.compile(r"^rev=(\d{1,9})$")
_DAY: Final = re.compile(r"^day=(\d{4}-\d{2}-\d{2})$")


@dataclass(frozen=True, slots=True)
class PublishedFile:
    """One file of a revision. sha256: hex."""

    name: str
    size_bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """One published revision. day None: dimensions. digest: SHA-256 of manifest.json, hex.

    status: provisional or sealed. facts: what the publisher said besides (states_revision, rows, sums, origins, ...).
    """

    folder: Path
    what: str
    day: date | None
    revision: int
    status: str
    published_at: datetime
    digest: str
    files: tuple[PublishedFile, ...]
    facts: Mapping[str, Any]

    def names(self, name: str) -> bool:
        """Whether this revision has a file of that name; an older Ullage may not have made it."""
        return any(file.name == name for file in self.files)

    def path(self, name: str) -> Path:
        """Where a file of this revision lies. Raises StoreError when the manifest does not name it."""
        if not self.names(name):
            raise StoreError(f"{self.folder}: its manifest names no {name}; publish it again")
        return self.folder / name

    def verify(self) -> None:
        """Read every file and compare. Raises StoreError naming the first that is missing, short or changed."""
        for file in self.files:
            path = self.folder / file.name
            try:
                same = path.stat().st_size == file.size_bytes and _sha256(path) == file.sha256
            except OSError as e:
                raise StoreError(f"{path}: cannot be read ({e}); publish the day again") from e
            if not same:
                raise StoreError(f"{path}: is not what its manifest says; publish the day again")


# ------------------------------------------------------------------------------- writing
def publish_facts_day(
    connection: duckdb.DuckDBPyConnection,
    root: Path,
    day: date,
    *,
    status: str,
    now: datetime,
    minutes: str = "card_minute",
) -> Manifest:
    """Publish a day's segments, coverage, activity, requests served and quota book; the newest revision as it stands when nothing changed.

    connection: a cursor of the store with table ``segment`` filled for the day (states.keep).
    root: DIR/published. status: provisional or sealed. minutes: the view, or a ``read_parquet(...)``.
    Raises StoreError when the disk refuses, or when no segments were made for the day.
    """
    sql = statements("published")
    revision, rows, origins = connection.execute(sql["day_facts"], {"day": day}).fetchall()[0]
    if not rows:
        revision, origins = 0, []

    def write(folder: Path) -> Mapping[str, Any]:
        text = day.isoformat()
        measured = minutes != "card_minute" or connection.execute(sql["has_minutes"]).fetchall()[0][0]
        by_hour = fill(sql["minutes"], source=minutes, day=text) if measured else sql["no_minutes"]
        _copy(connection, fill(sql["segments"], day=text), folder / "segments.parquet")
        _copy(connection, fill(sql["coverage"], day=text, minutes=by_hour), folder / "coverage.parquet")
        _copy(
            connection,
            _activity(connection, minutes, text) if measured else sql["no_activity"],
            folder / "activity.parquet",
        )
        _copy(connection, fill(sql["serving"], day=text), folder / "serving.parquet")
        _copy(connection, fill(sql["quota"], day=text, maker=_maker()), folder / "quota.parquet")
        for name in ("energy", "remainder"):
            _copy(connection, fill(sql[f"day_{name}"], day=text), folder / f"{name}.parquet")
        sums = connection.execute(sql["day_sums"], {"day": day}).fetchall()
        return {
            "states_revision": revision,
            "rows": rows,
            "origins": list(origins or []),
            "sums": [{"state": s, "currency": c, "quantity": q, "atoms": a} for s, c, q, a in sums],
        }

    return write_revision(
        root / "facts" / f"day={day.isoformat()}", what="facts", day=day, status=status, now=now, write=write
    )


def _activity(connection: duckdb.DuckDBPyConnection, minutes: str, day: str) -> str:
    """The query of activity over these minutes; a store whose cards never told a metric has no column of it."""
    sql = statements("published")
    told = connection.execute(fill(sql["columns"], source=minutes)).description or []
    names = {column[0] for column in told}
    units = {"tensor": "tensor_active_ratio", "sm": "sm_active_ratio"}
    columns = {word: name if name in names else "NULL::DOUBLE" for word, name in units.items()}
    return fill(sql["activity"], source=minutes, day=day, **columns)


def publish_dimensions(connection: duckdb.DuckDBPyConnection, root: Path, *, now: datetime) -> Manifest:
    """Publish names, prices, incidents and findings as they stand now; nothing new when none of them changed."""
    sql = statements("published")

    def write(folder: Path) -> Mapping[str, Any]:
        for name in DIMENSIONS:
            _copy(connection, sql[f"dimension_{name}"], folder / f"{name}.parquet")
        return {}

    return write_revision(
        root / "dimensions", what="dimensions", day=None, status=SEALED, now=now, write=write
    )


def prune_dimensions(root: Path, *, keep: Collection[int], before: datetime) -> list[int]:
    """Remove revisions of the dimensions that were published before an instant (aware); which. The newest stays, and those in ``keep``.

    A folder that cannot be removed is left, and tried again the next time.
    """
    parent = root / "dimensions"
    last = newest(parent)
    gone = []
    for number, folder in sorted(_revisions(parent)):
        found = _manifest(folder)
        if found is None or last is None or number == last.revision or number in keep:
            continue
        if found.published_at < before:
            shutil.rmtree(folder, ignore_errors=True)
            gone.append(number)
    return gone


def record(connection: duckdb.DuckDBPyConnection, manifest: Manifest) -> None:
    """Note a revision in the store's table ``published``. connection: inside a write."""
    connection.execute(
        statements("published")["record"],
        {
            "what": manifest.what,
            "day": manifest.day,
            "revision": manifest.revision,
            "status": manifest.status,
            "digest": manifest.digest,
            "at": manifest.published_at.astimezone(UTC).replace(tzinfo=None),
        },
    )


def write_revision(
    parent: Path,
    *,
    what: str,
    day: date | None,
    status: str,
    now: datetime,
    write: Callable[[Path], Mapping[str, Any]],
) -> Manifest:
    """Make the next revision below ``parent``: ``write`` fills a folder and returns facts for the manifest.

    The newest revision is returned, and nothing kept, when its files and status are the same byte for byte;
    a sealed day stays sealed. Whoever asks: one publisher at a time writes below one parent.
    Raises StoreError when the disk refuses; nothing half-made stays in a reader's way.
    """
    if status not in (PROVISIONAL, SEALED):
        raise ValueError(f"BUG: status {status!r}")
    before = newest(parent)
    if before is not None and before.status == SEALED:
        status = SEALED
    revision = max((number for number, _ in _revisions(parent)), default=0) + 1
    making = parent / f".making-{os.getpid()}-rev={revision}"
    try:
        if making.exists():
            shutil.rmtree(making)
        making.mkdir(parents=True)
        facts = write(making)
        files = tuple(
            PublishedFile(path.name, path.stat().st_size, _sha256(path)) for path in sorted(making.iterdir())
        )
        if before is not None and before.files == files and before.status == status:
            shutil.rmtree(making)
            return before
        text = json.dumps(
            {
                "schema_version": MANIFEST_VERSION,
                "what": what,
                "day": day.isoformat() if day else None,
                "revision": revision,
                "status": status,
                "published_at": now.astimezone(UTC).isoformat().replace("+00:00", "Z"),
                "files": {f.name: {"bytes": f.size_bytes, "sha256": f.sha256} for f in files},
                "facts": facts,
            },
            indent=1,
            ensure_ascii=False,
        )
        (making / "manifest.json").write_text(text + "\n", encoding="utf-8")
        for path in making.iterdir():
            _sync(path)
        _sync(making)
        place = parent / f"rev={revision}"
        making.rename(place)
        _sync(parent)
    except OSError as e:
        shutil.rmtree(making, ignore_errors=True)
        raise StoreError(
            f"{parent}: cannot publish revision {revision}: {e}; free space or mend the folder"
        ) from e
    except BaseException:
        shutil.rmtree(making, ignore_errors=True)
        raise
    found = _manifest(place)
    assert found is not None, "BUG: a manifest just written cannot be read"
    return found


def _maker() -> str:
    """SQL for the maker of a quota as cards have it: a limit may be stated with another word for it."""
    from ullage_collector.quota.resources import makers

    cases = " ".join(
        "WHEN '{}' THEN '{}'".format(*(word.replace("'", "''") for word in pair))
        for pair in sorted(makers().items())
    )
    return f"CASE lower(trim(vendor)) {cases} ELSE lower(trim(vendor)) END"


def _copy(connection: duckdb.DuckDBPyConnection, query: str, path: Path) -> None:
    import duckdb

    quoted = str(path).replace("'", "''")
    try:
        connection.execute(fill(statements("published")["copy"], query=query, file=quoted))
    except duckdb.IOException as e:
        raise StoreError(f"{path}: cannot be written: {str(e)[:200]}") from e


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


# ------------------------------------------------------------------------------- reading
def newest(parent: Path, *, before: datetime | None = None) -> Manifest | None:
    """The newest whole revision below a folder; None where there is none. A folder without a manifest is passed over.

    before: the newest that was published by then.
    """
    for _, folder in sorted(_revisions(parent), reverse=True):
        found = _manifest(folder)
        if found is not None and (before is None or found.published_at <= before):
            return found
    return None


def _revisions(parent: Path) -> list[tuple[int, Path]]:
    try:
        entries = list(parent.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as e:
        raise StoreError(f"{parent}: cannot be read: {e}; give the report's user read rights") from e
    return [(int(match[1]), path) for path in entries if (match := _REVISION.match(path.name))]


def _manifest(folder: Path) -> Manifest | None:
    try:
        text = (folder / "manifest.json").read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as e:
        raise StoreError(f"{folder / 'manifest.json'}: cannot be read: {e}") from e
    try:
        data = json.loads(text)
        if data["schema_version"] > MANIFEST_VERSION:
            raise StoreError(f"{folder}: a newer Ullage published it; update the reports")
        return Manifest(
            folder=folder,
            what=str(data["what"]),
            day=date.fromisoformat(data["day"]) if data["day"] else None,
            revision=int(data["revision"]),
            status=str(data["status"]),
            published_at=datetime.fromisoformat(data["published_at"]),
            digest=hashlib.sha256(text).hexdigest(),
            files=tuple(
                PublishedFile(name, int(f["bytes"]), str(f["sha256"]))
                for name, f in sorted(data["files"].items())
            ),
            facts=data.get("facts", {}),
        )
    except (ValueError, KeyError, TypeError, AttributeError) as e:
        raise StoreError(f"{folder / 'manifest.json'}: is no manifest ({e!r}); publish it again") from e


class Published:
    """DIR/published, for reading. Nothing is kept open between calls; days published meanwhile are seen by the next."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def days(self) -> list[date]:
        """Every UTC day with facts, in order."""
        try:
            names = [path.name for path in (self.root / "facts").iterdir()]
        except (FileNotFoundError, NotADirectoryError):
            return []
        except OSError as e:
            raise StoreError(f"{self.root}: cannot be read: {e}; give the report's user read rights") from e
        return sorted(date.fromisoformat(match[1]) for name in names if (match := _DAY.match(name)))

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
            raise StoreError(f"{dimensions.folder}: cannot be read: {str(e)[:300]}") from e
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
            found = _manifest(parent / f"rev={revision}")
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
        if verify:
            for manifest in (*used, *((dimensions,) if dimensions else ())):
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
            raise StoreError(f"{self.root}: published files cannot be read: {str(e)[:300]}") from e
        finally:
            connection.close()
            spill.cleanup()


@dataclass(frozen=True, slots=True)
class Facts:
    """An open span of published time.

        Views: ``segment`` (columns of segments.parquet cut to the span, with ``quantity`` in nano-share microseconds and
            ``atoms``, NULL where unpriced), ``coverage``, ``energy`` and ``remainder`` (what of a price no share of a card carries)
        cut alike, ``serving`` (whole hours, of the span in which they begin), and the dimensions by name. days: the revisions
        used. missing: UTC days of the span that are not published.
     closing: the last of the closings that
    cover the span, which then never changes; None while some of it is open.
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
