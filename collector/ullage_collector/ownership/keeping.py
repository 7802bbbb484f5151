"""A source's departments into the store: what changed gets a known_to, what is new a known_from; nothing is erased.

A tree is one statement: where it does not hold together, nothing of it is taken.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa

from ullage_collector.organisation import OWN_IDS, Department, Tree, trouble
from ullage_collector.ownership.history import same, since, stated
from ullage_collector.ownership.reading import organisation
from ullage_collector.sql import fill, statements
from ullage_collector.store import incoming
from ullage_collector.store.store import naive_utc
from ullage_contract.errors import BadInput

if TYPE_CHECKING:
    from ullage_collector.store.store import Store

log = logging.getLogger(__name__)

LISTED: Final = 20
MOST: Final = 100_000  # our choice: because no company has more departments, and a wrong query may have
_FIELDS: Final = (
    "department_id",
    "name",
    "parent_id",
    "owner",
    "deputy",
    "cost_center",
    "source_key",
    "valid_from_us",
    "valid_to_us",
)
_TEXTS: Final = _FIELDS[:7]
_COLUMNS: Final[Mapping[str, pa.DataType]] = {
    **dict.fromkeys(_TEXTS, pa.string()),
    "valid_from": incoming.TIMESTAMP,
    "valid_to": incoming.TIMESTAMP,
    "source": pa.string(),
}
_KEYS: Final[Mapping[str, pa.DataType]] = {
    "department_id": pa.string(),
    "valid_from": incoming.TIMESTAMP,
    "known_from": incoming.TIMESTAMP,
    "source": pa.string(),
}


@dataclass(frozen=True, slots=True)
class Said:
    """What one source says. rows: (where it stands, the department). source: its name, e.g. ``hr.csv``.

    whole: the rows are its whole history, with dates; else they hold from ``from_us`` on (None: from now, the first
    time since always). one_root: two departments without a parent are an error.
    """

    rows: Sequence[tuple[str, Department]]
    source: str
    whole: bool
    from_us: int | None = None
    one_root: bool = True

    def to_json(self) -> dict[str, Any]:
        return {
            "source": self.source,
            "whole": self.whole,
            "from_us": self.from_us,
            "one_root": self.one_root,
            "rows": [[where, *(getattr(row, name) for name in _FIELDS)] for where, row in self.rows],
        }


def said_of(document: Mapping[str, Any]) -> Said:
    """The same from its JSON. Raises BadInput for a document that is none."""
    try:
        rows = []
        for where, *values in document["rows"]:
            texts = {n: None if v is None else str(v) for n, v in zip(_TEXTS, values[:7], strict=True)}
            begins, ends = values[7:]
            rows.append(
                (
                    str(where),
                    Department(
                        **texts,  # type: ignore[arg-type]
                        valid_from_us=int(begins),
                        valid_to_us=None if ends is None else int(ends),
                    ),
                )
            )
        from_us = document.get("from_us")
        return Said(
            rows=rows,
            source=str(document["source"]),
            whole=document["whole"] is True,
            from_us=None if from_us is None else int(from_us),
            one_root=document.get("one_root") is not False,
        )
    except (KeyError, TypeError, ValueError) as e:
        raise BadInput(f"no departments: {e!r}; send what ullage-collector import departments sends") from e


def keep_departments(store: Store, said: Said) -> dict[str, Any]:
    """Believe from now on what a source says. The report as JSON, with the words of every import.

    Raises BadInput where the tree does not hold together, naming the rows; then nothing is changed.
    """
    source = f"import:{said.source}"
    now_us = round(store.clock.wall() * 1e6)
    _check_names(said)
    with store.write() as connection:
        everything = organisation(connection).believed()
        ids = {row.department_id for _, row in said.rows}
        ours = [row for row in everything if row.source == source or row.department_id in ids]
        others = [row for row in everything if row.source != source]
        if said.whole:
            from_us = 0
            wanted = stated([row for _, row in said.rows], source)
            checked = list(zip([where for where, _ in said.rows], wanted, strict=True))
        else:
            known = any(row.source == source for row in everything)
            from_us = said.from_us if said.from_us is not None else (now_us if known else 0)
            wanted = since([row for _, row in said.rows], ours, source, from_us)
            places = {row.department_id: where for where, row in said.rows}
            checked = [
                (places[row.department_id], row)
                for row in wanted
                if row.valid(from_us) and row.source == source
            ]
        parents = [row for row in others if row.department_id not in ids]
        if not said.whole:
            parents = [row for row in parents if row.valid(from_us)]
        wrong = trouble(checked, parents, one_root=said.one_root)
        if wrong:
            raise BadInput(_refusal(said.source, wrong))
        ended, added = _differences(ours, wanted)
        incoming.execute(
            connection,
            fill(statements("ownership")["end_departments"], now=f"make_timestamp({now_us})"),
            incoming.table(_KEYS, [_key(row) for row in ended]),
        )
        incoming.execute(
            connection,
            fill(statements("ownership")["put_departments"], now=f"make_timestamp({now_us})"),
            incoming.table(_COLUMNS, [_row(row) for row in added]),
        )
        connection.execute(
            statements("imports")["put_import"],
            [
                "departments",
                _digest(said, now_us),
                said.source,
                None,
                len(said.rows),
                len(added),
                0,
                naive_utc(now_us / 1e6),
            ],
        )
        tree = organisation(connection).tree(max(from_us, now_us))
    log.info(
        "departments of %s: %d said, %d rows new, %d ended",
        said.source,
        len(said.rows),
        len(added),
        len(ended),
    )
    warnings = _left_alone(tree, others)
    return {
        "kind": "departments",
        "file": said.source,
        "rows_read": len(said.rows),
        "rows_added": len(added),
        "rows_present": len(wanted) - len(added),
        "rows_ended": len(ended),
        "rows_refused": 0,
        "rows_skipped": 0,
        "refusals": [],
        "warnings": warnings[:LISTED],
        "warned": len(warnings),
        "imported_before": not added and not ended,
        "from_us": None if said.whole else from_us,
    }


def _check_names(said: Said) -> None:
    wrong = []
    if not said.rows:
        wrong.append("there is no department in it; an empty answer ends nothing")
    if len(said.rows) > MOST:
        wrong.append(f"{len(said.rows)} departments; at most {MOST}")
    for where, row in said.rows[:MOST]:
        if row.department_id in OWN_IDS:
            wrong.append(f"{where}: id {row.department_id!r} is Ullage's own; choose another")
        if row.valid_to_us is not None and row.valid_to_us <= row.valid_from_us:
            wrong.append(f"{where}: {row.department_id!r} ends before it begins")
    if wrong:
        raise BadInput(_refusal(said.source, wrong))


def _refusal(source: str, wrong: Sequence[str]) -> str:
    more = f"; and {len(wrong) - LISTED} more" if len(wrong) > LISTED else ""
    return f"{source}: the organisation does not hold together, nothing was changed: {'; '.join(wrong[:LISTED])}{more}"


def _differences(
    believed: Sequence[Department], wanted: Sequence[Department]
) -> tuple[list[Department], list[Department]]:
    """Rows to end and rows to add, so that what is wanted is what is believed."""

    def written(row: Department) -> tuple[Department, int, int | None]:
        plain = Department(**{n: getattr(row, n) for n in _TEXTS}, source=row.source)
        return plain, row.valid_from_us, row.valid_to_us

    here, there = {written(row) for row in believed}, {written(row) for row in wanted}
    return (
        [row for row in believed if written(row) not in there],
        [row for row in wanted if written(row) not in here],
    )


def _left_alone(tree: Tree, others: Sequence[Department]) -> list[str]:
    """Departments of other sources whose parent is not there any more."""
    return [
        f"{row.department_id!r} of {row.source or 'an earlier import'}: its parent {row.parent_id!r} is not in the organisation"
        for row in others
        if tree.departments.get(row.department_id) is not None
        and same(tree.departments[row.department_id], row)
        and row.parent_id is not None
        and row.parent_id not in tree.departments
    ]


def _digest(said: Said, now_us: int) -> str:
    rows = [[where, asdict(row)] for where, row in said.rows]
    return hashlib.sha256(json.dumps([said.source, said.from_us, now_us, rows]).encode()).hexdigest()


def _row(row: Department) -> tuple[Any, ...]:
    return (*(getattr(row, name) for name in _FIELDS), row.source)


def _key(row: Department) -> tuple[Any, ...]:
    return (row.department_id, row.valid_from_us, row.known_from_us, row.source)
