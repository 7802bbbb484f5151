"""``cnmon info``: sections by indentation below ``Card N``."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

_CARD: Final = re.compile(r"^\s*Card\s+(\d+)\s*:?\s*$", re.IGNORECASE)
_LINE: Final = re.compile(r"^(\s*)(\S[^:]*?)\s*:(?:\s+(.*?))?\s*$")
_MOST_DEPTH: Final = 12  # our choice: because cnmon indents by four and nests three deep


@dataclass(slots=True)
class Node:
    """One line and what is indented below it. key is lower case; value "" where the line has none."""

    key: str
    value: str = ""
    children: list[Node] = field(default_factory=list)

    def child(self, key: str) -> Node | None:
        """The first line of that name right below this one."""
        return next((node for node in self.children if node.key == key), None)

    def find(self, *path: str) -> str | None:
        """The value at a path of names below this line; None where there is no such line."""
        node: Node | None = self
        for key in path:
            node = node.child(key) if node is not None else None
        return None if node is None else node.value

    def walk(self) -> Iterator[Node]:
        """This line and everything below it."""
        yield self
        for node in self.children:
            yield from node.walk()


def cards_of(lines: Sequence[str]) -> list[tuple[int, Node]]:
    """Every ``Card N`` with its tree, in the text's order; lines before the first one are passed over."""
    found: list[tuple[int, Node]] = []
    stack: list[tuple[int, Node]] = []
    for line in lines:
        heading = _CARD.match(line)
        if heading:
            node = Node("card", heading[1])
            found.append((int(heading[1]), node))
            stack = [(-1, node)]
            continue
        match = _LINE.match(line)
        if match is None or not stack:
            continue
        depth = len(match[1])
        while len(stack) > 1 and stack[-1][0] >= depth:
            stack.pop()
        node = Node(match[2].strip().lower(), match[3] or "")
        stack[-1][1].children.append(node)
        if len(stack) < _MOST_DEPTH:
            stack.append((depth, node))
    return found
