"""JSON that a tool printed, with what shells and libraries put around it: log lines before, prompts after."""

from __future__ import annotations

import json
from collections import deque
from typing import Any, Final

from ullage_contract.errors import BadInput

_LONGEST_WORD: Final = 8
"""A cut number, word or \\u escape is told at its beginning, that far from the end at most."""
TORN: Final = "the text ends in the middle: what it does not hold is missing here"
"""The note of a decoder whose document was torn."""


def find_json(text: str, tool: str) -> Any:
    """The first JSON object or list in a text. Raises BadInput naming the tool when there is none."""
    decoder = json.JSONDecoder()
    # our choice: ten times the text and a page, because a torn document is looked at from each of its
    # brackets, and brackets within brackets would make that for ever
    patience = 10 * len(text) + 4096
    for start, ch in enumerate(text):
        if ch not in "{[":
            continue
        try:
            found, _ = decoder.raw_decode(text, start)
        except json.JSONDecodeError as e:
            patience -= e.pos - start
            if patience < 0:
                break
            continue
        except (ValueError, RecursionError):  # a number without end; deeper than any tool nests
            break
        if isinstance(found, dict | list):
            return found
    raise BadInput(f"no JSON of {tool} in this text")


def find_torn_json(text: str, tool: str) -> tuple[Any, bool]:
    """``find_json``, also of a document whose end is missing: (what stands whole in it, whether it was torn).

    For recorded outputs only: what a live tool prints in half is no reading. Raises BadInput as ``find_json``.
    """
    for start, ch in enumerate(text):
        if ch in "{[" and _starts_document(text, start):
            try:
                found, _ = json.JSONDecoder().raw_decode(text, start)
            except json.JSONDecodeError as e:
                near_end = e.pos >= len(text.rstrip()) - _LONGEST_WORD
                if not near_end and not e.msg.startswith("Unterminated string"):
                    continue  # not JSON at all: a log line's brackets
                mended = _mended(text[start:])
                if mended is not None:
                    return mended, True
                continue
            except (ValueError, RecursionError):
                break
            if isinstance(found, dict | list):
                return found, False
    return find_json(text, tool), False


def _starts_document(text: str, at: int) -> bool:
    """Whether the bracket is the first thing on its line."""
    return not text[text.rfind("\n", 0, at) + 1 : at].strip()


def _mended(text: str) -> Any:
    """The document cut back to the last of its commas behind which it can be closed, or None."""
    stack: list[str] = []
    commas: deque[tuple[int, str]] = deque(
        maxlen=64
    )  # our choice: a torn entry has not more fields than these
    quoted = escaped = False
    for at, ch in enumerate(text):
        if quoted:
            if escaped:
                escaped = False
            elif ch == "\\":
                escaped = True
            elif ch == '"':
                quoted = False
        elif ch == '"':
            quoted = True
        elif ch in "{[":
            stack.append("}" if ch == "{" else "]")
        elif ch in "}]":
            if not stack or stack.pop() != ch:
                return None
        elif ch == ",":
            commas.append((at, "".join(reversed(stack))))
    for at, closing in [(len(text), "".join(reversed(stack))), *reversed(commas)]:
        try:
            found = json.loads(text[:at] + closing)
        except (ValueError, RecursionError):
            continue
        return found if isinstance(found, dict | list) and found else None
    return None


def looks_like_json(text: str) -> bool:
    """Whether the text has a line that begins a JSON object or list of objects."""
    return any(line.lstrip()[:1] in ("{", "[") for line in text.splitlines()[:200])


def mapping(value: Any) -> dict[str, Any]:
    """The value if it is an object, else an empty one: one odd entry never stops the others."""
    return value if isinstance(value, dict) else {}


def listing(value: Any) -> list[Any]:
    """The value if it is a list, else an empty one."""
    return value if isinstance(value, list) else []


def word(value: Any) -> str | None:
    """A scalar as text; None for null, objects and lists."""
    if value is None or isinstance(value, dict | list | bool):
        return None
    return str(value)
