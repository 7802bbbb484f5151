"""The one catalogue of what a report says, in Chinese and English: ``i18n/zh.json`` and ``i18n/en.json``.

Both files hold the same keys with the same ``{names}``; a test keeps them so and finds texts nobody uses.
Values are put in by name and never interpreted: a name such as ``{0.__class__}`` in a department stays text.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from functools import cache
from importlib import resources
from typing import Final

from ullage_contract.errors import ConfigError

LANGUAGES: Final = ("zh", "en")
PLACE: Final = re.compile(r"\{([a-z_0-9]+)\}")


class Texts:
    """Texts of one language. ``texts("tile.cost")`` gives a text, ``texts("x", total="1")`` fills its places."""

    __slots__ = ("_catalogue", "lang")

    def __init__(self, lang: str) -> None:
        """Raises ConfigError for a language there is no catalogue of."""
        if lang not in LANGUAGES:
            raise ConfigError(f"--lang {lang[:20]!r} is not known; choose from {', '.join(LANGUAGES)}")
        self.lang = lang
        self._catalogue = catalogue(lang)

    def __call__(self, key: str, /, **values: str) -> str:
        """Raises KeyError for a key that is not there and for a place no value is given for: both are bugs."""
        return PLACE.sub(lambda match: values[match[1]], self._catalogue[key])

    def known(self, prefix: str, word: str) -> str:
        """The text ``prefix.word``, or the word itself: for words other parts may add to, such as an incident's family."""
        return self._catalogue.get(f"{prefix}.{word}", word)


@cache
def catalogue(lang: str) -> Mapping[str, str]:
    """Key to text, flat: ``{"tile": {"cost": …}}`` in the file is ``tile.cost`` here."""
    raw = (resources.files(__package__) / "i18n" / f"{lang}.json").read_text(encoding="utf-8")
    flat: dict[str, str] = {}
    _flatten("", json.loads(raw), flat)
    return flat


def _flatten(prefix: str, value: object, into: dict[str, str]) -> None:
    if isinstance(value, str):
        into[prefix] = value
    elif isinstance(value, Mapping):
        for key, below in value.items():
            _flatten(f"{prefix}.{key}" if prefix else str(key), below, into)
    else:
        raise TypeError(f"BUG: text {prefix} is a {type(value).__name__}, not a text")
