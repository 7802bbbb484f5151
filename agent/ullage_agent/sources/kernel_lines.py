"""Lines of the kernel log with their time, from /dev/kmsg records and from every way people print them.

Not here: what a line means (kernel_events) and reading the device (kernel_log).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final


@dataclass(frozen=True, slots=True)
class Line:
    """One message.

    uptime_seconds: since boot, or None where the text has only wall time.
    wall_seconds: since the epoch, or None where the text has only uptime. A stamp without a zone is read
        as UTC (decoded.notes says so): the text does not tell.
    sequence: the kernel's own number of the record, or None.
    """

    message: str
    uptime_seconds: float | None = None
    wall_seconds: float | None = None
    sequence: int | None = None


_RECORD: Final = re.compile(r"^(\d{1,10}),(\d{1,20}),(\d{1,20}),[^;]*;(.*)$", re.DOTALL)
_ESCAPED: Final = re.compile(r"\\x([0-9a-fA-F]{2})")


def parse_record(record: str) -> Line | None:
    """A /dev/kmsg record ``prefix,sequence,microseconds,flags;message`` without its dictionary lines.

    None for what is no record. The kernel writes control and non-ASCII bytes as \\xNN
    (Documentation/ABI/testing/dev-kmsg).
    """
    match = _RECORD.match(record.split("\n", 1)[0])
    if match is None:
        return None
    _, sequence, micros, message = match.groups()
    return Line(
        message=_ESCAPED.sub(lambda m: chr(int(m.group(1), 16)), message),
        uptime_seconds=int(micros) / 1e6,
        sequence=int(sequence),
    )


_LEVEL: Final = re.compile(r"^(?:<\d+>|[a-z0-9]+\s*:[a-z]+\s*:\s*(?=\[|\d))")
_UPTIME: Final = re.compile(r"^\[\s*(\d{1,12}\.\d+)(?:\s*<\s*[+\d.]+\s*>)?\]\s?")
_DELTA: Final = re.compile(r"^\[\s*\+\s*(\d{1,12}\.\d+)\]\s?")
_RELATIVE: Final = re.compile(r"^\[(\w{3}\s?\s?\d{1,2})\s+(\d{2}:\d{2})(?::(\d{2}))?\]\s?")
_CTIME: Final = re.compile(r"^\[(\w{3} \w{3}\s+\d{1,2} \d{2}:\d{2}:\d{2} \d{4})\]\s?")
_ISO: Final = re.compile(
    r"^\[?(\d{4}-\d{2}-\d{2}[T ]\d{2}:\d{2}:\d{2}(?:[.,]\d+)?)\s?(Z|[+-]\d{2}:?\d{2})?\]?\s+"
)
_SYSLOG: Final = re.compile(r"^(\w{3}\s+\d{1,2} \d{2}:\d{2}:\d{2})\s+")
_ORIGIN: Final = re.compile(r"^(?:\S+ )?kernel(?:\[\d+\])?:\s?")
_CALLER: Final = re.compile(r"^\[\s*[TC]\d+\]\s?")


def parse_printed(lines: Iterable[str], *, now: float) -> Iterator[Line]:
    """Lines as dmesg (plain, -T, -x, -d, --time-format iso|reltime), journalctl, syslog or kmsg show them.

    now: seconds since the epoch; the year of syslog stamps, which carry none, is the last one that does
    not lie ahead of it. A line without a stamp keeps the stamp of the line before.
    """
    uptime: float | None = None
    wall: float | None = None
    for raw in lines:
        text = raw.rstrip("\r\n").removeprefix("> ")
        record = parse_record(text)
        if record is not None:
            uptime, wall = record.uptime_seconds, None
            yield record
            continue
        text = _LEVEL.sub("", text, count=1)
        if (match := _CTIME.match(text)) is not None:
            wall, uptime = _parsed(" ".join(match.group(1).split()), "%a %b %d %H:%M:%S %Y"), None
        elif (match := _ISO.match(text)) is not None:
            wall, uptime = _iso(match.group(1), match.group(2)), None
        elif (match := _SYSLOG.match(text)) is not None:
            wall, uptime = _without_year(" ".join(match.group(1).split()), "%b %d %H:%M:%S", now), None
        elif (match := _RELATIVE.match(text)) is not None:
            stamp = f"{match.group(1)} {match.group(2)}:{match.group(3) or '00'}"
            wall, uptime = _without_year(" ".join(_spaced(stamp).split()), "%b %d %H:%M:%S", now), None
        elif (match := _DELTA.match(text)) is not None:
            wall = None if wall is None else wall + float(match.group(1))
        text = text[match.end() :] if match is not None else text
        text = _ORIGIN.sub("", text, count=1)
        if (match := _UPTIME.match(text)) is not None:  # alone, or after a syslog head
            uptime = float(match.group(1))
            text = text[match.end() :]
            text = _ORIGIN.sub("", text, count=1)
        text = _CALLER.sub("", text, count=1)
        yield Line(message=text, uptime_seconds=uptime, wall_seconds=wall)


def _spaced(stamp: str) -> str:
    """dmesg's reltime writes ``Feb23``."""
    return f"{stamp[:3]} {stamp[3:]}"


def _parsed(text: str, form: str) -> float | None:
    try:
        return datetime.strptime(text, form).replace(tzinfo=UTC).timestamp()
    except ValueError:
        return None


def _iso(stamp: str, zone: str | None) -> float | None:
    try:
        return datetime.fromisoformat(
            stamp.replace(",", ".") + {"Z": "+00:00", None: "+00:00"}.get(zone, zone or "")
        ).timestamp()
    except ValueError:
        return None


def _without_year(text: str, form: str, now: float) -> float | None:
    year = datetime.fromtimestamp(now, tz=UTC).year
    for candidate in (year, year - 1):
        stamp = _parsed(f"{candidate} {text}", f"%Y {form}")
        if stamp is not None and stamp <= now + 86_400:  # a day: the stamp's zone is unknown
            return stamp
    return None
