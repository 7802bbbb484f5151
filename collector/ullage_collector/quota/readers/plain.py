"""A plain file: TOML with ``[[quota]]`` tables, or CSV with the same names as columns. It carries its own dates.

    [[quota]]
    tree = "company"        # default: the file's name
    name = "rd/nlp"
    parent = "rd"
    pool = "train"          # default: '*', cards of every pool
    model = "*H800*"        # glob; vendor likewise; default: every one
    min = 16                # cards; 0.5 is half a card
    max = 24
    lend = 8                # most of min that others may use; default: all
    weight = 2
    owner = "Li Lei"
    department = "rd/nlp"   # work of this department and below counts here
    binds = ["k8s=team-a", "slurm=nlp & partition=h800"]   # in CSV joined by ';'
    cluster = "dc1"         # whose work; default: any
    resource = "card_shares"   # default: cards
    from = "2026-10-01T00:00:00+08:00"
    to = "2027-01-01T00:00:00+08:00"

Pools of the same file form: ``[[pool]]`` with name, match (a text or a list of texts, any of which holds) or cards (a list
of card ids), priority, set, from, to.
"""

from __future__ import annotations

import csv
import io
import tomllib
from collections.abc import Iterator, Mapping
from decimal import Decimal, InvalidOperation, Overflow
from math import inf
from pathlib import PurePath
from typing import Any, Final

from ullage_collector.imports.expression import instant_us
from ullage_collector.quota.conditions import parse
from ullage_collector.quota.entry import ANY_POOL, NO_POOL, RESOURCES, QuotaEntry, Reading, Scope
from ullage_collector.quota.pools import DEFAULT_SET, RULE_KINDS, PoolRule
from ullage_collector.quota.readers.objects import Given
from ullage_collector.quota.resources import NANO
from ullage_contract.errors import BadInput, ConfigError

QUOTA_COLUMNS: Final = (
    *(
        "tree",
        "name",
        "parent",
        "pool",
        "resource",
        "vendor",
        "model",
        "min",
        "max",
        "lend",
        "weight",
        "owner",
    ),
    *("department", "binds", "cluster", "from", "to"),
)
POOL_COLUMNS: Final = ("name", "match", "cards", "priority", "set", "from", "to")


def read(text: str, given: Given) -> Reading:
    """The quotas of a file. Raises BadInput for a file that is neither TOML with [[quota]] nor CSV."""
    entries, refused, rows = [], [], 0
    for number, row in _rows(text, "quota", QUOTA_COLUMNS, given):
        rows += 1
        try:
            entries.append(_quota(row, given))
        except (BadInput, ConfigError) as e:
            refused.append((number, str(e)))
    return Reading(tuple(entries), rows, tuple(refused))


def read_pools(text: str, given: Given) -> tuple[list[PoolRule], int, list[tuple[int, str]]]:
    """The pool rules of a file (rule_id 0), the rows read, and what was refused. Raises BadInput as ``read``."""
    rules: list[PoolRule] = []
    refused: list[tuple[int, str]] = []
    rows = 0
    for number, row in _rows(text, "pool", POOL_COLUMNS, given):
        rows += 1
        try:
            rules += _pool(row)
        except (BadInput, ConfigError) as e:
            refused.append((number, str(e)))
    return rules, rows, refused


def _rows(
    text: str, table: str, columns: tuple[str, ...], given: Given
) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """Rows by number from 1, each with known names only."""
    if given.name.endswith(".csv"):
        reader = csv.DictReader(io.StringIO(text, newline=""))
        names = [str(name).strip() for name in reader.fieldnames or ()]
        if "name" not in names:
            raise BadInput(f"{given.name}: no column name; columns are {', '.join(columns)}")
        for name in names:
            if name not in columns:
                raise BadInput(
                    f"{given.name}: column {name[:40]!r} is not known; known: {', '.join(columns)}"
                )
        reader.fieldnames = names
        for number, row in enumerate(reader, 1):
            yield (
                number,
                {name: value for name, value in row.items() if name is not None and value not in (None, "")},
            )
        return
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as e:
        raise BadInput(f"{given.name} is no TOML: {e}") from None
    for name in document:
        if name not in ("quota", "pool", "schema_version"):
            raise BadInput(f"{given.name}: {name[:40]!r} is neither [[quota]] nor [[pool]]")
    tables = document.get(table, [])
    if not isinstance(tables, list) or not all(isinstance(each, dict) for each in tables):
        raise BadInput(f"{given.name}: write each {table} as a table [[{table}]]")
    yield from enumerate(tables, 1)


def _quota(row: Mapping[str, Any], given: Given) -> QuotaEntry:
    _only(row, QUOTA_COLUMNS)
    starts, ends = _dates(row)
    resource = _text(row, "resource") or "cards"
    if resource not in RESOURCES:
        raise BadInput(f"resource {resource[:30]!r} is none of {', '.join(RESOURCES)}")
    binds = row.get("binds", [])
    if isinstance(binds, str):
        binds = [each.strip() for each in binds.split(";") if each.strip()]
    if not isinstance(binds, list) or not all(isinstance(each, str) for each in binds):
        raise BadInput("binds: write a list of conditions, in CSV joined by ';'")
    low, high, lend = (_cards(row, name) for name in ("min", "max", "lend"))
    if lend is not None and low is None:
        raise BadInput("lend without min: there is nothing to lend")
    entry = QuotaEntry(
        tree=_text(row, "tree") or PurePath(given.name).stem,
        quota=_needed(row, "name"),
        parent=_text(row, "parent"),
        cluster=_text(row, "cluster") or given.cluster,
        scope=Scope(
            _text(row, "pool") or given.pool,
            resource,
            (_text(row, "vendor") or "").lower(),
            _text(row, "model") or "",
        ),
        min_nano=low,
        max_nano=high,
        lend_nano=lend,
        weight=_weight(row),
        owner=_text(row, "owner"),
        department=_text(row, "department"),
        binds=tuple(binds),
        from_us=starts,
        to_us=ends,
    )
    if entry.parent == entry.quota:
        raise BadInput(f"{entry.quota} is its own parent")
    entry.conditions()
    return entry


def _pool(row: Mapping[str, Any]) -> list[PoolRule]:
    _only(row, POOL_COLUMNS)
    name = _needed(row, "name")
    if name in (ANY_POOL, NO_POOL):
        raise BadInput(f"name {name!r} is Ullage's own; choose another")
    starts, ends = _dates(row)
    given = row.get("match", [])
    matches = [given] if isinstance(given, str) else given
    cards = row.get("cards", [])
    if isinstance(cards, str):
        cards = cards.split()
    if not (isinstance(matches, list) and isinstance(cards, list)):
        raise BadInput("match and cards: write a text or a list of texts")
    texts = [str(each) for each in matches] + [f"card={each}" for each in cards]
    if not texts:
        raise BadInput(f"pool {name}: neither match nor cards says which cards are in it")
    for text in texts:
        parse(text, RULE_KINDS)
    try:
        priority = int(str(row.get("priority", 0)))
    except ValueError:
        priority = 2**31
    if not -(2**31) <= priority < 2**31:
        raise BadInput(f"priority {str(row.get('priority'))[:20]!r} is no whole number of 32 bits")
    pool_set = _text(row, "set") or DEFAULT_SET
    return [PoolRule(0, pool_set, name, text, priority, starts, ends) for text in texts]


def _only(row: Mapping[str, Any], names: tuple[str, ...]) -> None:
    for name in row:
        if name not in names:
            raise BadInput(f"{str(name)[:40]!r} is not known here; known: {', '.join(names)}")


def _text(row: Mapping[str, Any], name: str) -> str | None:
    value = row.get(name)
    return None if value is None or str(value).strip() == "" else str(value).strip()


def _needed(row: Mapping[str, Any], name: str) -> str:
    value = _text(row, name)
    if value is None:
        raise BadInput(f"no {name}")
    return value


def _cards(row: Mapping[str, Any], name: str) -> int | None:
    text = _text(row, name)
    if text is None:
        return None
    try:
        found = Decimal(text) * NANO
    except (InvalidOperation, Overflow):
        found = Decimal(-1)
    if not found.is_finite() or not 0 <= found < 2**63 or found != int(found):
        raise BadInput(f"{name} {text[:30]!r} is no number of cards; write 16 or 0.5")
    return int(found)


def _weight(row: Mapping[str, Any]) -> float | None:
    text = _text(row, "weight")
    if text is None:
        return None
    try:
        found = float(Decimal(text))
    except (InvalidOperation, OverflowError):
        found = -1.0
    if not 0 <= found < inf:
        raise BadInput(f"weight {text[:20]!r} is no number of at least 0")
    return found


def _dates(row: Mapping[str, Any]) -> tuple[int, int | None]:
    starts, ends = (None if row.get(n) in (None, "") else instant_us(row[n], n) for n in ("from", "to"))
    begin = 0 if starts is None else starts
    if ends is not None and ends <= begin:
        raise BadInput("it ends before it begins")
    return begin, ends
