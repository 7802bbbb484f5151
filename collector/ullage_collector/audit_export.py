"""The audit as a file that shows an edit or a gap: each row carries the hash of all rows up to it.

The chain begins with the first row ever written, so that exports of two periods hang together, and a row that was changed,
removed or put in later changes every hash after it: two exports then disagree. It is worked out at export, not kept.
``verify`` needs the file alone. Not here: writing the audit (audit.py).
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC
from typing import TYPE_CHECKING, Any, Final

from ullage_collector.audit import naive_utc
from ullage_collector.sql import statements
from ullage_contract.errors import BadInput
from ullage_contract.instants import iso, within

if TYPE_CHECKING:
    import duckdb

GENESIS: Final = "0" * 64
COLUMNS: Final = (
    "audit_id",
    "time",
    "actor",
    "action",
    "subject",
    "reason",
    "evidence",
    "command",
    "result",
    "undo",
)
PAGE_ROWS: Final = 5_000  # our choice: because a page is some megabytes


@dataclass(frozen=True, slots=True)
class Page:
    """Some rows. after, chain: where the next page begins. more: there is one."""

    rows: tuple[dict[str, Any], ...]
    after: int
    chain: str
    more: bool


@dataclass(frozen=True, slots=True)
class Verified:
    """What a file says of itself. rows; wrong: audit_ids whose hash is not that of their content; gaps: pairs of audit_ids
    between which rows are missing (of a filtered export they are expected)."""

    rows: int
    wrong: tuple[int, ...]
    gaps: tuple[tuple[int, int], ...]


def page(
    cursor: duckdb.DuckDBPyConnection,
    *,
    after: int = 0,
    chain: str = GENESIS,
    begin: float | None = None,
    end: float | None = None,
    subject: str | None = None,
    most: int = PAGE_ROWS,
) -> Page:
    """Up to ``most`` rows behind ``after``, those of [begin, end) and the subject given out, all of them in the chain."""
    found = cursor.execute(statements("audit_export")["rows"], [after, most + 1]).fetchall()
    low = None if begin is None else naive_utc(begin)
    high = None if end is None else naive_utc(end)
    rows = []
    for row in found[:most]:
        content = dict(zip(COLUMNS, row, strict=True))
        at = content["time"]
        content["time"] = f"{at.isoformat(timespec='microseconds')}Z"
        before, chain, after = chain, hashed(chain, content), int(content["audit_id"])
        if (
            (low is None or at >= low)
            and (high is None or at < high)
            and subject in (None, content["subject"])
        ):
            rows.append({**content, "previous": before, "chain": chain})
    return Page(tuple(rows), after, chain, len(found) > most)


def hashed(previous: str, content: Mapping[str, Any]) -> str:
    """SHA-256 over the chain so far and the row as canonical JSON: sorted keys, no spaces, UTF-8."""
    plain = {name: content[name] for name in COLUMNS}
    text = json.dumps(plain, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(previous.encode() + text.encode()).hexdigest()


def as_jsonl(rows: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """A row a line."""
    for row in rows:
        yield json.dumps(row, ensure_ascii=False)


def as_csv(rows: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """A head, then a row a line. A text a spreadsheet would take for a formula gets an apostrophe: verify the JSON lines."""
    names = (*COLUMNS, "previous", "chain")
    for values in (names, *([_cell(row[name]) for name in names] for row in rows)):
        line = io.StringIO()
        csv.writer(line, lineterminator="").writerow(values)
        yield line.getvalue()


def verify(lines: Iterable[str]) -> Verified:
    """Check an export in JSON lines by itself. Raises BadInput naming the line that is no row of one."""
    wrong, gaps = [], []
    last: tuple[int, str] | None = None
    count = 0
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            right = hashed(str(row["previous"]), row) == row["chain"]
            audit_id = int(row["audit_id"])
        except (ValueError, KeyError, TypeError) as e:
            raise BadInput(f"line {number} is no row of an audit export: {type(e).__name__}") from e
        count += 1
        if not right:
            wrong.append(audit_id)
        if last is not None and row["previous"] != last[1]:
            gaps.append((last[0], audit_id))
        last = (audit_id, str(row["chain"]))
    return Verified(count, tuple(wrong), tuple(gaps))


def instant(text: str, name: str) -> float:
    """A day (its UTC midnight), or ISO 8601; without an offset UTC. Raises BadInput."""
    try:
        found = iso(text)
    except ValueError as e:
        raise BadInput(
            f"{name}: {text[:40]!r} is no time, e.g. 2026-11-01 or 2026-11-01T00:00:00+08:00"
        ) from e
    return within(found if found.tzinfo else found.replace(tzinfo=UTC), name, text).timestamp()


def _cell(value: Any) -> Any:
    return f"'{value}" if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r") else value
