"""The console's texts in zh and en, and which of the two a browser wants."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from importlib import resources
from typing import Any, Final

LANGUAGES: Final = ("zh", "en")


@cache
def words(language: str) -> Mapping[str, Any]:
    """Every text of one language."""
    text = (
        resources.files("ullage_collector.console")
        .joinpath(f"words.{language}.json")
        .read_text(encoding="utf-8")
    )
    found: Mapping[str, Any] = json.loads(text)
    return found


def wanted(accept_language: str, cookie: str | None) -> str:
    """The language: the one chosen before, else the first of the browser's that we have, else en."""
    if cookie in LANGUAGES:
        return str(cookie)
    for part in accept_language.split(","):
        name = part.split(";")[0].strip().lower()[:2]
        if name in LANGUAGES:
            return name
    return "en"
