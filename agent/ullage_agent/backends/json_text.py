"""JSON that a tool printed, with what shells and libraries put around it: log lines before, prompts after."""

from __future__ import annotations

import json
from typing import Any

from ullage_contract.errors import BadInput


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
