"""Quotas and pools from a file into the store, dated twice; the same file twice adds nothing.

A plain file says everything its name ever said, with its dates, as prices do. What a scheduler exports is a snapshot:
what it says begins when it is imported (or when it is said to), what it said before and says no more ends then, and what
was until then stays believed.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa

from ullage_collector.imports.money import DatedTable, keep_dated
from ullage_collector.imports.report import Report
from ullage_collector.imports.source import digest
from ullage_collector.quota.entry import QuotaEntry
from ullage_collector.quota.readers import DATED, FORMATS, Given, detect
from ullage_collector.quota.readers.plain import read_pools
from ullage_collector.quota.tree import trees
from ullage_collector.sql import fill, statements
from ullage_collector.store import incoming
from ullage_collector.store.store import naive_utc
from ullage_contract.errors import BadInput, ConfigError

if TYPE_CHECKING:
    from ullage_collector.store.store import Store

log = logging.getLogger(__name__)

KINDS: Final = ("quotas", "pools")
VERSION: Final = "1"
"""Raised when a reader understands the same file differently, so that it may be imported again."""
MAX_BYTES: Final = 64 * 1024 * 1024  # our choice: because the largest tree of quotas is a few megabytes

_DATES: Final = {"valid_from": incoming.TIMESTAMP, "valid_to": incoming.TIMESTAMP}
_QUOTA: Final = DatedTable(
    "quota",
    {
        "tree": pa.string(),
        "quota": pa.string(),
        "parent": pa.string(),
        "cluster_id": pa.string(),
        "pool": pa.string(),
        "resource": pa.string(),
        "vendor": pa.string(),
        "model": pa.string(),
        "min_nano": pa.int64(),
        "max_nano": pa.int64(),
        "lend_nano": pa.int64(),
        "weight": pa.float64(),
        "owner": pa.string(),
        "department_id": pa.string(),
        "binds": pa.string(),
        "attributes": pa.string(),
        **_DATES,
        "source": pa.string(),
    },
    "quota_id",
    True,
)
_RULE: Final = DatedTable(
    "pool_rule",
    {
        "pool_set": pa.string(),
        "pool": pa.string(),
        "match": pa.string(),
        "priority": pa.int32(),
        **_DATES,
        "source": pa.string(),
    },
    "pool_rule_id",
    True,
)
_FROM, _TO = len(_QUOTA.columns) - 3, len(_QUOTA.columns) - 2


def import_file(
    store: Store,
    kind: str,
    path: Path,
    *,
    form: str | None = None,
    given: Given | None = None,
    since_us: int | None = None,
    again: bool = False,
) -> Report:
    """Import quotas or pools.

    form: of FORMATS; None: told by the content. given: what the file does not say itself. since_us: from when a
    snapshot holds, microseconds since the epoch; None: from now. again: even when this very file was imported before.
    Raises BadInput when the file cannot be read at all, ConfigError for a kind or form there is not.
    """
    if kind not in KINDS:
        raise ConfigError(f"{kind!r} is none of {', '.join(KINDS)}")
    if form is not None and form not in FORMATS:
        raise ConfigError(f"--format {form!r} is none of {', '.join(FORMATS)}")
    given = given or Given()
    given = Given(path.name, given.cluster, given.pool, given.guaranteed)
    report = Report(kind, str(path))
    said = json.dumps([kind, form, given.cluster, given.pool, given.guaranteed, since_us, VERSION])
    mark = digest(path, said)
    cursor = store.cursor()
    try:
        before = cursor.execute(statements("imports")["imported"], [kind, mark]).fetchall()[0][0]
    finally:
        cursor.close()
    if before and not again:
        report.again = True
        return report
    text = _text(path)
    if kind == "pools":
        _pools(store, text, given, report)
    else:
        _quotas(store, text, form or detect(text, path.name), given, since_us, report)
    with store.write() as writer:
        writer.execute(
            statements("imports")["put_import"],
            [
                *(kind, mark, path.name, form or "detected", report.rows_read, report.rows_added),
                *(report.rows_refused, naive_utc(store.clock.wall())),
            ],
        )
    return report


def _text(path: Path) -> str:
    try:
        if path.stat().st_size > MAX_BYTES:
            raise BadInput(f"{path}: more than {MAX_BYTES} bytes: this is no file of quotas")
        return path.read_text(encoding="utf-8-sig")
    except OSError as e:
        raise BadInput(f"{path}: cannot be read: {e.strerror}") from e
    except UnicodeDecodeError as e:
        raise BadInput(f"{path}: is not UTF-8: {e}") from e


def _pools(store: Store, text: str, given: Given, report: Report) -> None:
    rules, report.rows_read, refused = read_pools(text, given)
    for number, why in refused:
        report.refuse(number, why)
    source = f"import:{given.name}"
    rows = [(r.pool_set, r.pool, r.match, r.priority, r.valid_from_us, r.valid_to_us, source) for r in rules]
    keep_dated(store, _RULE, rows, source, report)


def _quotas(store: Store, text: str, form: str, given: Given, since_us: int | None, report: Report) -> None:
    reading = FORMATS[form](text, given)
    report.rows_read = reading.rows
    for number, why in reading.refused:
        report.refuse(number, why)
    source = f"import:{given.name}"
    rows = [_row(entry, source) for entry in reading.entries]
    now_us = round(store.clock.wall() * 1e6)
    if form not in DATED:
        rows = _continued(store, rows, source, now_us if since_us is None else since_us)
    keep_dated(store, _QUOTA, rows, source, report)
    _warn(report, reading.notes)
    _warn(
        report, [f"{p.tree}: {p.message}" for tree in trees(reading.entries, now_us) for p in tree.problems]
    )


def _warn(report: Report, texts: Sequence[str]) -> None:
    """What is no refusal, but to be known: told in the report, and kept as a finding by the hours' maker."""
    for text in texts:
        report.warn(text)
        log.warning("%s: %s", report.file, text)


def _row(entry: QuotaEntry, source: str) -> tuple[Any, ...]:
    return (
        *(entry.tree, entry.quota, entry.parent, entry.cluster, entry.scope.pool, entry.scope.resource),
        *(entry.scope.vendor or None, entry.scope.model or None),
        *(entry.min_nano, entry.max_nano, entry.lend_nano, entry.weight, entry.owner, entry.department),
        json.dumps(entry.binds, ensure_ascii=False) if entry.binds else None,
        json.dumps(entry.attributes, ensure_ascii=False, sort_keys=True) if entry.attributes else None,
        *(entry.from_us, entry.to_us, source),
    )


def _continued(
    store: Store, rows: list[tuple[Any, ...]], source: str, since_us: int
) -> list[tuple[Any, ...]]:
    """A snapshot joined to what its source said before: all its history as it is to be believed now."""
    columns = ", ".join(
        f"epoch_us({name})"
        if name in _DATES
        else f"CAST({name} AS VARCHAR)"
        if name in ("binds", "attributes")
        else name
        for name in _QUOTA.columns
    )
    cursor = store.cursor()
    try:
        before = cursor.execute(
            fill(statements("quota")["said_before"], columns=columns), [source]
        ).fetchall()
    finally:
        cursor.close()
    open_rows = {_what(row): row for row in before if row[_TO] is None}
    found = [row for row in before if row[_TO] is not None and row[_FROM] < since_us]
    found = [_ending(row, min(row[_TO], since_us)) if row[_TO] > since_us else row for row in found]
    told = dict.fromkeys(_what(row) for row in rows)
    for what, row in open_rows.items():
        if what in told:
            found.append(row if row[_FROM] <= since_us else _beginning(row, since_us))
        elif row[_FROM] < since_us:
            found.append(_ending(row, since_us))
    by_what = {_what(row): row for row in rows}
    found += [_beginning(row, since_us) for what, row in by_what.items() if what not in open_rows]
    return found


def _what(row: tuple[Any, ...]) -> tuple[Any, ...]:
    """All but the dates."""
    return (*row[:_FROM], row[-1])


def _beginning(row: tuple[Any, ...], since_us: int) -> tuple[Any, ...]:
    return (*row[:_FROM], since_us, row[_TO], row[-1])


def _ending(row: tuple[Any, ...], since_us: int) -> tuple[Any, ...]:
    return (*row[:_TO], since_us, row[-1])
