"""Names that other people chose, made safe to print: departments, workloads, pools, reasons.

Rows and models carry them raw; HTML, PDF, CSV and the console pass them through here. Escaping for the
output's own syntax (HTML, a spreadsheet's formulas) is the renderer's, after this.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Final

MAX_LENGTH: Final = 200
"""Characters kept of one name. our choice: because names are labels, and a page has an edge."""

# C0, DEL and C1 controls; soft hyphen; combining grapheme joiner; Arabic letter mark; Hangul and Khmer
# fillers, which print as nothing; Mongolian vowel separators; zero-width space, joiners and direction marks;
# line and paragraph separators; bidi embeddings and overrides; word joiner and invisible operators; bidi
# isolates and deprecated controls; variation selectors; byte order mark; interlinear and tag characters.
# Names: Unicode 16, Default_Ignorable_Code_Point and Bidi_Control.
_HIDDEN: Final = re.compile(
    "[\x00-\x1f\x7f-\x9f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2028-\u202e"
    "\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb\ufffe\uffff\U0001bca0-\U0001bca3\U0001d173-\U0001d17a"
    "\U000e0000-\U000e0fff]"
)
_SURROGATE: Final = re.compile("[\ud800-\udfff]")
_SPACES: Final = re.compile(r"\s+")
_MARKS: Final = re.compile(
    r"([\u0300-\u036f\u0483-\u0489\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20ff\ufe20-\ufe2f]{3})[\u0300-\u036f\u0483-\u0489\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20ff\ufe20-\ufe2f]+"
)


def plain(text: object, *, limit: int = MAX_LENGTH) -> str:
    """``text`` on one line, without characters that hide, reorder or break: what is shown is what is there.

    A hidden character is dropped, a line break, tab or run of spaces becomes one space, stacked accents
    are cut at three, lone surrogates become U+FFFD, and what is longer than ``limit`` ends in an ellipsis.
    None becomes the empty string. Two names that differ only in what was dropped print alike: identities are
    compared by id, never by this text.
    """
    if text is None:
        return ""
    if (
        isinstance(text, str)
        and len(text) <= limit
        and text.isascii()
        and text.isprintable()
        and "  " not in text
    ):
        return text.strip()  # nearly every name: nothing in it could hide or break, and lists have a million
    shown = unicodedata.normalize("NFC", _SURROGATE.sub("\ufffd", str(text)[: 20 * limit]))
    shown = _HIDDEN.sub("", re.sub("[\t\n\v\f\r\x85\u2028\u2029]", " ", shown))
    shown = _MARKS.sub(r"\1", _SPACES.sub(" ", shown).strip())
    return shown if len(shown) <= limit else shown[: limit - 1].rstrip() + "…"


def names_alike(names: list[str]) -> list[str]:
    """Those of ``names`` that print like another one of them, in the order given: a page marks them by their id."""
    shown: dict[str, int] = {}
    for name in names:
        key = unicodedata.normalize("NFKC", plain(name)).casefold()
        shown[key] = shown.get(key, 0) + 1
    return [n for n in names if shown[unicodedata.normalize("NFKC", plain(n)).casefold()] > 1]
