"""News out of the store's tables: incidents, isolations, the audit, findings, and published days that are late.

Each look compares what is there with what was seen before and gives what is new; what was seen moves in the transaction
that puts the news into the outbox. At the very first look everything that is there counts as seen.
Not here: who is told (settings.py) and the texts.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, Final

from ullage_collector.notify.news import News, dumps, from_json, severity, worse
from ullage_collector.sql import statements
from ullage_contract.event import Severity

if TYPE_CHECKING:
    import duckdb

TABLES: Final = ("incident", "isolation", "audit", "finding")
MOST: Final = 500  # our choice: because more news a second than that are read by nobody; the rest comes next
OVERLAP: Final = 2_000
"""our choice: numbers are drawn before a transaction commits, so that a smaller one may come later than a larger; a
transaction that takes longer than two thousand others does not exist here."""
LATE_SECONDS: Final = 6 * 3600.0
"""our choice: a day is published soon after midnight, and people open yesterday's report at eight in Shanghai."""
LATE_DAYS: Final = 7  # our choice: because who has not had a report for a week knows
AUDIT_EVENTS: Final = (
    # glob over the audit's action -> event, severity
    ("unfreeze*", "unfreeze", Severity.WARNING),
    ("freeze*", "freeze", Severity.CRITICAL),
    ("*approval*", "approval", Severity.WARNING),
    ("*breaker*", "breaker", Severity.CRITICAL),
    ("page*", "page", Severity.CRITICAL),
    ("maintenance*", "maintenance", Severity.WARNING),
)
APPROVAL_WORDS: Final = "waits for approval"
NO_RELEASE: Final = ("failed", "joined")
"""What isolation writes where nothing was given back: its call failed, or another row stands for it."""


@dataclass(frozen=True, slots=True)
class Look:
    """What one look found: ``news`` to tell, ``seen`` to keep with them (source, id, mark, standing, news or None),
    ``positions`` reached. more: there is more than one look takes."""

    news: tuple[News, ...]
    seen: tuple[tuple[str, int, str, bool, str | None], ...]
    positions: Mapping[str, int] = field(default_factory=dict)
    more: bool = False


def look(cursor: duckdb.DuckDBPyConnection, now: float) -> Look:
    """What is new at ``now`` (seconds since the epoch). Reads only."""
    sql = statements("notices")
    positions = {str(source): int(number) for source, number in cursor.execute(sql["positions"]).fetchall()}
    if not positions:
        return _first(cursor, now)
    news: list[News] = []
    seen: list[tuple[str, int, str, bool, str | None]] = []
    reached = dict(positions)
    more = False
    for source, statement, judge in (
        ("incident", "incidents", _incident),
        ("isolation", "isolations", _isolation),
        ("audit", "audits", _audit),
        ("finding", "findings", _finding),
    ):
        rows = _rows(cursor, sql[statement], {"after": positions[source] - OVERLAP, "most": MOST})
        more |= len(rows) == MOST
        for row in rows:
            number = int(row[f"{source}_id"])
            said, standing = judge(row)
            told = said or _kept(row)
            seen.append(
                (
                    source,
                    number,
                    str(row.get("mark") or (said.event if said else "told")),
                    standing,
                    dumps(told) if told and standing else None,
                )
            )
            if said is not None:
                news.append(said)
            reached[source] = max(reached[source], number)
    for said, entry in _reports(cursor, now):
        seen.append(entry)
        if said is not None:
            news.append(said)
    return Look(tuple(news), tuple(seen), reached, more)


def keep(cursor: duckdb.DuckDBPyConnection, found: Look) -> None:
    """Note what was seen. cursor: inside the write that also keeps the notices."""
    sql = statements("notices")
    for entry in found.seen:
        if entry[0] == "audit" and entry[2] == "unfreeze":
            cursor.execute(sql["thaw"])
        cursor.execute(sql["see"], list(entry))
    for source, number in found.positions.items():
        cursor.execute(sql["move_position"], [source, number])
        if source in TABLES:
            cursor.execute(sql["forget"], [source, number - OVERLAP])


def standing(cursor: duckdb.DuckDBPyConnection) -> list[News]:
    """What was told and still is so."""
    return [
        from_json(json.loads(text))
        for (text,) in cursor.execute(statements("notices")["standing"]).fetchall()
    ]


def _first(cursor: duckdb.DuckDBPyConnection, now: float) -> Look:
    """Everything there is, as seen and told to nobody; what is open can still get worse or end."""
    sql = statements("notices")
    highest = cursor.execute(sql["highest"]).fetchall()[0]
    seen: list[tuple[str, int, str, bool, str | None]] = []
    nothing = {"after": 0, "most": 2**31}
    for source, statement in (
        ("incident", "incidents"),
        ("isolation", "isolations"),
        ("finding", "findings"),
    ):
        for row in _rows(cursor, sql[statement], nothing):
            number = int(row[f"{source}_id"])
            is_open = bool(row["standing"])
            if is_open or number > dict(zip(TABLES, highest, strict=True))[source] - OVERLAP:
                seen.append((source, number, str(row["mark"]), is_open, None))
    for row in _rows(cursor, sql["audits"], {"after": int(highest[2]) - OVERLAP, "most": 2**31}):
        seen.append(("audit", int(row["audit_id"]), "told", False, None))
    today = datetime.fromtimestamp(now, UTC).date()
    for back in range(1, LATE_DAYS + 1):
        seen.append(("report", (today - timedelta(days=back)).toordinal(), "told", False, None))
    return Look((), tuple(seen), {**dict(zip(TABLES, map(int, highest), strict=True)), "report": 0})


def _incident(row: Mapping[str, Any]) -> tuple[News | None, bool]:
    standing = bool(row["standing"])
    number, bad = int(row["incident_id"]), severity(row["severity"])
    details = {
        "incident": str(number),
        "cause": _text(row["cause"]),
        "code": _text(row["code"]),
        "action": _text(row["action"]),
        "model": _text(row["model"]),
        "origin": _text(row["origin"]),
        "confirmed": "yes" if row["confirmed"] else "no",
        "by": _text(row["closed_by"]),
    }
    news = News(
        key=f"incident/{number}/opened",
        event="incident_opened",
        about=f"incident/{number}",
        severity=bad,
        family=str(row["family"]),
        subject=str(row["subject"]),
        at_us=_us(row["opened_at"]),
        since_us=_us(row["onset"]),
        cluster=row["cluster_id"],
        node=row["node_id"],
        stands=True,
        kind=_text(row["cause"]),
        details=details,
    )
    if not row["told"]:  # new, or it was none of anybody's business until now
        return (None if row["quiet"] or not standing else news), standing
    if not standing:
        ended = replace(
            news,
            key=f"incident/{number}/ended",
            event="incident_ended",
            at_us=_us(row["closed_at"]),
            ends=True,
            stands=False,
        )
        return ended, False
    before = str(row["seen"]).split("|")
    if worse(bad, severity(before[0])) or before[1:2] != [str(row["action"])]:
        worsened = replace(
            news,
            key=f"incident/{number}/{row['mark']}",
            event="incident_worsened",
            severity_before=severity(before[0]),
        )
        return worsened, True
    return None, True


def _isolation(row: Mapping[str, Any]) -> tuple[News | None, bool]:
    number = int(row["isolation_id"])
    ended = row["released_at"] is not None
    if ended and (row["seen"] is None or row["released_by"] in NO_RELEASE):
        return None, False
    news = News(
        key=f"isolation/{number}/{'released' if ended else 'isolated'}",
        event="released" if ended else "isolated",
        about=f"isolation/{number}",
        severity=Severity.WARNING,
        family=str(row["family"]),
        subject=str(row["subject"]),
        at_us=_us(row["released_at"] if ended else row["isolated_at"]),
        since_us=_us(row["isolated_at"]),
        cluster=row["cluster_id"],
        node=row["node_id"],
        ends=ended,
        stands=not ended,
        details={
            "reason": _text(row["reason"]),
            "actuator": _text(row["actuator"]),
            "by": _text(row["released_by"] if ended else row["requested_by"]),
            "incident": _text(row["incident_id"]),
            "model": _text(row["model"]),
        },
    )
    return news, not ended


def _audit(row: Mapping[str, Any]) -> tuple[News | None, bool]:
    action = str(row["action"])
    known = next((rule for rule in AUDIT_EVENTS if fnmatchcase(action, rule[0])), None)
    if known is None:
        return None, False
    _, event, bad = known
    if event == "page" and APPROVAL_WORDS in f"{row['reason']} {row['result']}":
        event, bad = "approval", Severity.WARNING  # the policy pages for it in these words
    number, subject = int(row["audit_id"]), _text(row["subject"]) or "fleet"
    about = "freeze" if event in ("freeze", "unfreeze") else f"audit/{number}"
    at_us = _us(row["time"])
    return (
        News(
            key=f"audit/{number}",
            event=event,
            about=about,
            severity=bad,
            family="card" if row["node_id"] else "fleet",
            subject=subject,
            at_us=at_us,
            since_us=at_us,
            cluster=row["cluster_id"],
            node=row["node_id"],
            ends=event == "unfreeze",
            stands=event == "freeze",
            details={
                "reason": _text(row["reason"]),
                "by": _text(row["actor"]),
                "action": action,
                "result": _text(row["result"]),
            },
        ),
        event == "freeze",
    )


def _finding(row: Mapping[str, Any]) -> tuple[News | None, bool]:
    number, ended = int(row["finding_id"]), row["until"] is not None
    if ended and row["seen"] is None:
        return None, False
    news = News(
        key=f"finding/{number}/{'ended' if ended else 'opened'}",
        event="finding_ended" if ended else "finding_opened",
        about=f"finding/{number}",
        severity=Severity.WARNING,
        family=str(row["family"]),
        subject=str(row["subject"]),
        at_us=_us(row["until"] if ended else row["since"]),
        since_us=_us(row["since"]),
        cluster=row["cluster_id"],
        node=row["node_id"],
        ends=ended,
        stands=not ended,
        kind=str(row["kind"]),
        details={
            "kind": str(row["kind"]),
            "owner": _text(row["owner"]),
            "action": _text(row["action"]),
            "confidence": f"{row['confidence']:.2f}",
        },
    )
    return news, not ended


def _reports(
    cursor: duckdb.DuckDBPyConnection, now: float
) -> Iterator[tuple[News | None, tuple[str, int, str, bool, str | None]]]:
    """Days of facts that should be out and are not, and late ones that came."""
    sql = statements("notices")
    expected = datetime.fromtimestamp(now - LATE_SECONDS, UTC).date() - timedelta(days=1)
    row = cursor.execute(sql["first_day"]).fetchone()
    late = {int(number): text for number, _, text in cursor.execute(sql["seen_reports"]).fetchall()}
    first = row[0] if row and row[0] is not None else expected + timedelta(days=1)
    begin = max(first, expected - timedelta(days=LATE_DAYS - 1))
    oldest = min([begin, *(date.fromordinal(number) for number in late)])
    out = {found[0] for found in cursor.execute(sql["published_days"], [oldest, expected]).fetchall()}
    for number, text in sorted(late.items()):
        if date.fromordinal(number) in out and text:
            before = from_json(json.loads(text))
            came = replace(
                before,
                key=f"report/{number}/came",
                event="report_came",
                at_us=round(now * 1e6),
                ends=True,
                stands=False,
            )
            yield came, ("report", number, "came", False, None)
    known = {
        int(number) for (number,) in cursor.execute(sql["known_reports"], [begin.toordinal()]).fetchall()
    }
    day = begin
    while day <= expected:
        number = day.toordinal()
        if number not in known and day not in out:
            due = datetime.combine(day + timedelta(days=1), datetime.min.time(), UTC).timestamp()
            news = News(
                key=f"report/{number}/late",
                event="report_late",
                about=f"report/{number}",
                severity=Severity.WARNING,
                family="fleet",
                subject=day.isoformat(),
                at_us=round(now * 1e6),
                since_us=round(due * 1e6),
                stands=True,
                details={"day": day.isoformat()},
            )
            yield news, ("report", number, "late", True, dumps(news))
        day += timedelta(days=1)


def _kept(row: Mapping[str, Any]) -> News | None:
    """What was told of it before and still holds."""
    return from_json(json.loads(row["news"])) if row.get("news") else None


def _rows(
    cursor: duckdb.DuckDBPyConnection, sql: str, parameters: Mapping[str, Any] | Sequence[Any]
) -> list[dict[str, Any]]:
    found = cursor.execute(sql, parameters)
    names = [column[0] for column in found.description or ()]
    return [dict(zip(names, row, strict=True)) for row in found.fetchall()]


def _us(at: datetime | None) -> int:
    return 0 if at is None else round(at.replace(tzinfo=UTC).timestamp() * 1e6)


def _text(value: object) -> str:
    return "" if value is None else str(value)[:500]
