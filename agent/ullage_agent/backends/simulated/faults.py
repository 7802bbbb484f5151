"""Faults on demand: a line of words each, from the settings or from a file that is read while running.

    xid card=0 code=79 after=60           an Xid (another maker's cards: a fault code of theirs)
    lost card=3 after=120 for=300         the card no longer answers, then it does again
    ecc card=1 count=2                    uncorrectable memory errors, and a row waiting for a reset
    corrected card=1 count=50000          corrected memory errors
    hang card=2 for=600                   the call for its power does not return
    hot card=4 for=300                    30 degrees more, thermal slowdown
    slow card=5 for=900                   a straggler: busy as ever, and does less
    port_down port=1 for=240              a port goes down

card, port: place on the node (default 0). after: seconds from when the line was first read (default 0).
for: seconds it lasts (default: until the reader ends, a hang one hour). code, count as above.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ullage_contract.errors import ConfigError

KINDS: Final = ("xid", "lost", "ecc", "corrected", "hang", "hot", "slow", "port_down")
_WORDS: Final = ("card", "port", "code", "after", "for", "count")
FOREVER: Final = float("inf")


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault: kind and place, from ``begins`` until ``ends`` on the reader's clock."""

    kind: str
    place: int
    code: str | None
    count: int
    begins: float
    ends: float

    def active(self, now: float) -> bool:
        """Whether it is in force now."""
        return self.begins <= now < self.ends


def parse(text: str, now: float) -> list[Fault]:
    """Every fault in ``text``, split at line ends and semicolons; ``#`` begins a comment.

    Raises ConfigError naming the line and the word that is wrong.
    """
    faults = []
    for line in text.replace(";", "\n").splitlines():
        words = line.partition("#")[0].split()
        if words:
            faults.append(_fault(line.strip(), words, now))
    return faults


def _fault(line: str, words: list[str], now: float) -> Fault:
    if words[0] not in KINDS:
        raise ConfigError(f"fault {line[:80]!r}: {words[0]!r} is none of {', '.join(KINDS)}")
    given: dict[str, str] = {}
    for word in words[1:]:
        name, separator, value = word.partition("=")
        if not separator or name not in _WORDS or not value:
            raise ConfigError(
                f"fault {line[:80]!r}: {word!r} is not one of {', '.join(f'{w}=..' for w in _WORDS)}"
            )
        given[name] = value
    try:
        begins = now + float(given.get("after", "0"))
        ends = begins + float(given["for"]) if "for" in given else FOREVER
        place = int(given.get("port" if words[0] == "port_down" else "card", "0"))
        count = int(given.get("count", "1"))
    except ValueError as e:
        raise ConfigError(f"fault {line[:80]!r}: {e}") from e
    return Fault(words[0], place, given.get("code"), count, begins, ends)


class ControlFile:
    """A file of fault lines that grows; each line is taken once, when it is first seen."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._taken = 0

    def new(self, now: float) -> Iterator[Fault]:
        """Faults of the lines added since. A file that is not there has none; a wrong line is skipped
        by raising ConfigError once, after the right ones before it were given."""
        try:
            lines = self._path.read_text(encoding="utf-8").splitlines()
        except OSError:
            self._taken = 0
            return
        if len(lines) < self._taken:  # it was begun anew
            self._taken = 0
        while self._taken < len(lines):
            line = lines[self._taken]
            self._taken += 1
            yield from parse(line, now)
