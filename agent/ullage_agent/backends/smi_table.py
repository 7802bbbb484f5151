"""Tables drawn after nvidia-smi's: a head of several lines, then a block of as many lines for each card.

The head says which cell holds what; inside a cell the values are known by their units. So column order,
widths, added columns and added words do not matter. Not here: whose table it is.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from ullage_agent.backends.printed import Box, box, hertz, number, ratio, said, size, whole

_LOG_PREFIX: Final = re.compile(r"^\s*#?\s*\[[^\]]*\]\s*>>\s?")
_POWER: Final = re.compile(
    r"(?:\b(N/A|NA|--|[\d.]+\s*W)\s*/\s*(N/A|NA|--|[\d.]+\s*W)|([\d.]+\s*W)(?:\s+([\d.]+\s*W))?)(?![\w/])",
    re.IGNORECASE,
)
_TEMPERATURE: Final = re.compile(r"(-?\d+(?:\.\d+)?)\s*(?:C\b|℃|°C|°|c\b)")
_MEMORY: Final = re.compile(r"([\d.]+)\s*([KMGT]i?B)?\s*/\s*([\d.]+)\s*([KMGT]i?B)", re.IGNORECASE)
_PER_CENT: Final = re.compile(r"(\d+(?:\.\d+)?)\s*%")
_BUS: Final = re.compile(
    r"\b(?:[0-9a-fA-F]{4,8}:)?[0-9a-fA-F]{2}:[0-9a-fA-F]{2}(?:[.:][0-9a-fA-F]{1,2})?(?:\.[0-7])?\b"
)
_HERTZ: Final = re.compile(r"(\d+(?:\.\d+)?)\s*MHz", re.IGNORECASE)

MOST_WIDTH: Final = 1000  # our choice: because no table is wider, and patterns grow slow on endless lines


@dataclass(frozen=True, slots=True)
class Block:
    """One card: (what the head says, what the card says) of each cell, line by line.

    whole: False when the text ends, or the next card begins, before all lines of the card were seen.
    """

    cells: tuple[tuple[str, str], ...]
    whole: bool = True

    def find(self, *words: str) -> str | None:
        """The card's cell under the first head cell that holds all of ``words`` (any case); None where there is none."""
        for head, cell in self.cells:
            low = head.lower()
            if all(word.lower() in low for word in words):
                return cell
        return None

    @property
    def text(self) -> str:
        """All cells, for values that name themselves."""
        return "  ".join(cell for _, cell in self.cells)


def lines_of(text: str) -> list[str]:
    """The lines, with a log's ``# [aft] >>`` in front taken off and tabs widened."""
    return [_LOG_PREFIX.sub("", line[:MOST_WIDTH].expandtabs()).rstrip("\r") for line in text.splitlines()]


def blocks(lines: Sequence[str], head_word: str | Sequence[str], *also: str) -> list[Block]:
    """The cards of the first table whose head begins with one of ``head_word`` and has ``also`` anywhere in it."""
    table = box(lines)
    words = (head_word,) if isinstance(head_word, str) else tuple(head_word)
    for position, group in enumerate(table.groups):
        head = _head(group, words, also)
        if head:
            body = [row for row in group[head.start + len(head.rows) :]]
            return list(_body([body, *table.groups[position + 1 :]], head.rows))
    return []


@dataclass(frozen=True, slots=True)
class _Head:
    start: int
    rows: tuple[tuple[str, ...], ...]


def _head(group: Sequence[tuple[str, ...]], words: Sequence[str], also: Sequence[str]) -> _Head | None:
    """The head in a group, which may begin with a line of versions and hold the first card too."""
    wanted = [[word.lower()] for word in words]
    for start, row in enumerate(group):
        if len(row) >= 2 and row[0].lower().split()[:1] in wanted:
            rows = [row]
            for more in group[start + 1 :]:
                if len(more) != len(row) or re.match(r"^\d+\b", more[0]):
                    break
                rows.append(more)
            text = " ".join(" ".join(cells) for cells in rows).lower()
            if all(part.lower() in text for part in also):
                return _Head(start, tuple(rows))
    return None


def _body(groups: Sequence[Sequence[tuple[str, ...]]], head: Sequence[tuple[str, ...]]) -> Iterator[Block]:
    """Blocks of as many lines as the head; a block cut short by the end of the text keeps what it has.

    A rule between two lines ends a card. A line whose bars were overwritten by a long name is cut anew.
    """
    width, height = len(head[0]), len(head)
    for group in groups:
        if group and len(group[0]) != width and len(group[0]) == 1 and not _mended(group[0], head[0]):
            if group[0][0]:
                return  # another table begins
            continue
        current: list[tuple[str, str]] = []
        used = 0
        for row in group:
            if used == height or (
                used and re.match(r"^\d+\b", row[0]) and not _number_expected(head[used][0])
            ):
                yield Block(tuple(current), used == height)
                current, used = [], 0
            cells = row if len(row) == width else _mended(row, head[used])
            if cells is not None:
                current += list(zip(head[used], cells, strict=True))
            used += 1
        if current:
            yield Block(tuple(current), used == height)


def _mended(row: tuple[str, ...], head: tuple[str, ...]) -> tuple[str, ...] | None:
    """A line whose bars do not match its head's, cut at the bus address or the pair of memory sizes it must hold."""
    text = "  ".join(row)
    for column, name in enumerate(head):
        low = name.lower()
        anchor = _BUS if "bus-id" in low else _MEMORY if "usage" in low and "pwr" not in low else None
        match = anchor.search(text) if anchor else None
        if match and 0 < column < len(head) - 1:
            before = [text[: match.start()], *[""] * (column - 1)]
            after = [text[match.end() :], *[""] * (len(head) - column - 2)]
            return tuple(cell.strip() for cell in (*before, match[0], *after))
    return None


def _number_expected(head: str) -> bool:
    """Whether a line under this head may itself begin with a digit: a temperature, fan or power."""
    return bool(re.match(r"(?i)\s*(temp|fan|pwr|power|perf|dpm|lpm)", head))


def index_and_name(cell: str | None) -> tuple[int | None, str]:
    """``0    Iluvatar BI-V100`` as (0, "Iluvatar BI-V100"); what stands behind two blanks more is dropped."""
    match = re.match(r"^\s*(\d{1,4})\s+(.*)$", cell or "")
    if match is None:
        return None, ""
    return int(match[1]), re.split(r"\s{2,}", match[2].strip())[0]


def performance_state(cell: str | None) -> str | None:
    """``P0`` of a line of fan, temperature and power."""
    match = re.search(r"\bP\d{1,2}\b", cell or "")
    return match[0] if match else None


def power(cell: str | None) -> tuple[float | None, float | None]:
    """(usage, cap) of ``54W / 250W``, ``105W  300W``, ``N/A / N/A``, ``71W``; 65535 W is a dead card's."""
    match = _POWER.search(cell or "")
    if match is None:
        return None, None
    return _watts(match[1] or match[3]), _watts(match[2] or match[4])


def _watts(text: str | None) -> float | None:
    clean = said(text)
    if clean is None:
        return None
    value = number(clean)
    return value if value is not None and value < 65535 else None


def temperature(cell: str | None) -> float | None:
    """``31C``, ``34℃``, ``39 C``."""
    match = _TEMPERATURE.search(cell or "")
    return number(match[1]) if match else None


def memory(cell: str | None) -> tuple[int | None, int | None]:
    """(used, total) bytes of ``513MiB / 32768MiB``, ``831/65536 MiB``."""
    match = _MEMORY.search(cell or "")
    if match is None:
        return None, None
    return size(f"{match[1]}{match[2] or match[4]}"), size(f"{match[3]}{match[4]}")


def per_cent(cell: str | None) -> float | None:
    """The first per cent as 0..1."""
    match = _PER_CENT.search(cell or "")
    return ratio(match[1]) if match else None


def bus(cell: str | None) -> str | None:
    """The text of a PCI address in the cell, as printed."""
    match = _BUS.search(cell or "")
    return match[0] if match else None


def clocks(cell: str | None) -> list[float]:
    """Every ``1500MHz`` as hertz, in order."""
    found = (hertz(value) for value in _HERTZ.findall(cell or ""))
    return [value for value in found if value is not None]


@dataclass(frozen=True, slots=True)
class ProcessRow:
    """One line of a process table: card index, pid, name and device memory; None where the line does not say."""

    card: int
    pid: int | None
    name: str | None
    memory_used_bytes: int | None

    def document(self) -> dict[str, Any]:
        """As ``DecodedCard.processes`` has it."""
        return {"pid": self.pid, "name": self.name, "memory_used_bytes": self.memory_used_bytes}


_SIZE_WORD: Final = re.compile(r"^(\d+(?:\.\d+)?)([KMGT]i?B?)?$", re.IGNORECASE)
_KINDS: Final = frozenset({"C", "G", "C+G", "M+C", "X", "N/A", "NA", "-"})


def process_rows(lines: Sequence[str]) -> list[ProcessRow] | None:
    """The lines of the process table; [] when it says there are none, None when there is no such table.

    A line is card, perhaps instance ids and a type, pid, name and memory; the first number behind the card that
    is not an instance is the pid. Where the head names instances (GI, XI, CI) two words before the pid are theirs.
    """
    found: list[ProcessRow] | None = None
    instances = 0
    for line in lines:
        low = line.lower()
        if re.search(r"\bprocess(es)?\s*:", low):
            found, instances = [], 0
            continue
        if found is None:
            continue
        words = line.strip().strip("|").split()
        if "pid" in low.split():
            heads = low.strip().strip("|").split()
            instances = max(heads.index("pid") - 1, 0)
            continue
        row = _process(words, instances)
        if row is not None:
            found.append(row)
    return found


def _process(words: list[str], instances: int) -> ProcessRow | None:
    if len(words) < 2 or not re.fullmatch(r"\d{1,4}", words[0]):
        return None
    rest = words[1:]
    for _ in range(instances):
        if len(rest) > 1 and (rest[0] in _KINDS or re.fullmatch(r"\d{1,3}", rest[0])):
            rest = rest[1:]
    pid = whole(rest[0]) if re.fullmatch(r"\d{1,10}", rest[0]) else None
    if pid is None and said(rest[0]) is not None:
        return None
    rest = rest[1:]
    if rest and rest[0] in _KINDS:
        rest = rest[1:]
    held: int | None = None
    if rest:
        last = _SIZE_WORD.match(rest[-1])
        if last is None and len(rest) > 2 and _SIZE_WORD.match("".join(rest[-2:])):
            last, rest = _SIZE_WORD.match("".join(rest[-2:])), rest[:-1]
        if last is not None:
            held, rest = size(f"{last[1]}{last[2] or 'MiB'}"), rest[:-1]
        elif said(rest[-1]) is None:
            rest = rest[:-1]
    name = said(" ".join(rest))
    return None if pid is None and name is None else ProcessRow(int(words[0]), pid, name, held)


def processes_by_card(lines: Sequence[str]) -> dict[int, list[dict[str, Any]]] | None:
    """Card index -> its processes; None when the text has no process table."""
    rows = process_rows(lines)
    if rows is None:
        return None
    found: dict[int, list[dict[str, Any]]] = {}
    for row in rows:
        found.setdefault(row.card, []).append(row.document())
    return found


def cut_note(found: Sequence[Block]) -> list[str]:
    """What to note when a card's lines are not all there."""
    short = [block for block in found if not block.whole]
    return [f"{len(short)} card(s) with lines missing: the text is cut"] if short else []


__all__ = ["Block", "Box", "ProcessRow", "blocks", "lines_of", "process_rows", "processes_by_card"]
