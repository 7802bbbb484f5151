"""Past runs of a Slurm cluster: ``ullage-collector import slurm``, from accounting or from a saved answer of sacct.

It goes the way of the live source, reader, belief and book: what is there already is not added, what changed is
corrected. A card is known where a prolog told of it or the run was seen alive.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from ullage_collector import operator_door
from ullage_collector.allocation.slurm.settings import SlurmSettings, slurm_settings
from ullage_collector.allocation.slurm.source import pieces, source
from ullage_collector.config import Config
from ullage_collector.imports.report import Report
from ullage_collector.store.store import Store
from ullage_contract.errors import BadInput, ConfigError, ReadingError

MOST_BYTES: Final = 2 * 1024 * 1024 * 1024
"""# our choice: because half a million runs are about so much as sacct writes them."""
DAY: Final = 86_400.0


def run(args: argparse.Namespace, config: Config) -> list[dict[str, Any]]:
    """One report, through the running collector or into the store opened here. args: file, from_, to, cluster.

    Raises ConfigError when it is not clear what to import, UllageError when nothing could be.
    """
    body = {
        "cluster": args.cluster,
        "file": None if args.file is None else str(args.file.absolute()),
        "from": None if args.from_ is None else args.from_.isoformat(),
        "to": None if args.to is None else args.to.isoformat(),
    }
    _wanted(body, config)
    if operator_door.is_served(config.socket_path):
        answer = operator_door.call(config.socket_path, "POST", "/api/v1/import/slurm", body)
        found: list[dict[str, Any]] = answer["imports"]
        return found
    store = Store.open(config.store_path, config.store)
    try:
        return [keep(store, config, body)]
    finally:
        store.close()


def keep(store: Store, config: Config, body: Mapping[str, Any]) -> dict[str, Any]:
    """Import what the body of a request says: cluster, and a file, or from and to. The report."""
    began = time.monotonic()
    now = store.clock.wall()
    settings, since, until, file = _wanted(body, config, now)
    late = max(settings.late_hours, (now - since) / 3600)
    slurm = source(replace(settings, late_hours=late), store)
    slurm.prepare(now)
    report = Report("slurm", file.name if file is not None else settings.cluster)
    answers = []
    if file is not None:
        answers.append(slurm.read_past(_content(file), now))
    else:
        for begin, end in reversed(pieces(since, until)):
            try:
                answers.append(slurm.ask_past(begin, end, now))
            except ReadingError as e:
                raise BadInput(f"accounting of {settings.cluster} from {begin:.0f} on: {e}") from e
    for read, done in answers:
        report.rows_read += read
        report.rows_added += done.added
        report.notes["corrected"] = report.notes.get("corrected", 0) + done.retired
        for workload, why in done.refused:
            report.refuse(0, f"{workload}: {why}")
    report.seconds = time.monotonic() - began
    return report.to_json()


def _wanted(
    body: Mapping[str, Any], config: Config, now: float | None = None
) -> tuple[SlurmSettings, float, float, Path | None]:
    """The cluster, the time and the file. Without a time: the last day."""
    now = time.time() if now is None else now
    clusters = slurm_settings(config.part("allocation"), str(config.path or "collector.toml"))
    name = body.get("cluster")
    known = ", ".join(settings.cluster for settings in clusters) or "none"
    if name is None and len(clusters) != 1:
        raise ConfigError(f"import slurm: name one with --cluster; in [allocation.slurm] there are: {known}")
    found = next((settings for settings in clusters if name in (None, settings.cluster)), None)
    if found is None:
        raise ConfigError(
            f"import slurm: no cluster {str(name)[:60]!r} in [allocation.slurm]; there are: {known}"
        )
    until = _instant(body.get("to"), now)
    since = _instant(body.get("from"), until - DAY)
    if since >= until:
        raise ConfigError("import slurm: --to must be after --from")
    file = body.get("file")
    return found, since, until, Path(str(file)) if file is not None else None


def _instant(written: object, otherwise: float) -> float:
    if written is None:
        return otherwise
    try:
        found = datetime.fromisoformat(str(written))
    except ValueError as e:
        raise BadInput(f"{str(written)[:40]!r} is no time, e.g. 2027-01-31T00:00:00Z") from e
    if found.tzinfo is None:
        raise BadInput(f"{str(written)[:40]!r} has no zone; write e.g. 2027-01-31T00:00:00Z")
    return found.timestamp()


def _content(path: Path) -> bytes:
    try:
        if path.stat().st_size > MOST_BYTES:
            raise BadInput(
                f"{path}: more than {MOST_BYTES} bytes; save sacct's answer in smaller spans of time"
            )
        return path.read_bytes()
    except OSError as e:
        raise BadInput(f"{path}: cannot be read: {e.strerror}") from e
