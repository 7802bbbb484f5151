"""The plain part of YAML that people and Slurm write in topology.yaml: nested lists and mappings of plain values.

Block lists and mappings by indentation, ``[a, b]`` on one line, quotes, comments, ``---``. Anchors, tags, merged keys and
texts over several lines are refused by line, because guessing them would be worse. Every value stays text.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Final

from ullage_contract.errors import BadInput

DEEPEST: Final = 32  # our choice: because topology.yaml is five deep
_KEY: Final = re.compile(r"""^("[^"]*"|'[^']*'|[^\s"'#\[\]{},&*!|>%@`][^:#]*?)\s*:(?:\s+(.*))?$""")
_STRANGE: Final = ("&", "*", "!", "|", ">", "{", "%", "@", "`", "?")


@dataclass(frozen=True, slots=True)
class _Line:
    number: int
    indent: int
    text: str


def read(text: str, where: str) -> Any:
    """The document as lists, dicts and texts; None where there is nothing. Raises BadInput with the line."""
    lines: list[_Line] = []
    for number, raw in enumerate(text.splitlines(), 1):
        bare = _uncommented(raw).rstrip()
        if not bare.strip() or bare.strip() in ("---", "..."):
            continue
        indent = len(bare) - len(bare.lstrip(" "))
        if bare[indent] == "\t":
            raise BadInput(f"{where}:{number}: a tab indents; YAML wants spaces")
        lines.append(_Line(number, indent, bare[indent:]))
    if not lines:
        return None
    value, rest = _node(lines, 0, lines[0].indent, where, 0)
    if rest < len(lines):
        raise BadInput(f"{where}:{lines[rest].number}: this line's indentation fits nothing above it")
    return value


def _node(lines: list[_Line], at: int, indent: int, where: str, depth: int) -> tuple[Any, int]:
    if depth > DEEPEST:
        raise BadInput(f"{where}:{lines[at].number}: nested more than {DEEPEST} deep")
    if lines[at].text == "-" or lines[at].text.startswith("- "):
        return _list(lines, at, indent, where, depth)
    return _mapping(lines, at, indent, where, depth)


def _list(lines: list[_Line], at: int, indent: int, where: str, depth: int) -> tuple[list[Any], int]:
    found: list[Any] = []
    while at < len(lines) and lines[at].indent == indent:
        line = lines[at]
        if line.text != "-" and not line.text.startswith("- "):
            break
        inner = line.text[1:].lstrip()
        if not inner:
            value, at = _below(lines, at + 1, indent, where, depth)
        elif _KEY.match(inner) or inner == "-" or inner.startswith("- "):
            # what stands behind the dash begins a mapping or list of its own, indented as far as it stands
            deeper = indent + len(line.text) - len(inner)
            lines[at] = _Line(line.number, deeper, inner)
            value, at = _node(lines, at, deeper, where, depth + 1)
        else:
            value, at = _scalar(inner, line.number, where), at + 1
        found.append(value)
    return found, at


def _mapping(lines: list[_Line], at: int, indent: int, where: str, depth: int) -> tuple[dict[str, Any], int]:
    found: dict[str, Any] = {}
    while at < len(lines) and lines[at].indent == indent:
        line = lines[at]
        match = _KEY.match(line.text)
        if match is None:
            raise BadInput(f"{where}:{line.number}: {line.text[:40]!r} is neither 'key: value' nor '- item'")
        key = _unquoted(match[1])
        if key in found:
            raise BadInput(f"{where}:{line.number}: {key[:40]!r} is there twice")
        if match[2]:
            found[key], at = _scalar(match[2], line.number, where), at + 1
        else:
            found[key], at = _below(lines, at + 1, indent, where, depth, of_mapping=True)
    return found, at


def _below(
    lines: list[_Line], at: int, indent: int, where: str, depth: int, *, of_mapping: bool = False
) -> tuple[Any, int]:
    """What is indented under a key or dash; a list may stand as far left as its key."""
    if at >= len(lines):
        return None, at
    line = lines[at]
    if line.indent > indent:
        return _node(lines, at, line.indent, where, depth + 1)
    if of_mapping and line.indent == indent and (line.text == "-" or line.text.startswith("- ")):
        return _list(lines, at, indent, where, depth + 1)
    return None, at


def _scalar(text: str, number: int, where: str) -> Any:
    text = text.strip()
    if text.startswith("["):
        if not text.endswith("]") or text.count("[") != 1 or text.count("]") != 1:
            raise BadInput(f"{where}:{number}: write a list on one line as [a, b], or one item a line")
        return [_unquoted(item.strip()) for item in text[1:-1].split(",") if item.strip()]
    if text.startswith(_STRANGE):
        raise BadInput(f"{where}:{number}: {text[:30]!r}: anchors, tags and long texts are not read here")
    return _unquoted(text)


def _unquoted(text: str) -> str:
    if len(text) >= 2 and text[0] == text[-1] and text[0] in "\"'":
        return text[1:-1]
    return text.strip()


def _uncommented(line: str) -> str:
    """The line without a comment: a # that begins it or follows a space, in no quotes."""
    quote = ""
    for place, letter in enumerate(line):
        if quote:
            quote = "" if letter == quote else quote
        elif letter in "\"'":
            quote = letter if not place or line[place - 1] in " [,:\t" else ""
        elif letter == "#" and (not place or line[place - 1] in " \t"):
            return line[:place]
    return line
