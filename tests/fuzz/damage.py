"""Random damage to recorded texts and bodies, drawn from one ``random.Random``: same seed, same damage.

What pipes, terminals, editors, copying, torn files and other makers' tools do to an output, and what
somebody who means harm would try. A text never holds half a surrogate: ``decode.read`` makes none.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable, Sequence
from typing import Any, Final

NUMBERS: Final = (
    "-1",
    "0",
    "-0",
    "1",
    "65535",
    "4294967295",
    "18446744073709551615",
    "-9223372036854775809",
    "99999999999999999999999",
    "1e999",
    "-1e999",
    "1e308",
    "1e-400",
    "NaN",
    "nan",
    "inf",
    "-Infinity",
    "0x7fffffffffffffff",
    "0xffffffffffffffffff",
    "1_000",
    "1,000",
    "1.2.3",
    "٣",
    "१२",
    "²",
    "½",
    "+",
    "9" * 400,
    "7" * 5000,  # more digits than Python's int() takes
    "0." + "3" * 2000,
)
"""Texts that stand where a number stood."""

WORDS: Final = (
    "",
    " ",
    "N/A",
    "[N/A]",
    "[Not Supported]",
    "Unknown Error",
    "ERR!",
    "null",
    "true",
    "None",
    "-",
    "--",
    "...",
    "…",
    "|",
    "||||||||",
    "+",
    "=",
    "%",
    "W",
    "MiB",
    "/",
    "{",
    "}",
    "[",
    "]",
    '"',
    "'",
    "\\",
    "\\u0000",
    ":",
    ";",
    ",",
    "<",
    ">",
    "&#x0;",
    "<!DOCTYPE x>",
    "(",
    ")",
    "*",
    "\u200b",
    "\ufeff",
    "\u202e",
    "é",
    "用户",
    "🦆",
    "İ",
    "ß",
    "\u2028",
    "\x85",
    "\x1c",
    "\x0b",
    "A" * 300,
    "[" * 3000,
    "(" * 1200,
    " " * 3000,
    "{}",
    "[]",
)
"""Texts that stand anywhere."""

CONTROLS: Final = (
    "\x00",
    "\x07",
    "\x08",
    "\x0c",
    "\x1b[31m",
    "\x1b[0m",
    "\x1b[2J",
    "\x7f",
    "\r",
    "\t",
    "\x9b",
)

_NUMBER: Final = re.compile(r"[-+]?\d+(?:\.\d+)?")
_WORD: Final = re.compile(r"[^\s|,;:=\"'<>]+")
_CELL: Final = re.compile(r"[|,;:=\t]|\s{2,}")


def _line_ends(text: str) -> list[str]:
    return text.splitlines(keepends=True)


def _span(draw: random.Random, length: int) -> tuple[int, int]:
    start = draw.randrange(length + 1)
    return start, min(length, start + draw.choice((1, 1, 2, 5, 20, 80, 400, 4000)))


def flip(draw: random.Random, text: str) -> str:
    """A bit of some bytes turned over."""
    body = bytearray(text.encode())
    for _ in range(draw.choice((1, 1, 2, 8))):
        if body:
            body[draw.randrange(len(body))] ^= 1 << draw.randrange(8)
    return body.decode("utf-8", "replace")


def cut(draw: random.Random, text: str) -> str:
    """A piece cut out."""
    start, stop = _span(draw, len(text))
    return text[:start] + text[stop:]


def truncate(draw: random.Random, text: str) -> str:
    """A pipe closed early, or a terminal that scrolled the head away."""
    at = draw.randrange(len(text) + 1)
    return text[:at] if draw.random() < 0.7 else text[at:]


def drop_lines(draw: random.Random, text: str) -> str:
    """Some lines missing."""
    lines = _line_ends(text)
    for _ in range(draw.choice((1, 1, 2, 5))):
        if lines:
            del lines[draw.randrange(len(lines))]
    return "".join(lines)


def double_lines(draw: random.Random, text: str) -> str:
    """A block of lines printed again, near or far."""
    lines = _line_ends(text)
    if not lines:
        return text
    start = draw.randrange(len(lines))
    block = lines[start : start + draw.choice((1, 1, 2, 10))]
    at = draw.choice((start, len(lines), draw.randrange(len(lines) + 1)))
    return "".join(lines[:at] + block * draw.choice((1, 1, 2, 20)) + lines[at:])


def swap_lines(draw: random.Random, text: str) -> str:
    """Two lines that changed places, as two writers on one terminal make them."""
    lines = _line_ends(text)
    if len(lines) > 1:
        one, other = draw.randrange(len(lines)), draw.randrange(len(lines))
        lines[one], lines[other] = lines[other], lines[one]
    return "".join(lines)


def join_lines(draw: random.Random, text: str) -> str:
    """Two lines run together, or one broken as a narrow terminal breaks it."""
    lines = _line_ends(text)
    if not lines:
        return text
    at = draw.randrange(len(lines))
    if draw.random() < 0.5:
        lines[at] = lines[at].rstrip("\r\n")
    else:
        middle = draw.randrange(len(lines[at]) + 1)
        lines[at] = lines[at][:middle] + "\n" + lines[at][middle:]
    return "".join(lines)


def swap_cells(draw: random.Random, text: str) -> str:
    """Two cells of one line, or of two, exchanged."""
    lines = _line_ends(text)
    if not lines:
        return text
    one, other = draw.randrange(len(lines)), draw.randrange(len(lines))
    if draw.random() < 0.6:
        other = one
    first, second = _cells(lines[one]), _cells(lines[other])
    a, b = draw.randrange(len(first)), draw.randrange(len(second))
    if one == other:
        first[a], first[b] = first[b], first[a]
        lines[one] = "".join(first)
    else:
        first[a], second[b] = second[b], first[a]
        lines[one], lines[other] = "".join(first), "".join(second)
    return "".join(lines)


def _cells(line: str) -> list[str]:
    pieces: list[str] = []
    last = 0
    for match in _CELL.finditer(line):
        pieces += [line[last : match.start()], match.group()]
        last = match.end()
    return [*pieces, line[last:]]


def _at(draw: random.Random, pattern: re.Pattern[str], text: str) -> re.Match[str] | None:
    """A match somewhere in the text, found from a random place on."""
    start = draw.randrange(len(text) + 1)
    return pattern.search(text, start) or pattern.search(text)


def renumber(draw: random.Random, text: str) -> str:
    """Numbers replaced by huge, negative, foreign or no numbers."""
    for _ in range(draw.choice((1, 1, 2, 4))):
        match = _at(draw, _NUMBER, text)
        if match is not None:
            text = text[: match.start()] + draw.choice(NUMBERS) + text[match.end() :]
    return text


def reword(draw: random.Random, text: str) -> str:
    """A word replaced by another of the text, a number or a troublemaker."""
    match = _at(draw, _WORD, text)
    if match is None:
        return text
    other = _at(draw, _WORD, text)
    fresh = draw.choice((draw.choice(WORDS), draw.choice(NUMBERS), other.group() if other else ""))
    return text[: match.start()] + fresh + text[match.end() :]


def insert(draw: random.Random, text: str) -> str:
    """Something foreign in between: control characters, marks, words of other scripts."""
    at = draw.randrange(len(text) + 1)
    fresh = draw.choice(CONTROLS if draw.random() < 0.4 else WORDS)
    return text[:at] + fresh + text[at:]


def line_ends(draw: random.Random, text: str) -> str:
    """Windows' line ends, old ones, or none."""
    return text.replace("\n", draw.choice(("\r\n", "\r", "\n\n", "\n\r", " ")))


def spaces(draw: random.Random, text: str) -> str:
    """Blanks made tabs, squeezed or taken from the lines' heads, as mailing and copying do it."""
    match draw.randrange(4):
        case 0:
            return text.replace("  ", "\t")
        case 1:
            return re.sub(r" +", " ", text)
        case 2:
            return "\n".join(line.strip() for line in text.split("\n"))
        case _:
            return "\n".join("> " + line for line in text.split("\n"))


def case(draw: random.Random, text: str) -> str:
    """All letters large or small."""
    return text.upper() if draw.random() < 0.5 else text.lower()


DAMAGES: Final[Sequence[tuple[Callable[[random.Random, str], str], int]]] = (
    (flip, 8),
    (cut, 6),
    (truncate, 5),
    (drop_lines, 6),
    (double_lines, 6),
    (swap_lines, 5),
    (join_lines, 4),
    (swap_cells, 8),
    (renumber, 14),
    (reword, 10),
    (insert, 8),
    (line_ends, 1),
    (spaces, 1),
    (case, 1),
)
"""Every damage with its weight."""

_CHOICES: Final = [damage for damage, _ in DAMAGES]
_WEIGHTS: Final = [weight for _, weight in DAMAGES]
VALUES: Final = (
    "null",
    "true",
    "false",
    "0",
    "-1",
    "1",
    str(2**31),
    str(2**53),
    str(2**63),
    str(2**64),
    str(-(2**63) - 1),
    str(10**25),
    "1e308",
    "-1e-300",
    "0.5",
    '""',
    '"N/A"',
    '"0"',
    '"12%"',
    f'"{"x" * 3000}"',
    r'"\ud800"',
    r'"\u0000"',
    "[]",
    "{}",
    "[[]]",
    "[null]",
    '{"": null}',
    '["N/A"]',
    '{"value": "N/A", "unit": "W"}',
)
"""What stands where another value of a JSON document stood, as JSON: half a surrogate can come this way."""


def restructure(draw: random.Random, document: Any) -> Any:
    """One place of a JSON document replaced, removed, doubled, renamed or exchanged with another."""
    places: list[tuple[Any, Any]] = []
    waiting = [document]
    while waiting and len(places) < 20_000:
        node = waiting.pop()
        keys: Any = node if isinstance(node, dict) else range(len(node)) if isinstance(node, list) else ()
        for key in keys:
            places.append((node, key))
            waiting.append(node[key])
    if not places or draw.random() < 0.01:
        return json.loads(draw.choice(VALUES))
    node, key = draw.choice(places)
    match draw.randrange(7):
        case 0 | 1:
            node[key] = json.loads(draw.choice(VALUES))
        case 2:
            other, at = draw.choice(places)
            node[key] = json.loads(json.dumps(other[at]))
        case 3:
            del node[key]
        case 4 if isinstance(node, list):
            node.insert(key, json.loads(json.dumps(node[key])))
        case 5 if isinstance(node, dict):
            node[draw.choice(WORDS) if draw.random() < 0.5 else key + "_x"] = node.pop(key)
        case 6:
            node[key] = [node[key]] if draw.random() < 0.5 else {"value": node[key]}
        case _:
            node[key] = json.loads(draw.choice(VALUES))
    return document


LONGEST: Final = 1_000_000
"""Characters of a damaged text at most. our choice: because a hang on more is a question of speed, not of damage."""


def damaged(draw: random.Random, text: str, others: Sequence[str]) -> str:
    """``text`` with one to eight damages, now and then joined with a piece of another text."""
    if text.lstrip()[:1] in ("{", "[") and draw.random() < 0.5:
        try:
            document = json.loads(text)
        except (ValueError, RecursionError):
            pass
        else:
            for _ in range(draw.choice((1, 1, 2, 4))):
                document = restructure(draw, document)
            return json.dumps(document, indent=draw.choice((None, 2)))[:LONGEST]
    if others and draw.random() < 0.06:
        other = draw.choice(others)
        start, stop = _span(draw, len(other))
        piece = other if draw.random() < 0.5 else other[start:stop]
        at = draw.choice((0, len(text), draw.randrange(len(text) + 1)))
        text = text[:at] + piece + text[at:]
    for damage in draw.choices(_CHOICES, _WEIGHTS, k=draw.choice((1, 1, 2, 2, 3, 4, 8))):
        text = damage(draw, text)[:LONGEST]
    return text


def damaged_bytes(draw: random.Random, body: bytes) -> bytes:
    """Bytes turned over, cut, doubled or overwritten."""
    result = bytearray(body)
    for _ in range(draw.choice((1, 1, 2, 5))):
        start, stop = _span(draw, len(result))
        match draw.randrange(5):
            case 0:
                del result[start:stop]
            case 1:
                result[start:start] = result[start:stop]
            case 2:
                result[start:stop] = draw.randbytes(stop - start)
            case 3:
                del result[start:]
            case _:
                if result:
                    result[draw.randrange(len(result))] ^= 1 << draw.randrange(8)
    return bytes(result)
