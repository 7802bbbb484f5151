"""A revision: an immutable folder of files with a manifest that names every one, and the newest whole one wins.

    PARENT/rev=3/manifest.json  and the files it names with their sizes and SHA-256

A revision is written beside its place, synced and renamed, so a reader sees all of it or nothing.
Not here: what is published so (publish/), and how it is read (published.py).
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, Final

from ullage_collector.on_disk import sha256, sync
from ullage_contract.errors import StoreError

MANIFEST_VERSION: Final = 1
PROVISIONAL: Final = "provisional"
SEALED: Final = "sealed"
_REVISION: Final = re.compile(r"rev=([0-9]{1,9})")
_MAKING: Final = re.compile(r"\.making-[0-9]+-rev=[0-9]{1,9}")

log = logging.getLogger("ullage_collector.revision")


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
            raise StoreError(f"{self.folder}: its manifest names no {name}; {self.again}")
        return self.folder / name

    @property
    def again(self) -> str:
        """What helps where its files are damaged, for the end of a message."""
        if self.day is None:
            return "publish names and prices again: ullage-collector publish; an older revision of them comes back from a backup alone"
        return f"publish the day again: ullage-collector publish --day {self.day.isoformat()}"

    def verify(self) -> None:
        """Read every file and compare. Raises StoreError naming the first that is missing, short or changed."""
        for file in self.files:
            try:
                same = self._holds(file)
            except OSError as e:
                raise StoreError(f"{self.folder / file.name}: cannot be read ({e}); {self.again}") from e
            if not same:
                raise StoreError(f"{self.folder / file.name}: is not what its manifest says; {self.again}")

    def damaged(self) -> tuple[str, ...]:
        """Names of its files that are missing, cannot be read or are not what the manifest says."""
        found = []
        for file in self.files:
            try:
                same = self._holds(file)
            except OSError:
                same = False
            if not same:
                found.append(file.name)
        return tuple(found)

    def _holds(self, file: PublishedFile) -> bool:
        path = self.folder / file.name
        return path.stat().st_size == file.size_bytes and sha256(path) == file.sha256


def newest(parent: Path, *, before: datetime | None = None) -> Manifest | None:
    """The newest whole revision below a folder; None where there is none. A folder without a manifest is passed over.

    before: the newest that was published by then.
    """
    for _, folder in sorted(revisions(parent), reverse=True):
        found = manifest_of(folder)
        if found is not None and (before is None or found.published_at <= before):
            return found
    return None


def revisions(parent: Path) -> list[tuple[int, Path]]:
    """Number and folder of every revision below a folder, whole or not, in no order. Raises StoreError for a folder that cannot be read."""
    try:
        entries = list(parent.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as e:
        raise StoreError(f"{parent}: cannot be read: {e}; give the report's user read rights") from e
    return [(int(match[1]), path) for path in entries if (match := _REVISION.fullmatch(path.name))]


def manifest_of(folder: Path) -> Manifest | None:
    """What lies in a revision's folder, None where there is none. Raises StoreError for what is no manifest, or a newer Ullage's."""
    try:
        text = (folder / "manifest.json").read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as e:
        raise StoreError(f"{folder / 'manifest.json'}: cannot be read: {e}") from e
    try:
        data = json.loads(text)
        published_at = datetime.fromisoformat(data["published_at"])
        if published_at.tzinfo is None:
            raise ValueError(f"published_at {data['published_at']!r} has no zone")
        if data["schema_version"] > MANIFEST_VERSION:
            raise StoreError(f"{folder}: a newer Ullage published it; update the reports")
        return Manifest(
            folder=folder,
            what=str(data["what"]),
            day=date.fromisoformat(data["day"]) if data["day"] else None,
            revision=int(data["revision"]),
            status=str(data["status"]),
            published_at=published_at,
            digest=hashlib.sha256(text).hexdigest(),
            files=tuple(
                PublishedFile(name, int(f["bytes"]), str(f["sha256"]))
                for name, f in sorted(data["files"].items())
            ),
            facts=data.get("facts", {}),
        )
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as e:
        raise StoreError(
            f"{folder / 'manifest.json'}: is no manifest ({repr(e)[:200]}); bring it back from a backup, or remove the folder "
            "and publish again"
        ) from e


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

    The newest revision is returned, and nothing kept, when its files and status are the same byte for byte; what of its files
    was damaged since is put back. A sealed day stays sealed. Whoever asks: one publisher at a time writes below one parent, so
    that what an earlier one left half-made when it was killed is nobody's, and is removed.
    Raises StoreError when the disk refuses; nothing half-made stays in a reader's way.
    """
    if status not in (PROVISIONAL, SEALED):
        raise ValueError(f"BUG: status {status!r}")
    before = newest(parent)
    if before is not None and before.status == SEALED:
        status = SEALED
    revision = max((number for number, _ in revisions(parent)), default=0) + 1
    making = parent / f".making-{os.getpid()}-rev={revision}"
    _clear(parent)
    try:
        making.mkdir(parents=True)
        facts = write(making)
        files = tuple(
            PublishedFile(path.name, path.stat().st_size, sha256(path)) for path in sorted(making.iterdir())
        )
        if before is not None and before.files == files and before.status == status:
            for name in before.damaged():
                log.warning("%s was not what its manifest says; it was made again", before.folder / name)
                sync(making / name)
                (making / name).replace(before.folder / name)
                sync(before.folder)
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
            sync(path)
        sync(making)
        place = parent / f"rev={revision}"
        making.rename(place)
        sync(parent)
    except OSError as e:
        shutil.rmtree(making, ignore_errors=True)
        raise StoreError(
            f"{parent}: cannot publish revision {revision}: {e}; free space or mend the folder"
        ) from e
    except BaseException:
        shutil.rmtree(making, ignore_errors=True)
        raise
    found = manifest_of(place)
    assert found is not None, "BUG: a manifest just written cannot be read"
    return found


def _clear(parent: Path) -> None:
    """Remove what killed publishers left half-made. What cannot be removed is told and stays: it is in nobody's way."""
    try:
        left = [path for path in parent.iterdir() if _MAKING.fullmatch(path.name)]
    except OSError:
        return  # not there yet, or making it says why
    for path in left:
        try:
            shutil.rmtree(path)  # never through a link: rmtree refuses one
        except OSError as e:
            log.warning(
                "%s: left half-made by a publisher that was killed, and cannot be removed: %s", path, e
            )
