"""Slurm: associations (``sacctmgr -P show assoc``) and QOS (``sacctmgr -P show qos``), with their TRES limits.

GrpTRES is a ceiling, no promise: it is the max, and min is stated by nobody, unless the file is imported as guaranteed.
GrpTRESMins is a budget of card-minutes and MaxTRES the most one job may have: both are kept as attributes. Fairshare is
the weight. ``gres/gpu`` limits cards of all types, ``gres/gpu:h200`` those of one as well.
The tree of accounts is told by a column ParentName, or by the indentation of ``show assoc tree``; the plain output has
neither. Source: sacctmgr(1), and the output of Slurm 22.05.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

from ullage_collector.quota.entry import QuotaEntry, Reading, Scope
from ullage_collector.quota.readers.objects import Given, Notes
from ullage_collector.quota.resources import counted, nanos, quantity
from ullage_contract.errors import BadInput

NO_VALUE = ("", "-1", "4294967295", "parent")


def read(text: str, given: Given) -> Reading:
    """Entries of associations, or of QOS: the header says which. Raises BadInput for anything else."""
    lines = [line.rstrip("\r\n") for line in text.splitlines() if line.strip()]
    if not lines:
        raise BadInput("the file is empty: sacctmgr -P show assoc tree")
    header = [column.replace(" ", "") for column in lines[0].split("|")]
    if "Account" in header and "Cluster" in header:
        return _associations(header, lines[1:], given)
    if "Name" in header and "GrpTRES" in header:
        return _qos(header, lines[1:], given)
    raise BadInput(
        f"the first line {lines[0][:60]!r} is no header of sacctmgr -P show assoc or show qos (leave -n out)"
    )


def _rows(header: list[str], lines: list[str], notes: Notes) -> Iterator[tuple[int, dict[str, str]]]:
    for number, line in enumerate(lines, 1):
        values = line.split("|")
        if len(values) == len(header) + 1 and not values[-1]:
            values.pop()  # -p ends each line with a bar, -P does not
        if len(values) != len(header):
            notes.refused.append((number, f"{len(values)} columns, the header has {len(header)}"))
            continue
        yield number, dict(zip(header, values, strict=True))


def _associations(header: list[str], lines: list[str], given: Given) -> Reading:
    notes = Notes()
    entries: list[QuotaEntry] = []
    rows = list(_rows(header, lines, notes))
    by_parent = "ParentName" in header
    indented = not by_parent and any(row["Account"].startswith(" ") for _, row in rows)
    if not by_parent and not indented and len({row["Account"] for _, row in rows}) > 2:
        notes.said[
            "nothing tells which account is below which: all stand below root; write sacctmgr -P show assoc tree"
        ] = None
    above: dict[tuple[str, int], str] = {}
    for number, row in rows:
        cluster, written = row["Cluster"], row["Account"]
        account, user, partition = (
            written.strip(),
            row.get("User", "").strip(),
            row.get("Partition", "").strip(),
        )
        if not account or not cluster:
            notes.refused.append((number, "no cluster or no account"))
            continue
        depth = len(written) - len(written.lstrip(" "))
        if user:
            parent: str | None = account
        else:
            if by_parent:
                parent = row["ParentName"].strip() or None
            elif indented:
                parent = above.get((cluster, depth - 1))
            else:
                parent = None if account == "root" else "root"
            above[cluster, depth] = account
        name = "/".join(part for part in (account, user) if part) + (f"@{partition}" if partition else "")
        binds = " & ".join(
            f"{kind}={value}"
            for kind, value in (("slurm", account), ("user", user), ("partition", partition))
            if value
        )
        plain = QuotaEntry(
            tree=f"slurm/{cluster}",
            quota=name,
            parent=None if parent == name else parent,
            cluster=cluster,
            weight=_share(row.get("Share", row.get("Fairshare", ""))),
            binds=(binds,),
        )
        try:
            entries += _limited(plain, row, ("GrpTRES",), ("MaxTRES", "MaxTRESPerJob"), given)
        except BadInput as e:
            notes.refused.append((number, f"{name}: {e}"))
            entries.append(plain)
    # a user without limits of its own would only make the tree long
    kept = [e for e in entries if e.limited or "/" not in e.quota]
    return Reading(tuple(kept), len(rows), tuple(notes.refused), tuple(notes.said))


def _qos(header: list[str], lines: list[str], given: Given) -> Reading:
    notes = Notes()
    entries: list[QuotaEntry] = []
    rows = list(_rows(header, lines, notes))
    for number, row in rows:
        name = row["Name"].strip()
        plain = QuotaEntry(
            tree=f"slurm-qos/{given.cluster}" if given.cluster else "slurm-qos",
            quota=name,
            cluster=given.cluster,
            binds=(f"qos={name}",),
        )
        try:
            found = _limited(plain, row, ("GrpTRES",), ("MaxTRES", "MaxTRESPerJob"), given)
            each = {
                word: _tres(row.get(column, ""), column)
                for word, column in (("max_a_user", "MaxTRESPU"), ("max_an_account", "MaxTRESPA"))
            }
        except BadInput as e:
            notes.refused.append((number, f"{name}: {e}"))
            continue
        for entry in found:
            more = {f"{word}_nano": nano[entry.scope] for word, nano in each.items() if entry.scope in nano}
            entries.append(replace(entry, attributes={**entry.attributes, **more}))
    return Reading(tuple(entries), len(rows), tuple(notes.refused), tuple(notes.said))


def _limited(
    plain: QuotaEntry,
    row: Mapping[str, str],
    group: tuple[str, ...],
    job: tuple[str, ...],
    given: Given,
) -> list[QuotaEntry]:
    limits = _tres(next((row[c] for c in group if c in row), ""), "GrpTRES")
    jobs = _tres(next((row[c] for c in job if c in row), ""), "MaxTRES")
    minutes = _minutes(row.get("GrpTRESMins", ""))
    found = []
    for scope in sorted({*limits, *jobs, *minutes}):
        attributes: dict[str, str | int] = {}
        if scope in jobs:
            attributes["max_a_job_nano"] = jobs[scope]
        if scope in minutes:
            attributes["budget_card_minutes"] = minutes[scope]
        high = limits.get(scope)
        found.append(
            replace(
                plain,
                scope=Scope(given.pool, scope.resource, scope.vendor, scope.model),
                min_nano=high if given.guaranteed else None,
                max_nano=high,
                attributes=attributes,
            )
        )
    return found or [plain]


def _pairs(text: str, what: str) -> Iterator[tuple[str, str]]:
    for part in text.split(","):
        if not part.strip():
            continue
        name, equals, value = part.strip().rpartition("=")
        if not equals:
            raise BadInput(f"{what}: {part[:40]!r} is no NAME=NUMBER")
        yield name, value


def _tres(text: str, what: str) -> dict[Scope, int]:
    found: dict[Scope, int] = {}
    for name, value in _pairs(text, what):
        if value in NO_VALUE:
            continue
        unit = counted(name)
        if unit is not None:
            found[Scope(resource=unit.resource, vendor=unit.vendor or "", model=unit.model or "")] = nanos(
                value, unit, f"{what} {name}"
            )
    return found


def _minutes(text: str) -> dict[Scope, int]:
    found: dict[Scope, int] = {}
    for name, value in _pairs(text, "GrpTRESMins"):
        if value in NO_VALUE:
            continue
        unit = counted(name)
        if unit is not None:
            scope = Scope(resource=unit.resource, vendor=unit.vendor or "", model=unit.model or "")
            minutes = quantity(value, f"GrpTRESMins {name}")
            if minutes >= 2**63:
                raise BadInput(f"GrpTRESMins {name}: {value[:40]!r} is no number of minutes")
            found[scope] = int(minutes)
    return found


def _share(text: str) -> float | None:
    return None if text in NO_VALUE or not text.strip().isdecimal() else float(text)
