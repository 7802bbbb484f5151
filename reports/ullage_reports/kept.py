"""A small JSON file below DATA/reports that one run at a time reads and writes: what was mailed, what was made when.

It is replaced whole and synced, so that after a crash it is as it was before or after. Not here: what it says.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from ullage_contract.errors import ConfigError, StoreError

VERSION: Final = 1


class Kept:
    """The file, held by this process. ``content`` is what it says, to be changed in place; ``save`` writes it."""

    def __init__(self, path: Path, content: dict[str, Any]) -> None:
        self._path = path
        self.content = content

    def save(self) -> None:
        """Replace the file. Raises OSError."""
        making = self._path.with_name(f".{self._path.name}.making")
        with making.open("w", encoding="utf-8") as file:
            json.dump({"schema_version": VERSION, **self.content}, file, ensure_ascii=False, indent=1)
            file.write("\n")
            file.flush()
            os.fsync(file.fileno())
        making.replace(self._path)


@contextmanager
def holding(path: Path, *, wait: bool) -> Iterator[Kept]:
    """The file, held until the end of the block; a file that is not there is empty.

    wait: for another process that holds it; else that raises StoreError. So does a file that is not ours: then nobody
    knows what was done.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = os.open(path.with_name(f".{path.name}.lock"), os.O_RDWR | os.O_CREAT, 0o640)
    except OSError as e:
        raise ConfigError(f"{path.parent}: {e.strerror}; it must be a folder that can be written") from e
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except OSError as e:
            raise StoreError(
                f"{path}: another ullage-report is at it; run this again when it has ended"
            ) from e
        yield Kept(path, _read(path))
    finally:
        os.close(lock)


def _read(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_bytes())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as e:
        raise StoreError(f"{path}: cannot be read ({e}); mend it, or move it away to begin anew") from e
    if not isinstance(found, dict) or found.pop("schema_version", None) != VERSION:
        raise StoreError(f"{path}: not of schema_version {VERSION}; mend it, or move it away to begin anew")
    return found
