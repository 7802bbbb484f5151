"""Departments out of rows of any source, by a map: CSV, JSON lines, a JSON answer, LDAP entries.

    [departments]
    id = "{path}"                  # what mapping rules and ledger lines say; or step, see below
    name = "{title|}"
    parent = "{above|}"            # an id; left out: what stands before the id's last slash
    owner = "{head|}"              # deputy and cost_center alike
    key = "{uuid|}"                # the source's stable id
    from = "since"                 # a column; with to. Without both the rows are the present
    zone = "Asia/Shanghai"         # of times without one
    roots = "one"                  # or many

Where a source has no paths, ``key``, ``parent_key`` and ``step`` make them: each department adds its step to its
parent's path. Not here: fetching (fetch_json.py, fetch_ldap.py) and believing it (ownership/keeping.py).
"""

from __future__ import annotations

import csv
import io
import json
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final
from zoneinfo import ZoneInfo

from ullage_collector.imports.expression import Template
from ullage_collector.organisation import Department
from ullage_contract.errors import BadInput, ConfigError
from ullage_contract.instants import iso
from ullage_contract.settings import Table

MAX_FILE_BYTES: Final = (
    64 * 1024 * 1024
)  # our choice: because a hundred thousand departments are a third of it
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_OPTIONAL: Final = ("name", "parent", "owner", "deputy", "cost_center", "key", "parent_key")

Row = tuple[str, Mapping[str, str]]
"""Where a row stands, for messages, and its columns; an empty text is missing."""


@dataclass(frozen=True, slots=True)
class DepartmentMap:
    """[departments] of a map. id None: ids are paths made of ``step``. starts, ends: columns; both None: rows are undated.

    text: the file as it stands. rest: its other tables, for whoever fetches.
    """

    name: str
    text: str
    id: Template | None
    step: Template | None
    fields: Mapping[str, Template]
    starts: str | None
    ends: str | None
    zone: str
    one_root: bool
    encoding: str
    delimiter: str
    rest: Mapping[str, Table]


_OWN: Final = """[departments]
id = "{id}"
name = "{name|}"
parent = "{parent|}"
owner = "{owner|}"
deputy = "{deputy|}"
cost_center = "{cost_center|}"
key = "{key|}"
from = "from"
to = "to"
"""
"""Ullage's own column names, used when no map is named."""


def load(path: str | None) -> DepartmentMap:
    """The map in a file; None: that of Ullage's own column names. Raises ConfigError naming file and key."""
    if path is None:
        return parse(_OWN, "ullage")
    try:
        return parse(Path(path).read_text(encoding="utf-8"), Path(path).name)
    except (OSError, UnicodeDecodeError) as e:
        raise ConfigError(f"{path}: cannot be read: {e}") from e


def parse(text: str, name: str) -> DepartmentMap:
    """The map in a TOML text. Raises ConfigError."""
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as e:
        raise ConfigError(f"{name}: not TOML: {e}") from e
    top = Table(document, name, "")
    table, file = top.table("departments"), top.table("file")
    rest = {word: top.table(word) for word in ("http", "ldap")}
    top.finish()
    found = DepartmentMap(
        name=name,
        text=text,
        id=_template(table, "id"),
        step=_template(table, "step"),
        fields={word: template for word in _OPTIONAL if (template := _template(table, word)) is not None},
        starts=table.text("from"),
        ends=table.text("to"),
        zone=table.text("zone", "UTC") or "UTC",
        one_root=table.word("roots", "one", ("one", "many")) == "one",
        encoding=file.text("encoding", "utf-8-sig") or "utf-8-sig",
        delimiter=file.text("delimiter", ",") or ",",
        rest=rest,
    )
    table.finish()
    file.finish()
    if (found.id is None) == (found.step is None):
        raise table.wrong(
            "id", None, 'write id = "{path}", or key, parent_key and step where the source has no paths'
        )
    if found.step is not None and not {"key", "parent_key"} <= found.fields.keys():
        raise table.wrong(
            "step", found.step.text, "a step needs key and parent_key, to know whose path it goes on"
        )
    if found.starts and "parent_key" in found.fields:
        raise table.wrong(
            "from", found.starts, "rows with dates need id and parent: a parent_key has no time"
        )
    try:
        ZoneInfo(found.zone)
    except (KeyError, ValueError, OSError):
        raise table.wrong("zone", found.zone, 'write an IANA zone, e.g. "Asia/Shanghai"') from None
    try:
        "".encode(found.encoding)
    except LookupError:
        raise file.wrong("encoding", found.encoding, "write a codec's name, e.g. gb18030") from None
    return found


def _template(table: Table, key: str) -> Template | None:
    text = table.text(key)
    if text is None:
        return None
    template = Template(text)
    rest = text.replace("{{", "").replace("}}", "")
    if rest.count("{") != rest.count("}") or any(not name for name in template.names()):
        raise table.wrong(key, text, 'write columns in braces: "{code}"; a brace itself is {{ or }}')
    return template


# ------------------------------------------------------------------------------- rows
def rows_of(path: Path, spec: DepartmentMap) -> Iterator[Row]:
    """The rows of a CSV, TSV or JSON-lines file. Raises BadInput when it cannot be read."""
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise BadInput(f"{path.name} has more than {MAX_FILE_BYTES >> 20} MiB")
        text = path.read_text(encoding=spec.encoding)
    except OSError as e:
        raise BadInput(f"{path}: cannot be read: {e.strerror}") from e
    except UnicodeDecodeError as e:
        raise BadInput(
            f"{path.name} is not {spec.encoding}: {e.reason}; say [file] encoding in the map"
        ) from e
    if path.suffix.lower() in (".jsonl", ".ndjson", ".json"):
        yield from _json_lines(path, text)
        return
    delimiter = "\t" if path.suffix.lower() == ".tsv" else spec.delimiter
    reader = csv.DictReader(io.StringIO(text), delimiter=delimiter, strict=True)
    if len(delimiter) != 1:
        raise ConfigError(f"{spec.name}: [file] delimiter = {delimiter!r}: write one character")
    try:
        for number, row in enumerate(reader, 1):
            if None in row or None in row.values():
                raise BadInput(f"{path.name}: row {number} has not as many fields as the header")
            yield f"row {number}", {str(k).strip(): str(v).strip() for k, v in row.items()}
    except csv.Error as e:
        raise BadInput(f"{path.name}: line {reader.line_num} cannot be read: {e}") from e


def _json_lines(path: Path, text: str) -> Iterator[Row]:
    try:
        whole = json.loads(text)
    except ValueError:
        whole = None
    if isinstance(whole, list):
        yield from json_rows(whole)
        return
    for number, line in enumerate(text.splitlines(), 1):
        if line.strip():
            try:
                row = json.loads(line)
            except ValueError as e:
                raise BadInput(f"{path.name}: line {number} is no JSON: {e}") from e
            yield from json_rows([row], first=number)


def json_rows(rows: Sequence[Any], first: int = 1) -> Iterator[Row]:
    """JSON objects as rows; a member within another is named with a dot: ``{head.mail}``. Raises BadInput."""
    for number, row in enumerate(rows, first):
        if not isinstance(row, dict):
            raise BadInput(f"row {number} is no JSON object")
        yield f"row {number}", dict(_flat(row, ""))


def _flat(row: Mapping[str, Any], before: str) -> Iterator[tuple[str, str]]:
    for key, value in row.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{before}{key}.")
        elif value is not None and not isinstance(value, list):
            yield f"{before}{key}", str(value)


# ------------------------------------------------------------------------------- departments
def departments_of(rows: Iterable[Row], spec: DepartmentMap) -> tuple[list[tuple[str, Department]], bool]:
    """What the rows say, each with where it stands; and whether they are a whole history (some row has a date).

    Raises BadInput naming every row (the first twenty) that cannot be understood.
    """
    found: list[tuple[str, Department]] = []
    steps: dict[str, tuple[str, str]] = {}
    wrong: list[str] = []
    dated = False
    for where, row in rows:
        try:
            each, step, parent_key = _understood(row, spec)
        except BadInput as e:
            wrong.append(f"{where}: {e}")
            continue
        dated = dated or each.valid_from_us > 0 or each.valid_to_us is not None
        found.append((where, each))
        if each.source_key is not None and "parent_key" in spec.fields:
            if each.source_key in steps:
                wrong.append(f"{where}: key {each.source_key!r} twice")
            steps[each.source_key] = (step or "", parent_key or "")
    if "parent_key" in spec.fields:
        found = _with_paths(found, steps, spec, wrong)
    if wrong:
        more = f"; and {len(wrong) - 20} more" if len(wrong) > 20 else ""
        raise BadInput(f"the organisation cannot be read, nothing was changed: {'; '.join(wrong[:20])}{more}")
    return found, dated


def _understood(row: Mapping[str, str], spec: DepartmentMap) -> tuple[Department, str | None, str | None]:
    """A row as a department (its id still empty where paths are made), its step and its parent's key."""
    said = {name: template.fill(row) for name, template in spec.fields.items()}
    for word, template in (("id", spec.id), ("step", spec.step)):
        if template is not None and template.fill(row) is None:
            raise BadInput(f"no {word}: {', '.join(n for n in template.names())} is empty or not there")
    if spec.step is not None and said["key"] is None:
        raise BadInput("no key")
    name = spec.id.fill(row) if spec.id is not None else ""
    step = spec.step.fill(row) if spec.step is not None else None
    if step is not None and "/" in step:
        raise BadInput(f"step {step[:60]!r} has a slash in it; it is one level of a path")
    identity = name or ""
    if identity.startswith("/") or identity.endswith("/") or "//" in identity or len(identity) > 400:
        raise BadInput(f"id {identity[:60]!r} is no path; write it as rd/nlp, at most 400 characters")
    begins = _time(row, spec.starts, spec.zone)
    ends = _time(row, spec.ends, spec.zone)
    parent = said.get("parent") or identity.rpartition("/")[0] or None
    each = Department(
        department_id=identity,
        name=said.get("name") or step or identity.rpartition("/")[2],
        parent_id=parent,
        owner=said.get("owner"),
        deputy=said.get("deputy"),
        cost_center=said.get("cost_center"),
        source_key=said.get("key"),
        valid_from_us=begins or 0,
        valid_to_us=ends,
    )
    return each, step, said.get("parent_key")


def _time(row: Mapping[str, str], column: str | None, zone: str) -> int | None:
    text = row.get(column, "") if column else ""
    if not text:
        return None
    try:
        found = iso(text)
    except ValueError as e:
        raise BadInput(
            f"{column} {text[:40]!r} is no time, e.g. 2026-10-01 or 2026-10-01T00:00:00+08:00"
        ) from e
    aware = found if found.tzinfo else found.replace(tzinfo=ZoneInfo(zone))
    return (aware - _EPOCH) // timedelta(microseconds=1)


def _with_paths(
    found: Sequence[tuple[str, Department]],
    steps: Mapping[str, tuple[str, str]],
    spec: DepartmentMap,
    wrong: list[str],
) -> list[tuple[str, Department]]:
    """Parents by their keys, and ids as paths of steps where the source has none."""
    ids = {each.source_key: each.department_id for _, each in found}
    made: list[tuple[str, Department]] = []
    for where, each in found:
        if each.source_key is None:
            wrong.append(f"{where}: no key")
            continue
        trail, at = [each.source_key], steps[each.source_key][1]
        while at and at in steps and at not in trail:
            trail.append(at)
            at = steps[at][1]
        if at in trail:
            wrong.append(f"{where}: a circle of parents: {' below '.join([*trail, at])}")
            continue
        above = steps[each.source_key][1]
        if above and above not in steps:
            wrong.append(f"{where}: the parent {above!r} of {each.source_key!r} is not there")
            continue
        if spec.step is None:
            parent = ids[above] if above else None
            made.append((where, replace(each, parent_id=parent)))
            continue
        path = [steps[key][0] for key in reversed(trail)]
        made.append(
            (where, replace(each, department_id="/".join(path), parent_id="/".join(path[:-1]) or None))
        )
    return made
