"""The YAML that kubeconfig files are written in, and no more: a dependency less for a file of thirty lines.

Block mappings and lists, plain and quoted scalars, literal and folded blocks, empty or one-line flow lists and
mappings, comments. Anchors, tags, several documents and flow that goes over lines are refused by line, never
guessed: ``kubectl config view --raw -o json`` writes the same file as JSON, which is read as well.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any, Final

from ullage_contract.errors import BadInput

_KEY: Final = re.compile(
    r"""(?P<key>"(?:[^"\\]|\\.)*"|'(?:[^']|'')*'|[^\s"'\[\]{}#&*!|>%@`,:][^#]*?|[^\s"'\[\]{}#&*!|>%@`,:])\s*:(?:\s+(?P<rest>.*))?$"""
)
_ITEM: Final = re.compile(r"""("(?:[^"\\]|\\.)*"|'(?:[^']|'')*'|[^,\[\]{}"']+)\s*(?:,|$)""")
_INTEGER: Final = re.compile(r"[-+]?[0-9]+$")
_WORDS: Final = {"": None, "~": None, "null": None, "true": True, "false": False}
_DEEPEST: Final = 32  # our choice: because a kubeconfig has five levels


@dataclass(frozen=True, slots=True)
class _Line:
    number: int
    indent: int
    text: str


def load(text: str) -> Any:
    """The document as dicts, lists, texts, integers, booleans and None. Raises BadInput naming the line."""
    raw = text.splitlines()
    lines: list[_Line] = []
    for number, line in enumerate(raw, 1):
        stripped = line.strip()
        if not stripped or stripped.startswith("#"):
            continue
        if "\t" in line[: len(line) - len(line.lstrip())]:
            raise BadInput(f"line {number}: a tab indents nothing in YAML; use spaces")
        if stripped == "---" and not lines:
            continue
        if stripped in ("---", "..."):
            raise BadInput(f"line {number}: one document only")
        lines.append(_Line(number, len(line) - len(line.lstrip(" ")), stripped))
    if not lines:
        return None
    reader = _Reader(lines, raw)
    value = reader.block(lines[0].indent, 0)
    if reader.at < len(lines):
        raise BadInput(f"line {lines[reader.at].number}: it is indented as nothing above it")
    return value


class _Reader:
    def __init__(self, lines: list[_Line], raw: list[str]) -> None:
        self._lines = lines
        self._raw = raw
        self.at = 0

    def block(self, indent: int, depth: int) -> Any:
        """What stands at ``indent`` from here on: a list, a mapping or one scalar."""
        line = self._lines[self.at]
        if depth > _DEEPEST:
            raise BadInput(f"line {line.number}: deeper than {_DEEPEST} levels")
        if line.text == "-" or line.text.startswith("- "):
            return self._list(indent, depth)
        if _KEY.match(line.text):
            return self._mapping(indent, depth)
        self.at += 1
        return _scalar(line.text, line.number)

    def _list(self, indent: int, depth: int) -> list[Any]:
        found: list[Any] = []
        while (line := self._here(indent)) is not None and (line.text == "-" or line.text.startswith("- ")):
            rest = line.text[1:].strip()
            if rest and not rest.startswith("#"):
                # What follows the dash is a block of its own, indented to where it stands.
                inner = indent + len(line.text) - len(line.text[1:].lstrip())
                self._lines[self.at] = _Line(line.number, inner, rest)
                found.append(self.block(inner, depth + 1))
            else:
                self.at += 1
                found.append(self._below(indent, depth))
        return found

    def _mapping(self, indent: int, depth: int) -> dict[str, Any]:
        found: dict[str, Any] = {}
        while (line := self._here(indent)) is not None:
            if line.text == "-" or line.text.startswith("- "):
                break  # a list at its key's own indent has been read there
            match = _KEY.match(line.text)
            if match is None:
                raise BadInput(f"line {line.number}: {line.text[:20]!r} is no key: value")
            key = str(_scalar(match["key"], line.number))
            if key in found:
                raise BadInput(f"line {line.number}: {key[:40]!r} stands twice")
            rest = (match["rest"] or "").strip()
            self.at += 1
            if rest.startswith("#"):
                rest = ""
            if rest[:1] in ("|", ">"):
                found[key] = self._literal(rest, line, indent)
            elif rest:
                found[key] = _scalar(rest, line.number)
            else:
                found[key] = self._below(indent, depth, dash=True)
        return found

    def _below(self, indent: int, depth: int, *, dash: bool = False) -> Any:
        """The deeper block that follows, None where there is none; a list may stand at its key's own indent."""
        if self.at >= len(self._lines):
            return None
        line = self._lines[self.at]
        is_item = line.text == "-" or line.text.startswith("- ")
        if line.indent > indent or (dash and is_item and line.indent == indent):
            return self.block(line.indent, depth + 1)
        return None

    def _here(self, indent: int) -> _Line | None:
        if self.at >= len(self._lines):
            return None
        line = self._lines[self.at]
        if line.indent > indent:
            raise BadInput(f"line {line.number}: it is indented as nothing above it")
        return line if line.indent == indent else None

    def _literal(self, mark: str, line: _Line, indent: int) -> str:
        if mark not in ("|", "|-", "|+", ">", ">-", ">+"):
            raise BadInput(f"line {line.number}: a block with {mark[:10]!r} is not read; write | or >")
        body: list[str] = []
        width = None
        number = line.number
        for text in self._raw[line.number :]:
            depth = len(text) - len(text.lstrip(" "))
            if text.strip() and depth <= indent:
                break
            number += 1
            if width is None and text.strip():
                width = depth
            body.append(text[width:] if width is not None else "")
        while self.at < len(self._lines) and self._lines[self.at].number <= number:
            self.at += 1
        joined = "\n".join(body) if mark[0] == "|" else " ".join(b.strip() for b in body)
        return joined.rstrip("\n ") + ("" if mark.endswith("-") else "\n")


def _scalar(text: str, number: int) -> Any:
    """One value on one line."""
    if text[0] in "\"'":
        return _quoted(text, number)
    if text[0] in "[{":
        return _flow(text, number)
    if text[0] in "&*!%@`":
        raise BadInput(f"line {number}: {text[0]} (anchors, aliases, tags) is not read")
    plain = re.split(r"\s#", text, maxsplit=1)[0].strip()
    word = plain.lower()
    if word in _WORDS:
        return _WORDS[word]
    return int(plain) if _INTEGER.match(plain) else plain


def _quoted(text: str, number: int) -> str:
    if text[0] == "'":
        match = re.match(r"'((?:[^']|'')*)'\s*(?:#.*)?$", text)
        if match:
            return match[1].replace("''", "'")
    else:
        match = re.match(r'("(?:[^"\\]|\\.)*")\s*(?:#.*)?$', text)
        if match:
            try:
                return str(json.loads(match[1]))
            except ValueError:
                pass
    raise BadInput(f"line {number}: a quoted text ends on its own line, with nothing after it")


def _flow(text: str, number: int) -> Any:
    """[] and {}, and one-line lists of plain or quoted scalars."""
    text = re.sub(r"\s+#.*$", "", text)
    if text.replace(" ", "") in ("[]", "{}"):
        return [] if text[0] == "[" else {}
    try:
        return json.loads(text)
    except ValueError:
        pass
    if text[0] == "[" and text.endswith("]"):
        items, inner = [], text[1:-1].strip()
        while inner and (match := _ITEM.match(inner)):
            items.append(_scalar(match[1].strip(), number))
            inner = inner[match.end() :].strip()
        if not inner:
            return items
    raise BadInput(f"line {number}: this one-line form is not read; write it over several lines")
