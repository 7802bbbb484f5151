"""Small texts Slurm writes: lists of hosts, TRES, instants, key=value lines. Pure; nothing is asked of Slurm here.

Generic resources and their card indices stand in gres.py.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import product
from typing import Final

from ullage_contract.errors import BadInput

MOST_HOSTS: Final = 100_000
"""# our choice: because the largest fleets have tens of thousands of nodes; more is a typing error or an attack."""
_NOTHING: Final = frozenset(
    {"", "(null)", "None", "none", "N/A", "n/a", "Unknown", "None assigned", "INVALID"}
)
_KEY: Final = re.compile(r"(?:^|\s)([A-Za-z][A-Za-z0-9_:/.\-]*)=")
_UNITS: Final = {"K": 1024, "M": 1024**2, "G": 1024**3, "T": 1024**4, "P": 1024**5}


def text(written: str | None) -> str | None:
    """The text, or None for Slurm's many words for nothing ("(null)", "N/A", "None", "Unknown" ...)."""
    return None if written is None or written.strip() in _NOTHING else written.strip()


def instant(written: str | float | None) -> int | None:
    """Seconds since the epoch of a time that was asked for as a number; None for a word for no time and for 0.

    Raises BadInput for a calendar time: its zone is the controller's, which nobody told us (run the tools with
    SLURM_TIME_FORMAT=%s).
    """
    if written is None or written == 0:
        return None
    if isinstance(written, int | float):
        return int(written) if written > 0 else None
    word = text(written)
    if word is None or word == "0":
        return None
    if not word.isascii() or not word.isdigit() or len(word) > 12:
        raise BadInput(
            f"Slurm wrote the time {word[:40]!r}, not seconds since 1970; set SLURM_TIME_FORMAT=%s"
        )
    return int(word) or None


def hosts(written: str | None) -> list[str]:
    """Every host of a list such as ``g[1-3,05]-ib0,login1``, in the order written.

    Raises BadInput for brackets that do not close, a range that runs backwards, and more than MOST_HOSTS.
    """
    found: list[str] = []
    for part in _parts(text(written) or ""):
        for host in _expanded(part, MOST_HOSTS - len(found)):
            found.append(host)
    return found


def _parts(listed: str) -> Iterator[str]:
    """Cut at commas outside of brackets."""
    depth, begin = 0, 0
    for at, letter in enumerate(listed):
        if letter == "[":
            depth += 1
        elif letter == "]":
            depth -= 1
        elif letter == "," and depth == 0:
            if listed[begin:at].strip():
                yield listed[begin:at].strip()
            begin = at + 1
        if depth not in (0, 1):
            raise BadInput(f"{listed[:80]!r} is no list of hosts: brackets do not match")
    if depth:
        raise BadInput(f"{listed[:80]!r} is no list of hosts: a bracket does not close")
    if listed[begin:].strip():
        yield listed[begin:].strip()


def _expanded(part: str, most: int) -> list[str]:
    pieces = re.split(r"\[([^\[\]]*)\]", part)
    size = 1
    choices: list[list[str]] = []
    for number, piece in enumerate(pieces):
        choices.append([piece] if number % 2 == 0 else _numbers(piece, part, most))
        size *= len(choices[-1])
    if size > most:
        raise BadInput(f"{part[:80]!r} names more than {MOST_HOSTS} hosts")
    return ["".join(chosen) for chosen in product(*choices)]


def _numbers(listed: str, part: str, most: int) -> list[str]:
    found: list[str] = []
    for piece in listed.split(","):
        first, dash, last = piece.strip().partition("-")
        if not dash:
            last = first
        if not (first.isascii() and first.isdigit() and last.isascii() and last.isdigit()) or len(last) > 12:
            raise BadInput(f"{part[:80]!r} is no list of hosts: {piece[:20]!r} is no range")
        low, high = int(first), int(last)
        if high < low:
            raise BadInput(f"{part[:80]!r} is no list of hosts: {piece[:20]!r} runs backwards")
        if high - low >= most - len(found):
            raise BadInput(f"{part[:80]!r} names more than {MOST_HOSTS} hosts")
        found += [str(number).zfill(len(first)) for number in range(low, high + 1)]
    return found


def indices(written: str) -> tuple[int, ...]:
    """The numbers of ``0-3,5``; () for N/A and nothing. Raises BadInput for anything else."""
    if text(written) is None:
        return ()
    return tuple(int(number) for number in _numbers(written, written, 65_536))


def tres(written: str | None) -> dict[str, int]:
    """Trackable resources: ``cpu=2,mem=500G,gres/gpu:h200=4`` as counts; what counts nothing is left out."""
    found: dict[str, int] = {}
    for part in (text(written) or "").split(","):
        name, equals, count = part.partition("=")
        if equals and name.strip():
            number = amount(count)
            if number is not None:
                found[name.strip()] = number
    return found


def amount(written: str) -> int | None:
    """A count with an optional binary unit (500G, 2.5K); None when it is no count."""
    match = re.fullmatch(r"(\d{1,18})(\.\d{1,6})?([KMGTP]?)", written.strip())
    if match is None:
        return None
    unit = _UNITS.get(match[3], 1)
    return int(match[1]) * unit + round(float(match[2] or 0) * unit)


def fields(line: str) -> dict[str, str]:
    """The ``Key=value`` pairs of one line of ``scontrol --oneliner``; a value runs to the next key.

    The first of two equal keys counts: what follows repeats it for a single node.
    """
    found: dict[str, str] = {}
    marks = list(_KEY.finditer(line))
    for mark, following in zip(marks, [*marks[1:], None], strict=True):
        value = line[mark.end() : following.start() if following else len(line)].strip()
        found.setdefault(mark[1], value)
    return found
