"""A consistent copy while serving: the store, and the published days it stands on. Never tokens or keys.

    OUT/collector/store.duckdb  OUT/published/...  OUT/backup.json

The copy is one read transaction: writers go on. To restore: stop the collector, put the copy's
``collector`` and ``published`` in DIR (and remove ``store.duckdb.wal`` of the store they replace), start it. What the
journal still holds is stored again from the copy's position; agents send what they still have; what the copy
has already is skipped by its stream and number.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ullage_contract
from ullage_collector.config import Config
from ullage_collector.on_disk import sha256, sync
from ullage_contract.errors import BadInput, StoreError

if TYPE_CHECKING:
    from ullage_collector.store.store import Store


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """``backup --out DIR``."""
    parser.add_argument(
        "--out", type=Path, required=True, metavar="DIR", help="a folder that is not there yet"
    )


def run(args: argparse.Namespace, config: Config) -> int:
    """Copy through the running collector, or open the store when nobody serves."""
    from ullage_collector import operator_door

    out = args.out.absolute()
    if operator_door.is_served(config.socket_path):
        outcome = operator_door.call(config.socket_path, "POST", "/api/v1/backup", {"out": str(out)})
    else:
        from ullage_collector.store.store import Store

        store = Store.open(config.store_path, config.store)
        try:
            outcome = back_up(store, config.published_dir, out)
        finally:
            store.close()
    json.dump({"schema_version": 1, **outcome}, sys.stdout)
    sys.stdout.write("\n")
    return 0


def back_up(store: Store, published: Path, out: Path) -> dict[str, Any]:
    """Copy the open store and the published days to a new folder; what was copied.

    Raises BadInput when ``out`` is there already or cannot be made, StoreError when the copy fails; nothing half-made stays.
    """
    from ullage_collector.store.store import CATALOG, STORAGE_VERSION

    if out.exists():
        raise BadInput(f"{out} is there already: a backup is never written over another")
    started = time.monotonic()
    making = out.with_name(f".{out.name}.making")
    shutil.rmtree(making, ignore_errors=True)
    try:
        making.mkdir(mode=0o700, parents=True)
    except OSError as e:
        raise BadInput(f"{out}: cannot be made: {e.strerror}; give another place with --out DIR") from e
    try:
        # The published days first: the store may know newer ones than the copy has, never the other way round
        # once they are published again; a reader trusts manifests alone.
        (making / "collector").mkdir(mode=0o700)
        files = _copy_published(published, making / "published")
        cursor = store.cursor()
        name = f"backup_{os.getpid()}_{time.monotonic_ns()}"
        quoted = str(making / "collector" / "store.duckdb").replace("'", "''")
        try:
            cursor.execute(f"ATTACH '{quoted}' AS {name} (STORAGE_VERSION '{STORAGE_VERSION}')")
            try:
                cursor.execute(f"COPY FROM DATABASE {CATALOG} TO {name}")
            finally:
                cursor.execute(f"DETACH {name}")
        finally:
            cursor.close()
        copied = making / "collector" / "store.duckdb"
        copied.chmod(0o600)
        outcome = {
            "out": str(out),
            "ullage": ullage_contract.__version__,
            "at": datetime.fromtimestamp(store.clock.wall(), UTC).isoformat().replace("+00:00", "Z"),
            "store_bytes": copied.stat().st_size,
            "store_sha256": sha256(copied),
            "published_files": files,
            "seconds": round(time.monotonic() - started, 3),
        }
        (making / "backup.json").write_text(json.dumps(outcome, indent=1) + "\n", encoding="utf-8")
        for path in [*making.rglob("*"), making]:
            sync(path)
        making.rename(out)
        sync(out.parent)
    except OSError as e:
        shutil.rmtree(making, ignore_errors=True)
        raise StoreError(f"{out}: the backup failed: {e}") from e
    except BaseException as e:
        shutil.rmtree(making, ignore_errors=True)
        import duckdb

        if isinstance(e, duckdb.Error):
            raise StoreError(f"{out}: the backup failed: {str(e)[:300]}") from e
        raise
    return outcome


def _copy_published(source: Path, target: Path) -> int:
    """Copy whole revisions; a folder somebody is making just now has no manifest and is left out."""
    copied = 0
    target.mkdir(mode=0o700)
    for manifest in sorted(source.glob("**/rev=*/manifest.json")) if source.is_dir() else ():
        place = target / manifest.parent.relative_to(source)
        place.mkdir(parents=True, exist_ok=True)
        try:
            for file in sorted(manifest.parent.iterdir()):
                shutil.copy2(file, place / file.name)
                copied += 1
        except FileNotFoundError:
            if manifest.exists():
                raise
            shutil.rmtree(place)  # old names that nothing stands on were removed meanwhile
    return copied
